/* A pool, so that a flow keeps a small number. The pending arrows of a stack are a list, newest first: those of the
 * innermost slices come first, so each decision takes arrows from its begin. */
#include "spawn_arrows.h"

#include <stdlib.h>

#include "format/array.h"

struct spawn_arrow {
    uint64_t start_ns;                  /* where the frame was created */
    uint64_t end_ns;                    /* in the frame's first slice; 0 until that is retained */
    uint32_t *pending;                  /* the list that it is in; NULL: its slice is decided */
    uint32_t newer, older;              /* in the list, 0 = none; older: also the next vacant one */
    uint32_t start_thread, end_thread;
    uint32_t function;
    bool is_pruned;                     /* the slice that created the frame is */
};

void spawn_arrows_init(struct spawn_arrows *spawns, struct sink *sink, uint64_t *last_id)
{
    *spawns = (struct spawn_arrows){ .sink = sink, .last_id = last_id };
}

void spawn_arrows_clear(struct spawn_arrows *spawns)
{
    free(spawns->pool);
    spawns->pool = NULL;
    spawns->n = spawns->capacity = spawns->n_alive = 0;
    spawns->vacant = 0;
}

static struct spawn_arrow *arrow_of(const struct spawn_arrows *spawns, uint32_t number)
{
    return &spawns->pool[number - 1];
}

/* Returns the number of a vacant arrow, or 0 when out of memory. */
static uint32_t take_arrow(struct spawn_arrows *spawns)
{
    uint32_t number = spawns->vacant;
    if (number) {
        spawns->vacant = arrow_of(spawns, number)->older;
    } else {
        if (pnr_array_reserve(&spawns->pool, &spawns->capacity, spawns->n + 1) < 0)
            return 0;
        number = (uint32_t)++spawns->n;
    }
    spawns->n_alive++;
    return number;
}

static void release_arrow(struct spawn_arrows *spawns, uint32_t number)
{
    arrow_of(spawns, number)->older = spawns->vacant;
    spawns->vacant = number;
    spawns->n_alive--;
}

uint32_t spawn_arrows_add(struct spawn_arrows *spawns, uint32_t *pending, uint32_t thread, uint32_t function,
                          uint64_t ns)
{
    uint32_t number = take_arrow(spawns);
    if (number == 0)
        return 0;
    *arrow_of(spawns, number) = (struct spawn_arrow){ .start_ns = ns, .pending = pending, .start_thread = thread,
                                                      .function = function };
    if (pending) {
        arrow_of(spawns, number)->older = *pending;
        if (*pending)
            arrow_of(spawns, *pending)->newer = number;
        *pending = number;
    }
    return number;
}

/* Takes the arrow out of its list, if it is in one. */
static void unlist_arrow(struct spawn_arrows *spawns, struct spawn_arrow *arrow)
{
    if (!arrow->pending)
        return;
    if (arrow->newer)
        arrow_of(spawns, arrow->newer)->older = arrow->older;
    else
        *arrow->pending = arrow->older;
    if (arrow->older)
        arrow_of(spawns, arrow->older)->newer = arrow->newer;
    arrow->pending = NULL;
}

static void emit_arrow(struct spawn_arrows *spawns, const struct spawn_arrow *arrow)
{
    struct flow_event event = { .ns = arrow->start_ns, .flow = ++*spawns->last_id, .thread = arrow->start_thread,
                                .function = arrow->function, .phase = FLOW_START, .origin = FLOW_OF_CREATION };
    spawns->n_arrows++;
    if (!spawns->sink->flow_event)
        return;
    spawns->sink->flow_event(spawns->sink, &event);
    event.ns = arrow->end_ns;
    event.thread = arrow->end_thread;
    event.phase = FLOW_END;
    spawns->sink->flow_event(spawns->sink, &event);
}

void spawn_arrows_end(struct spawn_arrows *spawns, uint32_t number, uint32_t thread, uint64_t ns)
{
    struct spawn_arrow *arrow = arrow_of(spawns, number);
    arrow->end_ns = ns;
    arrow->end_thread = thread;
    if (arrow->pending)
        return;
    if (!arrow->is_pruned)
        emit_arrow(spawns, arrow);
    release_arrow(spawns, number);
}

void spawn_arrows_discard(struct spawn_arrows *spawns, uint32_t number)
{
    unlist_arrow(spawns, arrow_of(spawns, number));
    release_arrow(spawns, number);
}

void spawn_arrows_decide(struct spawn_arrows *spawns, uint32_t *pending, uint64_t since_ns, bool is_retained)
{
    while (*pending && arrow_of(spawns, *pending)->start_ns > since_ns) {
        uint32_t number = *pending;
        struct spawn_arrow *arrow = arrow_of(spawns, number);
        unlist_arrow(spawns, arrow);
        arrow->is_pruned = !is_retained;
        if (arrow->end_ns && is_retained)
            emit_arrow(spawns, arrow);
        if (arrow->end_ns)
            release_arrow(spawns, number);
    }
}
