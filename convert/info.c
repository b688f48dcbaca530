#include "info.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "identities.h"

struct thread_info {
    uint64_t n_records;                 /* without OPEN */
};

struct info {
    bool reads_all;
    uint64_t kinds[256];                /* like `lost`: 0 unless the data are read */
    uint64_t n_records, n_blocks;       /* without OPEN */
    uint64_t lost, recovered;
    uint64_t first_ticks, last_ticks;
    struct thread_info *threads;        /* owned */
};

static const char *const kind_labels[PNR_KINDS] = {
#define PNR_KIND(number, name, effect, subject, traits, entry, label, ...) [number] = (label),
#include "format/kinds.def"
};

static void extend_span(struct info *info, uint64_t begin_ticks, uint64_t end_ticks)
{
    if (begin_ticks < info->first_ticks)
        info->first_ticks = begin_ticks;
    if (end_ticks > info->last_ticks)
        info->last_ticks = end_ticks;
}

/* Counts from the headers alone. */
static void count_headers(const struct reader *reader, struct info *info)
{
    struct reader_outline outline;
    size_t thread = 0;
    for (size_t i = 0; reader_find_outline(reader, i, &outline); i++) {
        info->n_blocks++;
        if (outline.is_of_recorder)
            continue;
        while (reader_thread_number(reader, thread) != outline.thread)
            thread++;                   /* the blocks come in the order of the threads */
        info->threads[thread].n_records += outline.n_events;
        info->n_records += outline.n_events;
        info->recovered += outline.is_live ? outline.n_records : 0;
        extend_span(info, outline.begin_ticks, outline.end_ticks);
    }
}

static int count_thread(struct reader *reader, size_t thread, struct info *info, struct pnr_err *err)
{
    struct reader_block block;
    uint64_t ticks;
    while (reader_peek(reader, thread, &ticks)) {
        int status = reader_next(reader, thread, &block, err);
        if (status < 0)
            return -1;
        if (status == 0)
            continue;
        uint64_t last = block.begin_ticks;
        if (block.n_records)
            last += pnr_record_ticks(block.records[block.n_records - 1]);
        info->kinds[PNR_OPEN] += block.n_open;
        for (uint32_t i = 0; i < block.n_records; i++) {
            bool is_inexact = block.is_sparse && placing_is_inexact(block.records[i]);
            unsigned kind = is_inexact ? placing_kind(block.records[i]) : pnr_record_kind(block.records[i]);
            info->kinds[kind]++;
            if (kind == PNR_LOST)
                info->lost += pnr_record_function(block.records[i]);
            if (kind != PNR_OPEN)
                info->threads[thread].n_records++;
        }
        extend_span(info, block.begin_ticks, last);
    }
    info->n_records += info->threads[thread].n_records;
    return 0;
}

/* Prints a line, without the control characters that would steer the terminal. */
static void print_text(FILE *out, struct pnr_string text)
{
    for (uint32_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        bool is_long = c == 0xc2 && i + 1 < text.size && (text.bytes[i + 1] & 0xe0) == 0x80;   /* U+0080 to U+009F */
        i += is_long;
        putc(is_long || c < 0x20 || c == 0x7f ? '?' : c, out);
    }
    putc('\n', out);
}

static void print_property(const struct reader *reader, FILE *out, const char *label, const char *key)
{
    struct pnr_string value = symbols_property(reader_symbols(reader), key);
    if (value.size) {
        fprintf(out, "  %-12s", label);
        print_text(out, value);
    }
}

/* Prints what the recorder excluded, a line for each rule. */
static void print_filters(const struct reader *reader, FILE *out)
{
    struct pnr_string rules = symbols_property(reader_symbols(reader), "filters");
    const char *label = "filters";
    uint64_t ns;
    while (rules.size) {
        const char *end = memchr(rules.bytes, '\n', rules.size);
        uint32_t size = end ? (uint32_t)(end - rules.bytes) : rules.size;
        fprintf(out, "  %-12s", label);
        print_text(out, (struct pnr_string){ rules.bytes, size });
        size += end != NULL;
        rules = (struct pnr_string){ rules.bytes + size, rules.size - size };
        label = "";
    }
    if (symbols_number(reader_symbols(reader), "min_duration_ns", &ns))
        fprintf(out, "  %-12snothing shorter than %" PRIu64 " ns\n", label, ns);
}

