/* Which processes run still: a process is its id, its PID namespace and when it started (proc(5)). */
#ifndef PNR_PROCESS_H
#define PNR_PROCESS_H

#include <stdint.h>

enum pnr_process_state {
    PNR_PROCESS_UNKNOWN,                /* it may be of another machine or container */
    PNR_PROCESS_RUNS,
    PNR_PROCESS_GONE
};

/* When this process started, in clock ticks since the machine did; 0 when /proc does not tell. */
uint64_t pnr_process_start(void);

/* The inode of this process's PID namespace, or 0. */
uint64_t pnr_process_namespace(void);

/* Gone is one that lies in this process's namespace, and there is none of that id, or one that started at another time,
 * or that is a zombie. When /proc does not tell, or tells of another namespace, it is not known. */
enum pnr_process_state pnr_process_find_state(long pid, uint64_t start, uint64_t namespace);

#endif
