/* Which processes run still: a process is its id, its PID namespace and when it started (proc(5)). */
#ifndef PNR_PROCESS_H
#define PNR_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* When this process started, in clock ticks since the machine did; 0 when /proc does not tell. */
uint64_t pnr_process_start(void);

/* The inode of this process's PID namespace, or 0. */
uint64_t pnr_process_namespace(void);

/* False only for a process that is known to be gone: it lies in this process's namespace, and there is none of that id, or
 * one that started at another time, or that is a zombie. */
bool pnr_process_is_running(long pid, uint64_t start, uint64_t namespace);

#endif
