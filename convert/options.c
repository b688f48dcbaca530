#include "options.h"

#include <getopt.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/slices/quantity.h"
#include "convert/slices/split.h"
#include "convert/write/output.h"
#include "convert/write/perfetto.h"
#include "convert/write/trace_json.h"
#include "format/names.h"
#include "messages.h"

/* One thread puts the events in order: more than this cannot keep up with it, unless they compress. */
#define MAX_GROUPS 1000                 /* of captures whose names are given */
#define MAX_THREADS 16

#define SIZE_OF(array) (sizeof (array) / sizeof *(array))

/* Options of TRACE need a format that is a trace; those of SELECTION need an output; those of OTHER end the program. */
enum option_group {
#define GROUP(constant, heading) constant,
#include "options.def"
#undef GROUP
    N_GROUPS
};

struct option_row {
    char short_name;                    /* 0: none */
    const char *name, *argument;        /* argument: NULL for a flag */
    enum option_group group;
    /* Takes the value. Returns NULL, or what is wrong with it, to be reported after `--name: "text" is `. */
    const char *(*parse)(const struct option_row *row, const char *text, struct options *options);
    size_t where;
    const char *fallback, *help, *more;
};

/* ---- types of options ---- */

static const char *parse_flag(const struct option_row *row, const char *text, struct options *options)
{
    (void)text;
    *(bool *)((char *)options + row->where) = true;
    return NULL;
}

static const char *parse_name(const struct option_row *row, const char *text, struct options *options)
{
    *(const char **)((char *)options + row->where) = text;
    return *text ? NULL : "empty: give a file name";
}

#define ALL_KINDS (1u << PNR_FUNCTION_GENERATOR | 1u << PNR_FUNCTION_COROUTINE | \
                   1u << PNR_FUNCTION_ASYNC_GENERATOR | 1u << PNR_FUNCTION_ITERABLE_COROUTINE)

#define CREATION (1u << 31)             /* in addition to bits for kinds */
#define WORK (1u << 30)

static const char *parse_flows(const struct option_row *row, const char *text, struct options *options)
{
    static const struct { const char *name; unsigned kinds; } table[] = {
        { "all", ALL_KINDS | WORK },
        { "none", 0 },
        { "generator", 1u << PNR_FUNCTION_GENERATOR },
        { "coroutine", 1u << PNR_FUNCTION_COROUTINE },
        { "async_generator", 1u << PNR_FUNCTION_ASYNC_GENERATOR },
        { "iterable_coroutine", 1u << PNR_FUNCTION_ITERABLE_COROUTINE },
        { "work", WORK },
        { "creation", CREATION },
    };
    unsigned kinds = 0;
    bool has_none = false;
    (void)row;
    for (;;) {
        size_t size = strcspn(text, ","), i = 0;
        while (i < SIZE_OF(table) && (strlen(table[i].name) != size || memcmp(table[i].name, text, size) != 0))
            i++;
        if (i == SIZE_OF(table))
            return "not a list of generator, coroutine, async_generator, iterable_coroutine, work, creation, all, none";
        kinds |= table[i].kinds;
        has_none |= table[i].kinds == 0;
        if (text[size] == 0)
            break;
        text += size + 1;
    }
    if (has_none && kinds & (ALL_KINDS | WORK))
        return "not clear: none excludes other kinds";
    options->flows.flows = kinds & ALL_KINDS;
    options->flows.has_works = kinds & WORK;
    options->flows.spawns = kinds == CREATION ? ALL_KINDS : kinds & CREATION ? options->flows.flows : 0;
    return NULL;
}

static const char *parse_split(const struct option_row *row, const char *text, struct options *options)
{
    (void)row;
    if (!quantity_parse_size(text, &options->split_size))
        return "not a size: give a number and k, M, G or T, such as 200M or 1.5G";
    return options->split_size >= SPLIT_MIN_SIZE ? NULL : "too small: files of 64k are the smallest";
}
_Static_assert(SPLIT_MIN_SIZE == 64 << 10, "the message above says so");

