#include "machine.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../format/file.h"
#include "name_table.h"

#define CONTAINER_DIGITS 64             /* the ids of Docker, Podman, containerd and CRI-O are SHA-256 */
#define CHUNK_SIZE 4096                 /* more than a line of these files has */
#define MAX_BYTES (1 << 20)             /* more of such a file is not read */

/* A word that stands in a file of one line. */
static bool read_word(const char *path, char *word, size_t size)
{
    int fd = pnr_file_open(path, O_RDONLY);
    if (fd < 0)
        return false;
    ssize_t n = pnr_file_read(fd, word, size - 1, 0);
    close(fd);
    word[n > 0 ? n : 0] = 0;
    word[strcspn(word, "\n")] = 0;
    return *word;
}

/* Finds the first number of exactly so many hexadecimal digits as an id has. */
static bool find_id(const char *text, char id[CONTAINER_DIGITS + 1])
{
    for (size_t n; *text; text += n + (n == 0)) {
        for (n = 0; isxdigit((unsigned char)text[n]); n++)
            ;
        if (n == CONTAINER_DIGITS) {
            memcpy(id, text, n);
            id[n] = 0;
            return true;
        }
    }
    return false;
}

/* Finds an id in the first line of a file that contains `sought`. */
static bool find_id_in_file(const char *path, const char *sought, char id[CONTAINER_DIGITS + 1])
{
    char chunk[CHUNK_SIZE + 1];
    bool is_found = false;
    off_t at = 0;
    ssize_t n;
    int fd = pnr_file_open(path, O_RDONLY);
    while (fd >= 0 && !is_found && at < MAX_BYTES && (n = pnr_file_read(fd, chunk, CHUNK_SIZE, at)) > 0) {
        chunk[n] = 0;
        char *line = chunk, *end;
        for (; !is_found && (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            is_found = strstr(line, sought) && find_id(line, id);
        }
        at += line > chunk ? line - chunk : n;
    }
    if (fd >= 0)
        close(fd);
    return is_found;
}

/* A control group has the id in its name, unless it is the root of a namespace. Then the host's file that the
 * container sees as /etc/hostname lies in a folder of that name. */
static bool find_container(char id[CONTAINER_DIGITS + 1])
{
    return find_id_in_file("/proc/self/cgroup", "", id) || find_id_in_file("/proc/self/mountinfo", " /etc/hostname ", id);
}

void rec_machine_write(void)
{
    struct utsname names;
    char boot[64], container[CONTAINER_DIGITS + 1];
    if (uname(&names) == 0 && names.nodename[0])
        rec_name_table_add_property("host", names.nodename);
    if (read_word("/proc/sys/kernel/random/boot_id", boot, sizeof boot))
        rec_name_table_add_property("boot_id", boot);
    if (find_container(container))
        rec_name_table_add_property("container", container);
}
