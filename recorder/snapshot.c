#include "snapshot.h"

#include <stdbool.h>
#include <stdlib.h>

#include "clock.h"
#include "segments.h"

/* Of a chunk that is being filled or waits to be written. */
struct rec_chunk_copy {
    struct pnr_block_header header;
    struct pnr_record *records;         /* owned */
};

/* The last block of a thread that was announced, or an earlier one of it. */
struct last_block {
    uint32_t thread, sequence;          /* thread 0: none */
};

/* Finds how far each thread has got, before anything is copied. The chunks are looked at in sequence while
 * threads go on: a chunk that is passed by as free can be full when the thread's next one is reached. Copies that go
 * only as far as this first look have no such hole, because all earlier blocks had been announced by then. */
static void find_last_blocks(const struct pnr_live *live, struct last_block *last)
{
    struct pnr_block_header header;
    for (uint32_t k = 0; k < live->header->n_chunks; k++)
        last[k] = pnr_live_header(live, k, &header) ? (struct last_block){ header.thread, header.sequence } :
                                                      (struct last_block){ 0 };
}

static bool is_block_within(const struct last_block *last, uint32_t n, const struct pnr_block_header *header)
{
    for (uint32_t i = 0; i < n; i++)
        if (last[i].thread == header->thread && last[i].sequence >= header->sequence)
            return true;
    return false;
}

/* Copies a chunk as far as it is filled. Gives no records when there are none. Returns 0, or -1: out of memory. */
static int copy_chunk(const struct pnr_live *live, uint32_t k, const struct last_block *last,
                      struct rec_chunk_copy *copy)
{
    copy->records = NULL;
    if (!pnr_live_header(live, k, &copy->header) || !is_block_within(last, live->header->n_chunks, &copy->header))
        return 0;
    uint32_t n = pnr_live_count(live, k);
    if (n == 0)
        return 0;
    if (!(copy->records = malloc(n * sizeof *copy->records)))
        return -1;
    copy->header.n_records = pnr_live_copy(live, k, &copy->header, copy->records, n);
    if (copy->header.n_records < copy->header.n_open || copy->header.n_records == 0) {
        free(copy->records);
        copy->records = NULL;
    }
    return 0;
}

int rec_snapshot_take(struct rec_snapshot *snapshot, const struct pnr_live *live)
{
    uint32_t n_chunks = live->header->n_chunks;
    struct last_block *last = calloc(n_chunks, sizeof *last);
    int result = last ? 0 : -1;
    *snapshot = (struct rec_snapshot){ .copies = calloc(n_chunks, sizeof *snapshot->copies) };
    if (!snapshot->copies)
        result = -1;
    if (result == 0)
        find_last_blocks(live, last);
    for (uint32_t k = 0; k < n_chunks && result == 0; k++) {
        result = copy_chunk(live, k, last, &snapshot->copies[snapshot->n]);
        snapshot->n += snapshot->copies[snapshot->n].records != NULL;
    }
    snapshot->end = rec_clock_sample();
    free(last);
    return result;
}

static int by_sequence(const void *a, const void *b)
{
    const struct rec_chunk_copy *x = a, *y = b;
    return x->header.sequence < y->header.sequence ? -1 : x->header.sequence > y->header.sequence;
}

int rec_snapshot_write(struct rec_snapshot *snapshot, const char *process_path, uint32_t number, struct pnr_err *err)
{
    struct rec_segments *segments = malloc(sizeof *segments);
    struct pnr_block_coder *coder = pnr_block_coder_new();
    uint8_t tick_shift = rec_clock_tick_shift();
    int result = -1;
    if (!segments || !coder)
        pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    else
        result = rec_segments_start(segments, process_path, number, &(struct rec_limits){ 0 }, err);
    qsort(snapshot->copies, snapshot->n, sizeof *snapshot->copies, by_sequence);
    for (uint32_t i = 0; i < snapshot->n && result == 0; i++) {
        struct rec_chunk_copy *copy = &snapshot->copies[i];
        size_t size;
        copy->header.end = snapshot->end;
        copy->header.tick_shift = tick_shift;
        const void *block = pnr_block_encode(coder, &copy->header, pnr_block_filled(coder, &copy->header, copy->records),
                                             &size);
        result = block ? rec_segments_append(segments, &copy->header, block, size, snapshot->end.monotonic_ns, err) :
                         pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory for compression");
    }
    if (segments)
        rec_segments_stop(segments);
    free(segments);
    pnr_block_coder_free(coder);
    return result;
}

void rec_snapshot_clear(struct rec_snapshot *snapshot)
{
    for (uint32_t i = 0; i < snapshot->n; i++)
        free(snapshot->copies[i].records);
    free(snapshot->copies);
}
