/* Puts strings into JSON that is written piece by piece. */
#ifndef JSON_H
#define JSON_H

#include "format/names.h"
#include "writer.h"

/* Writes the string with its quotes, any bytes as text.h makes text of them. Returns 0, or -1 when out of memory. */
int json_put_string(struct writer *writer, struct pnr_string string);

/* Writes `"key":"string",`. Returns 0, or -1 when out of memory. */
int json_put_member(struct writer *writer, const char *key, struct pnr_string string);

#endif
