#include "greenlets.h"

#include <string.h>
#include <unistd.h>

#include "lives.h"
#include "muted_frames.h"
#include "works.h"
#include "../samples.h"

#define RECENT 4096                     /* threads found by their thread state without a search; a power of two */
#define CAPSULE "panopticon.buffer"

struct rec_threads rec_threads;
struct rec_thread rec_no_thread;
REC_CURRENT_STORAGE struct rec_thread *rec_current = &rec_no_thread;

static struct {
    PyObject *capsule, *threading, *active;     /* interned names */
    struct rec_thread *recent[RECENT];
} threads;

/* ---- the stack as it is ---- */

/* Returns the frame that is being cleared, if it will have an exit record; else the entry frame. From CPython 3.12 on a
 * frame that is being cleared is on the stack no more: an entry frame stands there without a frame of its own. */
static cpython_frame *cleared_at(PyThreadState *ts, cpython_frame *entry)
{
    cpython_frame *f = rec_threads.has_late_exits ? cpython_frame_being_cleared(ts, entry) : NULL;
    return f && rec_tag_is_current(rec_tag_peek(f)) ? f : entry;
}

cpython_frame *rec_threads_innermost(PyThreadState *ts)
{
    cpython_frame *f = cpython_running(ts);
    return f && cpython_is_entry(f) ? cleared_at(ts, f) : f;
}

static cpython_frame *next_outwards(PyThreadState *ts, cpython_frame *f)
{
    cpython_frame *previous = cpython_previous(f);
    return previous && cpython_is_entry(previous) && cpython_is_entry(f) ? cleared_at(ts, previous) : previous;
}

bool rec_threads_is_entered(const PyThreadState *ts, cpython_frame *f)
{
    if (cpython_is_incomplete(f))
        return false;
    if (!rec_threads.has_delayed_entry_events)
        return !cpython_is_delegating(f);
    return !cpython_has_pending_entry(f) && (f == cpython_running(ts) || !cpython_is_delegating(f));
}

static bool is_recorded(const PyThreadState *ts, cpython_frame *f, uint64_t *tag)
{
    if (!rec_threads_is_entered(ts, f))
        return false;
    *tag = rec_functions_tag_call(f, cpython_previous(f));
    return *tag && !(rec_tag_flags(*tag) & REC_TAG_EXCLUDED) &&
           (likely(!(rec_tag_flags(*tag) & REC_TAG_SLOW)) || rec_muted_frames_is_reported(f, (uint32_t)*tag));
}

cpython_frame *rec_threads_recorded_from(PyThreadState *ts, cpython_frame *f, uint64_t *tag)
{
    while (f && !is_recorded(ts, f, tag))
        f = next_outwards(ts, f);
    return f;
}

uint32_t rec_threads_count_recorded(PyThreadState *ts, cpython_frame *f)
{
    uint64_t tag;
    uint32_t n = 0;
    while ((f = rec_threads_recorded_from(ts, f, &tag))) {
        f = cpython_previous(f);
        n++;
    }
    return n;
}

void rec_threads_notice_fork(void)
{
    if (unlikely(rec_fork_memory_is_forked()))
        rec_threads.on_fork();
}

bool rec_threads_activate_if_pending(const PyThreadState *ts)
{
    rec_threads_notice_fork();
    if (rec_state_is(REC_IN_CHILD))
        rec_state_take(REC_EVENT_FIRST_EVENT);
    return rec_state_is(REC_RECORDING) && ts->interp == rec_threads.interp;
}

static struct rec_open_frame open_frames[REC_MAX_LISTED];   /* innermost first; guarded by the GIL, as the next ones */

/* Fills open_frames from the interpreter's stack and returns how many there are. *is_deeper: the stack has more.
 * *n_unknown: how many have function 0. Each may be a generator's frame that is being cleared, which is in no stack. */
