#include "convert/slices/selection.h"

#include <time.h>

#include "check.h"

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)

/* 2026-11-26 08:00:00 UTC. */
#define MORNING (UINT64_C(1795680000) * SECOND)

/* Adds "from=5", "exclude=*.f" and so on; NULL, or what was wrong with the last one. */
static const char *add(struct selection *selection, const char *option)
{
    static const char *const names[] = { "from", "to", "process", "thread", "include", "exclude", "min-duration",
                                         "max-depth" };
    size_t size = strcspn(option, "="), i = 0;
    while (strlen(names[i]) != size || memcmp(names[i], option, size) != 0)
        i++;
    return selection_add(selection, (enum selection_option)i, option + size + 1);
}

static struct selection *make(const char *const *options, size_t n)
{
    struct selection *selection = selection_new();
    for (size_t i = 0; i < n && options[i]; i++)
        cr_assert_null(add(selection, options[i]), "%s", options[i]);
    return selection;
}

/* A trace of 10 minutes, from 08:00 UTC on, in India, where it is 13:30 then. */
Test(selection, reads_times)
{
    static const struct { const char *text; uint64_t ns; } table[] = {
        { "0", 0 },
        { "12.5", 12500000000 },
        { "12.", 12 * SECOND },
        { "20ms", 20000000 },
        { "1.5us", 1500 },
        { "7ns", 7 },
        { "0.9ns", 0 },
        { "0.0000000010000000009s", 1 },
        { "3min", 3 * MINUTE },
        { "1h", 60 * MINUTE },
        { "-5s", 10 * MINUTE - 5 * SECOND },
        { "-0", 10 * MINUTE },
        { "-1h", 0 },
        { "2026-11-26T08:00:01.5Z", 1500000000 },
        { "2026-11-26 08:00:01Z", SECOND },
        { "2026-11-26T08:01Z", MINUTE },
        { "2026-11-26T09:01+01:00", MINUTE },
        { "2026-11-26T03:01-05:00", MINUTE },
        { "2026-11-26T13:31", MINUTE },
        { "2026-11-25T08:01Z", 0 },
        { "2026-11-27T08:00Z", 24 * 60 * MINUTE },
        { "08:01Z", MINUTE },
        { "13:31:00.000000001", MINUTE + 1 },
        { "00:02-08:00", 2 * MINUTE },
        /* nearest to the trace: just before it, and just after */
        { "07:59Z", 0 },
        { "08:11Z", 11 * MINUTE },
    };
    const struct selection_extent extent = { 10 * MINUTE, MORNING };
    setenv("TZ", "Asia/Kolkata", 1);
    tzset();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct selection *selection = selection_new();
        const char *problem = selection_add(selection, SELECT_FROM, table[i].text);
        cr_expect_null(problem, "%s: %s", table[i].text, problem);
        problem = selection_settle(selection, &extent);
        cr_expect_null(problem, "%s: %s", table[i].text, problem);
        cr_expect_eq(selection_from(selection), table[i].ns, "%s: %" PRIu64, table[i].text, selection_from(selection));
        selection_free(selection);
    }
}

Test(selection, refuses_what_is_no_time)
{
    static const char *const table[] = {
        "from=", "from=-", "from=s", "from=.5", "from=1e3", "from=0x5", "from=nan", "from=5 s", "from= 5", "from=+5",
        "from=--5", "from=1.5.5", "from=5sec", "from=1d", "from=99999999999999999999", "from=9000000h", "from=:",
        "from=08:", "from=08:60", "from=25:00", "from=08:00:", "from=08:00:61.5x", "from=08:00+", "from=08:00+5",
        "from=08:00z", "from=08:00Zx", "from=2026-11-26", "from=2026-11-26T", "from=2026-13-01T08:00",
        "from=2026-02-29T08:00", "from=2026-04-31T08:00Z", "from=-08:00", "min-duration=5", "min-duration=-5s",
        "min-duration=", "max-depth=0", "max-depth=-1", "max-depth=1x", "max-depth=", "include=", "process=",
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct selection *selection = selection_new();
        cr_expect_not_null(add(selection, table[i]), "%s", table[i]);
        selection_free(selection);
    }
}

