/* How sizes and lengths of time are written: a number, perhaps a fraction, and a unit. The recorder reads them by
 * the same rules (recorder/panopticon_rec/options.py); tests/format/quantities.txt has cases for both. */
#ifndef QUANTITY_H
#define QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

/* True for a decimal digit, whatever the locale. */
static inline bool quantity_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Bytes: 200M, 1.5G; the units are k, M, G and T, powers of 1,024. Rounds down. Returns false for anything else. */
bool quantity_parse_size(const char *text, uint64_t *size);

/* Nanoseconds: 20us, 1.5s; the units are ns, us, ms, s, min and h. needs_unit: else a number alone is in seconds. */
bool quantity_parse_duration(const char *text, bool needs_unit, uint64_t *ns);

/* Digits after a decimal point as a part of 10^18; those after the first 18 do not count. Returns their end. */
const char *quantity_parse_fraction(const char *text, uint64_t *fraction);

#endif
