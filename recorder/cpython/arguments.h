/* Arguments and results of chosen functions (--args, --results, --args-repr): which are chosen, and what is recorded of a
 * call. A function with any has REC_TAG_VALUES. All functions are called with the GIL.
 *
 *     rec_arguments_start                 a recording begins
 *         rec_arguments_are_wanted        a function gets its tag
 *             rec_arguments_add           it has a number
 *                 rec_arguments_read, rec_arguments_read_result       at its events
 *     rec_arguments_end                   a recording ends
 */
#ifndef REC_ARGUMENTS_H
#define REC_ARGUMENTS_H

#include "functions.h"
#include "options.h"

#include "../../format/values.h"

/* Takes over the choice. Returns 0, or -1 with an exception set. */
int rec_arguments_start(const struct rec_options *options);

/* True when some functions have been chosen. */
bool rec_arguments_are_on(void);

/* Forgets the numbers of functions, as their tags are void. */
void rec_arguments_forget(void);

/* strings: a function's module, qualified name and file. */
bool rec_arguments_are_wanted(const struct pnr_string strings[3]);

/* Keeps what is wanted of a function under its number. */
void rec_arguments_add(uint32_t function, const struct pnr_string strings[3]);

/* Reads the arguments of the function that is entered in a frame; none if they are not wanted. has_cells: its first
 * instructions have run, which make cells of parameters that inner functions use. Returns whether code of the program has
 * run: then the recording may have stopped, or this is another process. Keeps the exception that is set. */
bool rec_arguments_read(struct pnr_values_writer *values, const cpython_frame *f, bool has_cells, uint32_t function);

/* True for a function whose results are wanted. */
bool rec_arguments_has_result(uint32_t function);

/* Reads the result of a function that is left, or the type of the exception that leaves it: one is NULL. Returns as
 * rec_arguments_read. */
bool rec_arguments_read_result(struct pnr_values_writer *values, PyObject *result, const PyTypeObject *exception,
                               uint32_t function);

/* Writes how many reprs had no result. A recording ends. */
void rec_arguments_end(void);

#endif
