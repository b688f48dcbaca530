#include "drain.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "finish.h"
#include "diagnostics.h"
#include "tree.h"
#include "../format/file.h"

#define FIRST_INSTANT_NS 10000000       /* the live mapping's instant is renewed after 10 ms, 20 ms, ... 1 s */
#define LAST_INSTANT_NS 1000000000
#define PAUSE_NS 10000000               /* how long the thread stays away around a fork */
#define THREAD_STACK (256 * 1024)

struct rec_stream {
    uint32_t thread;
    uint32_t n_begun;                   /* blocks announced */
    uint32_t n_written;                 /* blocks in the segments */
    bool is_ended;
};

struct chunk {                          /* what the mapping does not say of a chunk */
    struct rec_stream *stream;          /* NULL while it is free */
    struct pnr_block_header header;
    uint32_t n_events;                  /* of its records, when it is put */
};

static struct {
    char process_path[PATH_MAX];
    struct rec_drain_options options;
    struct pnr_live live;
    pthread_t thread;
    _Atomic pid_t thread_id;            /* 0 before the thread has told it */
    /* `lock` guards the two lists and the counts; `io` the segments, streams' n_written and their ends, and that no
     * chunk becomes free. */
    pthread_mutex_t lock, io;
    pthread_mutex_t presence;           /* of the thread: held while it is sent away or fetched, and at the end */
    sem_t work;                         /* something is queued, or is to be looked at */
    pthread_cond_t idle, turn;          /* a chunk became free; a block was written */
    struct chunk chunks[REC_DRAIN_CHUNKS];
    int n_chunks;
    uint64_t free[REC_DRAIN_CHUNKS / 64];       /* a bit each: the lowest is taken, so that few are ever touched */
    int n_free;
    int queue[REC_DRAIN_CHUNKS], n_queued, queue_at;
    int n_in_work;
    bool is_stopping, is_pausing;       /* with `lock`; the first with `presence`, too, so that either is enough to read it */
    _Atomic bool is_awaited;            /* on_wake is due */
    _Atomic uint64_t paused_ns;         /* when the thread was sent away; 0: it is there. Changed with `presence` */
    _Atomic bool has_failed;
    struct pnr_err failure;
    uint8_t tick_shift;                 /* of the blocks */
    struct pnr_block_coder *coder, *helper;     /* the drain's, and that of a thread that found no free chunk */
    struct rec_segments segments;
    uint64_t finish_ns;                 /* when others are looked at again */
} drain;

/* ---- free chunks ---- */

/* With the lock, both. */
static void put_free(int chunk)
{
    drain.free[chunk / 64] |= UINT64_C(1) << chunk % 64;
    drain.n_free++;
}

static int take_free(void)
{
    int i = 0;
    while (!drain.free[i])
        i++;
    int bit = __builtin_ctzll(drain.free[i]);
    drain.free[i] &= drain.free[i] - 1;
    drain.n_free--;
    return 64 * i + bit;
}

/* ---- writing a block ---- */

/* Says it at once: the program may run for days after. */
static void fail(const struct pnr_err *err)
{
    char text[512];
    if (drain.failure.code != PNR_OK)
        return;
    drain.failure = *err;
    atomic_store(&drain.has_failed, true);
    rec_warn("%s; recording ends, what was recorded is kept", pnr_err_describe(err, text, sizeof text));
}

static void free_if_done(struct rec_stream *stream)
{
    if (!stream->is_ended || stream->n_written != stream->n_begun)
        return;
    free(stream);
}

/* With `io`: true when the program has moved the capture, and it has been found again. */
static bool has_moved(const struct pnr_err *err)
{
    if ((err->sys_errno != ENOENT && err->sys_errno != ENOTDIR) || !rec_segments_locate(&drain.segments))
        return false;
    strcpy(drain.process_path, drain.segments.process_path);
    return true;
}

/* With `io`. Returns 0 or -1. */
static int append(const struct pnr_block_header *header, const void *bytes, size_t size, struct pnr_err *err)
{
    int result = rec_segments_append(&drain.segments, header, bytes, size, rec_clock_monotonic_ns(), err);
    if (result != 0 && has_moved(err))
        result = rec_segments_append(&drain.segments, header, bytes, size, rec_clock_monotonic_ns(), err);
    return result;
}

