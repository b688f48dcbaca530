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

#define PERIOD_NS UINT64_C(2000000000)  /* between two looks */
#define COST_PARTS 50                   /* a look takes no more than that part of the time */

/* A chunk in which there are records. */
struct left {
    uint32_t chunk;
    struct pnr_block_header header;
    bool is_written;                    /* its block is in a file */
};

/* A process that is being finished. */
struct dead {
    char path[PATH_MAX];
    struct pnr_live live;
    struct left *left;                  /* owned, by thread and sequence */
    size_t n_left;
    uint32_t segment;                   /* the last one */
    struct rec_segments segments;
    struct pnr_block_coder *coder;      /* owned, like the next two */
    unsigned char *data;
    struct pnr_record *records;
    uint64_t n_events;
};

static int by_block(const void *a, const void *b)
{
    const struct pnr_block_header *x = &((const struct left *)a)->header, *y = &((const struct left *)b)->header;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Lists the chunks in use. False when one of them is damaged, or out of memory. */
static bool list_chunks(struct dead *dead)
{
    const struct pnr_live_header *header = dead->live.header;
    struct pnr_err err;
    if (!(dead->left = calloc(header->n_chunks, sizeof *dead->left)))
        return false;
    for (uint32_t k = 0; k < header->n_chunks; k++) {
        const struct pnr_live_chunk *chunk = &dead->live.chunks[k];
        if (chunk->state == PNR_CHUNK_FREE)
            continue;
        if (chunk->state != PNR_CHUNK_IN_USE || pnr_block_header_check(&chunk->block, true, 0, &err) != 0)
            return false;
        dead->left[dead->n_left++] = (struct left){ .chunk = k, .header = chunk->block };
    }
    if (dead->n_left)
        qsort(dead->left, dead->n_left, sizeof *dead->left, by_block);
    return true;
}

/* Finds the last segment. False when it cannot be told which it was. */
static bool find_segment(struct dead *dead)
{
    struct pnr_err err;
    uint32_t *numbers;
    size_t n;
    if (pnr_capture_segments(dead->path, &numbers, &n, &err) != 0)
        return false;
    dead->segment = n ? numbers[n - 1] : 1;
    free(numbers);
    for (size_t i = 0; i < dead->n_left && n == 0; i++)
        if (dead->left[i].header.sequence > 0)
            return false;               /* all segments were evicted */
    return true;
}

static struct left *find_left(struct dead *dead, const struct pnr_block_header *header)
{
    struct left key = { .header = *header };
    return dead->n_left ? bsearch(&key, dead->left, dead->n_left, sizeof key, by_block) : NULL;
}

/* True when the data of the block at that place is what its header says. */
static bool is_whole(struct dead *dead, int fd, const struct pnr_block_header *header, off_t at)
{
    struct pnr_err err;
    return pnr_file_read(fd, dead->data, header->data_size, at + PNR_BLOCK_PREFIX_SIZE) == (ssize_t)header->data_size &&
           pnr_block_decode(dead->coder, header, dead->data, dead->records, &err) == 0;
}

/* Looks which blocks of the chunks are in the file, and cuts off one that is there in part. False when there is something
 * else that is not whole: then the reader tells of it, and the chunks stay. */
static bool check_file(struct dead *dead, uint32_t thread)
{
    char path[PATH_MAX];
    struct pnr_block_header header;
    struct pnr_err err;
    struct stat st;
    off_t at = 0;
    pnr_thread_path(dead->path, dead->segment, thread, path);
    int fd = pnr_file_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT;
    bool is_ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode), is_torn = false;
    while (is_ok && !is_torn && at < st.st_size) {
        struct left *left = NULL;
        if (st.st_size - at < PNR_BLOCK_PREFIX_SIZE) {
            is_torn = true;
            break;
        }
        off_t header_at = at + PNR_BLOCK_PREFIX_SIZE - PNR_BLOCK_HEADER_SIZE;
        is_ok = pnr_file_read(fd, &header, sizeof header, header_at) == sizeof header &&
                pnr_block_header_check(&header, false, 0, &err) == 0;
        off_t end = at + PNR_BLOCK_PREFIX_SIZE + (off_t)header.data_size;
        left = is_ok ? find_left(dead, &header) : NULL;
        if (is_ok && end > st.st_size) {
            is_torn = true;
            is_ok = left != NULL;
            break;
        }
        if (left) {
            is_ok = is_whole(dead, fd, &header, at);
            left->is_written = true;
        }
        at = end;
    }
    if (is_ok && is_torn)
        is_ok = ftruncate(fd, at) == 0;
    close(fd);
    return is_ok;
}

static bool check_files(struct dead *dead)
{
    bool is_ok = check_file(dead, PNR_SHORT_THREADS);
    for (size_t i = 0; i < dead->n_left && is_ok; i++)
        if (i == 0 || dead->left[i].header.thread != dead->left[i - 1].header.thread)
            is_ok = check_file(dead, dead->left[i].header.thread);
    return is_ok;
}

