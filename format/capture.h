/* The capture directory and the live mapping, in both directions. specs/capture-format.md, sections 2 and 7.
 *
 *     run.pnr/                          0700; 0711 when root made it
 *       order, messages, snapshots      not for readers: PNR_CAPTURE_ORDER and what follows it
 *       begun-<pid>-<start>-<space>/    a partial process: its first two files are not whole yet; readers ignore it
 *       process-<pid>[-<k>]/            k = 2, 3, ... when a pid comes again
 *         names                         format/names.h
 *         segment-<n>/                  a span of time, n = 1, 2, ...: what is evicted as a whole, the oldest first
 *           thread-<k>.zst              blocks of thread k and of no other: format/block.h
 *           short-threads.zst           blocks of threads that each have only this one, and did not fill it
 *         live                          the chunks not yet written as blocks; removed at a clean end
 *
 * The live mapping is a file that the recorder maps shared, so that what was stored there outlives the process,
 * however it ends. It holds `n_chunks` chunks of PNR_BLOCK_RECORDS records:
 *
 *     0                 struct pnr_live_header, 4096 bytes
 *     4096              struct pnr_live_chunk, 128 bytes each, padded to a whole page of 4096
 *     records_at        the records of chunk 0, chunk 1, ...: 256 KiB each
 *
 * The recorder stores in this order. The records of a free chunk are all zero. To take a chunk: its header, then state
 * = IN_USE. To append a record: its second word, then its first. To retract it: its first word, then its second. Once
 * the chunk is a block in a file: state = FREE, then the records are zeroed. A reader takes, from each chunk in use
 * whose (thread, sequence) is not whole in a segment, the records before the first EMPTY one.
 *
 * In each pair the later store is a release, or follows a release fence where it is several stores: the functions
 * below ensure it. A reader in the thread's process, or in another one, loads in the opposite order, with acquire, and
 * compares with a second look. On x86 all of these are plain moves. */
#ifndef PNR_CAPTURE_H
#define PNR_CAPTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "block.h"
#include "error.h"
#include "process.h"

#define PNR_LIVE_MAGIC UINT64_C(0x4556494c2d524e50)     /* "PNR-LIVE" in file order */
#define PNR_LIVE_VERSION 1
#define PNR_LIVE_PAGE 4096
#define PNR_LIVE_MAX_CHUNKS 4096
#define PNR_CHUNK_SIZE (PNR_BLOCK_RECORDS * PNR_RECORD_SIZE)

/* The first page of `live`:
 *    0  u64  magic
 *    8  u32  version           1
 *   12  u32  n_chunks          1 to PNR_LIVE_MAX_CHUNKS
 *   16  u32  chunk_records     PNR_BLOCK_RECORDS
 *   20  u32  latest            which of clock_samples[] was written last, 0 or 1
 *   24  u64  unused            0
 *   32  2 x 3 x u64  clock_samples   the latest two, written alternately; all 0: not yet written
 *   80  u64  process_start     when the process started, in clock ticks since boot: proc(5), stat, field 22
 *   88  u64  pid_namespace     the inode of /proc/self/ns/pid; both 0: not known
 *   96  u64  n_events          records in the blocks that were written, except OPEN */
struct pnr_live_header {
    uint64_t magic;
    uint32_t version;
    uint32_t n_chunks;
    uint32_t chunk_records;
    _Atomic uint32_t latest;
    uint64_t unused;
    struct pnr_clock_sample clock_samples[2];
    uint64_t process_start;
    uint64_t pid_namespace;
    _Atomic uint64_t n_events;
};

enum pnr_chunk_state { PNR_CHUNK_FREE = 0, PNR_CHUNK_IN_USE = 1 };

/*    0  96 bytes  block        n_records, data_size and end are 0
 *   96  u32       state        enum pnr_chunk_state
 *  100  u32       unused       0
 *  104  u64       n_events     the live header's n_events with this block, once the block is in its file; until then 0
 *  112  16 bytes  unused2      0 */
