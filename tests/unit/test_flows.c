#include "convert/slices/flows.h"

#include "check.h"

/* What happens to frames, in the order of time: S(tart), R(esume), Y(ield), F(inish), C(reate), E(nd without a
 * slice), and T, a start of what may be a task. Small letters are pending slices: s(tart), r(esume); k when they are
 * retained, with their begin's time; c(reate) in one, which is then retained by D or pruned by d, with its begin's
 * time. */
struct step {
    char what;
    uint32_t thread;
    uint32_t function;
    uint64_t frame;
    uint64_t ns;
};

static void play(struct flows *flows, const struct step *steps, size_t n)
{
    uint64_t begin_ns[8] = { 0 };
    uint32_t pending[4] = { 0 };
    for (size_t i = 0; i < n && steps[i].what; i++) {
        const struct step *s = &steps[i];
        unsigned how = (strchr("SsT", s->what) ? FLOWS_FIRST : 0) | (strchr("SRT", s->what) ? FLOWS_RETAINED : 0) |
                       (s->what == 'T' ? FLOWS_TASK : 0);
        if (strchr("SRsrT", s->what))
            begin_ns[s->frame] = flows_enter(flows, s->thread, s->function, s->frame, how, s->ns);
        else if (strchr("CcE", s->what))
            flows_finish(flows, s->frame);
        if (strchr("Cc", s->what))
            flows_create(flows, s->what == 'c' ? &pending[s->thread] : NULL, s->thread, s->function, s->frame, s->ns);
        else if (strchr("Dd", s->what))
            flows_decide(flows, &pending[s->thread], s->ns, s->what == 'D');
        else if (s->what == 'k')
            flows_retain(flows, s->thread, s->function, s->frame, s->ns);
        else if (strchr("YF", s->what))
            flows_leave(flows, s->thread, s->function, s->frame, s->what == 'F', begin_ns[s->frame], s->ns);
    }
}

#define ALL (~0u)
#define GENERATORS (1u << PNR_FUNCTION_GENERATOR)

static const struct flows_choice all_flows = { .flows = ALL };

Test(flows, joins_the_slices_of_a_frame)
{
    static const struct { unsigned kinds; struct step steps[10]; const char *expected; } table[] = {
        /* one slice: no flow events */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'F', 0, 4, 1, 20 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 } }, "" },
        /* two: from the begin of the first to that of the second */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } },
          "0:s1@11 0:f1@31" },
        /* four */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 },
            { 'R', 0, 4, 1, 50 }, { 'Y', 0, 4, 1, 60 }, { 'R', 0, 4, 1, 70 }, { 'F', 0, 4, 1, 80 } },
          "0:s1@11 0:t1@31 0:t1@51 0:f1@71" },
        /* suspended, or running, for ever */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 } },
          "0:s1@11 0:f1@31" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "0:s1@11 0:f1@31" },
        /* the exit of the first slice is missing */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'R', 0, 4, 1, 30 } }, "0:s1@11 0:f1@31" },
        /* over threads */
        { ALL, { { 'S', 1, 4, 1, 10 }, { 'Y', 1, 4, 1, 20 }, { 'R', 2, 4, 1, 30 }, { 'F', 2, 4, 1, 40 } },
          "1:s1@11 2:f1@31" },
        /* the start was not recorded */
        { ALL, { { 'R', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } },
          "0:s1@11 0:f1@31" },
        /* two frames at the same time */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'S', 0, 6, 2, 11 }, { 'Y', 0, 6, 2, 20 }, { 'Y', 0, 4, 1, 21 },
            { 'R', 0, 6, 2, 30 }, { 'F', 0, 6, 2, 31 }, { 'R', 0, 4, 1, 40 }, { 'F', 0, 4, 1, 41 } },
          "0:s1@12 0:f1@31 0:s2@11 0:f2@41" },
        /* the address again: after its end, without one, after a CREATE, by another function */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'F', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'S', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 },
            { 'S', 0, 4, 1, 50 }, { 'Y', 0, 4, 1, 60 }, { 'R', 0, 4, 1, 70 } },
          "0:s1@11 0:f1@31 0:s2@51 0:f2@71" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'E', 0, 0, 1, 25 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 5, 1, 30 }, { 'Y', 0, 5, 1, 40 } }, "" },
        /* kinds that are not wanted, and plain functions, have none */
        { GENERATORS, { { 'S', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'R', 0, 6, 1, 30 }, { 'S', 0, 4, 2, 40 },
            { 'Y', 0, 4, 2, 50 }, { 'R', 0, 4, 2, 60 } }, "0:s1@41 0:f1@61" },
        { 0, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, { { 'S', 0, 99, 1, 10 }, { 'Y', 0, 99, 1, 20 }, { 'R', 0, 99, 1, 30 } }, "" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_sink sink;
        struct flows flows;
        check_sink_init(&sink);
        flows_init(&flows, &sink.sink, (struct flows_choice){ .flows = table[i].kinds });
        flows_process(&flows, check_symbols());
        play(&flows, table[i].steps, 10);
        flows_end_process(&flows, 1000, false);
        cr_expect_str_eq(sink.text, table[i].expected, "row %zu: %s", i, sink.text);
        cr_expect_eq(flows.table.n, 0, "row %zu", i);
        flows_clear(&flows);
    }
}

