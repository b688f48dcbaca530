#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/capture.h"
#include "format/names.h"

#define MAX_PIECES 256

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t max);

/* ---- random numbers ---- */

static uint64_t state;

static uint64_t draw(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % n;
}

/* A number of so many bits, often one at an edge. */
static uint64_t draw_number(unsigned bits)
{
    uint64_t all = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    switch (draw(6)) {
    case 0: return draw(4);
    case 1: return all - draw(4);
    case 2: return (UINT64_C(1) << draw(bits)) - draw(2);
    case 3: return draw(300);
    default: return (draw(UINT64_C(1) << 31) << 33 ^ draw(UINT64_C(1) << 31)) & all >> draw(bits);
    }
}

/* ---- pieces of an input ---- */

struct piece {
    size_t at, size;
};

/* Puts new bytes in the place of a piece. Returns the new size of all; the old one if there is no room. */
static size_t replace(uint8_t *bytes, size_t size, size_t max, struct piece old, const void *fresh, size_t fresh_size)
{
    if (size - old.size + fresh_size > max)
        return size;
    memmove(bytes + old.at + fresh_size, bytes + old.at + old.size, size - old.at - old.size);
    if (fresh_size)
        memcpy(bytes + old.at, fresh, fresh_size);
    return size - old.size + fresh_size;
}

/* Doubles, removes or moves a piece, or cuts off what is after its begin. */
static size_t shuffle(uint8_t *bytes, size_t size, size_t max, struct piece piece, struct piece other)
{
    uint8_t *copy = malloc(piece.size + 1);
    memcpy(copy, bytes + piece.at, piece.size);
    switch (draw(4)) {
    case 0:
        size = replace(bytes, size, max, piece, NULL, 0);
        break;
    case 1:
        size = piece.at + draw(piece.size + 1);
        break;
    default:
        size = replace(bytes, size, max, (struct piece){ other.at, 0 }, copy, piece.size);
    }
    free(copy);
    return size;
}

/* ---- records ---- */

static void draw_record(struct pnr_record *record)
{
    uint64_t ticks = pnr_record_ticks(*record), frame = pnr_record_frame(*record);
    uint32_t kind = pnr_record_kind(*record), function = pnr_record_function(*record);
    switch (draw(6)) {
    case 0: ticks = draw_number(PNR_TICKS_BITS); break;
    case 1: frame = draw_number(PNR_FRAME_BITS); break;
    case 2: function = (uint32_t)draw_number(32); break;
    case 3: kind = (uint32_t)draw_number(8); break;
    case 4: function = 1 + (uint32_t)draw(8); break;
    default: kind = 1 + (uint32_t)draw(PNR_KINDS - 1);
    }
    *record = pnr_record_make(ticks, kind, frame, function);
}

/* Changes some records, or makes a row of a few of them, each time with higher numbers in it. Returns how many they
 * are. */
static uint32_t draw_records(struct pnr_record *records, uint32_t n)
{
    if (draw(3)) {
        for (uint64_t times = 1 + draw(8); times > 0; times--)
            draw_record(&records[draw(n)]);
        return n;
    }
    uint32_t wanted = draw(2) ? PNR_BLOCK_RECORDS : 1 + (uint32_t)draw(PNR_BLOCK_RECORDS);
    uint32_t begin = (uint32_t)draw(n), row = 1 + (uint32_t)draw(n - begin < 8 ? n - begin : 8);
    uint64_t ticks = draw(3) ? draw(2) : draw_number(20), frame = draw(2) ? 0 : draw_number(30);
    uint64_t function = draw(4) == 0;
    memmove(records, records + begin, row * sizeof *records);
    for (uint32_t i = row; i < wanted; i++) {
        struct pnr_record before = records[i - row];
        records[i] = pnr_record_make((pnr_record_ticks(before) + ticks) & PNR_TICKS_MAX, pnr_record_kind(before),
                                     (pnr_record_frame(before) + frame) & ((UINT64_C(1) << PNR_FRAME_BITS) - 1),
                                     (uint32_t)(pnr_record_function(before) + function));
    }
    return wanted;
}

