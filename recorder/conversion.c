#include "conversion.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "diagnostics.h"

extern char **environ;

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
#define N_SIGNALS (sizeof signals / sizeof *signals)

static volatile sig_atomic_t is_interrupted;
static volatile pid_t running;          /* the converter; 0: there is none */

static void on_signal(int signal)
{
    int saved = errno;
    (void)signal;
    is_interrupted = true;
    if (running)
        kill(running, SIGTERM);         /* it takes its unfinished file away */
    errno = saved;
}

void rec_conversion_catch(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK }, before;
    sigemptyset(&action.sa_mask);
    is_interrupted = false;
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}

/* In the child of vfork, which shares the parent's memory but not its handlers. A terminal's signals are for the
 * recorded process, which passes them on: so the converter is in a group of its own. */
static void become(pid_t parent, const char *converter, char *const *argv, const sigset_t *mask)
{
    struct sigaction action;
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler == on_signal) {
            action.sa_handler = SIG_DFL;
            sigaction(signals[i], &action, NULL);
        }
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execve(converter, argv, environ);
}

/* Returns the converter's process id, or -1 and errno. */
static pid_t spawn(const char *converter, char *const *argv, const sigset_t *mask)
{
    volatile int failure = 0;
    sigset_t all, before;
    pid_t parent = getpid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0) {
        become(parent, converter, argv, mask);
        failure = errno;
        _exit(127);
    }
    if (pid < 0)
        failure = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && failure)
        waitpid(pid, NULL, 0);
    errno = failure;
    return failure ? -1 : pid;
}

int rec_conversion_run(const char *converter, const char *output, const char *capture, const sigset_t *mask)
{
    siginfo_t info;
    int status = -1;
    char *argv[] = { (char *)converter, "-q", "-o", (char *)output, (char *)capture, NULL };
    signal(SIGCHLD, SIG_DFL);           /* the program may have ignored it: then there is nothing to wait for */
    if (is_interrupted)
        return 2;
    pid_t pid = spawn(converter, argv, mask);
    if (pid < 0) {
        rec_warn("%s: %s", converter, strerror(errno));
        return 2;
    }
    running = pid;
    if (is_interrupted)
        kill(pid, SIGTERM);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR)
        ;
    running = 0;                        /* before its id may be another's */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
