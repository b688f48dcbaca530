/* The frame engine: a frame evaluation function (PEP 523) around each Python frame. The entry record before the
 * evaluation, the exit record after it: pairing is structural. specs/recording.md tells which record comes of what.
 *
 * What one event reads lies in struct rec_thread of the current thread. An event is fast when
 * - the caller's C evaluation (at the exit: the hook's own frame) lies between the guard and the base (below) of the
 *   buffer of the last event, so that this buffer is this thread's,
 * - the function was seen before in this recording, so that its tag is in co_extra,
 * - and the chunk has room.
 * Everything else goes through catch_up() or rec_threads_start_chunk().
 *
 *     high addresses   base: evaluations that began before recording (or while the hook was off). Their frames
 *                      are left without the hook seeing it.
 *        floor ------- (hooked_low + track.hooked_size)
 *                      hooked: each evaluation runs one frame, which the hook entered
 *        guard ------- (hooked_low): a quarter of the stack is used
 *                      the hook is taken off for the calls from here on, so that Python calls need no C stack
 *     low addresses
 *
 * A C library may run Python on stacks of its own, above the thread's or below it. No evaluation there is between guard
 * and floor, so that all their events come to catch_up(), and each of these stacks has a guard of its own.
 *
 * A call out of the base, or a return into it, is where the buffer learns which frames of the base are gone:
 * track.base_depth is how many recorded frames it had when last looked at, and the difference is told by LEFT. */
#include "greenlets.h"

#include <alloca.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "engine.h"

#if CPYTHON_IS_KNOWN

#define STACK_SHARE 4                   /* the hook uses at most this part of a thread's C stack ... */
#define STACK_MOST (16 << 20)           /* ... and at most this, where the stack is said to be endless */
#define STACK_UNKNOWN (64 << 10)        /* used where the bounds cannot be had */
#define STACK_FOREIGN (16 << 10)        /* used of a stack that is not the thread's own, whose bounds are not known */

static struct {
    _PyFrameEvalFunction hook;          /* ours: frame_hook, dropping_hook, or hook_slowly where there is no counter */
    _PyFrameEvalFunction evaluate;      /* the hook that was there before, or CPython's own */
    _PyFrameEvalFunction wrapped;       /* another tool's, which ours calls in wrapping_hook, */
    _PyFrameEvalFunction before;        /* and that which it called until then */
    _PyFrameEvalFunction caller;        /* another tool's, of which is known that it calls ours */
    _PyFrameEvalFunction left;          /* another tool's, which was there at the end of the last recording */
    bool is_on;                         /* the recording's engine is this one */
    bool is_hooked;                     /* the hook was put on, and not taken off; another tool may have replaced it */
    bool is_suspect;                    /* what is wrapped was found where ours had been: perhaps calls are missing */
#if CPYTHON_COUNTS_C_CALLS
    uintptr_t ways[CPYTHON_N_WAYS];     /* the least C stack that was seen between an evaluation and the hook */
#endif
#if CPYTHON_INLINES_GETITEM
    PyObject *getitem;                  /* interned */
#elif CPYTHON_INLINES_INIT
    newfunc type_new;                   /* type's own */
    PyObject *init;                     /* interned */
    PyObject *inlining;                 /* classes whose __init__ need not be called through the hook now; or NULL */
#endif
} engine;

/* ---- what the interpreter would run past a hook ---- */

#if CPYTHON_INLINES_GETITEM

/* Borrowed dict of a class or a namespace. */
static void never_inline_getitem(PyObject *dict)
{
    PyObject *function = PyDict_Check(dict) ? cpython_lookup(dict, engine.getitem) : NULL;          /* borrowed */
    if (function)
        cpython_never_inline(function);
}

static void prepare_class(PyTypeObject *class)
{
    never_inline_getitem(class->tp_dict);
}

#elif CPYTHON_INLINES_INIT

/* In place of PyType_GenericAlloc, which it calls. While the hook is off the interpreter shall do as without it, so
 * that a recursion through __init__ needs no C stack. */
static PyObject *allocate(PyTypeObject *class, Py_ssize_t n)
{
    if (unlikely(rec_state_is(REC_UNHOOKED)) && class->tp_alloc == allocate) {
        if (!engine.inlining)
            engine.inlining = PyList_New(0);
        if (engine.inlining && PyList_Append(engine.inlining, (PyObject *)class) == 0)
            cpython_inline_init(PyThreadState_Get(), class);
        else
            PyErr_Clear();
    }
    return PyType_GenericAlloc(class, n);
}

/* The hook is on again. */
static void never_inline_again(void)
{
    PyObject *classes = engine.inlining;                    /* owned */
    engine.inlining = NULL;
    for (Py_ssize_t i = 0; classes && i < PyList_GET_SIZE(classes); i++)
        cpython_never_inline_init((PyTypeObject *)PyList_GET_ITEM(classes, i), allocate);
    Py_XDECREF(classes);
}

