/* Stresses the thread buffers and the drain as a program of many threads does, without an interpreter, and reads the
 * captures.
 *
 *     stress [MILLISECONDS]               how long each scenario lasts [400]
 *
 * A mutex is the recording lock. With it threads come and go, record, end their buffers, submit all chunks and fork;
 * without it others have snapshots made, and make them when the drain's thread is away, as rec_recording_save does.
 * Then the recording is stopped while they all go on. Each event carries its number in its thread in the record's
 * field `function`. This shows in each process, each snapshot and each thread whether events are missing that neither
 * LOST records nor the limits account for.
 *
 * The linker replaces the recorder's write() by that of this file (--wrap): a slow disk, and one that is full.
 * Meant for ThreadSanitizer and AddressSanitizer, but what it checks holds in any build. The last lines are those of
 * unittest. Exit status: 0 when all scenarios passed, else 1. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "convert/read/reader.h"
#include "format/capture.h"
#include "recorder/fork_memory.h"
#include "recorder/name_table.h"
#include "recorder/session.h"
#include "recorder/worker.h"

#define N_WORKERS 4
#define N_CHILDREN 12                   /* forked in a scenario at most */
#define N_SAVES 4                       /* snapshots in a scenario at most */
#define N_THREADS 100000                /* threads that a process may have */
#define RETRACTED UINT32_MAX            /* the function of a record that is retracted at once */
#define BLOCK_WRITE 2000                /* bytes: a write of more is one of a block */

struct scenario {
    const char *name;
    uint64_t max_size, last_ns;
    bool discards, forks, saves;
    int n_buffers;                      /* of a worker at once */
    int write_us;                       /* how long a write takes */
    uint64_t disk_size;                 /* bytes of blocks that can be written; 0: any */
};

static const struct scenario scenarios[] = {
    { .name = "threads come and go", .n_buffers = 2 },
    { .name = "more threads than chunks", .n_buffers = REC_DRAIN_CHUNKS / N_WORKERS + 7, .saves = true },
    { .name = "forks", .n_buffers = 2, .forks = true },
    { .name = "snapshots", .n_buffers = 3, .saves = true },
    { .name = "forks and snapshots", .n_buffers = 3, .forks = true, .saves = true },
    { .name = "few chunks, small segments", .n_buffers = 3, .max_size = REC_MIN_SIZE, .forks = true, .saves = true },
    { .name = "the last moments", .n_buffers = 2, .last_ns = 100000000, .forks = true, .saves = true },
    { .name = "slow disk", .n_buffers = 3, .write_us = 2000, .max_size = REC_MIN_SIZE, .forks = true, .saves = true },
    { .name = "slow disk, discards", .n_buffers = 3, .write_us = 5000, .discards = true, .max_size = 4 * REC_MIN_SIZE,
      .saves = true },
    { .name = "slow disk, discards, all chunks held", .n_buffers = 4, .write_us = 5000, .discards = true,
      .max_size = REC_MIN_SIZE },
    { .name = "full disk", .n_buffers = 3, .disk_size = 300000, .saves = true },
    { .name = "full disk, all chunks held", .n_buffers = 4, .disk_size = 300000, .write_us = 1000,
      .max_size = REC_MIN_SIZE, .forks = true },
};

/* The allocator of gcc 12's AddressSanitizer does not release its locks in a forked child: where another thread was
 * allocating at the fork, the child waits for ever (libsanitizer, SizeClassAllocator64). */
#ifdef __SANITIZE_ADDRESS__
#define CAN_FORK false
#else
#define CAN_FORK true
#endif

/* An event's thread, as the program has it. */
struct recorded {
    struct rec_buffer *buffer;          /* owned */
    uint32_t n;                         /* its events */
};

/* What a process has recorded; a child's lies in memory that it shares with its parent. */
struct process {
    pid_t pid;
    uint32_t n_stored[N_THREADS];       /* by the thread's number: one more than its last event that was stored */
    uint32_t n_events[N_THREADS];       /* all, those too that were lost: a LOST record at the end may count them */
};

