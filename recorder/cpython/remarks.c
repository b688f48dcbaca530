#include "threads.h"

#include <string.h>

#include "remarks.h"

/* Labels that have a number in the name table. Names that a program makes as it runs, such as f"request {id}", are
 * without end: those beyond this have one label in common, and are written as a value. */
#define MAX_LABELS 4096
#define FURTHER_LABELS "[further names]"

static struct {
    PyObject *labels;                   /* dict: exact str to its number; owned */
    uint32_t session;                   /* in which the numbers are valid */
    uint32_t further;                   /* number of FURTHER_LABELS; 0: not needed yet */
    struct pnr_values_writer values;    /* of the remark that is being made; guarded by the GIL */
} remarks;

/* ---- texts and labels ---- */

static uint32_t add_label(struct pnr_string name)
{
    char bytes[PNR_TEXT_MAX + sizeof PNR_CUT_END];
    struct pnr_string cut = pnr_text_cut(name, PNR_TEXT_MAX);
    if (cut.size < name.size) {
        memcpy(bytes, cut.bytes, cut.size);
        memcpy(bytes + cut.size, PNR_CUT_END, strlen(PNR_CUT_END));
        cut = (struct pnr_string){ bytes, cut.size + (uint32_t)strlen(PNR_CUT_END) };
    }
    const struct pnr_string strings[3] = { { "", 0 }, cut, { "", 0 } };
    return rec_name_table_add_function(PNR_FUNCTION_LABEL, 0, strings);
}

/* Returns the number of a label that is an exact str; 0 for one beyond MAX_LABELS. */
static uint32_t find_exact_label(PyObject *name)
{
    PyObject *owned, *number = PyDict_GetItemWithError(remarks.labels, name);
    if (likely(number != NULL))
        return (uint32_t)PyLong_AsUnsignedLong(number);
    if (PyDict_GET_SIZE(remarks.labels) >= MAX_LABELS)
        return 0;
    uint32_t label = add_label(rec_functions_held_text(name, &owned));
    Py_XDECREF(owned);
    number = label ? PyLong_FromUnsignedLong(label) : NULL;
    if (!number || PyDict_SetItem(remarks.labels, name, number) != 0)
        PyErr_Clear();                  /* then it is added again */
    Py_XDECREF(number);
    return label;
}

/* Brings the labels to the recording that runs. */
static void renew_labels(void)
{
    if (likely(remarks.session == rec_functions.session))
        return;
    PyDict_Clear(remarks.labels);
    remarks.session = rec_functions.session;
    remarks.further = 0;
}

/* Returns the number of a label; 0 for one beyond MAX_LABELS, and for what is no str. A str of a derived class is copied:
 * it may have an __eq__ of its own. */
static uint32_t find_label(PyObject *name)
{
    if (likely(PyUnicode_CheckExact(name)))
        return find_exact_label(name);
    PyObject *exact = PyUnicode_Check(name) ? PyUnicode_FromObject(name) : NULL;       /* owned */
    uint32_t label = exact ? find_exact_label(exact) : 0;
    PyErr_Clear();
    Py_XDECREF(exact);
    return label;
}

/* Returns the label of names that have none of their own. */
static uint32_t further_label(void)
{
    if (!remarks.further)
        remarks.further = add_label((struct pnr_string){ FURTHER_LABELS, strlen(FURTHER_LABELS) });
    return remarks.further;
}

/* ---- values ---- */

/* Sets the text of an integer of more than 64 bits: hexadecimal digits. */
static void set_long_integer(struct pnr_value *value, PyObject *object, PyObject **owned)
{
    PyObject *ignored, *digits = PyNumber_ToBase(object, 16);
    value->type = digits ? PNR_VALUE_TEXT : PNR_VALUE_OTHER;
    value->text = digits ? rec_functions_held_text(digits, &ignored) : (struct pnr_string){ "int", 3 };
    *owned = digits;
}

/* Sets type and content. Copies what is a number, a bool, None or a str, also of a class derived from these; of anything
 * else the name of its type. Calls no code of the program. */
static void set_value(struct pnr_value *value, PyObject *object, PyObject **owned)
{
    *owned = NULL;
    if (PyBool_Check(object) || object == Py_None) {
        value->type = object == Py_None ? PNR_VALUE_NONE : object == Py_True ? PNR_VALUE_TRUE : PNR_VALUE_FALSE;
    } else if (PyLong_Check(object)) {
        int overflow;
        value->type = PNR_VALUE_INTEGER;
        value->integer = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (unlikely(overflow))
            set_long_integer(value, object, owned);
    } else if (PyFloat_Check(object)) {
        value->type = PNR_VALUE_FLOAT;
        value->real = PyFloat_AS_DOUBLE(object);
    } else if (PyUnicode_Check(object)) {
        value->type = PNR_VALUE_TEXT;
        value->text = rec_functions_held_text(object, owned);
    } else {
        const char *name = Py_TYPE(object)->tp_name;
        value->type = PNR_VALUE_OTHER;
        value->text = (struct pnr_string){ name, (uint32_t)strnlen(name, PNR_TEXT_MAX) };
    }
}