/* In place of the tp_new of type and its metaclasses. */
static PyObject *new_class(PyTypeObject *meta, PyObject *args, PyObject *kwargs)
{
    PyObject *class = engine.type_new(meta, args, kwargs);
    if (class && PyType_Check(class))
        cpython_never_inline_init((PyTypeObject *)class, allocate);
    return class;
}

/* A metaclass must have the tp_new of type, or one of its own (Objects/typeobject.c, tp_new_wrapper). */
static void prepare_class(PyTypeObject *class)
{
    cpython_never_inline_init(class, allocate);
    if (class->tp_new == engine.type_new)
        class->tp_new = new_class;
}

#endif

#if !CPYTHON_INLINES_INIT
static void never_inline_again(void) { }
#endif

#if CPYTHON_INLINES_GETITEM || CPYTHON_INLINES_INIT

/* All classes that are there when recording begins: the class and those below it. */
static void prepare_classes(PyTypeObject *class)
{
    prepare_class(class);
    PyObject *below = PyObject_CallMethod((PyObject *)&PyType_Type, "__subclasses__", "O", class);  /* owned */
    for (Py_ssize_t i = 0; below && i < PyList_GET_SIZE(below); i++) {
        PyTypeObject *next = (PyTypeObject *)PyList_GET_ITEM(below, i);
        if (next->tp_base == class)     /* once, not by each base */
            prepare_classes(next);
    }
    Py_XDECREF(below);
    PyErr_Clear();
}

#endif

/* ---- the base and the guard ---- */

/* The main thread's stack grows as it is used, up to a limit that the program may lower (RLIMIT_STACK). So what the
 * hook may use is made a part of the stack at once, and as much again for what is called from there. Takes one page of
 * memory. */
static __attribute__((noinline)) void grow_stack(uintptr_t low, uintptr_t top)
{
    uintptr_t here = cpython_stack_pointer();
    if (here > low && here < top) {
        volatile char *lowest = alloca(here - low);
        *lowest = 0;
    }
}

/* Finds out where the C stack of the running thread is, and where its guard. */
static void find_stack(struct rec_thread *thread)
{
    pthread_attr_t attr;
    void *low;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &low, &size) != 0)
            size = 0;
        pthread_attr_destroy(&attr);
    }
    size_t share = size / STACK_SHARE < STACK_MOST ? size / STACK_SHARE : STACK_MOST;
    thread->stack_low = size ? (uintptr_t)low : 0;
    thread->stack_top = size ? (uintptr_t)low + size : cpython_stack_pointer();
    thread->hooked_low = thread->stack_top - (size ? share : STACK_UNKNOWN);
    if (size && thread->native_id == (uint32_t)getpid())
        grow_stack(thread->hooked_low - share, thread->stack_top);
}

/* False on the stack of a coroutine of C code (makecontext, fibers). Where the bounds are not known, all is own. */
static bool is_on_own_stack(const struct rec_thread *thread, uintptr_t address)
{
    return !thread->stack_low || address - thread->stack_low < thread->stack_top - thread->stack_low;
}

/* All evaluations that run now are the base. */
static void set_floor(PyThreadState *ts, struct rec_thread *thread)
{
    if (!thread->hooked_low)
        find_stack(thread);
    uintptr_t evaluation = cpython_is_at_root(ts) ? 0 : cpython_evaluation(ts);
    thread->foreign_floor = evaluation && !is_on_own_stack(thread, evaluation) ? evaluation : 0;
    uintptr_t floor = thread->foreign_floor ? cpython_evaluation_within(ts, thread->stack_low, thread->stack_top) : evaluation;
    if (!floor)
        floor = thread->stack_top;
    thread->stack.hooked_size = floor > thread->hooked_low ? floor - thread->hooked_low : 0;
    thread->units = INT_MIN;               /* what the evaluations of the base left is not known */
}

/* A foreign stack says neither where it begins nor where it ends. The evaluations on it do: where the next one outwards
 * is further away than all that the hook may use, it lies on another stack, or what is between the two is so large that
 * the stack must be, too. */
static bool is_beyond_guard(PyThreadState *ts, const struct rec_thread *thread)
{
    uintptr_t here = cpython_stack_pointer();
    if (is_on_own_stack(thread, here))
        return here < thread->hooked_low;
    return cpython_outermost_near(ts, here, STACK_FOREIGN) - here > STACK_FOREIGN;
}

static bool is_between(const struct rec_thread *thread, uintptr_t evaluation)
{
    return evaluation - thread->hooked_low < thread->stack.hooked_size;
}

/* True for an evaluation that the hook did not make. On a foreign stack that is known of those that ran when the floor
 * was set on it. */
static bool is_in_base(const struct rec_thread *thread, uintptr_t evaluation)
{
    if (evaluation < UINTPTR_MAX - 1 && !is_on_own_stack(thread, evaluation))
        return thread->foreign_floor && evaluation - thread->foreign_floor < STACK_FOREIGN;
    return evaluation >= thread->hooked_low && !is_between(thread, evaluation);
}

