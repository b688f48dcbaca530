#include "convert/slices/call_stack.h"

#include "check.h"

/* Kinds, short, so that a row of a table is a line. */
enum { CALL = PNR_CALL, RET = PNR_RETURN, UNW = PNR_UNWIND, START = PNR_START, RES = PNR_RESUME, YIELD = PNR_YIELD,
       FIN = PNR_FINISH, FINU = PNR_FINISH_UNWIND, LEFT = PNR_LEFT, UNRECORDED = PNR_UNRECORDED,
       UNRECE = PNR_UNRECORDED_END, LOST = PNR_LOST, CCALL = PNR_C_CALL, CRET = PNR_C_RETURN,
       CRAISE = PNR_C_RAISE, CREATE = PNR_CREATE, OPEN = PNR_OPEN };

struct event {
    unsigned kind;
    uint64_t ns;
    uint32_t function;
    uint64_t frame;
};

struct stack_test {
    struct check_sink sink;
    struct flows flows;
    struct call_stack stack;
    struct stack_count count;
};

static void init_stack(struct stack_test *test, const struct symbols *symbols)
{
    const struct slice_pipeline pipeline = { .flows = &test->flows, .sink = &test->sink.sink, .symbols = symbols,
                                             .count = &test->count };
    call_stack_init(&test->stack, &pipeline, 0, false);
}

/* Call it before the first record. */
static void select_slices(struct stack_test *test, const struct slice_rules *rules, bool is_hidden)
{
    test->stack.filter.pipeline.rules = rules;
    test->stack.filter.hides_all = is_hidden;
}

static void init_test(struct stack_test *test)
{
    memset(test, 0, sizeof *test);
    check_sink_init(&test->sink);
    flows_init(&test->flows, &test->sink.sink, (struct flows_choice){ .flows = ~0u });
    flows_process(&test->flows, check_symbols());
    init_stack(test, check_symbols());
}

static void clear_test(struct stack_test *test)
{
    call_stack_clear(&test->stack);
    flows_clear(&test->flows);
}

static void convert_events(struct stack_test *test, const struct event *events, size_t n)
{
    for (size_t i = 0; i < n && events[i].kind; i++)
        check_record(&test->stack, pnr_record_make(0, events[i].kind, events[i].frame, events[i].function),
                     events[i].ns);
}

/* The innermost slices come first, as they are closed. */
Test(call_stack, makes_slices_of_records)
{
    static const struct { struct event events[8]; const char *expected; } table[] = {
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 30, 2, 0 }, { RET, 40, 1, 0 } }, "0:2[20,30] 0:1[10,40]" },
        { { { CALL, 10, 1, 0 }, { UNW, 20, 1, 0 } }, "0:1[10,20]e" },
        { { { START, 10, 4, 9 }, { FIN, 20, 4, 9 } }, "0:4[10,20]" },
        { { { START, 10, 4, 9 }, { FINU, 20, 4, 9 } }, "0:4[10,20]e" },
        { { { CCALL, 10, 9, 0 }, { CRET, 20, 9, 0 }, { CCALL, 30, 9, 0 }, { CRAISE, 40, 9, 0 } },
          "0:9[10,20] 0:9[30,40]e" },
        /* an exit leaves all that is further in */
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 30, 3, 0 }, { RET, 40, 1, 0 } },
          "0:3[30,40]l 0:2[20,41]l 0:1[10,42]" },
        /* one of a function that is not open leaves nothing */
        { { { CALL, 10, 1, 0 }, { RET, 20, 2, 0 }, { RET, 30, 1, 0 } }, "0:1[10,30]" },
        { { { RET, 20, 2, 0 } }, "" },
        /* the same function in two frames */
        { { { START, 10, 4, 8 }, { START, 20, 4, 9 }, { YIELD, 30, 4, 8 } }, "0:4[20,30]l 0:4[10,31]" },
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 30, 3, 0 }, { LEFT, 40, 2, 0 }, { RET, 50, 1, 0 } },
          "0:3[30,40]l 0:2[20,41]l 0:1[10,50]" },
        { { { CALL, 10, 1, 0 }, { LEFT, 40, 9, 0 } }, "0:1[10,40]l" },
        { { { CALL, 10, 1, 0 }, { CCALL, 20, 9, 0 }, { LEFT, 30, 1, 0 } }, "0:9[20,30]l 0:1[10,31]l" },
        { { { CALL, 10, 1, 0 }, { UNRECORDED, 20, 1, 0 }, { UNRECE, 30, 1, 0 }, { RET, 40, 1, 0 } },
          "0:gap1[20,30] 0:1[10,40]" },
        { { { CALL, 10, 1, 0 }, { LOST, 20, 99, 0 }, { RET, 40, 1, 0 } }, "0:[lost 99 events]@20 0:1[10,40]" },
        { { { CALL, 10, 1, 0 }, { 200, 20, 1, 0 }, { OPEN, 25, 1, 0 }, { RET, 40, 1, 0 } }, "0:1[10,40]" },
        { { { CALL, 10, 77, 0 }, { RET, 20, 77, 0 } }, "0:77[10,20]" },
        /* the nanosecond at which a frame is created has no other event */
        { { { CALL, 10, 1, 0 }, { CREATE, 10, 4, 8 }, { CREATE, 20, 4, 9 }, { START, 20, 4, 9 }, { FIN, 20, 4, 9 },
            { CREATE, 30, 4, 9 }, { RET, 30, 1, 0 } }, "0:4[21,23] 0:1[10,31]" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        init_test(&test);
        convert_events(&test, table[i].events, 8);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        clear_test(&test);
    }
}

