#include "convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/slices/shown.h"

/* Ids that come again stay below 2^32: beyond, a viewer takes all of them for one. */
#define ID_LIMIT SELECTION_ID_LIMIT
#define ID_REPEATS 1023
#define TRACK_ID (UINT32_C(1) << 31)    /* greenlets' ids have this bit */

/* The stack of a greenlet. */
struct track {
    uint32_t number;
    struct run *run;                    /* its thread; NULL until it has run */
    bool is_wanted;
    struct track *next;                 /* of the same thread */
    struct spans spans;
};

/* One thread while it is converted. */
struct run {
    size_t thread;
    struct spans own;                   /* the thread's own stack */
    struct spans *spans;                /* of what runs now: own, or a track's */
    struct track *tracks;               /* those that have run in it */
    bool is_wanted;                     /* its own stack is; not: those of its tracks */
    bool has_own;                       /* its own stack has run */
    bool has_past;                      /* a block before `from` was read, and none is missing since */
    bool is_late;                       /* what runs now is a stack that was not known at `from` */
    struct reader_block block;
    bool has_block;
    uint32_t at;                        /* the next record; n_records when the next block is to be read */
    uint64_t ticks;                     /* of the next record, or of the next block's begin */
};

/* A later process that this one started. */
struct birth {
    uint64_t ticks;
    uint64_t *places;                   /* how many edges this one had by then goes there */
};

/* One process while it is converted. */
struct process {
    struct reader *reader;
    struct timeline *timeline;
    uint64_t zero_ns;                   /* CLOCK_MONOTONIC at the start of the trace */
    struct run *runs;
    struct track *tracks;               /* by number */
    size_t n_tracks;
    struct run **heap;                  /* those that have records left; the earliest first */
    size_t n_heap;
    uint64_t end_ticks;                 /* the latest seen */
    uint64_t from_ns;                   /* what is open at that time is cut; 0: nothing is */
    bool has_begun;                     /* the time is from_ns or later */
    uint64_t to_ns;                     /* the same at the end */
    struct spans_count *count;
    struct spans_count before;          /* what that was at the begin */
    uint32_t order;                     /* its own, from 0 */
    const struct stacks *known;         /* what is open at from_ns; NULL = that is not known */
    struct stacks *saved;               /* what is open at to_ns goes there; NULL = it is not wanted */
    uint64_t *places;                   /* the edges are numbered from there on; NULL: they are not */
    struct birth *births;               /* in the order of time; owned */
    size_t n_births, next_birth;
};

static uint64_t trace_ns(struct process *process, uint64_t ticks)
{
    return timeline_since(process->timeline, process->zero_ns, ticks);
}

static bool is_before(const struct run *a, const struct run *b)
{
    return a->ticks != b->ticks ? a->ticks < b->ticks : a->thread < b->thread;
}

