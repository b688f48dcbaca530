/* The interpreter calls what is in a list, of which gc.callbacks is another reference (Modules/gcmodule.c or
 * Python/gc.c, invoke_gc_callback). A program may clear that list, print it, or rely on its length. So the recorder
 * puts a list of its own into the interpreter's field for it:
 *
 *     interpreter -> hidden list -> callback -> the callables in gc.callbacks
 *
 * The callback calls the program's callables as the interpreter would. Neither of the two objects is known to the
 * collector, so that gc.get_objects() does not show them. Where the field is not known, the callback is in
 * gc.callbacks. */
#include "threads.h"

#include <string.h>

#include "collector.h"

struct collector_callback {
    PyObject_HEAD
    vectorcallfunc call;
};

enum collection_key { GENERATION, COLLECTED, UNCOLLECTABLE, COLLECTION_KEYS };

static struct {
    PyObject *keys[COLLECTION_KEYS];   /* of what the interpreter says of a collection; owned */
    PyObject *callback;                 /* owned; NULL: nothing has begun yet */
    PyObject *hidden;                   /* a list of it alone; owned */
    PyObject *programs;                 /* gc.callbacks, while the hidden list is in its field; owned; or NULL */
    PyObject *visible;                  /* gc.callbacks, while the callback is in it; owned; or NULL */
    bool is_on;
    bool is_running;                    /* the callback: the interpreter goes through the list that it is in */
    const struct rec_thread *thread;    /* that collects, if the begin was recorded; or NULL */
    uint64_t epoch;                     /* in which it was */
} collector;

/* ---- records ---- */

/* Returns a number from what the interpreter says of a collection, from 0 to max. */
static uint64_t collection_number(PyObject *info, enum collection_key key, uint64_t max)
{
    PyObject *number = PyDict_CheckExact(info) ? PyDict_GetItemWithError(info, collector.keys[key]) : NULL;
    Py_ssize_t n = number && PyLong_CheckExact(number) ? PyLong_AsSsize_t(number) : 0;
    PyErr_Clear();
    return n < 0 ? 0 : (uint64_t)n < max ? (uint64_t)n : max;
}

/* Brings the thread that collects to the present. A collection does not begin the recording of a forked child: that is
 * too much to do at any moment. */
static struct rec_thread *collecting_thread(PyThreadState *ts)
{
    struct rec_thread *thread = rec_state_is(REC_RECORDING) ? rec_threads_bring_to_present(ts) : NULL;
    return thread && rec_state_is(REC_RECORDING) ? thread : NULL;
}

static void record_collection(uint32_t generation)
{
    REC_LOCK_BLOCK();
    if (!collector.is_on)
        return;
    PyThreadState *ts = PyThreadState_Get();
    struct rec_thread *thread = collecting_thread(ts);
    collector.thread = thread;
    collector.epoch = rec_state.epoch;
    if (thread)
        rec_threads_append(ts, thread, PNR_COLLECT, (struct rec_open_frame){ 0, generation }, rec_no_frame);
}

/* Records the end, unless the begin was not recorded, or was before a pause. */
static void record_collection_end(PyObject *info)
{
    REC_LOCK_BLOCK();
    PyThreadState *ts = PyThreadState_Get();
    struct rec_thread *thread = collector.thread ? collecting_thread(ts) : NULL;
    uint64_t found = pnr_collect_frame(collection_number(info, COLLECTED, PNR_COLLECTED_MAX),
                                       collection_number(info, UNCOLLECTABLE, PNR_UNCOLLECTABLE_MAX));
    uint32_t generation = (uint32_t)collection_number(info, GENERATION, UINT32_MAX);
    if (thread && thread == collector.thread && collector.epoch >= rec_state.since)
        rec_threads_append(ts, thread, PNR_COLLECT_END, (struct rec_open_frame){ found, generation }, rec_no_frame);
    collector.thread = NULL;
}

/* ---- the callback ---- */

/* Reports the exception of one of the program's callables in the words of this version of CPython. */
static void report_unraisable(PyObject *callable)
{
#if PY_VERSION_HEX >= 0x030E0000
    PyErr_FormatUnraisable("Exception ignored while calling GC callback %R", callable);
#else
    PyErr_WriteUnraisable(callable);
#endif
}

/* Calls what is in gc.callbacks, as the interpreter does. */
static void call_programs_callbacks(PyObject *const *args)
{
    PyObject *callable;                 /* owned */
    for (Py_ssize_t i = 0; collector.programs && (callable = cpython_list_item(collector.programs, i)); i++) {
        PyObject *result = PyObject_Vectorcall(callable, args, 2, NULL);
        if (!result)
            report_unraisable(callable);
        Py_XDECREF(result);
        Py_DECREF(callable);
    }
}

