/* Gives the blocks of each thread that the index has found, decoded, in their order: reader_open() makes the index, a
 * cursor for each thread stands where its reading does. A chunk that has become a block meanwhile is looked for where it
 * is by then, and gives no more than the records that it had at first: those behind may be of functions that the names do
 * not have. */
#include "reader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ahead.h"
#include "index.h"

/* Records that all threads together may hold before they get less than a block. Then each gets an equal part of as
 * many, but no less than PIECE. */
#define HELD_MAX ((48 << 20) / PNR_RECORD_SIZE)
#define PIECE 256

/* The OPEN records that a recorder writes at most: those behind a SWITCH are not parted from it. */
#define MAX_OPEN 1024

/* Where the reading of one thread stands. */
struct cursor {
    uint32_t number;
    struct place *next, *end;
    struct trail trail;                 /* of its chunks that have become blocks */
    bool is_after_hole;                 /* a block was skipped before the next one */
    bool has_begun, has_ended;
    uint32_t at;                        /* the block before `next` has been given up to here; 0: as a whole */
    struct pnr_record *records;         /* owned */
    size_t capacity;
};

/* A block in a file, and who reads it. */
struct turn {
    const struct place *place;
    const struct cursor *cursor;
};

struct reader {
    char *path;                         /* owned, like all below */
    struct index index;
    struct cursor *cursors;             /* by number; those of threads that are left out have no blocks */
    size_t n_cursors, n_ended;
    size_t n_full;                      /* those that have blocks */
    struct jobs *jobs;                  /* borrowed, or NULL: then nothing is decoded ahead */
    struct ahead *ahead;                /* made when the first block is read, like the next */
    struct turn *turns;                 /* in the order in which they are likely to be read */
    size_t n_turns, next_turn;          /* the first of those that have not been looked at */
    size_t n_held;                      /* records that the cursors have room for */
};

/* ---- opening ---- */

/* Each thread is read from its first block on. */
static void set_cursors(struct reader *reader)
{
    const struct index *index = &reader->index;
    size_t at = 0;
    for (size_t i = 0; i < reader->n_cursors; i++) {
        struct cursor *cursor = &reader->cursors[i];
        size_t begin = at;
        while (at < index->n_places && index->places[at].thread == cursor->number)
            at++;
        *cursor = (struct cursor){ .number = cursor->number, .trail = index_trail(index) };
        if (at > begin) {
            cursor->next = index->places + begin;
            cursor->end = index->places + at;
        }
    }
    reader->n_ended = 0;
}

/* Makes a cursor for every thread that has a block, or is left out. Returns 0, or -1 when out of memory. */
static int make_cursors(struct reader *reader)
{
    const struct index *index = &reader->index;
    size_t n_full = 0, i = 0, k = 0;
    for (size_t j = 0; j < index->n_places; j++)
        n_full += j == 0 || index->places[j].thread != index->places[j - 1].thread;
    reader->cursors = calloc(n_full + index->n_left_out + 1, sizeof *reader->cursors);
    if (!reader->cursors)
        return -1;
    while (i < index->n_places || k < index->n_left_out) {
        bool is_left_out = i == index->n_places ||
                           (k < index->n_left_out && index->left_out[k] < index->places[i].thread);
        uint32_t number = is_left_out ? index->left_out[k++] : index->places[i].thread;
        while (!is_left_out && i < index->n_places && index->places[i].thread == number)
            i++;
        reader->cursors[reader->n_cursors++].number = number;
    }
    reader->n_full = n_full;
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
    blocks_rest(&reader->index.blocks);
}

