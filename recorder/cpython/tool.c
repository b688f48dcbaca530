#include "tool.h"

#include "lock.h"

#if PY_VERSION_HEX >= 0x030C0000

#include <string.h>

#define MAX_CALLBACKS 32

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

/* A tool number, and what is registered with it. */
struct seat {
    long number;                        /* -1: none */
    long watched;                       /* the events that are on for all code, while events come */
    struct {
        long bit;
        struct callback *callback;      /* borrowed */
    } listening[MAX_CALLBACKS];
    int n_listening;
};

static struct {
    PyObject *monitoring;               /* sys.monitoring; owned */
    PyObject *set_local, *get_local;    /* its functions; owned */
    PyObject *type;                     /* of callbacks; owned */
    PyObject *disable;                  /* owned */
    PyObject *name;                     /* by which a number is known to be ours: the very object; owned */
    struct seat seats[REC_TOOL_SEATS];
    bool is_watching;
    struct callback *callbacks[MAX_CALLBACKS];  /* owned for ever: one may be running when the tool ends */
} tool = { .seats = { { .number = -1 }, { .number = -1 } } };

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

/* Gets an attribute of sys.monitoring once. Returns false with an exception set. */
static bool find_attribute(PyObject **attribute, const char *name)
{
    return *attribute || (*attribute = PyObject_GetAttrString(tool.monitoring, name));
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
    else if (tool.type && tool.name && find_attribute(&tool.set_local, "set_local_events") &&
             find_attribute(&tool.get_local, "get_local_events"))
        find_attribute(&tool.disable, "DISABLE");
    return tool.disable ? 0 : -1;
}

/* Takes a number. Returns false, with an exception set unless it is another tool's. */
static bool try_number(struct seat *seat, long number)
{
    if (call_monitoring("use_tool_id", Py_BuildValue("lO", number, tool.name)) == 0) {
        seat->number = number;
        return true;
    }
    if (PyErr_ExceptionMatches(PyExc_ValueError))
        PyErr_Clear();
    return false;
}

/* Takes a tool number that is free. PEP 669 gives 0, 1, 2 and 5 to debuggers, coverage, profilers and optimizers, and
 * cProfile insists on 2 (Lib/cProfile.py): numbers without a meaning come first. first: before all others, or -1.
 * Returns 0, or -1 with an exception set. */
static int take_number(struct seat *seat, long first)
{
    static const long numbers[] = { 4, 3, 5 };
    if (first >= 0 && try_number(seat, first))
        return 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !PyErr_Occurred(); i++)
        if (try_number(seat, numbers[i]))
            return 0;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "panopticon: two of the tool numbers 3, 4 and 5 of sys.monitoring are "
                                            "needed, and other tools use too many; record without one of them");
    return -1;
}

static struct seat *end_of_seats(void)
{
    return tool.seats + REC_TOOL_SEATS;
}

int rec_tool_begin(void)
{
    if (init_tool() != 0)
        return -1;
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++) {
        seat->n_listening = 0;
        seat->watched = 0;
        if (take_number(seat, -1) != 0) {
            rec_tool_end();
            return -1;
        }
    }
    return 0;
}

long rec_tool_event(const char *name)
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

/* Returns the object that was registered for the event, owned, or NULL with an exception set. */
static PyObject *register_callback(const struct seat *seat, long bit, PyObject *callback)
{
    PyObject *args = Py_BuildValue("llO", seat->number, bit, callback);
    uint32_t n_taken = rec_lock_suspend();              /* audit hooks may run Python code */
    PyObject *before = ask_monitoring("register_callback", args);
    rec_lock_resume(n_taken);
    return before;
}

static bool register_quietly(const struct seat *seat, long bit, PyObject *callback)
{
    PyObject *before = register_callback(seat, bit, callback);
    Py_XDECREF(before);
    return before;
}

int rec_tool_listen(enum rec_tool_seat which, const char *event, rec_tool_callback function, bool is_global)
{
    struct seat *seat = &tool.seats[which];
    long bit = rec_tool_event(event);
    struct callback *callback = bit ? callback_of(function) : NULL;
    if (!callback || !register_quietly(seat, bit, (PyObject *)callback))
        return -1;
    int i = 0;
    while (i < seat->n_listening && seat->listening[i].bit != bit)
        i++;
    seat->listening[i].bit = bit;
    seat->listening[i].callback = callback;
    seat->n_listening += i == seat->n_listening;
    if (is_global)
        seat->watched |= bit;
    return 0;
}

bool rec_tool_listens(long bit)
{
    const struct seat *seat = &tool.seats[REC_TOOL_RECORDS];
    int i = 0;
    while (i < seat->n_listening && seat->listening[i].bit != bit)
        i++;
    return i < seat->n_listening;
}

static int set_events(const struct seat *seat, long events)
{
    return call_monitoring("set_events", Py_BuildValue("ll", seat->number, events));
}

/* Ignores failures: no event comes from a number that is free. */
static void set_events_quietly(const struct seat *seat, long events)
{
    if (set_events(seat, events) != 0)
        PyErr_Clear();
}