static uint32_t collect_stack(PyThreadState *ts, cpython_frame *f, struct rec_open_frame inner, bool *is_deeper,
                              uint32_t *n_unknown)
{
    uint32_t n = 0;
    uint64_t tag;
    *n_unknown = 0;
    if (inner.function)
        open_frames[n++] = inner;
    while (n < REC_MAX_LISTED && f) {
        bool is_entry = cpython_is_entry(f);
        if (is_entry && rec_threads.has_late_exits && !cpython_is_root(ts, f)) {
            open_frames[n++] = (struct rec_open_frame){ 0, 0 };
            ++*n_unknown;
        } else if (is_recorded(ts, f, &tag)) {
            uint64_t frame = cpython_is_continuable(f) ? rec_frame_identity(f) : 0;
            if (frame && rec_tag_flags(tag) & REC_TAG_BOUNDARY)
                rec_lives_enter(frame, false);
            open_frames[n++] = (struct rec_open_frame){ frame, (uint32_t)tag };
        }
        f = next_outwards(ts, f);
        if (!is_entry && f && cpython_is_entry(f))
            f = next_outwards(ts, f);   /* that of its own evaluation */
    }
    *is_deeper = f && rec_threads_recorded_from(ts, f, &tag);
    return n;
}

/* Reads a chunk's records backwards for what is open at its end. */
struct backward_scan {
    const struct pnr_record *first, *next;
    uint32_t n_exits;                   /* in scanned_exits */
};

#define C_CALL (UINT32_C(1) << 31)      /* besides the number of a function */

/* The exits that were read and whose entries were not yet: functions; 0 is any Python frame's. */
static uint32_t scanned_exits[PNR_BLOCK_RECORDS];

/* Gives the next open frame or C call outwards. Returns false when no record is left. An entry without an exit
 * that lies between an exit and the entry of that exit was left without a record. */
static bool scan_open(struct backward_scan *scan, struct rec_open_frame *open)
{
    while (scan->next != scan->first) {
        struct pnr_record r = *--scan->next;
        struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(r));
        bool is_c = of.subject == PNR_SUBJECT_C;
        uint32_t function = pnr_record_function(r), n = 1;
        uint64_t frame = is_c ? PNR_OPEN_C_CALL : pnr_record_frame(r);
        if (of.effect == PNR_EFFECT_CHANGE)
            return false;
        if (of.effect == PNR_EFFECT_NONE || !pnr_subject_is_function(of.subject))
            continue;
        uint32_t what = frame == PNR_OPEN_C_CALL ? function | C_CALL : function;
        if (of.effect == PNR_EFFECT_LEAVE_SEVERAL) {
            n = function;
            what = 0;
        }
        if (of.effect == PNR_EFFECT_LEAVE || of.effect == PNR_EFFECT_LEAVE_SEVERAL) {
            if (n > PNR_BLOCK_RECORDS - scan->n_exits)
                return false;
            while (n--)
                scanned_exits[scan->n_exits++] = what;
            continue;
        }
        if (!scan->n_exits) {
            *open = (struct rec_open_frame){ frame, function };
            return true;
        }
        uint32_t exit = scanned_exits[scan->n_exits - 1];
        scan->n_exits -= exit == what || (!exit && frame != PNR_OPEN_C_CALL);
    }
    return false;
}

bool rec_threads_may_be_innermost(const struct rec_thread *thread, uint32_t function)
{
    const struct rec_buffer *buffer = &thread->buffer;
    struct backward_scan scan = { .first = buffer->records, .next = buffer->next };
    struct rec_open_frame open;
    if (buffer->chunk >= 0 && scan_open(&scan, &open))
        return !open.frame && open.function == function;
    return buffer->chunk < 0 || scan.next != scan.first || buffer->n_open >= REC_MAX_LISTED;
}

static bool is_same(struct rec_open_frame a, struct rec_open_frame b)
{
    return a.frame == b.frame && a.function == b.function;
}

/* Adds to open_frames what is on no stack, from the records before: so many calls of C functions, and the generators'
 * frames that are being cleared. The n_new innermost frames are not in the records yet. Returns how many there are then.
 */
