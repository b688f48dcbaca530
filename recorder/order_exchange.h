/* What the two sides of a budget give each other: the deciding side, on the drain's thread, its orders; the recording
 * side its reports of what was carried out, and what recording has cost. Hides the queues, when the recording side is
 * asked for a call, and how the records of a window are limited. No Python dependency.
 *
 * The lock is held briefly, and is taken inside of budget.c's: so no traced thread waits for a decision. The functions of
 * the recording side are in budget.h (rec_budget_take to rec_budget_take_cost), and are implemented here.
 *
 *     rec_exchange_start
 *         rec_exchange_give                   an order
 *         rec_exchange_request_if_due         after each decision
 *         rec_exchange_take_reports           before records that come after what they report
 *         rec_exchange_costs, rec_exchange_correct
 *     rec_exchange_stop */
#ifndef REC_ORDER_EXCHANGE_H
#define REC_ORDER_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "budget.h"

#define REC_START_CREDIT_NS 1e9         /* at its start a recording may cost the budget of so much CPU time: for imports */

/* What was spent up to a moment. */
struct rec_spent {
    uint64_t cpu_ns;                    /* by the program */
    double events_ns;                   /* the cost of events */
};

struct rec_order_report {
    struct rec_order order;
    uint8_t is_refusal;                 /* the function must never be muted */
    uint64_t ticks;
    struct rec_spent taken, applied;    /* of windows: before and after the order was carried out */
};

enum rec_window_state { REC_WINDOW_NONE, REC_WINDOW_ORDERED, REC_WINDOW_OPEN, REC_WINDOW_END_ORDERED };

struct rec_exchange_costs {
    double event_ns;                    /* of one event */
    double added_ns;                    /* of what else was reported, in all */
};

struct rec_late_looks {
    uint64_t n;
    uint64_t unseen_ns;                 /* the longest of them */
};

void rec_exchange_start(const struct rec_budget_options *options);

/* Frees all memory. */
void rec_exchange_stop(void);

/* Returns the CPU time since the start. */
uint64_t rec_exchange_now(void);

/* Returns how much CPU time there is between two moments. What another thread has read may be a little ahead of now:
 * the time of the drain's thread was not taken out yet. */
static inline uint64_t rec_exchange_between(uint64_t then, uint64_t now)
{
    return now > then ? now - then : 0;
}

/* Queues an order. Returns false when out of memory. */
bool rec_exchange_give(enum rec_order_kind kind, uint32_t function);

/* Asks the recording side for a call when there is something to do. Of a program that waits one request is enough: it is
 * followed when the program goes on, and then the drain's thread is woken. now: CPU time. has_muted: anything is muted.
 * has_run: the program has used CPU time of late. Returns in how many ns it is to be called again; UINT64_MAX: when there
 * is a block. */
uint64_t rec_exchange_request_if_due(uint64_t now, bool has_muted, bool has_run);

/* Gives each report to take. Returns how far the window is by these reports. */
enum rec_window_state rec_exchange_take_reports(void (*take)(const struct rec_order_report *report));

struct rec_exchange_costs rec_exchange_costs(void);

/* Returns how often rec_budget_add_late_look was called, and with what. */
struct rec_late_looks rec_exchange_late_looks(void);

/* Moves what an event costs to what the records show; 0: they show nothing. */
void rec_exchange_correct(double ns);

#endif
