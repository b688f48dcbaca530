#include "samples.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"

#define N_RECENT (PNR_SPENT_SINCE_MAX + 1)
#define MEMORY_MAX (1 << 20)
#define CHANGES_MAX (1 << 16)           /* before a RAN; of more it is only known that there are */

/* ---- curves ---- */

/* Leaves out every second point but the last one. Returns how many. */
static size_t thin_curve(struct curve *curve)
{
    size_t n = curve->n, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (i % 2 == 0 || i == n - 1)
            curve->points[kept++] = curve->points[i];
    curve->n = kept;
    return n - kept;
}

static void thin_all_curves(struct samples *samples)
{
    samples->n_points -= thin_curve(&samples->known);
    for (struct sampled_thread *thread = NULL; (thread = pnr_table_next(&samples->threads, thread));)
        for (int what = 0; what < SAMPLES_WHATS; what++)
            samples->n_points -= thin_curve(&thread->curves[what]);
}

/* Curves of two points stay as they are. So where there are many of those, more points are kept. */
static void thin_for_space(struct samples *samples)
{
    thin_all_curves(samples);
    samples->max_points = 2 * samples->n_points > SAMPLES_MAX ? 2 * samples->n_points : SAMPLES_MAX;
}

static void add_point(struct samples *samples, struct curve *curve, struct curve_point point)
{
    if (samples->n_points >= samples->max_points)
        thin_for_space(samples);
    if (pnr_array_reserve(&curve->points, &curve->capacity, curve->n + 1) < 0) {
        samples->is_out_of_memory = true;
        return;
    }
    curve->points[curve->n++] = point;
    samples->n_points++;
}

/* True when the curve's last stretch rises by as much as time passes. */
static bool ends_full(const struct curve *curve)
{
    if (curve->n < 2)
        return false;
    const struct curve_point *last = &curve->points[curve->n - 1];
    return last->sum - last[-1].sum == last->ns - last[-1].ns;
}

/* Lets the curve rise by an amount between two moments. What lies before its end is cut off. Returns by how much it rose. */
static uint64_t raise_curve(struct samples *samples, struct curve *curve, uint64_t from, uint64_t to, uint64_t amount)
{
    uint64_t end = curve->n ? curve->points[curve->n - 1].ns : from;
    uint64_t sum = curve->n ? curve->points[curve->n - 1].sum : 0;
    if (from < end)
        from = end;
    if (to <= from || !amount)
        return 0;
    if (amount > to - from)
        amount = to - from;
    if (from == end && amount == to - from && ends_full(curve)) {
        curve->points[curve->n - 1] = (struct curve_point){ to, sum + amount };
        return amount;
    }
    if (from > end || !curve->n)
        add_point(samples, curve, (struct curve_point){ from, sum });
    add_point(samples, curve, (struct curve_point){ to, sum + amount });
    return amount;
}

