#include "capture.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array.h"
#include "file.h"

#define PROCESS_PREFIX "process-"
#define PARTIAL_PREFIX "begun-"
#define SEGMENT_FORMAT "segment-%u"
#define THREAD_FORMAT "thread-%u.zst"
#define SHORT_THREADS "short-threads.zst"
#define MAX_NUMBERED 100000
#define MAX_WAIT_MS 1000                /* until a new capture has its first process */
#define RECORDS_AT_A_TIME 256           /* read of a chunk: most chunks have few records */

/* Parses a decimal number without sign and moves *text after it. */
static bool parse_number(const char **text, unsigned long *number)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    *number = strtoul(*text, &end, 10);
    *text = end;
    return errno == 0;
}

/* Parses "process-<pid>" and "process-<pid>-<k>", k from 2, numbers without leading zeros. Returns whether it
 * is one. */
static bool parse_process(const char *name, unsigned long *pid, unsigned long *k)
{
    char again[64];
    const char *at = name + strlen(PROCESS_PREFIX);
    *k = 1;
    if (strncmp(name, PROCESS_PREFIX, strlen(PROCESS_PREFIX)) != 0 || !parse_number(&at, pid))
        return false;
    if (*at == '-' && (at++, !parse_number(&at, k) || *k < 2))
        return false;
    snprintf(again, sizeof again, *k > 1 ? PROCESS_PREFIX "%lu-%lu" : PROCESS_PREFIX "%lu", *pid, *k);
    return strcmp(again, name) == 0;
}

/* ---- recorder's side ---- */

/* Writes the k-th path of <stem><extension>, <stem>-2<extension>, ... */
static int number_path(char *path, size_t size, const char *stem, int stem_size, const char *extension, int k)
{
    char number[16] = "";
    if (k > 1)
        snprintf(number, sizeof number, "-%d", k);
    if ((size_t)snprintf(path, size, "%.*s%s%s", stem_size, stem, number, extension) < size)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* True for an entry of a capture: "process-<pid>[-<k>]" with a name table in it, a partial process, the messages or the
 * list of snapshots. */
static bool is_capture_entry(const char *capture, const char *name)
{
    char path[PATH_MAX];
    unsigned long pid, k;
    enum pnr_process_state state;
    if (pnr_capture_is_partial(name, &state) || strcmp(name, PNR_CAPTURE_MESSAGES) == 0 ||
        strcmp(name, PNR_CAPTURE_SNAPSHOTS) == 0)
        return true;
    return parse_process(name, &pid, &k) &&
           snprintf(path, sizeof path, "%s/%s/names", capture, name) < (int)sizeof path && access(path, F_OK) == 0;
}

/* Counts the entries of a capture in a directory, except PNR_CAPTURE_ORDER, and all others. Returns false when it is no
 * directory. */
static bool count_capture_entries(const char *path, int *n, int *n_other)
{
    struct dirent *entry;
    DIR *dir = opendir(path);
    *n = *n_other = 0;
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, PNR_CAPTURE_ORDER) != 0)
            ++*(is_capture_entry(path, entry->d_name) ? n : n_other);
    if (dir)
        closedir(dir);
    return dir != NULL;
}

bool pnr_capture_is(const char *path)
{
    int n, n_other;
    return count_capture_entries(path, &n, &n_other) && n > 0 && n_other == 0;
}

/* True for a capture. Waits for one that another process has just made, which gets its first partial process at
 * once. */
static bool wait_for_capture(const char *path)
{
    int n, n_other;
    for (int ms = 0; count_capture_entries(path, &n, &n_other) && n_other == 0 && ms < MAX_WAIT_MS; ms++) {
        if (n > 0)
            return true;
        usleep(1000);
    }
    return false;
}

/* Lets other users pass through a directory that root has made: servers drop privileges. Nobody may have put anything else in
 * its place. Returns 0, or -1 and errno. */
