/* Reads one process of a capture: its name table, and each thread's blocks in the order of their sequence, whether
 * they lie in a file of a segment or still in the live mapping. Trusts nothing: what is damaged is said, skipped, and
 * the next whole block is found; the block after a hole comes with is_after_hole.
 *
 *     reader_open()                   looks at every block header once: clock, holes, what is whole
 *     [reader_set_jobs()]                  if there are threads that decode ahead
 *     [reader_set_range()]                when only some time is wanted
 *     for each thread, in any order
 *         reader_peek()              when does its next block begin
 *         reader_next()               decodes it
 *     [reader_stop()]                 when blocks are left that nobody wants
 *     [reader_rewind()]               to read again
 *     reader_close()
 *
 * A process that still runs is read as it was when the reader was opened. What --max-size and --last drop before it
 * could be read is no damage: see reader_has_evicted.
 *
 * Holds 48 bytes for each block, 16 more to decode ahead, and one decoded block for each thread whose blocks are being
 * read. As a block of a hundred bytes may become 256 KiB, and there may be a hundred thousand threads, a thread gets
 * its block in pieces when 48 MiB are held: the block is decoded again for each. And up to 32 open files while it is
 * read, one more if the process was killed or runs. One thread at a time. */
#ifndef READER_H
#define READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/jobs.h"
#include "convert/diagnostics.h"
#include "format/block.h"
#include "format/process.h"
#include "format/record.h"
#include "symbols.h"
#include "timeline.h"

struct reader;

struct reader_block {
    bool is_begin;                      /* false: this is a further piece of the block before */
    uint32_t track;                     /* of the first records; 0: the thread itself */
    const struct pnr_record *open;      /* the OPEN records at its begin; borrowed until the next reader_next, of any */
    uint32_t n_open;
    bool has_open;                      /* false: they tell nothing */
    const struct pnr_record *records;   /* those behind them; borrowed until the thread's next reader_next */
    uint32_t n_records;                 /* may be 0 */
    uint64_t begin_ticks;
    uint64_t end_ticks;                 /* 0 for a block from the live mapping, and for a piece that is not the last */
    bool is_deeper, is_last;            /* PNR_BLOCK_DEEPER, PNR_BLOCK_LAST */
    bool is_after_pause;                /* PNR_BLOCK_PAUSED */
    bool is_after_hole;                 /* PNR_BLOCK_RESYNC, or blocks before it are missing */
};

struct reader_size {
    uint64_t bytes;                     /* of all files of the process, but those of threads that are left out */
    uint64_t n_found;                   /* blocks in all */
    uint64_t n_blocks;                  /* read so far */
    uint64_t n_damaged;                 /* blocks skipped or missing so far */
    uint64_t n_recovered;               /* records read so far from the live mapping */
    bool has_live;
    bool has_newer;                     /* blocks of a later version were skipped */
};

/* Which threads are wanted. The files of others are not opened: those are threads without a block. */
struct reader_choice {
    /* Asked first, when the symbols are known. Returns 1; 0 if nothing of the process is wanted; -1 when out of memory. */
    int (*begin)(void *arg, const struct reader *reader);
    bool (*wants)(void *arg, uint32_t thread);          /* by its number in the capture */
    void *arg;
};

/* path: the directory of the process; copied. choice: NULL for all threads; borrowed for the call. diagnostics is borrowed until
 * reader_close. Returns NULL when nothing can be read, and fills err. */
struct reader *reader_open(const char *path, const struct reader_choice *choice, const struct diagnostics *diagnostics,
                           struct pnr_err *err);

/* Blocks are decoded before they are needed, if jobs has more than one thread. jobs is borrowed until all threads have
 * been read, or reader_close(). */
void reader_set_jobs(struct reader *reader, struct jobs *jobs);

/* Accepts NULL. */
void reader_close(struct reader *reader);

/* Borrowed until reader_close, like all that the next functions return. */
const char *reader_path(const struct reader *reader);
const struct symbols *reader_symbols(const struct reader *reader);
struct timeline *reader_timeline(struct reader *reader);
const struct reader_size *reader_size(const struct reader *reader);

/* Whether the process runs: then it is read as it was at until_ns (CLOCK_MONOTONIC). */
enum pnr_process_state reader_process(const struct reader *reader, uint64_t *until_ns);

/* True when the recorder dropped the oldest segments (--max-size, --last), or all of them: then there may be no thread.
 * From complete_ticks on nothing was dropped; 0: of the threads nothing was dropped at all. Both can change while
 * blocks are read. */
bool reader_has_evicted(const struct reader *reader, uint64_t *complete_ticks);

/* The threads count from 0 here, in the order of their numbers in the capture. */
size_t reader_n_threads(const struct reader *reader);
uint32_t reader_thread_number(const struct reader *reader, size_t thread);

/* When the last block that is known ends, the latest of all threads. */
uint64_t reader_end(const struct reader *reader);

/* Before anything is read: of each thread only what is needed to know all from from_ticks up to to_ticks. That is the
 * last block that begins before from_ticks and tells of all frames that are open in it, as those may be open still;
 * none if the thread had ended by then; and the blocks that follow and begin before to_ticks. is_known: what is open
 * at from_ticks need not be told. */
void reader_set_range(struct reader *reader, uint64_t from_ticks, uint64_t to_ticks, bool is_known);

/* Nothing more is read: gives memory and files back. */
void reader_stop(struct reader *reader);

/* All can be read again, from the begin: reader_set_jobs() and reader_set_range() are to be called again. What was said and
 * counted is not a second time. Returns 0, or -1 when out of memory. */
int reader_rewind(struct reader *reader);

/* What the header of a block says, whether or not it can be read. */
struct reader_outline {
    uint32_t thread;                    /* its number in the capture */
    uint32_t n_records, n_events;       /* the latter without the OPEN ones at its begin */
    uint64_t begin_ticks, end_ticks;
    bool is_live;                       /* it lay in the live mapping when the reader was opened */
};

/* Of block i, from 0, in the order of threads and of their blocks. False when there is none. */
bool reader_find_outline(const struct reader *reader, size_t i, struct reader_outline *outline);

/* Tells when the thread's next block begins. False when there is none left: then the thread's memory has been given
 * back. */
bool reader_peek(struct reader *reader, size_t thread, uint64_t *ticks);

/* Reads the thread's next block, or the next piece of one. Returns 1; 0 when it is damaged, which has been said, or is not
 * there any more, or none is left: reader_peek() tells of the one behind it; -1 when out of memory. */
int reader_next(struct reader *reader, size_t thread, struct reader_block *block, struct pnr_err *err);

#endif
