/* Blocks that are decoded before they are needed, by jobs: a few at a time.
 *
 *     ahead_new()
 *     while there is ahead_room(): read a data frame into it, ahead_start()
 *     ahead_take(), for each block that was started, in any order
 *     ahead_free()
 *
 * All calls are those of the owner of the jobs. */
#ifndef AHEAD_H
#define AHEAD_H

#include <stdbool.h>

#include "convert/jobs.h"
#include "format/block.h"

struct ahead;

/* jobs is borrowed until ahead_free(). Returns NULL when out of memory. */
struct ahead *ahead_new(struct jobs *jobs);

/* Accepts NULL. */
void ahead_free(struct ahead *ahead);

/* Where a data frame of up to pnr_block_data_bound() bytes can be put; borrowed until ahead_start(). NULL when as many
 * blocks as may be have been started and not taken. */
void *ahead_room(struct ahead *ahead);

/* Decodes the data frame that was put into the room. header has been checked, and is copied; key is what the block is
 * known by. */
void ahead_start(struct ahead *ahead, const void *key, const struct pnr_block_header *header);

/* Gives the records of the block in exchange for *records, which has room for as many. False when it was not started,
 * or is damaged; then nothing is changed. */
bool ahead_take(struct ahead *ahead, const void *key, struct pnr_block_header *header, struct pnr_record **records);

#endif
