/* The work of panopticon-convert: opens a capture, converts it and reports what came of it. Sets the exit status. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/slices/request_flows.h"
#include "convert/slices/split.h"
#include "convert/write/exceptions.h"
#include "convert/write/folded.h"
#include "convert/write/output.h"
#include "convert/write/pstats.h"
#include "convert/write/report.h"
#include "convert/write/task_table.h"
#include "convert/write/top.h"
#include "convert/write/trace.h"
#include "format/capture.h"
#include "align.h"
#include "convert.h"
#include "provenance.h"
#include "info.h"
#include "jobs.h"
#include "learn_rates.h"
#include "messages.h"
#include "open_capture.h"
#include "options.h"
#include "progress.h"
#include "sightings.h"
#include "verify.h"

enum status { ALL = 0, IN_PART = 1, NOTHING = 2 };

/* What viewers take: specs/trace-mapping.md, section 6. */
#define CHROME_EVENTS 5000000
#define CHROME_BYTES 500000000
#define PERFETTO_LEVELS 512

/* Limits the lines about damage: a badly damaged capture has more than anyone reads. */
#define MAX_DIAGNOSTICS 20

struct messages {
    uint64_t n_diagnostics;
    uint64_t n_damaged;                 /* those that report damage */
    uint64_t n_kept;
    struct kept_message kept[MAX_DIAGNOSTICS];     /* those that are printed; owned */
};

static void keep_message(struct messages *messages, enum diagnostic_level level, const char *line)
{
    char *text = strdup(line);
    if (text)
        messages->kept[messages->n_kept++] = (struct kept_message){ level, text };
}

static void clear_messages(struct messages *messages)
{
    for (uint64_t i = 0; i < messages->n_kept; i++)
        free(messages->kept[i].text);
}

static void print_diagnostic(void *arg, enum diagnostic_level level, const char *line)
{
    struct messages *messages = arg;
    messages->n_damaged += level == DIAGNOSTIC_DAMAGE;
    if (++messages->n_diagnostics > MAX_DIAGNOSTICS)
        return;
    warn("%s", line);
    keep_message(messages, level, line);
}

/* ---- the capture ---- */

/* Reports that there is no capture at this path, and what to do with the file that is there. */
static void warn_no_capture(const char *path, const struct pnr_err *err)
{
    char text[PATH_MAX + 256];
    struct stat status;
    size_t size = strlen(path);
    bool is_file = err->code == PNR_E_NOT_CAPTURE && stat(path, &status) == 0 && S_ISREG(status.st_mode);
    enum format format = is_file ? options_find_format(path) : ANY_FORMAT;
    pnr_err_describe(err, text, sizeof text);
    if (format == CATAPULT || format == PERFETTO)
        warn("%s; this is a trace: open it with panopticon view %s", text, path);
    else if (is_file && size > 3 && strcmp(path + size - 3, ".py") == 0)
        warn("%s; this is a program: record it with panopticon record %s", text, path);
    else
        warn("%s", text);
}

/* Opens all processes that can be read and are selected. Returns 0, or -1 when there is none. */
static int open_capture(const struct options *options, const struct diagnostics *diagnostics, struct capture *capture)
{
    struct pnr_err err;
    bool reads_all = options->captures.n > 1 && align_reads_all(&options->align);
    if (capture_open(capture, &options->captures, reads_all ? NULL : options->selection, diagnostics, &err) < 0) {
        if (err.code != PNR_OK)
            warn_no_capture(options->capture, &err);
        return -1;
    }
    if (align_captures(capture, &options->align, diagnostics, &err) == 0)
        return 0;
    if (err.code != PNR_OK)
        warn_err(&err);
    capture_close(capture);
    return -1;
}

/* What was written to an output. */
struct result {
    struct convert_count count;
    uint64_t events, bytes;             /* of the text, not compressed; of several files the maximum */
    uint64_t file_bytes;
    uint64_t n_files;
};

/* One of the files of a trace. */
struct part {
    struct split *split;
    const struct result *before;        /* of the files before it, like the next */
    uint64_t events_before;
    const struct open_stack_snapshot *from;     /* what is open at its begin; NULL = that is not known */
    struct open_stack_snapshot *to;     /* what is open at its end goes there */
    bool is_again;                      /* another window is to be tried instead */
    bool is_nothing;                    /* there is nothing in it: no file */
};

