#include "gaps.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sparse_clock.h"

#define MIN_SAMPLES 32                  /* gaps before anything is decided */
#define SHORT_NS 500                    /* mean of a short class's gaps */
#define LONG_NS 2000                    /* a gap from this on is a long one, which is to be rare: */
#define LONG_GAPS (1 / 512.)            /* of the class's gaps; */
#define LONG_SHARE 0.03                 /* of the class's time, but at least NOISE_FACTOR of what is usual; */
#define MAX_LONG_SHARE 0.33             /* of it in any case */
#define NOISE_FACTOR 2
#define NOISE_WEIGHT 0.25               /* of the newest block in what is usual */
#define NOISE_STEPS 100
#define WAITS (1 / 1024.)               /* of the class's gaps: those that the guard sees */
#define BY_CHANCE 2                     /* so many more of each are no sign of anything */
#define HYSTERESIS 1.5                  /* by how much a short class may exceed this */
#define MAX_SAMPLES 16384               /* then older ones count half */
#define LONG_CALL_NS 5000               /* a call from this on is a long one */
#define LONG_CALLS (1 / 8.)             /* a function with more of them has exact begins and ends */
#define MIN_CALLS 4
#define MAX_CALLS 1024
#define FIRST_BLOCKS 16                 /* calls are timed in each of so many blocks, and then in one of TIMED_BLOCKS */
#define TIMED_BLOCKS 8
#define SUSPECT_SLACK_NS 4000           /* an interval is suspect if it exceeds what is usual by a factor, and this */
#define SUSPECT_FACTOR 4
#define MIN_HOLD 64                     /* gaps for which a suspect class is read: the first time; */
#define MAX_HOLD 4096                   /* at most */
#define RARELY 2048                     /* a class that is suspect once in more gaps than this is so by chance */

enum { AFTER_ENTRY, AFTER_EXIT, N_CLASSES };

struct gap_class {
    float n, ns;                        /* of gaps that the guard does not see, the long ones included */
    float n_long, long_ns;              /* of the long ones among them */
    float n_waits;                      /* those that it sees */
    uint32_t n_seen, n_seen_then;       /* its events, and so many when it was last suspect */
    uint16_t hold, last_hold;           /* gaps to be measured before it may be short again; how many these were */
    bool is_short;
};

struct function_gaps {
    struct gap_class classes[N_CLASSES];
    float n_calls, n_long_calls;
    bool is_long;
    bool is_changed;                    /* in `changed` */
    uint8_t mode;
};

struct timed_call {
    uint32_t function;
    bool is_cut_off;                    /* it began before the block */
    uint64_t ticks;
};

static struct {
    pthread_mutex_t lock;
    double tick_ns;
    struct function_gaps *functions;    /* owned; by number */
    uint32_t n_functions;               /* how many there is space for */
    uint32_t n_blocks;
    uint32_t changed[2 * PNR_BLOCK_RECORDS];    /* functions with new measurements */
    uint32_t n_changed;
    double noise;                       /* share of long gaps in the time of most classes: they come from outside */
    struct timed_call calls[PNR_BLOCK_RECORDS];
} gaps;

bool rec_gaps_start(uint64_t ticks_per_second)
{
    memset(&gaps, 0, sizeof gaps);
    pthread_mutex_init(&gaps.lock, NULL);
    gaps.tick_ns = 1e9 / (double)ticks_per_second;
    return rec_sparse_start();
}

void rec_gaps_stop(void)
{
    free(gaps.functions);
    gaps.functions = NULL;
    gaps.n_functions = 0;
    rec_sparse_stop();
}

/* ---- classes ---- */

/* Makes space for functions up to this number. Returns false when out of memory, or if the number has no mode. */
static bool reserve_functions(uint32_t function)
{
    uint32_t n = gaps.n_functions ? gaps.n_functions : 256;
    if (function >= REC_SPARSE_FUNCTIONS)
        return false;
    while (n <= function)
        n *= 2;
    struct function_gaps *functions = realloc(gaps.functions, n * sizeof *functions);
    if (!functions)
        return false;
    memset(functions + gaps.n_functions, 0, (n - gaps.n_functions) * sizeof *functions);
    gaps.functions = functions;
    gaps.n_functions = n;
    return true;
}

/* Returns the class of the gap after a record; -1 where there is none. What makes a generator's frame counts among its
 * exits: the running frame goes on. */
static inline int class_of(struct pnr_record r)
{
    struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(r));
    if (pnr_record_kind(r) == PNR_CREATE)
        return AFTER_EXIT;
    if ((of.effect != PNR_EFFECT_ENTER && of.effect != PNR_EFFECT_LEAVE) || !pnr_subject_is_function(of.subject))
        return -1;
    return of.effect == PNR_EFFECT_LEAVE ? AFTER_EXIT : AFTER_ENTRY;
}

