/* The interpreter's internals that the recorder reads, and nothing else of them anywhere. Each CPython version has its
 * own; cpython.h takes public.h for one that is not known here.
 *
 * (Include/internal/pycore_frame.h, 3.14: pycore_interpframe.h; Include/cpython/pystate.h; Python/ceval.c)
 * - The hook is called before the new frame is linked in: the running frame is still its caller. When the
 *   evaluation has returned, the running frame is the caller again, and the frame's memory may be gone.
 * - A frame of a generator lies inside the generator object.
 * - 3.11, 3.12: ts->cframe is the _PyCFrame of the innermost C evaluation, an address on the C stack; its current_frame
 *   is the running Python frame. &ts->root_cframe stands for "no evaluation".
 * - From 3.12 on each C evaluation has an entry frame on the C stack, to which its first Python frame leads. From 3.13
 * on
 *   it is all that tells where the evaluation is.
 * - From 3.15 on a thread's outermost frame is such an entry frame, but in the thread state: ts->base_frame. */
#ifndef REC_INTERNALS_H
#define REC_INTERNALS_H

#include <internal/pycore_code.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe.h>
#endif
#include <opcode.h>

typedef struct _PyInterpreterFrame cpython_frame;

/* 3.11's BINARY_SUBSCR_GETITEM (Python/ceval.c) runs a __getitem__ inside its caller's evaluation without asking for
 * a hook; from 3.12 on it asks. */
#define CPYTHON_INLINES_GETITEM (PY_VERSION_HEX < 0x030C0000)

/* 3.13's CALL_ALLOC_AND_ENTER_INIT (Python/bytecodes.c) runs a __init__ inside the evaluation that calls the class,
 * without asking for a hook; 3.12 has no such instruction, and from 3.14 on it asks. */
#define CPYTHON_INLINES_INIT (PY_VERSION_HEX >= 0x030D0000 && PY_VERSION_HEX < 0x030E0000)

/* 3.12 and 3.13 count C calls that can recurse, and an evaluation as two of them (PY_EVAL_C_STACK_UNITS). */
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

/* A co_extra value, or 0. PyUnstable_Code_GetExtra is a call into the interpreter for two loads. There is room for the
 * first value wherever there are any. */
static inline uint64_t cpython_code_value(const PyCodeObject *code, Py_ssize_t index)
{
    const struct cpython_code_extra *extra = (const struct cpython_code_extra *)code->co_extra;
    bool has = extra && ((__builtin_constant_p(index) && index == 0) || extra->size > index);
    return has ? (uint64_t)(uintptr_t)extra->values[index] : 0;
}

/* Returns 0, or -1 with an exception set. Where there are no values yet, the interpreter would make room for those of all
 * its users, and call their functions that free one when the code object goes (code_dealloc), with NULL, though they
 * never saw that code object. */
static inline int cpython_set_code_value(PyCodeObject *code, Py_ssize_t index, uint64_t value)
{
    if (!code->co_extra) {
        struct cpython_code_extra *extra = PyMem_Calloc(1, sizeof *extra + (size_t)(index + 1) * sizeof *extra->values);
        if (!extra) {
            PyErr_NoMemory();
            return -1;
        }
        extra->size = index + 1;
        code->co_extra = extra;
    }
    return cpython_set_code_extra(code, index, value);
}

/* The value of a str key in a dict, borrowed, or NULL. Runs no Python code, as a lookup among keys of any type can,
 * which compares those with the same hash: such a dict is searched for a real str. */
static inline PyObject *cpython_lookup(PyObject *dict, PyObject *key)
{
    PyObject *k, *value;
    Py_ssize_t at = 0;
    if (((PyDictObject *)dict)->ma_keys->dk_kind != DICT_KEYS_GENERAL)
        return PyDict_GetItemWithError(dict, key);
    while (PyDict_Next(dict, &at, &k, &value))
        if (PyUnicode_CheckExact(k) && PyUnicode_Compare(k, key) == 0)
            return value;
    return NULL;
}

/* ---- frames ---- */

static inline PyCodeObject *cpython_code(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030E0000
    return (PyCodeObject *)PyStackRef_AsPyObjectBorrow(f->f_executable);
#elif PY_VERSION_HEX >= 0x030D0000
    return (PyCodeObject *)f->f_executable;
#else
    return f->f_code;
#endif
}

