#include "selection.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/filter.h"
#include "quantity.h"

#define SECOND UINT64_C(1000000000)
#define DAY (24 * 3600 * (int64_t)SECOND)

enum moment_type { MOMENT_NONE, MOMENT_OF_TRACE, MOMENT_BEFORE_END, MOMENT_ON_CLOCK };

/* A time as it was written. */
struct moment {
    enum moment_type type;
    uint64_t ns;                        /* length; on the clock: what is beyond the second */
    struct tm clock;                    /* hour, minute, second and, if it has one, the date */
    bool has_date, has_zone;
    int64_t zone_s;                     /* east of Greenwich */
};

struct rule {
    enum selection_option option;
    const char *text;                   /* borrowed */
};

struct selection {
    struct rule *rules;                 /* processes, threads; owned */
    size_t n;
    struct pnr_filter functions;
    struct moment from, to;
    uint64_t from_ns, to_ns;
    uint64_t min_ns;
    uint64_t max_depth;
    bool is_all;                        /* no option was added */
};

struct selection *selection_new(void)
{
    struct selection *selection = calloc(1, sizeof *selection);
    if (selection) {
        selection->is_all = true;
        selection->to_ns = selection->max_depth = UINT64_MAX;
    }
    return selection;
}

void selection_free(struct selection *selection)
{
    if (!selection)
        return;
    free(selection->rules);
    pnr_filter_clear(&selection->functions);
    free(selection);
}

/* ---- times as they are written ---- */

/* Z, or +HH:MM. */
static bool parse_zone(const char *text, struct moment *moment)
{
    struct tm zone = { .tm_min = 0 };
    moment->has_zone = *text != 0;
    if (strcmp(text, "Z") == 0 || *text == 0)
        return true;
    if ((*text != '+' && *text != '-') || !quantity_is_digit(text[1]))
        return false;
    const char *end = strptime(text + 1, "%H:%M", &zone);
    moment->zone_s = (zone.tm_hour * 60 + zone.tm_min) * (*text == '-' ? -60 : 60);
    return end && *end == 0;
}

/* [YYYY-MM-DDT]HH:MM[:SS[.FRACTION]][ZONE] */
static bool parse_clock(const char *text, struct moment *moment)
{
    const char *at = strptime(text, "%Y-%m-%d", &moment->clock);
    moment->has_date = at != NULL;
    if (at) {
        struct tm day = moment->clock;
        timegm(&day);
        if (day.tm_mday != moment->clock.tm_mday || (*at != 'T' && *at != ' '))
            return false;               /* there is no 31st of April */
        text = at + 1;
    }
    if (!quantity_is_digit(*text) || !(at = strptime(text, "%H:%M", &moment->clock)))
        return false;
    if (*at == ':') {
        uint64_t fraction = 0;
        if (!quantity_is_digit(at[1]) || !(at = strptime(at + 1, "%S", &moment->clock)))
            return false;
        if (*at == '.')
            at = quantity_parse_fraction(at + 1, &fraction);
        moment->ns = fraction / SECOND;
    }
    return parse_zone(at, moment);
}

static bool parse_moment(const char *text, struct moment *moment)
{
    bool is_before_end = *text == '-';
    *moment = (struct moment){ .type = is_before_end ? MOMENT_BEFORE_END : MOMENT_OF_TRACE };
    if (quantity_parse_duration(text + is_before_end, false, &moment->ns))
        return true;
    *moment = (struct moment){ .type = MOMENT_ON_CLOCK };
    return quantity_is_digit(*text) && parse_clock(text, moment);
}

/* ---- options ---- */

static bool parse_depth(const char *text, uint64_t *depth)
{
    char *end;
    *depth = strtoull(text, &end, 10);
    return quantity_is_digit(*text) && *end == 0 && *depth > 0;
}

static const char *add_rule(struct selection *selection, enum selection_option option, const char *text)
{
    if (!*text)
        return "empty: give an id or a glob";
    struct rule *rules = realloc(selection->rules, (selection->n + 1) * sizeof *rules);
    if (!rules)
        return "out of memory";
    selection->rules = rules;
    rules[selection->n++] = (struct rule){ option, text };
    return NULL;
}

static const char *add_filter(struct selection *selection, enum pnr_filter_action action, const char *text)
{
    if (!*text)
        return "empty: give a glob";
    return pnr_filter_add(&selection->functions, action, text) == 0 ? NULL : "out of memory";
}

