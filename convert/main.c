/* The command line of panopticon-convert: options, messages, exit status. The only place that prints them. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
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
#include "pstats.h"
#include "top.h"
#include "trace_json.h"

#define VERSION "0.1"

enum status { ALL = 0, IN_PART = 1, NOTHING = 2 };

/* What viewers take: specs/trace-mapping.md, section 6. */
#define CHROME_EVENTS 5000000
#define CHROME_BYTES 500000000
#define PERFETTO_LEVELS 512

/* A badly damaged capture has more to say than anyone reads. */
#define NOTES_SHOWN 20

static const char usage[] =
    "usage: panopticon-convert CAPTURE [-o FILE] [--format=FORMAT] [--flows=KINDS] [-q]\n"
    "       panopticon-convert CAPTURE --top [--json] [-o FILE] [-q]\n"
    "       panopticon-convert CAPTURE --info\n"
    "\n"
    "Converts what python3 -m panopticon_rec recorded.\n"
    "\n"
    "  CAPTURE             a directory such as run.pnr\n"
    "  -o, --output=FILE   where to write; - is standard output  [CAPTURE's name, .trace and the like]\n"
    "      --format=FORMAT [by the end of FILE's name, else catapult]\n"
    "                        catapult  .trace, .json: for chrome://tracing and ui.perfetto.dev\n"
    "                        folded    .folded: stacks for flamegraph.pl, inferno, speedscope\n"
    "                        pstats    .pstats, .prof: a profile for Python's pstats, snakeviz\n"
    "      --flows=KINDS   catapult: whose slices are joined by arrows: all, none, or some of generator,\n"
    "                      coroutine, async_generator, iterable_coroutine, with commas      [all]\n"
    "      --top           print the functions that took the most time instead; with --json, all\n"
    "      --info          print what is in the capture instead\n"
    "  -q, --quiet         no summary; warnings and errors are still shown\n"
    "  -h, --help          this text\n"
    "      --version       the version\n"
    "\n"
    "Exit status: 0 all converted, 1 converted in part (see the messages), 2 nothing written.\n";

enum format { CATAPULT, FOLDED, PSTATS, TOP };

struct options {
    char *capture;
    const char *output;                 /* NULL = beside the capture */
    enum format format;
    unsigned kinds;
    bool is_info, is_json, is_quiet;
};

struct messages {
    uint64_t n_notes;
    bool is_damaged;
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
    messages->is_damaged |= level == NOTE_DAMAGE;
    if (++messages->n_notes <= NOTES_SHOWN)
        complain("%s", line);
}

/* ---- options ---- */

#define ALL_KINDS (1u << PNR_FUNCTION_GENERATOR | 1u << PNR_FUNCTION_COROUTINE | \
                   1u << PNR_FUNCTION_ASYNC_GENERATOR | 1u << PNR_FUNCTION_ITERABLE_COROUTINE)

static int parse_kinds(const char *text, unsigned *kinds)
{
    static const struct { const char *name; unsigned kinds; } table[] = {
        { "all", ALL_KINDS },
        { "none", 0 },
        { "generator", 1u << PNR_FUNCTION_GENERATOR },
        { "coroutine", 1u << PNR_FUNCTION_COROUTINE },
        { "async_generator", 1u << PNR_FUNCTION_ASYNC_GENERATOR },
        { "iterable_coroutine", 1u << PNR_FUNCTION_ITERABLE_COROUTINE },
    };
    *kinds = 0;
    for (;;) {
        size_t size = strcspn(text, ","), i = 0;
        while (i < sizeof table / sizeof *table &&
               (strlen(table[i].name) != size || memcmp(table[i].name, text, size) != 0))
            i++;
        if (i == sizeof table / sizeof *table) {
            complain("--flows: unknown kind \"%.*s\"; known are generator, coroutine, async_generator, "
                     "iterable_coroutine, all, none", (int)size, text);
            return -1;
        }
        *kinds |= table[i].kinds;
        if (text[size] == 0)
            return 0;
        text += size + 1;
    }
}

static const struct { const char *name, *suffixes[2]; } formats[] = {
    [CATAPULT] = { "catapult", { ".trace", ".json" } },
    [FOLDED] = { "folded", { ".folded", NULL } },
    [PSTATS] = { "pstats", { ".pstats", ".prof" } },
};

static int parse_format(const char *text, enum format *format)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, text) == 0) {
            *format = (enum format)i;
            return 0;
        }
    }
    complain("--format: unknown format \"%s\"; known are catapult, folded, pstats", text);
    return -1;
}

