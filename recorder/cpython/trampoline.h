/* The stack trampoline of CPython 3.12 and later (sys.activate_stack_trampoline, -X perf), which is a frame evaluation
 * function. CPython turns it on and off only where there is no other one (Python/perf_trampoline.c). All functions are
 * called with the GIL. */
#ifndef REC_TRAMPOLINE_H
#define REC_TRAMPOLINE_H

#include <stdbool.h>

/* Once a process: has functions called before and after the program turns it on or off. before returns whether after is
 * to be called. The functions of sys stay the same objects. */
void rec_trampoline_watch(bool (*before)(void), void (*after)(void));

bool rec_trampoline_is_active(void);

#endif
