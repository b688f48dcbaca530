/* The calls of the sink only store events, 32 bytes each. A batch of them becomes a part of the output, rendered by any
 * thread. What all slices of a function, or of a thread, have in common has been prepared, so that rendering mostly
 * copies bytes. Rare events are rendered at once.
 *
 * Everything that rendering a batch reads is complete before the batch is submitted, and is kept until the next
 * process. */
#include "trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"

/* A batch is also full when it can become more bytes than this, so that both the bytes and the events stay in a
 * processor's cache. A single event may be longer. */
#define BATCH_SIZE (512 << 10)

/* ---- batches ---- */

static int render_batch(struct output_part *part)
{
    struct trace_batch *batch = (struct trace_batch *)part;
    char *bytes = output_buffer(part, (batch->max_size > BATCH_SIZE ? batch->max_size : BATCH_SIZE) + TRACE_STEP);
    if (!bytes)
        return -1;
    part->size = (size_t)(batch->trace->format->render(batch, bytes) - bytes);
    return 0;
}

/* Breaks the trace for good, as it is out of memory: something prepared is missing, so no event may be added. */
static void fail_trace(struct trace *trace)
{
    trace->is_out_of_memory = trace->sink.is_broken = true;
}

/* Waits until the batch's bytes have been written, and empties it. */
static void recycle_batch(struct trace *trace, struct trace_batch *batch)
{
    output_wait(trace->output, &batch->part);
    trace->n_bytes += batch->part.size;
    batch->part.size = batch->n = batch->max_size = batch->ready_size = 0;
}

/* Submits the batch that was filled to the output, and continues with another one. */
static void submit_batch(struct trace *trace)
{
    output_add(trace->output, &trace->batch->part);
    trace->batch = trace->batches[trace->next];
    trace->next = (trace->next + 1) % trace->n_batches;
    recycle_batch(trace, trace->batch);
    trace->batch->threads = trace->threads;
    trace->batch->since_ns = trace->latest_ns;
    trace->sink.is_broken |= output_is_broken(trace->output);
}

/* Waits until all events that were added are written. */
static void flush_batches(struct trace *trace)
{
    submit_batch(trace);
    for (size_t i = 0; i < trace->n_batches; i++)
        recycle_batch(trace, trace->batches[i]);
}

/* Adds an event that becomes max_size bytes at most, and not 0. */
static inline struct trace_event *add_event(struct trace *trace, size_t max_size)
{
    struct trace_batch *batch = trace->batch;
    if (batch->n == TRACE_BATCH_EVENTS || (batch->max_size + max_size > BATCH_SIZE && batch->n > 0)) {
        submit_batch(trace);
        batch = trace->batch;
    }
    batch->max_size += max_size;
    return &batch->events[batch->n++];
}

char *trace_begin_bytes(struct trace *trace, size_t max_size)
{
    if (trace->sink.is_broken)
        return NULL;
    struct trace_event *event = add_event(trace, max_size);
    struct trace_batch *batch = trace->batch;
    *event = (struct trace_event){ .ns = batch->ready_size, .kind = TRACE_BYTES };
    if (pnr_array_reserve(&batch->ready, &batch->ready_capacity, batch->ready_size + max_size) < 0) {
        fail_trace(trace);
        return NULL;
    }
    return batch->ready + batch->ready_size;
}

void trace_end_bytes(struct trace *trace, const char *end)
{
    struct trace_batch *batch = trace->batch;
    struct trace_event *event = &batch->events[batch->n - 1];
    event->number = (size_t)(end - batch->ready) - event->ns;
    batch->ready_size += event->number;
}

/* ---- events ---- */

/* Returns the function with what is prepared of it; NULL if it is not in the name table, or when out of memory. */
static inline const struct trace_function *prepared_function(struct trace *trace, uint32_t index)
{
    struct trace_function *function = index - 1 < trace->n_functions ? &trace->functions[index - 1] : NULL;
    if (!function || function->bytes)
        return function;
    const struct symbol *symbol = symbols_function(trace->symbols, index);
    if (symbol && trace->format->prepare(trace, index, symbol, function) < 0)
        fail_trace(trace);
    return function->bytes ? function : NULL;
}

/* Counts an event that was added, whose latest time is ns. */
static inline void note_event(struct trace *trace, uint64_t ns)
{
    trace->n_events++;
    if (ns > trace->latest_ns)
        trace->latest_ns = ns;
}

