/* recorder/segments.h: when segments begin, which file a block goes to, what is evicted, and that a capture keeps to
 * its limits. */
#include <errno.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "processes.h"

TestSuite(segments, .init = begin_capture, .fini = end_capture);

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
    cr_expect_eq(process.segments.n_bytes, file_size(file_of(&process, 1, 1)) + file_size(file_of(&process, 2, 1)));
}

/* Nothing is evicted where nothing is limited. */
Test(segments, are_of_64_mib_without_limits)
{
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    append(&process, 1);
    uint64_t size = file_size(file_of(&process, 1, 1));
    process.segments.size = (64 << 20) - (size + 4095) / 4096 * 4096;   /* as if so much were in it */
    append(&process, 1000 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1", "it is full to the last byte");
    append(&process, 1001 * SECOND);
    cr_expect_str_eq(segments_of(&process), "1 2");
    cr_expect_eq(rec_segments_tick(&process.segments, 2000 * SECOND, &err), 0);
    cr_expect_str_eq(segments_of(&process), "1 2");
    cr_expect_eq(file_size(file_of(&process, 1, 1)), 2 * size);
    rec_segments_stop(&process.segments);
}

/* The segment in which a moment lies has all blocks that were written from then on, or a later one has. */
Test(segments, are_found_by_a_moment)
{
    struct process process;
    uint64_t begins[70] = { 0 };
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    for (uint32_t number = 2; number < 70; number++) {
        append(&process, number);
        uint64_t before = now();
        cr_assert_eq(rec_segments_roll(&process.segments, &err), 0);
        begins[number] = rec_segments_begin_ns(&process.segments, number);
        cr_expect(before <= begins[number] && begins[number] <= now());
    }
    cr_expect_eq(rec_segments_find(&process.segments, now()), 69);
    cr_expect_eq(rec_segments_find(&process.segments, begins[69]), 69);
    cr_expect_eq(rec_segments_find(&process.segments, begins[69] - 1), 68);
    cr_expect_eq(rec_segments_find(&process.segments, begins[6]), 6, "64 of them are known");
    cr_expect_eq(rec_segments_find(&process.segments, begins[6] - 1), 1, "what is not known is taken whole");
    cr_expect_eq(rec_segments_begin_ns(&process.segments, 5), 0);
    cr_expect_eq(rec_segments_begin_ns(&process.segments, 70), 0);
    rec_segments_stop(&process.segments);
}

Test(segments, are_a_part_of_the_greatest_size)
{
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ SIZE, 0 });
    while (process.segments.number < 5)
        cr_assert_eq(append(&process, now()), 0);
    cr_expect_str_eq(segments_of(&process), "1 2 3 4 5");
    for (uint32_t number = 1; number < 5; number++) {
        uint64_t size = file_size(file_of(&process, number, 1));
        cr_expect_leq(size, SEGMENT_SIZE);
        cr_expect_geq(size, SEGMENT_SIZE - 40000, "another block would not have fitted");
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

/* The program has used up all descriptors, before the first block or later: the recorder's own are what is left. */
Test(segments, begin_without_a_descriptor_to_spare)
{
    for (int has_block = 0; has_block < 2; has_block++) {
        struct process process;
        struct rlimit limit = { 200, 200 };
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        make_process(&process, 7 + has_block, 1, (struct rec_limits){ 0, 0 });
        if (has_block)
            append(&process, 1);
        int used[200], n = 0, results[5];
        while ((used[n] = dup(0)) >= 0)
            n++;
        cr_assert_eq(errno, EMFILE);
        results[0] = append(&process, 2);
        results[1] = append_of(&process, 2, 0, 0, 2);
        results[2] = rec_segments_roll(&process.segments, &err);
        results[3] = append(&process, 3);
        results[4] = append_of(&process, 2, 1, 0, 3);
        while (n > 0)
            close(used[--n]);
        for (int i = 0; i < 5; i++)
            cr_expect_eq(results[i], 0, "%d", i);
        cr_expect_str_eq(segments_of(&process), "1 2");
        for (uint32_t segment = 1; segment <= 2; segment++)
            cr_expect_str_eq(threads_of(&process, segment), "1 2");
        rec_segments_stop(&process.segments);
    }
}

/* ---- which file a block goes to ---- */

/* A thread has one in each segment in which it writes; those that ended with one block that is not full share one. */
Test(segments, have_a_file_for_each_thread)
{
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    append_of(&process, 1, 0, 0, 1);
    append_of(&process, 3, 0, PNR_BLOCK_LAST, 2);       /* it has come and gone */
    append_of(&process, 2, 0, 0, 3);
    append_of(&process, 1, 1, 0, 4);
    append_of(&process, 4, 0, PNR_BLOCK_LAST, 5);
    append_of(&process, 2, 1, PNR_BLOCK_LAST, 6);       /* it has a file */
    cr_expect_str_eq(threads_of(&process, 1), "0 1 2");
    rec_segments_roll(&process.segments, &err);
    cr_expect_str_eq(threads_of(&process, 2), "", "a file is made with its first block");
    append_of(&process, 1, 2, PNR_BLOCK_LAST, 7);
    cr_expect_str_eq(threads_of(&process, 2), "1", "one block of several, though the only one here");
    rec_segments_stop(&process.segments);
    const uint64_t size = file_size(file_of(&process, 2, 1));
    for (uint32_t thread = 0; thread <= 2; thread++)
        cr_expect_eq(file_size(file_of(&process, 1, thread)), 2 * size, "thread %u", thread);
    cr_expect_eq(process.segments.n_bytes, 7 * size);
    cr_expect_eq(process.segments.n_blocks, 7);
}

/* A block that is full is worth a file, even if the thread ended with it. */
Test(segments, recognise_short_threads_by_the_records)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct process process;
    size_t size;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    for (size_t i = 0; i < PNR_BLOCK_RECORDS; i++)
        records[i] = pnr_record_make(i, PNR_CALL, 0, 1);
    for (uint32_t thread = 1; thread <= 2; thread++) {
        struct pnr_block_header header = { .thread = thread, .flags = PNR_BLOCK_LAST,
                                           .n_records = thread == 1 ? PNR_BLOCK_RECORDS - 1 : PNR_BLOCK_RECORDS };
        const void *block = pnr_block_encode(coder, &header, records, &size);
        cr_assert_eq(rec_segments_append(&process.segments, &header, block, size, 1, &err), 0);
    }
    cr_expect_str_eq(threads_of(&process, 1), "0 2");
    rec_segments_stop(&process.segments);
}

