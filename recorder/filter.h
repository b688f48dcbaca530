/* Filters: which functions are recorded. Each function is matched once, by its module and its file. No Python
 * dependency.
 *
 *     rec_filter_clear
 *         rec_filter_add ...              the rules, in their order
 *             rec_filter_excludes         a function's first call
 *
 * The last rule that matches decides. A function that no rule matches is excluded when the first of the globs
 * includes, and recorded otherwise. All functions are called with the recording lock (thread_buffer.h), which guards
 * the rules. */
#ifndef REC_FILTER_H
#define REC_FILTER_H

#include <stdbool.h>

#include "../format/names.h"

enum rec_filter_action {
    REC_FILTER_INCLUDE,                 /* a glob that matches the whole module name or the whole path of the file */
    REC_FILTER_EXCLUDE,                 /* a glob like that of INCLUDE */
    REC_FILTER_EXCLUDE_BELOW            /* a directory, except for the packages that are installed into it */
};

/* Removes all rules. */
void rec_filter_clear(void);

/* Adds a rule, copies text. Returns 0, or -1 when out of memory. */
int rec_filter_add(enum rec_filter_action action, const char *text);

/* True when the function is not to be recorded. A NUL follows both strings. */
bool rec_filter_excludes(struct pnr_string module, struct pnr_string file);

#endif