/* Appends in the order of the blocks: two threads may be encoding for one stream. Then the chunk is free. Returns
 * whether it was written. */
static bool write_in_turn(int chunk, const void *bytes, size_t size)
{
    struct rec_stream *stream = drain.chunks[chunk].stream;
    const struct pnr_block_header *header = &drain.chunks[chunk].header;
    struct pnr_err err;
    pthread_mutex_lock(&drain.io);
    while (stream->n_written != header->sequence && !rec_drain_has_failed())
        pthread_cond_wait(&drain.turn, &drain.io);
    if (!bytes) {
        pnr_err_set(&err, PNR_E_MEMORY, drain.process_path, 0, "out of memory for compression");
        fail(&err);
    } else if (!rec_drain_has_failed() && append(header, bytes, size, &err) != 0) {
        fail(&err);
    }
    bool written = !rec_drain_has_failed();
    if (written) {
        pnr_live_count_block(&drain.live, (uint32_t)chunk, drain.chunks[chunk].n_events);
        pnr_live_free(&drain.live, (uint32_t)chunk);
        drain.chunks[chunk].stream = NULL;
        stream->n_written++;
        free_if_done(stream);
    }
    pthread_cond_broadcast(&drain.turn);
    pthread_mutex_unlock(&drain.io);
    return written;
}

static struct pnr_record *records_of(int chunk)
{
    return drain.live.records + (size_t)chunk * PNR_BLOCK_RECORDS;
}

/* Writes one queued chunk and empties it. Returns whether it is free now. */
static bool write_chunk(int chunk, struct pnr_block_coder *coder)
{
    struct chunk *c = &drain.chunks[chunk];
    struct pnr_record *records = records_of(chunk);
    size_t size = 0;
    c->header.tick_shift = drain.tick_shift;
    const void *bytes = pnr_block_encode(coder, &c->header, records, &size);
    if (!write_in_turn(chunk, bytes, size))
        return false;
    memset(records, 0, (size_t)c->header.n_records * PNR_RECORD_SIZE);
    return true;
}

/* With the lock held and something queued. */
static void work_once(struct pnr_block_coder *coder)
{
    int chunk = drain.queue[drain.queue_at];
    drain.queue_at = (drain.queue_at + 1) % REC_DRAIN_CHUNKS;
    drain.n_queued--;
    drain.n_in_work++;
    pthread_mutex_unlock(&drain.lock);
    bool is_free = write_chunk(chunk, coder);
    pthread_mutex_lock(&drain.lock);
    drain.n_in_work--;
    if (is_free)
        put_free(chunk);
    pthread_cond_broadcast(&drain.idle);
}

/* ---- the thread ---- */

/* A process that is killed leaves no end instant: the converter's clock then ends with this one. */
static void renew_instant(void)
{
    uint32_t other = 1 - atomic_load_explicit(&drain.live.header->latest, memory_order_relaxed);
    drain.live.header->instants[other] = rec_clock_sample();
    atomic_store_explicit(&drain.live.header->latest, other, memory_order_release);
}

/* True when the thread has something better to do than to finish others: somebody waits for it, or soon will. */
static bool is_needed(void)
{
    pthread_mutex_lock(&drain.lock);
    bool is = drain.is_pausing || drain.is_stopping || drain.is_awaited || drain.n_free < drain.n_chunks / 2;
    pthread_mutex_unlock(&drain.lock);
    return is;
}

/* What is too old goes, when nothing is written, too; and what other processes of the capture left is finished: without
 * `io`, so that a thread that finds no free chunk does not wait for that. */
static void look_at_capture(void)
{
    struct pnr_err err;
    uint64_t now = rec_clock_monotonic_ns();
    pthread_mutex_lock(&drain.io);
    if (!rec_drain_has_failed() && rec_segments_tick(&drain.segments, now, &err) != 0 &&
        !has_moved(&err))               /* then the next time */
        fail(&err);
    pthread_mutex_unlock(&drain.io);
    if (!rec_drain_has_failed())
        rec_finish_tick(drain.process_path, now, is_needed, &drain.finish_ns);
}

