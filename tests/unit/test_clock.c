/* recorder/clock.h: the clock's rate and resolution, compared with the system's clock. */
#include <criterion/criterion.h>
#include <math.h>
#include <time.h>

#include "recorder/clock.h"

static double monotonic_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ 0, ms * 1000000 }, NULL);
}

Test(clock, rate_is_that_of_the_ticks)
{
    rec_clock_init();
    double at_once = (double)rec_clock_rate();          /* waits until it can be measured */
    double begin_s = monotonic_s();
    uint64_t begin = rec_clock_ticks();
    sleep_ms(200);
    double expected = (double)(rec_clock_ticks() - begin) / (monotonic_s() - begin_s);
    cr_expect_lt(fabs((double)rec_clock_rate() / expected - 1), 0.01);
    cr_expect_lt(fabs(at_once / expected - 1), 0.05);
}

Test(clock, samples_are_of_one_moment)
{
    rec_clock_init();
    struct pnr_clock_sample before = rec_clock_sample();
    sleep_ms(100);
    struct pnr_clock_sample after = rec_clock_sample();
    double ticks_s = (double)(after.ticks - before.ticks) / (double)rec_clock_rate();
    double clock_s = (double)(after.monotonic_ns - before.monotonic_ns) / 1e9;
    cr_expect_geq(clock_s, 0.1);
    cr_expect_lt(fabs(ticks_s / clock_s - 1), 0.01);
}

/* A counter may be slower: those of aarch64 often have 25 MHz, and then all bits are kept. */
Test(clock, resolution_of_blocks_is_above_2_and_at_most_4_ns)
{
    rec_clock_init();
    double tick_ns = 1e9 / (double)rec_clock_rate(), ns = ldexp(tick_ns, rec_clock_tick_shift());
    cr_expect(ns > 1.98, "%g ns", ns);                  /* the rate is measured anew */
    cr_expect(ns < 4.04 || rec_clock_tick_shift() == 0, "%g ns", ns);
}

#ifdef __aarch64__
/* What the kernel and the firmware agreed on is what is measured. */
Test(clock, rate_is_the_frequency_of_the_register)
{
    uint64_t frequency;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
    rec_clock_init();
    sleep_ms(200);
    cr_expect_str_eq(rec_clock_name(), "cntvct");
    cr_expect_lt(fabs((double)rec_clock_rate() / (double)frequency - 1), 0.01);
}
#endif

Test(clock, without_a_counter_a_tick_is_a_nanosecond)
{
    rec_clock_init();
    rec_clock_is_counter = false;
    struct pnr_clock_sample sample = rec_clock_sample();
    cr_expect_str_eq(rec_clock_name(), "monotonic");
    cr_expect_eq(rec_clock_rate(), 1000000000);
    cr_expect_eq(rec_clock_tick_shift(), 2, "4 ns");
    cr_expect_leq(sample.ticks, sample.monotonic_ns + 1000000000);
}
