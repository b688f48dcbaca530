/* The records of a block are taken to be spread evenly over it. So all blocks together make a density of records that
 * changes where a block begins or ends; a window is a length of time with so many records as will, by the bytes a
 * record became before, make a file that is somewhat smaller than wanted. One that becomes larger all the same is
 * tried again, shorter. */
#include "split.h"

#include <stdlib.h>

/* Blocks that follow one another in a thread count as one, so that there are no more. */
#define MOST_STRETCHES (1 << 17)

/* What a record becomes, before anything is known about it: more than it mostly is. */
#define FIRST_BYTES 90

/* The part of the size that is aimed at. */
#define AIM 0.9

/* A window that makes less than that part of the size is tried again, longer; at most so much longer. */
#define SMALL 0.25
#define LONGER 1000

/* What is open at a window's begin and end may be that part of a file: else most of all files would be that. */
#define OPEN_PART 4

/* More than there are. */
#define ALL_RECORDS 1e300

/* Where the density changes. */
struct change {
    uint64_t ns;
    double records;                     /* in a nanosecond: so many more */
};

struct position {
    uint64_t ns;
    size_t next;                        /* the first change behind it */
    size_t n;                           /* stretches that it is in, and their density */
    double density;
};

struct split {
    struct change *changes;             /* in the order of time; owned */
    size_t n;
    struct position from;               /* the window's begin, like the next three */
    uint64_t to_ns;
    double records;                     /* in it, at most */
    unsigned n_too_large;               /* so often it was tried, and became too large */
    uint64_t end_ns;                    /* of the last one */
    bool is_done;
    double bytes;                       /* what a record becomes */
    uint64_t size;                      /* that is wanted */
    uint64_t allowed;                   /* what is allowed, as smaller files cannot be */
    uint64_t most;                      /* what is allowed of this window */
    uint64_t n_large;
};

/* ---- the density ---- */

static int by_time(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    return x->ns < y->ns ? -1 : x->ns > y->ns;
}

static void add_stretch(struct split *split, uint64_t begin_ns, uint64_t end_ns, uint64_t n_events)
{
    if (n_events == 0)
        return;
    if (end_ns <= begin_ns)
        end_ns = begin_ns + 1;
    double density = (double)n_events / (double)(end_ns - begin_ns);
    split->changes[split->n++] = (struct change){ begin_ns, density };
    split->changes[split->n++] = (struct change){ end_ns, -density };
}

static uint64_t on_trace(struct reader *reader, uint64_t ticks, uint64_t zero_ns)
{
    uint64_t ns = timeline_ns(reader_timeline(reader), ticks);
    return ns > zero_ns ? ns - zero_ns : 0;
}

/* Adds the blocks of a process, so many of a thread at a time. */
static void add_process(struct split *split, struct reader *reader, uint64_t zero_ns, size_t at_a_time)
{
    struct reader_outline first = { .thread = 0 }, next;
    size_t n = 0;
    for (size_t i = 0; reader_look(reader, i, &next); i++) {
        if (n > 0 && n < at_a_time && next.thread == first.thread) {
            n++;
            first.n_events += next.n_events;    /* at_a_time of them: no overflow */
            first.end_ticks = next.end_ticks;
            continue;
        }
        add_stretch(split, on_trace(reader, first.begin_ticks, zero_ns), on_trace(reader, first.end_ticks, zero_ns),
                    first.n_events);
        first = next;
        n = 1;
    }
    add_stretch(split, on_trace(reader, first.begin_ticks, zero_ns), on_trace(reader, first.end_ticks, zero_ns),
                first.n_events);
}

/* Makes the density of all processes. Returns 0, or -1 when out of memory. */
static int add_all(struct split *split, struct reader **readers, size_t n, uint64_t zero_ns)
{
    uint64_t n_blocks = 0, n_threads = 0;
    for (size_t i = 0; i < n; i++) {
        n_blocks += reader_size(readers[i])->n_found;
        n_threads += reader_n_threads(readers[i]);
    }
    size_t at_a_time = n_blocks / MOST_STRETCHES + 1;
    split->changes = malloc((n_blocks / at_a_time + n_threads + 1) * 2 * sizeof *split->changes);
    if (!split->changes)
        return -1;
    for (size_t i = 0; i < n; i++)
        add_process(split, readers[i], zero_ns, at_a_time);
    qsort(split->changes, split->n, sizeof *split->changes, by_time);
    return 0;
}