/* Prepares what stands for a label that is not in the name table. The caller frees its bytes. Returns false when the
 * trace is broken. */
static bool prepare_unknown_label(struct trace *trace, uint32_t label, struct trace_function *function)
{
    char text[48];
    int n = snprintf(text, sizeof text, "[unknown function %" PRIu32 "]", label);
    const struct symbol symbol = { .name = { text, (uint32_t)n }, .kind = PNR_FUNCTION_LABEL };
    *function = (struct trace_function){ .bytes = NULL };
    if (!trace->sink.is_broken && trace->format->prepare(trace, label, &symbol, function) < 0)
        fail_trace(trace);
    return !trace->sink.is_broken;
}

/* Adds a span whose label is not in the name table. */
static void add_unknown_span(struct trace *trace, const struct slice *slice)
{
    struct trace_function unknown;
    if (prepare_unknown_label(trace, slice->function, &unknown))
        trace->format->detailed_slice(trace, slice, &unknown, (struct pnr_string){ NULL, 0 });
    free(unknown.bytes);
}

static void put_flow_event(struct trace *trace, const struct flow_event *event, const struct trace_function *function)
{
    *add_event(trace, function->head_size + trace->format->event_size) = (struct trace_event){
        .ns = event->ns,
        .number = event->flow,
        .function = function,
        .thread = event->thread,
        .kind = TRACE_FLOW,
        .detail = (uint16_t)(event->phase + TRACE_DETAIL * event->origin),
    };
    note_event(trace, event->ns);
}

/* Adds where the flow of a request passes something with these values, if there is one. */
static void add_request(struct trace *trace, const struct pnr_values *values, uint32_t thread, uint64_t begin_ns,
                        uint64_t end_ns)
{
    static const struct symbol request = { .name = { "request", sizeof "request" - 1 }, .kind = PNR_FUNCTION_LABEL };
    struct flow_event flow = { .origin = FLOW_OF_SLICES };
    if (!trace->requests || !trace->functions ||
        !request_flows_find(trace->requests, trace->symbols, values, trace->order, begin_ns, &flow))
        return;
    struct trace_function *function = &trace->functions[trace->n_functions];
    if (!function->bytes && trace->format->prepare(trace, 0, &request, function) < 0)
        fail_trace(trace);
    if (trace->sink.is_broken)
        return;
    flow.ns = begin_ns + (end_ns > begin_ns + 1);       /* in the slice, and not in one that begins with it */
    flow.thread = thread;
    put_flow_event(trace, &flow, function);
}

/* Adds how long the event loop was busy that the slice belongs to. */
static __attribute__((noinline)) void add_lag(struct trace *trace, const struct slice *slice)
{
    struct sink_recorder_event events[2];
    if (!trace->sink.is_broken && pnr_subject_is_function(slice->subject) && loop_lag_add(&trace->lag, slice, events)) {
        trace->format->recorder_event(trace, &events[0]);
        trace->format->recorder_event(trace, &events[1]);
    }
}

static void add_slice(struct sink *sink, const struct slice *slice)
{
    struct trace *trace = (struct trace *)sink;
    if (loop_lag_concerns(&trace->lag, slice))
        add_lag(trace, slice);
    const struct trace_function *function = pnr_subject_is_named(slice->subject)
                                               ? prepared_function(trace, slice->function) : NULL;
    if (!function && slice->subject == PNR_SUBJECT_SPAN) {
        add_unknown_span(trace, slice);
        return;
    }
    if (!function) {
        trace->format->unnamed_slice(trace, slice);
        return;
    }
    if (sink->is_broken)
        return;
    if (slice->values) {
        trace->format->detailed_slice(trace, slice, function, (struct pnr_string){ NULL, 0 });
        add_request(trace, slice->values, slice->thread, slice->begin_ns, slice->end_ns);
        return;
    }
    *add_event(trace, function->head_size + function->tail_size + trace->format->event_size) = (struct trace_event){
        .ns = slice->begin_ns,
        .number = slice->end_ns - slice->begin_ns,
        .function = function,
        .thread = slice->thread,
        .kind = TRACE_SLICE,
        .detail = (uint16_t)slice->flags,
    };
    note_event(trace, slice->end_ns);
}

/* ---- what slices hide ---- */