static inline struct gap_class *find_class(struct pnr_record r)
{
    uint32_t function = pnr_record_function(r);
    int which = class_of(r);
    if (which < 0 || (function >= gaps.n_functions && !reserve_functions(function)))
        return NULL;
    return &gaps.functions[function].classes[which];
}

static void note_change(uint32_t function)
{
    if (gaps.functions[function].is_changed)
        return;
    gaps.functions[function].is_changed = true;
    gaps.changed[gaps.n_changed++] = function;
}

/* Adds a gap that was measured. */
static void add_sample(struct gap_class *class, uint32_t function, double ns)
{
    note_change(function);
    class->n++;
    class->hold -= class->hold > 0;
    if (ns >= REC_SPARSE_PERIOD_NS) {
        class->n_waits++;
    } else {
        class->ns += (float)ns;
        class->n_long += ns >= LONG_NS;
        class->long_ns += ns >= LONG_NS ? (float)ns : 0;
    }
    if (class->n < MAX_SAMPLES)
        return;
    class->n /= 2;
    class->ns /= 2;
    class->n_long /= 2;
    class->long_ns /= 2;
    class->n_waits /= 2;
}

/* Lets a class be read for a while. The more often it is suspect, the longer. */
static void suspect(struct gap_class *class, uint32_t function)
{
    if (class->hold)
        return;
    bool is_rare = class->n_seen - class->n_seen_then > RARELY + (uint32_t)class->last_hold;
    class->hold = is_rare || !class->last_hold ? MIN_HOLD : class->last_hold < MAX_HOLD ? 2 * class->last_hold : MAX_HOLD;
    class->last_hold = class->hold;
    class->n_seen_then = class->n_seen;
    note_change(function);
}

/* Without the long ones. */
static double mean_gap(const struct gap_class *class)
{
    double n = (double)class->n - class->n_long - class->n_waits;
    return n > 0 ? (class->ns - class->long_ns) / n : 0;
}

static double long_share(const struct gap_class *class)
{
    return class->ns > 0 ? class->long_ns / class->ns : 0;
}

/* Adds an interval between two readings, with the events from first to before last, which have none. */
static void add_interval(const struct pnr_record *records, uint32_t first, uint32_t last, double ns)
{
    double usual = 0;
    struct gap_class *class;
    for (uint32_t i = first; i < last; i++) {
        if (!(class = find_class(records[i])))
            continue;
        class->n_seen++;
        usual += mean_gap(class);
    }
    if (ns <= SUSPECT_FACTOR * usual + SUSPECT_SLACK_NS)
        return;
    if (ns >= REC_SPARSE_PERIOD_NS) {   /* by the guard's rule it is the last gap */
        if ((class = find_class(records[last - 1])))
            add_sample(class, pnr_record_function(records[last - 1]), ns);
        return;
    }
    for (uint32_t i = first; i < last; i++)
        if ((class = find_class(records[i])))
            suspect(class, pnr_record_function(records[i]));
}

/* Reads the gaps of a block. */
static void read_gaps(const struct pnr_record *records, uint32_t n)
{
    uint64_t before = 0;                /* ticks of the last reading, which is record `from`; 0: there is none yet */
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t ticks = pnr_record_ticks(records[i]);
        if (!ticks || pnr_record_kind(records[i]) == PNR_OPEN)
            continue;
        double ns = ticks > before ? (double)(ticks - before) * gaps.tick_ns : 0;
        if (before && i == from + 1) {
            struct gap_class *class = find_class(records[from]);
            if (class) {
                class->n_seen++;
                add_sample(class, pnr_record_function(records[from]), ns);
            }
        } else if (before) {
            add_interval(records, from, i, ns);
        }
        before = ticks;
        from = i;
    }
}

/* ---- calls ---- */

static void add_call(uint32_t function, double ns)
{
    if (function >= gaps.n_functions && !reserve_functions(function))
        return;
    struct function_gaps *f = &gaps.functions[function];
    f->n_calls++;
    f->n_long_calls += ns >= LONG_CALL_NS;
    if (f->n_calls >= MAX_CALLS) {
        f->n_calls /= 2;
        f->n_long_calls /= 2;
    }
    note_change(function);
}

/* Times the calls that begin in a block. An event without a reading counts as at the last reading, which is as often too
 * early for the begin as for the end. A call that is cut off by the block's end was at least so long. */
