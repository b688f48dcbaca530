/* Values: what is written is read again, whatever it is; damage is found; and what does not fit is left out whole. */
#include "format/values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static struct pnr_string text_of(const char *text) { return (struct pnr_string){ text, (uint32_t)strlen(text) }; }

static struct pnr_values values_of(const struct pnr_values_writer *writer)
{
    return (struct pnr_values){ writer->bytes, writer->size, writer->n_left_out };
}

Test(values, are_read_as_they_were_written)
{
    static const int64_t integers[] = { 0, 1, -1, 63, -64, 64, 1 << 20, INT64_MAX, INT64_MIN };
    struct pnr_values_writer writer = { .size = 0 };
    struct pnr_value value;
    size_t at = 0;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        pnr_values_add(&writer, &(struct pnr_value){ .key = 1u << 3 * i, .type = PNR_VALUE_INTEGER,
                                                     .integer = integers[i] });
    pnr_values_add(&writer, &(struct pnr_value){ .key_text = text_of("pi"), .type = PNR_VALUE_FLOAT, .real = M_PI });
    pnr_values_add(&writer, &(struct pnr_value){ .key_text = text_of(""), .type = PNR_VALUE_NONE });
    pnr_values_add(&writer, &(struct pnr_value){ .key = UINT32_MAX, .type = PNR_VALUE_TEXT, .text = text_of("tea") });
    struct pnr_values values = values_of(&writer);
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
        cr_expect_eq(value.key, 1u << 3 * i);
        cr_expect_eq(value.integer, integers[i], "%zu", i);
    }
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect_eq(value.key, 0);
    cr_expect_eq(value.key_text.size, 2);
    cr_expect_eq(value.real, M_PI);
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect_eq(value.type, PNR_VALUE_NONE);
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect_eq(value.key, UINT32_MAX);
    cr_expect_eq(memcmp(value.text.bytes, "tea", 3), 0);
    cr_expect_eq(pnr_value_next(&values, &at, &value), 0);
    cr_expect_eq(writer.n_left_out, 0);
}

Test(values, bytes_are_those_of_the_specification)
{
    static const unsigned char expected[] = { 4, 4, 24, 5, 3 };
    struct pnr_values_writer writer = { .size = 0 };
    pnr_values_add(&writer, &(struct pnr_value){ .key = 4, .type = PNR_VALUE_INTEGER, .integer = 12 });
    pnr_values_add(&writer, &(struct pnr_value){ .key = 5, .type = PNR_VALUE_TRUE });
    cr_assert_eq(writer.size, sizeof expected);
    cr_expect_eq(memcmp(writer.bytes, expected, sizeof expected), 0);
}

Test(values, records_have_ten_bytes)
{
    unsigned char bytes[PNR_DATA_SIZE], read[PNR_DATA_SIZE];
    for (unsigned i = 0; i < PNR_DATA_SIZE; i++)
        bytes[i] = (unsigned char)(0xf0 + i);
    struct pnr_record record = pnr_values_make(77, bytes, PNR_DATA_SIZE);
    cr_expect_eq(pnr_record_kind(record), PNR_DATA);
    cr_expect_eq(pnr_record_ticks(record), 77);
    pnr_values_copy(record, read);
    cr_expect_eq(memcmp(read, bytes, sizeof read), 0);
    pnr_values_copy(pnr_values_make(77, bytes, 3), read);
    cr_expect_eq(memcmp(read, "\xf0\xf1\xf2\0\0\0\0\0\0\0", sizeof read), 0);
    cr_expect_eq(pnr_values_size(pnr_values_frame(4000, 70000)), 4000);
    cr_expect_eq(pnr_values_left_out(pnr_values_frame(4000, 70000)), PNR_LEFT_OUT_MAX);
}

