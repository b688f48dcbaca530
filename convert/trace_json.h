/* A sink that streams Catapult JSON, for chrome://tracing and Perfetto. The only file that knows what JSON looks like.
 *
 *     trace_json_new()
 *     the calls of the sink
 *     trace_json_end()
 *     trace_json_free()
 *
 * The text is made by the jobs of the output. When that is broken, so is the sink; output_keep() tells why. What is
 * written, and why so: specs/trace-mapping.md. */
#ifndef TRACE_JSON_H
#define TRACE_JSON_H

#include <stdint.h>

#include "output.h"
#include "sink.h"

struct trace_json;

/* About the whole trace. Strings without bytes are left out. */
struct trace_json_about {
    const char *version;                /* of the converter */
    struct pnr_string command, python, recorder;
    uint64_t start_realtime_ns;         /* 0 = unknown */
};

/* output is borrowed until trace_json_free(). n_threads: how many work at a time. Returns NULL when out of memory. */
struct trace_json *trace_json_new(struct output *output, unsigned n_threads);

/* Accepts NULL. */
void trace_json_free(struct trace_json *trace);

/* Borrowed from the trace. */
struct sink *trace_json_sink(struct trace_json *trace);

/* Events so far; bytes of those whose text has been written, in the end all: uncompressed. */
uint64_t trace_json_bytes(const struct trace_json *trace);
uint64_t trace_json_events(const struct trace_json *trace);

/* Completes the text: the output can be kept. Returns 0, or -1 when out of memory. */
int trace_json_end(struct trace_json *trace, const struct trace_json_about *about, struct pnr_err *err);

#endif
