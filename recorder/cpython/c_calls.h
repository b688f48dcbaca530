/* C calls: records of the calls of C functions (built-in functions and methods of built-in types), beside either
 * engine: on 3.11 from a profile function on every thread, from 3.12 on from sys.monitoring. Calls that C code makes
 * itself are not seen, nor are calls of classes. All functions are called with the GIL. */
#ifndef REC_C_CALLS_H
#define REC_C_CALLS_H

#include <stdbool.h>

/* After the engine's start. Returns 0, or -1 with an exception set. */
int rec_c_calls_start(void);

/* In a forked child, after the engine's begin. */
void rec_c_calls_begin(void);

/* No calls are recorded meanwhile; may be called without a start. */
void rec_c_calls_pause(void);
void rec_c_calls_resume(void);

/* Sees whether another tool has taken away what C calls come from; may be called without a start. */
void rec_c_calls_look(void);

/* After the engine's stop; may be called without a start. is_finalized: the interpreter is gone. Returns false when
 * another tool's profile function stood in the way on some thread, so that calls may be missing. */
bool rec_c_calls_stop(bool is_finalized);

#endif
