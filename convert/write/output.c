/* Every part is compressed by itself. For .zst that makes a frame, and a file may be a row of those. For .gz it is a
 * piece of one deflate stream that ends at a whole byte, so that the file is a single gzip member: some viewers read no
 * more than the first. */
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

/* The fastest ones: what repeats in a trace, they find too. */
#define GZIP_LEVEL 1
#define ZSTD_LEVEL 1

/* So much of a file's space is asked for at a time: what has its place already is written in two thirds of the time. */
#define AHEAD (64 << 20)

/* More than an empty block adds to a piece of a deflate stream. */
#define FLUSH_SIZE 16

/* x.trace is .panopticon-x.trace-XXXXXX at first; the last six are random. A name that is too long is cut. */
#define PREFIX ".panopticon-"
#define RANDOM "XXXXXX"
#define NAME_ROOM (int)(NAME_MAX + 1 - sizeof PREFIX "-" RANDOM)

enum coding { PLAIN, GZIP, ZSTD };

/* What one thread compresses with. */
struct packer {
    struct packer *next;
    z_stream deflater;
    ZSTD_CCtx *compressor;
};

struct output_room {
    struct output_room *next;
    size_t size;
    char bytes[];
};

struct output {
    struct jobs *jobs;                  /* borrowed */
    void (*advance)(void *arg);         /* NULL, or the one who watches */
    void *arg;
    char path[PATH_MAX];
    int fd;
    bool is_temporary;
    uint64_t reserved;                  /* bytes that have a place on the disk; UINT64_MAX: no more can be asked for */
    enum coding coding;
    uint32_t check;                     /* of all bytes so far, like the next; for the end of a gzip file */
    uint32_t size;
    _Atomic uint64_t n_written;
    atomic_int sys_errno;               /* of the first failure; 0 = none */
    pthread_mutex_t lock;               /* of the next two */
    struct packer *packers;             /* that nobody uses */
    struct output_room *rooms;          /* the same; the one that was used last, which is in a cache, comes first */
};

/* ---- the temporary file ---- */

/* For the signal handler: the file that an interrupted conversion must not leave. */
static char temporary[PATH_MAX];
static volatile sig_atomic_t has_temporary;

static void clean_up(int signal_number)
{
    if (has_temporary)
        unlink(temporary);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void handle_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = clean_up };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);           /* a file that may not grow is a failed write like others */
}

/* Returns 0, or -1 and errno. */
static int name_temporary(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if ((size_t)snprintf(temporary, sizeof temporary, "%.*s" PREFIX "%.*s-" RANDOM, (int)(name - path), path,
                         NAME_ROOM, name) < sizeof temporary)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* Removes a temporary file that no conversion holds: one that was killed has left it. */
static void remove_left(int folder, const char *name)
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

/* The same for all of the name that `temporary` is made for. */
static void remove_all_left(void)
{
    char path[PATH_MAX];
    memcpy(path, temporary, sizeof path);
    char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t size = strlen(name), stem = size - strlen(RANDOM);
    char prefix[NAME_MAX + 1];
    memcpy(prefix, name, size + 1);
    *name = 0;
    DIR *folder = opendir(slash ? path : ".");
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strlen(entry->d_name) == size && memcmp(entry->d_name, prefix, stem) == 0)
            remove_left(dirfd(folder), entry->d_name);
    if (folder)
        closedir(folder);
}

/* Makes the file and holds it by a lock, which ends with its last descriptor. Returns it, or -1 and errno. */
static int make_locked(void)
{
    for (;;) {
        struct stat status;
        memcpy(temporary + strlen(temporary) - strlen(RANDOM), RANDOM, strlen(RANDOM));
        int fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0)
            return -1;
        if ((flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
            (fstat(fd, &status) < 0 || status.st_nlink > 0))
            return fd;                  /* locked, or where there are no locks, so that nobody else gets one */
        unlink(temporary);              /* another conversion has taken it for one that was left */
        close(fd);
    }
}

static int make_temporary(struct output *output)
{
    char target[PATH_MAX];
    if (realpath(output->path, target))         /* a symbolic link stays one */
        memcpy(output->path, target, PATH_MAX);
    if (name_temporary(output->path) < 0)
        return -1;
    remove_all_left();
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int fd = make_locked();
    has_temporary = output->is_temporary = fd >= 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (fd >= 0) {
        mode_t mask = umask(0);
        umask(mask);
        (void)!fchmod(fd, 0666 & ~mask);        /* where that is impossible, modes mean little */
    }
    return fd;
}

