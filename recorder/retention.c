#include "retention.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "tree.h"
#include "../format/array.h"
#include "../format/capture.h"
#include "../format/file.h"

#define SEGMENT_SIZE (UINT64_C(64) << 20)
#define SIZE_SHARE 32                   /* a segment is this part of max_size */
#define LAST_SHARE 4                    /* ... and lasts this part of last_ns */
#define SLACK_SHARE 8                   /* this part of max_size is left for name tables, which grow meanwhile */
#define TICK_NS 1000000000              /* between two calls of rec_segments_tick, at most */
#define MAX_WAIT_MS 100
#define DISK_BLOCK 4096
#define EVICTED "evicted"               /* in a process: a segment that is being removed */

uint64_t rec_retention_segment_size(const struct rec_limits *limits)
{
    uint64_t share = limits->max_size / SIZE_SHARE;
    return limits->max_size && share < SEGMENT_SIZE ? share : SEGMENT_SIZE;
}

uint64_t rec_retention_segment_ns(const struct rec_limits *limits)
{
    return limits->last_ns ? limits->last_ns / LAST_SHARE : UINT64_MAX;
}

uint64_t rec_retention_size_on_disk(uint64_t size)
{
    return (size + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

/* ---- what is in the capture ---- */

/* Something that can be evicted: a segment that is finished, or all that is left of a process that has ended. */
struct item {
    size_t process;                     /* index in the list of processes */
    uint32_t segment;                   /* 0: the process */
    uint64_t size;
    uint64_t end_ns;                    /* CLOCK_MONOTONIC: nothing in it is later */
    size_t order;                       /* of those with the same end: the segments of a process as they are numbered */
};

struct inventory {
    struct pnr_list processes;
    uint64_t size;                      /* of all that is there and all that is reserved */
    struct item *items;                 /* owned */
    size_t n, capacity;
};

/* Adds an item. Returns NULL when out of memory. */
static struct item *add_item(struct inventory *inventory, size_t process, uint32_t segment, const char *path,
                             struct pnr_err *err)
{
    if (pnr_array_reserve(&inventory->items, &inventory->capacity, inventory->n + 1) < 0) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        return NULL;
    }
    struct item *item = &inventory->items[inventory->n];
    *item = (struct item){ .process = process, .segment = segment, .order = inventory->n++ };
    return item;
}

/* Decides what a file that cannot be read means. While the program has used up all descriptors nothing can be known,
 * and the whole inventory fails. A file that is gone or is another user's counts for nothing. Returns 0 or -1. */
static int check_unreadable(const char *path, struct pnr_err *err)
{
    bool is_later = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
    return is_later ? pnr_err_system(err, path, "cannot look at the capture") : 0;
}

/* Reads a part of a file. Gives how many bytes were read: 0 when there is no such file, -1 when it cannot be read.
 * Returns 0 or -1. */
static int read_part(const char *path, void *bytes, size_t size, off_t at, ssize_t *n, struct pnr_err *err)
{
    int fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    *n = fd < 0 && (errno == ENOENT || errno == ELOOP) ? 0 : -1;
    if (fd < 0)
        return check_unreadable(path, err);
    *n = pnr_file_read(fd, bytes, size, at);
    close(fd);
    return 0;
}

/* Gives the end of the first block of a thread's file, or 0. Returns 0 or -1. */
static int first_block_ns(const char *path, uint64_t *ns, struct pnr_err *err)
{
    struct pnr_block_header header;
    struct pnr_err fault;
    ssize_t n;
    *ns = 0;
    if (read_part(path, &header, sizeof header, PNR_BLOCK_PREFIX_SIZE - PNR_BLOCK_HEADER_SIZE, &n, err) != 0)
        return -1;
    if (n == sizeof header && pnr_block_header_check(&header, false, 0, &fault) == 0)
        *ns = header.end.monotonic_ns ? header.end.monotonic_ns : header.begin.monotonic_ns;
    return 0;
}

/* Gives when some block of a segment was written, or 0. Any block will do, because a segment lasts only for
 * rec_retention_segment_ns. Returns 0 or -1. */
static int segment_ns(const char *process_path, uint32_t segment, uint64_t *ns, struct pnr_err *err)
{
    static char path[PATH_MAX];
    uint32_t *threads;
    size_t n;
    int result = 0;
    *ns = 0;
    if (pnr_capture_threads(process_path, segment, &threads, &n, err) != 0)
        return err->sys_errno == ENOENT || err->sys_errno == ENOTDIR ? 0 : -1;
    for (size_t i = 0; i < n && *ns == 0 && result == 0; i++) {
        pnr_thread_path(process_path, segment, threads[i], path);
        result = first_block_ns(path, ns, err);
    }
    free(threads);
    return result;
}

/* Gives whether a process may still run, by its live header, and its latest clock sample. Returns 0 or -1. */
static int read_live(const char *process_path, bool *is_running, uint64_t *last_ns, struct pnr_err *err)
{
    static char path[PATH_MAX];
    struct pnr_live_header header;
    ssize_t n;
    pnr_file_path(process_path, "live", path);
    if (read_part(path, &header, sizeof header, 0, &n, err) != 0)
        return -1;
    *is_running = n < 0;
    *last_ns = 0;
    if (n == sizeof header) {
        *is_running = pnr_live_process(process_path, &header) != PNR_PROCESS_GONE;
        *last_ns = header.clock_samples[header.latest & 1].monotonic_ns;
    }
    return 0;
}

/* Adds what the directory, or file, and all below it take on disk. Returns 0 or -1. */
static int add_size(const char *path, uint64_t *size, struct pnr_err *err)
{
    uint64_t more;
    if (rec_tree_size(path, &more) != 0)
        return check_unreadable(path, err);
    *size += more;
    return 0;
}

/* Gives what a process takes apart from its segments. Its directory counts, too, because there may be very many small
 * processes. Returns 0 or -1. */
static int rest_size(const char *process_path, uint64_t *size, struct pnr_err *err)
{
    static const char *const names[] = { "names", "live", EVICTED };
    static char path[PATH_MAX];
    struct stat st;
    int result = 0;
    *size = lstat(process_path, &st) == 0 ? rec_retention_size_on_disk((uint64_t)st.st_size) : 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && result == 0; i++) {
        pnr_file_path(process_path, names[i], path);
        result = add_size(path, size, err);
    }
    return result;
}

