/* Exceptions: where one is raised and handled, as instants with its type and text (--exceptions). From sys.monitoring,
 * alongside either engine, from CPython 3.12 on. All functions are called with the GIL. */
#ifndef REC_EXCEPTIONS_H
#define REC_EXCEPTIONS_H

#include <stdbool.h>

#include "engine.h"

/* Records them from now on, after the engine has entered; on REC_ENTER_RESUME, if they were recorded before. Has no
 * effect on REC_ENTER_START if they are recorded already. Returns 0, or -1 with an exception set. */
int rec_exceptions_enter(enum rec_enter why);

/* Records none from now on; before a pause of the engine, but after its end. May be called without an enter. */
void rec_exceptions_leave(enum rec_leave why);

/* True from an enter until a leave that is no pause. */
bool rec_exceptions_are_on(void);

/* Takes back the place that another tool may have taken; may be called without an enter. */
void rec_exceptions_look(void);

#endif
