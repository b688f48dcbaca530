/* The frame engine: a frame evaluation function (PEP 523) around each Python frame. The entry record before the
 * evaluation, the exit record after it: pairing is structural. specs/recording.md tells which record comes of what.
 *
 * What one event reads lies in struct rec_log of the current thread. An event is fast when
 * - the log of the last event is this thread's,
 * - the caller's C evaluation lies between the guard and the base (below), both on this thread's C stack,
 * - the function was seen before in this recording, so that its mark is in co_extra,
 * - and the chunk has room.
 * Everything else goes through catch_up() or turn().
 *
 *     high addresses   base: evaluations that began before recording (or while the hook was off). Their frames
 *                      are left without the hook seeing it.
 *        floor ------- (hooked_low + hooked_size)
 *                      hooked: each evaluation runs one frame, which the hook entered
 *        guard ------- (hooked_low): a quarter of the stack is used
 *                      the hook is taken off for the calls from here on, so that Python calls need no C stack
 *     low addresses
 *
 * A call out of the base, or a return into it, is where the log learns which frames of the base are gone:
 * base_depth is how many recorded frames it had when last looked at, and the difference is told by LEFT. */
#include "engine.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "cpython_frame.h"
#include "log.h"

const char rec_engine_name[] = "frame";

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define MAX_OPEN 1024                   /* OPEN records of a block: the innermost frames */
#define STACK_SHARE 4                   /* the hook uses at most this part of a thread's C stack ... */
#define STACK_MOST (16 << 20)           /* ... and at most this, where the stack is said to be endless */
#define STACK_UNKNOWN (64 << 10)        /* used where the bounds cannot be had */
#define RECENT 4096                     /* logs found by their thread state without a search; a power of two */

/* A mark: what is known of a code object, kept in its co_extra. Bits 0 to 31: index in the name table; 32 to 35: flags;
 * 36 to 63: number of the recording, so that marks of an earlier one are void. Filters will set MARK_EXCLUDED. */
enum {
    MARK_EXCLUDED = 1,                  /* no records; what it calls has */
    MARK_CONTINUABLE = 2,
    MARK_NAMES = 4,                     /* a call of it names a thread */
    MARK_SUBSCRIPT = 8                  /* it is called __getitem__, or its locals are a namespace that may have one */
};
#define MARK_SESSION_SHIFT 4            /* within the upper word */

static struct {
    bool is_active;
    uint32_t plain;                     /* upper word of a mark of this recording without flags */
    uint32_t session;
    Py_ssize_t extra_index;
    _PyFrameEvalFunction hook;          /* ours: frame_hook, or hook_slowly where there is no counter */
    _PyFrameEvalFunction evaluate;      /* the hook that was there before, or CPython's own */
    _PyFrameEvalFunction other;         /* another tool's hook that may call ours, which could not be taken off */
    bool is_unhooked;                   /* the hook is off, beyond a guard */
    uint32_t epoch;                     /* raised when other threads may have run without the hook */
    PyInterpreterState *interp;
    const char *own;
    size_t own_size;
    struct {                            /* interned names */
        PyObject *capsule, *name, *threading, *active, *getitem;
    } keys;
    uint32_t n_ending;                  /* logs whose thread is being cleared */
    struct rec_log *recent[RECENT];
} engine = { .extra_index = -1 };

/* ---- code objects ---- */

static uint32_t mark_flags(uint64_t mark)
{
    return (uint32_t)(mark >> 32) & ((1 << MARK_SESSION_SHIFT) - 1);
}

static bool is_current_mark(uint64_t mark)
{
    return mark >> (32 + MARK_SESSION_SHIFT) == engine.session;
}

static enum pnr_function_kind kind_of(const PyCodeObject *code)
{
    if (code->co_flags & CO_COROUTINE)
        return PNR_FUNCTION_COROUTINE;
    if (code->co_flags & CO_ASYNC_GENERATOR)
        return PNR_FUNCTION_ASYNC_GENERATOR;
    if (code->co_flags & CO_ITERABLE_COROUTINE)
        return PNR_FUNCTION_ITERABLE_COROUTINE;
    return code->co_flags & CO_GENERATOR ? PNR_FUNCTION_GENERATOR : PNR_FUNCTION_PLAIN;
}

/* The UTF-8 of a str, lone surrogates included; "?" for anything else. *owned is to be released after use. Keeps
 * nothing in the str, and makes no object that could start a garbage collection. */
