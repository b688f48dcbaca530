#include "segments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "tree.h"
#include "../format/capture.h"
#include "../format/file.h"

#define SHARED_NS 1000000000            /* how often root keeps the limits for processes of other users */

/* Returns the path of the capture that the process is in, valid until the next path is made. */
static const char *capture_path(struct rec_segments *segments)
{
    strcpy(segments->path, segments->process_path);
    *strrchr(segments->path, '/') = 0;
    return segments->path;
}

/* ---- files ---- */

static bool lacks_descriptors(const struct pnr_err *err)
{
    return err->sys_errno == EMFILE || err->sys_errno == ENFILE;
}

static void release_file(struct rec_thread_file *file)
{
    if (file->used)
        rec_file_release(&file->file);
    file->used = 0;
}

static void release_files(struct rec_segments *segments)
{
    for (int i = 0; i < REC_SEGMENTS_OPEN_FILES; i++)
        release_file(&segments->files[i]);
}

void rec_segments_hold(struct rec_segments *segments)
{
    if (rec_file_is_still(segments->directory, &segments->directory_was))
        return;
    segments->directory = rec_file_move_up(pnr_file_open(segments->process_path, O_PATH | O_DIRECTORY));
    if (segments->directory >= 0)
        fstat(segments->directory, &segments->directory_was);
}

static void close_directory(struct rec_segments *segments)
{
    if (rec_file_is_still(segments->directory, &segments->directory_was))
        close(segments->directory);
    segments->directory = -1;
}

/* Returns the beginning of paths below the process's directory, and gives the directory that they are relative to:
 * "." and the open directory; or, when it is not open, the process's path. */
static const char *path_prefix(const struct rec_segments *segments, int *above)
{
    bool is_open = rec_file_is_still(segments->directory, &segments->directory_was);
    *above = is_open ? segments->directory : AT_FDCWD;
    return is_open ? "." : segments->process_path;
}

static int open_file(struct rec_segments *segments, struct rec_thread_file *file, uint32_t thread, struct pnr_err *err)
{
    int above;
    pnr_thread_path(path_prefix(segments, &above), segments->number, thread, segments->below);
    pnr_thread_path(segments->process_path, segments->number, thread, segments->path);
    char *slash = strrchr(segments->path, '/');
    file->thread = thread;
    if (!slash) {
        errno = ENAMETOOLONG;
        return pnr_err_system(err, segments->process_path, "cannot make a file");
    }
    *slash = 0;
    return rec_file_open_at(&file->file, above, segments->below, segments->path, slash + 1, err);
}

/* Returns the file of a thread in the last segment, open; NULL when it cannot be opened. */
static struct rec_thread_file *find_file(struct rec_segments *segments, uint32_t thread, struct pnr_err *err)
{
    struct rec_thread_file *oldest = segments->files;
    for (int i = 0; i < REC_SEGMENTS_OPEN_FILES; i++) {
        struct rec_thread_file *file = &segments->files[i];
        if (file->used && file->thread == thread)
            return file;
        if (file->used < oldest->used)
            oldest = file;
    }
    release_file(oldest);
    if (open_file(segments, oldest, thread, err) == 0)
        return oldest;
    if (!lacks_descriptors(err))
        return NULL;
    release_files(segments);            /* the program has used up all other descriptors */
    close_directory(segments);
    return open_file(segments, oldest, thread, err) == 0 ? oldest : NULL;
}

/* Returns whose file a block goes to. Threads that ended after a few events share a file, because there may be very
 * many. */
static uint32_t file_owner(const struct pnr_block_header *header)
{
    bool is_whole_thread = header->sequence == 0 && (header->flags & PNR_BLOCK_LAST);
    return is_whole_thread && header->n_records < PNR_BLOCK_RECORDS ? PNR_SHORT_THREADS : header->thread;
}

/* ---- segments ---- */

/* Starts the segment of this number; the one before it is then finished. Returns 0, or -1 and nothing has changed. */
static int start_segment(struct rec_segments *segments, uint32_t number, struct pnr_err *err)
{
    int above;
    pnr_segment_path(path_prefix(segments, &above), number, segments->path);
    if (mkdirat(above, segments->path, 0700) != 0 && errno != EEXIST)
        return pnr_err_system(err, segments->path, "cannot make a segment");
    release_files(segments);
    segments->number = number;
    segments->begin_ns[number % REC_SEGMENTS_KNOWN] = rec_clock_monotonic_ns();
    segments->size = 0;
    segments->first_block_ns = 0;
    return 0;
}

