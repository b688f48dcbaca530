/* An engine: where events come from. It sees every Python function that is entered and left and appends records
 * to the buffer. All functions are called with the GIL, but for rec_engine_forked. */
#ifndef REC_ENGINE_H
#define REC_ENGINE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

struct rec_engine {
    const char *name;                   /* for the property "engine" */

    /* Begins to record all threads of this interpreter: the buffer has been started. Frames that are open now are shown
     * as opened before. Returns 0, or -1 with an exception set. */
    int (*start)(void);

    /* The same in a forked child, to which the parent's start has come down. */
    int (*begin)(void);

    /* Sees to it that no more events come, and that they come again; each thread's next block begins with its stack. */
    void (*pause)(void);
    void (*resume)(void);

    /* Sees whether another tool has taken the engine's place, and takes it again. */
    void (*look)(void);

    /* True when a look is due. Any thread may ask, without the GIL. */
    bool (*needs_look)(void);

    /* While it pauses: from rec_engine_resume on the other engine records in its place. NULL where it does not do that. */
    void (*leave)(void);

    /* Records in place of the other engine, after its leave and from rec_engine_resume on. NULL where it does not do that.
     * Returns 0, or -1 with an exception set. */
    int (*take_over)(void);

    /* Ends it; the buffer may then be stopped. is_finalized: the interpreter is gone, nothing of it is touched. */
    void (*stop)(bool is_finalized);
};

/* NULL where this Python does not have it. */
extern const struct rec_engine *const rec_engine_frame, *const rec_engine_monitoring;

/* Once an interpreter: a program that embeds Python may have several, one after the other. own: prefix of the files
 * whose functions are never recorded; borrowed for ever. Returns 0, or -1 with an exception set. */
int rec_engine_init(const char *own);

/* The interpreter is gone, and with it all objects that are kept. Nothing is being recorded. */
void rec_engine_forget(void);

/* In a forked child: recording ends without a record. on_first_event is called at the first event that comes; or NULL. */
void rec_engine_forked(void (*on_first_event)(void));

/* No events come until rec_engine_resume. Called when they do. */
void rec_engine_pause(const struct rec_engine *engine);
void rec_engine_resume(const struct rec_engine *engine);

/* Runs func(arg) as the program: with an empty Python stack and all of the recursion limit. */
int rec_engine_run_detached(int (*func)(void *), void *arg);

#endif
