/* Each part is compressed by itself. A .zst file is a sequence of frames, one for each part. A .gz file is a single
 * gzip member, as some viewers read only the first one: each part is a piece of its deflate stream that ends at a
 * whole byte. */
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

/* The fastest levels: they find the repetitions of a trace, too. */
#define GZIP_LEVEL 1
#define ZSTD_LEVEL 1

/* Disk space that is reserved at a time. Writing to reserved space took two thirds of the time. */
#define RESERVE_SIZE (64 << 20)

/* More than the empty block takes that ends a piece of a deflate stream. */
#define FLUSH_SIZE 16

/* x.trace is called .panopticon-x.trace-XXXXXX at first, with six random characters. A name that is too long is cut. */
#define TEMPORARY_PREFIX ".panopticon-"
#define RANDOM_SUFFIX "XXXXXX"
#define MAX_NAME_PART (int)(NAME_MAX + 1 - sizeof TEMPORARY_PREFIX "-" RANDOM_SUFFIX)

enum coding { PLAIN, GZIP, ZSTD };

/* What a thread needs to compress. */
struct compressor_state {
    struct compressor_state *next;
    z_stream deflater;
    ZSTD_CCtx *zstd;
};

struct output_buffer {
    struct output_buffer *next;
    size_t size;
    char bytes[];
};

struct output {
    struct jobs *jobs;                  /* borrowed */
    void (*advance)(void *arg);         /* of output_watch(), or NULL */
    void *arg;
    char path[PATH_MAX];
    int fd;
    bool is_temporary;
    uint64_t reserved;                  /* bytes of disk space; UINT64_MAX: no more can be reserved */
    enum coding coding;
    uint32_t check;                     /* of all bytes so far, like the next; both for the end of a gzip file */
    uint32_t size;
    _Atomic uint64_t n_written;
    atomic_int sys_errno;               /* of the first failure; 0 = none */
    pthread_mutex_t lock;               /* of the next two */
    struct compressor_state *idle_compressors;  /* that no thread uses */
    struct output_buffer *idle_buffers; /* that no part uses; the one used last, which is in a cache, comes first */
};

/* ---- the temporary file ---- */

/* For the signal handler: the file that an interrupted conversion must remove. */
static char temporary_path[PATH_MAX];
static volatile sig_atomic_t has_temporary;

static void remove_temporary(int signal_number)
{
    if (has_temporary)
        unlink(temporary_path);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void handle_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = remove_temporary };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);           /* a file that may not grow is a failed write like any other */
}

/* Returns 0, or -1 and errno. */
static int name_temporary(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if ((size_t)snprintf(temporary_path, sizeof temporary_path, "%.*s" TEMPORARY_PREFIX "%.*s-" RANDOM_SUFFIX,
                         (int)(name - path), path, MAX_NAME_PART, name) < sizeof temporary_path)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* Removes a temporary file that no conversion has locked: one that was killed abandoned it. */
static void remove_abandoned(int folder, const char *name)
{
    struct stat opened, named;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) &&
        fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_dev == opened.st_dev &&
        named.st_ino == opened.st_ino)
        unlinkat(folder, name, 0);
    close(fd);
}

/* Removes all abandoned files of the name in temporary_path. */
static void remove_all_abandoned(void)
{
    char path[PATH_MAX];
    memcpy(path, temporary_path, sizeof path);
    char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t size = strlen(name), stem = size - strlen(RANDOM_SUFFIX);
    char prefix[NAME_MAX + 1];
    memcpy(prefix, name, size + 1);
    *name = 0;
    DIR *folder = opendir(slash ? path : ".");
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strlen(entry->d_name) == size && memcmp(entry->d_name, prefix, stem) == 0)
            remove_abandoned(dirfd(folder), entry->d_name);
    if (folder)
        closedir(folder);
}

