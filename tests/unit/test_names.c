#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "format/block.h"
#include "format/names.h"

/* ---- what the tests share ---- */

static struct pnr_string string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

static const struct pnr_name main_function = {
    .type = PNR_NAME_FUNCTION, .index = 1, .number = 1,
    .strings = { { "__main__", 8 }, { "main", 4 }, { "app.py", 6 } },
};

/* The same function in the worked example of specs/capture-format.md, section 12.1. */
static const unsigned char example[58] = {
    0x3a, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    0x68, 0x37, 0x1d, 0x13, 0x5f, 0x62, 0x4e, 0xa6,
    '_', '_', 'm', 'a', 'i', 'n', '_', '_', 'm', 'a', 'i', 'n', 'a', 'p', 'p', '.', 'p', 'y',
};

/* Makes the check of an entry anew: FNV-1a of bytes 0 to 31 and the strings, side by side. */
static void seal(unsigned char *entry, size_t size)
{
    unsigned char *covered = malloc(size - 8);
    memcpy(covered, entry, 32);
    memcpy(covered + 32, entry + 40, size - 40);
    uint64_t check = pnr_check(covered, size - 8);
    memcpy(entry + 32, &check, 8);
    free(covered);
}

static void expect_same(const struct pnr_name *a, const struct pnr_name *b, const char *row)
{
    cr_expect_eq(a->type, b->type, "%s", row);
    cr_expect_eq(a->kind, b->kind, "%s", row);
    cr_expect_eq(a->index, b->index, "%s", row);
    cr_expect_eq(a->number, b->number, "%s", row);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(a->strings[i].size, b->strings[i].size, "%s, string %d", row, i);
        cr_expect(a->strings[i].size == 0 ||
                  memcmp(a->strings[i].bytes, b->strings[i].bytes, a->strings[i].size) == 0, "%s, string %d", row, i);
    }
}

/* ---- the entry ---- */

Test(names, entry_has_the_layout_of_the_spec)
{
    unsigned char bytes[sizeof example];
    struct pnr_name got;
    struct pnr_err err;
    size_t at = 0;
    cr_assert_eq(pnr_name_size(&main_function), sizeof example);
    pnr_name_encode(&main_function, bytes);
    cr_expect_arr_eq(bytes, example, sizeof example);
    cr_assert_eq(pnr_name_decode(example, sizeof example, &at, &got, &err), 1);
    cr_expect_eq(at, sizeof example);
    expect_same(&got, &main_function, "example");
}

Test(names, round_trip_keeps_all_entries)
{
    static char longest[PNR_NAME_MAX];
    memset(longest, 'x', sizeof longest);
    const struct { const char *name; struct pnr_name entry; } rows[] = {
        { "function", { 1, 3, 7, 42, { string("mod"), string("Class.method"), string("/dir/file.py") } } },
        { "thread", { 2, 0, 1, 4194304, { string("MainThread"), string(""), string("") } } },
        { "property", { 3, 0, 0, 0, { string("pid"), string("7"), string("") } } },
        { "unknown type and kind", { 200, 99, UINT32_MAX, UINT32_MAX, { string("a"), string("b"), string("c") } } },
        { "nothing", { 1, 0, 1, 0, { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } } } },
        { "NUL inside", { 1, 0, 2, 0, { { "a\0b", 3 }, { "\0", 1 }, { "", 0 } } } },
        { "not UTF-8, lone surrogate", { 1, 0, 3, 0, { string("\xff\xfe"), string("\xed\xa0\xbd"), string("\xf0") } } },
        { "longest", { 1, 0, 4, 0, { { longest, 65535 }, { longest, 65535 }, { longest, 65535 } } } },
    };
    enum { N = sizeof rows / sizeof *rows };
    size_t sizes[N], size = 0, at = 0;
    for (size_t i = 0; i < N; i++)
        size += sizes[i] = pnr_name_size(&rows[i].entry);
    unsigned char *file = malloc(size), *end = file;
    for (size_t i = 0; i < N; end += sizes[i++])
        pnr_name_encode(&rows[i].entry, end);
    for (size_t i = 0; i < N; i++) {
        struct pnr_name got;
        struct pnr_err err;
        size_t before = at;
        cr_assert_eq(pnr_name_decode(file, size, &at, &got, &err), 1, "%s", rows[i].name);
        cr_expect_eq(at - before, sizes[i], "%s", rows[i].name);
        expect_same(&got, &rows[i].entry, rows[i].name);
    }
    struct pnr_name got;
    struct pnr_err err;
    cr_expect_eq(pnr_name_decode(file, size, &at, &got, &err), 0);
    cr_expect_eq(at, size);
    free(file);
}

