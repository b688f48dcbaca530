/* The interpreter's frames and stacks, as far as the recorder reads them. What differs by version stands here, in
 * layout.h (names and offsets of fields), call_inlining.h (calls that no hook sees) and recursion.h (recursion
 * limits), and in no other file of the frame engine. cpython.h includes public.h instead where the version is not
 * known.
 *
 * What the frame engine relies on (Python/ceval.c, _PyEval_EvalFrameDefault; Include/internal/pycore_frame.h):
 * - The hook is called before the new frame is linked in: the running frame is still its caller. When the evaluation
 *   has returned, the running frame is the caller again, and the frame's memory may be gone.
 * - A generator's frame lies inside the generator object (Include/cpython/genobject.h).
 * - 3.11, 3.12: ts->cframe is the _PyCFrame of the innermost C evaluation, an address on the C stack. Its
 *   current_frame is the running Python frame. &ts->root_cframe stands for "no evaluation".
 * - From 3.12 on each C evaluation has an entry frame on the C stack, to which its first Python frame leads. From
 *   3.13 on nothing else shows where the evaluation is.
 * - From 3.15 on a thread's outermost frame is such an entry frame, but in the thread state: ts->base_frame. */
#ifndef REC_INTERNALS_H
#define REC_INTERNALS_H

#include <internal/pycore_ceval.h>
#include <internal/pycore_runtime.h>
#include <internal/pycore_code.h>
#include <opcode.h>

#include "layout.h"
#include "../../format/record.h"

typedef struct _PyInterpreterFrame cpython_frame;

/* 3.12 and 3.13 limit the recursion of C calls by a count (ts->c_recursion_remaining): see recursion.h. */
#define CPYTHON_COUNTS_C_CALLS (PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000)

static inline uintptr_t cpython_stack_pointer(void)
{
#if defined(__x86_64__)
    uintptr_t pointer;
    __asm__ volatile("mov %%rsp, %0" : "=r"(pointer));
    return pointer;
#elif defined(__aarch64__)
    uintptr_t pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
#else
    return (uintptr_t)__builtin_frame_address(0);
#endif
}

/* ---- code objects and dicts ---- */

/* What co_extra points to (Objects/codeobject.c, _PyCodeObjectExtra). */
struct cpython_code_extra {
    Py_ssize_t size;
    void *values[];
};

/* Gets a co_extra value, or 0. Two loads take the place of a call into the interpreter (PyUnstable_Code_GetExtra).
 * Any array of values has a first one, so that its size need not be read for that. */
static inline uint64_t cpython_code_value(const PyCodeObject *code, Py_ssize_t index)
{
    const struct cpython_code_extra *extra = (const struct cpython_code_extra *)code->co_extra;
    bool has = extra && ((__builtin_constant_p(index) && index == 0) || extra->size > index);
    return has ? (uint64_t)(uintptr_t)extra->values[index] : 0;
}

/* Sets a co_extra value. Returns 0, or -1 with an exception set. Where there are no values yet, it makes the array
 * itself, up to this value. The interpreter would make one for all users and, when the code object goes, call the
 * users' free functions with NULL, though they never saw that code object (Objects/codeobject.c, code_dealloc). */
static inline int cpython_set_code_value(PyCodeObject *code, Py_ssize_t index, uint64_t value)
{
    if (!code->co_extra) {
        struct cpython_code_extra *extra = PyMem_Calloc(1, sizeof *extra + (size_t)(index + 1) * sizeof *extra->values);
        if (!extra) {
            PyErr_NoMemory();
            return -1;
        }
        extra->size = index + 1;
        __atomic_store_n(&code->co_extra, extra, __ATOMIC_RELEASE);     /* other threads may read it at this moment */
    }
    return cpython_set_code_extra(code, index, value);
}

/* Gets the value of a str key in a dict, owned, or NULL, and runs no Python code. A lookup among keys of any type
 * calls the __eq__ of those with the same hash, so such a dict is searched for a str from end to end. */
static inline PyObject *cpython_lookup(PyObject *dict, PyObject *key)
{
    if (((PyDictObject *)dict)->ma_keys->dk_kind != DICT_KEYS_GENERAL)
        return cpython_item(dict, key);
    return cpython_search(dict, key);
}

/* ---- frames ---- */