static int open_to_pass(const char *path)
{
    struct stat st;
    int fd = pnr_file_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    int result = fstat(fd, &st);
    if (result == 0 && st.st_uid != geteuid()) {
        errno = EPERM;
        result = -1;
    }
    if (result == 0)
        result = fchmod(fd, 0711);
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

int pnr_capture_make(const char *path, char *taken, size_t size, struct pnr_err *err)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!dot || dot == path || (slash && dot <= slash + 1))
        dot = path + strlen(path);
    for (int k = 1; k < MAX_NUMBERED; k++) {
        if (number_path(taken, size, path, (int)(dot - path), dot, k) != 0)
            break;
        if (mkdir(taken, 0700) == 0) {
            if (geteuid() != 0 || open_to_pass(taken) == 0)
                return 0;
            pnr_err_system(err, taken, "cannot set the directory's mode");
            rmdir(taken);
            return -1;
        }
        if (errno != EEXIST)
            break;
        if (k == 1 && !wait_for_capture(taken)) {
            errno = EEXIST;
            return pnr_err_system(err, path, "exists and is not a capture");
        }
    }
    return pnr_err_system(err, path, "cannot make the capture's directory");
}

int pnr_capture_make_partial(const char *path, char *process_path, size_t size, struct pnr_err *err)
{
    char stem[PATH_MAX];
    int stem_size = snprintf(stem, sizeof stem, "%s/" PARTIAL_PREFIX "%ld-%" PRIu64 "-%" PRIu64, path, (long)getpid(),
                             pnr_process_start(), pnr_process_namespace());
    errno = ENAMETOOLONG;
    for (int k = 1; stem_size < (int)sizeof stem && k < MAX_NUMBERED; k++) {    /* k > 1 only where /proc is missing */
        if (number_path(process_path, size, stem, stem_size, "", k) != 0)
            break;
        if (mkdir(process_path, 0700) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return pnr_err_system(err, path, "cannot make a process's directory in the capture");
}

bool pnr_capture_is_partial(const char *name, enum pnr_process_state *state)
{
    unsigned long numbers[3], k;
    const char *at = name + strlen(PARTIAL_PREFIX);
    if (strncmp(name, PARTIAL_PREFIX, strlen(PARTIAL_PREFIX)) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (!parse_number(&at, &numbers[i]) || (i < 2 && *at++ != '-'))
            return false;
    if (*at == '-' && (at++, !parse_number(&at, &k)))
        return false;
    *state = pnr_process_find_state((long)numbers[0], numbers[1], numbers[2]);
    return *at == 0;
}

int pnr_capture_publish_process(const char *path, long pid, char *process_path, size_t size, struct pnr_err *err)
{
    char stem[PATH_MAX], name[PATH_MAX];
    int stem_size = snprintf(stem, sizeof stem, "%s/" PROCESS_PREFIX "%ld", path, pid);
    errno = ENAMETOOLONG;
    for (int k = 1; stem_size < (int)sizeof stem && k < MAX_NUMBERED; k++) {
        if (number_path(name, size < sizeof name ? size : sizeof name, stem, stem_size, "", k) != 0)
            break;
        if (rename(process_path, name) == 0) {
            strcpy(process_path, name);
            return 0;
        }
        if (errno != EEXIST && errno != ENOTEMPTY)
            break;
    }
    return pnr_err_system(err, path, "cannot name a process's directory in the capture");
}

static size_t live_records_at(uint32_t n_chunks)
{
    size_t end = PNR_LIVE_PAGE + n_chunks * sizeof(struct pnr_live_chunk);
    return (end + PNR_LIVE_PAGE - 1) / PNR_LIVE_PAGE * PNR_LIVE_PAGE;
}

static size_t live_size(uint32_t n_chunks)
{
    return live_records_at(n_chunks) + (size_t)n_chunks * PNR_CHUNK_SIZE;
}

static void live_lay_out(struct pnr_live *live, void *mapping, uint32_t n_chunks)
{
    char *base = mapping;
    live->header = mapping;
    live->chunks = (struct pnr_live_chunk *)(base + PNR_LIVE_PAGE);
    live->records = (struct pnr_record *)(base + live_records_at(n_chunks));
    live->size = live_size(n_chunks);
    live->fd = -1;
}

void pnr_file_path(const char *directory, const char *name, char *path)
{
    if (snprintf(path, PATH_MAX, "%s/%s", directory, name) >= PATH_MAX)
        *path = 0;
}

int pnr_live_create(const char *process_path, uint32_t n_chunks, struct pnr_live *live, struct pnr_err *err)
{
    char path[PATH_MAX];
    void *mapping = MAP_FAILED;
    size_t size = live_size(n_chunks);
    int fd = -1, code;
    pnr_file_path(process_path, "live", path);
    if ((fd = pnr_file_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)) < 0)
        return pnr_err_system(err, process_path, "cannot make the live mapping's file");
    while ((code = posix_fallocate(fd, 0, (off_t)size)) == EINTR)
        ;
    if (code != 0) {
        errno = code;
        pnr_err_system(err, path, "no space for the live mapping");
        goto fail;
    }
    mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED) {
        pnr_err_system(err, path, "this filesystem cannot map files shared; put the capture on another one");
        goto fail;
    }
    if (madvise(mapping, size, MADV_DONTFORK) != 0) {
        pnr_err_system(err, path, "cannot keep the live mapping from child processes");
        goto fail;
    }
    close(fd);
    live_lay_out(live, mapping, n_chunks);
    live->header->version = PNR_LIVE_VERSION;
    live->header->n_chunks = n_chunks;
    live->header->chunk_records = PNR_BLOCK_RECORDS;
    live->header->magic = PNR_LIVE_MAGIC;
    return 0;
fail:
    if (mapping != MAP_FAILED)
        munmap(mapping, size);
    close(fd);
    unlink(path);
    return -1;
}

#define HEADER_WORDS (PNR_BLOCK_HEADER_SIZE / sizeof(uint64_t))

void pnr_live_begin(struct pnr_live *live, uint32_t k, const struct pnr_block_header *header)
{
    _Atomic uint64_t *to = (_Atomic uint64_t *)&live->chunks[k].block;
    uint64_t words[HEADER_WORDS];
    memcpy(words, header, sizeof words);
    atomic_thread_fence(memory_order_release);          /* a reader of any word sees that the chunk was free */
    for (size_t i = 0; i < HEADER_WORDS; i++)
        atomic_store_explicit(&to[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&live->chunks[k].n_events, 0, memory_order_relaxed);
    atomic_store_explicit(&live->chunks[k].state, PNR_CHUNK_IN_USE, memory_order_release);
}

void pnr_live_count_block(struct pnr_live *live, uint32_t k, uint32_t n_events)
{
    uint64_t n = atomic_load_explicit(&live->header->n_events, memory_order_relaxed) + n_events;
    atomic_store_explicit(&live->chunks[k].n_events, n, memory_order_release);
    atomic_store_explicit(&live->header->n_events, n, memory_order_release);
}

void pnr_live_free(struct pnr_live *live, uint32_t k)
{
    atomic_store_explicit(&live->chunks[k].state, PNR_CHUNK_FREE, memory_order_release);
    atomic_thread_fence(memory_order_release);          /* the zeros follow */
}

void pnr_live_close(struct pnr_live *live, const char *process_path, bool remove)
{
    char path[PATH_MAX];
    if (live->records) {
        munmap(live->header, live->size);
    } else {
        free(live->header);
        close(live->fd);
    }
    *live = (struct pnr_live){ 0 };
    pnr_file_path(process_path, "live", path);
    if (remove)
        unlink(path);
}

/* ---- reader's side ---- */

void pnr_list_clear(struct pnr_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->names[i]);
    free(list->names);
    *list = (struct pnr_list){ 0 };
}

static int compare_processes(const void *a, const void *b)
{
    unsigned long pid[2] = { 0, 0 }, k[2] = { 0, 0 };
    parse_process(*(char *const *)a, &pid[0], &k[0]);
    parse_process(*(char *const *)b, &pid[1], &k[1]);
    if (pid[0] != pid[1])
        return pid[0] < pid[1] ? -1 : 1;
    return k[0] < k[1] ? -1 : k[0] > k[1];
}

int pnr_capture_processes(const char *path, struct pnr_list *list, struct pnr_err *err)
{
    unsigned long pid, k;
    size_t capacity = 0;
    struct dirent *entry;
    *list = (struct pnr_list){ 0 };
    DIR *dir = opendir(path);
    if (!dir && errno == ENOTDIR)
        return pnr_err_set(err, PNR_E_NOT_CAPTURE, path, 0, "not a capture: not a directory");
    if (!dir)
        return pnr_err_system(err, path, "cannot open the capture");
    while ((entry = readdir(dir))) {
        if (!parse_process(entry->d_name, &pid, &k))
            continue;
        if (pnr_array_reserve(&list->names, &capacity, list->n + 1) < 0 ||
            !(list->names[list->n] = strdup(entry->d_name))) {
            closedir(dir);
            pnr_list_clear(list);
            return pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        }
        list->n++;
    }
    closedir(dir);
    if (list->n == 0)
        return pnr_err_set(err, PNR_E_NOT_CAPTURE, path, 0, "not a capture: no process was recorded in it");
    qsort(list->names, list->n, sizeof *list->names, compare_processes);
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Parses a name that is exactly what this format makes of a number. Returns the number, or 0 for any other name. */
static uint32_t parse_formatted(const char *name, const char *format)
{
    char again[32];
    unsigned number;
    if (sscanf(name, format, &number) != 1)
        return 0;
    snprintf(again, sizeof again, format, number);
    return strcmp(again, name) == 0 ? number : 0;
}

/* Lists the numbers in the names of a directory's entries, ascending. zero: the name that stands for 0, or NULL.
 * Returns 0 or -1. */
static int list_numbers(const char *path, const char *format, const char *zero, uint32_t **numbers, size_t *n,
                        struct pnr_err *err)
{
    size_t capacity = 0;
    struct dirent *entry;
    *numbers = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return pnr_err_system(err, path, "cannot open a directory of the capture");
    while ((entry = readdir(dir))) {
        uint32_t number = parse_formatted(entry->d_name, format);
        if (number == 0 && !(zero && strcmp(entry->d_name, zero) == 0))
            continue;
        if (pnr_array_reserve(numbers, &capacity, *n + 1) < 0) {
            closedir(dir);
            free(*numbers);
            *numbers = NULL;
            *n = 0;
            return pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        }
        (*numbers)[(*n)++] = number;
    }
    closedir(dir);
    if (*n)
        qsort(*numbers, *n, sizeof **numbers, compare_numbers);
    return 0;
}

int pnr_capture_segments(const char *process_path, uint32_t **numbers, size_t *n, struct pnr_err *err)
{
    return list_numbers(process_path, SEGMENT_FORMAT, NULL, numbers, n, err);
}

int pnr_capture_threads(const char *process_path, uint32_t segment, uint32_t **threads, size_t *n, struct pnr_err *err)
{
    char path[PATH_MAX];
    pnr_segment_path(process_path, segment, path);
    return list_numbers(path, THREAD_FORMAT, SHORT_THREADS, threads, n, err);
}

void pnr_segment_path(const char *process_path, uint32_t segment, char *path)
{
    char name[32];
    snprintf(name, sizeof name, SEGMENT_FORMAT, segment);
    pnr_file_path(process_path, name, path);
}

void pnr_thread_path(const char *process_path, uint32_t segment, uint32_t thread, char *path)
{
    char name[64];
    if (thread == PNR_SHORT_THREADS)
        snprintf(name, sizeof name, SEGMENT_FORMAT "/" SHORT_THREADS, segment);
    else
        snprintf(name, sizeof name, SEGMENT_FORMAT "/" THREAD_FORMAT, segment, thread);
    pnr_file_path(process_path, name, path);
}

/* Finds what is wrong with a live header, or returns NULL. */
static const char *live_fault(const struct pnr_live_header *h, size_t size)
{
    if (h->magic != PNR_LIVE_MAGIC)
        return "not a live mapping";
    if (h->n_chunks == 0 || h->n_chunks > PNR_LIVE_MAX_CHUNKS)
        return "number of chunks out of range";
    if (h->chunk_records != PNR_BLOCK_RECORDS)
        return "wrong number of records in a chunk";
    return size < live_size(h->n_chunks) ? "live mapping is shorter than its chunks" : NULL;
}

/* Reads up to size bytes at an offset: less only at the end of the file or when it cannot be read. */
static size_t read_file(int fd, void *bytes, size_t size, size_t at)
{
    ssize_t n = pnr_file_read(fd, bytes, size, (off_t)at);
    return n < 0 ? 0 : (size_t)n;
}

void pnr_live_reload_headers(struct pnr_live *live)
{
    atomic_thread_fence(memory_order_acquire);          /* after what was read before */
    read_file(live->fd, live->chunks, live->header->n_chunks * sizeof *live->chunks, PNR_LIVE_PAGE);
}

/* Copies the live header, which has been checked, and reads those of the chunks. Returns 0 or -1. */
static int copy_live_headers(int fd, const struct pnr_live_header *header, struct pnr_live *live)
{
    char *bytes = calloc(1, live_records_at(header->n_chunks));
    if (!bytes)
        return -1;
    memcpy(bytes, header, sizeof *header);
    live->header = (struct pnr_live_header *)bytes;
    live->chunks = (struct pnr_live_chunk *)(bytes + PNR_LIVE_PAGE);
    live->fd = fd;
    pnr_live_reload_headers(live);
    return 0;
}

int pnr_live_open(const char *process_path, struct pnr_live *live, struct pnr_err *err)
{
    char path[PATH_MAX];
    struct stat st;
    struct pnr_live_header header;
    int fd = -1;
    *live = (struct pnr_live){ 0 };
    pnr_file_path(process_path, "live", path);
    fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) != 0) {
        pnr_err_system(err, path, "cannot open the live mapping");
        goto fail;
    }
    if (!S_ISREG(st.st_mode) || st.st_size < PNR_LIVE_PAGE ||
        read_file(fd, &header, sizeof header, 0) != sizeof header) {
        pnr_err_set(err, PNR_E_TRUNCATED, path, 0, "live mapping is shorter than its header");
        goto fail;
    }
    const char *fault = live_fault(&header, (size_t)st.st_size);
    if (fault || header.version != PNR_LIVE_VERSION) {
        bool later = !(fault && header.magic != PNR_LIVE_MAGIC) && header.version > PNR_LIVE_VERSION;
        pnr_err_set(err, later ? PNR_E_VERSION : PNR_E_CORRUPT, path, 0,
                    later ? "live mapping of a later format version" : fault ? fault : "live mapping version 0");
        goto fail;
    }
    if (copy_live_headers(fd, &header, live) < 0) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        goto fail;
    }
    live->size = (size_t)st.st_size;
    return 1;
