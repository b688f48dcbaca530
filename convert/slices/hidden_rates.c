#include "hidden_rates.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"

/* How many earlier times of a caller are kept: those at some earlier windows. */
#define MAX_SAMPLES 32

/* Situations of which each counts for itself. In others all of the function's time counts. */
#define MAX_SITUATIONS (1 << 16)

/* Another process has the processor for longer than this, mostly. A shorter time is cut in windows only. */
#define PREEMPTED_NS 2000000

/* Times of a window that are kept until its CPU time is known. */
#define MAX_WINDOW_TIMES (1 << 16)

/* One of so many first times of a window, and one of so many last ones, has the recorder's own work in it. */
#define N_OUTERMOST 8

/* In a window of fewer times each is so long that the work at its begin is nothing compared with it. */
#define MIN_TIMES 64

/* No more than this share of a time is taken for the cost of its events, however they were calibrated: a call that
 * does nothing takes about two thirds of what its events cost. */
#define MAX_COST_SHARE 0.6

/* A window that is shorter says no more about the time that it stands for than one of this length. */
#define MIN_WINDOW_NS 50000

/* A sum over windows: each counts by the time that it stands for. */
struct weighted_time {
    double ns, n_events;
};

struct time_sample {
    uint32_t n_windows;
    struct weighted_time time;          /* of the caller, up to the end of as many windows */
};

struct hidden_caller {
    struct weighted_time time;          /* in windows that have ended */
    struct recorded_time in_window;     /* in the present one */
    uint32_t first_pair;                /* list; 0 = none */
    uint32_t next_touched;
    bool is_touched;
    uint32_t n_samples;
    struct time_sample samples[MAX_SAMPLES];
};

struct hidden_pair {
    uint32_t next;                      /* of the same caller */
    uint32_t function;
    struct mute_reason reason;
    bool is_hidden;                     /* by what is muted now */
    size_t found_at;                    /* where the function was last found in the calls of a slice */
    bool has_base;                      /* `base` also has the windows before its first call */
    uint32_t calls_in_window;           /* in the present one */
    struct recorded_time self_in_window;
    double calls;                       /* in windows that have ended, like the next */
    struct weighted_time self;
    struct weighted_time base;          /* the caller's, in windows in which the function was muted */
    double calls_per_ns, self_per_ns;
};

/* Time in a window. */
struct window_time {
    uint32_t callers[2], pairs[2];      /* in any situation, in this one or 0; pairs: 0 for the caller's own */
    struct recorded_time time;
};

struct rate_slot {
    uint64_t key;
    uint32_t index;
};

void hidden_rates_init(struct hidden_rates *rates, double event_cost_ns)
{
    *rates = (struct hidden_rates){ .event_cost_ns = event_cost_ns, .n_callers = 1, .n_pairs = 1,
                                    .max_ns = UINT64_MAX, .part = 1, .work_left = HIDDEN_WORK_FIRST };
    rates->by_situation = rates->by_both = (struct pnr_table){ .slot_size = sizeof(struct rate_slot),
                                                               .secret = pnr_table_secret() };
}

void hidden_rates_clear(struct hidden_rates *rates)
{
    free(rates->callers);
    free(rates->pairs);
    free(rates->times);
    free(rates->intervals);
    free(rates->limits);
    pnr_table_clear(&rates->by_situation);
    pnr_table_clear(&rates->by_both);
    *rates = (struct hidden_rates){ .event_cost_ns = 0 };
}

static void add_recorded(struct recorded_time *to, struct recorded_time time)
{
    to->ns += time.ns;
    to->n_events += time.n_events;
}

static void add_weighted(struct weighted_time *to, struct recorded_time time, double weight)
{
    to->ns += weight * (double)time.ns;
    to->n_events += weight * time.n_events;
}

/* Returns the time without what its events took. */
static double program_ns(const struct hidden_rates *rates, double ns, double n_events)
{
    double cost = n_events * rates->event_cost_ns;
    return cost < ns * MAX_COST_SHARE ? ns - cost : ns * (1 - MAX_COST_SHARE);
}

/* ---- how much of a time counts ---- */

/* Times of about the same length: an eighth of a power of two apart. */
struct interval_bucket {
    uint64_t n, ns;
};
#define INTERVAL_BUCKETS (64 * 8)

static unsigned find_bucket(uint64_t ns)
{
    if (ns < 8)
        return (unsigned)ns;
    unsigned log = 63 - (unsigned)__builtin_clzll(ns);
    return (log - 2) * 8 + (ns >> (log - 3) & 7);
}

