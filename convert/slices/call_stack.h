/* The exact stack of one thread or greenlet: the first stage of the pipeline (pipeline.h). Hides what happens when
 * records are missing: each block begins with the frames that are open (OPEN records), to which the stack is brought,
 * and an exit that does not match the innermost frame is searched for below it.
 *
 *     call_stack_init()
 *     [call_stack_reveal(), when the selected time begins]
 *     for each block: call_stack_begin_block(), call_stack_resync(), then call_stack_records() for the records after
 *         the OPEN ones
 *     call_stack_end()    may be followed by further blocks
 *     call_stack_clear()
 *
 *     records          stack          what is reported to the filter
 *     CALL f           f              enter f
 *     CALL g           f g            enter g
 *     CALL h           f g h          enter h
 *     RETURN f         (empty)        leave h and g: exit_missing; leave f
 *     RETURN g         (empty)        nothing: the exit is ignored and counted
 *     OPEN f, OPEN k   f k            enter f and k: begin_unknown */
#ifndef CALL_STACK_H
#define CALL_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "awaits.h"
#include "convert/read/timeline.h"
#include "format/record.h"
#include "open_stack_snapshot.h"
#include "slice_filter.h"

/* How many frames an exit is compared with, and how many of the stack are tried when it is brought to its innermost
 * frames; and how many compares may fail in a block. Both bound the work that a damaged capture can cause. */
#define CALL_STACK_MAX_SEARCH 4096
#define CALL_STACK_MAX_FAILED (1 << 16)

/* Frames that may be open at a time, in all threads of a process: a block of a hundred bytes can open 16,384. Those
 * beyond are counted, and not kept. */
#define CALL_STACK_MAX_OPEN (1 << 20)

/* The records that show that a coroutine is a task which starts eagerly: two calls. */
#define CALL_STACK_PREVIOUS 4

struct stack_frame;

struct call_stack {
    struct stack_frame *frames;         /* owned; outermost first */
    size_t n, capacity;
    size_t max, limit;                  /* frames for now; at the limit the stack must grow, or the frame overflows */
    uint64_t n_overflowed;              /* frames on top of the stack that are not kept */
    struct slice_filter filter;         /* the next stage */
    bool is_revealed;                   /* call_stack_reveal was called: frames that no record named may be open */
    bool has_unlisted;                  /* more frames are open outwards of all: the list that began it had no space */
    bool starts_task;                   /* the frame that is entered now is a task, by what was called before */
    uint64_t accounted_ns;              /* what ran up to then has been accounted for: only with estimates */
    bool is_after_entry;                /* the last event was the entry of a call */
    uint32_t last_event;                /* of a function that is not muted: twice its number, + 1 for an exit */
    size_t n_ended;                     /* at least so many spans have ended that are not closed */
    size_t n_before_window;             /* frames that were open when the present window began, and still are */
    bool is_out_of_memory;              /* sticks; frames are missing from then on */
    uint64_t taken;                     /* identity of the work that the next frame does which has a slice; 0: none */
    size_t n_at_taken;                  /* frames that were open then */
    struct awaits awaits;               /* what the next task that is suspended waits for */
    struct pnr_record previous[CALL_STACK_PREVIOUS];    /* those before the next block; EMPTY: not known */
};

/* Copies pipeline. is_hidden: nothing is shown before call_stack_reveal, or ever. */
void call_stack_init(struct call_stack *stack, const struct slice_pipeline *pipeline, uint32_t thread,
                     bool is_hidden);

void call_stack_clear(struct call_stack *stack);

/* Shows slices from now on: what is open at ns as if it began then, with the flag SLICE_CUT. */
void call_stack_reveal(struct call_stack *stack, uint64_t ns);

/* Replaces what is open by these n frames, whatever the blocks have reported. Comes right before
 * call_stack_reveal(). */
void call_stack_restore(struct call_stack *stack, const struct open_frame *frames, size_t n);

/* Adds the open frames to the snapshot. */
void call_stack_save(const struct call_stack *stack, struct open_stack_snapshot *snapshot, uint32_t process);

/* Appends the identities of the continuable frames that are open to an array of n (format/array.h). Returns 0, or -1
 * when out of memory. */
int call_stack_list_continuable(const struct call_stack *stack, uint64_t **frames, size_t *n, size_t *capacity);

/* What lies between a block and the one before it. */
enum block_boundary { BLOCK_CONTINUES, BLOCK_AFTER_HOLE, BLOCK_AFTER_PAUSE };

/* Begins a block at ns. */
void call_stack_begin_block(struct call_stack *stack, enum block_boundary boundary, uint64_t ns);

/* Brings the stack to the n frames that OPEN records list at ns; is_deeper: only the innermost ones are listed. */
void call_stack_resync(struct call_stack *stack, const struct pnr_record *open, size_t n, bool is_deeper, uint64_t ns);

/* Puts n frames that OPEN records list at ns on what is open. */
void call_stack_add(struct call_stack *stack, const struct pnr_record *open, size_t n, uint64_t ns);

/* Records of a thread that are still to be converted. */
struct call_stack_input {
    struct timeline *timeline;          /* borrowed, like the records */
    uint64_t zero_ns;                   /* the start of the trace */
    const struct pnr_record *records;
    uint32_t next, n;                   /* index of the next record; how many there are */
    bool is_sparse;                     /* kinds may say that a time is inexact (convert/read/placing.h) */
    uint64_t begin_ticks;               /* the records' ticks count from here */
    uint64_t ticks;                     /* of the last one: an earlier record is moved up to this, and counted */
};

/* Converts the records before the first one that is later than until_ticks, or is a SWITCH. */
void call_stack_records(struct call_stack *stack, struct call_stack_input *input, uint64_t until_ticks);

/* For estimates of what is hidden (hidden_rates.h), in the order of time, also with call_stack_records(): the track
 * runs from ns on; it has run up to ns; what is muted changes now; a window begins now. */
void call_stack_run(struct call_stack *stack, uint64_t ns);
void call_stack_account(struct call_stack *stack, uint64_t ns);
void call_stack_settle(struct call_stack *stack);
void call_stack_begin_window(struct call_stack *stack);

/* Closes all open frames. is_cut: they continue, but after the selected time; else they are unfinished. */
void call_stack_end(struct call_stack *stack, uint64_t ns, bool is_cut);

#endif
