/* Moves a program's wall clock by WALL_CLOCK_SECONDS, so that what it records is from another hour (bench/fleet):
 *     gcc -shared -fPIC wall_clock.c -o wall_clock.so; WALL_CLOCK_SECONDS=-3600 LD_PRELOAD=./wall_clock.so PROGRAM */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static long shift;

__attribute__((constructor)) static void read_shift(void)
{
    const char *text = getenv("WALL_CLOCK_SECONDS");
    shift = text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!real_clock_gettime)
        *(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real_clock_gettime(clock, time);
    if (!status && clock == CLOCK_REALTIME)
        time->tv_sec += shift;
    return status;
}