static void report_anomalies(const struct capture *capture, const struct diagnostics *diagnostics)
{
    anomalies_report(capture->readers, capture->n, convert_zero_ns(capture->readers, capture->n), capture->anomalies,
                     diagnostics);
}

/* Converts the selected part of the capture, or that file of it, and reports anomalies unless diagnostics is NULL.
 * Returns 0 or -1. */
static int convert_all(const struct options *options, const struct capture *capture,
                       const struct diagnostics *diagnostics,
                       const struct part *part, struct sink *sink, struct convert_count *count, struct pnr_err *err)
{
    struct convert_options how = { .selection = options->selection, .flows = options->flows,
                               .rates = capture->has_rates ? capture->rates : NULL,
                               .groups = capture->groups, .is_logical = options->is_logical };
    if (part) {
        how.open_at_from = part->from;
        how.open_at_to = part->to;
    }
    if (convert(capture->readers, capture->n, &how, sink, count, capture->anomalies, err) < 0)
        return -1;
    if (diagnostics)
        report_anomalies(capture, diagnostics);
    return 0;
}

/* Prepares the capture to be converted again. Returns 0, or -1 after reporting why not. */
static int rewind_capture(const struct capture *capture)
{
    for (size_t i = 0; i < capture->n; i++) {
        if (reader_rewind(capture->readers[i]) < 0) {
            warn("out of memory");
            return -1;
        }
    }
    return 0;
}

static int flush_standard_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    warn("standard output: cannot write: %s", strerror(errno));
    return -1;
}

static int print_info(const struct options *options, const struct capture *capture)
{
    struct pnr_err err;
    printf("%s: %zu %s\n", options->capture, capture->n, capture->n == 1 ? "process" : "processes");
    for (size_t i = 0; i < capture->n; i++) {
        if (info_print(capture->readers[i], stdout, options->is_verify, &err) < 0) {
            warn_err(&err);
            return -1;
        }
    }
    if (options->is_verify)
        return rewind_capture(capture);
    puts("For kinds of events, unrecorded regions and losses, which only the data have: add --verify");
    return flush_standard_output();
}

static void print_count(uint64_t n, const char *one, const char *more)
{
    printf("%" PRIu64 " %s, ", n, n == 1 ? one : more);
}

/* Reports what is damaged, and how much there is. */
static int verify_capture(const struct options *options, const struct capture *capture,
                          const struct diagnostics *diagnostics,
                          const struct messages *messages, struct jobs *jobs)
{
    struct verify_sum sum;
    struct pnr_err err;
    for (size_t i = 0; i < capture->n; i++)
        reader_set_jobs(capture->readers[i], jobs);
    if (verify(capture->readers, capture->n, diagnostics, capture->anomalies, &sum, &err) < 0) {
        warn_err(&err);
        return -1;
    }
    if (capture_is_newer(capture)) {
        warn("%s: recorded by a later version: convert it with that version", options->capture);
        return -1;
    }
    if (options->is_quiet)
        return flush_standard_output();
    printf("%s: ", options->capture);
    print_count(capture->n, "process", "processes");
    print_count(sum.threads, "thread", "threads");
    print_count(sum.blocks, "block", "blocks");
    print_count(sum.events, "event", "events");
    printf("%" PRIu64 " bytes: ", sum.bytes);
    if (messages->n_damaged == 0)
        printf("all whole\n");
    else
        printf("damaged, %" PRIu64 " %s above\n", messages->n_damaged,
               messages->n_damaged == 1 ? "finding" : "findings");
    return flush_standard_output();
}

/* Warns of what the viewers cannot show, with what helps. */
static void warn_viewers(const struct result *result, const char *path, enum format format)
{
    uint64_t events = result->events, bytes = result->bytes, max_depth = result->count.stacks.max_depth;
    if (format == CATAPULT && (events > CHROME_EVENTS || bytes > CHROME_BYTES))
        warn("%" PRIu64 " events, %" PRIu64 " MB: more than chrome://tracing can show%s; record with --mine, or try "
             "--split 200M, or Perfetto (https://ui.perfetto.dev), best with -o NAME.pftrace", events, bytes / 1000000,
             output_suffix(path) ? ", compressed or not" : "");
    if (max_depth > PERFETTO_LEVELS)
        warn("%" PRIu64 " levels of nesting: Perfetto discards slices deeper than %d; try --max-depth %d", max_depth,
             PERFETTO_LEVELS, PERFETTO_LEVELS);
}

