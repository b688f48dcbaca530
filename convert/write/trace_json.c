/* Keeps the text that slices have in common. All slices of a function begin with the same text up to the time (the
 * head); its part up to the category is the name. They end with the same number of the source (the tail). All slices of
 * a thread have its ids. The sources themselves come last in the file, as Catapult's stack frames: repeated in each
 * slice they took a third of it.
 *
 *     ,\n{"name":"app.main","cat":"python","ph":"X","ts":     head of function 1; up to `"app.main"` it is the name
 *     1.000,"dur":2.500                                       numbers
 *     ,"pid":7,"tid":70                                       thread
 *     ,"sf":1}                                                tail of function 1 */
#include "trace_json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "convert/slices/subjects.h"
#include "format/array.h"
#include "json_values.h"
#include "text.h"

/* More than the fixed parts of any event take. */
#define EVENT_SIZE 512

#define PIECE (64 << 10)

/* More than an event takes without what is prepared. */
#define NUMBERS_SIZE 224

struct trace_json {
    struct trace trace;                 /* first: a trace is one of these */
    uint32_t pid;                       /* of the present process */
    uint64_t n_functions;               /* of the present process */
    uint64_t n_before;                  /* functions of the processes before it */
    char *sources;                      /* text of the stack frames of all processes; owned */
    size_t sources_size, sources_capacity;
};

/* ---- bytes ---- */

static char *put_bytes(char *to, const char *bytes, size_t size)
{
    memcpy(to, bytes, size);
    return to + size;
}

/* For string literals. */
#define PUT(to, literal) put_bytes(to, literal, sizeof literal - 1)

static char *put_text(char *to, const char *text)
{
    return put_bytes(to, text, strlen(text));
}

/* Copies in steps of a constant size, so up to TRACE_STEP bytes more: that is faster than copying the exact number. */
static inline char *put_json_prepared(char *to, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += TRACE_STEP)
        memcpy(to + i, bytes + i, TRACE_STEP);
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

/* Puts up to three digits. */
static inline char *put_first_group(char *to, uint64_t number)
{
    unsigned zeros = (number < 100) + (number < 10);
    uint32_t digits;
    memcpy(&digits, groups[number], sizeof digits);
    digits >>= 8 * zeros;               /* little-endian, as format/record.h sees to */
    memcpy(to, &digits, sizeof digits);
    return to + 3 - zeros;
}

static char *put_long_decimal(char *to, uint64_t number)
{
    uint16_t lower[6];
    int n = 0;
    for (; number >= 1000; number /= 1000)
        lower[n++] = (uint16_t)(number % 1000);
    to = put_first_group(to, number);
    while (n > 0)
        to = put_group(to, lower[--n]);
    return to;
}

static inline char *put_decimal(char *to, uint64_t number)
{
    return number < 1000 ? put_first_group(to, number) : put_long_decimal(to, number);
}

/* Puts nanoseconds as microseconds with three decimals. */
static inline char *put_time(char *to, uint64_t ns)
{
    to = put_decimal(to, ns / 1000);
    *to++ = '.';
    return put_group(to, ns % 1000);
}

/* The first digits of a time, those of the milliseconds, which many times in a row have in common. */
struct time_prefix {
    uint64_t ns;
    char bytes[16];
    uint32_t size;                      /* 0 = not yet */
};

#define MS_NS 1000000

/* Puts a time, like put_time(); faster if its milliseconds are those of the time before. */
static inline char *put_near_time(char *to, uint64_t ns, struct time_prefix *time_prefix)
{
    uint32_t rest = (uint32_t)(ns - time_prefix->ns);
    if (ns - time_prefix->ns >= MS_NS || time_prefix->size == 0) {
        if (ns < MS_NS)
            return put_time(to, ns);
        rest = ns % MS_NS;
        time_prefix->ns = ns - rest;
        time_prefix->size = (uint32_t)(put_decimal(time_prefix->bytes, ns / MS_NS) - time_prefix->bytes);
    }
    memcpy(to, time_prefix->bytes, sizeof time_prefix->bytes);
    to = put_group(to + time_prefix->size, rest / 1000);
    *to++ = '.';
    return put_group(to, rest % 1000);
}

/* ---- strings ---- */

