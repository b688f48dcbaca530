/* The deciding side. Its lock guards the statistics, what is muted, and the accounts; it is held while a block is read and
 * while it is decided. The recording side never takes it: it has that of order_exchange.h. */
#include "budget.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "call_statistics.h"
#include "order_exchange.h"
#include "cpu_clock.h"
#include "../format/array.h"
#include "../format/record.h"

#define MS UINT64_C(1000000)

/* The bucket. Its credit is what may still be spent at once; debt is negative credit. */
#define MAX_CREDIT_NS 5e7               /* it holds the budget of no more CPU time, after REC_START_CREDIT_NS */
#define MAX_DEBT_NS 1e9                 /* what exceeds the budget of so much CPU time is not repaid */
#define REPAY_NS 5e8                    /* a debt is repaid in so much CPU time */
#define REACTION_NS 1e7                 /* what the last so much has cost may be spent again before a change comes */

/* Shares of the budget. */
#define AIM 0.85                        /* what is admitted may cost so much */
#define WINDOWS_SHARE 0.1               /* windows may cost so much */
#define SPARE_SHARE 0.5                 /* ... or so much of what is left, if that is more */
#define MIN_AIM 0.2                     /* also while a debt is repaid */
#define REFILL 0.7                      /* of what is left, for functions that are admitted again */

#define COSTLY 0.03                     /* functions that cost so much of it are muted first */
#define CHEAP 0.003                     /* ... and those below this last */

#define CLEARLY_LONGER 1.25             /* a function is admitted in place of another if it is so much longer */
#define MAX_EXCHANGES 8                 /* before each window */

#define COST_DECAY_NS 1e8
#define FAST_DECAY_NS 1e7
#define ADDED_DECAY_NS 1e9

#define FIRST_TICK_NS (8 * MS)          /* the first tick says when the next one is due */
#define ANSWER_NS (20 * MS)             /* orders are carried out within this time; else it is decided anew */
#define REMIND_MS 1000                  /* ... but one that has no effect is given again */
#define MAX_ORDERS 64                   /* at a time: the program waits while they are carried out */

#define WINDOW_NS (25 * MS)             /* from the end of a window to the next one, at least */
#define WINDOW_MAX_NS (5 * MS)          /* ... or after so much CPU time */
#define MIN_PROGRAM_TIME 0.25           /* of the CPU time in a window: the rest is the cost of events */

#define HOLD_OFF_MS UINT32_C(500)       /* a muted function stays so at least so long; doubled when it was too short */
#define MAX_HOLD_OFF 6                  /* doublings: 32 s */
#define IDLE_NS (MS / 10)               /* a tick in which the program took less CPU time is an idle one */
#define IDLE_TICKS 100                  /* after so many in sequence all is admitted, if there is credit */
#define PHASE_NS (100 * MS)             /* a new phase has begun when so long less than half the budget was used */

#define MAX_MUTED 8192                  /* at a time: a block of the ledger begins with all of them */

/* What can be muted of a function. */
enum { ITSELF, C_CALLS, SUBJECTS };

struct muting_subject {
    float rate;                         /* events per ns of CPU time when it was muted */
    uint32_t since_ms;                  /* CPU time when it was muted or admitted, from the start */
    bool is_muted;                      /* by the orders that were given */
    bool was_muted;
    uint8_t hold_off;                   /* how often HOLD_OFF_MS is doubled */
};

struct budgeted_function {
    struct muting_subject subjects[SUBJECTS];
    float mean_ns;                      /* of its calls, when it was muted */
    bool is_never_muted;
};

/* A function that may be muted or admitted. */
struct candidate {
    float mean_ns;                      /* C calls have 0: they go before any function */
    float rate;                         /* events per ns of CPU time */
    uint32_t function;
    uint8_t subject;
};

/* With `accounts`. */
static struct {
    pthread_mutex_t lock;
    double share;
    struct budgeted_function *functions;        /* by number; owned */
    size_t n_functions;
    struct candidate *candidates;       /* owned */
    size_t n_candidates, candidates_capacity;

