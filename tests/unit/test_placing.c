#include "convert/read/placing.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SECOND UINT64_C(1000000000)

static uint64_t noise_state;

static uint32_t noise(void)
{
    noise_state = noise_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(noise_state >> 33);
}

static void setup(void)
{
    noise_state = 42;
}

TestSuite(placing, .init = setup);

static struct pnr_block_header make_header(uint32_t n, uint64_t end_ticks)
{
    return (struct pnr_block_header){ .flags = PNR_BLOCK_SPARSE, .thread = 1, .n_records = n, .begin.ticks = 1000,
                                      .end.ticks = end_ticks ? 1000 + end_ticks : 0 };
}

static struct placing_count apply(struct pnr_record *records, uint32_t n, uint64_t end_ticks)
{
    struct placing *placing = placing_new(NS_PER_SECOND);
    struct placing_count count;
    const struct pnr_block_header header = make_header(n, end_ticks);
    placing_apply(placing, &header, records, &count);
    placing_free(placing);
    return count;
}

/* ---- single intervals: a tick is a nanosecond ---- */

struct event {
    enum pnr_kind kind;
    uint32_t function;
    uint64_t ticks;                     /* as decoded */
    uint64_t placed;
    bool is_inexact;
};

/* Ends with a kind of 0. */
static struct placing_count check_events(const char *name, const struct event *events, uint64_t end_ticks)
{
    struct pnr_record records[64];
    uint32_t n = 0;
    for (; events[n].kind; n++)
        records[n] = pnr_record_make(events[n].ticks, events[n].kind, 7, events[n].function);
    struct placing_count count = apply(records, n, end_ticks);
    for (uint32_t i = 0; i < n; i++) {
        cr_expect_eq(pnr_record_ticks(records[i]), events[i].placed, "%s: event %u is at %lu", name, i,
                     (unsigned long)pnr_record_ticks(records[i]));
        cr_expect_eq(placing_kind(records[i]), (unsigned)events[i].kind, "%s: event %u", name, i);
        cr_expect_eq(placing_is_inexact(records[i]), events[i].is_inexact, "%s: event %u", name, i);
        cr_expect_eq(pnr_record_frame(records[i]), 7);
        cr_expect_eq(pnr_record_function(records[i]), events[i].function);
    }
    return count;
}

Test(placing, readings_stay)
{
    struct placing_count count = check_events("readings", (struct event[]){
        { PNR_CALL, 1, 10, 10, 0 }, { PNR_CALL, 2, 20, 20, 0 }, { PNR_RETURN, 2, 5000, 5000, 0 },
        { PNR_RETURN, 1, 90000, 90000, 0 }, { 0, 0, 0, 0, 0 } }, 100000);
    cr_expect_eq(count.n_events, 4);
    cr_expect_eq(count.n_unread, 0);
    cr_expect_eq(count.max_ns, 0);
}

Test(placing, spreads_events_evenly_where_nothing_is_known)
{
    struct placing_count count = check_events("even", (struct event[]){
        { PNR_CALL, 1, 100, 100, 0 }, { PNR_CALL, 2, 100, 120, 0 }, { PNR_RETURN, 2, 100, 140, 0 },
        { PNR_RETURN, 1, 160, 160, 0 }, { 0, 0, 0, 0, 0 } }, 200);
    cr_expect_eq(count.n_events, 4);
    cr_expect_eq(count.n_unread, 2);
    cr_expect_eq(count.n_inexact, 0);
    cr_expect_eq(count.max_ns, 60);
    cr_expect_eq(placing_count_quantile(&count, 500), 60);
}

/* The stretch after CALL 2 is known to be three times as long as that after CALL 1. */
Test(placing, spreads_events_by_the_stretches_that_are_known)
{
    struct event events[64] = { { 0 } };
    uint32_t n = 0;
    uint64_t at = 1000;
    for (int i = 0; i < 12; i++, at += 1000) {
        events[n++] = (struct event){ PNR_CALL, 1, at, at, 0 };
        events[n++] = (struct event){ PNR_CALL, 2, at + 100, at + 100, 0 };
        events[n++] = (struct event){ PNR_RETURN, 2, at + 400, at + 400, 0 };
        events[n++] = (struct event){ PNR_RETURN, 1, at + 500, at + 500, 0 };
    }
    struct pnr_record records[64];
    for (uint32_t i = 0; i < n; i++)
        records[i] = pnr_record_make(events[i].ticks, events[i].kind, 0, events[i].function);
    records[21] = pnr_record_make(6000, PNR_CALL, 0, 2);                /* no readings in the sixth call of 1 */
    records[22] = pnr_record_make(6000, PNR_RETURN, 0, 2);
    struct placing_count count = apply(records, n, at);
    cr_expect_eq(count.n_unread, 2);
    uint64_t call = pnr_record_ticks(records[21]), ret = pnr_record_ticks(records[22]);
    cr_expect(call >= 6095 && call <= 6110, "at %lu", (unsigned long)call);
    cr_expect(ret >= 6390 && ret <= 6405, "at %lu", (unsigned long)ret);
}

