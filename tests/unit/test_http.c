/* Requests and their answers. */
#include "../http_world.h"

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

static void what_has_one_meaning_comes_once(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Idempotency-Key: a\r\nidempotency-key: a\r\n"
              "Content-Length: 0\r\n\r\n");
    assert_has(&got, "400 Bad Request");
    assert_has(&got, "Idempotency-Key is given twice");
    ask_on(dial_tcp(), &got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "Authorization: Bearer good\r\n"
                             "Authorization: Bearer bad\r\n\r\n");
    assert_has(&got, "Authorization is given twice");
    ask(&got, "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "Accept: a\r\nAccept: b\r\n\r\n");
    assert_has(&got, "200 OK");
}

static void a_proxys_form_is_understood(void **state)
{
    ANSWER;
    (void)state;
    ask(&got, "GET http://any.where:80/v1/things/7?q=1 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "\"id\":\"7\"");
    assert_has(&got, "\"q\":\"1\"");
    ask(&got, "GET http://any.where HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "404 Not Found");
    ask(&got, "GET ftp://any.where/v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "bad_uri");
}

/* A token that is revoked ends what its holder still has open, but not the request that revokes. */
static void who_is_dropped_is_out(void **state)
{
    CLEANUP(buf_done) struct buf held = BUF_INIT(1 << 20);
    ANSWER;
    int stream = dial_tcp(), waits = dial_tcp(), local = dial();

    (void)state;
    say(stream, "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n");
    hear(stream, &got, "hello");
    say(waits, "GET /v1/hold HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n");
    PUMP_UNTIL(w.held);
    say(local, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    buf_clear(&got);
    hear(local, &got, "fine");
    http_server_drop(w.server, "t-2");
    assert_int_equal(w.stream_gone + w.gone, 0);
    http_server_drop(w.server, "t-1");
    assert_int_equal(w.stream_gone, 1);
    assert_int_equal(w.gone, 1);
    hear(waits, &held, NULL); /* the end */
    hear(stream, &got, NULL);
    ask_on(dial_tcp(), &got,
           "GET /v1/drop HTTP/1.1\r\n" CLOSE "Authorization: Bearer good\r\n\r\n");
    assert_has(&got, "dropped");
    ask_on(local, &got, "GET /healthz HTTP/1.1\r\n" CLOSE "\r\n");
    assert_has(&got, "fine");
    close(stream);
    close(waits);
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
    /* Nor is one waited for that does not come to an end. */
    int fd = dial(), chunks = 0;
    say(fd, "POST /v1/raw HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n");
    while (chunks < 64 && say(fd, "100000\r\n") && say_bytes(fd, filler, 1 << 20) &&
           say(fd, "\r\n")) {
        chunks++;
    }
    assert_in_range(chunks, 1, 32);
    close(fd);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(get_reaches_the_handler),
        T(head_has_no_body),
        T(unknown_paths_and_methods_are_problems),
        T(problems_carry_their_members),
        T(what_has_one_meaning_comes_once),
        T(a_proxys_form_is_understood),
        T(who_is_dropped_is_out),
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
        T(tcp_wants_a_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
