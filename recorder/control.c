/* A connection carries one request and its answer:
 *
 *     free --accept--> receiving --the request is whole--> answering --there is an answer--> sending --sent--> free
 *
 * In each state the other side may close it, and it becomes free. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "diagnostics.h"
#include "file.h"

#define NEW_SOCKET "control.new"        /* its name until it listens */
#define MAX_REQUEST 16384               /* bytes */
#define N_CONNECTIONS 32
#define BUSY_NS 2000000                 /* how often connections are looked at */
#define ALERT_NS 10000000               /* how often the socket is, when somebody was there lately */
#define CALM_NS 50000000                /* ... and how often at most when nobody was */
#define ALERT_FOR_NS UINT64_C(3000000000)
#define REOPEN_NS UINT64_C(10000000000) /* how often it is tried to make a new socket */
#define RECEIVED_NS UINT64_C(10000000000)       /* how long a request may take */
#define SENT_NS UINT64_C(1000000000)    /* how long an answer is kept for a client that does not read it */

enum connection_state { FREE, RECEIVING, ANSWERING, SENDING };

struct connection {
    enum connection_state state;
    uint64_t id;
    int fd;
    struct stat was;                    /* the program may close all descriptors, and open others with their numbers */
    uint64_t since;                     /* monotonic ns, of the state */
    char *request;                      /* owned; MAX_REQUEST bytes */
    size_t size;                        /* of it */
    struct rec_reply reply;
    size_t sent;
};

static struct {
    pthread_mutex_t lock;
    _Atomic bool is_on;
    char process_path[4096];
    rec_control_answer answer;
    int fd;                             /* the socket, or -1 */
    struct stat was;
    uint64_t opened_ns;                 /* when that was last tried */
    uint64_t active_ns;                 /* when somebody was last connected; 0: never */
    uint64_t tended_ns;                 /* when the socket was last looked at */
    uint64_t last_id;
    struct connection connections[N_CONNECTIONS];
} control = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

/* ---- the socket ---- */

/* The path of an address has 107 bytes, and the capture's may be longer: it goes by an open descriptor of the directory.
 * The socket gets its name when it listens, as nobody who finds it is to be refused; that of a process that had this
 * directory before goes then, if there is one. Returns the socket, or -1. */
static int bind_below(int directory)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" NEW_SOCKET, directory);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    unlinkat(directory, NEW_SOCKET, 0);
    /* The directory has the mode 0700, so that nobody comes in between. */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        fchmodat(directory, NEW_SOCKET, 0600, 0) == 0 && listen(fd, 4 * N_CONNECTIONS) == 0 &&
        renameat(directory, NEW_SOCKET, directory, REC_CONTROL_SOCKET) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Makes the socket, as far as that can be done. */
