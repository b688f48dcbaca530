/* Converts the threads of a process together, in the order of time, so that a frame which moves between threads has its
 * slices in their order, and logical time is the order of what happened.
 *
 *     thread 1         thread 2           which thread advances, and up to when
 *     10 CALL f        30 RESUME g        1, up to 30 (of equal times the first thread is first)
 *     20 YIELD g       35 YIELD g         2, up to 40
 *     40 RESUME g                         1, to its end
 *
 * The thread whose next record is the earliest advances as far as it stays the earliest: whole blocks, mostly. Within
 * them the merge costs nothing. */
#ifndef MERGE_H
#define MERGE_H

#include "child_starts.h"
#include "ledger_cursor.h"
#include "thread_cursor.h"

/* The ticks of the selected time: before the first nothing is shown, after the last nothing is converted. */
struct merge_window {
    uint64_t first, last;
};

struct merge {
    struct converted_process *process;  /* borrowed, like the next */
    struct ledger_cursor *ledger;
    struct thread_cursor *cursors;
    size_t n;
    struct thread_cursor **heap;        /* those that have records left; the earliest first */
    size_t n_heap;
    struct merge_window window;
    struct child_starts *children;
};

/* Begins with the cursors as thread_cursor_init() left them, and the ledger before its first event. merge: with its
 * borrowed members and the window set; heap: memory for as many pointers as there are cursors. */
void merge_begin(struct merge *merge);

/* Converts up to one block of the thread whose records are the earliest. Returns 1; 0 when the window's end has been
 * reached, or the sink is broken; -1 and fills err. */
int merge_step(struct merge *merge, struct pnr_err *err);

#endif
