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
    uint64_t request_delay;             /* ns from a request to the call with the recording lock */
    uint64_t drain_delay;               /* ... from a full chunk until it is read */
    uint32_t later;                     /* records of a chunk */
    void (*on_full)(void);
    uint64_t n_events;
    double given_ns;                     /* what an event costs, as the budget has it */
    uint64_t request_at, tick_at, look_at;
    bool is_muted[FUNCTIONS], is_c_muted[FUNCTIONS], is_in_window;
    bool loses_orders;
    uint64_t n_quiet;                   /* answers for which the drain is not woken */
    uint64_t n_mutes[FUNCTIONS], n_admits[FUNCTIONS], n_windows;
    uint64_t n_calls[FUNCTIONS], n_recorded[FUNCTIONS];
    double cost[MAX_MS];                /* ns in each millisecond */
} sim;

/* ---- what stands in for other modules ---- */

uint64_t rec_cpu_clock_program(void) { return sim.now + 5 * SECOND; }
void rec_cpu_clock_exclude(void) { }
uint64_t rec_cpu_clock_moment(void) { return sim.now + 5 * SECOND; }

uint64_t rec_buffer_count_all(void) { return sim.n_events; }
struct rec_buffer_counts rec_buffer_count(void) { return (struct rec_buffer_counts){ .n_threads = 1 }; }

void rec_buffer_limit(uint32_t n, void (*on_full)(void))
{
    sim.later = n;
    sim.on_full = on_full;
}