static void open_socket(void)
{
    int directory = open(control.process_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    control.opened_ns = rec_clock_monotonic_ns();
    control.fd = directory < 0 ? -1 : rec_file_move_up(bind_below(directory));
    if (control.fd < 0 || fstat(control.fd, &control.was) != 0)
        rec_debug("no control socket: %s: %s", control.process_path, strerror(errno));
    if (directory >= 0)
        close(directory);
}

static void close_if_still(int fd, const struct stat *was)
{
    if (rec_file_is_still(fd, was))
        close(fd);
}

/* ---- connections ---- */

static void close_connection(struct connection *c)
{
    close_if_still(c->fd, &c->was);
    free(c->request);
    rec_reply_clear(&c->reply);
    *c = (struct connection){ .fd = -1 };
}

static void enter_connection_state(struct connection *c, enum connection_state state)
{
    c->state = state;
    c->since = rec_clock_monotonic_ns();
}

/* Returns a free connection: if there is no other, that which has waited longest for its client. Requests that wait
 * for their answer are left alone. */
static struct connection *take_connection(void)
{
    struct connection *oldest = NULL;
    for (int i = 0; i < N_CONNECTIONS; i++) {
        struct connection *c = &control.connections[i];
        if (c->state == FREE)
            return c;
        if (c->state != ANSWERING && (!oldest || c->since < oldest->since))
            oldest = c;
    }
    if (oldest)
        close_connection(oldest);
    return oldest;
}

/* The owner of the process, and root. */
static bool is_allowed(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

/* Accepts one connection. Returns false when nobody waits, or there is no place. */
static bool accept_one(void)
{
    int fd = rec_file_move_up(accept4(control.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd < 0)
        return false;
    struct connection *c = is_allowed(fd) ? take_connection() : NULL;
    char *request = c ? malloc(MAX_REQUEST) : NULL;
    if (!request || fstat(fd, &c->was) != 0) {
        free(request);
        close(fd);
        return true;
    }
    c->id = ++control.last_id;
    c->fd = fd;
    c->request = request;
    enter_connection_state(c, RECEIVING);
    return true;
}

/* Receives what there is. Returns false when the connection is of no more use. */
static bool receive(struct connection *c)
{
    if (!rec_file_is_still(c->fd, &c->was))
        return false;
    ssize_t n = recv(c->fd, c->request + c->size, MAX_REQUEST - c->size, MSG_DONTWAIT);
    if (n < 0)
        return (errno == EAGAIN || errno == EINTR) && rec_clock_monotonic_ns() - c->since < RECEIVED_NS;
    c->size += (size_t)n;
    if (rec_message_find_end(c->request, c->size))
        enter_connection_state(c, ANSWERING);
    return n > 0 && (c->state == ANSWERING || c->size < MAX_REQUEST);
}

/* Sends what the client takes. Returns false when that was the last. */
static bool send_reply(struct connection *c)
{
    if (!rec_file_is_still(c->fd, &c->was))
        return false;
    ssize_t n = send(c->fd, c->reply.bytes + c->sent, c->reply.size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    c->sent += n > 0 ? (size_t)n : 0;
    return c->sent < c->reply.size && rec_clock_monotonic_ns() - c->since < SENT_NS;
}

/* True when the client has closed the connection before its answer: its request is forgotten, unless it is an order that
 * is under way. One that has only ended its own side waits for the answer. */
static bool has_gone(const struct connection *c)
{
    struct pollfd at = { .fd = c->fd };
    return !rec_file_is_still(c->fd, &c->was) || poll(&at, 1, 0) > 0;
}

static void serve_connection(struct connection *c)
{
    if (c->state == RECEIVING && !receive(c))
        close_connection(c);
    if (c->state == ANSWERING && has_gone(c))
        close_connection(c);
    if (c->state == ANSWERING && control.answer(c->id, c->request, &c->reply)) {
        rec_reply_end(&c->reply);
        enter_connection_state(c, SENDING);
    }
    if (c->state == SENDING && !send_reply(c))
        close_connection(c);
}

static void serve_all(void)
{
    for (int i = 0; i < N_CONNECTIONS; i++)
        if (control.connections[i].state != FREE)
            serve_connection(&control.connections[i]);
}

static bool is_anybody_connected(void)
{
    for (int i = 0; i < N_CONNECTIONS; i++)
        if (control.connections[i].state != FREE)
            return true;
    return false;
}

/* True when somebody was connected lately, so that the next one is likely to come soon. */
static bool is_alert(uint64_t now)
{
    return control.active_ns && now - control.active_ns < ALERT_FOR_NS;
}

/* ---- interface ---- */

/* With the lock. */
static void close_all(void)
{
    for (int i = 0; i < N_CONNECTIONS; i++)
        if (control.connections[i].state != FREE)
            close_connection(&control.connections[i]);
    close_if_still(control.fd, &control.was);
    control.fd = -1;
}

static void remove_socket(void)
{
    char path[sizeof control.process_path + sizeof REC_CONTROL_SOCKET];
    snprintf(path, sizeof path, "%s/" REC_CONTROL_SOCKET, control.process_path);
    unlink(path);
}

void rec_control_start(const char *process_path, rec_control_answer answer)
{
    pthread_mutex_lock(&control.lock);
    bool moves = atomic_load(&control.is_on);
    if (moves) {
        close_if_still(control.fd, &control.was);
        remove_socket();
    }
    snprintf(control.process_path, sizeof control.process_path, "%s", process_path);
    control.answer = answer;
    open_socket();
    atomic_store(&control.is_on, true);
    pthread_mutex_unlock(&control.lock);
}

/* Accepts all that wait. Makes the socket anew if the program has closed it. */
static void tend_socket(uint64_t now)
{
    if (!rec_file_is_still(control.fd, &control.was)) {
        control.fd = -1;
        if (now - control.opened_ns < REOPEN_NS)
            return;
        open_socket();
    }
    for (int i = 0; i < N_CONNECTIONS && control.fd >= 0 && accept_one(); i++)
        control.active_ns = now;
}

uint64_t rec_control_tend(void)
{
    uint64_t wait_ns = UINT64_MAX, now = rec_clock_monotonic_ns();
    if (!atomic_load(&control.is_on))
        return wait_ns;
    pthread_mutex_lock(&control.lock);
    if (is_alert(now) || now - control.tended_ns >= CALM_NS) {
        control.tended_ns = now;
        tend_socket(now);
        serve_all();
    }
    if (is_anybody_connected()) {
        control.active_ns = now;
        wait_ns = BUSY_NS;
    } else if (is_alert(now)) {
        wait_ns = ALERT_NS;
    }
    pthread_mutex_unlock(&control.lock);
    return wait_ns;
}

bool rec_control_is_connected(uint64_t id)
{
    for (int i = 0; i < N_CONNECTIONS; i++)
        if (control.connections[i].state != FREE && control.connections[i].id == id)
            return !has_gone(&control.connections[i]);
    return false;
}

void rec_control_stop(void)
{
    if (!atomic_load(&control.is_on))
        return;
    pthread_mutex_lock(&control.lock);
    tend_socket(rec_clock_monotonic_ns());
    serve_all();
    close_all();
    remove_socket();
    atomic_store(&control.is_on, false);
    pthread_mutex_unlock(&control.lock);
}

void rec_control_forked(void)
{
    pthread_mutex_init(&control.lock, NULL);            /* the fork found it in whatever state */
    if (atomic_load(&control.is_on))
        close_all();
    atomic_store(&control.is_on, false);
}
