#include "identities.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_REPEATS 1023                 /* as many multiples of the limit lie below 2^32 */
#define TRACK_ID (UINT32_C(1) << 31)    /* greenlets' ids have this bit */

static struct pnr_string string_of(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

static const char *directory_name(const struct reader *reader)
{
    const char *slash = strrchr(reader_path(reader), '/');
    return slash ? slash + 1 : reader_path(reader);
}

/* What distinguishes the process from others of its program comes first. */
struct pnr_string process_name(const struct reader *reader)
{
    const struct symbols *symbols = reader_symbols(reader);
    struct pnr_string command = symbols_property(symbols, "command"), own = symbols_property(symbols, "process_name");
    struct pnr_string start_method = symbols_property(symbols, "born");
    bool is_fork = start_method.size == 4 && memcmp(start_method.bytes, "fork", 4) == 0;
    if (command.size == 0)
        command = string_of(directory_name(reader));
    const struct pnr_string parts[] = { own, string_of(own.size ? ": " : ""), command,
                                        string_of(!own.size && is_fork ? " (fork)" : "") };
    uint32_t size = 0;
    char *name = malloc((size_t)own.size + command.size + sizeof " (fork)" + sizeof ": ");
    for (size_t i = 0; name && i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].size)
            memcpy(name + size, parts[i].bytes, parts[i].size);
        size += parts[i].size;
    }
    return (struct pnr_string){ name, size };
}

uint32_t process_pid(const struct reader *reader)
{
    uint64_t pid;
    const char *name = directory_name(reader);
    if (!symbols_number(reader_symbols(reader), "pid", &pid) || pid >= IDENTITY_LIMIT)
        pid = strtoul(name + strcspn(name, "0123456789"), NULL, 10);
    return (uint32_t)pid % IDENTITY_LIMIT;
}

struct identity {
    uint32_t id, index;
};

static int by_id(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Makes ids that occur more than once unique. Returns 0, or -1 when out of memory. */
static int make_unique(uint32_t *ids, size_t n)
{
    struct identity *sorted = calloc(n ? n : 1, sizeof *sorted);
    if (!sorted)
        return -1;
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct identity){ ids[i], (uint32_t)i };
    if (n)
        qsort(sorted, n, sizeof *sorted, by_id);
    uint32_t repeats = 0;
    for (size_t i = 0; i < n; i++) {
        repeats = i > 0 && sorted[i].id == sorted[i - 1].id ? repeats + 1 : 0;
        ids[sorted[i].index] += repeats % (ID_REPEATS + 1) * IDENTITY_LIMIT;
    }
    free(sorted);
    return 0;
}

int identify_processes(struct reader **readers, size_t n, uint32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = process_pid(readers[i]);
    return make_unique(ids, n);
}

int identify_threads(const struct reader *reader, uint32_t *ids)
{
    size_t n = reader_n_threads(reader);
    for (size_t i = 0; i < n; i++) {
        uint32_t number = reader_thread_number(reader, i);
        ids[i] = thread_id(symbols_thread(reader_symbols(reader), number), number);
    }
    return make_unique(ids, n);
}

uint32_t thread_id(const struct pnr_name *entry, uint32_t number)
{
    return (entry && entry->number ? entry->number : number) % IDENTITY_LIMIT;
}

uint32_t track_id(uint32_t number)
{
    return TRACK_ID | (number & (TRACK_ID - 1));
}

struct pnr_string thread_name(const struct pnr_name *entry, uint32_t number, char text[IDENTITY_NAME_SIZE])
{
    if (entry && entry->strings[0].size)
        return entry->strings[0];
    int size = snprintf(text, IDENTITY_NAME_SIZE, "thread %" PRIu32, number);
    return (struct pnr_string){ text, (uint32_t)size };
}

bool names_greenlet(const struct pnr_name *entry)
{
    return entry->kind == PNR_THREAD_GREENLET && entry->index > 0;
}