/* Returns the most bytes that text_put_json can make of it. */
static size_t escaped_size(struct pnr_string string)
{
    return (size_t)string.size * 6;
}

/* ---- a batch becomes text ---- */

static const struct { uint32_t flag; const char *text; } flag_texts[] = {
    { SLICE_EXCEPTION, ",\"exception\":true" },
    { SLICE_UNFINISHED, ",\"unfinished\":true" },
    { SLICE_BEGIN_UNKNOWN, ",\"begin_unknown\":true" },
    { SLICE_EXIT_MISSING, ",\"exit_missing\":true" },
    { SLICE_CUT, ",\"cut\":true" },
    { SLICE_NOTICED_LATE, ",\"noticed_late\":true" },
    { SLICE_FLOW_INCOMPLETE, ",\"flow_incomplete\":true" },
    { SLICE_INEXACT, ",\"inexact\":true" },
};

#define ARGS ",\"args\":{"

/* Puts the flags as the last args, and the end of the event. */
static char *put_json_flags(char *to, uint32_t flags, bool is_first)
{
    for (size_t i = 0; i < sizeof flag_texts / sizeof *flag_texts; i++) {
        if (flags & flag_texts[i].flag) {
            to = put_text(to, flag_texts[i].text + is_first);
            is_first = false;
        }
    }
    return PUT(to, "}}");
}

static inline char *put_json_thread(char *to, const struct trace_thread *thread)
{
    memcpy(to, thread->bytes, sizeof thread->bytes);
    return to + thread->size;
}

#define SLICE_TIME "X\",\"ts\":"        /* how the head of a slice ends */
#define SLICE_END "}"                  /* how its tail does */

static inline char *put_json_slice(char *to, const struct trace_batch *batch, const struct trace_event *event,
                                   struct time_prefix *time_prefix)
{
    const struct trace_function *function = event->function;
    to = put_json_prepared(to, function->bytes, function->head_size);
    to = put_near_time(to, event->ns, time_prefix);
    to = PUT(to, ",\"dur\":");
    to = put_time(to, event->number);
    to = put_json_thread(to, &batch->threads[event->thread]);
    to = put_json_prepared(to, function->bytes + function->head_size, function->tail_size);
    return event->detail ? put_json_flags(PUT(to - strlen(SLICE_END), ARGS), event->detail, true) : to;
}

static char *put_json_flow_event(char *to, const struct trace_batch *batch, const struct trace_event *event)
{
    const struct trace_function *function = event->function;
    if (event->detail < TRACE_DETAIL)
        to = put_json_prepared(to, function->bytes, function->head_size) - strlen(SLICE_TIME);
    else if (event->detail / TRACE_DETAIL == FLOW_OF_CREATION)
        to = PUT(put_json_prepared(to, function->bytes, function->name_size), ",\"cat\":\"creation\",\"ph\":\"");
    else
        to = PUT(put_json_prepared(to, function->bytes, function->name_size), ",\"cat\":\"work\",\"ph\":\"");
    *to++ = "stf"[event->detail % TRACE_DETAIL];
    to = PUT(to, "\",\"bp\":\"e\",\"id\":");
    to = put_decimal(to, event->number);
    to = PUT(to, ",\"ts\":");
    to = put_time(to, event->ns);
    to = put_json_thread(to, &batch->threads[event->thread]);
    return PUT(to, "}");
}

/* Puts the begin of a task event. A task is an async event with begin and end; each time it runs is one nested in that. */
static char *put_json_task_head(char *to, const struct trace_function *function, struct pnr_string name,
                                enum task_phase phase, uint64_t task, uint64_t ns, const struct trace_thread *thread)
{
    if (name.size)
        to = PUT(text_put_json(PUT(to, ",\n{\"name\":\""), name), "\"");
    else if (phase == TASK_BEGIN || phase == TASK_END)
        to = put_json_prepared(to, function->bytes, function->name_size);
    else
        to = PUT(to, ",\n{\"name\":\"[running]\"");
    to = PUT(to, ",\"cat\":\"task\",\"ph\":\"");
    *to++ = phase == TASK_BEGIN || phase == TASK_RESUME ? 'b' : 'e';
    to = PUT(to, "\",\"id\":");
    to = put_decimal(to, task);
    to = PUT(to, ",\"ts\":");
    return put_json_thread(put_time(to, ns), thread);
}

