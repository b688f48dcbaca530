#include "convert/write/top.h"

#include "check.h"

/* What is printed of the tree; the caller frees. */
static char *print(const struct call_tree *tree, struct top_form form)
{
    static struct writer writer;
    FILE *file = tmpfile();
    writer_init(&writer, fileno(file));
    cr_assert_eq(top_write(tree, &form, &writer), 0);
    return check_read(file, &writer);
}

static struct call_tree *make_tree(void)
{
    struct call_tree *tree = call_tree_new(false);
    check_tree_begin(tree, check_symbols());
    uint32_t f1 = check_tree_call(tree, 0, 1, 2000000000), f4 = check_tree_call(tree, f1, 4, 1000000);
    check_tree_call(tree, f1, 4, 234567);
    check_tree_call(tree, f4, 9, 999);
    tree->sink.resume(&tree->sink, 4, true, 0);
    tree->sink.resume(&tree->sink, 4, false, 99950);
    return tree;
}

Test(top, prints_a_table)
{
    static const char expected[] =
        "  self   total  calls   mean     max  chains  suspended  function\n"
        " 2.00s   2.00s      1  2.00s   2.00s                     m.f1:1\n"
        "1.23ms  1.23ms      2  617us  1.00ms       1      100us  m.f4:4\n"
        " 999ns   999ns      1  999ns   999ns                     m.f9:9\n";
    struct call_tree *tree = make_tree();
    char *text = print(tree, (struct top_form){ .columns = 0 });
    cr_expect_str_eq(text, expected, "%s", text);
    free(text);
    call_tree_free(tree);
}

Test(top, prints_json)
{
    static const char expected[] =
        "{\"lost_events\":5,\"left_out_calls\":0,\"functions\":[\n"
        "{\"name\":\"m.f1\",\"file\":\"m.py\",\"line\":1,\"kind\":\"python\",\"calls\":1,\"primitive_calls\":1,"
        "\"total_ns\":2000000000,\"self_ns\":1998765433,\"mean_ns\":2000000000,\"max_ns\":2000000000,"
        "\"p50_ns\":1996488704,\"p99_ns\":1996488704},\n"     /* the middle of 59 * 2**25 to 60 * 2**25 */
        "{\"name\":\"m.f4\",\"file\":\"m.py\",\"line\":4,\"kind\":\"generator\",\"calls\":2,\"primitive_calls\":2,"
        "\"total_ns\":1234567,\"self_ns\":1233568,\"mean_ns\":617283,\"max_ns\":1000000,"
        "\"p50_ns\":235520,\"p99_ns\":1000000,\"chains\":1,"
        "\"running_ns\":1234567,\"suspended_ns\":99950},\n"
        "{\"name\":\"m.f9\",\"file\":\"m.py\",\"line\":9,\"kind\":\"c_function\",\"calls\":1,\"primitive_calls\":1,"
        "\"total_ns\":999,\"self_ns\":999,\"mean_ns\":999,\"max_ns\":999,\"p50_ns\":999,"
        "\"p99_ns\":999}\n"
        "]}\n";
    struct call_tree *tree = make_tree();
    char *text = print(tree, (struct top_form){ .is_json = true, .n_lost = 5 });
    cr_expect_str_eq(text, expected, "%s", text);
    free(text);
    call_tree_free(tree);
}

Test(top, leaves_functions_out)
{
    struct call_tree *tree = call_tree_new(false);
    size_t n_lines = 0;
    check_tree_begin(tree, check_symbols());
    for (uint32_t i = 0; i < TOP_MAX_LINES + 5; i++)
        check_tree_call(tree, 0, 100 + i, 1000 + i);
    char *text = print(tree, (struct top_form){ .columns = 0 });
    for (const char *c = text; *c; c++)
        n_lines += *c == '\n';
    cr_expect_eq(n_lines, TOP_MAX_LINES + 2);
    cr_expect(strstr(text, "\nand 5 more functions, self 5.01us together; --json has all\n"), "%s", text);
    free(text);
    call_tree_free(tree);
}

Test(top, cuts_names_on_the_left)
{
    static const struct { const char *name; size_t columns; const char *shown; } table[] = {
        { "abcdefghijklmnop", 0, "abcdefghijklmnop" },
        { "abcdefghijklmnop", 39 + 16, "abcdefghijklmnop" },
        { "abcdefghijklmnop", 39 + 15, "...efghijklmnop" },
        { "abcdefghijklmnop", 10, "...hijklmnop" },                                     /* never shorter */
        { "abcdefghijk\xc3\xa9\xc3\xa9mno", 39 + 15, "...efghijk\xc3\xa9\xc3\xa9mno" },
        { "abcdefghij\xe6\xbc\xa2\xe5\xad\x97", 39 + 13, "...efghij\xe6\xbc\xa2\xe5\xad\x97" },  /* two columns each */
        { "\x1b[31mred\xc2\x9b", 0, "?[31mred?" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct symbol function = { .name = check_string(table[i].name), .is_known = true };
        struct symbols symbols = { .functions = &function, .n_functions = 1 };
        struct call_tree *tree = call_tree_new(false);
        check_tree_begin(tree, &symbols);
        check_tree_call(tree, 0, 1, 2000);
        char *text = print(tree, (struct top_form){ .columns = table[i].columns });
        char *line = strchr(text, '\n') + 1;
        line[strcspn(line, "\n")] = 0;
        cr_expect_str_eq(strrchr(line, ' ') + 1, table[i].shown, "row %zu: %s", i, line);
        free(text);
        call_tree_free(tree);
    }
}
