#include "convert.h"

#include <stdlib.h>
#include <string.h>

#include "convert/slices/lazy_metadata.h"
#include "child_starts.h"
#include "identities.h"
#include "ledger_cursor.h"
#include "sample_counters.h"
#include "merge.h"
#include "thread_cursor.h"

/* A process while it is converted. */
struct process_conversion {
    struct converted_process process;
    struct slice_rules rules;
    struct merge merge;
    struct thread_cursor *cursors;      /* owned, like the next */
    struct thread_cursor **heap;
    uint32_t *tids;                     /* of the threads in the trace */
    const struct pnr_name **own_threads;    /* all that are no greenlets, by the kernel's id, then by number; owned */
    size_t n_own_threads;
    struct ledger_cursor ledger;
    struct child_starts children;
};

struct conversion {
    struct reader **readers;
    size_t n;
    struct convert_options options;
    struct sink *sink;
    struct lazy_metadata lazy;
    struct flows flows;
    struct convert_count *count;
    struct anomalies *anomalies;        /* of each process; borrowed */
    uint64_t zero_ns;
    uint32_t *pids;                     /* in the trace, by process; owned */
    uint64_t *positions;                /* of logical time, by process; owned; NULL: times are those of the clock */
    bool is_all;                        /* nothing is selected */
    size_t next;                        /* the process that begins next */
    bool has_process;                   /* `one` is the process before it */
    struct process_conversion one;
};

/* ---- threads ---- */

/* Announces a thread, whose number is thread->order, to the sink. Returns whether it is selected. */
static bool announce_thread(const struct conversion *conversion, const struct reader *reader,
                            struct sink_thread *thread)
{
    char text[IDENTITY_NAME_SIZE];
    struct sink *sink = conversion->sink;
    thread->name = thread_name(symbols_thread(reader_symbols(reader), thread->order), thread->order, text);
    if (sink->thread)
        sink->thread(sink, thread);
    uint32_t own_id = thread->is_greenlet ? thread->tid : thread->tid % IDENTITY_LIMIT;
    return selection_has_thread(conversion->options.selection, thread->tid, own_id, thread->name);
}