static int count_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 4200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Many threads write in turn, and the program has few descriptors: a few files are open at a time, each has its
 * blocks. */
Test(segments, keep_few_files_open)
{
    enum { N = 300, ROUNDS = 5 };
    struct rlimit limit = { 64, 64 };
    struct process process;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int before = count_descriptors(), max = 0;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t thread = 1; thread <= N; thread++) {
            cr_assert_eq(append_of(&process, thread, round, 0, 1), 0, "%s", err.what);
            int n = count_descriptors() - before;
            max = n > max ? n : max;
        }
    }
    cr_expect_eq(max, REC_SEGMENTS_OPEN_FILES + 1, "and one to spare");
    rec_segments_stop(&process.segments);
    cr_expect_eq(count_descriptors(), before);
    const uint64_t size = process.segments.n_bytes / N;
    for (uint32_t thread = 1; thread <= N; thread++)
        cr_expect_eq(file_size(file_of(&process, 1, thread)), size, "thread %u", thread);
    cr_expect_eq(process.segments.size, N * ((size + 4095) / 4096 * 4096));
}

/* Those that write stay open while others come and go. */
Test(segments, keep_the_files_open_that_are_written)
{
    struct process process;
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    append_of(&process, 1, 0, 0, 1);
    for (uint32_t thread = 2; thread < 100; thread++) {
        append_of(&process, thread, 0, 0, 1);
        append_of(&process, 1, thread - 1, 0, 1);
        int fd = -1;
        for (int i = 0; i < REC_SEGMENTS_OPEN_FILES; i++)
            if (process.segments.files[i].used && process.segments.files[i].thread == 1)
                fd = process.segments.files[i].file.fd;
        cr_assert(fd >= 0 && fcntl(fd, F_GETFD) >= 0);
        static int first = -1;
        first = first < 0 ? fd : first;
        cr_assert_eq(fd, first);
    }
    rec_segments_stop(&process.segments);
}

