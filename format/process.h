/* Finds out whether a process still runs. A process is identified by its id, its PID namespace and its start
 * (proc(5)). */
#ifndef PNR_PROCESS_H
#define PNR_PROCESS_H

#include <stdint.h>

enum pnr_process_state {
    PNR_PROCESS_UNKNOWN,                /* it may be of another machine or container */
    PNR_PROCESS_RUNS,
    PNR_PROCESS_GONE
};

/* When this process started, in clock ticks since boot; 0 when /proc does not say. */
uint64_t pnr_process_start(void);

/* The inode of this process's PID namespace, or 0. */
uint64_t pnr_process_namespace(void);

/* Finds the state of a process. It is gone if it was of this process's namespace, and there is no process of
 * that id, or one that started at another time, or a zombie. If /proc is missing, or is another namespace's, it
 * is not known. */
enum pnr_process_state pnr_process_find_state(long pid, uint64_t start, uint64_t namespace);

#endif
