/* What viewers show of the samples of a process (read/samples.h): counters of how much of the time each thread ran, queued and
 * held the GIL, and of the memory. Hides in which steps. */
#ifndef SAMPLE_COUNTERS_H
#define SAMPLE_COUNTERS_H

#include "convert/slices/sink.h"

/* The time that is shown, in nanoseconds from the start of the trace. */
struct sample_counters {
    const struct samples *samples;      /* borrowed, like the next */
    struct sink *sink;
    uint64_t zero_ns;                   /* CLOCK_MONOTONIC at the start of the trace */
    uint64_t from_ns, to_ns;
};

/* Gives the sink the counters of a thread. number: in the capture; name: borrowed for the call. */
void sample_counters_put_thread(const struct sample_counters *counters, uint32_t number, uint32_t tid,
                                struct pnr_string name);

/* Gives it those of the process. */
void sample_counters_put_memory(const struct sample_counters *counters);

#endif
