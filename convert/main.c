/* The command line of panopticon-convert: options, messages, exit status. The only place that prints them. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/capture.h"
#include "convert.h"
#include "folded.h"
#include "info.h"
#include "jobs.h"
#include "output.h"
#include "perfetto.h"
#include "progress.h"
#include "pstats.h"
#include "split.h"
#include "top.h"
#include "trace_json.h"
#include "verify.h"

#define VERSION "0.1"

enum status { ALL = 0, IN_PART = 1, NOTHING = 2 };

/* What viewers take: specs/trace-mapping.md, section 6. */
#define CHROME_EVENTS 5000000
#define CHROME_BYTES 500000000
#define PERFETTO_LEVELS 512

/* One thread puts the events in order: more cannot keep up with it, unless they compress. */
#define MAX_THREADS 16

/* A badly damaged capture has more to say than anyone reads. */
#define NOTES_SHOWN 20

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

enum format { CATAPULT, PERFETTO, FOLDED, PSTATS, TOP };

struct options {
    char *capture;
    const char *output;                 /* NULL = beside the capture */
    struct selection *selection;        /* owned */
    enum format format;
    struct flows_choice flows;
    unsigned n_threads;
    uint64_t split_size;                /* 0 = one file */
    bool is_logical, is_info, is_verify, is_json, is_quiet;
};

struct messages {
    uint64_t n_notes;
    uint64_t n_damaged;                 /* those that tell of damage */
};

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
    char line[PATH_MAX + 1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *c = line; *c; c++) {     /* what a capture says must not steer a terminal */
        bool is_long = c[0] == '\xc2' && (c[1] & 0xe0) == 0x80;         /* U+0080 to U+009F */
        if (is_long)
            *c++ = '?';
        if (is_long || (unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    fflush(stdout);
    progress_hide();
    fprintf(stderr, "panopticon-convert: %s\n", line);
}

static void complain_err(const struct pnr_err *err)
{
    char text[1024];
    complain("%s", pnr_err_describe(err, text, sizeof text));
}

static void say_note(void *arg, enum note_level level, const char *line)
{
    struct messages *messages = arg;
    messages->n_damaged += level == NOTE_DAMAGE;
    if (++messages->n_notes <= NOTES_SHOWN)
        complain("%s", line);
}

/* ---- options ---- */

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
    for (;;) {
        size_t size = strcspn(text, ","), i = 0;
        while (i < sizeof table / sizeof *table &&
               (strlen(table[i].name) != size || memcmp(table[i].name, text, size) != 0))
            i++;
        if (i == sizeof table / sizeof *table) {
            complain("--flows: unknown kind \"%.*s\"; known are generator, coroutine, async_generator, "
                     "iterable_coroutine, creation, all, none", (int)size, text);
            return -1;
        }
        kinds |= table[i].kinds;
        if (text[size] == 0)
            break;
        text += size + 1;
    }
    flows->chains = kinds & ALL_KINDS;
    flows->creations = kinds == CREATION ? ALL_KINDS : kinds & CREATION ? flows->chains : 0;
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
        complain("--split: \"%s\" is no size: a number and k, M, G or T, such as 200M", text);
        return -1;
    }
    *size = (uint64_t)number << shift;
    if (*size >= SPLIT_LEAST_SIZE)
        return 0;
    complain("--split: files of %d bytes are the smallest", SPLIT_LEAST_SIZE);
    return -1;
}

static int parse_threads(const char *text, unsigned *n)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || number == 0) {
        complain("-j: \"%s\" is no number of threads", text);
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
    complain("--format: unknown format \"%s\"; known are catapult, perfetto, folded, pstats", text);
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
    if (!formats[options->format].trace) {
        complain("--split is for catapult and perfetto");
        return -1;
    }
    if (options->output && strcmp(options->output, "-") == 0) {
        complain("--split makes files: -o needs a name");
        return -1;
    }
    if (!options->selection && !(options->selection = selection_new())) {
        complain("out of memory");
        return -1;
    }
    return 0;
}

