#include "call_statistics.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cost_learning.h"
#include "../format/array.h"
#include "../format/record.h"
#include "../format/table.h"
#include "../format/values.h"

#define DECAY_NS 1e8                    /* after so much CPU time an event counts 1/e */
#define MIN_GROWTH 1.1                  /* after 10 ms: rates of a shorter time would be noise */
#define WINDOW_DECAY 0.75               /* a window counts so much when the next one has ended */
#define MAX_WEIGHT 1e12                 /* then all sums are divided by it */
#define MAX_DEPTH 4096                  /* frames of a thread that are timed; deeper ones are only counted */
#define MAX_STREAMS 4096                /* threads whose stacks are carried from block to block */
#define MAX_SEARCH 64                   /* frames that may have been left without an exit */
#define READ_RECORDS 2048             /* of a block that are read at least, if it has so many: others are counted */
#define YIELD_RECORDS 2048            /* are read in 0.1 ms: then others that wait for the processor have it first */
#define WINDOWS 64                      /* whose records are recognized; a block seldom reaches back further */

struct timed_frame {
    uint64_t begin_ticks;               /* 0: not known */
    uint32_t function;
    uint32_t n_events;                  /* of the thread, modulo 2^32, when the frame was entered */
};

struct stream_stack {
    uint64_t key;                       /* the thread's number */
    struct timed_frame *frames;         /* owned */
    size_t capacity;
    uint32_t depth;
    uint32_t n_deeper;                  /* open frames beyond MAX_DEPTH */
    uint32_t n_events;
    uint32_t track;
    uint32_t next_sequence;             /* of the next block, if none is missing */
    bool is_behind;                     /* the last block was not read to its end */
    struct rec_interval interval;       /* for cost_learning.h */
};

struct recorded_window {
    uint64_t begin, end;                /* ticks; end UINT64_MAX: not ended */
    double weight;                      /* of its events and of its time */
};

static struct {
    struct rec_function_calls *functions;       /* by number; owned */
    size_t n_functions;
    uint32_t *active;                   /* owned */
    size_t n_active, active_capacity;
    struct pnr_table streams;
    double weight;                      /* of an event now */
    double growth;                      /* by which the weight has grown since the start */
    double window_weight;               /* of the next window */
    double window_ns;                   /* the sum of the CPU time in windows, weighted */
    struct recorded_window windows[WINDOWS];
    uint32_t n_windows;                 /* in all; the last WINDOWS are kept */
    double ns_per_tick;
} statistics;

/* The block that is being read. */
struct block_reading {
    uint64_t begin;                     /* ticks */
    uint64_t before;                    /* ticks of the record before */
    bool is_sparse;                     /* a record with the same ticks has no reading of the clock */
    uint64_t boundary;                  /* ticks at which the next window begins or ends */
    uint32_t window;                    /* the window whose begin or end the boundary is */
    float window_weight;                /* of the window that the records are in; 0: they are in none */
    uint32_t in_window;                 /* the window that the records are in, from 1; 0: they are in none */
    uint32_t n_each;                    /* for how many of the block's events each that is read stands */
    double event_ns;
};

/* ---- functions ---- */

/* Returns NULL when out of memory. */
static struct rec_function_calls *reserve_function(uint32_t function)
{
    return pnr_array_reserve_number(&statistics.functions, &statistics.n_functions, function) == 0 ?
           &statistics.functions[function] : NULL;
}

static void activate_function(uint32_t function, struct rec_function_calls *calls)
{
    if (pnr_array_reserve(&statistics.active, &statistics.active_capacity, statistics.n_active + 1) < 0)
        return;
    statistics.active[statistics.n_active++] = function;
    calls->is_active = true;
}

