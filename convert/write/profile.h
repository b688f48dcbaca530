/* Adds up a call tree by functions, or by functions and their callers, as cProfile does (Modules/_lsprof.c): a call is
 * primitive when no other one of its function is open, or, of those from one caller, no other one of that function from
 * that caller; cumulative time is that of primitive calls. */
#ifndef PROFILE_H
#define PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "call_tree.h"

#define PROFILE_ALL UINT32_MAX          /* whoever the caller is */

struct profile_line {
    uint32_t group, caller;             /* numbers of groups; caller may be PROFILE_ALL */
    uint32_t n_open;                    /* while it is made */
    uint64_t calls, primitive_calls;
    uint64_t self_ns, cumulative_ns;
    uint64_t sum_ns, max_ns;            /* of all calls, those in others of the same function too */
};

struct profile {
    struct profile_line *lines;         /* owned; by group and caller, PROFILE_ALL last */
    size_t n;
};

/* groups: the number of each function of the tree, functions with the same one being taken for one; NULL: each is one
 * by itself. has_callers: also a line for each caller of each. Returns 0, or -1 when out of memory. */
int profile_make(struct profile *profile, const struct call_tree *tree, const uint32_t *groups, bool has_callers);

void profile_clear(struct profile *profile);

#endif
