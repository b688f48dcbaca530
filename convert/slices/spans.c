#include "spans.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many C functions and unrecorded regions are looked behind for what runs a task. */
#define TASK_SEARCH 64

struct spans_frame {
    union {
        uint64_t begin_ns;
        uint64_t n_around;              /* left out: as many are on the stack up to the innermost shown one around it */
    };
    uint64_t before_ns;                 /* the last edge or point before it; with places: its begin on the clock */
    uint64_t frame;                     /* identity, 0 for a plain one */
    uint32_t function;                  /* of an unrecorded region: enum pnr_unrecorded_reason */
    uint32_t cookie;                    /* the sink's */
    uint8_t subject;                    /* enum pnr_subject */
    uint8_t marks;                      /* enum slice_mark */
    bool stays;                         /* however short: something in it does */
    bool is_left_out;                   /* not shown: has no times, never stays, cookie is that of the one around it */
    bool keeps;                         /* the one around this one, which is left out, stays for what is in this one */
};

void spans_init(struct spans *spans, uint32_t thread, uint64_t least_ns, struct sink *sink, struct flows *flows,
                const struct symbols *symbols, struct spans_count *count)
{
    *spans = (struct spans){ .sink = sink, .flows = flows, .symbols = symbols, .count = count, .thread = thread,
                             .least_ns = least_ns };
}

void spans_number(struct spans *spans, uint64_t *places)
{
    spans->places = places;
}

void spans_choose(struct spans *spans, const struct spans_choice *choice, bool is_hidden)
{
    spans->choice = choice;
    spans->is_hidden = is_hidden;
}

void spans_clear(struct spans *spans)
{
    free(spans->stack);
    if (spans->n)                       /* what was never begun has no count */
        spans->count->open -= spans->n;
    spans->stack = NULL;
    spans->n = spans->n_left_out = spans->capacity = 0;
}

static uint64_t later(uint64_t ns, uint64_t least)
{
    return ns > least ? ns : least;
}

/* When an edge is, of which the clock says ns. */
static inline uint64_t take_place(struct spans *spans, uint64_t ns)
{
    return spans->places ? ++*spans->places * SPANS_PLACE_NS : ns;
}

/* ---- entering and leaving ----
 *
 * The functions whose name ends in _here become a part of the loop over the records. is_plain is a constant there:
 * every slice is shown, with the times of the clock, and the sink has no enter(). Not to ask that for each again saves
 * a conversion a tenth of its instructions. */

static int grow(struct spans *spans)
{
    size_t capacity = spans->capacity ? 2 * spans->capacity : 8;
    struct spans_frame *stack = realloc(spans->stack, capacity * sizeof *stack);
    if (!stack)
        return -1;
    spans->stack = stack;
    spans->capacity = capacity;
    return 0;
}

static bool leaves_out(const struct spans_choice *choice, uint32_t function)
{
    if (!choice->left_out)
        return false;
    return function - 1 < choice->n_functions ? choice->left_out[function - 1] : choice->leaves_unknown_out;
}

static bool is_left_out(const struct spans *spans, enum pnr_subject subject, uint32_t function)
{
    if (spans->is_hidden || spans->n - spans->n_left_out >= spans->choice->max_depth)
        return true;
    return pnr_subject_is_function(subject) && leaves_out(spans->choice, function);
}

/* Keeps the frame on the stack, so that its exit is known, and nothing more. */
static void push_left_out(struct spans *spans, enum pnr_subject subject, uint32_t function, uint64_t frame,
                          bool is_start)
{
    if (frame && is_start)
        flows_end(spans->flows, frame);
    const struct spans_frame *around = spans->n ? &spans->stack[spans->n - 1] : NULL;
    uint64_t n_around = around && around->is_left_out ? around->n_around : spans->n;
    uint32_t cookie = around ? around->cookie : 0;
    spans->count->open++;
    spans->n_left_out++;
    spans->stack[spans->n++] = (struct spans_frame){ .n_around = n_around, .frame = frame, .function = function,
                                                     .cookie = cookie, .subject = subject, .is_left_out = true };
}

