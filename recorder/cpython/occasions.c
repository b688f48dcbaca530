#include "threads.h"

#include "occasions.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "captures.h"
#include "recording.h"
#include "../bell.h"
#include "../diagnostics.h"
#include "../incidents.h"

#define AN_EXCEPTION 0                  /* that has ended the program or a thread; no signal has this number */
#define SAVE_WAIT_NS 20000000           /* how often it is checked whether the drain's thread is away */

static struct {
    void (*toggle)(void);
    struct {
        _Atomic bool is_due;            /* set by the handler, cleared by the drain's thread */
        int n_users;                    /* captures that want the signal */
        struct sigaction before;
    } all[NSIG];                        /* signals, and AN_EXCEPTION */
    /* What the drain's thread is to save, and what came of it. */
    bool is_saving;                     /* a thread is in rec_occasions_save */
    const char *_Atomic save_path;      /* what it waits for; NULL: nothing */
    char *save_taken;
    int save_result;
    struct pnr_err save_err;
    struct rec_bell saved;
} occasions;

/* ---- on the drain's thread ---- */

/* Saves a capture, which is written or a region, in a directory next to it: run-snapshot.pnr for run.pnr. */
static void save_next_to(const char *capture, int occasion, const struct rec_region *region)
{
    char path[PATH_MAX], taken[PATH_MAX], text[512];
    struct pnr_err err;
    const char *slash = strrchr(capture, '/'), *dot = strrchr(slash, '.');
    size_t stem = dot && dot > slash + 1 ? (size_t)(dot - capture) : strlen(capture);
    if (snprintf(path, sizeof path, "%.*s-snapshot%s", (int)stem, capture, capture + stem) >= (int)sizeof path)
        return;
    enum rec_snapshot_cause cause = occasion == AN_EXCEPTION ? REC_CAUSE_EXCEPTION : REC_CAUSE_SIGNAL;
    if (rec_session_snapshot(path, cause, false, region, taken, &err) == 0)
        rec_warn("%s: what was recorded up to now", taken);
    else
        rec_warn("%s; no snapshot was made, recording goes on", pnr_err_describe(&err, text, sizeof text));
}

static bool is_saved_on(const struct rec_options *options, int occasion)
{
    return occasion == AN_EXCEPTION ? options->snapshots_exceptions : options->snapshot_signal == occasion;
}

static int call_toggle(void *unused)
{
    (void)unused;
    occasions.toggle();
    PyErr_Clear();
    return 0;
}

/* With the captures' lock. */
static void handle_occasion(int occasion)
{
    const struct rec_capture *written = &rec_captures.written;
    bool is_toggle = written->options.toggle_signal == occasion;
    if (is_saved_on(&written->options, occasion))
        save_next_to(written->path, occasion, NULL);
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older) {
        is_toggle |= region->options.toggle_signal == occasion;
        if (is_saved_on(&region->options, occasion))
            save_next_to(region->path, occasion, &region->region);
    }
    /* Pausing needs the interpreter, which calls the function at its next opportunity. */
    if (occasion != AN_EXCEPTION && is_toggle && rec_state_is(REC_WITH_FILES) && !cpython_is_finalizing())
        Py_AddPendingCall(call_toggle, NULL);
}

void rec_occasions_run(void)
{
    pthread_mutex_lock(&rec_captures.lock);
    for (int i = 0; i < NSIG; i++)
        if (atomic_exchange(&occasions.all[i].is_due, false))
            handle_occasion(i);
    pthread_mutex_unlock(&rec_captures.lock);
}

void rec_occasions_on_wake(void)
{
    rec_occasions_run();
    const char *path = atomic_exchange(&occasions.save_path, NULL);
    if (path) {
        occasions.save_result = rec_session_snapshot(path, REC_CAUSE_PROGRAM, false, NULL, occasions.save_taken,
                                                     &occasions.save_err);
        rec_bell_ring(&occasions.saved);
    }
    rec_incidents_save_due();
}

/* ---- signals and exceptions ---- */

static void make_due(int occasion)
{
    atomic_store(&occasions.all[occasion].is_due, true);
    rec_worker_wake();
}

static void on_exception(void) { make_due(AN_EXCEPTION); }

static void on_signal(int signal)
{
    int saved = errno;
    if (rec_state_is(REC_WITH_FILES))
        make_due(signal);
    errno = saved;
}

/* Installs the handler. The program may use its signals as it likes: a handler of its own replaces this one. */
static void handle_signal(int signal)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };
    sigemptyset(&action.sa_mask);
    if (signal && !occasions.all[signal].n_users++)
        sigaction(signal, &action, &occasions.all[signal].before);
}

static void release_signal(int signal)
{
    struct sigaction now;
    if (signal && !--occasions.all[signal].n_users && sigaction(signal, NULL, &now) == 0 && now.sa_handler == on_signal)
        sigaction(signal, &occasions.all[signal].before, NULL);
}

void rec_occasions_attend(const struct rec_options *options)
{
    handle_signal(options->snapshot_signal);
    handle_signal(options->toggle_signal);
    if (options->snapshots_exceptions)
        rec_threads.on_exception = on_exception;
}

void rec_occasions_release(const struct rec_options *options)
{
    release_signal(options->snapshot_signal);
    release_signal(options->toggle_signal);
}

/* A forked child also has those of its parent's regions. */
void rec_occasions_release_all(void)
{
    for (int i = 1; i < NSIG; i++)
        while (occasions.all[i].n_users)
            release_signal(i);
}

/* ---- snapshots that the program asks for ---- */

static void wait_for_save(void)
{
    while (!rec_bell_wait(&occasions.saved, SAVE_WAIT_NS))
        rec_worker_run_inline();        /* the drain's thread may be away, for a fork */
}

int rec_occasions_save(const char *path, char *taken)
{
    if (occasions.is_saving) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: another thread is saving a snapshot at this moment");
        return -1;
    }
    occasions.is_saving = true;
    occasions.save_taken = taken;
    atomic_store(&occasions.save_path, path);
    rec_worker_wake();
    uint32_t n_taken = rec_lock_suspend();
    Py_BEGIN_ALLOW_THREADS
    wait_for_save();
    Py_END_ALLOW_THREADS
    rec_lock_resume(n_taken);
    occasions.is_saving = false;
    if (occasions.save_result == 0)
        return 0;
    rec_recording_raise(&occasions.save_err);
    return -1;
}

void rec_occasions_forked(void)
{
    for (int i = 0; i < NSIG; i++)
        occasions.all[i].is_due = false;
    occasions.is_saving = false;
    atomic_store(&occasions.save_path, NULL);
    occasions.saved = (struct rec_bell){ 0 };   /* it may have rung for a thread of the parent that was saving */
}

void rec_occasions_init(void (*toggle)(void))
{
    occasions.toggle = toggle;
    occasions.saved = (struct rec_bell){ 0 };
}
