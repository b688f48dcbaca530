/* The calls of the sink only note events, 32 bytes each, in batches. A batch becomes text as a part of the output, by
 * any thread: what is the same in all slices of a function, and of a thread, has been prepared, so text is mostly
 * copied. Rare events are made to text at once.
 *
 * Everything that rendering a batch reads is complete before the batch is added, and is kept until the next process. */
#include "trace_json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/record.h"
#include "text.h"

/* A batch is full when it has as many events, or can become more text than that: both stay in a processor's cache. A
 * single event may be longer. */
#define BATCH_EVENTS 2048
#define BATCH_SIZE (512 << 10)

/* More than the fixed parts of any event take. */
#define EVENT_SIZE 512

/* More than a slice or a point takes beside what is prepared. */
#define NUMBERS_SIZE 224

/* put_prepared() moves so many bytes at a time, the last ones too many. */
#define STEP 32

/* What is the same in every slice of a function, prepared when it is first needed. */
struct text {
    char *bytes;                        /* owned; NULL = not yet */
    uint32_t head_size;                 /* up to the time */
    uint32_t tail_size;                 /* args and the end of the event */
    bool has_args;                      /* other members than marks */
};

struct thread {
    char bytes[48];                     /* ,"pid":1,"tid":2 */
    uint32_t size;
};

enum event_kind { EVENT_SLICE, EVENT_POINT, EVENT_TEXT };

struct event {
    uint64_t ns;                        /* TEXT: where it is in the batch's text */
    uint64_t number;                    /* SLICE: its length; POINT: its chain; TEXT: its size */
    const struct text *text;
    uint32_t thread;
    uint16_t kind;
    uint16_t detail;                    /* SLICE: marks; POINT: its phase */
};

struct batch {
    struct output_part part;            /* first: a part is a batch */
    const struct thread *threads;       /* borrowed */
    size_t n;
    size_t most;                        /* bytes that the events can become */
    char *ready;                        /* the text of some of them; owned */
    size_t ready_size, ready_capacity;
    struct event events[BATCH_EVENTS];
};

struct trace_json {
    struct sink sink;                   /* first: a sink is a trace */
    struct output *output;              /* borrowed */
    struct batch **batches;             /* owned, like the two tables */
    size_t n_batches;
    struct batch *batch;                /* the one that is being filled */
    size_t next;                        /* which will be filled after it */
    uint64_t n_bytes, n_events;
    bool is_out_of_memory;
    uint32_t pid;
    const struct symbols *symbols;      /* of the present process; borrowed */
    struct text *texts;                 /* by function index - 1 */
    uint32_t n_texts;
    struct thread *threads;
    uint32_t n_threads;
};

/* ---- bytes ---- */

static char *put(char *to, const char *bytes, size_t size)
{
    memcpy(to, bytes, size);
    return to + size;
}

/* For string literals. */
#define PUT(to, literal) put(to, literal, sizeof literal - 1)

static char *put_text(char *to, const char *text)
{
    return put(to, text, strlen(text));
}

/* Some bytes more are read and written than asked for, which is faster than to look how many they are. */
static inline char *put_prepared(char *to, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += STEP)
        memcpy(to + i, bytes + i, STEP);
    return to + size;
}

/* The digits of 000 to 999. */
#define ONES(h, t) { h, t, '0' }, { h, t, '1' }, { h, t, '2' }, { h, t, '3' }, { h, t, '4' }, \
                   { h, t, '5' }, { h, t, '6' }, { h, t, '7' }, { h, t, '8' }, { h, t, '9' }
#define TENS(h) ONES(h, '0'), ONES(h, '1'), ONES(h, '2'), ONES(h, '3'), ONES(h, '4'), \
                ONES(h, '5'), ONES(h, '6'), ONES(h, '7'), ONES(h, '8'), ONES(h, '9')