/* Finds the latest point at or before ns; the curve has one. */
static size_t find_point(const struct curve *curve, uint64_t ns)
{
    size_t low = 0, high = curve->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (curve->points[middle].ns <= ns)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t curve_sum(const struct curve *curve, uint64_t ns)
{
    if (!curve->n || ns <= curve->points[0].ns)
        return 0;
    size_t i = find_point(curve, ns);
    const struct curve_point *point = &curve->points[i];
    if (i + 1 == curve->n)
        return point->sum;
    uint64_t length = point[1].ns - point->ns, rise = point[1].sum - point->sum;
    return point->sum + (uint64_t)((unsigned __int128)rise * (ns - point->ns) / length);
}

/* ---- reading ---- */

void samples_init(struct samples *samples)
{
    *samples = (struct samples){ .exists = true, .max_points = SAMPLES_MAX, .threads = { .slot_size = sizeof(struct sampled_thread),
                                                              .secret = pnr_table_secret() } };
    samples->recent = malloc(N_RECENT * sizeof *samples->recent);
    samples->is_out_of_memory = !samples->recent;
}

void samples_clear(struct samples *samples)
{
    for (struct sampled_thread *thread = NULL; (thread = pnr_table_next(&samples->threads, thread));)
        for (int what = 0; what < SAMPLES_WHATS; what++)
            free(thread->curves[what].points);
    pnr_table_clear(&samples->threads);
    free(samples->known.points);
    free(samples->memory);
    free(samples->recent);
    free(samples->changes);
    *samples = (struct samples){ .exists = false };
}

/* Returns the thread, which is added if it is new; NULL when out of memory. */
static struct sampled_thread *find_sampled_thread(struct samples *samples, uint32_t number)
{
    struct sampled_thread *thread = pnr_table_add(&samples->threads, number);
    samples->is_out_of_memory |= !thread;
    return thread;
}

/* Skips changes that no RAN follows. */
static void skip_changes(struct samples *samples)
{
    samples->n_unknown += samples->n_changes;
    samples->n_changes = 0;
}

void samples_begin_block(struct samples *samples, bool continues)
{
    if (continues)
        return;
    samples->n_recent = 0;
    skip_changes(samples);
    samples->holder = 0;
}

static void raise_held(struct samples *samples, uint32_t holder, uint64_t from, uint64_t to)
{
    struct sampled_thread *thread = holder ? find_sampled_thread(samples, holder) : NULL;
    if (thread)
        raise_curve(samples, &thread->curves[SAMPLES_HELD], from, to, to - from);
}

/* Who holds the GIL at a sample is taken to hold it half of the way to the samples before and after it. */
static void add_look(struct samples *samples, uint64_t ns, uint32_t holder)
{
    if (samples->n_recent) {
        uint64_t before = samples->recent[(samples->n_recent - 1) % N_RECENT];
        uint64_t middle = before + (ns > before ? ns - before : 0) / 2;
        raise_curve(samples, &samples->known, before, ns, ns > before ? ns - before : 0);
        raise_held(samples, samples->holder, before, middle);
        raise_held(samples, holder, middle, ns);
    }
    samples->recent[samples->n_recent++ % N_RECENT] = ns;
    samples->n_samples++;
    samples->holder = holder;
}

/* Returns how much of the last `length` before `to` the thread did not run. */
static uint64_t find_space(const struct sampled_thread *thread, uint64_t to, uint64_t length)
{
    const struct curve *ran = &thread->curves[SAMPLES_RAN];
    uint64_t ran_ns = curve_sum(ran, to) - curve_sum(ran, to - length);
    return length > ran_ns ? length - ran_ns : 0;
}

/* Lets the thread queue whenever it does not run in this time. Returns for how long. What lies before the end of its
 * curve would be cut off, and is not walked again. */
static uint64_t fill_queued(struct samples *samples, struct sampled_thread *thread, uint64_t from, uint64_t to)
{
    const struct curve *ran = &thread->curves[SAMPLES_RAN], *queued = &thread->curves[SAMPLES_QUEUED];
    if (queued->n && queued->points[queued->n - 1].ns > from)
        from = queued->points[queued->n - 1].ns;
    size_t i = ran->n && from >= ran->points[0].ns ? find_point(ran, from) + 1 : 0;
    uint64_t filled = 0, end;
    for (; from < to; from = end) {
        end = i < ran->n && ran->points[i].ns < to ? ran->points[i].ns : to;
        i++;
        filled += raise_curve(samples, &thread->curves[SAMPLES_QUEUED], from, end, find_space(thread, end, end - from));
    }
    return filled;
}

/* Adds what a thread queued. A thread queues just before it runs, so this is placed as late as it can be, besides what the
 * thread ran: in the shortest time with space for it. The thread may have begun to queue before the sample at which it was
 * seen to have run. What has no space for that reason is carried to the next time at which it queued. */
static void raise_queued(struct samples *samples, struct sampled_thread *thread, uint64_t from, uint64_t to,
                         uint64_t amount)
{
    uint64_t low = 0, high = to > from ? to - from : 0;
    amount += thread->carried_ns;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (find_space(thread, to, middle) >= amount)
            high = middle;
        else
            low = middle + 1;
    }
    uint64_t filled = fill_queued(samples, thread, to - high, to);
    thread->carried_ns = amount > filled ? amount - filled : 0;
}

/* ---- the schedule ---- */