/* Moves the first of the heap to its place after it became later. */
static void sift(struct process *process)
{
    struct run **heap = process->heap, *moved = heap[0];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < process->n_heap) {
        if (child + 1 < process->n_heap && is_before(heap[child + 1], heap[child]))
            child++;
        if (!is_before(heap[child], moved))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void insert(struct process *process, struct run *run)
{
    size_t i = process->n_heap++;
    for (; i > 0 && is_before(run, process->heap[(i - 1) / 2]); i = (i - 1) / 2)
        process->heap[i] = process->heap[(i - 1) / 2];
    process->heap[i] = run;
}

static void see(struct process *process, uint64_t ticks)
{
    if (ticks > process->end_ticks)
        process->end_ticks = ticks;
}

static int by_track(const void *a, const void *b)
{
    const struct track *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* What is open in the stack is shown from `from` on. */
static void show(const struct process *process, struct spans *spans)
{
    size_t n;
    const struct stacks_frame *frames = stacks_find(process->known, process->order, spans->thread, &n);
    if (frames)
        spans_restore(spans, frames, n);
    spans_show(spans, process->from_ns);
}

/* A stack that was not known at `from` has been brought to what is open in it: so it was at that time. */
static void show_late(const struct process *process, struct run *run)
{
    if (run->is_late)
        show(process, run->spans);
    run->is_late = false;
}

/* What runs now runs for the first time. */
static void meet(const struct process *process, struct run *run, bool is_wanted)
{
    run->is_late = process->from_ns && process->has_begun && is_wanted && run->spans->is_hidden;
    if (!run->has_past)
        show_late(process, run);        /* it may be new: shown from now on */
}

/* From now on the thread's records are of this track. False when there is none of that number, or another thread has
 * it. */
static bool change_track(struct process *process, struct run *run, uint32_t number)
{
    const struct track key = { .number = number };
    struct track *track = NULL;
    if (number == 0) {
        run->spans = &run->own;
        if (!run->has_own)
            meet(process, run, run->is_wanted);
        run->has_own = true;
        return true;
    }
    if (process->n_tracks)
        track = bsearch(&key, process->tracks, process->n_tracks, sizeof key, by_track);
    if (!track || (track->run && track->run != run))
        return false;
    if (!track->run) {
        track->run = run;
        track->next = run->tracks;
        run->tracks = track;
        run->spans = &track->spans;
        meet(process, run, track->is_wanted);
    }
    run->spans = &track->spans;
    return true;
}

static uint32_t count_open(const struct reader_block *block, uint32_t at)
{
    uint32_t n = 0;
    while (at + n < block->n_records && pnr_record_kind(block->records[at + n]) == PNR_OPEN)
        n++;
    return n;
}

/* A SWITCH record, and the OPEN records behind it. */
static void switch_track(struct process *process, struct run *run, struct pnr_record record, uint64_t ns)
{
    uint64_t flags = pnr_record_frame(record);
    uint32_t n = flags & PNR_SWITCH_OPEN ? count_open(&run->block, run->at + 1) : 0;
    run->own.count->events++;
    if (!change_track(process, run, pnr_record_function(record)))
        run->own.count->unknown_tracks++;
    else if (flags & PNR_SWITCH_OPEN)
        spans_open(run->spans, run->block.records + run->at + 1, n, flags & PNR_SWITCH_DEEPER, ns);
    show_late(process, run);
    run->at += n;
}

/* Reads the next block and brings the stack to what was open when it began. Returns 1, 0 when it is skipped, -1. */
static int load(struct process *process, struct run *run, struct pnr_err *err)
{
    struct reader_block *block = &run->block;
    int step = reader_next(process->reader, run->thread, block, err);
    if (step <= 0)
        return step;
    run->at = 0;
    run->has_block = true;
    see(process, block->begin_ticks);
    if (!block->is_begin)
        return 1;
    uint64_t ns = trace_ns(process, block->begin_ticks > run->ticks ? block->begin_ticks : run->ticks);
    run->has_past = process->has_begun ? run->has_past && !block->is_after_hole : true;
    bool is_known = change_track(process, run, block->track);
    run->own.count->in_vain = 0;
    run->own.count->unknown_tracks += !is_known;
    spans_seam(run->spans,
               block->is_after_hole ? SPANS_HOLE : block->is_after_pause ? SPANS_PAUSE : SPANS_SEAMLESS, ns);
    if (block->has_open && is_known)
        spans_open(run->spans, block->open, block->n_open, block->is_deeper, ns);
    show_late(process, run);
    return 1;
}

/* `from` has come: what is open in the thread is shown from now on. */
static void begin_run(const struct process *process, struct run *run)
{
    if (run->is_wanted && run->has_own && run->own.is_hidden)
        show(process, &run->own);
    for (struct track *track = run->tracks; track; track = track->next)
        if (track->is_wanted && track->spans.is_hidden)
            show(process, &track->spans);
}

/* What was odd before `from` is not told. */
static void forget_oddities(struct process *process)
{
    struct spans_count *count = process->count;
    const struct spans_count *before = &process->before;
    count->events = before->events;
    count->backwards = before->backwards;
    count->unknown_kinds = before->unknown_kinds;
    count->unknown_tracks = before->unknown_tracks;
}

/* The same for all threads. */
static void begin_runs(struct process *process)
{
    for (size_t i = 0; i < reader_n_threads(process->reader) && process->from_ns; i++)
        begin_run(process, &process->runs[i]);
    process->has_begun = true;
    if (process->from_ns)
        forget_oddities(process);
}

static void end_stack(const struct process *process, struct spans *spans, uint64_t ns, bool is_cut)
{
    if (process->saved && is_cut && !spans->is_hidden)
        spans_save(spans, process->saved, process->order);
    spans_end(spans, ns, is_cut);
}

/* All that is open in the thread is closed. */
static void end_run(const struct process *process, struct run *run, uint64_t ns)
{
    bool is_cut = ns > process->to_ns;
    if (is_cut)
        ns = process->to_ns;
    if (!process->has_begun && ns > process->from_ns)
        begin_run(process, run);        /* the thread's last record was before that, but not its end */
    end_stack(process, &run->own, ns, is_cut);
    for (struct track *track = run->tracks; track; track = track->next)
        end_stack(process, &track->spans, ns, is_cut);
}

/* The block is through: its thread may have ended with it, and the next one begins later. Returns whether there is
 * one. */
static bool leave_block(struct process *process, struct run *run)
{
    uint64_t ticks;
    if (run->has_block) {
        see(process, run->block.end_ticks);
        if (run->block.is_last)
            end_run(process, run, trace_ns(process, run->block.end_ticks ? run->block.end_ticks : run->ticks));
    }
    run->has_block = false;
    run->block.n_records = 0;
    run->at = 0;
    if (!reader_peek(process->reader, run->thread, &ticks))
        return false;
    if (ticks > run->ticks)
        run->ticks = ticks;
    return true;
}

/* Gives the block's records to the stack, up to that time. Returns whether that was all of them. */
static bool record_all(struct process *process, struct run *run, uint64_t until)
{
    struct spans_input input = { process->timeline, process->zero_ns, run->block.records, run->at,
                                 run->block.n_records, run->block.begin_ticks, run->ticks };
    for (;;) {
        spans_records(run->spans, &input, until);
        run->at = input.at;
        run->ticks = input.ticks;
        if (input.at == input.n)
            return true;
        if (input.ticks > until)
            return false;
        switch_track(process, run, input.records[input.at], trace_ns(process, input.ticks));
        input.at = run->at + 1;
    }
}

/* Converts the thread's records up to the time when another thread has one. Returns 1; 0 at the thread's end; -1. */
static int advance(struct process *process, struct run *run, uint64_t until, struct pnr_err *err)
{
    while (run->ticks <= until) {
        if (run->at == run->block.n_records) {
            int step = load(process, run, err);
            if (step < 0)
                return -1;
            if (step == 0) {            /* the one behind it may begin after the time of another thread */
                if (!leave_block(process, run))
                    return 0;
                continue;
            }
        }
        if (!record_all(process, run, until))
            return 1;
        see(process, run->ticks);
        if (run->spans->is_out_of_memory || run->own.flows->is_out_of_memory)
            return pnr_err_set(err, PNR_E_MEMORY, reader_path(process->reader), 0, "out of memory");
        if (!leave_block(process, run) || run->own.sink->is_broken)
            return 0;
    }
    return 1;
}

/* The latest ticks at which the first of the heap comes before another one. */
static uint64_t latest_before(const struct run *first, const struct run *other)
{
    return other->ticks - (other->thread < first->thread);
}

/* The ticks from the first of which on, and up to the last of which, something is wanted. */
struct window {
    uint64_t first, last;
};

/* The next record is at ticks: the processes that were started by then begin here. Returns the ticks before the next
 * such start. */
static uint64_t give_birth(struct process *process, uint64_t ticks)
{
    for (; process->next_birth < process->n_births; process->next_birth++) {
        const struct birth *birth = &process->births[process->next_birth];
        if (birth->ticks > ticks)
            return birth->ticks - 1;
        *birth->places = *process->places;
    }
    return UINT64_MAX;
}

/* Converts all records up to the last ones that are wanted. Returns 0, or -1 and fills err. */
static int merge(struct process *process, struct window window, struct pnr_err *err)
{
    struct run **heap = process->heap;
    for (;;) {
        bool is_before = process->n_heap > 0 && heap[0]->ticks < window.first;
        if (!is_before && !process->has_begun)
            begin_runs(process);
        if (process->n_heap == 0 || heap[0]->ticks > window.last || heap[0]->own.sink->is_broken)
            return 0;
        uint64_t until = is_before ? window.first - 1 : window.last, next_birth = give_birth(process, heap[0]->ticks);
        if (next_birth < until)
            until = next_birth;
        if (process->n_heap > 1 && latest_before(heap[0], heap[1]) < until)
            until = latest_before(heap[0], heap[1]);
        if (process->n_heap > 2 && latest_before(heap[0], heap[2]) < until)
            until = latest_before(heap[0], heap[2]);
        int step = advance(process, heap[0], until, err);
        if (step < 0)
            return -1;
        if (step == 0) {
            if (heap[0]->own.n == 0)
                spans_clear(&heap[0]->own);
            heap[0] = heap[--process->n_heap];
        }
        if (process->n_heap > 0)
            sift(process);
    }
}

/* ---- processes and threads as the sink sees them ---- */

static struct pnr_string string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

/* What tells it from the others of its program comes first. */
struct pnr_string convert_process_name(const struct reader *reader)
{
    const struct symbols *symbols = reader_symbols(reader);
    struct pnr_string command = symbols_property(symbols, "command"), own = symbols_property(symbols, "process_name");
    struct pnr_string born = symbols_property(symbols, "born");
    const char *slash = strrchr(reader_path(reader), '/'), *end = "";
    if (command.size == 0)
        command = string(slash ? slash + 1 : reader_path(reader));
    if (!own.size && born.size == 4 && memcmp(born.bytes, "fork", 4) == 0)
        end = " (fork)";
    const struct pnr_string parts[] = { own, string(own.size ? ": " : ""), command, string(end) };
    uint32_t size = 0;
    char *name = malloc((size_t)own.size + command.size + sizeof " (fork)" + sizeof ": ");
    for (size_t i = 0; name && i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].size)
            memcpy(name + size, parts[i].bytes, parts[i].size);
        size += parts[i].size;
    }
    return (struct pnr_string){ name, size };
}

