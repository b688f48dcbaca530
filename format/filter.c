#include "filter.h"

#include <errno.h>
#include <fnmatch.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_FOLDERS 256                   /* whose real path is kept; a power of two */

struct pnr_filter_rule {
    enum pnr_filter_action action;
    char *text;                         /* owned */
};

/* Functions of a file are judged one after the other, so that few folders are asked for twice. */
struct pnr_filter_folder {
    char *given;                        /* owned, with a slash at its end; NULL: free */
    char *real;                         /* owned; likewise */
};

static void clear_folder(struct pnr_filter_folder *folder)
{
    free(folder->given);
    free(folder->real);
    *folder = (struct pnr_filter_folder){ 0 };
}

void pnr_filter_clear(struct pnr_filter *filter)
{
    for (size_t i = 0; i < filter->n; i++)
        free(filter->rules[i].text);
    free(filter->rules);
    for (size_t i = 0; filter->folders && i < N_FOLDERS; i++)
        clear_folder(&filter->folders[i]);
    free(filter->folders);
    *filter = (struct pnr_filter){ 0 };
}

static bool is_glob(enum pnr_filter_action action)
{
    return action == PNR_FILTER_INCLUDE || action == PNR_FILTER_EXCLUDE;
}

int pnr_filter_add(struct pnr_filter *filter, enum pnr_filter_action action, const char *text)
{
    struct pnr_filter_rule *rules = realloc(filter->rules, (filter->n + 1) * sizeof *rules);
    if (!rules)
        return -1;
    filter->rules = rules;
    if (action == PNR_FILTER_LIBRARY && !filter->folders &&
        !(filter->folders = calloc(N_FOLDERS, sizeof *filter->folders)))
        return -1;
    if (!(rules[filter->n].text = strdup(text)))
        return -1;
    filter->has_boundary |= action == PNR_FILTER_LIBRARY;
    size_t globs = 0;
    for (size_t i = 0; i < filter->n; i++)
        globs += is_glob(rules[i].action);
    if (is_glob(action) && globs == 0)
        filter->excludes_others = action == PNR_FILTER_INCLUDE;
    rules[filter->n++].action = action;
    return 0;
}

int pnr_filter_override(struct pnr_filter *filter, enum pnr_filter_action action, const char *text)
{
    bool excludes_others = filter->excludes_others;
    if (pnr_filter_add(filter, action, text) != 0)
        return -1;
    filter->excludes_others = excludes_others;
    size_t n = 0;
    for (size_t i = 0; i < filter->n; i++) {
        bool is_void = i + 1 < filter->n && is_glob(filter->rules[i].action) && strcmp(filter->rules[i].text, text) == 0;
        if (is_void)
            free(filter->rules[i].text);
        else
            filter->rules[n++] = filter->rules[i];
    }
    filter->n = n;
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

/* ---- where files really lie ---- */

static char *copy_folder(const char *begin, size_t size)
{
    char *copy = malloc(size + 2);
    if (copy)
        snprintf(copy, size + 2, "%.*s%s", (int)size, begin, size && begin[size - 1] == '/' ? "" : "/");
    return copy;
}

/* Returns the real path of a folder with a slash at its end, size bytes of a file's path, or NULL when out of memory. A
 * folder that cannot be found, as one in a zip file, is kept as it is. */
static const char *find_real_folder(const struct pnr_filter *filter, const char *file, size_t size)
{
    uint32_t hash = UINT32_C(0x811c9dc5);       /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)file[i]) * UINT32_C(0x01000193);
    struct pnr_filter_folder *folder = &filter->folders[hash % N_FOLDERS];
    if (folder->given && strncmp(folder->given, file, size) == 0 && !folder->given[size])
        return folder->real;
    clear_folder(folder);
    if (!(folder->given = copy_folder(file, size)))
        return NULL;
    char *real = realpath(folder->given, NULL);
    folder->real = real ? copy_folder(real, strlen(real)) : strdup(folder->given);
    free(real);
    if (!folder->real)
        clear_folder(folder);
    return folder->real;
}

