#include "names.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../format/file.h"

struct pnr_string rec_names_cut(struct pnr_string s)
{
    if (s.size > PNR_NAME_MAX) {
        s.size = PNR_NAME_MAX;
        while (s.size && ((unsigned char)s.bytes[s.size] & 0xc0) == 0x80)
            s.size--;
    }
    return s;
}

struct pnr_string rec_names_text(const char *s)
{
    return rec_names_cut((struct pnr_string){ s, (uint32_t)strlen(s) });
}

int rec_names_append(struct rec_file *file, const struct pnr_name *name, struct pnr_err *err)
{
    unsigned char bytes[PNR_NAME_ENTRY_SIZE + 1024], *entry = bytes;
    size_t size = pnr_name_size(name);
    if (size > sizeof bytes && !(entry = malloc(size)))
        return pnr_err_set(err, PNR_E_MEMORY, file->path, 0, "out of memory");
    pnr_name_encode(name, entry);
    int result = rec_file_append(file, entry, size, err);
    if (entry != bytes)
        free(entry);
    return result;
}

int rec_names_append_property(struct rec_file *file, const char *key, const char *value, struct pnr_err *err)
{
    return rec_names_append(file, &(struct pnr_name){ .type = PNR_NAME_PROPERTY,
                                                      .strings = { rec_names_text(key), rec_names_text(value) } }, err);
}

int rec_names_append_number(struct rec_file *file, const char *key, uint64_t value, struct pnr_err *err)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    return rec_names_append_property(file, key, digits, err);
}

int rec_names_append_clock_sample(struct rec_file *file, const char *which, struct pnr_clock_sample sample,
                                  struct pnr_err *err)
{
    const struct { const char *clock; uint64_t value; } clocks[] = {
        { "ticks", sample.ticks }, { "monotonic_ns", sample.monotonic_ns }, { "realtime_ns", sample.realtime_ns } };
    char key[48];
    int result = 0;
    for (int i = 0; i < 3 && result == 0; i++) {
        snprintf(key, sizeof key, "%s_%s", which, clocks[i].clock);
        result = rec_names_append_number(file, key, clocks[i].value, err);
    }
    return result;
}

unsigned char *rec_names_read(const char *path, size_t *size, struct pnr_err *err)
{
    struct pnr_name name;
    struct pnr_err fault;
    size_t at = PNR_NAMES_HEADER_SIZE;
    struct stat st;
    int fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    off_t end = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : -1;
    unsigned char *bytes = end < PNR_NAMES_HEADER_SIZE ? NULL : malloc((size_t)end);
    if (!bytes || pnr_file_read(fd, bytes, (size_t)end, 0) != end) {
        pnr_err_system(err, path, "cannot read");
        free(bytes);
        bytes = NULL;
    }
    if (fd >= 0)
        close(fd);
    for (*size = at; bytes;) {
        int result = pnr_name_decode(bytes, (size_t)end, &at, &name, &fault);
        if (result == 0 || (result < 0 && fault.code == PNR_E_TRUNCATED))
            break;
        *size = at;
    }
    return bytes;
}