uint32_t convert_process_pid(const struct reader *reader)
{
    uint64_t pid;
    const char *slash = strrchr(reader_path(reader), '/');
    if (!symbols_number(reader_symbols(reader), "pid", &pid) || pid >= ID_LIMIT)
        pid = slash ? strtoul(slash + 1 + strcspn(slash + 1, "0123456789"), NULL, 10) : 0;
    return (uint32_t)pid % ID_LIMIT;
}

struct identity {
    uint32_t id, place;
};

static int by_id(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static int by_place(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    return x->place < y->place ? -1 : 1;
}

/* Makes ids that come more than once unique. */
static void part(struct identity *ids, size_t n)
{
    qsort(ids, n, sizeof *ids, by_id);
    uint32_t repeats = 0, id = 0;
    for (size_t i = 0; i < n; i++) {
        repeats = i > 0 && ids[i].id == id ? repeats + 1 : 0;
        id = ids[i].id;
        ids[i].id += repeats % (ID_REPEATS + 1) * ID_LIMIT;
    }
    qsort(ids, n, sizeof *ids, by_place);
}

/* The latest name of a thread or a track; text has room for that of one that has none. */
static struct pnr_string find_name(const struct pnr_name *entry, uint32_t number, char text[32])
{
    if (entry && entry->strings[0].size)
        return entry->strings[0];
    return (struct pnr_string){ text, (uint32_t)snprintf(text, 32, "thread %" PRIu32, number) };
}

static uint32_t thread_id(const struct pnr_name *entry, uint32_t number)
{
    return (entry && entry->number ? entry->number : number) % ID_LIMIT;
}

static uint32_t track_id(uint32_t number)
{
    return TRACK_ID | (number & (TRACK_ID - 1));
}

/* Gives the sink a thread or a track, thread->order is its number, under its latest name. Returns whether it is
 * selected. */
static bool name_thread(const struct reader *reader, const struct selection *selection, struct sink *sink,
                        struct sink_thread *thread)
{
    char text[32];
    thread->name = find_name(symbols_thread(reader_symbols(reader), thread->order), thread->order, text);
    sink->thread(sink, thread);
    uint32_t own_id = thread->is_greenlet ? thread->tid : thread->tid % ID_LIMIT;
    return selection_has_thread(selection, thread->tid, own_id, thread->name);
}

/* Greenlets have ids of their own, above all others. */
static void name_tracks(struct process *process, const struct selection *selection, struct sink *sink)
{
    uint32_t n_threads = (uint32_t)reader_n_threads(process->reader);
    for (size_t i = 0; i < process->n_tracks; i++) {
        uint32_t number = process->tracks[i].number;
        process->tracks[i].is_wanted = name_thread(process->reader, selection, sink, &(struct sink_thread){
            .thread = n_threads + (uint32_t)i, .tid = track_id(number), .order = number, .is_greenlet = true });
    }
}

/* True for an entry of a greenlet. */
static bool is_track(const struct pnr_name *entry)
{
    return entry->kind == PNR_THREAD_GREENLET && entry->index > 0;
}

/* Makes the tracks of all greenlets that have a name. Returns 0, or -1 when out of memory. */
static int make_tracks(struct process *process)
{
    const struct symbols *symbols = reader_symbols(process->reader);
    size_t n = 0;
    for (size_t i = 0; i < symbols->n_threads; i++)
        n += is_track(&symbols->threads[i]);
    if (n && !(process->tracks = calloc(n, sizeof *process->tracks)))
        return -1;
    for (size_t i = 0; i < symbols->n_threads; i++)
        if (is_track(&symbols->threads[i]))
            process->tracks[process->n_tracks++].number = symbols->threads[i].index;
    return 0;
}

static int name_threads(const struct process *process, const struct selection *selection, struct sink *sink)
{
    const struct reader *reader = process->reader;
    size_t n = reader_n_threads(reader);
    struct identity *ids = calloc(n ? n : 1, sizeof *ids);
    if (!ids)
        return -1;
    for (size_t i = 0; i < n; i++) {
        uint32_t number = reader_thread_number(reader, i);
        const struct pnr_name *entry = symbols_thread(reader_symbols(reader), number);
        ids[i].place = (uint32_t)i;
        ids[i].id = thread_id(entry, number);
    }
    if (n)
        part(ids, n);
    for (size_t i = 0; i < n; i++) {
        process->runs[i].is_wanted = name_thread(reader, selection, sink, &(struct sink_thread){
            .thread = (uint32_t)i, .tid = ids[i].id, .order = reader_thread_number(reader, i) });
    }
    free(ids);
    return 0;
}

/* ---- what is read ---- */

static int by_tid(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Finds the threads of the greenlets that are selected. Returns 1, or -1 when out of memory. */
static int choose_tracks(struct convert_choice *choice, const struct symbols *symbols)
{
    char text[32];
    free(choice->tids);
    choice->n_tids = 0;
    if (!(choice->tids = malloc((symbols->n_threads + 1) * sizeof *choice->tids)))
        return -1;
    for (size_t i = 0; i < symbols->n_threads; i++) {
        const struct pnr_name *entry = &symbols->threads[i];
        uint32_t id = track_id(entry->index);
        if (is_track(entry) &&
            selection_has_thread(choice->selection, id, id, find_name(entry, entry->index, text)))
            choice->tids[choice->n_tids++] = entry->number;
    }
    if (choice->n_tids)
        qsort(choice->tids, choice->n_tids, sizeof *choice->tids, by_tid);
    return 1;
}

static int choose_process(void *arg, const struct reader *reader)
{
    struct convert_choice *choice = arg;
    struct pnr_string name = convert_process_name(reader);
    if (!name.bytes)
        return -1;
    bool is_wanted = selection_may_have_process(choice->selection, convert_process_pid(reader), name);
    free((char *)name.bytes);
    choice->reader = reader;
    return is_wanted ? choose_tracks(choice, reader_symbols(reader)) : 0;
}

/* A greenlet of which it is not known which thread it runs on may be of any. */
static bool wants_thread(void *arg, uint32_t number)
{
    const struct convert_choice *choice = arg;
    const struct pnr_name *entry = symbols_thread(reader_symbols(choice->reader), number);
    char text[32];
    if (selection_may_have_thread(choice->selection, thread_id(entry, number), find_name(entry, number, text)))
        return true;
    if (choice->n_tids == 0)
        return false;
    return choice->tids[0] == 0 || !entry || entry->number == 0 ||
           bsearch(&entry->number, choice->tids, choice->n_tids, sizeof *choice->tids, by_tid);
}

const struct reader_choice *convert_choice_init(struct convert_choice *choice, const struct selection *selection)
{
    *choice = (struct convert_choice){ { choose_process, wants_thread, choice }, .selection = selection };
    return selection_chooses(selection) ? &choice->of_threads : NULL;
}

void convert_choice_clear(struct convert_choice *choice)
{
    free(choice->tids);
    choice->tids = NULL;
}

/* ---- all of it ---- */

/* Finds the window of a process, and lets the reader give no more than is needed for it. */
static struct window find_window(struct process *process)
{
    uint64_t from = 0, to = UINT64_MAX;
    if (process->from_ns > 0)
        from = timeline_ticks(process->timeline, process->zero_ns + process->from_ns);
    if (process->to_ns < UINT64_MAX)
        to = timeline_ticks(process->timeline, process->zero_ns + process->to_ns);
    see(process, reader_end(process->reader));
    if (process->end_ticks < from || to == 0)
        reader_stop(process->reader);
    else
        reader_set_range(process->reader, from, to, process->known != NULL);
    return (struct window){ from, to == UINT64_MAX ? to : to - 1 };
}

static int by_birth(const void *a, const void *b)
{
    const struct birth *x = a, *y = b;
    return x->ticks < y->ticks ? -1 : x->ticks > y->ticks;
}

/* Finds those of the n - 1 processes that come after this one, the first, which it started; places has n, too. Returns 0,
 * or -1 when out of memory. */
static int find_births(struct process *process, struct reader **readers, size_t n, uint64_t *places)
{
    uint64_t parent, start_ns;
    if (!(process->births = calloc(n, sizeof *process->births)))
        return -1;
    for (size_t i = 1; i < n; i++) {
        const struct symbols *symbols = reader_symbols(readers[i]);
        if (symbols_number(symbols, "parent_pid", &parent) && parent == convert_process_pid(process->reader) &&
            symbols_number(symbols, "start_monotonic_ns", &start_ns))
            process->births[process->n_births++] = (struct birth){ timeline_ticks(process->timeline, start_ns),
                                                                   &places[i] };
    }
    qsort(process->births, process->n_births, sizeof *process->births, by_birth);
    process->places = places;
    return 0;
}

/* Converts the first of n processes, those that come after it among them. places: of each, where the numbers of its
 * edges begin; NULL: they have none. */
static int convert_process(struct reader **readers, size_t n_processes, uint32_t order, uint64_t *places,
                           uint64_t zero_ns, const struct convert_how *how, struct flows *flows, struct sink *sink,
                           struct convert_count *count, struct pnr_err *err)
{
    struct reader *reader = readers[0];
    const struct selection *selection = how->selection;
    size_t n = reader_n_threads(reader);
    const struct symbols *symbols = reader_symbols(reader);
    struct process process = { .reader = reader, .timeline = reader_timeline(reader), .zero_ns = zero_ns,
                               .from_ns = selection_from(selection), .to_ns = selection_to(selection),
                               .count = &count->spans, .before = count->spans, .order = order, .known = how->from,
                               .saved = how->to };
    struct spans_choice choice = { .left_out = NULL };
    struct window window = { 0, UINT64_MAX };
    bool is_all = selection_is_all(selection);
    uint64_t least_ns = 0, until_ns;
    int result = -1;
    process.runs = calloc(n + 1, sizeof *process.runs);
    process.heap = calloc(n + 1, sizeof *process.heap);
    if (!process.runs || !process.heap || name_threads(&process, selection, sink) < 0 || make_tracks(&process) < 0 ||
        selection_choose(selection, symbols, &choice) < 0 ||
        (places && find_births(&process, readers, n_processes, places) < 0)) {
        pnr_err_set(err, PNR_E_MEMORY, reader_path(reader), 0, "out of memory");
        goto end;
    }
    name_tracks(&process, selection, sink);
    flows_process(flows, symbols);
    if (reader_process(reader, &until_ns) != PNR_PROCESS_RUNS)
        symbols_number(symbols, "end_ticks", &process.end_ticks);
    symbols_number(symbols, "min_duration_ns", &least_ns);
    least_ns = selection_least_ns(selection, least_ns);
    if (!is_all)
        window = find_window(&process);
    for (size_t i = 0; i < process.n_tracks; i++) {
        struct track *track = &process.tracks[i];
        spans_init(&track->spans, (uint32_t)(n + i), least_ns, sink, flows, symbols, &count->spans);
        spans_number(&track->spans, places);
        if (!is_all)
            spans_choose(&track->spans, &choice, process.from_ns || !track->is_wanted);
    }
    for (size_t i = 0; i < n; i++) {
        struct run *run = &process.runs[i];
        run->thread = i;
        spans_init(&run->own, (uint32_t)i, least_ns, sink, flows, symbols, &count->spans);
        spans_number(&run->own, places);
        if (!is_all)
            spans_choose(&run->own, &choice, process.from_ns || !run->is_wanted);
        run->spans = &run->own;
        if (leave_block(&process, run))
            insert(&process, run);
    }
    if (merge(&process, window, err) < 0)
        goto end;
    uint64_t end_ns = trace_ns(&process, process.end_ticks);
    for (size_t i = 0; i < n; i++)
        end_run(&process, &process.runs[i], end_ns);
    bool is_cut = end_ns > process.to_ns;
    flows_end_process(flows, is_cut ? process.to_ns : end_ns, is_cut);
    give_birth(&process, UINT64_MAX);
    if (!is_all)
        reader_stop(reader);
    result = 0;
end:
    for (size_t i = 0; process.runs && i < n; i++)
        spans_clear(&process.runs[i].own);
    for (size_t i = 0; i < process.n_tracks; i++)
        spans_clear(&process.tracks[i].spans);
    free((bool *)choice.left_out);
    free(process.births);
    free(process.tracks);
    free(process.runs);
    free(process.heap);
    return result;
}

static void say_running(const struct reader *reader, uint64_t zero_ns, const struct diagnostics *diagnostics)
{
    uint64_t until_ns;
    if (reader_process(reader, &until_ns) != PNR_PROCESS_RUNS)
        return;
    uint64_t ms = until_ns > zero_ns ? (until_ns - zero_ns) / 1000000 : 0;
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: the process still runs: this is what it had recorded up to %" PRIu64 ".%03u s",
              reader_path(reader), ms / 1000, (unsigned)(ms % 1000));
}

static void say_dropped(struct reader *reader, uint64_t zero_ns, const struct diagnostics *diagnostics)
{
    uint64_t complete_ticks;
    if (!reader_has_evicted(reader, &complete_ticks))
        return;
    if (reader_n_threads(reader) == 0) {
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: all events were dropped (--max-size, --last)", reader_path(reader));
        return;
    }
    uint64_t ns = timeline_ns(reader_timeline(reader), complete_ticks);
    uint64_t ms = ns > zero_ns ? (ns - zero_ns + 999999) / 1000000 : 0;
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: older events were dropped (--max-size, --last): complete from %" PRIu64
              ".%03u s on", reader_path(reader), ms / 1000, (unsigned)(ms % 1000));
}

