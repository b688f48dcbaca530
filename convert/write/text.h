/* Names as the captured program gave them may hold any bytes: what outputs make of them. What is not well-formed UTF-8,
 * and NUL, becomes U+FFFD: one for a surrogate, one for each other byte. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "format/names.h"

/* How many bytes at `bytes`, of which size are there (not 0), are one character; is_sound: false when it is to be
 * U+FFFD. */
size_t text_character(const char *bytes, size_t size, bool *is_sound);

/* Writes the string as UTF-8 and gives its end; at most 3 bytes for each of its bytes. */
char *text_put_utf8(char *to, struct pnr_string string);

/* Writes the inside of a JSON string and gives its end; at most 6 bytes for each of its bytes. */
char *text_put_json(char *to, struct pnr_string string);

#endif