/* ---- blocks ---- */

static struct pnr_block_coder *coder(void)
{
    static struct pnr_block_coder *coder;
    if (!coder)
        coder = pnr_block_coder_new();
    return coder;
}

static size_t find_blocks(const uint8_t *bytes, size_t size, struct piece pieces[MAX_PIECES])
{
    size_t n = 0;
    for (size_t at = 0; at + PNR_BLOCK_PREFIX_SIZE < size && n < MAX_PIECES;) {
        struct pnr_block_header header;
        struct pnr_err err;
        memcpy(&header, bytes + at + 8, sizeof header);
        if (pnr_block_header_check(&header, false, 0, &err) == 0 &&
            header.data_size <= size - at - PNR_BLOCK_PREFIX_SIZE) {
            pieces[n++] = (struct piece){ at, PNR_BLOCK_PREFIX_SIZE + header.data_size };
            at += pieces[n - 1].size;
        } else {
            at++;
        }
    }
    return n;
}

/* Changes a field, and now and then one that makes the header bad. */
static void draw_header(struct pnr_block_header *header, bool live)
{
    struct pnr_clock_sample *instant = draw(2) && !live ? &header->end : &header->begin;
    switch (draw(13)) {
    case 0: header->flags = (uint16_t)draw(16); break;
    case 1: header->thread = (uint32_t)draw_number(32); break;
    case 2: header->thread = 1 + (uint32_t)draw(4); break;
    case 3: header->sequence = (uint32_t)draw_number(32); break;
    case 4: header->sequence += 1 - (uint32_t)draw(3); break;
    case 5: header->n_open = (uint32_t)draw((uint64_t)header->n_records + 1); break;
    case 6: header->n_open = header->n_records; break;
    case 7: instant->ticks = draw_number(64); break;
    case 8: instant->monotonic_ns = draw_number(64); break;
    case 9: instant->ticks += draw_number(30); break;
    case 10: ((uint8_t *)header)[draw(88)] ^= 1 << draw(8); break;
    case 11: header->track = (uint32_t)draw(4); break;
    default: header->tick_shift = live ? 0 : (uint8_t)draw(PNR_TICKS_BITS);
    }
    uint16_t version = header->version;
    pnr_block_header_seal(header);
    if (draw(64) == 0) {
        header->version = version;
        header->check ^= draw(2);
    }
}

static size_t change_block(uint8_t *bytes, size_t size, size_t max, struct piece piece)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct pnr_block_header header;
    struct pnr_err err;
    size_t block_size;
    memcpy(&header, bytes + piece.at + 8, sizeof header);
    if (draw(2) || pnr_block_decode(coder(), &header, bytes + piece.at + PNR_BLOCK_PREFIX_SIZE, records, &err) != 0) {
        draw_header(&header, false);
        memcpy(bytes + piece.at + 8, &header, sizeof header);
        return size;
    }
    header.n_records = draw_records(records, header.n_records);
    if (header.n_open > header.n_records)
        header.n_open = header.n_records;
    const void *block = pnr_block_encode(coder(), &header, records, &block_size);
    return block ? replace(bytes, size, max, piece, block, block_size) : size;
}

/* A block of one record, for an input without any. */
static size_t add_block(uint8_t *bytes, size_t size, size_t max)
{
    struct pnr_record record = pnr_record_make(0, PNR_CALL, 0, 1);
    struct pnr_block_header header = { .thread = 1, .n_records = 1 };
    size_t block_size;
    const void *block = pnr_block_encode(coder(), &header, &record, &block_size);
    return block ? replace(bytes, size, max, (struct piece){ size, 0 }, block, block_size) : size;
}

