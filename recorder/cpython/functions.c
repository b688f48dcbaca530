#include "greenlets.h"

#include <string.h>

#include "call_inlining.h"
#include "../name_table.h"

struct rec_functions rec_functions = { .extra_index = -1 };

static struct {
    const char *own;
    size_t own_size;
    PyObject *name;                     /* interned "__name__" */
    bool has_greenlets;                 /* a function of the module `greenlet` has been called */
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

/* Gives a code object its tag. Returns 0 when the name table cannot be written. Runs no Python code and keeps the
 * exception that is set. */
static uint64_t make_tag(const cpython_frame *f)
{
    PyObject *type, *value, *traceback, *owned[3];
    PyCodeObject *code = cpython_code(f);
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *module = cpython_lookup(cpython_globals(f), functions.name);        /* borrowed */
    struct pnr_string strings[3] = {
        rec_functions_text(module, &owned[0]), rec_functions_text(code->co_qualname, &owned[1]),
        rec_functions_text(code->co_filename, &owned[2]) };
    if (strings[0].size >= 8 && memcmp(strings[0].bytes, "greenlet", 8) == 0)
        functions.has_greenlets = true;
    if (functions.has_greenlets && !rec_greenlets.are_used)
        rec_greenlets_find_module();
    enum pnr_function_kind kind = kind_of(code);
    uint64_t flags = 0, index = 0, tag = 0;
    bool is_own = strings[2].size > functions.own_size &&
                  memcmp(strings[2].bytes, functions.own, functions.own_size) == 0;
    if (is_own || pnr_filter_judge(&rec_functions.filter, strings) > 0)
        flags = REC_TAG_EXCLUDED;
    else
        index = rec_name_table_add_function(kind, (uint32_t)code->co_firstlineno, strings);
    if (index && kind != PNR_FUNCTION_PLAIN)
        flags |= REC_TAG_CONTINUABLE;
    else
        flags |= rec_threads_watch(code, strings) << REC_TAG_WATCHED_SHIFT;
    if (rec_inlining_on_first_call(f, index != 0))
        flags |= REC_TAG_SUBSCRIPT;
    if (index || flags & REC_TAG_EXCLUDED) {
        tag = ((uint64_t)rec_functions.plain | flags) << 32 | index;
        if (cpython_set_code_value(code, rec_functions.extra_index, tag) != 0)
            PyErr_Clear();              /* the next call then names it again */
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(owned[i]);
    PyErr_Restore(type, value, traceback);
    return tag;
}

uint64_t rec_functions_tag(const cpython_frame *f)
{
    uint64_t tag = rec_tag_peek(f);
    return rec_tag_is_current(tag) ? tag : make_tag(f);
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
    return functions.name ? 0 : -1;
}

void rec_functions_start(void)
{
    rec_functions.session++;
    rec_functions.plain = rec_functions.session << REC_TAG_SESSION_SHIFT;
}
