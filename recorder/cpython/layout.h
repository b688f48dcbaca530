/* The layout of the interpreter's structures that internals.h reads: what a field is called in each version, and
 * where it lies. The compiler takes the offsets from CPython's own headers. The table below says where they were when
 * internals.h was checked against a version, so that the build fails when a field has moved: its meaning may have
 * changed, too.
 *
 * To add a version: add a column, here and to CPYTHON_BY_VERSION, and see docs/porting.md. 0 stands for a field that
 * a version does not have; no row is compiled for it there. */
#ifndef REC_LAYOUT_H
#define REC_LAYOUT_H

#include <internal/pycore_code.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe.h>
#endif

#if PY_MINOR_VERSION == 11
#define CPYTHON_BY_VERSION(v11, v12, v13, v14, v15) v11
#elif PY_MINOR_VERSION == 12
#define CPYTHON_BY_VERSION(v11, v12, v13, v14, v15) v12
#elif PY_MINOR_VERSION == 13
#define CPYTHON_BY_VERSION(v11, v12, v13, v14, v15) v13
#elif PY_MINOR_VERSION == 14
#define CPYTHON_BY_VERSION(v11, v12, v13, v14, v15) v14
#elif PY_MINOR_VERSION == 15
#define CPYTHON_BY_VERSION(v11, v12, v13, v14, v15) v15
#else
#error "recorder/cpython/layout.h has no column for this CPython: see docs/porting.md"
#endif

/* ---- the fields that have had several names ---- */

#define CPYTHON_F_CODE CPYTHON_BY_VERSION(f_code, f_code, f_executable, f_executable, f_executable)
#define CPYTHON_F_FUNCTION CPYTHON_BY_VERSION(f_func, f_funcobj, f_funcobj, f_funcobj, f_funcobj)
#define CPYTHON_F_INSTRUCTION CPYTHON_BY_VERSION(prev_instr, prev_instr, instr_ptr, instr_ptr, instr_ptr)
#define CPYTHON_REMAINING CPYTHON_BY_VERSION(recursion_remaining, py_recursion_remaining, py_recursion_remaining, \
                                             py_recursion_remaining, py_recursion_remaining)
#define CPYTHON_LIMIT CPYTHON_BY_VERSION(recursion_limit, py_recursion_limit, py_recursion_limit, py_recursion_limit, \
                                         py_recursion_limit)

/* ---- where they lie ---- */

/* Builds with assertions put fields of their own into these structures. CPYTHON_LAYOUT_IS_UNCHECKED is for the test
 * that builds with a wrong layout, to see that the self-test finds it. */
#if UINTPTR_MAX == UINT64_MAX && !defined(Py_DEBUG) && !defined(Py_TRACE_REFS) && !defined(CPYTHON_LAYOUT_IS_UNCHECKED)

#define CPYTHON_EXPECT(header, what, now, ...) \
    _Static_assert((now) == CPYTHON_BY_VERSION(__VA_ARGS__), \
                   "CPython has changed " what " (" header "); see docs/porting.md")
#define CPYTHON_OFFSET(header, type, field, ...) \
    CPYTHON_EXPECT(header, #type "." #field, offsetof(type, field), __VA_ARGS__)

/* In an object, whose head is longer in a free-threaded build. */
#define CPYTHON_OBJECT_OFFSET(header, type, field, ...) \
    CPYTHON_EXPECT(header, #type "." #field, offsetof(type, field) - sizeof(PyObject) + 2 * sizeof(void *), __VA_ARGS__)

/* Include/internal/pycore_frame.h; from 3.14 on Include/internal/pycore_interpframe_structs.h */
#define FRAME_H "Include/internal/pycore_frame.h or pycore_interpframe_structs.h"
/*                                                                       3.11  3.12  3.13  3.14  3.15 */
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, CPYTHON_F_CODE,        32,    0,    0,    0,    0);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, previous,              48,    8,    8,    8,    8);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, CPYTHON_F_FUNCTION,     0,   16,   16,   16,   16);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, f_globals,              8,   24,   24,   24,   24);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, f_locals,              24,   40,   40,   40,   40);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, CPYTHON_F_INSTRUCTION, 56,   56,   56,   56,   56);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, owner,                 69,   70,   70,   74,   74);
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, localsplus,            72,   72,   72,   80,   80);
CPYTHON_EXPECT(FRAME_H, "FRAME_SPECIALS_SIZE", FRAME_SPECIALS_SIZE,         9,    9,    9,   10,   10);
CPYTHON_EXPECT(FRAME_H, "FRAME_OWNED_BY_THREAD", FRAME_OWNED_BY_THREAD,     0,    0,    0,    0,    0);
CPYTHON_EXPECT(FRAME_H, "FRAME_OWNED_BY_GENERATOR", FRAME_OWNED_BY_GENERATOR, 1,  1,    1,    1,    1);
CPYTHON_EXPECT(FRAME_H, "FRAME_SUSPENDED", FRAME_SUSPENDED,                -1,   -1,   -2,   -2,    1);
CPYTHON_EXPECT(FRAME_H, "FRAME_EXECUTING", FRAME_EXECUTING,                 0,    0,    0,    0,    4);
#if PY_VERSION_HEX < 0x030E0000
CPYTHON_OFFSET(FRAME_H, struct _PyInterpreterFrame, stacktop,              64,   64,   64,    0,    0);
#endif