/* Waits for wait_ns at most, which becomes longer each time when nothing comes. */
static void wait_for_work(long *wait_ns)
{
    uint64_t until = rec_clock_monotonic_ns() + (uint64_t)*wait_ns;
    struct timespec t = { (time_t)(until / 1000000000), (long)(until % 1000000000) };
    if (sem_clockwait(&drain.work, CLOCK_MONOTONIC, &t) != 0 && *wait_ns < LAST_INSTANT_NS)
        *wait_ns = *wait_ns * 2 < LAST_INSTANT_NS ? *wait_ns * 2 : LAST_INSTANT_NS;
    while (sem_trywait(&drain.work) == 0)
        ;
    renew_instant();
    look_at_capture();
    if (drain.options.on_tick)
        drain.options.on_tick();
}

static void *run(void *unused)
{
    long wait_ns = FIRST_INSTANT_NS;
    (void)unused;
    /* It has its share of the processor, but does not take it from a thread that runs at the moment when it wakes. */
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 });
    atomic_store(&drain.thread_id, (pid_t)syscall(SYS_gettid));
    pthread_mutex_lock(&drain.lock);
    while (!drain.is_pausing && (drain.n_queued || drain.is_awaited || !drain.is_stopping)) {
        bool is_awaited = atomic_exchange(&drain.is_awaited, false);
        if (drain.n_queued && !is_awaited) {
            work_once(drain.coder);
            continue;
        }
        pthread_mutex_unlock(&drain.lock);
        if (is_awaited)
            drain.options.on_wake();
        else
            wait_for_work(&wait_ns);
        pthread_mutex_lock(&drain.lock);
    }
    pthread_mutex_unlock(&drain.lock);
    return NULL;
}

/* All signals are blocked in the thread: they are for the program's own. */
static int start_thread(void)
{
    sigset_t all, before;
    pthread_attr_t attr;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&drain.thread, &attr, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (code == 0)
        pthread_setname_np(drain.thread, "panopticon");
    return code;
}

/* Returns when the kernel counts the thread no more, which it does for some microseconds after a join. */
static void wait_until_gone(pid_t thread)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld", (long)thread);
    for (int i = 0; i < 200 && access(path, F_OK) == 0; i++)
        usleep(50);
}

/* ---- interface ---- */

/* The locks are made anew at each start: in a forked child they are in whatever state the fork found them. */
static void init_locks(void)
{
    pthread_mutex_init(&drain.lock, NULL);
    pthread_mutex_init(&drain.io, NULL);
    pthread_mutex_init(&drain.presence, NULL);
    sem_init(&drain.work, 0, 0);
    pthread_cond_init(&drain.idle, NULL);
    pthread_cond_init(&drain.turn, NULL);
}

/* Where blocks go, and the chunks, all of which are free. */
static void set_place(const char *process_path, struct pnr_live live)
{
    snprintf(drain.process_path, sizeof drain.process_path, "%s", process_path);
    drain.live = live;
    drain.n_chunks = (int)live.header->n_chunks;
    memset(drain.free, 0, sizeof drain.free);
    drain.n_free = 0;
    for (int i = 0; i < drain.n_chunks; i++)
        put_free(i);
}

int rec_drain_start(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                    struct pnr_err *err)
{
    memset(&drain, 0, sizeof drain);
    init_locks();
    set_place(process_path, live);
    drain.finish_ns = rec_clock_monotonic_ns() + REC_FINISH_PERIOD_NS;
    drain.options = *options;
    drain.tick_shift = rec_clock_tick_shift();
    if (rec_segments_start(&drain.segments, process_path, 1, &options->limits, err) != 0) {
        pnr_live_close(&drain.live, process_path, true);
        return -1;
    }
    drain.coder = pnr_block_coder_new();
    drain.helper = pnr_block_coder_new();
    if (!drain.coder || !drain.helper) {
        pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
        goto fail;
    }
    int code = start_thread();
    if (code != 0) {
        pnr_err_set(err, PNR_E_SYSTEM, process_path, 0, "cannot start the drain's thread");
        err->sys_errno = code;
        goto fail;
    }
    return 0;
fail:
    pnr_block_coder_free(drain.coder);
    pnr_block_coder_free(drain.helper);
    rec_segments_stop(&drain.segments);
    pnr_live_close(&drain.live, process_path, true);
    return -1;
}

