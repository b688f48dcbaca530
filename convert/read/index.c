/* An entry of 48 bytes for each block, sorted by thread and sequence, with the chunks of the live mapping among them.
 *
 * The process may go on meanwhile. So the order is against the recorder's: first the chunks, then the files, then the
 * names. What is not in a chunk any more is a block in a file by then, and what is in either has its names. What the
 * names tell is known before a block is looked for: whether the process ended, was killed, may have dropped segments.
 * Later a chunk that has become a block is looked for in the files of its thread, from the segment on that was the last
 * (index_look_on). A file that was there and is not any more was dropped with its segment, if the names tell of a
 * limit. */
#include "index.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "format/array.h"
#include "prefetch.h"
#include "walk.h"

void index_init(struct index *index, const char *path, const struct diagnostics *diagnostics)
{
    *index = (struct index){ .path = path, .diagnostics = diagnostics };
    blocks_init(&index->blocks, path);
    timeline_init(&index->timeline, 0);
}

void index_clear(struct index *index)
{
    blocks_clear(&index->blocks);
    symbols_free(index->symbols);
    free(index->places);
    free(index->left_out);
}

/* ---- what is said ---- */

static void say(const struct index *index, uint32_t segment, uint32_t thread, enum diagnostic_level level, enum pnr_code code,
                uint64_t offset, const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    pnr_thread_path(index->path, segment, thread, path);
    pnr_err_set(&err, code, path, offset, what);
    diagnostics_err(index->diagnostics, level, &err);
}

static void say_live(const struct index *index, uint32_t chunk, enum pnr_code code, const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    pnr_file_path(index->path, "live", path);
    pnr_err_set(&err, code, path, PNR_LIVE_PAGE + chunk * sizeof(struct pnr_live_chunk), what);
    diagnostics_err(index->diagnostics, DIAGNOSTIC_DAMAGE, &err);
}

void index_say(const struct index *index, const struct place *place, const char *what)
{
    if (place->segment)
        say(index, place->segment, place_file(place), DIAGNOSTIC_DAMAGE, PNR_E_CORRUPT, place->at, what);
    else
        say_live(index, (uint32_t)place->at, PNR_E_CORRUPT, what);
}

/* Something is damaged, which has been said, and may be a block. */
static void count_damage(struct index *index)
{
    index->size.n_damaged++;
    index->n_told++;
}

/* ---- places ---- */

static struct place *add_place(struct index *index)
{
    if (pnr_array_reserve(&index->places, &index->capacity, index->n_places + 1) < 0)
        return NULL;
    return &index->places[index->n_places++];
}

static void add_instant(struct index *index, const struct pnr_clock_sample *instant)
{
    if (instant->ticks || instant->monotonic_ns)
        timeline_add(&index->timeline, instant->ticks, instant->monotonic_ns);
}

/* ---- the live mapping ---- */

/* What is wrong with a chunk's header, or 0. */
static int check_chunk(const struct pnr_live_chunk *chunk, struct pnr_err *err)
{
    if (chunk->state != PNR_CHUNK_IN_USE)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "chunk is neither free nor in use");
    return pnr_block_header_check(&chunk->block, true, 0, err);
}

/* True when a block, or one behind it in its thread, was among these chunks. */
static bool is_within(const struct pnr_live_chunk *chunks, uint32_t n, const struct pnr_block_header *header)
{
    struct pnr_err err;
    for (uint32_t k = 0; k < n; k++)
        if (chunks[k].block.thread == header->thread && chunks[k].block.sequence >= header->sequence &&
            check_chunk(&chunks[k], &err) == 0)
            return true;
    return false;
}

