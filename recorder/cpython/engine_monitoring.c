/* The monitoring engine: the events of sys.monitoring (PEP 669), from CPython 3.12 on. It is slower than the frame
 * engine, and a documented interface: it needs no frame evaluation function, no C stack, and of the interpreter's
 * internals only what internals.h reads of a frame. specs/recording.md has the record for each event.
 *
 * CPython reports the events of a frame while the frame is the running one. It omits some exits (cpython issue 140373);
 * the reader of a capture finds them by the next exit further out. */
#include "greenlets.h"
#include "arguments.h"
#include "codes.h"
#include "tool.h"

#include <opcode.h>

#include "engine.h"
#include "free_threading.h"
#include "lives.h"
#include "muted.h"
#include "muted_exits.h"
#include "task_names.h"

#if PY_VERSION_HEX >= 0x030C0000

#define CONTINUABLE (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR)

/* Starts a thread's first chunk, or the first one after events may have been missed. */
static bool open_thread(PyThreadState *ts, struct rec_thread *thread, uint16_t flags, cpython_frame *from)
{
    thread->epoch = rec_state.epoch;
    thread->stack.c_depth = 0;
    thread->stack.depth = rec_threads_count_recorded(ts, from);
    return rec_threads_start_chunk(thread, flags, from, rec_no_frame);
}

/* Finds the thread of an event that is not fast and makes it the current one. from: the innermost frame that was open
 * before the event. Returns NULL when nothing is recorded. */
static struct rec_thread *resync_monitored_thread(PyThreadState *ts, cpython_frame *from)
{
    if (!rec_threads_activate_if_pending(ts)) {
        if (!rec_state_is(REC_RECORDING | REC_WAITING | REC_STARTING) && !cpython_is_finalizing())
            rec_codes_end();            /* a failure; not an event from before a start */
        return NULL;
    }
    if (rec_session_is_closed()) {
        rec_state_take(REC_EVENT_FAILURE);
        return NULL;
    }
    struct rec_thread *thread = rec_threads_find(ts);
    bool is_new = !thread;
    if (!is_new && thread->is_aside)
        return NULL;
    if (is_new && !(thread = rec_threads_new(ts)))
        return NULL;
    rec_current = thread->is_ending || !rec_worker_unpark() || rec_greenlets_are_awaited() ? &rec_no_thread : thread;
    rec_sparse_break();
    if (unlikely(rec_greenlets.are_used) && rec_free_threading_ends_at_greenlets())
        return NULL;
    enum rec_greenlets_change change = rec_greenlets.are_used ? rec_greenlets_notice(ts, thread, NULL) :
                                                                REC_GREENLETS_SAME;
    uint16_t flags;
    if (rec_threads_is_out_of_date(thread, &flags))
        return open_thread(ts, thread, is_new ? 0 : flags, from) ? thread : NULL;
    rec_greenlets_follow(ts, thread, from, change);
    return thread;
}

/* Counts a frame that is entered or left. Returns false for the exit of a frame that was never entered in the records:
 * those outside of a detached program (rec_engine_run_detached) are left when it has ended. */
static inline bool count_frame(struct rec_thread *thread, enum pnr_kind kind)
{
    if (pnr_kind_enters_frame(kind))
        thread->stack.depth++;
    else if (thread->stack.depth == 0)
        return false;
    else
        thread->stack.depth--;
    return true;
}

/* Returns the kind of record for an event of a boundary function: the first run that is recorded begins a life. */
static enum pnr_kind kind_in_life(enum pnr_kind kind, uint64_t frame)
{
    if (kind == PNR_START || kind == PNR_RESUME)
        return rec_lives_enter(frame, kind == PNR_START) ? PNR_START : PNR_RESUME;
    if (kind == PNR_FINISH || kind == PNR_FINISH_UNWIND)
        rec_lives_end(frame);
    else
        rec_lives_enter(frame, false);  /* the run may have been open when recording began */
    return kind;
}

/* Takes notice of an event that is not recorded. The first one of a life may be PY_THROW, which does not say so. */
static void skip_in_life(enum pnr_kind kind, const cpython_frame *f)
{
    if (kind == PNR_START || kind == PNR_FINISH || kind == PNR_FINISH_UNWIND)
        rec_lives_end(rec_frame_identity(f));
}

