/* The CPU time that the program takes, without the recorder's own thread: what a budget is a share of. No Python
 * dependency. Any thread may call it. */
#ifndef REC_CPU_CLOCK_H
#define REC_CPU_CLOCK_H

#include <stdint.h>

/* Returns the CPU time of all threads of the process, in nanoseconds, less what rec_cpu_clock_exclude has taken out. */
uint64_t rec_cpu_clock_program(void);

/* Returns CLOCK_MONOTONIC in nanoseconds: what a wait is measured by. It stands here so that a test that gives the
 * budget other clocks gives it this one, too. */
uint64_t rec_cpu_clock_moment(void);

/* Returns the CPU time of the calling thread, in nanoseconds. */
uint64_t rec_cpu_clock_thread(void);

/* Takes out what the calling thread has used up to now, in all its life. Only the recorder's own thread calls it. */
void rec_cpu_clock_exclude(void);

#endif
