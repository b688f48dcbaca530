#include "drain.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
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

#define OPEN_FILES 16                   /* descriptors that the thread files use at most */
#define FIRST_INSTANT_NS 10000000       /* the live mapping's instant is renewed after 10 ms, 20 ms, ... 1 s */
#define LAST_INSTANT_NS 1000000000
#define RESOLUTION_NS 4                 /* of the times in blocks: what is finer is noise, and noise fills the disk */
#define PAUSE_NS 10000000               /* how long the thread stays away around a fork */
#define THREAD_STACK (256 * 1024)

struct rec_stream {
    uint32_t thread;
    uint32_t n_begun;                   /* blocks announced */
    uint32_t n_written;                 /* blocks in the file */
    bool is_ended;
    struct rec_file file;               /* inode 0 until it is made, for the first block */
};

struct chunk {                          /* what the mapping does not say of a chunk */
    struct rec_stream *stream;
    struct pnr_block_header header;
};

static struct {
    char process_path[PATH_MAX];
    struct pnr_live live;
    pthread_t thread;
    _Atomic pid_t thread_id;            /* 0 before the thread has told it */
    /* `lock` guards the two lists and the counts; `io` the files, streams' n_written and their ends. */
    pthread_mutex_t lock, io;
    pthread_mutex_t presence;           /* of the thread: held while it is sent away or fetched */
    pthread_cond_t work, idle, turn;    /* something queued; a chunk became free; a block was written */
    struct chunk chunks[REC_DRAIN_CHUNKS];
    int free[REC_DRAIN_CHUNKS], n_free; /* last in, first out: the warmest */
    int queue[REC_DRAIN_CHUNKS], n_queued, queue_at;
    int n_in_work;
    bool is_stopping, is_pausing;
    uint64_t paused_ns;                 /* when the thread was sent away; 0: it is there */
    _Atomic bool has_failed;
    struct rec_drain_totals totals;
    uint8_t tick_shift;                 /* of the blocks */
    struct pnr_block_coder *coder, *helper;     /* the drain's, and that of a thread that found no free chunk */
    struct rec_stream *open[OPEN_FILES];        /* streams whose file may be open, round robin */
    struct rec_file reserve;            /* holds a descriptor for when the program has used up all of them */
    int open_at;
} drain;

/* ---- writing a block ---- */

/* Says it at once: the program may run for days after. */
static void fail(const struct pnr_err *err)
{
    char text[512];
    if (drain.totals.failure.code != PNR_OK)
        return;
    drain.totals.failure = *err;
    atomic_store(&drain.has_failed, true);
    rec_notice("%s; recording ends, what was recorded is kept", pnr_err_describe(err, text, sizeof text));
}

/* Makes the stream's file, or opens it again and appends. */
static int append_once(struct rec_stream *stream, const void *bytes, size_t size, struct pnr_err *err)
{
    char name[32];
    snprintf(name, sizeof name, "thread-%u.zst", stream->thread);
    if (stream->n_written == 0 && stream->file.inode == 0 &&
        rec_file_create(&stream->file, drain.process_path, name, err) != 0)
        return -1;
    return rec_file_append(&stream->file, bytes, size, err);
}

static int append(struct rec_stream *stream, const void *bytes, size_t size, struct pnr_err *err)
{
    bool is_open = false;
    for (int i = 0; i < OPEN_FILES; i++)
        is_open |= drain.open[i] == stream;
    if (!is_open) {
        if (drain.open[drain.open_at])
            rec_file_release(&drain.open[drain.open_at]->file);
        drain.open[drain.open_at] = stream;
        drain.open_at = (drain.open_at + 1) % OPEN_FILES;
    }
    if (append_once(stream, bytes, size, err) == 0)
        return 0;
    if (err->sys_errno != EMFILE && err->sys_errno != ENFILE)
        return -1;
    for (int i = 0; i < OPEN_FILES; i++)
        if (drain.open[i] && drain.open[i] != stream)
            rec_file_release(&drain.open[i]->file);
    rec_file_release(&drain.reserve);
    return append_once(stream, bytes, size, err);
}

static void free_if_done(struct rec_stream *stream)
{
    if (!stream->is_ended || stream->n_written != stream->n_begun)
        return;
    for (int i = 0; i < OPEN_FILES; i++)
        if (drain.open[i] == stream)
            drain.open[i] = NULL;
    rec_file_release(&stream->file);
    free(stream);
}

/* Appends in the order of the blocks: two threads may be encoding for one stream. Returns whether it was written. */
static bool write_in_turn(struct rec_stream *stream, const struct pnr_block_header *header, const void *bytes,
                          size_t size)
{
    struct pnr_err err;
    pthread_mutex_lock(&drain.io);
    while (stream->n_written != header->sequence && !rec_drain_has_failed())
        pthread_cond_wait(&drain.turn, &drain.io);
    if (!bytes) {
        pnr_err_set(&err, PNR_E_MEMORY, drain.process_path, 0, "out of memory for compression");
        fail(&err);
    } else if (!rec_drain_has_failed() && append(stream, bytes, size, &err) != 0) {
        fail(&err);
    }
    bool written = !rec_drain_has_failed();
    if (written) {
        drain.totals.n_bytes += size;
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
    if (!write_in_turn(c->stream, &c->header, bytes, size))
        return false;
    atomic_store_explicit(&drain.live.chunks[chunk].state, PNR_CHUNK_FREE, memory_order_release);
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
        drain.free[drain.n_free++] = chunk;
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

static void wait_for_work(long *wait_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += *wait_ns;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_cond_timedwait(&drain.work, &drain.lock, &until) != 0 && *wait_ns < LAST_INSTANT_NS)
        *wait_ns = *wait_ns * 2 < LAST_INSTANT_NS ? *wait_ns * 2 : LAST_INSTANT_NS;
    renew_instant();
}

static void *run(void *unused)
{
    long wait_ns = FIRST_INSTANT_NS;
    (void)unused;
    /* It has its share of the processor, but does not take it from a thread that runs at the moment when it wakes. */
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 });
    atomic_store(&drain.thread_id, (pid_t)syscall(SYS_gettid));
    pthread_mutex_lock(&drain.lock);
    while (!drain.is_pausing && (drain.n_queued || !drain.is_stopping)) {
        if (drain.n_queued)
            work_once(drain.coder);
        else
            wait_for_work(&wait_ns);
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
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&drain.lock, NULL);
    pthread_mutex_init(&drain.io, NULL);
    pthread_mutex_init(&drain.presence, NULL);
    pthread_cond_init(&drain.work, &attr);
    pthread_cond_init(&drain.idle, NULL);
    pthread_cond_init(&drain.turn, NULL);
    pthread_condattr_destroy(&attr);
}

