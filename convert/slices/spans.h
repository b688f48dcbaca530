/* The stack of one thread: turns its records into slices. Every frame on it becomes one slice when it is left. Hides
 * what happens when records are missing: each block begins with the frames that are open (OPEN records), to which the
 * stack is brought, and an exit that does not fit the innermost frame is looked for below it. And, in a capture with a
 * minimum duration, what the recorder kept of shorter calls: their slices are left out, as if they had not been.
 *
 *     spans_init() [spans_number()] [spans_choose() [spans_show(), when that is due]]
 *     for each block: spans_seam(), spans_open(), then spans_records() for those after the OPEN ones
 *     spans_end()         may be followed by further blocks
 *     spans_clear()
 *
 * Times: within a thread no two edges and no point of a chain share a nanosecond, whatever the clock says; so each
 * edge is at least 1 ns after the one before, and the nanosecond after the begin of a continuable frame's slice holds
 * nothing but the chain's point; nor does one at which a frame is made.
 *
 *     records          raw ns     slices of f, g (continuable) and their points
 *     CALL f             10       f begins at 10
 *     START g            10       g begins at 11, its point is at 12
 *     CALL h             10       h begins at 13
 *     RETURN h           10       h ends at 14
 *     YIELD g            10       g ends at 15
 *     RETURN f           40       f ends at 40 */
#ifndef SPANS_H
#define SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/timeline.h"
#include "format/record.h"
#include "flows.h"
#include "sink.h"
#include "stacks.h"

/* How deep an exit's frame is looked for, and how much of the stack is tried when it is brought to its innermost
 * frames: bounds the work that a bad capture can cause. So does how many frames may be compared in vain in a block. */
#define SPANS_SEARCH 4096
#define SPANS_IN_VAIN (1 << 16)

/* Frames that may be open at a time, in all threads of a process: a block of a hundred bytes can open 16,384. Those
 * beyond are counted, not kept. */
#define SPANS_MAX_OPEN (1 << 20)

/* The records in which is seen that a coroutine is a task which begins at once: two calls. */
#define SPANS_LAST 4

/* Of all threads together. */
struct spans_count {
    uint64_t events;                    /* records; OPEN ones left out */
    uint64_t slices;
    uint64_t lost;                      /* events that LOST records tell of */
    uint64_t holes;                     /* blocks before which events may be missing */
    uint64_t backwards;                 /* records earlier than the one before them; counted by who merges */
    uint64_t ignored_exits;             /* no frame of that function was open */
    uint64_t missed_exits;              /* frames whose exit must be missing: one further out was left */
    uint64_t unknown_kinds;             /* records of kinds of a later version */
    uint64_t unknown_tracks;            /* changes to tracks that are not there; counted by who makes those */
    uint64_t unknown_functions;         /* slices of functions that are not in the name table */
    uint64_t cut;                       /* slices that go on behind what is wanted */
    uint64_t deepest;
    uint64_t open;                      /* at present */
    uint64_t too_many;                  /* frames beyond SPANS_MAX_OPEN */
    uint64_t in_vain;                   /* frames compared without a result; set to 0 by who reads blocks, at each */
};

struct spans_frame;

struct spans {
    struct sink *sink;                  /* borrowed, like the next three */
    struct flows *flows;
    const struct symbols *symbols;
    struct spans_count *count;
    uint32_t thread;
    uint64_t least_ns;                  /* shorter slices are left out; 0 = none */
    struct spans_frame *stack;          /* owned; outermost first */
    size_t n, capacity;
    size_t n_left_out;                  /* of those on the stack, are not shown */
    const struct spans_choice *choice;  /* borrowed; NULL: all is shown */
    bool is_hidden;                     /* nothing is shown, not yet at least */
    bool is_cut;                        /* spans_show was called: frames that nobody told of may be open */
    uint64_t last_ns;                   /* the last edge or point, or making of a frame */
    struct pnr_record last[SPANS_LAST]; /* those before the next block; EMPTY: not known */
    bool starts_task;                   /* what is entered now is a task, by what was called before */
    uint32_t undecided;                 /* frames that were made in slices that may not stay: creations.h */
    uint64_t *places;                   /* borrowed; NULL: times are those of the clock */
    uint64_t beyond;                    /* frames on top of the stack that are not kept */
    bool is_out_of_memory;              /* sticks; frames are missing from then on */
};

void spans_init(struct spans *spans, uint32_t thread, uint64_t least_ns, struct sink *sink, struct flows *flows,
                const struct symbols *symbols, struct spans_count *count);

/* From now on an edge, or an instant, has its place among all edges instead of its time, SPANS_PLACE_NS for each. places:
 * how many there are so far; borrowed, and the same for all stacks whose edges are counted together. */
#define SPANS_PLACE_NS 1000
void spans_number(struct spans *spans, uint64_t *places);

/* Which slices are shown. One that is not is as if it had not been recorded: what is in it is in the one around it. */
struct spans_choice {
    const bool *left_out;               /* by the function's index - 1; NULL: none is */
    uint32_t n_functions;
    bool leaves_unknown_out;            /* functions that are not among those */
    uint64_t max_depth;                 /* so many shown in one another at most */
};

/* Right after spans_init. choice is borrowed. is_hidden: nothing is shown until spans_show, or ever. */
void spans_choose(struct spans *spans, const struct spans_choice *choice, bool is_hidden);

/* From now on slices are shown: what is open at ns as if it began then, with the mark SLICE_CUT. */
void spans_show(struct spans *spans, uint64_t ns);

/* Right before that: these n frames are open, whatever the blocks have told. */
void spans_restore(struct spans *spans, const struct stacks_frame *frames, size_t n);

/* Adds what is open. */
void spans_save(const struct spans *spans, struct stacks *stacks, uint32_t process);

void spans_clear(struct spans *spans);

/* What lies between a block and the one before it. */
enum spans_seam { SPANS_SEAMLESS, SPANS_HOLE, SPANS_PAUSE };

/* A block begins at ns. */
void spans_seam(struct spans *spans, enum spans_seam seam, uint64_t ns);

/* These are open at ns: n OPEN records; is_deeper: only the innermost. */
void spans_open(struct spans *spans, const struct pnr_record *open, size_t n, bool is_deeper, uint64_t ns);

/* Records of a thread, as far as they are not through. */
struct spans_input {
    struct timeline *timeline;          /* borrowed, like the records */
    uint64_t zero_ns;                   /* the start of the trace */
    const struct pnr_record *records;
    uint32_t at, n;                     /* the next one; how many there are */
    uint64_t begin_ticks;               /* what their ticks are counted from */
    uint64_t ticks;                     /* of the last one: what is earlier is moved up, and counted */
};

/* Goes through the records up to, and without, the first one that is later than that, or is a SWITCH. */
void spans_records(struct spans *spans, struct spans_input *input, uint64_t until_ticks);

/* Closes all that is open: is_cut: it goes on, but what follows is not wanted; else it is unfinished. */
void spans_end(struct spans *spans, uint64_t ns, bool is_cut);

#endif
