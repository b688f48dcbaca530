#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

/* Reads field 22 of the stat of a process's first thread, which is the process's: qemu's user mode makes up that of the process.
 * number: in /proc. *is_ended: the process is a zombie; field 3 is that of its first thread, which may have ended while others
 * (field 20) go on. Returns 0 when the field cannot be read. */
static uint64_t read_start(long number, bool *is_ended)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/stat", number, number);
    int fd = pnr_file_open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : pnr_file_read(fd, text, sizeof text - 1, 0);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *at = strrchr(text, ')');      /* the name before it may contain anything */
    if (!at || at[1] != ' ')
        return 0;
    char state = at[2];
    unsigned long n_threads = 1;
    at++;
    for (int field = 3; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (at && field == 19)
            n_threads = strtoul(at + 1, NULL, 10);
    }
    *is_ended = (state == 'Z' || state == 'X') && n_threads <= 1;
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

/* This process's number in /proc, or 0. A new namespace (unshare -p) has its parent's /proc until one is mounted for it. There
 * each process has a second number, the parent's. */
static long read_own_number(void)
{
    char text[32];
    ssize_t n = readlink("/proc/self", text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return strtol(text, NULL, 10);
}

uint64_t pnr_process_start(void)
{
    bool is_ended;
    long number = read_own_number();
    return number > 0 ? read_start(number, &is_ended) : 0;
}

uint64_t pnr_process_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

enum pnr_process_state pnr_process_find_state(long pid, uint64_t start, uint64_t namespace)
{
    bool is_ended = false;
    if (!start || !namespace || namespace != pnr_process_namespace())
        return PNR_PROCESS_UNKNOWN;
    if (pid <= 0 || pid > INT_MAX || (kill((pid_t)pid, 0) != 0 && errno == ESRCH))
        return PNR_PROCESS_GONE;
    if (read_own_number() != (long)getpid())
        return PNR_PROCESS_UNKNOWN;     /* it shows another namespace's */
    uint64_t found = read_start(pid, &is_ended);
    if (!found)
        return PNR_PROCESS_UNKNOWN;     /* /proc hides it, or the program has used up all descriptors */
    return found == start && !is_ended ? PNR_PROCESS_RUNS : PNR_PROCESS_GONE;
}