void rec_drain_hold(void)
{
    pthread_mutex_lock(&drain.io);
    rec_segments_hold(&drain.segments);
    pthread_mutex_unlock(&drain.io);
}

struct rec_stream *rec_drain_stream(uint32_t thread)
{
    struct rec_stream *stream = calloc(1, sizeof *stream);
    if (stream)
        stream->thread = thread;
    return stream;
}

void rec_drain_end(struct rec_stream *stream)
{
    pthread_mutex_lock(&drain.io);
    stream->is_ended = true;
    free_if_done(stream);
    pthread_mutex_unlock(&drain.io);
}

int rec_drain_take(void)
{
    int chunk = -1;
    pthread_mutex_lock(&drain.lock);
    while (!drain.n_free && !drain.options.drops && !rec_drain_has_failed() && (drain.n_queued || drain.n_in_work)) {
        if (drain.n_queued)
            work_once(drain.helper);
        else
            pthread_cond_wait(&drain.idle, &drain.lock);
    }
    if (drain.n_free && !rec_drain_has_failed())
        chunk = take_free();
    pthread_mutex_unlock(&drain.lock);
    return chunk;
}

void rec_drain_wait(void)
{
    drain.options.drops = false;
}

bool rec_drain_is_behind(void)
{
    pthread_mutex_lock(&drain.lock);
    bool is = drain.options.drops && !drain.n_free && (drain.n_queued || drain.n_in_work);
    pthread_mutex_unlock(&drain.lock);
    return is;
}

struct pnr_record *rec_drain_begin(int chunk, struct rec_stream *stream, struct pnr_clock_sample begin, uint16_t flags,
                                   uint32_t n_open, uint32_t track)
{
    struct chunk *c = &drain.chunks[chunk];
    c->stream = stream;
    c->header = (struct pnr_block_header){ .flags = flags, .thread = stream->thread, .sequence = stream->n_begun++,
                                           .n_open = n_open, .begin = begin, .track = track };
    pnr_block_header_seal(&c->header);
    pnr_live_begin(&drain.live, (uint32_t)chunk, &c->header);
    return records_of(chunk);
}

void rec_drain_submit(int chunk, uint32_t n, uint32_t n_events, struct pnr_clock_sample end, uint16_t flags)
{
    struct chunk *c = &drain.chunks[chunk];
    c->n_events = n_events;
    c->header.n_records = n;
    c->header.end = end;
    c->header.flags |= flags;
    if (c->header.n_open > n)
        c->header.n_open = n;
    pthread_mutex_lock(&drain.lock);
    drain.queue[(drain.queue_at + drain.n_queued++) % REC_DRAIN_CHUNKS] = chunk;
    pthread_mutex_unlock(&drain.lock);
    sem_post(&drain.work);
}

void rec_drain_release(int chunk)
{
    drain.chunks[chunk].stream->n_begun--;
    drain.chunks[chunk].stream = NULL;
    pnr_live_free(&drain.live, (uint32_t)chunk);
    pthread_mutex_lock(&drain.lock);
    put_free(chunk);
    pthread_mutex_unlock(&drain.lock);
}

static bool is_away(void)
{
    return atomic_load_explicit(&drain.paused_ns, memory_order_relaxed) != 0;
}

/* With `presence`: ends the thread, if it is there. */
static void send_away(void)
{
    if (!is_away()) {
        pthread_mutex_lock(&drain.lock);
        drain.is_pausing = true;
        pthread_mutex_unlock(&drain.lock);
        sem_post(&drain.work);
        pthread_join(drain.thread, NULL);
        drain.is_pausing = false;
    }
    atomic_store(&drain.paused_ns, rec_clock_monotonic_ns());
}

void rec_drain_park(void)
{
    pthread_mutex_lock(&drain.presence);
    bool was_there = !is_away();
    send_away();
    if (was_there)
        wait_until_gone(atomic_load(&drain.thread_id));
    pthread_mutex_unlock(&drain.presence);
}

