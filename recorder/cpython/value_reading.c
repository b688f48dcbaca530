#include "threads.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "greenlets.h"
#include "redaction.h"
#include "value_reading.h"


/* ---- text ---- */

static void add_piece(struct rec_reading *reading, const char *bytes, size_t size)
{
    if (reading->is_cut || size > sizeof reading->text - reading->size) {
        reading->is_cut = true;
        return;
    }
    memcpy(reading->text + reading->size, bytes, size);
    reading->size += (uint32_t)size;
}

static void add_word(struct rec_reading *reading, const char *word) { add_piece(reading, word, strlen(word)); }

/* Adds a character as UTF-8; a lone surrogate as the three bytes that its number gives. */
static void add_character(struct rec_reading *reading, Py_UCS4 c)
{
    char bytes[4];
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (int i = n - 1; i > 0; i--, c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    bytes[0] = (char)(first[n] | c);
    add_piece(reading, bytes, (size_t)n);
}

/* Adds a character as the program's source may have it in quotes (Objects/unicodeobject.c, unicode_repr). */
static void add_escaped(struct rec_reading *reading, Py_UCS4 c, Py_UCS4 quote, bool is_printable)
{
    char text[16];
    const char *found = strchr("t\tn\nr\r", (int)c);
    if (c == quote || c == '\\')
        snprintf(text, sizeof text, "\\%c", (int)c);
    else if (c && c < ' ' && found)
        snprintf(text, sizeof text, "\\%c", found[-1]);
    else if (is_printable) {
        add_character(reading, c);
        return;
    } else
        snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    add_word(reading, text);
}

static Py_ssize_t min_size(Py_ssize_t a, Py_ssize_t b) { return a < b ? a : b; }

static void add_text_repr(struct rec_reading *reading, PyObject *text)
{
    Py_ssize_t n = min_size(PyUnicode_GET_LENGTH(text), PNR_TEXT_MAX);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    bool has_single = PyUnicode_FindChar(text, '\'', 0, n, 1) >= 0;
    char quote = has_single && PyUnicode_FindChar(text, '"', 0, n, 1) < 0 ? '"' : '\'';
    add_piece(reading, &quote, 1);
    for (Py_ssize_t i = 0; i < n && !reading->is_cut; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (likely(c >= ' ' && c < 0x7f && c != '\\' && c != (Py_UCS4)quote && reading->size < sizeof reading->text))
            reading->text[reading->size++] = (char)c;
        else
            add_escaped(reading, c, (Py_UCS4)quote, Py_UNICODE_ISPRINTABLE(c));
    }
    add_piece(reading, &quote, 1);
}

static void add_bytes_repr(struct rec_reading *reading, PyObject *object)
{
    const char *bytes = PyBytes_AS_STRING(object);
    Py_ssize_t n = min_size(PyBytes_GET_SIZE(object), PNR_TEXT_MAX);
    char quote = memchr(bytes, '\'', (size_t)n) && !memchr(bytes, '"', (size_t)n) ? '"' : '\'';
    add_word(reading, "b");
    add_piece(reading, &quote, 1);
    for (Py_ssize_t i = 0; i < n && !reading->is_cut; i++) {
        unsigned char c = (unsigned char)bytes[i];
        add_escaped(reading, c, (Py_UCS4)quote, c >= ' ' && c < 0x7f);
    }
    add_piece(reading, &quote, 1);
}

/* Adds the text of a new str, and releases it. made: NULL after an error, which is cleared: then the word. */
static void add_made(struct rec_reading *reading, PyObject *made, const char *otherwise)
{
    PyObject *owned;
    if (!made) {
        PyErr_Clear();
        add_word(reading, otherwise);
        return;
    }
    struct pnr_string text = rec_functions_held_text(made, &owned);
    struct pnr_string cut = pnr_text_cut(text, (uint32_t)sizeof reading->text - reading->size);
    add_piece(reading, cut.bytes, cut.size);
    reading->is_cut |= cut.size < text.size;
    Py_XDECREF(owned);
    Py_DECREF(made);
}

static void add_decimal(struct rec_reading *reading, long long number)
{
    char digits[24], *begin = digits + sizeof digits;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    do
        *--begin = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--begin = '-';
    add_piece(reading, begin, (size_t)(digits + sizeof digits - begin));
}

/* Adds an integer: decimal digits up to 64 bits, hexadecimal ones up to 1,024 bits, else its type. */
static void add_integer(struct rec_reading *reading, PyObject *object)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (!overflow) {
        add_decimal(reading, number);
    } else {
        bool is_huge = PyLong_AsDouble(object) == -1.0 && PyErr_Occurred();
        add_made(reading, is_huge ? NULL : PyNumber_ToBase(object, 16), "<int>");
    }
}