/* Adds chunk k, which is in use, unless it has become a block just now. Returns 0, or -1 when out of memory. */
static int add_chunk(struct index *index, uint32_t k, const struct pnr_live_chunk *before)
{
    const struct pnr_live *live = &index->blocks.live;
    const struct pnr_live_chunk *seen = &live->chunks[k];
    const struct pnr_record *records = index->blocks.records;
    struct pnr_live_chunk chunk;
    struct pnr_err err;
    struct place *place;
    int n = pnr_live_read(live, k, &chunk, index->blocks.records);
    if (n >= 0 && memcmp(&chunk, seen, sizeof chunk) != 0)
        return 0;
    if (check_chunk(seen, &err) != 0) {
        say_live(index, k, err.code, err.what);
        count_damage(index);
        index->size.has_newer |= err.code == PNR_E_VERSION;
    } else if (n > 0 && is_within(before, live->header->n_chunks, &seen->block)) {
        if (!(place = add_place(index)))
            return -1;
        uint64_t begin = seen->block.begin.ticks;
        *place = (struct place){ .thread = seen->block.thread, .sequence = seen->block.sequence,
                                 .n_records = (uint16_t)n, .is_chunk = true,
                                 .n_open = (uint16_t)(seen->block.n_open < (uint32_t)n ? seen->block.n_open : (uint32_t)n),
                                 .is_deeper = seen->block.flags & PNR_BLOCK_DEEPER,
                                 .at = k, .begin_ticks = begin,
                                 .end_ticks = begin + pnr_record_ticks(records[n - 1]), .check = seen->block.check };
        add_instant(index, &seen->block.begin);
    }
    return 0;
}

/* Adds the chunks in use. One can be passed by as free and be full before its thread's next one is come upon, so a
 * first look finds how far each thread has got, and what was begun after it does not count: no block before is missing.
 * Returns 0, or -1 when out of memory. A live mapping that cannot be read is said and left. */
static int look_at_chunks(struct index *index)
{
    struct pnr_err err;
    struct pnr_live *live = &index->blocks.live;
    int found = pnr_live_open(index->path, live, &err), result = 0;
    if (found < 0)
        diagnostics_err(index->diagnostics, DIAGNOSTIC_DAMAGE, &err);
    if (found <= 0)
        return 0;
    index->size.has_live = true;
    index->size.bytes += live->size;
    index->process = pnr_live_process(index->path, live->header);
    uint32_t n = live->header->n_chunks;
    struct pnr_live_chunk *before = malloc(n * sizeof *before);
    if (!before)
        return -1;
    memcpy(before, live->chunks, n * sizeof *before);
    pnr_live_look(live);
    for (uint32_t k = 0; k < n && result == 0; k++)
        if (live->chunks[k].state != PNR_CHUNK_FREE)
            result = add_chunk(index, k, before);
    free(before);
    uint32_t latest = atomic_load(&live->header->latest);
    if (latest < 2)                     /* the other one may be half written */
        add_instant(index, &live->header->instants[latest]);
    return result;
}

/* ---- the moment ---- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool has_property(const struct index *index, const char *key)
{
    return symbols_property(index->symbols, key).bytes;
}

static void add_property(struct index *index, const char *ticks, const char *monotonic_ns)
{
    struct pnr_clock_sample instant = { 0, 0, 0 };
    if (symbols_number(index->symbols, ticks, &instant.ticks) &&
        symbols_number(index->symbols, monotonic_ns, &instant.monotonic_ns))
        add_instant(index, &instant);
}

/* Reads the names, and what they tell of the end. Returns 0 or -1. */
static int load_symbols(struct index *index, struct pnr_err *err)
{
    /* An end that came after the chunks had been looked at is not the end of what is read. */
    bool is_growing = index->size.has_live && index->process != PNR_PROCESS_GONE;
    index->symbols = symbols_load(index->path, is_growing, index->diagnostics, err);
    if (!index->symbols)
        return -1;
    index->size.bytes += index->symbols->room;
    index->has_end = !is_growing && symbols_has_end(index->symbols);
    index->may_drop = has_property(index, "max_size") || has_property(index, "last_ns");
    if (!is_growing && has_property(index, "killed_ticks"))
        index->process = PNR_PROCESS_GONE;
    if (has_property(index, "stopped"))
        index->process = PNR_PROCESS_UNKNOWN;           /* it records no more, if it runs */
    uint64_t begin = 1;
    symbols_number(index->symbols, "first_segment", &begin);
    index->begin_segment = begin >= 1 && begin <= UINT32_MAX ? (uint32_t)begin : 1;
    symbols_number(index->symbols, "ticks_per_second", &index->timeline.ticks_per_second);
    add_property(index, "start_ticks", "start_monotonic_ns");
    add_property(index, "end_ticks", "end_monotonic_ns");
    add_property(index, "killed_ticks", "killed_monotonic_ns");
    return 0;
}

/* True when older segments than those that are there were dropped, if any may be: the lowest ones, or all. One that was
 * killed may not have come to make any. */