/* What has become odd since. */
static void add_odd(struct convert_odd *odd, const struct spans_count *before, const struct spans_count *now,
                    uint64_t without_chain)
{
    odd->events += now->events - before->events;
    odd->lost += now->lost - before->lost;
    odd->holes += now->holes - before->holes;
    odd->ignored_exits += now->ignored_exits - before->ignored_exits;
    odd->missed_exits += now->missed_exits - before->missed_exits;
    odd->unknown_kinds += now->unknown_kinds - before->unknown_kinds;
    odd->unknown_tracks += now->unknown_tracks - before->unknown_tracks;
    odd->unknown_functions += now->unknown_functions - before->unknown_functions;
    odd->backwards += now->backwards - before->backwards;
    odd->too_many += now->too_many - before->too_many;
    odd->without_chain += without_chain;
    odd->is_converted = true;
}

static void say_odd(struct reader *reader, uint64_t zero_ns, const struct convert_odd *odd, const struct diagnostics *diagnostics)
{
    uint64_t lost = 0;                  /* of all, those too of which no record tells */
    symbols_number(reader_symbols(reader), "lost", &lost);
    if (odd->lost > lost)
        lost = odd->lost;
    const struct { enum diagnostic_level level; const char *what; uint64_t n; } table[] = {
        { DIAGNOSTIC_INFO, "events lost by the recorder", lost },
        { DIAGNOSTIC_INFO, "places where events may be missing", odd->holes },
        { DIAGNOSTIC_INFO, "exits of frames that were not open, ignored", odd->ignored_exits },
        { DIAGNOSTIC_INFO, "frames without an exit, closed with the next one out", odd->missed_exits },
        { DIAGNOSTIC_DAMAGE, "records of an unknown kind, skipped", odd->unknown_kinds },
        { DIAGNOSTIC_DAMAGE, "changes to a greenlet that has no entry or is another thread's, skipped", odd->unknown_tracks },
        { DIAGNOSTIC_DAMAGE, "slices of functions that are not in the name table", odd->unknown_functions },
        { DIAGNOSTIC_DAMAGE, "records earlier than the one before them, moved up", odd->backwards },
        { DIAGNOSTIC_DAMAGE, "frames left out, as too many were open", odd->too_many },
        { DIAGNOSTIC_DAMAGE, "slices without arrows, as too many generators and coroutines were suspended",
          odd->without_chain },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].n)
            diagnostics_report(diagnostics, table[i].level, "%s: %s: %" PRIu64, reader_path(reader), table[i].what, table[i].n);
    }
    say_running(reader, zero_ns, diagnostics);
    say_dropped(reader, zero_ns, diagnostics);
    struct pnr_string stopped = symbols_property(reader_symbols(reader), "stopped");
    if (stopped.size)
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: recording stopped early: %.*s", reader_path(reader), (int)stopped.size,
                  stopped.bytes);
}

