/* Event streams, and the time that clients have. */
#include "../http_world.h"

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

/* As a daemon ends: it answers whoever waits, closes the streams, and frees the server. */
static void what_was_said_at_the_end_is_heard(void **state)
{
    for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
        int held = is_tcp ? dial_tcp() : dial(), stream = is_tcp ? dial_tcp() : dial();
        ANSWER;

        w.held = NULL;
        w.stream = NULL;
        say(held, "GET /v1/hold HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n");
        say(stream, "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n");
        PUMP_UNTIL(w.held && w.stream);
        hear(stream, &got, "hello");
        answer_held();
        http_stream_send(w.stream, "data: bye\n\n", 11);
        http_stream_close(w.stream);
        http_server_free(TAKE_PTR(w.server));
        hear(stream, &got, NULL);
        assert_has(&got, "data: bye\n\n\r\n0\r\n\r\n");
        buf_clear(&got);
        hear(held, &got, NULL);
        assert_has(&got, "Connection: close\r\n");
        assert_has(&got, "\r\n\r\nlate");
        close(held);
        close(stream);
        teardown(state);
        setup(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(streams_carry_events),
        T(streams_end_when_closed),
        T(a_stream_asked_for_by_head_ends_at_once),
        T(streams_speak_http_1_0),
        T(slow_readers_are_cut_off),
        T_SHORT(slow_requests_are_closed),
        T_SHORT(readers_that_never_read_are_closed),
        T_SHORT(time_limits_spare_held_requests_and_streams),
        T(freeing_the_server_tells_the_holders),
        T(what_was_said_at_the_end_is_heard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
