#include "call_stack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/read/placing.h"
#include "format/array.h"

/* How many C functions and unrecorded regions are skipped in the search for what runs a task. */
#define MAX_TASK_SEARCH 64

struct stack_frame {
    uint64_t frame;                     /* identity, 0 for a plain one */
    uint32_t function;                  /* of an unrecorded region: enum pnr_unrecorded_reason */
    uint8_t subject;                    /* enum pnr_subject */
    bool has_slice;                     /* else the filter hides it */
    bool has_ended;                     /* a span that ended while frames inside it were open */
};

static inline struct stack_count *stack_count(const struct call_stack *stack)
{
    return stack->filter.pipeline.count;
}

void call_stack_init(struct call_stack *stack, const struct slice_pipeline *pipeline, uint32_t thread, bool is_hidden)
{
    *stack = (struct call_stack){ .n = 0 };
    slice_filter_init(&stack->filter, pipeline, thread, is_hidden);
}

void call_stack_clear(struct call_stack *stack)
{
    free(stack->frames);
    if (stack->n)                       /* a stack that was never initialised has no count */
        stack_count(stack)->open -= stack->n;
    stack->frames = NULL;
    stack->n = stack->capacity = 0;
    slice_filter_clear(&stack->filter);
}

/* ---- entering and leaving ----
 *
 * The inlined functions become a part of the loop over the records. variant is a constant there (pipeline.h): the
 * compiler omits what a plain conversion does not need, a tenth of its instructions. */

/* Grows the stack and the filter's, which never holds more. */
static int grow_stack(struct call_stack *stack)
{
    size_t capacity = stack->capacity ? 2 * stack->capacity : 8;
    struct stack_frame *frames = realloc(stack->frames, capacity * sizeof *frames);
    if (!frames)
        return -1;
    stack->frames = frames;
    if (slice_filter_reserve(&stack->filter, capacity) < 0)
        return -1;
    stack->capacity = capacity;
    return 0;
}

static void set_limit(struct call_stack *stack)
{
    stack->limit = stack->max < stack->capacity ? stack->max : stack->capacity;
}

/* Between begin_changes() and end_changes() only this stack changes: so what is open in others is read once, and not at
 * each frame. Frames that overflow are the innermost ones: none is kept until they have been left. */
static size_t begin_changes(struct call_stack *stack)
{
    stack->max = stack->n_overflowed ? stack->n : stack->n + CALL_STACK_MAX_OPEN - stack_count(stack)->open;
    set_limit(stack);
    return stack->n;
}

static void end_changes(struct call_stack *stack, size_t n_before)
{
    stack_count(stack)->open += stack->n - n_before;
}

/* The stack has reached its limit. Returns whether a frame can be added. */
static __attribute__((noinline)) bool raise_limit(struct call_stack *stack)
{
    if (stack->n == stack->max) {
        stack->n_overflowed++;
        stack_count(stack)->overflowed++;
        return false;
    }
    if (grow_stack(stack) < 0) {
        stack->is_out_of_memory = true;
        return false;
    }
    set_limit(stack);
    return true;
}

/* True when a coroutine that is entered above the n outermost frames is a task, if this is its first slice: a
 * function of the event loop runs it, with few C functions and unrecorded regions in between. */
static __attribute__((noinline)) bool is_task(const struct call_stack *stack, uint32_t function)
{
    const struct slice_pipeline *pipeline = &stack->filter.pipeline;
    const struct symbol *symbol = symbols_function(pipeline->symbols, function);
    if (!symbol || symbol->kind != PNR_FUNCTION_COROUTINE)
        return false;
    if (stack->starts_task)
        return true;
    for (size_t i = 1; i <= stack->n && i <= MAX_TASK_SEARCH; i++) {
        const struct stack_frame *caller = &stack->frames[stack->n - i];
        if (caller->subject == PNR_SUBJECT_PYTHON)
            return tasks_runs(&pipeline->flows->tasks, caller->function, caller->frame != 0);
    }
    return tasks_runs(&pipeline->flows->tasks, 0, false);
}

static inline __attribute__((always_inline)) void push_frame_inline(struct call_stack *stack,
                                                                    const struct slice_pipeline *pipeline,
                                                                    enum pipeline_variant variant,
                                                                    enum pnr_subject subject,
                                                                    uint32_t function, uint64_t frame, bool is_first,
                                                                    unsigned flags, uint64_t ns)
{
    if (stack->n == stack->limit && !raise_limit(stack))
        return;
    struct entered_frame entered = { subject, function, frame, is_first, false, flags };
    if (frame && pipeline->flows->choice.has_tasks)
        entered.is_task = is_task(stack, function);
    bool has_slice = slice_filter_enter(&stack->filter, pipeline, variant, &entered, ns);
    stack->frames[stack->n++] = (struct stack_frame){ frame, function, (uint8_t)subject, has_slice, false };
}

static void push_frame(struct call_stack *stack, enum pnr_subject subject, uint32_t function, uint64_t frame,
                       bool is_first, unsigned flags, uint64_t ns)
{
    push_frame_inline(stack, &stack->filter.pipeline, PIPELINE_FILTERED, subject, function, frame, is_first, flags, ns);
}

static void push_muted_frame(struct call_stack *stack, enum pnr_subject subject, uint32_t function, uint64_t frame,
                             bool is_first, unsigned flags, uint64_t ns)
{
    push_frame_inline(stack, &stack->filter.pipeline, PIPELINE_MUTED, subject, function, frame, is_first, flags, ns);
}

/* Enters a frame without knowing the variant. */
static void push_any_frame(struct call_stack *stack, enum pnr_subject subject, uint32_t function, uint64_t frame,
                           unsigned flags, uint64_t ns)
{
    if (stack->filter.pipeline.muted)
        push_muted_frame(stack, subject, function, frame, false, flags, ns);
    else
        push_frame(stack, subject, function, frame, false, flags, ns);
}

