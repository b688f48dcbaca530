#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/capture.h"

/* ---- what the tests share: a directory of the test's own, in which it stands ---- */

static char home[] = P_tmpdir "/panopticon-XXXXXX";

static void enter(void)
{
    cr_assert(mkdtemp(home));
    cr_assert_eq(chdir(home), 0);
}

static void leave(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", home);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(system(command), 0);
}

TestSuite(capture, .init = enter, .fini = leave);

static void touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* A process with a name table. */
static void make_process(const char *capture)
{
    char path[300];
    snprintf(path, sizeof path, "%s/process-1", capture);
    cr_assert_eq(mkdir(path, 0700), 0);
    strcat(path, "/names");
    touch(path);
}

/* ---- the directory ---- */

/* Others may pass through directories that root makes: a process that has dropped its privileges reaches its own
 * files. */
Test(capture, makes_private_directories)
{
    static const struct { const char *path, *taken; } rows[] = {
        { "run.pnr", "run.pnr" }, { "run.pnr", "run-2.pnr" }, { "run.pnr", "run-3.pnr" }, { "run-2.pnr", "run-2-2.pnr" },
        { "plain", "plain" }, { "plain", "plain-2" }, { "a.b.pnr", "a.b.pnr" }, { "a.b.pnr", "a.b-2.pnr" },
        { "a.b/.hidden", "a.b/.hidden" }, { "a.b/.hidden", "a.b/.hidden-2" },
        { "a.b/x", "a.b/x" }, { "a.b/x", "a.b/x-2" }, { ".dot", ".dot" }, { ".dot", ".dot-2" },
    };
    cr_assert_eq(mkdir("a.b", 0700), 0);
    umask(0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char taken[200];
        struct pnr_err err;
        cr_assert_eq(pnr_capture_make(rows[i].path, taken, sizeof taken, &err), 0, "row %zu", i);
        cr_expect_str_eq(taken, rows[i].taken, "row %zu", i);
        cr_expect_eq(mode_of(taken), geteuid() == 0 ? 0711 : 0700, "row %zu", i);
        make_process(taken);            /* an empty directory is no capture */
    }
}

Test(capture, makes_private_directories_of_processes)
{
    static const char *const expected[] = { "run.pnr/process-7", "run.pnr/process-7-2", "run.pnr/process-7-3" };
    char begun[200];
    cr_assert_eq(mkdir("run.pnr", 0700), 0);
    umask(0);
    snprintf(begun, sizeof begun, "run.pnr/begun-%d-%" PRIu64 "-%" PRIu64, (int)getpid(), pnr_process_start(),
             pnr_process_namespace());
    for (size_t i = 0; i < 3; i++) {
        char path[200];
        struct pnr_err err;
        cr_assert_eq(pnr_capture_make_partial("run.pnr", path, sizeof path, &err), 0);
        cr_expect_str_eq(path, begun);
        cr_assert_eq(pnr_capture_publish_process("run.pnr", 7, path, sizeof path, &err), 0);
        cr_expect_str_eq(path, expected[i]);
        char names[220];
        snprintf(names, sizeof names, "%s/names", path);
        touch(names);                   /* an empty directory would be replaced */
        cr_expect_eq(mode_of(path), 0700);
    }
}

Test(capture, reports_why_it_cannot_be_made)
{
    touch("file");
    cr_assert_eq(mkdir("there", 0700), 0);
    static const struct { const char *path; size_t capacity; int number; } rows[] = {
        { "absent/x", 200, ENOENT }, { "file/x", 200, ENOTDIR }, { "there/x", 7, ENAMETOOLONG },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[200];
        struct pnr_err err;
        for (int is_process = 0; is_process < 2; is_process++) {
            cr_expect_eq(is_process ? pnr_capture_make_partial(rows[i].path, path, rows[i].capacity, &err) :
                         pnr_capture_make(rows[i].path, path, rows[i].capacity, &err), -1, "row %zu", i);
            cr_expect_eq(err.code, PNR_E_SYSTEM, "row %zu", i);
            cr_expect_eq(err.sys_errno, rows[i].number, "row %zu", i);
            cr_expect_str_eq(err.path, rows[i].path, "row %zu", i);
        }
    }
}

