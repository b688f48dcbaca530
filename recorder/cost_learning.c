#include "cost_learning.h"

#include <stdlib.h>
#include <string.h>

#define INTERVALS 1024                  /* kinds of intervals that are known at a time */
#define MEMORY 256                      /* a mean is that of about so many last intervals */
#define MAX_EXCESS 4                    /* an interval counts as no longer than so many times the mean */
#define FIRST 8                         /* ... once there are so many */
#define MAX_STRENGTH 64                 /* a kind of interval goes when so many others wanted its place */

/* What an estimate needs. */
#define MIN_IN 12                       /* intervals in windows, of a kind */
#define MIN_OUT 24                      /* and others */
#define MIN_KINDS 3                     /* of which there are enough */
#define MIN_ALL 100                     /* intervals in windows, of all these kinds */

struct mean {
    float value;
    uint32_t n;
};

struct interval_kind {
    uint64_t key;                       /* both events; 0: the place is free */
    struct mean in, out;                /* their length in windows and without, in ticks */
    float n_hidden;                     /* the mean number of events that only windows have */
    uint32_t strength;
};

static struct interval_kind kinds[INTERVALS];

struct opinion {
    float cost, weight;
};

void rec_cost_learning_start(void)
{
    memset(kinds, 0, sizeof kinds);
}

static float step_of(const struct mean *mean)
{
    return 1.0f / (float)(mean->n < MEMORY ? mean->n : MEMORY);
}

static void add_length(struct mean *mean, float length)
{
    mean->n++;
    if (mean->n > FIRST && length > MAX_EXCESS * mean->value)
        length = MAX_EXCESS * mean->value;
    mean->value += (length - mean->value) * step_of(mean);
}

static struct interval_kind *find_kind(uint64_t key)
{
    struct interval_kind *kind = &kinds[key * UINT64_C(0x9e3779b97f4a7c15) >> 54];
    if (kind->key == key) {
        kind->strength += kind->strength < MAX_STRENGTH;
        return kind;
    }
    if (kind->strength > 0) {
        kind->strength--;
        return NULL;
    }
    *kind = (struct interval_kind){ .key = key, .strength = 1 };
    return kind;
}

void rec_cost_learning_visible(struct rec_interval *interval, uint32_t event, uint64_t ticks, uint32_t window)
{
    const struct rec_interval last = *interval;
    *interval = (struct rec_interval){ ticks, event, window, 0 };
    if (!last.event || last.window != window || (!window && last.n_hidden) || ticks < last.ticks)
        return;
    struct interval_kind *kind = find_kind((uint64_t)last.event << 32 | event);
    if (!kind)
        return;
    add_length(window ? &kind->in : &kind->out, (float)(ticks - last.ticks));
    if (window)
        kind->n_hidden += ((float)last.n_hidden - kind->n_hidden) * step_of(&kind->in);
}

static int by_cost(const void *a, const void *b)
{
    const struct opinion *x = a, *y = b;
    return (x->cost > y->cost) - (x->cost < y->cost);
}

/* Returns what most kinds of intervals say: each counts the more, the more of its length is the cost of events. */
static double middle_of(struct opinion *opinions, size_t n, double weight)
{
    double sum = 0;
    size_t i = 0;
    qsort(opinions, n, sizeof *opinions, by_cost);
    while (i + 1 < n && (sum += opinions[i].weight) < weight / 2)
        i++;
    return opinions[i].cost;
}

double rec_cost_learning_estimate(void)
{
    static struct opinion opinions[INTERVALS];
    size_t n = 0;
    double weight = 0, n_all = 0;
    for (size_t i = 0; i < INTERVALS; i++) {
        const struct interval_kind *kind = &kinds[i];
        if (kind->in.n < MIN_IN || kind->out.n < MIN_OUT || kind->n_hidden < 0.5f || kind->in.value <= 0)
            continue;
        float n_in = (float)(kind->in.n < MEMORY ? kind->in.n : MEMORY), share = kind->n_hidden / kind->in.value;
        opinions[n] = (struct opinion){ (kind->in.value - kind->out.value) / kind->n_hidden, n_in * share * share };
        n_all += n_in;
        weight += opinions[n++].weight;
    }
    return n >= MIN_KINDS && n_all >= MIN_ALL ? middle_of(opinions, n, weight) : 0;
}