/* Include/cpython/genobject.h; from 3.14 on Include/internal/pycore_interpframe_structs.h */
#define GENERATOR_H "Include/cpython/genobject.h or Include/internal/pycore_interpframe_structs.h"
CPYTHON_OBJECT_OFFSET(GENERATOR_H, PyGenObject, gi_frame_state,                   75,   67,   67,   67,   67);
CPYTHON_OBJECT_OFFSET(GENERATOR_H, PyGenObject, gi_iframe,                        80,   72,   72,   72,   72);

#define STATE_H "Include/cpython/pystate.h"
CPYTHON_OFFSET(STATE_H, PyThreadState, prev,                                0,    0,    0,    0,    0);
CPYTHON_OFFSET(STATE_H, PyThreadState, interp,                             16,   16,   16,   16,   16);
CPYTHON_OFFSET(STATE_H, PyThreadState, CPYTHON_REMAINING,                  32,   28,   44,   48,   52);
CPYTHON_OFFSET(STATE_H, PyThreadState, CPYTHON_LIMIT,                      36,   32,   48,   52,   56);
CPYTHON_OFFSET(STATE_H, PyThreadState, recursion_headroom,                 40,   40,   56,   56,   60);
CPYTHON_OFFSET(STATE_H, PyThreadState, dict,                              128,  112,  128,  128,  152);
CPYTHON_OFFSET(STATE_H, PyThreadState, thread_id,                         152,  136,  152,  152,  176);
CPYTHON_OFFSET(STATE_H, PyThreadState, native_thread_id,                  160,  144,  160,  160,  184);
CPYTHON_OFFSET(STATE_H, PyThreadState, id,                                240,  224,  224,  224,  248);
CPYTHON_OFFSET(STATE_H, PyThreadState, datastack_chunk,                   296,  232,  232,  232,  256);
CPYTHON_OFFSET(STATE_H, PyThreadState, datastack_top,                     304,  240,  240,  240,  264);
CPYTHON_OFFSET(STATE_H, _PyStackChunk, previous,                            0,    0,    0,    0,    0);
CPYTHON_OFFSET(STATE_H, _PyStackChunk, size,                                8,    8,    8,    8,    8);
CPYTHON_OFFSET(STATE_H, _PyStackChunk, top,                                16,   16,   16,   16,   16);
CPYTHON_OFFSET(STATE_H, _PyStackChunk, data,                               24,   24,   24,   24,   24);
#if PY_VERSION_HEX < 0x030D0000
CPYTHON_OFFSET(STATE_H, PyThreadState, cframe,                             56,   56,    0,    0,    0);
CPYTHON_OFFSET(STATE_H, PyThreadState, root_cframe,                       336,  272,    0,    0,    0);
CPYTHON_OFFSET(STATE_H, _PyCFrame, current_frame,                           8,    0,    0,    0,    0);
CPYTHON_OFFSET(STATE_H, _PyCFrame, previous,                               16,    8,    0,    0,    0);
#else
CPYTHON_OFFSET(STATE_H, PyThreadState, current_frame,                       0,    0,   72,   72,   72);
#endif
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
CPYTHON_OFFSET(STATE_H, PyThreadState, c_recursion_remaining,               0,   36,   52,    0,    0);
#elif PY_VERSION_HEX >= 0x030F0000
CPYTHON_OFFSET(STATE_H, PyThreadState, base_frame,                          0,    0,    0,    0,   80);
#endif

#define CODE_H "Include/cpython/code.h"
CPYTHON_OBJECT_OFFSET(CODE_H, PyCodeObject, co_flags,                             48,   48,   48,   48,   48);
CPYTHON_OBJECT_OFFSET(CODE_H, PyCodeObject, co_argcount,                          56,   52,   52,   52,   52);
CPYTHON_OBJECT_OFFSET(CODE_H, PyCodeObject, co_qualname,                         128,  128,  128,  128,  128);
CPYTHON_OBJECT_OFFSET(CODE_H, PyCodeObject, _co_firsttraceable,                  168,  176,  184,  192,  192);
CPYTHON_OBJECT_OFFSET(CODE_H, PyCodeObject, co_extra,                            176,  184,  192,  200,  200);
CPYTHON_OBJECT_OFFSET(CODE_H, PyCodeObject, co_code_adaptive,                    184,  192,  200,  208,  208);
CPYTHON_EXPECT(CODE_H, "_Py_CODEUNIT", sizeof(_Py_CODEUNIT),                2,    2,    2,    2,    2);

CPYTHON_OBJECT_OFFSET("Include/cpython/funcobject.h", PyFunctionObject, func_version, 128, 136, 136, 144, 144);
CPYTHON_OBJECT_OFFSET("Include/cpython/dictobject.h", PyDictObject, ma_keys,      32,   32,   32,   32,   32);

#undef FRAME_H
#undef GENERATOR_H
#undef STATE_H
#undef CODE_H

#endif

#endif
