/* The recording lock (../thread_buffer.h). With a GIL it is the GIL, which the caller of the recorder has, and all that
 * is here does nothing. In a free-threaded build of CPython it is a mutex, which stands for the GIL wherever a comment
 * says that the GIL guards something. An event that is fast takes no lock in either build: it touches what belongs to
 * its thread alone. A thread that is about to touch another thread's buffer stops all others in between two of their
 * events (rec_lock_run_alone).
 *
 * Order: this lock, then what stops the other threads. A thread that waits for the lock is detached from the interpreter,
 * so that the one which has it may stop all others. The same thread may take it several times. While code of the program
 * may run it is suspended, as a GIL would be given to others then. */
#ifndef REC_LOCK_H
#define REC_LOCK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

/* Calls func(arg) while no other thread of the interpreter runs, and none begins or ends. func must not call the
 * interpreter. Called with the lock. */
void rec_lock_run_alone(void (*func)(void *arg), void *arg);

#ifdef Py_GIL_DISABLED

void rec_lock_take(void);
void rec_lock_give(void);
bool rec_lock_is_taken(void);           /* by this thread */

/* Gives the lock up, however often this thread has taken it, until rec_lock_resume with what this returns. */
uint32_t rec_lock_suspend(void);
void rec_lock_resume(uint32_t n_taken);

/* Keeps the lock from before a fork until after it, wherever the interpreter knows of the fork. after: called then, in
 * parent and child, with the lock. Once an interpreter. Returns 0, or -1 with an exception set. */
int rec_lock_watch_forks(void (*after)(void));

/* In a forked child: the thread that had the lock may not be here. It stays this thread's if it was. */
void rec_lock_forked(void);

/* The interpreter is gone, with all threads that could have had the lock. */
void rec_lock_forget(void);

static inline void rec_lock_end_block(const char *unused)
{
    (void)unused;
    rec_lock_give();
}

/* Takes the lock until the end of the block. */
#define REC_LOCK_BLOCK() \
    __attribute__((cleanup(rec_lock_end_block))) const char rec_lock_block = (rec_lock_take(), 0)

#else

static inline void rec_lock_take(void) { }
static inline void rec_lock_give(void) { }
static inline bool rec_lock_is_taken(void) { return true; }
static inline uint32_t rec_lock_suspend(void) { return 0; }
static inline void rec_lock_resume(uint32_t n_taken) { (void)n_taken; }
static inline int rec_lock_watch_forks(void (*after)(void)) { return (void)after, 0; }
static inline void rec_lock_forked(void) { }
static inline void rec_lock_forget(void) { }
#define REC_LOCK_BLOCK() (void)0

#endif

#endif
