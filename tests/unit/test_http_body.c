/* Bodies in chunks, requests after requests: what is taken, what is refused, and that whoever is
 * refused reads a problem document, however late in a connection. */
#include "http/body.h"
#include "../http_world.h"

static const struct {
    const char *body, *content; /* NULL: bad */
    size_t rest;                /* bytes behind it */
} cases[] = {
    {"0\r\n\r\n", "", 0},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\nGET /", "hello world", 5},
    {"00000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0},
    {"A;name=\"v\tw\"\r\n0123456789\r\n0;x\r\n\r\n", "0123456789", 0},
    {"2\r\n\r\n\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", "\r\n", 0},
    {"zz\r\n", NULL, 0},
    {"\r\n", NULL, 0},
    {"-1\r\n", NULL, 0},
    {"+1\r\na\r\n", NULL, 0},
    {"0x1\r\na\r\n", NULL, 0},
    {"1 \r\na\r\n", NULL, 0},
    {" 1\r\na\r\n", NULL, 0},
    {"1\na\r\n", NULL, 0},
    {"1\r\nab\r\n", NULL, 0},
    {"3\r\nab\r\n0\r\n\r\n", NULL, 0},
    {"1\r\na\n0\r\n\r\n", NULL, 0},
    {"1;\x01\r\na\r\n", NULL, 0},
    {"1;a\rb\r\na\r\n", NULL, 0},
    {"0\r\n\rx", NULL, 0},
    {"0\r\nTrailer: x\ny\r\n\r\n", NULL, 0},
    {"1000000000000000\r\n", NULL, 0},
    {"ffffffffffffffffff\r\n", NULL, 0},
};

/* In pieces of that many bytes. */
static enum http_head_state read_all(const char *data, size_t len, size_t step, struct buf *content,
                                     size_t *ret_rest)
{
    enum http_head_state state = HTTP_HEAD_MORE;
    struct http_head_fault fault = {0};
    struct http_body body;
    size_t at = 0;

    http_body_begin(&body, HTTP_BODY_CHUNKED);
    while (at < len && state == HTTP_HEAD_MORE) {
        struct http_text piece;
        size_t used = 0, n = len - at < step ? len - at : step;
        state = http_body_next(&body, data + at, n, &used, &piece, &fault);
        assert_true(used > 0 && used <= n);
        buf_add(content, piece.at, piece.len);
        at += used;
    }
    assert_int_equal(state == HTTP_HEAD_BAD, fault.status == 400 && fault.detail);
    *ret_rest = len - at;
    return state;
}

static void chunks_are_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (size_t step = 1; step <= strlen(cases[i].body); step++) {
            CLEANUP(buf_done) struct buf content = BUF_INIT(1000);
            size_t rest = 0;
            enum http_head_state got =
                read_all(cases[i].body, strlen(cases[i].body), step, &content, &rest);
            if (got != (cases[i].content ? HTTP_HEAD_GOOD : HTTP_HEAD_BAD)) {
                fail_msg("%s by %zu: state %d", cases[i].body, step, got);
            }
            if (cases[i].content) {
                assert_string_equal(content.data ? content.data : "", cases[i].content);
                assert_int_equal(rest, cases[i].rest);
            }
        }
    }
}

static void plain_bodies_have_their_length(void **state)
{
    struct http_head_fault fault = {0};
    struct http_text piece;
    struct http_body body;
    size_t used = 9;

    (void)state;
    http_body_begin(&body, 5);
    assert_int_equal(http_body_next(&body, "abc", 3, &used, &piece, &fault), HTTP_HEAD_MORE);
    assert_int_equal(used, 3);
    assert_int_equal(http_body_next(&body, "defg", 4, &used, &piece, &fault), HTTP_HEAD_GOOD);
    assert_int_equal(used, 2);
    assert_int_equal(piece.len, 2);
    http_body_begin(&body, 0);
    assert_int_equal(http_body_next(&body, "", 0, &used, &piece, &fault), HTTP_HEAD_GOOD);
}

static void trailers_have_a_limit(void **state)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(1 << 20), content = BUF_INIT(1000);
    size_t rest = 0;

    (void)state;
    buf_adds(&body, "0\r\n");
    for (int i = 0; i < 1000; i++) {
        buf_adds(&body, "Trailer: 0123456789\r\n");
    }
    buf_adds(&body, "\r\n");
    assert_int_equal(read_all(body.data, body.len, body.len, &content, &rest), HTTP_HEAD_BAD);
}

static void assert_problem(const struct buf *got, const char *what)
{
    assert_has(got, "HTTP/1.1 400 Bad Request\r\n");
    assert_has(got, "Content-Type: application/problem+json\r\n");
    assert_has(got, "Connection: close\r\n");
    assert_has(got, what);
    assert_null(strstr(got->data, "<html"));
}

#define CHUNKED "POST /v1/raw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

