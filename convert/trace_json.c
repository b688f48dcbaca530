#include "trace_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "format/record.h"
#include "text.h"

#define BUFFER_SIZE (1 << 20)

/* More than the fixed parts of any event take. */
#define EVENT_SIZE 512

/* What is the same in every slice of a function, prepared when it is first needed. */
struct text {
    char *bytes;                        /* owned; NULL = not yet */
    uint32_t head_size;                 /* up to the time */
    uint32_t tail_size;                 /* args without its closing braces */
};

struct thread {
    char bytes[40];                     /* ,"pid":1,"tid":2 */
    uint32_t size;
};

struct trace_json {
    struct sink sink;                   /* first: a sink is a trace */
    int fd;
    char *buffer;                       /* owned, like the two tables */
    size_t used, capacity;
    uint64_t written;                   /* flushed bytes */
    uint64_t n_events;
    int sys_errno;                      /* of the first failure */
    uint32_t pid;
    const struct symbols *symbols;      /* of the present process; borrowed */
    struct text *texts;                 /* by function index - 1 */
    uint32_t n_texts;
    struct thread *threads;
    uint32_t n_threads;
};

/* ---- bytes ---- */

/* The first failure sticks. */
static void fail(struct trace_json *trace, int sys_errno)
{
    if (!trace->sink.is_broken)
        trace->sys_errno = sys_errno;
    trace->sink.is_broken = true;
}

