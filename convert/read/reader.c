/* The cursors of the threads, over the parts that know where and how: index.h finds all blocks once, recovery.h follows
 * chunks that become blocks meanwhile, blocks.h reads a block, readahead.h decodes some before they are needed. */
#include "reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "index.h"
#include "readahead.h"
#include "recovery.h"

/* Records that all threads together may hold. Beyond it a thread gets its block in pieces of an equal share of as many,
 * but of no less than MIN_PIECE. */
#define MAX_HELD ((48 << 20) / PNR_RECORD_SIZE)
#define MIN_PIECE 256

/* The OPEN records that a recorder writes at most: those that follow a SWITCH stay in its piece. */
#define MAX_OPEN 1024

/* What the reader can do now. Each function below asserts the phases in which it may be called. */
enum reader_phase {
    READER_INDEXING,                    /* reader_open() is at work: only names and chunks are known */
    READER_READY,                       /* all headers are known, nothing has been read; the range can still be set */
    READER_READING,                     /* blocks are read */
    READER_RELEASED                     /* all threads are read or stopped: no memory, descriptor or mapping is held */
};

/* Where the reading of one thread stands. */
struct cursor {
    uint32_t number;
    struct block_ref *next, *end;
    struct rescan_position position;    /* for its chunks that have become blocks */
    bool is_after_hole;                 /* a block was skipped before the next one */
    bool has_begun, has_ended;
    uint32_t at;                        /* the block before `next` has been delivered up to here; 0: as a whole */
    struct pnr_record *records;         /* owned */
    size_t capacity;
};

/* A block in a file that is likely to be read, and by whom. */
struct readahead_entry {
    const struct block_ref *ref;
    const struct cursor *cursor;
};

struct reader {
    char *path;                         /* owned, like all below */
    enum reader_phase phase;
    struct index index;
    struct cursor *cursors;             /* by number; those of excluded threads have no blocks */
    size_t n_cursors, n_ended;
    size_t n_with_blocks;
    struct jobs *jobs;                  /* borrowed, or NULL: then nothing is read ahead */
    struct readahead *readahead;        /* NULL: nothing is read ahead, or nothing yet; like the next */
    struct readahead_entry *plan;       /* in the order in which they are likely to be read */
    size_t n_planned, next_planned;
    size_t n_held;                      /* the capacity of all cursors */
    struct ledger ledger;
    struct samples samples;
};

/* ---- opening ---- */

/* Sets each cursor before the first block of its thread: the reader is ready. */
static void set_cursors(struct reader *reader)
{
    const struct index *index = &reader->index;
    size_t at = 0;
    for (size_t i = 0; i < reader->n_cursors; i++) {
        struct cursor *cursor = &reader->cursors[i];
        while (at < index->n_refs && index->refs[at].thread < cursor->number)
            at++;                       /* those of ledger and samples */
        size_t begin = at;
        while (at < index->n_refs && index->refs[at].thread == cursor->number)
            at++;
        *cursor = (struct cursor){ .number = cursor->number, .position = recovery_start(index) };
        if (at > begin) {
            cursor->next = index->refs + begin;
            cursor->end = index->refs + at;
        }
    }
    reader->n_ended = 0;
    reader->phase = READER_READY;
}

/* Makes a cursor for each thread that has a block or is excluded. Returns 0, or -1 when out of memory. */
static int make_cursors(struct reader *reader)
{
    const struct index *index = &reader->index;
    size_t n_with_blocks = 0, i = 0, k = 0;
    for (size_t j = 0; j < index->n_refs; j++)
        n_with_blocks += j == 0 || index->refs[j].thread != index->refs[j - 1].thread;
    reader->cursors = calloc(n_with_blocks + index->n_excluded + 1, sizeof *reader->cursors);
    if (!reader->cursors)
        return -1;
    while (i < index->n_refs || k < index->n_excluded) {
        bool is_excluded = i == index->n_refs ||
                           (k < index->n_excluded && index->excluded[k] < index->refs[i].thread);
        uint32_t number = is_excluded ? index->excluded[k++] : index->refs[i].thread;
        while (!is_excluded && i < index->n_refs && index->refs[i].thread == number)
            i++;
        if (symbols_is_of_recorder(index->symbols, number))
            n_with_blocks--;
        else
            reader->cursors[reader->n_cursors++].number = number;
    }
    reader->n_with_blocks = n_with_blocks;
    set_cursors(reader);
    return 0;
}

