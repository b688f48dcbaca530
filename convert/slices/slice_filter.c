#include "slice_filter.h"

#include <string.h>

void slice_filter_init(struct slice_filter *filter, const struct slice_pipeline *pipeline, uint32_t thread,
                       bool hides_all)
{
    *filter = (struct slice_filter){ .pipeline = *pipeline, .thread = thread, .hides_all = hides_all,
                                     .time.positions = pipeline->positions };
}

void slice_filter_clear(struct slice_filter *filter)
{
    for (size_t i = 0; filter->hidden && i < filter->capacity; i++)
        hidden_time_clear(&filter->hidden[i]);
    for (size_t i = 0; i < filter->n; i++)
        remarks_release(&filter->pipeline.flows->remarks, filter->slices[i].kept);
    free(filter->hidden);
    filter->hidden = NULL;
    free(filter->slices);
    filter->slices = NULL;
    filter->n = filter->capacity = 0;
}

static int reserve_hidden(struct slice_filter *filter, size_t n)
{
    struct hidden_time *hidden = realloc(filter->hidden, n * sizeof *hidden);
    if (!hidden)
        return -1;
    memset(hidden + filter->capacity, 0, (n - filter->capacity) * sizeof *hidden);
    filter->hidden = hidden;
    return 0;
}

int slice_filter_reserve(struct slice_filter *filter, size_t n)
{
    if (n <= filter->capacity)
        return 0;
    if (filter->pipeline.rates && !filter->pipeline.learns_rates && reserve_hidden(filter, n) < 0)
        return -1;
    struct open_slice *slices = realloc(filter->slices, n * sizeof *slices);
    if (!slices)
        return -1;
    filter->slices = slices;
    filter->capacity = n;
    return 0;
}

static bool is_hidden_function(const struct slice_rules *rules, uint32_t function)
{
    if (!rules->is_hidden)
        return false;
    return function - 1 < rules->n_functions ? rules->is_hidden[function - 1] : rules->hides_unknown;
}

bool slice_filter_hides(const struct slice_filter *filter, enum pnr_subject subject, uint32_t function)
{
    const struct slice_rules *rules = filter->pipeline.rules;
    if (filter->hides_all || filter->n >= rules->max_depth)
        return true;
    return pnr_subject_is_function(subject) && is_hidden_function(rules, function);
}

unsigned slice_filter_judge_flow(const struct slice_filter *filter, const struct entered_frame *entered)
{
    const struct slice_pipeline *pipeline = &filter->pipeline;
    if (entered->flags & SLICE_CUT)     /* it began before */
        return 0;
    if (ledger_view_hides(pipeline->muted, entered->function))
        flows_forget_frame(pipeline->flows, entered->frame);
    bool is_whole = entered->is_first || flows_has_run(pipeline->flows, entered->function, entered->frame) ||
                    !ledger_view_was_muted(pipeline->muted, entered->function);
    return is_whole ? 0 : SLICE_FLOW_INCOMPLETE;
}

void slice_filter_leave_hidden(struct slice_filter *filter, uint64_t frame)
{
    flows_finish(filter->pipeline.flows, frame);
}

void slice_filter_retain_pending(struct slice_filter *filter, struct open_slice *slice)
{
    struct flows *flows = filter->pipeline.flows;
    if (slice->frame)
        flows_retain(flows, filter->thread, slice->function, slice->frame, slice->begin.ns);
    slice->is_retained = true;
    if (filter->pending_spawns)
        flows_decide(flows, &filter->pending_spawns, slice->begin.ns, true);
}

void slice_filter_instant(struct slice_filter *filter, const char *text, uint64_t ns)
{
    struct sink *sink = filter->pipeline.sink;
    flows_forget_works(filter->pipeline.flows);     /* events are missing, all instants of the recorder say so */
    if (filter->hides_all)
        return;
    ns = slice_time_instant(&filter->time, ns);
    if (filter->n > 0)
        slice_filter_retain(filter, &filter->slices[filter->n - 1]);
    if (sink->instant)
        sink->instant(sink, filter->thread, ns, text);
}

void slice_filter_submit(struct slice_filter *filter, uint64_t work, uint64_t ns)
{
    bool is_shown = !filter->hides_all && filter->n > 0;
    if (is_shown) {
        ns = slice_time_instant(&filter->time, ns);
        slice_filter_retain(filter, &filter->slices[filter->n - 1]);
    }
    flows_submit(filter->pipeline.flows, filter->thread, work, is_shown ? ns : 0);
}

