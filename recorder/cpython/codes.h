/* Code objects that the recorder has noted, and the events of sys.monitoring that each has, from CPython 3.12 on. They
 * are found by the number of their function, too: several can have the same one. No code object is kept alive, and one
 * that goes is forgotten. All functions are called with the GIL; none runs Python code, except for rec_codes_watch and
 * what else takes or frees tool numbers (audit hooks).
 *
 *     rec_codes_init                      once an interpreter
 *         rec_codes_start                 a recording begins, or a child of a fork: numbers of functions are void
 *             rec_codes_add               a code object has got its tag
 *             rec_codes_begin             tool numbers are taken
 *             rec_codes_watch             events come, after rec_tool_listen
 *             rec_codes_allow             which events a function has from now on
 *             rec_codes_end               nothing of the recorder is left on any code object */
#ifndef REC_CODES_H
#define REC_CODES_H

#include "cpython.h"

/* Events of a code object; a set. */
enum {
    REC_CODES_ENTRIES = 1,              /* PY_START, PY_RESUME */
    REC_CODES_EXITS = 2,                /* PY_RETURN, PY_YIELD */
    REC_CODES_CALLS = 4,                /* CALL, and with it C_RETURN and C_RAISE */
    REC_CODES_EXCEPTIONS = 8,           /* PY_UNWIND; RAISE, RERAISE, EXCEPTION_HANDLED */
    REC_CODES_ALL = 15
};

/* Before CPython 3.15 the events of exceptions come from all code or from none. */
#define REC_CODES_EXCEPTIONS_ARE_GLOBAL (PY_VERSION_HEX < 0x030F0000)

#if PY_VERSION_HEX >= 0x030C0000

/* Returns 0, or -1 with an exception set. */
int rec_codes_init(void);

/* Forgets the numbers of functions, and what they were allowed. keeps_usual: the code objects have the same usual
 * events as before; else all of them, until they are added again. */
void rec_codes_start(bool keeps_usual);

/* Has all functions judged anew: each code object has all events that its function is allowed, until it is added again.
 * Takes effect when events come the next time, after a pause. */
void rec_codes_judge_anew(void);

/* Adds a code object, or changes what is known of it. function: its number, or 0: it has no records. usual: the events
 * that it has while its function is allowed all. */
void rec_codes_add(PyCodeObject *code, uint32_t function, unsigned usual);

/* True when the code object has been added, in this recording or in an earlier one. */
bool rec_codes_has(const PyCodeObject *code);

/* Lets code objects with this number have no other events than these, if they usually have them, and those of exceptions: now,
 * and those that are added later. In about a microsecond each. */
void rec_codes_allow(uint32_t function, unsigned events);

/* Calls a function for each code object with this number. */
void rec_codes_each(uint32_t function, void (*func)(PyCodeObject *code));

/* The events that a function is allowed. */
unsigned rec_codes_allowed(uint32_t function);

/* Takes tool numbers (rec_tool_begin). Returns 0, or -1 with an exception set. */
int rec_codes_begin(void);

/* Lets the events come that have a callback, of all code objects and the global ones, at once, so that no entry is
 * without its exit. May be called again after more of rec_tool_listen. Returns 0, or -1 with an exception set. */
int rec_codes_watch(void);

/* Stops all events until rec_codes_resume. Returns whether the tool numbers were ours until now: else events are
 * missing. */
bool rec_codes_pause(void);
void rec_codes_resume(void);

/* Gives code objects their usual events in a child of a fork, whose functions are allowed all. */
void rec_codes_rejoin(void);

/* Takes tool numbers again if another tool has freed ours. Returns whether they were still ours: else events are
 * missing. */
bool rec_codes_look(void);

/* Frees the numbers: no more events come. May be called without a watch. Returns whether they were ours to the end. */
bool rec_codes_end(void);

/* Forgets the code objects of an interpreter that is gone. */
void rec_codes_forget(void);

#else

static inline int rec_codes_init(void) { return 0; }
static inline void rec_codes_forget(void) { }
static inline void rec_codes_start(bool keeps_usual) { (void)keeps_usual; }
static inline void rec_codes_judge_anew(void) { }
static inline void rec_codes_add(const PyCodeObject *code, uint32_t function, unsigned usual)
{
    (void)code, (void)function, (void)usual;
}

#endif

#endif