int rec_drain_start(const char *process_path, struct pnr_live live, struct pnr_err *err)
{
    memset(&drain, 0, sizeof drain);
    snprintf(drain.process_path, sizeof drain.process_path, "%s", process_path);
    init_locks();
    drain.live = live;
    drain.tick_shift = find_tick_shift();
    drain.reserve.fd = -1;
    if (rec_file_move(&drain.reserve, process_path, "names", err) != 0 ||
        rec_file_append(&drain.reserve, NULL, 0, err) != 0) {
        pnr_live_close(&drain.live, process_path, true);
        return -1;
    }
    for (int i = REC_DRAIN_CHUNKS - 1; i >= 0; i--)
        drain.free[drain.n_free++] = i;
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
    rec_file_release(&drain.reserve);
    pnr_live_close(&drain.live, process_path, true);
    return -1;
}

struct rec_stream *rec_drain_stream(uint32_t thread)
{
    struct rec_stream *stream = calloc(1, sizeof *stream);
    if (stream) {
        stream->thread = thread;
        stream->file.fd = -1;
    }
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
    while (!drain.n_free && !rec_drain_has_failed() && (drain.n_queued || drain.n_in_work)) {
        if (drain.n_queued)
            work_once(drain.helper);
        else
            pthread_cond_wait(&drain.idle, &drain.lock);
    }
    if (drain.n_free && !rec_drain_has_failed())
        chunk = drain.free[--drain.n_free];
    pthread_mutex_unlock(&drain.lock);
    return chunk;
}

struct pnr_record *rec_drain_begin(int chunk, struct rec_stream *stream, struct pnr_instant begin, uint16_t flags,
                                   uint32_t n_open)
{
    struct chunk *c = &drain.chunks[chunk];
    c->stream = stream;
    c->header = (struct pnr_block_header){ .flags = flags, .thread = stream->thread, .sequence = stream->n_begun++,
                                           .n_open = n_open, .begin = begin };
    pnr_block_header_seal(&c->header);
    drain.live.chunks[chunk].block = c->header;
    atomic_store_explicit(&drain.live.chunks[chunk].state, PNR_CHUNK_IN_USE, memory_order_release);
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
    pthread_cond_signal(&drain.work);
    pthread_mutex_unlock(&drain.lock);
}

void rec_drain_give_back(int chunk)
{
    drain.chunks[chunk].stream->n_begun--;
    atomic_store_explicit(&drain.live.chunks[chunk].state, PNR_CHUNK_FREE, memory_order_release);
    pthread_mutex_lock(&drain.lock);
    drain.free[drain.n_free++] = chunk;
    pthread_mutex_unlock(&drain.lock);
}

void rec_drain_pause(void)
{
    pthread_mutex_lock(&drain.presence);
    if (!drain.paused_ns) {
        pthread_mutex_lock(&drain.lock);
        drain.is_pausing = true;
        pthread_cond_signal(&drain.work);
        pthread_mutex_unlock(&drain.lock);
        pthread_join(drain.thread, NULL);
        wait_until_gone(atomic_load(&drain.thread_id));
        drain.is_pausing = false;
    }
    drain.paused_ns = rec_clock_instant().monotonic_ns;
    pthread_mutex_unlock(&drain.presence);
}

bool rec_drain_resume(void)
{
    if (!drain.paused_ns)
        return true;
    pthread_mutex_lock(&drain.presence);
    if (drain.paused_ns && rec_clock_instant().monotonic_ns - drain.paused_ns >= PAUSE_NS && start_thread() == 0)
        drain.paused_ns = 0;
    pthread_mutex_unlock(&drain.presence);
    return !drain.paused_ns;
}

bool rec_drain_has_failed(void)
{
    return atomic_load_explicit(&drain.has_failed, memory_order_relaxed);
}

void rec_drain_stop(struct rec_drain_totals *totals)
{
    pthread_mutex_lock(&drain.lock);
    drain.is_stopping = true;
    pthread_cond_signal(&drain.work);
    while (drain.paused_ns && drain.n_queued)
        work_once(drain.helper);
    pthread_mutex_unlock(&drain.lock);
    if (!drain.paused_ns)
        pthread_join(drain.thread, NULL);
    for (int i = 0; i < OPEN_FILES; i++)
        if (drain.open[i])
            rec_file_release(&drain.open[i]->file);
    rec_file_release(&drain.reserve);
    *totals = drain.totals;
    pnr_block_coder_free(drain.coder);
    pnr_block_coder_free(drain.helper);
    pnr_live_close(&drain.live, drain.process_path, !rec_drain_has_failed());
}
