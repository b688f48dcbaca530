/* The self-test: whether the frame engine fits the interpreter that it runs in. It runs a generator, a recursion and
 * a call by C code under a hook of its own, and compares what the hook reads of frames and stacks with what must be
 * there. Where that differs, CPython has changed in a way that layout.h does not show, and the monitoring engine
 * records in place of the frame engine.
 *
 *     rec_self_test_keep                  once a process: what is to be run
 *         rec_self_test_choose            before each recording: the engine
 *         rec_self_test_report            the recording has begun: reports once what is wrong
 *
 * All functions are called with the GIL. */
#ifndef REC_SELF_TEST_H
#define REC_SELF_TEST_H

#include "engine.h"

/* functions: a tuple of the package's functions (run, generate, recurse, call_back). */
void rec_self_test_keep(PyObject *functions);

/* Returns the engine that is to record where this one was found. wanted: the name that the user gave, or NULL. The
 * first time it runs the test, if no other frame evaluation function is installed. The program does not notice: no
 * event of sys.setprofile, sys.settrace or sys.monitoring, no audit event, no garbage collection. Returns NULL with
 * an exception set where no engine can record, or when a signal handler of the program raised. */
const struct rec_engine *rec_self_test_choose(const struct rec_engine *engine, const char *wanted);

/* Why the frame engine does not record although it was not refused: a phrase for the property frame_engine_fault.
 * NULL where nothing is wrong. */
const char *rec_self_test_fault(void);

/* Reports the fault on standard error, once a process. */
void rec_self_test_report(void);

#endif
