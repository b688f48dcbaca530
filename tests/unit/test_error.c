#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "format/error.h"

Test(error, is_described_in_one_line)
{
    static const struct { enum pnr_code code; const char *path; uint64_t offset; const char *what, *text; } rows[] = {
        { PNR_E_CORRUPT, "run.pnr/names", 4112, "bad thing", "run.pnr/names: byte 4112: bad thing" },
        { PNR_E_TRUNCATED, "a", 0, "cut off", "a: byte 0: cut off" },
        { PNR_E_CORRUPT, NULL, UINT64_MAX, "bad thing", "byte 18446744073709551615: bad thing" },
        { PNR_E_VERSION, "a", 0, "later version", "a: later version" },
        { PNR_E_NOT_CAPTURE, "", 0, "no capture", "no capture" },
        { PNR_E_MEMORY, "a", 0, "out of memory", "a: out of memory" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pnr_err err;
        char text[400];
        cr_expect_eq(pnr_err_set(&err, rows[i].code, rows[i].path, rows[i].offset, rows[i].what), -1);
        cr_expect_eq(err.code, rows[i].code, "row %zu", i);
        cr_expect_eq(pnr_err_describe(&err, text, sizeof text), text);
        cr_expect_str_eq(text, rows[i].text, "row %zu", i);
    }
}

Test(error, of_a_system_call_has_its_reason)
{
    static const struct { int number; enum pnr_code code; } rows[] = {
        { ENOSPC, PNR_E_SYSTEM }, { EACCES, PNR_E_SYSTEM }, { ENOMEM, PNR_E_MEMORY },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pnr_err err;
        char text[400], expected[400];
        errno = rows[i].number;
        cr_expect_eq(pnr_err_system(&err, "dir/file", "cannot write"), -1);
        cr_expect_eq(err.code, rows[i].code, "row %zu", i);
        snprintf(expected, sizeof expected, "dir/file: cannot write: %s", strerror(rows[i].number));
        cr_expect_str_eq(pnr_err_describe(&err, text, sizeof text), expected, "row %zu", i);
    }
}

Test(error, keeps_the_end_of_a_long_path)
{
    char path[1000];
    for (size_t size = 250; size <= 999; size++) {
        struct pnr_err err;
        memset(path, 'x', size);
        memcpy(path + size - 6, "/names", 7);
        pnr_err_set(&err, PNR_E_CORRUPT, path, 0, "");
        size_t kept = size < sizeof err.path ? size : sizeof err.path - 1;
        cr_expect_eq(strlen(err.path), kept, "size %zu", size);
        cr_expect_str_eq(err.path + kept - 6, "/names", "size %zu", size);
        cr_expect_eq(strncmp(err.path, kept < size ? "...x" : "xxxx", 4), 0, "size %zu", size);
    }
}

Test(error, is_cut_to_the_callers_buffer)
{
    struct pnr_err err;
    pnr_err_set(&err, PNR_E_CORRUPT, "file", 12, "what");
    for (size_t size = 1; size < 30; size++) {
        char text[32];
        memset(text, '#', sizeof text);
        pnr_err_describe(&err, text, size);
        cr_expect_eq(strlen(text), size - 1 < 19 ? size - 1 : 19, "size %zu", size);
        cr_expect_eq(text[size], '#', "size %zu", size);
    }
}
