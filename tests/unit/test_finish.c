/* recorder/finish.h: what a killed process left is made whole by another one, whatever happens meanwhile. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/process.h"
#include "recorded.h"
#include "recorder/finish.h"
#include "recorder/retention.h"

#define THREADS 6
#define DIE_NEVER -1

/* ---- calls that change files: the recorder's are those of this file ---- */

enum how { BEFORE, HALFWAY, AFTER, FAILING };  /* killed then, or the call fails */

static struct {
    int at;                             /* which call, from 0; DIE_NEVER */
    enum how how;
    bool blocks_only;                   /* only writes of blocks count */
    int n;
} fault = { .at = DIE_NEVER };

/* Returns whether it is this call's turn, in which case nothing is done before its begin. */
static bool is_due(bool is_block)
{
    if (fault.at == DIE_NEVER || (fault.blocks_only && !is_block) || fault.n++ != fault.at)
        return false;
    if (fault.how == BEFORE)
        kill(getpid(), SIGKILL);
    return true;
}

/* What is left to do when it is this call's turn. */
static long done(bool is_due, long result)
{
    if (is_due)
        kill(getpid(), SIGKILL);
    return result;
}

static int fail(void)
{
    errno = ENOSPC;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    static const uint32_t skippable = PNR_BLOCK_SKIPPABLE;
    bool is = is_due(size > sizeof skippable && memcmp(bytes, &skippable, sizeof skippable) == 0);
    if (is && fault.how == FAILING)
        return fail();
    return done(is, syscall(SYS_write, fd, bytes, is && fault.how == HALFWAY ? size / 2 : size));
}

int truncate(const char *path, off_t size)
{
    bool is = is_due(false);
    return is && fault.how == FAILING ? fail() : (int)done(is, syscall(SYS_truncate, path, size));
}

int unlink(const char *path)
{
    bool is = is_due(false);
    return is && fault.how == FAILING ? fail() : (int)done(is, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int mkdirat(int above, const char *path, mode_t mode)
{
    bool is = is_due(false);
    return is && fault.how == FAILING ? fail() : (int)done(is, syscall(SYS_mkdirat, above, path, mode));
}

/* ---- what the tests share: processes that record and are killed ---- */

static char folder[] = "/tmp/panopticon-test-XXXXXX", capture[60], nobody[100];

/* What a process has recorded, as it says itself. */
static struct reported {
    uint64_t n_stored[THREADS];
} *reported;

static void begin(void)
{
    cr_assert(mkdtemp(folder));
    snprintf(capture, sizeof capture, "%s/run.pnr", folder);
    snprintf(nobody, sizeof nobody, "%s/process-1234567", capture);
    reported = mmap(NULL, 16 * sizeof *reported, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(reported, MAP_FAILED);
    rec_clock_init();
}

static void __attribute__((format(printf, 1, 2))) shell(const char *format, ...)
{
    char command[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    cr_assert_eq(system(command), 0, "%s", command);
}

static void end(void)
{
    shell("rm -rf %s", folder);
}

TestSuite(finish, .init = begin, .fini = end, .timeout = 300);

static const char *process_of(pid_t pid)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/process-%d", capture, pid);
    return path;
}

/* Threads that record in turn, in pieces of various lengths: of the first there are many blocks, of the last a few
 * records. The thread before the last has come and gone. */
static void record(struct reported *mine)
{
    struct rec_buffer *buffers[THREADS];
    for (uint32_t t = 0; t < THREADS; t++)
        buffers[t] = new_buffer(7 + t);
    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t t = 0; t < THREADS; t++) {
            uint32_t n = t == THREADS - 1 ? 1 : 9000 / (t + 1);
            for (uint32_t i = 0; i < n && buffers[t]; i++) {
                append(buffers[t], mine->n_stored[t]);
                mine->n_stored[t]++;
            }
        }
        if (round == 3) {
            end_buffer(buffers[THREADS - 2]);
            buffers[THREADS - 2] = NULL;
        }
    }
}

/* A process that records into the capture, and then is killed; or at the at-th write of a block. Returns its id. */
static pid_t record_and_die(struct reported *mine, int at, enum how how)
{
    struct rec_drain_options options = { .discards = false };
    struct rec_totals totals;
    char taken[PATH_MAX];
    struct pnr_err err;
    int status;
    memset(mine, 0, sizeof *mine);
    pid_t pid = fork();
    if (pid == 0) {
        if (rec_session_start(capture, access(capture, F_OK) == 0, &options, taken, &err) != 0)
            _exit(1);
        fault.at = at;
        fault.how = how;
        fault.blocks_only = true;
        record(mine);
        if (at != DIE_NEVER)
            rec_session_stop(&totals);      /* it does not come to its end */
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return pid;
}

/* Finishes in a process of its own. Returns its status. */
static int finish_in_child(int at, enum how how)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        fault.at = at;
        fault.how = how;
        rec_finish_all(capture, 10000);
        _exit(at == DIE_NEVER || fault.n > at ? 0 : 1);         /* 1: there were not so many calls */
    }
    waitpid(pid, &status, 0);
    return status;
}