fail:
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Counts the records before the first EMPTY one. */
static uint32_t count_written(const struct pnr_record *records, uint32_t n)
{
    uint32_t i = 0;
    while (i < n && pnr_record_kind(records[i]) != PNR_EMPTY)
        i++;
    return i;
}

enum pnr_process_state pnr_live_process(const char *process_path, const struct pnr_live_header *header)
{
    unsigned long pid, k;
    const char *slash = strrchr(process_path, '/');
    if (!parse_process(slash ? slash + 1 : process_path, &pid, &k))
        return PNR_PROCESS_UNKNOWN;
    return pnr_process_find_state((long)pid, header->process_start, header->pid_namespace);
}

/* Reads RECORDS_AT_A_TIME records of chunk k from the first-th on. Returns how many of them were written. */
static uint32_t read_chunk_records(const struct pnr_live *live, uint32_t k, uint32_t first, struct pnr_record *records)
{
    size_t at = live_records_at(live->header->n_chunks) + (size_t)k * PNR_CHUNK_SIZE + first * sizeof *records;
    size_t size = read_file(live->fd, records, RECORDS_AT_A_TIME * sizeof *records, at);
    return count_written(records, (uint32_t)(size / sizeof *records));
}

/* Counts how many of n records of chunk k are still the same. */
static uint32_t count_unchanged(const struct pnr_live *live, uint32_t k, const struct pnr_record *records, uint32_t n)
{
    struct pnr_record again[RECORDS_AT_A_TIME];
    uint32_t same = 0, got, i;
    do {
        got = read_chunk_records(live, k, same, again);
        for (i = 0; i < got && same < n && memcmp(&again[i], &records[same], sizeof *again) == 0; i++)
            same++;
    } while (i == RECORDS_AT_A_TIME && same < n);
    return same;
}

