#include "stretches.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sparse_clock.h"

/* When a class is short. */
#define MIN_SAMPLES 32                  /* stretches before anything is decided */
#define SHORT_NS 200                    /* on average: what is longer would be smeared over neighbours of 20 to 50 ns */
#define CLIPPED_NS 20000                /* a longer one counts for this in the average: it may be another's doing */
#define LONG_NS 2000                    /* a long stretch: no usual one is ten times SHORT_NS ... */
#define LONG_STRETCHES 0.002            /* ... and this is how many are by chance: the kernel's and the machine's work
                                         * come some hundred times a second, once in 1e4 stretches of 200 ns */
#define BY_CHANCE 1                     /* so many more are no sign of anything */
#define MAX_SAMPLES 16384               /* then older ones count half: a function may change */

/* When it is suspect. An interval is overlong when it is longer by a factor, and a long stretch, than it usually is: as
 * for the converter, which takes it for a wait (convert/read/placing.c). */
#define OVERLONG_FACTOR 4
#define OVERLONG_INTERVALS 0.005             /* more than LONG_STRETCHES: an interval has many stretches */
#define MIN_OVERLONG 4                       /* fewer are by chance */
#define MAX_INTERVALS 1024              /* then older ones count half, and the next hold is half as long */
#define MIN_HOLD 32                     /* stretches for which a suspect class is read the first time, then doubled */
#define MAX_HOLD 4096

/* Which functions have exact begins and ends. */
#define LONG_CALL_NS 5000
#define LONG_CALLS (1 / 8.)             /* of its calls: fewer are found by their long intervals */
#define MIN_CALLS 4
#define MAX_CALLS 1024                  /* then older ones count half */

/* To read a block costs more than to encode it: each of so many is read at first, and then one of SAMPLED_BLOCKS. */
#define FIRST_BLOCKS 16
#define SAMPLED_BLOCKS 16

enum { AFTER_ENTRY, AFTER_EXIT, N_CLASSES };

struct measured_class {
    float n, ns, n_long;                /* of stretches */
    float n_intervals, n_overlong;           /* with several stretches, one of them of this class */
    uint32_t interval;                  /* the last one that was counted */
    uint16_t hold, last_hold;           /* stretches to be measured before it may be short again; how many these were */
};

struct function_stretches {
    struct measured_class classes[N_CLASSES];
    float n_calls, n_long_calls;
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
    uint32_t n_intervals;               /* so many were counted, modulo 2**32 */
    uint32_t changed[2 * PNR_BLOCK_RECORDS];    /* functions with new measurements */
    uint32_t n_changed;
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

static inline struct measured_class *class_after(struct pnr_record r)
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

static double mean_stretch(const struct measured_class *class)
{
    return class->n > 0 ? (double)class->ns / (double)class->n : 0;
}

/* Adds a stretch that was measured. */
static void add_sample(struct pnr_record first, double ns)
{
    struct measured_class *class = class_after(first);
    if (!class)
        return;
    note_change(pnr_record_function(first));
    class->n++;
    class->ns += ns < CLIPPED_NS ? (float)ns : CLIPPED_NS;
    class->n_long += ns >= LONG_NS;
    class->hold -= class->hold > 0;
    if (class->n < MAX_SAMPLES)
        return;
    class->n /= 2;
    class->ns /= 2;
    class->n_long /= 2;
}

/* Lets a class be read for a while. The more often it is suspect, the longer. */
static void hold_class(struct measured_class *class)
{
    unsigned hold = class->last_hold ? 2 * class->last_hold : MIN_HOLD;
    class->hold = class->last_hold = hold < MAX_HOLD ? (uint16_t)hold : MAX_HOLD;
    class->n_intervals = class->n_overlong = 0;
}

/* Adds an interval to the class of one of its stretches: once, however many of them are of that class. Else a single
 * interrupt in a loop of one function made it suspect. */
static void count_in_class(struct pnr_record first, bool is_overlong)
{
    struct measured_class *class = class_after(first);
    if (!class || class->hold || class->interval == stretches.n_intervals)
        return;
    class->interval = stretches.n_intervals;
    class->n_intervals++;
    class->n_overlong += is_overlong;
    if (class->n_overlong >= MIN_OVERLONG && class->n_overlong > OVERLONG_INTERVALS * class->n_intervals) {
        hold_class(class);
        note_change(pnr_record_function(first));
    } else if (class->n_intervals >= MAX_INTERVALS) {
        class->n_intervals /= 2;
        class->n_overlong /= 2;
        class->last_hold /= 2;
    }
}

/* Adds an interval between two readings: the stretches after the records from first to before last. By the guard's rule
 * a wait is the last of them, and says nothing of the others. */
static void add_interval(const struct pnr_record *records, uint32_t first, uint32_t last, double ns)
{
    double usual = 0;
    for (uint32_t i = first; i < last; i++) {
        const struct measured_class *class = class_after(records[i]);
        usual += class ? mean_stretch(class) : 0;
    }
    bool is_overlong = ns > OVERLONG_FACTOR * usual + LONG_NS, is_wait = is_overlong && ns >= REC_SPARSE_PERIOD_NS;
    if (is_wait)
        add_sample(records[last - 1], ns);
    stretches.n_intervals++;
    for (uint32_t i = first; i < last; i++)
        count_in_class(records[i], is_overlong && !is_wait);
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
        if (before && i == from + 1)
            add_sample(records[from], ns);
        else if (before)
            add_interval(records, from, i, ns);
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

static bool is_short(const struct measured_class *class)
{
    return class->n >= MIN_SAMPLES && !class->hold && mean_stretch(class) < SHORT_NS &&
           class->n_long < LONG_STRETCHES * class->n + BY_CHANCE;
}

static void decide_mode(uint32_t function)
{
    struct function_stretches *f = &stretches.functions[function];
    bool is_exact = f->n_calls >= MIN_CALLS && f->n_long_calls >= LONG_CALLS * f->n_calls;
    unsigned mode = (is_short(&f->classes[AFTER_ENTRY]) ? REC_SPARSE_AFTER_ENTRY | REC_SPARSE_ENTRY : 0) |
        (is_short(&f->classes[AFTER_EXIT]) ? REC_SPARSE_AFTER_EXIT | REC_SPARSE_EXIT : 0);
    if (is_exact)
        mode &= ~(unsigned)(REC_SPARSE_ENTRY | REC_SPARSE_EXIT);
    if (mode != f->mode)
        rec_sparse_set(function, f->mode = (uint8_t)mode);
}

static void read_sampled_block(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
{
    stretches.n_changed = 0;
    read_stretches(records, n);
    time_calls_of_block(header, records, n);
    for (uint32_t i = 0; i < stretches.n_changed; i++) {
        decide_mode(stretches.changed[i]);
        stretches.functions[stretches.changed[i]].is_changed = false;
    }
}

void rec_stretches_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n)
{
    if (!(header->flags & PNR_BLOCK_SPARSE) || pthread_mutex_trylock(&stretches.lock) != 0)
        return;
    if (stretches.n_blocks < FIRST_BLOCKS || stretches.n_blocks % SAMPLED_BLOCKS == 0)
        read_sampled_block(header, records, n);
    stretches.n_blocks++;
    pthread_mutex_unlock(&stretches.lock);
    rec_sparse_note_block(n, (uint64_t)((double)(header->end.ticks - header->begin.ticks) * stretches.tick_ns));
}
