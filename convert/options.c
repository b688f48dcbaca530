#include "options.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/slices/split.h"
#include "convert/write/output.h"
#include "convert/write/perfetto.h"
#include "convert/write/trace_json.h"
#include "format/names.h"
#include "messages.h"

/* One thread puts the events in order: more cannot keep up with it, unless they compress. */
#define MAX_THREADS 16

static const char usage[] =
    "usage: panopticon-convert CAPTURE [-o FILE] [--format=FORMAT] [--flows=KINDS] [--tasks] [PART] [-j N] [-q]\n"
    "       panopticon-convert CAPTURE --top [--json] [-o FILE] [PART] [-j N] [-q]\n"
    "       panopticon-convert CAPTURE --info | --verify\n"
    "\n"
    "Converts what python3 -m panopticon_rec recorded.\n"
    "\n"
    "  CAPTURE             a directory such as run.pnr\n"
    "  -o, --output=FILE   where to write; - is standard output  [CAPTURE's name, .trace and the like]\n"
    "                      a name that ends in .gz or .zst: compressed\n"
    "      --format=FORMAT [by the end of FILE's name, else catapult]\n"
    "                        catapult  .trace, .json: for chrome://tracing and ui.perfetto.dev\n"
    "                        perfetto  .pftrace, .perfetto-trace: for ui.perfetto.dev, a fourth of the size\n"
    "                        folded    .folded: stacks for flamegraph.pl, inferno, speedscope\n"
    "                        pstats    .pstats, .prof: a profile for Python's pstats, snakeviz\n"
    "      --flows=KINDS   in a trace: whose slices are joined by arrows: all, none, or some of generator,\n"
    "                      coroutine, async_generator, iterable_coroutine, with commas      [all]\n"
    "                      creation: arrows from where they, or all if it is alone, were made\n"
    "      --tasks         in a trace: a row for each task of asyncio, too\n"
    "      --split=SIZE    in a trace: several files, NAME-1.trace and so on, each of SIZE at most, such as 200M (k, M, G,\n"
    "                      of the text, not compressed), one behind the other in time, to be opened by itself\n"
    "      --logical       in a trace: all calls are of the same width: time is the order of events\n"
    "      --top           print the functions that took the most time instead; with --json, all\n"
    "      --info          print what is in the capture instead, without reading the data; with --verify, more\n"
    "      --verify        read all of the capture and say what is damaged instead\n"
    "  -j, --jobs=N        how many threads work, up to 16                  [as many as processors]\n"
    "  -q, --quiet         no summary; warnings and errors are still shown\n"
    "  -h, --help          this text\n"
    "      --version       the version\n"
    "\n"
    "PART chooses, in any format, what is shown:\n"
    "      --from=TIME     from then on: seconds from the start, or 20ms, 3min and the like; -5s is from the end;\n"
    "                      or a time on the clock, 2026-11-26T08:00:01.5Z or 08:00:01.5\n"
    "      --to=TIME       what is before that\n"
    "      --process=PID   processes with this id, or with a name that matches this glob; repeatable\n"
    "      --thread=TID    the same of threads and greenlets\n"
    "      --include=GLOB  functions whose module, module.name or file matches\n"
    "      --exclude=GLOB  not these; both are repeatable, the last one that matches a function decides\n"
    "      --min-duration=TIME   no shorter slices, such as 20us\n"
    "      --max-depth=N   at most N slices in one another\n"
    "\n"
    "Exit status: 0 all converted, 1 converted in part (see the messages), 2 nothing written.\n";

#define ALL_KINDS (1u << PNR_FUNCTION_GENERATOR | 1u << PNR_FUNCTION_COROUTINE | \
                   1u << PNR_FUNCTION_ASYNC_GENERATOR | 1u << PNR_FUNCTION_ITERABLE_COROUTINE)

#define CREATION (1u << 31)             /* beside bits for kinds */

static int parse_flows(const char *text, struct flows_choice *flows)
{
    static const struct { const char *name; unsigned kinds; } table[] = {
        { "all", ALL_KINDS },
        { "none", 0 },
        { "generator", 1u << PNR_FUNCTION_GENERATOR },
        { "coroutine", 1u << PNR_FUNCTION_COROUTINE },
        { "async_generator", 1u << PNR_FUNCTION_ASYNC_GENERATOR },
        { "iterable_coroutine", 1u << PNR_FUNCTION_ITERABLE_COROUTINE },
        { "creation", CREATION },
    };
    unsigned kinds = 0;
    bool has_none = false;
    for (;;) {
        size_t size = strcspn(text, ","), i = 0;
        while (i < sizeof table / sizeof *table &&
               (strlen(table[i].name) != size || memcmp(table[i].name, text, size) != 0))
            i++;
        if (i == sizeof table / sizeof *table) {
            warn("--flows: unknown kind \"%.*s\"; known are generator, coroutine, async_generator, "
                     "iterable_coroutine, creation, all, none", (int)size, text);
            return -1;
        }
        kinds |= table[i].kinds;
        has_none |= table[i].kinds == 0;
        if (text[size] == 0)
            break;
        text += size + 1;
    }
    if (has_none && kinds & ALL_KINDS) {
        warn("--flows: none does not go with kinds that are wanted");
        return -1;
    }
    flows->flows = kinds & ALL_KINDS;
    flows->spawns = kinds == CREATION ? ALL_KINDS : kinds & CREATION ? flows->flows : 0;
    return 0;
}

