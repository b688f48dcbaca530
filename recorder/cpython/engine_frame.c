/* The frame engine: a frame evaluation function (PEP 523), the hook, is called in place of CPython's own for each
 * Python frame. It appends the entry record, evaluates the frame, and appends the exit record, so that records come
 * in pairs by the structure of the code. specs/recording.md defines which record each event becomes.
 *
 * What an event reads lies in struct rec_thread of the current thread. An event is fast when
 * - its evaluation lies in the hook window of the thread of the last event, so that this thread is that one. The
 *   evaluation is the caller's at an entry, and the hook's own frame on the C stack at an exit,
 * - the function was called before in this recording, so that its tag is in co_extra,
 * - and the chunk has space.
 * All other events go through slow_path() or rec_threads_start_chunk().
 *
 *     a thread's C stack, high addresses
 *     |  evaluations of unhooked frames: those that were running when recording began, or when the hook was put on
 *     |  again. The hook does not see them end.
 *     +- window_low + stack.window_size
 *     |  the hook window: each evaluation here was made by the hook and runs one frame
 *     +- window_low: the guard. A quarter of the stack is used
 *     |  the hook is taken off for the calls from here on, so that Python calls need no more C stack
 *     low addresses
 *
 * Example: main() starts a recording and calls f(), which calls g(). main is an unhooked frame.
 *
 *     event           evaluation              path                                    records
 *     main calls f    main's: unhooked        slow_path: sync_unhooked_frames         CALL f
 *     f calls g       f's: in the window      fast                                    CALL g
 *     g returns       the hook's: in it       fast                                    RETURN g
 *     f returns       the hook's: in it       fast                                    RETURN f
 *     main returns    -                       the hook is not called                  none
 *     its caller
 *       calls h       unhooked                slow_path: sync_unhooked_frames         LEFT 1, CALL h
 *
 * stack.unhooked_depth is how many recorded unhooked frames there were when that was last counted. LEFT records how
 * many of them have gone.
 *
 * A C library may run Python on stacks of its own (makecontext, fibers), above the thread's or below it. No
 * evaluation there is in the window, so that all their events take the slow path, and each of these stacks has a
 * guard of its own. */
#include "greenlets.h"

#include <alloca.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "arguments.h"
#include "call_inlining.h"
#include "engine.h"
#include "exceptions.h"
#include "lives.h"
#include "task_names.h"

#if CPYTHON_IS_KNOWN && !defined(Py_GIL_DISABLED)

#include "recursion.h"

#define STACK_SHARE 4                   /* the hook uses at most this part of a thread's C stack ... */
#define MAX_STACK (16 << 20)            /* ... and at most this, where the stack's size is unlimited */
#define STACK_UNKNOWN (64 << 10)        /* used where the bounds cannot be had */
#define STACK_FOREIGN (16 << 10)        /* used of a stack that is not the thread's own, whose bounds are not known */

/* rec_recursion.evaluate is the function that the hook calls: CPython's, or another tool's that was there before. */
static struct {
    _PyFrameEvalFunction hook;          /* ours, as the options and greenlets need it */
    _PyFrameEvalFunction wrapped;       /* another tool's, which ours calls in wrapping_hook, */
    _PyFrameEvalFunction before;        /* and that which it called until then */
    _PyFrameEvalFunction caller;        /* another tool's, which is known to call ours */
    _PyFrameEvalFunction left;          /* another tool's, which was there at the end of the last recording */
    bool is_on;                         /* the recording's engine is this one */
    bool is_hooked;                     /* the hook was put on, and not taken off; another tool may have replaced it */
    bool is_suspect;                    /* what is wrapped was found where ours had been: calls may be missing */
} engine;

/* ---- the hook window ---- */

/* Makes what the hook may use a part of the main thread's stack at once, and as much again for what is called from
 * there. That stack grows as it is used, up to a limit that the program may lower later (RLIMIT_STACK). Takes one
 * page of memory. */
static __attribute__((noinline)) void grow_stack(uintptr_t low, uintptr_t top)
{
    uintptr_t here = cpython_stack_pointer();
    if (here > low && here < top) {
        volatile char *lowest = alloca(here - low);
        *lowest = 0;
    }
}

/* Finds the bounds of the running thread's C stack, and puts its guard. */
static void find_c_stack(struct rec_thread *thread)
{
    pthread_attr_t attr;
    void *low;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &low, &size) != 0)
            size = 0;
        pthread_attr_destroy(&attr);
    }
    size_t share = size / STACK_SHARE < MAX_STACK ? size / STACK_SHARE : MAX_STACK;
    thread->stack_low = size ? (uintptr_t)low : 0;
    thread->stack_top = size ? (uintptr_t)low + size : cpython_stack_pointer();
    thread->window_low = thread->stack_top - (size ? share : STACK_UNKNOWN);
    if (size && thread->native_id == (uint32_t)getpid())
        grow_stack(thread->window_low - share, thread->stack_top);
}

/* False on the stack of a coroutine of C code. Where the bounds are not known, all is the thread's own. */
static bool is_on_own_stack(const struct rec_thread *thread, uintptr_t address)
{
    return !thread->stack_low || address - thread->stack_low < thread->stack_top - thread->stack_low;
}

/* Begins the window below the evaluations that run now: their frames are unhooked. */
static void begin_window(PyThreadState *ts, struct rec_thread *thread)
{
    if (!thread->window_low)
        find_c_stack(thread);
    uintptr_t evaluation = cpython_is_at_root(ts) ? 0 : cpython_evaluation(ts);
    thread->foreign_evaluation = evaluation && !is_on_own_stack(thread, evaluation) ? evaluation : 0;
    uintptr_t top = evaluation;
    if (thread->foreign_evaluation)
        top = cpython_evaluation_within(ts, thread->stack_low, thread->stack_top);
    if (!top)
        top = thread->stack_top;
    thread->stack.window_size = top > thread->window_low ? top - thread->window_low : 0;
    thread->c_calls_left = INT_MIN;     /* how many the unhooked evaluations have left is not known */
}

