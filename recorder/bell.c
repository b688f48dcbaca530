/* A futex(2): POSIX has no wait by CLOCK_MONOTONIC that a signal handler may end, and sem_clockwait is in no glibc
 * before 2.30 and not in musl. */
#include "bell.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(LONG_MAX > INT_MAX, "SYS_futex takes the struct timespec of 64-bit systems");

void rec_bell_ring(struct rec_bell *bell)
{
    int saved = errno;
    if (!atomic_exchange(&bell->has_rung, 1))
        syscall(SYS_futex, &bell->has_rung, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

bool rec_bell_wait(struct rec_bell *bell, uint64_t wait_ns)
{
    struct timespec wait = { (time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000) };
    if (atomic_exchange(&bell->has_rung, 0))
        return true;
    syscall(SYS_futex, &bell->has_rung, FUTEX_WAIT_PRIVATE, 0, &wait, NULL, 0);
    return atomic_exchange(&bell->has_rung, 0);
}
