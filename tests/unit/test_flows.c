#include "convert/flows.h"

#include "check.h"

/* What happens to frames, in the order of time: S(tart) R(esume) Y(ield) F(inish) C(reate); small letters are slices that
 * are not sure to stay: s(tart) r(esume), and k(ept), at its begin's time. */
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
    for (size_t i = 0; i < n && steps[i].what; i++) {
        const struct step *s = &steps[i];
        if (strchr("SRsr", s->what))
            begin_ns[s->frame] = flows_enter(flows, s->thread, s->function, s->frame, strchr("Ss", s->what) != NULL,
                                             strchr("SR", s->what) != NULL, s->ns);
        else if (s->what == 'C')
            flows_create(flows, s->frame);
        else if (s->what == 'k')
            flows_stay(flows, s->thread, s->function, s->frame, s->ns);
        else
            flows_leave(flows, s->thread, s->function, s->frame, s->what == 'F', begin_ns[s->frame], s->ns);
    }
}

#define ALL (~0u)
#define GENERATORS (1u << PNR_FUNCTION_GENERATOR)

Test(flows, joins_the_slices_of_a_frame)
{
    static const struct { unsigned kinds; struct step steps[10]; const char *expected; } table[] = {
        /* one slice: no points */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'F', 0, 4, 1, 20 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 } }, "" },
        /* two: from the end of the first to the begin of the second */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } },
          "0:s1@20 0:f1@31" },
        /* four */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 },
            { 'R', 0, 4, 1, 50 }, { 'Y', 0, 4, 1, 60 }, { 'R', 0, 4, 1, 70 }, { 'F', 0, 4, 1, 80 } },
          "0:s1@20 0:t1@31 0:t1@51 0:f1@71" },
        /* suspended, or running, for ever */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 } },
          "0:s1@20 0:f1@31" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "0:s1@20 0:f1@31" },
        /* the exit of the first slice is missing */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'R', 0, 4, 1, 30 } }, "0:s1@11 0:f1@31" },
        /* over threads */
        { ALL, { { 'S', 1, 4, 1, 10 }, { 'Y', 1, 4, 1, 20 }, { 'R', 2, 4, 1, 30 }, { 'F', 2, 4, 1, 40 } },
          "1:s1@20 2:f1@31" },
        /* the start was not seen */
        { ALL, { { 'R', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } },
          "0:s1@20 0:f1@31" },
        /* two frames at the same time */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'S', 0, 6, 2, 11 }, { 'Y', 0, 6, 2, 20 }, { 'Y', 0, 4, 1, 21 },
            { 'R', 0, 6, 2, 30 }, { 'F', 0, 6, 2, 31 }, { 'R', 0, 4, 1, 40 }, { 'F', 0, 4, 1, 41 } },
          "0:s1@20 0:f1@31 0:s2@21 0:f2@41" },
        /* the address again: after its end, without one, after a CREATE, by another function */
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'F', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'S', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 },
            { 'S', 0, 4, 1, 50 }, { 'Y', 0, 4, 1, 60 }, { 'R', 0, 4, 1, 70 } },
          "0:s1@20 0:f1@31 0:s2@60 0:f2@71" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'C', 0, 0, 1, 25 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 5, 1, 30 }, { 'Y', 0, 5, 1, 40 } }, "" },
        /* kinds that are not wanted, and plain functions, have none */
        { GENERATORS, { { 'S', 0, 6, 1, 10 }, { 'Y', 0, 6, 1, 20 }, { 'R', 0, 6, 1, 30 }, { 'S', 0, 4, 2, 40 },
            { 'Y', 0, 4, 2, 50 }, { 'R', 0, 4, 2, 60 } }, "0:s1@50 0:f1@61" },
        { 0, { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } }, "" },
        { ALL, { { 'S', 0, 99, 1, 10 }, { 'Y', 0, 99, 1, 20 }, { 'R', 0, 99, 1, 30 } }, "" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_sink sink;
        struct flows flows;
        check_sink_init(&sink);
        flows_init(&flows, &sink.sink, table[i].kinds);
        flows_process(&flows, check_symbols());
        play(&flows, table[i].steps, 10);
        flows_end_process(&flows);
        cr_expect_str_eq(sink.text, table[i].expected, "row %zu: %s", i, sink.text);
        cr_expect_eq(flows.n, 0, "row %zu", i);
        flows_clear(&flows);
    }
}