/* True for an event of a boundary function that is not recorded, where nothing else is to be done at it. */
static bool is_beyond_boundary(PyThreadState *ts, const cpython_frame *f)
{
    uint64_t tag = rec_tag_peek(f);
    return rec_tag_is_current(tag) && rec_tag_flags(tag) & REC_TAG_BOUNDARY && !rec_tag_watched(tag) &&
           rec_current->owner == ts && !rec_greenlets.are_used && !rec_functions_is_full(cpython_previous(f));
}

/* Stores an event. An exit from a call that was shorter than the minimum duration retracts the entry instead. With a
 * sparse clock there is no minimum. */
static inline void store_event(struct rec_thread *thread, uint64_t ticks, enum pnr_kind kind, uint64_t frame,
                               uint32_t function, bool is_sparse)
{
    if (is_sparse || pnr_kind_enters_frame(kind) || !rec_min_duration_ticks ||
        !rec_buffer_elide(&thread->buffer, ticks, kind, frame, function))
        rec_buffer_append(&thread->buffer, ticks, kind, frame, function);
}

/* Appends an event that is not fast. values: arguments or a result, without bytes if there are none; or NULL. */
static void append_with_values(PyThreadState *ts, cpython_frame *f, struct rec_thread *thread, uint64_t tag,
                               enum pnr_kind kind, const struct pnr_values_writer *values)
{
    if (rec_tag_flags(tag) & REC_TAG_SLOW && !rec_muted_exits_filter(ts, thread, f, (uint32_t)tag, kind))
        return;
    if (!count_frame(thread, kind))
        return;
    uint64_t frame = rec_tag_flags(tag) & REC_TAG_CONTINUABLE ? rec_frame_identity(f) : 0;
    if (frame && rec_tag_flags(tag) & REC_TAG_BOUNDARY)
        kind = kind_in_life(kind, frame);
    const struct rec_open_frame self = { frame, (uint32_t)tag };
    bool is_entry = pnr_kind_enters_frame(kind);
    if (values && values->size && !is_entry)
        rec_threads_append_values(thread, PNR_RESULT, (uint32_t)tag, values, cpython_previous(f), self);
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    if (!rec_buffer_has_capacity(&thread->buffer, ticks)) {
        if (!rec_threads_start_chunk(thread, 0, cpython_previous(f), is_entry ? rec_no_frame : self))
            return;
        ticks = rec_clock_ticks() - thread->buffer.base;
    }
    store_event(thread, ticks, kind, frame, (uint32_t)tag, false);
    if (values && values->size && is_entry)
        rec_threads_append_values(thread, PNR_ARGUMENTS, (uint32_t)tag, values, cpython_previous(f), self);
    rec_sparse_break();
}

/* Reads the arguments or the result of the call, which may run code of the program, and then appends the event. outcome: the
 * result, or the exception that leaves the frame; NULL at an entry. */
static __attribute__((noinline)) void read_and_append(PyThreadState *ts, cpython_frame *f, struct rec_thread *thread,
                                                      uint64_t tag, enum pnr_kind kind, PyObject *outcome)
{
    struct pnr_values_writer values;
    bool is_exception = pnr_kind_effect(kind).traits & PNR_EXCEPTION, is_entry = pnr_kind_enters_frame(kind);
    bool has_run = is_entry ? rec_arguments_read(&values, f, true, (uint32_t)tag) :
                              rec_arguments_read_result(&values, is_exception ? NULL : outcome,
                                                        is_exception ? Py_TYPE(outcome) : NULL, (uint32_t)tag);
    if (has_run) {
        thread = resync_monitored_thread(ts, is_entry ? cpython_previous(f) : f);
        if (thread && !rec_tag_is_current(tag)) {
            tag = rec_functions_tag_call(f, cpython_previous(f));
            values.size = 0;            /* its keys are numbers of the recording before */
        }
        if (!thread || !tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED)
            return;
    }
    append_with_values(ts, f, thread, tag, kind, &values);
}

/* Appends what is known of the task whose coroutine runs, if it is one: after its first entry, or before an exit. awaited: what
 * it yields, or NULL. */
static __attribute__((noinline)) void append_task(cpython_frame *f, struct rec_thread *thread, uint64_t tag, bool is_first,
                                                  PyObject *awaited)
{
    struct pnr_values_writer values;
    if (rec_task_names_read(&values, f, is_first, awaited))
        rec_threads_append_values(thread, PNR_TASK, (uint32_t)tag, &values, cpython_previous(f),
                                  (struct rec_open_frame){ rec_frame_identity(f), (uint32_t)tag });
}