static uint32_t add_from_records(const struct rec_thread *thread, uint32_t n, uint32_t n_new, uint32_t n_calls,
                                 uint32_t n_unknown)
{
    static struct rec_open_frame stack[REC_MAX_LISTED];
    struct backward_scan scan = { .first = thread->buffer.records, .next = thread->buffer.next };
    struct rec_open_frame open;
    uint32_t i = 0, m = 0;
    memcpy(stack, open_frames, n * sizeof *stack);
    while (i < n && i < n_new)
        open_frames[m++] = stack[i++];
    while (m < REC_MAX_LISTED && (n_calls || n_unknown) && scan_open(&scan, &open)) {
        if (i + 1 < n && !stack[i].function && is_same(stack[i + 1], open)) {
            n_unknown--;                /* no frame that is recorded is being cleared there */
            i++;
        }
        if (i < n && is_same(stack[i], open)) {
            open_frames[m++] = stack[i++];
            n_calls -= open.frame == PNR_OPEN_C_CALL;
        } else if (open.frame == PNR_OPEN_C_CALL) {
            open_frames[m++] = open;
            n_calls -= n_calls > 0;
        } else if (open.frame && i < n && !stack[i].function) {
            open_frames[m++] = open;
            n_unknown--;
            i++;
        }
    }
    for (; i < n && m < REC_MAX_LISTED; i++)
        if (stack[i].function)
            open_frames[m++] = stack[i];
    return m;
}

/* Fills open_frames with what is open and returns how much that is. is_complete: the buffer's chunk has all events up
 * to now, except for those of the n_new innermost frames. */
static uint32_t collect_open(const struct rec_thread *thread, cpython_frame *f, struct rec_open_frame inner,
                             uint32_t n_new, bool is_complete, bool *is_deeper)
{
    uint32_t n_unknown, n_calls = thread->stack.c_depth + (inner.frame == PNR_OPEN_C_CALL);
    uint32_t n = collect_stack((PyThreadState *)thread->owner, f, inner, is_deeper, &n_unknown);
    if (!n_unknown && (!n_calls || !is_complete))
        return n;
    return is_complete ? add_from_records(thread, n, n_new, n_calls, n_unknown) : add_from_records(thread, n, 0, 0, 0);
}

/* Starts a new chunk. is_empty: nothing is open at its begin. */
static bool start_chunk(struct rec_thread *thread, uint16_t flags, cpython_frame *f, struct rec_open_frame inner,
                        bool is_empty)
{
    bool is_deeper = false;
    bool is_complete = !flags && thread->buffer.chunk >= 0 && !rec_greenlets.are_used;
    uint32_t n = is_empty ? 0 : collect_open(thread, f, inner, 0, is_complete, &is_deeper);
    flags |= is_deeper ? PNR_BLOCK_DEEPER : 0;
    if (!rec_buffer_start_chunk(&thread->buffer, flags, n)) {
        rec_buffer_count_lost(&thread->buffer);
        if (rec_session_is_closed())
            rec_state_take(REC_EVENT_FAILURE);
        return false;
    }
    while (n--)
        rec_buffer_append(&thread->buffer, 0, PNR_OPEN, open_frames[n].frame, open_frames[n].function);
    rec_buffer_emit_lost(&thread->buffer);
    return true;
}

/* n_new, is_complete: as for collect_open. */
static void emit_switch_at(struct rec_thread *thread, cpython_frame *f, struct rec_open_frame inner, uint64_t ticks,
                           uint32_t n_new, bool is_complete)
{
    uint64_t flags = 0;
    bool is_deeper;
    uint32_t n = 0;
    if (thread->buffer.chunk >= 0 && thread->buffer.track.block != thread->buffer.block) {
        n = collect_open(thread, f, inner, n_new, is_complete, &is_deeper);
        flags = PNR_SWITCH_OPEN | (is_deeper ? PNR_SWITCH_DEEPER : 0);
    }
    if (!rec_buffer_has_capacity(&thread->buffer, ticks) || !rec_buffer_reserve(&thread->buffer, n + 1)) {
        rec_threads_start_chunk(thread, 0, f, inner);
        return;
    }
    rec_buffer_append(&thread->buffer, ticks, PNR_SWITCH, flags, thread->buffer.track.number);
    thread->buffer.n_open += n;
    while (n--)
        rec_buffer_append(&thread->buffer, ticks, PNR_OPEN, open_frames[n].frame, open_frames[n].function);
    thread->buffer.track.block = thread->buffer.block;
}