/* Adds a process to the inventory. Returns 0 or -1. */
static int add_process_items(struct inventory *inventory, size_t process, const char *path,
                             const struct rec_limits *limits, struct pnr_err *err)
{
    static char segment_path[PATH_MAX];
    uint32_t *numbers;
    size_t n;
    bool is_running;
    uint64_t rest, last_ns, before_ns = 0;
    struct item *item;
    if (pnr_capture_segments(path, &numbers, &n, err) != 0)
        return err->sys_errno == ENOENT ? 0 : -1;       /* another process evicted it just now */
    if (read_live(path, &is_running, &last_ns, err) != 0 || rest_size(path, &rest, err) != 0)
        goto fail;
    for (size_t i = 0; i < n; i++) {
        uint64_t size = 0, end_ns;
        pnr_segment_path(path, numbers[i], segment_path);
        if (add_size(segment_path, &size, err) != 0 || segment_ns(path, numbers[i], &end_ns, err) != 0)
            goto fail;
        bool is_current = is_running && i == n - 1;
        if (is_current && size < rec_retention_segment_size(limits))
            size = rec_retention_segment_size(limits);
        inventory->size += size;
        if (limits->last_ns)
            end_ns += rec_retention_segment_ns(limits) + 2 * TICK_NS;
        if (end_ns < before_ns)         /* by damage, or two threads encoded: the lower number is evicted first */
            end_ns = before_ns;
        before_ns = end_ns;
        if (end_ns > last_ns)
            last_ns = end_ns;
        if (is_current)
            continue;
        if (!(item = add_item(inventory, process, numbers[i], path, err)))
            goto fail;
        item->size = size;
        item->end_ns = end_ns;
    }
    inventory->size += rest;
    if (!is_running) {
        if (!(item = add_item(inventory, process, 0, path, err)))
            goto fail;
        item->size = rest;
        item->end_ns = last_ns + 1;     /* after its segments */
    }
    free(numbers);
    return 0;
fail:
    free(numbers);
    return -1;
}

