/* How the functions of format/ and convert/ report a failure: they return -1 or NULL and fill a struct pnr_err of the
 * caller, which is never NULL. Programs use `code`; people read pnr_err_describe(). */
#ifndef PNR_ERROR_H
#define PNR_ERROR_H

#include <stddef.h>
#include <stdint.h>

enum pnr_code {
    PNR_OK = 0,
    PNR_E_SYSTEM,               /* a system call failed; sys_errno says how */
    PNR_E_MEMORY,               /* out of memory */
    PNR_E_CORRUPT,              /* bytes that the format does not allow, at offset */
    PNR_E_TRUNCATED,            /* the file ends inside a structure that begins at offset */
    PNR_E_VERSION,              /* a capture of a later format version */
    PNR_E_NOT_CAPTURE           /* no capture at all */
};

struct pnr_err {
    enum pnr_code code;
    int sys_errno;              /* of a system call; else 0 */
    uint64_t offset;            /* bytes from the start of the file; only PNR_E_CORRUPT and PNR_E_TRUNCATED */
    const char *what;           /* static text without final stop */
    char path[256];             /* the file or directory, shortened at the front if it does not fit; "" = none */
};

/* Fills err. path may be NULL. Returns -1, for `return pnr_err_set(...)`. */
int pnr_err_set(struct pnr_err *err, enum pnr_code code, const char *path, uint64_t offset, const char *what);

/* Fills err for a failed system call, from errno. Returns -1. */
int pnr_err_system(struct pnr_err *err, const char *path, const char *what);

/* Writes "PATH: byte OFFSET: WHAT" or "PATH: WHAT: STRERROR" without newline into text, cut to size bytes with
 * the final NUL. Returns text. */
const char *pnr_err_describe(const struct pnr_err *err, char *text, size_t size);

#endif