static inline __attribute__((always_inline)) void pop_frame_inline(struct call_stack *stack,
                                                                   const struct slice_pipeline *pipeline,
                                                                   enum pipeline_variant variant, bool is_finished,
                                                                   unsigned flags,
                                                                   uint64_t ns)
{
    const struct stack_frame *top = &stack->frames[--stack->n];
    if (variant == PIPELINE_PLAIN || top->has_slice)
        slice_filter_leave(&stack->filter, pipeline, variant, is_finished, flags, ns);
    else if (top->frame && is_finished)
        slice_filter_leave_hidden(&stack->filter, top->frame);
}

static void pop_frame(struct call_stack *stack, bool is_finished, unsigned flags, uint64_t ns)
{
    if (stack->filter.pipeline.muted)
        pop_frame_inline(stack, &stack->filter.pipeline, PIPELINE_MUTED, is_finished, flags, ns);
    else
        pop_frame_inline(stack, &stack->filter.pipeline, PIPELINE_FILTERED, is_finished, flags, ns);
}

/* Closes all frames but the n outermost ones. */
static void close_down_to(struct call_stack *stack, size_t n, uint64_t ns)
{
    while (stack->n > n)
        pop_frame(stack, false, SLICE_EXIT_MISSING, ns);
}

/* A running frame is known by its function; two frames of one function by their identities, if both are known. */
static inline bool is_same_frame(const struct stack_frame *open, enum pnr_subject subject, uint32_t function,
                                 uint64_t frame)
{
    return open->subject == subject && open->function == function &&
           (open->frame == frame || open->frame == 0 || frame == 0);
}

/* ---- spans ----
 *
 * A span is on the stack of its thread like a call. Unlike a call it may outlive the frame in which it began: __enter__()
 * of a class of the program begins it, and its __exit__() ends it. Slices must nest, so it is cut there:
 *
 *     records            stack            slices
 *     CALL f             f                f begins
 *     CALL enter         f enter          enter begins
 *     SPAN s             f enter s        s begins
 *     RETURN enter       f s              s and enter end; s begins again, in f
 *     CALL exit          f s exit         exit begins
 *     SPAN_END s         f s exit         s has ended: it is closed as soon as it is innermost
 *     RETURN exit        f                exit and s end
 *
 * A span that is open when its coroutine is suspended is suspended with it: other tasks run in between, in which it is
 * not open. That of a generator stays: @contextlib.contextmanager makes generators of that kind. */

#define MAX_CARRIED 64                  /* spans that outlive one frame; further ones are closed with it */

struct carried_span {
    uint32_t label;
    struct kept_values *kept;           /* this has a part in them; or NULL */
};

/* Enters a span. kept: its values, in which the caller has a part; or NULL. */
static void push_span(struct call_stack *stack, uint32_t label, struct kept_values *kept, uint64_t ns)
{
    size_t n_before = stack->n;
    push_any_frame(stack, PNR_SUBJECT_SPAN, label, 0, 0, ns);
    if (stack->n > n_before && stack->frames[stack->n - 1].has_slice)
        slice_filter_keep(&stack->filter, kept);
    else
        remarks_release(&stack->filter.pipeline.flows->remarks, kept);
}

/* Returns whether all frames but the n outermost ones are spans, few enough to be carried. */
static bool are_spans_above(const struct call_stack *stack, size_t n)
{
    if (stack->n == n || stack->n - n > MAX_CARRIED)
        return false;
    for (size_t i = n; i < stack->n; i++)
        if (stack->frames[i].subject != PNR_SUBJECT_SPAN)
            return false;
    return true;
}

/* Closes all but the n outermost frames, which are spans, and gives them, the outermost first. Those that have ended are
 * left out. Returns how many there are. */
static size_t take_spans(struct call_stack *stack, size_t n, struct carried_span carried[MAX_CARRIED], uint64_t ns)
{
    const struct slice_filter *filter = &stack->filter;
    size_t n_carried = 0, n_slices = 0;
    for (size_t i = n; i < stack->n; i++)
        n_slices += stack->frames[i].has_slice;
    for (size_t i = n; i < stack->n; i++) {
        const struct stack_frame *span = &stack->frames[i];
        struct kept_values *kept = span->has_slice ? filter->slices[filter->n - n_slices].kept : NULL;
        n_slices -= span->has_slice;
        if (span->has_ended)
            continue;
        if (kept)
            kept->n_users++;
        carried[n_carried++] = (struct carried_span){ span->function, kept };
    }
    while (stack->n > n)
        pop_frame(stack, false, 0, ns);
    return n_carried;
}

/* True for a frame whose spans are suspended with it. */
static bool suspends_spans(const struct call_stack *stack, const struct stack_frame *frame)
{
    const struct symbol *symbol = symbols_function(stack->filter.pipeline.symbols, frame->function);
    return frame->frame && !(symbol && symbol->kind == PNR_FUNCTION_GENERATOR);
}

/* Leaves the frame n - 1, above which there are only spans. */
static void leave_below_spans(struct call_stack *stack, size_t n, bool is_finished, unsigned flags, uint64_t ns)
{
    struct remarks *remarks = &stack->filter.pipeline.flows->remarks;
    struct carried_span carried[MAX_CARRIED];
    const struct stack_frame frame = stack->frames[n - 1];
    bool is_suspended = !is_finished && suspends_spans(stack, &frame);
    size_t n_carried = take_spans(stack, n, carried, ns);
    pop_frame(stack, is_finished, flags, ns);
    for (size_t i = 0; i < n_carried; i++) {
        if (is_suspended)
            remarks_suspend(remarks, frame.frame, carried[i].label, carried[i].kept);
        else
            push_span(stack, carried[i].label, carried[i].kept, ns);
    }
}

/* Closes spans that have ended, as far as they are innermost. */
static __attribute__((noinline)) void close_ended_spans(struct call_stack *stack, uint64_t ns)
{
    while (stack->n > 0 && stack->frames[stack->n - 1].has_ended) {
        pop_frame(stack, false, 0, ns);
        stack->n_ended--;
    }
    if (stack->n == 0)
        stack->n_ended = 0;
}

/* Ends the innermost span of this label. One that is not found began before the recording, or before what is left of
 * it. */
