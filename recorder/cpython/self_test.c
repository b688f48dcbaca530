#include "cpython.h"

#include "self_test.h"

#include <stdio.h>
#include <string.h>

#include "../diagnostics.h"

#if CPYTHON_IS_KNOWN
#include "recursion.h"
#endif

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)

static struct {
    PyObject *functions;                /* owned; NULL: none, or the test has been run */
    bool has_run;
    char fault[256];                    /* empty: none */
    bool is_replaced;                   /* the engine of this recording, because of it */
    bool is_reported;
} self_test;

/* What an interpreter had that is gone is not released. */
void rec_self_test_keep(PyObject *functions)
{
    if (!self_test.has_run && PyInterpreterState_Get() == PyInterpreterState_Main())
        self_test.functions = Py_NewRef(functions);
}

const char *rec_self_test_fault(void)
{
    return self_test.is_replaced ? self_test.fault : NULL;
}

#if CPYTHON_IS_KNOWN

enum { RUN, GENERATE, RECURSE, CALL_BACK, N_FUNCTIONS };        /* as in the tuple */
static const char *const subjects[N_FUNCTIONS] = { "a function", "a generator", "a recursion", "a call by C code" };

#define DEPTH 32                        /* of the recursion; as in the package */

/* What the hook observes, a byte each: the function and the kind of record. */
#define EVENT(function, kind) ((unsigned char)((function) << 4 | (kind)))
#define MAX_OBSERVED (2 * DEPTH + 32)

static struct {
    const PyThreadState *ts;            /* the thread that runs the test; NULL: none does */
    const cpython_frame *innermost;     /* of the test's own frames */
    const cpython_frame *made;          /* the generator's */
    uintptr_t top;                      /* of its C stack */
    struct rec_thread thread;           /* for rec_recursion_evaluate */
    int first_remaining, first_c_remaining;     /* at the first call of the recursion */
    int depth;
    size_t n_observed;
    unsigned char observed[MAX_OBSERVED];
    const char *wrong;                  /* the first thing that was wrong, except kinds of events; or NULL */
} test;

static const char *event_name(unsigned char event)
{
    switch (event & 15) {
    case PNR_CALL: return "call";
    case PNR_RETURN: return "return";
    case PNR_CREATE: return "creation";
    case PNR_START: return "start";
    case PNR_YIELD: return "yield";
    case PNR_RESUME: return "resume";
    case PNR_FINISH: return "finish";
    default: return "nothing";
    }
}

/* Fills in the events that the hook must observe. Returns how many there are. */
static size_t list_expected_events(unsigned char *events)
{
    static const unsigned char first[] = {
        EVENT(RUN, PNR_CALL), EVENT(GENERATE, PNR_CREATE), EVENT(GENERATE, PNR_START), EVENT(GENERATE, PNR_YIELD),
        EVENT(GENERATE, PNR_RESUME), EVENT(GENERATE, PNR_FINISH) };
    static const unsigned char last[] = {
        EVENT(CALL_BACK, PNR_CALL), EVENT(CALL_BACK, PNR_RETURN), EVENT(CALL_BACK, PNR_CALL),
        EVENT(CALL_BACK, PNR_RETURN), EVENT(RUN, PNR_RETURN) };
    size_t n = sizeof first;
    memcpy(events, first, sizeof first);
    memset(events + n, EVENT(RECURSE, PNR_CALL), DEPTH + 1);
    memset(events + n + DEPTH + 1, EVENT(RECURSE, PNR_RETURN), DEPTH + 1);
    n += 2 * (DEPTH + 1);
    memcpy(events + n, last, sizeof last);
    return n + sizeof last;
}

static void add_observed_event(int function, enum pnr_kind kind)
{
    if (test.n_observed < MAX_OBSERVED)
        test.observed[test.n_observed++] = EVENT(function, kind);
}

static void check_that(bool is_right, const char *what)
{
    if (!is_right && !test.wrong)
        test.wrong = what;
}