/* Row by row: from, to, and what settling says or gives. */
Test(selection, settles_windows)
{
    static const struct { const char *options[2]; uint64_t realtime; bool fails; uint64_t from, to; } table[] = {
        { { NULL }, 0, false, 0, UINT64_MAX },
        { { "from=5" }, 0, false, 5 * SECOND, UINT64_MAX },
        { { "to=5" }, 0, false, 0, 5 * SECOND },
        { { "from=5", "to=-9.5min" }, 0, false, 5 * SECOND, 30 * SECOND },
        { { "from=5", "to=5" }, 0, true, 0, 0 },
        { { "from=6", "to=5" }, 0, true, 0, 0 },
        { { "to=0" }, 0, true, 0, 0 },
        { { "from=08:00Z" }, 0, true, 0, 0 },
        /* hostile properties */
        { { "from=08:00Z" }, UINT64_MAX, true, 0, 0 },
        { { "from=08:00Z" }, UINT64_MAX / 4 - 1, false, 0, UINT64_MAX },
        /* a time of the day is sought after `from` */
        { { "from=12h", "to=08:01Z" }, MORNING, false, 12 * 60 * MINUTE, 24 * 60 * MINUTE + MINUTE },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct selection_extent extent = { 10 * MINUTE, table[i].realtime };
        struct selection *selection = make(table[i].options, 2);
        const char *problem = selection_settle(selection, &extent);
        cr_expect_eq(problem != NULL, table[i].fails, "row %zu: %s", i, problem);
        if (!table[i].fails && table[i].realtime != UINT64_MAX / 4 - 1) {
            cr_expect_eq(selection_from(selection), table[i].from, "row %zu", i);
            cr_expect_eq(selection_to(selection), table[i].to, "row %zu", i);
        }
        selection_free(selection);
    }
}

/* Row by row: options, and which of the threads 7 "main", 4194311 "worker-1" (7 come again), 9 "9" are wanted. */
Test(selection, finds_threads_and_processes)
{
    static const struct { const char *options[3]; const char *wanted; } table[] = {
        { { NULL }, "yyy" },
        { { "thread=7" }, "yyn" },
        { { "thread=4194311" }, "nyn" },
        { { "thread=*o*" }, "nyn" },
        { { "thread=main", "thread=9" }, "yny" },
        { { "thread=ma" }, "nnn" },
        { { "thread=[w]*[0-9]" }, "nyn" },
        { { "process=7" }, "yyy" },
        { { "include=main" }, "yyy" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct selection *selection = make(table[i].options, 3);
        const bool wanted[] = { selection_has_thread(selection, 7, 7, check_string("main")),
                                selection_has_thread(selection, 4194311, 7, check_string("worker-1")),
                                selection_has_thread(selection, 9, 9, check_string("9")) };
        for (size_t k = 0; k < 3; k++)
            cr_expect_eq(wanted[k], table[i].wanted[k] == 'y', "row %zu: %zu", i, k);
        selection_free(selection);
    }
    struct selection *selection = make((const char *[]){ "process=app*", "thread=9" }, 2);
    cr_expect(selection_has_process(selection, 7, 7, check_string("app.py (fork)")));
    cr_expect_not(selection_has_process(selection, 9, 9, (struct pnr_string){ NULL, 0 }));
    selection_free(selection);
}

/* Row by row: options, and which of the functions are left out: f1 to f9 of module m, file m.py; and unknown ones. */
Test(selection, judges_functions)
{
    static const struct { const char *options[4]; const char *is_hidden; bool unknown; } table[] = {
        { { "exclude=m.f1" }, "100000000", false },
        { { "include=m.f1" }, "011111111", true },
        { { "exclude=f1" }, "000000000", false },
        { { "exclude=m", "include=*.f[2-4]" }, "100011111", false },
        { { "include=m.py", "exclude=m.f9" }, "000000001", true },
        { { "include=*.f9", "exclude=m*", "include=m.f?" }, "000000000", true },
        { { "exclude=m.f\\1" }, "000000000", false },       /* a backslash is a letter, as for the recorder */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct selection *selection = make(table[i].options, 4);
        struct slice_rules rules;
        cr_assert_eq(selection_make_rules(selection, check_symbols(), &rules), 0);
        cr_assert_eq(rules.n_functions, CHECK_FUNCTIONS);
        for (size_t k = 0; k < CHECK_FUNCTIONS; k++)
            cr_expect_eq(rules.is_hidden[k], table[i].is_hidden[k] == '1', "row %zu: f%zu", i, k + 1);
        cr_expect_eq(rules.hides_unknown, table[i].unknown, "row %zu", i);
        cr_expect_eq(rules.max_depth, UINT64_MAX);
        free((bool *)rules.is_hidden);
        selection_free(selection);
    }
}

Test(selection, of_all_is_cheap)
{
    struct slice_rules rules;
    struct selection *selection = selection_new();
    cr_expect(selection_is_all(NULL));
    cr_expect(selection_is_all(selection));
    cr_assert_eq(selection_make_rules(selection, check_symbols(), &rules), 0);
    cr_expect_null(rules.is_hidden);
    cr_expect_eq(selection_min_ns(NULL, 5), 5);
    cr_assert_null(add(selection, "min-duration=1us"));
    cr_assert_null(add(selection, "max-depth=3"));
    cr_expect_not(selection_is_all(selection));
    cr_expect_eq(selection_min_ns(selection, 5), 1000);
    cr_expect_eq(selection_min_ns(selection, 5000), 5000);
    cr_assert_eq(selection_make_rules(selection, check_symbols(), &rules), 0);
    cr_expect_null(rules.is_hidden);
    cr_expect_eq(rules.max_depth, 3);
    selection_free(selection);
}
