#include "sample_counters.h"

/* A figure is an average of so much time. At the samples themselves a thread mostly either runs or does not. */
#define STEP_NS 10000000

static void put_counter(const struct sample_counters *counters, struct sink_recorder_event event)
{
    if (!counters->sink->is_broken)
        counters->sink->recorder_event(counters->sink, &event);
}

/* Puts those of the thread's figures for a step that differ from the step before. */
static void put_step(const struct sample_counters *counters, const struct spent_time *spent, double *shown,
                     struct sink_recorder_event event)
{
    static const enum sink_recorder_kind kinds[SAMPLES_WHATS] = { SINK_RAN, SINK_QUEUED, SINK_HELD_GIL };
    for (int what = 0; what < SAMPLES_WHATS; what++) {
        uint64_t tenths = spent->known_ns ? (1000 * spent->ns[what] + spent->known_ns / 2) / spent->known_ns : 0;
        event.value = (double)tenths / 10;
        event.kind = kinds[what];
        if (event.value != shown[what])
            put_counter(counters, event);
        shown[what] = event.value;
    }
}

/* Returns the begin of the next step after ns whose figures may differ from those of the step at ns: all steps up to the
 * next bend of a curve are alike, however many they are. */
static uint64_t find_next_step(const struct sample_counters *counters, uint32_t number, uint64_t ns)
{
    uint64_t step_end = (ns / STEP_NS + 1) * STEP_NS;
    uint64_t bend = samples_next_bend(counters->samples, number, counters->zero_ns + ns);
    if (bend == UINT64_MAX || bend - counters->zero_ns >= counters->to_ns)
        bend = counters->to_ns;
    else
        bend = (bend - counters->zero_ns) / STEP_NS * STEP_NS;
    return bend > step_end ? bend : step_end;
}

void sample_counters_put_thread(const struct sample_counters *counters, uint32_t number, uint32_t tid,
                                struct pnr_string name)
{
    double shown[SAMPLES_WHATS] = { 0 };
    struct sink_recorder_event event = { .tid = tid, .thread_name = name };
    uint64_t ns = counters->from_ns, step_end, change;
    while (ns < counters->to_ns) {
        change = samples_next_change(counters->samples, number, counters->zero_ns + ns);
        if (change == UINT64_MAX || change - counters->zero_ns >= counters->to_ns)
            break;
        change = (change - counters->zero_ns) / STEP_NS * STEP_NS;
        if (change > ns)
            ns = change;
        do {
            step_end = (ns / STEP_NS + 1) * STEP_NS;
            if (step_end > counters->to_ns)
                step_end = counters->to_ns;
            struct spent_time spent = samples_spent(counters->samples, number, counters->zero_ns + ns,
                                                    counters->zero_ns + step_end);
            event.ns = ns;
            put_step(counters, &spent, shown, event);
            ns = find_next_step(counters, number, ns);
        } while (ns < counters->to_ns && (shown[0] != 0 || shown[1] != 0 || shown[2] != 0));
    }
}

void sample_counters_put_memory(const struct sample_counters *counters)
{
    const struct samples *samples = counters->samples;
    double shown = -1;                  /* no number of chunks */
    for (size_t i = 0; i < samples->n_memory; i++) {
        const struct sampled_memory *memory = &samples->memory[i];
        uint64_t ns = memory->ns > counters->zero_ns ? memory->ns - counters->zero_ns : 0;
        if (ns < counters->from_ns || ns > counters->to_ns)
            continue;
        put_counter(counters, (struct sink_recorder_event){ .ns = ns, .kind = SINK_MEMORY, .value = (double)memory->bytes });
        if (memory->n_chunks != shown)
            put_counter(counters, (struct sink_recorder_event){ .ns = ns, .kind = SINK_CHUNKS, .value = memory->n_chunks });
        shown = memory->n_chunks;
    }
}
