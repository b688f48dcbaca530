#include "threads.h"

#include <opcode.h>

#include "codes.h"
#include "exceptions.h"
#include "remarks.h"
#include "tool.h"

#define MAX_ARGUMENTS 4                 /* of an exception that are recorded */

static struct {
    bool is_on;
} exceptions;

bool rec_exceptions_are_on(void) { return exceptions.is_on; }

bool rec_exceptions_use_tool(void) { return exceptions.is_on && PY_VERSION_HEX >= 0x030C0000; }

/* ---- instants ---- */

/* Counts an instant that cannot be made, and clears the MemoryError. */
static void lose_instant(void)
{
    PyErr_Clear();
    rec_buffer_count_lost(NULL);
}

/* Returns the name of an instant, owned; NULL when out of memory: then it is counted. */
static PyObject *name_instant(const char *what, const PyTypeObject *type)
{
    PyObject *name = PyUnicode_FromFormat("[%s %s]", what, type->tp_name);
    if (!name)
        lose_instant();
    return name;
}

/* Returns the keys of an exception's arguments: their positions. NULL when out of memory: then an instant is counted. */
static PyObject *const *argument_keys(void)
{
    static PyObject *keys[MAX_ARGUMENTS];       /* interned */
    static const char *const texts[MAX_ARGUMENTS] = { "0", "1", "2", "3" };
    for (int i = 0; i < MAX_ARGUMENTS; i++)
        if (!keys[i] && !(keys[i] = PyUnicode_InternFromString(texts[i]))) {
            lose_instant();
            return NULL;
        }
    return keys;
}

/* Returns how many of an exception's arguments are recorded. args: what should be a tuple, or NULL. */
static Py_ssize_t count_arguments(PyObject *args)
{
    Py_ssize_t n = args && PyTuple_CheckExact(args) ? PyTuple_GET_SIZE(args) : 0;
    return n < MAX_ARGUMENTS ? n : MAX_ARGUMENTS;
}

#if PY_VERSION_HEX >= 0x030C0000

/* ---- what an event means ---- */

/* True for an exception that is raised here. CPython reports RAISE in each function that an exception passes, too,
 * after it has put the function in front of the exception's traceback (Python/ceval.c, at `error`). An exception that
 * has been raised before is raised again by a `raise` only. */
static bool is_raised_here(PyCodeObject *code, PyObject *offset, PyObject *exception)
{
    PyObject *traceback = PyException_GetTraceback(exception);          /* owned */
    bool has_passed = traceback && ((PyTracebackObject *)traceback)->tb_next;
    Py_XDECREF(traceback);
    if (!has_passed)
        return true;
    PyObject *bytes = PyCode_GetCode(code);     /* owned; without what instrumentation has made of it */
    if (!bytes) {
        PyErr_Clear();
        return false;
    }
    bool is_raise = (unsigned char)PyBytes_AS_STRING(bytes)[PyLong_AsLong(offset)] == RAISE_VARARGS;
    Py_DECREF(bytes);
    return is_raise;
}

/* True where the function that runs is recorded in full. */
static bool is_recorded_code(const PyCodeObject *code)
{
    return rec_state_is(REC_RECORDING | REC_PENDING) && rec_tag_is_full(rec_threads_tag_of_running(code));
}

/* ---- records ---- */

/* Adds an instant with the exception's arguments, as far as they are plain values, by their position. */
static void add_raised(PyObject *exception)
{
    PyObject *args = Py_XNewRef(((PyBaseExceptionObject *)exception)->args);    /* owned */
    PyObject *const *keys = argument_keys();
    PyObject *name = keys ? name_instant("raised", Py_TYPE(exception)) : NULL;
    Py_ssize_t n = count_arguments(args);
    if (name)
        rec_remarks_add_instant(name, n ? &PyTuple_GET_ITEM(args, 0) : NULL, keys, n);
    Py_XDECREF(name);
    Py_XDECREF(args);
}

/* Adds an instant without values, or retracts it: a handler that raises the exception again at once has not handled it,
 * such as one for another type. */
static void add_handled(PyObject *exception, bool is_reraised)
{
    PyObject *handled = name_instant("handled", Py_TYPE(exception));
    bool is_retracted = is_reraised && handled && rec_remarks_retract(handled);
    PyObject *name = is_reraised && !is_retracted ? name_instant("raised again", Py_TYPE(exception)) : NULL;
    if (is_reraised ? name : handled)
        rec_remarks_add_instant(is_reraised ? name : handled, NULL, NULL, 0);
    Py_XDECREF(name);
    Py_XDECREF(handled);
}

