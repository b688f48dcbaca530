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
    uint64_t end_ns;                    /* of the latest slice that stays, 0 while that runs; or when it was made */
    uint64_t task;                      /* 0: it is none; TASK_UNTOLD until its first slice stays */
    uint32_t thread;                    /* of the point */
    uint32_t begin_thread;
    uint32_t function;
    uint32_t creation;                  /* 0: none is known, or it needs no arrow any more */
};

#define TASK_UNTOLD UINT64_MAX

void flows_init(struct flows *flows, struct sink *sink, struct flows_choice choice)
{
    choice.has_tasks = choice.has_tasks && sink->task;
    unsigned tasks = choice.has_tasks ? 1u << PNR_FUNCTION_COROUTINE : 0;
    *flows = (struct flows){ .sink = sink, .choice = choice, .kinds = choice.chains | choice.creations | tasks };
    creations_init(&flows->creations, sink, &flows->last_id);
    if (getrandom(&flows->secret, sizeof flows->secret, GRND_NONBLOCK) < 0)
        flows->secret = (uintptr_t)flows;
}

void flows_clear(struct flows *flows)
{
    free(flows->table);
    flows->table = NULL;
    flows->n = flows->capacity = 0;
    creations_clear(&flows->creations);
}

void flows_process(struct flows *flows, const struct symbols *symbols)
{
    flows->symbols = symbols;
    flows->n_left_out = 0;
    if (flows->choice.has_tasks)
        tasks_process(&flows->tasks, symbols);
}

/* ---- the table ---- */

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

/* ---- tasks ---- */

static void tell_task(struct flows *flows, const struct flows_chain *chain, enum task_phase phase, uint64_t ns,
                      uint32_t marks)
{
    struct task_event event = { ns, chain->task, chain->thread, chain->function, phase, marks };
    flows->sink->task(flows->sink, &event);
}

/* Its latest slice has ended, if that was not told: the exit is missing, and it is taken to be 1 ns long. */
static void suspend_task(struct flows *flows, struct flows_chain *chain)
{
    if (chain->end_ns)
        return;
    chain->end_ns = chain->point_ns;
    tell_task(flows, chain, TASK_SUSPENDED, chain->end_ns, 0);
}

/* Its latest slice, which began just now, stays. */
static __attribute__((noinline)) void run_task(struct flows *flows, struct flows_chain *chain)
{
    bool is_first = chain->task == TASK_UNTOLD;
    if (is_first)
        chain->task = ++flows->n_tasks;
    else
        suspend_task(flows, chain);
    chain->thread = chain->begin_thread;
    if (is_first)
        tell_task(flows, chain, TASK_BEGIN, chain->begin_ns, 0);
    tell_task(flows, chain, TASK_RUNS, chain->begin_ns, 0);
}

/* ns: it goes on until then at least. */
static __attribute__((noinline)) void end_task(struct flows *flows, struct flows_chain *chain, uint64_t ns,
                                               uint32_t marks)
{
    if (chain->task != TASK_UNTOLD) {
        suspend_task(flows, chain);
        tell_task(flows, chain, TASK_END, ns > chain->end_ns ? ns : chain->end_ns, marks);
    }
    chain->task = 0;
}

/* ---- chains ---- */

/* Writes the point held back. */
static void write_point(struct flows *flows, const struct flows_chain *chain, enum point_phase phase)
{
    struct point point = { chain->point_ns, chain->id, chain->thread, chain->function, phase, false };
    flows->sink->point(flows->sink, &point);
}

static void drop_creation(struct flows *flows, struct flows_chain *chain)
{
    if (chain->creation)
        creations_drop(&flows->creations, chain->creation);
    chain->creation = 0;
}

static void end_chain(struct flows *flows, struct flows_chain *chain)
{
    if (chain->id)
        write_point(flows, chain, POINT_LAST);
    if (chain->task)
        end_task(flows, chain, 0, 0);
    drop_creation(flows, chain);
    take_out(flows, chain);
}

static inline __attribute__((always_inline)) bool is_among(const struct flows *flows, unsigned kinds, uint32_t function)
{
    const struct symbol *symbol = symbols_function(flows->symbols, function);
    return symbol && symbol->kind < 32 && (kinds >> symbol->kind & 1);
}

static inline bool is_wanted(const struct flows *flows, uint32_t function, uint64_t frame)
{
    return frame && is_among(flows, flows->kinds, function);
}