static struct pnr_string text_of(PyObject *object, PyObject **owned)
{
    *owned = object && PyUnicode_Check(object) ? PyUnicode_AsEncodedString(object, "utf-8", "surrogatepass") : NULL;
    if (!*owned) {
        PyErr_Clear();
        return (struct pnr_string){ "?", 1 };
    }
    Py_ssize_t size = PyBytes_GET_SIZE(*owned), most = PNR_NAME_MAX + 4;    /* the log cuts at a character's edge */
    return (struct pnr_string){ PyBytes_AS_STRING(*owned), (uint32_t)(size < most ? size : most) };
}

static bool is_text(struct pnr_string s, const char *text)
{
    return s.size == strlen(text) && memcmp(s.bytes, text, s.size) == 0;
}

/* The functions of threading at whose entry a thread's name is known or changes. */
static bool names_thread(const PyCodeObject *code, const struct pnr_string strings[3])
{
    return is_text(strings[0], "threading") &&
           (is_text(strings[1], "Thread._bootstrap_inner") ||
            (is_text(strings[1], "Thread.name") && code->co_argcount == 2));
}

static bool may_subscript(const PyCodeObject *code)
{
    return !(code->co_flags & CO_OPTIMIZED) ||
           (code->co_argcount == 2 && PyUnicode_CompareWithASCIIString(code->co_name, "__getitem__") == 0);
}

/* Gives a code object its mark. Returns 0 when the name table cannot be written. Runs no Python code and keeps
 * the exception that is set. */
