#include "subjects.h"

#include <stddef.h>

#include "format/record.h"

const char *subject_name(enum pnr_subject subject)
{
    static const char *const names[PNR_SUBJECTS] = {
#define PNR_SUBJECT(name, label) [PNR_SUBJECT_##name] = (label),
#include "format/kinds.def"
    };
    return names[subject];
}

const char *subject_reason(enum pnr_subject subject, uint32_t number)
{
    if (subject == PNR_SUBJECT_UNRECORDED && number == PNR_UNRECORDED_STACK)
        return "C stack guard";
    return "unknown";
}
