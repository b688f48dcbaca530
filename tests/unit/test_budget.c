/* The budget, with a simulated program: it has its own clock, calls functions, and obeys orders as the recorder does.
 * This file stands in for cpu_clock.c and thread_buffer.c: the program's CPU time and its chunks are simulated. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder/budget.h"
#include "recorder/cpu_clock.h"
#include "recorder/thread_buffer.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

enum {
    THREADS = 8, MAX_DEPTH = 256, FUNCTIONS = 4096,
    EVENT_NS = 60, ORDER_NS = 2000, LOOK_NS = 3000,
    REQUEST_DELAY = 50000,              /* ns from a request to the call with the recording lock */
    DRAIN_DELAY = 300000,               /* ... from a full chunk until it is read */
    MAX_MS = 60000                      /* the longest program */
};

struct open_frame {
    uint32_t function;
    bool is_recorded;                       /* its exit is recorded */
};

struct thread {
    struct pnr_record records[PNR_BLOCK_RECORDS], read[PNR_BLOCK_RECORDS];
    struct pnr_block_header header, read_header;
    uint32_t n, limit;
    bool has_chunk;
    uint64_t read_at;                   /* when what is in `read` is read by the drain; 0: nothing is */
    struct open_frame frames[MAX_DEPTH];
    uint32_t depth;
};

static struct {
    uint64_t now;                       /* ns, of the one processor that all threads share; ticks are the same */
    struct thread threads[THREADS];
    struct thread *thread;              /* that runs */
    uint32_t later;                     /* records of a chunk */
    void (*on_full)(void);
    uint64_t n_events;
    uint64_t request_at, tick_at, look_at;
    bool is_muted[FUNCTIONS], is_c_muted[FUNCTIONS], is_in_window;
    uint32_t n_muted_calls;
    uint64_t n_mutes[FUNCTIONS], n_admits[FUNCTIONS], n_windows;
    uint64_t n_calls[FUNCTIONS], n_recorded[FUNCTIONS];
    double cost[MAX_MS];                /* ns in each millisecond */
} sim;

/* ---- what stands in for other modules ---- */

uint64_t rec_cpu_clock_program(void) { return sim.now + 5 * SECOND; }
void rec_cpu_clock_exclude(void) { }

uint64_t rec_buffer_count_all(void) { return sim.n_events; }
struct rec_buffer_counts rec_buffer_count(void) { return (struct rec_buffer_counts){ .n_threads = 1 }; }

void rec_buffer_limit(uint32_t present, uint32_t later, void (*on_full)(void))
{
    sim.later = later;
    sim.on_full = on_full;
    for (int i = 0; i < THREADS; i++)
        if (sim.threads[i].has_chunk && sim.threads[i].limit - sim.threads[i].n > present)
            sim.threads[i].limit = sim.threads[i].n + present;
}

/* ---- the simulated recorder ---- */

static void spend(double ns)
{
    cr_assert_lt(sim.now / MS, MAX_MS);
    sim.cost[sim.now / MS] += ns;
    sim.now += (uint64_t)ns;
}

static void read_due(struct thread *thread)
{
    if (!thread->read_at || sim.now < thread->read_at)
        return;
    thread->read_at = 0;
    rec_budget_read(&thread->read_header, thread->read, thread->read_header.n_records);
    rec_budget_tick();
}

static void submit(struct thread *thread)
{
    if (!thread->has_chunk)
        return;
    if (thread->read_at) {              /* the drain is behind: the thread waits for it */
        sim.now = sim.now > thread->read_at ? sim.now : thread->read_at;
        read_due(thread);
    }
    thread->read_header = thread->header;
    thread->read_header.n_records = thread->n;
    memcpy(thread->read, thread->records, thread->n * sizeof *thread->read);
    thread->read_at = sim.now + DRAIN_DELAY;
    thread->has_chunk = false;
}

static void store(struct thread *thread, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    thread->records[thread->n++] = pnr_record_make(sim.now - thread->header.begin.ticks, kind, frame, function);
}

