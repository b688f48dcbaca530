/* A table of captures as a stream of Arrow batches. They are converted one after another, as far as the next batch needs
 * it, in the thread that asks for it. Each stream reads the captures for itself. Of several, those that cannot be read
 * are reported, and left out.
 *
 *     for each stream, with a query of its own:
 *         query_find_captures(), stream_open(), or stream_describe() for the schema alone
 *         stream->get_schema(), stream->get_next() and so on, by any thread, one at a time
 *         stream->release(), at any time
 *
 * Memory: that of one capture's conversion (convert/convert.h), the rows of one batch, and the batches that the consumer has. */
#ifndef STREAM_H
#define STREAM_H

#include <stddef.h>

#include "convert/slices/selection.h"
#include "format/error.h"
#include "arrow.h"
#include "findings.h"
#include "table.h"

/* An option that selects a part of the capture. */
struct query_option {
    enum selection_option option;
    char *text;                         /* owned by the query */
};

/* What is wanted. All is owned but the kind and what the columns point to. */
struct query {
    const struct table_kind *kind;
    const struct column **columns;
    size_t n_columns;
    struct query_option *options;
    size_t n_options;
    char **paths;                       /* of the captures */
    size_t n_paths;
    struct findings *findings;
};

void query_clear(struct query *query);

/* Looks whether there are captures under the paths. Returns 0; -1 if there is none, and fills err; its code is PNR_OK
 * when all that is wrong has been reported. */
int query_find_captures(const struct query *query, struct pnr_err *err);

/* Checks the options. Returns NULL; or what is wrong with the one whose index is *i, a static string. */
const char *query_check(const struct query *query, size_t *i);

/* Makes the schema. Returns 0, or -1 and fills err. */
int stream_describe(const struct query *query, struct ArrowSchema *out, struct pnr_err *err);

/* Opens the stream. What the query has becomes the stream's, and the query is empty, unless it fails. Returns 0, or -1
 * and fills err; its code is PNR_OK if err->what is what is wrong with the selected time. Of several captures that none
 * can be read is no failure: there are no rows. */
int stream_open(struct ArrowArrayStream *stream, struct query *query, struct pnr_err *err);

#endif