static struct trace_about describe_capture(const struct capture *capture)
{
    const struct symbols *symbols = reader_symbols(capture->readers[0]);
    struct trace_about about = {
        .version = PANOPTICON_VERSION,
        .command = symbols_property(symbols, "command"),
        .python = symbols_property(symbols, "python"),
        .recorder = symbols_property(symbols, "recorder"),
    };
    symbols_number(symbols, "start_realtime_ns", &about.start_realtime_ns);
    return about;
}

/* What watch_trace needs while a trace is written. */
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

static void watch_trace(void *arg)
{
    const struct work *work = arg;
    if (work->part && trace_bytes(work->trace) > split_max_size(work->part->split))
        trace_sink(work->trace)->is_broken = true;
    if (!work->is_quiet && progress_is_due())
        show_progress(work);
}

/* Judges a part whose text is complete. Returns whether it becomes a file. */
static bool becomes_file(struct part *part, const struct result *result)
{
    const struct split_result judged = { result->bytes, result->events, result->count.stacks.cut };
    part->is_again = !split_judge(part->split, &judged);
    part->is_nothing = result->events == 0 && part->before->n_files > 0;
    return !part->is_again && !part->is_nothing;
}

/* Writes the trace, or that part of it, to an open output, and keeps it if it becomes a file. diagnostics: NULL if
 * anomalies are reported later. Returns 0, or -1 after reporting why not. */
static int write_trace(const struct options *options, const struct capture *capture,
                       const struct request_flows *requests, const struct diagnostics *diagnostics,
                       struct output *output, struct part *part, struct result *result)
{
    struct pnr_err err;
    int status = -1;
    struct trace_about about = describe_capture(capture);
    struct trace *trace = trace_new(options_trace(options), &about, output, options->n_threads);
    if (!trace) {
        warn("out of memory");
        return -1;
    }
    if (requests)
        trace_show_requests(trace, requests);
    if (options->flows.has_tasks && !options->is_logical)
        trace_show_lag(trace);
    struct work work = { capture, output, trace, part, options->is_quiet };
    output_watch(output, watch_trace, &work);
    if (convert_all(options, capture, diagnostics, part, trace_sink(trace), &result->count, &err) < 0 ||
        trace_end(trace, &err) < 0) {
        warn_err(&err);
        goto end;
    }
    if (capture_is_newer(capture) && !output_is_broken(output)) {
        warn("%s: recorded by a later version: convert it with that version", options->capture);
        goto end;
    }
    result->events = trace_events(trace);
    result->bytes = trace_bytes(trace);
    if (!output_is_broken(output) && part && !becomes_file(part, result))
        status = 0;
    else if (output_keep(output, &err) < 0)
        warn_err(&err);
    else
        status = 0;
end:
    progress_hide();
    trace_free(trace);
    return status;
}

/* Returns the columns of the terminal at fd; 0 when there is no terminal. */
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

/* Counts the events that the recorder lost, also those without a record. */
static uint64_t count_lost(const struct capture *capture, const struct result *result)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < capture->n; i++) {
        uint64_t n;
        if (symbols_number(reader_symbols(capture->readers[i]), "lost", &n))
            lost += n;
    }
    return lost > result->count.stacks.lost ? lost : result->count.stacks.lost;
}

static int print_report(const struct options *options, const struct capture *capture, struct report *report,
                        const struct messages *messages, uint64_t n_lost, struct writer *writer)
{
    const struct provenance provenance = {
        .capture = options->capture, .readers = capture->readers, .anomalies = capture->anomalies, .n = capture->n,
        .selection = options->selection, .messages = messages->kept, .n_messages = messages->n_diagnostics,
        .n_kept = messages->n_kept, .lost = n_lost, .left_out_calls = report_tree(report)->n_excluded };
    writer_put(writer, "{", 1);
    int result = provenance_put(&provenance, writer);
    writer_put(writer, ",\n", 2);
    if (result == 0)
        result = report_put(report, writer);
    writer_put(writer, "}\n", 2);
    return result;
}

static int print_tree(const struct options *options, const struct call_tree *tree, uint64_t n_lost,
                      const struct output *output, struct writer *writer)
{
    if (options->format == FOLDED)
        return folded_write(tree, writer);
    if (options->format == PSTATS)
        return pstats_write(tree, writer);
    const struct top_form form = { options->is_json, options->is_busy, terminal_columns(output_fd(output)), n_lost };
    return top_write(tree, &form, writer);
}

