#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

/* Reads field 22 of a process's stat. *is_ended: it is a zombie; its first thread alone may be one (field 3) while there
 * are others (field 20). Returns 0 when it cannot be told, and *is_gone, whether there is no such process. */
static uint64_t read_start(const char *path, bool *is_ended, bool *is_gone)
{
    char text[1024];
    int fd = pnr_file_open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : pnr_file_read(fd, text, sizeof text - 1, 0);
    *is_gone = n < 0 && (errno == ENOENT || errno == ESRCH);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *at = strrchr(text, ')');      /* the name before it may hold anything */
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
    bool is_ended, is_gone;
    return read_start("/proc/self/stat", &is_ended, &is_gone);
}

uint64_t pnr_process_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

enum pnr_process_state pnr_process_look(long pid, uint64_t start, uint64_t namespace)
{
    char path[64];
    bool is_ended = false, is_gone;
    if (!start || !namespace || namespace != pnr_process_namespace())
        return PNR_PROCESS_UNKNOWN;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    uint64_t found = read_start(path, &is_ended, &is_gone);
    if (!found && !is_gone)
        return PNR_PROCESS_UNKNOWN;     /* it may be that the program has used up all descriptors */
    return found == start && !is_ended ? PNR_PROCESS_RUNS : PNR_PROCESS_GONE;
}
