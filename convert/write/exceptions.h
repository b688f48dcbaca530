/* Prints where exceptions were raised and handled, and how often: the instants that the recorder makes with
 * `--exceptions` (specs/recording.md, section 1.12) as a table for people, or complete JSON for programs.
 * specs/trace-mapping.md, section 8.5. Hides which instants belong together. */
#ifndef EXCEPTIONS_H
#define EXCEPTIONS_H

#include <stdbool.h>

#include "convert/slices/sink.h"
#include "writer.h"

/* Lines in the table. */
#define EXCEPTIONS_MAX_LINES 30

struct exceptions;

/* Returns NULL when out of memory. */
struct exceptions *exceptions_new(void);

/* Accepts NULL. */
void exceptions_free(struct exceptions *exceptions);

/* It is broken when out of memory. */
struct sink *exceptions_sink(struct exceptions *exceptions);

/* When all has been converted. n_lost: events, for the JSON. Returns 0, or -1 when out of memory; the writer reports
 * failed writes. */
int exceptions_write(struct exceptions *exceptions, bool is_json, uint64_t n_lost, struct writer *writer);

#endif