Test(placing, a_wait_is_after_the_last_event)
{
    /* readings 40 ns apart, then an interval of 200 ms, 9 ms, or 9 us: events keep their stretches */
    static const struct { uint64_t wait; bool is_inexact; } rows[] = {
        { 200000000, false }, { 9000000, true }, { 9000, true } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_events("wait", (struct event[]){
            { PNR_CALL, 1, 40, 40, 0 }, { PNR_RETURN, 1, 80, 80, 0 }, { PNR_CALL, 1, 120, 120, 0 },
            { PNR_RETURN, 1, 160, 160, 0 }, { PNR_CALL, 1, 200, 200, 0 },
            { PNR_RETURN, 1, 200, 240, rows[i].is_inexact }, { PNR_CALL, 1, 200, 280, rows[i].is_inexact },
            { PNR_RETURN, 1, rows[i].wait, rows[i].wait, 0 }, { 0, 0, 0, 0, 0 } }, rows[i].wait + 100);
}

Test(placing, keeps_within_the_ends_of_the_block)
{
    /* before the first reading, after the last one; with an end and without */
    check_events("begin", (struct event[]){ { PNR_CALL, 1, 0, 20, 0 }, { PNR_CALL, 1, 0, 40, 0 },
                                            { PNR_CALL, 1, 60, 60, 0 }, { 0, 0, 0, 0, 0 } }, 70);
    check_events("end", (struct event[]){ { PNR_CALL, 1, 30, 30, 0 }, { PNR_CALL, 1, 60, 60, 0 },
                                          { PNR_CALL, 1, 60, 67, 0 }, { PNR_CALL, 1, 60, 74, 0 },
                                          { 0, 0, 0, 0, 0 } }, 81);
    check_events("no end", (struct event[]){ { PNR_CALL, 1, 30, 30, 0 }, { PNR_CALL, 1, 60, 60, 0 },
                                             { PNR_CALL, 1, 60, 90, 0 }, { PNR_CALL, 1, 60, 120, 0 },
                                             { 0, 0, 0, 0, 0 } }, 0);
    check_events("no reading", (struct event[]){ { PNR_CALL, 1, 0, 50, 0 }, { PNR_CALL, 1, 0, 100, 0 },
                                                 { 0, 0, 0, 0, 0 } }, 0);
    check_events("no reading, but an end", (struct event[]){ { PNR_CALL, 1, 0, 50, 0 }, { PNR_CALL, 1, 0, 100, 0 },
                                                             { 0, 0, 0, 0, 0 } }, 150);
}

/* Where there are fewer ticks than events, some share their ticks: none goes back or beyond. */
Test(placing, does_not_leave_an_interval_that_is_too_short)
{
    check_events("short", (struct event[]){ { PNR_CALL, 1, 30, 30, 0 }, { PNR_CALL, 1, 30, 30, 0 },
                                            { PNR_CALL, 1, 30, 31, 0 }, { PNR_CALL, 1, 30, 31, 0 },
                                            { PNR_CALL, 1, 32, 32, 0 }, { 0, 0, 0, 0, 0 } }, 40);
    check_events("just enough", (struct event[]){ { PNR_CALL, 1, 30, 30, 0 }, { PNR_CALL, 1, 30, 31, 0 },
                                                  { PNR_CALL, 1, 30, 32, 0 }, { PNR_CALL, 1, 33, 33, 0 },
                                                  { 0, 0, 0, 0, 0 } }, 40);
    check_events("damage", (struct event[]){ { PNR_CALL, 1, 30, 30, 0 }, { PNR_CALL, 1, 30, 30, 0 },
                                             { PNR_CALL, 1, 20, 20, 0 }, { PNR_CALL, 1, 20, 35, 0 },
                                             { PNR_CALL, 1, 40, 40, 0 }, { 0, 0, 0, 0, 0 } }, 40);
}

Test(placing, open_records_are_no_events)
{
    struct placing_count count = check_events("open", (struct event[]){
        { PNR_OPEN, 1, 0, 0, 0 }, { PNR_OPEN, 2, 0, 0, 0 }, { PNR_RETURN, 2, 0, 20, 0 }, { PNR_SWITCH, 5, 40, 40, 0 },
        { PNR_OPEN, 3, 40, 40, 0 }, { PNR_OPEN, 4, 40, 40, 0 }, { PNR_RETURN, 4, 40, 60, 0 },
        { PNR_RETURN, 3, 80, 80, 0 }, { 0, 0, 0, 0, 0 } }, 100);
    cr_expect_eq(count.n_events, 4);
    cr_expect_eq(count.n_unread, 2);
}

/* No kind of a later version looks like an inexact entry. */
Test(placing, keeps_unknown_kinds_unknown)
{
    struct pnr_record records[] = { pnr_record_make(10, 0x80 | PNR_CALL, 0, 1), pnr_record_make(20, 100, 0, 1) };
    apply(records, 2, 0);
    cr_expect(placing_kind(records[0]) >= PNR_KINDS);
    cr_expect_eq(pnr_record_kind(records[1]), 100);
}

/* ---- any records ---- */

static void check_any(uint32_t n, uint64_t max_step, uint32_t n_functions)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS], placed[PNR_BLOCK_RECORDS], again[PNR_BLOCK_RECORDS];
    uint64_t ticks = 0, before = 0, end_ticks = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (noise() % 4 == 0)
            ticks += 1 + noise() % max_step;
        unsigned kind = noise() % 24 + 1;
        records[i] = pnr_record_make(ticks, kind == PNR_OPEN ? PNR_CALL : kind, noise(), n_functions ? noise() % n_functions : i);
    }
    end_ticks = noise() % 2 ? ticks + noise() % max_step : 0;
    memcpy(placed, records, n * sizeof *placed);
    memcpy(again, records, n * sizeof *again);
    struct placing_count count = apply(placed, n, end_ticks);
    apply(again, n, end_ticks);
    cr_expect_eq(memcmp(placed, again, n * sizeof *placed), 0);
    uint64_t n_unread = 0, n_inexact = 0;
    ticks = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t decoded = pnr_record_ticks(records[i]), at = pnr_record_ticks(placed[i]);
        if (decoded != ticks)
            cr_assert_eq(at, decoded);
        else
            n_unread++;
        cr_assert(at >= before && at >= decoded);
        cr_assert_eq(placing_kind(placed[i]), pnr_record_kind(records[i]));
        cr_assert_eq(placed[i].word[1], records[i].word[1]);
        n_inexact += placing_is_inexact(placed[i]);
        ticks = decoded;
        before = at;
    }
    cr_expect_eq(count.n_unread, n_unread);
    cr_expect_eq(count.n_inexact, n_inexact);
}

