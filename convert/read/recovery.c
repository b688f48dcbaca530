#include "recovery.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "walk.h"

/* ---- the snapshot ---- */

/* Checks the header of a chunk that is not free. Returns 0, or -1 and fills err. */
static int check_chunk(const struct pnr_live_chunk *chunk, struct pnr_err *err)
{
    if (chunk->state != PNR_CHUNK_IN_USE)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "chunk is neither free nor in use");
    return pnr_block_header_check(&chunk->block, true, 0, err);
}

/* True when the thread of this block had come as far, or farther, in these chunks. */
static bool has_reached(const struct pnr_live_chunk *chunks, uint32_t n, const struct pnr_block_header *header)
{
    struct pnr_err err;
    for (uint32_t k = 0; k < n; k++)
        if (chunks[k].block.thread == header->thread && chunks[k].block.sequence >= header->sequence &&
            check_chunk(&chunks[k], &err) == 0)
            return true;
    return false;
}

/* Adds chunk k, which was in use, unless it has become a block just now. Returns 0, or -1 when out of memory. */
static int add_chunk(struct index *index, uint32_t k, const struct pnr_live_chunk *first_look)
{
    const struct pnr_live *live = &index->blocks.live;
    const struct pnr_live_chunk *listed = &live->chunks[k];
    const struct pnr_record *records = index->blocks.records;
    struct pnr_live_chunk chunk;
    struct pnr_err err;
    int n = pnr_live_read(live, k, &chunk, index->blocks.records);
    if (n >= 0 && memcmp(&chunk, listed, sizeof chunk) != 0)
        return 0;
    if (check_chunk(listed, &err) != 0) {
        index_report_chunk(index, k, err.code, err.what);
        index_count_damage(index);
        index->has_damaged_live = true;
        index->size.has_newer |= err.code == PNR_E_VERSION;
        return 0;
    }
    const struct pnr_block_header *header = &listed->block;
    if (n <= 0 || !has_reached(first_look, live->header->n_chunks, header))
        return 0;
    struct block_ref *ref = index_add_ref(index);
    if (!ref)
        return -1;
    *ref = (struct block_ref){ .thread = header->thread, .sequence = header->sequence, .at = k, .is_chunk = true,
                               .n_records = (uint16_t)n,
                               .n_open = (uint16_t)(header->n_open < (uint32_t)n ? header->n_open : (uint32_t)n),
                               .is_deeper = header->flags & PNR_BLOCK_DEEPER, .begin_ticks = header->begin.ticks,
                               .end_ticks = header->begin.ticks + pnr_record_ticks(records[n - 1]),
                               .check = header->check };
    index->is_sparse |= (header->flags & PNR_BLOCK_SPARSE) != 0;
    index_add_clock_sample(index, &header->begin);
    return 0;
}

/* Reads all headers twice. A chunk can be free when it is passed, and be full before its thread's next chunk is
 * reached. So the first pass finds how far each thread has got, and the second one adds no block that began later: then
 * no block before an added one is missing. */
int recovery_add_chunks(struct index *index)
{
    struct pnr_err err;
    struct pnr_live *live = &index->blocks.live;
    int found = pnr_live_open(index->path, live, &err), result = 0;
    if (found < 0) {
        diagnostics_err(index->diagnostics, DIAGNOSTIC_DAMAGE, &err);
        index->has_damaged_live = true;
    }
    if (found <= 0)
        return 0;
    index->size.has_live = true;
    index->size.bytes += live->size;
    index->process = pnr_live_process(index->path, live->header);
    uint32_t n = live->header->n_chunks;
    struct pnr_live_chunk *first_look = malloc(n * sizeof *first_look);
    if (!first_look)
        return -1;
    memcpy(first_look, live->chunks, n * sizeof *first_look);
    pnr_live_reload_headers(live);
    for (uint32_t k = 0; k < n && result == 0; k++)
        if (live->chunks[k].state != PNR_CHUNK_FREE)
            result = add_chunk(index, k, first_look);
    free(first_look);
    uint32_t latest = atomic_load(&live->header->latest);
    if (latest < 2)                     /* the other sample may be half written */
        index_add_clock_sample(index, &live->header->clock_samples[latest]);
    return result;
}

/* ---- chunks that have become blocks ---- */