/* A buffer that begins, or that may have missed events: the stack is told in full, and all of it is the base. */
static bool adopt(PyThreadState *ts, struct rec_thread *thread, uint16_t flags, struct rec_open_frame leaving)
{
    thread->epoch = rec_state.epoch;
    if (flags != PNR_BLOCK_RESYNC || rec_greenlets.are_used)        /* else C calls were counted in the gap, too */
        thread->stack.c_depth = thread->stack.c_gap_begin = thread->stack.c_gap_end = 0;
    if (!rec_threads_start_chunk(thread, flags, rec_threads_innermost(ts), leaving))
        return false;
    /* But for the frame being left: its exit record comes next. */
    thread->stack.base_depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
    return true;
}

/* An event between the base and a hooked frame: tells which frames of the base were left. */
static void sync_base(PyThreadState *ts, struct rec_thread *thread, struct rec_open_frame leaving)
{
    uint32_t depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
    uint32_t present = leaving.function && thread->stack.base_depth > depth ? depth + 1 : depth;
    if (!rec_threads_emit_left(thread, present))
        rec_threads_start_chunk(thread, 0, rec_threads_innermost(ts), leaving);      /* its OPEN records tell it */
    thread->stack.base_depth = depth;
    set_floor(ts, thread);
}

/* Another greenlet runs: what is known of the base is that of its track, or nothing. */
static void change_track(PyThreadState *ts, struct rec_thread *thread, enum rec_greenlets_change change,
                         struct rec_open_frame leaving)
{
    if (change == REC_GREENLETS_NEW) {
        thread->stack.base_depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
        set_floor(ts, thread);
    }
    rec_threads_emit_switch(thread, rec_threads_innermost(ts), leaving);
}

/* For any event that is not fast: finds the thread's buffer, makes it the current one and brings it to the present.
 * entered: the frame that is about to run, or NULL. leaving: that whose exit this is. NULL when nothing is recorded. */
static struct rec_thread *catch_up(PyThreadState *ts, cpython_frame *entered, struct rec_open_frame leaving)
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
    if (is_new && !(thread = rec_threads_new(ts)))
        return NULL;
    rec_buffer_renew_counter(&thread->buffer);
    rec_current = thread->is_ending || !rec_worker_unpark() ? &rec_no_thread : thread;
    enum rec_greenlets_change change = rec_greenlets.are_used && rec_greenlets_may_have_changed(ts, thread) ?
        rec_greenlets_notice(ts, thread, entered) : REC_GREENLETS_SAME;
    uint16_t flags;
    if (rec_threads_is_out_of_date(thread, &flags)) {
        if (!adopt(ts, thread, is_new ? 0 : flags, leaving))
            return NULL;
        set_floor(ts, thread);
        return rec_state_is(REC_RECORDING) ? thread : NULL;
    }
    if (change != REC_GREENLETS_SAME)
        change_track(ts, thread, change, leaving);
    if (is_in_base(thread, evaluation))
        sync_base(ts, thread, leaving);
    return rec_state_is(REC_RECORDING) ? thread : NULL;
}

static inline bool is_fast(const PyThreadState *ts, const struct rec_thread *thread)
{
    return likely(is_between(thread, cpython_evaluation_quick(ts))) &&
           (likely(!rec_greenlets.are_used) || !rec_greenlets_may_have_changed(ts, thread));
}

/* Frames of the base may be gone before a C function is called, too. */
static void sync_before_c_call(PyThreadState *ts)
{
    if (!is_fast(ts, rec_current))
        catch_up(ts, NULL, rec_no_frame);
}

/* ---- other tools' hooks ---- */

#define REPLACED "another tool replaced the frame evaluation function"

static PyObject *wrapping_hook(PyThreadState *ts, cpython_frame *f, int throwflag);

static _PyFrameEvalFunction installed(void)
{
    return _PyInterpreterState_GetEvalFrameFunc(rec_threads.interp);
}

static void install(_PyFrameEvalFunction function)
{
    _PyInterpreterState_SetEvalFrameFunc(rec_threads.interp, function);
}

static bool is_ours(_PyFrameEvalFunction function)
{
    return function == engine.hook || function == wrapping_hook;
}

/* Takes the hook off, if no other is in its place. */
static void unhook(void)
{
    _PyFrameEvalFunction now = installed();
    engine.is_hooked = false;
    if (now != engine.caller)
        engine.caller = NULL;           /* it is gone; if it comes back it may not call ours */
    if (now == wrapping_hook)
        install(engine.wrapped);
    else if (now == engine.hook)
        install(engine.evaluate);
}

/* Puts it on. Where another one is meanwhile, it may or may not call ours: what ours calls then is that one, which shows
 * which it is (is_told). */