Test(call_stack, gives_every_slice_event_and_flow_event_a_nanosecond_of_its_own)
{
    static const struct { struct event events[8]; const char *expected; } table[] = {
        /* the example in slice_time.h */
        { { { CALL, 10, 1, 0 }, { START, 10, 4, 9 }, { CALL, 10, 2, 0 }, { RET, 10, 2, 0 }, { YIELD, 10, 4, 9 },
            { RES, 10, 4, 9 }, { FIN, 10, 4, 9 }, { RET, 40, 1, 0 } },
          "0:2[13,14] 0:4[11,15] 0:s1@12 0:f1@17 0:4[16,18] 0:1[10,40]" },
        { { { CALL, 10, 1, 0 }, { RET, 10, 1, 0 }, { CALL, 5, 1, 0 }, { RET, 4, 1, 0 } }, "0:1[10,11] 0:1[12,13]" },
        { { { LOST, 10, 1, 0 }, { CALL, 10, 1, 0 }, { RET, 10, 1, 0 } }, "0:[lost 1 events]@10 0:1[11,12]" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        init_test(&test);
        convert_events(&test, table[i].events, 8);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        clear_test(&test);
    }
}

/* Rows: events; the OPEN records of a block that begins at 100; the slices, those still open ended at 200. */
Test(call_stack, brings_the_stack_to_the_open_frames)
{
    static const struct {
        struct event before[6], open[6];
        size_t n;
        bool is_deeper;
        const char *expected;
    } table[] = {
        /* equal: nothing happens */
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 2, 0 } }, 2, false,
          "0:2[20,200]u 0:1[10,201]u" },
        /* the first block of a thread */
        { { { 0, 0, 0, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 4, 9 } }, 2, false, "0:4[101,200]ub 0:1[100,201]ub" },
        { { { 0, 0, 0, 0 } }, { { OPEN, 0, 1, 0 } }, 1, true, "0:1[100,200]ub" },
        /* too many, too few, others */
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, { { OPEN, 0, 1, 0 } }, 1, false, "0:2[20,100]l 0:1[10,200]u" },
        { { { CALL, 10, 1, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 3, 0 } }, 2, false, "0:3[100,200]ub 0:1[10,201]u" },
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 3, 0 } }, 2, false,
          "0:2[20,100]l 0:3[101,200]ub 0:1[10,201]u" },
        { { { CALL, 10, 1, 0 } }, { { 0, 0, 0, 0 } }, 0, false, "0:1[10,100]l" },
        /* another frame of the same function; one whose identity is not known */
        { { { START, 10, 4, 8 } }, { { OPEN, 0, 4, 9 } }, 1, false, "0:4[10,100]l 0:4[101,200]ub" },
        { { { START, 10, 4, 8 } }, { { OPEN, 0, 4, 0 } }, 1, false, "0:4[10,200]u" },
        /* only the innermost frames are listed: equal; one more; an inner one has returned; none matches */
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, { { OPEN, 0, 2, 0 } }, 1, true, "0:2[20,200]u 0:1[10,201]u" },
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, { { OPEN, 0, 2, 0 }, { OPEN, 0, 3, 0 } }, 2, true,
          "0:3[100,200]ub 0:2[20,201]u 0:1[10,202]u" },
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 30, 3, 0 } }, { { OPEN, 0, 2, 0 } }, 1, true,
          "0:3[30,100]l 0:2[20,200]u 0:1[10,201]u" },
        { { { CALL, 10, 1, 0 } }, { { OPEN, 0, 3, 0 } }, 1, true, "0:1[10,100]l 0:3[101,200]ub" },
        /* of two places that match, the one where more frames do */
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 30, 1, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 2, 0 },
            { OPEN, 0, 3, 0 } }, 3, true, "0:1[30,100]l 0:3[101,200]ub 0:2[20,201]u 0:1[10,202]u" },
        /* unrecorded regions and C functions are not listed: they stay while the frames around them do */
        { { { CALL, 10, 1, 0 }, { CCALL, 20, 9, 0 }, { CALL, 30, 2, 0 }, { UNRECORDED, 40, 1, 0 } },
          { { OPEN, 0, 1, 0 }, { OPEN, 0, 2, 0 } }, 2, false,
          "0:gap1[40,200]u 0:2[30,201]u 0:9[20,202]u 0:1[10,203]u" },
        { { { CALL, 10, 1, 0 }, { UNRECORDED, 20, 1, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 2, 0 } }, 2, false,
          "0:gap1[20,100]l 0:2[101,200]ub 0:1[10,201]u" },
        /* C functions that are listed: equal; one more; one that is not listed next to one that is; another one */
        { { { CALL, 10, 1, 0 }, { CCALL, 20, 9, 0 }, { CALL, 30, 2, 0 } },
          { { OPEN, 0, 1, 0 }, { OPEN, 0, 9, PNR_OPEN_C_CALL }, { OPEN, 0, 2, 0 } }, 3, false,
          "0:2[30,200]u 0:9[20,201]u 0:1[10,202]u" },
        { { { 0, 0, 0, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 9, PNR_OPEN_C_CALL }, { OPEN, 0, 2, 0 } }, 3, false,
          "0:2[102,200]ub 0:9[101,201]ub 0:1[100,202]ub" },
        { { { CALL, 10, 1, 0 }, { CCALL, 20, 8, 0 }, { CCALL, 30, 9, 0 }, { CALL, 40, 2, 0 } },
          { { OPEN, 0, 1, 0 }, { OPEN, 0, 9, PNR_OPEN_C_CALL }, { OPEN, 0, 2, 0 } }, 3, false,
          "0:2[40,200]u 0:9[30,201]u 0:8[20,202]u 0:1[10,203]u" },
        { { { CALL, 10, 1, 0 }, { CCALL, 20, 8, 0 } }, { { OPEN, 0, 1, 0 }, { OPEN, 0, 9, PNR_OPEN_C_CALL } }, 2, false,
          "0:8[20,100]l 0:9[101,200]ub 0:1[10,201]u" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        struct pnr_record open[6];
        init_test(&test);
        convert_events(&test, table[i].before, 6);
        for (size_t k = 0; k < table[i].n; k++)
            open[k] = pnr_record_make(0, PNR_OPEN, table[i].open[k].frame, table[i].open[k].function);
        call_stack_resync(&test.stack, open, table[i].n, table[i].is_deeper, 100);
        call_stack_end(&test.stack, 200, false);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        clear_test(&test);
    }
}

