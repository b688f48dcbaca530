#include "tables/stream.h"

#include "check.h"

/* Blocks of 8,000 calls each, in main, which is open all the time. */
static void make_calls(struct check_capture *capture, uint32_t n_blocks)
{
    static struct pnr_record records[16001];
    check_capture_make(capture);
    for (uint32_t i = 0; i < n_blocks; i++) {
        records[0] = pnr_record_make(0, i ? PNR_OPEN : PNR_CALL, 0, 1);
        for (uint32_t k = 0; k < 8000; k++) {
            records[2 * k + 1] = pnr_record_make(20 * k + 10, PNR_CALL, 0, 2 + k % 2);
            records[2 * k + 2] = pnr_record_make(20 * k + 20, PNR_RETURN, 0, 2 + k % 2);
        }
        check_block(capture, 1, i, 0, 1000 + 200000 * i, records, 16001);
    }
}

static struct query make_query(const char *path, const char *table, struct findings *findings)
{
    struct query query = { .kind = table_find(table), .n_paths = 1, .findings = findings_share(findings) };
    query.paths = calloc(1, sizeof *query.paths);
    query.paths[0] = strdup(path);
    query.n_columns = query.kind->n_columns;
    query.columns = calloc(query.n_columns, sizeof *query.columns);
    query.options = calloc(1, sizeof *query.options);
    for (size_t i = 0; i < query.n_columns; i++)
        query.columns[i] = &query.kind->columns[i];
    return query;
}

static struct ArrowArrayStream open_stream(const char *path, const char *table, struct findings *findings)
{
    struct ArrowArrayStream stream;
    struct query query = make_query(path, table, findings);
    struct pnr_err err;
    cr_assert_eq(stream_open(&stream, &query, &err), 0);
    return stream;
}

/* However many batches are taken, and whatever is released first, nothing is left: AddressSanitizer reports leaks. */
Test(stream, stops_early)
{
    struct check_capture capture;
    struct findings *findings = findings_new();
    make_calls(&capture, 20);
    for (unsigned i = 0; i < 50; i++) {
        struct ArrowArrayStream stream = open_stream(capture.path, table_kinds[i % 5]->name, findings);
        struct ArrowSchema schema;
        struct ArrowArray arrays[2] = { { .length = 0 } };
        cr_assert_eq(stream.get_schema(&stream, &schema), 0);
        for (unsigned k = 0; k < i % 3; k++)
            cr_assert_eq(stream.get_next(&stream, &arrays[k]), 0);
        if (i % 2)
            stream.release(&stream);
        for (unsigned k = 0; k < i % 3; k++)
            if (arrays[k].release)
                arrays[k].release(&arrays[k]);
        if (stream.release)
            stream.release(&stream);
        schema.release(&schema);
        cr_expect_null(schema.release);
    }
    findings_release(findings);
    check_capture_remove(&capture);
}

/* Every slice is in one batch. The name of main is new in the last one, as main ends last. */
Test(stream, gives_batches)
{
    struct check_capture capture;
    struct findings *findings = findings_new();
    make_calls(&capture, 20);
    struct ArrowArrayStream stream = open_stream(capture.path, "slices", findings);
    struct ArrowArray first, array;
    int64_t n_rows, n_batches = 1;
    cr_assert_eq(stream.get_next(&stream, &first), 0);
    for (n_rows = first.length; stream.get_next(&stream, &array) == 0 && array.release; n_batches++) {
        cr_expect_eq(array.n_children, first.n_children);
        cr_expect_leq(array.length, TABLE_BATCH_ROWS + 16384);
        n_rows += array.length;
        cr_expect_eq(array.children[4]->dictionary->length, n_rows < 160001 ? 2 : 3);
        array.release(&array);
    }
    cr_expect_eq(n_rows, 160001);
    cr_expect_geq(n_batches, 3);
    first.release(&first);
    stream.release(&stream);
    findings_release(findings);
    check_capture_remove(&capture);
}

