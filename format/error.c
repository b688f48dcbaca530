#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void copy_path_end(struct pnr_err *err, const char *path)
{
    size_t size = path ? strlen(path) : 0;
    if (size < sizeof err->path) {
        memcpy(err->path, path ? path : "", size + 1);
        return;
    }
    memcpy(err->path, "...", 3);        /* the end of a path says more than its start */
    memcpy(err->path + 3, path + size - (sizeof err->path - 4), sizeof err->path - 3);
}

int pnr_err_set(struct pnr_err *err, enum pnr_code code, const char *path, uint64_t offset, const char *what)
{
    err->code = code;
    err->sys_errno = 0;
    err->offset = offset;
    err->what = what;
    copy_path_end(err, path);
    return -1;
}

int pnr_err_system(struct pnr_err *err, const char *path, const char *what)
{
    int saved = errno;
    pnr_err_set(err, saved == ENOMEM ? PNR_E_MEMORY : PNR_E_SYSTEM, path, 0, what);
    err->sys_errno = saved;
    return -1;
}

const char *pnr_err_describe(const struct pnr_err *err, char *text, size_t size)
{
    const char *colon = *err->path ? ": " : "";
    if (err->sys_errno)
        snprintf(text, size, "%s%s%s: %s", err->path, colon, err->what, strerror(err->sys_errno));
    else if (err->code == PNR_E_CORRUPT || err->code == PNR_E_TRUNCATED)
        snprintf(text, size, "%s%sbyte %" PRIu64 ": %s", err->path, colon, err->offset, err->what);
    else
        snprintf(text, size, "%s%s%s", err->path, colon, err->what);
    return text;
}