static const char groups[1000][4] = { TENS('0'), TENS('1'), TENS('2'), TENS('3'), TENS('4'),
                                      TENS('5'), TENS('6'), TENS('7'), TENS('8'), TENS('9') };

static inline char *put_group(char *to, uint64_t group)
{
    memcpy(to, groups[group], sizeof groups[group]);
    return to + 3;
}

/* Up to three digits. */
static inline char *put_first(char *to, uint64_t number)
{
    unsigned zeros = (number < 100) + (number < 10);
    uint32_t digits;
    memcpy(&digits, groups[number], sizeof digits);
    digits >>= 8 * zeros;               /* little-endian, as format/record.h sees to */
    memcpy(to, &digits, sizeof digits);
    return to + 3 - zeros;
}

static char *put_long(char *to, uint64_t number)
{
    uint16_t lower[6];
    int n = 0;
    for (; number >= 1000; number /= 1000)
        lower[n++] = (uint16_t)(number % 1000);
    to = put_first(to, number);
    while (n > 0)
        to = put_group(to, lower[--n]);
    return to;
}

static inline char *put_number(char *to, uint64_t number)
{
    return number < 1000 ? put_first(to, number) : put_long(to, number);
}

/* Nanoseconds as microseconds with three decimals. */
static inline char *put_time(char *to, uint64_t ns)
{
    to = put_number(to, ns / 1000);
    *to++ = '.';
    return put_group(to, ns % 1000);
}

/* The digits that many times in a row begin with: those of the milliseconds. */
struct beginning {
    uint64_t ns;
    char bytes[16];
    uint32_t size;                      /* 0 = not yet */
};

#define MS_NS 1000000

/* The same as put_time(). */
static inline char *put_near_time(char *to, uint64_t ns, struct beginning *beginning)
{
    uint32_t rest = (uint32_t)(ns - beginning->ns);
    if (ns - beginning->ns >= MS_NS || beginning->size == 0) {
        if (ns < MS_NS)
            return put_time(to, ns);
        rest = ns % MS_NS;
        beginning->ns = ns - rest;
        beginning->size = (uint32_t)(put_number(beginning->bytes, ns / MS_NS) - beginning->bytes);
    }
    memcpy(to, beginning->bytes, sizeof beginning->bytes);
    to = put_group(to + beginning->size, rest / 1000);
    *to++ = '.';
    return put_group(to, rest % 1000);
}

/* ---- strings ---- */

/* The most bytes that text_put_json can make of it. */
static size_t escaped_size(struct pnr_string string)
{
    return (size_t)string.size * 6;
}

/* ---- a batch becomes text ---- */

static const struct { uint32_t mark; const char *text; } mark_texts[] = {
    { SLICE_EXCEPTION, ",\"exception\":true" },
    { SLICE_UNFINISHED, ",\"unfinished\":true" },
    { SLICE_OPENED_BEFORE, ",\"opened_before\":true" },
    { SLICE_LEFT_UNSEEN, ",\"left_unseen\":true" },
    { SLICE_CUT, ",\"cut\":true" },
};

/* The last of args, and the end of the event. */
static char *put_marks(char *to, uint32_t marks, bool is_first)
{
    for (size_t i = 0; i < sizeof mark_texts / sizeof *mark_texts; i++) {
        if (marks & mark_texts[i].mark) {
            to = put_text(to, mark_texts[i].text + is_first);
            is_first = false;
        }
    }
    return PUT(to, "}}");
}

static inline char *put_thread(char *to, const struct thread *thread)
{
    memcpy(to, thread->bytes, sizeof thread->bytes);
    return to + thread->size;
}

#define SLICE_TIME "X\",\"ts\":"        /* how the head of a slice ends */
#define SLICE_END "}}"                  /* how its tail does */