/* Returns whether the hook is to be taken off here. The bounds of a foreign stack are not known, but evaluations lie
 * on it. Where the next one outwards is further away than all that the hook may use, either it lies on another stack,
 * or what is between the two is so large that the stack is large, too. */
static bool is_beyond_guard(PyThreadState *ts, const struct rec_thread *thread)
{
    uintptr_t here = cpython_stack_pointer();
    if (is_on_own_stack(thread, here))
        return here < thread->window_low;
    return cpython_outermost_near(ts, here, STACK_FOREIGN) - here > STACK_FOREIGN;
}

static bool is_in_window(const struct rec_thread *thread, uintptr_t evaluation)
{
    return evaluation - thread->window_low < thread->stack.window_size;
}

/* True for an evaluation that the hook did not make. On a foreign stack that is known of those that ran when the
 * window began. */
static bool is_unhooked_evaluation(const struct rec_thread *thread, uintptr_t evaluation)
{
    if (evaluation < UINTPTR_MAX - 1 && !is_on_own_stack(thread, evaluation))
        return thread->foreign_evaluation && evaluation - thread->foreign_evaluation < STACK_FOREIGN;
    return evaluation >= thread->window_low && !is_in_window(thread, evaluation);
}

/* Starts the first chunk of a thread, or the first one after a time without the hook. The chunk opens with the whole
 * stack, all of which is unhooked. */
static bool resync_hooked_thread(PyThreadState *ts, struct rec_thread *thread, uint16_t flags,
                                 struct rec_open_frame leaving)
{
    thread->epoch = rec_state.epoch;
    if (flags != PNR_BLOCK_RESYNC || rec_greenlets.are_used)        /* else C calls were counted all the time */
        thread->stack.c_depth = thread->stack.c_unrecorded_begin = thread->stack.c_unrecorded_end = 0;
    if (!rec_threads_start_chunk(thread, flags, rec_threads_innermost(ts), leaving))
        return false;
    /* Without the frame that is being left: its exit record comes next. */
    thread->stack.unhooked_depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
    return true;
}

/* At an event between an unhooked and a hooked frame: emits a LEFT record if unhooked frames have gone. */
static void sync_unhooked_frames(PyThreadState *ts, struct rec_thread *thread, struct rec_open_frame leaving)
{
    uint32_t depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
    uint32_t present = leaving.function && thread->stack.unhooked_depth > depth ? depth + 1 : depth;
    if (!rec_threads_emit_left(thread, present))
        rec_threads_start_chunk(thread, 0, rec_threads_innermost(ts), leaving);  /* its OPEN records show the same */
    thread->stack.unhooked_depth = depth;
    begin_window(ts, thread);
}

/* Continues with another greenlet's stack. Its track keeps how many unhooked frames it has, unless it is new. */
static void switch_stack(PyThreadState *ts, struct rec_thread *thread, enum rec_greenlets_change change,
                         struct rec_open_frame leaving)
{
    if (change == REC_GREENLETS_NEW) {
        thread->stack.unhooked_depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
        begin_window(ts, thread);
    }
    rec_threads_emit_switch(thread, rec_threads_innermost(ts), leaving);
}

/* Begins any event that is not fast: finds the thread, makes it the current one and brings it to the present.
 * entered: the frame that is about to run, or NULL. leaving: the frame whose exit this is. Returns NULL when the
 * event is not recorded. */
static struct rec_thread *slow_path(PyThreadState *ts, cpython_frame *entered, struct rec_open_frame leaving)
{
    if (!rec_threads_activate_if_pending(ts) || !engine.is_on)
        return NULL;
    if (rec_session_is_closed()) {
        rec_state_take(REC_EVENT_FAILURE);
        return NULL;
    }
    struct rec_thread *thread = rec_threads_find(ts);
    uintptr_t evaluation = cpython_evaluation(ts);
    bool is_new = !thread;
    if (!is_new && thread->is_aside)
        return NULL;
    if (is_new && !(thread = rec_threads_new(ts)))
        return NULL;
    rec_buffer_renew_counter(&thread->buffer);
    rec_sparse_break();
    rec_current = thread->is_ending || !rec_worker_unpark() || rec_greenlets_are_awaited() ? &rec_no_thread : thread;
    enum rec_greenlets_change change = rec_greenlets.are_used && rec_greenlets_may_have_changed(ts, thread) ?
        rec_greenlets_notice(ts, thread, entered) : REC_GREENLETS_SAME;
    uint16_t flags;
    if (rec_threads_is_out_of_date(thread, &flags)) {
        if (!resync_hooked_thread(ts, thread, is_new ? 0 : flags, leaving))
            return NULL;
        begin_window(ts, thread);
        return rec_state_is(REC_RECORDING) ? thread : NULL;
    }
    if (change != REC_GREENLETS_SAME)
        switch_stack(ts, thread, change, leaving);
    if (is_unhooked_evaluation(thread, evaluation))
        sync_unhooked_frames(ts, thread, leaving);
    return rec_state_is(REC_RECORDING) ? thread : NULL;
}

static inline bool is_fast(const PyThreadState *ts, const struct rec_thread *thread)
{
    return likely(is_in_window(thread, cpython_hooked_evaluation(ts))) &&
           (likely(!rec_greenlets.are_used) || !rec_greenlets_may_have_changed(ts, thread));
}

/* Emits a LEFT record before a C function is called, if unhooked frames have gone. */
static void sync_hook_before_c_call(PyThreadState *ts)
{
    if (!is_fast(ts, rec_current))
        slow_path(ts, NULL, rec_no_frame);
}

