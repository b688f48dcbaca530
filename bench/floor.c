/* The minimum that any tracer pays: CPython's interfaces with callbacks that do nothing, or next to nothing. An
 * extension module for bench/run only.
 *     profile(1)      PyEval_SetProfile with a callback that returns 0: what every setprofile tracer pays first
 *     profile(2)      a callback that counts; counts() gives (Python events, C events) since the last call
 *     hook(1)         a frame evaluation function that only evaluates
 *     hook(2)         one that also does the minimum of a record: one clock read and 16 bytes stored
 *     event           a callback for sys.monitoring that does nothing
 *     clock()         ns that one read of the time-stamp counter takes
 * profile(0) and hook(0) remove them. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <time.h>
#include <x86intrin.h>

#define RING 32768                      /* words */

static unsigned long long ring[RING];
static unsigned at;
static unsigned long long n_python, n_c;

static int empty_profile(PyObject *self, PyFrameObject *frame, int what, PyObject *arg)
{
    (void)self, (void)frame, (void)what, (void)arg;
    return 0;
}

static int counting_profile(PyObject *self, PyFrameObject *frame, int what, PyObject *arg)
{
    (void)self, (void)frame, (void)arg;
    if (what == PyTrace_CALL || what == PyTrace_RETURN)
        n_python++;
    else
        n_c++;
    return 0;
}

static PyObject *profile(PyObject *self, PyObject *which)
{
    static const Py_tracefunc callbacks[] = { NULL, empty_profile, counting_profile };
    long k = PyLong_AsLong(which);
    (void)self;
    if (k < 0 || k > 2)
        return PyErr_Format(PyExc_ValueError, "0, 1 or 2");
    PyEval_SetProfile(callbacks[k], NULL);
    Py_RETURN_NONE;
}

static PyObject *counts(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    PyObject *result = Py_BuildValue("KK", n_python, n_c);
    n_python = n_c = 0;
    return result;
}

static PyObject *empty_hook(PyThreadState *ts, struct _PyInterpreterFrame *f, int throwflag)
{
    return _PyEval_EvalFrameDefault(ts, f, throwflag);
}

static void store(const void *frame)
{
    ring[at] = (uintptr_t)frame;
    ring[at + 1] = __rdtsc();
    at = (at + 2) % RING;
}

static PyObject *storing_hook(PyThreadState *ts, struct _PyInterpreterFrame *f, int throwflag)
{
    store(f);
    PyObject *result = _PyEval_EvalFrameDefault(ts, f, throwflag);
    store(f);
    return result;
}

static PyObject *hook(PyObject *self, PyObject *which)
{
    static const _PyFrameEvalFunction hooks[] = { _PyEval_EvalFrameDefault, empty_hook, storing_hook };
    long k = PyLong_AsLong(which);
    (void)self;
    if (k < 0 || k > 2)
        return PyErr_Format(PyExc_ValueError, "0, 1 or 2");
    _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), hooks[k]);
    Py_RETURN_NONE;
}

static PyObject *event(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    (void)self, (void)args, (void)n;
    Py_RETURN_NONE;
}

static PyObject *clock_cost(PyObject *self, PyObject *unused)
{
    const int n = 3000000;
    struct timespec a, b;
    (void)self, (void)unused;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < n; i++)
        ring[i % RING] = __rdtsc();
    clock_gettime(CLOCK_MONOTONIC, &b);
    return PyFloat_FromDouble(((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / n);
}

static PyMethodDef methods[] = {
    { "profile", profile, METH_O, NULL },
    { "counts", counts, METH_NOARGS, NULL },
    { "hook", hook, METH_O, NULL },
    { "event", (PyCFunction)(void (*)(void))event, METH_FASTCALL, NULL },
    { "clock", clock_cost, METH_NOARGS, NULL },
    { 0 }
};

static PyModuleDef definition = { PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1, .m_methods = methods };

PyMODINIT_FUNC PyInit_floor(void)
{
    return PyModule_Create(&definition);
}