static void time_calls(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
{
    uint64_t ticks = 0, end = header->end.ticks - header->begin.ticks;
    uint32_t depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(records[i]));
        uint32_t function = pnr_record_function(records[i]);
        if (!pnr_subject_is_function(of.subject) && of.effect != PNR_EFFECT_CHANGE)
            continue;
        if (pnr_record_ticks(records[i]))
            ticks = pnr_record_ticks(records[i]);
        if (of.effect == PNR_EFFECT_CHANGE)
            depth = 0;                  /* another stack: its calls are not known from their begin on */
        else if (of.effect == PNR_EFFECT_ENTER || of.effect == PNR_EFFECT_LIST)
            gaps.calls[depth++] = (struct timed_call){ function, of.effect == PNR_EFFECT_LIST, ticks };
        else if (of.effect == PNR_EFFECT_LEAVE)
            while (depth) {             /* what lies inside it was left without a record */
                struct timed_call call = gaps.calls[--depth];
                if (call.function != function)
                    continue;
                if (!call.is_cut_off)
                    add_call(function, (double)(ticks - call.ticks) * gaps.tick_ns);
                break;
            }
    }
    while (depth) {
        struct timed_call call = gaps.calls[--depth];
        double ns = end > call.ticks ? (double)(end - call.ticks) * gaps.tick_ns : 0;
        if (!call.is_cut_off && ns >= LONG_CALL_NS)
            add_call(call.function, ns);
    }
}

/* ---- decisions ---- */

/* Interrupts, and a machine whose processors are shared, make gaps of any class long, each in proportion to its time. So
 * what most classes have by their time is no sign of what a function does. */
static void measure_noise(void)
{
    double weights[NOISE_STEPS] = { 0 }, sum = 0, below = 0;
    for (uint32_t i = 0; i < gaps.n_changed; i++)
        for (int k = 0; k < N_CLASSES; k++) {
            const struct gap_class *class = &gaps.functions[gaps.changed[i]].classes[k];
            if (class->n < MIN_SAMPLES)
                continue;
            double share = long_share(class);
            weights[share < 1 ? (int)(share * NOISE_STEPS) : NOISE_STEPS - 1] += class->ns - class->long_ns;
            sum += class->ns - class->long_ns;
        }
    int step = 0;
    while (step < NOISE_STEPS - 1 && (below += weights[step]) < sum / 2)
        step++;
    if (sum > 0)
        gaps.noise += (gaps.n_blocks > 1 ? NOISE_WEIGHT : 1) * ((double)step / NOISE_STEPS - gaps.noise);
}

static bool is_short(const struct gap_class *class)
{
    double factor = class->is_short ? HYSTERESIS : 1;
    double noise = NOISE_FACTOR * gaps.noise, share = noise > LONG_SHARE ? noise : LONG_SHARE;
    return class->n >= MIN_SAMPLES && !class->hold && mean_gap(class) < SHORT_NS * factor &&
           class->n_long <= BY_CHANCE + LONG_GAPS * factor * class->n &&
           class->n_waits <= BY_CHANCE + WAITS * factor * class->n &&
           long_share(class) <= (share < MAX_LONG_SHARE ? share * factor : MAX_LONG_SHARE);
}

/* The longer the gaps, the fewer of them between two readings. */
static unsigned level_of(const struct gap_class *class)
{
    static const double below_ns[] = { 500, 150, 60 };
    unsigned level = class->is_short;
    while (level && level < REC_SPARSE_LEVELS - 1 && mean_gap(class) < below_ns[level])
        level++;
    return level;
}

static void decide(uint32_t function)
{
    struct function_gaps *f = &gaps.functions[function];
    struct gap_class *entry = &f->classes[AFTER_ENTRY], *exit = &f->classes[AFTER_EXIT];
    entry->is_short = is_short(entry);
    exit->is_short = is_short(exit);
    f->is_long = f->n_calls >= MIN_CALLS &&
        f->n_long_calls >= LONG_CALLS * f->n_calls / (f->is_long ? HYSTERESIS : 1);
    uint8_t mode = (uint8_t)(level_of(entry) << REC_SPARSE_AFTER_ENTRY_SHIFT |
                             level_of(exit) << REC_SPARSE_AFTER_EXIT_SHIFT |
                             (entry->is_short && !f->is_long ? REC_SPARSE_ENTRY : 0) |
                             (exit->is_short && !f->is_long ? REC_SPARSE_EXIT : 0));
    if (mode != f->mode)
        rec_sparse_set(function, mode);
    f->mode = mode;
}

void rec_gaps_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
{
    if (!(header->flags & PNR_BLOCK_SPARSE) || pthread_mutex_trylock(&gaps.lock) != 0)
        return;
    gaps.n_changed = 0;
    read_gaps(records, n);
    if (gaps.n_blocks < FIRST_BLOCKS || gaps.n_blocks % TIMED_BLOCKS == 0)
        time_calls(header, records, n);
    gaps.n_blocks++;
    measure_noise();
    for (uint32_t i = 0; i < gaps.n_changed; i++) {
        decide(gaps.changed[i]);
        gaps.functions[gaps.changed[i]].is_changed = false;
    }
    pthread_mutex_unlock(&gaps.lock);
    rec_sparse_note_block(n, (uint64_t)((double)(header->end.ticks - header->begin.ticks) * gaps.tick_ns));
}
