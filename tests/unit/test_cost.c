#include <criterion/criterion.h>
#include <string.h>

#include "recorder/cost.h"

static void read_text(struct rec_cost *sum, const char *key, const char *value)
{
    struct pnr_string strings[] = { { key, (uint32_t)strlen(key) }, { value, (uint32_t)strlen(value) } };
    rec_cost_read(sum, &strings[0], &strings[1]);
}

Test(cost, is_the_sum_over_processes)
{
    static const char *const properties[][2] = {
        { "max_overhead", "0.5" }, { "cpu_ns", "1000000000" }, { "cost_ns", "4000000" }, { "functions_muted", "2" },
        { "calls_of_muted", "1000" }, { "calls_not_recorded", "900" }, { "events", "7" }, { "cpu", "7" },
        { "cpu_nsx", "7" }, { "unseen_ns", "26000000" }, { "unseen_ns", "33000001" }, { "late_looks", "4" } };
    struct rec_cost sum = { 0 };
    char text[256];
    for (int process = 0; process < 3; process++)
        for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
            read_text(&sum, properties[i][0], properties[i][1]);
    cr_expect_eq(sum.cpu_ns, 3000000000);
    cr_expect_eq(sum.n_late_looks, 12);
    cr_expect_eq(sum.unseen_ns, 33000001, "the longest one");
    cr_expect_float_eq(rec_cost_percent(&sum), 0.4, 1e-9);
    cr_expect_str_eq(rec_cost_describe(&sum, text, sizeof text),
                     "; cost 0.4 % (budget 0.5 %), 6 functions muted some time, ~90 % of their calls not recorded, "
                     "maybe calls of up to 34 ms among them: looks came late");
}

Test(cost, is_described_as_far_as_there_is_something)
{
    char text[256];
    struct rec_cost sum = { .cpu_ns = 0 };
    cr_expect_str_eq(rec_cost_describe(&sum, text, sizeof text), "");
    read_text(&sum, "max_overhead", "3");
    cr_expect_str_eq(rec_cost_describe(&sum, text, sizeof text), "", "no process has ended in order");
    read_text(&sum, "cpu_ns", "2000");
    cr_expect_str_eq(rec_cost_describe(&sum, text, sizeof text), "; cost 0.0 % (budget 3 %)");
    read_text(&sum, "cost_ns", "59");
    read_text(&sum, "functions_muted", "1");
    cr_expect_str_eq(rec_cost_describe(&sum, text, sizeof text),
                     "; cost 3.0 % (budget 3 %), 1 function muted some time, ~0 % of its calls not recorded");
}

/* A capture may have been changed by somebody. */
Test(cost, of_a_damaged_capture_is_no_harm)
{
    static const char *const values[] = { "", "x", "3%n", "\x1b[2J", "99999999999999999999999999999999", "-1" };
    char text[256];
    struct rec_cost sum = { 0 };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        read_text(&sum, "max_overhead", values[i]);
        read_text(&sum, "cpu_ns", values[i]);
        read_text(&sum, "functions_muted", values[i]);
    }
    cr_expect_str_eq(sum.budget, "");
    cr_expect_lt(strlen(rec_cost_describe(&sum, text, sizeof text)), sizeof text - 1);
    read_text(&sum, "max_overhead", "1000");
    sum = (struct rec_cost){ UINT64_MAX, UINT64_MAX, UINT64_MAX, 1, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                             "999999999999999" };
    cr_expect_lt(strlen(rec_cost_describe(&sum, text, sizeof text)), sizeof text - 1);
}
