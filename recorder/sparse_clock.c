#include "sparse_clock.h"

#include <string.h>
#include <sys/mman.h>

#include "clock.h"

#define DENSE_NS 1000                   /* events that come more often than this wake the guard ... */
#define ACTIVE_NS 100000000             /* ... for so long; */
#define MAX_IDLE 8                      /* or until no event has come in so many periods */

struct rec_sparse rec_sparse;

static struct {
    _Atomic uint64_t active_until_ns;    /* 0: it rests */
    uint64_t due_ns;
    uint32_t random;                    /* at the last beat: when it is the same, no event has read since */
    uint32_t n_idle;                    /* such beats in sequence */
} guard;

/* Once mapped, the modes stay: an event that comes after the end of a recording may still look at them. */
bool rec_sparse_start(void)
{
    void *modes = (void *)rec_sparse.modes;
    if (!modes)
        modes = mmap(NULL, REC_SPARSE_FUNCTIONS, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (modes == MAP_FAILED)
        return false;
    rec_sparse = (struct rec_sparse){ .modes = modes, .random = (uint32_t)rec_clock_ticks(), .is_on = true };
    memset(&guard, 0, sizeof guard);
    return true;
}

void rec_sparse_stop(void)
{
    _Atomic uint8_t *modes = rec_sparse.modes;
    if (rec_sparse.is_on)
        madvise((void *)modes, REC_SPARSE_FUNCTIONS, MADV_DONTNEED);    /* they are 0 again */
    rec_sparse = (struct rec_sparse){ .modes = modes };
}

void rec_sparse_set(uint32_t function, uint8_t mode)
{
    if (function < REC_SPARSE_FUNCTIONS)
        atomic_store_explicit(&rec_sparse.modes[function], mode, memory_order_relaxed);
}

void rec_sparse_allow_none(bool allows)
{
    if (!rec_sparse.is_on)
        return;
    rec_sparse_set(0, allows ? REC_SPARSE_ENTRY | REC_SPARSE_EXIT | REC_SPARSE_AFTER_ENTRY | REC_SPARSE_AFTER_EXIT : 0);
    /* If the guard works, it sets the mask again a period later. */
    atomic_store_explicit(&rec_sparse.mask, allows ? UINT32_MAX : 0, memory_order_relaxed);
    rec_sparse_break();
}

void rec_sparse_note_block(uint32_t n_events, uint64_t duration_ns)
{
    if (n_events && duration_ns / n_events < DENSE_NS)
        atomic_store_explicit(&guard.active_until_ns, rec_clock_monotonic_ns() + ACTIVE_NS, memory_order_relaxed);
}

void rec_sparse_rest(void)
{
    atomic_store_explicit(&guard.active_until_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&rec_sparse.mask, 0, memory_order_relaxed);
    rec_sparse_break();
    guard.n_idle = 0;
    guard.due_ns = 0;
}

uint64_t rec_sparse_tend(void)
{
    uint64_t active_until = atomic_load_explicit(&guard.active_until_ns, memory_order_relaxed);
    if (!active_until)
        return UINT64_MAX;
    uint64_t now = rec_clock_monotonic_ns();
    if (now < guard.due_ns)
        return guard.due_ns - now;
    uint32_t random = atomic_load_explicit(&rec_sparse.random, memory_order_relaxed);
    bool is_idle = random == guard.random;
    guard.random = random;
    rec_sparse_break();
    guard.n_idle = is_idle ? guard.n_idle + 1 : 0;
    if (now > active_until || guard.n_idle > MAX_IDLE) {
        rec_sparse_rest();
        return UINT64_MAX;
    }
    atomic_store_explicit(&rec_sparse.mask, UINT32_MAX, memory_order_relaxed);
    guard.due_ns = now + REC_SPARSE_PERIOD_NS;
    return REC_SPARSE_PERIOD_NS;
}