static void end_span(struct call_stack *stack, uint32_t label, uint64_t ns)
{
    struct stack_count *count = stack_count(stack);
    size_t max = count->failed_compares < CALL_STACK_MAX_FAILED ? CALL_STACK_MAX_SEARCH : 1;
    size_t bottom = stack->n > max ? stack->n - max : 0;
    for (size_t i = stack->n; i > bottom; i--) {
        struct stack_frame *span = &stack->frames[i - 1];
        if (span->subject != PNR_SUBJECT_SPAN || span->function != label || span->has_ended)
            continue;
        count->failed_compares += stack->n - i;
        if (i == stack->n) {
            pop_frame(stack, true, 0, ns);
        } else if (are_spans_above(stack, i)) {
            leave_below_spans(stack, i, true, 0, ns);
        } else {
            span->has_ended = true;
            stack->n_ended++;
        }
        return;
    }
    count->failed_compares += stack->n - bottom;
}

/* A continuable frame has been entered: so are the spans that were suspended with it. */
static __attribute__((noinline)) void resume_spans(struct call_stack *stack, uint64_t frame, bool is_first, uint64_t ns)
{
    struct remarks *remarks = &stack->filter.pipeline.flows->remarks;
    uint32_t label;
    struct kept_values *kept;
    if (is_first)
        remarks_forget(remarks, frame);
    while (remarks_resume(remarks, frame, &label, &kept))
        push_span(stack, label, kept, ns);
}

/* Leaves a frame that may not be the innermost one. */
static void leave_inner_frames(struct call_stack *stack, enum pnr_subject subject, uint32_t function, uint64_t frame,
                               bool is_finished, unsigned flags, uint64_t ns)
{
    struct stack_count *count = stack_count(stack);
    bool is_hidden = stack->filter.hides_all;
    size_t max = count->failed_compares < CALL_STACK_MAX_FAILED ? CALL_STACK_MAX_SEARCH : 1;
    size_t bottom = stack->n > max ? stack->n - max : 0;
    for (size_t i = stack->n; i > bottom; i--) {
        if (!is_same_frame(&stack->frames[i - 1], subject, function, frame))
            continue;
        if (are_spans_above(stack, i)) {
            leave_below_spans(stack, i, is_finished, flags, ns);
            return;
        }
        count->missing_exits += is_hidden ? 0 : stack->n - i;
        close_down_to(stack, i, ns);
        pop_frame(stack, is_finished, flags, ns);
        return;
    }
    count->failed_compares += stack->n - bottom;
    bool is_unlisted = stack->has_unlisted && stack->n == 0;
    count->ignored_exits += !is_hidden && !stack->is_revealed && !is_unlisted;
}

static inline __attribute__((always_inline)) void leave_frame(struct call_stack *stack,
                                                              const struct slice_pipeline *pipeline,
                                                              enum pipeline_variant variant,
                                                              enum pnr_subject subject, uint32_t function,
                                                              uint64_t frame, bool is_finished, unsigned flags,
                                                              uint64_t ns)
{
    if (stack->n_overflowed)
        stack->n_overflowed--;
    else if (stack->n > 0 && is_same_frame(&stack->frames[stack->n - 1], subject, function, frame))
        pop_frame_inline(stack, pipeline, variant, is_finished, flags, ns);
    else
        leave_inner_frames(stack, subject, function, frame, is_finished, flags, ns);
    if (stack->n_ended)
        close_ended_spans(stack, ns);
}

/* Closes the n innermost Python frames, which returned while nothing was recorded. */
static void leave_n_frames(struct call_stack *stack, uint32_t n, uint64_t ns)
{
    uint64_t n_overflowed = n < stack->n_overflowed ? n : stack->n_overflowed;
    stack->n_overflowed -= n_overflowed;
    n -= (uint32_t)n_overflowed;
    while (n > 0 && stack->n > 0) {
        if (stack->frames[stack->n - 1].subject == PNR_SUBJECT_PYTHON)
            n--;
        pop_frame(stack, false, SLICE_EXIT_MISSING, ns);
    }
}

/* ---- records ---- */

static void report_lost(struct call_stack *stack, uint32_t n, uint64_t ns)
{
    char text[64];
    stack->taken = 0;                   /* the call that does the work may be among them */
    stack_count(stack)->lost += stack->filter.hides_all ? 0 : n;
    snprintf(text, sizeof text, "[lost %" PRIu32 " events]", n);
    slice_filter_instant(&stack->filter, text, ns);
}

static void convert_rare_record(struct call_stack *stack, struct pnr_record record, uint64_t ns)
{
    uint32_t function = pnr_record_function(record);
    switch (pnr_record_kind(record)) {
    case PNR_CREATE:
        slice_filter_create(&stack->filter, !stack->n_overflowed, function, pnr_record_frame(record), ns);
        break;
    case PNR_LEFT:
        leave_n_frames(stack, function, ns);
        break;
    case PNR_LOST:
        report_lost(stack, function, ns);
        break;
    case PNR_DATA:
        stack_count(stack)->stray_values++;
        break;
    case PNR_SUBMIT:
        slice_filter_submit(&stack->filter, pnr_record_frame(record), ns);
        break;
    default:                            /* also EMPTY, and OPEN where it must not be */
        stack_count(stack)->unknown_kinds++;
    }
}

/* Returns the values of a collection. end: its COLLECT_END record, or NULL; the caller has a part in them; or NULL. */
static struct kept_values *collection_values(struct remarks *remarks, uint32_t generation, const struct pnr_record *end)
{
    struct pnr_values_writer writer = { .size = 0 };
    struct pnr_value value = { .key_text = { "generation", 10 }, .type = PNR_VALUE_INTEGER, .integer = generation };
    pnr_values_add(&writer, &value);
    if (end) {
        value.key_text = (struct pnr_string){ "collected", 9 };
        value.integer = pnr_collected(pnr_record_frame(*end));
        pnr_values_add(&writer, &value);
        value.key_text = (struct pnr_string){ "uncollectable", 13 };
        value.integer = pnr_uncollectable(pnr_record_frame(*end));
        pnr_values_add(&writer, &value);
    }
    return remarks_keep(remarks, &(struct pnr_values){ writer.bytes, writer.size, 0 });
}