static void add_float(struct rec_reading *reading, PyObject *object)
{
    char *text = PyOS_double_to_string(PyFloat_AS_DOUBLE(object), 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    add_word(reading, text ? text : "<float>");
    if (!text)
        PyErr_Clear();
    PyMem_Free(text);
}

/* ---- the program's repr() ---- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Returns the code of a handler that is written in Python, borrowed, or NULL. */
static PyObject *handler_code(PyObject *handler)
{
    if (!PyFunction_Check(handler) && !PyMethod_Check(handler)) {
        PyObject *type = (PyObject *)Py_TYPE(handler), *name = PyUnicode_InternFromString("__call__");
        handler = name ? _PyType_Lookup((PyTypeObject *)type, name) : NULL;         /* borrowed */
        Py_XDECREF(name);
    }
    if (handler && PyMethod_Check(handler))
        handler = PyMethod_GET_FUNCTION(handler);
    return handler && PyFunction_Check(handler) ? PyFunction_GET_CODE(handler) : NULL;
}

/* Returns whether the code runs in one of the frames of a traceback. */
static bool has_frame_of(const PyTracebackObject *traceback, PyObject *code)
{
    bool is_found = false;
    for (; traceback && !is_found; traceback = traceback->tb_next) {
        PyCodeObject *own = PyFrame_GetCode(traceback->tb_frame);       /* owned */
        is_found = (PyObject *)own == code;
        Py_DECREF(own);
    }
    return is_found;
}

/* Returns whether a signal's handler has raised the exception: one that is installed is in its traceback. */
static bool is_of_handler(PyObject *traceback)
{
    PyObject *modules = PySys_GetObject("modules");     /* borrowed, like the module */
    PyObject *module = modules && PyDict_Check(modules) ? PyDict_GetItemString(modules, "_signal") : NULL;
    bool is_found = false;
    for (int number = 1; number < NSIG && module && traceback && !is_found; number++) {
        PyObject *handler = PyObject_CallMethod(module, "getsignal", "i", number);      /* owned */
        PyObject *code = handler && !PyLong_Check(handler) && handler != Py_None ? handler_code(handler) : NULL;
        is_found = code && has_frame_of((PyTracebackObject *)traceback, code);
        Py_XDECREF(handler);
        PyErr_Clear();
    }
    return is_found;
}

/* A pending call: raises the exception where the main thread is. exception: owned. */
static int raise_again(void *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE((PyObject *)exception), exception);
    Py_DECREF((PyObject *)exception);
    return -1;
}

/* Clears the exception of a repr. What a signal's handler has raised meanwhile, or a Ctrl-C, is the program's: it comes
 * again. Handlers run in the main thread alone. */
static void swallow_exception(void)
{
    PyObject *type, *exception, *traceback;     /* owned */
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    bool is_main = syscall(SYS_gettid) == getpid();
    if (is_main && exception &&
        (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) || is_of_handler(traceback))) {
        if (traceback)
            PyException_SetTraceback(exception, traceback);
        if (Py_AddPendingCall(raise_again, Py_NewRef(exception)) != 0)
            Py_DECREF(exception);
    }
    Py_XDECREF(type);
    Py_XDECREF(exception);
    Py_XDECREF(traceback);
    PyErr_Clear();
}