Test(capture, is_numbered_alongside_captures_only)
{
    static const char *const there[] = { "file", "folder", "link", "empty", "alike" };
    touch("file");
    cr_assert_eq(mkdir("empty", 0700), 0);
    cr_assert_eq(mkdir("alike", 0700), 0);
    cr_assert_eq(mkdir("alike/process-data", 0700), 0);
    cr_assert_eq(mkdir("alike/begun-x", 0700), 0);
    cr_assert_eq(mkdir("folder", 0700), 0);
    touch("folder/something");
    cr_assert_eq(symlink("absent", "link"), 0);
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        char taken[200];
        struct pnr_err err;
        cr_expect_eq(pnr_capture_make(there[i], taken, sizeof taken, &err), -1, "%s", there[i]);
        cr_expect_eq(err.sys_errno, EEXIST, "%s", there[i]);
    }
}

Test(capture, lists_processes_by_number)
{
    static const char *const directories[] = { "process-12", "process-7-10", "process-7-2", "process-7", "process-100",
                                               "process-", "process-x", "process-7-", "process-7-x", "process-7x",
                                               "process--7", "process-+7", "process- 7", "Process-7", "other" };
    static const char *const expected[] = { "process-7", "process-7-2", "process-7-10", "process-12", "process-100" };
    struct pnr_list list;
    struct pnr_err err;
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        cr_assert_eq(mkdir(directories[i], 0700), 0);
    cr_assert_eq(pnr_capture_processes(".", &list, &err), 0);
    cr_expect_eq(list.n, 5);
    for (size_t i = 0; i < 5 && i < list.n; i++)
        cr_expect_str_eq(list.names[i], expected[i]);
    pnr_list_clear(&list);
    cr_expect_eq(list.n, 0);
    pnr_list_clear(&list);
}

Test(capture, refuses_other_directories)
{
    touch("file");
    cr_assert_eq(mkdir("empty", 0700), 0);
    static const struct { const char *path; enum pnr_code code; } rows[] = {
        { "file", PNR_E_NOT_CAPTURE }, { "empty", PNR_E_NOT_CAPTURE }, { "absent", PNR_E_SYSTEM },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pnr_list list;
        struct pnr_err err;
        cr_expect_eq(pnr_capture_processes(rows[i].path, &list, &err), -1, "row %zu", i);
        cr_expect_eq(err.code, rows[i].code, "row %zu", i);
        cr_expect_str_eq(err.path, rows[i].path, "row %zu", i);
        pnr_list_clear(&list);
    }
}

/* Lists entries of any type: the reader checks what they are. */
Test(capture, lists_segments_by_number)
{
    static const char *const directories[] = { "segment-2", "segment-10", "segment-1", "segment-4294967295", "segment-0",
                                               "segment-01", "segment-", "segment-3.tmp", "segment-3.zst", "segment--3",
                                               "segment-+3", "segment- 3", "segment-4294967296", "segment-4294967299",
                                               "segment-99999999999999999999", "thread-3", "Segment-3", "evicted" };
    static const uint32_t expected[] = { 1, 2, 10, UINT32_MAX };
    uint32_t *numbers;
    size_t n;
    struct pnr_err err;
    cr_assert_eq(pnr_capture_segments(".", &numbers, &n, &err), 0);
    cr_expect_eq(n, 0);
    free(numbers);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        cr_assert_eq(mkdir(directories[i], 0700), 0);
    touch("names");
    touch("live");
    cr_assert_eq(pnr_capture_segments(".", &numbers, &n, &err), 0);
    cr_assert_eq(n, 4, "%zu", n);
    cr_expect_arr_eq(numbers, expected, sizeof expected);
    free(numbers);
    cr_expect_eq(pnr_capture_segments("absent", &numbers, &n, &err), -1);
    cr_expect_eq(err.code, PNR_E_SYSTEM);
}

