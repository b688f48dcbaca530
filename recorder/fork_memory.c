#include "fork_memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_SIZE ((size_t)64 << 10)

/* Begins each slab; that of the first one says whose memory it is. */
struct slab_header {
    _Atomic bool is_mine;
    _Alignas(REC_CACHE_LINE) char first;
};

static struct {
    _Atomic(struct slab_header *) first;        /* as in slabs[0], for those that read without the lock; set once */
    char **slabs;                       /* owned */
    size_t n_slabs, n_taken;            /* n_taken: structs that were ever taken from them */
    void *free;                         /* a list: each begins with a pointer to the next */
} fork_memory;

static bool add_slab(void)
{
    char **slabs = realloc(fork_memory.slabs, (fork_memory.n_slabs + 1) * sizeof *slabs);
    if (!slabs)
        return false;
    fork_memory.slabs = slabs;
    void *slab = mmap(NULL, SLAB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED)
        return false;
    madvise(slab, SLAB_SIZE, MADV_WIPEONFORK);          /* from Linux 4.14 on */
    struct slab_header *header = slab;
    atomic_store_explicit(&header->is_mine, true, memory_order_relaxed);
    if (!fork_memory.n_slabs)
        atomic_store_explicit(&fork_memory.first, header, memory_order_release);
    fork_memory.slabs[fork_memory.n_slabs++] = slab;
    return true;
}

void rec_fork_memory_start(void)
{
    fork_memory.n_taken = 0;
    fork_memory.free = NULL;
    if (fork_memory.n_slabs || add_slab())
        atomic_store_explicit(&fork_memory.first->is_mine, true, memory_order_relaxed);
}

bool rec_fork_memory_is_forked(void)
{
    struct slab_header *first = atomic_load_explicit(&fork_memory.first, memory_order_acquire);
    return first && !atomic_load_explicit(&first->is_mine, memory_order_relaxed);
}

void *rec_fork_memory_new(size_t size)
{
    size_t header = offsetof(struct slab_header, first), per_slab = (SLAB_SIZE - header) / size;
    void *memory = fork_memory.free;
    if (memory) {
        memcpy(&fork_memory.free, memory, sizeof fork_memory.free);
    } else {
        if (fork_memory.n_taken == fork_memory.n_slabs * per_slab && !add_slab())
            return NULL;
        memory = fork_memory.slabs[fork_memory.n_taken / per_slab] + header + fork_memory.n_taken % per_slab * size;
        fork_memory.n_taken++;
    }
    return memset(memory, 0, size);
}

void rec_fork_memory_free(void *memory)
{
    memcpy(memory, &fork_memory.free, sizeof fork_memory.free);
    fork_memory.free = memory;
}
