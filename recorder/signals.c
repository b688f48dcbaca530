#include "signals.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

static sigset_t signal_set(int signal)
{
    sigset_t set;
    if (signal) {
        sigemptyset(&set);
        sigaddset(&set, signal);
    } else {
        sigfillset(&set);
    }
    return set;
}

void rec_signals_hold(int signal, sigset_t *before)
{
    sigset_t set = signal_set(signal);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

void rec_signals_release(int signal, const sigset_t *before, bool has_come)
{
    sigset_t set = signal_set(signal);
    int saved = errno;
    if (has_come)
        sigtimedwait(&set, NULL, &(struct timespec){ 0 });
    pthread_sigmask(SIG_SETMASK, before, NULL);
    errno = saved;
}
