#include "convert/read/ledger.h"

#include "check.h"

static void add(struct ledger *ledger, uint64_t ticks, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    ledger_add(ledger, ticks, pnr_record_make(0, kind, frame, function));
}

/* Writes all events: kind, ticks, function. */
static void write_events(const struct ledger *ledger, struct check_sink *check)
{
    static const char *const names[] = { "mute", "admit", "window", "end", "cost", "unknown", "known" };
    for (size_t i = 0; i < ledger->n; i++)
        check_write(check, "%s %u%s%u;", names[ledger->events[i].kind], (unsigned)ledger->events[i].ticks,
                    ledger->events[i].is_c_calls ? " c " : " ", (unsigned)ledger->events[i].number);
}

static void expect_events(const struct ledger *ledger, const char *expected)
{
    struct check_sink check;
    check_sink_init(&check);
    write_events(ledger, &check);
    cr_assert_str_eq(check.text, expected);
}

Test(read_ledger, only_changes_are_kept)
{
    struct ledger ledger;
    ledger_init(&ledger, true);
    ledger_begin_block(&ledger, 5);
    add(&ledger, 10, PNR_MUTE, 0, 1);
    add(&ledger, 11, PNR_MUTE, 0, 1);
    add(&ledger, 12, PNR_MUTE, 1, 1);
    add(&ledger, 13, PNR_ADMIT, 0, 2);
    add(&ledger, 14, PNR_WINDOW, 0, 1);
    add(&ledger, 15, PNR_WINDOW, 0, 1);
    add(&ledger, 16, PNR_WINDOW_END, 0, 1);
    add(&ledger, 17, PNR_ADMIT, 0, 1);
    ledger_end_block(&ledger, 20);
    expect_events(&ledger, "mute 10 1; mute 12 c 1; window 14 0; end 16 0; admit 17 1;");
    const struct ledger_sum sum = ledger_add_up(&ledger);
    cr_assert_eq(sum.n_functions, 1);
    cr_assert_eq(sum.n_muted, 1);
    cr_assert_eq(sum.n_windows, 1);
    ledger_clear(&ledger);
}

Test(read_ledger, a_hole_is_not_known)
{
    struct ledger ledger;
    ledger_init(&ledger, true);
    ledger_begin_block(&ledger, 0);
    add(&ledger, 10, PNR_MUTE, 0, 1);
    ledger_end_block(&ledger, 12);
    ledger_lose(&ledger);
    ledger_begin_block(&ledger, 50);
    add(&ledger, 50, PNR_MUTED, 0, 2);
    add(&ledger, 55, PNR_WINDOW_END, 0, 1);
    ledger_end_block(&ledger, 60);
    expect_events(&ledger, "mute 10 1; unknown 12 0; known 50 1; mute 50 2; end 55 0;");
    ledger_clear(&ledger);
}

Test(read_ledger, what_a_block_lists_holds)
{
    struct ledger ledger;
    ledger_init(&ledger, false);
    ledger_begin_block(&ledger, 5);
    add(&ledger, 5, PNR_MUTED, 0, 1);
    add(&ledger, 5, PNR_MUTED, 0, 2);
    ledger_end_block(&ledger, 9);
    ledger_begin_block(&ledger, 10);
    add(&ledger, 10, PNR_MUTED, 0, 2);
    add(&ledger, 12, PNR_COST, 1000, 30);
    add(&ledger, 13, PNR_MUTED, 0, 3);
    add(&ledger, 13, PNR_CALL, 0, 3);
    ledger_end_block(&ledger, 20);
    expect_events(&ledger, "unknown 0 0; known 5 0; mute 5 1; mute 5 2; admit 10 1; cost 12 30;");
    cr_assert_eq(ledger.n_unknown_kinds, 2);
    ledger_clear(&ledger);
}

Test(read_ledger, a_view_moves_forward)
{
    struct ledger ledger;
    struct ledger_view view;
    ledger_init(&ledger, true);
    ledger_begin_block(&ledger, 0);
    add(&ledger, 10, PNR_MUTE, 0, 1);
    add(&ledger, 20, PNR_WINDOW, 0, 1);
    add(&ledger, 30, PNR_WINDOW_END, 0, 1);
    ledger_end_block(&ledger, 40);
    ledger_view_init(&view, &ledger);
    cr_assert_null(ledger_view_step(&view, 9));
    cr_assert_not(ledger_view_hides(&view, 1));
    cr_assert_not_null(ledger_view_step(&view, 10));
    cr_assert(ledger_view_hides(&view, 1));
    cr_assert_not(ledger_view_hides(&view, 2));
    cr_assert_not_null(ledger_view_step(&view, 25));
    cr_assert(ledger_view_is_muted(&view, 1, false));
    cr_assert_not(ledger_view_hides(&view, 1));
    cr_assert_not_null(ledger_view_step(&view, 99));
    cr_assert_eq(view.n_windows, 1);
    cr_assert_null(ledger_view_step(&view, 99));
    ledger_view_clear(&view);
    ledger_clear(&ledger);
}