/* ---- compressing ---- */

static struct packer *make_packer(enum coding coding)
{
    struct packer *packer = calloc(1, sizeof *packer);
    if (!packer)
        return NULL;
    bool is_well = coding == GZIP ?
        deflateInit2(&packer->deflater, GZIP_LEVEL, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK :
        (packer->compressor = ZSTD_createCCtx()) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(packer->compressor, ZSTD_c_compressionLevel, ZSTD_LEVEL)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(packer->compressor, ZSTD_c_checksumFlag, 1));
    if (is_well)
        return packer;
    ZSTD_freeCCtx(packer->compressor);
    free(packer);
    return NULL;
}

/* There are as many as threads that compress at a time. NULL when out of memory. */
static struct packer *take_packer(struct output *output)
{
    pthread_mutex_lock(&output->lock);
    struct packer *packer = output->packers;
    if (packer)
        output->packers = packer->next;
    pthread_mutex_unlock(&output->lock);
    return packer ? packer : make_packer(output->coding);
}

static void give_packer(struct output *output, struct packer *packer)
{
    pthread_mutex_lock(&output->lock);
    packer->next = output->packers;
    output->packers = packer;
    pthread_mutex_unlock(&output->lock);
}

static int grow_packed(struct output_part *part, size_t size)
{
    if (size <= part->packed_capacity)
        return 0;
    free(part->packed);
    part->packed = malloc(size);
    part->packed_capacity = part->packed ? size : 0;
    return part->packed ? 0 : -1;
}

static int pack_gzip(struct packer *packer, struct output_part *part)
{
    z_stream *deflater = &packer->deflater;
    if (part->size > UINT_MAX || grow_packed(part, deflateBound(deflater, part->size) + FLUSH_SIZE) < 0)
        return -1;
    part->check = (uint32_t)crc32(0, (void *)part->room->bytes, (uInt)part->size);
    deflateReset(deflater);
    deflater->next_in = (void *)part->room->bytes;
    deflater->avail_in = (uInt)part->size;
    deflater->next_out = part->packed;
    deflater->avail_out = (uInt)part->packed_capacity;
    int result = deflate(deflater, Z_SYNC_FLUSH);
    part->packed_size = deflater->total_out;
    return result == Z_OK && deflater->avail_in == 0 && deflater->avail_out > 0 ? 0 : -1;
}

static int pack_zstd(struct packer *packer, struct output_part *part)
{
    if (grow_packed(part, ZSTD_compressBound(part->size)) < 0)
        return -1;
    part->packed_size = ZSTD_compress2(packer->compressor, part->packed, part->packed_capacity, part->room->bytes,
                                       part->size);
    return ZSTD_isError(part->packed_size) ? -1 : 0;
}

static int pack(struct output_part *part)
{
    struct output *output = part->output;
    struct packer *packer = take_packer(output);
    if (!packer)
        return -1;
    int result = output->coding == GZIP ? pack_gzip(packer, part) : pack_zstd(packer, part);
    give_packer(output, packer);
    return result;
}

/* ---- rooms ---- */

char *output_room(struct output_part *part, size_t size)
{
    struct output *output = part->output;
    pthread_mutex_lock(&output->lock);
    struct output_room *room = output->rooms;
    if (room)
        output->rooms = room->next;
    pthread_mutex_unlock(&output->lock);
    if (!room || room->size < size) {
        free(room);
        if (!(room = malloc(sizeof *room + size)))
            return NULL;
        room->size = size;
    }
    part->room = room;
    return room->bytes;
}

static void give_room(struct output_part *part)
{
    struct output *output = part->output;
    if (!part->room)
        return;
    pthread_mutex_lock(&output->lock);
    part->room->next = output->rooms;
    output->rooms = part->room;
    pthread_mutex_unlock(&output->lock);
    part->room = NULL;
}

/* ---- writing ---- */

static void fail(struct output *output, int sys_errno)
{
    int none = 0;
    atomic_compare_exchange_strong(&output->sys_errno, &none, sys_errno);
}

/* Asks for the place of what will be written. It is no failure if there is none: write() tells. */
static void reserve_space(struct output *output, uint64_t end)
{
    while (end > output->reserved) {
        if (fallocate(output->fd, FALLOC_FL_KEEP_SIZE, (off_t)output->reserved, AHEAD) == 0)
            output->reserved += AHEAD;
        else if (errno != EINTR)
            output->reserved = UINT64_MAX;
    }
}