size_t fuzz_mutate_blocks(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    struct piece blocks[MAX_PIECES];
    state = seed;
    draw(2);
    size_t n = find_blocks(bytes, size, blocks);
    if (draw(16) == 0 && size)
        return LLVMFuzzerMutate(bytes, size, max);
    if (n == 0)
        return add_block(bytes, size, max);
    if (draw(4) == 0)
        return shuffle(bytes, size, max, blocks[draw(n)], blocks[draw(n)]);
    if (draw(16) == 0) {                /* the data frame, whose checksum will not be right */
        struct piece block = blocks[draw(n)];
        LLVMFuzzerMutate(bytes + block.at + PNR_BLOCK_PREFIX_SIZE, block.size - PNR_BLOCK_PREFIX_SIZE,
                         block.size - PNR_BLOCK_PREFIX_SIZE);
        return size;
    }
    return change_block(bytes, size, max, blocks[draw(n)]);
}

/* ---- names ---- */

static size_t find_entries(const uint8_t *bytes, size_t size, struct piece pieces[MAX_PIECES])
{
    size_t n = 0, at = PNR_NAMES_HEADER_SIZE;
    struct pnr_name name;
    struct pnr_err err;
    while (at < size && n < MAX_PIECES) {
        size_t begin = at;
        if (pnr_name_decode(bytes, size, &at, &name, &err) == 1)
            pieces[n++] = (struct piece){ begin, at - begin };
    }
    return n;
}

/* What properties are looked up, and with values that matter. */
static void draw_property(struct pnr_name *name)
{
    static const char *const keys[] = {
        "pid", "ticks_per_second", "start_ticks", "start_monotonic_ns", "start_realtime_ns", "end_ticks",
        "end_monotonic_ns", "command", "python", "filters", "min_duration_ns", "lost", "stopped", "forks", "engine",
        "parent_pid", "born", "process_name",
    };
    static char value[32];
    const char *key = keys[draw(sizeof keys / sizeof *keys)];
    int size = snprintf(value, sizeof value, "%llu", (unsigned long long)draw_number(64));
    *name = (struct pnr_name){ .type = PNR_NAME_PROPERTY,
                               .strings = { { key, (uint32_t)strlen(key) }, { value, (uint32_t)size } } };
}

static size_t change_entry(uint8_t *bytes, size_t size, size_t max, struct piece piece)
{
    static char string[PNR_NAME_MAX];
    static uint8_t entry[PNR_NAME_ENTRY_SIZE + 3 * PNR_NAME_MAX];
    struct pnr_name name;
    struct pnr_err err;
    size_t at = piece.at;
    if (pnr_name_decode(bytes, size, &at, &name, &err) != 1)
        return size;
    struct pnr_string *changed = &name.strings[draw(3)];
    switch (draw(8)) {
    case 0: name.type = (uint8_t)draw(5); break;
    case 1: name.kind = (uint8_t)(draw(2) ? draw(6) : draw_number(8)); break;
    case 2: name.index = (uint32_t)draw_number(32); break;
    case 3: name.index += 1 - (uint32_t)draw(3); break;
    case 4: name.number = (uint32_t)draw_number(32); break;
    case 5: draw_property(&name); break;
    default:
        memcpy(string, changed->bytes, changed->size);
        size_t most = draw(64) && changed->size < PNR_NAME_MAX / 2 ? 2 * changed->size + 16 : PNR_NAME_MAX;
        *changed = (struct pnr_string){ string, (uint32_t)LLVMFuzzerMutate((uint8_t *)string, changed->size, most) };
    }
    pnr_name_encode(&name, entry);
    return replace(bytes, size, max, piece, entry, pnr_name_size(&name));
}

