/* recorder/control.h, control_message.h: what is a message, and that no client keeps another one waiting. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorder/control.h"

/* ---- messages ---- */

Test(control_message, ends_with_an_empty_field)
{
    static const char whole[] = "1\0status\0\0more";
    cr_expect_eq(rec_message_find_end(whole, sizeof whole), 10);
    for (size_t size = 0; size < 10; size++)
        cr_expect_eq(rec_message_find_end(whole, size), 0, "%zu bytes", size);
    cr_expect_eq(rec_message_find_end("\0", 1), 1);
    cr_expect_eq(rec_message_find_end("\0x", 2), 1);
}

Test(control_message, has_fields)
{
    static const char message[] = "1\0exclude\0a b\n*\0";
    cr_expect_str_eq(rec_message_field(message, 0), "1");
    cr_expect_str_eq(rec_message_field(message, 1), "exclude");
    cr_expect_str_eq(rec_message_field(message, 2), "a b\n*");
    cr_expect_null(rec_message_field(message, 3));
    cr_expect_null(rec_message_field(message, 1000));
    cr_expect_null(rec_message_field("", 0));
}

Test(control_message, reads_numbers)
{
    static const char *const wrong[] = { "-1", "+1", " 1", "1 ", "0x1", "1.5", "18446744073709551616", "x", "" };
    uint64_t n;
    cr_expect(rec_message_number("0", &n) && n == 0);
    cr_expect(rec_message_number("0018", &n) && n == 18);
    cr_expect(rec_message_number("18446744073709551615", &n) && n == UINT64_MAX);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_expect_not(rec_message_number(wrong[i], &n), "%s", wrong[i]);
}

Test(control_message, is_written_as_it_is_read)
{
    struct rec_reply reply = { 0 };
    rec_reply_add(&reply, "ok");
    rec_reply_add_pair(&reply, "empty", "");
    rec_reply_add_number(&reply, "n", UINT64_MAX);
    rec_reply_end(&reply);
    cr_expect_eq(rec_message_find_end(reply.bytes, reply.size), reply.size);
    cr_expect_str_eq(rec_message_field(reply.bytes, 2), "-");
    cr_expect_str_eq(rec_message_field(reply.bytes, 4), "18446744073709551615");
    cr_expect_null(rec_message_field(reply.bytes, 5));
    rec_reply_clear(&reply);
}

/* ---- the socket ---- */

static char directory[] = "/tmp/panopticon-control-XXXXXX";
static char path[64];
static uint64_t waiting_id;             /* of a request "wait", which gets no answer */
static bool is_waiting_there;

static bool answer(uint64_t id, const char *request, struct rec_reply *reply)
{
    const char *first = rec_message_field(request, 0);
    is_waiting_there = waiting_id && rec_control_is_connected(waiting_id);
    if (first && strcmp(first, "wait") == 0) {
        waiting_id = id;
        return false;
    }
    if (first && strcmp(first, "much") == 0)
        for (int i = 0; i < 1000000; i++)
            rec_reply_add(reply, "much");
    rec_reply_add(reply, first ? first : "nothing");
    return true;
}

static void begin(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/control", directory);
    rec_control_start(directory, answer);
}

static void end(void)
{
    rec_control_stop();
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_eq(rmdir(directory), 0);
}

TestSuite(control, .init = begin, .fini = end);

static int connect_client(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(address.sun_path, path, sizeof path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int send_request(const char *bytes, size_t size)
{
    int fd = connect_client();
    cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
    return fd;
}

static void tend(int n)
{
    while (n--)
        rec_control_tend();
}

/* Returns how many bytes have been answered before the connection is closed; -1 when it is open still. */
static ssize_t receive_answer(int fd, char *bytes, size_t size)
{
    size_t n = 0;
    for (;;) {
        ssize_t more = recv(fd, bytes + n, size - n, MSG_DONTWAIT);
        if (more <= 0)
            return more == 0 ? (ssize_t)n : -1;
        n += (size_t)more;
    }
}

static void expect_served(void)
{
    char bytes[100];
    int fd = send_request("x y\0\0", 5);
    for (int i = 0; i < 1000 && rec_control_tend() == UINT64_MAX; i++)
        usleep(1000);                   /* the socket is looked at a while after the last time */
    tend(2);
    cr_expect_eq(receive_answer(fd, bytes, sizeof bytes), 5);
    cr_expect_eq(memcmp(bytes, "x y\0\0", 5), 0);
    close(fd);
}

Test(control, answers_its_owner)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600);
    cr_expect_eq(rec_control_tend(), UINT64_MAX);
    expect_served();
    cr_expect_neq(rec_control_tend(), UINT64_MAX);      /* the next one is served soon */
}