/* Lists what is open in the stack of a new greenlet, after a list that is empty. */
static void list_after_take_over(struct rec_thread *thread, cpython_frame *f, struct rec_open_frame inner)
{
    uint64_t tag;
    thread->buffer.track.is_taken_over = false;
    if (!inner.function && !rec_threads_recorded_from((PyThreadState *)thread->owner, f, &tag))
        return;
    thread->buffer.track.block = 0;
    emit_switch_at(thread, f, inner, rec_clock_ticks() - thread->buffer.base, 0, false);
}

bool rec_threads_start_chunk(struct rec_thread *thread, uint16_t flags, cpython_frame *f, struct rec_open_frame inner)
{
    bool is_taken_over = thread->buffer.track.is_taken_over;
    if (!start_chunk(thread, flags, f, inner, is_taken_over))
        return false;
    if (is_taken_over)
        list_after_take_over(thread, f, inner);
    return true;
}

void rec_threads_emit_switch(struct rec_thread *thread, cpython_frame *f, struct rec_open_frame inner)
{
    struct rec_buffer *buffer = &thread->buffer;
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    rec_sparse_break();
    if (!buffer->track.is_taken_over || !rec_buffer_has_capacity(buffer, ticks) || !rec_buffer_reserve(buffer, 1)) {
        emit_switch_at(thread, f, inner, ticks, 0, false);
        return;
    }
    rec_buffer_append(buffer, ticks, PNR_SWITCH, PNR_SWITCH_OPEN, buffer->track.number);
    buffer->track.block = buffer->block;
    list_after_take_over(thread, f, inner);
}

/* Emits the n_new innermost frames of a stack that is too deep to be listed. In recursion its innermost frames alone
 * would not show how many are new. If a chunk must begin, that lists what was open before. */
static void emit_added(struct rec_thread *thread, cpython_frame *f, uint64_t ticks, uint32_t n_new)
{
    PyThreadState *ts = (PyThreadState *)thread->owner;
    struct rec_buffer *buffer = &thread->buffer;
    bool is_deeper;
    uint64_t tag;
    uint32_t n_unknown;
    if (buffer->chunk < 0 || !rec_buffer_has_capacity(buffer, ticks) || !rec_buffer_reserve(buffer, n_new + 1)) {
        cpython_frame *outer = f;
        for (uint32_t i = 0; i < n_new && (outer = rec_threads_recorded_from(ts, outer, &tag)); i++)
            outer = cpython_previous(outer);
        if (!rec_threads_start_chunk(thread, 0, outer, rec_no_frame) || !rec_buffer_reserve(buffer, n_new + 1))
            return;
        ticks = rec_clock_ticks() - buffer->base;
    }
    uint32_t n = collect_stack(ts, f, rec_no_frame, &is_deeper, &n_unknown);
    n = n < n_new ? n : n_new;
    rec_buffer_append(buffer, ticks, PNR_SWITCH, PNR_SWITCH_ADDED, buffer->track.number);
    buffer->n_open += n;
    while (n--)
        rec_buffer_append(buffer, ticks, PNR_OPEN, open_frames[n].frame, open_frames[n].function);
}

void rec_threads_report_stack(struct rec_thread *thread, cpython_frame *f, uint64_t since)
{
    struct rec_buffer *buffer = &thread->buffer;
    uint32_t before = thread->stack.depth, depth = rec_threads_count_recorded((PyThreadState *)thread->owner, f);
    bool is_added = depth > before && depth + thread->stack.c_depth > REC_MAX_LISTED;
    thread->stack.depth = depth;
    if (buffer->chunk < 0) {
        if (is_added)
            emit_added(thread, f, 0, depth - before);
        return;
    }
    uint64_t last = rec_buffer_last_ticks(buffer);
    uint64_t ticks = since > buffer->base ? since - buffer->base : 0;
    uint64_t block = buffer->block;
    struct pnr_record *end = buffer->end;
    ticks = ticks > last ? ticks : last;
    rec_sparse_break();
    buffer->end = buffer->records + PNR_BLOCK_RECORDS;      /* a new chunk would begin now, and not at that time */
    if (is_added) {
        emit_added(thread, f, ticks, depth - before);
    } else {
        buffer->track.block = 0;
        emit_switch_at(thread, f, rec_no_frame, ticks, depth > before ? depth - before : 0,
                       depth >= before && !rec_greenlets.are_used);
    }
    if (buffer->block == block)
        buffer->end = end > buffer->next ? end : buffer->next;
}

