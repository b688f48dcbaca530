/* What cannot be recorded yet in a free-threaded build of CPython, where threads run at the same time: the one list. */
#ifndef REC_FREE_THREADING_H
#define REC_FREE_THREADING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#ifdef Py_GIL_DISABLED

/* Returns false with ValueError set when this option of a recording is refused. key, value: of the dict of options. */
bool rec_free_threading_allows(PyObject *key, PyObject *value);

/* The program has begun to use greenlets: recording ends, with one line. What was recorded is kept. Returns true. */
bool rec_free_threading_ends_at_greenlets(void);

#else

static inline bool rec_free_threading_allows(PyObject *key, PyObject *value) { return (void)key, (void)value, true; }
static inline bool rec_free_threading_ends_at_greenlets(void) { return false; }

#endif

#endif
