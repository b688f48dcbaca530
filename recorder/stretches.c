#include "stretches.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sparse_clock.h"

#define MIN_SAMPLES 32                  /* stretches before anything is decided */
#define SHORT_NS 500                    /* mean of a short class's stretches */
#define LONG_NS 2000                    /* a stretch from this on is a long one, which is to be rare: */
#define LONG_STRETCHES (1 / 512.)            /* of the class's stretches; */
#define LONG_SHARE 0.03                 /* of the class's time, but at least NOISE_FACTOR of what is usual; */
#define MAX_LONG_SHARE 0.33             /* of it in any case */
#define NOISE_FACTOR 2
#define NOISE_WEIGHT 0.25               /* of the newest block in what is usual */
#define NOISE_STEPS 100
#define WAITS (1 / 1024.)               /* of the class's stretches: those that the guard sees */
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
#define MIN_HOLD 64                     /* stretches for which a suspect class is read: the first time; */
#define MAX_HOLD 4096                   /* at most */
#define RARELY 2048                     /* a class that is suspect once in more stretches than this is so by chance */

enum { AFTER_ENTRY, AFTER_EXIT, N_CLASSES };

struct stretch_class {
    float n, ns;                        /* of stretches that the guard does not see, the long ones included */
    float n_long, long_ns;              /* of the long ones among them */
    float n_waits;                      /* those that it sees */
    uint32_t n_seen, n_seen_then;       /* its events, and so many when it was last suspect */
    uint16_t hold, last_hold;           /* stretches to be measured before it may be short again; how many these were */
    bool is_short;
};

struct function_stretches {
    struct stretch_class classes[N_CLASSES];
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
    struct function_stretches *functions;    /* owned; by number */
    uint32_t n_functions;               /* how many there is space for */
    uint32_t n_blocks;
    uint32_t changed[2 * PNR_BLOCK_RECORDS];    /* functions with new measurements */
    uint32_t n_changed;
    double noise;                       /* share of long stretches in the time of most classes: from outside */
    struct timed_call calls[PNR_BLOCK_RECORDS];
} stretches;

bool rec_stretches_start(uint64_t ticks_per_second)
{
    memset(&stretches, 0, sizeof stretches);
    pthread_mutex_init(&stretches.lock, NULL);
    stretches.tick_ns = 1e9 / (double)ticks_per_second;
    return rec_sparse_start();
}

void rec_stretches_stop(void)
{
    free(stretches.functions);
    stretches.functions = NULL;
    stretches.n_functions = 0;
    rec_sparse_stop();
}

/* ---- classes ---- */

/* Makes space for functions up to this number. Returns false when out of memory, or if the number has no mode. */
static bool reserve_functions(uint32_t function)
{
    uint32_t n = stretches.n_functions ? stretches.n_functions : 256;
    if (function >= REC_SPARSE_FUNCTIONS)
        return false;
    while (n <= function)
        n *= 2;
    struct function_stretches *functions = realloc(stretches.functions, n * sizeof *functions);
    if (!functions)
        return false;
    memset(functions + stretches.n_functions, 0, (n - stretches.n_functions) * sizeof *functions);
    stretches.functions = functions;
    stretches.n_functions = n;
    return true;
}

/* Returns the class of the stretch after a record; -1 where there is none. What makes a generator's frame counts among
 * its exits: the running frame goes on. */
static inline int stretch_class_of(struct pnr_record r)
{
    struct pnr_kind_effect of = pnr_kind_effect(pnr_record_kind(r));
    if (pnr_record_kind(r) == PNR_CREATE)
        return AFTER_EXIT;
    if ((of.effect != PNR_EFFECT_ENTER && of.effect != PNR_EFFECT_LEAVE) || !pnr_subject_is_function(of.subject))
        return -1;
    return of.effect == PNR_EFFECT_LEAVE ? AFTER_EXIT : AFTER_ENTRY;
}

static inline struct stretch_class *find_class(struct pnr_record r)
{
    uint32_t function = pnr_record_function(r);
    int which = stretch_class_of(r);
    if (which < 0 || (function >= stretches.n_functions && !reserve_functions(function)))
        return NULL;
    return &stretches.functions[function].classes[which];
}

static void note_change(uint32_t function)
{
    if (stretches.functions[function].is_changed)
        return;
    stretches.functions[function].is_changed = true;
    stretches.changed[stretches.n_changed++] = function;
}

/* Adds a stretch that was measured. */
static void add_sample(struct stretch_class *class, uint32_t function, double ns)
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
static void suspect(struct stretch_class *class, uint32_t function)
{
    if (class->hold)
        return;
    bool is_rare = class->n_seen - class->n_seen_then > RARELY + (uint32_t)class->last_hold;
    if (is_rare || !class->last_hold)
        class->hold = MIN_HOLD;
    else
        class->hold = class->last_hold < MAX_HOLD ? 2 * class->last_hold : MAX_HOLD;
    class->last_hold = class->hold;
    class->n_seen_then = class->n_seen;
    note_change(function);
}

/* Without the long ones. */
static double mean_stretch(const struct stretch_class *class)
{
    double n = (double)class->n - class->n_long - class->n_waits;
    return n > 0 ? (class->ns - class->long_ns) / n : 0;
}

static double long_share(const struct stretch_class *class)
{
    return class->ns > 0 ? class->long_ns / class->ns : 0;
}

