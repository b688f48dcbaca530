/* recorder/segments.h: when segments begin, what is dropped, and that a capture keeps to its limits. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "format/capture.h"
#include "format/process.h"
#include "recorder/segments.h"

#define SECOND UINT64_C(1000000000)
#define SIZE REC_LEAST_SIZE
#define SEGMENT_SIZE (SIZE / 32)

/* ---- what the tests share: a capture, processes in it, and blocks ---- */

static char capture[] = "/tmp/panopticon-test-XXXXXX";
static struct pnr_block_coder *coder;
static struct pnr_err err;

struct process {
    char path[PATH_MAX];
    struct rec_segments segments;
    uint32_t sequence;                  /* of the next block */
};

static void begin(void)
{
    cr_assert(mkdtemp(capture));
    coder = pnr_block_coder_new();
}

static void end(void)
{
    char command[PATH_MAX];
    pnr_block_coder_free(coder);
    snprintf(command, sizeof command, "rm -r %s", capture);
    cr_assert_eq(system(command), 0);
}

TestSuite(segments, .init = begin, .fini = end);

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Bytes of all files of all processes. */
static uint64_t capture_size(void)
{
    struct dirent *process, *file;
    uint64_t size = 0;
    DIR *dir = opendir(capture);
    while ((process = readdir(dir))) {
        char folder[PATH_MAX], path[PATH_MAX];
        pnr_file_path(capture, process->d_name, folder);
        DIR *files = *process->d_name == '.' ? NULL : opendir(folder);
        while (files && (file = readdir(files))) {
            pnr_file_path(folder, file->d_name, path);
            size += *file->d_name == '.' ? 0 : file_size(path);
        }
        if (files)
            closedir(files);
    }
    closedir(dir);
    return size;
}

/* Whose the live mapping is: of a process that is gone, or of one in another PID namespace, which nobody can tell from
 * one that runs. */
enum life { DEAD, ALIVE };