static const struct scenario *scenario;
static pthread_mutex_t recording_lock = PTHREAD_MUTEX_INITIALIZER;
static struct process *self, *children; /* one; N_CHILDREN */
static char folder[] = "/tmp/panopticon-stress-XXXXXX", capture[PATH_MAX];
static bool is_stopped, is_disabled;   /* with the recording lock */
static int n_children;
static _Atomic bool is_over;            /* for those without the recording lock */
static _Atomic bool is_save_due;
static _Atomic int n_saves;
static _Atomic uint64_t n_written;
static _Atomic int n_faults;
static uint64_t n_appended, n_checked;

static void __attribute__((format(printf, 1, 2))) fault(const char *format, ...)
{
    va_list args;
    if (atomic_fetch_add(&n_faults, 1) >= 10)
        return;                         /* the first ones suffice */
    va_start(args, format);
    fprintf(stderr, "stress: %s: ", scenario->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static void check(bool is_good, const char *what, const struct pnr_err *err)
{
    char text[512];
    if (!is_good)
        fault("%s: %s", what, err ? pnr_err_describe(err, text, sizeof text) : "failed");
}

/* Each thread has its own. */
static uint32_t pick(unsigned *seed, uint32_t n)
{
    return (uint32_t)rand_r(seed) % n;
}

static void pause_us(long us)
{
    nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 }, NULL);
}

/* ThreadSanitizer: a child of a process with threads goes on, and has a thread of its own again. */
const char *__tsan_default_options(void);

__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/* ---- the disk ---- */

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (size < BLOCK_WRITE)
        return __real_write(fd, bytes, size);
    if (scenario->write_us)
        pause_us(scenario->write_us);
    if (scenario->disk_size && atomic_fetch_add(&n_written, size) + size > scenario->disk_size) {
        errno = ENOSPC;
        return -1;
    }
    return __real_write(fd, bytes, size);
}

/* ---- recording, with the recording lock ---- */

/* For an event that is not simple, as an engine does it. Returns false when it is lost. */
static bool append_slowly(struct recorded *r, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    struct rec_buffer *buffer = r->buffer;
    uint32_t n_open = r->n % 3;
    rec_buffer_renew_counter(buffer);
    if (!rec_buffer_has_capacity(buffer, rec_clock_ticks() - buffer->base)) {
        if (!rec_buffer_start_chunk(buffer, 0, n_open)) {
            rec_buffer_count_lost(buffer);
            is_disabled = rec_session_is_closed();
            return false;
        }
        for (uint32_t i = 0; i < n_open; i++)
            rec_buffer_append(buffer, 0, PNR_OPEN, i, i);
        rec_buffer_emit_lost(buffer);
    }
    rec_buffer_append(buffer, rec_clock_ticks() - buffer->base, kind, frame, function);
    return true;
}

static bool append_one(struct recorded *r, uint32_t function)
{
    struct rec_buffer *buffer = r->buffer;
    const uint64_t *word = r->n % 3 == 1 ? &buffer->call : &buffer->ret;
    if (rec_clock_is_counter && (r->n % 3 ? rec_buffer_append_now(buffer, word, function) :
                                 rec_buffer_append_frame_now(buffer, PNR_START, (uintptr_t)r >> 4, function)))
        return true;
    return append_slowly(r, r->n % 3 ? PNR_CALL : PNR_START, r->n % 3 ? 0 : (uintptr_t)r >> 4, function);
}

static void append(struct recorded *r)
{
    if (r->n % 7 == 0 && rec_buffer_has_capacity(r->buffer, rec_clock_ticks() - r->buffer->base) &&
        append_one(r, RETRACTED))
        rec_buffer_retract(r->buffer);
    bool is_stored = append_one(r, r->n);
    r->n++;
    self->n_events[r->buffer->number] = r->n;
    if (is_stored)
        self->n_stored[r->buffer->number] = r->n;
}

static void begin(struct recorded *r)
{
    *r = (struct recorded){ .buffer = rec_fork_memory_new(sizeof *r->buffer) };
    uint32_t number = rec_name_table_add_thread(7, (struct pnr_string){ "worker", 6 });
    if (!r->buffer || !rec_buffer_begin(r->buffer, number) || number >= N_THREADS) {
        fault("too many threads");
        exit(1);
    }
}

static void end(struct recorded *r)
{
    n_appended += r->n;
    rec_buffer_end(r->buffer);
    rec_fork_memory_free(r->buffer);
    r->buffer = NULL;
}

