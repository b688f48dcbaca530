#include "filter.h"

#include <fnmatch.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

struct pnr_filter_rule {
    enum pnr_filter_action action;
    char *text;                         /* owned */
};

void pnr_filter_clear(struct pnr_filter *filter)
{
    for (size_t i = 0; i < filter->n; i++)
        free(filter->rules[i].text);
    free(filter->rules);
    *filter = (struct pnr_filter){ 0 };
}

static bool is_glob(enum pnr_filter_action action)
{
    return action != PNR_FILTER_EXCLUDE_BELOW;
}

int pnr_filter_add(struct pnr_filter *filter, enum pnr_filter_action action, const char *text)
{
    struct pnr_filter_rule *rules = realloc(filter->rules, (filter->n + 1) * sizeof *rules);
    if (!rules)
        return -1;
    filter->rules = rules;
    if (!(rules[filter->n].text = strdup(text)))
        return -1;
    size_t globs = 0;
    for (size_t i = 0; i < filter->n; i++)
        globs += is_glob(rules[i].action);
    if (is_glob(action) && globs == 0)
        filter->excludes_others = action == PNR_FILTER_INCLUDE;
    rules[filter->n++].action = action;
    return 0;
}

bool pnr_glob_matches(const char *glob, const char *text)
{
    static locale_t utf8;               /* kept until the process ends; two threads may both make it */
    if (!utf8)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = uselocale(utf8);  /* of this thread alone; 0 changes nothing */
    bool matches = fnmatch(glob, text, FNM_NOESCAPE) == 0;
    uselocale(before);
    return matches;
}

static bool begins_with(const char *text, const char *begin)
{
    return strncmp(text, begin, strlen(begin)) == 0;
}

/* The directories of installed packages lie in that of the standard library, or next to it. */
static bool is_below(const char *file, const char *begin)
{
    if (!begins_with(file, begin))
        return false;
    const char *below = file + strlen(begin);
    return !begins_with(below, "site-packages/") && !begins_with(below, "dist-packages/");
}

static bool rule_matches(const struct pnr_filter_rule *rule, const char *module, const char *full_name,
                         const char *file)
{
    if (!is_glob(rule->action))
        return is_below(file, rule->text);
    return pnr_glob_matches(rule->text, module) || pnr_glob_matches(rule->text, full_name) ||
           pnr_glob_matches(rule->text, file);
}

/* Appends a string to a buffer, and returns where the next one goes. */
static char *append_string(char *at, struct pnr_string string)
{
    if (string.size)
        memcpy(at, string.bytes, string.size);
    at[string.size] = 0;
    return at + string.size;
}

int pnr_filter_judge(const struct pnr_filter *filter, const struct pnr_string strings[3])
{
    const struct pnr_string module = strings[0].size ? strings[0] : (struct pnr_string){ "builtins", 8 };
    if (filter->n == 0)
        return 0;
    char *text = malloc((size_t)module.size + strings[0].size + strings[1].size + strings[2].size + 4);
    if (!text)
        return -1;
    char *full_name = append_string(text, module) + 1, *at = append_string(full_name, strings[0]);
    if (strings[0].size && strings[1].size)
        *at++ = '.';
    char *file = append_string(at, strings[1]) + 1;
    append_string(file, strings[2]);
    bool excludes = filter->excludes_others;
    size_t i = filter->n;
    while (i > 0 && !rule_matches(&filter->rules[i - 1], text, full_name, file))
        i--;
    if (i > 0)
        excludes = filter->rules[i - 1].action != PNR_FILTER_INCLUDE;
    free(text);
    return excludes;
}
