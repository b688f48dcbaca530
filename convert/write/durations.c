#include "durations.h"

#include <stdlib.h>

#include "format/array.h"

/* A power of two has as many buckets, and one for each nanosecond below twice as many. */
#define BUCKETS_BITS 5
#define BUCKETS (1u << BUCKETS_BITS)

static size_t bucket_of(uint64_t ns)
{
    if (ns < 2 * BUCKETS)
        return (size_t)ns;
    unsigned shift = 63 - BUCKETS_BITS - (unsigned)__builtin_clzll(ns);
    return (size_t)shift * BUCKETS + (size_t)(ns >> shift);
}

/* Returns the middle of a bucket. */
static uint64_t bucket_ns(size_t bucket)
{
    if (bucket < 2 * BUCKETS)
        return bucket;
    unsigned shift = (unsigned)(bucket / BUCKETS) - 1;
    return ((uint64_t)(bucket % BUCKETS + BUCKETS) << shift) + ((uint64_t)1 << shift) / 2;
}

int durations_add(struct durations *durations, uint64_t ns)
{
    size_t bucket = bucket_of(ns), n_before = durations->capacity;
    if (pnr_array_reserve(&durations->counts, &durations->capacity, bucket + 1) < 0)
        return -1;
    for (size_t i = n_before; i < durations->capacity; i++)
        durations->counts[i] = 0;
    durations->counts[bucket]++;
    durations->n++;
    return 0;
}

uint64_t durations_percentile(const struct durations *durations, unsigned percent)
{
    uint64_t rank = durations->n / 100 * percent + (durations->n % 100 * percent + 99) / 100, n = 0;
    for (size_t bucket = 0; bucket < durations->capacity; bucket++) {
        n += durations->counts[bucket];
        if (n && n >= rank)
            return bucket_ns(bucket);
    }
    return 0;
}

void durations_clear(struct durations *durations)
{
    free(durations->counts);
    *durations = (struct durations){ .capacity = 0 };
}