/* Gives the innermost slice, if it is a collection's, other values. */
static void describe_collection(struct call_stack *stack, uint32_t generation, const struct pnr_record *end)
{
    struct remarks *remarks = &stack->filter.pipeline.flows->remarks;
    const struct stack_frame *top = stack->n ? &stack->frames[stack->n - 1] : NULL;
    if (stack->n_overflowed || !top || !top->has_slice || top->subject != PNR_SUBJECT_COLLECTION ||
        top->function != generation)
        return;
    remarks_release(remarks, stack->filter.slices[stack->filter.n - 1].kept);
    slice_filter_keep(&stack->filter, collection_values(remarks, generation, end));
}

/* The garbage collector begins in this thread, or ends. */
static void convert_collection(struct call_stack *stack, struct pnr_record record, enum pnr_effect effect, unsigned flags,
                               uint64_t ns)
{
    uint32_t generation = pnr_record_function(record);
    size_t n_before = stack->n;
    if (effect == PNR_EFFECT_ENTER) {
        push_any_frame(stack, PNR_SUBJECT_COLLECTION, generation, 0, flags, ns);
        if (stack->n > n_before)
            describe_collection(stack, generation, NULL);
        return;
    }
    describe_collection(stack, generation, &record);
    enum pipeline_variant variant = stack->filter.pipeline.muted ? PIPELINE_MUTED : PIPELINE_FILTERED;
    leave_frame(stack, &stack->filter.pipeline, variant, PNR_SUBJECT_COLLECTION, generation, 0, true, flags, ns);
}

/* Adds values to the slice of a frame, if it has one: that is retained, however short. i: the frame's index. */
static void describe_call(struct call_stack *stack, size_t i, const struct pnr_values *values)
{
    struct slice_filter *filter = &stack->filter;
    size_t n_inside = 0;
    if (!stack->frames[i].has_slice)
        return;
    for (size_t inner = i + 1; inner < stack->n; inner++)
        n_inside += stack->frames[inner].has_slice;
    struct open_slice *slice = &filter->slices[filter->n - 1 - n_inside];
    slice_filter_retain(filter, slice);
    slice->kept = remarks_join(&filter->pipeline.flows->remarks, slice->kept, values);
}

static void convert_arguments(struct call_stack *stack, uint32_t function, const struct pnr_values *values)
{
    const struct stack_frame *top = stack->n ? &stack->frames[stack->n - 1] : NULL;
    if (stack->n_overflowed)
        return;
    if (top && top->subject == PNR_SUBJECT_PYTHON && top->function == function)
        describe_call(stack, stack->n - 1, values);
    else
        stack_count(stack)->stray_values += !stack->filter.hides_all && !stack->is_revealed;
}

/* The frame that is left next may not be the innermost one, as with its exit. If it is not found, that exit is reported. */
static void convert_result(struct call_stack *stack, uint32_t function, const struct pnr_values *values)
{
    struct stack_count *count = stack_count(stack);
    size_t max = count->failed_compares < CALL_STACK_MAX_FAILED ? CALL_STACK_MAX_SEARCH : 1;
    size_t bottom = stack->n > max ? stack->n - max : 0, i = stack->n;
    if (stack->n_overflowed)
        return;
    while (i > bottom && (stack->frames[i - 1].subject != PNR_SUBJECT_PYTHON || stack->frames[i - 1].function != function))
        i--;
    count->failed_compares += stack->n - i;
    if (i > bottom)
        describe_call(stack, i - 1, values);
}

/* Returns how many frames there are up to the innermost one that is no span; at most MAX_CARRIED spans are skipped. */
static size_t count_without_spans(const struct call_stack *stack)
{
    size_t n = stack->n_overflowed ? 0 : stack->n;
    while (n > 0 && stack->n - n < MAX_CARRIED && stack->frames[n - 1].subject == PNR_SUBJECT_SPAN)
        n--;
    return n;
}

/* The innermost frame, spans apart, is the coroutine of a task. n: records that it takes, from `index` on. */
static void convert_task(struct call_stack *stack, uint32_t function, const struct pnr_values *values, uint32_t index,
                         uint32_t n)
{
    size_t n_frames = count_without_spans(stack);
    const struct stack_frame *top = n_frames ? &stack->frames[n_frames - 1] : NULL;
    awaits_skip(&stack->awaits, index, n);
    if (top && top->subject == PNR_SUBJECT_PYTHON && top->function == function && top->has_slice)
        flows_describe_task(stack->filter.pipeline.flows, function, top->frame, values);
}

/* Converts the record at `index`, which has values. Returns how many DATA records follow it. */
static uint32_t convert_values(struct call_stack *stack, const struct call_stack_input *input, uint32_t index,
                               uint64_t ns)
{
    const struct pnr_record *record = &input->records[index];
    struct remarks *remarks = &stack->filter.pipeline.flows->remarks;
    unsigned char bytes[REMARKS_BUFFER];
    struct pnr_values values;
    bool is_whole;
    uint32_t n_data = remarks_read_values(record, input->n - index, &values, bytes, &is_whole);
    stack_count(stack)->stray_values += !is_whole;
    stack_count(stack)->unread_values += !remarks_are_readable(&values);
    if (pnr_record_kind(*record) == PNR_ARGUMENTS)
        convert_arguments(stack, pnr_record_function(*record), &values);
    else if (pnr_record_kind(*record) == PNR_RESULT)
        convert_result(stack, pnr_record_function(*record), &values);
    else if (pnr_record_kind(*record) == PNR_TASK)
        convert_task(stack, pnr_record_function(*record), &values, index, 1 + n_data);
    else if (pnr_record_kind(*record) == PNR_SPAN)
        push_span(stack, pnr_record_function(*record), remarks_keep(remarks, &values), ns);
    else
        slice_filter_remark(&stack->filter, pnr_record_kind(*record), pnr_record_function(*record), &values, ns);
    return n_data;
}

/* The i-th record before the one at `index`, from 1 on; no further than CALL_STACK_PREVIOUS before the block. */
static struct pnr_record previous_record(const struct call_stack *stack, const struct call_stack_input *input,
                                         uint32_t index, uint32_t i)
{
    return i <= index ? input->records[index - i] : stack->previous[CALL_STACK_PREVIOUS - (i - index)];
}