struct pnr_live_chunk {
    struct pnr_block_header block;
    _Atomic uint32_t state;
    uint32_t unused;
    _Atomic uint64_t n_events;
    uint32_t unused2[4];
};

_Static_assert(sizeof(struct pnr_live_chunk) == 128, "written as it lies in memory");

struct pnr_live {
    struct pnr_live_header *header;     /* the mapping; when opened, a copy of the first pages */
    struct pnr_live_chunk *chunks;
    struct pnr_record *records;         /* chunk k's begin at records + k * PNR_BLOCK_RECORDS; NULL when opened */
    size_t size;                        /* bytes of the file */
    int fd;                             /* when opened */
};

/* ---- recorder's side ---- */

/* Makes a capture's directory at path or, when a capture is there, at run-2.pnr, run-3.pnr, ... for run.pnr, and
 * copies the path that it took to taken. Its mode is 0700; made by root 0711, so that a process that drops its
 * privileges still reaches its own files. Returns 0 or -1, also when something else than a capture is at path, such as
 * an empty directory that stays empty. */
int pnr_capture_make(const char *path, char *taken, size_t size, struct pnr_err *err);

/* The file with the options for interpreters that join the recording later. Not for readers. */
#define PNR_CAPTURE_ORDER "order"

/* The file with the messages of child processes for the user, a line each. Not for readers. */
#define PNR_CAPTURE_MESSAGES "messages"

/* The list of the snapshots that were saved of incidents, a line each. Not for readers. */
#define PNR_CAPTURE_SNAPSHOTS "snapshots"

/* True for a directory that contains the entries of a capture and nothing else, and at least one process. */
bool pnr_capture_is(const char *path);

/* Makes the directory (0700) of a partial process in the capture, for the first files of this process; no reader looks
 * into it. Its name identifies the process, so that others can find out whether it still runs
 * (pnr_capture_is_partial). Copies its path to process_path. Returns 0 or -1. */
int pnr_capture_make_partial(const char *path, char *process_path, size_t size, struct pnr_err *err);

/* Finds the state of the process whose partial directory has this name. Returns false for any other name. */
bool pnr_capture_is_partial(const char *name, enum pnr_process_state *state);

/* Renames a partial process to process-<pid> or the next free name: from now on it is in the capture, with a name table
 * and a live mapping that are whole. process_path: the old path, then the new one. Returns 0 or -1. */
int pnr_capture_publish_process(const char *path, long pid, char *process_path, size_t size, struct pnr_err *err);

/* Makes and maps the live file, all its space allocated, so that no store can fail later. fork does not inherit
 * the mapping. Returns 0 or -1; err->what and sys_errno distinguish a full disk from a filesystem without
 * shared mappings. */
int pnr_live_create(const char *process_path, uint32_t n_chunks, struct pnr_live *live, struct pnr_err *err);

/* Stores a record over zeros. */
static inline void pnr_live_store(struct pnr_record *at, struct pnr_record r)
{
    atomic_store_explicit((_Atomic uint64_t *)&at->word[1], r.word[1], memory_order_relaxed);
    atomic_store_explicit((_Atomic uint64_t *)&at->word[0], r.word[0], memory_order_release);
}

/* Stores a record without a frame over zeros, given its first word: half of the second word is enough. */
static inline void pnr_live_store_function(struct pnr_record *at, uint64_t first_word, uint32_t function)
{
    typedef uint32_t __attribute__((may_alias)) half;
    __atomic_store_n((half *)&at->word[1] + 1, function, __ATOMIC_RELAXED);
    atomic_store_explicit((_Atomic uint64_t *)&at->word[0], first_word, memory_order_release);
}

/* Retracts a record. */
static inline void pnr_live_clear(struct pnr_record *at)
{
    atomic_store_explicit((_Atomic uint64_t *)&at->word[0], 0, memory_order_relaxed);
    atomic_store_explicit((_Atomic uint64_t *)&at->word[1], 0, memory_order_release);
}

/* Takes a free chunk for the block of this header. */
void pnr_live_begin(struct pnr_live *live, uint32_t k, const struct pnr_block_header *header);

