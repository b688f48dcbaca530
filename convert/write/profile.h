/* Aggregates a call tree by functions, or by functions and their callers, as cProfile does (Modules/_lsprof.c). A
 * call is primitive when no other call of its function is open; for one caller, when no other call from that caller
 * is. Cumulative time is that of primitive calls. */
#ifndef PROFILE_H
#define PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "call_tree.h"

#define PROFILE_ALL UINT32_MAX          /* from any caller */

struct profile_line {
    uint32_t group, caller;             /* numbers of groups; caller may be PROFILE_ALL */
    uint32_t n_open;                    /* while it is made */
    uint64_t calls, primitive_calls;
    uint64_t self_ns, cumulative_ns;
    struct spent_time self_spent, cumulative_spent;
    uint64_t sum_ns, max_ns;            /* of all calls, also of those nested in another one of the function */
};

struct profile {
    struct profile_line *lines;         /* owned; by group and caller, PROFILE_ALL last */
    size_t n;
};

/* groups: a number for each function of the tree, by which functions are merged; NULL: none are. has_callers: makes a
 * line also for each caller of each function. Returns 0, or -1 when out of memory. */
int profile_make(struct profile *profile, const struct call_tree *tree, const uint32_t *groups, bool has_callers);

void profile_clear(struct profile *profile);

#endif
