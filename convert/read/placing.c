/* Between two events lies a stretch, in which one function runs. Where two events in a row have readings, its length is
 * known. The other stretches are taken to be as long as those on average that have the same class: the same event at
 * their begin, at their end, and before that. A class of which few are known borrows from the wider one of the two
 * events at the ends, and that from the one of the first event.
 *
 * Then the stretches between two readings are scaled alike to fill the time between these. If that is much longer than
 * they usually are together, the thread waited: the recorder takes care that this is after the last of the events. All is
 * computed in integers, so that every machine finds the same. */
#include "placing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INEXACT_BIT (UINT64_C(0x80) << PNR_TICKS_BITS)
#define OTHER_KIND (UINT64_C(0xff) << PNR_TICKS_BITS)
#define FRACTION 8                      /* bits of a weight below a tick */
#define BORROWED 3                      /* what the wider class counts for, in stretches */
#define TABLE_BITS 16                   /* 3 classes at most for each stretch: three quarters full */
#define MAX_TICKS_PER_SECOND (UINT64_C(1) << 35)        /* so that all stretches of a class add up to 32 bits */
#define MAX_CLASSES (3 * (PNR_BLOCK_RECORDS + 2) + 3)

/* Shares of a second. */
#define LONG_STRETCH 500000                 /* 2 us: no usual stretch after an event without a reading */
#define DEFAULT_STRETCH 20000000            /* 50 ns: where nothing is known */
#define INEXACT_TIME 1000000                 /* 1 us */
#define WAIT 10                         /* 100 ms: no recorder is so late to make the event after it read the clock */

enum { ALL, BEGIN, END, FIRST_CLASS };  /* classes that always exist: all stretches; what is at the block's ends */

struct stretch_class {
    uint32_t wider;
    uint32_t n;                         /* stretches of known length, each shorter than LONG_STRETCH */
    uint32_t sum;                       /* their ticks */
    uint32_t weight;                    /* the usual length, in 2^-FRACTION ticks */
    uint32_t begin, end;                /* the classes of the events at its ends */
    uint64_t next_event;                /* what followed the last stretch of this class: mostly the same follows again */
    uint32_t next;                      /* the class of the stretch up to that event; 0: not known */
};

struct slot {
    uint64_t key;
    uint32_t generation, class;
};

struct placing {
    uint64_t ticks_per_second;
    uint64_t long_ticks, default_ticks, inexact_ticks, wait_ticks;
    uint32_t generation;                /* slots of others are free */
    uint32_t n_classes;
    uint32_t n;                         /* events: records other than OPEN */
    uint32_t at[PNR_BLOCK_RECORDS];     /* where the events are */
    uint64_t ticks[PNR_BLOCK_RECORDS];
    bool is_read[PNR_BLOCK_RECORDS];
    uint32_t classes[PNR_BLOCK_RECORDS + 1];    /* of stretches: number i ends at event i, the last at the block's end */
    uint32_t weights[PNR_BLOCK_RECORDS + 1];    /* of stretches */
    struct stretch_class class[MAX_CLASSES];
    struct slot slots[1 << TABLE_BITS];
};

static uint64_t ticks_in(uint64_t ticks_per_second, uint64_t divisor)
{
    return ticks_per_second / divisor ? ticks_per_second / divisor : 1;
}

struct placing *placing_new(uint64_t ticks_per_second)
{
    struct placing *placing = calloc(1, sizeof *placing);
    if (!placing)
        return NULL;
    if (ticks_per_second == 0 || ticks_per_second > MAX_TICKS_PER_SECOND)
        ticks_per_second = 1000000000;
    placing->ticks_per_second = ticks_per_second;
    placing->long_ticks = ticks_in(ticks_per_second, LONG_STRETCH);
    placing->default_ticks = ticks_in(ticks_per_second, DEFAULT_STRETCH);
    placing->inexact_ticks = ticks_in(ticks_per_second, INEXACT_TIME);
    placing->wait_ticks = ticks_in(ticks_per_second, WAIT);
    return placing;
}

void placing_free(struct placing *placing)
{
    free(placing);
}

/* ---- classes ---- */

static uint32_t find_class(struct placing *placing, uint32_t wider, uint64_t key)
{
    size_t i = key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TABLE_BITS);
    struct slot *slot = &placing->slots[i];
    while (slot->generation == placing->generation && slot->key != key)
        slot = &placing->slots[i = (i + 1) % (1 << TABLE_BITS)];
    if (slot->generation != placing->generation) {
        *slot = (struct slot){ key, placing->generation, placing->n_classes };
        placing->class[placing->n_classes++] = (struct stretch_class){ .wider = wider };
    }
    return slot->class;
}