/* Keeps the last records of a block that has been converted. */
static void keep_previous(struct call_stack *stack, const struct call_stack_input *input)
{
    struct pnr_record previous[CALL_STACK_PREVIOUS];
    for (uint32_t i = 1; i <= CALL_STACK_PREVIOUS; i++)
        previous[CALL_STACK_PREVIOUS - i] = previous_record(stack, input, input->n, i);
    memcpy(stack->previous, previous, sizeof previous);
}

/* True when the record at `index`, a START, follows the two calls that asyncio makes before a task starts eagerly. */
static bool follows_task_calls(const struct call_stack *stack, const struct call_stack_input *input, uint32_t index)
{
    uint32_t functions[CALL_STACK_PREVIOUS / 2];
    for (uint32_t i = 0; i < CALL_STACK_PREVIOUS / 2; i++) {
        struct pnr_record call = previous_record(stack, input, index, 2 * i + 2);
        struct pnr_record exit = previous_record(stack, input, index, 2 * i + 1);
        if (placing_kind(call) != PNR_CALL || placing_kind(exit) != PNR_RETURN)
            return false;
        functions[i] = pnr_record_function(exit);
    }
    return tasks_starts(&stack->filter.pipeline.flows->tasks, functions[1], functions[0]);
}

/* The frame that is left next is suspended by the record at `index`: finds out for what, if it is a task. */
static __attribute__((noinline)) void suspend_frame(struct call_stack *stack, struct pnr_record record, uint32_t index)
{
    struct flows *flows = stack->filter.pipeline.flows;
    uint32_t function = pnr_record_function(record);
    size_t n = count_without_spans(stack);
    if (n > 0 && is_same_frame(&stack->frames[n - 1], PNR_SUBJECT_PYTHON, function, pnr_record_frame(record)))
        awaits_suspend(&stack->awaits, flows->symbols, function, index);
    else
        stack->awaits = (struct awaits){ .is_open = false };
    flows_await(flows, stack->awaits.awaited);
}

/* Converts the record at `index`, of any kind. Returns how many DATA records after it belong to it. */
static inline __attribute__((always_inline)) uint32_t convert_record_inline(struct call_stack *stack,
                                                                            enum pipeline_variant variant,
                                                                            const struct call_stack_input *input,
                                                                            uint32_t index, uint64_t ns)
{
    struct pnr_record record = input->records[index];
    if (pnr_kind_has_values(pnr_record_kind(record)))
        return convert_values(stack, input, index, ns);
    bool is_inexact = input->is_sparse && placing_is_inexact(record);
    struct pnr_kind_effect of = pnr_kind_effect(is_inexact ? placing_kind(record) : pnr_record_kind(record));
    unsigned flags = (is_inexact ? SLICE_INEXACT : 0) | (of.traits & PNR_EXCEPTION ? SLICE_EXCEPTION : 0);
    uint32_t function = pnr_record_function(record);
    uint64_t frame = of.traits & PNR_CONTINUABLE ? pnr_record_frame(record) : 0;
    if (of.subject == PNR_SUBJECT_COLLECTION) {
        convert_collection(stack, record, of.effect, flags, ns);
        return 0;
    }
    if (of.effect == PNR_EFFECT_ENTER) {
        bool is_first = of.traits & PNR_FIRST, has_tasks = stack->filter.pipeline.flows->choice.has_tasks;
        stack->starts_task = is_first && has_tasks && follows_task_calls(stack, input, index);
        if (variant == PIPELINE_MUTED)
            push_muted_frame(stack, of.subject, function, frame, is_first, flags, ns);
        else
            push_frame(stack, of.subject, function, frame, is_first, flags, ns);
        stack->starts_task = false;
        if (frame && remarks_has_suspended(&stack->filter.pipeline.flows->remarks))
            resume_spans(stack, frame, is_first, ns);
    } else if (of.subject == PNR_SUBJECT_SPAN) {
        if (stack->n_overflowed)
            stack->n_overflowed--;
        else
            end_span(stack, function, ns);
    } else if (of.effect == PNR_EFFECT_LEAVE) {
        bool is_suspended = frame && !(of.traits & PNR_LAST) && stack->filter.pipeline.flows->choice.has_tasks;
        if (is_suspended)
            suspend_frame(stack, record, index);
        leave_frame(stack, &stack->filter.pipeline, variant, of.subject, function, frame, of.traits & PNR_LAST, flags,
                    ns);
        if (is_suspended && flows_end_await(stack->filter.pipeline.flows))
            awaits_end(&stack->awaits);
    } else {
        convert_rare_record(stack, record, ns);
    }
    return 0;
}

static __attribute__((noinline)) uint32_t convert_record(struct call_stack *stack,
                                                         const struct call_stack_input *input, uint32_t index,
                                                         uint64_t ns)
{
    return convert_record_inline(stack, PIPELINE_FILTERED, input, index, ns);
}

static __attribute__((noinline)) uint32_t convert_muted_record(struct call_stack *stack,
                                                               const struct call_stack_input *input, uint32_t index,
                                                               uint64_t ns)
{
    return convert_record_inline(stack, PIPELINE_MUTED, input, index, ns);
}

/* ---- what is hidden ----
 * Between two records the innermost frame runs. In a window a frame is hidden if outside of windows it would not have
 * been recorded: it is of a muted function, or is the call of a C function by one whose calls are muted. A frame that
 * was open when the window began is not: it is recorded to its end. */

/* Returns whether the frame at this index is hidden, and why. A call of a C function has its caller below it. */
static bool is_hidden_frame(const struct call_stack *stack, size_t i, struct mute_reason *reason)
{
    const struct ledger_view *muted = stack->filter.pipeline.muted;
    const struct stack_frame *frame = &stack->frames[i];
    if (i < stack->n_before_window)
        return false;
    bool is_c_call = frame->subject == PNR_SUBJECT_C;
    *reason = (struct mute_reason){ frame->function, false };
    if (!is_c_call)
        return frame->subject == PNR_SUBJECT_PYTHON && ledger_view_is_muted(muted, frame->function, false);
    for (; i > 0 && stack->frames[i - 1].subject != PNR_SUBJECT_PYTHON; i--)
        hidden_rates_work(stack->filter.pipeline.rates, 1);
    if (i == 0)
        return false;
    *reason = (struct mute_reason){ stack->frames[i - 1].function, true };
    if (ledger_view_is_muted(muted, reason->function, true))
        return true;
    reason->is_c_calls = false;
    return i - 1 >= stack->n_before_window && ledger_view_is_muted(muted, reason->function, false);
}

