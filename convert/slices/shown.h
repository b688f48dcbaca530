/* A sink before another one, which keeps back what it is told of processes and threads until something of them is
 * shown: when not all of a capture is wanted, the others are not even named.
 *
 *     shown_init()
 *     the calls of the sink, all of which go on to the other one
 *     shown_clear()
 *
 * It breaks when the other one does, or when out of memory. */
#ifndef SHOWN_H
#define SHOWN_H

#include <stddef.h>

#include "sink.h"

struct shown_thread;

struct shown {
    struct sink sink;                   /* first: a sink is one */
    struct sink *next;                  /* borrowed */
    struct sink_process process;        /* its name is owned */
    bool is_kept_back;                  /* the process is */
    struct shown_thread *threads;       /* of the process; owned */
    size_t n, capacity;
    uint64_t n_threads;                 /* that were told of, in all processes, but for greenlets */
    bool is_out_of_memory;
};

void shown_init(struct shown *shown, struct sink *next);

void shown_clear(struct shown *shown);

#endif