    uint64_t now_ns;                    /* CPU time since the start, when it was last looked at */
    uint64_t settled_ns;                /* up to which the bucket is settled */
    uint64_t n_events, n_settled;       /* that were read; ... of these in the bucket */
    double added_settled_ns;
    double spent_ns;                    /* in all */
    double credit_ns;                   /* of cost */
    double cost_sum, fast_sum, added_sum;       /* decayed sums of cost */

    uint32_t n_muted;                   /* subjects, now */
    uint32_t n_unanswered;              /* orders that were given and not carried out */
    uint64_t ordered_ns;
    struct rec_spent window_begin;
    uint64_t window_change_ns;          /* what it took to begin the window */
    uint64_t window_end_ns, window_pause_ns;    /* the end of the last one; the next one comes so much later */
    double windows_share;               /* of the CPU time, which windows may cost */
    uint64_t low_since_ns;              /* since when less than half the budget is used; 0: more is */
    uint32_t phase_ms;                  /* hold-offs from before are over */
    uint64_t hidden_ns;                 /* up to which hidden calls are counted */
    double n_hidden;
    uint32_t n_idle_ticks;              /* in sequence, up to now */
} accounts;

static _Atomic bool budget_is_on;
static uint64_t tick_wait_ns;

bool rec_budget_is_on(void)
{
    return atomic_load_explicit(&budget_is_on, memory_order_acquire);
}

uint64_t rec_budget_tick_wait(void)
{
    return rec_budget_is_on() ? tick_wait_ns : UINT64_MAX;
}

/* Returns false when that is not possible now. */
static bool give_order(enum rec_order_kind kind, uint32_t function)
{
    bool is_given = accounts.n_unanswered < MAX_ORDERS && rec_exchange_give(kind, function);
    accounts.n_unanswered += is_given;
    if (is_given)
        accounts.ordered_ns = accounts.now_ns;
    return is_given;
}

/* ---- functions ---- */

_Static_assert(sizeof(struct budgeted_function) + sizeof(struct rec_function_calls) <= 72,
               "a function takes 100 bytes, with a quarter in reserve and its place in lists");

/* Returns NULL when out of memory. */
static struct budgeted_function *budgeted(uint32_t function)
{
    return pnr_array_reserve_number(&accounts.functions, &accounts.n_functions, function) == 0 ?
           &accounts.functions[function] : NULL;
}

static bool is_muted_in_part(uint32_t function)
{
    if (function >= accounts.n_functions)
        return false;
    const struct muting_subject *subjects = accounts.functions[function].subjects;
    return subjects[ITSELF].is_muted || subjects[C_CALLS].is_muted;
}

static uint32_t now_ms(void)
{
    return (uint32_t)(accounts.now_ns / MS);
}

static uint32_t hold_off_ms(const struct muting_subject *subject)
{
    return HOLD_OFF_MS << subject->hold_off;
}

/* Returns the mean duration of the function's calls. */
static float mean_of(const struct budgeted_function *f, const struct rec_function_calls *calls)
{
    return calls->n_timed > 0 || !f->mean_ns ? (float)rec_statistics_mean_ns(calls) : f->mean_ns;
}

/* Adds up a subject's events of two kinds of sums: a function that is muted takes its C calls with it. */
static double events_of_subject(const struct budgeted_function *f, int subject, double events, double c_events)
{
    return subject == C_CALLS ? c_events : f->subjects[C_CALLS].is_muted ? events : events + c_events;
}

/* ---- muting ---- */

static void add_candidate(float mean_ns, double rate, uint32_t function, int subject)
{
    if (pnr_array_reserve(&accounts.candidates, &accounts.candidates_capacity, accounts.n_candidates + 1) == 0)
        accounts.candidates[accounts.n_candidates++] =
            (struct candidate){ mean_ns, (float)rate, function, (uint8_t)subject };
}

static int by_mean(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->mean_ns != y->mean_ns ? (x->mean_ns < y->mean_ns ? -1 : 1) : (x->rate < y->rate) - (x->rate > y->rate);
}

/* Gives the order once more if a muted function still costs much after a while: the recording side may have lost the
 * order, because the recording was paused, for example. cost: a share of CPU time, outside of windows. */
static void remind_of_muted(struct muting_subject *subject, uint32_t function, double cost)
{
    if (cost >= COSTLY * accounts.share && now_ms() - subject->since_ms >= REMIND_MS &&
        give_order(REC_ORDER_MUTE, function))
        subject->since_ms = now_ms();
}

