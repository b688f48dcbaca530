/* A growing text of JSON (RFC 8259). No Python dependency. Belongs to one thread.
 *
 *     struct rec_json_text text = { 0 };
 *     rec_json_add_format, rec_json_add_string, rec_json_add_text
 *     free(text.bytes);
 *
 * What finds no memory is left out, and is_cut says so: the text is of no use then. */
#ifndef REC_JSON_TEXT_H
#define REC_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct rec_json_text {
    char *bytes;                        /* owned; a NUL follows them; NULL while there are none */
    size_t size, capacity;
    bool is_cut;
};

/* Adds what printf makes of it, at most 511 bytes: for numbers and names that are constant. */
__attribute__((format(printf, 2, 3)))
void rec_json_add_format(struct rec_json_text *text, const char *format, ...);

/* Adds a string with its quotes. Bytes that are not UTF-8 stay what they are. */
void rec_json_add_string(struct rec_json_text *text, const char *string);

/* Adds another text as it is. */
void rec_json_add_text(struct rec_json_text *text, const struct rec_json_text *other);

#endif
