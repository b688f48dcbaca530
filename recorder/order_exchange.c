#include "order_exchange.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "cpu_clock.h"
#include "thread_buffer.h"
#include "../format/array.h"

#define MS UINT64_C(1000000)

#define LOOK_NS (8 * MS)                /* of CLOCK_MONOTONIC: a call that sleeps is seen, too */
#define COST_RECORD_NS (100 * MS)
#define REPEAT_REQUEST_NS (100 * MS)

#define WINDOW_EVENTS 2000              /* after so many a window ends */
#define WINDOW_MIN_EVENTS 500           /* of one thread, when there are many */

/* What an event costs is what was measured, corrected by what windows show of it. */
#define CORRECTION 0.1                  /* of the difference, at each window */
#define MIN_CORRECTED 0.5               /* of what was measured */
#define MAX_CORRECTED 2.0
#define CLEARLY_OTHER 0.05              /* so large a difference is reported */

#define CLEARLY_LONGER 4                /* a time is longer by such a part of the one before */

#define FIRST_CHUNK 2048                /* records of a chunk in that time; later at least */
#define CHUNK_NS 2e7                    /* later a chunk costs no more than the budget of so much CPU time */

static struct {
    pthread_mutex_t lock;
    double share;                       /* the budget, of the program's CPU time */
    uint64_t start_ns;                  /* of rec_cpu_clock_program */
    void (*request)(void);
    struct rec_order *waiting, *deferred;       /* owned */
    size_t n_waiting, waiting_capacity, next_waiting, n_deferred, deferred_capacity;
    struct rec_order_report *reports;       /* owned */
    size_t n_reports, reports_capacity;
    enum rec_window_state window;
    struct rec_spent taken;                 /* when the last order about a window was taken */
    double event_ns;                    /* at which events are accounted */
    double measured_ns, corrected_ns;   /* the cost of an event as it was measured; at which they soon are */
    double reported_ns;
    void (*corrected)(double event_ns);
    uint64_t n_counted;                 /* events; at event_ns is only what comes after them */
    double counted_ns;                  /* the cost of those */
    double added_ns;                    /* in all */
    struct rec_late_looks late;
    uint64_t written_unseen_ns;         /* of them, what the capture says */
    bool is_requested;
    bool is_asleep;                     /* the deciding side, until it is woken */
    bool is_answering;                  /* orders have been taken since it was last woken */
    uint64_t look_ns;                   /* when a look was last requested, of CLOCK_MONOTONIC */
    uint64_t requested_ns;              /* CPU times */
    uint64_t cost_taken_ns;
    double cost_taken;                  /* of the whole cost */
} exchange;

uint64_t rec_exchange_now(void)
{
    uint64_t now = rec_cpu_clock_program();
    return now > exchange.start_ns ? now - exchange.start_ns : 0;
}

/* ---- orders ---- */

/* With the lock. Returns false when out of memory. */
static bool queue_order(enum rec_order_kind kind, uint32_t function)
{
    if (pnr_array_reserve(&exchange.waiting, &exchange.waiting_capacity, exchange.n_waiting + 1) < 0)
        return false;
    exchange.waiting[exchange.n_waiting++] = (struct rec_order){ (uint8_t)kind, function };
    return true;
}

bool rec_exchange_give(enum rec_order_kind kind, uint32_t function)
{
    pthread_mutex_lock(&exchange.lock);
    bool is_queued = queue_order(kind, function);
    if (is_queued && kind == REC_ORDER_WINDOW)
        exchange.window = REC_WINDOW_ORDERED;
    if (is_queued && kind == REC_ORDER_WINDOW_END)
        exchange.window = REC_WINDOW_END_ORDERED;
    pthread_mutex_unlock(&exchange.lock);
    return is_queued;
}

/* With the lock. Deferred orders wait again. */
static void renew_deferred(void)
{
    for (size_t i = 0; i < exchange.n_deferred; i++)
        queue_order(exchange.deferred[i].kind, exchange.deferred[i].function);
    exchange.n_deferred = 0;
}

uint64_t rec_exchange_request_if_due(uint64_t now, bool has_muted, bool has_run)
{
    pthread_mutex_lock(&exchange.lock);
    uint64_t since = rec_exchange_between(exchange.requested_ns, now), moment = rec_cpu_clock_moment();
    bool is_look_due = moment - exchange.look_ns >= LOOK_NS;
    if (is_look_due)
        renew_deferred();
    bool is_due = exchange.n_waiting || (has_muted && is_look_due) ||
                  rec_exchange_between(exchange.cost_taken_ns, now) >= COST_RECORD_NS;
    is_due &= !exchange.is_requested || since >= REPEAT_REQUEST_NS;
    if (is_due) {
        exchange.is_requested = true;
        exchange.requested_ns = now;
        exchange.look_ns = moment;
    }
    bool looks = has_muted && (has_run || !exchange.is_requested);
    exchange.is_asleep = !looks;
    pthread_mutex_unlock(&exchange.lock);
    if (is_due)
        exchange.request();
    return looks ? LOOK_NS : has_run ? COST_RECORD_NS : UINT64_MAX;
}

