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

/* Reads field 22 of a process's stat, or of that of its first thread, which is the same. *is_ended: the process is a zombie;
 * field 3 is that of its first thread, which may have ended while others (field 20) go on. Returns 0 when the field cannot
 * be read. */
static uint64_t read_start(int directory, const char *path, bool *is_ended)
{
    char text[1024];
    int fd = pnr_file_open_at(directory, path, O_RDONLY);
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

uint64_t pnr_process_start(void)
{
    bool is_ended;
    int directory = pnr_file_open("/proc/self", O_RDONLY | O_DIRECTORY);
    uint64_t start = directory < 0 ? 0 : read_start(directory, "stat", &is_ended);
    if (directory >= 0)
        close(directory);
    return start;
}

uint64_t pnr_process_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* True when /proc shows the processes of this namespace. A new namespace (unshare -p) has its parent's /proc until one
 * is mounted for it. There each process has a second number, the parent's. */
static bool has_own_proc(void)
{
    char text[32];
    ssize_t n = readlink("/proc/self", text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return strtol(text, NULL, 10) == (long)getpid();
}

enum pnr_process_state pnr_process_find_state(long pid, uint64_t start, uint64_t namespace)
{
    char path[64];
    bool is_ended = false;
    if (!start || !namespace || namespace != pnr_process_namespace())
        return PNR_PROCESS_UNKNOWN;
    if (pid <= 0 || pid > INT_MAX || (kill((pid_t)pid, 0) != 0 && errno == ESRCH))
        return PNR_PROCESS_GONE;
    if (!has_own_proc())
        return PNR_PROCESS_UNKNOWN;
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/stat", pid, pid);
    uint64_t found = read_start(AT_FDCWD, path, &is_ended);
    if (!found)
        return PNR_PROCESS_UNKNOWN;     /* /proc hides it, or the program has used up all descriptors */
    return found == start && !is_ended ? PNR_PROCESS_RUNS : PNR_PROCESS_GONE;
}
