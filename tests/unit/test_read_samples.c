#include "convert/read/samples.h"

#include "check.h"

static void look(struct samples *samples, uint64_t ns, enum pnr_gil gil, uint32_t holder)
{
    samples_add(samples, ns, pnr_record_make(0, PNR_SAMPLE, gil, holder), holder > 0);
}

static void spend(struct samples *samples, uint64_t ns, enum pnr_kind kind, uint64_t spent, uint64_t since)
{
    samples_add(samples, ns, pnr_record_make(0, kind, pnr_spent_frame(spent, since), 1), true);
}

/* Compares what thread 1 spent between two moments: known, ran, queued, held. */
static void expect_spent(const struct samples *samples, uint64_t from, uint64_t to, const char *expected)
{
    struct check_sink check;
    check_sink_init(&check);
    struct spent_time spent = samples_spent(samples, 1, from, to);
    check_write(&check, "%u %u %u %u;", (unsigned)spent.known_ns, (unsigned)spent.ns[SAMPLES_RAN],
                (unsigned)spent.ns[SAMPLES_QUEUED], (unsigned)spent.ns[SAMPLES_HELD]);
    cr_assert_str_eq(check.text, expected);
}

Test(read_samples, what_was_spent_lies_between_the_samples)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    look(&samples, 1000, PNR_GIL_HELD, 1);
    look(&samples, 2000, PNR_GIL_FREE, 0);
    spend(&samples, 2000, PNR_RAN, 600, 1);
    look(&samples, 3000, PNR_GIL_HELD, 2);
    look(&samples, 4000, PNR_GIL_HELD, 1);
    spend(&samples, 4000, PNR_RAN, 1000, 1);
    expect_spent(&samples, 0, 5000, "3000 1600 0 1000;");
    expect_spent(&samples, 1000, 1500, "500 300 0 500;");
    expect_spent(&samples, 2000, 3000, "1000 0 0 0;");
    expect_spent(&samples, 3250, 3750, "500 500 0 250;");
    cr_assert_eq(samples_next_change(&samples, 1, 2100), 3000);
    cr_assert_eq(samples_next_change(&samples, 1, 3200), 3200);
    cr_assert_eq(samples_next_change(&samples, 1, 4000), UINT64_MAX);
    cr_assert_eq(samples_next_change(&samples, 7, 0), UINT64_MAX);
    samples_clear(&samples);
}

static void change(struct samples *samples, uint64_t ns, uint64_t before_ns, enum pnr_schedule what)
{
    samples_add(samples, ns, pnr_record_make(0, PNR_SCHEDULE, pnr_schedule_frame(before_ns, what), 1), true);
}

Test(read_samples, a_schedule_says_when_a_thread_ran)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    for (uint64_t ns = 1000; ns <= 2000; ns += 1000)
        look(&samples, ns, PNR_GIL_FREE, 0);
    change(&samples, 2000, 700, PNR_SCHEDULE_WAITS);
    change(&samples, 2000, 200, PNR_SCHEDULE_RUNS);
    spend(&samples, 2000, PNR_RAN, 123, 1);
    expect_spent(&samples, 1000, 1300, "300 300 0 0;");
    expect_spent(&samples, 1300, 1800, "500 0 0 0;");
    expect_spent(&samples, 1800, 2000, "200 200 0 0;");
    cr_assert(samples_are_exact(&samples, 1));
    cr_assert_eq(samples_next_ran_bend(&samples, 1, 1000), 1300);
    look(&samples, 3000, PNR_GIL_FREE, 0);
    change(&samples, 3000, 5000, PNR_SCHEDULE_RUNS);            /* earlier than its time */
    change(&samples, 3000, 600, PNR_SCHEDULE_QUEUES);
    change(&samples, 3000, 700, PNR_SCHEDULE_RUNS);             /* earlier than the one before */
    change(&samples, 3000, 500, PNR_SCHEDULE_WAITS);
    spend(&samples, 3000, PNR_RAN, 500, 1);
    expect_spent(&samples, 2000, 2500, "500 500 0 0;");
    expect_spent(&samples, 2500, 3000, "500 0 0 0;");
    cr_assert_eq(samples.n_exact, 2);
    cr_assert_eq(samples.n_unknown, 0);
    samples_clear(&samples);
}

