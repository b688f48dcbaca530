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

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
#define N_SIGNALS (sizeof end_signals / sizeof *end_signals)

static volatile sig_atomic_t is_interrupted;
static volatile pid_t running;          /* the converter; 0: there is none */

static void interrupt_conversion(int signal)
{
    int saved = errno;
    (void)signal;
    is_interrupted = true;
    if (running)
        kill(running, SIGTERM);         /* the converter then removes its unfinished file */
    errno = saved;
}

void rec_conversion_catch(void)
{
    struct sigaction action = { .sa_handler = interrupt_conversion, .sa_flags = SA_RESTART | SA_ONSTACK }, before;
    sigemptyset(&action.sa_mask);
    is_interrupted = false;
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (sigaction(end_signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(end_signals[i], &action, NULL);
}

/* Becomes the converter in the child of vfork, which shares the parent's memory but not its handlers. The converter
 * gets a process group of its own: a terminal's end_signals are for the recorded process, which passes them on. */
static void become_converter(pid_t parent, const char *converter, char *const *argv, const sigset_t *mask)
{
    struct sigaction action;
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (sigaction(end_signals[i], NULL, &action) == 0 && action.sa_handler == interrupt_conversion) {
            action.sa_handler = SIG_DFL;
            sigaction(end_signals[i], &action, NULL);
        }
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execve(converter, argv, environ);
}

/* Starts the converter. Returns its process id, or -1 and errno. */
static pid_t spawn_converter(const char *converter, char *const *argv, const sigset_t *mask)
{
    volatile int failure = 0;
    sigset_t all, before;
    pid_t parent = getpid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0) {
        become_converter(parent, converter, argv, mask);
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
    signal(SIGCHLD, SIG_DFL);           /* where the program ignores it, waitid(2) finds no child */
    if (is_interrupted)
        return 2;
    pid_t pid = spawn_converter(converter, argv, mask);
    if (pid < 0) {
        rec_warn("%s: %s", converter, strerror(errno));
        return 2;
    }
    running = pid;
    if (is_interrupted)
        kill(pid, SIGTERM);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR)
        ;
    running = 0;                        /* before the id is free for another process */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
