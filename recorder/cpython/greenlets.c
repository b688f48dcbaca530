#include "greenlets.h"

#include <stdlib.h>
#include <string.h>

#include "../../format/array.h"

#define API "greenlet._C_API"
#define API_TYPE 0                      /* indices in the API's table (greenlet.h) */
#define API_GET_CURRENT 4
#define N_BY_STACK 1024                 /* slots to find a greenlet by its data stack; a power of two */
#define N_FREE (1 << 14)                /* tracks that are kept for later greenlets; a power of two, like the next */
#define N_FREE_LISTS (1 << 10)
#define N_CHECKED 32                    /* greenlets that are asked, for each new one, whether they have ended */
#define N_AWAITED 10000                 /* events until the module must be there: that many come while it is imported */

struct rec_greenlets rec_greenlets;

/* A greenlet that has run in this recording, with the state of its track when it last ran. */
struct greenlet {
    PyObject *object;                   /* an address; NULL: free */
    PyObject *ref;                      /* weak reference, dead when another object has the address; owned */
    const void *stack;                  /* its data stack when it was last asked for */
    struct rec_track track;
    struct rec_stack frames;            /* the engines', like the thread's `stack` */
    uint64_t key;                       /* of the track: which greenlets may have it next */
    uint64_t epoch;                     /* of the thread when it last ran */
    const PyThreadState *owner;         /* that thread's; compared, never dereferenced */
    bool has_ended;                     /* the track is no longer its own */
    bool is_listed;                     /* this address is in `live` */
};

/* A track whose greenlet has ended. */
struct free_track {
    uint64_t key;
    uint32_t number;
    uint32_t next;                      /* in its list, from 1; 0: none */
};

static struct {
    PyObject *(*get_current)(void);
    PyObject *parent, *dead, *frame;    /* the getters of these; owned */
    PyObject *name, *run;               /* interned names of attributes */
    struct greenlet *table;             /* open addressing; owned */
    size_t n, capacity;                 /* a power of two, or 0 */
    struct greenlet *by_stack[N_BY_STACK];      /* into the table, by data stack; NULL: none */
    PyObject **live;                    /* addresses of those that had not ended when last asked; owned */
    size_t n_live, live_capacity;
    size_t next_checked;                /* index of the next of these to be asked */
    unsigned n_awaited;                 /* events that are not fast until the module is looked for no more */
    struct free_track free[N_FREE];
    uint32_t n_free_used;               /* entries of `free` that are or were in use; they are numbered from 1 */
    uint32_t vacant;                    /* list of those that are not in use any more; 0: none */
    uint32_t heads[N_FREE_LISTS];       /* lists of those in use, by key */
} greenlets;

/* ---- the module ---- */

static bool is_getter(const PyObject *object) { return object && Py_TYPE(object)->tp_descr_get; }

static void find_module(void)
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
    PyObject *frame = dict ? PyDict_GetItemString(dict, "gr_frame") : NULL;
    if (is_getter(parent) && is_getter(dead) && is_getter(frame)) {
        greenlets.get_current = (PyObject *(*)(void))api[API_GET_CURRENT];
        Py_XSETREF(greenlets.parent, Py_NewRef(parent));
        Py_XSETREF(greenlets.dead, Py_NewRef(dead));
        Py_XSETREF(greenlets.frame, Py_NewRef(frame));
        Py_XSETREF(greenlets.name, PyUnicode_InternFromString("name"));
        Py_XSETREF(greenlets.run, PyUnicode_InternFromString("_run"));
        rec_greenlets.are_used = true;
        if (rec_greenlets.on_use)
            rec_greenlets.on_use();
    }
    PyErr_Restore(type, value, traceback);
}

void rec_greenlets_await(void)
{
    if (rec_greenlets.are_used)
        return;
    greenlets.n_awaited = N_AWAITED;
    rec_threads_forget_current();
}

bool rec_greenlets_are_awaited(void)
{
    if (likely(!greenlets.n_awaited))
        return false;
    find_module();
    greenlets.n_awaited = rec_greenlets.are_used ? 0 : greenlets.n_awaited - 1;
    return greenlets.n_awaited;
}

static void forget_free_tracks(void)
{
    memset(greenlets.heads, 0, sizeof greenlets.heads);
    greenlets.n_free_used = greenlets.vacant = 0;
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
    greenlets.n_live = 0;
    rec_greenlets.are_used = rec_greenlets.has_bare = false;
    rec_greenlets.on_use = on_use;
    greenlets.n_awaited = 0;
    find_module();
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
    free(greenlets.live);
    memset(&greenlets, 0, sizeof greenlets);
    rec_greenlets.are_used = false;
}

