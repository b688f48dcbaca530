/* What is open on all stacks of a capture at some time: passed from a conversion to the next one, which continues where
 * the first one ended (--split).
 *
 *     struct open_stack_snapshot snapshot = { .n = 0 };
 *     open_stack_snapshot_add() for each stack
 *     open_stack_snapshot_complete()
 *     open_stack_snapshot_find()
 *     open_stack_snapshot_clear()
 *
 * A stack is identified by its process and its thread, numbered as for sinks (sink.h). */
#ifndef OPEN_STACK_SNAPSHOT_H
#define OPEN_STACK_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct open_frame {
    uint64_t frame;                     /* identity, 0 for a plain one */
    uint32_t function;
    uint32_t subject;                   /* enum pnr_subject */
};

struct open_stack {
    uint32_t process, thread;
    size_t first, n;                    /* its frames, the outermost first */
};

struct open_stack_snapshot {
    struct open_stack *stacks;          /* owned, like the next */
    struct open_frame *frames;
    size_t n, capacity, n_frames, frames_capacity;
    bool is_out_of_memory;              /* sticks; stacks are missing from then on */
};

/* Adds a stack of n frames. The caller fills them in before the next call. Returns NULL when out of memory. */
struct open_frame *open_stack_snapshot_add(struct open_stack_snapshot *snapshot, uint32_t process, uint32_t thread,
                                           size_t n);

/* Adds the stacks of an earlier snapshot (NULL: none) that did not run since, so that they are not in this one. */
void open_stack_snapshot_complete(struct open_stack_snapshot *snapshot, const struct open_stack_snapshot *earlier);

/* Returns the n frames of a stack, or NULL if it is unknown. snapshot has been completed, or is NULL: then all are
 * unknown. */
const struct open_frame *open_stack_snapshot_find(const struct open_stack_snapshot *snapshot, uint32_t process,
                                                  uint32_t thread, size_t *n);

/* Empties the snapshot and releases its memory. */
void open_stack_snapshot_clear(struct open_stack_snapshot *snapshot);

#endif
