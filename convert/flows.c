/* The chains are found by frame identity in a table with open addressing; a chain that ends is taken out by moving
 * those behind it up, so there are no tombstones and lookups stay short over days. */
#include "flows.h"

#include <stdlib.h>
#include <sys/random.h>

#include "format/names.h"

struct flows_chain {
    uint64_t frame;                     /* 0 = empty place */
    uint64_t id;                        /* 0 until the second slice that stays */
    uint64_t point_ns;                  /* the point held back; 0 until the first slice that stays */
    uint64_t begin_ns;                  /* of the latest slice, whether it stays or not */
    uint64_t end_ns;                    /* of the latest slice that stays; 0 while that runs */
    uint32_t thread;                    /* of the point */
    uint32_t begin_thread;
    uint32_t function;
};

void flows_init(struct flows *flows, struct sink *sink, unsigned kinds)
{
    *flows = (struct flows){ .sink = sink, .kinds = kinds };
    if (getrandom(&flows->secret, sizeof flows->secret, GRND_NONBLOCK) < 0)
        flows->secret = (uintptr_t)flows;
}

void flows_clear(struct flows *flows)
{
    free(flows->table);
    flows->table = NULL;
    flows->n = flows->capacity = 0;
}

void flows_process(struct flows *flows, const struct symbols *symbols)
{
    flows->symbols = symbols;
    flows->n_left_out = 0;
}

/* Frames lie some hundred bytes apart: the multiplications spread them, and the high bits are the good ones. Without
 * the secret a capture could bring frames that all have the same place, and each would be looked for among all
 * others. */
static size_t home(const struct flows *flows, uint64_t frame)
{
    frame = (frame ^ flows->secret) * (flows->secret | 1);
    frame = (frame ^ frame >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(frame >> 32) & (flows->capacity - 1);
}

/* The place of the frame, or the empty one where it belongs; NULL for an empty table. */
static struct flows_chain *find(const struct flows *flows, uint64_t frame)
{
    if (flows->capacity == 0)
        return NULL;
    size_t i = home(flows, frame);
    while (flows->table[i].frame && flows->table[i].frame != frame)
        i = (i + 1) & (flows->capacity - 1);
    return &flows->table[i];
}

static int grow(struct flows *flows)
{
    struct flows old = *flows;
    size_t capacity = old.capacity ? old.capacity * 2 : 256;
    struct flows_chain *table = calloc(capacity, sizeof *table);
    if (!table)
        return -1;
    flows->table = table;
    flows->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.table[i].frame)
            *find(flows, old.table[i].frame) = old.table[i];
    }
    free(old.table);
    return 0;
}

static struct flows_chain *add(struct flows *flows, uint64_t frame)
{
    if (flows->n == FLOWS_MAX) {
        flows->n_left_out++;
        return NULL;
    }
    if (flows->n * 4 >= flows->capacity * 3 && grow(flows) < 0) {
        flows->is_out_of_memory = true;
        return NULL;
    }
    struct flows_chain *chain = find(flows, frame);
    flows->n++;
    *chain = (struct flows_chain){ .frame = frame };
    return chain;
}

static void take_out(struct flows *flows, struct flows_chain *chain)
{
    size_t mask = flows->capacity - 1, hole = (size_t)(chain - flows->table);
    for (size_t i = (hole + 1) & mask; flows->table[i].frame; i = (i + 1) & mask) {
        size_t wanted = home(flows, flows->table[i].frame);
        if (((i - wanted) & mask) >= ((i - hole) & mask)) {
            flows->table[hole] = flows->table[i];
            hole = i;
        }
    }
    flows->table[hole].frame = 0;
    flows->n--;
}

/* Writes the point held back. */
static void write_point(struct flows *flows, const struct flows_chain *chain, enum point_phase phase)
{
    struct point point = { chain->point_ns, chain->id, chain->thread, chain->function, phase };
    flows->sink->point(flows->sink, &point);
}