static struct rec_thread *resync_hooked(PyThreadState *ts)
{
    return is_fast(ts, rec_current) ? rec_current : slow_path(ts, NULL, rec_no_frame);
}

/* ---- other tools' hooks ---- */

#define HOOK_REPLACED "another tool replaced the frame evaluation function"

static PyObject *wrapping_hook(PyThreadState *ts, cpython_frame *f, int throwflag);

static _PyFrameEvalFunction installed_hook(void)
{
    return _PyInterpreterState_GetEvalFrameFunc(rec_threads.interp);
}

static void install_hook(_PyFrameEvalFunction function)
{
    _PyInterpreterState_SetEvalFrameFunc(rec_threads.interp, function);
}

static bool is_our_hook(_PyFrameEvalFunction function)
{
    return function == engine.hook || function == wrapping_hook;
}

/* Takes the hook off, unless another one is in its place. */
static void take_hook_off(void)
{
    _PyFrameEvalFunction now = installed_hook();
    engine.is_hooked = false;
    if (now != engine.caller)
        engine.caller = NULL;           /* it is gone; if it comes back it may not call ours */
    if (now == wrapping_hook)
        install_hook(engine.wrapped);
    else if (now == engine.hook)
        install_hook(rec_recursion.evaluate);
}

/* Puts the hook on. Where another tool's is meanwhile, that may call ours, or not. Ours calls it then, which shows
 * which of the two it is (is_entry_recorded). */
static void put_hook_on(void)
{
    _PyFrameEvalFunction now = installed_hook();
    engine.is_hooked = true;
    if (is_our_hook(now) || now == engine.caller)
        return;
    if (now != rec_recursion.evaluate && now != engine.wrapped) {
        engine.before = engine.wrapped;
        engine.wrapped = now;
    }
    install_hook(now == rec_recursion.evaluate ? engine.hook : wrapping_hook);
}

/* The frame for which ours has called the other tool's function. */
static __thread const cpython_frame *frame_in_wrapped;

/* Evaluates a frame by the other tool's function. No event is fast meanwhile. */
static PyObject *evaluate_wrapped(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    const cpython_frame *outer = frame_in_wrapped;
    _PyFrameEvalFunction wrapped = engine.wrapped;
    frame_in_wrapped = f;
    rec_threads_forget_current();
    PyObject *result = wrapped(ts, f, throwflag);
    frame_in_wrapped = outer;
    if (engine.is_suspect && wrapped != engine.caller) {
        engine.is_suspect = false;
        rec_state_start_epoch();
        rec_threads.missing = HOOK_REPLACED;
    }
    return result;
}

/* At an entry that is not fast: true when it is recorded already, or is in an unrecorded region, where the other
 * tool's function calls ours. */
static bool is_entry_recorded(const cpython_frame *f, bool wraps)
{
    _PyFrameEvalFunction now = installed_hook();
    if (unlikely(f == frame_in_wrapped)) {      /* ours called the other, which has called ours: no need to wrap it */
        frame_in_wrapped = NULL;
        engine.caller = engine.wrapped;
        engine.is_suspect = false;
        if (wraps)
            engine.wrapped = engine.before;
        if (now == wrapping_hook)
            install_hook(engine.caller);
        return true;
    }
    if (unlikely(!is_our_hook(now)) && !rec_state_is(REC_UNHOOKED))
        engine.caller = now;
    return rec_state_is(REC_UNHOOKED);
}

/* ---- the hook ---- */

/* Where the C stack was when the hook was called, in the hook and in what it leaves by a tail call. */
#define HOOK_ENTERED ((uintptr_t)__builtin_dwarf_cfa())

/* Evaluates a frame. wraps: by another tool's function, which ours calls. */
static inline __attribute__((always_inline)) PyObject *evaluate_inside(PyThreadState *ts, cpython_frame *f,
                                                                       int throwflag, struct rec_thread *thread,
                                                                       uintptr_t entered, bool wraps)
{
    return wraps ? evaluate_wrapped(ts, f, throwflag) : rec_recursion_evaluate(ts, f, throwflag, thread, entered);
}

static inline void append_entry(PyThreadState *ts, struct rec_thread *thread, enum pnr_kind kind, uint64_t frame,
                                uint32_t function)
{
    rec_threads_append(ts, thread, kind, (struct rec_open_frame){ frame, function }, rec_no_frame);
}

static inline __attribute__((always_inline)) void append_exit(PyThreadState *ts, struct rec_thread *thread,
                                                              enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    if (rec_min_duration_ticks &&
        rec_buffer_elide(&thread->buffer, rec_clock_ticks() - thread->buffer.base, kind, frame, function))
        return;
    rec_threads_append(ts, thread, kind, (struct rec_open_frame){ frame, function },
                       (struct rec_open_frame){ frame, function });
}

/* Appends the exit record of a frame where that is not fast. A frame that was entered in an earlier recording has no
 * function number in this one, so it counts as an unhooked frame that has gone. result: its values, which come before
 * the record; or NULL. */
static __attribute__((noinline)) void append_exit_slowly(PyThreadState *ts, enum pnr_kind kind, uint64_t frame,
                                                         uint64_t tag, const struct pnr_values_writer *result)
{
    rec_threads_notice_fork();
    bool is_known = rec_tag_is_current(tag);
    struct rec_open_frame leaving = is_known ? (struct rec_open_frame){ frame, (uint32_t)tag } : rec_no_frame;
    struct rec_thread *thread = slow_path(ts, NULL, leaving);
    if (!thread || !is_known)
        return;
    if (result && result->size)
        rec_threads_append_values(thread, PNR_RESULT, (uint32_t)tag, result, rec_threads_innermost(ts), leaving);
    append_exit(ts, thread, kind, frame, (uint32_t)tag);
}

