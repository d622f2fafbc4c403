/* The HTTP room over real sockets; server and clients share one loop and one thread, so nothing
 * here sleeps: a test runs the loop until what it waits for has happened. */
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

static void on_gone(struct http_request *req, void *userdata)
{
    assert_ptr_equal(req, w.held);
    assert_true(http_is_gone(req));
    assert_ptr_equal(userdata, &w);
    w.gone++;
}

static void on_stream_gone(struct http_stream *stream, void *userdata)
{
    (void)stream;
    assert_ptr_equal(userdata, &w);
    w.stream_gone++;
}

static void get_thing(struct http_request *req, void *userdata)
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

static void post_echo(struct http_request *req, void *userdata)
{
    size_t len;
    const char *body = http_body(req, &len);

    (void)userdata;
    http_reply_bytes(req, 201, "application/octet-stream", body, len);
}

static void get_hold(struct http_request *req, void *userdata)
{
    w.held = req;
    http_hold(req, on_gone, userdata);
}

static void get_hold_and_answer(struct http_request *req, void *userdata)
{
    http_hold(req, on_gone, userdata);
    http_reply_text(req, 200, "at once");
}

static void get_stream(struct http_request *req, void *userdata)
{
    w.stream = http_stream_open(req, on_stream_gone, userdata);
    assert_non_null(w.stream);
    assert_int_equal(http_stream_send(w.stream, "data: hello\n\n", 13), 0);
}

static void get_forget(struct http_request *req, void *userdata)
{
    (void)req;
    (void)userdata;
}

static void get_problem(struct http_request *req, void *userdata)
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

static void get_health(struct http_request *req, void *userdata)
{
    (void)userdata;
    http_reply_text(req, 200, "fine");
}

static void get_answer_other(struct http_request *req, void *userdata)
{
    struct http_request *other = TAKE_PTR(w.held);

    (void)userdata;
    assert_non_null(other);
    http_reply_text(other, 200, "answered by another");
    http_reply_text(req, 200, "answered another");
}

/* For the random test: any number of held requests and streams. */
static struct http_request *many_held[256];
static struct http_stream *many_streams[256];
static unsigned many_held_count, many_stream_count;

static void many_request_gone(struct http_request *req, void *userdata)
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

static void many_stream_gone(struct http_stream *stream, void *userdata)
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

static void get_many_hold(struct http_request *req, void *userdata)
{
    if (many_held_count == ARRAY_SIZE(many_held)) {
        http_reply_text(req, 503, "full");
        return;
    }
    many_held[many_held_count++] = req;
    http_hold(req, many_request_gone, userdata);
}

static void get_many_stream(struct http_request *req, void *userdata)
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
    {HTTP_GET, "/v1/once", get_hold_and_answer, 0},
    {HTTP_GET, "/v1/forget", get_forget, 0},
    {HTTP_GET, "/v1/problem", get_problem, 0},
    {HTTP_GET, "/v1/events", get_stream, 0},
    {HTTP_POST, "/v1/echo", post_echo, 0},
    {HTTP_POST, "/v1/raw", post_echo, HTTP_ROUTE_ANY_TYPE},
    {HTTP_GET, "/healthz", get_health, HTTP_ROUTE_PUBLIC},
    {0},
};

static bool authenticate(const char *token, char ret[static HTTP_IDENTITY_SIZE], void *userdata)
{
    assert_ptr_equal(userdata, &w);
    if (strcmp(token, "good") != 0) {
        return false;
    }
    snprintf(ret, HTTP_IDENTITY_SIZE, "t-1");
    return true;
}

static void start(struct http_settings settings)
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

static int setup(void **state)
{
    (void)state;
    start((struct http_settings){.listen = "127.0.0.1:0"});
    return 0;
}

static void answer_held(void)
{
    struct http_request *req = TAKE_PTR(w.held);

    if (req) {
        http_reply_text(req, 200, "late");
    }
}

static int teardown(void **state)
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

static void turn(void)
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

