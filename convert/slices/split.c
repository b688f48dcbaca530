/* Assumes that the records of a block are spread evenly over it. So all blocks together make a density of records,
 * which changes where a block begins or ends. A window is as long as the records that, by the bytes a record became
 * before, make a file somewhat smaller than wanted. A window whose file becomes too large all the same is tried
 * again, shorter.
 *
 *     blocks of thread 1     |---- 1,000 records ----|---- 1,000 records ----|
 *     blocks of thread 2     |              1,000 records                    |
 *     density                |       1.5 a ns        |       1.5 a ns        |    one of thread 1 takes 1,000 ns
 *     window 1: 900 records  |---- 600 ns ----|
 *     ... becomes 72 kB: so a record becomes 80 bytes, and window 2 is chosen by that
 *
 * The shares below were chosen by measuring: seven captures (recursive calls in four threads, asyncio, C calls,
 * generators that change threads, forks), split into 308 files of 256 KiB to 20 MiB. "Work" is the bytes converted in
 * all tries for each byte in a file; "fill" is a file's mean part of the size.
 *
 *     TARGET_SHARE    0.7    0.8    0.85   0.9    0.95   1.0
 *     work            1.81   2.12   1.81   1.65   1.81   2.19
 *     fill            0.67   0.72   0.77   0.81   0.83   0.80
 *
 *     shorter by      0.7, 0.5, 0.5, 0.2   0.5    0.7    0.8, 0.5, 0.5, 0.2   0.9, 0.5, 0.5, 0.2
 *     work            1.65                 1.95   1.81   1.93                 2.19
 *     fill            0.81                 0.79   0.82   0.82                 0.80 */
#include "split.h"

#include <stdlib.h>

/* Consecutive blocks of a thread count as one, so that there are no more than this. */
#define MAX_STRETCHES (1 << 17)

/* Bytes that a record becomes, before any window was converted: more than usual, so that the first window is small
 * rather than converted twice. Half of it made 2.13 bytes of work, twice of it 1.70. */
#define INITIAL_BYTES 90

/* The share of the size that a window is to fill. */
#define TARGET_SHARE 0.9

/* A window that makes less than this share is tried again, longer by MAX_GROWTH at most. With 0.5 the work was 2.01;
 * with 0.1 it was 1.67, and small files stayed small. */
#define MIN_SHARE 0.25
#define MAX_GROWTH 1000

/* What is open at both ends of a window may be a fourth of a file. If it is more, the file may be larger: else most of
 * each file would be that. */
#define OPEN_DIVISOR 4

/* More records than any capture has. */
#define ALL_RECORDS 1e300

/* The density changes where a block begins or ends. */
struct density_change {
    uint64_t ns;
    double records;                     /* by how many in a nanosecond */
};

struct window_boundary {
    uint64_t ns;
    size_t next;                        /* the first change after it */
    size_t n;                           /* stretches around it, and their density */
    double density;
};

struct split {
    struct density_change *changes;     /* in the order of time; owned */
    size_t n;
    struct window_boundary from;            /* the window's begin */
    uint64_t to_ns;                     /* the window's end */
    double records;                     /* in the window, at most */
    unsigned n_too_large;               /* how often it was tried, and became too large */
    uint64_t end_ns;                    /* the last window's end */
    bool is_done;
    double bytes;                       /* that a record becomes */
    uint64_t size;                      /* of a file that is wanted */
    uint64_t allowed;                   /* the size that is allowed, as smaller files are impossible */
    uint64_t max_size;                  /* the size that is allowed for this window */
    uint64_t n_oversized;
};

/* ---- the density ---- */

static int by_change_time(const void *a, const void *b)
{
    const struct density_change *x = a, *y = b;
    return x->ns < y->ns ? -1 : x->ns > y->ns;
}

static void add_stretch(struct split *split, uint64_t begin_ns, uint64_t end_ns, uint64_t n_events)
{
    if (n_events == 0)
        return;
    if (end_ns <= begin_ns)
        end_ns = begin_ns + 1;
    double density = (double)n_events / (double)(end_ns - begin_ns);
    split->changes[split->n++] = (struct density_change){ begin_ns, density };
    split->changes[split->n++] = (struct density_change){ end_ns, -density };
}

static uint64_t trace_time(struct reader *reader, uint64_t ticks, uint64_t zero_ns)
{
    uint64_t ns = timeline_ns(reader_timeline(reader), ticks);
    return ns > zero_ns ? ns - zero_ns : 0;
}

/* Adds the blocks of a process, joining up to n_joined of a thread. */
static void add_process(struct split *split, struct reader *reader, uint64_t zero_ns, size_t n_joined)
{
    struct reader_outline first = { .thread = 0 }, next;
    size_t n = 0;
    for (size_t i = 0; reader_find_outline(reader, i, &next); i++) {
        if (next.is_of_recorder)
            continue;
        if (n > 0 && n < n_joined && next.thread == first.thread) {
            n++;
            first.n_events += next.n_events;    /* of few blocks: no overflow */
            first.end_ticks = next.end_ticks;
            continue;
        }
        add_stretch(split, trace_time(reader, first.begin_ticks, zero_ns), trace_time(reader, first.end_ticks, zero_ns),
                    first.n_events);
        first = next;
        n = 1;
    }
    add_stretch(split, trace_time(reader, first.begin_ticks, zero_ns), trace_time(reader, first.end_ticks, zero_ns),
                first.n_events);
}

