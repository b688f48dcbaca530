#include "functions.h"

#include "options.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "free_threading.h"
#include "../retention.h"
#include "../samples.h"

enum option_type {
    TEXT,                               /* const char * */
    NUMBER,                             /* unsigned long long; a flag is 0 or 1, a choice its position */
    SIGNAL,                             /* int */
    LIST,                               /* PyObject * */
    OCCASIONS                           /* list of signals, and 0 for an exception: two fields */
};

static const struct option_row {
    const char *key;
    enum option_type type;
    size_t offset;
} rows[] = {
    { "c_calls", NUMBER, offsetof(struct rec_options, c_calls) },
    { "exceptions", NUMBER, offsetof(struct rec_options, exceptions) },
    { "gc", NUMBER, offsetof(struct rec_options, collections) },
    { "task_names", NUMBER, offsetof(struct rec_options, task_names) },
    { "samples", NUMBER, offsetof(struct rec_options, samples_ns) },
    { "args", LIST, offsetof(struct rec_options, args) },
    { "results", LIST, offsetof(struct rec_options, results) },
    { "args_repr", LIST, offsetof(struct rec_options, args_repr) },
    { "redact", LIST, offsetof(struct rec_options, redact) },
    { "engine", TEXT, offsetof(struct rec_options, engine) },
    { "filters", LIST, offsetof(struct rec_options, filters) },
    { "min_duration", NUMBER, offsetof(struct rec_options, min_duration_ns) },
    { "clock", NUMBER, offsetof(struct rec_options, has_sparse_clock) },
    { "max_overhead", NUMBER, offsetof(struct rec_options, max_overhead_ppm) },
    { "start_paused", NUMBER, offsetof(struct rec_options, starts_paused) },
    { "max_size", NUMBER, offsetof(struct rec_options, max_size) },
    { "last", NUMBER, offsetof(struct rec_options, last_ns) },
    { "on_overflow", NUMBER, offsetof(struct rec_options, discards) },
    { "follow", NUMBER, offsetof(struct rec_options, follows_forks) },
    { "snapshot_on", OCCASIONS, 0 },
    { "toggle_on", SIGNAL, offsetof(struct rec_options, toggle_signal) },
};

static bool read_occasions(PyObject *list, struct rec_options *options)
{
    Py_ssize_t n = PyList_Check(list) ? PyList_GET_SIZE(list) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int signal = (int)PyLong_AsLong(PyList_GET_ITEM(list, i));
        signal ? (options->snapshot_signal = signal) : (options->snapshots_exceptions = true);
    }
    return !PyErr_Occurred();
}

static bool read_value(const struct option_row *row, PyObject *value, struct rec_options *options)
{
    void *field = (char *)options + row->offset;
    if (value == Py_None)
        return true;
    switch (row->type) {
    case TEXT:
        return (*(const char **)field = PyUnicode_AsUTF8(value)) != NULL;
    case NUMBER:
        *(unsigned long long *)field = PyLong_AsUnsignedLongLong(value);
        return !PyErr_Occurred();
    case SIGNAL:
        *(int *)field = (int)PyLong_AsLong(value);
        return !PyErr_Occurred();
    case LIST:
        *(PyObject **)field = PyList_Check(value) ? value : NULL;
        return true;
    default:
        return read_occasions(value, options);
    }
}

static const struct option_row *find_option_row(PyObject *key)
{
    for (size_t i = 0; PyUnicode_Check(key) && i < sizeof rows / sizeof *rows; i++)
        if (PyUnicode_CompareWithASCIIString(key, rows[i].key) == 0)
            return &rows[i];
    PyErr_Format(PyExc_TypeError, "panopticon: %R is not an option of a recording", key);
    return NULL;
}

int rec_options_parse(PyObject *dict, struct rec_options *options)
{
    PyObject *key, *value;              /* borrowed */
    Py_ssize_t position = 0;
    *options = (struct rec_options){ 0 };
    while (PyDict_Next(dict, &position, &key, &value)) {
        const struct option_row *row = find_option_row(key);
        if (!row || !rec_free_threading_allows(key, value) || !read_value(row, value, options))
            return -1;
    }
    if (options->samples_ns && options->samples_ns < REC_SAMPLES_MIN_NS) {
        PyErr_Format(PyExc_ValueError, "panopticon: --samples: at least %dus lie between two samples",
                     REC_SAMPLES_MIN_NS / 1000);
        return -1;
    }
    if (!options->max_size || options->max_size >= REC_MIN_SIZE)
        return 0;
    PyErr_Format(PyExc_ValueError, "panopticon: --max-size: a capture takes at least %lluM", REC_MIN_SIZE >> 20);
    return -1;
}

int rec_options_set_filters(const struct rec_options *options)
{
    Py_ssize_t n = options->filters ? PyList_GET_SIZE(options->filters) : 0;
    pnr_filter_clear(&rec_functions.filter);
    for (Py_ssize_t i = 0; i < n; i++) {
        int action;
        PyObject *text;                 /* borrowed */
        if (!PyArg_ParseTuple(PyList_GET_ITEM(options->filters, i), "iU:filter", &action, &text))
            return -1;
        PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");    /* owned */
        if (!bytes)
            return -1;
        int code = pnr_filter_add(&rec_functions.filter, (enum pnr_filter_action)action, PyBytes_AS_STRING(bytes));
        Py_DECREF(bytes);
        if (code != 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}