void rec_threads_append_in_new_chunk(PyThreadState *ts, struct rec_thread *thread, enum pnr_kind kind,
                                   struct rec_open_frame about, struct rec_open_frame inner)
{
    if (rec_threads_start_chunk(thread, 0, rec_threads_innermost(ts), inner))
        rec_buffer_append(&thread->buffer, rec_clock_ticks() - thread->buffer.base, kind, about.frame, about.function);
}

void rec_threads_append_values(struct rec_thread *thread, enum pnr_kind kind, uint32_t function,
                               const struct pnr_values_writer *values, cpython_frame *from,
                               struct rec_open_frame inner)
{
    struct rec_buffer *buffer = &thread->buffer;
    uint32_t n = 1 + pnr_values_records(values->size);
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    rec_sparse_break();
    if (unlikely(!rec_buffer_has_capacity(buffer, ticks)) || unlikely(!rec_buffer_reserve(buffer, n))) {
        if (!rec_threads_start_chunk(thread, 0, from, inner))
            return;                     /* it is counted as lost */
        if (!rec_buffer_reserve(buffer, n)) {
            rec_buffer_count_lost(buffer);
            return;
        }
        ticks = rec_clock_ticks() - buffer->base;
    }
    rec_buffer_append_values(buffer, ticks, kind, function, values);
}

void rec_threads_step_aside(PyThreadState *ts, bool is_aside)
{
    struct rec_thread *thread = rec_threads_find(ts);
    if (thread)
        thread->is_aside = is_aside;
    rec_threads_forget_current();
}

/* ---- threads ---- */

/* Returns the value of an attribute, without the type's own __getattribute__. Owned, or NULL without exception. */
static PyObject *plain_attribute(PyObject *object, const char *name)
{
    PyObject *key = PyUnicode_InternFromString(name);
    PyObject *value = key ? PyObject_GenericGetAttr(object, key) : NULL;
    Py_XDECREF(key);
    if (!value)
        PyErr_Clear();
    return value;
}

/* Returns threading._active[ts->thread_id]. Owned, or NULL. */
static PyObject *thread_object(const PyThreadState *ts)
{
    PyObject *modules = PySys_GetObject("modules");     /* borrowed; the next ones are owned */
    PyObject *module = modules && PyDict_Check(modules) ? cpython_lookup(modules, threads.threading) : NULL;
    PyObject *active = module && PyModule_Check(module) ?
        cpython_lookup(PyModule_GetDict(module), threads.active) : NULL;
    PyObject *id = active && PyDict_Check(active) ? PyLong_FromUnsignedLong(ts->thread_id) : NULL;
    PyObject *object = id ? cpython_item(active, id) : NULL;
    Py_XDECREF(id);
    Py_XDECREF(active);
    Py_XDECREF(module);
    return object;
}

/* Writes the name of a threading.Thread, if it has one. */
static void write_name_of(const struct rec_thread *thread, PyObject *object)
{
    PyObject *owned, *name = plain_attribute(object, "_name");
    if (name && PyUnicode_Check(name)) {
        rec_name_table_rename_thread(thread->buffer.number, thread->native_id, rec_functions_text(name, &owned));
        Py_XDECREF(owned);
    }
    Py_XDECREF(name);
}

static bool is_thread_of(const struct rec_thread *thread, const PyThreadState *ts)
{
    return thread->owner == ts && thread->owner_id == ts->id;     /* an address is used again, an id is not */
}

struct rec_thread *rec_threads_find(const PyThreadState *ts)
{
    struct rec_thread **recent = &threads.recent[(uintptr_t)ts / 64 % RECENT];
    if (*recent && is_thread_of(*recent, ts))
        return *recent;
    for (struct rec_buffer *buffer = rec_buffer_newest(); buffer; buffer = buffer->older)
        if (is_thread_of(rec_thread_of(buffer), ts))
            return *recent = rec_thread_of(buffer);
    return NULL;
}