/* ---- threads ---- */

/* Takes the lock. False when the recording is over. */
static bool enter(void)
{
    pthread_mutex_lock(&recording_lock);
    if (!is_stopped && !is_disabled) {
        rec_worker_unpark();
        return true;
    }
    pthread_mutex_unlock(&recording_lock);
    return false;
}

static void leave(unsigned *seed)
{
    pthread_mutex_unlock(&recording_lock);
    if (pick(seed, 8) == 0)
        pause_us(pick(seed, 300));
}

/* A thread of the program: it takes the lock some times, then it has ended with all its buffers. */
static void *work(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct recorded buffers[64] = { { 0 } };
    uint32_t n_rounds = 1 + pick(&seed, 60);
    while (n_rounds-- && enter()) {
        for (uint32_t i = pick(&seed, (uint32_t)scenario->n_buffers) + 1; i--;) {
            struct recorded *r = &buffers[pick(&seed, (uint32_t)scenario->n_buffers)];
            if (!r->buffer)
                begin(r);
            for (uint32_t n = pick(&seed, 3000); n-- && !is_disabled;)
                append(r);
            if (pick(&seed, 20) == 0)
                end(r);
        }
        if (pick(&seed, 200) == 0)
            rec_buffer_flush_all();
        leave(&seed);
    }
    pthread_mutex_lock(&recording_lock);
    for (int i = 0; i < scenario->n_buffers && !is_stopped; i++)
        if (buffers[i].buffer)
            end(&buffers[i]);
    pthread_mutex_unlock(&recording_lock);
    return NULL;
}

static void *come_and_go(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&is_over)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)rand_r(&seed)) != 0) {
            fault("no thread");
            break;
        }
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void on_wake(void);

static struct rec_drain_options drain_options(void)
{
    return (struct rec_drain_options){ .limits = { scenario->max_size, scenario->last_ns },
                                       .discards = scenario->discards, .on_wake = on_wake };
}

/* Records the limits as recording.c does, so that the reader does not report what they evict as missing. */
static void write_limits(void)
{
    if (scenario->max_size)
        rec_name_table_add_number("max_size", scenario->max_size);
    if (scenario->last_ns)
        rec_name_table_add_number("last_ns", scenario->last_ns);
}

/* A forked child records some events and ends in one way or another. Its exit status: 0; 2 when it does not fit. */
static void run_child(struct process *child, unsigned seed)
{
    struct rec_drain_options options = drain_options();
    struct recorded r;
    struct rec_totals totals;
    struct pnr_err err;
    char taken[PATH_MAX];
    rec_session_forked();
    self = child;
    self->pid = getpid();
    if (rec_session_start(capture, true, &options, taken, &err) != 0) {
        bool is_full = err.sys_errno == EDQUOT && scenario->max_size;
        check(is_full, "a child cannot begin", &err);
        _exit(is_full ? 2 : 1);
    }
    write_limits();
    begin(&r);
    for (uint32_t n = pick(&seed, 100000); n--;)
        append(&r);
    switch (pick(&seed, 3)) {
    case 0:
        raise(SIGKILL);
        break;
    case 1:
        end(&r);
        rec_session_stop(&totals);
        break;
    }
    _exit(atomic_load(&n_faults) ? 1 : 0);
}

static void *fork_now_and_then(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (n_children < N_CHILDREN) {
        int status = 0;
        pause_us(pick(&seed, 60000));
        if (!enter())
            break;
        int before = atomic_load(&n_faults);
        rec_worker_park();
        pid_t pid = fork();
        if (pid == 0) {
            atomic_store(&n_faults, 0);
            run_child(&children[n_children], seed);
        }
        n_children++;
        leave(&seed);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 1) ||
            (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL))
            fault("child %ld ended with status %#x (%d faults before)", (long)pid, (unsigned)status, before);
    }
    return NULL;
}

/* By the drain's thread. */
static void on_wake(void)
{
    char path[PATH_MAX], taken[PATH_MAX];
    struct pnr_err err;
    if (!atomic_exchange(&is_save_due, false) || atomic_load(&n_saves) >= N_SAVES)
        return;
    atomic_fetch_add(&n_saves, 1);
    snprintf(path, sizeof path, "%s/snapshot.pnr", folder);
    if (rec_session_snapshot(path, REC_CAUSE_PROGRAM, false, NULL, taken, &err) != 0 && !scenario->disk_size)
        check(false, "no snapshot", &err);
}