/* The format that the end of the output's name tells. */
static enum format guess_format(const char *output)
{
    size_t size = output ? strlen(output) : 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        for (size_t k = 0; k < 2 && formats[i].suffixes[k]; k++) {
            size_t n = strlen(formats[i].suffixes[k]);
            if (size >= n && strcmp(output + size - n, formats[i].suffixes[k]) == 0)
                return (enum format)i;
        }
    }
    return CATAPULT;
}

/* Which of the options that choose what is written were given. */
struct given {
    bool has_format, has_flows, has_top;
};

/* Settles the format. Returns 0, or -1 for options that do not go together. */
static int settle_format(struct options *options, const struct given *given)
{
    if (given->has_format + given->has_top + options->is_info > 1) {
        complain("--format, --top and --info do not go together");
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
    if (given->has_flows && options->format != CATAPULT) {
        complain("--flows is for catapult");
        return -1;
    }
    return 0;
}

/* Returns 1 to go on, else 0 or -1: the work is done, well or badly. */
static int parse_options(int argc, char **argv, struct options *options)
{
    enum { FLOWS = 256, FORMAT, INFO, JSON, SHOW_TOP, SHOW_VERSION };
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "format", required_argument, NULL, FORMAT },
        { "flows", required_argument, NULL, FLOWS },
        { "top", no_argument, NULL, SHOW_TOP },
        { "json", no_argument, NULL, JSON },
        { "info", no_argument, NULL, INFO },
        { "quiet", no_argument, NULL, 'q' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, SHOW_VERSION },
        { NULL, 0, NULL, 0 },
    };
    struct given given = { false, false, false };
    int option;
    argv[0] = "panopticon-convert";     /* getopt_long's messages begin with it */
    *options = (struct options){ .kinds = ALL_KINDS };
    while ((option = getopt_long(argc, argv, "o:qh", table, NULL)) != -1) {
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
            if (parse_kinds(optarg, &options->kinds) < 0)
                return -1;
            given.has_flows = true;
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
            return -1;                  /* getopt_long has said why */
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

/* ---- output ---- */

/* The file to write. A regular file is written under a temporary name beside its own, and renamed when it is whole. */
struct output {
    char path[PATH_MAX];                /* "-" = standard output */
    int fd;
    bool is_temporary;
};

/* For the signal handler: the temporary file that an interrupted conversion must not leave. */
static char temporary[PATH_MAX];
static volatile sig_atomic_t has_temporary;

static void clean_up(int signal_number)
{
    if (has_temporary)
        unlink(temporary);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void handle_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = clean_up };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);           /* a file that may not grow is a failed write like others */
}

static int name_output(const struct options *options, struct output *output)
{
    int size;
    if (options->output || options->format == TOP) {
        size = snprintf(output->path, PATH_MAX, "%s", options->output ? options->output : "-");
    } else {
        size_t n = strlen(options->capture);
        if (n > 4 && strcmp(options->capture + n - 4, ".pnr") == 0 && options->capture[n - 5] != '/')
            n -= 4;
        size = snprintf(output->path, PATH_MAX, "%.*s%s", (int)n, options->capture,
                        formats[options->format].suffixes[0]);
    }
    if (size >= PATH_MAX) {
        complain("the output's name is too long");
        return -1;
    }
    return 0;
}

static int make_temporary(struct output *output)
{
    char target[PATH_MAX];
    if (realpath(output->path, target))         /* a symbolic link stays one */
        memcpy(output->path, target, PATH_MAX);
    const char *slash = strrchr(output->path, '/');
    size_t directory = slash ? (size_t)(slash + 1 - output->path) : 0;
    if ((size_t)snprintf(temporary, sizeof temporary, "%.*s.panopticon-XXXXXX", (int)directory, output->path) >=
        sizeof temporary) {
        errno = ENAMETOOLONG;
        return -1;
    }
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    output->fd = mkstemp(temporary);
    has_temporary = output->is_temporary = output->fd >= 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (output->fd < 0)
        return -1;
    mode_t mask = umask(0);
    umask(mask);
    return fchmod(output->fd, 0666 & ~mask);
}

