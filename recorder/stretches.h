/* Stretches: decides at which events a sparse clock (sparse_clock.h) is read, from the records of finished chunks. A
 * stretch is the time between two events of a thread that follow each other: self time of one function. It belongs to
 * the class of the event before it: entries, or exits, of one function. No Python dependency.
 *
 *     rec_stretches_start
 *         rec_stretches_read                       each block, before it is encoded
 *     rec_stretches_stop
 *
 * What is measured are stretches between two readings without an event between them. A class is short when such
 * stretches usually are: then neither the event before the stretch nor the one after it needs a reading.
 *
 *     class               its stretches                            what follows
 *     new                 not known                                both events read
 *     short               < 200 ns on average, few long ones       neither needs to
 *     not short           longer, or some are long                 both events read
 *     suspect             were often in intervals that took        both events read for some time: so it is found which
 *                         too long                                 of the classes takes long
 *
 * A function whose calls usually take 5 us or more has exact begins and ends, even if its stretches are short. */
#ifndef REC_STRETCHES_H
#define REC_STRETCHES_H

#include <stdbool.h>
#include <stdint.h>

#include "../format/block.h"

/* Starts the sparse clock, too. ticks_per_second: of the records. Returns false when out of memory. */
bool rec_stretches_start(uint64_t ticks_per_second);

/* Adds a block of a thread, of which the caller has filled in the end, if it is among those that are read. If another
 * thread is in here, does nothing. */
void rec_stretches_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n);

/* Stops both, also in a forked child. Nobody else may be in here. */
void rec_stretches_stop(void);

#endif
