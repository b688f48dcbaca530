/* Samples: the recorder's own thread looks again and again which thread holds the GIL, how long threads ran and how long
 * they waited for a processor, and how much memory the process has. It touches nothing of the program
 * (specs/capture-format.md, section 4.4). Hides where the operating system says so. No Python dependency.
 *
 *     rec_samples_begin                       a capture wants samples
 *         rec_samples_add                     a thread's first event
 *             rec_samples_allow               a thread begins a chunk
 *                 rec_samples_take_if_due ...
 *             rec_samples_flush               the chunk of the samples is submitted; none is taken before they are allowed
 *         rec_samples_remove                  the thread has ended
 *     rec_samples_end
 *
 * rec_samples_take_if_due is called by the recorder's thread. The others are called with the recording lock
 * (thread_buffer.h). */
#ifndef REC_SAMPLES_H
#define REC_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include "../format/block.h"
#include "../format/record.h"

#define REC_SAMPLES_MIN_NS 100000       /* the shortest period */

struct rec_samples_options {
    uint64_t period_ns;
    /* Finds who holds the GIL, without having it. *holder: its key, of rec_samples_add. */
    enum pnr_gil (*look_at_gil)(const void **holder);
};

/* Begins, or goes on with another period. Does nothing where the samples have no memory. */
void rec_samples_begin(const struct rec_samples_options *options);

/* A thread is recorded from now on, or has another id. native_id: of the operating system; 0: not known yet. key: what
 * look_at_gil finds. */
void rec_samples_add(uint32_t number, uint32_t native_id, const void *key);

void rec_samples_remove(uint32_t number);

/* True while threads are sampled. Any thread may ask. */
bool rec_samples_are_on(void);

/* Takes a sample if the time has come. Returns in how many nanoseconds the next one is due; UINT64_MAX: none is. */
uint64_t rec_samples_take_if_due(void);

/* Threads record: samples are taken from now on. */
void rec_samples_allow(void);

/* Submits what was sampled, as if it had ended at this moment. Threads that are paused are not sampled. */
void rec_samples_flush(struct pnr_clock_sample end);

/* As rec_samples_flush; the recording ends. */
void rec_samples_end(struct pnr_clock_sample end);

/* Forgets the parent's samples in a forked child. */
void rec_samples_forked(void);

#endif