static uint64_t event_key(struct pnr_record record)
{
    return (uint64_t)pnr_record_kind(record) << 32 | pnr_record_function(record);
}

/* The class of the stretches that follow such events. */
static uint32_t find_event_class(struct placing *placing, uint64_t key)
{
    return find_class(placing, ALL, UINT64_C(1) << 62 | key);
}

static uint32_t find_stretch_class(struct placing *placing, uint32_t before, uint32_t begin, uint32_t end)
{
    uint32_t of_two = find_class(placing, begin, UINT64_C(2) << 62 | (uint64_t)begin << 31 | end);
    uint32_t of_three = find_class(placing, of_two, UINT64_C(3) << 62 | (uint64_t)of_two << 31 | before);
    placing->class[of_three].begin = begin;
    placing->class[of_three].end = end;
    return of_three;
}

/* Finds the class of the stretch that follows one of this class, up to an event. */
static uint32_t find_next_class(struct placing *placing, uint32_t before, uint64_t event)
{
    const struct stretch_class *class = &placing->class[before];
    if (class->next && class->next_event == event)
        return class->next;
    uint32_t next = find_stretch_class(placing, class->begin, class->end, find_event_class(placing, event));
    placing->class[before].next_event = event;
    return placing->class[before].next = next;
}

static void clear_classes(struct placing *placing)
{
    if (++placing->generation == 0) {
        memset(placing->slots, 0, sizeof placing->slots);
        placing->generation = 1;
    }
    for (placing->n_classes = 0; placing->n_classes < FIRST_CLASS; placing->n_classes++)
        placing->class[placing->n_classes] = (struct stretch_class){ .wider = ALL };
}

/* Finds the classes of all stretches, and adds up the known lengths of each. */
static void classify_stretches(struct placing *placing, const struct pnr_record *records)
{
    clear_classes(placing);
    uint32_t class = find_stretch_class(placing, BEGIN, BEGIN, BEGIN);
    for (uint32_t i = 0; i < placing->n; i++) {
        placing->classes[i] = class = find_next_class(placing, class, event_key(records[placing->at[i]]));
        if (i == 0 || !placing->is_read[i] || !placing->is_read[i - 1])
            continue;
        uint64_t ticks = placing->ticks[i] - placing->ticks[i - 1];
        if (ticks < placing->long_ticks) {
            placing->class[class].sum += (uint32_t)ticks;
            placing->class[class].n++;
        }
    }
    placing->classes[placing->n] = find_stretch_class(placing, placing->class[class].begin, placing->class[class].end, END);
}

/* The weight of all stretches, where no stretch's length is known: that of the densest interval. */
static uint64_t find_default_weight(const struct placing *placing)
{
    uint64_t weight = UINT64_MAX, before = 0;
    uint32_t n = 1;
    for (uint32_t i = 0; i < placing->n; i++, n++) {
        uint64_t ticks = placing->ticks[i];
        if (!placing->is_read[i])
            continue;
        if (ticks > before && ((ticks - before) << FRACTION) / n < weight)
            weight = ((ticks - before) << FRACTION) / n;
        before = ticks;
        n = 0;
    }
    return weight < placing->long_ticks << FRACTION ? weight : placing->default_ticks << FRACTION;
}

/* Computes the weights of all classes and stretches. A wider class always has a lower number. */
static void weigh_classes(struct placing *placing)
{
    struct stretch_class *class = placing->class;
    for (uint32_t i = placing->n_classes - 1; i > 0; i--) {
        class[class[i].wider].n += class[i].n;
        class[class[i].wider].sum += class[i].sum;
    }
    class[ALL].weight = (uint32_t)(class[ALL].n ? ((uint64_t)class[ALL].sum << FRACTION) / class[ALL].n :
                                                  find_default_weight(placing));
    for (uint32_t i = 1; i < placing->n_classes; i++) {
        uint64_t sum = ((uint64_t)class[i].sum << FRACTION) + BORROWED * (uint64_t)class[class[i].wider].weight;
        class[i].weight = (uint32_t)(sum / (class[i].n + BORROWED));
    }
    for (uint32_t i = 0; i < placing->n_classes; i++)
        class[i].weight |= class[i].weight == 0;
    for (uint32_t i = 0; i <= placing->n; i++)
        placing->weights[i] = class[placing->classes[i]].weight;
}

/* ---- intervals ---- */

