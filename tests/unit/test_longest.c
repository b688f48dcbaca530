#include "convert/write/longest.h"

#include "check.h"

static void add_item(struct longest *longest, size_t max, uint64_t ns, uint64_t begin_ns)
{
    cr_assert_eq(longest_add(longest, max, &(struct longest_item){ .ns = ns, .begin_ns = begin_ns }), 0);
}

Test(longest, keeps_those_that_are_the_longest)
{
    struct longest longest = { .n = 0 };
    for (uint64_t i = 0; i < 1000; i++)
        add_item(&longest, 10, i * 7919 % 1000, i);     /* each length from 0 to 999 once */
    longest_sort(&longest);
    cr_assert_eq(longest.n, 10);
    for (uint64_t i = 0; i < 10; i++)
        cr_expect_eq(longest.items[i].ns, 999 - i);
    free(longest.items);
}

Test(longest, of_the_same_length_the_earlier_ones)
{
    static const uint64_t begins[] = { 30, 10, 50, 20, 40 };
    struct longest longest = { .n = 0 };
    for (size_t i = 0; i < 5; i++)
        add_item(&longest, 3, 7, begins[i]);
    longest_sort(&longest);
    for (uint64_t i = 0; i < 3; i++)
        cr_expect_eq(longest.items[i].begin_ns, 10 + 10 * i);
    free(longest.items);
}

Test(longest, of_none)
{
    struct longest longest = { .n = 0 };
    longest_sort(&longest);
    cr_expect_eq(longest.n, 0);
    add_item(&longest, 3, 1, 1);
    longest_sort(&longest);
    cr_expect_eq(longest.n, 1);
    free(longest.items);
}