/* True of a process that left its live mapping: it did not end in order, and its last events were read from there. */
static bool is_recovered(const struct reader *reader)
{
    uint64_t until_ns;
    return reader_size(reader)->n_recovered && reader_process(reader, &until_ns) != PNR_PROCESS_RUNS &&
           !symbols_property(reader_symbols(reader), "stopped").size;
}

/* Says that of all such processes at once. */
static void say_recovered(struct reader **readers, size_t n, const struct convert_odd *odd, const struct diagnostics *diagnostics)
{
    uint64_t n_processes = 0, n_events = 0;
    bool is_whole = true;
    const struct reader *one = NULL;
    char number[40] = "";
    for (size_t i = 0; i < n; i++) {
        if (!odd[i].is_converted || !is_recovered(readers[i]))
            continue;
        one = readers[i];
        n_processes++;
        n_events += reader_size(one)->n_recovered;
        is_whole &= !reader_size(one)->n_damaged && !odd[i].lost && !odd[i].holes;
    }
    if (n_processes == 0)
        return;
    const char *path = reader_path(one), *slash = strrchr(path, '/');
    size_t size = n_processes == 1 || !slash ? strlen(path) : (size_t)(slash - path);
    if (n_processes > 1)
        snprintf(number, sizeof number, "%" PRIu64 " processes ", n_processes);
    diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%.*s: %sdid not end in order (by a signal, say): the last %" PRIu64
              " events were read from shared memory%s", (int)size, path, number, n_events, is_whole ? ", none is missing" : "");
}

