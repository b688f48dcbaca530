/* The different texts of a column, each once, in the order in which they came: what Arrow calls a dictionary. Arrays
 * share one copy of them until there are more texts, and may outlive them.
 *
 *     texts_init()
 *     texts_add(), of each text; texts_share(), for each array
 *     texts_clear()
 *     texts_release(), when the array is released: by any thread
 *
 * Memory grows with the different texts. */
#ifndef TEXTS_H
#define TEXTS_H

#include <stddef.h>
#include <stdint.h>

#include "format/names.h"
#include "format/table.h"

/* In place of a number: out of memory, or more than 2 GiB of text. */
#define TEXTS_FAILED (UINT32_MAX - 1)

/* What arrays share. */
struct texts_copy {
    int n_users;                        /* atomic */
    size_t n;
    int32_t *offsets;                   /* n + 1 of them: where each text begins in the bytes, and the end; owned */
    char *bytes;                        /* owned */
};

struct texts {
    struct pnr_table by_text;           /* of struct text_slot */
    int32_t *offsets;                   /* owned, like the next */
    char *bytes;
    size_t n, offset_capacity, byte_capacity;
    struct texts_copy *copy;            /* of all texts, or of those before the last ones; NULL: not yet made */
};

void texts_init(struct texts *texts);

void texts_clear(struct texts *texts);

/* Returns the number of a text, from 0 on, which is added if it is new; or TEXTS_FAILED. The text is valid UTF-8. */
uint32_t texts_add(struct texts *texts, struct pnr_string text);

/* Returns a copy of all texts, which has one user more; NULL when out of memory. */
struct texts_copy *texts_share(struct texts *texts);

/* A user needs the copy no more. Accepts NULL. */
void texts_release(struct texts_copy *copy);

#endif
