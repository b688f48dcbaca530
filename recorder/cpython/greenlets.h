/* Greenlets: several Python stacks that take turns on one thread. Each is a track of its own in the capture. Its
 * records stand in its thread's blocks, after SWITCH records.
 *
 * A switch is found at the next event: each greenlet has a data stack of its own (greenlet's TPythonState.cpp), and a
 * new one begins a stack. Nothing is done, and nothing imported, before the program has imported greenlet. When a
 * greenlet has ended, a later one of the same thread and name gets its track, so that a program has as many tracks as
 * greenlets run at a time.
 *
 * All functions are called with the GIL. None runs Python code.
 *
 *     rec_greenlets_start                 a recording begins
 *         rec_greenlets_await             a function of the module `greenlet` is called
 *         rec_greenlets_notice            at an event where rec_greenlets_may_have_changed */
#ifndef REC_GREENLETS_H
#define REC_GREENLETS_H

#include "threads.h"

struct rec_greenlets {
    bool are_used;
    bool has_bare;                      /* one began without a data stack: it may get that of one which has ended */
    void (*on_use)(void);               /* called when the program begins to use them; or NULL */
};
extern struct rec_greenlets rec_greenlets __attribute__((visibility("hidden")));

/* Starts to find switches. on_use: called when the program uses greenlets, which may be at once. */
void rec_greenlets_start(void (*on_use)(void));

/* Another engine continues, which has no need of on_use. */
void rec_greenlets_change(void);

/* Forgets all greenlets, because the interpreter is gone. */
void rec_greenlets_forget(void);

/* The stacks of all greenlets that do not run are reported anew when they run again, because other frames are recorded
 * from now on. */
void rec_greenlets_forget_stacks(void);

/* The program may be importing the module: the next events are not fast, and look for it. */
void rec_greenlets_await(void);

/* Called at each event that is not fast. Returns whether the next one must not be fast either. */
bool rec_greenlets_are_awaited(void);

static inline bool rec_greenlets_may_have_changed(const PyThreadState *ts, const struct rec_thread *thread)
{
    return unlikely(cpython_data_stack(ts) != thread->data_stack) || unlikely(!cpython_running(ts)) ||
           unlikely(rec_greenlets.has_bare);
}

enum rec_greenlets_change {
    REC_GREENLETS_SAME,
    REC_GREENLETS_OTHER,                /* another one runs, of which the thread's fields have been filled in */
    REC_GREENLETS_NEW                   /* another one runs, of which nothing is known */
};

/* Finds out which greenlet runs, and changes the thread's track. The caller emits it by rec_threads_emit_switch.
 * entered: the frame that is about to run, if the interpreter does not have it yet; or NULL. */
enum rec_greenlets_change rec_greenlets_notice(PyThreadState *ts, struct rec_thread *thread, cpython_frame *entered);

/* Emits what rec_greenlets_notice found, and counts the frames of a new one, for an engine whose frames are all on the
 * stack: f is the innermost one. */
void rec_greenlets_follow(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, enum rec_greenlets_change change);

/* Calls visit for each greenlet that does not run, and in which recorded frames may be open. owner: its thread;
 * data_stack: its own. innermost: its frames are linked one to the next, without entry frames (greenlet's
 * Greenlet::expose_frames, from CPython 3.12 on). */
typedef void rec_greenlets_visit(const PyThreadState *owner, const void *data_stack, cpython_frame *innermost);
void rec_greenlets_visit_waiting(rec_greenlets_visit *visit);

/* Changes the thread's track and emits a SWITCH record, quickly. It is for an engine that sees the outermost frame of
 * each new stack: a stack that was seen in this epoch then is still the same greenlet's. Returns false, and does
 * nothing, where that is not simple, as once a greenlet began in a generator's frame, which lies on no data stack. */
bool rec_greenlets_switch(PyThreadState *ts, struct rec_thread *thread);

#endif
