/* Prints of a call tree what each function took: a table for people, or JSON for programs, which has all.
 * specs/trace-mapping.md, section 8.3. */
#ifndef TOP_H
#define TOP_H

#include <stdbool.h>

#include "call_tree.h"
#include "writer.h"

/* So many functions are in the table. */
#define TOP_LINES 30

struct top_form {
    bool is_json;
    size_t columns;                     /* of the table, names being cut; 0 = any */
    uint64_t n_lost;                    /* events, told in JSON */
};

/* The tree has no roots. Returns 0, or -1 when out of memory; failed writes are the writer's to tell. */
int top_write(const struct call_tree *tree, const struct top_form *form, struct writer *writer);

#endif