static int open_output(const struct options *options, struct output *output)
{
    struct stat status;
    output->is_temporary = false;
    if (name_output(options, output) < 0)
        return -1;
    if (strcmp(output->path, "-") == 0) {
        output->fd = STDOUT_FILENO;
        return 0;
    }
    bool exists = stat(output->path, &status) == 0;
    if (exists && !S_ISREG(status.st_mode))
        output->fd = open(output->path, O_WRONLY | O_CLOEXEC);  /* a device or a pipe; a directory fails here */
    else if (make_temporary(output) < 0 && output->fd >= 0)
        complain("%s: cannot set its mode: %s", output->path, strerror(errno));
    if (output->fd < 0) {
        complain("%s: cannot write: %s", output->path, strerror(errno));
        return -1;
    }
    return 0;
}

static void drop_output(struct output *output)
{
    if (output->fd > STDERR_FILENO)
        close(output->fd);
    if (output->is_temporary)
        unlink(temporary);
    has_temporary = 0;
}

/* Gives the file its name. */
static int keep_output(struct output *output)
{
    bool is_well = output->fd == STDOUT_FILENO || close(output->fd) == 0;
    output->fd = -1;
    if (is_well && (!output->is_temporary || rename(temporary, output->path) == 0)) {
        has_temporary = 0;
        return 0;
    }
    complain("%s: cannot write: %s", output->path, strerror(errno));
    drop_output(output);
    return -1;
}

/* ---- the work ---- */

struct capture {
    struct reader **readers;            /* owned */
    size_t n;
};

static void close_capture(struct capture *capture)
{
    for (size_t i = 0; i < capture->n; i++)
        reader_close(capture->readers[i]);
    free(capture->readers);
}

