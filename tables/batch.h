/* The rows that a table has collected, and the Arrow array that they become.
 *
 *     struct batch batch = { .row_size = sizeof(struct slice_row) };
 *     batch_reserve_string(), batch_add_string(), for a string of a row
 *     batch_add(), of each row
 *     batch_export(): the rows are then the consumer's, and the batch is empty
 *     batch_clear() */
#ifndef BATCH_H
#define BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "arrow.h"
#include "column.h"

struct batch {
    char *rows;                         /* owned */
    size_t row_size;                    /* each begins with struct row */
    size_t n, capacity;
    char *bytes;                        /* of the strings of the rows; owned */
    size_t n_bytes, byte_capacity;
};

/* The out-of-line half of batch_add(). Returns 0, or -1 when out of memory. */
int batch_grow(struct batch *batch);

/* Returns a new row, whose content is undefined; NULL when out of memory. Valid until the next call. */
static inline void *batch_add(struct batch *batch)
{
    if (batch->n == batch->capacity && batch_grow(batch) < 0)
        return NULL;
    return batch->rows + batch->n++ * batch->row_size;
}

/* Returns space for a string of up to max bytes, which the caller fills in; NULL when out of memory. */
char *batch_reserve_string(struct batch *batch, size_t max);

/* Adds the string, which ends there. */
struct row_string batch_add_string(struct batch *batch, const char *end);

/* Makes an array of n columns of all rows, and removes the rows. Returns 0, or -1 when out of memory: then the rows
 * are still there, and out is released. */
int batch_export(struct batch *batch, const struct column *const *columns, size_t n, struct names *names,
                 struct ArrowArray *out);

void batch_clear(struct batch *batch);

#endif
