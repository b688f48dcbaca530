#include "functions.h"

#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "redaction.h"
#include "remarks.h"
#include "value_reading.h"
#include "../budget.h"
#include "../name_table.h"
#include "../../format/array.h"

/* What is wanted of a function; a set. */
enum {
    WANTS_ARGUMENTS = 1,
    WANTS_RESULT = 2,
    WANTS_REPR = 4,                     /* of what is no plain value */
    HAS_SECRET_RESULT = 8               /* its name is one that is redacted */
};

static struct {
    struct pnr_filter arguments, results, reprs;
    bool is_on;                         /* any of them has a rule */
    uint8_t *wanted;                    /* owned: by number of the function */
    size_t n_wanted;
    PyObject *names;                    /* dict: of parameters, to what is known of them; owned */
    uint64_t n_failed;                  /* reprs */
} arguments;

/* ---- which functions ---- */

/* Adds the globs of a list. Returns 0, or -1 with an exception set. */
static int set_globs(struct pnr_filter *filter, PyObject *list)
{
    Py_ssize_t n = list ? PyList_GET_SIZE(list) : 0;
    pnr_filter_clear(filter);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *bytes = PyUnicode_AsEncodedString(PyList_GET_ITEM(list, i), "utf-8", "surrogatepass");    /* owned */
        int code = bytes ? pnr_filter_add(filter, PNR_FILTER_INCLUDE, PyBytes_AS_STRING(bytes)) : 0;
        Py_XDECREF(bytes);
        if (code != 0)
            PyErr_NoMemory();
        if (!bytes || code != 0)
            return -1;
    }
    return 0;
}