static void add_change(struct samples *samples, uint32_t thread, struct schedule_change change)
{
    samples->changed = thread;
    if (samples->n_changes == CHANGES_MAX) {
        samples->changes[CHANGES_MAX - 1].what = PNR_SCHEDULE_MISSING;
        samples->n_unknown++;
    } else if (pnr_array_reserve(&samples->changes, &samples->changes_capacity, samples->n_changes + 1) < 0) {
        samples->is_out_of_memory = true;
    } else {
        samples->changes[samples->n_changes++] = change;
    }
}

/* True when the changes say when the thread ran. */
static bool is_schedule_whole(const struct samples *samples)
{
    for (size_t i = 0; i < samples->n_changes; i++)
        if (samples->changes[i].what == PNR_SCHEDULE_MISSING)
            return false;
    return samples->n_changes > 0;
}

/* Lets the thread run whenever its changes say so between two moments, the second of which is the sample's. Before the
 * first change it did what that one ended, and after the last one it did what that one began. */
static void raise_scheduled(struct samples *samples, struct sampled_thread *thread, uint64_t from, uint64_t to)
{
    bool runs = samples->changes[0].what != PNR_SCHEDULE_RUNS;
    for (size_t i = 0; i < samples->n_changes; i++) {
        uint64_t before_ns = samples->changes[i].before_ns, at = to > before_ns ? to - before_ns : 0;
        if (runs && at > from)
            raise_curve(samples, &thread->curves[SAMPLES_RAN], from, at, at - from);
        from = at > from ? at : from;
        runs = samples->changes[i].what == PNR_SCHEDULE_RUNS;
    }
    if (runs)
        raise_curve(samples, &thread->curves[SAMPLES_RAN], from, to, to - from);
}

/* Adds what a thread ran, `amount` nanoseconds by its clock. */
static void raise_ran(struct samples *samples, struct sampled_thread *thread, uint64_t from, uint64_t to,
                      uint64_t amount)
{
    bool is_whole = is_schedule_whole(samples);
    thread->is_exact |= is_whole;
    samples->n_exact += is_whole;
    samples->n_inexact += !is_whole && samples->n_changes;
    if (is_whole)
        raise_scheduled(samples, thread, from, to);
    else
        raise_curve(samples, &thread->curves[SAMPLES_RAN], from, to, amount);
}

/* Skips changes that are not before a RAN of their thread. */
static void skip_stray_changes(struct samples *samples, unsigned kind, uint32_t thread)
{
    bool continues = (kind == PNR_SCHEDULE || kind == PNR_RAN) && thread == samples->changed;
    if (!continues)
        skip_changes(samples);
}

/* ---- records ---- */

static void add_spent(struct samples *samples, uint64_t ns, struct pnr_record record, enum samples_what what)
{
    uint64_t frame = pnr_record_frame(record);
    uint32_t since = pnr_spent_since(frame);
    samples->n_unknown += !since;
    if (!since || since >= samples->n_recent)
        return;
    struct sampled_thread *thread = find_sampled_thread(samples, pnr_record_function(record));
    uint64_t from = samples->recent[(samples->n_recent - 1 - since) % N_RECENT];
    if (!thread)
        return;
    if (what == SAMPLES_RAN)
        raise_ran(samples, thread, from, ns, pnr_spent_ns(frame));
    else
        raise_queued(samples, thread, from, ns, pnr_spent_ns(frame));
}

static void add_memory(struct samples *samples, uint64_t ns, struct pnr_record record)
{
    if (samples->n_memory == MEMORY_MAX) {
        for (size_t i = 0; i < MEMORY_MAX / 2; i++)
            samples->memory[i] = samples->memory[2 * i];
        samples->n_memory /= 2;
    }
    if (pnr_array_reserve(&samples->memory, &samples->memory_capacity, samples->n_memory + 1) < 0)
        samples->is_out_of_memory = true;
    else
        samples->memory[samples->n_memory++] = (struct sampled_memory){ ns, pnr_record_frame(record),
                                                                        pnr_record_function(record) };
}

