#include "quantity.h"

#include <stddef.h>
#include <string.h>

#define WHOLE UINT64_C(1000000000000000000)     /* of a fraction */

struct unit {
    const char *name;
    uint64_t scale;
};

const char *quantity_parse_fraction(const char *text, uint64_t *fraction)
{
    uint64_t digit_value = WHOLE;
    for (*fraction = 0; quantity_is_digit(*text); text++) {
        digit_value /= 10;
        *fraction += digit_value * (uint64_t)(*text - '0');
    }
    return text;
}

/* The table of units ends with a NULL. Returns false when the text is not a quantity, or above INT64_MAX. */
static bool parse_quantity(const char *text, const struct unit *units, uint64_t *value)
{
    const char *end = text;
    uint64_t whole = 0, fraction = 0;
    for (; quantity_is_digit(*end) && whole <= INT64_MAX / 10; end++)
        whole = whole * 10 + (uint64_t)(*end - '0');
    if (end == text)
        return false;
    if (*end == '.')
        end = quantity_parse_fraction(end + 1, &fraction);
    for (; units->name; units++) {
        if (strcmp(end, units->name) != 0)
            continue;
        unsigned __int128 product = (unsigned __int128)whole * units->scale +
                                    (unsigned __int128)fraction * units->scale / WHOLE;
        *value = (uint64_t)product;
        return product <= INT64_MAX;
    }
    return false;
}

bool quantity_parse_size(const char *text, uint64_t *size)
{
    static const struct unit units[] = {
        { "", 1 }, { "k", 1 << 10 }, { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { "T", UINT64_C(1) << 40 },
        { NULL, 0 },
    };
    return parse_quantity(text, units, size);
}

bool quantity_parse_duration(const char *text, bool needs_unit, uint64_t *ns)
{
    static const struct unit units[] = {
        { "", 1000000000 }, { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 },
        { "min", UINT64_C(60000000000) }, { "h", UINT64_C(3600000000000) }, { NULL, 0 },
    };
    return parse_quantity(text, units + needs_unit, ns);
}
