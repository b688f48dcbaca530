#include "greenlets.h"

#include "muting.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include <stdatomic.h>

#include "c_calls.h"
#include "event_cost.h"
#include "muted.h"
#include "muted_exits.h"
#include "muted_frames.h"
#include "slow_calls.h"
#include "watched_frames.h"
#include "../../format/array.h"
#include "../budget.h"
#include "../cpu_clock.h"
#include "../ledger.h"

static struct {
    bool is_on;
    _Atomic uint64_t requested;         /* ticks of the request that is not yet followed; odd: no time; 0: none */
} muting;

/* ---- orders ---- */

static void defer_order(enum rec_order_kind kind, uint32_t function)
{
    rec_budget_defer((struct rec_order){ .kind = (uint8_t)kind, .function = function });
}

/* Takes functions out of the batch that cannot be muted now. They come again with the next request. */
static void defer_callers_of_c(uint32_t *functions, size_t *n, enum rec_order_kind kind)
{
    size_t n_left = 0;
    rec_muted_frames_exempt_callers_of_c();
    for (size_t i = 0; i < *n; i++) {
        if (rec_muted_state(functions[i]) & REC_CHANGING)
            functions[n_left++] = functions[i];
        else
            defer_order(kind, functions[i]);
    }
    *n = n_left;
}

/* Reports to the ledger and to the controller that an order is carried out. */
static void report_change(enum rec_order_kind kind, uint32_t function, uint64_t ticks)
{
    const struct rec_order order = { .kind = (uint8_t)kind, .function = function };
    rec_ledger_note(order, ticks);
    rec_budget_applied(order, ticks);
}

struct batch {
    uint32_t *functions;                /* owned */
    size_t n, capacity;
};

static struct batch to_mute, to_admit;  /* guarded by the GIL */

static bool add_to_batch(struct batch *batch, uint32_t function)
{
    if (!rec_muted_reserve(function) || pnr_array_reserve(&batch->functions, &batch->capacity, batch->n + 1) < 0)
        return false;
    batch->functions[batch->n++] = function;
    rec_muted_set(function, REC_CHANGING);
    return true;
}

/* Mutes the functions of to_mute. In a window they are muted at its end. */
static void mute_batch(uint64_t now)
{
    if (rec_c_calls_are_on() && !rec_muted.is_in_window)
        defer_callers_of_c(to_mute.functions, &to_mute.n, REC_ORDER_MUTE);
    if (!rec_muted.is_in_window)
        rec_muted_frames_mute(to_mute.functions, to_mute.n);
    for (size_t i = 0; i < to_mute.n; i++) {
        uint32_t function = to_mute.functions[i];
        rec_muted_set(function, REC_MUTED);
        report_change(REC_ORDER_MUTE, function, now);
    }
    if (!rec_muted.is_in_window)
        rec_muted_frames_report_muted(to_mute.functions, to_mute.n);
    for (size_t i = 0; i < to_mute.n; i++)
        rec_muted_clear(to_mute.functions[i], REC_CHANGING);
    to_mute.n = 0;
}

static void note_admitted(uint32_t function, uint64_t now)
{
    rec_muted_clear(function, REC_MUTED | REC_DEAR);
    report_change(REC_ORDER_ADMIT, function, now);
}

static void admit_batch(uint64_t now)
{
    for (size_t i = 0; i < to_admit.n; i++)
        note_admitted(to_admit.functions[i], now);
    if (!rec_muted.is_in_window)
        rec_muted_frames_admit(to_admit.functions, to_admit.n);
    for (size_t i = 0; i < to_admit.n; i++)
        rec_muted_clear(to_admit.functions[i], REC_CHANGING);
    to_admit.n = 0;
}

static void open_muting_window(uint64_t now)
{
    for (size_t i = 0; i < rec_muted.n_listed; i++) {
        uint32_t function = rec_muted.listed[i];
        if (rec_muted_state(function) & REC_MUTED)      /* else only its C calls are: its frames are in the records */
            rec_muted_set(function, REC_CHANGING);
    }
    rec_session_write_cost(now);
    rec_muted.is_in_window = true;
    rec_muted_frames_admit(rec_muted.listed, rec_muted.n_listed);
    report_change(REC_ORDER_WINDOW, 0, now);
}

