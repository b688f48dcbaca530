/* A pool, so that a frame's chain keeps a small number. The undecided ones of a track are a list, newest first: those
 * of the innermost slices come first, so each decision takes them from its begin. */
#include "creations.h"

#include <stdlib.h>

struct creation {
    uint64_t ns;
    uint64_t run_ns;                    /* the point in the first slice; 0 until that stays */
    uint32_t *undecided;                /* the list that it is in; NULL: it is decided */
    uint32_t newer, older;              /* in the list, 0 = none; older: also the next vacant one */
    uint32_t thread, run_thread;
    uint32_t function;
    bool is_gone;                       /* the slice is not in the trace */
};

void creations_init(struct creations *creations, struct sink *sink, uint64_t *last_id)
{
    *creations = (struct creations){ .sink = sink, .last_id = last_id };
}

void creations_clear(struct creations *creations)
{
    free(creations->pool);
    creations->pool = NULL;
    creations->n = creations->capacity = creations->n_alive = 0;
    creations->vacant = 0;
}

static struct creation *at(const struct creations *creations, uint32_t creation)
{
    return &creations->pool[creation - 1];
}

static uint32_t take(struct creations *creations)
{
    uint32_t creation = creations->vacant;
    if (creation) {
        creations->vacant = at(creations, creation)->older;
    } else {
        if (creations->n == creations->capacity) {
            size_t capacity = creations->capacity ? 2 * creations->capacity : 64;
            struct creation *pool = realloc(creations->pool, capacity * sizeof *pool);
            if (!pool)
                return 0;
            creations->pool = pool;
            creations->capacity = capacity;
        }
        creation = (uint32_t)++creations->n;
    }
    creations->n_alive++;
    return creation;
}

static void release(struct creations *creations, uint32_t creation)
{
    at(creations, creation)->older = creations->vacant;
    creations->vacant = creation;
    creations->n_alive--;
}

uint32_t creations_add(struct creations *creations, uint32_t *undecided, uint32_t thread, uint32_t function,
                       uint64_t ns)
{
    uint32_t creation = take(creations);
    if (creation == 0)
        return 0;
    *at(creations, creation) = (struct creation){ .ns = ns, .undecided = undecided, .thread = thread,
                                                  .function = function };
    if (undecided) {
        at(creations, creation)->older = *undecided;
        if (*undecided)
            at(creations, *undecided)->newer = creation;
        *undecided = creation;
    }
    return creation;
}

/* Takes it from its list, if it is in one. */
static void unlist(struct creations *creations, struct creation *one)
{
    if (!one->undecided)
        return;
    if (one->newer)
        at(creations, one->newer)->older = one->older;
    else
        *one->undecided = one->older;
    if (one->older)
        at(creations, one->older)->newer = one->newer;
    one->undecided = NULL;
}

static void draw(struct creations *creations, const struct creation *one)
{
    struct point point = { .ns = one->ns, .chain = ++*creations->last_id, .thread = one->thread,
                           .function = one->function, .phase = POINT_FIRST, .is_creation = true };
    creations->n_arrows++;
    creations->sink->point(creations->sink, &point);
    point.ns = one->run_ns;
    point.thread = one->run_thread;
    point.phase = POINT_LAST;
    creations->sink->point(creations->sink, &point);
}

void creations_run(struct creations *creations, uint32_t creation, uint32_t thread, uint64_t ns)
{
    struct creation *one = at(creations, creation);
    one->run_ns = ns;
    one->run_thread = thread;
    if (one->undecided)
        return;
    if (!one->is_gone)
        draw(creations, one);
    release(creations, creation);
}

void creations_drop(struct creations *creations, uint32_t creation)
{
    unlist(creations, at(creations, creation));
    release(creations, creation);
}

void creations_decide(struct creations *creations, uint32_t *undecided, uint64_t since_ns, bool stays)
{
    while (*undecided && at(creations, *undecided)->ns > since_ns) {
        uint32_t creation = *undecided;
        struct creation *one = at(creations, creation);
        unlist(creations, one);
        one->is_gone = !stays;
        if (one->run_ns && stays)
            draw(creations, one);
        if (one->run_ns)
            release(creations, creation);
    }
}
