/* The versions of CPython that the recorder supports: the only list of them. tests/test_versions.py compares it with
 * what README.md, the specs and .ci/run state, and SConstruct reads it. docs/porting.md: how to add a version. */
#ifndef REC_VERSIONS_H
#define REC_VERSIONS_H

/* Minor versions of CPython 3. A later version than the newest is recorded through the public interface alone, by the
 * monitoring engine, without greenlets. */
#define CPYTHON_OLDEST 11
#define CPYTHON_NEWEST 15               /* the last one whose internals are known: layout.h, internals.h */
#define CPYTHON_MONITORING 12           /* the first one with sys.monitoring (PEP 669), for the monitoring engine */
#define CPYTHON_FREE_THREADED 13        /* the only one whose free-threaded build can be recorded */

#endif