/* Admits a function that cannot be muted again at the end of a window, until it can. */
static void admit_for_now(uint32_t function, uint64_t now)
{
    uint8_t before = rec_muted_state(function);
    rec_muted_clear(function, REC_MUTED | REC_C_MUTED);
    if (before & REC_MUTED) {
        report_change(REC_ORDER_ADMIT, function, now);
        defer_order(REC_ORDER_MUTE, function);
    }
    if (before & REC_C_MUTED) {
        report_change(REC_ORDER_ADMIT_C, function, now);
        defer_order(REC_ORDER_MUTE_C, function);
    }
}

static void close_muting_window(uint64_t now)
{
    to_mute.n = 0;
    for (size_t i = 0; i < rec_muted.n_listed; i++)
        rec_muted_set(rec_muted.listed[i], REC_CHANGING);
    if (rec_c_calls_are_on())
        rec_muted_frames_exempt_callers_of_c();
    for (size_t i = rec_muted.n_listed; i-- > 0;) {
        uint32_t function = rec_muted.listed[i];
        if (!(rec_muted_state(function) & REC_CHANGING))
            admit_for_now(function, now);
        else if (rec_muted_state(function) & REC_MUTED)
            add_to_batch(&to_mute, function);
        else
            rec_muted_clear(function, REC_CHANGING);
    }
    rec_muted_frames_mute(to_mute.functions, to_mute.n);
    rec_muted.is_in_window = false;
    rec_muted_frames_report_muted(to_mute.functions, to_mute.n);
    for (size_t i = 0; i < rec_muted.n_listed; i++)
        if (!(rec_muted_state(rec_muted.listed[i]) & REC_MUTED))
            rec_muted_apply(rec_muted.listed[i]);
    to_mute.n = 0;
    rec_session_write_cost(now);
    report_change(REC_ORDER_WINDOW_END, 0, now);
}

/* Mutes or admits a function's calls of C functions. */
static void change_c_calls(struct rec_order order, uint64_t now)
{
    uint32_t function = order.function;
    if (!rec_muted_reserve(function))
        return;
    if (order.kind == REC_ORDER_MUTE_C) {
        size_t n = 1;
        rec_muted_set(function, REC_CHANGING);
        defer_callers_of_c(&function, &n, REC_ORDER_MUTE_C);
        rec_muted_clear(function, REC_CHANGING);
        if (!n)
            return;
        rec_muted_set(function, REC_C_MUTED);
    } else {
        rec_muted_clear(function, REC_C_MUTED);
    }
    rec_muted_apply(function);
    report_change(order.kind, function, now);
}

static void apply_batches(uint64_t now)
{
    if (to_mute.n)
        mute_batch(now);
    if (to_admit.n)
        admit_batch(now);
}

static void apply_order(struct rec_order order, uint64_t now)
{
    if (rec_muted_state(order.function) & REC_CHANGING)
        apply_batches(now);             /* an order for the same function comes before this one */
    bool is_muted = rec_muted_state(order.function) & REC_MUTED;
    switch ((enum rec_order_kind)order.kind) {
    case REC_ORDER_MUTE:
        if (!is_muted)
            add_to_batch(&to_mute, order.function);
        break;
    case REC_ORDER_ADMIT:
        if (is_muted)
            add_to_batch(&to_admit, order.function);
        break;
    case REC_ORDER_MUTE_C:
    case REC_ORDER_ADMIT_C:
        change_c_calls(order, now);
        break;
    case REC_ORDER_WINDOW:
        apply_batches(now);
        if (!rec_muted.is_in_window)
            open_muting_window(now);
        break;
    case REC_ORDER_WINDOW_END:
        apply_batches(now);
        if (rec_muted.is_in_window)
            close_muting_window(now);
    }
}