/* Borrowed. */
static inline PyCodeObject *cpython_code(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030E0000
    return (PyCodeObject *)PyStackRef_AsPyObjectBorrow(f->f_executable);
#else
    return (PyCodeObject *)f->CPYTHON_F_CODE;
#endif
}

/* The frame's globals, borrowed. They may be any object's dict. */
static inline PyObject *cpython_globals(const cpython_frame *f) { return f->f_globals; }

/* The frame's argument i while the frame is being entered. Borrowed, or NULL. */
static inline PyObject *cpython_argument(const cpython_frame *f, int i)
{
#if PY_VERSION_HEX >= 0x030E0000
    return PyStackRef_IsNull(f->localsplus[i]) ? NULL : PyStackRef_AsPyObjectBorrow(f->localsplus[i]);
#else
    return f->localsplus[i];
#endif
}

/* The name of parameter i, borrowed: of *args and **kwargs, too, which come last. */
static inline PyObject *cpython_parameter_name(const PyCodeObject *code, int i)
{
    return PyTuple_GET_ITEM(code->co_localsplusnames, i);
}

/* The value of parameter i while the frame is being entered; borrowed, or NULL. has_cells: the instructions before the
 * function's body have run: a parameter that an inner function uses is in a cell then (Python/compile.c, MAKE_CELL). */
static inline PyObject *cpython_parameter(const cpython_frame *f, int i, bool has_cells)
{
    PyObject *value = cpython_argument(f, i);
    bool is_cell = has_cells && PyBytes_AS_STRING(cpython_code(f)->co_localspluskinds)[i] & CO_FAST_CELL;
    return is_cell && value && PyCell_Check(value) ? PyCell_GET(value) : value;
}

static inline cpython_frame *cpython_previous(const cpython_frame *f) { return f->previous; }

/* The identity of a continuable frame among those that exist. */
static inline uintptr_t cpython_address(const cpython_frame *f) { return (uintptr_t)f; }

static inline bool cpython_is_continuable(const cpython_frame *f) { return f->owner == FRAME_OWNED_BY_GENERATOR; }

/* True for a frame that Python code cannot see yet: it is being made, only makes a generator, or is an entry frame. */
static inline bool cpython_is_incomplete(cpython_frame *f) { return _PyFrame_IsIncomplete(f); }

static inline PyGenObject *cpython_generator(const cpython_frame *f)
{
    return (PyGenObject *)((char *)f - offsetof(PyGenObject, gi_iframe));
}

/* The frame of a new generator, coroutine or async generator; NULL for any other object. */
static inline const cpython_frame *cpython_generator_frame(const PyObject *object)
{
    if (!PyGen_CheckExact(object) && !PyCoro_CheckExact(object) && !PyAsyncGen_CheckExact(object))
        return NULL;
    return (const cpython_frame *)&((const PyGenObject *)object)->gi_iframe;
}

/* The instruction that runs, or that has suspended the frame. */
static inline const _Py_CODEUNIT *cpython_instruction(const cpython_frame *f) { return f->CPYTHON_F_INSTRUCTION; }

static inline int cpython_opcode(const _Py_CODEUNIT *instruction)
{
#if PY_VERSION_HEX >= 0x030C0000
    return instruction->op.code;
#else
    return _Py_OPCODE(*instruction);
#endif
}

/* True for a continuable frame that is entered for the first time: it stands before its first RESUME. */
static inline bool cpython_is_first_entry(const cpython_frame *f)
{
    const PyCodeObject *code = cpython_code(f);
    return cpython_instruction(f) - (const _Py_CODEUNIT *)code->co_code_adaptive < code->_co_firsttraceable;
}

/* True for a continuable frame that has been left with a result and may be resumed. */
static inline bool cpython_is_suspended(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return FRAME_STATE_SUSPENDED(cpython_generator(f)->gi_frame_state);
#else
    return cpython_generator(f)->gi_frame_state == FRAME_SUSPENDED;
#endif
}

/* ---- the stack ---- */

/* True for an entry frame: it has no code, and stands for a C evaluation. */
static inline bool cpython_is_entry(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030E0000
    return f->owner >= FRAME_OWNED_BY_INTERPRETER;
#elif PY_VERSION_HEX >= 0x030C0000
    return f->owner == FRAME_OWNED_BY_CSTACK;
#else
    return (void)f, false;
#endif
}

#if PY_VERSION_HEX >= 0x030D0000

static inline cpython_frame *cpython_running(const PyThreadState *ts) { return ts->current_frame; }

