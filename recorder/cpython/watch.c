#include "cpython.h"

#include "watch.h"

#include <stdlib.h>
#include <string.h>

#include "lock.h"
#include "recording.h"
#include "remarks.h"
#include "state.h"
#include "../clock.h"

#define MAX_CACHED 1000                 /* durations whose text was parsed */
#define NEVER UINT64_MAX

/* A section that a watch measures at present. One watch may have several: of threads, of tasks, and nested ones. */
struct open_section {
    PyThreadState *thread;
    PyObject *context;                  /* that was current in the thread: each task of asyncio has its own; borrowed */
    uint64_t begin_ns;                  /* CLOCK_MONOTONIC */
};

typedef struct {
    PyObject_HEAD
    PyObject *name, *id;                /* str; None: no id. Owned */
    uint64_t slower_ns;                 /* NEVER: no section is too long */
    struct rec_incident_limits limits;
    bool on_error;
    bool is_renewed;                    /* it is for one section, which may end in another thread or context */
    size_t n_open, capacity;
    struct open_section *open;          /* &first; or owned */
    struct open_section first;
} watch_object;

static struct {
    PyTypeObject *type;
    PyObject *parse_duration, *find_id;
    PyObject *keys[3];                  /* of the values of an incident's instant: str */
    PyObject *durations;                /* what was parsed: dict of str or number to nanoseconds */
} watches;

/* ---- arguments ---- */

enum { ARG_NAME, ARG_SLOWER_THAN, ARG_KEEP, ARG_EVERY, ARG_AT_MOST, ARG_ON_ERROR, ARG_ID, N_ARGS };
static const char *const arg_names[N_ARGS] = { "name", "slower_than", "keep", "every", "at_most", "on_error", "id" };
static PyObject *interned[N_ARGS];      /* their names */

static int find_arg(PyObject *keyword)
{
    for (int i = 0; i < N_ARGS; i++)
        if (keyword == interned[i])
            return i;
    for (int i = 0; i < N_ARGS; i++)
        if (PyUnicode_CompareWithASCIIString(keyword, arg_names[i]) == 0)
            return i;
    return -1;
}

/* Gives the arguments, borrowed, NULL where they are not given. Returns false with TypeError set. */
static bool sort_args(PyObject *const *args, Py_ssize_t n, PyObject *keywords, PyObject **sorted)
{
    Py_ssize_t n_keywords = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    if (n > 2) {
        PyErr_SetString(PyExc_TypeError, "watch() takes a name and slower_than, and all else by keywords");
        return false;
    }
    memset(sorted, 0, N_ARGS * sizeof *sorted);
    for (Py_ssize_t i = 0; i < n; i++)
        sorted[i] = args[i];
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        int arg = find_arg(PyTuple_GET_ITEM(keywords, i));
        if (arg < 0 || sorted[arg]) {
            PyErr_Format(PyExc_TypeError, arg < 0 ? "watch() got an unexpected keyword argument '%U'" :
                         "watch() got several values for '%U'", PyTuple_GET_ITEM(keywords, i));
            return false;
        }
        sorted[arg] = args[n + i];
    }
    if (sorted[ARG_NAME] && PyUnicode_Check(sorted[ARG_NAME]))
        return true;
    PyErr_SetString(PyExc_TypeError, "watch() needs a name, a str");
    return false;
}

/* Parses a duration, or finds what was parsed before. Returns false with an exception set. */
static bool read_duration(PyObject *value, uint64_t absent, uint64_t *ns)
{
    *ns = absent;
    if (!value || value == Py_None)
        return true;
    bool is_simple = PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value);
    PyObject *found = is_simple ? PyDict_GetItemWithError(watches.durations, value) : NULL;        /* borrowed */
    PyObject *parsed = found ? Py_NewRef(found) : PyErr_Occurred() ? NULL :
                       PyObject_CallOneArg(watches.parse_duration, value);                          /* owned */
    if (!parsed)
        return false;
    *ns = PyLong_AsUnsignedLongLong(parsed);
    bool is_read = !PyErr_Occurred();
    if (is_read && !found && is_simple && PyDict_GET_SIZE(watches.durations) < MAX_CACHED)
        is_read = PyDict_SetItem(watches.durations, value, parsed) == 0;
    Py_DECREF(parsed);
    return is_read;
}

/* Returns false with an exception set. */
static bool read_count(PyObject *value, uint64_t absent, uint64_t *count)
{
    *count = value ? PyLong_AsUnsignedLongLong(value) : absent;
    return !value || !PyErr_Occurred();
}

