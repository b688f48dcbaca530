/* C calls: records of the calls of C functions (built-in functions and methods of built-in types), alongside either
 * engine: on 3.11 from a profile function on every thread, from 3.12 on from sys.monitoring. Calls that C code makes
 * itself are not seen, nor are calls of classes. All functions are called with the GIL. */
#ifndef REC_C_CALLS_H
#define REC_C_CALLS_H

#include <stdbool.h>

#include "engine.h"

/* Records them from now on, after the engine has entered; on REC_ENTER_RESUME, if they were recorded before. Returns 0,
 * or -1 with an exception set. */
int rec_c_calls_enter(enum rec_enter why);

/* Records none from now on; before a pause of the engine, but after its end. May be called without an enter. */
void rec_c_calls_leave(enum rec_leave why);

/* True from an enter until a leave that is no pause. */
bool rec_c_calls_are_on(void);

/* Takes back the place that another tool may have taken; may be called without an enter. */
void rec_c_calls_look(void);

/* True when another tool's profile function was on some thread, so that calls may be missing. */
bool rec_c_calls_were_displaced(void);

#endif