/* Slices below 100 ns are pruned. */
Test(call_stack, prunes_short_slices)
{
    static const struct { struct event events[14]; const char *expected; } table[] = {
        { { { CALL, 10, 1, 0 }, { RET, 109, 1, 0 }, { CALL, 110, 2, 0 }, { RET, 210, 2, 0 } }, "0:2[110,210]" },
        /* however it ends */
        { { { CALL, 10, 1, 0 }, { UNW, 20, 1, 0 }, { CCALL, 30, 9, 0 }, { CRAISE, 40, 9, 0 } }, "" },
        /* with all that is nested in it, and next to long ones */
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CCALL, 30, 9, 0 }, { CRET, 40, 9, 0 }, { RET, 50, 2, 0 },
            { RET, 60, 1, 0 } }, "" },
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 90, 2, 0 }, { CALL, 100, 3, 0 }, { RET, 200, 3, 0 },
            { RET, 300, 1, 0 } }, "0:3[100,200] 0:1[10,300]" },
        /* its slice and flow events take no nanosecond from others */
        { { { CALL, 10, 1, 0 }, { CALL, 10, 2, 0 }, { START, 10, 4, 9 }, { FIN, 10, 4, 9 }, { RET, 10, 2, 0 },
            { CALL, 11, 3, 0 }, { RET, 200, 3, 0 }, { RET, 200, 1, 0 } }, "0:3[11,200] 0:1[10,201]" },
        /* a slice that is retained retains those around it */
        { { { CALL, 10, 1, 0 }, { LOST, 20, 5, 0 }, { RET, 30, 1, 0 } }, "0:[lost 5 events]@20 0:1[10,30]" },
        { { { CALL, 10, 1, 0 }, { UNRECORDED, 20, 1, 0 }, { UNRECE, 30, 1, 0 }, { RET, 40, 1, 0 } },
          "0:gap1[20,30] 0:1[10,40]" },
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 30, 2, 0 }, { LEFT, 40, 1, 0 } }, "" },
        /* flows go from long slice to long slice */
        { { { START, 100, 4, 9 }, { YIELD, 200, 4, 9 }, { RES, 300, 4, 9 }, { YIELD, 301, 4, 9 },
            { RES, 400, 4, 9 }, { CALL, 410, 1, 0 }, { RET, 510, 1, 0 }, { FIN, 520, 4, 9 }, { START, 600, 4, 9 },
            { YIELD, 610, 4, 9 }, { RES, 700, 4, 9 }, { FIN, 800, 4, 9 } },
          "0:4[100,200] 0:1[410,510] 0:s1@101 0:f1@401 0:4[400,520] 0:4[700,800]" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        init_test(&test);
        test.stack.filter.pipeline.min_ns = 100;
        convert_events(&test, table[i].events, 14);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        clear_test(&test);
    }
}

