/* reader_open walks the segments once, reading nothing but block headers, and keeps for each block where it lies: an
 * index of 40 bytes a block, sorted by thread and sequence, with the chunks of the live mapping among them. All that is
 * wrong with headers and sequences is said then, and the clock is known before the first record is converted. */
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

/* How much of a file is looked at in one go for the next block after a damaged one: at first, as it may be near, and at
 * most. */
#define SEARCH_BEGIN 2048
#define SEARCH_SIZE 65536

/* Records that all threads together may hold before they get less than a block. Then each gets an equal part of as many,
 * but no less than PIECE. */
#define HELD_MAX ((48 << 20) / PNR_RECORD_SIZE)
#define PIECE 256

/* The OPEN records that a recorder writes at most: those behind a SWITCH are not parted from it. */
#define MAX_OPEN 1024

/* Where a block lies. */
struct place {
    uint32_t thread, sequence;
    uint32_t segment;                   /* its number; 0: in the live mapping */
    bool is_after_hole;                 /* blocks before it are missing */
    uint64_t at;                        /* of the block in the segment; the chunk's number in the mapping */
    uint64_t begin_ticks;
    uint64_t check;                     /* of the header, as it was when the reader was opened */
};

/* Where the reading of one thread stands. */
struct cursor {
    uint32_t number;
    const struct place *next, *end;
    bool is_after_hole;                 /* a block was skipped before the next one */
    bool has_begun, has_ended;
    uint32_t at;                        /* the block before `next` has been given up to here; 0: as a whole */
    struct pnr_record *records;         /* owned */
    size_t capacity;
};

struct reader {
    char *path;                         /* owned, like all below */
    const struct notes *notes;          /* borrowed */
    bool has_end;                       /* the process ended cleanly */
    bool has_dropped;                   /* the recorder dropped its oldest segments */
    struct symbols *symbols;
    struct timeline timeline;
    struct pnr_live live;
    struct place *places;
    size_t n_places, capacity;
    struct cursor *cursors;
    size_t n_cursors, n_ended;
    struct pnr_block_coder *coder;
    unsigned char *data;                /* a data frame */
    struct pnr_record *records;         /* what was made of it */
    size_t n_held;                      /* records that the cursors have room for */
    int fd;                             /* -1, or the segment that was read last */
    uint32_t segment;
    uint64_t n_told;                    /* reports of damage that may be of blocks that are missing */
    uint64_t first_end_ticks;           /* of the first block in the lowest segment: nothing dropped is later */
    uint64_t complete_ticks;            /* see reader.h */
    struct reader_size size;
};

static void say(struct reader *reader, uint32_t segment, enum note_level level, enum pnr_code code, uint64_t offset,
                const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    pnr_segment_path(reader->path, segment, path);
    pnr_err_set(&err, code, path, offset, what);
    notes_err(reader->notes, level, &err);
}

static void say_live(struct reader *reader, uint32_t chunk, enum pnr_code code, const char *what)
{
    char path[PATH_MAX];
    struct pnr_err err;
    pnr_file_path(reader->path, "live", path);
    pnr_err_set(&err, code, path, PNR_LIVE_PAGE + chunk * sizeof(struct pnr_live_chunk), what);
    notes_err(reader->notes, NOTE_DAMAGE, &err);
}

/* ---- segments ---- */

static void close_segment(struct reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
}

/* Opens a segment, if it is not the one that is open. Returns 0, or -1 and says why. */
static int open_segment(struct reader *reader, uint32_t number, uint64_t *size)
{
    char path[PATH_MAX];
    struct stat status;
    struct pnr_err err;
    if (reader->fd >= 0 && reader->segment == number)
        return 0;
    close_segment(reader);
    pnr_segment_path(reader->path, number, path);
    reader->segment = number;
    reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (reader->fd < 0 || fstat(reader->fd, &status) < 0)
        pnr_err_system(&err, path, "cannot read");
    else if (!S_ISREG(status.st_mode))
        pnr_err_set(&err, PNR_E_CORRUPT, path, 0, "not a regular file");
    else {
        if (size)
            *size = (uint64_t)status.st_size;
        return 0;
    }
    close_segment(reader);
    notes_err(reader->notes, NOTE_DAMAGE, &err);
    return -1;
}

