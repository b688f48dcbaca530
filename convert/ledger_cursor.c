#include "ledger_cursor.h"

#include <stdlib.h>

#include "convert/slices/flows.h"

/* The CPU time for which one figure of cost is shown. Windows are short, and cost much: shown alone, they would hide
 * what recording costs as a whole. */
#define COST_CPU_NS 50000000

/* Steps of work that a look at a thread is. */
#define THREAD_WORK 8

/* Steps of work that it may take to forget the flows of muted functions alone: at first, and for each record more. */
#define FORGET_WORK_FIRST (UINT64_C(1) << 27)
#define FORGET_WORK_OF_RECORD 256

void ledger_cursor_init(struct ledger_cursor *ledger, struct converted_process *process)
{
    const struct symbols *symbols = reader_symbols(process->reader);
    *ledger = (struct ledger_cursor){ .process = process, .budget = symbols_decimal(symbols, "max_overhead") };
    ledger_view_init(&ledger->view, reader_ledger(process->reader));
    if (ledger->view.ledger->exists)
        process->pipeline.muted = &ledger->view;
    else
        process->pipeline.rates = NULL;
}

void ledger_cursor_clear(struct ledger_cursor *ledger)
{
    ledger_view_clear(&ledger->view);
}

/* ---- the sink ---- */

static void emit_ledger(struct ledger_cursor *ledger, enum sink_recorder_kind kind, uint64_t ns, double value)
{
    struct sink *sink = ledger->process->pipeline.sink;
    const struct sink_recorder_event event = { .ns = ns, .kind = kind, .value = value, .budget = ledger->budget };
    if (sink->recorder_event && !ledger->process->pipeline.positions)     /* logical time is not that of the ledger */
        sink->recorder_event(sink, &event);
}

static void emit_cost(struct ledger_cursor *ledger)
{
    if (ledger->cpu_ns)
        emit_ledger(ledger, SINK_COST, ledger->cost_since_ns, 100 * (double)ledger->cost_ns / (double)ledger->cpu_ns);
    ledger->cost_ns = ledger->cpu_ns = 0;
    ledger->has_cost = true;
}

static void emit_muted(struct ledger_cursor *ledger, uint64_t ns)
{
    emit_ledger(ledger, SINK_MUTED, ns, (double)ledger->view.n_muted);
    ledger->has_begun = true;
    ledger->has_changed = false;
}

static void emit_window(struct ledger_cursor *ledger, bool is_begin, uint64_t ns)
{
    if (ledger->shows_window != is_begin)
        emit_ledger(ledger, is_begin ? SINK_WINDOW : SINK_WINDOW_END, ns, 0);
    ledger->shows_window = is_begin;
}

static void add_cost(struct ledger_cursor *ledger, const struct ledger_event *event, uint64_t ns)
{
    ledger->cpu_ns += event->cpu_ns;
    ledger->cost_ns += event->number;
    if (ledger->cpu_ns < COST_CPU_NS)
        return;
    emit_cost(ledger);
    ledger->cost_since_ns = ns;
}

/* Reports an event at ns, which has been passed, to the sink, if it is in the selected time. */
static void show_event(struct ledger_cursor *ledger, const struct ledger_event *event, uint64_t ns)
{
    const struct converted_process *process = ledger->process;
    if (ns < process->from_ns) {
        ledger->cost_since_ns = process->from_ns;
        return;
    }
    if (ns > process->to_ns)
        return;
    bool is_change = event->kind != LEDGER_COST && event->kind != LEDGER_WINDOW && event->kind != LEDGER_WINDOW_END;
    if (!ledger->has_begun && !is_change && !ledger->has_changed)
        emit_muted(ledger, process->from_ns);
    if (event->kind == LEDGER_COST)
        add_cost(ledger, event, ns);
    ledger->has_changed |= is_change;
    if (ledger->has_changed && ledger_cursor_ticks(ledger) != event->ticks)
        emit_muted(ledger, ns);         /* functions are muted together: one figure is enough */
    emit_window(ledger, ledger->view.in_window, ns);
}

void ledger_cursor_end(struct ledger_cursor *ledger, uint64_t end_ns)
{
    const struct converted_process *process = ledger->process;
    if (!process->pipeline.muted || (end_ns < process->from_ns))
        return;
    if (!ledger->has_begun)
        emit_muted(ledger, process->from_ns);
    if (!ledger->has_cost)              /* else a window alone may be left, whose figure would be that of all until the end */
        emit_cost(ledger);
    emit_window(ledger, false, end_ns);
}

/* ---- flows ---- */

