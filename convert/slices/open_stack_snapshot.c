#include "open_stack_snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"

struct open_frame *open_stack_snapshot_add(struct open_stack_snapshot *snapshot, uint32_t process, uint32_t thread,
                                           size_t n)
{
    if (pnr_array_reserve(&snapshot->stacks, &snapshot->capacity, snapshot->n + 1) < 0 ||
        pnr_array_reserve(&snapshot->frames, &snapshot->frames_capacity, snapshot->n_frames + n + 1) < 0) {
        snapshot->is_out_of_memory = true;
        return NULL;
    }
    snapshot->stacks[snapshot->n++] = (struct open_stack){ process, thread, snapshot->n_frames, n };
    snapshot->n_frames += n;
    return snapshot->frames + snapshot->n_frames - n;
}

static int by_process_and_thread(const void *a, const void *b)
{
    const struct open_stack *x = a, *y = b;
    if (x->process != y->process)
        return x->process < y->process ? -1 : 1;
    return x->thread < y->thread ? -1 : x->thread > y->thread;
}

const struct open_frame *open_stack_snapshot_find(const struct open_stack_snapshot *snapshot, uint32_t process,
                                                  uint32_t thread, size_t *n)
{
    const struct open_stack key = { .process = process, .thread = thread }, *found = NULL;
    if (snapshot && snapshot->n)
        found = bsearch(&key, snapshot->stacks, snapshot->n, sizeof key, by_process_and_thread);
    *n = found ? found->n : 0;
    return found ? snapshot->frames + found->first : NULL;
}

void open_stack_snapshot_complete(struct open_stack_snapshot *snapshot, const struct open_stack_snapshot *earlier)
{
    size_t n;
    if (snapshot->n)
        qsort(snapshot->stacks, snapshot->n, sizeof *snapshot->stacks, by_process_and_thread);
    struct open_stack_snapshot sorted = *snapshot;
    for (size_t i = 0; earlier && i < earlier->n; i++) {
        const struct open_stack *stack = &earlier->stacks[i];
        sorted.stacks = snapshot->stacks;   /* adding may move them; the sorted ones stay in front */
        sorted.frames = snapshot->frames;
        if (open_stack_snapshot_find(&sorted, stack->process, stack->thread, &n))
            continue;
        struct open_frame *frames = open_stack_snapshot_add(snapshot, stack->process, stack->thread, stack->n);
        if (frames && stack->n)
            memcpy(frames, earlier->frames + stack->first, stack->n * sizeof *frames);
    }
    if (snapshot->n)
        qsort(snapshot->stacks, snapshot->n, sizeof *snapshot->stacks, by_process_and_thread);
}

void open_stack_snapshot_clear(struct open_stack_snapshot *snapshot)
{
    free(snapshot->stacks);
    free(snapshot->frames);
    *snapshot = (struct open_stack_snapshot){ .n = 0 };
}