static void hook(void)
{
    _PyFrameEvalFunction now = installed();
    engine.is_hooked = true;
    if (is_ours(now) || now == engine.caller)
        return;
    if (now != engine.evaluate && now != engine.wrapped) {
        engine.before = engine.wrapped;
        engine.wrapped = now;
    }
    install(now == engine.evaluate ? engine.hook : wrapping_hook);
}

/* The frame that the other tool's function has been called for. */
static __thread const cpython_frame *entering;

/* Events are not fast meanwhile. */
static PyObject *evaluate_wrapped(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    const cpython_frame *outer = entering;
    _PyFrameEvalFunction wrapped = engine.wrapped;
    entering = f;
    rec_threads_forget_current();
    PyObject *result = wrapped(ts, f, throwflag);
    entering = outer;
    if (engine.is_suspect && wrapped != engine.caller) {
        engine.is_suspect = false;
        rec_state_start_epoch();
        rec_threads.missing = REPLACED;
    }
    return result;
}

/* At an entry that is not fast. True when the frame's entry is not to be told: it has been told, or it is in a gap,
 * where another tool's hook calls ours. */
static bool is_told(const cpython_frame *f, bool wraps)
{
    _PyFrameEvalFunction now = installed();
    if (unlikely(f == entering)) {      /* ours was called by that which ours called: it need not be wrapped */
        entering = NULL;
        engine.caller = engine.wrapped;
        engine.is_suspect = false;
        if (wraps)
            engine.wrapped = engine.before;
        if (now == wrapping_hook)
            install(engine.caller);
        return true;
    }
    if (unlikely(!is_ours(now)) && !rec_state_is(REC_UNHOOKED))
        engine.caller = now;
    return rec_state_is(REC_UNHOOKED);
}

/* ---- the hook ---- */

/* Where the C stack was when the hook was called, in it and in what it leaves by a tail call. */
#define ENTERED ((uintptr_t)__builtin_dwarf_cfa())

/* Evaluates a frame; the buffer is this thread's.
 *
 * CPython 3.12 and 3.13 count calls of C functions, and an evaluation as two. Without a hook a Python function that a
 * Python function calls is no evaluation of its own: its units are given back. One that C code calls is: it keeps them.
 * The two are told apart by what the units are, those inside of the caller's evaluation or fewer, and, since not all C
 * code takes units (functools.partial), by how far down the C stack the hook is called: nothing is nearer to the
 * caller's evaluation than what that calls itself. */
#if CPYTHON_COUNTS_C_CALLS
static PyObject *evaluate_with_units(PyThreadState *ts, cpython_frame *f, int throwflag, int given)
{
    ts->c_recursion_remaining += given;
    PyObject *result = engine.evaluate(ts, f, throwflag);
    ts->c_recursion_remaining -= given;
    return result;
}

#if CPYTHON_INLINES_INIT
/* The call of the class took a unit, too. Where the extra unit that CPython would take of the other limit is the last
 * one, the frame begins nevertheless: none that it calls will. */
static PyObject *evaluate_init(PyThreadState *ts, cpython_frame *f)
{
    int taken = ts->py_recursion_remaining > 1 && cpython_has_init_shim(ts, f);
    ts->py_recursion_remaining -= taken;
    PyObject *result = evaluate_with_units(ts, f, 0, CPYTHON_EVALUATION_UNITS + 1);
    ts->py_recursion_remaining += taken;
    return result;
}
#endif

/* True when the caller's evaluation itself calls this frame, this far above the hook, and would have run it. */
static bool is_inlining(const PyThreadState *ts, const cpython_frame *f, uintptr_t distance)
{
    enum cpython_way way = cpython_way(ts, f);
    if (way >= CPYTHON_N_WAYS)
        return way == CPYTHON_OTHER_WAY;
    if (engine.ways[way] > distance)
        engine.ways[way] = distance;
    return engine.ways[way] == distance;
}

static __attribute__((noinline)) PyObject *evaluate_otherwise(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                             struct rec_thread *thread, uintptr_t distance)
{
    if (thread->units == ts->c_recursion_remaining && is_inlining(ts, f, distance))
        return evaluate_with_units(ts, f, throwflag, CPYTHON_EVALUATION_UNITS);
    if (thread->units == ts->c_recursion_remaining + 1 && cpython_is_sending(ts, f))
        return evaluate_with_units(ts, f, throwflag, CPYTHON_EVALUATION_UNITS + 1);
#if CPYTHON_INLINES_INIT
    if (thread->units == ts->c_recursion_remaining + 1 && cpython_is_inlining_init(ts, f, allocate, engine.init))
        return evaluate_init(ts, f);
#endif
    int outside = thread->units;
    thread->units = ts->c_recursion_remaining - CPYTHON_EVALUATION_UNITS;
    PyObject *result = engine.evaluate(ts, f, throwflag);
    thread = rec_current->owner == ts ? rec_current : rec_state_is(REC_RECORDING) ? rec_threads_find(ts) : NULL;
    if (thread)
        thread->units = outside;
    return result;
}