static int by_hidden_ns(const void *a, const void *b)
{
    const struct hidden_calls *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns > y->ns ? -1 : 1;
    return x->function < y->function ? -1 : x->function > y->function;
}

/* Appends a function's name to a text. Returns 0, or -1 when out of memory. */
static int append_function_name(struct trace *trace, size_t *size, const struct symbol *symbol)
{
    const struct pnr_string module = symbol->module, name = symbol->name;
    if (pnr_array_reserve(&trace->text, &trace->text_capacity, *size + module.size + name.size + 1) < 0)
        return -1;
    char *to = trace->text + *size;
    memcpy(to, module.bytes, module.size);
    to += module.size;
    if (module.size && name.size)
        *to++ = '.';
    memcpy(to, name.bytes, name.size);
    *size = (size_t)(to - trace->text) + name.size;
    return 0;
}

/* Appends how often functions were called, and what share of the slice that was. Returns 0, or -1 when out of memory.
 * */
static int append_hidden_share(struct trace *trace, size_t *size, double calls, double share)
{
    char text[96];
    int n = snprintf(text, sizeof text, " ~%.0f calls, ~%.*f %% of it", calls, share < 0.095 ? 1 : 0, 100 * share);
    if (pnr_array_reserve(&trace->text, &trace->text_capacity, *size + (size_t)n) < 0)
        return -1;
    memcpy(trace->text + *size, text, (size_t)n);
    *size += (size_t)n;
    return 0;
}

/* Appends text. Returns 0, or -1 when out of memory. */
static int append_hidden_text(struct trace *trace, size_t *size, const char *text)
{
    size_t n = strlen(text);
    if (pnr_array_reserve(&trace->text, &trace->text_capacity, *size + n) < 0)
        return -1;
    memcpy(trace->text + *size, text, n);
    *size += n;
    return 0;
}

/* Describes what a slice of this length hides: `app.f ~120 calls, ~80 % of it; ...`. Returns 0, or -1 when out of
 * memory. */
static int describe_hidden(struct trace *trace, const struct hidden_calls *calls, size_t n, double ns,
                           struct pnr_string *hides)
{
    struct hidden_calls others = { .function = 0 };
    size_t size = 0, shown = 0;
    char text[48];
    for (size_t i = 0; i < n; i++) {
        const struct symbol *symbol = symbols_function(trace->symbols, calls[i].function);
        if (shown == TRACE_HIDDEN_FUNCTIONS || !symbol || calls[i].calls < 0.5) {
            others.calls += calls[i].calls;
            others.ns += calls[i].ns;
            continue;
        }
        if ((shown++ && append_hidden_text(trace, &size, "; ") < 0) || append_function_name(trace, &size, symbol) < 0 ||
            append_hidden_share(trace, &size, calls[i].calls, calls[i].ns / ns) < 0)
            return -1;
    }
    snprintf(text, sizeof text, "%s%zu more function%s", shown ? "; " : "", n - shown, n - shown == 1 ? "" : "s");
    if (others.calls >= 0.5 && (append_hidden_text(trace, &size, text) < 0 ||
                                append_hidden_share(trace, &size, others.calls, others.ns / ns) < 0))
        return -1;
    *hides = (struct pnr_string){ trace->text, (uint32_t)size };
    return 0;
}

static void add_hiding_slice(struct sink *sink, const struct slice *slice, const struct hidden_calls *calls, size_t n)
{
    struct trace *trace = (struct trace *)sink;
    const struct trace_function *function = pnr_subject_is_named(slice->subject)
                                               ? prepared_function(trace, slice->function) : NULL;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += calls[i].calls;
    if (!function || sum < TRACE_MIN_HIDDEN || sink->is_broken) {
        add_slice(sink, slice);
        return;
    }
    if (loop_lag_concerns(&trace->lag, slice))
        add_lag(trace, slice);
    struct hidden_calls *sorted = malloc(n * sizeof *sorted);
    struct pnr_string hides;
    if (sorted) {
        memcpy(sorted, calls, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_hidden_ns);
    }
    if (!sorted || describe_hidden(trace, sorted, n, (double)(slice->end_ns - slice->begin_ns), &hides) < 0)
        fail_trace(trace);
    else
        trace->format->detailed_slice(trace, slice, function, hides);
    free(sorted);
}

static void add_recorder_event(struct sink *sink, const struct sink_recorder_event *event)
{
    struct trace *trace = (struct trace *)sink;
    trace->format->recorder_event(trace, event);
}

