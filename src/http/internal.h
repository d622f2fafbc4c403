#pragma once
#include "base/buf.h"
#include "http/head.h"
#include "http/http.h"
#include <microhttpd.h>
#include <stdint.h>
#include <sys/queue.h>

/* Inside of src/http/ only; server.c has the design. */

/* Each connection's memory in libmicrohttpd: head of the request, parsed fields, head of the
 * answer.  Must leave room beside a head of HTTP_HEADERS_MAX_BYTES. */
#define HTTP_CONNECTION_BYTES (24 * 1024)
/* A refused body is read and thrown away up to here, so that its sender gets to read the answer. */
#define HTTP_DRAIN_MAX_BYTES ((size_t)16 * 1024 * 1024)
#define HTTP_SEGMENTS_MAX 12
#define HTTP_PARAMS_MAX 4
#define HTTP_QUERIES_MAX 16
#define HTTP_REPLY_HEADERS_MAX 8

/* What a connection is waiting for; each has its own time limit. */
enum conn_wait { WAIT_HEAD, WAIT_BODY, WAIT_SENT, WAIT_NOTHING, WAIT_COUNT = WAIT_NOTHING };

struct conn {
    struct http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    bool is_dead;      /* to be closed by libmicrohttpd at the next opportunity */
    bool is_suspended; /* libmicrohttpd does not look at it */
    bool is_probed;    /* a "100 Continue" was sent to see whether anybody is there (server.c) */
    bool is_handling; /* a handler of its request runs */
    bool is_entering; /* libmicrohttpd does not have it yet (entry.c) */
    bool is_refused;  /* nor will it */
    size_t drained;   /* bytes thrown away since then */
    enum conn_wait wait;
    int64_t deadline_ms;
    struct http_peer peer;
    struct http_request *req; /* the request under way */
    struct http_stream *stream;
    sd_event_source *watch; /* tells that the client left, while libmicrohttpd does not look */
    bool is_to_suspend;     /* on the server's list of those */
    TAILQ_ENTRY(conn) by_deadline;
    SLIST_ENTRY(conn) to_suspend;
    LIST_ENTRY(conn) all;
};
TAILQ_HEAD(conn_queue, conn);
LIST_HEAD(conn_list, conn);
SLIST_HEAD(conn_stack, conn);
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
};
#define HTTP_LISTENERS_MAX 3

struct http_server {
    sd_event *event;
    struct http_settings settings;
    const struct http_route *routes;
    void *userdata;
    struct MHD_Daemon *mhd;
    sd_event_source *mhd_source, *more_source, *timer, *retry_source;
    int64_t armed_ms; /* when `timer` will fire, INT64_MAX when off */
    struct listener listeners[HTTP_LISTENERS_MAX];
    unsigned listener_count;
    struct conn_list conns;
    struct conn_stack to_suspend;
    struct conn_queue queues[WAIT_COUNT];
    struct conn *accepting; /* being handed over; NULL as soon as libmicrohttpd has taken it */
    unsigned conn_count, conn_peak, tcp_count;
    bool is_to_trim;
    struct uid_count *uids;
    unsigned uid_count;
    struct stream_list streams;
};

enum request_phase {
    PHASE_HEAD,     /* nothing looked at yet */
    PHASE_BODY,     /* the body is coming in */
    PHASE_HANDLING, /* the handler runs */
    PHASE_HELD,     /* the handler kept it */
    PHASE_ANSWERED, /* the answer is made, not yet given to libmicrohttpd */
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
    unsigned status;
    struct MHD_Response *response;
    void (*on_gone)(struct http_request *req, void *userdata);
    void *on_gone_data;
};

struct http_stream {
    struct http_server *server;
    struct conn *conn;
    struct buf backlog;
    size_t sent; /* of the backlog */
    int64_t progress_ms;
    bool is_closed, is_cut;
    unsigned refs; /* ours, and libmicrohttpd's, which may read once more after we let go */
    void (*on_gone)(struct http_stream *stream, void *userdata);
    void *on_gone_data;
    LIST_ENTRY(http_stream) all;
};

/* listen.c */
int http_listen_unix(const char *path, mode_t mode, struct listener *ret, struct error *err);
int http_listen_tcp(const char *where, struct listener *ret, struct error *err);
int http_listen_inherited(int fd, struct listener *ret, struct error *err);
void http_listener_done(struct listener *listener);

/* entry.c: a connection's first head.  Each may end and free the connection. */
void entry_begin(struct conn *conn);
void entry_drop(struct conn *conn);
void entry_expire(struct conn *conn);
/* Writes a problem to a connection that libmicrohttpd does not write to; `headers` are whole lines. */
void http_send_problem(int fd, unsigned status, const char *reason, const char *detail,
                       const char *headers);

/* server.c */
void conn_free(struct conn *conn);
void conn_wait_for(struct conn *conn, enum conn_wait wait);
void conn_resume(struct conn *conn);
void conn_suspend(struct conn *conn);
/* Suspends it once libmicrohttpd has returned (server.c says why). */
void conn_suspend_later(struct conn *conn);
/* Starts or stops watching for the client's leaving. */
void conn_watch(struct conn *conn);
void conn_unwatch(struct conn *conn);
int64_t server_now_ms(const struct http_server *server);
void server_arm(struct http_server *server, int64_t when_ms);

/* request.c: libmicrohttpd's callbacks */
void *request_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result request_on_data(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *data_size, void **state);
void request_on_done(void *cls, struct MHD_Connection *mhd, void **state,
                     enum MHD_RequestTerminationCode code);
/* The client has gone: detaches what the connection was doing and tells its holder. */
void request_lose(struct conn *conn);
/* Gives the answer; takes over `response`. */
void request_answer(struct http_request *req, unsigned status, struct MHD_Response *response);
void request_free(struct http_request *req);
struct conn *conn_of(struct MHD_Connection *mhd);

/* route.c */
/* Decodes path and query of req->uri; false: malformed, *ret_why says what. */
bool request_parse_uri(struct http_request *req, const char **ret_why);
/* The route; NULL when none has this path (allow is empty) or this method (allow lists those that
 * there are). */
const struct http_route *request_find_route(const struct http_request *req, bool has_method,
                                            struct buf *allow);

/* stream.c */
void stream_lose(struct http_stream *stream);
void streams_keep_alive(struct http_server *server);
