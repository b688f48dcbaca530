/* Why planes: the bytes of a plane are alike (the high bytes of differences are nearly always zero; kinds and functions
 * repeat). So zstd's fastest level finds at once what it misses between the fields of a record. bench/README.md has the
 * figures against records as they are. */
#include "block.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define PLANES PNR_RECORD_SIZE
#define KIND_PLANE (PNR_TICKS_BITS / 8)
#define SKIPPABLE_HEADER 8              /* u32 magic, u32 size */

struct pnr_block_coder {
    ZSTD_CCtx *compressor;              /* made when first needed, like the next */
    ZSTD_DCtx *decompressor;
    size_t output_size;
    struct pnr_record filled[PNR_BLOCK_RECORDS];        /* of a sparse block */
    unsigned char planes[PLANES * PNR_BLOCK_RECORDS];
    unsigned char output[];             /* a whole block */
};

uint64_t pnr_check_more(uint64_t check, const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++)
        check = (check ^ p[i]) * UINT64_C(0x100000001b3);
    return check;
}

uint64_t pnr_check(const void *bytes, size_t size)
{
    return pnr_check_more(UINT64_C(0xcbf29ce484222325), bytes, size);
}

void pnr_block_header_seal(struct pnr_block_header *header)
{
    header->magic = PNR_BLOCK_MAGIC;
    header->version = header->flags & PNR_BLOCK_SPARSE ? PNR_BLOCK_VERSION_SPARSE : PNR_BLOCK_VERSION;
    header->check = pnr_check(header, offsetof(struct pnr_block_header, check));
}

size_t pnr_block_data_bound(void)
{
    return ZSTD_compressBound(PLANES * PNR_BLOCK_RECORDS);
}

static bool is_zero_sample(struct pnr_clock_sample t)
{
    return !t.ticks && !t.monotonic_ns && !t.realtime_ns;
}

/* Finds what is wrong with the header, or returns NULL. */
static const char *header_fault(const struct pnr_block_header *h, bool live)
{
    if (h->check != pnr_check(h, offsetof(struct pnr_block_header, check)))
        return "block header check does not match";
    if (h->flags & ~PNR_BLOCK_FLAGS)
        return "unknown block flag";
    if ((h->version == PNR_BLOCK_VERSION_SPARSE) != ((h->flags & PNR_BLOCK_SPARSE) != 0))
        return "block version does not match the flags";
    if (h->thread == 0)
        return "thread number 0";
    if (h->reserved || h->reserved2)
        return "reserved field of a block header is not 0";
    if (live)
        return h->n_records || h->data_size || h->planes || h->tick_shift || !is_zero_sample(h->end) ||
            h->n_open > PNR_BLOCK_RECORDS ? "live block header with the fields of a finished one" : NULL;
    if (h->n_records == 0 || h->n_records > PNR_BLOCK_RECORDS)
        return "number of records out of range";
    if (h->n_open > h->n_records)
        return "more open frames than records";
    if (h->data_size == 0 || h->data_size > pnr_block_data_bound())
        return "size of the data frame out of range";
    if (!(h->planes >> KIND_PLANE & 1))
        return "no plane of kinds";
    if (h->tick_shift >= PNR_TICKS_BITS)
        return "tick shift out of range";
    return NULL;
}

int pnr_block_header_check(const struct pnr_block_header *header, bool live, uint64_t offset, struct pnr_err *err)
{
    if (header->magic != PNR_BLOCK_MAGIC)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, offset, "no block header");
    if (header->version > PNR_BLOCK_VERSION_SPARSE)
        return pnr_err_set(err, PNR_E_VERSION, NULL, offset, "block of a later format version");
    if (header->version < PNR_BLOCK_VERSION)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, offset, "block version 0");
    const char *fault = header_fault(header, live);
    return fault ? pnr_err_set(err, PNR_E_CORRUPT, NULL, offset, fault) : 0;
}

struct pnr_block_coder *pnr_block_coder_new(void)
{
    size_t output_size = PNR_BLOCK_PREFIX_SIZE + pnr_block_data_bound();
    struct pnr_block_coder *coder = malloc(sizeof *coder + output_size);
    if (!coder)
        return NULL;
    coder->compressor = NULL;
    coder->decompressor = NULL;
    coder->output_size = output_size;
    return coder;
}

void pnr_block_coder_free(struct pnr_block_coder *coder)
{
    if (!coder)
        return;
    ZSTD_freeCCtx(coder->compressor);
    ZSTD_freeDCtx(coder->decompressor);
    free(coder);
}

#define GROUP 16                        /* records that are transposed at once: as many as a record has bytes */
typedef unsigned char row __attribute__((vector_size(GROUP)));

/* Transposes a 16 x 16 matrix of bytes: interleaving the first half of the rows with the second moves a bit of the
 * row's number into the column's; four times moves all four. SSE2 and NEON have an instruction for each half. */
