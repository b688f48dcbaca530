#include "convert/slices/slice_time.h"

#include <criterion/criterion.h>

/* The example at the head of slice_time.h. */
Test(slice_time, gives_each_slice_event_its_time)
{
    struct slice_time time = { .last_ns = 0 };
    cr_expect_eq(slice_time_begin(&time, true, 10).ns, 10);
    cr_expect_eq(slice_time_begin(&time, true, 10).ns, 11);
    time.last_ns++;                     /* kept for the flow event */
    cr_expect_eq(slice_time_begin(&time, true, 10).ns, 13);
    cr_expect_eq(slice_time_end(&time, true, 10), 14);
    cr_expect_eq(slice_time_end(&time, true, 10), 15);
    cr_expect_eq(slice_time_end(&time, true, 40), 40);
}

Test(slice_time, retracts_a_pruned_slice)
{
    struct slice_time time = { .last_ns = 12 };
    struct slice_begin begin = slice_time_begin(&time, false, 10);
    cr_expect_eq(begin.ns, 13);
    cr_expect_eq(slice_time_length(&time, &begin, 10), 1);
    cr_expect_eq(slice_time_length(&time, &begin, 33), 20);
    slice_time_retract(&time, &begin);
    cr_expect_eq(slice_time_end(&time, false, 10), 13);
}

/* Two stacks share the positions of their process. A pruned slice gives its position back unless a later one is
 * taken. */
Test(slice_time, counts_positions)
{
    uint64_t positions = 0;
    struct slice_time one = { .positions = &positions }, other = { .positions = &positions };
    cr_expect_eq(slice_time_begin(&one, false, 10).ns, 1000);
    struct slice_begin pruned = slice_time_begin(&one, false, 500);
    cr_expect_eq(pruned.ns, 2000);
    cr_expect_eq(slice_time_length(&one, &pruned, 600), 100);
    slice_time_retract(&one, &pruned);
    pruned = slice_time_begin(&one, false, 700);
    cr_expect_eq(pruned.ns, 2000);
    cr_expect_eq(slice_time_begin(&other, false, 750).ns, 3000);
    slice_time_retract(&one, &pruned);
    cr_expect_eq(slice_time_instant(&one, 800), 4000);
    cr_expect_eq(slice_time_create(&one, 850), 4002);
    cr_expect_eq(slice_time_end(&one, false, 900), 5000);
}
