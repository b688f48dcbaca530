/* Decodes a few blocks, and spreads the events of sparse ones, before they are needed, by jobs.
 *
 *     readahead_new()
 *     while there is a readahead_buffer(): read a data frame into it, readahead_start()
 *     readahead_take(), for each block that was started, in any order
 *     readahead_free()
 *
 * Only the owner of the jobs may call these. */
#ifndef READAHEAD_H
#define READAHEAD_H

#include <stdbool.h>

#include "convert/jobs.h"
#include "format/block.h"
#include "placing.h"

struct readahead;

/* jobs is borrowed until readahead_free(). ticks_per_second: as for placing_new(). Returns NULL when out of memory. */
struct readahead *readahead_new(struct jobs *jobs, uint64_t ticks_per_second);

/* Accepts NULL. */
void readahead_free(struct readahead *readahead);

/* Finds a free slot's buffer for a data frame of up to pnr_block_data_bound() bytes; borrowed until readahead_start().
 * Returns NULL when no slot is free. */
void *readahead_buffer(struct readahead *readahead);

/* Starts to decode the data frame in the buffer. header has been checked, and is copied. key identifies the block.
 * spreads: the block's events are placed, too, if it is sparse. */
void readahead_start(struct readahead *readahead, const void *key, const struct pnr_block_header *header, bool spreads);

/* Waits for a block, and exchanges its records for *records, a buffer of the same capacity. Fills in *placed if it is
 * a sparse block that was placed. Returns false when the block was not started or is damaged; then nothing has
 * changed. */
bool readahead_take(struct readahead *readahead, const void *key, struct pnr_block_header *header,
                    struct pnr_record **records, struct placing_count *placed);

#endif