int rec_segments_start(struct rec_segments *segments, const char *process_path, uint32_t number,
                       const struct rec_limits *limits, struct pnr_err *err)
{
    memset(segments, 0, sizeof *segments);
    segments->directory = -1;
    segments->limits = *limits;
    snprintf(segments->process_path, sizeof segments->process_path, "%s", process_path);
    return start_segment(segments, number, err);
}

/* Evicts until so many bytes fit: in the capture or, where this process may no longer look at that, in its own
 * directory. Returns 1; 0 when nothing can be known, because the program has used up all descriptors, which may
 * change; or -1. */
static int reserve_bytes(struct rec_segments *segments, uint64_t size, int *lock, struct pnr_err *err)
{
    if (rec_retention_reserve(capture_path(segments), &segments->limits, size, lock, err) == 0)
        return 1;
    if (err->sys_errno == EACCES)
        return rec_retention_trim(segments->process_path, &segments->limits, size, err) == 0 ? 1 : -1;
    return lacks_descriptors(err) ? 0 : -1;
}

int rec_segments_roll(struct rec_segments *segments, struct pnr_err *err)
{
    int lock;
    if (!segments->first_block_ns)
        return 0;
    int result = reserve_bytes(segments, rec_retention_segment_size(&segments->limits), &lock, err);
    if (result <= 0)
        return result;                  /* 0: the segment grows on */
    result = start_segment(segments, segments->number + 1, err);
    rec_segments_hold(segments);        /* the program may have closed it */
    rec_retention_release(lock);
    return result;
}

int rec_segments_limit(struct rec_segments *segments, const struct rec_limits *limits, struct pnr_err *err)
{
    int lock;
    struct rec_limits before = segments->limits;
    if (rec_segments_roll(segments, err) != 0)
        return -1;
    segments->limits = *limits;
    int result = reserve_bytes(segments, rec_retention_segment_size(limits), &lock, err);
    if (result > 0)
        rec_retention_release(lock);
    else if (result < 0)
        segments->limits = before;
    return result < 0 ? -1 : 0;
}

/* Returns whether the segment has had blocks for as long as a segment lasts. */
static bool is_over_age(const struct rec_segments *segments, uint64_t now_ns)
{
    return segments->first_block_ns &&
           now_ns - segments->first_block_ns >= rec_retention_segment_ns(&segments->limits);
}

int rec_segments_append(struct rec_segments *segments, const struct pnr_block_header *header, const void *block,
                        size_t size, uint64_t now_ns, struct pnr_err *err)
{
    bool is_full = segments->size + rec_retention_size_on_disk(size) > rec_retention_segment_size(&segments->limits);
    bool is_old = is_over_age(segments, now_ns);
    if ((is_full || is_old) && rec_segments_roll(segments, err) != 0)
        return -1;
    struct rec_thread_file *file = find_file(segments, file_owner(header), err);
    if (!file)
        return -1;
    file->used = ++segments->n_blocks;
    uint64_t before = rec_retention_size_on_disk((uint64_t)file->file.size);
    if (rec_file_append(&file->file, block, size, err) != 0)
        return -1;
    segments->size += rec_retention_size_on_disk((uint64_t)file->file.size) - before;
    if (!segments->first_block_ns)
        segments->first_block_ns = now_ns;
    segments->n_bytes += size;
    return 0;
}

/* Returns whether it is time to evict what is too old. Processes that have dropped their privileges cannot evict
 * one another's segments; root does it for them. */
static bool is_due(struct rec_segments *segments, uint64_t now_ns)
{
    const struct rec_limits *limits = &segments->limits;
    uint64_t age = now_ns - segments->checked_ns;
    if (limits->last_ns && age >= rec_retention_segment_ns(limits))
        return true;
    return limits->max_size && age >= SHARED_NS && geteuid() == 0 && rec_retention_is_shared(capture_path(segments));
}

int rec_segments_tick(struct rec_segments *segments, uint64_t now_ns, struct pnr_err *err)
{
    int lock;
    if (!is_due(segments, now_ns))
        return 0;
    segments->checked_ns = now_ns;
    if (is_over_age(segments, now_ns))
        return rec_segments_roll(segments, err);
    int result = reserve_bytes(segments, 0, &lock, err);
    if (result > 0)
        rec_retention_release(lock);
    return result < 0 ? -1 : 0;
}

