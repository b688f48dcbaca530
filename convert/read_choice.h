/* Which processes and threads of a capture are read at all, by what is selected: those that the selection may contain,
 * and the threads in which selected greenlets ran.
 *
 *     read_choice_init()
 *     reader_open() for each process
 *     read_choice_clear() */
#ifndef READ_CHOICE_H
#define READ_CHOICE_H

#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/selection.h"

struct read_choice {
    struct reader_choice of_threads;    /* for reader_open() */
    const struct selection *selection;  /* borrowed */
    const struct reader *reader;        /* that is being opened */
    uint32_t *tids;                     /* of the threads of selected greenlets, ascending; owned */
    size_t n_tids;
};

/* Returns what to open the readers of a capture with, one after the other; NULL when everything is read. selection is
 * borrowed until read_choice_clear(). */
const struct reader_choice *read_choice_init(struct read_choice *choice, const struct selection *selection);

void read_choice_clear(struct read_choice *choice);

#endif
