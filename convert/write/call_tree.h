/* A sink that aggregates slices: it has a node for each distinct stack of functions, with the number of its calls and
 * their times. Flame graphs and profiles come from it.
 *
 *     slices of a thread                 nodes: calls, total, self
 *     g [20, 30], g [40, 45]             f      1      50     35
 *     f [10, 60]                         f;g    2      15     15
 *
 *     call_tree_new()
 *     the calls of the sink
 *     call_tree_settle()
 *     unless the sink is broken, which means out of memory: call_tree_next() and so on
 *     call_tree_free()
 * Functions of several processes are one if module, name, file, line and kind are the same. Each slice of a generator
 * or coroutine is a call. An unrecorded region is a call of `[not recorded]`. Instants are not counted. What slices
 * hide are calls of functions of their own, whose time is that function's self time and is taken from the slice's.
 *
 * Memory grows with the number of different stacks, up to CALL_TREE_MAX, and of functions; not with the recording's
 * length. The durations of a function's calls take 15 KiB at most. */
#ifndef CALL_TREE_H
#define CALL_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/slices/sink.h"
#include "durations.h"

/* Maximum number of nodes, with [0]. Calls beyond it have no node: they are counted, and their time is their caller's
 * own time. */
#define CALL_TREE_MAX (1 << 20)

enum call_type {
    CALL_FUNCTION,
    CALL_NO_FUNCTION,                   /* subjects.h names it */
    CALL_UNKNOWN,                       /* [unknown function N] */
    CALL_ESTIMATED,                     /* calls of a muted function that were not recorded; named `~function` */
    CALL_ROOT                           /* a process or a thread, see call_tree_new() */
};

struct call_function {
    struct symbol symbol;               /* its strings belong to the tree */
    enum call_type type;
    uint64_t n_frames;                  /* generators, coroutines, ... of this function that ran */
    uint64_t suspended_ns;              /* of these together, between their slices */
    struct durations durations;         /* of its calls; of estimated ones nothing is known */
};

struct call_node {
    uint32_t parent;                    /* 0 for an outermost one */
    uint32_t function;                  /* its index in functions */
    uint32_t last_child;                /* 0 = none */
    uint32_t next;                      /* sibling; that of the last one is the first */
    uint64_t calls;
    uint64_t total_ns, max_ns;          /* of them together; of the longest */
    double estimated_calls, estimated_ns;       /* before call_tree_settle() */
    struct spent_time spent;            /* in them, as far as their threads were sampled */
};

struct call_tree {
    struct sink sink;                   /* first: a sink is a tree */
    struct call_node *nodes;            /* [0] is no call; the outermost ones are its children; owned */
    uint32_t n_nodes;
    struct call_function *functions;    /* owned */
    uint32_t n_functions;
    uint64_t n_excluded;                /* calls without a node, as there were CALL_TREE_MAX */
    struct call_tree_state *state;      /* for building; owned */
};

/* has_roots: the outermost nodes are processes, and their children threads: one node for all of the same name, one
 * for all greenlets. Roots have no calls. Returns NULL when out of memory. */
struct call_tree *call_tree_new(bool has_roots);

/* Rounds the estimates to whole calls and nanoseconds, when all calls are known. */
void call_tree_settle(struct call_tree *tree);

/* Accepts NULL. */
void call_tree_free(struct call_tree *tree);

/* Returns the index in functions of a function of the process that the sink was given last. It is added if it is new.
 * When out of memory, the sink is broken and the index does not exist. */
uint32_t call_tree_function(struct call_tree *tree, uint32_t number);

/* Returns the next node that has calls, or root, in depth-first order: a parent comes before its children. Starts and
 * ends with 0. */
uint32_t call_tree_next(const struct call_tree *tree, uint32_t node);

/* Returns the next node after all that are nested in this one. */
uint32_t call_tree_skip(const struct call_tree *tree, uint32_t node);

/* Returns the node's time without that of its children. */
uint64_t call_tree_self(const struct call_tree *tree, uint32_t node);

/* Returns what was spent in the node without its children. */
struct spent_time call_tree_self_spent(const struct call_tree *tree, uint32_t node);

void spent_time_add(struct spent_time *sum, const struct spent_time *spent);

/* Puts the function's full name: `~` if its calls are estimated, module, `.`, name. Returns the end of the bytes,
 * call_tree_name_size() at most. */
char *call_tree_put_name(char *to, const struct call_function *function);
size_t call_tree_name_size(const struct call_function *function);

#endif