static bool has_live(const char *process)
{
    char path[PATH_MAX];
    pnr_file_path(process, "live", path);
    return access(path, F_OK) == 0;
}

static struct pnr_live_header live_header(const char *process)
{
    struct pnr_live live;
    struct pnr_live_header header;
    struct pnr_err err;
    cr_assert_eq(pnr_live_open(process, &live, &err), 1, "%s", err.what);
    header = *live.header;
    pnr_live_close(&live, process, false);
    return header;
}

static uint64_t property(const char *process, const char *key)
{
    uint32_t n_functions;
    const char *text = find_property(process, key, &n_functions);
    cr_assert(*text, "%s", key);
    return strtoull(text, NULL, 10);
}

/* Each record of each thread is in its thread's file once, in order, and the name table has the properties of the
 * end. Another thread may have killed the process between a record and the moment when it reported that. */
static void check_whole(const char *process, const struct reported *mine, const struct pnr_live_header *was)
{
    uint64_t sum = 0;
    cr_expect_not(has_live(process));
    for (uint32_t t = 0; t < THREADS; t++) {
        uint64_t n = read_thread(process, t + 1).n;
        cr_expect(n == mine->n_stored[t] || n == mine->n_stored[t] + 1, "thread %u", t + 1);
        sum += n;
    }
    cr_expect_eq(property(process, "events"), sum);
    if (was) {
        const struct pnr_clock_sample *last = &was->clock_samples[was->latest & 1];
        cr_expect_eq(property(process, "killed_ticks"), last->ticks);
        cr_expect_eq(property(process, "killed_monotonic_ns"), last->monotonic_ns);
        cr_expect_eq(property(process, "killed_realtime_ns"), last->realtime_ns);
    }
}

/* ---- a process that was killed ---- */

Test(finish, writes_what_was_in_chunks)
{
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    const struct pnr_live_header was = live_header(process_of(pid));
    rec_finish_all(capture, 0);
    check_whole(process_of(pid), &reported[0], &was);
    cr_expect_not(read_thread(process_of(pid), 1).is_ended);
}

/* Kills the process at each of its writes of a block: before it, in the midst of it, and when the block is there but
 * its chunk is still in use. Some of these are between the making of a segment or a file and its first block. */
Test(finish, takes_each_block_once_wherever_the_kill_came)
{
    for (int how = BEFORE; how <= AFTER; how++) {
        for (int at = 0; at < 12; at++) {
            pid_t pid = record_and_die(&reported[0], at, (enum how)how);
            const struct pnr_live_header was = live_header(process_of(pid));
            rec_finish_all(capture, 0);
            check_whole(process_of(pid), &reported[0], &was);
        }
    }
}

/* Finds the chunk whose block is in its file. Gives its number; the block's header lies at the end of the path's
 * file. */
