/* One thread of a process while it is converted: where it is in its records, and its stacks. Hides how blocks are
 * loaded, how the records of greenlets are separated from those of the thread, and from when on a stack is shown.
 *
 *     thread_cursor_init()
 *     while it is the earliest of its process: thread_cursor_advance()
 *     thread_cursor_end()
 *     thread_cursor_clear()
 *
 * A thread has a stack of its own, and one for each greenlet that has run in it, called a track.
 *
 *     records of a thread          own stack      track 5
 *     CALL f                       f
 *     SWITCH 5                     f
 *     CALL g                       f              g
 *     SWITCH 0                     f              g
 *     RETURN f                     (empty)        g
 *
 * Where a time is selected, the stacks are hidden before it and revealed when it begins: what is open then is shown as
 * cut. A stack that first runs after that is revealed as soon as it is known what is open on it. If no block of the
 * thread was read before, that is at once. Else its first run is deferred to the OPEN records that follow. */
#ifndef THREAD_CURSOR_H
#define THREAD_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/call_stack.h"
#include "convert/slices/open_stack_snapshot.h"
#include "convert/slices/pipeline.h"

struct track;

/* What all cursors of a process share. */
struct converted_process {
    struct reader *reader;              /* borrowed, like the next */
    struct timeline *timeline;
    uint64_t zero_ns;                   /* CLOCK_MONOTONIC at the start of the trace */
    uint32_t order;                     /* its number, from 0 */
    struct slice_pipeline pipeline;
    struct stack_count initial;         /* the pipeline's count before the process */
    uint64_t from_ns, to_ns;            /* the selected time; 0: it has no begin; UINT64_MAX: no end */
    bool has_begun;                     /* from_ns has been reached */
    uint64_t end_ticks;                 /* the latest known */
    const struct open_stack_snapshot *open_at_from;     /* borrowed; NULL: not known */
    struct open_stack_snapshot *open_at_to;     /* filled in; borrowed; NULL: not wanted */
    struct track *tracks;               /* of all greenlets that have a name, by number; owned */
    size_t n_tracks;
};

struct thread_cursor {
    struct converted_process *process;  /* borrowed */
    size_t thread;
    struct call_stack own_stack;
    struct call_stack *stack;           /* the one that runs: own_stack, or a track's */
    struct track *tracks;               /* those that have run in the thread */
    bool is_wanted;                     /* its own stack is selected; else only its tracks are */
    bool own_has_run;
    bool has_past;                      /* a block before from_ns was read, and none is missing since */
    bool is_deferred;                   /* the running stack is to be revealed after the OPEN records */
    struct reader_block block;
    bool has_block, has_records;        /* one is loaded; there is a next record or block */
    uint32_t next;                      /* the next record; n_records when the next block is to be read */
    uint64_t ticks;                     /* of the next record, or of the next block's begin */
};

/* Makes a track for each greenlet in the name table. Their threads are numbered after those of the process. Returns 0,
 * or -1 when out of memory. */
int tracks_make(struct converted_process *process);

/* Number of the i-th track's greenlet. */
uint32_t track_number(const struct converted_process *process, size_t i);

/* Prepares the i-th track for conversion. */
void track_init(struct converted_process *process, size_t i, bool is_wanted, bool is_hidden);

void tracks_clear(struct converted_process *process);

/* is_hidden: nothing is shown before from_ns, or ever. */
void thread_cursor_init(struct thread_cursor *cursor, struct converted_process *process, size_t thread, bool is_wanted,
                        bool is_hidden);

void thread_cursor_clear(struct thread_cursor *cursor);

/* Converts the thread's records up to those ticks, of one block at most. Returns 1; 0 at the thread's end; -1 and fills
 * err. */
int thread_cursor_advance(struct thread_cursor *cursor, uint64_t until_ticks, struct pnr_err *err);

/* Reveals what is open in the thread when the selected time begins. */
void thread_cursor_reveal(struct thread_cursor *cursor);

/* Closes everything that is open in the thread. */
void thread_cursor_end(struct thread_cursor *cursor, uint64_t ns);

/* A time of the process has become known. */
void converted_process_note_time(struct converted_process *process, uint64_t ticks);

/* Appends the identities of the continuable frames that are open in the thread and its tracks, as
 * call_stack_list_continuable() does. */
int thread_cursor_list_continuable(const struct thread_cursor *cursor, uint64_t **frames, size_t *n, size_t *capacity);

/* For estimates, as the functions of call_stack.h: the thread has run up to ns; what is muted changes; a window
 * begins. */
void thread_cursor_account(struct thread_cursor *cursor, uint64_t ns);
void thread_cursor_settle(struct thread_cursor *cursor);
void thread_cursor_begin_window(struct thread_cursor *cursor);

#endif