/* What a Python call takes of the recursion limits, and that a hook takes no C calls. */
static void check_recursion(const PyThreadState *ts)
{
    if (test.depth == 0) {
        test.first_remaining = ts->CPYTHON_REMAINING;
#if CPYTHON_COUNTS_C_CALLS
        test.first_c_remaining = ts->c_recursion_remaining;
#endif
    }
    check_that(ts->CPYTHON_REMAINING == test.first_remaining - test.depth, "the recursion limit");
#if CPYTHON_COUNTS_C_CALLS
    check_that(ts->c_recursion_remaining == test.first_c_remaining, "the recursion limit of C calls");
#endif
    test.depth++;
}

/* What must be so before and after the evaluation of a frame that the test's own frames have called. */
static void check_stack(const PyThreadState *ts, const cpython_frame *f, uintptr_t here)
{
    const _PyStackChunk *chunk = ts->datastack_chunk;
    uintptr_t evaluation = cpython_hooked_evaluation(ts);
    check_that(cpython_running(ts) == test.innermost, "the running frame");
    check_that(evaluation > here && evaluation < test.top, "the place of an evaluation on the C stack");
    check_that(cpython_evaluation(ts) == evaluation, "the evaluation of the running frame");
    check_that(f == NULL || (uintptr_t)f - (uintptr_t)chunk < chunk->size, "the data stack");
}

static enum pnr_kind expected_entry_kind(const cpython_frame *f)
{
    if (!cpython_is_continuable(f))
        return PNR_CALL;
    check_that(f == test.made, "the frame of a generator");
    return cpython_is_first_entry(f) ? PNR_START : PNR_RESUME;
}

static PyObject *evaluate_tested(PyThreadState *ts, cpython_frame *f, int throwflag, int function, uintptr_t entered)
{
    const cpython_frame *outer = test.innermost;
    test.innermost = f;
    PyObject *result = rec_recursion_evaluate(ts, f, throwflag, &test.thread, entered);
    test.innermost = outer;
    if (function != RUN)
        check_stack(ts, NULL, entered);
    return result;
}

/* The hook: as that of the frame engine, with a list in place of the buffer. */
static PyObject *self_test_hook(PyThreadState *ts, cpython_frame *f, int throwflag)
{
    uintptr_t entered = (uintptr_t)__builtin_dwarf_cfa();
    uint64_t value = ts == test.ts ? cpython_code_value(cpython_code(f), rec_functions.extra_index) : 0;
    if (value == 0 || value > N_FUNCTIONS)
        return _PyEval_EvalFrameDefault(ts, f, throwflag);
    int function = (int)value - 1;
    bool is_continuable = cpython_is_continuable(f);
    if (function != RUN)
        check_stack(ts, is_continuable ? NULL : f, entered);
    if (function == RECURSE)
        check_recursion(ts);
    if (function == GENERATE && !is_continuable) {
        PyObject *result = evaluate_tested(ts, f, throwflag, function, entered);
        test.made = result ? cpython_generator_frame(result) : NULL;
        add_observed_event(function, test.made ? PNR_CREATE : PNR_CALL);
        return result;
    }
    add_observed_event(function, expected_entry_kind(f));
    PyObject *result = evaluate_tested(ts, f, throwflag, function, entered);
    add_observed_event(function, !is_continuable ? PNR_RETURN : cpython_is_suspended(f) ? PNR_YIELD : PNR_FINISH);
    return result;
}

/* Makes the functions known to the hook, or unknown. */
static bool set_values(bool is_known)
{
    bool ok = true;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        PyObject *code = PyFunction_GetCode(PyTuple_GET_ITEM(self_test.functions, i));     /* borrowed */
        uint64_t value = is_known ? (uint64_t)i + 1 : 0;
        ok &= cpython_set_code_value((PyCodeObject *)code, rec_functions.extra_index, value) == 0;
    }
    return ok;
}