/* Appends the exit record of a frame of which the result may be recorded. result: NULL after an exception. */
static __attribute__((noinline)) void append_exit_with_result(PyThreadState *ts, enum pnr_kind kind, uint64_t frame,
                                                              uint64_t tag, PyObject *result)
{
    struct pnr_values_writer values;
    rec_threads_notice_fork();
    bool is_read = rec_tag_is_current(tag) && rec_state_is(REC_RECORDING);
    if (is_read)
        rec_arguments_read_result(&values, result, (PyTypeObject *)PyErr_Occurred(), (uint32_t)tag);
    append_exit_slowly(ts, kind, frame, tag, is_read ? &values : NULL);
}

/* Appends what is known of the task whose coroutine is left next, if it is one. awaited: what it yields, or NULL. */
static __attribute__((noinline)) void append_task(PyThreadState *ts, const cpython_frame *f, PyObject *awaited, uint64_t tag)
{
    struct pnr_values_writer values;
    const struct rec_open_frame leaving = { rec_frame_identity(f), (uint32_t)tag };
    rec_threads_notice_fork();
    if (!rec_tag_is_current(tag) || !rec_state_is(REC_RECORDING) || !rec_task_names_read(&values, f, false, awaited))
        return;
    struct rec_thread *thread = slow_path(ts, NULL, leaving);
    if (thread)
        rec_threads_append_values(thread, PNR_TASK, (uint32_t)tag, &values, rec_threads_innermost(ts), leaving);
}

/* Adds the exception with which the frame is left next, if it was raised there. f: NULL for a plain frame. */
static __attribute__((noinline)) void append_raised(PyThreadState *ts, const cpython_frame *f, uint64_t tag)
{
#if PY_VERSION_HEX < 0x030C0000         /* from there on sys.monitoring reports exceptions */
    const struct rec_open_frame leaving = { f ? rec_frame_identity(f) : 0, (uint32_t)tag };
    if (!rec_exceptions_begin_at_exit(ts) || !rec_tag_is_full(tag))
        return;
    rec_threads_notice_fork();
    struct rec_thread *thread = rec_tag_is_current(tag) && rec_state_is(REC_RECORDING) ? slow_path(ts, NULL, leaving) : NULL;
    if (thread)
        rec_exceptions_add_at_exit(ts, thread, leaving);
#else
    (void)ts, (void)f, (void)tag;
#endif
}

/* Appends the exit record of a frame. One that was entered in an earlier recording is an unhooked frame of this one,
 * so that its exit is never fast: a fast tag is a current one. */
static inline __attribute__((always_inline)) void leave_frame(PyThreadState *ts, enum pnr_kind kind, uint64_t frame,
                                                        uint64_t tag)
{
    struct rec_thread *thread = rec_current;
    if (is_fast(ts, thread))
        append_exit(ts, thread, kind, frame, (uint32_t)tag);
    else
        append_exit_slowly(ts, kind, frame, tag, NULL);
}

/* Retracts the entry record of a frame that never ran, if it is the newest record. */
static bool retract_entry(PyThreadState *ts, uint64_t tag)
{
    struct rec_thread *thread = rec_current;
    if (!rec_recursion_kept_from_beginning(ts) || thread->owner != ts)
        return false;
    struct pnr_record *end = rec_buffer_before_arguments(&thread->buffer, (uint32_t)tag);
    if (end == thread->buffer.first || !pnr_kind_enters_frame(pnr_record_kind(end[-1])) ||
        pnr_record_function(end[-1]) != (uint32_t)tag)
        return false;
    rec_buffer_retract_from(&thread->buffer, end - 1);
    return true;
}

/* Evaluates a frame without the hook, between UNRECORDED and UNRECORDED_END records. Python calls inside it then need
 * no C stack, as without the recorder. Other threads that run meanwhile run without the hook, too. */
static PyObject *evaluate_unhooked(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_thread *thread,
                                   uint64_t frame, uint64_t tag, uintptr_t entered, bool wraps)
{
    const struct rec_open_frame self = { frame, (uint32_t)tag }, stack_region = { 0, PNR_UNRECORDED_STACK };
    uint64_t since = rec_state.since;
    if (!rec_state_is(REC_RECORDING))   /* the entry record found no chunk */
        return wraps ? engine.wrapped(ts, f, throwflag) : rec_recursion.evaluate(ts, f, throwflag);
    rec_threads_append(ts, thread, PNR_UNRECORDED, stack_region, self);
    take_hook_off();
    rec_state_take(REC_EVENT_UNHOOK);
    rec_threads_forget_current();
    PyObject *result = evaluate_inside(ts, f, throwflag, thread, entered, wraps);
    rec_threads_notice_fork();
    rec_inlining_end_region();
    if (!rec_state_is(REC_RECORDING) || rec_state.since != since)
        return result;
    rec_state_take(REC_EVENT_REHOOK);
    put_hook_on();
    thread = rec_threads_find(ts);
    if (thread && (rec_greenlets.are_used || PyThreadState_Next(PyInterpreterState_ThreadHead(rec_threads.interp)))) {
        if (thread->epoch == rec_state.epoch)
            thread->epoch++;
        rec_state_start_epoch();
    }
    if ((thread = slow_path(ts, NULL, self)))
        rec_threads_append(ts, thread, PNR_UNRECORDED_END, stack_region, self);
    return result;
}

