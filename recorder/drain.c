/* A chunk of the live mapping, and who has it:
 *
 *                      rec_drain_take                rec_drain_begin             rec_drain_submit
 *     free (a bit in `free`) ----------> taken ----------------------> announced -----------------> queued (in `queue`)
 *      ^   ^                                                               |                              |
 *      |   +---------------------- rec_drain_release: it stayed empty -----+                              | write_next
 *      |                                                                                                  v
 *      +------------------------------------ its block is in the segments ------------------------ being written
 *
 * From rec_drain_begin until its block is in the segments a chunk stands as in use in the live mapping: if the
 * process is killed, a reader finds it there. It is written by the worker or, when no chunk is free, by the thread
 * that needs one.
 *
 * No thread holds both locks:
 *
 *     lock    free, queue, and the counts of both; `freed` says that a chunk was written, or could not be
 *     io      the segments, process_path, the ends of streams and what is written of them; while it is held no chunk
 *             becomes free; `written` says that a block was, so that the stream's next one may be */
#include "drain.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "budget.h"
#include "clock.h"
#include "control.h"
#include "diagnostics.h"
#include "finish.h"
#include "stretches.h"
#include "samples.h"
#include "snapshot.h"
#include "sparse_clock.h"
#include "tree.h"
#include "worker.h"

struct rec_stream {
    struct rec_stream *newer, *older;   /* the list of those with a block in the segments */
    uint64_t n_events;                  /* in the segments */
    uint32_t thread;
    uint32_t n_announced;               /* blocks */
    uint32_t n_written;                 /* blocks in the segments */
    bool is_ended;
};

struct chunk {                          /* what the mapping does not say of a chunk */
    struct rec_stream *stream;          /* NULL while it is free */
    struct pnr_block_header header;
    uint32_t n_events;                  /* of its records, when it is submitted */
};

static struct {
    char process_path[PATH_MAX];
    struct rec_drain_options options;
    struct pnr_live live;
    pthread_mutex_t lock, io;
    pthread_cond_t freed, written;
    struct chunk chunks[REC_DRAIN_CHUNKS];
    struct rec_stream *newest;          /* of the streams with a block in the segments; with `io` */
    int n_chunks;
    uint64_t free[REC_DRAIN_CHUNKS / 64];       /* a bit each: the lowest is taken, so that few are ever touched */
    int n_free;
    int queue[REC_DRAIN_CHUNKS], n_queued, queue_head;
    int n_being_written;
    _Atomic bool has_failed;
    struct pnr_err failure;             /* with `io` until has_failed is set, then constant */
    uint8_t tick_shift;                 /* of the blocks */
    struct pnr_block_coder *coder, *helper;     /* the worker's; that of the thread that has the recording lock */
    struct rec_segments segments;
    uint64_t finish_ns;                 /* when the worker looks at other processes again */
} drain;

/* ---- free chunks ---- */

/* Called with `lock`, as is take_free. */
static void add_free(int chunk)
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

/* True when a chunk will become free without the help of a thread that fills one. With `lock`. */
static bool is_writing(void)
{
    return drain.n_queued || drain.n_being_written;
}

/* ---- writing a block ---- */

/* Reports the first failure at once: the program may run for days after it. With `io`. */
static void fail_drain(const struct pnr_err *err)
{
    char text[512];
    if (drain.failure.code != PNR_OK)
        return;
    drain.failure = *err;
    atomic_store(&drain.has_failed, true);
    rec_warn("%s; recording ends, what was recorded is kept", pnr_err_describe(err, text, sizeof text));
}

static void unlist(const struct rec_stream *stream)
{
    if (stream->older)
        stream->older->newer = stream->newer;
    if (stream->newer)
        stream->newer->older = stream->older;
    else if (drain.newest == stream)
        drain.newest = stream->older;
}

static void free_if_done(struct rec_stream *stream)
{
    if (!stream->is_ended || stream->n_written != stream->n_announced)
        return;
    unlist(stream);
    free(stream);
}

/* Counts a block that has been written. With `io`. */
static void count_block(struct rec_stream *stream, uint32_t n_events)
{
    if (!stream->n_written++) {
        stream->older = drain.newest;
        if (drain.newest)
            drain.newest->newer = stream;
        drain.newest = stream;
    }
    stream->n_events += n_events;
    free_if_done(stream);
}