static void pass(struct position *position, const struct change *change)
{
    position->next++;
    position->n += change->records > 0 ? 1 : -1;
    position->density = position->n ? position->density + change->records : 0;
}

/* Moves the position by so many records, but not beyond until_ns. Returns how many they were. */
static double move(const struct split *split, struct position *position, double records, uint64_t until_ns)
{
    double moved = 0;
    while (position->ns < until_ns) {
        uint64_t next_ns = position->next < split->n ? split->changes[position->next].ns : until_ns;
        if (next_ns > until_ns)
            next_ns = until_ns;
        double all = position->density * (double)(next_ns - position->ns), rest = records - moved;
        if (all > rest) {
            double length = rest / position->density;
            position->ns = length < (double)(next_ns - position->ns) ? position->ns + (uint64_t)length : next_ns;
            return records;
        }
        moved += all;
        position->ns = next_ns;
        while (position->next < split->n && split->changes[position->next].ns <= next_ns)
            pass(position, &split->changes[position->next]);
    }
    return moved;
}

/* ---- windows ---- */

/* Fixes the end of the window that begins at split->from. */
static void choose(struct split *split)
{
    struct position to = split->from;
    move(split, &to, split->records, split->end_ns);
    if (to.ns <= split->from.ns)
        to.ns = split->from.ns + 1;
    split->to_ns = to.next < split->n && to.ns < split->end_ns ? to.ns : split->end_ns;
}

struct split *split_new(struct reader **readers, size_t n, uint64_t zero_ns, uint64_t from_ns, uint64_t to_ns,
                        uint64_t size)
{
    struct split *split = calloc(1, sizeof *split);
    if (!split || add_all(split, readers, n, zero_ns) < 0) {
        split_free(split);
        return NULL;
    }
    split->end_ns = to_ns;
    split->size = split->allowed = split->most = size;
    split->bytes = FIRST_BYTES;
    split->records = AIM * (double)size / split->bytes;
    move(split, &split->from, ALL_RECORDS, from_ns);
    choose(split);
    return split;
}

void split_free(struct split *split)
{
    if (!split)
        return;
    free(split->changes);
    free(split);
}

bool split_next(const struct split *split, uint64_t *from_ns, uint64_t *to_ns)
{
    *from_ns = split->from.ns;
    *to_ns = split->to_ns;
    return !split->is_done;
}

uint64_t split_most(const struct split *split)
{
    return split->to_ns - split->from.ns > 1 ? split->most : UINT64_MAX;
}

/* The window has become too large. */
static void shorten(struct split *split)
{
    static const double parts[] = { 0.7, 0.5, 0.5, 0.2 };
    size_t n = sizeof parts / sizeof *parts;
    struct position to = split->from;
    double records = move(split, &to, split->records, split->to_ns);
    double part = parts[split->n_too_large < n ? split->n_too_large : n - 1];
    split->n_too_large++;
    split->records = records * part;
    if (split->records > 1)
        choose(split);
    else                                /* the headers say that there is next to nothing */
        split->to_ns = split->from.ns + 1 + (split->to_ns - split->from.ns - 1) / 2;
}

/* The window is a file: the next one begins. */
static void go_on(struct split *split, const struct split_result *result)
{
    double records = move(split, &split->from, ALL_RECORDS, split->to_ns);
    if (records >= 1 && result->bytes > 0)
        split->bytes = (double)result->bytes / records;
    split->is_done = split->to_ns == split->end_ns;
    split->n_large += result->bytes > split->size;
    if (result->bytes > split->most)    /* a single instant, and all of the next ones might be as large */
        split->allowed *= 2;
    uint64_t open = result->events ? (uint64_t)((double)result->bytes / (double)result->events) * result->n_open : 0;
    split->most = open > split->allowed / OPEN_PART ? OPEN_PART * open : split->allowed;
    split->records = AIM * (double)split->most / split->bytes;
    split->n_too_large = 0;
    choose(split);
}

bool split_judge(struct split *split, const struct split_result *result)
{
    if (result->bytes > split_most(split)) {
        shorten(split);
        return false;
    }
    if ((double)result->bytes < SMALL * (double)split->most && split->to_ns < split->end_ns && !split->n_too_large) {
        double longer = AIM * (double)split->most / (double)(result->bytes + 1);
        split->records *= longer < LONGER ? longer : LONGER;
        choose(split);
        return false;
    }
    go_on(split, result);
    return true;
}

uint64_t split_n_large(const struct split *split)
{
    return split->n_large;
}
