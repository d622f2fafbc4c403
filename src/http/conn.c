/* One connection: bytes in, requests, answers, bytes out.
 *
 * It takes one turn after the other (turn()): understand a head, then its body, then have it
 * handled, then write the answer; and again, because the next request may have come with this one.
 * A turn that cannot go on says what it waits for: more bytes, a holder's answer, room in the
 * socket.  While a request is under way nothing is read, so that what a client can make us keep is
 * bounded: one head or one piece beside the body.
 *
 * A malformed request is answered, and as nobody knows where the next would begin, it is the last.
 * Closing a socket on data that nobody has read would destroy the answer on its way, so whatever
 * still comes is thrown away until the client has closed, too, or time is over (lingering).
 *
 * While a request is held, that its client left is seen as EPOLLHUP: both halves are closed.  A TCP
 * client that has left looks like one that closed its sending half only (a FIN) until something is
 * written: so an interim "100 Continue", which clients skip, is sent after the FIN; a reset answers
 * it when nobody is there. */
#include "base/log.h"
#include "http/internal.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define IN_MAX_BYTES (HTTP_HEADERS_MAX_BYTES + HTTP_READ_BYTES + 1)
#define OUT_MAX_BYTES ((size_t)64 * 1024)
#define TURNS_AT_ONCE 32
#define JUDGED_BYTES 64 /* of a head, at once: enough to know what does not speak HTTP */

/* How a turn ends. */
enum turn {
    TURN_AGAIN,
    TURN_READS,  /* more must come */
    TURN_HELD,   /* somebody else must do something */
    TURN_WRITES, /* the client must take something */
    TURN_OVER,   /* the connection is gone */
};

static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";

void http_send_problem(int fd, const struct http_head_fault *fault, const char *headers)
{
    char text[1024], body[512];
    const char *title = http_status_text(fault->status);
    int len = snprintf(body, sizeof(body),
                       "{\"type\":\"urn:tangram:problem:%s\",\"title\":\"%s\",\"status\":%u,"
                       "\"reason\":\"%s\",\"detail\":\"%s\"}",
                       fault->reason, title, fault->status, fault->reason, fault->detail);

    len = snprintf(text, sizeof(text),
                   "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\n"
                   "%sConnection: close\r\nContent-Length: %d\r\n\r\n%s",
                   fault->status, title, headers, len, body);
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        log_debug("http: a client could not be told: %s", fault->detail);
    }
}

void conn_close(struct conn *conn)
{
    request_lose(conn);
    server_forget(conn);
    epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    http_socket_close(conn->fd, conn->may_bring);
    buf_done(&conn->in);
    buf_done(&conn->out);
    free(conn);
}

static enum turn end_now(struct conn *conn)
{
    conn_close(conn);
    return TURN_OVER;
}

static enum turn linger(struct conn *conn)
{
    shutdown(conn->fd, SHUT_WR);
    conn->is_lingering = true;
    conn_wait_for(conn, WAIT_SENT);
    return TURN_AGAIN;
}

/* Answers what cannot be understood; it is the last. */
static enum turn refuse(struct conn *conn, const struct http_head_fault *fault)
{
    request_lose(conn);
    http_send_problem(conn->fd, fault, "");
    return linger(conn);
}

static enum turn drain(struct conn *conn)
{
    char data[HTTP_READ_BYTES];
    ssize_t n = http_socket_read(conn->fd, data, sizeof(data), conn->may_bring);

    conn->drained += n > 0 ? (size_t)n : 0;
    if (n > 0 && conn->drained < HTTP_DRAIN_MAX_BYTES) {
        return TURN_AGAIN;
    }
    return n < 0 && errno == EAGAIN ? TURN_READS : end_now(conn);
}

/* --- what comes in ---------------------------------------------------------------------------- */

static struct http_text unread(const struct conn *conn)
{
    return (struct http_text){conn->in.data ? conn->in.data + conn->in_at : "",
                              conn->in.len - conn->in_at};
}

/* Nothing has come of a request, or no more than the empty line that may stand before it. */
static bool is_between_requests(const struct conn *conn)
{
    struct http_text data = unread(conn);

    return data.len <= 2 && !memcmp(data.at, "\r\n", data.len);
}

static void eat(struct conn *conn, size_t len)
{
    conn->in_at += len;
    if (conn->in_at == conn->in.len) { /* an idle connection keeps no memory for it */
        buf_done(&conn->in);
        conn->in = BUF_INIT(IN_MAX_BYTES);
        conn->in_at = 0;
    }
}

