/* The recorder as two tools of sys.monitoring (PEP 669), from CPython 3.12 on. A tool's events add up: what is on for
 * all code cannot be turned off for one code object, except by DISABLE, which is undone for all tools at once. So
 * one number notes each code object once, and the other one has events of single code objects.
 *
 *     rec_tool_begin                      takes two tools' numbers that are free
 *         rec_tool_listen                 for each event
 *         rec_tool_watch                  from here on they come
 *     rec_tool_end
 *
 * codes.h sets the events of code objects, and is what engines use between begin and end. */
#ifndef REC_TOOL_H
#define REC_TOOL_H

#include "cpython.h"

/* Why calls may be missing. */
#define REC_TOOL_TAKEN "another tool freed the recorder's tool number of sys.monitoring"

enum rec_tool_seat {
    REC_TOOL_NOTES,                     /* its events are on for all code, and are answered with DISABLE */
    REC_TOOL_RECORDS,                   /* most of its events are set for each code object */
    REC_TOOL_SEATS
};

/* Called at an event with the arguments that PEP 669 gives: code, offset, and one or two more. Must return
 * rec_tool_nothing(), or rec_tool_disable() for no more events of this kind from this place. */
typedef vectorcallfunc rec_tool_callback;

/* Nothing has begun, or it has ended. Returns 0, or -1 with an exception set: other tools have too many numbers. */
int rec_tool_begin(void);

/* Registers a function for an event. event: its name in sys.monitoring.events. is_global: it comes from all code, and
 * not only from where rec_tool_set_local says so. Audit hooks may run Python code here. Returns 0, or -1 with an
 * exception set. */
int rec_tool_listen(enum rec_tool_seat seat, const char *event, rec_tool_callback callback, bool is_global);

/* The bit of an event, by its name; 0 with an exception set. */
long rec_tool_event(const char *name);

/* True when the tool that records has a callback for the event. */
bool rec_tool_listens(long bit);

/* Lets all global events come that have a callback. Takes numbers again that another tool has freed in a pause. May be
 * called again after more of rec_tool_listen. Returns 0, or -1 with an exception set. */
int rec_tool_watch(void);

/* Stops the global events until rec_tool_resume. */
void rec_tool_pause(void);
void rec_tool_resume(void);

/* Takes numbers again that another tool has freed. Returns whether all were still ours: else events are missing. */
bool rec_tool_look(void);

/* Frees the numbers: no more events come. May be called without a begin. */
void rec_tool_end(void);

bool rec_tool_has_begun(void);

/* The number that records; negative: none. */
long rec_tool_number(void);

/* Sets the events of one code object, with a number. Keeps the exception that is set. Returns false on failure. */
bool rec_tool_set_local(long number, PyCodeObject *code, long events);
long rec_tool_get_local(long number, PyCodeObject *code);

/* Forgets the objects of an interpreter that is gone. */
void rec_tool_forget(void);

static inline PyObject *rec_tool_nothing(void) { return Py_NewRef(Py_None); }

PyObject *rec_tool_disable(void);

#endif
