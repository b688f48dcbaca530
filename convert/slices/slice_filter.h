/* Which open frames of a stack become slices. Hides the two ways in which one does not:
 *
 * - It is hidden: by its function, by its depth, or as nothing is shown yet. That is known when it is entered. The
 *   stages after this one never learn of it, but that the frame has started or finished.
 * - It is pruned, as it is shorter than the minimum duration. That is known when it is left. Until then it is pending:
 *   it has a time and a place in its flow, and both are retracted if it is pruned. It is retained as soon as a slice or
 *   an instant inside it is, or when a frame is created in it after the minimum duration.
 *
 *     slice_filter_init()
 *     for each frame: slice_filter_enter(), then slice_filter_leave() or slice_filter_leave_hidden()
 *         slice_filter_instant(), slice_filter_create()
 *     slice_filter_clear()
 *
 * The pending slices of a stack are always the innermost ones: where one is retained, all around it are. */
#ifndef SLICE_FILTER_H
#define SLICE_FILTER_H

#include <stdlib.h>

#include "pipeline.h"
#include "slice_time.h"

struct open_slice {
    struct slice_begin begin;
    uint64_t frame;                     /* identity, 0 for a plain one */
    uint32_t function;                  /* of an unrecorded region: enum pnr_unrecorded_reason */
    uint32_t cookie;                    /* the sink's */
    uint8_t subject;                    /* enum pnr_subject */
    uint8_t flags;                      /* enum slice_flag */
    bool is_retained;                   /* else it is pending */
    struct kept_values *kept;           /* the values that the program gave it; or NULL */
};

struct slice_filter {
    struct slice_pipeline pipeline;     /* a copy, so that one load reaches each member */
    uint32_t thread;
    bool hides_all;                     /* nothing is shown yet, or ever */
    struct slice_time time;
    struct open_slice *slices;          /* outermost first; owned */
    size_t n, capacity;
    struct hidden_time *hidden;         /* what each of the slices hides; owned; NULL: that is not estimated */
    uint32_t pending_spawns;            /* list of frames created in pending slices: spawn_arrows.h */
};

/* What call_stack knows of a frame that is entered. */
struct entered_frame {
    enum pnr_subject subject;
    uint32_t function;
    uint64_t frame;
    bool is_first;                      /* the frame has not run before */
    bool is_task;                       /* what is around it runs tasks */
    unsigned flags;                     /* enum slice_flag */
};

void slice_filter_init(struct slice_filter *filter, const struct slice_pipeline *pipeline, uint32_t thread,
                       bool hides_all);

void slice_filter_clear(struct slice_filter *filter);

/* Reserves memory for n open slices in all. Returns 0, or -1 when out of memory. */
int slice_filter_reserve(struct slice_filter *filter, size_t n);

/* A frame that was hidden has finished. */
void slice_filter_leave_hidden(struct slice_filter *filter, uint64_t frame);

/* Gives the innermost slice values: the caller's part in them, or NULL. */
void slice_filter_keep(struct slice_filter *filter, struct kept_values *kept);

/* The program reported a moment, numbers or a flow. */
void slice_filter_remark(struct slice_filter *filter, enum pnr_kind kind, uint32_t label,
                         const struct pnr_values *values, uint64_t ns);

/* The innermost slice submits the work of this identity. */
void slice_filter_submit(struct slice_filter *filter, uint64_t work, uint64_t ns);

/* The innermost slice, which has just begun, does the work of this identity. */
void slice_filter_take(struct slice_filter *filter, uint64_t work, uint64_t ns);

void slice_filter_instant(struct slice_filter *filter, const char *text, uint64_t ns);

/* The innermost slice ran for this time outside of windows, with caller as the innermost function that was recorded. */
void slice_filter_add_time(struct slice_filter *filter, struct hidden_situation situation, struct recorded_time time);

/* What is muted changes: estimates what the open slices hide so far. */
void slice_filter_settle_hidden(struct slice_filter *filter);

/* A frame has been created. is_attributed: the innermost open slice has created it. */
void slice_filter_create(struct slice_filter *filter, bool is_attributed, uint32_t function, uint64_t frame,
                         uint64_t ns);

/* ---- for the inlined functions ---- */

/* Ends the flow of a frame that is entered while its function is muted: it may be another frame's. Returns
 * SLICE_FLOW_INCOMPLETE if slices of the frame before this one are missing since its function was muted. */
unsigned slice_filter_judge_flow(const struct slice_filter *filter, const struct entered_frame *entered);


/* Emits a slice that has just been removed, with what it hides. flags are added to the slice's. */
void slice_filter_emit_hiding(struct slice_filter *filter, const struct open_slice *top, unsigned flags,
                              uint64_t end_ns);

bool slice_filter_hides(const struct slice_filter *filter, enum pnr_subject subject, uint32_t function);
void slice_filter_retain_pending(struct slice_filter *filter, struct open_slice *slice);