const struct rec_thread *rec_threads_find_alive(const PyThreadState *ts)
{
    const struct rec_thread *recent = threads.recent[(uintptr_t)ts / 64 % RECENT];
    if (recent && recent->owner == ts && !recent->is_ending)
        return recent;
    for (struct rec_buffer *buffer = rec_buffer_newest(); buffer; buffer = buffer->older)
        if (rec_thread_of(buffer)->owner == ts && !rec_thread_of(buffer)->is_ending)
            return rec_thread_of(buffer);
    return NULL;
}

bool rec_threads_emit_left(struct rec_thread *thread, uint32_t present)
{
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    if (thread->stack.unhooked_depth <= present)
        return true;
    if (!rec_buffer_has_capacity(&thread->buffer, ticks))
        return false;
    rec_buffer_append(&thread->buffer, ticks, PNR_LEFT, 0, thread->stack.unhooked_depth - present);
    thread->stack.unhooked_depth = present;
    return true;
}

/* Runs when the thread state is cleared (Python/pystate.c, PyThreadState_Clear), the only sign of a thread's end that
 * comes in time. What is cleared after it (thread-local objects) can still run Python code, so the buffer ends only
 * when the thread state is gone. An interpreter that ends clears the states of daemon threads, which stop where they
 * are, and its own as the last: then no more events come, and rec_session_stop ends the buffers. */
static void thread_ended(PyObject *capsule)
{
    struct rec_thread *thread = PyCapsule_GetPointer(capsule, CAPSULE);
    REC_LOCK_BLOCK();
    if (!rec_state_is(REC_RECORDING | REC_WAITING) ||
        (uintptr_t)PyCapsule_GetContext(capsule) != rec_functions.recording)
        return;
    if (cpython_is_finalizing() && thread->owner == PyThreadState_Get()) {
        rec_state_take(REC_EVENT_FINALIZE);
        return;
    }
    thread->is_ending = true;
    rec_threads.n_ending++;
    if (!cpython_is_finalizing() && rec_state_is(REC_RECORDING))
        rec_threads_emit_left(thread, 0);
    rec_threads_forget_current();
}

static void find_gone(void *unused)
{
    (void)unused;
    for (struct rec_buffer *buffer = rec_buffer_newest(); buffer; buffer = buffer->older) {
        struct rec_thread *thread = rec_thread_of(buffer);
        PyThreadState *ts = thread->is_ending ? cpython_first_thread(rec_threads.interp) : NULL;
        while (ts && !is_thread_of(thread, ts))
            ts = cpython_next_thread(ts);
        thread->is_gone = thread->is_ending && !ts;
    }
}

void rec_threads_end_buffers(void)
{
    if (rec_threads.n_ending)
        rec_lock_run_alone(find_gone, NULL);
    for (struct rec_buffer *buffer = rec_buffer_newest(), *older; buffer; buffer = older) {
        struct rec_thread *thread = rec_thread_of(buffer);
        older = buffer->older;
        if (!thread->is_gone)
            continue;
        memset(threads.recent, 0, sizeof threads.recent);
        rec_buffer_end(buffer);
        rec_fork_memory_free(thread);
        rec_threads.n_ending--;
    }
}

/* Puts a capsule into the thread state's dict, so that the buffer ends with the thread state. Garbage is collected
 * between two instructions from CPython 3.12 on; before, a collection could run Python code here. */
static void watch_end(PyThreadState *ts, struct rec_thread *thread)
{
    int was_enabled = PY_VERSION_HEX < 0x030C0000 && PyGC_Disable();
    if (!ts->dict)
        ts->dict = PyDict_New();
    PyObject *capsule = PyCapsule_New(thread, CAPSULE, NULL);
    if (!capsule || !ts->dict || PyCapsule_SetContext(capsule, (void *)(uintptr_t)rec_functions.recording) != 0 ||
        PyDict_SetItem(ts->dict, threads.capsule, capsule) != 0 ||
        PyCapsule_SetDestructor(capsule, thread_ended) != 0)
        PyErr_Clear();                  /* its chunk is then submitted when others need one, or at the end */
    Py_XDECREF(capsule);
    if (was_enabled)
        PyGC_Enable();
}

