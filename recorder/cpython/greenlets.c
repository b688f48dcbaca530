#include "greenlets.h"

#include <stdlib.h>
#include <string.h>

#define API "greenlet._C_API"
#define API_TYPE 0                      /* places in the API's table (greenlet.h) */
#define API_GET_CURRENT 4
#define BY_STACK 1024                   /* places to find a greenlet by its data stack; a power of two */

struct rec_greenlets rec_greenlets;

/* A greenlet that has run in this recording, and what its track was like when it last did. */
struct greenlet {
    PyObject *object;                   /* an address; NULL: free */
    PyObject *ref;                      /* weak reference, by which to tell that it is still the same; owned */
    const void *stack;                  /* its data stack when it was last asked for */
    struct rec_track track;
    uint32_t epoch;                     /* of the log when it was */
};

static struct {
    PyObject *(*get_current)(void);
    PyObject *parent;                   /* the getter of greenlet.parent; owned */
    struct greenlet *table;             /* open addressing; owned */
    size_t n, capacity;                 /* a power of two, or 0 */
    struct greenlet *by_stack[BY_STACK];        /* in the table; NULL: none */
} greenlets;

/* ---- the module ---- */

void rec_greenlets_look(void)
{
    PyObject *type, *value, *traceback;
    if (rec_greenlets.are_used)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *modules = PySys_GetObject("modules");     /* borrowed, like the next ones */
    PyObject *module = modules && PyDict_Check(modules) ? PyDict_GetItemString(modules, "greenlet._greenlet") : NULL;
    PyObject *capsule = module && PyModule_Check(module) ?
        PyDict_GetItemString(PyModule_GetDict(module), "_C_API") : NULL;
    void **api = capsule && PyCapsule_CheckExact(capsule) ? PyCapsule_GetPointer(capsule, API) : NULL;
    PyObject *getter = api ? PyDict_GetItemString(((PyTypeObject *)api[API_TYPE])->tp_dict, "parent") : NULL;
    if (getter && Py_TYPE(getter)->tp_descr_get) {
        greenlets.get_current = (PyObject *(*)(void))api[API_GET_CURRENT];
        Py_XSETREF(greenlets.parent, Py_NewRef(getter));
        rec_greenlets.are_used = true;
        if (rec_greenlets.on_use)
            rec_greenlets.on_use();
    }
    PyErr_Restore(type, value, traceback);
}

void rec_greenlets_start(void (*on_use)(void))
{
    for (size_t i = 0; i < greenlets.capacity; i++)
        Py_XDECREF(greenlets.table[i].ref);
    free(greenlets.table);
    greenlets.table = NULL;
    greenlets.n = greenlets.capacity = 0;
    memset(greenlets.by_stack, 0, sizeof greenlets.by_stack);
    rec_greenlets.are_used = rec_greenlets.has_bare = false;
    rec_greenlets.on_use = on_use;
    rec_greenlets_look();
}

void rec_greenlets_change(void)
{
    rec_greenlets.on_use = NULL;
    for (size_t i = 0; i < greenlets.capacity; i++)
        greenlets.table[i].track.hooked_size = 0;
}

/* Weak references of an interpreter that is gone are not released. */
void rec_greenlets_forget(void)
{
    free(greenlets.table);
    memset(&greenlets, 0, sizeof greenlets);
    rec_greenlets.are_used = false;
}

/* ---- the table ---- */

static bool is_alive(const struct greenlet *g)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object = NULL;
    if (g->object && g->ref)
        PyWeakref_GetRef(g->ref, &object);
    Py_XDECREF(object);                 /* it cannot be the last: who dies is not referred to any more */
    return object && object == g->object;
#else
    return g->object && g->ref && PyWeakref_GET_OBJECT(g->ref) == g->object;
#endif
}

