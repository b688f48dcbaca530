#include "prefetch.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/block.h"
#include "format/capture.h"
#include "format/file.h"

/* The number of threads: as many as a disk serves at a time; each thread's stack holds little more than a path. */
#define MAX_THREADS 16
#define STACK_SIZE (128 << 10)

struct prefetch {
    const char *path;
    const struct file *files;
    size_t n;
    atomic_size_t next;                 /* index in files */
    atomic_bool is_stopping;
    unsigned n_threads;
    pthread_t threads[MAX_THREADS];
};

/* As much of a block as is needed to find the next one. */
struct block_start {
    uint32_t frame[2];
    struct {
        uint32_t words[6];
        uint32_t data_size;
    } header;
};

_Static_assert(offsetof(struct block_start, header.data_size) == 8 + offsetof(struct pnr_block_header, data_size),
               "the block_start of a block, as it lies in the file");

static void prefetch_file(struct prefetch *prefetch, int fd)
{
    struct block_start block_start;
    for (off_t at = 0; !prefetch->is_stopping;) {
        if (pnr_file_read(fd, &block_start, sizeof block_start, at) < (ssize_t)sizeof block_start ||
            block_start.frame[0] != PNR_BLOCK_SKIPPABLE || block_start.frame[1] != PNR_BLOCK_HEADER_SIZE)
            return;
        at += (off_t)PNR_BLOCK_PREFIX_SIZE + block_start.header.data_size;
    }
}

static void *prefetch_worker(void *arg)
{
    struct prefetch *prefetch = arg;
    for (size_t i; (i = prefetch->next++) < prefetch->n && !prefetch->is_stopping;) {
        const struct file *file = &prefetch->files[i];
        char path[PATH_MAX];
        pnr_thread_path(prefetch->path, file->segment, file->thread, path);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
            continue;
        prefetch_file(prefetch, fd);
        close(fd);
    }
    return NULL;
}

struct prefetch *prefetch_start(const char *process_path, const struct file *files, size_t n)
{
    struct prefetch *prefetch = n > 1 ? malloc(sizeof *prefetch) : NULL;
    pthread_attr_t attributes;
    sigset_t all, old;
    if (!prefetch)
        return NULL;
    *prefetch = (struct prefetch){ .path = process_path, .files = files, .n = n, .next = 1 };
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);                   /* leave signals to the owner */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (prefetch->n_threads < MAX_THREADS && prefetch->n_threads < n - 1 &&
           pthread_create(&prefetch->threads[prefetch->n_threads], &attributes, prefetch_worker, prefetch) == 0)
        prefetch->n_threads++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return prefetch;
}

void prefetch_end(struct prefetch *prefetch)
{
    if (!prefetch)
        return;
    prefetch->is_stopping = true;
    for (unsigned i = 0; i < prefetch->n_threads; i++)
        pthread_join(prefetch->threads[i], NULL);
    free(prefetch);
}