/* Names are in the order of the captures. */
static const char *parse_group(const struct option_row *row, const char *text, struct options *options)
{
    static const char *groups[MAX_GROUPS];
    (void)row;
    if (options->captures.n_groups == MAX_GROUPS)
        return "one too many: 1,000 groups are the most";
    groups[options->captures.n_groups++] = text;
    options->captures.groups = groups;
    return NULL;
}
_Static_assert(MAX_GROUPS == 1000, "the message above says so");

static const char *parse_align(const struct option_row *row, const char *text, struct options *options)
{
    static const char mark[] = "mark:";
    (void)row;
    options->align = (struct align_choice){ ALIGN_WALL, NULL };
    if (strcmp(text, "ids") == 0)
        options->align.by = ALIGN_IDS;
    else if (strcmp(text, "start") == 0)
        options->align.by = ALIGN_START;
    else if (strncmp(text, mark, sizeof mark - 1) == 0 && text[sizeof mark - 1])
        options->align = (struct align_choice){ ALIGN_LABEL, text + sizeof mark - 1 };
    else if (strcmp(text, "wall") != 0)
        return "not wall, ids, start or mark:NAME";
    return NULL;
}

static const char *parse_threads(const struct option_row *row, const char *text, struct options *options)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    (void)row;
    if (*text < '0' || *text > '9' || *end || number == 0)
        return "not a number of threads: give 1 or more";
    options->n_threads = number < MAX_THREADS ? (unsigned)number : MAX_THREADS;
    return NULL;
}

static const struct {
    const char *name, *suffixes[2];
    const struct trace_format *trace;   /* NULL: made of a call tree */
} formats[] = {
#define FORMAT(constant, name, suffix, other_suffix, trace) [constant] = { name, { suffix, other_suffix }, trace },
#include "options.def"
#undef FORMAT
    [TOP] = { "", { NULL, NULL }, NULL },
};

static const char *parse_format(const struct option_row *row, const char *text, struct options *options)
{
    (void)row;
    for (size_t i = 0; i < TOP; i++) {
        if (strcmp(formats[i].name, text) == 0) {
            options->format = (enum format)i;
            return NULL;
        }
    }
    return "not a format: those are catapult, perfetto, folded, pstats, report";
}

static const char *parse_selection(const struct option_row *row, const char *text, struct options *options)
{
    return selection_add(options->selection, (enum selection_option)row->where, text);
}

static const struct option_row rows[] = {
#define AT(field) offsetof(struct options, field)
#define OPTION(...) { __VA_ARGS__ },
#include "options.def"
#undef OPTION
#undef AT
};

/* ---- help ---- */

#define TEXT(name, text) static const char name[] = text;
#include "options.def"
#undef TEXT

static const char *const headings[N_GROUPS] = {
#define GROUP(constant, heading) [constant] = heading,
#include "options.def"
#undef GROUP
};

/* Prints a text without its backticks. Returns how many columns it takes. */
static size_t print_plain(const char *text, size_t size)
{
    size_t columns = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] != '`')
            putchar(text[i]), columns++;
    return columns;
}

