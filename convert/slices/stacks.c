#include "stacks.h"

#include <stdlib.h>
#include <string.h>

/* Room for so many of that size. Returns 0, or -1 when out of memory. */
static int reserve(void **array, size_t *capacity, size_t n, size_t size)
{
    if (n <= *capacity)
        return 0;
    size_t most = 2 * n + 16;
    void *larger = realloc(*array, most * size);
    if (!larger)
        return -1;
    *array = larger;
    *capacity = most;
    return 0;
}

struct stacks_frame *stacks_add(struct stacks *stacks, uint32_t process, uint32_t thread, size_t n)
{
    void *entries = stacks->entries, *frames = stacks->frames;
    int result = reserve(&entries, &stacks->capacity, stacks->n + 1, sizeof *stacks->entries);
    if (result == 0)
        result = reserve(&frames, &stacks->frames_capacity, stacks->n_frames + n + 1, sizeof *stacks->frames);
    stacks->entries = entries;
    stacks->frames = frames;
    if (result < 0) {
        stacks->is_out_of_memory = true;
        return NULL;
    }
    stacks->entries[stacks->n++] = (struct stacks_entry){ process, thread, stacks->n_frames, n };
    stacks->n_frames += n;
    return stacks->frames + stacks->n_frames - n;
}

static int by_thread(const void *a, const void *b)
{
    const struct stacks_entry *x = a, *y = b;
    if (x->process != y->process)
        return x->process < y->process ? -1 : 1;
    return x->thread < y->thread ? -1 : x->thread > y->thread;
}

const struct stacks_frame *stacks_find(const struct stacks *stacks, uint32_t process, uint32_t thread, size_t *n)
{
    const struct stacks_entry key = { .process = process, .thread = thread }, *found = NULL;
    if (stacks && stacks->n)
        found = bsearch(&key, stacks->entries, stacks->n, sizeof key, by_thread);
    *n = found ? found->n : 0;
    return found ? stacks->frames + found->at : NULL;
}

void stacks_settle(struct stacks *stacks, const struct stacks *before)
{
    size_t n;
    if (stacks->n)
        qsort(stacks->entries, stacks->n, sizeof *stacks->entries, by_thread);
    struct stacks known = *stacks;
    for (size_t i = 0; before && i < before->n; i++) {
        const struct stacks_entry *entry = &before->entries[i];
        known.entries = stacks->entries;        /* where they are by now; the first ones stay as they are */
        known.frames = stacks->frames;
        if (stacks_find(&known, entry->process, entry->thread, &n))
            continue;
        struct stacks_frame *frames = stacks_add(stacks, entry->process, entry->thread, entry->n);
        if (frames && entry->n)
            memcpy(frames, before->frames + entry->at, entry->n * sizeof *frames);
    }
    if (stacks->n)
        qsort(stacks->entries, stacks->n, sizeof *stacks->entries, by_thread);
}

void stacks_clear(struct stacks *stacks)
{
    free(stacks->entries);
    free(stacks->frames);
    *stacks = (struct stacks){ .n = 0 };
}
