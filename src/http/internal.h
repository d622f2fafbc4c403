#pragma once
#include "base/buf.h"
#include "http/body.h"
#include "http/head.h"
#include "http/http.h"
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <time.h>

/* Inside of src/http/ only; server.c and conn.c have the design. */

/* A refused body is read and thrown away up to here, so that its sender gets to read the answer. */
#define HTTP_DRAIN_MAX_BYTES ((size_t)16 * 1024 * 1024)
#define HTTP_SEGMENTS_MAX 12
#define HTTP_PARAMS_MAX 4
#define HTTP_QUERIES_MAX 16
#define HTTP_REPLY_HEADERS_MAX 8
#define HTTP_READ_BYTES ((size_t)16 * 1024)
#define HTTP_EVENTS_AT_ONCE 64

/* What a connection is waiting for; each has its own time limit. */
enum conn_wait { WAIT_HEAD, WAIT_BODY, WAIT_SENT, WAIT_NOTHING, WAIT_COUNT = WAIT_NOTHING };

struct conn {
    struct http_server *server;
    int fd;
    uint32_t events; /* that are waited for; EPOLLHUP and EPOLLERR always are */
    bool is_old;     /* its request is of HTTP/1.0 */
    bool keeps;      /* another request may come after this one */
    bool has_body_to_come;
    bool leaves_rest;  /* of a body that nobody reads: no other request can follow */
    bool has_ended;    /* the client sends nothing more */
    bool is_judged;    /* what there is of a head; nothing has come since that changes it */
    bool is_probed;    /* whether a client that has ended is still there */
    bool is_handling;  /* a handler of its request runs */
    bool is_lingering; /* all is said; what still comes is thrown away */
    bool is_turned_away; /* because there are too many */
    bool is_ready;     /* on the server's list of those */
    bool may_bring;    /* descriptors, which cannot be refused */
    size_t drained;    /* bytes thrown away */
    enum conn_wait wait;
    int64_t deadline_ms;
    struct http_peer peer;
    uid_t counted_as;
    struct buf in; /* read and, from in_at on, not yet understood */
    size_t in_at;
    struct http_body body;
    struct buf out; /* head of an answer */
    size_t sent;    /* of it and of the answer's body */
    struct http_request *req; /* the request under way */
    struct http_stream *stream;
    TAILQ_ENTRY(conn) by_deadline;
    TAILQ_ENTRY(conn) ready;
    LIST_ENTRY(conn) all;
};
TAILQ_HEAD(conn_queue, conn);
LIST_HEAD(conn_list, conn);
LIST_HEAD(stream_list, http_stream);

struct uid_count {
    uid_t uid;
    unsigned count;
};

struct listener {
    int fd;
    sd_event_source *source;
    char *path; /* of the unix socket that we made */
    dev_t dev;
    ino_t ino;
    unsigned port;
    bool may_bring; /* its clients descriptors, which cannot be refused */
};
#define HTTP_LISTENERS_MAX 3

struct http_server {
    sd_event *event;
    struct http_settings settings;
    const struct http_route *routes;
    void *userdata;
    int epoll_fd; /* of all connections: one source of the loop */
    sd_event_source *io_source, *ready_source, *timer, *retry_source;
    int64_t armed_ms; /* when `timer` will fire, INT64_MAX when off */
    struct listener listeners[HTTP_LISTENERS_MAX];
    unsigned listener_count;
    struct conn_list conns;
    struct conn_queue ready; /* have something to do that their sockets do not show */
    unsigned ready_count;
    struct conn_queue queues[WAIT_COUNT];
    struct epoll_event events[HTTP_EVENTS_AT_ONCE]; /* being looked at */
    int event_count;
    char date[32]; /* for answers made in this second: */
    time_t date_s;
    unsigned conn_count, conn_peak, tcp_count, turned_away_count;
    bool is_to_trim;
    struct uid_count *uids;
    unsigned uid_count;
    struct stream_list streams;
};

enum request_phase {
    PHASE_BODY,     /* nothing is wrong so far; the body is coming in */
    PHASE_HANDLING, /* the handler runs */
    PHASE_HELD,     /* the handler kept it */
    PHASE_ANSWERED, /* the answer is made; the body may still be coming */
    PHASE_SENDING,
};

struct http_pair {
    char *name, *value;
};