/* True when the program has moved the capture, and it has been found again. With `io`. */
static bool has_moved(const struct pnr_err *err)
{
    if ((err->sys_errno != ENOENT && err->sys_errno != ENOTDIR) || !rec_segments_locate(&drain.segments))
        return false;
    strcpy(drain.process_path, drain.segments.process_path);
    return true;
}

/* With `io`. Returns 0 or -1. */
static int append_block(const struct pnr_block_header *header, const void *bytes, size_t size, struct pnr_err *err)
{
    int result = rec_segments_append(&drain.segments, header, bytes, size, rec_clock_monotonic_ns(), err);
    if (result != 0 && has_moved(err))
        result = rec_segments_append(&drain.segments, header, bytes, size, rec_clock_monotonic_ns(), err);
    return result;
}

/* Appends the block when the stream's earlier ones are written: two threads may be encoding for one stream. Then the
 * chunk is empty in the live mapping. Returns whether it was written. */
static bool write_in_order(int chunk, const void *bytes, size_t size)
{
    struct rec_stream *stream = drain.chunks[chunk].stream;
    const struct pnr_block_header *header = &drain.chunks[chunk].header;
    struct pnr_err err;
    pthread_mutex_lock(&drain.io);
    while (stream->n_written != header->sequence && !rec_drain_has_failed())
        pthread_cond_wait(&drain.written, &drain.io);
    if (!bytes) {
        pnr_err_set(&err, PNR_E_MEMORY, drain.process_path, 0, "out of memory for compression");
        fail_drain(&err);
    } else if (!rec_drain_has_failed() && append_block(header, bytes, size, &err) != 0) {
        fail_drain(&err);
    }
    bool is_written = !rec_drain_has_failed();
    if (is_written) {
        pnr_live_count_block(&drain.live, (uint32_t)chunk, drain.chunks[chunk].n_events);
        pnr_live_free(&drain.live, (uint32_t)chunk);
        drain.chunks[chunk].stream = NULL;
        count_block(stream, drain.chunks[chunk].n_events);
    }
    pthread_cond_broadcast(&drain.written);
    pthread_mutex_unlock(&drain.io);
    return is_written;
}

static struct pnr_record *records_of(int chunk)
{
    return drain.live.records + (size_t)chunk * PNR_BLOCK_RECORDS;
}

/* Writes a chunk and clears it. Returns whether it is free now: not after a failure. All this takes a millisecond and more.
 * So the processor is given away in between: a thread of the program that waits for it would be as late, with all that
 * it serves. */
static bool write_chunk(int chunk, struct pnr_block_coder *coder)
{
    struct chunk *c = &drain.chunks[chunk];
    struct pnr_record *records = records_of(chunk);
    size_t size = 0;
    rec_stretches_read(&c->header, records, c->header.n_records);
    const struct pnr_record *filled = pnr_block_filled(coder, &c->header, records);
    sched_yield();
    if (rec_budget_is_on())
        rec_budget_read(&c->header, filled, c->header.n_records);
    sched_yield();
    c->header.tick_shift = drain.tick_shift;
    const void *bytes = pnr_block_encode(coder, &c->header, filled, &size);
    sched_yield();
    if (!write_in_order(chunk, bytes, size))
        return false;
    memset(records, 0, (size_t)c->header.n_records * PNR_RECORD_SIZE);
    return true;
}

/* Writes the chunk that has been queued longest, if there is one. Called, and returns, with `lock`. */
static bool write_next(struct pnr_block_coder *coder)
{
    if (!drain.n_queued)
        return false;
    int chunk = drain.queue[drain.queue_head];
    drain.queue_head = (drain.queue_head + 1) % REC_DRAIN_CHUNKS;
    drain.n_queued--;
    drain.n_being_written++;
    pthread_mutex_unlock(&drain.lock);
    bool is_free = write_chunk(chunk, coder);
    pthread_mutex_lock(&drain.lock);
    drain.n_being_written--;
    if (is_free)
        add_free(chunk);
    pthread_cond_broadcast(&drain.freed);
    return true;
}

/* Helps the worker, or waits for it, until a chunk has been written. With `lock`, while is_writing. */
static void help_writing(void)
{
    if (!write_next(drain.helper))
        pthread_cond_wait(&drain.freed, &drain.lock);
}

/* ---- the worker's tasks ---- */