static int set_redaction(PyObject *list)
{
    Py_ssize_t n = list ? PyList_GET_SIZE(list) : 0;
    rec_redaction_start();
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *owned;
        struct pnr_string words = rec_functions_text(PyList_GET_ITEM(list, i), &owned);
        int code = rec_redaction_add(words.bytes);
        Py_XDECREF(owned);
        if (code != 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

int rec_arguments_start(const struct rec_options *options)
{
    arguments.n_failed = 0;
    if (!arguments.names && !(arguments.names = PyDict_New()))
        return -1;
    rec_arguments_forget();
    if (set_globs(&arguments.arguments, options->args) != 0 || set_globs(&arguments.results, options->results) != 0 ||
        set_globs(&arguments.reprs, options->args_repr) != 0 || set_redaction(options->redact) != 0)
        return -1;
    arguments.is_on = arguments.arguments.n || arguments.results.n || arguments.reprs.n;
    return 0;
}

bool rec_arguments_are_on(void) { return arguments.is_on; }

void rec_arguments_forget(void)
{
    if (arguments.names)
        PyDict_Clear(arguments.names);
    if (arguments.n_wanted)
        memset(arguments.wanted, 0, arguments.n_wanted);
}

static bool is_chosen(const struct pnr_filter *filter, const struct pnr_string strings[3])
{
    return filter->n && pnr_filter_judge(filter, strings, false) == PNR_FILTER_RECORDED;
}

static unsigned judge_values(const struct pnr_string strings[3])
{
    if (likely(!arguments.is_on))
        return 0;
    unsigned wanted = is_chosen(&arguments.reprs, strings) ? WANTS_ARGUMENTS | WANTS_REPR : 0;
    wanted |= is_chosen(&arguments.arguments, strings) ? WANTS_ARGUMENTS : 0;
    wanted |= is_chosen(&arguments.results, strings) ? WANTS_RESULT : 0;
    return wanted;
}

bool rec_arguments_are_wanted(const struct pnr_string strings[3]) { return judge_values(strings) != 0; }

/* The function's own name, without the classes and functions around it. */
static struct pnr_string last_name(struct pnr_string qualified)
{
    uint32_t begin = qualified.size;
    while (begin > 0 && qualified.bytes[begin - 1] != '.')
        begin--;
    return (struct pnr_string){ qualified.bytes + begin, qualified.size - begin };
}

void rec_arguments_add(uint32_t function, const struct pnr_string strings[3])
{
    unsigned wanted = judge_values(strings);
    if (!wanted || pnr_array_reserve_number(&arguments.wanted, &arguments.n_wanted, function) != 0)
        return;
    if (rec_redaction_matches(last_name(strings[1])))
        wanted |= HAS_SECRET_RESULT;
    arguments.wanted[function] = (uint8_t)wanted;
}

static unsigned wanted_of(uint32_t function)
{
    return function < arguments.n_wanted ? arguments.wanted[function] : 0;
}

bool rec_arguments_has_result(uint32_t function) { return wanted_of(function) & WANTS_RESULT; }

/* ---- what is read ---- */

/* What is known of the name of a parameter, a bit of which says that its values are redacted; the others are its label. */
#define IS_SECRET 1

/* Finds out what is known of a name, an exact str. Of a name that is not kept, it is found out again. */
static unsigned long look_up_name(PyObject *name)
{
    PyObject *owned, *known = PyDict_GetItemWithError(arguments.names, name);           /* borrowed */
    if (likely(known != NULL))
        return PyLong_AsUnsignedLong(known);
    unsigned long is_secret = rec_redaction_matches(rec_functions_held_text(name, &owned)) ? IS_SECRET : 0;
    Py_XDECREF(owned);
    unsigned long found = (unsigned long)rec_remarks_label(name) << 1 | is_secret;
    known = PyLong_FromUnsignedLong(found);     /* owned */
    if (!known || PyDict_SetItem(arguments.names, name, known) != 0)
        PyErr_Clear();
    Py_XDECREF(known);
    return found;
}

/* Sets the key of a value. Returns whether the value is to be redacted. */
static bool begin_value(struct pnr_value *value, PyObject *name, PyObject **owned)
{
    unsigned long known = look_up_name(name);
    *value = (struct pnr_value){ .key = (uint32_t)(known >> 1) };
    *owned = NULL;
    if (unlikely(!value->key))
        value->key_text = rec_functions_held_text(name, owned);
    return known & IS_SECRET;
}

static void add_read_value(struct pnr_values_writer *values, struct rec_reading *reading, PyObject *name,
                           PyObject *object, bool is_redacted)
{
    struct pnr_value value;
    PyObject *owned_key, *owned = NULL;
    if (begin_value(&value, name, &owned_key) || is_redacted)
        value.type = PNR_VALUE_REDACTED;
    else
        rec_reading_read(reading, object, &value, &owned);
    pnr_values_add(values, &value);
    Py_XDECREF(owned);
    Py_XDECREF(owned_key);
}

/* A function whose reprs took too long has none from then on. */
static bool end_reading(const struct rec_reading *reading, uint32_t function)
{
    arguments.n_failed += reading->n_failed;
    if (reading->began_ns)
        rec_budget_add_cost(reading->ended_ns - reading->began_ns);
    if (reading->began_ns && !reading->calls_repr && function < arguments.n_wanted)
        arguments.wanted[function] &= (uint8_t)~WANTS_REPR;
    return reading->has_run;
}

static int count_parameters(const PyCodeObject *code)
{
    return code->co_argcount + code->co_kwonlyargcount + !!(code->co_flags & CO_VARARGS) +
           !!(code->co_flags & CO_VARKEYWORDS);
}

static void read_arguments(struct pnr_values_writer *values, struct rec_reading *reading, const cpython_frame *f,
                           bool has_cells)
{
    const PyCodeObject *code = cpython_code(f);
    for (int i = 0, n = count_parameters(code); i < n; i++) {
        PyObject *name = cpython_parameter_name(code, i), *object = cpython_parameter(f, i, has_cells);    /* borrowed */
        if (name && object && PyUnicode_CheckExact(name))
            add_read_value(values, reading, name, object, false);
    }
}

bool rec_arguments_read(struct pnr_values_writer *values, const cpython_frame *f, bool has_cells, uint32_t function)
{
    unsigned wanted = wanted_of(function);
    values->size = values->n_left_out = 0;
    if (!(wanted & WANTS_ARGUMENTS))
        return false;
    struct rec_reading reading;
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    rec_reading_begin(&reading, wanted & WANTS_REPR);
    read_arguments(values, &reading, f, has_cells);
    PyErr_Restore(type, exception, traceback);
    return end_reading(&reading, function);
}

/* Returns an interned str, borrowed, or NULL. */
static PyObject *word(PyObject **kept, const char *text)
{
    if (!*kept && !(*kept = PyUnicode_InternFromString(text)))
        PyErr_Clear();
    return *kept;
}

static void add_exception(struct pnr_values_writer *values, const PyTypeObject *exception)
{
    static PyObject *kept;
    struct pnr_value value;
    PyObject *owned, *name = word(&kept, "raise");
    if (!name)
        return;
    begin_value(&value, name, &owned);
    value.type = PNR_VALUE_OTHER;
    value.text = (struct pnr_string){ exception->tp_name, (uint32_t)strnlen(exception->tp_name, PNR_TEXT_MAX) };
    pnr_values_add(values, &value);
    Py_XDECREF(owned);
}

bool rec_arguments_read_result(struct pnr_values_writer *values, PyObject *result, const PyTypeObject *exception,
                               uint32_t function)
{
    static PyObject *kept;
    unsigned wanted = wanted_of(function);
    values->size = values->n_left_out = 0;
    if (!(wanted & WANTS_RESULT))
        return false;
    struct rec_reading reading;
    PyObject *type, *set, *traceback;
    PyErr_Fetch(&type, &set, &traceback);
    rec_reading_begin(&reading, wanted & WANTS_REPR);
    PyObject *name = result ? word(&kept, "return") : NULL;
    if (name)
        add_read_value(values, &reading, name, result, wanted & HAS_SECRET_RESULT);
    else if (exception)
        add_exception(values, exception);
    PyErr_Restore(type, set, traceback);
    return end_reading(&reading, function);
}

/* ---- the end ---- */

void rec_arguments_end(void)
{
    if (!arguments.n_failed)
        return;
    rec_name_table_add_number("reprs_failed", arguments.n_failed);
    arguments.n_failed = 0;
}