static int by_kernel_id(const void *a, const void *b)
{
    const struct pnr_name *x = *(const struct pnr_name *const *)a, *y = *(const struct pnr_name *const *)b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Lists the threads in which greenlets may run. Returns 0, or -1 when out of memory. */
static int list_own_threads(struct process_conversion *one)
{
    const struct symbols *symbols = one->process.pipeline.symbols;
    if (!one->process.n_tracks)
        return 0;
    one->own_threads = calloc(symbols->n_threads, sizeof *one->own_threads);
    for (size_t i = 0; one->own_threads && i < symbols->n_threads; i++)
        if (symbols->threads[i].kind == PNR_THREAD_OWN)
            one->own_threads[one->n_own_threads++] = &symbols->threads[i];
    if (one->n_own_threads)
        qsort(one->own_threads, one->n_own_threads, sizeof *one->own_threads, by_kernel_id);
    return one->own_threads ? 0 : -1;
}

/* Returns the number of the thread in which a greenlet runs: the latest before it with its kernel's id. 0: not known. */
static uint32_t thread_of_greenlet(const struct process_conversion *one, uint32_t number)
{
    const struct pnr_name *greenlet = symbols_thread(one->process.pipeline.symbols, number);
    size_t low = 0, high = one->n_own_threads;
    while (greenlet && low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_kernel_id(&one->own_threads[middle], &greenlet) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_known = greenlet && greenlet->number && low > 0 && one->own_threads[low - 1]->number == greenlet->number;
    return is_known ? one->own_threads[low - 1]->index : 0;
}

static bool starts_hidden(const struct conversion *conversion, const struct process_conversion *one, bool is_wanted)
{
    return !conversion->is_all && (one->process.from_ns || !is_wanted);
}

static void begin_threads(const struct conversion *conversion, struct process_conversion *one)
{
    struct converted_process *process = &one->process;
    uint32_t n = (uint32_t)reader_n_threads(process->reader);
    for (uint32_t i = 0; i < n; i++) {
        struct sink_thread thread = { .thread = i, .tid = one->tids[i],
                                      .order = reader_thread_number(process->reader, i) };
        thread.sampled = thread.order;
        one->cursors[i].is_wanted = announce_thread(conversion, process->reader, &thread);
    }
    for (uint32_t i = 0; i < process->n_tracks; i++) {
        uint32_t number = track_number(process, i);
        struct sink_thread thread = { .thread = n + i, .tid = track_id(number), .order = number,
                                      .is_greenlet = true };
        thread.sampled = thread_of_greenlet(one, number);
        bool is_wanted = announce_thread(conversion, process->reader, &thread);
        track_init(process, i, is_wanted, starts_hidden(conversion, one, is_wanted));
    }
}

static void begin_cursors(const struct conversion *conversion, struct process_conversion *one)
{
    for (size_t i = 0; i < reader_n_threads(one->process.reader); i++) {
        bool is_wanted = one->cursors[i].is_wanted;
        thread_cursor_init(&one->cursors[i], &one->process, i, is_wanted, starts_hidden(conversion, one, is_wanted));
    }
}

/* ---- one process ---- */

/* Finds the ticks of the selected time, and lets the reader return no more than is needed for it. */
static void settle_window(struct process_conversion *one)
{
    struct converted_process *process = &one->process;
    uint64_t from = 0, to = UINT64_MAX;
    if (process->from_ns > 0)
        from = timeline_ticks(process->timeline, process->zero_ns + process->from_ns);
    if (process->to_ns < UINT64_MAX)
        to = timeline_ticks(process->timeline, process->zero_ns + process->to_ns);
    converted_process_note_time(process, reader_end(process->reader));
    if (process->end_ticks < from || to == 0)
        reader_stop(process->reader);
    else
        reader_set_range(process->reader, from, to, process->open_at_from != NULL);
    one->merge.window = (struct merge_window){ from, to == UINT64_MAX ? to : to - 1 };
}

/* Sets up the pipeline of the process, the i-th one. */
static void init_process(struct conversion *conversion, size_t i, struct process_conversion *one)
{
    const struct convert_options *options = &conversion->options;
    struct reader *reader = conversion->readers[i];
    const struct symbols *symbols = reader_symbols(reader);
    uint64_t recorded_ns = 0, until_ns;
    symbols_number(symbols, "min_duration_ns", &recorded_ns);
    *one = (struct process_conversion){
        .process = {
            .reader = reader, .timeline = reader_timeline(reader), .zero_ns = conversion->zero_ns,
            .order = (uint32_t)i,
            .pipeline = {
                .rules = conversion->is_all ? NULL : &one->rules,
                .min_ns = selection_min_ns(options->selection, recorded_ns), .flows = &conversion->flows,
                .positions = conversion->positions ? &conversion->positions[i] : NULL, .sink = conversion->sink,
                .symbols = symbols, .count = &conversion->count->stacks,
                .rates = options->rates ? &options->rates[i] : NULL, .learns_rates = options->learns_rates },
            .initial = conversion->count->stacks,
            .from_ns = selection_from(options->selection), .to_ns = selection_to(options->selection),
            .open_at_from = options->open_at_from, .open_at_to = options->open_at_to },
        .merge = { .window = { 0, UINT64_MAX } } };
    if (reader_process(reader, &until_ns) != PNR_PROCESS_RUNS)
        symbols_number(symbols, "end_ticks", &one->process.end_ticks);
    ledger_cursor_init(&one->ledger, &one->process);
}

/* Returns 0, or -1 when out of memory. */
static int allocate_process(const struct conversion *conversion, struct process_conversion *one)
{
    struct converted_process *process = &one->process;
    size_t n = reader_n_threads(process->reader), first = process->order;
    one->cursors = calloc(n + 1, sizeof *one->cursors);
    one->heap = calloc(n + 1, sizeof *one->heap);
    one->tids = calloc(n + 1, sizeof *one->tids);
    if (!one->cursors || !one->heap || !one->tids || identify_threads(process->reader, one->tids) < 0 ||
        tracks_make(process) < 0 || list_own_threads(one) < 0 ||
        selection_make_rules(conversion->options.selection, process->pipeline.symbols, &one->rules) < 0)
        return -1;
    if (!conversion->positions)
        return 0;
    return child_starts_find(&one->children, conversion->readers + first, conversion->n - first,
                             conversion->positions + first);
}

/* Gives the sink what was sampled of the process, from the beginning of what is shown to end_ns. */
static void put_samples(const struct conversion *conversion, const struct process_conversion *one, uint64_t end_ns)
{
    char text[IDENTITY_NAME_SIZE];
    const struct converted_process *process = &one->process;
    const struct sample_counters counters = { reader_samples(process->reader), conversion->sink, process->zero_ns,
                                              process->from_ns, end_ns };
    if (!counters.samples->exists || !counters.sink->recorder_event || conversion->positions)
        return;
    for (uint32_t i = 0; i < reader_n_threads(process->reader); i++) {
        uint32_t number = reader_thread_number(process->reader, i);
        if (one->cursors[i].is_wanted)
            sample_counters_put_thread(&counters, number, one->tids[i],
                                       thread_name(symbols_thread(reader_symbols(process->reader), number), number, text));
    }
    sample_counters_put_memory(&counters);
}

static void finish_conversion(struct conversion *conversion, struct process_conversion *one)
{
    struct converted_process *process = &one->process;
    uint64_t end_ns = timeline_since(process->timeline, process->zero_ns, process->end_ticks);
    for (size_t i = 0; i < reader_n_threads(process->reader); i++)
        thread_cursor_end(&one->cursors[i], end_ns);
    bool is_cut = end_ns > process->to_ns;
    ledger_cursor_end(&one->ledger, is_cut ? process->to_ns : end_ns);
    put_samples(conversion, one, is_cut ? process->to_ns : end_ns);
    flows_end_process(&conversion->flows, is_cut ? process->to_ns : end_ns, is_cut);
    child_starts_pass(&one->children, UINT64_MAX);
    if (!conversion->is_all)
        reader_stop(process->reader);
}

static void clear_process(struct process_conversion *one)
{
    for (size_t i = 0; one->cursors && i < reader_n_threads(one->process.reader); i++)
        thread_cursor_clear(&one->cursors[i]);
    tracks_clear(&one->process);
    child_starts_clear(&one->children);
    ledger_cursor_clear(&one->ledger);
    free((bool *)one->rules.is_hidden);
    free(one->cursors);
    free(one->heap);
    free(one->own_threads);
    free(one->tids);
}

/* Begins with the i-th process. Returns 0, or -1 and fills err. */
static int enter_process(struct conversion *conversion, size_t i, struct pnr_err *err)
{
    struct process_conversion *one = &conversion->one;
    init_process(conversion, i, one);
    conversion->has_process = true;
    if (allocate_process(conversion, one) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader_path(one->process.reader), 0, "out of memory");
    flows_process(&conversion->flows, one->process.pipeline.symbols);
    begin_threads(conversion, one);
    if (!conversion->is_all)
        settle_window(one);
    begin_cursors(conversion, one);
    one->merge.process = &one->process;
    one->merge.ledger = &one->ledger;
    one->merge.cursors = one->cursors;
    one->merge.heap = one->heap;
    one->merge.children = &one->children;
    merge_begin(&one->merge);
    return 0;
}

/* Forgets the process that is converted, if there is one. */
static void leave_process(struct conversion *conversion)
{
    if (conversion->has_process)
        clear_process(&conversion->one);
    conversion->has_process = false;
}

/* The records of the process are converted. */
static void complete_process(struct conversion *conversion)
{
    struct process_conversion *one = &conversion->one;
    struct convert_count *count = conversion->count;
    const struct hidden_rates *rates = one->process.pipeline.rates;
    size_t i = one->process.order;
    finish_conversion(conversion, one);
    anomalies_add(&conversion->anomalies[i], &one->process.initial, &count->stacks, conversion->flows.n_unconnected,
                  conversion->flows.remarks.n_overflowed, rates && rates->is_exhausted);
    count->threads += conversion->is_all ? reader_n_threads(conversion->readers[i]) : 0;
    leave_process(conversion);
}

/* Puts the name of a group, such as a host, before that of a process, which is owned. Returns 0, or -1 when out of
 * memory. */
static int add_group(struct pnr_string *name, struct pnr_string group)
{
    char *bytes = malloc((size_t)group.size + name->size + sizeof ": ");
    if (!bytes)
        return -1;
    memcpy(bytes, group.bytes, group.size);
    memcpy(bytes + group.size, ": ", 2);
    memcpy(bytes + group.size + 2, name->bytes, name->size);
    free((char *)name->bytes);
    *name = (struct pnr_string){ bytes, group.size + 2 + name->size };
    return 0;
}

/* Announces the i-th process to the sink if it is selected. Returns 1; 0 if it is not; -1 when out of memory. */
static int announce_process(const struct conversion *conversion, size_t i)
{
    struct reader *reader = conversion->readers[i];
    const struct pnr_string *group = conversion->options.groups ? &conversion->options.groups[i] : NULL;
    struct sink_process process = { .pid = conversion->pids[i], .order = (uint32_t)i, .name = process_name(reader),
                                    .symbols = reader_symbols(reader), .has_ledger = reader_ledger(reader)->exists,
                                    .is_sparse = reader_is_sparse(reader),
                                    .has_labels = reader_symbols(reader)->has_labels,
                                    .zero_ns = conversion->zero_ns };
    if (reader_samples(reader)->exists && !conversion->positions)
        process.samples = reader_samples(reader);
    if (!process.name.bytes)
        return -1;
    int is_wanted = selection_has_process(conversion->options.selection, process.pid, process.pid % IDENTITY_LIMIT,
                                           process.name);
    if (is_wanted && group && add_group(&process.name, *group) < 0)
        is_wanted = -1;
    if (is_wanted > 0 && conversion->sink->process)
        conversion->sink->process(conversion->sink, &process);
    free((char *)process.name.bytes);
    return is_wanted;
}

/* ---- the whole capture ---- */

static int fail_memory(struct pnr_err *err)
{
    return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
}

/* Returns 0, or -1 when out of memory. */
static int init_conversion(struct conversion *conversion)
{
    size_t n = conversion->n ? conversion->n : 1;
    conversion->pids = calloc(n, sizeof *conversion->pids);
    if (conversion->options.is_logical)
        conversion->positions = calloc(n, sizeof *conversion->positions);
    if (!conversion->pids || (conversion->options.is_logical && !conversion->positions))
        return -1;
    return identify_processes(conversion->readers, conversion->n, conversion->pids);
}

struct conversion *conversion_begin(struct reader **readers, size_t n, const struct convert_options *options,
                                    struct sink *sink, struct convert_count *count, struct anomalies *anomalies,
                                    struct pnr_err *err)
{
    struct conversion *conversion = calloc(1, sizeof *conversion);
    if (!conversion) {
        fail_memory(err);
        return NULL;
    }
    *conversion = (struct conversion){ .readers = readers, .n = n, .options = *options, .sink = sink, .count = count,
                                       .anomalies = anomalies, .zero_ns = convert_zero_ns(readers, n),
                                       .is_all = selection_is_all(options->selection) };
    *count = (struct convert_count){ .threads = 0 };
    lazy_metadata_init(&conversion->lazy, sink);
    if (!conversion->is_all)
        conversion->sink = &conversion->lazy.sink;
    flows_init(&conversion->flows, conversion->sink, options->flows);
    if (init_conversion(conversion) == 0)
        return conversion;
    conversion_free(conversion);
    fail_memory(err);
    return NULL;
}

/* All processes are converted. Returns 0, or -1 and fills err. */
static int complete_conversion(struct conversion *conversion, struct pnr_err *err)
{
    const struct convert_options *options = &conversion->options;
    struct convert_count *count = conversion->count;
    count->flows = conversion->flows.n_flows;
    count->spawns = conversion->flows.spawns.n_arrows;
    count->tasks = conversion->flows.n_tasks;
    count->threads += conversion->lazy.n_threads;
    if (options->open_at_to)
        open_stack_snapshot_complete(options->open_at_to, options->open_at_from);
    if (conversion->lazy.is_out_of_memory || (options->open_at_to && options->open_at_to->is_out_of_memory))
        return fail_memory(err);
    return 0;
}

int conversion_step(struct conversion *conversion, struct pnr_err *err)
{
    if (conversion->has_process) {
        int status = merge_step(&conversion->one.merge, err);
        if (status == 0)
            complete_process(conversion);
        return status < 0 ? -1 : 1;
    }
    if (conversion->next == conversion->n)
        return complete_conversion(conversion, err);
    size_t i = conversion->next++;
    int is_wanted = announce_process(conversion, i);
    if (is_wanted < 0)
        return fail_memory(err);
    return is_wanted && enter_process(conversion, i, err) < 0 ? -1 : 1;
}

void conversion_free(struct conversion *conversion)
{
    if (!conversion)
        return;
    leave_process(conversion);
    lazy_metadata_clear(&conversion->lazy);
    flows_clear(&conversion->flows);
    free(conversion->positions);
    free(conversion->pids);
    free(conversion);
}

int convert(struct reader **readers, size_t n, const struct convert_options *options, struct sink *sink,
            struct convert_count *count, struct anomalies *anomalies, struct pnr_err *err)
{
    struct conversion *conversion = conversion_begin(readers, n, options, sink, count, anomalies, err);
    int status = conversion ? 1 : -1;
    while (status > 0)
        status = conversion_step(conversion, err);
    conversion_free(conversion);
    return status;
}

uint64_t convert_zero_ns(struct reader **readers, size_t n)
{
    uint64_t zero_ns = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        uint64_t start_ns = reader_start(readers[i]);
        if (start_ns < zero_ns)
            zero_ns = start_ns;
    }
    return zero_ns;
}

struct selection_extent convert_extent(struct reader **readers, size_t n)
{
    struct selection_extent extent = { .end_ns = 0 };
    uint64_t zero_ns = convert_zero_ns(readers, n), until_ns, number;
    for (size_t i = 0; i < n; i++) {
        const struct symbols *symbols = reader_symbols(readers[i]);
        uint64_t ticks = reader_end(readers[i]);
        bool is_running = reader_process(readers[i], &until_ns) == PNR_PROCESS_RUNS;
        if (!is_running && symbols_number(symbols, "end_ticks", &number) && number > ticks)
            ticks = number;
        uint64_t ns = timeline_ns(reader_timeline(readers[i]), ticks);
        if (ns > zero_ns && ns - zero_ns > extent.end_ns)
            extent.end_ns = ns - zero_ns;
        if (reader_start(readers[i]) == zero_ns)
            symbols_number(symbols, "start_realtime_ns", &extent.start_realtime_ns);
    }
    return extent;
}
