/* Evaluates a frame as the hook does, and keeps the recursion limits what they are without a hook.
 *
 * CPython limits the depth of Python calls (ts->py_recursion_remaining); _PyEval_EvalFrameDefault takes and gives one
 * by itself. 3.12 and 3.13 also limit the depth of C calls (ts->c_recursion_remaining), and count an evaluation as
 * two of them (Python/ceval.c, PY_EVAL_C_STACK_UNITS). Without a hook a Python function that a Python function calls
 * is run inside its caller's evaluation and costs no C call. With a hook it is an evaluation of its own and costs
 * two. So the hook gives the cost back where the interpreter alone would not have had it, and a RecursionError comes
 * as deep as without the recorder. From 3.14 on C code is limited by the C stack itself
 * (Include/internal/pycore_ceval.h, _Py_ReachedRecursionLimit).
 *
 * The two kinds of call are told apart by three things: the caller's instruction, the C calls that were counted since
 * the caller's evaluation began, and how far down the C stack the hook is called. Each instruction has its own path
 * of C functions to the hook. C code between the two (functools.partial, map, enumerate) may count no C call, but it
 * takes stack.
 *
 *     high addresses
 *     |  _PyEval_EvalFrameDefault of the caller    |
 *     |    its entry frame (3.13), _PyCFrame (3.12)| <-- cpython_hooked_evaluation
 *     |    stands at CALL                          |      ^
 *     |  _PyFunction_Vectorcall                    |      | distance: the least seen in this recording for that path
 *     |  _PyEval_Vector                            |      v
 *     |  the hook                                  | <-- where it was entered
 *     |    _PyEval_EvalFrameDefault of the callee  |
 *     low addresses
 *
 *     the same CALL, of functools.partial(f):         a greater distance
 *     |  _PyEval_EvalFrameDefault of the caller    |
 *     |  partial_vectorcall                        |
 *     |  _PyFunction_Vectorcall, _PyEval_Vector    |
 *     |  the hook                                  |
 *
 *     caller's instruction                               C calls  distance   given back
 *     CALL, CALL_KW, FOR_ITER, SEND: one path each       0        the least  2
 *                                                        0        greater    nothing: C code calls
 *     CALL_FUNCTION_EX with the function on the          0        any        2 (these have several paths)
 *       caller's stack of values, LOAD_ATTR of a
 *       property, BINARY_SUBSCR of a __getitem__
 *     SEND to a coroutine or generator                   1        any        3: with a hook 3.12 calls its send()
 *     CALL of a class, at a hot call site (3.13)         1        any        3, and 1 Python call taken: CPython alone
 *                                                                            would put a frame of its own there
 *     any other; or more C calls                                             nothing
 *
 * What CPython does only at a hot call site (subscription, properties, iteration) counts as done at any: with a hook
 * no site becomes hot. specs/recording.md, section 3, says where this differs from CPython. */
#ifndef REC_RECURSION_H
#define REC_RECURSION_H

#include "threads.h"

/* How an instruction calls a Python function. Those before CPYTHON_N_CALL_PATHS have one path of C functions to the
 * hook. */
enum cpython_call_path {
    CPYTHON_CALL, CPYTHON_CALL_KW, CPYTHON_FOR_ITER, CPYTHON_SEND, CPYTHON_N_CALL_PATHS,
    CPYTHON_SEVERAL_PATHS = CPYTHON_N_CALL_PATHS,
    CPYTHON_NOT_INLINED                 /* without a hook the frame would not be run inside its caller's evaluation */
};

struct rec_recursion {
    _PyFrameEvalFunction evaluate;      /* the hook that was there before ours, or CPython's own function */
    uintptr_t min_distance[CPYTHON_N_CALL_PATHS];
};
extern struct rec_recursion rec_recursion __attribute__((visibility("hidden")));

/* Forgets the distances of the last recording, because another one begins. */
void rec_recursion_start(void);

#if CPYTHON_COUNTS_C_CALLS

#define CPYTHON_EVALUATION_COST 2

static inline PyObject *rec_recursion_evaluate_refunded(PyThreadState *ts, cpython_frame *f, int throwflag, int refund)
{
    ts->c_recursion_remaining += refund;
    PyObject *result = rec_recursion.evaluate(ts, f, throwflag);
    ts->c_recursion_remaining -= refund;
    return result;
}

/* All rows of the table but the first. */
PyObject *rec_recursion_evaluate_slowly(PyThreadState *ts, cpython_frame *f, int throwflag, struct rec_thread *thread,
                                        uintptr_t distance);

#endif

/* Evaluates a frame. The thread is the running one's; entered: where the C stack was when the hook was called. */
static inline PyObject *rec_recursion_evaluate(PyThreadState *ts, cpython_frame *f, int throwflag,
                                               struct rec_thread *thread, uintptr_t entered)
{
#if CPYTHON_COUNTS_C_CALLS
    uintptr_t distance = cpython_hooked_evaluation(ts) - entered;
    if (unlikely(thread->c_calls_left != ts->c_recursion_remaining) ||
        unlikely(distance != rec_recursion.min_distance[CPYTHON_CALL]))
        return rec_recursion_evaluate_slowly(ts, f, throwflag, thread, distance);
    return rec_recursion_evaluate_refunded(ts, f, throwflag, CPYTHON_EVALUATION_COST);
#else
    (void)thread, (void)entered;
    return rec_recursion.evaluate(ts, f, throwflag);
#endif
}

/* True when a frame that was left by an exception never began, because of a recursion limit (Python/ceval.c,
 * _Py_EnterRecursivePy, _Py_EnterRecursiveCallTstate). A frame that had run leaves one more C call than that. */
static inline bool rec_recursion_kept_from_beginning(const PyThreadState *ts)
{
#if CPYTHON_COUNTS_C_CALLS
    bool is_exhausted = ts->CPYTHON_REMAINING <= 0 || ts->c_recursion_remaining < CPYTHON_EVALUATION_COST;
#else
    bool is_exhausted = ts->CPYTHON_REMAINING <= 0;
#endif
    return is_exhausted && !ts->recursion_headroom;
}

#endif
