/* The monitoring engine: the events of sys.monitoring (PEP 669), from CPython 3.12 on. Slower than the frame engine,
 * and documented: it needs no frame evaluation function, no C stack, and of the interpreter's internals only what
 * internals.h reads of a frame. specs/recording.md tells which record comes of what.
 *
 * CPython tells the events of a frame while the frame is the running one, but leaves some exits untold; the
 * reader of a capture sees them by the next exit further out. */
#include "greenlets.h"
#include "tool.h"

#include <opcode.h>

#include "../filter.h"
#include "engine.h"

#if PY_VERSION_HEX >= 0x030C0000

static uint32_t epoch;                  /* raised when events may have been missed on all threads */

#define CONTINUABLE (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR)

/* A thread's first chunk, and the first after a pause. */
static bool begin_log(PyThreadState *ts, struct rec_thread *thread, uint16_t flags, cpython_frame *from)
{
    thread->pauses = rec_threads.n_pauses;
    thread->epoch = epoch;
    thread->stack.c_depth = 0;
    thread->stack.depth = rec_threads_count_recorded(ts, from);
    return rec_threads_start_chunk(thread, flags, from, rec_no_frame);
}

/* For an event that is not the last one's thread's: finds the buffer and makes it the current one. from: the innermost
 * frame that was open before the event. NULL when nothing is recorded. */
static struct rec_thread *catch_up(PyThreadState *ts, cpython_frame *from)
{
    if (!rec_threads_activate_if_pending(ts)) {
        if (!rec_threads.is_active && !rec_threads.is_waiting && !cpython_is_finalizing())
            rec_tool_end();             /* a failure */
        return NULL;
    }
    if (rec_session_is_closed()) {
        rec_threads_disable();
        return NULL;
    }
    struct rec_thread *thread = rec_threads_find(ts);
    bool is_new = !thread;
    if (is_new && !(thread = rec_threads_new(ts)))
        return NULL;
    rec_current = thread->is_ending || !rec_drain_unpark() ? &rec_no_thread : thread;
    enum rec_greenlets_change change = rec_greenlets.are_used ? rec_greenlets_notice(ts, thread, NULL) : REC_GREENLETS_SAME;
    if (is_new || thread->pauses != rec_threads.n_pauses || thread->epoch != epoch) {
        uint16_t flags = is_new ? 0 : thread->pauses != rec_threads.n_pauses ? PNR_BLOCK_PAUSED : PNR_BLOCK_RESYNC;
        return begin_log(ts, thread, flags, from) ? thread : NULL;
    }
    if (change == REC_GREENLETS_NEW)
        thread->stack.depth = rec_threads_count_recorded(ts, from);
    if (change != REC_GREENLETS_SAME)
        rec_threads_emit_switch(thread, from, rec_no_frame);
    return thread;
}

/* Frames that the program does not know of (rec_engine_run_detached) are left when it has ended. Returns whether there
 * is one that can be left. */
static inline bool count(struct rec_thread *thread, enum pnr_kind kind)
{
    if (pnr_kind_enters_frame(kind))
        thread->stack.depth++;
    else if (thread->stack.depth == 0)
        return false;
    else
        thread->stack.depth--;
    return true;
}

/* True for a function that a filter excludes, not for the recorder's own. */
static bool is_filtered(const cpython_frame *f)
{
    PyObject *key = PyUnicode_InternFromString("__name__"), *owned[2];
    struct pnr_string module = rec_functions_text(key ? cpython_lookup(cpython_globals(f), key) : NULL, &owned[0]);
    struct pnr_string file = rec_functions_text(cpython_code(f)->co_filename, &owned[1]);
    bool is = rec_filter_excludes(module, file);
    Py_XDECREF(owned[0]);
    Py_XDECREF(owned[1]);
    Py_XDECREF(key);
    return is;
}

/* The answer to an event of a function that leaves no records. The recorder's own functions go on to tell their few:
 * what is disabled comes back only if the next recording brings back the events that all tools have disabled. */