/* True when a coroutine that is entered now is a task, if that is its first slice. Else C functions and unrecorded
 * regions may lie between it and what runs it, but not many. */
static __attribute__((noinline)) bool is_task(const struct spans *spans, uint32_t function)
{
    const struct symbol *symbol = symbols_function(spans->symbols, function);
    if (!symbol || symbol->kind != PNR_FUNCTION_COROUTINE)
        return false;
    if (spans->starts_task)
        return true;
    for (size_t i = 1; i <= spans->n && i <= TASK_SEARCH; i++) {
        const struct spans_frame *around = &spans->stack[spans->n - i];
        if (around->subject == PNR_SUBJECT_PYTHON)
            return tasks_runs(&spans->flows->tasks, around->function, around->frame != 0);
    }
    return tasks_runs(&spans->flows->tasks, 0, false);
}

static inline __attribute__((always_inline)) void push_here(struct spans *spans, bool is_plain,
                                                            enum pnr_subject subject, uint32_t function,
                                                            uint64_t frame, bool is_start, unsigned marks,
                                                            uint64_t ns)
{
    if (spans->beyond || spans->count->open == SPANS_MAX_OPEN) {
        spans->beyond++;
        spans->count->too_many++;
        return;
    }
    if (spans->n == spans->capacity && grow(spans) < 0) {
        spans->is_out_of_memory = true;
        return;
    }
    if (!is_plain && spans->choice && is_left_out(spans, subject, function)) {
        push_left_out(spans, subject, function, frame, is_start);
        return;
    }
    uint64_t before_ns = !is_plain && spans->places ? ns : spans->last_ns;
    bool stays = is_plain || !spans->least_ns || !pnr_subject_is_function(subject) ||
                 marks & (SLICE_OPENED_BEFORE | SLICE_CUT);
    ns = later(is_plain ? ns : take_place(spans, ns), spans->last_ns + 1);
    spans->last_ns = ns;
    if (frame) {
        unsigned how = (is_start ? FLOWS_START : 0) | (stays ? FLOWS_STAYS : 0);
        if (spans->flows->choice.has_tasks && is_task(spans, function))
            how |= FLOWS_TASK;
        ns = flows_enter(spans->flows, spans->thread, function, frame, how, ns);
        spans->last_ns = ns + 1;
    }
    uint32_t cookie = 0;
    if (!is_plain && spans->sink->enter)
        cookie = spans->sink->enter(spans->sink, spans->n ? spans->stack[spans->n - 1].cookie : 0, spans->thread,
                                    function, subject);
    spans->count->open++;
    spans->stack[spans->n++] = (struct spans_frame){ { ns }, before_ns, frame, function, cookie, (uint8_t)subject,
                                                     (uint8_t)marks, stays, false, false };
}

static void push(struct spans *spans, enum pnr_subject subject, uint32_t function, uint64_t frame, bool is_start,
                 unsigned marks, uint64_t ns)
{
    push_here(spans, false, subject, function, frame, is_start, marks, ns);
}

/* The slice will be in the trace. */
static inline void stay(struct spans *spans, struct spans_frame *frame)
{
    if (frame->stays)
        return;
    frame->keeps = frame->is_left_out;
    if (frame->is_left_out)
        return;
    if (frame->frame)
        flows_stay(spans->flows, spans->thread, frame->function, frame->frame, frame->begin_ns);
    frame->stays = true;
    if (spans->undecided)
        flows_decide(spans->flows, &spans->undecided, frame->begin_ns, true);
}

/* How long the slice is that ends at end, of which the clock says ns. */
static inline uint64_t length(const struct spans *spans, const struct spans_frame *frame, uint64_t end, uint64_t ns)
{
    if (!spans->places)
        return end - frame->begin_ns;
    return ns > frame->before_ns ? ns - frame->before_ns : 0;
}

/* The slice is as if it had not been. */
static inline void drop(struct spans *spans, const struct spans_frame *frame)
{
    spans->last_ns = frame->before_ns;
    if (!spans->places)
        return;
    if (*spans->places * SPANS_PLACE_NS == frame->begin_ns)
        --*spans->places;               /* no other thread has an edge in it */
    spans->last_ns = *spans->places * SPANS_PLACE_NS;
}