/* Counts an event of the function, or of a C function that it called. */
static struct rec_function_calls *count_event(uint32_t function, bool is_c_call, const struct block_reading *reading)
{
    struct rec_function_calls *calls = function < statistics.n_functions ? &statistics.functions[function] :
                                                                           reserve_function(function);
    if (!calls)
        return NULL;
    if (!calls->is_active)
        activate_function(function, calls);
    if (reading->window_weight > 0)
        *(is_c_call ? &calls->window_c_events : &calls->window_events) += reading->window_weight;
    else
        *(is_c_call ? &calls->c_events : &calls->events) += (float)(statistics.weight * reading->n_each);
    return calls;
}

struct rec_function_calls *rec_statistics_of(uint32_t function)
{
    return function < statistics.n_functions ? &statistics.functions[function] : NULL;
}

const uint32_t *rec_statistics_active(size_t *n, bool (*keeps)(uint32_t function))
{
    size_t kept = 0;
    for (size_t i = 0; i < statistics.n_active; i++) {
        uint32_t function = statistics.active[i];
        struct rec_function_calls *calls = &statistics.functions[function];
        calls->is_active = calls->events + calls->c_events > 0.5 * statistics.weight || keeps(function);
        if (calls->is_active)
            statistics.active[kept++] = function;
    }
    *n = statistics.n_active = kept;
    return statistics.active;
}

double rec_statistics_rate(double events)
{
    double growth = statistics.growth > MIN_GROWTH ? statistics.growth : MIN_GROWTH;
    return events / statistics.weight / (DECAY_NS * (1 - 1 / growth));
}

double rec_statistics_events_at(double rate)
{
    return rate / rec_statistics_rate(1);
}

double rec_statistics_window_rate(double window_events)
{
    return statistics.window_ns > 0 ? window_events / statistics.window_ns : 0;
}

double rec_statistics_event_ns(void)
{
    return rec_cost_learning_estimate() * statistics.ns_per_tick;
}

double rec_statistics_mean_ns(const struct rec_function_calls *calls)
{
    return calls->n_timed > 0 ? calls->time_ns / calls->n_timed : REC_STATISTICS_MAX_NS;
}

/* ---- weights ---- */

/* Returns e^x for x >= 0, to a part in a thousand. */
static double grow_by(double x)
{
    double power = 1;
    for (; x > 0.25 && power < MAX_WEIGHT; x -= 0.25)
        power *= 1.2840254;
    return x > 0.25 ? power : power * (1 + x + x * x / 2 + x * x * x / 6);
}

static void renormalize(void)
{
    float factor = (float)(1 / statistics.weight);
    for (size_t i = 0; i < statistics.n_functions; i++) {
        struct rec_function_calls *calls = &statistics.functions[i];
        calls->events *= factor;
        calls->c_events *= factor;
        calls->n_timed *= factor;
        calls->time_ns *= factor;
    }
    statistics.weight = 1;
}

static void renormalize_windows(void)
{
    float factor = (float)(1 / statistics.window_weight);
    for (size_t i = 0; i < statistics.n_functions; i++) {
        statistics.functions[i].window_events *= factor;
        statistics.functions[i].window_c_events *= factor;
    }
    for (int i = 0; i < WINDOWS; i++)
        statistics.windows[i].weight *= factor;
    statistics.window_ns *= factor;
    statistics.window_weight = 1;
}

void rec_statistics_advance(uint64_t cpu_ns)
{
    double growth = grow_by((double)cpu_ns / DECAY_NS);
    statistics.weight *= growth;
    if (statistics.growth < MAX_WEIGHT)
        statistics.growth *= growth;
    if (statistics.weight > MAX_WEIGHT)
        renormalize();
}

void rec_statistics_window(uint64_t ticks)
{
    statistics.windows[statistics.n_windows++ % WINDOWS] =
        (struct recorded_window){ ticks, UINT64_MAX, statistics.window_weight };
}

void rec_statistics_window_end(uint64_t ticks, uint64_t cpu_ns)
{
    struct recorded_window *window = &statistics.windows[(statistics.n_windows - 1) % WINDOWS];
    window->end = ticks;
    statistics.window_ns += window->weight * (double)cpu_ns;
    statistics.window_weight /= WINDOW_DECAY;
    if (statistics.window_weight > MAX_WEIGHT)
        renormalize_windows();
}