struct http_request {
    struct http_server *server;
    struct conn *conn; /* NULL once the client has gone */
    struct http_peer peer;
    const struct http_route *route;
    enum http_method method;
    enum request_phase phase;
    char *head; /* as it came; in it: */
    struct http_text fields;
    bool wants_no_body;                      /* HEAD */
    char *uri;                               /* as it came, the query cut off */
    char *query;                             /* decoded in place; queries[] point into it */
    char *decoded;                           /* the path's segments, decoded, NUL-separated */
    const char *segments[HTTP_SEGMENTS_MAX]; /* point into decoded */
    unsigned segment_count, query_count;
    struct http_pair queries[HTTP_QUERIES_MAX];
    struct buf body;
    size_t body_seen;
    struct http_pair headers[HTTP_REPLY_HEADERS_MAX];
    unsigned header_count;
    unsigned status; /* and the rest of the answer */
    const char *content_type;
    char *answer;
    size_t answer_len;
    void (*on_gone)(struct http_request *req, void *userdata);
    void *on_gone_data;
};

struct http_stream {
    struct http_server *server;
    struct conn *conn;
    struct buf backlog;
    size_t sent; /* of the backlog */
    int64_t progress_ms;
    bool is_plain; /* not in chunks, which HTTP/1.0 does not know */
    bool is_closed, is_cut;
    void (*on_gone)(struct http_stream *stream, void *userdata);
    void *on_gone_data;
    LIST_ENTRY(http_stream) all;
};

/* socket.c */
/* False: the kernel does not know how.  The next four are told so. */
bool http_socket_refuse_descriptors(int fd);
/* Before anything is read from one that may bring descriptors. */
void http_socket_begin(int fd);
/* Like recv(), at once; -1 and EPERM for bytes that bring descriptors: they are not read, and the
 * socket is to be closed. */
ssize_t http_socket_read(int fd, void *data, size_t size, bool may_bring);
/* At once, whatever has been sent along. */
void http_socket_close(int fd, bool may_bring);
void http_socket_stop_listening(int fd, bool may_bring);

/* listen.c */
int http_listen_unix(const char *path, mode_t mode, struct listener *ret, struct error *err);
int http_listen_tcp(const char *where, struct listener *ret, struct error *err);
int http_listen_inherited(int fd, struct listener *ret, struct error *err);
void http_listener_done(struct listener *listener);

/* server.c */
void conn_wait_for(struct conn *conn, enum conn_wait wait);
/* Takes it off the server's lists. */
void server_forget(struct conn *conn);
int64_t server_now_ms(const struct http_server *server);
void server_arm(struct http_server *server, int64_t when_ms);

/* conn.c */
/* From an accepted socket on; -errno: the socket is still the caller's. */
int conn_begin(struct conn *conn);
/* It has been told why it is not served, and gets the time to read that. */
void conn_turn_away(struct conn *conn);
/* Something happened on its socket.  This and the next three may end and free it. */
void conn_on_events(struct conn *conn, uint32_t events);
/* Goes on with it as far as it goes now. */
void conn_go(struct conn *conn);
/* Its time is over. */
void conn_expire(struct conn *conn);
/* Ends it at once; whoever holds its request or stream is told. */
void conn_close(struct conn *conn);
/* Ends it, too, but writes what the socket takes of an answer that was given. */
void conn_end(struct conn *conn);
/* Goes on with it soon. */
void conn_is_ready(struct conn *conn);
/* To a socket on which nothing of an answer has been written; `headers` are whole lines. */
void http_send_problem(int fd, const struct http_head_fault *fault, const char *headers);

/* request.c */
struct http_request *request_new(struct conn *conn, const char *data, const struct http_head *head);
/* Looks at everything that the head tells; false: nobody would wait for the body that follows. */
bool request_on_head(struct http_request *req, const struct http_head *head);
/* False: more than anybody would read. */
bool request_on_body(struct http_request *req, const struct http_text *piece);
/* All of it is there: answers it, or keeps it. */
void request_on_whole(struct http_request *req);
/* The client has gone: detaches what the connection was doing and tells its holder. */
void request_lose(struct conn *conn);
/* Gives the answer; `body` (NULL: none, or a stream) is taken over. */
void request_answer(struct http_request *req, unsigned status, const char *content_type, char *body,
                    size_t len);
void request_free(struct http_request *req);

/* reply.c */
const char *http_status_text(unsigned status);
/* The head of the request's answer into conn->out. */
void reply_add_head(struct http_request *req);

/* route.c */
/* Decodes path and query of req->uri; false: malformed, *ret_why says what. */
bool request_parse_uri(struct http_request *req, struct error *ret_why);
/* The route; NULL when none has this path (allow is empty) or this method (allow lists those that
 * there are). */
const struct http_route *request_find_route(const struct http_request *req, bool has_method,
                                            struct buf *allow);

/* stream.c */
/* What is left to send; 0 and *ret_is_over when its end has been sent. */
struct http_text stream_next(const struct http_stream *stream, bool *ret_is_over);
void stream_has_sent(struct http_stream *stream, size_t len);
void stream_lose(struct http_stream *stream);
void streams_keep_alive(struct http_server *server);
