#include "codes.h"

#if PY_VERSION_HEX >= 0x030C0000

#include <stdlib.h>
#include <string.h>

#include "lock.h"
#include "tool.h"
#include "../../format/array.h"

/* A code object. Those with the same function are a list. */
struct known {
    PyCodeObject *code;                 /* never dereferenced after it was destroyed; NULL: not in use */
    uint32_t function;                  /* 0: none */
    uint32_t before, next;              /* in the list; 0: none */
    uint32_t bits;                      /* events that are on at this moment, as in sys.monitoring */
    uint8_t usual;                      /* events */
};

struct function {
    uint32_t first;                     /* of its code objects; 0: none */
    uint32_t forbidden;                 /* events */
};

static struct {
    struct known *known;                    /* owned; number 0 is not used */
    uint32_t n_known, known_capacity;
    uint32_t unused;                    /* a list of those that are not in use */
    uint32_t *slots;                   /* owned: numbers of code objects by address, open addressing; 0: empty */
    uint32_t n_slots, slot_capacity;  /* a power of two, or 0 */
    struct function *functions;         /* owned: by number */
    size_t n_functions;
    bool is_watching;                   /* events come */
    long number;                        /* the tool number with which they were set */
    uint32_t bits[REC_CODES_ALL + 1];   /* in sys.monitoring, for each set of events */
    uint32_t other_bit;                 /* of an event that has no callback */
} codes;

/* ---- found by address ---- */