static void set_life(const struct process *process, enum life life)
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
static void make_process(struct process *process, long pid, uint32_t n_chunks, struct rec_limits limits)
{
    char path[PATH_MAX];
    struct pnr_live live;
    snprintf(process->path, sizeof process->path, "%s/process-%ld", capture, pid);
    cr_assert_eq(mkdir(process->path, 0700), 0);
    pnr_file_path(process->path, "names", path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(ftruncate(fd, 1000), 0);
    close(fd);
    cr_assert_eq(pnr_live_create(process->path, n_chunks, &live, &err), 0);
    pnr_live_close(&live, process->path, false);
    set_life(process, ALIVE);
    process->sequence = 0;
    cr_assert_eq(rec_segments_start(&process->segments, process->path, &limits, &err), 0, "%s", err.what);
}

/* Appends a block of some 25,000 bytes that was closed and is written at this time. */
static int append(struct process *process, uint64_t ns)
{
    static struct pnr_record records[2000];
    struct pnr_block_header header = { .thread = 1, .sequence = process->sequence++, .n_records = 2000,
                                       .begin = { ns, ns, ns }, .end = { ns, ns, ns } };
    size_t size;
    for (size_t i = 0; !pnr_record_kind(records[1999]) && i < 2000; i++)
        records[i] = pnr_record_make((uint64_t)random() & 0xffffff, PNR_CALL, (uint64_t)random(), (uint32_t)random());
    const void *block = pnr_block_encode(coder, &header, records, &size);
    return rec_segments_append(&process->segments, block, size, ns, &err);
}

/* The process's segments: "1 2 3". */
static const char *segments_of(const struct process *process)
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
static bool is_row(const struct process *process, uint32_t *first, uint32_t *last)
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

/* ---- when a segment begins ---- */

Test(segments, begin_with_the_first)
{
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    cr_expect_str_eq(segments_of(&process), "1", "from the first moment on");
    cr_expect_eq(rec_segments_roll(&process.segments, &err), 0);
    cr_expect_str_eq(segments_of(&process), "1", "it is empty");
    append(&process, 1);
    cr_expect_eq(rec_segments_roll(&process.segments, &err), 0);
    cr_expect_eq(rec_segments_roll(&process.segments, &err), 0);
    cr_expect_str_eq(segments_of(&process), "1 2");
    append(&process, 2);
    cr_expect_str_eq(segments_of(&process), "1 2");
    rec_segments_stop(&process.segments);
    cr_expect_eq(process.segments.n_bytes, capture_size() - 1000 - 8192 - 262144);
}

/* Nothing is dropped where nothing is limited. */
Test(segments, are_of_64_mib_without_limits)
{
    struct process process;
    char path[PATH_MAX];
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    append(&process, 1);
    uint64_t size = (uint64_t)process.segments.file.size;
    process.segments.file.size = (off_t)((64 << 20) - size);    /* as if so much were in it */
    append(&process, 1000 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1", "it is full to the last byte");
    append(&process, 1001 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1 2");
    cr_expect_eq(rec_segments_tick(&process.segments, 2000 * SECOND, &err), 0);
    cr_expect_str_eq(segments_of(&process), "1 2");
    pnr_segment_path(process.path, 1, path);
    cr_expect_eq(file_size(path), 2 * size);
    rec_segments_stop(&process.segments);
}

Test(segments, are_a_part_of_the_greatest_size)
{
    struct process process;
    char path[PATH_MAX];
    make_process(&process, 7, 1, (struct rec_limits){ SIZE, 0 });
    while (process.segments.number < 5)
        cr_assert_eq(append(&process, now()), 0);
    cr_expect_str_eq(segments_of(&process), "1 2 3 4 5");
    for (uint32_t number = 1; number < 5; number++) {
        pnr_segment_path(process.path, number, path);
        cr_expect_leq(file_size(path), SEGMENT_SIZE);
        cr_expect_geq(file_size(path), SEGMENT_SIZE - 40000, "another block would not have fitted");
    }
    rec_segments_stop(&process.segments);
}

Test(segments, last_a_part_of_the_time)
{
    const uint64_t t = now();
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 40 * SECOND });
    append(&process, t);
    append(&process, t + 10 * SECOND - 1);
    cr_expect_str_eq(segments_of(&process), "1");
    append(&process, t + 10 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1 2");
    append(&process, t + 15 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1 2", "it counts from the segment's first block");
    append(&process, t + 70 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1 2 3");
    rec_segments_stop(&process.segments);
}

/* The program has used up all descriptors: the segment's own is what is left. */
Test(segments, begin_without_a_descriptor_to_spare)
{
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    append(&process, 1);
    struct rlimit limit = { 200, 200 };
    rec_file_release(&process.segments.file);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    append(&process, 2);
    int used[200], n = 0;
    while ((used[n] = dup(0)) >= 0)
        n++;
    cr_assert_eq(errno, EMFILE);
    int result = rec_segments_roll(&process.segments, &err);
    int appended = append(&process, 3);
    while (n > 0)
        close(used[--n]);
    cr_expect_eq(result, 0);
    cr_expect_eq(appended, 0);
    cr_expect_str_eq(segments_of(&process), "1 2");
}

/* ---- what is dropped ---- */

Test(segments, drop_the_oldest_when_the_size_is_reached)
{
    struct process process;
    uint32_t first, last;
    uint64_t least = SIZE;
    make_process(&process, 7, 8, (struct rec_limits){ SIZE, 0 });
    while (process.segments.n_bytes < 3 * SIZE) {
        cr_assert_eq(append(&process, now()), 0, "%s", err.what);
        uint64_t size = capture_size();
        cr_assert_leq(size, SIZE - SIZE / 8, "a part is left for the name table, which grows meanwhile");
        if (process.segments.n_bytes > SIZE && size < least)
            least = size;
    }
    cr_expect(is_row(&process, &first, &last));
    cr_expect_eq(last, process.segments.number);
    cr_expect_gt(first, 60);
    cr_expect_geq(least, SIZE / 16 * 13 - SEGMENT_SIZE, "not more than need be: %lu", (unsigned long)least);
    rec_segments_stop(&process.segments);
}

/* One process rests, the other fills the capture: the older data goes, wherever it is, but not what a process that runs
 * has in hand. */
Test(segments, drop_the_oldest_of_all_processes)
{
    struct process resting, busy;
    uint32_t first, last;
    char path[PATH_MAX];
    make_process(&resting, 7, 8, (struct rec_limits){ SIZE, 0 });
    make_process(&busy, 12, 8, (struct rec_limits){ SIZE, 0 });
    for (int i = 0; i < 20; i++)
        append(&busy, now());
    while (resting.segments.number < 4)
        append(&resting, now());
    while (strcmp(segments_of(&resting), "1 2 3 4") == 0) {
        cr_assert_eq(append(&busy, now()), 0);
        cr_assert_leq(capture_size(), SIZE);
        if (strcmp(segments_of(&resting), "1 2 3 4") == 0)
            cr_assert_leq(busy.segments.n_bytes, SIZE);
    }
    cr_expect(is_row(&busy, &first, &last));
    cr_expect_eq(first, 2, "the oldest, before any of the other's");
    cr_expect_str_eq(segments_of(&resting), "2 3 4");
    while (busy.segments.n_bytes < 3 * SIZE) {
        cr_assert_eq(append(&busy, now()), 0);
        cr_assert_leq(capture_size(), SIZE);
        cr_assert(is_row(&busy, &first, &last) && last == busy.segments.number);
        cr_assert(is_row(&resting, &first, &last) && last == resting.segments.number);
    }
    cr_expect_str_eq(segments_of(&resting), "4");
    pnr_file_path(resting.path, "names", path);
    cr_expect_eq(file_size(path), 1000);
    append(&resting, now());
    cr_expect_eq(resting.segments.number, 4, "it goes on where it was");
    rec_segments_stop(&resting.segments);
    rec_segments_stop(&busy.segments);
}

/* Killed, or ended in order, and then without live mapping: goes with all that it has when that is the oldest. */
Test(segments, drop_processes_that_are_gone)
{
    for (int has_ended = 0; has_ended < 2; has_ended++) {
        struct process gone, busy;
        uint32_t first, last;
        char path[PATH_MAX];
        make_process(&gone, 7 + has_ended, 2, (struct rec_limits){ SIZE, 0 });
        make_process(&busy, 12 + has_ended, 2, (struct rec_limits){ SIZE, 0 });
        while (gone.segments.number < 3)
            append(&gone, now());
        rec_segments_stop(&gone.segments);
        set_life(&gone, DEAD);
        pnr_file_path(gone.path, "live", path);
        if (has_ended)
            unlink(path);
        cr_assert_eq(append(&busy, now()), 0);
        cr_assert_eq(rec_segments_roll(&busy.segments, &err), 0);
        cr_expect_str_eq(segments_of(&gone), "1 2 3", "there is room");
        while (strcmp(segments_of(&gone), "gone") != 0) {
            cr_assert(is_row(&gone, &first, &last));
            cr_assert(last == 0 || last == 3);
            cr_assert(is_row(&busy, &first, &last));
            cr_assert_eq(first, 1, "what is newer stays until then");
            cr_assert_leq(busy.segments.n_bytes, SIZE);
            cr_assert_eq(append(&busy, now()), 0);
            cr_assert_leq(capture_size(), SIZE);
        }
        rec_segments_stop(&busy.segments);
        set_life(&busy, DEAD);
    }
}

/* Two threads encode at a time: the first block of a segment may be older than that of the segment before. A damaged
 * one has no time at all. */
Test(segments, drop_the_lowest_number_first)
{
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        struct process process;
        uint32_t first, last;
        char path[PATH_MAX];
        make_process(&process, 7 + is_damaged, 1, (struct rec_limits){ SIZE, 0 });
        for (uint32_t number = 1; number <= 30; number++) {
            append(&process, SECOND * (100 - number));
            cr_assert_eq(rec_segments_roll(&process.segments, &err), 0);
            pnr_segment_path(process.path, number, path);
            cr_assert(!is_damaged || number % 3 || truncate(path, 50) == 0);
        }
        for (first = 1; first < 25;) {
            cr_assert_eq(append(&process, SECOND * 200), 0);
            cr_assert(is_row(&process, &first, &last), "%s", segments_of(&process));
        }
        rec_segments_stop(&process.segments);
        set_life(&process, DEAD);
    }
}

Test(segments, drop_what_is_too_old)
{
    const uint64_t t = now();
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 4 * SECOND });
    append(&process, t - 20 * SECOND);
    append(&process, t - 15 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1 2");
    append(&process, t - 10 * SECOND);
    cr_expect_str_eq(segments_of(&process), "2 3");
    append(&process, t - 2 * SECOND);
    cr_expect_str_eq(segments_of(&process), "3 4", "when a segment begins");
    cr_expect_eq(rec_segments_tick(&process.segments, t, &err), 0);
    cr_expect_str_eq(segments_of(&process), "4 5", "what is in 4 may be younger than 4 s");
    cr_expect_eq(rec_segments_tick(&process.segments, t + 60 * SECOND, &err), 0);
    cr_expect_str_eq(segments_of(&process), "4 5", "nothing is in 5");
    rec_segments_stop(&process.segments);
}

/* Also of others, and when nothing is written; but not at every tick. */
Test(segments, drop_what_others_left_too_long_ago)
{
    const struct rec_limits limits = { 0, 4 * SECOND };
    const uint64_t t = now();
    struct process process, gone, resting;
    make_process(&process, 7, 1, limits);
    make_process(&gone, 8, 1, limits);
    make_process(&resting, 9, 1, limits);
    cr_assert_eq(rec_segments_tick(&process.segments, t, &err), 0);
    append(&gone, t - 20 * SECOND);
    append(&resting, t - 20 * SECOND);
    rec_segments_stop(&gone.segments);
    set_life(&gone, DEAD);
    cr_expect_eq(rec_segments_tick(&process.segments, t + SECOND - 1, &err), 0);
    cr_expect_str_eq(segments_of(&gone), "1", "it was looked at a moment ago");
    cr_expect_eq(rec_segments_tick(&process.segments, t + SECOND, &err), 0);
    cr_expect_str_eq(segments_of(&gone), "gone");
    cr_expect_str_eq(segments_of(&resting), "1");
    cr_expect_str_eq(segments_of(&process), "1");
    rec_segments_stop(&process.segments);
    rec_segments_stop(&resting.segments);
}

/* ---- when there is no room ---- */

Test(segments, say_when_nothing_more_can_be_dropped)
{
    struct process processes[7];
    uint64_t size = 0;
    for (int i = 0; i < 7; i++)         /* seven live mappings of 2 MiB, seven segments that may become full */
        make_process(&processes[i], 7 + i, 8, (struct rec_limits){ 2 * SIZE, 0 });
    struct process *full = &processes[0];
    full->segments.limits.max_size = SIZE;
    cr_expect_eq(append(full, now()), 0);
    size = capture_size();
    cr_expect_eq(rec_segments_roll(&full->segments, &err), -1);
    cr_expect_eq(err.code, PNR_E_SYSTEM);
    cr_expect_eq(err.sys_errno, EDQUOT);
    cr_expect_eq(capture_size(), size, "nothing is dropped or begun");
    cr_expect_str_eq(segments_of(full), "1");
    for (int i = 0; i < 7; i++)
        rec_segments_stop(&processes[i].segments);
}

static bool is_locked(void)
{
    int fd = open(capture, O_RDONLY | O_DIRECTORY);
    bool is = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    return is;
}

/* Room for a new process: by dropping, and nobody else takes it meanwhile. */
Test(segments, make_room_for_a_process)
{
    const struct rec_limits limits = { SIZE, 0 };
    struct process process;
    uint32_t first, last;
    int lock;
    make_process(&process, 7, 8, limits);
    cr_assert_eq(rec_segments_make_room(capture, &limits, 2 << 20, &lock, &err), 0);
    cr_expect(is_locked());
    rec_segments_room_taken(lock);
    cr_expect_not(is_locked());
    cr_expect_str_eq(segments_of(&process), "1");
    while (process.segments.n_bytes < 2 * SIZE)
        append(&process, now());
    cr_expect_not(is_locked());
    cr_assert_eq(rec_segments_make_room(capture, &limits, 2 << 20, &lock, &err), 0);
    rec_segments_room_taken(lock);
    cr_expect_leq(capture_size() + (2 << 20) + SEGMENT_SIZE, SIZE);
    cr_expect(is_row(&process, &first, &last) && last == process.segments.number);
    cr_expect_eq(rec_segments_make_room(capture, &limits, SIZE, &lock, &err), -1, "so much there will never be");
    cr_expect_eq(err.sys_errno, EDQUOT);
    cr_expect_not(is_locked());
    rec_segments_stop(&process.segments);
}

Test(segments, need_no_room_without_limits)
{
    const struct rec_limits none = { 0, 0 }, some = { SIZE, 0 };
    int lock;
    cr_assert_eq(rec_segments_make_room(capture, &none, UINT64_C(1) << 60, &lock, &err), 0);
    cr_expect_not(is_locked());
    rec_segments_room_taken(lock);
    cr_expect_eq(rec_segments_make_room("/nonexistent", &some, 1, &lock, &err), -1);
    cr_expect_eq(err.sys_errno, ENOENT);
}

/* ---- several at a time ---- */

/* A process of its own, as the recorder has it: its files are known by its number and its start. */
static int write_much(void)
{
    struct process process;
    make_process(&process, getpid(), 4, (struct rec_limits){ SIZE, 0 });
    char path[PATH_MAX];
    pnr_file_path(process.path, "live", path);
    const uint64_t start = pnr_process_start(), namespace = pnr_process_namespace();
    int fd = open(path, O_WRONLY);
    if (pwrite(fd, &start, 8, 80) != 8 || pwrite(fd, &namespace, 8, 88) != 8)
        return 1;
    close(fd);
    while (process.segments.n_bytes < 2 * SIZE)
        if (append(&process, now()) != 0)
            return 2;
    uint32_t first, last;
    return is_row(&process, &first, &last) && last == process.segments.number ? 0 : 3;
}

Test(segments, keep_to_the_limit_together)
{
    enum { N = 3 };
    int n_ended = 0, status;
    uint64_t most = 0;
    for (int i = 0; i < N; i++)
        if (fork() == 0)
            _exit(write_much());
    int lock = open(capture, O_RDONLY | O_DIRECTORY);
    while (n_ended < N) {
        if (waitpid(-1, &status, WNOHANG) > 0) {
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
            n_ended++;
        }
        flock(lock, LOCK_EX);           /* what is dropped meanwhile would be counted with what takes its place */
        uint64_t size = capture_size();
        flock(lock, LOCK_UN);
        if (size > most)
            most = size;
        usleep(2000);
    }
    close(lock);
    cr_expect_leq(most, SIZE);
    cr_expect_geq(most, SIZE / 2);
}
