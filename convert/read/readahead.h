/* Blocks that are decoded before they are needed, by jobs: a few at a time.
 *
 *     readahead_new()
 *     while there is readahead_buffer(): read a data frame into it, readahead_start()
 *     readahead_take(), for each block that was started, in any order
 *     readahead_free()
 *
 * All calls are those of the owner of the jobs. */
#ifndef READAHEAD_H
#define READAHEAD_H

#include <stdbool.h>

#include "convert/jobs.h"
#include "format/block.h"

struct readahead;

/* jobs is borrowed until readahead_free(). Returns NULL when out of memory. */
struct readahead *readahead_new(struct jobs *jobs);

/* Accepts NULL. */
void readahead_free(struct readahead *readahead);

/* Where a data frame of up to pnr_block_data_bound() bytes can be put; borrowed until readahead_start(). NULL when as many
 * blocks as may be have been started and not taken. */
void *readahead_buffer(struct readahead *readahead);

/* Decodes the data frame that was put into the room. header has been checked, and is copied; key is what the block is
 * known by. */
void readahead_start(struct readahead *readahead, const void *key, const struct pnr_block_header *header);

/* Gives the records of the block in exchange for *records, which has room for as many. False when it was not started,
 * or is damaged; then nothing is changed. */
bool readahead_take(struct readahead *readahead, const void *key, struct pnr_block_header *header, struct pnr_record **records);

#endif
