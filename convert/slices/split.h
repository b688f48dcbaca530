/* Divides a trace into files of a size, each of which shows a window of time, one after another. Hides how the
 * windows are chosen: by the headers of the blocks, which show how many records there are from when to when, and by
 * what the windows before became.
 *
 *     split_new()
 *     while split_next(): convert the window; split_judge() decides whether that becomes a file, or another window is
 *         tried
 *     split_free()
 *
 * Memory: 32 bytes a thread, and up to 4 MiB. */
#ifndef SPLIT_H
#define SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"

/* Smaller files would mostly contain what is open at both ends. */
#define SPLIT_MIN_SIZE (64 << 10)

struct split;

/* Divides all processes, from from_ns to to_ns of the trace, whose start is zero_ns (CLOCK_MONOTONIC). Returns NULL
 * when out of memory. */
struct split *split_new(struct reader **readers, size_t n, uint64_t zero_ns, uint64_t from_ns, uint64_t to_ns,
                        uint64_t size);

/* Accepts NULL. */
void split_free(struct split *split);

/* Returns the window to be converted now. False when there is none left. */
bool split_next(const struct split *split, uint64_t *from_ns, uint64_t *to_ns);

/* A conversion with more bytes can be stopped: the window will not become a file. */
uint64_t split_max_size(const struct split *split);

/* What a window has become. */
struct split_result {
    uint64_t bytes, events;             /* if the window became too large, at least as many */
    uint64_t n_open;                    /* slices that are cut at its end */
};

/* True when the window becomes a file, and the next one follows it; false when another window is to be tried. */
bool split_judge(struct split *split, const struct split_result *result);

/* Returns how many files are larger than they should be, as they are of a single nanosecond, or consist mostly of
 * what is open at their begin and end. */
uint64_t split_n_oversized(const struct split *split);

#endif