/* Puts a task event that is no begin. */
static char *put_json_task(char *to, const struct trace_batch *batch, const struct trace_event *event)
{
    to = put_json_task_head(to, event->function, (struct pnr_string){ NULL, 0 }, event->detail % TRACE_DETAIL, event->number, event->ns,
                            &batch->threads[event->thread]);
    if (event->detail < TRACE_DETAIL)
        return PUT(to, "}");
    return put_json_flags(PUT(to, ARGS), event->detail / TRACE_DETAIL, true);
}

static char *render_json(const struct trace_batch *batch, char *to)
{
    struct time_prefix time_prefix = { .size = 0 };
    for (const struct trace_event *event = batch->events, *end = event + batch->n; event < end; event++) {
        if (event->kind == TRACE_SLICE)
            to = put_json_slice(to, batch, event, &time_prefix);
        else if (event->kind == TRACE_FLOW)
            to = put_json_flow_event(to, batch, event);
        else if (event->kind == TRACE_TASK)
            to = put_json_task(to, batch, event);
        else
            to = put_bytes(to, batch->ready + event->ns, event->number);
    }
    return to;
}

/* ---- events ---- */

/* Begins an event with strings of strings_size bytes at most. Returns NULL when the trace is broken. */
static char *begin_json_event(struct trace *trace, size_t strings_size)
{
    char *to = trace_begin_bytes(trace, EVENT_SIZE + strings_size);
    if (to)
        to = trace->n_events++ ? PUT(to, ",\n") : PUT(to, "\n");
    return to;
}

/* Adds the function's source to the stack frames. Returns its number there; 0 when out of memory. */
static uint64_t add_source(struct trace_json *json, uint32_t index, const struct symbol *symbol)
{
    uint64_t number = json->n_before + index;
    size_t max_size = EVENT_SIZE + escaped_size(symbol->file);
    if (pnr_array_reserve(&json->sources, &json->sources_capacity, json->sources_size + max_size) < 0)
        return 0;
    char *to = json->sources + json->sources_size;
    to = json->sources_size ? PUT(to, ",\n\"") : PUT(to, "\n\"");
    to = put_decimal(to, number);
    to = PUT(to, "\":{\"name\":\"");
    to = text_put_json(to, symbol->file);
    *to++ = ':';
    to = put_decimal(to, symbol->line);
    to = PUT(to, "\"}");
    json->sources_size = (size_t)(to - json->sources);
    return number;
}

static int prepare_json_function(struct trace *trace, uint32_t index, const struct symbol *symbol,
                                 struct trace_function *function)
{
    uint64_t source = 0;                /* a C function has none */
    if (symbol->file.size && !(source = add_source((struct trace_json *)trace, index, symbol)))
        return -1;
    char *bytes = malloc(EVENT_SIZE + escaped_size(symbol->module) + escaped_size(symbol->name));
    if (!bytes)
        return -1;
    char *to = PUT(bytes, ",\n{\"name\":\"");
    to = text_put_json(to, symbol->module);
    if (symbol->module.size && symbol->name.size)
        *to++ = '.';
    to = text_put_json(to, symbol->name);
    *to++ = '"';
    function->name_size = (uint32_t)(to - bytes);
    to = PUT(to, ",\"cat\":\"");
    to = put_text(to, symbol_category(symbol));
    to = PUT(to, "\",\"ph\":\"" SLICE_TIME);
    function->head_size = (uint32_t)(to - bytes);
    if (source) {
        to = PUT(to, ",\"sf\":");
        to = put_decimal(to, source);
    }
    to = PUT(to, SLICE_END);
    function->tail_size = (uint32_t)(to - bytes) - function->head_size;
    char *fitting = realloc(bytes, (size_t)(to - bytes) + TRACE_STEP);
    function->bytes = fitting ? fitting : bytes;
    return 0;
}

