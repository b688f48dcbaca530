/* What is open on all stacks at some time, between two conversions of which the second goes on where the first one ended.
 *
 *     struct stacks stacks = { .n = 0 };
 *     stacks_add() for each stack
 *     stacks_settle()
 *     stacks_find()
 *     stacks_clear()
 *
 * A stack is known by its process and its thread, as sinks are told of them (sink.h). */
#ifndef STACKS_H
#define STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stacks_frame {
    uint64_t frame;                     /* identity, 0 for a plain one */
    uint32_t function;
    uint32_t subject;                   /* enum pnr_subject */
};

struct stacks_entry {
    uint32_t process, thread;
    size_t at, n;                       /* its frames, the outermost first */
};

struct stacks {
    struct stacks_entry *entries;       /* owned, like the next */
    struct stacks_frame *frames;
    size_t n, capacity, n_frames, frames_capacity;
    bool is_out_of_memory;              /* sticks; stacks are missing from then on */
};

/* Adds a stack of n frames. They are the caller's to fill in, before the next call. NULL when out of memory. */
struct stacks_frame *stacks_add(struct stacks *stacks, uint32_t process, uint32_t thread, size_t n);

/* Adds those of before (NULL: none) that are not among them. */
void stacks_settle(struct stacks *stacks, const struct stacks *before);

/* The frames of a stack, n of them; NULL when it is not known. stacks has been settled, or is NULL: then none is. */
const struct stacks_frame *stacks_find(const struct stacks *stacks, uint32_t process, uint32_t thread, size_t *n);

/* Makes it empty, and gives its memory back. */
void stacks_clear(struct stacks *stacks);

#endif
