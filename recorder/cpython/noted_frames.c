#include "noted_frames.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include "../../format/table.h"

static struct {
    struct pnr_table table;
    int watcher;                        /* of PyDict_AddWatcher; -1: none */
} notes = { .table.slot_size = sizeof(struct rec_noted), .watcher = -1 };

void (*rec_noted_on_cleared)(const struct rec_noted *noted);

static int on_dict_event(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value)
{
    (void)key, (void)value;
    struct rec_noted *noted = event == PyDict_EVENT_DEALLOCATED ?
        pnr_table_find(&notes.table, (uint64_t)(uintptr_t)dict) : NULL;
    if (noted) {
        struct rec_noted gone = *noted;
        pnr_table_remove(&notes.table, noted);
        if (gone.note != REC_NOTE_NOTHING)
            rec_noted_on_cleared(&gone);
    }
    return 0;
}

bool rec_noted_init(void)
{
    if (notes.watcher < 0) {
        notes.watcher = PyDict_AddWatcher(on_dict_event);
        PyErr_Clear();
    }
    return notes.watcher >= 0;
}

static uint64_t key_of(const cpython_frame *f)
{
    return (uint64_t)(uintptr_t)(cpython_is_continuable(f) ? (const void *)f : f->f_locals);
}

/* The frame's note, which may have no meaning any more, or NULL. */
static struct rec_noted *find_mark(const cpython_frame *f)
{
    uint64_t key = key_of(f);
    struct rec_noted *noted = key ? pnr_table_find(&notes.table, key) : NULL;
    return noted && noted->frame == f ? noted : NULL;
}

struct rec_noted *rec_noted_find(const cpython_frame *f)
{
    struct rec_noted *noted = find_mark(f);
    return noted && noted->note != REC_NOTE_NOTHING ? noted : NULL;
}

/* True when the dict that is in the place of the mark is the frame's own, made by locals() on 3.12. */
static bool has_own_locals(const cpython_frame *f)
{
    return PY_VERSION_HEX < 0x030D0000 && f->f_locals != cpython_globals(f) && PyDict_CheckExact(f->f_locals);
}

/* Puts a mark into a plain frame, or takes the dict that locals() has put there. Returns whether there is one now. */
static bool mark_frame(cpython_frame *f, bool *is_ours)
{
    PyObject *dict = f->f_locals ? f->f_locals : PyDict_New();
    *is_ours = dict != f->f_locals;
    if (!dict || (!*is_ours && !has_own_locals(f)) || PyDict_Watch(notes.watcher, dict) != 0) {
        if (*is_ours)
            Py_XDECREF(dict);
        PyErr_Clear();
        return false;
    }
    f->f_locals = dict;
    return true;
}

static void unmark_frame(cpython_frame *f, bool is_ours)
{
    if (is_ours)
        Py_CLEAR(f->f_locals);
    else if (PyDict_Unwatch(notes.watcher, f->f_locals) != 0)
        PyErr_Clear();
}

struct rec_noted *rec_noted_add(const PyThreadState *ts, cpython_frame *f, uint32_t function, enum rec_note note)
{
    struct rec_noted *noted = find_mark(f);
    bool is_ours = noted && noted->is_ours;
    if (!noted && !cpython_is_continuable(f) && !mark_frame(f, &is_ours))
        return NULL;
    if (!noted && !(noted = pnr_table_add(&notes.table, key_of(f)))) {
        if (!cpython_is_continuable(f))
            unmark_frame(f, is_ours);
        return NULL;
    }
    noted->frame = f;
    noted->owner = ts;
    noted->function = function;
    noted->size = (uint32_t)cpython_code(f)->co_framesize;
    noted->note = note;
    noted->is_ours = is_ours;
    noted->is_continuable = cpython_is_continuable(f);
    return noted;
}

bool rec_noted_is_open(const PyThreadState *owner, const struct rec_noted *noted)
{
    return cpython_is_on_data_stack(owner, noted->frame, noted->size) &&
           (uint64_t)(uintptr_t)noted->frame->f_locals == noted->key;
}

void rec_noted_remove(struct rec_noted *noted, cpython_frame *f)
{
    bool is_ours = noted->is_ours;
    pnr_table_remove(&notes.table, noted);
    if (!cpython_is_continuable(f))
        unmark_frame(f, is_ours);
}

struct rec_noted *rec_noted_next(const struct rec_noted *noted)
{
    struct rec_noted *next = (struct rec_noted *)noted;
    do
        next = pnr_table_next(&notes.table, next);
    while (next && next->note == REC_NOTE_NOTHING);
    return next;
}

void rec_noted_drop(struct rec_noted *noted)
{
    if (noted->is_continuable)
        pnr_table_remove(&notes.table, noted);
    else
        noted->note = REC_NOTE_NOTHING; /* until its mark is freed */
}

void rec_noted_forget(void)
{
    for (struct rec_noted *noted = NULL; (noted = rec_noted_next(noted));) {
        if (noted->is_continuable) {
            pnr_table_remove(&notes.table, noted);
            noted = NULL;
        } else {
            noted->note = REC_NOTE_NOTHING;
        }
    }
}

#endif