struct rec_thread *rec_threads_new(PyThreadState *ts)
{
    bool is_main = ts->native_thread_id == (unsigned long)getpid();
    const char *name = is_main ? "MainThread" : "";
    const struct pnr_string text = { name, (uint32_t)strlen(name) };
    PyObject *type, *value, *traceback;
    if (rec_threads.n_ending)           /* not earlier: it takes a look at all threads */
        rec_threads_end_buffers();
    struct rec_thread *thread = rec_fork_memory_new(sizeof *thread);
    if (!thread ||
        !rec_buffer_begin(&thread->buffer, rec_name_table_add_thread((uint32_t)ts->native_thread_id, text))) {
        if (thread)
            rec_fork_memory_free(thread);
        rec_buffer_count_lost(NULL);
        return NULL;
    }
    thread->owner = ts;
    thread->owner_id = ts->id;
    thread->ident = ts->thread_id;
    thread->native_id = (uint32_t)ts->native_thread_id;
    rec_samples_add(thread->buffer.number, thread->native_id, ts);
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *object = thread_object(ts);               /* owned */
    if (object)
        write_name_of(thread, object);
    Py_XDECREF(object);
    watch_end(ts, thread);
    PyErr_Restore(type, value, traceback);
    if (rec_threads.on_new)
        rec_threads.on_new(ts);
    return thread;
}

/* ---- watched functions ---- */

/* An exception ends a thread, unless it is SystemExit. */
static void on_excepthook(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    (void)ts, (void)f, (void)thread;
    PyObject *exception = PyErr_GetHandledException();      /* owned */
    if (rec_threads.on_exception && exception && !PyErr_GivenExceptionMatches(exception, PyExc_SystemExit))
        rec_threads.on_exception();
    Py_XDECREF(exception);
}

/* A threading.Thread begins to run. Until then native_id may be that of the thread that made it. */
static void on_thread_begin(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    PyObject *object = cpython_argument(f, 0);              /* borrowed */
    if (!object)
        return;
    thread->native_id = (uint32_t)ts->native_thread_id;
    thread->ident = ts->thread_id;
    rec_samples_add(thread->buffer.number, thread->native_id, ts);
    write_name_of(thread, object);
}

/* Returns the thread that is recorded under this ident; NULL: there is none. One that has ended may have had it before. */
static const struct rec_thread *find_by_ident(PyThreadState *ts, unsigned long ident)
{
#ifdef Py_GIL_DISABLED                  /* the list of threads may change at this moment */
    (void)ts;
    for (struct rec_buffer *buffer = rec_buffer_newest(); buffer; buffer = buffer->older)
        if (rec_thread_of(buffer)->ident == ident && !rec_thread_of(buffer)->is_ending)
            return rec_thread_of(buffer);
#else
    for (PyThreadState *t = cpython_first_thread(ts->interp); t; t = cpython_next_thread(t))
        if (t->thread_id == ident)
            return rec_threads_find(t);
#endif
    return NULL;
}

/* The program sets the name of a threading.Thread. */
static void on_thread_name(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    PyObject *object = cpython_argument(f, 0), *name = cpython_argument(f, 1), *owned;      /* borrowed */
    PyObject *id = object ? plain_attribute(object, "_ident") : NULL;                       /* owned */
    (void)thread;
    if (name && PyUnicode_Check(name) && id && PyLong_Check(id)) {
        const struct rec_thread *named = find_by_ident(ts, PyLong_AsUnsignedLong(id));
        if (named) {
            rec_name_table_rename_thread(named->buffer.number, named->native_id, rec_functions_text(name, &owned));
            Py_XDECREF(owned);
        }
        PyErr_Clear();
    }
    Py_XDECREF(id);
}

static void write_process_name(PyObject *name)
{
    PyObject *owned;
    if (name && PyUnicode_Check(name)) {
        rec_name_table_add_property("process_name", rec_functions_text(name, &owned).bytes);
        Py_XDECREF(owned);
    }
}

/* A process of multiprocessing begins, which has a name. */
static void on_process_begin(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    PyObject *object = cpython_argument(f, 0);                                      /* borrowed */
    PyObject *name = object ? plain_attribute(object, "_name") : NULL;              /* owned */
    (void)ts, (void)thread;
    write_process_name(name);
    Py_XDECREF(name);
}