/* Appends the exit record of a frame that was left with this result. f: NULL for a plain frame. */
static void append_result(PyThreadState *ts, const cpython_frame *f, PyObject *result, uint64_t tag)
{
    enum pnr_kind exit;
    if (!result && retract_entry(ts, tag))
        return;
    if (!result)
        append_raised(ts, f, tag);
    if (result)
        exit = !f ? PNR_RETURN : cpython_is_suspended(f) ? PNR_YIELD : PNR_FINISH;
    else
        exit = f ? PNR_FINISH_UNWIND : PNR_UNWIND;
    if (f && exit != PNR_YIELD && rec_tag_flags(tag) & REC_TAG_BOUNDARY)
        rec_lives_end(rec_frame_identity(f));
    if (unlikely(rec_tag_flags(tag) & REC_TAG_VALUES) && f && rec_task_names_are_on())
        append_task(ts, f, exit == PNR_YIELD ? result : NULL, tag);
    if (unlikely(rec_tag_flags(tag) & REC_TAG_VALUES) && exit != PNR_YIELD && rec_arguments_has_result((uint32_t)tag))
        append_exit_with_result(ts, exit, f ? rec_frame_identity(f) : 0, tag, result);
    else
        leave_frame(ts, exit, f ? rec_frame_identity(f) : 0, tag);
}

static enum pnr_kind entry_kind_of(const cpython_frame *f, uint64_t tag)
{
    if (!(rec_tag_flags(tag) & REC_TAG_CONTINUABLE))
        return PNR_CALL;
    bool is_first = cpython_is_first_entry(f);
    if (rec_tag_flags(tag) & REC_TAG_BOUNDARY)
        is_first = rec_lives_enter(rec_frame_identity(f), is_first);
    return is_first ? PNR_START : PNR_RESUME;
}

/* Takes notice of a life that begins by a run that is not recorded. */
static inline void begin_unrecorded_life(const cpython_frame *f, uint64_t tag)
{
    if (rec_tag_flags(tag) & REC_TAG_CONTINUABLE && cpython_is_continuable(f) && cpython_is_first_entry(f))
        rec_lives_end(rec_frame_identity(f));
}

/* Evaluates a frame that only makes a generator or coroutine. It is no call of its own: CREATE names what it made. */
static inline __attribute__((always_inline)) PyObject *evaluate_creation(PyThreadState *ts, cpython_frame *f,
                                                                         int throwflag, uint64_t tag, bool wraps,
                                                                         bool is_sparse)
{
    struct rec_thread *thread = rec_current;
    PyObject *result = evaluate_inside(ts, f, throwflag, thread, HOOK_ENTERED, wraps);
    const cpython_frame *made = result ? cpython_generator_frame(result) : NULL;
    thread = rec_current;
    if (!made || (!is_fast(ts, thread) && !(thread = slow_path(ts, NULL, rec_no_frame))) || !rec_tag_is_current(tag))
        return result;
    if (!is_sparse || !rec_buffer_append_frame_sparsely(&thread->buffer, PNR_CREATE, rec_frame_identity(made),
                                                        (uint32_t)tag))
        append_entry(ts, thread, PNR_CREATE, rec_frame_identity(made), (uint32_t)tag);
    return result;
}

/* Appends the entry record of a frame and its arguments, which are read first: that may run code of the program. Returns
 * the thread, or NULL when the frame is not recorded any more. */
static __attribute__((noinline)) struct rec_thread *append_entry_with_arguments(PyThreadState *ts, cpython_frame *f,
                                                                                struct rec_thread *thread,
                                                                                enum pnr_kind kind, uint64_t frame,
                                                                                uint64_t tag)
{
    struct pnr_values_writer values;
    values.size = 0;                    /* the rest is large, and set when it is needed */
    if (kind != PNR_RESUME && rec_arguments_read(&values, f, cpython_is_continuable(f), (uint32_t)tag)) {
        thread = slow_path(ts, f, rec_no_frame);
        if (!thread || !rec_tag_is_current(tag))
            return NULL;
    }
    append_entry(ts, thread, kind, frame, (uint32_t)tag);
    const struct rec_open_frame self = { frame, (uint32_t)tag };
    if (values.size)
        rec_threads_append_values(thread, PNR_ARGUMENTS, (uint32_t)tag, &values, rec_threads_innermost(ts), self);
    if (kind == PNR_START && rec_task_names_are_on() && rec_task_names_read(&values, f, true, NULL))
        rec_threads_append_values(thread, PNR_TASK, (uint32_t)tag, &values, rec_threads_innermost(ts), self);
    return thread;
}

/* Evaluates a frame that is not recorded. Where the thread runs code for the recorder and the C stack is used up, the
 * hook is taken off. */
static PyObject *evaluate_unrecorded(PyThreadState *ts, cpython_frame *f, int throwflag, uintptr_t entered, bool wraps)
{
    struct rec_thread *thread = rec_state_is(REC_RECORDING) ? rec_threads_find(ts) : NULL;
    if (likely(!thread || !thread->is_aside))
        return wraps ? evaluate_wrapped(ts, f, throwflag) : rec_recursion.evaluate(ts, f, throwflag);
    if (!is_beyond_guard(ts, thread))
        return evaluate_inside(ts, f, throwflag, thread, entered, wraps);
    thread->is_aside = false;
    PyObject *result = evaluate_unhooked(ts, f, throwflag, thread, 0, 0, entered, wraps);
    rec_threads_step_aside(ts, true);
    return result;
}

/* A watched function that has no records has been left. */
static void leave_watched(PyThreadState *ts, uint64_t tag)
{
    rec_threads_notice_fork();
    struct rec_thread *thread = slow_path(ts, NULL, rec_no_frame);
    if (thread && rec_tag_is_current(tag))
        rec_threads_on_watched_exit(ts, thread, tag);
}