/* Prints where the clock was read, if not at each event; only the data show more. */
static void print_readings(const struct reader *reader, FILE *out)
{
    char text[256];
    if (!reader_is_sparse(reader))
        return;
    fprintf(out, "  %-12snot at each event\n", "readings");
    if (reader_size(reader)->placed.n_unread == 0)
        return;
    placing_count_describe(&reader_size(reader)->placed, text, sizeof text);
    fprintf(out, "    %s\n", text);
}

static void print_start(const struct reader *reader, FILE *out)
{
    uint64_t ns;
    struct tm utc;
    char text[32];
    if (!symbols_number(reader_symbols(reader), "start_realtime_ns", &ns))
        return;
    time_t seconds = (time_t)(ns / 1000000000);
    if (gmtime_r(&seconds, &utc) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &utc))
        fprintf(out, "  %-12s%s.%06u UTC\n", "start", text, (unsigned)(ns % 1000000000 / 1000));
}

static void print_span(struct reader *reader, FILE *out, const struct info *info)
{
    uint64_t begin = info->first_ticks, end = info->last_ticks, end_ns;
    bool is_running = reader_process(reader, &end_ns) == PNR_PROCESS_RUNS;
    symbols_number(reader_symbols(reader), "start_ticks", &begin);
    symbols_number(reader_symbols(reader), "end_ticks", &end);
    uint64_t begin_ns = timeline_ns(reader_timeline(reader), begin);
    if (!is_running)
        end_ns = timeline_ns(reader_timeline(reader), end);
    if (begin > end || begin_ns > end_ns)
        return;
    uint64_t ns = end_ns - begin_ns;
    fprintf(out, "  %-12s%" PRIu64 ".%06u s\n", "span", ns / 1000000000, (unsigned)(ns % 1000000000 / 1000));
}

static void print_threads(const struct reader *reader, FILE *out, const struct info *info)
{
    size_t n = reader_n_threads(reader);
    fprintf(out, "  %-12s%zu\n", "threads", n);
    for (size_t i = 0; i < n; i++) {
        const struct pnr_name *entry = symbols_thread(reader_symbols(reader), reader_thread_number(reader, i));
        struct pnr_string name = entry ? entry->strings[0] : (struct pnr_string){ "", 0 };
        fprintf(out, "    %3" PRIu32 "  tid %-8" PRIu32 " %12" PRIu64 " events  ", reader_thread_number(reader, i),
                entry ? entry->number : 0, info->threads[i].n_records);
        print_text(out, name);
    }
}

static void print_events(FILE *out, const struct info *info)
{
    fprintf(out, "  %-12s%" PRIu64 "\n", "events", info->n_records);
    for (unsigned kind = 0; kind < 256; kind++) {
        if (!info->kinds[kind])
            continue;
        fprintf(out, "    %12" PRIu64 "  ", info->kinds[kind]);
        if (kind < PNR_KINDS && *kind_labels[kind])
            fprintf(out, "%s\n", kind_labels[kind]);
        else
            fprintf(out, "of unknown kind %u\n", kind);
    }
}

/* Prints when there were windows, in the time since the process's start, and how long they were together. */
static void print_windows(struct reader *reader, FILE *out)
{
    const struct ledger *ledger = reader_ledger(reader);
    struct timeline *timeline = reader_timeline(reader);
    uint64_t start_ticks = 0, first_ns = 0, begin_ns = 0, end_ns = 0, sum_ns = 0;
    bool in_window = false, has_begun = false;
    symbols_number(reader_symbols(reader), "start_ticks", &start_ticks);
    uint64_t zero_ns = timeline_ns(timeline, start_ticks);
    for (size_t i = 0; i < ledger->n; i++) {
        const struct ledger_event *event = &ledger->events[i];
        bool is_begin = event->kind == LEDGER_WINDOW || (event->kind == LEDGER_KNOWN && event->number);
        uint64_t ns = timeline_since(timeline, zero_ns, event->ticks);
        if (is_begin)
            begin_ns = ns;
        if (is_begin && !has_begun)
            first_ns = ns;
        else if (in_window && (event->kind == LEDGER_WINDOW_END || event->kind == LEDGER_UNKNOWN))
            sum_ns += (end_ns = ns) - begin_ns;
        has_begun |= is_begin;
        in_window = is_begin || (in_window && event->kind != LEDGER_WINDOW_END && event->kind != LEDGER_UNKNOWN);
    }
    if (sum_ns)
        fprintf(out, "  %-12s%.3f s in all, the first at %.3f s, the last until %.3f s\n", "windows",
                (double)sum_ns / 1e9, (double)first_ns / 1e9, (double)end_ns / 1e9);
}

