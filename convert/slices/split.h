/* Where a trace is cut into files of a size: each shows a window of time, one behind the other. Hides how the windows
 * are chosen: by the headers of the blocks, which tell how many records there are from when to when, and by what the
 * windows before became.
 *
 *     split_new()
 *     while split_next(): convert the window; split_judge() tells whether that becomes a file, or another window is to
 *         be tried
 *     split_free()
 *
 * Memory: 32 bytes a thread, and up to 4 MiB. */
#ifndef SPLIT_H
#define SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"

/* Smaller files would be mostly what is open at both ends. */
#define SPLIT_LEAST_SIZE (64 << 10)

struct split;

/* Of all processes, from from_ns to to_ns on the trace, whose start is zero_ns (CLOCK_MONOTONIC). Returns NULL when out
 * of memory. */
struct split *split_new(struct reader **readers, size_t n, uint64_t zero_ns, uint64_t from_ns, uint64_t to_ns,
                        uint64_t size);

/* Accepts NULL. */
void split_free(struct split *split);

/* The window that is to be converted now. False when there is none left. */
bool split_next(const struct split *split, uint64_t *from_ns, uint64_t *to_ns);

/* More bytes than that are in vain: the window will not become a file. */
uint64_t split_most(const struct split *split);

/* What a window has become. */
struct split_result {
    uint64_t bytes, events;             /* of a window that became too large, at least so many */
    uint64_t n_open;                    /* slices that are cut at its end */
};

/* True when the window becomes a file, and the next one follows it; false when another window is to be tried. */
bool split_judge(struct split *split, const struct split_result *result);

/* How many files are larger than they should be, as they are of a single instant, or as what is open at their begin and
 * end is most of them. */
uint64_t split_n_large(const struct split *split);

#endif