static uint64_t make_mark(const cpython_frame *f)
{
    PyObject *type, *value, *traceback, *owned[3];
    PyCodeObject *code = cpython_code(f);
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *module = cpython_lookup(cpython_globals(f), engine.keys.name);        /* borrowed */
    struct pnr_string strings[3] = { text_of(module, &owned[0]), text_of(code->co_qualname, &owned[1]),
                                     text_of(code->co_filename, &owned[2]) };
    enum pnr_function_kind kind = kind_of(code);
    uint64_t flags = 0, index = 0, mark = 0;
    if (strings[2].size > engine.own_size && memcmp(strings[2].bytes, engine.own, engine.own_size) == 0)
        flags = MARK_EXCLUDED;
    else
        index = rec_log_function(kind, (uint32_t)code->co_firstlineno, strings);
    if (kind != PNR_FUNCTION_PLAIN)
        flags |= MARK_CONTINUABLE;
    else if (index && names_thread(code, strings))
        flags |= MARK_NAMES;
    if (may_subscript(code))
        flags |= MARK_SUBSCRIPT;
    if (code->co_argcount == 2)         /* it may be a __getitem__ by another name */
        cpython_never_inline(cpython_function(f));
    if (index || flags & MARK_EXCLUDED) {
        mark = ((uint64_t)engine.plain | flags) << 32 | index;
        if (_PyCode_SetExtra((PyObject *)code, engine.extra_index, (void *)(uintptr_t)mark) != 0)
            PyErr_Clear();              /* it is then named again at the next call */
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(owned[i]);
    PyErr_Restore(type, value, traceback);
    return mark;
}

static uint64_t mark_of(const cpython_frame *f)
{
    uint64_t mark = cpython_code_value(cpython_code(f), engine.extra_index);
    return is_current_mark(mark) ? mark : make_mark(f);
}

/* ---- the stack as it is ---- */

struct open_frame {
    uint64_t frame;
    uint32_t function;
};

static uint64_t identity_of(const cpython_frame *f)
{
    return (uint64_t)(uintptr_t)f >> 4 & ((UINT64_C(1) << PNR_FRAME_BITS) - 1);
}

/* The next frame outwards, this one included, that is recorded; NULL when there is none. */
static cpython_frame *recorded_from(cpython_frame *f, uint64_t *mark)
{
    for (; f; f = f->previous) {
        if (cpython_is_incomplete(f) || cpython_is_delegating(f))
            continue;
        *mark = mark_of(f);
        if (*mark && !(mark_flags(*mark) & MARK_EXCLUDED))
            return f;
    }
    return NULL;
}

static uint32_t count_recorded(cpython_frame *f)
{
    uint64_t mark;
    uint32_t n = 0;
    while ((f = recorded_from(f, &mark))) {
        f = f->previous;
        n++;
    }
    return n;
}

/* Nothing can be kept any more: the hook goes, the program runs on. */
static void give_up(void)
{
    engine.is_active = false;
    rec_current = &rec_log_nobody;
    if (_PyInterpreterState_GetEvalFrameFunc(engine.interp) == engine.hook)
        _PyInterpreterState_SetEvalFrameFunc(engine.interp, engine.evaluate);
}

/* Takes a new chunk, which begins with the stack. inner: the frame that is about to be left, or below which a gap
 * lies, which is not on the interpreter's stack; function 0 = none. */
static bool turn(PyThreadState *ts, struct rec_log *log, uint16_t flags, struct open_frame inner)
{
    static struct open_frame open[MAX_OPEN];            /* innermost first; guarded by the GIL */
    uint32_t n = 0;
    uint64_t mark;
    if (inner.function)
        open[n++] = inner;
    cpython_frame *f = cpython_running(ts);
    for (; n < MAX_OPEN && (f = recorded_from(f, &mark)); f = f->previous)
        open[n++] = (struct open_frame){ cpython_is_continuable(f) ? identity_of(f) : 0, (uint32_t)mark };
    if (n == MAX_OPEN && recorded_from(f, &mark))
        flags |= PNR_BLOCK_DEEPER;
    if (!rec_log_turn(log, flags, n)) {
        rec_log_lose(1);
        give_up();
        return false;
    }
    while (n--)
        rec_log_store(log, 0, PNR_OPEN, open[n].frame, open[n].function);
    return true;
}

/* ---- appending ---- */

static __attribute__((noinline)) void append_after_turn(PyThreadState *ts, struct rec_log *log, enum pnr_kind kind,
                                                        struct open_frame about, struct open_frame inner)
{
    if (turn(ts, log, 0, inner))
        rec_log_store(log, rec_clock_ticks() - log->base, kind, about.frame, about.function);
}

/* inner: as for turn(). */
static inline void append(PyThreadState *ts, struct rec_log *log, enum pnr_kind kind, struct open_frame about,
                   struct open_frame inner)
{
    uint64_t ticks = rec_clock_ticks() - log->base;
    if (likely(rec_log_has_room(log, ticks)))
        rec_log_store(log, ticks, kind, about.frame, about.function);
    else
        append_after_turn(ts, log, kind, about, inner);
}

static const struct open_frame no_frame;

static inline void append_entry(PyThreadState *ts, struct rec_log *log, enum pnr_kind kind, uint64_t frame,
                                uint32_t function)
{
    append(ts, log, kind, (struct open_frame){ frame, function }, no_frame);
}

static inline void append_exit(PyThreadState *ts, struct rec_log *log, enum pnr_kind kind, uint64_t frame,
                               uint32_t function)
{
    append(ts, log, kind, (struct open_frame){ frame, function }, (struct open_frame){ frame, function });
}

/* ---- threads ---- */

/* The value of an attribute, without the type's own __getattribute__. Owned, or NULL without exception. */
static PyObject *plain_attribute(PyObject *object, const char *name)
{
    PyObject *key = PyUnicode_InternFromString(name);
    PyObject *value = key ? PyObject_GenericGetAttr(object, key) : NULL;
    Py_XDECREF(key);
    if (!value)
        PyErr_Clear();
    return value;
}

/* threading._active[ts->thread_id]. Borrowed, or NULL. */
static PyObject *thread_object(const PyThreadState *ts)
{
    PyObject *modules = PySys_GetObject("modules");     /* all borrowed */
    PyObject *module = modules && PyDict_Check(modules) ? cpython_lookup(modules, engine.keys.threading) : NULL;
    PyObject *active = module && PyModule_Check(module) ?
        cpython_lookup(PyModule_GetDict(module), engine.keys.active) : NULL;
    PyObject *id = active && PyDict_Check(active) ? PyLong_FromUnsignedLong(ts->thread_id) : NULL;
    PyObject *thread = id ? PyDict_GetItem(active, id) : NULL;
    Py_XDECREF(id);
    return thread;
}

/* Writes the name of a threading.Thread, or that it has none. */
static void write_name_of(const struct rec_log *log, PyObject *thread)
{
    PyObject *owned, *name = plain_attribute(thread, "_name");
    if (name && PyUnicode_Check(name)) {
        rec_log_rename(log, text_of(name, &owned));
        Py_XDECREF(owned);
    }
    Py_XDECREF(name);
}

static bool is_log_of(const struct rec_log *log, const PyThreadState *ts)
{
    return log->owner == ts && log->owner_id == ts->id;         /* an address is used again, an id is not */
}

static struct rec_log *find_log(const PyThreadState *ts)
{
    struct rec_log **recent = &engine.recent[(uintptr_t)ts / 64 % RECENT];
    if (*recent && is_log_of(*recent, ts))
        return *recent;
    for (struct rec_log *log = rec_log_newest(); log; log = log->older)
        if (is_log_of(log, ts))
            return *recent = log;
    return NULL;
}

/* Tells how many frames of the base are gone when only `present` are still there. Returns false when there was no
 * room. */
static bool tell_left(struct rec_log *log, uint32_t present)
{
    uint64_t ticks = rec_clock_ticks() - log->base;
    if (log->base_depth <= present)
        return true;
    if (!rec_log_has_room(log, ticks))
        return false;
    rec_log_store(log, ticks, PNR_LEFT, 0, log->base_depth - present);
    log->base_depth = present;
    return true;
}

/* Runs when the thread state is cleared, the only sign of a thread's end that comes in time. What is cleared after
 * it (thread-local objects) can still run Python code, so the log ends only when the thread state is gone.
 * An interpreter that ends clears those of daemon threads, which stop where they are, and last its own: no more events
 * then, and rec_log_stop ends the logs. */
static void thread_ended(PyObject *capsule)
{
    struct rec_log *log = PyCapsule_GetPointer(capsule, rec_engine_name);
    if (!engine.is_active || (uintptr_t)PyCapsule_GetContext(capsule) != engine.session)
        return;
    if (_Py_IsFinalizing() && log->owner == PyThreadState_Get()) {
        give_up();
        return;
    }
    log->is_ending = true;
    engine.n_ending++;
    if (!_Py_IsFinalizing())
        tell_left(log, 0);
    rec_current = &rec_log_nobody;
}

/* Ends the logs of thread states that are gone. */
static void end_logs(void)
{
    for (struct rec_log *log = rec_log_newest(), *older; log; log = older) {
        older = log->older;
        PyThreadState *ts = log->is_ending ? PyInterpreterState_ThreadHead(engine.interp) : NULL;
        while (ts && !is_log_of(log, ts))
            ts = PyThreadState_Next(ts);
        if (!log->is_ending || ts)
            continue;
        memset(engine.recent, 0, sizeof engine.recent);
        rec_log_end(log);
        engine.n_ending--;
    }
}

/* Hangs the log's end on the thread state. No garbage collection meanwhile: it could run Python code here. */
static void watch_end(PyThreadState *ts, struct rec_log *log)
{
    int was_enabled = PyGC_Disable();
    if (!ts->dict)
        ts->dict = PyDict_New();
    PyObject *capsule = PyCapsule_New(log, rec_engine_name, NULL);
    if (!capsule || !ts->dict || PyCapsule_SetContext(capsule, (void *)(uintptr_t)engine.session) != 0 ||
        PyDict_SetItem(ts->dict, engine.keys.capsule, capsule) != 0 ||
        PyCapsule_SetDestructor(capsule, thread_ended) != 0)
        PyErr_Clear();                  /* its chunk is then put when others need it, or at the end */
    Py_XDECREF(capsule);
    if (was_enabled)
        PyGC_Enable();
}

/* A log for a thread that had none. NULL when out of memory: its events are lost, and counted. */
static struct rec_log *new_log(PyThreadState *ts)
{
    bool is_main = ts->native_thread_id == (unsigned long)getpid();
    const char *name = is_main ? "MainThread" : "";
    PyObject *type, *value, *traceback;
    if (engine.n_ending)                /* not earlier: it takes a look at all threads */
        end_logs();
    struct rec_log *log = rec_log_new(ts, (uint32_t)ts->native_thread_id,
                                      (struct pnr_string){ name, (uint32_t)strlen(name) });
    if (!log) {
        rec_log_lose(1);
        return NULL;
    }
    log->owner_id = ts->id;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *thread = thread_object(ts);
    if (thread)
        write_name_of(log, thread);
    watch_end(ts, log);
    PyErr_Restore(type, value, traceback);
    return log;
}

/* At the entry of a function that names a thread: the present one, or the one whose name is being set. */
static void note_name(PyThreadState *ts, const cpython_frame *f, struct rec_log *log)
{
    PyObject *thread = cpython_argument(f, 0), *owned;
    if (!thread)
        return;
    if (cpython_code(f)->co_argcount == 1) {
        log->native_id = (uint32_t)ts->native_thread_id;    /* so far it can be that of the thread that made it */
        write_name_of(log, thread);
        return;
    }
    PyObject *name = cpython_argument(f, 1), *id = plain_attribute(thread, "_ident");
    if (name && PyUnicode_Check(name) && id && PyLong_Check(id)) {
        unsigned long ident = PyLong_AsUnsignedLong(id);
        for (PyThreadState *t = PyInterpreterState_ThreadHead(ts->interp); t; t = PyThreadState_Next(t)) {
            struct rec_log *named = t->thread_id == ident ? find_log(t) : NULL;
            if (named) {
                rec_log_rename(named, text_of(name, &owned));
                Py_XDECREF(owned);
            }
        }
        PyErr_Clear();
    }
    Py_XDECREF(id);
}

/* ---- __getitem__ ---- */

/* Borrowed dict of a class or a namespace. */
static void never_inline_getitem(PyObject *dict)
{
    PyObject *function = PyDict_Check(dict) ? cpython_lookup(dict, engine.keys.getitem) : NULL;     /* borrowed */
    if (function)
        cpython_never_inline(function);
}

/* All classes that are there when recording begins: the class and those below it. */
static void scan_classes(PyObject *class)
{
    never_inline_getitem(((PyTypeObject *)class)->tp_dict);
    PyObject *below = PyObject_CallMethod((PyObject *)&PyType_Type, "__subclasses__", "O", class);  /* owned */
    for (Py_ssize_t i = 0; below && i < PyList_GET_SIZE(below); i++)
        if (((PyTypeObject *)PyList_GET_ITEM(below, i))->tp_base == (PyTypeObject *)class)  /* once, not by each base */
            scan_classes(PyList_GET_ITEM(below, i));
    Py_XDECREF(below);
    PyErr_Clear();
}

/* ---- the base and the guard ---- */

/* Where the guard lies on the C stack of the running thread. */
static uintptr_t find_guard(void)
{
    pthread_attr_t attr;
    void *low;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &low, &size) != 0)
            size = 0;
        pthread_attr_destroy(&attr);
    }
    if (!size)
        return (uintptr_t)__builtin_frame_address(0) - STACK_UNKNOWN;
    size_t share = size / STACK_SHARE;
    return (uintptr_t)low + size - (share < STACK_MOST ? share : STACK_MOST);
}