/* Calls repr(), of which nothing is recorded or traced. Returns a str, owned, or NULL. */
static PyObject *call_repr(struct rec_reading *reading, PyObject *object)
{
    PyThreadState *ts = PyThreadState_Get();
    if (!reading->began_ns)
        reading->began_ns = now_ns();
    reading->has_run = true;
    rec_threads_step_aside(ts, true);
    uint32_t n_taken = rec_lock_suspend();
    PyThreadState_EnterTracing(ts);
    PyObject *text = PyObject_Repr(object);
    PyThreadState_LeaveTracing(ts);
    if (!text) {
        reading->n_failed++;
        swallow_exception();
    }
    rec_lock_resume(n_taken);
    rec_threads_step_aside(ts, false);
    reading->ended_ns = now_ns();
    reading->calls_repr = reading->ended_ns - reading->began_ns < REC_REPR_MAX_NS;
    return text;
}

/* Returns whether there is a repr, which is added. In a program with greenlets none is called: another greenlet could go
 * on in the middle of it, of which nothing would be recorded. */
static bool add_repr(struct rec_reading *reading, PyObject *object)
{
    PyObject *text = NULL;
    if (reading->calls_repr && !rec_greenlets.are_used)
        text = call_repr(reading, object);
    else if (reading->calls_repr || reading->began_ns)
        reading->n_failed++;
    if (text)
        add_made(reading, text, "");
    return text;
}

/* ---- containers ---- */

static void add_object(struct rec_reading *reading, PyObject *object, int depth);

#define MAX_UNUSED 4096                 /* entries of a set */

/* Adds that n more members are not shown after the first i. */
static void add_left_out(struct rec_reading *reading, Py_ssize_t i, Py_ssize_t n)
{
    char text[48];
    snprintf(text, sizeof text, "%s" PNR_CUT_END " %lld more", i ? ", " : "", (long long)n);
    add_word(reading, text);
}

/* Adds what comes before a member. Returns false for one that is not shown any more. */
static bool begin_member(struct rec_reading *reading, Py_ssize_t i, Py_ssize_t n)
{
    if (reading->is_cut)
        return false;
    if (i >= REC_READ_MEMBERS) {
        add_left_out(reading, i, n - i);
        return false;
    }
    if (i)
        add_word(reading, ", ");
    return true;
}

/* Releases what may have been the program's last reference meanwhile: that may run its code. */
static void release(struct rec_reading *reading, PyObject *object)
{
    bool is_simple = PyLong_CheckExact(object) || PyUnicode_CheckExact(object) || PyFloat_CheckExact(object) ||
                     PyBytes_CheckExact(object);
    if (is_simple) {
        Py_DECREF(object);
        return;
    }
    uint32_t n_taken = rec_lock_suspend();
    Py_DECREF(object);
    rec_lock_resume(n_taken);
    reading->has_run |= n_taken > 0;
}

/* The program's code may change a list, dict or set while a member's repr is called, as may another thread where there is no
 * GIL: each member is held, and the container is looked at anew for each. member: owned; is released. */
static void add_member(struct rec_reading *reading, PyObject *member, int depth)
{
    add_object(reading, member, depth + 1);
    release(reading, member);
}

/* Returns whether values under this key are to be redacted. No code of a class derived from str or bytes is called. */
static bool is_redacted_key(PyObject *key)
{
    PyObject *owned = NULL;
    bool is_redacted = false;
    if (PyUnicode_Check(key))
        is_redacted = rec_redaction_matches(rec_functions_held_text(key, &owned));
    else if (PyBytes_Check(key))
        is_redacted = rec_redaction_matches((struct pnr_string){ PyBytes_AS_STRING(key),
                                                                 (uint32_t)min_size(PyBytes_GET_SIZE(key), UINT32_MAX) });
    Py_XDECREF(owned);
    return is_redacted;
}

