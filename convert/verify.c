#include "verify.h"

#include <inttypes.h>

static void take_process(struct sink *sink, const struct sink_process *process)
{
    (void)sink, (void)process;
}

static void take_thread(struct sink *sink, const struct sink_thread *thread)
{
    (void)sink, (void)thread;
}

static void take_slice(struct sink *sink, const struct slice *slice)
{
    (void)sink, (void)slice;
}

static void take_instant(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    (void)sink, (void)thread, (void)ns, (void)text;
}

static void take_point(struct sink *sink, const struct point *point)
{
    (void)sink, (void)point;
}

/* Compares the number of events with the one that a process writes at its end, unless damage has been reported. */
static void check_event_count(const struct reader *reader, const struct convert_odd *odd,
                              const struct diagnostics *diagnostics)
{
    uint64_t n_recorded, until_ns, complete_ticks;
    if (reader_process(reader, &until_ns) == PNR_PROCESS_RUNS || reader_has_evicted(reader, &complete_ticks) ||
        reader_size(reader)->n_damaged || !symbols_property(reader_symbols(reader), "end_ticks").bytes ||
        !symbols_number(reader_symbols(reader), "events", &n_recorded) ||
        odd->unknown_kinds || odd->events == n_recorded)
        return;
    diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE,
                       "%s: %" PRIu64 " events found, but %" PRIu64 " were recorded", reader_path(reader), odd->events,
                       n_recorded);
}

int verify(struct reader **readers, size_t n, const struct diagnostics *diagnostics, struct convert_odd *odd,
           struct verify_sum *sum, struct pnr_err *err)
{
    struct sink sink = { .process = take_process, .thread = take_thread, .slice = take_slice,
                         .instant = take_instant, .point = take_point };
    const struct convert_how how = { .flows.chains = ~0u };
    struct convert_count count;
    if (convert(readers, n, &how, &sink, &count, odd, err) < 0)
        return -1;
    convert_say(readers, n, odd, diagnostics);
    *sum = (struct verify_sum){ .events = count.spans.events };
    for (size_t i = 0; i < n; i++) {
        check_event_count(readers[i], &odd[i], diagnostics);
        sum->threads += reader_n_threads(readers[i]);
        sum->blocks += reader_size(readers[i])->n_blocks;
        sum->bytes += reader_size(readers[i])->bytes;
    }
    return 0;
}
