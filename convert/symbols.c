#include "symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_whole(const char *path, struct symbols *symbols, struct pnr_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;
    if (fd < 0)
        return pnr_err_system(err, path, "cannot open");
    if (fstat(fd, &status) < 0) {
        pnr_err_system(err, path, "cannot read");
        goto fail;
    }
    if (!S_ISREG(status.st_mode)) {
        pnr_err_set(err, PNR_E_NOT_CAPTURE, path, 0, "not a regular file");
        goto fail;
    }
    symbols->bytes = malloc(status.st_size ? (size_t)status.st_size : 1);
    if (!symbols->bytes) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        goto fail;
    }
    /* What a process that still runs appends meanwhile is left for the next conversion. */
    while (symbols->size < (size_t)status.st_size) {
        ssize_t n = read(fd, (char *)symbols->bytes + symbols->size, (size_t)status.st_size - symbols->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            pnr_err_system(err, path, "cannot read");
            goto fail;
        }
        if (n == 0)
            break;
        symbols->size += (size_t)n;
    }
    close(fd);
    return 0;
fail:
    close(fd);
    return -1;
}

/* Makes room for one more element of an array whose capacity is the next power of two from 8 on. */
static void *grow(void *array, size_t n, size_t element)
{
    if (n < 8 ? n != 0 : (n & (n - 1)) != 0)
        return array;
    return realloc(array, (n < 8 ? 8 : 2 * n) * element);
}

/* Indices count up from 1, so a table of n functions needs n entries: an index beyond what the file could hold is
 * damage, not a reason to allocate gigabytes. Returns 1, 0 for a bad index, -1 when out of memory. */
static int add_function(struct symbols *symbols, const struct pnr_name *name, size_t *capacity)
{
    if (name->index == 0 || name->index > symbols->size / PNR_NAME_ENTRY_SIZE + 1)
        return 0;
    if (name->index > *capacity) {
        size_t wanted = *capacity * 2 > name->index ? *capacity * 2 : (size_t)name->index + 63;
        struct symbol *functions = realloc(symbols->functions, wanted * sizeof *functions);
        if (!functions)
            return -1;
        memset(functions + *capacity, 0, (wanted - *capacity) * sizeof *functions);
        symbols->functions = functions;
        *capacity = wanted;
    }
    struct symbol *symbol = &symbols->functions[name->index - 1];
    if (symbol->is_known)
        return 0;
    *symbol = (struct symbol){ name->strings[0], name->strings[1], name->strings[2], name->number, name->kind, true };
    if (name->index > symbols->n_functions)
        symbols->n_functions = name->index;
    symbols->n_known++;
    return 1;
}

static int add(struct pnr_name **array, size_t *n, const struct pnr_name *name)
{
    struct pnr_name *grown = grow(*array, *n, sizeof **array);
    if (!grown)
        return -1;
    *array = grown;
    grown[(*n)++] = *name;
    return 1;
}

static int by_number(const void *a, const void *b)
{
    const struct pnr_name *x = a, *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->strings[0].bytes < y->strings[0].bytes ? -1 : 1;          /* the order of the file */
}

/* Sorts the threads' entries and keeps the latest of each. */
static void settle_threads(struct symbols *symbols)
{
    size_t kept = 0;
    if (symbols->n_threads)
        qsort(symbols->threads, symbols->n_threads, sizeof *symbols->threads, by_number);
    for (size_t i = 0; i < symbols->n_threads; i++) {
        if (i + 1 == symbols->n_threads || symbols->threads[i + 1].index != symbols->threads[i].index)
            symbols->threads[kept++] = symbols->threads[i];
    }
    symbols->n_threads = kept;
}

struct symbols *symbols_load(const char *process_path, const struct notes *notes, struct pnr_err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/names", process_path);
    struct symbols *symbols = calloc(1, sizeof *symbols);
    if (!symbols) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        return NULL;
    }
    if (read_whole(path, symbols, err) < 0)
        goto fail;
    if (pnr_names_header_check(symbols->bytes, symbols->size, err) < 0) {
        struct pnr_err found = *err;
        pnr_err_set(err, found.code, path, found.offset, found.what);
        goto fail;
    }
    struct pnr_err torn = { .code = PNR_OK };
    size_t at = PNR_NAMES_HEADER_SIZE, capacity = 0;
    for (;;) {
        struct pnr_name name;
        struct pnr_err problem;
        size_t begin = at;
        int step = pnr_name_decode(symbols->bytes, symbols->size, &at, &name, &problem);
        if (step == 0)
            break;
        if (step < 0) {
            struct pnr_err where;
            pnr_err_set(&where, problem.code, path, begin, problem.what);
            if (problem.code == PNR_E_TRUNCATED)
                torn = where;
            else
                notes_err(notes, NOTE_DAMAGE, &where);
            continue;
        }
        int added = 1;
        if (name.type == PNR_NAME_FUNCTION)
            added = add_function(symbols, &name, &capacity);
        else if (name.type == PNR_NAME_THREAD)
            added = add(&symbols->threads, &symbols->n_threads, &name);
        else if (name.type == PNR_NAME_FACT)
            added = add(&symbols->facts, &symbols->n_facts, &name);
        if (added < 0) {
            pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
            goto fail;
        }
        if (added == 0) {
            struct pnr_err where;
            pnr_err_set(&where, PNR_E_CORRUPT, path, begin, "function index out of order");
            notes_err(notes, NOTE_DAMAGE, &where);
        }
    }
    settle_threads(symbols);
    if (torn.code != PNR_OK)
        notes_err(notes, symbols_fact(symbols, "end_ticks").bytes ? NOTE_DAMAGE : NOTE_FACT, &torn);
    return symbols;
fail:
    symbols_free(symbols);
    return NULL;
}

void symbols_free(struct symbols *symbols)
{
    if (!symbols)
        return;
    free(symbols->functions);
    free(symbols->threads);
    free(symbols->facts);
    free(symbols->bytes);
    free(symbols);
}

const struct pnr_name *symbols_thread(const struct symbols *symbols, uint32_t number)
{
    size_t low = 0, high = symbols->n_threads;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (symbols->threads[middle].index < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < symbols->n_threads && symbols->threads[low].index == number ? &symbols->threads[low] : NULL;
}

struct pnr_string symbols_fact(const struct symbols *symbols, const char *key)
{
    size_t size = strlen(key);
    for (size_t i = symbols->n_facts; i-- > 0;) {
        const struct pnr_string *strings = symbols->facts[i].strings;
        if (strings[0].size == size && memcmp(strings[0].bytes, key, size) == 0)
            return strings[1];
    }
    return (struct pnr_string){ NULL, 0 };
}

bool symbols_number(const struct symbols *symbols, const char *key, uint64_t *value)
{
    struct pnr_string text = symbols_fact(symbols, key);
    uint64_t number = 0;
    if (text.size == 0)
        return false;
    for (uint32_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned char)text.bytes[i] - '0';
        if (digit > 9 || number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *value = number;
    return true;
}