static uint32_t home_of(const PyCodeObject *code)
{
    return (uint32_t)(((uintptr_t)code >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (codes.slot_capacity - 1);
}

/* Returns the slot of the code object, or the empty one where it would be. */
static uint32_t *find_known_slot(const PyCodeObject *code)
{
    uint32_t at = home_of(code);
    while (codes.slots[at] && codes.known[codes.slots[at]].code != code)
        at = (at + 1) & (codes.slot_capacity - 1);
    return &codes.slots[at];
}

static struct known *find_known(const PyCodeObject *code)
{
    uint32_t number = codes.n_slots ? *find_known_slot(code) : 0;
    return number ? &codes.known[number] : NULL;
}

static bool grow_slots(void)
{
    uint32_t capacity = codes.slot_capacity ? 2 * codes.slot_capacity : 1024;
    uint32_t *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    free(codes.slots);
    codes.slots = slots;
    codes.slot_capacity = capacity;
    for (uint32_t number = 1; number < codes.n_known; number++)
        if (codes.known[number].code)
            *find_known_slot(codes.known[number].code) = number;
    return true;
}

/* Empties a slot, and moves those that stand after it because it was taken. */
static void empty_slot(uint32_t *slot)
{
    uint32_t hole = (uint32_t)(slot - codes.slots), mask = codes.slot_capacity - 1;
    codes.slots[hole] = 0;
    for (uint32_t at = (hole + 1) & mask; codes.slots[at]; at = (at + 1) & mask) {
        uint32_t distance = (at - home_of(codes.known[codes.slots[at]].code)) & mask;
        if (distance < ((at - hole) & mask))
            continue;
        codes.slots[hole] = codes.slots[at];
        codes.slots[at] = 0;
        hole = at;
    }
    codes.n_slots--;
}

/* Returns the number of one that is not in use, or 0 when out of memory. */
static uint32_t take_unused(void)
{
    uint32_t number = codes.unused;
    if (number) {
        codes.unused = codes.known[number].next;
        return number;
    }
    if (codes.n_known == codes.known_capacity) {
        uint32_t capacity = codes.known_capacity ? 2 * codes.known_capacity : 512;
        struct known *known = realloc(codes.known, capacity * sizeof *known);
        if (!known)
            return 0;
        codes.known = known;
        codes.known_capacity = capacity;
        codes.n_known += !codes.n_known;
    }
    return codes.n_known++;
}

static struct known *find_or_make(PyCodeObject *code)
{
    struct known *known = find_known(code);
    if (known)
        return known;
    if (2 * codes.n_slots >= codes.slot_capacity && !grow_slots())
        return NULL;
    uint32_t number = take_unused();
    if (!number)
        return NULL;
    codes.known[number] = (struct known){ .code = code };
    *find_known_slot(code) = number;
    codes.n_slots++;
    cpython_allow_keeping((PyObject *)code);
    return &codes.known[number];
}

/* ---- found by function ---- */

static bool has_function(uint32_t function)
{
    return function && function < codes.n_functions;
}

static bool make_function(uint32_t function)
{
    return pnr_array_reserve_number(&codes.functions, &codes.n_functions, function) == 0;
}

static void unlink_known(struct known *known)
{
    if (known->next)
        codes.known[known->next].before = known->before;
    if (known->before)
        codes.known[known->before].next = known->next;
    else if (has_function(known->function))
        codes.functions[known->function].first = known->next;
    known->function = known->before = known->next = 0;
}

static void link_known(struct known *known, uint32_t function)
{
    if (known->function == function)
        return;
    unlink_known(known);
    if (!function || !make_function(function))
        return;
    uint32_t *first = &codes.functions[function].first, number = (uint32_t)(known - codes.known);
    known->function = function;
    known->next = *first;
    if (*first)
        codes.known[*first].before = number;
    *first = number;
}

/* ---- events ---- */

static uint32_t wanted_bits(const struct known *known)
{
    unsigned forbidden = has_function(known->function) ? codes.functions[known->function].forbidden : 0;
    return codes.is_watching ? codes.bits[known->usual & ~forbidden] : 0;
}

static void set_known_events(struct known *known)
{
    uint32_t bits = wanted_bits(known);
    if (bits != known->bits && known->code && rec_tool_set_local(codes.number, known->code, bits))
        known->bits = bits;
}

/* Where a code object has not run since, it still has an event that the number had for all code in the last recording.
 * Setting that event would change nothing then, not even where DISABLE answered it (Python/instrumentation.c,
 * monitors_sub). Another event, which has no callback, is set first to take it off. */
static void set_all_events(void)
{
    for (uint32_t number = 1; number < codes.n_known; number++) {
        struct known *known = &codes.known[number];
        if (!known->code)
            continue;
        if (!known->bits && wanted_bits(known))
            rec_tool_set_local(codes.number, known->code, codes.other_bit);
        set_known_events(known);
    }
}

/* Finds out which bits the sets of events have: those that have a callback. Returns false with an exception set. */
static bool find_bits(void)
{
    static const struct { unsigned event; const char *name; } events[] = {
        { REC_CODES_ENTRIES, "PY_START" }, { REC_CODES_ENTRIES, "PY_RESUME" }, { REC_CODES_EXITS, "PY_RETURN" },
        { REC_CODES_EXITS, "PY_YIELD" }, { REC_CODES_CALLS, "CALL" },
#if !REC_CODES_EXCEPTIONS_ARE_GLOBAL
        { REC_CODES_EXCEPTIONS, "PY_UNWIND" }, { REC_CODES_EXCEPTIONS, "RAISE" }, { REC_CODES_EXCEPTIONS, "RERAISE" },
        { REC_CODES_EXCEPTIONS, "EXCEPTION_HANDLED" },
#endif
    };
    memset(codes.bits, 0, sizeof codes.bits);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        long bit = rec_tool_event(events[i].name);
        if (!bit)
            return false;
        for (unsigned set = 0; set <= REC_CODES_ALL; set++)
            codes.bits[set] |= set & events[i].event && rec_tool_listens(bit) ? (uint32_t)bit : 0;
    }
    codes.other_bit = (uint32_t)rec_tool_event("STOP_ITERATION");
    return codes.other_bit;
}

/* ---- interface ---- */

/* Runs for each code object that is made or destroyed. */
static int on_code(PyCodeEvent event, PyCodeObject *code)
{
    REC_LOCK_BLOCK();
    struct known *known = event == PY_CODE_EVENT_DESTROY ? find_known(code) : NULL;
    if (!known)
        return 0;
    unlink_known(known);
    empty_slot(find_known_slot(code));
    known->code = NULL;
    known->next = codes.unused;
    codes.unused = (uint32_t)(known - codes.known);
    return 0;
}

int rec_codes_init(void)
{
    if (PyCode_AddWatcher(on_code) >= 0)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "panopticon: the interpreter has no place left for a function that watches "
                                        "code objects; record without the other tools that use it");
    return -1;
}

