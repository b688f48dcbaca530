/* Reads a process directory and does with it all that the converter can. Writes the trace, a piece of it, and all of it
 * in pieces to /dev/null. Writes what comes from a call tree, the tables, and what --info and --verify print. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "convert/convert.h"
#include "convert/write/exceptions.h"
#include "convert/write/folded.h"
#include "convert/info.h"
#include "convert/jobs.h"
#include "convert/write/output.h"
#include "convert/write/perfetto.h"
#include "convert/write/pstats.h"
#include "convert/write/report.h"
#include "convert/provenance.h"
#include "convert/slices/split.h"
#include "convert/write/task_table.h"
#include "convert/write/top.h"
#include "convert/write/trace_json.h"
#include "convert/verify.h"
#include "fuzz.h"

/* A block of a hundred bytes may call 16,384 times a function whose name has 65,535: a trace may be as long as the disk
 * has room, and so it is full here before long. */
#define DISK_SIZE (32 << 20)

/* Nor is there an end of folded stacks, of which each may have 256 KiB. */
#define FOLDED_NODES 1000

static const struct flows_choice all_flows = { .flows = 0x1e, .spawns = 0x1e, .has_tasks = true, .has_works = true };

/* A trace in pieces: bytes of each, and how many are tried. */
#define PIECE_SIZE 2000
#define PIECES 12

