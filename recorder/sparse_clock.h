/* The sparse clock: with `--clock sparse` an event does not read the clock where little time usually passes. Holds
 * what events look at, and the guard. Which functions that is true of, stretches.h decides. No Python dependency.
 *
 *     rec_sparse_start                        a recording begins
 *         rec_sparse_may_skip                 at an event
 *             rec_sparse_allow                after a reading: how many events may do without one now
 *         rec_sparse_break                    what comes next may take long
 *         rec_sparse_set                      a function's mode changes
 *         rec_sparse_tend                     by the recorder's own thread: the guard
 *     rec_sparse_stop
 *
 * The guard: the recorder's thread takes back what events may do, every REC_SPARSE_PERIOD_NS. So when more than that
 * passes in a place where usually little does, the event after it reads the clock: if the recorder's thread got a
 * processor in that time. While few events come it takes all back once, and rests: then every event reads. An event may
 * overwrite what the guard stores, but no event comes while a thread waits.
 *
 * Events are serialised by the recording lock (thread_buffer.h). */
#ifndef REC_SPARSE_CLOCK_H
#define REC_SPARSE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../format/record.h"

/* Functions with higher numbers read the clock at each event. */
#define REC_SPARSE_FUNCTIONS (UINT32_C(1) << 20)

/* Of the guard. A wake-up costs the kernel 3 us, and 20 in a virtual machine: 0.5 % of a processor at most. */
#define REC_SPARSE_PERIOD_NS 4000000

/* At most so many events in a row do without a reading: a run. */
#define REC_SPARSE_RUN 32

/* A function's mode. */
enum rec_sparse_mode {
    REC_SPARSE_ENTRY = 1,               /* an entry of the function needs no reading */
    REC_SPARSE_EXIT = 2,                /* nor an exit of it */
    REC_SPARSE_AFTER_ENTRY = 4,         /* nor what follows an entry ... */
    REC_SPARSE_AFTER_EXIT = 8           /* ... or an exit */
};

struct rec_sparse {
    _Atomic uintptr_t limit;            /* the next records up to here need no reading, less 1; 0: each needs one */
    _Atomic uint8_t *modes;             /* enum rec_sparse_mode of each function, REC_SPARSE_FUNCTIONS of them */
    _Atomic uint32_t random;            /* changes with each reading */
    _Atomic uint32_t mask;              /* of the runs that are allowed: 0 while the guard rests */
    bool is_on;                         /* the clock of this recording is sparse */
};
extern struct rec_sparse rec_sparse __attribute__((visibility("hidden")));

/* Begins with every event reading. Returns false when out of memory. */
bool rec_sparse_start(void);

/* Ends it, also in a forked child. */
void rec_sparse_stop(void);

/* Sets the mode of a function. Any thread may call it. */
void rec_sparse_set(uint32_t function, uint8_t mode);

/* Lets events of function 0, which does not exist, do without readings as those of a short function do; then not any
 * more. For measuring what an event costs. With the recording lock. */
void rec_sparse_allow_none(bool allows);

/* Reports a block of n events, which took so long: many in a short time wake the guard. By the recorder's own thread,
 * or one that does its work. */
void rec_sparse_note_block(uint32_t n_events, uint64_t duration_ns);

/* Does the guard's work where it is due. Returns in how many ns it is due next; UINT64_MAX while it rests. By the
 * recorder's own thread. */
uint64_t rec_sparse_tend(void);

/* Lets the guard rest: every event reads until there is work for it again. By the recorder's own thread, when it ends
 * for some time. */
void rec_sparse_rest(void);

/* What comes next may take long: the next event reads the clock. */
static inline void rec_sparse_break(void)
{
    atomic_store_explicit(&rec_sparse.limit, 0, memory_order_relaxed);
}

static inline uint8_t rec_sparse_mode_of(uint32_t function)
{
    return __builtin_expect(function < REC_SPARSE_FUNCTIONS, 1) ?
        atomic_load_explicit(&rec_sparse.modes[function], memory_order_relaxed) : 0;
}

/* True when the event of this mode, whose record goes to r, needs no reading. Then the chunk has space for it. */
static inline __attribute__((always_inline)) bool rec_sparse_may_skip(const struct pnr_record *r, uint8_t mode,
                                                                      bool is_exit)
{
    return mode & (is_exit ? REC_SPARSE_EXIT : REC_SPARSE_ENTRY) &&
           atomic_load_explicit(&rec_sparse.limit, memory_order_relaxed) - (uintptr_t)r <
               REC_SPARSE_RUN * sizeof(struct pnr_record);
}

/* Returns the length of the next run. Half of the runs are empty: so there are pairs of readings without an event
 * between them, the samples of stretches.h and of the converter. The others are 1 to 32 events long, evenly. It is
 * random, by the upper bits of a linear congruential generator: fixed lengths fall in step with a loop of the program,
 * and then some of its stretches are never sampled. */
static inline __attribute__((always_inline)) uint32_t rec_sparse_next_run(void)
{
    uint32_t random = atomic_load_explicit(&rec_sparse.random, memory_order_relaxed) * UINT32_C(1664525) +
        UINT32_C(1013904223);
    atomic_store_explicit(&rec_sparse.random, random, memory_order_relaxed);
    return ((random >> 26) % REC_SPARSE_RUN + 1) & -(random >> 31);
}

/* After a reading: lets some of the next events do without. next, end: where their records go. */
static inline __attribute__((always_inline)) void rec_sparse_allow(const struct pnr_record *next,
                                                                   const struct pnr_record *end, uint8_t mode,
                                                                   bool is_exit)
{
    uint32_t run = rec_sparse_next_run() & atomic_load_explicit(&rec_sparse.mask, memory_order_relaxed);
    uint32_t n = mode & (is_exit ? REC_SPARSE_AFTER_EXIT : REC_SPARSE_AFTER_ENTRY) ? run : 0;
    uintptr_t limit = (uintptr_t)(next + n);
    limit = (limit < (uintptr_t)end ? limit : (uintptr_t)end) - 1;
    atomic_store_explicit(&rec_sparse.limit, limit, memory_order_relaxed);
}

#endif