/* ---- stacks ---- */

/* Returns the stack of a thread, an empty one at first; NULL when out of memory. */
static struct stream_stack *find_stream(uint32_t thread)
{
    struct stream_stack *stream = pnr_table_find(&statistics.streams, thread);
    if (!stream && statistics.streams.n >= MAX_STREAMS) {
        while ((stream = pnr_table_next(&statistics.streams, stream)))
            free(stream->frames);
        pnr_table_clear(&statistics.streams);
    }
    return stream ? stream : pnr_table_add(&statistics.streams, thread);
}

static void forget_stream(struct stream_stack *stream)
{
    free(stream->frames);
    pnr_table_remove(&statistics.streams, stream);
}

static void enter_frame(struct stream_stack *stream, uint32_t function, uint64_t ticks)
{
    if (stream->n_deeper || stream->depth == MAX_DEPTH ||
        pnr_array_reserve(&stream->frames, &stream->capacity, (size_t)stream->depth + 1) < 0)
        stream->n_deeper++;
    else
        stream->frames[stream->depth++] = (struct timed_frame){ ticks, function, stream->n_events };
}

/* Finds the function's innermost frame. Those inside of it were left without an exit. Returns false when there is no
 * such frame near the innermost end: it was never entered in the records. */
static bool leave_to(struct stream_stack *stream, uint32_t function)
{
    for (uint32_t depth = stream->depth; depth && stream->depth - depth < MAX_SEARCH; depth--) {
        if (stream->frames[depth - 1].function == function) {
            stream->depth = depth;
            return true;
        }
    }
    return false;
}

static void leave_frame(struct stream_stack *stream, uint32_t function, uint64_t ticks,
                         struct rec_function_calls *calls, const struct block_reading *reading)
{
    if (stream->n_deeper) {
        stream->n_deeper--;
        return;
    }
    if (!leave_to(stream, function))
        return;
    const struct timed_frame *frame = &stream->frames[--stream->depth];
    if (!frame->begin_ticks || !calls)
        return;
    double ns = (double)(ticks - frame->begin_ticks) * statistics.ns_per_tick -
                (double)(uint32_t)(stream->n_events - frame->n_events) * reading->event_ns;
    calls->n_timed += (float)statistics.weight;
    calls->time_ns += (float)((ns < 0 ? 0 : ns > REC_STATISTICS_MAX_NS ? REC_STATISTICS_MAX_NS : ns) *
                              statistics.weight);
}

static void pop_several(struct stream_stack *stream, uint32_t n)
{
    uint32_t deeper = n < stream->n_deeper ? n : stream->n_deeper;
    stream->n_deeper -= deeper;
    n -= deeper;
    stream->depth -= n < stream->depth ? n : stream->depth;
}

/* Makes the stack what OPEN records list. Frames that were there before keep their begin; where is_kept is false, or a
 * frame was not there, the begin is not known. is_inner: the list has only the innermost frames. */
static void list_stack(struct stream_stack *stream, const struct pnr_record *records, uint32_t n, bool is_kept,
                       bool is_inner)
{
    uint32_t before = stream->depth, depth = is_inner && before > n ? before - n : 0;
    stream->depth = depth;
    stream->n_deeper = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t function = pnr_record_function(records[i]);
        if (pnr_record_frame(records[i]) == PNR_OPEN_C_CALL)
            continue;
        if (is_kept && stream->depth < before && stream->frames[stream->depth].function == function) {
            stream->depth++;
        } else {
            is_kept = false;
            enter_frame(stream, function, 0);
        }
    }
}

/* Adds frames whose begin is not known. */
static void add_to_stack(struct stream_stack *stream, const struct pnr_record *records, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        enter_frame(stream, pnr_record_function(records[i]), 0);
}

/* ---- blocks ---- */