/* Prints a text, indented, in lines that have at most 79 columns with all backticks. */
static void print_wrapped(const char *text, int indent)
{
    size_t column = (size_t)printf("%*s", indent, "");
    while (*text) {
        size_t size = strcspn(text, " ");
        if (column > (size_t)indent && column + 1 + size > 79)
            column = (size_t)printf("\n%*s", indent, "") - 1;
        if (column > (size_t)indent)
            column += (size_t)printf(" ");
        column += print_plain(text, size);
        text += size;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const struct option_row *row)
{
    char left[64], letter[8] = "   ";
    if (row->short_name)
        snprintf(letter, sizeof letter, "-%c,", row->short_name);
    snprintf(left, sizeof left, "%s --%s%s%s", letter, row->name, row->argument ? "=" : "",
             row->argument ? row->argument : "");
    printf("  %-28s ", left);
    print_plain(row->help, strlen(row->help));
    printf(row->fallback ? " [%s]\n" : "\n", row->fallback);
}

/* is_short: a screenful, for -h. */
static void print_help(bool is_short)
{
    printf("usage: %s%s\n", program_name, usage + strcspn(usage, " "));
    if (!is_short)
        putchar('\n'), print_wrapped(about, 0);
    for (int group = 0; group < N_GROUPS; group++) {
        if (!is_short)
            printf("\n%s:\n", headings[group]);
        for (size_t i = 0; i < SIZE_OF(rows); i++) {
            if (rows[i].group != (enum option_group)group)
                continue;
            print_option(&rows[i]);
            if (!is_short && rows[i].more)
                print_wrapped(rows[i].more, 8);
        }
    }
    if (!is_short)
        putchar('\n'), print_wrapped(values, 0), putchar('\n'), print_wrapped(exit_status, 0);
}

/* ---- the command line ---- */

enum format options_find_format(const char *name)
{
    size_t size = strlen(name) - output_suffix(name);
    for (size_t i = 0; i < TOP; i++) {
        for (size_t k = 0; k < 2 && formats[i].suffixes[k]; k++) {
            size_t n = strlen(formats[i].suffixes[k]);
            if (size >= n && memcmp(name + size - n, formats[i].suffixes[k], n) == 0)
                return (enum format)i;
        }
    }
    return ANY_FORMAT;
}

/* The format by the end of the output's name. */
static enum format guess_format(const char *output)
{
    enum format found = output ? options_find_format(output) : ANY_FORMAT;
    return found == ANY_FORMAT ? CATAPULT : found;
}

/* The last option of each group that was given; NULL: none. */
struct given {
    const struct option_row *of[N_GROUPS];
    const struct option_row *of_trace_alone;    /* of the group TRACE, but --tasks, which --top has, too */
};

/* Settles the format. Returns 0, or -1 for options that do not go together. */
static int settle_format(struct options *options, const struct given *given)
{
    bool writes_nothing = options->is_info || options->is_verify, has_format = options->format != ANY_FORMAT;
    const char *name = options->is_info ? "--info" : "--verify";
    if (has_format + options->is_top + writes_nothing > 1) {
        warn("--format, --top and --info or --verify exclude each other: give one of them");
        return -1;
    }
    if (writes_nothing && given->of[SELECTION]) {
        warn("%s reports the whole capture: leave --%s out", name, given->of[SELECTION]->name);
        return -1;
    }
    if (writes_nothing && (given->of[TRACE] || options->output)) {
        warn("%s writes no trace: leave --%s out", name, given->of[TRACE] ? given->of[TRACE]->name : "output");
        return -1;
    }
    if (options->is_json && !options->is_top) {
        warn("--json needs --top");
        return -1;
    }
    if (options->has_exceptions && !options->is_top) {
        warn("--exceptions needs --top");
        return -1;
    }
    if (options->is_busy && !options->is_top) {
        warn("--busy needs --top");
        return -1;
    }
    if (!has_format)
        options->format = options->is_top ? TOP : guess_format(options->output);
    if (options->captures.n > 1 && !writes_nothing && !options->output && formats[options->format].suffixes[0]) {
        warn("several captures become one file: give it a name with -o");
        return -1;
    }
    if (options->format == REPORT_DATA)
        options->flows.has_tasks = true;
    const struct option_row *of_trace = options->is_top ? given->of_trace_alone : given->of[TRACE];
    if (of_trace && !formats[options->format].trace) {
        warn("--%s needs a trace: --format=catapult or perfetto", of_trace->name);
        return -1;
    }
    if (options->is_top && options->has_exceptions + options->is_busy + options->flows.has_tasks > 1) {
        warn("--busy, --exceptions and --tasks exclude each other: give one of them");
        return -1;
    }
    if (options->split_size && options->output && strcmp(options->output, "-") == 0) {
        warn("--split needs a file name: -o - is standard output");
        return -1;
    }
    return 0;
}

/* Makes getopt_long's table of the rows; row i has the value FIRST_ROW + i. */
#define FIRST_ROW 256

static void describe_rows(struct option table[SIZE_OF(rows) + 1], char letters[2 * SIZE_OF(rows) + 1])
{
    for (size_t i = 0; i < SIZE_OF(rows); i++) {
        bool has_argument = rows[i].argument != NULL;
        table[i] = (struct option){ rows[i].name, has_argument, NULL, FIRST_ROW + (int)i };
        if (rows[i].short_name) {
            *letters++ = rows[i].short_name;
            if (has_argument)
                *letters++ = ':';
        }
    }
    table[SIZE_OF(rows)] = (struct option){ NULL, 0, NULL, 0 };
    *letters = 0;
}

/* Returns NULL for an option that does not exist. */
static const struct option_row *find_option(int value)
{
    for (size_t i = 0; i < SIZE_OF(rows); i++)
        if (value == FIRST_ROW + (int)i || (rows[i].short_name && value == rows[i].short_name))
            return &rows[i];
    return NULL;
}

/* Takes all options. Returns as options_parse does. */
static int parse_rows(int argc, char **argv, struct options *options, struct given *given)
{
    struct option table[SIZE_OF(rows) + 1];
    char letters[2 * SIZE_OF(rows) + 1];
    int value;
    describe_rows(table, letters);
    argv[0] = (char *)program_name;     /* getopt_long's messages begin with it */
    while ((value = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        const struct option_row *row = find_option(value);
        if (!row)
            return -1;                  /* getopt_long has reported it */
        const char *problem = row->parse(row, optarg, options);
        if (problem) {
            warn("--%s: \"%s\" is %s", row->name, optarg, problem);
            return -1;
        }
        given->of[row->group] = row;
        if (row->group == TRACE && strcmp(row->name, "tasks") != 0)
            given->of_trace_alone = row;
        if (options->is_help)
            print_help(value == row->short_name);
        if (options->is_version)
            puts("panopticon-convert " PANOPTICON_VERSION);
        if (row->group == OTHER)
            return 0;
    }
    return 1;
}

/* The processors that this process may use. */
static unsigned count_processors(void)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    return n < MAX_THREADS ? n : MAX_THREADS;
}

/* Takes the words that are no options. Returns 0, or -1 after reporting why not. */
static int take_captures(int n, char **paths, struct options *options)
{
    static char several[32];
    for (int i = 0; i < n; i++) {
        if (!*paths[i])
            n = 0;
        for (size_t size = strlen(paths[i]); size > 1 && paths[i][size - 1] == '/'; size--)
            paths[i][size - 1] = 0;
    }
    if (n == 0) {
        warn("no capture given (try --help)");
        return -1;
    }
    snprintf(several, sizeof several, "%d captures", n);
    options->captures.paths = (const char *const *)paths;
    options->captures.n = (size_t)n;
    options->capture = n == 1 ? paths[0] : several;
    return 0;
}

int options_parse(int argc, char **argv, struct options *options)
{
    struct given given = { .of_trace_alone = NULL };
    *options = (struct options){ .selection = selection_new(), .format = ANY_FORMAT, .flows = { .flows = ALL_KINDS, .has_works = true },
                                 .n_threads = count_processors() };
    if (!options->selection) {
        warn("out of memory");
        return -1;
    }
    int status = parse_rows(argc, argv, options, &given);
    if (status != 1)
        return status;
    if (take_captures(argc - optind, argv + optind, options) < 0)
        return -1;
    return settle_format(options, &given) < 0 ? -1 : 1;
}

const struct trace_format *options_trace(const struct options *options)
{
    return formats[options->format].trace;
}

int options_name_output(const struct options *options, char path[PATH_MAX])
{
    const char *slash = strrchr(options->capture, '/'), *name = slash ? slash + 1 : options->capture;
    int size;
    if (options->output || !formats[options->format].suffixes[0]) {
        size = snprintf(path, PATH_MAX, "%s", options->output ? options->output : "-");
    } else if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !*name) {
        warn("no output can be named after \"%s\": give a name with -o", options->capture);
        return -1;
    } else {
        size_t n = strlen(options->capture);
        if (n > 4 && strcmp(options->capture + n - 4, ".pnr") == 0 && options->capture[n - 5] != '/')
            n -= 4;
        size = snprintf(path, PATH_MAX, "%.*s%s", (int)n, options->capture, formats[options->format].suffixes[0]);
    }
    if (size < PATH_MAX)
        return 0;
    warn("the name of the output is too long");
    return -1;
}
