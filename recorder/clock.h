/* The tick clock: what a record's time is counted in, and its place on the system's clocks. Free of Python.
 * x86-64: the time-stamp counter where it is constant and never stops (CPUID 0x80000007, EDX bit 8) and the
 * kernel's clocksource, if it can be asked, is made of it (tsc, kvm-clock, hyperv); aarch64: CNTVCT_EL0; else
 * CLOCK_MONOTONIC, one tick a nanosecond. */
#ifndef REC_CLOCK_H
#define REC_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "../format/block.h"

extern bool rec_clock_is_counter;       /* set once by rec_clock_init, before any tick is read */

/* Finds out which clock there is and reads the first instant, from which rec_clock_rate measures. */
void rec_clock_init(void);

/* "tsc", "cntvct" or "monotonic". */
const char *rec_clock_name(void);

/* Ticks per second, measured between rec_clock_init and now. Sleeps until that is at least 1 ms. */
uint64_t rec_clock_rate(void);

/* How many low bits of the ticks blocks do not keep: what is finer than some nanoseconds is noise, and noise fills the
 * disk. */
uint8_t rec_clock_tick_shift(void);

/* The present instant on all clocks. ticks and monotonic_ns belong together within the time that one read of
 * the clock takes, some 50 ns. */
struct pnr_clock_sample rec_clock_sample(void);

/* The counter, where rec_clock_is_counter. */
static inline uint64_t rec_clock_counter(void)
{
#ifdef __x86_64__
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}

/* The counter in two halves: the processor has it so, and putting them together takes time. */
static inline uint64_t rec_clock_counter_halves(uint32_t *high)
{
#ifdef __x86_64__
    uint64_t low, upper;                /* rdtsc clears what is above the 32 bits of each */
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(upper));
    *high = (uint32_t)upper;
    return low;
#else
    uint64_t ticks = rec_clock_counter();
    *high = (uint32_t)(ticks >> 32);
    return (uint32_t)ticks;
#endif
}

/* CLOCK_MONOTONIC alone. */
static inline uint64_t rec_clock_monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t rec_clock_ticks(void)
{
    return __builtin_expect(rec_clock_is_counter, 1) ? rec_clock_counter() : rec_clock_monotonic_ns();
}

#endif
