/* Makes valid text of names, which may contain any bytes. What is not well-formed UTF-8, and NUL, becomes U+FFFD: one
 * for a surrogate, one for each other byte. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "format/names.h"

/* Returns how many of the bytes, whose number size is not 0, are the first character. is_valid: false when it has to
 * become U+FFFD. */
size_t text_character(const char *bytes, size_t size, bool *is_valid);

/* Writes the string as UTF-8 and returns its end; at most 3 bytes for each of its bytes. */
char *text_put_utf8(char *to, struct pnr_string string);

/* Writes the inside of a JSON string and returns its end; at most 6 bytes for each of its bytes. */
char *text_put_json(char *to, struct pnr_string string);

#endif