static inline PyObject *evaluate(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_thread *thread,
                                 uintptr_t entered)
{
    uintptr_t distance = cpython_evaluation_quick(ts) - entered;
    if (unlikely(thread->units != ts->c_recursion_remaining) || unlikely(distance != engine.ways[CPYTHON_CALL]))
        return evaluate_otherwise(ts, f, throwflag, thread, distance);
    return evaluate_with_units(ts, f, throwflag, CPYTHON_EVALUATION_UNITS);
}
#else
static inline PyObject *evaluate(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_thread *thread,
                                 uintptr_t entered)
{
    (void)thread;
    (void)entered;
    return engine.evaluate(ts, f, throwflag);
}
#endif

static inline void append_entry(PyThreadState *ts, struct rec_thread *thread, enum pnr_kind kind, uint64_t frame,
                                uint32_t function)
{
    rec_threads_append(ts, thread, kind, (struct rec_open_frame){ frame, function }, rec_no_frame);
}

static inline __attribute__((always_inline)) void append_exit(PyThreadState *ts, struct rec_thread *thread,
                                                              enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    if (rec_min_duration_ticks && rec_buffer_elide(&thread->buffer, rec_clock_ticks() - thread->buffer.base, kind, frame, function))
        return;
    rec_threads_append(ts, thread, kind, (struct rec_open_frame){ frame, function },
                       (struct rec_open_frame){ frame, function });
}

/* The exit of a frame that was entered in an earlier recording has no function number in this one: it counts as
 * left unseen. */
static __attribute__((noinline)) void leave_slowly(PyThreadState *ts, enum pnr_kind kind, uint64_t frame, uint64_t tag)
{
    rec_threads_notice_fork();
    bool is_known = rec_tag_is_current(tag);
    struct rec_thread *thread = catch_up(ts, NULL, is_known ? (struct rec_open_frame){ frame, (uint32_t)tag } : rec_no_frame);
    if (thread && is_known)
        append_exit(ts, thread, kind, frame, (uint32_t)tag);
}

/* A frame that was entered in an earlier recording is part of this one's base, so its exit is never fast: a fast tag
 * is a current one. */
static inline __attribute__((always_inline)) void leave(PyThreadState *ts, enum pnr_kind kind, uint64_t frame,
                                                        uint64_t tag)
{
    struct rec_thread *thread = rec_current;
    if (is_fast(ts, thread))
        append_exit(ts, thread, kind, frame, (uint32_t)tag);
    else
        leave_slowly(ts, kind, frame, tag);
}

/* Takes the entry record of a frame that never ran back, if it is the newest. */
static bool take_back(PyThreadState *ts, uint64_t tag)
{
    struct rec_thread *thread = rec_current;
    if (!cpython_never_began(ts) || thread->owner != ts || thread->buffer.next == thread->buffer.first)
        return false;
    if (!pnr_kind_enters_frame(pnr_record_kind(thread->buffer.next[-1])) ||
        pnr_record_function(thread->buffer.next[-1]) != (uint32_t)tag)
        return false;
    rec_buffer_retract(&thread->buffer);
    return true;
}

/* Evaluates without the hook: Python calls below this frame then need no C stack, as without the recorder. Other
 * threads that run meanwhile run without it too. */
static PyObject *evaluate_unhooked(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_thread *thread,
                                   uint64_t frame, uint64_t tag, uintptr_t entered, bool wraps)
{
    const struct rec_open_frame self = { frame, (uint32_t)tag }, stack_gap = { 0, PNR_UNRECORDED_STACK };
    uint64_t since = rec_state.since;
    if (!rec_state_is(REC_RECORDING))         /* the entry record found no chunk */
        return wraps ? engine.wrapped(ts, f, throwflag) : engine.evaluate(ts, f, throwflag);
    rec_threads_append(ts, thread, PNR_UNRECORDED, stack_gap, self);
    unhook();
    rec_state_take(REC_EVENT_UNHOOK);
    rec_threads_forget_current();
    PyObject *result = wraps ? evaluate_wrapped(ts, f, throwflag) : evaluate(ts, f, throwflag, thread, entered);
    rec_threads_notice_fork();
    never_inline_again();
    if (!rec_state_is(REC_RECORDING) || rec_state.since != since)
        return result;
    rec_state_take(REC_EVENT_REHOOK);
    hook();
    thread = rec_threads_find(ts);
    if (thread && (rec_greenlets.are_used || PyThreadState_Next(PyInterpreterState_ThreadHead(rec_threads.interp)))) {
        if (thread->epoch == rec_state.epoch)
            thread->epoch++;
        rec_state_start_epoch();
    }
    if ((thread = catch_up(ts, NULL, self)))
        rec_threads_append(ts, thread, PNR_UNRECORDED_END, stack_gap, self);
    return result;
}

