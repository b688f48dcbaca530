#include "convert/slices/split.h"

#include "check.h"

static void ignore(void *arg, enum diagnostic_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

/* n blocks of 1,000 records each, a record every 10 ns, and nothing for as long after each. */
static struct reader *make(struct check_capture *capture, uint32_t n)
{
    static const struct diagnostics diagnostics = { ignore, NULL };
    static struct pnr_record records[1000];
    struct pnr_err err;
    check_capture_make(capture);
    for (uint32_t i = 0; i < 1000; i++)
        records[i] = pnr_record_make(10 * i, i % 2 ? PNR_RETURN : PNR_CALL, 0, 1);
    for (uint32_t k = 0; k < n; k++)
        check_block(capture, 1, k, 0, 20000 * k, records, 1000);
    struct reader *reader = reader_open(capture->process, NULL, &diagnostics, &err);
    cr_assert_not_null(reader);
    return reader;
}

/* What a window becomes: so many bytes for each record in it, and more for what is open. */
static uint64_t become(uint64_t from_ns, uint64_t to_ns, uint32_t n, uint64_t bytes, uint64_t open_bytes)
{
    uint64_t records = 0;
    for (uint32_t k = 0; k < n; k++)
        for (uint64_t i = 0; i < 1000; i++)
            records += 20000 * k + 10 * i >= from_ns && 20000 * k + 10 * i < to_ns;
    return records * bytes + open_bytes;
}

/* Row by row: what a record becomes, and what is open; the size; how many files there are at most, and tries. */
Test(split, makes_windows)
{
    static const struct { uint64_t bytes, open_bytes, size; unsigned n_files, n_tries; } table[] = {
        { 90, 0, 100000000, 1, 1 },
        { 90, 0, 1000000, 6, 6 },
        { 90, 100, 100000, 55, 55 },
        { 300, 0, 1000000, 19, 22 },
        { 2, 0, 100000, 2, 4 },
        { 0, 0, 100000, 1, 4 },
        { 90, 200000, 100000, 10, 100 },        /* more is open than a file should have */
    };
    const uint32_t n = 50;
    struct check_capture capture;
    struct reader *reader = make(&capture, n);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t from_ns, to_ns, before_ns = 0, limit = table[i].size > table[i].open_bytes * 4 ? table[i].size :
                                                        table[i].open_bytes * 4;
        unsigned n_files = 0, n_tries = 0;
        struct split *split = split_new(&reader, 1, 0, 0, UINT64_MAX, table[i].size);
        cr_assert_not_null(split);
        for (; split_next(split, &from_ns, &to_ns) && n_tries < 10000; n_tries++) {
            cr_assert(from_ns == before_ns && to_ns > from_ns);
            struct split_result result = { .n_open = table[i].open_bytes / 100 };
            result.bytes = become(from_ns, to_ns, n, table[i].bytes, table[i].open_bytes);
            result.events = result.bytes / 100;
            if (!split_judge(split, &result))
                continue;
            n_files++;
            before_ns = to_ns;
            cr_expect(result.bytes <= limit || split_n_oversized(split), "row %zu: %lu", i, result.bytes);
        }
        cr_expect_eq(to_ns, UINT64_MAX);
        cr_expect(n_files <= table[i].n_files && n_tries <= table[i].n_tries, "row %zu: %u files, %u tries", i, n_files,
                  n_tries);
        cr_expect_eq(split_n_oversized(split) > 0, i >= 6, "row %zu", i);
        split_free(split);
    }
    reader_close(reader);
    check_capture_remove(&capture);
}

/* What is wanted is not all. */
Test(split, stays_inside)
{
    struct check_capture capture;
    struct reader *reader = make(&capture, 50);
    struct split *split = split_new(&reader, 1, 0, 305000, 555555, 200000);
    uint64_t from_ns, to_ns, expected = 305000;
    unsigned n = 0;
    for (; split_next(split, &from_ns, &to_ns); n++) {
        cr_expect_eq(from_ns, expected);
        expected = to_ns;
        split_judge(split, &(struct split_result){ .bytes = 150000, .events = 1500 });
    }
    cr_expect_eq(to_ns, 555555);
    cr_expect(n >= 5, "%u", n);
    split_free(split);
    reader_close(reader);
    check_capture_remove(&capture);
}
