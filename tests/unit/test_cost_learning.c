/* What recording an event costs, learned from intervals whose lengths are made up. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "recorder/cost_learning.h"

enum { EVENT = 30 };                        /* ticks that an event of a muted function takes */

/* A thread that goes through kinds of intervals, each as long as its number says, in windows and without. */
static void run_program(int n_kinds, int n_rounds, unsigned n_hidden)
{
    struct rec_interval thread = { 0 };
    uint64_t now = 1000;
    for (int round = 0; round < n_rounds; round++) {
        uint32_t window = round % 4 ? 0 : (uint32_t)round / 4 + 1;
        for (int kind = 1; kind <= n_kinds; kind++) {
            rec_cost_learning_visible(&thread, (uint32_t)kind, now, window);
            now += 1000 * (uint64_t)kind + (uint64_t)rand() % 100;
            for (unsigned i = 0; window && i < n_hidden; i++) {
                rec_cost_learning_hidden(&thread);
                now += EVENT;
            }
            if (rand() % 50 == 0)
                now += 1000000;             /* another process had the processor */
        }
    }
}

Test(cost_learning, learns)
{
    rec_cost_learning_start();
    cr_expect_eq(rec_cost_learning_estimate(), 0, "nothing is known");
    run_program(10, 2000, 8);
    double cost = rec_cost_learning_estimate();
    cr_expect_geq(cost, 0.7 * EVENT, "%.1f", cost);
    cr_expect_leq(cost, 1.3 * EVENT, "%.1f", cost);
    rec_cost_learning_start();
    cr_expect_eq(rec_cost_learning_estimate(), 0, "all is forgotten");
}

Test(cost_learning, does_not_guess)
{
    rec_cost_learning_start();
    run_program(2, 1000, 8);
    cr_expect_eq(rec_cost_learning_estimate(), 0, "two kinds of intervals are too few");
    rec_cost_learning_start();
    run_program(10, 40, 8);
    cr_expect_eq(rec_cost_learning_estimate(), 0, "each has occurred too seldom");
    rec_cost_learning_start();
    run_program(10, 1000, 0);
    cr_expect_eq(rec_cost_learning_estimate(), 0, "nothing is muted");
}

Test(cost_learning, takes_no_interval_across_a_boundary)
{
    struct rec_interval thread = { 0 };
    uint64_t now = 1000;
    rec_cost_learning_start();
    run_program(10, 1000, 8);
    double before = rec_cost_learning_estimate();
    for (uint32_t i = 0; i < 10000; i++) {  /* each is cut by a window's begin or end, by a break, or has no window */
        rec_cost_learning_visible(&thread, i % 10 + 1, now, i % 2 ? i : 0);
        if (i % 3 == 0)
            rec_cost_learning_break(&thread);
        rec_cost_learning_hidden(&thread);
        now += 7000;
    }
    cr_expect_eq(rec_cost_learning_estimate(), before);
}
