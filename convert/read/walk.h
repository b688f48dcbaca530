/* Walks the blocks of a file by their headers: each says where the next one begins. Behind what is damaged the next good
 * header is looked for.
 *
 *     struct walk walk = { .fd = fd, .at = at, .size = size };
 *     while ((status = walk_next(&walk, &found)) != WALK_END)
 */
#ifndef WALK_H
#define WALK_H

#include <stdint.h>

#include "format/block.h"
#include "format/error.h"

struct walk {
    int fd;                             /* borrowed */
    uint64_t at;                        /* what has been seen ends here */
    uint64_t size;                      /* nothing behind it is read */
    unsigned n_waited;                  /* how often what was read was not in memory already */
};

enum walk_status {
    WALK_END,
    WALK_BLOCK,                         /* a block with a good header, whole as far as its size goes */
    WALK_DAMAGE,                        /* no block begins there, or one with a bad header, for which err tells why */
    WALK_CUT_IN_HEADER, WALK_CUT_IN_BLOCK       /* the file ends inside it; comes last, and walk.at stays before it */
};

struct walk_found {
    uint64_t at;
    struct pnr_block_header header;     /* of WALK_BLOCK and WALK_CUT_IN_BLOCK */
    struct pnr_err err;                 /* of WALK_DAMAGE; without a path */
};

enum walk_status walk_next(struct walk *walk, struct walk_found *found);

#endif