static PyObject *exclude(const cpython_frame *f, bool can_disable)
{
    return can_disable && is_filtered(f) ? rec_tool_disable() : rec_tool_nothing();
}

/* An exit from what was shorter than the minimum duration takes its entry back instead. */
static inline void store(struct rec_thread *thread, uint64_t ticks, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    if (pnr_kind_enters_frame(kind) || !rec_min_duration_ticks || !rec_buffer_elide(&thread->buffer, ticks, kind, frame, function))
        rec_buffer_append(&thread->buffer, ticks, kind, frame, function);
}

static __attribute__((noinline)) PyObject *append_slowly(PyThreadState *ts, PyCodeObject *code, enum pnr_kind kind,
                                                         bool can_disable)
{
    cpython_frame *f = cpython_running(ts);
    if (!f || cpython_code(f) != code)
        return rec_tool_nothing();
    struct rec_thread *thread = catch_up(ts, pnr_kind_enters_frame(kind) ? cpython_previous(f) : f);
    uint64_t tag = thread ? rec_functions_tag(f) : 0;
    if (!tag)
        return rec_tool_nothing();
    bool names = rec_tag_watched(tag) && kind == PNR_CALL;
    if (names)
        rec_threads_on_watched_call(ts, f, thread, tag);
    if (rec_tag_flags(tag) & REC_TAG_EXCLUDED)
        return exclude(f, can_disable && !names);
    if (!count(thread, kind))
        return rec_tool_nothing();
    uint64_t frame = rec_tag_flags(tag) & REC_TAG_CONTINUABLE ? rec_frame_identity(f) : 0;
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    if (!rec_buffer_has_capacity(&thread->buffer, ticks)) {
        const struct rec_open_frame self = { frame, (uint32_t)tag };
        if (!rec_threads_start_chunk(thread, 0, cpython_previous(f), pnr_kind_enters_frame(kind) ? rec_no_frame : self))
            return rec_tool_nothing();
        ticks = rec_clock_ticks() - thread->buffer.base;
    }
    store(thread, ticks, kind, frame, (uint32_t)tag);
    return rec_tool_nothing();
}

/* Another greenlet may run than at the last event; a new one begins with its first frame. */
static inline bool may_be_other(PyThreadState *ts, const struct rec_thread *thread, enum pnr_kind kind)
{
    return cpython_data_stack(ts) != thread->data_stack || rec_greenlets.has_bare ||
           (pnr_kind_enters_frame(kind) && cpython_is_outermost(cpython_running(ts)));
}

/* plain and continuable: the kinds of record for a function that is the one or the other. */
static inline PyObject *append(PyObject *code, enum pnr_kind plain, enum pnr_kind continuable, bool can_disable)
{
    PyThreadState *ts = PyThreadState_Get();
    struct rec_thread *thread = rec_current;
    uint64_t tag = cpython_code_value((PyCodeObject *)code, rec_functions.extra_index);
    bool is_plain = tag >> 32 == rec_functions.plain;
    bool is_continuable = tag >> 32 == (rec_functions.plain | REC_TAG_CONTINUABLE);
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    if (unlikely(thread->owner != ts) || unlikely(rec_greenlets.are_used && may_be_other(ts, thread, plain)) ||
        unlikely(!is_plain && !is_continuable) || unlikely(!rec_buffer_has_capacity(&thread->buffer, ticks)))
        return append_slowly(ts, (PyCodeObject *)code,
                             ((PyCodeObject *)code)->co_flags & CONTINUABLE ?
                             continuable : plain, can_disable);
    if (unlikely(!count(thread, plain)))
        return rec_tool_nothing();
    if (is_plain)
        store(thread, ticks, plain, 0, (uint32_t)tag);
    else
        store(thread, ticks, continuable, rec_frame_identity(cpython_running(ts)), (uint32_t)tag);
    return rec_tool_nothing();
}