/* Writes a format that is made of a call tree to an open output. Returns 0, or -1 after reporting why not. */
static int write_tree(const struct options *options, const struct capture *capture,
                      const struct diagnostics *diagnostics,
                      struct output *output, struct result *result)
{
    struct pnr_err err;
    struct writer writer;
    int status = -1;
    struct report *report = options->format == REPORT_DATA ? report_new() : NULL;
    struct call_tree *own = options->format == REPORT_DATA ? NULL : call_tree_new(options->format == FOLDED);
    if (!report && !own) {
        warn("out of memory");
        return -1;
    }
    const struct call_tree *tree = report ? report_tree(report) : own;
    struct sink *sink = report ? report_sink(report) : &own->sink;
    writer_init_output(&writer, output);
    if (convert_all(options, capture, diagnostics, NULL, sink, &result->count, &err) < 0) {
        warn_err(&err);
        goto end;
    }
    if (own)
        call_tree_settle(own);
    if (capture_is_newer(capture)) {
        warn("%s: recorded by a later version: convert it with that version", options->capture);
        goto end;
    }
    if (tree->n_excluded)
        diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE,
                           "%s: calls left out, as there were too many different stacks: %" PRIu64,
                           options->capture, tree->n_excluded);
    uint64_t n_lost = count_lost(capture, result);
    if (sink->is_broken || tree->sink.is_broken ||
        (report ? print_report(options, capture, report, diagnostics->arg, n_lost, &writer)
                : print_tree(options, tree, n_lost, output, &writer)) < 0) {
        warn("out of memory");
        goto end;
    }
    if (writer_end(&writer, &err) < 0 || output_keep(output, &err) < 0) {
        warn_err(&err);
        goto end;
    }
    if (options->format == PSTATS && result->count.stacks.slices == 0)
        warn("the profile is empty: Python's pstats cannot read it");
    status = 0;
end:
    report_free(report);
    call_tree_free(own);
    return status;
}

/* Writes the table of exceptions to an open output. Returns 0, or -1 after reporting why not. */
static int write_exceptions(const struct options *options, const struct capture *capture,
                            const struct diagnostics *diagnostics, struct output *output, struct result *result)
{
    struct pnr_err err;
    struct writer writer;
    int status = -1;
    struct exceptions *exceptions = exceptions_new();
    if (!exceptions) {
        warn("out of memory");
        return -1;
    }
    struct sink *sink = exceptions_sink(exceptions);
    writer_init_output(&writer, output);
    if (convert_all(options, capture, diagnostics, NULL, sink, &result->count, &err) < 0)
        warn_err(&err);
    else if (capture_is_newer(capture))
        warn("%s: recorded by a later version: convert it with that version", options->capture);
    else if (exceptions_write(exceptions, options->is_json, count_lost(capture, result), &writer) < 0)
        warn("out of memory");
    else if (writer_end(&writer, &err) < 0 || output_keep(output, &err) < 0)
        warn_err(&err);
    else
        status = 0;
    exceptions_free(exceptions);
    return status;
}

/* Writes the table of tasks to an open output. Returns 0, or -1 after reporting why not. */
static int write_tasks(const struct options *options, const struct capture *capture,
                       const struct diagnostics *diagnostics, struct output *output, struct result *result)
{
    struct pnr_err err;
    struct writer writer;
    int status = -1;
    struct task_table *table = task_table_new();
    if (!table) {
        warn("out of memory");
        return -1;
    }
    writer_init_output(&writer, output);
    if (convert_all(options, capture, diagnostics, NULL, task_table_sink(table), &result->count, &err) < 0) {
        warn_err(&err);
        goto end;
    }
    const struct top_form form = { .is_json = options->is_json, .n_lost = count_lost(capture, result) };
    if (capture_is_newer(capture))
        warn("%s: recorded by a later version: convert it with that version", options->capture);
    else if (task_table_write(table, &form, &writer) < 0)
        warn("out of memory");
    else if (writer_end(&writer, &err) < 0 || output_keep(output, &err) < 0)
        warn_err(&err);
    else
        status = 0;
end:
    task_table_free(table);
    return status;
}