int pnr_live_read(const struct pnr_live *live, uint32_t k, struct pnr_live_chunk *chunk, struct pnr_record *records)
{
    uint32_t n = 0, got;
    do
        n += got = read_chunk_records(live, k, n, records + n);
    while (got == RECORDS_AT_A_TIME && n < PNR_BLOCK_RECORDS);
    atomic_thread_fence(memory_order_acquire);
    n = count_unchanged(live, k, records, n);
    atomic_thread_fence(memory_order_acquire);
    if (read_file(live->fd, chunk, sizeof *chunk, PNR_LIVE_PAGE + k * sizeof *chunk) != sizeof *chunk)
        return -1;
    if (chunk->block.flags & PNR_BLOCK_SPARSE)
        pnr_block_fill_ticks(records, n);
    return (int)n;
}

static struct pnr_record load_record(const struct pnr_record *at)
{
    uint64_t first = atomic_load_explicit((const _Atomic uint64_t *)&at->word[0], memory_order_acquire);
    return (struct pnr_record){ { first, atomic_load_explicit((const _Atomic uint64_t *)&at->word[1],
                                                              memory_order_relaxed) } };
}

uint32_t pnr_live_count(const struct pnr_live *live, uint32_t k)
{
    uint32_t n = 0;
    while (n < PNR_BLOCK_RECORDS &&
           pnr_record_kind(load_record(&live->records[(size_t)k * PNR_BLOCK_RECORDS + n])) != PNR_EMPTY)
        n++;
    return n;
}