/* More than fit in what is allocated at first, made in another order. */
Test(capture, lists_many_segments)
{
    uint32_t *numbers;
    size_t n;
    struct pnr_err err;
    for (uint32_t i = 0; i < 300; i++) {
        char path[PATH_MAX];
        pnr_segment_path(".", i * 7 % 300 + 5, path);
        cr_assert_eq(mkdir(path, 0700), 0);
    }
    cr_assert_eq(pnr_capture_segments(".", &numbers, &n, &err), 0);
    cr_assert_eq(n, 300);
    for (uint32_t i = 0; i < 300; i++)
        cr_expect_eq(numbers[i], i + 5);
    free(numbers);
}

/* The name identifies the process, so that others can find out whether it still runs. */
Test(capture, finds_the_state_of_partial_processes)
{
    static const char *const others[] = { "begun-7", "begun-7-8", "begun-7-8-9-", "begun-7-8-9-x", "begun-7-8-9x",
                                          "begun--7-8-9", "begun-x-8-9", "Begun-7-8-9", "process-7-8-9", "begun-7-8-",
                                          "begun-7-8-99999999999999999999" };
    enum pnr_process_state state;
    char path[200];
    struct pnr_err err;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_expect_not(pnr_capture_is_partial(others[i], &state), "%s", others[i]);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pnr_capture_make_partial(".", path, sizeof path, &err), 0);
        cr_assert(pnr_capture_is_partial(path + 2, &state), "%s", path);
        cr_expect_eq(state, PNR_PROCESS_RUNS);
    }
    snprintf(path, sizeof path, "begun-%d-1-%" PRIu64, getpid(), pnr_process_namespace());
    cr_assert(pnr_capture_is_partial(path, &state));
    cr_expect_eq(state, PNR_PROCESS_GONE, "another one of that number");
    cr_assert(pnr_capture_is_partial("begun-1-2-3", &state));
    cr_expect_eq(state, PNR_PROCESS_UNKNOWN, "in another namespace");
}

Test(capture, writes_paths_whole_or_not_at_all)
{
    char path[PATH_MAX], folder[PATH_MAX];
    pnr_file_path("run.pnr/process-7", "names", path);
    cr_expect_str_eq(path, "run.pnr/process-7/names");
    pnr_segment_path("run.pnr/process-7", 4294967295, path);
    cr_expect_str_eq(path, "run.pnr/process-7/segment-4294967295");
    pnr_thread_path("run.pnr/process-7", 4294967295, 4294967294, path);
    cr_expect_str_eq(path, "run.pnr/process-7/segment-4294967295/thread-4294967294.zst");
    pnr_thread_path("run.pnr/process-7", 1, PNR_SHORT_THREADS, path);
    cr_expect_str_eq(path, "run.pnr/process-7/segment-1/short-threads.zst");
    memset(folder, 'x', sizeof folder);
    folder[PATH_MAX - 7] = 0;           /* with "/names" and a NUL it is just as long as a path may be */
    pnr_file_path(folder, "names", path);
    cr_expect_eq(strlen(path), PATH_MAX - 1);
    pnr_file_path(folder, "names2", path);
    cr_expect_str_eq(path, "", "nowhere");
    pnr_segment_path(folder, 1, path);
    cr_expect_str_eq(path, "", "nowhere");
    pnr_thread_path(folder, 1, 1, path);
    cr_expect_str_eq(path, "", "nowhere");
}

/* ---- the live mapping ---- */

