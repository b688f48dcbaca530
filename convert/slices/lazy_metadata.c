#include "lazy_metadata.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"

struct lazy_thread {
    struct sink_thread thread;          /* its name is owned */
    bool is_revealed;                   /* the next sink knows it */
};

static void fail_lazy(struct lazy_metadata *lazy)
{
    lazy->is_out_of_memory = lazy->sink.is_broken = true;
}

/* Replaces a borrowed name by a copy. Returns 0, or -1 when out of memory. */
static int copy_name(struct pnr_string *name)
{
    char *bytes = malloc((size_t)name->size + 1);
    if (!bytes)
        return -1;
    if (name->size)
        memcpy(bytes, name->bytes, name->size);
    name->bytes = bytes;
    return 0;
}

static void forget_lazy_process(struct lazy_metadata *lazy)
{
    free((char *)lazy->process.name.bytes);
    for (size_t i = 0; i < lazy->n; i++)
        free((char *)lazy->threads[i].thread.name.bytes);
    lazy->process.name.bytes = NULL;
    lazy->n = 0;
    lazy->n_events = 0;
    lazy->holds_process = false;
}

static void lazy_process(struct sink *sink, const struct sink_process *process)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    forget_lazy_process(lazy);
    struct sink_process held = *process;
    if (copy_name(&held.name) < 0) {
        fail_lazy(lazy);
        return;
    }
    lazy->process = held;
    lazy->holds_process = true;
}

static void lazy_thread(struct sink *sink, const struct sink_thread *thread)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (pnr_array_reserve(&lazy->threads, &lazy->capacity, lazy->n + 1) < 0) {
        fail_lazy(lazy);
        return;
    }
    struct lazy_thread held = { *thread, false };
    if (thread->thread != lazy->n || copy_name(&held.thread.name) < 0)  /* the former after an earlier failure */
        fail_lazy(lazy);
    else
        lazy->threads[lazy->n++] = held;
}

static void reveal_process(struct lazy_metadata *lazy)
{
    if (lazy->holds_process && lazy->next->process)
        lazy->next->process(lazy->next, &lazy->process);
    lazy->holds_process = false;
    for (size_t i = 0; i < lazy->n_events; i++)
        lazy->next->recorder_event(lazy->next, &lazy->events[i]);
    lazy->n_events = 0;
}

/* An event of the thread has come. Returns whether the next sink can get it. */
static bool reveal_thread(struct lazy_metadata *lazy, uint32_t thread)
{
    if (lazy->sink.is_broken)
        return false;
    struct lazy_thread *held = &lazy->threads[thread];
    if (!held->is_revealed) {
        reveal_process(lazy);
        if (lazy->next->thread)
            lazy->next->thread(lazy->next, &held->thread);
        held->is_revealed = true;
        lazy->n_threads += !held->thread.is_greenlet;
    }
    return true;
}

static void follow_next(struct lazy_metadata *lazy)
{
    lazy->sink.is_broken |= lazy->next->is_broken;
}

static void lazy_slice(struct sink *sink, const struct slice *slice)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (reveal_thread(lazy, slice->thread) && lazy->next->slice)
        lazy->next->slice(lazy->next, slice);
    follow_next(lazy);
}

static void lazy_hiding_slice(struct sink *sink, const struct slice *slice, const struct hidden_calls *calls, size_t n)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (reveal_thread(lazy, slice->thread))
        lazy->next->hiding_slice(lazy->next, slice, calls, n);
    follow_next(lazy);
}

/* The ledger alone does not reveal its process. */
static void lazy_recorder_event(struct sink *sink, const struct sink_recorder_event *event)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (lazy->sink.is_broken)
        return;
    if (!lazy->holds_process)
        lazy->next->recorder_event(lazy->next, event);
    else if (pnr_array_reserve(&lazy->events, &lazy->event_capacity, lazy->n_events + 1) < 0)
        fail_lazy(lazy);
    else
        lazy->events[lazy->n_events++] = *event;
    follow_next(lazy);
}

static void lazy_instant(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (reveal_thread(lazy, thread) && lazy->next->instant)
        lazy->next->instant(lazy->next, thread, ns, text);
    follow_next(lazy);
}

static void lazy_remark(struct sink *sink, const struct sink_remark *remark)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (reveal_thread(lazy, remark->thread) && lazy->next->remark)
        lazy->next->remark(lazy->next, remark);
    follow_next(lazy);
}

static void lazy_flow_event(struct sink *sink, const struct flow_event *event)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (reveal_thread(lazy, event->thread))
        lazy->next->flow_event(lazy->next, event);
    follow_next(lazy);
}

/* The slice may be pruned later; but a sink that is interested must know its thread now. */
static uint32_t lazy_enter(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                           enum pnr_subject subject)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    uint32_t cookie = 0;
    if (reveal_thread(lazy, thread))
        cookie = lazy->next->enter(lazy->next, parent, thread, function, subject);
    follow_next(lazy);
    return cookie;
}

static void lazy_resume(struct sink *sink, uint32_t function, bool is_first, uint64_t suspended_ns)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (!sink->is_broken) {
        reveal_process(lazy);
        lazy->next->resume(lazy->next, function, is_first, suspended_ns);
    }
    follow_next(lazy);
}

static void lazy_task(struct sink *sink, const struct task_event *event)
{
    struct lazy_metadata *lazy = (struct lazy_metadata *)sink;
    if (reveal_thread(lazy, event->thread))
        lazy->next->task(lazy->next, event);
    follow_next(lazy);
}

/* Slices, instants and remarks count as events of a thread even if the next sink is not interested in them. */
void lazy_metadata_init(struct lazy_metadata *lazy, struct sink *next)
{
    *lazy = (struct lazy_metadata){
        .sink = { .process = lazy_process, .thread = lazy_thread, .slice = lazy_slice, .instant = lazy_instant,
                  .remark = lazy_remark,
                  .flow_event = next->flow_event ? lazy_flow_event : NULL, .enter = next->enter ? lazy_enter : NULL,
                  .hiding_slice = next->hiding_slice ? lazy_hiding_slice : NULL,
                  .recorder_event = next->recorder_event ? lazy_recorder_event : NULL,
                  .resume = next->resume ? lazy_resume : NULL, .task = next->task ? lazy_task : NULL },
        .next = next,
    };
}

void lazy_metadata_clear(struct lazy_metadata *lazy)
{
    forget_lazy_process(lazy);
    free(lazy->events);
    lazy->events = NULL;
    lazy->event_capacity = 0;
    free(lazy->threads);
    lazy->threads = NULL;
    lazy->capacity = 0;
}