/* The program closes all descriptors and opens its own under the same numbers, as a daemon does. */
Test(segments, are_not_confused_by_a_program_that_closes_their_files)
{
    struct process process;
    char path[PATH_MAX];
    make_process(&process, 7, 1, (struct rec_limits){ 0, 0 });
    for (uint32_t thread = 1; thread <= 3; thread++)
        append_of(&process, thread, 0, 0, 1);
    snprintf(path, sizeof path, "%s/own", capture);
    int own = open(path, O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 3; i++)
        cr_assert_geq(dup2(own, process.segments.files[i].file.fd), 0);
    for (uint32_t thread = 1; thread <= 3; thread++)
        cr_assert_eq(append_of(&process, thread, 1, 0, 1), 0);
    for (uint32_t thread = 4; thread <= 30; thread++)
        append_of(&process, thread, 0, 0, 1);
    rec_segments_stop(&process.segments);
    cr_expect_eq(file_size(path), 0);
    cr_expect_eq(fcntl(own, F_GETFD), 0);
    const uint64_t size = file_size(file_of(&process, 1, 4));
    for (uint32_t thread = 1; thread <= 3; thread++)
        cr_expect_eq(file_size(file_of(&process, 1, thread)), 2 * size);
}

/* All disk blocks of all files count: many small ones fill a segment, too. */
Test(segments, count_the_disk_blocks_of_small_files)
{
    static struct pnr_record record;
    struct process process;
    uint32_t thread = 0;
    size_t size;
    record = pnr_record_make(0, PNR_CALL, 0, 1);
    make_process(&process, 7, 1, (struct rec_limits){ SIZE, 0 });
    while (process.segments.number == 1) {
        struct pnr_block_header header = { .thread = ++thread, .n_records = 1 };
        const void *block = pnr_block_encode(coder, &header, &record, &size);
        cr_assert_lt(size, 4096);
        cr_assert_eq(rec_segments_append(&process.segments, &header, block, size, now(), &err), 0);
    }
    cr_expect_eq(thread, SEGMENT_SIZE / 4096 + 1);
    rec_segments_stop(&process.segments);
}

/* ---- what is evicted ---- */

Test(segments, evict_the_oldest_when_the_size_is_reached)
{
    struct process process;
    uint32_t first, last;
    uint64_t min = SIZE;
    make_process(&process, 7, 8, (struct rec_limits){ SIZE, 0 });
    while (process.segments.n_bytes < 3 * SIZE) {
        cr_assert_eq(append(&process, now()), 0, "%s", err.what);
        uint64_t size = capture_size();
        cr_assert_leq(size, SIZE - SIZE / 8, "a part is left for the name table, which grows meanwhile");
        if (process.segments.n_bytes > SIZE && size < min)
            min = size;
    }
    cr_expect(is_row(&process, &first, &last));
    cr_expect_eq(last, process.segments.number);
    cr_expect_gt(first, 60);
    cr_expect_geq(min, SIZE / 16 * 13 - SEGMENT_SIZE, "not more than need be: %lu", (unsigned long)min);
    rec_segments_stop(&process.segments);
}

/* One process rests, the other fills the capture: the older data goes, wherever it is, but not what a process that runs
 * has in hand. */
Test(segments, evict_the_oldest_of_all_processes)
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

