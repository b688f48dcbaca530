/* The class panopticon_rec.watch: measures sections of the program, and reports those that take too long or end by an
 * exception (../incidents.h). Is in C, so that a section costs little, and next to nothing where nothing is recorded.
 * Called with the GIL. */
#ifndef REC_WATCH_H
#define REC_WATCH_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Returns the class, or NULL with an exception set. Keeps the two functions, which make_watch_doc in module.c
 * describes. */
PyObject *rec_watch_make_type(PyObject *parse_duration, PyObject *find_id);

#endif