/* Returns what was spent up to now, records in chunks that are being filled included. With the recording lock and
 * that of the exchange. */
static struct rec_spent spent_now(void)
{
    uint64_t n = rec_buffer_count_all();
    exchange.counted_ns += exchange.event_ns * ((double)n - (double)exchange.n_counted);
    exchange.n_counted = n;
    exchange.event_ns = exchange.corrected_ns;
    return (struct rec_spent){ rec_exchange_now(), exchange.counted_ns };
}

static bool is_of_window(struct rec_order order)
{
    return order.kind == REC_ORDER_WINDOW || order.kind == REC_ORDER_WINDOW_END;
}

bool rec_budget_take(struct rec_order *order)
{
    pthread_mutex_lock(&exchange.lock);
    bool has_order = exchange.next_waiting < exchange.n_waiting;
    if (has_order) {
        *order = exchange.waiting[exchange.next_waiting++];
        exchange.is_answering = true;
        if (is_of_window(*order))
            exchange.taken = spent_now();
    } else {
        exchange.n_waiting = exchange.next_waiting = 0;
        exchange.is_requested = false;
    }
    pthread_mutex_unlock(&exchange.lock);
    return has_order;
}

bool rec_budget_is_awaited(void)
{
    pthread_mutex_lock(&exchange.lock);
    bool is_awaited = exchange.is_answering || exchange.is_asleep;
    exchange.is_answering = false;
    pthread_mutex_unlock(&exchange.lock);
    return is_awaited;
}

void rec_budget_defer(struct rec_order order)
{
    pthread_mutex_lock(&exchange.lock);
    if (pnr_array_reserve(&exchange.deferred, &exchange.deferred_capacity, exchange.n_deferred + 1) == 0)
        exchange.deferred[exchange.n_deferred++] = order;
    pthread_mutex_unlock(&exchange.lock);
}

/* With the lock. */
static void add_report(struct rec_order_report report)
{
    if (pnr_array_reserve(&exchange.reports, &exchange.reports_capacity, exchange.n_reports + 1) == 0)
        exchange.reports[exchange.n_reports++] = report;
}

void rec_budget_never_mute(uint32_t function)
{
    pthread_mutex_lock(&exchange.lock);
    add_report((struct rec_order_report){ .order.function = function, .is_refusal = true });
    pthread_mutex_unlock(&exchange.lock);
}

/* ---- cost ---- */

void rec_budget_add_cost(uint64_t ns)
{
    pthread_mutex_lock(&exchange.lock);
    exchange.added_ns += (double)ns;
    pthread_mutex_unlock(&exchange.lock);
}

/* The capture says a longer time when it is clearly longer: looks are often late where processors are. */
void rec_budget_add_late_look(uint64_t unseen_ns)
{
    pthread_mutex_lock(&exchange.lock);
    exchange.late.n++;
    if (unseen_ns > exchange.late.unseen_ns)
        exchange.late.unseen_ns = unseen_ns;
    bool is_longer = unseen_ns > exchange.written_unseen_ns + exchange.written_unseen_ns / CLEARLY_LONGER;
    if (is_longer)
        exchange.written_unseen_ns = unseen_ns;
    pthread_mutex_unlock(&exchange.lock);
    if (is_longer)
        rec_cost_write_unseen(unseen_ns);
}

struct rec_late_looks rec_exchange_late_looks(void)
{
    pthread_mutex_lock(&exchange.lock);
    struct rec_late_looks late = exchange.late;
    pthread_mutex_unlock(&exchange.lock);
    return late;
}

/* With the lock. */
static void set_event_cost(double ns)
{
    exchange.event_ns = exchange.measured_ns = exchange.corrected_ns = exchange.reported_ns = ns;
    exchange.n_counted = 0;             /* what was counted before cost as much */
    exchange.counted_ns = 0;
}

void rec_budget_set_event_cost(double ns)
{
    pthread_mutex_lock(&exchange.lock);
    set_event_cost(ns);
    pthread_mutex_unlock(&exchange.lock);
}

void rec_exchange_correct(double ns)
{
    pthread_mutex_lock(&exchange.lock);
    double min = MIN_CORRECTED * exchange.measured_ns, max = MAX_CORRECTED * exchange.measured_ns;
    if (ns > 0)
        exchange.corrected_ns += CORRECTION * ((ns < min ? min : ns > max ? max : ns) - exchange.corrected_ns);
    pthread_mutex_unlock(&exchange.lock);
}

/* With the lock. Returns whether an event costs clearly more or less than was last reported. */
static bool is_clearly_other(void)
{
    double change = exchange.event_ns / exchange.reported_ns - 1;
    return change > CLEARLY_OTHER || change < -CLEARLY_OTHER;
}

