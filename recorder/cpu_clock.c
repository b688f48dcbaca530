#include "cpu_clock.h"

#include "clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t excluded_ns;
static _Thread_local uint64_t excluded_of_thread_ns;    /* the worker is another thread after each time it was parked */

static uint64_t read_cpu_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t rec_cpu_clock_program(void)
{
    uint64_t excluded = atomic_load(&excluded_ns), all = read_cpu_clock(CLOCK_PROCESS_CPUTIME_ID);
    return all > excluded ? all - excluded : 0;     /* the kernel's sums of threads and processes differ a little */
}

uint64_t rec_cpu_clock_thread(void)
{
    return read_cpu_clock(CLOCK_THREAD_CPUTIME_ID);
}

void rec_cpu_clock_exclude(void)
{
    uint64_t now = rec_cpu_clock_thread();
    atomic_fetch_add(&excluded_ns, now - excluded_of_thread_ns);
    excluded_of_thread_ns = now;
}

uint64_t rec_cpu_clock_moment(void)
{
    return rec_clock_monotonic_ns();
}