/* Borrowed, may be any object's dict. */
static inline PyObject *cpython_globals(const cpython_frame *f) { return f->f_globals; }

/* Argument i at the frame's entry. Borrowed, or NULL. */
static inline PyObject *cpython_argument(const cpython_frame *f, int i)
{
#if PY_VERSION_HEX >= 0x030E0000
    return PyStackRef_IsNull(f->localsplus[i]) ? NULL : PyStackRef_AsPyObjectBorrow(f->localsplus[i]);
#else
    return f->localsplus[i];
#endif
}

static inline cpython_frame *cpython_previous(const cpython_frame *f) { return f->previous; }

/* What tells a continuable frame from the others that are there. */
static inline uintptr_t cpython_address(const cpython_frame *f) { return (uintptr_t)f; }

static inline bool cpython_is_continuable(const cpython_frame *f) { return f->owner == FRAME_OWNED_BY_GENERATOR; }

/* True for a frame that Python code could not see yet: it is being made, only makes a generator, or is an entry
 * frame. */
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

/* The instruction that runs, or when the frame is suspended the one that suspended it. */
static inline const _Py_CODEUNIT *cpython_instruction(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return f->instr_ptr;
#else
    return f->prev_instr;
#endif
}

static inline int cpython_opcode(const _Py_CODEUNIT *instruction)
{
#if PY_VERSION_HEX >= 0x030C0000
    return instruction->op.code;
#else
    return _Py_OPCODE(*instruction);
#endif
}

/* At entry of a continuable frame: it runs for the first time. It then stands before its first RESUME. */
static inline bool cpython_is_first_entry(const cpython_frame *f)
{
    const PyCodeObject *code = cpython_code(f);
    return cpython_instruction(f) - (const _Py_CODEUNIT *)code->co_code_adaptive < code->_co_firsttraceable;
}

/* After a continuable frame was left with a result: it may be resumed. */
static inline bool cpython_is_suspended(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return FRAME_STATE_SUSPENDED(cpython_generator(f)->gi_frame_state);
#else
    return cpython_generator(f)->gi_frame_state == FRAME_SUSPENDED;
#endif
}

#if CPYTHON_INLINES_GETITEM
/* Sees to it that a function that is a class's __getitem__ is called through the hook. The specializer only takes
 * functions whose version fits 16 bits (Python/specialize.c), and the instruction compares that version: one that
 * does not fit keeps new places from it and takes the old ones back. */
static inline void cpython_never_inline(PyObject *function)
{
    static uint32_t next = UINT32_C(1) << 31;
    if (PyFunction_Check(function) && ((PyFunctionObject *)function)->func_version <= UINT16_MAX)
        ((PyFunctionObject *)function)->func_version = next++;
}

static inline PyObject *cpython_function(const cpython_frame *f) { return (PyObject *)f->f_func; }

/* The namespace of a frame whose code keeps its locals in one (a class body, a module); borrowed, or NULL. */
static inline PyObject *cpython_namespace(const cpython_frame *f) { return f->f_locals; }
#endif

#if CPYTHON_INLINES_INIT
/* Sees to it that a class's __init__ is called through the hook: the specializer only takes classes that are
 * allocated by PyType_GenericAlloc itself (Python/specialize.c). A new version takes the old places back. */
static inline void cpython_never_inline_init(PyTypeObject *class, allocfunc other)
{
    if (!(class->tp_flags & Py_TPFLAGS_HEAPTYPE) || class->tp_alloc != PyType_GenericAlloc)
        return;
    class->tp_alloc = other;
    if (((PyHeapTypeObject *)class)->_spec_cache.init)
        PyType_Modified(class);
}

/* Undoes it, for the place too that is calling the class: it would stay as it is for any class. */
static inline void cpython_inline_init(const PyThreadState *ts, PyTypeObject *class)
{
    const cpython_frame *caller = ts->current_frame;
    class->tp_alloc = PyType_GenericAlloc;
    if (caller && cpython_opcode(caller->instr_ptr) == CALL_NON_PY_GENERAL) {
        caller->instr_ptr->op.code = CALL;
        caller->instr_ptr[1].counter = adaptive_counter_warmup();
    }
}

