#include "flows.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "format/names.h"

struct flow {
    uint64_t frame;                     /* the key */
    uint64_t id;                        /* 0 until the second slice that is retained */
    uint64_t held_ns;                   /* the flow event held back; 0 until the first slice that is retained */
    uint64_t begin_ns;                  /* of the latest slice, retained or not */
    uint64_t end_ns;                    /* of the latest retained slice, 0 while that runs; or of the creation */
    uint64_t task;                      /* 0: not a task; TASK_UNNUMBERED until its first slice is retained */
    uint32_t thread;                    /* of the flow event held back */
    uint32_t begin_thread;
    uint32_t function;
    uint32_t spawn;                     /* the arrow from its creation, which has no end yet; 0 = none */
    bool is_unreported;                 /* the task has begun, and its name is awaited */
};

/* What is known of a task by name. */
struct task_name {
    uint64_t frame;                     /* the key */
    struct pnr_string reported, latest; /* owned */
};

struct work {
    uint64_t identity;                  /* the key */
    uint64_t ns;                        /* when it was submitted */
    uint32_t thread;
};

#define TASK_UNNUMBERED UINT64_MAX

static void set_text(struct flows *flows, struct pnr_string *text, struct pnr_string bytes)
{
    char *copy = bytes.size ? malloc(bytes.size) : NULL;
    flows->is_out_of_memory |= bytes.size && !copy;
    if (copy)
        memcpy(copy, bytes.bytes, bytes.size);
    free((char *)text->bytes);
    *text = (struct pnr_string){ copy, copy ? bytes.size : 0 };
}

/* Sets a name, unless too much is kept by then. */
static void set_name(struct flows *flows, struct pnr_string *name, struct pnr_string bytes)
{
    if (remarks_account(&flows->remarks, name->size, bytes.size))
        set_text(flows, name, bytes);
}

static void free_name(struct flows *flows, struct task_name *name)
{
    set_name(flows, &name->reported, (struct pnr_string){ NULL, 0 });
    set_name(flows, &name->latest, (struct pnr_string){ NULL, 0 });
}

static void clear_names(struct flows *flows)
{
    for (struct task_name *name = NULL; (name = pnr_table_next(&flows->names, name));)
        free_name(flows, name);
    pnr_table_clear(&flows->names);
    set_text(flows, &flows->awaited_task, (struct pnr_string){ NULL, 0 });
}

void flows_init(struct flows *flows, struct sink *sink, struct flows_choice choice)
{
    choice.has_tasks = choice.has_tasks && sink->task;
    unsigned tasks = choice.has_tasks ? 1u << PNR_FUNCTION_COROUTINE : 0;
    *flows = (struct flows){ .sink = sink, .choice = choice, .kinds = choice.flows | choice.spawns | tasks };
    remarks_init(&flows->remarks);
    spawn_arrows_init(&flows->spawns, sink, &flows->last_id);
    flows->table = (struct pnr_table){ .slot_size = sizeof(struct flow), .secret = pnr_table_secret() };
    flows->names = (struct pnr_table){ .slot_size = sizeof(struct task_name), .secret = flows->table.secret };
    flows->works = (struct pnr_table){ .slot_size = sizeof(struct work), .secret = flows->table.secret };
}

void flows_clear(struct flows *flows)
{
    pnr_table_clear(&flows->table);
    pnr_table_clear(&flows->works);
    clear_names(flows);
    spawn_arrows_clear(&flows->spawns);
    remarks_clear(&flows->remarks);
}

void flows_process(struct flows *flows, const struct symbols *symbols)
{
    flows->symbols = symbols;
    flows->n_unconnected = 0;
    flows->remarks.n_overflowed = 0;
    if (flows->choice.has_tasks)
        tasks_process(&flows->tasks, symbols);
    flows->has_names = flows->choice.has_tasks && symbols_property(symbols, "task_names").size > 0;
}

static struct flow *add_flow(struct flows *flows, uint64_t frame)
{
    if (flows->table.n == FLOWS_MAX) {
        flows->n_unconnected++;
        return NULL;
    }
    struct flow *flow = pnr_table_add(&flows->table, frame);
    flows->is_out_of_memory |= !flow;
    return flow;
}