/* A worker of execnet begins, and so one of pytest-xdist. Its name is the second argument, as "gw0-worker". */
static void on_execnet_serve(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    (void)ts, (void)thread;
    write_process_name(cpython_argument(f, 1));
}

/* The functions whose calls give a thread or process a name, end a thread, or hand over work. rec_tag_watched gives the
 * row; row 0 stands for no function. */
static const struct {
    const char *module, *qualified_name;
    int n_arguments;
    void (*on_call)(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread);
    void (*on_exit)(PyThreadState *ts, struct rec_thread *thread);      /* NULL: nothing happens */
} watched[] = {
    { 0 },
    { "threading", "Thread._bootstrap_inner", 1, on_thread_begin, NULL },
    { "threading", "Thread.name", 2, on_thread_name, NULL },    /* the property's setter */
    { "threading", "_make_invoke_excepthook.<locals>.invoke_excepthook", 1, on_excepthook, NULL },
    { "multiprocessing.process", "BaseProcess._bootstrap", 2, on_process_begin, NULL },
    { "execnet.gateway_base", "serve", 2, on_execnet_serve, NULL },
#if PY_VERSION_HEX >= 0x030E0000
    { "concurrent.futures.thread", "_WorkItem.__init__", 3, rec_works_submit, NULL },
    { "concurrent.futures.thread", "_WorkItem.run", 2, rec_works_take, rec_works_end },
#else
    { "concurrent.futures.thread", "_WorkItem.__init__", 5, rec_works_submit, NULL },
    { "concurrent.futures.thread", "_WorkItem.run", 1, rec_works_take, rec_works_end },
#endif
};
#define N_WATCHED (sizeof watched / sizeof *watched)
_Static_assert(N_WATCHED - 1 <= REC_TAG_MAX_WATCHED, "a tag has three bits for the row");

static bool is_watched_text(struct pnr_string s, const char *text)
{
    return s.size == strlen(text) && memcmp(s.bytes, text, s.size) == 0;
}

uint64_t rec_threads_watch(const PyCodeObject *code, const struct pnr_string strings[3])
{
    for (size_t row = 1; row < N_WATCHED; row++)
        if (is_watched_text(strings[0], watched[row].module) &&
            is_watched_text(strings[1], watched[row].qualified_name) && code->co_argcount == watched[row].n_arguments)
            return row;
    return 0;
}

void rec_threads_on_watched_call(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread, uint64_t tag)
{
    watched[rec_tag_watched(tag)].on_call(ts, f, thread);
}

void rec_threads_on_watched_exit(PyThreadState *ts, struct rec_thread *thread, uint64_t tag)
{
    if (watched[rec_tag_watched(tag)].on_exit)
        watched[rec_tag_watched(tag)].on_exit(ts, thread);
}

/* ---- interface ---- */

void rec_threads_refresh_name(const PyThreadState *ts, const struct rec_thread *thread)
{
    PyObject *object = thread_object(ts);               /* owned */
    if (object)
        write_name_of(thread, object);
    Py_XDECREF(object);
}

int rec_threads_init(void)
{
    threads.capsule = PyUnicode_InternFromString(CAPSULE);
    threads.threading = PyUnicode_InternFromString("threading");
    threads.active = PyUnicode_InternFromString("_active");
    return PyErr_Occurred() ? -1 : 0;
}

void rec_threads_change_engine(void)
{
    rec_threads.has_delayed_entry_events = rec_threads.has_late_exits = false;
    rec_threads.before_c_call = NULL;
    rec_threads.resync = NULL;
    for (struct rec_buffer *buffer = rec_buffer_newest(); buffer; buffer = buffer->older)
        rec_thread_of(buffer)->stack.window_size = 0;
    rec_greenlets_change();
}

void rec_threads_start(PyInterpreterState *interp)
{
    rec_fork_memory_start();
    memset(threads.recent, 0, sizeof threads.recent);
    rec_threads.interp = interp;
    rec_threads.n_ending = 0;
    rec_threads.missing = NULL;
    rec_threads.has_delayed_entry_events = rec_threads.has_late_exits = false;
    rec_threads.on_new = NULL;
    rec_threads.before_c_call = NULL;
    rec_threads.resync = NULL;
    rec_state_take(REC_EVENT_STARTED);
}
