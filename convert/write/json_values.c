#include "json_values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

/* More than a value takes without its texts. */
#define VALUE_SIZE 64

size_t json_values_size(const struct symbols *symbols, const struct pnr_values *values)
{
    struct pnr_value value;
    size_t at = 0, size = VALUE_SIZE;
    while (values->bytes && pnr_value_next(values, &at, &value) > 0)
        size += VALUE_SIZE + 6 * ((size_t)symbols_key(symbols, &value).size + value.text.size);
    return size;
}

static char *put_json_real(char *to, double real)
{
    if (real - real != 0)
        return stpcpy(to, real != real ? "\"nan\"" : real > 0 ? "\"inf\"" : "\"-inf\"");
    return to + sprintf(to, "%.17g", real);
}

static char *put_json_integer(char *to, int64_t integer)
{
    bool is_exact = integer >= -(INT64_C(1) << 53) && integer <= INT64_C(1) << 53;
    return to + sprintf(to, is_exact ? "%" PRId64 : "\"%" PRId64 "\"", integer);
}

static char *put_json_value(char *to, const struct pnr_value *value)
{
    switch (value->type) {
    case PNR_VALUE_NONE:
        return stpcpy(to, "null");
    case PNR_VALUE_FALSE:
        return stpcpy(to, "false");
    case PNR_VALUE_TRUE:
        return stpcpy(to, "true");
    case PNR_VALUE_INTEGER:
        return put_json_integer(to, value->integer);
    case PNR_VALUE_FLOAT:
        return put_json_real(to, value->real);
    case PNR_VALUE_TEXT:
    case PNR_VALUE_REPR:
        return stpcpy(text_put_json(stpcpy(to, "\""), value->text), "\"");
    case PNR_VALUE_CUT_TEXT:
    case PNR_VALUE_CUT_REPR:
        return stpcpy(text_put_json(stpcpy(to, "\""), value->text), PNR_CUT_END "\"");
    case PNR_VALUE_REDACTED:
        return stpcpy(to, "\"" PNR_REDACTED "\"");
    case PNR_VALUE_OTHER:
        break;
    }
    return stpcpy(text_put_json(stpcpy(to, "\"<"), value->text), ">\"");
}

static bool is_number(const struct pnr_value *value)
{
    bool is_finite = value->real - value->real == 0;
    return value->type == PNR_VALUE_INTEGER || value->type == PNR_VALUE_FALSE || value->type == PNR_VALUE_TRUE ||
           (value->type == PNR_VALUE_FLOAT && is_finite);
}

/* Writes the value of a counter. */
static char *put_json_number(char *to, const struct pnr_value *value)
{
    if (value->type == PNR_VALUE_FLOAT)
        return put_json_real(to, value->real);
    int64_t integer = value->type == PNR_VALUE_INTEGER ? value->integer : value->type == PNR_VALUE_TRUE;
    return to + sprintf(to, "%" PRId64, integer);
}

char *json_values_put(char *to, const struct symbols *symbols, const struct pnr_values *values, bool is_first,
                      bool only_numbers)
{
    struct pnr_value value;
    const char *comma = is_first ? "" : ",";
    size_t at = 0;
    while (values->bytes && pnr_value_next(values, &at, &value) > 0) {
        if (only_numbers && !is_number(&value))
            continue;
        to = stpcpy(stpcpy(to, comma), "\"");
        to = stpcpy(text_put_json(to, symbols_key(symbols, &value)), "\":");
        comma = ",";
        to = only_numbers ? put_json_number(to, &value) : put_json_value(to, &value);
    }
    if (values->n_left_out && !only_numbers)
        to += sprintf(to, "%s\"left_out\":%" PRIu32, comma, values->n_left_out);
    return to;
}
