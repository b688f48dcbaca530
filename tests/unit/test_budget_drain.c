/* The budget together with the drain's thread, the real clocks and the ledger: orders come, and what they say is in the
 * capture. */
#include <stdatomic.h>

#include "session_fixture.h"

#include "recorder/budget.h"
#include "recorder/ledger.h"

enum { OUTER = 1, HOT = 2 };

static _Atomic bool is_requested;
static void request(void) { atomic_store(&is_requested, true); }

static bool is_muted, is_in_window;
static uint32_t n_orders[6];

static void record(struct rec_buffer *buffer, enum pnr_kind kind, uint32_t function)
{
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    if (!rec_buffer_has_capacity(buffer, ticks)) {
        cr_assert(rec_buffer_start_chunk(buffer, 0, 1));
        rec_buffer_append(buffer, 0, PNR_OPEN, 0, OUTER);
        ticks = rec_clock_ticks() - buffer->base;
    }
    rec_buffer_append(buffer, ticks, kind, 0, function);
}

static void answer(void)
{
    struct rec_order order;
    uint64_t cpu_ns;
    uint32_t cost_ns;
    if (!atomic_exchange(&is_requested, false))
        return;
    while (rec_budget_take(&order)) {
        uint64_t ticks = rec_clock_ticks();
        n_orders[order.kind]++;
        if (order.kind == REC_ORDER_MUTE || order.kind == REC_ORDER_ADMIT)
            is_muted = order.kind == REC_ORDER_MUTE;
        else
            is_in_window = order.kind == REC_ORDER_WINDOW;
        if (rec_budget_take_cost(&cpu_ns, &cost_ns))
            rec_ledger_cost(cpu_ns, cost_ns, ticks);
        rec_ledger_note(order, ticks);
        rec_budget_applied(order, ticks);
    }
}

Test(budget_drain, mutes_and_opens_windows, .init = begin, .fini = end, .timeout = 600)
{
    struct rec_totals totals;
    struct pnr_err err;
    cr_assert(rec_ledger_begin());
    cr_assert_eq(rec_budget_start(&(struct rec_budget_options){ 0.01, 50, request, NULL }, &err), 0);
    struct rec_buffer *buffer = new_buffer(7);
    record(buffer, PNR_CALL, OUTER);
    while (n_orders[REC_ORDER_WINDOW_END] < 3) {
        if (!is_muted || is_in_window) {
            record(buffer, PNR_CALL, HOT);
            record(buffer, PNR_RETURN, HOT);
        }
        answer();
    }
    cr_expect_gt(n_orders[REC_ORDER_MUTE], 0);
    cr_expect_geq(n_orders[REC_ORDER_WINDOW], 3);
    rec_session_stop(&totals);
    cr_expect_geq(totals.cost.cost_ns, 50 * totals.n_events, "all blocks were read");
    cr_expect_eq(totals.cost.n_muted, 1);
    cr_expect_gt(totals.cost.n_calls_hidden, 0);
    cr_expect_gt(totals.cost.cpu_ns, 0);
    cr_expect_eq(totals.n_threads, 1);
}

/* A child of a fork has no budget until it starts one. */
Test(budget_drain, is_forgotten_in_a_child)
{
    struct rec_budget_totals spent;
    struct pnr_err err;
    rec_clock_init();
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(rec_budget_start(&(struct rec_budget_options){ 0.01, 50, request, NULL }, &err), 0);
        cr_expect(rec_budget_is_on());
        rec_budget_forked();
        cr_expect_not(rec_budget_is_on());
    }
    rec_budget_stop(&spent);
    cr_expect_eq(spent.cpu_ns, 0);
}