uint64_t convert_zero_ns(struct reader **readers, size_t n)
{
    uint64_t zero = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        uint64_t start;
        if (!symbols_number(reader_symbols(readers[i]), "start_monotonic_ns", &start))
            start = timeline_first_ns(reader_timeline(readers[i]));
        if (start < zero)
            zero = start;
    }
    return zero;
}

struct selection_extent convert_extent(struct reader **readers, size_t n)
{
    struct selection_extent extent = { .end_ns = 0 };
    uint64_t zero_ns = convert_zero_ns(readers, n), until_ns, ticks, number;
    for (size_t i = 0; i < n; i++) {
        const struct symbols *symbols = reader_symbols(readers[i]);
        ticks = reader_end(readers[i]);
        bool runs = reader_process(readers[i], &until_ns) == PNR_PROCESS_RUNS;
        if (!runs && symbols_number(symbols, "end_ticks", &number) && number > ticks)
            ticks = number;
        uint64_t ns = timeline_ns(reader_timeline(readers[i]), ticks);
        if (ns > zero_ns && ns - zero_ns > extent.end_ns)
            extent.end_ns = ns - zero_ns;
        if (symbols_number(symbols, "start_monotonic_ns", &number) && number == zero_ns)
            symbols_number(symbols, "start_realtime_ns", &extent.start_realtime_ns);
    }
    return extent;
}

