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

#if PY_MAJOR_VERSION != 3 || PY_MINOR_VERSION < CPYTHON_OLDEST
#error "panopticon_rec: this CPython is older than recorder/cpython/versions.h allows"
#elif defined(Py_GIL_DISABLED)
#error "panopticon_rec: free-threaded CPython is not supported yet"
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

#if CPYTHON_IS_KNOWN
#include "internals.h"
#else
#include "public.h"
#endif

#endif
