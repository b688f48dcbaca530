/* The interpreter's internals that the frame engine reads, and nothing else of them anywhere. Each CPython
 * version has its own; one that is not known here is refused when building, and by panopticon_rec/__init__.py
 * when running.
 *
 * CPython 3.11 (Include/internal/pycore_frame.h, Include/cpython/pystate.h, Objects/codeobject.c):
 * - tstate->cframe is the _PyCFrame of the innermost C evaluation, an address on the C stack; its current_frame is
 *   the running Python frame. &tstate->root_cframe stands for "no evaluation".
 * - The hook is called before the new frame is linked in: current_frame is still its caller. When the
 *   evaluation has returned, current_frame is the caller again, and the frame's memory may be gone.
 * - A frame of a generator lies inside the generator object. */
#ifndef REC_CPYTHON_FRAME_H
#define REC_CPYTHON_FRAME_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030C0000
#error "panopticon_rec: the frame engine knows CPython 3.11"
#endif

#define Py_BUILD_CORE
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#include <opcode.h>
#undef Py_BUILD_CORE

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct _PyInterpreterFrame cpython_frame;

/* What co_extra points to (Objects/codeobject.c, _PyCodeObjectExtra). */
struct cpython_code_extra {
    Py_ssize_t size;
    void *values[];
};

/* The value of a str key in a dict, borrowed, or NULL. Runs no Python code, as a lookup among keys of any type can,
 * which compares those with the same hash: such a dict is searched for a real str. */
static inline PyObject *cpython_lookup(PyObject *dict, PyObject *key)
{
    PyObject *k, *value;
    Py_ssize_t at = 0;
    if (((PyDictObject *)dict)->ma_keys->dk_kind != DICT_KEYS_GENERAL)
        return PyDict_GetItemWithError(dict, key);
    while (PyDict_Next(dict, &at, &k, &value))
        if (PyUnicode_CheckExact(k) && PyUnicode_Compare(k, key) == 0)
            return value;
    return NULL;
}

/* A co_extra value, or 0. _PyCode_GetExtra is a call into the interpreter for two loads. */
static inline uint64_t cpython_code_value(const PyCodeObject *code, Py_ssize_t index)
{
    const struct cpython_code_extra *extra = code->co_extra;
    return extra && extra->size > index ? (uint64_t)(uintptr_t)extra->values[index] : 0;
}

static inline PyCodeObject *cpython_code(const cpython_frame *f) { return f->f_code; }

/* Borrowed, may be any object's dict. */
static inline PyObject *cpython_globals(const cpython_frame *f) { return f->f_globals; }

/* Argument i at the frame's entry. Borrowed, or NULL. */
static inline PyObject *cpython_argument(const cpython_frame *f, int i) { return f->localsplus[i]; }

static inline bool cpython_is_continuable(const cpython_frame *f) { return f->owner == FRAME_OWNED_BY_GENERATOR; }

/* True for a frame that Python code could not see yet: it is being made, or only makes a generator. */
static inline bool cpython_is_incomplete(cpython_frame *f) { return _PyFrame_IsIncomplete(f); }

static inline PyGenObject *cpython_generator(const cpython_frame *f)
{
    return (PyGenObject *)((char *)f - offsetof(PyGenObject, gi_iframe));
}

/* The frame of a new generator, coroutine or async generator; NULL for any other object. */
static inline const cpython_frame *cpython_generator_frame(const PyObject *object)
{
    if (!PyGen_CheckExact(object) && !PyCoro_CheckExact(object) && !PyAsyncGen_CheckExact(object))
        return NULL;
    return (const cpython_frame *)((const PyGenObject *)object)->gi_iframe;
}

/* Sees to it that a function that is a class's __getitem__ is called through the hook. 3.11's BINARY_SUBSCR_GETITEM
 * (Python/ceval.c; 3.12 asks for a hook first) runs it inside its caller's evaluation. The specializer only takes
 * functions whose version fits 16 bits (Python/specialize.c), and the instruction compares that version: one that
 * does not fit keeps new places from it and takes the old ones back. */
static inline void cpython_never_inline(PyObject *function)
{
    static uint32_t next = UINT32_C(1) << 31;
    if (PyFunction_Check(function) && ((PyFunctionObject *)function)->func_version <= UINT16_MAX)
        ((PyFunctionObject *)function)->func_version = next++;
}

static inline PyObject *cpython_function(const cpython_frame *f) { return (PyObject *)f->f_func; }

/* The namespace of a frame whose code keeps its locals in one (a class body, a module); borrowed, or NULL. */
static inline PyObject *cpython_namespace(const cpython_frame *f) { return f->f_locals; }

/* At entry of a continuable frame: it runs for the first time. It then still stands where it was made. */
static inline bool cpython_is_first_entry(const cpython_frame *f)
{
    return _Py_OPCODE(*f->prev_instr) == RETURN_GENERATOR;
}

/* throw() and close() link the frames that delegate to the one they are meant for without running them: such a one
 * still stands at its yield (Objects/genobject.c, _gen_throw). */
static inline bool cpython_is_delegating(const cpython_frame *f)
{
    return cpython_is_continuable(f) && cpython_generator(f)->gi_frame_state == FRAME_EXECUTING &&
           _Py_OPCODE(*f->prev_instr) == YIELD_VALUE;
}

/* After a continuable frame was left with a result: it may be resumed. */
static inline bool cpython_is_suspended(const cpython_frame *f)
{
    return cpython_generator(f)->gi_frame_state == FRAME_SUSPENDED;
}

/* Where the C evaluation of the running frame lies on the C stack. */
static inline uintptr_t cpython_evaluation(const PyThreadState *ts) { return (uintptr_t)ts->cframe; }

static inline bool cpython_is_at_root(const PyThreadState *ts) { return ts->cframe == &ts->root_cframe; }

static inline cpython_frame *cpython_running(const PyThreadState *ts) { return ts->cframe->current_frame; }

/* The running frame of the first C evaluation, from the innermost outwards, that lies at or above the address; NULL if
 * there is none. */
static inline cpython_frame *cpython_running_above(const PyThreadState *ts, uintptr_t address)
{
    const _PyCFrame *c = ts->cframe;
    while (c != &ts->root_cframe && (uintptr_t)c < address)
        c = c->previous;
    return c->current_frame;
}

/* After a frame was left by an exception: it had failed before it began, at the recursion limit
 * (Python/ceval.c, _Py_EnterRecursiveCallTstate). A frame that had run leaves one more unit than that. */
static inline bool cpython_never_began(const PyThreadState *ts)
{
    return ts->recursion_remaining <= 0 && !ts->recursion_headroom;
}

/* Runs func(arg) as the interpreter's own main does: no Python frame below it, and all of the recursion limit
 * before it. */
static inline int cpython_run_detached(PyThreadState *ts, int (*func)(void *), void *arg)
{
    cpython_frame *below = ts->cframe->current_frame;
    int used = ts->recursion_limit - ts->recursion_remaining;
    ts->cframe->current_frame = NULL;
    ts->recursion_remaining += used;
    int result = func(arg);
    ts->cframe->current_frame = below;
    ts->recursion_remaining -= used;
    return result;
}

#endif