void convert_say(struct reader **readers, size_t n, const struct convert_odd *odd, const struct diagnostics *diagnostics)
{
    uint64_t zero_ns = convert_zero_ns(readers, n);
    for (size_t i = 0; i < n; i++)
        if (odd[i].is_converted)
            say_odd(readers[i], zero_ns, &odd[i], diagnostics);
    say_recovered(readers, n, odd, diagnostics);
}

int convert(struct reader **readers, size_t n, const struct convert_how *how, struct sink *sink,
            struct convert_count *count, struct convert_odd *odd, struct pnr_err *err)
{
    const struct selection *selection = how->selection;
    struct flows flows;
    struct shown shown;
    uint64_t zero_ns = convert_zero_ns(readers, n);
    int result = -1;
    bool is_all = selection_is_all(selection);
    *count = (struct convert_count){ .threads = 0 };
    shown_init(&shown, sink);
    if (!is_all)
        sink = &shown.sink;
    flows_init(&flows, sink, how->flows);
    struct identity *ids = calloc(n ? n : 1, sizeof *ids);
    uint64_t *places = how->is_logical ? calloc(n ? n : 1, sizeof *places) : NULL;
    if (!ids || (how->is_logical && !places)) {
        pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
        goto end;
    }
    for (size_t i = 0; i < n; i++)
        ids[i] = (struct identity){ convert_process_pid(readers[i]), (uint32_t)i };
    if (n)
        part(ids, n);
    for (size_t i = 0; i < n; i++) {
        struct spans_count before = count->spans;
        struct sink_process process = {
            .pid = ids[i].id,
            .order = (uint32_t)i,
            .name = convert_process_name(readers[i]),
            .symbols = reader_symbols(readers[i]),
        };
        if (!process.name.bytes) {
            pnr_err_set(err, PNR_E_MEMORY, reader_path(readers[i]), 0, "out of memory");
            goto end;
        }
        bool is_wanted = selection_has_process(selection, process.pid, process.pid % ID_LIMIT, process.name);
        if (is_wanted)
            sink->process(sink, &process);
        free((char *)process.name.bytes);
        if (!is_wanted)
            continue;
        if (convert_process(readers + i, n - i, (uint32_t)i, places ? places + i : NULL, zero_ns, how, &flows, sink,
                            count, err) < 0)
            goto end;
        add_odd(&odd[i], &before, &count->spans, flows.n_left_out);
        count->threads += is_all ? reader_n_threads(readers[i]) : 0;
    }
    count->chains = flows.n_chains;
    count->creations = flows.creations.n_arrows;
    count->tasks = flows.n_tasks;
    count->threads += shown.n_threads;
    if (how->to)
        stacks_settle(how->to, how->from);
    shown.is_out_of_memory |= how->to && how->to->is_out_of_memory;
    result = shown.is_out_of_memory ? pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory") : 0;
end:
    shown_clear(&shown);
    flows_clear(&flows);
    free(places);
    free(ids);
    return result;
}