bool pnr_live_header(const struct pnr_live *live, uint32_t k, struct pnr_block_header *header)
{
    const struct pnr_live_chunk *chunk = &live->chunks[k];
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)&chunk->block;
    struct pnr_err err;
    uint64_t words[HEADER_WORDS];
    if (atomic_load_explicit(&chunk->state, memory_order_acquire) != PNR_CHUNK_IN_USE)
        return false;
    for (size_t i = 0; i < HEADER_WORDS; i++)
        words[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
    memcpy(header, words, sizeof words);
    return pnr_block_header_check(header, true, 0, &err) == 0;
}

uint32_t pnr_live_copy(const struct pnr_live *live, uint32_t k, const struct pnr_block_header *header,
                       struct pnr_record *records, uint32_t n)
{
    const struct pnr_record *from = live->records + (size_t)k * PNR_BLOCK_RECORDS;
    struct pnr_block_header now;
    uint32_t same = 0;
    for (uint32_t i = 0; i < n; i++)
        records[i] = load_record(&from[i]);
    atomic_thread_fence(memory_order_acquire);
    for (; same < n && pnr_record_kind(records[same]) != PNR_EMPTY; same++) {
        struct pnr_record again = load_record(&from[same]);
        if (again.word[0] != records[same].word[0] || again.word[1] != records[same].word[1])
            break;                      /* it was retracted meanwhile, and so were all after it */
    }
    return pnr_live_header(live, k, &now) && now.check == header->check ? same : 0;
}