static int by_frame(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Ends the flows of muted functions, except for those of frames that are open. When that has taken too much work, as the
 * ledger of a damaged capture can ask for, ends all flows. Returns 0, or -1 when out of memory. */
static int forget_flows(struct ledger_cursor *ledger, const struct thread_cursor *cursors, size_t n)
{
    struct flows *flows = ledger->process->pipeline.flows;
    const struct stack_count *count = ledger->process->pipeline.count;
    uint64_t *open = NULL;
    size_t n_open = 0, capacity = 0;
    int result = 0;
    ledger->breaks_flows = false;
    uint64_t work = THREAD_WORK * (n + ledger->process->n_tracks) + count->open + flows->table.capacity;
    if (ledger->forget_work + work > FORGET_WORK_FIRST + FORGET_WORK_OF_RECORD * count->events) {
        flows_forget_all(flows);
        return 0;
    }
    ledger->forget_work += work;
    for (size_t i = 0; i < n && result == 0; i++)
        result = thread_cursor_list_continuable(&cursors[i], &open, &n_open, &capacity);
    if (n_open)
        qsort(open, n_open, sizeof *open, by_frame);
    if (result == 0)
        flows_forget(flows, &ledger->view, open, n_open);
    free(open);
    return result;
}

/* ---- estimates ---- */

/* The threads have run up to ns under what was muted so far. Of several changes at one time the first one alone has work. */
static void account_threads(struct ledger_cursor *ledger, struct thread_cursor *cursors, size_t n,
                            const struct ledger_event *event, uint64_t ns)
{
    struct hidden_rates *rates = ledger->process->pipeline.rates;
    bool changes_rates = event->kind != LEDGER_WINDOW && event->kind != LEDGER_WINDOW_END &&
                         event->kind != LEDGER_COST;
    if (!rates || (ledger->has_settled && ledger->settled_ns == ns))
        return;
    ledger->has_settled = changes_rates;
    ledger->settled_ns = ns;
    hidden_rates_work(rates, THREAD_WORK * n);
    for (size_t i = 0; i < n && !rates->is_exhausted; i++) {
        thread_cursor_account(&cursors[i], ns);
        if (changes_rates)
            thread_cursor_settle(&cursors[i]);
    }
}

/* The CPU time that the next COST event reports, if it comes before the window's end; else UINT64_MAX. */
static uint64_t find_window_cpu(const struct ledger_view *view)
{
    const struct ledger *all = view->ledger;
    for (size_t i = view->next; i < all->n && all->events[i].kind != LEDGER_WINDOW_END; i++)
        if (all->events[i].kind == LEDGER_COST)
            return all->events[i].cpu_ns;
    return UINT64_MAX;
}

/* Limits the times between events that follow: while rates are learned, to the CPU time of a whole window. */
static void limit_intervals(struct ledger_cursor *ledger, const struct ledger_event *event)
{
    const struct slice_pipeline *pipeline = &ledger->process->pipeline;
    if (event->kind == LEDGER_COST)
        ledger->n_costs++;
    if (!pipeline->learns_rates)
        hidden_rates_use_limit(pipeline->rates, ledger->n_costs);
    else if (event->kind == LEDGER_COST)
        hidden_rates_limit_intervals(pipeline->rates, event->cpu_ns, event->number, ledger->view.in_window);
    else if (event->kind == LEDGER_WINDOW || event->kind == LEDGER_WINDOW_END)
        pipeline->rates->max_ns = ledger->view.in_window ? find_window_cpu(&ledger->view) : UINT64_MAX;
}

/* What is muted, or whether a window is open, has changed. */
static void follow_change(struct ledger_cursor *ledger, struct thread_cursor *cursors, size_t n,
                          const struct ledger_event *event, bool was_in_window)
{
    const struct slice_pipeline *pipeline = &ledger->process->pipeline;
    const struct ledger_view *view = &ledger->view;
    struct hidden_rates *rates = pipeline->rates;
    if (!rates || rates->is_exhausted)
        return;
    limit_intervals(ledger, event);
    if (was_in_window && !view->in_window && pipeline->learns_rates)
        hidden_rates_end_window(pipeline->rates, view);
    bool is_change = event->kind == LEDGER_MUTE || event->kind == LEDGER_ADMIT || event->kind == LEDGER_UNKNOWN;
    if (is_change && !pipeline->learns_rates)
        hidden_rates_choose(pipeline->rates, view);
    if (!view->in_window || was_in_window)
        return;
    hidden_rates_work(rates, THREAD_WORK * (n + ledger->process->n_tracks));
    for (size_t i = 0; i < n && !rates->is_exhausted; i++)
        thread_cursor_begin_window(&cursors[i]);
}

/* ---- events ---- */

int ledger_cursor_advance(struct ledger_cursor *ledger, struct thread_cursor *cursors, size_t n, uint64_t ticks)
{
    struct converted_process *process = ledger->process;
    struct ledger_view *view = &ledger->view;
    ledger->breaks_flows |= !view->is_known || (view->n_muted && !view->in_window);     /* those that were open */
    while (view->next < view->ledger->n && ledger_cursor_ticks(ledger) <= ticks) {
        const struct ledger_event *event = &view->ledger->events[view->next];
        uint64_t ns = timeline_since(process->timeline, process->zero_ns, event->ticks);
        bool was_in_window = view->in_window;
        if (ledger->breaks_flows &&
            (event->kind == LEDGER_ADMIT || event->kind == LEDGER_WINDOW || event->kind == LEDGER_KNOWN) &&
            forget_flows(ledger, cursors, n) < 0)
            return -1;
        account_threads(ledger, cursors, n, event, ns);
        ledger_view_step(view, ticks);
        ledger->breaks_flows |= event->kind == LEDGER_MUTE || event->kind == LEDGER_WINDOW_END ||
                                event->kind == LEDGER_UNKNOWN;
        follow_change(ledger, cursors, n, event, was_in_window);
        show_event(ledger, event, ns);
    }
    if (ledger->breaks_flows && forget_flows(ledger, cursors, n) < 0)
        return -1;
    return view->is_out_of_memory || (process->pipeline.rates && process->pipeline.rates->is_out_of_memory) ? -1 : 0;
}