/* The running frame where nothing is evaluated. */
static inline cpython_frame *cpython_root(const PyThreadState *ts)
{
#if PY_VERSION_HEX >= 0x030F0000
    return ts->base_frame;
#else
    (void)ts;
    return NULL;
#endif
}

/* True for what stands for "nothing is evaluated". A greenlet's stack ends with NULL in any version: it begins
 * without a running frame (greenlet's TPythonState.cpp, set_initial_state). */
static inline bool cpython_is_root(const PyThreadState *ts, const cpython_frame *f)
{
    return !f || f == cpython_root(ts);
}

static inline bool cpython_is_at_root(const PyThreadState *ts) { return cpython_is_root(ts, ts->current_frame); }

/* The address on the C stack where the running frame's evaluation lies; above any stack where nothing is evaluated. */
static inline uintptr_t cpython_evaluation(const PyThreadState *ts)
{
    const cpython_frame *f = ts->current_frame;
    while (!cpython_is_root(ts, f) && !cpython_is_entry(f))
        f = f->previous;
    return !cpython_is_root(ts, f) ? (uintptr_t)f : UINTPTR_MAX - 1;
}

/* The innermost evaluation between two addresses; 0 when there is none. */
static inline uintptr_t cpython_evaluation_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    const cpython_frame *f = ts->current_frame;
    while (!cpython_is_root(ts, f) && !(cpython_is_entry(f) && (uintptr_t)f >= low && (uintptr_t)f < top))
        f = f->previous;
    return !cpython_is_root(ts, f) ? (uintptr_t)f : 0;
}

/* Goes from an address up the C stack, from evaluation to evaluation, as long as the next one is nearer than distance.
 * Returns the last one, or the address itself. */
static inline uintptr_t cpython_outermost_near(const PyThreadState *ts, uintptr_t address, uintptr_t distance)
{
    for (const cpython_frame *f = ts->current_frame; !cpython_is_root(ts, f); f = f->previous) {
        if (!cpython_is_entry(f))
            continue;
        if ((uintptr_t)f - address >= distance)
            break;
        address = (uintptr_t)f;
    }
    return address;
}

/* The running frame's evaluation, if no other frame runs in it, as is so for a frame that was hooked. For other
 * frames it may be an address that is on no C stack. */
static inline uintptr_t cpython_hooked_evaluation(const PyThreadState *ts)
{
    return likely(ts->current_frame) ? (uintptr_t)ts->current_frame->previous : UINTPTR_MAX - 1;
}

/* The innermost frame of the innermost evaluation between two addresses; NULL when there is none. */
static inline cpython_frame *cpython_running_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    cpython_frame *running = ts->current_frame;
    for (cpython_frame *f = running; !cpython_is_root(ts, f); f = f->previous) {
        if (!cpython_is_entry(f))
            continue;
        if ((uintptr_t)f >= low && (uintptr_t)f < top)
            return running;
        running = f->previous;
    }
    return NULL;
}

#else

static inline cpython_frame *cpython_running(const PyThreadState *ts) { return ts->cframe->current_frame; }
static inline cpython_frame *cpython_root(const PyThreadState *ts) { return (void)ts, NULL; }
static inline bool cpython_is_root(const PyThreadState *ts, const cpython_frame *f) { return (void)ts, !f; }
static inline bool cpython_is_at_root(const PyThreadState *ts) { return ts->cframe == &ts->root_cframe; }
static inline uintptr_t cpython_hooked_evaluation(const PyThreadState *ts) { return (uintptr_t)ts->cframe; }

static inline uintptr_t cpython_evaluation(const PyThreadState *ts)
{
    return cpython_is_at_root(ts) ? UINTPTR_MAX - 1 : (uintptr_t)ts->cframe;
}

static inline const _PyCFrame *cpython_cframe_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    const _PyCFrame *c = ts->cframe;
    while (c != &ts->root_cframe && !((uintptr_t)c >= low && (uintptr_t)c < top))
        c = c->previous;
    return c;
}

static inline uintptr_t cpython_evaluation_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    const _PyCFrame *c = cpython_cframe_within(ts, low, top);
    return c != &ts->root_cframe ? (uintptr_t)c : 0;
}

static inline cpython_frame *cpython_running_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    return cpython_cframe_within(ts, low, top)->current_frame;
}

