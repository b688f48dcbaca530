#include "segments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "../format/capture.h"
#include "../format/file.h"

#define SEGMENT_SIZE (UINT64_C(64) << 20)
#define PARTS 32                        /* a segment is that part of max_size */
#define LAST_PARTS 4                    /* ... and lasts that part of last_ns */
#define SLACK_PARTS 8                   /* that part of max_size is left for name tables to grow in, until the next look */
#define TICK_NS 1000000000
#define LOCK_TRIES 100

/* ---- what is in the capture ---- */

/* Something that can be dropped: a segment that is finished, or a process that has ended. */
struct item {
    char path[PATH_MAX];
    uint64_t size;
    uint64_t end_ns;                    /* CLOCK_MONOTONIC: nothing in it is later */
    size_t order;                       /* of those with the same end: the segments of a process as they are numbered */
    bool is_process;                    /* it goes with all that is left in its directory */
};

struct inventory {
    uint64_t size;                      /* of all that is there and all that is reserved */
    struct item *items;                 /* owned */
    size_t n, capacity;
};

static uint64_t segment_size(const struct rec_limits *limits)
{
    uint64_t part = limits->max_size / PARTS;
    return limits->max_size && part < SEGMENT_SIZE ? part : SEGMENT_SIZE;
}

static uint64_t segment_ns(const struct rec_limits *limits)
{
    return limits->last_ns ? limits->last_ns / LAST_PARTS : UINT64_MAX;
}

static struct item *add_item(struct inventory *inventory)
{
    if (inventory->n == inventory->capacity) {
        size_t capacity = inventory->capacity ? 2 * inventory->capacity : 64;
        struct item *items = realloc(inventory->items, capacity * sizeof *items);
        if (!items)
            return NULL;
        inventory->items = items;
        inventory->capacity = capacity;
    }
    struct item *item = &inventory->items[inventory->n];
    *item = (struct item){ .order = inventory->n++ };
    return item;
}