/* A short slice may have been longer when its begin, or its end, was not recorded. */
Test(call_stack, retains_short_slices_of_unknown_length)
{
    struct stack_test test;
    const struct pnr_record open = pnr_record_make(0, PNR_OPEN, 0, 1);
    init_test(&test);
    test.stack.filter.pipeline.min_ns = 100;
    call_stack_resync(&test.stack, &open, 1, false, 10);
    convert_events(&test, (struct event[]){ { RET, 20, 1, 0 }, { CALL, 30, 2, 0 }, { CALL, 40, 3, 0 } }, 3);
    call_stack_end(&test.stack, 50, false);
    cr_expect_str_eq(test.sink.text, "0:1[10,20]b 0:3[40,50]u 0:2[30,51]u", "%s", test.sink.text);
    clear_test(&test);
}

Test(call_stack, reports_holes_and_pauses)
{
    static const struct { enum block_boundary boundary; const char *expected; uint64_t holes; } table[] = {
        { BLOCK_CONTINUES, "0:2[20,100]l 0:1[10,200]u", 0 },
        { BLOCK_AFTER_HOLE, "0:[events may be missing]@100 0:2[20,101]l 0:1[10,200]u", 1 },
        { BLOCK_AFTER_PAUSE, "0:[recording was paused]@100 0:2[20,101]l 0:1[10,200]u", 0 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        const struct pnr_record open = pnr_record_make(0, PNR_OPEN, 0, 1);
        init_test(&test);
        convert_events(&test, (struct event[]){ { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, 2);
        call_stack_begin_block(&test.stack, table[i].boundary, 100);
        call_stack_resync(&test.stack, &open, 1, false, 100);
        call_stack_end(&test.stack, 200, false);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        cr_expect_eq(test.count.holes, table[i].holes, "row %zu", i);
        clear_test(&test);
    }
}

/* Rows: what is hidden (a function; greater depths), events, slices. Frame 9 is a generator. */
Test(call_stack, hides_what_is_not_selected)
{
    static const bool second[CHECK_FUNCTIONS] = { false, true }, fourth[CHECK_FUNCTIONS] = { [3] = true };
    static const struct {
        const bool *is_hidden; uint64_t max_depth, min_ns; struct event events[14]; const char *expected;
    } table[] = {
        { second, 9, 0, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 30, 3, 0 }, { RET, 40, 3, 0 },
                          { RET, 50, 2, 0 }, { RET, 60, 1, 0 } }, "0:3[30,40] 0:1[10,60]" },
        /* takes no nanosecond */
        { second, 9, 0, { { CALL, 10, 1, 0 }, { CALL, 10, 2, 0 }, { RET, 10, 2, 0 }, { RET, 10, 1, 0 } },
          "0:1[10,11]" },
        /* its exit leaves no other frame */
        { second, 9, 0, { { CALL, 10, 2, 0 }, { CALL, 20, 1, 0 }, { RET, 30, 2, 0 }, { CALL, 40, 1, 0 },
                          { RET, 50, 1, 0 } }, "0:1[20,30]l 0:1[40,50]" },
        { NULL, 1, 0, { { CALL, 10, 1, 0 }, { UNRECORDED, 15, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 30, 2, 0 },
                        { UNRECE, 35, 1, 0 }, { RET, 40, 1, 0 } }, "0:1[10,40]" },
        { second, 1, 0, { { CALL, 10, 2, 0 }, { CALL, 20, 1, 0 }, { CALL, 30, 3, 0 }, { LOST, 35, 5, 0 },
                          { RET, 40, 3, 0 }, { RET, 50, 1, 0 }, { RET, 60, 2, 0 } },
          "0:[lost 5 events]@35 0:1[20,50]" },
        /* it has no flow, and one of the same identity has ended */
        { fourth, 9, 0, { { START, 10, 5, 9 }, { YIELD, 20, 5, 9 }, { RES, 30, 5, 9 }, { YIELD, 40, 5, 9 },
                          { START, 50, 4, 9 }, { FIN, 60, 4, 9 }, { RES, 70, 5, 9 }, { FIN, 80, 5, 9 } },
          "0:5[10,20] 0:s1@11 0:5[30,40] 0:f1@31 0:5[70,80]" },
        { fourth, 9, 0, { { START, 10, 4, 9 }, { YIELD, 20, 4, 9 }, { RES, 30, 4, 9 }, { FIN, 40, 4, 9 } }, "" },
        /* a slice that is retained retains those around it, also around a hidden frame */
        { second, 9, 100, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { UNRECORDED, 30, 1, 0 }, { UNRECE, 40, 1, 0 },
                            { RET, 50, 2, 0 }, { RET, 60, 1, 0 } }, "0:gap1[30,40] 0:1[10,60]" },
        { second, 9, 100, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 50, 2, 0 }, { RET, 60, 1, 0 } }, "" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        init_test(&test);
        const struct slice_rules rules = { table[i].is_hidden, table[i].is_hidden ? CHECK_FUNCTIONS : 0, false,
                                           table[i].max_depth };
        select_slices(&test, &rules, false);
        test.stack.filter.pipeline.min_ns = table[i].min_ns;
        convert_events(&test, table[i].events, 14);
        call_stack_end(&test.stack, 500, false);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        cr_expect_eq(test.count.open, 0);
        clear_test(&test);
    }
}

