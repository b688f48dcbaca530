#include "anomalies.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void anomalies_add(struct anomalies *anomalies, const struct stack_count *initial, const struct stack_count *now,
                   uint64_t unconnected, uint64_t unkept, bool lacks_estimates)
{
    anomalies->events += now->events - initial->events;
    anomalies->lost += now->lost - initial->lost;
    anomalies->holes += now->holes - initial->holes;
    anomalies->ignored_exits += now->ignored_exits - initial->ignored_exits;
    anomalies->missing_exits += now->missing_exits - initial->missing_exits;
    anomalies->unknown_kinds += now->unknown_kinds - initial->unknown_kinds;
    anomalies->unknown_tracks += now->unknown_tracks - initial->unknown_tracks;
    anomalies->unknown_functions += now->unknown_functions - initial->unknown_functions;
    anomalies->backwards += now->backwards - initial->backwards;
    anomalies->stray_values += now->stray_values - initial->stray_values;
    anomalies->unread_values += now->unread_values - initial->unread_values;
    anomalies->overflowed += now->overflowed - initial->overflowed;
    anomalies->unconnected += unconnected;
    anomalies->unkept += unkept;
    anomalies->lacks_estimates |= lacks_estimates;
    anomalies->is_converted = true;
}

/* ---- one process ---- */

static void report_running(const struct reader *reader, uint64_t zero_ns, const struct diagnostics *diagnostics)
{
    uint64_t until_ns;
    if (reader_process(reader, &until_ns) != PNR_PROCESS_RUNS)
        return;
    uint64_t ms = until_ns > zero_ns ? (until_ns - zero_ns) / 1000000 : 0;
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO,
                       "%s: the process still runs: this is what it had recorded up to %" PRIu64 ".%03u s",
                       reader_path(reader), ms / 1000, (unsigned)(ms % 1000));
}

static void report_evicted(struct reader *reader, uint64_t zero_ns, const struct diagnostics *diagnostics)
{
    uint64_t complete_ticks;
    if (!reader_has_evicted(reader, &complete_ticks))
        return;
    if (reader_n_threads(reader) == 0) {
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: all events were evicted (--max-size, --last)",
                           reader_path(reader));
        return;
    }
    uint64_t ns = timeline_ns(reader_timeline(reader), complete_ticks);
    uint64_t ms = ns > zero_ns ? (ns - zero_ns + 999999) / 1000000 : 0;
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO,
                       "%s: older events were evicted (--max-size, --last): complete from %" PRIu64 ".%03u s on",
                       reader_path(reader), ms / 1000, (unsigned)(ms % 1000));
}

/* Reports in which times it is not known what was muted. */
static void report_unknown_mutes(struct reader *reader, uint64_t zero_ns, const struct diagnostics *diagnostics)
{
    const struct ledger *ledger = reader_ledger(reader);
    struct timeline *timeline = reader_timeline(reader);
    uint64_t from_ms = 0;
    for (size_t i = 0; i < ledger->n; i++) {
        const struct ledger_event *event = &ledger->events[i];
        uint64_t ms = timeline_since(timeline, zero_ns, event->ticks) / 1000000;
        if (event->kind == LEDGER_UNKNOWN)
            from_ms = ms;
        else if (event->kind == LEDGER_KNOWN)
            diagnostics_report(diagnostics, DIAGNOSTIC_INFO,
                               "%s: what was muted from %" PRIu64 ".%03u s to %" PRIu64 ".%03u s is not known",
                               reader_path(reader), from_ms / 1000, (unsigned)(from_ms % 1000), ms / 1000,
                               (unsigned)(ms % 1000));
    }
    if (!ledger->end.is_known && ledger->exists)
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: what was muted from %" PRIu64 ".%03u s on is not known",
                           reader_path(reader), from_ms / 1000, (unsigned)(from_ms % 1000));
}

