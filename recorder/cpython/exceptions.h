/* Exceptions: where one is raised and handled, as instants with its type and text (--exceptions). From CPython 3.12 on
 * sys.monitoring reports them, alongside either engine. On 3.11 the frame engine reports those that leave the function in
 * which they were raised. All functions are called with the GIL. */
#ifndef REC_EXCEPTIONS_H
#define REC_EXCEPTIONS_H

#include <stdbool.h>

#include "engine.h"
#include "threads.h"

/* Records them from now on, after the engine has entered; on REC_ENTER_RESUME, if they were recorded before. Has no
 * effect on REC_ENTER_START if they are recorded already. Returns 0, or -1 with an exception set. */
int rec_exceptions_enter(enum rec_enter why);

/* Records none from now on; before a pause of the engine, but after its end. May be called without an enter. */
void rec_exceptions_leave(enum rec_leave why);

/* True from an enter until a leave that is no pause. */
bool rec_exceptions_are_on(void);

/* True while they need a tool of sys.monitoring. */
bool rec_exceptions_use_tool(void);

#if PY_VERSION_HEX < 0x030C0000

/* True when the exception with which a frame is left was raised there, and is to be recorded. */
bool rec_exceptions_begin_at_exit(const PyThreadState *ts);

/* Adds the instant of that exception, and keeps the exception. leaving: the frame. */
void rec_exceptions_add_at_exit(PyThreadState *ts, struct rec_thread *thread, struct rec_open_frame leaving);

#endif

/* Takes back the place that another tool may have taken; may be called without an enter. */
void rec_exceptions_look(void);

#endif
