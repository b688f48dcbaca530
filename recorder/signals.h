/* Keeps signals from the program that only a system call of the recorder's has caused: SIGXFSZ for a file beyond
 * RLIMIT_FSIZE, SIGPIPE for a pipe that nobody reads. The call fails, and the program does not notice. No Python
 * dependency.
 *
 *     rec_signals_hold
 *     ... the system call ...
 *     rec_signals_release
 *
 * Each thread for itself. */
#ifndef REC_SIGNALS_H
#define REC_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Blocks a signal in this thread; 0: all of them. Gives the mask that there was. */
void rec_signals_hold(int signal, sigset_t *before);

/* Restores the mask. has_come: the call failed in the way that sends the signal, which is then discarded. Keeps
 * errno. */
void rec_signals_release(int signal, const sigset_t *before, bool has_come);

#endif
