/* The thread is present or away. All changes are made by other threads, one at a time (`presence`); the thread
 * itself only looks at the state, between two pieces of work.
 *
 *                     rec_worker_start
 *                            |                rec_worker_park, rec_worker_suspend
 *                            v                        |                     the thread has ended
 *              +--------> PRESENT -----------------------------> PARKING -----------------------> PARKED
 *              |             |                                                                    |   |
 *              +---------------------- rec_worker_unpark, rec_worker_resume ----------------------+   |
 *                            |                                                                        |
 *                            | rec_worker_stop                                        rec_worker_stop |
 *                            v                                                                        |
 *                        STOPPING <-------------------------------------------------------------------+
 *                            |
 *                            v        the work is done: by the thread, or by rec_worker_stop if it was parked
 *                         STOPPED
 *
 * PARKING   The thread ends at once and leaves the work there is.
 * PARKED    Work waits. Those who need it done do it themselves (drain.c), and on_wake is run inline.
 * STOPPING  The thread ends when there is no work and on_wake is not due.
 * STOPPED   Nothing follows but rec_worker_start. It is the state before the first start, too.
 *
 * on_wake runs once for each time that `is_woken` was set, by the caller that clears it. */
#include "worker.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bell.h"
#include "clock.h"

#define MIN_WAIT_NS 10000000            /* the first wait for work; the next ones are longer */
#define MAX_WAIT_NS 1000000000
#define GONE_TRIES 10000                /* looks for a thread that ends, 50 us or more apart */
#define PARK_NS 10000000                /* how long the thread stays away at least: a program often forks again */
#define STACK_SIZE (256 * 1024)

enum worker_state { WORKER_STOPPED, WORKER_PRESENT, WORKER_PARKING, WORKER_PARKED, WORKER_STOPPING };

static struct {
    struct rec_worker_tasks tasks;
    pthread_mutex_t presence;           /* held for a whole change: until the thread has begun or has ended */
    _Atomic enum worker_state state;    /* changed with `presence` */
    uint64_t parked_ns;                 /* since when, or when it last could not be brought back; with `presence` */
    struct rec_bell bell;               /* rung when the thread has something to look at */
    _Atomic bool is_woken;              /* on_wake is due */
    pthread_t thread;
    _Atomic pid_t id;                   /* the thread's, in the operating system */
} worker;

static void change_state(enum worker_state to)
{
    static const unsigned from[] = {    /* a bit for each state */
        [WORKER_PRESENT] = 1 << WORKER_STOPPED | 1 << WORKER_PARKED,
        [WORKER_PARKING] = 1 << WORKER_PRESENT,
        [WORKER_PARKED] = 1 << WORKER_PARKING,
        [WORKER_STOPPING] = 1 << WORKER_PRESENT | 1 << WORKER_PARKED,
        [WORKER_STOPPED] = 1 << WORKER_STOPPING };
    assert(from[to] >> atomic_load(&worker.state) & 1);
    atomic_store(&worker.state, to);
}

static bool is_parked(void)
{
    return atomic_load_explicit(&worker.state, memory_order_relaxed) == WORKER_PARKED;
}

/* ---- the thread ---- */

static void set_policy(int policy)
{
    if (sched_getscheduler(0) != policy)
        sched_setscheduler(0, policy, &(struct sched_param){ 0 });
}

static uint64_t beat(void)
{
    return worker.tasks.on_beat ? worker.tasks.on_beat() : UINT64_MAX;
}

/* Waits for a ring, and calls on_beat meanwhile. Returns whether the bell has rung. */
static bool wait_with_beats(uint64_t wait_ns)
{
    uint64_t end = rec_clock_monotonic_ns() + wait_ns;
    for (;;) {
        uint64_t beat_ns = beat(), now = rec_clock_monotonic_ns();
        if (now >= end)
            return false;
        if (rec_bell_wait(&worker.bell, beat_ns < end - now ? beat_ns : end - now))
            return true;
    }
}

/* Waits for wait_ns at most, which becomes longer each time when nothing comes. */
static void wait_for_ring(uint64_t *wait_ns)
{
    uint64_t longest_ns = worker.tasks.longest_wait ? worker.tasks.longest_wait() : MAX_WAIT_NS;
    if (*wait_ns > longest_ns)
        *wait_ns = longest_ns;
    if (longest_ns < MIN_WAIT_NS || (worker.tasks.keeps_time && worker.tasks.keeps_time()))
        set_policy(SCHED_OTHER);
    if (!wait_with_beats(*wait_ns) && *wait_ns < MAX_WAIT_NS)
        *wait_ns = *wait_ns * 2 < MAX_WAIT_NS ? *wait_ns * 2 : MAX_WAIT_NS;
}

