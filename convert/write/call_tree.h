/* A sink that adds up the slices: a node for each stack of functions that there was, with the number of its calls and
 * their times. What flame graphs and profiles are made of.
 *
 *     call_tree_new()
 *     the calls of the sink
 *     call_tree_next() and so on, to read it, unless the sink is broken: out of memory
 *     call_tree_free()
 *
 * Functions of several processes are one if module, name, file, line and kind are the same. Each run of a generator's
 * or coroutine's frame is a call. A time without recording is a call of `[not recorded]`; instants leave no trace here.
 *
 * Memory grows with the number of different stacks, up to CALL_TREE_MAX, and of functions; not with the recording's
 * length. */
#ifndef CALL_TREE_H
#define CALL_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/slices/sink.h"

/* At most so many nodes, [0] included. Calls beyond have none: they are counted, and their time is their caller's
 * own. */
#define CALL_TREE_MAX (1 << 20)

enum call_type {
    CALL_FUNCTION,
    CALL_NO_FUNCTION,                   /* subjects.h names it */
    CALL_UNKNOWN,                       /* [unknown function N] */
    CALL_ROOT                           /* a process or a thread, see call_tree_new() */
};

struct call_function {
    struct symbol symbol;               /* its strings belong to the tree */
    enum call_type type;
    uint64_t n_frames;                  /* generators, coroutines, ... of this function that ran */
    uint64_t suspended_ns;              /* of these together, between their runs */
};

struct call_node {
    uint32_t parent;                    /* 0 for an outermost one */
    uint32_t function;                  /* its place in functions */
    uint32_t last_child;                /* 0 = none */
    uint32_t next;                      /* of the same parent; that of the last is the first */
    uint64_t calls;
    uint64_t total_ns, max_ns;          /* of them together; of the longest */
};

struct call_tree {
    struct sink sink;                   /* first: a sink is a tree */
    struct call_node *nodes;            /* [0] is none, but has the outermost ones as children; owned */
    uint32_t n_nodes;
    struct call_function *functions;    /* owned */
    uint32_t n_functions;
    uint64_t n_left_out;                /* calls without a node, as there were CALL_TREE_MAX */
    struct call_tree_state *state;      /* for building; owned */
};

/* has_roots: the outermost nodes are processes, those in them threads, all with the same name being one, and all
 * greenlets; these have no calls. Returns NULL when out of memory. */
struct call_tree *call_tree_new(bool has_roots);

/* Accepts NULL. */
void call_tree_free(struct call_tree *tree);

/* Goes through all nodes that have calls, and roots: parents before their children, and all in one before those beside
 * it. From 0 to 0. */
uint32_t call_tree_next(const struct call_tree *tree, uint32_t node);

/* The same, but passes over what is in the node. */
uint32_t call_tree_next_beside(const struct call_tree *tree, uint32_t node);

/* The time of the node that is not in any of its children. */
uint64_t call_tree_self(const struct call_tree *tree, uint32_t node);

/* What the function is called: module, `.`, name. At most call_tree_name_size() bytes; gives their end. */
char *call_tree_put_name(char *to, const struct call_function *function);
size_t call_tree_name_size(const struct call_function *function);

#endif