static int by_end(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->end_ns != y->end_ns)
        return x->end_ns < y->end_ns ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static void clear_inventory(struct inventory *inventory)
{
    pnr_list_clear(&inventory->processes);
    free(inventory->items);
}

/* Removes what is left of processes that were ended while they started. Adds what those take that are starting now, if
 * size is not NULL. Returns 0 or -1. */
static int clear_partial(const char *capture_path, uint64_t *size, struct pnr_err *err)
{
    char path[PATH_MAX];
    struct dirent *entry;
    enum pnr_process_state state;
    int result = 0;
    DIR *dir = opendir(capture_path);
    if (!dir)
        return check_unreadable(capture_path, err);
    while (result == 0 && (entry = readdir(dir))) {
        if (!pnr_capture_is_partial(entry->d_name, &state))
            continue;
        pnr_file_path(capture_path, entry->d_name, path);
        if (state == PNR_PROCESS_GONE)
            rec_tree_remove(path);
        else if (size)
            result = add_size(path, size, err);
    }
    closedir(dir);
    return result;
}

void rec_retention_remove_waste(const char *capture_path)
{
    struct pnr_err err;
    clear_partial(capture_path, NULL, &err);
}

/* Gives the inventory, which the caller clears. Returns 0 or -1. */
static int take_inventory(const char *capture_path, const struct rec_limits *limits, struct inventory *inventory,
                          struct pnr_err *err)
{
    static char path[PATH_MAX];
    *inventory = (struct inventory){ 0 };
    int result = clear_partial(capture_path, &inventory->size, err);
    if (result != 0)
        return -1;
    if (pnr_capture_processes(capture_path, &inventory->processes, err) != 0)
        return err->code == PNR_E_NOT_CAPTURE ? 0 : -1;
    for (size_t i = 0; i < inventory->processes.n && result == 0; i++) {
        pnr_file_path(capture_path, inventory->processes.names[i], path);
        result = add_process_items(inventory, i, path, limits, err);
    }
    return result;
}

/* Takes a segment out of the capture in one step, and then removes it. If the process is killed in between, the rest
 * is no part of the capture, and is removed before the next segment is evicted. Returns whether the segment is gone. */
static bool evict_segment(const char *process_path, uint32_t segment)
{
    static char from[PATH_MAX], to[PATH_MAX];
    pnr_segment_path(process_path, segment, from);
    pnr_file_path(process_path, EVICTED, to);
    if (rename(from, to) != 0) {
        rec_tree_remove(to);
        if (rename(from, to) != 0)
            return errno == ENOENT;
    }
    rec_tree_remove(to);
    return true;
}

/* Takes a process out of the capture in one step, and then removes it. If this process is killed in between, the
 * rest is removed as that of a process that was ended while it started. Returns whether the process is gone. */
static bool evict_process(const char *capture_path, const char *process_path)
{
    static char waste[PATH_MAX];
    struct pnr_err err;
    if (pnr_capture_make_partial(capture_path, waste, sizeof waste, &err) != 0)
        return false;
    bool is_gone = rename(process_path, waste) == 0 || errno == ENOENT;
    rec_tree_remove(waste);
    return is_gone;
}

/* Returns whether the item is gone. */
static bool evict_item(const char *capture_path, const struct inventory *inventory, const struct item *item)
{
    static char process_path[PATH_MAX];
    pnr_file_path(capture_path, inventory->processes.names[item->process], process_path);
    return item->segment ? evict_segment(process_path, item->segment) : evict_process(capture_path, process_path);
}

static int report_full(const char *capture_path, struct pnr_err *err)
{
    errno = EDQUOT;
    return pnr_err_system(err, capture_path, "--max-size leaves no room");
}

