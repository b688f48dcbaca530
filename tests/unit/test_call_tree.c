#include "convert/write/call_tree.h"

#include "check.h"
#include "convert/slices/flows.h"
#include "convert/write/profile.h"
#include "convert/slices/call_stack.h"

enum { CALL = PNR_CALL, RET = PNR_RETURN, START = PNR_START, RES = PNR_RESUME, YIELD = PNR_YIELD, FIN = PNR_FINISH,
       CCALL = PNR_C_CALL, CRET = PNR_C_RETURN, UNRECORDED = PNR_UNRECORDED, UNRECE = PNR_UNRECORDED_END };

struct event {
    unsigned kind;
    uint64_t ns;
    uint32_t function;
    uint64_t frame;
};

static void begin_process(struct call_tree *tree, const char *name, const struct symbols *symbols)
{
    tree->sink.process(&tree->sink, &(struct sink_process){ .pid = 7, .name = check_string(name), .symbols = symbols });
}

static void begin_thread(struct call_tree *tree, uint32_t thread, const char *name, bool is_greenlet)
{
    tree->sink.thread(&tree->sink, &(struct sink_thread){ .thread = thread, .tid = 70 + thread,
                                                          .name = check_string(name), .is_greenlet = is_greenlet });
}

/* The events of a thread of a process whose functions are those of check_symbols(). */
static void run_thread(struct call_tree *tree, uint32_t thread, uint64_t min_ns, const struct event *events,
                       size_t n)
{
    struct flows flows;
    struct call_stack stack;
    struct stack_count count = { 0 };
    flows_init(&flows, &tree->sink, (struct flows_choice){ .flows = ~0u });
    flows_process(&flows, check_symbols());
    const struct slice_pipeline pipeline = { .min_ns = min_ns, .flows = &flows, .sink = &tree->sink,
                                             .symbols = check_symbols(), .count = &count };
    call_stack_init(&stack, &pipeline, thread, false);
    for (size_t i = 0; i < n && events[i].kind; i++)
        check_record(&stack, pnr_record_make(0, events[i].kind, events[i].frame, events[i].function), events[i].ns);
    call_stack_end(&stack, 1000, false);
    call_stack_clear(&stack);
    flows_clear(&flows);
}

/* "f1 1/20:30 .f2 2/5:10 " is one call of f1 that took 30 ns, 20 of them its own, in which there were two of f2: as
 * many dots as nodes are around it. */
static const char *describe(const struct call_tree *tree, char text[1024])
{
    char *to = text;
    for (uint32_t node = 0; (node = call_tree_next(tree, node)) != 0;) {
        const struct call_node *at = &tree->nodes[node];
        const struct call_function *function = &tree->functions[at->function];
        for (uint32_t around = at->parent; around; around = tree->nodes[around].parent)
            *to++ = '.';
        to += sprintf(to, "%.*s %" PRIu64 "/%" PRIu64 ":%" PRIu64 " ", (int)function->symbol.name.size,
                      function->symbol.name.bytes, at->calls, call_tree_self(tree, node), at->total_ns);
    }
    *to = 0;
    return text;
}

Test(call_tree, adds_up_slices_by_stacks)
{
    static const struct { uint64_t min_ns; struct event events[16]; const char *expected; } table[] = {
        { 0, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 25, 2, 0 }, { CALL, 30, 2, 0 }, { RET, 35, 2, 0 },
               { RET, 40, 1, 0 } }, "f1 1/20:30 .f2 2/10:10 " },
        /* the same function in different places, and next to another */
        { 0, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 22, 3, 0 }, { RET, 25, 3, 0 }, { RET, 30, 2, 0 },
               { CALL, 40, 3, 0 }, { RET, 50, 3, 0 }, { RET, 60, 1, 0 }, { CALL, 70, 3, 0 }, { RET, 80, 3, 0 } },
          "f1 1/30:50 .f2 1/7:10 ..f3 1/3:3 .f3 1/10:10 f3 1/10:10 " },
        { 0, { { CALL, 10, 1, 0 }, { CALL, 20, 1, 0 }, { RET, 30, 1, 0 }, { RET, 40, 1, 0 } },
          "f1 1/20:30 .f1 1/10:10 " },
        { 0, { { CALL, 10, 1, 0 }, { UNRECORDED, 20, 1, 0 }, { UNRECE, 30, 1, 0 }, { CALL, 31, 99, 0 }, { RET, 40, 99, 0 },
               { CCALL, 50, 9, 0 }, { CRET, 52, 9, 0 }, { RET, 60, 1, 0 } },
          "f1 1/29:50 .[not recorded] 1/10:10 .[unknown function 99] 1/9:9 .f9 1/2:2 " },
        /* what is still open */
        { 0, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 } }, "f1 1/11:991 .f2 1/980:980 " },
        /* each run of a generator is a call */
        { 0, { { START, 10, 4, 9 }, { YIELD, 20, 4, 9 }, { RES, 50, 4, 9 }, { FIN, 60, 4, 9 } }, "f4 2/20:20 " },
        /* what is left out leaves its time to its caller */
        { 20, { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { CALL, 22, 3, 0 }, { RET, 24, 3, 0 }, { RET, 30, 2, 0 },
                { CALL, 40, 3, 0 }, { RET, 60, 3, 0 }, { RET, 70, 1, 0 } }, "f1 1/40:60 .f3 1/20:20 " },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[1024];
        struct call_tree *tree = call_tree_new(false);
        begin_process(tree, "p", check_symbols());
        begin_thread(tree, 0, "t", false);
        run_thread(tree, 0, table[i].min_ns, table[i].events, 16);
        cr_expect_str_eq(describe(tree, text), table[i].expected, "row %zu: %s", i, text);
        call_tree_free(tree);
    }
}

