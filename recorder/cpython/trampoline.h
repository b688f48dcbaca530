/* The stack trampoline of CPython 3.12 and later (sys.activate_stack_trampoline, -X perf), which is a frame evaluation
 * function. CPython turns it on and off only where there is no other one (Python/perf_trampoline.c). All functions are
 * called with the GIL. */
#ifndef REC_TRAMPOLINE_H
#define REC_TRAMPOLINE_H

#include <stdbool.h>

/* Registers functions that are called before and after the program turns the trampoline on or off. before returns
 * whether after is to be called. The functions of sys stay the same objects. Called once a process. */
void rec_trampoline_watch(bool (*before)(void), void (*after)(void));

bool rec_trampoline_is_active(void);

#endif
