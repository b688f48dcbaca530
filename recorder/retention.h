/* Keeps a capture to its limits, over all its processes: evicts the oldest segments, and then what is left of processes
 * that have ended. No Python dependency. specs/recording.md, section 8.
 *
 * Who needs room on disk reserves it first:
 *
 *     rec_retention_reserve               locks the capture, evicts until so many bytes fit
 *     ... makes its files ...
 *     rec_retention_release               unlocks it
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
    uint64_t last_ns;                   /* what is older need not be kept; 0: all is */
};

/* The least max_size that can be kept. */
#define REC_MIN_SIZE (UINT64_C(16) << 20)

/* A segment is full when it has so many bytes, and ends at that age. */
uint64_t rec_retention_segment_size(const struct rec_limits *limits);
uint64_t rec_retention_segment_ns(const struct rec_limits *limits);

/* What a file of so many bytes takes on disk. */
uint64_t rec_retention_size_on_disk(uint64_t size);

/* Evicts what is too old, and then the oldest of the rest until `size` more bytes fit. The lock is the caller's to
 * release; -1 when there are no limits to keep. Returns 0, or -1 and nothing to release, also when the limit leaves no
 * room. */
int rec_retention_reserve(const char *capture_path, const struct rec_limits *limits, uint64_t size, int *lock,
                          struct pnr_err *err);

/* The same for a process that may not look at the others, because it has given up its rights: evicts its own segments, as if
 * it were the only one. Returns 0 or -1. */
int rec_retention_trim(const char *process_path, const struct rec_limits *limits, uint64_t size, struct pnr_err *err);

/* Whether there are processes of another user in the capture, for which this one has to keep the limits. */
bool rec_retention_is_shared(const char *capture_path);

/* Accepts -1. */
void rec_retention_release(int lock);

/* Locks the capture, after so many ms at most. Returns the lock, or -1 when another process has it or there is no
 * capture. */
int rec_retention_lock(const char *capture_path, int max_wait_ms);

/* With the lock: removes what processes left that were ended while they began. Any thread may do so at any time. */
void rec_retention_remove_waste(const char *capture_path);

#endif