Test(read_samples, a_schedule_that_is_not_whole_or_belongs_to_nothing)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    look(&samples, 1000, PNR_GIL_FREE, 0);
    look(&samples, 2000, PNR_GIL_FREE, 0);
    change(&samples, 2000, 700, PNR_SCHEDULE_WAITS);
    change(&samples, 2000, 0, PNR_SCHEDULE_MISSING);
    spend(&samples, 2000, PNR_RAN, 400, 1);
    expect_spent(&samples, 1000, 1500, "500 200 0 0;");
    cr_assert_eq(samples.n_inexact, 1);
    cr_assert_eq(samples.n_unknown, 0);
    change(&samples, 2000, 100, PNR_SCHEDULE_WAITS);
    change(&samples, 2000, 50, PNR_SCHEDULE_RUNS);
    look(&samples, 3000, PNR_GIL_FREE, 0);
    cr_assert_eq(samples.n_unknown, 2);
    spend(&samples, 3000, PNR_RAN, 1000, 1);
    expect_spent(&samples, 2000, 3000, "1000 1000 0 0;");
    cr_assert_not(samples_are_exact(&samples, 1));
    samples_add(&samples, 3000, pnr_record_make(0, PNR_SCHEDULE, 0, 9), false);
    cr_assert_eq(samples.n_unknown, 3);
    for (int i = 0; i < 70000; i++)                             /* more than are kept */
        change(&samples, 3000, 0, i % 2);
    cr_assert_lt(samples.changes_capacity, 200000);
    cr_assert_eq(samples.n_unknown, 3 + 70000 - 65536);
    look(&samples, 4000, PNR_GIL_FREE, 0);
    cr_assert_eq(samples.n_unknown, 3 + 70000);
    samples_clear(&samples);
}

Test(read_samples, a_schedule_that_a_hole_cuts_off)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    look(&samples, 1000, PNR_GIL_FREE, 0);
    change(&samples, 1000, 700, PNR_SCHEDULE_WAITS);
    samples_begin_block(&samples, true);
    cr_assert_eq(samples.n_unknown, 0);
    samples_begin_block(&samples, false);
    cr_assert_eq(samples.n_unknown, 1);
    samples_clear(&samples);
}

Test(read_samples, a_thread_queues_just_before_it_runs)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    for (uint64_t ns = 1000; ns <= 5000; ns += 1000)
        look(&samples, ns, PNR_GIL_FREE, 0);
    spend(&samples, 5000, PNR_RAN, 400, 1);             /* of 1,000: so there is space for 600 */
    spend(&samples, 5000, PNR_QUEUED, 900, 4);
    expect_spent(&samples, 1000, 3700, "2700 0 0 0;");
    expect_spent(&samples, 3700, 4000, "300 0 300 0;");
    expect_spent(&samples, 4000, 5000, "1000 400 600 0;");
    look(&samples, 6000, PNR_GIL_FREE, 0);
    spend(&samples, 6000, PNR_QUEUED, 1500, 1);         /* 500 of these are carried on */
    look(&samples, 7000, PNR_GIL_FREE, 0);
    spend(&samples, 7000, PNR_QUEUED, 100, 1);
    expect_spent(&samples, 5000, 6000, "1000 0 1000 0;");
    expect_spent(&samples, 6000, 7000, "1000 0 600 0;");
    samples_clear(&samples);
}

Test(read_samples, holes_and_what_has_no_place)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    spend(&samples, 500, PNR_RAN, 100, 1);
    look(&samples, 1000, PNR_GIL_HELD, 1);
    spend(&samples, 1000, PNR_RAN, 100, 1);
    samples_begin_block(&samples, false);
    look(&samples, 9000, PNR_GIL_HELD, 1);
    spend(&samples, 9000, PNR_RAN, 100, 1);
    look(&samples, 9500, PNR_GIL_HELD, 1);
    spend(&samples, 9500, PNR_RAN, 10000, 1);
    spend(&samples, 9500, PNR_RAN, 10000, 65535);
    cr_assert_eq(samples.n_unknown, 0);
    expect_spent(&samples, 0, 10000, "500 500 0 500;");
    spend(&samples, 9500, PNR_RAN, 10, 0);
    samples_add(&samples, 9500, pnr_record_make(0, PNR_RAN, pnr_spent_frame(1, 1), 9), false);
    samples_add(&samples, 9500, pnr_record_make(0, PNR_CALL, 0, 1), true);
    cr_assert_eq(samples.n_unknown, 3);
    samples_clear(&samples);
}

Test(read_samples, memory_is_bounded)
{
    struct samples samples;
    samples_init(&samples);
    samples_begin_block(&samples, true);
    uint64_t n = 3 * SAMPLES_MAX;
    for (uint64_t i = 0; i <= n; i++) {
        look(&samples, 1000 * i, PNR_GIL_FREE, 0);
        spend(&samples, 1000 * i, PNR_RAN, i % 2 ? 900 : 100, 1);
    }
    cr_assert_leq(samples.n_points, SAMPLES_MAX);
    struct spent_time spent = samples_spent(&samples, 1, 0, 1000 * n);
    cr_assert_eq(spent.known_ns, 1000 * n);
    cr_assert_eq(spent.ns[SAMPLES_RAN], 500 * n);
    spent = samples_spent(&samples, 1, 0, 500 * n);
    cr_assert_lt(spent.ns[SAMPLES_RAN], 250 * n + 2000);
    cr_assert_gt(spent.ns[SAMPLES_RAN], 250 * n - 2000);
    samples_clear(&samples);
}