static void pop_left_out(struct spans *spans, bool is_finished)
{
    const struct spans_frame *top = &spans->stack[--spans->n];
    spans->n_left_out--;
    spans->count->open--;
    if (top->frame && is_finished)
        flows_end(spans->flows, top->frame);
    if (top->keeps && spans->n > 0)
        stay(spans, &spans->stack[spans->n - 1]);
}

static inline __attribute__((always_inline)) void pop_here(struct spans *spans, bool is_plain, bool is_finished,
                                                           unsigned marks, uint64_t ns)
{
    struct spans_frame *top = &spans->stack[spans->n - 1];
    if (!is_plain && !top->stays && top->is_left_out) {
        pop_left_out(spans, is_finished);
        return;
    }
    enum pnr_subject subject = top->subject;
    uint64_t end = later(ns, spans->last_ns + 1);
    if (!is_plain && (length(spans, top, end, ns) >= spans->least_ns || marks & (SLICE_UNFINISHED | SLICE_CUT)))
        stay(spans, top);
    if (!is_plain && top->stays)
        end = take_place(spans, end);
    if (top->frame)
        flows_leave(spans->flows, spans->thread, top->function, top->frame, is_finished, top->begin_ns, end);
    spans->n--;
    spans->count->open--;
    if (!is_plain && !top->stays) {
        drop(spans, top);
        if (spans->undecided)
            flows_decide(spans->flows, &spans->undecided, top->begin_ns, false);
        return;
    }
    spans->last_ns = end;
    struct slice slice = {
        .begin_ns = top->begin_ns,
        .end_ns = end,
        .thread = spans->thread,
        .function = top->function,
        .marks = top->marks | marks,
        .cookie = top->cookie,
        .subject = subject,
    };
    spans->sink->slice(spans->sink, &slice);
    spans->count->slices++;
    if (spans->n >= spans->count->deepest && spans->n - spans->n_left_out >= spans->count->deepest)
        spans->count->deepest = spans->n - spans->n_left_out + 1;
    if (pnr_subject_is_function(subject) && !symbols_function(spans->symbols, top->function))
        spans->count->unknown_functions++;
    if (!is_plain && spans->n > 0)
        stay(spans, top - 1);
}

static void pop(struct spans *spans, bool is_finished, unsigned marks, uint64_t ns)
{
    pop_here(spans, false, is_finished, marks, ns);
}

/* Closes all from position n on. */
static void close_to(struct spans *spans, size_t n, uint64_t ns)
{
    while (spans->n > n)
        pop(spans, false, SLICE_LEFT_UNSEEN, ns);
}

/* A frame that runs is told by its function; two runs of the same function by their frames, if both are known. */
static inline bool is_same(const struct spans_frame *open, enum pnr_subject subject, uint32_t function, uint64_t frame)
{
    return open->subject == subject && open->function == function &&
           (open->frame == frame || open->frame == 0 || frame == 0);
}

/* Leaves a frame that may not be the innermost one. */
static void leave_any(struct spans *spans, enum pnr_subject subject, uint32_t function, uint64_t frame,
                      bool is_finished, unsigned marks, uint64_t ns)
{
    size_t depth = spans->count->in_vain < SPANS_IN_VAIN ? SPANS_SEARCH : 1;
    size_t bottom = spans->n > depth ? spans->n - depth : 0;
    for (size_t i = spans->n; i > bottom; i--) {
        if (!is_same(&spans->stack[i - 1], subject, function, frame))
            continue;
        spans->count->missed_exits += spans->is_hidden ? 0 : spans->n - i;
        close_to(spans, i, ns);
        pop(spans, is_finished, marks, ns);
        return;
    }
    spans->count->in_vain += spans->n - bottom;
    spans->count->ignored_exits += !spans->is_hidden && !spans->is_cut;
}

static inline __attribute__((always_inline)) void leave_here(struct spans *spans, bool is_plain,
                                                             enum pnr_subject subject, uint32_t function,
                                                             uint64_t frame, bool is_finished, unsigned marks,
                                                             uint64_t ns)
{
    if (spans->beyond)
        spans->beyond--;
    else if (spans->n > 0 && is_same(&spans->stack[spans->n - 1], subject, function, frame))
        pop_here(spans, is_plain, is_finished, marks, ns);
    else
        leave_any(spans, subject, function, frame, is_finished, marks, ns);
}