/* Collects what is admitted and can be muted. Returns the rate of events of all that is admitted. */
static double collect_admitted(double event_ns)
{
    size_t n;
    const uint32_t *active = rec_statistics_active(&n, is_muted_in_part);
    double all = 0;
    accounts.n_candidates = 0;
    for (size_t i = 0; i < n; i++) {
        const struct rec_function_calls *calls = rec_statistics_of(active[i]);
        struct budgeted_function *f = budgeted(active[i]);
        if (!f)
            continue;
        double rate = rec_statistics_rate(calls->events), c_rate = rec_statistics_rate(calls->c_events);
        if (f->subjects[ITSELF].is_muted) {
            remind_of_muted(&f->subjects[ITSELF], active[i], rate * event_ns);
            continue;
        }
        all += rate;
        if (!f->is_never_muted)
            add_candidate(mean_of(f, calls), rate, active[i], ITSELF);
        if (f->subjects[C_CALLS].is_muted)
            continue;
        all += c_rate;
        if (c_rate > 0)
            add_candidate(0, c_rate, active[i], C_CALLS);
    }
    return all;
}

/* Shows the statistics which of the function's events come in windows only. */
static void follow_muting(uint32_t function)
{
    const struct muting_subject *subjects = accounts.functions[function].subjects;
    struct rec_function_calls *calls = rec_statistics_of(function);
    if (calls) {
        calls->is_muted = subjects[ITSELF].is_muted;
        calls->are_c_calls_muted = subjects[C_CALLS].is_muted;
    }
}

/* Returns false when that is not possible now. */
static bool mute_subject(const struct candidate *candidate)
{
    struct budgeted_function *f = budgeted(candidate->function);
    struct muting_subject *subject = &f->subjects[candidate->subject];
    if (accounts.n_muted >= MAX_MUTED ||
        !give_order(candidate->subject == C_CALLS ? REC_ORDER_MUTE_C : REC_ORDER_MUTE, candidate->function))
        return false;
    if (!subject->was_muted || now_ms() - subject->since_ms > 4 * hold_off_ms(subject))
        subject->hold_off = 0;
    else if (subject->hold_off < MAX_HOLD_OFF)
        subject->hold_off++;
    subject->is_muted = subject->was_muted = true;
    subject->since_ms = now_ms();
    subject->rate = candidate->rate;
    if (candidate->subject == ITSELF)
        f->mean_ns = candidate->mean_ns;
    accounts.n_muted++;
    follow_muting(candidate->function);
    return true;
}

/* Mutes, in the order of candidates, what costs at least so much, until the rate of events is `aim` or less. Returns
 * the rate. What is muted is no candidate any more: its rate is 0. */
static double mute_costly(double rate, double aim, double min_rate)
{
    for (size_t i = 0; i < accounts.n_candidates && rate > aim; i++) {
        struct candidate *candidate = &accounts.candidates[i];
        if (candidate->rate <= 0 || candidate->rate < min_rate || !mute_subject(candidate))
            continue;
        rate -= candidate->rate;
        candidate->rate = 0;
    }
    return rate;
}

/* Mutes until what is admitted costs `aim`, a share of CPU time, or less. The functions that cost next to nothing are
 * the last to go. Returns whether anything was to be muted. */
static bool mute_until(double aim, double event_ns)
{
    double rate = collect_admitted(event_ns), budget_rate = accounts.share / event_ns;
    aim /= event_ns;
    if (rate <= aim || !accounts.n_candidates)
        return false;
    qsort(accounts.candidates, accounts.n_candidates, sizeof *accounts.candidates, by_mean);
    rate = mute_costly(rate, aim, COSTLY * budget_rate);
    rate = mute_costly(rate, aim, CHEAP * budget_rate);
    mute_costly(rate, aim, 0);
    return true;
}

/* ---- admitting ---- */

/* Returns the rate of a muted subject, as windows show it. */
static double muted_rate(const struct budgeted_function *f, int subject, const struct rec_function_calls *calls)
{
    return rec_statistics_window_rate(events_of_subject(f, subject, calls->window_events, calls->window_c_events));
}

