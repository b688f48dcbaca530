/* A sink that streams a trace: what all formats of traces have in common. Hides that events are only stored at first,
 * in batches, which are rendered later by any thread.
 *
 *     trace_new()
 *     the calls of the sink
 *     trace_end()
 *     trace_free()
 *
 * The jobs of the output render the batches. When the output is broken, so is the sink; output_keep() reports why.
 * What is written, and why: specs/trace-mapping.md. */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/slices/request_flows.h"
#include "convert/slices/sink.h"
#include "loop_lag.h"
#include "output.h"

/* ---- for those who convert ---- */

struct trace;
struct trace_format;                    /* trace_json.h and the like have one */

/* Describes the whole trace. Empty strings are omitted. */
struct trace_about {
    const char *version;                /* of the converter */
    struct pnr_string command, python, recorder;
    uint64_t start_realtime_ns;         /* 0 = unknown */
};

/* output and the strings of about are borrowed until trace_free(). n_threads: how many render at a
 * time. Returns NULL when out of memory. */
struct trace *trace_new(const struct trace_format *format, const struct trace_about *about, struct output *output,
                        unsigned n_threads);

/* Accepts NULL. */
void trace_free(struct trace *trace);

/* Lets arrows go from process to process; before the first event. requests is borrowed until trace_end(). */
void trace_show_requests(struct trace *trace, const struct request_flows *requests);

/* Has counters of how long event loops were busy; before the first event. */
void trace_show_lag(struct trace *trace);

/* Borrowed from the trace. */
struct sink *trace_sink(struct trace *trace);

/* Bytes that have been written so far, uncompressed: after trace_end() all of them. Events that have been added. */
uint64_t trace_bytes(const struct trace *trace);
uint64_t trace_events(const struct trace *trace);

/* Completes the trace, so that the output can be kept. Returns 0, or -1 when out of memory. */
int trace_end(struct trace *trace, struct pnr_err *err);

/* ---- for the formats ---- */

/* A slice that hides fewer calls than this does not say so: for a single short slice the estimate means little. */
#define TRACE_MIN_HIDDEN 10

/* What it says names as many functions: those that took the most time. */
#define TRACE_HIDDEN_FUNCTIONS 3

/* A batch is full when it contains as many events. */
#define TRACE_BATCH_EVENTS 2048

/* As many bytes after an event may be written, and after prepared bytes read: copying in steps of a constant size is
 * faster than copying the exact number. */
#define TRACE_STEP 32

/* What all slices of a function have in common, prepared when it is first needed. The format decides what it is. */
struct trace_function {
    char *bytes;                        /* head, tail and TRACE_STEP more; owned; NULL = not prepared yet */
    uint32_t head_size, tail_size;
    uint32_t name_size;                 /* of the first part of the head */
};

/* What all events of a thread have in common. */
struct trace_thread {
    char bytes[48];
    uint32_t size;
};

enum trace_event_kind { TRACE_SLICE, TRACE_FLOW, TRACE_TASK, TRACE_BYTES };

/* The detail of a flow event is its phase, plus TRACE_DETAIL times its origin; of a task event its phase, plus its
 * flags times TRACE_DETAIL. */
#define TRACE_DETAIL 4

struct trace_event {
    uint64_t ns;                        /* BYTES: their offset in the batch's rendered bytes */
    uint64_t number;                    /* SLICE: its length; FLOW: its id; TASK: its id; BYTES: how many */
    const struct trace_function *function;
    uint32_t thread;
    uint16_t kind;
    uint16_t detail;                    /* SLICE: flags; FLOW and TASK: see TRACE_DETAIL */
};

struct trace_batch {
    struct output_part part;            /* first: a part is a batch */
    const struct trace *trace;
    const struct trace_thread *threads; /* borrowed */
    uint64_t since_ns;                  /* the latest time in the process's earlier batches */
    size_t n;
    size_t max_size;                    /* bytes that the events can become */
    char *ready;                        /* the bytes of rare events, already rendered; owned */
    size_t ready_size, ready_capacity;
    struct trace_event events[TRACE_BATCH_EVENTS];
};

/* What a format does. All calls except render() come in the order of the events, and write with trace_begin_bytes() and
 * trace_end_bytes(). A new trace format is one of these, and a row in the table of formats (options.c). */
struct trace_format {
    size_t size;                        /* of its own structure, whose first member is a struct trace */
    size_t event_size;                  /* more than an event takes without what is prepared */
    void (*begin)(struct trace *trace);
    void (*end)(struct trace *trace);   /* may be NULL, like the next */
    void (*clear)(struct trace *trace); /* releases what the format owns */
    void (*process)(struct trace *trace, const struct sink_process *process);
    /* Also prepares the thread. */
    void (*thread)(struct trace *trace, const struct sink_thread *thread, struct trace_thread *prepared);
    /* A slice without a function of the name table. */
    void (*unnamed_slice)(struct trace *trace, const struct slice *slice);
    /* A slice of a function or span that has values, or a text about what it hides; without bytes when it has none. */
    void (*detailed_slice)(struct trace *trace, const struct slice *slice, const struct trace_function *function,
                           struct pnr_string hides);
    /* function: the label. */
    void (*remark)(struct trace *trace, const struct sink_remark *remark, const struct trace_function *function);
    /* A task begins, or an event of it has a name in place of its function's, or values. Without bytes when it has none. */
    void (*detailed_task)(struct trace *trace, const struct task_event *event, const struct trace_function *function,
                          struct pnr_string name, const struct pnr_values *values);
    void (*recorder_event)(struct trace *trace, const struct sink_recorder_event *event);
    void (*instant)(struct trace *trace, uint32_t thread, uint64_t ns, const char *text);
    /* Returns 0, or -1 when out of memory. */
    int (*prepare)(struct trace *trace, uint32_t index, const struct symbol *symbol, struct trace_function *function);
    /* Called by any thread: renders the events of the batch and returns the end of the bytes. What is prepared for
     * them is complete, and does not change meanwhile. */
    char *(*render)(const struct trace_batch *batch, char *to);
};

struct trace {
    struct sink sink;                   /* first: a sink is a trace */
    const struct trace_format *format;
    struct trace_about about;
    struct output *output;              /* borrowed */
    struct trace_batch **batches;       /* owned, like the two tables */
    size_t n_batches;
    struct trace_batch *batch;          /* being filled */
    size_t next;                        /* index of the one that is filled after it */
    uint64_t n_bytes, n_events;         /* the format counts those that it renders at once */
    uint64_t latest_ns;                 /* of the present process's events, except those rendered at once */
    bool is_out_of_memory;
    char *text;                         /* about the event that is added; owned */
    size_t text_capacity;
    bool shows_lag;
    struct loop_lag lag;
    const struct request_flows *requests;       /* NULL: none are shown; borrowed */
    const struct symbols *symbols;      /* of the present process; borrowed */
    uint32_t order;                     /* of the present process, like the next */
    bool has_task_names;                /* then all events of tasks are rendered at once: those of one time stay in order */
    struct trace_function *functions;   /* by function index - 1; after them what stands for all requests */
    uint32_t n_functions;
    struct trace_thread *threads;
    uint32_t n_threads;
};

/* Returns memory for an event of max_size bytes at most, to be rendered at once; NULL when the trace is broken. */
char *trace_begin_bytes(struct trace *trace, size_t max_size);

/* Ends that event. */
void trace_end_bytes(struct trace *trace, const char *end);

#endif