/* A slice without a function of the name table. */
static void unnamed_json_slice(struct trace *trace, const struct slice *slice)
{
    const char *name = subject_name(slice->subject);
    char *to = begin_json_event(trace, slice->values ? json_values_size(trace->symbols, slice->values) : 0);
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"");
    if (name) {
        to = put_text(to, name);
        to = PUT(to, "\",\"cat\":\"panopticon");
    } else {
        to = PUT(to, "[unknown function ");
        to = put_decimal(to, slice->function);
        to = PUT(to, "]\",\"cat\":\"python");
    }
    to = PUT(to, "\",\"ph\":\"" SLICE_TIME);
    to = put_time(to, slice->begin_ns);
    to = PUT(to, ",\"dur\":");
    to = put_time(to, slice->end_ns - slice->begin_ns);
    to = put_json_thread(to, &trace->threads[slice->thread]);
    if (slice->values) {
        to = put_json_flags(json_values_put(PUT(to, ARGS), trace->symbols, slice->values, true, false), slice->flags, false);
    } else if (name) {
        to = PUT(to, ARGS "\"reason\":\"");
        to = put_text(to, subject_reason(slice->subject, slice->function));
        to = put_json_flags(PUT(to, "\""), slice->flags, false);
    } else if (slice->flags) {
        to = put_json_flags(PUT(to, ARGS), slice->flags, true);
    } else {
        to = PUT(to, SLICE_END);
    }
    trace_end_bytes(trace, to);
}

/* ---- what the program reports ---- */

static void json_remark(struct trace *trace, const struct sink_remark *remark, const struct trace_function *function)
{
    bool is_counter = remark->kind == PNR_COUNTER;
    char *to = trace_begin_bytes(trace, NUMBERS_SIZE + function->head_size +
                                            json_values_size(trace->symbols, remark->values));
    if (!to)
        return;
    trace->n_events++;
    to = put_bytes(to, function->bytes, function->head_size - strlen(SLICE_TIME));
    to = is_counter ? PUT(to, "C\",\"ts\":") : PUT(to, "i\",\"s\":\"t\",\"ts\":");
    to = put_json_thread(put_time(to, remark->ns), &trace->threads[remark->thread]);
    char *args = PUT(to, ARGS), *end = json_values_put(args, trace->symbols, remark->values, true, is_counter);
    trace_end_bytes(trace, end == args && !is_counter ? PUT(to, "}") : PUT(end, "}}"));
}

static void detailed_json_slice(struct trace *trace, const struct slice *slice, const struct trace_function *function,
                                struct pnr_string hides)
{
    static const struct pnr_values no_values;
    const struct pnr_values *values = slice->values ? slice->values : &no_values;
    char *to = trace_begin_bytes(trace, NUMBERS_SIZE + function->head_size + function->tail_size +
                                            escaped_size(hides) + json_values_size(trace->symbols, values));
    if (!to)
        return;
    trace->n_events++;
    to = put_bytes(to, function->bytes, function->head_size);
    to = put_time(to, slice->begin_ns);
    to = PUT(to, ",\"dur\":");
    to = put_time(to, slice->end_ns - slice->begin_ns);
    to = put_json_thread(to, &trace->threads[slice->thread]);
    to = put_bytes(to, function->bytes + function->head_size, function->tail_size - strlen(SLICE_END));
    char *args = to = PUT(to, ARGS);
    if (hides.size)
        to = PUT(text_put_json(PUT(to, "\"hides\":\""), hides), "\"");
    to = json_values_put(to, trace->symbols, values, to == args, false);
    trace_end_bytes(trace, slice->flags ? put_json_flags(to, slice->flags, to == args) : PUT(to, "}}"));
}

static void detailed_json_task(struct trace *trace, const struct task_event *event, const struct trace_function *function,
                               struct pnr_string name, const struct pnr_values *values)
{
    char *to = trace_begin_bytes(trace, NUMBERS_SIZE + function->head_size + function->tail_size + escaped_size(name) +
                                            json_values_size(trace->symbols, values));
    if (!to)
        return;
    trace->n_events++;
    to = put_json_task_head(to, function, name, event->phase, event->task, event->ns, &trace->threads[event->thread]);
    if (event->phase == TASK_BEGIN)
        to = put_bytes(to, function->bytes + function->head_size, function->tail_size - strlen(SLICE_END));
    if (values->size || event->flags) {
        to = json_values_put(PUT(to, ARGS), trace->symbols, values, true, false);
        to = put_json_flags(to, event->flags, !values->size);
    } else {
        to = PUT(to, "}");
    }
    trace_end_bytes(trace, to);
}