Test(control, takes_a_request_in_parts)
{
    char bytes[10];
    int fd = connect_client();
    for (int i = 0; i < 5; i++) {
        tend(1);
        cr_expect_eq(receive_answer(fd, bytes, sizeof bytes), -1);
        cr_assert_eq(write(fd, "x y\0\0" + i, 1), 1);
    }
    tend(2);
    cr_expect_eq(receive_answer(fd, bytes, sizeof bytes), 5);
    close(fd);
}

Test(control, closes_what_is_no_request)
{
    static char much[40000];
    char bytes[10];
    memset(much, 'x', sizeof much);
    int fd = send_request(much, sizeof much);
    int half = send_request("x", 1);
    shutdown(half, SHUT_WR);
    tend(3);
    cr_expect_eq(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0, 0);
    cr_expect_eq(receive_answer(half, bytes, sizeof bytes), 0);
    close(fd);
    close(half);
    expect_served();
}

/* More clients that send nothing, half a request, or do not read their answer, than there are connections. */
Test(control, serves_others_while_clients_stall)
{
    int fds[60];
    for (int i = 0; i < 60; i++)
        fds[i] = i % 3 == 0 ? connect_client() : i % 3 == 1 ? send_request("x", 1) : send_request("much\0\0", 6);
    tend(5);
    expect_served();
    for (int i = 0; i < 60; i++)
        close(fds[i]);
    tend(2);
    expect_served();
}

Test(control, knows_whose_answer_is_waited_for)
{
    int fd = send_request("wait\0\0", 6);
    tend(3);
    cr_assert_neq(waiting_id, 0);
    expect_served();
    cr_expect(is_waiting_there);
    close(fd);
    expect_served();
    cr_expect_not(is_waiting_there);
}

/* Closes all descriptors, and opens others with the same numbers. Returns whether nothing is done with those. */
static bool leaves_others_alone(void)
{
    int fds[2];
    char byte;
    for (int fd = 3; fd < 10000; fd++)
        close(fd);
    if (pipe(fds) != 0)
        return false;
    for (int fd = 5; fd < 5000; fd++)
        dup2(fds[1], fd);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    tend(3);
    rec_control_stop();
    for (int fd = 4; fd < 5000; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return false;
    return read(fds[0], &byte, 1) < 0;
}

/* In a process of its own, as the test's descriptors are needed. */
Test(control, leaves_descriptors_of_the_program_alone)
{
    int status;
    int fd = send_request("wait\0\0", 6);
    tend(2);
    pid_t pid = fork();
    if (pid == 0)
        _exit(leaves_others_alone() ? 0 : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    close(fd);
    rec_control_start(directory, answer);       /* the other process has removed the socket */
}

/* The socket is its parent's. */
Test(control, is_forgotten_in_a_child)
{
    int status;
    int fd = send_request("wait\0\0", 6);
    tend(2);
    pid_t pid = fork();
    if (pid == 0) {
        rec_control_forked();
        tend(2);
        rec_control_stop();
        _exit(access(path, F_OK) == 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    close(fd);
    expect_served();
}

Test(control, moves_to_another_directory)
{
    char other[] = "/tmp/panopticon-control-XXXXXX", before[sizeof path];
    cr_assert_not_null(mkdtemp(other));
    strcpy(before, path);
    rec_control_start(other, answer);
    cr_expect_neq(access(before, F_OK), 0);
    snprintf(path, sizeof path, "%s/control", other);
    expect_served();
    rec_control_stop();
    cr_expect_eq(rmdir(other), 0);
}

/* The recording goes on where there can be no socket. */
Test(control, does_without_a_socket)
{
    rec_control_start("/nonexistent", answer);
    cr_expect_eq(rec_control_tend(), UINT64_MAX);
    rec_control_stop();
}
