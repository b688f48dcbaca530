#include "sample_counters.h"

/* A figure is an average of so much time. At the samples themselves a thread mostly either runs or does not. */
#define STEP_NS 10000000

static void put_counter(const struct sample_counters *counters, struct sink_recorder_event event)
{
    if (!counters->sink->is_broken)
        counters->sink->recorder_event(counters->sink, &event);
}

/* Returns the share in percent, to a tenth. */
static double percent(uint64_t ns, uint64_t of_ns)
{
    uint64_t tenths = of_ns ? (1000 * ns + of_ns / 2) / of_ns : 0;
    return (double)tenths / 10;
}

/* Puts those of the thread's figures for a step that differ from the step before. first: 1 without what it ran. */
static void put_step(const struct sample_counters *counters, const struct spent_time *spent, double *shown, int first,
                     struct sink_recorder_event event)
{
    static const enum sink_recorder_kind kinds[SAMPLES_WHATS] = { SINK_RAN, SINK_QUEUED, SINK_HELD_GIL };
    for (int what = first; what < SAMPLES_WHATS; what++) {
        event.value = percent(spent->ns[what], spent->known_ns);
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

/* Puts what a thread ran whose schedule is known: a figure for each time between two changes, which is mostly 0 or 100. */
static void put_exact_ran(const struct sample_counters *counters, uint32_t number, struct sink_recorder_event event)
{
    double shown = 0;
    event.kind = SINK_RAN;
    for (uint64_t ns = counters->from_ns, end; ns < counters->to_ns; ns = end) {
        uint64_t bend = samples_next_ran_bend(counters->samples, number, counters->zero_ns + ns);
        end = bend == UINT64_MAX || bend - counters->zero_ns > counters->to_ns ? counters->to_ns : bend - counters->zero_ns;
        struct spent_time spent = samples_spent(counters->samples, number, counters->zero_ns + ns, counters->zero_ns + end);
        event.ns = ns;
        event.value = percent(spent.ns[SAMPLES_RAN], end - ns);
        if (event.value != shown)
            put_counter(counters, event);
        shown = event.value;
    }
}

void sample_counters_put_thread(const struct sample_counters *counters, uint32_t number, uint32_t tid,
                                struct pnr_string name)
{
    double shown[SAMPLES_WHATS] = { 0 };
    struct sink_recorder_event event = { .tid = tid, .thread_name = name };
    uint64_t ns = counters->from_ns, step_end, change;
    int first = samples_are_exact(counters->samples, number) ? SAMPLES_QUEUED : SAMPLES_RAN;
    if (first != SAMPLES_RAN)
        put_exact_ran(counters, number, event);
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
            put_step(counters, &spent, shown, first, event);
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