static inline char *put_slice(char *to, const struct batch *batch, const struct event *event,
                              struct beginning *beginning)
{
    const struct text *text = event->text;
    to = put_prepared(to, text->bytes, text->head_size);
    to = put_near_time(to, event->ns, beginning);
    to = PUT(to, ",\"dur\":");
    to = put_time(to, event->number);
    to = put_thread(to, &batch->threads[event->thread]);
    to = put_prepared(to, text->bytes + text->head_size, text->tail_size);
    return event->detail ? put_marks(to - strlen(SLICE_END), event->detail, !text->has_args) : to;
}

static char *put_point(char *to, const struct batch *batch, const struct event *event)
{
    to = put_prepared(to, event->text->bytes, event->text->head_size) - strlen(SLICE_TIME);
    *to++ = "stf"[event->detail];
    to = PUT(to, "\",\"bp\":\"e\",\"id\":");
    to = put_number(to, event->number);
    to = PUT(to, ",\"ts\":");
    to = put_time(to, event->ns);
    to = put_thread(to, &batch->threads[event->thread]);
    return PUT(to, "}");
}

static int render(struct output_part *part)
{
    struct batch *batch = (struct batch *)part;
    struct beginning beginning = { .size = 0 };
    char *room = output_room(part, (batch->most > BATCH_SIZE ? batch->most : BATCH_SIZE) + STEP), *to = room;
    if (!room)
        return -1;
    for (const struct event *event = batch->events, *end = event + batch->n; event < end; event++) {
        if (event->kind == EVENT_SLICE)
            to = put_slice(to, batch, event, &beginning);
        else if (event->kind == EVENT_POINT)
            to = put_point(to, batch, event);
        else
            to = put(to, batch->ready + event->ns, event->number);
    }
    part->size = (size_t)(to - room);
    return 0;
}

/* ---- batches ---- */

/* What is prepared is missing from now on: nothing may be added any more. */
static void run_out_of_memory(struct trace_json *trace)
{
    trace->is_out_of_memory = trace->sink.is_broken = true;
}

/* Makes the batch, when its text has been written, empty. */
static void empty(struct trace_json *trace, struct batch *batch)
{
    output_wait(trace->output, &batch->part);
    trace->n_bytes += batch->part.size;
    batch->part.size = batch->n = batch->most = batch->ready_size = 0;
}

/* Gives the batch that was filled to the output, and goes on with another one. */
static void change_batch(struct trace_json *trace)
{
    output_add(trace->output, &trace->batch->part);
    trace->batch = trace->batches[trace->next];
    trace->next = (trace->next + 1) % trace->n_batches;
    empty(trace, trace->batch);
    trace->batch->threads = trace->threads;
    trace->sink.is_broken |= output_is_broken(trace->output);
}

/* All that was added is written. */
static void flush(struct trace_json *trace)
{
    change_batch(trace);
    for (size_t i = 0; i < trace->n_batches; i++)
        empty(trace, trace->batches[i]);
}

/* Adds an event that becomes at most so many bytes, and more than none. */
static inline struct event *add(struct trace_json *trace, size_t most)
{
    struct batch *batch = trace->batch;
    if (batch->n == BATCH_EVENTS || (batch->most + most > BATCH_SIZE && batch->n > 0)) {
        change_batch(trace);
        batch = trace->batch;
    }
    batch->most += most;
    return &batch->events[batch->n++];
}

/* Room for text that is at most so long; NULL when the trace is broken. */
static char *begin_text(struct trace_json *trace, size_t most)
{
    if (trace->sink.is_broken)
        return NULL;
    struct event *event = add(trace, most);
    struct batch *batch = trace->batch;
    *event = (struct event){ .ns = batch->ready_size, .kind = EVENT_TEXT };
    if (batch->ready_capacity - batch->ready_size < most) {
        size_t capacity = 2 * batch->ready_capacity + most;
        char *ready = realloc(batch->ready, capacity);
        if (!ready) {
            run_out_of_memory(trace);
            return NULL;
        }
        batch->ready = ready;
        batch->ready_capacity = capacity;
    }
    return batch->ready + batch->ready_size;
}

