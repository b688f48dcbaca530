/* Reads blocks from where they lie: a file of a segment, or a chunk of the live mapping. Knows no order and no thread.
 *
 *     blocks_init()
 *     blocks_allocate()      before something is read; again after blocks_release()
 *     blocks_read() ...
 *     blocks_release()           gives memory, descriptors and the live mapping back
 *     blocks_clear() */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "format/block.h"
#include "format/capture.h"
#include "format/record.h"
#include "files.h"

/* Where a block lies, and what is known of it. */
struct block_ref {
    uint32_t thread, sequence;
    uint32_t segment;                   /* its number; 0: in the live mapping */
    uint16_t n_records;                 /* of a chunk, when the reader was opened */
    bool is_short : 1;                  /* in the segment's file of short threads, not in that of its own */
    bool is_chunk : 1;                  /* it was one when the reader was opened */
    bool is_after_hole : 1;             /* blocks before it are missing */
    bool is_last : 1, is_deeper : 1;    /* PNR_BLOCK_LAST, PNR_BLOCK_DEEPER */
    bool is_read : 1, is_damaged : 1;   /* it has been counted, its damage has been said */
    uint64_t at : 48;                   /* of the block in the file; the chunk's number in the mapping */
    uint64_t n_open : 16;               /* OPEN records at its begin, as its header says */
    uint64_t begin_ticks;
    uint64_t end_ticks;                 /* of its last record, if it is a chunk's */
    uint64_t check;                     /* of the header, as it was when the reader was opened */
};

_Static_assert(sizeof(struct block_ref) == 48 && PNR_BLOCK_RECORDS <= UINT16_MAX, "there may be millions");

struct blocks {
    struct files files;
    struct pnr_live live;               /* its header is NULL where there is none */
    struct pnr_block_coder *coder;      /* owned, like the next two */
    unsigned char *data;                /* a data frame */
    struct pnr_record *records;         /* of the block that was read last; may be exchanged for others */
};

/* path: of the process; borrowed until blocks_clear(). */
void blocks_init(struct blocks *blocks, const char *path);
void blocks_clear(struct blocks *blocks);

/* Returns 0, or -1 when out of memory. */
int blocks_allocate(struct blocks *blocks);
void blocks_release(struct blocks *blocks);

/* The file in which a ref lies, as files.h names it. */
static inline uint32_t block_ref_file(const struct block_ref *ref)
{
    return ref->is_short ? PNR_SHORT_THREADS : ref->thread;
}

/* Reads the header of a block in a file again, and its data frame to data. Returns 0; -1 when the file is not as it was,
 * and fills err: without a path where it could be opened. */
int blocks_read_data(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header, void *data,
                     struct pnr_err *err);

/* The same, and decodes it. */
int blocks_read(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header, struct pnr_err *err);

/* Reads a chunk and gives its header, which says how many records it has. Returns 1; 0 when it is not there any more;
 * -1 when it cannot be read. */
int blocks_read_chunk(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header);

#endif
