#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_NS 100000000

static bool is_allowed, is_visible;
static uint64_t begin_ns, next_ns;

static uint64_t monotonic_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void progress_begin(void)
{
    is_allowed = isatty(STDERR_FILENO);
    begin_ns = monotonic_ns();
    next_ns = begin_ns + INTERVAL_NS;
}

bool progress_is_due(void)
{
    return is_allowed && monotonic_ns() >= next_ns;
}

void progress_show(const struct progress *progress)
{
    uint64_t ns = monotonic_ns();
    double seconds = (double)(ns - begin_ns) / 1e9, millions = (double)progress->events / 1e6;
    double part = progress->n_read < progress->n_blocks ? (double)progress->n_read / (double)progress->n_blocks : 1;
    next_ns = ns + INTERVAL_NS;
    if (progress->n_read == 0)
        return;
    fprintf(stderr, "\r%.0f %%, %" PRIu64 " MB, %.1f M events, %.1f M/s, %.0f s left\x1b[K", 100 * part,
            progress->bytes / 1000000, millions, millions / seconds, seconds / part - seconds);
    is_visible = true;
}

void progress_hide(void)
{
    if (is_visible)
        fputs("\r\x1b[K", stderr);
    is_visible = false;
}