/* True when this frame is a __init__ that the interpreter without a hook would run inside the evaluation of the running
 * one that calls the class, if nothing but the interpreter is between the two (Python/specialize.c,
 * specialize_class_call). other: what the class was given in place of PyType_GenericAlloc; name: "__init__". Its place
 * has become hot: it is specialized in the way that is left. */
static inline bool cpython_is_inlining_init(const PyThreadState *ts, const cpython_frame *f, allocfunc other,
                                            PyObject *name)
{
    const cpython_frame *caller = ts->current_frame;
    int opcode = caller ? cpython_opcode(caller->instr_ptr) : 0;
    const PyCodeObject *code = cpython_code(f);
    if ((opcode != CALL_NON_PY_GENERAL && opcode != CALL_ALLOC_AND_ENTER_INIT) || cpython_is_continuable(f) ||
        code->co_argcount != caller->instr_ptr->op.arg + 1 || code->co_kwonlyargcount ||
        (code->co_flags & (CO_VARKEYWORDS | CO_VARARGS | CO_OPTIMIZED)) != CO_OPTIMIZED)
        return false;
    PyTypeObject *class = Py_TYPE(f->localsplus[0]);
    return class->tp_alloc == other && class->tp_flags & Py_TPFLAGS_INLINE_VALUES &&
           class->tp_new == PyBaseObject_Type.tp_new && Py_IS_TYPE(class, &PyType_Type) &&
           _PyType_Lookup(class, name) == f->f_funcobj;
}

/* That instruction puts a frame of its own below the __init__, which counts for the recursion limit. It does not where
 * the two have no room in the chunk of the interpreter's data stack: once a chunk. Alone, a __init__ fills chunks more
 * slowly, so it counts as alone where the two would lie. */
static inline bool cpython_has_init_shim(const PyThreadState *ts, const cpython_frame *f)
{
    enum { SHIM = FRAME_SPECIALS_SIZE + 2 };            /* Python/specialize.c, _Py_InitCleanup */
    return (PyObject **)f - ts->datastack_chunk->data >= cpython_code(f)->co_framesize + SHIM;
}
#endif

/* ---- the stack ---- */

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

static inline bool cpython_is_at_root(const PyThreadState *ts) { return ts->current_frame == cpython_root(ts); }

/* Where the C evaluation of the running frame lies on the C stack; an address above any stack at the root. */
static inline uintptr_t cpython_evaluation(const PyThreadState *ts)
{
    const cpython_frame *f = ts->current_frame, *root = cpython_root(ts);
    while (f != root && !cpython_is_entry(f))
        f = f->previous;
    return f != root ? (uintptr_t)f : UINTPTR_MAX - 1;
}

/* The innermost evaluation that lies between two addresses; 0 when there is none. */
static inline uintptr_t cpython_evaluation_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    const cpython_frame *f = ts->current_frame, *root = cpython_root(ts);
    while (f != root && !(cpython_is_entry(f) && (uintptr_t)f >= low && (uintptr_t)f < top))
        f = f->previous;
    return f != root ? (uintptr_t)f : 0;
}

/* From this address up the C stack, from each evaluation to the next one that is no further than that: the last one, or
 * the address itself. */
static inline uintptr_t cpython_outermost_near(const PyThreadState *ts, uintptr_t address, uintptr_t distance)
{
    const cpython_frame *root = cpython_root(ts);
    for (const cpython_frame *f = ts->current_frame; f != root; f = f->previous) {
        if (!cpython_is_entry(f))
            continue;
        if ((uintptr_t)f - address >= distance)
            break;
        address = (uintptr_t)f;
    }
    return address;
}

/* cpython_evaluation for a frame that has its evaluation for itself; for any other it may be an address that is on no
 * C stack. */
static inline uintptr_t cpython_evaluation_quick(const PyThreadState *ts)
{
    return likely(ts->current_frame) ? (uintptr_t)ts->current_frame->previous : UINTPTR_MAX - 1;
}