/* A function, for an input without any entry. */
static size_t begin_names(uint8_t *bytes, size_t size, size_t max)
{
    struct pnr_name name = { .type = PNR_NAME_FUNCTION, .index = 1, .strings = { { "m", 1 }, { "f", 1 }, { "p", 1 } } };
    uint8_t all[PNR_NAMES_HEADER_SIZE + PNR_NAME_ENTRY_SIZE + 3];
    pnr_names_header_encode(all);
    pnr_name_encode(&name, all + PNR_NAMES_HEADER_SIZE);
    return replace(bytes, size, max, (struct piece){ 0, size }, all, sizeof all);
}

size_t fuzz_mutate_names(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    struct piece entries[MAX_PIECES];
    state = seed;
    draw(2);
    size_t n = find_entries(bytes, size, entries);
    if (draw(16) == 0 && size)
        return LLVMFuzzerMutate(bytes, size, max);
    if (n == 0)
        return begin_names(bytes, size, max);
    if (draw(4) == 0)
        return shuffle(bytes, size, max, entries[draw(n)], entries[draw(n)]);
    return change_entry(bytes, size, max, entries[draw(n)]);
}

/* ---- live ---- */

#define LIVE_HEADER sizeof(struct pnr_live_header)
#define LIVE_CHUNKS (LIVE_HEADER + 1)
#define CHUNK sizeof(struct pnr_live_chunk)
#define MAX_CHUNKS 16                   /* each costs 256 KiB of reading */

/* Where the records of the chunks are. Returns how many chunks the input has. */
static size_t find_chunks(const uint8_t *bytes, size_t size, struct piece records[MAX_PIECES])
{
    if (size <= LIVE_HEADER)
        return 0;
    size_t n = bytes[LIVE_HEADER] % (MAX_CHUNKS + 1), at = LIVE_CHUNKS + n * CHUNK;
    if (at > size)
        return 0;
    for (size_t k = 0; k < n; k++) {
        uint16_t n_records = 0;
        if (size - at >= sizeof n_records) {
            memcpy(&n_records, bytes + at, sizeof n_records);
            at += sizeof n_records;
        }
        size_t left = (size - at) / PNR_RECORD_SIZE;
        records[k] = (struct piece){ at, (n_records < left ? n_records : left) * PNR_RECORD_SIZE };
        at += records[k].size;
    }
    return n;
}

static size_t change_records(uint8_t *bytes, size_t size, size_t max, struct piece piece)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    uint32_t n = (uint32_t)(piece.size / sizeof *records);
    if (n == 0 || n > PNR_BLOCK_RECORDS)
        return size;
    memcpy(records, bytes + piece.at, piece.size);
    n = draw_records(records, n);
    size_t room = (max - (size - piece.size)) / sizeof *records;
    uint16_t kept = (uint16_t)(n < room ? n : room);
    memcpy(bytes + piece.at - sizeof kept, &kept, sizeof kept);
    return replace(bytes, size, max, piece, records, kept * sizeof *records);
}

static void draw_live_header(uint8_t *bytes)
{
    struct pnr_live_header header;
    memcpy(&header, bytes, sizeof header);
    struct pnr_clock_sample *instant = &header.instants[draw(2)];
    switch (draw(6)) {
    case 0: header.n_chunks = (uint32_t)draw_number(32); break;
    case 1: header.n_chunks = 1 + (uint32_t)draw(8); break;
    case 2: header.latest = (uint32_t)draw_number(32); break;
    case 3: instant->ticks = draw_number(64); break;
    case 4: instant->monotonic_ns = draw_number(64); break;
    default: ((uint8_t *)&header)[draw(sizeof header)] ^= 1 << draw(8);
    }
    memcpy(bytes, &header, sizeof header);
}

static void draw_chunk(uint8_t *bytes)
{
    struct pnr_live_chunk chunk;
    memcpy(&chunk, bytes, sizeof chunk);
    if (draw(8) == 0)
        chunk.state = (uint32_t)draw(4);
    else
        draw_header(&chunk.block, true);
    memcpy(bytes, &chunk, sizeof chunk);
}

