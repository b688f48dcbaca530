#include "read_choice.h"

#include <stdlib.h>

#include "identities.h"

static int by_tid(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Finds the threads of the selected greenlets. Returns 1, or -1 when out of memory. */
static int choose_greenlets(struct read_choice *choice, const struct symbols *symbols)
{
    char text[IDENTITY_NAME_SIZE];
    free(choice->tids);
    choice->n_tids = 0;
    if (!(choice->tids = malloc((symbols->n_threads + 1) * sizeof *choice->tids)))
        return -1;
    for (size_t i = 0; i < symbols->n_threads; i++) {
        const struct pnr_name *entry = &symbols->threads[i];
        uint32_t id = track_id(entry->index);
        if (names_greenlet(entry) &&
            selection_has_thread(choice->selection, id, id, thread_name(entry, entry->index, text)))
            choice->tids[choice->n_tids++] = entry->number;
    }
    if (choice->n_tids)
        qsort(choice->tids, choice->n_tids, sizeof *choice->tids, by_tid);
    return 1;
}

static int choose_process(void *arg, const struct reader *reader)
{
    struct read_choice *choice = arg;
    struct pnr_string name = process_name(reader);
    if (!name.bytes)
        return -1;
    bool is_wanted = selection_may_have_process(choice->selection, process_pid(reader), name);
    free((char *)name.bytes);
    choice->reader = reader;
    return is_wanted ? choose_greenlets(choice, reader_symbols(reader)) : 0;
}

/* A greenlet whose thread is not known may have run in any thread. */
static bool choose_thread(void *arg, uint32_t number)
{
    const struct read_choice *choice = arg;
    const struct pnr_name *entry = symbols_thread(reader_symbols(choice->reader), number);
    char text[IDENTITY_NAME_SIZE];
    if (selection_may_have_thread(choice->selection, thread_id(entry, number), thread_name(entry, number, text)))
        return true;
    if (choice->n_tids == 0)
        return false;
    return choice->tids[0] == 0 || !entry || entry->number == 0 ||
           bsearch(&entry->number, choice->tids, choice->n_tids, sizeof *choice->tids, by_tid);
}

const struct reader_choice *read_choice_init(struct read_choice *choice, const struct selection *selection)
{
    *choice = (struct read_choice){ { choose_process, choose_thread, choice }, .selection = selection };
    return selection_chooses(selection) ? &choice->of_threads : NULL;
}

void read_choice_clear(struct read_choice *choice)
{
    free(choice->tids);
    choice->tids = NULL;
}
