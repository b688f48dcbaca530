#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "recorder/stretches.h"
#include "recorder/sparse_clock.h"

/* ---- what the tests share: a tick is a nanosecond ---- */

enum { TINY = 1, OTHER = 2, SLOW = 3, UNKNOWN = 4 };

static struct pnr_record records[PNR_BLOCK_RECORDS];
static uint32_t n_records;
static uint64_t now;

static void start(void)
{
    cr_assert(rec_stretches_start(1000000000));
    n_records = 0;
    now = 1000;
}

/* Adds an event, and then lets time pass. */
static void event(enum pnr_kind kind, uint32_t function, uint64_t then_ns, bool is_read)
{
    records[n_records++] = pnr_record_make(is_read ? now : 0, kind, 0, function);
    now += then_ns;
}

static void call(uint32_t function, uint64_t inside_ns, uint64_t after_ns)
{
    event(PNR_CALL, function, inside_ns, true);
    event(PNR_RETURN, function, after_ns, true);
}

static void read_block(void)
{
    struct pnr_block_header header = { .flags = PNR_BLOCK_SPARSE, .n_records = n_records, .end.ticks = now };
    rec_stretches_read(&header, records, n_records);
    for (int i = 1; i < 16; i++)
        rec_stretches_read(&header, records, 0);        /* the next one is among those that are read */
    n_records = 0;
    now = 1000;
}

static bool is_unread(uint32_t function, enum rec_sparse_mode bit)
{
    return rec_sparse_mode_of(function) & bit;
}

TestSuite(stretches, .init = start, .fini = rec_stretches_stop);

/* ---- who is short ---- */

Test(stretches, nothing_is_short_before_it_was_seen_often)
{
    for (int i = 0; i < 31; i++)
        call(TINY, 50, 50);
    read_block();
    cr_expect_eq(rec_sparse_mode_of(TINY), 0);
    cr_expect_eq(rec_sparse_mode_of(UNKNOWN), 0);
    for (int i = 0; i < 31; i++)
        call(TINY, 50, 50);
    read_block();
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(TINY, REC_SPARSE_EXIT));
    cr_expect_eq(rec_sparse_mode_of(UNKNOWN), 0);
}

Test(stretches, the_classes_of_a_function_are_their_own)
{
    for (int i = 0; i < 200; i++)
        call(TINY, 50, 900);
    read_block();
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY));
    cr_expect(!is_unread(TINY, REC_SPARSE_EXIT), "what follows the exit takes 900 ns");
    cr_expect(!is_unread(TINY, REC_SPARSE_AFTER_EXIT), "so the next event reads, too");
}

Test(stretches, some_long_stretches_are_too_many)
{
    for (int i = 0; i < 1000; i++) {
        call(TINY, i % 100 == 99 ? 20000 : 50, 50);
        call(OTHER, 50, 50);
    }
    read_block();
    cr_expect(!is_unread(TINY, REC_SPARSE_ENTRY));
    cr_expect(is_unread(TINY, REC_SPARSE_EXIT));
    cr_expect(is_unread(OTHER, REC_SPARSE_ENTRY));
}

/* An interrupt now and then, in proportion to the time of each. */
Test(stretches, noise_of_the_machine_is_no_sign)
{
    for (int i = 0; i < 4000; i++) {
        call(TINY, i % 2000 == 500 ? 8000 : 50, i % 2000 == 800 ? 8000 : 50);
        call(OTHER, i % 2000 == 1200 ? 8000 : 50, i % 2000 == 1700 ? 8000 : 50);
    }
    read_block();
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(TINY, REC_SPARSE_EXIT));
    cr_expect(is_unread(OTHER, REC_SPARSE_ENTRY) && is_unread(OTHER, REC_SPARSE_EXIT));
}

Test(stretches, what_waits_is_read)
{
    for (int i = 0; i < 1000; i++)
        call(TINY, i % 50 == 49 ? 3 * REC_SPARSE_PERIOD_NS : 50, 50);
    read_block();
    cr_expect(!is_unread(TINY, REC_SPARSE_ENTRY));
}

Test(stretches, long_calls_have_exact_ends)
{
    for (int i = 0; i < 100; i++) {
        event(PNR_CALL, SLOW, 100, true);
        for (int k = 0; k < 30; k++)
            call(TINY, 100, 100);
        event(PNR_RETURN, SLOW, 100, true);
    }
    read_block();
    cr_expect(!is_unread(SLOW, REC_SPARSE_ENTRY) && !is_unread(SLOW, REC_SPARSE_EXIT));
    cr_expect(is_unread(SLOW, REC_SPARSE_AFTER_ENTRY), "its stretches are short: what follows needs no reading");
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY));
}