static void end_text(struct trace_json *trace, const char *end)
{
    struct batch *batch = trace->batch;
    struct event *event = &batch->events[batch->n - 1];
    event->number = (size_t)(end - batch->ready) - event->ns;
    batch->ready_size += event->number;
}

/* ---- events ---- */

/* The same for an event with strings of at most that size; and its first bytes. */
static char *begin_event(struct trace_json *trace, size_t strings_size)
{
    char *to = begin_text(trace, EVENT_SIZE + strings_size);
    if (to)
        to = trace->n_events++ ? PUT(to, ",\n") : PUT(to, "\n");
    return to;
}

/* The text of a function of the name table, or NULL when out of memory. */
static const struct text *prepare(struct text *text, const struct symbol *symbol)
{
    char *bytes = malloc(EVENT_SIZE + escaped_size(symbol->module) + escaped_size(symbol->name) +
                         escaped_size(symbol->file));
    if (!bytes)
        return NULL;
    char *to = PUT(bytes, ",\n{\"name\":\"");
    to = text_put_json(to, symbol->module);
    if (symbol->module.size && symbol->name.size)
        *to++ = '.';
    to = text_put_json(to, symbol->name);
    to = PUT(to, "\",\"cat\":\"");
    to = put_text(to, symbol_category(symbol));
    to = PUT(to, "\",\"ph\":\"" SLICE_TIME);
    text->head_size = (uint32_t)(to - bytes);
    to = PUT(to, ",\"args\":{");
    if (symbol->file.size) {            /* a C function has none */
        text->has_args = true;
        to = PUT(to, "\"src\":\"");
        to = text_put_json(to, symbol->file);
        *to++ = ':';
        to = put_number(to, symbol->line);
        *to++ = '"';
    }
    to = PUT(to, SLICE_END);
    text->tail_size = (uint32_t)(to - bytes) - text->head_size;
    char *fitting = realloc(bytes, (size_t)(to - bytes) + STEP);
    text->bytes = fitting ? fitting : bytes;
    return text;
}

/* NULL for a function that is not in the name table, or when the trace is broken. */
static inline const struct text *find_text(struct trace_json *trace, uint32_t function)
{
    struct text *text = function - 1 < trace->n_texts ? &trace->texts[function - 1] : NULL;
    if (!text || text->bytes)
        return text;
    const struct symbol *symbol = symbols_function(trace->symbols, function);
    if (symbol && !prepare(text, symbol))
        run_out_of_memory(trace);
    return text->bytes ? text : NULL;
}

/* A slice without a function of the name table. */
static void odd_slice(struct trace_json *trace, const struct slice *slice)
{
    char *to = begin_event(trace, 0);
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"");
    if (slice->is_gap) {
        to = PUT(to, "[not recorded]\",\"cat\":\"panopticon");
    } else {
        to = PUT(to, "[unknown function ");
        to = put_number(to, slice->function);
        to = PUT(to, "]\",\"cat\":\"python");
    }
    to = PUT(to, "\",\"ph\":\"" SLICE_TIME);
    to = put_time(to, slice->begin_ns);
    to = PUT(to, ",\"dur\":");
    to = put_time(to, slice->end_ns - slice->begin_ns);
    to = put_thread(to, &trace->threads[slice->thread]);
    to = PUT(to, ",\"args\":{");
    if (slice->is_gap) {
        to = PUT(to, "\"reason\":\"");
        to = put_text(to, slice->function == PNR_GAP_STACK ? "C stack guard" : "unknown");
        *to++ = '"';
    }
    end_text(trace, put_marks(to, slice->marks, !slice->is_gap));
}

static void slice_event(struct sink *sink, const struct slice *slice)
{
    struct trace_json *trace = (struct trace_json *)sink;
    const struct text *text = slice->is_gap ? NULL : find_text(trace, slice->function);
    if (!text) {
        odd_slice(trace, slice);
        return;
    }
    if (sink->is_broken)
        return;
    *add(trace, text->head_size + text->tail_size + NUMBERS_SIZE) = (struct event){
        .ns = slice->begin_ns,
        .number = slice->end_ns - slice->begin_ns,
        .text = text,
        .thread = slice->thread,
        .kind = EVENT_SLICE,
        .detail = (uint16_t)slice->marks,
    };
    trace->n_events++;
}

