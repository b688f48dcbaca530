/* A sink that streams Catapult JSON, for chrome://tracing and Perfetto. The only file that knows what JSON looks like.
 *
 *     trace_json_new()
 *     the calls of the sink
 *     trace_json_end()
 *     trace_json_free()
 *
 * Write errors stick to the stream: trace_json_end reports the first. What it writes, and why so:
 * specs/trace-mapping.md. */
#ifndef TRACE_JSON_H
#define TRACE_JSON_H

#include <stdint.h>

#include "sink.h"

struct trace_json;

/* About the whole trace. Strings without bytes are left out. */
struct trace_json_about {
    const char *version;                /* of the converter */
    struct pnr_string command, python, recorder;
    uint64_t start_realtime_ns;         /* 0 = unknown */
};

/* Writes to fd, which stays the caller's. Returns NULL when out of memory. */
struct trace_json *trace_json_new(int fd);

/* Accepts NULL. */
void trace_json_free(struct trace_json *trace);

/* Borrowed from the trace. */
struct sink *trace_json_sink(struct trace_json *trace);

/* Bytes and events so far. */
uint64_t trace_json_bytes(const struct trace_json *trace);
uint64_t trace_json_events(const struct trace_json *trace);

/* Completes the file and flushes it. Returns 0, or -1 when any of it could not be written. */
int trace_json_end(struct trace_json *trace, const struct trace_json_about *about, struct pnr_err *err);

#endif