static void *wake_now_and_then(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&is_over)) {
        if (scenario->saves && pick(&seed, 20) == 0)
            atomic_store(&is_save_due, true);
        rec_worker_wake();
        rec_worker_run_inline();
        pause_us(pick(&seed, 5000));
    }
    return NULL;
}

/* ---- reading back ---- */

static void report_line(void *arg, enum diagnostic_level level, const char *line)
{
    if (level == DIAGNOSTIC_DAMAGE)
        fault("%s: %s", (const char *)arg, line);
}

/* Numbers follow each other. is_snapshot: what was recorded later is not there, and a record that was taken back may
 * be the last. */
static void check_thread(struct reader *reader, size_t thread, const struct process *process, bool is_snapshot)
{
    uint32_t number = reader_thread_number(reader, thread), next = 0;
    uint64_t complete_ticks;
    bool is_known = !reader_has_evicted(reader, &complete_ticks), has_retracted = false;
    struct reader_block block;
    struct pnr_err err;
    uint64_t ticks;
    if (number >= N_THREADS) {
        fault("%s: thread %u", reader_path(reader), number);
        return;
    }
    while (reader_peek(reader, thread, &ticks)) {
        int result = reader_next(reader, thread, &block, &err);
        if (result < 0) {
            check(false, reader_path(reader), &err);
            return;
        }
        if (result == 0)
            continue;
        for (uint32_t i = 0; i < block.n_records; i++) {
            unsigned kind = pnr_record_kind(block.records[i]);
            uint32_t function = pnr_record_function(block.records[i]);
            if (kind == PNR_OPEN)
                fault("%s: thread %u: an OPEN record too many", reader_path(reader), number);
            if (kind == PNR_LOST) {
                next += function;
                continue;
            }
            n_checked++;
            if (has_retracted || (is_known && function != next && !(is_snapshot && function == RETRACTED)))
                fault("%s: thread %u: %u comes where %u is due%s", reader_path(reader), number, function, next,
                      has_retracted ? ", after a record that was retracted" : "");
            has_retracted = function == RETRACTED;
            next = function + 1;
            is_known = true;
        }
    }
    if (!has_retracted && (next > process->n_events[number] || (!is_snapshot && next < process->n_stored[number])))
        fault("%s: thread %u has %u events where %u of %u were stored", reader_path(reader), number, next,
              process->n_stored[number], process->n_events[number]);
}

static void check_process(const char *path, const struct process *process, bool is_snapshot)
{
    struct diagnostics diagnostics = { report_line, (void *)path };
    struct pnr_err err;
    uint64_t complete_ticks;
    size_t n = 0, n_max = 0, n_found;
    struct reader *reader = reader_open(path, NULL, &diagnostics, &err);
    if (!reader) {
        check(false, path, &err);
        return;
    }
    n_found = reader_n_threads(reader);
    for (size_t i = 0; i < n_found; i++)
        check_thread(reader, i, process, is_snapshot);
    for (size_t i = 0; i < N_THREADS; i++) {
        n += process->n_stored[i] > 0;
        n_max += process->n_events[i] > 0;
    }
    if (n_found > n_max || (n_found < n && !is_snapshot && !reader_has_evicted(reader, &complete_ticks)))
        fault("%s: %zu threads where %zu stored", path, n_found, n);
    reader_close(reader);
}

static const struct process *process_of(const char *name)
{
    char whole[64];
    for (int i = -1; i < n_children; i++) {
        const struct process *process = i < 0 ? self : &children[i];
        snprintf(whole, sizeof whole, "process-%ld", (long)process->pid);
        if (process->pid && strcmp(name, whole) == 0)
            return process;
    }
    return NULL;
}

static void check_capture(const char *path, bool is_snapshot)
{
    struct pnr_list list;
    struct pnr_err err;
    bool has_self = false;
    if (pnr_capture_processes(path, &list, &err) != 0) {
        check(false, path, &err);
        return;
    }
    for (size_t i = 0; i < list.n; i++) {
        char process_path[PATH_MAX];
        const struct process *process = process_of(list.names[i]);
        has_self |= process == self;
        pnr_file_path(path, list.names[i], process_path);
        if (process)
            check_process(process_path, process, is_snapshot);
        else
            fault("%s: whose is this?", process_path);
    }
    check(has_self, path, NULL);
    pnr_list_clear(&list);
}

