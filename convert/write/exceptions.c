#include "exceptions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call_tree.h"
#include "format/array.h"
#include "format/table.h"
#include "json.h"
#include "text.h"

#define NOWHERE UINT32_MAX              /* in place of a function: it is not known */
#define MAX_PENDING 64                  /* exceptions of a thread that may still be handled, or raised again */
#define MAX_NESTED 4096                 /* calls between where an exception was raised and handled */

/* An exception that was raised. */
struct pending {
    uint32_t type;                      /* index of its label in the functions of the tree */
    uint32_t raised, handled;           /* nodes of the tree; handled: NOWHERE if it is not */
};

struct pending_list {
    struct pending *all;                /* the oldest first; owned */
    size_t n, capacity;
};

/* How often an exception went this way. */
struct route {
    uint64_t key;
    uint32_t type, raised_in, handled_in;       /* indices in the functions of the tree; or NOWHERE */
    uint32_t number;                    /* in the order of the first of its kind */
    uint64_t n;
};

struct exceptions {
    struct sink sink;                   /* first: a sink is this */
    struct call_tree *tree;             /* names, and which call lies in which; owned */
    struct pnr_table routes;            /* of struct route */
    struct pending_list *threads;       /* of the present process; owned */
    size_t n_threads;
};

/* ---- names of instants ---- */

enum what { OTHER_INSTANT, RAISED, HANDLED, RAISED_AGAIN };

/* Returns what an instant of this name reports. *type: the name of the exception's type in it. */
static enum what read_instant(struct pnr_string name, struct pnr_string *type)
{
    static const struct { const char *begin; enum what what; } begins[] = {
        { "[raised again ", RAISED_AGAIN }, { "[raised ", RAISED }, { "[handled ", HANDLED } };
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        uint32_t size = (uint32_t)strlen(begins[i].begin);
        if (name.size <= size + 1 || memcmp(name.bytes, begins[i].begin, size) != 0 || name.bytes[name.size - 1] != ']')
            continue;
        *type = (struct pnr_string){ name.bytes + size, name.size - size - 1 };
        return begins[i].what;
    }
    return OTHER_INSTANT;
}

static struct pnr_string exception_label(const struct exceptions *exceptions, uint32_t type)
{
    return exceptions->tree->functions[type].symbol.name;
}

static struct pnr_string exception_type(const struct exceptions *exceptions, uint32_t type)
{
    struct pnr_string name = { NULL, 0 };
    read_instant(exception_label(exceptions, type), &name);
    return name;
}

static bool has_exception_type(const struct exceptions *exceptions, uint32_t type, struct pnr_string name)
{
    struct pnr_string other = exception_type(exceptions, type);
    return other.size == name.size && memcmp(other.bytes, name.bytes, name.size) == 0;
}

/* ---- counting ---- */

/* Returns the innermost node, from this one outwards, that is the call of a function; 0: there is none. */
static uint32_t call_around(const struct call_tree *tree, uint32_t node)
{
    for (unsigned i = 0; node && node < tree->n_nodes && i < MAX_NESTED; i++) {
        const struct call_function *function = &tree->functions[tree->nodes[node].function];
        if (function->type != CALL_NO_FUNCTION && function->symbol.kind != PNR_FUNCTION_LABEL)
            break;
        node = tree->nodes[node].parent;
    }
    return node;
}

static uint32_t exception_function(const struct exceptions *exceptions, uint32_t node)
{
    return node && node < exceptions->tree->n_nodes ? exceptions->tree->nodes[node].function : NOWHERE;
}

static void count_route(struct exceptions *exceptions, uint32_t type, uint32_t raised_in, uint32_t handled_in)
{
    uint64_t key = pnr_table_hash(exceptions->routes.secret, (uint64_t)type << 32 | raised_in);
    key = pnr_table_hash(key ^ exceptions->routes.secret, handled_in) | 1;
    for (;; key += 2) {
        size_t n_before = exceptions->routes.n;
        struct route *route = pnr_table_add(&exceptions->routes, key);
        if (!route) {
            exceptions->sink.is_broken = true;
            return;
        }
        if (exceptions->routes.n > n_before)
            *route = (struct route){ key, type, raised_in, handled_in, (uint32_t)n_before, 0 };
        if (route->type == type && route->raised_in == raised_in && route->handled_in == handled_in) {
            route->n++;
            return;
        }
    }
}