Test(capture, live_mapping_has_the_layout_of_the_spec)
{
    /* specs/capture-format.md, section 7: where the records begin */
    static const struct { uint32_t n_chunks; off_t records_at; } rows[] = {
        { 1, 8192 }, { 32, 8192 }, { 33, 12288 }, { 64, 12288 }, { 65, 16384 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static const unsigned char start[24] = { 'P', 'N', 'R', '-', 'L', 'I', 'V', 'E', 1 };
        unsigned char bytes[128];
        struct pnr_live live;
        struct pnr_err err;
        struct stat st;
        uint32_t last = rows[i].n_chunks - 1, numbers[2];
        cr_assert_eq(pnr_live_create(".", rows[i].n_chunks, &live, &err), 0, "row %zu", i);
        cr_assert_eq(stat("live", &st), 0);
        cr_expect_eq(st.st_mode & 07777, 0600);
        cr_expect_eq(st.st_size, rows[i].records_at + rows[i].n_chunks * (off_t)262144, "row %zu", i);
        cr_expect_geq(st.st_blocks * 512, st.st_size, "its space is allocated");

        live.header->clock_samples[1].ticks = 7;
        live.header->process_start = 8;
        live.header->pid_namespace = 9;
        live.header->n_events = 10;
        live.chunks[last].state = PNR_CHUNK_IN_USE;
        pnr_live_count_block(&live, last, 1);
        live.records[(size_t)last * PNR_BLOCK_RECORDS] = pnr_record_make(0x1234, PNR_CALL, 0, 5);
        int fd = open("live", O_RDONLY);
        cr_assert_eq(pread(fd, bytes, 128, 0), 128);
        memcpy(numbers, bytes + 12, sizeof numbers);
        cr_expect_arr_eq(bytes, start, 12);
        cr_expect_eq(numbers[0], rows[i].n_chunks);
        cr_expect_eq(numbers[1], 16384);
        cr_expect_eq(bytes[56], 7, "clock_samples[1]");
        cr_expect_eq(bytes[80], 8, "process_start");
        cr_expect_eq(bytes[88], 9, "pid_namespace");
        cr_expect_eq(bytes[96], 11, "n_events");
        cr_assert_eq(pread(fd, bytes, 128, 4096 + 128 * (off_t)last), 128);
        cr_expect_eq(bytes[96], 1, "state");
        cr_expect_eq(bytes[104], 11, "n_events");
        cr_assert_eq(pread(fd, bytes, 16, rows[i].records_at + last * (off_t)262144), 16);
        cr_expect_eq(bytes[1], 0x12, "record");
        close(fd);
        pnr_live_close(&live, ".", true);
        cr_expect_neq(access("live", F_OK), 0);
    }
}

Test(capture, live_mapping_survives_its_process)
{
    struct pnr_live live;
    struct pnr_err err;
    pid_t child = fork();
    if (child == 0) {
        if (pnr_live_create(".", 2, &live, &err) != 0)
            _exit(1);
        for (uint32_t i = 0; i < 100; i++)
            live.records[PNR_BLOCK_RECORDS + i] = pnr_record_make(i, PNR_CALL, 0, i);
        live.records[PNR_BLOCK_RECORDS + 100].word[1] = ~UINT64_C(0);   /* killed between the two stores */
        live.records[PNR_BLOCK_RECORDS + 101] = pnr_record_make(1, PNR_CALL, 0, 1);
        abort();
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(pnr_live_open(".", &live, &err), 1);
    cr_expect_eq(live.header->n_chunks, 2);
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct pnr_live_chunk chunk;
    cr_expect_eq(pnr_live_read(&live, 0, &chunk, records), 0);
    cr_expect_eq(pnr_live_read(&live, 1, &chunk, records), 100);
    cr_expect_eq(pnr_record_function(records[99]), 99);
    pnr_live_close(&live, ".", false);
    cr_expect_eq(access("live", F_OK), 0);
}

/* As a file gives them: ticks 0 are those of the record before. */
Test(capture, live_mapping_fills_the_ticks_of_a_sparse_chunk)
{
    static const uint64_t ticks[] = { 0, 0, 7, 0, 0, 9, 12, 0 }, filled[] = { 0, 0, 7, 7, 7, 9, 12, 12 };
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct pnr_block_header header = { .flags = PNR_BLOCK_SPARSE, .thread = 1 };
    struct pnr_live_chunk chunk;
    struct pnr_live live, read;
    struct pnr_err err;
    cr_assert_eq(pnr_live_create(".", 2, &live, &err), 0);
    for (uint32_t k = 0; k < 2; k++) {
        pnr_block_header_seal(&header);
        pnr_live_begin(&live, k, &header);
        for (size_t i = 0; i < 8; i++)
            pnr_live_store(&live.records[k * PNR_BLOCK_RECORDS + i], pnr_record_make(ticks[i], PNR_CALL, 0, 1));
        header.flags = 0;
    }
    cr_assert_eq(pnr_live_open(".", &read, &err), 1);
    for (uint32_t k = 0; k < 2; k++) {
        cr_expect_eq(pnr_live_read(&read, k, &chunk, records), 8);
        cr_expect_eq(chunk.block.version, k ? 1 : 2);
        for (size_t i = 0; i < 8; i++)
            cr_expect_eq(pnr_record_ticks(records[i]), k ? ticks[i] : filled[i], "chunk %u, record %zu", k, i);
    }
    pnr_live_close(&read, ".", false);
    pnr_live_close(&live, ".", true);
}

Test(capture, live_mapping_counts_a_full_chunk)
{
    struct pnr_live live;
    struct pnr_err err;
    cr_assert_eq(pnr_live_create(".", 2, &live, &err), 0);
    for (uint32_t i = 0; i < PNR_BLOCK_RECORDS; i++)
        live.records[i] = pnr_record_make(i, PNR_RETURN, 0, 1);
    live.records[PNR_BLOCK_RECORDS] = live.records[PNR_BLOCK_RECORDS + 1] = live.records[0];
    cr_expect_eq(pnr_live_count(&live, 0), PNR_BLOCK_RECORDS);
    cr_expect_eq(pnr_live_count(&live, 1), 2);
    pnr_live_close(&live, ".", true);
}

/* ---- the order of stores (specs/recording.md, section 7) ---- */

#define N_STRESSED 2048                 /* records of a chunk before it is freed */
#define RETRACTED_ONCE (UINT32_C(1) << 31)

static struct pnr_live stressed;
static _Atomic bool is_stressed_enough;

/* A record all of whose fields have the same value: halves of two records would show. */
static void store_stressed(uint32_t k, uint32_t value)
{
    pnr_live_store(&stressed.records[k], pnr_record_make(value, PNR_START, (uint64_t)value << 16 | value >> 16, value));
}

/* Takes, fills and frees the chunk again and again, and retracts some of the records. */
static void *stress_chunk(void *unused)
{
    for (uint32_t block = 1; !atomic_load(&is_stressed_enough); block = block % 0xffff + 1) {
        struct pnr_block_header header = { .thread = block };
        pnr_block_header_seal(&header);
        pnr_live_begin(&stressed, 0, &header);
        for (uint32_t k = 0; k < N_STRESSED; k++) {
            store_stressed(k, block << 15 | k);
            if (k % 5)
                continue;
            pnr_live_clear(&stressed.records[k]);
            store_stressed(k, RETRACTED_ONCE | block << 15 | k);
        }
        pnr_live_free(&stressed, 0);
        memset(stressed.records, 0, N_STRESSED * sizeof *stressed.records);
    }
    return unused;
}

/* Each record that is copied meanwhile is whole, of the block whose header was read, and in its place. On a processor that
 * reorders stores this finds a release or an acquire that is missing. */
Test(capture, live_records_are_whole_while_they_are_stored)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct pnr_err err;
    pthread_t thread;
    uint32_t n_wrong = 0;
    cr_assert_eq(pnr_live_create(".", 1, &stressed, &err), 0);
    cr_assert_eq(pthread_create(&thread, NULL, stress_chunk, NULL), 0);
    for (int n_copies = 0; n_copies < 2000;) {
        struct pnr_block_header header;
        uint32_t n = pnr_live_header(&stressed, 0, &header) ?
                     pnr_live_copy(&stressed, 0, &header, records, PNR_BLOCK_RECORDS) : 0;
        n_copies += n > 0;
        for (uint32_t k = 0; k < n; k++) {
            uint32_t value = pnr_record_function(records[k]);
            n_wrong += (value & ~RETRACTED_ONCE) != (((uint32_t)header.thread << 15 | k) & ~RETRACTED_ONCE) ||
                       pnr_record_ticks(records[k]) != value ||
                       pnr_record_frame(records[k]) != ((uint64_t)value << 16 | value >> 16);
        }
        sched_yield();
    }
    atomic_store(&is_stressed_enough, true);
    pthread_join(thread, NULL);
    cr_expect_eq(n_wrong, 0);
    pnr_live_close(&stressed, ".", true);
}

Test(capture, live_mapping_is_not_inherited)
{
    struct pnr_live live;
    struct pnr_err err;
    int status;
    cr_assert_eq(pnr_live_create(".", 1, &live, &err), 0);
    pid_t child = fork();
    if (child == 0) {
        unsigned char there;
        _exit(mincore(live.header, 4096, &there) != 0 && errno == ENOMEM ? 0 : 1);
    }
    waitpid(child, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pnr_live_close(&live, ".", true);
}

Test(capture, live_mapping_is_made_only_once)
{
    struct pnr_live live, again;
    struct pnr_err err;
    cr_assert_eq(pnr_live_create(".", 1, &live, &err), 0);
    cr_expect_eq(pnr_live_create(".", 1, &again, &err), -1);
    cr_expect_eq(err.sys_errno, EEXIST);
    pnr_live_close(&live, ".", true);
    cr_expect_eq(pnr_live_create("absent", 1, &again, &err), -1);
    cr_expect_eq(err.sys_errno, ENOENT);
}

Test(capture, live_mapping_refuses_other_files)
{
    struct pnr_live live;
    struct pnr_err err;
    cr_expect_eq(pnr_live_open(".", &live, &err), 0);
    cr_assert_eq(symlink("/dev/zero", "live"), 0);
    cr_expect_eq(pnr_live_open(".", &live, &err), -1, "a link is not followed");
    cr_assert_eq(unlink("live"), 0);
    cr_assert_eq(mkdir("live", 0700), 0);
    cr_expect_eq(pnr_live_open(".", &live, &err), -1, "a directory");
    cr_assert_eq(rmdir("live"), 0);
    cr_assert_eq(mkfifo("live", 0600), 0);
    cr_expect_eq(pnr_live_open(".", &live, &err), -1, "a pipe, without waiting for its other end");
}

Test(capture, live_header_is_checked_field_by_field)
{
    static const struct {
        const char *name;
        off_t at;
        uint32_t value;
        off_t size;                     /* the file is cut to; 0: not cut, -1: to nothing */
        int step;
        enum pnr_code code;
    } rows[] = {
        { "good", 8, 1, 0, 1, PNR_OK },
        { "longer", 8, 1, 1 << 20, 1, PNR_OK },
        { "magic", 0, 0x2d524e51, 0, -1, PNR_E_CORRUPT },
        { "version 0", 8, 0, 0, -1, PNR_E_CORRUPT },
        { "version 2", 8, 2, 0, -1, PNR_E_VERSION },
        { "no chunks", 12, 0, 0, -1, PNR_E_CORRUPT },
        { "more chunks than the file has", 12, 3, 0, -1, PNR_E_CORRUPT },
        { "absurd number of chunks", 12, UINT32_MAX, 0, -1, PNR_E_CORRUPT },
        { "chunks too many", 12, 4097, 0, -1, PNR_E_CORRUPT },
        { "chunk size", 16, 16385, 0, -1, PNR_E_CORRUPT },
        { "a byte short", 8, 1, 8192 + 2 * 262144 - 1, -1, PNR_E_CORRUPT },
        { "only a header", 8, 1, 4096, -1, PNR_E_CORRUPT },
        { "no whole header", 8, 1, 4095, -1, PNR_E_TRUNCATED },
        { "empty", 8, 1, -1, -1, PNR_E_TRUNCATED },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pnr_live live;
        struct pnr_err err;
        cr_assert_eq(pnr_live_create(".", 2, &live, &err), 0);
        pnr_live_close(&live, ".", false);
        int fd = open("live", O_WRONLY);
        cr_assert_eq(pwrite(fd, &rows[i].value, 4, rows[i].at), 4);
        if (rows[i].size)
            cr_assert_eq(ftruncate(fd, rows[i].size < 0 ? 0 : rows[i].size), 0);
        close(fd);
        cr_expect_eq(pnr_live_open(".", &live, &err), rows[i].step, "%s", rows[i].name);
        if (rows[i].step == 1)
            pnr_live_close(&live, ".", false);
        else
            cr_expect_eq(err.code, rows[i].code, "%s", rows[i].name);
        cr_assert_eq(unlink("live"), 0);
    }
}
