#include "align.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "convert.h"
#include "sightings.h"

#define NO_UNIT UINT32_MAX

/* Processes whose clocks are one: those of a boot, or of a capture. */
struct unit {
    uint32_t first;                     /* the process that began first */
    int64_t shift_ns;                   /* of its times */
    bool is_aligned;                    /* by ids, to the first unit */
};

struct alignment {
    struct capture *capture;
    const struct diagnostics *diagnostics;
    struct unit *units;                 /* owned, like the next; in the order of the captures */
    uint32_t *unit_of;                  /* by process */
    uint32_t n;
    struct sightings sightings;
};

/* How much may be added to the times of a unit so that one id's time on one side lies within that on the other. */
struct limits {
    int64_t low_ns, high_ns;
};

/* What a clock is, compared with the clocks of the units that are aligned. */
struct estimate {
    struct limits limits;               /* what most ids allow */
    uint32_t n_ids, n_allowing;
};

static const struct symbols *symbols_of(const struct alignment *alignment, uint32_t process)
{
    return reader_symbols(alignment->capture->readers[process]);
}

/* ---- units ---- */

static bool is_same_boot(const struct alignment *alignment, uint32_t a, uint32_t b)
{
    struct pnr_string x = symbols_property(symbols_of(alignment, a), "boot_id");
    struct pnr_string y = symbols_property(symbols_of(alignment, b), "boot_id");
    if (x.size == 0 || y.size == 0)     /* older captures do not say */
        return alignment->capture->origins[a] == alignment->capture->origins[b];
    return x.size == y.size && memcmp(x.bytes, y.bytes, x.size) == 0;
}

/* Finds the units. is_by_boot: else each capture is one. Returns 0, or -1 when out of memory. */
static int find_units(struct alignment *alignment, bool is_by_boot)
{
    const struct capture *capture = alignment->capture;
    alignment->units = calloc(capture->n, sizeof *alignment->units);
    alignment->unit_of = calloc(capture->n, sizeof *alignment->unit_of);
    if (!alignment->units || !alignment->unit_of)
        return -1;
    for (uint32_t i = 0; i < capture->n; i++) {
        uint32_t unit = 0;
        for (; unit < alignment->n; unit++) {
            uint32_t first = alignment->units[unit].first;
            if (is_by_boot ? is_same_boot(alignment, first, i) : capture->origins[first] == capture->origins[i])
                break;
        }
        if (unit == alignment->n)
            alignment->units[alignment->n++].first = i;
        else if (reader_start(capture->readers[i]) < reader_start(capture->readers[alignment->units[unit].first]))
            alignment->units[unit].first = i;
        alignment->unit_of[i] = unit;
    }
    return 0;
}

static void shift_units(const struct alignment *alignment)
{
    for (size_t i = 0; i < alignment->capture->n; i++)
        reader_shift(alignment->capture->readers[i], alignment->units[alignment->unit_of[i]].shift_ns);
}

/* The times of units that are to become the same. The latest one stays: so no time becomes less than 0. */
static void shift_to_latest(struct alignment *alignment, const uint64_t *ns)
{
    uint64_t latest_ns = 0;
    for (uint32_t i = 0; i < alignment->n; i++)
        latest_ns = ns[i] > latest_ns ? ns[i] : latest_ns;
    for (uint32_t i = 0; i < alignment->n; i++)
        alignment->units[i].shift_ns = (int64_t)(latest_ns - ns[i]);
    shift_units(alignment);
}

static const char *capture_of(const struct alignment *alignment, uint32_t unit)
{
    return alignment->capture->from.paths[alignment->capture->origins[alignment->units[unit].first]];
}

/* ---- by the wall clock ---- */