const char *selection_add(struct selection *selection, enum selection_option option, const char *text)
{
    selection->is_all = false;
    switch (option) {
    case SELECT_FROM:
    case SELECT_TO:
        return parse_moment(text, option == SELECT_FROM ? &selection->from : &selection->to) ? NULL :
               "not a time, such as 12.5, 20ms, 3min, -5s (from the end), 08:00:01.5, 2026-11-26T08:00:01Z";
    case SELECT_MIN_DURATION:
        return quantity_parse_duration(text, true, &selection->min_ns) ? NULL :
               "not a duration: give a number and ns, us, ms, s, min or h, such as 20us or 1.5s";
    case SELECT_MAX_DEPTH:
        return parse_depth(text, &selection->max_depth) ? NULL : "not a depth: give a number, 1 or more";
    case SELECT_INCLUDE:
    case SELECT_EXCLUDE:
        return add_filter(selection, option == SELECT_INCLUDE ? PNR_FILTER_INCLUDE : PNR_FILTER_EXCLUDE, text);
    default:
        return add_rule(selection, option, text);
    }
}

bool selection_is_all(const struct selection *selection)
{
    return !selection || (selection->is_all && selection->from_ns == 0 && selection->to_ns == UINT64_MAX);
}

/* ---- from and to ---- */

/* Returns the wall clock's time of a moment on that date; INT64_MIN when there is none. */
static int64_t on_date(const struct moment *moment, const struct tm *date)
{
    struct tm clock = moment->clock;
    clock.tm_year = date->tm_year;
    clock.tm_mon = date->tm_mon;
    clock.tm_mday = date->tm_mday;
    clock.tm_isdst = -1;
    int64_t seconds = moment->has_zone ? timegm(&clock) - moment->zone_s : mktime(&clock);
    if (seconds < -(INT64_MAX / (int64_t)SECOND) || seconds > INT64_MAX / (int64_t)SECOND - 1)
        return INT64_MIN;
    return seconds * (int64_t)SECOND + (int64_t)moment->ns;
}

/* Returns how far a time lies outside of first and last. */
static uint64_t distance(int64_t ns, int64_t first, int64_t last)
{
    return ns < first ? (uint64_t)first - (uint64_t)ns : ns > last ? (uint64_t)ns - (uint64_t)last : 0;
}

/* Returns the wall clock's time of a moment. Without a date it is on the day on which it is nearest to the times from
 * first to last, the first such day; is_after: of those after first. */
static int64_t on_clock(const struct moment *moment, int64_t first, int64_t last, bool is_after)
{
    int64_t nearest = INT64_MIN;
    if (moment->has_date)
        return on_date(moment, &moment->clock);
    for (int day = -1; day <= 1; day++) {
        struct tm date;
        time_t seconds = (time_t)((first + day * DAY) / (int64_t)SECOND + (moment->has_zone ? moment->zone_s : 0));
        if (!(moment->has_zone ? gmtime_r : localtime_r)(&seconds, &date))
            continue;
        int64_t ns = on_date(moment, &date);
        if (is_after && ns <= first)
            continue;
        if (nearest == INT64_MIN || distance(ns, first, last) < distance(nearest, first, last))
            nearest = ns;
    }
    return nearest;
}

/* Finds the time in the trace; from_ns: it is not before that. Returns NULL or why there is none. */
static const char *settle_moment(const struct moment *moment, const struct selection_extent *extent, uint64_t from_ns,
                                 uint64_t *ns)
{
    const uint64_t zero = extent->start_realtime_ns;
    *ns = moment->ns;
    if (moment->type == MOMENT_BEFORE_END)
        *ns = extent->end_ns > moment->ns ? extent->end_ns - moment->ns : 0;
    if (moment->type != MOMENT_ON_CLOCK)
        return NULL;
    if (zero == 0 || zero > INT64_MAX / 2 || extent->end_ns > INT64_MAX / 4 || from_ns > INT64_MAX / 4)
        return "the capture does not contain its time on the wall clock";
    uint64_t last = from_ns > extent->end_ns ? from_ns : extent->end_ns;
    int64_t found = on_clock(moment, (int64_t)(zero + from_ns), (int64_t)(zero + last), from_ns > 0);
    *ns = found > (int64_t)zero ? (uint64_t)found - zero : 0;
    return NULL;
}