static uint64_t size_on_disk(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* When the first block of a segment was written, or 0. */
static uint64_t first_block_ns(const char *path)
{
    struct pnr_block_header header;
    struct pnr_err err;
    int fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : pnr_file_read(fd, &header, sizeof header, PNR_BLOCK_PREFIX_SIZE - PNR_BLOCK_HEADER_SIZE);
    if (fd >= 0)
        close(fd);
    return n == sizeof header && pnr_block_header_check(&header, false, 0, &err) == 0 ? header.end.monotonic_ns : 0;
}

/* The live header of a process: whether it may still run, and its latest instant. False when there is no such file. */
static bool look_at_live(const char *process_path, bool *is_running, uint64_t *last_ns)
{
    char path[PATH_MAX];
    struct pnr_live_header header;
    pnr_file_path(process_path, "live", path);
    int fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : pnr_file_read(fd, &header, sizeof header, 0);
    if (fd >= 0)
        close(fd);
    if (n != sizeof header)
        return false;
    *is_running = pnr_live_process(process_path, &header) != PNR_PROCESS_GONE;
    *last_ns = header.instants[header.latest & 1].monotonic_ns;
    return true;
}

/* Adds a process to the inventory. Returns 0 or -1. */
static int look_at_process(struct inventory *inventory, const char *path, const struct rec_limits *limits,
                           struct pnr_err *err)
{
    static char file[PATH_MAX];         /* as in begin */
    uint32_t *numbers;
    size_t n;
    bool is_running = false;
    uint64_t last_ns = 0, before_ns = 0;
    struct item *item;
    if (pnr_capture_segments(path, &numbers, &n, err) != 0)
        return err->sys_errno == ENOENT ? 0 : -1;       /* another process dropped it just now */
    bool has_live = look_at_live(path, &is_running, &last_ns);
    uint64_t rest = 0;
    pnr_file_path(path, "names", file);
    rest += size_on_disk(file);
    pnr_file_path(path, "live", file);
    rest += size_on_disk(file);
    for (size_t i = 0; i < n; i++) {
        pnr_segment_path(path, numbers[i], file);
        uint64_t size = size_on_disk(file), first_ns = first_block_ns(file), end_ns = first_ns;
        bool is_current = is_running && i == n - 1;
        if (is_current && size < segment_size(limits))
            size = segment_size(limits);
        inventory->size += size;
        if (limits->last_ns)
            end_ns = first_ns + segment_ns(limits) + 2 * TICK_NS;
        if (end_ns < before_ns)         /* by damage, or when two threads encoded: the lower goes first */
            end_ns = before_ns;
        before_ns = end_ns;
        if (end_ns > last_ns)
            last_ns = end_ns;
        if (is_current)
            continue;
        if (!(item = add_item(inventory)))
            goto out_of_memory;
        strcpy(item->path, file);
        item->size = size;
        item->end_ns = end_ns;
    }
    inventory->size += rest;
    if (!(has_live && is_running)) {
        if (!(item = add_item(inventory)))
            goto out_of_memory;
        strcpy(item->path, path);
        item->size = rest;
        item->end_ns = last_ns + 1;     /* after its segments */
        item->is_process = true;
    }
    free(numbers);
    return 0;
out_of_memory:
    free(numbers);
    return pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
}

static int by_end(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->end_ns != y->end_ns)
        return x->end_ns < y->end_ns ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int take_inventory(const char *capture_path, const struct rec_limits *limits, struct inventory *inventory,
                          struct pnr_err *err)
{
    struct pnr_list list;
    int result = 0;
    *inventory = (struct inventory){ .size = 0 };
    if (pnr_capture_processes(capture_path, &list, err) != 0)
        return err->code == PNR_E_NOT_CAPTURE ? 0 : -1;
    for (size_t i = 0; i < list.n && result == 0; i++) {
        static char path[PATH_MAX];     /* as in begin */
        pnr_file_path(capture_path, list.names[i], path);
        result = look_at_process(inventory, path, limits, err);
    }
    pnr_list_clear(&list);
    if (inventory->n)
        qsort(inventory->items, inventory->n, sizeof *inventory->items, by_end);
    return result;
}

static void drop(const struct item *item)
{
    char path[PATH_MAX];
    if (!item->is_process) {
        unlink(item->path);
        return;
    }
    /* No reader looks into it any more. */
    char gone[PATH_MAX];
    const char *slash = strrchr(item->path, '/');
    snprintf(gone, sizeof gone, "%.*s/begun-%ld", (int)(slash - item->path), item->path,
             strtol(slash + 1 + strlen("process-"), NULL, 10));
    if (rename(item->path, gone) != 0)
        strcpy(gone, item->path);
    pnr_file_path(gone, "live", path);
    unlink(path);
    pnr_file_path(gone, "names", path);
    unlink(path);
    rmdir(gone);
}

static int no_room(const char *capture_path, struct pnr_err *err)
{
    errno = EDQUOT;
    return pnr_err_system(err, capture_path, "--max-size leaves no room");
}

/* With the lock: drops what is too old, and the oldest of the rest until `need` bytes fit. Returns 0 or -1. */
static int make_room(const char *capture_path, const struct rec_limits *limits, uint64_t need, struct pnr_err *err)
{
    struct inventory inventory;
    uint64_t most = limits->max_size ? limits->max_size - limits->max_size / SLACK_PARTS : UINT64_MAX;
    uint64_t now = rec_clock_monotonic_ns(), oldest = limits->last_ns && now > limits->last_ns ? now - limits->last_ns : 0;
    int result = take_inventory(capture_path, limits, &inventory, err);
    for (size_t i = 0; result == 0 && i < inventory.n; i++) {
        const struct item *item = &inventory.items[i];
        if (item->end_ns >= oldest && inventory.size + need <= most)
            break;
        drop(item);
        inventory.size -= item->size;
    }
    if (result == 0 && inventory.size + need > most)
        result = no_room(capture_path, err);
    free(inventory.items);
    return result;
}

/* Only who has it looks for room and takes it. Returns the lock, -1 when there is nothing to lock, or -2 and fills err.
 * */
static int take_lock(const char *capture_path, const struct rec_limits *limits, struct pnr_err *err)
{
    if (!limits->max_size && !limits->last_ns)
        return -1;
    int lock = pnr_file_open(capture_path, O_RDONLY | O_DIRECTORY);
    if (lock < 0) {
        pnr_err_system(err, capture_path, "cannot look at the capture");
        return -2;
    }
    for (int i = 0; i < LOCK_TRIES && flock(lock, LOCK_EX | LOCK_NB) != 0; i++)
        usleep(1000);                   /* whoever has it may have been stopped: then it goes without */
    return lock;
}

static void give_lock(int lock)
{
    if (lock >= 0)
        close(lock);
}

int rec_segments_make_room(const char *capture_path, const struct rec_limits *limits, uint64_t live_size, int *lock,
                           struct pnr_err *err)
{
    *lock = take_lock(capture_path, limits, err);
    if (*lock >= 0 && make_room(capture_path, limits, live_size + segment_size(limits), err) != 0) {
        give_lock(*lock);
        return -1;
    }
    return *lock == -2 ? -1 : 0;
}

void rec_segments_room_taken(int lock)
{
    give_lock(lock);
}

/* ---- the segment that is written ---- */

static void capture_path_of(const struct rec_segments *segments, char *path)
{
    strcpy(path, segments->process_path);
    *strrchr(path, '/') = 0;
}

/* Begins the segment of that number; the one before is then finished. Returns 0 or -1: nothing has changed. */
static int begin(struct rec_segments *segments, uint32_t number, struct pnr_err *err)
{
    /* The stack may be that of a small thread of the program. One process has one row of segments, and its lock. */
    static char path[PATH_MAX];
    static struct rec_file file, last;
    last = segments->file;
    pnr_segment_path(segments->process_path, number, path);
    if (rec_file_create(&file, segments->process_path, strrchr(path, '/') + 1, err) != 0) {
        if (last.fd < 0 || (err->sys_errno != EMFILE && err->sys_errno != ENFILE))
            return -1;
        rec_file_release(&segments->file);      /* the program has used up all descriptors but this one */
        last.fd = -1;
        if (rec_file_create(&file, segments->process_path, strrchr(path, '/') + 1, err) != 0)
            return -1;
    }
    rec_file_release(&last);
    segments->file = file;
    segments->number = number;
    segments->begun_ns = 0;
    return 0;
}

int rec_segments_start(struct rec_segments *segments, const char *process_path, const struct rec_limits *limits,
                       struct pnr_err *err)
{
    *segments = (struct rec_segments){ .limits = *limits, .file = { .fd = -1 } };
    snprintf(segments->process_path, sizeof segments->process_path, "%s", process_path);
    return begin(segments, 1, err);
}

int rec_segments_roll(struct rec_segments *segments, struct pnr_err *err)
{
    char capture_path[PATH_MAX];
    if (!segments->begun_ns)
        return 0;
    capture_path_of(segments, capture_path);
    int lock = take_lock(capture_path, &segments->limits, err), result = lock == -2 ? -1 : 0;
    if (lock >= 0)
        result = make_room(capture_path, &segments->limits, segment_size(&segments->limits), err);
    if (result == 0)
        result = begin(segments, segments->number + 1, err);
    else if (err->sys_errno == EMFILE || err->sys_errno == ENFILE)
        result = 0;                     /* it cannot be looked at: the segment grows on */
    give_lock(lock);
    return result;
}

int rec_segments_append(struct rec_segments *segments, const void *block, size_t size, uint64_t now_ns,
                        struct pnr_err *err)
{
    bool is_full = (uint64_t)segments->file.size + size > segment_size(&segments->limits);
    if ((is_full || (segments->begun_ns && now_ns - segments->begun_ns >= segment_ns(&segments->limits))) &&
        rec_segments_roll(segments, err) != 0)
        return -1;
    if (rec_file_append(&segments->file, block, size, err) != 0)
        return -1;
    if (!segments->begun_ns)
        segments->begun_ns = now_ns;
    segments->n_bytes += size;
    return 0;
}

int rec_segments_tick(struct rec_segments *segments, uint64_t now_ns, struct pnr_err *err)
{
    if (!segments->limits.last_ns || now_ns - segments->looked_ns < segment_ns(&segments->limits))
        return 0;
    segments->looked_ns = now_ns;
    if (segments->begun_ns && now_ns - segments->begun_ns >= segment_ns(&segments->limits))
        return rec_segments_roll(segments, err);
    char capture_path[PATH_MAX];
    capture_path_of(segments, capture_path);
    int lock = take_lock(capture_path, &segments->limits, err);
    int result = lock < 0 ? -1 : make_room(capture_path, &segments->limits, 0, err);
    give_lock(lock);
    return result;
}

void rec_segments_stop(struct rec_segments *segments)
{
    rec_file_release(&segments->file);
}
