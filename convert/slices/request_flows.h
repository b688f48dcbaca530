/* Arrows from process to process: they connect, in the order of time, the spans and the instants that have the same
 * request's id (request_ids.h), if they are of several processes.
 *
 *     client   [ call, trace_id="4bf9..." ----------------]
 *                  \__ start ......... end __
 *     server                                 \[ handle, trace_id="4bf9..." ]
 *
 *     request_flows_make(), request_flows_find() for each span and instant, request_flows_clear() */
#ifndef REQUEST_FLOWS_H
#define REQUEST_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request_ids.h"
#include "sink.h"

struct request_flow;

struct request_flows {
    const struct sightings *sightings;  /* borrowed */
    struct request_flow *all;           /* by id; owned */
    size_t n;
    uint64_t zero_ns;                   /* of the trace */
};

/* zero_ns: the start of the trace. Returns 0, or -1 when out of memory. */
int request_flows_make(struct request_flows *flows, const struct sightings *sightings, uint64_t zero_ns);

void request_flows_clear(struct request_flows *flows);

/* Finds the flow through something with these values that began at begin_ns in the process. Fills the flow and the
 * phase of the event. Returns whether there is one. */
bool request_flows_find(const struct request_flows *flows, const struct symbols *symbols,
                        const struct pnr_values *values, uint32_t process, uint64_t begin_ns,
                        struct flow_event *event);

#endif
