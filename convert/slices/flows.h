/* Connects the slices that belong to one continuable frame (generator, coroutine, ...) over all threads of a process,
 * and emits the flow events between which a viewer draws arrows. Also reports how long each frame was suspended.
 *
 *     records                                      flow events
 *     START f, YIELD f                             (start, in f's first slice: held back)
 *                       RESUME f, YIELD f          the start is emitted (step, in f's second slice: held back)
 *                       RESUME f, FINISH f         the step is emitted; then the end, in f's third slice
 *
 * A flow event is held back until the next one is known. So no flow starts without continuing, and the last event of
 * each is known to be its end. A frame that is never resumed has no flow events. Its identity is free for another frame
 * after FINISH, or when another START or CREATE comes with it.
 *
 * If wanted, there are arrows from where frames were created, too (spawn_arrows.h); and coroutines that are tasks are
 * reported as such (tasks.h).
 *
 *     flows_init()
 *     for each process: flows_process(); then in the order of time flows_create(), flows_enter(), [flows_retain(),]
 *         flows_leave(), flows_finish(), flows_decide(), flows_forget(), flows_forget_all(), flows_submit(),
 *         flows_take(); flows_end_process()
 *     flows_clear()
 *
 * A slice may be pending (slice_filter.h). Its flow knows it, and it has no flow event until it is retained. If it is
 * pruned, it is as if its frame had not run.
 *
 * Memory grows with the continuable frames that are alive, not with those that ended, up to FLOWS_MAX of them. One
 * thread at a time. */
#ifndef FLOWS_H
#define FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/ledger.h"
#include "format/table.h"
#include "remarks.h"
#include "sink.h"
#include "spawn_arrows.h"
#include "tasks.h"

/* Flows at a time: those beyond are counted, and have no flow events. */
#define FLOWS_MAX (3 << 19)

struct flow;

/* Which of them are made. Bit k: those of frames of enum pnr_function_kind k. */
struct flows_choice {
    unsigned flows;                     /* flow events between their slices */
    unsigned spawns;                    /* arrows from where they were created */
    bool has_tasks;                     /* tasks are reported */
    bool has_works;                     /* arrows from where work was handed to another thread */
};

struct flows {
    struct sink *sink;                  /* borrowed, like the next */
    const struct symbols *symbols;
    struct flows_choice choice;
    unsigned kinds;                     /* those that are in the table */
    struct spawn_arrows spawns;
    struct tasks tasks;
    struct remarks remarks;
    bool has_names;                     /* tasks have names: each is reported when its first slice has ended */
    struct pnr_table names;             /* of struct task_name, by frame identity */
    struct awaited awaited;             /* by the frame that is left next: flows_await() */
    uint64_t awaiting_frame;            /* of the task that waits for another one, when it is suspended next; 0: none */
    struct pnr_string awaited_task;     /* the name of that one; owned */
    bool has_left_task;                 /* since flows_await() */
    struct pnr_table table;             /* of struct flow, by frame identity */
    struct pnr_table works;             /* of struct work, by identity: those that no thread has taken */
    uint64_t n_unconnected;             /* slices without a flow, as there were FLOWS_MAX, and frames that were created
                                           when there were SPAWN_ARROWS_MAX; of the present process */
    uint64_t last_id;                   /* given to a flow or a spawn arrow */
    uint64_t n_flows;                   /* with at least two slices: those that have ids */
    uint64_t n_tasks;
    bool is_out_of_memory;              /* sticks; flows are incomplete from then on */
};

void flows_init(struct flows *flows, struct sink *sink, struct flows_choice choice);

void flows_clear(struct flows *flows);

void flows_process(struct flows *flows, const struct symbols *symbols);

enum flows_entry {
    FLOWS_FIRST = 1,                    /* the frame's first slice */
    FLOWS_RETAINED = 2,                 /* the slice is retained; else it is pending */
    FLOWS_TASK = 4                      /* the frame is run by an event loop */
};

/* A slice of the frame begins at begin_ns. Returns when it does in the trace: slightly later if the frame changes
 * threads and an arrow would point backwards. The nanosecond after that belongs to its flow event. how: enum
 * flows_entry. */
uint64_t flows_enter(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, unsigned how,
                     uint64_t begin_ns);

/* A pending slice is retained; comes before flows_leave(). begin_ns: what flows_enter() returned. If the flow has
 * continued meanwhile (an exit is missing), the slice has no flow event. */
void flows_retain(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, uint64_t begin_ns);

/* The program's recorder knows of the task whose coroutine has this frame: values of its TASK record. */
void flows_describe_task(struct flows *flows, uint32_t function, uint64_t frame, const struct pnr_values *values);

/* The frame that is left next is suspended, and waits for this. */
void flows_await(struct flows *flows, struct awaited awaited);

/* That frame has been left. Returns whether it was a task. */
bool flows_end_await(struct flows *flows);

/* The slice that began at begin_ns ends; is_finished: and the frame with it. */
void flows_leave(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, bool is_finished,
                 uint64_t begin_ns, uint64_t end_ns);

/* The frame of this identity has finished, if there is one, though no slice of it shows that. */
void flows_finish(struct flows *flows, uint64_t frame);

/* A slice of the thread has created a frame, which has not run yet; comes after flows_finish(). pending and ns: as for
 * spawn_arrows_add(). */
void flows_create(struct flows *flows, uint32_t *pending, uint32_t thread, uint32_t function, uint64_t frame,
                  uint64_t ns);

/* A pending slice that began at begin_ns is retained, or pruned: so are the creations in it. */
void flows_decide(struct flows *flows, uint32_t *pending, uint64_t begin_ns, bool is_retained);

/* The program reported at ns that the innermost slice belongs to the flow whose identity the values are. */
void flows_report(struct flows *flows, uint32_t thread, uint32_t label, const struct pnr_values *values, uint64_t ns);

/* A slice of the thread submits the work of this identity at ns, a time inside it that nothing else has. ns 0: no slice
 * that is shown does. */
void flows_submit(struct flows *flows, uint32_t thread, uint64_t work, uint64_t ns);

/* A slice of the thread does the work of this identity, which no other one does after it. function: the slice's; ns: as for
 * flows_submit(). */
void flows_take(struct flows *flows, uint32_t thread, uint64_t work, uint32_t function, uint64_t ns);

/* Forgets all works, as records may be missing: others may have got their identities. */
void flows_forget_works(struct flows *flows);

/* Returns whether the frame has a flow with a slice. */
bool flows_has_run(const struct flows *flows, uint32_t function, uint64_t frame);

/* Ends the flow of this identity, if there is one: it is not known how it goes on. */
void flows_forget_frame(struct flows *flows, uint64_t frame);

/* Ends the flows of the frames of muted functions, except for those that are open: what runs next under their identity
 * may be another frame. muted: NULL for all functions. open: the n identities of the open ones, in their order. */
void flows_forget(struct flows *flows, const struct ledger_view *muted, const uint64_t *open, size_t n);

/* Ends all flows, and counts them: it is not known how they go on. */
void flows_forget_all(struct flows *flows);

/* Ends all flows. Tasks that have not ended continue at end_ns; is_cut: as the selected time ends there. */
void flows_end_process(struct flows *flows, uint64_t end_ns, bool is_cut);

#endif