static inline void transpose_rows(row x[GROUP])
{
#pragma GCC unroll 4                    /* so that the rows stay in registers */
    for (int round = 0; round < 4; round++) {
        row y[GROUP];
#pragma GCC unroll 8
        for (int i = 0; i < GROUP / 2; i++) {
            row a = x[i], b = x[i + GROUP / 2];
            y[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            y[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(x, y, sizeof y);
    }
}

typedef uint64_t pair __attribute__((vector_size(PNR_RECORD_SIZE)));     /* a record */

static inline pair load_pair(const struct pnr_record *record)
{
    pair words;
    memcpy(&words, record, sizeof words);
    return words;
}

/* Shifts the record's ticks and replaces them by their difference to those of the previous record. *previous: that
 * record's shifted ticks; then this one's. */
static inline pair take_difference(pair record, pair *previous, pair shift)
{
    const pair all_ticks = { PNR_TICKS_MAX, 0 };
    pair ticks = (record & all_ticks) >> shift;
    pair result = (record & ~all_ticks) | ((ticks - *previous) & all_ticks);
    *previous = ticks;
    return result;
}

/* Finds the planes that are not all zero, and that of the kinds. */
static uint16_t find_planes(const struct pnr_record *records, size_t n, unsigned shift)
{
    pair used = { UINT64_C(1) << PNR_TICKS_BITS, 0 }, previous = { 0, 0 };
    uint16_t planes = 0;
    for (size_t i = 0; i < n; i++)
        used |= take_difference(load_pair(records + i), &previous, (pair){ shift, shift });
    for (int k = 0; k < PLANES; k++)
        planes |= (uint16_t)((used[k / 8] >> k % 8 * 8 & 0xff ? 1 : 0) << k);
    return planes;
}

/* Lists the numbers of a block's planes. Returns how many they are. */
static int list_planes(uint16_t planes, int list[PLANES])
{
    int n = 0;
    for (int k = 0; k < PLANES; k++)
        if (planes >> k & 1)
            list[n++] = k;
    return n;
}

/* Planes are n bytes apart, mostly a power of two: then their lines fall into one set of the processor's cache and
 * evict each other. So a tile of TILE records is transposed in memory of its own and moved a line at a time. All sizes
 * are constant, so that the compiler makes moves of them and no calls. The last tile of a block has unused records. */
#define TILE 64

static inline void split_tile(unsigned char tile[PLANES][TILE], const struct pnr_record *records, pair *previous,
                              pair shift)
{
    for (int i = 0; i < TILE; i += GROUP) {
        row rows[GROUP];
#pragma GCC unroll 16
        for (int k = 0; k < GROUP; k++)
            rows[k] = (row)take_difference(load_pair(records + i + k), previous, shift);
        transpose_rows(rows);
#pragma GCC unroll 16
        for (int k = 0; k < PLANES; k++)
            memcpy(&tile[k][i], &rows[k], GROUP);
    }
}

static void split_planes(unsigned char *bytes, const struct pnr_record *records, const struct pnr_block_header *h)
{
    unsigned char tile[PLANES][TILE];
    struct pnr_record last[TILE] = { { { 0, 0 } } };
    int list[PLANES], n_planes = list_planes(h->planes, list);
    size_t n = h->n_records, i = 0;
    pair previous = { 0, 0 }, shift = { h->tick_shift, h->tick_shift };
    for (; i + TILE <= n; i += TILE) {
        split_tile(tile, records + i, &previous, shift);
        for (int p = 0; p < n_planes; p++)
            memcpy(bytes + p * n + i, tile[list[p]], TILE);
    }
    memcpy(last, records + i, (n - i) * sizeof *last);
    split_tile(tile, last, &previous, shift);
    for (int p = 0; p < n_planes; p++)
        memcpy(bytes + p * n + i, tile[list[p]], n - i);
}

static inline void join_tile(struct pnr_record *records, unsigned char tile[PLANES][TILE], pair *ticks, pair shift)
{
    const pair all_ticks = { PNR_TICKS_MAX, 0 };
    for (int i = 0; i < TILE; i += GROUP) {
        row rows[GROUP];
#pragma GCC unroll 16
        for (int k = 0; k < PLANES; k++)
            memcpy(&rows[k], &tile[k][i], GROUP);
        transpose_rows(rows);
#pragma GCC unroll 16
        for (int k = 0; k < GROUP; k++) {
            *ticks += (pair)rows[k];
            pair record = ((pair)rows[k] & ~all_ticks) | (*ticks << shift & all_ticks);
            memcpy(records + i + k, &record, sizeof record);
        }
    }
}

static void join_planes(struct pnr_record *records, const unsigned char *bytes, const struct pnr_block_header *h)
{
    unsigned char tile[PLANES][TILE] = { { 0 } };       /* omitted planes stay zero */
    struct pnr_record last[TILE];
    int list[PLANES], n_planes = list_planes(h->planes, list);
    size_t n = h->n_records, i = 0;
    pair ticks = { 0, 0 }, shift = { h->tick_shift, h->tick_shift };
    for (; i + TILE <= n; i += TILE) {
        for (int p = 0; p < n_planes; p++)
            memcpy(tile[list[p]], bytes + p * n + i, TILE);
        join_tile(records + i, tile, &ticks, shift);
    }
    for (int p = 0; p < n_planes; p++)
        memcpy(tile[list[p]], bytes + p * n + i, n - i);
    join_tile(last, tile, &ticks, shift);
    memcpy(records + i, last, (n - i) * sizeof *last);
}

/* Copies records; those with ticks 0 get the ticks of the record before. */
static void copy_filled(struct pnr_record *to, const struct pnr_record *from, size_t n)
{
    uint64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t ticks = pnr_record_ticks(from[i]);
        before = ticks ? ticks : before;        /* without a branch: no processor can predict it */
        to[i] = (struct pnr_record){ { (from[i].word[0] & ~PNR_TICKS_MAX) | before, from[i].word[1] } };
    }
}

void pnr_block_fill_ticks(struct pnr_record *records, size_t n)
{
    copy_filled(records, records, n);
}

const struct pnr_record *pnr_block_filled(struct pnr_block_coder *coder, const struct pnr_block_header *header,
                                          const struct pnr_record *records)
{
    if (!(header->flags & PNR_BLOCK_SPARSE))
        return records;
    copy_filled(coder->filled, records, header->n_records);
    return coder->filled;
}

static size_t content_size_of(const struct pnr_block_header *header)
{
    return (size_t)__builtin_popcount(header->planes) * header->n_records;
}

static ZSTD_CCtx *make_block_compressor(void)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    if (c && (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, PNR_BLOCK_LEVEL)) ||
              ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, PNR_BLOCK_HASH_LOG)) ||
              ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, PNR_BLOCK_MIN_MATCH)) ||
              ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)))) {
        ZSTD_freeCCtx(c);
        return NULL;
    }
    return c;
}

