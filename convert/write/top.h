/* Prints the time of each function of a call tree: a table for people, or complete JSON for programs.
 * specs/trace-mapping.md, section 8.3. */
#ifndef TOP_H
#define TOP_H

#include <stdbool.h>

#include "call_tree.h"
#include "profile.h"
#include "writer.h"

/* Functions in the table. */
#define TOP_MAX_LINES 30

/* With is_busy a function needs this part of its time on a processor, or ready for one. */
#define TOP_BUSY_PART 10

struct top_form {
    bool is_json;
    bool is_busy;                       /* functions that only waited are left out, as far as that is known */
    size_t columns;                     /* of the table; longer names are cut; 0 = any */
    uint64_t n_lost;                    /* events, for the JSON */
};

typedef char top_cell[24];

/* Writes a time with three digits and a unit. */
void top_format_time(top_cell to, uint64_t ns);

/* Writes a function's name, and `:` and line if it has one, in as many columns, 0 = any: a longer name loses its begin.
 * Returns 0, or -1 when out of memory. */
int top_put_table_name(struct writer *writer, const struct call_function *function, size_t columns);

/* Writes its name, file and line as members of a JSON object, each with a comma after it. Returns 0, or -1 when out of
 * memory. */
int top_put_json_names(struct writer *writer, const struct call_function *function);

/* Makes the profile of all functions, sorted by self time, the largest first. Returns 0, or -1 when out of memory. */
int top_make(struct profile *profile, const struct call_tree *tree);

/* True for a function whose flows are known: it has n_frames and suspended_ns. */
bool top_is_continuable(const struct call_function *function);

/* Returns a percentile of the durations of the function's calls. The longest call is known exactly. */
uint64_t top_percentile(const struct profile_line *line, const struct call_function *function, unsigned percent);

/* Writes a line of it, whose function is no root, as a JSON object. Returns 0, or -1 when out of memory. */
int top_put_function(struct writer *writer, const struct call_tree *tree, const struct profile_line *line);

/* The tree has no roots. Returns 0, or -1 when out of memory; the writer reports failed writes. */
int top_write(const struct call_tree *tree, const struct top_form *form, struct writer *writer);

#endif