static const struct event one_call[] = { { CALL, 10, 1, 0 }, { RET, 20, 1, 0 } };

Test(call_tree, joins_processes_and_threads)
{
    /* the same functions under other numbers, and one more on another line */
    struct symbol functions[2] = { check_symbols()->functions[0], check_symbols()->functions[1] };
    const struct symbols other = { .functions = functions, .n_functions = 2 };
    struct call_tree *tree = call_tree_new(false);
    char text[1024];
    functions[0].line = 77;
    functions[1] = check_symbols()->functions[0];
    begin_process(tree, "p", check_symbols());
    begin_thread(tree, 0, "t", false);
    begin_thread(tree, 1, "u", false);
    run_thread(tree, 0, 0, one_call, 2);
    run_thread(tree, 1, 0, one_call, 2);
    begin_process(tree, "q", &other);
    begin_thread(tree, 0, "t", false);
    run_thread(tree, 0, 0, one_call, 2);
    run_thread(tree, 0, 0, (struct event[]){ { CALL, 10, 2, 0 }, { RET, 20, 2, 0 } }, 2);
    cr_expect_str_eq(describe(tree, text), "f1 3/30:30 f1 1/10:10 ", "%s", text);
    call_tree_free(tree);
}

Test(call_tree, has_roots)
{
    struct call_tree *tree = call_tree_new(true);
    char text[1024];
    begin_process(tree, "p", check_symbols());
    begin_thread(tree, 0, "t", false);
    begin_thread(tree, 1, "t", false);
    begin_thread(tree, 2, "never runs", false);
    begin_thread(tree, 3, "Greenlet at 0x1", true);
    begin_thread(tree, 4, "Greenlet at 0x2", true);
    for (uint32_t thread = 0; thread < 5; thread++)
        run_thread(tree, thread, 0, one_call, thread == 2 ? 0 : 2);
    begin_process(tree, "q", check_symbols());
    begin_thread(tree, 0, "t", false);
    run_thread(tree, 0, 0, one_call, 2);
    cr_expect_str_eq(describe(tree, text), "p 0/0:0 .t 0/0:0 ..f1 2/20:20 .greenlets 0/0:0 ..f1 2/20:20 "
                     "q 0/0:0 .t 0/0:0 ..f1 1/10:10 ", "%s", text);
    call_tree_free(tree);
}

/*   f4, frame 8     runs 10-20, 50-60, 100-110       suspended 30 + 40
 *   f4, frame 9     runs 30-40                       never again */
