/* What the tests of segments and limits share: a capture, processes in it, and blocks. */
#ifndef PROCESSES_H
#define PROCESSES_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "format/capture.h"
#include "format/process.h"
#include "recorder/segments.h"

#define SECOND UINT64_C(1000000000)
#define SIZE REC_MIN_SIZE
#define SEGMENT_SIZE (SIZE / 32)

static char capture[] = "/tmp/panopticon-test-XXXXXX";
static struct pnr_block_coder *coder;
static struct pnr_err err;

struct process {
    char path[PATH_MAX];
    struct rec_segments segments;
    uint32_t sequence;                  /* of the next block */
};

static inline void begin_capture(void)
{
    cr_assert(mkdtemp(capture));
    coder = pnr_block_coder_new();
}

static inline void end_capture(void)
{
    char command[PATH_MAX];
    pnr_block_coder_free(coder);
    snprintf(command, sizeof command, "rm -r %s", capture);
    cr_assert_eq(system(command), 0);
}

static inline uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static inline uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static uint64_t sum;

static int add_to_sum(const char *path, const struct stat *st, int type, struct FTW *position)
{
    uint64_t size = ((uint64_t)st->st_size + 4095) / 4096 * 4096, allocated = (uint64_t)st->st_blocks * 512;
    (void)path, (void)type, (void)position;
    sum += size > allocated ? size : allocated;
    return 0;
}

/* What the capture and all that is in it take on disk, as du counts. What goes meanwhile may be left out. */
static inline uint64_t capture_size(void)
{
    sum = 0;
    nftw(capture, add_to_sum, 8, FTW_PHYS);
    return sum;
}

/* Whose the live mapping is: of a process that is gone, or of one in another PID namespace, which is taken for one that
 * runs. */
enum life { DEAD, ALIVE };

static inline void set_life(const struct process *process, enum life life)
{
    char path[PATH_MAX];
    struct pnr_live_header header;
    pnr_file_path(process->path, "live", path);
    int fd = open(path, O_RDWR);
    cr_assert_eq(pread(fd, &header, sizeof header, 0), sizeof header);
    header.process_start = 1;
    header.pid_namespace = pnr_process_namespace() + (life == ALIVE);
    cr_assert_eq(pwrite(fd, &header, sizeof header, 0), sizeof header);
    close(fd);
}

/* A process that runs, with a name table of 1,000 bytes and a live mapping of so many chunks. */
static inline void make_process(struct process *process, long pid, uint32_t n_chunks, struct rec_limits limits)
{
    char path[PATH_MAX];
    struct pnr_live live;
    snprintf(process->path, sizeof process->path, "%s/process-%ld", capture, pid);
    cr_assert_eq(mkdir(process->path, 0700), 0);
    pnr_file_path(process->path, "names", path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(write(fd, (char [1000]){ 0 }, 1000), 1000);
    close(fd);
    cr_assert_eq(pnr_live_create(process->path, n_chunks, &live, &err), 0);
    pnr_live_close(&live, process->path, false);
    set_life(process, ALIVE);
    process->sequence = 0;
    cr_assert_eq(rec_segments_start(&process->segments, process->path, 1, &limits, &err), 0, "%s", err.what);
    rec_segments_hold(&process->segments);
}

/* Appends a block of a thread, of some 25,000 bytes, that was closed and is written at this time. */
static inline int append_of(struct process *process, uint32_t thread, uint32_t sequence, uint16_t flags, uint64_t ns)
{
    static struct pnr_record records[2000];
    struct pnr_block_header header = { .thread = thread, .sequence = sequence, .flags = flags, .n_records = 2000,
                                       .begin = { ns, ns, ns }, .end = { ns, ns, ns } };
    size_t size;
    for (size_t i = 0; !pnr_record_kind(records[1999]) && i < 2000; i++)
        records[i] = pnr_record_make((uint64_t)random() & 0xffffff, PNR_CALL, (uint64_t)random(), (uint32_t)random());
    const void *block = pnr_block_encode(coder, &header, records, &size);
    return rec_segments_append(&process->segments, &header, block, size, ns, &err);
}

/* Appends the next block of thread 1. */
static inline int append(struct process *process, uint64_t ns)
{
    return append_of(process, 1, process->sequence++, 0, ns);
}

/* The path of the file of a thread in a segment. */
static inline const char *file_of(const struct process *process, uint32_t segment, uint32_t thread)
{
    static char path[PATH_MAX];
    pnr_thread_path(process->path, segment, thread, path);
    return path;
}

/* The threads that have a file in a segment: "0 1 3", 0 for the short ones. */
static inline const char *threads_of(const struct process *process, uint32_t segment)
{
    static char text[10000];
    uint32_t *threads;
    size_t n, used = 0;
    *text = 0;
    if (pnr_capture_threads(process->path, segment, &threads, &n, &err) != 0)
        return "gone";
    for (size_t i = 0; i < n && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", i ? " " : "", threads[i]);
    free(threads);
    return text;
}

/* The process's segments: "1 2 3". */
static inline const char *segments_of(const struct process *process)
{
    static char text[1000];
    uint32_t *numbers;
    size_t n, used = 0;
    *text = 0;
    if (pnr_capture_segments(process->path, &numbers, &n, &err) != 0)
        return "gone";
    for (size_t i = 0; i < n && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", i ? " " : "", numbers[i]);
    free(numbers);
    return text;
}

/* True when no number is missing between the lowest and the highest; gives both. */
static inline bool is_row(const struct process *process, uint32_t *first, uint32_t *last)
{
    uint32_t *numbers;
    size_t n;
    *first = *last = 0;
    if (pnr_capture_segments(process->path, &numbers, &n, &err) != 0 || n == 0)
        return true;
    *first = numbers[0];
    *last = numbers[n - 1];
    free(numbers);
    return *last - *first == n - 1;
}

#endif