static inline void slice_filter_retain(struct slice_filter *filter, struct open_slice *slice)
{
    if (!slice->is_retained)
        slice_filter_retain_pending(filter, slice);
}

static inline void slice_filter_prune(struct slice_filter *filter, const struct open_slice *slice)
{
    if (filter->hidden)
        hidden_time_reset(&filter->hidden[filter->n]);
    slice_time_retract(&filter->time, &slice->begin);
    remarks_release(&filter->pipeline.flows->remarks, slice->kept);
    if (filter->pending_spawns)
        flows_decide(filter->pipeline.flows, &filter->pending_spawns, slice->begin.ns, false);
}

/* Enters a frame at ns. Memory has been reserved. Returns whether the frame has a slice; else it is hidden. */
static inline __attribute__((always_inline)) bool slice_filter_enter(struct slice_filter *filter,
                                                                     const struct slice_pipeline *pipeline,
                                                                     enum pipeline_variant variant,
                                                                     const struct entered_frame *entered, uint64_t ns)
{
    bool is_plain = variant == PIPELINE_PLAIN;
    if (!is_plain && pipeline->rules && slice_filter_hides(filter, entered->subject, entered->function)) {
        if (entered->frame && entered->is_first)
            flows_finish(pipeline->flows, entered->frame);
        return false;
    }
    bool is_retained = is_plain || !pipeline->min_ns || !pnr_subject_is_function(entered->subject) ||
                       entered->flags & (SLICE_BEGIN_UNKNOWN | SLICE_CUT);
    unsigned flags = entered->flags;
    struct slice_begin begin = slice_time_begin(&filter->time, is_plain, ns);
    if (entered->frame) {
        if (variant == PIPELINE_MUTED)
            flags |= slice_filter_judge_flow(filter, entered);
        unsigned how = (entered->is_first ? FLOWS_FIRST : 0) | (is_retained ? FLOWS_RETAINED : 0) |
                       (entered->is_task ? FLOWS_TASK : 0);
        begin.ns = flows_enter(pipeline->flows, filter->thread, entered->function, entered->frame, how, begin.ns);
        filter->time.last_ns = begin.ns + 1;    /* kept for the flow event */
    }
    uint32_t cookie = 0;
    if (!is_plain && pipeline->sink->enter)
        cookie = pipeline->sink->enter(pipeline->sink, filter->n ? filter->slices[filter->n - 1].cookie : 0,
                                       filter->thread, entered->function, entered->subject);
    filter->slices[filter->n++] = (struct open_slice){ begin, entered->frame, entered->function, cookie,
                                                       (uint8_t)entered->subject, (uint8_t)flags,
                                                       is_retained, NULL };
    return true;
}

/* Leaves the frame of the innermost slice at ns. flags are added to the slice's. */
static inline __attribute__((always_inline)) void slice_filter_leave(struct slice_filter *filter,
                                                                     const struct slice_pipeline *pipeline,
                                                                     enum pipeline_variant variant, bool is_finished,
                                                                     unsigned flags, uint64_t ns)
{
    bool is_plain = variant == PIPELINE_PLAIN;
    struct open_slice *top = &filter->slices[filter->n - 1];
    if (!is_plain && !top->is_retained && (flags & (SLICE_UNFINISHED | SLICE_CUT) ||
            slice_time_length(&filter->time, &top->begin, ns) >= pipeline->min_ns))
        slice_filter_retain_pending(filter, top);
    uint64_t end_ns = is_plain || top->is_retained ? slice_time_end(&filter->time, is_plain, ns) : ns;
    if (top->frame)
        flows_leave(pipeline->flows, filter->thread, top->function, top->frame, is_finished, top->begin.ns, end_ns);
    filter->n--;
    if (!is_plain && !top->is_retained) {
        slice_filter_prune(filter, top);
        return;
    }
    if (variant == PIPELINE_MUTED && filter->hidden && pipeline->sink->hiding_slice)
        slice_filter_emit_hiding(filter, top, flags, end_ns);
    else if (pipeline->sink->slice)
        pipeline->sink->slice(pipeline->sink, &(struct slice){
            .begin_ns = top->begin.ns, .end_ns = end_ns, .thread = filter->thread, .function = top->function,
            .flags = top->flags | flags, .cookie = top->cookie, .depth = (uint32_t)filter->n, .subject = top->subject,
            .values = top->kept ? &top->kept->values : NULL });
    if (top->kept)
        remarks_release(&pipeline->flows->remarks, top->kept);
    struct stack_count *count = pipeline->count;
    count->slices++;
    if (filter->n >= count->max_depth)
        count->max_depth = filter->n + 1;
    if (pnr_subject_is_named(top->subject) && !symbols_function(pipeline->symbols, top->function))
        count->unknown_functions++;
    if (!is_plain && filter->n > 0)
        slice_filter_retain(filter, top - 1);
}

#endif
