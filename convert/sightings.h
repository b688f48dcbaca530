/* Finds where requests are seen in the processes of captures (convert/slices/request_ids.h).
 *
 *     sightings_gather() ... sightings_clear() */
#ifndef SIGHTINGS_H
#define SIGHTINGS_H

#include "convert/read/reader.h"
#include "convert/slices/request_ids.h"
#include "convert/slices/selection.h"

/* As many are kept. */
#define SIGHTINGS_MAX (1 << 22)

/* Reads the processes, and rewinds them. selection: settled; NULL: everything. label: the name of an instant or span
 * whose first time is wanted, or NULL. The caller clears them in any case. Returns 0, or -1 and fills err. */
int sightings_gather(struct reader **readers, size_t n, const struct selection *selection, const char *label,
                     struct sightings *sightings, struct pnr_err *err);

void sightings_clear(struct sightings *sightings);

#endif
