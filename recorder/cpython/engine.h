/* An engine: where events come from. It sees every Python function that is entered and left, and appends records to the
 * thread buffers. All functions are called with the GIL, except for needs_look and, in a forked child, REC_ENTER_FORK.
 */
#ifndef REC_ENGINE_H
#define REC_ENGINE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

/* Why events come from now on. */
enum rec_enter {
    REC_ENTER_START,                    /* a recording starts: open frames of all threads are recorded as open before */
    REC_ENTER_CHILD,                    /* a forked child joins; what the parent's start installed is still there */
    REC_ENTER_RESUME,                   /* a pause ends: each thread's next block begins with its stack */
    REC_ENTER_HANDOVER,                 /* a pause ends, and this engine continues in place of the other one */
    REC_ENTER_FORK                      /* in a forked child: its first event must come. Runs no Python code */
};

/* Why no events come from now on. */
enum rec_leave {
    REC_LEAVE_PAUSE,
    REC_LEAVE_HANDOVER,                 /* after REC_LEAVE_PAUSE: the other engine will continue */
    REC_LEAVE_FAILURE,                  /* nothing more can be recorded; amid an event, so runs no Python code */
    REC_LEAVE_STOP,                     /* the last records are written; the session can then be stopped */
    REC_LEAVE_OFF,                      /* as STOP, without any record */
    REC_LEAVE_GONE                      /* the interpreter is gone: nothing of it is touched */
};

struct rec_engine {
    const char *name;                   /* for the property "engine" */

    /* Returns 0, or -1 with an exception set. -1 without exception: this engine never enters for that reason. */
    int (*enter)(enum rec_enter why);

    void (*leave)(enum rec_leave why);

    /* Takes the engine's place again if another tool has taken it. */
    void (*look)(void);

    /* True when a look is due. Any thread may ask, without the GIL. */
    bool (*needs_look)(void);
};

/* NULL where this Python does not have it. */
extern const struct rec_engine *const rec_engine_frame, *const rec_engine_monitoring;

/* Returns the engine of this name, or the fastest one for NULL. has_budget: it must be one for which a muted function
 * costs nothing. Returns NULL with ValueError set when this Python does not have it. */
const struct rec_engine *rec_engine_find(const char *name, bool has_budget);

/* Prepares the engines. Called once an interpreter, of which a program that embeds Python may have several in sequence.
 * own: prefix of the files whose functions are never recorded; borrowed for ever. Returns 0, or -1 with an exception
 * set. */
int rec_engine_init(const char *own);

/* Forgets the objects of an interpreter that is gone. Nothing is being recorded. */
void rec_engine_forget(void);

/* Runs func(arg) as the program: with an empty Python stack and all of the recursion limit. */
int rec_engine_run_detached(int (*func)(void *), void *arg);

#endif