/* Prints how many calls of muted functions were not recorded, as the recorder has estimated it at its end, and how long
 * they may have been. */
static void print_hidden(const struct reader *reader, FILE *out)
{
    const struct symbols *symbols = reader_symbols(reader);
    uint64_t n_calls, n_hidden;
    if (symbols_number(symbols, "calls_of_muted", &n_calls) && n_calls &&
        symbols_number(symbols, "calls_not_recorded", &n_hidden))
        fprintf(out, "  %-12s~%.0f %% of the calls of muted functions, ~%" PRIu64 " calls\n", "hidden",
                100 * (double)n_hidden / (double)n_calls, n_hidden);
    uint64_t unseen_ns;
    if (symbols_number(symbols, "unseen_ns", &unseen_ns) && unseen_ns)
        fprintf(out, "  %-12smaybe calls of up to %.1f ms: looks for slow calls came late\n", "unseen",
                (double)unseen_ns / 1e6);
}

/* Prints what the ledger says, if the process has one. */
static void print_ledger(struct reader *reader, FILE *out)
{
    const struct ledger *ledger = reader_ledger(reader);
    struct pnr_string budget = symbols_property(reader_symbols(reader), "max_overhead");
    if (!ledger->exists)
        return;
    const struct ledger_sum sum = ledger_add_up(ledger);
    if (budget.size) {
        fprintf(out, "  %-12s%.*s %% of the CPU time", "budget", (int)budget.size, budget.bytes);
        if (sum.cpu_ns)
            fprintf(out, "; cost %.2f %% of %.3f s", 100 * (double)sum.cost_ns / (double)sum.cpu_ns,
                    (double)sum.cpu_ns / 1e9);
        putc('\n', out);
    }
    fprintf(out, "  %-12s%" PRIu64 " function%s some time, %" PRIu64 " at the end; all recorded in %" PRIu64
            " window%s\n", "muted", sum.n_functions, sum.n_functions == 1 ? "" : "s", sum.n_muted, sum.n_windows,
            sum.n_windows == 1 ? "" : "s");
    print_windows(reader, out);
    print_hidden(reader, out);
    if (sum.n_unknown)
        fprintf(out, "  %-12swhat was muted in %" PRIu64 " time%s: the ledger is not whole\n", "not known",
                sum.n_unknown, sum.n_unknown == 1 ? "" : "s");
}

/* Prints how often threads were sampled, if they were. */
static void print_samples(const struct reader *reader, FILE *out)
{
    const struct samples *samples = reader_samples(reader);
    uint64_t period_ns;
    if (!samples->exists)
        return;
    fprintf(out, "  %-12s%" PRIu64, "samples", samples->n_samples);
    if (symbols_number(reader_symbols(reader), "samples_ns", &period_ns))
        fprintf(out, ", %g ms or more apart", (double)period_ns / 1e6);
    putc('\n', out);
    print_property(reader, out, "scheduling", "scheduling");
    if (samples->n_inexact)
        fprintf(out, "  %-12s%" PRIu64 " of %" PRIu64 " times with changes of the schedule, of which some are missing\n", "not exact",
                samples->n_inexact, samples->n_exact + samples->n_inexact);
}