static int dial(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w.path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static int dial_tcp(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)http_server_port(w.server)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static int on_wake(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    (void)s;
    (void)fd;
    (void)events;
    (void)userdata;
    return 0;
}

/* Writes all of it, running the server meanwhile; false when the server closed first. */
static bool say_bytes(int fd, const char *data, size_t len)
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

static bool say(int fd, const char *text)
{
    return say_bytes(fd, text, strlen(text));
}

/* Reads until `until` shows up (NULL: until the server closes). */
static void hear(int fd, struct buf *got, const char *until)
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
static void ask_on(int fd, struct buf *got, const char *request)
{
    buf_clear(got);
    say(fd, request);
    hear(fd, got, NULL);
    close(fd);
    if (!got->data) {
        buf_adds(got, "");
    }
}

static void ask(struct buf *got, const char *request)
{
    ask_on(dial(), got, request);
}

static void assert_has(const struct buf *got, const char *what)
{
    if (!got->data || !strstr(got->data, what)) {
        fail_msg("no '%s' in: %.800s", what, got->data ? got->data : "(nothing)");
    }
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

static void get_reaches_the_handler(void **state)
{
    ANSWER;
    char uid[32];

    (void)state;
    ask(&got, "GET /v1/things/a%2Fb%C3%A9?q=x+y%21 HTTP/1.1\r\n" CLOSE "X-Test: yes\r\n\r\n");
    assert_has(&got, "HTTP/1.1 200 OK\r\n");
    assert_has(&got, "Content-Type: application/json\r\n");
    assert_has(&got, "X-Answer: 42\r\n");
    assert_has(&got, "\"id\":\"a/b\xc3\xa9\"");
    assert_has(&got, "\"q\":\"x y!\"");
    assert_has(&got, "\"header\":\"yes\"");
    snprintf(uid, sizeof(uid), "\"uid\":%d", (int)getuid());
    assert_has(&got, uid);
}

static void head_has_no_body(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "HEAD /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    assert_has(&got, "Content-Length:");
    assert_null(strstr(got.data, "\"id\""));
}

static void unknown_paths_and_methods_are_problems(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "GET /v1/nothing HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "404 Not Found");
    assert_has(&got, "application/problem+json");
    assert_has(&got, "urn:tangram:problem:not_found");
    ask(&got, "GET /v1/things/ HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "404 Not Found");
    ask(&got, "PUT /v1/things/7 HTTP/1.1\r\n" CLOSE "Content-Length: 0\r\n\r\n");
    assert_has(&got, "405 Method Not Allowed");
    assert_has(&got, "Allow: GET, HEAD, DELETE\r\n");
    ask(&got, "BREW /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "405 Method Not Allowed");
    ask(&got, "OPTIONS /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "204 No Content");
    assert_has(&got, "Allow: GET, HEAD, DELETE\r\n");
}

static void problems_carry_their_members(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "GET /v1/problem HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "409 Conflict");
    assert_has(&got, "\"reason\":\"in_use\",\"detail\":\"l-3 stands in the way\","
                     "\"blocking\":[\"l-3\"]");
    ask(&got, "GET /v1/problem?known=1&other=2 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "'other' is not a parameter here");
    ask(&got, "GET /v1/forget HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "500 Internal Server Error");
}

static void bad_uris_are_refused(void **state)
{
    static const char *const bad[] = {"/v1/things/%00",
                                      "/v1/things/%zz",
                                      "/v1/things/%4",
                                      "/v1/things/%ff",
                                      "/v1/things/%0a",
                                      "/v1/things/%1b[0m",
                                      "/v1/things/7?q=%00",
                                      "/v1/things/7?q=%c3",
                                      "*",
                                      "/v1/things/7?q=1&q=2",
                                      "/a/b/c/d/e/f/g/h/i/j/k/l/m/n"};
    ANSWER;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char request[256];
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" CLOSE "\r\n", bad[i]);
        ask(&got, request);
        assert_has(&got, "400 Bad Request");
        assert_has(&got, "bad_uri");
    }
}

static void malformed_requests_do_not_disturb(void **state)
{
    static const char *const bad[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
        "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "Content-Length: banana\r\n\r\n",
        "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "Content-Length: -1\r\n\r\n",
        "POST /v1/raw HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET /v1/things/7 HTTP/1.1\r\nbroken header\r\n\r\n",
        ""};
    ANSWER;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int fd = dial();
        say(fd, bad[i]);
        shutdown(fd, SHUT_WR);
        ask_on(fd, &got, "");
        assert_null(strstr(got.data, "200 OK"));
    }
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "200 OK");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void bodies_are_collected(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "POST /v1/echo HTTP/1.1\r\n" CLOSE "Content-Type: application/json; charset=utf-8\r\n"
              "Content-Length: 7\r\n\r\n{\"a\":1}");
    assert_has(&got, "201 Created");
    assert_has(&got, "\r\n\r\n{\"a\":1}");
    ask(&got, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n"
              "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    assert_has(&got, "\r\n\r\nhello world");
    ask(&got, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Content-Length: 0\r\n\r\n");
    assert_has(&got, "201 Created");
}

static void body_types_are_checked(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "POST /v1/echo HTTP/1.1\r\n" CLOSE "Content-Type: text/plain\r\n"
              "Content-Length: 2\r\n\r\n{}");
    assert_has(&got, "415 Unsupported Media Type");
    ask(&got, "POST /v1/echo HTTP/1.1\r\n" CLOSE "Content-Type: application/jsonx\r\n"
              "Content-Length: 2\r\n\r\n{}");
    assert_has(&got, "415 Unsupported Media Type");
    ask(&got, "POST /v1/echo HTTP/1.1\r\n" CLOSE "Content-Length: 2\r\n\r\n{}");
    assert_has(&got, "unsupported_media_type");
}

static void huge_bodies_are_refused(void **state)
{
    CLEANUP(buf_done) struct buf request = BUF_INIT(8 << 20);
    CLEANUP(freep) char *filler = xcalloc(1, 1 << 20);
    ANSWER;

    (void)state;
    memset(filler, 'x', 1 << 20);
    /* Exactly the limit is fine. */
    buf_adds(&request, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Content-Length: 1048576\r\n\r\n");
    buf_add(&request, filler, 1 << 20);
    ask(&got, request.data);
    assert_has(&got, "201 Created");
    /* One more is not, and the answer arrives although the client sends it all first. */
    buf_clear(&request);
    buf_adds(&request, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Content-Length: 1048577\r\n\r\n");
    buf_add(&request, filler, 1 << 20);
    buf_adds(&request, "y");
    ask(&got, request.data);
    assert_has(&got, "413 ");
    assert_has(&got, "too_large");
    /* Nor in chunks, of unknown length. */
    buf_clear(&request);
    buf_adds(&request, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        buf_adds(&request, "100000\r\n");
        buf_add(&request, filler, 1 << 20);
        buf_adds(&request, "\r\n");
    }
    buf_adds(&request, "0\r\n\r\n");
    ask(&got, request.data);
    assert_has(&got, "413 ");
    /* A body that nobody would wait for is refused from its announcement. */
    ask(&got, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Content-Length: 99999999999\r\n\r\n");
    assert_has(&got, "413 ");
}

static void expect_continue_works(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    say(fd, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    hear(fd, &got, "100 Continue\r\n\r\n");
    ask_on(fd, &got, "abc");
    assert_has(&got, "201 Created");
    assert_has(&got, "\r\n\r\nabc");
    ask(&got, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Expect: 100-continue\r\n"
              "Content-Length: 2000000\r\n\r\n");
    assert_has(&got, "HTTP/1.1 413 ");
}

static void heads_have_a_limit(void **state)
{
    static const size_t sizes[] = {1000, 15000, 17000, 40000};
    ANSWER;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size_t pieces = 1; pieces <= 50; pieces *= 50) {
            CLEANUP(buf_done) struct buf request = BUF_INIT(1 << 20);
            buf_adds(&request, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE);
            for (size_t n = 0; n < pieces; n++) {
                buf_addf(&request, "X-Filler: %0*d\r\n", (int)(sizes[i] / pieces) - 12, 0);
            }
            buf_adds(&request, "\r\n");
            ask(&got, request.data);
            assert_has(&got, sizes[i] < 16000 ? "200 OK" : "431 ");
        }
    }
}

static void pipelined_requests_are_all_answered(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    say(fd, "GET /v1/things/one HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /v1/things/two HTTP/1.1\r\nHost: x\r\n\r\n"
            "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nthree"
            "GET /v1/once HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /v1/things/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    shutdown(fd, SHUT_WR);
    ask_on(fd, &got, "");
    assert_has(&got, "\"id\":\"one\"");
    assert_has(&got, "\"id\":\"two\"");
    assert_has(&got, "three");
    assert_has(&got, "at once");
    assert_has(&got, "\"id\":\"last\"");
}

static void half_close_keeps_a_held_request(void **state)
{
    ANSWER;
    int fds[] = {dial(), dial_tcp()};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        buf_clear(&got);
        w.gone = 0;
        say(fds[i], "GET /v1/hold HTTP/1.1\r\n" CLOSE "Authorization: Bearer good\r\n\r\n");
        shutdown(fds[i], SHUT_WR);
        PUMP_UNTIL(w.held);
        for (int n = 0; n < 5; n++) {
            sd_event_run(w.event, 1000);
        }
        assert_int_equal(w.gone, 0);
        answer_held();
        ask_on(fds[i], &got, "");
        assert_has(&got, "HTTP/1.1 200 OK");
        assert_has(&got, "late");
    }
}

static void a_held_request_learns_that_its_client_left(void **state)
{
    (void)state;
    for (int over_tcp = 0; over_tcp < 2; over_tcp++) {
        int fd = over_tcp ? dial_tcp() : dial();
        w.gone = 0;
        say(fd, "GET /v1/hold HTTP/1.1\r\n" CLOSE "Authorization: Bearer good\r\n\r\n");
        PUMP_UNTIL(w.held);
        close(fd);
        PUMP_UNTIL(w.gone);
        assert_null(http_header(w.held, "Host"));
        assert_string_equal(http_path(w.held), "/v1/hold");
        answer_held();
        PUMP_UNTIL(http_server_connections(w.server) == 0);
        assert_int_equal(w.gone, 1);
    }
}

static void a_held_request_keeps_its_connection_for_more(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    for (int i = 0; i < 3; i++) {
        buf_clear(&got);
        say(fd, "GET /v1/hold HTTP/1.1\r\nHost: x\r\n\r\n");
        PUMP_UNTIL(w.held);
        answer_held();
        hear(fd, &got, "late");
    }
    ask_on(fd, &got, "GET /v1/things/8 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "\"id\":\"8\"");
}

static void one_request_may_answer_another(void **state)
{
    ANSWER;
    int first = dial(), second = dial();

    /* Both are there before the server looks: it handles them in one go. */
    (void)state;
    say(first, "GET /v1/hold HTTP/1.1\r\n" CLOSE "\r\n");
    say(second, "GET /v1/answer-other HTTP/1.1\r\n" CLOSE "\r\n");
    ask_on(second, &got, "");
    assert_has(&got, "answered another");
    ask_on(first, &got, "");
    assert_has(&got, "answered by another");
}

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

static void tcp_wants_a_token(void **state)
{
    ANSWER;
    (void)state;
    ask_on(dial_tcp(), &got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "401 Unauthorized");
    assert_has(&got, "WWW-Authenticate: Bearer");
    assert_has(&got, "urn:tangram:problem:unauthorized");
    ask_on(dial_tcp(), &got,
           "GET /v1/nothing HTTP/1.1\r\n" CLOSE "Authorization: Bearer bad\r\n\r\n");
    assert_has(&got, "401 Unauthorized");
    ask_on(dial_tcp(), &got,
           "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "Authorization: bearer good\r\n\r\n");
    assert_has(&got, "\"uid\":-1,\"identity\":\"t-1\"");
    ask_on(dial_tcp(), &got, "GET /healthz HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "fine");
}

static void streams_carry_events(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    say(fd, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fd, &got, "data: hello\n\n");
    assert_has(&got, "Content-Type: text/event-stream");
    for (int i = 0; i < 3; i++) {
        char text[32];
        snprintf(text, sizeof(text), "id: %d\n\n", i);
        assert_int_equal(http_stream_send(w.stream, text, strlen(text)), 0);
        hear(fd, &got, text);
    }
    assert_int_equal(w.stream_gone, 0);
    close(fd);
    PUMP_UNTIL(w.stream_gone == 1);
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void a_stream_asked_for_by_head_ends_at_once(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "HEAD /v1/events HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "text/event-stream");
    assert_null(strstr(got.data, "hello"));
    PUMP_UNTIL(w.stream_gone == 1);
}

static void streams_speak_http_1_0(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    say(fd, "GET /v1/events HTTP/1.0\r\n\r\n");
    hear(fd, &got, "\r\n\r\ndata: hello\n\n");
    http_stream_close(w.stream);
    ask_on(fd, &got, "");
}

static void streams_end_when_closed(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    say(fd, "GET /v1/events HTTP/1.1\r\n" CLOSE "\r\n");
    hear(fd, &got, "data: hello\n\n");
    http_stream_send(w.stream, "data: bye\n\n", 11);
    http_stream_close(w.stream);
    ask_on(fd, &got, "");
    assert_has(&got, "data: bye");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
    assert_int_equal(w.stream_gone, 0);
}

static void slow_readers_are_cut_off(void **state)
{
    char event[1000];
    int fd = dial(), r;
    ANSWER;

    (void)state;
    memset(event, 'x', sizeof(event));
    say(fd, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w.stream);
    do {
        r = http_stream_send(w.stream, event, sizeof(event));
        sd_event_run(w.event, 0);
    } while (r == 0);
    assert_int_equal(r, -ENOBUFS);
    assert_int_equal(http_stream_send(w.stream, event, sizeof(event)), -EPIPE);
    assert_int_equal(w.stream_gone, 0);
    ask_on(fd, &got, "");
    assert_has(&got, "Last-Event-ID");
    PUMP_UNTIL(w.stream_gone == 1);
}

static int setup_short(void **state)
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

static void slow_requests_are_closed(void **state)
{
    ANSWER;
    int idle = dial(), slow = dial(), body = dial();

    (void)state;
    say(slow, "GET /v1/things/7 HTTP/1.1\r\nHos");
    say(body, "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
    ask_on(idle, &got, "");
    assert_int_equal(got.len, 0);
    ask_on(slow, &got, "");
    assert_has(&got, "408 Request Timeout");
    assert_int_equal(strlen(strstr(got.data, "\r\n\r\n") + 4),
                     strtol(strstr(got.data, "Content-Length: ") + 16, NULL, 10));
    ask_on(body, &got, "");
    assert_has(&got, "408 Request Timeout");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void readers_that_never_read_are_closed(void **state)
{
    int fd = dial();

    (void)state;
    assert_true(say(fd, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"));
    PUMP_UNTIL(w.stream);
    while (http_stream_backlog_bytes(w.stream) < 1000) {
        assert_int_equal(http_stream_send(w.stream, "data: 012345678901234567890123456789\n\n", 38),
                         0);
        sd_event_run(w.event, 0);
    }
    PUMP_UNTIL(w.stream_gone == 1);
    close(fd);
}

static void time_limits_spare_held_requests_and_streams(void **state)
{
    ANSWER;
    int held = dial(), stream = dial();
    int64_t end_ms;

    (void)state;
    say(held, "GET /v1/hold HTTP/1.1\r\n" CLOSE "\r\n");
    say(stream, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w.held && w.stream);
    /* Longer than every limit; what passes the time are the stream's keep-alives. */
    end_ms = clock_mono_ms() + 700;
    while (clock_mono_ms() < end_ms) {
        buf_clear(&got);
        hear(stream, &got, ":\n\n");
    }
    assert_int_equal(w.gone, 0);
    assert_int_equal(w.stream_gone, 0);
    answer_held();
    ask_on(held, &got, "");
    assert_has(&got, "late");
    close(stream);
    PUMP_UNTIL(w.stream_gone == 1);
}

static void one_user_cannot_take_all_connections(void **state)
{
    ANSWER;
    int fds[41];

    (void)state;
    for (int i = 0; i < 40; i++) {
        fds[i] = dial_tcp();
    }
    PUMP_UNTIL(http_server_connections(w.server) == 40);
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

static void freeing_the_server_tells_the_holders(void **state)
{
    int held = dial(), stream = dial();

    (void)state;
    say(held, "GET /v1/hold HTTP/1.1\r\n" CLOSE "\r\n");
    say(stream, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w.held && w.stream);
    http_server_free(TAKE_PTR(w.server));
    assert_int_equal(w.gone, 1);
    assert_int_equal(w.stream_gone, 1);
    answer_held();
    close(held);
    close(stream);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_SHORT(name) cmocka_unit_test_setup_teardown(name, setup_short, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(get_reaches_the_handler),
        T(head_has_no_body),
        T(unknown_paths_and_methods_are_problems),
        T(problems_carry_their_members),
        T(bad_uris_are_refused),
        T_SHORT(malformed_requests_do_not_disturb),
        T(bodies_are_collected),
        T(body_types_are_checked),
        T(huge_bodies_are_refused),
        T(expect_continue_works),
        T(heads_have_a_limit),
        T(pipelined_requests_are_all_answered),
        T(half_close_keeps_a_held_request),
        T(a_held_request_learns_that_its_client_left),
        T(a_held_request_keeps_its_connection_for_more),
        T(one_request_may_answer_another),
        cmocka_unit_test_setup_teardown(random_clients_break_nothing, setup_random, teardown),
        T(tcp_wants_a_token),
        T(streams_carry_events),
        T(streams_end_when_closed),
        T(a_stream_asked_for_by_head_ends_at_once),
        T(streams_speak_http_1_0),
        T(slow_readers_are_cut_off),
        T_SHORT(slow_requests_are_closed),
        T_SHORT(readers_that_never_read_are_closed),
        T_SHORT(time_limits_spare_held_requests_and_streams),
        T_SHORT(one_user_cannot_take_all_connections),
        cmocka_unit_test_setup_teardown(a_thousand_idle_connections_are_borne, setup_crowd,
                                        teardown),
        T(freeing_the_server_tells_the_holders),
        T(sockets_are_not_stolen),
        T(stale_and_inherited_sockets_are_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