static void report_counts(struct reader *reader, const struct anomalies *anomalies,
                          const struct diagnostics *diagnostics)
{
    uint64_t lost = 0;                  /* of the whole process, LOST record or not */
    symbols_number(reader_symbols(reader), "lost", &lost);
    if (anomalies->lost > lost)
        lost = anomalies->lost;
    const struct { enum diagnostic_level level; uint64_t n; const char *thing, *what; } table[] = {
        { DIAGNOSTIC_INFO, lost, "event", "lost by the recorder" },
        { DIAGNOSTIC_INFO, anomalies->holes, "place", "where events may be missing" },
        { DIAGNOSTIC_INFO, anomalies->ignored_exits, "function exit", "without a matching entry (ignored)" },
        { DIAGNOSTIC_INFO, anomalies->missing_exits, "function",
          "whose exit was not recorded; closed when the caller returned" },
        { DIAGNOSTIC_DAMAGE, anomalies->unknown_kinds, "record", "of an unknown kind (skipped)" },
        { DIAGNOSTIC_DAMAGE, reader_ledger(reader)->n_unknown_kinds, "record",
          "of the ledger that it cannot have (skipped)" },
        { DIAGNOSTIC_DAMAGE, reader_samples(reader)->n_unknown, "record",
          "of the samples that it cannot have (skipped)" },
        { DIAGNOSTIC_DAMAGE, anomalies->unknown_tracks, "switch record",
          "to a greenlet that has no name or belongs to another thread (skipped)" },
        { DIAGNOSTIC_DAMAGE, anomalies->unknown_functions, "slice", "of functions that are not in the name table" },
        { DIAGNOSTIC_DAMAGE,
          anomalies->backwards + reader_ledger(reader)->n_backwards + reader_samples(reader)->n_backwards, "record",
          "earlier than the one before (moved up to its time)" },
        { DIAGNOSTIC_DAMAGE, anomalies->stray_values, "record", "with values that are not whole, or of nothing (skipped)" },
        { DIAGNOSTIC_DAMAGE, anomalies->unread_values, "record", "with values that cannot be read (left out from there on)" },
        { DIAGNOSTIC_DAMAGE, anomalies->overflowed, "frame", "beyond the most that may be open (skipped)" },
        { DIAGNOSTIC_DAMAGE, anomalies->unkept, "value",
          "or span or flow of the program beyond the most that are kept (left out)" },
        { DIAGNOSTIC_DAMAGE, anomalies->unconnected, "slice",
          "without arrows: too many generators and coroutines were suspended" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].n)
            diagnostics_report(diagnostics, table[i].level, "%s: %" PRIu64 " %s%s %s", reader_path(reader), table[i].n,
                               table[i].thing, table[i].n == 1 ? "" : "s", table[i].what);
}

static void report_process(struct reader *reader, uint64_t zero_ns, const struct anomalies *anomalies,
                           const struct diagnostics *diagnostics)
{
    report_counts(reader, anomalies, diagnostics);
    report_unknown_mutes(reader, zero_ns, diagnostics);
    if (anomalies->lacks_estimates)
        diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE, "%s: estimates of muted functions are incomplete: they take too "
                           "much work", reader_path(reader));
    report_running(reader, zero_ns, diagnostics);
    report_evicted(reader, zero_ns, diagnostics);
    struct pnr_string stopped = symbols_property(reader_symbols(reader), "stopped");
    if (stopped.size)
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: recording stopped early: %.*s", reader_path(reader),
                           (int)stopped.size, stopped.bytes);
}

/* ---- all processes ---- */

/* Finds the path that n processes have in common, of which path is one's. */
static int common_size(const char *path, uint64_t n)
{
    const char *slash = strrchr(path, '/');
    return (int)(n == 1 || !slash ? strlen(path) : (size_t)(slash - path));
}

/* True of a process that left its live mapping: it did not end in order, and its last events were read from there. */
static bool is_recovered(const struct reader *reader)
{
    uint64_t until_ns;
    return reader_size(reader)->n_recovered && reader_process(reader, &until_ns) != PNR_PROCESS_RUNS &&
           !symbols_property(reader_symbols(reader), "stopped").size;
}

/* Reports all such processes in one line. */
static void report_recovered(struct reader **readers, size_t n, const struct anomalies *anomalies,
                             const struct diagnostics *diagnostics)
{
    uint64_t n_processes = 0, n_events = 0;
    bool is_whole = true;
    const struct reader *last = NULL;
    char number[40] = "";
    for (size_t i = 0; i < n; i++) {
        if (!anomalies[i].is_converted || !is_recovered(readers[i]))
            continue;
        last = readers[i];
        n_processes++;
        n_events += reader_size(last)->n_recovered;
        is_whole &= !reader_size(last)->n_damaged && !anomalies[i].lost && !anomalies[i].holes;
    }
    if (n_processes == 0)
        return;
    const char *path = reader_path(last);
    if (n_processes > 1)
        snprintf(number, sizeof number, "%" PRIu64 " processes ", n_processes);
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO,
                       "%.*s: %sdid not end in order (by a signal, say): the last %" PRIu64
                       " events were read from shared memory%s", common_size(path, n_processes), path, number, n_events,
                       is_whole ? ", none is missing" : "");
}

/* Reports how far apart readings of the clock are, for all processes in one line. */
static void report_readings(struct reader **readers, size_t n, const struct anomalies *anomalies,
                            const struct diagnostics *diagnostics)
{
    struct placing_count sum = { .n_events = 0 };
    const char *path = NULL;
    uint64_t n_processes = 0;
    char text[256];
    for (size_t i = 0; i < n; i++) {
        const struct placing_count *placed = &reader_size(readers[i])->placed;
        if (!anomalies[i].is_converted || !placed->n_unread)
            continue;
        placing_count_add(&sum, placed);
        path = reader_path(readers[i]);
        n_processes++;
    }
    if (n_processes == 0)
        return;
    placing_count_describe(&sum, text, sizeof text);
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%.*s: %s", common_size(path, n_processes), path, text);
}

void anomalies_report(struct reader **readers, size_t n, uint64_t zero_ns, const struct anomalies *anomalies,
                      const struct diagnostics *diagnostics)
{
    for (size_t i = 0; i < n; i++)
        if (anomalies[i].is_converted)
            report_process(readers[i], zero_ns, &anomalies[i], diagnostics);
    report_recovered(readers, n, anomalies, diagnostics);
    report_readings(readers, n, anomalies, diagnostics);
}
