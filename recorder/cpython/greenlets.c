#include "greenlets.h"

#include <stdlib.h>
#include <string.h>

#define API "greenlet._C_API"
#define API_TYPE 0                      /* places in the API's table (greenlet.h) */
#define API_GET_CURRENT 4
#define BY_STACK 1024                   /* places to find a greenlet by its data stack; a power of two */
#define N_FREE (1 << 14)                /* tracks that are kept for later greenlets; a power of two, like the next */
#define FREE_HEADS (1 << 10)
#define LOOKED_AT 32                    /* greenlets of which is asked, for a new one, whether they have ended */

struct rec_greenlets rec_greenlets;

/* A greenlet that has run in this recording, and what its track was like when it last did. */
struct greenlet {
    PyObject *object;                   /* an address; NULL: free */
    PyObject *ref;                      /* weak reference, by which to tell that it is still the same; owned */
    const void *stack;                  /* its data stack when it was last asked for */
    struct rec_track track;
    struct rec_stack frames;
    uint64_t key;                       /* of the track: which greenlets may have it next */
    uint32_t epoch;                     /* of the buffer when it was */
    bool has_ended;                     /* the track is not its own any more */
    bool is_noted;                      /* it is among those that have begun, or one that was at this address */
};

/* A track whose greenlet has ended. */
struct free_track {
    uint64_t key;
    uint32_t number;
    uint32_t next;                      /* in its list, from 1; 0: none */
};

static struct {
    PyObject *(*get_current)(void);
    PyObject *parent, *dead;            /* the getters of these; owned */
    PyObject *name, *run;               /* interned names of attributes */
    struct greenlet *table;             /* open addressing; owned */
    size_t n, capacity;                 /* a power of two, or 0 */
    struct greenlet *by_stack[BY_STACK];        /* in the table; NULL: none */
    PyObject **begun;                   /* addresses: those that had not ended when that was last asked; owned */
    size_t n_begun, begun_capacity;
    size_t looked_at;                   /* the next of these to be asked about */
    struct free_track free[N_FREE];
    uint32_t n_places;                  /* in `free`: those from 1 on that are or were in use */
    uint32_t vacant;                    /* the first of the latter; 0: none */
    uint32_t heads[FREE_HEADS];         /* lists of the former, by key */
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
    PyObject *dict = api ? ((PyTypeObject *)api[API_TYPE])->tp_dict : NULL;
    PyObject *parent = dict ? PyDict_GetItemString(dict, "parent") : NULL;
    PyObject *dead = dict ? PyDict_GetItemString(dict, "dead") : NULL;
    if (parent && Py_TYPE(parent)->tp_descr_get && dead && Py_TYPE(dead)->tp_descr_get) {
        greenlets.get_current = (PyObject *(*)(void))api[API_GET_CURRENT];
        Py_XSETREF(greenlets.parent, Py_NewRef(parent));
        Py_XSETREF(greenlets.dead, Py_NewRef(dead));
        Py_XSETREF(greenlets.name, PyUnicode_InternFromString("name"));
        Py_XSETREF(greenlets.run, PyUnicode_InternFromString("_run"));
        rec_greenlets.are_used = true;
        if (rec_greenlets.on_use)
            rec_greenlets.on_use();
    }
    PyErr_Restore(type, value, traceback);
}

static void forget_free_tracks(void)
{
    memset(greenlets.heads, 0, sizeof greenlets.heads);
    greenlets.n_places = greenlets.vacant = 0;
}

void rec_greenlets_start(void (*on_use)(void))
{
    for (size_t i = 0; i < greenlets.capacity; i++)
        Py_XDECREF(greenlets.table[i].ref);
    free(greenlets.table);
    greenlets.table = NULL;
    greenlets.n = greenlets.capacity = 0;
    memset(greenlets.by_stack, 0, sizeof greenlets.by_stack);
    forget_free_tracks();
    greenlets.n_begun = 0;
    rec_greenlets.are_used = rec_greenlets.has_bare = false;
    rec_greenlets.on_use = on_use;
    rec_greenlets_look();
}

void rec_greenlets_change(void)
{
    rec_greenlets.on_use = NULL;
    for (size_t i = 0; i < greenlets.capacity; i++)
        greenlets.table[i].frames.window_size = 0;
}