static void align_wall(struct alignment *alignment)
{
    for (uint32_t i = 0; i < alignment->n; i++) {
        struct unit *unit = &alignment->units[i];
        uint64_t real_ns, start_ns = reader_start(alignment->capture->readers[unit->first]);
        if (!symbols_number(symbols_of(alignment, unit->first), "start_realtime_ns", &real_ns))
            diagnostics_report(alignment->diagnostics, DIAGNOSTIC_DAMAGE,
                               "%s: when it was recorded is not known: it cannot be aligned", capture_of(alignment, i));
        else if (real_ns < (UINT64_C(1) << 61) && start_ns < (UINT64_C(1) << 61))
            unit->shift_ns = (int64_t)real_ns - (int64_t)start_ns;
    }
    shift_units(alignment);
    for (uint32_t i = 0; i < alignment->n; i++)
        alignment->units[i].shift_ns = 0;
}

/* ---- by a label, or the start ---- */

static int align_events(struct alignment *alignment, const struct align_choice *choice, struct pnr_err *err)
{
    const struct capture *capture = alignment->capture;
    uint64_t *ns = calloc(alignment->n, sizeof *ns);
    bool is_complete = true;
    if (!ns)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    for (uint32_t i = 0; i < alignment->n; i++)
        ns[i] = choice->by == ALIGN_START ? reader_start(capture->readers[alignment->units[i].first]) : UINT64_MAX;
    for (size_t i = 0; choice->by == ALIGN_LABEL && i < capture->n; i++)
        if (alignment->sightings.first_ns[i] < ns[alignment->unit_of[i]])
            ns[alignment->unit_of[i]] = alignment->sightings.first_ns[i];
    for (uint32_t i = 0; i < alignment->n; i++) {
        if (ns[i] < UINT64_MAX)
            continue;
        diagnostics_report(alignment->diagnostics, DIAGNOSTIC_DAMAGE, "%s: no instant and no span is called %s",
                           capture_of(alignment, i), choice->label);
        is_complete = false;
    }
    if (is_complete)
        shift_to_latest(alignment, ns);
    free(ns);
    return is_complete ? 0 : pnr_err_set(err, PNR_OK, NULL, 0, "");
}

/* ---- by ids ---- */

/* All of the time in which an id was seen in a unit. A client may make several calls for it. */
struct span_of_id {
    uint64_t begin_ns, end_ns;
    uint32_t unit;
};

/* An instant alone lies in no span of another side, and no span lies in it. */
static bool has_length(const struct span_of_id *span)
{
    return span->end_ns > span->begin_ns;
}

/* Collects the spans of the id that begins at *at, one for each unit, and moves *at to the next id. Returns how many. */
static uint32_t collect_spans(const struct alignment *alignment, size_t *at, struct span_of_id *spans)
{
    const struct sightings *sightings = &alignment->sightings;
    uint64_t id = sightings->all[*at].id;
    uint32_t n = 0;
    for (; *at < sightings->n && sightings->all[*at].id == id; ++*at) {
        const struct sighting *sighting = &sightings->all[*at];
        uint32_t unit = alignment->unit_of[sighting->process], i = 0;
        int64_t shift_ns = alignment->units[unit].shift_ns;
        uint64_t begin_ns = timeline_shifted(sighting->begin_ns, shift_ns);
        uint64_t end_ns = timeline_shifted(sighting->end_ns, shift_ns);
        while (i < n && spans[i].unit != unit)
            i++;
        if (i == n)
            spans[n++] = (struct span_of_id){ begin_ns, end_ns, unit };
        spans[i].begin_ns = begin_ns < spans[i].begin_ns ? begin_ns : spans[i].begin_ns;
        spans[i].end_ns = end_ns > spans[i].end_ns ? end_ns : spans[i].end_ns;
    }
    return n;
}

/* The shorter one is that of the server: it lies within the other. */
static struct limits limit(const struct span_of_id *own, const struct span_of_id *other)
{
    int64_t at_begin = (int64_t)(other->begin_ns - own->begin_ns), at_end = (int64_t)(other->end_ns - own->end_ns);
    return at_begin <= at_end ? (struct limits){ at_begin, at_end } : (struct limits){ at_end, at_begin };
}