void hidden_rates_note_interval(struct hidden_rates *rates, struct recorded_time time)
{
    if (!rates->intervals && !(rates->intervals = calloc(INTERVAL_BUCKETS, sizeof *rates->intervals))) {
        rates->is_out_of_memory = true;
        return;
    }
    struct interval_bucket *bucket = &rates->intervals[find_bucket(time.ns)];
    bucket->n++;
    bucket->ns += time.ns;
    rates->n_events += time.n_events;
}

struct interval_limit {
    uint64_t max_ns;
    double part;
};

/* Returns the time to which longer ones are cut, so that all add up to cpu_ns; UINT64_MAX if they do not exceed it. */
static uint64_t find_limit(const struct interval_bucket *intervals, uint64_t cpu_ns)
{
    uint64_t n = 0, sum_ns = 0;
    for (unsigned k = 0; intervals && k < INTERVAL_BUCKETS; k++)
        n += intervals[k].n;
    for (unsigned k = 0; n && k < INTERVAL_BUCKETS; k++) {
        const struct interval_bucket *bucket = &intervals[k];
        uint64_t limit = cpu_ns > sum_ns ? (cpu_ns - sum_ns) / n : 0;
        if (bucket->n && limit < bucket->ns / bucket->n)
            return limit;               /* all in this bucket are cut, and all longer ones */
        n -= bucket->n;
        sum_ns += bucket->ns;
    }
    return UINT64_MAX;
}

/* Returns what all times add up to when longer ones are cut to max_ns. */
static double sum_cut(const struct interval_bucket *intervals, uint64_t max_ns)
{
    double sum = 0;
    for (unsigned k = 0; intervals && k < INTERVAL_BUCKETS; k++)
        sum += intervals[k].n && intervals[k].ns / intervals[k].n > max_ns ? (double)intervals[k].n * (double)max_ns :
                                                                              (double)intervals[k].ns;
    return sum;
}

static struct interval_limit limit_to(const struct interval_bucket *intervals, uint64_t cpu_ns, bool in_window)
{
    struct interval_limit limit = { find_limit(intervals, cpu_ns), 1 };
    if (in_window || limit.max_ns >= PREEMPTED_NS)
        return limit;
    limit.max_ns = PREEMPTED_NS;
    double sum = sum_cut(intervals, PREEMPTED_NS);
    if (sum > (double)cpu_ns)
        limit.part = (double)cpu_ns / sum;
    return limit;
}

void hidden_rates_limit_intervals(struct hidden_rates *rates, uint64_t cpu_ns, uint64_t cost_ns, bool in_window)
{
    if (pnr_array_reserve(&rates->limits, &rates->limit_capacity, rates->n_limits + 1) < 0) {
        rates->is_out_of_memory = true;
        return;
    }
    double other_ns = (double)cost_ns - rates->n_events * rates->event_cost_ns;     /* no event's */
    if (other_ns > 0)
        cpu_ns -= other_ns < (double)cpu_ns / 2 ? (uint64_t)other_ns : cpu_ns / 2;
    rates->limits[rates->n_limits++] = limit_to(rates->intervals, cpu_ns, in_window);
    rates->n_events = 0;
    if (!in_window)
        rates->apart_ns += (double)cpu_ns;
    if (rates->intervals)
        memset(rates->intervals, 0, INTERVAL_BUCKETS * sizeof *rates->intervals);
}

void hidden_rates_use_limit(struct hidden_rates *rates, size_t i)
{
    bool is_known = i < rates->n_limits;
    rates->max_ns = is_known ? rates->limits[i].max_ns : UINT64_MAX;
    rates->part = is_known ? rates->limits[i].part : 1;
}

void hidden_rates_cut(const struct hidden_rates *rates, struct recorded_time *time)
{
    if (time->ns > rates->max_ns)
        time->ns = rates->max_ns;
    if (rates->part < 1)
        time->ns = (uint64_t)(rates->part * (double)time->ns);
}

/* ---- learning ---- */

static uint64_t situation_key(struct hidden_situation situation)
{
    return (uint64_t)situation.last_event << 32 | situation.caller;
}

/* Returns the number of the caller in this situation, which is added if it is new; 0 when there are too many, or out of
 * memory. */