const char *selection_settle(struct selection *selection, const struct selection_extent *extent)
{
    const char *problem = NULL;
    if (selection->from.type)
        problem = settle_moment(&selection->from, extent, 0, &selection->from_ns);
    if (!problem && selection->to.type)
        problem = settle_moment(&selection->to, extent, selection->from_ns, &selection->to_ns);
    if (problem)
        return problem;
    if (selection->to_ns == 0)          /* or before it: then --from may be, too */
        return "--to is not after the start of the trace";
    return selection->from_ns < selection->to_ns ? NULL : "--from is not before --to";
}

void selection_set_window(struct selection *selection, uint64_t from_ns, uint64_t to_ns)
{
    selection->from_ns = from_ns;
    selection->to_ns = to_ns;
}

uint64_t selection_from(const struct selection *selection)
{
    return selection ? selection->from_ns : 0;
}

uint64_t selection_to(const struct selection *selection)
{
    return selection ? selection->to_ns : UINT64_MAX;
}

/* ---- processes and threads ---- */

/* An id that is not known yet: own_id and any multiple of SELECTION_ID_LIMIT. */
#define ANY_ID UINT32_MAX

static bool is_id(const char *text, uint32_t id, uint32_t own_id)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (!quantity_is_digit(*text) || *end != 0)
        return false;
    return number == id || number == own_id || (id == ANY_ID && number % SELECTION_ID_LIMIT == own_id);
}

/* The longest name is that of a process: its own, its command and a few characters more. */
#define NAME_CAPACITY (2 * PNR_NAME_MAX + 16)

static bool is_selected(const struct selection *selection, enum selection_option option, uint32_t id, uint32_t own_id,
                        struct pnr_string name)
{
    bool has_rule = false, is_found = false;
    char text[NAME_CAPACITY];           /* what fnmatch() takes */
    for (size_t i = 0; selection && i < selection->n && !is_found; i++) {
        const struct rule *rule = &selection->rules[i];
        if (rule->option != option)
            continue;
        if (!has_rule) {
            if (name.size)
                memcpy(text, name.bytes, name.size);
            text[name.size] = 0;
        }
        has_rule = true;
        is_found = is_id(rule->text, id, own_id) || pnr_glob_matches(rule->text, text);
    }
    return is_found || !has_rule;
}

bool selection_has_process(const struct selection *selection, uint32_t id, uint32_t own_id, struct pnr_string name)
{
    return is_selected(selection, SELECT_PROCESS, id, own_id, name);
}

bool selection_has_thread(const struct selection *selection, uint32_t id, uint32_t own_id, struct pnr_string name)
{
    return is_selected(selection, SELECT_THREAD, id, own_id, name);
}

bool selection_may_have_process(const struct selection *selection, uint32_t own_id, struct pnr_string name)
{
    return is_selected(selection, SELECT_PROCESS, ANY_ID, own_id, name);
}

bool selection_may_have_thread(const struct selection *selection, uint32_t own_id, struct pnr_string name)
{
    return is_selected(selection, SELECT_THREAD, ANY_ID, own_id, name);
}

bool selection_chooses(const struct selection *selection)
{
    return selection && selection->n > 0;
}

/* ---- functions ---- */

uint64_t selection_min_ns(const struct selection *selection, uint64_t recorded_ns)
{
    return selection && selection->min_ns > recorded_ns ? selection->min_ns : recorded_ns;
}

int selection_make_rules(const struct selection *selection, const struct symbols *symbols, struct slice_rules *rules)
{
    *rules = (struct slice_rules){ .max_depth = selection ? selection->max_depth : UINT64_MAX };
    if (!selection || selection->functions.n == 0)
        return 0;
    bool *is_hidden = calloc((size_t)symbols->n_functions + 1, sizeof *is_hidden);
    if (!is_hidden)
        return -1;
    rules->is_hidden = is_hidden;
    rules->n_functions = symbols->n_functions;
    rules->hides_unknown = selection->functions.excludes_others;
    for (uint32_t i = 0; i < symbols->n_functions; i++) {
        const struct symbol *symbol = &symbols->functions[i];
        const struct pnr_string strings[3] = { symbol->module, symbol->name, symbol->file };
        int verdict = symbol->is_known ? pnr_filter_judge(&selection->functions, strings, false) : rules->hides_unknown;
        if (verdict < 0)
            return -1;
        is_hidden[i] = verdict;
    }
    return 0;
}
