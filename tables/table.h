/* A table of what is in a capture: its columns, and how its rows come to be. Most tables are sinks that make a row of
 * each call. Those of functions and stacks add up first, and make their rows when all is converted.
 *
 *     table_find(), kind->make()
 *     between the steps of a conversion to table->sink: batch_export() of table->batch
 *     when all is converted: kind->fill(), again as long as it returns 1, and batch_export()
 *     table_free() */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "convert/slices/flows.h"
#include "batch.h"
#include "column.h"

/* Of the names, units and meanings of the columns: the second number grows when there are more, the first one when one
 * is other than it was. */
#define TABLE_VERSION "1.2"

/* How many rows a batch has, or bytes of strings, or a few more. */
#define TABLE_BATCH_ROWS (1 << 16)
#define TABLE_BATCH_BYTES (16 << 20)

struct table;

struct table_kind {
    const char *name;
    const struct column *columns;
    size_t n_columns;
    struct flows_choice flows;          /* which flow events it needs */
    bool has_estimates;                 /* of calls of muted functions */
    /* Makes an empty table. Returns NULL when out of memory. */
    struct table *(*make)(void);
    /* Adds rows up to TABLE_BATCH_ROWS when all is converted. Returns 1; 0 when there are no more; -1 when out of
     * memory. NULL: there are none. */
    int (*fill)(struct table *table);
    /* Frees what is the kind's own, and the table itself. */
    void (*free)(struct table *table);
};

/* The first member of each kind's own. */
struct table {
    const struct table_kind *kind;
    struct sink *sink;                  /* gets what is converted; broken when out of memory */
    struct batch batch;
    struct names names;
    uint64_t n_left_out;                /* calls that are in no row, as there were too many different stacks */
};

/* The kinds, in the order of the documentation; the last one is NULL. */
extern const struct table_kind *const table_kinds[];

/* Returns the kind of this name, or NULL. */
const struct table_kind *table_find(const char *name);

void table_init(struct table *table, const struct table_kind *kind, struct sink *sink, size_t row_size);

/* Accepts NULL. */
void table_free(struct table *table);

/* Adds a row. Returns NULL when out of memory; then the sink is broken. */
void *table_add(struct table *table);

#endif