/* Returns how many records a chunk takes at this CPU time: what it costs is known only when it has been read. */
static uint32_t chunk_records(uint64_t now)
{
    double n = CHUNK_NS * exchange.share / exchange.event_ns;
    if (now < REC_START_CREDIT_NS || n < FIRST_CHUNK)
        return FIRST_CHUNK;
    return n < PNR_BLOCK_RECORDS ? (uint32_t)n : PNR_BLOCK_RECORDS;
}

bool rec_budget_is_cost_due(void)
{
    return rec_exchange_between(exchange.cost_taken_ns, rec_exchange_now()) >= COST_RECORD_NS;
}

bool rec_budget_take_cost(uint64_t *cpu_ns, uint32_t *cost_ns)
{
    pthread_mutex_lock(&exchange.lock);
    struct rec_spent spent = spent_now();
    uint64_t now = spent.cpu_ns;
    double cost = spent.events_ns + exchange.added_ns, since = cost - exchange.cost_taken;
    *cpu_ns = rec_exchange_between(exchange.cost_taken_ns, now);
    *cost_ns = since <= 0 ? 0 : since >= UINT32_MAX ? UINT32_MAX : (uint32_t)since;
    exchange.cost_taken_ns += *cpu_ns;
    exchange.cost_taken = cost;
    bool is_window_open = exchange.window == REC_WINDOW_OPEN || exchange.window == REC_WINDOW_END_ORDERED;
    bool is_corrected = exchange.corrected && is_clearly_other();
    double event_ns = exchange.event_ns;
    if (is_corrected)
        exchange.reported_ns = event_ns;
    pthread_mutex_unlock(&exchange.lock);
    if (is_corrected)
        exchange.corrected(event_ns);
    if (!is_window_open)
        rec_buffer_limit(chunk_records(now), NULL);
    return *cpu_ns || *cost_ns;
}

/* ---- windows, on the recording side ---- */

/* A thread's chunk is full in a window, which is to end. Called with the recording lock. */
static void end_full_window(void)
{
    pthread_mutex_lock(&exchange.lock);
    bool is_new = exchange.window == REC_WINDOW_OPEN && queue_order(REC_ORDER_WINDOW_END, 0);
    if (is_new) {
        exchange.window = REC_WINDOW_END_ORDERED;
        exchange.is_requested = true;
    }
    pthread_mutex_unlock(&exchange.lock);
    if (is_new)
        exchange.request();
}

static void limit_window(void)
{
    struct rec_buffer_counts counts = rec_buffer_count();
    uint32_t n_threads = counts.n_threads - counts.n_threads_ended;
    uint32_t n = WINDOW_EVENTS / (n_threads ? n_threads : 1);
    if (n < WINDOW_MIN_EVENTS)
        n = WINDOW_MIN_EVENTS;
    rec_buffer_limit(n, end_full_window);
    rec_buffer_limit_present(n);
}

void rec_budget_applied(struct rec_order order, uint64_t ticks)
{
    struct rec_order_report report = { .order = order, .ticks = ticks };
    bool begins = order.kind == REC_ORDER_WINDOW, ends = order.kind == REC_ORDER_WINDOW_END;
    pthread_mutex_lock(&exchange.lock);
    if (begins || ends) {
        report.applied = spent_now();   /* without an order: the recording pauses, and the window ends with it */
        report.taken = exchange.window == (begins ? REC_WINDOW_ORDERED : REC_WINDOW_END_ORDERED) ? exchange.taken :
                                                                                           report.applied;
        exchange.window = begins ? REC_WINDOW_OPEN : REC_WINDOW_NONE;
    }
    add_report(report);
    pthread_mutex_unlock(&exchange.lock);
    if (begins)
        limit_window();
    if (ends) {
        rec_buffer_limit(chunk_records(report.applied.cpu_ns), NULL);
        rec_buffer_limit_present(0);    /* what the window has shown is read soon */
    }
}

/* ---- the deciding side ---- */

struct rec_exchange_costs rec_exchange_costs(void)
{
    pthread_mutex_lock(&exchange.lock);
    struct rec_exchange_costs costs = { exchange.event_ns, exchange.added_ns };
    pthread_mutex_unlock(&exchange.lock);
    return costs;
}

enum rec_window_state rec_exchange_take_reports(void (*take)(const struct rec_order_report *report))
{
    pthread_mutex_lock(&exchange.lock);
    for (size_t i = 0; i < exchange.n_reports; i++)
        take(&exchange.reports[i]);
    exchange.n_reports = 0;
    enum rec_window_state window = exchange.window;
    pthread_mutex_unlock(&exchange.lock);
    return window;
}

void rec_exchange_start(const struct rec_budget_options *options)
{
    memset(&exchange, 0, sizeof exchange);
    pthread_mutex_init(&exchange.lock, NULL);
    exchange.share = options->share;
    exchange.start_ns = rec_cpu_clock_program();
    set_event_cost(options->event_ns);
    exchange.request = options->request;
    exchange.corrected = options->corrected;
    rec_buffer_limit(chunk_records(0), NULL);
}

void rec_exchange_stop(void)
{
    free(exchange.waiting);
    free(exchange.deferred);
    free(exchange.reports);
    memset(&exchange, 0, sizeof exchange);
}