void samples_add(struct samples *samples, uint64_t ns, struct pnr_record record, bool is_thread)
{
    unsigned kind = pnr_record_kind(record);
    bool is_spent = kind == PNR_RAN || kind == PNR_QUEUED;
    if (samples->is_out_of_memory)
        return;
    skip_stray_changes(samples, kind, pnr_record_function(record));
    samples->n_backwards += ns < samples->latest_ns;
    ns = samples->latest_ns = ns > samples->latest_ns ? ns : samples->latest_ns;
    if (!pnr_kind_is_of_samples(kind) || ((is_spent || kind == PNR_SCHEDULE) && !is_thread))
        samples->n_unknown++;
    else if (kind == PNR_SCHEDULE)
        add_change(samples, pnr_record_function(record),
                   (struct schedule_change){ pnr_schedule_before_ns(pnr_record_frame(record)),
                                             pnr_schedule_what(pnr_record_frame(record)) });
    else if (kind == PNR_SAMPLE)
        add_look(samples, ns, pnr_record_frame(record) == PNR_GIL_HELD && is_thread ? pnr_record_function(record) : 0);
    else if (is_spent)
        add_spent(samples, ns, record, kind == PNR_RAN ? SAMPLES_RAN : SAMPLES_QUEUED);
    else
        add_memory(samples, ns, record);
    if (kind == PNR_RAN)
        samples->n_changes = 0;
}

/* ---- what was spent ---- */

struct spent_time samples_spent(const struct samples *samples, uint32_t thread, uint64_t from_ns, uint64_t to_ns)
{
    struct spent_time spent = { curve_sum(&samples->known, to_ns) - curve_sum(&samples->known, from_ns), { 0 } };
    const struct sampled_thread *slot = pnr_table_find(&samples->threads, thread);
    for (int what = 0; slot && what < SAMPLES_WHATS; what++)
        spent.ns[what] = curve_sum(&slot->curves[what], to_ns) - curve_sum(&slot->curves[what], from_ns);
    return spent;
}

/* Returns when the next point after ns is; UINT64_MAX: there is none. */
static uint64_t next_point(const struct curve *curve, uint64_t ns)
{
    if (!curve->n || ns >= curve->points[curve->n - 1].ns)
        return UINT64_MAX;
    return curve->points[ns < curve->points[0].ns ? 0 : find_point(curve, ns) + 1].ns;
}

/* Returns the first moment, not before ns, at which the curve rises. */
static uint64_t next_rise(const struct curve *curve, uint64_t ns)
{
    if (!curve->n || ns >= curve->points[curve->n - 1].ns)
        return UINT64_MAX;
    size_t i = ns < curve->points[0].ns ? 0 : find_point(curve, ns);
    while (curve->points[i + 1].sum == curve->points[i].sum)    /* the last stretch rises */
        i++;
    return curve->points[i].ns > ns ? curve->points[i].ns : ns;
}

uint64_t samples_next_bend(const struct samples *samples, uint32_t thread, uint64_t ns)
{
    uint64_t first = next_point(&samples->known, ns);
    const struct sampled_thread *slot = pnr_table_find(&samples->threads, thread);
    for (int what = 0; slot && what < SAMPLES_WHATS; what++) {
        uint64_t point = next_point(&slot->curves[what], ns);
        first = point < first ? point : first;
    }
    return first;
}

bool samples_are_exact(const struct samples *samples, uint32_t thread)
{
    const struct sampled_thread *slot = pnr_table_find(&samples->threads, thread);
    return slot && slot->is_exact;
}

uint64_t samples_next_ran_bend(const struct samples *samples, uint32_t thread, uint64_t ns)
{
    const struct sampled_thread *slot = pnr_table_find(&samples->threads, thread);
    return slot ? next_point(&slot->curves[SAMPLES_RAN], ns) : UINT64_MAX;
}

uint64_t samples_next_change(const struct samples *samples, uint32_t thread, uint64_t ns)
{
    uint64_t first = UINT64_MAX;
    const struct sampled_thread *slot = pnr_table_find(&samples->threads, thread);
    for (int what = 0; slot && what < SAMPLES_WHATS; what++) {
        uint64_t rise = next_rise(&slot->curves[what], ns);
        first = rise < first ? rise : first;
    }
    return first;
}
