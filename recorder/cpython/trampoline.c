#include "cpython.h"

#include "trampoline.h"

static struct {
    bool (*before)(void);
    void (*after)(void);
    PyCFunction activate, deactivate;   /* sys's own */
} trampoline;

static PyObject *call_aside(PyCFunction own, PyObject *self, PyObject *arg)
{
    PyObject *type, *value, *traceback;
    bool is_aside = trampoline.before();
    PyObject *result = own(self, arg);
    if (is_aside) {
        PyErr_Fetch(&type, &value, &traceback);
        trampoline.after();
        PyErr_Restore(type, value, traceback);
    }
    return result;
}

static PyObject *activate_aside(PyObject *self, PyObject *arg)
{
    return call_aside(trampoline.activate, self, arg);
}

static PyObject *deactivate_aside(PyObject *self, PyObject *arg)
{
    return call_aside(trampoline.deactivate, self, arg);
}

/* Puts a function in the place of sys's own, and returns that. Returns NULL, and does nothing, where it is not as
 * expected. */
static PyCFunction replace_function(const char *name, int flags, PyCFunction function)
{
    PyObject *object = PySys_GetObject(name);   /* borrowed */
    if (!object || !PyCFunction_CheckExact(object))
        return NULL;
    PyMethodDef *method = ((PyCFunctionObject *)object)->m_ml;
    PyCFunction own = method->ml_meth;
    if (method->ml_flags != flags)
        return NULL;
    method->ml_meth = function;
    return own;
}

void rec_trampoline_watch(bool (*before)(void), void (*after)(void))
{
    trampoline.before = before;
    trampoline.after = after;
    trampoline.activate = replace_function("activate_stack_trampoline", METH_O, activate_aside);
    trampoline.deactivate = replace_function("deactivate_stack_trampoline", METH_NOARGS, deactivate_aside);
}

bool rec_trampoline_is_active(void)
{
    PyObject *function = trampoline.activate ? PySys_GetObject("is_stack_trampoline_active") : NULL;
    PyObject *result = function ? PyObject_CallNoArgs(function) : NULL;
    bool is = result == Py_True;
    Py_XDECREF(result);
    PyErr_Clear();
    return is;
}
