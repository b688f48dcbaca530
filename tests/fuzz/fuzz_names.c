/* The name table: entry by entry in just as much memory as there are bytes, and as the converter loads it. */
#include <stdlib.h>
#include <string.h>

#include "convert/read/symbols.h"
#include "format/block.h"
#include "format/names.h"
#include "fuzz.h"

static void ignore(void *arg, enum diagnostic_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

/* Reads all of a string, for the sanitizer. */
static void touch(struct pnr_string string)
{
    static volatile uint64_t check;
    check ^= pnr_check(string.bytes, string.size);
    (void)check;
}

static void decode(const uint8_t *bytes, size_t size)
{
    uint8_t *own = malloc(size ? size : 1);
    struct pnr_err err;
    struct pnr_name name;
    memcpy(own, bytes, size);
    if (pnr_names_header_check(own, size, &err) == 0) {
        size_t at = PNR_NAMES_HEADER_SIZE, before = at;
        int step;
        while ((step = pnr_name_decode(own, size, &at, &name, &err)) != 0) {
            if (at <= before || at > size)
                abort();
            before = at;
            for (int i = 0; i < 3 && step == 1; i++)
                touch(name.strings[i]);
        }
    }
    free(own);
}

static void load(const uint8_t *bytes, size_t size)
{
    struct diagnostics diagnostics = { ignore, NULL };
    struct pnr_err err;
    uint64_t number;
    fuzz_write("names", bytes, size);
    struct symbols *symbols = symbols_load(fuzz_directory(), false, &diagnostics, &err);
    if (!symbols)
        return;
    for (uint32_t i = 0; i <= symbols->n_functions + 1; i++) {
        const struct symbol *symbol = symbols_function(symbols, i);
        if (symbol) {
            touch(symbol->module);
            touch(symbol->name);
            touch(symbol->file);
        }
    }
    for (size_t i = 0; i < symbols->n_threads; i++)
        if (symbols_thread(symbols, symbols->threads[i].index) != &symbols->threads[i])
            abort();
    touch(symbols_property(symbols, "command"));
    symbols_number(symbols, "end_ticks", &number);
    symbols_free(symbols);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    decode(bytes, size);
    load(bytes, size);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    return fuzz_mutate_names(bytes, size, max, seed);
}
