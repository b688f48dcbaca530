#include "names.h"

#include <stdbool.h>
#include <string.h>

#include "block.h"

#define CHECK_AT 32             /* the offset of `check`, and how much of the fixed part it covers */

struct entry {                  /* the fixed part, as it lies in the file; names.h has the table */
    uint32_t size;
    uint8_t type, kind;
    uint16_t reserved;
    uint32_t index, number;
    uint32_t sizes[3];
    uint32_t reserved2;
    uint64_t check;
};

_Static_assert(sizeof(struct entry) == PNR_NAME_ENTRY_SIZE, "no padding: written as it lies in memory");
_Static_assert(offsetof(struct entry, check) == CHECK_AT, "the check is the last of the fixed part");

/* Checks the fixed part and the strings as if they were contiguous, without the check between them. */
static uint64_t entry_check(const unsigned char *bytes, size_t size)
{
    return pnr_check_more(pnr_check(bytes, CHECK_AT), bytes + PNR_NAME_ENTRY_SIZE, size - PNR_NAME_ENTRY_SIZE);
}

size_t pnr_name_size(const struct pnr_name *name)
{
    return PNR_NAME_ENTRY_SIZE + name->strings[0].size + name->strings[1].size + name->strings[2].size;
}

void pnr_name_encode(const struct pnr_name *name, void *bytes)
{
    struct entry e = { .size = (uint32_t)pnr_name_size(name), .type = name->type, .kind = name->kind,
                       .index = name->index, .number = name->number };
    unsigned char *at = (unsigned char *)bytes + PNR_NAME_ENTRY_SIZE;
    for (int i = 0; i < 3; i++) {
        e.sizes[i] = name->strings[i].size;
        if (e.sizes[i])                 /* an empty string's bytes may be NULL */
            memcpy(at, name->strings[i].bytes, e.sizes[i]);
        at += e.sizes[i];
    }
    memcpy(bytes, &e, sizeof e);
    e.check = entry_check(bytes, e.size);
    memcpy(bytes, &e, sizeof e);
}

void pnr_names_header_encode(void *bytes)
{
    const uint32_t version[2] = { PNR_NAMES_VERSION, 0 };
    memcpy(bytes, PNR_NAMES_MAGIC, 8);
    memcpy((unsigned char *)bytes + 8, version, sizeof version);
}

int pnr_names_header_check(const void *bytes, size_t size, struct pnr_err *err)
{
    uint32_t version[2];
    if (size < PNR_NAMES_HEADER_SIZE)
        return pnr_err_set(err, PNR_E_TRUNCATED, NULL, 0, "name table is shorter than its header");
    memcpy(version, (const unsigned char *)bytes + 8, sizeof version);
    bool is_names = memcmp(bytes, PNR_NAMES_MAGIC, 8) == 0;
    if (is_names && version[0] > PNR_NAMES_VERSION)     /* it may use what is reserved now */
        return pnr_err_set(err, PNR_E_VERSION, NULL, 0, "recorded by a later version of Panopticon, which is needed to convert it");
    if (!is_names || version[0] == 0 || version[1] != 0)
        return pnr_err_set(err, PNR_E_NOT_CAPTURE, NULL, 0, "not a name table of a capture");
    return 0;
}

/* Finds what is wrong with an entry that lies whole in memory, or returns NULL. */
static const char *entry_fault(const struct entry *e, const unsigned char *bytes)
{
    uint64_t strings_size = (uint64_t)e->sizes[0] + e->sizes[1] + e->sizes[2];
    for (int i = 0; i < 3; i++)
        if (e->sizes[i] > PNR_NAME_MAX)
            return "name entry with a string that is too long";
    if (strings_size + PNR_NAME_ENTRY_SIZE != e->size)
        return "sizes in a name entry do not add up";
    if (e->check != entry_check(bytes, e->size))
        return "name entry check does not match";
    return e->reserved || e->reserved2 ? "reserved field of a name entry is not 0" : NULL;
}

int pnr_name_decode(const void *bytes, size_t size, size_t *at, struct pnr_name *name, struct pnr_err *err)
{
    const unsigned char *start = (const unsigned char *)bytes + *at;
    size_t begin = *at, left = size - *at;
    struct entry e;
    if (left == 0)
        return 0;
    *at = size;
    if (left < sizeof e)
        return pnr_err_set(err, PNR_E_TRUNCATED, NULL, begin, "file ends inside a name entry");
    memcpy(&e, start, sizeof e);
    if (e.size < sizeof e || e.size > sizeof e + 3 * PNR_NAME_MAX)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, begin, "name entry with an impossible size");
    if (e.size > left)
        return pnr_err_set(err, PNR_E_TRUNCATED, NULL, begin, "file ends inside a name entry");
    *at = begin + e.size;
    const char *fault = entry_fault(&e, start);
    if (fault)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, begin, fault);
    *name = (struct pnr_name){ .type = e.type, .kind = e.kind, .index = e.index, .number = e.number };
    const char *string = (const char *)start + sizeof e;
    for (int i = 0; i < 3; i++) {
        name->strings[i] = (struct pnr_string){ string, e.sizes[i] };
        string += e.sizes[i];
    }
    return 1;
}
