#include "greenlets.h"

#include <string.h>

#include "arguments.h"
#include "call_inlining.h"
#include "codes.h"
#include "lives.h"
#include "muted.h"
#include "task_names.h"
#include "../budget.h"
#include "../name_table.h"

struct rec_functions rec_functions = { .extra_index = -1 };

static struct {
    const char *own;
    size_t own_size;
    PyObject *name, *file;              /* interned "__name__", "__file__" */
} functions;

static enum pnr_function_kind kind_of(const PyCodeObject *code)
{
    if (code->co_flags & CO_COROUTINE)
        return PNR_FUNCTION_COROUTINE;
    if (code->co_flags & CO_ASYNC_GENERATOR)
        return PNR_FUNCTION_ASYNC_GENERATOR;
    if (code->co_flags & CO_ITERABLE_COROUTINE)
        return PNR_FUNCTION_ITERABLE_COROUTINE;
    return code->co_flags & CO_GENERATOR ? PNR_FUNCTION_GENERATOR : PNR_FUNCTION_PLAIN;
}

/* Leaves nothing in the str, unlike PyUnicode_AsUTF8, and makes no object that could start a garbage collection. */
struct pnr_string rec_functions_text(PyObject *object, PyObject **owned)
{
    *owned = object && PyUnicode_Check(object) ? PyUnicode_AsEncodedString(object, "utf-8", "surrogatepass") : NULL;
    if (!*owned) {
        PyErr_Clear();
        return (struct pnr_string){ "?", 1 };
    }
    /* The name table cuts it after a whole character. */
    Py_ssize_t size = PyBytes_GET_SIZE(*owned), max = PNR_NAME_MAX + 4;
    return (struct pnr_string){ PyBytes_AS_STRING(*owned), (uint32_t)(size < max ? size : max) };
}

/* A function as it is named. */
struct naming {
    struct pnr_string strings[3];       /* module, qualified name, file */
    PyObject *owned[3];
    PyObject *module;                   /* owned; or NULL */
    PyObject *type, *value, *traceback; /* the exception that is set */
};

/* Runs no Python code. */
static void begin_naming(const cpython_frame *f, struct naming *naming)
{
    PyCodeObject *code = cpython_code(f);
    PyErr_Fetch(&naming->type, &naming->value, &naming->traceback);
    naming->module = cpython_lookup(cpython_globals(f), functions.name);
    PyObject *texts[3] = { naming->module, code->co_qualname, code->co_filename };
    for (int i = 0; i < 3; i++)
        naming->strings[i] = rec_functions_text(texts[i], &naming->owned[i]);
}

static void end_naming(struct naming *naming)
{
    for (int i = 0; i < 3; i++)
        Py_XDECREF(naming->owned[i]);
    Py_XDECREF(naming->module);
    PyErr_Restore(naming->type, naming->value, naming->traceback);
}

static bool is_recorders_own(struct pnr_string file)
{
    return file.size > functions.own_size && memcmp(file.bytes, functions.own, functions.own_size) == 0;
}

static bool is_path(struct pnr_string file)
{
    return file.size && file.bytes[0] == '/';
}

/* True for code without a file in a module with one. That of standard input is `<stdin>`. */
static bool is_made(const cpython_frame *f, struct pnr_string file)
{
    PyObject *owned = NULL;
    PyObject *of_module = is_path(file) ? NULL : cpython_lookup(cpython_globals(f), functions.file);    /* owned */
    bool is = of_module && is_path(rec_functions_text(of_module, &owned));
    Py_XDECREF(owned);
    Py_XDECREF(of_module);
    return is;
}

/* Returns an enum pnr_filter_outcome, or -1 when out of memory. */
static int judge(const cpython_frame *f, const struct naming *naming)
{
    return pnr_filter_judge(&rec_functions.filter, naming->strings,
                            rec_functions.filter.has_boundary && is_made(f, naming->strings[2]));
}

static uint32_t add_to_names(const PyCodeObject *code, const struct naming *naming)
{
    return rec_name_table_add_function(kind_of(code), (uint32_t)code->co_firstlineno, naming->strings);
}

/* The events by which the records of a function are made (codes.h). C calls are recorded wherever they are made; with a
 * boundary, only those that a function makes that is recorded in full. */
static unsigned events_of(uint64_t tag)
{
    if (!(rec_tag_flags(tag) & REC_TAG_NOT_FULL))
        return REC_CODES_ALL;
    unsigned calls = rec_functions.filter.has_boundary ? 0 : REC_CODES_CALLS;
    if (rec_tag_flags(tag) & REC_TAG_BOUNDARY)
        return REC_CODES_ENTRIES | REC_CODES_EXITS | REC_CODES_EXCEPTIONS | calls;
    return rec_tag_watched(tag) ? REC_CODES_ENTRIES | REC_CODES_EXITS | calls : calls;
}

static void keep_tag(PyCodeObject *code, uint64_t tag)
{
    if (cpython_set_code_value(code, rec_functions.extra_index, tag) != 0)
        PyErr_Clear();                  /* the next call then names it again */
    rec_codes_add(code, (uint32_t)tag, events_of(tag));
}

