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

/* Converts the records of the process up to the window's end. cursors: of its threads, as thread_cursor_init() left
 * them; heap: memory for as many pointers; ledger: the process's, before its first event. Returns 0, or -1 and fills
 * err. */
int merge_threads(struct converted_process *process, struct thread_cursor *cursors, struct thread_cursor **heap,
                  struct ledger_cursor *ledger, struct merge_window window, struct child_starts *children,
                  struct pnr_err *err);

#endif
