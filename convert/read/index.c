/* Holds 48 bytes for each block, sorted by thread and sequence, the chunks of the live mapping among them.
 *
 * The process may go on meanwhile, so the order of looking is against the recorder's: first the chunks, then the files,
 * then the names. What has left its chunk is a block in a file by then, and what is in either has its names. The
 * names, read before the files' contents, show whether the process ended or was killed, and whether it may evict
 * segments. If it may, a listed file that has disappeared was evicted with its segment. */
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
#include "recovery.h"
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
    free(index->refs);
    free(index->excluded);
}

/* ---- reports ---- */

static void report_in_file(const struct index *index, uint32_t segment, uint32_t thread, enum diagnostic_level level,
                           enum pnr_code code, uint64_t offset, const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    pnr_thread_path(index->path, segment, thread, path);
    pnr_err_set(&err, code, path, offset, what);
    diagnostics_err(index->diagnostics, level, &err);
}

void index_report_chunk(const struct index *index, uint32_t chunk, enum pnr_code code, const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    pnr_file_path(index->path, "live", path);
    pnr_err_set(&err, code, path, PNR_LIVE_PAGE + chunk * sizeof(struct pnr_live_chunk), what);
    diagnostics_err(index->diagnostics, DIAGNOSTIC_DAMAGE, &err);
}

void index_report(const struct index *index, const struct block_ref *ref, const char *what)
{
    if (ref->segment)
        report_in_file(index, ref->segment, block_ref_file(ref), DIAGNOSTIC_DAMAGE, PNR_E_CORRUPT, ref->at, what);
    else
        index_report_chunk(index, (uint32_t)ref->at, PNR_E_CORRUPT, what);
}

/* Notes whether the last bytes of a file that may hold blocks of the ledger are damaged. */
static void note_torn(struct index *index, const struct file *file, bool is_torn)
{
    if (file->thread != PNR_SHORT_THREADS && file->thread == symbols_ledger(index->symbols))
        index->has_torn_ledger = is_torn;
    else if (file->thread == PNR_SHORT_THREADS && (is_torn || file->segment > index->blocks.files.damaged))
        index->has_torn_short = is_torn;
}

void index_count_damage(struct index *index)
{
    index->size.n_damaged++;
    index->n_reported++;
}

/* ---- what is found ---- */

struct block_ref *index_add_ref(struct index *index)
{
    if (pnr_array_reserve(&index->refs, &index->capacity, index->n_refs + 1) < 0)
        return NULL;
    return &index->refs[index->n_refs++];
}

void index_add_clock_sample(struct index *index, const struct pnr_clock_sample *sample)
{
    if (sample->ticks || sample->monotonic_ns)
        timeline_add(&index->timeline, sample->ticks, sample->monotonic_ns);
}

/* ---- the snapshot ---- */

static uint64_t read_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool has_property(const struct index *index, const char *key)
{
    return symbols_property(index->symbols, key).bytes;
}

static void add_property_sample(struct index *index, const char *ticks, const char *monotonic_ns)
{
    struct pnr_clock_sample sample = { 0, 0, 0 };
    if (symbols_number(index->symbols, ticks, &sample.ticks) &&
        symbols_number(index->symbols, monotonic_ns, &sample.monotonic_ns))
        index_add_clock_sample(index, &sample);
}

/* Reads the names and takes from them how the process ended. Returns 0 or -1. */
static int load_symbols(struct index *index, struct pnr_err *err)
{
    /* A process that ended after its chunks were read has records later than the snapshot: its end is not ours. */
    bool is_growing = index->size.has_live && index->process != PNR_PROCESS_GONE;
    index->symbols = symbols_load(index->path, is_growing, index->diagnostics, err);
    if (!index->symbols)
        return -1;
    index->size.bytes += index->symbols->mapped_size;
    index->has_end = !is_growing && symbols_has_end(index->symbols);
    index->may_evict = has_property(index, "max_size") || has_property(index, "last_ns");
    if (!is_growing && has_property(index, "killed_ticks"))
        index->process = PNR_PROCESS_GONE;
    if (has_property(index, "stopped"))
        index->process = PNR_PROCESS_UNKNOWN;           /* if it runs, it records no more */
    uint64_t begin = 1;
    symbols_number(index->symbols, "first_segment", &begin);
    index->begin_segment = begin >= 1 && begin <= UINT32_MAX ? (uint32_t)begin : 1;
    symbols_number(index->symbols, "ticks_per_second", &index->timeline.ticks_per_second);
    index->blocks.ticks_per_second = index->timeline.ticks_per_second;
    add_property_sample(index, "start_ticks", "start_monotonic_ns");
    add_property_sample(index, "end_ticks", "end_monotonic_ns");
    add_property_sample(index, "killed_ticks", "killed_monotonic_ns");
    return 0;
}