/* Puts the process of an event that belongs to no thread, and its time. */
static char *put_json_process(char *to, const struct trace *trace, uint64_t ns)
{
    to = PUT(to, ",\"ts\":");
    to = put_time(to, ns);
    return to + sprintf(to, ",\"pid\":%" PRIu32, ((const struct trace_json *)trace)->pid);
}

/* Each thread has a counter of its own for what was sampled of it, as its figures change at times of their own. */
static void put_json_sampled(struct trace *trace, const struct sink_recorder_event *event)
{
    char *to = begin_json_event(trace, escaped_size(event->thread_name));
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"");
    if (event->thread_name.size) {
        to = text_put_json(to, event->thread_name);
        to += sprintf(to, " %" PRIu32 ": ", event->tid);
    }
    to = PUT(put_text(to, sink_counter_name(event->kind)), "\",\"cat\":\"");
    to = PUT(put_text(to, event->kind == SINK_LAG ? "lag" : "sample"), "\",\"ph\":\"C\"");
    to = put_json_process(to, trace, event->ns);
    to += sprintf(to, ",\"args\":{\"value\":%.*f}}", event->kind == SINK_LAG ? 3 : event->thread_name.size ? 1 : 0, event->value);
    trace_end_bytes(trace, to);
}

/* Windows are async events, which viewers show in a row of their own; the others are counters. Viewers join async events
 * with one id, also of two processes. */
static void json_recorder_event(struct trace *trace, const struct sink_recorder_event *event)
{
    if (sink_counter_name(event->kind)) {
        put_json_sampled(trace, event);
        return;
    }
    char *to = begin_json_event(trace, 0);
    bool is_window = event->kind == SINK_WINDOW || event->kind == SINK_WINDOW_END;
    uint32_t pid = ((const struct trace_json *)trace)->pid;
    if (!to)
        return;
    if (is_window)
        to = PUT(to, "{\"name\":\"[all functions recorded]\",\"cat\":\"window\",\"ph\":\"");
    else if (event->kind == SINK_COST)
        to = PUT(to, "{\"name\":\"cost of recording, %\",\"ph\":\"C");
    else
        to = PUT(to, "{\"name\":\"functions muted\",\"ph\":\"C");
    if (is_window)
        *to++ = event->kind == SINK_WINDOW ? 'b' : 'e';
    to = put_json_process(PUT(to, "\""), trace, event->ns);
    if (is_window)
        to += sprintf(to, ",\"tid\":%" PRIu32 ",\"id\":%" PRIu32 "}", pid, pid);
    else if (event->kind == SINK_MUTED)
        to += sprintf(to, ",\"args\":{\"functions\":%.0f}}", event->value);
    else
        to += sprintf(to, ",\"args\":{\"cost\":%.3f,\"budget\":%.3f}}", event->value, event->budget);
    trace_end_bytes(trace, to);
}

static void json_instant(struct trace *trace, uint32_t thread, uint64_t ns, const char *text)
{
    struct pnr_string string = { text, (uint32_t)strlen(text) };
    char *to = begin_json_event(trace, escaped_size(string));
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"");
    to = text_put_json(to, string);
    to = PUT(to, "\",\"cat\":\"panopticon\",\"ph\":\"i\",\"s\":\"t\",\"ts\":");
    to = put_time(to, ns);
    to = put_json_thread(to, &trace->threads[thread]);
    trace_end_bytes(trace, PUT(to, "}"));
}

/* Puts the begin of a metadata event about a process or thread, up to its value. */
static char *put_metadata(char *to, const char *name, uint32_t pid, uint32_t tid, const char *key)
{
    return to + snprintf(to, EVENT_SIZE,
                         "{\"name\":\"%s\",\"cat\":\"__metadata\",\"ph\":\"M\",\"ts\":0,\"pid\":%" PRIu32
                         ",\"tid\":%" PRIu32 ",\"args\":{\"%s\":", name, pid, tid, key);
}

static void put_name_event(struct trace *trace, const char *name, uint32_t tid, struct pnr_string value)
{
    char *to = begin_json_event(trace, escaped_size(value));
    if (!to)
        return;
    to = put_metadata(to, name, ((struct trace_json *)trace)->pid, tid, "name");
    *to++ = '"';
    to = text_put_json(to, value);
    trace_end_bytes(trace, PUT(to, "\"}}"));
}