/* The running frame of that evaluation; NULL when there is none. */
static inline cpython_frame *cpython_running_within(const PyThreadState *ts, uintptr_t low, uintptr_t top)
{
    cpython_frame *running = ts->current_frame, *root = cpython_root(ts);
    for (cpython_frame *f = running; f != root; f = f->previous) {
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
static inline bool cpython_is_at_root(const PyThreadState *ts) { return ts->cframe == &ts->root_cframe; }
static inline uintptr_t cpython_evaluation_quick(const PyThreadState *ts) { return (uintptr_t)ts->cframe; }

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

/* True for the frame that a stack begins with. */
static inline bool cpython_is_outermost(const cpython_frame *f)
{
    const cpython_frame *previous = f->previous;
    while (previous && cpython_is_entry(previous))
        previous = previous->previous;
    return !previous;
}

/* The chunk in which the thread's next plain frame will lie (Python/pystate.c, push_chunk). */
static inline const void *cpython_data_stack(const PyThreadState *ts) { return ts->datastack_chunk; }

/* The first one, which stays as long as the stack; NULL before there is any. */
static inline const void *cpython_whole_data_stack(const PyThreadState *ts)
{
    const _PyStackChunk *chunk = ts->datastack_chunk;
    while (chunk && chunk->previous)
        chunk = chunk->previous;
    return chunk;
}

/* True for the entry frame of no evaluation. */
static inline bool cpython_is_base(const PyThreadState *ts, const cpython_frame *f) { return f == cpython_root(ts); }

/* From 3.12 on a frame that is left is taken off the stack first, and then cleared (Python/ceval.c,
 * _PyEvalFrameClearAndPop). Its evaluation goes on meanwhile: the entry frame leads to no frame, as that of what it
 * calls, or as the running one. The frame is still in the data stack, behind those that called it, and linked to the
 * entry frame. Returns it; NULL for a generator's, which lies elsewhere. */
static inline cpython_frame *cpython_dying(const PyThreadState *ts, const cpython_frame *entry)
{
#if PY_VERSION_HEX >= 0x030C0000
    const cpython_frame *caller = entry->previous;
    if (cpython_is_base(ts, entry))
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

/* throw() and close() link the frames that delegate to the one they are meant for without running them: such a one
 * still stands at its yield (Objects/genobject.c, _gen_throw). One that runs may stand there, too, while an exception that
 * was thrown into it unwinds its stack. */
static inline bool cpython_is_delegating(const cpython_frame *f)
{
    if (!cpython_is_continuable(f) || cpython_generator(f)->gi_frame_state != FRAME_EXECUTING)
        return false;
#if PY_VERSION_HEX >= 0x030D0000        /* it stands at the RESUME behind; so does one that has just gone on */
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

/* True for a frame that has been entered, and events will tell so: signals are handled and garbage is collected at its
 * RESUME, from 3.13 on before the event (Python/bytecodes.c). */
static inline bool cpython_is_untold(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    return cpython_opcode(cpython_instruction(f)) == INSTRUMENTED_RESUME;
#else
    return !f;
#endif
}

/* ---- recursion ---- */

#if PY_VERSION_HEX >= 0x030C0000
#define CPYTHON_REMAINING py_recursion_remaining
#define CPYTHON_LIMIT py_recursion_limit
#else
#define CPYTHON_REMAINING recursion_remaining
#define CPYTHON_LIMIT recursion_limit
#endif

#if CPYTHON_COUNTS_C_CALLS

#define CPYTHON_EVALUATION_UNITS 2

/* How an instruction runs a Python function. Those that have one way to do it come first. */
enum cpython_way {
    CPYTHON_CALL, CPYTHON_CALL_KW, CPYTHON_FOR_ITER, CPYTHON_SEND, CPYTHON_N_WAYS, CPYTHON_OTHER_WAY = CPYTHON_N_WAYS,
    CPYTHON_NO_WAY,                     /* never inside of its own evaluation */
};

/* The way of the instruction that the running frame stands at, if the interpreter without a hook would run this frame
 * inside that frame's evaluation, where nothing but the interpreter is between the two. What it does so only when the
 * place has become hot (subscription, properties, iteration) counts as hot: under a hook the places do not become it. */
static inline enum cpython_way cpython_way(const PyThreadState *ts, const cpython_frame *f)
{
    const cpython_frame *caller = cpython_running(ts);
    bool is_continuable = cpython_is_continuable(f);
    switch (caller ? cpython_opcode(cpython_instruction(caller)) : 0) {
    case CALL: case CALL_PY_EXACT_ARGS: case CALL_BOUND_METHOD_EXACT_ARGS: case INSTRUMENTED_CALL:
#if PY_VERSION_HEX >= 0x030D0000
    case CALL_PY_GENERAL: case CALL_BOUND_METHOD_GENERAL: case CALL_NON_PY_GENERAL:
#else
    case CALL_PY_WITH_DEFAULTS:
#endif
        return is_continuable ? CPYTHON_NO_WAY : CPYTHON_CALL;
#if PY_VERSION_HEX >= 0x030D0000
    case CALL_KW: case INSTRUMENTED_CALL_KW:
        return is_continuable ? CPYTHON_NO_WAY : CPYTHON_CALL_KW;
#endif
    case FOR_ITER: case FOR_ITER_GEN:
        return is_continuable ? CPYTHON_FOR_ITER : CPYTHON_NO_WAY;
    case SEND: case SEND_GEN:
        return is_continuable ? CPYTHON_SEND : CPYTHON_NO_WAY;
    case CALL_FUNCTION_EX: case INSTRUMENTED_CALL_FUNCTION_EX:  /* not a bound method: the function is on the stack */
        for (int i = 0; i < cpython_code(caller)->co_stacksize; i++)
            if (caller->localsplus[cpython_code(caller)->co_nlocalsplus + i] == (PyObject *)f->f_funcobj)
                return is_continuable ? CPYTHON_NO_WAY : CPYTHON_OTHER_WAY;
        return CPYTHON_NO_WAY;
    case LOAD_ATTR:                     /* a property, where nothing comes before it */
        return f->localsplus[0] && Py_TYPE(f->localsplus[0])->tp_getattro == PyObject_GenericGetAttr ?
               CPYTHON_OTHER_WAY : CPYTHON_NO_WAY;
    case BINARY_SUBSCR: case BINARY_SUBSCR_GETITEM: case LOAD_ATTR_PROPERTY: case LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN:
    case INSTRUMENTED_LINE: case INSTRUMENTED_INSTRUCTION:
        return CPYTHON_OTHER_WAY;
    default:
        return CPYTHON_NO_WAY;
    }
}

/* True when the running frame awaits or delegates to this one. With a hook 3.12 does that by a call of the method send
 * where the frame is a coroutine's. */
static inline bool cpython_is_sending(const PyThreadState *ts, const cpython_frame *f)
{
    const cpython_frame *caller = cpython_running(ts);
    int opcode = caller ? cpython_opcode(cpython_instruction(caller)) : 0;
    return (opcode == SEND || opcode == SEND_GEN) && cpython_is_continuable(f);
}

/* After a frame was left by an exception: it had failed before it began, at a recursion limit (Python/ceval.c,
 * _Py_EnterRecursivePy, _Py_EnterRecursiveCallTstate). A frame that had run leaves one more unit than that. */
static inline bool cpython_never_began(const PyThreadState *ts)
{
    return (ts->py_recursion_remaining <= 0 || ts->c_recursion_remaining < CPYTHON_EVALUATION_UNITS) &&
           !ts->recursion_headroom;
}

#else

static inline bool cpython_never_began(const PyThreadState *ts)
{
    return ts->CPYTHON_REMAINING <= 0 && !ts->recursion_headroom;
}

#endif

/* Runs func(arg) as the interpreter's own main does: no Python frame below it, and all of the recursion limits
 * before it. */
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
#if CPYTHON_COUNTS_C_CALLS              /* how many there are, a release may change: a new thread has all of them */
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
#if PY_VERSION_HEX >= 0x030F0000        /* sets sys.monitoring up for what it could not find: PY_UNWIND crashes without it */
    for (cpython_frame *f = PyErr_Occurred() ? NULL : below; f; f = f->previous)
        if (!cpython_is_entry(f) && _Py_Instrument(cpython_code(f), ts->interp) != 0)
            PyErr_Clear();
#endif
    return result;
}

#endif