/* outcome: the result of the call, or the exception that leaves it; NULL where no values are recorded. */
static __attribute__((noinline)) PyObject *append_event_slowly(PyThreadState *ts, PyCodeObject *code, enum pnr_kind kind,
                                                               PyObject *outcome)
{
    cpython_frame *f = cpython_running(ts);
    REC_LOCK_BLOCK();
    if (!f || cpython_code(f) != code || rec_tag_peek(f) == (uint64_t)rec_functions.plain << 32)
        return rec_tool_nothing();      /* the last is the function that is called to measure an event (event_cost.c) */
    if (is_beyond_boundary(ts, f)) {
        skip_in_life(kind, f);
        return rec_tool_nothing();
    }
    struct rec_thread *thread = resync_monitored_thread(ts, pnr_kind_enters_frame(kind) ? cpython_previous(f) : f);
    uint64_t tag = thread ? rec_functions_tag_call(f, cpython_previous(f)) : 0;
    if (!tag)
        return rec_tool_nothing();
    if (rec_tag_watched(tag) && kind == PNR_CALL)
        rec_threads_on_watched_call(ts, f, thread, tag);
    if (rec_tag_flags(tag) & REC_TAG_EXCLUDED) {
        if (rec_tag_watched(tag) && kind == PNR_RETURN)
            rec_threads_on_watched_exit(ts, thread, tag);
        if (rec_tag_flags(tag) & REC_TAG_BOUNDARY)
            skip_in_life(kind, f);
        return rec_tool_nothing();
    }
    bool has_values = unlikely(rec_tag_flags(tag) & REC_TAG_VALUES) && kind != PNR_RESUME && kind != PNR_YIELD &&
                      (outcome || pnr_kind_enters_frame(kind)) && !rec_muted_is_silent((uint32_t)tag);
    bool has_task = unlikely(rec_tag_flags(tag) & REC_TAG_VALUES) && rec_tag_flags(tag) & REC_TAG_CONTINUABLE &&
                    rec_task_names_are_on() && !rec_muted_is_silent((uint32_t)tag);
    if (has_task && !pnr_kind_enters_frame(kind))
        append_task(f, thread, tag, false, kind == PNR_YIELD ? outcome : NULL);
    if (has_values)
        read_and_append(ts, f, thread, tag, kind, outcome);
    else
        append_with_values(ts, f, thread, tag, kind, NULL);
    if (has_task && kind == PNR_START && (thread = resync_monitored_thread(ts, f)))
        append_task(f, thread, tag, true, NULL);
    return rec_tool_nothing();
}

/* Returns true when another greenlet may run than at the last event; a new one begins with its first frame. */
static inline bool may_be_other_greenlet(PyThreadState *ts, const struct rec_thread *thread, enum pnr_kind kind)
{
    return cpython_data_stack(ts) != thread->data_stack || rec_greenlets.has_bare ||
           (pnr_kind_enters_frame(kind) && cpython_is_outermost(cpython_running(ts)));
}

static inline enum pnr_kind kind_by_code(const PyCodeObject *code, enum pnr_kind plain, enum pnr_kind continuable)
{
    return code->co_flags & CONTINUABLE ? continuable : plain;
}

/* Appends an event. args: of its callback. plain, continuable: the kinds of record for a function that is the one or the
 * other. is_sparse: the clock is. is_valued: args[2] is the outcome, which may be recorded. Both are constants, so that the
 * other cases do not pay. */
static inline __attribute__((always_inline)) PyObject *append_event(PyObject *const *args, enum pnr_kind plain,
                                                                    enum pnr_kind continuable, bool is_sparse,
                                                                    bool is_valued)
{
    PyCodeObject *code = (PyCodeObject *)args[0];
    PyThreadState *ts = PyThreadState_Get();
    struct rec_thread *thread = rec_current;
    uint64_t tag = cpython_code_value(code, rec_functions.extra_index);
    bool is_plain = tag >> 32 == rec_functions.plain;
    bool is_continuable = tag >> 32 == (rec_functions.plain | REC_TAG_CONTINUABLE);
    bool is_exit = !pnr_kind_enters_frame(plain);
    uint8_t mode = is_sparse ? rec_sparse_mode_of((uint32_t)tag) : 0;
    bool skips = is_sparse && rec_sparse_may_skip(thread->buffer.next, mode, is_exit);
    uint64_t ticks = skips ? 0 : rec_clock_ticks() - thread->buffer.base;
    if (unlikely(thread->owner != ts) || unlikely(rec_greenlets.are_used && may_be_other_greenlet(ts, thread, plain)) ||
        unlikely(!is_plain && !is_continuable) || unlikely(!rec_buffer_has_capacity(&thread->buffer, ticks)))
        return append_event_slowly(ts, code, kind_by_code(code, plain, continuable), is_valued ? args[2] : NULL);
    if (unlikely(!count_frame(thread, plain)))
        return rec_tool_nothing();
    if (is_plain)
        store_event(thread, ticks, plain, 0, (uint32_t)tag, is_sparse);
    else
        store_event(thread, ticks, continuable, rec_frame_identity(cpython_running(ts)), (uint32_t)tag, is_sparse);
    if (is_sparse && !skips)
        rec_sparse_allow(thread->buffer.next, thread->buffer.end, mode, is_exit);
    return rec_tool_nothing();
}