/* ---- intervals with events that have no reading ---- */

static void learn_two(void)
{
    for (int i = 0; i < 500; i++) {
        call(TINY, 50, 50);
        call(OTHER, 50, 50);
    }
    read_block();
    cr_assert(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(OTHER, REC_SPARSE_ENTRY));
}

/* A call of each, with a reading at the first event alone. */
static void unread_calls(uint64_t inside_ns)
{
    event(PNR_CALL, TINY, inside_ns, true);
    event(PNR_RETURN, TINY, 50, false);
    event(PNR_CALL, OTHER, 50, false);
    event(PNR_RETURN, OTHER, 50, false);
}

static void long_intervals(int n)
{
    while (n--)
        unread_calls(40000);
    unread_calls(50);
    read_block();
}

Test(stretches, intervals_that_are_often_too_long_make_suspect)
{
    learn_two();
    long_intervals(1);
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(OTHER, REC_SPARSE_EXIT), "once is by chance");
    long_intervals(3);
    cr_expect(!is_unread(TINY, REC_SPARSE_ENTRY) && !is_unread(OTHER, REC_SPARSE_EXIT), "any of them may be it");
    for (int i = 0; i < 100; i++) {
        call(TINY, 50, 50);
        call(OTHER, 50, 50);
    }
    read_block();
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(OTHER, REC_SPARSE_EXIT), "not any more");
}

Test(stretches, intervals_that_are_seldom_too_long_do_not)
{
    learn_two();
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 400; i++)
            unread_calls(50);
        long_intervals(1);
        cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(OTHER, REC_SPARSE_EXIT));
    }
}

/* However many of its stretches are of one function. */
Test(stretches, one_interval_that_is_too_long_is_by_chance)
{
    learn_two();
    for (int i = 0; i < 32; i++)
        event(i % 2 ? PNR_RETURN : PNR_CALL, TINY, i == 9 ? 3000000 : 50, i == 0);
    unread_calls(50);
    read_block();
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(TINY, REC_SPARSE_EXIT));
}

Test(stretches, who_is_often_suspect_is_read_for_longer)
{
    int n_before = 0;
    learn_two();
    for (int round = 0; round < 4; round++) {
        int n = 0;
        long_intervals(4);
        for (; !is_unread(TINY, REC_SPARSE_ENTRY) && n < 10000; n += 8) {
            for (int i = 0; i < 8; i++) {
                call(TINY, 50, 50);
                call(OTHER, 50, 50);
            }
            read_block();
        }
        cr_expect_gt(n, n_before, "round %d", round);
        n_before = n;
    }
}

/* The guard's rule: the wait was the last stretch. */
Test(stretches, a_wait_counts_for_the_last_stretch)
{
    learn_two();
    for (int i = 0; i < 20; i++) {
        event(PNR_CALL, TINY, 50, true);
        event(PNR_RETURN, TINY, 50, false);
        event(PNR_CALL, OTHER, 2 * REC_SPARSE_PERIOD_NS, false);
        event(PNR_RETURN, OTHER, 50, true);
    }
    read_block();
    cr_expect(!is_unread(OTHER, REC_SPARSE_ENTRY));
    cr_expect(is_unread(TINY, REC_SPARSE_ENTRY) && is_unread(TINY, REC_SPARSE_EXIT));
}

/* ---- odd blocks ---- */

Test(stretches, blocks_of_other_clocks_say_nothing)
{
    struct pnr_block_header header = { .end.ticks = 100000 };
    for (int i = 0; i < 100; i++)
        call(TINY, 50, 50);
    rec_stretches_read(&header, records, n_records);
    cr_expect_eq(rec_sparse_mode_of(TINY), 0);
}

Test(stretches, any_records_are_survived)
{
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 20; round++) {
        for (n_records = 0; n_records < PNR_BLOCK_RECORDS; n_records++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            uint64_t ticks = x % 3 ? 0 : x >> 30;
            records[n_records] = pnr_record_make(ticks & PNR_TICKS_MAX, x >> 8 & 31, 0,
                                                 x & 1 ? (uint32_t)(x >> 20) : (uint32_t)(x >> 20) % 50);
        }
        read_block();
    }
    cr_expect_eq(rec_sparse_mode_of(REC_SPARSE_FUNCTIONS), 0);
    cr_expect_eq(rec_sparse_mode_of(UINT32_MAX), 0);
}