/* Owned, or NULL. */
static PyObject *sequence_item(PyObject *object, Py_ssize_t i)
{
    if (PyList_CheckExact(object))
        return cpython_list_item(object, i);
    return i < PyTuple_GET_SIZE(object) ? Py_NewRef(PyTuple_GET_ITEM(object, i)) : NULL;
}

static bool begins_with_redacted_key(struct rec_reading *reading, PyObject *object)
{
    PyObject *key = sequence_item(object, 0);   /* owned */
    bool is_redacted = key && is_redacted_key(key);
    if (key)
        release(reading, key);
    return is_redacted;
}

/* Two members may be a key and its value, such as a header of HTTP. */
static void add_sequence(struct rec_reading *reading, PyObject *object, int depth)
{
    bool is_list = PyList_CheckExact(object);
    Py_ssize_t n = Py_SIZE(object);
    bool is_redacted = n == 2 && begins_with_redacted_key(reading, object);
    add_word(reading, is_list ? "[" : "(");
    for (Py_ssize_t i = 0; i < Py_SIZE(object) && begin_member(reading, i, Py_SIZE(object)); i++) {
        PyObject *member = is_redacted && i > 0 ? NULL : sequence_item(object, i);
        if (member)
            add_member(reading, member, depth);
        else
            add_word(reading, is_redacted ? PNR_REDACTED : "");
    }
    add_word(reading, is_list ? "]" : n == 1 ? ",)" : ")");
}

/* The value under a key that is to be redacted is not looked at. Both are owned; they are released. */
static void add_pair(struct rec_reading *reading, PyObject *key, PyObject *value, int depth)
{
    bool is_redacted = is_redacted_key(key);
    add_member(reading, key, depth);
    add_word(reading, ": ");
    if (is_redacted) {
        add_word(reading, PNR_REDACTED);
        release(reading, value);
    } else {
        add_member(reading, value, depth);
    }
}

static void add_dict(struct rec_reading *reading, PyObject *object, int depth)
{
    PyObject *key, *value;              /* owned */
    Py_ssize_t at = 0, i = 0;
    add_word(reading, "{");
    while (PyDict_GET_SIZE(object) && cpython_next_pair(object, &at, &key, &value)) {
        if (!begin_member(reading, i++, PyDict_GET_SIZE(object))) {
            release(reading, key);
            release(reading, value);
            break;
        }
        add_pair(reading, key, value, depth);
    }
    add_word(reading, "}");
}

/* A set that was large keeps its table: no more than so many unused entries are passed. */
static void add_set(struct rec_reading *reading, PyObject *object, int depth)
{
    const PySetObject *set = (PySetObject *)object;
    bool is_frozen = PyFrozenSet_CheckExact(object), is_empty = !set->used;
    Py_ssize_t n = 0, at = 0;
    add_word(reading, is_frozen && is_empty ? "frozenset()" : is_frozen ? "frozenset({" : is_empty ? "set()" : "{");
    while (n < set->used && begin_member(reading, n, set->used)) {
        PyObject *member = cpython_next_member(object, &at, MAX_UNUSED);
        if (!member) {
            add_left_out(reading, 0, set->used - n);
            break;
        }
        add_member(reading, member, depth);
        n++;
    }
    if (!is_empty)
        add_word(reading, is_frozen ? "})" : "}");
}

static bool is_plain_container(PyObject *object)
{
    return PyList_CheckExact(object) || PyTuple_CheckExact(object) || PyDict_CheckExact(object) ||
           PySet_CheckExact(object) || PyFrozenSet_CheckExact(object);
}

