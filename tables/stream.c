#include "stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert.h"
#include "convert/learn_rates.h"
#include "convert/open_capture.h"
#include "schema.h"

enum stream_phase {
    STREAM_CONVERTS, STREAM_FILLS,      /* rows come from the conversion; from what it has added up */
    STREAM_ENDED, STREAM_FAILED
};

/* A stream's private_data. */
struct stream {
    struct query query;
    struct capture capture;
    struct selection *selection;        /* owned */
    struct table *table;                /* owned, like the next */
    struct conversion *conversion;
    struct diagnostics diagnostics;
    struct convert_count count;
    uint64_t start_realtime_ns;         /* of the trace; 0: not known */
    enum stream_phase phase;
    char error[1024];                   /* of the last failure */
};

void query_clear(struct query *query)
{
    for (size_t i = 0; i < query->n_options; i++)
        free(query->options[i].text);
    free(query->options);
    free(query->columns);
    free(query->path);
    findings_release(query->findings);
    *query = (struct query){ .n_options = 0 };
}

/* Makes the selection of a query. Returns NULL if there is nothing wrong; else as query_check(). */
static const char *make_selection(const struct query *query, struct selection **selection, size_t *i)
{
    *i = 0;
    *selection = selection_new();
    if (!*selection)
        return "out of memory";
    for (; *i < query->n_options; ++*i) {
        const char *problem = selection_add(*selection, query->options[*i].option, query->options[*i].text);
        if (problem)
            return problem;
    }
    return NULL;
}

const char *query_check(const struct query *query, size_t *i)
{
    struct selection *selection;
    const char *problem = make_selection(query, &selection, i);
    selection_free(selection);
    return problem;
}

/* Opens what a query selects of its capture. The caller frees the selection in any case, and closes the capture unless
 * that has failed. Returns 0, or -1 and fills err as stream_open() does. */
static int open_selected(const struct query *query, const struct diagnostics *diagnostics, struct selection **selection,
                         struct capture *capture, struct pnr_err *err)
{
    size_t i;
    const char *problem = make_selection(query, selection, &i);
    if (problem)
        return pnr_err_set(err, PNR_OK, NULL, 0, problem);
    const struct capture_paths from = { .paths = (const char *const *)&query->path, .n = 1 };
    return capture_open(capture, &from, *selection, diagnostics, err);
}

/* ---- the schema ---- */

/* start_realtime_ns: of the trace; 0: not known. Returns 0, or -1 when out of memory. */
static int describe_table(const struct query *query, uint64_t start_realtime_ns, struct ArrowSchema *out)
{
    char start[32];
    snprintf(start, sizeof start, "%" PRIu64, start_realtime_ns);
    const struct schema_entry metadata[] = {
        { "panopticon.table", query->kind->name }, { "panopticon.table_version", TABLE_VERSION },
        { "panopticon.version", PANOPTICON_VERSION }, { "panopticon.capture", query->path },
        { "panopticon.start_realtime_ns", start },      /* last: left out if it is not known */
    };
    size_t n = sizeof metadata / sizeof *metadata - (start_realtime_ns == 0);
    return schema_make(out, query->columns, query->n_columns, metadata, n);
}

int stream_describe(const struct query *query, struct ArrowSchema *out, struct pnr_err *err)
{
    struct selection *selection;
    struct capture capture;
    const struct diagnostics diagnostics = findings_diagnostics(query->findings);
    int result = open_selected(query, &diagnostics, &selection, &capture, err);
    if (result == 0) {
        result = describe_table(query, convert_extent(capture.readers, capture.n).start_realtime_ns, out);
        if (result < 0)
            pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
        capture_close(&capture);
    }
    selection_free(selection);
    return result;
}

/* ---- the stream ---- */

static int fail_stream(struct stream *stream, int error, const char *text)
{
    snprintf(stream->error, sizeof stream->error, "%s", text);
    stream->phase = STREAM_FAILED;
    return error;
}

static int fail_stream_err(struct stream *stream, const struct pnr_err *err)
{
    char text[sizeof stream->error];
    return fail_stream(stream, err->code == PNR_E_MEMORY ? ENOMEM : EIO, pnr_err_describe(err, text, sizeof text));
}

static void free_stream(struct stream *stream)
{
    conversion_free(stream->conversion);
    table_free(stream->table);
    if (stream->capture.readers)
        capture_close(&stream->capture);
    selection_free(stream->selection);
    query_clear(&stream->query);
    free(stream);
}

/* All is converted: reports what was found. Returns 0, or an errno. */
static int end_conversion(struct stream *stream)
{
    const struct capture *capture = &stream->capture;
    conversion_free(stream->conversion);
    stream->conversion = NULL;
    stream->phase = STREAM_FILLS;
    if (capture_is_newer(capture))
        return fail_stream(stream, EIO, "recorded by a later version: read it with that version");
    anomalies_report(capture->readers, capture->n, convert_zero_ns(capture->readers, capture->n), capture->anomalies,
                     &stream->diagnostics);
    return 0;
}

