/* Works: what a thread hands to a pool of threads of concurrent.futures, and which thread of the pool takes it. The records
 * name each by the identity of its object, so that a reader can connect both; wherever the functions of the standard library
 * are recorded or not. All functions are called with the GIL; none runs Python code. */
#ifndef REC_WORKS_H
#define REC_WORKS_H

#include "threads.h"

/* A _WorkItem is made, and submitted: f is the frame of its __init__, which is entered. */
void rec_works_submit(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread);

/* The thread runs one: f is the frame of its run(), which is entered. rec_works_end: which has been left, and is not
 * recorded. */
void rec_works_take(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread);
void rec_works_end(PyThreadState *ts, struct rec_thread *thread);

#endif