static uint32_t find_caller(struct hidden_rates *rates, struct hidden_situation situation)
{
    if (rates->n_callers >= MAX_SITUATIONS && situation.last_event &&
        !pnr_table_find(&rates->by_situation, situation_key(situation)))
        return 0;
    struct rate_slot *slot = pnr_table_add(&rates->by_situation, situation_key(situation));
    if (slot && slot->index)
        return slot->index;
    if (!slot || pnr_array_reserve(&rates->callers, &rates->caller_capacity, (size_t)rates->n_callers + 1) < 0) {
        rates->is_out_of_memory = true;
        return 0;
    }
    rates->callers[rates->n_callers] = (struct hidden_caller){ .first_pair = 0 };
    return slot->index = rates->n_callers++;
}

/* Returns the number of the pair, which is added if it is new; 0 when there are too many, or out of memory. */
static uint32_t find_pair(struct hidden_rates *rates, uint32_t caller, uint32_t function)
{
    uint64_t key = (uint64_t)caller << 32 | function;
    struct rate_slot *slot = pnr_table_find(&rates->by_both, key);
    if (slot)
        return slot->index;
    if (rates->n_pairs == HIDDEN_PAIRS_MAX)
        return 0;
    slot = pnr_table_add(&rates->by_both, key);
    if (!slot || pnr_array_reserve(&rates->pairs, &rates->pair_capacity, (size_t)rates->n_pairs + 1) < 0) {
        rates->is_out_of_memory = true;
        return 0;
    }
    struct hidden_caller *of = &rates->callers[caller];
    rates->pairs[rates->n_pairs] = (struct hidden_pair){ .function = function, .next = of->first_pair };
    of->first_pair = rates->n_pairs;
    return slot->index = rates->n_pairs++;
}

/* Puts a caller on the list of those that have run in the window. */
static void touch_caller(struct hidden_rates *rates, uint32_t number)
{
    struct hidden_caller *caller = &rates->callers[number];
    if (caller->is_touched)
        return;
    caller->is_touched = true;
    caller->next_touched = rates->touched;
    rates->touched = number;
}

/* Adds the times that are kept, none of them longer than limit_ns. */
static void add_window_times(struct hidden_rates *rates, uint64_t limit_ns)
{
    for (size_t i = 0; i < rates->n_times; i++) {
        const struct window_time *one = &rates->times[i];
        struct recorded_time time = one->time;
        if (time.ns > limit_ns)
            time.ns = limit_ns;
        add_recorded(&rates->window, time);
        for (int k = 0; k < 2 && one->callers[k]; k++) {
            add_recorded(&rates->callers[one->callers[k]].in_window, time);
            if (one->pairs[k])
                add_recorded(&rates->pairs[one->pairs[k]].self_in_window, time);
            touch_caller(rates, one->callers[k]);
        }
    }
    rates->n_times = 0;
}

/* Makes the longest of these times of the window as long as the others of the same function are on average: more of it
 * may be the recorder's than the program's. */
static void mend_longest(struct hidden_rates *rates, size_t begin, size_t end)
{
    struct window_time *times = rates->times, *longest = NULL;
    struct recorded_time sum = { 0, 0 };
    size_t n_same = 0;
    for (size_t i = begin; i < end; i++)
        if (!longest || times[i].time.ns > longest->time.ns)
            longest = &times[i];
    for (size_t i = 0; i < rates->n_times; i++) {
        if (&times[i] == longest || times[i].callers[0] != longest->callers[0] ||
            times[i].pairs[0] != longest->pairs[0])
            continue;
        add_recorded(&sum, times[i].time);
        n_same++;
    }
    if (longest && longest->time.ns > (n_same ? sum.ns / n_same : 0))
        longest->time.ns = n_same ? sum.ns / n_same : 0;
}

static void mend_outermost(struct hidden_rates *rates)
{
    size_t n = rates->n_times, n_outermost = n < N_OUTERMOST ? n : N_OUTERMOST;
    if (n >= MIN_TIMES)
        mend_longest(rates, 0, n_outermost);
    mend_longest(rates, n - n_outermost, n);
}

/* Finds the callers of all of the function's time and of this situation. Returns false when out of memory. */
static bool find_callers(struct hidden_rates *rates, struct hidden_situation situation, uint32_t callers[2])
{
    callers[0] = rates->is_out_of_memory ? 0 : find_caller(rates, (struct hidden_situation){ situation.caller, 0 });
    callers[1] = callers[0] && situation.last_event ? find_caller(rates, situation) : 0;
    return callers[0];
}

