/* The head of a request: what is taken, what is refused, and that whoever is refused reads a
 * problem document. */
#include "http/head.h"
#include "../http_world.h"

#define HOST "Host: x\r\n"

static const struct {
    const char *head;
    unsigned status; /* 0: good */
} cases[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 0},
    {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0},
    {"GET / HTTP/1.0\r\n\r\n", 0},
    {"POST /v1/raw HTTP/1.1\r\nhOsT:x\r\nContent-Length: 5\r\n\r\nhello", 0},
    {"POST /v1/raw HTTP/1.1\r\n" HOST "transfer-encoding:\tChunked \r\n\r\n", 0},
    {"GET /v1/things/\xc3\xa9 HTTP/1.1\r\n" HOST "X-Tab: a\tb\r\nX-Empty:\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
    {"GET / HTTP/1.1\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: x\n\n", 400},
    {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n", 400},
    {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET\r\n\r\n", 400},
    {"GET /\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
    {"GET / x HTTP/1.1\r\n" HOST "\r\n", 400},
    {" GET / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"G@T / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / http/1.1\r\n" HOST "\r\n", 400},
    {"\x16\x03\x01\x02\x01\x01", 400},
    {"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", 400},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
    {"GET / HTTP/9.9\r\n" HOST "\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: banana\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 501},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
};

static void heads_are_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct http_head_fault fault = {0};
        enum http_head_state got = http_head_check(cases[i].head, strlen(cases[i].head), &fault);
        if (got == HTTP_HEAD_MORE || fault.status != cases[i].status) {
            fail_msg("%s: state %d, status %u: %s", cases[i].head, got, fault.status,
                     fault.detail ? fault.detail : "");
        }
    }
}

/* A head is never good before its end, and what is bad stays bad. */
static void pieces_of_heads_are_judged_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *head = cases[i].head, *end = strstr(head + 2, "\r\n\r\n");
        for (size_t len = 0; len < strlen(head); len++) {
            struct http_head_fault fault = {0};
            enum http_head_state got = http_head_check(head, len, &fault);
            if ((got == HTTP_HEAD_GOOD && (!end || len < (size_t)(end - head) + 4)) ||
                (got == HTTP_HEAD_BAD && fault.status != cases[i].status)) {
                fail_msg("%zu bytes of %s: state %d, status %u", len, head, got, fault.status);
            }
        }
    }
}

static void heads_have_an_end(void **state)
{
    CLEANUP(buf_done) struct buf head = BUF_INIT(1 << 20);
    struct http_head_fault fault = {0};

    (void)state;
    buf_adds(&head, "GET / HTTP/1.1\r\n" HOST);
    while (head.len + 100 < HTTP_HEADERS_MAX_BYTES - 2) {
        buf_addf(&head, "X: %0*d\r\n", 170, 0);
    }
    buf_addf(&head, "X: %0*d\r\n", (int)(HTTP_HEADERS_MAX_BYTES - 2 - head.len) - 5, 0);
    buf_adds(&head, "\r\n");
    assert_int_equal(head.len, HTTP_HEADERS_MAX_BYTES);
    assert_int_equal(http_head_check(head.data, head.len, &fault), HTTP_HEAD_GOOD);
    head.data[head.len - 2] = 'x';
    assert_int_equal(http_head_check(head.data, head.len, &fault), HTTP_HEAD_BAD);
    buf_clear(&head);
    buf_addf(&head, "GET /%0*d", (int)HTTP_TARGET_MAX_BYTES, 0);
    assert_int_equal(http_head_check(head.data, head.len, &fault), HTTP_HEAD_BAD);
    assert_int_equal(fault.status, 414);
    buf_clear(&head);
    buf_adds(&head, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 200; i++) {
        buf_adds(&head, "a:\r\n");
    }
    assert_int_equal(http_head_check(head.data, head.len, &fault), HTTP_HEAD_BAD);
    assert_int_equal(fault.status, 431);
}

static void assert_problem(const struct buf *got, unsigned status, const char *sent)
{
    char first[32];

    snprintf(first, sizeof(first), "HTTP/1.1 %u ", status);
    if (!got->data || strncmp(got->data, first, strlen(first)) != 0 ||
        !strstr(got->data, "\r\nContent-Type: application/problem+json\r\n")) {
        fail_msg("not a problem %u for %.200s: %.800s", status, sent,
                 got->data ? got->data : "(nothing)");
    }
    CLEANUP(json_decrefp) json_t *body = json_loads(strstr(got->data, "\r\n\r\n") + 4, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(body, "status")), status);
    assert_non_null(json_string_value(json_object_get(body, "detail")));
    assert_non_null(strstr(json_string_value(json_object_get(body, "type")),
                           json_string_value(json_object_get(body, "reason"))));
}