/* Applies what is ordered, and looks at the stacks. */
static void follow_request(uint64_t requested)
{
    struct rec_order order;
    uint64_t begin = rec_clock_ticks(), cpu_ns = rec_cpu_clock_thread();
    if (rec_muted.n_listed && !rec_muted.is_in_window)
        rec_slow_calls_look(requested);
    else
        rec_slow_calls_all_known(begin);
    while (rec_budget_take(&order))
        apply_order(order, begin);
    apply_batches(begin);
    rec_budget_add_cost(rec_cpu_clock_thread() - cpu_ns);      /* ticks would count other threads' turns */
    if (rec_budget_is_cost_due())
        rec_session_write_cost(rec_clock_ticks());
    if (rec_budget_is_awaited())
        rec_worker_post();
}

/* Called by the interpreter between two instructions, in any thread. */
static int on_pending_call(void *unused)
{
    PyObject *type, *value, *traceback;
    (void)unused;
    uint64_t requested = atomic_exchange(&muting.requested, 0);
    PyThreadState *ts = PyThreadState_Get();
    if (!muting.is_on || !requested || ts->interp != rec_threads.interp)
        return 0;
    rec_threads_notice_fork();
    if (!rec_state_is(REC_RECORDING) || rec_session_is_closed() || cpython_is_finalizing())
        return 0;
    PyErr_Fetch(&type, &value, &traceback);
    rec_muted_frames_notice_greenlet(ts);
    follow_request(requested & 1 ? rec_clock_ticks() : requested);
    PyErr_Restore(type, value, traceback);
    return 0;
}

/* The time of the request is that after it was made: until then the program may have passed checks for pending calls.
 * Meanwhile its number is odd. */
void rec_muting_request(void)
{
    uint64_t none = 0, being_made = rec_clock_ticks() | 1;
    if (!rec_state_is(REC_RECORDING) || cpython_is_finalizing() ||
        !atomic_compare_exchange_strong(&muting.requested, &none, being_made))
        return;
    if (cpython_add_pending_call(rec_threads.interp, on_pending_call) != 0)
        atomic_store(&muting.requested, 0);     /* too many wait: the next request comes soon */
    else
        atomic_compare_exchange_strong(&muting.requested, &being_made, rec_clock_ticks() & ~UINT64_C(1));
}

/* ---- start and end ---- */

const char *rec_muting_fault(void)
{
    return rec_watched_init() ? NULL : "other code has all watchers of dicts that the interpreter allows";
}

void rec_muting_pause(void)
{
    uint64_t now = rec_clock_ticks();
    if (!muting.is_on)
        return;
    rec_session_write_cost(now);
    if (rec_muted.is_in_window) {
        rec_muted.is_in_window = false;
        for (size_t i = 0; i < rec_muted.n_listed; i++)
            rec_muted_apply(rec_muted.listed[i]);
        report_change(REC_ORDER_WINDOW_END, 0, now);
    }
    rec_muted_frames_forget();
    rec_muted_forget_open();
}

void rec_muting_resume(void)
{
    if (!muting.is_on)
        return;
    rec_slow_calls_all_known(rec_clock_ticks());
    rec_muting_request();
}

void rec_muting_forget(void)
{
    rec_muted_frames_forget();
    rec_muted_forget();
    muting.is_on = false;
    to_mute.n = to_admit.n = 0;
    atomic_store(&muting.requested, 0);
}

void rec_muting_forget_interpreter(void)
{
    rec_muting_forget();
    rec_watched_forget_interpreter();
}

int rec_muting_start(double share)
{
    struct pnr_err err;
    rec_muting_forget();
    rec_slow_calls_start();
    rec_muted_exits_start();
    const struct rec_budget_options options = { share, rec_event_cost_begin(), rec_muting_request,
                                                rec_event_cost_write };
    if (!rec_watched_init() || !rec_ledger_begin() || rec_budget_start(&options, &err) != 0)
        return -1;
    muting.is_on = true;
    return 0;
}

#endif