/* ---- tasks ---- */

static bool same_text(struct pnr_string a, struct pnr_string b)
{
    return a.size == b.size && (!a.size || memcmp(a.bytes, b.bytes, a.size) == 0);
}

static void emit_task(struct flows *flows, const struct flow *flow, enum task_phase phase, uint64_t ns, uint32_t flags)
{
    struct task_event event = { .ns = ns, .task = flow->task, .thread = flow->thread, .function = flow->function,
                                .phase = phase, .flags = flags };
    struct task_name *name = flows->has_names ? pnr_table_find(&flows->names, flow->frame) : NULL;
    if (name && phase == TASK_BEGIN)
        set_name(flows, &name->reported, name->latest);
    if (name && (phase == TASK_BEGIN || phase == TASK_END))
        event.name = name->reported;
    if (name && phase == TASK_END && !same_text(name->reported, name->latest))
        event.other = name->latest;
    flows->sink->task(flows->sink, &event);
}

/* Reports that the task has begun, if that has been put off until now. */
static void report_task(struct flows *flows, struct flow *flow)
{
    if (!flow->is_unreported)
        return;
    flow->is_unreported = false;
    emit_task(flows, flow, TASK_BEGIN, flow->held_ns - 1, 0);
    emit_task(flows, flow, TASK_RESUME, flow->held_ns - 1, 0);
}

/* Emits that the latest slice of the task has ended. */
static __attribute__((noinline)) void leave_task(struct flows *flows, struct flow *flow)
{
    struct task_event event = { .ns = flow->end_ns, .task = flow->task, .thread = flow->thread, .function = flow->function,
                                .phase = TASK_SUSPEND, .awaited = flows->awaited };
    report_task(flows, flow);
    if (flows->awaiting_frame == flow->frame)
        event.other = flows->awaited_task;
    flows->sink->task(flows->sink, &event);
}

/* Ends the latest slice of a task if its exit is missing: it is taken to be 1 ns long. */
static void suspend_task(struct flows *flows, struct flow *flow)
{
    report_task(flows, flow);
    if (flow->end_ns)
        return;
    flow->end_ns = flow->held_ns;
    emit_task(flows, flow, TASK_SUSPEND, flow->end_ns, 0);
}

/* Emits that the task runs: its latest slice, which has just begun, is retained. */
static __attribute__((noinline)) void resume_task(struct flows *flows, struct flow *flow)
{
    bool is_first = flow->task == TASK_UNNUMBERED;
    if (is_first)
        flow->task = ++flows->n_tasks;
    else
        suspend_task(flows, flow);
    flow->thread = flow->begin_thread;
    flow->is_unreported = is_first && flows->has_names;
    if (flow->is_unreported)
        return;
    if (is_first)
        emit_task(flows, flow, TASK_BEGIN, flow->begin_ns, 0);
    emit_task(flows, flow, TASK_RESUME, flow->begin_ns, 0);
}

/* Ends the task if it has begun, at ns or later. */
static __attribute__((noinline)) void end_task(struct flows *flows, struct flow *flow, uint64_t ns, uint32_t flags)
{
    if (flow->task != TASK_UNNUMBERED) {
        suspend_task(flows, flow);
        emit_task(flows, flow, TASK_END, ns > flow->end_ns ? ns : flow->end_ns, flags);
    }
    flow->task = 0;
    struct task_name *name = flows->has_names ? pnr_table_find(&flows->names, flow->frame) : NULL;
    if (!name)
        return;
    free_name(flows, name);
    pnr_table_remove(&flows->names, name);
}

void flows_await(struct flows *flows, struct awaited awaited)
{
    flows->awaited = awaited;
    flows->has_left_task = false;
}

bool flows_end_await(struct flows *flows)
{
    flows->awaited = (struct awaited){ 0, 0 };
    flows->awaiting_frame = 0;
    return flows->has_left_task;
}

/* ---- flows ---- */