static bool is_held(const struct muting_subject *subject)
{
    return subject->since_ms >= accounts.phase_ms && now_ms() - subject->since_ms < hold_off_ms(subject);
}

/* Collects what is muted and may be admitted: there was a window since. holds: what is held off is left out. */
static void collect_muted(bool holds)
{
    size_t n;
    const uint32_t *active = rec_statistics_active(&n, is_muted_in_part);
    accounts.n_candidates = 0;
    for (size_t i = 0; i < n; i++) {
        const struct rec_function_calls *calls = rec_statistics_of(active[i]);
        struct budgeted_function *f = budgeted(active[i]);
        for (int k = 0; f && k < SUBJECTS; k++) {
            const struct muting_subject *subject = &f->subjects[k];
            if (subject->is_muted && !(holds && is_held(subject)) && subject->since_ms < accounts.window_end_ns / MS)
                add_candidate(k == C_CALLS ? 0 : mean_of(f, calls), muted_rate(f, k, calls), active[i], k);
        }
    }
}

/* Returns false when that is not possible now. */
static bool admit_subject(const struct candidate *candidate)
{
    struct budgeted_function *f = budgeted(candidate->function);
    struct rec_function_calls *calls = rec_statistics_of(candidate->function);
    if (!give_order(candidate->subject == C_CALLS ? REC_ORDER_ADMIT_C : REC_ORDER_ADMIT, candidate->function))
        return false;
    f->subjects[candidate->subject].is_muted = false;
    f->subjects[candidate->subject].since_ms = now_ms();
    *(candidate->subject == C_CALLS ? &calls->c_events : &calls->events) =
        (float)rec_statistics_events_at(candidate->rate);
    accounts.n_muted--;
    follow_muting(candidate->function);
    return true;
}

/* Admits what fits in `spare`, a share of CPU time: the longest first. Returns what it will cost. */
static double admit_into(double spare, double event_ns)
{
    double rate = 0;
    collect_muted(true);
    qsort(accounts.candidates, accounts.n_candidates, sizeof *accounts.candidates, by_mean);
    for (size_t i = accounts.n_candidates; i-- > 0;) {
        const struct candidate *candidate = &accounts.candidates[i];
        if ((rate + candidate->rate) * event_ns <= spare && admit_subject(candidate))
            rate += candidate->rate;
    }
    return rate * event_ns;
}

/* Returns the shortest admitted candidate in whose place the muted one may be recorded: it is clearly shorter, and
 * costs as much, or the rest is left. NULL: there is no such one. */
static struct candidate *find_exchange(const struct candidate *muted, double min_rate, double left)
{
    for (size_t i = 0; i < accounts.n_candidates; i++) {
        struct candidate *admitted = &accounts.candidates[i];
        if (admitted->mean_ns * CLEARLY_LONGER > muted->mean_ns)
            return NULL;
        if (admitted->rate >= min_rate && admitted->rate + left >= muted->rate)
            return admitted;
    }
    return NULL;
}

/* Admits long functions in place of shorter ones that cost as much: some were muted before the shorter ones came up.
 * left: a share of CPU time. */
static void exchange_muted(double left, double event_ns)
{
    struct candidate muted[MAX_EXCHANGES];
    size_t n = 0;
    collect_muted(false);
    qsort(accounts.candidates, accounts.n_candidates, sizeof *accounts.candidates, by_mean);
    for (size_t i = accounts.n_candidates; i-- > 0 && n < MAX_EXCHANGES;)
        muted[n++] = accounts.candidates[i];
    collect_admitted(event_ns);
    qsort(accounts.candidates, accounts.n_candidates, sizeof *accounts.candidates, by_mean);
    for (size_t i = 0; i < n; i++) {
        struct candidate *other = find_exchange(&muted[i], CHEAP * accounts.share / event_ns, left / event_ns);
        if (!other || !mute_subject(other))
            continue;
        other->rate = 0;
        admit_subject(&muted[i]);
    }
}

static void admit_all(void)
{
    for (uint32_t function = 0; accounts.n_muted && function < accounts.n_functions; function++)
        for (int k = 0; k < SUBJECTS; k++)
            if (accounts.functions[function].subjects[k].is_muted)
                admit_subject(&(struct candidate){ .function = function, .subject = (uint8_t)k });
}