/* Read the blocks of the ledger, and of the samples. Return 0, or -1 and fill err. */
static int read_ledger(struct reader *reader, struct pnr_err *err);
static int read_samples(struct reader *reader, struct pnr_err *err);

/* Frees what only the reading of blocks needs. */
static void release_resources(struct reader *reader)
{
    readahead_free(reader->readahead);
    free(reader->plan);
    reader->readahead = NULL;
    reader->plan = NULL;
    reader->n_planned = reader->next_planned = 0;
    reader->jobs = NULL;
    blocks_release(&reader->index.blocks);
    reader->phase = READER_RELEASED;
}

static int build_index(struct reader *reader, const struct reader_choice *choice, struct pnr_err *err)
{
    struct index *index = &reader->index;
    if (index_take_snapshot(index, err) < 0)
        return -1;
    int is_wanted = choice ? choice->begin(choice->arg, reader) : 1;
    if (is_wanted < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (!is_wanted)
        index_exclude_all(index);
    if (index_walk(index, choice ? choice->wants : NULL, choice ? choice->arg : NULL, err) < 0)
        return -1;
    if (make_cursors(reader) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (read_ledger(reader, err) < 0 || read_samples(reader, err) < 0)
        return -1;
    if (reader->n_with_blocks)
        files_release(&index->blocks.files);       /* a reader is open for each process */
    else
        release_resources(reader);
    return 0;
}

struct reader *reader_open(const char *path, const struct reader_choice *choice, const struct diagnostics *diagnostics,
                           struct pnr_err *err)
{
    struct reader *reader = calloc(1, sizeof *reader);
    struct stat status;
    if (!reader || !(reader->path = strdup(path))) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        free(reader);
        return NULL;
    }
    index_init(&reader->index, reader->path, diagnostics);
    if (lstat(path, &status) == 0 && !S_ISDIR(status.st_mode))
        pnr_err_set(err, PNR_E_NOT_CAPTURE, path, 0, "not the directory of a process");
    else if (build_index(reader, choice, err) == 0)
        return reader;
    reader_close(reader);
    return NULL;
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    release_resources(reader);
    for (size_t i = 0; i < reader->n_cursors; i++)
        free(reader->cursors[i].records);
    ledger_clear(&reader->ledger);
    samples_clear(&reader->samples);
    index_clear(&reader->index);
    free(reader->cursors);
    free(reader->path);
    free(reader);
}

const char *reader_path(const struct reader *reader) { return reader->path; }
const struct symbols *reader_symbols(const struct reader *reader) { return reader->index.symbols; }
struct timeline *reader_timeline(struct reader *reader) { return &reader->index.timeline; }

void reader_shift(struct reader *reader, int64_t ns)
{
    reader->index.shift_ns += ns;
    timeline_shift(&reader->index.timeline, ns);
}

uint64_t reader_start(const struct reader *reader)
{
    uint64_t start_ns;
    if (symbols_number(reader->index.symbols, "start_monotonic_ns", &start_ns))
        return timeline_shifted(start_ns, reader->index.shift_ns);
    return timeline_first_ns(&reader->index.timeline);
}

const struct reader_size *reader_size(const struct reader *reader) { return &reader->index.size; }
bool reader_is_sparse(const struct reader *reader) { return reader->index.is_sparse; }
const struct ledger *reader_ledger(const struct reader *reader) { return &reader->ledger; }
const struct samples *reader_samples(const struct reader *reader) { return &reader->samples; }
size_t reader_n_threads(const struct reader *reader) { return reader->n_cursors; }
uint32_t reader_thread_number(const struct reader *reader, size_t thread) { return reader->cursors[thread].number; }

enum pnr_process_state reader_process(const struct reader *reader, uint64_t *until_ns)
{
    *until_ns = timeline_shifted(reader->index.until_ns, reader->index.shift_ns);
    return reader->index.process;
}

bool reader_has_evicted(const struct reader *reader, uint64_t *complete_ticks)
{
    *complete_ticks = reader->index.complete_ticks;
    return reader->index.has_evicted;
}

void reader_set_jobs(struct reader *reader, struct jobs *jobs)
{
    assert(reader->phase == READER_READY || reader->phase == READER_RELEASED);
    reader->jobs = jobs;
}

/* ---- reading ahead ---- */

static int compare_begins(const void *a, const void *b)
{
    const struct block_ref *x = ((const struct readahead_entry *)a)->ref;
    const struct block_ref *y = ((const struct readahead_entry *)b)->ref;
    if (x->begin_ticks != y->begin_ticks)
        return x->begin_ticks < y->begin_ticks ? -1 : 1;
    return x < y ? -1 : 1;              /* the order of the index: by thread, then by sequence */
}

/* Plans to decode the blocks in files in the order of time, which is mostly that in which they will be read. Without
 * memory nothing is read ahead. */
static void plan_readahead(struct reader *reader)
{
    reader->plan = malloc((reader->index.n_refs + 1) * sizeof *reader->plan);
    reader->readahead = reader->plan ? readahead_new(reader->jobs, reader->index.blocks.ticks_per_second) : NULL;
    if (!reader->readahead)
        return;
    for (size_t i = 0; i < reader->n_cursors; i++)
        for (const struct block_ref *ref = reader->cursors[i].next; ref < reader->cursors[i].end; ref++)
            if (ref->segment)
                reader->plan[reader->n_planned++] = (struct readahead_entry){ ref, &reader->cursors[i] };
    qsort(reader->plan, reader->n_planned, sizeof *reader->plan, compare_begins);
}

/* Starts to decode the next blocks of the plan, as many as there are free slots. Leaves those that cannot be read to
 * reader_next(), which reports why. */
static void start_readahead(struct reader *reader)
{
    void *data;
    while (reader->readahead && reader->next_planned < reader->n_planned &&
           (data = readahead_buffer(reader->readahead))) {
        const struct readahead_entry *entry = &reader->plan[reader->next_planned++];
        struct pnr_block_header header;
        struct pnr_err err;
        if (entry->ref >= entry->cursor->next &&
            blocks_read_data(&reader->index.blocks, entry->ref, &header, data, &err) == 0)
            readahead_start(reader->readahead, entry->ref, &header, !entry->ref->is_chunk);
    }
}

/* ---- from ready to released ---- */

static void begin_reading(struct reader *reader)
{
    assert(reader->phase == READER_READY);
    reader->phase = READER_READING;
    if (reader->jobs && jobs_n_threads(reader->jobs) > 1)
        plan_readahead(reader);
}

static void free_records(struct reader *reader, struct cursor *cursor)
{
    free(cursor->records);
    cursor->records = NULL;
    reader->n_held -= cursor->capacity;
    cursor->capacity = 0;
}

static void end_cursor(struct reader *reader, struct cursor *cursor)
{
    free_records(reader, cursor);
    if (!cursor->has_ended && ++reader->n_ended == reader->n_cursors)
        release_resources(reader);
    cursor->has_ended = true;
}

uint64_t reader_end(const struct reader *reader)
{
    uint64_t ticks = 0;
    for (size_t i = 0; i < reader->index.n_refs; i++) {
        const struct block_ref *ref = &reader->index.refs[i];
        if (symbols_is_of_recorder(reader->index.symbols, ref->thread))
            continue;
        uint64_t end = ref->end_ticks > ref->begin_ticks ? ref->end_ticks : ref->begin_ticks;
        if (end > ticks)
            ticks = end;
    }
    return ticks;
}

void reader_set_range(struct reader *reader, uint64_t from_ticks, uint64_t to_ticks, bool is_known)
{
    assert(reader->phase == READER_READY || reader->phase == READER_RELEASED);
    for (size_t i = 0; i < reader->n_cursors; i++) {
        struct cursor *cursor = &reader->cursors[i];
        struct block_ref *ref = cursor->next, *end = cursor->end;
        for (; ref < end && ref->begin_ticks < from_ticks; ref++)
            if (!ref->is_deeper || is_known)
                cursor->next = ref;
        if (ref > cursor->next && ref[-1].is_last && ref[-1].end_ticks < from_ticks)
            cursor->next = ref;
        while (ref < end && ref->begin_ticks < to_ticks)
            ref++;
        cursor->end = ref;
    }
}

void reader_stop(struct reader *reader)
{
    for (size_t i = 0; i < reader->n_cursors; i++) {
        struct cursor *cursor = &reader->cursors[i];
        cursor->next = cursor->end;
        cursor->at = 0;
        end_cursor(reader, cursor);
    }
}

int reader_rewind(struct reader *reader)
{
    struct blocks *blocks = &reader->index.blocks;
    struct pnr_err err;
    assert(reader->phase != READER_INDEXING);
    for (size_t i = 0; i < reader->n_cursors; i++)
        free_records(reader, &reader->cursors[i]);
    if (reader->n_with_blocks == 0)
        return 0;
    release_resources(reader);
    set_cursors(reader);
    if (blocks_allocate(blocks) < 0)
        return -1;
    if (reader->index.size.has_live)
        pnr_live_open(reader->path, &blocks->live, &err);       /* or find the blocks that its chunks have become */
    return 0;
}

bool reader_find_outline(const struct reader *reader, size_t i, struct reader_outline *outline)
{
    if (i >= reader->index.n_refs)
        return false;
    const struct block_ref *ref = &reader->index.refs[i];
    *outline = (struct reader_outline){ ref->thread, ref->n_records,
                                        (uint32_t)ref->n_records - (uint32_t)ref->n_open, ref->begin_ticks,
                                        ref->end_ticks, ref->is_chunk,
                                        symbols_is_of_recorder(reader->index.symbols, ref->thread) };
    return true;
}

bool reader_peek(struct reader *reader, size_t thread, uint64_t *ticks)
{
    struct cursor *cursor = &reader->cursors[thread];
    assert(reader->phase != READER_INDEXING);
    if (cursor->at == 0 && cursor->next == cursor->end) {
        end_cursor(reader, cursor);
        return false;
    }
    *ticks = (cursor->next - (cursor->at > 0))->begin_ticks;
    return true;
}

/* ---- reading ---- */

/* True for what must be in the piece of the record before it: a list of frames, or values. */
static bool belongs_to_record_before(struct pnr_record record)
{
    return pnr_record_kind(record) == PNR_OPEN || pnr_record_kind(record) == PNR_DATA;
}

/* Returns how many of n records make the next piece. */
static uint32_t piece_size(const struct reader *reader, const struct pnr_record *records, uint32_t n)
{
    size_t share = MAX_HELD / reader->n_with_blocks, min = share > MIN_PIECE ? share : MIN_PIECE, size = min;
    while (size < n && size < min + MAX_OPEN && belongs_to_record_before(records[size]))
        size++;
    return size < n ? (uint32_t)size : n;
}

/* Exchanges the buffer that has been read for the cursor's own, which is cheaper than to copy a block. Returns false
 * when all cursors would hold too much. */
static bool exchange_records(struct reader *reader, struct cursor *cursor)
{
    size_t n_held = reader->n_held - cursor->capacity + PNR_BLOCK_RECORDS;
    if (n_held > MAX_HELD)
        return false;
    if (cursor->capacity != PNR_BLOCK_RECORDS) {
        struct pnr_record *records = malloc(PNR_BLOCK_RECORDS * sizeof *records);
        if (!records)
            return false;
        free(cursor->records);
        cursor->records = records;
    }
    struct pnr_record *read = reader->index.blocks.records;
    reader->index.blocks.records = cursor->records;
    reader->n_held = n_held;
    cursor->records = read;
    cursor->capacity = PNR_BLOCK_RECORDS;
    return true;
}

/* Stores the next records of a block of n for the thread's user, all that are left or a piece, and points *records to
 * them. Returns how many they are, or -1 when out of memory. */
static int64_t store_records(struct reader *reader, struct cursor *cursor, uint32_t n,
                             const struct pnr_record **records)
{
    uint32_t stored = n - cursor->at;
    if (stored > PNR_BLOCK_RECORDS / 2 && exchange_records(reader, cursor)) {
        *records = cursor->records + cursor->at;
        return stored;
    }
    if (stored > cursor->capacity && reader->n_held - cursor->capacity + stored > MAX_HELD)
        stored = piece_size(reader, reader->index.blocks.records + cursor->at, stored);
    if (stored > cursor->capacity) {
        free_records(reader, cursor);
        if (!(cursor->records = malloc(stored * sizeof *cursor->records)))
            return -1;
        cursor->capacity = stored;
        reader->n_held += stored;
    }
    if (stored)
        memcpy(cursor->records, reader->index.blocks.records + cursor->at, stored * sizeof *cursor->records);
    *records = cursor->records;
    return stored;
}

/* Reads a block from its file, unless it has been read ahead. *is_ahead: whether it has. */
static enum read_outcome read_block(struct reader *reader, const struct block_ref *ref,
                                    struct pnr_block_header *header, bool *is_ahead, struct pnr_err *err)
{
    struct blocks *blocks = &reader->index.blocks;
    *is_ahead = reader->readahead && readahead_take(reader->readahead, ref, header, &blocks->records, &blocks->placed);
    if (*is_ahead || blocks_read(blocks, ref, header, err) == 0)
        return READ_RECORDS;
    if (files_is_gone(err) && reader->index.may_evict)
        return READ_EVICTED;
    return err->code == PNR_E_MEMORY ? READ_OUT_OF_MEMORY : READ_DAMAGED;
}

/* Reads a block, and spreads its events. What was a chunk is cut before, by the ticks of the readings. */
static enum read_outcome read_ref(struct reader *reader, struct cursor *cursor, const struct block_ref *ref,
                                  struct pnr_block_header *header, struct pnr_err *err)
{
    enum read_outcome outcome = READ_IS_BLOCK;
    bool is_ahead = false;
    if (ref->segment == 0)
        outcome = recovery_read(&reader->index, ref, &cursor->position, header, err);
    if (outcome == READ_IS_BLOCK)
        outcome = read_block(reader, ref, header, &is_ahead, err);
    if (outcome != READ_RECORDS || (is_ahead && !ref->is_chunk))
        return outcome;
    if (ref->is_chunk)
        recovery_cut(&reader->index, ref, header);
    return blocks_spread(&reader->index.blocks, header) < 0 ? READ_OUT_OF_MEMORY : READ_RECORDS;
}

/* Counts the leading OPEN records of a block whose header announces n_open. */
static uint32_t count_leading_open(const struct pnr_record *records, uint32_t n_records, uint32_t n_open)
{
    uint32_t n = 0;
    while (n < n_open && n < n_records && pnr_record_kind(records[n]) == PNR_OPEN)
        n++;
    return n;
}

/* Delivers the next part of the block that has been read. Returns 1, or -1 when out of memory. */
static int deliver(struct reader *reader, struct cursor *cursor, struct block_ref *ref,
                   const struct pnr_block_header *header, struct reader_block *block)
{
    bool is_begin = cursor->at == 0;
    const struct pnr_record *open = reader->index.blocks.records, *records;
    uint32_t n_open = is_begin ? count_leading_open(open, header->n_records, header->n_open) : 0;
    cursor->at += n_open;
    int64_t n_stored = store_records(reader, cursor, header->n_records, &records);
    if (n_stored < 0)
        return -1;
    cursor->at += (uint32_t)n_stored;
    bool is_end = cursor->at == header->n_records;
    *block = (struct reader_block){
        .is_begin = is_begin,
        .track = header->track,
        .open = open,
        .n_open = n_open,
        /* A process killed while it wrote these leaves too few: not the whole stack, and nothing follows. */
        .has_open = is_begin && (n_open == header->n_open || n_open < header->n_records),
        .records = records,
        .n_records = (uint32_t)n_stored,
        .begin_ticks = header->begin.ticks,
        .end_ticks = is_end && ref->segment ? header->end.ticks : 0,
        .is_sparse = header->flags & PNR_BLOCK_SPARSE,
        .is_deeper = header->flags & PNR_BLOCK_DEEPER,
        .is_last = is_end && (header->flags & PNR_BLOCK_LAST),
        .is_after_pause = is_begin && cursor->has_begun && (header->flags & PNR_BLOCK_PAUSED),
        .is_after_hole = is_begin && (cursor->is_after_hole ||
                                      (cursor->has_begun && (header->flags & PNR_BLOCK_RESYNC))),
    };
    cursor->is_after_hole = false;
    cursor->has_begun = true;
    if (is_begin && !ref->is_read) {
        reader->index.size.n_recovered += ref->segment ? 0 : header->n_records;
        reader->index.size.n_blocks++;
        if (header->flags & PNR_BLOCK_SPARSE)
            placing_count_add(&reader->index.size.placed, &reader->index.blocks.placed);
        ref->is_read = true;
    }
    if (is_end)
        cursor->at = 0;
    return 1;
}

/* Accounts for a block that was evicted before it could be read. */
static void count_evicted(struct reader *reader, struct cursor *cursor, const struct block_ref *ref)
{
    reader->index.has_evicted = true;
    if (ref->end_ticks > reader->index.complete_ticks)
        reader->index.complete_ticks = ref->end_ticks;
    cursor->is_after_hole |= cursor->has_begun;
}

/* Accounts for a damaged block, and reports it, once. */
static void skip_damaged(struct reader *reader, struct cursor *cursor, struct block_ref *ref,
                         const struct pnr_err *fault)
{
    cursor->is_after_hole = cursor->has_begun = true;
    if (ref->is_damaged)
        return;                         /* reported when it was read before the last rewind */
    if (fault->sys_errno)
        diagnostics_err(reader->index.diagnostics, DIAGNOSTIC_DAMAGE, fault);
    else
        index_report(&reader->index, ref, fault->what);
    reader->index.size.n_damaged++;
    ref->is_damaged = true;
}

int reader_next(struct reader *reader, size_t thread, struct reader_block *block, struct pnr_err *err)
{
    struct cursor *cursor = &reader->cursors[thread];
    struct pnr_block_header header;
    struct pnr_err fault;
    if (reader->phase == READER_READY)
        begin_reading(reader);
    start_readahead(reader);
    if (cursor->at == 0 && cursor->next == cursor->end) {
        end_cursor(reader, cursor);
        return 0;
    }
    struct block_ref *ref = cursor->at > 0 ? cursor->next - 1 : cursor->next++;
    enum read_outcome outcome = read_ref(reader, cursor, ref, &header, &fault);
    cursor->is_after_hole |= cursor->at == 0 && ref->is_after_hole;
    if (outcome == READ_RECORDS) {
        if (header.n_records < cursor->at)
            header.n_records = cursor->at;          /* what has been delivered cannot be undone */
        if (deliver(reader, cursor, ref, &header, block) > 0)
            return 1;
    }
    if (outcome == READ_RECORDS || outcome == READ_OUT_OF_MEMORY)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    cursor->at = 0;
    if (outcome == READ_EVICTED)
        count_evicted(reader, cursor, ref);
    else if (outcome == READ_DAMAGED)
        skip_damaged(reader, cursor, ref, &fault);
    return 0;
}

/* ---- the ledger ---- */

/* Finds the blocks with the number of a ledger, or of samples. Returns how many there are. */
static size_t find_blocks_of(const struct index *index, uint32_t number, struct block_ref **first)
{
    size_t at = 0, n = 0;
    while (at < index->n_refs && index->refs[at].thread != number)
        at++;
    *first = index->n_refs ? index->refs + at : NULL;
    while (number && at + n < index->n_refs && index->refs[at + n].thread == number)
        n++;
    return n;
}

/* Counts the records of further ledgers, which mean nothing. */
static void count_other_ledgers(struct reader *reader)
{
    const struct index *index = &reader->index;
    uint32_t number = symbols_ledger(index->symbols);
    for (size_t i = 0; i < index->n_refs; i++)
        if (index->refs[i].thread != number && symbols_is_ledger(index->symbols, index->refs[i].thread))
            reader->ledger.n_unknown_kinds += index->refs[i].n_records;
}

/* True when records of the ledger are missing before the block that has been read. */
static bool lacks_records(const struct index *index, const struct pnr_block_header *header)
{
    if (header->flags & PNR_BLOCK_RESYNC)
        return true;
    for (uint32_t i = 0; i < header->n_records; i++)
        if (pnr_record_kind(index->blocks.records[i]) == PNR_LOST)
            return true;
    return false;
}

/* True for a chunk with nothing but MUTED records: the process may have been killed while it wrote them. */
static bool is_head_alone(const struct index *index, const struct pnr_block_header *header)
{
    for (uint32_t i = 0; i < header->n_records; i++)
        if (pnr_record_kind(index->blocks.records[i]) != PNR_MUTED)
            return false;
    return true;
}

/* True when damage may hide blocks of the ledger after those that exist. */
static bool is_torn_ledger(const struct index *index)
{
    return index->has_torn_ledger || index->has_torn_short || index->has_damaged_live;
}

/* True when the ledger's first block, or the absence of any, leaves nothing unknown before it. A capture of a part
 * begins with a block of the ledger if anything was muted then. */
static bool has_whole_ledger(const struct index *index, const struct block_ref *first, size_t n)
{
    if (n == 0)
        return !index->lacks_segments && !index->has_evicted && !is_torn_ledger(index);
    return first->sequence == 0 || (index->begin_segment > 1 && !index->lacks_segments);
}

static void add_ledger_block(struct reader *reader, const struct block_ref *ref, const struct pnr_block_header *header)
{
    struct ledger *ledger = &reader->ledger;
    ledger_begin_block(ledger, header->begin.ticks);
    for (uint32_t i = 0; i < header->n_records; i++) {
        struct pnr_record record = reader->index.blocks.records[i];
        ledger_add(ledger, header->begin.ticks + pnr_record_ticks(record), record);
    }
    ledger_end_block(ledger, ref->segment ? header->end.ticks : 0);
}

/* Ends the reading of a block of the recorder's own, of which read_ref returned outcome and filled fault. Returns 0, or -1
 * and fills err. */
static int end_own_block(struct reader *reader, struct cursor *cursor, struct block_ref *ref, enum read_outcome outcome,
                         const struct pnr_err *fault, bool is_out_of_memory, struct pnr_err *err)
{
    if (outcome == READ_DAMAGED)
        skip_damaged(reader, cursor, ref, fault);
    else if (outcome == READ_EVICTED)
        count_evicted(reader, cursor, ref);
    reader->index.size.n_blocks++;
    ref->is_read = true;
    return outcome == READ_OUT_OF_MEMORY || is_out_of_memory ?
        pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory") : 0;
}

/* Reads a block of the ledger. Returns 0, or -1 and fills err. */
static int read_ledger_block(struct reader *reader, struct cursor *cursor, struct block_ref *ref, struct pnr_err *err)
{
    struct pnr_block_header header;
    struct pnr_err fault;
    enum read_outcome outcome = read_ref(reader, cursor, ref, &header, &fault);
    bool has_records = outcome == READ_RECORDS;
    if (ref->is_after_hole || (has_records ? lacks_records(&reader->index, &header) : outcome != READ_RETRACTED))
        ledger_lose(&reader->ledger);
    if (has_records && !(ref->is_chunk && is_head_alone(&reader->index, &header)))
        add_ledger_block(reader, ref, &header);
    return end_own_block(reader, cursor, ref, outcome, &fault, reader->ledger.is_out_of_memory, err);
}

static int read_ledger(struct reader *reader, struct pnr_err *err)
{
    struct index *index = &reader->index;
    struct block_ref *first;
    bool is_named = symbols_ledger(index->symbols);
    if (!is_named && !symbols_property(index->symbols, "max_overhead").bytes)
        return 0;
    size_t n = find_blocks_of(index, symbols_ledger(index->symbols), &first);
    struct cursor cursor = { .position = recovery_start(index) };
    ledger_init(&reader->ledger, is_named && has_whole_ledger(index, first, n));
    count_other_ledgers(reader);
    for (size_t i = 0; i < n; i++)
        if (read_ledger_block(reader, &cursor, &first[i], err) < 0)
            return -1;
    if (n && is_torn_ledger(index) && !first[n - 1].is_last)
        ledger_lose(&reader->ledger);
    return 0;
}

/* ---- the samples ---- */

/* Counts the records of further samples, which mean nothing. */
static void count_other_samples(struct reader *reader, uint32_t number)
{
    const struct index *index = &reader->index;
    for (size_t i = 0; i < index->n_refs; i++)
        if (index->refs[i].thread != number && symbols_is_samples(index->symbols, index->refs[i].thread))
            reader->samples.n_unknown += index->refs[i].n_records;
}

static void add_samples_block(struct reader *reader, const struct pnr_block_header *header, bool continues)
{
    struct index *index = &reader->index;
    samples_begin_block(&reader->samples, continues && !(header->flags & (PNR_BLOCK_RESYNC | PNR_BLOCK_PAUSED)));
    for (uint32_t i = 0; i < header->n_records; i++) {
        struct pnr_record record = index->blocks.records[i];
        uint64_t ns = timeline_ns(&index->timeline, header->begin.ticks + pnr_record_ticks(record));
        const struct pnr_name *thread = symbols_thread(index->symbols, pnr_record_function(record));
        samples_add(&reader->samples, ns, record, thread && thread->index && thread->kind == PNR_THREAD_OWN);
    }
}

/* Reads a block of the samples. continues: the block before it was read; then whether this one was. Returns 0, or -1 and
 * fills err. */
static int read_samples_block(struct reader *reader, struct cursor *cursor, struct block_ref *ref, bool *continues,
                              struct pnr_err *err)
{
    struct pnr_block_header header;
    struct pnr_err fault;
    enum read_outcome outcome = read_ref(reader, cursor, ref, &header, &fault);
    if (outcome == READ_RECORDS)
        add_samples_block(reader, &header, *continues && !ref->is_after_hole);
    *continues = outcome == READ_RECORDS;
    return end_own_block(reader, cursor, ref, outcome, &fault, reader->samples.is_out_of_memory, err);
}

static int read_samples(struct reader *reader, struct pnr_err *err)
{
    struct index *index = &reader->index;
    struct block_ref *first;
    uint32_t number = symbols_samples(index->symbols);
    bool continues = true;
    size_t n = find_blocks_of(index, number, &first);
    if (!number)
        return 0;
    struct cursor cursor = { .number = number, .position = recovery_start(index) };
    samples_init(&reader->samples);
    count_other_samples(reader, number);
    for (size_t i = 0; i < n; i++)
        if (read_samples_block(reader, &cursor, &first[i], &continues, err) < 0)
            return -1;
    return 0;
}
