/* What a conversion produces, and where it goes: an output format implements these calls. Threads and functions are
 * told by number: threads by their place in the process, functions by their index in its name table. Times are
 * nanoseconds from the start of the trace. Everything passed is borrowed for the call, but for a process's symbols,
 * which are valid until the next process or the end. */
#ifndef SINK_H
#define SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/read/symbols.h"
#include "format/kinds.h"

enum slice_mark {
    SLICE_EXCEPTION = 1,                /* left by an exception */
    SLICE_UNFINISHED = 2,               /* still open when the recording of its thread ended */
    SLICE_OPENED_BEFORE = 4,            /* open before the recording began, or entered unseen */
    SLICE_LEFT_UNSEEN = 8,              /* left at some time before its end */
    SLICE_CUT = 16                      /* begins before, or ends after, what was selected */
};

struct slice {
    uint64_t begin_ns, end_ns;
    uint32_t thread;
    uint32_t function;                  /* of an unrecorded region: enum pnr_unrecorded_reason */
    uint32_t marks;                     /* enum slice_mark */
    uint32_t cookie;                    /* what the sink's enter() gave for it */
    enum pnr_subject subject;           /* what is no function has its name from subjects.h */
};

enum point_phase { POINT_FIRST, POINT_MIDDLE, POINT_LAST };

/* Where a chain of slices of one continuable frame passes through one of them; or one of the two ends, first and last,
 * of the arrow from the slice that made the frame to its first one. */
struct point {
    uint64_t ns;
    uint64_t chain;                     /* from 1, one for each chain, and each such arrow, of the trace */
    uint32_t thread;
    uint32_t function;                  /* that of the frame */
    enum point_phase phase;
    bool is_creation;                   /* of such an arrow */
};

enum task_phase { TASK_BEGIN, TASK_RUNS, TASK_SUSPENDED, TASK_END };

/* A task begins, runs and is suspended by turns, and ends. */
struct task_event {
    uint64_t ns;                        /* never less than that of the task's event before */
    uint64_t task;                      /* from 1, one for each task of the trace */
    uint32_t thread;
    uint32_t function;
    enum task_phase phase;
    uint32_t marks;                     /* END: SLICE_UNFINISHED or SLICE_CUT, if it goes on after that */
};

struct sink_process {
    uint32_t pid;                       /* unique in the trace */
    uint32_t order;                     /* from 0 */
    struct pnr_string name;
    const struct symbols *symbols;
};

struct sink_thread {
    uint32_t thread;                    /* its number for the calls below, from 0 without holes */
    uint32_t tid;                       /* unique in the process */
    uint32_t order;
    struct pnr_string name;
    bool is_greenlet;                   /* a stack of its own in a thread */
};

struct sink {
    /* Called before all that belongs to the process. */
    void (*process)(struct sink *sink, const struct sink_process *process);
    /* Called for each thread of the process, before its slices. */
    void (*thread)(struct sink *sink, const struct sink_thread *thread);
    /* Called when a slice is closed: inner ones come before those around them. */
    void (*slice)(struct sink *sink, const struct slice *slice);
    /* Called where something happened that is worth a word: an instant without length. */
    void (*instant)(struct sink *sink, uint32_t thread, uint64_t ns, const char *text);
    /* Called in the order of the chain. */
    void (*point)(struct sink *sink, const struct point *point);
    /* May be NULL. Called when a slice is entered, before those in it: gives the cookie that slice() will get with it.
     * parent: that of the slice around it, 0 for an outermost one; function and subject: as in struct slice. Some
     * slices that are entered do not stay: slice() is called neither for them nor for those in them. */
    uint32_t (*enter)(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                      enum pnr_subject subject);
    /* May be NULL. Called for each slice of a chain that stays, in the order of the chain: how long it was suspended
     * before, since the end of the one before it. */
    void (*run)(struct sink *sink, uint32_t function, bool is_first, uint64_t suspended_ns);
    /* May be NULL. Called if tasks are wanted, in the order of the task: BEGIN, one pair of RUNS and SUSPENDED after
     * another, END. */
    void (*task)(struct sink *sink, const struct task_event *event);
    /* Set by the sink when it cannot go on: what follows is in vain. */
    bool is_broken;
};

#endif
