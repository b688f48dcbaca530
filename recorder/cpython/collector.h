/* The garbage collector: records when it runs, as a slice of the thread that runs it (COLLECT, COLLECT_END), with the
 * generation, and how many objects it found (--gc). Hides how the interpreter reports that. gc.callbacks, which the
 * program sees, stays as it is. All functions are called with the GIL. */
#ifndef REC_COLLECTOR_H
#define REC_COLLECTOR_H

#include <stdbool.h>

/* Records collections from now on. Imports the module gc. Has no effect if it is so already. Returns 0, or -1 with an
 * exception set. */
int rec_collector_begin(void);

/* Records none from now on. May be called without a begin. Keeps the exception that is set. */
void rec_collector_end(void);

/* Forgets the objects of an interpreter that is gone. */
void rec_collector_forget(void);

#endif
