/* Brings the headers of all blocks of many segments into the page cache, beside the one who walks them. Where they are not
 * there yet, each costs a page from the disk, and whoever reads one after another leaves that idle most of the time.
 *
 *     prefetch_start()
 *     the segments are walked
 *     prefetch_end()
 *
 * Reads 36 bytes of each block, a few segments at a time; what is damaged is left to the one who walks. */
#ifndef PREFETCH_H
#define PREFETCH_H

#include <stddef.h>
#include <stdint.h>

struct prefetch;

/* Of the n segments of a process, in the order of numbers, all but the first. Both are borrowed until prefetch_end().
 * Returns NULL where it is not worth while, or cannot be. */
struct prefetch *prefetch_start(const char *process_path, const uint32_t *numbers, size_t n);

/* Returns when nothing is read any more. Accepts NULL. */
void prefetch_end(struct prefetch *prefetch);

#endif
