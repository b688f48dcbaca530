#include "timeline.h"

#include <stdbool.h>
#include <stdlib.h>

/* Two instants closer than this do not tell the rate better than the recorder's own figure: each pair of clock
 * readings is uncertain by some 100 ns. */
#define SHORT_NS 1000000

/* Far beyond any time that is meant, and far from overflow: damaged ticks end here. */
#define LATEST_NS (UINT64_C(1) << 62)

void timeline_init(struct timeline *timeline, uint64_t ticks_per_second)
{
    timeline->n = 0;
    timeline->spacing_ns = 1000000000;
    timeline->ticks_per_second = ticks_per_second;
    timeline->stretch_ticks = 0;
}

static int by_ticks(const void *a, const void *b)
{
    const struct timeline_point *x = a, *y = b;
    if (x->ticks != y->ticks)
        return x->ticks < y->ticks ? -1 : 1;
    return x->ns < y->ns ? -1 : x->ns > y->ns;
}

/* Sorts, drops instants that run backwards, and thins to spacing_ns. The first and the last point stay: what comes
 * before the last one gives way to it. */
static void thin(struct timeline *timeline)
{
    struct timeline_point *points = timeline->points;
    size_t kept = 0;
    qsort(points, timeline->n, sizeof *points, by_ticks);
    for (size_t i = 0; i < timeline->n; i++) {
        if (kept && (points[i].ticks == points[kept - 1].ticks || points[i].ns <= points[kept - 1].ns))
            continue;
        if (kept > 1 && points[kept - 1].ns - points[kept - 2].ns < timeline->spacing_ns)
            kept--;
        points[kept++] = points[i];
    }
    if (kept > 2 && points[kept - 1].ns - points[kept - 2].ns < timeline->spacing_ns) {
        points[kept - 2] = points[kept - 1];
        kept--;
    }
    timeline->n = kept;
}

void timeline_add(struct timeline *timeline, uint64_t ticks, uint64_t monotonic_ns)
{
    if (timeline->n == 2 * TIMELINE_MAX) {
        thin(timeline);
        while (timeline->n > TIMELINE_MAX) {
            timeline->spacing_ns *= 2;
            thin(timeline);
        }
    }
    if (monotonic_ns > LATEST_NS)
        monotonic_ns = LATEST_NS;
    timeline->points[timeline->n++] = (struct timeline_point){ ticks, monotonic_ns, 0 };
}

static uint64_t rate(uint64_t ns, uint64_t ticks)
{
    unsigned __int128 value = ((unsigned __int128)ns << TIMELINE_SHIFT) / ticks;
    return value > UINT64_MAX ? UINT64_MAX : (uint64_t)value;
}

void timeline_settle(struct timeline *timeline)
{
    struct timeline_point *points = timeline->points;
    thin(timeline);
    for (size_t i = 0; i + 1 < timeline->n; i++)
        points[i].rate = rate(points[i + 1].ns - points[i].ns, points[i + 1].ticks - points[i].ticks);
    bool is_short = timeline->n < 2 || points[timeline->n - 1].ns - points[0].ns < SHORT_NS;
    if (timeline->n && is_short && timeline->ticks_per_second) {
        points[0].rate = rate(1000000000, timeline->ticks_per_second);
        timeline->n = 1;
    } else if (timeline->n == 1) {
        points[0].rate = UINT64_C(1) << TIMELINE_SHIFT;
    } else if (timeline->n) {
        timeline->n--;             /* the last stretch goes on beyond the last instant */
    }
    timeline->stretch_ticks = 0;
}

/* The last point that is not after ticks. */
static size_t find(const struct timeline *timeline, uint64_t ticks)
{
    size_t low = 0, high = timeline->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (timeline->points[middle].ticks <= ticks)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* How many ticks of a stretch have a time before LATEST_NS. */
static uint64_t ticks_to_latest(const struct timeline_point *point)
{
    if (point->rate == 0)
        return UINT64_MAX;
    unsigned __int128 ticks = ((unsigned __int128)(LATEST_NS - point->ns) << TIMELINE_SHIFT) / point->rate;
    return ticks < UINT64_MAX ? (uint64_t)ticks : UINT64_MAX;
}

uint64_t timeline_change_ns(struct timeline *timeline, uint64_t ticks)
{
    if (timeline->n == 0)
        return 0;
    size_t at = find(timeline, ticks);
    const struct timeline_point *point = &timeline->points[at];
    if (ticks < point->ticks)
        return point->ns;
    timeline->stretch = *point;
    timeline->stretch_ticks = ticks_to_latest(point);
    if (at + 1 < timeline->n && point[1].ticks - point->ticks < timeline->stretch_ticks)
        timeline->stretch_ticks = point[1].ticks - point->ticks;
    return ticks - point->ticks < timeline->stretch_ticks ? timeline_ns(timeline, ticks) : LATEST_NS;
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
    return timeline->n ? timeline->points[0].ns : 0;
}