/* Returns false when another tool has freed the number, and perhaps a third one has taken it. */
static bool is_number_ours(const struct seat *seat)
{
    PyObject *name = ask_monitoring("get_tool", Py_BuildValue("(l)", seat->number));
    if (!name)
        PyErr_Clear();
    Py_XDECREF(name);
    return name == tool.name;
}

/* Removes our callbacks from the number, and no other tool's. */
static void remove_callbacks(const struct seat *seat)
{
    for (int i = 0; i < seat->n_listening; i++) {
        long bit = seat->listening[i].bit;
        PyObject *before = register_callback(seat, bit, Py_None);
        if (before && before != Py_None && before != (PyObject *)seat->listening[i].callback)
            register_quietly(seat, bit, before);
        Py_XDECREF(before);
        PyErr_Clear();
    }
}

/* Takes a number again, the same one if it is free, and registers the callbacks with it. */
static void retake_number(struct seat *seat)
{
    long before = seat->number;
    remove_callbacks(seat);
    seat->number = -1;
    if (take_number(seat, before) == 0)
        for (int i = 0; i < seat->n_listening; i++)
            register_quietly(seat, seat->listening[i].bit, (PyObject *)seat->listening[i].callback);
    PyErr_Clear();
}

/* Takes again the numbers that are ours no more. Returns whether all were ours. */
static bool check_numbers(void)
{
    bool are = true;
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++) {
        if (seat->number < 0 || is_number_ours(seat))
            continue;
        are = false;
        retake_number(seat);
    }
    return are;
}

int rec_tool_watch(void)
{
    if (!tool.is_watching)
        check_numbers();
    tool.is_watching = true;
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++)
        if (set_events(seat, seat->watched) != 0)
            return -1;
    return 0;
}

bool rec_tool_look(void)
{
    PyObject *type, *value, *traceback;
    if (!rec_tool_has_begun() || !tool.is_watching)
        return true;
    PyErr_Fetch(&type, &value, &traceback);
    bool are = check_numbers();
    for (struct seat *seat = tool.seats; !are && seat < end_of_seats(); seat++)
        set_events_quietly(seat, seat->watched);
    PyErr_Restore(type, value, traceback);
    return are;
}

void rec_tool_pause(void)
{
    tool.is_watching = false;
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++)
        if (seat->number >= 0 && is_number_ours(seat))
            set_events_quietly(seat, 0);
}

void rec_tool_resume(void)
{
    if (!rec_tool_has_begun())
        return;
    check_numbers();
    tool.is_watching = true;
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++)
        set_events_quietly(seat, seat->watched);
}

/* The numbers are not the recorder's any more before audit hooks run: what begins meanwhile takes others. */
void rec_tool_end(void)
{
    PyObject *type, *value, *traceback;
    struct seat ending[REC_TOOL_SEATS];
    PyErr_Fetch(&type, &value, &traceback);
    rec_tool_pause();
    memcpy(ending, tool.seats, sizeof ending);
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++)
        seat->number = -1;
    for (struct seat *seat = ending; seat < ending + REC_TOOL_SEATS; seat++) {
        if (seat->number < 0)
            continue;
        bool is = is_number_ours(seat);
        remove_callbacks(seat);
        if (is && call_monitoring("free_tool_id", Py_BuildValue("(l)", seat->number)) != 0)
            PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
}

/* Does not release the objects: their interpreter is gone. */
void rec_tool_forget(void)
{
    memset(&tool, 0, sizeof tool);
    for (struct seat *seat = tool.seats; seat < end_of_seats(); seat++)
        seat->number = -1;
}

bool rec_tool_has_begun(void)
{
    return tool.seats[REC_TOOL_RECORDS].number >= 0 || tool.seats[REC_TOOL_NOTES].number >= 0;
}

long rec_tool_number(void)
{
    return tool.seats[REC_TOOL_RECORDS].number;
}

/* Calls a function of sys.monitoring with a number, a code object and, if last is not negative, that. Returns its
 * result, owned, or NULL. Keeps the exception that is set. */
static PyObject *call_on_code(PyObject *function, long number, PyCodeObject *code, long last)
{
    PyObject *type, *value, *traceback;
    if (!cpython_keep((PyObject *)code))
        return NULL;                    /* it will not run any more */
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *args[] = { PyLong_FromLong(number), (PyObject *)code, last < 0 ? NULL : PyLong_FromLong(last) };
    PyObject *result = args[0] && (last < 0 || args[2]) ? PyObject_Vectorcall(function, args, last < 0 ? 2 : 3, NULL) :
                                                          NULL;
    Py_XDECREF(args[0]);
    Py_XDECREF(args[2]);
    PyErr_Restore(type, value, traceback);
    Py_DECREF(code);
    return result;
}

bool rec_tool_set_local(long number, PyCodeObject *code, long events)
{
    PyObject *result = number < 0 ? NULL : call_on_code(tool.set_local, number, code, events);
    Py_XDECREF(result);
    return result;
}

long rec_tool_get_local(long number, PyCodeObject *code)
{
    PyObject *result = number < 0 ? NULL : call_on_code(tool.get_local, number, code, -1);
    long events = result ? PyLong_AsLong(result) : 0;
    Py_XDECREF(result);
    return events;
}

PyObject *rec_tool_disable(void)
{
    return Py_NewRef(tool.disable);
}

#endif
