#include "symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/array.h"

/* How much of the file is read at a time. */
#define READ_SIZE (256 << 10)

/* Opens the file, and maps memory for all of it, of which the kernel provides what is used. Returns its descriptor, or
 * -1. */
static int open_names(const char *path, struct symbols *symbols, struct pnr_err *err)
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
    symbols->mapped_size = status.st_size ? (size_t)status.st_size : 1;
    symbols->bytes = mmap(NULL, symbols->mapped_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
                          MAP_NORESERVE, -1, 0);
    if (symbols->bytes == MAP_FAILED) {
        symbols->bytes = NULL;
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        goto fail;
    }
    return fd;
fail:
    close(fd);
    return -1;
}

/* Reads more of the file, up to its size when it was opened: what a running process appends meanwhile is left for the
 * next conversion. Returns 1, 0 at the end, or -1 and fills err. */
static int read_more(int fd, const char *path, struct symbols *symbols, struct pnr_err *err)
{
    size_t wanted = symbols->mapped_size - symbols->size;
    ssize_t n;
    do
        n = read(fd, (char *)symbols->bytes + symbols->size, wanted < READ_SIZE ? wanted : READ_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return pnr_err_system(err, path, "cannot read");
    symbols->size += (size_t)n;
    return n > 0;
}

/* Adds a function. Indices count up from 1, so the n-th function has n - 1 entries before it: an index above what fits
 * in the file up to `at` is damage, and no reason to allocate gigabytes. Returns 1, 0 for a bad index, -1 when out of
 * memory. */
static int add_symbol(struct symbols *symbols, const struct pnr_name *name, size_t at)
{
    if (name->index == 0 || name->index > at / PNR_NAME_ENTRY_SIZE + 1)
        return 0;
    if (pnr_array_reserve(&symbols->functions, &symbols->function_capacity, name->index) < 0)
        return -1;
    while (symbols->n_functions < name->index)
        symbols->functions[symbols->n_functions++].is_known = false;
    struct symbol *symbol = &symbols->functions[name->index - 1];
    if (symbol->is_known)
        return 0;
    symbols->has_labels |= name->kind == PNR_FUNCTION_LABEL;
    *symbol = (struct symbol){ name->strings[0], name->strings[1], name->strings[2], name->number, name->kind, true };
    symbols->n_known++;
    return 1;
}

static int append_name(struct pnr_name **array, size_t *n, size_t *capacity, const struct pnr_name *name)
{
    if (pnr_array_reserve(array, capacity, *n + 1) < 0)
        return -1;
    (*array)[(*n)++] = *name;
    return 1;
}

static int compare_thread_names(const void *a, const void *b)
{
    const struct pnr_name *x = a, *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->strings[0].bytes < y->strings[0].bytes ? -1 : 1;          /* the order of the file */
}

/* Sorts the threads' entries and keeps the latest of each. */
static void keep_latest_threads(struct symbols *symbols)
{
    size_t kept = 0;
    if (symbols->n_threads)
        qsort(symbols->threads, symbols->n_threads, sizeof *symbols->threads, compare_thread_names);
    for (size_t i = 0; i < symbols->n_threads; i++) {
        if (i + 1 == symbols->n_threads || symbols->threads[i + 1].index != symbols->threads[i].index)
            symbols->threads[kept++] = symbols->threads[i];
    }
    symbols->n_threads = kept;
}

/* Adds the entry at an offset of the file. Returns 0, or -1 when out of memory. */
static int add_entry(struct symbols *symbols, const struct pnr_name *name, const char *path, size_t at,
                     const struct diagnostics *diagnostics)
{
    int added = 1;
    if (name->type == PNR_NAME_FUNCTION)
        added = add_symbol(symbols, name, at);
    else if (name->type == PNR_NAME_THREAD)
        added = append_name(&symbols->threads, &symbols->n_threads, &symbols->thread_capacity, name);
    else if (name->type == PNR_NAME_PROPERTY)
        added = append_name(&symbols->properties, &symbols->n_properties, &symbols->property_capacity, name);
    if (added == 0) {
        struct pnr_err where;
        pnr_err_set(&where, PNR_E_CORRUPT, path, at, "function index out of order");
        diagnostics_err(diagnostics, DIAGNOSTIC_DAMAGE, &where);
    }
    return added < 0 ? -1 : 0;
}

/* Reads all entries, and no more of the file than they need. Fills torn if the last one is cut off. Returns 0 or -1. */
static int read_entries(int fd, const char *path, struct symbols *symbols, const struct diagnostics *diagnostics,
                        struct pnr_err *torn, struct pnr_err *err)
{
    size_t at = PNR_NAMES_HEADER_SIZE;
    for (;;) {
        struct pnr_name name;
        struct pnr_err problem;
        size_t begin = at;
        int status = pnr_name_decode(symbols->bytes, symbols->size, &at, &name, &problem);
        if (status == 0 || (status < 0 && problem.code == PNR_E_TRUNCATED)) {
            int more = read_more(fd, path, symbols, err);
            if (more < 0)
                return -1;
            if (more) {
                at = begin;
                continue;
            }
            if (status < 0)
                pnr_err_set(torn, problem.code, path, begin, problem.what);
            return 0;
        }
        if (status < 0) {
            struct pnr_err where;
            pnr_err_set(&where, problem.code, path, begin, problem.what);
            diagnostics_err(diagnostics, DIAGNOSTIC_DAMAGE, &where);
            uint32_t claimed_size;
            memcpy(&claimed_size, (char *)symbols->bytes + begin, sizeof claimed_size);
            if (at - begin != claimed_size)     /* the size is wrong, so the next entry cannot be found */
                return 0;
        } else if (add_entry(symbols, &name, path, begin, diagnostics) < 0) {
            return pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        }
    }
}

struct symbols *symbols_load(const char *process_path, bool is_growing, const struct diagnostics *diagnostics,
                             struct pnr_err *err)
{
    char path[4096];
    int fd = -1;
    snprintf(path, sizeof path, "%s/names", process_path);
    struct symbols *symbols = calloc(1, sizeof *symbols);
    if (!symbols) {
        pnr_err_set(err, PNR_E_MEMORY, path, 0, "out of memory");
        return NULL;
    }
    if ((fd = open_names(path, symbols, err)) < 0 || read_more(fd, path, symbols, err) < 0)
        goto fail;
    if (pnr_names_header_check(symbols->bytes, symbols->size, err) < 0) {
        struct pnr_err found = *err;
        pnr_err_set(err, found.code, path, found.offset, found.what);
        goto fail;
    }
    struct pnr_err torn = { .code = PNR_OK };
    if (read_entries(fd, path, symbols, diagnostics, &torn, err) < 0)
        goto fail;
    close(fd);
    keep_latest_threads(symbols);
    if (torn.code != PNR_OK)
        diagnostics_err(diagnostics, !is_growing && symbols_has_end(symbols) ? DIAGNOSTIC_DAMAGE : DIAGNOSTIC_INFO,
                        &torn);
    return symbols;
fail:
    if (fd >= 0)
        close(fd);
    symbols_free(symbols);
    return NULL;
}

void symbols_free(struct symbols *symbols)
{
    if (!symbols)
        return;
    free(symbols->functions);
    free(symbols->threads);
    free(symbols->properties);
    if (symbols->bytes)
        munmap(symbols->bytes, symbols->mapped_size);
    free(symbols);
}

const char *symbol_category(const struct symbol *symbol)
{
    static const char *const categories[] = {
        [PNR_FUNCTION_PLAIN] = "python",
        [PNR_FUNCTION_GENERATOR] = "generator",
        [PNR_FUNCTION_COROUTINE] = "coroutine",
        [PNR_FUNCTION_ASYNC_GENERATOR] = "async_generator",
        [PNR_FUNCTION_ITERABLE_COROUTINE] = "iterable_coroutine",
        [PNR_FUNCTION_C] = "c_function",
        [PNR_FUNCTION_LABEL] = "label",
    };
    size_t kind = symbol ? symbol->kind : PNR_FUNCTION_PLAIN;
    return kind < sizeof categories / sizeof *categories ? categories[kind] : categories[PNR_FUNCTION_PLAIN];
}

struct pnr_string symbols_key(const struct symbols *symbols, const struct pnr_value *value)
{
    const struct symbol *label = value->key ? symbols_function(symbols, value->key) : NULL;
    return label ? label->name : value->key ? (struct pnr_string){ "?", 1 } : value->key_text;
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

bool symbols_is_ledger(const struct symbols *symbols, uint32_t number)
{
    const struct pnr_name *entry = symbols_thread(symbols, number);
    return entry && entry->kind == PNR_THREAD_LEDGER;
}

bool symbols_is_samples(const struct symbols *symbols, uint32_t number)
{
    const struct pnr_name *entry = symbols_thread(symbols, number);
    return entry && entry->kind == PNR_THREAD_SAMPLES;
}

bool symbols_is_of_recorder(const struct symbols *symbols, uint32_t number)
{
    return symbols_is_ledger(symbols, number) || symbols_is_samples(symbols, number);
}

static uint32_t find_first_thread(const struct symbols *symbols, enum pnr_thread_kind kind)
{
    size_t i = 0;
    while (i < symbols->n_threads && symbols->threads[i].kind != kind)
        i++;
    return i < symbols->n_threads ? symbols->threads[i].index : 0;
}

uint32_t symbols_ledger(const struct symbols *symbols) { return find_first_thread(symbols, PNR_THREAD_LEDGER); }
uint32_t symbols_samples(const struct symbols *symbols) { return find_first_thread(symbols, PNR_THREAD_SAMPLES); }

struct pnr_string symbols_property(const struct symbols *symbols, const char *key)
{
    size_t size = strlen(key);
    for (size_t i = symbols->n_properties; i-- > 0;) {
        const struct pnr_string *strings = symbols->properties[i].strings;
        if (strings[0].size == size && memcmp(strings[0].bytes, key, size) == 0)
            return strings[1];
    }
    return (struct pnr_string){ NULL, 0 };
}

bool symbols_number(const struct symbols *symbols, const char *key, uint64_t *value)
{
    struct pnr_string text = symbols_property(symbols, key);
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

double symbols_decimal(const struct symbols *symbols, const char *key)
{
    struct pnr_string value = symbols_property(symbols, key);
    double number = 0, digit = 1;
    bool has_point = false;
    for (uint32_t i = 0; i < value.size; i++) {
        char c = value.bytes[i];
        if (c == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (c < '0' || c > '9')
            return 0;
        digit /= has_point ? 10 : 1;
        number = has_point ? number + digit * (c - '0') : number * 10 + (c - '0');
    }
    return number;
}

bool symbols_has_end(const struct symbols *symbols)
{
    return symbols_property(symbols, "end_ticks").bytes || symbols_property(symbols, "killed_ticks").bytes;
}