/* The i-th exception of the list has come to its end. */
static void settle_exception(struct exceptions *exceptions, struct pending_list *list, size_t i)
{
    const struct pending *one = &list->all[i];
    count_route(exceptions, one->type, exception_function(exceptions, one->raised),
                one->handled == NOWHERE ? NOWHERE : exception_function(exceptions, one->handled));
    memmove(&list->all[i], &list->all[i + 1], (list->n - i - 1) * sizeof *list->all);
    list->n--;
}

static void settle_exceptions(struct exceptions *exceptions)
{
    for (size_t i = 0; i < exceptions->n_threads; i++) {
        while (exceptions->threads[i].n)
            settle_exception(exceptions, &exceptions->threads[i], 0);
        free(exceptions->threads[i].all);
    }
    free(exceptions->threads);
    exceptions->threads = NULL;
    exceptions->n_threads = 0;
}

/* True when a call lies in another one, or is it; 0: outside of all. */
static bool lies_in(const struct call_tree *tree, uint32_t node, uint32_t outer)
{
    for (unsigned i = 0; node != outer && node && node < tree->n_nodes && i < MAX_NESTED; i++)
        node = tree->nodes[node].parent;
    return node == outer;
}

/* An exception is handled in the call that raised it, or in one around it. */
static void handle_exception(struct exceptions *exceptions, struct pending_list *list, uint32_t label,
                             struct pnr_string type, uint32_t node)
{
    for (size_t i = list->n; i > 0; i--) {
        struct pending *one = &list->all[i - 1];
        if (one->handled != NOWHERE || !has_exception_type(exceptions, one->type, type) ||
            !lies_in(exceptions->tree, one->raised, node))
            continue;
        one->handled = node;
        return;
    }
    count_route(exceptions, label, NOWHERE, exception_function(exceptions, node));
}

/* The handler that was entered last has raised the exception again. */
static void raise_exception_again(const struct exceptions *exceptions, struct pending_list *list,
                                  struct pnr_string type, uint32_t node)
{
    for (size_t i = list->n; i > 0; i--) {
        struct pending *one = &list->all[i - 1];
        if (one->handled != node || !has_exception_type(exceptions, one->type, type))
            continue;
        one->handled = NOWHERE;
        return;
    }
}

/* ---- the sink ---- */

static void begin_exceptions_process(struct sink *sink, const struct sink_process *process)
{
    struct exceptions *exceptions = (struct exceptions *)sink;
    settle_exceptions(exceptions);
    exceptions->tree->sink.process(&exceptions->tree->sink, process);
}

static void begin_exceptions_thread(struct sink *sink, const struct sink_thread *thread)
{
    struct exceptions *exceptions = (struct exceptions *)sink;
    size_t n_before = exceptions->n_threads;
    exceptions->tree->sink.thread(&exceptions->tree->sink, thread);
    if (pnr_array_reserve(&exceptions->threads, &exceptions->n_threads, (size_t)thread->thread + 1) < 0)
        sink->is_broken = true;
    for (size_t i = n_before; i < exceptions->n_threads; i++)
        exceptions->threads[i] = (struct pending_list){ .n = 0 };
}

static uint32_t enter_exceptions(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                                 enum pnr_subject subject)
{
    struct exceptions *exceptions = (struct exceptions *)sink;
    return exceptions->tree->sink.enter(&exceptions->tree->sink, parent, thread, function, subject);
}