Test(placing, any_records_stay_in_order_and_in_their_bounds)
{
    static const uint64_t max_steps[] = { 2, 10, 100, 10000, 10000000, UINT64_C(60000000) };
    for (size_t i = 0; i < sizeof max_steps / sizeof *max_steps; i++)
        for (uint32_t n = 1; n <= PNR_BLOCK_RECORDS; n = n < 16 ? n + 1 : 2 * n)
            for (uint32_t n_functions = 0; n_functions <= 5000; n_functions += 2500)
                check_any(n, max_steps[i], n_functions);
}

Test(placing, takes_any_rate_of_ticks)
{
    static const uint64_t rates[] = { 0, 1, 1000000, 24000000, UINT64_C(5000000000), UINT64_MAX };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct placing *placing = placing_new(rates[i]);
        struct placing_count count;
        struct pnr_record records[] = { pnr_record_make(10, PNR_CALL, 0, 1), pnr_record_make(10, PNR_RETURN, 0, 1),
                                        pnr_record_make(PNR_TICKS_MAX, PNR_CALL, 0, 1) };
        const struct pnr_block_header header = make_header(3, 0);
        placing_apply(placing, &header, records, &count);
        cr_expect(pnr_record_ticks(records[1]) > 10 && pnr_record_ticks(records[1]) < PNR_TICKS_MAX);
        placing_free(placing);
    }
}

