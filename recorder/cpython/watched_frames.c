#include "watched_frames.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include "../../format/table.h"

static struct {
    struct pnr_table table;
    int watcher;                        /* of PyDict_AddWatcher; -1: none */
} watched_frames = { .table.slot_size = sizeof(struct rec_watched), .watcher = -1 };

void (*rec_watched_on_cleared)(const struct rec_watched *watched);

static int on_dict_event(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value)
{
    (void)key, (void)value;
    struct rec_watched *watched = event == PyDict_EVENT_DEALLOCATED ?
        pnr_table_find(&watched_frames.table, (uint64_t)(uintptr_t)dict) : NULL;
    if (watched) {
        struct rec_watched gone = *watched;
        pnr_table_remove(&watched_frames.table, watched);
        if (gone.state != REC_WATCH_NOTHING)
            rec_watched_on_cleared(&gone);
    }
    return 0;
}

bool rec_watched_init(void)
{
    if (watched_frames.watcher < 0) {
        watched_frames.watcher = PyDict_AddWatcher(on_dict_event);
        PyErr_Clear();
    }
    return watched_frames.watcher >= 0;
}

static uint64_t key_of(const cpython_frame *f)
{
    return (uint64_t)(uintptr_t)(cpython_is_continuable(f) ? (const void *)f : f->f_locals);
}

/* The frame's entry, whose token may be without a meaning, or NULL. That of another generator's frame, which was here
 * before, is not its own. */
static struct rec_watched *find_token(const cpython_frame *f)
{
    uint64_t key = key_of(f);
    struct rec_watched *watched = key ? pnr_table_find(&watched_frames.table, key) : NULL;
    return watched && watched->frame == f && watched->code == cpython_code(f) ? watched : NULL;
}

struct rec_watched *rec_watched_find(const cpython_frame *f)
{
    struct rec_watched *watched = find_token(f);
    return watched && watched->state != REC_WATCH_NOTHING ? watched : NULL;
}

/* True when the dict that is in the place of the token is the frame's own, made by locals() on 3.12. */
static bool has_own_locals(const cpython_frame *f)
{
    return PY_VERSION_HEX < 0x030D0000 && f->f_locals != cpython_globals(f) && PyDict_CheckExact(f->f_locals);
}

/* True for a frame that may show its f_locals to Python code: it imports, and the program has replaced __import__, which
 * gets them (Python/ceval.c, import_name). */
static bool may_show_locals(const cpython_frame *f)
{
    const PyCodeObject *code = cpython_code(f);
    PyObject *import = PyDict_CheckExact(f->f_builtins) ? PyDict_GetItemString(f->f_builtins, "__import__") : NULL;
    if (import && PyCFunction_CheckExact(import))
        return false;
    for (Py_ssize_t i = 0; i < Py_SIZE(code); i++)
        if (cpython_opcode(_PyCode_CODE((PyCodeObject *)code) + i) == IMPORT_NAME)
            return true;
    return false;
}

/* Puts a token into a plain frame, or takes the dict that locals() has put there. Returns whether there is one now. */
static bool give_token(cpython_frame *f, bool *is_ours)
{
    PyObject *dict = f->f_locals ? f->f_locals : may_show_locals(f) ? NULL : PyDict_New();
    *is_ours = dict != f->f_locals;
    if (*is_ours && dict)
        PyObject_GC_UnTrack(dict);      /* from 3.14 on gc.get_objects() would show it */
    if (!dict || (!*is_ours && !has_own_locals(f)) || PyDict_Watch(watched_frames.watcher, dict) != 0) {
        if (*is_ours)
            Py_XDECREF(dict);
        PyErr_Clear();
        return false;
    }
    f->f_locals = dict;
    return true;
}

/* A token that locals() has given to the program stays: it must get the same one again, with what it has put there. */
static void take_token(cpython_frame *f, bool is_ours)
{
    if (is_ours && Py_REFCNT(f->f_locals) == 1 && PyDict_GET_SIZE(f->f_locals) == 0)
        Py_CLEAR(f->f_locals);
    else if (PyDict_Unwatch(watched_frames.watcher, f->f_locals) != 0)
        PyErr_Clear();
}

struct rec_watched *rec_watched_add(const PyThreadState *ts, const void *data_stack, cpython_frame *f, uint32_t function,
                                    enum rec_watch state)
{
    struct rec_watched *watched = find_token(f);
    bool is_ours = watched && watched->is_ours;
    if (!watched && !cpython_is_continuable(f) && !give_token(f, &is_ours))
        return NULL;
    if (!watched && !(watched = pnr_table_add(&watched_frames.table, key_of(f)))) {
        if (!cpython_is_continuable(f))
            take_token(f, is_ours);
        return NULL;
    }
    watched->frame = f;
    watched->owner = ts;
    watched->code = cpython_code(f);
    watched->data_stack = data_stack;
    watched->function = function;
    watched->size = (uint32_t)cpython_code(f)->co_framesize;
    watched->state = (uint8_t)state;
    watched->is_ours = is_ours;
    watched->is_continuable = cpython_is_continuable(f);
    return watched;
}

bool rec_watched_is_kept(const cpython_frame *f)
{
    return cpython_is_held(f) || (!cpython_is_continuable(f) && f->f_locals && Py_REFCNT(f->f_locals) > 1);
}

enum rec_watched_position rec_watched_position(const PyThreadState *owner, const struct rec_watched *watched)
{
    if (cpython_whole_data_stack(owner) != watched->data_stack)
        return REC_WATCHED_ELSEWHERE;
    bool is_open = cpython_is_on_data_stack(owner, watched->frame, watched->size) &&
                   (uint64_t)(uintptr_t)watched->frame->f_locals == watched->key;
    return is_open ? REC_WATCHED_OPEN : REC_WATCHED_LEFT;
}

void rec_watched_remove(struct rec_watched *watched, cpython_frame *f)
{
    bool is_ours = watched->is_ours;
    pnr_table_remove(&watched_frames.table, watched);
    if (!cpython_is_continuable(f))
        take_token(f, is_ours);
}

struct rec_watched *rec_watched_next(const struct rec_watched *watched)
{
    struct rec_watched *next = (struct rec_watched *)watched;
    do
        next = pnr_table_next(&watched_frames.table, next);
    while (next && next->state == REC_WATCH_NOTHING);
    return next;
}

struct rec_watched *rec_watched_release(struct rec_watched *watched)
{
    if (watched->is_continuable) {
        pnr_table_remove(&watched_frames.table, watched);
        return NULL;
    }
    watched->state = REC_WATCH_NOTHING; /* until its token is freed */
    return watched;
}

void rec_watched_forget_all(void)
{
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        watched = rec_watched_release(watched);
}

void rec_watched_forget_interpreter(void)
{
    pnr_table_clear(&watched_frames.table);
    watched_frames.watcher = -1;
}

#endif