/* References to what an interpreter had that is gone are not released. */
void rec_greenlets_forget(void)
{
    free(greenlets.table);
    free(greenlets.begun);
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

/* The value of a getter of greenlets. Borrowed: it must be alive otherwise. */
static PyObject *get(PyObject *getter, PyObject *object)
{
    PyObject *value = Py_TYPE(getter)->tp_descr_get(getter, object, (PyObject *)Py_TYPE(object));
    Py_XDECREF(value);
    PyErr_Clear();
    return value;
}

/* Keeps a track for a later greenlet. If there are too many, all others are given up: they are not used again. */
static void keep_free_track(uint64_t key, uint32_t number)
{
    uint32_t *head = &greenlets.heads[key & (FREE_HEADS - 1)], place = greenlets.vacant;
    if (place) {
        greenlets.vacant = greenlets.free[place - 1].next;
    } else {
        if (greenlets.n_places == N_FREE)
            forget_free_tracks();
        place = ++greenlets.n_places;
    }
    greenlets.free[place - 1] = (struct free_track){ key, number, *head };
    *head = place;
}

/* One that has ended never runs again. Its track is free. */
static void look_whether_it_ended(struct greenlet *g)
{
    if (!g->object || g->has_ended || (is_alive(g) && get(greenlets.dead, g->object) != Py_True))
        return;
    g->has_ended = true;
    if (g->track.number)
        keep_free_track(g->key, g->track.number);
}

/* Notes one that begins. Without memory its track is not used again. */
static void note_begun(struct greenlet *g)
{
    if (greenlets.n_begun == greenlets.begun_capacity) {
        size_t capacity = greenlets.begun_capacity ? 2 * greenlets.begun_capacity : 64;
        PyObject **begun = realloc(greenlets.begun, capacity * sizeof *begun);
        if (!begun)
            return;
        greenlets.begun = begun;
        greenlets.begun_capacity = capacity;
    }
    if (!g->is_noted)
        greenlets.begun[greenlets.n_begun++] = g->object;
    g->is_noted = true;
}

/* Makes the table anew without those that are gone, with room for one more. Returns whether there is. */
static bool make_room(void)
{
    size_t n = 0, capacity = 64;
    if (4 * (greenlets.n + 1) <= 3 * greenlets.capacity)
        return true;
    for (size_t i = 0; i < greenlets.capacity; i++) {
        look_whether_it_ended(&greenlets.table[i]);
        n += is_alive(&greenlets.table[i]);
    }
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
    greenlets.n_begun = 0;
    for (size_t i = 0; i < capacity; i++) {
        table[i].is_noted = false;
        if (table[i].object && !table[i].has_ended && table[i].track.number)
            note_begun(&table[i]);
    }
    return true;
}

/* Borrowed: who runs keeps its parents. NULL for a thread's first greenlet, which is the thread itself. */
static PyObject *parent_of(PyObject *object)
{
    PyObject *parent = get(greenlets.parent, object);
    return parent == Py_None ? NULL : parent;
}

/* ---- names, and tracks ---- */

/* What the greenlet itself has under that name, not its type. Borrowed, or NULL. */
static PyObject *own_attribute(PyObject *object, PyObject *name)
{
    Py_ssize_t offset = Py_TYPE(object)->tp_dictoffset;
    PyObject *dict = offset > 0 ? *(PyObject **)((char *)object + offset) : NULL;
    PyObject *value = dict && name && PyDict_Check(dict) ? cpython_lookup(dict, name) : NULL;
    PyErr_Clear();
    return value;
}

/* The qualified name of the function of the outermost frame: those from f outwards, or else the one that is entered.
 * Borrowed, or NULL. */
static PyObject *outermost_name(cpython_frame *f, cpython_frame *entered)
{
    PyObject *name = entered ? cpython_code(entered)->co_qualname : NULL;
    for (; f; f = cpython_previous(f))
        if (!cpython_is_incomplete(f))
            name = cpython_code(f)->co_qualname;
    return name;
}

/* What it is called: by the program, if that gave it a name (gevent.Greenlet.name); else as the function that it runs, which
 * gevent keeps, where it is not seen. Other names would have to be asked for by Python code. Borrowed, or NULL. */
static PyObject *name_of(PyObject *object, cpython_frame *f, cpython_frame *entered)
{
    PyObject *name = own_attribute(object, greenlets.name), *run = own_attribute(object, greenlets.run);
    if (name && PyUnicode_Check(name) && PyUnicode_GetLength(name) > 0)
        return name;
    if (run && PyMethod_Check(run))
        run = PyMethod_GET_FUNCTION(run);
    return run && PyFunction_Check(run) ? ((PyFunctionObject *)run)->func_qualname : outermost_name(f, entered);
}

/* FNV-1a: which tracks are alike. */
static uint64_t key_of(struct pnr_string name, uint32_t thread)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325) ^ thread;
    for (uint32_t i = 0; i < name.size; i++)
        key = (key ^ (unsigned char)name.bytes[i]) * UINT64_C(0x100000001b3);
    return key ^ key >> 32;
}

/* Asks of some of those that have begun, by turns, whether they have ended. */
static void look_at_some(void)
{
    for (size_t n = greenlets.n_begun < LOOKED_AT ? greenlets.n_begun : LOOKED_AT; n > 0; n--) {
        if (greenlets.looked_at >= greenlets.n_begun)
            greenlets.looked_at = 0;
        PyObject **object = &greenlets.begun[greenlets.looked_at];
        struct greenlet *g = place_of(greenlets.table, greenlets.capacity, *object);
        look_whether_it_ended(g);
        g->is_noted = !g->has_ended;
        if (g->has_ended)
            *object = greenlets.begun[--greenlets.n_begun];
        else
            greenlets.looked_at++;
    }
}

