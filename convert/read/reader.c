/* reader_open walks the segments once, reading nothing but block headers, and keeps for each block where it lies: an
 * index of 48 bytes a block, sorted by thread and sequence, with the chunks of the live mapping among them. All that is
 * wrong with headers and sequences is said then, and the clock is known before the first record is converted.
 *
 * The process may go on meanwhile. So the order is against the recorder's: first the chunks, then the segments, then
 * the names. What is not in a chunk any more is a block in a segment by then, and what is in either has its names.
 * Later a chunk that has become a block is looked for behind the place where the walk ended (look_on), and gives no
 * more than the records that it had at first: those behind may be of functions that the names do not have. A segment
 * that was there and is not any more was dropped, if the names tell of a limit. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "format/capture.h"
#include "format/file.h"
#include "ahead.h"
#include "prefetch.h"

/* How much of a file is looked at in one go for the next block after a damaged one: at first, as it may be near, and at
 * most. */
#define SEARCH_BEGIN 2048
#define SEARCH_SIZE 65536

/* Records that all threads together may hold before they get less than a block. Then each gets an equal part of as
 * many, but no less than PIECE. */
#define HELD_MAX ((48 << 20) / PNR_RECORD_SIZE)
#define PIECE 256

/* The OPEN records that a recorder writes at most: those behind a SWITCH are not parted from it. */
#define MAX_OPEN 1024

/* Where a block lies. */
struct place {
    uint32_t thread, sequence;
    uint32_t segment;                   /* its number; 0: in the live mapping */
    uint16_t n_records;                 /* of a chunk, when the reader was opened */
    bool is_chunk : 1;                  /* it was one when the reader was opened */
    bool is_after_hole : 1;             /* blocks before it are missing */
    bool is_last : 1, is_deeper : 1;    /* PNR_BLOCK_LAST, PNR_BLOCK_DEEPER */
    bool is_read : 1, is_damaged : 1;   /* it has been counted, its damage has been said */
    uint64_t at : 48;                   /* of the block in the segment; the chunk's number in the mapping */
    uint64_t n_open : 16;               /* OPEN records at its begin, as its header says */
    uint64_t begin_ticks;
    uint64_t end_ticks;                 /* of its last record, if it is a chunk's */
    uint64_t check;                     /* of the header, as it was when the reader was opened */
};

_Static_assert(sizeof(struct place) == 48 && PNR_BLOCK_RECORDS <= UINT16_MAX, "there may be millions");

/* Where the reading of one thread stands. */
struct cursor {
    uint32_t number;
    struct place *next, *end;
    bool is_after_hole;                 /* a block was skipped before the next one */
    bool has_begun, has_ended;
    uint32_t at;                        /* the block before `next` has been given up to here; 0: as a whole */
    struct pnr_record *records;         /* owned */
    size_t capacity;
};

/* A block in a segment, and who reads it. */
struct turn {
    const struct place *place;
    const struct cursor *cursor;
};

