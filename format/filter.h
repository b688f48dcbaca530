/* Filters: which functions are recorded, and which are converted. Recorder and converter use the same rules.
 *
 *     struct pnr_filter filter = { 0 };
 *         pnr_filter_add ...              the rules, in their order
 *             pnr_filter_judge            once for each function; again after a pnr_filter_override
 *     pnr_filter_clear
 *
 * The last rule that matches a function decides. A function that no rule matches is excluded when the first of the
 * globs includes, and included otherwise. A filter belongs to one thread at a time.
 *
 * Own code and libraries are told apart by where a file really lies: by its folder, as realpath(3) gives it. */
#ifndef PNR_FILTER_H
#define PNR_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "names.h"

enum pnr_filter_action {
    PNR_FILTER_INCLUDE,                 /* a glob for the whole of the module, of module.name or of the file's path */
    PNR_FILTER_EXCLUDE,                 /* likewise */
    PNR_FILTER_EXCLUDE_BELOW,           /* how the path begins; packages that are installed right there are not meant */
    PNR_FILTER_OWN,                     /* a real folder with a slash at its end; installed packages are not meant. Code
                                         * of the module __main__ is own code wherever it lies */
    PNR_FILTER_LIBRARY                  /* a real folder with a slash at its end; "" matches everything */
};

enum pnr_filter_outcome {
    PNR_FILTER_RECORDED,
    PNR_FILTER_EXCLUDED,
    PNR_FILTER_BOUNDARY                 /* a library's: recorded when a function that is always recorded calls it */
};

struct pnr_filter {
    struct pnr_filter_rule *rules;      /* owned */
    size_t n;
    bool excludes_others;               /* what no rule matches */
    bool has_boundary;                  /* a rule is PNR_FILTER_LIBRARY */
    struct pnr_filter_folder *folders;  /* owned; where folders really lie */
};

/* Removes all rules. */
void pnr_filter_clear(struct pnr_filter *filter);

/* Copies text. Returns 0, or -1 when out of memory. */
int pnr_filter_add(struct pnr_filter *filter, enum pnr_filter_action action, const char *text);

/* Adds a rule of a glob after the others while functions are being judged, and removes rules of the same text, which it
 * makes void. What no rule matches stays as it was, even if there has been no glob. Returns 0, or -1 when out of memory. */
int pnr_filter_override(struct pnr_filter *filter, enum pnr_filter_action action, const char *text);

/* strings: module, qualified name, file. An empty module stands for builtins. is_made: the module has a file and this
 * code has none, as code that exec() or a dataclass makes; it counts as a library's. Returns an enum
 * pnr_filter_outcome, or -1 when out of memory. Keeps errno. */
int pnr_filter_judge(const struct pnr_filter *filter, const struct pnr_string strings[3], bool is_made);

/* Matches the whole text as fnmatch(3) does, without escapes. Characters are those of UTF-8, whatever the locale. */
bool pnr_glob_matches(const char *glob, const char *text);

#endif