/* The exit record of a frame that was left with this result. f: NULL for a plain one. */
static void append_result(PyThreadState *ts, const cpython_frame *f, const PyObject *result, uint64_t tag)
{
    enum pnr_kind exit;
    if (!result && take_back(ts, tag))
        return;
    if (result)
        exit = !f ? PNR_RETURN : cpython_is_suspended(f) ? PNR_YIELD : PNR_FINISH;
    else
        exit = f ? PNR_FINISH_UNWIND : PNR_UNWIND;
    leave(ts, exit, f ? rec_frame_identity(f) : 0, tag);
}

static enum pnr_kind entry_of(const cpython_frame *f, uint64_t tag)
{
    if (!(rec_tag_flags(tag) & REC_TAG_CONTINUABLE))
        return PNR_CALL;
    return cpython_is_first_entry(f) ? PNR_START : PNR_RESUME;
}

/* A frame that only makes a continuable one is no event of its own: CREATE tells what it made. */
static PyObject *create(PyThreadState *ts, cpython_frame *f, int throwflag, uint64_t tag, bool wraps)
{
    struct rec_thread *thread = rec_current;
    PyObject *result = wraps ? evaluate_wrapped(ts, f, throwflag) : evaluate(ts, f, throwflag, thread, ENTERED);
    const cpython_frame *made = result ? cpython_generator_frame(result) : NULL;
    thread = rec_current;
    if (!made || (!is_fast(ts, thread) && !(thread = catch_up(ts, NULL, rec_no_frame))) || !rec_tag_is_current(tag))
        return result;
    append_entry(ts, thread, PNR_CREATE, rec_frame_identity(made), (uint32_t)tag);
    return result;
}

static inline __attribute__((always_inline)) PyObject *hook_any(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                bool wraps)
{
    struct rec_thread *thread = catch_up(ts, f, rec_no_frame);
    uint64_t tag = thread ? rec_functions_tag(f) : 0;
    if (!tag)
        return wraps ? evaluate_wrapped(ts, f, throwflag) : engine.evaluate(ts, f, throwflag);
    bool is_unhooked = is_beyond_guard(ts, thread);
    if (rec_tag_flags(tag) & REC_TAG_WATCHED)
        rec_threads_on_watched_call(ts, f, thread);
    if (rec_tag_flags(tag) & REC_TAG_EXCLUDED)
        return is_unhooked ? evaluate_unhooked(ts, f, throwflag, thread, 0, 0, ENTERED, wraps) :
               wraps ? evaluate_wrapped(ts, f, throwflag) : evaluate(ts, f, throwflag, thread, ENTERED);
    if (rec_tag_flags(tag) & REC_TAG_CONTINUABLE && !cpython_is_continuable(f))
        return create(ts, f, throwflag, tag, wraps);
#if CPYTHON_INLINES_GETITEM
    PyObject *namespace = NULL;         /* borrowed; whoever evaluates a code in a namespace owns it meanwhile */
    if (rec_tag_flags(tag) & REC_TAG_SUBSCRIPT) {
        namespace = cpython_namespace(f);
        if (cpython_code(f)->co_flags & CO_OPTIMIZED)
            cpython_never_inline(cpython_function(f));
    }
#endif
    enum pnr_kind entry = entry_of(f, tag);
    uint64_t frame = entry == PNR_CALL ? 0 : rec_frame_identity(f);
    append_entry(ts, thread, entry, frame, (uint32_t)tag);
    PyObject *result = is_unhooked ? evaluate_unhooked(ts, f, throwflag, thread, frame, tag, ENTERED, wraps) :
                       wraps ? evaluate_wrapped(ts, f, throwflag) : evaluate(ts, f, throwflag, thread, ENTERED);
#if CPYTHON_INLINES_GETITEM
    if (result && namespace)
        never_inline_getitem(namespace);
#endif
    append_result(ts, entry == PNR_CALL ? NULL : f, result, tag);
    return result;
}

static __attribute__((noinline)) PyObject *hook_slowly(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    if (is_told(f, false))
        return engine.evaluate(ts, f, throwflag);
    return hook_any(ts, f, throwflag, false);
}

/* In place of all others, where another tool's function is not known to call ours. */
static PyObject *wrapping_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    if (is_told(f, true))
        return engine.wrapped(ts, f, throwflag);
    return hook_any(ts, f, throwflag, true);
}

/* What comes after the evaluation and is not simple. */
static __attribute__((noinline)) PyObject *leave_frame(PyObject *result, const cpython_frame *f, uint64_t tag)
{
    append_result(PyThreadState_Get(), f, result, tag);
    return result;
}

/* As hook_plain, below. */
static __attribute__((noinline)) PyObject *hook_continuable(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                            uint64_t tag)
{
    struct rec_thread *thread = rec_current;
    if (!cpython_is_continuable(f))
        return create(ts, f, throwflag, tag, false);
    if (unlikely(!rec_buffer_append_frame_now(&thread->buffer, cpython_is_first_entry(f) ? PNR_START : PNR_RESUME, rec_frame_identity(f),
                                          (uint32_t)tag)))
        return hook_slowly(ts, f, throwflag);
    PyObject *result = evaluate(ts, f, throwflag, thread, ENTERED);
    thread = rec_current;
    if (unlikely(!result) || unlikely(rec_min_duration_ticks) || unlikely(rec_greenlets.are_used) ||
        unlikely(!is_between(thread, cpython_stack_pointer())) ||
        unlikely(!rec_buffer_append_frame_now(&thread->buffer, cpython_is_suspended(f) ? PNR_YIELD : PNR_FINISH, rec_frame_identity(f),
                                          (uint32_t)tag)))
        return leave_frame(result, f, tag);
    return result;
}

