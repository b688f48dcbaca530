#include "convert/slices/quantity.h"

#include "check.h"

/* The recorder's parser is checked with the same lines: tests/format/test_options.py. */
Test(quantity, reads_what_the_table_says)
{
    char line[256], type[32], text[128], wanted[64];
    int n = 0;
    FILE *file = fopen("tests/format/quantities.txt", "r");
    cr_assert_not_null(file, "run from the top of the tree");
    while (fgets(line, sizeof line, file)) {
        text[0] = 0;
        if (line[0] == '#' || (sscanf(line, "%31s \"%127[^\"]\" %63s", type, text, wanted) != 3 &&
                               sscanf(line, "%31s \"\" %63s", type, wanted) != 2))
            continue;
        uint64_t value = 0;
        bool is_read = strcmp(type, "size") == 0 ? quantity_parse_size(text, &value) :
                                                   quantity_parse_duration(text, true, &value);
        cr_expect_eq(is_read, strcmp(wanted, "-") != 0, "%s", line);
        if (is_read)
            cr_expect_eq(value, strtoull(wanted, NULL, 10), "%s: %" PRIu64, line, value);
        n++;
    }
    fclose(file);
    cr_expect_gt(n, 50);
}

Test(quantity, takes_a_number_alone_for_seconds)
{
    uint64_t ns;
    cr_expect(quantity_parse_duration("12.5", false, &ns));
    cr_expect_eq(ns, UINT64_C(12500000000));
    cr_expect_not(quantity_parse_duration("12.5", true, &ns));
}