Test(flows, passes_over_slices_that_do_not_stay)
{
    static const struct { struct step steps[12]; const char *expected; } table[] = {
        /* all stay; none does; the first does not; the last; the middle */
        { { { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 },
            { 'k', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } }, "0:s1@11 0:f1@31" },
        { { { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } }, "" },
        { { { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 }, { 'k', 0, 4, 1, 30 },
            { 'Y', 0, 4, 1, 40 }, { 'r', 0, 4, 1, 50 }, { 'k', 0, 4, 1, 50 }, { 'F', 0, 4, 1, 60 } },
          "0:s1@31 0:f1@51" },
        { { { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 },
            { 'F', 0, 4, 1, 40 } }, "" },
        { { { 's', 1, 4, 1, 10 }, { 'k', 1, 4, 1, 10 }, { 'Y', 1, 4, 1, 20 }, { 'r', 2, 4, 1, 30 },
            { 'Y', 2, 4, 1, 40 }, { 'r', 3, 4, 1, 50 }, { 'k', 3, 4, 1, 50 }, { 'F', 3, 4, 1, 60 } },
          "1:s1@11 3:f1@51" },
        /* flows without any are not numbered, and one that does not stay ends the one before all the same */
        { { { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 21 }, { 'F', 0, 4, 1, 22 },
            { 's', 0, 4, 1, 30 }, { 'k', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 }, { 's', 0, 4, 1, 50 },
            { 'Y', 0, 4, 1, 60 }, { 'r', 0, 4, 1, 70 }, { 'k', 0, 4, 1, 70 } }, "" },
        { { { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 },
            { 'F', 0, 4, 1, 40 }, { 'r', 0, 4, 1, 50 }, { 'k', 0, 4, 1, 50 } }, "" },
        /* its exit is missing, and the flow has continued: it has no flow event, and does not move that of another
         * slice */
        { { { 's', 1, 4, 1, 10 }, { 'r', 2, 4, 1, 30 }, { 'k', 2, 4, 1, 30 }, { 'k', 1, 4, 1, 10 },
            { 'Y', 2, 4, 1, 40 }, { 'Y', 1, 4, 1, 45 }, { 'r', 2, 4, 1, 50 }, { 'k', 2, 4, 1, 50 } },
          "2:s1@31 2:f1@51" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_sink sink;
        struct flows flows;
        check_sink_init(&sink);
        flows_init(&flows, &sink.sink, all_flows);
        flows_process(&flows, check_symbols());
        play(&flows, table[i].steps, 12);
        flows_end_process(&flows, 1000, false);
        cr_expect_str_eq(sink.text, table[i].expected, "row %zu: %s", i, sink.text);
        flows_clear(&flows);
    }
}

/* A thread's times may have been moved up: the next slice, in another thread, must not begin before that one has ended,
 * or, if that is not known, before the arrow. */
Test(flows, never_points_backwards)
{
    struct check_sink sink;
    struct flows flows;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, all_flows);
    flows_process(&flows, check_symbols());
    cr_expect_eq(flows_enter(&flows, 1, 4, 1, FLOWS_FIRST | FLOWS_RETAINED, 100), 100);
    flows_leave(&flows, 1, 4, 1, false, 100, 150);
    cr_expect_eq(flows_enter(&flows, 2, 4, 1, FLOWS_RETAINED, 120), 150);
    cr_expect_eq(flows_enter(&flows, 3, 4, 1, FLOWS_RETAINED, 120), 151);
    flows_end_process(&flows, 1000, false);
    cr_expect_str_eq(sink.text, "1:s1@101 2:t1@151 3:f1@152");
    flows_clear(&flows);
}