static bool is_dropped(const struct index *index)
{
    if (index->blocks.files.has_lost || index->blocks.files.lowest > index->begin_segment)
        return true;
    for (size_t i = 0; i < index->n_places; i++)
        if (index->blocks.files.lowest == 0 && index->places[i].sequence > 0)
            return true;
    return index->blocks.files.lowest == 0 && index->has_end && has_property(index, "end_ticks");
}

/* What looks like dropped is missing: nothing of this process is ever dropped. */
static void miss_first_segments(struct index *index)
{
    uint32_t lowest = index->blocks.files.lowest;
    if (lowest > index->begin_segment) {
        files_say_missing(&index->blocks.files, index->diagnostics, index->begin_segment, lowest - 1);
        return;
    }
    index->size.n_damaged++;            /* no block's number tells that others are missing */
    diagnostics_report(index->diagnostics, DIAGNOSTIC_DAMAGE, "%s: its segments are missing", index->path);
}

int index_look(struct index *index, struct pnr_err *err)
{
    struct files *files = &index->blocks.files;
    index->until_ns = now_ns();
    if (blocks_make_room(&index->blocks) < 0 || look_at_chunks(index) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, index->path, 0, "out of memory");
    if (files_list(files, index->diagnostics, err) < 0 || load_symbols(index, err) < 0)
        return -1;
    index->size.n_damaged += files->n_damaged;
    index->n_told += files->n_damaged;
    index->short_trail = index_trail(index);
    bool is_absent = is_dropped(index);
    index->has_dropped = is_absent && index->may_drop;
    if (is_absent && !index->may_drop)
        miss_first_segments(index);
    return 0;
}

/* ---- the threads that are wanted ---- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Who chooses, and which threads are known not to be wanted. */
struct choice {
    bool (*wants)(void *arg, uint32_t thread);          /* NULL: all are */
    void *arg;
    uint32_t *left_out;                 /* owned; may come more than once */
    size_t n, capacity;
    bool is_out_of_memory;
};

static bool is_wanted(struct choice *choice, uint32_t thread)
{
    if (!choice->wants || choice->wants(choice->arg, thread))
        return true;
    if (pnr_array_reserve(&choice->left_out, &choice->capacity, choice->n + 1) < 0)
        choice->is_out_of_memory = true;
    else
        choice->left_out[choice->n++] = thread;
    return false;
}

/* Leaves out the chunks and the files of threads that are not wanted. */
static void choose(struct index *index, struct choice *choice)
{
    struct files *files = &index->blocks.files;
    size_t n_places = 0, n_files = 0;
    for (size_t i = 0; i < index->n_places; i++)
        if (is_wanted(choice, index->places[i].thread))
            index->places[n_places++] = index->places[i];
    for (size_t i = 0; i < files->n; i++)
        if (files->list[i].thread == PNR_SHORT_THREADS || is_wanted(choice, files->list[i].thread))
            files->list[n_files++] = files->list[i];
    index->n_places = n_places;
    files->n = n_files;
}

/* The threads that are left out, each once, become the index's. */
static void settle(struct index *index, struct choice *choice)
{
    size_t n = 0;
    if (choice->n)
        qsort(choice->left_out, choice->n, sizeof *choice->left_out, by_value);
    for (size_t i = 0; i < choice->n; i++)
        if (n == 0 || choice->left_out[n - 1] != choice->left_out[i])
            choice->left_out[n++] = choice->left_out[i];
    index->left_out = choice->left_out;
    index->n_left_out = n;
}

/* ---- blocks in files ---- */

