#include "top.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/record.h"
#include "json.h"
#include "text.h"

bool top_is_continuable(const struct call_function *function)
{
    return function->type == CALL_FUNCTION && function->symbol.kind >= PNR_FUNCTION_GENERATOR &&
           function->symbol.kind <= PNR_FUNCTION_ITERABLE_COROUTINE;
}

/* Sorts by self time, the largest first. */
static int by_self(const void *a, const void *b)
{
    const struct profile_line *x = a, *y = b;
    if (x->self_ns != y->self_ns)
        return x->self_ns > y->self_ns ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

/* ---- JSON ---- */

int top_put_json_names(struct writer *writer, const struct call_function *function)
{
    char *bytes = malloc(call_tree_name_size(function));
    int result = -1;
    if (bytes) {
        struct pnr_string name = { bytes, (uint32_t)(call_tree_put_name(bytes, function) - bytes) };
        result = json_put_member(writer, "name", name);
    }
    free(bytes);
    if (result == 0 && function->symbol.file.size) {
        result = json_put_member(writer, "file", function->symbol.file);
        writer_format(writer, "\"line\":%" PRIu32 ",", function->symbol.line);
    }
    return result;
}

uint64_t top_percentile(const struct profile_line *line, const struct call_function *function, unsigned percent)
{
    uint64_t ns = durations_percentile(&function->durations, percent);
    return ns < line->max_ns ? ns : line->max_ns;
}

static void put_json_spent(struct writer *writer, const char *key, const struct spent_time *spent)
{
    writer_format(writer, "%s\":{\"known_ns\":%" PRIu64 ",\"ran_ns\":%" PRIu64 ",\"queued_ns\":%" PRIu64
                  ",\"waited_ns\":%" PRIu64 ",\"held_gil_ns\":%" PRIu64 "}", key, spent->known_ns,
                  spent->ns[SAMPLES_RAN], spent->ns[SAMPLES_QUEUED], spent_waited_ns(spent), spent->ns[SAMPLES_HELD]);
}

int top_put_function(struct writer *writer, const struct call_tree *tree, const struct profile_line *line)
{
    const struct call_function *function = &tree->functions[line->group];
    writer_format(writer, "{");
    if (top_put_json_names(writer, function) < 0)
        return -1;
    writer_format(writer, "\"kind\":\"%s\",\"calls\":%" PRIu64 ",\"primitive_calls\":%" PRIu64,
                  function->type == CALL_NO_FUNCTION ? "panopticon" : symbol_category(&function->symbol), line->calls,
                  line->primitive_calls);
    if (function->type == CALL_ESTIMATED)
        writer_format(writer, ",\"estimated\":true");
    writer_format(writer, ",\"total_ns\":%" PRIu64 ",\"self_ns\":%" PRIu64 ",\"mean_ns\":%" PRIu64
                  ",\"max_ns\":%" PRIu64, line->cumulative_ns, line->self_ns, line->sum_ns / line->calls, line->max_ns);
    if (function->durations.n)
        writer_format(writer, ",\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64, top_percentile(line, function, 50),
                      top_percentile(line, function, 99));
    if (top_is_continuable(function))
        writer_format(writer, ",\"chains\":%" PRIu64 ",\"running_ns\":%" PRIu64 ",\"suspended_ns\":%" PRIu64,
                      function->n_frames, line->sum_ns, function->suspended_ns);
    if (line->cumulative_spent.known_ns) {
        put_json_spent(writer, ",\"sampled\":{\"self", &line->self_spent);
        put_json_spent(writer, ",\"total", &line->cumulative_spent);
        writer_format(writer, "}");
    }
    writer_format(writer, "}");
    return 0;
}

static int put_json_profile(struct writer *writer, const struct call_tree *tree, const struct profile *profile,
                            uint64_t n_lost)
{
    writer_format(writer, "{\"lost_events\":%" PRIu64 ",\"left_out_calls\":%" PRIu64 ",\"functions\":[", n_lost,
                  tree->n_excluded);
    for (size_t i = 0; i < profile->n; i++) {
        writer_format(writer, "%s\n", i ? "," : "");
        if (top_put_function(writer, tree, &profile->lines[i]) < 0)
            return -1;
    }
    writer_format(writer, "\n]}\n");
    return 0;
}

/* ---- the table ---- */

enum column { SELF, TOTAL, CALLS, MEAN, MAX, RAN, QUEUED, WAITED, HELD, FLOWS, SUSPENDED, N_COLUMNS };

/* Columns for the name, however narrow the terminal is. */
#define MIN_NAME_COLUMNS 12

static const char *const heads[N_COLUMNS] = { "self", "total", "calls", "mean", "max", "ran", "queued", "waited", "GIL",
                                               "chains", "suspended" };

/* Writes a time with three digits and a unit. */
void top_format_time(top_cell to, uint64_t ns)
{
    static const char *const units[] = { "us", "ms", "s" };
    double value = (double)ns / 1000;
    size_t unit = 0;
    if (ns < 1000) {
        snprintf(to, sizeof(top_cell), "%" PRIu64 "ns", ns);
        return;
    }
    for (; value >= 999.5 && unit < 2; unit++)
        value /= 1000;
    snprintf(to, sizeof(top_cell), "%.*f%s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[unit]);
}

static void format_share(top_cell to, uint64_t ns, const struct spent_time *spent)
{
    snprintf(to, sizeof(top_cell), "%.0f%%", 100 * (double)ns / (double)spent->known_ns);
}

/* Writes the shares of the self time; none where nothing is known of it. */
static void format_shares(top_cell row[N_COLUMNS], const struct spent_time *spent)
{
    row[RAN][0] = row[QUEUED][0] = row[WAITED][0] = row[HELD][0] = 0;
    if (!spent->known_ns)
        return;
    format_share(row[RAN], spent->ns[SAMPLES_RAN], spent);
    format_share(row[QUEUED], spent->ns[SAMPLES_QUEUED], spent);
    format_share(row[WAITED], spent_waited_ns(spent), spent);
    format_share(row[HELD], spent->ns[SAMPLES_HELD], spent);
}

static void format_row(top_cell row[N_COLUMNS], const struct profile_line *line, const struct call_function *function)
{
    top_format_time(row[SELF], line->self_ns);
    top_format_time(row[TOTAL], line->cumulative_ns);
    snprintf(row[CALLS], sizeof(top_cell), "%" PRIu64, line->calls);
    top_format_time(row[MEAN], line->sum_ns / line->calls);
    row[MAX][0] = 0;                    /* of estimated calls none is known */
    if (function->type != CALL_ESTIMATED)
        top_format_time(row[MAX], line->max_ns);
    format_shares(row, &line->self_spent);
    if (!top_is_continuable(function)) {
        row[FLOWS][0] = row[SUSPENDED][0] = 0;
        return;
    }
    snprintf(row[FLOWS], sizeof(top_cell), "%" PRIu64, function->n_frames);
    top_format_time(row[SUSPENDED], function->suspended_ns);
}

/* Returns how many columns a character takes on a terminal at most. */
static size_t columns_of(const char *character)
{
    return (unsigned char)*character < 0xe1 ? 1 : 2;
}

/* Writes a function's name, and `:` and line if it has one, in as many columns: a longer name loses its begin. Control
 * characters are replaced, as a capture must not control the terminal. Returns 0, or -1 when out of memory. */
int top_put_table_name(struct writer *writer, const struct call_function *function, size_t columns)
{
    size_t raw_size = call_tree_name_size(function), used = 0;
    char *bytes = malloc(4 * raw_size + 16);
    if (!bytes)
        return -1;
    char *raw = bytes + 3 * raw_size + 16, *end;
    struct pnr_string name = { raw, (uint32_t)(call_tree_put_name(raw, function) - raw) };
    end = text_put_utf8(bytes, name);
    if (function->symbol.file.size)
        end += sprintf(end, ":%" PRIu32, function->symbol.line);
    char *to = bytes;
    for (char *c = bytes; c < end; c++) {
        bool is_long = c + 1 < end && c[0] == '\xc2' && (c[1] & 0xe0) == 0x80;    /* U+0080 to U+009F */
        *to = is_long || (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
        if ((*to & 0xc0) != 0x80)
            used += columns_of(to);
        to++;
        c += is_long;
    }
    end = to;
    char *from = bytes;
    if (columns && used > columns) {
        for (used += 3; from < end && used > columns;) {
            used -= columns_of(from++);
            while (from < end && (*from & 0xc0) == 0x80)
                from++;
        }
        writer_put(writer, "...", 3);
    }
    writer_put(writer, from, (size_t)(end - from));
    free(bytes);
    return 0;
}

static bool is_shown(int column, bool has_samples, bool has_flows)
{
    return column < RAN || (column < FLOWS ? has_samples : has_flows);
}

static int put_table_profile(struct writer *writer, const struct call_tree *tree, const struct profile *profile,
                             size_t columns)
{
    top_cell rows[TOP_MAX_LINES][N_COLUMNS], others;
    size_t n = profile->n < TOP_MAX_LINES ? profile->n : TOP_MAX_LINES, widths[N_COLUMNS], used = 0;
    uint64_t others_ns = 0;
    bool has_flows = false, has_samples = false;
    for (size_t i = 0; i < n; i++) {
        const struct call_function *function = &tree->functions[profile->lines[i].group];
        format_row(rows[i], &profile->lines[i], function);
        has_flows |= top_is_continuable(function);
        has_samples |= profile->lines[i].self_spent.known_ns > 0;
    }
    for (int column = 0; column < N_COLUMNS; column++) {
        if (!is_shown(column, has_samples, has_flows))
            continue;
        widths[column] = strlen(heads[column]);
        for (size_t i = 0; i < n; i++) {
            if (strlen(rows[i][column]) > widths[column])
                widths[column] = strlen(rows[i][column]);
        }
        used += widths[column] + 2;
        writer_format(writer, "%*s  ", (int)widths[column], heads[column]);
    }
    writer_format(writer, "function\n");
    for (size_t i = 0; i < n; i++) {
        for (int column = 0; column < N_COLUMNS; column++)
            if (is_shown(column, has_samples, has_flows))
                writer_format(writer, "%*s  ", (int)widths[column], rows[i][column]);
        if (top_put_table_name(writer, &tree->functions[profile->lines[i].group],
                           columns ? columns > used + MIN_NAME_COLUMNS ? columns - used : MIN_NAME_COLUMNS : 0) < 0)
            return -1;
        writer_format(writer, "\n");
    }
    if (n == profile->n)
        return 0;
    for (size_t i = n; i < profile->n; i++)
        others_ns += profile->lines[i].self_ns;
    top_format_time(others, others_ns);
    writer_format(writer, "and %zu more functions, self %s together; --json has all\n", profile->n - n, others);
    return 0;
}

int top_make(struct profile *profile, const struct call_tree *tree)
{
    if (profile_make(profile, tree, NULL, false) < 0)
        return -1;
    if (profile->n)
        qsort(profile->lines, profile->n, sizeof *profile->lines, by_self);
    return 0;
}

/* Removes the functions that mostly waited in their own time. */
static void leave_out_waiting(struct profile *profile)
{
    size_t n = 0;
    for (size_t i = 0; i < profile->n; i++) {
        const struct spent_time *self = &profile->lines[i].self_spent;
        uint64_t busy_ns = self->ns[SAMPLES_RAN] + self->ns[SAMPLES_QUEUED];
        if (!self->known_ns || busy_ns >= self->known_ns / TOP_BUSY_PART)
            profile->lines[n++] = profile->lines[i];
    }
    profile->n = n;
}

int top_write(const struct call_tree *tree, const struct top_form *form, struct writer *writer)
{
    struct profile profile;
    if (top_make(&profile, tree) < 0)
        return -1;
    if (form->is_busy)
        leave_out_waiting(&profile);
    int result = form->is_json ? put_json_profile(writer, tree, &profile, form->n_lost)
                               : put_table_profile(writer, tree, &profile, form->columns);
    profile_clear(&profile);
    return result;
}