static void end_chain(struct flows *flows, const struct flows_chain *chain)
{
    if (chain->id)
        write_point(flows, chain, POINT_LAST);
}

static bool is_wanted(const struct flows *flows, uint32_t function, uint64_t frame)
{
    const struct symbol *symbol = symbols_function(flows->symbols, function);
    return frame && symbol && symbol->kind < 32 && (flows->kinds >> symbol->kind & 1);
}

/* The chain's latest slice stays: the point held back is not the last one, but that slice's may be. */
static void go_on(struct flows *flows, struct flows_chain *chain)
{
    bool is_suspended = chain->end_ns && chain->begin_ns > chain->end_ns;
    if (flows->sink->run)
        flows->sink->run(flows->sink, chain->function, chain->point_ns == 0,
                         is_suspended ? chain->begin_ns - chain->end_ns : 0);
    if (chain->id) {
        write_point(flows, chain, POINT_MIDDLE);
    } else if (chain->point_ns) {
        chain->id = ++flows->n_chains;
        write_point(flows, chain, POINT_FIRST);
    }
    chain->thread = chain->begin_thread;
    chain->point_ns = chain->begin_ns + 1;
    chain->end_ns = 0;
}

uint64_t flows_enter(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, bool is_start, bool stays,
                     uint64_t begin_ns)
{
    if (!is_wanted(flows, function, frame))
        return begin_ns;
    struct flows_chain *chain = find(flows, frame);
    if (chain && chain->frame && (is_start || chain->function != function)) {
        end_chain(flows, chain);
        take_out(flows, chain);
        chain = NULL;
    }
    if (!chain || !chain->frame) {
        chain = add(flows, frame);
        if (!chain)
            return begin_ns;
        chain->function = function;
    } else if (begin_ns < chain->point_ns) {
        begin_ns = chain->point_ns;
    }
    chain->begin_thread = thread;
    chain->begin_ns = begin_ns;
    if (stays)
        go_on(flows, chain);
    return begin_ns;
}

/* The chain of the frame, or NULL. */
static struct flows_chain *find_chain(const struct flows *flows, uint32_t function, uint64_t frame)
{
    struct flows_chain *chain = is_wanted(flows, function, frame) ? find(flows, frame) : NULL;
    return chain && chain->frame && chain->function == function ? chain : NULL;
}

void flows_stay(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, uint64_t begin_ns)
{
    struct flows_chain *chain = find_chain(flows, function, frame);
    if (chain && chain->begin_thread == thread && chain->begin_ns == begin_ns)
        go_on(flows, chain);
}

void flows_leave(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, bool is_finished,
                 uint64_t begin_ns, uint64_t point_ns)
{
    struct flows_chain *chain = find_chain(flows, function, frame);
    if (!chain)
        return;
    if (is_finished) {
        end_chain(flows, chain);
        take_out(flows, chain);
    } else if (chain->thread == thread && chain->point_ns == begin_ns + 1) {
        chain->end_ns = point_ns + 1;
        if (chain->id == 0)
            chain->point_ns = point_ns; /* an arrow leaves the first slice where it ends */
    }
}

void flows_create(struct flows *flows, uint64_t frame)
{
    struct flows_chain *chain = frame ? find(flows, frame) : NULL;
    if (!chain || !chain->frame)
        return;
    end_chain(flows, chain);
    take_out(flows, chain);
}

static int by_id(const void *a, const void *b)
{
    const struct flows_chain *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

void flows_end_process(struct flows *flows)
{
    size_t n = 0;
    for (size_t i = 0; i < flows->capacity; i++)
        if (flows->table[i].frame && flows->table[i].id)
            flows->table[n++] = flows->table[i];
    if (n)
        qsort(flows->table, n, sizeof *flows->table, by_id);
    for (size_t i = 0; i < n; i++)
        end_chain(flows, &flows->table[i]);
    flows_clear(flows);
}
