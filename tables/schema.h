/* The Arrow schema of a table: a struct of its columns, with their units and what they are as metadata. */
#ifndef SCHEMA_H
#define SCHEMA_H

#include <stddef.h>

#include "arrow.h"
#include "column.h"

/* Both are borrowed for the call. */
struct schema_entry {
    const char *key;
    const char *value;
};

/* Makes the schema of n columns, with metadata of the whole. The columns are borrowed until it is released. Returns 0,
 * or -1 when out of memory: then out is released. */
int schema_make(struct ArrowSchema *out, const struct column *const *columns, size_t n,
                const struct schema_entry *metadata, size_t n_metadata);

#endif
