/* Converts ticks to nanoseconds of CLOCK_MONOTONIC, for one process: by a line through the capture's clock samples,
 * straight between neighbours. So drift and suspended hours are corrected, and all threads agree.
 *
 *     timeline_init()
 *     for each clock sample of the process, in any order: timeline_add()
 *     timeline_finish()
 *     timeline_ns(), as often as wanted
 *
 * Memory does not grow with the number of samples. One thread at a time. */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stddef.h>
#include <stdint.h>

#include "format/block.h"

/* The maximum number of intervals; more samples are thinned out. */
#define TIMELINE_MAX 4096

/* A rate is kept in units of 2^-48 ns per tick: an error below 1 ns even over a day without a clock sample. */
#define TIMELINE_SHIFT 48

struct timeline_sample {
    uint64_t ticks, ns;
    uint64_t rate;                      /* of the interval that begins here */
};

struct timeline {
    struct timeline_sample samples[2 * TIMELINE_MAX];
    size_t n;
    uint64_t spacing_ns;                /* the minimum distance of two samples; doubled when there are too many */
    uint64_t ticks_per_second;          /* the recorder's figure; 0: not known */
    struct timeline_sample interval;      /* of the last call: mostly that of the next one, too */
    uint64_t interval_ticks;             /* its length, up to the maximum time */
};

void timeline_init(struct timeline *timeline, uint64_t ticks_per_second);

void timeline_add(struct timeline *timeline, uint64_t ticks, uint64_t monotonic_ns);

void timeline_finish(struct timeline *timeline);

/* Returns a time that is moved by so many nanoseconds, between 0 and the maximum time. shift_ns: less than 2^62. */
uint64_t timeline_shifted(uint64_t ns, int64_t shift_ns);

/* Moves all times by so many nanoseconds, after timeline_finish(). */
void timeline_shift(struct timeline *timeline, int64_t ns);

/* Finds the interval of the ticks, for timeline_ns(). */
uint64_t timeline_ns_slow_path(struct timeline *timeline, uint64_t ticks);

/* Converts ticks; never falls when ticks rise. Ticks before the first sample have its time. Returns 0 without
 * samples. */
static inline uint64_t timeline_ns(struct timeline *timeline, uint64_t ticks)
{
    uint64_t since = ticks - timeline->interval.ticks;
    if (since >= timeline->interval_ticks)
        return timeline_ns_slow_path(timeline, ticks);
    return timeline->interval.ns + (uint64_t)((unsigned __int128)since * timeline->interval.rate >> TIMELINE_SHIFT);
}

/* Converts ticks to the time since zero_ns; 0 for what is before it. */
static inline uint64_t timeline_since(struct timeline *timeline, uint64_t zero_ns, uint64_t ticks)
{
    uint64_t ns = timeline_ns(timeline, ticks);
    return ns > zero_ns ? ns - zero_ns : 0;
}

/* Finds the earliest ticks whose time is ns or later; UINT64_MAX when there are none. */
uint64_t timeline_ticks(struct timeline *timeline, uint64_t ns);

/* The time of the first sample; 0 without samples. */
uint64_t timeline_first_ns(const struct timeline *timeline);

#endif