static bool write_queued(void)
{
    pthread_mutex_lock(&drain.lock);
    bool has_written = write_next(drain.coder);
    pthread_mutex_unlock(&drain.lock);
    if (has_written && rec_budget_is_on())
        rec_budget_tick();
    return has_written;
}

/* Keeps the live mapping's clock sample recent. A process that is killed leaves no sample of its end: the
 * converter's clock then ends with this one. */
static void renew_clock_sample(void)
{
    uint32_t other = 1 - atomic_load_explicit(&drain.live.header->latest, memory_order_relaxed);
    drain.live.header->clock_samples[other] = rec_clock_sample();
    atomic_store_explicit(&drain.live.header->latest, other, memory_order_release);
}

/* True when the worker has something more urgent to do than to finish other processes, now or soon. */
static bool is_worker_needed(void)
{
    pthread_mutex_lock(&drain.lock);
    bool is_short = drain.n_free < drain.n_chunks / 2;
    pthread_mutex_unlock(&drain.lock);
    return is_short || rec_worker_is_awaited();
}

/* Evicts what is too old, because that is due also when nothing is written; and finishes what other processes of the
 * capture left: without `io`, so that a thread that finds no free chunk does not wait for that. */
static void check_capture(void)
{
    struct pnr_err err;
    uint64_t now = rec_clock_monotonic_ns();
    pthread_mutex_lock(&drain.io);
    if (!rec_drain_has_failed() && rec_segments_tick(&drain.segments, now, &err) != 0 &&
        !has_moved(&err))               /* if it has, then the next time */
        fail_drain(&err);
    pthread_mutex_unlock(&drain.io);
    if (!rec_drain_has_failed())
        rec_finish_tick(drain.process_path, now, is_worker_needed, &drain.finish_ns);
}

static void on_idle(void)
{
    renew_clock_sample();
    check_capture();
    if (drain.options.on_tick)
        drain.options.on_tick();
    if (rec_budget_is_on())
        rec_budget_tick();
}

/* Does whatever is due often. Returns in how many ns that is the case again. */
static uint64_t on_beat(void)
{
    uint64_t wait_ns[] = { rec_sparse_tend(), rec_control_tend(), rec_samples_take_if_due(),
                           drain.options.on_beat ? drain.options.on_beat() : UINT64_MAX };
    uint64_t first_ns = UINT64_MAX;
    for (size_t i = 0; i < sizeof wait_ns / sizeof *wait_ns; i++)
        first_ns = wait_ns[i] < first_ns ? wait_ns[i] : first_ns;
    return first_ns;
}

/* ---- start ---- */

/* Sets where blocks go, and marks all chunks of the mapping as free. */
static void set_destination(const char *process_path, struct pnr_live live)
{
    snprintf(drain.process_path, sizeof drain.process_path, "%s", process_path);
    drain.live = live;
    drain.n_chunks = (int)live.header->n_chunks;
    memset(drain.free, 0, sizeof drain.free);
    drain.n_free = 0;
    for (int i = 0; i < drain.n_chunks; i++)
        add_free(i);
}

