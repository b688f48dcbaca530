/* The properties of a recording that the Python side gives. Keeps them for forked children, which write them, too. */
#ifndef REC_PROPERTIES_H
#define REC_PROPERTIES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Replaces what is kept. dict: of str to str. Returns 0, or -1 with an exception set. */
int rec_properties_keep(PyObject *dict);

/* Adds them to the name table. */
void rec_properties_write(void);

#endif
