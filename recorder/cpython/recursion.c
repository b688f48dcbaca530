#include "cpython.h"

#if CPYTHON_IS_KNOWN

#include "recursion.h"

#include <string.h>

#include "call_inlining.h"

struct rec_recursion rec_recursion;

void rec_recursion_start(void)
{
    memset(rec_recursion.min_distance, 0xFF, sizeof rec_recursion.min_distance);
}

#if CPYTHON_COUNTS_C_CALLS

/* CALL_FUNCTION_EX calls what is on the caller's stack of values. A bound method is not the function that it calls. */
static bool is_on_value_stack(const cpython_frame *caller, const PyObject *function)
{
    const PyCodeObject *code = cpython_code(caller);
    for (int i = 0; i < code->co_stacksize; i++)
        if (caller->localsplus[code->co_nlocalsplus + i] == function)
            return true;
    return false;
}

/* The path by which the caller's instruction calls this frame, provided that only the interpreter is between the two
 * (Python/bytecodes.c: the instructions that use DISPATCH_INLINED or _PUSH_FRAME). */
static enum cpython_call_path call_path(const PyThreadState *ts, const cpython_frame *f)
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
        return is_continuable ? CPYTHON_NOT_INLINED : CPYTHON_CALL;
#if PY_VERSION_HEX >= 0x030D0000
    case CALL_KW: case INSTRUMENTED_CALL_KW:
        return is_continuable ? CPYTHON_NOT_INLINED : CPYTHON_CALL_KW;
#endif
    case FOR_ITER: case FOR_ITER_GEN:
        return is_continuable ? CPYTHON_FOR_ITER : CPYTHON_NOT_INLINED;
    case SEND: case SEND_GEN:
        return is_continuable ? CPYTHON_SEND : CPYTHON_NOT_INLINED;
    case CALL_FUNCTION_EX: case INSTRUMENTED_CALL_FUNCTION_EX:
        return !is_continuable && is_on_value_stack(caller, (PyObject *)f->f_funcobj) ? CPYTHON_SEVERAL_PATHS :
               CPYTHON_NOT_INLINED;
    case LOAD_ATTR:                     /* a property of an object whose type has no __getattribute__ of its own */
        return f->localsplus[0] && Py_TYPE(f->localsplus[0])->tp_getattro == PyObject_GenericGetAttr ?
               CPYTHON_SEVERAL_PATHS : CPYTHON_NOT_INLINED;
    case BINARY_SUBSCR: case BINARY_SUBSCR_GETITEM: case LOAD_ATTR_PROPERTY: case LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN:
    case INSTRUMENTED_LINE: case INSTRUMENTED_INSTRUCTION:
        return CPYTHON_SEVERAL_PATHS;
    default:
        return CPYTHON_NOT_INLINED;
    }
}

/* True when the caller's evaluation itself calls this frame, this far above the hook, and would have run it inside. */
static bool is_inlined(const PyThreadState *ts, const cpython_frame *f, uintptr_t distance)
{
    enum cpython_call_path path = call_path(ts, f);
    if (path >= CPYTHON_N_CALL_PATHS)
        return path == CPYTHON_SEVERAL_PATHS;
    if (rec_recursion.min_distance[path] > distance)
        rec_recursion.min_distance[path] = distance;
    return rec_recursion.min_distance[path] == distance;
}

/* True when the running frame awaits or delegates to this one. With a hook 3.12 does that by a call of the method
 * send where the frame is a coroutine's (Python/bytecodes.c, SEND). */
static bool is_sent_to(const PyThreadState *ts, const cpython_frame *f)
{
    const cpython_frame *caller = cpython_running(ts);
    int opcode = caller ? cpython_opcode(cpython_instruction(caller)) : 0;
    return (opcode == SEND || opcode == SEND_GEN) && cpython_is_continuable(f);
}

#if CPYTHON_INLINES_INIT

/* CALL_ALLOC_AND_ENTER_INIT puts a frame of its own outwards of the __init__ (Python/specialize.c, _Py_InitCleanup).
 * It does not where a chunk of the data stack has no space for both, which happens once a chunk. Alone, an __init__
 * fills chunks more slowly, so it counts as alone at a chunk's begin, where the two would lie. */
static bool has_shim(const PyThreadState *ts, const cpython_frame *f)
{
    enum { SHIM = FRAME_SPECIALS_SIZE + 2 };
    return (PyObject **)f - ts->datastack_chunk->data >= cpython_code(f)->co_framesize + SHIM;
}

/* Evaluates an __init__. The call of the class was counted as a C call, too. The frame of its own counts as a Python
 * call. Where that would be the last one left, the __init__ begins nevertheless, but nothing that it calls does. */
static PyObject *evaluate_init(PyThreadState *ts, cpython_frame *f)
{
    int taken = ts->CPYTHON_REMAINING > 1 && has_shim(ts, f);
    ts->CPYTHON_REMAINING -= taken;
    PyObject *result = rec_recursion_evaluate_refunded(ts, f, 0, CPYTHON_EVALUATION_COST + 1);
    ts->CPYTHON_REMAINING += taken;
    return result;
}

#endif

/* Evaluates a frame that C code has called. It keeps its cost, and what it calls is compared with what is left now. */
static PyObject *evaluate_called_by_c(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_thread *thread)
{
    int outside = thread->c_calls_left;
    thread->c_calls_left = ts->c_recursion_remaining - CPYTHON_EVALUATION_COST;
    PyObject *result = rec_recursion.evaluate(ts, f, throwflag);
    thread = rec_current->owner == ts ? rec_current : rec_state_is(REC_RECORDING) ? rec_threads_find(ts) : NULL;
    if (thread)
        thread->c_calls_left = outside;
    return result;
}

__attribute__((noinline)) PyObject *rec_recursion_evaluate_slowly(PyThreadState *ts, cpython_frame *f, int throwflag,
                                                                  struct rec_thread *thread, uintptr_t distance)
{
    /* C calls that were counted since the caller's evaluation began. */
    bool has_no_c_call = thread->c_calls_left == ts->c_recursion_remaining;
    bool has_one = thread->c_calls_left == ts->c_recursion_remaining + 1;
    if (has_no_c_call && is_inlined(ts, f, distance))
        return rec_recursion_evaluate_refunded(ts, f, throwflag, CPYTHON_EVALUATION_COST);
    if (has_one && is_sent_to(ts, f))
        return rec_recursion_evaluate_refunded(ts, f, throwflag, CPYTHON_EVALUATION_COST + 1);
#if CPYTHON_INLINES_INIT
    if (has_one && rec_inlining_would_inline_init(ts, f))
        return evaluate_init(ts, f);
#endif
    return evaluate_called_by_c(ts, f, throwflag, thread);
}

#endif

#endif