/* A process that was killed, or has ended in order and so has no live mapping, goes with all that it has when that is
 * the oldest. */
Test(segments, evict_processes_that_are_gone)
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
        cr_expect_str_eq(segments_of(&gone), "1 2 3", "all fits");
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
Test(segments, evict_the_lowest_number_first)
{
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        struct process process;
        uint32_t first, last;
        make_process(&process, 7 + is_damaged, 1, (struct rec_limits){ SIZE, 0 });
        for (uint32_t number = 1; number <= 30; number++) {
            append(&process, SECOND * (100 - number));
            cr_assert_eq(rec_segments_roll(&process.segments, &err), 0);
            cr_assert(!is_damaged || number % 3 || truncate(file_of(&process, number, 1), 50) == 0);
        }
        for (first = 1; first < 25;) {
            cr_assert_eq(append(&process, SECOND * 200), 0);
            cr_assert(is_row(&process, &first, &last), "%s", segments_of(&process));
        }
        rec_segments_stop(&process.segments);
        set_life(&process, DEAD);
    }
}

Test(segments, evict_what_is_too_old)
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

/* Data of other processes goes, too, also while nothing is written; but not at every tick. */
Test(segments, evict_what_others_left_too_long_ago)
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

/* ---- when not enough can be evicted ---- */

Test(segments, report_when_nothing_more_can_be_evicted)
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
    cr_expect_eq(capture_size(), size, "nothing is evicted or begun");
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

/* Eviction makes space for a new process, and nobody else takes it meanwhile. */
Test(segments, make_space_for_a_process)
{
    const struct rec_limits limits = { SIZE, 0 };
    struct process process;
    uint32_t first, last;
    int lock;
    make_process(&process, 7, 8, limits);
    cr_assert_eq(rec_retention_reserve(capture, &limits, 2 << 20, &lock, &err), 0);
    cr_expect(is_locked());
    rec_retention_release(lock);
    cr_expect_not(is_locked());
    cr_expect_str_eq(segments_of(&process), "1");
    while (process.segments.n_bytes < 2 * SIZE)
        append(&process, now());
    cr_expect_not(is_locked());
    cr_assert_eq(rec_retention_reserve(capture, &limits, 2 << 20, &lock, &err), 0);
    rec_retention_release(lock);
    cr_expect_leq(capture_size() + (2 << 20) + SEGMENT_SIZE, SIZE);
    cr_expect(is_row(&process, &first, &last) && last == process.segments.number);
    cr_expect_eq(rec_retention_reserve(capture, &limits, SIZE, &lock, &err), -1, "so much there will never be");
    cr_expect_eq(err.sys_errno, EDQUOT);
    cr_expect_not(is_locked());
    rec_segments_stop(&process.segments);
}

Test(segments, need_no_space_without_limits)
{
    const struct rec_limits none = { 0, 0 }, some = { SIZE, 0 };
    int lock;
    cr_assert_eq(rec_retention_reserve(capture, &none, UINT64_C(1) << 60, &lock, &err), 0);
    cr_expect_not(is_locked());
    rec_retention_release(lock);
    cr_expect_eq(rec_retention_reserve("/nonexistent", &some, 1, &lock, &err), -1);
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
    uint64_t max = 0;
    for (int i = 0; i < N; i++)
        if (fork() == 0)
            _exit(write_much());
    int lock = open(capture, O_RDONLY | O_DIRECTORY);
    while (n_ended < N) {
        if (waitpid(-1, &status, WNOHANG) > 0) {
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
            n_ended++;
        }
        flock(lock, LOCK_EX);           /* what is evicted meanwhile would be counted with what follows it */
        uint64_t size = capture_size();
        flock(lock, LOCK_UN);
        if (size > max)
            max = size;
        usleep(2000);
    }
    close(lock);
    cr_expect_leq(max, SIZE);
    cr_expect_geq(max, SIZE / 2);
}
