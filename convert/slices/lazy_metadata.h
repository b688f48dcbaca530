/* A sink in front of another one, which holds back the metadata of processes and threads until an event of theirs
 * comes: where only a part of a capture is selected, the rest is not even named.
 *
 *     calls                                 what the other sink gets
 *     process 7, thread 1, thread 2         nothing
 *     slice of thread 2                     process 7, thread 2, slice
 *     process 8                             nothing
 *
 *     lazy_metadata_init()
 *     the calls of the sink
 *     lazy_metadata_clear()
 *
 * It breaks when the other sink does, or when out of memory. */
#ifndef LAZY_METADATA_H
#define LAZY_METADATA_H

#include <stddef.h>

#include "sink.h"

struct lazy_thread;

struct lazy_metadata {
    struct sink sink;                   /* first: a sink is one */
    struct sink *next;                  /* borrowed */
    struct sink_process process;        /* its name is owned */
    bool holds_process;                 /* the next sink does not know the process yet */
    struct lazy_thread *threads;        /* of the process; owned */
    size_t n, capacity;
    struct sink_recorder_event *events;   /* of the process's ledger, while the process is held back; owned */
    size_t n_events, event_capacity;
    uint64_t n_threads;                 /* that the next sink knows, in all processes, without greenlets */
    bool is_out_of_memory;
};

void lazy_metadata_init(struct lazy_metadata *lazy, struct sink *next);

void lazy_metadata_clear(struct lazy_metadata *lazy);

#endif