/* Sets which window records at these ticks are in, if any, and the boundary after them. */
static void cross_boundary(struct block_reading *reading, uint64_t ticks)
{
    reading->window_weight = 0;
    reading->in_window = 0;
    reading->boundary = UINT64_MAX;
    for (; reading->window < statistics.n_windows; reading->window++) {
        const struct recorded_window *window = &statistics.windows[reading->window % WINDOWS];
        if (ticks >= window->end)
            continue;
        if (ticks >= window->begin) {
            reading->window_weight = (float)window->weight;
            reading->in_window = reading->window + 1;
        }
        reading->boundary = ticks >= window->begin ? window->end : window->begin;
        return;
    }
}

/* Takes the list of OPEN records after a SWITCH. Returns how many there are. */
static uint32_t switch_track(struct stream_stack *stream, const struct pnr_record *records, uint32_t n)
{
    uint32_t track = pnr_record_function(*records), n_open = 0;
    uint64_t how = pnr_record_frame(*records);
    while (1 + n_open < n && pnr_record_kind(records[1 + n_open]) == PNR_OPEN)
        n_open++;
    if (track != stream->track)         /* of a track that does not run nothing is kept: its frames are not timed */
        stream->depth = stream->n_deeper = 0;
    if (how & PNR_SWITCH_OPEN)
        list_stack(stream, records + 1, n_open, track == stream->track, how & PNR_SWITCH_DEEPER);
    else if (how & PNR_SWITCH_ADDED)
        add_to_stack(stream, records + 1, n_open);
    stream->track = track;
    return n_open;
}

/* Learns from an event of a function, or of a C function that it called. calls: what is known of it; or NULL. The time
 * of an event without a reading is not known: no interval begins or ends there. */
static void learn_cost(struct stream_stack *stream, struct pnr_record record, const struct rec_function_calls *calls,
                       bool is_c_call, uint64_t ticks, const struct block_reading *reading)
{
    uint32_t kind = pnr_record_kind(record);
    if (!statistics.n_windows)
        return;                         /* there is nothing to compare with yet */
    bool is_visible = calls && !calls->is_muted && !(is_c_call && calls->are_c_calls_muted);
    if (is_visible && reading->is_sparse && ticks == reading->before)
        rec_cost_learning_break(&stream->interval);
    else if (is_visible)
        rec_cost_learning_visible(&stream->interval, (kind + 1) << 24 ^ pnr_record_function(record), ticks,
                                  reading->in_window);
    else
        rec_cost_learning_hidden(&stream->interval);
}

/* Reads the record at i, with the OPEN records that follow it. Returns how many those are. */
static uint32_t read_event(struct stream_stack *stream, const struct pnr_record *records, uint32_t i, uint32_t n,
                           struct block_reading *reading)
{
    struct pnr_record r = records[i];
    struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(r));
    uint64_t ticks = reading->begin + pnr_record_ticks(r);
    uint32_t function = pnr_record_function(r);
    if (ticks >= reading->boundary)
        cross_boundary(reading, ticks);
    stream->n_events++;
    if (of.subject == PNR_SUBJECT_C) {
        if (stream->depth) {
            struct rec_function_calls *calls = count_event(stream->frames[stream->depth - 1].function, true, reading);
            if (calls && of.effect == PNR_EFFECT_ENTER)
                calls->n_c_calls += reading->n_each;
            learn_cost(stream, r, calls, true, ticks, reading);
        }
    } else if (of.effect == PNR_EFFECT_ENTER && of.subject == PNR_SUBJECT_PYTHON) {
        struct rec_function_calls *calls = count_event(function, false, reading);
        if (calls)
            calls->n_calls += reading->n_each;
        enter_frame(stream, function, ticks);
        learn_cost(stream, r, calls, false, ticks, reading);
    } else if (of.effect == PNR_EFFECT_LEAVE && of.subject == PNR_SUBJECT_PYTHON) {
        struct rec_function_calls *calls = count_event(function, false, reading);
        leave_frame(stream, function, ticks, calls, reading);
        learn_cost(stream, r, calls, false, ticks, reading);
    } else if (pnr_record_kind(r) == PNR_CREATE) {
        count_event(function, false, reading);
    } else if (pnr_record_kind(r) == PNR_ARGUMENTS || pnr_record_kind(r) == PNR_RESULT || pnr_record_kind(r) == PNR_TASK) {
        for (uint32_t k = 0; k <= pnr_values_records(pnr_values_size(pnr_record_frame(r))); k++)
            count_event(function, false, reading);      /* each DATA record costs as much as an event */
    } else if (of.effect == PNR_EFFECT_LEAVE_SEVERAL) {
        pop_several(stream, function);
    } else if (of.effect == PNR_EFFECT_CHANGE) {
        rec_cost_learning_break(&stream->interval);
        return switch_track(stream, records + i, n - i);
    }
    return 0;
}

