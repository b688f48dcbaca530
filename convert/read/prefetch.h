/* Brings the headers of all blocks of many files into the page cache, beside the one who walks them. Where they are not
 * there yet, each costs a page from the disk, and whoever reads one after another leaves that idle most of the time.
 *
 *     prefetch_start()
 *     the files are walked
 *     prefetch_end()
 *
 * Reads 36 bytes of each block, a few files at a time; what is damaged is left to the one who walks. */
#ifndef PREFETCH_H
#define PREFETCH_H

#include <stddef.h>

#include "files.h"

struct prefetch;

/* Of the n files of a process, which are walked in this order. Both are borrowed until prefetch_end(). Returns NULL where
 * it is not worth while, or cannot be. */
struct prefetch *prefetch_start(const char *process_path, const struct file *files, size_t n);

/* Returns when nothing is read any more. Accepts NULL. */
void prefetch_end(struct prefetch *prefetch);

#endif