static inline uintptr_t cpython_outermost_near(const PyThreadState *ts, uintptr_t address, uintptr_t distance)
{
    const _PyCFrame *c = ts->cframe;
    for (; c != &ts->root_cframe && (uintptr_t)c - address < distance; c = c->previous)
        address = (uintptr_t)c;
    return address;
}

#endif

/* True for a frame that nothing but entry frames is outwards of. */
static inline bool cpython_is_outermost(const cpython_frame *f)
{
    const cpython_frame *previous = f->previous;
    while (previous && cpython_is_entry(previous))
        previous = previous->previous;
    return !previous;
}

/* The chunk of the data stack in which the thread's next plain frame will lie (Python/pystate.c, push_chunk). */
static inline const void *cpython_data_stack(const PyThreadState *ts) { return ts->datastack_chunk; }

/* The data stack's first chunk, which stays as long as the stack; NULL before there is any. */
static inline const void *cpython_whole_data_stack(const PyThreadState *ts)
{
    const _PyStackChunk *chunk = ts->datastack_chunk;
    while (chunk && chunk->previous)
        chunk = chunk->previous;
    return chunk;
}

/* Finds the frame that is being cleared while this entry frame leads to none; NULL for a generator's, which is not in
 * the data stack. From 3.12 on a frame that returns is first taken off the stack and then cleared (Python/ceval.c,
 * _PyEvalFrameClearAndPop), and destructors of its variables run meanwhile. It still lies in the data stack, after
 * the frames that called it, and is linked to its evaluation's entry frame. */
static inline cpython_frame *cpython_frame_being_cleared(const PyThreadState *ts, const cpython_frame *entry)
{
#if PY_VERSION_HEX >= 0x030C0000
    const cpython_frame *caller = entry->previous;
    if (cpython_is_root(ts, entry))
        return NULL;
    while (caller && caller->owner != FRAME_OWNED_BY_THREAD)
        caller = caller->previous;
    const _PyStackChunk *newer = NULL, *chunk = ts->datastack_chunk;
    while (chunk && chunk->previous && !((uintptr_t)caller - (uintptr_t)chunk < chunk->size)) {
        newer = chunk;
        chunk = chunk->previous;
    }
    if (!chunk)
        return NULL;
    PyObject *const *at = caller ? (PyObject *const *)caller + cpython_code(caller)->co_framesize : chunk->data + 1;
    for (;;) {
        if (at >= (chunk == ts->datastack_chunk ? ts->datastack_top : chunk->data + chunk->top)) {
            if (!newer)
                return NULL;
            chunk = newer;
            for (newer = ts->datastack_chunk; newer != chunk && newer->previous != chunk; newer = newer->previous)
                ;
            newer = newer != chunk ? newer : NULL;
            at = chunk->data;
            continue;
        }
        cpython_frame *f = (cpython_frame *)at;
        if (f->previous == entry && f->owner == FRAME_OWNED_BY_THREAD)
            return f;
        at += cpython_code(f)->co_framesize;
    }
#else
    return (void)ts, (void)entry, NULL;
#endif
}

/* True for a generator's frame that is on the stack but does not run: throw() and close() link the frames that
 * delegate to the one that they are meant for (Objects/genobject.c, _gen_throw). Such a frame still stands at its
 * yield. A frame that runs may stand there, too, while an exception that was thrown into it unwinds its stack. */
static inline bool cpython_is_delegating(const cpython_frame *f)
{
    if (!cpython_is_continuable(f) || cpython_generator(f)->gi_frame_state != FRAME_EXECUTING)
        return false;
#if PY_VERSION_HEX >= 0x030D0000        /* it stands at the RESUME after its yield, as does one that has just resumed */
    if (f->previous && cpython_is_entry(f->previous))
        return false;
    int opcode = cpython_opcode(cpython_instruction(f) - 1);
#else
    if (f->stacktop < 0)                /* it is in use (Include/internal/pycore_frame.h, _PyFrame_GetStackPointer) */
        return false;
    int opcode = cpython_opcode(cpython_instruction(f));
#endif
#if PY_VERSION_HEX >= 0x030C0000
    if (opcode == INSTRUMENTED_YIELD_VALUE)
        return true;
#endif
    return opcode == YIELD_VALUE;
}

/* True for a frame that has been entered, but whose entry event is still to come: from 3.13 on signals are handled and
 * garbage is collected at its RESUME before the event (Python/bytecodes.c, INSTRUMENTED_RESUME). */