void slice_filter_take(struct slice_filter *filter, uint64_t work, uint64_t ns)
{
    struct open_slice *slice = &filter->slices[filter->n - 1];
    ns = slice_time_instant(&filter->time, ns);
    slice_filter_retain(filter, slice);
    flows_take(filter->pipeline.flows, filter->thread, work, slice->function, ns);
}

void slice_filter_keep(struct slice_filter *filter, struct kept_values *kept)
{
    filter->slices[filter->n - 1].kept = kept;
}

void slice_filter_remark(struct slice_filter *filter, enum pnr_kind kind, uint32_t label,
                         const struct pnr_values *values, uint64_t ns)
{
    struct sink *sink = filter->pipeline.sink;
    if (filter->hides_all)
        return;
    ns = slice_time_instant(&filter->time, ns);
    uint32_t cookie = filter->n ? filter->slices[filter->n - 1].cookie : 0;
    if (filter->n > 0)
        slice_filter_retain(filter, &filter->slices[filter->n - 1]);
    bool is_known = symbols_function(filter->pipeline.symbols, label) != NULL;
    filter->pipeline.count->unknown_functions += !is_known;
    if (kind == PNR_FLOW && is_known)
        flows_report(filter->pipeline.flows, filter->thread, label, values, ns);
    else if (kind != PNR_FLOW && sink->remark)
        sink->remark(sink, &(struct sink_remark){ kind, filter->thread, ns, label, cookie, values });
}

void slice_filter_add_time(struct slice_filter *filter, struct hidden_situation situation, struct recorded_time time)
{
    if (filter->hidden && filter->n > 0)
        hidden_time_add(&filter->hidden[filter->n - 1], filter->pipeline.rates, situation, time);
}

void slice_filter_settle_hidden(struct slice_filter *filter)
{
    if (filter->hidden)
        hidden_rates_work(filter->pipeline.rates, filter->n);
    for (size_t i = 0; filter->hidden && i < filter->n && !filter->pipeline.rates->is_exhausted; i++)
        hidden_time_settle(&filter->hidden[i], filter->pipeline.rates);
}

void slice_filter_emit_hiding(struct slice_filter *filter, const struct open_slice *top, unsigned flags,
                              uint64_t end_ns)
{
    const struct slice slice = { .begin_ns = top->begin.ns, .end_ns = end_ns, .thread = filter->thread,
                                 .function = top->function, .flags = top->flags | flags, .cookie = top->cookie,
                                 .depth = (uint32_t)filter->n, .subject = top->subject,
                                 .values = top->kept ? &top->kept->values : NULL };
    const struct slice_pipeline *pipeline = &filter->pipeline;
    struct hidden_time *hidden = &filter->hidden[filter->n];
    size_t n = 0;
    hidden_time_settle(hidden, pipeline->rates);
    struct hidden_calls *calls = hidden->calls;
    for (size_t i = 0; i < hidden->n; i++)
        if (!pipeline->rules || !is_hidden_function(pipeline->rules, calls[i].function))
            calls[n++] = calls[i];
    if (n)
        pipeline->sink->hiding_slice(pipeline->sink, &slice, calls, n);
    else if (pipeline->sink->slice)
        pipeline->sink->slice(pipeline->sink, &slice);
    hidden_time_reset(hidden);
}

void slice_filter_create(struct slice_filter *filter, bool is_attributed, uint32_t function, uint64_t frame,
                         uint64_t ns)
{
    const struct slice_pipeline *pipeline = &filter->pipeline;
    flows_finish(pipeline->flows, frame);
    if (filter->hides_all || (pipeline->rules && is_hidden_function(pipeline->rules, function)))
        return;
    struct open_slice *creator = is_attributed && filter->n ? &filter->slices[filter->n - 1] : NULL;
    bool is_long = creator && slice_time_length(&filter->time, &creator->begin, ns) >= pipeline->min_ns;
    ns = slice_time_create(&filter->time, ns);
    if (!creator)
        return;
    if (is_long)
        slice_filter_retain(filter, creator);
    flows_create(pipeline->flows, creator->is_retained ? NULL : &filter->pending_spawns, filter->thread, function,
                 frame, ns);
}
