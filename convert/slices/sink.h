/* What a conversion produces, and where it goes: an output format implements these calls. A member that is NULL means
 * that the sink is not interested.
 *
 * Threads and functions are numbers: a thread's place in its process, a function's index in the name table of its
 * process. Times are nanoseconds from the start of the trace. Everything passed is borrowed for the call, except a
 * process's symbols, which are valid until the next process or the end. */
#ifndef SINK_H
#define SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/samples.h"
#include "convert/read/symbols.h"
#include "format/kinds.h"
#include "format/values.h"

enum slice_flag {
    SLICE_EXCEPTION = 1,                /* left by an exception */
    SLICE_UNFINISHED = 2,               /* still open when the recording of its thread ended */
    SLICE_BEGIN_UNKNOWN = 4,            /* entered before the recording began, or while nothing was recorded */
    SLICE_EXIT_MISSING = 8,             /* left before its end, at an unknown time */
    SLICE_CUT = 16,                     /* begins before, or ends after, the selected time */
    SLICE_NOTICED_LATE = 32,            /* begin unknown, as the function was muted: from when on it was seen to run */
    SLICE_FLOW_INCOMPLETE = 64,         /* the frame has run before, in slices that are not recorded: it was muted */
    SLICE_INEXACT = 128                 /* its begin or end may be wrong by more than 1 us: the clock was not read */
};

struct slice {
    uint64_t begin_ns, end_ns;
    uint32_t thread;
    uint32_t function;                  /* of an unrecorded region: enum pnr_unrecorded_reason */
    uint32_t flags;                     /* enum slice_flag */
    uint32_t cookie;                    /* what the sink's enter() returned for it */
    uint32_t depth;                     /* how many slices are around it */
    enum pnr_subject subject;           /* what is no function and no span is named by subjects.h */
    const struct pnr_values *values;    /* that the program gave it; NULL: it has none */
};

/* The program reported a moment (INSTANT), or numbers that change with time (COUNTER). */
struct sink_remark {
    enum pnr_kind kind;
    uint32_t thread;
    uint64_t ns;
    uint32_t label;                     /* number in the name table */
    uint32_t cookie;                    /* of the innermost slice; 0: there is none */
    const struct pnr_values *values;    /* without bytes if it has none */
};

/* Calls of a muted function that a slice hides: they were not recorded, and their time is the slice's own. Estimated.
 * */
struct hidden_calls {
    uint32_t function;
    double calls, ns;
};

enum flow_phase { FLOW_START, FLOW_STEP, FLOW_END };

enum flow_origin {
    FLOW_OF_SLICES,
    FLOW_OF_CREATION,                   /* an arrow from the slice that created a frame to the frame's first slice */
    FLOW_OF_WORK                        /* an arrow from the slice that handed work to another thread to where it is done */
};

/* Where the flow through the slices of one continuable frame passes one of them; or the start or end of an arrow. Or where the program reported a flow: its last event is a
 * STEP, as nobody knows that it is the last one. */
struct flow_event {
    uint64_t ns;
    uint64_t flow;                      /* from 1; each flow, and each such arrow, of the trace has its own */
    uint32_t thread;
    uint32_t function;                  /* the frame's; of a flow that the program reported, its label */
    enum flow_phase phase;
    enum flow_origin origin;
};

enum task_phase { TASK_BEGIN, TASK_RESUME, TASK_SUSPEND, TASK_END };

/* What a task waits for. Numbers of functions; 0: not known. */
struct awaited {
    uint32_t what;                      /* of asyncio: what the program called, such as asyncio.tasks.sleep */
    uint32_t where;                     /* the innermost function that is not asyncio's */
};

/* A task begins, is resumed and suspended in turn, and ends. */
struct task_event {
    uint64_t ns;                        /* never less than that of the task's event before */
    uint64_t task;                      /* from 1; each task of the trace has its own */
    uint32_t thread;
    uint32_t function;
    enum task_phase phase;
    uint32_t flags;                     /* END: SLICE_UNFINISHED or SLICE_CUT, if the task continues after that */
    struct awaited awaited;             /* SUSPEND: until it is resumed */
    struct pnr_string name;             /* BEGIN, END: as it was when the task was suspended first; empty: not known */
    struct pnr_string other;            /* SUSPEND: the name of the task that it waits for; END: its own, if it has changed */
};

