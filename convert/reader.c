/* A thread's blocks come from two sources, its file and the chunks of the live mapping; a cursor merges them by their
 * sequence numbers. The whole walk is done twice. The first time, in reader_open, only headers are read: this gives
 * the clock before the first record is converted, and all that is wrong with headers is said here. The second walk,
 * by reader_next, goes the same way silently and decodes. An index made by the first walk would spare the second one a
 * few system calls for each block, and would grow with the capture. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/capture.h"

/* How much of a file is looked at in one go for the next block after a damaged one. */
#define SEARCH_SIZE 65536

/* A chunk of the live mapping that is in use. */
struct chunk {
    struct pnr_block_header header;     /* as it was when the reader was opened */
    uint32_t k;                         /* its place in the mapping */
    bool is_in_file;                    /* the same block is whole in the thread's file */
};

/* Where the reading of one thread stands. */
struct cursor {
    uint32_t number;
    bool has_file;
    int fd;                             /* -1 between calls of the public functions */
    uint64_t file_at;                   /* where the file's next block is looked for */
    uint64_t file_size;                 /* when it was opened first */
    bool has_next;                      /* the file's next block: header and data_at are valid */
    struct pnr_block_header header;
    uint64_t data_at;
    struct chunk *chunk, *chunks_end;   /* the live mapping's next one, and the end of this thread's */
    uint64_t sequence;                  /* expected next */
    uint64_t file_sequence;             /* expected next in the file */
    bool is_hole_known;                 /* damage was said since the last block: it explains a hole, if there is one */
    bool is_after_hole;                 /* a block was skipped or is missing before the next one */
    uint64_t n_taken;
    struct pnr_record *records;         /* owned */
    size_t capacity;
};

struct reader {
    char *path;                         /* owned, like all below */
    const struct notes *notes;          /* borrowed */
    bool is_silent;                     /* second walk */
    bool has_end;                       /* the process ended cleanly */
    struct symbols *symbols;
    struct timeline timeline;
    struct pnr_live live;
    struct chunk *chunks;               /* by thread, then sequence */
    size_t n_chunks;
    struct cursor *cursors;
    size_t n_cursors;
    struct pnr_block_coder *coder;
    unsigned char *data;                /* a data frame and the next block's prefix */
    struct reader_size size;
};

static void thread_path(const struct reader *reader, const struct cursor *cursor, char *path)
{
    snprintf(path, PATH_MAX, "%s/thread-%" PRIu32 ".zst", reader->path, cursor->number);
}

/* Says that something is wrong with the thread's file, in the first walk. */
static void say_file(struct reader *reader, const struct cursor *cursor, enum note_level level, enum pnr_code code,
                     uint64_t offset, const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    if (reader->is_silent)
        return;
    thread_path(reader, cursor, path);
    pnr_err_set(&err, code, path, offset, what);
    notes_err(reader->notes, level, &err);
}

/* ---- the thread's file ---- */

static void open_file(struct reader *reader, struct cursor *cursor)
{
    char path[PATH_MAX];
    struct stat status;
    struct pnr_err err;
    if (!cursor->has_file || cursor->fd >= 0)
        return;
    thread_path(reader, cursor, path);
    cursor->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (cursor->fd < 0 || fstat(cursor->fd, &status) < 0) {
        pnr_err_system(&err, path, "cannot read");
        goto fail;
    }
    if (!S_ISREG(status.st_mode)) {
        pnr_err_set(&err, PNR_E_CORRUPT, path, 0, "not a regular file");
        goto fail;
    }
    if (!reader->is_silent) {
        cursor->file_size = (uint64_t)status.st_size;
        reader->size.bytes += cursor->file_size;
    }
    return;
fail:
    notes_err(reader->notes, NOTE_DAMAGE, &err);
    cursor->has_file = false;
}

static void close_file(struct cursor *cursor)
{
    if (cursor->fd >= 0)
        close(cursor->fd);
    cursor->fd = -1;
}