/* All evaluations that run now are the base. */
static void set_floor(PyThreadState *ts, struct rec_log *log)
{
    if (!log->hooked_low)
        log->hooked_low = find_guard();
    uintptr_t floor = cpython_is_at_root(ts) ? UINTPTR_MAX : cpython_evaluation(ts);
    log->hooked_size = floor > log->hooked_low ? floor - log->hooked_low : 0;
}

static bool is_beyond_guard(const PyThreadState *ts, const struct rec_log *log)
{
    return !cpython_is_at_root(ts) && cpython_evaluation(ts) < log->hooked_low;
}

static bool is_hooked(const PyThreadState *ts, const struct rec_log *log)
{
    return cpython_evaluation(ts) - log->hooked_low < log->hooked_size;
}

/* A log that begins, or that may have missed events: the stack is told in full, and all of it is the base. */
static bool adopt(PyThreadState *ts, struct rec_log *log, uint16_t flags, struct open_frame leaving)
{
    log->epoch = engine.epoch;
    if (!turn(ts, log, flags, leaving))
        return false;
    log->base_depth = count_recorded(cpython_running(ts));      /* the frame being left has its exit record next */
    return true;
}

/* An event between the base and a hooked frame: tells which frames of the base were left. */
static void sync_base(PyThreadState *ts, struct rec_log *log, struct open_frame leaving)
{
    uint32_t depth = count_recorded(cpython_running(ts));
    uint32_t present = leaving.function && log->base_depth > depth ? depth + 1 : depth;
    if (!tell_left(log, present))
        turn(ts, log, 0, leaving);      /* its OPEN records tell it */
    log->base_depth = depth;
    set_floor(ts, log);
}