/* A text is cut between two characters; a value that does not fit is left out, and a shorter one after it is not. */
Test(values, are_cut_and_left_out)
{
    char text[PNR_TEXT_MAX + 50];
    struct pnr_values_writer writer = { .size = 0 };
    struct pnr_value value;
    size_t at = 0;
    memset(text, 'x', sizeof text);
    memcpy(text + PNR_TEXT_MAX - 1, "\xc3\xa9", 2);
    for (int i = 0; i < 5; i++)
        pnr_values_add(&writer, &(struct pnr_value){ .key = 1, .type = PNR_VALUE_TEXT, .text = { text, sizeof text } });
    pnr_values_add(&writer, &(struct pnr_value){ .key = 1, .type = PNR_VALUE_TEXT, .text = { text, 900 } });
    pnr_values_add(&writer, &(struct pnr_value){ .key = 1, .type = PNR_VALUE_TRUE });
    struct pnr_values values = values_of(&writer);
    cr_expect_leq(writer.size, PNR_VALUES_MAX);
    cr_expect_eq(writer.n_left_out, 2, "%u", writer.n_left_out);
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect_eq(value.type, PNR_VALUE_CUT_TEXT);
    cr_expect_eq(value.text.size, PNR_TEXT_MAX - 1);
}

/* What repr() writes is cut as text is; of what is redacted nothing is stored. */
Test(values, of_calls)
{
    char text[PNR_TEXT_MAX + 1];
    struct pnr_values_writer writer = { .size = 0 };
    struct pnr_value value;
    size_t at = 0;
    memset(text, 'x', sizeof text);
    pnr_values_add(&writer, &(struct pnr_value){ .key = 1, .type = PNR_VALUE_REPR, .text = { "[1]", 3 } });
    pnr_values_add(&writer, &(struct pnr_value){ .key = 1, .type = PNR_VALUE_REPR, .text = { text, sizeof text } });
    pnr_values_add(&writer, &(struct pnr_value){ .key = 1, .type = PNR_VALUE_REDACTED, .text = { "secret", 6 } });
    struct pnr_values values = values_of(&writer);
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect(value.type == PNR_VALUE_REPR && value.text.size == 3);
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect(value.type == PNR_VALUE_CUT_REPR && value.text.size == PNR_TEXT_MAX);
    cr_assert_eq(pnr_value_next(&values, &at, &value), 1);
    cr_expect(value.type == PNR_VALUE_REDACTED && value.text.size == 0);
    cr_expect_eq(pnr_value_next(&values, &at, &value), 0);
    cr_expect_null(memmem(writer.bytes, writer.size, "secret", 6));
}

Test(values, find_damage)
{
    static const struct { const char *bytes; size_t size; int n; } table[] = {
        { "", 0, 0 },
        { "\x01\x03\x01\x02", 4, 2 },
        { "\x01", 1, 0 },                                   /* no type */
        { "\x01\x00", 2, 0 }, { "\x01\x0c\x00", 3, 0 },     /* types of no version, of a later one */
        { "\x01\x0b\x01\x0b", 4, 2 }, { "\x01\x09\x03tea", 6, 1 }, { "\x01\x0a\x04tea", 6, 0 },
        { "\x01\x04", 2, 0 }, { "\x01\x04\x80", 3, 0 },     /* a varint that is cut off */
        { "\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, 1 },
        { "\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12, 0 },      /* more than 64 bits */
        { "\x80\x80\x80\x80\x10\x01", 6, 0 },               /* a key of more than 32 bits */
        { "\x01\x05\0\0\0\0\0\0\0", 9, 0 },
        { "\x01\x06\x03tea", 6, 1 }, { "\x01\x06\x04tea", 6, 0 },
        { "\x01\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, 0 },
        { "\x00\x02xy\x01", 5, 1 }, { "\x00\x03xy\x01", 5, 0 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        unsigned char *bytes = malloc(table[i].size + 1);           /* so that a sanitizer sees what is read beyond it */
        memcpy(bytes, table[i].bytes, table[i].size);
        unsigned char *exact = realloc(bytes, table[i].size ? table[i].size : 1);
        struct pnr_values values = { exact, (uint32_t)table[i].size, 0 };
        struct pnr_value value;
        size_t at = 0;
        int n = 0;
        while (pnr_value_next(&values, &at, &value) > 0)
            n++;
        cr_expect_eq(n, table[i].n, "row %zu: %d", i, n);
        free(exact);
    }
}
