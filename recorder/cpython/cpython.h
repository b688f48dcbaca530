/* What the recorder needs of the interpreter beyond its documented interface: from internals.h for a version that is
 * known (versions.h), from public.h for any later one, and here what both have in common. This header is included
 * before any other. */
#ifndef REC_CPYTHON_H
#define REC_CPYTHON_H

#define Py_BUILD_CORE_MODULE            /* before Python.h is seen */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "versions.h"

#ifdef Py_GIL_DISABLED
#include <internal/pycore_interp.h>
#include <internal/pycore_object.h>
#endif

#if PY_MAJOR_VERSION != 3 || PY_MINOR_VERSION < CPYTHON_OLDEST
#error "panopticon_rec: this CPython is older than recorder/cpython/versions.h allows"
#elif defined(Py_GIL_DISABLED) && PY_MINOR_VERSION != CPYTHON_FREE_THREADED
#error "panopticon_rec: this version is not one whose free-threaded build recorder/cpython/versions.h allows"
#endif

/* CC="gcc -DCPYTHON_IS_KNOWN=0" builds for a known version as if it were not. */
#ifndef CPYTHON_IS_KNOWN
#define CPYTHON_IS_KNOWN (PY_MINOR_VERSION <= CPYTHON_NEWEST)
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Work as PyUnstable_Code_SetExtra and PyUnstable_Eval_RequestCodeExtraIndex, which have these names from 3.12 on
 * (Include/cpython/code.h, Include/cpython/ceval.h). */
static inline int cpython_set_code_extra(PyCodeObject *code, Py_ssize_t index, uint64_t value)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_Code_SetExtra((PyObject *)code, index, (void *)(uintptr_t)value);
#else
    return _PyCode_SetExtra((PyObject *)code, index, (void *)(uintptr_t)value);
#endif
}

static inline Py_ssize_t cpython_request_code_value(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_Eval_RequestCodeExtraIndex(NULL);
#else
    return _PyEval_RequestCodeExtraIndex(NULL);
#endif
}

static inline bool cpython_is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Returns this thread where it has the GIL; else NULL, or in 3.11 the thread that has it. */
static inline PyThreadState *cpython_find_current(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/* Gets the value of a key in a dict, owned, or NULL, maybe with an exception set. */
static inline PyObject *cpython_item(PyObject *dict, PyObject *key)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *value;
    PyDict_GetItemRef(dict, key, &value);
    return value;
#else
    return Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
}

/* A block in which no other thread uses the object, also without a GIL. */
#if PY_VERSION_HEX >= 0x030D0000
#define CPYTHON_BEGIN_ALONE_WITH(object) Py_BEGIN_CRITICAL_SECTION(object)
#define CPYTHON_END_ALONE() Py_END_CRITICAL_SECTION()
#else
#define CPYTHON_BEGIN_ALONE_WITH(object) {
#define CPYTHON_END_ALONE() }
#endif

/* Gets the value of a str key in a dict, owned, or NULL, by a search from end to end, which runs no Python code. */
static inline PyObject *cpython_search(PyObject *dict, PyObject *key)
{
    PyObject *k, *value, *found = NULL;
    Py_ssize_t at = 0;
    CPYTHON_BEGIN_ALONE_WITH(dict);
    while (!found && PyDict_Next(dict, &at, &k, &value))
        if (PyUnicode_CheckExact(k) && PyUnicode_Compare(k, key) == 0)
            found = Py_NewRef(value);
    CPYTHON_END_ALONE();
    return found;
}

/* Gets an item of a list, owned, or NULL, without exception, where the list has no more. */
static inline PyObject *cpython_list_item(PyObject *list, Py_ssize_t i)
{
    if (i >= PyList_GET_SIZE(list))
        return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *item = PyList_GetItemRef(list, i);
    if (!item)
        PyErr_Clear();
    return item;
#else
    return Py_NewRef(PyList_GET_ITEM(list, i));
#endif
}

/* Gets the next pair of a dict, owned, as PyDict_Next does. */
static inline bool cpython_next_pair(PyObject *dict, Py_ssize_t *at, PyObject **key, PyObject **value)
{
    bool is_there;
    CPYTHON_BEGIN_ALONE_WITH(dict);
    is_there = PyDict_Next(dict, at, key, value);
    if (is_there) {
        Py_INCREF(*key);
        Py_INCREF(*value);
    }
    CPYTHON_END_ALONE();
    return is_there;
}

/* Gets the next member of a set or frozenset, owned, or NULL where there is none among the next entries of its table, at most
 * max: from *at, which it moves. Unused entries have no key or the hash -1 (Include/cpython/setobject.h). An iterator would be
 * an object that starts a garbage collection. */
static inline PyObject *cpython_next_member(PyObject *object, Py_ssize_t *at, Py_ssize_t max)
{
    PySetObject *set = (PySetObject *)object;
    PyObject *member = NULL;
    CPYTHON_BEGIN_ALONE_WITH(object);
    for (Py_ssize_t end = *at + max; !member && *at <= set->mask && *at < end; ++*at)
        if (set->table[*at].key && set->table[*at].hash != -1)
            member = Py_NewRef(set->table[*at].key);
    CPYTHON_END_ALONE();
    return member;
}

/* The list of an interpreter's thread states. In a free-threaded build only in what rec_lock_run_alone calls, which has
 * that list locked already. */
static inline PyThreadState *cpython_first_thread(PyInterpreterState *interp)
{
#ifdef Py_GIL_DISABLED
    return interp->threads.head;
#else
    return PyInterpreterState_ThreadHead(interp);
#endif
}

static inline PyThreadState *cpython_next_thread(PyThreadState *ts)
{
#ifdef Py_GIL_DISABLED
    return ts->next;
#else
    return PyThreadState_Next(ts);
#endif
}

/* Keeps an object that is known by its address alone, and is being destroyed at most. Returns false for one that is. The
 * caller releases it. cpython_allow_keeping: called before, while the object is kept otherwise. */
static inline void cpython_allow_keeping(PyObject *object)
{
#if !defined(Py_GIL_DISABLED)
    (void)object;
#elif PY_VERSION_HEX >= 0x030E0000
    PyUnstable_EnableTryIncRef(object);
#else
    _PyObject_SetMaybeWeakref(object);
#endif
}

static inline bool cpython_keep(PyObject *object)
{
#if !defined(Py_GIL_DISABLED)
    Py_INCREF(object);
    return true;
#elif PY_VERSION_HEX >= 0x030E0000
    return PyUnstable_TryIncRef(object);
#else
    return _Py_TryIncref(object);
#endif
}

#if CPYTHON_IS_KNOWN
#include "internals.h"
#else
#include "public.h"
#endif

#endif