static uint32_t find_written(const char *process, char *path, struct pnr_block_header *header)
{
    struct pnr_live live;
    struct pnr_err err;
    uint32_t skippable[2], found = UINT32_MAX;
    cr_assert_eq(pnr_live_open(process, &live, &err), 1);
    for (uint32_t k = 0; k < live.header->n_chunks; k++) {
        if (live.chunks[k].state != PNR_CHUNK_IN_USE)
            continue;
        for (int i = 0; i < 2; i++) {
            pnr_thread_path(process, 1, i ? live.chunks[k].block.thread : PNR_SHORT_THREADS, path);
            FILE *file = fopen(path, "rb");
            while (file && found == UINT32_MAX && fread(skippable, sizeof skippable, 1, file) == 1 &&
                   fread(header, sizeof *header, 1, file) == 1) {
                fseek(file, header->data_size, SEEK_CUR);
                if (header->thread == live.chunks[k].block.thread && header->sequence == live.chunks[k].block.sequence)
                    found = k;
            }
            if (file)
                fclose(file);
            if (found != UINT32_MAX)
                goto end;
        }
    }
end:
    pnr_live_close(&live, process, false);
    cr_assert_neq(found, UINT32_MAX);
    return found;
}

/* The kill came when the block was in its file, and its events were counted, or about to be. */
Test(finish, counts_each_event_once)
{
    for (int step = 0; step < 2; step++) {
        pid_t pid = record_and_die(&reported[0], 3, AFTER);
        char path[PATH_MAX];
        struct pnr_block_header block;
        struct pnr_live_header header = live_header(process_of(pid));
        uint32_t k = find_written(process_of(pid), path, &block);
        uint64_t n = header.n_events + block.n_records;
        pnr_file_path(process_of(pid), "live", path);
        int fd = open(path, O_WRONLY);
        cr_assert_eq(pwrite(fd, &n, sizeof n, PNR_LIVE_PAGE + k * 128 + 104), sizeof n);
        if (step == 1)
            cr_assert_eq(pwrite(fd, &n, sizeof n, 96), sizeof n);
        close(fd);
        rec_finish_all(capture, 0);
        check_whole(process_of(pid), &reported[0], &header);
    }
}

/* It was killed before it had made its first segment. */
Test(finish, makes_the_segment_that_is_missing)
{
    char path[PATH_MAX];
    struct pnr_live live;
    struct pnr_err err;
    struct pnr_block_header header = { .thread = 3, .begin = { 5, 5, 5 } };
    uint32_t n_functions;
    shell("mkdir -p %s", nobody);
    cr_assert_eq(pnr_live_create(nobody, 4, &live, &err), 0);
    live.header->process_start = 1;
    live.header->pid_namespace = pnr_process_namespace();
    pnr_block_header_seal(&header);
    pnr_live_begin(&live, 2, &header);
    pnr_live_store(&live.records[2 * PNR_BLOCK_RECORDS], pnr_record_make(0, PNR_CALL, 0, 1));
    pnr_live_close(&live, nobody, false);
    rec_finish_all(capture, 0);
    cr_expect(has_live(nobody), "without a name table its end cannot be written");
    pnr_file_path(nobody, "names", path);
    unsigned char bytes[PNR_NAMES_HEADER_SIZE];
    pnr_names_header_encode(bytes);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(write(fd, bytes, sizeof bytes), sizeof bytes);
    close(fd);
    rec_finish_all(capture, 0);
    cr_expect_not(has_live(nobody));
    cr_expect_eq(read_thread(nobody, 3).n, 1);
    cr_expect_str_eq(find_property(nobody, "events", &n_functions), "1");
    cr_expect_str_eq(find_property(nobody, "killed_ticks", &n_functions), "0", "it did not come to read a clock");
}