/* Reads once; false when the connection has broken. */
static bool receive(struct conn *conn)
{
    static const struct http_head_fault brings = {400, "bad_request",
                                                  "descriptors are not taken here"};
    char data[HTTP_READ_BYTES];
    ssize_t n = http_socket_read(conn->fd, data, sizeof(data), conn->may_bring);

    if (n < 0 && errno == EPERM) {
        http_send_problem(conn->fd, &brings, "");
        return false;
    }
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        conn->has_ended = true;
        return true;
    }
    if (conn->in_at) {
        conn->in.len -= conn->in_at;
        memmove(conn->in.data, conn->in.data + conn->in_at, conn->in.len + 1);
        conn->in_at = 0;
    }
    buf_add(&conn->in, data, (size_t)n);
    /* A head that drips in is not looked at from its beginning for each byte. */
    conn->is_judged = conn->is_judged && conn->in.len > JUDGED_BYTES &&
                      conn->in.len <= HTTP_HEADERS_MAX_BYTES && !memchr(data, '\n', (size_t)n);
    return true;
}

static enum turn on_good_head(struct conn *conn, const struct http_text *data)
{
    struct http_head head;

    http_head_read(data->at, data->len, &head);
    conn->is_old = head.is_old;
    conn->keeps = head.keeps;
    conn->is_probed = conn->is_judged = false;
    conn->req = request_new(conn, data->at, &head);
    if (!request_on_head(conn->req, &head)) {
        conn->leaves_rest = true;
        return TURN_AGAIN;
    }
    eat(conn, head.bytes);
    if (head.length == 0) {
        request_on_whole(conn->req);
        return TURN_AGAIN;
    }
    http_body_begin(&conn->body, head.length);
    conn->has_body_to_come = true;
    conn_wait_for(conn, WAIT_BODY);
    if (head.expects_to_hear && !unread(conn).len &&
        send(conn->fd, interim, sizeof(interim) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        return end_now(conn);
    }
    return TURN_AGAIN;
}

static enum turn read_head(struct conn *conn)
{
    static const struct http_head_fault cut_off = {400, "bad_request",
                                                   "the request ends within its head"};
    struct http_text data = unread(conn);
    struct http_head_fault fault = {0};

    switch (conn->is_judged ? HTTP_HEAD_MORE : http_head_check(data.at, data.len, &fault)) {
    case HTTP_HEAD_GOOD:
        return on_good_head(conn, &data);
    case HTTP_HEAD_BAD:
        return refuse(conn, &fault);
    default:
        break;
    }
    conn->is_judged = true;
    if (!conn->has_ended) {
        return TURN_READS;
    }
    return is_between_requests(conn) ? end_now(conn) : refuse(conn, &cut_off);
}

static enum turn read_body(struct conn *conn)
{
    static const struct http_head_fault cut_off = {400, "bad_request",
                                                   "the request ends within its body"};
    struct http_text data = unread(conn), piece;
    struct http_head_fault fault = {0};
    size_t used;
    enum http_head_state state =
        http_body_next(&conn->body, data.at, data.len, &used, &piece, &fault);

