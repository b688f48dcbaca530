#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "setuid.h"

#include <stdbool.h>
#include <unistd.h>

#include "recording.h"

typedef PyObject *(*one_argument)(PyObject *, PyObject *);
typedef PyObject *(*some_arguments)(PyObject *, PyObject *const *, Py_ssize_t);

/* A function of the posix module (Modules/posixmodule.c), and which of its arguments is the new effective user. */
struct watched {
    const char *name;
    Py_ssize_t n_arguments, effective;
    PyCFunction replacement, original;
};

/* A call that is still to be made. */
struct call {
    const struct watched *function;
    PyObject *self;
    PyObject *const *args;
    Py_ssize_t n;
    PyObject *result;
};

static void make_call(void *arg)
{
    struct call *call = arg;
    const struct watched *function = call->function;
    call->result = function->n_arguments == 1 ?
        ((one_argument)(void (*)(void))function->original)(call->self, call->args[0]) :
        ((some_arguments)(void (*)(void))function->original)(call->self, call->args, call->n);
}

/* Returns the user that the process would become; -1 when it keeps the one that it has, or that is not known. */
static long effective_user(const struct watched *function, PyObject *const *args, Py_ssize_t n)
{
    PyObject *user = n == function->n_arguments ? args[function->effective] : NULL;
    if (!user || !PyLong_CheckExact(user))
        return -1;
    long uid = PyLong_AsLong(user);
    if (uid == -1)
        PyErr_Clear();
    return uid;
}

static PyObject *change_user(const struct watched *function, PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    struct call call = { function, self, args, n, NULL };
    long uid = geteuid() == 0 ? effective_user(function, args, n) : -1;
    if (uid > 0 && PyInterpreterState_Get() == PyInterpreterState_Main())
        rec_recording_change_user((uid_t)uid, make_call, &call);
    else
        make_call(&call);
    return call.result;
}

static PyObject *set_uid(PyObject *self, PyObject *arg);
static PyObject *set_euid(PyObject *self, PyObject *arg);
static PyObject *set_reuid(PyObject *self, PyObject *const *args, Py_ssize_t n);
static PyObject *set_resuid(PyObject *self, PyObject *const *args, Py_ssize_t n);

enum { SETUID, SETEUID, SETREUID, SETRESUID, N_WATCHED };

static struct watched watched[N_WATCHED] = {
    [SETUID] = { "setuid", 1, 0, set_uid, NULL },
    [SETEUID] = { "seteuid", 1, 0, set_euid, NULL },
    [SETREUID] = { "setreuid", 2, 1, (PyCFunction)(void (*)(void))set_reuid, NULL },
    [SETRESUID] = { "setresuid", 3, 1, (PyCFunction)(void (*)(void))set_resuid, NULL },
};

static PyObject *set_uid(PyObject *self, PyObject *arg) { return change_user(&watched[SETUID], self, &arg, 1); }
static PyObject *set_euid(PyObject *self, PyObject *arg) { return change_user(&watched[SETEUID], self, &arg, 1); }

static PyObject *set_reuid(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    return change_user(&watched[SETREUID], self, args, n);
}

static PyObject *set_resuid(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    return change_user(&watched[SETRESUID], self, args, n);
}

/* Changes the method's definition and not the function, so that the program finds the objects that it always finds. */
static void watch_function(struct watched *one, PyObject *posix)
{
    int flags = one->n_arguments == 1 ? METH_O : METH_FASTCALL;
    PyObject *function = PyObject_GetAttrString(posix, one->name);      /* owned */
    if (function && PyCFunction_CheckExact(function)) {
        PyMethodDef *method = ((PyCFunctionObject *)function)->m_ml;
        if (method->ml_flags == flags && method->ml_meth != one->replacement) {
            one->original = method->ml_meth;
            method->ml_meth = one->replacement;
        }
    }
    Py_XDECREF(function);
    PyErr_Clear();
}

void rec_setuid_watch(void)
{
    PyObject *posix = PyImport_ImportModule("posix");                   /* owned */
    for (int i = 0; i < N_WATCHED && posix; i++)
        watch_function(&watched[i], posix);
    Py_XDECREF(posix);
    PyErr_Clear();
}