/* Returns the function of the innermost frame that is not hidden; 0 when there is none, or it is an unrecorded region.
 * */
static uint32_t find_visible(const struct call_stack *stack)
{
    struct mute_reason reason;
    for (size_t i = stack->n; i > 0 && !stack->filter.pipeline.rates->is_exhausted; i--) {
        hidden_rates_work(stack->filter.pipeline.rates, 1);
        if (stack->frames[i - 1].subject != PNR_SUBJECT_SPAN && !is_hidden_frame(stack, i - 1, &reason))
            return pnr_subject_is_function(stack->frames[i - 1].subject) ? stack->frames[i - 1].function : 0;
    }
    return 0;
}

/* Learns from a call that has just begun in a window. */
static void learn_call(struct call_stack *stack)
{
    const struct slice_pipeline *pipeline = &stack->filter.pipeline;
    struct mute_reason reason;
    if (pipeline->rates->is_exhausted || !pipeline->muted->in_window || !is_hidden_frame(stack, stack->n - 1, &reason))
        return;
    uint32_t caller = find_visible(stack);
    if (caller)
        hidden_rates_add_call(pipeline->rates, (struct hidden_situation){ caller, stack->last_event },
                              stack->frames[stack->n - 1].function, reason);
}

static void learn_time(struct call_stack *stack, struct recorded_time time)
{
    struct mute_reason reason;
    const struct stack_frame *top = &stack->frames[stack->n - 1];
    uint32_t caller = find_visible(stack);
    bool is_hidden = is_hidden_frame(stack, stack->n - 1, &reason);
    if (caller)
        hidden_rates_add_time(stack->filter.pipeline.rates, (struct hidden_situation){ caller, stack->last_event },
                              is_hidden ? top->function : 0, time);
}

/* Notes which event was the last one of a function that is not muted. */
static void follow_situation(struct call_stack *stack, struct pnr_record record)
{
    struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(record));
    uint32_t function = pnr_record_function(record);
    bool is_exit = of.effect == PNR_EFFECT_LEAVE;
    if (of.subject == PNR_SUBJECT_PYTHON && (is_exit || of.effect == PNR_EFFECT_ENTER) &&
        !ledger_view_is_muted(stack->filter.pipeline.muted, function, false))
        stack->last_event = function << 1 | is_exit;
}

/* Returns what the event that ends a time, and the one before it, cost in that time. */
static double events_between(struct call_stack *stack, enum pnr_effect effect)
{
    bool was_entry = stack->is_after_entry, is_entry = effect == PNR_EFFECT_ENTER;
    stack->is_after_entry = is_entry;
    if (was_entry == is_entry)
        return HIDDEN_NESTED_EVENTS;
    return was_entry ? HIDDEN_LEAF_EVENTS : HIDDEN_BETWEEN_EVENTS;
}

/* Accounts for the time up to ns, with the cost of so many events in it. */
static void account_time(struct call_stack *stack, uint64_t ns, double n_events)
{
    const struct slice_pipeline *pipeline = &stack->filter.pipeline;
    const struct ledger_view *muted = pipeline->muted;
    struct recorded_time time = { ns > stack->accounted_ns ? ns - stack->accounted_ns : 0, n_events };
    if (ns > stack->accounted_ns)
        stack->accounted_ns = ns;
    if (stack->n_before_window > stack->n)
        stack->n_before_window = stack->n;
    if (stack->n == 0 || pipeline->rates->is_exhausted)
        return;
    hidden_rates_cut(pipeline->rates, &time);
    if (pipeline->learns_rates)
        hidden_rates_note_interval(pipeline->rates, time);
    if (!muted->is_known)
        return;
    if (pipeline->learns_rates && muted->in_window)
        learn_time(stack, time);
    else if (!pipeline->learns_rates && !muted->in_window && muted->n_muted &&
             pnr_subject_is_function(stack->frames[stack->n - 1].subject))
        slice_filter_add_time(&stack->filter, (struct hidden_situation){ stack->frames[stack->n - 1].function,
                                                                     stack->last_event }, time);
}

void call_stack_run(struct call_stack *stack, uint64_t ns)
{
    if (ns > stack->accounted_ns)
        stack->accounted_ns = ns;
}

void call_stack_account(struct call_stack *stack, uint64_t ns)
{
    if (stack->filter.pipeline.rates)
        account_time(stack, ns, 0);
}

void call_stack_settle(struct call_stack *stack)
{
    slice_filter_settle_hidden(&stack->filter);
}

void call_stack_begin_window(struct call_stack *stack)
{
    stack->n_before_window = stack->n;
}

/* ---- works ----
 * A thread takes work right before the call that does it: the next frame on its stack that has a slice. Where the function of
 * the standard library around that call is not recorded, another record ends the work. */

/* Returns whether work begins: then call_stack_records() looks for the frame. */
static bool take_work(struct call_stack *stack, struct pnr_record record)
{
    stack->taken = pnr_record_frame(record);
    stack->n_at_taken = stack->n;
    return stack->taken;
}

/* A record has been converted since then, at ns. n_before: so many frames were open before. */
static void follow_taken_work(struct call_stack *stack, size_t n_before, uint64_t ns)
{
    bool is_entered = stack->n > n_before;
    if (is_entered && stack->frames[stack->n - 1].has_slice)
        slice_filter_take(&stack->filter, stack->taken, ns);
    if ((is_entered && stack->frames[stack->n - 1].has_slice) || (stack->n < n_before && stack->n <= stack->n_at_taken))
        stack->taken = 0;
}

/* Returns the index after the next record and what belongs to it. */
static uint32_t end_of_record(const struct call_stack_input *input)
{
    uint32_t end = input->next + 1;
    while (end < input->n && pnr_record_kind(input->records[end]) == PNR_DATA)
        end++;
    return end;
}

