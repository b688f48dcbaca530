/* A sample costs 0.7 us for each thread that is looked at, and 2.7 us more if it has run. To wake a thread takes 17 us on
 * a virtual machine (Linux 6.18). So a sample looks at LOOKS threads, and the next one at others: 1,000 threads cost no more
 * than LOOKS, unless samples are so rare that each thread would be looked at too seldom.
 *
 * The time on a processor comes from the thread's CPU clock, which any thread of the process may read: the kernel's
 * schedstat is only renewed at a tick. The time in the run queue is in schedstat alone (Documentation/scheduler/
 * sched-stats.rst). It grows when the thread gets a processor, so that it needs no reading before the thread has run.
 * Where the kernel reports when a thread got and lost a processor (schedule.h), that follows from what it spent. */
#include "samples.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "drain.h"
#include "file.h"
#include "name_table.h"
#include "schedule.h"
#include "worker.h"
#include "../format/array.h"

#define LOOKS 8                         /* threads that a sample looks at, or more: */
#define MAX_LOOKS 4096
#define LOOK_NS UINT64_C(2000000000)    /* each is looked at so often: a RAN record has room for 4.29 s */
#define QUEUE_FILES 16                  /* threads whose time in the run queue is known: each needs a descriptor */
#define MEMORY_NS 100000000             /* how often memory is looked at */
#define KERNEL_SIZE 128                 /* bytes of a file of the kernel at most */

/* A file of the kernel, which is read again and again. */
struct kernel_file {
    int fd;                             /* -1: not open */
    struct stat was;
};

struct sampled_thread {
    uint32_t number, native_id;
    const void *key;
    uint64_t ran_ns, queued_ns;         /* when it was looked at last */
    uint64_t round;                     /* the sample in which that was; 0: none */
    uint64_t queued_round;              /* ... in which it had run when it was looked at */
    struct kernel_file schedstat;
    struct rec_schedule schedule;
    bool has_tried_schedule;            /* since it has this id, or samples began again */
};

static struct {
    pthread_mutex_t lock;               /* of all of this, except for is_on */
    _Atomic bool is_on;
    bool is_allowed;
    struct rec_samples_options options;
    struct rec_stream *stream;
    uint32_t number;
    int chunk;                          /* -1: none */
    struct pnr_record *records;
    uint32_t n;
    uint16_t flags;                     /* of the next chunk */
    uint64_t base;                      /* ticks */
    uint64_t due_ns, memory_due_ns;
    uint64_t round;                     /* of the present sample; from 1 */
    struct sampled_thread *threads;     /* owned */
    size_t n_threads, capacity, next;   /* next: to be looked at */
    int n_files;
    size_t n_rings, max_rings;          /* threads whose schedule is exact */
    char refusal[128];                  /* the property `scheduling`, when a thread has no ring for which there was a place */
    bool has_new_refusal;               /* to be written with the recording lock */
    struct kernel_file statm;
} samples = { .lock = PTHREAD_MUTEX_INITIALIZER, .chunk = -1, .statm = { .fd = -1 } };

/* ---- files of the kernel ---- */

static void open_kernel_file(struct kernel_file *file, const char *path)
{
    file->fd = rec_file_move_up(open(path, O_RDONLY | O_CLOEXEC));
    if (file->fd >= 0 && fstat(file->fd, &file->was) != 0) {
        close(file->fd);
        file->fd = -1;
    }
}

/* The program may have closed the descriptor, and have others under its number. */
static void close_kernel_file(struct kernel_file *file)
{
    if (file->fd >= 0 && rec_file_is_still(file->fd, &file->was))
        close(file->fd);
    file->fd = -1;
}

