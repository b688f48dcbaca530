#include "values.h"

#include <string.h>

/* ---- records ---- */

struct pnr_record pnr_values_make(uint64_t ticks, const unsigned char *bytes, size_t n)
{
    uint64_t words[2] = { 0, 0 };
    memcpy(words, bytes, n);            /* little-endian, as record.h ensures */
    return pnr_record_make(ticks, PNR_DATA, words[0] & ((UINT64_C(1) << PNR_FRAME_BITS) - 1),
                           (uint32_t)(words[0] >> PNR_FRAME_BITS | words[1] << 16));
}

void pnr_values_copy(struct pnr_record record, unsigned char *bytes)
{
    memcpy(bytes, (const unsigned char *)&record + PNR_RECORD_SIZE - PNR_DATA_SIZE, PNR_DATA_SIZE);
}

/* ---- reading ---- */

static bool read_varint(const struct pnr_values *values, size_t *at, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; shift < 64 && *at < values->size; shift += 7) {
        unsigned char byte = values->bytes[(*at)++];
        if (shift == 63 && byte > 1)
            return false;
        *number |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool read_text(const struct pnr_values *values, size_t *at, struct pnr_string *text)
{
    uint64_t size;
    if (!read_varint(values, at, &size) || size > values->size - *at)
        return false;
    *text = (struct pnr_string){ (const char *)values->bytes + *at, (uint32_t)size };
    *at += size;
    return true;
}

static bool read_worth(const struct pnr_values *values, size_t *at, struct pnr_value *value)
{
    uint64_t number;
    switch (value->type) {
    case PNR_VALUE_NONE:
    case PNR_VALUE_FALSE:
    case PNR_VALUE_TRUE:
    case PNR_VALUE_REDACTED:
        return true;
    case PNR_VALUE_INTEGER:
        if (!read_varint(values, at, &number))
            return false;
        value->integer = (int64_t)(number >> 1 ^ -(number & 1));
        return true;
    case PNR_VALUE_FLOAT:
        if (values->size - *at < sizeof value->real)
            return false;
        memcpy(&value->real, values->bytes + *at, sizeof value->real);
        *at += sizeof value->real;
        return true;
    case PNR_VALUE_TEXT:
    case PNR_VALUE_CUT_TEXT:
    case PNR_VALUE_OTHER:
    case PNR_VALUE_REPR:
    case PNR_VALUE_CUT_REPR:
        return read_text(values, at, &value->text);
    }
    return false;
}

int pnr_value_next(const struct pnr_values *values, size_t *at, struct pnr_value *value)
{
    uint64_t key;
    if (*at >= values->size)
        return 0;
    *value = (struct pnr_value){ .key = 0 };
    if (!read_varint(values, at, &key) || key > UINT32_MAX)
        return -1;
    value->key = (uint32_t)key;
    if ((!key && !read_text(values, at, &value->key_text)) || *at == values->size)
        return -1;
    value->type = values->bytes[(*at)++];
    return read_worth(values, at, value) ? 1 : -1;
}

/* ---- writing ---- */

#define VARINT_MAX 10                   /* bytes of one */

static unsigned char *encode_varint(unsigned char *to, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        *to++ = (unsigned char)(number | 0x80);
    *to++ = (unsigned char)number;
    return to;
}

static unsigned char *put_string(unsigned char *to, struct pnr_string text)
{
    to = encode_varint(to, text.size);
    if (text.size)
        memcpy(to, text.bytes, text.size);
    return to + text.size;
}

struct pnr_string pnr_text_cut(struct pnr_string text, uint32_t max)
{
    if (text.size <= max)
        return text;
    while (max > 0 && ((unsigned char)text.bytes[max] & 0xc0) == 0x80)
        max--;
    return (struct pnr_string){ text.bytes, max };
}

void pnr_values_add(struct pnr_values_writer *writer, const struct pnr_value *value)
{
    unsigned char bytes[2 * PNR_TEXT_MAX + 4 * VARINT_MAX + sizeof value->real], *to = encode_varint(bytes, value->key);
    if (!value->key)
        to = put_string(to, pnr_text_cut(value->key_text, PNR_TEXT_MAX));
    struct pnr_string text = pnr_text_cut(value->text, PNR_TEXT_MAX);
    bool is_cut = text.size < value->text.size && (value->type == PNR_VALUE_TEXT || value->type == PNR_VALUE_REPR);
    *to++ = (unsigned char)(is_cut ? value->type + 1 : value->type);
    if (value->type == PNR_VALUE_INTEGER) {
        to = encode_varint(to, (uint64_t)value->integer << 1 ^ (uint64_t)(value->integer >> 63));
    } else if (value->type == PNR_VALUE_FLOAT) {
        memcpy(to, &value->real, sizeof value->real);
        to += sizeof value->real;
    } else if (value->type >= PNR_VALUE_TEXT && value->type != PNR_VALUE_REDACTED) {
        to = put_string(to, text);
    }
    size_t size = (size_t)(to - bytes);
    if (size > PNR_VALUES_MAX - writer->size) {
        writer->n_left_out++;
        return;
    }
    memcpy(writer->bytes + writer->size, bytes, size);
    writer->size += (uint32_t)size;
}
