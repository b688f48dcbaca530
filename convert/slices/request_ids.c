#include "request_ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/block.h"

#define TRACEPARENT_ID 3                /* where the trace id begins in `00-4bf9...-00f0...-01` (W3C Trace Context, 3.2) */
#define TRACE_ID_DIGITS 32

static bool is_id_key(struct pnr_string text, const char *expected)
{
    return text.size == strlen(expected) && memcmp(text.bytes, expected, text.size) == 0;
}

bool request_find_id(const struct symbols *symbols, const struct pnr_values *values, uint64_t *id)
{
    struct pnr_value value;
    char digits[24];
    size_t at = 0;
    while (values && values->bytes && pnr_value_next(values, &at, &value) > 0) {
        struct pnr_string key = symbols_key(symbols, &value), text = value.text;
        bool is_parent = is_id_key(key, "traceparent");
        if (!is_parent && !is_id_key(key, "trace_id") && !is_id_key(key, "request_id"))
            continue;
        if (value.type == PNR_VALUE_INTEGER)
            text = (struct pnr_string){ digits, (uint32_t)snprintf(digits, sizeof digits, "%" PRId64, value.integer) };
        else if (value.type != PNR_VALUE_TEXT)
            continue;
        if (is_parent && text.size >= TRACEPARENT_ID + TRACE_ID_DIGITS)
            text = (struct pnr_string){ text.bytes + TRACEPARENT_ID, TRACE_ID_DIGITS };
        if (text.size == 0)
            continue;
        *id = pnr_check(text.bytes, text.size);
        return true;
    }
    return false;
}
