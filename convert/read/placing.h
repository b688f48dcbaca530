/* Gives the events of a sparse block that have no reading of the clock a time (specs/capture-format.md, section 5.4;
 * specs/trace-mapping.md, section 3.1). Hides how: after it no two events of a block share their ticks, unless
 * there are fewer ticks than events.
 *
 *     decoded       placed
 *     CALL f  100   100
 *     CALL g  100   118       between the two readings, as far apart as such events usually are
 *     RETURN g 100  131
 *     RETURN f 160  160
 *
 * Where a time is not well known, placing_is_inexact() is true of the record. That is a bit of the kind, so that a
 * loop over records that has a branch for each frequent kind pays nothing for it. */
#ifndef PLACING_H
#define PLACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/block.h"
#include "format/record.h"

/* Eight buckets an octave: values of a bucket differ by an eighth at most. */
#define PLACING_BUCKETS 512

/* How far apart the readings are between which events were placed. */
struct placing_count {
    uint64_t n_events;                  /* of sparse blocks, without OPEN records */
    uint64_t n_unread;                  /* of these without a reading */
    uint64_t n_inexact;                 /* of these that are inexact */
    uint64_t max_ns;                    /* the longest distance */
    uint64_t buckets[PLACING_BUCKETS];  /* number of events without a reading by the distance in nanoseconds */
};

/* The working memory. One thread at a time. */
struct placing;

/* ticks_per_second: the property; 0: not known, a tick is a nanosecond. Returns NULL when out of memory. */
struct placing *placing_new(uint64_t ticks_per_second);

/* Accepts NULL. */
void placing_free(struct placing *placing);

/* Places the events of a sparse block in its records, as decoded: header->n_records of them. Counts in *count, which is
 * overwritten. The result depends on the block alone. */
void placing_apply(struct placing *placing, const struct pnr_block_header *header, struct pnr_record *records,
                   struct placing_count *count);

/* Adds up counts of blocks. */
void placing_count_add(struct placing_count *sum, const struct placing_count *count);

/* Finds the distance in nanoseconds that so many thousandths of the events without a reading do not exceed, to an
 * eighth. */
uint64_t placing_count_quantile(const struct placing_count *count, unsigned thousandths);

/* Says in words where the clock was read, and how far apart the readings are; there are events without one. text has
 * size bytes, and 256 suffice. */
void placing_count_describe(const struct placing_count *count, char *text, size_t size);

/* The kind of a record of a sparse block, without that bit. */
static inline unsigned placing_kind(struct pnr_record record)
{
    return pnr_record_kind(record) & 0x7f;
}

/* True for an entry or exit of a sparse block that may be wrong by more than 1 us. */
static inline bool placing_is_inexact(struct pnr_record record)
{
    return pnr_record_kind(record) & 0x80;
}

#endif
