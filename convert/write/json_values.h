/* Puts the values that the program gave a remark or a slice into JSON, as members of an object. */
#ifndef JSON_VALUES_H
#define JSON_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#include "convert/read/symbols.h"
#include "format/values.h"

/* Returns the most bytes that json_values_put() makes, with what it writes after them. */
size_t json_values_size(const struct symbols *symbols, const struct pnr_values *values);

/* Writes `"key":value,"key":value` and returns its end. is_first: no member comes before them; only_numbers: others are
 * left out, true is 1 and false 0, as counters have them. Numbers beyond 2^53 are text, as what reads JSON in a
 * browser has no others; so are infinities, of which JSON has none. */
char *json_values_put(char *to, const struct symbols *symbols, const struct pnr_values *values, bool is_first,
                      bool only_numbers);

#endif