/* True when an entry is reported by the code object's own event. Without a GIL another thread may have added it, or add it
 * now: then this entry is still without, as threads are stopped while events are set. So this asks what was set, and before
 * the lock, for which this thread may be stopped. */
static bool reports_itself(const PyCodeObject *code, enum pnr_kind kind)
{
#ifdef Py_GIL_DISABLED
    int event = kind == PNR_RESUME ? PY_MONITORING_EVENT_PY_RESUME : PY_MONITORING_EVENT_PY_START;
    long tool = rec_tool_number();
    return tool >= 0 && code->_co_monitoring && code->_co_monitoring->local_monitors.tools[event] >> tool & 1;
#else
    (void)kind;
    return rec_codes_has(code);
#endif
}

/* Notes a code object: it has events of its own from here on. Its first entry comes with this event only. Where it is
 * known already, as it is after a pause, its own events report this entry. */
static PyObject *note_code(PyCodeObject *code, enum pnr_kind kind)
{
    bool is_reported = reports_itself(code, kind);
    REC_LOCK_BLOCK();
    if (!is_reported)
        Py_DECREF(append_event_slowly(PyThreadState_Get(), code, kind, NULL));
    return rec_codes_has(code) ? rec_tool_disable() : rec_tool_nothing();
}

#define CALLBACK(name, action) \
    static PyObject *name(PyObject *self, PyObject *const *args, size_t n, PyObject *names) \
    { \
        (void)self, (void)n, (void)names; \
        return action; \
    }

CALLBACK(note_at_start, note_code((PyCodeObject *)args[0], kind_by_code((PyCodeObject *)args[0], PNR_CALL, PNR_START)))
CALLBACK(note_at_resume, note_code((PyCodeObject *)args[0], PNR_RESUME))
CALLBACK(on_start, append_event(args, PNR_CALL, PNR_START, false, false))
CALLBACK(on_resume, append_event(args, PNR_RESUME, PNR_RESUME, false, false))
CALLBACK(on_throw, append_event(args, PNR_RESUME, PNR_RESUME, false, false))
CALLBACK(on_return, append_event(args, PNR_RETURN, PNR_FINISH, false, false))
CALLBACK(on_yield, append_event(args, PNR_YIELD, PNR_YIELD, false, false))
CALLBACK(on_sparse_start, append_event(args, PNR_CALL, PNR_START, true, false))
CALLBACK(on_sparse_resume, append_event(args, PNR_RESUME, PNR_RESUME, true, false))
CALLBACK(on_sparse_return, append_event(args, PNR_RETURN, PNR_FINISH, true, false))
CALLBACK(on_sparse_yield, append_event(args, PNR_YIELD, PNR_YIELD, true, false))
CALLBACK(on_valued_yield, append_event(args, PNR_YIELD, PNR_YIELD, false, true))
CALLBACK(on_valued_sparse_yield, append_event(args, PNR_YIELD, PNR_YIELD, true, true))
CALLBACK(on_valued_return, append_event(args, PNR_RETURN, PNR_FINISH, false, true))
CALLBACK(on_valued_sparse_return, append_event(args, PNR_RETURN, PNR_FINISH, true, true))

/* Returns true when the exception that leaves a frame here may have come out of another tool's callback for its entry
 * or exit. Of two tools that watch an instruction, the first one that raises keeps the other one from being called
 * (Python/instrumentation.c, call_instrumentation_vector). Generators raise all exceptions again at their end. */
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

/* Counts the recorded frames outwards of one that an exception is about to leave. They are counted once for all frames
 * that the exception leaves: if nothing but the exit of the last one was recorded since, there is one less. */
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

/* Returns true when the records have left the running frame already, or have never entered it. Then nothing more is
 * expected of it. */