/* A snapshot that could not be finished has no process in it; the recorder reported it. */
static void check_snapshots(void)
{
    for (int k = 1; k <= N_SAVES; k++) {
        char path[PATH_MAX];
        struct pnr_list list;
        struct pnr_err err;
        snprintf(path, sizeof path, k > 1 ? "%s/snapshot-%d.pnr" : "%s/snapshot.pnr", folder, k);
        if (pnr_capture_processes(path, &list, &err) != 0)
            continue;
        pnr_list_clear(&list);
        check_capture(path, true);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type;
    return position->level ? remove(path) : 0;
}

/* ---- scenarios ---- */

static void run(long milliseconds)
{
    pthread_t threads[N_WORKERS + 3];
    struct rec_drain_options options = drain_options();
    struct rec_totals totals;
    struct pnr_err err;
    char path[PATH_MAX];
    int n = 0;
    memset(self, 0, sizeof *self);
    memset(children, 0, N_CHILDREN * sizeof *children);
    self->pid = getpid();
    is_stopped = is_disabled = false;
    n_children = 0;
    n_appended = n_checked = 0;
    atomic_store(&is_over, false);
    atomic_store(&is_save_due, false);
    atomic_store(&n_saves, 0);
    atomic_store(&n_written, 0);
    snprintf(path, sizeof path, "%s/run.pnr", folder);
    if (rec_session_start(path, false, &options, capture, &err) != 0) {
        check(false, "cannot begin", &err);
        return;
    }
    write_limits();
    for (uintptr_t i = 0; i < N_WORKERS; i++)
        pthread_create(&threads[n++], NULL, come_and_go, (void *)(i + 1));
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&threads[n++], NULL, wake_now_and_then, (void *)(i + 100));
    if (scenario->forks && CAN_FORK)
        pthread_create(&threads[n++], NULL, fork_now_and_then, (void *)(uintptr_t)200);
    pause_us(milliseconds * 1000);
    pthread_mutex_lock(&recording_lock);
    bool was_full_before = scenario->disk_size && atomic_load(&n_written) > scenario->disk_size;
    rec_session_stop(&totals);
    is_stopped = true;
    pthread_mutex_unlock(&recording_lock);
    atomic_store(&is_over, true);
    while (n)
        pthread_join(threads[--n], NULL);
    bool was_full = scenario->disk_size && atomic_load(&n_written) > scenario->disk_size;
    check(was_full || totals.failure.code == PNR_OK, "writing failed", &totals.failure);
    /* The stop also writes what killed children left, for which the disk may be full without a failure of its own. */
    check(!(scenario->forks ? was_full_before : was_full) || totals.failure.sys_errno == ENOSPC,
          "a full disk was not reported", NULL);
    check(was_full || scenario->discards || totals.n_lost == 0, "events are lost", NULL);
    check_capture(capture, false);
    check_snapshots();
    printf("%s: %" PRIu64 " records, %" PRIu64 " lost, %u threads, %d children, %d snapshots; %" PRIu64 " read back\n",
           scenario->name, totals.n_events, totals.n_lost, totals.n_threads, n_children,
           atomic_load(&n_saves), n_checked);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
    long milliseconds = argc > 1 ? strtol(argv[1], NULL, 10) : 400;
    int n_failed = 0, n = (int)(sizeof scenarios / sizeof *scenarios);
    size_t size = (1 + N_CHILDREN) * sizeof *self;
    self = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self == MAP_FAILED || !mkdtemp(folder)) {
        perror("stress");
        return 1;
    }
    children = self + 1;
    rec_clock_init();
    for (int i = 0; i < n; i++) {
        scenario = &scenarios[i];
        atomic_store(&n_faults, 0);
        run(milliseconds);
        n_failed += atomic_load(&n_faults) > 0;
        fflush(stdout);
    }
    rmdir(folder);
    printf("Ran %d scenarios\n", n);
    if (n_failed)
        printf("FAILED (failures=%d)\n", n_failed);
    return n_failed > 0;
}
