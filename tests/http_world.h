#pragma once
/* The HTTP room over real sockets, for its tests; server and clients share one loop and one thread,
 * so nothing here sleeps: a test runs the loop until what it waits for has happened. */
#include "base/buf.h"
#include "base/clock.h"
#include "http/http.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#define PATIENCE_MS 10000

struct world {
    char dir[64], path[96];
    sd_event *event;
    struct http_server *server;
    struct http_request *held;
    struct http_stream *stream;
    int gone, stream_gone;
};
static struct world w;

static inline void on_gone(struct http_request *req, void *userdata)
{
    assert_ptr_equal(req, w.held);
    assert_true(http_is_gone(req));
    assert_ptr_equal(userdata, &w);
    w.gone++;
}

static inline void on_stream_gone(struct http_stream *stream, void *userdata)
{
    (void)stream;
    assert_ptr_equal(userdata, &w);
    w.stream_gone++;
}

static inline void get_thing(struct http_request *req, void *userdata)
{
    CLEANUP(json_decrefp) json_t *body = NULL;

    assert_ptr_equal(userdata, &w);
    body = json_pack("{s:s, s:s*, s:s*, s:i, s:s}", "id", http_param(req, "id"), "q",
                     http_query(req, "q"), "header", http_header(req, "x-test"), "uid",
                     http_peer(req)->is_unix ? (int)http_peer(req)->uid : -1, "identity",
                     http_peer(req)->identity);
    http_set_header(req, "X-Answer", "42");
    http_reply_json(req, 200, body);
}

static inline void post_echo(struct http_request *req, void *userdata)
{
    size_t len;
    const char *body = http_body(req, &len);

    (void)userdata;
    http_reply_bytes(req, 201, "application/octet-stream", body, len);
}

static inline void get_hold(struct http_request *req, void *userdata)
{
    w.held = req;
    http_hold(req, on_gone, userdata);
}

static inline void get_hold_and_answer(struct http_request *req, void *userdata)
{
    http_hold(req, on_gone, userdata);
    http_reply_text(req, 200, "at once");
}

static inline void get_stream(struct http_request *req, void *userdata)
{
    w.stream = http_stream_open(req, on_stream_gone, userdata);
    assert_non_null(w.stream);
    assert_int_equal(http_stream_send(w.stream, "data: hello\n\n", 13), 0);
}

static inline void get_forget(struct http_request *req, void *userdata)
{
    (void)req;
    (void)userdata;
}

static inline void get_problem(struct http_request *req, void *userdata)
{
    CLEANUP(json_decrefp) json_t *more = json_pack("{s:[s]}", "blocking", "l-3");

    (void)userdata;
    if (http_query_unknown(req, (const char *const[]){"known", NULL})) {
        http_reply_problem(req, 400, "unknown_field", NULL, "'%s' is not a parameter here",
                           http_query_unknown(req, (const char *const[]){"known", NULL}));
        return;
    }
    http_reply_problem(req, 409, "in_use", more, "%s stands in the way", "l-3");
}

static inline void get_health(struct http_request *req, void *userdata)
{
    (void)userdata;
    http_reply_text(req, 200, "fine");
}

static inline void get_answer_other(struct http_request *req, void *userdata)
{
    struct http_request *other = TAKE_PTR(w.held);

    (void)userdata;
    assert_non_null(other);
    http_reply_text(other, 200, "answered by another");
    http_reply_text(req, 200, "answered another");
}

static inline void get_drop(struct http_request *req, void *userdata)
{
    (void)userdata;
    http_server_drop(w.server, http_peer(req)->identity);
    http_reply_text(req, 200, "dropped");
}

/* For the random test: any number of held requests and streams. */
static struct http_request *many_held[256];
static struct http_stream *many_streams[256];
static unsigned many_held_count, many_stream_count;

static inline void many_request_gone(struct http_request *req, void *userdata)
{
    (void)userdata;
    for (unsigned i = 0; i < many_held_count; i++) {
        if (many_held[i] == req) {
            /* Every second one is answered here, the others later. */
            if (i % 2) {
                many_held[i] = many_held[--many_held_count];
                http_reply_text(req, 200, "gone");
            }
            return;
        }
    }
    fail_msg("on_gone for a request that is not held");
}

static inline void many_stream_gone(struct http_stream *stream, void *userdata)
{
    (void)userdata;
    for (unsigned i = 0; i < many_stream_count; i++) {
        if (many_streams[i] == stream) {
            many_streams[i] = many_streams[--many_stream_count];
            return;
        }
    }
    fail_msg("on_gone for a stream that is not open");
}

static inline void get_many_hold(struct http_request *req, void *userdata)
{
    if (many_held_count == ARRAY_SIZE(many_held)) {
        http_reply_text(req, 503, "full");
        return;
    }
    many_held[many_held_count++] = req;
    http_hold(req, many_request_gone, userdata);
}

static inline void get_many_stream(struct http_request *req, void *userdata)
{
    if (many_stream_count == ARRAY_SIZE(many_streams)) {
        http_reply_text(req, 503, "full");
        return;
    }
    many_streams[many_stream_count++] = http_stream_open(req, many_stream_gone, userdata);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/v1/answer-other", get_answer_other, 0},
    {HTTP_GET, "/v1/many/hold", get_many_hold, 0},
    {HTTP_GET, "/v1/many/stream", get_many_stream, 0},
    {HTTP_GET, "/v1/things/{id}", get_thing, 0},
    {HTTP_DELETE, "/v1/things/{id}", get_thing, 0},
    {HTTP_GET, "/v1/hold", get_hold, 0},
    {HTTP_GET, "/v1/drop", get_drop, 0},
    {HTTP_GET, "/v1/once", get_hold_and_answer, 0},
    {HTTP_GET, "/v1/forget", get_forget, 0},
    {HTTP_GET, "/v1/problem", get_problem, 0},
    {HTTP_GET, "/v1/events", get_stream, 0},
    {HTTP_POST, "/v1/echo", post_echo, 0},
    {HTTP_POST, "/v1/raw", post_echo, HTTP_ROUTE_ANY_TYPE},
    {HTTP_GET, "/healthz", get_health, HTTP_ROUTE_PUBLIC},
    {0},
};