static void add_value(uint32_t key, struct pnr_string key_text, PyObject *object)
{
    struct pnr_value value = { .key = key, .key_text = key_text };
    PyObject *owned;
    set_value(&value, object, &owned);
    pnr_values_add(&remarks.values, &value);
    Py_XDECREF(owned);
}

static void add_named_value(PyObject *name, PyObject *object)
{
    PyObject *owned;
    uint32_t key = find_label(name);
    add_value(key, key ? (struct pnr_string){ "", 0 } : rec_functions_held_text(name, &owned), object);
    if (!key)
        Py_XDECREF(owned);
}

/* ---- records ---- */

/* Brings the thread to the present. Returns NULL when nothing is recorded. */
static struct rec_thread *find_present_thread(PyThreadState *ts)
{
    struct rec_thread *thread = rec_threads_bring_to_present(ts);
    return thread && rec_state_is(REC_RECORDING) && remarks.labels ? thread : NULL;
}

/* Appends a remark of this name, with the values of n keys. inner: as for rec_threads_append_values. Returns false when the
 * name has no label. */
static bool append_remark(PyThreadState *ts, struct rec_thread *thread, enum pnr_kind kind, PyObject *name,
                          PyObject *const *values, PyObject *const *keys, Py_ssize_t n, struct rec_open_frame inner)
{
    renew_labels();
    remarks.values.size = remarks.values.n_left_out = 0;
    uint32_t label = find_label(name);
    if (!label && (label = further_label()))
        add_value(0, (struct pnr_string){ "name", 4 }, name);
    for (Py_ssize_t i = 0; label && i < n; i++)
        add_named_value(keys[i], values[i]);
    if (label)
        rec_threads_append_values(thread, kind, label, &remarks.values, rec_threads_innermost(ts), inner);
    return label != 0;
}

/* Makes a remark of this name, with the values of n keys. Keeps the exception that is set. Returns false when nothing is
 * recorded. */
static bool make_remark(enum pnr_kind kind, PyObject *name, PyObject *const *values, PyObject *const *keys,
                        Py_ssize_t n)
{
    REC_LOCK_BLOCK();
    PyThreadState *ts = PyThreadState_Get();
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct rec_thread *thread = find_present_thread(ts);
    bool is_made = thread && append_remark(ts, thread, kind, name, values, keys, n, rec_no_frame);
    PyErr_Restore(type, value, traceback);
    return is_made;
}

static inline bool may_record(void)
{
    return rec_state_is(REC_RECORDING | REC_PENDING);
}

bool rec_remarks_add_instant(PyObject *name, PyObject *const *values, PyObject *const *keys, Py_ssize_t n)
{
    return may_record() && make_remark(PNR_INSTANT, name, values, keys, n);
}

void rec_remarks_add_instant_at_exit(PyThreadState *ts, struct rec_thread *thread, PyObject *name,
                                     PyObject *const *values, PyObject *const *keys, Py_ssize_t n,
                                     const struct rec_open_frame *leaving)
{
    if (remarks.labels)
        append_remark(ts, thread, PNR_INSTANT, name, values, keys, n, *leaving);
}

bool rec_remarks_retract(PyObject *name)
{
    REC_LOCK_BLOCK();
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct rec_thread *thread = may_record() ? find_present_thread(PyThreadState_Get()) : NULL;
    struct rec_buffer *buffer = thread ? &thread->buffer : NULL;
    renew_labels();
    uint32_t label = thread ? find_label(name) : 0;
    bool is_last = label && buffer->chunk >= 0 && buffer->next != buffer->first &&
                   rec_buffer_is_record(buffer->next[-1], PNR_INSTANT, 0, label);
    if (is_last) {
        rec_sparse_break();
        rec_buffer_retract(buffer);
    }
    PyErr_Restore(type, value, traceback);
    return is_last;
}

static PyObject *remark(const char *function, enum pnr_kind kind, PyObject *const *args, Py_ssize_t n, PyObject *keys)
{
    if (unlikely(n != 1))
        return PyErr_Format(PyExc_TypeError, "%s() takes a name, and values by keyword", function);
    if (may_record())
        make_remark(kind, args[0], args + 1, keys ? &PyTuple_GET_ITEM(keys, 0) : NULL, keys ? PyTuple_GET_SIZE(keys) : 0);
    Py_RETURN_NONE;
}

uint32_t rec_remarks_label(PyObject *name)
{
    REC_LOCK_BLOCK();
    renew_labels();
    return find_exact_label(name);
}

PyObject *rec_remarks_instant(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keys)
{
    (void)self;
    return remark("mark", PNR_INSTANT, args, n, keys);
}

PyObject *rec_remarks_counter(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keys)
{
    (void)self;
    return remark("counter", PNR_COUNTER, args, n, keys);
}

PyObject *rec_remarks_flow(PyObject *self, PyObject *id)
{
    static PyObject *label, *key;       /* interned */
    (void)self;
    if (!may_record())
        Py_RETURN_NONE;
    if ((!label && !(label = PyUnicode_InternFromString("flow"))) || (!key && !(key = PyUnicode_InternFromString("id"))))
        PyErr_Clear();
    else
        make_remark(PNR_FLOW, label, &id, &key, 1);
    Py_RETURN_NONE;
}

