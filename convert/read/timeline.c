#include "timeline.h"

#include <stdbool.h>
#include <stdlib.h>

/* Two samples closer than this do not give a better rate than the recorder's own figure: each pair of clock readings is
 * uncertain by some 100 ns. */
#define MIN_RATE_NS 1000000

/* The maximum time: far beyond any that is meant, and far from overflow. Damaged ticks end here. */
#define MAX_NS (UINT64_C(1) << 62)

void timeline_init(struct timeline *timeline, uint64_t ticks_per_second)
{
    timeline->n = 0;
    timeline->spacing_ns = 1000000000;
    timeline->ticks_per_second = ticks_per_second;
    timeline->interval_ticks = 0;
}

uint64_t timeline_shifted(uint64_t ns, int64_t shift_ns)
{
    if (shift_ns < 0)
        return ns > (uint64_t)-shift_ns ? ns - (uint64_t)-shift_ns : 0;
    return ns + (uint64_t)shift_ns < MAX_NS ? ns + (uint64_t)shift_ns : MAX_NS;
}

static int compare_samples(const void *a, const void *b)
{
    const struct timeline_sample *x = a, *y = b;
    if (x->ticks != y->ticks)
        return x->ticks < y->ticks ? -1 : 1;
    return x->ns < y->ns ? -1 : x->ns > y->ns;
}

/* Sorts the samples, removes those that run backwards, and thins the rest to spacing_ns. Keeps the first and the last:
 * if the one before the last is too close, that one goes. */
static void thin_samples(struct timeline *timeline)
{
    struct timeline_sample *samples = timeline->samples;
    size_t kept = 0;
    qsort(samples, timeline->n, sizeof *samples, compare_samples);
    for (size_t i = 0; i < timeline->n; i++) {
        if (kept && (samples[i].ticks == samples[kept - 1].ticks || samples[i].ns <= samples[kept - 1].ns))
            continue;
        if (kept > 1 && samples[kept - 1].ns - samples[kept - 2].ns < timeline->spacing_ns)
            kept--;
        samples[kept++] = samples[i];
    }
    if (kept > 2 && samples[kept - 1].ns - samples[kept - 2].ns < timeline->spacing_ns) {
        samples[kept - 2] = samples[kept - 1];
        kept--;
    }
    timeline->n = kept;
}

void timeline_add(struct timeline *timeline, uint64_t ticks, uint64_t monotonic_ns)
{
    if (timeline->n == 2 * TIMELINE_MAX) {
        thin_samples(timeline);
        while (timeline->n > TIMELINE_MAX) {
            timeline->spacing_ns *= 2;
            thin_samples(timeline);
        }
    }
    if (monotonic_ns > MAX_NS)
        monotonic_ns = MAX_NS;
    timeline->samples[timeline->n++] = (struct timeline_sample){ ticks, monotonic_ns, 0 };
}

static uint64_t rate(uint64_t ns, uint64_t ticks)
{
    unsigned __int128 value = ((unsigned __int128)ns << TIMELINE_SHIFT) / ticks;
    return value > UINT64_MAX ? UINT64_MAX : (uint64_t)value;
}

void timeline_finish(struct timeline *timeline)
{
    struct timeline_sample *samples = timeline->samples;
    thin_samples(timeline);
    for (size_t i = 0; i + 1 < timeline->n; i++)
        samples[i].rate = rate(samples[i + 1].ns - samples[i].ns, samples[i + 1].ticks - samples[i].ticks);
    bool is_too_short = timeline->n < 2 || samples[timeline->n - 1].ns - samples[0].ns < MIN_RATE_NS;
    if (timeline->n && is_too_short && timeline->ticks_per_second) {
        samples[0].rate = rate(1000000000, timeline->ticks_per_second);
        timeline->n = 1;
    } else if (timeline->n == 1) {
        samples[0].rate = UINT64_C(1) << TIMELINE_SHIFT;
    } else if (timeline->n) {
        timeline->n--;             /* the last interval goes on beyond the last sample */
    }
    timeline->interval_ticks = 0;
}

void timeline_shift(struct timeline *timeline, int64_t ns)
{
    for (size_t i = 0; i < timeline->n; i++)
        timeline->samples[i].ns = timeline_shifted(timeline->samples[i].ns, ns);
    timeline->interval_ticks = 0;
}

/* Returns the last sample that is not after ticks. */
static size_t find_sample(const struct timeline *timeline, uint64_t ticks)
{
    size_t low = 0, high = timeline->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (timeline->samples[middle].ticks <= ticks)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Returns how many ticks of an interval have a time before MAX_NS. */
static uint64_t ticks_to_max(const struct timeline_sample *sample)
{
    if (sample->rate == 0)
        return UINT64_MAX;
    unsigned __int128 ticks = ((unsigned __int128)(MAX_NS - sample->ns) << TIMELINE_SHIFT) / sample->rate;
    return ticks < UINT64_MAX ? (uint64_t)ticks : UINT64_MAX;
}

uint64_t timeline_ns_slow_path(struct timeline *timeline, uint64_t ticks)
{
    if (timeline->n == 0)
        return 0;
    size_t at = find_sample(timeline, ticks);
    const struct timeline_sample *sample = &timeline->samples[at];
    if (ticks < sample->ticks)
        return sample->ns;
    timeline->interval = *sample;
    timeline->interval_ticks = ticks_to_max(sample);
    if (at + 1 < timeline->n && sample[1].ticks - sample->ticks < timeline->interval_ticks)
        timeline->interval_ticks = sample[1].ticks - sample->ticks;
    return ticks - sample->ticks < timeline->interval_ticks ? timeline_ns(timeline, ticks) : MAX_NS;
}

uint64_t timeline_ticks(struct timeline *timeline, uint64_t ns)
{
    uint64_t low = 0, high = UINT64_MAX;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (timeline_ns(timeline, middle) < ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t timeline_first_ns(const struct timeline *timeline)
{
    return timeline->n ? timeline->samples[0].ns : 0;
}
