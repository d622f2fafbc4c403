/* Clients that send descriptors along, on a kernel that cannot refuse them (before Linux 6.16): the
 * last close of such a one takes LINGER_S, and nobody must wait for that. */
#include "../http_world.h"
#include <sys/syscall.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif
#define LINGER_S 60

/* In front of the C library: this kernel does not know it. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && name == SO_PASSRIGHTS) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static int nobody_reads = -1;
static int64_t begun_ms;

/* A socket whose last close lasts: not all that was written can be delivered. */
static int slow_to_close(void)
{
    static const char data[65536];
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
    socklen_t len = sizeof(addr);

    if (nobody_reads < 0) {
        nobody_reads = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(nobody_reads, (struct sockaddr *)&addr, sizeof(addr)), 0);
        assert_int_equal(listen(nobody_reads, 50), 0);
    }
    assert_int_equal(getsockname(nobody_reads, (struct sockaddr *)&addr, &len), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    while (send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    return fd;
}

/* Sends `text` with such a one, which is then only on its way. */
static void say_with_descriptor(int fd, const char *text, int flags)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec bytes = {(char *)(uintptr_t)text, strlen(text)};
    struct msghdr msg = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    CLEANUP(closep) int slow = slow_to_close();

    memcpy(CMSG_DATA(&control.head), &slow, sizeof(int));
    assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL | flags), strlen(text));
}

static void expect_service(void)
{
    ANSWER;

    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
}

static void who_brings_one_is_let_go(void **state)
{
    ANSWER;
    CLEANUP(closep) int fd = dial();

    (void)state;
    say_with_descriptor(fd, "GET /v1/things/7 HTTP/1.1\r\nHost: x\r\n\r\n", 0);
    hear(fd, &got, NULL);
    assert_has(&got, "400 Bad Request");
    assert_has(&got, "descriptors are not taken");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
    expect_service();
}

static void in_a_body_too(void **state)
{
    ANSWER;
    CLEANUP(closep) int fd = dial();

    (void)state;
    say(fd, "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123");
    PUMP_UNTIL(http_server_connections(w.server) == 1);
    turn();
    say_with_descriptor(fd, "456", 0);
    hear(fd, &got, NULL);
    assert_has(&got, "descriptors are not taken");
    expect_service();
}

static void out_of_band_too(void **state)
{
    CLEANUP(closep) int fd = dial();

    (void)state;
    say_with_descriptor(fd, "G", MSG_OOB);
    say(fd, "GET /v1/th");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
    expect_service();
}

/* Sent while nobody reads: it is there when the connection ends. */
static void what_is_never_read_is_let_go_too(void **state)
{
    CLEANUP(closep) int fd = dial();

    (void)state;
    say(fd, "GET /v1/hold HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w.held);
    say_with_descriptor(fd, "GET /", 0);
    closep(&fd);
    fd = -1;
    PUMP_UNTIL(w.gone == 1);
    answer_held();
    assert_int_equal(http_server_connections(w.server), 0);
    expect_service();
}

/* What a refused request leaves is thrown away, but not this. */
static void after_a_refusal_too(void **state)
{
    ANSWER;
    CLEANUP(closep) int fd = dial();

    (void)state;
    say(fd, "garbage\r\n\r\n");
    hear(fd, &got, "Bad Request");
    say_with_descriptor(fd, "more", 0);
    PUMP_UNTIL(http_server_connections(w.server) == 0);
    expect_service();
}

/* Whoever has as many connections as he may have cannot do it by trying for more. */
static void who_is_not_let_in_can_bring_none(void **state)
{
    int fds[40];
    ANSWER;

    (void)state;
    assert_int_equal(chmod(w.dir, 0755), 0);
    for (int i = 0; i < 40; i++) {
        fds[i] = dial_as(4242);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 40);
    for (int i = 0; i < 5; i++) {
        CLEANUP(closep) int fd = dial_as(4242);
        say_with_descriptor(fd, "GET /", 0);
        buf_clear(&got);
        hear(fd, &got, NULL);
        assert_has(&got, "as one user may have");
    }
    for (int i = 0; i < 40; i++) {
        close(fds[i]);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
    expect_service();
}

static void the_end_does_not_wait_for_it(void **state)
{
    CLEANUP(closep) int asks = dial(), waits = -1;

    (void)state;
    say(asks, "GET /v1/hold HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w.held);
    say_with_descriptor(asks, "GET /", 0);
    waits = dial();
    say_with_descriptor(waits, "GET /", 0); /* not accepted any more */
    http_server_free(TAKE_PTR(w.server));
    answer_held();
}

static int begin(void **state)
{
    begun_ms = clock_mono_ms();
    return setup(state);
}

static int begin_short(void **state)
{
    begun_ms = clock_mono_ms();
    return setup_short(state);
}

static int done(void **state)
{
    assert_true(clock_mono_ms() - begun_ms < LINGER_S * 1000 / 2);
    closep(&nobody_reads);
    nobody_reads = -1;
    return teardown(state);
}

#define D(name, setup) cmocka_unit_test_setup_teardown(name, setup, done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        D(who_brings_one_is_let_go, begin),
        D(in_a_body_too, begin),
        D(out_of_band_too, begin),
        D(what_is_never_read_is_let_go_too, begin),
        D(after_a_refusal_too, begin),
        D(who_is_not_let_in_can_bring_none, begin_short),
        D(the_end_does_not_wait_for_it, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