/* The hook of any frame, without a fast path. thread: that runs, or NULL when nothing is recorded. */
static inline __attribute__((always_inline)) PyObject *hook_any(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                struct rec_thread *thread, bool wraps)
{
    uint64_t tag = thread ? rec_functions_tag_call(f, cpython_running(ts)) : 0;
    if (!tag)
        return evaluate_unrecorded(ts, f, throwflag, HOOK_ENTERED, wraps);
    bool is_deep = is_beyond_guard(ts, thread);
    if (rec_tag_watched(tag))
        rec_threads_on_watched_call(ts, f, thread, tag);
    bool is_excluded = rec_tag_flags(tag) & REC_TAG_EXCLUDED;
    bool is_creation = rec_tag_flags(tag) & REC_TAG_CONTINUABLE && !cpython_is_continuable(f);
    if (is_creation && !(rec_tag_flags(tag) & REC_TAG_BOUNDARY))
        return evaluate_creation(ts, f, throwflag, tag, wraps, false);
    is_excluded |= is_creation;
    if (is_excluded)
        begin_unrecorded_life(f, tag);
    PyObject *namespace = rec_tag_flags(tag) & REC_TAG_SUBSCRIPT ? rec_inlining_on_call(f) : NULL;
    enum pnr_kind entry = is_excluded ? PNR_CALL : entry_kind_of(f, tag);
    uint64_t frame = entry == PNR_CALL ? 0 : rec_frame_identity(f);
    if (!is_excluded && unlikely(rec_tag_flags(tag) & REC_TAG_VALUES)) {
        thread = append_entry_with_arguments(ts, f, thread, entry, frame, tag);
        if (!thread)
            return evaluate_unrecorded(ts, f, throwflag, HOOK_ENTERED, wraps);
    } else if (!is_excluded) {
        append_entry(ts, thread, entry, frame, (uint32_t)tag);
    }
    PyObject *result = is_deep ? evaluate_unhooked(ts, f, throwflag, thread, frame, is_excluded ? 0 : tag,
                                                   HOOK_ENTERED, wraps) :
                                 evaluate_inside(ts, f, throwflag, thread, HOOK_ENTERED, wraps);
    if (result)
        rec_inlining_on_namespace(namespace);
    if (!is_excluded)
        append_result(ts, entry == PNR_CALL ? NULL : f, result, tag);
    else if (rec_tag_watched(tag))
        leave_watched(ts, tag);
    return result;
}

static __attribute__((noinline)) PyObject *hook_slowly(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    if (is_entry_recorded(f, false))
        return rec_recursion.evaluate(ts, f, throwflag);
    return hook_any(ts, f, throwflag, slow_path(ts, f, rec_no_frame), false);
}

/* The hook of a function whose values are recorded, where its event is fast. */
static __attribute__((noinline)) PyObject *hook_valued(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_any(ts, f, throwflag, rec_current, false);
}

/* The hook where another tool's function is not known to call ours. */
static PyObject *wrapping_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    if (is_entry_recorded(f, true))
        return engine.wrapped(ts, f, throwflag);
    return hook_any(ts, f, throwflag, slow_path(ts, f, rec_no_frame), true);
}

/* Ends the hook after the evaluation where that is not simple. */
static __attribute__((noinline)) PyObject *leave_with_result(PyObject *result, const cpython_frame *f, uint64_t tag)
{
    append_result(PyThreadState_Get(), f, result, tag);
    return result;
}

static inline bool append_frame_now(struct rec_buffer *buffer, enum pnr_kind kind, uint64_t frame, uint32_t function,
                                    bool is_sparse)
{
    return is_sparse ? rec_buffer_append_frame_sparsely(buffer, kind, frame, function) :
                       rec_buffer_append_frame_now(buffer, kind, frame, function);
}

/* The hook of a generator or coroutine, as fast as hook_plain. */
static inline __attribute__((always_inline)) PyObject *hook_continuable(PyThreadState *ts, cpython_frame *f,
                                                                        int throwflag, uint64_t tag, bool is_sparse)
{
    struct rec_thread *thread = rec_current;
    if (!cpython_is_continuable(f))
        return evaluate_creation(ts, f, throwflag, tag, false, is_sparse);
    enum pnr_kind entry = cpython_is_first_entry(f) ? PNR_START : PNR_RESUME;
    if (unlikely(!append_frame_now(&thread->buffer, entry, rec_frame_identity(f), (uint32_t)tag, is_sparse)))
        return hook_slowly(ts, f, throwflag);
    PyObject *result = rec_recursion_evaluate(ts, f, throwflag, thread, HOOK_ENTERED);
    thread = rec_current;
    if (unlikely(!result) || unlikely(rec_min_duration_ticks) || unlikely(rec_greenlets.are_used) ||
        unlikely(!is_in_window(thread, cpython_stack_pointer())) ||
        unlikely(!append_frame_now(&thread->buffer, cpython_is_suspended(f) ? PNR_YIELD : PNR_FINISH,
                                   rec_frame_identity(f), (uint32_t)tag, is_sparse)))
        return leave_with_result(result, f, tag);
    return result;
}

static __attribute__((noinline)) PyObject *hook_dense_continuable(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                  uint64_t tag)
{
    return hook_continuable(ts, f, throwflag, tag, false);
}

static __attribute__((noinline)) PyObject *hook_sparse_continuable(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                   uint64_t tag)
{
    return hook_continuable(ts, f, throwflag, tag, true);
}

/* The hook of a boundary function: excluded unless its caller is recorded in full. Its exit follows its entry, as the
 * caller of a run stays the same. */
static __attribute__((noinline)) PyObject *hook_boundary(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                         uint64_t tag)
{
    struct rec_thread *thread = rec_current;
    cpython_frame *caller = cpython_running(ts);
    uint64_t outer = caller && !cpython_is_incomplete(caller) ? rec_tag_peek(caller) : 0;
    if (unlikely(!rec_tag_is_current(outer)))
        return hook_slowly(ts, f, throwflag);
    if (rec_tag_flags(outer) & REC_TAG_NOT_FULL) {
        begin_unrecorded_life(f, tag);
        return rec_recursion_evaluate(ts, f, throwflag, thread, HOOK_ENTERED);
    }
    if (unlikely(!(uint32_t)tag))
        return hook_slowly(ts, f, throwflag);
    bool is_continuable = rec_tag_flags(tag) & REC_TAG_CONTINUABLE;
    if (is_continuable && !cpython_is_continuable(f))
        return rec_recursion_evaluate(ts, f, throwflag, thread, HOOK_ENTERED);
    append_entry(ts, thread, entry_kind_of(f, tag), is_continuable ? rec_frame_identity(f) : 0, (uint32_t)tag);
    PyObject *result = rec_recursion_evaluate(ts, f, throwflag, thread, HOOK_ENTERED);
    return leave_with_result(result, is_continuable ? f : NULL, tag);
}

