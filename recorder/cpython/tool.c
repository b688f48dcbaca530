#include "tool.h"

#if PY_VERSION_HEX >= 0x030C0000

#include <string.h>

#define MAX_CALLBACKS 16

struct callback {
    PyObject_HEAD
    vectorcallfunc call;
};

static PyMemberDef members[] = {
    { "__vectorcalloffset__", Py_T_PYSSIZET, offsetof(struct callback, call), Py_READONLY, NULL },
    { NULL, 0, 0, 0, NULL }
};

static PyType_Slot slots[] = {
    { Py_tp_call, PyVectorcall_Call },
    { Py_tp_members, members },
    { 0, NULL }
};

static PyType_Spec spec = {
    .name = "panopticon_rec._recorder.callback",
    .basicsize = sizeof(struct callback),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots
};

static struct {
    PyObject *monitoring;               /* sys.monitoring; owned */
    PyObject *type;                     /* of callbacks; owned */
    PyObject *disable;                  /* owned */
    long number;                        /* -1: none */
    long listened;                      /* the events that have a callback */
    bool has_disabled;
    struct callback *callbacks[MAX_CALLBACKS];  /* owned for ever: one may be running when the tool ends */
} tool = { .number = -1 };

/* Calls a function of sys.monitoring; takes args over. Returns 0, or -1 with an exception set. */
static int call(const char *name, PyObject *args)
{
    PyObject *function = args ? PyObject_GetAttrString(tool.monitoring, name) : NULL;
    PyObject *result = function ? PyObject_Call(function, args, NULL) : NULL;
    Py_XDECREF(function);
    Py_XDECREF(args);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int init(void)
{
    if (tool.disable)
        return 0;
    PyObject *monitoring = PySys_GetObject("monitoring");       /* borrowed */
    Py_XDECREF(tool.monitoring);
    tool.monitoring = Py_XNewRef(monitoring);
    if (!tool.type)
        tool.type = PyType_FromSpec(&spec);
    if (!tool.monitoring)
        PyErr_SetString(PyExc_RuntimeError, "panopticon: sys.monitoring is gone");
    else if (tool.type)
        tool.disable = PyObject_GetAttrString(tool.monitoring, "DISABLE");
    return tool.disable ? 0 : -1;
}

/* PEP 669 gives 0, 1, 2 and 5 to debuggers, coverage, profilers and optimizers, and cProfile insists on 2: those
 * without a meaning come first. */
int rec_tool_begin(void)
{
    static const int numbers[] = { 4, 3, 5 };
    if (init() != 0)
        return -1;
    rec_tool_end();                     /* of a recording that a fork has ended */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (call("use_tool_id", Py_BuildValue("is", numbers[i], "panopticon")) == 0) {
            tool.number = numbers[i];
            tool.listened = 0;
            return 0;
        }
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear();
    }
    PyErr_SetString(PyExc_RuntimeError, "panopticon: the tool numbers 3, 4 and 5 of sys.monitoring are all in use; record "
                                        "without one of the other tools");
    return -1;
}

/* The bit of an event; 0 with an exception set. */
static long find_event(const char *name)
{
    PyObject *events = PyObject_GetAttrString(tool.monitoring, "events");
    PyObject *value = events ? PyObject_GetAttrString(events, name) : NULL;
    long bit = value ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    Py_XDECREF(events);
    return bit > 0 ? bit : 0;
}

/* The callable for a function: one for ever. Borrowed, or NULL with an exception set. */
static struct callback *callback_of(rec_tool_callback function)
{
    int i = 0;
    while (tool.callbacks[i] && tool.callbacks[i]->call != function)
        i++;
    if (!tool.callbacks[i] && (tool.callbacks[i] = PyObject_New(struct callback, (PyTypeObject *)tool.type)))
        tool.callbacks[i]->call = function;
    return tool.callbacks[i];
}

int rec_tool_listen(const char *event, rec_tool_callback function)
{
    long bit = find_event(event);
    struct callback *callback = bit ? callback_of(function) : NULL;
    if (!callback || call("register_callback", Py_BuildValue("ilO", (int)tool.number, bit, callback)) != 0)
        return -1;
    tool.listened |= bit;
    return 0;
}

int rec_tool_watch(void)
{
    if (tool.has_disabled) {            /* in an earlier recording */
        tool.has_disabled = false;
        if (call("restart_events", PyTuple_New(0)) != 0)
            return -1;
    }
    return call("set_events", Py_BuildValue("il", (int)tool.number, tool.listened));
}

/* What fails is left as it is: no event comes from a number that is free. */
static void call_quietly(const char *name, PyObject *args)
{
    if (call(name, args) != 0)
        PyErr_Clear();
}

void rec_tool_pause(void)
{
    call_quietly("set_events", Py_BuildValue("ii", (int)tool.number, 0));
}

void rec_tool_resume(void)
{
    call_quietly("set_events", Py_BuildValue("il", (int)tool.number, tool.listened));
}

void rec_tool_end(void)
{
    PyObject *type, *value, *traceback;
    if (tool.number < 0)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    call_quietly("set_events", Py_BuildValue("ii", (int)tool.number, 0));
    for (long bit = 1; bit <= tool.listened; bit <<= 1)
        if (tool.listened & bit)
            call_quietly("register_callback", Py_BuildValue("ilO", (int)tool.number, bit, Py_None));
    call_quietly("free_tool_id", Py_BuildValue("(i)", (int)tool.number));
    PyErr_Restore(type, value, traceback);
    tool.number = -1;
}

/* Objects of an interpreter that is gone are not released. */
void rec_tool_forget(void)
{
    memset(&tool, 0, sizeof tool);
    tool.number = -1;
}

bool rec_tool_has_begun(void)
{
    return tool.number >= 0;
}

PyObject *rec_tool_disable(void)
{
    tool.has_disabled = true;
    return Py_NewRef(tool.disable);
}

#endif