/* Settles the format. Returns 0, or -1 for options that do not go together. */
static int settle_format(struct options *options, const struct given *given)
{
    bool writes_nothing = options->is_info || options->is_verify;
    const char *name = options->is_info ? "--info" : "--verify";
    if (given->has_format + given->has_top + writes_nothing > 1) {
        complain("--format, --top and %s do not go together", name);
        return -1;
    }
    if (writes_nothing && options->selection) {
        complain("%s tells of the whole capture: no part of it can be chosen", name);
        return -1;
    }
    if (writes_nothing && (options->is_logical || options->split_size)) {
        complain("%s writes no trace: no %s", name, options->is_logical ? "--logical" : "--split");
        return -1;
    }
    if (options->is_verify && options->output) {
        complain("--verify writes nothing: no -o");
        return -1;
    }
    if (options->is_json && !given->has_top) {
        complain("--json is for --top");
        return -1;
    }
    if (given->has_top)
        options->format = TOP;
    else if (!given->has_format)
        options->format = guess_format(options->output);
    const char *of_traces = given->has_flows ? "--flows" : options->is_logical ? "--logical" : NULL;
    if (of_traces && !formats[options->format].trace) {
        complain("%s is for catapult and perfetto", of_traces);
        return -1;
    }
    if (options->flows.has_tasks && !formats[options->format].trace) {
        complain("--tasks is for catapult and perfetto");
        return -1;
    }
    return settle_split(options);
}

static int add_to_selection(struct options *options, int option, const char *name, const char *text)
{
    if (!options->selection && !(options->selection = selection_new())) {
        complain("out of memory");
        return -1;
    }
    const char *problem = selection_add(options->selection, (enum selection_option)option, text);
    if (problem)
        complain("--%s: \"%s\" is %s", name, text, problem);
    return problem ? -1 : 0;
}

/* Returns 1 to go on, else 0 or -1: the work is done, well or badly. */
static int parse_options(int argc, char **argv, struct options *options)
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
    *options = (struct options){ .flows = { .chains = ALL_KINDS }, .n_threads = count_processors() };
    while ((option = getopt_long(argc, argv, "o:j:qh", table, &at)) != -1) {
        switch (option) {
        case 'o':
            options->output = optarg;
            if (!*optarg) {
                complain("-o needs a name");
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
            puts("panopticon-convert " VERSION);
            return 0;
        default:
            if (option < SELECT)
                return -1;              /* getopt_long has said why */
            if (add_to_selection(options, option - SELECT, table[at].name, optarg) < 0)
                return -1;
        }
    }
    if (argc - optind != 1 || !*argv[optind]) {
        complain(argc == optind ? "which capture? Try --help" : "one capture at a time; try --help");
        return -1;
    }
    options->capture = argv[optind];
    for (size_t n = strlen(options->capture); n > 1 && options->capture[n - 1] == '/'; n--)
        options->capture[n - 1] = 0;
    return settle_format(options, &given) < 0 ? -1 : 1;
}

/* Where to write, if no option says so: beside the capture. Returns 0, or -1 when the name is too long. */
static int name_output(const struct options *options, char path[PATH_MAX])
{
    int size;
    if (options->output || options->format == TOP) {
        size = snprintf(path, PATH_MAX, "%s", options->output ? options->output : "-");
    } else {
        size_t n = strlen(options->capture);
        if (n > 4 && strcmp(options->capture + n - 4, ".pnr") == 0 && options->capture[n - 5] != '/')
            n -= 4;
        size = snprintf(path, PATH_MAX, "%.*s%s", (int)n, options->capture, formats[options->format].suffixes[0]);
    }
    if (size < PATH_MAX)
        return 0;
    complain("the output's name is too long");
    return -1;
}

/* ---- the work ---- */

struct capture {
    struct reader **readers;            /* owned, like the next */
    struct convert_odd *odd;            /* of each */
    size_t n;
};

static void close_capture(struct capture *capture)
{
    for (size_t i = 0; i < capture->n; i++)
        reader_close(capture->readers[i]);
    free(capture->readers);
    free(capture->odd);
}

