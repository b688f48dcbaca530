/* The options of a recording, as panopticon_rec gives them. Hides their names and types in Python. */
#ifndef REC_OPTIONS_H
#define REC_OPTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct rec_options {
    const char *engine;                 /* "frame", "monitoring", or NULL: the first that there is; borrowed from the dict */
    int c_calls;
    PyObject *filters;                  /* list of (enum rec_filter_action, str), or NULL; borrowed from the dict */
    unsigned long long min_duration_ns, max_size, last_ns;                      /* 0: no limit */
    int discards, follows_forks, starts_paused, snapshots_exceptions;
    int snapshot_signal, toggle_signal; /* 0: none */
};

/* Reads a dict. What is missing is zero. Returns 0, or -1 with an exception set. */
int rec_options_parse(PyObject *dict, struct rec_options *options);

/* Replaces the filters. Returns 0, or -1 with an exception set. */
int rec_options_set_filters(const struct rec_options *options);

#endif