/* Starts the thread if it was parked at least this long ago. Returns whether it is there. */
static bool unpark(uint64_t parked_ns)
{
    if (!is_away())
        return true;
    pthread_mutex_lock(&drain.presence);
    uint64_t now = rec_clock_monotonic_ns();
    if (is_away() && !drain.is_stopping && now - atomic_load(&drain.paused_ns) >= parked_ns)
        atomic_store(&drain.paused_ns, start_thread() == 0 ? 0 : now);  /* no more threads may be made: not soon again */
    pthread_mutex_unlock(&drain.presence);
    return !is_away();
}

bool rec_drain_unpark(void) { return unpark(PAUSE_NS); }
void rec_drain_unpark_now(void) { unpark(0); }

void rec_drain_wake(void)
{
    atomic_store(&drain.is_awaited, true);
    sem_post(&drain.work);
}

static void stand_in(void)
{
    if (is_away() && atomic_exchange(&drain.is_awaited, false))
        drain.options.on_wake();
}

void rec_drain_run_inline(void)
{
    pthread_mutex_lock(&drain.presence);
    if (!drain.is_stopping)             /* who stops has done it */
        stand_in();
    pthread_mutex_unlock(&drain.presence);
}

/* ---- saving what there is ---- */

struct copy {                           /* of a chunk that is being filled or waits to be written */
    struct pnr_block_header header;
    struct pnr_record *records;         /* owned */
};

struct last_block {                     /* of a thread, or an earlier one of it */
    uint32_t thread, sequence;          /* thread 0: none */
};

/* The chunks are looked at one after the other while threads go on, so a chunk can be passed by as free and be full
 * before the thread's next one is come upon. So a first look finds how far each thread has got; the copies, which come
 * after it, go that far: all blocks before were announced by then. With `io`, so that none of them is written
 * meanwhile. */
static void find_last_blocks(struct last_block *last)
{
    struct pnr_block_header header;
    for (int i = 0; i < drain.n_chunks; i++) {
        bool is = pnr_live_header(&drain.live, (uint32_t)i, &header);
        last[i] = is ? (struct last_block){ header.thread, header.sequence } : (struct last_block){ 0 };
    }
}

static bool is_within(const struct last_block *last, const struct pnr_block_header *header)
{
    for (int i = 0; i < drain.n_chunks; i++)
        if (last[i].thread == header->thread && last[i].sequence >= header->sequence)
            return true;
    return false;
}

/* Copies a chunk as far as it is filled. Gives no records when there are none. Returns 0, or -1 when out of memory. */
static int copy_chunk(int chunk, const struct last_block *last, struct copy *copy)
{
    copy->records = NULL;
    if (!pnr_live_header(&drain.live, (uint32_t)chunk, &copy->header) || !is_within(last, &copy->header))
        return 0;
    uint32_t n = pnr_live_count(&drain.live, (uint32_t)chunk);
    if (n == 0)
        return 0;
    if (!(copy->records = malloc(n * sizeof *copy->records)))
        return -1;
    copy->header.n_records = pnr_live_copy(&drain.live, (uint32_t)chunk, &copy->header, copy->records, n);
    if (copy->header.n_records < copy->header.n_open || copy->header.n_records == 0) {
        free(copy->records);
        copy->records = NULL;
    }
    return 0;
}

static int by_sequence(const void *a, const void *b)
{
    const struct copy *x = a, *y = b;
    return x->header.sequence < y->header.sequence ? -1 : x->header.sequence > y->header.sequence;
}

/* Copies a file of another directory. Returns 0 or -1. */
static int copy_file(const char *from, const char *directory, const char *name, struct pnr_err *err)
{
    char bytes[8192];                   /* the stack of the thread that ends a part may be small */
    struct rec_file file;
    ssize_t n;
    int in = pnr_file_open(from, O_RDONLY | O_NOFOLLOW);
    if (in < 0)
        return errno == ENOENT ? 0 : pnr_err_system(err, from, "cannot read");  /* it has been evicted just now */
    int result = rec_file_create(&file, directory, name, err);
    while (result == 0 && (n = pnr_file_read(in, bytes, sizeof bytes, file.size)) != 0)
        result = n > 0 ? rec_file_append(&file, bytes, (size_t)n, err) : pnr_err_system(err, from, "cannot read");
    rec_file_release(&file);
    close(in);
    return result;
}