void rec_codes_start(bool keeps_usual)
{
    if (codes.n_functions)
        memset(codes.functions, 0, codes.n_functions * sizeof *codes.functions);
    for (uint32_t number = 1; number < codes.n_known; number++) {
        struct known *known = &codes.known[number];
        if (!known->code)
            continue;
        known->function = known->before = known->next = 0;
        if (!keeps_usual)
            known->usual = REC_CODES_ALL;
    }
}

void rec_codes_judge_anew(void)
{
    for (uint32_t number = 1; number < codes.n_known; number++)
        if (codes.known[number].code)
            codes.known[number].usual = REC_CODES_ALL;
}

void rec_codes_add(PyCodeObject *code, uint32_t function, unsigned usual)
{
    struct known *known = find_or_make(code);
    if (!known)
        return;
    link_known(known, function);
    known->usual = (uint8_t)usual;
    set_known_events(known);
}

bool rec_codes_has(const PyCodeObject *code) { return find_known(code); }

void rec_codes_allow(uint32_t function, unsigned events)
{
    if (!function || !make_function(function))
        return;
    codes.functions[function].forbidden = REC_CODES_ALL & ~(events | REC_CODES_EXCEPTIONS);
    for (uint32_t number = codes.functions[function].first; number; number = codes.known[number].next)
        set_known_events(&codes.known[number]);
}

void rec_codes_each(uint32_t function, void (*func)(PyCodeObject *code))
{
    for (uint32_t at = function < codes.n_functions ? codes.functions[function].first : 0; at; at = codes.known[at].next)
        func(codes.known[at].code);
}

unsigned rec_codes_allowed(uint32_t function)
{
    return has_function(function) ? REC_CODES_ALL & ~codes.functions[function].forbidden : REC_CODES_ALL;
}

void rec_codes_rejoin(void) { set_all_events(); }

int rec_codes_begin(void)
{
    rec_codes_end();                    /* a fork may have ended a recording without it */
    return rec_tool_begin();
}

int rec_codes_watch(void)
{
    if (!find_bits())
        return -1;
    if (rec_tool_watch() != 0)
        return -1;
    codes.is_watching = true;
    codes.number = rec_tool_number();
    set_all_events();
    return 0;
}

/* Another tool has freed the number, which leaves the events on. Where a third one has set its own, they are its. */
static void forget_number(long number)
{
    for (uint32_t i = 1; i < codes.n_known; i++) {
        struct known *known = &codes.known[i];
        if (known->code && known->bits && rec_tool_get_local(number, known->code) == known->bits)
            rec_tool_set_local(number, known->code, 0);
        known->bits = 0;
    }
}

bool rec_codes_look(void)
{
    if (!codes.is_watching || rec_tool_look())
        return true;
    forget_number(codes.number);
    codes.number = rec_tool_number();
    set_all_events();
    return false;
}

bool rec_codes_pause(void)
{
    bool are_ours = rec_codes_look();
    codes.is_watching = false;
    set_all_events();
    rec_tool_pause();
    return are_ours;
}

void rec_codes_resume(void)
{
    rec_tool_resume();
    codes.is_watching = rec_tool_has_begun();
    codes.number = rec_tool_number();
    set_all_events();
}

bool rec_codes_end(void)
{
    bool are_ours = rec_codes_pause();
    rec_tool_end();
    return are_ours;
}

/* Sets no events: the code objects are gone. */
void rec_codes_forget(void)
{
    free(codes.known);
    free(codes.slots);
    free(codes.functions);
    memset(&codes, 0, sizeof codes);
    rec_tool_forget();
}

#endif