/* ---- spans ---- */

/* A span keeps no state of its runs: one may be entered by several threads, and again inside itself. */
struct span {
    PyObject_VAR_HEAD
    PyObject *name, *keys;              /* owned; keys: a tuple, or NULL */
    PyObject *values[];                 /* owned */
};

/* Returns the value as a span keeps it: what is no plain value becomes the name of its type, so that a span keeps no
 * object of the program alive, and no cycle can go through it. */
static PyObject *plain_value(PyObject *object)
{
    bool is_plain = PyBool_Check(object) || object == Py_None || PyLong_CheckExact(object) ||
                    PyFloat_CheckExact(object) || PyUnicode_CheckExact(object);
    if (is_plain)
        return Py_NewRef(object);
    if (PyLong_Check(object) || PyFloat_Check(object) || PyUnicode_Check(object))
        return PyLong_Check(object) ? PyLong_Type.tp_as_number->nb_positive(object) :
               PyFloat_Check(object) ? PyFloat_FromDouble(PyFloat_AS_DOUBLE(object)) : PyUnicode_FromObject(object);
    return PyUnicode_FromString(Py_TYPE(object)->tp_name);
}

static PyObject *new_span(PyObject *type, PyObject *const *args, size_t n_args, PyObject *keys)
{
    Py_ssize_t n = keys ? PyTuple_GET_SIZE(keys) : 0;
    if (PyVectorcall_NARGS(n_args) != 1)
        return PyErr_Format(PyExc_TypeError, "span() takes a name, and values by keyword");
    struct span *span = (struct span *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, n);   /* zeroed */
    if (!span)
        return NULL;
    span->name = PyUnicode_Check(args[0]) && !PyUnicode_CheckExact(args[0]) ? PyUnicode_FromObject(args[0]) :
                                                                              Py_NewRef(args[0]);
    span->keys = Py_XNewRef(keys);
    for (Py_ssize_t i = 0; i < n && span; i++)
        if (!(span->values[i] = plain_value(args[1 + i])))
            Py_CLEAR(span);
    if (span && !span->name)
        Py_CLEAR(span);
    return (PyObject *)span;
}

static void free_span(PyObject *self)
{
    struct span *span = (struct span *)self;
    Py_XDECREF(span->name);
    Py_XDECREF(span->keys);
    for (Py_ssize_t i = 0; i < Py_SIZE(span); i++)
        Py_XDECREF(span->values[i]);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *enter_span(PyObject *self, PyObject *unused)
{
    struct span *span = (struct span *)self;
    (void)unused;
    if (may_record())
        make_remark(PNR_SPAN, span->name, span->values, span->keys ? &PyTuple_GET_ITEM(span->keys, 0) : NULL,
                    Py_SIZE(span));
    return Py_NewRef(self);
}

static PyObject *exit_span(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    (void)args, (void)n;
    if (may_record())
        make_remark(PNR_SPAN_END, ((struct span *)self)->name, NULL, NULL, 0);
    Py_RETURN_NONE;
}

/* As a decorator: panopticon_rec.decorating makes the function that is to be called. */
static PyObject *decorate_with_span(PyObject *self, PyObject *args, PyObject *keywords)
{
    PyObject *function;                 /* borrowed */
    static char *names[] = { "function", NULL };
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:span", names, &function))
        return NULL;
    PyObject *module = PyImport_ImportModule("panopticon_rec.decorating");     /* owned */
    PyObject *decorated = module ? PyObject_CallMethod(module, "decorate_with_span", "OO", self, function) : NULL;
    Py_XDECREF(module);
    return decorated;
}

PyDoc_STRVAR(span_doc,
"span(name, /, **values)\n--\n\n"
"A span of time in this thread, shown as a slice of its own among the calls. Use it in a `with` statement, or as a\n"
"decorator of a function, a coroutine function or a generator function. values: numbers, bool, None and short text,\n"
"shown with the slice. It may be used many times, by any thread. Does nothing where nothing is recorded.");

static PyMethodDef span_methods[] = {
    { "__enter__", enter_span, METH_NOARGS, NULL },
    { "__exit__", (PyCFunction)(void (*)(void))exit_span, METH_FASTCALL, NULL },
    { 0 }
};

static PyTypeObject span_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "panopticon_rec._recorder.span",     /* calls of this module are not recorded (c_calls.c) */
    .tp_basicsize = sizeof(struct span),
    .tp_itemsize = sizeof(PyObject *),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = span_doc,
    .tp_alloc = PyType_GenericAlloc,
    .tp_dealloc = free_span,
    .tp_vectorcall = new_span,
    .tp_call = decorate_with_span,
    .tp_methods = span_methods,
};

int rec_remarks_add_type(PyObject *module)
{
    if (!remarks.labels && !(remarks.labels = PyDict_New()))
        return -1;
    return PyModule_AddType(module, &span_type);
}