/* Gives a code object its tag. Returns 0 when the name table cannot be written. Runs no Python code and keeps the
 * exception that is set. */
static uint64_t make_tag(const cpython_frame *f)
{
    struct naming naming;
    PyCodeObject *code = cpython_code(f);
    begin_naming(f, &naming);
    const struct pnr_string *strings = naming.strings;
    if (strings[0].size >= 8 && memcmp(strings[0].bytes, "greenlet", 8) == 0)
        rec_greenlets_await();
    uint64_t flags = 0, index = 0, tag = 0;
    int outcome = is_recorders_own(strings[2]) ? PNR_FILTER_EXCLUDED : judge(f, &naming);
    if (outcome == PNR_FILTER_EXCLUDED)
        flags = REC_TAG_EXCLUDED;
    else if (outcome == PNR_FILTER_BOUNDARY)
        flags = REC_TAG_BOUNDARY;
    else
        index = add_to_names(code, &naming);
    bool has_records = index || flags & REC_TAG_BOUNDARY;
    if (has_records && kind_of(code) != PNR_FUNCTION_PLAIN)
        flags |= REC_TAG_CONTINUABLE;
    else
        flags |= rec_threads_watch(code, strings) << REC_TAG_WATCHED_SHIFT;
    if (has_records && code->co_flags & CO_OPTIMIZED && rec_arguments_are_wanted(strings))
        flags |= REC_TAG_VALUES;
    if (has_records && kind_of(code) == PNR_FUNCTION_COROUTINE && rec_task_names_are_on())
        flags |= REC_TAG_VALUES;
    if (index && flags & REC_TAG_VALUES)
        rec_arguments_add(index, strings);
    if (rec_inlining_on_first_call(f, has_records))
        flags |= REC_TAG_SUBSCRIPT;
    if (index && rec_budget_is_on() && (!(code->co_flags & CO_OPTIMIZED) || flags >> REC_TAG_WATCHED_SHIFT))
        rec_budget_never_mute(index);   /* a module or class body, or a function that names a thread */
    if (index && rec_muted_is_slow(index))
        flags |= REC_TAG_SLOW;
    if (index || flags & REC_TAG_NOT_FULL) {
        tag = ((uint64_t)rec_functions.plain | flags) << 32 | index;
        keep_tag(code, tag);
    }
    end_naming(&naming);
    return tag;
}

/* Names a boundary function, which most never need: libraries are large. Returns its new tag, or 0. */
static __attribute__((noinline)) uint64_t name_boundary(const cpython_frame *f, uint64_t tag)
{
    struct naming naming;
    PyCodeObject *code = cpython_code(f);
    begin_naming(f, &naming);
    uint32_t index = add_to_names(code, &naming);
    if (index && rec_tag_flags(tag) & REC_TAG_VALUES)
        rec_arguments_add(index, naming.strings);
    if (index)
        keep_tag(code, tag | index);
    end_naming(&naming);
    return index ? tag | index : 0;
}

uint64_t rec_functions_tag(const cpython_frame *f)
{
    uint64_t tag = rec_tag_peek(f);
    return rec_tag_is_current(tag) ? tag : make_tag(f);
}

bool rec_functions_is_full(const cpython_frame *caller)
{
    while (caller && cpython_is_incomplete((cpython_frame *)caller))
        caller = cpython_previous(caller);
    uint64_t tag = caller ? rec_functions_tag(caller) : 0;
    return tag && !(rec_tag_flags(tag) & REC_TAG_NOT_FULL);
}

uint64_t rec_functions_tag_call(const cpython_frame *f, const cpython_frame *caller)
{
    uint64_t tag = rec_functions_tag(f);
    if (likely(!(rec_tag_flags(tag) & REC_TAG_BOUNDARY)))
        return tag;
    if (!rec_functions_is_full(caller))
        return tag | (uint64_t)REC_TAG_EXCLUDED << 32;
    return (uint32_t)tag ? tag : name_boundary(f, tag);
}

int rec_functions_init(const char *own)
{
    functions.own = own;
    functions.own_size = strlen(own);
    rec_functions.extra_index = cpython_request_code_value();
    if (rec_functions.extra_index < 0) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: the interpreter has no index left for data on code objects "
                                            "(PEP 523); record without the other tools that use it");
        return -1;
    }
    functions.name = PyUnicode_InternFromString("__name__");
    functions.file = PyUnicode_InternFromString("__file__");
    return functions.name && functions.file ? 0 : -1;
}

static void void_tags(void)
{
    rec_lives_start();
    rec_arguments_forget();
    rec_functions.session++;
    rec_functions.plain = rec_functions.session << REC_TAG_SESSION_SHIFT;
}

void rec_functions_start(bool keeps_filter)
{
    rec_codes_start(keeps_filter);
    rec_functions.recording++;
    void_tags();
}

int rec_functions_override_filter(enum pnr_filter_action action, const char *glob)
{
    if (pnr_filter_override(&rec_functions.filter, action, glob) != 0)
        return -1;
    rec_codes_judge_anew();
    void_tags();
    return 0;
}
