/* Names slices that are not calls of functions, for all outputs. */
#ifndef SUBJECTS_H
#define SUBJECTS_H

#include <stdint.h>

#include "format/kinds.h"

/* Returns the slice's name; NULL for a function. */
const char *subject_name(enum pnr_subject subject);

/* Returns why there is such a slice. number: what the slice has in place of a function. */
const char *subject_reason(enum pnr_subject subject, uint32_t number);

#endif