/* The time between two readings, in which the events first to end - 1 have none. */
struct interval {
    uint32_t first, end;
    uint64_t begin_ticks;
    uint64_t ticks;                     /* its length; UINT64_MAX: not known */
    uint64_t usual_ticks;               /* the sum of what its stretches usually take */
};

/* Returns whether the events keep their usual stretches, as the thread waited after the last. */
static bool has_wait(const struct placing *placing, const struct interval *interval)
{
    return interval->ticks > 4 * interval->usual_ticks + placing->long_ticks;
}

/* Spreads the events of an interval that has more ticks than events. */
static void spread_events(struct placing *placing, const struct interval *interval, uint64_t weight)
{
    uint64_t scale = has_wait(placing, interval) ? UINT64_C(1) << 24 >> FRACTION : (interval->ticks << 24) / weight;
    uint64_t sum = 0, before = 0;
    for (uint32_t i = interval->first; i < interval->end; i++) {
        uint64_t n_after = interval->end - i;
        sum += placing->weights[i];
        uint64_t ticks = (sum * scale + (UINT64_C(1) << 23)) >> 24;
        if (ticks <= before)
            ticks = before + 1;
        if (interval->ticks - n_after < ticks)
            ticks = interval->ticks - n_after;
        placing->ticks[i] = interval->begin_ticks + ticks;
        before = ticks;
    }
}

static unsigned find_distance_bucket(uint64_t ns)
{
    unsigned octave = ns < 8 ? 0 : 61 - (unsigned)__builtin_clzll(ns);
    return octave ? octave * 8 + (unsigned)(ns >> (octave - 1) & 7) : (unsigned)ns;
}

static void count_distance(struct placing_count *count, uint64_t ns, uint32_t n)
{
    count->n_unread += n;
    count->buckets[find_distance_bucket(ns)] += n;
    if (ns > count->max_ns)
        count->max_ns = ns;
}

static void count_interval(struct placing *placing, const struct interval *interval, struct pnr_record *records,
                           struct placing_count *count)
{
    uint64_t usual = interval->usual_ticks, ticks = interval->ticks;
    uint64_t excess = ticks != UINT64_MAX && ticks > usual ? ticks - usual : 0;
    uint64_t distance = ticks == UINT64_MAX || excess >= placing->wait_ticks ? usual : ticks;
    bool is_inexact = excess > placing->inexact_ticks && excess < placing->wait_ticks;
    count_distance(count, (uint64_t)((unsigned __int128)distance * 1000000000 / placing->ticks_per_second),
                   interval->end - interval->first);
    for (uint32_t i = interval->first; is_inexact && i < interval->end; i++) {
        struct pnr_record *record = &records[placing->at[i]];
        unsigned effect = pnr_kind_effect(pnr_record_kind(*record)).effect;
        if (effect != PNR_EFFECT_ENTER && effect != PNR_EFFECT_LEAVE)
            continue;
        record->word[0] |= INEXACT_BIT;
        count->n_inexact++;
    }
}

/* Spreads the events first to end - 1 between two times. end_ticks: UINT64_MAX when it is not known. */
static void spread_interval(struct placing *placing, uint32_t first, uint32_t end, uint64_t begin_ticks,
                           uint64_t end_ticks, struct pnr_record *records, struct placing_count *count)
{
    struct interval interval = { first, end, begin_ticks, end_ticks, 0 };
    uint32_t n_stretches = end - first + 1;
    uint64_t weight = 0;
    if (first == end)
        return;
    for (uint32_t i = first; i <= end; i++)
        weight += placing->weights[i];
    interval.usual_ticks = weight >> FRACTION;
    if (end_ticks != UINT64_MAX)
        interval.ticks = end_ticks > begin_ticks ? end_ticks - begin_ticks : 0;
    if (interval.ticks >= n_stretches)
        spread_events(placing, &interval, weight);
    else
        for (uint32_t i = first; i < end; i++)
            placing->ticks[i] = begin_ticks + interval.ticks * (i - first + 1) / n_stretches;
    count_interval(placing, &interval, records, count);
}

/* Finds the ticks of the block's end, from its begin on; UINT64_MAX when they are not known. */
static uint64_t find_block_end(const struct pnr_block_header *header)
{
    const struct pnr_clock_sample *end = &header->end;
    bool is_known = end->ticks && end->ticks >= header->begin.ticks;
    return is_known ? end->ticks - header->begin.ticks : UINT64_MAX;
}