/* Adds the blocks of all processes. Returns 0, or -1 when out of memory. */
static int add_processes(struct split *split, struct reader **readers, size_t n, uint64_t zero_ns)
{
    uint64_t n_blocks = 0, n_threads = 0;
    for (size_t i = 0; i < n; i++) {
        n_blocks += reader_size(readers[i])->n_found;
        n_threads += reader_n_threads(readers[i]);
    }
    size_t n_joined = n_blocks / MAX_STRETCHES + 1;
    split->changes = malloc((n_blocks / n_joined + n_threads + 1) * 2 * sizeof *split->changes);
    if (!split->changes)
        return -1;
    for (size_t i = 0; i < n; i++)
        add_process(split, readers[i], zero_ns, n_joined);
    qsort(split->changes, split->n, sizeof *split->changes, by_change_time);
    return 0;
}

static void pass_change(struct window_boundary *boundary, const struct density_change *change)
{
    boundary->next++;
    boundary->n += change->records > 0 ? 1 : -1;
    boundary->density = boundary->n ? boundary->density + change->records : 0;
}

/* Moves the boundary by a number of records, but not beyond until_ns. Returns by how many it was moved. */
static double move_boundary(const struct split *split, struct window_boundary *boundary, double records,
                            uint64_t until_ns)
{
    double moved = 0;
    while (boundary->ns < until_ns) {
        uint64_t next_ns = boundary->next < split->n ? split->changes[boundary->next].ns : until_ns;
        if (next_ns > until_ns)
            next_ns = until_ns;
        double all = boundary->density * (double)(next_ns - boundary->ns), missing = records - moved;
        if (all > missing) {
            double length = missing / boundary->density;
            boundary->ns = length < (double)(next_ns - boundary->ns) ? boundary->ns + (uint64_t)length : next_ns;
            return records;
        }
        moved += all;
        boundary->ns = next_ns;
        while (boundary->next < split->n && split->changes[boundary->next].ns <= next_ns)
            pass_change(boundary, &split->changes[boundary->next]);
    }
    return moved;
}

/* ---- windows ---- */

/* Chooses the end of the window that begins at split->from. */
static void choose_window(struct split *split)
{
    struct window_boundary to = split->from;
    move_boundary(split, &to, split->records, split->end_ns);
    if (to.ns <= split->from.ns)
        to.ns = split->from.ns + 1;
    split->to_ns = to.next < split->n && to.ns < split->end_ns ? to.ns : split->end_ns;
}

struct split *split_new(struct reader **readers, size_t n, uint64_t zero_ns, uint64_t from_ns, uint64_t to_ns,
                        uint64_t size)
{
    struct split *split = calloc(1, sizeof *split);
    if (!split || add_processes(split, readers, n, zero_ns) < 0) {
        split_free(split);
        return NULL;
    }
    split->end_ns = to_ns;
    split->size = split->allowed = split->max_size = size;
    split->bytes = INITIAL_BYTES;
    split->records = TARGET_SHARE * (double)size / split->bytes;
    move_boundary(split, &split->from, ALL_RECORDS, from_ns);
    choose_window(split);
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

uint64_t split_max_size(const struct split *split)
{
    return split->to_ns - split->from.ns > 1 ? split->max_size : UINT64_MAX;
}

/* The window's file has become too large: chooses an earlier end. */
static void shorten_window(struct split *split)
{
    static const double parts[] = { 0.7, 0.5, 0.5, 0.2 };
    size_t n = sizeof parts / sizeof *parts;
    struct window_boundary to = split->from;
    double records = move_boundary(split, &to, split->records, split->to_ns);
    double part = parts[split->n_too_large < n ? split->n_too_large : n - 1];
    split->n_too_large++;
    split->records = records * part;
    if (split->records > 1)
        choose_window(split);
    else                                /* by the headers there are hardly any records */
        split->to_ns = split->from.ns + 1 + (split->to_ns - split->from.ns - 1) / 2;
}

/* The window has become a file: chooses the next one. */
static void begin_next_window(struct split *split, const struct split_result *result)
{
    double records = move_boundary(split, &split->from, ALL_RECORDS, split->to_ns);
    if (records >= 1 && result->bytes > 0)
        split->bytes = (double)result->bytes / records;
    split->is_done = split->to_ns == split->end_ns;
    split->n_oversized += result->bytes > split->size;
    if (result->bytes > split->max_size)    /* a single nanosecond, and each of the next ones might be as large */
        split->allowed *= 2;
    uint64_t open = result->events ? (uint64_t)((double)result->bytes / (double)result->events) * result->n_open : 0;
    split->max_size = open > split->allowed / OPEN_DIVISOR ? OPEN_DIVISOR * open : split->allowed;
    split->records = TARGET_SHARE * (double)split->max_size / split->bytes;
    split->n_too_large = 0;
    choose_window(split);
}

bool split_judge(struct split *split, const struct split_result *result)
{
    if (result->bytes > split_max_size(split)) {
        shorten_window(split);
        return false;
    }
    if ((double)result->bytes < MIN_SHARE * (double)split->max_size && split->to_ns < split->end_ns &&
        !split->n_too_large) {
        double longer = TARGET_SHARE * (double)split->max_size / (double)(result->bytes + 1);
        split->records *= longer < MAX_GROWTH ? longer : MAX_GROWTH;
        choose_window(split);
        return false;
    }
    begin_next_window(split, result);
    return true;
}

uint64_t split_n_oversized(const struct split *split)
{
    return split->n_oversized;
}