/* Opens all processes that can be read. Returns 0, or -1 when there is none. */
static int open_capture(const char *path, const struct notes *notes, struct capture *capture)
{
    struct pnr_list list;
    struct stat status;
    struct pnr_err err;
    *capture = (struct capture){ NULL, 0 };
    if (pnr_capture_processes(path, &list, &err) < 0) {
        complain_err(&err);
        return -1;
    }
    capture->readers = calloc(list.n, sizeof *capture->readers);
    for (size_t i = 0; capture->readers && i < list.n; i++) {
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
    if (!capture->readers)
        complain("out of memory");
    pnr_list_clear(&list);
    if (capture->n > 0)
        return 0;
    free(capture->readers);
    return -1;
}

/* True when a later version wrote all that there is. */
static bool is_newer(const struct capture *capture)
{
    bool has_newer = false;
    uint64_t n_blocks = 0;
    for (size_t i = 0; i < capture->n; i++) {
        has_newer |= reader_size(capture->readers[i])->has_newer;
        n_blocks += reader_size(capture->readers[i])->n_blocks;
    }
    return has_newer && n_blocks == 0;
}

static int show_info(const struct options *options, const struct capture *capture)
{
    struct pnr_err err;
    printf("%s: %zu %s\n", options->capture, capture->n, capture->n == 1 ? "process" : "processes");
    for (size_t i = 0; i < capture->n; i++) {
        if (info_print(capture->readers[i], stdout, &err) < 0) {
            complain_err(&err);
            return -1;
        }
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        complain("standard output: cannot write: %s", strerror(errno));
        return -1;
    }
    return 0;
}

/* What was written. */
struct result {
    struct convert_count count;
    uint64_t events, bytes;
};

static void warn_viewers(const struct result *result)
{
    uint64_t events = result->events, bytes = result->bytes, deepest = result->count.spans.deepest;
    if (events > CHROME_EVENTS || bytes > CHROME_BYTES)
        complain("%" PRIu64 " events, %" PRIu64 " MB: more than chrome://tracing can show; open it in Perfetto "
                 "(https://ui.perfetto.dev)", events, bytes / 1000000);
    if (deepest > PERFETTO_LEVELS)
        complain("%" PRIu64 " levels of nesting: Perfetto drops slices deeper than %d", deepest, PERFETTO_LEVELS);
}

static struct trace_json_about describe(const struct capture *capture)
{
    const struct symbols *symbols = reader_symbols(capture->readers[0]);
    struct trace_json_about about = {
        .version = VERSION,
        .command = symbols_fact(symbols, "command"),
        .python = symbols_fact(symbols, "python"),
        .recorder = symbols_fact(symbols, "recorder"),
    };
    symbols_number(symbols, "start_realtime_ns", &about.start_realtime_ns);
    return about;
}

/* Writes the trace to an open output. Returns 0 or -1, having said why. */
static int write_trace(const struct options *options, const struct capture *capture, const struct notes *notes,
                       const struct output *output, struct result *result)
{
    struct pnr_err err;
    int step = -1;
    struct trace_json_about about = describe(capture);
    struct trace_json *trace = trace_json_new(output->fd);
    if (!trace) {
        complain("out of memory");
        return -1;
    }
    if (convert(capture->readers, capture->n, options->kinds, trace_json_sink(trace), notes,
                &result->count, &err) < 0) {
        complain_err(&err);
        goto end;
    }
    if (trace_json_end(trace, &about, &err) < 0) {
        char text[1024];
        complain("%s: %s", output->path, pnr_err_describe(&err, text, sizeof text));
        goto end;
    }
    if (is_newer(capture)) {
        complain("%s: made by a later version: nothing in it can be read", options->capture);
        goto end;
    }
    result->events = trace_json_events(trace);
    result->bytes = trace_json_bytes(trace);
    step = 0;
end:
    trace_json_free(trace);
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
                      struct writer *writer)
{
    if (options->format == FOLDED)
        return folded_write(tree, writer);
    if (options->format == PSTATS)
        return pstats_write(tree, writer);
    const struct top_form form = { options->is_json, terminal_columns(writer->fd), n_lost };
    return top_write(tree, &form, writer);
}

/* The same for the formats that are made of a call tree. */
static int write_tree(const struct options *options, const struct capture *capture, const struct notes *notes,
                      const struct output *output, struct result *result)
{
    struct pnr_err err;
    struct writer writer;
    int step = -1;
    struct call_tree *tree = call_tree_new(options->format == FOLDED);
    if (!tree) {
        complain("out of memory");
        return -1;
    }
    writer_init(&writer, output->fd);
    if (convert(capture->readers, capture->n, options->kinds, &tree->sink, notes, &result->count, &err) < 0) {
        complain_err(&err);
        goto end;
    }
    if (is_newer(capture)) {
        complain("%s: made by a later version: nothing in it can be read", options->capture);
        goto end;
    }
    if (tree->sink.is_broken || print_tree(options, tree, count_lost(capture, result), &writer) < 0) {
        complain("out of memory");
        goto end;
    }
    if (writer_end(&writer, &err) < 0) {
        char text[1024];
        complain("%s: %s", output->path, pnr_err_describe(&err, text, sizeof text));
        goto end;
    }
    if (tree->n_left_out)
        notes_say(notes, NOTE_DAMAGE, "%s: calls left out, as there were too many different stacks: %" PRIu64,
                  options->capture, tree->n_left_out);
    result->bytes = writer.n_bytes;
    step = 0;
end:
    call_tree_free(tree);
    return step;
}

static int convert_capture(const struct options *options, const struct capture *capture, const struct notes *notes)
{
    struct output output;
    struct result result;
    handle_signals();
    if (open_output(options, &output) < 0)
        return -1;
    if ((options->format == CATAPULT ? write_trace : write_tree)(options, capture, notes, &output, &result) < 0) {
        drop_output(&output);
        return -1;
    }
    if (keep_output(&output) < 0)
        return -1;
    if (options->format == CATAPULT)
        warn_viewers(&result);
    if (!options->is_quiet)
        complain("%" PRIu64 " slices, %" PRIu64 " flows, %" PRIu64 " threads: %s, %" PRIu64 " bytes",
                 result.count.spans.slices, result.count.chains, result.count.threads,
                 strcmp(output.path, "-") == 0 ? "standard output" : output.path, result.bytes);
    return 0;
}

/* A file of ours must not get the number of one of these, to which messages would then be written. */
static void open_standard_files(void)
{
    while (fcntl(STDERR_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 || fcntl(STDIN_FILENO, F_GETFD) < 0)
        if (open("/dev/null", O_RDWR) < 0)
            break;
}

int main(int argc, char **argv)
{
    struct options options;
    struct capture capture;
    struct messages messages = { 0, false };
    struct notes notes = { say_note, &messages };
    open_standard_files();
    int step = parse_options(argc, argv, &options);
    if (step <= 0)
        return step < 0 ? NOTHING : ALL;
    if (open_capture(options.capture, &notes, &capture) < 0)
        return NOTHING;
    step = options.is_info ? show_info(&options, &capture) : convert_capture(&options, &capture, &notes);
    close_capture(&capture);
    if (messages.n_notes > NOTES_SHOWN)
        complain("... and %" PRIu64 " messages more", messages.n_notes - NOTES_SHOWN);
    return step < 0 ? NOTHING : messages.is_damaged ? IN_PART : ALL;
}