/* Emits the flow event that was held back. */
static void emit_held_event(struct flows *flows, const struct flow *flow, enum flow_phase phase)
{
    struct flow_event event = { flow->held_ns, flow->id, flow->thread, flow->function, phase, false };
    if (flows->sink->flow_event)
        flows->sink->flow_event(flows->sink, &event);
}

static void discard_spawn(struct flows *flows, struct flow *flow)
{
    if (flow->spawn)
        spawn_arrows_discard(&flows->spawns, flow->spawn);
    flow->spawn = 0;
}

static void end_flow(struct flows *flows, struct flow *flow)
{
    if (flow->id)
        emit_held_event(flows, flow, FLOW_END);
    if (flow->task)
        end_task(flows, flow, 0, 0);
    discard_spawn(flows, flow);
    pnr_table_remove(&flows->table, flow);
}

static inline __attribute__((always_inline)) bool is_of_kinds(const struct flows *flows, unsigned kinds,
                                                              uint32_t function)
{
    const struct symbol *symbol = symbols_function(flows->symbols, function);
    return symbol && symbol->kind < 32 && (kinds >> symbol->kind & 1);
}

static inline bool needs_flow(const struct flows *flows, uint32_t function, uint64_t frame)
{
    return frame && is_of_kinds(flows, flows->kinds, function);
}

/* Continues the flow with its latest slice, which is retained: emits the event held back, which is not the flow's end,
 * and holds back that slice's, which may be. */
static void continue_flow(struct flows *flows, struct flow *flow)
{
    if (flows->sink->resume) {
        bool is_first = flow->held_ns == 0, is_suspended = flow->end_ns && flow->begin_ns > flow->end_ns;
        flows->sink->resume(flows->sink, flow->function, is_first,
                            is_suspended && !is_first ? flow->begin_ns - flow->end_ns : 0);
    }
    if (flow->id) {
        emit_held_event(flows, flow, FLOW_STEP);
    } else if (flow->held_ns && is_of_kinds(flows, flows->choice.flows, flow->function)) {
        flow->id = ++flows->last_id;
        flows->n_flows++;
        emit_held_event(flows, flow, FLOW_START);
    }
    if (flow->spawn)
        spawn_arrows_end(&flows->spawns, flow->spawn, flow->begin_thread, flow->begin_ns + 1);
    flow->spawn = 0;
    if (flow->task)
        resume_task(flows, flow);
    flow->thread = flow->begin_thread;
    flow->held_ns = flow->begin_ns + 1;
    flow->end_ns = 0;
}

/* Returns the flow of a frame that is entered and may have had none, or only one that has ended. flow: the one it
 * has, or NULL. Returns NULL when the frame cannot have a flow. */
static __attribute__((noinline)) struct flow *begin_flow(struct flows *flows, struct flow *flow, uint32_t function,
                                                         uint64_t frame, unsigned how)
{
    bool has_run = flow && flow->begin_ns;
    if (flow && (flow->function != function || (how & FLOWS_FIRST && has_run))) {
        end_flow(flows, flow);
        flow = NULL;
    }
    if (!flow) {
        flow = add_flow(flows, frame);
        if (!flow)
            return NULL;
        flow->function = function;
    } else if (has_run || !(how & FLOWS_FIRST)) {
        discard_spawn(flows, flow);     /* this is not the first slice */
    }
    if (how & FLOWS_TASK && !flow->begin_ns)
        flow->task = TASK_UNNUMBERED;
    return flow;
}

uint64_t flows_enter(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, unsigned how,
                     uint64_t begin_ns)
{
    if (!needs_flow(flows, function, frame))
        return begin_ns;
    struct flow *flow = pnr_table_find(&flows->table, frame);
    if (how & FLOWS_FIRST || !flow || flow->function != function || flow->spawn) {
        flow = begin_flow(flows, flow, function, frame, how);
        if (!flow)
            return begin_ns;
    }
    uint64_t min_ns = flow->end_ns ? flow->end_ns : flow->held_ns;
    if (begin_ns < min_ns)
        begin_ns = min_ns;
    flow->begin_thread = thread;
    flow->begin_ns = begin_ns;
    if (how & FLOWS_RETAINED)
        continue_flow(flows, flow);
    return begin_ns;
}

