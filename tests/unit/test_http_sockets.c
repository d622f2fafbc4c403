/* Who connects, how many, and what they do at random. */
#include "../http_world.h"
#include <netinet/tcp.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

static uint64_t seed = 20261121;

static unsigned dice(unsigned sides)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(seed >> 33) % sides;
}

static void random_client(int *fd)
{
    static const char *const texts[] = {
        "GET /v1/many/hold HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n",
        "GET /v1/many/hold HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n",
        "GET /v1/many/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n",
        "GET /v1/things/7 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe",
        "POST /v1/raw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "GET /v1/th",
        "\r\n",
        "garbage",
        "0\r\n\r\n"};
    char data[512];

    switch (*fd < 0 ? 0 : 1 + dice(10)) {
    case 0:
        *fd = dice(3) ? dial() : dial_tcp();
        break;
    case 1:
        close(*fd);
        *fd = -1;
        break;
    case 2:
        shutdown(*fd, SHUT_WR);
        break;
    case 3:
    case 4:
    case 5:
        if (recv(*fd, data, sizeof(data), MSG_DONTWAIT) == 0) {
            close(*fd);
            *fd = -1;
        }
        break;
    default: {
        const char *text = texts[dice(ARRAY_SIZE(texts))];
        send(*fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    }
}

static void random_server(void)
{
    static char event[4000];
    unsigned i;

    if (many_held_count && dice(2)) {
        i = dice(many_held_count);
        struct http_request *req = many_held[i];
        many_held[i] = many_held[--many_held_count];
        if (dice(5)) {
            http_reply_text(req, 200, "late");
        } else if (many_stream_count < ARRAY_SIZE(many_streams)) {
            struct http_stream *stream = http_stream_open(req, many_stream_gone, &w);
            if (stream) {
                many_streams[many_stream_count++] = stream;
            }
        } else {
            http_reply_text(req, 200, "late");
        }
    }
    if (many_stream_count) {
        i = dice(many_stream_count);
        if (dice(20)) {
            memset(event, 'e', sizeof(event));
            http_stream_send(many_streams[i], event, dice(sizeof(event)));
        } else {
            struct http_stream *stream = many_streams[i];
            many_streams[i] = many_streams[--many_stream_count];
            http_stream_close(stream);
        }
    }
}

static int setup_random(void **state)
{
    (void)state;
    start((struct http_settings){.listen = "127.0.0.1:0",
                                 .idle_timeout_ms = 300,
                                 .request_timeout_ms = 200,
                                 .keepalive_ms = 20,
                                 .stream_backlog_bytes = 8000});
    return 0;
}

static void random_clients_break_nothing(void **state)
{
    int fds[40];
    ANSWER;

    (void)state;
    if (getenv("TANGRAM_SEED")) {
        seed = strtoull(getenv("TANGRAM_SEED"), NULL, 10);
    }
    memset(fds, -1, sizeof(fds));
    for (int i = 0; i < 20000; i++) {
        random_client(&fds[dice(ARRAY_SIZE(fds))]);
        if (dice(3) == 0) {
            sd_event_run(w.event, 0);
        }
        if (dice(4) == 0) {
            random_server();
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        closep(&fds[i]);
    }
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    while (many_held_count) {
        http_reply_text(many_held[--many_held_count], 200, "end");
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
    assert_int_equal(many_stream_count, 0);
}

static int setup_few(void **state)
{
    (void)state;
    start((struct http_settings){.listen = "127.0.0.1:0", .connections_per_uid = 40});
    return 0;
}

/* Opens connections over TCP, and says who it is or not. */
static void dial_many(int *fds, int count, bool has_token)
{
    ANSWER;

    for (int i = 0; i < count; i++) {
        fds[i] = dial_tcp();
        if (has_token) {
            buf_clear(&got);
            say(fds[i],
                "GET /v1/things/7 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n");
            hear(fds[i], &got, "identity");
        }
    }
    PUMP_UNTIL(http_server_connections(w.server) >= (unsigned)count);
}

static void one_user_cannot_take_all_connections(void **state)
{
    ANSWER;
    int fds[40];

    (void)state;
    dial_many(fds, 40, true);
    ask_on(dial_tcp(), &got, "");
    assert_has(&got, "503 Service Unavailable");
    assert_has(&got, "too_many_connections");
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    for (int i = 0; i < 40; i++) {
        close(fds[i]);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void who_shows_no_token_makes_room(void **state)
{
    ANSWER;
    int known[10], strangers[30];
    char byte;

    (void)state;
    dial_many(known, 10, true);
    for (int i = 0; i < 30; i++) {
        strangers[i] = dial_tcp();
        if (i % 3) { /* who has begun to ask is as strange */
            say(strangers[i], i % 3 == 1 ? "GET /v1/thi"
                                         : "POST /v1/raw HTTP/1.1\r\nHost: x\r\n"
                                           "Content-Length: 9000\r\n\r\n");
        }
    }
    PUMP_UNTIL(http_server_connections(w.server) == 40);
    for (int i = 0; i < 30; i++) {
        ask_on(dial_tcp(), &got, "GET /v1/things/7 HTTP/1.1\r\nAuthorization: Bearer good\r\n" CLOSE
                                 "\r\n");
        assert_has(&got, "200 OK");
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(recv(known[i], &byte, 1, MSG_DONTWAIT), -1); /* these still have theirs */
        close(known[i]);
    }
    for (int i = 0; i < 30; i++) {
        close(strangers[i]);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void one_user_of_the_unix_socket_neither(void **state)
{
    ANSWER;
    int fds[40];

    (void)state;
    assert_int_equal(chmod(w.dir, 0755), 0);
    for (int i = 0; i < 40; i++) {
        fds[i] = dial_as(4242);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 40);
    ask_on(dial_as(4242), &got, "");
    assert_has(&got, "503 Service Unavailable");
    assert_has(&got, "as one user may have");
    if (geteuid() == 0) {
        ask_on(dial_as(4243), &got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
        assert_has(&got, "200 OK");
        ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
        assert_has(&got, "200 OK");
    }
    close(fds[0]); /* one goes, another may come */
    PUMP_UNTIL(http_server_connections(w.server) == 39);
    ask_on(dial_as(4242), &got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    for (int i = 1; i < 40; i++) {
        close(fds[i]);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

/* The server's end of our connection. */
static int other_end(int fd)
{
    struct sockaddr_in ours, theirs;
    socklen_t len = sizeof(ours), their_len;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&ours, &len), 0);
    for (int other = 0; other < 256; other++) {
        their_len = sizeof(theirs);
        if (getpeername(other, (struct sockaddr *)&theirs, &their_len) == 0 && their_len == len &&
            !memcmp(&ours, &theirs, len)) {
            return other;
        }
    }
    return -1;
}

/* Else every second of two events would wait for the client's acknowledgement, 40 ms. */
static void nothing_waits_for_an_acknowledgement(void **state)
{
    int fd = dial_tcp(), at_once = 0;
    socklen_t len = sizeof(at_once);

    (void)state;
    PUMP_UNTIL(http_server_connections(w.server) == 1);
    assert_int_equal(getsockopt(other_end(fd), IPPROTO_TCP, TCP_NODELAY, &at_once, &len), 0);
    assert_true(at_once);
    close(fd);
}

/* 0, or the error with which a descriptor was refused. */
static int send_descriptor(int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec byte = {(char[]){"G"}, 1};
    struct msghdr msg = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.head), &(int){STDIN_FILENO}, sizeof(int));
    return sendmsg(fd, &msg, MSG_NOSIGNAL) == 1 ? 0 : errno;
}

/* Whose last close takes long would hold up everybody. */
static void descriptors_are_not_taken(void **state)
{
    struct http_settings settings = {.listen = NULL};
    int fd = dial(), none = 0;

    (void)state;
    if (setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof(none)) < 0) {
        close(fd);
        skip(); /* Linux before 6.16 */
    }
    assert_int_equal(send_descriptor(fd), EPERM);
    close(fd);
    http_server_free(TAKE_PTR(w.server));

    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w.path);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 5), 0);
    settings.inherited_fd = listener;
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &w.server, NULL), 0);
    fd = dial();
    assert_int_equal(send_descriptor(fd), EPERM);
    close(fd);
    http_server_free(TAKE_PTR(w.server));
    unlink(w.path);
}

static int setup_crowd(void **state)
{
    (void)state;
    start((struct http_settings){.connections_per_uid = 2000});
    return 0;
}

static void a_thousand_idle_connections_are_borne(void **state)
{
    struct rlimit limit;
    int count = 1000, fds[1000];
    ANSWER;

    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 2200) {
        count = (int)limit.rlim_max / 2 - 50;
    }
    for (int i = 0; i < count; i++) {
        fds[i] = dial();
        if (i % 500 == 499) {
            PUMP_UNTIL(http_server_connections(w.server) == (unsigned)i + 1);
        }
    }
    PUMP_UNTIL(http_server_connections(w.server) == (unsigned)count);
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    for (int i = 0; i < count; i += 100) {
        ask_on(fds[i], &got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
        assert_has(&got, "200 OK");
        fds[i] = -1;
    }
    for (int i = 0; i < count; i++) {
        closep(&fds[i]);
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void sockets_are_not_stolen(void **state)
{
    struct http_settings settings = {.socket_path = w.path};
    struct http_server *second = NULL;
    struct error err = {0};
    struct stat st;

    (void)state;
    assert_int_equal(stat(w.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EADDRINUSE);
    assert_non_null(strstr(err.msg, "another process answers"));
    settings.socket_path = "/etc/hostname";
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EEXIST);
    settings = (struct http_settings){.listen = "0.0.0.0:0"};
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "loopback"));
    settings.listen = "[::]:0";
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EINVAL);
    settings.listen = "127.0.0.1";
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EINVAL);
    settings.listen = "127.0.0.1:99999";
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EINVAL);
}

