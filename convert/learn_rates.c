#include "learn_rates.h"

#include <stdlib.h>

#include "convert.h"

/* How far from the selected time windows count, too. */
#define NEAR_NS UINT64_C(5000000000)

static bool has_windows(const struct reader *reader)
{
    const struct ledger *ledger = reader_ledger(reader);
    return ledger->exists && ledger_add_up(ledger).n_windows > 0;
}

/* Widens the selected time; what else is selected does not matter. Returns NULL when out of memory. */
static struct selection *select_near(const struct selection *selection)
{
    struct selection *near = selection_new();
    uint64_t from_ns = selection_from(selection), to_ns = selection_to(selection);
    if (near)
        selection_set_window(near, from_ns > NEAR_NS ? from_ns - NEAR_NS : 0,
                             to_ns < UINT64_MAX - NEAR_NS ? to_ns + NEAR_NS : UINT64_MAX);
    return near;
}

static int learn_all(struct reader **readers, size_t n, const struct selection *near, struct hidden_rates *rates,
                     struct pnr_err *err)
{
    struct sink sink = { .is_broken = false };
    struct convert_options how = { .selection = near, .rates = rates, .learns_rates = true };
    struct convert_count count;
    struct anomalies *anomalies = calloc(n + 1, sizeof *anomalies);
    if (!anomalies)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    int result = convert(readers, n, &how, &sink, &count, anomalies, err);
    for (size_t i = 0; i < n && result == 0; i++)
        if (reader_rewind(readers[i]) < 0)
            result = pnr_err_set(err, PNR_E_MEMORY, reader_path(readers[i]), 0, "out of memory");
    free(anomalies);
    return result;
}

int rates_learn(struct reader **readers, size_t n, const struct selection *selection, struct jobs *jobs,
                struct hidden_rates *rates, struct pnr_err *err)
{
    bool can_learn = false;
    for (size_t i = 0; i < n; i++) {
        hidden_rates_init(&rates[i], symbols_decimal(reader_symbols(readers[i]), "event_cost_ns"));
        can_learn |= has_windows(readers[i]);
    }
    if (!can_learn)
        return 0;
    struct selection *near = select_near(selection);
    if (!near)
        return pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
    for (size_t i = 0; i < n; i++)
        reader_set_jobs(readers[i], jobs);
    int result = learn_all(readers, n, near, rates, err);
    for (size_t i = 0; i < n; i++)
        hidden_rates_settle(&rates[i]);
    selection_free(near);
    return result < 0 ? -1 : 1;
}