Test(flows, passes_over_slices_that_do_not_stay)
{
    static const struct { struct step steps[12]; const char *expected; } table[] = {
        /* all stay; none does; the first does not; the last; the middle */
        { { { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 },
            { 'k', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } }, "0:s1@20 0:f1@31" },
        { { { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 }, { 'F', 0, 4, 1, 40 } }, "" },
        { { { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 }, { 'k', 0, 4, 1, 30 },
            { 'Y', 0, 4, 1, 40 }, { 'r', 0, 4, 1, 50 }, { 'k', 0, 4, 1, 50 }, { 'F', 0, 4, 1, 60 } },
          "0:s1@40 0:f1@51" },
        { { { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 },
            { 'F', 0, 4, 1, 40 } }, "" },
        { { { 's', 1, 4, 1, 10 }, { 'k', 1, 4, 1, 10 }, { 'Y', 1, 4, 1, 20 }, { 'r', 2, 4, 1, 30 },
            { 'Y', 2, 4, 1, 40 }, { 'r', 3, 4, 1, 50 }, { 'k', 3, 4, 1, 50 }, { 'F', 3, 4, 1, 60 } },
          "1:s1@20 3:f1@51" },
        /* chains without any are not numbered, and one that does not stay ends the one before all the same */
        { { { 's', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 21 }, { 'F', 0, 4, 1, 22 },
            { 's', 0, 4, 1, 30 }, { 'k', 0, 4, 1, 30 }, { 'Y', 0, 4, 1, 40 }, { 's', 0, 4, 1, 50 },
            { 'Y', 0, 4, 1, 60 }, { 'r', 0, 4, 1, 70 }, { 'k', 0, 4, 1, 70 } }, "" },
        { { { 's', 0, 4, 1, 10 }, { 'k', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'r', 0, 4, 1, 30 },
            { 'F', 0, 4, 1, 40 }, { 'r', 0, 4, 1, 50 }, { 'k', 0, 4, 1, 50 } }, "" },
        /* its exit is missing, and the chain has gone on: no point; then nor does it move that of another slice */
        { { { 's', 1, 4, 1, 10 }, { 'r', 2, 4, 1, 30 }, { 'k', 2, 4, 1, 30 }, { 'k', 1, 4, 1, 10 },
            { 'Y', 2, 4, 1, 40 }, { 'Y', 1, 4, 1, 45 }, { 'r', 2, 4, 1, 50 }, { 'k', 2, 4, 1, 50 } },
          "2:s1@40 2:f1@51" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_sink sink;
        struct flows flows;
        check_sink_init(&sink);
        flows_init(&flows, &sink.sink, ALL);
        flows_process(&flows, check_symbols());
        play(&flows, table[i].steps, 12);
        flows_end_process(&flows);
        cr_expect_str_eq(sink.text, table[i].expected, "row %zu: %s", i, sink.text);
        flows_clear(&flows);
    }
}

/* A thread's times may have been moved up: the next slice, in another thread, must not begin before the arrow. */
Test(flows, never_points_backwards)
{
    struct check_sink sink;
    struct flows flows;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, ALL);
    flows_process(&flows, check_symbols());
    cr_expect_eq(flows_enter(&flows, 1, 4, 1, true, true, 100), 100);
    flows_leave(&flows, 1, 4, 1, false, 100, 150);
    cr_expect_eq(flows_enter(&flows, 2, 4, 1, false, true, 120), 150);
    cr_expect_eq(flows_enter(&flows, 3, 4, 1, false, true, 120), 151);
    flows_end_process(&flows);
    cr_expect_str_eq(sink.text, "1:s1@150 2:t1@151 3:f1@152");
    flows_clear(&flows);
}

/* Identities are the same in two processes, chains are not. */
Test(flows, keeps_processes_apart)
{
    struct check_sink sink;
    struct flows flows;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, ALL);
    for (int i = 0; i < 2; i++) {
        static const struct step steps[] = { { 'S', 0, 4, 1, 10 }, { 'Y', 0, 4, 1, 20 }, { 'R', 0, 4, 1, 30 } };
        flows_process(&flows, check_symbols());
        play(&flows, steps, 3);
        flows_end_process(&flows);
    }
    cr_expect_str_eq(sink.text, "0:s1@20 0:f1@31 0:s2@20 0:f2@31");
    flows_clear(&flows);
}

/* The table holds only frames that are alive, and finds them all while others come and go. */
Test(flows, forgets_what_ended)
{
    struct check_sink sink;
    struct flows flows;
    check_sink_init(&sink);
    flows_init(&flows, &sink.sink, ALL);
    flows_process(&flows, check_symbols());
    for (uint64_t i = 1; i <= 100; i++)
        flows_enter(&flows, 0, 4, i * 11, true, true, i);
    for (uint64_t i = 1; i <= 200000; i++) {
        flows_enter(&flows, 0, 4, 5000 + i, true, true, 1000 + i);
        if (i > 50)
            flows_leave(&flows, 0, 4, 5000 + i - 50, true, 1000 + i - 50, 1000 + i);
    }
    cr_expect_eq(flows.n, 150);
    cr_expect_leq(flows.capacity, 256);
    cr_expect_eq(flows.n_chains, 0);
    for (uint64_t i = 1; i <= 100; i++)
        flows_leave(&flows, 0, 4, i * 11, true, i, 300000);
    cr_expect_eq(flows.n, 50);
    flows_clear(&flows);
}