static uint32_t list_open(struct thread *thread)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < thread->depth; i++) {
        if (thread->frames[i].is_recorded) {
            store(thread, PNR_OPEN, 0, thread->frames[i].function);
            n++;
        }
    }
    return n;
}

static void ensure_chunk(struct thread *thread)
{
    if (thread->has_chunk && thread->n < thread->limit)
        return;
    if (thread->has_chunk && sim.on_full)
        sim.on_full();
    uint32_t sequence = thread->has_chunk || thread->read_at || thread->header.thread ? thread->header.sequence + 1 : 0;
    submit(thread);
    thread->header = (struct pnr_block_header){ .thread = (uint32_t)(thread - sim.threads) + 1, .sequence = sequence,
                                                .begin.ticks = sim.now };
    thread->n = 0;
    thread->header.n_open = list_open(thread);
    thread->limit = thread->n + sim.later < PNR_BLOCK_RECORDS ? thread->n + sim.later : PNR_BLOCK_RECORDS;
    thread->has_chunk = true;
}

static void record(enum pnr_kind kind, uint32_t function)
{
    ensure_chunk(sim.thread);
    store(sim.thread, kind, 0, function);
    sim.n_events++;
    spend(EVENT_NS);
}

/* Makes the innermost frames that are recorded from now on known. */
static void reveal_frames(void)
{
    for (int i = 0; i < THREADS; i++) {
        struct thread *thread = &sim.threads[i];
        bool is_new = false;
        for (uint32_t k = thread->depth; k-- > 0 && !thread->frames[k].is_recorded;) {
            thread->frames[k].is_recorded = sim.is_in_window || !sim.is_muted[thread->frames[k].function];
            is_new |= thread->frames[k].is_recorded;
        }
        if (!is_new || !thread->has_chunk)
            continue;
        if (thread->limit - thread->n < thread->depth + 1) {
            thread->limit = thread->n;
            continue;
        }
        store(thread, PNR_SWITCH, PNR_SWITCH_OPEN, 0);
        sim.n_events++;
        list_open(thread);
    }
}

static void carry_out(struct rec_order order)
{
    switch (order.kind) {
    case REC_ORDER_MUTE: case REC_ORDER_ADMIT:
        cr_expect_neq(sim.is_muted[order.function], order.kind == REC_ORDER_MUTE, "an order that changes nothing");
        sim.is_muted[order.function] = order.kind == REC_ORDER_MUTE;
        (order.kind == REC_ORDER_MUTE ? sim.n_mutes : sim.n_admits)[order.function]++;
        break;
    case REC_ORDER_MUTE_C: case REC_ORDER_ADMIT_C:
        sim.is_c_muted[order.function] = order.kind == REC_ORDER_MUTE_C;
        break;
    default:
        cr_expect_neq(sim.is_in_window, order.kind == REC_ORDER_WINDOW);
        sim.is_in_window = order.kind == REC_ORDER_WINDOW;
        sim.n_windows += sim.is_in_window;
    }
    if (order.kind == REC_ORDER_ADMIT || order.kind == REC_ORDER_WINDOW)
        reveal_frames();
    spend(ORDER_NS);
    rec_budget_add_cost(ORDER_NS);
    rec_budget_applied(order, sim.now);
}

static void request(void)
{
    sim.request_at = sim.now + REQUEST_DELAY;
}

static void answer_request(void)
{
    struct rec_order order;
    uint64_t cpu_ns;
    uint32_t cost_ns;
    sim.request_at = 0;
    spend(LOOK_NS);
    rec_budget_add_cost(LOOK_NS);
    while (rec_budget_take(&order))
        carry_out(order);
    if (rec_budget_is_cost_due())
        rec_budget_take_cost(&cpu_ns, &cost_ns);
}