/* Reads the second of the numbers in the file. Returns false when there is none. */
static bool read_second_number(const struct kernel_file *file, uint64_t *number)
{
    char text[KERNEL_SIZE];
    if (file->fd < 0 || !rec_file_is_still(file->fd, &file->was))
        return false;
    ssize_t size = pread(file->fd, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = 0;
    return sscanf(text, "%*u %" SCNu64, number) == 1;
}

/* ---- records ---- */

static void submit_samples(struct pnr_clock_sample end)
{
    if (samples.chunk < 0)
        return;
    if (samples.n)
        rec_drain_submit(samples.chunk, samples.n, 0, end, 0);
    else
        rec_drain_release(samples.chunk);
    samples.chunk = -1;
}

/* Ensures that a sample of these ticks has a place. Returns false when no chunk is free: those of the program come first. */
static bool ensure_samples_chunk(uint64_t ticks, uint32_t n)
{
    if (samples.chunk >= 0 && samples.n + n <= PNR_BLOCK_RECORDS && (ticks - samples.base) >> PNR_TICKS_BITS == 0)
        return true;
    struct pnr_clock_sample now = rec_clock_sample();
    submit_samples(now);
    if ((samples.chunk = rec_drain_take_spare()) < 0)
        return false;
    samples.records = rec_drain_begin(samples.chunk, samples.stream, now, samples.flags, 0, 0);
    samples.flags = 0;
    samples.base = now.ticks;
    samples.n = 0;
    return true;
}

static void append_sample(uint64_t ticks, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    uint64_t since = ticks > samples.base ? ticks - samples.base : 0;
    pnr_live_store(&samples.records[samples.n++], pnr_record_make(since, kind, frame, function));
}

/* ---- the schedule of a thread ---- */

static void close_schedule(struct sampled_thread *thread)
{
    samples.n_rings -= thread->schedule.ring != NULL;
    thread->has_tried_schedule = false;
    rec_schedule_close(&thread->schedule);
}

/* What is refused is tried once. */
static void open_schedule(struct sampled_thread *thread)
{
    char why[REC_SCHEDULE_WHY_SIZE];
    if (thread->schedule.ring || thread->has_tried_schedule || samples.n_rings >= samples.max_rings)
        return;
    thread->has_tried_schedule = true;
    if (rec_schedule_open(&thread->schedule, thread->native_id, why, sizeof why)) {
        samples.n_rings++;
    } else if (why[0] && !samples.refusal[0]) {
        snprintf(samples.refusal, sizeof samples.refusal, "partly: %s", why);
        samples.has_new_refusal = true;
    }
}

/* With the recording lock, which guards the properties. */
static void write_refusal(void)
{
    if (samples.has_new_refusal)
        rec_name_table_add_property("scheduling", samples.refusal);
    samples.has_new_refusal = false;
}

/* The schedule is reported from now on, or from now on again: what was reported before is of no use. */
static void begin_schedule(struct sampled_thread *thread)
{
    struct rec_schedule_change change;
    open_schedule(thread);
    while (rec_schedule_next(&thread->schedule, &change))
        ;
}

/* Appends what has been reported since the thread was looked at. */
static void append_schedule(struct sampled_thread *thread, struct pnr_clock_sample now)
{
    struct rec_schedule_change change;
    while (rec_schedule_next(&thread->schedule, &change)) {
        uint64_t before_ns = change.ns < now.monotonic_ns ? now.monotonic_ns - change.ns : 0;
        if (change.what == PNR_SCHEDULE_MISSING)
            before_ns = 0;
        append_sample(now.ticks, PNR_SCHEDULE, pnr_schedule_frame(before_ns, change.what), thread->number);
    }
}

/* Returns how many changes there are at most for the threads that are looked at next. */
static uint32_t count_changes(uint32_t n_looks)
{
    size_t n = 0;
    for (uint32_t i = 0; i < n_looks && samples.n_rings; i++)
        n += rec_schedule_look(&samples.threads[(samples.next + i) % samples.n_threads].schedule);
    return (uint32_t)n;
}

/* ---- a sample ---- */

static bool read_thread_clock(uint32_t native_id, uint64_t *ns)
{
    struct timespec t;
    clockid_t clock = (clockid_t)(~native_id << 3 | 6);     /* as pthread_getcpuclockid makes it: the kernel's */
    if (clock_gettime(clock, &t) != 0)
        return false;
    *ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    return true;
}

/* Says what a thread spent since it was looked at before. A thread that was not looked at has only begun. */
static void look_at_thread(struct sampled_thread *thread, struct pnr_clock_sample now)
{
    uint64_t ran_ns, queued_ns = thread->queued_ns;
    if (!thread->native_id || !read_thread_clock(thread->native_id, &ran_ns)) {
        thread->round = 0;
        return;
    }
    if (ran_ns < thread->ran_ns)
        thread->round = 0;              /* the kernel has given the id to another thread */
    if (!thread->round || ran_ns != thread->ran_ns)
        read_second_number(&thread->schedstat, &queued_ns);
    if (!thread->round || ran_ns == thread->ran_ns)
        begin_schedule(thread);
    else
        append_schedule(thread, now);
    uint64_t since = samples.round - thread->round, queued_since = samples.round - thread->queued_round;
    if (thread->round && ran_ns > thread->ran_ns)
        append_sample(now.ticks, PNR_RAN, pnr_spent_frame(ran_ns - thread->ran_ns, since), thread->number);
    if (thread->round && queued_ns > thread->queued_ns)
        append_sample(now.ticks, PNR_QUEUED, pnr_spent_frame(queued_ns - thread->queued_ns, queued_since), thread->number);
    if (!thread->round || ran_ns != thread->ran_ns)
        thread->queued_round = samples.round;
    thread->ran_ns = ran_ns;
    thread->queued_ns = queued_ns;
    thread->round = samples.round;
}

static void sample_gil(uint64_t ticks)
{
    const void *holder = NULL;
    uint32_t number = 0;
    enum pnr_gil gil = samples.options.look_at_gil(&holder);
    for (size_t i = 0; gil == PNR_GIL_HELD && i < samples.n_threads; i++)
        if (samples.threads[i].key == holder)
            number = samples.threads[i].number;
    append_sample(ticks, PNR_SAMPLE, gil, number);
}

static void look_at_memory(uint64_t ticks, uint64_t now_ns)
{
    uint64_t n_pages;
    if (now_ns < samples.memory_due_ns)
        return;
    samples.memory_due_ns = now_ns + MEMORY_NS;
    if (read_second_number(&samples.statm, &n_pages))
        append_sample(ticks, PNR_MEMORY, n_pages * (uint64_t)sysconf(_SC_PAGESIZE), rec_drain_chunks_in_use());
}

static uint32_t count_looks(void)
{
    uint64_t needed = samples.n_threads * samples.options.period_ns / LOOK_NS + 1;
    uint64_t n = needed < LOOKS ? LOOKS : needed < MAX_LOOKS ? needed : MAX_LOOKS;
    return (uint32_t)(n < samples.n_threads ? n : samples.n_threads);
}

static void take_sample(uint64_t now_ns)
{
    if (samples.next >= samples.n_threads)
        samples.next = 0;
    uint32_t n_looks = count_looks(), n_changes = count_changes(n_looks);
    struct pnr_clock_sample now = { .ticks = 0 };
    if (n_changes)
        now = rec_clock_sample();
    else
        now.ticks = rec_clock_ticks();
    if (!ensure_samples_chunk(now.ticks, 2 + 2 * n_looks + n_changes))
        return;
    samples.round++;
    sample_gil(now.ticks);
    look_at_memory(now.ticks, now_ns);
    for (uint32_t i = 0; i < n_looks; i++) {
        if (samples.next >= samples.n_threads)
            samples.next = 0;
        look_at_thread(&samples.threads[samples.next++], now);
    }
}

/* ---- interface ---- */

bool rec_samples_are_on(void)
{
    return atomic_load_explicit(&samples.is_on, memory_order_relaxed);
}

uint64_t rec_samples_take_if_due(void)
{
    if (!rec_samples_are_on())
        return UINT64_MAX;
    pthread_mutex_lock(&samples.lock);
    uint64_t now_ns = rec_clock_monotonic_ns(), wait_ns = UINT64_MAX;
    if (samples.is_allowed && now_ns >= samples.due_ns) {
        take_sample(now_ns);
        samples.due_ns = now_ns + samples.options.period_ns;
    }
    if (samples.is_allowed)
        wait_ns = samples.due_ns - now_ns;
    pthread_mutex_unlock(&samples.lock);
    return wait_ns;
}

void rec_samples_begin(const struct rec_samples_options *options)
{
    pthread_mutex_lock(&samples.lock);
    uint64_t period_ns = options->period_ns < LOOK_NS ? options->period_ns : LOOK_NS;
    bool is_change = samples.options.period_ns != period_ns;
    samples.options = *options;
    samples.options.period_ns = period_ns;
    if (!samples.stream) {
        samples.number = rec_name_table_add_track(PNR_THREAD_SAMPLES, 0, (struct pnr_string){ "", 0 });
        samples.stream = rec_drain_stream(samples.number);
        open_kernel_file(&samples.statm, "/proc/self/statm");
    }
    if (is_change) {
        char scheduling[128];
        samples.max_rings = rec_schedule_probe(scheduling, sizeof scheduling);
        rec_name_table_add_number("samples_ns", period_ns);
        rec_name_table_add_property("scheduling", scheduling);
        samples.has_new_refusal = samples.max_rings && samples.refusal[0];
        write_refusal();
    }
    atomic_store(&samples.is_on, samples.stream != NULL);
    pthread_mutex_unlock(&samples.lock);
}

static struct sampled_thread *find_sampled(uint32_t number)
{
    for (size_t i = 0; i < samples.n_threads; i++)
        if (samples.threads[i].number == number)
            return &samples.threads[i];
    return NULL;
}

static void forget_files_of(struct sampled_thread *thread)
{
    close_schedule(thread);
    samples.n_files -= thread->schedstat.fd >= 0;
    close_kernel_file(&thread->schedstat);
}

/* The id belongs to one thread: another that had it has ended, whether the recorder has noticed that or not. */
static void take_native_id(uint32_t native_id)
{
    for (size_t i = 0; i < samples.n_threads; i++) {
        if (samples.threads[i].native_id != native_id)
            continue;
        forget_files_of(&samples.threads[i]);
        samples.threads[i].native_id = 0;
    }
}

static void set_native_id(struct sampled_thread *thread, uint32_t native_id)
{
    char path[64];
    if (thread->native_id == native_id)
        return;
    take_native_id(native_id);
    forget_files_of(thread);
    thread->native_id = native_id;
    thread->round = 0;
    if (samples.n_files >= QUEUE_FILES)
        return;
    snprintf(path, sizeof path, "/proc/self/task/%" PRIu32 "/schedstat", native_id);
    open_kernel_file(&thread->schedstat, path);
    samples.n_files += thread->schedstat.fd >= 0;
}

void rec_samples_add(uint32_t number, uint32_t native_id, const void *key)
{
    if (!rec_samples_are_on())
        return;
    pthread_mutex_lock(&samples.lock);
    struct sampled_thread *thread = find_sampled(number);
    if (!thread && pnr_array_reserve(&samples.threads, &samples.capacity, samples.n_threads + 1) == 0) {
        thread = &samples.threads[samples.n_threads++];
        *thread = (struct sampled_thread){ .number = number, .schedstat = { .fd = -1 } };
    }
    if (thread) {
        thread->key = key;
        set_native_id(thread, native_id);
    }
    pthread_mutex_unlock(&samples.lock);
}

void rec_samples_remove(uint32_t number)
{
    if (!rec_samples_are_on())
        return;
    pthread_mutex_lock(&samples.lock);
    struct sampled_thread *thread = find_sampled(number);
    if (thread) {
        forget_files_of(thread);
        *thread = samples.threads[--samples.n_threads];
    }
    pthread_mutex_unlock(&samples.lock);
}

void rec_samples_allow(void)
{
    if (!rec_samples_are_on())
        return;
    pthread_mutex_lock(&samples.lock);
    bool has_begun = !samples.is_allowed;
    samples.is_allowed = true;
    write_refusal();
    pthread_mutex_unlock(&samples.lock);
    if (has_begun)
        rec_worker_post();
}

/* With `lock`. */
static void hold_samples(struct pnr_clock_sample end)
{
    submit_samples(end);
    write_refusal();
    samples.is_allowed = false;
    samples.flags = PNR_BLOCK_PAUSED;
    for (size_t i = 0; i < samples.n_threads; i++) {
        samples.threads[i].round = 0;
        close_schedule(&samples.threads[i]);
    }
}

void rec_samples_flush(struct pnr_clock_sample end)
{
    if (!rec_samples_are_on())
        return;
    pthread_mutex_lock(&samples.lock);
    hold_samples(end);
    pthread_mutex_unlock(&samples.lock);
}

static void forget_samples(void)
{
    for (size_t i = 0; i < samples.n_threads; i++) {
        close_kernel_file(&samples.threads[i].schedstat);
        close_schedule(&samples.threads[i]);
    }
    close_kernel_file(&samples.statm);
    free(samples.threads);
    samples.threads = NULL;
    samples.n_threads = samples.capacity = samples.next = 0;
    samples.n_files = 0;
    samples.stream = NULL;
    samples.options.period_ns = 0;
    samples.is_allowed = false;
    samples.refusal[0] = 0;
    samples.has_new_refusal = false;
    samples.flags = 0;
    samples.chunk = -1;
}

void rec_samples_end(struct pnr_clock_sample end)
{
    if (!atomic_exchange(&samples.is_on, false))
        return;
    pthread_mutex_lock(&samples.lock);
    hold_samples(end);
    rec_drain_end(samples.stream);
    forget_samples();
    pthread_mutex_unlock(&samples.lock);
}

/* The lock is in whatever state the fork found it. */
void rec_samples_forked(void)
{
    pthread_mutex_init(&samples.lock, NULL);
    for (size_t i = 0; i < samples.n_threads; i++)
        rec_schedule_forget(&samples.threads[i].schedule);
    samples.n_rings = 0;
    if (atomic_exchange(&samples.is_on, false))
        forget_samples();
}