    if (state == HTTP_HEAD_BAD) {
        return refuse(conn, &fault);
    }
    if (!request_on_body(conn->req, &piece)) {
        conn->has_body_to_come = false;
        conn->leaves_rest = true;
        return TURN_AGAIN;
    }
    eat(conn, used);
    if (state == HTTP_HEAD_GOOD) {
        conn->has_body_to_come = false;
        request_on_whole(conn->req);
        return TURN_AGAIN;
    }
    if (unread(conn).len) {
        return TURN_AGAIN;
    }
    return conn->has_ended ? refuse(conn, &cut_off) : TURN_READS;
}

/* --- what goes out ---------------------------------------------------------------------------- */

/* Sends two texts, the first `*sent` bytes of which have gone; false: the connection has broken. */
static bool send_rest(struct conn *conn, struct http_text first, struct http_text second,
                      size_t *sent)
{
    struct iovec parts[2];
    struct msghdr msg = {.msg_iov = parts};
    size_t skip = *sent;
    ssize_t n;

    for (int i = 0; i < 2; i++) {
        const struct http_text *text = i ? &second : &first;
        size_t gone = skip < text->len ? skip : text->len;
        skip -= gone;
        if (gone < text->len) {
            parts[msg.msg_iovlen++] = (struct iovec){(char *)(uintptr_t)text->at + gone,
                                                     text->len - gone};
        }
    }
    n = msg.msg_iovlen ? sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    *sent += n > 0 ? (size_t)n : 0;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* The answer has gone. */
static enum turn finish(struct conn *conn)
{
    if (conn->stream && !conn->req->wants_no_body) {
        request_free(TAKE_PTR(conn->req));
        conn_wait_for(conn, conn->stream->is_closed || conn->stream->is_cut ? WAIT_SENT
                                                                           : WAIT_NOTHING);
        return TURN_AGAIN;
    }
    if (conn->stream) {
        return end_now(conn);
    }
    request_free(TAKE_PTR(conn->req));
    conn_wait_for(conn, WAIT_HEAD);
    if (conn->keeps && !conn->leaves_rest) {
        return TURN_AGAIN;
    }
    /* Over TCP something may be on its way. */
    return conn->leaves_rest || unread(conn).len || !conn->peer.is_unix ? linger(conn)
                                                                        : end_now(conn);
}

static enum turn write_answer(struct conn *conn)
{
    struct http_request *req = conn->req;
    struct http_text body = {req->answer, req->wants_no_body ? 0 : req->answer_len};

    if (req->phase == PHASE_ANSWERED) {
        req->phase = PHASE_SENDING;
        reply_add_head(req);
        conn->sent = 0;
    }
    if (!send_rest(conn, (struct http_text){conn->out.data, conn->out.len}, body, &conn->sent)) {
        return end_now(conn);
    }
    if (conn->sent < conn->out.len + body.len) {
        if (conn->wait != WAIT_SENT) {
            conn_wait_for(conn, WAIT_SENT);
        }
        return TURN_WRITES;
    }
    buf_done(&conn->out);
    return finish(conn);
}

static enum turn write_stream(struct conn *conn)
{
    bool is_over = false;
    struct http_text rest = stream_next(conn->stream, &is_over);
    size_t sent = 0;

    if (!rest.len) {
        return is_over ? end_now(conn) : TURN_HELD;
    }
    if (!send_rest(conn, rest, (struct http_text){0}, &sent)) {
        return end_now(conn);
    }
    stream_has_sent(conn->stream, sent);
    return sent < rest.len ? TURN_WRITES : TURN_AGAIN;
}

/* --- the two together ------------------------------------------------------------------------- */

static enum turn turn(struct conn *conn)
{
    if (conn->is_lingering) {
        return drain(conn);
    }
    if (!conn->req) {
        return conn->stream ? write_stream(conn) : read_head(conn);
    }
    if (conn->has_body_to_come) {
        return read_body(conn);
    }
    if (conn->req->phase == PHASE_HELD) {
        conn_wait_for(conn, WAIT_NOTHING);
        return TURN_HELD;
    }
    return write_answer(conn);
}

/* Of a client that waits for an answer only its leaving is of interest. */
static uint32_t events_of(const struct conn *conn, enum turn turn)
{
    if (turn == TURN_READS) {
        return EPOLLIN;
    }
    if (turn == TURN_WRITES) {
        return EPOLLOUT;
    }
    return conn->stream || conn->peer.is_unix || conn->is_probed || conn->is_old ? 0 : EPOLLRDHUP;
}

static bool watch(struct conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};

    if (events == conn->events) {
        return true;
    }
    if (epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) < 0) {
        log_warn("http: a connection cannot be watched and is closed: %s", strerror(errno));
        return false;
    }
    conn->events = events;
    return true;
}

void conn_go(struct conn *conn)
{
    enum turn now = TURN_AGAIN;

    for (unsigned i = 0; now == TURN_AGAIN && i < TURNS_AT_ONCE; i++) {
        now = turn(conn);
    }
    if (now == TURN_AGAIN) {
        conn_is_ready(conn); /* after the others */
    } else if (now != TURN_OVER && !watch(conn, events_of(conn, now))) {
        conn_close(conn);
    }
}

void conn_end(struct conn *conn)
{
    enum turn now = TURN_AGAIN;

    conn->keeps = false;
    while (now == TURN_AGAIN && !conn->is_lingering && !conn->has_body_to_come &&
           (conn->req ? conn->req->phase >= PHASE_ANSWERED : conn->stream != NULL)) {
        now = turn(conn);
    }
    if (now != TURN_OVER) {
        conn_close(conn);
    }
}

/* Is a client that sends nothing more still there? */
static void probe(struct conn *conn)
{
    if (send(conn->fd, interim, sizeof(interim) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN) {
        conn_close(conn);
        return;
    }
    conn->is_probed = true;
    conn_go(conn);
}

void conn_on_events(struct conn *conn, uint32_t events)
{
    if (conn->is_ready) {
        return; /* has enough to do */
    }
    if (conn->events & EPOLLIN) { /* what a client has sent counts, also when it has left */
        if (conn->is_lingering || receive(conn)) {
            conn_go(conn);
        } else {
            conn_close(conn);
        }
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        conn_close(conn);
    } else if (events & EPOLLRDHUP) {
        probe(conn);
    } else {
        conn_go(conn);
    }
}

void conn_expire(struct conn *conn)
{
    static const struct http_head_fault late = {
        408, "timeout", "the request did not arrive whole in the time it has"};

    if (conn->wait == WAIT_HEAD && conn->req) {
        conn_wait_for(conn, WAIT_SENT); /* it has an answer, and its turn will come */
    } else if (conn->wait == WAIT_BODY || (conn->wait == WAIT_HEAD && !is_between_requests(conn))) {
        refuse(conn, &late);
        conn_go(conn);
    } else {
        conn_close(conn);
    }
}

void conn_turn_away(struct conn *conn)
{
    conn->is_turned_away = true;
    linger(conn);
}

int conn_begin(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

    conn->in = BUF_INIT(IN_MAX_BYTES);
    conn->out = BUF_INIT(OUT_MAX_BYTES);
    conn->events = EPOLLIN;
    return epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) < 0 ? -errno : 0;
}