/* The hook of a function with flags. A function that is excluded costs no more than finding that out: nothing is kept
 * over its evaluation. */
static inline __attribute__((always_inline)) PyObject *hook_flagged(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                    uint64_t tag, bool is_sparse)
{
    uint32_t flags = (uint32_t)(tag >> 32) ^ rec_functions.plain;
    if (flags == REC_TAG_CONTINUABLE)
        return is_sparse ? hook_sparse_continuable(ts, f, throwflag, tag) :
                           hook_dense_continuable(ts, f, throwflag, tag);
    if (flags == REC_TAG_EXCLUDED)
        return rec_recursion_evaluate(ts, f, throwflag, rec_current, HOOK_ENTERED);
    if ((flags | REC_TAG_CONTINUABLE) == (REC_TAG_BOUNDARY | REC_TAG_CONTINUABLE))
        return hook_boundary(ts, f, throwflag, tag);
    if ((flags | REC_TAG_CONTINUABLE) == (REC_TAG_VALUES | REC_TAG_CONTINUABLE))
        return hook_valued(ts, f, throwflag);
    return hook_slowly(ts, f, throwflag);
}

static __attribute__((noinline)) PyObject *hook_dense_flagged(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                              uint64_t tag)
{
    return hook_flagged(ts, f, throwflag, tag, false);
}

static __attribute__((noinline)) PyObject *hook_sparse_flagged(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                               uint64_t tag)
{
    return hook_flagged(ts, f, throwflag, tag, true);
}

/* With a minimum duration: appends a RETURN, or retracts the CALL if that is the newest record and the call was
 * short. Returns false, and does nothing, where that is not simple. */
static inline bool append_or_elide(struct rec_thread *thread, uint32_t function)
{
    uint64_t ticks = rec_clock_counter() - thread->buffer.base;
    const struct pnr_record *newest = thread->buffer.next - 1;
    if (unlikely(thread->buffer.next == thread->buffer.first) || unlikely(pnr_record_kind(*newest) == PNR_CREATE) ||
        unlikely(!rec_buffer_has_capacity(&thread->buffer, ticks)))
        return false;
    if (rec_buffer_is_record(*newest, PNR_CALL, 0, function) &&
        ticks - pnr_record_ticks(*newest) < rec_min_duration_ticks)
        rec_buffer_retract(&thread->buffer);
    else
        rec_buffer_append(&thread->buffer, ticks, PNR_RETURN, 0, function);
    return true;
}

/* The hot path: the hook of a plain frame, timed by the counter. All else leaves it by a tail call, so that it calls
 * nothing but the evaluation and keeps as little as it can over it. Nothing is ever thrown into a plain frame, so
 * that its throwflag is 0. index: of the tags in co_extra. elides: there is a minimum duration. has_greenlets: they
 * are used. is_sparse: the clock is. */
static inline __attribute__((always_inline)) PyObject *hook_plain(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                  Py_ssize_t index, bool elides, bool has_greenlets,
                                                                  bool is_sparse)
{
    struct rec_thread *thread = rec_current;
    if ((has_greenlets && rec_greenlets_may_have_changed(ts, thread) && !rec_greenlets_switch(ts, thread)) ||
        unlikely(!is_in_window(thread, cpython_hooked_evaluation(ts))))
        return hook_slowly(ts, f, throwflag);
    uint64_t tag = cpython_code_value(cpython_code(f), index);
    if (unlikely(tag >> 32 != rec_functions.plain))
        return is_sparse ? hook_sparse_flagged(ts, f, throwflag, tag) : hook_dense_flagged(ts, f, throwflag, tag);
    if (unlikely(!(is_sparse ? rec_buffer_append_sparsely(&thread->buffer, false, (uint32_t)tag) :
                   rec_buffer_append_now(&thread->buffer, &thread->buffer.call, (uint32_t)tag))))
        return hook_slowly(ts, f, 0);
    PyObject *result = rec_recursion_evaluate(ts, f, 0, thread, HOOK_ENTERED);
    __asm__("" : "+r"(tag));            /* one value is kept over the evaluation, and not what was made of it as well */
    thread = rec_current;
    if (unlikely(!result) ||
        (has_greenlets && rec_greenlets_may_have_changed(ts, thread) && !rec_greenlets_switch(ts, thread)) ||
        unlikely(!is_in_window(thread, cpython_stack_pointer())) ||
        unlikely(!(elides ? append_or_elide(thread, (uint32_t)tag) :
                   is_sparse ? rec_buffer_append_sparsely(&thread->buffer, true, (uint32_t)tag) :
                   rec_buffer_append_now(&thread->buffer, &thread->buffer.ret, (uint32_t)tag))))
        return leave_with_result(result, NULL, tag);
    return result;
}

static PyObject *frame_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, 0, false, false, false);
}

static PyObject *sparse_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, 0, false, false, true);
}

/* For tags that are not the first value in co_extra, which is another tool's. */
static PyObject *frame_hook_any_index(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, false, false, false);
}

static PyObject *sparse_hook_any_index(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, false, false, true);
}

static PyObject *eliding_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, true, false, false);
}

static PyObject *greenlet_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, rec_min_duration_ticks != 0, true, false);
}

static PyObject *sparse_greenlet_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, false, true, true);
}

/* ---- interface ---- */

