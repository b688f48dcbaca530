/* Signals that a system call of the recorder's would send to the program, which did not make that call: SIGXFSZ for a
 * file beyond RLIMIT_FSIZE, SIGPIPE for a pipe that nobody reads. The call fails, and nothing else comes of it. */
#ifndef REC_SIGNALS_H
#define REC_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Holds a signal back in this thread; 0: all of them. Gives the mask that there was. */
void rec_signals_hold(int signal, sigset_t *before);

/* The end of it. has_come: the call failed so that the signal was sent: it is taken away. Keeps errno. */
void rec_signals_release(int signal, const sigset_t *before, bool has_come);

#endif