Test(flows, draws_arrows_from_where_frames_were_made)
{
    static const struct { unsigned flows, spawns; struct step steps[12]; const char *expected; } table[] = {
        /* an arrow to the first slice, and in addition the flow's own ones */
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 'S', 0, 4, 1, 10 }, { 'F', 0, 4, 1, 20 } }, "1:S1@5 0:F1@11" },
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 },
            { 'F', 0, 4, 1, 40 } }, "1:S1@5 0:F1@11 0:s2@11 0:f2@31" },
        { 0, ALL, { { 'C', 1, 4, 1, 5 }, { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 },
            { 'F', 0, 4, 1, 40 } }, "1:S1@5 0:F1@11" },
        /* only where that is wanted */
        { ALL, GENERATORS, { { 'C', 1, 4, 1, 5 }, { 'C', 1, 6, 2, 6 }, { 'S', 0, 6, 2, 7 }, { 'S', 0, 4, 1, 10 } },
          "1:S1@5 0:F1@11" },
        { ALL, 0, { { 'C', 1, 4, 1, 5 }, { 'S', 0, 4, 1, 10 } }, "" },
        /* it never runs; the address again; another function; the first slice was not seen; it has ended unseen */
        { ALL, ALL, { { 'C', 1, 4, 1, 5 } }, "" },
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 'C', 1, 4, 1, 6 }, { 'S', 0, 4, 1, 10 } }, "1:S1@6 0:F1@11" },
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 'S', 0, 5, 1, 10 } }, "" },
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 'R', 0, 4, 1, 10 }, { 'S', 0, 4, 1, 20 } }, "" },
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 'E', 0, 0, 1, 6 }, { 'S', 0, 4, 1, 20 } }, "" },
        /* a function that nobody knows, and a plain one */
        { ALL, ALL, { { 'C', 1, 99, 1, 5 }, { 'S', 0, 99, 1, 10 } }, "" },
        { 30, 30, { { 'C', 1, 1, 1, 5 } }, "" },
        /* no arrow points backwards */
        { ALL, ALL, { { 'C', 1, 4, 1, 50 }, { 'S', 0, 4, 1, 10 } }, "1:S1@50 0:F1@51" },
        /* the first slice does not stay, or does later */
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, ALL, { { 'C', 1, 4, 1, 5 }, { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 } }, "1:S1@5 0:F1@11" },
        /* the one that made it does not stay, or does later: before the first slice, or after it */
        { ALL, ALL, { { 'c', 1, 4, 1, 5 }, { 'D', 1, 0, 0, 4 }, { 'S', 0, 4, 1, 10 } }, "1:S1@5 0:F1@11" },
        { ALL, ALL, { { 'c', 1, 4, 1, 5 }, { 'd', 1, 0, 0, 4 }, { 'S', 0, 4, 1, 10 } }, "" },
        { ALL, ALL, { { 'c', 1, 4, 1, 5 }, { 'S', 0, 4, 1, 10 }, { 'F', 0, 4, 1, 20 }, { 'C', 1, 4, 1, 25 },
            { 'D', 1, 0, 0, 4 }, { 'S', 0, 4, 1, 30 } }, "1:S1@5 0:F1@11 1:S2@25 0:F2@31" },
        { ALL, ALL, { { 'c', 1, 4, 1, 5 }, { 'S', 0, 4, 1, 10 }, { 'd', 1, 0, 0, 4 }, { 'F', 0, 4, 1, 20 } }, "" },
        /* nested, several, and one out of the middle */
        { ALL, ALL, { { 'c', 1, 4, 1, 5 }, { 'c', 1, 4, 2, 6 }, { 'c', 1, 4, 3, 8 }, { 'c', 2, 4, 4, 8 },
            { 'C', 3, 4, 2, 9 }, { 'S', 0, 4, 1, 10 }, { 'S', 0, 4, 3, 11 }, { 'd', 1, 0, 0, 7 },
            { 'S', 0, 4, 4, 12 }, { 'D', 2, 0, 0, 1 }, { 'D', 1, 0, 0, 4 }, { 'S', 0, 4, 2, 13 } },
          "2:S1@8 0:F1@13 1:S2@5 0:F2@11 3:S3@9 0:F3@14" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_sink sink;
        struct flows flows;
        check_sink_init(&sink);
        flows_init(&flows, &sink.sink, (struct flows_choice){ table[i].flows, table[i].spawns, false, false });
        flows_process(&flows, check_symbols());
        play(&flows, table[i].steps, 12);
        cr_expect_leq(flows.spawns.n_alive, flows.table.n, "row %zu", i);
        flows_end_process(&flows, 1000, false);
        cr_expect_str_eq(sink.text, table[i].expected, "row %zu: %s", i, sink.text);
        cr_expect_eq(flows.spawns.n_alive, 0, "row %zu", i);
        flows_clear(&flows);
    }
}

