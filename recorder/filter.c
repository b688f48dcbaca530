#include "filter.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    enum rec_filter_action action;
    char *text;                         /* owned */
};

static struct {
    struct rule *rules;                 /* owned */
    size_t n;
    bool excludes_others;               /* functions that no rule rule_matches */
} filter;

void rec_filter_clear(void)
{
    for (size_t i = 0; i < filter.n; i++)
        free(filter.rules[i].text);
    free(filter.rules);
    filter.rules = NULL;
    filter.n = 0;
    filter.excludes_others = false;
}

static bool is_glob(enum rec_filter_action action)
{
    return action != REC_FILTER_EXCLUDE_BELOW;
}

int rec_filter_add(enum rec_filter_action action, const char *text)
{
    struct rule *rules = realloc(filter.rules, (filter.n + 1) * sizeof *rules);
    if (!rules)
        return -1;
    filter.rules = rules;
    if (!(rules[filter.n].text = strdup(text)))
        return -1;
    size_t globs = 0;
    for (size_t i = 0; i < filter.n; i++)
        globs += is_glob(rules[i].action);
    if (is_glob(action) && globs == 0)
        filter.excludes_others = action == REC_FILTER_INCLUDE;
    rules[filter.n++].action = action;
    return 0;
}

static bool begins_with(const char *text, const char *begin)
{
    return strncmp(text, begin, strlen(begin)) == 0;
}

/* Directories of installed packages lie in the standard library's (CPython, Lib/site.py), or beside it: they do not
 * belong to it. */
static bool is_file_below(const char *file, const char *begin)
{
    if (!begins_with(file, begin))
        return false;
    const char *rest = file + strlen(begin);
    return !begins_with(rest, "site-packages/") && !begins_with(rest, "dist-packages/");
}

static bool rule_matches(const struct rule *rule, const char *module, const char *file)
{
    if (!is_glob(rule->action))
        return is_file_below(file, rule->text);
    return fnmatch(rule->text, module, FNM_NOESCAPE) == 0 || fnmatch(rule->text, file, FNM_NOESCAPE) == 0;
}

bool rec_filter_excludes(struct pnr_string module, struct pnr_string file)
{
    for (size_t i = filter.n; i-- > 0;)
        if (rule_matches(&filter.rules[i], module.bytes, file.bytes))
            return filter.rules[i].action != REC_FILTER_INCLUDE;
    return filter.excludes_others;
}
