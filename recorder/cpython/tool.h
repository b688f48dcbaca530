/* The recorder as a tool of sys.monitoring (PEP 669), from CPython 3.12 on.
 *
 *     rec_tool_begin                      takes a tool's number that is free
 *         rec_tool_listen                 for each event
 *         rec_tool_watch                  from here on they come
 *     rec_tool_end */
#ifndef REC_TOOL_H
#define REC_TOOL_H

#include "cpython.h"

/* Why calls may be missing. */
#define REC_TOOL_TAKEN "another tool freed the recorder's tool number of sys.monitoring"

/* Called at an event with the arguments that PEP 669 gives: code, offset, and one or two more. Must return
 * rec_tool_nothing(), or rec_tool_disable() for no more events of this kind from this place. */
typedef vectorcallfunc rec_tool_callback;

/* Returns 0, or -1 with an exception set: all numbers are other tools'. */
int rec_tool_begin(void);

/* Registers a function for an event. event: its name in sys.monitoring.events. Audit hooks may run Python code here.
 * Returns 0, or -1 with an exception set. */
int rec_tool_listen(const char *event, rec_tool_callback callback);

/* Lets all events come that have a callback, at once, so that no entry is without its exit. May be called again after
 * more of rec_tool_listen. Returns 0, or -1 with an exception set. */
int rec_tool_watch(void);

/* Stops all events until rec_tool_resume. Returns whether the number was ours until now: else events are missing. */
bool rec_tool_pause(void);
void rec_tool_resume(void);

/* Takes a number again if another tool has freed ours. Returns whether it was still ours: else events are missing. */
bool rec_tool_look(void);

/* Frees the number: no more events come. May be called without a begin. Returns whether the number was ours to the
 * end. */
bool rec_tool_end(void);

bool rec_tool_has_begun(void);

/* Forgets the objects of an interpreter that is gone. */
void rec_tool_forget(void);

static inline PyObject *rec_tool_nothing(void) { return Py_NewRef(Py_None); }

PyObject *rec_tool_disable(void);

#endif