/* A field is set to a value and the check made anew; where the next entry is searched for is part of the rule. */
Test(names, entry_is_checked_field_by_field)
{
    enum { N = sizeof example };
    static const struct {
        const char *name;
        size_t at, size;
        uint32_t value;
        enum pnr_code code;
        size_t goes_to;
    } rows[] = {
        { "size below 40", 0, 4, 39, PNR_E_CORRUPT, 2 * N },
        { "size 0", 0, 4, 0, PNR_E_CORRUPT, 2 * N },
        { "size too large", 0, 4, 40 + 3 * 65535 + 1, PNR_E_CORRUPT, 2 * N },
        { "absurd size", 0, 4, UINT32_MAX, PNR_E_CORRUPT, 2 * N },
        { "size beyond the file", 0, 4, 2 * N + 1, PNR_E_TRUNCATED, 2 * N },
        { "size one less", 0, 4, N - 1, PNR_E_CORRUPT, N - 1 },
        { "size one more", 0, 4, N + 1, PNR_E_CORRUPT, N + 1 },
        { "reserved", 6, 2, 1, PNR_E_CORRUPT, N },
        { "string too long", 16, 4, 65536, PNR_E_CORRUPT, N },
        { "strings that overflow", 16, 4, UINT32_MAX, PNR_E_CORRUPT, N },
        { "string one more", 24, 4, 7, PNR_E_CORRUPT, N },
        { "string one less", 24, 4, 5, PNR_E_CORRUPT, N },
        { "reserved2", 28, 4, 1, PNR_E_CORRUPT, N },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char *file = malloc(2 * N);
        struct pnr_name got;
        struct pnr_err err;
        size_t at = 0;
        memcpy(file, example, N);
        memcpy(file + N, example, N);
        memcpy(file + rows[i].at, &rows[i].value, rows[i].size);
        seal(file, N);
        cr_expect_eq(pnr_name_decode(file, 2 * N, &at, &got, &err), -1, "%s", rows[i].name);
        cr_expect_eq(err.code, rows[i].code, "%s", rows[i].name);
        cr_expect_eq(err.offset, 0, "%s", rows[i].name);
        cr_expect_eq(at, rows[i].goes_to, "%s", rows[i].name);
        if (rows[i].goes_to == N)
            cr_expect_eq(pnr_name_decode(file, 2 * N, &at, &got, &err), 1, "%s", rows[i].name);
        free(file);
    }
}

Test(names, each_changed_bit_is_found)
{
    for (size_t bit = 0; bit < sizeof example * 8; bit++) {
        unsigned char *file = malloc(sizeof example);
        struct pnr_name got;
        struct pnr_err err;
        size_t at = 0;
        memcpy(file, example, sizeof example);
        file[bit / 8] ^= 1 << bit % 8;
        cr_expect_eq(pnr_name_decode(file, sizeof example, &at, &got, &err), -1, "bit %zu", bit);
        cr_expect(at > 0 && at <= sizeof example, "bit %zu", bit);
        free(file);
    }
}

Test(names, entry_may_be_cut_off_anywhere)
{
    for (size_t size = 1; size < sizeof example; size++) {
        unsigned char *file = malloc(size);
        struct pnr_name got;
        struct pnr_err err;
        size_t at = 0;
        memcpy(file, example, size);
        cr_expect_eq(pnr_name_decode(file, size, &at, &got, &err), -1, "%zu bytes", size);
        cr_expect_eq(err.code, PNR_E_TRUNCATED, "%zu bytes", size);
        cr_expect_eq(at, size);
        free(file);
    }
}

/* ---- the file's header ---- */

Test(names, header_has_the_layout_of_the_spec)
{
    static const unsigned char expected[16] = { 'P', 'N', 'R', 'N', 'A', 'M', 'E', 'S', 1 };
    unsigned char bytes[16];
    struct pnr_err err;
    pnr_names_header_encode(bytes);
    cr_expect_arr_eq(bytes, expected, sizeof bytes);
    cr_expect_eq(pnr_names_header_check(bytes, sizeof bytes, &err), 0);
}

Test(names, header_is_checked_field_by_field)
{
    static const struct { const char *name; size_t at; unsigned char value; enum pnr_code code; } rows[] = {
        { "magic", 0, 'p', PNR_E_NOT_CAPTURE },
        { "magic", 7, 0, PNR_E_NOT_CAPTURE },
        { "version 0", 8, 0, PNR_E_NOT_CAPTURE },
        { "version 2", 8, 2, PNR_E_VERSION },
        { "version 16777217", 11, 1, PNR_E_VERSION },
        { "reserved", 12, 1, PNR_E_NOT_CAPTURE },
    };
    unsigned char bytes[16];
    struct pnr_err err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pnr_names_header_encode(bytes);
        bytes[rows[i].at] = rows[i].value;
        cr_expect_eq(pnr_names_header_check(bytes, sizeof bytes, &err), -1, "%s", rows[i].name);
        cr_expect_eq(err.code, rows[i].code, "%s", rows[i].name);
        cr_expect_str_empty(err.path);
    }
    pnr_names_header_encode(bytes);
    bytes[8] = 2;
    bytes[12] = 1;
    cr_expect_eq(pnr_names_header_check(bytes, sizeof bytes, &err), -1);
    cr_expect_eq(err.code, PNR_E_VERSION, "a later version may use what is reserved now");
    for (size_t size = 0; size < sizeof bytes; size++) {
        cr_expect_eq(pnr_names_header_check(bytes, size, &err), -1, "%zu bytes", size);
        cr_expect_eq(err.code, PNR_E_TRUNCATED, "%zu bytes", size);
    }
}