static int by_number(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* A block that was found in a file. Returns 0, or -1 when out of memory. */
static int add_block(struct index *index, const struct file *file, const struct walk_found *found)
{
    const struct pnr_block_header *header = &found->header;
    uint64_t end = header->end.ticks ? header->end.ticks : header->begin.ticks;
    struct place *place = add_place(index);
    if (!place)
        return -1;
    *place = (struct place){ .thread = header->thread, .sequence = header->sequence, .segment = file->segment,
                             .at = found->at, .is_short = file->thread == PNR_SHORT_THREADS,
                             .is_last = header->flags & PNR_BLOCK_LAST, .is_deeper = header->flags & PNR_BLOCK_DEEPER,
                             .begin_ticks = header->begin.ticks, .end_ticks = end,
                             .n_records = (uint16_t)header->n_records, .n_open = (uint16_t)header->n_open,
                             .check = header->check };
    if (!index->first_segment)
        index->first_segment = file->segment;
    if (index->first_segment == file->segment && (!index->first_end_ticks || end < index->first_end_ticks))
        index->first_end_ticks = end;
    add_instant(index, &header->begin);
    add_instant(index, &header->end);
    return 0;
}

/* True when a chunk holds the records of this block; of any block of the thread, or of any thread, if that is 0 and the
 * header NULL. */
static bool is_in_live(const struct index *index, uint32_t thread, const struct pnr_block_header *header)
{
    for (size_t i = 0; i < index->n_places && index->places[i].segment == 0; i++) {
        const struct place *place = &index->places[i];
        if (header ? place->thread == header->thread && place->sequence == header->sequence :
            thread == 0 || place->thread == thread)
            return true;
    }
    return false;
}

/* The file ends inside a block. In the last segment of a process that was killed this is what the kill left, and nothing
 * is lost when the live mapping has the block; in that of one that runs it is being written. */
static void end_file(struct index *index, const struct file *file, uint64_t at, const struct pnr_block_header *header)
{
    const char *what = header ? "cut off inside a block" : "cut off inside a block header";
    bool is_damage = index->has_end || file->segment != index->blocks.files.last;
    if (!is_damage && (index->process == PNR_PROCESS_RUNS || is_in_live(index, file->thread, header)))
        return;
    say(index, file->segment, file->thread, is_damage ? DIAGNOSTIC_DAMAGE : DIAGNOSTIC_INFO, PNR_E_TRUNCATED, at, what);
    index->size.n_damaged++;
    index->n_told += is_damage;
}

/* A segment was dropped since the files were listed, and with it all before it. */
static void forget(struct index *index, uint32_t segment)
{
    size_t kept = 0;
    for (size_t i = 0; i < index->n_places; i++)
        if (index->places[i].segment == 0 || index->places[i].segment > segment)
            index->places[kept++] = index->places[i];
    index->n_places = kept;
    index->has_dropped = true;
    if (index->first_segment <= segment) {
        index->first_segment = 0;
        index->first_end_ticks = 0;
    }
}

/* A file cannot be opened. */
static void miss_file(struct index *index, const struct file *file, const struct pnr_err *problem)
{
    if (files_is_gone(problem) && index->may_drop) {
        forget(index, file->segment);
        return;
    }
    diagnostics_err(index->diagnostics, DIAGNOSTIC_DAMAGE, problem);
    count_damage(index);
}

/* How often the disk was waited for before headers are fetched beside: now and then the kernel lets wait for what it has. */
#define WAITS 16

struct fetching {
    struct prefetch *prefetch;          /* NULL = not yet, or it cannot be */
    unsigned n_waited;
};

static void wait_less(struct fetching *fetching, const struct index *index, const struct file *files, size_t n)
{
    if (++fetching->n_waited == WAITS)
        fetching->prefetch = prefetch_start(index->path, files, n);
}

/* Walks the headers of a file, the first of n that are left. Returns 0, or -1 when out of memory. */
static int walk_file(struct index *index, const struct file *file, size_t n, struct choice *choice,
                     struct fetching *fetching)
{
    struct walk_found found;
    struct pnr_err problem;
    enum walk_step step;
    uint64_t size;
    struct walk walk = { .fd = files_open(&index->blocks.files, file->segment, file->thread, &size, &problem) };
    if (walk.fd < 0) {
        miss_file(index, file, &problem);
        return 0;
    }
    walk.size = file->size < size ? file->size : size;
    index->size.bytes += walk.size;
    while ((step = walk_next(&walk, &found)) != WALK_END) {
        if (walk.n_waited)
            wait_less(fetching, index, file, n);
        walk.n_waited = 0;
        bool is_foreign = step == WALK_BLOCK && file->thread != PNR_SHORT_THREADS && file->thread != found.header.thread;
        if (step == WALK_CUT_IN_BLOCK || step == WALK_CUT_IN_HEADER) {
            end_file(index, file, found.at, step == WALK_CUT_IN_BLOCK ? &found.header : NULL);
        } else if (step == WALK_DAMAGE || is_foreign) {
            if (is_foreign)
                pnr_err_set(&found.err, PNR_E_CORRUPT, NULL, 0, "block of another thread");
            index->size.has_newer |= found.err.code == PNR_E_VERSION;
            say(index, file->segment, file->thread, DIAGNOSTIC_DAMAGE, found.err.code, found.at, found.err.what);
            count_damage(index);
        } else if (file->thread == PNR_SHORT_THREADS && !is_wanted(choice, found.header.thread)) {
            continue;
        } else if (add_block(index, file, &found) < 0) {
            return -1;
        }
    }
    return choice->is_out_of_memory ? -1 : 0;
}

/* Walks all files that are left. Returns 0, or -1 when out of memory. */
static int walk_files(struct index *index, struct choice *choice)
{
    const struct files *files = &index->blocks.files;
    struct fetching fetching = { .prefetch = NULL };
    int result = 0;
    for (size_t i = 0; i < files->n && result == 0; i++)
        result = walk_file(index, &files->list[i], files->n - i, choice, &fetching);
    prefetch_end(fetching.prefetch);
    return result;
}

/* ---- the order of blocks ---- */

/* Places of the same block: those in segments first, in the order of the files. */
static int by_block(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int order = by_number(a, b);
    if (order)
        return order;
    if (x->segment != y->segment)
        return x->segment - 1 < y->segment - 1 ? -1 : 1;        /* 0 is the last */
    if (x->is_short != y->is_short)
        return x->is_short ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* True when the block in the file is whole. The recorder writes a block before it frees the chunk, so a kill between the
 * two leaves both. */
static bool is_whole(struct index *index, const struct place *place)
{
    struct pnr_block_header header;
    struct pnr_err err;
    return blocks_read(&index->blocks, place, &header, &err) == 0;
}

/* Keeps one place for each block. */
static void drop_repeats(struct index *index)
{
    struct place *places = index->places;
    size_t kept = 0;
    if (index->n_places)
        qsort(places, index->n_places, sizeof *places, by_block);
    for (size_t i = 0; i < index->n_places; i++) {
        struct place *last = kept ? &places[kept - 1] : NULL;
        if (!last || last->thread != places[i].thread || last->sequence != places[i].sequence) {
            places[kept++] = places[i];
        } else if (places[i].segment) {
            index_say(index, &places[i], "block comes again");
        } else if (!last->segment) {
            index_say(index, &places[i], "another chunk has the same block");
            index->size.n_damaged++;
        } else if (!is_whole(index, last)) {
            *last = places[i];
        }
    }
    index->n_places = kept;
}

/* How many blocks of the thread are missing before this one, the i-th. */
static uint64_t count_missing(const struct index *index, size_t i)
{
    const struct place *place = &index->places[i];
    bool is_first = i == 0 || place[-1].thread != place->thread;
    if (is_first)
        return index->has_dropped || index->begin_segment > 1 ? 0 : place->sequence;
    return (uint64_t)place->sequence - place[-1].sequence - 1;
}

static void say_hole(const struct index *index, const struct place *place, uint64_t n)
{
    if (n == 1)
        diagnostics_report(index->diagnostics, DIAGNOSTIC_DAMAGE, "%s: block %" PRIu64 " of thread %" PRIu32 " is missing", index->path,
                  place->sequence - n, place->thread);
    else
        diagnostics_report(index->diagnostics, DIAGNOSTIC_DAMAGE, "%s: blocks %" PRIu64 " to %" PRIu64 " of thread %" PRIu32 " are missing",
                  index->path, place->sequence - n, (uint64_t)place->sequence - 1, place->thread);
}

/* Marks what comes after a hole. What was told of already, bytes that are no block say, may be all that is missing. */
static void find_holes(struct index *index)
{
    uint64_t missing = 0, n;
    for (size_t i = 0; i < index->n_places; i++) {
        n = count_missing(index, i);
        index->places[i].is_after_hole = n > 0;
        missing += n;
    }
    if (missing <= index->n_told)
        return;
    index->size.n_damaged += missing - index->n_told;
    for (size_t i = 0; i < index->n_places; i++)
        if ((n = count_missing(index, i)) > 0)
            say_hole(index, &index->places[i], n);
}

/* From when on nothing was dropped: of the threads that are left that is the begin of their first blocks. Others, of
 * which only the name is left, had ended, or rested, before the first block that is there was written. */
static void find_complete(struct index *index)
{
    size_t n_threads = 0, n_named = index->symbols->n_threads;
    for (size_t i = 0; i < index->n_left_out; i++)
        n_threads += symbols_thread(index->symbols, index->left_out[i]) != NULL;
    for (size_t i = 0; i < index->n_places; i++) {
        const struct place *place = &index->places[i];
        if (i > 0 && place[-1].thread == place->thread)
            continue;
        n_threads += symbols_thread(index->symbols, place->thread) != NULL;
        if (place->sequence > 0 && place->begin_ticks > index->complete_ticks)
            index->complete_ticks = place->begin_ticks;
    }
    if (n_threads < n_named && index->first_end_ticks > index->complete_ticks)
        index->complete_ticks = index->first_end_ticks;
}

void index_leave_out(struct index *index)
{
    index->n_places = index->blocks.files.n = 0;
}

int index_walk(struct index *index, bool (*wants)(void *arg, uint32_t thread), void *arg, struct pnr_err *err)
{
    struct choice choice = { .wants = wants, .arg = arg };
    choose(index, &choice);
    int result = choice.is_out_of_memory ? -1 : walk_files(index, &choice);
    settle(index, &choice);
    files_drop_list(&index->blocks.files);
    if (result < 0)
        return pnr_err_set(err, PNR_E_MEMORY, index->path, 0, "out of memory");
    drop_repeats(index);
    find_holes(index);
    find_complete(index);
    index->size.n_found = index->n_places;
    timeline_settle(&index->timeline);
    return 0;
}

/* ---- chunks that have become blocks since ---- */

struct trail index_trail(const struct index *index)
{
    return (struct trail){ index->blocks.files.last, 0 };
}

/* Notes the blocks in a file, from where the trail ends, that were chunks. */
static void follow_file(struct index *index, uint32_t thread, struct trail *trail)
{
    struct walk_found found;
    struct stat status;
    struct pnr_err err;
    enum walk_step step;
    struct walk walk = { .fd = files_open(&index->blocks.files, trail->segment, thread, NULL, &err), .at = trail->at };
    if (walk.fd < 0 || fstat(walk.fd, &status) < 0)
        return;
    walk.size = (uint64_t)status.st_size;
    while ((step = walk_next(&walk, &found)) == WALK_BLOCK || step == WALK_DAMAGE) {
        struct place key = { .thread = found.header.thread, .sequence = found.header.sequence };
        struct place *place = NULL;
        if (step == WALK_BLOCK && (thread == PNR_SHORT_THREADS || thread == key.thread) && index->n_places)
            place = bsearch(&key, index->places, index->n_places, sizeof key, by_number);
        if (!place || place->segment)
            continue;
        place->segment = trail->segment;
        place->is_short = thread == PNR_SHORT_THREADS;
        place->at = found.at;
        place->check = found.header.check;
    }
    trail->at = walk.at;
}

/* The segment in which the trail ended was dropped, whatever was behind that, and so were all before it. Goes on with the
 * lowest one behind it; returns whether there is one. */
static bool pass_over(struct index *index, struct trail *trail)
{
    uint32_t *numbers = NULL, before = trail->segment;
    struct pnr_err err;
    size_t n = 0, i = 0;
    bool is_there = pnr_capture_segments(index->path, &numbers, &n, &err) == 0;
    while (i < n && numbers[i] <= before)
        i++;
    if (i < n)
        *trail = (struct trail){ numbers[i], 0 };
    if (!is_there || before > 0 || (i < n && numbers[i] > 1)) {
        index->has_passed_over = true;
        index->has_dropped |= index->may_drop;
    }
    free(numbers);
    return i < n;
}

/* Follows the files of a thread to the last segment that is there. Whether there is a next one is asked before a file is
 * read: then it is finished. */
static void follow(struct index *index, uint32_t thread, struct trail *trail)
{
    for (;;) {
        bool has_next = files_has_segment(&index->blocks.files, trail->segment + 1);
        follow_file(index, thread, trail);
        if (!files_has_segment(&index->blocks.files, trail->segment)) {
            if (!pass_over(index, trail))
                return;
        } else if (has_next) {
            *trail = (struct trail){ trail->segment + 1, 0 };
        } else {
            return;
        }
    }
}

void index_look_on(struct index *index, uint32_t thread, struct trail *trail)
{
    follow(index, thread, trail);
    follow(index, PNR_SHORT_THREADS, &index->short_trail);
}
