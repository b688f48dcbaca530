/* Encodes the records of thread files again in several ways and prints what each costs: the figures of
 * bench/README.md.
 *     block run.pnr/process-1/segment-1/thread-1.zst ...
 * Prints a row for each way. For each file it has bytes and ns per record, for compression alone, with the block
 * header. Times are the minimum of several runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "../format/block.h"

#define RUNS 5
#define MAX_RECORDS (1 << 22)

static struct pnr_record records[MAX_RECORDS];

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Returns the number of records read. Ticks count from each block's begin: made continuous. */
static size_t load(const char *path, struct pnr_block_coder *coder)
{
    static unsigned char data[1 << 20];
    size_t n = 0;
    struct pnr_err err;
    uint32_t skippable[2];
    struct pnr_block_header h;
    FILE *file = fopen(path, "rb");
    while (file && n + PNR_BLOCK_RECORDS <= MAX_RECORDS && fread(skippable, sizeof skippable, 1, file) == 1 &&
           fread(&h, sizeof h, 1, file) == 1 && fread(data, h.data_size, 1, file) == 1 &&
           pnr_block_decode(coder, &h, data, records + n, &err) == 0)
        n += h.n_records;
    if (file)
        fclose(file);
    return n;
}

enum form { RECORDS, ALL_PLANES, PLANES };

/* One way to compress. hash_log, min_match: 0 = as the level has it. */
struct way {
    size_t size;                        /* records a block */
    enum form form;                     /* as they are; 16 planes of differences; those of them that are not all zero */
    unsigned tick_shift;
    int level, hash_log, min_match;
};

/* Returns the bytes of n records in this form. */
static size_t transform(unsigned char *bytes, const struct pnr_record *r, size_t n, const struct way *way)
{
    size_t used = 0;
    if (way->form == RECORDS) {
        memcpy(bytes, r, n * sizeof *r);
        return n * sizeof *r;
    }
    for (int k = 0; k < PNR_RECORD_SIZE; k++) {
        unsigned char any = 0;
        uint64_t before = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t ticks = pnr_record_ticks(r[i]) >> way->tick_shift;
            uint64_t words[2] = { (r[i].word[0] & ~PNR_TICKS_MAX) | ((ticks - before) & PNR_TICKS_MAX), r[i].word[1] };
            before = ticks;
            any |= bytes[used + i] = (unsigned char)(words[k / 8] >> (k % 8 * 8));
        }
        used += any || way->form == ALL_PLANES ? n : 0;
    }
    return used;
}

static ZSTD_CCtx *make_compressor(const struct way *way)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, way->level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, way->hash_log);
    ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, way->min_match);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    return c;
}

/* Prints bytes and ns per record of compressing n records. */
static void measure(size_t n, const struct way *way)
{
    static unsigned char output[4 << 20];
    static size_t sizes[MAX_RECORDS / 1024 + 1];
    unsigned char *input = malloc(n * PNR_RECORD_SIZE);
    ZSTD_CCtx *c = make_compressor(way);
    double min_ns = 1e30;
    size_t bytes = 0;
    for (size_t i = 0, b = 0; i < n; i += way->size, b++)
        sizes[b] = transform(input + i * PNR_RECORD_SIZE, records + i, n - i < way->size ? n - i : way->size, way);
    for (int run = 0; run < RUNS; run++) {
        double start = now_ns();
        bytes = 0;
        for (size_t i = 0, b = 0; i < n; i += way->size, b++)
            bytes += PNR_BLOCK_PREFIX_SIZE + ZSTD_compress2(c, output, sizeof output, input + i * PNR_RECORD_SIZE, sizes[b]);
        double took = now_ns() - start;
        min_ns = took < min_ns ? took : min_ns;
    }
    printf(" %.2f %4.1f |", (double)bytes / (double)n, min_ns / (double)n);
    ZSTD_freeCCtx(c);
    free(input);
}

int main(int argc, char **argv)
{
    static const char *const forms[] = { "as they are", "all planes", "planes" };
    static const struct way ways[] = {
        { 16384, RECORDS, 0, 1, 0, 0 }, { 16384, ALL_PLANES, 0, 1, 0, 0 }, { 16384, ALL_PLANES, 3, 1, 0, 0 },
        { 16384, PLANES, 3, 1, 0, 0 }, { 1024, PLANES, 3, 1, 8, 7 }, { 4096, PLANES, 3, 1, 8, 7 },
        { 16384, PLANES, 3, 1, 8, 7 }, { 65536, PLANES, 3, 1, 8, 7 }, { 16384, PLANES, 3, -1, 8, 7 },
        { 16384, PLANES, 3, 3, 0, 0 }, { 16384, PLANES, 3, 6, 0, 0 }
    };
    struct pnr_block_coder *coder = pnr_block_coder_new();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        printf("| %6zu %s, ticks >> %u, level %d%s |", ways[w].size, forms[ways[w].form], ways[w].tick_shift,
               ways[w].level, ways[w].hash_log ? ", small table" : "");
        for (int a = 1; a < argc; a++)
            measure(load(argv[a], coder), &ways[w]);
        printf("\n");
    }
    pnr_block_coder_free(coder);
    return 0;
}
