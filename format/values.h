/* Values: what a record says in more than its own fields. They are bytes, 10 of them in each of the DATA records that
 * follow it (specs/capture-format.md, section 4.2):
 *
 *     INSTANT   frame: PNR_VALUES of 5 bytes    function: its label
 *     DATA      07 04 18 08 03                  key 7, an integer, 12; key 8, true
 *
 * The bytes are a sequence of values, each a key and what it is worth. Hides how they are encoded. */
#ifndef PNR_VALUES_H
#define PNR_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "names.h"
#include "record.h"

#define PNR_DATA_SIZE 10                /* bytes in a DATA record */
#define PNR_VALUES_MAX 4000             /* bytes of the values of one record */
#define PNR_TEXT_MAX 1000               /* bytes of one text; a longer one is cut between two characters */
#define PNR_CUT_END "\xe2\x80\xa6"     /* an ellipsis: shown after what was cut */
#define PNR_LEFT_OUT_MAX 65535          /* stands for that many values that were left out, and more */

enum pnr_value_type {
    PNR_VALUE_NONE = 1,
    PNR_VALUE_FALSE = 2,
    PNR_VALUE_TRUE = 3,
    PNR_VALUE_INTEGER = 4,              /* varint, zigzag: 64 bits, signed */
    PNR_VALUE_FLOAT = 5,                /* 8 bytes: IEEE 754 binary64 */
    PNR_VALUE_TEXT = 6,                 /* varint: its size; UTF-8 */
    PNR_VALUE_CUT_TEXT = 7,             /* the beginning of a longer text */
    PNR_VALUE_OTHER = 8,                /* as TEXT: the name of the type of a value that is none of these */
    PNR_VALUE_REPR = 9,                 /* as TEXT: the value as Python's repr() writes it */
    PNR_VALUE_CUT_REPR = 10,            /* the beginning of a longer one */
    PNR_VALUE_REDACTED = 11             /* a value that is not shown */
};

struct pnr_value {
    uint32_t key;                       /* number of a label; 0: it is key_text */
    struct pnr_string key_text;         /* texts are borrowed from the bytes */
    enum pnr_value_type type;
    int64_t integer;
    double real;
    struct pnr_string text;
};

/* The values of one record. */
struct pnr_values {
    const unsigned char *bytes;         /* NULL: it has none */
    uint32_t size;
    uint32_t n_left_out;                /* values that had no space */
};

/* The field `frame` of a record with values of that size. */
static inline uint64_t pnr_values_frame(uint32_t size, uint32_t n_left_out)
{
    return size | (uint64_t)(n_left_out < PNR_LEFT_OUT_MAX ? n_left_out : PNR_LEFT_OUT_MAX) << 16;
}

static inline uint32_t pnr_values_size(uint64_t frame) { return frame & 0xffff; }
static inline uint32_t pnr_values_left_out(uint64_t frame) { return frame >> 16 & 0xffff; }

/* How many DATA records values of that size take. */
static inline uint32_t pnr_values_records(uint32_t size)
{
    return (size + PNR_DATA_SIZE - 1) / PNR_DATA_SIZE;
}

/* Makes a DATA record of the first n bytes, 1 to PNR_DATA_SIZE. */
struct pnr_record pnr_values_make(uint64_t ticks, const unsigned char *bytes, size_t n);

/* Copies the PNR_DATA_SIZE bytes of a DATA record. */
void pnr_values_copy(struct pnr_record record, unsigned char *bytes);

/* Reads the value at bytes + *at and moves *at to the next one. Returns 1; 0 at the end; -1 for what is no value: then
 * nothing after it can be read. */
int pnr_value_next(const struct pnr_values *values, size_t *at, struct pnr_value *value);

/* Encodes values. Each is added whole, or left out and counted. */
struct pnr_values_writer {
    uint32_t size, n_left_out;
    unsigned char bytes[PNR_VALUES_MAX];
};

/* Shown in the place of a value that is not. */
#define PNR_REDACTED "[redacted]"

/* Set type and the member that belongs to it. A text longer than PNR_TEXT_MAX is cut; so is a key_text. */
void pnr_values_add(struct pnr_values_writer *writer, const struct pnr_value *value);

/* Returns the text, or as much of it as max bytes have space for, cut between two characters. */
struct pnr_string pnr_text_cut(struct pnr_string text, uint32_t max);

#endif
