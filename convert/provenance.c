#include "provenance.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "convert/write/json.h"
#include "convert.h"
#include "identities.h"
#include "info.h"

static struct pnr_string text_string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

static void put_number(struct writer *writer, const struct symbols *symbols, const char *key)
{
    uint64_t number;
    if (symbols_number(symbols, key, &number))
        writer_format(writer, "\"%s\":%" PRIu64 ",", key, number);
}

/* Writes the properties that the process has, under their keys. Returns 0, or -1 when out of memory. */
static int put_properties(struct writer *writer, const struct symbols *symbols)
{
    static const char *const texts[] = { "python", "executable", "recorder", "engine", "frame_engine_fault", "clock",
                                         "clock_mode", "filters", "max_overhead", "calls_missing", "stopped",
                                         "host", "boot_id", "container" };
    int result = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && result == 0; i++) {
        struct pnr_string value = symbols_property(symbols, texts[i]);
        if (value.size)
            result = json_put_member(writer, texts[i], value);
    }
    put_number(writer, symbols, "parent_pid");
    put_number(writer, symbols, "min_duration_ns");
    put_number(writer, symbols, "unseen_ns");
    put_number(writer, symbols, "lost");
    return result;
}

/* zero_ns: the start of the trace. */
static int put_process(struct writer *writer, struct reader *reader, uint32_t pid, bool is_shown, uint64_t zero_ns)
{
    struct pnr_string name = process_name(reader);
    int result = name.bytes ? json_put_member(writer, "name", name) : -1;
    free((char *)name.bytes);
    if (result == 0)
        result = put_properties(writer, reader_symbols(reader));
    if (result == 0)
        result = json_put_member(writer, "end", text_string(info_describe_end(reader)));
    uint64_t begin_ns = convert_zero_ns(&reader, 1) - zero_ns;
    writer_format(writer, "\"pid\":%" PRIu32 ",\"shown\":%s,\"begin_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64, pid,
                  is_shown ? "true" : "false", begin_ns, begin_ns + convert_extent(&reader, 1).end_ns);
    return result;
}

static int put_processes(struct writer *writer, const struct provenance *provenance)
{
    uint64_t zero_ns = convert_zero_ns(provenance->readers, provenance->n);
    uint32_t *pids = calloc(provenance->n + 1, sizeof *pids);
    int result = pids ? identify_processes(provenance->readers, provenance->n, pids) : -1;
    writer_format(writer, "\"processes\":[");
    for (size_t i = 0; i < provenance->n && result == 0; i++) {
        writer_format(writer, "%s\n{", i ? "," : "");
        result = put_process(writer, provenance->readers[i], pids[i], provenance->anomalies[i].is_converted, zero_ns);
        writer_format(writer, "}");
    }
    writer_format(writer, "\n]");
    free(pids);
    return result;
}

static int put_messages(struct writer *writer, const struct provenance *provenance)
{
    int result = 0;
    writer_format(writer, ",\n\"n_messages\":%" PRIu64 ",\"messages\":[", provenance->n_messages);
    for (uint64_t i = 0; i < provenance->n_kept && result == 0; i++) {
        writer_format(writer, "%s\n{", i ? "," : "");
        result = json_put_member(writer, "text", text_string(provenance->messages[i].text));
        writer_format(writer, "\"damage\":%s}", provenance->messages[i].level == DIAGNOSTIC_DAMAGE ? "true" : "false");
    }
    writer_format(writer, "\n]");
    return result;
}

int provenance_put(const struct provenance *provenance, struct writer *writer)
{
    const struct selection_extent extent = convert_extent(provenance->readers, provenance->n);
    uint64_t events = 0, to_ns = selection_to(provenance->selection);
    for (size_t i = 0; i < provenance->n; i++)
        events += provenance->anomalies[i].events;
    if (json_put_member(writer, "capture", text_string(provenance->capture)) < 0)
        return -1;
    writer_format(writer, "\"version\":\"" PANOPTICON_VERSION "\",\"start_realtime_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64
                  ",\"from_ns\":%" PRIu64 ",\"to_ns\":%" PRIu64 ",\"events\":%" PRIu64 ",\"lost_events\":%" PRIu64
                  ",\"left_out_calls\":%" PRIu64 ",\n", extent.start_realtime_ns, extent.end_ns,
                  selection_from(provenance->selection), to_ns < extent.end_ns ? to_ns : extent.end_ns, events,
                  provenance->lost, provenance->left_out_calls);
    return put_processes(writer, provenance) < 0 || put_messages(writer, provenance) < 0 ? -1 : 0;
}