/* Adds what each id that was seen in the unit and in an aligned one allows. Returns 0, or -1 when out of memory. */
static int add_limits(const struct alignment *alignment, uint32_t unit, struct limits **limits, size_t *n,
                      size_t *capacity, struct span_of_id *spans)
{
    for (size_t at = 0; at < alignment->sightings.n;) {
        uint32_t n_spans = collect_spans(alignment, &at, spans);
        const struct span_of_id *own = NULL;
        for (uint32_t i = 0; i < n_spans; i++)
            if (spans[i].unit == unit && has_length(&spans[i]))
                own = &spans[i];
        for (uint32_t i = 0; own && i < n_spans; i++) {
            if (!alignment->units[spans[i].unit].is_aligned || !has_length(&spans[i]))
                continue;
            if (pnr_array_reserve(limits, capacity, *n + 1) < 0)
                return -1;
            (*limits)[(*n)++] = limit(own, &spans[i]);
        }
    }
    return 0;
}

/* Where a limit begins, or ends, to allow. */
struct limit_end {
    int64_t ns;
    int step;                           /* 1 or -1 */
};

static int by_ns_and_step(const void *a, const void *b)
{
    const struct limit_end *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns < y->ns ? -1 : 1;
    return y->step - x->step;           /* limits include their ends */
}

/* Finds what most limits allow. Returns 0, or -1 when out of memory. */
static int settle_estimate(const struct limits *limits, size_t n, struct estimate *estimate)
{
    struct limit_end *ends = calloc(2 * n + 1, sizeof *ends);
    int max = 0, now = 0;
    *estimate = (struct estimate){ .n_ids = (uint32_t)n };
    if (!ends)
        return -1;
    for (size_t i = 0; i < n; i++) {
        ends[2 * i] = (struct limit_end){ limits[i].low_ns, 1 };
        ends[2 * i + 1] = (struct limit_end){ limits[i].high_ns, -1 };
    }
    qsort(ends, 2 * n, sizeof *ends, by_ns_and_step);
    for (size_t i = 0; i < 2 * n; i++) {
        now += ends[i].step;
        if (now > max) {
            max = now;
            estimate->limits = (struct limits){ ends[i].ns, ends[i + 1].ns };
        }
    }
    estimate->n_allowing = (uint32_t)max;
    free(ends);
    return 0;
}

static int64_t middle(const struct estimate *estimate)
{
    uint64_t width_ns = (uint64_t)estimate->limits.high_ns - (uint64_t)estimate->limits.low_ns;
    return estimate->limits.low_ns + (int64_t)(width_ns / 2);
}

/* Estimates a unit's clock. Returns 0, or -1 when out of memory. */
static int estimate_unit(const struct alignment *alignment, uint32_t unit, struct estimate *estimate)
{
    struct limits *limits = NULL;
    struct span_of_id *spans = calloc(alignment->n, sizeof *spans);
    size_t n = 0, capacity = 0;
    int result = spans ? add_limits(alignment, unit, &limits, &n, &capacity, spans) : -1;
    if (result == 0)
        result = settle_estimate(limits, n, estimate);
    free(limits);
    free(spans);
    return result;
}

/* Counts in how many spans of ids each unit has a part, where an aligned unit has one, too. */
static void count_common(const struct alignment *alignment, struct span_of_id *spans, size_t *counts)
{
    for (size_t at = 0; at < alignment->sightings.n;) {
        uint32_t n_spans = collect_spans(alignment, &at, spans), n_aligned = 0;
        for (uint32_t i = 0; i < n_spans; i++)
            n_aligned += has_length(&spans[i]) && alignment->units[spans[i].unit].is_aligned;
        for (uint32_t i = 0; i < n_spans; i++)
            counts[spans[i].unit] += has_length(&spans[i]) ? n_aligned : 0;
    }
}

/* Finds the unit, not yet aligned, that has most ids in common with those that are. Returns 0, or -1 when out of
 * memory. *best: NO_UNIT if there is none. */