/* Adds the calls that were not recorded since the last time, by the rates in windows. */
static void count_hidden(void)
{
    size_t n;
    const uint32_t *active = rec_statistics_active(&n, is_muted_in_part);
    for (size_t i = 0; i < n; i++) {
        const struct rec_function_calls *calls = rec_statistics_of(active[i]);
        struct budgeted_function *f = budgeted(active[i]);
        for (int k = 0; f && k < SUBJECTS; k++) {
            uint64_t since_ns = f->subjects[k].since_ms * MS;
            uint64_t from = since_ns > accounts.hidden_ns ? since_ns : accounts.hidden_ns;
            if (!f->subjects[k].is_muted || from >= accounts.now_ns)
                continue;
            double rate = since_ns < accounts.window_end_ns ?
                          rec_statistics_window_rate(k == C_CALLS ? calls->window_c_events : calls->window_events) :
                          f->subjects[k].rate;
            accounts.n_hidden += rate / 2 * (double)(accounts.now_ns - from);   /* a call is two events */
        }
    }
    accounts.hidden_ns = accounts.now_ns;
}

/* ---- the accounts ---- */

/* Lets a decayed sum fade: by nearly 1/e in `decay` ns. */
static double fade(double sum, double ns, double decay)
{
    double x = ns / decay;
    return sum / (1 + x + x * x / 2);
}

static void advance_to(uint64_t now)
{
    if (now <= accounts.now_ns)
        return;
    rec_statistics_advance(now - accounts.now_ns);
    accounts.now_ns = now;
}

/* Books what was read and added since the last time, and what the program has used. */
static void settle_accounts(struct rec_exchange_costs costs)
{
    double cpu_ns = (double)(accounts.now_ns - accounts.settled_ns), added = costs.added_ns - accounts.added_settled_ns;
    double cost = (double)(accounts.n_events - accounts.n_settled) * costs.event_ns + added;
    double max = accounts.share * (accounts.now_ns < REC_START_CREDIT_NS ? REC_START_CREDIT_NS : MAX_CREDIT_NS);
    accounts.credit_ns += accounts.share * cpu_ns - cost;
    if (accounts.credit_ns > max)
        accounts.credit_ns = max;
    if (accounts.credit_ns < -accounts.share * MAX_DEBT_NS)
        accounts.credit_ns = -accounts.share * MAX_DEBT_NS;
    accounts.cost_sum = fade(accounts.cost_sum, cpu_ns, COST_DECAY_NS) + cost;
    accounts.fast_sum = fade(accounts.fast_sum, cpu_ns, FAST_DECAY_NS) + cost;
    accounts.added_sum = fade(accounts.added_sum, cpu_ns, ADDED_DECAY_NS) + added;
    accounts.spent_ns += cost;
    accounts.settled_ns = accounts.now_ns;
    accounts.n_settled = accounts.n_events;
    accounts.added_settled_ns = costs.added_ns;
}

static void notice_phase(void)
{
    if (accounts.cost_sum / COST_DECAY_NS >= accounts.share / 2)
        accounts.low_since_ns = 0;
    else if (!accounts.low_since_ns)
        accounts.low_since_ns = accounts.now_ns + 1;
    else if (accounts.now_ns - accounts.low_since_ns >= PHASE_NS && accounts.low_since_ns / MS > accounts.phase_ms)
        accounts.phase_ms = now_ms();
}

/* Books a window. The program's time in it is that from when it was begun until its end was about to be carried out,
 * without the cost of its events. That cost is estimated: it cannot be nearly all of the time. */
static void end_window(const struct rec_order_report *report)
{
    double events = report->taken.events_ns - accounts.window_begin.events_ns;
    double cpu = (double)rec_exchange_between(accounts.window_begin.cpu_ns, report->taken.cpu_ns);
    double time = cpu - events > MIN_PROGRAM_TIME * cpu ? cpu - events : MIN_PROGRAM_TIME * cpu;
    uint64_t change = accounts.window_change_ns + rec_exchange_between(report->taken.cpu_ns, report->applied.cpu_ns);
    uint64_t pause = (uint64_t)((events + (double)change) / accounts.windows_share);
    rec_statistics_window_end(report->ticks, (uint64_t)time);
    accounts.window_end_ns = report->applied.cpu_ns;
    accounts.window_pause_ns = pause > WINDOW_NS ? pause : WINDOW_NS;
}

