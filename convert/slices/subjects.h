/* What the slices that are no calls of functions are called, in all outputs. */
#ifndef SUBJECTS_H
#define SUBJECTS_H

#include <stdint.h>

#include "format/kinds.h"

/* Returns the slice's name; NULL for what is a function. */
const char *subject_name(enum pnr_subject subject);

/* Returns why there is such a slice. number: what the slice has for a function. */
const char *subject_reason(enum pnr_subject subject, uint32_t number);

#endif