/* True when the process had segments before those that are there: the lowest numbers are absent, or all are. A process
 * that was killed early has made none. */
static bool has_absent_segments(const struct index *index)
{
    if (index->blocks.files.has_lost || index->blocks.files.lowest > index->begin_segment)
        return true;
    for (size_t i = 0; i < index->n_refs; i++)
        if (index->blocks.files.lowest == 0 && index->refs[i].sequence > 0)
            return true;
    return index->blocks.files.lowest == 0 && index->has_end && has_property(index, "end_ticks");
}

/* Reports absent segments of a process without a limit, which evicts none. */
static void report_missing_segments(struct index *index)
{
    uint32_t lowest = index->blocks.files.lowest;
    if (lowest > index->begin_segment) {
        files_report_missing(&index->blocks.files, index->diagnostics, index->begin_segment, lowest - 1);
        return;
    }
    index->size.n_damaged++;            /* no sequence shows that blocks are missing */
    diagnostics_report(index->diagnostics, DIAGNOSTIC_DAMAGE, "%s: all segments are missing", index->path);
}

int index_take_snapshot(struct index *index, struct pnr_err *err)
{
    struct files *files = &index->blocks.files;
    index->until_ns = read_monotonic_ns();
    if (blocks_allocate(&index->blocks) < 0 || recovery_add_chunks(index) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, index->path, 0, "out of memory");
    if (files_list(files, index->diagnostics, err) < 0 || load_symbols(index, err) < 0)
        return -1;
    index->size.n_damaged += files->n_damaged;
    index->n_reported += files->n_damaged;
    index->short_position = recovery_start(index);
    bool has_absent = has_absent_segments(index);
    index->lacks_segments = has_absent;
    index->has_torn_short = files->damaged > 0;
    index->has_evicted = has_absent && index->may_evict;
    if (has_absent && !index->may_evict)
        report_missing_segments(index);
    return 0;
}

/* ---- the threads that are wanted ---- */

