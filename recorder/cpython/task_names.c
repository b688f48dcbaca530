/* A task is found by what asyncio itself keeps: the running loop and, for that, the task that runs. All is read by functions
 * of C, whatever a class of the program overrides: those of _asyncio.Task for it and what is derived from it. Of a task that
 * is written in Python (asyncio.tasks._PyTask) the attributes `_coro` and `_name` are read in its __dict__, unless its class
 * has something else of that name. */
#include "functions.h"

#include <string.h>

#include "remarks.h"
#include "task_names.h"
#include "../name_table.h"
#include "../../format/block.h"

#define LAST_NAMES 1024                 /* a power of two */

static struct {
    bool is_on;
    PyObject *running_loop;             /* _asyncio._get_running_loop; owned, as all of them: NULL until asyncio is imported */
    PyObject *current_tasks;            /* the dict _asyncio._current_tasks, which 3.14 does not have, or else ... */
    PyObject *current_task;             /* ... _asyncio.current_task, which 3.11 does not have */
    PyTypeObject *type;                 /* _asyncio.Task */
    PyObject *get_coro, *get_name;      /* its methods */
    uint64_t n_unread;                  /* tasks of other classes whose attributes are not plain */
    struct {
        uint64_t frame;
        uint64_t check;                 /* of the name that was recorded last */
    } last[LAST_NAMES];                 /* by frame identity; others lose their place, and are recorded again */
} task_names;

void rec_task_names_start(const struct rec_options *options)
{
    task_names.is_on = options->task_names;
    task_names.n_unread = 0;
    memset(task_names.last, 0, sizeof task_names.last);
}

bool rec_task_names_are_on(void) { return task_names.is_on; }

void rec_task_names_end(void)
{
    if (task_names.n_unread)
        rec_name_table_add_number("task_names_unread", task_names.n_unread);
    task_names.n_unread = 0;
}

/* ---- the task that runs ---- */

static PyObject *attribute_of(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    if (!value)
        PyErr_Clear();
    return value;
}

/* Finds the functions, once the program has imported asyncio. Its module is one of C code: no code of the program runs. */
static bool find_asyncio(void)
{
    if (likely(task_names.get_name != NULL))
        return true;
    PyObject *modules = PySys_GetObject("modules"), *key = PyUnicode_InternFromString("_asyncio");     /* borrowed; owned */
    PyObject *module = modules && PyDict_Check(modules) && key ? cpython_lookup(modules, key) : NULL;   /* owned */
    PyObject *type = module && PyModule_CheckExact(module) ? attribute_of(module, "Task") : NULL;       /* owned */
    Py_XDECREF(key);
    if (!type || !PyType_Check(type)) {
        PyErr_Clear();
        Py_XDECREF(type);
        Py_XDECREF(module);
        return false;
    }
    task_names.type = (PyTypeObject *)type;
    task_names.running_loop = attribute_of(module, "_get_running_loop");
    task_names.current_task = attribute_of(module, "current_task");
    task_names.current_tasks = attribute_of(module, "_current_tasks");
    task_names.get_coro = attribute_of(type, "get_coro");
    task_names.get_name = attribute_of(type, "get_name");
    Py_DECREF(module);
    return task_names.get_name && task_names.get_coro;
}

/* Returns the running loop's task in the dict of tasks, by identity: neither hash nor comparison is the program's. Owned,
 * or NULL. */
static PyObject *task_in_dict(PyObject *loop)
{
    PyObject *tasks = task_names.current_tasks;
    bool is_plain = Py_TYPE(loop)->tp_hash == PyBaseObject_Type.tp_hash &&
                    Py_TYPE(loop)->tp_richcompare == PyBaseObject_Type.tp_richcompare;
    return tasks && PyDict_CheckExact(tasks) && is_plain ? cpython_item(tasks, loop) : NULL;
}

/* Returns the task that runs in this thread, owned, or NULL. */
static PyObject *running_task(void)
{
    PyObject *loop = task_names.running_loop ? PyObject_CallNoArgs(task_names.running_loop) : NULL, *task = NULL;
    if (loop && loop != Py_None) {
        if (task_names.current_tasks)
            task = task_in_dict(loop);
        else if (task_names.current_task)
            task = PyObject_CallNoArgs(task_names.current_task);
    }
    Py_XDECREF(loop);
    if (!task)
        PyErr_Clear();
    return task;
}

/* ---- what it says ---- */

/* Returns an attribute of a task that is written in Python, owned; NULL if its class has something of that name. */
static PyObject *plain_task_attribute(PyObject *task, const char *name)
{
    PyObject *key = PyUnicode_InternFromString(name);
    bool is_plain = key && Py_TYPE(task)->tp_getattro == PyObject_GenericGetAttr && !_PyType_Lookup(Py_TYPE(task), key);
    PyObject *value = is_plain ? PyObject_GenericGetAttr(task, key) : NULL;
    Py_XDECREF(key);
    if (!value)
        PyErr_Clear();
    return value;
}

static bool is_task_of_c(PyObject *object) { return PyObject_TypeCheck(object, task_names.type); }

/* Returns the task's coroutine, or its name. Owned, or NULL. */
static PyObject *read_task(PyObject *task, PyObject *method, const char *attribute)
{
    PyObject *value = is_task_of_c(task) ? PyObject_CallOneArg(method, task) : plain_task_attribute(task, attribute);
    if (!value)
        PyErr_Clear();
    return value;
}

static bool runs_in(PyObject *task, const cpython_frame *f)
{
    PyObject *coro = read_task(task, task_names.get_coro, "_coro");
    bool is_same = coro && cpython_generator_frame(coro) == f;
    task_names.n_unread += !coro && !is_task_of_c(task);
    Py_XDECREF(coro);
    return is_same;
}

/* Adds a name of a task. last: the check of the name that was recorded last, which is not recorded again; or NULL. */
static void add_task_name(struct pnr_values_writer *values, const char *key, PyObject *task, uint64_t *last)
{
    PyObject *owned = NULL, *name = read_task(task, task_names.get_name, "_name");
    if (name && PyUnicode_Check(name)) {
        struct pnr_value value = { .key_text = { key, (uint32_t)strlen(key) }, .type = PNR_VALUE_TEXT };
        value.text = rec_functions_held_text(name, &owned);
        uint64_t check = pnr_check(value.text.bytes, value.text.size);
        if (!last || *last != check)
            pnr_values_add(values, &value);
        if (last)
            *last = check;
        Py_XDECREF(owned);
    }
    Py_XDECREF(name);
}

/* Returns the place for the name that was recorded last of a frame. */
static uint64_t *last_check(uint64_t frame, bool is_first)
{
    size_t at = frame & (LAST_NAMES - 1);
    if (is_first || task_names.last[at].frame != frame)
        task_names.last[at].check = 0;
    task_names.last[at].frame = frame;
    return &task_names.last[at].check;
}

bool rec_task_names_read(struct pnr_values_writer *values, const cpython_frame *f, bool is_first, PyObject *awaited)
{
    PyObject *type, *exception, *traceback;
    values->size = values->n_left_out = 0;
    PyErr_Fetch(&type, &exception, &traceback);
    PyObject *task = find_asyncio() ? running_task() : NULL;
    if (task && task != Py_None && runs_in(task, f)) {
        add_task_name(values, "name", task, last_check(cpython_address(f) >> 4, is_first));
        if (awaited && is_task_of_c(awaited))
            add_task_name(values, "task", awaited, NULL);
    }
    Py_XDECREF(task);
    PyErr_Restore(type, exception, traceback);
    return values->size > 0;
}