static bool is_left_already(PyThreadState *ts)
{
    REC_LOCK_BLOCK();
    cpython_frame *f = cpython_running(ts);
    struct rec_thread *thread = rec_state_is(REC_RECORDING) ? rec_threads_find(ts) : NULL;
    if (thread && rec_greenlets.are_used)
        thread = resync_monitored_thread(ts, f);
    uint64_t tag = f && thread ? rec_functions_tag_call(f, cpython_previous(f)) : 0;
    if (!tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED)
        return false;
    const struct rec_buffer *buffer = &thread->buffer;
    bool is_left;
    if (buffer->chunk >= 0 && buffer->next != buffer->first && rec_tag_flags(tag) & REC_TAG_CONTINUABLE &&
        pnr_record_frame(buffer->next[-1]) == rec_frame_identity(f))
        is_left = pnr_kind_effect(pnr_record_kind(buffer->next[-1])).effect == PNR_EFFECT_LEAVE;
    else
        is_left = thread->stack.depth <= count_outside(ts, thread, f);
    if (is_left && rec_tag_flags(tag) & REC_TAG_SLOW)
        rec_muted_exits_skip(f, (uint32_t)tag);
    return is_left;
}

/* True for a function that has no records, whatever its caller is. */
static bool is_excluded(const PyCodeObject *code)
{
    uint64_t tag = cpython_code_value(code, rec_functions.extra_index);
    return rec_tag_is_current(tag) && rec_tag_flags(tag) & REC_TAG_EXCLUDED;
}

/* Before CPython 3.15 this event comes from all code: that which is excluded must not cost more than the look at its tag. */
static inline PyObject *append_unwind(PyObject *const *args, bool is_sparse, bool is_valued)
{
    if (is_excluded((PyCodeObject *)args[0]) ||
        (may_come_from_tool((PyCodeObject *)args[0], args[1]) && is_left_already(PyThreadState_Get())))
        return rec_tool_nothing();
    if (is_sparse)                      /* reads the clock: how long it takes depends on the handler */
        rec_sparse_break();
    return append_event(args, PNR_UNWIND, PNR_FINISH_UNWIND, is_sparse, is_valued);
}

CALLBACK(on_unwind, append_unwind(args, false, false))
CALLBACK(on_sparse_unwind, append_unwind(args, true, false))
CALLBACK(on_valued_unwind, append_unwind(args, false, true))
CALLBACK(on_valued_sparse_unwind, append_unwind(args, true, true))

static int listen_to_all(void)
{
    bool is_sparse = rec_sparse.is_on, is_valued = rec_arguments_are_on() || rec_task_names_are_on();
    const struct event {
        enum rec_tool_seat seat;
        const char *event;
        rec_tool_callback callback;
        bool is_global;
    } events[] = {
        { REC_TOOL_NOTES, "PY_START", note_at_start, true }, { REC_TOOL_NOTES, "PY_RESUME", note_at_resume, true },
        { REC_TOOL_RECORDS, "PY_START", is_sparse ? on_sparse_start : on_start, false },
        { REC_TOOL_RECORDS, "PY_RESUME", is_sparse ? on_sparse_resume : on_resume, false },
        { REC_TOOL_RECORDS, "PY_RETURN", is_valued ? is_sparse ? on_valued_sparse_return : on_valued_return :
                                         is_sparse ? on_sparse_return : on_return, false },
        { REC_TOOL_RECORDS, "PY_YIELD", is_valued ? is_sparse ? on_valued_sparse_yield : on_valued_yield :
                                        is_sparse ? on_sparse_yield : on_yield, false },
        { REC_TOOL_RECORDS, "PY_UNWIND", is_valued ? is_sparse ? on_valued_sparse_unwind : on_valued_unwind :
                                         is_sparse ? on_sparse_unwind : on_unwind, REC_CODES_EXCEPTIONS_ARE_GLOBAL },
        { REC_TOOL_RECORDS, "PY_THROW", is_sparse ? on_sparse_resume : on_throw, true } };
    for (const struct event *e = events; e != events + sizeof events / sizeof *events; e++)
        if (rec_tool_listen(e->seat, e->event, e->callback, e->is_global) != 0)
            return -1;
    return 0;
}