static bool is_batch(const struct batch *batch)
{
    return batch->n >= TABLE_BATCH_ROWS || batch->n_bytes >= TABLE_BATCH_BYTES;
}

/* Converts until there are enough rows, or all is converted. Returns 0, or an errno. */
static int convert_some(struct stream *stream)
{
    const struct table *table = stream->table;
    struct pnr_err err;
    int status = 1;
    while (status > 0 && !is_batch(&table->batch) && !table->sink->is_broken)
        status = conversion_step(stream->conversion, &err);
    if (table->sink->is_broken || table->names.is_out_of_memory)
        return fail_stream(stream, ENOMEM, "out of memory");
    if (status < 0)
        return fail_stream_err(stream, &err);
    return status == 0 ? end_conversion(stream) : 0;
}

/* Adds the rows of what was added up. Returns 0, or an errno. */
static int fill_some(struct stream *stream)
{
    struct table *table = stream->table;
    int status = table->kind->fill ? table->kind->fill(table) : 0;
    if (status < 0)
        return fail_stream(stream, ENOMEM, "out of memory");
    if (status == 0) {
        stream->phase = STREAM_ENDED;
        if (table->n_left_out)
            diagnostics_report(&stream->diagnostics, DIAGNOSTIC_DAMAGE,
                               "%s: calls left out, as there were too many different stacks: %" PRIu64,
                               stream->query.path, table->n_left_out);
    }
    return 0;
}

static int get_next(struct ArrowArrayStream *self, struct ArrowArray *out)
{
    struct stream *stream = self->private_data;
    struct table *table = stream->table;
    int error = 0;
    out->release = NULL;
    if (stream->phase == STREAM_CONVERTS)
        error = convert_some(stream);
    if (!error && stream->phase == STREAM_FILLS && !is_batch(&table->batch))
        error = fill_some(stream);
    if (stream->phase == STREAM_FAILED)
        return error ? error : EIO;     /* it has failed before, or now */
    if (table->batch.n == 0)
        return 0;
    if (batch_export(&table->batch, stream->query.columns, stream->query.n_columns, &table->names, out) < 0)
        return fail_stream(stream, ENOMEM, "out of memory");
    return 0;
}

static int get_schema(struct ArrowArrayStream *self, struct ArrowSchema *out)
{
    struct stream *stream = self->private_data;
    if (describe_table(&stream->query, stream->start_realtime_ns, out) == 0)
        return 0;
    snprintf(stream->error, sizeof stream->error, "out of memory");
    return ENOMEM;
}

static const char *get_last_error(struct ArrowArrayStream *self)
{
    const struct stream *stream = self->private_data;
    return *stream->error ? stream->error : NULL;
}

static void release_stream(struct ArrowArrayStream *self)
{
    free_stream(self->private_data);
    self->release = NULL;
}

/* Learns what is needed to estimate calls that were not recorded. Returns 0, or -1 and fills err. */
static int estimate_hidden(struct stream *stream, struct pnr_err *err)
{
    struct capture *capture = &stream->capture;
    if (!stream->query.kind->has_estimates)
        return 0;
    int status = rates_learn(capture->readers, capture->n, stream->selection, NULL, capture->rates, err);
    capture->has_rates = status > 0;
    return status < 0 ? -1 : 0;
}

/* Fixes the selected time. Returns 0, or -1 and fills err. */
static int settle_stream(struct stream *stream, struct pnr_err *err)
{
    const struct selection_extent extent = convert_extent(stream->capture.readers, stream->capture.n);
    stream->start_realtime_ns = extent.start_realtime_ns;
    const char *problem = selection_is_all(stream->selection) ? NULL : selection_settle(stream->selection, &extent);
    return problem ? pnr_err_set(err, PNR_OK, NULL, 0, problem) : 0;
}

static int prepare_stream(struct stream *stream, struct pnr_err *err)
{
    struct capture *capture = &stream->capture;
    if (open_selected(&stream->query, &stream->diagnostics, &stream->selection, capture, err) < 0 ||
        settle_stream(stream, err) < 0 || estimate_hidden(stream, err) < 0)
        return -1;
    stream->table = stream->query.kind->make();
    if (!stream->table)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    const struct convert_options options = { .selection = stream->selection, .flows = stream->query.kind->flows,
                                             .rates = capture->has_rates ? capture->rates : NULL };
    stream->conversion = conversion_begin(capture->readers, capture->n, &options, stream->table->sink, &stream->count,
                                          capture->anomalies, err);
    return stream->conversion ? 0 : -1;
}

int stream_open(struct ArrowArrayStream *self, struct query *query, struct pnr_err *err)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream) {
        query_clear(query);
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    }
    stream->query = *query;
    stream->diagnostics = findings_diagnostics(query->findings);
    if (prepare_stream(stream, err) < 0) {
        free_stream(stream);
        return -1;
    }
    *self = (struct ArrowArrayStream){ get_schema, get_next, get_last_error, release_stream, stream };
    return 0;
}
