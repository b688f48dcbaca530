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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "notice.h"
#include "../format/file.h"

#define FIRST_INSTANT_NS 10000000       /* the live mapping's instant is renewed after 10 ms, 20 ms, ... 1 s */
#define LAST_INSTANT_NS 1000000000
#define RESOLUTION_NS 4                 /* of the times in blocks: what is finer is noise, and noise fills the disk */
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
    rec_notice("%s; recording ends, what was recorded is kept", pnr_err_describe(err, text, sizeof text));
}

static void free_if_done(struct rec_stream *stream)
{
    if (!stream->is_ended || stream->n_written != stream->n_begun)
        return;
    free(stream);
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
    } else if (!rec_drain_has_failed() &&
               rec_segments_append(&drain.segments, bytes, size, rec_clock_monotonic_ns(), &err) != 0) {
        fail(&err);
    }
    bool written = !rec_drain_has_failed();
    if (written) {
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

/* The ticks of the resolution, as a power of two. */
static uint8_t find_tick_shift(void)
{
    uint64_t rate = rec_clock_rate();
    uint8_t shift = 0;
    while (UINT64_C(2000000000) << shift <= RESOLUTION_NS * rate)
        shift++;
    return shift;
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
    drain.live.header->instants[other] = rec_clock_instant();
    atomic_store_explicit(&drain.live.header->latest, other, memory_order_release);
}

/* What is too old goes, when nothing is written, too. */
static void look_at_segments(void)
{
    struct pnr_err err;
    pthread_mutex_lock(&drain.io);
    if (!rec_drain_has_failed() && rec_segments_tick(&drain.segments, rec_clock_monotonic_ns(), &err) != 0)
        fail(&err);
    pthread_mutex_unlock(&drain.io);
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
    look_at_segments();
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

int rec_drain_start(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                    struct pnr_err *err)
{
    memset(&drain, 0, sizeof drain);
    snprintf(drain.process_path, sizeof drain.process_path, "%s", process_path);
    init_locks();
    drain.live = live;
    drain.options = *options;
    drain.tick_shift = find_tick_shift();
    drain.n_chunks = (int)live.header->n_chunks;
    for (int i = 0; i < drain.n_chunks; i++)
        put_free(i);
    if (rec_segments_start(&drain.segments, process_path, &options->limits, err) != 0) {
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

struct pnr_record *rec_drain_begin(int chunk, struct rec_stream *stream, struct pnr_instant begin, uint16_t flags,
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

void rec_drain_put(int chunk, uint32_t n, struct pnr_instant end, uint16_t flags)
{
    struct chunk *c = &drain.chunks[chunk];
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

void rec_drain_give_back(int chunk)
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

void rec_drain_pause(void)
{
    pthread_mutex_lock(&drain.presence);
    if (!is_away()) {
        pthread_mutex_lock(&drain.lock);
        drain.is_pausing = true;
        pthread_mutex_unlock(&drain.lock);
        sem_post(&drain.work);
        pthread_join(drain.thread, NULL);
        wait_until_gone(atomic_load(&drain.thread_id));
        drain.is_pausing = false;
    }
    atomic_store(&drain.paused_ns, rec_clock_monotonic_ns());
    pthread_mutex_unlock(&drain.presence);
}

bool rec_drain_resume(void)
{
    if (!is_away())
        return true;
    pthread_mutex_lock(&drain.presence);
    uint64_t now = rec_clock_monotonic_ns();
    if (is_away() && !drain.is_stopping && now - atomic_load(&drain.paused_ns) >= PAUSE_NS)
        atomic_store(&drain.paused_ns, start_thread() == 0 ? 0 : now);  /* no more threads may be made: not soon again */
    pthread_mutex_unlock(&drain.presence);
    return !is_away();
}

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

void rec_drain_stand_in(void)
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
static int copy_segment(const char *from, const char *process_path, const char *name, struct pnr_err *err)
{
    char bytes[65536];
    struct rec_file file;
    ssize_t n;
    int in = pnr_file_open(from, O_RDONLY | O_NOFOLLOW);
    if (in < 0)
        return errno == ENOENT ? 0 : pnr_err_system(err, from, "cannot read");  /* it has been dropped just now */
    int result = rec_file_create(&file, process_path, name, err);
    while (result == 0 && (n = pnr_file_read(in, bytes, sizeof bytes, file.size)) != 0)
        result = n > 0 ? rec_file_append(&file, bytes, (size_t)n, err) : pnr_err_system(err, from, "cannot read");
    rec_file_release(&file);
    close(in);
    return result;
}

/* Puts the finished segments into another directory: the same files, or copies of them where links cannot be. */
static int link_segments(const char *process_path, struct pnr_err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    uint32_t *numbers;
    size_t n;
    if (pnr_capture_segments(drain.process_path, &numbers, &n, err) != 0)
        return -1;
    int result = 0;
    for (size_t i = n; i-- > 0 && result == 0;) {       /* the oldest last: it may be dropped meanwhile */
        pnr_segment_path(drain.process_path, numbers[i], from);
        pnr_segment_path(process_path, numbers[i], to);
        if (numbers[i] != drain.segments.number && link(from, to) != 0)
            result = copy_segment(from, process_path, strrchr(to, '/') + 1, err);
    }
    free(numbers);
    return result;
}

/* Writes the copies as a segment. */
static int write_copies(struct copy *copies, int n, const char *process_path, uint32_t number, struct pnr_instant end,
                        struct pnr_err *err)
{
    char path[PATH_MAX];
    struct rec_file file;
    struct pnr_block_coder *coder = pnr_block_coder_new();
    if (!coder)
        return pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    qsort(copies, (size_t)n, sizeof *copies, by_sequence);
    pnr_segment_path(process_path, number, path);
    int result = rec_file_create(&file, process_path, strrchr(path, '/') + 1, err);
    for (int i = 0; i < n && result == 0; i++) {
        size_t size;
        copies[i].header.end = end;
        copies[i].header.tick_shift = drain.tick_shift;
        const void *bytes = pnr_block_encode(coder, &copies[i].header, copies[i].records, &size);
        result = bytes ? rec_file_append(&file, bytes, size, err) :
                         pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory for compression");
    }
    rec_file_release(&file);
    pnr_block_coder_free(coder);
    return result;
}

int rec_drain_save(const char *process_path, struct pnr_instant *end, struct pnr_err *err)
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
    *end = rec_clock_instant();
    if (result == 0 && rec_segments_roll(&drain.segments, err) == 0)
        result = link_segments(process_path, err);
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
    rec_segments_stop(&drain.segments);
    *totals = (struct rec_drain_totals){ drain.segments.n_bytes, drain.failure };
    pnr_block_coder_free(drain.coder);
    pnr_block_coder_free(drain.helper);
    pnr_live_close(&drain.live, drain.process_path, !rec_drain_has_failed());
}