static int parse_size(const char *text, uint64_t *size)
{
    static const char units[] = "kMGT";
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end == 'K' ? units : *end ? strchr(units, *end) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    end += unit != NULL;
    if (*text < '0' || *text > '9' || *end || number > (uint64_t)INT64_MAX >> shift) {
        warn("--split: \"%s\" is no size: a number and k, M, G or T, such as 200M", text);
        return -1;
    }
    *size = (uint64_t)number << shift;
    if (*size >= SPLIT_MIN_SIZE)
        return 0;
    warn("--split: files of %d bytes are the smallest", SPLIT_MIN_SIZE);
    return -1;
}

static int parse_threads(const char *text, unsigned *n)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || number == 0) {
        warn("-j: \"%s\" is no number of threads", text);
        return -1;
    }
    *n = number < MAX_THREADS ? (unsigned)number : MAX_THREADS;
    return 0;
}

/* Those that this process may use. */
static unsigned count_processors(void)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    return n < MAX_THREADS ? n : MAX_THREADS;
}

static const struct {
    const char *name, *suffixes[2];
    const struct trace_format *trace;   /* NULL: made of a call tree */
} formats[] = {
    [CATAPULT] = { "catapult", { ".trace", ".json" }, &trace_json },
    [PERFETTO] = { "perfetto", { ".pftrace", ".perfetto-trace" }, &perfetto },
    [FOLDED] = { "folded", { ".folded", NULL }, NULL },
    [PSTATS] = { "pstats", { ".pstats", ".prof" }, NULL },
    [TOP] = { "", { NULL, NULL }, NULL },
};

static int parse_format(const char *text, enum format *format)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (*text && strcmp(formats[i].name, text) == 0) {
            *format = (enum format)i;
            return 0;
        }
    }
    warn("--format: unknown format \"%s\"; known are catapult, perfetto, folded, pstats", text);
    return -1;
}

/* The format that the end of the output's name tells. */
static enum format guess_format(const char *output)
{
    size_t size = output ? strlen(output) - output_suffix(output) : 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        for (size_t k = 0; k < 2 && formats[i].suffixes[k]; k++) {
            size_t n = strlen(formats[i].suffixes[k]);
            if (size >= n && memcmp(output + size - n, formats[i].suffixes[k], n) == 0)
                return (enum format)i;
        }
    }
    return CATAPULT;
}

/* Which of the options that choose what is written were given. */
struct given {
    bool has_format, has_flows, has_top;
};

/* The parts of a trace are files. Returns 0 or -1. */
static int settle_split(struct options *options)
{
    if (!options->split_size)
        return 0;
    if (options->output && strcmp(options->output, "-") == 0) {
        warn("--split makes files: -o needs a name");
        return -1;
    }
    if (!options->selection && !(options->selection = selection_new())) {
        warn("out of memory");
        return -1;
    }
    return 0;
}

/* Settles the format. Returns 0, or -1 for options that do not go together. */
static int settle_format(struct options *options, const struct given *given)
{
    bool writes_nothing = options->is_info || options->is_verify;
    const char *name = options->is_info ? "--info" : "--verify";
    const char *of_traces = given->has_flows ? "--flows" : options->flows.has_tasks ? "--tasks" :
                            options->is_logical ? "--logical" : options->split_size ? "--split" : NULL;
    if (given->has_format + given->has_top + writes_nothing > 1) {
        warn("--format, --top and %s do not go together", name);
        return -1;
    }
    if (writes_nothing && options->selection) {
        warn("%s tells of the whole capture: no part of it can be chosen", name);
        return -1;
    }
    if (writes_nothing && (of_traces || options->output)) {
        warn("%s writes no trace: no %s", name, of_traces ? of_traces : "-o");
        return -1;
    }
    if (options->is_json && !given->has_top) {
        warn("--json is for --top");
        return -1;
    }
    if (given->has_top)
        options->format = TOP;
    else if (!given->has_format)
        options->format = guess_format(options->output);
    if (of_traces && !formats[options->format].trace) {
        warn("%s is for catapult and perfetto", of_traces);
        return -1;
    }
    return settle_split(options);
}

