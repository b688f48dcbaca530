/* The recorder's background thread: it works whenever there is work, and can be parked, so that a fork finds a process
 * with no thread but the program's own. With more threads a runtime may warn (CPython gh-100228). No Python dependency.
 *
 *     rec_worker_start
 *         rec_worker_post                     there is work
 *         rec_worker_wake                     on_wake is due
 *         rec_worker_park
 *             rec_worker_run_inline           on_wake is due although the thread is away
 *             rec_worker_unpark
 *         rec_worker_suspend
 *             rec_worker_resume
 *     rec_worker_stop
 *
 * Its state and transitions are drawn in worker.c. Any thread may call any function, except that rec_worker_start,
 * rec_worker_stop and rec_worker_forked are called by one thread, with the recording lock (thread_buffer.h). */
#ifndef REC_WORKER_H
#define REC_WORKER_H

#include <stdbool.h>
#include <stdint.h>

/* What the thread does. */
struct rec_worker_tasks {
    bool (*work)(void);                 /* does one piece of work; returns false when there is none */
    void (*on_wake)(void);              /* once after each rec_worker_wake, or once after several */
    void (*on_idle)(void);              /* after each wait for work, which takes from 8 ms to 1 s */
    uint64_t (*longest_wait)(void);     /* returns how many ns the next wait may take at most; or NULL */
    bool (*keeps_time)(void);           /* true while on_beat has to come in time, on a busy processor, too; or NULL */
    uint64_t (*on_beat)(void);          /* called often; returns in how many ns it is to be called again; or NULL */
    void (*on_leave)(void);             /* the thread ends, for the time being at least; or NULL */
};

/* Starts the thread. Returns 0, or an errno. */
int rec_worker_start(const struct rec_worker_tasks *tasks);

/* Announces that there is work. */
void rec_worker_post(void);

/* Requests a call of on_wake soon, before any other work. Safe in a signal handler. */
void rec_worker_wake(void);

/* True when another thread waits for this one, which then should not begin work that takes long. */
bool rec_worker_is_awaited(void);

/* Ends the thread for the time being, which begins anew if it is away. Returns when the kernel has forgotten it. */
void rec_worker_park(void);

/* Brings the thread back, some time after it was parked. Returns whether it is there. */
bool rec_worker_unpark(void);

/* Brings the thread back at once, where no event may come that would do it. */
void rec_worker_unpark_now(void);

/* Calls on_wake in place of the thread, if it is due and the thread is parked. */
void rec_worker_run_inline(void);

/* Parks the thread so that nobody can bring it back, or run on_wake inline, before the same thread calls
 * rec_worker_resume. */
void rec_worker_suspend(void);
void rec_worker_resume(void);

/* Ends the thread when all work is done; does the work itself when the thread is parked. Returns when the kernel has
 * forgotten the thread. */
void rec_worker_stop(void);

/* Forgets the parent's thread in a forked child. */
void rec_worker_forked(void);

#endif