/* Opens all processes that can be read. Returns 0, or -1 when there is none. */
static int open_capture(const char *path, const struct notes *notes, struct capture *capture)
{
    struct pnr_list list;
    struct stat status;
    struct pnr_err err;
    *capture = (struct capture){ NULL, NULL, 0 };
    if (pnr_capture_processes(path, &list, &err) < 0) {
        complain_err(&err);
        return -1;
    }
    capture->readers = calloc(list.n, sizeof *capture->readers);
    capture->odd = calloc(list.n, sizeof *capture->odd);
    bool has_memory = capture->readers && capture->odd;
    for (size_t i = 0; has_memory && i < list.n; i++) {
        char process_path[PATH_MAX];
        snprintf(process_path, sizeof process_path, "%s/%s", path, list.names[i]);
        struct reader *reader = reader_open(process_path, notes, &err);
        if (reader)
            capture->readers[capture->n++] = reader;
        else if (lstat(process_path, &status) == 0 || errno != ENOENT)
            notes_err(notes, NOTE_DAMAGE, &err);
        else
            notes_say(notes, NOTE_FACT, "%s: dropped meanwhile (--max-size, --last)", process_path);
    }
    if (!has_memory)
        complain("out of memory");
    pnr_list_clear(&list);
    if (capture->n > 0)
        return 0;
    close_capture(capture);
    return -1;
}

/* True when a later version wrote all that there is. */
static bool is_newer(const struct capture *capture)
{
    bool has_newer = false;
    uint64_t n_found = 0;
    for (size_t i = 0; i < capture->n; i++) {
        has_newer |= reader_size(capture->readers[i])->has_newer;
        n_found += reader_size(capture->readers[i])->n_found;
    }
    return has_newer && n_found == 0;
}

/* What was written. */
struct result {
    struct convert_count count;
    uint64_t events, bytes;             /* of the text, not compressed; of several files the most */
    uint64_t file_bytes;
    uint64_t n_files;
};

/* One of the files of a trace. */
struct part {
    struct split *split;
    const struct result *before;        /* of the files before it, like the next */
    uint64_t events_before;
    const struct stacks *from;          /* what is open at its begin; NULL = that is not known */
    struct stacks *to;                  /* what is open at its end goes there */
    bool is_again;                      /* another window is to be tried instead */
    bool is_nothing;                    /* there is nothing in it: no file */
};

/* Gives the sink what is wanted of the capture, that part of it if there are some, and says what was odd, unless notes is
 * NULL. Returns 0 or -1. */
static int convert_all(const struct options *options, const struct capture *capture, const struct notes *notes,
                       const struct part *part, struct sink *sink, struct convert_count *count, struct pnr_err *err)
{
    struct convert_how how = { .selection = options->selection, .flows = options->flows,
                               .is_logical = options->is_logical };
    if (part) {
        how.from = part->from;
        how.to = part->to;
    }
    if (convert(capture->readers, capture->n, &how, sink, count, capture->odd, err) < 0)
        return -1;
    if (notes)
        convert_say(capture->readers, capture->n, capture->odd, notes);
    return 0;
}

/* Makes all ready to be converted again. Returns 0 or -1, having said why. */
static int rewind_capture(const struct capture *capture)
{
    for (size_t i = 0; i < capture->n; i++) {
        if (reader_rewind(capture->readers[i]) < 0) {
            complain("out of memory");
            return -1;
        }
    }
    return 0;
}

static int end_standard_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    complain("standard output: cannot write: %s", strerror(errno));
    return -1;
}

static int show_info(const struct options *options, const struct capture *capture)
{
    struct pnr_err err;
    printf("%s: %zu %s\n", options->capture, capture->n, capture->n == 1 ? "process" : "processes");
    for (size_t i = 0; i < capture->n; i++) {
        if (info_print(capture->readers[i], stdout, options->is_verify, &err) < 0) {
            complain_err(&err);
            return -1;
        }
    }
    if (options->is_verify)
        return rewind_capture(capture);
    puts("The kinds of events, gaps, and losses that only the data tell of: --info --verify");
    return end_standard_output();
}

static void print_count(uint64_t n, const char *one, const char *more)
{
    printf("%" PRIu64 " %s, ", n, n == 1 ? one : more);
}

/* Says what is damaged, and how much there is. */
static int verify_capture(const struct options *options, const struct capture *capture, const struct notes *notes,
                          const struct messages *messages, struct jobs *jobs)
{
    struct verify_sum sum;
    struct pnr_err err;
    for (size_t i = 0; i < capture->n; i++)
        reader_use(capture->readers[i], jobs);
    if (verify(capture->readers, capture->n, notes, capture->odd, &sum, &err) < 0) {
        complain_err(&err);
        return -1;
    }
    if (is_newer(capture)) {
        complain("%s: made by a later version: nothing in it can be read", options->capture);
        return -1;
    }
    if (options->is_quiet)
        return end_standard_output();
    printf("%s: ", options->capture);
    print_count(capture->n, "process", "processes");
    print_count(sum.threads, "thread", "threads");
    print_count(sum.blocks, "block", "blocks");
    print_count(sum.events, "event", "events");
    printf("%" PRIu64 " bytes: ", sum.bytes);
    if (messages->n_damaged == 0)
        printf("all whole\n");
    else
        printf("damaged, %" PRIu64 " %s above\n", messages->n_damaged, messages->n_damaged == 1 ? "finding" : "findings");
    return end_standard_output();
}

