/* Which functions are muted, and which events of a function therefore come: its state, by its number. codes.h sets the
 * events; the tag of a function whose events are not recorded straight away has REC_TAG_SLOW.
 *
 * All functions are called with the GIL. None runs Python code. */
#ifndef REC_MUTED_H
#define REC_MUTED_H

#include "cpython.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

/* The state of a function: a bit each. */
enum {
    REC_MUTED = 1,
    REC_C_MUTED = 2,                    /* only its calls of C functions */
    REC_ARMED = 4,                      /* it is muted, but its exits are events, for a watched frame */
    REC_UNSETTLED = 8,                  /* it was admitted while a thread stood at its first instruction */
    REC_PASSED_OVER = 16,               /* it was admitted while it had a frame that stays REC_WATCH_UNREPORTED */
    REC_CHANGING = 32,                  /* it is in the batch that is being applied */
    REC_DEAR = 64,                      /* it was REC_ARMED while muted, and then too many exits came */
    REC_MUTED_SOMEHOW = REC_MUTED | REC_C_MUTED
};

struct rec_muted_function {
    uint8_t state;
    uint8_t n_swallowed;                /* exits that were not recorded since it was REC_ARMED */
};

/* Read by all; what is changed, and by whom, is with each. */
struct rec_muted {
    struct rec_muted_function *functions;       /* by number, owned; changed by the functions below */
    size_t capacity;
    uint32_t *listed;                   /* the functions with REC_MUTED or REC_C_MUTED; owned */
    size_t n_listed, listed_capacity;
    bool is_in_window;                  /* set by muting.c */
};
extern struct rec_muted rec_muted __attribute__((visibility("hidden")));

static inline unsigned rec_muted_state(uint32_t function)
{
    return function < rec_muted.capacity ? rec_muted.functions[function].state : 0;
}

/* True while no entry of the function is recorded. */
static inline bool rec_muted_is_silent(uint32_t function)
{
    return rec_muted_state(function) & REC_MUTED && !rec_muted.is_in_window;
}

/* Makes room for a function's state. Returns false when out of memory. */
bool rec_muted_reserve(uint32_t function);

/* Sets or clears bits of a function that has room. Which events come does not change yet. */
void rec_muted_set(uint32_t function, unsigned bits);
void rec_muted_clear(uint32_t function, unsigned bits);

/* Sets which events of a function come, and how they are taken, as its state wants it. */
void rec_muted_apply(uint32_t function);

/* True for a function whose tag must have REC_TAG_SLOW. */
bool rec_muted_is_slow(uint32_t function);

/* Forgets what the states say of open frames. */
void rec_muted_forget_open(void);

/* Forgets all states. The events of the functions stay as they are. */
void rec_muted_forget(void);

#else

static inline bool rec_muted_is_slow(uint32_t function) { return !function; }
static inline bool rec_muted_is_silent(uint32_t function) { return !function; }

#endif

#endif
