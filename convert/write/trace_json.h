/* Catapult JSON, for chrome://tracing, Perfetto and others. trace_json.c is the only file that knows what JSON looks
 * like. */
#ifndef TRACE_JSON_H
#define TRACE_JSON_H

#include "trace.h"

extern const struct trace_format trace_json;

#endif
