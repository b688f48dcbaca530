/* Perfetto's protobuf, for ui.perfetto.dev: the content of the JSON in a fourth of the bytes. perfetto.c is the only
 * file that knows how it is encoded. */
#ifndef PERFETTO_H
#define PERFETTO_H

#include "trace.h"

extern const struct trace_format perfetto;

#endif
