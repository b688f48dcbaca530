#include <criterion/criterion.h>
#include <string.h>

#include "format/record.h"

/* Rows of specs/capture-format.md, section 4: the fields and the 16 bytes that they are. The first two are the
 * records of the worked example, section 12. */
static const struct {
    uint64_t ticks;
    enum pnr_kind kind;
    uint64_t frame;
    uint32_t function;
    unsigned char bytes[PNR_RECORD_SIZE];
} rows[] = {
    { 1000, PNR_CALL, 0, 1, { 0xe8, 0x03, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 } },
    { 3500, PNR_RETURN, 0, 1, { 0xac, 0x0d, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 } },
    { 0x0504030201, PNR_YIELD, 0xa6a5a4a3a2a1, 0x0d0c0b0a,
      { 1, 2, 3, 4, 5, 6, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0x0a, 0x0b, 0x0c, 0x0d } },
    { PNR_TICKS_MAX, PNR_LOST, 0xffffffffffff, UINT32_MAX,
      { 0xff, 0xff, 0xff, 0xff, 0xff, 17, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
    { 0, PNR_OPEN, 0, 0, { 0, 0, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
};

Test(record, has_the_layout_of_the_spec)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pnr_record r = pnr_record_make(rows[i].ticks, rows[i].kind, rows[i].frame, rows[i].function);
        cr_expect_arr_eq((unsigned char *)&r, rows[i].bytes, PNR_RECORD_SIZE, "row %zu", i);
    }
}

Test(record, round_trip_keeps_its_fields)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pnr_record r;
        memcpy(&r, rows[i].bytes, sizeof r);
        cr_expect_eq(pnr_record_ticks(r), rows[i].ticks, "row %zu", i);
        cr_expect_eq(pnr_record_kind(r), rows[i].kind, "row %zu", i);
        cr_expect_eq(pnr_record_frame(r), rows[i].frame, "row %zu", i);
        cr_expect_eq(pnr_record_function(r), rows[i].function, "row %zu", i);
    }
}

Test(record, is_empty_until_its_first_word_is_stored)
{
    struct pnr_record whole = pnr_record_make(1, PNR_START, 0xffffffffffff, 7), half = { { 0, whole.word[1] } };
    cr_expect_eq(pnr_record_kind(half), PNR_EMPTY);
}