/* Adds an interval between two readings, with the events from first to before last, which have none. */
static void add_interval(const struct pnr_record *records, uint32_t first, uint32_t last, double ns)
{
    double usual = 0;
    struct stretch_class *class;
    for (uint32_t i = first; i < last; i++) {
        if (!(class = find_class(records[i])))
            continue;
        class->n_seen++;
        usual += mean_stretch(class);
    }
    if (ns <= SUSPECT_FACTOR * usual + SUSPECT_SLACK_NS)
        return;
    if (ns >= REC_SPARSE_PERIOD_NS) {   /* by the guard's rule it is the last stretch */
        if ((class = find_class(records[last - 1])))
            add_sample(class, pnr_record_function(records[last - 1]), ns);
        return;
    }
    for (uint32_t i = first; i < last; i++)
        if ((class = find_class(records[i])))
            suspect(class, pnr_record_function(records[i]));
}

/* Reads the stretches of a block. */
static void read_stretches(const struct pnr_record *records, uint32_t n)
{
    uint64_t before = 0;                /* ticks of the last reading, which is record `from`; 0: there is none yet */
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t ticks = pnr_record_ticks(records[i]);
        if (!ticks || pnr_record_kind(records[i]) == PNR_OPEN)
            continue;
        double ns = ticks > before ? (double)(ticks - before) * stretches.tick_ns : 0;
        if (before && i == from + 1) {
            struct stretch_class *class = find_class(records[from]);
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
    if (function >= stretches.n_functions && !reserve_functions(function))
        return;
    struct function_stretches *f = &stretches.functions[function];
    f->n_calls++;
    f->n_long_calls += ns >= LONG_CALL_NS;
    if (f->n_calls >= MAX_CALLS) {
        f->n_calls /= 2;
        f->n_long_calls /= 2;
    }
    note_change(function);
}

/* Times the calls that begin in a block. An event without a reading counts as at the last reading, which is as often
 * too early for the begin as for the end. A call that is cut off by the block's end was at least so long. */
static void time_calls_of_block(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
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
            stretches.calls[depth++] = (struct timed_call){ function, of.effect == PNR_EFFECT_LIST, ticks };
        else if (of.effect == PNR_EFFECT_LEAVE)
            while (depth) {             /* what lies inside it was left without a record */
                struct timed_call call = stretches.calls[--depth];
                if (call.function != function)
                    continue;
                if (!call.is_cut_off)
                    add_call(function, (double)(ticks - call.ticks) * stretches.tick_ns);
                break;
            }
    }
    while (depth) {
        struct timed_call call = stretches.calls[--depth];
        double ns = end > call.ticks ? (double)(end - call.ticks) * stretches.tick_ns : 0;
        if (!call.is_cut_off && ns >= LONG_CALL_NS)
            add_call(call.function, ns);
    }
}

/* ---- decisions ---- */

/* Interrupts, and a machine whose processors are shared, make stretches of any class long, each in proportion to its
 * time. So what most classes have by their time is no sign of what a function does. */
static void measure_noise(void)
{
    double weights[NOISE_STEPS] = { 0 }, sum = 0, below = 0;
    for (uint32_t i = 0; i < stretches.n_changed; i++)
        for (int k = 0; k < N_CLASSES; k++) {
            const struct stretch_class *class = &stretches.functions[stretches.changed[i]].classes[k];
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
        stretches.noise += (stretches.n_blocks > 1 ? NOISE_WEIGHT : 1) * ((double)step / NOISE_STEPS - stretches.noise);
}

static bool is_short(const struct stretch_class *class)
{
    double factor = class->is_short ? HYSTERESIS : 1;
    double noise = NOISE_FACTOR * stretches.noise, share = noise > LONG_SHARE ? noise : LONG_SHARE;
    return class->n >= MIN_SAMPLES && !class->hold && mean_stretch(class) < SHORT_NS * factor &&
           class->n_long <= BY_CHANCE + LONG_STRETCHES * factor * class->n &&
           class->n_waits <= BY_CHANCE + WAITS * factor * class->n &&
           long_share(class) <= (share < MAX_LONG_SHARE ? share * factor : MAX_LONG_SHARE);
}

/* The longer the stretches, the fewer of them between two readings. */
static unsigned level_of(const struct stretch_class *class)
{
    static const double below_ns[] = { 500, 150, 60 };
    unsigned level = class->is_short;
    while (level && level < REC_SPARSE_LEVELS - 1 && mean_stretch(class) < below_ns[level])
        level++;
    return level;
}

static void decide_mode(uint32_t function)
{
    struct function_stretches *f = &stretches.functions[function];
    struct stretch_class *entry = &f->classes[AFTER_ENTRY], *exit = &f->classes[AFTER_EXIT];
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

void rec_stretches_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
{
    if (!(header->flags & PNR_BLOCK_SPARSE) || pthread_mutex_trylock(&stretches.lock) != 0)
        return;
    stretches.n_changed = 0;
    read_stretches(records, n);
    if (stretches.n_blocks < FIRST_BLOCKS || stretches.n_blocks % TIMED_BLOCKS == 0)
        time_calls_of_block(header, records, n);
    stretches.n_blocks++;
    measure_noise();
    for (uint32_t i = 0; i < stretches.n_changed; i++) {
        decide_mode(stretches.changed[i]);
        stretches.functions[stretches.changed[i]].is_changed = false;
    }
    pthread_mutex_unlock(&stretches.lock);
    rec_sparse_note_block(n, (uint64_t)((double)(header->end.ticks - header->begin.ticks) * stretches.tick_ns));
}
