#include "verify.h"

#include <inttypes.h>

/* Compares the number of events with the one that a process writes at its end, unless damage has been reported. */
static void check_event_count(const struct reader *reader, const struct anomalies *anomalies,
                              const struct diagnostics *diagnostics)
{
    uint64_t n_recorded, until_ns, complete_ticks;
    if (reader_process(reader, &until_ns) == PNR_PROCESS_RUNS || reader_has_evicted(reader, &complete_ticks) ||
        reader_size(reader)->n_damaged || !symbols_property(reader_symbols(reader), "end_ticks").bytes ||
        !symbols_number(reader_symbols(reader), "events", &n_recorded) ||
        anomalies->unknown_kinds || anomalies->stray_values || anomalies->events == n_recorded)
        return;
    diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE,
                       "%s: %" PRIu64 " events found, but %" PRIu64 " were recorded", reader_path(reader),
                       anomalies->events,
                       n_recorded);
}

int verify(struct reader **readers, size_t n, const struct diagnostics *diagnostics, struct anomalies *anomalies,
           struct verify_sum *sum, struct pnr_err *err)
{
    struct sink sink = { .is_broken = false };
    const struct convert_options options = { .flows.flows = ~0u };
    struct convert_count count;
    if (convert(readers, n, &options, &sink, &count, anomalies, err) < 0)
        return -1;
    anomalies_report(readers, n, convert_zero_ns(readers, n), anomalies, diagnostics);
    *sum = (struct verify_sum){ .events = count.stacks.events };
    for (size_t i = 0; i < n; i++) {
        check_event_count(readers[i], &anomalies[i], diagnostics);
        sum->threads += reader_n_threads(readers[i]);
        sum->blocks += reader_size(readers[i])->n_blocks;
        sum->bytes += reader_size(readers[i])->bytes;
    }
    return 0;
}