static void count_exception(struct sink *sink, const struct sink_remark *remark)
{
    struct exceptions *exceptions = (struct exceptions *)sink;
    struct pnr_string type = { NULL, 0 };
    sink->is_broken |= exceptions->tree->sink.is_broken;
    uint32_t label = sink->is_broken ? NOWHERE : call_tree_function(exceptions->tree, remark->label);
    if (label == NOWHERE || remark->kind != PNR_INSTANT || remark->thread >= exceptions->n_threads)
        return;
    struct pending_list *list = &exceptions->threads[remark->thread];
    uint32_t node = call_around(exceptions->tree, remark->cookie);
    enum what what = read_instant(exception_label(exceptions, label), &type);
    if (what == HANDLED)
        handle_exception(exceptions, list, label, type, node);
    else if (what == RAISED_AGAIN)
        raise_exception_again(exceptions, list, type, node);
    if (what != RAISED)
        return;
    if (list->n == MAX_PENDING)
        settle_exception(exceptions, list, 0);
    if (pnr_array_reserve(&list->all, &list->capacity, list->n + 1) < 0) {
        sink->is_broken = true;
        return;
    }
    list->all[list->n++] = (struct pending){ label, node, NOWHERE };
}

struct exceptions *exceptions_new(void)
{
    struct exceptions *exceptions = calloc(1, sizeof *exceptions);
    if (!exceptions || !(exceptions->tree = call_tree_new(false))) {
        free(exceptions);
        return NULL;
    }
    exceptions->sink = (struct sink){ .process = begin_exceptions_process, .thread = begin_exceptions_thread,
                                      .enter = enter_exceptions, .remark = count_exception };
    exceptions->routes = (struct pnr_table){ .slot_size = sizeof(struct route), .secret = pnr_table_secret() };
    return exceptions;
}

void exceptions_free(struct exceptions *exceptions)
{
    if (!exceptions)
        return;
    settle_exceptions(exceptions);
    pnr_table_clear(&exceptions->routes);
    call_tree_free(exceptions->tree);
    free(exceptions);
}

struct sink *exceptions_sink(struct exceptions *exceptions)
{
    return &exceptions->sink;
}

/* ---- output ---- */

/* Returns a function's name, owned, and its size; NULL when out of memory. */
static char *route_function_name(const struct exceptions *exceptions, uint32_t index, uint32_t *size)
{
    const struct call_function *function = &exceptions->tree->functions[index];
    char *name = malloc(call_tree_name_size(function));
    *size = name ? (uint32_t)(call_tree_put_name(name, function) - name) : 0;
    return name;
}

/* Writes `"key":"name",`, or null. Returns 0, or -1 when out of memory. */
static int put_json_function(struct writer *writer, const struct exceptions *exceptions, const char *key,
                             uint32_t index)
{
    if (index == NOWHERE) {
        writer_format(writer, "\"%s\":null,", key);
        return 0;
    }
    struct pnr_string text = { NULL, 0 };
    char *name = route_function_name(exceptions, index, &text.size);
    text.bytes = name;
    int result = name ? json_put_member(writer, key, text) : -1;
    free(name);
    return result;
}

static int put_json_routes(struct writer *writer, const struct exceptions *exceptions, const struct route *routes,
                           size_t n, uint64_t n_lost)
{
    writer_format(writer, "{\"lost_events\":%" PRIu64 ",\"exceptions\":[", n_lost);
    for (size_t i = 0; i < n; i++) {
        writer_format(writer, "%s\n{", i ? "," : "");
        if (json_put_member(writer, "type", exception_type(exceptions, routes[i].type)) < 0 ||
            put_json_function(writer, exceptions, "raised_in", routes[i].raised_in) < 0 ||
            put_json_function(writer, exceptions, "handled_in", routes[i].handled_in) < 0)
            return -1;
        writer_format(writer, "\"count\":%" PRIu64 "}", routes[i].n);
    }
    writer_format(writer, "\n]}\n");
    return 0;
}

/* Writes a name, and spaces up to the width. Control characters are replaced, as a capture must not control the
 * terminal. Returns 0, or -1 when out of memory. */