void rec_greenlets_forget_stacks(void)
{
    for (size_t i = 0; i < greenlets.capacity; i++) {
        greenlets.table[i].epoch = 0;
        greenlets.table[i].track.block = 0;
    }
}

/* ---- the table ---- */

static bool is_greenlet_alive(const struct greenlet *g)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object = NULL;
    if (g->object && g->ref)
        PyWeakref_GetRef(g->ref, &object);
    Py_XDECREF(object);                 /* not the last reference: an object that is being freed gives none */
    return object && object == g->object;
#else
    return g->object && g->ref && PyWeakref_GET_OBJECT(g->ref) == g->object;
#endif
}

static struct greenlet *slot_of(struct greenlet *table, size_t capacity, const PyObject *object)
{
    size_t at = ((uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (capacity - 1);
    while (table[at].object && table[at].object != object)
        at = (at + 1) & (capacity - 1);
    return &table[at];
}

/* Calls a getter of greenlets. The value is borrowed: something else must own it. */
static PyObject *get_property(PyObject *getter, PyObject *object)
{
    PyObject *value = Py_TYPE(getter)->tp_descr_get(getter, object, (PyObject *)Py_TYPE(object));
    Py_XDECREF(value);
    PyErr_Clear();
    return value;
}

/* Releases a track for a later greenlet. If there are too many, all others are forgotten: they are not used again. */
static void release_track(uint64_t key, uint32_t number)
{
    uint32_t *head = &greenlets.heads[key & (N_FREE_LISTS - 1)], entry = greenlets.vacant;
    if (entry) {
        greenlets.vacant = greenlets.free[entry - 1].next;
    } else {
        if (greenlets.n_free_used == N_FREE)
            forget_free_tracks();
        entry = ++greenlets.n_free_used;
    }
    greenlets.free[entry - 1] = (struct free_track){ key, number, *head };
    *head = entry;
}

/* Releases the track of a greenlet that has ended. It never runs again. */
static void check_ended(struct greenlet *g)
{
    if (!g->object || g->has_ended || (is_greenlet_alive(g) && get_property(greenlets.dead, g->object) != Py_True))
        return;
    g->has_ended = true;
    if (g->track.number)
        release_track(g->key, g->track.number);
}

/* Lists a greenlet that begins. Without memory its track is not used again. */
static void list_greenlet(struct greenlet *g)
{
    if (pnr_array_reserve(&greenlets.live, &greenlets.live_capacity, greenlets.n_live + 1) < 0)
        return;
    if (!g->is_listed)
        greenlets.live[greenlets.n_live++] = g->object;
    g->is_listed = true;
}

/* Makes a new table without the greenlets that are gone if there is no slot for one more. Returns whether there is
 * one. */
static bool reserve_greenlet_slot(void)
{
    size_t n = 0, capacity = 64;
    if (4 * (greenlets.n + 1) <= 3 * greenlets.capacity)
        return true;
    for (size_t i = 0; i < greenlets.capacity; i++) {
        check_ended(&greenlets.table[i]);
        n += is_greenlet_alive(&greenlets.table[i]);
    }
    while (capacity < 4 * (n + 1))
        capacity *= 2;
    struct greenlet *table = calloc(capacity, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < greenlets.capacity; i++) {
        if (is_greenlet_alive(&greenlets.table[i]))
            *slot_of(table, capacity, greenlets.table[i].object) = greenlets.table[i];
        else
            Py_XDECREF(greenlets.table[i].ref);
    }
    free(greenlets.table);
    memset(greenlets.by_stack, 0, sizeof greenlets.by_stack);
    greenlets.table = table;
    greenlets.n = n;
    greenlets.capacity = capacity;
    greenlets.n_live = 0;
    for (size_t i = 0; i < capacity; i++) {
        table[i].is_listed = false;
        if (table[i].object && !table[i].has_ended && table[i].track.number)
            list_greenlet(&table[i]);
    }
    return true;
}

/* Borrowed: the greenlet that runs owns its parents. NULL for a thread's first greenlet, which is the thread itself. */
static PyObject *greenlet_parent(PyObject *object)
{
    PyObject *parent = get_property(greenlets.parent, object);
    return parent == Py_None ? NULL : parent;
}

/* ---- names, and tracks ---- */

/* An attribute of the greenlet itself, not of its type. Borrowed, or NULL. */
static PyObject *own_attribute(PyObject *object, PyObject *name)
{
    Py_ssize_t offset = Py_TYPE(object)->tp_dictoffset;
    PyObject *dict = offset > 0 ? *(PyObject **)((char *)object + offset) : NULL;
    PyObject *value = dict && name && PyDict_Check(dict) ? cpython_lookup(dict, name) : NULL;
    PyErr_Clear();
    Py_XDECREF(value);                  /* the dict keeps it */
    return value;
}

/* The qualified name of the function that the stack begins with: f and the frames outwards of it, or else the frame
 * that is entered. Borrowed, or NULL. */
static PyObject *outermost_name(cpython_frame *f, cpython_frame *entered)
{
    PyObject *name = entered ? cpython_code(entered)->co_qualname : NULL;
    for (; f; f = cpython_previous(f))
        if (!cpython_is_incomplete(f))
            name = cpython_code(f)->co_qualname;
    return name;
}

/* The greenlet's name: that which the program gave it (gevent.Greenlet.name), else its function's, which gevent keeps
 * in _run before it shows on the stack. Other names would have to be asked for by Python code. Borrowed, or NULL. */
static PyObject *greenlet_name(PyObject *object, cpython_frame *f, cpython_frame *entered)
{
    PyObject *name = own_attribute(object, greenlets.name), *run = own_attribute(object, greenlets.run);
    if (name && PyUnicode_Check(name) && PyUnicode_GetLength(name) > 0)
        return name;
    if (run && PyMethod_Check(run))
        run = PyMethod_GET_FUNCTION(run);
    return run && PyFunction_Check(run) ? ((PyFunctionObject *)run)->func_qualname : outermost_name(f, entered);
}

/* Hashes what two greenlets must have in common to have the same track one after the other (FNV-1a). */
static uint64_t track_key(struct pnr_string name, uint32_t thread)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325) ^ thread;
    for (uint32_t i = 0; i < name.size; i++)
        key = (key ^ (unsigned char)name.bytes[i]) * UINT64_C(0x100000001b3);
    return key ^ key >> 32;
}