static struct greenlet *place_of(struct greenlet *table, size_t capacity, const PyObject *object)
{
    size_t at = ((uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (capacity - 1);
    while (table[at].object && table[at].object != object)
        at = (at + 1) & (capacity - 1);
    return &table[at];
}

/* Makes the table anew without those that are gone, with room for one more. Returns whether there is. */
static bool make_room(void)
{
    size_t n = 0, capacity = 64;
    if (4 * (greenlets.n + 1) <= 3 * greenlets.capacity)
        return true;
    for (size_t i = 0; i < greenlets.capacity; i++)
        n += is_alive(&greenlets.table[i]);
    while (capacity < 4 * (n + 1))
        capacity *= 2;
    struct greenlet *table = calloc(capacity, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < greenlets.capacity; i++) {
        if (is_alive(&greenlets.table[i]))
            *place_of(table, capacity, greenlets.table[i].object) = greenlets.table[i];
        else
            Py_XDECREF(greenlets.table[i].ref);
    }
    free(greenlets.table);
    memset(greenlets.by_stack, 0, sizeof greenlets.by_stack);
    greenlets.table = table;
    greenlets.n = n;
    greenlets.capacity = capacity;
    return true;
}

/* Borrowed: who runs keeps its parents. NULL for a thread's first greenlet, which is the thread itself. */
static PyObject *parent_of(PyObject *object)
{
    PyObject *parent = Py_TYPE(greenlets.parent)->tp_descr_get(greenlets.parent, object, (PyObject *)Py_TYPE(object));
    Py_XDECREF(parent);
    PyErr_Clear();
    return parent == Py_None ? NULL : parent;
}

/* The greenlet's place; *is_new: it had none. NULL when out of memory. */
static struct greenlet *find(PyObject *object, const struct rec_log *log, bool *is_new)
{
    struct greenlet *g = greenlets.capacity ? place_of(greenlets.table, greenlets.capacity, object) : NULL;
    *is_new = !g || !is_alive(g);
    if (!*is_new)
        return g;
    if (g && g->object) {
        Py_CLEAR(g->ref);               /* another one was there once */
    } else {
        if (!make_room())
            return NULL;
        g = place_of(greenlets.table, greenlets.capacity, object);
        greenlets.n++;
    }
    g->object = object;
    g->ref = PyWeakref_NewRef(object, NULL);
    g->stack = NULL;
    g->track = (struct rec_track){ .number = 0 };
    g->epoch = 0;
    if (parent_of(object)) {
        char name[128];
        const char *dot = strrchr(Py_TYPE(object)->tp_name, '.');
        snprintf(name, sizeof name, "%.64s at %p", dot ? dot + 1 : Py_TYPE(object)->tp_name, (void *)object);
        g->track.number = rec_log_track(log, (struct pnr_string){ name, (uint32_t)strlen(name) });
    }
    return g;
}

static struct greenlet **place_by_stack(const void *stack)
{
    return &greenlets.by_stack[((uintptr_t)stack >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (BY_STACK - 1)];
}

/* ---- changes ---- */

/* What the log knows of its present track goes to the greenlet that it is of. */
static void keep_track(const struct rec_log *log)
{
    struct greenlet *g = log->greenlet ? place_of(greenlets.table, greenlets.capacity, log->greenlet) : NULL;
    if (!g || !g->object)
        return;
    g->track = log->track;
    g->epoch = log->epoch;
}

/* The first look at a thread: so far the thread itself ran, which is the outermost of the one that runs. */
static void begin_thread(struct rec_log *log, PyObject *running)
{
    bool is_new;
    for (PyObject *parent; (parent = parent_of(running)); running = parent)
        ;
    if (find(running, log, &is_new))
        log->greenlet = running;
}

enum rec_greenlets_change rec_greenlets_notice(PyThreadState *ts, struct rec_log *log)
{
    PyObject *type, *value, *traceback;
    bool is_new = false;
    struct greenlet *g = NULL;
    int was_enabled = PyGC_Disable();   /* a collection could run Python code here */
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *object = greenlets.get_current();         /* owned */
    if (object && !log->greenlet)
        begin_thread(log, object);
    keep_track(log);
    log->data_stack = cpython_data_stack(ts);
    if (object && (g = find(object, log, &is_new))) {
        g->stack = cpython_whole_data_stack(ts);
        *place_by_stack(g->stack) = g;
        rec_greenlets.has_bare |= !g->stack;
    }
    enum rec_greenlets_change change = REC_GREENLETS_SAME;
    if (g && (log->greenlet != object || is_new)) {
        log->greenlet = object;
        rec_log_set_track(log, &g->track);
        change = is_new || g->epoch != log->epoch ? REC_GREENLETS_NEW : REC_GREENLETS_OTHER;
    }
    PyErr_Restore(type, value, traceback);
    Py_XDECREF(object);                 /* it runs, so this is not the last reference */
    if (was_enabled)
        PyGC_Enable();
    return change;
}

bool rec_greenlets_switch(PyThreadState *ts, struct rec_log *log)
{
    const void *stack = cpython_whole_data_stack(ts);
    const struct greenlet *g = *place_by_stack(stack);
    uint64_t ticks = rec_clock_ticks() - log->base;
    if (log->owner != ts || !log->greenlet || rec_greenlets.has_bare || !cpython_running(ts) || !g || g->stack != stack)
        return false;
    if (g->object != log->greenlet) {
        if (g->epoch != log->epoch || g->track.block != log->block || !rec_log_has_room(log, ticks))
            return false;
        keep_track(log);
        log->greenlet = g->object;
        rec_log_set_track(log, &g->track);
        rec_log_store(log, ticks, PNR_SWITCH, 0, log->track.number);
    }
    log->data_stack = cpython_data_stack(ts);
    return true;
}
