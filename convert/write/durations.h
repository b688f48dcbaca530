/* The durations of the calls of one function, of which percentiles are wanted. They are counted in buckets: 64 of one
 * nanosecond each, then 32 for each power of two. So a percentile is wrong by a 64th (1.6 %) at most, and by nothing
 * below 64 ns.
 *
 *     struct durations durations = { .capacity = 0 };
 *     durations_add(), of each call
 *     durations_percentile()
 *     durations_clear()
 *
 * Memory: 15 KiB at most, however many calls there are. */
#ifndef DURATIONS_H
#define DURATIONS_H

#include <stddef.h>
#include <stdint.h>

struct durations {
    uint64_t *counts;                   /* of each bucket; owned */
    size_t capacity;                    /* the longest duration so far decides it */
    uint64_t n;
};

/* Returns 0, or -1 when out of memory. */
int durations_add(struct durations *durations, uint64_t ns);

/* Returns the shortest duration that percent of the calls do not exceed (the nearest rank), in nanoseconds: the middle
 * of its bucket. percent: 1 to 100. Without calls it is 0. */
uint64_t durations_percentile(const struct durations *durations, unsigned percent);

void durations_clear(struct durations *durations);

#endif