/* Settles --from and --to, once the capture is open. Returns 0, or -1 after reporting why not. */
static int settle_times(const struct options *options, const struct capture *capture)
{
    if (selection_is_all(options->selection))
        return 0;
    const struct selection_extent extent = convert_extent(capture->readers, capture->n);
    const char *problem = selection_settle(options->selection, &extent);
    if (problem)
        warn("%s: %s", options->capture, problem);
    return problem ? -1 : 0;
}

#define ARROWS_SIZE 120                 /* three numbers and words */

/* Describes how many flows there are, and what else was asked for. */
static const char *count_arrows(const struct options *options, const struct convert_count *count,
                                char arrows[ARROWS_SIZE])
{
    char spawns[40] = "", tasks[40] = "";
    if (options->flows.spawns)
        snprintf(spawns, sizeof spawns, ", %" PRIu64 " creations", count->spawns);
    if (options->flows.has_tasks)
        snprintf(tasks, sizeof tasks, ", %" PRIu64 " tasks", count->tasks);
    snprintf(arrows, ARROWS_SIZE, "%" PRIu64 " flows%s%s", count->flows, spawns, tasks);
    return arrows;
}

static void report_result(const struct options *options, const struct result *result, const char *path)
{
    const struct convert_count *count = &result->count;
    const char *nothing = count->stacks.slices == 0 && !selection_is_all(options->selection) ?
        "nothing in the capture matches the selection: " : "";
    char arrows[ARROWS_SIZE];
    warn("%s%" PRIu64 " slices, %s, %" PRIu64 " threads: %s, %" PRIu64 " bytes", nothing, count->stacks.slices,
         count_arrows(options, count, arrows), count->threads, strcmp(path, "-") == 0 ? "standard output" : path,
         result->file_bytes);
}

/* Writes a file, or a part of the trace. Returns 0, or -1 after reporting why not. */
static int write_file(const struct options *options, const struct capture *capture,
                      const struct request_flows *requests, const struct diagnostics *diagnostics,
                      struct jobs *jobs, const char *path, struct part *part, struct result *result)
{
    struct pnr_err err;
    struct output *output = output_open(path, jobs, &err);
    if (!output) {
        warn_err(&err);
        return -1;
    }
    for (size_t i = 0; i < capture->n; i++)
        reader_set_jobs(capture->readers[i], jobs);
    int status = options_trace(options) ? write_trace(options, capture, requests, diagnostics, output, part, result) :
                 options->has_exceptions ? write_exceptions(options, capture, diagnostics, output, result) :
                 options->is_top && options->flows.has_tasks ? write_tasks(options, capture, diagnostics, output, result) :
                                           write_tree(options, capture, diagnostics, output, result);
    result->file_bytes = output_bytes(output);
    result->n_files = 1;
    output_close(output);
    return status;
}

/* ---- several files ---- */

/* Names a part: x.trace.gz becomes x-K.trace.gz. Returns 0, or -1 after reporting that the name is too long. */
static int name_part(const char *path, uint64_t k, char name[PATH_MAX])
{
    const char *slash = strrchr(path, '/'), *begin = slash ? slash + 1 : path;
    size_t size = strlen(path) - output_suffix(path), n = size;
    while (n > 0 && path + n > begin && path[n - 1] != '.')
        n--;
    n = path + n > begin + 1 ? n - 1 : size;            /* such as .trace */
    if (snprintf(name, PATH_MAX, "%.*s-%" PRIu64 "%s", (int)n, path, k, path + n) < PATH_MAX)
        return 0;
    warn("the name of the output is too long");
    return -1;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void add_result(struct result *total, const struct result *result)
{
    struct stack_count *stacks = &total->count.stacks;
    stacks->max_depth = max_of(stacks->max_depth, result->count.stacks.max_depth);
    stacks->slices += result->count.stacks.slices;
    total->count.flows += result->count.flows;
    total->count.spawns += result->count.spawns;
    total->count.tasks += result->count.tasks;
    total->file_bytes += result->file_bytes;
    total->events = max_of(total->events, result->events);
    total->bytes = max_of(total->bytes, result->bytes);
    total->n_files++;
}

/* Reports a part, with times that --from and --to take. */
static void report_part(const struct result *result, const char *name, uint64_t from_ns, uint64_t to_ns)
{
    char to[64] = "the end";
    if (to_ns < UINT64_MAX)
        snprintf(to, sizeof to, "%" PRIu64 ".%09" PRIu64 " s", to_ns / 1000000000, to_ns % 1000000000);
    warn("%s: from %" PRIu64 ".%09" PRIu64 " s to %s, %" PRIu64 " slices, %" PRIu64 " bytes", name,
         from_ns / 1000000000, from_ns % 1000000000, to, result->count.stacks.slices, result->file_bytes);
}

/* What is kept from one part to the next. */
struct between {
    struct open_stack_snapshot stacks[2];       /* open at the begin and at the end of a part: they swap roles */
    struct anomalies *anomalies;        /* owned; what was known before it */
};

/* Writes a part, which may turn out too large. Returns 0, or -1 after reporting why not. */
static int write_part(const struct options *options, const struct capture *capture, struct jobs *jobs, const char *name,
                      struct between *between, struct part *part, struct result *result)
{
    memcpy(between->anomalies, capture->anomalies, capture->n * sizeof *between->anomalies);
    open_stack_snapshot_clear(part->to);
    if (write_file(options, capture, NULL, NULL, jobs, name, part, result) < 0 || rewind_capture(capture) < 0)
        return -1;
    if (part->is_again)
        memcpy(capture->anomalies, between->anomalies, capture->n * sizeof *between->anomalies);
    return 0;
}

/* Writes the parts one after another, and adds up their results. Returns 0, or -1 after reporting why not. */
static int write_parts(const struct options *options, const struct capture *capture, struct jobs *jobs,
                       const char *path, struct split *split, struct between *between, struct result *total)
{
    uint64_t from_ns, to_ns, events = 0;
    unsigned n = 0;                     /* parts so far, also those that became no file */
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
            report_part(&result, name, from_ns, to_ns);
    }
    return 0;
}

