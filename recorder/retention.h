/* Keeps a capture within its limits, over all its processes: evicts the oldest segments, and then what is left of
 * processes that have ended. No Python dependency. specs/recording.md, section 8.
 *
 *     rec_retention_reserve                   before files are made: locks the capture, evicts until so many bytes fit
 *     ... files are made ...
 *     rec_retention_release                   unlocks the capture
 *
 * All paths are PATH_MAX bytes in static memory, because the stack may be that of a small thread of the program: one
 * thread of the process at a time. */
#ifndef REC_RETENTION_H
#define REC_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "../format/error.h"

struct rec_limits {
    uint64_t max_size;                  /* bytes that the capture may take on disk; 0: any */
    uint64_t last_ns;                   /* what is older may be evicted; 0: nothing is too old */
};

/* The smallest max_size that can be kept. */
#define REC_MIN_SIZE (UINT64_C(16) << 20)

/* Returns at how many bytes, and at what age, a segment ends. */
uint64_t rec_retention_segment_size(const struct rec_limits *limits);
uint64_t rec_retention_segment_ns(const struct rec_limits *limits);

/* Returns what a file of so many bytes takes on disk. */
uint64_t rec_retention_size_on_disk(uint64_t size);

/* Evicts what is too old, and then the oldest of the rest until `size` more bytes fit. Gives a lock that the caller
 * releases; -1 when there are no limits to keep. Returns 0, or -1 and there is nothing to release: also when what
 * cannot be evicted takes all of max_size. */
int rec_retention_reserve(const char *capture_path, const struct rec_limits *limits, uint64_t size, int *lock,
                          struct pnr_err *err);

/* Evicts segments of one process as if there were no others: for a process that has dropped its privileges and may
 * not look at those of other users. Returns 0 or -1. */
int rec_retention_trim(const char *process_path, const struct rec_limits *limits, uint64_t size, struct pnr_err *err);

/* True when the capture has processes of other users, for which this one has to keep the limits. */
bool rec_retention_is_shared(const char *capture_path);

/* Releases the lock. Accepts -1. */
void rec_retention_release(int lock);

/* Locks the capture; waits so many ms at most. Returns the lock, or -1 when another process has it or there is no
 * capture. */
int rec_retention_lock(const char *capture_path, int max_wait_ms);

/* Removes what processes left that were ended while they started. Needs no lock; any thread may do so at any time. */
void rec_retention_remove_waste(const char *capture_path);

#endif