/* Says what the viewers cannot take, and what helps. */
static void warn_viewers(const struct result *result, const char *path, enum format format)
{
    uint64_t events = result->events, bytes = result->bytes, deepest = result->count.spans.deepest;
    if (format == CATAPULT && (events > CHROME_EVENTS || bytes > CHROME_BYTES))
        complain("%" PRIu64 " events, %" PRIu64 " MB: more than chrome://tracing can show%s; try --split 200M, or "
                 "Perfetto (https://ui.perfetto.dev), best with -o NAME.pftrace", events, bytes / 1000000,
                 output_suffix(path) ? ", compressed or not" : "");
    if (deepest > PERFETTO_LEVELS)
        complain("%" PRIu64 " levels of nesting: Perfetto drops slices deeper than %d; try --max-depth %d", deepest,
                 PERFETTO_LEVELS, PERFETTO_LEVELS);
}

static struct trace_about describe(const struct capture *capture)
{
    const struct symbols *symbols = reader_symbols(capture->readers[0]);
    struct trace_about about = {
        .version = VERSION,
        .command = symbols_fact(symbols, "command"),
        .python = symbols_fact(symbols, "python"),
        .recorder = symbols_fact(symbols, "recorder"),
    };
    symbols_number(symbols, "start_realtime_ns", &about.start_realtime_ns);
    return about;
}

/* What is asked while a trace is written. */
struct work {
    const struct capture *capture;
    const struct output *output;
    struct trace *trace;
    const struct part *part;            /* NULL = there is one file */
    bool is_quiet;
};

static void show_progress(const struct work *work)
{
    struct progress progress = { .bytes = output_bytes(work->output), .events = trace_events(work->trace) };
    if (work->part) {
        progress.bytes += work->part->before->file_bytes;
        progress.events += work->part->events_before;
    }
    for (size_t i = 0; i < work->capture->n; i++) {
        const struct reader_size *size = reader_size(work->capture->readers[i]);
        progress.n_read += size->n_blocks;
        progress.n_blocks += size->n_found;
    }
    progress_show(&progress);
}

static void watch(void *arg)
{
    const struct work *work = arg;
    if (work->part && trace_bytes(work->trace) > split_most(work->part->split))
        trace_sink(work->trace)->is_broken = true;
    if (!work->is_quiet && progress_is_due())
        show_progress(work);
}

/* Judges a part whose text is complete. Returns whether it becomes a file. */
static bool is_file(struct part *part, const struct result *result)
{
    const struct split_result judged = { result->bytes, result->events, result->count.spans.cut };
    part->is_again = !split_judge(part->split, &judged);
    part->is_nothing = result->events == 0 && part->before->n_files > 0;
    return !part->is_again && !part->is_nothing;
}

/* Writes the trace, or that part of it, to an open output, and keeps it if it becomes a file. notes: NULL if what was
 * odd will be said later. Returns 0 or -1, having said why. */
static int write_trace(const struct options *options, const struct capture *capture, const struct notes *notes,
                       struct output *output, struct part *part, struct result *result)
{
    struct pnr_err err;
    int step = -1;
    struct trace_about about = describe(capture);
    struct trace *trace = trace_new(formats[options->format].trace, &about, output, options->n_threads);
    if (!trace) {
        complain("out of memory");
        return -1;
    }
    struct work work = { capture, output, trace, part, options->is_quiet };
    output_watch(output, watch, &work);
    if (convert_all(options, capture, notes, part, trace_sink(trace), &result->count, &err) < 0 ||
        trace_end(trace, &err) < 0) {
        complain_err(&err);
        goto end;
    }
    if (is_newer(capture) && !output_is_broken(output)) {
        complain("%s: made by a later version: nothing in it can be read", options->capture);
        goto end;
    }
    result->events = trace_events(trace);
    result->bytes = trace_bytes(trace);
    if (!output_is_broken(output) && part && !is_file(part, result))
        step = 0;
    else if (output_keep(output, &err) < 0)
        complain_err(&err);
    else
        step = 0;
end:
    progress_hide();
    trace_free(trace);
    return step;
}

