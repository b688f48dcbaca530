/* Schedule: when a thread of this process got a processor and when it lost it, as the kernel reports each (perf_event_open
 * with context_switch). It reports them to a process without rights, too, unless the machine's settings forbid it. Hides
 * the kernel's interface. No Python dependency.
 *
 *     rec_schedule_probe                  does the kernel report them? Of how many threads?
 *     rec_schedule_open                   for each thread
 *         rec_schedule_look               what has been reported so far
 *         rec_schedule_next ...           each of these
 *     rec_schedule_close, or rec_schedule_forget in a forked child
 *
 * Each thread has a ring that the kernel fills; no descriptor stays open. One thread at a time. */
#ifndef REC_SCHEDULE_H
#define REC_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../format/record.h"

#define REC_SCHEDULE_MAX_CHANGES 256    /* of a thread between two looks; of more it is only known that there were */
#define REC_SCHEDULE_WHY_SIZE 96

struct rec_schedule {
    void *ring;                         /* a mapping, owned; NULL: none */
    uint64_t read, end;                 /* positions in it: what is read, and what is there to be read */
};

struct rec_schedule_change {
    uint64_t ns;                        /* CLOCK_MONOTONIC; 0 for PNR_SCHEDULE_MISSING */
    enum pnr_schedule what;
};

/* Tries it with the calling thread. Writes "exact", or "sampled: " and why, to `text`. Returns how many rings there may be at
 * a time; 0: it is not exact. */
size_t rec_schedule_probe(char *text, size_t size);

/* native_id: of the operating system; 0: the calling thread. From now on. Returns false, sets no ring and writes why, when that
 * is refused; nothing, when there is no such thread. size: of `why`, REC_SCHEDULE_WHY_SIZE is enough. */
bool rec_schedule_open(struct rec_schedule *schedule, uint32_t native_id, char *why, size_t size);

/* Finds what has been reported so far. Returns how many changes there are at most; 0 without a ring. */
size_t rec_schedule_look(struct rec_schedule *schedule);

/* Takes the next change of those that rec_schedule_look found. Returns false when there is none. */
bool rec_schedule_next(struct rec_schedule *schedule, struct rec_schedule_change *change);

/* Accepts one without a ring. */
void rec_schedule_close(struct rec_schedule *schedule);

/* In a forked child, which has not got the parent's ring. */
void rec_schedule_forget(struct rec_schedule *schedule);

#endif
