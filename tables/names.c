#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/slices/subjects.h"
#include "convert/write/text.h"
#include "format/array.h"

struct function_slot {
    uint64_t key;
    uint64_t number;
};

void names_init(struct names *names)
{
    *names = (struct names){ .by_function = { .slot_size = sizeof(struct function_slot) } };
    for (int i = 0; i < TEXT_COLUMNS; i++)
        texts_init(&names->texts[i]);
}

void names_clear(struct names *names)
{
    for (int i = 0; i < TEXT_COLUMNS; i++)
        texts_clear(&names->texts[i]);
    pnr_table_clear(&names->by_function);
    free(names->functions);
    free(names->threads);
    free(names->known);
    free(names->thread_numbers);
}

static uint32_t fail_names(struct names *names)
{
    names->is_out_of_memory = true;
    return NAMES_FAILED;
}

/* Adds a text that consists of several, each of any bytes. */
static uint32_t join_texts(struct names *names, enum text_column column, const struct pnr_string *parts, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += parts[i].size;
    char *bytes = malloc(3 * size + 1), *to = bytes;
    if (!bytes)
        return fail_names(names);
    for (size_t i = 0; i < n; i++)
        to = text_put_utf8(to, parts[i]);
    uint32_t number = texts_add(&names->texts[column], (struct pnr_string){ bytes, (uint32_t)(to - bytes) });
    free(bytes);
    return number == TEXTS_FAILED ? fail_names(names) : number;
}

uint32_t names_add_text(struct names *names, enum text_column column, struct pnr_string text)
{
    return join_texts(names, column, &text, 1);
}

void names_capture(struct names *names, const char *path, uint64_t start_realtime_ns)
{
    names->capture.path = names_add_text(names, TEXT_CAPTURE, (struct pnr_string){ path, (uint32_t)strlen(path) });
    names->capture.start_realtime_ns = start_realtime_ns ? start_realtime_ns : UINT64_MAX;
}

/* Adds a text unless it is empty: then nothing is known. */
static uint32_t add_known_text(struct names *names, enum text_column column, struct pnr_string text)
{
    return text.size ? names_add_text(names, column, text) : NAMES_NOTHING;
}

static struct pnr_string as_string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

void names_process(struct names *names, const struct sink_process *process)
{
    free(names->known);
    names->symbols = process->symbols;
    names->known = calloc((size_t)process->symbols->n_functions + 1, sizeof *names->known);
    if (!names->known)
        fail_names(names);
    names->pid = process->pid;
    names->process = names_add_text(names, TEXT_PROCESS, process->name);
    struct pnr_string host = symbols_property(process->symbols, "host");
    names->host = host.size ? names_add_text(names, TEXT_HOST, host) : NAMES_NOTHING;
}

void names_thread(struct names *names, const struct sink_thread *thread)
{
    if (pnr_array_reserve(&names->threads, &names->thread_capacity, names->n_threads + 1) < 0 ||
        pnr_array_reserve_number(&names->thread_numbers, &names->thread_number_capacity, thread->thread) < 0) {
        fail_names(names);
        return;
    }
    names->thread_numbers[thread->thread] = (uint32_t)names->n_threads;
    names->threads[names->n_threads++] = (struct named_thread){
        .pid = names->pid, .tid = thread->tid, .process = names->process, .host = names->host,
        .thread = names_add_text(names, TEXT_THREAD, thread->name), .is_greenlet = thread->is_greenlet };
}

static uint64_t hash_function(const struct names *names, const struct named_function *function)
{
    uint64_t hash = pnr_table_hash(names->by_function.secret, (uint64_t)function->function << 32 | function->module);
    hash = pnr_table_hash(hash, (uint64_t)function->name << 32 | function->file);
    return pnr_table_hash(hash, (uint64_t)function->kind << 32 | function->line) | 1;
}

uint32_t names_add_function(struct names *names, const struct symbol *symbol, const char *prefix, const char *kind)
{
    const struct pnr_string parts[] = { as_string(prefix), symbol->module,
                                        as_string(symbol->module.size && symbol->name.size ? "." : ""), symbol->name };
    const struct named_function wanted = {
        .function = join_texts(names, TEXT_FUNCTION, parts, sizeof parts / sizeof *parts),
        .module = add_known_text(names, TEXT_MODULE, symbol->module),
        .name = add_known_text(names, TEXT_NAME, symbol->name), .file = add_known_text(names, TEXT_FILE, symbol->file),
        .kind = names_add_text(names, TEXT_KIND, as_string(kind)),
        .line = symbol->file.size ? symbol->line : NAMES_NOTHING };
    if (names->is_out_of_memory)
        return NAMES_FAILED;
    for (uint64_t key = hash_function(names, &wanted);; key += 2) {
        struct function_slot *slot = pnr_table_find(&names->by_function, key);
        if (slot && memcmp(&names->functions[slot->number], &wanted, sizeof wanted) == 0)
            return (uint32_t)slot->number;
        if (slot)
            continue;
        if (pnr_array_reserve(&names->functions, &names->function_capacity, names->n_functions + 1) < 0 ||
            !(slot = pnr_table_add(&names->by_function, key)))
            return fail_names(names);
        slot->number = names->n_functions;
        names->functions[names->n_functions++] = wanted;
        return (uint32_t)slot->number;
    }
}

uint32_t names_find_function(struct names *names, enum pnr_subject subject, uint32_t function)
{
    if (names->is_out_of_memory)
        return NAMES_FAILED;
    if (!pnr_subject_is_named(subject))
        return names_add_function(names, &(struct symbol){ .name = as_string(subject_name(subject)) }, "",
                                  "panopticon");
    const struct symbol *symbol = symbols_function(names->symbols, function);
    if (!symbol) {
        char text[48];
        snprintf(text, sizeof text, "[unknown function %u]", (unsigned)function);
        return names_add_function(names, &(struct symbol){ .name = as_string(text) }, "", symbol_category(NULL));
    }
    uint32_t *known = &names->known[function - 1];
    if (!*known) {
        uint32_t number = names_add_function(names, symbol, "", symbol_category(symbol));
        if (number == NAMES_FAILED)
            return number;
        *known = number + 1;
    }
    return *known - 1;
}

struct pnr_string names_label(const struct names *names, uint32_t label)
{
    const struct symbol *symbol = symbols_function(names->symbols, label);
    return symbol ? symbol->name : as_string("?");
}
