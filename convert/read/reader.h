/* Reads one process of a capture: its name table, and each thread's blocks in the order of their sequence, whether
 * they lie in a file of a segment or still in the live mapping. Trusts nothing: reports what is damaged, skips it and
 * goes on with the next whole block, which comes with is_after_hole.
 *
 *     reader_open()                   reads every block header once: clock, holes, what is whole; and the ledger
 *     [reader_set_jobs()]             if there are threads that can decode blocks ahead
 *     [reader_set_range()]            if only part of the time is wanted
 *     for each thread, in any order
 *         reader_peek()               when does its next block begin
 *         reader_next()               decodes it
 *     [reader_stop()]                 if the blocks that are left are not wanted
 *     [reader_rewind()]               to read again, from reader_set_jobs() on
 *     reader_close()
 *
 * A process that still runs is read as it was when the reader was opened. What --max-size and --last evict before it
 * could be read is no damage: see reader_has_evicted().
 *
 * Holds 48 bytes for each block, 16 more to read ahead, and one decoded block for each thread that is being read. A
 * block of a hundred bytes may become 256 KiB, and there may be a hundred thousand threads. So when all threads
 * together hold 48 MiB, a thread gets its block in pieces, and the block is decoded again for each. While it is read
 * it has up to 32 files open, one more if the process was killed or runs. One thread at a time. */
#ifndef READER_H
#define READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/diagnostics.h"
#include "convert/jobs.h"
#include "format/block.h"
#include "format/process.h"
#include "format/record.h"
#include "ledger.h"
#include "placing.h"
#include "samples.h"
#include "symbols.h"
#include "timeline.h"

struct reader;

struct reader_block {
    bool is_begin;                      /* false: a further piece of the block before */
    uint32_t track;                     /* of the first records; 0: the thread itself */
    const struct pnr_record *open;      /* the leading OPEN records; borrowed until any reader_next() */
    uint32_t n_open;
    bool has_open;                      /* the OPEN records are the thread's stack */
    const struct pnr_record *records;   /* the others; borrowed until the thread's next reader_next() */
    uint32_t n_records;                 /* may be 0 */
    uint64_t begin_ticks;
    uint64_t end_ticks;                 /* 0 for a block from the live mapping, and for a piece that is not the last */
    bool is_sparse;                     /* PNR_BLOCK_SPARSE: kinds may say that a time is inexact, see placing.h */
    bool is_deeper, is_last;            /* PNR_BLOCK_DEEPER, PNR_BLOCK_LAST */
    bool is_after_pause;                /* PNR_BLOCK_PAUSED */
    bool is_after_hole;                 /* PNR_BLOCK_RESYNC, or blocks before it are missing */
};

struct reader_size {
    uint64_t bytes;                     /* of all files of the process, except those of excluded threads */
    uint64_t n_found;                   /* blocks in all */
    uint64_t n_blocks;                  /* read so far */
    uint64_t n_damaged;                 /* blocks skipped or missing so far */
    uint64_t n_recovered;               /* records read so far from the live mapping */
    struct placing_count placed;        /* of the events without a reading of the clock that were read so far */
    bool has_live;
    bool has_newer;                     /* blocks of a later version were skipped */
};

/* Which threads are wanted. The files of the others are not opened: those are threads without a block. */
struct reader_choice {
    /* Called once the symbols are known. Returns 1; 0: nothing of the process is wanted; -1 when out of memory. */
    int (*begin)(void *arg, const struct reader *reader);
    bool (*wants)(void *arg, uint32_t thread);          /* by its number in the capture */
    void *arg;
};

/* path: the directory of the process; copied. choice: NULL for all threads; borrowed for the call. diagnostics is
 * borrowed until reader_close(). Returns NULL when nothing can be read, and fills err. */
struct reader *reader_open(const char *path, const struct reader_choice *choice, const struct diagnostics *diagnostics,
                           struct pnr_err *err);