/* The slice is what the collector itself takes: the program's callables are called before it, and after it. */
static PyObject *on_collection(PyObject *self, PyObject *const *args, size_t n, PyObject *names)
{
    (void)self, (void)names;
    if (PyVectorcall_NARGS(n) != 2 || !PyUnicode_Check(args[0]))
        Py_RETURN_NONE;
    bool is_begin = PyUnicode_CompareWithASCIIString(args[0], "start") == 0;
    uint32_t generation = is_begin ? (uint32_t)collection_number(args[1], GENERATION, UINT32_MAX) : 0;
    collector.is_running = true;        /* one thread collects at a time */
    if (!is_begin)
        record_collection_end(args[1]);
    call_programs_callbacks(args);
    if (is_begin)
        record_collection(generation);
    collector.is_running = false;
    Py_RETURN_NONE;
}

/* A type of its own: a call of a built-in function would take a unit of the recursion limit. */
static PyTypeObject callback_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "panopticon_rec._recorder.collector_callback",
    .tp_basicsize = sizeof(struct collector_callback),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(struct collector_callback, call),
    .tp_call = PyVectorcall_Call,
};

/* Returns false with an exception set. */
static bool make_callback(void)
{
    if (collector.callback)
        return true;
    static const char *const keys[COLLECTION_KEYS] = { "generation", "collected", "uncollectable" };
    for (int i = 0; i < COLLECTION_KEYS; i++)
        if (!collector.keys[i] && !(collector.keys[i] = PyUnicode_InternFromString(keys[i])))
            return false;
    if (PyType_Ready(&callback_type) != 0)
        return false;
    struct collector_callback *callback = PyObject_New(struct collector_callback, &callback_type);
    PyObject *hidden = callback ? PyList_New(1) : NULL;
    if (!hidden) {
        Py_XDECREF(callback);
        return false;
    }
    callback->call = on_collection;
    PyObject_GC_UnTrack(hidden);
    PyList_SET_ITEM(hidden, 0, Py_NewRef(callback));
    collector.callback = (PyObject *)callback;
    collector.hidden = hidden;
    return true;
}

/* ---- in which list it is ---- */

/* Returns gc.callbacks, owned, or NULL with an exception set. */
static PyObject *find_callbacks(void)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *callbacks = gc ? PyObject_GetAttrString(gc, "callbacks") : NULL;
    Py_XDECREF(gc);
    if (callbacks && !PyList_CheckExact(callbacks)) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: gc.callbacks is no list: collections cannot be recorded");
        Py_CLEAR(callbacks);
    }
    return callbacks;
}

/* Puts the hidden list into the interpreter's field. field: where gc.callbacks is, with the interpreter's reference. */
static void hide_programs_list(void *field)
{
    collector.programs = *(PyObject **)field;
    *(PyObject **)field = Py_NewRef(collector.hidden);
}

/* Puts gc.callbacks back, but not while the interpreter goes through the other list. */
static void show_programs_list(void *field)
{
    if (collector.is_running)
        return;
    *(PyObject **)field = collector.programs;
    collector.programs = NULL;
    Py_DECREF(collector.hidden);        /* which has another one */
}

int rec_collector_begin(void)
{
    if (collector.is_on)
        return 0;
    PyObject **field = cpython_gc_callbacks(PyInterpreterState_Main());
    if (!make_callback())
        return -1;
    if (!(field && *field == collector.hidden)) {       /* an end amid a collection has left it there */
        uint32_t n_taken = rec_lock_suspend();          /* an import may run code of the program */
        PyObject *callbacks = find_callbacks();
        rec_lock_resume(n_taken);
        if (!callbacks)
            return -1;
        if (field && *field == callbacks) {
            rec_lock_run_alone(hide_programs_list, field);
            Py_DECREF(callbacks);
        } else if (PyList_Append(callbacks, collector.callback) == 0) {
            collector.visible = callbacks;
        } else {
            Py_DECREF(callbacks);
            return -1;
        }
    }
    collector.is_on = true;
    collector.thread = NULL;
    return 0;
}

/* Takes the callback out of gc.callbacks. */
static void leave_visible_list(void)
{
    for (Py_ssize_t i = PyList_GET_SIZE(collector.visible); i > 0; i--)
        if (PyList_GET_ITEM(collector.visible, i - 1) == collector.callback)
            PyList_SetSlice(collector.visible, i - 1, i, NULL);
    Py_CLEAR(collector.visible);
}

void rec_collector_end(void)
{
    PyObject *type, *value, *traceback;
    if (!collector.is_on)
        return;
    collector.is_on = false;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject **field = cpython_gc_callbacks(PyInterpreterState_Main());
    if (collector.visible) {
        leave_visible_list();
    } else if (field && *field == collector.hidden) {
        rec_lock_run_alone(show_programs_list, field);
    }
    PyErr_Restore(type, value, traceback);
}

/* Does not release the objects: their interpreter is gone. */
void rec_collector_forget(void)
{
    memset(&collector, 0, sizeof collector);
}