Test(call_tree, knows_how_long_frames_are_suspended)
{
    static const struct event events[] = {
        { START, 10, 4, 8 }, { YIELD, 20, 4, 8 }, { START, 30, 4, 9 }, { YIELD, 40, 4, 9 }, { RES, 50, 4, 8 },
        { YIELD, 60, 4, 8 }, { RES, 70, 4, 8 }, { YIELD, 73, 4, 8 }, { RES, 100, 4, 8 }, { FIN, 110, 4, 8 },
    };
    static const struct { uint64_t min_ns, n_frames, suspended_ns; } table[] = {
        { 0, 2, 30 + 10 + 27 },
        { 10, 2, 30 + 40 },             /* the run that is left out is as if it had not been */
        { 11, 0, 0 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct call_tree *tree = call_tree_new(false);
        uint64_t n_frames = 0, suspended_ns = 0;
        begin_process(tree, "p", check_symbols());
        begin_thread(tree, 0, "t", false);
        run_thread(tree, 0, table[i].min_ns, events, sizeof events / sizeof *events);
        for (uint32_t k = 0; k < tree->n_functions; k++) {
            n_frames += tree->functions[k].n_frames;
            suspended_ns += tree->functions[k].suspended_ns;
        }
        cr_expect_eq(n_frames, table[i].n_frames, "row %zu: %" PRIu64, i, n_frames);
        cr_expect_eq(suspended_ns, table[i].suspended_ns, "row %zu: %" PRIu64, i, suspended_ns);
        call_tree_free(tree);
    }
}

/* A recursion of more frames than there may be nodes. */
Test(call_tree, is_bounded)
{
    struct call_tree *tree = call_tree_new(false);
    uint32_t parent = 0, n = 0;
    begin_process(tree, "p", check_symbols());
    for (uint32_t i = 0; i < CALL_TREE_MAX + 1000; i++) {
        parent = tree->sink.enter(&tree->sink, parent, 0, 1, false);
        tree->sink.slice(&tree->sink, &(struct slice){ .begin_ns = 0, .end_ns = 1, .function = 1, .cookie = parent });
    }
    cr_expect_eq(tree->n_excluded, 1001);
    for (uint32_t node = 0; (node = call_tree_next(tree, node)) != 0;)
        n++;
    cr_expect_eq(n, CALL_TREE_MAX - 1);
    call_tree_free(tree);
}

/* ---- profiles ---- */

/*   f1 -> f2 -> f1 -> f2     and     f1 -> f1 -> f2 */
Test(profile, counts_recursion_as_cprofile_does)
{
    static const struct event events[] = {
        { CALL, 0, 1, 0 }, { CALL, 10, 2, 0 }, { CALL, 20, 1, 0 }, { CALL, 30, 2, 0 }, { RET, 40, 2, 0 },
        { RET, 60, 1, 0 }, { RET, 80, 2, 0 }, { RET, 100, 1, 0 },
        { CALL, 200, 1, 0 }, { CALL, 210, 1, 0 }, { CALL, 220, 2, 0 }, { RET, 230, 2, 0 }, { RET, 250, 1, 0 },
        { RET, 300, 1, 0 },
    };
    /* function, caller or 0, calls, primitive ones, own time, cumulative time, sum, max */
    static const char expected[] =
        "f1<f1 1/1 30 40 40 40 f1<f2 1/1 30 40 40 40 f1< 4/2 149 199 279 100 "
        "f2<f1 3/2 50 80 90 70 f2< 3/2 50 80 90 70 ";
    struct call_tree *tree = call_tree_new(false);
    struct profile profile;
    char text[1024], *to = text;
    begin_process(tree, "p", check_symbols());
    begin_thread(tree, 0, "t", false);
    run_thread(tree, 0, 0, events, sizeof events / sizeof *events);
    cr_assert_eq(profile_make(&profile, tree, NULL, true), 0);
    for (size_t i = 0; i < profile.n; i++) {
        const struct profile_line *line = &profile.lines[i];
        to += sprintf(to, "f%u<", line->group + 1);
        to += line->caller == PROFILE_ALL ? 0 : sprintf(to, "f%u", line->caller + 1);
        to += sprintf(to, " %" PRIu64 "/%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " ", line->calls,
                      line->primitive_calls, line->self_ns, line->cumulative_ns, line->sum_ns, line->max_ns);
    }
    cr_expect_str_eq(text, expected, "%s", text);
    profile_clear(&profile);
    call_tree_free(tree);
}

Test(profile, takes_groups_of_functions_for_one)
{
    static const struct event events[] = { { CALL, 10, 1, 0 }, { CALL, 20, 2, 0 }, { RET, 30, 2, 0 },
                                           { RET, 40, 1, 0 } };
    static const uint32_t groups[] = { 5, 5 };
    struct call_tree *tree = call_tree_new(false);
    struct profile profile;
    begin_process(tree, "p", check_symbols());
    begin_thread(tree, 0, "t", false);
    run_thread(tree, 0, 0, events, sizeof events / sizeof *events);
    cr_assert_eq(profile_make(&profile, tree, groups, false), 0);
    cr_assert_eq(profile.n, 1);
    cr_expect_eq(profile.lines[0].group, 5);
    cr_expect_eq(profile.lines[0].calls, 2);
    cr_expect_eq(profile.lines[0].primitive_calls, 1);
    cr_expect_eq(profile.lines[0].self_ns, 30);
    cr_expect_eq(profile.lines[0].cumulative_ns, 30);
    profile_clear(&profile);
    call_tree_free(tree);
}