static inline bool cpython_has_pending_entry(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return cpython_opcode(cpython_instruction(f)) == INSTRUMENTED_RESUME;
#else
    return !f;
#endif
}

/* True while the frame that lay here, which had so many words, is being cleared: it is the last one on the data stack,
 * and has been taken off the stack of frames (Python/ceval.c, _PyEvalFrameClearAndPop). Reads nothing of the frame. */
static inline bool cpython_is_cleared_last(const PyThreadState *ts, const cpython_frame *f, uint32_t size)
{
    return (PyObject *const *)f + size == (PyObject *const *)ts->datastack_top && cpython_running(ts) != f;
}

/* True while a frame lies on the thread's data stack whose place, so many words, is this one. Reads nothing of it. */
static inline bool cpython_is_on_data_stack(const PyThreadState *ts, const cpython_frame *f, uint32_t size)
{
    PyObject *const *begin = (PyObject *const *)f, *const *end = begin + size, *const *top = ts->datastack_top;
    for (const _PyStackChunk *chunk = ts->datastack_chunk; chunk; chunk = chunk->previous) {
        if (begin >= chunk->data && end <= top)
            return true;
        if (chunk->previous)
            top = chunk->previous->data + chunk->previous->top;
    }
    return false;
}

/* True for a frame that will be kept when it has been left: a traceback or the program holds its frame object. */
static inline bool cpython_is_held(const cpython_frame *f)
{
    return f->frame_obj && Py_REFCNT(f->frame_obj) > 1;
}

#if PY_VERSION_HEX < 0x030C0000
/* Has the main thread look for pending calls, as one that waits for the GIL has it look for that (Python/ceval_gil.h,
 * SET_GIL_DROP_REQUEST). Releases may move the field: the call that is queued, next to it, shows that it is there. */
static inline void cpython_hasten_pending_call(PyInterpreterState *interp, int (*func)(void *))
{
    struct _ceval_state *at = &interp->ceval;
    for (int i = 0; i < NPENDINGCALLS; i++)
        if (at->pending.calls[i].func == func)
            _Py_atomic_store_relaxed(&at->eval_breaker, 1);
}
#endif

/* Has a function called by the interpreter's next thread that checks for pending calls; in 3.11 by the main thread. Any
 * thread may call it. Returns 0 where that will happen. (Include/internal/pycore_ceval.h; Python/ceval_gil.c)
 * In 3.11 the request of another thread does not reach a main thread that never releases the GIL (Python/ceval.c,
 * SIGNAL_PENDING_CALLS). */
static inline int cpython_add_pending_call(PyInterpreterState *interp, int (*func)(void *))
{
#if PY_VERSION_HEX >= 0x030C0000
    return (int)_PyEval_AddPendingCall(interp, func, NULL, 0);
#else
    int result = _PyEval_AddPendingCall(interp, func, NULL);
    cpython_hasten_pending_call(interp, func);
    return result;
#endif
}

#if PY_VERSION_HEX >= 0x030C0000
/* True for a plain frame that stands at an exit with events: another tool's function for it may run. */
static inline bool cpython_is_leaving(const cpython_frame *f)
{
    int opcode = cpython_opcode(cpython_instruction(f));
    if (cpython_is_continuable(f))
        return false;
    if (opcode == INSTRUMENTED_LINE || opcode == INSTRUMENTED_INSTRUCTION) {    /* these hide what they stand for */
        PyObject *bytes = PyCode_GetCode(cpython_code(f));      /* owned */
        const _Py_CODEUNIT *first = (const _Py_CODEUNIT *)cpython_code(f)->co_code_adaptive;
        if (bytes)
            opcode = (unsigned char)PyBytes_AS_STRING(bytes)[(cpython_instruction(f) - first) * (int)sizeof *first];
        else
            PyErr_Clear();
        Py_XDECREF(bytes);
    }
#ifdef RETURN_CONST
    if (opcode == RETURN_CONST || opcode == INSTRUMENTED_RETURN_CONST)
        return true;
#endif
    return opcode == RETURN_VALUE || opcode == INSTRUMENTED_RETURN_VALUE;
}

/* True for a frame that stands at an instruction with events. */
static inline bool cpython_has_events(const cpython_frame *f)
{
    int opcode = cpython_opcode(cpython_instruction(f));
#ifdef ENTER_EXECUTOR
    if (opcode == ENTER_EXECUTOR)
        return false;
#endif
    return opcode >= MIN_INSTRUMENTED_OPCODE;
}

