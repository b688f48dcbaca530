/* recorder/retention.h: what a capture takes on disk is counted in full, and only what may go is evicted. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "processes.h"

TestSuite(retention, .init = begin_capture, .fini = end_capture);

static const char *cannot_move;         /* a process whose directories another user owns */

int rename(const char *from, const char *to)
{
    if (cannot_move && strncmp(from, cannot_move, strlen(cannot_move)) == 0) {
        errno = EACCES;
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int reserve(const struct rec_limits *limits, uint64_t size)
{
    int lock;
    int result = rec_retention_reserve(capture, limits, size, &lock, &err);
    if (result == 0)
        rec_retention_release(lock);
    return result;
}

/* ---- what is counted ---- */

/* Files of a byte take a disk block each: 300 threads that write little, in turn. */
Test(retention, counts_the_files_of_many_threads)
{
    static struct pnr_record records[40];
    struct process process;
    uint64_t max = 0;
    size_t size;
    make_process(&process, 7, 8, (struct rec_limits){ SIZE, 0 });
    for (uint32_t i = 0; i < 12000; i++) {
        struct pnr_block_header header = { .thread = i % 300 + 1, .sequence = i / 300, .n_records = 1 + i % 40 };
        for (uint32_t k = 0; k < header.n_records; k++)
            records[k] = pnr_record_make((uint64_t)random() & 0xffffff, PNR_CALL, (uint64_t)random(),
                                         (uint32_t)random());
        const void *block = pnr_block_encode(coder, &header, records, &size);
        cr_assert_eq(rec_segments_append(&process.segments, &header, block, size, now(), &err), 0, "%s", err.what);
        if (i % 100 == 0) {
            uint64_t on_disk = capture_size();
            max = on_disk > max ? on_disk : max;
        }
    }
    rec_segments_stop(&process.segments);
    cr_expect_gt(process.segments.number, 60);
    cr_expect_leq(max, SIZE);
    cr_expect_geq(max, SIZE / 4 * 3);
}

/* A process that has come and gone is a few directories and files of a disk block each. */
Test(retention, counts_the_directories_of_many_processes)
{
    const struct rec_limits limits = { SIZE, 0 };
    uint64_t max = 0;
    for (int i = 0; i < 1280; i++) {
        struct process process;
        char path[PATH_MAX];
        if (i % 32 == 0)
            cr_assert_eq(reserve(&limits, 270336 + SEGMENT_SIZE), 0, "%s", err.what);
        make_process(&process, 100 + i, 1, limits);
        append_of(&process, 1, 0, PNR_BLOCK_LAST, now());
        rec_segments_stop(&process.segments);
        cr_assert_eq(truncate(file_of(&process, 1, PNR_SHORT_THREADS), 500), 0);
        pnr_file_path(process.path, "live", path);
        unlink(path);
        if (i % 50 == 0) {
            uint64_t on_disk = capture_size();
            max = on_disk > max ? on_disk : max;
        }
    }
    cr_expect_leq(max, SIZE);
    cr_expect_geq(max, SIZE / 4 * 3);
}

/* Makes a partial process, with a mapping of so many bytes. */
static void make_partial(int pid, uint64_t start, uint64_t namespace, off_t size)
{
    char path[200];
    int n = snprintf(path, sizeof path, "%s/begun-%d-%" PRIu64 "-%" PRIu64, capture, pid, start, namespace);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path + n, sizeof path - (size_t)n, "/live");
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(posix_fallocate(fd, 0, size), 0);
    close(fd);
}

static int count_partial(void)
{
    int n = 0;
    struct dirent *entry;
    DIR *dir = opendir(capture);
    while ((entry = readdir(dir)))
        n += strncmp(entry->d_name, "begun-", 6) == 0;
    closedir(dir);
    return n;
}

/* What was left by those that were killed while they began goes, what others begin at this moment, or may begin,
 * counts. */
Test(retention, counts_partial_processes)
{
    enum { N = 9 };                     /* of each kind, 1 MiB each */
    const struct rec_limits limits = { SIZE, 0 };
    const uint64_t start = pnr_process_start(), namespace = pnr_process_namespace();
    struct process process;
    make_process(&process, 7, 1, limits);
    append(&process, now());
    rec_segments_roll(&process.segments, &err);
    append(&process, now());
    for (int i = 0; i < N; i++)
        make_partial(3000000 + i, 5, namespace, 1 << 20);         /* above the greatest number of a process */
    make_partial(getpid(), start + 1, namespace, 1 << 20);
    cr_expect_eq(count_partial(), N + 1);
    cr_assert_eq(reserve(&limits, 1 << 20), 0);
    cr_expect_eq(count_partial(), 0, "dead ones");
    cr_expect_str_eq(segments_of(&process), "1 2", "all fits");
    make_partial(getpid(), start, namespace, 1 << 20);
    for (int i = 1; i < N; i++)
        make_partial(3000000 + i, 5, namespace + 1, 1 << 20);
    cr_assert_eq(reserve(&limits, 1 << 20), 0);
    cr_expect_eq(count_partial(), N, "running ones, and those of another namespace");
    cr_expect_str_eq(segments_of(&process), "1 2");
    /* the partial ones, the segment as if it were full, the live mapping, the name table, directories */
    const uint64_t retained = N * ((1 << 20) + 4096) + SEGMENT_SIZE + 8192 + 262144 + 4096 + 4096;
    cr_assert_eq(reserve(&limits, SIZE / 8 * 7 - retained), 0);
    cr_expect_str_eq(segments_of(&process), "2", "there is none any more");
    cr_expect_eq(reserve(&limits, SIZE / 8 * 7 - retained + 1), -1);
    cr_expect_eq(err.sys_errno, EDQUOT);
    cr_expect_eq(count_partial(), N);
    rec_segments_stop(&process.segments);
}

/* ---- what may go ---- */

/* With so few descriptors left that not all can be looked at nothing is evicted that it would not be otherwise: no
 * file of a process that runs, and nothing before what is older. */
Test(retention, evicts_nothing_when_it_cannot_look)
{
    const struct rec_limits limits = { SIZE, 0 };
    struct rlimit limit = { 200, 200 };
    struct process running, dead;
    char path[PATH_MAX];
    int used[200];
    make_process(&running, 7, 1, limits);
    append(&running, now());
    rec_segments_stop(&running.segments);
    make_process(&dead, 8, 1, limits);
    for (int i = 0; i < 5; i++) {
        append(&dead, now());
        rec_segments_roll(&dead.segments, &err);
    }
    rec_segments_stop(&dead.segments);
    set_life(&dead, DEAD);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    pnr_file_path(running.path, "live", path);
    bool was_able = false;
    for (int n_free = 0; n_free < 12; n_free++) {
        int n = 0;
        while ((used[n] = dup(0)) >= 0)
            n++;
        for (int i = 0; i < n_free; i++)
            close(used[--n]);
        int result = reserve(&limits, SIZE / 8 * 7 - (1 << 20));        /* all but the running one must go for that */
        int number = err.sys_errno;
        while (n > 0)
            close(used[--n]);
        cr_expect_eq(access(path, F_OK), 0, "%d descriptors", n_free);
        cr_expect_str_eq(segments_of(&running), "1", "%d descriptors", n_free);
        if (result == 0)
            was_able = true;
        else
            cr_expect_eq(number, EMFILE, "%d descriptors", n_free);
        cr_expect(was_able || strcmp(segments_of(&dead), "1 2 3 4 5 6") == 0, "%d descriptors: %s", n_free,
                  segments_of(&dead));
    }
    cr_expect(was_able);
    cr_expect_str_eq(segments_of(&dead), "gone");
}

/* What cannot be evicted, because it is another user's, still counts: others must be evicted. */
Test(retention, counts_what_cannot_be_evicted)
{
    const struct rec_limits limits = { SIZE, 0 };
    struct process others, own;
    make_process(&others, 7, 1, limits);
    for (int i = 0; i < 3; i++) {
        append(&others, now());
        rec_segments_roll(&others.segments, &err);
    }
    const uint64_t retained = capture_size() - 4096;       /* without the capture's own directory */
    make_process(&own, 8, 1, limits);
    while (own.segments.number < 4)
        append(&own, now());
    rec_segments_stop(&others.segments);
    rec_segments_stop(&own.segments);
    set_life(&others, DEAD);
    set_life(&own, DEAD);
    cannot_move = others.path;
    cr_assert_eq(reserve(&limits, SIZE / 8 * 7 - retained), 0);
    cr_expect_str_eq(segments_of(&own), "gone");
    cr_expect_str_eq(segments_of(&others), "1 2 3 4");
    cr_expect_eq(count_partial(), 0, "nothing is left of the attempts");
    cr_expect_eq(reserve(&limits, SIZE / 8 * 7 - retained + 1), -1);
    cr_expect_eq(err.sys_errno, EDQUOT);
    cannot_move = NULL;
}

/* A process that may not look at the others evicts its own oldest segments, as if it were alone. */
Test(retention, trims_one_process_alone)
{
    const struct rec_limits size = { SIZE, 0 }, age = { 0, SECOND };
    struct process others, own;
    make_process(&others, 7, 1, size);
    make_process(&own, 8, 1, size);
    for (int i = 0; i < 3; i++) {
        append(&others, now());
        rec_segments_roll(&others.segments, &err);
        append(&own, i == 0 ? now() - 10 * SECOND : now());
        rec_segments_roll(&own.segments, &err);
    }
    cr_expect_eq(rec_retention_trim(own.path, &size, 0, &err), 0);
    cr_expect_str_eq(segments_of(&own), "1 2 3 4", "all fit");
    cr_expect_eq(rec_retention_trim(own.path, &age, 0, &err), 0);
    cr_expect_str_eq(segments_of(&own), "2 3 4", "the first one is 10 s old");
    cr_expect_eq(rec_retention_trim(own.path, &size, SIZE / 8 * 7, &err), -1, "the last one and the names take space");
    cr_expect_eq(err.sys_errno, EDQUOT);
    cr_expect_str_eq(segments_of(&own), "4", "the one that is being written cannot go");
    cr_expect_str_eq(segments_of(&others), "1 2 3 4");
    rec_segments_stop(&others.segments);
    rec_segments_stop(&own.segments);
}

/* It was killed while it removed a segment: the rest counts, and goes with the next one. */
Test(retention, goes_on_with_what_is_half_evicted)
{
    struct process process;
    char from[PATH_MAX], to[PATH_MAX];
    uint32_t first, last;
    make_process(&process, 7, 1, (struct rec_limits){ SIZE, 0 });
    for (int i = 0; i < 3; i++) {
        append(&process, now());
        rec_segments_roll(&process.segments, &err);
    }
    pnr_segment_path(process.path, 1, from);
    pnr_file_path(process.path, "evicted", to);
    cr_assert_eq(rename(from, to), 0);
    cr_expect_str_eq(segments_of(&process), "2 3 4");
    for (first = 2; first == 2;) {
        cr_assert_eq(append(&process, now()), 0);
        cr_assert_leq(capture_size(), SIZE);
        cr_assert(is_row(&process, &first, &last));
    }
    cr_expect_neq(access(to, F_OK), 0);
    rec_segments_stop(&process.segments);
}
