#include "threads.h"

#include "commands.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recording.h"
#include "remarks.h"
#include "../budget.h"
#include "../control.h"
#include "../worker.h"

#define VERSION "1"                     /* of the protocol: the first field of a request */
#define N_WORDS 2                       /* before the arguments: version and command */

/* The order that needs the GIL. Its fields belong to the program's thread while it waits, else to the one that answers. */
enum order_state { NO_ORDER, ORDER_WAITS, ORDER_DONE };

static struct {
    _Atomic int state;                  /* enum order_state */
    bool is_announced;                  /* the pending call is there */
    uint64_t id;                        /* of the connection */
    uint64_t since_ns;                  /* it waits: CLOCK_MONOTONIC */
    const struct command *command;
    char *request;                      /* owned: the whole message */
    const char *fault;                  /* why it was not carried out; NULL: it was */
    struct rec_limits limits;           /* that were announced, for its answer to set */
} order;

/* The rules that were added to the filter, in their order: for the status. */
static struct {
    char *text;                         /* owned: "exclude json.*" */
} rules[64];
static size_t n_rules;

struct command {
    const char *name;
    size_t min_arguments, max_arguments;
    /* With the GIL; or NULL. Returns why it cannot be done, or NULL. */
    const char *(*carry_out)(const char *request);
    /* After it, on the drain's thread. */
    void (*answer)(const char *request, struct rec_reply *reply);
};

/* ---- answers ---- */

static void refuse(struct rec_reply *reply, const char *why)
{
    rec_reply_add_pair(reply, "error", why);
}

static void refuse_for(struct rec_reply *reply, const struct pnr_err *err)
{
    char text[512];
    refuse(reply, pnr_err_describe(err, text, sizeof text));
}

static void add_thread(void *reply, uint32_t thread, uint64_t n_events)
{
    char text[40];
    snprintf(text, sizeof text, "%lu %llu", (unsigned long)thread, (unsigned long long)n_events);
    rec_reply_add_pair(reply, "thread", text);
}

static void add_muted(void *reply, uint32_t function)
{
    rec_reply_add_number(reply, "muted", function);
}

static void answer_status(const char *request, struct rec_reply *reply)
{
    struct rec_drain_status status;
    (void)request;
    rec_reply_add(reply, "ok");
    rec_reply_add_number(reply, "pid", (uint64_t)getpid());
    rec_reply_add_pair(reply, "state", rec_state_name());
    rec_reply_add_number(reply, "monotonic_ns", rec_clock_monotonic_ns());
    rec_drain_look(&status, add_thread, reply);
    rec_reply_add_number(reply, "events", status.n_events);
    rec_reply_add_number(reply, "lost", rec_buffer_count().n_lost);
    rec_reply_add_number(reply, "bytes", status.n_bytes);
    rec_reply_add_number(reply, "chunks", (uint64_t)status.n_chunks);
    rec_reply_add_number(reply, "chunks_free", (uint64_t)status.n_free);
    rec_reply_add_number(reply, "chunks_queued", (uint64_t)status.n_queued);
    rec_reply_add_number(reply, "last_ns", status.limits.last_ns);
    rec_reply_add_number(reply, "max_size", status.limits.max_size);
    for (size_t i = 0; i < n_rules; i++)
        rec_reply_add_pair(reply, "filter", rules[i].text);
    rec_budget_each_muted(add_muted, reply);
}

/* Arguments: a path; and "join" to add it to the capture that is there. */
static void answer_snapshot(const char *request, struct rec_reply *reply)
{
    static char taken[PATH_MAX];        /* of one thread at a time */
    struct pnr_err err;
    const char *path = rec_message_field(request, N_WORDS), *how = rec_message_field(request, N_WORDS + 1);
    if (path[0] != '/' || strlen(path) >= sizeof taken || (how && strcmp(how, "join") != 0)) {
        refuse(reply, "a snapshot needs an absolute path, and at most 'join' after it");
    } else if (rec_session_snapshot(path, REC_CAUSE_CTL, how != NULL, NULL, taken, &err) != 0) {
        refuse_for(reply, &err);
    } else {
        rec_reply_add(reply, "ok");
        rec_reply_add_pair(reply, "path", taken);
    }
}

/* Arguments: "last" and ns, or "max-size" and bytes, or both. 0: no limit. What is not named stays as it is. Returns why
 * they are not valid, or NULL. */
