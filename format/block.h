/* A block: up to PNR_BLOCK_RECORDS records of one thread, compressed; the unit that is written, checked, skipped and
 * converted by itself. On disk it is two zstd frames (specs/capture-format.md, section 5):
 *
 *     skippable frame   u32 magic PNR_BLOCK_SKIPPABLE, u32 size = 96, struct pnr_block_header
 *     data frame        up to 16 planes of n_records bytes each, zstd content checksum on
 *
 * Plane k holds byte k of every record, after the ticks were shifted right by tick_shift and replaced by their
 * differences (mod 2^40; the first one's from 0). Planes that are all zero are omitted. Hides the planes and zstd. A
 * coder is not thread-safe: one belongs to one thread at a time.
 *
 * In a sparse block the clock was not read at each event. An event without a reading has ticks 0 in the live mapping,
 * and the ticks of the record before it in what is decoded, so that its difference on disk is 0. */
#ifndef PNR_BLOCK_H
#define PNR_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "record.h"

/* Records per block and per chunk of the live mapping, 256 KiB. The figures are in bench/README.md. */
#define PNR_BLOCK_RECORDS 16384

/* zstd's parameters for blocks. What repeats in planes is long, so a small table of long matches finds as much as the
 * level's own table, and stays in the first-level cache. The figures are in bench/README.md. */
#define PNR_BLOCK_LEVEL 1
#define PNR_BLOCK_HASH_LOG 8
#define PNR_BLOCK_MIN_MATCH 7

#define PNR_BLOCK_MAGIC UINT32_C(0x42524e50)            /* "PNRB" in file order: 50 4e 52 42 */
#define PNR_BLOCK_SKIPPABLE UINT32_C(0x184d2a5b)        /* RFC 8878, 3.1.2: 0x184D2A50 to 0x184D2A5F are skippable */
#define PNR_BLOCK_VERSION 1
#define PNR_BLOCK_VERSION_SPARSE 2
#define PNR_BLOCK_HEADER_SIZE 96
#define PNR_BLOCK_PREFIX_SIZE (8 + PNR_BLOCK_HEADER_SIZE)       /* the whole skippable frame */

enum pnr_block_flag {
    PNR_BLOCK_RESYNC = 1,       /* events between the block before and this one may be missing */
    PNR_BLOCK_DEEPER = 2,       /* more frames were open than there are OPEN records, which are the innermost */
    PNR_BLOCK_LAST = 4,         /* the thread ended with this block */
    PNR_BLOCK_PAUSED = 8,       /* recording was paused between the block before and this one */
    PNR_BLOCK_SPARSE = 16,      /* records with the ticks of the record before them have no time of their own */
    PNR_BLOCK_FLAGS = 31        /* all that are defined; others are rejected */
};

/* One moment on three clocks. */
struct pnr_clock_sample {
    uint64_t ticks;             /* of the process's tick clock */
    uint64_t monotonic_ns;      /* CLOCK_MONOTONIC */
    uint64_t realtime_ns;       /* CLOCK_REALTIME */
};

/* 96 bytes, the same in memory, in the live mapping and on disk; little-endian, naturally aligned:
 *    0  u32  magic         PNR_BLOCK_MAGIC
 *    4  u16  version       1; with PNR_BLOCK_SPARSE 2; a higher one is rejected
 *    6  u16  flags         enum pnr_block_flag
 *    8  u32  thread        number of the thread in its process, from 1
 *   12  u32  sequence      number of the block in its thread, from 0, without holes
 *   16  u32  n_records     1 to PNR_BLOCK_RECORDS; in the live mapping 0: count the valid records
 *   20  u32  n_open        leading OPEN records, <= n_records
 *   24  u32  data_size     bytes of the data frame; in the live mapping 0
 *   28  u16  planes        bit k: plane k is in the data frame; that of the kinds always is; in the live mapping 0
 *   30  u8   tick_shift    low bits of the ticks that are not kept, 0 to PNR_TICKS_BITS - 1; in the live mapping 0
 *   31  u8   reserved      0
 *   32  u64  begin.ticks   the records' ticks count from here
 *   40  u64  begin.monotonic_ns
 *   48  u64  begin.realtime_ns
 *   56  u64  end.ticks     when the block was closed; in the live mapping all three are 0
 *   64  u64  end.monotonic_ns
 *   72  u64  end.realtime_ns
 *   80  u32  track         of the first records, OPEN included: the number of a greenlet; 0: the thread itself
 *   84  u32  reserved2     0
 *   88  u64  check         FNV-1a, 64 bits, of bytes 0 to 87 */
