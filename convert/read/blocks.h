/* Reads one block from where it lies: a file of a segment, or a chunk of the live mapping. Knows no order and no
 * thread.
 *
 *     blocks_init()
 *     blocks_allocate()       before anything is read; again after blocks_release()
 *     blocks_read() ...
 *     blocks_release()        frees memory, descriptors and the live mapping
 *     blocks_clear() */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "format/block.h"
#include "format/capture.h"
#include "format/record.h"
#include "files.h"
#include "placing.h"

/* Where a block lies, and what the index knows of it. */
struct block_ref {
    uint32_t thread, sequence;
    uint32_t segment;                   /* 0: the block is a chunk of the live mapping */
    uint16_t n_records;                 /* of a chunk: in the snapshot */
    bool is_short : 1;                  /* in the segment's short-threads.zst, not in its thread's file */
    bool is_chunk : 1;                  /* it was a chunk when the reader was opened */
    bool is_after_hole : 1;             /* blocks before it are missing */
    bool is_last : 1, is_deeper : 1;    /* PNR_BLOCK_LAST, PNR_BLOCK_DEEPER */
    bool is_read : 1, is_damaged : 1;   /* it has been counted; its damage has been reported */
    uint64_t at : 48;                   /* its offset in the file, or its number in the mapping */
    uint64_t n_open : 16;               /* leading OPEN records, as the header says */
    uint64_t begin_ticks;
    uint64_t end_ticks;                 /* a chunk's: those of its last record */
    uint64_t check;                     /* the header's, when the reader was opened */
};

_Static_assert(sizeof(struct block_ref) == 48 && PNR_BLOCK_RECORDS <= UINT16_MAX, "there may be millions");

struct blocks {
    struct files files;
    struct pnr_live live;               /* its header is NULL where there is none */
    struct pnr_block_coder *coder;      /* owned, like the next two */
    unsigned char *data;                /* a data frame */
    struct pnr_record *records;         /* of the block that was read last; may be exchanged for as large a buffer */
    uint64_t ticks_per_second;          /* 0: not known */
    struct placing *placing;            /* owned; made when first needed */
    struct placing_count placed;        /* of the block that was placed last */
};

/* path: the directory of the process; borrowed until blocks_clear(). */
void blocks_init(struct blocks *blocks, const char *path);
void blocks_clear(struct blocks *blocks);

/* Returns 0, or -1 when out of memory. */
int blocks_allocate(struct blocks *blocks);
void blocks_release(struct blocks *blocks);

/* Names the file in which a block lies, as files.h does. */
static inline uint32_t block_ref_file(const struct block_ref *ref)
{
    return ref->is_short ? PNR_SHORT_THREADS : ref->thread;
}

/* Reads a block's data frame into data, and its header again. Returns 0; -1 when the file has changed, and fills err:
 * without a path if the file could be opened. */
int blocks_read_data(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header, void *data,
                     struct pnr_err *err);

/* Reads and decodes a block in a file. Returns and fills err as blocks_read_data(). */
int blocks_read(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header,
                struct pnr_err *err);

/* Spreads the events of the block that was read last, if it is sparse. Returns 0, or -1 when out of memory. */
int blocks_spread(struct blocks *blocks, const struct pnr_block_header *header);

/* Reads a chunk's records and its header, and sets n_records in that. Returns 1; 0 when the chunk is not this block's
 * any more; -1 when it cannot be read. */
int blocks_read_chunk(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header);

#endif
