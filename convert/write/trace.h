/* A sink that streams a trace: what all formats of traces have in common. Hides that events are only noted at first, in
 * batches, which become bytes later, in any thread.
 *
 *     trace_new()
 *     the calls of the sink
 *     trace_end()
 *     trace_free()
 *
 * The bytes are made by the jobs of the output. When that is broken, so is the sink; output_keep() tells why. What is
 * written, and why so: specs/trace-mapping.md. */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/slices/sink.h"
#include "output.h"

/* ---- for those who write a trace ---- */

struct trace;
struct trace_format;                    /* trace_json.h and the like have one */

/* About the whole trace. Strings without bytes are left out. */
struct trace_about {
    const char *version;                /* of the converter */
    struct pnr_string command, python, recorder;
    uint64_t start_realtime_ns;         /* 0 = unknown */
};

/* output and the strings of about are borrowed until trace_free(). n_threads: how many work at a time. Returns NULL
 * when out of memory. */
struct trace *trace_new(const struct trace_format *format, const struct trace_about *about, struct output *output,
                        unsigned n_threads);

/* Accepts NULL. */
void trace_free(struct trace *trace);

/* Borrowed from the trace. */
struct sink *trace_sink(struct trace *trace);

/* Events so far; bytes of those that have been written, in the end all: uncompressed. */
uint64_t trace_bytes(const struct trace *trace);
uint64_t trace_events(const struct trace *trace);

/* Completes the bytes: the output can be kept. Returns 0, or -1 when out of memory. */
int trace_end(struct trace *trace, struct pnr_err *err);

/* ---- for the formats ---- */

/* A batch is full when it has as many events. */
#define TRACE_BATCH_EVENTS 2048

/* So many bytes more than an event takes may be written, and read where something is prepared: to move a few at a time
 * is faster than to look how many they are. */
#define TRACE_STEP 32

/* What is the same in all slices of a function, prepared when it is first needed. */
struct trace_function {
    char *bytes;                        /* TRACE_STEP more than the two; owned; NULL = not yet */
    uint32_t head_size, tail_size;      /* what they are is the format's */
    uint32_t name_size;                 /* the same: a part of the head */
};

/* The same for a thread. */
struct trace_thread {
    char bytes[48];
    uint32_t size;
};

enum trace_event_kind { TRACE_SLICE, TRACE_FLOW, TRACE_TASK, TRACE_BYTES };

/* A flow_event's detail is its phase, and this for one of a creation; a task's is its phase, and its flags times this. */
#define TRACE_DETAIL 4

struct trace_event {
    uint64_t ns;                        /* BYTES: where they are in the batch's */
    uint64_t number;                    /* SLICE: its length; POINT: its chain; TASK: which; BYTES: how many */
    const struct trace_function *function;
    uint32_t thread;
    uint16_t kind;
    uint16_t detail;                    /* SLICE: flags; POINT and TASK: see TRACE_DETAIL */
};

struct trace_batch {
    struct output_part part;            /* first: a part is a batch */
    const struct trace *trace;
    const struct trace_thread *threads; /* borrowed */
    uint64_t since_ns;                  /* the latest time in the process's batches before */
    size_t n;
    size_t most;                        /* bytes that the events can become */
    char *ready;                        /* the bytes of rare events; owned */
    size_t ready_size, ready_capacity;
    struct trace_event events[TRACE_BATCH_EVENTS];
};

/* What a format does. All but render() is called in the order of the events, and writes what it has to write by
 * trace_begin_bytes() and trace_end_bytes(). */
struct trace_format {
    size_t size;                        /* of what it has instead of struct trace, which comes first in it */
    size_t event_size;                  /* more than an event takes beside what is prepared */
    void (*begin)(struct trace *trace);
    void (*end)(struct trace *trace);   /* may be NULL, like the next */
    void (*clear)(struct trace *trace); /* gives back what the format owns */
    void (*process)(struct trace *trace, const struct sink_process *process);
    /* Prepares the thread, too. */
    void (*thread)(struct trace *trace, const struct sink_thread *thread, struct trace_thread *prepared);
    /* A slice without a function of the name table. */
    void (*unnamed_slice)(struct trace *trace, const struct slice *slice);
    void (*instant)(struct trace *trace, uint32_t thread, uint64_t ns, const char *text);
    /* Returns 0, or -1 when out of memory. */
    int (*prepare)(struct trace *trace, uint32_t index, const struct symbol *symbol, struct trace_function *function);
    /* Called by any thread: makes the events of the batch to bytes, and gives their end. What is prepared is complete,
     * and stays. */
    char *(*render)(const struct trace_batch *batch, char *to);
};

struct trace {
    struct sink sink;                   /* first: a sink is a trace */
    const struct trace_format *format;
    struct trace_about about;
    struct output *output;              /* borrowed */
    struct trace_batch **batches;       /* owned, like the two tables */
    size_t n_batches;
    struct trace_batch *batch;          /* the one that is being filled */
    size_t next;                        /* which will be filled after it */
    uint64_t n_bytes, n_events;         /* the format counts those that it makes to bytes at once */
    uint64_t latest_ns;                 /* of the present process's events but those that are bytes at once */
    bool is_out_of_memory;
    const struct symbols *symbols;      /* of the present process; borrowed */
    struct trace_function *functions;   /* by function index - 1 */
    uint32_t n_functions;
    struct trace_thread *threads;
    uint32_t n_threads;
};

/* Room for an event of at most so many bytes; NULL when the trace is broken. */
char *trace_begin_bytes(struct trace *trace, size_t most);

/* It ends here. */
void trace_end_bytes(struct trace *trace, const char *end);

#endif
