/* Filters: which functions are recorded. A function is judged once, by its module and its file (cpython/functions.c).
 * Free of Python.
 *
 *     rec_filter_clear
 *         rec_filter_add ...              the rules, in their order
 *             rec_filter_excludes         a function is seen
 *
 * The last rule that matches decides. What none matches is excluded when the first of the globs includes, and included
 * otherwise. Everything here is called by the thread that has the GIL. */
#ifndef REC_FILTER_H
#define REC_FILTER_H

#include <stdbool.h>

#include "../format/names.h"

enum rec_filter_action {
    REC_FILTER_INCLUDE,                 /* a glob, for the whole module name or the whole path of the file */
    REC_FILTER_EXCLUDE,                 /* the same */
    REC_FILTER_EXCLUDE_BELOW            /* how the path begins; packages installed right there are not meant */
};

void rec_filter_clear(void);

/* Copies text. Returns 0, or -1 when out of memory. */
int rec_filter_add(enum rec_filter_action action, const char *text);

/* A NUL stands behind both strings. */
bool rec_filter_excludes(struct pnr_string module, struct pnr_string file);

#endif