static void add_container(struct rec_reading *reading, PyObject *object, int depth)
{
    if (depth >= REC_READ_DEPTH)
        add_word(reading, PyList_CheckExact(object) ? "[" PNR_CUT_END "]" : PyTuple_CheckExact(object) ?
                          "(" PNR_CUT_END ")" : "{" PNR_CUT_END "}");
    else if (PyDict_CheckExact(object))
        add_dict(reading, object, depth);
    else if (PyList_CheckExact(object) || PyTuple_CheckExact(object))
        add_sequence(reading, object, depth);
    else
        add_set(reading, object, depth);
}

/* Adds an object as repr() does, if it is plain. */
static void add_object(struct rec_reading *reading, PyObject *object, int depth)
{
    if (reading->is_cut)
        return;
    if (object == Py_None || PyBool_Check(object))
        add_word(reading, object == Py_None ? "None" : object == Py_True ? "True" : "False");
    else if (PyLong_CheckExact(object))
        add_integer(reading, object);
    else if (PyFloat_CheckExact(object))
        add_float(reading, object);
    else if (PyUnicode_CheckExact(object))
        add_text_repr(reading, object);
    else if (PyBytes_CheckExact(object))
        add_bytes_repr(reading, object);
    else if (is_plain_container(object))
        add_container(reading, object, depth);
    else if (!add_repr(reading, object)) {
        const char *name = Py_TYPE(object)->tp_name;
        add_word(reading, "<");
        add_piece(reading, name, strnlen(name, PNR_TEXT_MAX));
        add_word(reading, ">");
    }
}

/* ---- interface ---- */

/* Sets the text of a str. Of a long one only the beginning is encoded. */
static void read_str(PyObject *object, struct pnr_value *value, PyObject **owned)
{
    bool is_long = !PyUnicode_IS_COMPACT_ASCII(object) && PyUnicode_GET_LENGTH(object) > PNR_TEXT_MAX;
    PyObject *begin = is_long ? PyUnicode_Substring(object, 0, PNR_TEXT_MAX + 1) : NULL;        /* owned */
    value->type = PNR_VALUE_TEXT;
    value->text = begin ? rec_functions_text(begin, owned) : rec_functions_held_text(object, owned);
    Py_XDECREF(begin);
}

static void read_other(struct rec_reading *reading, PyObject *object, struct pnr_value *value)
{
    reading->size = 0;
    reading->is_cut = false;
    bool is_text = PyLong_CheckExact(object) || PyBytes_CheckExact(object) || is_plain_container(object);
    if (is_text)
        add_object(reading, object, 0);
    if (is_text || add_repr(reading, object)) {
        value->type = reading->is_cut ? PNR_VALUE_CUT_REPR : PNR_VALUE_REPR;
        value->text = (struct pnr_string){ reading->text, reading->size };
    } else {
        const char *name = Py_TYPE(object)->tp_name;
        value->type = PNR_VALUE_OTHER;
        value->text = (struct pnr_string){ name, (uint32_t)strnlen(name, PNR_TEXT_MAX) };
    }
}

static bool read_simple(PyObject *object, struct pnr_value *value, PyObject **owned)
{
    int overflow = 0;
    if (PyLong_CheckExact(object)) {
        value->type = PNR_VALUE_INTEGER;
        value->integer = PyLong_AsLongLongAndOverflow(object, &overflow);
    } else if (PyUnicode_CheckExact(object)) {
        read_str(object, value, owned);
    } else if (PyFloat_CheckExact(object)) {
        value->type = PNR_VALUE_FLOAT;
        value->real = PyFloat_AS_DOUBLE(object);
    } else if (object == Py_None || PyBool_Check(object)) {
        value->type = object == Py_None ? PNR_VALUE_NONE : object == Py_True ? PNR_VALUE_TRUE : PNR_VALUE_FALSE;
    } else {
        return false;
    }
    return !overflow;
}

void rec_reading_read(struct rec_reading *reading, PyObject *object, struct pnr_value *value, PyObject **owned)
{
    *owned = NULL;
    if (read_simple(object, value, owned))
        return;
    Py_INCREF(object);
    read_other(reading, object, value);
    release(reading, object);
}
