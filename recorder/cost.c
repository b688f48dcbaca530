#include "cost.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "name_table.h"

#define BUDGET "max_overhead"
#define UNSEEN "unseen_ns"

static const struct {
    const char *key;
    size_t offset;
} cost_properties[] = {
    { "cpu_ns", offsetof(struct rec_cost, cpu_ns) },
    { "cost_ns", offsetof(struct rec_cost, cost_ns) },
    { "functions_muted", offsetof(struct rec_cost, n_muted) },
    { "calls_of_muted", offsetof(struct rec_cost, n_calls) },
    { "calls_not_recorded", offsetof(struct rec_cost, n_calls_hidden) },
    { "late_looks", offsetof(struct rec_cost, n_late_looks) },
};
#define N_COST_PROPERTIES (sizeof cost_properties / sizeof *cost_properties)

void rec_cost_write_budget(unsigned long long ppm)
{
    char text[32];                      /* by hand: a decimal comma of the program's locale must not get into it */
    size_t size = (size_t)snprintf(text, sizeof text, "%llu.%04llu", ppm / 10000, ppm % 10000);
    while (text[size - 1] == '0')
        size--;
    text[text[size - 1] == '.' ? size - 1 : size] = 0;
    rec_name_table_add_property(BUDGET, text);
}

void rec_cost_write_unseen(uint64_t ns)
{
    rec_name_table_add_number(UNSEEN, ns);
}

void rec_cost_write(const struct rec_cost *cost)
{
    if (cost->unseen_ns)
        rec_cost_write_unseen(cost->unseen_ns);
    for (size_t i = 0; i < N_COST_PROPERTIES; i++)
        rec_name_table_add_number(cost_properties[i].key,
                                  *(const uint64_t *)((const char *)cost + cost_properties[i].offset));
}

static bool is_named(const struct pnr_string *key, const char *name)
{
    return key->size == strlen(name) && memcmp(key->bytes, name, key->size) == 0;
}

void rec_cost_read(struct rec_cost *sum, const struct pnr_string *key, const struct pnr_string *value)
{
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)(value->size < sizeof text ? value->size : 0), value->bytes);
    if (is_named(key, BUDGET) && strlen(text) < sizeof sum->budget && text[strspn(text, "0123456789.")] == 0)
        strcpy(sum->budget, text);
    if (is_named(key, UNSEEN) && strtoull(text, NULL, 10) > sum->unseen_ns)
        sum->unseen_ns = strtoull(text, NULL, 10);
    for (size_t i = 0; i < N_COST_PROPERTIES; i++)
        if (is_named(key, cost_properties[i].key))
            *(uint64_t *)((char *)sum + cost_properties[i].offset) += strtoull(text, NULL, 10);
}

static double share_of(uint64_t part, uint64_t whole)
{
    return whole ? 100 * (double)part / (double)whole : 0;
}

double rec_cost_percent(const struct rec_cost *cost)
{
    return share_of(cost->cost_ns, cost->cpu_ns);
}

const char *rec_cost_describe(const struct rec_cost *sum, char *text, size_t size)
{
    text[0] = 0;
    if (!*sum->budget || !sum->cpu_ns)
        return text;
    int at = snprintf(text, size, "; cost %.1f %% (budget %s %%)", rec_cost_percent(sum), sum->budget);
    if (sum->n_muted)
        at += snprintf(text + at, size - (size_t)at,
                       ", %" PRIu64 " function%s muted some time, ~%.0f %% of %s calls not recorded",
                       sum->n_muted, sum->n_muted == 1 ? "" : "s", share_of(sum->n_calls_hidden, sum->n_calls),
                       sum->n_muted == 1 ? "its" : "their");
    if (sum->unseen_ns)
        snprintf(text + at, size - (size_t)at, ", maybe calls of up to %.0f ms among them: looks came late",
                 ceil((double)sum->unseen_ns / 1e6));
    return text;
}
