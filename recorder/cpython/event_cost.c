#include "event_cost.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include <stdio.h>
#include <stdlib.h>

#include "codes.h"
#include "threads.h"
#include "../budget.h"

#define CALIBRATION_CALLS 100
#define CALIBRATION_ROUNDS 10
#define DEFAULT_EVENT_NS 60.0           /* until it is measured */
#define CALIBRATION_FACTOR 1.6          /* what an event costs in a program, whose caches are full of other things */

static double event_ns;                 /* what recording one event costs; 0: not measured yet */

/* Makes a Python function that does nothing, from compiled code that does not run: it would be recorded. Owned, or NULL
 * with an exception set. */
static PyObject *make_empty_function(void)
{
    PyObject *globals = PyDict_New();
    PyObject *module = globals ? Py_CompileString("def f(): pass", "<panopticon>", Py_file_input) : NULL;
    PyObject *consts = module ? PyObject_GetAttrString(module, "co_consts") : NULL;
    PyObject *function = NULL;
    for (Py_ssize_t i = 0; consts && !function && i < PyTuple_GET_SIZE(consts); i++)
        if (PyCode_Check(PyTuple_GET_ITEM(consts, i)))
            function = PyFunction_New(PyTuple_GET_ITEM(consts, i), globals);
    Py_XDECREF(consts);
    Py_XDECREF(module);
    Py_XDECREF(globals);
    return function;
}

/* Calls a function some times and returns the ticks that it took; UINT64_MAX with an exception set. */
static uint64_t time_calls(PyObject *function)
{
    uint64_t begin = rec_clock_ticks();
    for (int i = 0; i < CALIBRATION_CALLS; i++) {
        PyObject *result = PyObject_CallNoArgs(function);
        if (!result)
            return UINT64_MAX;
        Py_DECREF(result);
    }
    return rec_clock_ticks() - begin;
}

/* Calls a function whose events are recorded in memory that is then forgotten. Returns the least ticks, without those
 * of the calls themselves; 0 when out of memory. */
static uint64_t time_events(PyThreadState *ts, PyObject *function)
{
    static struct rec_thread scratch;   /* guarded by the GIL */
    PyCodeObject *code = (PyCodeObject *)PyFunction_GET_CODE(function);
    struct pnr_record *records = calloc(2 * CALIBRATION_CALLS, sizeof *records);
    uint64_t plain = UINT64_MAX, recorded = UINT64_MAX;
    if (!records)
        return 0;
    rec_codes_add(code, 0, 0);          /* it is met without events */
    for (int i = 0; i < CALIBRATION_ROUNDS; i++) {
        uint64_t ticks = time_calls(function);
        plain = ticks < plain ? ticks : plain;
    }
    scratch = (struct rec_thread){ .owner = ts, .buffer.base = rec_clock_ticks(),
                                   .buffer.end = records + 2 * CALIBRATION_CALLS };
    if (cpython_set_code_value(code, rec_functions.extra_index, (uint64_t)rec_functions.plain << 32) == 0) {
        rec_codes_add(code, 0, REC_CODES_ENTRIES | REC_CODES_EXITS);
        rec_sparse_allow_none(true);
        for (int i = 0; i < CALIBRATION_ROUNDS; i++) {
            scratch.buffer.next = scratch.buffer.first = scratch.buffer.records = records;
            rec_current = &scratch;
            uint64_t ticks = time_calls(function);
            recorded = ticks < recorded ? ticks : recorded;
        }
        rec_sparse_allow_none(false);
    }
    rec_threads_forget_current();
    free(records);
    return recorded != UINT64_MAX && recorded > plain ? recorded - plain : 0;
}

/* Measures what recording an event costs here, in nanoseconds. Returns 0 with an exception set. */
static double measure_event(void)
{
    PyObject *function = make_empty_function();
    double ticks = function ? (double)time_events(PyThreadState_Get(), function) : 0;
    Py_XDECREF(function);
    if (ticks == 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    return ticks * 1e9 / (double)rec_clock_rate() * CALIBRATION_FACTOR / (2 * CALIBRATION_CALLS);
}

/* The property says a tenth of a nanosecond; a decimal comma of the program's locale must not get into it. */
void rec_event_cost_write(double ns)
{
    char text[32];
    unsigned long long tenths = (unsigned long long)(ns * 10 + 0.5);
    snprintf(text, sizeof text, "%llu.%llu", tenths / 10, tenths % 10);
    rec_name_table_add_property("event_cost_ns", text);
}

double rec_event_cost_begin(void)
{
    if (event_ns == 0)
        event_ns = DEFAULT_EVENT_NS;
    rec_event_cost_write(event_ns);     /* a child of a fork has that of its parent */
    return event_ns;
}

int rec_event_cost_measure(void)
{
    double ns = measure_event();
    if (ns == 0)
        return -1;
    event_ns = ns;
    rec_budget_set_event_cost(ns);
    rec_event_cost_write(ns);
    return 0;
}

#endif
