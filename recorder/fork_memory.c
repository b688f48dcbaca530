#include "fork_memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_SIZE ((size_t)64 << 10)

/* The head of the first slab, so that it tells as long as there is one. */
struct head {
    bool is_mine;
    _Alignas(REC_CACHE_LINE) char first;
};

static struct {
    char **slabs;                       /* owned */
    size_t n_slabs, n_taken;            /* n_taken: structs that were ever given from them */
    void *free;                         /* each begins with a pointer to the next */
} wiped;

static bool add_slab(void)
{
    char **slabs = realloc(wiped.slabs, (wiped.n_slabs + 1) * sizeof *slabs);
    if (!slabs)
        return false;
    wiped.slabs = slabs;
    void *slab = mmap(NULL, SLAB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED)
        return false;
    madvise(slab, SLAB_SIZE, MADV_WIPEONFORK);          /* from Linux 4.14 on */
    wiped.slabs[wiped.n_slabs++] = slab;
    return true;
}

void rec_fork_memory_start(void)
{
    wiped.n_taken = 0;
    wiped.free = NULL;
    if (wiped.n_slabs || add_slab())
        ((struct head *)wiped.slabs[0])->is_mine = true;
}

bool rec_fork_memory_is_forked(void)
{
    return wiped.n_slabs && !((const struct head *)wiped.slabs[0])->is_mine;
}

void *rec_fork_memory_new(size_t size)
{
    size_t head = offsetof(struct head, first), per_slab = (SLAB_SIZE - head) / size;
    void *memory = wiped.free;
    if (memory) {
        memcpy(&wiped.free, memory, sizeof wiped.free);
    } else {
        if (wiped.n_taken == wiped.n_slabs * per_slab && !add_slab())
            return NULL;
        memory = wiped.slabs[wiped.n_taken / per_slab] + head + wiped.n_taken % per_slab * size;
        wiped.n_taken++;
    }
    return memset(memory, 0, size);
}

void rec_fork_memory_free(void *memory)
{
    memcpy(memory, &wiped.free, sizeof wiped.free);
    wiped.free = memory;
}