static int find_next_unit(const struct alignment *alignment, uint32_t *best)
{
    size_t *counts = calloc(alignment->n, sizeof *counts), max = 0;
    struct span_of_id *spans = calloc(alignment->n, sizeof *spans);
    bool has_memory = counts && spans;
    *best = NO_UNIT;
    if (has_memory)
        count_common(alignment, spans, counts);
    for (uint32_t i = 0; has_memory && i < alignment->n; i++) {
        if (alignment->units[i].is_aligned || counts[i] <= max)
            continue;
        max = counts[i];
        *best = i;
    }
    free(spans);
    free(counts);
    return has_memory ? 0 : -1;
}

/* Reports how a clock differs. In wall time that error stays. */
static void report_clock(const struct alignment *alignment, uint32_t unit, const struct estimate *estimate, bool is_used)
{
    int64_t ns = middle(estimate);
    double error_ms = ((double)estimate->limits.high_ns - (double)estimate->limits.low_ns) / 2e6;
    diagnostics_report(alignment->diagnostics, DIAGNOSTIC_INFO,
                       "%s: its clock is %.6f ms %s that of %s, with an error of at most %.6f ms if each request is "
                       "handled within its call, by %" PRIu32 " of %" PRIu32 " ids that both have: %s", capture_of(alignment, unit),
                       (double)(ns < 0 ? -ns : ns) / 1e6, ns > 0 ? "behind" : "ahead of", capture_of(alignment, 0),
                       error_ms, estimate->n_allowing, estimate->n_ids, is_used ? "corrected" : "not corrected");
}

/* Estimates the clocks of all units, in wall time, and corrects them if that is wanted. Returns 0, or -1. */
static int align_ids(struct alignment *alignment, bool is_used, struct pnr_err *err)
{
    uint32_t unit;
    struct estimate estimate;
    alignment->units[0].is_aligned = true;
    while (true) {
        if (find_next_unit(alignment, &unit) < 0 ||
            (unit != NO_UNIT && estimate_unit(alignment, unit, &estimate) < 0))
            return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
        if (unit == NO_UNIT)
            break;
        alignment->units[unit].shift_ns = middle(&estimate);
        alignment->units[unit].is_aligned = true;
        report_clock(alignment, unit, &estimate, is_used);
    }
    for (uint32_t i = 0; is_used && i < alignment->n; i++)
        if (!alignment->units[i].is_aligned)
            diagnostics_report(alignment->diagnostics, DIAGNOSTIC_INFO,
                               "%s: no id is in the others, too: aligned by the wall clock", capture_of(alignment, i));
    if (is_used)
        shift_units(alignment);
    return 0;
}

/* ---- all ---- */

bool align_reads_all(const struct align_choice *choice)
{
    return choice->by == ALIGN_IDS || choice->by == ALIGN_LABEL;
}

/* In wall time ids are looked for, too, unless only a part was opened: they show how wrong that is. */
static int align_units(struct alignment *alignment, const struct align_choice *choice, struct pnr_err *err)
{
    const struct capture *capture = alignment->capture;
    bool is_by_boot = choice->by == ALIGN_WALL || choice->by == ALIGN_IDS;
    if (find_units(alignment, is_by_boot) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    if (alignment->n < 2)
        return 0;
    if (is_by_boot)
        align_wall(alignment);
    if (choice->by != ALIGN_START &&
        sightings_gather(capture->readers, capture->n, NULL, choice->label, &alignment->sightings, err) < 0)
        return -1;
    return is_by_boot ? align_ids(alignment, choice->by == ALIGN_IDS, err) : align_events(alignment, choice, err);
}

int align_captures(struct capture *capture, const struct align_choice *choice, const struct diagnostics *diagnostics,
                   struct pnr_err *err)
{
    struct alignment alignment = { .capture = capture, .diagnostics = diagnostics };
    if (capture->from.n < 2)
        return 0;
    int result = align_units(&alignment, choice, err);
    sightings_clear(&alignment.sightings);
    free(alignment.units);
    free(alignment.unit_of);
    return result;
}