/* The n innermost Python frames were left. */
static void leave_unseen(struct spans *spans, uint32_t n, uint64_t ns)
{
    uint64_t beyond = n < spans->beyond ? n : spans->beyond;
    spans->beyond -= beyond;
    n -= (uint32_t)beyond;
    while (n > 0 && spans->n > 0) {
        if (spans->stack[spans->n - 1].subject == PNR_SUBJECT_PYTHON)
            n--;
        pop(spans, false, SLICE_LEFT_UNSEEN, ns);
    }
}

static void tell(struct spans *spans, const char *text, uint64_t ns)
{
    if (spans->is_hidden)
        return;
    spans->last_ns = later(take_place(spans, ns), spans->last_ns + 1);
    if (spans->n > 0)
        stay(spans, &spans->stack[spans->n - 1]);
    spans->sink->instant(spans->sink, spans->thread, spans->last_ns, text);
}

/* The innermost slice that is shown has made a frame. If it has been open for long enough, it stays. */
static void create(struct spans *spans, uint32_t function, uint64_t frame, uint64_t ns)
{
    flows_end(spans->flows, frame);
    if (spans->is_hidden || (spans->choice && leaves_out(spans->choice, function)))
        return;
    spans->last_ns = spans->places ? *spans->places * SPANS_PLACE_NS + 2 : later(ns, spans->last_ns + 1);
    if (spans->beyond || spans->n == spans->n_left_out)
        return;
    struct spans_frame *maker = &spans->stack[spans->n - 1];
    if (maker->is_left_out)
        maker = &spans->stack[maker->n_around - 1];
    if (length(spans, maker, spans->last_ns, ns) >= spans->least_ns)
        stay(spans, maker);
    flows_create(spans->flows, maker->stays ? NULL : &spans->undecided, spans->thread, function, frame,
                 spans->last_ns);
}

static void record_rare(struct spans *spans, struct pnr_record record, uint64_t ns)
{
    uint32_t function = pnr_record_function(record);
    switch (pnr_record_kind(record)) {
    case PNR_CREATE:
        create(spans, function, pnr_record_frame(record), ns);
        break;
    case PNR_LEFT:
        leave_unseen(spans, function, ns);
        break;
    case PNR_LOST: {
        char text[64];
        spans->count->lost += spans->is_hidden ? 0 : function;
        snprintf(text, sizeof text, "[lost %" PRIu32 " events]", function);
        tell(spans, text, ns);
        break;
    }
    default:                            /* also EMPTY, and OPEN where it must not be */
        spans->count->unknown_kinds++;
    }
}

/* The i-th record before the one at that place, from 1 on: no further than SPANS_LAST before the block. */
static struct pnr_record before(const struct spans *spans, const struct spans_input *input, uint32_t at, uint32_t i)
{
    return i <= at ? input->records[at - i] : spans->last[SPANS_LAST - (i - at)];
}

/* Keeps the last records of a block that is through. */
static void keep_last(struct spans *spans, const struct spans_input *input)
{
    struct pnr_record last[SPANS_LAST];
    for (uint32_t i = 1; i <= SPANS_LAST; i++)
        last[SPANS_LAST - i] = before(spans, input, input->n, i);
    memcpy(spans->last, last, sizeof last);
}

/* True when the record at that place, a START, is behind two calls in a row that tell of a task. */
static bool starts_task(const struct spans *spans, const struct spans_input *input, uint32_t at)
{
    uint32_t functions[SPANS_LAST / 2];
    for (uint32_t i = 0; i < SPANS_LAST / 2; i++) {
        struct pnr_record call = before(spans, input, at, 2 * i + 2), end = before(spans, input, at, 2 * i + 1);
        if (pnr_record_kind(call) != PNR_CALL || pnr_record_kind(end) != PNR_RETURN)
            return false;
        functions[i] = pnr_record_function(end);
    }
    return tasks_starts(&spans->flows->tasks, functions[1], functions[0]);
}

