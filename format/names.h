/* The name table of a process: its file `names`, append-only. It holds what the numbers in the records mean
 * (functions), the threads, and the properties of the process. Every entry is written before the first record that
 * needs it. specs/capture-format.md, section 6.
 *
 *     file    16 bytes: "PNRNAMES", u32 version = 1, u32 reserved = 0; then entries
 *     entry    0  u32  size       of the whole entry, 40 + the three strings
 *              4  u8   type       enum pnr_name_type; unknown ones are skipped
 *              5  u8   kind       FUNCTION: enum pnr_function_kind; THREAD: enum pnr_thread_kind; else 0
 *              6  u16  reserved   0
 *              8  u32  index      FUNCTION: 1, 2, ... without holes; THREAD: its number; else 0
 *             12  u32  number     FUNCTION: first line; THREAD: the kernel's thread id; else 0
 *             16  u32  sizes[3]   bytes of the three strings, each at most PNR_NAME_MAX
 *             28  u32  reserved   0
 *             32  u64  check      FNV-1a, 64 bits, of bytes 0 to 31 and the strings
 *             40       the strings, one after another, without NUL
 *
 * Strings are UTF-8; lone surrogates are kept as three bytes, as Python's "surrogatepass" does. */
#ifndef PNR_NAMES_H
#define PNR_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define PNR_NAMES_MAGIC "PNRNAMES"
#define PNR_NAMES_VERSION 1
#define PNR_NAMES_HEADER_SIZE 16
#define PNR_NAME_ENTRY_SIZE 40
#define PNR_NAME_MAX 65535              /* the recorder cuts a longer string between two characters */

enum pnr_name_type {
    PNR_NAME_FUNCTION = 1,              /* strings: module, qualified name, file */
    PNR_NAME_THREAD = 2,                /* strings: name, "", ""; a later entry of the same thread renames it */
    PNR_NAME_PROPERTY = 3               /* strings: key, value, "" (specs/capture-format.md, section 6.3) */
};

enum pnr_thread_kind {
    PNR_THREAD_OWN = 0,
    PNR_THREAD_GREENLET = 1,            /* a track of the thread whose kernel id is `number` */
    PNR_THREAD_LEDGER = 2,              /* no thread: what is muted, and what recording costs (section 4.1) */
    PNR_THREAD_SAMPLES = 3              /* no thread: which threads ran, and which held the GIL (section 4.4) */
};

enum pnr_function_kind {
    PNR_FUNCTION_PLAIN = 0,
    PNR_FUNCTION_GENERATOR = 1,
    PNR_FUNCTION_COROUTINE = 2,
    PNR_FUNCTION_ASYNC_GENERATOR = 3,
    PNR_FUNCTION_ITERABLE_COROUTINE = 4,        /* a generator marked by types.coroutine */
    PNR_FUNCTION_C = 5,
    PNR_FUNCTION_LABEL = 6                      /* no function: the label of remarks, or the key of a value */
};

struct pnr_string {
    const char *bytes;                  /* not NUL-terminated; owned as the struct's user says */
    uint32_t size;
};

struct pnr_name {
    uint8_t type, kind;
    uint32_t index, number;
    struct pnr_string strings[3];
};

/* The size of the entry in the file. */
size_t pnr_name_size(const struct pnr_name *name);

/* Writes the entry to a buffer of pnr_name_size() bytes. */
void pnr_name_encode(const struct pnr_name *name, void *bytes);

/* Writes the file's header: PNR_NAMES_HEADER_SIZE bytes. */
void pnr_names_header_encode(void *bytes);

/* Checks the file's header. Returns 0 or -1: PNR_E_NOT_CAPTURE, PNR_E_VERSION or PNR_E_TRUNCATED, with an
 * empty err->path. */
int pnr_names_header_check(const void *bytes, size_t size, struct pnr_err *err);

/* Reads the entry at bytes + *at of a whole file of size bytes and moves *at to the next one; the strings of *name are
 * borrowed from bytes. Returns 1; 0 at the end of the file; -1 for an entry that is damaged (PNR_E_CORRUPT: *at is at
 * the next entry if this one's size is plausible, else at size) or cut off (PNR_E_TRUNCATED, *at = size). Returns
 * unknown types like others: the caller skips them. */
int pnr_name_decode(const void *bytes, size_t size, size_t *at, struct pnr_name *name, struct pnr_err *err);

#endif