static void write_all(struct output *output, const void *bytes, size_t size)
{
    size_t at = 0;
    if (output->is_temporary)
        reserve_space(output, output->n_written + size);
    while (at < size && !output_is_broken(output)) {
        ssize_t n = write(output->fd, (const char *)bytes + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            fail(output, n == 0 ? EIO : errno);
    }
    output->n_written += at;
}

/* Section 2.3.1 of RFC 1952: what stands before the deflate stream, and behind it, for a reader to compare with. */
static void begin_gzip(struct output *output)
{
    static const unsigned char header[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };
    write_all(output, header, sizeof header);
}

static void end_gzip(struct output *output)
{
    static const unsigned char empty_last_block[2] = { 3, 0 };
    uint32_t numbers[2] = { output->check, output->size };
    write_all(output, empty_last_block, sizeof empty_last_block);
    write_all(output, numbers, sizeof numbers);
}

static void run(struct job *job)
{
    struct output_part *part = (struct output_part *)job;
    struct output *output = part->output;
    part->size = 0;
    if (!output_is_broken(output) &&
        (part->make(part) < 0 || (output->coding != PLAIN && part->size > 0 && pack(part) < 0))) {
        fail(output, ENOMEM);
        part->size = 0;                 /* nothing of it is written, and no space reserved: its packed size means nothing */
    }
    if (output->coding != PLAIN)
        give_room(part);
}

static void finish(struct job *job)
{
    struct output_part *part = (struct output_part *)job;
    struct output *output = part->output;
    if (part->size > 0 && output->coding == PLAIN)
        write_all(output, part->room->bytes, part->size);
    else if (part->size > 0)
        write_all(output, part->packed, part->packed_size);
    if (part->size > 0 && output->coding == GZIP)
        output->check = (uint32_t)crc32_combine(output->check, part->check, (z_off_t)part->size);
    output->size += (uint32_t)part->size;
    give_room(part);
}

/* ---- as others see it ---- */

static const char *const suffixes[] = { [GZIP] = ".gz", [ZSTD] = ".zst" };

static enum coding find_coding(const char *path)
{
    size_t size = strlen(path);
    for (enum coding coding = GZIP; coding <= ZSTD; coding++) {
        size_t n = strlen(suffixes[coding]);
        if (size > n && strcmp(path + size - n, suffixes[coding]) == 0)
            return coding;
    }
    return PLAIN;
}

size_t output_suffix(const char *path)
{
    enum coding coding = find_coding(path);
    return coding == PLAIN ? 0 : strlen(suffixes[coding]);
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
        output->fd = open(path, O_WRONLY | O_CLOEXEC);  /* a device or a pipe; a directory fails here */
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
        unlink(temporary);
    has_temporary = 0;
    for (struct output_room *room; (room = output->rooms); free(room))
        output->rooms = room->next;
    for (struct packer *packer; (packer = output->packers); free(packer)) {
        output->packers = packer->next;
        deflateEnd(&packer->deflater);
        ZSTD_freeCCtx(packer->compressor);
    }
    pthread_mutex_destroy(&output->lock);
    free(output);
}

void output_add(struct output *output, struct output_part *part)
{
    part->output = output;
    part->job.run = run;
    part->job.finish = finish;
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
    free(part->packed);
    part->packed = NULL;
    part->packed_capacity = 0;
}

struct copy {
    struct output_part part;            /* first: a part is a copy */
    const void *bytes;
    size_t size;
};

static int make_copy(struct output_part *part)
{
    const struct copy *copy = (struct copy *)part;
    char *room = output_room(part, copy->size);
    if (!room)
        return -1;
    memcpy(room, copy->bytes, copy->size);
    part->size = copy->size;
    return 0;
}

void output_write(struct output *output, const void *bytes, size_t size)
{
    struct copy copy = { .part.make = make_copy, .bytes = bytes, .size = size };
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
        (void)!ftruncate(output->fd, (off_t)output->n_written);         /* gives back what was asked for in vain */
    int held = output->is_temporary ? dup(output->fd) : -1;     /* the lock, until it has its name */
    bool is_well = output->fd == STDOUT_FILENO || close(output->fd) == 0;
    output->fd = -1;
    int result = is_well && (!output->is_temporary || rename(temporary, output->path) == 0) ? 0 :
                 pnr_err_system(err, path, "cannot write");
    if (held >= 0)
        close(held);
    if (result != 0)
        return -1;
    output->is_temporary = false;
    has_temporary = 0;
    return 0;
}