int rec_drain_start(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                    struct pnr_err *err)
{
    /* The locks are made anew: in a forked child they are in whatever state the fork found them. */
    memset(&drain, 0, sizeof drain);
    pthread_mutex_init(&drain.lock, NULL);
    pthread_mutex_init(&drain.io, NULL);
    pthread_cond_init(&drain.freed, NULL);
    pthread_cond_init(&drain.written, NULL);
    set_destination(process_path, live);
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
    int code = rec_worker_start(&(struct rec_worker_tasks){ .work = write_queued, .on_wake = options->on_wake,
                                                        .on_idle = on_idle, .on_beat = on_beat,
                                                        .on_leave = rec_sparse_rest,
                                                        .longest_wait = rec_budget_tick_wait,
                                                        .keeps_time = rec_samples_are_on });
    if (code != 0) {
        pnr_err_set(err, PNR_E_SYSTEM, process_path, 0, "cannot start the recorder's thread");
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

/* ---- streams and chunks ---- */

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
    while (!drain.n_free && !drain.options.discards && !rec_drain_has_failed() && is_writing())
        help_writing();
    if (drain.n_free && !rec_drain_has_failed())
        chunk = take_free();
    pthread_mutex_unlock(&drain.lock);
    return chunk;
}

int rec_drain_take_spare(void)
{
    int chunk = -1;
    pthread_mutex_lock(&drain.lock);
    if (drain.n_free > drain.n_chunks / 4 && !rec_drain_has_failed())
        chunk = take_free();
    pthread_mutex_unlock(&drain.lock);
    return chunk;
}

uint32_t rec_drain_chunks_in_use(void)
{
    pthread_mutex_lock(&drain.lock);
    uint32_t n = (uint32_t)(drain.n_chunks - drain.n_free);
    pthread_mutex_unlock(&drain.lock);
    return n;
}

void rec_drain_block_on_overflow(void)
{
    drain.options.discards = false;
}

bool rec_drain_has_overflowed(void)
{
    pthread_mutex_lock(&drain.lock);
    bool has = drain.options.discards && !drain.n_free && is_writing();
    pthread_mutex_unlock(&drain.lock);
    return has;
}

struct pnr_record *rec_drain_begin(int chunk, struct rec_stream *stream, struct pnr_clock_sample begin, uint16_t flags,
                                   uint32_t n_open, uint32_t track)
{
    struct chunk *c = &drain.chunks[chunk];
    c->stream = stream;
    c->header = (struct pnr_block_header){ .flags = flags, .thread = stream->thread, .sequence = stream->n_announced++,
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
    drain.queue[(drain.queue_head + drain.n_queued++) % REC_DRAIN_CHUNKS] = chunk;
    pthread_mutex_unlock(&drain.lock);
    rec_worker_post();
}

void rec_drain_release(int chunk)
{
    drain.chunks[chunk].stream->n_announced--;
    drain.chunks[chunk].stream = NULL;
    pnr_live_free(&drain.live, (uint32_t)chunk);
    pthread_mutex_lock(&drain.lock);
    add_free(chunk);
    pthread_mutex_unlock(&drain.lock);
}

/* ---- snapshots and regions ---- */

uint32_t rec_drain_find_segment(uint64_t ns)
{
    pthread_mutex_lock(&drain.io);
    uint32_t number = rec_segments_find(&drain.segments, ns);
    pthread_mutex_unlock(&drain.io);
    return number;
}

uint64_t rec_drain_segment_begin_ns(uint32_t number)
{
    pthread_mutex_lock(&drain.io);
    uint64_t ns = rec_segments_begin_ns(&drain.segments, number);
    pthread_mutex_unlock(&drain.io);
    return ns;
}

/* Ends the segment, and links the finished ones into another process directory. With `io`. Returns 0 or -1. */
static int roll_and_link(const char *process_path, uint32_t first_segment, struct pnr_err *err)
{
    return rec_segments_roll(&drain.segments, err) != 0 ? -1 :
           rec_segments_link(&drain.segments, process_path, first_segment, err);
}

int rec_drain_snapshot(const char *process_path, uint32_t first_segment, struct pnr_clock_sample *end,
                       struct pnr_err *err)
{
    struct rec_snapshot snapshot;
    pthread_mutex_lock(&drain.io);
    int result = rec_snapshot_take(&snapshot, &drain.live);
    *end = snapshot.end;
    if (result != 0)
        pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    else if ((result = roll_and_link(process_path, first_segment, err)) != 0 && has_moved(err))
        result = roll_and_link(process_path, first_segment, err);
    uint32_t number = drain.segments.number;
    pthread_mutex_unlock(&drain.io);
    if (result == 0)
        result = rec_snapshot_write(&snapshot, process_path, number, err);
    rec_snapshot_clear(&snapshot);
    return result;
}

int rec_drain_cut(uint32_t *segment, struct pnr_err *err)
{
    pthread_mutex_lock(&drain.lock);
    while (is_writing() && !rec_drain_has_failed())
        help_writing();
    pthread_mutex_unlock(&drain.lock);
    pthread_mutex_lock(&drain.io);
    int result = rec_drain_has_failed() ? -1 : rec_segments_roll(&drain.segments, err);
    if (rec_drain_has_failed())
        *err = drain.failure;
    else if (result == 0 && drain.segments.first_block_ns)      /* no descriptor was left to begin another segment */
        result = (errno = EMFILE, pnr_err_system(err, drain.process_path, "cannot end a segment"));
    *segment = drain.segments.number;
    pthread_mutex_unlock(&drain.io);
    return result;
}

int rec_drain_link(const char *process_path, uint32_t first_segment, struct pnr_err *err)
{
    pthread_mutex_lock(&drain.io);
    int result = rec_segments_link(&drain.segments, process_path, first_segment, err);
    pthread_mutex_unlock(&drain.io);
    return result;
}

int rec_drain_move(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                   void (*on_move)(void), struct pnr_err *err)
{
    struct rec_segments *segments = malloc(sizeof *segments);
    rec_worker_suspend();               /* it looks at all that changes here */
    int result = segments ? rec_segments_start(segments, process_path, drain.segments.number, &options->limits, err) :
                            pnr_err_set(err, PNR_E_MEMORY, process_path, 0, "out of memory");
    if (result != 0) {
        pnr_live_close(&live, process_path, true);
    } else {
        rec_segments_continue(segments, &drain.segments);
        rec_segments_stop(&drain.segments);
        drain.segments = *segments;
        rec_segments_hold(&drain.segments);
        on_move();
        pnr_live_close(&drain.live, drain.process_path, true);
        set_destination(process_path, live);
        drain.options = *options;
    }
    rec_worker_resume();
    free(segments);
    return result;
}

/* ---- what there is, and what is kept of it ---- */

void rec_drain_look(struct rec_drain_status *status, void (*each)(void *arg, uint32_t thread, uint64_t n_events),
                    void *arg)
{
    struct pnr_block_header header;
    pthread_mutex_lock(&drain.io);
    *status = (struct rec_drain_status){ .n_events = atomic_load(&drain.live.header->n_events),
                                         .n_bytes = drain.segments.n_bytes, .n_chunks = drain.n_chunks,
                                         .limits = drain.options.limits };
    for (const struct rec_stream *stream = drain.newest; stream; stream = stream->older)
        each(arg, stream->thread, stream->n_events);
    for (int i = 0; i < drain.n_chunks; i++) {
        if (!pnr_live_header(&drain.live, (uint32_t)i, &header))
            continue;
        uint32_t n = pnr_live_count(&drain.live, (uint32_t)i);
        n = n > header.n_open ? n - header.n_open : 0;
        status->n_events += n;
        each(arg, header.thread, n);
    }
    pthread_mutex_unlock(&drain.io);
    pthread_mutex_lock(&drain.lock);
    status->n_free = drain.n_free;
    status->n_queued = drain.n_queued;
    pthread_mutex_unlock(&drain.lock);
}

struct rec_limits rec_drain_limits(void)
{
    pthread_mutex_lock(&drain.io);
    struct rec_limits limits = drain.options.limits;
    pthread_mutex_unlock(&drain.io);
    return limits;
}

int rec_drain_set_limits(const struct rec_limits *limits, struct pnr_err *err)
{
    pthread_mutex_lock(&drain.io);
    int result = rec_drain_has_failed() ? (*err = drain.failure, -1) : rec_segments_limit(&drain.segments, limits, err);
    if (result != 0 && has_moved(err))
        result = rec_segments_limit(&drain.segments, limits, err);
    if (result == 0)
        drain.options.limits = *limits;
    pthread_mutex_unlock(&drain.io);
    return result;
}

void rec_drain_locate(char *path)
{
    struct stat st;
    pthread_mutex_lock(&drain.io);
    if (lstat(drain.process_path, &st) != 0)
        has_moved(&(struct pnr_err){ .sys_errno = errno });
    strcpy(path, drain.process_path);
    pthread_mutex_unlock(&drain.io);
}

/* ---- another user ---- */

void rec_drain_change_user(uid_t user, void (*func)(void *), void *arg)
{
    uid_t before = geteuid();
    rec_worker_park();                  /* so that it makes no files */
    rec_tree_give(drain.process_path, user);
    func(arg);
    if (geteuid() == before)            /* func failed */
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

/* Frees streams that have ended and whose blocks will not be written. */
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

/* The live mapping is not there (MADV_DONTFORK), and the locks are in whatever state the fork found them. */
void rec_drain_forked(void)
{
    free_ended_streams();
    rec_segments_stop(&drain.segments);
    pnr_block_coder_free(drain.coder);
    pnr_block_coder_free(drain.helper);
    memset(&drain, 0, sizeof drain);
    rec_worker_forked();
}

bool rec_drain_has_failed(void)
{
    return atomic_load_explicit(&drain.has_failed, memory_order_relaxed);
}

void rec_drain_stop(struct rec_drain_totals *totals)
{
    rec_worker_stop();
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