static void point_event(struct sink *sink, const struct point *point)
{
    struct trace_json *trace = (struct trace_json *)sink;
    const struct text *text = find_text(trace, point->function);
    if (!text || sink->is_broken)       /* flows.h: none of an unknown function */
        return;
    *add(trace, text->head_size + NUMBERS_SIZE) = (struct event){
        .ns = point->ns,
        .number = point->chain,
        .text = text,
        .thread = point->thread,
        .kind = EVENT_POINT,
        .detail = (uint16_t)point->phase,
    };
    trace->n_events++;
}

static void instant_event(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    struct trace_json *trace = (struct trace_json *)sink;
    struct pnr_string string = { text, (uint32_t)strlen(text) };
    char *to = begin_event(trace, escaped_size(string));
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"");
    to = text_put_json(to, string);
    to = PUT(to, "\",\"cat\":\"panopticon\",\"ph\":\"i\",\"s\":\"t\",\"ts\":");
    to = put_time(to, ns);
    to = put_thread(to, &trace->threads[thread]);
    end_text(trace, PUT(to, "}"));
}

/* The begin of a metadata event about a process or thread, up to its value. */
static char *put_metadata(char *to, const char *name, uint32_t pid, uint32_t tid, const char *key)
{
    return to + snprintf(to, EVENT_SIZE,
                         "{\"name\":\"%s\",\"cat\":\"__metadata\",\"ph\":\"M\",\"ts\":0,\"pid\":%" PRIu32
                         ",\"tid\":%" PRIu32 ",\"args\":{\"%s\":", name, pid, tid, key);
}

static void name_event(struct trace_json *trace, const char *name, uint32_t tid, struct pnr_string value)
{
    char *to = begin_event(trace, escaped_size(value));
    if (!to)
        return;
    to = put_metadata(to, name, trace->pid, tid, "name");
    *to++ = '"';
    to = text_put_json(to, value);
    end_text(trace, PUT(to, "\"}}"));
}

static void order_event(struct trace_json *trace, const char *name, uint32_t tid, uint32_t order)
{
    char *to = begin_event(trace, 0);
    if (!to)
        return;
    to = put_metadata(to, name, trace->pid, tid, "sort_index");
    to = put_number(to, order);
    end_text(trace, PUT(to, "}}"));
}

static void forget_process(struct trace_json *trace)
{
    for (uint32_t i = 0; i < trace->n_texts; i++)
        free(trace->texts[i].bytes);
    free(trace->texts);
    free(trace->threads);
    trace->texts = NULL;
    trace->threads = NULL;
    trace->n_texts = 0;
    trace->n_threads = 0;
    trace->symbols = NULL;
}

static void process_event(struct sink *sink, const struct sink_process *process)
{
    struct trace_json *trace = (struct trace_json *)sink;
    flush(trace);
    forget_process(trace);
    trace->pid = process->pid;
    trace->symbols = process->symbols;
    trace->texts = calloc(process->symbols->n_functions + 1, sizeof *trace->texts);
    if (trace->texts)
        trace->n_texts = process->symbols->n_functions;
    else
        run_out_of_memory(trace);
    name_event(trace, "process_name", process->pid, process->name);
    order_event(trace, "process_sort_index", process->pid, process->order);
}