/* The columns of the terminal that fd is; 0 for what is none. */
static size_t terminal_columns(int fd)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    if (!isatty(fd))
        return 0;
    if (columns && strtoul(columns, NULL, 10))
        return strtoul(columns, NULL, 10);
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* Events that the recorder lost, those too of which no record tells. */
static uint64_t count_lost(const struct capture *capture, const struct result *result)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < capture->n; i++) {
        uint64_t n;
        if (symbols_number(reader_symbols(capture->readers[i]), "lost", &n))
            lost += n;
    }
    return lost > result->count.spans.lost ? lost : result->count.spans.lost;
}

static int print_tree(const struct options *options, const struct call_tree *tree, uint64_t n_lost,
                      const struct output *output, struct writer *writer)
{
    if (options->format == FOLDED)
        return folded_write(tree, writer);
    if (options->format == PSTATS)
        return pstats_write(tree, writer);
    const struct top_form form = { options->is_json, terminal_columns(output_fd(output)), n_lost };
    return top_write(tree, &form, writer);
}

/* The same for the formats that are made of a call tree. */
static int write_tree(const struct options *options, const struct capture *capture, const struct notes *notes,
                      struct output *output, struct result *result)
{
    struct pnr_err err;
    struct writer writer;
    int step = -1;
    struct call_tree *tree = call_tree_new(options->format == FOLDED);
    if (!tree) {
        complain("out of memory");
        return -1;
    }
    writer_init_output(&writer, output);
    if (convert_all(options, capture, notes, NULL, &tree->sink, &result->count, &err) < 0) {
        complain_err(&err);
        goto end;
    }
    if (is_newer(capture)) {
        complain("%s: made by a later version: nothing in it can be read", options->capture);
        goto end;
    }
    if (tree->sink.is_broken || print_tree(options, tree, count_lost(capture, result), output, &writer) < 0) {
        complain("out of memory");
        goto end;
    }
    if (writer_end(&writer, &err) < 0 || output_keep(output, &err) < 0) {
        complain_err(&err);
        goto end;
    }
    if (tree->n_left_out)
        notes_say(notes, NOTE_DAMAGE, "%s: calls left out, as there were too many different stacks: %" PRIu64,
                  options->capture, tree->n_left_out);
    step = 0;
end:
    call_tree_free(tree);
    return step;
}

/* Fixes the times that are wanted. Returns 0 or -1, having said why. */
static int settle_selection(const struct options *options, const struct capture *capture)
{
    if (!options->selection)
        return 0;
    const struct selection_extent extent = convert_extent(capture->readers, capture->n);
    const char *problem = selection_settle(options->selection, &extent);
    if (problem)
        complain("%s: %s", options->capture, problem);
    return problem ? -1 : 0;
}

static void say_result(const struct options *options, const struct result *result, const char *path)
{
    const struct convert_count *count = &result->count;
    uint64_t slices = count->spans.slices;
    const char *nothing = slices == 0 && options->selection ? "nothing of what was selected is in the capture: " : "";
    char creations[40] = "", tasks[40] = "";
    if (options->flows.creations)
        snprintf(creations, sizeof creations, "%" PRIu64 " creations, ", count->creations);
    if (options->flows.has_tasks)
        snprintf(tasks, sizeof tasks, "%" PRIu64 " tasks, ", count->tasks);
    complain("%s%" PRIu64 " slices, %" PRIu64 " flows, %s%s%" PRIu64 " threads: %s, %" PRIu64 " bytes", nothing, slices,
             count->chains, creations, tasks, count->threads, strcmp(path, "-") == 0 ? "standard output" : path,
             result->file_bytes);
}

/* Writes a file, or that part of the trace. Returns 0 or -1, having said why. */
static int write_file(const struct options *options, const struct capture *capture, const struct notes *notes,
                      struct jobs *jobs, const char *path, struct part *part, struct result *result)
{
    struct pnr_err err;
    struct output *output = output_open(path, jobs, &err);
    if (!output) {
        complain_err(&err);
        return -1;
    }
    for (size_t i = 0; i < capture->n; i++)
        reader_use(capture->readers[i], jobs);
    int step = formats[options->format].trace ? write_trace(options, capture, notes, output, part, result) :
                                             write_tree(options, capture, notes, output, result);
    result->file_bytes = output_bytes(output);
    result->n_files = 1;
    output_close(output);
    return step;
}