/* A mapping of one chunk that is in use, for an input that is too short to be one. */
static size_t begin_live(uint8_t *bytes, size_t size, size_t max)
{
    struct pnr_live_header header = { .magic = PNR_LIVE_MAGIC, .version = PNR_LIVE_VERSION, .n_chunks = 2,
                                      .chunk_records = PNR_BLOCK_RECORDS };
    struct pnr_live_chunk chunk = { .block = { .thread = 1 }, .state = PNR_CHUNK_IN_USE };
    struct pnr_record record = pnr_record_make(0, PNR_CALL, 0, 1);
    uint8_t all[LIVE_CHUNKS + CHUNK + 2 + PNR_RECORD_SIZE] = { 0 };
    pnr_block_header_seal(&chunk.block);
    memcpy(all, &header, sizeof header);
    all[LIVE_HEADER] = all[LIVE_CHUNKS + CHUNK] = 1;
    memcpy(all + LIVE_CHUNKS, &chunk, sizeof chunk);
    memcpy(all + LIVE_CHUNKS + CHUNK + 2, &record, sizeof record);
    return replace(bytes, size, max, (struct piece){ 0, size }, all, sizeof all);
}

size_t fuzz_mutate_live(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    struct piece records[MAX_PIECES];
    state = seed;
    draw(2);
    size_t n = find_chunks(bytes, size, records);
    if (draw(8) == 0 && size)
        return LLVMFuzzerMutate(bytes, size, max);
    if (n == 0)
        return begin_live(bytes, size, max);
    switch (draw(4)) {
    case 0:
        draw_live_header(bytes);
        return size;
    case 1:
        return change_records(bytes, size, max, records[draw(n)]);
    default:
        draw_chunk(bytes + LIVE_CHUNKS + draw(n) * CHUNK);
        return size;
    }
}

/* ---- captures ---- */

void fuzz_split(const uint8_t *bytes, size_t size, const uint8_t *parts[FUZZ_PARTS], size_t sizes[FUZZ_PARTS])
{
    uint32_t wanted[FUZZ_PARTS] = { 0 };
    size_t at = sizeof wanted;
    if (size >= at)
        memcpy(wanted, bytes, sizeof wanted);
    else
        at = size;
    for (int i = 0; i < FUZZ_PARTS; i++) {
        parts[i] = bytes + at;
        sizes[i] = wanted[i] < size - at ? wanted[i] : size - at;
        at += sizes[i];
    }
}

size_t fuzz_mutate_capture(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    static size_t (*const mutate[FUZZ_PARTS])(uint8_t *, size_t, size_t, unsigned) = {
        fuzz_mutate_names, fuzz_mutate_blocks, fuzz_mutate_blocks, fuzz_mutate_blocks, fuzz_mutate_blocks, fuzz_mutate_live,
    };
    const uint8_t *parts[FUZZ_PARTS];
    size_t sizes[FUZZ_PARTS], at = FUZZ_PARTS * sizeof(uint32_t);
    state = seed;
    draw(2);
    int part = (int)draw(8);
    part = part < 4 ? 1 : part - 2;     /* half of the changes are in the first file of blocks */
    if (draw(8) == 0)
        part = 0;
    if (max < at)
        return size;
    fuzz_split(bytes, size, parts, sizes);
    uint8_t *all = malloc(max);
    for (int i = 0; i < FUZZ_PARTS; i++) {
        size_t room = max - at, others = 0;
        for (int j = i + 1; j < FUZZ_PARTS; j++)
            others += sizes[j];
        if (sizes[i] > room)
            sizes[i] = room;
        memcpy(all + at, parts[i], sizes[i]);
        if (i == part && room > others)
            sizes[i] = mutate[i](all + at, sizes[i] < room - others ? sizes[i] : room - others, room - others,
                                 (unsigned)draw(UINT64_C(1) << 31));
        at += sizes[i];
        uint32_t told = (uint32_t)sizes[i];
        memcpy(all + (size_t)i * sizeof told, &told, sizeof told);
    }
    memcpy(bytes, all, at);
    free(all);
    return at;
}

