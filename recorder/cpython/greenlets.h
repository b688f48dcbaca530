/* Greenlets: stacks by turns on one thread. Each is a track of its own in the capture: its records stand in its
 * thread's blocks, behind SWITCH records. That another one runs is seen at the next event, by the interpreter's data
 * stack, which each greenlet has for itself (greenlet: TPythonState.cpp); and where a stack begins. Nothing is done,
 * and nothing imported, before the program has imported greenlet. A track is used again, by a later greenlet of the same
 * thread and name, when the one that it was of has ended: so a program has as many as run at a time. All functions are called with the GIL; none runs
 * Python code.
 *
 *     rec_greenlets_start                 a recording begins
 *         rec_greenlets_look              whenever a function of the module `greenlet` is met
 *         rec_greenlets_notice            at an event where rec_greenlets_may_have_changed */
#ifndef REC_GREENLETS_H
#define REC_GREENLETS_H

#include "threads.h"

struct rec_greenlets {
    bool are_used;
    bool has_bare;                      /* one began without data stack: that of one which has ended may become its own */
    void (*on_use)(void);               /* called when they are from now on; or NULL */
};
extern struct rec_greenlets rec_greenlets __attribute__((visibility("hidden")));

/* on_use: called at once, or later. */
void rec_greenlets_start(void (*on_use)(void));

/* Another engine goes on, which does not need on_use. */
void rec_greenlets_change(void);

/* The interpreter is gone. */
void rec_greenlets_forget(void);

/* The program has imported the module, or is about to. */
void rec_greenlets_look(void);

static inline bool rec_greenlets_may_have_changed(const PyThreadState *ts, const struct rec_thread *thread)
{
    return unlikely(cpython_data_stack(ts) != thread->data_stack) || unlikely(!cpython_running(ts)) ||
           unlikely(rec_greenlets.has_bare);
}

enum rec_greenlets_change {
    REC_GREENLETS_SAME,
    REC_GREENLETS_OTHER,                /* what the buffer has of its track is that of the one that runs now */
    REC_GREENLETS_NEW                   /* ... and nothing is known of it */
};

/* Finds out which greenlet runs, and changes the buffer's track. The caller tells it by rec_threads_emit_switch. entered: the
 * frame that is about to run, if the interpreter does not have it yet; or NULL. */
enum rec_greenlets_change rec_greenlets_notice(PyThreadState *ts, struct rec_thread *thread, cpython_frame *entered);

/* The quick way, for an engine that sees the outermost frame of each new stack, so that a stack that was seen in this
 * epoch is still the same greenlet's; not once a greenlet began in a generator's frame, which lies on no stack. Changes
 * the buffer's track and tells it. Returns false, and does nothing, where that is not simple. */
bool rec_greenlets_switch(PyThreadState *ts, struct rec_thread *thread);

#endif
