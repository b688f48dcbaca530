/* Remarks: what the program reports about itself while it is recorded, as instants, spans, counters and flows
 * (panopticon_rec.mark, span, counter, flow). Each is a record with values in the thread's own chunk
 * (../../format/values.h). Where nothing is recorded they do nothing. They never raise, except for a call without a
 * name. */
#ifndef REC_REMARKS_H
#define REC_REMARKS_H

#include <stdbool.h>
#include <stdint.h>

#include <Python.h>

struct rec_open_frame;
struct rec_thread;

/* The functions for the module's table of methods. */
PyObject *rec_remarks_instant(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keys);
PyObject *rec_remarks_counter(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keys);
PyObject *rec_remarks_flow(PyObject *self, PyObject *id);

/* Makes an instant in this thread, as panopticon_rec.mark does, for the recorder's own code. name and keys: str. Keeps the
 * exception that is set. Returns false when nothing is recorded at this moment. */
bool rec_remarks_add_instant(PyObject *name, PyObject *const *values, PyObject *const *keys, Py_ssize_t n);

/* Makes an instant in a frame that has been left, before its exit record. thread: runs, and is at the present. leaving: the
 * frame. Called without an exception. */
void rec_remarks_add_instant_at_exit(PyThreadState *ts, struct rec_thread *thread, PyObject *name,
                                     PyObject *const *values, PyObject *const *keys, Py_ssize_t n,
                                     const struct rec_open_frame *leaving);

/* Retracts the last record of this thread if it is an instant of this name without values. Returns whether it was. */
bool rec_remarks_retract(PyObject *name);

/* Returns the number of the label of an exact str, in the recording that runs; 0 when there are too many labels. */
uint32_t rec_remarks_label(PyObject *name);

/* Adds the type `span` to the module. Returns 0, or -1 with an exception set. */
int rec_remarks_add_type(PyObject *module);

#endif