/* The record at that place. */
static __attribute__((noinline)) void record_any(struct spans *spans, const struct spans_input *input, uint32_t at,
                                                 uint64_t ns)
{
    struct pnr_record record = input->records[at];
    struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(record));
    uint32_t function = pnr_record_function(record);
    uint64_t frame = of.traits & PNR_CONTINUABLE ? pnr_record_frame(record) : 0;
    if (of.effect == PNR_EFFECT_ENTER) {
        bool is_first = of.traits & PNR_FIRST;
        spans->starts_task = is_first && spans->flows->choice.has_tasks && starts_task(spans, input, at);
        push(spans, of.subject, function, frame, is_first, 0, ns);
        spans->starts_task = false;
    } else if (of.effect == PNR_EFFECT_LEAVE) {
        unsigned marks = of.traits & PNR_EXCEPTION ? SLICE_EXCEPTION : 0;
        leave_here(spans, false, of.subject, function, frame, of.traits & PNR_LAST, marks, ns);
    } else {
        record_rare(spans, record, ns);
    }
}

/* Most records are of two kinds: for those the compiler leaves out what is not theirs. */
static inline __attribute__((always_inline)) void record_here(struct spans *spans, bool is_plain,
                                                              struct spans_input *input, uint64_t until_ticks)
{
    const struct pnr_record *records = input->records;
    uint64_t now = input->ticks;
    uint32_t at = input->at, n = input->n, first = at;
    for (; at < n; at++) {
        struct pnr_record record = records[at];
        unsigned kind = pnr_record_kind(record);
        uint64_t ticks = input->begin_ticks + pnr_record_ticks(record);
        if (ticks < now)                /* damage, or a clock that two processors do not agree about */
            spans->count->backwards++;
        else
            now = ticks;
        if (now > until_ticks || kind == PNR_SWITCH)
            break;
        uint64_t ns = timeline_since(input->timeline, input->zero_ns, now);
        if (kind == PNR_CALL)
            push_here(spans, is_plain, PNR_SUBJECT_PYTHON, pnr_record_function(record), 0, false, 0, ns);
        else if (kind == PNR_RETURN)
            leave_here(spans, is_plain, PNR_SUBJECT_PYTHON, pnr_record_function(record), 0, true, 0, ns);
        else
            record_any(spans, input, at, ns);
    }
    spans->count->events += at - first;
    input->at = at;
    input->ticks = now;
}

void spans_records(struct spans *spans, struct spans_input *input, uint64_t until_ticks)
{
    if (!spans->choice && !spans->places && !spans->least_ns && !spans->sink->enter)
        record_here(spans, true, input, until_ticks);
    else
        record_here(spans, false, input, until_ticks);
    if (input->at == input->n)
        keep_last(spans, input);
}

/* ---- the begin of a block ---- */

/* An OPEN record is of a Python frame or of the call of a C function. */
static enum pnr_subject subject_of(struct pnr_record open)
{
    return pnr_record_frame(open) == PNR_OPEN_C_CALL ? PNR_SUBJECT_C : PNR_SUBJECT_PYTHON;
}

static uint64_t frame_of(struct pnr_record open)
{
    return subject_of(open) == PNR_SUBJECT_PYTHON ? pnr_record_frame(open) : 0;
}

static bool is_open(const struct spans_frame *open, struct pnr_record record)
{
    return is_same(open, subject_of(record), pnr_record_function(record), frame_of(record));
}

/* How many of the n OPEN records equal the frames from position `at` of the stack on, one after another. *end is the
 * position behind the last one that does. No more than SPANS_SEARCH others, which are no Python frames, may lie between
 * them. */
static size_t match(const struct spans *spans, size_t at, const struct pnr_record *open, size_t n, size_t *end)
{
    size_t matched = 0, others = 0;
    *end = at;
    for (; at < spans->n && matched < n && others <= SPANS_SEARCH; at++) {
        if (is_open(&spans->stack[at], open[matched])) {
            matched++;
            *end = at + 1;
        } else if (spans->stack[at].subject != PNR_SUBJECT_PYTHON) {
            others++;
        } else {
            break;
        }
    }
    return matched;
}