/* What the recorder does meanwhile. */
static void run_others(void)
{
    for (int i = 0; i < THREADS; i++)
        read_due(&sim.threads[i]);
    if (sim.now >= sim.tick_at) {
        sim.tick_at = sim.now + 10 * MS;
        rec_budget_tick();
    }
    if (sim.request_at && sim.now >= sim.request_at)
        answer_request();
}

/* ---- the simulated program ---- */

static void work(uint64_t ns)
{
    sim.now += ns;
    run_others();
}

static void call(uint32_t function)
{
    run_others();
    bool is_recorded = sim.is_in_window || !sim.is_muted[function];
    sim.n_calls[function]++;
    sim.n_recorded[function] += is_recorded;
    if (is_recorded)
        record(PNR_CALL, function);
    sim.thread->frames[sim.thread->depth++] = (struct open_frame){ function, is_recorded };
}

static void leave(enum pnr_kind kind)
{
    struct open_frame frame = sim.thread->frames[sim.thread->depth - 1];
    if (frame.is_recorded)
        record(kind, frame.function);
    sim.thread->depth--;
}

static void begin_with_share(double share)
{
    struct pnr_err err;
    memset(&sim, 0, sizeof sim);
    sim.thread = sim.threads;
    cr_assert_eq(rec_budget_start(&(struct rec_budget_options){ share, EVENT_NS, request }, &err), 0);
    call(1);                            /* what runs all the time */
}

static struct rec_budget_totals end_of_program(void)
{
    struct rec_budget_totals totals;
    for (int i = 0; i < THREADS; i++) {
        submit(&sim.threads[i]);
        sim.threads[i].read_at = sim.threads[i].read_at ? 1 : 0;
        read_due(&sim.threads[i]);
    }
    rec_budget_stop(&totals);
    cr_expect_eq(totals.n_events, sim.n_events);
    return totals;
}

/* The highest cost in any `length` ms after the first second, as a share of that time. */
static double worst(uint64_t length)
{
    double sum = 0, max = 0;
    for (uint64_t i = 1000; i < sim.now / MS; i++) {
        sum += sim.cost[i];
        if (i >= 1000 + length)
            sum -= sim.cost[i - length];
        if (i + 1 >= 1000 + length && sum > max)
            max = sum;
    }
    return max / (double)(length * MS);
}

static double mean_cost(void)
{
    double sum = 0;
    for (uint64_t i = 0; i < sim.now / MS; i++)
        sum += sim.cost[i];
    return sum / (double)sim.now;
}

static void expect_within(double share)
{
    if (getenv("BUDGET_TEST_PRINT"))
        fprintf(stderr, "share %.3f: mean %.4f, worst second %.2f, worst 100 ms %.2f budgets, %d windows\n", share,
                mean_cost(), worst(1000) / share, worst(100) / share, (int)sim.n_windows);
    cr_expect_leq(worst(1000), 1.1 * share, "%.4f", worst(1000));
    cr_expect_leq(worst(100), 3 * share, "%.4f", worst(100));
}

static const double shares[] = { 0.01, 0.03, 0.05 };
#define FOR_EACH_SHARE(share) \
    for (const double *each = shares; each < shares + 3; each++) \
        for (double share = (begin_with_share(*each), *each), *once = &share; once; once = NULL)

static void fib(int n)
{
    call(2);
    work(30);
    if (n > 1) {
        fib(n - 1);
        fib(n - 2);
    }
    leave(PNR_RETURN);
}

Test(budget, mutes_what_recurses)
{
    FOR_EACH_SHARE(share) {
        while (sim.now < 4 * SECOND)
            fib(15);
        expect_within(share);
        cr_expect(sim.is_muted[2]);
        cr_expect_not(sim.is_muted[1]);
        struct rec_budget_totals totals = end_of_program();
        cr_expect_eq(totals.n_muted, 1);
        double hidden = 1 - (double)sim.n_recorded[2] / (double)sim.n_calls[2];
        cr_expect_float_eq(totals.hidden_share, hidden, 0.1 * hidden, "%f %f", totals.hidden_share, hidden);
    }
}
