#include "format/table.h"

#include <stdbool.h>
#include <stdlib.h>

#include "check.h"

#define MAX_KEY 5000

struct visits {
    uint64_t key;
    uint32_t n;
};

static size_t count_slots(const struct pnr_table *table)
{
    size_t n = 0;
    for (void *slot = NULL; (slot = pnr_table_next(table, slot));)
        n++;
    return n;
}

Test(table, counts_by_key)
{
    struct pnr_table table = { .slot_size = sizeof(struct visits), .secret = pnr_table_secret() };
    cr_expect_null(pnr_table_find(&table, 1));
    for (int round = 0; round < 3; round++)
        for (uint64_t key = 1; key <= 1000; key++)
            ((struct visits *)pnr_table_add(&table, key << 40))->n += (uint32_t)key;
    cr_expect_eq(table.n, 1000);
    cr_expect_eq(count_slots(&table), 1000);
    for (uint64_t key = 1; key <= 1000; key++)
        cr_assert_eq(((struct visits *)pnr_table_find(&table, key << 40))->n, 3 * key);
    cr_expect_null(pnr_table_find(&table, UINT64_C(1001) << 40));
    pnr_table_clear(&table);
    cr_expect_null(pnr_table_find(&table, UINT64_C(1) << 40));
    cr_expect_null(pnr_table_next(&table, NULL));
}

/* Adds and removes at random, and compares with an array of flags, one for each key. */
static void compare_with_array(uint64_t secret, uint64_t step)
{
    static bool is_in[MAX_KEY + 1];
    struct pnr_table table = { .slot_size = sizeof(struct visits), .secret = secret };
    uint32_t random = 1;
    size_t n = 0;
    for (int i = 0; i < 200000; i++) {
        random = random * 1664525 + 1013904223;
        uint64_t key = random >> 8 & 1 ? 1 + (random >> 16) % 64 : 1 + (random >> 9) % MAX_KEY;
        struct visits *found = pnr_table_find(&table, key * step);
        cr_assert_eq(found != NULL, is_in[key]);
        if (found) {
            cr_assert_eq(found->n, key);
            pnr_table_remove(&table, found);
            n--;
        } else {
            found = pnr_table_add(&table, key * step);
            cr_assert_eq(found->n, 0, "a new slot is zero");
            found->n = (uint32_t)key;
            n++;
        }
        is_in[key] = !is_in[key];
    }
    cr_expect_eq(table.n, n);
    cr_expect_eq(count_slots(&table), n);
    for (uint64_t key = 1; key <= MAX_KEY; key++)
        is_in[key] = false;
    pnr_table_clear(&table);
}

Test(table, holds_what_was_not_removed)
{
    compare_with_array(pnr_table_secret(), 1);
    compare_with_array(0, 1);
    compare_with_array(0, UINT64_C(1) << 32);   /* the products' low halves are alike */
}
