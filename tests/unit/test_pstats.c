#include "convert/write/pstats.h"

#include "check.h"

/* The file of f2 called by f1, byte by byte; tests/e2e/test_profiles.py checks what Python makes of such files. */
Test(pstats, writes_what_marshal_reads)
{
    static const char expected[] =
        "{"
        "\xa8\3\0\0\0" "u\4\0\0\0m.py" "i\1\0\0\0" "u\2\0\0\0f1"
        "(\5\0\0\0" "i\1\0\0\0" "i\1\0\0\0" "g\0\0\0\0\0\0\xf8\x3f" "g\0\0\0\0\0\0\0\x40" "{0"
        "\xa8\3\0\0\0" "u\4\0\0\0m.py" "i\2\0\0\0" "u\2\0\0\0f2"
        "(\5\0\0\0" "l\3\0\0\0\1\0\0\0\2\0" "l\3\0\0\0\1\0\0\0\2\0" "g\0\0\0\0\0\0\xe0\x3f" "g\0\0\0\0\0\0\xe0\x3f"
        "{" "r\0\0\0\0"
        "(\4\0\0\0" "l\3\0\0\0\1\0\0\0\2\0" "l\3\0\0\0\1\0\0\0\2\0" "g\0\0\0\0\0\0\xe0\x3f" "g\0\0\0\0\0\0\xe0\x3f"
        "0"
        "0";
    static struct writer writer;
    FILE *file = tmpfile();
    struct call_tree *tree = call_tree_new(false);
    check_tree_begin(tree, check_symbols());
    uint32_t f1 = check_tree_call(tree, 0, 1, 2000000000), f2 = check_tree_call(tree, f1, 2, 500000000);
    tree->nodes[f2].calls = (UINT64_C(1) << 31) + 1;
    writer_init(&writer, fileno(file));
    cr_assert_eq(pstats_write(tree, &writer), 0);
    call_tree_free(tree);
    size_t size = writer.n_bytes;
    char *bytes = check_read(file, &writer);
    cr_expect_eq(size, sizeof expected - 1);
    cr_expect_eq(memcmp(bytes, expected, sizeof expected - 1), 0);
    free(bytes);
}