/* For any event that is not fast: finds the thread's log, makes it the current one and brings it to the present.
 * leaving: the frame whose exit this is. NULL when nothing is recorded. */
static struct rec_log *catch_up(PyThreadState *ts, struct open_frame leaving)
{
    if (!engine.is_active || ts->interp != engine.interp)
        return NULL;
    if (rec_log_is_closed()) {
        give_up();
        return NULL;
    }
    struct rec_log *log = find_log(ts);
    bool is_new = !log;
    if (is_new && !(log = new_log(ts)))
        return NULL;
    rec_current = log->is_ending ? &rec_log_nobody : log;
    if (is_new || log->epoch != engine.epoch) {
        if (!adopt(ts, log, is_new ? 0 : PNR_BLOCK_RESYNC, leaving))
            return NULL;
        set_floor(ts, log);
    } else if (!is_hooked(ts, log) && !(log->hooked_low && is_beyond_guard(ts, log))) {
        sync_base(ts, log, leaving);
    }
    return engine.is_active ? log : NULL;
}

/* ---- the hook ---- */

/* The exit of a frame that was entered in an earlier recording has no function number in this one: it counts as
 * left unseen. */
static __attribute__((noinline)) void leave_slowly(PyThreadState *ts, enum pnr_kind kind, uint64_t frame, uint64_t mark)
{
    bool is_known = is_current_mark(mark);
    struct rec_log *log = catch_up(ts, is_known ? (struct open_frame){ frame, (uint32_t)mark } : no_frame);
    if (log && is_known)
        append_exit(ts, log, kind, frame, (uint32_t)mark);
}

