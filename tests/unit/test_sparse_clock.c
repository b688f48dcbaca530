#include <criterion/criterion.h>
#include <unistd.h>

#include "recorder/sparse_clock.h"

#define SHORT (REC_SPARSE_ENTRY | REC_SPARSE_EXIT | REC_SPARSE_AFTER_ENTRY | REC_SPARSE_AFTER_EXIT)

static struct pnr_record chunk[1000];

static void start(void)
{
    cr_assert(rec_sparse_start());
    rec_sparse_set(1, SHORT);
}

TestSuite(sparse_clock, .init = start, .fini = rec_sparse_stop);

static void wake(void)
{
    rec_sparse_note_block(16384, 1000000);
    cr_assert_leq(rec_sparse_tend(), REC_SPARSE_PERIOD_NS);
}

/* Appends an event at `at`. Returns whether it needed no reading. */
static bool append(uint32_t at, uint32_t end, uint8_t mode, bool is_exit)
{
    if (rec_sparse_may_skip(chunk + at, mode, is_exit))
        return true;
    rec_sparse_allow(chunk + at + 1, chunk + end, mode, is_exit);
    return false;
}

Test(sparse_clock, every_event_reads_while_the_guard_rests)
{
    cr_expect_eq(rec_sparse_tend(), UINT64_MAX);
    for (uint32_t i = 0; i < 100; i++)
        cr_expect(!append(i, 1000, rec_sparse_mode_of(1), i % 2));
}

Test(sparse_clock, a_measurement_needs_no_guard)
{
    rec_sparse_allow_none(true);
    uint32_t n = 0;
    for (uint32_t i = 0; i < 100; i++)
        n += append(i, 1000, rec_sparse_mode_of(0), i % 2);
    cr_expect_gt(n, 50);
    rec_sparse_allow_none(false);
    cr_expect_eq(rec_sparse_mode_of(0), 0);
    for (uint32_t i = 0; i < 100; i++)
        cr_expect(!append(i, 1000, SHORT, i % 2));
}

Test(sparse_clock, few_events_do_not_wake_the_guard)
{
    rec_sparse_note_block(1000, 1000000000);
    cr_expect_eq(rec_sparse_tend(), UINT64_MAX);
}

Test(sparse_clock, runs_without_a_reading_are_short)
{
    uint32_t run = 0, longest = 0, n = 0, n_pairs = 0;
    wake();
    for (uint32_t i = 0; i < 1000; i++) {
        bool is_unread = append(i, 1000, rec_sparse_mode_of(1), i % 2);
        n += is_unread;
        n_pairs += !is_unread && run == 0 && i > 0;
        run = is_unread ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    cr_expect_leq(longest, REC_SPARSE_RUN);
    cr_expect_gt(n, 700);
    cr_expect_gt(n_pairs, 10, "pairs of readings are samples");
}

Test(sparse_clock, what_is_not_short_reads_and_so_does_the_next)
{
    wake();
    for (uint32_t i = 0; i < 1000; i++) {
        bool is_slow = i % 10 == 3;
        bool is_unread = append(i, 1000, rec_sparse_mode_of(is_slow ? 2 : 1), false);
        cr_expect(!is_unread || (!is_slow && i % 10 != 4), "event %u", i);
    }
}

Test(sparse_clock, a_break_makes_the_next_event_read)
{
    wake();
    uint32_t i = 0;
    while (i < 900 && !append(i, 1000, SHORT, false))
        i++;
    rec_sparse_break();
    cr_expect(!append(i + 1, 1000, SHORT, false));
}

Test(sparse_clock, the_guard_makes_the_next_event_read)
{
    wake();
    uint32_t i = 0;
    while (i < 900 && !append(i, 1000, SHORT, false))
        i++;
    usleep(2 * REC_SPARSE_PERIOD_NS / 1000);
    rec_sparse_tend();
    cr_expect(!append(i + 1, 1000, SHORT, false));
}

Test(sparse_clock, the_guard_rests_when_no_event_comes)
{
    wake();
    for (int i = 0; i < 100000 && rec_sparse_tend() != UINT64_MAX; i++)
        usleep(100);
    cr_expect_eq(rec_sparse_tend(), UINT64_MAX);
    cr_expect(!append(0, 1000, SHORT, false));
    cr_expect(!append(1, 1000, SHORT, false));
}

Test(sparse_clock, every_event_reads_when_the_guard_goes)
{
    wake();
    uint32_t i = 0;
    while (i < 900 && !append(i, 1000, SHORT, false))
        i++;
    rec_sparse_rest();
    for (uint32_t k = i + 1; k < i + 50; k++)
        cr_expect(!append(k, 1000, SHORT, false));
    cr_expect_eq(rec_sparse_tend(), UINT64_MAX);
}

/* An event without a reading does not ask whether its chunk is full. */
Test(sparse_clock, no_run_goes_beyond_the_chunk)
{
    wake();
    for (uint32_t end = 1; end < 40; end++)
        for (uint32_t first = 0; first < end; first++) {
            rec_sparse_break();
            for (uint32_t i = first; i < end; i++)
                append(i, end, SHORT, false);
            cr_expect(!rec_sparse_may_skip(chunk + end, SHORT, false), "from %u to %u", first, end);
        }
}

Test(sparse_clock, another_chunk_reads)
{
    wake();
    uint32_t i = 500;
    while (i < 900 && !append(i, 1000, SHORT, false))
        i++;
    cr_expect(!rec_sparse_may_skip(chunk, SHORT, false));
    cr_expect(!rec_sparse_may_skip(chunk + 900, SHORT, false));
    cr_expect(!rec_sparse_may_skip(NULL, SHORT, false));
}

Test(sparse_clock, high_numbers_always_read)
{
    rec_sparse_set(REC_SPARSE_FUNCTIONS - 1, SHORT);
    rec_sparse_set(REC_SPARSE_FUNCTIONS, SHORT);
    cr_expect_eq(rec_sparse_mode_of(REC_SPARSE_FUNCTIONS - 1), SHORT);
    cr_expect_eq(rec_sparse_mode_of(REC_SPARSE_FUNCTIONS), 0);
}