void hidden_rates_add_time(struct hidden_rates *rates, struct hidden_situation situation, uint32_t hidden,
                           struct recorded_time time)
{
    struct window_time one = { .time = time };
    if (!find_callers(rates, situation, one.callers))
        return;
    if (rates->n_times == MAX_WINDOW_TIMES)
        add_window_times(rates, UINT64_MAX);
    if (pnr_array_reserve(&rates->times, &rates->times_capacity, rates->n_times + 1) < 0) {
        rates->is_out_of_memory = true;
        return;
    }
    for (int k = 0; k < 2 && one.callers[k] && hidden; k++)
        one.pairs[k] = find_pair(rates, one.callers[k], hidden);
    rates->times[rates->n_times++] = one;
}

void hidden_rates_add_call(struct hidden_rates *rates, struct hidden_situation situation, uint32_t hidden,
                           struct mute_reason reason)
{
    uint32_t callers[2];
    if (!find_callers(rates, situation, callers))
        return;
    for (int k = 0; k < 2 && callers[k]; k++) {
        uint32_t pair = find_pair(rates, callers[k], hidden);
        if (!pair)
            continue;
        rates->pairs[pair].reason = reason;
        rates->pairs[pair].calls_in_window++;
        touch_caller(rates, callers[k]);
    }
}

/* Returns the time that the caller had at the end of the window before which the reason began. */
static struct weighted_time time_before(const struct hidden_caller *caller, uint32_t n_windows)
{
    struct weighted_time time = { 0, 0 };
    for (uint32_t i = 0; i < caller->n_samples && caller->samples[i].n_windows <= n_windows; i++)
        time = caller->samples[i].time;
    return time;
}

/* Keeps the caller's time; when there are too many, every other one of the earlier ones goes. */
static void keep_sample(struct hidden_caller *caller, uint32_t n_windows)
{
    if (caller->n_samples == MAX_SAMPLES) {
        for (uint32_t i = 0; 2 * i + 1 < MAX_SAMPLES; i++)
            caller->samples[i] = caller->samples[2 * i + 1];
        caller->n_samples = MAX_SAMPLES / 2;
    }
    caller->samples[caller->n_samples++] = (struct time_sample){ n_windows, caller->time };
}

/* The caller's time in this window counts for each function that was muted in it. A function that is new to the caller
 * was not called in the windows before, if it was muted then. */
static void extend_bases(struct hidden_rates *rates, const struct hidden_caller *caller,
                         const struct ledger_view *muted, double weight)
{
    for (uint32_t i = caller->first_pair; i; i = rates->pairs[i].next) {
        struct hidden_pair *pair = &rates->pairs[i];
        uint32_t since = 0;
        hidden_rates_work(rates, 1);
        add_weighted(&pair->self, pair->self_in_window, weight);
        pair->calls += weight * pair->calls_in_window;
        pair->self_in_window = (struct recorded_time){ 0, 0 };
        pair->calls_in_window = 0;
        if (!ledger_view_muted_since(muted, pair->reason.function, pair->reason.is_c_calls, &since))
            continue;
        if (!pair->has_base) {
            struct weighted_time before = time_before(caller, since);
            pair->base = (struct weighted_time){ caller->time.ns - before.ns,
                                                 caller->time.n_events - before.n_events };
            pair->has_base = true;
        }
        add_weighted(&pair->base, caller->in_window, weight);
    }
}

/* Returns how much a nanosecond of the window counts. A window ends after so many events: it is short where there are
 * many of them. But it stands for the time since the one before, however short it is. Where no CPU time was reported
 * in that time, it stands for itself. */
static double weigh_window(struct hidden_rates *rates)
{
    double ns = program_ns(rates, (double)rates->window.ns, rates->window.n_events);
    double weight = (rates->apart_ns > 0 ? rates->apart_ns : ns) / (ns > MIN_WINDOW_NS ? ns : MIN_WINDOW_NS);
    rates->window = (struct recorded_time){ 0, 0 };
    rates->apart_ns = 0;
    return weight;
}

void hidden_rates_end_window(struct hidden_rates *rates, const struct ledger_view *muted)
{
    mend_outermost(rates);
    add_window_times(rates, rates->n_limits ? rates->limits[rates->n_limits - 1].max_ns : UINT64_MAX);
    double weight = weigh_window(rates);
    while (rates->touched) {
        struct hidden_caller *caller = &rates->callers[rates->touched];
        rates->touched = caller->next_touched;
        caller->is_touched = false;
        extend_bases(rates, caller, muted, weight);
        add_weighted(&caller->time, caller->in_window, weight);
        caller->in_window = (struct recorded_time){ 0, 0 };
        keep_sample(caller, muted->n_windows);
    }
}