/* At 100 the stack is revealed; at 200 it is cut. */
Test(call_stack, cuts_what_is_open)
{
    static const struct { struct event before[8], inside[8]; const char *expected; } table[] = {
        { { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 30, 2, 0 } }, { { CALL, 110, 3, 0 } },
          "0:3[110,200]c 0:1[100,201]c" },
        { { { CALL, 10, 1, 0 }, { UNRECORDED, 20, 1, 0 } }, { { UNRECE, 120, 1, 0 }, { UNW, 130, 1, 0 } },
          "0:gap1[101,120]c 0:1[100,130]ec" },
        /* records at the very time of the cut come after the frames that are entered there */
        { { { CALL, 10, 1, 0 }, { START, 20, 4, 9 } }, { { CALL, 100, 3, 0 }, { RET, 100, 3, 0 } },
          "0:3[103,104] 0:4[101,200]c 0:1[100,201]c" },
        /* flows begin inside, even if they began before and ended in between */
        { { { START, 10, 4, 9 }, { YIELD, 20, 4, 9 }, { RES, 30, 4, 9 } },
          { { YIELD, 110, 4, 9 }, { RES, 120, 4, 9 }, { FIN, 130, 4, 9 }, { RES, 140, 4, 9 } },
          "0:4[100,110]c 0:s1@101 0:f1@121 0:4[120,130] 0:4[140,200]c" },
        /* exits of unknown frames are ignored; what was lost before is not reported */
        { { { LOST, 10, 5, 0 } }, { { CRET, 110, 9, 0 }, { RET, 120, 1, 0 } }, "" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        init_test(&test);
        const struct slice_rules rules = { .max_depth = UINT64_MAX };
        select_slices(&test, &rules, true);
        convert_events(&test, table[i].before, 8);
        cr_expect_str_eq(test.sink.text, "");
        call_stack_reveal(&test.stack, 100);
        convert_events(&test, table[i].inside, 8);
        call_stack_end(&test.stack, 200, true);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        cr_expect_eq(test.count.open, 0);
        cr_expect_eq(test.count.ignored_exits, 0);
        cr_expect_eq(test.count.lost, 0);
        clear_test(&test);
    }
}