/* The chain's latest slice stays: the point held back is not the last one, but that slice's may be. */
static void go_on(struct flows *flows, struct flows_chain *chain)
{
    if (flows->sink->run) {
        bool is_first = chain->point_ns == 0, is_suspended = chain->end_ns && chain->begin_ns > chain->end_ns;
        flows->sink->run(flows->sink, chain->function, is_first,
                         is_suspended && !is_first ? chain->begin_ns - chain->end_ns : 0);
    }
    if (chain->id) {
        write_point(flows, chain, POINT_MIDDLE);
    } else if (chain->point_ns && is_among(flows, flows->choice.chains, chain->function)) {
        chain->id = ++flows->last_id;
        flows->n_chains++;
        write_point(flows, chain, POINT_FIRST);
    }
    if (chain->creation)
        creations_run(&flows->creations, chain->creation, chain->begin_thread, chain->begin_ns + 1);
    chain->creation = 0;
    if (chain->task)
        run_task(flows, chain);
    chain->thread = chain->begin_thread;
    chain->point_ns = chain->begin_ns + 1;
    chain->end_ns = 0;
}

/* The chain of a frame that is entered, when it may be that it had none, or only one that has ended. Returns NULL when
 * there cannot be one. */
static __attribute__((noinline)) struct flows_chain *begin_chain(struct flows *flows, struct flows_chain *chain,
                                                                 uint32_t function, uint64_t frame, unsigned how)
{
    bool is_there = chain && chain->frame, has_run = is_there && chain->begin_ns;
    if (is_there && (chain->function != function || (how & FLOWS_START && has_run))) {
        end_chain(flows, chain);
        is_there = false;
    }
    if (!is_there) {
        chain = add(flows, frame);
        if (!chain)
            return NULL;
        chain->function = function;
    } else if (has_run || !(how & FLOWS_START)) {
        drop_creation(flows, chain);    /* this is not the first slice */
    }
    if (how & FLOWS_TASK && !chain->begin_ns)
        chain->task = TASK_UNTOLD;
    return chain;
}

uint64_t flows_enter(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, unsigned how,
                     uint64_t begin_ns)
{
    if (!is_wanted(flows, function, frame))
        return begin_ns;
    struct flows_chain *chain = find(flows, frame);
    if (how & FLOWS_START || !chain || chain->frame != frame || chain->function != function || chain->creation) {
        chain = begin_chain(flows, chain, function, frame, how);
        if (!chain)
            return begin_ns;
    }
    uint64_t earliest = chain->end_ns ? chain->end_ns : chain->point_ns;
    if (begin_ns < earliest)
        begin_ns = earliest;
    chain->begin_thread = thread;
    chain->begin_ns = begin_ns;
    if (how & FLOWS_STAYS)
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
                 uint64_t begin_ns, uint64_t end_ns)
{
    struct flows_chain *chain = find_chain(flows, function, frame);
    if (!chain)
        return;
    if (chain->thread == thread && chain->point_ns == begin_ns + 1) {
        chain->end_ns = end_ns;
        if (chain->task)
            tell_task(flows, chain, TASK_SUSPENDED, end_ns, 0);
    }
    if (is_finished)
        end_chain(flows, chain);
}

void flows_end(struct flows *flows, uint64_t frame)
{
    struct flows_chain *chain = frame ? find(flows, frame) : NULL;
    if (chain && chain->frame)
        end_chain(flows, chain);
}

void flows_create(struct flows *flows, uint32_t *undecided, uint32_t thread, uint32_t function, uint64_t frame,
                  uint64_t ns)
{
    if (!frame || !is_among(flows, flows->choice.creations, function))
        return;
    if (flows->creations.n_alive == CREATIONS_MAX) {
        flows->n_left_out++;
        return;
    }
    struct flows_chain *chain = add(flows, frame);
    if (!chain)
        return;
    chain->function = function;
    chain->end_ns = ns;
    chain->creation = creations_add(&flows->creations, undecided, thread, function, ns);
    flows->is_out_of_memory |= chain->creation == 0;
}

void flows_decide(struct flows *flows, uint32_t *undecided, uint64_t begin_ns, bool stays)
{
    creations_decide(&flows->creations, undecided, begin_ns, stays);
}

static int by_id(const void *a, const void *b)
{
    const struct flows_chain *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->task < y->task ? -1 : x->task > y->task;
}

void flows_end_process(struct flows *flows, uint64_t end_ns, bool is_cut)
{
    size_t n = 0;
    for (size_t i = 0; i < flows->capacity; i++)
        if (flows->table[i].frame && (flows->table[i].id || flows->table[i].task))
            flows->table[n++] = flows->table[i];
    if (n)
        qsort(flows->table, n, sizeof *flows->table, by_id);
    for (size_t i = 0; i < n; i++) {
        struct flows_chain *chain = &flows->table[i];
        if (chain->id)
            write_point(flows, chain, POINT_LAST);
        if (chain->task)
            end_task(flows, chain, end_ns, is_cut ? SLICE_CUT : SLICE_UNFINISHED);
    }
    flows_clear(flows);
}