/* Counts chunk k, which is now a block with n_events records except OPEN: a process that finds the chunk in use
 * knows whether they have been counted. */
void pnr_live_count_block(struct pnr_live *live, uint32_t k, uint32_t n_events);

/* Frees chunk k; after that its records may be zeroed. */
void pnr_live_free(struct pnr_live *live, uint32_t k);

/* Unmaps or closes the file. remove: also removes it, which only follows the writing of every chunk. */
void pnr_live_close(struct pnr_live *live, const char *process_path, bool remove);

/* ---- reader's side ---- */

/* A list of names, sorted by their numbers. */
struct pnr_list {
    char **names;                       /* owned */
    size_t n;
};

void pnr_list_clear(struct pnr_list *list);

/* Lists the process directories of a capture ("process-12"), by pid and k. Returns 0 or -1: PNR_E_NOT_CAPTURE when
 * path is no directory or has none of them; else PNR_E_SYSTEM. */
int pnr_capture_processes(const char *path, struct pnr_list *list, struct pnr_err *err);

/* Lists the numbers of the segments in a process directory, ascending. The caller frees *numbers. Returns 0 or -1. */
int pnr_capture_segments(const char *process_path, uint32_t **numbers, size_t *n, struct pnr_err *err);

/* Stands among the threads of a segment for its file of short threads. */
#define PNR_SHORT_THREADS 0

/* Lists the threads that have a file in a segment, ascending, PNR_SHORT_THREADS among them. The caller frees *threads.
 * Returns 0 or -1. */
int pnr_capture_threads(const char *process_path, uint32_t segment, uint32_t **threads, size_t *n, struct pnr_err *err);

/* These write a path into PATH_MAX bytes: of a file in a directory, of a segment, of the file of a thread (or
 * PNR_SHORT_THREADS) in a segment. A path that is too long becomes empty, which names no file. */
void pnr_file_path(const char *directory, const char *name, char *path);
void pnr_segment_path(const char *process_path, uint32_t segment, char *path);
void pnr_thread_path(const char *process_path, uint32_t segment, uint32_t thread, char *path);

/* Opens the live file to read it. Does not map it: if the file became shorter meanwhile, SIGBUS would end the reader.
 * Returns 1; 0 when there is no such file; -1 when it is damaged. Checks only the live header: check each chunk's block
 * header with pnr_block_header_check(). */
int pnr_live_open(const char *process_path, struct pnr_live *live, struct pnr_err *err);

/* Finds the state of the process whose live header this is. */
enum pnr_process_state pnr_live_process(const char *process_path, const struct pnr_live_header *header);

/* Reads the headers of the chunks of an opened file again. */
void pnr_live_reload_headers(struct pnr_live *live);

/* Reads the written records of chunk k of an opened file, up to PNR_BLOCK_RECORDS, and then its header as it is by
 * then. Meanwhile the thread may retract some records and write others, or the chunk may be freed. The ticks are as
 * pnr_block_decode gives them. Returns how many records there were at one moment, or -1 when the chunk cannot be read. */
int pnr_live_read(const struct pnr_live *live, uint32_t k, struct pnr_live_chunk *chunk, struct pnr_record *records);

/* The functions below are for a mapping, in the process that made it. */

/* Counts the leading records of chunk k, up to PNR_BLOCK_RECORDS, that were written. */
uint32_t pnr_live_count(const struct pnr_live *live, uint32_t k);

/* Copies the header of chunk k. Returns false when the chunk is not in use, or was taken or freed at this moment. */
bool pnr_live_header(const struct pnr_live *live, uint32_t k, struct pnr_block_header *header);

/* Copies the leading records of chunk k, n at most, while its thread may go on. Returns how many there were at one
 * moment; 0 when the chunk is not, or no longer, in use for the block of this header. */
uint32_t pnr_live_copy(const struct pnr_live *live, uint32_t k, const struct pnr_block_header *header,
                       struct pnr_record *records, uint32_t n);

#endif