static uint32_t count_unread(const struct pnr_record *records, uint32_t n)
{
    uint32_t n_events = 0;
    for (uint32_t i = 0; i < n; i++)
        n_events += pnr_record_kind(records[i]) != PNR_OPEN;
    return n_events;
}

uint32_t rec_statistics_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n,
                             double event_ns)
{
    struct block_reading reading = { .begin = header->begin.ticks, .before = header->begin.ticks, .n_each = 1,
                                     .event_ns = event_ns,
                                     .is_sparse = header->flags & PNR_BLOCK_SPARSE,
                                     .window = statistics.n_windows > WINDOWS ? statistics.n_windows - WINDOWS : 0 };
    struct stream_stack *stream = find_stream(header->thread);
    if (!stream)
        return 0;
    bool is_kept = !stream->is_behind && header->sequence == stream->next_sequence && header->track == stream->track &&
                   !(header->flags & (PNR_BLOCK_RESYNC | PNR_BLOCK_PAUSED));
    uint32_t n_before = stream->n_events;
    if (!is_kept)
        rec_cost_learning_break(&stream->interval);
    if (stream->is_behind)
        stream->depth = stream->n_deeper = 0;
    list_stack(stream, records, header->n_open, is_kept, header->flags & PNR_BLOCK_DEEPER);
    stream->track = header->track;
    uint32_t i = header->n_open, n_parts = (n - i) / READ_RECORDS;
    cross_boundary(&reading, reading.begin);
    if (n_parts > 1 && !reading.in_window && reading.boundary > reading.begin + pnr_record_ticks(records[n - 1]))
        reading.n_each = n_parts;
    uint32_t end = i + (n - i) / reading.n_each;
    while (i < end) {
        uint32_t n_open = read_event(stream, records, i, n, &reading);
        reading.before = reading.begin + pnr_record_ticks(records[i]);
        i += 1 + n_open;
        if (i % YIELD_RECORDS == 0)
            sched_yield();
    }
    stream->is_behind = i < n;
    stream->n_events += i < n ? count_unread(records + i, n - i) : 0;
    stream->next_sequence = header->sequence + 1;
    uint32_t n_events = stream->n_events - n_before;
    if (header->flags & PNR_BLOCK_LAST)
        forget_stream(stream);
    return n_events;
}

/* ---- start and stop ---- */

void rec_statistics_start(void)
{
    memset(&statistics, 0, sizeof statistics);
    statistics.streams.slot_size = sizeof(struct stream_stack);
    statistics.weight = statistics.growth = statistics.window_weight = 1;
    statistics.ns_per_tick = 1e9 / (double)rec_clock_rate();
    rec_cost_learning_start();
}

void rec_statistics_stop(void)
{
    for (struct stream_stack *stream = NULL; (stream = pnr_table_next(&statistics.streams, stream));)
        free(stream->frames);
    pnr_table_clear(&statistics.streams);
    free(statistics.functions);
    free(statistics.active);
    memset(&statistics, 0, sizeof statistics);
}