bool rec_segments_locate(struct rec_segments *segments)
{
    char link[64];
    struct stat st;
    snprintf(link, sizeof link, "/proc/self/fd/%d", segments->directory);
    bool is_open = rec_file_is_still(segments->directory, &segments->directory_was);
    ssize_t size = is_open ? readlink(link, segments->path, sizeof segments->path - 1) : -1;
    if (size <= 0)
        return false;
    segments->path[size] = 0;
    if (strcmp(segments->path, segments->process_path) == 0 || lstat(segments->path, &st) != 0 ||
        st.st_dev != segments->directory_was.st_dev || st.st_ino != segments->directory_was.st_ino)
        return false;
    strcpy(segments->process_path, segments->path);
    return true;
}

void rec_segments_remove(struct rec_segments *segments, const char *name)
{
    int above;
    pnr_file_path(path_prefix(segments, &above), name, segments->path);
    unlinkat(above, segments->path, 0);
}

/* ---- when segments began ---- */

uint64_t rec_segments_begin_ns(const struct rec_segments *segments, uint32_t number)
{
    bool is_known = number <= segments->number && segments->number - number < REC_SEGMENTS_KNOWN;
    return is_known ? segments->begin_ns[number % REC_SEGMENTS_KNOWN] : 0;
}

uint32_t rec_segments_find(const struct rec_segments *segments, uint64_t ns)
{
    uint32_t number = segments->number;
    while (number > 1 && rec_segments_begin_ns(segments, number) > ns)
        number--;
    return rec_segments_begin_ns(segments, number) ? number : 1;
}

void rec_segments_continue(struct rec_segments *segments, const struct rec_segments *before)
{
    memcpy(segments->begin_ns, before->begin_ns, sizeof segments->begin_ns);
    segments->n_bytes = before->n_bytes;
}

/* ---- copies for another capture ---- */

/* Copies a file into another directory. One that has been evicted just now is skipped. Returns 0 or -1. */
static int copy_file(const char *from, const char *directory, const char *name, struct pnr_err *err)
{
    char bytes[8192];                   /* the stack of the thread that ends a region may be small */
    struct rec_file file;
    ssize_t n;
    int in = pnr_file_open(from, O_RDONLY | O_NOFOLLOW);
    if (in < 0)
        return errno == ENOENT ? 0 : pnr_err_system(err, from, "cannot read");
    int result = rec_file_create(&file, directory, name, err);
    while (result == 0 && (n = pnr_file_read(in, bytes, sizeof bytes, file.size)) != 0)
        result = n > 0 ? rec_file_append(&file, bytes, (size_t)n, err) : pnr_err_system(err, from, "cannot read");
    rec_file_release(&file);
    close(in);
    return result;
}

/* Links the files of a finished segment, or copies them where links cannot be made. A segment that is evicted
 * meanwhile is missing as a whole: a part of it would look like damage. Returns 0 or -1. */
static int link_segment(const struct rec_segments *segments, const char *process_path, uint32_t number,
                        struct pnr_err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    uint32_t *threads;
    size_t n;
    if (pnr_capture_threads(segments->process_path, number, &threads, &n, err) != 0)
        return err->sys_errno == ENOENT ? 0 : -1;
    pnr_segment_path(process_path, number, to);
    int result = mkdir(to, 0700) == 0 ? 0 : pnr_err_system(err, to, "cannot make a segment");
    for (size_t i = 0; i < n && result == 0; i++) {
        pnr_thread_path(segments->process_path, number, threads[i], from);
        pnr_thread_path(process_path, number, threads[i], to);
        char *slash = strrchr(to, '/');
        if (link(from, to) != 0) {
            *slash = 0;
            result = copy_file(from, to, slash + 1, err);
        }
    }
    free(threads);
    pnr_segment_path(segments->process_path, number, from);
    if (result == 0 && access(from, F_OK) != 0) {       /* eviction renames the directory before it removes files */
        pnr_segment_path(process_path, number, to);
        rec_tree_remove(to);
    }
    return result;
}

int rec_segments_link(const struct rec_segments *segments, const char *process_path, uint32_t first,
                      struct pnr_err *err)
{
    uint32_t *numbers;
    size_t n;
    if (pnr_capture_segments(segments->process_path, &numbers, &n, err) != 0)
        return -1;
    int result = 0;
    for (size_t i = n; i-- > 0 && result == 0;)         /* the oldest last: it may be evicted meanwhile */
        if (numbers[i] >= first && numbers[i] < segments->number)
            result = link_segment(segments, process_path, numbers[i], err);
    free(numbers);
    return result;
}

void rec_segments_stop(struct rec_segments *segments)
{
    release_files(segments);
    close_directory(segments);
}