static inline bool is_fast(const PyThreadState *ts, const struct rec_log *log)
{
    return likely(log->owner == ts) && likely(is_hooked(ts, log));
}

/* A frame that was entered in an earlier recording is part of this one's base, so its exit is never fast: a fast mark
 * is a current one. */
static inline void leave(PyThreadState *ts, enum pnr_kind kind, uint64_t frame, uint64_t mark)
{
    struct rec_log *log = rec_current;
    if (is_fast(ts, log))
        append_exit(ts, log, kind, frame, (uint32_t)mark);
    else
        leave_slowly(ts, kind, frame, mark);
}

/* Takes the entry record of a frame that never ran back, if it is the newest. */
static bool take_back(PyThreadState *ts, enum pnr_kind kind, uint64_t mark)
{
    struct rec_log *log = rec_current;
    if (!cpython_never_began(ts) || log->owner != ts || log->next == log->first ||
        pnr_record_kind(log->next[-1]) != kind || pnr_record_function(log->next[-1]) != (uint32_t)mark)
        return false;
    rec_log_take_back(log);
    return true;
}

/* Evaluates without the hook: Python calls below this frame then need no C stack, as without the recorder. Other
 * threads that run meanwhile run without it too. */
static PyObject *evaluate_unhooked(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_log *log,
                                   uint64_t frame, uint64_t mark)
{
    const struct open_frame self = { frame, (uint32_t)mark }, stack_gap = { 0, PNR_GAP_STACK };
    uint32_t session = engine.session;
    if (!engine.is_active)              /* the entry record found no chunk */
        return engine.evaluate(ts, f, throwflag);
    _PyFrameEvalFunction hook = _PyInterpreterState_GetEvalFrameFunc(engine.interp);
    append(ts, log, PNR_GAP, stack_gap, self);
    _PyInterpreterState_SetEvalFrameFunc(engine.interp, engine.evaluate);
    engine.is_unhooked = true;
    PyObject *result = engine.evaluate(ts, f, throwflag);
    if (!engine.is_active || engine.session != session)
        return result;
    engine.is_unhooked = false;
    if (_PyInterpreterState_GetEvalFrameFunc(engine.interp) == engine.evaluate)
        _PyInterpreterState_SetEvalFrameFunc(engine.interp, hook);
    log = find_log(ts);
    if (log && PyThreadState_Next(PyInterpreterState_ThreadHead(engine.interp))) {
        if (log->epoch == engine.epoch)
            log->epoch++;
        engine.epoch++;
    }
    if ((log = catch_up(ts, self)))
        append(ts, log, PNR_GAP_END, stack_gap, self);
    return result;
}

