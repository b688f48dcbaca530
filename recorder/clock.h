/* The tick clock: the unit of a record's time, and what it is on the system's clocks. No Python dependency.
 *
 * x86-64 has the time-stamp counter. It is used where it runs at a constant rate and never stops (CPUID 0x80000007, EDX
 * bit 8), and the kernel's clocksource, if that can be read, is derived from it (tsc, kvm-clock, hyperv). aarch64 has
 * CNTVCT_EL0. Elsewhere it is CLOCK_MONOTONIC, one tick a nanosecond.
 *
 *     rec_clock_init                          once, before anything else
 *         rec_clock_ticks, rec_clock_sample, ...
 *
 * Any thread may call the rest. */
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

/* Chooses the clock and takes the first sample, from which rec_clock_rate measures. */
void rec_clock_init(void);

/* Returns "tsc", "cntvct" or "monotonic". */
const char *rec_clock_name(void);

/* Returns the ticks per second, measured between rec_clock_init and now. Sleeps until that is at least 1 ms. */
uint64_t rec_clock_rate(void);

/* Returns how many low bits of the ticks blocks do not keep. What is finer than some nanoseconds is noise, which
 * does not compress. */
uint8_t rec_clock_tick_shift(void);

/* Reads all clocks at one moment. ticks and monotonic_ns belong together within the time that one read of the clock
 * takes, some 50 ns. */
struct pnr_clock_sample rec_clock_sample(void);

/* Reads the counter, where rec_clock_is_counter. */
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

/* Reads the counter as two halves, which is how rdtsc gives it: joining them would take instructions. */
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

/* Reads CLOCK_MONOTONIC. */
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
