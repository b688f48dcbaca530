#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "recorder/clock.h"
#include "recorder/schedule.h"

#include "check.h"

/* Opens the schedule of this thread. Skips the test where the kernel does not report it. */
static struct rec_schedule open_own(void)
{
    char text[128];
    struct rec_schedule schedule;
    if (!rec_schedule_probe(text, sizeof text))
        cr_skip_test("%s", text);
    cr_assert_str_eq(text, "exact");
    cr_assert(rec_schedule_open(&schedule, (uint32_t)syscall(SYS_gettid)));
    return schedule;
}

static void sleep_us(long us)
{
    nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

Test(schedule, a_thread_waits_and_runs_again)
{
    struct rec_schedule schedule = open_own();
    struct rec_schedule_change change;
    cr_assert_not(rec_schedule_next(&schedule, &change), "nothing was looked for");
    uint64_t begin = rec_clock_monotonic_ns(), last = begin, n_waits = 0;
    enum pnr_schedule before = PNR_SCHEDULE_RUNS;
    for (int i = 0; i < 5; i++)
        sleep_us(2000);
    uint64_t end = rec_clock_monotonic_ns();
    cr_assert_geq(rec_schedule_look(&schedule), 10);
    while (rec_schedule_next(&schedule, &change)) {
        cr_assert_neq(change.what, PNR_SCHEDULE_MISSING);
        cr_assert_neq(change.what == PNR_SCHEDULE_RUNS, before == PNR_SCHEDULE_RUNS, "it gets and loses a processor by turns");
        if (change.ns >= begin && change.ns <= end) {
            cr_assert_geq(change.ns, last);
            if (before == PNR_SCHEDULE_WAITS && change.ns - last >= 2000000)
                n_waits++;
            last = change.ns;
        }
        before = change.what;
    }
    cr_assert_eq(n_waits, 5);
    rec_schedule_close(&schedule);
    cr_assert_eq(rec_schedule_look(&schedule), 0);
    cr_assert_not(rec_schedule_next(&schedule, &change));
}

Test(schedule, more_changes_than_the_ring_holds)
{
    struct rec_schedule schedule = open_own();
    struct rec_schedule_change change;
    for (int round = 0; round < 3; round++) {
        bool is_missing = false;
        size_t n = 0;
        for (int i = 0; i < 200; i++)
            sleep_us(1);
        cr_assert_leq(rec_schedule_look(&schedule), REC_SCHEDULE_MAX_CHANGES);
        for (; rec_schedule_next(&schedule, &change); n++)
            is_missing |= change.what == PNR_SCHEDULE_MISSING;
        cr_assert(is_missing);
        cr_assert_leq(n, REC_SCHEDULE_MAX_CHANGES);
    }
    rec_schedule_look(&schedule);
    while (rec_schedule_next(&schedule, &change))       /* what the kernel reports of the rounds before */
        ;
    sleep_us(1000);
    cr_assert_geq(rec_schedule_look(&schedule), 2);
    cr_assert(rec_schedule_next(&schedule, &change));
    rec_schedule_close(&schedule);
}

Test(schedule, no_such_thread)
{
    struct rec_schedule schedule;
    cr_assert_not(rec_schedule_open(&schedule, 0x7fffffff));
    cr_assert_null(schedule.ring);
    rec_schedule_close(&schedule);
}