/* The exit record of a frame that was left with this result. */
static inline void append_result(PyThreadState *ts, const cpython_frame *f, const PyObject *result, enum pnr_kind entry,
                                 uint64_t frame, uint64_t mark)
{
    bool is_continuable = entry != PNR_CALL;
    if (likely(result != NULL))
        leave(ts, !is_continuable ? PNR_RETURN : cpython_is_suspended(f) ? PNR_YIELD : PNR_FINISH, frame, mark);
    else if (likely(!take_back(ts, entry, mark)))
        leave(ts, is_continuable ? PNR_FINISH_UNWIND : PNR_UNWIND, frame, mark);
}

static enum pnr_kind entry_of(const cpython_frame *f, uint64_t mark)
{
    if (!(mark_flags(mark) & MARK_CONTINUABLE))
        return PNR_CALL;
    return cpython_is_first_entry(f) ? PNR_START : PNR_RESUME;
}

/* A frame that only makes a continuable one is no event of its own: CREATE tells what it made. */
static PyObject *create(PyThreadState *ts, cpython_frame *f, int throwflag, uint64_t mark)
{
    PyObject *result = engine.evaluate(ts, f, throwflag);
    const cpython_frame *made = result ? cpython_generator_frame(result) : NULL;
    struct rec_log *log = rec_current;
    if (!made || !is_current_mark(mark) || (!is_fast(ts, log) && !(log = catch_up(ts, no_frame))))
        return result;
    append_entry(ts, log, PNR_CREATE, identity_of(made), (uint32_t)mark);
    return result;
}

static __attribute__((noinline)) PyObject *hook_slowly(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    struct rec_log *log = catch_up(ts, no_frame);
    uint64_t mark = log ? mark_of(f) : 0;
    if (!mark)
        return engine.evaluate(ts, f, throwflag);
    bool is_unhooked = is_beyond_guard(ts, log);
    if (mark_flags(mark) & MARK_EXCLUDED)
        return is_unhooked ? evaluate_unhooked(ts, f, throwflag, log, 0, 0) : engine.evaluate(ts, f, throwflag);
    if (mark_flags(mark) & MARK_NAMES)
        note_name(ts, f, log);
    if (mark_flags(mark) & MARK_CONTINUABLE && !cpython_is_continuable(f))
        return create(ts, f, throwflag, mark);
    PyObject *namespace = NULL;         /* borrowed; whoever evaluates a code in a namespace owns it meanwhile */
    if (mark_flags(mark) & MARK_SUBSCRIPT) {
        namespace = cpython_namespace(f);
        if (cpython_code(f)->co_flags & CO_OPTIMIZED)
            cpython_never_inline(cpython_function(f));
    }
    enum pnr_kind entry = entry_of(f, mark);
    uint64_t frame = entry == PNR_CALL ? 0 : identity_of(f);
    append_entry(ts, log, entry, frame, (uint32_t)mark);
    PyObject *result = is_unhooked ? evaluate_unhooked(ts, f, throwflag, log, frame, mark) :
                                     engine.evaluate(ts, f, throwflag);
    if (result && namespace)
        never_inline_getitem(namespace);
    append_result(ts, f, result, entry, frame, mark);
    return result;
}

static __attribute__((noinline)) PyObject *hook_continuable(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                            uint64_t mark)
{
    if (mark >> 32 != (engine.plain | MARK_CONTINUABLE))
        return hook_slowly(ts, f, throwflag);
    if (!cpython_is_continuable(f))
        return create(ts, f, throwflag, mark);
    enum pnr_kind entry = entry_of(f, mark);
    uint64_t frame = identity_of(f);
    append_entry(ts, rec_current, entry, frame, (uint32_t)mark);
    PyObject *result = engine.evaluate(ts, f, throwflag);
    append_result(ts, f, result, entry, frame, mark);
    return result;
}

static __attribute__((noinline)) PyObject *leave_plain(PyThreadState *ts, PyObject *result, uint64_t mark)
{
    append_result(ts, NULL, result, PNR_CALL, 0, mark);
    return result;
}

/* The hot path: a plain frame, timed by the counter. All else leaves it by a tail call, so that it calls nothing but
 * the evaluation and keeps two values over it. */