/* A function with flags. All that one costs that is excluded is to find it out: nothing is kept over the evaluation. */
static __attribute__((noinline)) PyObject *hook_marked(PyThreadState *ts, cpython_frame *f, int throwflag, uint64_t tag)
{
    uint32_t flags = (uint32_t)(tag >> 32) ^ rec_functions.plain;
    if (flags == REC_TAG_CONTINUABLE)
        return hook_continuable(ts, f, throwflag, tag);
    if (flags == REC_TAG_EXCLUDED)
        return evaluate(ts, f, throwflag, rec_current, ENTERED);
    return hook_slowly(ts, f, throwflag);
}

/* With a minimum duration: stores a RETURN, or takes the CALL back if it is the newest record. Returns false, and does
 * nothing, where that is not simple. */
static inline bool return_or_drop(struct rec_thread *thread, uint32_t function)
{
    uint64_t ticks = rec_clock_counter() - thread->buffer.base;
    const struct pnr_record *newest = thread->buffer.next - 1;
    if (unlikely(thread->buffer.next == thread->buffer.first) || unlikely(!rec_buffer_has_capacity(&thread->buffer, ticks)) ||
        unlikely(pnr_record_kind(*newest) == PNR_CREATE))
        return false;
    if (rec_buffer_is_record(*newest, PNR_CALL, 0, function) && ticks - pnr_record_ticks(*newest) < rec_min_duration_ticks)
        rec_buffer_retract(&thread->buffer);
    else
        rec_buffer_append(&thread->buffer, ticks, PNR_RETURN, 0, function);
    return true;
}

/* The hot path: a plain frame, timed by the counter. All else leaves it by a tail call, so that it calls nothing but
 * the evaluation and keeps as little as it can over it. Nothing is ever thrown into a plain frame. index: where the
 * tags are. drops: there is a minimum duration. tracks: there are greenlets. */
static inline __attribute__((always_inline)) PyObject *hook_plain(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                  Py_ssize_t index, bool drops, bool tracks)
{
    struct rec_thread *thread = rec_current;
    if ((tracks && rec_greenlets_may_have_changed(ts, thread) && !rec_greenlets_switch(ts, thread)) ||
        unlikely(!is_between(thread, cpython_evaluation_quick(ts))))
        return hook_slowly(ts, f, throwflag);
    uint64_t tag = cpython_code_value(cpython_code(f), index);
    if (unlikely(tag >> 32 != rec_functions.plain))
        return hook_marked(ts, f, throwflag, tag);
    if (unlikely(!rec_buffer_append_now(&thread->buffer, &thread->buffer.call, (uint32_t)tag)))
        return hook_slowly(ts, f, 0);
    PyObject *result = evaluate(ts, f, 0, thread, ENTERED);
    __asm__("" : "+r"(tag));           /* one value is kept over the evaluation, not what was made of it as well */
    thread = rec_current;
    if (unlikely(!result) || (tracks && rec_greenlets_may_have_changed(ts, thread) && !rec_greenlets_switch(ts, thread)) ||
        unlikely(!is_between(thread, cpython_stack_pointer())) ||
        unlikely(!(drops ? return_or_drop(thread, (uint32_t)tag) : rec_buffer_append_now(&thread->buffer, &thread->buffer.ret, (uint32_t)tag))))
        return leave_frame(result, NULL, tag);
    return result;
}

static PyObject *frame_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, 0, false, false);
}

/* Where another tool has the first place in co_extra. */
static PyObject *frame_hook_elsewhere(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, false, false);
}

static PyObject *dropping_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, true, false);
}

static PyObject *tracking_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    return hook_plain(ts, f, throwflag, rec_functions.extra_index, rec_min_duration_ticks != 0, true);
}

/* ---- interface ---- */

static bool needs_look(void)
{
    _PyFrameEvalFunction now = installed();
    return engine.is_hooked && !is_ours(now) && now != engine.caller;
}

/* Recording ends, or the interpreter: the hook goes, the program runs on. */
static void unhook_for_good(void)
{
    _PyFrameEvalFunction now = installed();
    if (needs_look() || engine.is_suspect)
        rec_threads.missing = REPLACED;
    engine.left = is_ours(now) || now == engine.evaluate ? NULL : now;
    engine.is_suspect = false;
    unhook();
}

/* From now on greenlets may run. The frames that are there are left by hooks that do not look for them: they become the
 * base. */