static void broken_chunks_read_a_problem(void **state)
{
    ANSWER;

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
        const char *body = cases[i / 2].body;
        if (!cases[i / 2].content) {
            CLEANUP(buf_done) struct buf request = BUF_INIT(1000);
            buf_addf(&request, CHUNKED "%s", body);
            ask_on(i % 2 ? dial() : dial_tcp(), &got, request.data);
            assert_problem(&got, "of the body");
        }
    }
    /* One that was refused for its head first is told of that instead of having its body read. */
    ask(&got, "POST /v1/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
              "1\r\na\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "404 Not Found");
    assert_has(&got, "fine");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void later_heads_are_judged_as_the_first(void **state)
{
    static const char *const bad[] = {"GET\r\n\r\n", "\x16\x03\x01\x02",
                                      "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
                                      "GET / HTTP/1.1\nHost: x\n\n",
                                      "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n"};
    ANSWER;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad) * 2; i++) {
        int fd = dial();
        buf_clear(&got);
        say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        if (i % 2) { /* else right behind the good one */
            hear(fd, &got, "fine");
        }
        say(fd, bad[i / 2]);
        hear(fd, &got, NULL);
        close(fd);
        assert_has(&got, "fine");
        char *last = strstr(got.data + 1, "HTTP/1.1 ");
        assert_non_null(last);
        CLEANUP(buf_done) struct buf answer = BUF_INIT(10000);
        buf_adds(&answer, last);
        assert_problem(&answer, "bad_request");
    }
}

static void a_request_cut_off_reads_a_problem(void **state)
{
    static const char *const texts[] = {
        "POST /v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe", CHUNKED "5\r\nhe",
        CHUNKED "0\r\n", "GET /healthz HTTP/1.1\r\nHo"};
    ANSWER;

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(texts); i++) {
        int fd = i % 2 ? dial() : dial_tcp();
        say(fd, texts[i / 2]);
        shutdown(fd, SHUT_WR);
        ask_on(fd, &got, "");
        assert_problem(&got, "the request ends within its");
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

/* Who will ask nothing more is let go when it has its answer, not when its time is over. */
static void a_half_closed_client_is_let_go(void **state)
{
    ANSWER;

    (void)state;
    for (int i = 0; i < 2; i++) {
        int fd = i ? dial() : dial_tcp();
        int64_t begin_ms = clock_mono_ms();
        say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        shutdown(fd, SHUT_WR);
        buf_clear(&got);
        hear(fd, &got, NULL);
        assert_has(&got, "fine");
        PUMP_UNTIL(http_server_connections(w.server) == 0);
        assert_true(clock_mono_ms() - begin_ms < 5000); /* the limits are 15 s and 60 s */
        close(fd);
    }
}

static void old_clients_keep_a_connection_when_they_say_so(void **state)
{
    ANSWER;
    int fd = dial();

    (void)state;
    say(fd, "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    hear(fd, &got, "fine");
    assert_has(&got, "Connection: keep-alive\r\n");
    ask_on(fd, &got, "GET /healthz HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n");
    assert_has(&got, "Connection: close\r\n");
    ask(&got, "GET /healthz HTTP/1.0\r\n\r\n");
    assert_has(&got, "Connection: close\r\n");
    assert_has(&got, "fine");
}

/* Hundreds in one go are answered in turns, and others meanwhile. */
static void a_flood_holds_nobody_up(void **state)
{
    CLEANUP(buf_done) struct buf flood = BUF_INIT(8 << 20);
    int fd = dial(), other = dial(), rounds = 0;
    ANSWER;

    (void)state;
    for (int i = 0; i < 300; i++) {
        buf_adds(&flood, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    assert_int_equal(send(fd, flood.data, flood.len, MSG_NOSIGNAL), (ssize_t)flood.len);
    say(other, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    for (char data[4096]; recv(other, data, sizeof(data), MSG_DONTWAIT) < 0; rounds++) {
        turn();
    }
    assert_true(rounds < 10);
    for (size_t n = 0; n < 300;) {
        hear(fd, &got, "fine");
        n = 0;
        for (const char *at = got.data; (at = strstr(at, "\r\n\r\nfine")); at++) {
            n++;
        }
        turn();
        char data[65536];
        ssize_t len = recv(fd, data, sizeof(data), MSG_DONTWAIT);
        buf_add(&got, data, len > 0 ? (size_t)len : 0);
    }
    close(fd);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_understood),
        cmocka_unit_test(plain_bodies_have_their_length),
        cmocka_unit_test(trailers_have_a_limit),
        T(broken_chunks_read_a_problem),
        T(later_heads_are_judged_as_the_first),
        T(a_request_cut_off_reads_a_problem),
        T(a_half_closed_client_is_let_go),
        T(old_clients_keep_a_connection_when_they_say_so),
        T(a_flood_holds_nobody_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