static void put_order_event(struct trace *trace, const char *name, uint32_t tid, uint32_t order)
{
    char *to = begin_json_event(trace, 0);
    if (!to)
        return;
    to = put_metadata(to, name, ((struct trace_json *)trace)->pid, tid, "sort_index");
    to = put_decimal(to, order);
    trace_end_bytes(trace, PUT(to, "}}"));
}

static void json_process(struct trace *trace, const struct sink_process *process)
{
    struct trace_json *json = (struct trace_json *)trace;
    json->pid = process->pid;
    json->n_before += json->n_functions;
    json->n_functions = process->symbols->n_functions;
    put_name_event(trace, "process_name", process->pid, process->name);
    put_order_event(trace, "process_sort_index", process->pid, process->order);
}

static void json_thread(struct trace *trace, const struct sink_thread *thread, struct trace_thread *prepared)
{
    prepared->size = (uint32_t)snprintf(prepared->bytes, sizeof prepared->bytes,
                                        ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32,
                                        ((struct trace_json *)trace)->pid, thread->tid);
    put_name_event(trace, "thread_name", thread->tid, thread->name);
    put_order_event(trace, "thread_sort_index", thread->tid, thread->order);
}

/* ---- the file ---- */

static void begin_json(struct trace *trace)
{
    char *to = trace_begin_bytes(trace, EVENT_SIZE);
    if (to)
        trace_end_bytes(trace, PUT(to, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":["));
}

static void put_json_about(struct trace *trace, const char *key, struct pnr_string value)
{
    char *to = value.size ? trace_begin_bytes(trace, EVENT_SIZE + escaped_size(value)) : NULL;
    if (!to)
        return;
    to = PUT(to, ",\"");
    to = put_text(to, key);
    to = PUT(to, "\":\"");
    to = text_put_json(to, value);
    trace_end_bytes(trace, PUT(to, "\""));
}

/* Adds the stack frames, in pieces, as they may be long. */
static void put_sources(struct trace *trace)
{
    const struct trace_json *json = (struct trace_json *)trace;
    for (size_t at = 0, n; at < json->sources_size; at += n) {
        n = json->sources_size - at < PIECE ? json->sources_size - at : PIECE;
        char *to = trace_begin_bytes(trace, n);
        if (to)
            trace_end_bytes(trace, put_bytes(to, json->sources + at, n));
    }
}

static void clear_json(struct trace *trace)
{
    free(((struct trace_json *)trace)->sources);
}

static void end_json(struct trace *trace)
{
    const struct trace_about *about = &trace->about;
    char start[64] = "";
    time_t seconds = (time_t)(about->start_realtime_ns / 1000000000);
    struct tm utc;
    if (about->start_realtime_ns && gmtime_r(&seconds, &utc)) {
        size_t size = strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%S", &utc);
        snprintf(start + size, sizeof start - size, ".%09uZ", (unsigned)(about->start_realtime_ns % 1000000000));
    }
    char *to = trace_begin_bytes(trace, EVENT_SIZE);
    if (to)
        trace_end_bytes(trace, PUT(to, "\n],\"stackFrames\":{"));
    put_sources(trace);
    to = trace_begin_bytes(trace, EVENT_SIZE);
    if (to) {
        to = PUT(to, "\n},\"otherData\":{\"converter\":\"panopticon-convert ");
        to = put_text(to, about->version);
        trace_end_bytes(trace, PUT(to, "\""));
    }
    put_json_about(trace, "command", about->command);
    put_json_about(trace, "python", about->python);
    put_json_about(trace, "recorder", about->recorder);
    put_json_about(trace, "start", (struct pnr_string){ start, (uint32_t)strlen(start) });
    to = trace_begin_bytes(trace, EVENT_SIZE);
    if (to)
        trace_end_bytes(trace, PUT(to, "}}\n"));
}

const struct trace_format trace_json = {
    .size = sizeof(struct trace_json),
    .event_size = NUMBERS_SIZE,
    .begin = begin_json,
    .end = end_json,
    .clear = clear_json,
    .process = json_process,
    .thread = json_thread,
    .unnamed_slice = unnamed_json_slice,
    .detailed_slice = detailed_json_slice,
    .remark = json_remark,
    .detailed_task = detailed_json_task,
    .recorder_event = json_recorder_event,
    .instant = json_instant,
    .prepare = prepare_json_function,
    .render = render_json,
};