/* Returns text for an id, owned: of any object its str; None stays. */
static PyObject *read_id(PyObject *id)
{
    return !id || id == Py_None ? Py_NewRef(Py_None) : PyObject_Str(id);
}

static watch_object *make_watch(PyObject *name)
{
    watch_object *self = PyObject_New(watch_object, watches.type);
    if (!self)
        return NULL;
    memset((char *)self + sizeof self->ob_base, 0, sizeof *self - sizeof self->ob_base);
    self->name = Py_NewRef(name);
    self->id = Py_NewRef(Py_None);
    self->open = &self->first;
    self->capacity = 1;
    return self;
}

/* Reads what says which sections are incidents. Returns false with an exception set. */
static bool read_conditions(watch_object *self, PyObject *const *args)
{
    int on_error = args[ARG_ON_ERROR] ? PyObject_IsTrue(args[ARG_ON_ERROR]) : 0;
    if (on_error < 0 || !read_duration(args[ARG_SLOWER_THAN], NEVER, &self->slower_ns))
        return false;
    self->on_error = on_error;
    if (self->slower_ns != NEVER || on_error)
        return true;
    PyErr_SetString(PyExc_ValueError, "watch() needs slower_than, on_error=True, or both");
    return false;
}

static PyObject *new_watch(PyObject *type, PyObject *const *args, size_t n, PyObject *keywords)
{
    PyObject *sorted[N_ARGS];           /* borrowed */
    (void)type;
    if (!sort_args(args, PyVectorcall_NARGS(n), keywords, sorted))
        return NULL;
    watch_object *self = make_watch(sorted[ARG_NAME]);
    if (!self)
        return NULL;
    struct rec_incident_limits *limits = &self->limits;
    if (!read_conditions(self, sorted) || !read_duration(sorted[ARG_KEEP], UINT64_C(2000000000), &limits->keep_ns) ||
        !read_duration(sorted[ARG_EVERY], UINT64_C(60000000000), &limits->every_ns) ||
        !read_count(sorted[ARG_AT_MOST], 100, &limits->at_most))
        goto fail;
    if (sorted[ARG_ID])
        Py_SETREF(self->id, read_id(sorted[ARG_ID]));
    if (self->id)
        return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

static void dealloc_watch(PyObject *object)
{
    watch_object *self = (watch_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->open != &self->first)
        free(self->open);
    Py_XDECREF(self->name);
    Py_XDECREF(self->id);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* ---- sections ---- */

/* Returns false when out of memory: the section is not watched. */
static bool add_open(watch_object *self, struct open_section section)
{
    REC_LOCK_BLOCK();
    if (self->n_open == self->capacity) {
        bool is_own = self->open != &self->first;
        struct open_section *larger = realloc(is_own ? self->open : NULL, 2 * self->capacity * sizeof *larger);
        if (!larger)
            return false;
        if (!is_own)
            *larger = self->first;
        self->open = larger;
        self->capacity *= 2;
    }
    self->open[self->n_open++] = section;
    return true;
}

/* Takes the section out that this thread has begun last in its present context. Returns when it began, or 0: it is not
 * watched, because nothing was recorded then. */
static uint64_t take_open(watch_object *self)
{
    REC_LOCK_BLOCK();
    PyThreadState *thread = PyThreadState_Get();
    for (size_t i = self->n_open; i-- > 0; ) {
        bool is_own = self->open[i].thread == thread && self->open[i].context == thread->context;
        if (!is_own && !self->is_renewed)
            continue;
        uint64_t begin_ns = self->open[i].begin_ns;
        self->n_open--;
        memmove(&self->open[i], &self->open[i + 1], (self->n_open - i) * sizeof *self->open);
        return begin_ns;
    }
    return 0;
}

static PyObject *enter_section(PyObject *object, PyObject *unused)
{
    watch_object *self = (watch_object *)object;
    (void)unused;
    if (unlikely(rec_state_is(REC_RECORDING | REC_PENDING))) {
        PyThreadState *thread = PyThreadState_Get();
        add_open(self, (struct open_section){ thread, thread->context, rec_clock_monotonic_ns() });
    }
    return Py_NewRef(object);
}

/* Returns a text in UTF-8, owned: bytes; NULL for None, or when that is not possible. */
static PyObject *encode(PyObject *text)
{
    PyObject *bytes = text != Py_None && PyUnicode_Check(text) ?
                      PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
    PyErr_Clear();
    return bytes;
}

static PyObject *get_id(PyObject *self, void *unused)
{
    REC_LOCK_BLOCK();
    (void)unused;
    return Py_NewRef(((watch_object *)self)->id);
}

/* Returns the id, owned: the watch's own, or the one that is found. */
static PyObject *find_section_id(const watch_object *self)
{
    PyObject *id = get_id((PyObject *)self, NULL);
    if (id == Py_None)
        Py_SETREF(id, PyObject_CallNoArgs(watches.find_id));
    PyErr_Clear();                      /* the program's own code may have raised */
    return id ? id : Py_NewRef(Py_None);
}

/* Puts an incident into the timeline, in the thread of its section. id: str, or None when there is none. */
static void add_incident_instant(PyObject *name, PyObject *id, bool is_exception, uint64_t duration_ns)
{
    PyObject *values[3] = { PyUnicode_FromString(is_exception ? "exception" : "slow"),      /* owned, except the id */
                            PyLong_FromUnsignedLongLong(duration_ns), id };
    if (values[0] && values[1])
        rec_remarks_add_instant(name, values, watches.keys, id != Py_None ? 3 : 2);
    PyErr_Clear();
    Py_XDECREF(values[0]);
    Py_XDECREF(values[1]);
}

/* A section has ended that took too long, or by an exception. No exception is set, and none is raised. */
static void report_section(const watch_object *self, uint64_t begin_ns, uint64_t end_ns, bool is_exception)
{
    PyObject *id = find_section_id(self), *id_bytes = encode(id), *name_bytes = encode(self->name);     /* owned */
    add_incident_instant(self->name, id, is_exception, end_ns - begin_ns);      /* first, so that the snapshot has it */
    if (name_bytes)
        rec_recording_report_incident(&(struct rec_incident){
            .watch = PyBytes_AS_STRING(name_bytes), .id = id_bytes ? PyBytes_AS_STRING(id_bytes) : NULL,
            .is_exception = is_exception, .begin_ns = begin_ns, .end_ns = end_ns,
            .thread = PyThread_get_thread_native_id() }, &self->limits);
    Py_XDECREF(name_bytes);
    Py_XDECREF(id_bytes);
    Py_DECREF(id);
}

/* True for an exception that is an error: not what ends a task, a generator or the program on request. */
static bool is_error(PyObject *type)
{
    return PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, (PyTypeObject *)PyExc_Exception);
}

static PyObject *exit_section(PyObject *object, PyObject *const *args, Py_ssize_t n)
{
    watch_object *self = (watch_object *)object;
    uint64_t begin_ns = self->n_open ? take_open(self) : 0;
    if (begin_ns) {
        uint64_t end_ns = rec_clock_monotonic_ns();
        bool is_slow = end_ns - begin_ns >= self->slower_ns, has_failed = self->on_error && n > 0 && is_error(args[0]);
        if (unlikely(is_slow || has_failed) && rec_state_is(REC_WITH_FILES | REC_IN_CHILD))
            report_section(self, begin_ns, end_ns, has_failed);
    }
    Py_RETURN_FALSE;
}

/* Returns another watch like this one, for one section: a call of a function, or a request. */
static PyObject *renew_watch(PyObject *object, PyObject *unused)
{
    watch_object *self = (watch_object *)object, *other = make_watch(self->name);
    (void)unused;
    if (other) {
        other->slower_ns = self->slower_ns;
        other->limits = self->limits;
        other->on_error = self->on_error;
        other->is_renewed = true;
        Py_SETREF(other->id, Py_NewRef(self->id));
    }
    return (PyObject *)other;
}

/* As a decorator: panopticon_rec.decorating makes the function that is to be called. */
static PyObject *call_watch(PyObject *self, PyObject *args, PyObject *keywords)
{
    PyObject *function;                 /* borrowed */
    static char *names[] = { "function", NULL };
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:watch", names, &function))
        return NULL;
    PyObject *module = PyImport_ImportModule("panopticon_rec.decorating");     /* owned */
    PyObject *decorated = module ? PyObject_CallMethod(module, "decorate_with_watch", "OO", self, function) : NULL;
    Py_XDECREF(module);
    return decorated;
}

/* ---- the class ---- */

static PyObject *get_name(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(((watch_object *)self)->name);
}

static PyObject *get_is_on(PyObject *self, void *unused)
{
    (void)self, (void)unused;
    return PyBool_FromLong(rec_state_is(REC_RECORDING | REC_PENDING));
}

static int set_id(PyObject *self, PyObject *value, void *unused)
{
    PyObject *id = read_id(value);
    (void)unused;
    if (!id)
        return -1;
    REC_LOCK_BLOCK();
    Py_SETREF(((watch_object *)self)->id, id);
    return 0;
}

PyDoc_STRVAR(enter_doc, "Begins a section. Returns the watch.");
PyDoc_STRVAR(exit_doc, "Ends the section that was begun last.");
PyDoc_STRVAR(renew_doc, "Returns another watch like this one, for one section.");
PyDoc_STRVAR(name_doc, "What the section is called: str.");
PyDoc_STRVAR(is_on_doc, "Whether a section that begins now is watched: bool.");
PyDoc_STRVAR(id_doc, "What the section works for, such as a request: str or None.");

static PyMethodDef watch_methods[] = {
    { "__enter__", enter_section, METH_NOARGS, enter_doc },
    { "__exit__", (PyCFunction)(void (*)(void))exit_section, METH_FASTCALL, exit_doc },
    { "_renew", renew_watch, METH_NOARGS, renew_doc },
    { 0 }
};

static PyGetSetDef watch_attributes[] = {
    { .name = "name", .get = get_name, .doc = name_doc },
    { .name = "_is_on", .get = get_is_on, .doc = is_on_doc },
    { .name = "id", .get = get_id, .set = set_id, .doc = id_doc },
    { 0 }
};

PyDoc_STRVAR(watch_doc,
"watch(name, slower_than=None, *, keep='2s', every='1min', at_most=100, on_error=False, id=None)\n--\n\n"
"Watch a section of the program, and save the time around it as a snapshot next to the capture when it took too long.\n\n"
"    with panopticon_rec.watch(\"checkout\", slower_than=\"250ms\"):\n"
"        ...\n\n"
"    @panopticon_rec.watch(\"checkout\", slower_than=\"250ms\")\n"
"    async def checkout(): ...\n\n"
"name: what the section is called, str. slower_than: how long it may take. on_error: also save when an exception ends\n"
"it, other than those that are not derived from Exception. keep: how much is saved of what precedes the section, and of\n"
"what follows it. every: at most one snapshot of this name is made in this time. at_most: how many are made in all, of\n"
"all names in this process. id: what the section works for, such as a request; any object, whose str is taken. Where\n"
"none is given it is the trace id of OpenTelemetry's current span, if the program uses that. The attribute id may be\n"
"set while the section runs.\n\n"
"A duration is a number of seconds, or text such as \"250ms\". Raises ValueError for a wrong value, TypeError for a wrong\n"
"argument. Sections raise nothing and exceptions pass unchanged. Does nothing while this process is not recorded.\n\n"
"One watch may be used for any number of sections, also at once. As a decorator it also takes coroutine functions,\n"
"generators and asynchronous generators, whose section is from the first step to the last.");

static PyType_Slot watch_slots[] = {
    { Py_tp_doc, (void *)watch_doc }, { Py_tp_dealloc, dealloc_watch }, { Py_tp_methods, watch_methods },
    { Py_tp_getset, watch_attributes }, { Py_tp_call, call_watch }, { 0, NULL }
};

static PyType_Spec watch_spec = {
    .name = "panopticon_rec.watch", .basicsize = sizeof(watch_object), .slots = watch_slots,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION
};

PyObject *rec_watch_make_type(PyObject *parse_duration, PyObject *find_id)
{
    for (int i = 0; i < N_ARGS; i++)
        if (!(interned[i] = PyUnicode_InternFromString(arg_names[i])))
            return NULL;
    static const char *const keys[] = { "why", "duration_ns", "id" };
    for (int i = 0; i < 3; i++)
        if (!(watches.keys[i] = PyUnicode_InternFromString(keys[i])))
            return NULL;
    PyTypeObject *type = (PyTypeObject *)PyType_FromSpec(&watch_spec);
    if (!type || !(watches.durations = PyDict_New()))
        return NULL;
    type->tp_vectorcall = new_watch;    /* there is no slot for it before 3.14 */
    watches.type = (PyTypeObject *)Py_NewRef(type);
    watches.parse_duration = Py_NewRef(parse_duration);
    watches.find_id = Py_NewRef(find_id);
    return (PyObject *)type;
}
