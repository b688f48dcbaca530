#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>

#include "recorder/bell.h"
#include "recorder/clock.h"

#define LONG_NS 60000000000             /* no test waits that long */

static struct rec_bell bell;

static void ring(int signal)
{
    (void)signal;
    rec_bell_ring(&bell);
}

static void *wait_long(void *is_ready)
{
    atomic_store((_Atomic bool *)is_ready, true);
    return rec_bell_wait(&bell, LONG_NS) ? &bell : NULL;
}

Test(bell, rings_before_a_wait_count_as_one)
{
    rec_bell_ring(&bell);
    rec_bell_ring(&bell);
    cr_assert(rec_bell_wait(&bell, LONG_NS));
    cr_assert_not(rec_bell_wait(&bell, 0));
}

Test(bell, a_wait_takes_its_time_by_the_monotonic_clock)
{
    uint64_t begin = rec_clock_monotonic_ns();
    cr_assert_not(rec_bell_wait(&bell, 20000000));
    cr_assert_geq(rec_clock_monotonic_ns() - begin, 20000000);
}

Test(bell, a_thread_ends_a_wait)
{
    for (int i = 0; i < 1000; i++) {
        pthread_t thread;
        void *result;
        _Atomic bool is_ready = false;
        cr_assert_eq(pthread_create(&thread, NULL, wait_long, &is_ready), 0);
        while (i % 2 && !atomic_load(&is_ready))
            ;
        rec_bell_ring(&bell);
        pthread_join(thread, &result);
        cr_assert_eq(result, &bell);
    }
}

Test(bell, a_signal_handler_ends_a_wait)
{
    signal(SIGALRM, ring);
    struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
    setitimer(ITIMER_REAL, &soon, NULL);
    cr_assert(rec_bell_wait(&bell, LONG_NS));
}
