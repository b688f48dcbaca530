#include "walk.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "format/file.h"

/* How much of a file is searched at a time for the next header: at first, as it may be near, and at most. */
#define SEARCH_BEGIN 2048
#define SEARCH_SIZE 65536

/* Reads up to size bytes at an offset: less only at the end of the walk or when the file cannot be read. */
static size_t read_at(struct walk *walk, void *bytes, size_t size, uint64_t at)
{
    if (size > walk->size - at)
        size = (size_t)(walk->size - at);
    const struct iovec there = { bytes, size };
    ssize_t n = syscall(SYS_preadv2, walk->fd, &there, 1, (long)at, 0, RWF_NOWAIT);     /* glibc has it from 2.26 on */
    if (n == (ssize_t)size)
        return size;
    walk->n_waited++;
    n = pnr_file_read(walk->fd, bytes, size, (off_t)at);
    return n < 0 ? 0 : (size_t)n;
}

static bool is_block_prefix(const unsigned char *prefix)
{
    uint32_t words[3];
    memcpy(words, prefix, sizeof words);
    return words[0] == PNR_BLOCK_SKIPPABLE && words[1] == PNR_BLOCK_HEADER_SIZE && words[2] == PNR_BLOCK_MAGIC;
}

/* Finds the next offset from `at` on at which a valid header begins; the end when there is none. Skips the holes of a
 * sparse file, which may be terabytes. */
static uint64_t find_next_header(struct walk *walk, uint64_t at)
{
    unsigned char bytes[SEARCH_SIZE];
    for (size_t wanted = SEARCH_BEGIN;; wanted = 2 * wanted < sizeof bytes ? 2 * wanted : sizeof bytes) {
        off_t data = lseek(walk->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return walk->size;
        if (data > (off_t)at)
            at = (uint64_t)data;
        size_t n = at < walk->size ? read_at(walk, bytes, wanted, at) : 0;
        if (n < PNR_BLOCK_PREFIX_SIZE)
            return walk->size;
        for (size_t i = 0; i + PNR_BLOCK_PREFIX_SIZE <= n; i++) {
            struct pnr_block_header header;
            struct pnr_err err;
            if (bytes[i] != (PNR_BLOCK_SKIPPABLE & 0xff) || !is_block_prefix(bytes + i))
                continue;
            memcpy(&header, bytes + i + 8, sizeof header);
            if (pnr_block_header_check(&header, false, 0, &err) == 0)
                return at + i;
        }
        at += n - PNR_BLOCK_PREFIX_SIZE + 1;
    }
}

enum walk_status walk_next(struct walk *walk, struct walk_found *found)
{
    unsigned char prefix[PNR_BLOCK_PREFIX_SIZE];
    found->at = walk->at;
    if (walk->at >= walk->size)
        return WALK_END;
    if (read_at(walk, prefix, sizeof prefix, walk->at) < sizeof prefix) {
        walk->size = walk->at;
        return WALK_CUT_IN_HEADER;
    }
    memcpy(&found->header, prefix + 8, sizeof found->header);
    if ((is_block_prefix(prefix) ? pnr_block_header_check(&found->header, false, 0, &found->err) :
         pnr_err_set(&found->err, PNR_E_CORRUPT, NULL, 0, "no block begins here")) != 0) {
        walk->at = find_next_header(walk, walk->at + 1);
        return WALK_DAMAGE;
    }
    if (found->header.data_size > walk->size - walk->at - PNR_BLOCK_PREFIX_SIZE) {
        walk->size = walk->at;
        return WALK_CUT_IN_BLOCK;
    }
    walk->at += PNR_BLOCK_PREFIX_SIZE + found->header.data_size;
    return WALK_BLOCK;
}