/* Evicts what is too old, and the oldest of the rest until `size` more bytes fit. Returns 0 or -1. */
static int evict_oldest(const char *capture_path, struct inventory *inventory, const struct rec_limits *limits,
                        uint64_t size, struct pnr_err *err)
{
    uint64_t max = limits->max_size ? limits->max_size - limits->max_size / SLACK_SHARE : UINT64_MAX;
    uint64_t now = rec_clock_monotonic_ns();
    uint64_t oldest = limits->last_ns && now > limits->last_ns ? now - limits->last_ns : 0;
    if (inventory->n)
        qsort(inventory->items, inventory->n, sizeof *inventory->items, by_end);
    for (size_t i = 0; i < inventory->n; i++) {
        const struct item *item = &inventory->items[i];
        if (item->end_ns >= oldest && inventory->size + size <= max)
            break;
        if (evict_item(capture_path, inventory, item))
            inventory->size -= item->size < inventory->size ? item->size : inventory->size;
    }
    return inventory->size + size > max ? report_full(capture_path, err) : 0;
}

/* Evicts in the whole capture, as evict_oldest does. With the lock. Returns 0 or -1. */
static int evict_in_capture(const char *capture_path, const struct rec_limits *limits, uint64_t size,
                            struct pnr_err *err)
{
    struct inventory inventory;
    int result = take_inventory(capture_path, limits, &inventory, err);
    if (result == 0)
        result = evict_oldest(capture_path, &inventory, limits, size, err);
    clear_inventory(&inventory);
    return result;
}

int rec_retention_trim(const char *process_path, const struct rec_limits *limits, uint64_t size, struct pnr_err *err)
{
    static char capture_path[PATH_MAX];
    strcpy(capture_path, process_path);
    char *slash = strrchr(capture_path, '/'), *name = slash + 1;
    *slash = 0;
    struct inventory inventory = { .processes = { &name, 1 } };         /* borrowed */
    int result = add_process_items(&inventory, 0, process_path, limits, err);
    if (result == 0)
        result = evict_oldest(capture_path, &inventory, limits, size, err);
    free(inventory.items);
    return result;
}

bool rec_retention_is_shared(const char *capture_path)
{
    static char path[PATH_MAX];
    struct dirent *entry;
    struct stat st;
    bool is_shared = false;
    DIR *dir = opendir(capture_path);
    while (dir && !is_shared && (entry = readdir(dir))) {
        pnr_file_path(capture_path, entry->d_name, path);
        is_shared = *entry->d_name != '.' && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid != geteuid();
    }
    if (dir)
        closedir(dir);
    return is_shared;
}

/* ---- the lock ---- */

/* Locks; waits so many ms at most. Returns whether it is locked. */
static bool lock_within(int fd, int max_wait_ms)
{
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i >= max_wait_ms)
            return false;
        usleep(1000);
    }
    return true;
}

static int open_lock(const char *capture_path)
{
    return rec_file_move_up(pnr_file_open(capture_path, O_RDONLY | O_DIRECTORY));
}

int rec_retention_lock(const char *capture_path, int max_wait_ms)
{
    int lock = open_lock(capture_path);
    if (lock >= 0 && !lock_within(lock, max_wait_ms)) {
        close(lock);
        lock = -1;
    }
    return lock;
}

int rec_retention_reserve(const char *capture_path, const struct rec_limits *limits, uint64_t size, int *lock,
                          struct pnr_err *err)
{
    *lock = -1;
    if (!limits->max_size && !limits->last_ns)
        return 0;
    *lock = open_lock(capture_path);
    if (*lock < 0)
        return pnr_err_system(err, capture_path, "cannot look at the capture");
    lock_within(*lock, MAX_WAIT_MS);    /* a process that has it may have been stopped: then without */
    if (evict_in_capture(capture_path, limits, size, err) == 0)
        return 0;
    rec_retention_release(*lock);
    *lock = -1;
    return -1;
}

void rec_retention_release(int lock)
{
    struct stat st;
    if (lock < 0 || fstat(lock, &st) != 0 || !S_ISDIR(st.st_mode))
        return;                         /* the program has closed it, and may have opened a file of its own */
    flock(lock, LOCK_UN);               /* closing is not enough: a child forked meanwhile has the descriptor, too */
    close(lock);
}