/* ---- files ---- */

const char *const fuzz_names[FUZZ_PARTS] = {
    "names", "segment-1/thread-1.zst", "segment-1/thread-2.zst", "segment-1/short-threads.zst", "segment-2/thread-1.zst",
    "live",
};

static char directory[PATH_MAX - 64];

static void remove_directory(void)
{
    for (int i = 0; i < FUZZ_PARTS; i++)
        fuzz_write(fuzz_names[i], NULL, 0);
    rmdir(directory);
    *strrchr(directory, '/') = 0;
    rmdir(directory);
}

const char *fuzz_directory(void)
{
    if (*directory)
        return directory;
    const char *above = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/panopticon-fuzz-XXXXXX", above ? above : "/tmp");
    if (!mkdtemp(directory))
        abort();
    strcat(directory, "/process-1");
    if (mkdir(directory, 0700) != 0)
        abort();
    atexit(remove_directory);
    return directory;
}

static int make(const char *name)
{
    char path[PATH_MAX];
    pnr_file_path(fuzz_directory(), name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        abort();
    return fd;
}

static void put(int fd, const void *bytes, size_t size, size_t at)
{
    if (pwrite(fd, bytes, size, (off_t)at) != (ssize_t)size)
        abort();
}

void fuzz_write(const char *name, const uint8_t *bytes, size_t size)
{
    char path[PATH_MAX], segment[PATH_MAX];
    pnr_file_path(fuzz_directory(), name, path);
    strcpy(segment, path);
    *strrchr(segment, '/') = 0;
    bool is_in_segment = strchr(name, '/');
    if (size == 0) {
        unlink(path);
        if (is_in_segment)
            rmdir(segment);             /* unless there is another file in it */
        return;
    }
    if (is_in_segment && mkdir(segment, 0700) != 0 && errno != EEXIST)
        abort();
    int fd = make(name);
    put(fd, bytes, size, 0);
    close(fd);
}

void fuzz_write_live(const uint8_t *bytes, size_t size)
{
    struct piece records[MAX_PIECES];
    struct pnr_live_header header = { .n_chunks = 0 };
    if (size == 0) {
        fuzz_write("live", NULL, 0);
        return;
    }
    int fd = make("live");
    memcpy(&header, bytes, size < sizeof header ? size : sizeof header);
    uint32_t n_chunks = header.n_chunks < PNR_LIVE_MAX_CHUNKS ? header.n_chunks : PNR_LIVE_MAX_CHUNKS;
    size_t n = find_chunks(bytes, size, records), end = n ? records[n - 1].at + records[n - 1].size : size;
    size_t records_at = (PNR_LIVE_PAGE + n_chunks * CHUNK + PNR_LIVE_PAGE - 1) / PNR_LIVE_PAGE * PNR_LIVE_PAGE;
    size_t file_size = records_at + (size_t)n_chunks * PNR_CHUNK_SIZE;
    size_t less = end < size ? (size_t)bytes[size - 1] * PNR_LIVE_PAGE : 0;
    put(fd, &header, size < sizeof header ? size : sizeof header, 0);
    for (size_t k = 0; k < n && k < n_chunks; k++) {
        put(fd, bytes + LIVE_CHUNKS + k * CHUNK, CHUNK, PNR_LIVE_PAGE + k * CHUNK);
        put(fd, bytes + records[k].at, records[k].size < PNR_CHUNK_SIZE ? records[k].size : PNR_CHUNK_SIZE,
            records_at + k * PNR_CHUNK_SIZE);
    }
    if (ftruncate(fd, (off_t)(less < file_size ? file_size - less : 0)) != 0)
        abort();
    close(fd);
}