/* True for a continuable frame that yields, with events: another tool's function for it may run. From 3.13 on it stands
 * after its yield by then. */
static inline bool cpython_is_yielding(const cpython_frame *f)
{
    const _Py_CODEUNIT *instruction = cpython_instruction(f) - (PY_VERSION_HEX >= 0x030D0000);
    return cpython_is_continuable(f) && (cpython_opcode(instruction) == INSTRUMENTED_YIELD_VALUE ||
                                         cpython_opcode(cpython_instruction(f)) == INSTRUMENTED_YIELD_VALUE);
}
#endif

/* ---- the garbage collector ---- */

/* Where the interpreter has the list of which gc.callbacks is another reference (Include/internal/pycore_gc.h, struct
 * _gc_runtime_state). Releases may move the field: the caller compares what is there with gc.callbacks. */
static inline PyObject **cpython_gc_callbacks(PyInterpreterState *interp) { return &interp->gc.callbacks; }

/* ---- the GIL ---- */

/* Looks who holds the GIL of an interpreter, without having it. Both fields are written by the thread that takes it, one
 * after the other (Python/ceval_gil.h, take_gil; from 3.12 on Python/ceval_gil.c), so the holder may be that of some
 * nanoseconds before. A release may move them: the caller has looked before, when it was known who holds it. */
static inline enum pnr_gil cpython_gil_look(PyInterpreterState *interp, const void **holder)
{
#if PY_VERSION_HEX >= 0x030C0000
    struct _gil_runtime_state *gil = interp->ceval.gil;
    if (!gil)
        return PNR_GIL_UNKNOWN;
#else
    struct _gil_runtime_state *gil = &_PyRuntime.ceval.gil;
    (void)interp;
#endif
    if (__atomic_load_n((int *)&gil->locked, __ATOMIC_ACQUIRE) != 1)
        return PNR_GIL_FREE;
    *holder = __atomic_load_n((void **)&gil->last_holder, __ATOMIC_RELAXED);
    return PNR_GIL_HELD;
}

/* ---- other interpreters ---- */

/* Returns how many interpreters this process has made, the main one too; 0: not known. A release may move the field: then
 * that of the main interpreter, which lies before it, is not there either. */
static inline int64_t cpython_interpreters_made(void)
{
    bool is_there = _PyRuntime.interpreters.main == PyInterpreterState_Main();
    return is_there ? __atomic_load_n(&_PyRuntime.interpreters.next_id, __ATOMIC_RELAXED) : 0;
}

/* ---- running a program ---- */

/* Runs func(arg) as the interpreter's own main does: with no Python frame outwards of it, and with all of the recursion
 * limits. */
static inline int cpython_run_detached(PyThreadState *ts, int (*func)(void *), void *arg)
{
#if PY_VERSION_HEX >= 0x030D0000
    cpython_frame **running = &ts->current_frame;
#else
    cpython_frame **running = &ts->cframe->current_frame;
#endif
    cpython_frame *below = *running;
    int used = ts->CPYTHON_LIMIT - ts->CPYTHON_REMAINING;
    *running = cpython_root(ts);
    ts->CPYTHON_REMAINING += used;
#if CPYTHON_COUNTS_C_CALLS              /* a release may change the limit: a new thread state has all of it */
    PyThreadState *fresh = PyThreadState_New(ts->interp);
    int used_c = fresh ? fresh->c_recursion_remaining - ts->c_recursion_remaining : 0;
    if (fresh) {
        PyThreadState_Clear(fresh);
        PyThreadState_Delete(fresh);
    }
    ts->c_recursion_remaining += used_c;
#endif
    int result = func(arg);
#if CPYTHON_COUNTS_C_CALLS
    ts->c_recursion_remaining -= used_c;
#endif
    *running = below;
    ts->CPYTHON_REMAINING -= used;
#if PY_VERSION_HEX >= 0x030F0000        /* sys.monitoring could not find these frames: their PY_UNWIND would crash */
    for (cpython_frame *f = PyErr_Occurred() ? NULL : below; f; f = f->previous)
        if (!cpython_is_entry(f) && _Py_Instrument(cpython_code(f), ts->interp) != 0)
            PyErr_Clear();
#endif
    return result;
}

#endif
