/* Writes what the page of `panopticon report` says of the capture itself: where it comes from, its processes, and what
 * is missing. As JSON: specs/trace-mapping.md, section 8.4. */
#ifndef PROVENANCE_H
#define PROVENANCE_H

#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/selection.h"
#include "convert/write/writer.h"
#include "anomalies.h"
#include "diagnostics.h"

/* What was reported so far, as far as it is kept. */
struct kept_message {
    enum diagnostic_level level;
    char *text;
};

struct provenance {
    const char *capture;                /* its path; all is borrowed */
    struct reader **readers;
    const struct anomalies *anomalies;  /* of each */
    size_t n;
    const struct selection *selection;
    const struct kept_message *messages;
    uint64_t n_messages, n_kept;        /* reported; in the array */
    uint64_t lost, left_out_calls;
};

/* Writes the members of an object, without its braces. Returns 0, or -1 when out of memory. */
int provenance_put(const struct provenance *provenance, struct writer *writer);

#endif
