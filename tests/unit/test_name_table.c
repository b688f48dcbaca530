/* recorder/name_table.h: the numbers and names of functions, threads and tracks. */
#include "session_fixture.h"

/* Functions that have all in common share a number. */
Test(name_table, finds_functions_again, .init = begin, .fini = end)
{
    static const struct { enum pnr_function_kind kind; uint32_t line; const char *strings[3]; } functions[] = {
        { PNR_FUNCTION_PLAIN, 1, { "m", "f", "m.py" } }, { PNR_FUNCTION_PLAIN, 2, { "m", "f", "m.py" } },
        { PNR_FUNCTION_GENERATOR, 1, { "m", "f", "m.py" } }, { PNR_FUNCTION_PLAIN, 1, { "mf", "", "m.py" } },
        { PNR_FUNCTION_PLAIN, 1, { "m", "fm", ".py" } }, { PNR_FUNCTION_PLAIN, 1, { "", "", "" } },
    };
    struct rec_totals totals;
    uint32_t n_functions;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < sizeof functions / sizeof *functions; i++) {
            const struct pnr_string strings[3] = { string(functions[i].strings[0]), string(functions[i].strings[1]),
                                                   string(functions[i].strings[2]) };
            cr_expect_eq(rec_name_table_add_function(functions[i].kind, functions[i].line, strings), i + 1, "row %u",
                         i);
        }
    }
    rec_session_stop(&totals);
    cr_expect_str_eq(find_property(process, "unnamed", &n_functions), "");
    cr_expect_eq(n_functions, sizeof functions / sizeof *functions);
}

/* Names take an eighth of the greatest size: what comes then shares one entry. */
Test(name_table, limits_names_to_their_share, .init = begin_small, .fini = end)
{
    static char name[60000];
    struct rec_totals totals;
    uint32_t n_functions, index, expected = 1;
    memset(name, 'x', sizeof name);
    const struct pnr_string strings[3] = { { name, sizeof name }, string("f"), string("m.py") };
    while ((index = rec_name_table_add_function(PNR_FUNCTION_PLAIN, expected, strings)) == expected && expected < 1000)
        expected++;
    cr_expect_eq(index, expected - 1, "the second that does not fit has the first one's entry");
    cr_expect_eq(rec_name_table_add_function(PNR_FUNCTION_PLAIN, 1, strings), 1, "what has a number keeps it");
    rec_session_stop(&totals);
    cr_expect_str_eq(find_property(process, "unnamed", &n_functions), "2");
    cr_expect_eq(n_functions, expected - 1);
    cr_expect_geq((n_functions - 1) * sizeof name, REC_MIN_SIZE / 16 - sizeof name);
    cr_expect_leq((n_functions - 1) * sizeof name, REC_MIN_SIZE / 16 + sizeof name);
}

/* Threads and tracks are numbered in one sequence. */
Test(name_table, numbers_threads_and_tracks, .init = begin, .fini = end)
{
    static const struct { uint32_t index, number; uint8_t kind; const char *name; } expected[] = {
        { 1, 7, 0, "name" }, { 2, 7, PNR_THREAD_GREENLET, "one" }, { 3, 7, 0, "name" },
        { 4, 7, PNR_THREAD_GREENLET, "two" }, { 5, 7, PNR_THREAD_GREENLET, "three" }, { 6, 7, 0, "name" },
        { 3, 7, 0, "other" } };
    struct rec_totals totals;
    struct rec_buffer *other;
    struct pnr_name entry;
    struct pnr_err err;
    size_t at = PNR_NAMES_HEADER_SIZE, n = 0, size;
    new_buffer(7);
    cr_expect_eq(rec_name_table_add_track(PNR_THREAD_GREENLET, 7, string("one")), 2);
    other = new_buffer(7);
    cr_expect_eq(rec_name_table_add_track(PNR_THREAD_GREENLET, 7, string("two")), 4);
    cr_expect_eq(rec_name_table_add_track(PNR_THREAD_GREENLET, 7, string("three")), 5);
    new_buffer(7);
    rec_name_table_rename_thread(other->number, 7, string("other"));
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_threads, 3);
    const char *bytes = read_name_table(process, &size);
    while (pnr_name_decode(bytes, size, &at, &entry, &err) == 1) {
        if (entry.type != PNR_NAME_THREAD)
            continue;
        cr_assert_lt(n, sizeof expected / sizeof *expected);
        cr_expect_eq(entry.index, expected[n].index, "entry %zu", n);
        cr_expect_eq(entry.number, expected[n].number, "entry %zu", n);
        cr_expect_eq(entry.kind, expected[n].kind, "entry %zu", n);
        cr_expect_eq(entry.strings[0].size, strlen(expected[n].name), "entry %zu", n);
        cr_expect_eq(memcmp(entry.strings[0].bytes, expected[n].name, entry.strings[0].size), 0, "entry %zu", n);
        n++;
    }
    cr_expect_eq(n, sizeof expected / sizeof *expected);
}