static int add_to_selection(struct options *options, int option, const char *name, const char *text)
{
    if (!options->selection && !(options->selection = selection_new())) {
        warn("out of memory");
        return -1;
    }
    const char *problem = selection_add(options->selection, (enum selection_option)option, text);
    if (problem)
        warn("--%s: \"%s\" is %s", name, text, problem);
    return problem ? -1 : 0;
}

int options_parse(int argc, char **argv, struct options *options)
{
    enum { FLOWS = 256, FORMAT, TASKS, INFO, JSON, LOGICAL, SPLIT, SHOW_TOP, SHOW_VERSION, VERIFY, SELECT };
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "format", required_argument, NULL, FORMAT },
        { "flows", required_argument, NULL, FLOWS },
        { "tasks", no_argument, NULL, TASKS },
        { "logical", no_argument, NULL, LOGICAL },
        { "split", required_argument, NULL, SPLIT },
        { "top", no_argument, NULL, SHOW_TOP },
        { "json", no_argument, NULL, JSON },
        { "info", no_argument, NULL, INFO },
        { "verify", no_argument, NULL, VERIFY },
        { "from", required_argument, NULL, SELECT + SELECT_FROM },
        { "to", required_argument, NULL, SELECT + SELECT_TO },
        { "process", required_argument, NULL, SELECT + SELECT_PROCESS },
        { "thread", required_argument, NULL, SELECT + SELECT_THREAD },
        { "include", required_argument, NULL, SELECT + SELECT_INCLUDE },
        { "exclude", required_argument, NULL, SELECT + SELECT_EXCLUDE },
        { "min-duration", required_argument, NULL, SELECT + SELECT_MIN_DURATION },
        { "max-depth", required_argument, NULL, SELECT + SELECT_MAX_DEPTH },
        { "jobs", required_argument, NULL, 'j' },
        { "quiet", no_argument, NULL, 'q' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, SHOW_VERSION },
        { NULL, 0, NULL, 0 },
    };
    struct given given = { false, false, false };
    int option, at = 0;
    argv[0] = "panopticon-convert";     /* getopt_long's messages begin with it */
    *options = (struct options){ .flows = { .flows = ALL_KINDS }, .n_threads = count_processors() };
    while ((option = getopt_long(argc, argv, "o:j:qh", table, &at)) != -1) {
        switch (option) {
        case 'o':
            options->output = optarg;
            if (!*optarg) {
                warn("-o needs a name");
                return -1;
            }
            break;
        case FORMAT:
            if (parse_format(optarg, &options->format) < 0)
                return -1;
            given.has_format = true;
            break;
        case FLOWS:
            if (parse_flows(optarg, &options->flows) < 0)
                return -1;
            given.has_flows = true;
            break;
        case TASKS:
            options->flows.has_tasks = true;
            break;
        case LOGICAL:
            options->is_logical = true;
            break;
        case SPLIT:
            if (parse_size(optarg, &options->split_size) < 0)
                return -1;
            break;
        case SHOW_TOP:
            given.has_top = true;
            break;
        case JSON:
            options->is_json = true;
            break;
        case INFO:
            options->is_info = true;
            break;
        case VERIFY:
            options->is_verify = true;
            break;
        case 'j':
            if (parse_threads(optarg, &options->n_threads) < 0)
                return -1;
            break;
        case 'q':
            options->is_quiet = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case SHOW_VERSION:
            puts("panopticon-convert " OPTIONS_VERSION);
            return 0;
        default:
            if (option < SELECT)
                return -1;              /* getopt_long has said why */
            if (add_to_selection(options, option - SELECT, table[at].name, optarg) < 0)
                return -1;
        }
    }
    if (argc - optind != 1 || !*argv[optind]) {
        warn(argc - optind < 2 ? "which capture? Try --help" : "one capture at a time; try --help");
        return -1;
    }
    options->capture = argv[optind];
    for (size_t n = strlen(options->capture); n > 1 && options->capture[n - 1] == '/'; n--)
        options->capture[n - 1] = 0;
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
    if (options->output || options->format == TOP) {
        size = snprintf(path, PATH_MAX, "%s", options->output ? options->output : "-");
    } else if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !*name) {
        warn("-o is needed: \"%s\" is no name that the output could have, too", options->capture);
        return -1;
    } else {
        size_t n = strlen(options->capture);
        if (n > 4 && strcmp(options->capture + n - 4, ".pnr") == 0 && options->capture[n - 5] != '/')
            n -= 4;
        size = snprintf(path, PATH_MAX, "%.*s%s", (int)n, options->capture, formats[options->format].suffixes[0]);
    }
    if (size < PATH_MAX)
        return 0;
    warn("the output's name is too long");
    return -1;
}