struct rescan_position recovery_start(const struct index *index)
{
    return (struct rescan_position){ index->blocks.files.last, 0 };
}

/* Walks a file from the position on, and points the refs of chunks to the blocks that they have become. */
static void rescan_file(struct index *index, uint32_t thread, struct rescan_position *position)
{
    struct walk_found found;
    struct stat status;
    struct pnr_err err;
    enum walk_status step;
    struct walk walk = { .fd = files_open(&index->blocks.files, position->segment, thread, NULL, &err),
                         .at = position->at };
    if (walk.fd < 0 || fstat(walk.fd, &status) < 0)
        return;
    walk.size = (uint64_t)status.st_size;
    while ((step = walk_next(&walk, &found)) == WALK_BLOCK || step == WALK_DAMAGE) {
        const struct pnr_block_header *header = &found.header;
        struct block_ref *ref = NULL;
        if (step == WALK_BLOCK && (thread == PNR_SHORT_THREADS || thread == header->thread))
            ref = index_find_ref(index, header->thread, header->sequence);
        if (!ref || ref->segment)
            continue;
        ref->segment = position->segment;
        ref->is_short = thread == PNR_SHORT_THREADS;
        ref->at = found.at;
        ref->check = header->check;
    }
    position->at = walk.at;
}

/* Moves the position from a segment that was evicted, and with it all before it, to the lowest one after it. Returns
 * false when there is none. */
static bool skip_evicted_segments(struct index *index, struct rescan_position *position)
{
    uint32_t *numbers = NULL, before = position->segment;
    struct pnr_err err;
    size_t n = 0, i = 0;
    bool is_there = pnr_capture_segments(index->path, &numbers, &n, &err) == 0;
    while (i < n && numbers[i] <= before)
        i++;
    if (i < n)
        *position = (struct rescan_position){ numbers[i], 0 };
    if (!is_there || before > 0 || (i < n && numbers[i] > 1)) {
        index->has_skipped_segments = true;
        index->has_evicted |= index->may_evict;
    }
    free(numbers);
    return i < n;
}

/* Rescans the files of a thread up to the last segment that is there. Asks whether there is a next segment before it
 * reads a file: if there is, the file is finished. */
static void rescan_files(struct index *index, uint32_t thread, struct rescan_position *position)
{
    for (;;) {
        bool has_next = files_has_segment(&index->blocks.files, position->segment + 1);
        rescan_file(index, thread, position);
        if (!files_has_segment(&index->blocks.files, position->segment)) {
            if (!skip_evicted_segments(index, position))
                return;
        } else if (has_next) {
            *position = (struct rescan_position){ position->segment + 1, 0 };
        } else {
            return;
        }
    }
}

/* ---- reading ---- */

enum read_outcome recovery_read(struct index *index, const struct block_ref *ref, struct rescan_position *position,
                                struct pnr_block_header *header, struct pnr_err *err)
{
    bool has_live = index->blocks.live.header;          /* false when `live` had been removed before a rewind */
    int found = blocks_read_chunk(&index->blocks, ref, header);
    if (found > 0)
        return READ_RECORDS;
    if (found < 0 || (has_live && index->process == PNR_PROCESS_GONE)) {
        pnr_err_set(err, PNR_E_CORRUPT, NULL, 0,
                    found < 0 ? "chunk cannot be read" : "chunk changed while it was read");
        return READ_DAMAGED;
    }
    rescan_files(index, ref->thread, position);
    rescan_files(index, PNR_SHORT_THREADS, &index->short_position);
    if (ref->segment)
        return READ_IS_BLOCK;
    if (!index->has_skipped_segments)
        return READ_RETRACTED;
    pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "the block's segment is missing");
    return index->may_evict ? READ_EVICTED : READ_DAMAGED;
}

void recovery_cut(const struct index *index, const struct block_ref *ref, struct pnr_block_header *header)
{
    uint32_t n = header->n_records < ref->n_records ? header->n_records : ref->n_records;
    while (n > 0 && header->begin.ticks + pnr_record_ticks(index->blocks.records[n - 1]) > ref->end_ticks)
        n--;
    if (n == header->n_records)
        return;
    header->n_records = n;
    header->flags &= (uint16_t)~PNR_BLOCK_LAST;
    header->end.ticks = 0;
}
