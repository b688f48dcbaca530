#include "convert/write/folded.h"

#include "check.h"

/* What is written of the tree, which is freed; the caller frees the text. */
static char *fold(struct call_tree *tree)
{
    static struct writer writer;
    FILE *file = tmpfile();
    writer_init(&writer, fileno(file));
    cr_assert_eq(folded_write(tree, &writer), 0);
    call_tree_free(tree);
    return check_read(file, &writer);
}

Test(folded, writes_stacks_with_their_own_time)
{
    struct call_tree *tree = call_tree_new(true);
    check_tree_begin(tree, check_symbols());
    uint32_t f1 = check_tree_call(tree, 0, 1, 10000), f2 = check_tree_call(tree, f1, 2, 5000);
    check_tree_call(tree, f2, 3, 1499);
    check_tree_call(tree, f1, 3, 499);          /* less than half a microsecond */
    char *text = fold(tree);
    cr_expect_str_eq(text, "m.f1 5\nm.f1;m.f2 4\nm.f1;m.f2;m.f3 1\n", "%s", text);
    free(text);
}

/* A call of f1 in each of the threads that have a name in the row; NULL begins another process. */
Test(folded, shows_roots_where_there_are_several)
{
    static const struct { const char *threads[5]; size_t n; const char *expected; } table[] = {
        { { "a" }, 1, "m.f1 1\n" },
        { { "a", "a" }, 2, "m.f1 2\n" },
        { { "a", "b;c" }, 2, "a;m.f1 1\nb:c;m.f1 1\n" },
        { { "a", NULL, "a" }, 3, "p 0;m.f1 1\np 1;m.f1 1\n" },
        { { "a", NULL, "a", "b" }, 4, "p 0;a;m.f1 1\np 1;a;m.f1 1\np 1;b;m.f1 1\n" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct call_tree *tree = call_tree_new(true);
        struct sink *sink = &tree->sink;
        char name[] = "p 0";
        sink->process(sink, &(struct sink_process){ .name = check_string(name), .symbols = check_symbols() });
        for (size_t k = 0; k < table[i].n; k++) {
            if (!table[i].threads[k]) {
                name[2]++;
                sink->process(sink, &(struct sink_process){ .name = check_string(name), .symbols = check_symbols() });
                continue;
            }
            sink->thread(sink, &(struct sink_thread){ .name = check_string(table[i].threads[k]) });
            check_tree_call(tree, 0, 1, 1000);
        }
        char *text = fold(tree);
        cr_expect_str_eq(text, table[i].expected, "row %zu: %s", i, text);
        free(text);
    }
}

Test(folded, keeps_names_from_breaking_lines)
{
    static const struct { const char *name; uint32_t size; const char *frame; } table[] = {
        { "a;b", 3, "a:b" }, { "a\nb\r\t", 5, "a?b??" }, { "f 12", 4, "f_12" }, { "", 0, "?" },
        { "\xff\xc3\xa9", 3, "\xef\xbf\xbd\xc3\xa9" }, { "a\0b", 3, "a\xef\xbf\xbd" "b" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct symbol function = { .name = { table[i].name, table[i].size }, .is_known = true };
        struct symbols symbols = { .functions = &function, .n_functions = 1 };
        struct call_tree *tree = call_tree_new(true);
        char expected[64];
        check_tree_begin(tree, &symbols);
        check_tree_call(tree, 0, 1, 3000);
        char *text = fold(tree);
        snprintf(expected, sizeof expected, "%s 3\n", table[i].frame);
        cr_expect_str_eq(text, expected, "row %zu: %s", i, text);
        free(text);
    }
}

/* f1 calls itself 3,000 times, and each call takes 1 us; then f2 is called next to it. */
Test(folded, cuts_deep_stacks)
{
    struct call_tree *tree = call_tree_new(true);
    uint32_t parent = 0;
    size_t n_lines = 0, n_frames = 0;
    check_tree_begin(tree, check_symbols());
    for (uint64_t i = 3000; i > 0; i--)
        parent = check_tree_call(tree, parent, 1, i * 1000);
    check_tree_call(tree, 0, 2, 1000);
    char *text = fold(tree), *last = NULL, *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        n_lines++;
        if (strncmp(line, "m.f1", 4) == 0)
            last = line;
    }
    cr_expect_eq(n_lines, FOLDED_DEPTH + 1);
    for (char *c = last; c; c = strchr(c + 1, ';'))
        n_frames++;
    cr_expect_eq(n_frames, FOLDED_DEPTH);
    cr_expect_eq(atoi(strchr(last, ' ')), 3000 - FOLDED_DEPTH + 1);
    free(text);
}

Test(folded, cuts_long_stacks)
{
    static char name[65535];
    memset(name, 'x', sizeof name);
    struct symbol function = { .name = { name, sizeof name }, .is_known = true };
    struct symbols symbols = { .functions = &function, .n_functions = 1 };
    struct call_tree *tree = call_tree_new(true);
    uint32_t parent = 0;
    check_tree_begin(tree, &symbols);
    for (uint64_t i = 100; i > 0; i--)
        parent = check_tree_call(tree, parent, 1, i * 1000);
    char *text = fold(tree);
    cr_expect_lt(strlen(text), 5 * (FOLDED_SIZE + sizeof name));
    cr_expect_str_eq(strrchr(text, ' '), " 96\n");
    free(text);
}
