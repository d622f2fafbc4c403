/* A connection before libmicrohttpd has it: until the head of its first request lies whole on the
 * socket, where it is looked at and left (MSG_PEEK).  A good one is handed over; a bad one is answered
 * here, and what else its client sends is thrown away until it has read that, because closing a socket
 * on unread data would destroy the answer on its way.
 *
 * A connection that sends nothing costs no memory of libmicrohttpd's. */
#include "base/log.h"
#include "http/head.h"
#include "http/internal.h"
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

void http_send_problem(int fd, unsigned status, const char *reason, const char *detail,
                       const char *headers)
{
    char text[1024], body[512];
    const char *title = MHD_get_reason_phrase_for(status);
    int len = snprintf(body, sizeof(body),
                       "{\"type\":\"urn:tangram:problem:%s\",\"title\":\"%s\",\"status\":%u,"
                       "\"reason\":\"%s\",\"detail\":\"%s\"}",
                       reason, title, status, reason, detail);

    len = snprintf(text, sizeof(text),
                   "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\n"
                   "%sConnection: close\r\nContent-Length: %d\r\n\r\n%s",
                   status, title, headers, len, body);
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        log_debug("http: a client could not be told: %s", detail);
    }
}

void entry_drop(struct conn *conn)
{
    close(conn->fd);
    conn_free(conn);
}

/* Throws away what comes, up to a limit; the time limit is conn's. */
static void drain(struct conn *conn)
{
    char data[16384];
    ssize_t n = 1;

    while (n > 0 && conn->drained < HTTP_DRAIN_MAX_BYTES) {
        n = recv(conn->fd, data, sizeof(data), MSG_DONTWAIT);
        conn->drained += n > 0 ? (size_t)n : 0;
    }
    if (n >= 0 || errno != EAGAIN) {
        entry_drop(conn);
    }
}

static void refuse(struct conn *conn, const struct http_head_fault *fault)
{
    http_send_problem(conn->fd, fault->status, fault->reason, fault->detail, "");
    shutdown(conn->fd, SHUT_WR);
    conn->is_refused = true;
    conn_wait_for(conn, WAIT_SENT);
    drain(conn);
}

static void hand_over(struct conn *conn)
{
    struct http_server *server = conn->server;
    struct sockaddr_storage addr = {.ss_family = AF_UNIX};
    socklen_t len = sizeof(addr);

    conn_unwatch(conn);
    if (getpeername(conn->fd, (struct sockaddr *)&addr, &len) < 0) {
        len = sizeof(sa_family_t);
    }
    conn->is_entering = false;
    server->accepting = conn;
    /* Closes the descriptor if it fails, without telling on_connection(). */
    if (MHD_add_connection(server->mhd, conn->fd, (const struct sockaddr *)&addr, len) != MHD_YES &&
        server->accepting) {
        conn_free(conn);
    }
    server->accepting = NULL;
    sd_event_source_set_enabled(server->more_source, SD_EVENT_ONESHOT);
}

/* Looks at what has come. */
static void look(struct conn *conn, bool is_ended)
{
    char data[HTTP_HEADERS_MAX_BYTES + 1];
    struct http_head_fault fault = {0};
    ssize_t n = recv(conn->fd, data, sizeof(data), MSG_PEEK | MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        entry_drop(conn);
        return;
    }
    switch (n < 0 ? HTTP_HEAD_MORE : http_head_check(data, (size_t)n, &fault)) {
    case HTTP_HEAD_GOOD:
        hand_over(conn);
        break;
    case HTTP_HEAD_BAD:
        refuse(conn, &fault);
        break;
    case HTTP_HEAD_MORE:
        if (is_ended) {
            refuse(conn, &(struct http_head_fault){400, "bad_request",
                                                   "the request ends within its head"});
        }
        break;
    }
}

static int on_bytes(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct conn *conn = userdata;

    (void)source;
    (void)fd;
    if (conn->is_refused) {
        drain(conn);
    } else { /* what a client has sent counts, also when it has left */
        look(conn, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
    return 0;
}

void entry_begin(struct conn *conn)
{
    conn->is_entering = true;
    /* By edges, because what is looked at stays on the socket. */
    if (sd_event_add_io(conn->server->event, &conn->watch, conn->fd,
                        EPOLLIN | EPOLLRDHUP | EPOLLET, on_bytes, conn) < 0) {
        log_warn("http: a connection cannot be watched and is closed");
        entry_drop(conn);
    }
}

void entry_expire(struct conn *conn)
{
    if (!conn->is_refused) {
        char data;
        if (recv(conn->fd, &data, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
            http_send_problem(conn->fd, 408, "timeout",
                              "the request did not arrive whole in the time it has", "");
        }
    }
    entry_drop(conn);
}