static const char *read_limits(const char *request, struct rec_limits *limits)
{
    const char *name;
    for (size_t i = N_WORDS; (name = rec_message_field(request, i)); i += 2) {
        const char *value = rec_message_field(request, i + 1);
        bool is_last = strcmp(name, "last") == 0;
        if (!value || (!is_last && strcmp(name, "max-size") != 0) ||
            !rec_message_number(value, is_last ? &limits->last_ns : &limits->max_size))
            return "limits are 'last' and a number of ns, or 'max-size' and a number of bytes";
    }
    return limits->max_size && limits->max_size < REC_MIN_SIZE ? "a capture takes at least 16M" : NULL;
}

/* The capture says that data may be evicted from it before that happens. */
static const char *order_limits(const char *request)
{
    order.limits = rec_drain_limits();
    const char *fault = read_limits(request, &order.limits);
    if (!fault)
        rec_recording_announce_limits(&order.limits);
    return fault;
}

static void answer_limits(const char *request, struct rec_reply *reply)
{
    struct pnr_err err;
    (void)request;
    if (rec_recording_set_limits(&order.limits, &err) != 0)
        refuse_for(reply, &err);
    else
        rec_reply_add(reply, "ok");
}

/* ---- orders ---- */

/* Returns why an order failed by the exception that is set, which it clears; NULL when it did not. */
static const char *fault_of(int result)
{
    PyErr_Clear();
    return result == 0 ? NULL : "the process is not being recorded, or has no memory left";
}

static const char *order_pause(const char *request) { (void)request; return fault_of(rec_recording_pause()); }
static const char *order_resume(const char *request) { (void)request; return fault_of(rec_recording_resume()); }

static const char *order_stop(const char *request)
{
    (void)request;
    rec_recording_stop_early();
    return NULL;
}

static const char *order_exclude(const char *request)
{
    return fault_of(rec_recording_override_filter(PNR_FILTER_EXCLUDE, rec_message_field(request, N_WORDS)));
}

static const char *order_include(const char *request)
{
    return fault_of(rec_recording_override_filter(PNR_FILTER_INCLUDE, rec_message_field(request, N_WORDS)));
}

/* Makes an instant in the thread that carries the order out. Its value says how long the order has waited for that. */
static const char *order_instant(const char *request)
{
    const char *text = rec_message_field(request, N_WORDS);
    PyObject *name = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");      /* owned, as key, value */
    PyObject *key = PyUnicode_FromString("waited_ns");
    PyObject *value = PyLong_FromUnsignedLongLong(rec_clock_monotonic_ns() - order.since_ns);
    bool is_made = name && key && value && rec_remarks_add_instant(name, &value, &key, 1);
    PyErr_Clear();
    Py_XDECREF(name);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return is_made ? NULL : "nothing is recorded at this moment";
}

/* Keeps a rule for the status. One of the same glob is void from now on; of very many the first is forgotten. */
static void keep_rule(const char *name, const char *glob)
{
    size_t size = strlen(name) + strlen(glob) + 2, n = 0;
    char *text = malloc(size);
    for (size_t i = 0; i < n_rules; i++) {
        bool is_too_many = n_rules - i + n > sizeof rules / sizeof *rules - 1;
        if (strcmp(strchr(rules[i].text, ' ') + 1, glob) == 0 || is_too_many)
            free(rules[i].text);
        else
            rules[n++] = rules[i];
    }
    n_rules = n;
    if (text) {
        snprintf(text, size, "%s %s", name, glob);
        rules[n_rules++].text = text;
    }
}

static void answer_done(const char *request, struct rec_reply *reply)
{
    (void)request;
    rec_reply_add(reply, "ok");
}

static void answer_filter(const char *request, struct rec_reply *reply)
{
    keep_rule(rec_message_field(request, 1), rec_message_field(request, N_WORDS));
    rec_reply_add(reply, "ok");
}

static const struct command commands[] = {
    { "status", 0, 0, NULL, answer_status },
    { "snapshot", 1, 2, NULL, answer_snapshot },
    { "limits", 2, 4, order_limits, answer_limits },
    { "pause", 0, 0, order_pause, answer_done },
    { "resume", 0, 0, order_resume, answer_done },
    { "stop", 0, 0, order_stop, answer_done },
    { "exclude", 1, 1, order_exclude, answer_filter },
    { "include", 1, 1, order_include, answer_filter },
    { "mark", 1, 1, order_instant, answer_done },
};