static void take_report(const struct rec_order_report *report)
{
    accounts.n_unanswered -= accounts.n_unanswered > 0;
    if (report->is_refusal) {
        struct budgeted_function *f = budgeted(report->order.function);
        if (!f)
            return;
        f->is_never_muted = true;
        accounts.n_muted -= f->subjects[ITSELF].is_muted;
        f->subjects[ITSELF].is_muted = f->subjects[ITSELF].was_muted = false;
        follow_muting(report->order.function);
    } else if (report->order.kind == REC_ORDER_WINDOW) {
        rec_statistics_window(report->ticks);
        accounts.window_begin = report->applied;
        accounts.window_change_ns = rec_exchange_between(report->taken.cpu_ns, report->applied.cpu_ns);
    } else if (report->order.kind == REC_ORDER_WINDOW_END) {
        end_window(report);
    }
}

/* ---- decisions ---- */

/* True when the credit is used up, or will be before a change can come. */
static bool is_short_of_credit(void)
{
    return accounts.fast_sum * (REACTION_NS / FAST_DECAY_NS) > accounts.credit_ns + accounts.share * REACTION_NS;
}

/* Returns what the admitted functions may cost, as a share of CPU time. */
static double aim_of_admitted(void)
{
    double aim = accounts.share * (AIM - WINDOWS_SHARE) - accounts.added_sum / ADDED_DECAY_NS;
    if (accounts.credit_ns < 0)
        aim += accounts.credit_ns / REPAY_NS;
    return aim > MIN_AIM * accounts.share ? aim : MIN_AIM * accounts.share;
}

static bool is_window_due(enum rec_window_state window)
{
    return window == REC_WINDOW_NONE && accounts.n_muted &&
           rec_exchange_between(accounts.window_end_ns, accounts.now_ns) >= accounts.window_pause_ns;
}

/* Admits what fits, by the windows that there were, and opens the next one. */
static void open_window(double event_ns)
{
    count_hidden();
    rec_exchange_correct(rec_statistics_event_ns());
    double left = aim_of_admitted() - collect_admitted(event_ns) * event_ns;
    double filled = accounts.credit_ns >= 0 && left > 0 ? admit_into(REFILL * left, event_ns) : 0;
    if (filled == 0 && accounts.credit_ns >= 0)
        exchange_muted(left > 0 ? REFILL * left : 0, event_ns);
    left -= filled;
    accounts.windows_share = WINDOWS_SHARE * accounts.share;
    if (accounts.credit_ns >= 0 && SPARE_SHARE * left > accounts.windows_share)
        accounts.windows_share = SPARE_SHARE * left;
    if (accounts.n_muted)
        give_order(REC_ORDER_WINDOW, 0);
}

/* Counts a tick. Returns true when the program has been idle for so long, and saved so much, that its next phase may be
 * recorded from its first call on. */
static bool has_rested(uint64_t cpu_ns)
{
    accounts.n_idle_ticks = cpu_ns < IDLE_NS ? accounts.n_idle_ticks + 1 : 0;
    return accounts.n_idle_ticks >= IDLE_TICKS && accounts.credit_ns >= accounts.share * MAX_CREDIT_NS / 2;
}

static void decide(double event_ns, enum rec_window_state window, bool is_rested)
{
    if (accounts.n_unanswered && accounts.now_ns - accounts.ordered_ns < ANSWER_NS && !is_rested)
        return;                         /* a program that rests answers when it goes on */
    accounts.n_unanswered = 0;
    if (window == REC_WINDOW_OPEN && rec_exchange_between(accounts.window_begin.cpu_ns, accounts.now_ns) >= WINDOW_MAX_NS)
        give_order(REC_ORDER_WINDOW_END, 0);
    else if (is_short_of_credit() && mute_until(aim_of_admitted(), event_ns))
        ;                               /* windows wait */
    else if (is_rested)
        admit_all();
    else if (is_window_due(window))
        open_window(event_ns);
}

