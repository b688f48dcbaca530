#include "convert/write/durations.h"

#include "check.h"

Test(durations, of_none)
{
    struct durations durations = { .capacity = 0 };
    cr_expect_eq(durations_percentile(&durations, 50), 0);
    durations_clear(&durations);
}

Test(durations, percentiles_are_nearest_ranks)
{
    struct durations durations = { .capacity = 0 };
    for (uint64_t ns = 60; ns > 0; ns--)                /* exact, as all are below 64 ns */
        cr_assert_eq(durations_add(&durations, ns), 0);
    cr_expect_eq(durations_percentile(&durations, 1), 1);
    cr_expect_eq(durations_percentile(&durations, 50), 30);
    cr_expect_eq(durations_percentile(&durations, 51), 31);
    cr_expect_eq(durations_percentile(&durations, 99), 60);
    cr_expect_eq(durations_percentile(&durations, 100), 60);
    durations_clear(&durations);
}

Test(durations, are_wrong_by_a_64th_at_most)
{
    for (uint64_t ns = 1; ns < UINT64_MAX / 3; ns = ns * 3 / 2 + 1) {
        struct durations durations = { .capacity = 0 };
        cr_assert_eq(durations_add(&durations, ns), 0);
        uint64_t found = durations_percentile(&durations, 50), error = found > ns ? found - ns : ns - found;
        cr_expect_leq(error, ns / 64, "%lu ns became %lu ns", ns, found);
        durations_clear(&durations);
    }
}

Test(durations, of_any_length)
{
    struct durations durations = { .capacity = 0 };
    cr_assert_eq(durations_add(&durations, UINT64_MAX), 0);
    cr_assert_eq(durations_add(&durations, 0), 0);
    cr_expect_eq(durations_percentile(&durations, 50), 0);
    cr_expect_geq(durations_percentile(&durations, 100), UINT64_MAX / 64 * 63);
    durations_clear(&durations);
}