/* Reads up to size bytes at an offset; less only at the end of the file or when it cannot be read. */
static size_t read_at(const struct reader *reader, void *bytes, size_t size, uint64_t at)
{
    size_t got = 0;
    while (reader->fd >= 0 && got < size) {
        ssize_t n = pread(reader->fd, (char *)bytes + got, size - got, (off_t)(at + got));
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

/* Finds the next place from `at` on where a block with a good header begins; size when there is none. Steps over what
 * was never written, which may be terabytes. */
static uint64_t search(const struct reader *reader, uint64_t at, uint64_t size)
{
    unsigned char bytes[SEARCH_SIZE];
    for (size_t wanted = SEARCH_BEGIN;; wanted = 2 * wanted < sizeof bytes ? 2 * wanted : sizeof bytes) {
        off_t data = lseek(reader->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return size;
        if (data > (off_t)at)
            at = (uint64_t)data;
        size_t n = read_at(reader, bytes, wanted, at);
        if (n < PNR_BLOCK_PREFIX_SIZE)
            return size;
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

static struct place *add_place(struct reader *reader)
{
    if (reader->n_places == reader->capacity) {
        size_t capacity = reader->capacity ? 2 * reader->capacity : 256;
        struct place *places = realloc(reader->places, capacity * sizeof *places);
        if (!places)
            return NULL;
        reader->places = places;
        reader->capacity = capacity;
    }
    return &reader->places[reader->n_places++];
}

static void add_instant(struct reader *reader, const struct pnr_instant *instant)
{
    if (instant->ticks || instant->monotonic_ns)
        timeline_add(&reader->timeline, instant->ticks, instant->monotonic_ns);
}

static bool is_in_live(const struct reader *reader, uint32_t thread, uint32_t sequence)
{
    for (size_t i = 0; i < reader->n_places && reader->places[i].segment == 0; i++)
        if (reader->places[i].thread == thread && reader->places[i].sequence == sequence)
            return true;
    return false;
}

/* The segment ends inside a block. Nothing is lost when the live mapping still has it; and it is how the last segment of
 * a killed process looks. */
static void end_segment(struct reader *reader, uint32_t segment, bool is_last, uint64_t at,
                        const struct pnr_block_header *header)
{
    bool is_killed = is_last && !reader->has_end;
    if (is_killed && (header ? is_in_live(reader, header->thread, header->sequence) : reader->n_places > 0 &&
                      reader->places[0].segment == 0))
        return;
    say(reader, segment, is_killed ? NOTE_FACT : NOTE_DAMAGE, PNR_E_TRUNCATED, at,
        header ? "cut off inside a block" : "cut off inside a block header");
    reader->size.n_damaged++;
    reader->n_told += !is_killed;
}

/* Walks the headers of a segment. Returns 0, or -1 when out of memory. */
static int walk(struct reader *reader, uint32_t segment, bool is_last)
{
    uint64_t at = 0, size = 0;
    if (open_segment(reader, segment, &size) != 0) {
        reader->size.n_damaged++;
        reader->n_told++;
        return 0;
    }
    reader->size.bytes += size;
    while (at < size) {
        unsigned char prefix[PNR_BLOCK_PREFIX_SIZE];
        struct pnr_block_header header;
        struct pnr_err err;
        if (read_at(reader, prefix, sizeof prefix, at) < sizeof prefix) {
            end_segment(reader, segment, is_last, at, NULL);
            return 0;
        }
        memcpy(&header, prefix + 8, sizeof header);
        if ((is_prefix(prefix) ? pnr_block_header_check(&header, false, 0, &err) :
             pnr_err_set(&err, PNR_E_CORRUPT, NULL, 0, "no block begins here")) != 0) {
            reader->size.has_newer |= err.code == PNR_E_VERSION;
            say(reader, segment, NOTE_DAMAGE, err.code, at, err.what);
            reader->size.n_damaged++;
            reader->n_told++;
            at = search(reader, at + 1, size);
            continue;
        }
        uint64_t end = at + PNR_BLOCK_PREFIX_SIZE + header.data_size;
        if (end > size) {
            end_segment(reader, segment, is_last, at, &header);
            return 0;
        }
        struct place *place = add_place(reader);
        if (!place)
            return -1;
        if (!reader->first_end_ticks)
            reader->first_end_ticks = header.end.ticks ? header.end.ticks : header.begin.ticks;
        *place = (struct place){ .thread = header.thread, .sequence = header.sequence, .segment = segment, .at = at,
                                 .begin_ticks = header.begin.ticks, .check = header.check };
        add_instant(reader, &header.begin);
        add_instant(reader, &header.end);
        at = end;
    }
    return 0;
}

static void say_missing_segments(const struct reader *reader, uint32_t first, uint32_t last)
{
    if (first == last)
        notes_say(reader->notes, NOTE_DAMAGE, "%s: segment %" PRIu32 " is missing", reader->path, first);
    else
        notes_say(reader->notes, NOTE_DAMAGE, "%s: segments %" PRIu32 " to %" PRIu32 " are missing", reader->path,
                  first, last);
}

/* True when older segments than those that are there were dropped: the lowest ones, or all. */
static bool is_dropped(const struct reader *reader, const uint32_t *numbers, size_t n)
{
    if (n)
        return numbers[0] > 1;
    for (size_t i = 0; i < reader->n_places; i++)
        if (reader->places[i].sequence > 0)
            return true;
    return reader->has_end;             /* a process that was killed may not have come to make the first one */
}

static int walk_segments(struct reader *reader, struct pnr_err *err)
{
    uint32_t *numbers;
    size_t n;
    int result = 0;
    if (pnr_capture_segments(reader->path, &numbers, &n, err) < 0)
        return -1;
    reader->has_dropped = is_dropped(reader, numbers, n);
    for (size_t i = 0; i < n && result == 0; i++) {
        if (i && numbers[i] - numbers[i - 1] > 1)
            say_missing_segments(reader, numbers[i - 1] + 1, numbers[i] - 1);
        result = walk(reader, numbers[i], i == n - 1);
    }
    free(numbers);
    return result == 0 ? 0 : pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
}

/* Decodes the data frame of a block. Returns 0, or -1 and fills err with a cause that has no path. */
static int decode(struct reader *reader, const struct place *place, const struct pnr_block_header *header,
                  struct pnr_err *err)
{
    uint64_t at = place->at + PNR_BLOCK_PREFIX_SIZE;
    if (read_at(reader, reader->data, header->data_size, at) != header->data_size)
        return pnr_err_set(err, PNR_E_TRUNCATED, NULL, at, "data frame cannot be read whole");
    return pnr_block_decode(reader->coder, header, reader->data, reader->records, err);
}

/* Reads a block's header again. Returns 0; -1 when the file has changed since. */
static int read_header(struct reader *reader, const struct place *place, struct pnr_block_header *header,
                       struct pnr_err *err)
{
    if (open_segment(reader, place->segment, NULL) == 0 &&
        read_at(reader, header, sizeof *header, place->at + PNR_BLOCK_PREFIX_SIZE - sizeof *header) == sizeof *header &&
        header->check == place->check && pnr_block_header_check(header, false, 0, err) == 0)
        return 0;
    return pnr_err_set(err, PNR_E_CORRUPT, NULL, place->at, "the segment changed while it was read");
}

/* ---- the index ---- */

/* Adds the chunks in use. Returns 0, or -1 when out of memory. A live mapping that cannot be read is said and left. */
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
    for (uint32_t k = 0; k < reader->live.header->n_chunks; k++) {
        struct pnr_live_chunk *live = &reader->live.chunks[k];
        uint32_t state = atomic_load_explicit(&live->state, memory_order_acquire);
        if (state == PNR_CHUNK_FREE)
            continue;
        struct pnr_block_header header = live->block;
        struct place *place;
        if ((state == PNR_CHUNK_IN_USE ? pnr_block_header_check(&header, true, 0, &err) :
             pnr_err_set(&err, PNR_E_CORRUPT, NULL, 0, "chunk is neither free nor in use")) != 0) {
            say_live(reader, k, err.code, err.what);
            reader->size.n_damaged++;
            reader->n_told++;
            reader->size.has_newer |= err.code == PNR_E_VERSION;
        } else if (pnr_live_count(&reader->live, k) > 0) {
            if (!(place = add_place(reader)))
                return -1;
            *place = (struct place){ .thread = header.thread, .sequence = header.sequence, .at = k,
                                     .begin_ticks = header.begin.ticks, .check = header.check };
            add_instant(reader, &header.begin);
        }
    }
    return 0;
}

/* Places of the same block: those in segments first, in the order of the files. */
static int by_block(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    if (x->segment != y->segment)
        return x->segment - 1 < y->segment - 1 ? -1 : 1;        /* 0 is the last */
    return x->at < y->at ? -1 : 1;
}

/* True when the block in the segment is whole. The recorder writes a block before it frees the chunk, so a kill between the
 * two leaves both. */
static bool is_whole(struct reader *reader, const struct place *place)
{
    struct pnr_block_header header;
    struct pnr_err err;
    return read_header(reader, place, &header, &err) == 0 && decode(reader, place, &header, &err) == 0;
}

/* Keeps one place for each block. */
static void drop_repeats(struct reader *reader)
{
    struct place *places = reader->places;
    size_t kept = 0;
    if (reader->n_places)
        qsort(places, reader->n_places, sizeof *places, by_block);
    for (size_t i = 0; i < reader->n_places; i++) {
        struct place *last = kept ? &places[kept - 1] : NULL;
        if (!last || last->thread != places[i].thread || last->sequence != places[i].sequence) {
            places[kept++] = places[i];
        } else if (places[i].segment) {
            say(reader, places[i].segment, NOTE_DAMAGE, PNR_E_CORRUPT, places[i].at, "block comes again");
        } else if (!last->segment) {
            say_live(reader, (uint32_t)places[i].at, PNR_E_CORRUPT, "another chunk has the same block");
            reader->size.n_damaged++;
        } else if (!is_whole(reader, last)) {
            *last = places[i];
        }
    }
    reader->n_places = kept;
}

/* How many blocks of the thread are missing before this one, the i-th. */
static uint64_t count_missing(const struct reader *reader, size_t i)
{
    const struct place *place = &reader->places[i];
    bool is_first = i == 0 || place[-1].thread != place->thread;
    if (is_first)
        return reader->has_dropped ? 0 : place->sequence;
    return (uint64_t)place->sequence - place[-1].sequence - 1;
}

static void say_hole(const struct reader *reader, const struct place *place, uint64_t n)
{
    if (n == 1)
        notes_say(reader->notes, NOTE_DAMAGE, "%s: block %" PRIu64 " of thread %" PRIu32 " is missing", reader->path,
                  place->sequence - n, place->thread);
    else
        notes_say(reader->notes, NOTE_DAMAGE, "%s: blocks %" PRIu64 " to %" PRIu64 " of thread %" PRIu32 " are missing",
                  reader->path, place->sequence - n, (uint64_t)place->sequence - 1, place->thread);
}

/* Marks what comes after a hole. What was told of already, bytes that are no block say, may be all that is missing. */
static void find_holes(struct reader *reader)
{
    uint64_t missing = 0, n;
    for (size_t i = 0; i < reader->n_places; i++) {
        n = count_missing(reader, i);
        reader->places[i].is_after_hole = n > 0;
        missing += n;
    }
    if (missing <= reader->n_told)
        return;
    reader->size.n_damaged += missing - reader->n_told;
    for (size_t i = 0; i < reader->n_places; i++)
        if ((n = count_missing(reader, i)) > 0)
            say_hole(reader, &reader->places[i], n);
}

/* From when on nothing was dropped: of the threads that are left that is the begin of their first blocks. Others, of
 * which only the name is left, had ended, or rested, before the first block that is there was written. */
static void find_complete(struct reader *reader)
{
    size_t n_threads = 0, n_named = reader->symbols->n_threads;
    for (size_t i = 0; i < reader->n_places; i++) {
        const struct place *place = &reader->places[i];
        if (i > 0 && place[-1].thread == place->thread)
            continue;
        n_threads += symbols_thread(reader->symbols, place->thread) != NULL;
        if (place->sequence > 0 && place->begin_ticks > reader->complete_ticks)
            reader->complete_ticks = place->begin_ticks;
    }
    if (n_threads < n_named && reader->first_end_ticks > reader->complete_ticks)
        reader->complete_ticks = reader->first_end_ticks;
}

/* Makes a cursor for every thread that has a block. Returns 0, or -1 when out of memory. */
static int make_cursors(struct reader *reader)
{
    size_t n = 0;
    for (size_t i = 0; i < reader->n_places; i++)
        n += i == 0 || reader->places[i].thread != reader->places[i - 1].thread;
    reader->cursors = calloc(n + 1, sizeof *reader->cursors);
    if (!reader->cursors)
        return -1;
    for (size_t i = 0; i < reader->n_places; i++) {
        const struct place *place = &reader->places[i];
        if (i == 0 || place->thread != place[-1].thread)
            reader->cursors[reader->n_cursors++] = (struct cursor){ .number = place->thread, .next = place };
        reader->cursors[reader->n_cursors - 1].end = place + 1;
    }
    return 0;
}

/* Gives back what no block needs any more. */
static void rest(struct reader *reader)
{
    close_segment(reader);
    if (reader->live.header)
        pnr_live_close(&reader->live, reader->path, false);
    pnr_block_coder_free(reader->coder);
    free(reader->data);
    free(reader->records);
    reader->coder = NULL;
    reader->data = NULL;
    reader->records = NULL;
}

static void add_fact(struct reader *reader, const char *ticks, const char *monotonic_ns)
{
    struct pnr_instant instant = { 0, 0, 0 };
    if (symbols_number(reader->symbols, ticks, &instant.ticks) &&
        symbols_number(reader->symbols, monotonic_ns, &instant.monotonic_ns))
        add_instant(reader, &instant);
}

static int prepare(struct reader *reader, struct pnr_err *err)
{
    uint64_t ticks_per_second = 0;
    reader->coder = pnr_block_coder_new();
    reader->data = malloc(pnr_block_data_bound());
    reader->records = malloc(PNR_BLOCK_RECORDS * sizeof *reader->records);
    symbols_number(reader->symbols, "ticks_per_second", &ticks_per_second);
    timeline_init(&reader->timeline, ticks_per_second);
    add_fact(reader, "start_ticks", "start_monotonic_ns");
    add_fact(reader, "end_ticks", "end_monotonic_ns");
    if (!reader->coder || !reader->data || !reader->records || open_live(reader) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (reader->size.has_live) {
        uint32_t latest = atomic_load(&reader->live.header->latest);
        if (latest < 2)                 /* the other one may be half written */
            add_instant(reader, &reader->live.header->instants[latest]);
    }
    if (walk_segments(reader, err) < 0)
        return -1;
    drop_repeats(reader);
    find_holes(reader);
    find_complete(reader);
    if (make_cursors(reader) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    timeline_settle(&reader->timeline);
    if (reader->n_cursors)
        close_segment(reader);          /* as many readers may be open as there were processes */
    else
        rest(reader);
    return 0;
}

struct reader *reader_open(const char *path, const struct notes *notes, struct pnr_err *err)
{
    struct reader *reader = calloc(1, sizeof *reader);
    struct stat status;
    if (reader)
        reader->fd = -1;
    if (!reader || !(reader->path = strdup(path))) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        goto fail;
    }
    if (lstat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
        pnr_err_set(err, PNR_E_NOT_CAPTURE, path, 0, "not the directory of a process");
        goto fail;
    }
    reader->notes = notes;
    reader->symbols = symbols_load(path, notes, err);
    if (!reader->symbols)
        goto fail;
    reader->size.bytes = reader->symbols->room;
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
    rest(reader);
    for (size_t i = 0; i < reader->n_cursors; i++)
        free(reader->cursors[i].records);
    symbols_free(reader->symbols);
    free(reader->cursors);
    free(reader->places);
    free(reader->path);
    free(reader);
}

const char *reader_path(const struct reader *reader) { return reader->path; }
const struct symbols *reader_symbols(const struct reader *reader) { return reader->symbols; }
struct timeline *reader_timeline(struct reader *reader) { return &reader->timeline; }
const struct reader_size *reader_size(const struct reader *reader) { return &reader->size; }
size_t reader_n_threads(const struct reader *reader) { return reader->n_cursors; }
uint32_t reader_thread_number(const struct reader *reader, size_t thread) { return reader->cursors[thread].number; }

bool reader_has_dropped(const struct reader *reader, uint64_t *complete_ticks)
{
    *complete_ticks = reader->complete_ticks;
    return reader->has_dropped;
}

/* ---- reading ---- */

static void give_back(struct reader *reader, struct cursor *cursor)
{
    free(cursor->records);
    cursor->records = NULL;
    reader->n_held -= cursor->capacity;
    cursor->capacity = 0;
}

static void end(struct reader *reader, struct cursor *cursor)
{
    give_back(reader, cursor);
    if (!cursor->has_ended && ++reader->n_ended == reader->n_cursors)
        rest(reader);
    cursor->has_ended = true;
}

bool reader_begin(struct reader *reader, size_t thread, uint64_t *ticks)
{
    struct cursor *cursor = &reader->cursors[thread];
    if (cursor->at == 0 && cursor->next == cursor->end) {
        end(reader, cursor);
        return false;
    }
    *ticks = (cursor->next - (cursor->at > 0))->begin_ticks;
    return true;
}

/* How many of n records make a piece. */
static uint32_t find_piece(const struct reader *reader, const struct pnr_record *records, uint32_t n)
{
    size_t least = HELD_MAX / reader->n_cursors > PIECE ? HELD_MAX / reader->n_cursors : PIECE, piece = least;
    while (piece < n && piece < least + MAX_OPEN && pnr_record_kind(records[piece]) == PNR_OPEN)
        piece++;
    return piece < n ? (uint32_t)piece : n;
}

/* Copies the records that the thread gets next, of the n of its block. Returns how many they are, or -1 when out of
 * memory. */
static int64_t keep(struct reader *reader, struct cursor *cursor, uint32_t n)
{
    uint32_t kept = n - cursor->at;
    if (kept > cursor->capacity && reader->n_held - cursor->capacity + kept > HELD_MAX)
        kept = find_piece(reader, reader->records + cursor->at, kept);
    if (kept > cursor->capacity) {
        give_back(reader, cursor);
        if (!(cursor->records = malloc(kept * sizeof *cursor->records)))
            return -1;
        cursor->capacity = kept;
        reader->n_held += kept;
    }
    if (kept)
        memcpy(cursor->records, reader->records + cursor->at, kept * sizeof *cursor->records);
    return kept;
}

/* Reads a chunk and gives its header, which says how many records it has: at least so many. Returns 0, or -1 when the
 * chunk was used for something else meanwhile, as only a process that still runs can do. */
static int read_chunk(struct reader *reader, const struct place *place, uint32_t at_least,
                      struct pnr_block_header *header, struct pnr_err *err)
{
    struct pnr_live_chunk chunk;
    uint32_t n = pnr_live_read(&reader->live, (uint32_t)place->at, &chunk, reader->records);
    *header = chunk.block;
    header->n_records = n;
    if (n > 0 && n >= at_least && chunk.state == PNR_CHUNK_IN_USE && header->check == place->check)
        return 0;
    return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "chunk changed while it was read: the process still runs");
}

/* The same for a block of a segment: -1 when it is damaged, and fills err with a cause that has no path; or -2 when out
 * of memory. */
static int read_block(struct reader *reader, const struct place *place, struct pnr_block_header *header,
                      struct pnr_err *err)
{
    if (read_header(reader, place, header, err) == 0 && decode(reader, place, header, err) == 0)
        return 0;
    return err->code == PNR_E_MEMORY ? -2 : -1;
}

/* How many OPEN records a block of which n_open are announced begins with. */
static uint32_t count_open(const struct pnr_record *records, uint32_t n_records, uint32_t n_open)
{
    uint32_t n = 0;
    while (n < n_open && n < n_records && pnr_record_kind(records[n]) == PNR_OPEN)
        n++;
    return n;
}

/* Gives what of the block that has been read comes next. Returns 1, or -1 when out of memory. */
static int give(struct reader *reader, struct cursor *cursor, const struct place *place,
                const struct pnr_block_header *header, struct reader_block *block)
{
    bool is_begin = cursor->at == 0;
    uint32_t n_open = is_begin ? count_open(reader->records, header->n_records, header->n_open) : 0;
    cursor->at += n_open;
    int64_t kept = keep(reader, cursor, header->n_records);
    if (kept < 0)
        return -1;
    cursor->at += (uint32_t)kept;
    bool is_end = cursor->at == header->n_records;
    *block = (struct reader_block){
        .is_begin = is_begin,
        .track = header->track,
        .open = reader->records,
        .n_open = n_open,
        /* A process killed while it wrote these records leaves too few: they tell nothing then, and nothing follows. */
        .has_open = is_begin && (n_open == header->n_open || n_open < header->n_records),
        .records = cursor->records,
        .n_records = (uint32_t)kept,
        .begin_ticks = header->begin.ticks,
        .end_ticks = is_end && place->segment ? header->end.ticks : 0,
        .is_deeper = header->flags & PNR_BLOCK_DEEPER,
        .is_last = is_end && (header->flags & PNR_BLOCK_LAST),
        .is_after_pause = is_begin && cursor->has_begun && (header->flags & PNR_BLOCK_PAUSED),
        .is_after_hole = is_begin && (cursor->is_after_hole ||
                                      (cursor->has_begun && (header->flags & PNR_BLOCK_RESYNC))),
    };
    cursor->is_after_hole = false;
    cursor->has_begun = true;
    if (is_begin) {
        reader->size.n_recovered += place->segment ? 0 : header->n_records;
        reader->size.n_blocks++;
    }
    if (is_end)
        cursor->at = 0;
    return 1;
}

int reader_next(struct reader *reader, size_t thread, struct reader_block *block, struct pnr_err *err)
{
    struct cursor *cursor = &reader->cursors[thread];
    while (cursor->at > 0 || cursor->next < cursor->end) {
        const struct place *place = cursor->at > 0 ? cursor->next - 1 : cursor->next++;
        struct pnr_block_header header;
        struct pnr_err fault;
        int result = place->segment ? read_block(reader, place, &header, &fault) :
                                      read_chunk(reader, place, cursor->at, &header, &fault);
        cursor->is_after_hole |= cursor->at == 0 && place->is_after_hole;
        if (result == 0)
            result = give(reader, cursor, place, &header, block) < 0 ? -2 : 1;
        if (result == -2)
            return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
        if (result == 1)
            return 1;
        if (place->segment)
            say(reader, place->segment, NOTE_DAMAGE, PNR_E_CORRUPT, place->at, fault.what);
        else
            say_live(reader, (uint32_t)place->at, PNR_E_CORRUPT, fault.what);
        reader->size.n_damaged++;
        cursor->is_after_hole = cursor->has_begun = true;
        cursor->at = 0;
    }
    end(reader, cursor);
    return 0;
}