/* Returns 0, or -1 with an exception set. */
static int open_at_start(PyThreadState *ts)
{
    struct rec_thread *thread = rec_threads_new(ts);
    if (thread && open_thread(ts, thread, 0, cpython_running(ts)))
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Without a GIL other threads run: each opens with its next event. Returns 0, or -1 with an exception set. */
static int open_threads(void)
{
#ifdef Py_GIL_DISABLED
    return open_at_start(PyThreadState_Get());
#else
    PyThreadState *oldest = PyInterpreterState_ThreadHead(rec_threads.interp);
    while (PyThreadState_Next(oldest))
        oldest = PyThreadState_Next(oldest);
    int result = 0;
    for (PyThreadState *ts = oldest; ts && result == 0; ts = ts->prev)
        result = open_at_start(ts);
    return result;
#endif
}

static void sync_depth_before_c_call(PyThreadState *ts)
{
    if (rec_greenlets.are_used && (rec_greenlets.has_bare || cpython_data_stack(ts) != rec_current->data_stack))
        resync_monitored_thread(ts, cpython_running(ts));
}

static struct rec_thread *resync_monitored(PyThreadState *ts)
{
    bool is_fast = rec_current->owner == ts && rec_current->buffer.chunk >= 0 &&
                   (!rec_greenlets.are_used ||
                    (!rec_greenlets.has_bare && cpython_data_stack(ts) == rec_current->data_stack));
    return is_fast ? rec_current : resync_monitored_thread(ts, cpython_running(ts));
}

/* The recording has begun in this process; events are let through later. */
static void prepare_monitoring(bool is_child)
{
    rec_functions_start(is_child);
    rec_threads_start(PyInterpreterState_Get());
    rec_threads.before_c_call = sync_depth_before_c_call;
    rec_threads.resync = resync_monitored;
    rec_greenlets_start(NULL);
}

static int start_monitoring(void)
{
    if (rec_codes_begin() != 0 || listen_to_all() != 0)
        return -1;
    prepare_monitoring(false);
    if (open_threads() != 0)
        return -1;
    rec_threads.has_delayed_entry_events = true;        /* of what is entered from now on */
    return rec_codes_watch();
}

static int take_over_monitoring(void)
{
    if ((!rec_tool_has_begun() && rec_codes_begin() != 0) || listen_to_all() != 0)
        return -1;
    rec_threads_change_engine();
    rec_threads.before_c_call = sync_depth_before_c_call;
    rec_threads.resync = resync_monitored;
    rec_threads.has_delayed_entry_events = true;
    return rec_codes_watch();
}

static void report_taken(bool is_ours)
{
    if (!is_ours)
        rec_threads.missing = REC_TOOL_TAKEN;
}

static void look_at_number(void)
{
    if (rec_codes_look())
        return;
    report_taken(false);
    rec_threads_forget_all();
    rec_state_start_epoch();
}

static bool needs_look_always(void) { return true; }

static void refresh_name_of(const PyThreadState *ts)
{
    struct rec_thread *thread = rec_threads_find(ts);
    if (thread)
        rec_threads_refresh_name(ts, thread);
}

static void stop_monitoring(void)
{
    rec_threads_end_buffers();
#ifdef Py_GIL_DISABLED
    refresh_name_of(PyThreadState_Get());       /* another one may end at this moment */
#else
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts))
        refresh_name_of(ts);
#endif
}

static int enter_monitoring(enum rec_enter why)
{
    if (why == REC_ENTER_START)
        return start_monitoring();
    if (why == REC_ENTER_HANDOVER)
        return take_over_monitoring();
    if (why == REC_ENTER_CHILD) {       /* its one thread begins with the event in which this is called */
        prepare_monitoring(true);
        rec_codes_rejoin();
        rec_threads.has_delayed_entry_events = true;
    } else if (why == REC_ENTER_RESUME) {
        rec_codes_resume();
    }
    return 0;
}

static void leave_monitoring(enum rec_leave why)
{
    if (why == REC_LEAVE_PAUSE)
        report_taken(rec_codes_pause());
    else if (why == REC_LEAVE_STOP || why == REC_LEAVE_OFF)
        report_taken(rec_codes_end());
    else if (why == REC_LEAVE_FAILURE && cpython_is_finalizing())
        report_taken(rec_codes_look());  /* the last time that it can be asked; else the next event ends the tool */
    if (why == REC_LEAVE_STOP)
        stop_monitoring();
}

static const struct rec_engine monitoring = {
    .name = "monitoring", .enter = enter_monitoring, .leave = leave_monitoring, .look = look_at_number,
    .needs_look = needs_look_always };
const struct rec_engine *const rec_engine_monitoring = &monitoring;

#else

const struct rec_engine *const rec_engine_monitoring = NULL;

#endif