static void report_parts(const struct options *options, const struct split *split, const struct result *total,
                         const char *path)
{
    char first[PATH_MAX], last[PATH_MAX], next[PATH_MAX], arrows[ARROWS_SIZE];
    if (total->n_files == 0 || name_part(path, 1, first) < 0 || name_part(path, total->n_files, last) < 0 ||
        name_part(path, total->n_files + 1, next) < 0)
        return;
    if (split_n_oversized(split))
        warn("files larger than %" PRIu64 " bytes, since they cannot be split further: %" PRIu64, options->split_size,
             split_n_oversized(split));
    warn_viewers(total, path, options->format);
    if (access(next, F_OK) == 0)
        warn("%s is from an earlier conversion, and does not belong to these files", next);
    if (!options->is_quiet)
        warn("%" PRIu64 " slices, %s: %s%s%s, %" PRIu64 " bytes", total->count.stacks.slices,
             count_arrows(options, &total->count, arrows), first, total->n_files > 1 ? " to " : "",
             total->n_files > 1 ? last : "", total->file_bytes);
}

/* Returns whether the path can be that of a regular file; if not, reports it. */
static bool can_be_file(const char *path)
{
    struct stat status;
    bool becomes_file = path[strlen(path) - 1] != '/' && (stat(path, &status) < 0 || S_ISREG(status.st_mode));
    if (!becomes_file)
        warn("--split needs the name of a regular file; %s is not one", path);
    return becomes_file;
}

/* Writes several files. Returns 0; -1 when there is none, or 1 when some are missing, after reporting why. */
static int convert_parts(const struct options *options, const struct capture *capture,
                         const struct diagnostics *diagnostics,
                         struct jobs *jobs, const char *path)
{
    struct result total = { .n_files = 0 };
    struct between between = { .anomalies = calloc(capture->n, sizeof *between.anomalies) };
    struct split *split = split_new(capture->readers, capture->n, convert_zero_ns(capture->readers, capture->n),
                                    selection_from(options->selection), selection_to(options->selection),
                                    options->split_size);
    int status = -1;
    if (!between.anomalies || !split) {
        warn("out of memory");
        goto end;
    }
    status = write_parts(options, capture, jobs, path, split, &between, &total);
    report_anomalies(capture, diagnostics);
    report_parts(options, split, &total, path);
    status = status < 0 && total.n_files > 0 ? 1 : status;
end:
    split_free(split);
    open_stack_snapshot_clear(&between.stacks[0]);
    open_stack_snapshot_clear(&between.stacks[1]);
    free(between.anomalies);
    return status;
}

/* Learns what is needed to estimate calls that were not recorded. In logical time nothing is. Returns 0, or -1 after
 * reporting why not. */