struct reader {
    char *path;                         /* owned, like all below */
    const struct notes *notes;          /* borrowed */
    enum pnr_process_state process;     /* when the reader was opened, which was at ... */
    uint64_t until_ns;                  /* CLOCK_MONOTONIC */
    bool has_end;                       /* the process had ended cleanly by then */
    bool may_drop;                      /* the recorder was allowed to drop its oldest segments */
    bool has_dropped;                   /* ... and did */
    bool has_passed_over;               /* ... also some that were begun after the walk had ended */
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
    struct jobs *jobs;                  /* borrowed, or NULL: then nothing is decoded ahead */
    struct ahead *ahead;                /* made when the first block is read, like the next */
    struct turn *turns;                 /* in the order in which they are likely to be read */
    size_t n_turns, next_turn;          /* the first of those that have not been looked at */
    size_t n_held;                      /* records that the cursors have room for */
    int fd;                             /* -1, or the segment that was read last */
    uint32_t segment;
    uint32_t lowest;                    /* the first segment when the reader was opened; 0: there was none, like the next */
    uint32_t walked;                    /* the one in which the walk ended */
    uint64_t walked_at;
    const char *torn;                   /* how the last segment is cut off there, if it is and no chunk has the block */
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

/* Opens a segment, if it is not the one that is open, and tells its size. Returns 0 or -1. */
static int open_segment(struct reader *reader, uint32_t number, uint64_t *size, struct pnr_err *err)
{
    char path[PATH_MAX];
    struct stat status;
    pnr_segment_path(reader->path, number, path);
    if (reader->fd < 0 || reader->segment != number) {
        close_segment(reader);
        reader->segment = number;
        reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    }
    if (reader->fd < 0 || fstat(reader->fd, &status) < 0)
        pnr_err_system(err, path, "cannot read");
    else if (!S_ISREG(status.st_mode))
        pnr_err_set(err, PNR_E_CORRUPT, path, 0, "not a regular file");
    else {
        *size = (uint64_t)status.st_size;
        return 0;
    }
    close_segment(reader);
    return -1;
}

/* True when a segment that was there is not any more. */
static bool is_gone(const struct pnr_err *err)
{
    return err->code == PNR_E_SYSTEM && err->sys_errno == ENOENT;
}

static bool has_segment(const struct reader *reader, uint32_t number)
{
    char path[PATH_MAX];
    struct stat status;
    pnr_segment_path(reader->path, number, path);
    return number > 0 && lstat(path, &status) == 0;
}

/* Reads up to size bytes at an offset; less only at the end of the file or when it cannot be read. */
static size_t read_at(const struct reader *reader, void *bytes, size_t size, uint64_t at)
{
    ssize_t n = reader->fd < 0 ? -1 : pnr_file_read(reader->fd, bytes, size, (off_t)at);
    return n < 0 ? 0 : (size_t)n;
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

static void say_cut(struct reader *reader, uint32_t segment, bool is_damage, uint64_t at, const char *what)
{
    say(reader, segment, is_damage ? NOTE_DAMAGE : NOTE_FACT, PNR_E_TRUNCATED, at, what);
    reader->size.n_damaged++;
    reader->n_told += is_damage;
}

/* The segment ends inside a block. Nothing is lost when the live mapping still has it; and it is how the last segment
 * of a process looks that was killed, or runs. */
static void end_segment(struct reader *reader, uint32_t segment, bool is_last, uint64_t at,
                        const struct pnr_block_header *header)
{
    const char *what = header ? "cut off inside a block" : "cut off inside a block header";
    if (!is_last)
        say_cut(reader, segment, true, at, what);
    else if (!(header ? is_in_live(reader, header->thread, header->sequence) :
               reader->n_places > 0 && reader->places[0].segment == 0))
        reader->torn = what;
}

static int by_number(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* A block with this header begins there. Once there is an index only those are of interest that a chunk had when it was
 * made. Returns 0, or -1 when out of memory. */
static int find_block(struct reader *reader, const struct pnr_block_header *header, uint32_t segment, uint64_t at)
{
    struct place found = { .thread = header->thread, .sequence = header->sequence, .segment = segment, .at = at,
                           .is_last = header->flags & PNR_BLOCK_LAST,
                           .is_deeper = header->flags & PNR_BLOCK_DEEPER, .begin_ticks = header->begin.ticks,
                           .end_ticks = header->end.ticks ? header->end.ticks : header->begin.ticks,
                           .n_records = (uint16_t)header->n_records, .n_open = (uint16_t)header->n_open,
                           .check = header->check };
    struct place *place;
    if (reader->cursors) {
        place = bsearch(&found, reader->places, reader->n_places, sizeof found, by_number);
        if (place && !place->segment) {
            place->segment = segment;
            place->at = at;
            place->check = header->check;
        }
        return 0;
    }
    if (!(place = add_place(reader)))
        return -1;
    *place = found;
    if (!reader->first_end_ticks)
        reader->first_end_ticks = found.end_ticks;
    add_instant(reader, &header->begin);
    add_instant(reader, &header->end);
    return 0;
}

/* The segment in which the last walk ended was dropped, whatever was behind that, and so were all before it. */
static void pass_over(struct reader *reader)
{
    if (reader->cursors) {
        reader->has_passed_over = true;
        reader->has_dropped |= reader->may_drop;
        return;
    }
    reader->has_dropped = true;
    while (reader->n_places > 0 && reader->places[reader->n_places - 1].segment)
        reader->n_places--;
    reader->size.bytes = reader->live.size;
    reader->first_end_ticks = 0;
}

/* Walks the headers of a segment, from where the last walk ended if that was in this one. Returns 0; 1 when it is not
 * there any more; -1 when out of memory. */
static int walk(struct reader *reader, uint32_t segment, bool is_last)
{
    uint64_t at = segment == reader->walked ? reader->walked_at : 0, size = 0;
    struct pnr_err problem;
    reader->walked = segment;
    reader->walked_at = at;
    if (open_segment(reader, segment, &size, &problem) != 0) {
        if (is_gone(&problem))
            return 1;
        notes_err(reader->notes, NOTE_DAMAGE, &problem);
        reader->size.n_damaged++;
        reader->n_told++;
        return 0;
    }
    if (!reader->cursors)
        reader->size.bytes += size;
    for (; at < size; reader->walked_at = at) {
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
        if (find_block(reader, &header, segment, at) < 0)
            return -1;
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

/* True when older segments than those that are there were dropped, if any may be: the lowest ones, or all. */
static bool is_dropped(const struct reader *reader, const uint32_t *numbers, size_t n)
{
    if (n)
        return numbers[0] > 1;
    for (size_t i = 0; i < reader->n_places; i++)
        if (reader->places[i].sequence > 0)
            return true;
    return false;
}

/* What looked like dropped is missing: nothing of this process is ever dropped. */
static void miss_first_segments(struct reader *reader)
{
    reader->has_dropped = false;
    if (reader->lowest > 1) {
        say_missing_segments(reader, 1, reader->lowest - 1);
        return;
    }
    reader->size.n_damaged++;           /* no block's number tells that others are missing */
    notes_say(reader->notes, NOTE_DAMAGE, "%s: its segments are missing", reader->path);
}

/* Walks the segments of a list from the one on in which the last walk ended, and those that were begun since the list
 * was made. Returns as walk does. */
static int walk_listed(struct reader *reader, const uint32_t *numbers, size_t n)
{
    size_t i = 0;
    while (i < n && numbers[i] < reader->walked)
        i++;
    if (reader->walked && (i == n || numbers[i] != reader->walked))
        pass_over(reader);
    if (i == n)
        return 0;
    for (uint32_t number = numbers[i];; number++) {
        while (i < n && numbers[i] <= number)
            i++;
        bool has_next = has_segment(reader, number + 1), is_last = !has_next && i == n;
        int result = walk(reader, number, is_last);     /* one that is not the last is finished */
        if (result != 0 || is_last)
            return result;
        if (has_next)
            continue;
        if (!has_segment(reader, number))
            return 1;
        say_missing_segments(reader, number + 1, numbers[i] - 1);
        number = numbers[i] - 1;
    }
}

/* Walks the segments from where the last walk ended to the end of the last one that is there now. Returns 0 or -1. */
static int walk_segments(struct reader *reader, struct pnr_err *err)
{
    uint32_t *numbers;
    size_t n;
    int result;
    do {
        if (pnr_capture_segments(reader->path, &numbers, &n, err) < 0)
            return -1;
        if (!reader->cursors) {
            reader->lowest = n ? numbers[0] : 0;
            reader->has_dropped |= is_dropped(reader, numbers, n);
        }
        struct prefetch *prefetch = reader->cursors ? NULL : prefetch_start(reader->path, numbers, n);
        result = walk_listed(reader, numbers, n);
        prefetch_end(prefetch);
        free(numbers);
    } while (result > 0);
    return result == 0 ? 0 : pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
}

/* Looks where the chunks are now that have become blocks since the reader was opened. Returns 0, or -1 when out of
 * memory. */
static int look_on(struct reader *reader)
{
    struct pnr_err err;
    if (walk_segments(reader, &err) == 0)
        return 0;
    reader->has_passed_over = true;     /* with its process, which has ended */
    reader->has_dropped |= reader->may_drop;
    return err.code == PNR_E_MEMORY ? -1 : 0;
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
    uint64_t size;
    if (open_segment(reader, place->segment, &size, err) != 0)
        return -1;
    if (read_at(reader, header, sizeof *header, place->at + PNR_BLOCK_PREFIX_SIZE - sizeof *header) == sizeof *header &&
        header->check == place->check && pnr_block_header_check(header, false, 0, err) == 0)
        return 0;
    return pnr_err_set(err, PNR_E_CORRUPT, NULL, place->at, "the segment changed while it was read");
}

/* ---- the index ---- */

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
static int add_chunk(struct reader *reader, uint32_t k, const struct pnr_live_chunk *before)
{
    const struct pnr_live_chunk *live = &reader->live.chunks[k];
    struct pnr_live_chunk chunk;
    struct pnr_err err;
    struct place *place;
    int n = pnr_live_read(&reader->live, k, &chunk, reader->records);
    if (n >= 0 && memcmp(&chunk, live, sizeof chunk) != 0)
        return 0;
    if (check_chunk(live, &err) != 0) {
        say_live(reader, k, err.code, err.what);
        reader->size.n_damaged++;
        reader->n_told++;
        reader->size.has_newer |= err.code == PNR_E_VERSION;
    } else if (n > 0 && is_within(before, reader->live.header->n_chunks, &live->block)) {
        if (!(place = add_place(reader)))
            return -1;
        uint64_t begin = live->block.begin.ticks;
        *place = (struct place){ .thread = live->block.thread, .sequence = live->block.sequence,
                                 .n_records = (uint16_t)n, .is_chunk = true,
                                 .n_open = (uint16_t)(live->block.n_open < (uint32_t)n ? live->block.n_open : (uint32_t)n),
                                 .is_deeper = live->block.flags & PNR_BLOCK_DEEPER,
                                 .at = k, .begin_ticks = begin,
                                 .end_ticks = begin + pnr_record_ticks(reader->records[n - 1]),
                                 .check = live->block.check };
        add_instant(reader, &live->block.begin);
    }
    return 0;
}

/* Adds the chunks in use. One can be passed by as free and be full before its thread's next one is come upon, so a
 * first look finds how far each thread has got, and what was begun after it does not count: no block before is missing.
 * Returns 0, or -1 when out of memory. A live mapping that cannot be read is said and left. */
static int open_live(struct reader *reader)
{
    struct pnr_err err;
    int found = pnr_live_open(reader->path, &reader->live, &err), result = 0;
    if (found < 0)
        notes_err(reader->notes, NOTE_DAMAGE, &err);
    if (found <= 0)
        return 0;
    reader->size.has_live = true;
    reader->size.bytes += reader->live.size;
    reader->process = pnr_live_process(reader->path, reader->live.header);
    uint32_t n = reader->live.header->n_chunks;
    struct pnr_live_chunk *before = malloc(n * sizeof *before);
    if (!before)
        return -1;
    memcpy(before, reader->live.chunks, n * sizeof *before);
    pnr_live_look(&reader->live);
    for (uint32_t k = 0; k < n && result == 0; k++)
        if (reader->live.chunks[k].state != PNR_CHUNK_FREE)
            result = add_chunk(reader, k, before);
    free(before);
    return result;
}

/* Places of the same block: those in segments first, in the order of the files. */
static int by_block(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int order = by_number(a, b);
    if (order)
        return order;
    if (x->segment != y->segment)
        return x->segment - 1 < y->segment - 1 ? -1 : 1;        /* 0 is the last */
    return x->at < y->at ? -1 : 1;
}

/* True when the block in the segment is whole. The recorder writes a block before it frees the chunk, so a kill between
 * the two leaves both. */
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

/* Each thread is read from its first block on. */
static void set_cursors(struct reader *reader)
{
    struct cursor *cursor = reader->cursors - 1;
    for (size_t i = 0; i < reader->n_places; i++) {
        struct place *place = &reader->places[i];
        if (i == 0 || place->thread != place[-1].thread)
            *++cursor = (struct cursor){ .number = place->thread, .next = place };
        cursor->end = place + 1;
    }
    reader->n_ended = 0;
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
    reader->n_cursors = n;
    set_cursors(reader);
    return 0;
}

/* Gives back what no block needs any more. */
static void rest(struct reader *reader)
{
    ahead_free(reader->ahead);
    free(reader->turns);
    reader->ahead = NULL;
    reader->turns = NULL;
    reader->n_turns = reader->next_turn = 0;
    reader->jobs = NULL;
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

/* What blocks are decoded with. Returns 0, or -1 when out of memory. */
static int make_room(struct reader *reader)
{
    reader->coder = pnr_block_coder_new();
    reader->data = malloc(pnr_block_data_bound());
    reader->records = malloc(PNR_BLOCK_RECORDS * sizeof *reader->records);
    return reader->coder && reader->data && reader->records ? 0 : -1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void add_fact(struct reader *reader, const char *ticks, const char *monotonic_ns)
{
    struct pnr_instant instant = { 0, 0, 0 };
    if (symbols_number(reader->symbols, ticks, &instant.ticks) &&
        symbols_number(reader->symbols, monotonic_ns, &instant.monotonic_ns))
        add_instant(reader, &instant);
}

/* Reads the names, and what they tell of the end. Returns 0 or -1. */
static int load_symbols(struct reader *reader, struct pnr_err *err)
{
    /* An end that came after the chunks had been looked at is not the end of what is read. */
    bool is_growing = reader->size.has_live && reader->process != PNR_PROCESS_GONE;
    reader->symbols = symbols_load(reader->path, is_growing, reader->notes, err);
    if (!reader->symbols)
        return -1;
    reader->size.bytes += reader->symbols->room;
    reader->has_end = !is_growing && symbols_fact(reader->symbols, "end_ticks").bytes;
    reader->may_drop = symbols_fact(reader->symbols, "max_size").bytes || symbols_fact(reader->symbols, "last_ns").bytes;
    if (symbols_fact(reader->symbols, "stopped").bytes)
        reader->process = PNR_PROCESS_UNKNOWN;          /* it records no more, if it runs */
    symbols_number(reader->symbols, "ticks_per_second", &reader->timeline.ticks_per_second);
    add_fact(reader, "start_ticks", "start_monotonic_ns");
    add_fact(reader, "end_ticks", "end_monotonic_ns");
    return 0;
}

static int prepare(struct reader *reader, struct pnr_err *err)
{
    timeline_init(&reader->timeline, 0);
    reader->until_ns = now_ns();
    if (make_room(reader) < 0 || open_live(reader) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (reader->size.has_live) {
        uint32_t latest = atomic_load(&reader->live.header->latest);
        if (latest < 2)                 /* the other one may be half written */
            add_instant(reader, &reader->live.header->instants[latest]);
    }
    if (walk_segments(reader, err) < 0 || load_symbols(reader, err) < 0)
        return -1;
    reader->has_dropped |= reader->has_end && !reader->walked;  /* one that was killed may not have come to make any */
    if (reader->has_dropped && !reader->may_drop)
        miss_first_segments(reader);
    if (reader->torn && reader->process != PNR_PROCESS_RUNS)
        say_cut(reader, reader->walked, reader->has_end, reader->walked_at, reader->torn);
    drop_repeats(reader);
    find_holes(reader);
    find_complete(reader);
    reader->size.n_found = reader->n_places;
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

enum pnr_process_state reader_process(const struct reader *reader, uint64_t *until_ns)
{
    *until_ns = reader->until_ns;
    return reader->process;
}

bool reader_has_dropped(const struct reader *reader, uint64_t *complete_ticks)
{
    *complete_ticks = reader->complete_ticks;
    return reader->has_dropped;
}

void reader_use(struct reader *reader, struct jobs *jobs)
{
    reader->jobs = jobs;
}

/* ---- reading ahead ---- */

static int by_begin(const void *a, const void *b)
{
    const struct place *x = ((const struct turn *)a)->place, *y = ((const struct turn *)b)->place;
    if (x->begin_ticks != y->begin_ticks)
        return x->begin_ticks < y->begin_ticks ? -1 : 1;
    return x < y ? -1 : 1;              /* of one thread in their order; else that of the threads */
}

/* What is read by and by is read in the order of time: so the turns are known. Without memory nothing is read ahead. */
static void foresee(struct reader *reader)
{
    reader->turns = malloc((reader->n_places + 1) * sizeof *reader->turns);
    reader->ahead = reader->turns ? ahead_new(reader->jobs) : NULL;
    if (!reader->ahead)
        return;
    for (size_t i = 0; i < reader->n_cursors; i++)
        for (const struct place *place = reader->cursors[i].next; place < reader->cursors[i].end; place++)
            if (place->segment)
                reader->turns[reader->n_turns++] = (struct turn){ place, &reader->cursors[i] };
    qsort(reader->turns, reader->n_turns, sizeof *reader->turns, by_begin);
}

/* Starts to decode the next blocks, as many as may be. Those that cannot be read are left to reader_next(), which says
 * why. */
static void look_ahead(struct reader *reader)
{
    void *room;
    if (!reader->turns && reader->jobs && jobs_n_threads(reader->jobs) > 1)
        foresee(reader);
    while (reader->ahead && reader->next_turn < reader->n_turns && (room = ahead_room(reader->ahead))) {
        const struct turn *turn = &reader->turns[reader->next_turn++];
        struct pnr_block_header header;
        struct pnr_err err;
        if (turn->place >= turn->cursor->next &&
            read_header(reader, turn->place, &header, &err) == 0 &&
            read_at(reader, room, header.data_size, turn->place->at + PNR_BLOCK_PREFIX_SIZE) == header.data_size)
            ahead_start(reader->ahead, turn->place, &header);
    }
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

uint64_t reader_end(const struct reader *reader)
{
    uint64_t ticks = 0;
    for (size_t i = 0; i < reader->n_places; i++) {
        const struct place *place = &reader->places[i];
        uint64_t end = place->end_ticks > place->begin_ticks ? place->end_ticks : place->begin_ticks;
        if (end > ticks)
            ticks = end;
    }
    return ticks;
}

void reader_limit(struct reader *reader, uint64_t from_ticks, uint64_t to_ticks, bool is_known)
{
    for (size_t i = 0; i < reader->n_cursors; i++) {
        struct cursor *cursor = &reader->cursors[i];
        struct place *place = cursor->next, *end = cursor->end;
        for (; place < end && place->begin_ticks < from_ticks; place++)
            if (!place->is_deeper || is_known)
                cursor->next = place;
        if (place > cursor->next && place[-1].is_last && place[-1].end_ticks < from_ticks)
            cursor->next = place;
        while (place < end && place->begin_ticks < to_ticks)
            place++;
        cursor->end = place;
    }
}

void reader_stop(struct reader *reader)
{
    for (size_t i = 0; i < reader->n_cursors; i++) {
        struct cursor *cursor = &reader->cursors[i];
        cursor->next = cursor->end;
        cursor->at = 0;
        end(reader, cursor);
    }
}

int reader_rewind(struct reader *reader)
{
    struct pnr_err err;
    for (size_t i = 0; i < reader->n_cursors; i++)
        give_back(reader, &reader->cursors[i]);
    if (reader->n_cursors == 0)
        return 0;
    rest(reader);
    set_cursors(reader);
    if (make_room(reader) < 0)
        return -1;
    if (reader->size.has_live)
        pnr_live_open(reader->path, &reader->live, &err);       /* chunks that have become blocks will be found */
    return 0;
}

bool reader_look(const struct reader *reader, size_t i, struct reader_outline *outline)
{
    if (i >= reader->n_places)
        return false;
    const struct place *place = &reader->places[i];
    *outline = (struct reader_outline){ place->thread, place->n_records,
                                        (uint32_t)place->n_records - (uint32_t)place->n_open, place->begin_ticks,
                                        place->end_ticks, place->is_chunk };
    return true;
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

/* Gives the cursor what has been read for its own, and takes what it had: cheaper than to copy a block. False when that
 * is too much. */
static bool swap(struct reader *reader, struct cursor *cursor)
{
    size_t n_held = reader->n_held - cursor->capacity + PNR_BLOCK_RECORDS;
    if (n_held > HELD_MAX)
        return false;
    if (cursor->capacity != PNR_BLOCK_RECORDS) {
        struct pnr_record *records = malloc(PNR_BLOCK_RECORDS * sizeof *records);
        if (!records)
            return false;
        free(cursor->records);
        cursor->records = records;
    }
    struct pnr_record *given = reader->records;
    reader->records = cursor->records;
    reader->n_held = n_held;
    cursor->records = given;
    cursor->capacity = PNR_BLOCK_RECORDS;
    return true;
}

/* Keeps the records that the thread gets next, of the n of its block, and tells where. Returns how many they are, or -1
 * when out of memory. */
static int64_t keep(struct reader *reader, struct cursor *cursor, uint32_t n, const struct pnr_record **records)
{
    uint32_t kept = n - cursor->at;
    if (kept > PNR_BLOCK_RECORDS / 2 && swap(reader, cursor)) {
        *records = cursor->records + cursor->at;
        return kept;
    }
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
    *records = cursor->records;
    return kept;
}

enum outcome { READ, DROPPED, TAKEN_BACK, DAMAGED, OUT_OF_MEMORY };

/* Leaves of what a chunk has, or the block that it became, the records that were there when the reader was opened. Some
 * of them may have been taken back, and others be in their places, which are later. */
static void cut(const struct reader *reader, const struct place *place, struct pnr_block_header *header)
{
    uint32_t n = header->n_records < place->n_records ? header->n_records : place->n_records;
    while (n > 0 && header->begin.ticks + pnr_record_ticks(reader->records[n - 1]) > place->end_ticks)
        n--;
    if (n == header->n_records)
        return;
    header->n_records = n;
    header->flags &= (uint16_t)~PNR_BLOCK_LAST;
    header->end.ticks = 0;
}

/* Reads a chunk and gives its header, which says how many records it has. Returns 1; 0 when it is not there any more;
 * -1 when it cannot be read, and fills err with a cause that has no path. */
static int read_chunk(struct reader *reader, const struct place *place, struct pnr_block_header *header,
                      struct pnr_err *err)
{
    struct pnr_live_chunk chunk;
    if (!reader->live.header)           /* it is not there any more, now that all is read again */
        return 0;
    int n = pnr_live_read(&reader->live, (uint32_t)place->at, &chunk, reader->records);
    if (n < 0)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "chunk cannot be read");
    *header = chunk.block;
    if (chunk.state == PNR_CHUNK_IN_USE && header->check == place->check &&
        pnr_block_header_check(header, true, 0, err) == 0) {
        header->n_records = (uint32_t)n;
        return 1;
    }
    if (reader->process == PNR_PROCESS_GONE)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "chunk changed while it was read");
    return 0;
}

/* Reads a block, wherever it is by now. When it is damaged, fills err. */
static enum outcome read_place(struct reader *reader, const struct place *place, struct pnr_block_header *header,
                               struct pnr_err *err)
{
    int has = place->segment ? 0 : read_chunk(reader, place, header, err);
    if (has < 0)
        return DAMAGED;
    if (!has) {
        if (!place->segment && look_on(reader) < 0)
            return OUT_OF_MEMORY;
        if (!place->segment) {
            if (!reader->has_passed_over)
                return TAKEN_BACK;      /* a chunk that was given back has become no block */
            pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "the block's segment is missing");
            return reader->may_drop ? DROPPED : DAMAGED;
        }
        if (!(reader->ahead && ahead_take(reader->ahead, place, header, &reader->records)) &&
            (read_header(reader, place, header, err) != 0 || decode(reader, place, header, err) != 0))
            return is_gone(err) && reader->may_drop ? DROPPED : err->code == PNR_E_MEMORY ? OUT_OF_MEMORY : DAMAGED;
    }
    if (place->is_chunk)
        cut(reader, place, header);
    return READ;
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
static int give(struct reader *reader, struct cursor *cursor, struct place *place,
                const struct pnr_block_header *header, struct reader_block *block)
{
    bool is_begin = cursor->at == 0;
    const struct pnr_record *open = reader->records, *records;
    uint32_t n_open = is_begin ? count_open(open, header->n_records, header->n_open) : 0;
    cursor->at += n_open;
    int64_t kept = keep(reader, cursor, header->n_records, &records);
    if (kept < 0)
        return -1;
    cursor->at += (uint32_t)kept;
    bool is_end = cursor->at == header->n_records;
    *block = (struct reader_block){
        .is_begin = is_begin,
        .track = header->track,
        .open = open,
        .n_open = n_open,
        /* A process killed while it wrote these records leaves too few: they tell nothing then, and nothing follows. */
        .has_open = is_begin && (n_open == header->n_open || n_open < header->n_records),
        .records = records,
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
    if (is_begin && !place->is_read) {
        reader->size.n_recovered += place->segment ? 0 : header->n_records;
        reader->size.n_blocks++;
        place->is_read = true;
    }
    if (is_end)
        cursor->at = 0;
    return 1;
}

/* The block was dropped before it could be read. */
static void drop(struct reader *reader, struct cursor *cursor, const struct place *place)
{
    reader->has_dropped = true;
    if (place->end_ticks > reader->complete_ticks)
        reader->complete_ticks = place->end_ticks;
    cursor->is_after_hole |= cursor->has_begun;
}

/* The block is damaged. */
static void skip(struct reader *reader, struct cursor *cursor, struct place *place, const struct pnr_err *fault)
{
    cursor->is_after_hole = cursor->has_begun = true;
    if (place->is_damaged)
        return;                         /* said when it was read before */
    if (fault->sys_errno)
        notes_err(reader->notes, NOTE_DAMAGE, fault);
    else if (place->segment)
        say(reader, place->segment, NOTE_DAMAGE, PNR_E_CORRUPT, place->at, fault->what);
    else
        say_live(reader, (uint32_t)place->at, PNR_E_CORRUPT, fault->what);
    reader->size.n_damaged++;
    place->is_damaged = true;
}

int reader_next(struct reader *reader, size_t thread, struct reader_block *block, struct pnr_err *err)
{
    struct cursor *cursor = &reader->cursors[thread];
    struct pnr_block_header header;
    struct pnr_err fault;
    look_ahead(reader);
    if (cursor->at == 0 && cursor->next == cursor->end) {
        end(reader, cursor);
        return 0;
    }
    struct place *place = cursor->at > 0 ? cursor->next - 1 : cursor->next++;
    enum outcome outcome = read_place(reader, place, &header, &fault);
    cursor->is_after_hole |= cursor->at == 0 && place->is_after_hole;
    if (outcome == READ) {
        if (header.n_records < cursor->at)
            header.n_records = cursor->at;          /* what has been given cannot be taken back */
        if (give(reader, cursor, place, &header, block) > 0)
            return 1;
    }
    if (outcome == READ || outcome == OUT_OF_MEMORY)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    cursor->at = 0;
    if (outcome == DROPPED)
        drop(reader, cursor, place);
    else if (outcome == DAMAGED)
        skip(reader, cursor, place, &fault);
    return 0;
}
