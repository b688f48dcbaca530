#include "format/array.h"

#include <stdint.h>
#include <stdlib.h>

#include "check.h"

Test(array, keeps_what_was_appended)
{
    uint32_t *numbers = NULL;
    size_t n = 0, capacity = 0, n_moves = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        uint32_t *before = numbers;
        cr_assert_eq(pnr_array_reserve(&numbers, &capacity, n + 1), 0);
        cr_assert_geq(capacity, n + 1);
        n_moves += numbers != before;
        numbers[n++] = i;
    }
    for (uint32_t i = 0; i < 10000; i++)
        cr_assert_eq(numbers[i], i);
    cr_expect_leq(n_moves, 11, "16, 32, ..., 16384: %zu", n_moves);
    free(numbers);
}

Test(array, takes_as_many_as_are_asked_for)
{
    char *bytes = NULL;
    size_t capacity = 0;
    cr_assert_eq(pnr_array_reserve(&bytes, &capacity, 100000), 0);
    cr_expect_eq(capacity, 100000);
    cr_assert_eq(pnr_array_reserve(&bytes, &capacity, 5), 0);
    cr_expect_eq(capacity, 100000);
    free(bytes);
}

Test(array, stays_as_it_was_when_memory_is_out)
{
    uint64_t *words = NULL;
    size_t capacity = 0;
    cr_assert_eq(pnr_array_reserve(&words, &capacity, 3), 0);
    uint64_t *before = words;
    size_t capacity_before = capacity;
    cr_expect_lt(pnr_array_reserve(&words, &capacity, SIZE_MAX / sizeof *words + 2), 0);
    cr_expect_eq(words, before);
    cr_expect_eq(capacity, capacity_before);
    free(words);
}