#define CALLBACK(name, plain, continuable, can_disable) \
    static PyObject *name(PyObject *self, PyObject *const *args, size_t n, PyObject *names) \
    { \
        (void)self, (void)n, (void)names; \
        return append(args[0], plain, continuable, can_disable); \
    }

CALLBACK(on_start, PNR_CALL, PNR_START, true)
CALLBACK(on_resume, PNR_RESUME, PNR_RESUME, true)
CALLBACK(on_throw, PNR_RESUME, PNR_RESUME, false)
CALLBACK(on_return, PNR_RETURN, PNR_FINISH, true)
CALLBACK(on_yield, PNR_YIELD, PNR_YIELD, true)

/* True when the exception that leaves a frame here may have come out of another tool's callback for its entry or exit:
 * of two tools that watch a place, the first one that raises keeps the other from being called. Generators raise all
 * exceptions again at their end. */
static bool may_come_from_tool(PyCodeObject *code, PyObject *offset)
{
    static const bool is_watched[256] = {
        [RESUME] = true, [YIELD_VALUE] = true, [RETURN_VALUE] = true,
#ifdef RETURN_CONST
        [RETURN_CONST] = true,
#endif
    };
    if (code->co_flags & CONTINUABLE)
        return true;
    PyObject *bytes = PyCode_GetCode(code);     /* owned; without what instrumentation has made of it */
    if (!bytes) {
        PyErr_Clear();
        return false;
    }
    long at = PyLong_AsLong(offset);
    while (at > 0 && PyBytes_AS_STRING(bytes)[at] == CACHE)      /* of RESUME, from 3.15 on */
        at -= (long)sizeof(uint16_t);
    unsigned char opcode = (unsigned char)PyBytes_AS_STRING(bytes)[at];
    Py_DECREF(bytes);
    return is_watched[opcode];
}

/* How many recorded frames there are outwards of one that an exception is about to leave. For all frames that it leaves
 * they are counted once: when nothing but the exit of the last one was recorded since, there is one less. */
static uint32_t count_outside(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f)
{
    uint64_t tag;
    bool follows = thread->unwound.outer == f && thread->unwound.depth == thread->stack.depth + 1 &&
                   thread->unwound.block == thread->buffer.block && thread->unwound.next + 1 == thread->buffer.next;
    if (follows) {
        unsigned kind = pnr_record_kind(thread->buffer.next[-1]);
        follows = kind == PNR_UNWIND || kind == PNR_FINISH_UNWIND;
    }
    cpython_frame *outer = rec_threads_recorded_from(ts, cpython_previous(f), &tag);
    thread->unwound.n_outside = follows ? thread->unwound.n_outside - 1 : rec_threads_count_recorded(ts, outer);
    thread->unwound.depth = thread->stack.depth;
    thread->unwound.next = thread->buffer.next;
    thread->unwound.block = thread->buffer.block;
    thread->unwound.outer = outer;
    return thread->unwound.n_outside;
}

/* True when the records have left the running frame already, or it was never entered in them: it is one too many. */
static bool is_left(PyThreadState *ts)
{
    cpython_frame *f = cpython_running(ts);
    struct rec_thread *thread = rec_threads.is_active ? rec_threads_find(ts) : NULL;
    if (thread && rec_greenlets.are_used)
        thread = catch_up(ts, f);
    uint64_t tag = f && thread ? rec_functions_tag(f) : 0;
    if (!tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED)
        return false;
    if (thread->buffer.chunk >= 0 && thread->buffer.next != thread->buffer.first && rec_tag_flags(tag) & REC_TAG_CONTINUABLE &&
        pnr_record_frame(thread->buffer.next[-1]) == rec_frame_identity(f))
        return !pnr_kind_enters_frame(pnr_record_kind(thread->buffer.next[-1]));
    return thread->stack.depth <= count_outside(ts, thread, f);
}

