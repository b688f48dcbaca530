/* A CPython whose internals are not known, read by its public interface alone: the functions of internals.h that the
 * monitoring engine needs. Frames are frame objects here. The interpreter makes one when it is asked, and keeps it
 * while the frame runs, so all that these functions return is borrowed. */
#ifndef REC_PUBLIC_H
#define REC_PUBLIC_H

#include <opcode.h>

#include "../../format/record.h"

typedef PyFrameObject cpython_frame;

static inline void *cpython_borrow(void *owned)
{
    Py_XDECREF((PyObject *)owned);
    return owned;
}

static inline uint64_t cpython_code_value(const PyCodeObject *code, Py_ssize_t index)
{
    void *value = NULL;
    if (PyUnstable_Code_GetExtra((PyObject *)code, index, &value) != 0)
        PyErr_Clear();
    return (uint64_t)(uintptr_t)value;
}

static inline int cpython_set_code_value(PyCodeObject *code, Py_ssize_t index, uint64_t value)
{
    return cpython_set_code_extra(code, index, value);
}

static inline PyObject *cpython_lookup(PyObject *dict, PyObject *key) { return cpython_search(dict, key); }

static inline PyCodeObject *cpython_code(const cpython_frame *f)
{
    return cpython_borrow(PyFrame_GetCode((PyFrameObject *)f));
}

static inline PyObject *cpython_globals(const cpython_frame *f)
{
    return cpython_borrow(PyFrame_GetGlobals((PyFrameObject *)f));
}

static inline PyObject *cpython_argument(const cpython_frame *f, int i)
{
    PyObject *names = PyCode_GetVarnames(cpython_code(f));      /* owned */
    PyObject *value = names && i < PyTuple_GET_SIZE(names) ?
        PyFrame_GetVar((PyFrameObject *)f, PyTuple_GET_ITEM(names, i)) : NULL;
    Py_XDECREF(names);
    if (!value)
        PyErr_Clear();
    return cpython_borrow(value);
}

static inline PyObject *cpython_parameter_name(const PyCodeObject *code, int i)
{
    PyObject *names = cpython_borrow(PyCode_GetVarnames((PyCodeObject *)code));        /* the code object keeps the names */
    return names && i < PyTuple_GET_SIZE(names) ? PyTuple_GET_ITEM(names, i) : NULL;
}

/* The interpreter looks into cells itself. */
static inline PyObject *cpython_parameter(const cpython_frame *f, int i, bool has_cells)
{
    return (void)has_cells, cpython_argument(f, i);
}

/* The frame that a program is run from (cpython_run_detached). It, and those outwards of it, are not the program's. */
extern cpython_frame *cpython_bottom __attribute__((visibility("hidden")));

static inline cpython_frame *cpython_running(const PyThreadState *ts)
{
    cpython_frame *f = cpython_borrow(PyThreadState_GetFrame((PyThreadState *)ts));
    return f == cpython_bottom ? NULL : f;
}

static inline cpython_frame *cpython_previous(const cpython_frame *f)
{
    cpython_frame *previous = cpython_borrow(PyFrame_GetBack((PyFrameObject *)f));
    return previous == cpython_bottom ? NULL : previous;
}

/* The generator or coroutine that the frame lies in; 0 for a plain frame. */
static inline uintptr_t cpython_address(const cpython_frame *f)
{
    return (uintptr_t)cpython_borrow(PyFrame_GetGenerator((PyFrameObject *)f));
}

static inline bool cpython_is_continuable(const cpython_frame *f) { return cpython_address(f) != 0; }

/* Python code can see every frame object. */
static inline bool cpython_is_incomplete(const cpython_frame *f) { return !f; }

static inline bool cpython_is_outermost(const cpython_frame *f) { return !cpython_previous(f); }

/* The interface does not give the data stack, by which greenlets are told apart: they are not. */
static inline const void *cpython_data_stack(const PyThreadState *ts) { return (void)ts, NULL; }
static inline const void *cpython_whole_data_stack(const PyThreadState *ts) { return (void)ts, NULL; }

/* The interface hides entry frames and frames that are being cleared. */
static inline bool cpython_is_entry(const cpython_frame *f) { return !f; }
static inline bool cpython_is_root(const PyThreadState *ts, const cpython_frame *f) { return !ts && !f; }
static inline cpython_frame *cpython_frame_being_cleared(const PyThreadState *ts, const cpython_frame *f)
{
    return (void)ts, (void)f, NULL;
}

/* The interface does not give these two. */
static inline bool cpython_is_delegating(const cpython_frame *f) { return !f; }
static inline bool cpython_has_pending_entry(const cpython_frame *f) { return !f; }

/* The interface does not give the place of gc.callbacks. */
static inline PyObject **cpython_gc_callbacks(PyInterpreterState *interp) { return (void)interp, NULL; }

static inline int cpython_add_pending_call(PyInterpreterState *interp, int (*func)(void *))
{
    return (void)interp, Py_AddPendingCall(func, NULL);
}

/* The interface does not give where the frame of a coroutine is: no frame is known as that of a task. */
static inline const cpython_frame *cpython_generator_frame(const PyObject *object)
{
    return (void)object, NULL;
}

/* The interface does not give who holds the GIL. */
static inline enum pnr_gil cpython_gil_look(PyInterpreterState *interp, const void **holder)
{
    return (void)interp, (void)holder, PNR_GIL_UNKNOWN;
}

/* The interface does not give how many interpreters there were. */
static inline int64_t cpython_interpreters_made(void)
{
    return 0;
}

/* The program can see the recorder's own frames outwards of it, but they are not recorded. */
static inline int cpython_run_detached(PyThreadState *ts, int (*func)(void *), void *arg)
{
    cpython_bottom = cpython_running(ts);
    int result = func(arg);
    cpython_bottom = NULL;
    return result;
}

#endif