/* A function, as the rules see it. */
struct subject {
    const char *module, *full_name, *file;
    const char *real_file;              /* where own code and libraries are told apart: a real path, or "" */
    bool is_made;
};

/* Makes the real path of a file, or "" where it is no absolute path. Returns it, owned, or NULL when out of memory. */
static char *make_real_file(const struct pnr_filter *filter, const char *file)
{
    if (file[0] != '/')
        return strdup("");
    const char *name = strrchr(file, '/') + 1;
    int error = errno;
    const char *folder = find_real_folder(filter, file, (size_t)(name - file));
    errno = error;
    size_t size = folder ? strlen(folder) + strlen(name) + 1 : 0;
    char *real_file = folder ? malloc(size) : NULL;
    if (real_file)
        snprintf(real_file, size, "%s%s", folder, name);
    return real_file;
}

/* path: after a slash. */
static bool is_in_installed_package(const char *path)
{
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (begins_with(at, "site-packages/") || begins_with(at, "dist-packages/"))
            return true;
    }
    return false;
}

static bool is_own(const struct subject *subject, const char *folder)
{
    if (subject->is_made)
        return false;
    if (begins_with(subject->real_file, folder))
        return !is_in_installed_package(subject->real_file + strlen(folder));
    bool is_main = strcmp(subject->module, "__main__") == 0 || strcmp(subject->module, "__mp_main__") == 0;
    return is_main && !is_in_installed_package(subject->real_file);
}

/* ---- rules ---- */

static bool rule_matches(const struct pnr_filter_rule *rule, const struct subject *subject)
{
    switch (rule->action) {
    case PNR_FILTER_EXCLUDE_BELOW:
        return is_below(subject->file, rule->text);
    case PNR_FILTER_OWN:
        return is_own(subject, rule->text);
    case PNR_FILTER_LIBRARY:
        return begins_with(subject->real_file, rule->text);
    default:
        return pnr_glob_matches(rule->text, subject->module) || pnr_glob_matches(rule->text, subject->full_name) ||
               pnr_glob_matches(rule->text, subject->file);
    }
}

static enum pnr_filter_outcome outcome_of(enum pnr_filter_action action)
{
    return action == PNR_FILTER_LIBRARY ? PNR_FILTER_BOUNDARY :
           action == PNR_FILTER_INCLUDE || action == PNR_FILTER_OWN ? PNR_FILTER_RECORDED : PNR_FILTER_EXCLUDED;
}

/* Appends a string to a buffer, and returns where the next one goes. */
static char *append_string(char *at, struct pnr_string string)
{
    if (string.size)
        memcpy(at, string.bytes, string.size);
    at[string.size] = 0;
    return at + string.size;
}

int pnr_filter_judge(const struct pnr_filter *filter, const struct pnr_string strings[3], bool is_made)
{
    const struct pnr_string module = strings[0].size ? strings[0] : (struct pnr_string){ "builtins", 8 };
    if (filter->n == 0)
        return PNR_FILTER_RECORDED;
    char *text = malloc((size_t)module.size + strings[0].size + strings[1].size + strings[2].size + 4);
    if (!text)
        return -1;
    char *full_name = append_string(text, module) + 1, *at = append_string(full_name, strings[0]);
    if (strings[0].size && strings[1].size)
        *at++ = '.';
    char *file = append_string(at, strings[1]) + 1;
    append_string(file, strings[2]);
    char *real_file = filter->has_boundary ? make_real_file(filter, file) : NULL;
    if (filter->has_boundary && !real_file) {
        free(text);
        return -1;
    }
    const struct subject subject = { text, full_name, file, real_file ? real_file : "", is_made };
    enum pnr_filter_outcome outcome = filter->excludes_others ? PNR_FILTER_EXCLUDED : PNR_FILTER_RECORDED;
    size_t i = filter->n;
    while (i > 0 && !rule_matches(&filter->rules[i - 1], &subject))
        i--;
    if (i > 0)
        outcome = outcome_of(filter->rules[i - 1].action);
    free(real_file);
    free(text);
    return outcome;
}