static void flush(struct trace_json *trace)
{
    size_t at = 0;
    while (at < trace->used && !trace->sink.is_broken) {
        ssize_t n = write(trace->fd, trace->buffer + at, trace->used - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            fail(trace, n == 0 ? EIO : errno);
    }
    trace->written += trace->used;
    trace->used = 0;
}

/* Makes room for size bytes and gives the place; NULL when out of memory, which sticks. */
static char *reserve(struct trace_json *trace, size_t size)
{
    if (trace->capacity - trace->used < size) {
        flush(trace);
        if (trace->capacity < size) {
            char *grown = realloc(trace->buffer, size);
            if (!grown) {
                fail(trace, ENOMEM);
                return NULL;
            }
            trace->buffer = grown;
            trace->capacity = size;
        }
    }
    return trace->buffer + trace->used;
}

static void done(struct trace_json *trace, const char *end)
{
    trace->used = (size_t)(end - trace->buffer);
}

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

static const char digits[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static char *put_number(char *to, uint64_t number)
{
    char text[20];
    char *at = text + sizeof text;
    while (number >= 100) {
        at -= 2;
        memcpy(at, digits + number % 100 * 2, 2);
        number /= 100;
    }
    if (number >= 10) {
        at -= 2;
        memcpy(at, digits + number * 2, 2);
    } else {
        *--at = (char)('0' + number);
    }
    return put(to, at, (size_t)(text + sizeof text - at));
}

/* Nanoseconds as microseconds with three decimals. */
static char *put_time(char *to, uint64_t ns)
{
    uint32_t rest = (uint32_t)(ns % 1000);
    to = put_number(to, ns / 1000);
    *to++ = '.';
    *to++ = (char)('0' + rest / 100);
    return put(to, digits + rest % 100 * 2, 2);
}

/* ---- strings ---- */

/* The most bytes that text_put_json can make of it. */
static size_t escaped_size(struct pnr_string string)
{
    return (size_t)string.size * 6;
}

static char *put_name(char *to, const struct symbol *symbol, uint32_t function)
{
    if (!symbol) {
        to = PUT(to, "[unknown function ");
        to = put_number(to, function);
        *to++ = ']';
        return to;
    }
    to = text_put_json(to, symbol->module);
    if (symbol->module.size && symbol->name.size)
        *to++ = '.';
    return text_put_json(to, symbol->name);
}

/* ---- events ---- */

/* Room for an event with strings of at most that size; and its first bytes. NULL when the trace is broken: then the
 * tables of functions and threads may be missing too. */
static char *begin_event(struct trace_json *trace, size_t strings_size)
{
    char *to = trace->sink.is_broken ? NULL : reserve(trace, EVENT_SIZE + strings_size);
    if (to)
        to = trace->n_events++ ? PUT(to, ",\n") : PUT(to, "\n");
    return to;
}

static char *put_slice_head(char *to, const struct symbol *symbol, uint32_t function)
{
    to = PUT(to, "{\"name\":\"");
    to = put_name(to, symbol, function);
    to = PUT(to, "\",\"cat\":\"");
    to = put_text(to, symbol_category(symbol));
    return PUT(to, "\",\"ph\":\"X\",\"ts\":");
}

/* The text of a function of the name table, or NULL when out of memory. */
static const struct text *prepare(struct trace_json *trace, uint32_t function, const struct symbol *symbol)
{
    struct text *text = &trace->texts[function - 1];
    if (text->bytes)
        return text;
    char *bytes = malloc(EVENT_SIZE + escaped_size(symbol->module) + escaped_size(symbol->name) +
                         escaped_size(symbol->file));
    if (!bytes)
        return NULL;
    char *to = put_slice_head(bytes, symbol, function);
    text->head_size = (uint32_t)(to - bytes);
    to = PUT(to, ",\"args\":{");
    if (symbol->file.size) {            /* a C function has none */
        to = PUT(to, "\"src\":\"");
        to = text_put_json(to, symbol->file);
        *to++ = ':';
        to = put_number(to, symbol->line);
        *to++ = '"';
    }
    text->tail_size = (uint32_t)(to - bytes) - text->head_size;
    char *fitting = realloc(bytes, (size_t)(to - bytes));
    text->bytes = fitting ? fitting : bytes;
    return text;
}

static char *put_times(const struct trace_json *trace, char *to, const struct slice *slice)
{
    const struct thread *thread = &trace->threads[slice->thread];
    to = put_time(to, slice->begin_ns);
    to = PUT(to, ",\"dur\":");
    to = put_time(to, slice->end_ns - slice->begin_ns);
    return put(to, thread->bytes, thread->size);
}

static char *put_marks(char *to, uint32_t marks, bool is_first)
{
    static const struct { uint32_t mark; const char *text; } table[] = {
        { SLICE_EXCEPTION, ",\"exception\":true" },
        { SLICE_UNFINISHED, ",\"unfinished\":true" },
        { SLICE_OPENED_BEFORE, ",\"opened_before\":true" },
        { SLICE_LEFT_UNSEEN, ",\"left_unseen\":true" },
    };
    for (size_t i = 0; marks && i < sizeof table / sizeof *table; i++) {
        if (marks & table[i].mark) {
            to = put_text(to, table[i].text + is_first);
            is_first = false;
        }
    }
    return PUT(to, "}}");
}

static void put_gap(struct trace_json *trace, const struct slice *slice)
{
    char *to = begin_event(trace, 0);
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"[not recorded]\",\"cat\":\"panopticon\",\"ph\":\"X\",\"ts\":");
    to = put_times(trace, to, slice);
    to = PUT(to, ",\"args\":{\"reason\":\"");
    to = put_text(to, slice->function == PNR_GAP_STACK ? "C stack guard" : "unknown");
    to = PUT(to, "\"");
    done(trace, put_marks(to, slice->marks, false));
}

static void slice_event(struct sink *sink, const struct slice *slice)
{
    struct trace_json *trace = (struct trace_json *)sink;
    const struct symbol *symbol = symbols_function(trace->symbols, slice->function);
    if (slice->is_gap) {
        put_gap(trace, slice);
        return;
    }
    const struct text *text = symbol && !sink->is_broken ? prepare(trace, slice->function, symbol) : NULL;
    if (symbol && !text)
        fail(trace, ENOMEM);
    char *to = begin_event(trace, text ? text->head_size + text->tail_size : 0);
    if (!to)
        return;
    if (text)
        to = put(to, text->bytes, text->head_size);
    else
        to = put_slice_head(to, NULL, slice->function);
    to = put_times(trace, to, slice);
    if (text)
        to = put(to, text->bytes + text->head_size, text->tail_size);
    else
        to = PUT(to, ",\"args\":{");
    done(trace, put_marks(to, slice->marks, !text || !symbol->file.size));
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
    to = put(to, trace->threads[thread].bytes, trace->threads[thread].size);
    done(trace, PUT(to, "}"));
}

static void point_event(struct sink *sink, const struct point *point)
{
    struct trace_json *trace = (struct trace_json *)sink;
    const struct symbol *symbol = symbols_function(trace->symbols, point->function);
    char *to = begin_event(trace, symbol ? escaped_size(symbol->module) + escaped_size(symbol->name) : 0);
    if (!to)
        return;
    to = PUT(to, "{\"name\":\"");
    to = put_name(to, symbol, point->function);
    to = PUT(to, "\",\"cat\":\"");
    to = put_text(to, symbol_category(symbol));
    to = PUT(to, "\",\"ph\":\"");
    *to++ = "stf"[point->phase];
    to = PUT(to, "\",\"bp\":\"e\",\"id\":");
    to = put_number(to, point->chain);
    to = PUT(to, ",\"ts\":");
    to = put_time(to, point->ns);
    to = put(to, trace->threads[point->thread].bytes, trace->threads[point->thread].size);
    done(trace, PUT(to, "}"));
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
    done(trace, PUT(to, "\"}}"));
}

static void order_event(struct trace_json *trace, const char *name, uint32_t tid, uint32_t order)
{
    char *to = begin_event(trace, 0);
    if (!to)
        return;
    to = put_metadata(to, name, trace->pid, tid, "sort_index");
    to = put_number(to, order);
    done(trace, PUT(to, "}}"));
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
    forget_process(trace);
    trace->pid = process->pid;
    trace->symbols = process->symbols;
    trace->texts = calloc(process->symbols->n_functions + 1, sizeof *trace->texts);
    if (trace->texts)
        trace->n_texts = process->symbols->n_functions;
    else
        fail(trace, ENOMEM);
    name_event(trace, "process_name", process->pid, process->name);
    order_event(trace, "process_sort_index", process->pid, process->order);
}

static void thread_event(struct sink *sink, const struct sink_thread *thread)
{
    struct trace_json *trace = (struct trace_json *)sink;
    if (thread->thread >= trace->n_threads) {
        uint32_t n = (thread->thread + 16) * 2;
        struct thread *threads = realloc(trace->threads, n * sizeof *threads);
        if (!threads) {
            fail(trace, ENOMEM);
            return;
        }
        trace->threads = threads;
        trace->n_threads = n;
    }
    struct thread *own = &trace->threads[thread->thread];
    own->size = (uint32_t)snprintf(own->bytes, sizeof own->bytes, ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32,
                                   trace->pid, thread->tid);
    name_event(trace, "thread_name", thread->tid, thread->name);
    order_event(trace, "thread_sort_index", thread->tid, thread->order);
}

/* ---- the file ---- */

struct trace_json *trace_json_new(int fd)
{
    struct trace_json *trace = calloc(1, sizeof *trace);
    if (!trace || !(trace->buffer = malloc(BUFFER_SIZE))) {
        free(trace);
        return NULL;
    }
    trace->sink = (struct sink){ .process = process_event, .thread = thread_event, .slice = slice_event,
                                 .instant = instant_event, .point = point_event };
    trace->fd = fd;
    trace->capacity = BUFFER_SIZE;
    done(trace, PUT(trace->buffer, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":["));
    return trace;
}

void trace_json_free(struct trace_json *trace)
{
    if (!trace)
        return;
    forget_process(trace);
    free(trace->buffer);
    free(trace);
}

struct sink *trace_json_sink(struct trace_json *trace)
{
    return &trace->sink;
}

uint64_t trace_json_bytes(const struct trace_json *trace)
{
    return trace->written + trace->used;
}

uint64_t trace_json_events(const struct trace_json *trace)
{
    return trace->n_events;
}

static void put_about(struct trace_json *trace, const char *key, struct pnr_string value)
{
    char *to = value.size ? reserve(trace, EVENT_SIZE + escaped_size(value)) : NULL;
    if (!to)
        return;
    to = PUT(to, ",\"");
    to = put_text(to, key);
    to = PUT(to, "\":\"");
    to = text_put_json(to, value);
    done(trace, PUT(to, "\""));
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
    char *to = reserve(trace, EVENT_SIZE);
    if (to) {
        to = PUT(to, "\n],\"otherData\":{\"converter\":\"panopticon-convert ");
        to = put_text(to, about->version);
        done(trace, PUT(to, "\""));
    }
    put_about(trace, "command", about->command);
    put_about(trace, "python", about->python);
    put_about(trace, "recorder", about->recorder);
    put_about(trace, "start", (struct pnr_string){ start, (uint32_t)strlen(start) });
    to = reserve(trace, EVENT_SIZE);
    if (to)
        done(trace, PUT(to, "}}\n"));
    flush(trace);
    errno = trace->sys_errno;
    return trace->sink.is_broken ? pnr_err_system(err, NULL, "cannot write") : 0;
}