static void who_is_refused_reads_a_problem(void **state)
{
    ANSWER;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (cases[i].status) {
            ask(&got, cases[i].head);
            assert_problem(&got, cases[i].status, cases[i].head);
            ask_on(dial_tcp(), &got, cases[i].head);
            assert_problem(&got, cases[i].status, cases[i].head);
        }
    }
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

/* However it comes in: byte by byte, cut off, or with a megabyte behind it. */
static void how_it_comes_does_not_matter(void **state)
{
    CLEANUP(buf_done) struct buf bomb = BUF_INIT(8 << 20);
    ANSWER;

    (void)state;
    static const char good[] = "GET /v1/things/7 HTTP/1.1\r\n" CLOSE "\r\n";
    int fd = dial();
    for (const char *p = good; *p; p++) {
        assert_true(say_bytes(fd, p, 1));
        sd_event_run(w.event, 0);
    }
    ask_on(fd, &got, "");
    assert_has(&got, "200 OK");
    fd = dial();
    say(fd, "GET /v1/things/7 HTTP/1.1\r\nHos");
    shutdown(fd, SHUT_WR);
    ask_on(fd, &got, "");
    assert_problem(&got, 400, "a head that ends early");
    fd = dial();
    say(fd, "GET /v1/things/7 HTTP/1.1\r\nHost: x\r\n\r\n\r\n"); /* as old clients end a body */
    shutdown(fd, SHUT_WR);
    ask_on(fd, &got, "");
    assert_has(&got, "200 OK");
    assert_null(strstr(got.data, "400"));
    buf_adds(&bomb, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 4096; i++) {
        buf_addf(&bomb, "X-%d: %0*d\r\n", i, 1000, 0);
    }
    ask(&got, bomb.data);
    assert_problem(&got, 431, "four megabytes of headers");
    ask_on(dial_tcp(), &got, bomb.data);
    assert_problem(&got, 431, "four megabytes of headers");
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

static void a_slow_head_reads_a_problem(void **state)
{
    ANSWER;
    int silent = dial(), fd = dial();

    (void)state;
    say(fd, "GET /v1/things/7 HT");
    hear(fd, &got, NULL);
    assert_problem(&got, 408, "half a head");
    close(fd);
    buf_clear(&got);
    hear(silent, &got, NULL); /* who has said nothing is not spoken to */
    assert_int_equal(got.len, 0);
    close(silent);
    PUMP_UNTIL(http_server_connections(w.server) == 0);
}

/* Good heads with a few bytes changed: whatever comes back is an answer of ours. */
static void no_head_brings_a_foreign_answer(void **state)
{
    static const char bytes[] = " \r\n\t:/?%\x01\x7f\xff,;aZ09";
    uint64_t seed = 20261122;
    ANSWER;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        char head[256];
        snprintf(head, sizeof(head), "%s", cases[(size_t)i % 6].head);
        size_t len = strlen(head);
        for (int k = 0; k < 1 + i % 3; k++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            head[(seed >> 40) % len] = bytes[(seed >> 20) % (sizeof(bytes) - 1)];
        }
        int fd = dial();
        say(fd, head);
        shutdown(fd, SHUT_WR);
        ask_on(fd, &got, "");
        bool is_ours = !got.len || strstr(got.data, "application/problem+json") ||
                       !strncmp(got.data, "HTTP/1.1 2", 10);
        if (!is_ours || strstr(got.data, "<html")) {
            fail_msg("for %s: %s", head, got.data);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_judged),
        cmocka_unit_test(pieces_of_heads_are_judged_alike),
        cmocka_unit_test(heads_have_an_end),
        T(who_is_refused_reads_a_problem),
        T(how_it_comes_does_not_matter),
        T_SHORT(a_slow_head_reads_a_problem),
        T_SHORT(no_head_brings_a_foreign_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