/* args: code, offset, exception. */
static PyObject *on_raise_event(PyObject *self, PyObject *const *args, size_t n, PyObject *names)
{
    (void)self, (void)n, (void)names;
    if (is_recorded_code((PyCodeObject *)args[0]) && is_raised_here((PyCodeObject *)args[0], args[1], args[2]))
        add_raised(args[2]);
    return rec_tool_nothing();
}

static PyObject *on_reraise_event(PyObject *self, PyObject *const *args, size_t n, PyObject *names)
{
    (void)self, (void)n, (void)names;
    if (is_recorded_code((PyCodeObject *)args[0]))
        add_handled(args[2], true);
    return rec_tool_nothing();
}

static PyObject *on_handled_event(PyObject *self, PyObject *const *args, size_t n, PyObject *names)
{
    (void)self, (void)n, (void)names;
    if (is_recorded_code((PyCodeObject *)args[0]))
        add_handled(args[2], false);
    return rec_tool_nothing();
}

/* ---- the tool ---- */

static int watch_exceptions(void)
{
    if (!rec_tool_has_begun() && rec_codes_begin() != 0)
        return -1;
    return rec_tool_listen(REC_TOOL_RECORDS, "RAISE", on_raise_event, REC_CODES_EXCEPTIONS_ARE_GLOBAL) != 0 ||
           rec_tool_listen(REC_TOOL_RECORDS, "RERAISE", on_reraise_event, REC_CODES_EXCEPTIONS_ARE_GLOBAL) != 0 ||
           rec_tool_listen(REC_TOOL_RECORDS, "EXCEPTION_HANDLED", on_handled_event, REC_CODES_EXCEPTIONS_ARE_GLOBAL) != 0 ||
           rec_codes_watch() != 0 ? -1 : 0;
}

static void report_tool(bool is_ours)
{
    if (!is_ours)
        rec_threads.missing = REC_TOOL_TAKEN;
}

int rec_exceptions_enter(enum rec_enter why)
{
    if (why == REC_ENTER_RESUME && exceptions.is_on)
        rec_codes_resume();
    else if (why == REC_ENTER_CHILD && exceptions.is_on)
        rec_codes_rejoin();
    if (why != REC_ENTER_START || exceptions.is_on)
        return 0;
    exceptions.is_on = true;
    if (watch_exceptions() == 0)
        return 0;
    rec_exceptions_leave(REC_LEAVE_OFF);
    return -1;
}

void rec_exceptions_leave(enum rec_leave why)
{
    if (!exceptions.is_on)
        return;
    exceptions.is_on = why == REC_LEAVE_PAUSE;
    if (why == REC_LEAVE_PAUSE)
        report_tool(rec_codes_pause());
    else if (why != REC_LEAVE_GONE)
        report_tool(rec_codes_end());
}

void rec_exceptions_look(void)
{
    if (exceptions.is_on)
        report_tool(rec_codes_look());
}

#else

/* CPython reports exceptions to trace functions only, which slow down each line. What the hook sees are those that leave a
 * frame. By then CPython has put the frame in front of the exception's traceback (Python/ceval.c, at `error`), so that the
 * only frame of a traceback is the one in which the exception was raised. */
bool rec_exceptions_begin_at_exit(const PyThreadState *ts)
{
    const PyTracebackObject *traceback = (PyTracebackObject *)ts->curexc_traceback;
    return exceptions.is_on && ts->curexc_type && traceback && !traceback->tb_next;
}

/* An exception that C code has raised is not made yet: its value is the only argument, or a tuple of them, or None
 * (_PyErr_NormalizeException). */
void rec_exceptions_add_at_exit(PyThreadState *ts, struct rec_thread *thread, struct rec_open_frame leaving)
{
    PyObject *type, *value, *traceback;         /* owned */
    PyErr_Fetch(&type, &value, &traceback);
    bool is_made = value && PyExceptionInstance_Check(value);
    PyObject *args = is_made ? ((PyBaseExceptionObject *)value)->args : value;          /* borrowed */
    bool is_single = !is_made && args && args != Py_None && !PyTuple_Check(args);
    Py_ssize_t n = is_single ? 1 : count_arguments(args);
    PyObject *const *keys = argument_keys();
    PyObject *name = keys ? name_instant("raised", (PyTypeObject *)type) : NULL;
    if (name)
        rec_remarks_add_instant_at_exit(ts, thread, name, is_single ? &args : n ? &PyTuple_GET_ITEM(args, 0) : NULL, keys,
                                        n, &leaving);
    Py_XDECREF(name);
    PyErr_Restore(type, value, traceback);
}

int rec_exceptions_enter(enum rec_enter why)
{
    exceptions.is_on |= why == REC_ENTER_START;
    return 0;
}

void rec_exceptions_leave(enum rec_leave why)
{
    exceptions.is_on &= why == REC_LEAVE_PAUSE;
}

void rec_exceptions_look(void) { }

#endif