/* Frames that are made and never run: their addresses are used again, sooner or later. */
Test(flows, forgets_what_was_made)
{
    struct check_sink sink;
    struct flows flows;
    uint32_t pending = 0;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, (struct flows_choice){ .spawns = ALL });
    flows_process(&flows, check_symbols());
    for (uint64_t i = 1; i <= 200000; i++) {
        flows_finish(&flows, 1 + i % 100);
        flows_create(&flows, i % 3 ? &pending : NULL, 1, 4, 1 + i % 100, i);
    }
    cr_expect_eq(flows.table.n, 100);
    cr_expect_eq(flows.spawns.n_alive, 100);
    cr_expect_leq(flows.spawns.capacity, 256);
    flows_decide(&flows, &pending, 0, true);
    cr_expect_eq(pending, 0);
    flows_clear(&flows);
}

Test(flows, emits_tasks)
{
    static const struct { struct step steps[12]; const char *expected; } table[] = {
        { { { 'T', 1, 6, 1, 10 }, { 'Y', 1, 6, 1, 20 }, { 'R', 2, 6, 1, 30 }, { 'F', 2, 6, 1, 40 } },
          "1:b1@10 1:r1@10 1:w1@20 2:r1@30 2:w1@40 2:e1@40" },
        /* two alternately, a coroutine that is not a task, a generator */
        { { { 'T', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'T', 0, 6, 2, 30 }, { 'S', 0, 6, 3, 31 }, { 'Y', 0, 6, 3, 32 },
            { 'Y', 0, 6, 2, 40 }, { 'R', 0, 6, 1, 50 }, { 'F', 0, 6, 1, 60 }, { 'S', 0, 4, 4, 65 },
            { 'R', 0, 6, 2, 70 }, { 'R', 0, 6, 3, 71 }, { 'F', 0, 6, 2, 80 } },
          "0:b1@10 0:r1@10 0:w1@20 0:b2@30 0:r2@30 0:w2@40 0:r1@50 0:w1@60 0:e1@60 0:r2@70 0:w2@80 0:e2@80" },
        /* it is still suspended at the end; the address again; it has ended unseen */
        { { { 'T', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 } }, "0:b1@10 0:r1@10 0:w1@20 0:e1@1000u" },
        { { { 'T', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'T', 0, 6, 1, 30 }, { 'F', 0, 6, 1, 40 } },
          "0:b1@10 0:r1@10 0:w1@20 0:e1@20 0:b2@30 0:r2@30 0:w2@40 0:e2@40" },
        { { { 'T', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'E', 0, 6, 1, 30 } }, "0:b1@10 0:r1@10 0:w1@20 0:e1@20" },
        /* exits are missing */
        { { { 'T', 0, 6, 1, 10 }, { 'R', 1, 6, 1, 30 }, { 'Y', 0, 6, 1, 35 }, { 'E', 0, 6, 1, 40 } },
          "0:b1@10 0:r1@10 0:w1@11 1:r1@30 1:w1@31 1:e1@31" },
        /* some do not stay; none does */
        { { { 's', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'R', 0, 6, 1, 30 }, { 'F', 0, 6, 1, 40 } }, "" },
        { { { 'T', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'r', 0, 6, 1, 30 }, { 'F', 0, 6, 1, 40 } },
          "0:b1@10 0:r1@10 0:w1@20 0:e1@20" },
        /* a slice does not begin before the one before it has ended */
        { { { 'T', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'R', 1, 6, 1, 15 }, { 'Y', 1, 6, 1, 22 }, { 'R', 2, 6, 1, 16 },
            { 'F', 2, 6, 1, 24 } },
          "0:b1@10 0:r1@10 0:w1@20 1:r1@20 1:w1@22 2:r1@22 2:w1@24 2:e1@24" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_sink sink;
        struct flows flows;
        check_sink_init(&sink);
        flows_init(&flows, &sink.sink, (struct flows_choice){ .has_tasks = true });
        flows_process(&flows, check_symbols());
        play(&flows, table[i].steps, 12);
        flows_end_process(&flows, 1000, false);
        cr_expect_str_eq(sink.text, table[i].expected, "row %zu: %s", i, sink.text);
        flows_clear(&flows);
    }
}

/* Identities are the same in two processes, flows are not. */
Test(flows, keeps_processes_apart)
{
    struct check_sink sink;
    struct flows flows;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, all_flows);
    for (int i = 0; i < 2; i++) {
        static const struct step steps[] = { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } };
        flows_process(&flows, check_symbols());
        play(&flows, steps, 3);
        flows_end_process(&flows, 1000, false);
    }
    cr_expect_str_eq(sink.text, "0:s1@11 0:f1@31 0:s2@11 0:f2@31");
    flows_clear(&flows);
}