/* Puts a finished segment into another process directory: the same files, or copies of them where links cannot be. One
 * that is evicted meanwhile is missing as a whole. */
static int link_segment(const char *process_path, uint32_t segment, struct pnr_err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    uint32_t *threads;
    size_t n;
    if (pnr_capture_threads(drain.process_path, segment, &threads, &n, err) != 0)
        return err->sys_errno == ENOENT ? 0 : -1;
    pnr_segment_path(process_path, segment, to);
    int result = mkdir(to, 0700) == 0 ? 0 : pnr_err_system(err, to, "cannot make a segment");
    for (size_t i = 0; i < n && result == 0; i++) {
        pnr_thread_path(drain.process_path, segment, threads[i], from);
        pnr_thread_path(process_path, segment, threads[i], to);
        char *slash = strrchr(to, '/');
        if (link(from, to) != 0) {
            *slash = 0;
            result = copy_file(from, to, slash + 1, err);
        }
    }
    free(threads);
    pnr_segment_path(drain.process_path, segment, from);
    if (result == 0 && access(from, F_OK) != 0) {       /* it was taken away by one step, before its files were */
        pnr_segment_path(process_path, segment, to);
        rec_tree_remove(to);
    }
    return result;
}

int rec_drain_link(const char *process_path, uint32_t first_segment, struct pnr_err *err)
{
    uint32_t *numbers;
    size_t n;
    if (pnr_capture_segments(drain.process_path, &numbers, &n, err) != 0)
        return -1;
    int result = 0;
    for (size_t i = n; i-- > 0 && result == 0;)         /* the oldest last: it may be evicted meanwhile */
        if (numbers[i] >= first_segment && numbers[i] < drain.segments.number)
            result = link_segment(process_path, numbers[i], err);
    free(numbers);
    return result;
}

/* Writes the copies as a segment. */
static int write_copies(struct copy *copies, int n, const char *process_path, uint32_t number, struct pnr_clock_sample end,
                        struct pnr_err *err)
{
    struct rec_segments *segments = malloc(sizeof *segments);
    struct pnr_block_coder *coder = pnr_block_coder_new();
    int result = -1;
    if (!segments || !coder)
        pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    else
        result = rec_segments_start(segments, process_path, number, &(struct rec_limits){ 0 }, err);
    qsort(copies, (size_t)n, sizeof *copies, by_sequence);
    for (int i = 0; i < n && result == 0; i++) {
        size_t size;
        copies[i].header.end = end;
        copies[i].header.tick_shift = drain.tick_shift;
        const void *bytes = pnr_block_encode(coder, &copies[i].header, copies[i].records, &size);
        result = bytes ? rec_segments_append(segments, &copies[i].header, bytes, size, end.monotonic_ns, err) :
                         pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory for compression");
    }
    if (segments)
        rec_segments_stop(segments);
    free(segments);
    pnr_block_coder_free(coder);
    return result;
}

int rec_drain_save(const char *process_path, uint32_t first_segment, struct pnr_clock_sample *end, struct pnr_err *err)
{
    struct copy *copies = calloc((size_t)drain.n_chunks, sizeof *copies);
    struct last_block last[REC_DRAIN_CHUNKS];
    int n = 0, result = 0;
    if (!copies)
        return pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    pthread_mutex_lock(&drain.io);
    find_last_blocks(last);
    for (int i = 0; i < drain.n_chunks && result == 0; i++) {
        if (copy_chunk(i, last, &copies[n]) != 0)
            result = pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
        n += copies[n].records != NULL;
    }
    *end = rec_clock_sample();
    if (result == 0 && rec_segments_roll(&drain.segments, err) == 0)
        result = rec_drain_link(process_path, first_segment, err);
    else
        result = -1;
    uint32_t number = drain.segments.number;
    pthread_mutex_unlock(&drain.io);
    if (result == 0)
        result = write_copies(copies, n, process_path, number, *end, err);
    for (int i = 0; i < n; i++)
        free(copies[i].records);
    free(copies);
    return result;
}

/* ---- captures of a part ---- */

