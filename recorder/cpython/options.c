#include "options.h"

#include <stdbool.h>

#include "../filter.h"
#include "../retention.h"

int rec_options_parse(PyObject *dict, struct rec_options *options)
{
    static char *names[] = { "engine", "c_calls", "filters", "min_duration_ns", "max_size", "last_ns", "drops",
                             "follows_forks", "starts_paused", "snapshots_exceptions", "snapshot_signal", "toggle_signal",
                             NULL };
    PyObject *none = PyTuple_New(0);
    *options = (struct rec_options){ 0 };
    bool is_good = none && PyArg_ParseTupleAndKeywords(
        none, dict, "|$zpO!KKKppppii:options", names, &options->engine, &options->c_calls, &PyList_Type, &options->filters,
        &options->min_duration_ns, &options->max_size, &options->last_ns, &options->discards, &options->follows_forks,
        &options->starts_paused, &options->snapshots_exceptions, &options->snapshot_signal, &options->toggle_signal);
    Py_XDECREF(none);
    if (is_good && options->max_size && options->max_size < REC_MIN_SIZE) {
        PyErr_Format(PyExc_ValueError, "panopticon: a capture takes at least %llu bytes", REC_MIN_SIZE);
        is_good = false;
    }
    return is_good ? 0 : -1;
}

int rec_options_set_filters(const struct rec_options *options)
{
    Py_ssize_t n = options->filters ? PyList_GET_SIZE(options->filters) : 0;
    rec_filter_clear();
    for (Py_ssize_t i = 0; i < n; i++) {
        int action;
        PyObject *text;                 /* borrowed */
        if (!PyArg_ParseTuple(PyList_GET_ITEM(options->filters, i), "iU:filter", &action, &text))
            return -1;
        PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");    /* owned */
        if (!bytes)
            return -1;
        int code = rec_filter_add((enum rec_filter_action)action, PyBytes_AS_STRING(bytes));
        Py_DECREF(bytes);
        if (code != 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}