/* Asks some of the listed greenlets whether they have ended, each time the next ones. */
static void check_some(void)
{
    for (size_t n = greenlets.n_live < N_CHECKED ? greenlets.n_live : N_CHECKED; n > 0; n--) {
        if (greenlets.next_checked >= greenlets.n_live)
            greenlets.next_checked = 0;
        PyObject **object = &greenlets.live[greenlets.next_checked];
        struct greenlet *g = slot_of(greenlets.table, greenlets.capacity, *object);
        check_ended(g);
        g->is_listed = !g->has_ended;
        if (g->has_ended)
            *object = greenlets.live[--greenlets.n_live];
        else
            greenlets.next_checked++;
    }
}

/* Takes a free track of that key. Returns 0 when there is none. */
static uint32_t take_free_track(uint64_t key)
{
    check_some();
    uint32_t *at = &greenlets.heads[key & (N_FREE_LISTS - 1)], entry;
    while ((entry = *at) && greenlets.free[entry - 1].key != key)
        at = &greenlets.free[entry - 1].next;
    if (!entry)
        return 0;
    *at = greenlets.free[entry - 1].next;
    greenlets.free[entry - 1].next = greenlets.vacant;
    greenlets.vacant = entry;
    return greenlets.free[entry - 1].number;
}

/* Gives a new greenlet, which runs, its track. */
static void assign_track(struct greenlet *g, const struct rec_thread *thread, PyThreadState *ts, cpython_frame *entered)
{
    PyObject *owned = NULL, *name = greenlet_name(g->object, cpython_running(ts), entered);
    struct pnr_string text = name ? rec_functions_text(name, &owned) : (struct pnr_string){ "greenlet", 8 };
    g->key = track_key(text, thread->buffer.number);
    g->track.number = take_free_track(g->key);
    g->track.is_taken_over = g->track.number;
    if (!g->track.number)
        g->track.number = rec_name_table_add_track(PNR_THREAD_GREENLET, thread->native_id, text);
    list_greenlet(g);
    Py_XDECREF(owned);
}