/* One that is cut may be longer than what is seen of it. */
Test(call_stack, keeps_short_slices_that_are_cut)
{
    struct stack_test test;
    init_test(&test);
    const struct slice_rules rules = { .max_depth = UINT64_MAX };
    select_slices(&test, &rules, true);
    test.stack.filter.pipeline.min_ns = 1000;
    convert_events(&test, (struct event[]){ { CALL, 10, 1, 0 } }, 1);
    call_stack_reveal(&test.stack, 100);
    convert_events(&test, (struct event[]){ { CALL, 110, 2, 0 }, { RET, 120, 2, 0 }, { RET, 130, 1, 0 },
                                       { CALL, 190, 3, 0 } }, 4);
    call_stack_end(&test.stack, 200, true);
    cr_expect_str_eq(test.sink.text, "0:1[100,130]c 0:3[190,200]c", "%s", test.sink.text);
    clear_test(&test);
}

Test(call_stack, counts_anomalies)
{
    static const struct event events[] = {
        { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 30, 1, 0 }, { RET, 40, 3, 0 }, { LOST, 50, 7, 0 },
        { 99, 60, 0, 0 }, { PNR_KINDS, 65, 0, 0 }, { CALL, 70, 55, 0 }, { RET, 80, 55, 0 },
    };
    struct stack_test test;
    init_test(&test);
    convert_events(&test, events, sizeof events / sizeof *events);
    cr_expect_eq(test.count.events, 9);
    cr_expect_eq(test.count.slices, 3);
    cr_expect_eq(test.count.missing_exits, 1);
    cr_expect_eq(test.count.ignored_exits, 1);
    cr_expect_eq(test.count.lost, 7);
    cr_expect_eq(test.count.unknown_kinds, 2);
    cr_expect_eq(test.count.unknown_functions, 1);
    cr_expect_eq(test.count.max_depth, 2);
    clear_test(&test);
}