/* Most records are CALL and RETURN: for those the compiler omits what other kinds need. */
static inline __attribute__((always_inline)) void convert_records(struct call_stack *stack,
                                                                  enum pipeline_variant variant,
                                                                  struct call_stack_input *input,
                                                                  uint64_t until_ticks)
{
    const struct slice_pipeline pipeline = stack->filter.pipeline;     /* no store can change the copy: in registers */
    const struct pnr_record *records = input->records;
    uint64_t now = input->ticks;
    uint32_t next = input->next, n = input->n, first = next, n_data = 0;
    for (; next < n; next++) {
        struct pnr_record record = records[next];
        unsigned kind = pnr_record_kind(record);
        uint64_t ticks = input->begin_ticks + pnr_record_ticks(record);
        if (ticks < now)                /* damage, or a clock about which two processors disagree */
            pipeline.count->backwards++;
        else
            now = ticks;
        if (now > until_ticks || kind == PNR_SWITCH)
            break;
        uint64_t ns = timeline_since(input->timeline, input->zero_ns, now);
        size_t n_before = stack->n;
        uint32_t n_own = 0;             /* DATA records of this one */
        if (variant == PIPELINE_MUTED && pipeline.rates) {
            pipeline.rates->work_left += HIDDEN_WORK_OF_EVENT;
            account_time(stack, ns, events_between(stack, pnr_kind_effect(kind).effect));
        }
        if (kind == PNR_CALL)
            push_frame_inline(stack, &pipeline, variant, PNR_SUBJECT_PYTHON, pnr_record_function(record), 0, false, 0,
                              ns);
        else if (kind == PNR_RETURN)
            leave_frame(stack, &pipeline, variant, PNR_SUBJECT_PYTHON, pnr_record_function(record), 0, true, 0, ns);
        else if (kind == PNR_TAKE)
            n = take_work(stack, record) ? next + 1 : n;
        else if (variant == PIPELINE_MUTED)
            n_own = convert_muted_record(stack, input, next, ns);
        else
            n_own = convert_record(stack, input, next, ns);
        if (variant == PIPELINE_MUTED && pipeline.learns_rates && stack->n > n_before)
            learn_call(stack);
        if (variant == PIPELINE_MUTED && pipeline.rates)
            follow_situation(stack, record);
        next += n_own;
        n_data += n_own;
    }
    pipeline.count->events += next - first - n_data;
    input->next = next;
    input->ticks = now;
}

static __attribute__((noinline)) void convert_muted_records(struct call_stack *stack, struct call_stack_input *input,
                                                            uint64_t until_ticks)
{
    convert_records(stack, PIPELINE_MUTED, input, until_ticks);
}

static void convert_by_variant(struct call_stack *stack, struct call_stack_input *input, uint64_t until_ticks)
{
    enum pipeline_variant variant = slice_pipeline_variant(&stack->filter.pipeline);
    if (variant == PIPELINE_MUTED)
        convert_muted_records(stack, input, until_ticks);
    else if (variant == PIPELINE_PLAIN)
        convert_records(stack, PIPELINE_PLAIN, input, until_ticks);
    else
        convert_records(stack, PIPELINE_FILTERED, input, until_ticks);
}

/* Converts the next record alone. Returns false when there is none before until_ticks. */
static bool convert_after_taking(struct call_stack *stack, struct call_stack_input *input, uint64_t until_ticks)
{
    uint32_t first = input->next, n = input->n;
    size_t n_before = stack->n;
    input->n = end_of_record(input);
    convert_by_variant(stack, input, until_ticks);
    input->n = n;
    if (input->next == first)
        return false;
    if (pnr_record_kind(input->records[first]) != PNR_TAKE)
        follow_taken_work(stack, n_before, timeline_since(input->timeline, input->zero_ns, input->ticks));
    return true;
}

void call_stack_records(struct call_stack *stack, struct call_stack_input *input, uint64_t until_ticks)
{
    size_t n_before = begin_changes(stack);
    bool goes_on = true;
    while (goes_on && input->next < input->n) {
        if (stack->taken) {
            goes_on = convert_after_taking(stack, input, until_ticks);
        } else {
            convert_by_variant(stack, input, until_ticks);
            goes_on = stack->taken;     /* else all is converted that comes before until_ticks */
        }
    }
    end_changes(stack, n_before);
    if (input->next == input->n) {
        keep_previous(stack, input);
        awaits_end_block(&stack->awaits, input->n);
    }
}

/* ---- the begin of a block ---- */

/* An OPEN record lists a Python frame or the call of a C function. */
static enum pnr_subject open_subject(struct pnr_record open)
{
    return pnr_record_frame(open) == PNR_OPEN_C_CALL ? PNR_SUBJECT_C : PNR_SUBJECT_PYTHON;
}

static uint64_t open_identity(struct pnr_record open)
{
    return open_subject(open) == PNR_SUBJECT_PYTHON ? pnr_record_frame(open) : 0;
}

static bool matches_open(const struct stack_frame *frame, struct pnr_record open)
{
    return is_same_frame(frame, open_subject(open), pnr_record_function(open), open_identity(open));
}

/* Returns how many of the n OPEN records equal the frames from index `bottom` of the stack on, one after another;
 * *end is the index after the last such frame. No more than CALL_STACK_MAX_SEARCH others, which are not Python
 * frames, may lie between them. */
static size_t match_open(const struct call_stack *stack, size_t bottom, const struct pnr_record *open, size_t n,
                         size_t *end)
{
    size_t n_matched = 0, n_others = 0;
    *end = bottom;
    for (size_t i = bottom; i < stack->n && n_matched < n && n_others <= CALL_STACK_MAX_SEARCH; i++) {
        if (matches_open(&stack->frames[i], open[n_matched])) {
            n_matched++;
            *end = i + 1;
        } else if (stack->frames[i].subject != PNR_SUBJECT_PYTHON) {
            n_others++;
        } else {
            break;
        }
    }
    return n_matched;
}

/* Finds where most of the OPEN records match if they list only the innermost frames. Below and above, frames may be
 * missing, or too many. */