static PyObject *on_unwind(PyObject *self, PyObject *const *args, size_t n, PyObject *names)
{
    (void)self, (void)n, (void)names;
    if (may_come_from_tool((PyCodeObject *)args[0], args[1]) && is_left(PyThreadState_Get()))
        return rec_tool_nothing();
    return append(args[0], PNR_UNWIND, PNR_FINISH_UNWIND, false);
}

/* Called in the midst of an event, of a fork or of the interpreter's end: the callbacks find out. At the end it is the
 * last time that the number can be looked at. */
static void give_up(void)
{
    if (cpython_is_finalizing() && !rec_tool_look())
        rec_threads.missing = REC_TOOL_TAKEN;
}

static int listen(void)
{
    static const struct { const char *event; rec_tool_callback callback; } events[] = {
        { "PY_START", on_start }, { "PY_RESUME", on_resume }, { "PY_THROW", on_throw },
        { "PY_RETURN", on_return }, { "PY_YIELD", on_yield }, { "PY_UNWIND", on_unwind }
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (rec_tool_listen(events[i].event, events[i].callback) != 0)
            return -1;
    return 0;
}

/* Returns 0, or -1 with an exception set. */
static int begin_threads(void)
{
    PyThreadState *oldest = PyInterpreterState_ThreadHead(rec_threads.interp);
    while (PyThreadState_Next(oldest))
        oldest = PyThreadState_Next(oldest);
    for (PyThreadState *ts = oldest; ts; ts = ts->prev) {
        struct rec_thread *thread = rec_threads_new(ts);
        if (!thread || !begin_log(ts, thread, 0, cpython_running(ts))) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

static void sync_before_c_call(PyThreadState *ts)
{
    if (rec_greenlets.are_used && (rec_greenlets.has_bare || cpython_data_stack(ts) != rec_current->data_stack))
        catch_up(ts, cpython_running(ts));
}

static void prepare(void)
{
    rec_functions_start();
    rec_threads_start(PyInterpreterState_Get(), give_up);
    rec_threads.before_c_call = sync_before_c_call;
    rec_greenlets_start(NULL);
}

/* In a forked child, whose one thread begins with the event that this is called at. */
static int begin(void)
{
    prepare();
    rec_threads.is_told = true;
    return 0;
}

static int begin_all(void)
{
    prepare();
    if (begin_threads() != 0)
        return -1;
    rec_threads.is_told = true;         /* of what is entered from now on */
    return 0;
}

static int start(void)
{
    if (rec_tool_begin() != 0)
        return -1;
    if (listen() == 0 && begin_all() == 0 && rec_tool_watch() == 0)
        return 0;
    rec_threads.is_active = false;
    rec_tool_end();
    return -1;
}

static void look(void)
{
    if (rec_tool_look())
        return;
    rec_threads.missing = REC_TOOL_TAKEN;
    rec_threads_forget_current();
    epoch++;
}

static bool needs_look(void) { return true; }

static int take_over(void)
{
    if ((!rec_tool_has_begun() && rec_tool_begin() != 0) || listen() != 0)
        return -1;
    rec_threads_change_engine(give_up);
    rec_threads.before_c_call = sync_before_c_call;
    rec_threads.is_told = true;
    return 0;
}

static void stop(bool is_finalized)
{
    if (!is_finalized && !rec_tool_end())
        rec_threads.missing = REC_TOOL_TAKEN;
    if (is_finalized || !rec_threads.is_active) {
        rec_threads.is_active = false;
        return;
    }
    rec_threads_end_buffers();
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (thread)
            rec_threads_refresh_name(ts, thread);
    }
    rec_threads_disable();
}

static const struct rec_engine monitoring = {
    .name = "monitoring", .start = start, .begin = begin, .pause = rec_tool_pause, .resume = rec_tool_resume,
    .look = look, .needs_look = needs_look, .take_over = take_over, .stop = stop };
const struct rec_engine *const rec_engine_monitoring = &monitoring;

#else

const struct rec_engine *const rec_engine_monitoring = NULL;

#endif