/* ---- other events ---- */

static void add_flow_event(struct sink *sink, const struct flow_event *event)
{
    struct trace *trace = (struct trace *)sink;
    const struct trace_function *function = prepared_function(trace, event->function);
    if (function && !sink->is_broken)   /* flows have known functions */
        put_flow_event(trace, event, function);
}

/* Adds the name of a function as a value; nothing for one that is not known. */
static void add_function_value(struct trace *trace, struct pnr_values_writer *writer, const char *key, uint32_t function)
{
    const struct symbol *symbol = symbols_function(trace->symbols, function);
    size_t size = 0;
    if (!symbol)
        return;
    if (append_function_name(trace, &size, symbol) < 0) {
        fail_trace(trace);
        return;
    }
    pnr_values_add(writer, &(struct pnr_value){ .key_text = { key, (uint32_t)strlen(key) }, .type = PNR_VALUE_TEXT,
                                                .text = { trace->text, (uint32_t)size } });
}

static struct pnr_string text_of(const char *text) { return (struct pnr_string){ text, (uint32_t)strlen(text) }; }

/* Makes the name of a task's row, if the task has a name: `NAME: module.coroutine`. Returns false when out of memory. */
static bool name_task_row(struct trace *trace, const struct task_event *event, struct pnr_string *name)
{
    const struct symbol *symbol = symbols_function(trace->symbols, event->function);
    size_t size = event->name.size;
    if (!size || !symbol)
        return true;
    if (pnr_array_reserve(&trace->text, &trace->text_capacity, size) < 0)
        return false;
    memcpy(trace->text, event->name.bytes, size);
    if (append_hidden_text(trace, &size, ": ") < 0 || append_function_name(trace, &size, symbol) < 0)
        return false;
    *name = (struct pnr_string){ trace->text, (uint32_t)size };
    return true;
}

/* Adds the begin of a task, or an event with what it waits for. */
static void add_detailed_task(struct trace *trace, const struct task_event *event, const struct trace_function *function)
{
    struct pnr_values_writer writer;
    struct pnr_string name = { NULL, 0 };
    writer.size = writer.n_left_out = 0;
    add_function_value(trace, &writer, "waits_for", event->awaited.what);
    add_function_value(trace, &writer, "waits_in", event->awaited.where);
    if (event->other.size)
        pnr_values_add(&writer, &(struct pnr_value){ .key_text = text_of(event->phase == TASK_END ? "renamed" : "waits_for_task"),
                                                     .type = PNR_VALUE_TEXT, .text = event->other });
    if (!name_task_row(trace, event, &name))
        fail_trace(trace);
    else
        trace->format->detailed_task(trace, event, function, name, &(struct pnr_values){ writer.bytes, writer.size, 0 });
}

static void add_task_event(struct sink *sink, const struct task_event *event)
{
    struct trace *trace = (struct trace *)sink;
    const struct trace_function *function = prepared_function(trace, event->function);
    if (!function || sink->is_broken)   /* tasks have known functions */
        return;
    if (trace->has_task_names || event->phase == TASK_BEGIN || event->awaited.what || event->awaited.where) {
        add_detailed_task(trace, event, function);
        return;
    }
    *add_event(trace, function->head_size + function->tail_size + trace->format->event_size) = (struct trace_event){
        .ns = event->ns,
        .number = event->task,
        .function = function,
        .thread = event->thread,
        .kind = TRACE_TASK,
        .detail = (uint16_t)(event->phase + TRACE_DETAIL * event->flags),
    };
    note_event(trace, event->ns);
}

static void add_remark(struct sink *sink, const struct sink_remark *remark)
{
    struct trace *trace = (struct trace *)sink;
    const struct trace_function *function = prepared_function(trace, remark->label);
    struct trace_function unknown = { .bytes = NULL };
    if (function ? !sink->is_broken : prepare_unknown_label(trace, remark->label, &unknown))
        trace->format->remark(trace, remark, function ? function : &unknown);
    if (remark->kind == PNR_INSTANT)
        add_request(trace, remark->values, remark->thread, remark->ns, remark->ns);
    free(unknown.bytes);
}

static void add_instant_event(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    struct trace *trace = (struct trace *)sink;
    trace->format->instant(trace, thread, ns, text);
}