/* Reads up to size bytes at an offset; less only at the end of the file or when it cannot be read. */
static size_t read_at(const struct cursor *cursor, void *bytes, size_t size, uint64_t at)
{
    size_t got = 0;
    while (cursor->fd >= 0 && got < size) {
        ssize_t n = pread(cursor->fd, (char *)bytes + got, size - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

static bool is_prefix(const unsigned char *prefix)
{
    uint32_t words[3];
    memcpy(words, prefix, sizeof words);
    return words[0] == PNR_BLOCK_SKIPPABLE && words[1] == PNR_BLOCK_HEADER_SIZE && words[2] == PNR_BLOCK_MAGIC;
}

/* Finds the next place from `at` on where a block with a good header begins. */
static uint64_t search(const struct cursor *cursor, uint64_t at)
{
    unsigned char bytes[SEARCH_SIZE];
    for (;;) {
        size_t n = read_at(cursor, bytes, sizeof bytes, at);
        if (n < PNR_BLOCK_PREFIX_SIZE)
            return cursor->file_size;
        for (size_t i = 0; i + PNR_BLOCK_PREFIX_SIZE <= n; i++) {
            struct pnr_block_header header;
            struct pnr_err err;
            if (bytes[i] != (PNR_BLOCK_SKIPPABLE & 0xff) || !is_prefix(bytes + i))
                continue;
            memcpy(&header, bytes + i + 8, sizeof header);
            if (pnr_block_header_check(&header, false, 0, &err) == 0)
                return at + i;
        }
        at += n - PNR_BLOCK_PREFIX_SIZE + 1;
    }
}

static struct chunk *find_chunk(const struct cursor *cursor, uint64_t sequence)
{
    for (struct chunk *chunk = cursor->chunk; chunk < cursor->chunks_end; chunk++) {
        if (chunk->header.sequence == sequence && !chunk->is_in_file)
            return chunk;
    }
    return NULL;
}

/* The file ends inside a block: silent when the live mapping still has it; else, if the process was killed, this is
 * how its file looks. */
static void end_file(struct reader *reader, struct cursor *cursor, uint64_t sequence, const char *what)
{
    if (!find_chunk(cursor, sequence)) {
        say_file(reader, cursor, reader->has_end ? NOTE_DAMAGE : NOTE_FACT, PNR_E_TRUNCATED, cursor->file_at, what);
        cursor->is_hole_known = reader->has_end;    /* a kill explains the end of a file, not a hole before a chunk */
        if (!reader->is_silent)
            reader->size.n_damaged++;
    }
    cursor->file_at = cursor->file_size;
}

static void skip_damage(struct reader *reader, struct cursor *cursor, const struct pnr_err *err, uint64_t next)
{
    say_file(reader, cursor, NOTE_DAMAGE, err->code, cursor->file_at, err->what);
    cursor->is_hole_known = true;
    if (!reader->is_silent)
        reader->size.n_damaged++;
    cursor->file_at = next;
}

/* Decodes the file's next block. Returns 0, or -1 and fills err with a cause that has no path. */
static int decode(struct reader *reader, struct cursor *cursor, struct pnr_record *records, struct pnr_err *err)
{
    const struct pnr_block_header *header = &cursor->header;
    open_file(reader, cursor);
    if (read_at(cursor, reader->data, header->data_size, cursor->data_at) != header->data_size)
        return pnr_err_set(err, PNR_E_TRUNCATED, NULL, cursor->data_at, "data frame cannot be read whole");
    return pnr_block_decode(reader->coder, header, reader->data, records, err);
}

/* The chunk of the block at the cursor is not needed if the block is whole in the file. The recorder writes a block
 * before it frees the chunk, so a kill between the two leaves both. */
static void compare_chunk(struct reader *reader, struct cursor *cursor)
{
    struct pnr_err err;
    struct chunk *chunk = find_chunk(cursor, cursor->header.sequence);
    if (!chunk || reader->is_silent)
        return;
    struct pnr_record *records = malloc(cursor->header.n_records * sizeof *records);
    chunk->is_in_file = records && decode(reader, cursor, records, &err) == 0;
    free(records);
}

/* Sees to it that has_next tells whether the file has another block, and header which. May leave the file open. */
static void find_next(struct reader *reader, struct cursor *cursor)
{
    while (!cursor->has_next && cursor->has_file && cursor->file_at < cursor->file_size) {
        open_file(reader, cursor);
        if (cursor->fd < 0)
            return;
        unsigned char prefix[PNR_BLOCK_PREFIX_SIZE];
        struct pnr_err err;
        size_t n = read_at(cursor, prefix, sizeof prefix, cursor->file_at);
        if (n < sizeof prefix) {
            end_file(reader, cursor, cursor->file_sequence, "cut off inside a block header");
            return;
        }
        memcpy(&cursor->header, prefix + 8, sizeof cursor->header);
        int fault = is_prefix(prefix) ? pnr_block_header_check(&cursor->header, false, 0, &err) :
            pnr_err_set(&err, PNR_E_CORRUPT, NULL, 0, "no block begins here");
        if (fault) {
            if (err.code == PNR_E_VERSION)
                reader->size.has_newer = true;
            skip_damage(reader, cursor, &err, search(cursor, cursor->file_at + 1));
            continue;
        }
        cursor->data_at = cursor->file_at + PNR_BLOCK_PREFIX_SIZE;
        uint64_t end = cursor->data_at + cursor->header.data_size;
        if (end > cursor->file_size) {
            end_file(reader, cursor, cursor->header.sequence, "cut off inside a block");
            return;
        }
        if (cursor->header.thread != cursor->number) {
            pnr_err_set(&err, PNR_E_CORRUPT, NULL, 0, "block of another thread");
            skip_damage(reader, cursor, &err, end);
            continue;
        }
        compare_chunk(reader, cursor);
        cursor->has_next = true;
        cursor->file_sequence = (uint64_t)cursor->header.sequence + 1;
    }
}

/* ---- both sources ---- */

/* Drops the file's next block. */
static void pass_file(struct cursor *cursor)
{
    cursor->file_at = cursor->data_at + cursor->header.data_size;
    cursor->has_next = false;
}

static void say_hole(struct reader *reader, const struct cursor *cursor, uint64_t sequence)
{
    char path[PATH_MAX];
    if (reader->is_silent || cursor->is_hole_known)
        return;
    reader->size.n_damaged += sequence - cursor->sequence;
    thread_path(reader, cursor, path);
    if (sequence == cursor->sequence + 1)
        notes_say(reader->notes, NOTE_DAMAGE, "%s: block %" PRIu64 " is missing", path, cursor->sequence);
    else
        notes_say(reader->notes, NOTE_DAMAGE, "%s: blocks %" PRIu64 " to %" PRIu64 " are missing", path,
                  cursor->sequence, sequence - 1);
}

/* Gives the header of the thread's next block, borrowed until the cursor moves, or NULL at its end. *chunk is where it
 * lies in the live mapping, NULL when it lies in the file. */
static const struct pnr_block_header *peek(struct reader *reader, struct cursor *cursor, struct chunk **chunk)
{
    for (;;) {
        find_next(reader, cursor);
        while (cursor->chunk < cursor->chunks_end && cursor->chunk->is_in_file)
            cursor->chunk++;
        *chunk = cursor->chunk < cursor->chunks_end ? cursor->chunk : NULL;
        if (!*chunk && !cursor->has_next)
            return NULL;
        if (*chunk && cursor->has_next && cursor->header.sequence == (*chunk)->header.sequence) {
            pass_file(cursor);          /* not whole, as compare_chunk found */
            continue;
        }
        if (*chunk && cursor->has_next && cursor->header.sequence < (*chunk)->header.sequence)
            *chunk = NULL;
        const struct pnr_block_header *header = *chunk ? &(*chunk)->header : &cursor->header;
        if (header->sequence >= cursor->sequence) {
            if (header->sequence > cursor->sequence) {
                say_hole(reader, cursor, header->sequence);
                cursor->is_after_hole = true;
            }
            cursor->sequence = header->sequence;
            return header;
        }
        if (*chunk) {
            if (!reader->is_silent)
                notes_say(reader->notes, NOTE_DAMAGE, "%s/live: chunk %" PRIu32 ": block %" PRIu32 " of thread %" PRIu32
                          " comes again", reader->path, (*chunk)->k, header->sequence, cursor->number);
            cursor->chunk++;
        } else {
            say_file(reader, cursor, NOTE_DAMAGE, PNR_E_CORRUPT, cursor->file_at, "block comes again");
            pass_file(cursor);
        }
    }
}

/* Moves past the block that peek gave. */
static void pass(struct cursor *cursor, const struct chunk *chunk)
{
    cursor->sequence++;
    cursor->is_hole_known = false;
    if (chunk)
        cursor->chunk++;
    else
        pass_file(cursor);
}

/* ---- opening ---- */

static int by_thread(const void *a, const void *b)
{
    const struct pnr_block_header *x = &((const struct chunk *)a)->header, *y = &((const struct chunk *)b)->header;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    return ((const struct chunk *)a)->k < ((const struct chunk *)b)->k ? -1 : 1;
}

/* Returns 0, or -1 when out of memory. A live mapping that cannot be read is said and left. */
static int open_live(struct reader *reader)
{
    struct pnr_err err;
    int found = pnr_live_open(reader->path, &reader->live, &err);
    if (found < 0)
        notes_err(reader->notes, NOTE_DAMAGE, &err);
    if (found <= 0)
        return 0;
    reader->size.has_live = true;
    reader->size.bytes += reader->live.size;
    uint32_t n = reader->live.header->n_chunks;
    reader->chunks = calloc(n, sizeof *reader->chunks);
    if (!reader->chunks)
        return -1;
    for (uint32_t k = 0; k < n; k++) {
        struct pnr_live_chunk *live = &reader->live.chunks[k];
        struct chunk chunk = { .k = k };
        uint32_t state = atomic_load_explicit(&live->state, memory_order_acquire);
        if (state == PNR_CHUNK_FREE)
            continue;
        chunk.header = live->block;
        uint64_t at = PNR_LIVE_PAGE + k * sizeof *live;
        int fault = state == PNR_CHUNK_IN_USE ? pnr_block_header_check(&chunk.header, true, at, &err) :
            pnr_err_set(&err, PNR_E_CORRUPT, NULL, at, "chunk is neither free nor in use");
        if (fault) {
            char path[PATH_MAX];
            struct pnr_err where;
            snprintf(path, sizeof path, "%s/live", reader->path);
            pnr_err_set(&where, err.code, path, at, err.what);
            notes_err(reader->notes, NOTE_DAMAGE, &where);
            reader->size.n_damaged++;
            reader->size.has_newer |= err.code == PNR_E_VERSION;
        } else if (pnr_live_count(&reader->live, k) > 0) {
            reader->chunks[reader->n_chunks++] = chunk;
        }
    }
    qsort(reader->chunks, reader->n_chunks, sizeof *reader->chunks, by_thread);
    return 0;
}

/* Makes a cursor for every thread that has a file or a chunk. */
static int make_cursors(struct reader *reader, struct pnr_err *err)
{
    uint32_t *numbers;
    size_t n = 0, file = 0, chunk = 0;
    if (pnr_capture_threads(reader->path, &numbers, &n, err) < 0)
        return -1;
    reader->cursors = calloc(n + reader->n_chunks + 1, sizeof *reader->cursors);
    if (!reader->cursors) {
        free(numbers);
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    }
    while (file < n || chunk < reader->n_chunks) {
        struct cursor *cursor = &reader->cursors[reader->n_cursors++];
        uint32_t live = chunk < reader->n_chunks ? reader->chunks[chunk].header.thread : UINT32_MAX;
        cursor->fd = -1;
        cursor->has_file = file < n && numbers[file] <= live;
        cursor->number = cursor->has_file ? numbers[file++] : live;
        cursor->chunk = reader->chunks + chunk;
        while (chunk < reader->n_chunks && reader->chunks[chunk].header.thread == cursor->number)
            chunk++;
        cursor->chunks_end = reader->chunks + chunk;
    }
    free(numbers);
    return 0;
}

static void add_instant(struct reader *reader, const struct pnr_instant *instant)
{
    if (instant->ticks || instant->monotonic_ns)
        timeline_add(&reader->timeline, instant->ticks, instant->monotonic_ns);
}

static void add_fact(struct reader *reader, const char *ticks, const char *monotonic_ns)
{
    struct pnr_instant instant = { 0, 0, 0 };
    if (symbols_number(reader->symbols, ticks, &instant.ticks) &&
        symbols_number(reader->symbols, monotonic_ns, &instant.monotonic_ns))
        add_instant(reader, &instant);
}

/* The first walk over one thread; leaves the cursor at the start again. */
static void walk(struct reader *reader, struct cursor *cursor)
{
    struct chunk *chunk, *first = cursor->chunk;
    const struct pnr_block_header *header;
    open_file(reader, cursor);
    while ((header = peek(reader, cursor, &chunk))) {
        add_instant(reader, &header->begin);
        if (!chunk)
            add_instant(reader, &header->end);
        pass(cursor, chunk);
    }
    close_file(cursor);
    *cursor = (struct cursor){ .number = cursor->number, .has_file = cursor->has_file, .fd = -1,
                               .file_size = cursor->file_size, .chunk = first, .chunks_end = cursor->chunks_end };
}

static int prepare(struct reader *reader, struct pnr_err *err)
{
    uint64_t ticks_per_second = 0;
    reader->coder = pnr_block_coder_new();
    reader->data = malloc(pnr_block_data_bound());
    if (!reader->coder || !reader->data || open_live(reader) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (make_cursors(reader, err) < 0)
        return -1;
    symbols_number(reader->symbols, "ticks_per_second", &ticks_per_second);
    timeline_init(&reader->timeline, ticks_per_second);
    add_fact(reader, "start_ticks", "start_monotonic_ns");
    add_fact(reader, "end_ticks", "end_monotonic_ns");
    if (reader->size.has_live) {
        uint32_t latest = atomic_load(&reader->live.header->latest);
        if (latest < 2)                 /* the other one may be half written */
            add_instant(reader, &reader->live.header->instants[latest]);
    }
    for (size_t i = 0; i < reader->n_cursors; i++)
        walk(reader, &reader->cursors[i]);
    timeline_settle(&reader->timeline);
    reader->is_silent = true;
    return 0;
}

struct reader *reader_open(const char *path, const struct notes *notes, struct pnr_err *err)
{
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader || !(reader->path = strdup(path))) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        goto fail;
    }
    reader->notes = notes;
    reader->symbols = symbols_load(path, notes, err);
    if (!reader->symbols)
        goto fail;
    reader->size.bytes = reader->symbols->size;
    reader->has_end = symbols_fact(reader->symbols, "end_ticks").bytes != NULL;
    if (prepare(reader, err) < 0)
        goto fail;
    return reader;
fail:
    reader_close(reader);
    return NULL;
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < reader->n_cursors; i++) {
        close_file(&reader->cursors[i]);
        free(reader->cursors[i].records);
    }
    if (reader->live.header)
        pnr_live_close(&reader->live, reader->path, false);
    pnr_block_coder_free(reader->coder);
    symbols_free(reader->symbols);
    free(reader->cursors);
    free(reader->chunks);
    free(reader->data);
    free(reader->path);
    free(reader);
}

const char *reader_path(const struct reader *reader) { return reader->path; }
const struct symbols *reader_symbols(const struct reader *reader) { return reader->symbols; }
struct timeline *reader_timeline(struct reader *reader) { return &reader->timeline; }
const struct reader_size *reader_size(const struct reader *reader) { return &reader->size; }
size_t reader_n_threads(const struct reader *reader) { return reader->n_cursors; }
uint32_t reader_thread_number(const struct reader *reader, size_t thread) { return reader->cursors[thread].number; }

/* ---- the second walk ---- */

bool reader_begin(struct reader *reader, size_t thread, uint64_t *ticks)
{
    struct cursor *cursor = &reader->cursors[thread];
    struct chunk *chunk;
    const struct pnr_block_header *header = peek(reader, cursor, &chunk);
    close_file(cursor);
    if (header)
        *ticks = header->begin.ticks;
    return header != NULL;
}

static int reserve(struct cursor *cursor, size_t n)
{
    if (n <= cursor->capacity)
        return 0;
    free(cursor->records);
    cursor->capacity = 0;
    cursor->records = malloc(n * sizeof *cursor->records);
    if (!cursor->records)
        return -1;
    cursor->capacity = n;
    return 0;
}

/* Copies a chunk's records. Returns their number; 0 when the chunk was used for something else meanwhile, as only a
 * process that still runs can do. */
static uint32_t copy_chunk(const struct reader *reader, const struct chunk *chunk, struct pnr_record *records)
{
    uint32_t n = pnr_live_count(&reader->live, chunk->k);
    const struct pnr_live_chunk *live = &reader->live.chunks[chunk->k];
    memcpy(records, reader->live.records + (size_t)chunk->k * PNR_BLOCK_RECORDS, n * sizeof *records);
    atomic_thread_fence(memory_order_acquire);
    return live->state == PNR_CHUNK_IN_USE && live->block.check == chunk->header.check ? n : 0;
}

/* Says that the block which peek gave is skipped. */
static void skip_block(struct reader *reader, struct cursor *cursor, const struct chunk *chunk, const char *what)
{
    struct pnr_err err;
    char path[PATH_MAX];
    uint64_t at = chunk ? PNR_LIVE_PAGE + chunk->k * sizeof(struct pnr_live_chunk) : cursor->data_at;
    if (chunk)
        snprintf(path, sizeof path, "%s/live", reader->path);
    else
        thread_path(reader, cursor, path);
    pnr_err_set(&err, PNR_E_CORRUPT, path, at, what);
    notes_err(reader->notes, NOTE_DAMAGE, &err);
    reader->size.n_damaged++;
    pass(cursor, chunk);
    cursor->is_hole_known = true;
    cursor->is_after_hole = true;
}

/* Fills in what the header tells, and counts. */
static void describe(struct reader *reader, struct cursor *cursor, const struct pnr_block_header *header,
                     struct reader_block *block, uint32_t n_records)
{
    bool is_first = cursor->n_taken == 0;
    *block = (struct reader_block){
        .records = cursor->records,
        .n_records = n_records,
        .n_open = header->n_open,
        .begin_ticks = header->begin.ticks,
        .end_ticks = header->end.ticks,
        .is_deeper = header->flags & PNR_BLOCK_DEEPER,
        .is_last = header->flags & PNR_BLOCK_LAST,
        .is_after_hole = cursor->is_after_hole || (!is_first && (header->flags & PNR_BLOCK_RESYNC)),
    };
    cursor->n_taken++;
    cursor->is_after_hole = false;
    reader->size.n_blocks++;
}

int reader_next(struct reader *reader, size_t thread, struct reader_block *block, struct pnr_err *err)
{
    struct cursor *cursor = &reader->cursors[thread];
    const struct pnr_block_header *header;
    struct chunk *chunk;
    while ((header = peek(reader, cursor, &chunk))) {
        uint32_t n = chunk ? PNR_BLOCK_RECORDS : header->n_records;
        struct pnr_err fault;
        if (reserve(cursor, n) < 0)
            goto out_of_memory;
        if (chunk) {
            n = copy_chunk(reader, chunk, cursor->records);
            if (n == 0) {
                skip_block(reader, cursor, chunk, "chunk changed while it was read: the process still runs");
                continue;
            }
            reader->size.n_recovered += n;
        } else if (decode(reader, cursor, cursor->records, &fault) < 0) {
            if (fault.code == PNR_E_MEMORY)
                goto out_of_memory;
            skip_block(reader, cursor, NULL, fault.what);
            continue;
        }
        describe(reader, cursor, header, block, n);
        pass(cursor, chunk);
        find_next(reader, cursor);      /* now that the file is open */
        close_file(cursor);
        return 1;
    }
    close_file(cursor);
    free(cursor->records);
    cursor->records = NULL;
    cursor->capacity = 0;
    return 0;
out_of_memory:
    close_file(cursor);
    return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
}
