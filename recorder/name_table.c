#include "name_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diagnostics.h"
#include "names.h"

#define KNOWN_FUNCTIONS 4096            /* functions that are found again by their names; a power of two */

/* A function in the table, by the check of its entry. */
struct known_function {
    uint64_t check;
    uint32_t number;                    /* 0: none */
};

static struct name_table {
    struct rec_file file;
    uint64_t max_size;
    uint32_t n_functions;
    uint32_t n_tracks;                  /* threads and other tracks */
    uint32_t unnamed;                   /* the function that stands for all those without a name; 0: none yet */
    uint64_t n_unnamed;                 /* functions and threads */
    struct pnr_err failure;
    struct known_function known[KNOWN_FUNCTIONS];
} table = { .file.fd = -1 };

bool rec_name_table_has_failed(void)
{
    return table.failure.code != PNR_OK;
}

const struct pnr_err *rec_name_table_failure(void)
{
    return &table.failure;
}

const char *rec_name_table_path(void)
{
    return table.file.path;
}

uint64_t rec_name_table_size(void)
{
    return (uint64_t)table.file.size;
}

/* Reports a failed append at once: the program may run for days after it. */
static void check_append(int result)
{
    char text[512];
    if (result != 0)
        rec_warn("%s; recording ends, what was recorded is kept",
                 pnr_err_describe(&table.failure, text, sizeof text));
}

static void add_table_entry(const struct pnr_name *name)
{
    if (!rec_name_table_has_failed())
        check_append(rec_names_append(&table.file, name, &table.failure));
}

void rec_name_table_add_property(const char *key, const char *value)
{
    if (!rec_name_table_has_failed())
        check_append(rec_names_append_property(&table.file, key, value, &table.failure));
}

void rec_name_table_add_number(const char *key, uint64_t value)
{
    if (!rec_name_table_has_failed())
        check_append(rec_names_append_number(&table.file, key, value, &table.failure));
}

void rec_name_table_add_clock_sample(const char *which, struct pnr_clock_sample sample)
{
    if (!rec_name_table_has_failed())
        check_append(rec_names_append_clock_sample(&table.file, which, sample, &table.failure));
}

/* Counts a function or thread that gets no name when the table is full. Reports the first one. */
static bool is_full(void)
{
    if ((uint64_t)table.file.size < table.max_size)
        return false;
    if (!table.n_unnamed++)
        rec_warn("%s: names have reached their share of --max-size; later functions and threads have no name",
                 table.file.path);
    return true;
}

/* ---- functions ---- */

/* The slot of a function with this entry: a later function with the same slot takes it over. */
static struct known_function *known_slot(const struct pnr_name *name, uint64_t *check)
{
    *check = pnr_check(&name->number, sizeof name->number) + name->kind;
    for (int i = 0; i < 3; i++)
        *check = pnr_check_more(*check + name->strings[i].size, name->strings[i].bytes, name->strings[i].size);
    return &table.known[*check % KNOWN_FUNCTIONS];
}

static uint32_t add_new_function(struct pnr_name *name)
{
    name->index = table.n_functions + 1;
    add_table_entry(name);
    if (rec_name_table_has_failed() || name->index == 0)
        return 0;
    return table.n_functions = name->index;
}

uint32_t rec_name_table_add_function(enum pnr_function_kind kind, uint32_t line, const struct pnr_string strings[3])
{
    uint64_t check;
    struct pnr_name name = {
        .type = PNR_NAME_FUNCTION, .kind = (uint8_t)kind, .number = line,
        .strings = { rec_names_cut(strings[0]), rec_names_cut(strings[1]), rec_names_cut(strings[2]) } };
    struct known_function *known = known_slot(&name, &check);
    if (known->number && known->check == check)
        return known->number;
    if (is_full()) {
        if (!table.unnamed) {
            name = (struct pnr_name){ .type = PNR_NAME_FUNCTION,
                                      .strings = { rec_names_text(""), rec_names_text("[no room for names]") } };
            table.unnamed = add_new_function(&name);
        }
        return table.unnamed;
    }
    *known = (struct known_function){ check, add_new_function(&name) };
    return known->number;
}

/* ---- threads ---- */

void rec_name_table_rename_thread(uint32_t number, uint32_t native_id, struct pnr_string name)
{
    if (!is_full())
        add_table_entry(&(struct pnr_name){ .type = PNR_NAME_THREAD, .kind = PNR_THREAD_OWN, .index = number,
                                      .number = native_id, .strings = { rec_names_cut(name) } });
}

uint32_t rec_name_table_add_thread(uint32_t native_id, struct pnr_string name)
{
    rec_name_table_rename_thread(++table.n_tracks, native_id, name);
    return table.n_tracks;
}

/* Unlike a thread, a track has an entry even when it has no name: the entry says which thread it belongs to. */
uint32_t rec_name_table_add_track(enum pnr_thread_kind kind, uint32_t native_id, struct pnr_string name)
{
    add_table_entry(&(struct pnr_name){ .type = PNR_NAME_THREAD, .kind = (uint8_t)kind, .index = ++table.n_tracks,
                                  .number = native_id,
                                  .strings = { is_full() ? rec_names_text("") : rec_names_cut(name) } });
    return table.n_tracks;
}

/* ---- the file ---- */

int rec_name_table_start(const char *process_path, uint64_t max_size, struct pnr_err *err)
{
    unsigned char header[PNR_NAMES_HEADER_SIZE];
    memset(&table, 0, sizeof table);
    table.max_size = max_size;
    pnr_names_header_encode(header);
    return rec_file_create(&table.file, process_path, "names", err) != 0 ? -1 :
           rec_file_append(&table.file, header, sizeof header, err);
}

int rec_name_table_move(const char *process_path, struct pnr_err *err)
{
    return rec_file_move(&table.file, process_path, "names", err);
}

int rec_name_table_copy(struct rec_file *copy, const char *from, const char *process_path, struct pnr_err *err)
{
    size_t size;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/names", from);
    unsigned char *bytes = rec_names_read(path, &size, err);
    copy->fd = -1;
    int result = bytes ? rec_file_create(copy, process_path, "names", err) : -1;
    if (result == 0)
        result = rec_file_append(copy, bytes, size, err);
    free(bytes);
    return result;
}

void rec_name_table_release(void)
{
    rec_file_release(&table.file);
}

/* ---- the end ---- */

int rec_name_table_append_end(struct rec_file *file, const struct rec_end *end, struct pnr_err *err)
{
    char text[512];
    int result = rec_names_append_number(file, "lost", end->n_lost, err);
    if (result == 0 && table.n_unnamed)
        result = rec_names_append_number(file, "unnamed", table.n_unnamed, err);
    if (result == 0 && end->failure->code != PNR_OK)
        return rec_names_append_property(file, "stopped", pnr_err_describe(end->failure, text, sizeof text), err);
    if (result == 0)
        result = rec_names_append_number(file, "events", end->n_events, err);
    return result == 0 ? rec_names_append_clock_sample(file, "end", end->sample, err) : -1;
}

void rec_name_table_replace(const struct rec_file *copy, uint64_t max_size, const struct rec_end *end,
                            struct pnr_err *err)
{
    rec_name_table_append_end(&table.file, end, err);
    rec_file_release(&table.file);
    table.file = *copy;
    table.max_size = max_size;
}

void rec_name_table_end(const struct rec_end *end)
{
    if (!rec_name_table_has_failed())
        check_append(rec_name_table_append_end(&table.file, end, &table.failure));
    rec_name_table_release();
}