struct sink_process {
    uint32_t pid;                       /* unique in the trace */
    uint32_t order;                     /* from 0 */
    struct pnr_string name;
    const struct symbols *symbols;
    bool has_ledger;                    /* what is muted some time is known */
    bool is_sparse;                     /* slices may be inexact */
    bool has_labels;                    /* the program may have reported something */
    const struct samples *samples;      /* borrowed as symbols; NULL: it has none, or times are logical */
    uint64_t zero_ns;                   /* CLOCK_MONOTONIC at the start of the trace, for samples */
};

struct sink_thread {
    uint32_t thread;                    /* its number for the calls below, from 0 without holes */
    uint32_t tid;                       /* unique in the process */
    uint32_t order;
    struct pnr_string name;
    bool is_greenlet;                   /* a stack of its own in a thread */
    uint32_t sampled;                   /* by which number samples know the thread that it is, or runs in; 0: not known */
};

enum sink_recorder_kind {
    SINK_COST,                          /* what recording cost: from ns on, until the next of these */
    SINK_MUTED,                         /* how many functions are muted, from ns on */
    SINK_WINDOW, SINK_WINDOW_END,       /* what is muted is recorded from here on; ... until here */
    SINK_RAN, SINK_QUEUED, SINK_HELD_GIL,       /* how much of the time a thread did, from ns on: sampled */
    SINK_MEMORY, SINK_CHUNKS,           /* at ns: bytes of the process in memory; chunks in use */
    SINK_LAG                            /* from ns on: milliseconds for which a thread's event loop is busy in a row */
};

struct sink_recorder_event {
    uint64_t ns;
    enum sink_recorder_kind kind;
    double value;                       /* COST: percent of the CPU time; of threads: of the time; MUTED: how many */
    double budget;                      /* COST: percent; 0 = not known */
    uint32_t tid;                       /* of threads */
    struct pnr_string thread_name;
};

/* Returns the name of a counter of samples; NULL for other events. */
static inline const char *sink_counter_name(enum sink_recorder_kind kind)
{
    return kind == SINK_RAN ? "ran, %" : kind == SINK_QUEUED ? "queued, %" : kind == SINK_HELD_GIL ? "GIL, %" :
           kind == SINK_MEMORY ? "memory, bytes" : kind == SINK_CHUNKS ? "chunks in use" :
           kind == SINK_LAG ? "loop lag, ms" : NULL;
}

struct sink {
    /* Called before everything that belongs to the process. */
    void (*process)(struct sink *sink, const struct sink_process *process);
    /* Called for each thread of the process, before its slices. */
    void (*thread)(struct sink *sink, const struct sink_thread *thread);
    /* Called when a slice ends: nested slices come before those around them. */
    void (*slice)(struct sink *sink, const struct slice *slice);
    /* Called instead of slice() for a slice that hides calls of n muted functions; NULL: slice() is called. */
    void (*hiding_slice)(struct sink *sink, const struct slice *slice, const struct hidden_calls *calls, size_t n);
    /* Called for what the recorder saw of the process in the selected time: each event of its ledger, in the order of
     * time; and at its end what was sampled, thread by thread. */
    void (*recorder_event)(struct sink *sink, const struct sink_recorder_event *event);
    /* Called for an instant event, which has no length. */
    void (*instant)(struct sink *sink, uint32_t thread, uint64_t ns, const char *text);
    /* Called for what the program reported, except for spans, which are slices, and flows. */
    void (*remark)(struct sink *sink, const struct sink_remark *remark);
    /* Called in the order of the flow. */
    void (*flow_event)(struct sink *sink, const struct flow_event *event);
    /* Called when a slice begins, before those nested in it. Returns the cookie that slice() will get with it. parent:
     * the cookie of the slice around it, 0 for an outermost one; function and subject: as in struct slice. Some slices
     * are pruned after they have begun: slice() is called neither for them nor for those in them. */
    uint32_t (*enter)(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                      enum pnr_subject subject);
    /* Called for each slice of a flow, in the order of the flow. suspended_ns: the time since the end of the slice
     * before it. */
    void (*resume)(struct sink *sink, uint32_t function, bool is_first, uint64_t suspended_ns);
    /* Called if tasks are wanted, in the order of the task: BEGIN, pairs of RESUME and SUSPEND, END. */
    void (*task)(struct sink *sink, const struct task_event *event);
    /* Set by the sink when it cannot continue: further calls have no effect. */
    bool is_broken;
};

#endif