/* A recursion of 400,000 whose exits all come. */
Test(call_stack, takes_deep_stacks)
{
    struct stack_test test;
    init_test(&test);
    for (uint32_t i = 0; i < 400000; i++)
        check_record(&test.stack, pnr_record_make(0, PNR_CALL, 0, 1), 10 + i);
    for (uint32_t i = 0; i < 400000; i++) {
        test.sink.text[0] = 0;
        check_record(&test.stack, pnr_record_make(0, PNR_RETURN, 0, 1), 1000000 + i);
    }
    cr_expect_str_eq(test.sink.text, "0:1[10,1399999]");
    cr_expect_eq(test.count.max_depth, 400000);
    clear_test(&test);
}

/* Each slice event has the next position, whatever the clock shows; a pruned slice releases its position. */
Test(call_stack, gives_slice_events_logical_time)
{
    static const struct event events[] = { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 5000, 2, 0 }, { CALL, 5000, 3, 0 },
                                           { START, 5000, 4, 9 }, { YIELD, 5000, 4, 9 }, { RET, 5000, 3, 0 },
                                           { RES, 9000, 4, 9 }, { FIN, 9990, 4, 9 }, { LOST, 9991, 3, 0 },
                                           { RET, 9999, 1, 0 } };
    static const struct { uint64_t min_ns; const char *expected; } table[] = {
        { 0, "0:2[2000,3000] 0:4[5000,6000] 0:3[4000,7000] 0:s1@5001 0:f1@8001 0:4[8000,9000] 0:[lost 3 events]@10000 "
             "0:1[1000,11000]" },
        { 100, "0:2[2000,3000] 0:4[4000,5000] 0:[lost 3 events]@6000 0:1[1000,7000]" },
        { 4980, "0:2[2000,3000] 0:[lost 3 events]@4000 0:1[1000,5000]" },
        { 4981, "0:[lost 3 events]@2000 0:1[1000,3000]" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct stack_test test;
        uint64_t positions = 0;
        init_test(&test);
        test.stack.filter.pipeline.min_ns = table[i].min_ns;
        test.stack.filter.time.positions = test.stack.filter.pipeline.positions = &positions;
        convert_events(&test, events, sizeof events / sizeof *events);
        cr_expect_str_eq(test.sink.text, table[i].expected, "row %zu: %s", i, test.sink.text);
        clear_test(&test);
    }
}

/* What is open continues in another conversion, also C functions, which OPEN records do not list. */
Test(call_stack, saves_and_restores)
{
    static const struct event before[] = { { CALL, 10, 1, 0 }, { CCALL, 20, 9, 0 }, { START, 30, 4, 8 } };
    static const struct event after[] = { { YIELD, 200, 4, 8 }, { CRET, 210, 9, 0 }, { RET, 220, 1, 0 } };
    const struct slice_rules rules = { .max_depth = UINT64_MAX };
    struct stack_test one, other;
    struct open_stack_snapshot stacks = { .n = 0 };
    size_t n;
    init_test(&one);
    convert_events(&one, before, 3);
    call_stack_save(&one.stack, &stacks, 5);
    open_stack_snapshot_complete(&stacks, NULL);
    init_test(&other);
    select_slices(&other, &rules, true);
    call_stack_resync(&other.stack, (struct pnr_record[]){ pnr_record_make(0, PNR_OPEN, 0, 1),
                                                           pnr_record_make(0, PNR_OPEN, 8, 4) }, 2, false, 90);
    const struct open_frame *frames = open_stack_snapshot_find(&stacks, 5, 0, &n);
    cr_assert_not_null(frames);
    call_stack_restore(&other.stack, frames, n);
    call_stack_reveal(&other.stack, 100);
    convert_events(&other, after, 3);
    cr_expect_str_eq(other.sink.text, "0:4[102,200]c 0:9[101,210]c 0:1[100,220]c", "%s", other.sink.text);
    cr_expect_eq(other.count.open, 0);
    clear_test(&one);
    clear_test(&other);
    open_stack_snapshot_clear(&stacks);
}