const void *pnr_block_encode(struct pnr_block_coder *coder, struct pnr_block_header *header,
                             const struct pnr_record *records, size_t *size)
{
    if (!coder->compressor && !(coder->compressor = make_block_compressor()))
        return NULL;
    header->planes = find_planes(records, header->n_records, header->tick_shift);
    split_planes(coder->planes, records, header);
    size_t data_size = ZSTD_compress2(coder->compressor, coder->output + PNR_BLOCK_PREFIX_SIZE,
                                      coder->output_size - PNR_BLOCK_PREFIX_SIZE,
                                      coder->planes, content_size_of(header));
    if (ZSTD_isError(data_size))
        return NULL;
    header->data_size = (uint32_t)data_size;
    pnr_block_header_seal(header);
    const uint32_t skippable[2] = { PNR_BLOCK_SKIPPABLE, PNR_BLOCK_HEADER_SIZE };
    memcpy(coder->output, skippable, SKIPPABLE_HEADER);
    memcpy(coder->output + SKIPPABLE_HEADER, header, PNR_BLOCK_HEADER_SIZE);
    *size = PNR_BLOCK_PREFIX_SIZE + data_size;
    return coder->output;
}

/* True when the data is one zstd frame of just that size with a content checksum (RFC 8878, 3.1.1.1.1: bit 2 of the
 * descriptor, the byte after the magic number), so that damage cannot pass undetected. Checks the magic number, too:
 * libzstd may be built to accept frames from before that RFC, by legacy code (ZSTD_LEGACY_SUPPORT). */
static bool is_checked_frame(const unsigned char *data, size_t size, size_t content_size)
{
    static const unsigned char magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };
    return size > 5 && memcmp(data, magic, sizeof magic) == 0 && (data[4] & 4) &&
           ZSTD_findFrameCompressedSize(data, size) == size && ZSTD_getFrameContentSize(data, size) == content_size;
}

int pnr_block_decode(struct pnr_block_coder *coder, const struct pnr_block_header *header, const void *data,
                     struct pnr_record *records, struct pnr_err *err)
{
    size_t content_size = content_size_of(header);
    if (!coder->decompressor && !(coder->decompressor = ZSTD_createDCtx()))
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    if (!is_checked_frame(data, header->data_size, content_size))
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "data frame does not match its block header");
    size_t got = ZSTD_decompressDCtx(coder->decompressor, coder->planes, sizeof coder->planes,
                                     data, header->data_size);
    if (ZSTD_isError(got))
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, ZSTD_getErrorName(got));
    if (got != content_size)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "data frame is shorter than its records");
    join_planes(records, coder->planes, header);
    return 0;
}