static int learn_rates(const struct options *options, struct capture *capture, struct jobs *jobs)
{
    struct pnr_err err;
    if (options->is_exact || options->is_logical)
        return 0;
    int status = rates_learn(capture->readers, capture->n, options->selection, jobs, capture->rates, &err);
    if (status < 0)
        warn_err(&err);
    capture->has_rates = status > 0;
    return status < 0 ? -1 : 0;
}

/* Writes a file. Of several captures a trace has arrows between them. Returns 0, or -1 after reporting why not. */
static int write_with_requests(const struct options *options, const struct capture *capture,
                               const struct diagnostics *diagnostics, struct jobs *jobs, const char *path,
                               struct result *result)
{
    struct pnr_err err;
    struct sightings sightings = { .n = 0 };
    struct request_flows requests;
    if (capture->from.n < 2 || !options_trace(options) || !options->flows.flows)
        return write_file(options, capture, NULL, diagnostics, jobs, path, NULL, result);
    int status = sightings_gather(capture->readers, capture->n, options->selection, NULL, &sightings, &err);
    if (status < 0) {
        warn_err(&err);
    } else if (request_flows_make(&requests, &sightings, convert_zero_ns(capture->readers, capture->n)) < 0) {
        warn("out of memory");
        status = -1;
    } else {
        if (sightings.n_left_out)
            diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE, "ids of requests without arrows, as there are too many: "
                               "%" PRIu64, sightings.n_left_out);
        status = write_file(options, capture, &requests, diagnostics, jobs, path, NULL, result);
        request_flows_clear(&requests);
    }
    sightings_clear(&sightings);
    return status;
}

static int convert_capture(const struct options *options, struct capture *capture,
                           const struct diagnostics *diagnostics,
                           struct jobs *jobs)
{
    char path[PATH_MAX];
    struct result result;
    if (settle_times(options, capture) < 0 || options_name_output(options, path) < 0 ||
        learn_rates(options, capture, jobs) < 0)
        return -1;
    if (!options->is_quiet && options_trace(options))
        progress_begin();
    if (options->split_size)
        return can_be_file(path) ? convert_parts(options, capture, diagnostics, jobs, path) : -1;
    if (write_with_requests(options, capture, diagnostics, jobs, path, &result) < 0)
        return -1;
    if (options_trace(options))
        warn_viewers(&result, path, options->format);
    if (!options->is_quiet)
        report_result(options, &result, path);
    return 0;
}

/* Opens the standard files that are closed: else an output could get the number of one, and messages would go into
 * it. */
static void open_standard_files(void)
{
    while (fcntl(STDERR_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 || fcntl(STDIN_FILENO, F_GETFD) < 0)
        if (open("/dev/null", O_RDWR) < 0)
            break;
}

/* Does what the options ask for. Returns 0; -1 when nothing was written, 1 when not all was, after reporting why. */
static int run_options(const struct options *options, struct capture *capture,
                       const struct diagnostics *diagnostics,
                       const struct messages *messages, struct jobs *jobs)
{
    int status = options->is_info ? print_info(options, capture) : 0;
    if (status == 0 && options->is_verify)
        return verify_capture(options, capture, diagnostics, messages, jobs);
    return options->is_info ? status : convert_capture(options, capture, diagnostics, jobs);
}

int main(int argc, char **argv)
{
    struct options options;
    struct capture capture;
    struct messages messages = { .n_diagnostics = 0 };
    struct diagnostics diagnostics = { print_diagnostic, &messages };
    open_standard_files();
    if (argc > 0)
        messages_begin(argv[0]);
    int status = options_parse(argc, argv, &options);
    if (status <= 0 || open_capture(&options, &diagnostics, &capture) < 0) {
        selection_free(options.selection);
        clear_messages(&messages);
        return status == 0 ? ALL : NOTHING;
    }
    struct jobs *jobs = jobs_new(options.n_threads);
    if (!jobs)
        warn("out of memory");
    status = jobs ? run_options(&options, &capture, &diagnostics, &messages, jobs) : -1;
    capture_close(&capture);
    jobs_free(jobs);
    selection_free(options.selection);
    if (messages.n_diagnostics > MAX_DIAGNOSTICS)
        warn("... and %" PRIu64 " more messages", messages.n_diagnostics - MAX_DIAGNOSTICS);
    clear_messages(&messages);
    return status < 0 ? NOTHING : status > 0 || messages.n_damaged ? IN_PART : ALL;
}