static void use_greenlets(void)
{
    _PyFrameEvalFunction before = engine.hook;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (!thread || thread->epoch != rec_state.epoch || thread->buffer.chunk < 0)
            continue;
        thread->stack.base_depth = rec_threads_count_recorded(ts, rec_threads_innermost(ts));
        thread->data_stack = cpython_data_stack(ts);
        if (thread->hooked_low)            /* else it is not known before the thread runs */
            set_floor(ts, thread);
    }
    if (engine.hook != hook_slowly)
        engine.hook = tracking_hook;
    if (installed() == before)
        install(engine.hook);
}

static int begin(void)
{
    PyThreadState *self = PyThreadState_Get();
#if CPYTHON_COUNTS_C_CALLS
    memset(engine.ways, 0xFF, sizeof engine.ways);
#endif
    never_inline_again();
    rec_functions_start();
    rec_threads_start(self->interp);
    engine.is_on = true;
    rec_threads.before_c_call = sync_before_c_call;
    rec_threads.has_late_exits = PY_VERSION_HEX >= 0x030C0000;
    rec_greenlets_start(use_greenlets);
    PyThreadState *oldest = PyInterpreterState_ThreadHead(self->interp);
    while (PyThreadState_Next(oldest))
        oldest = PyThreadState_Next(oldest);
    for (PyThreadState *ts = oldest; ts; ts = ts->prev) {
        struct rec_thread *thread = rec_threads_new(ts);
        if (!thread || !adopt(ts, thread, 0, rec_no_frame)) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

/* Another tool's function is in the place of the hook: the next call through it shows whether it calls the hook. Where
 * there is none any more, nothing calls the hook, and calls are missing for certain. */
static void suspect(void)
{
    engine.is_suspect = installed() != engine.evaluate;
    if (engine.is_suspect)
        return;
    rec_state_start_epoch();
    rec_threads.missing = REPLACED;
    rec_threads_forget_current();
}

static void look(void)
{
    if (!needs_look())
        return;
    suspect();
    hook();
}

static void pause_hook(void)
{
    if (needs_look())
        suspect();
    unhook();
}

static void resume_hook(void)
{
    if (engine.is_suspect)
        suspect();
    never_inline_again();
    hook();
}

static int start(void)
{
    if (!engine.evaluate) {             /* once a process */
        engine.evaluate = _PyEval_EvalFrameDefault;
#if CPYTHON_INLINES_GETITEM
        engine.getitem = PyUnicode_InternFromString("__getitem__");
        if (!engine.getitem)
            return -1;
#elif CPYTHON_INLINES_INIT
        engine.type_new = PyType_Type.tp_new;
        engine.init = PyUnicode_InternFromString("__init__");
        if (!engine.init)
            return -1;
#endif
    }
    engine.hook = !rec_clock_is_counter ? hook_slowly : rec_min_duration_ticks ? dropping_hook :
                  rec_functions.extra_index == 0 ? frame_hook : frame_hook_elsewhere;
    if (begin() != 0)
        return -1;
#if CPYTHON_INLINES_GETITEM || CPYTHON_INLINES_INIT
    prepare_classes(&PyBaseObject_Type);
#endif
    /* What was there when the last recording ended may call ours; any other cannot. */
    if (!is_ours(installed()) && installed() != engine.left) {
        engine.evaluate = installed();
        engine.caller = NULL;
    }
    hook();
    return 0;
}

static void stop(void)
{
    rec_threads_end_buffers();
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (!thread)
            continue;
        rec_threads_refresh_name(ts, thread);
        if (thread->epoch == rec_state.epoch &&
            !rec_threads_emit_left(thread, rec_threads_count_recorded(ts, cpython_running_within(
                ts, thread->hooked_low + thread->stack.hooked_size, thread->stack_low ? thread->stack_top : UINTPTR_MAX))))
            rec_threads_start_chunk(thread, 0, rec_threads_innermost(ts), rec_no_frame);
    }
    unhook_for_good();
}

static int enter_engine(enum rec_enter why)
{
    if (why == REC_ENTER_START)
        return start();
    if (why == REC_ENTER_CHILD)
        return begin();
    if (why == REC_ENTER_HANDOVER)
        return -1;
    resume_hook();
    return 0;
}

static void leave_engine(enum rec_leave why)
{
    if (why == REC_LEAVE_PAUSE)
        pause_hook();
    else if (why == REC_LEAVE_FAILURE)
        unhook_for_good();
    else if (why == REC_LEAVE_STOP)
        stop();
    else if (why == REC_LEAVE_OFF && engine.is_on)
        unhook();
    if (why != REC_LEAVE_PAUSE && why != REC_LEAVE_FAILURE)
        engine.is_on = engine.is_suspect = false;
}

static const struct rec_engine frame = {
    .name = "frame", .enter = enter_engine, .leave = leave_engine, .look = look, .needs_look = needs_look };
const struct rec_engine *const rec_engine_frame = &frame;

#else

const struct rec_engine *const rec_engine_frame = NULL;

#endif