static PyObject *frame_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    struct rec_log *log = rec_current;
    if (!is_fast(ts, log))
        return hook_slowly(ts, f, throwflag);
    uint64_t mark = cpython_code_value(cpython_code(f), engine.extra_index);
    if (unlikely(mark >> 32 != engine.plain))
        return hook_continuable(ts, f, throwflag, mark);
    uint64_t ticks = rec_clock_counter() - log->base;
    if (unlikely(!rec_log_has_room(log, ticks)))
        return hook_slowly(ts, f, throwflag);
    rec_log_store(log, ticks, PNR_CALL, 0, (uint32_t)mark);
    PyObject *result = engine.evaluate(ts, f, throwflag);
    __asm__("" : "+r"(mark));           /* one value is kept over the evaluation, not what was made of it as well */
    log = rec_current;
    if (unlikely(!result) || !is_fast(ts, log))
        return leave_plain(ts, result, mark);
    ticks = rec_clock_counter() - log->base;
    if (unlikely(!rec_log_has_room(log, ticks)))
        return leave_plain(ts, result, mark);
    rec_log_store(log, ticks, PNR_RETURN, 0, (uint32_t)mark);
    return result;
}

/* ---- interface ---- */

int rec_engine_init(const char *own)
{
    engine.own = own;
    engine.own_size = strlen(own);
    engine.evaluate = _PyEval_EvalFrameDefault;
    if (engine.extra_index < 0)
        engine.extra_index = _PyEval_RequestCodeExtraIndex(NULL);
    if (engine.extra_index < 0) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: the interpreter has no place left for data on code objects "
                                            "(PEP 523); record without the other tools that use it");
        return -1;
    }
    engine.keys.capsule = PyUnicode_InternFromString("panopticon.log");
    engine.keys.name = PyUnicode_InternFromString("__name__");
    engine.keys.threading = PyUnicode_InternFromString("threading");
    engine.keys.active = PyUnicode_InternFromString("_active");
    engine.keys.getitem = PyUnicode_InternFromString("__getitem__");
    return PyErr_Occurred() ? -1 : 0;
}

int rec_engine_start(void)
{
    PyThreadState *self = PyThreadState_Get();
    engine.interp = self->interp;
    engine.session++;
    engine.plain = engine.session << MARK_SESSION_SHIFT;
    engine.epoch = 0;
    engine.hook = rec_clock_is_counter ? frame_hook : hook_slowly;
    memset(engine.recent, 0, sizeof engine.recent);
    engine.is_active = true;
    engine.n_ending = 0;
    engine.is_unhooked = false;
    PyThreadState *oldest = PyInterpreterState_ThreadHead(engine.interp);
    while (PyThreadState_Next(oldest))
        oldest = PyThreadState_Next(oldest);
    for (PyThreadState *ts = oldest; ts; ts = ts->prev) {
        struct rec_log *log = new_log(ts);
        if (!log || !adopt(ts, log, 0, no_frame)) {
            engine.is_active = false;
            PyErr_NoMemory();
            return -1;
        }
    }
    scan_classes((PyObject *)&PyBaseObject_Type);
    _PyFrameEvalFunction now = _PyInterpreterState_GetEvalFrameFunc(engine.interp);
    if (now != engine.hook && now != engine.other) {
        engine.evaluate = now;
        engine.other = NULL;
        _PyInterpreterState_SetEvalFrameFunc(engine.interp, engine.hook);
    }
    return 0;
}

bool rec_engine_stop(bool is_finalized)
{
    bool was_active = engine.is_active;
    if (is_finalized || !was_active) {
        engine.is_active = false;
        return true;
    }
    end_logs();
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(engine.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_log *log = find_log(ts);
        PyObject *thread = log ? thread_object(ts) : NULL;
        if (thread)
            write_name_of(log, thread);
        if (log && log->epoch == engine.epoch)
            if (!tell_left(log, count_recorded(cpython_running_above(ts, log->hooked_low + log->hooked_size))))
                turn(ts, log, 0, no_frame);
    }
    _PyFrameEvalFunction now = _PyInterpreterState_GetEvalFrameFunc(engine.interp);
    bool is_ours = now == (engine.is_unhooked ? engine.evaluate : engine.hook);
    engine.other = is_ours ? NULL : now;
    give_up();
    return is_ours;
}

void rec_engine_forked(void)
{
    if (engine.is_active)
        give_up();
}

int rec_engine_run_detached(int (*func)(void *), void *arg)
{
    return cpython_run_detached(PyThreadState_Get(), func, arg);
}
