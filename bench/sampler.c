/* Takes samples of which Python function runs, of CPython 3.13 and later: what bench/run compares estimates with. The
 * program runs as it does alone, except for an interrupt each PERIOD_NS: no function pays for its calls. An extension
 * module for bench/run only.
 *     start()     samples the calling thread from now on
 *     stop()      {(file, line): samples} of all functions; the line is that of `def`
 * What a C function takes counts for the Python function that has called it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 103000                /* no multiple of what a program may do at fixed times */
#if PY_VERSION_HEX >= 0x030D0000
#define CURRENT_FRAME(thread) ((const struct frame *)(thread)->current_frame)
#else
#define CURRENT_FRAME(thread) NULL      /* its frames are others */
#endif
#define SLOTS 8192                      /* more code objects than run */

/* A frame of CPython 3.13 and later begins with these two words. The low
 * bits of the first one are flags. */
struct frame {
    uintptr_t executable;
    const struct frame *previous;
};

static struct { uintptr_t code; unsigned long n; } slots[SLOTS];
static PyThreadState *sampled;
static timer_t timer;

/* Counts a sample. The frame of a call from C into Python has no code. */
static void count(int signal)
{
    const struct frame *frame = CURRENT_FRAME(sampled);
    (void)signal;
    while (frame && (!(frame->executable & ~(uintptr_t)7) ||
                     !PyCode_Check((PyObject *)(frame->executable & ~(uintptr_t)7))))
        frame = frame->previous;
    if (!frame)
        return;
    uintptr_t code = frame->executable & ~(uintptr_t)7;
    for (size_t i = code / 16 % SLOTS, k = 0; k < SLOTS; i = (i + 1) % SLOTS, k++) {
        if (slots[i].code && slots[i].code != code)
            continue;
        slots[i].code = code;
        slots[i].n++;
        return;
    }
}

static PyObject *start(PyObject *self, PyObject *unused)
{
    struct sigaction action = { .sa_handler = count, .sa_flags = SA_RESTART };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
    struct itimerspec period = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
    (void)self, (void)unused;
    if (PY_VERSION_HEX < 0x030D0000)
        return PyErr_Format(PyExc_NotImplementedError, "samples are of CPython 3.13 and later");
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    sampled = PyThreadState_Get();
    if (sigaction(SIGRTMIN, &action, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
        timer_settime(timer, 0, &period, NULL) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *stop(PyObject *self, PyObject *unused)
{
    PyObject *result = PyDict_New();
    (void)self, (void)unused;
    timer_delete(timer);
    for (size_t i = 0; result && i < SLOTS; i++) {
        PyCodeObject *code = (PyCodeObject *)slots[i].code;
        if (!code || !PyCode_Check(code))
            continue;
        PyObject *key = Py_BuildValue("(Oi)", code->co_filename, code->co_firstlineno);
        PyObject *before = key ? PyDict_GetItem(result, key) : NULL;
        PyObject *n = PyLong_FromUnsignedLong(slots[i].n + (before ? PyLong_AsUnsignedLong(before) : 0));
        if (!key || !n || PyDict_SetItem(result, key, n) < 0)
            Py_CLEAR(result);
        Py_XDECREF(key);
        Py_XDECREF(n);
    }
    memset(slots, 0, sizeof slots);
    return result;
}

static PyMethodDef functions[] = {
    { "start", start, METH_NOARGS, NULL },
    { "stop", stop, METH_NOARGS, NULL },
    { 0 }
};

static PyModuleDef definition = { PyModuleDef_HEAD_INIT, .m_name = "sampler", .m_size = -1, .m_methods = functions };

PyMODINIT_FUNC PyInit_sampler(void)
{
    return PyModule_Create(&definition);
}