void rec_buffer_limit_present(uint32_t n)
{
    for (int i = 0; i < THREADS; i++)
        if (sim.threads[i].has_chunk && sim.threads[i].limit > sim.threads[i].n)
            sim.threads[i].limit = sim.threads[i].n + n < PNR_BLOCK_RECORDS ? sim.threads[i].n + n : PNR_BLOCK_RECORDS;
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
    thread->read_at = sim.now + sim.drain_delay;
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
        if (sim.loses_orders)
            return;
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

static void correct(double event_ns)
{
    sim.given_ns = event_ns;
}

static void request(void)
{
    sim.request_at = sim.now + sim.request_delay;
}

static void answer_request(void)
{
    struct rec_order order;
    uint64_t cpu_ns;
    uint32_t cost_ns;
    sim.request_at = 0;
    spend(LOOK_NS);
    rec_budget_add_cost(LOOK_NS);
    bool has_order = false;
    for (; rec_budget_take(&order); has_order = true)
        carry_out(order);
    if (rec_budget_is_cost_due())
        rec_budget_take_cost(&cpu_ns, &cost_ns);
    bool is_awaited = rec_budget_is_awaited();
    cr_expect(is_awaited || !has_order);
    sim.n_quiet += !is_awaited;
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

static void begin(double share, double given_ns)
{
    struct pnr_err err;
    memset(&sim, 0, sizeof sim);
    sim.thread = sim.threads;
    sim.request_delay = 50 * US;
    sim.drain_delay = 300 * US;
    sim.given_ns = given_ns;
    cr_assert_eq(rec_budget_start(&(struct rec_budget_options){ share, given_ns, request, correct }, &err), 0);
    call(1);                            /* what runs all the time */
}

static void begin_with_share(double share)
{
    begin(share, EVENT_NS);
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

static double hidden_share(const struct rec_budget_totals *totals)
{
    return (double)totals->n_calls_hidden / (double)totals->n_calls;
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
    work(100);
    if (n > 1) {
        fib(n - 1);
        fib(n - 2);
    }
    leave(PNR_RETURN);
}

Test(budget, mutes_what_recurses)
{
    FOR_EACH_SHARE(share) {
        while (sim.now < 3 * SECOND)
            fib(15);
        expect_within(share);
        cr_expect(sim.is_muted[2]);
        cr_expect_not(sim.is_muted[1]);
        struct rec_budget_totals totals = end_of_program();
        cr_expect_eq(totals.n_muted, 1);
        double hidden = 1 - (double)sim.n_recorded[2] / (double)sim.n_calls[2];
        cr_expect_float_eq(hidden_share(&totals), hidden, 0.05 * hidden, "%f %f", hidden_share(&totals), hidden);
    }
}

static void call_for(uint32_t function, uint64_t ns)
{
    call(function);
    work(ns);
    leave(PNR_RETURN);
}

/* A program of phases: another leaf is hot in each, and one function is called in all of them. */
static void run_phase(uint32_t leaf, uint64_t end)
{
    while (sim.now < end) {
        call(10);
        for (int i = 0; i < 50; i++)
            call_for(leaf, 200);
        work(20 * US);
        leave(PNR_RETURN);
    }
}

Test(budget, admits_after_a_phase)
{
    FOR_EACH_SHARE(share) {
        for (uint32_t phase = 0; phase < 6; phase++) {
            run_phase(20 + phase % 2, (phase + 1) * SECOND);
            cr_expect(sim.is_muted[20 + phase % 2], "phase %u", phase);
        }
        expect_within(share);
        while (sim.now < 8 * SECOND)    /* little happens */
            call_for(30, 500 * US);
        cr_expect_not(sim.is_muted[10]);
        cr_expect_not(sim.is_muted[20]);
        cr_expect_not(sim.is_muted[21]);
        end_of_program();
    }
}

/* Two hundred functions whose calls have these lengths, each as often as the others. Gives how many pairs there are on
 * average of which one is muted and the other, clearly shorter, is not. shortest, step: ns. */
static double count_wrong_pairs(double share, uint64_t shortest, uint64_t step)
{
    enum { FIRST = 100, N = 200 };
    uint64_t n_wrong = 0, n_looks = 0;
    for (uint32_t i = 0; sim.now < 8 * SECOND; i++) {
        call_for(FIRST + i * 7919 % N, shortest + i * 7919 % N * step);
        if (i % 20000 || sim.now < 2 * SECOND)
            continue;
        n_looks++;
        for (uint32_t f = 0; f < N; f++)
            for (uint32_t g = 0;
                 sim.is_muted[FIRST + f] && (shortest + g * step) * 13 < (shortest + f * step) * 10; g++)
                n_wrong += !sim.is_muted[FIRST + g];
    }
    if (getenv("BUDGET_TEST_PRINT"))
        fprintf(stderr, "share %.3f: %.2f pairs wrong\n", share, (double)n_wrong / (double)n_looks);
    expect_within(share);
    return (double)n_wrong / (double)n_looks;
}

Test(budget, mutes_the_shortest)
{
    FOR_EACH_SHARE(share) {
        cr_expect_leq(count_wrong_pairs(share, 100, 20), 50, "of 17,000");
        end_of_program();
    }
}

/* Functions of 5 to 45 us, and a budget for a fifth of them. */
Test(budget, keeps_what_lasts)
{
    begin_with_share(0.001);
    cr_expect_leq(count_wrong_pairs(0.001, 5 * US, 200), 1, "of 17,000");
    end_of_program();
}

/* Imports: 1,500 functions that are called a few times each, and then a program that is cheap. */
Test(budget, has_credit_for_imports)
{
    begin_with_share(0.03);
    uint32_t n = 0;
    for (uint32_t i = 0; sim.now < 400 * MS; i++)
        call_for(100 + i * 2654435761u % 1500, 500 + i % 13 * 100);
    for (uint32_t f = 0; f < FUNCTIONS; f++)
        n += sim.n_mutes[f] > 0;
    cr_expect_eq(n, 0, "%u", n);
    while (sim.now < 3 * SECOND)
        call_for(50, 10 * US);
    expect_within(0.03);
    cr_expect_not(sim.is_muted[50], "1.2 %%");
    end_of_program();
}

/* An order that was lost is given again. */
Test(budget, reminds_of_orders)
{
    begin_with_share(0.03);
    sim.loses_orders = true;
    run_phase(20, 500 * MS);
    cr_expect_not(sim.is_muted[20]);
    sim.loses_orders = false;
    run_phase(20, 3 * SECOND);
    cr_expect(sim.is_muted[20]);
    end_of_program();
}

/* The drain and the calls with the recording lock come late, because the processors are busy. */
Test(budget, bears_delays)
{
    FOR_EACH_SHARE(share) {
        sim.request_delay = 3 * MS;
        sim.drain_delay = 2 * MS;
        for (uint32_t phase = 0; phase < 5; phase++)
            run_phase(20 + phase, (phase + 1) * SECOND);
        expect_within(share);
        end_of_program();
    }
}

/* The phases of this program are shorter than what sums are made of. */
Test(budget, bears_short_phases)
{
    FOR_EACH_SHARE(share) {
        for (uint32_t phase = 0; sim.now < 6 * SECOND; phase++)
            run_phase(20 + phase % 5, (phase + 1) * 40 * MS);
        expect_within(share);
        end_of_program();
    }
}

/* Of a program that runs the drain is woken for answers to orders alone: it looks again by itself. One that waits wakes it. */
Test(budget, wakes_the_drain_only_when_it_waits)
{
    begin_with_share(0.03);
    run_phase(20, 2 * SECOND);
    cr_expect(sim.is_muted[20]);
    cr_expect_gt(sim.n_quiet, 50);
    uint64_t n_quiet = sim.n_quiet;
    for (int i = 0; i < 101; i++)       /* ticks without CPU time */
        rec_budget_tick();
    work(20 * US);
    cr_expect_eq(sim.n_quiet, n_quiet);
    end_of_program();
}

/* All is recorded from the first call on when the program wakes. */
Test(budget, admits_all_when_it_is_idle)
{
    begin_with_share(0.03);
    run_phase(20, 2 * SECOND);
    while (sim.now < 2100 * MS)
        call_for(21, 100 * US);
    cr_expect(sim.is_muted[20], "hold-off");
    for (int i = 0; i < 101; i++)       /* ticks without CPU time */
        rec_budget_tick();
    cr_expect_eq(rec_budget_tick_wait(), UINT64_MAX);
    work(MS);
    cr_expect_not(sim.is_muted[20]);
    end_of_program();
}

/* The mean decides, not what a call takes most often: one in a thousand lasts 200 us. */
Test(budget, clips_and_takes_the_mean)
{
    begin_with_share(0.03);
    for (uint32_t i = 0; sim.now < 5 * SECOND; i++) {
        call_for(40, i % 400 ? 300 : 900 * US); /* 2.5 us on average, 0.55 when clipped */
        call_for(41, 1500);
        call_for(42, i % 50 ? 300 : 90 * US);   /* 2.1 us */
    }
    cr_expect(sim.is_muted[40]);
    cr_expect(sim.n_mutes[41] >= sim.n_mutes[42]);
    expect_within(0.03);
    end_of_program();
}

Test(budget, mutes_generators)
{
    begin_with_share(0.03);
    while (sim.now < 4 * SECOND) {
        call(60);
        for (int i = 0; i < 100; i++) {
            bool is_recorded = sim.is_in_window || !sim.is_muted[61];
            run_others();
            if (is_recorded)
                record(i ? PNR_RESUME : PNR_START, 61);
            sim.thread->frames[sim.thread->depth++] = (struct open_frame){ 61, is_recorded };
            work(100);
            leave(i < 99 ? PNR_YIELD : PNR_FINISH);
            work(100);
        }
        work(50 * US);
        leave(PNR_RETURN);
    }
    cr_expect(sim.is_muted[61]);
    cr_expect_not(sim.is_muted[60]);
    expect_within(0.03);
    end_of_program();
}

Test(budget, counts_exceptions)
{
    begin_with_share(0.03);
    while (sim.now < 4 * SECOND) {
        call(70);
        call(71);
        call(72);
        work(200);
        leave(PNR_UNWIND);
        leave(PNR_UNWIND);
        work(30 * US);
        leave(PNR_RETURN);
    }
    expect_within(0.03);
    end_of_program();
}

/* Eight threads in turn, 5 ms each. */
Test(budget, adds_up_threads)
{
    FOR_EACH_SHARE(share) {
        for (int i = 1; i < THREADS; i++) {
            sim.thread = &sim.threads[i];
            call(1);
        }
        while (sim.now < 5 * SECOND) {
            sim.thread = &sim.threads[sim.now / (5 * MS) % THREADS];
            call(80);
            for (int i = 0; i < 20; i++)
                call_for(81, 300);
            work(10 * US);
            leave(PNR_RETURN);
        }
        cr_expect(sim.is_muted[81]);
        expect_within(share);
        end_of_program();
    }
}

static void call_c(uint32_t function)
{
    struct open_frame frame = sim.thread->frames[sim.thread->depth - 1];
    run_others();
    if (sim.is_in_window || (!sim.is_muted[frame.function] && !sim.is_c_muted[frame.function])) {
        record(PNR_C_CALL, function);
        record(PNR_C_RETURN, function);
    }
}

Test(budget, mutes_c_calls_first)
{
    begin_with_share(0.03);
    uint64_t n_c_calls = 0;
    while (sim.now < 4 * SECOND) {
        call(90);
        for (int i = 0; i < 30; i++, n_c_calls++) {
            work(100);
            call_c(91);
        }
        leave(PNR_RETURN);
        call_for(92, 8 * US);
    }
    cr_expect(sim.is_c_muted[90]);
    cr_expect_not(sim.is_muted[90]);
    cr_expect_not(sim.is_muted[92]);
    expect_within(0.03);
    struct rec_budget_totals totals = end_of_program();
    double hidden = 1 - (double)(totals.n_calls - totals.n_calls_hidden) / (double)n_c_calls;
    cr_expect_eq(totals.n_muted, 1);
    cr_expect_float_eq(hidden_share(&totals), hidden, 0.1, "%f %f", hidden_share(&totals), hidden);
}

Test(budget, mutes_nothing_with_an_endless_budget)
{
    begin_with_share(10);
    while (sim.now < 1500 * MS)
        fib(12);
    for (uint32_t f = 0; f < FUNCTIONS; f++)
        cr_expect_eq(sim.n_mutes[f], 0);
    cr_expect_eq(sim.n_windows, 0);
    cr_expect_eq(sim.n_calls[2], sim.n_recorded[2]);
    struct rec_budget_totals totals = end_of_program();
    cr_expect_eq(totals.n_muted, 0);
    cr_expect_eq(totals.n_calls_hidden, 0);
}

/* A function of medium length that calls tiny ones, which are muted: it lasts longer in windows. */
static void run_medium(int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t medium = 10 + (uint32_t)i % 5;
        call(medium);
        for (int k = 0; k < 20; k++) {
            call(2);
            work(200);
            leave(PNR_RETURN);
        }
        work(2000);
        leave(PNR_RETURN);
    }
}

Test(budget, corrects_the_cost_of_an_event)
{
    for (double given_ns = EVENT_NS / 2; given_ns <= 2 * EVENT_NS; given_ns *= 2) {
        begin(0.03, given_ns);
        run_medium(1000000);
        end_of_program();
        cr_expect_gt(sim.n_windows, 50);
        cr_expect_geq(sim.given_ns, 0.85 * EVENT_NS, "%.1f of %.1f", sim.given_ns, given_ns);
        cr_expect_leq(sim.given_ns, 1.15 * EVENT_NS, "%.1f of %.1f", sim.given_ns, given_ns);
    }
}

Test(budget, corrects_within_bounds)
{
    const double given_ns = EVENT_NS / 6.0;
    begin(0.01, given_ns);
    run_medium(1000000);
    end_of_program();
    cr_expect_gt(sim.n_windows, 20);
    cr_expect_geq(sim.given_ns, 1.5 * given_ns, "%.1f", sim.given_ns);
    cr_expect_leq(sim.given_ns, 2 * given_ns, "%.1f", sim.given_ns);
}