Test(placing, quantiles)
{
    struct placing_count sum = { .n_events = 0 }, count = { .n_events = 5, .n_unread = 1000, .max_ns = 70 };
    cr_expect_eq(placing_count_quantile(&sum, 990), 0);
    count.buckets[7] = 980;             /* 7 ns */
    count.buckets[17] = 15;             /* 18 and 19 */
    count.buckets[32] = 5;              /* 64 to 71 */
    placing_count_add(&sum, &count);
    placing_count_add(&sum, &count);
    cr_expect_eq(sum.n_unread, 2000);
    cr_expect_eq(placing_count_quantile(&sum, 500), 7);
    cr_expect_eq(placing_count_quantile(&sum, 990), 19);
    cr_expect_eq(placing_count_quantile(&sum, 1000), 70);
}

Test(placing, describes_the_clock)
{
    char text[256];
    struct placing_count count = { .n_events = 4000, .n_unread = 1000, .n_inexact = 1, .max_ns = 2500000 };
    count.buckets[7] = 900;             /* 7 ns */
    count.buckets[83] = 100;            /* 5,632 to 6,143 ns */
    placing_count_describe(&count, text, sizeof text);
    cr_expect_str_eq(text, "clock read at 75.0 % of the events; the readings around the others are 0.01 us apart "
                           "(median), 6.14 us (99 %), 2.50 ms (most); 0.03 % of the events may be wrong by more than "
                           "1 us");
}

/* ---- a program of known times ----
 * It is run by a recorder that reads the clock as Panopticon's does: it knows which stretches are short, and which
 * calls take 5 us or more. All times are those of the program itself. */

enum { LOOP = 1, TINY, SMALL, MIDDLE, SPIN, LONG_CALL, FUNCTIONS };

#define N_EVENTS 400000
#define CREDITS 32

static struct {
    uint64_t now;
    uint32_t n, depth, stack[8];
    uint64_t self[FUNCTIONS];
    struct { uint64_t ticks; uint8_t kind, function; bool is_read; } events[N_EVENTS];
} program;

/* Time passes in the running function: mean, within a third of it. */
static void run_for(uint64_t mean)
{
    uint64_t ns = mean - mean / 3 + noise() % (2 * (mean / 3) + 1);
    program.now += ns;
    program.self[program.stack[program.depth]] += ns;
}

static void add_event(enum pnr_kind kind, uint32_t function)
{
    program.events[program.n].ticks = program.now;
    program.events[program.n].kind = kind;
    program.events[program.n++].function = (uint8_t)function;
}

static void enter(uint32_t function)
{
    add_event(PNR_CALL, function);
    program.stack[++program.depth] = function;
}

static void leave(void)
{
    add_event(PNR_RETURN, program.stack[program.depth--]);
}

static void run_tiny(void)
{
    enter(TINY);
    run_for(15);
    leave();
}

static void run_small(void)
{
    enter(SMALL);
    run_for(40);
    run_tiny();
    run_for(25);
    leave();
}

static void run_middle(void)
{
    enter(MIDDLE);
    run_for(60);
    for (uint32_t i = noise() % 3; i > 0; i--) {
        run_tiny();
        run_for(20);
    }
    run_small();
    run_for(90);
    leave();
}

/* 5 us and more of tiny calls. */
static void run_long_call(void)
{
    enter(LONG_CALL);
    run_for(30);
    for (uint32_t i = 60 + noise() % 100; i > 0; i--) {
        run_middle();
        run_for(30);
    }
    leave();
}

static void run_program(void)
{
    program.now = 5000;
    program.stack[0] = LOOP;
    while (program.n + 3000 < N_EVENTS) {
        run_tiny();
        run_for(35);
        run_small();
        run_for(50);
        if (noise() % 16 == 0)
            run_long_call();
        run_for(20);
        if (noise() % 64 == 0) {
            enter(SPIN);
            run_for(9000);
            leave();
            run_for(20);
        }
        if (noise() % 4096 == 0)        /* waits where time is usually short */
            run_for(6000000);
    }
}

static bool is_long(uint32_t function)
{
    return function == SPIN || function == LONG_CALL;
}