/* It was killed while it wrote a name, at each byte of it. */
Test(finish, cuts_off_a_torn_name)
{
    char entry[200], path[PATH_MAX];
    struct pnr_name name = { .type = PNR_NAME_FUNCTION, .index = 1,
                             .strings = { { "m", 1 }, { "f", 1 }, { "m.py", 4 } } };
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    const struct pnr_live_header was = live_header(process_of(pid));
    uint32_t n_functions;
    pnr_name_encode(&name, entry);
    shell("cp -a %s %s/copy", capture, folder);
    for (size_t size = 1; size <= pnr_name_size(&name); size += size < 4 ? 1 : 7) {
        shell("rm -r %s && cp -a %s/copy %s", capture, folder, capture);
        pnr_file_path(process_of(pid), "names", path);
        int fd = open(path, O_WRONLY | O_APPEND);
        cr_assert_eq(write(fd, entry, size), (ssize_t)size);
        close(fd);
        rec_finish_all(capture, 0);
        check_whole(process_of(pid), &reported[0], &was);
        find_property(process_of(pid), "events", &n_functions);
        cr_expect_eq(n_functions, size == pnr_name_size(&name) ? 1 : 0, "%zu bytes", size);
    }
}

/* ---- what is left alone ---- */

/* A number for all bytes of all files: it changes when any of them does. */
static uint64_t check_of(const char *process)
{
    char command[200], text[64] = "";
    snprintf(command, sizeof command, "cd %s && find . -type f | sort | xargs cksum | cksum", process);
    FILE *pipe = popen(command, "r");
    cr_assert(fgets(text, sizeof text, pipe));
    pclose(pipe);
    return strtoull(text, NULL, 10);
}

static void damage(const char *path, off_t at)
{
    char byte;
    int fd = open(path, O_RDWR);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, at) == 1, "%s", path);
    byte ^= 0x40;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void append_to(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_APPEND);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "%s", path);
    close(fd);
}

/* Where the first chunk that is in use lies in the live file. */
static off_t find_chunk(const char *process)
{
    struct pnr_live live;
    struct pnr_err err;
    uint32_t k = 0;
    cr_assert_eq(pnr_live_open(process, &live, &err), 1);
    while (live.chunks[k].state != PNR_CHUNK_IN_USE)
        k++;
    pnr_live_close(&live, process, false);
    return PNR_LIVE_PAGE + 128 * (off_t)k;
}

/* What no kill explains: the reader reports it, and has the chunks. */
Test(finish, leaves_damage_alone)
{
    enum { NAMES, LIVE_HEADER, CHUNK, CHUNK_STATE, BLOCK_HEADER, BLOCK_BEFORE_HEADER, BLOCK_DATA, TORN, FOREIGN,
           TORN_FOREIGN, SEGMENTS_GONE, N };
    for (int what = 0; what < N; what++) {
        char path[PATH_MAX], bytes[2000] = "";
        pid_t pid = record_and_die(&reported[0], 5, AFTER);        /* a block is in its file and in its chunk */
        const char *process = process_of(pid);
        struct pnr_block_header block;
        pnr_file_path(process, what == NAMES ? "names" : "live", path);
        switch (what) {
        case NAMES:
            damage(path, PNR_NAMES_HEADER_SIZE + 45);
            break;
        case LIVE_HEADER:
            damage(path, 0);
            break;
        case CHUNK:
            damage(path, find_chunk(process) + 12);
            break;
        case CHUNK_STATE:
            damage(path, find_chunk(process) + 97);
            break;
        case SEGMENTS_GONE:
            pnr_segment_path(process, 1, path);
            cr_assert_eq(rename(path, nobody), 0);
            break;
        default:
            pnr_thread_path(process, 1, 1, path);
            if (what == BLOCK_HEADER)
                damage(path, 20);
            if (what == BLOCK_BEFORE_HEADER)
                damage(path, 5);
            int fd = open(path, O_RDONLY);
            cr_assert_eq(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
            close(fd);
            if (what == BLOCK_DATA) {   /* of the last block, whose chunk is in use */
                struct stat st;
                find_written(process, path, &block);
                stat(path, &st);
                damage(path, st.st_size - 30);
            }
            if (what == TORN) {         /* the first block, whose chunk has been given back */
                struct pnr_block_header *h = (struct pnr_block_header *)(bytes + 8);
                cr_assert_eq(truncate(path, PNR_BLOCK_PREFIX_SIZE + h->data_size - 1), 0);
            }
            if (what == FOREIGN || what == TORN_FOREIGN) {
                pnr_thread_path(process, 1, 2, path);           /* a block of thread 1 in the file of thread 2 */
                struct pnr_block_header *h = (struct pnr_block_header *)(bytes + 8);
                append_to(path, bytes, what == FOREIGN ? PNR_BLOCK_PREFIX_SIZE + h->data_size : sizeof bytes / 2);
            }
        }
        uint64_t before = check_of(process);
        rec_finish_all(capture, 0);
        cr_expect(has_live(process), "damage %d", what);
        cr_expect_eq(check_of(process), before, "damage %d", what);
        shell("rm -rf %s", nobody);
    }
}

static void set_owner(const char *process, uint64_t start, uint64_t namespace)
{
    char path[PATH_MAX];
    const uint64_t owner[] = { start, namespace };
    pnr_file_path(process, "live", path);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, owner, sizeof owner, 80), sizeof owner);
    close(fd);
}

