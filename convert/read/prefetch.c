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

/* As many reads at a time as a disk does at once; each thread needs little more than a path. */
#define MOST_THREADS 16
#define STACK_SIZE (128 << 10)

struct prefetch {
    const char *path;
    const struct file *files;
    size_t n;
    atomic_size_t next;                 /* of the files */
    atomic_bool is_over;
    unsigned n_threads;
    pthread_t threads[MOST_THREADS];
};

/* What tells where the next block begins. */
struct beginning {
    uint32_t frame[2];
    struct {
        uint32_t words[6];
        uint32_t data_size;
    } header;
};

_Static_assert(offsetof(struct beginning, header.data_size) == 8 + offsetof(struct pnr_block_header, data_size),
               "the beginning of a block, as it lies in the file");

static void walk(struct prefetch *prefetch, int fd)
{
    struct beginning beginning;
    for (off_t at = 0; !prefetch->is_over;) {
        if (pnr_file_read(fd, &beginning, sizeof beginning, at) < (ssize_t)sizeof beginning ||
            beginning.frame[0] != PNR_BLOCK_SKIPPABLE || beginning.frame[1] != PNR_BLOCK_HEADER_SIZE)
            return;
        at += (off_t)PNR_BLOCK_PREFIX_SIZE + beginning.header.data_size;
    }
}

static void *work(void *arg)
{
    struct prefetch *prefetch = arg;
    for (size_t i; (i = prefetch->next++) < prefetch->n && !prefetch->is_over;) {
        const struct file *file = &prefetch->files[i];
        char path[PATH_MAX];
        pnr_thread_path(prefetch->path, file->segment, file->thread, path);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
            continue;
        walk(prefetch, fd);
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
    sigfillset(&all);                   /* signals are the owner's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (prefetch->n_threads < MOST_THREADS && prefetch->n_threads < n - 1 &&
           pthread_create(&prefetch->threads[prefetch->n_threads], &attributes, work, prefetch) == 0)
        prefetch->n_threads++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return prefetch;
}

void prefetch_end(struct prefetch *prefetch)
{
    if (!prefetch)
        return;
    prefetch->is_over = true;
    for (unsigned i = 0; i < prefetch->n_threads; i++)
        pthread_join(prefetch->threads[i], NULL);
    free(prefetch);
}
