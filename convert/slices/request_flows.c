#include "request_flows.h"

#include <stdlib.h>

/* Flows of one process have smaller numbers. A viewer reads numbers below 2^53 exactly. */
#define FIRST_NUMBER (UINT64_C(1) << 40)

struct request_flow {
    uint64_t id;
    size_t first, last;                 /* sightings, in the order of time */
};

/* Returns the end of the sightings that have the id of the one at `begin`. *is_shared: they are of several processes. */
static size_t find_end(const struct sightings *sightings, size_t begin, bool *is_shared)
{
    size_t end = begin;
    *is_shared = false;
    for (; end < sightings->n && sightings->all[end].id == sightings->all[begin].id; end++)
        *is_shared |= sightings->all[end].process != sightings->all[begin].process;
    return end;
}

int request_flows_make(struct request_flows *flows, const struct sightings *sightings, uint64_t zero_ns)
{
    *flows = (struct request_flows){ .sightings = sightings, .zero_ns = zero_ns,
                                     .all = calloc(sightings->n / 2 + 1, sizeof *flows->all) };
    if (!flows->all)
        return -1;
    bool is_shared;
    for (size_t begin = 0, end; begin < sightings->n; begin = end) {
        end = find_end(sightings, begin, &is_shared);
        if (is_shared)
            flows->all[flows->n++] = (struct request_flow){ sightings->all[begin].id, begin, end - 1 };
    }
    return 0;
}

void request_flows_clear(struct request_flows *flows)
{
    free(flows->all);
    *flows = (struct request_flows){ .n = 0 };
}

static int by_request_id(const void *a, const void *b)
{
    const struct request_flow *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

bool request_flows_find(const struct request_flows *flows, const struct symbols *symbols,
                        const struct pnr_values *values, uint32_t process, uint64_t begin_ns,
                        struct flow_event *event)
{
    struct request_flow sought = { .id = 0 };
    if (flows->n == 0 || !request_find_id(symbols, values, &sought.id))
        return false;
    const struct request_flow *found = bsearch(&sought, flows->all, flows->n, sizeof sought, by_request_id);
    if (!found)
        return false;
    const struct sighting *first = &flows->sightings->all[found->first], *last = &flows->sightings->all[found->last];
    begin_ns += flows->zero_ns;
    event->flow = FIRST_NUMBER + (uint64_t)(found - flows->all);
    event->phase = begin_ns == first->begin_ns && process == first->process ? FLOW_START :
                   begin_ns == last->begin_ns && process == last->process ? FLOW_END : FLOW_STEP;
    return true;
}