/* Works until the state says that the thread ends. */
static void work_until_end(void)
{
    uint64_t wait_ns = MIN_WAIT_NS;
    for (;;) {
        enum worker_state now = atomic_load(&worker.state);
        if (now == WORKER_PARKING)
            return;
        if (atomic_exchange(&worker.is_woken, false)) {
            worker.tasks.on_wake();
        } else if (beat(), !worker.tasks.work()) {
            if (now == WORKER_STOPPING)
                return;
            wait_for_ring(&wait_ns);
            worker.tasks.on_idle();
        }
    }
}

static void *run_thread(void *unused)
{
    (void)unused;
    /* It gets its share of the processor, but does not preempt a thread that runs at the moment when it wakes. */
    set_policy(SCHED_BATCH);
    atomic_store(&worker.id, (pid_t)syscall(SYS_gettid));
    work_until_end();
    if (worker.tasks.on_leave)
        worker.tasks.on_leave();
    return NULL;
}

/* With `presence`. Starts the thread with all signals blocked: they are for the program's own threads. Returns 0, or
 * an errno and the state is what it was. */
static int bring_back(void)
{
    sigset_t all, before;
    pthread_attr_t attr;
    enum worker_state was = atomic_load(&worker.state);
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    change_state(WORKER_PRESENT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&worker.thread, &attr, run_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (code == 0)
        pthread_setname_np(worker.thread, "panopticon");
    else
        atomic_store(&worker.state, was);
    return code;
}

/* Returns when the kernel counts the thread no more, which it does for some microseconds after a join; much longer where
 * many processes want the processor. */
static void wait_until_gone(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld", (long)atomic_load(&worker.id));
    for (int i = 0; i < GONE_TRIES && access(path, F_OK) == 0; i++)
        usleep(50);
}

/* With `presence`. Another thread may fork before the worker has started: then there is nothing to do. */
static void send_away(void)
{
    if (atomic_load(&worker.state) == WORKER_PRESENT) {
        change_state(WORKER_PARKING);
        rec_bell_ring(&worker.bell);
        pthread_join(worker.thread, NULL);
        wait_until_gone();
        change_state(WORKER_PARKED);
    }
    worker.parked_ns = rec_clock_monotonic_ns();
}

/* ---- interface ---- */

int rec_worker_start(const struct rec_worker_tasks *tasks)
{
    /* The locks are made anew: in a forked child they are in whatever state the fork found them. */
    memset(&worker, 0, sizeof worker);
    worker.tasks = *tasks;
    pthread_mutex_init(&worker.presence, NULL);
    return bring_back();
}

void rec_worker_post(void)
{
    rec_bell_ring(&worker.bell);
}

void rec_worker_wake(void)
{
    atomic_store(&worker.is_woken, true);
    rec_bell_ring(&worker.bell);
}

bool rec_worker_is_awaited(void)
{
    return atomic_load(&worker.state) != WORKER_PRESENT || atomic_load(&worker.is_woken);
}

void rec_worker_suspend(void)
{
    pthread_mutex_lock(&worker.presence);
    send_away();
}

void rec_worker_park(void)
{
    rec_worker_suspend();
    pthread_mutex_unlock(&worker.presence);
}

/* Brings the thread back if it was parked at least so long ago. Returns whether it is there. */
static bool unpark_after(uint64_t parked_ns)
{
    if (!is_parked())
        return true;
    pthread_mutex_lock(&worker.presence);
    uint64_t now = rec_clock_monotonic_ns();
    if (is_parked() && now - worker.parked_ns >= parked_ns && bring_back() != 0)
        worker.parked_ns = now;         /* no more threads can be made: not to be tried again soon */
    pthread_mutex_unlock(&worker.presence);
    return !is_parked();
}

bool rec_worker_unpark(void) { return unpark_after(PARK_NS); }
void rec_worker_unpark_now(void) { unpark_after(0); }

void rec_worker_run_inline(void)
{
    pthread_mutex_lock(&worker.presence);
    if (is_parked() && atomic_exchange(&worker.is_woken, false))
        worker.tasks.on_wake();
    pthread_mutex_unlock(&worker.presence);
}

void rec_worker_resume(void)
{
    bring_back();
    pthread_mutex_unlock(&worker.presence);
}

void rec_worker_stop(void)
{
    pthread_mutex_lock(&worker.presence);
    bool was_parked = is_parked();
    change_state(WORKER_STOPPING);
    if (was_parked) {
        work_until_end();
    } else {
        rec_bell_ring(&worker.bell);
        pthread_join(worker.thread, NULL);
        wait_until_gone();
    }
    change_state(WORKER_STOPPED);
    pthread_mutex_unlock(&worker.presence);
}

void rec_worker_forked(void)
{
    memset(&worker, 0, sizeof worker);
}