static void ignore_slice(struct sink *sink, const struct slice *slice)
{
    (void)sink, (void)slice;
}

/* Functions 1 and 2 are what the loop is asked, 6 is a coroutine; there is a loop, so that 3 runs no tasks. */
static const struct symbols *symbols_of_loop(void)
{
    static struct symbol functions[CHECK_FUNCTIONS + 1];
    static struct symbols symbols = { .functions = functions, .n_functions = CHECK_FUNCTIONS + 1 };
    static const struct symbol loop[] = {
        { .module = { "asyncio.base_events", 19 }, .name = { "BaseEventLoop.get_debug", 23 }, .is_known = true },
        { .module = { "asyncio.base_events", 19 }, .name = { "BaseEventLoop.is_running", 24 }, .is_known = true },
        { .module = { "asyncio.events", 14 }, .name = { "Handle._run", 11 }, .is_known = true },
    };
    memcpy(functions, check_symbols()->functions, CHECK_FUNCTIONS * sizeof *functions);
    memcpy(functions, loop, 2 * sizeof *loop);
    functions[CHECK_FUNCTIONS] = loop[2];
    return &symbols;
}

#define ASKED(ns) { CALL, ns, 1, 0 }, { RET, ns + 1, 1, 0 }, { CALL, ns + 2, 2, 0 }, { RET, ns + 3, 2, 0 }

/* A task that begins at once does so in what made it, a coroutine (6) or a plain function (3), which await it or go on.
 * The blocks: all records are in one, or each is one of its own. */
Test(call_stack, finds_tasks_that_begin_at_once)
{
    static const struct { struct event events[10]; const char *expected; } table[] = {
        { { { RES, 10, 6, 1 }, ASKED(11), { START, 20, 6, 2 }, { YIELD, 30, 6, 2 }, { YIELD, 40, 6, 1 } },
          "0:b1@20 0:r1@20 0:w1@30" },
        { { { CALL, 10, 3, 0 }, ASKED(11), { START, 20, 6, 2 }, { FIN, 30, 6, 2 } }, "0:b1@20 0:r1@20 0:w1@30 0:e1@30" },
        /* one that goes on, one that another function was called before, one before which one thing was asked */
        { { { RES, 10, 6, 1 }, ASKED(11), { RES, 20, 6, 2 }, { YIELD, 30, 6, 2 } }, "" },
        { { { RES, 10, 6, 1 }, ASKED(11), { CALL, 15, 3, 0 }, { RET, 16, 3, 0 }, { START, 20, 6, 2 } }, "" },
        { { { RES, 10, 6, 1 }, { CALL, 13, 2, 0 }, { RET, 14, 2, 0 }, { START, 20, 6, 2 } }, "" },
        { { { RES, 10, 6, 1 }, { START, 20, 6, 2 } }, "" },
    };
    for (size_t i = 0; i < 2 * sizeof table / sizeof *table; i++) {
        const struct event *events = table[i / 2].events;
        struct pnr_record records[10];
        struct stack_test test;
        uint32_t n = 0;
        init_test(&test);
        flows_init(&test.flows, &test.sink.sink, (struct flows_choice){ .has_tasks = true });
        flows_process(&test.flows, symbols_of_loop());
        init_stack(&test, symbols_of_loop());
        test.sink.sink.slice = ignore_slice;
        for (; n < 10 && events[n].kind; n++)
            records[n] = pnr_record_make(events[n].ns, events[n].kind, events[n].frame, events[n].function);
        if (i % 2)
            convert_events(&test, events, 10);
        else
            check_records(&test.stack, records, n, 0);
        cr_expect_str_eq(test.sink.text, table[i / 2].expected, "row %zu: %s", i / 2, test.sink.text);
        clear_test(&test);
    }
}