/* True when the OPEN records tell just what is on the stack, is_deeper: in its innermost part. Compares from the
 * innermost frame outwards. */
static bool is_equal(const struct spans *spans, const struct pnr_record *open, size_t n, bool is_deeper)
{
    size_t at = spans->n, others = 0;
    for (;;) {
        while (at > 0 && spans->stack[at - 1].subject != PNR_SUBJECT_PYTHON && others <= SPANS_SEARCH &&
               !(n > 0 && is_open(&spans->stack[at - 1], open[n - 1])))
            at--, others++;
        if (n == 0)
            return is_deeper || at == 0;
        if (at == 0 || !is_open(&spans->stack[--at], open[--n]))
            return false;
    }
}

void spans_seam(struct spans *spans, enum spans_seam seam, uint64_t ns)
{
    if (seam == SPANS_HOLE) {
        memset(spans->last, 0, sizeof spans->last);
        spans->count->holes += !spans->is_hidden;
        tell(spans, "[events may be missing]", ns);
    } else if (seam == SPANS_PAUSE) {
        tell(spans, "[recording was paused]", ns);
    }
}

void spans_open(struct spans *spans, const struct pnr_record *open, size_t n, bool is_deeper, uint64_t ns)
{
    size_t end, matched;
    if (!spans->beyond && is_equal(spans, open, n, is_deeper))
        return;
    spans->beyond = 0;
    matched = match(spans, 0, open, n, &end);
    if (is_deeper) {
        /* Frames are missing or too many below or above: the place where most of the OPEN records fit. */
        size_t bottom = spans->n > SPANS_SEARCH ? spans->n - SPANS_SEARCH : 0;
        matched = end = 0;
        for (size_t at = spans->n; at > bottom && spans->count->in_vain < SPANS_IN_VAIN; at--) {
            size_t at_end, here = match(spans, at - 1, open, n, &at_end);
            spans->count->in_vain += at_end - at + 2;
            if (here > matched) {
                matched = here;
                end = at_end;
            }
        }
    }
    close_to(spans, end, ns);
    for (size_t i = matched; i < n; i++)
        push(spans, subject_of(open[i]), pnr_record_function(open[i]), frame_of(open[i]), false, SLICE_OPENED_BEFORE,
             ns);
}

void spans_show(struct spans *spans, uint64_t ns)
{
    size_t n = spans->n;
    uint64_t beyond = spans->beyond;
    spans->is_hidden = false;
    spans->is_cut = true;
    spans->count->open -= n;
    spans->n = spans->n_left_out = spans->beyond = 0;
    for (size_t i = 0; i < n; i++) {
        struct spans_frame open = spans->stack[i];
        push(spans, open.subject, open.function, open.frame, false, SLICE_CUT, ns);
    }
    spans->beyond += beyond;
}

void spans_restore(struct spans *spans, const struct stacks_frame *frames, size_t n)
{
    while (spans->capacity < n && !spans->is_out_of_memory)
        spans->is_out_of_memory = grow(spans) < 0;
    if (spans->is_out_of_memory)
        return;
    spans->count->open += n;
    spans->count->open -= spans->n;
    spans->n = spans->n_left_out = n;
    for (size_t i = 0; i < n; i++)
        spans->stack[i] = (struct spans_frame){ .frame = frames[i].frame, .function = frames[i].function,
                                                .subject = frames[i].subject, .is_left_out = true };
}

void spans_save(const struct spans *spans, struct stacks *stacks, uint32_t process)
{
    struct stacks_frame *frames = stacks_add(stacks, process, spans->thread, spans->n);
    for (size_t i = 0; frames && i < spans->n; i++)
        frames[i] = (struct stacks_frame){ spans->stack[i].frame, spans->stack[i].function, spans->stack[i].subject };
}

void spans_end(struct spans *spans, uint64_t ns, bool is_cut)
{
    spans->beyond = 0;
    spans->count->cut += is_cut ? spans->n - spans->n_left_out : 0;
    while (spans->n > 0)
        pop(spans, false, is_cut ? SLICE_CUT : SLICE_UNFINISHED, ns);
}
