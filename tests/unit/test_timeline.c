#include "convert/read/timeline.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000000)

struct pair {
    uint64_t ticks, ns;
};

static struct timeline *make(const struct pair *samples, size_t n, uint64_t ticks_per_second)
{
    struct timeline *timeline = malloc(sizeof *timeline);
    timeline_init(timeline, ticks_per_second);
    for (size_t i = 0; i < n; i++)
        timeline_add(timeline, samples[i].ticks, samples[i].ns);
    timeline_finish(timeline);
    return timeline;
}

/* Row by row: samples, the recorder's rate, and times asked for. */
Test(timeline, goes_through_the_samples)
{
    static const struct {
        size_t n;
        struct pair samples[4];
        uint64_t ticks_per_second;
        size_t n_asked;
        struct pair asked[5];
    } table[] = {
        { 0, { { 0, 0 } }, 0, 1, { { 77, 0 } } },
        /* one sample: the recorder's rate, else a tick is a nanosecond */
        { 1, { { 100, 5000 } }, 2 * SECOND, 3, { { 100, 5000 }, { 300, 5100 }, { 50, 5000 } } },
        { 1, { { 100, 5000 } }, 0, 1, { { 300, 5200 } } },
        /* two that are too close for a rate */
        { 2, { { 100, 5000 }, { 200, 5099 } }, SECOND, 2, { { 200, 5100 }, { 100000100, 100005000 } } },
        /* two: between and beyond, whatever the recorder's rate is */
        { 2, { { 0, 0 }, { 4 * SECOND, 2 * SECOND } }, SECOND, 3,
          { { SECOND, SECOND / 2 }, { 4 * SECOND, 2 * SECOND }, { 8 * SECOND, 4 * SECOND } } },
        /* in any order; the rate changes */
        { 3, { { 40 * SECOND, 30 * SECOND }, { 0, 0 }, { 20 * SECOND, 10 * SECOND } }, 0, 3,
          { { 10 * SECOND, 5 * SECOND }, { 30 * SECOND, 20 * SECOND }, { 50 * SECOND, 40 * SECOND } } },
        /* ignores one that runs backwards */
        { 3, { { 0, 5 * SECOND }, { 10 * SECOND, 4 * SECOND }, { 20 * SECOND, 25 * SECOND } }, 0, 1,
          { { 10 * SECOND, 15 * SECOND } } },
        /* closer than a second: removes the one between */
        { 3, { { 0, 0 }, { SECOND / 2, SECOND / 4 }, { SECOND, SECOND } }, 0, 1, { { SECOND / 2, SECOND / 2 } } },
        /* absurd ticks end somewhere, and in order */
        { 1, { { 0, 0 } }, 1, 2, { { UINT64_MAX - 1, UINT64_C(1) << 62 }, { UINT64_MAX, UINT64_C(1) << 62 } } },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct timeline *timeline = make(table[i].samples, table[i].n, table[i].ticks_per_second);
        for (size_t k = 0; k < table[i].n_asked; k++)
            cr_expect_eq(timeline_ns(timeline, table[i].asked[k].ticks), table[i].asked[k].ns, "row %zu, %zu", i, k);
        free(timeline);
    }
}

/* Days at 3 GHz, a sample every 10 ms: few are kept, and no time is off by more than a nanosecond. */
Test(timeline, keeps_nanoseconds_over_days)
{
    struct timeline *timeline = malloc(sizeof *timeline);
    const uint64_t start = 7777777, step = 30000000;
    timeline_init(timeline, 2900000000u);
    for (uint64_t i = 0; i < 3000000; i++)
        timeline_add(timeline, start + i * step, i * 10000000);
    timeline_finish(timeline);
    cr_expect_leq(timeline->n, TIMELINE_MAX);
    uint64_t last = 0;
    for (uint64_t i = 0; i < 40000000; i += 1999) {
        uint64_t exact = i * 10000000 / 10, ns = timeline_ns(timeline, start + i * step / 10);
        cr_assert(ns >= last && exact - ns <= 1, "%lu: %lu", (unsigned long)exact, (unsigned long)ns);
        last = ns;
    }
    free(timeline);
}

/* The way back: the earliest ticks of each time. */
Test(timeline, finds_ticks)
{
    static const struct pair samples[] = { { 100, 5000 }, { 100 + 2 * SECOND, 5000 + SECOND } };
    static const struct pair asked[] = { { 0, 0 }, { 0, 5000 }, { 102, 5001 }, { 200, 5050 },
                                         { 100 + 4 * SECOND, 5000 + 2 * SECOND }, { UINT64_MAX, UINT64_MAX } };
    struct timeline *timeline = make(samples, 2, SECOND);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        uint64_t ticks = timeline_ticks(timeline, asked[i].ns);
        cr_expect_eq(ticks, asked[i].ticks, "row %zu: %" PRIu64, i, ticks);
    }
    free(timeline);
}
