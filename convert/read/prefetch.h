/* Brings the block headers of many files into the page cache, while another thread walks them. A header that is not
 * there yet costs a page from the disk; reading one after another would leave the disk idle most of the time.
 *
 *     prefetch_start()
 *     the files are walked
 *     prefetch_end()
 *
 * Reads 36 bytes of each block, of a few files at a time. Leaves what is damaged to the thread that walks. */
#ifndef PREFETCH_H
#define PREFETCH_H

#include <stddef.h>

#include "files.h"

struct prefetch;

/* files: those of the process in the order in which they are walked. Both arguments are borrowed until prefetch_end().
 * Returns NULL when it is not worth while, or no thread can be made. */
struct prefetch *prefetch_start(const char *process_path, const struct file *files, size_t n);

/* Stops, and returns when nothing is read any more. Accepts NULL. */
void prefetch_end(struct prefetch *prefetch);

#endif