static void spread_intervals(struct placing *placing, uint64_t end_ticks, struct pnr_record *records,
                            struct placing_count *count)
{
    uint32_t first = 0;
    uint64_t begin_ticks = 0;
    for (uint32_t i = 0; i < placing->n; i++) {
        if (!placing->is_read[i])
            continue;
        spread_interval(placing, first, i, begin_ticks, placing->ticks[i], records, count);
        if (placing->ticks[i] > begin_ticks)
            begin_ticks = placing->ticks[i];            /* an earlier reading is damage */
        first = i + 1;
    }
    spread_interval(placing, first, placing->n, begin_ticks, end_ticks, records, count);
}

/* ---- blocks ---- */

/* False for a record that has the time of the one before it. */
static bool has_own_time(struct pnr_record record)
{
    return pnr_record_kind(record) != PNR_OPEN && pnr_record_kind(record) != PNR_DATA;
}

/* Lists the events. A kind that has INEXACT_BIT, which no version defines, becomes another such kind. */
static void list_events(struct placing *placing, struct pnr_record *records, uint32_t n_records,
                        struct placing_count *count)
{
    uint64_t before = 0;
    placing->n = 0;
    for (uint32_t i = 0; i < n_records; i++) {
        uint64_t ticks = pnr_record_ticks(records[i]);
        if (placing_is_inexact(records[i]))
            records[i].word[0] |= OTHER_KIND;
        if (has_own_time(records[i])) {
            placing->at[placing->n] = i;
            placing->ticks[placing->n] = ticks;
            placing->is_read[placing->n++] = ticks != before;
        }
        before = ticks;
    }
    count->n_events = placing->n;
}

static void set_ticks(struct pnr_record *record, uint64_t ticks)
{
    record->word[0] = (record->word[0] & ~PNR_TICKS_MAX) | (ticks < PNR_TICKS_MAX ? ticks : PNR_TICKS_MAX);
}

/* Stores the ticks of the events. An OPEN or DATA record after an event gets those of the event. */
static void store_ticks(const struct placing *placing, struct pnr_record *records, uint32_t n_records)
{
    for (uint32_t i = 0; i < placing->n; i++)
        set_ticks(&records[placing->at[i]], placing->ticks[i]);
    if (placing->n == 0 || placing->n == n_records - placing->at[0])
        return;
    for (uint32_t i = placing->at[0] + 1; i < n_records; i++)
        if (!has_own_time(records[i]))
            set_ticks(&records[i], pnr_record_ticks(records[i - 1]));
}

void placing_apply(struct placing *placing, const struct pnr_block_header *header, struct pnr_record *records,
                   struct placing_count *count)
{
    *count = (struct placing_count){ .n_events = 0 };
    list_events(placing, records, header->n_records, count);
    classify_stretches(placing, records);
    weigh_classes(placing);
    spread_intervals(placing, find_block_end(header), records, count);
    store_ticks(placing, records, header->n_records);
}

/* ---- counts ---- */

void placing_count_add(struct placing_count *sum, const struct placing_count *count)
{
    sum->n_events += count->n_events;
    sum->n_unread += count->n_unread;
    sum->n_inexact += count->n_inexact;
    if (count->max_ns > sum->max_ns)
        sum->max_ns = count->max_ns;
    for (size_t i = 0; i < PLACING_BUCKETS; i++)
        sum->buckets[i] += count->buckets[i];
}

uint64_t placing_count_quantile(const struct placing_count *count, unsigned thousandths)
{
    uint64_t n = 0, wanted = count->n_unread - count->n_unread / 1000 * (1000 - thousandths);
    unsigned i = 0;
    while (i + 1 < PLACING_BUCKETS && (n += count->buckets[i]) < wanted)
        i++;
    uint64_t octave = i / 8, above = octave ? (8 | (i % 8)) + 1 : i + 1;
    uint64_t ns = (octave ? above << (octave - 1) : above) - 1;
    return ns < count->max_ns ? ns : count->max_ns;
}

static const char *describe_time(char text[32], uint64_t ns)
{
    bool is_long = ns >= 1000000;
    snprintf(text, 32, "%.2f %s", (double)ns / (is_long ? 1e6 : 1e3), is_long ? "ms" : "us");
    return text;
}

void placing_count_describe(const struct placing_count *count, char *text, size_t size)
{
    char median[32], high[32], longest[32];
    double n = (double)count->n_events;
    snprintf(text, size, "clock read at %.1f %% of the events; the readings around the others are %s apart (median), "
             "%s (99 %%), %s (most); %.2f %% of the events may be wrong by more than 1 us",
             100 * (double)(count->n_events - count->n_unread) / n,
             describe_time(median, placing_count_quantile(count, 500)),
             describe_time(high, placing_count_quantile(count, 990)), describe_time(longest, count->max_ns),
             100 * (double)count->n_inexact / n);
}
