/* Encodes the records of a thread file again in several ways and prints what each costs: the figures of
 * bench/README.md.
 *     block run.pnr/process-1/thread-1.zst ...
 * For each file and number of records a block: bytes and ns per record, the least of several runs, at each level of
 * zstd, as planes of differences (format/block.h) and as records as they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "../format/block.h"

#define RUNS 5
#define MOST (1 << 22)

static struct pnr_record records[MOST];

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
    while (file && n + PNR_BLOCK_RECORDS <= MOST && fread(skippable, sizeof skippable, 1, file) == 1 &&
           fread(&h, sizeof h, 1, file) == 1 && fread(data, h.data_size, 1, file) == 1 &&
           pnr_block_decode(coder, &h, data, records + n, &err) == 0)
        n += h.n_records;
    if (file)
        fclose(file);
    return n;
}

/* The planes of n records, as format/block.c makes them. */
static void split(unsigned char *planes, const struct pnr_record *r, size_t n)
{
    uint64_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t ticks = (r[i].word[0] - before) & PNR_TICKS_MAX;
        uint64_t words[2] = { (r[i].word[0] & ~PNR_TICKS_MAX) | ticks, r[i].word[1] };
        before = r[i].word[0];
        for (int k = 0; k < PNR_RECORD_SIZE; k++)
            planes[k * n + i] = (unsigned char)(words[k / 8] >> (k % 8 * 8));
    }
}

/* ns and bytes per record of compressing all records in blocks of `size`. planes: split beforehand, not timed. */
static void measure(size_t n, size_t size, int level, int as_planes)
{
    static unsigned char output[64 << 20];
    unsigned char *input = malloc(n * PNR_RECORD_SIZE);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    double least = 1e30;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i += size) {
        size_t m = n - i < size ? n - i : size;
        if (as_planes)
            split(input + i * PNR_RECORD_SIZE, records + i, m);
        else
            memcpy(input + i * PNR_RECORD_SIZE, records + i, m * PNR_RECORD_SIZE);
    }
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    for (int run = 0; run < RUNS; run++) {
        double start = now_ns();
        bytes = 0;
        for (size_t i = 0; i < n; i += size) {
            size_t m = n - i < size ? n - i : size;
            bytes += PNR_BLOCK_PREFIX_SIZE + ZSTD_compress2(c, output, sizeof output, input + i * PNR_RECORD_SIZE,
                                                            m * PNR_RECORD_SIZE);
        }
        double took = now_ns() - start;
        least = took < least ? took : least;
    }
    printf(" %6.2f %5.1f |", (double)bytes / (double)n, least / (double)n);
    ZSTD_freeCCtx(c);
    free(input);
}

int main(int argc, char **argv)
{
    static const int levels[] = { -5, -1, 1, 3, 6 };
    static const size_t sizes[] = { 1024, 4096, 16384, 65536 };
    struct pnr_block_coder *coder = pnr_block_coder_new();
    for (int a = 1; a < argc; a++) {
        size_t n = load(argv[a], coder);
        printf("%s: %zu records; bytes and ns per record\n%-28s", argv[a], n, "");
        for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
            printf("    level %2d   |", levels[l]);
        printf("\n");
        for (size_t s = 0; n && s < sizeof sizes / sizeof *sizes; s++)
            for (int planes = 1; planes >= 0; planes--) {
                printf("%6zu a block, %-12s ", sizes[s], planes ? "planes" : "as they are");
                for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
                    measure(n, sizes[s], levels[l], planes);
                printf("\n");
            }
    }
    pnr_block_coder_free(coder);
    return 0;
}
