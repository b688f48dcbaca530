/* Recovers the records that were in the live mapping when the reader was opened: the chunks of its snapshot. The
 * process may still run, so a chunk may be a block in a file by the time it is read; then that block is found.
 *
 *     recovery_add_chunks()       part of index_take_snapshot(): adds the chunks in use to the index
 *     index_walk()
 *     recovery_start()            once a thread: where its search for blocks that were chunks begins
 *     recovery_read()             for each block_ref that is a chunk
 *     recovery_cut()              after its block has been read
 *
 * One chunk, from the snapshot to its records:
 *
 *     snapshot        chunk 5 is block 7 of thread 1 and holds the records a b c, at ticks 10 20 30
 *     then            the thread retracts c and goes on at ticks 40: a b d e ... until the chunk is full
 *     then            the drain writes block 7 to segment-2/thread-1.zst, and chunk 5 becomes block 0 of thread 3
 *     recovery_read   reads the header of chunk 5: another block's. It walks the files of thread 1 from where they
 *                     ended at the snapshot, finds block 7 and points the block_ref there: READ_IS_BLOCK
 *     blocks_read     reads a b d e ... from the file
 *     recovery_cut    keeps the first 3, as many as the snapshot had, then removes d: it is later than c at 30 was
 *
 * Records after the snapshot's may be of functions that the names read before do not have. A part of the reader. */
#ifndef RECOVERY_H
#define RECOVERY_H

#include "index.h"

/* What became of a block that was to be read. */
enum read_outcome {
    READ_RECORDS,                       /* its records are in index->blocks.records */
    READ_IS_BLOCK,                      /* the chunk has become a block, which is still to be read */
    READ_EVICTED,                       /* the recorder has evicted its segment */
    READ_RETRACTED,                     /* the chunk was freed without a block: its records were retracted */
    READ_DAMAGED,                       /* err says why */
    READ_OUT_OF_MEMORY
};

/* Adds the chunks in use to the index. Reports a live mapping that cannot be read, and goes on without it. Returns 0,
 * or -1 when out of memory. */
int recovery_add_chunks(struct index *index);

/* Where the files of each thread ended at the snapshot. */
struct rescan_position recovery_start(const struct index *index);

/* Reads a chunk from the live mapping, or finds the block that it has become. position: of the chunk's thread. Fills
 * header for READ_RECORDS, err for READ_DAMAGED. */
enum read_outcome recovery_read(struct index *index, const struct block_ref *ref, struct rescan_position *position,
                                struct pnr_block_header *header, struct pnr_err *err);

/* Cuts what has been read of a chunk, or of the block that it became, to the records of the snapshot. */
void recovery_cut(const struct index *index, const struct block_ref *ref, struct pnr_block_header *header);

#endif