/* ---- several files ---- */

/* x.trace.gz becomes x-K.trace.gz. Returns 0, or -1 when the name is too long. */
static int name_part(const char *path, uint64_t k, char name[PATH_MAX])
{
    const char *slash = strrchr(path, '/'), *begin = slash ? slash + 1 : path;
    size_t size = strlen(path) - output_suffix(path), n = size;
    while (n > 0 && path + n > begin && path[n - 1] != '.')
        n--;
    n = path + n > begin + 1 ? n - 1 : size;            /* a name of nothing but an end has none */
    if (snprintf(name, PATH_MAX, "%.*s-%" PRIu64 "%s", (int)n, path, k, path + n) < PATH_MAX)
        return 0;
    complain("the output's name is too long");
    return -1;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void add_result(struct result *total, const struct result *result)
{
    struct spans_count *spans = &total->count.spans;
    spans->deepest = greater(spans->deepest, result->count.spans.deepest);
    spans->slices += result->count.spans.slices;
    total->count.chains += result->count.chains;
    total->count.creations += result->count.creations;
    total->count.tasks += result->count.tasks;
    total->file_bytes += result->file_bytes;
    total->events = greater(total->events, result->events);
    total->bytes = greater(total->bytes, result->bytes);
    total->n_files++;
}

/* The times can be given to --from and --to as they are. */
static void say_part(const struct result *result, const char *name, uint64_t from_ns, uint64_t to_ns)
{
    char to[64] = "the end";
    if (to_ns < UINT64_MAX)
        snprintf(to, sizeof to, "%" PRIu64 ".%09" PRIu64 " s", to_ns / 1000000000, to_ns % 1000000000);
    complain("%s: from %" PRIu64 ".%09" PRIu64 " s to %s, %" PRIu64 " slices, %" PRIu64 " bytes", name,
             from_ns / 1000000000, from_ns % 1000000000, to, result->count.spans.slices, result->file_bytes);
}

/* What is kept between the parts. */
struct between {
    struct stacks stacks[2];            /* what is open at the begin of a part, by turns, and at its end */
    struct convert_odd *odd;            /* owned; what was odd before it */
};

/* Tries a part. Returns 0 or -1, having said why. */
static int write_part(const struct options *options, const struct capture *capture, struct jobs *jobs, const char *name,
                      struct between *between, struct part *part, struct result *result)
{
    memcpy(between->odd, capture->odd, capture->n * sizeof *between->odd);
    stacks_clear(part->to);
    if (write_file(options, capture, NULL, jobs, name, part, result) < 0 || rewind_capture(capture) < 0)
        return -1;
    if (part->is_again)
        memcpy(capture->odd, between->odd, capture->n * sizeof *between->odd);
    return 0;
}

/* Writes the parts one after another. total: of all files. Returns 0 or -1, having said why. */
static int write_parts(const struct options *options, const struct capture *capture, struct jobs *jobs,
                       const char *path, struct split *split, struct between *between, struct result *total)
{
    uint64_t from_ns, to_ns, events = 0;
    unsigned n = 0;                     /* parts so far, of which no file need have come */
    while (split_next(split, &from_ns, &to_ns)) {
        struct part part = { .split = split, .before = total, .events_before = events, .to = &between->stacks[n % 2],
                             .from = n ? &between->stacks[(n + 1) % 2] : NULL };
        struct result result;
        char name[PATH_MAX];
        selection_set_window(options->selection, from_ns, to_ns);
        if (name_part(path, total->n_files + 1, name) < 0 ||
            write_part(options, capture, jobs, name, between, &part, &result) < 0)
            return -1;
        n += !part.is_again;
        if (part.is_again || part.is_nothing)
            continue;
        add_result(total, &result);
        events += result.events;
        if (!options->is_quiet)
            say_part(&result, name, from_ns, to_ns);
    }
    return 0;
}

static void say_parts(const struct options *options, const struct split *split, const struct result *total,
                      const char *path)
{
    char first[PATH_MAX], last[PATH_MAX], next[PATH_MAX];
    if (total->n_files == 0 || name_part(path, 1, first) < 0 || name_part(path, total->n_files, last) < 0 ||
        name_part(path, total->n_files + 1, next) < 0)
        return;
    if (split_n_large(split))
        complain("files larger than %" PRIu64 " bytes, as less cannot be cut off: %" PRIu64, options->split_size,
                 split_n_large(split));
    warn_viewers(total, path, options->format);
    if (access(next, F_OK) == 0)
        complain("%s is there from before: it is none of these files", next);
    if (!options->is_quiet)
        complain("%" PRIu64 " slices, %" PRIu64 " flows: %s%s%s, %" PRIu64 " bytes", total->count.spans.slices,
                 total->count.chains, first, total->n_files > 1 ? " to " : "", total->n_files > 1 ? last : "",
                 total->file_bytes);
}

/* Returns 0; -1, having said why, when there is no file; or 1 when there are some, but not all. */
static int convert_parts(const struct options *options, const struct capture *capture, const struct notes *notes,
                         struct jobs *jobs, const char *path)
{
    struct result total = { .n_files = 0 };
    struct between between = { .odd = calloc(capture->n, sizeof *between.odd) };
    struct split *split = split_new(capture->readers, capture->n, convert_zero_ns(capture->readers, capture->n),
                                    selection_from(options->selection), selection_to(options->selection),
                                    options->split_size);
    int step = -1;
    if (!between.odd || !split) {
        complain("out of memory");
        goto end;
    }
    step = write_parts(options, capture, jobs, path, split, &between, &total);
    convert_say(capture->readers, capture->n, capture->odd, notes);
    say_parts(options, split, &total, path);
    step = step < 0 && total.n_files > 0 ? 1 : step;
end:
    split_free(split);
    stacks_clear(&between.stacks[0]);
    stacks_clear(&between.stacks[1]);
    free(between.odd);
    return step;
}

static int convert_capture(const struct options *options, const struct capture *capture, const struct notes *notes,
                           struct jobs *jobs)
{
    char path[PATH_MAX];
    struct result result;
    if (settle_selection(options, capture) < 0 || name_output(options, path) < 0)
        return -1;
    if (!options->is_quiet && formats[options->format].trace)
        progress_begin();
    if (options->split_size)
        return convert_parts(options, capture, notes, jobs, path);
    if (write_file(options, capture, notes, jobs, path, NULL, &result) < 0)
        return -1;
    if (formats[options->format].trace)
        warn_viewers(&result, path, options->format);
    if (!options->is_quiet)
        say_result(options, &result, path);
    return 0;
}

/* A file of ours must not get the number of one of these, to which messages would then be written. */
static void open_standard_files(void)
{
    while (fcntl(STDERR_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 || fcntl(STDIN_FILENO, F_GETFD) < 0)
        if (open("/dev/null", O_RDWR) < 0)
            break;
}

/* Does what the options say. Returns 0; -1, having said why, when nothing was written; 1 when not all was. */
static int work_on(const struct options *options, const struct capture *capture, const struct notes *notes,
                   const struct messages *messages, struct jobs *jobs)
{
    int step = options->is_info ? show_info(options, capture) : 0;
    if (step == 0 && options->is_verify)
        return verify_capture(options, capture, notes, messages, jobs);
    return options->is_info ? step : convert_capture(options, capture, notes, jobs);
}

int main(int argc, char **argv)
{
    struct options options;
    struct capture capture;
    struct messages messages = { 0, 0 };
    struct notes notes = { say_note, &messages };
    open_standard_files();
    int step = parse_options(argc, argv, &options);
    if (step <= 0 || open_capture(options.capture, &notes, &capture) < 0) {
        selection_free(options.selection);
        return step == 0 ? ALL : NOTHING;
    }
    struct jobs *jobs = jobs_new(options.n_threads);
    if (!jobs)
        complain("out of memory");
    step = jobs ? work_on(&options, &capture, &notes, &messages, jobs) : -1;
    close_capture(&capture);
    jobs_free(jobs);
    selection_free(options.selection);
    if (messages.n_notes > NOTES_SHOWN)
        complain("... and %" PRIu64 " messages more", messages.n_notes - NOTES_SHOWN);
    return step < 0 ? NOTHING : step > 0 || messages.n_damaged ? IN_PART : ALL;
}
