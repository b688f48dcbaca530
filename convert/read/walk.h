/* Walks the blocks of a file by their headers, each of which says where the next one begins. After damage it searches
 * for the next valid header.
 *
 *     struct walk walk = { .fd = fd, .at = at, .size = size };
 *     while ((status = walk_next(&walk, &found)) != WALK_END)
 *  */
#ifndef WALK_H
#define WALK_H

#include <stdint.h>

#include "format/block.h"
#include "format/error.h"

struct walk {
    int fd;                             /* borrowed */
    uint64_t at;                        /* where the next block begins */
    uint64_t size;                      /* nothing from here on is read */
    unsigned n_waited;                  /* reads that had to wait for the disk */
};

enum walk_status {
    WALK_END,
    WALK_BLOCK,                         /* a block with a valid header, whose data lie whole in the file */
    WALK_DAMAGE,                        /* no block begins there, or its header is invalid: err says why */
    WALK_CUT_IN_HEADER, WALK_CUT_IN_BLOCK       /* the file ends inside it; comes last, and walk.at stays before it */
};

struct walk_found {
    uint64_t at;
    struct pnr_block_header header;     /* of WALK_BLOCK and WALK_CUT_IN_BLOCK */
    struct pnr_err err;                 /* of WALK_DAMAGE; without a path */
};

enum walk_status walk_next(struct walk *walk, struct walk_found *found);

#endif
