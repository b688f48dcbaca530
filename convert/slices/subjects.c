#include "subjects.h"

#include <stddef.h>

#include "format/record.h"

const char *subject_name(enum pnr_subject subject)
{
    switch (subject) {
    case PNR_SUBJECT_UNRECORDED:
        return "[not recorded]";
    default:
        return NULL;
    }
}

const char *subject_reason(enum pnr_subject subject, uint32_t number)
{
    if (subject == PNR_SUBJECT_UNRECORDED && number == PNR_UNRECORDED_STACK)
        return "C stack guard";
    return "unknown";
}
