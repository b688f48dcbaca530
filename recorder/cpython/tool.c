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
    PyObject *name;                     /* by which the number is known to be ours: the very object; owned */
    long number;                        /* -1: none */
    long listened;                      /* the events that have a callback */
    bool is_watching;
    struct {
        long bit;
        struct callback *callback;      /* borrowed */
    } listening[MAX_CALLBACKS];
    int n_listening;
    bool has_disabled;
    struct callback *callbacks[MAX_CALLBACKS];  /* owned for ever: one may be running when the tool ends */
} tool = { .number = -1 };

/* Calls a function of sys.monitoring; releases args. Returns its result, owned, or NULL with an exception set. */
static PyObject *ask_monitoring(const char *name, PyObject *args)
{
    PyObject *function = args ? PyObject_GetAttrString(tool.monitoring, name) : NULL;
    PyObject *result = function ? PyObject_Call(function, args, NULL) : NULL;
    Py_XDECREF(function);
    Py_XDECREF(args);
    return result;
}

/* Calls a function of sys.monitoring whose result does not matter. Returns 0, or -1 with an exception set. */
static int call_monitoring(const char *name, PyObject *args)
{
    PyObject *result = ask_monitoring(name, args);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int init_tool(void)
{
    if (tool.disable)
        return 0;
    PyObject *monitoring = PySys_GetObject("monitoring");       /* borrowed */
    Py_XDECREF(tool.monitoring);
    tool.monitoring = Py_XNewRef(monitoring);
    if (!tool.type)
        tool.type = PyType_FromSpec(&spec);
    if (!tool.name)
        tool.name = PyUnicode_FromString("panopticon");
    if (!tool.monitoring)
        PyErr_SetString(PyExc_RuntimeError, "panopticon: sys.monitoring is gone");
    else if (tool.type && tool.name)
        tool.disable = PyObject_GetAttrString(tool.monitoring, "DISABLE");
    return tool.disable ? 0 : -1;
}

/* Takes a tool number that is free. PEP 669 gives 0, 1, 2 and 5 to debuggers, coverage, profilers and optimizers, and
 * cProfile insists on 2 (Lib/cProfile.py): numbers without a meaning come first. Returns 0, or -1 with an exception
 * set. */
static int take_number(void)
{
    static const int numbers[] = { 4, 3, 5 };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (call_monitoring("use_tool_id", Py_BuildValue("iO", numbers[i], tool.name)) == 0) {
            tool.number = numbers[i];
            return 0;
        }
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear();
    }
    PyErr_SetString(PyExc_RuntimeError, "panopticon: the tool numbers 3, 4 and 5 of sys.monitoring are all in use; "
                                        "record without one of the other tools");
    return -1;
}

int rec_tool_begin(void)
{
    if (init_tool() != 0)
        return -1;
    rec_tool_end();                     /* a fork may have ended a recording without it */
    tool.n_listening = 0;
    tool.listened = 0;
    return take_number();
}

/* Returns the bit of an event; 0 with an exception set. */
static long find_event_bit(const char *name)
{
    PyObject *events = PyObject_GetAttrString(tool.monitoring, "events");
    PyObject *value = events ? PyObject_GetAttrString(events, name) : NULL;
    long bit = value ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    Py_XDECREF(events);
    return bit > 0 ? bit : 0;
}

/* Returns the callable object for a function, of which there is one for ever. Borrowed, or NULL with an exception set.
 */
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
    long bit = find_event_bit(event);
    struct callback *callback = bit ? callback_of(function) : NULL;
    if (!callback || call_monitoring("register_callback", Py_BuildValue("ilO", (int)tool.number, bit, callback)) != 0)
        return -1;
    if (!(tool.listened & bit)) {
        tool.listening[tool.n_listening].bit = bit;
        tool.listening[tool.n_listening++].callback = callback;
    }
    tool.listened |= bit;
    return 0;
}

int rec_tool_watch(void)
{
    if (tool.has_disabled) {            /* in an earlier recording */
        tool.has_disabled = false;
        if (call_monitoring("restart_events", PyTuple_New(0)) != 0)
            return -1;
    }
    tool.is_watching = true;
    return call_monitoring("set_events", Py_BuildValue("il", (int)tool.number, tool.listened));
}

/* Ignores failures: no event comes from a number that is free. */
static void call_monitoring_quietly(const char *name, PyObject *args)
{
    if (call_monitoring(name, args) != 0)
        PyErr_Clear();
}

/* Returns false when another tool has freed the number, and perhaps a third one has taken it. */
static bool is_number_ours(void)
{
    PyObject *name = ask_monitoring("get_tool", Py_BuildValue("(i)", (int)tool.number));
    if (!name)
        PyErr_Clear();
    Py_XDECREF(name);
    return name == tool.name;
}

/* Removes our callbacks from the number, and no other tool's. */
static void remove_callbacks(void)
{
    for (int i = 0; i < tool.n_listening; i++) {
        int number = (int)tool.number;
        long bit = tool.listening[i].bit;
        PyObject *before = ask_monitoring("register_callback", Py_BuildValue("ilO", number, bit, Py_None));
        if (before && before != Py_None && before != (PyObject *)tool.listening[i].callback)
            call_monitoring_quietly("register_callback", Py_BuildValue("ilO", number, bit, before));
        Py_XDECREF(before);
        PyErr_Clear();
    }
}

/* Takes a number again and registers the callbacks with it. Returns 0, or -1 with an exception set. */
static int retake_number(void)
{
    remove_callbacks();
    tool.number = -1;
    if (take_number() != 0)
        return -1;
    for (int i = 0; i < tool.n_listening; i++)
        if (call_monitoring("register_callback", Py_BuildValue("ilO", (int)tool.number, tool.listening[i].bit,
                                                    tool.listening[i].callback)) != 0)
            return -1;
    return 0;
}

bool rec_tool_look(void)
{
    PyObject *type, *value, *traceback;
    if (tool.number < 0 || !tool.is_watching)
        return true;
    PyErr_Fetch(&type, &value, &traceback);
    bool is = is_number_ours();
    if (!is && retake_number() == 0)
        call_monitoring_quietly("set_events", Py_BuildValue("il", (int)tool.number, tool.listened));
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return is;
}

bool rec_tool_pause(void)
{
    bool was_watching = tool.is_watching, is = tool.number >= 0 && is_number_ours();
    tool.is_watching = false;
    if (is)
        call_monitoring_quietly("set_events", Py_BuildValue("ii", (int)tool.number, 0));
    return is || !was_watching;
}

void rec_tool_resume(void)
{
    if (tool.number < 0 || (!is_number_ours() && retake_number() != 0)) {
        PyErr_Clear();
        return;
    }
    tool.is_watching = true;
    call_monitoring_quietly("set_events", Py_BuildValue("il", (int)tool.number, tool.listened));
}

bool rec_tool_end(void)
{
    PyObject *type, *value, *traceback;
    bool is = true, was_watching = tool.is_watching;
    tool.is_watching = false;
    if (tool.number < 0)
        return !was_watching;
    PyErr_Fetch(&type, &value, &traceback);
    is = is_number_ours();
    if (is)
        call_monitoring_quietly("set_events", Py_BuildValue("ii", (int)tool.number, 0));
    remove_callbacks();
    if (is)
        call_monitoring_quietly("free_tool_id", Py_BuildValue("(i)", (int)tool.number));
    PyErr_Restore(type, value, traceback);
    tool.number = -1;
    return is || !was_watching;
}

/* Does not release the objects: their interpreter is gone. */
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