/* Decides at which events the clock is read. */
static void choose_readings(void)
{
    uint32_t credit = 0;
    uint64_t guard = 0;
    for (uint32_t i = 0; i < program.n; i++) {
        uint32_t function = program.events[i].function;
        bool has_moved = program.events[i].ticks / 1000000 != guard;
        guard = program.events[i].ticks / 1000000;
        program.events[i].is_read = credit == 0 || has_moved || is_long(function);
        if (!program.events[i].is_read)
            credit--;
        else if (function == SPIN && program.events[i].kind == PNR_CALL)
            credit = 0;
        else
            credit = noise() % 2 ? 0 : noise() % CREDITS + 1;
    }
}

/* The times that the events have when they have been placed, block by block. */
static uint64_t *place_program(void)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    uint64_t *times = malloc(program.n * sizeof *times);
    struct placing *placing = placing_new(NS_PER_SECOND);
    for (uint32_t at = 0; at < program.n; at += PNR_BLOCK_RECORDS) {
        uint32_t n = program.n - at < PNR_BLOCK_RECORDS ? program.n - at : PNR_BLOCK_RECORDS;
        struct pnr_block_header header = { .flags = PNR_BLOCK_SPARSE, .n_records = n };
        struct placing_count count;
        uint64_t ticks = 0;
        header.begin.ticks = program.events[at].ticks - 5;
        header.end.ticks = at + n < program.n ? program.events[at + n].ticks : 0;
        for (uint32_t i = 0; i < n; i++) {
            if (program.events[at + i].is_read || i == 0)
                ticks = program.events[at + i].ticks - header.begin.ticks;
            records[i] = pnr_record_make(ticks, program.events[at + i].kind, 0, program.events[at + i].function);
        }
        placing_apply(placing, &header, records, &count);
        for (uint32_t i = 0; i < n; i++)
            times[at + i] = header.begin.ticks + pnr_record_ticks(records[i]);
    }
    placing_free(placing);
    return times;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a < b ? b - a : a - b;
}

Test(placing, a_program_of_known_times)
{
    run_program();
    choose_readings();
    uint64_t *times = place_program();
    uint64_t self[FUNCTIONS] = { 0 }, *errors = malloc(program.n * sizeof *errors), n_read = 0;
    uint32_t stack[8] = { 0 }, depth = 0, n_errors = 0;
    for (uint32_t i = 0; i < program.n; i++) {
        uint32_t function = depth ? program.events[stack[depth]].function : LOOP;
        self[function] += times[i] - (i ? times[i - 1] : 5000);
        n_read += program.events[i].is_read;
        if (program.events[i].kind == PNR_CALL) {
            stack[++depth] = i;
            continue;
        }
        uint32_t begin = stack[depth--];
        if (program.events[i].ticks - program.events[begin].ticks >= 5000) {
            errors[n_errors++] = distance(program.events[begin].ticks, times[begin]);
            errors[n_errors++] = distance(program.events[i].ticks, times[i]);
        }
    }
    for (uint32_t function = LOOP; function < FUNCTIONS; function++)
        cr_expect(distance(self[function], program.self[function]) * 100 <= 3 * program.self[function],
                  "function %u: %lu ns of %lu", function, (unsigned long)self[function],
                  (unsigned long)program.self[function]);
    qsort(errors, n_errors, sizeof *errors, compare_times);
    cr_expect_gt(n_errors, 1000);
    cr_expect_leq(errors[n_errors / 2], 100);
    cr_expect_leq(errors[n_errors - n_errors / 1000 - 1], 1000);
    cr_expect_lt(n_read * 5, program.n, "%lu of %u events were read", (unsigned long)n_read, program.n);
    free(errors);
    free(times);
}

/* Every event, not only those of long calls: in this program all stretches are short but the waits, so an event lies
 * within a microsecond of its time. */
Test(placing, each_event_of_a_program_of_known_times)
{
    run_program();
    choose_readings();
    uint64_t *times = place_program(), *errors = malloc(program.n * sizeof *errors);
    for (uint32_t i = 0; i < program.n; i++)
        errors[i] = distance(program.events[i].ticks, times[i]);
    qsort(errors, program.n, sizeof *errors, compare_times);
    cr_expect_leq(errors[program.n / 2], 100);
    cr_expect_leq(errors[program.n - program.n / 1000 - 1], 1000);
    free(errors);
    free(times);
}