/* Creates the file and locks it until its last descriptor is closed. Returns the descriptor, or -1 and errno. */
static int make_locked(void)
{
    for (;;) {
        struct stat status;
        memcpy(temporary_path + strlen(temporary_path) - strlen(RANDOM_SUFFIX), RANDOM_SUFFIX, strlen(RANDOM_SUFFIX));
        int fd = mkostemp(temporary_path, O_CLOEXEC);
        if (fd < 0)
            return -1;
        if ((flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
            (fstat(fd, &status) < 0 || status.st_nlink > 0))
            return fd;                  /* locked, or on a file system without locks, where nobody else gets one */
        unlink(temporary_path);         /* another conversion has taken it for an abandoned one */
        close(fd);
    }
}

static int make_temporary(struct output *output)
{
    char target[PATH_MAX];
    if (realpath(output->path, target))         /* a symbolic link is kept */
        memcpy(output->path, target, PATH_MAX);
    if (name_temporary(output->path) < 0)
        return -1;
    remove_all_abandoned();
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int fd = make_locked();
    has_temporary = output->is_temporary = fd >= 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (fd >= 0) {
        mode_t mask = umask(0);
        umask(mask);
        (void)!fchmod(fd, 0666 & ~mask);    /* where that fails, modes mean little */
    }
    return fd;
}

/* ---- compressing ---- */

static struct compressor_state *make_output_compressor(enum coding coding)
{
    struct compressor_state *compressor = calloc(1, sizeof *compressor);
    if (!compressor)
        return NULL;
    bool ok = coding == GZIP ?
        deflateInit2(&compressor->deflater, GZIP_LEVEL, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK :
        (compressor->zstd = ZSTD_createCCtx()) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(compressor->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(compressor->zstd, ZSTD_c_checksumFlag, 1));
    if (ok)
        return compressor;
    ZSTD_freeCCtx(compressor->zstd);
    free(compressor);
    return NULL;
}

/* Returns a compressor that is not in use; there are as many as threads that compress at a time. NULL when out of
 * memory. */
static struct compressor_state *take_compressor(struct output *output)
{
    pthread_mutex_lock(&output->lock);
    struct compressor_state *compressor = output->idle_compressors;
    if (compressor)
        output->idle_compressors = compressor->next;
    pthread_mutex_unlock(&output->lock);
    return compressor ? compressor : make_output_compressor(output->coding);
}

static void release_compressor(struct output *output, struct compressor_state *compressor)
{
    pthread_mutex_lock(&output->lock);
    compressor->next = output->idle_compressors;
    output->idle_compressors = compressor;
    pthread_mutex_unlock(&output->lock);
}

static int reserve_packed(struct output_part *part, size_t size)
{
    if (size <= part->compressed_capacity)
        return 0;
    free(part->compressed);
    part->compressed = malloc(size);
    part->compressed_capacity = part->compressed ? size : 0;
    return part->compressed ? 0 : -1;
}

static int compress_gzip(struct compressor_state *compressor, struct output_part *part)
{
    z_stream *deflater = &compressor->deflater;
    if (part->size > UINT_MAX || reserve_packed(part, deflateBound(deflater, part->size) + FLUSH_SIZE) < 0)
        return -1;
    part->check = (uint32_t)crc32(0, (void *)part->buffer->bytes, (uInt)part->size);
    deflateReset(deflater);
    deflater->next_in = (void *)part->buffer->bytes;
    deflater->avail_in = (uInt)part->size;
    deflater->next_out = part->compressed;
    deflater->avail_out = (uInt)part->compressed_capacity;
    int result = deflate(deflater, Z_SYNC_FLUSH);
    part->compressed_size = deflater->total_out;
    return result == Z_OK && deflater->avail_in == 0 && deflater->avail_out > 0 ? 0 : -1;
}

static int compress_zstd(struct compressor_state *compressor, struct output_part *part)
{
    if (reserve_packed(part, ZSTD_compressBound(part->size)) < 0)
        return -1;
    part->compressed_size = ZSTD_compress2(compressor->zstd, part->compressed, part->compressed_capacity,
                                           part->buffer->bytes, part->size);
    return ZSTD_isError(part->compressed_size) ? -1 : 0;
}

static int compress_part(struct output_part *part)
{
    struct output *output = part->output;
    struct compressor_state *compressor = take_compressor(output);
    if (!compressor)
        return -1;
    int result = output->coding == GZIP ? compress_gzip(compressor, part) : compress_zstd(compressor, part);
    release_compressor(output, compressor);
    return result;
}

/* ---- buffers ---- */

char *output_buffer(struct output_part *part, size_t size)
{
    struct output *output = part->output;
    pthread_mutex_lock(&output->lock);
    struct output_buffer *buffer = output->idle_buffers;
    if (buffer)
        output->idle_buffers = buffer->next;
    pthread_mutex_unlock(&output->lock);
    if (!buffer || buffer->size < size) {
        free(buffer);
        if (!(buffer = malloc(sizeof *buffer + size)))
            return NULL;
        buffer->size = size;
    }
    part->buffer = buffer;
    return buffer->bytes;
}

static void release_buffer(struct output_part *part)
{
    struct output *output = part->output;
    if (!part->buffer)
        return;
    pthread_mutex_lock(&output->lock);
    part->buffer->next = output->idle_buffers;
    output->idle_buffers = part->buffer;
    pthread_mutex_unlock(&output->lock);
    part->buffer = NULL;
}

/* ---- writing ---- */

static void fail_output(struct output *output, int sys_errno)
{
    int none = 0;
    atomic_compare_exchange_strong(&output->sys_errno, &none, sys_errno);
}

/* Reserves disk space for what will be written. If that fails, write() will report why. */
static void reserve_space(struct output *output, uint64_t end)
{
    while (end > output->reserved) {
        if (fallocate(output->fd, FALLOC_FL_KEEP_SIZE, (off_t)output->reserved, RESERVE_SIZE) == 0)
            output->reserved += RESERVE_SIZE;
        else if (errno != EINTR)
            output->reserved = UINT64_MAX;
    }
}

static void write_output(struct output *output, const void *bytes, size_t size)
{
    size_t at = 0;
    if (output->is_temporary)
        reserve_space(output, output->n_written + size);
    while (at < size && !output_is_broken(output)) {
        ssize_t n = write(output->fd, (const char *)bytes + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            fail_output(output, n == 0 ? EIO : errno);
    }
    output->n_written += at;
}

/* RFC 1952, section 2.3.1: a header precedes the deflate stream; check value and size follow it. */
static void begin_gzip(struct output *output)
{
    static const unsigned char header[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };
    write_output(output, header, sizeof header);
}

static void end_gzip(struct output *output)
{
    static const unsigned char empty_last_block[2] = { 3, 0 };
    uint32_t numbers[2] = { output->check, output->size };
    write_output(output, empty_last_block, sizeof empty_last_block);
    write_output(output, numbers, sizeof numbers);
}

static void execute_part(struct job *job)
{
    struct output_part *part = (struct output_part *)job;
    struct output *output = part->output;
    part->size = 0;
    if (!output_is_broken(output) &&
        (part->make(part) < 0 || (output->coding != PLAIN && part->size > 0 && compress_part(part) < 0))) {
        fail_output(output, ENOMEM);
        part->size = 0;                 /* writes nothing of it and reserves no space: its compressed size is no size */
    }
    if (output->coding != PLAIN)
        release_buffer(part);
}

static void finish_part(struct job *job)
{
    struct output_part *part = (struct output_part *)job;
    struct output *output = part->output;
    if (part->size > 0 && output->coding == PLAIN)
        write_output(output, part->buffer->bytes, part->size);
    else if (part->size > 0)
        write_output(output, part->compressed, part->compressed_size);
    if (part->size > 0 && output->coding == GZIP)
        output->check = (uint32_t)crc32_combine(output->check, part->check, (z_off_t)part->size);
    output->size += (uint32_t)part->size;
    release_buffer(part);
}

/* ---- public functions ---- */

static const char *const coding_suffixes[] = { [GZIP] = ".gz", [ZSTD] = ".zst" };

static enum coding find_coding(const char *path)
{
    size_t size = strlen(path);
    for (enum coding coding = GZIP; coding <= ZSTD; coding++) {
        size_t n = strlen(coding_suffixes[coding]);
        if (size > n && strcmp(path + size - n, coding_suffixes[coding]) == 0)
            return coding;
    }
    return PLAIN;
}

size_t output_suffix(const char *path)
{
    enum coding coding = find_coding(path);
    return coding == PLAIN ? 0 : strlen(coding_suffixes[coding]);
}

struct output *output_open(const char *path, struct jobs *jobs, struct pnr_err *err)
{
    struct stat status;
    struct output *output = calloc(1, sizeof *output);
    if (!output) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&output->lock, NULL);
    output->jobs = jobs;
    output->coding = find_coding(path);
    handle_signals();
    if (strcmp(path, "-") == 0) {
        output->fd = STDOUT_FILENO;
        return output;
    }
    output->fd = -1;
    if ((size_t)snprintf(output->path, sizeof output->path, "%s", path) >= sizeof output->path)
        errno = ENAMETOOLONG;
    else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        output->fd = open(path, O_WRONLY | O_CLOEXEC);  /* a device or a pipe; for a directory this fails */
    else
        output->fd = make_temporary(output);
    if (output->fd < 0) {
        pnr_err_system(err, path, "cannot write");
        output_close(output);
        return NULL;
    }
    if (output->coding == GZIP)
        begin_gzip(output);
    return output;
}

void output_watch(struct output *output, void (*advance)(void *arg), void *arg)
{
    output->advance = advance;
    output->arg = arg;
}

void output_close(struct output *output)
{
    if (!output)
        return;
    if (output->fd > STDERR_FILENO)
        close(output->fd);
    if (output->is_temporary)
        unlink(temporary_path);
    has_temporary = 0;
    for (struct output_buffer *buffer; (buffer = output->idle_buffers); free(buffer))
        output->idle_buffers = buffer->next;
    for (struct compressor_state *compressor; (compressor = output->idle_compressors); free(compressor)) {
        output->idle_compressors = compressor->next;
        deflateEnd(&compressor->deflater);
        ZSTD_freeCCtx(compressor->zstd);
    }
    pthread_mutex_destroy(&output->lock);
    free(output);
}

void output_add(struct output *output, struct output_part *part)
{
    part->output = output;
    part->job.execute = execute_part;
    part->job.finish = finish_part;
    jobs_start(output->jobs, &part->job);
    if (output->advance)
        output->advance(output->arg);
}

void output_wait(struct output *output, struct output_part *part)
{
    jobs_wait(output->jobs, &part->job);
}

void output_part_clear(struct output_part *part)
{
    free(part->compressed);
    part->compressed = NULL;
    part->compressed_capacity = 0;
}

struct output_copy {
    struct output_part part;            /* first: a part is a copy */
    const void *bytes;
    size_t size;
};

static int make_output_copy(struct output_part *part)
{
    const struct output_copy *copy = (struct output_copy *)part;
    char *buffer = output_buffer(part, copy->size);
    if (!buffer)
        return -1;
    memcpy(buffer, copy->bytes, copy->size);
    part->size = copy->size;
    return 0;
}

void output_write(struct output *output, const void *bytes, size_t size)
{
    struct output_copy copy = { .part.make = make_output_copy, .bytes = bytes, .size = size };
    output_add(output, &copy.part);
    output_wait(output, &copy.part);
    output_part_clear(&copy.part);
}

int output_fd(const struct output *output)
{
    return output->fd;
}

bool output_is_broken(const struct output *output)
{
    return atomic_load_explicit(&output->sys_errno, memory_order_relaxed) != 0;
}

uint64_t output_bytes(const struct output *output)
{
    return output->n_written;
}

int output_keep(struct output *output, struct pnr_err *err)
{
    const char *path = output->fd == STDOUT_FILENO ? "standard output" : output->path;
    if (output->coding == GZIP)
        end_gzip(output);
    errno = output->sys_errno;
    if (errno)
        return pnr_err_system(err, path, "cannot write");
    if (output->reserved)
        (void)!ftruncate(output->fd, (off_t)output->n_written); /* releases what was reserved and not used */
    int lock_fd = output->is_temporary ? dup(output->fd) : -1;     /* keeps the lock until the file has its name */
    bool ok = output->fd == STDOUT_FILENO || close(output->fd) == 0;
    output->fd = -1;
    int result = ok && (!output->is_temporary || rename(temporary_path, output->path) == 0) ? 0 :
                 pnr_err_system(err, path, "cannot write");
    if (lock_fd >= 0)
        close(lock_fd);
    if (result != 0)
        return -1;
    output->is_temporary = false;
    has_temporary = 0;
    return 0;
}