Test(stream, reports_what_is_missing)
{
    struct ArrowArrayStream stream;
    struct findings *findings = findings_new();
    struct query query = make_query("/nonexistent/run.pnr", "functions", findings);
    struct pnr_err err;
    cr_expect_eq(stream_open(&stream, &query, &err), -1);
    cr_expect_eq(err.code, PNR_E_SYSTEM);
    query_clear(&query);
    findings_release(findings);
}

/* One capture after another; in a batch are rows of one. Those that are missing, and nothing else, are reported. */
Test(stream, reads_several)
{
    struct check_capture first, second;
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    struct findings *findings = findings_new();
    struct pnr_err err;
    make_calls(&first, 1);
    make_calls(&second, 2);
    struct query query = make_query(first.path, "slices", findings);
    query.paths = realloc(query.paths, 4 * sizeof *query.paths);
    query.paths[1] = strdup("/nonexistent/1.pnr");
    query.paths[2] = strdup(second.path);
    query.paths[3] = strdup("/nonexistent/2.pnr");
    query.n_paths = 4;
    cr_assert_eq(query_find_captures(&query, &err), 0);
    cr_assert_eq(stream_open(&stream, &query, &err), 0);
    for (int64_t n = 8001; n <= 16001; n += 8000) {
        cr_assert_eq(stream.get_next(&stream, &array), 0);
        cr_expect_eq(array.length, n);
        array.release(&array);
    }
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(stream.get_next(&stream, &array), 0);
        cr_expect_null(array.release);
    }
    stream.release(&stream);
    char *lines[3];
    for (size_t i = 0; i < 3; i++)
        lines[i] = findings_copy(findings, i);
    cr_expect_eq(strncmp(lines[0], "/nonexistent/1.pnr", 18), 0);
    cr_expect_eq(strncmp(lines[1], "/nonexistent/2.pnr", 18), 0);
    cr_expect_null(lines[2]);
    free(lines[0]);
    free(lines[1]);
    findings_release(findings);
    check_capture_remove(&first);
    check_capture_remove(&second);
}

/* A copy has the texts until then, and stays when there are more. */
Test(texts, are_shared)
{
    struct texts texts;
    texts_init(&texts);
    cr_expect_eq(texts_add(&texts, check_string("one")), 0);
    cr_expect_eq(texts_add(&texts, check_string("")), 1);
    cr_expect_eq(texts_add(&texts, check_string("one")), 0);
    struct texts_copy *copy = texts_share(&texts), *again = texts_share(&texts);
    cr_expect_eq(copy, again);
    cr_expect_eq(texts_add(&texts, check_string("two")), 2);
    struct texts_copy *more = texts_share(&texts);
    cr_expect_neq(more, copy);
    texts_clear(&texts);
    cr_expect_eq(copy->n, 2);
    cr_expect_eq(copy->offsets[2], 3);
    cr_expect_eq(more->offsets[3], 6);
    cr_expect_eq(memcmp(more->bytes, "onetwo", 6), 0);
    texts_release(copy);
    texts_release(again);
    texts_release(more);
}

Test(findings, are_kept_once)
{
    struct findings *findings = findings_new();
    struct diagnostics diagnostics = findings_diagnostics(findings);
    for (int i = 0; i < 2 * FINDINGS_MAX; i++)
        diagnostics_report(&diagnostics, DIAGNOSTIC_DAMAGE, "line %d", i / 2 * 2 % (FINDINGS_MAX + 20));
    char *first = findings_copy(findings, 0), *second = findings_copy(findings, 1), *more;
    cr_expect_str_eq(first, "line 0");
    cr_expect_str_eq(second, "line 2");
    size_t n = 0;
    while ((more = findings_copy(findings, n))) {
        free(more);
        n++;
    }
    cr_expect_eq(n, 60);
    free(first);
    free(second);
    findings_release(findings);
}