/* Returns the frame's flow, or NULL. */
static inline __attribute__((always_inline)) struct flow *find_flow(const struct flows *flows, uint32_t function,
                                                                    uint64_t frame)
{
    struct flow *flow = needs_flow(flows, function, frame) ? pnr_table_find(&flows->table, frame) : NULL;
    return flow && flow->function == function ? flow : NULL;
}

void flows_retain(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, uint64_t begin_ns)
{
    struct flow *flow = find_flow(flows, function, frame);
    if (flow && flow->begin_thread == thread && flow->begin_ns == begin_ns)
        continue_flow(flows, flow);
}

void flows_leave(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, bool is_finished,
                 uint64_t begin_ns, uint64_t end_ns)
{
    struct flow *flow = find_flow(flows, function, frame);
    if (!flow)
        return;
    if (flow->thread == thread && flow->held_ns == begin_ns + 1) {
        flow->end_ns = end_ns;
        if (flow->task)
            leave_task(flows, flow);
    }
    flows->has_left_task |= flow->task != 0;
    if (is_finished)
        end_flow(flows, flow);
}

void flows_finish(struct flows *flows, uint64_t frame)
{
    struct flow *flow = frame ? pnr_table_find(&flows->table, frame) : NULL;
    if (flow)
        end_flow(flows, flow);
}

void flows_create(struct flows *flows, uint32_t *pending, uint32_t thread, uint32_t function, uint64_t frame,
                  uint64_t ns)
{
    if (!frame || !is_of_kinds(flows, flows->choice.spawns, function))
        return;
    if (flows->spawns.n_alive == SPAWN_ARROWS_MAX) {
        flows->n_unconnected++;
        return;
    }
    struct flow *flow = add_flow(flows, frame);
    if (!flow)
        return;
    flow->function = function;
    flow->end_ns = ns;
    flow->spawn = spawn_arrows_add(&flows->spawns, pending, thread, function, ns);
    flows->is_out_of_memory |= flow->spawn == 0;
}

void flows_decide(struct flows *flows, uint32_t *pending, uint64_t begin_ns, bool is_retained)
{
    spawn_arrows_decide(&flows->spawns, pending, begin_ns, is_retained);
}

bool flows_has_run(const struct flows *flows, uint32_t function, uint64_t frame)
{
    const struct flow *flow = find_flow(flows, function, frame);
    return flow && flow->begin_ns;
}