void hidden_rates_settle(struct hidden_rates *rates)
{
    for (uint32_t i = 1; i < rates->n_pairs; i++) {
        struct hidden_pair *pair = &rates->pairs[i];
        double base_ns = program_ns(rates, pair->base.ns, pair->base.n_events);
        if (base_ns <= 0)
            continue;
        pair->calls_per_ns = pair->calls / base_ns;
        pair->self_per_ns = program_ns(rates, pair->self.ns, pair->self.n_events) / base_ns;
    }
}

/* ---- applying ---- */

void hidden_rates_choose(struct hidden_rates *rates, const struct ledger_view *muted)
{
    hidden_rates_work(rates, rates->n_pairs);
    for (uint32_t i = 1; i < rates->n_pairs && !rates->is_exhausted; i++) {
        struct hidden_pair *pair = &rates->pairs[i];
        pair->is_hidden = ledger_view_is_muted(muted, pair->reason.function, pair->reason.is_c_calls);
    }
}

/* Adds estimated calls of the pair's function. Slices of one caller mostly have the same functions in the same order. */
static void add_hidden_calls(struct hidden_time *hidden, struct hidden_rates *rates, struct hidden_pair *pair,
                             double calls, double ns)
{
    uint32_t function = pair->function;
    size_t i = pair->found_at < hidden->n && hidden->calls[pair->found_at].function == function ? pair->found_at : 0;
    hidden_rates_work(rates, 1);
    for (; i < hidden->n && hidden->calls[i].function != function; i++)
        hidden_rates_work(rates, 1);
    pair->found_at = i;
    if (i == hidden->n) {
        if (pnr_array_reserve(&hidden->calls, &hidden->capacity, hidden->n + 1) < 0) {
            rates->is_out_of_memory = true;
            return;
        }
        hidden->calls[hidden->n++] = (struct hidden_calls){ .function = function };
    }
    hidden->calls[i].calls += calls;
    hidden->calls[i].ns += ns;
}

/* Returns the first pair of what is known best of the situation; 0 when nothing is. */
static uint32_t find_pairs(const struct hidden_rates *rates, struct hidden_situation situation)
{
    const struct rate_slot *slot = pnr_table_find(&rates->by_situation, situation_key(situation));
    if (!slot)                          /* no window has met this situation */
        slot = pnr_table_find(&rates->by_situation, situation_key((struct hidden_situation){ situation.caller, 0 }));
    return slot ? rates->callers[slot->index].first_pair : 0;
}

void hidden_time_settle(struct hidden_time *hidden, struct hidden_rates *rates)
{
    uint32_t first = hidden->time.ns && !rates->is_exhausted ? find_pairs(rates, hidden->situation) : 0;
    double ns = program_ns(rates, (double)hidden->time.ns, hidden->time.n_events), share = 0;
    hidden->time = (struct recorded_time){ 0, 0 };
    for (uint32_t i = first; i && !rates->is_exhausted; i = rates->pairs[i].next, hidden_rates_work(rates, 1))
        share += rates->pairs[i].is_hidden ? rates->pairs[i].self_per_ns : 0;
    double part = share > 1 ? 1 / share : 1;        /* they cannot take more than there is */
    for (uint32_t i = first; i && !rates->is_exhausted; i = rates->pairs[i].next) {
        struct hidden_pair *pair = &rates->pairs[i];
        if (pair->is_hidden)
            add_hidden_calls(hidden, rates, pair, pair->calls_per_ns * ns, pair->self_per_ns * ns * part);
    }
}

void hidden_time_add(struct hidden_time *hidden, struct hidden_rates *rates, struct hidden_situation situation,
                     struct recorded_time time)
{
    if (rates->is_exhausted)
        return;
    if (situation_key(hidden->situation) != situation_key(situation))
        hidden_time_settle(hidden, rates);
    hidden->situation = situation;
    add_recorded(&hidden->time, time);
}

void hidden_time_reset(struct hidden_time *hidden)
{
    hidden->n = 0;
    hidden->time = (struct recorded_time){ 0, 0 };
}

void hidden_time_clear(struct hidden_time *hidden)
{
    free(hidden->calls);
    *hidden = (struct hidden_time){ .n = 0 };
}