/* Compares, and writes to self_test.fault what is wrong. */
static void compare_events(void)
{
    unsigned char expected[MAX_OBSERVED];
    size_t n = list_expected_events(expected), i = 0;
    while (i < n && i < test.n_observed && expected[i] == test.observed[i])
        i++;
    unsigned char e = i < n ? expected[i] : EVENT(RUN, 15), s = i < test.n_observed ? test.observed[i] : EVENT(RUN, 15);
    if (i < n || i < test.n_observed)
        snprintf(self_test.fault, sizeof self_test.fault, "%s: %s expected, %s seen", subjects[e >> 4], event_name(e),
                 event_name(s));
    else if (test.wrong)
        snprintf(self_test.fault, sizeof self_test.fault, "%s is not where it is expected", test.wrong);
}

/* Runs it. Other threads may run meanwhile: they pass through the hook. Returns 0, or -1 with an exception set, which
 * a signal handler of the program has raised. Where there is no space for it on a stack, it is run before the next
 * recording. */
static int run_test(void)
{
    PyThreadState *ts = PyThreadState_Get();
    PyObject *result = NULL;
    memset(&test, 0, sizeof test);
    test.ts = ts;
    test.top = (uintptr_t)__builtin_dwarf_cfa();
    test.thread.c_calls_left = INT_MIN;
    rec_recursion_start();
    if (!rec_recursion.evaluate)
        rec_recursion.evaluate = _PyEval_EvalFrameDefault;
    int was_collecting = PyGC_Disable();
    PyThreadState_EnterTracing(ts);
    if (set_values(true)) {
        _PyInterpreterState_SetEvalFrameFunc(ts->interp, self_test_hook);
        result = PyObject_CallNoArgs(PyTuple_GET_ITEM(self_test.functions, RUN));
        _PyInterpreterState_SetEvalFrameFunc(ts->interp, _PyEval_EvalFrameDefault);
    }
    test.ts = NULL;
    PyObject *error = PyErr_Occurred();                     /* borrowed */
    bool has_no_space = error && (PyErr_GivenExceptionMatches(error, PyExc_RecursionError) ||
                                  PyErr_GivenExceptionMatches(error, PyExc_MemoryError));
    if (!error || has_no_space) {
        PyErr_Clear();
        set_values(false);
        PyErr_Clear();
    }
    PyThreadState_LeaveTracing(ts);
    if (was_collecting)
        PyGC_Enable();
    if (result) {
        compare_events();
        self_test.has_run = true;
        Py_CLEAR(self_test.functions);
        Py_DECREF(result);
    }
    return result || has_no_space ? 0 : -1;
}

static bool is_hook_free(void)
{
    return _PyInterpreterState_GetEvalFrameFunc(PyInterpreterState_Get()) == _PyEval_EvalFrameDefault;
}

#endif

const struct rec_engine *rec_self_test_choose(const struct rec_engine *engine, const char *wanted)
{
    self_test.is_replaced = false;
#if CPYTHON_IS_KNOWN
    (void)wanted;
    if (engine != rec_engine_frame)
        return engine;
    if (self_test.functions && is_hook_free() && run_test() != 0)
        return NULL;
    if (!*self_test.fault)
        return engine;
    if (!rec_engine_monitoring)
        PyErr_Format(PyExc_RuntimeError,
                     "panopticon: the frame engine does not fit CPython %d.%d.%d (%s), which has no other",
                     PY_MAJOR_VERSION, PY_MINOR_VERSION, PY_MICRO_VERSION, self_test.fault);
    self_test.is_replaced = true;
    return rec_engine_monitoring;
#else
    self_test.is_replaced = !wanted;
    snprintf(self_test.fault, sizeof self_test.fault, "its internals are not known, only those of CPython 3."
             NUMBER(CPYTHON_OLDEST) " to 3." NUMBER(CPYTHON_NEWEST) " are");
    return engine;
#endif
}

void rec_self_test_report(void)
{
    if (!rec_self_test_fault() || self_test.is_reported)
        return;
    rec_warn("the frame engine does not fit CPython %d.%d.%d (%s): the slower monitoring engine records",
             PY_MAJOR_VERSION, PY_MINOR_VERSION, PY_MICRO_VERSION, self_test.fault);
    self_test.is_reported = true;
}