int rec_drain_cut(uint32_t *segment, struct pnr_err *err)
{
    pthread_mutex_lock(&drain.lock);
    while ((drain.n_queued || drain.n_in_work) && !rec_drain_has_failed()) {
        if (drain.n_queued)
            work_once(drain.helper);
        else
            pthread_cond_wait(&drain.idle, &drain.lock);
    }
    pthread_mutex_unlock(&drain.lock);
    pthread_mutex_lock(&drain.io);
    int result = rec_drain_has_failed() ? -1 : rec_segments_roll(&drain.segments, err);
    if (rec_drain_has_failed())
        *err = drain.failure;
    else if (result == 0 && drain.segments.begun_ns)    /* there was no descriptor to look at the capture */
        result = (errno = EMFILE, pnr_err_system(err, drain.process_path, "cannot end a segment"));
    *segment = drain.segments.number;
    pthread_mutex_unlock(&drain.io);
    return result;
}

int rec_drain_move(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                   void (*on_move)(void), struct pnr_err *err)
{
    struct rec_segments *segments = malloc(sizeof *segments);
    pthread_mutex_lock(&drain.presence);
    send_away();                        /* it looks at all that changes here */
    uint64_t n_bytes = drain.segments.n_bytes;
    int result = segments ? rec_segments_start(segments, process_path, drain.segments.number, &options->limits, err) :
                            pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    if (result != 0) {
        pnr_live_close(&live, process_path, true);
    } else {
        rec_segments_stop(&drain.segments);
        drain.segments = *segments;
        drain.segments.n_bytes = n_bytes;
        rec_segments_hold(&drain.segments);
        on_move();
        pnr_live_close(&drain.live, drain.process_path, true);
        set_place(process_path, live);
        drain.options = *options;
    }
    if (start_thread() == 0)
        atomic_store(&drain.paused_ns, 0);
    pthread_mutex_unlock(&drain.presence);
    free(segments);
    return result;
}

void rec_drain_change_user(uid_t user, void (*func)(void *), void *arg)
{
    uid_t before = geteuid();
    rec_drain_park();                  /* so that it makes no files */
    rec_tree_give(drain.process_path, user);
    func(arg);
    if (geteuid() == before)            /* it did not come to that */
        rec_tree_give(drain.process_path, before);
}

uint64_t rec_drain_size(void)
{
    pthread_mutex_lock(&drain.io);
    uint64_t size = drain.segments.n_bytes;
    pthread_mutex_unlock(&drain.io);
    return size;
}

/* ---- the end ---- */

/* Those that have ended and whose blocks will not be written. */
static void free_ended_streams(void)
{
    for (int i = 0; i < drain.n_chunks; i++) {
        struct rec_stream *stream = drain.chunks[i].stream;
        if (!stream || !stream->is_ended)
            continue;
        stream->n_written++;            /* each chunk that it holds is one block */
        free_if_done(stream);
    }
}

/* The mapping is not there (MADV_DONTFORK), and the locks are in whatever state the fork found them. */
void rec_drain_forked(void)
{
    free_ended_streams();
    rec_segments_stop(&drain.segments);
    pnr_block_coder_free(drain.coder);
    pnr_block_coder_free(drain.helper);
    memset(&drain, 0, sizeof drain);
}

bool rec_drain_has_failed(void)
{
    return atomic_load_explicit(&drain.has_failed, memory_order_relaxed);
}

void rec_drain_stop(struct rec_drain_totals *totals)
{
    pthread_mutex_lock(&drain.presence);
    pthread_mutex_lock(&drain.lock);
    drain.is_stopping = true;
    while (is_away() && drain.n_queued)
        work_once(drain.helper);
    pthread_mutex_unlock(&drain.lock);
    stand_in();
    if (!is_away()) {
        sem_post(&drain.work);
        pthread_join(drain.thread, NULL);
    }
    pthread_mutex_unlock(&drain.presence);
    free_ended_streams();
    *totals = (struct rec_drain_totals){ drain.segments.n_bytes, drain.failure };
    pnr_block_coder_free(drain.coder);
    pnr_block_coder_free(drain.helper);
}

void rec_drain_remove(void)
{
    if (!rec_drain_has_failed())
        rec_segments_remove(&drain.segments, "live");
    rec_segments_stop(&drain.segments);
    pnr_live_close(&drain.live, drain.process_path, false);
}