/* Finds a greenlet's slot, or takes one: then *is_new, and it has no track yet. Returns NULL when out of memory. */
static struct greenlet *find_greenlet(PyObject *object, bool *is_new)
{
    struct greenlet *g = greenlets.capacity ? slot_of(greenlets.table, greenlets.capacity, object) : NULL;
    *is_new = !g || g->has_ended || !is_greenlet_alive(g);
    if (!*is_new)
        return g;
    if (g && g->object) {
        check_ended(g);
        Py_CLEAR(g->ref);               /* another greenlet had this address */
    } else {
        if (!reserve_greenlet_slot())
            return NULL;
        g = slot_of(greenlets.table, greenlets.capacity, object);
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

static struct greenlet **slot_by_stack(const void *stack)
{
    return &greenlets.by_stack[((uintptr_t)stack >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (N_BY_STACK - 1)];
}

/* ---- changes ---- */

/* Saves what the thread's fields say of the present track in the greenlet that it belongs to. */
static void save_track(const struct rec_thread *thread)
{
    struct greenlet *g = thread->greenlet ? slot_of(greenlets.table, greenlets.capacity, thread->greenlet) : NULL;
    if (!g || !g->object || g->has_ended)
        return;
    g->track = thread->buffer.track;
    g->frames = thread->stack;
    g->epoch = thread->must_report_stack ? 0 : thread->epoch;
    g->owner = thread->owner;
    if (thread->must_report_stack)
        g->track.block = 0;
}

/* Begins with a thread: until now the thread itself ran, which is the outermost parent of the greenlet that runs. */
static void find_first_greenlet(struct rec_thread *thread, PyObject *running)
{
    bool is_new;
    for (PyObject *parent; (parent = greenlet_parent(running)); running = parent)
        ;
    if (find_greenlet(running, &is_new))
        thread->greenlet = running;
}

enum rec_greenlets_change rec_greenlets_notice(PyThreadState *ts, struct rec_thread *thread, cpython_frame *entered)
{
    PyObject *type, *value, *traceback;
    bool is_new = false;
    struct greenlet *g = NULL;
    int was_enabled = PyGC_Disable();   /* a garbage collection could run Python code here */
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *object = greenlets.get_current();         /* owned */
    if (object && !thread->greenlet)
        find_first_greenlet(thread, object);
    save_track(thread);
    bool must_report_stack = thread->must_report_stack;
    thread->must_report_stack = false;
    thread->data_stack = cpython_data_stack(ts);
    if (object && (g = find_greenlet(object, &is_new))) {
        if (is_new && greenlet_parent(object))
            assign_track(g, thread, ts, entered);
        g->stack = cpython_whole_data_stack(ts);
        *slot_by_stack(g->stack) = g;
        rec_greenlets.has_bare |= !g->stack;
    }
    enum rec_greenlets_change change = REC_GREENLETS_SAME;
    if (g && (thread->greenlet != object || is_new)) {
        thread->greenlet = object;
        rec_threads_set_track(thread, &g->track, &g->frames);
        change = is_new || g->epoch != thread->epoch ? REC_GREENLETS_NEW : REC_GREENLETS_OTHER;
    } else if (must_report_stack) {
        thread->buffer.track.block = 0;
        change = REC_GREENLETS_NEW;
    }
    PyErr_Restore(type, value, traceback);
    Py_XDECREF(object);                 /* not the last reference: it runs */
    if (was_enabled)
        PyGC_Enable();
    return change;
}

void rec_greenlets_follow(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, enum rec_greenlets_change change)
{
    if (change == REC_GREENLETS_NEW)
        thread->stack.depth = rec_threads_count_recorded(ts, f);
    if (change != REC_GREENLETS_SAME)
        rec_threads_emit_switch(thread, f, rec_no_frame);
}

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN
void rec_greenlets_visit_waiting(rec_greenlets_visit *visit)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; i < greenlets.capacity; i++) {
        const struct greenlet *g = &greenlets.table[i];
        if (!g->frames.depth || g->has_ended || !is_greenlet_alive(g))
            continue;
        PyObject *frame = get_property(greenlets.frame, g->object);
        if (PyFrame_Check(frame))       /* else it runs */
            visit(g->owner, g->stack, ((PyFrameObject *)frame)->f_frame);
    }
    PyErr_Restore(type, value, traceback);
}
#endif

bool rec_greenlets_switch(PyThreadState *ts, struct rec_thread *thread)
{
    const void *stack = cpython_whole_data_stack(ts);
    const struct greenlet *g = *slot_by_stack(stack);
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    if (thread->owner != ts || !thread->greenlet || rec_greenlets.has_bare || !cpython_running(ts) || !g ||
        g->stack != stack)
        return false;
    if (g->object != thread->greenlet) {
        if (g->epoch != thread->epoch || g->track.block != thread->buffer.block ||
            !rec_buffer_has_capacity(&thread->buffer, ticks))
            return false;
        save_track(thread);
        thread->greenlet = g->object;
        rec_threads_set_track(thread, &g->track, &g->frames);
        rec_buffer_append(&thread->buffer, ticks, PNR_SWITCH, 0, thread->buffer.track.number);
    }
    thread->data_stack = cpython_data_stack(ts);
    return true;
}