static int prepare(struct reader *reader, const struct reader_choice *choice, struct pnr_err *err)
{
    struct index *index = &reader->index;
    if (index_look(index, err) < 0)
        return -1;
    int is_wanted = choice ? choice->begin(choice->arg, reader) : 1;
    if (is_wanted < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (!is_wanted)
        index_leave_out(index);
    if (index_walk(index, choice ? choice->wants : NULL, choice ? choice->arg : NULL, err) < 0)
        return -1;
    if (make_cursors(reader) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader->path, 0, "out of memory");
    if (index->n_places)
        files_rest(&index->blocks.files);       /* as many readers may be open as there were processes */
    else
        rest(reader);
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
    else if (prepare(reader, choice, err) == 0)
        return reader;
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
    index_clear(&reader->index);
    free(reader->cursors);
    free(reader->path);
    free(reader);
}

const char *reader_path(const struct reader *reader) { return reader->path; }
const struct symbols *reader_symbols(const struct reader *reader) { return reader->index.symbols; }
struct timeline *reader_timeline(struct reader *reader) { return &reader->index.timeline; }
const struct reader_size *reader_size(const struct reader *reader) { return &reader->index.size; }
size_t reader_n_threads(const struct reader *reader) { return reader->n_cursors; }
uint32_t reader_thread_number(const struct reader *reader, size_t thread) { return reader->cursors[thread].number; }

enum pnr_process_state reader_process(const struct reader *reader, uint64_t *until_ns)
{
    *until_ns = reader->index.until_ns;
    return reader->index.process;
}

bool reader_has_dropped(const struct reader *reader, uint64_t *complete_ticks)
{
    *complete_ticks = reader->index.complete_ticks;
    return reader->index.has_dropped;
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
    reader->turns = malloc((reader->index.n_places + 1) * sizeof *reader->turns);
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
            blocks_read_data(&reader->index.blocks, turn->place, &header, room, &err) == 0)
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
    for (size_t i = 0; i < reader->index.n_places; i++) {
        const struct place *place = &reader->index.places[i];
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
    struct blocks *blocks = &reader->index.blocks;
    struct pnr_err err;
    for (size_t i = 0; i < reader->n_cursors; i++)
        give_back(reader, &reader->cursors[i]);
    if (reader->index.n_places == 0)
        return 0;
    rest(reader);
    set_cursors(reader);
    if (blocks_make_room(blocks) < 0)
        return -1;
    if (reader->index.size.has_live)
        pnr_live_open(reader->path, &blocks->live, &err);       /* chunks that have become blocks will be found */
    return 0;
}

bool reader_look(const struct reader *reader, size_t i, struct reader_outline *outline)
{
    if (i >= reader->index.n_places)
        return false;
    const struct place *place = &reader->index.places[i];
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
    size_t least = HELD_MAX / reader->n_full > PIECE ? HELD_MAX / reader->n_full : PIECE, piece = least;
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
    struct pnr_record *given = reader->index.blocks.records;
    reader->index.blocks.records = cursor->records;
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
        kept = find_piece(reader, reader->index.blocks.records + cursor->at, kept);
    if (kept > cursor->capacity) {
        give_back(reader, cursor);
        if (!(cursor->records = malloc(kept * sizeof *cursor->records)))
            return -1;
        cursor->capacity = kept;
        reader->n_held += kept;
    }
    if (kept)
        memcpy(cursor->records, reader->index.blocks.records + cursor->at, kept * sizeof *cursor->records);
    *records = cursor->records;
    return kept;
}

/* BECAME_BLOCK: it is to be read as one. */
enum outcome { READ, BECAME_BLOCK, DROPPED, TAKEN_BACK, DAMAGED, OUT_OF_MEMORY };

/* Leaves of what a chunk has, or the block that it became, the records that were there when the reader was opened. Some
 * of them may have been taken back, and others be in their places, which are later. */
static void cut(const struct reader *reader, const struct place *place, struct pnr_block_header *header)
{
    uint32_t n = header->n_records < place->n_records ? header->n_records : place->n_records;
    while (n > 0 && header->begin.ticks + pnr_record_ticks(reader->index.blocks.records[n - 1]) > place->end_ticks)
        n--;
    if (n == header->n_records)
        return;
    header->n_records = n;
    header->flags &= (uint16_t)~PNR_BLOCK_LAST;
    header->end.ticks = 0;
}

/* Reads what was a chunk: from the live mapping, or from the file of which it has become a block. When it is damaged,
 * fills err. */
static enum outcome read_chunk(struct reader *reader, struct cursor *cursor, const struct place *place,
                               struct pnr_block_header *header, struct pnr_err *err)
{
    struct index *index = &reader->index;
    bool has_live = index->blocks.live.header;          /* not if it is not there any more, now that all is read again */
    int has = blocks_read_chunk(&index->blocks, place, header);
    if (has > 0)
        return READ;
    if (has < 0 || (has_live && index->process == PNR_PROCESS_GONE)) {
        pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, has < 0 ? "chunk cannot be read" : "chunk changed while it was read");
        return DAMAGED;
    }
    index_look_on(index, cursor->number, &cursor->trail);
    if (place->segment)
        return BECAME_BLOCK;
    if (!index->has_passed_over)
        return TAKEN_BACK;              /* a chunk that was given back has become no block */
    pnr_err_set(err, PNR_E_CORRUPT, NULL, 0, "the block's segment is missing");
    return index->may_drop ? DROPPED : DAMAGED;
}

/* The same for a block in a file. */
static enum outcome read_block(struct reader *reader, const struct place *place, struct pnr_block_header *header,
                               struct pnr_err *err)
{
    struct blocks *blocks = &reader->index.blocks;
    if ((reader->ahead && ahead_take(reader->ahead, place, header, &blocks->records)) ||
        blocks_read(blocks, place, header, err) == 0)
        return READ;
    return files_is_gone(err) && reader->index.may_drop ? DROPPED : err->code == PNR_E_MEMORY ? OUT_OF_MEMORY : DAMAGED;
}

static enum outcome read_place(struct reader *reader, struct cursor *cursor, const struct place *place,
                               struct pnr_block_header *header, struct pnr_err *err)
{
    enum outcome outcome = place->segment ? BECAME_BLOCK : read_chunk(reader, cursor, place, header, err);
    if (outcome == BECAME_BLOCK)
        outcome = read_block(reader, place, header, err);
    if (outcome == READ && place->is_chunk)
        cut(reader, place, header);
    return outcome;
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
    const struct pnr_record *open = reader->index.blocks.records, *records;
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
        reader->index.size.n_recovered += place->segment ? 0 : header->n_records;
        reader->index.size.n_blocks++;
        place->is_read = true;
    }
    if (is_end)
        cursor->at = 0;
    return 1;
}

/* The block was dropped before it could be read. */
static void drop(struct reader *reader, struct cursor *cursor, const struct place *place)
{
    reader->index.has_dropped = true;
    if (place->end_ticks > reader->index.complete_ticks)
        reader->index.complete_ticks = place->end_ticks;
    cursor->is_after_hole |= cursor->has_begun;
}

/* The block is damaged. */
static void skip(struct reader *reader, struct cursor *cursor, struct place *place, const struct pnr_err *fault)
{
    cursor->is_after_hole = cursor->has_begun = true;
    if (place->is_damaged)
        return;                         /* said when it was read before */
    if (fault->sys_errno)
        diagnostics_err(reader->index.diagnostics, DIAGNOSTIC_DAMAGE, fault);
    else
        index_say(&reader->index, place, fault->what);
    reader->index.size.n_damaged++;
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
    enum outcome outcome = read_place(reader, cursor, place, &header, &fault);
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