/* Called by the interpreter between two instructions. */
static int carry_order_out(void *unused)
{
    REC_LOCK_BLOCK();
    PyObject *type, *value, *traceback;
    (void)unused;
    rec_threads_notice_fork();
    if (atomic_load(&order.state) != ORDER_WAITS || PyThreadState_Get()->interp != rec_threads.interp)
        return 0;
    PyErr_Fetch(&type, &value, &traceback);
    order.fault = order.command->carry_out(order.request);
    PyErr_Restore(type, value, traceback);
    atomic_store(&order.state, ORDER_DONE);
    if (rec_state_is(REC_WITH_FILES))
        rec_worker_post();
    return 0;
}

static void clear_order(void)
{
    free(order.request);
    order.request = NULL;
    order.is_announced = false;
    order.command = NULL;
    order.id = 0;
    atomic_store(&order.state, NO_ORDER);
}

/* Begins an order. The connection may be gone when it is carried out. Returns false when out of memory. */
static bool begin_order(uint64_t id, const struct command *command, const char *request)
{
    size_t size = 1;
    for (size_t i = 0; rec_message_field(request, i); i++)
        size += strlen(rec_message_field(request, i)) + 1;
    if (!(order.request = malloc(size)))
        return false;
    memcpy(order.request, request, size);
    order.id = id;
    order.since_ns = rec_clock_monotonic_ns();
    order.command = command;
    order.fault = NULL;
    atomic_store(&order.state, ORDER_WAITS);
    return true;
}

static void end_order(struct rec_reply *reply)
{
    if (order.fault)
        refuse(reply, order.fault);
    else
        order.command->answer(order.request, reply);
    clear_order();
}

/* Ends an order of which the client has gone. */
static void end_abandoned_order(void)
{
    struct rec_reply unread = { 0 };
    end_order(&unread);
    rec_reply_clear(&unread);
}

/* Answers when the order is carried out. Returns false until then. */
static bool follow_order(uint64_t id, const struct command *command, const char *request, struct rec_reply *reply)
{
    if (atomic_load(&order.state) == ORDER_DONE && order.id != id && !rec_control_is_connected(order.id))
        end_abandoned_order();
    if (atomic_load(&order.state) == NO_ORDER && !begin_order(id, command, request)) {
        refuse(reply, "out of memory");
        return true;
    }
    if (atomic_load(&order.state) == ORDER_WAITS && !order.is_announced)
        order.is_announced = cpython_add_pending_call(rec_threads.interp, carry_order_out) == 0;
    if (order.id != id || atomic_load(&order.state) != ORDER_DONE)
        return false;
    end_order(reply);
    return true;
}

/* ---- interface ---- */

static size_t count_fields(const char *request)
{
    size_t n = 0;
    while (rec_message_field(request, n))
        n++;
    return n;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The recording has ended, by an order or otherwise, and the socket goes. A stop is done then. */
static void answer_at_end(const struct command *command, struct rec_reply *reply)
{
    if (command->carry_out == order_stop)
        rec_reply_add(reply, "ok");
    else
        refuse(reply, "the recording has ended");
}

bool rec_commands_answer(uint64_t id, const char *request, struct rec_reply *reply)
{
    size_t n = count_fields(request);
    if (n < N_WORDS || strcmp(rec_message_field(request, 0), VERSION) != 0) {
        refuse(reply, "this is no request that the recorder of this program understands");
        return true;
    }
    const struct command *command = find_command(rec_message_field(request, 1));
    if (!command || n - N_WORDS < command->min_arguments || n - N_WORDS > command->max_arguments) {
        refuse(reply, command ? "the command has other arguments" : "there is no such command");
        return true;
    }
    if (!rec_state_is(REC_WITH_FILES) || cpython_is_finalizing()) {
        answer_at_end(command, reply);
        return true;
    }
    if (command->carry_out)
        return follow_order(id, command, request, reply);
    command->answer(request, reply);
    return true;
}

void rec_commands_start(void)
{
    clear_order();
    while (n_rules)
        free(rules[--n_rules].text);
}

void rec_commands_forked(void)
{
    clear_order();
}