const char *info_describe_end(const struct reader *reader)
{
    uint64_t until_ns;
    enum pnr_process_state process = reader_process(reader, &until_ns);
    if (process == PNR_PROCESS_RUNS)
        return "not yet: the process still runs";
    if (symbols_property(reader_symbols(reader), "end_ticks").bytes)
        return "clean";
    if (symbols_property(reader_symbols(reader), "stopped").bytes)
        return "recording stopped before the process did";
    return process == PNR_PROCESS_GONE ? "not clean: the process was killed" :
           "not clean: the process was killed, or it still runs";
}

/* Prints how many events were lost: of a process without an end, only its data show that. */
static void print_lost(const struct symbols *symbols, FILE *out, const struct info *info)
{
    uint64_t lost = 0;
    if (!symbols_number(symbols, "lost", &lost) && !info->reads_all)
        return;
    fprintf(out, "  %-12s%" PRIu64 " events%s\n", "lost", lost > info->lost ? lost : info->lost,
            symbols_property(symbols, "stopped").bytes ? ", and all after recording stopped" : "");
}

static void print(struct reader *reader, FILE *out, const struct info *info)
{
    const struct reader_size *size = reader_size(reader);
    const struct symbols *symbols = reader_symbols(reader);
    struct pnr_string name = process_name(reader);
    fprintf(out, "process %" PRIu32 ": ", process_pid(reader));
    print_text(out, name);
    free((char *)name.bytes);
    print_property(reader, out, "parent", "parent_pid");
    print_property(reader, out, "python", "python");
    print_property(reader, out, "host", "host");
    print_property(reader, out, "boot", "boot_id");
    print_property(reader, out, "container", "container");
    print_property(reader, out, "executable", "executable");
    print_property(reader, out, "recorder", "recorder");
    print_property(reader, out, "engine", "engine");
    print_property(reader, out, "fault", "frame_engine_fault");
    print_property(reader, out, "clock", "clock");
    print_readings(reader, out);
    print_filters(reader, out);
    print_ledger(reader, out);
    print_samples(reader, out);
    print_start(reader, out);
    print_span(reader, out, info);
    fprintf(out, "  %-12s%s\n", "end", info_describe_end(reader));
    print_property(reader, out, "stopped", "stopped");
    print_property(reader, out, "missing", "calls_missing");
    print_threads(reader, out, info);
    print_events(out, info);
    fprintf(out, "  %-12s%" PRIu32 "\n", "functions", symbols->n_known);
    fprintf(out, "  %-12s%" PRIu64 " bytes on disk, %" PRIu64 " blocks", "size", size->bytes, info->n_blocks);
    if (info->n_records)
        fprintf(out, ", %.2f bytes per event", (double)size->bytes / (double)info->n_records);
    putc('\n', out);
    if (info->reads_all)
        fprintf(out, "  %-12s%" PRIu64 " regions\n", "unrecorded", info->kinds[PNR_UNRECORDED]);
    print_lost(symbols, out, info);
    fprintf(out, "  %-12s%" PRIu64 " events from the live mapping\n", "recovered", info->recovered);
    fprintf(out, "  %-12s%" PRIu64 " blocks damaged or missing\n", "damage", size->n_damaged);
    print_property(reader, out, "forks", "forks");
    print_property(reader, out, "interps", "interpreters");
    print_property(reader, out, "no repr", "reprs_failed");
}

int info_print(struct reader *reader, FILE *out, bool reads_all, struct pnr_err *err)
{
    size_t n = reader_n_threads(reader);
    struct info info = { .reads_all = reads_all, .first_ticks = UINT64_MAX };
    int result = 0;
    info.threads = calloc(n + 1, sizeof *info.threads);
    if (!info.threads)
        return pnr_err_set(err, PNR_E_MEMORY, reader_path(reader), 0, "out of memory");
    if (!reads_all)
        count_headers(reader, &info);
    for (size_t i = 0; i < n && reads_all && result == 0; i++)
        result = count_thread(reader, i, &info, err);
    if (reads_all) {
        info.n_blocks = reader_size(reader)->n_blocks;
        info.recovered = reader_size(reader)->n_recovered;
    }
    if (result == 0)
        print(reader, out, &info);
    free(info.threads);
    return result;
}