/* Takes a track of that key out of those that are free. 0: there is none. */
static uint32_t take_free_track(uint64_t key)
{
    look_at_some();
    uint32_t *at = &greenlets.heads[key & (FREE_HEADS - 1)], place;
    while ((place = *at) && greenlets.free[place - 1].key != key)
        at = &greenlets.free[place - 1].next;
    if (!place)
        return 0;
    *at = greenlets.free[place - 1].next;
    greenlets.free[place - 1].next = greenlets.vacant;
    greenlets.vacant = place;
    return greenlets.free[place - 1].number;
}

/* Gives a new greenlet, which runs, a track. */
static void begin_track(struct greenlet *g, const struct rec_thread *thread, PyThreadState *ts, cpython_frame *entered)
{
    PyObject *owned = NULL, *name = name_of(g->object, cpython_running(ts), entered);
    struct pnr_string text = name ? rec_functions_text(name, &owned) : (struct pnr_string){ "greenlet", 8 };
    g->key = key_of(text, thread->buffer.number);
    g->track.number = take_free_track(g->key);
    if (!g->track.number)
        g->track.number = rec_session_add_track(thread->native_id, text);
    note_begun(g);
    Py_XDECREF(owned);
}

/* The greenlet's place; *is_new: it had none, and has no track yet. NULL when out of memory. */
static struct greenlet *find(PyObject *object, bool *is_new)
{
    struct greenlet *g = greenlets.capacity ? place_of(greenlets.table, greenlets.capacity, object) : NULL;
    *is_new = !g || g->has_ended || !is_alive(g);
    if (!*is_new)
        return g;
    if (g && g->object) {
        look_whether_it_ended(g);
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
    g->frames = (struct rec_stack){ .depth = 0 };
    g->epoch = 0;
    g->has_ended = false;
    return g;
}

static struct greenlet **place_by_stack(const void *stack)
{
    return &greenlets.by_stack[((uintptr_t)stack >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (BY_STACK - 1)];
}

/* ---- changes ---- */

/* What the buffer knows of its present track goes to the greenlet that it is of. */
static void keep_track(const struct rec_thread *thread)
{
    struct greenlet *g = thread->greenlet ? place_of(greenlets.table, greenlets.capacity, thread->greenlet) : NULL;
    if (!g || !g->object || g->has_ended)
        return;
    g->track = thread->buffer.track;
    g->frames = thread->stack;
    g->epoch = thread->epoch;
}

/* The first look at a thread: so far the thread itself ran, which is the outermost of the one that runs. */
static void begin_thread(struct rec_thread *thread, PyObject *running)
{
    bool is_new;
    for (PyObject *parent; (parent = parent_of(running)); running = parent)
        ;
    if (find(running, &is_new))
        thread->greenlet = running;
}

enum rec_greenlets_change rec_greenlets_notice(PyThreadState *ts, struct rec_thread *thread, cpython_frame *entered)
{
    PyObject *type, *value, *traceback;
    bool is_new = false;
    struct greenlet *g = NULL;
    int was_enabled = PyGC_Disable();   /* a collection could run Python code here */
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *object = greenlets.get_current();         /* owned */
    if (object && !thread->greenlet)
        begin_thread(thread, object);
    keep_track(thread);
    thread->data_stack = cpython_data_stack(ts);
    if (object && (g = find(object, &is_new))) {
        if (is_new && parent_of(object))
            begin_track(g, thread, ts, entered);
        g->stack = cpython_whole_data_stack(ts);
        *place_by_stack(g->stack) = g;
        rec_greenlets.has_bare |= !g->stack;
    }
    enum rec_greenlets_change change = REC_GREENLETS_SAME;
    if (g && (thread->greenlet != object || is_new)) {
        thread->greenlet = object;
        rec_threads_set_track(thread, &g->track, &g->frames);
        change = is_new || g->epoch != thread->epoch ? REC_GREENLETS_NEW : REC_GREENLETS_OTHER;
    }
    PyErr_Restore(type, value, traceback);
    Py_XDECREF(object);                 /* it runs, so this is not the last reference */
    if (was_enabled)
        PyGC_Enable();
    return change;
}

bool rec_greenlets_switch(PyThreadState *ts, struct rec_thread *thread)
{
    const void *stack = cpython_whole_data_stack(ts);
    const struct greenlet *g = *place_by_stack(stack);
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    if (thread->owner != ts || !thread->greenlet || rec_greenlets.has_bare || !cpython_running(ts) || !g || g->stack != stack)
        return false;
    if (g->object != thread->greenlet) {
        if (g->epoch != thread->epoch || g->track.block != thread->buffer.block || !rec_buffer_has_capacity(&thread->buffer, ticks))
            return false;
        keep_track(thread);
        thread->greenlet = g->object;
        rec_threads_set_track(thread, &g->track, &g->frames);
        rec_buffer_append(&thread->buffer, ticks, PNR_SWITCH, 0, thread->buffer.track.number);
    }
    thread->data_stack = cpython_data_stack(ts);
    return true;
}
