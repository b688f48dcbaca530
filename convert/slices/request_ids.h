/* The ids of requests, and where they were seen: in which spans and instants. By that the clocks of several machines are
 * compared (align.h), and arrows go from a client to its server (request_flows.h).
 *
 *     client   span "call"    trace_id="4bf9..."      100 .. 900
 *     server   span "handle"  trace_id="4bf9..."      300 .. 700
 *
 * An id is the value of one of the keys trace_id, traceparent and request_id, a text or an integer. */
#ifndef REQUEST_IDS_H
#define REQUEST_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/symbols.h"
#include "format/values.h"

struct sighting {
    uint64_t id;                        /* a hash of the id */
    uint64_t begin_ns, end_ns;          /* CLOCK_MONOTONIC of the process, as the reader has it; equal for an instant */
    uint32_t process;
};

struct sightings {
    struct sighting *all;               /* owned; by id, then begin_ns */
    size_t n, capacity;
    uint64_t n_left_out;                /* that were too many */
    uint64_t *first_ns;                 /* of each process: the first time of the label; UINT64_MAX: never; owned */
};

/* Finds the id among values, or NULL. Returns whether there is one. */
bool request_find_id(const struct symbols *symbols, const struct pnr_values *values, uint64_t *id);

#endif