/* Records and ends in order, but is killed at the at-th change of a file from then on. Returns whether there were so
 * many. */
static bool record_and_die_at_the_end(int at, enum how how, pid_t *pid)
{
    struct rec_drain_options options = { .discards = false };
    struct rec_totals totals;
    char taken[PATH_MAX];
    struct pnr_err err;
    int status;
    memset(&reported[0], 0, sizeof reported[0]);
    *pid = fork();
    if (*pid == 0) {
        if (rec_session_start(capture, access(capture, F_OK) == 0, &options, taken, &err) != 0)
            _exit(1);
        record(&reported[0]);
        fault.how = how;
        fault.n = 0;
        fault.at = at;
        rec_session_stop(&totals);
        _exit(0);
    }
    waitpid(*pid, &status, 0);
    cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* Wherever the kill comes while a process ends, another one sees it: there is its live mapping, or its end. */
Test(finish, takes_what_was_killed_at_its_end)
{
    uint32_t n_functions, n_clean = 0, n_killed = 0;
    pid_t pid;
    for (int how = BEFORE; how <= AFTER; how++) {
        for (int at = 0, n_survived = 0; n_survived < 5; at++) {    /* the number of changes differs from run to run */
            if (!record_and_die_at_the_end(at, (enum how)how, &pid)) {
                n_survived++;
                continue;
            }
            rec_finish_all(capture, 0);
            check_whole(process_of(pid), &reported[0], NULL);
            bool is_clean = *find_property(process_of(pid), "end_ticks", &n_functions);
            bool is_killed = *find_property(process_of(pid), "killed_ticks", &n_functions);
            cr_expect_neq(is_clean, is_killed, "how %d, at %d", how, at);
            n_clean += is_clean;
            n_killed += is_killed;
        }
    }
    cr_expect_gt(n_clean, 0);
    cr_expect_gt(n_killed, 0);
}

/* One that runs, is stopped, or may run on another machine or in another container. */
Test(finish, leaves_the_living_alone)
{
    struct rec_drain_options options = { .discards = false };
    char taken[PATH_MAX], own[120], byte;
    struct pnr_err err;
    int from_child[2], to_child[2], status;
    pid_t elsewhere = record_and_die(&reported[1], DIE_NEVER, BEFORE);
    pid_t unknown = record_and_die(&reported[2], DIE_NEVER, BEFORE);
    set_owner(process_of(elsewhere), live_header(process_of(elsewhere)).process_start, pnr_process_namespace() + 1);
    set_owner(process_of(unknown), 0, 0);
    cr_assert_eq(pipe(from_child), 0);
    cr_assert_eq(pipe(to_child), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rec_totals totals;
        if (rec_session_start(capture, true, &options, taken, &err) != 0)
            _exit(1);
        record(&reported[0]);
        if (write(from_child[1], "", 1) != 1 || read(to_child[0], &byte, 1) != 1)
            _exit(2);
        record(&reported[3]);               /* other threads, after the first */
        rec_session_stop(&totals);
        _exit(0);
    }
    cr_assert_eq(read(from_child[0], &byte, 1), 1);
    rec_finish_all(capture, 0);
    cr_expect(has_live(process_of(pid)));
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    uint64_t before = check_of(process_of(pid));
    rec_finish_all(capture, 0);
    cr_expect_eq(check_of(process_of(pid)), before);
    cr_expect(has_live(process_of(elsewhere)));
    cr_expect(has_live(process_of(unknown)));
    kill(pid, SIGCONT);
    cr_assert_eq(write(to_child[1], "", 1), 1);
    waitpid(pid, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (uint32_t t = 0; t < THREADS; t++) {
        cr_expect_eq(read_thread(process_of(pid), t + 1).n, reported[0].n_stored[t]);
        cr_expect_eq(read_thread(process_of(pid), t + 1 + THREADS).n, reported[3].n_stored[t]);
    }
    strcpy(own, process_of(unknown));
    set_owner(own, 1, pnr_process_namespace());         /* now it is known that it is gone */
    uint64_t next_ns = 0;
    shell("touch -a -d '1 minute ago' %s", capture);    /* so that it is its turn */
    rec_finish_tick(own, rec_clock_monotonic_ns(), NULL, &next_ns);
    cr_expect(has_live(own), "one does not finish oneself");
    rec_finish_all(capture, 0);
    cr_expect_not(has_live(own));
}

/* This process, but before it has executed another program: nobody writes into that mapping any more. */
Test(finish, finishes_what_was_before_exec)
{
    char former[120];
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    const struct pnr_live_header was = live_header(process_of(pid));
    snprintf(former, sizeof former, "%s-2", process_of(getpid()));
    cr_assert_eq(rename(process_of(pid), former), 0);
    set_owner(former, pnr_process_start(), pnr_process_namespace());
    rec_finish_all(capture, 0);
    check_whole(former, &reported[0], &was);
}

/* The time was written down by an earlier attempt, or recording ended in order and the mapping could not be removed. */
Test(finish, records_the_end_once)
{
    static const char *const keys[] = { "killed_realtime_ns", "end_ticks" };
    for (int i = 0; i < 2; i++) {
        char path[PATH_MAX], entry[200];
        uint32_t n_functions;
        pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
        struct pnr_name name = { .type = PNR_NAME_PROPERTY,
                                 .strings = { { keys[i], (uint32_t)strlen(keys[i]) }, { "5", 1 } } };
        pnr_name_encode(&name, entry);
        pnr_file_path(process_of(pid), "names", path);
        append_to(path, entry, pnr_name_size(&name));
        rec_finish_all(capture, 0);
        cr_expect_not(has_live(process_of(pid)));
        cr_expect_str_eq(find_property(process_of(pid), keys[i], &n_functions), "5");
        cr_expect_str_eq(find_property(process_of(pid), "killed_ticks", &n_functions), "");
    }
}

/* ---- when finishing is broken off ---- */

/* Killed before, in the midst of, and after each call that changes a file, or the disk is full then: another one
 * finishes it, and nothing is lost or doubled. */
Test(finish, is_finished_by_another_wherever_it_ended)
{
    pid_t pid = record_and_die(&reported[0], 4, HALFWAY);           /* a torn block in a file, other chunks in use */
    const struct pnr_live_header was = live_header(process_of(pid));
    shell("cp -a %s %s/copy", capture, folder);
    for (int how = BEFORE; how <= FAILING; how++) {
        int at = 0, status = 0;
        for (; WIFSIGNALED(status) || WEXITSTATUS(status) == 0; at++) {
            shell("rm -r %s && cp -a %s/copy %s", capture, folder, capture);
            status = finish_in_child(at, (enum how)how);
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && at % 2)
                finish_in_child(at / 2, (enum how)how);         /* another one that does not come to the end */
            rec_finish_all(capture, 0);
            check_whole(process_of(pid), &reported[0], &was);
        }
        cr_expect_gt(at, 8, "a cut, blocks, properties, the removal");
    }
}

/* Several at once: one has the lock, the others wait or leave it. */
Test(finish, is_done_by_one_at_a_time)
{
    enum { N = 6, FINISHERS = 4 };
    pid_t pids[N];
    struct pnr_live_header was[N];
    for (int i = 0; i < N; i++) {
        pids[i] = record_and_die(&reported[i], i % 2 ? 4 : DIE_NEVER, HALFWAY);
        was[i] = live_header(process_of(pids[i]));
    }
    for (int i = 0; i < FINISHERS; i++) {
        if (fork() == 0) {
            rec_finish_all(capture, i % 2 ? 10000 : 0);
            _exit(0);
        }
    }
    for (int i = 0; i < FINISHERS; i++) {
        int status;
        wait(&status);
        cr_expect(WIFEXITED(status));
    }
    for (int i = 0; i < N; i++)
        check_whole(process_of(pids[i]), &reported[i], &was[i]);
}

/* The drain's thread is needed elsewhere: it comes some way each time. */
static bool is_needed(void)
{
    return true;
}

/* Makes the last check that long ago. */
static void set_last_look(const char *path, time_t seconds)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= seconds;
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int n_asked;

static bool is_needed_then(void)
{
    return ++n_asked > 1;               /* not at the first process, but after its first block */
}

Test(finish, goes_on_where_it_was_broken_off)
{
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    const struct pnr_live_header was = live_header(process_of(pid));
    int n = 0;
    for (; has_live(process_of(pid)) && n < 100; n++) {
        uint64_t next_ns = 0;
        n_asked = 0;
        set_last_look(capture, 10);
        uint64_t before = check_of(process_of(pid));
        rec_finish_tick(process_of(1), 1, is_needed, &next_ns);
        cr_expect_eq(check_of(process_of(pid)), before);
        next_ns = 0;
        set_last_look(capture, 10);
        rec_finish_tick(process_of(1), 1, is_needed_then, &next_ns);
        cr_expect_neq(check_of(process_of(pid)), before);
    }
    cr_expect_geq(n, 3);
    check_whole(process_of(pid), &reported[0], &was);
}

static bool is_idle(void)
{
    return false;
}

/* One of the processes checks every two seconds. */
Test(finish, is_checked_by_one_process_at_a_time)
{
    uint64_t next_ns = 0, now_ns = rec_clock_monotonic_ns();
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    set_last_look(capture, 1);
    rec_finish_tick(process_of(1), now_ns, is_idle, &next_ns);
    cr_expect(has_live(process_of(pid)), "another one has looked a moment ago");
    cr_expect_geq(next_ns, now_ns + 2000000000);
    set_last_look(capture, 3);
    rec_finish_tick(process_of(1), next_ns - 1, is_idle, &next_ns);
    cr_expect(has_live(process_of(pid)), "it is not due");
    rec_finish_tick(process_of(1), next_ns, is_idle, &next_ns);
    cr_expect_not(has_live(process_of(pid)));
    pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    next_ns = 0;
    rec_finish_tick(process_of(1), now_ns, is_idle, &next_ns);
    cr_expect(has_live(process_of(pid)), "this one has looked a moment ago");
    set_last_look(capture, -100);
    next_ns = 0;
    rec_finish_tick(process_of(1), now_ns, is_idle, &next_ns);
    cr_expect_not(has_live(process_of(pid)), "the clock was set back");
}

Test(finish, leaves_its_own_alone)
{
    char own[100];
    uint64_t next_ns = 0;
    strcpy(own, process_of(record_and_die(&reported[0], DIE_NEVER, BEFORE)));
    set_last_look(capture, 10);
    rec_finish_tick(own, 1, is_idle, &next_ns);
    cr_expect(has_live(own));
    set_last_look(capture, 10);
    next_ns = 0;
    rec_finish_tick(process_of(1), 1, is_idle, &next_ns);
    cr_expect_not(has_live(own));
}

/* While a process has the capture locked nothing is done, and nobody waits for longer than asked. */
Test(finish, needs_the_lock)
{
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    int lock = rec_retention_lock(capture, 0);
    cr_assert_geq(lock, 0);
    rec_finish_all(capture, 0);
    rec_finish_all(capture, 20);
    cr_expect(has_live(process_of(pid)));
    rec_retention_release(lock);
    rec_finish_all(capture, 0);
    cr_expect_not(has_live(process_of(pid)));
}

/* Another one evicts what it can, with the lock or, as after waiting too long, without: each process that is left is
 * whole, except for what was evicted, the oldest first. */
Test(finish, gets_on_with_eviction)
{
    const struct rec_limits limits = { .max_size = REC_MIN_SIZE };
    enum { N = 8 };
    pid_t pids[N];
    int status;
    for (int i = 0; i < N; i++)
        pids[i] = record_and_die(&reported[i], i % 2 ? 4 : DIE_NEVER, HALFWAY);
    pid_t finisher = fork();
    if (finisher == 0) {
        rec_finish_all(capture, 10000);
        _exit(0);
    }
    for (uint64_t size = 0; size < REC_MIN_SIZE; size += REC_MIN_SIZE / 64) {
        struct pnr_err err;
        int lock;
        if (rec_retention_reserve(capture, &limits, size, &lock, &err) == 0)
            rec_retention_release(lock);
        else
            cr_expect_eq(err.sys_errno, EDQUOT, "%s", err.what);
        usleep(1000);
    }
    waitpid(finisher, &status, 0);
    cr_expect(WIFEXITED(status));
    for (int i = 0; i < N; i++) {
        char path[PATH_MAX];
        pnr_segment_path(process_of(pids[i]), 1, path);
        if (access(path, F_OK) == 0 && !has_live(process_of(pids[i])))
            check_whole(process_of(pids[i]), &reported[i], NULL);
    }
}

/* The process was evicted, and another one of the same number has come: what is open is the old one's. */
Test(finish, does_not_take_another_for_the_dead)
{
    char path[PATH_MAX], aside[60];
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    snprintf(aside, sizeof aside, "%s/aside", folder);
    int status;
    pid_t finisher = fork();
    if (finisher == 0) {
        fault.at = 2;                   /* the third write of a block ... */
        fault.how = FAILING;
        rec_finish_all(capture, 0);      /* ... fails: the process is not finished */
        _exit(0);
    }
    waitpid(finisher, &status, 0);
    cr_expect(has_live(process_of(pid)));
    cr_assert_eq(rename(process_of(pid), aside), 0);
    cr_assert_eq(mkdir(process_of(pid), 0700), 0);
    pnr_file_path(process_of(pid), "live", path);
    cr_assert_eq(symlink(aside, path), 0);
    rec_finish_all(capture, 0);
    cr_expect_eq(unlink(path), 0, "it is no mapping, and stays");
}

/* ---- partial processes ---- */

Test(finish, removes_partial_processes)
{
    char dead[140], running[140], unknown[140];
    pid_t pid = record_and_die(&reported[0], DIE_NEVER, BEFORE);
    snprintf(dead, sizeof dead, "%s/begun-%d-1-%lu", capture, pid, (unsigned long)pnr_process_namespace());
    snprintf(running, sizeof running, "%s/begun-%d-%lu-%lu", capture, getpid(), (unsigned long)pnr_process_start(),
             (unsigned long)pnr_process_namespace());
    snprintf(unknown, sizeof unknown, "%s/begun-%d-1-%lu", capture, pid, (unsigned long)pnr_process_namespace() + 1);
    const char *const all[] = { dead, running, unknown };
    for (int i = 0; i < 3; i++) {
        shell("mkdir -p %s/segment-1 && cd %s && echo x >names && echo x >segment-1/thread-1.zst", all[i], all[i]);
    }
    rec_finish_all(capture, 0);
    cr_expect_neq(access(dead, F_OK), 0);
    cr_expect_eq(access(running, F_OK), 0);
    cr_expect_eq(access(unknown, F_OK), 0);
}