static void ignore(void *arg, enum diagnostic_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

/* A sink on its way to the trace. */
struct disk {
    struct sink sink;                   /* first: a sink is a disk */
    struct trace *trace;
};

static struct sink *check_disk(struct sink *sink)
{
    struct disk *disk = (struct disk *)sink;
    struct sink *next = trace_sink(disk->trace);
    sink->is_broken = next->is_broken = next->is_broken || trace_bytes(disk->trace) > DISK_SIZE;
    return next;
}

static void process_event(struct sink *sink, const struct sink_process *process)
{
    struct sink *next = check_disk(sink);
    next->process(next, process);
}

static void thread_event(struct sink *sink, const struct sink_thread *thread)
{
    struct sink *next = check_disk(sink);
    next->thread(next, thread);
}

static void slice_event(struct sink *sink, const struct slice *slice)
{
    struct sink *next = check_disk(sink);
    if (slice->end_ns <= slice->begin_ns)
        abort();
    next->slice(next, slice);
}

static void recorder_event(struct sink *sink, const struct sink_recorder_event *event)
{
    struct sink *next = check_disk(sink);
    next->recorder_event(next, event);
}

static void remark_event(struct sink *sink, const struct sink_remark *remark)
{
    struct sink *next = check_disk(sink);
    next->remark(next, remark);
}

static void instant_event(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    struct sink *next = check_disk(sink);
    next->instant(next, thread, ns, text);
}

static void flow_event(struct sink *sink, const struct flow_event *event)
{
    struct sink *next = check_disk(sink);
    next->flow_event(next, event);
}

static void task_event(struct sink *sink, const struct task_event *event)
{
    struct sink *next = check_disk(sink);
    next->task(next, event);
}

/* A piece out of the middle; NULL when there is none. */
static struct selection *select_some(struct reader *reader)
{
    struct selection *selection = selection_new();
    const struct selection_extent extent = convert_extent(&reader, 1);
    if (!selection || selection_add(selection, SELECT_FROM, "1200ns") || selection_add(selection, SELECT_TO, "-100ns") ||
        selection_add(selection, SELECT_EXCLUDE, "*f") || selection_add(selection, SELECT_MAX_DEPTH, "5") ||
        selection_add(selection, SELECT_MIN_DURATION, "2ns") || selection_add(selection, SELECT_THREAD, "*[!2]"))
        abort();
    if (!selection_settle(selection, &extent))
        return selection;
    selection_free(selection);
    return NULL;
}

/* Returns the bytes of the trace. */
static uint64_t convert_it(struct reader *reader, const struct trace_format *format, const struct convert_options *how,
                           const struct diagnostics *diagnostics)
{
    struct pnr_err err;
    struct jobs *jobs = jobs_new(1);
    struct output *output = output_open("/dev/null", jobs, &err);
    struct trace_about about = { .version = "", .command = symbols_property(reader_symbols(reader), "command") };
    symbols_number(reader_symbols(reader), "start_realtime_ns", &about.start_realtime_ns);
    struct trace *trace = trace_new(format, &about, output, 1);
    struct disk disk = { { .process = process_event, .thread = thread_event, .slice = slice_event,
                           .recorder_event = recorder_event, .instant = instant_event, .remark = remark_event,
                           .flow_event = flow_event, .task = task_event }, trace };
    struct convert_count count;
    struct anomalies anomalies = { .lost = 0 };
    if (convert(&reader, 1, how, &disk.sink, &count, &anomalies, &err) == 0)
        trace_end(trace, &err);
    anomalies_report(&reader, 1, convert_zero_ns(&reader, 1), &anomalies, diagnostics);
    uint64_t n = trace_bytes(trace);
    trace_free(trace);
    output_close(output);
    jobs_free(jobs);
    return n;
}

static void convert_pieces(struct reader *reader, const struct diagnostics *diagnostics)
{
    struct split *split = split_new(&reader, 1, convert_zero_ns(&reader, 1), 0, UINT64_MAX, PIECE_SIZE);
    struct selection *selection = selection_new();
    struct open_stack_snapshot stacks[2] = { { .n = 0 }, { .n = 0 } };
    uint64_t from_ns, to_ns, next_ns = 0;
    unsigned n = 0;
    if (!split || !selection)
        abort();
    for (int i = 0; i < PIECES && split_next(split, &from_ns, &to_ns); i++) {
        if (from_ns != next_ns || to_ns <= from_ns)
            abort();
        const struct convert_options how = { .selection = selection, .flows = all_flows, .is_logical = n % 2,
                                         .open_at_from = n ? &stacks[(n + 1) % 2] : NULL, .open_at_to = &stacks[n % 2] };
        selection_set_window(selection, from_ns, to_ns);
        open_stack_snapshot_clear(&stacks[n % 2]);
        struct split_result result = { .bytes = convert_it(reader, &trace_json, &how, diagnostics), .events = 10,
                                       .n_open = 1 };
        if (split_judge(split, &result)) {
            next_ns = to_ns;
            n++;
        }
        if (reader_rewind(reader) < 0)
            abort();
    }
    open_stack_snapshot_clear(&stacks[0]);
    open_stack_snapshot_clear(&stacks[1]);
    selection_free(selection);
    split_free(split);
}

static void describe_all(struct reader *reader, const struct diagnostics *diagnostics, FILE *nowhere)
{
    struct verify_sum sum;
    struct anomalies anomalies = { .lost = 0 };
    struct pnr_err err;
    info_print(reader, nowhere, false, &err);
    info_print(reader, nowhere, true, &err);
    if (reader_rewind(reader) < 0)
        abort();
    verify(&reader, 1, diagnostics, &anomalies, &sum, &err);
}

static void add_up(struct reader *reader, int fd, bool has_roots)
{
    static struct writer writer;
    struct call_tree *tree = call_tree_new(has_roots);
    struct convert_count count;
    struct anomalies anomalies = { .lost = 0 };
    struct pnr_err err;
    if (!tree)
        abort();
    writer_init(&writer, fd);
    const struct convert_options how = { .flows = all_flows };
    if (convert(&reader, 1, &how, &tree->sink, &count, &anomalies, &err) == 0 && !tree->sink.is_broken) {
        if (!has_roots) {
            pstats_write(tree, &writer);
            top_write(tree, &(struct top_form){ .columns = 80 }, &writer);
            top_write(tree, &(struct top_form){ .is_json = true }, &writer);
        } else if (tree->n_nodes <= FOLDED_NODES) {
            folded_write(tree, &writer);
        }
    }
    call_tree_free(tree);
}

static void gather_report(struct reader *reader, int fd)
{
    static struct writer writer;
    struct report *report = report_new();
    struct convert_count count;
    struct anomalies anomalies = { .lost = 0 };
    struct pnr_err err;
    if (!report)
        abort();
    writer_init(&writer, fd);
    const struct convert_options how = { .flows = all_flows };
    const struct provenance provenance = { .capture = "run.pnr", .readers = &reader, .anomalies = &anomalies, .n = 1 };
    if (convert(&reader, 1, &how, report_sink(report), &count, &anomalies, &err) == 0 &&
        !report_sink(report)->is_broken && !report_tree(report)->sink.is_broken) {
        provenance_put(&provenance, &writer);
        report_put(report, &writer);
    }
    report_free(report);
}

/* Prints the tables of exceptions and of tasks. */
static void tabulate(struct reader *reader, int fd, bool has_tasks)
{
    static struct writer writer;
    struct exceptions *exceptions = exceptions_new();
    struct task_table *tasks = task_table_new();
    struct convert_count count;
    struct anomalies anomalies = { .lost = 0 };
    struct pnr_err err;
    if (!exceptions || !tasks)
        abort();
    writer_init(&writer, fd);
    struct sink *sink = has_tasks ? task_table_sink(tasks) : exceptions_sink(exceptions);
    const struct convert_options how = { .flows = all_flows };
    if (convert(&reader, 1, &how, sink, &count, &anomalies, &err) == 0 && !sink->is_broken) {
        for (int is_json = 0; is_json < 2 && !has_tasks; is_json++)
            exceptions_write(exceptions, is_json, 0, &writer);
        for (int is_json = 0; is_json < 2 && has_tasks; is_json++)
            task_table_write(tasks, &(struct top_form){ .columns = 80, .is_json = is_json }, &writer);
    }
    task_table_free(tasks);
    exceptions_free(exceptions);
}

static int choose_any(void *arg, const struct reader *reader)
{
    (void)arg, (void)reader;
    return 1;
}

static bool is_chosen(void *arg, uint32_t thread)
{
    (void)arg;
    return thread % 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static FILE *nowhere;
    const uint8_t *parts[FUZZ_PARTS];
    size_t sizes[FUZZ_PARTS];
    struct diagnostics diagnostics = { ignore, NULL };
    struct pnr_err err;
    if (!nowhere && !(nowhere = fopen("/dev/null", "w")))
        abort();
    fuzz_split(bytes, size, parts, sizes);
    for (int i = 0; i < FUZZ_PARTS - 1; i++)
        fuzz_write(fuzz_names[i], parts[i], sizes[i]);
    fuzz_write_live(parts[FUZZ_PARTS - 1], sizes[FUZZ_PARTS - 1]);
    for (int i = 0; i < 11; i++) {
        const struct reader_choice choice = { choose_any, is_chosen, NULL };
        struct reader *reader = reader_open(fuzz_directory(), i == 7 ? &choice : NULL, &diagnostics, &err);
        if (!reader)
            break;
        struct selection *selection = i == 1 ? select_some(reader) : NULL;
        const struct convert_options how = { .selection = selection, .flows = all_flows, .is_logical = i == 2 };
        if (i == 0 || i == 7 || selection)
            convert_it(reader, &trace_json, &how, &diagnostics);
        else if (i == 2)
            convert_it(reader, &perfetto, &how, &diagnostics);
        else if (i == 3 || i == 4)
            add_up(reader, fileno(nowhere), i == 4);
        else if (i == 5)
            convert_pieces(reader, &diagnostics);
        else if (i == 6)
            describe_all(reader, &diagnostics, nowhere);
        else if (i == 8)
            gather_report(reader, fileno(nowhere));
        else if (i > 8)
            tabulate(reader, fileno(nowhere), i == 10);
        selection_free(selection);
        reader_close(reader);
    }
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    return fuzz_mutate_capture(bytes, size, max, seed);
}
