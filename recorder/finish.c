#include "finish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "names.h"
#include "retention.h"
#include "segments.h"
#include "../format/capture.h"
#include "../format/file.h"

#define TIME_SHARE 50                   /* checks take at most this part of the time */

/* A chunk in which there are records. */
struct left {
    uint32_t chunk;
    struct pnr_block_header header;
    uint64_t n_events_then;             /* of the process, with this block; 0: it has not counted this block */
    bool is_written;                    /* its block is in a file */
};

/* A process that is being finished. */
struct dead {
    char path[PATH_MAX];
    bool (*is_needed)(void);            /* or NULL */
    struct pnr_live live;
    struct stat live_was;               /* its file */
    struct left *left;                  /* owned, by thread and sequence */
    size_t n_left;
    uint32_t segment;                   /* the last one */
    off_t names_size;                   /* up to the end of the last whole entry */
    bool has_properties;                /* of its end */
    struct rec_segments segments;
    struct pnr_block_coder *coder;      /* owned, like the next two */
    unsigned char *data;
    struct pnr_record *records;
    uint64_t n_events;                  /* that it recorded */
};

/* ---- what a process left ---- */

static int by_thread_and_sequence(const void *a, const void *b)
{
    const struct pnr_block_header *x = &((const struct left *)a)->header, *y = &((const struct left *)b)->header;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Lists the chunks in use. Returns false when one of them is damaged, or out of memory. */
static bool list_chunks(struct dead *dead)
{
    const struct pnr_live_header *header = dead->live.header;
    struct pnr_err err;
    dead->n_events = header->n_events;
    if (!(dead->left = calloc(header->n_chunks, sizeof *dead->left)))
        return false;
    for (uint32_t k = 0; k < header->n_chunks; k++) {
        const struct pnr_live_chunk *chunk = &dead->live.chunks[k];
        if (chunk->state == PNR_CHUNK_FREE)
            continue;
        if (chunk->state != PNR_CHUNK_IN_USE || pnr_block_header_check(&chunk->block, true, 0, &err) != 0)
            return false;
        dead->left[dead->n_left++] = (struct left){ k, chunk->block, chunk->n_events, false };
        if (chunk->n_events > dead->n_events)
            dead->n_events = chunk->n_events;
    }
    if (dead->n_left)
        qsort(dead->left, dead->n_left, sizeof *dead->left, by_thread_and_sequence);
    for (size_t i = 1; i < dead->n_left; i++)
        if (by_thread_and_sequence(&dead->left[i - 1], &dead->left[i]) == 0)
            return false;
    return true;
}

/* Counts the events of a block, in dead->records, unless its process has counted them. */
static void count_left_events(struct dead *dead, const struct left *left, uint32_t n)
{
    for (uint32_t i = 0; i < n && left->n_events_then == 0; i++)
        dead->n_events += pnr_kind_is_event(pnr_record_kind(dead->records[i]));
}

/* Finds the last segment. Returns false when it is not known which it was: all have been evicted. */
static bool find_last_segment(struct dead *dead)
{
    struct pnr_err err;
    uint32_t *numbers;
    size_t n;
    if (pnr_capture_segments(dead->path, &numbers, &n, &err) != 0)
        return false;
    dead->segment = n ? numbers[n - 1] : 1;
    free(numbers);
    bool are_evicted = n == 0 && dead->live.header->n_events > 0;
    for (size_t i = 0; i < dead->n_left && n == 0; i++)
        are_evicted |= dead->left[i].header.sequence > 0;
    return !are_evicted;
}

static bool is_property_key(const struct pnr_name *name, const char *key)
{
    return name->type == PNR_NAME_PROPERTY && name->strings[0].size == strlen(key) &&
           memcmp(name->strings[0].bytes, key, strlen(key)) == 0;
}

/* Reads the name table. Returns false when it is damaged, except for a torn last entry: what is appended would not
 * be read. */
static bool check_names(struct dead *dead)
{
    char path[PATH_MAX];
    struct pnr_name name;
    struct pnr_err err;
    size_t size, at = PNR_NAMES_HEADER_SIZE;
    int result = -1;
    pnr_file_path(dead->path, "names", path);
    unsigned char *bytes = rec_names_read(path, &size, &err);
    if (bytes && pnr_names_header_check(bytes, size, &err) == 0)
        while ((result = pnr_name_decode(bytes, size, &at, &name, &err)) > 0)
            dead->has_properties |= is_property_key(&name, "end_ticks") || is_property_key(&name, "killed_realtime_ns");
    free(bytes);
    dead->names_size = (off_t)size;
    return result == 0;
}

static struct left *find_left_chunk(struct dead *dead, const struct pnr_block_header *header)
{
    struct left key = { .header = *header };
    return dead->n_left ? bsearch(&key, dead->left, dead->n_left, sizeof key, by_thread_and_sequence) : NULL;
}

/* Reads the header of the block at that place, of which there is enough. Returns whether there is one. */
static bool read_header(int fd, off_t at, struct pnr_block_header *header)
{
    struct { uint32_t skippable[2]; struct pnr_block_header header; } prefix;
    struct pnr_err err;
    if (pnr_file_read(fd, &prefix, sizeof prefix, at) != sizeof prefix)
        return false;
    *header = prefix.header;
    return prefix.skippable[0] == PNR_BLOCK_SKIPPABLE && prefix.skippable[1] == PNR_BLOCK_HEADER_SIZE &&
           pnr_block_header_check(header, false, 0, &err) == 0;
}

/* True when the data of the block at that place is what its header says. Then dead->records are its. */
static bool is_block_whole(struct dead *dead, int fd, const struct pnr_block_header *header, off_t at)
{
    struct pnr_err err;
    return pnr_file_read(fd, dead->data, header->data_size, at + PNR_BLOCK_PREFIX_SIZE) == (ssize_t)header->data_size &&
           pnr_block_decode(dead->coder, header, dead->data, dead->records, &err) == 0;
}

/* Finds which blocks of the chunks are in a file of that size. Gives where the last whole one ends. Returns false for
 * damage that no kill explains: a block that is cut off must be one of the chunks'. */
static bool check_blocks(struct dead *dead, uint32_t thread, int fd, off_t size, off_t *end)
{
    struct pnr_block_header header;
    for (*end = 0; size - *end >= PNR_BLOCK_PREFIX_SIZE;) {
        if (!read_header(fd, *end, &header) || (thread != PNR_SHORT_THREADS && header.thread != thread))
            return false;
        off_t next = *end + PNR_BLOCK_PREFIX_SIZE + (off_t)header.data_size;
        struct left *left = find_left_chunk(dead, &header);
        if (next > size)
            return left != NULL;
        if (left && !is_block_whole(dead, fd, &header, *end))
            return false;
        if (left && !left->is_written)
            count_left_events(dead, left, header.n_records);
        if (left)
            left->is_written = true;
        *end = next;
    }
    return true;
}

/* Checks the file of a thread, if it is there, and cuts off a block that is there in part. The program may close the
 * descriptor meanwhile and open another file under its number: what was read counts only if the file is the same
 * after it. */
static bool check_file(struct dead *dead, uint32_t thread)
{
    char path[PATH_MAX];
    struct stat st;
    off_t end = 0;
    pnr_thread_path(dead->path, dead->segment, thread, path);
    int fd = rec_file_move_up(pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    if (fd < 0)
        return errno == ENOENT;
    bool is_ok = lstat(path, &st) == 0 && S_ISREG(st.st_mode) && check_blocks(dead, thread, fd, st.st_size, &end);
    bool is_still = rec_file_is_still(fd, &st);
    if (is_still)
        close(fd);
    return is_ok && is_still && (end == st.st_size || rec_file_cut(path, &st, end) == 0);
}

static bool check_files(struct dead *dead)
{
    bool is_ok = check_file(dead, PNR_SHORT_THREADS);
    for (size_t i = 0; i < dead->n_left && is_ok; i++)
        if (i == 0 || dead->left[i].header.thread != dead->left[i - 1].header.thread)
            is_ok = check_file(dead, dead->left[i].header.thread);
    return is_ok;
}

/* ---- what is written ---- */

/* True when the live file that was opened is still the process's. */
static bool has_live_still(const struct dead *dead)
{
    char path[PATH_MAX];
    struct stat st;
    pnr_file_path(dead->path, "live", path);
    return rec_file_is_still(dead->live.fd, &dead->live_was) && lstat(path, &st) == 0 &&
           st.st_dev == dead->live_was.st_dev && st.st_ino == dead->live_was.st_ino;
}

/* Appends the block of a chunk. Returns 0 or -1. */
static int write_left_chunk(struct dead *dead, const struct left *left, struct pnr_err *err)
{
    struct pnr_live_chunk chunk;
    struct pnr_block_header header = left->header;
    const struct pnr_clock_sample *last = &dead->live.header->clock_samples[dead->live.header->latest & 1];
    size_t size;
    int n = pnr_live_read(&dead->live, left->chunk, &chunk, dead->records);
    if (n < 0 || chunk.block.check != header.check || !has_live_still(dead))
        return -1;
    if (n == 0 || (uint32_t)n < header.n_open)
        return 0;                       /* the process was ended before the block's first event */
    header.n_records = (uint32_t)n;
    header.tick_shift = rec_clock_tick_shift();
    uint64_t last_ticks = header.begin.ticks + pnr_record_ticks(dead->records[n - 1]);
    header.end = last->ticks >= last_ticks ? *last : (struct pnr_clock_sample){ 0 };
    const void *block = pnr_block_encode(dead->coder, &header, dead->records, &size);
    if (!block)
        return -1;
    count_left_events(dead, left, (uint32_t)n);
    return rec_segments_append(&dead->segments, &header, block, size, rec_clock_monotonic_ns(), err);
}

/* Appends the blocks that are in no file yet, at least one of them. Returns 0, or -1, also when it has broken off. */
static int write_left_chunks(struct dead *dead, struct pnr_err *err)
{
    int result = rec_segments_start(&dead->segments, dead->path, dead->segment, &(struct rec_limits){ 0 }, err);
    for (size_t i = 0; i < dead->n_left && result == 0; i++) {
        if (dead->left[i].is_written)
            continue;
        result = write_left_chunk(dead, &dead->left[i], err);
        if (result == 0 && dead->is_needed && dead->is_needed())
            result = -1;
    }
    rec_segments_stop(&dead->segments);
    return result;
}

/* Cuts off an entry that is there in part, and appends the properties of the end. Returns 0 or -1. */
static int append_killed(struct dead *dead, struct pnr_err *err)
{
    struct rec_file names;
    const struct pnr_live_header *live = dead->live.header;
    if (dead->has_properties)
        return 0;
    if (rec_file_open(&names, dead->path, "names", err) != 0)
        return -1;
    struct stat was = { .st_dev = names.device, .st_ino = names.inode };
    int result = names.size == dead->names_size ? 0 : rec_file_cut(names.path, &was, dead->names_size);
    names.size = dead->names_size;
    if (result == 0)
        result = rec_names_append_number(&names, "events", dead->n_events, err);
    if (result == 0)
        result = rec_names_append_clock_sample(&names, "killed", live->clock_samples[live->latest & 1], err);
    rec_file_release(&names);
    return result;
}

/* Returns whether the process is finished, so that its live mapping can be removed. */
static bool finish_dead(struct dead *dead)
{
    struct pnr_err err;
    return list_chunks(dead) && find_last_segment(dead) && check_names(dead) && check_files(dead) &&
           write_left_chunks(dead, &err) == 0 && append_killed(dead, &err) == 0 && has_live_still(dead);
}

/* ---- which processes ---- */

/* True when the program has ended whose live header this is. It may be an earlier program of this very process,
 * which has called exec since. */
static bool has_ended(const char *path, const struct pnr_live_header *header)
{
    long pid;
    enum pnr_process_state state = pnr_live_process(path, header);
    if (state != PNR_PROCESS_RUNS)
        return state == PNR_PROCESS_GONE;
    return sscanf(strrchr(path, '/') + 1, "process-%ld", &pid) == 1 && pid == (long)getpid();
}

/* True when a process has ended and has left a live mapping. */
static bool has_ended_with_live(const char *path)
{
    struct pnr_live live;
    struct pnr_err err;
    if (pnr_live_open(path, &live, &err) <= 0)
        return false;
    bool is = has_ended(path, live.header);
    pnr_live_close(&live, path, false);
    return is;
}

/* Opens the live mapping. Returns whether it is that of a process that has ended. */
static bool open_live(struct dead *dead)
{
    char path[PATH_MAX];
    struct pnr_err err;
    if (pnr_live_open(dead->path, &dead->live, &err) <= 0)
        return false;
    dead->live.fd = rec_file_move_up(dead->live.fd);
    pnr_file_path(dead->path, "live", path);
    return lstat(path, &dead->live_was) == 0 && has_live_still(dead) && has_ended(dead->path, dead->live.header);
}

static void close_live(struct dead *dead, bool remove)
{
    if (!dead->live.header)
        return;
    if (!rec_file_is_still(dead->live.fd, &dead->live_was))
        dead->live.fd = -1;             /* the program has closed the descriptor */
    pnr_live_close(&dead->live, dead->path, remove);
}

/* Finishes a process, with the lock of the capture. */
static void finish_process(const char *path, bool (*is_needed)(void))
{
    struct dead *dead = calloc(1, sizeof *dead);
    if (!dead)
        return;
    strcpy(dead->path, path);
    dead->is_needed = is_needed;
    dead->coder = pnr_block_coder_new();
    dead->data = malloc(pnr_block_data_bound());
    dead->records = malloc(PNR_BLOCK_RECORDS * sizeof *dead->records);
    bool has_memory = dead->coder && dead->data && dead->records;
    close_live(dead, has_memory && open_live(dead) && finish_dead(dead));
    free(dead->records);
    free(dead->data);
    pnr_block_coder_free(dead->coder);
    free(dead->left);
    free(dead);
}

/* Finishes all processes but the caller's own, whose name in the capture is `own`, or NULL. The lock is held for one
 * process at a time, because others wait for it to reserve space. */
static void finish_others(const char *capture_path, const char *own, int max_wait_ms, bool (*is_needed)(void))
{
    char path[PATH_MAX];
    struct pnr_list list;
    struct pnr_err err;
    rec_retention_remove_waste(capture_path);
    if (pnr_capture_processes(capture_path, &list, &err) != 0)
        return;
    for (size_t i = 0; i < list.n && !(is_needed && is_needed()); i++) {
        pnr_file_path(capture_path, list.names[i], path);
        if ((own && strcmp(list.names[i], own) == 0) || !has_ended_with_live(path))
            continue;
        int lock = rec_retention_lock(capture_path, max_wait_ms);
        if (lock < 0)
            break;
        finish_process(path, is_needed);
        rec_retention_release(lock);
    }
    pnr_list_clear(&list);
}

void rec_finish_all(const char *capture_path, int max_wait_ms)
{
    finish_others(capture_path, NULL, max_wait_ms, NULL);
}

/* True when the last check by any process is long enough ago; then this process makes the next one. The time of the
 * last check is the access time of the capture's directory. */
static bool claims_check(const char *capture_path)
{
    struct stat st;
    struct timespec now, times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };
    clock_gettime(CLOCK_REALTIME, &now);
    if (stat(capture_path, &st) != 0)
        return false;
    int64_t age = ((int64_t)now.tv_sec - st.st_atim.tv_sec) * 1000000000 + now.tv_nsec - st.st_atim.tv_nsec;
    return (age < 0 || age >= (int64_t)REC_FINISH_PERIOD_NS) && utimensat(AT_FDCWD, capture_path, times, 0) == 0;
}

void rec_finish_tick(const char *process_path, uint64_t now_ns, bool (*is_needed)(void), uint64_t *next_ns)
{
    if (now_ns < *next_ns)
        return;
    char capture_path[PATH_MAX];
    strcpy(capture_path, process_path);
    char *own = strrchr(capture_path, '/');
    *own++ = 0;
    if (claims_check(capture_path))
        finish_others(capture_path, own, 0, is_needed);
    uint64_t pause_ns = (rec_clock_monotonic_ns() - now_ns) * TIME_SHARE;
    *next_ns = now_ns + (pause_ns > REC_FINISH_PERIOD_NS ? pause_ns : REC_FINISH_PERIOD_NS);
}