struct pnr_block_header {
    uint32_t magic;
    uint16_t version;
    uint16_t flags;
    uint32_t thread;
    uint32_t sequence;
    uint32_t n_records;
    uint32_t n_open;
    uint32_t data_size;
    uint16_t planes;
    uint8_t tick_shift;
    uint8_t reserved;
    struct pnr_clock_sample begin;
    struct pnr_clock_sample end;
    uint32_t track;
    uint32_t reserved2;
    uint64_t check;
};

_Static_assert(sizeof(struct pnr_block_header) == PNR_BLOCK_HEADER_SIZE, "no padding: written as it lies in memory");

/* Hashes bytes by FNV-1a, 64 bits: the check of the small structures outside zstd frames. */
uint64_t pnr_check(const void *bytes, size_t size);

/* Continues a check over the bytes that follow. */
uint64_t pnr_check_more(uint64_t check, const void *bytes, size_t size);

/* Fills in magic, version and check; the caller fills in all other fields before. */
void pnr_block_header_seal(struct pnr_block_header *header);

/* Checks each field by the table above. live: the header lies in the live mapping. offset: where the header lies in its
 * file, for err. Returns 0 or -1: PNR_E_VERSION or PNR_E_CORRUPT, with an empty err->path. */
int pnr_block_header_check(const struct pnr_block_header *header, bool live, uint64_t offset, struct pnr_err *err);

/* The working memory for encoding and decoding. */
struct pnr_block_coder;

/* Returns NULL when out of memory. */
struct pnr_block_coder *pnr_block_coder_new(void);

/* Accepts NULL. */
void pnr_block_coder_free(struct pnr_block_coder *coder);

/* Gives each of n records with ticks 0 the ticks of the record before it: a sparse block's records, as they are in the
 * live mapping, become as pnr_block_decode gives them. */
void pnr_block_fill_ticks(struct pnr_record *records, size_t n);

/* Returns the records of a block in the live mapping as pnr_block_decode gives them: if it is sparse, a copy with
 * filled ticks, borrowed until the next call with this coder; else the records themselves. */
const struct pnr_record *pnr_block_filled(struct pnr_block_coder *coder, const struct pnr_block_header *header,
                                          const struct pnr_record *records);

/* Encodes header->n_records records (1 to PNR_BLOCK_RECORDS) as a whole block. Fills in data_size and planes and seals
 * the header; the caller has set tick_shift, and filled the ticks of a sparse block. Returns the block's bytes,
 * borrowed until the next call with this coder, and their number in *size; NULL only if zstd fails. */
const void *pnr_block_encode(struct pnr_block_coder *coder, struct pnr_block_header *header,
                             const struct pnr_record *records, size_t *size);

/* Decodes the data frame (header->data_size bytes) of a checked header into header->n_records records.
 * Returns 0 or -1: PNR_E_CORRUPT with zstd's text and offset 0. Writes at most n_records records. */
int pnr_block_decode(struct pnr_block_coder *coder, const struct pnr_block_header *header, const void *data,
                     struct pnr_record *records, struct pnr_err *err);

/* The maximum data_size of an encoder; a reader rejects more. */
size_t pnr_block_data_bound(void);

#endif
