#include "functions.h"

#include "muted.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include <string.h>

#include "codes.h"
#include "../../format/array.h"

struct rec_muted rec_muted;

bool rec_muted_reserve(uint32_t function)
{
    return pnr_array_reserve_number(&rec_muted.functions, &rec_muted.capacity, function) == 0;
}

void rec_muted_set(uint32_t function, unsigned bits)
{
    bool is_listed = rec_muted.functions[function].state & REC_MUTED_SOMEHOW;
    rec_muted.functions[function].state |= (uint8_t)bits;
    if (bits & REC_MUTED_SOMEHOW && !is_listed &&
        pnr_array_reserve(&rec_muted.listed, &rec_muted.listed_capacity, rec_muted.n_listed + 1) == 0)
        rec_muted.listed[rec_muted.n_listed++] = function;
}

void rec_muted_clear(uint32_t function, unsigned bits)
{
    bool is_listed = rec_muted.functions[function].state & REC_MUTED_SOMEHOW;
    rec_muted.functions[function].state &= (uint8_t)~bits;
    if (!is_listed || rec_muted.functions[function].state & REC_MUTED_SOMEHOW)
        return;
    for (size_t i = 0; i < rec_muted.n_listed; i++)
        if (rec_muted.listed[i] == function) {
            rec_muted.listed[i] = rec_muted.listed[--rec_muted.n_listed];
            return;
        }
}

bool rec_muted_is_slow(uint32_t function)
{
    return rec_muted_is_silent(function) || rec_muted_state(function) & (REC_UNSETTLED | REC_PASSED_OVER);
}

/* Brings the tag of a code object to what its function's state wants. */
static void set_slow(PyCodeObject *code)
{
    uint64_t tag = cpython_code_value(code, rec_functions.extra_index), flag = (uint64_t)REC_TAG_SLOW << 32;
    tag = rec_muted_is_slow((uint32_t)tag) ? tag | flag : tag & ~flag;
    if (cpython_set_code_value(code, rec_functions.extra_index, tag) != 0)
        PyErr_Clear();                  /* not reached: its place is there */
}

void rec_muted_apply(uint32_t function)
{
    unsigned state = rec_muted_state(function);
    rec_codes_each(function, set_slow);
    bool has_c_calls = rec_muted.is_in_window || !(state & REC_C_MUTED);
    rec_codes_allow(function, rec_muted_is_silent(function) ? state & REC_ARMED ? REC_CODES_EXITS : 0 :
                              has_c_calls ? REC_CODES_ALL : REC_CODES_ENTRIES | REC_CODES_EXITS);
}

void rec_muted_forget_open(void)
{
    const unsigned open = REC_ARMED | REC_UNSETTLED | REC_PASSED_OVER | REC_DEAR;
    for (uint32_t function = 0; function < rec_muted.capacity; function++)
        if (rec_muted.functions[function].state & open) {
            rec_muted_clear(function, open);
            rec_muted_apply(function);
        }
}

void rec_muted_forget(void)
{
    if (rec_muted.capacity)
        memset(rec_muted.functions, 0, rec_muted.capacity * sizeof *rec_muted.functions);
    rec_muted.n_listed = 0;
    rec_muted.is_in_window = false;
}

#endif