static size_t match_innermost(const struct call_stack *stack, const struct pnr_record *open, size_t n, size_t *end)
{
    struct stack_count *count = stack_count(stack);
    size_t bottom = stack->n > CALL_STACK_MAX_SEARCH ? stack->n - CALL_STACK_MAX_SEARCH : 0, max_matched = 0;
    *end = 0;
    for (size_t i = stack->n; i > bottom && count->failed_compares < CALL_STACK_MAX_FAILED; i--) {
        size_t end_here, n_matched = match_open(stack, i - 1, open, n, &end_here);
        count->failed_compares += end_here - i + 2;
        if (n_matched > max_matched) {
            max_matched = n_matched;
            *end = end_here;
        }
    }
    return max_matched;
}

/* True when the OPEN records list exactly what is on the stack, or with is_deeper what is in its innermost part.
 * Compares from the innermost frame outwards. */
static bool equals_open(const struct call_stack *stack, const struct pnr_record *open, size_t n, bool is_deeper)
{
    size_t i = stack->n, n_others = 0;
    for (;;) {
        while (i > 0 && stack->frames[i - 1].subject != PNR_SUBJECT_PYTHON && n_others <= CALL_STACK_MAX_SEARCH &&
               !(n > 0 && matches_open(&stack->frames[i - 1], open[n - 1])))
            i--, n_others++;
        if (n == 0)
            return is_deeper || i == 0;
        if (i == 0 || !matches_open(&stack->frames[--i], open[--n]))
            return false;
    }
}

void call_stack_begin_block(struct call_stack *stack, enum block_boundary boundary, uint64_t ns)
{
    if (boundary != BLOCK_CONTINUES) {
        awaits_end(&stack->awaits);
        stack->taken = 0;
    }
    if (boundary == BLOCK_AFTER_HOLE) {
        memset(stack->previous, 0, sizeof stack->previous);
        stack_count(stack)->holes += !stack->filter.hides_all;
        slice_filter_instant(&stack->filter, "[events may be missing]", ns);
    } else if (boundary == BLOCK_AFTER_PAUSE) {
        slice_filter_instant(&stack->filter, "[recording was paused]", ns);
    }
}

/* The flags of a frame whose entry was not recorded. */
static unsigned begin_flags(const struct call_stack *stack, struct pnr_record open)
{
    const struct ledger_view *muted = stack->filter.pipeline.muted;
    bool is_late = muted && open_subject(open) == PNR_SUBJECT_PYTHON &&
                   ledger_view_was_muted(muted, pnr_record_function(open));
    return SLICE_BEGIN_UNKNOWN | (is_late ? SLICE_NOTICED_LATE : 0);
}

static void push_open(struct call_stack *stack, const struct pnr_record *open, size_t n, uint64_t ns)
{
    for (size_t i = 0; i < n; i++)
        push_any_frame(stack, open_subject(open[i]), pnr_record_function(open[i]), open_identity(open[i]),
                       begin_flags(stack, open[i]), ns);
}

void call_stack_add(struct call_stack *stack, const struct pnr_record *open, size_t n, uint64_t ns)
{
    size_t n_before = begin_changes(stack);
    push_open(stack, open, n, ns);
    end_changes(stack, n_before);
}

void call_stack_resync(struct call_stack *stack, const struct pnr_record *open, size_t n, bool is_deeper, uint64_t ns)
{
    size_t end;
    stack->has_unlisted &= is_deeper;
    if (!stack->n_overflowed && equals_open(stack, open, n, is_deeper))
        return;
    stack->n_overflowed = 0;
    size_t n_before = begin_changes(stack);
    size_t n_matched = is_deeper ? match_innermost(stack, open, n, &end) : match_open(stack, 0, open, n, &end);
    close_down_to(stack, end, ns);
    stack->has_unlisted |= is_deeper && n_matched == 0;
    if (stack->n_before_window > stack->n)
        stack->n_before_window = stack->n;
    push_open(stack, open + n_matched, n - n_matched, ns);
    end_changes(stack, n_before);
}

/* ---- a selected time ---- */

void call_stack_reveal(struct call_stack *stack, uint64_t ns)
{
    size_t n = stack->n;
    uint64_t n_overflowed = stack->n_overflowed;
    stack->filter.hides_all = false;
    stack->is_revealed = true;
    stack->n_overflowed = 0;
    begin_changes(stack);
    stack->n = 0;
    for (size_t i = 0; i < n; i++) {
        struct stack_frame open = stack->frames[i];
        push_any_frame(stack, open.subject, open.function, open.frame, SLICE_CUT, ns);
    }
    stack->n_overflowed += n_overflowed;
    end_changes(stack, n);
}

void call_stack_restore(struct call_stack *stack, const struct open_frame *frames, size_t n)
{
    while (stack->capacity < n && !stack->is_out_of_memory)
        stack->is_out_of_memory = grow_stack(stack) < 0;
    if (stack->is_out_of_memory)
        return;
    size_t n_before = stack->n;
    stack->n = n;
    end_changes(stack, n_before);
    for (size_t i = 0; i < n; i++)
        stack->frames[i] = (struct stack_frame){ frames[i].frame, frames[i].function, (uint8_t)frames[i].subject,
                                                 false, false };
}

void call_stack_save(const struct call_stack *stack, struct open_stack_snapshot *snapshot, uint32_t process)
{
    struct open_frame *frames = open_stack_snapshot_add(snapshot, process, stack->filter.thread, stack->n);
    for (size_t i = 0; frames && i < stack->n; i++)
        frames[i] = (struct open_frame){ stack->frames[i].frame, stack->frames[i].function, stack->frames[i].subject };
}

int call_stack_list_continuable(const struct call_stack *stack, uint64_t **frames, size_t *n, size_t *capacity)
{
    for (size_t i = 0; i < stack->n; i++) {
        if (!stack->frames[i].frame)
            continue;
        if (pnr_array_reserve(frames, capacity, *n + 1) < 0)
            return -1;
        (*frames)[(*n)++] = stack->frames[i].frame;
    }
    return 0;
}

void call_stack_end(struct call_stack *stack, uint64_t ns, bool is_cut)
{
    size_t n_before = stack->n;
    stack->n_overflowed = 0;
    stack_count(stack)->cut += is_cut ? stack->filter.n : 0;
    while (stack->n > 0)
        pop_frame(stack, false, is_cut ? SLICE_CUT : SLICE_UNFINISHED, ns);
    end_changes(stack, n_before);
}