static int by_identity(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Ends a flow of which it is not known how it goes on. */
static void forget_flow(struct flows *flows, struct flow *flow)
{
    if (flow->task)
        end_task(flows, flow, 0, SLICE_EXIT_MISSING);
    end_flow(flows, flow);
}

void flows_forget_frame(struct flows *flows, uint64_t frame)
{
    struct flow *flow = pnr_table_find(&flows->table, frame);
    if (flow)
        forget_flow(flows, flow);
}

void flows_forget(struct flows *flows, const struct ledger_view *muted, const uint64_t *open, size_t n)
{
    uint64_t *frames = NULL;            /* to forget: the table is not changed while it is walked */
    size_t n_frames = 0, capacity = 0;
    for (const struct flow *flow = NULL; (flow = pnr_table_next(&flows->table, flow));) {
        if ((muted && !ledger_view_hides(muted, flow->function)) ||
            (n && bsearch(&flow->frame, open, n, sizeof *open, by_identity)))
            continue;
        if (pnr_array_reserve(&frames, &capacity, n_frames + 1) < 0) {
            flows->is_out_of_memory = true;
            break;
        }
        frames[n_frames++] = flow->frame;
    }
    if (n_frames)
        qsort(frames, n_frames, sizeof *frames, by_identity);   /* what is written does not depend on the table */
    for (size_t i = 0; i < n_frames; i++)
        flows_forget_frame(flows, frames[i]);
    free(frames);
}

void flows_forget_all(struct flows *flows)
{
    flows->n_unconnected += flows->table.n;
    flows_forget(flows, NULL, NULL, 0);
    pnr_table_clear(&flows->table);     /* a walk through an empty table takes as long as through a full one */
}

static int by_flow_and_task(const void *a, const void *b)
{
    const struct flow *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->task < y->task ? -1 : x->task > y->task;
}

void flows_report(struct flows *flows, uint32_t thread, uint32_t label, const struct pnr_values *values, uint64_t ns)
{
    bool is_new;
    if (!flows->sink->flow_event)
        return;
    uint64_t number = remarks_find_flow(&flows->remarks, values, flows->last_id + 1, &is_new);
    flows->last_id += is_new;
    if (number)
        flows->sink->flow_event(flows->sink, &(struct flow_event){
            .ns = ns, .flow = number, .thread = thread, .function = label,
            .phase = is_new ? FLOW_START : FLOW_STEP });
}

/* ---- names of tasks ---- */

void flows_describe_task(struct flows *flows, uint32_t function, uint64_t frame, const struct pnr_values *values)
{
    struct flow *flow = find_flow(flows, function, frame);
    struct pnr_value value;
    size_t at = 0;
    if (!flow || !flow->task || !flows->has_names)
        return;
    while (values->bytes && pnr_value_next(values, &at, &value) > 0) {
        bool is_text = value.type == PNR_VALUE_TEXT || value.type == PNR_VALUE_CUT_TEXT;
        struct pnr_string key = symbols_key(flows->symbols, &value);
        struct task_name *name;
        if (is_text && same_text(key, (struct pnr_string){ "name", 4 })) {
            if ((name = pnr_table_add(&flows->names, frame)))
                set_name(flows, &name->latest, value.text);
            flows->is_out_of_memory |= !name;
        } else if (is_text && same_text(key, (struct pnr_string){ "task", 4 })) {
            set_text(flows, &flows->awaited_task, value.text);
            flows->awaiting_frame = frame;
        }
    }
}

/* ---- works ---- */

void flows_submit(struct flows *flows, uint32_t thread, uint64_t identity, uint64_t ns)
{
    struct work *work = identity ? pnr_table_find(&flows->works, identity) : NULL;
    if (!flows->choice.has_works || !identity)
        return;
    if (!ns) {
        if (work)
            pnr_table_remove(&flows->works, work);
        return;
    }
    if (!work && flows->works.n == FLOWS_MAX) {
        flows->n_unconnected++;
        return;
    }
    if (!work && !(work = pnr_table_add(&flows->works, identity))) {
        flows->is_out_of_memory = true;
        return;
    }
    work->ns = ns;
    work->thread = thread;
}

void flows_take(struct flows *flows, uint32_t thread, uint64_t identity, uint32_t function, uint64_t ns)
{
    struct work *work = pnr_table_find(&flows->works, identity);
    if (!work)
        return;
    struct flow_event event = { .ns = work->ns, .thread = work->thread, .function = function, .phase = FLOW_START,
                                .origin = FLOW_OF_WORK };
    bool is_known = symbols_function(flows->symbols, function) != NULL;
    pnr_table_remove(&flows->works, work);
    if (!is_known || ns < event.ns || !flows->sink->flow_event)
        return;
    event.flow = ++flows->last_id;
    flows->sink->flow_event(flows->sink, &event);
    event.ns = ns;
    event.thread = thread;
    event.phase = FLOW_END;
    flows->sink->flow_event(flows->sink, &event);
}

void flows_forget_works(struct flows *flows) { pnr_table_clear(&flows->works); }

void flows_end_process(struct flows *flows, uint64_t end_ns, bool is_cut)
{
    size_t n = 0;
    struct flow *left = flows->table.slots;     /* the table is not searched any more */
    for (struct flow *flow = NULL; (flow = pnr_table_next(&flows->table, flow));)
        if (flow->id || flow->task)
            left[n++] = *flow;
    if (n)
        qsort(left, n, sizeof *left, by_flow_and_task);
    for (size_t i = 0; i < n; i++) {
        struct flow *flow = &left[i];
        if (flow->id)
            emit_held_event(flows, flow, FLOW_END);
        if (flow->task)
            end_task(flows, flow, end_ns, is_cut ? SLICE_CUT : SLICE_UNFINISHED);
    }
    flows_clear(flows);
}