static void thread_event(struct sink *sink, const struct sink_thread *thread)
{
    struct trace_json *trace = (struct trace_json *)sink;
    if (thread->thread >= trace->n_threads) {
        uint32_t n = (thread->thread + 16) * 2;
        flush(trace);                   /* batches that are not written yet have the old table */
        struct thread *threads = realloc(trace->threads, n * sizeof *threads);
        if (!threads) {
            run_out_of_memory(trace);
            return;
        }
        trace->threads = threads;
        trace->n_threads = n;
        trace->batch->threads = threads;
    }
    struct thread *own = &trace->threads[thread->thread];
    own->size = (uint32_t)snprintf(own->bytes, sizeof own->bytes, ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32,
                                   trace->pid, thread->tid);
    name_event(trace, "thread_name", thread->tid, thread->name);
    order_event(trace, "thread_sort_index", thread->tid, thread->order);
}

/* ---- the file ---- */

struct trace_json *trace_json_new(struct output *output, unsigned n_threads)
{
    struct trace_json *trace = calloc(1, sizeof *trace);
    size_t n_batches = n_threads > 1 ? 2 * n_threads + 2 : 1;
    if (!trace || !(trace->batches = calloc(n_batches, sizeof *trace->batches)))
        goto fail;
    for (; trace->n_batches < n_batches; trace->n_batches++) {
        struct batch *batch = calloc(1, sizeof *batch);
        if (!batch)
            goto fail;
        batch->part.make = render;
        trace->batches[trace->n_batches] = batch;
    }
    trace->sink = (struct sink){ .process = process_event, .thread = thread_event, .slice = slice_event,
                                 .instant = instant_event, .point = point_event };
    trace->output = output;
    trace->batch = trace->batches[0];
    trace->next = 1 % n_batches;
    char *to = begin_text(trace, EVENT_SIZE);
    if (!to)
        goto fail;
    end_text(trace, PUT(to, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":["));
    return trace;
fail:
    trace_json_free(trace);
    return NULL;
}

void trace_json_free(struct trace_json *trace)
{
    if (!trace)
        return;
    for (size_t i = 0; i < trace->n_batches; i++) {
        struct batch *batch = trace->batches[i];
        output_wait(trace->output, &batch->part);
        output_part_clear(&batch->part);
        free(batch->ready);
        free(batch);
    }
    forget_process(trace);
    free(trace->batches);
    free(trace);
}

struct sink *trace_json_sink(struct trace_json *trace)
{
    return &trace->sink;
}

uint64_t trace_json_bytes(const struct trace_json *trace)
{
    return trace->n_bytes;
}

uint64_t trace_json_events(const struct trace_json *trace)
{
    return trace->n_events;
}

static void put_about(struct trace_json *trace, const char *key, struct pnr_string value)
{
    char *to = value.size ? begin_text(trace, EVENT_SIZE + escaped_size(value)) : NULL;
    if (!to)
        return;
    to = PUT(to, ",\"");
    to = put_text(to, key);
    to = PUT(to, "\":\"");
    to = text_put_json(to, value);
    end_text(trace, PUT(to, "\""));
}

int trace_json_end(struct trace_json *trace, const struct trace_json_about *about, struct pnr_err *err)
{
    char start[64] = "";
    time_t seconds = (time_t)(about->start_realtime_ns / 1000000000);
    struct tm utc;
    if (about->start_realtime_ns && gmtime_r(&seconds, &utc)) {
        size_t size = strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%S", &utc);
        snprintf(start + size, sizeof start - size, ".%09uZ", (unsigned)(about->start_realtime_ns % 1000000000));
    }
    char *to = begin_text(trace, EVENT_SIZE);
    if (to) {
        to = PUT(to, "\n],\"otherData\":{\"converter\":\"panopticon-convert ");
        to = put_text(to, about->version);
        end_text(trace, PUT(to, "\""));
    }
    put_about(trace, "command", about->command);
    put_about(trace, "python", about->python);
    put_about(trace, "recorder", about->recorder);
    put_about(trace, "start", (struct pnr_string){ start, (uint32_t)strlen(start) });
    to = begin_text(trace, EVENT_SIZE);
    if (to)
        end_text(trace, PUT(to, "}}\n"));
    flush(trace);
    return trace->is_out_of_memory ? pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory") : 0;
}