/* Lets the threads of jobs decode blocks before they are needed, if it has more than one. jobs is borrowed until all
 * threads have been read, or reader_close(). */
void reader_set_jobs(struct reader *reader, struct jobs *jobs);

/* Accepts NULL. */
void reader_close(struct reader *reader);

/* What these functions return is borrowed until reader_close(). */
const char *reader_path(const struct reader *reader);
const struct symbols *reader_symbols(const struct reader *reader);
struct timeline *reader_timeline(struct reader *reader);
const struct reader_size *reader_size(const struct reader *reader);

/* Moves all times of the process by so many nanoseconds, since the clocks of several machines differ. Times are
 * those of CLOCK_MONOTONIC before. */
void reader_shift(struct reader *reader, int64_t ns);

/* Returns when the recording of the process began. */
uint64_t reader_start(const struct reader *reader);

/* Returns whether the process ran when it was read, at until_ns. */
enum pnr_process_state reader_process(const struct reader *reader, uint64_t *until_ns);

/* True when the recorder has evicted the oldest segments (--max-size, --last), or all of them: then there may be no
 * thread. From complete_ticks on nothing was evicted; 0: nothing of any thread was. Both can change while blocks are
 * read. */
bool reader_has_evicted(const struct reader *reader, uint64_t *complete_ticks);

/* True when there are sparse blocks. */
bool reader_is_sparse(const struct reader *reader);

/* What the process's ledger says, as far as it can be read; its `exists` is false for a process without one. */
const struct ledger *reader_ledger(const struct reader *reader);

/* What the process's samples say; its `exists` is false for a process without them. */
const struct samples *reader_samples(const struct reader *reader);

/* Threads are counted from 0 here, in the order of their numbers in the capture, without ledger and samples. */
size_t reader_n_threads(const struct reader *reader);
uint32_t reader_thread_number(const struct reader *reader, size_t thread);

/* Finds the latest end of any block. */
uint64_t reader_end(const struct reader *reader);

/* Limits each thread, before anything is read, to what is needed to know all from from_ticks up to to_ticks. That is
 * the last block that begins before from_ticks and has all frames that are open in it, and the blocks that follow and
 * begin before to_ticks. A thread that had ended by from_ticks needs none. is_known: the caller knows what is open at
 * from_ticks. */
void reader_set_range(struct reader *reader, uint64_t from_ticks, uint64_t to_ticks, bool is_known);

/* Ends all threads: nothing more is read, and memory and files are released. */
void reader_stop(struct reader *reader);

/* Makes all readable again, from the beginning; jobs and range are to be set again. What has been reported and counted
 * is not a second time. Returns 0, or -1 when out of memory. */
int reader_rewind(struct reader *reader);

/* What the header of a block says, whether or not its data can be read. */
struct reader_outline {
    uint32_t thread;                    /* its number in the capture */
    uint32_t n_records, n_events;       /* the latter without the leading OPEN records */
    uint64_t begin_ticks, end_ticks;
    bool is_live;                       /* it was in the live mapping when the reader was opened */
    bool is_of_recorder;                /* it is a block of the ledger or of the samples, and of no thread */
};

/* Finds the outline of block i, from 0, in the order of threads and sequences. Returns false when there is none. */
bool reader_find_outline(const struct reader *reader, size_t i, struct reader_outline *outline);

/* Finds when the thread's next block begins. Returns false when none is left: then the thread's memory is released. */
bool reader_peek(struct reader *reader, size_t thread, uint64_t *ticks);

/* Reads the thread's next block, or the next piece of one. Returns 1; -1 when out of memory; 0 when there is none to
 * deliver: it is damaged, which has been reported, or has been evicted or retracted, or none is left. Then
 * reader_peek() finds the block after it. */
int reader_next(struct reader *reader, size_t thread, struct reader_block *block, struct pnr_err *err);

#endif