/* ---- the drain's side ---- */

void rec_budget_each_muted(void (*each)(void *arg, uint32_t function), void *arg)
{
    if (!rec_budget_is_on())
        return;
    pthread_mutex_lock(&accounts.lock);
    for (uint32_t function = 0; function < accounts.n_functions; function++)
        if (is_muted_in_part(function))
            each(arg, function);
    pthread_mutex_unlock(&accounts.lock);
}

void rec_budget_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
{
    if (n && (pnr_kind_is_of_ledger(pnr_record_kind(records[0])) || pnr_kind_is_of_samples(pnr_record_kind(records[0]))))
        return;
    pthread_mutex_lock(&accounts.lock);
    rec_exchange_take_reports(take_report);
    advance_to(rec_exchange_now());
    accounts.n_events += rec_statistics_read(header, records, n, rec_exchange_costs().event_ns);
    pthread_mutex_unlock(&accounts.lock);
}

void rec_budget_tick(void)
{
    rec_cpu_clock_exclude();
    pthread_mutex_lock(&accounts.lock);
    struct rec_exchange_costs costs = rec_exchange_costs();
    enum rec_window_state window = rec_exchange_take_reports(take_report);
    advance_to(rec_exchange_now());
    uint64_t now = accounts.now_ns;
    uint64_t cpu_ns = now - accounts.settled_ns;
    settle_accounts(costs);
    notice_phase();
    decide(costs.event_ns, window, has_rested(cpu_ns));
    bool has_muted = accounts.n_muted > 0;
    pthread_mutex_unlock(&accounts.lock);
    tick_wait_ns = rec_exchange_request_if_due(now, has_muted, cpu_ns >= MS);
}

/* ---- start and stop ---- */

static void free_budget(void)
{
    rec_statistics_stop();
    free(accounts.functions);
    free(accounts.candidates);
    rec_exchange_stop();
    memset(&accounts, 0, sizeof accounts);
}

int rec_budget_start(const struct rec_budget_options *options, struct pnr_err *err)
{
    (void)err;
    memset(&accounts, 0, sizeof accounts);
    pthread_mutex_init(&accounts.lock, NULL);
    accounts.share = options->share;
    accounts.credit_ns = options->share * REC_START_CREDIT_NS;
    accounts.window_pause_ns = WINDOW_NS;
    accounts.windows_share = options->share * WINDOWS_SHARE;
    rec_exchange_start(options);
    rec_statistics_start();
    tick_wait_ns = FIRST_TICK_NS;
    atomic_store(&budget_is_on, true);
    return 0;
}

static void sum_up(struct rec_budget_totals *totals)
{
    struct rec_late_looks late = rec_exchange_late_looks();
    *totals = (struct rec_budget_totals){ .n_events = accounts.n_events, .cost_ns = (uint64_t)accounts.spent_ns,
                                          .cpu_ns = accounts.now_ns, .n_calls = (uint64_t)accounts.n_hidden,
                                          .n_calls_hidden = (uint64_t)accounts.n_hidden,
                                          .n_late_looks = late.n, .unseen_ns = late.unseen_ns };
    for (uint32_t function = 0; function < accounts.n_functions; function++) {
        const struct muting_subject *subjects = accounts.functions[function].subjects;
        const struct rec_function_calls *calls = rec_statistics_of(function);
        totals->n_muted += subjects[ITSELF].was_muted || subjects[C_CALLS].was_muted;
        if (calls && subjects[ITSELF].was_muted)
            totals->n_calls += calls->n_calls;
        if (calls && subjects[C_CALLS].was_muted)
            totals->n_calls += calls->n_c_calls;
    }
}

void rec_budget_stop(struct rec_budget_totals *totals)
{
    *totals = (struct rec_budget_totals){ 0 };
    if (!rec_budget_is_on())
        return;
    atomic_store(&budget_is_on, false);
    rec_exchange_take_reports(take_report);
    advance_to(rec_exchange_now());
    settle_accounts(rec_exchange_costs());
    count_hidden();
    sum_up(totals);
    free_budget();
}

void rec_budget_forked(void)
{
    if (!rec_budget_is_on())
        return;
    atomic_store(&budget_is_on, false);
    free_budget();
}