/* Appends the block of a chunk. Returns 0 or -1. */
static int write_chunk(struct dead *dead, const struct left *left, struct pnr_err *err)
{
    struct pnr_live_chunk chunk;
    struct pnr_block_header header = left->header;
    const struct pnr_instant *last = &dead->live.header->instants[dead->live.header->latest & 1];
    size_t size;
    int n = pnr_live_read(&dead->live, left->chunk, &chunk, dead->records);
    if (n < 0)
        return -1;
    if (n == 0 || (uint32_t)n < header.n_open)
        return 0;                       /* it was ended before there was an event */
    header.n_records = (uint32_t)n;
    header.tick_shift = rec_clock_tick_shift();
    uint64_t last_ticks = header.begin.ticks + pnr_record_ticks(dead->records[n - 1]);
    header.end = last->ticks >= last_ticks ? *last : (struct pnr_instant){ 0 };
    const void *block = pnr_block_encode(dead->coder, &header, dead->records, &size);
    if (!block)
        return -1;
    dead->n_events += (uint32_t)n - header.n_open;
    return rec_segments_append(&dead->segments, &header, block, size, rec_clock_monotonic_ns(), err);
}

/* Cuts off an entry that is there in part, and appends what is known of the end. Returns 0 or -1. */
static int write_facts(struct dead *dead, struct pnr_err *err)
{
    char path[PATH_MAX];
    struct rec_file names;
    size_t size;
    const struct pnr_live_header *live = dead->live.header;
    pnr_file_path(dead->path, "names", path);
    unsigned char *bytes = rec_names_read(path, &size, err);
    if (!bytes || rec_file_open(&names, dead->path, "names", err) != 0) {
        free(bytes);
        return -1;
    }
    free(bytes);
    int result = 0;
    if ((uint64_t)names.size > size) {
        result = truncate(path, (off_t)size);
        names.size = (off_t)size;
    }
    if (result == 0)
        result = rec_names_append_number(&names, "events", live->n_events + dead->n_events, err);
    if (result == 0)
        result = rec_names_append_instant(&names, "killed", live->instants[live->latest & 1], err);
    rec_file_release(&names);
    return result;
}

static void finish(struct dead *dead)
{
    struct pnr_err err;
    int result = list_chunks(dead) && find_segment(dead) && check_files(dead) ? 0 : -1;
    if (result == 0)
        result = rec_segments_start(&dead->segments, dead->path, dead->segment, &(struct rec_limits){ 0 }, &err);
    for (size_t i = 0; i < dead->n_left && result == 0; i++)
        if (!dead->left[i].is_written)
            result = write_chunk(dead, &dead->left[i], &err);
    rec_segments_stop(&dead->segments);
    if (result == 0)
        result = write_facts(dead, &err);
    pnr_live_close(&dead->live, dead->path, result == 0);
}

/* With the lock of the capture: finishes a process, if it does not run any more and has a live mapping. */
static void finish_process(const char *path)
{
    struct pnr_err err;
    struct dead *dead = calloc(1, sizeof *dead);
    if (!dead)
        return;
    snprintf(dead->path, sizeof dead->path, "%s", path);
    if (pnr_live_open(path, &dead->live, &err) > 0) {
        dead->coder = pnr_block_coder_new();
        dead->data = malloc(pnr_block_data_bound());
        dead->records = malloc(PNR_BLOCK_RECORDS * sizeof *dead->records);
        bool is_gone = pnr_live_process(path, dead->live.header) == PNR_PROCESS_GONE;
        if (is_gone && dead->coder && dead->data && dead->records)
            finish(dead);
        else
            pnr_live_close(&dead->live, path, false);
    }
    free(dead->records);
    free(dead->data);
    pnr_block_coder_free(dead->coder);
    free(dead->left);
    free(dead);
}

void rec_finish_all(const char *capture_path, int max_wait_ms)
{
    char path[PATH_MAX];
    struct pnr_list list;
    struct pnr_err err;
    int lock = rec_retention_lock(capture_path, max_wait_ms);
    if (lock < 0)
        return;
    rec_retention_remove_waste(capture_path);
    if (pnr_capture_processes(capture_path, &list, &err) == 0) {
        for (size_t i = 0; i < list.n; i++) {
            pnr_file_path(capture_path, list.names[i], path);
            finish_process(path);
        }
        pnr_list_clear(&list);
    }
    rec_retention_release(lock);
}

/* The directory's time of last access says when one of the processes looked last. True when that is long enough ago; then
 * this one looks. */
static bool takes_turn(const char *capture_path)
{
    struct stat st;
    struct timespec now, times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };
    clock_gettime(CLOCK_REALTIME, &now);
    if (stat(capture_path, &st) != 0)
        return false;
    int64_t age = ((int64_t)now.tv_sec - st.st_atim.tv_sec) * 1000000000 + now.tv_nsec - st.st_atim.tv_nsec;
    return (age < 0 || age >= (int64_t)PERIOD_NS) && utimensat(AT_FDCWD, capture_path, times, 0) == 0;
}

void rec_finish_tick(const char *capture_path, uint64_t now_ns, uint64_t *next_ns)
{
    if (now_ns < *next_ns)
        return;
    if (takes_turn(capture_path))
        rec_finish_all(capture_path, 0);
    uint64_t pause_ns = (rec_clock_monotonic_ns() - now_ns) * COST_PARTS;
    *next_ns = now_ns + (pause_ns > PERIOD_NS ? pause_ns : PERIOD_NS);
}