static int compare_indexed_threads(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The caller's choice of threads, and the threads that it has excluded so far. */
struct choice {
    const struct symbols *symbols;      /* ledger and samples are always wanted; borrowed */
    bool (*wants)(void *arg, uint32_t thread);          /* NULL: all are wanted */
    void *arg;
    uint32_t *excluded;                 /* owned; with repeats */
    size_t n, capacity;
    bool is_out_of_memory;
};

static bool wants_thread(struct choice *choice, uint32_t thread)
{
    if (!choice->wants || symbols_is_of_recorder(choice->symbols, thread) || choice->wants(choice->arg, thread))
        return true;
    if (pnr_array_reserve(&choice->excluded, &choice->capacity, choice->n + 1) < 0)
        choice->is_out_of_memory = true;
    else
        choice->excluded[choice->n++] = thread;
    return false;
}

/* Removes the chunks and the files of threads that are not wanted. */
static void exclude_unwanted(struct index *index, struct choice *choice)
{
    struct files *files = &index->blocks.files;
    size_t n_refs = 0, n_files = 0;
    for (size_t i = 0; i < index->n_refs; i++)
        if (wants_thread(choice, index->refs[i].thread))
            index->refs[n_refs++] = index->refs[i];
    for (size_t i = 0; i < files->n; i++)
        if (files->list[i].thread == PNR_SHORT_THREADS || wants_thread(choice, files->list[i].thread))
            files->list[n_files++] = files->list[i];
    index->n_refs = n_refs;
    files->n = n_files;
}

/* Gives the index the excluded threads, sorted, each once. */
static void keep_excluded(struct index *index, struct choice *choice)
{
    size_t n = 0;
    if (choice->n)
        qsort(choice->excluded, choice->n, sizeof *choice->excluded, compare_indexed_threads);
    for (size_t i = 0; i < choice->n; i++)
        if (n == 0 || choice->excluded[n - 1] != choice->excluded[i])
            choice->excluded[n++] = choice->excluded[i];
    index->excluded = choice->excluded;
    index->n_excluded = n;
}

/* ---- blocks in files ---- */

/* Orders blocks by thread, then by sequence. */
static int compare_refs(const void *a, const void *b)
{
    const struct block_ref *x = a, *y = b;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Adds a block that was found in a file. Returns 0, or -1 when out of memory. */
static int add_block(struct index *index, const struct file *file, const struct walk_found *found)
{
    const struct pnr_block_header *header = &found->header;
    uint64_t end = header->end.ticks ? header->end.ticks : header->begin.ticks;
    struct block_ref *ref = index_add_ref(index);
    if (!ref)
        return -1;
    *ref = (struct block_ref){ .thread = header->thread, .sequence = header->sequence, .segment = file->segment,
                             .at = found->at, .is_short = file->thread == PNR_SHORT_THREADS,
                             .is_last = header->flags & PNR_BLOCK_LAST, .is_deeper = header->flags & PNR_BLOCK_DEEPER,
                             .begin_ticks = header->begin.ticks, .end_ticks = end,
                             .n_records = (uint16_t)header->n_records, .n_open = (uint16_t)header->n_open,
                             .check = header->check };
    if (!index->first_segment)
        index->first_segment = file->segment;
    if (index->first_segment == file->segment && (!index->first_end_ticks || end < index->first_end_ticks))
        index->first_end_ticks = end;
    index->is_sparse |= (header->flags & PNR_BLOCK_SPARSE) != 0;
    index_add_clock_sample(index, &header->begin);
    index_add_clock_sample(index, &header->end);
    return 0;
}

/* True when a chunk holds this block. Without a header: any block of the thread, or, if thread is 0, of any thread. */
static bool is_in_live(const struct index *index, uint32_t thread, const struct pnr_block_header *header)
{
    for (size_t i = 0; i < index->n_refs && index->refs[i].segment == 0; i++) {
        const struct block_ref *ref = &index->refs[i];
        if (header ? ref->thread == header->thread && ref->sequence == header->sequence :
            thread == 0 || ref->thread == thread)
            return true;
    }
    return false;
}

/* Reports a file that ends inside a block, unless that is in order. In the last segment of a process that runs, the
 * block is being written. In that of a killed process nothing is lost when the live mapping still has the block. */
static void report_cut_file(struct index *index, const struct file *file, uint64_t at,
                            const struct pnr_block_header *header)
{
    const char *what = header ? "file ends inside a block" : "file ends inside a block header";
    bool is_damage = index->has_end || file->segment != index->blocks.files.last;
    if (!is_damage && (index->process == PNR_PROCESS_RUNS || is_in_live(index, file->thread, header)))
        return;
    report_in_file(index, file->segment, file->thread, is_damage ? DIAGNOSTIC_DAMAGE : DIAGNOSTIC_INFO,
                   PNR_E_TRUNCATED, at, what);
    note_torn(index, file, true);
    index->size.n_damaged++;
    index->n_reported += is_damage;
}

/* Removes what a segment holds that was evicted since the files were listed, and with it all segments before it. */
static void remove_evicted(struct index *index, uint32_t segment)
{
    size_t kept = 0;
    for (size_t i = 0; i < index->n_refs; i++)
        if (index->refs[i].segment == 0 || index->refs[i].segment > segment)
            index->refs[kept++] = index->refs[i];
    index->n_refs = kept;
    index->has_evicted = true;
    if (index->first_segment <= segment) {
        index->first_segment = 0;
        index->first_end_ticks = 0;
    }
}

/* Accounts for a file that cannot be opened: evicted, or damage. */
static void report_unopened(struct index *index, const struct file *file, const struct pnr_err *problem)
{
    if (files_is_gone(problem) && index->may_evict) {
        remove_evicted(index, file->segment);
        return;
    }
    diagnostics_err(index->diagnostics, DIAGNOSTIC_DAMAGE, problem);
    note_torn(index, file, true);
    index_count_damage(index);
}

/* How many headers had to be read from the disk before other threads prefetch them. A few waits prove nothing: the
 * kernel reports one now and then for a page that it has. */
#define MAX_WAITS 16

struct header_fetch {
    struct prefetch *prefetch;          /* NULL: not started, or failed */
    unsigned n_waited;
};

static void count_wait(struct header_fetch *header_fetch, const struct index *index, const struct file *files, size_t n)
{
    if (++header_fetch->n_waited == MAX_WAITS)
        header_fetch->prefetch = prefetch_start(index->path, files, n);
}

/* Walks the headers of a file; n files are left, this one included. Returns 0, or -1 when out of memory. */
static int walk_file(struct index *index, const struct file *file, size_t n, struct choice *choice,
                     struct header_fetch *header_fetch)
{
    struct walk_found found;
    struct pnr_err problem;
    enum walk_status status;
    uint64_t size;
    struct walk walk = { .fd = files_open(&index->blocks.files, file->segment, file->thread, &size, &problem) };
    if (walk.fd < 0) {
        report_unopened(index, file, &problem);
        return 0;
    }
    walk.size = file->size < size ? file->size : size;
    index->size.bytes += walk.size;
    while ((status = walk_next(&walk, &found)) != WALK_END) {
        if (walk.n_waited)
            count_wait(header_fetch, index, file, n);
        walk.n_waited = 0;
        bool is_foreign = status == WALK_BLOCK && file->thread != PNR_SHORT_THREADS &&
                          file->thread != found.header.thread;
        if (status == WALK_CUT_IN_BLOCK || status == WALK_CUT_IN_HEADER) {
            report_cut_file(index, file, found.at, status == WALK_CUT_IN_BLOCK ? &found.header : NULL);
            continue;
        }
        if (status == WALK_DAMAGE || is_foreign) {
            if (is_foreign)
                pnr_err_set(&found.err, PNR_E_CORRUPT, NULL, 0, "block of another thread");
            index->size.has_newer |= found.err.code == PNR_E_VERSION;
            report_in_file(index, file->segment, file->thread, DIAGNOSTIC_DAMAGE, found.err.code, found.at,
                           found.err.what);
            note_torn(index, file, true);
            index_count_damage(index);
            continue;
        }
        note_torn(index, file, false);
        if (file->thread == PNR_SHORT_THREADS && !wants_thread(choice, found.header.thread))
            continue;
        if (add_block(index, file, &found) < 0)
            return -1;
    }
    return choice->is_out_of_memory ? -1 : 0;
}

/* Walks the headers of all files. Returns 0, or -1 when out of memory. */
static int walk_files(struct index *index, struct choice *choice)
{
    const struct files *files = &index->blocks.files;
    struct header_fetch header_fetch = { .prefetch = NULL };
    int result = 0;
    for (size_t i = 0; i < files->n && result == 0; i++)
        result = walk_file(index, &files->list[i], files->n - i, choice, &header_fetch);
    prefetch_end(header_fetch.prefetch);
    return result;
}

/* ---- the order of blocks ---- */

/* Orders the copies of one block: those in files first, in the order of segments, files and offsets. */
static int compare_refs_and_positions(const void *a, const void *b)
{
    const struct block_ref *x = a, *y = b;
    int order = compare_refs(a, b);
    if (order)
        return order;
    if (x->segment != y->segment)
        return x->segment - 1 < y->segment - 1 ? -1 : 1;        /* 0, the live mapping, comes last */
    if (x->is_short != y->is_short)
        return x->is_short ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* True when the block in the file is whole. The recorder writes a block before it frees the chunk, so a kill in between
 * leaves both, and the file's may be torn. */
static bool is_whole_block(struct index *index, const struct block_ref *ref)
{
    struct pnr_block_header header;
    struct pnr_err err;
    return blocks_read(&index->blocks, ref, &header, &err) == 0;
}

/* Keeps one copy of each block: the first in a file, or the chunk when that one is not whole. */
static void remove_duplicates(struct index *index)
{
    struct block_ref *refs = index->refs;
    size_t kept = 0;
    if (index->n_refs)
        qsort(refs, index->n_refs, sizeof *refs, compare_refs_and_positions);
    for (size_t i = 0; i < index->n_refs; i++) {
        struct block_ref *last = kept ? &refs[kept - 1] : NULL;
        if (!last || last->thread != refs[i].thread || last->sequence != refs[i].sequence) {
            refs[kept++] = refs[i];
        } else if (refs[i].segment) {
            index_report(index, &refs[i], "repeated block (ignored)");
        } else if (!last->segment) {
            index_report(index, &refs[i], "chunk repeats the block of another one (ignored)");
            index->size.n_damaged++;
        } else if (!is_whole_block(index, last)) {
            *last = refs[i];
        }
    }
    index->n_refs = kept;
}

/* Counts the blocks of the thread that are missing before the i-th one. */
static uint64_t count_missing(const struct index *index, size_t i)
{
    const struct block_ref *ref = &index->refs[i];
    bool is_first = i == 0 || ref[-1].thread != ref->thread;
    if (is_first)
        return index->has_evicted || index->begin_segment > 1 ? 0 : ref->sequence;
    return (uint64_t)ref->sequence - ref[-1].sequence - 1;
}

static void report_hole(const struct index *index, const struct block_ref *ref, uint64_t n)
{
    if (n == 1)
        diagnostics_report(index->diagnostics, DIAGNOSTIC_DAMAGE,
                           "%s: block %" PRIu64 " of thread %" PRIu32 " is missing", index->path,
                           ref->sequence - n, ref->thread);
    else
        diagnostics_report(index->diagnostics, DIAGNOSTIC_DAMAGE,
                           "%s: blocks %" PRIu64 " to %" PRIu64 " of thread %" PRIu32 " are missing", index->path,
                           ref->sequence - n, (uint64_t)ref->sequence - 1, ref->thread);
}

/* Marks the blocks that follow a hole, and reports the holes. Damage that was reported before, bytes that are no block
 * for example, may be all that is missing: then the holes are not reported again. */
static void find_holes(struct index *index)
{
    uint64_t missing = 0, n;
    for (size_t i = 0; i < index->n_refs; i++) {
        n = count_missing(index, i);
        index->refs[i].is_after_hole = n > 0;
        missing += n;
    }
    if (missing <= index->n_reported)
        return;
    index->size.n_damaged += missing - index->n_reported;
    for (size_t i = 0; i < index->n_refs; i++)
        if ((n = count_missing(index, i)) > 0)
            report_hole(index, &index->refs[i], n);
}

/* Finds from when on nothing was evicted. A thread with blocks is complete from the begin of its first one. A thread of
 * which only the name is left had ended, or was idle, before the first block that is there was written. */
static void find_complete(struct index *index)
{
    size_t n_threads = 0, n_named = index->symbols->n_threads;
    for (size_t i = 0; i < index->n_excluded; i++)
        n_threads += symbols_thread(index->symbols, index->excluded[i]) != NULL;
    for (size_t i = 0; i < index->n_refs; i++) {
        const struct block_ref *ref = &index->refs[i];
        if (i > 0 && ref[-1].thread == ref->thread)
            continue;
        n_threads += symbols_thread(index->symbols, ref->thread) != NULL;
        if (ref->sequence > 0 && ref->begin_ticks > index->complete_ticks)
            index->complete_ticks = ref->begin_ticks;
    }
    if (n_threads < n_named && index->first_end_ticks > index->complete_ticks)
        index->complete_ticks = index->first_end_ticks;
}

void index_exclude_all(struct index *index)
{
    index->n_refs = index->blocks.files.n = 0;
}

int index_walk(struct index *index, bool (*wants)(void *arg, uint32_t thread), void *arg, struct pnr_err *err)
{
    struct choice choice = { .symbols = index->symbols, .wants = wants, .arg = arg };
    exclude_unwanted(index, &choice);
    int result = choice.is_out_of_memory ? -1 : walk_files(index, &choice);
    keep_excluded(index, &choice);
    files_free_list(&index->blocks.files);
    if (result < 0)
        return pnr_err_set(err, PNR_E_MEMORY, index->path, 0, "out of memory");
    remove_duplicates(index);
    find_holes(index);
    find_complete(index);
    index->size.n_found = index->n_refs;
    timeline_finish(&index->timeline);
    return 0;
}

struct block_ref *index_find_ref(const struct index *index, uint32_t thread, uint32_t sequence)
{
    struct block_ref key = { .thread = thread, .sequence = sequence };
    return index->n_refs ? bsearch(&key, index->refs, index->n_refs, sizeof key, compare_refs) : NULL;
}