static int put_padded_name(struct writer *writer, struct pnr_string name, size_t width)
{
    char *bytes = malloc(3 * (size_t)name.size + 1);
    if (!bytes)
        return -1;
    char *end = text_put_utf8(bytes, name);
    size_t used = 0;
    for (char *c = bytes; c < end; c++) {
        bool is_long = c + 1 < end && c[0] == '\xc2' && (c[1] & 0xe0) == 0x80;    /* U+0080 to U+009F */
        if (is_long || (unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
        if (is_long)
            c[1] = '?';
        if ((*c & 0xc0) != 0x80)
            used++;
    }
    writer_put(writer, bytes, (size_t)(end - bytes));
    for (; used < width; used++)
        writer_put(writer, " ", 1);
    free(bytes);
    return 0;
}

/* Writes a function's name in as many columns, or more; `-` for one that is not known. */
static int put_padded_function(struct writer *writer, const struct exceptions *exceptions, uint32_t index, size_t width)
{
    struct pnr_string text = { "-", 1 };
    char *name = index == NOWHERE ? NULL : route_function_name(exceptions, index, &text.size);
    if (index != NOWHERE)
        text.bytes = name;
    int result = text.bytes ? put_padded_name(writer, text, width) : -1;
    free(name);
    return result;
}

/* The widest name of a column that is not widened for longer ones. */
#define MAX_WIDTH 40

static size_t widen_column(size_t width, size_t size)
{
    return size > width && size <= MAX_WIDTH ? size : width;
}

static size_t function_width(const struct exceptions *exceptions, uint32_t index)
{
    return index == NOWHERE ? 1 : call_tree_name_size(&exceptions->tree->functions[index]) - 1;
}

static int put_table_routes(struct writer *writer, const struct exceptions *exceptions, const struct route *routes,
                            size_t n_all)
{
    size_t n = n_all < EXCEPTIONS_MAX_LINES ? n_all : EXCEPTIONS_MAX_LINES, types = 4, raised = 9;
    uint64_t others = 0;
    if (!n_all) {
        writer_format(writer, "no exceptions in the capture; record with --exceptions\n");
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        types = widen_column(types, exception_type(exceptions, routes[i].type).size);
        raised = widen_column(raised, function_width(exceptions, routes[i].raised_in));
    }
    writer_format(writer, "%10s  %-*s  %-*s  handled in\n", "count", (int)types, "type", (int)raised, "raised in");
    for (size_t i = 0; i < n; i++) {
        writer_format(writer, "%10" PRIu64 "  ", routes[i].n);
        if (put_padded_name(writer, exception_type(exceptions, routes[i].type), types) < 0)
            return -1;
        writer_format(writer, "  ");
        if (put_padded_function(writer, exceptions, routes[i].raised_in, raised) < 0)
            return -1;
        writer_format(writer, "  ");
        if (put_padded_function(writer, exceptions, routes[i].handled_in, 0) < 0)
            return -1;
        writer_format(writer, "\n");
    }
    for (size_t i = n; i < n_all; i++)
        others += routes[i].n;
    if (n < n_all)
        writer_format(writer, "and %zu more lines, %" PRIu64 " exceptions together; --json has all\n", n_all - n,
                      others);
    return 0;
}

/* The most frequent first; then in the order of the first of each. */
static int by_frequency(const void *a, const void *b)
{
    const struct route *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

int exceptions_write(struct exceptions *exceptions, bool is_json, uint64_t n_lost, struct writer *writer)
{
    settle_exceptions(exceptions);
    size_t n = 0;
    struct route *routes = malloc((exceptions->routes.n + 1) * sizeof *routes);
    if (!routes || exceptions->sink.is_broken) {
        free(routes);
        return -1;
    }
    for (struct route *route = NULL; (route = pnr_table_next(&exceptions->routes, route));)
        routes[n++] = *route;
    qsort(routes, n, sizeof *routes, by_frequency);
    int result = is_json ? put_json_routes(writer, exceptions, routes, n, n_lost)
                         : put_table_routes(writer, exceptions, routes, n);
    free(routes);
    return result;
}
