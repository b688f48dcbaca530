"""Runs a program as a child process that others cannot tell from this one.

    return child.end_as(child.run(path, words))

To the terminal, and to a process that sends signals, this process is as the program: signals reach the program once,
both stop together, and the exit status is the program's.
"""

import os
import resource
import signal
import sys

# The kernel acts on these at once, or they stop this process together with the program.
NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
                 signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
                 signal.SIGSYS}


def run(path, words):
    """Run a program to its end. Returns its wait status."""
    forwarded = signal.valid_signals() - NOT_FORWARDED
    before = signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    child = os.posix_spawn(path, words, os.environ, setsigmask=before, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)           # ignored by who has started this, it would not be sent
    try:
        while True:
            found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if found and not os.WIFSTOPPED(status):
                return status
            if found:                   # the program has stopped itself
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(child, signal.SIGCONT)
                continue
            forward(signal.sigwaitinfo(forwarded), child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forward(info, child):
    """Send a signal on to the child. Those of the terminal it has got itself."""
    if info.si_signo != signal.SIGCHLD and info.si_code <= 0:       # from kill(2) and the like
        os.kill(child, info.si_signo)


def end_as(status):
    """Return the exit status of a program, or end by the signal that ended it."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))                # the program's core dump is there
    number = os.WTERMSIG(status)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