static void stale_and_inherited_sockets_are_used(void **state)
{
    struct http_settings settings = {0};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ANSWER;

    (void)state;
    http_server_free(TAKE_PTR(w.server));
    assert_int_equal(access(w.path, F_OK), -1);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w.path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(fd); /* as after a crash */
    settings.socket_path = w.path;
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &w.server, NULL), 0);
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    http_server_free(TAKE_PTR(w.server));

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 5), 0);
    settings = (struct http_settings){.inherited_fd = fd};
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &w.server, NULL), 0);
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    http_server_free(TAKE_PTR(w.server));
    unlink(w.path); /* ours stays to who made it */
}

/* Somebody else has made a socket in our place meanwhile: it is not ours to remove. */
static void the_socket_of_another_stays(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char aside[sizeof(w.path) + 8];

    (void)state;
    /* Aside, not away: a file system may give the next one the same number. */
    snprintf(aside, sizeof(aside), "%s.old", w.path);
    assert_int_equal(rename(w.path, aside), 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w.path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    http_server_free(TAKE_PTR(w.server));
    assert_int_equal(access(w.path, F_OK), 0);
    unlink(w.path);
    unlink(aside);
}

/* What the service manager hands over is looked at like what the configuration says. */
static void an_inherited_socket_is_local_too(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    CLEANUP(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct http_settings settings = {.inherited_fd = fd};
    struct http_server *second = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "not a listening socket"));
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(http_server_new(w.event, &settings, routes, &w, &second, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "neither a unix socket nor on a loopback address"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_clients_break_nothing, setup_random, teardown),
        cmocka_unit_test_setup_teardown(one_user_cannot_take_all_connections, setup_few, teardown),
        cmocka_unit_test_setup_teardown(who_shows_no_token_makes_room, setup_few, teardown),
        T_SHORT(one_user_of_the_unix_socket_neither),
        T(nothing_waits_for_an_acknowledgement),
        T(descriptors_are_not_taken),
        cmocka_unit_test_setup_teardown(a_thousand_idle_connections_are_borne, setup_crowd,
                                        teardown),
        T(sockets_are_not_stolen),
        T(stale_and_inherited_sockets_are_used),
        T(the_socket_of_another_stays),
        T(an_inherited_socket_is_local_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