/* The table holds only frames that are alive, and finds them all while others come and go. */
Test(flows, forgets_what_ended)
{
    struct check_sink sink;
    struct flows flows;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, all_flows);
    flows_process(&flows, check_symbols());
    for (uint64_t i = 1; i <= 100; i++)
        flows_enter(&flows, 0, 4, i * 11, FLOWS_FIRST | FLOWS_RETAINED, i);
    for (uint64_t i = 1; i <= 200000; i++) {
        flows_enter(&flows, 0, 4, 5000 + i, FLOWS_FIRST | FLOWS_RETAINED, 1000 + i);
        if (i > 50)
            flows_leave(&flows, 0, 4, 5000 + i - 50, true, 1000 + i - 50, 1000 + i);
    }
    cr_expect_eq(flows.table.n, 150);
    cr_expect_leq(flows.table.capacity, 256);
    cr_expect_eq(flows.n_flows, 0);
    for (uint64_t i = 1; i <= 100; i++)
        flows_leave(&flows, 0, 4, i * 11, true, i, 300000);
    cr_expect_eq(flows.table.n, 50);
    flows_clear(&flows);
}

static void ignore_task(struct sink *sink, const struct task_event *event)
{
    (void)sink, (void)event;
}

/* The names of many tasks, each as long as it may be: so many are kept as values may take, and the others are counted. */
Test(flows, keeps_so_many_names_of_tasks)
{
    struct check_sink sink;
    struct flows flows;
    char text[PNR_TEXT_MAX];
    enum { TASKS = 100000, MAX = REMARKS_MAX_BYTES / PNR_TEXT_MAX };
    struct pnr_values_writer values = { .size = 0 };
    memset(text, 'x', sizeof text);
    pnr_values_add(&values, &(struct pnr_value){ .key_text = check_string("name"), .type = PNR_VALUE_TEXT,
                                                 .text = { text, sizeof text } });
    check_sink_init(&sink);
    sink.sink.task = ignore_task;
    flows_init(&flows, &sink.sink, (struct flows_choice){ .has_tasks = true });
    flows_process(&flows, check_symbols());
    flows.has_names = true;
    for (int round = 0; round < 2; round++) {
        uint64_t n_before = flows.remarks.n_overflowed;
        for (uint64_t frame = 1; frame <= TASKS; frame++) {
            flows_enter(&flows, 0, 6, frame, FLOWS_FIRST | FLOWS_RETAINED | FLOWS_TASK, round * 1000000 + frame);
            flows_describe_task(&flows, 6, frame, &(struct pnr_values){ .bytes = values.bytes, .size = values.size });
            cr_assert_leq(flows.remarks.n_bytes, REMARKS_MAX_BYTES);
        }
        cr_assert_eq(flows.remarks.n_overflowed - n_before, TASKS - MAX);
        for (uint64_t frame = 1; frame <= TASKS; frame++)
            flows_finish(&flows, frame);
        cr_assert_eq(flows.remarks.n_bytes, 0);
    }
    flows_clear(&flows);
}
