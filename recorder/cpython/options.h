/* The options of a recording, read from the dict that panopticon_rec/options.py makes. Hides their names and types in
 * Python. */
#ifndef REC_OPTIONS_H
#define REC_OPTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct rec_options {
    const char *engine;                 /* "frame", "monitoring", or NULL: the first there is; borrowed from the dict */
    PyObject *filters;                  /* list of (enum pnr_filter_action, str), or NULL; borrowed from the dict */
    PyObject *args, *results, *args_repr, *redact;      /* lists of str, or NULL; borrowed from the dict */
    unsigned long long c_calls, collections, exceptions, starts_paused, discards, follows_forks;         /* flags */
    unsigned long long has_sparse_clock, task_names;
    unsigned long long min_duration_ns, max_size, last_ns;                      /* 0: no limit */
    unsigned long long samples_ns;      /* how often threads are sampled; 0: never */
    unsigned long long max_overhead_ppm;        /* the budget, in millionths of the CPU time; 0: none */
    int snapshots_exceptions;
    int snapshot_signal, toggle_signal; /* 0: none */
};

/* Reads a dict: each key that it may have is a row of the table in options.c; what is missing or None is zero.
 * Returns 0, or -1 with an exception set. */
int rec_options_parse(PyObject *dict, struct rec_options *options);

/* Replaces the filters. Returns 0, or -1 with an exception set. */
int rec_options_set_filters(const struct rec_options *options);

#endif
