#include "shown.h"

#include <stdlib.h>
#include <string.h>

struct shown_thread {
    struct sink_thread thread;          /* its name is owned */
    bool is_told;
};

static void fail(struct shown *shown)
{
    shown->is_out_of_memory = shown->sink.is_broken = true;
}

/* Makes the name one's own. Returns 0, or -1 when out of memory. */
static int own(struct pnr_string *name)
{
    char *bytes = malloc((size_t)name->size + 1);
    if (!bytes)
        return -1;
    if (name->size)
        memcpy(bytes, name->bytes, name->size);
    name->bytes = bytes;
    return 0;
}

static void forget_process(struct shown *shown)
{
    free((char *)shown->process.name.bytes);
    for (size_t i = 0; i < shown->n; i++)
        free((char *)shown->threads[i].thread.name.bytes);
    shown->process.name.bytes = NULL;
    shown->n = 0;
    shown->is_kept_back = false;
}

static void process_event(struct sink *sink, const struct sink_process *process)
{
    struct shown *shown = (struct shown *)sink;
    forget_process(shown);
    struct sink_process kept = *process;
    if (own(&kept.name) < 0) {
        fail(shown);
        return;
    }
    shown->process = kept;
    shown->is_kept_back = true;
}

static void thread_event(struct sink *sink, const struct sink_thread *thread)
{
    struct shown *shown = (struct shown *)sink;
    if (shown->n == shown->capacity) {
        size_t capacity = shown->capacity ? 2 * shown->capacity : 16;
        struct shown_thread *threads = realloc(shown->threads, capacity * sizeof *threads);
        if (!threads) {
            fail(shown);
            return;
        }
        shown->threads = threads;
        shown->capacity = capacity;
    }
    struct shown_thread kept = { *thread, false };
    if (thread->thread != shown->n || own(&kept.thread.name) < 0)       /* the former when memory was out before */
        fail(shown);
    else
        shown->threads[shown->n++] = kept;
}

static void tell_process(struct shown *shown)
{
    if (shown->is_kept_back)
        shown->next->process(shown->next, &shown->process);
    shown->is_kept_back = false;
}

/* Something of the thread is shown. Returns whether it can be. */
static bool tell_thread(struct shown *shown, uint32_t thread)
{
    if (shown->sink.is_broken)
        return false;
    struct shown_thread *kept = &shown->threads[thread];
    if (!kept->is_told) {
        tell_process(shown);
        shown->next->thread(shown->next, &kept->thread);
        kept->is_told = true;
        shown->n_threads += !kept->thread.is_greenlet;
    }
    return true;
}

static void look_after(struct shown *shown)
{
    shown->sink.is_broken |= shown->next->is_broken;
}

static void slice_event(struct sink *sink, const struct slice *slice)
{
    struct shown *shown = (struct shown *)sink;
    if (tell_thread(shown, slice->thread))
        shown->next->slice(shown->next, slice);
    look_after(shown);
}

static void instant_event(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    struct shown *shown = (struct shown *)sink;
    if (tell_thread(shown, thread))
        shown->next->instant(shown->next, thread, ns, text);
    look_after(shown);
}

static void point_event(struct sink *sink, const struct point *point)
{
    struct shown *shown = (struct shown *)sink;
    if (tell_thread(shown, point->thread))
        shown->next->point(shown->next, point);
    look_after(shown);
}

/* What is entered may not stay; but a sink that wants to know must know where. */
static uint32_t enter_event(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                            enum pnr_subject subject)
{
    struct shown *shown = (struct shown *)sink;
    uint32_t cookie = 0;
    if (tell_thread(shown, thread))
        cookie = shown->next->enter(shown->next, parent, thread, function, subject);
    look_after(shown);
    return cookie;
}

static void run_event(struct sink *sink, uint32_t function, bool is_first, uint64_t suspended_ns)
{
    struct shown *shown = (struct shown *)sink;
    if (!sink->is_broken) {
        tell_process(shown);
        shown->next->run(shown->next, function, is_first, suspended_ns);
    }
    look_after(shown);
}

static void task_event(struct sink *sink, const struct task_event *event)
{
    struct shown *shown = (struct shown *)sink;
    if (tell_thread(shown, event->thread))
        shown->next->task(shown->next, event);
    look_after(shown);
}

void shown_init(struct shown *shown, struct sink *next)
{
    *shown = (struct shown){
        .sink = { .process = process_event, .thread = thread_event, .slice = slice_event, .instant = instant_event,
                  .point = point_event, .enter = next->enter ? enter_event : NULL,
                  .run = next->run ? run_event : NULL, .task = next->task ? task_event : NULL },
        .next = next,
    };
}

void shown_clear(struct shown *shown)
{
    forget_process(shown);
    free(shown->threads);
    shown->threads = NULL;
    shown->capacity = 0;
}
