/* Filters: which functions are recorded, and which are converted. Recorder and converter use the same rules.
 *
 *     struct pnr_filter filter = { 0 };
 *         pnr_filter_add ...              the rules, in their order
 *             pnr_filter_judge            once for each function
 *     pnr_filter_clear
 *
 * The last rule that matches a function decides. A function that no rule matches is excluded when the first of the
 * globs includes, and included otherwise. A filter belongs to one thread at a time. */
#ifndef PNR_FILTER_H
#define PNR_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "names.h"

enum pnr_filter_action {
    PNR_FILTER_INCLUDE,                 /* a glob for the whole of the module, of module.name or of the file's path */
    PNR_FILTER_EXCLUDE,                 /* likewise */
    PNR_FILTER_EXCLUDE_BELOW            /* how the path begins; packages that are installed right there are not meant */
};

struct pnr_filter {
    struct pnr_filter_rule *rules;      /* owned */
    size_t n;
    bool excludes_others;               /* what no rule matches */
};

/* Removes all rules. */
void pnr_filter_clear(struct pnr_filter *filter);

/* Copies text. Returns 0, or -1 when out of memory. */
int pnr_filter_add(struct pnr_filter *filter, enum pnr_filter_action action, const char *text);

/* strings: module, qualified name, file. An empty module stands for builtins. Returns 1 for a function that is
 * excluded, 0 for another one, -1 when out of memory. */
int pnr_filter_judge(const struct pnr_filter *filter, const struct pnr_string strings[3]);

/* Matches the whole text as fnmatch(3) does, without escapes. Characters are those of UTF-8, whatever the locale. */
bool pnr_glob_matches(const char *glob, const char *text);

#endif