static inline bool authenticate(const char *token, char ret[static HTTP_IDENTITY_SIZE],
                                void *userdata)
{
    assert_ptr_equal(userdata, &w);
    if (strcmp(token, "good") != 0) {
        return false;
    }
    snprintf(ret, HTTP_IDENTITY_SIZE, "t-1");
    return true;
}

static inline void start(struct http_settings settings)
{
    struct error err = {0};

    w = (struct world){.dir = "/tmp/tangram-http-XXXXXX"};
    assert_non_null(mkdtemp(w.dir));
    snprintf(w.path, sizeof(w.path), "%s/run/sock", w.dir);
    assert_true(sd_event_new(&w.event) >= 0);
    settings.socket_path = w.path;
    settings.authenticate = authenticate;
    settings.authenticate_data = &w;
    if (http_server_new(w.event, &settings, routes, &w, &w.server, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static inline int setup(void **state)
{
    (void)state;
    start((struct http_settings){.listen = "127.0.0.1:0"});
    return 0;
}

static inline void answer_held(void)
{
    struct http_request *req = TAKE_PTR(w.held);

    if (req) {
        http_reply_text(req, 200, "late");
    }
}

static inline int teardown(void **state)
{
    char cmd[128];

    (void)state;
    http_server_free(w.server);
    answer_held();
    sd_event_unref(w.event);
    assert_int_equal(access(w.path, F_OK), -1);
    snprintf(cmd, sizeof(cmd), "%s/run", w.dir);
    rmdir(cmd);
    rmdir(w.dir);
    return 0;
}

static inline void turn(void)
{
    sd_event_run(w.event, 1000);
}

#define PUMP_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t pump_end_ms_ = clock_mono_ms() + PATIENCE_MS;                                      \
        while (!(condition)) {                                                                     \
            assert_true(clock_mono_ms() < pump_end_ms_);                                           \
            turn();                                                                                \
        }                                                                                          \
    } while (0)

static inline int dial(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w.path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* As somebody whose connections are counted: root has no limit. */
static inline int dial_as(uid_t uid)
{
    bool is_root = geteuid() == 0;

    assert_int_equal(is_root ? seteuid(uid) : 0, 0);
    int fd = dial();
    assert_int_equal(is_root ? seteuid(0) : 0, 0);
    return fd;
}

static inline int dial_tcp(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)http_server_port(w.server)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline int on_wake(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    (void)s;
    (void)fd;
    (void)events;
    (void)userdata;
    return 0;
}

/* Writes all of it, running the server meanwhile; false when the server closed first. */
static inline bool say_bytes(int fd, const char *data, size_t len)
{
    sd_event_source *wake = NULL;
    bool is_fine = true;

    assert_true(sd_event_add_io(w.event, &wake, fd, EPOLLOUT, on_wake, NULL) >= 0);
    while (len && is_fine) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            turn();
        } else {
            is_fine = false;
        }
    }
    sd_event_source_disable_unref(wake);
    return is_fine;
}

static inline bool say(int fd, const char *text)
{
    return say_bytes(fd, text, strlen(text));
}

/* Reads until `until` shows up (NULL: until the server closes). */
static inline void hear(int fd, struct buf *got, const char *until)
{
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    sd_event_source *wake = NULL;
    char data[16384];

    assert_true(sd_event_add_io(w.event, &wake, fd, EPOLLIN, on_wake, NULL) >= 0);
    for (;;) {
        if (until && got->data && strstr(got->data, until)) {
            break;
        }
        assert_true(clock_mono_ms() < end_ms);
        ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
        if (n > 0) {
            buf_add(got, data, (size_t)n);
            continue;
        }
        if (n == 0 || errno != EAGAIN) {
            break;
        }
        turn();
    }
    sd_event_source_disable_unref(wake);
}

#define ANSWER CLEANUP(buf_done) struct buf got = BUF_INIT(64 << 20)

/* One exchange on a connection of its own. */
static inline void ask_on(int fd, struct buf *got, const char *request)
{
    buf_clear(got);
    say(fd, request);
    hear(fd, got, NULL);
    close(fd);
    if (!got->data) {
        buf_adds(got, "");
    }
}

static inline void ask(struct buf *got, const char *request)
{
    ask_on(dial(), got, request);
}

static inline void assert_has(const struct buf *got, const char *what)
{
    if (!got->data || !strstr(got->data, what)) {
        fail_msg("no '%s' in: %.800s", what, got->data ? got->data : "(nothing)");
    }
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

static inline int setup_short(void **state)
{
    (void)state;
    start((struct http_settings){.listen = "127.0.0.1:0",
                                 .idle_timeout_ms = 300,
                                 .request_timeout_ms = 200,
                                 .keepalive_ms = 100,
                                 .connections_max = 2000,
                                 .connections_per_uid = 40});
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_SHORT(name) cmocka_unit_test_setup_teardown(name, setup_short, teardown)