static bool is_hook_displaced(void)
{
    _PyFrameEvalFunction now = installed_hook();
    return engine.is_hooked && !is_our_hook(now) && now != engine.caller;
}

/* Recording ends, or the interpreter does: takes the hook off for good. The program runs on. */
static void disable_hook(void)
{
    _PyFrameEvalFunction now = installed_hook();
    if (is_hook_displaced() || engine.is_suspect)
        rec_threads.missing = HOOK_REPLACED;
    engine.left = is_our_hook(now) || now == rec_recursion.evaluate ? NULL : now;
    engine.is_suspect = false;
    take_hook_off();
}

/* Greenlets may run from now on. The hooks of the frames that run now do not look for greenlets when they end, so
 * that these frames become unhooked. */
static void on_greenlets(void)
{
    _PyFrameEvalFunction before = engine.hook;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (!thread || thread->epoch != rec_state.epoch || thread->buffer.chunk < 0)
            continue;
        thread->stack.unhooked_depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
        thread->data_stack = cpython_data_stack(ts);
        if (thread->window_low)         /* else the stack is not known before the thread runs */
            begin_window(ts, thread);
    }
    if (engine.hook != hook_slowly)
        engine.hook = rec_sparse.is_on ? sparse_greenlet_hook : greenlet_hook;
    if (installed_hook() == before)
        install_hook(engine.hook);
}

static int begin_recording(bool is_child)
{
    PyThreadState *self = PyThreadState_Get();
    rec_recursion_start();
    rec_inlining_end_region();
    rec_functions_start(is_child);
    rec_threads_start(self->interp);
    engine.is_on = true;
    rec_threads.before_c_call = sync_hook_before_c_call;
    rec_threads.resync = resync_hooked;
    rec_threads.has_late_exits = PY_VERSION_HEX >= 0x030C0000;
    rec_greenlets_start(on_greenlets);
    PyThreadState *oldest = PyInterpreterState_ThreadHead(self->interp);
    while (PyThreadState_Next(oldest))
        oldest = PyThreadState_Next(oldest);
    for (PyThreadState *ts = oldest; ts; ts = ts->prev) {
        struct rec_thread *thread = rec_threads_new(ts);
        if (!thread || !resync_hooked_thread(ts, thread, 0, rec_no_frame)) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

/* Suspects that calls are missing, since another tool's function is in the place of the hook. The next call through it
 * shows whether it calls the hook. Where there is no hook any more, calls are missing for certain. */
static void suspect_missing_calls(void)
{
    engine.is_suspect = installed_hook() != rec_recursion.evaluate;
    if (engine.is_suspect)
        return;
    rec_state_start_epoch();
    rec_threads.missing = HOOK_REPLACED;
    rec_threads_forget_current();
}

/* Puts the hook on again if another tool has replaced it. */
static void recover_hook(void)
{
    if (!is_hook_displaced())
        return;
    suspect_missing_calls();
    put_hook_on();
}

static void pause_hook(void)
{
    if (is_hook_displaced())
        suspect_missing_calls();
    take_hook_off();
}

static void resume_hook(void)
{
    if (engine.is_suspect)
        suspect_missing_calls();
    rec_inlining_end_region();
    put_hook_on();
}

static int start_hook(void)
{
    if (!rec_recursion.evaluate)        /* once a process */
        rec_recursion.evaluate = _PyEval_EvalFrameDefault;
    engine.hook = !rec_clock_is_counter ? hook_slowly : rec_min_duration_ticks ? eliding_hook :
                  rec_functions.extra_index != 0 ?
                  (rec_sparse.is_on ? sparse_hook_any_index : frame_hook_any_index) :
                  (rec_sparse.is_on ? sparse_hook : frame_hook);
    if (rec_inlining_start() != 0 || begin_recording(false) != 0)
        return -1;
    /* The function that was there when the last recording ended may call ours. Any other cannot. */
    if (!is_our_hook(installed_hook()) && installed_hook() != engine.left) {
        rec_recursion.evaluate = installed_hook();
        engine.caller = NULL;
    }
    put_hook_on();
    return 0;
}

static void stop_hook(void)
{
    rec_threads_end_buffers();
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (!thread)
            continue;
        rec_threads_refresh_name(ts, thread);
        cpython_frame *unhooked = cpython_running_within(ts, thread->window_low + thread->stack.window_size,
                                                         thread->stack_low ? thread->stack_top : UINTPTR_MAX);
        if (thread->epoch == rec_state.epoch &&
            !rec_threads_emit_left(thread, rec_threads_count_recorded(ts, unhooked)))
            rec_threads_start_chunk(thread, 0, rec_threads_innermost(ts), rec_no_frame);
    }
    disable_hook();
}

static int enter_frame_engine(enum rec_enter why)
{
    if (why == REC_ENTER_START)
        return start_hook();
    if (why == REC_ENTER_CHILD)
        return begin_recording(true);
    if (why == REC_ENTER_HANDOVER)
        return -1;
    resume_hook();
    return 0;
}

static void leave_frame_engine(enum rec_leave why)
{
    if (why == REC_LEAVE_PAUSE)
        pause_hook();
    else if (why == REC_LEAVE_FAILURE)
        disable_hook();
    else if (why == REC_LEAVE_STOP)
        stop_hook();
    else if (why == REC_LEAVE_OFF && engine.is_on)
        take_hook_off();
    if (why != REC_LEAVE_PAUSE && why != REC_LEAVE_FAILURE)
        engine.is_on = engine.is_suspect = false;
}

static const struct rec_engine frame_engine = {
    .name = "frame", .enter = enter_frame_engine, .leave = leave_frame_engine, .look = recover_hook,
    .needs_look = is_hook_displaced };
const struct rec_engine *const rec_engine_frame = &frame_engine;

#else

const struct rec_engine *const rec_engine_frame = NULL;

#endif
