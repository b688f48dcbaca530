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
    STREAM_BEGINS,                      /* the capture has ended: the next one comes, if there is one */
    STREAM_ENDED, STREAM_FAILED
};

/* The capture that is read at present. All is owned. */
struct stream_source {
    const char *path;                   /* borrowed from the query */
    struct capture capture;
    struct selection *selection;
    struct table *table;
    struct conversion *conversion;
    struct convert_count count;
    uint64_t start_realtime_ns;         /* of the trace; 0: not known */
};

/* A stream's private_data. */
struct stream {
    struct query query;
    size_t n_begun;                     /* of the captures of the query */
    struct stream_source source;
    struct diagnostics diagnostics;
    enum stream_phase phase;
    char error[1024];                   /* of the last failure */
};

void query_clear(struct query *query)
{
    for (size_t i = 0; i < query->n_options; i++)
        free(query->options[i].text);
    free(query->options);
    free(query->columns);
    for (size_t i = 0; i < query->n_paths; i++)
        free(query->paths[i]);
    free(query->paths);
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

static int open_path(const char *path, const struct selection *selection, const struct diagnostics *diagnostics,
                     struct capture *capture, struct pnr_err *err)
{
    return capture_open(capture, &(struct capture_paths){ .paths = &path, .n = 1 }, selection, diagnostics, err);
}

/* Reports why a capture of several is left out, unless that has been done. Returns 0; or -1 when out of memory. */
static int report_left_out(const char *path, const struct pnr_err *err, const struct diagnostics *diagnostics)
{
    if (err->code == PNR_E_MEMORY)
        return -1;
    if (err->code != PNR_OK)
        diagnostics_err(diagnostics, DIAGNOSTIC_DAMAGE, err);
    else if (*err->what)                /* it is all of another time than the selected one */
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: %s", path, err->what);
    return 0;
}

int query_find_captures(const struct query *query, struct pnr_err *err)
{
    const struct diagnostics diagnostics = findings_diagnostics(query->findings);
    size_t n_found = 0;
    for (size_t i = 0; i < query->n_paths; i++) {
        struct capture capture;
        if (open_path(query->paths[i], NULL, &diagnostics, &capture, err) == 0) {
            capture_close(&capture);
            n_found++;
        } else if (query->n_paths == 1 || report_left_out(query->paths[i], err, &diagnostics) < 0) {
            return -1;
        }
    }
    return n_found || !query->n_paths ? 0 : pnr_err_set(err, PNR_OK, NULL, 0, "");
}

/* Opens what a query selects of a capture. The caller frees the selection in any case, and closes the capture unless
 * that has failed. Returns 0, or -1 and fills err as stream_open() does. */
static int open_selected(const struct query *query, const char *path, const struct diagnostics *diagnostics,
                         struct selection **selection, struct capture *capture, struct pnr_err *err)
{
    size_t i;
    const char *problem = make_selection(query, selection, &i);
    if (problem)
        return pnr_err_set(err, PNR_OK, NULL, 0, problem);
    return open_path(path, *selection, diagnostics, capture, err);
}

/* ---- the schema ---- */

/* start_realtime_ns: of the trace; 0: not known. Returns 0, or -1 when out of memory. */
static int describe_table(const struct query *query, uint64_t start_realtime_ns, struct ArrowSchema *out)
{
    char start[32];
    bool is_one = query->n_paths == 1;
    snprintf(start, sizeof start, "%" PRIu64, start_realtime_ns);
    const struct schema_entry metadata[] = {
        { "panopticon.table", query->kind->name }, { "panopticon.table_version", TABLE_VERSION },
        { "panopticon.version", PANOPTICON_VERSION },
        { "panopticon.capture", is_one ? query->paths[0] : "" },    /* last: what is known of one capture only */
        { "panopticon.start_realtime_ns", start },
    };
    size_t n = sizeof metadata / sizeof *metadata - (is_one ? start_realtime_ns == 0 : 2);
    return schema_make(out, query->columns, query->n_columns, metadata, n);
}

/* Finds the start of the trace of the query's one capture. Returns 0, or -1 and fills err. */
static int find_start(const struct query *query, uint64_t *start_realtime_ns, struct pnr_err *err)
{
    struct selection *selection;
    struct capture capture;
    const struct diagnostics diagnostics = findings_diagnostics(query->findings);
    int result = open_selected(query, query->paths[0], &diagnostics, &selection, &capture, err);
    if (result == 0) {
        *start_realtime_ns = convert_extent(capture.readers, capture.n).start_realtime_ns;
        capture_close(&capture);
    }
    selection_free(selection);
    return result;
}

int stream_describe(const struct query *query, struct ArrowSchema *out, struct pnr_err *err)
{
    uint64_t start_realtime_ns = 0;
    if (query->n_paths == 1 && find_start(query, &start_realtime_ns, err) < 0)
        return -1;
    if (describe_table(query, start_realtime_ns, out) == 0)
        return 0;
    return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
}

/* ---- the present capture ---- */

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

static void close_source(struct stream_source *source)
{
    conversion_free(source->conversion);
    table_free(source->table);
    if (source->capture.readers)
        capture_close(&source->capture);
    selection_free(source->selection);
    *source = (struct stream_source){ .path = NULL };
}

static void free_stream(struct stream *stream)
{
    close_source(&stream->source);
    query_clear(&stream->query);
    free(stream);
}

/* All is converted: reports what was found. Returns 0, or an errno. */
static int end_conversion(struct stream *stream)
{
    static const char later[] = "recorded by a later version: read it with that version";
    struct stream_source *source = &stream->source;
    const struct capture *capture = &source->capture;
    conversion_free(source->conversion);
    source->conversion = NULL;
    stream->phase = STREAM_FILLS;
    if (capture_is_newer(capture)) {
        if (stream->query.n_paths == 1)
            return fail_stream(stream, EIO, later);
        diagnostics_report(&stream->diagnostics, DIAGNOSTIC_DAMAGE, "%s: %s", source->path, later);
    }
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
    const struct table *table = stream->source.table;
    struct pnr_err err;
    int status = 1;
    while (status > 0 && !is_batch(&table->batch) && !table->sink->is_broken)
        status = conversion_step(stream->source.conversion, &err);
    if (table->sink->is_broken || table->names.is_out_of_memory)
        return fail_stream(stream, ENOMEM, "out of memory");
    if (status < 0)
        return fail_stream_err(stream, &err);
    return status == 0 ? end_conversion(stream) : 0;
}

/* Adds the rows of what was added up. Returns 0, or an errno. */
static int fill_some(struct stream *stream)
{
    struct table *table = stream->source.table;
    int status = table->kind->fill ? table->kind->fill(table) : 0;
    if (status < 0)
        return fail_stream(stream, ENOMEM, "out of memory");
    if (status == 0) {
        stream->phase = STREAM_BEGINS;
        if (table->n_left_out)
            diagnostics_report(&stream->diagnostics, DIAGNOSTIC_DAMAGE,
                               "%s: calls left out, as there were too many different stacks: %" PRIu64,
                               stream->source.path, table->n_left_out);
    }
    return 0;
}

/* ---- the next capture ---- */

/* Learns what is needed to estimate calls that were not recorded. Returns 0, or -1 and fills err. */
static int estimate_hidden(struct stream *stream, struct pnr_err *err)
{
    struct capture *capture = &stream->source.capture;
    if (!stream->query.kind->has_estimates)
        return 0;
    int status = rates_learn(capture->readers, capture->n, stream->source.selection, NULL, capture->rates, err);
    capture->has_rates = status > 0;
    return status < 0 ? -1 : 0;
}

/* Fixes the selected time. Returns 0, or -1 and fills err. */
static int settle_source(struct stream_source *source, struct pnr_err *err)
{
    const struct selection_extent extent = convert_extent(source->capture.readers, source->capture.n);
    source->start_realtime_ns = extent.start_realtime_ns;
    const char *problem = selection_is_all(source->selection) ? NULL : selection_settle(source->selection, &extent);
    return problem ? pnr_err_set(err, PNR_OK, NULL, 0, problem) : 0;
}

static int prepare_source(struct stream *stream, struct pnr_err *err)
{
    struct stream_source *source = &stream->source;
    struct capture *capture = &source->capture;
    if (open_selected(&stream->query, source->path, &stream->diagnostics, &source->selection, capture, err) < 0 ||
        settle_source(source, err) < 0 || estimate_hidden(stream, err) < 0)
        return -1;
    source->table = stream->query.kind->make();
    if (!source->table)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    names_capture(&source->table->names, source->path, source->start_realtime_ns);
    const struct convert_options options = { .selection = source->selection, .flows = stream->query.kind->flows,
                                             .rates = capture->has_rates ? capture->rates : NULL };
    source->conversion = conversion_begin(capture->readers, capture->n, &options, source->table->sink, &source->count,
                                          capture->anomalies, err);
    return source->conversion ? 0 : -1;
}

/* Closes the capture that has ended, and begins the next one that can be read, if there is one. Returns 0; -1 when out of
 * memory, or when the only capture cannot be read, and fills err. */
static int begin_capture(struct stream *stream, struct pnr_err *err)
{
    const struct query *query = &stream->query;
    stream->phase = STREAM_ENDED;
    while (stream->n_begun < query->n_paths) {
        close_source(&stream->source);
        stream->source.path = query->paths[stream->n_begun++];
        if (prepare_source(stream, err) == 0) {
            stream->phase = STREAM_CONVERTS;
            return 0;
        }
        if (query->n_paths == 1 || report_left_out(stream->source.path, err, &stream->diagnostics) < 0)
            return -1;
        close_source(&stream->source);
    }
    return 0;
}

/* ---- the stream's functions ---- */

/* Collects rows of the present capture for a batch. Returns 0, or an errno. */
static int collect_rows(struct stream *stream)
{
    int error = 0;
    if (stream->phase == STREAM_CONVERTS)
        error = convert_some(stream);
    if (!error && stream->phase == STREAM_FILLS && !is_batch(&stream->source.table->batch))
        error = fill_some(stream);
    return error;
}

/* Collects rows of the present capture, or of the next one that has any. Returns 0, or an errno. */
static int collect_batch(struct stream *stream)
{
    struct pnr_err err;
    for (;;) {
        int error = collect_rows(stream);
        if (error || stream->phase != STREAM_BEGINS || stream->source.table->batch.n)
            return error;
        if (begin_capture(stream, &err) < 0)
            return fail_stream_err(stream, &err);
    }
}

static int get_next(struct ArrowArrayStream *self, struct ArrowArray *out)
{
    struct stream *stream = self->private_data;
    out->release = NULL;
    int error = stream->phase == STREAM_FAILED ? EIO : collect_batch(stream);
    struct table *table = stream->source.table;
    if (error || !table || table->batch.n == 0)
        return error;
    if (batch_export(&table->batch, stream->query.columns, stream->query.n_columns, &table->names, out) < 0)
        return fail_stream(stream, ENOMEM, "out of memory");
    return 0;
}

static int get_schema(struct ArrowArrayStream *self, struct ArrowSchema *out)
{
    struct stream *stream = self->private_data;
    if (describe_table(&stream->query, stream->source.start_realtime_ns, out) == 0)
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

int stream_open(struct ArrowArrayStream *self, struct query *query, struct pnr_err *err)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    stream->query = *query;
    stream->diagnostics = findings_diagnostics(query->findings);
    *query = (struct query){ .n_options = 0 };
    if (begin_capture(stream, err) == 0) {
        *self = (struct ArrowArrayStream){ get_schema, get_next, get_last_error, release_stream, stream };
        return 0;
    }
    *query = stream->query;
    stream->query = (struct query){ .n_options = 0 };
    free_stream(stream);
    return -1;
}