static void forget_trace_process(struct trace *trace)
{
    for (uint32_t i = 0; trace->functions && i <= trace->n_functions; i++)
        free(trace->functions[i].bytes);
    free(trace->functions);
    free(trace->threads);
    trace->functions = NULL;
    trace->threads = NULL;
    trace->n_functions = 0;
    trace->n_threads = 0;
    trace->symbols = NULL;
}

static void begin_trace_process(struct sink *sink, const struct sink_process *process)
{
    struct trace *trace = (struct trace *)sink;
    flush_batches(trace);
    forget_trace_process(trace);
    trace->latest_ns = trace->batch->since_ns = 0;
    trace->symbols = process->symbols;
    if (trace->shows_lag)
        loop_lag_process(&trace->lag, process->symbols);
    trace->order = process->order;
    trace->has_task_names = symbols_property(process->symbols, "task_names").size > 0;
    trace->functions = calloc(process->symbols->n_functions + 1, sizeof *trace->functions);
    if (trace->functions)
        trace->n_functions = process->symbols->n_functions;
    else
        fail_trace(trace);
    trace->format->process(trace, process);
}

static void begin_trace_thread(struct sink *sink, const struct sink_thread *thread)
{
    struct trace *trace = (struct trace *)sink;
    if (thread->thread >= trace->n_threads) {
        uint32_t n = (thread->thread + 16) * 2;
        flush_batches(trace);           /* batches that are not written yet refer to the old table */
        struct trace_thread *threads = realloc(trace->threads, n * sizeof *threads);
        if (!threads) {
            fail_trace(trace);
            return;
        }
        trace->threads = threads;
        trace->n_threads = n;
        trace->batch->threads = threads;
    }
    if (loop_lag_thread(&trace->lag, thread) < 0)
        fail_trace(trace);
    trace->format->thread(trace, thread, &trace->threads[thread->thread]);
}

/* ---- the whole trace ---- */

struct trace *trace_new(const struct trace_format *format, const struct trace_about *about, struct output *output,
                        unsigned n_threads)
{
    struct trace *trace = calloc(1, format->size);
    size_t n_batches = n_threads > 1 ? 2 * n_threads + 8 : 1;
    if (!trace || !(trace->batches = calloc(n_batches, sizeof *trace->batches)))
        goto fail;
    for (; trace->n_batches < n_batches; trace->n_batches++) {
        struct trace_batch *batch = calloc(1, sizeof *batch);
        if (!batch)
            goto fail;
        batch->part.make = render_batch;
        batch->trace = trace;
        trace->batches[trace->n_batches] = batch;
    }
    trace->sink = (struct sink){ .process = begin_trace_process, .thread = begin_trace_thread, .slice = add_slice,
                                 .hiding_slice = add_hiding_slice, .recorder_event = add_recorder_event,
                                 .instant = add_instant_event, .remark = add_remark, .flow_event = add_flow_event, .task = add_task_event };
    trace->format = format;
    trace->about = *about;
    trace->output = output;
    trace->batch = trace->batches[0];
    trace->next = 1 % n_batches;
    format->begin(trace);
    if (!trace->is_out_of_memory)
        return trace;
fail:
    trace_free(trace);
    return NULL;
}

void trace_free(struct trace *trace)
{
    if (!trace)
        return;
    for (size_t i = 0; i < trace->n_batches; i++) {
        struct trace_batch *batch = trace->batches[i];
        output_wait(trace->output, &batch->part);
        output_part_clear(&batch->part);
        free(batch->ready);
        free(batch);
    }
    if (trace->format && trace->format->clear)
        trace->format->clear(trace);
    forget_trace_process(trace);
    loop_lag_clear(&trace->lag);
    free(trace->batches);
    free(trace->text);
    free(trace);
}

void trace_show_lag(struct trace *trace) { trace->shows_lag = true; }

void trace_show_requests(struct trace *trace, const struct request_flows *requests)
{
    trace->requests = requests;
}

struct sink *trace_sink(struct trace *trace)
{
    return &trace->sink;
}

uint64_t trace_bytes(const struct trace *trace)
{
    return trace->n_bytes;
}

uint64_t trace_events(const struct trace *trace)
{
    return trace->n_events;
}

int trace_end(struct trace *trace, struct pnr_err *err)
{
    if (trace->format->end)
        trace->format->end(trace);
    flush_batches(trace);
    return trace->is_out_of_memory ? pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory") : 0;
}
