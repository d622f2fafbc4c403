#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* HTTP/1.1 as such, on the caller's sd-event loop: sockets, who is at the other end, routes,
 * replies, problem documents, event streams.  Knows nothing of what is served.
 *
 * Threads: all calls and all callbacks are on the loop's thread. */

struct http_server;
struct http_request;
struct http_stream;

enum http_method {
    HTTP_GET, /* HEAD is answered by the GET route, without the body */
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_METHOD_COUNT
};

enum http_route_flags {
    HTTP_ROUTE_PUBLIC = 1,   /* over TCP no token is needed (health checks) */
    HTTP_ROUTE_ANY_TYPE = 2, /* the body need not be application/json */
};

/* A handler must, before it returns, either answer the request (exactly one http_reply_...() or
 * http_stream_open()) or keep it with http_hold().  Answering ends the request: the pointer, and
 * all text got from it, is dead afterwards. */
struct http_route {
    enum http_method method;
    const char *pattern; /* "/v1/leases/{id}"; a {name} matches one whole segment, not empty */
    void (*handle)(struct http_request *req, void *userdata);
    unsigned flags;
};

#define HTTP_IDENTITY_SIZE 64

/* Zero means the default that is named; texts are copied. */
struct http_settings {
    const char *socket_path;      /* NULL: no unix socket */
    mode_t socket_mode;           /* 0666: who may do what is decided per request, by uid */
    const char *listen;           /* "127.0.0.1:7070", "[::1]:7070"; NULL: no TCP; loopback only */
    int inherited_fd;             /* a listening socket from the service manager; 0 or -1: none */
    unsigned connections_max;     /* 2048, and some descriptors are left; root gets in beyond it */
    unsigned connections_per_uid; /* 256 (all TCP clients count as one, and of them whoever has not
                                   * shown a token gives way to the next); root has no limit */
    size_t body_max_bytes;        /* 1 MiB */
    unsigned idle_timeout_ms;     /* 60000: a connection without a complete request head */
    unsigned request_timeout_ms;  /* 15000: from the head to the end of the body, and for a
                                   * client to take an answer */
    unsigned keepalive_ms;        /* 15000: a comment on event streams */
    size_t stream_backlog_bytes;  /* 256 KiB that a slow reader may lag behind */
    /* Over TCP: who holds this token?  True with an identity (any text) when it is good.  NULL:
     * every TCP request is refused. */
    bool (*authenticate)(const char *token, char ret_identity[static HTTP_IDENTITY_SIZE],
                         void *authenticate_data);
    void *authenticate_data;
    /* Whose connections count together as one user's: any one of their ids.  NULL: nobody's. */
    uid_t (*counted_as)(uid_t uid, void *counted_as_data);
    void *counted_as_data;
};

/* Could `where` be listened on: HOST:PORT with a loopback address?  -EINVAL says why not. */
int http_check_listen(const char *where, struct error *err);
/* Listens at once.  `routes` (ended by an all-zero row) is borrowed and must outlive the server;
 * more specific patterns come first.
 * A stale unix socket is replaced, one that somebody answers on is not: -EADDRINUSE.
 * -EINVAL for a malformed or non-loopback `listen`; else the system's error with the path. */
int http_server_new(sd_event *event, const struct http_settings *settings,
                    const struct http_route *routes, void *userdata, struct http_server **ret,
                    struct error *err);
/* Writes what can be written of answers that were given, and reads what has come, now instead of in
 * the loop's next round.  Not from inside a route's handler. */
void http_server_push(struct http_server *server);
/* No new connections from here on; those that exist, and held requests, go on. */
void http_server_stop_listening(struct http_server *server);
/* Cuts the connections over which this identity (as `authenticate` told it) last asked for
 * something: its streams and held requests see their on_gone.  Not the one whose
 * handler is running. */
void http_server_drop(struct http_server *server, const char *identity);
/* Cuts what is left: held requests and streams see their on_gone.  Answers that were given and
 * streams that were closed before are sent as far as the clients take them at once.  Removes the
 * socket. */
void http_server_free(struct http_server *server);
DEFINE_FREEP(struct http_server, http_server_free)
/* The port of the TCP socket (useful after listening on port 0), 0 without one. */
unsigned http_server_port(const struct http_server *server);
/* Open connections, for doctor and tests. */
unsigned http_server_connections(const struct http_server *server);

/* Who is at the other end. */
struct http_peer {
    bool is_unix;
    uid_t uid; /* of the process that connected (SO_PEERCRED); valid when is_unix */
    gid_t gid;
    pid_t pid;
    char identity[HTTP_IDENTITY_SIZE]; /* what `authenticate` said; "" on unix and public routes */
};

/* All text is borrowed until the request is answered.  Paths and queries are percent-decoded, valid
 * UTF-8 without control characters: anything else was refused before the handler. */
const struct http_peer *http_peer(const struct http_request *req);
/* The path as the client wrote it, without the query. */
const char *http_path(const struct http_request *req);
/* Value of "{name}" in the pattern; NULL if there is no such name. */
const char *http_param(const struct http_request *req, const char *name);
/* Value of ?name=value, "" for ?name; NULL when absent.  A name given twice was refused. */
const char *http_query(const struct http_request *req, const char *name);
/* The first query parameter whose name is not in the NULL-terminated list; NULL if all are. */
const char *http_query_unknown(const struct http_request *req, const char *const *known);
/* Any case of name; NULL when absent, and once the client has gone. */
const char *http_header(const struct http_request *req, const char *name);
/* The body, NUL-terminated; "" when there is none. */
const char *http_body(const struct http_request *req, size_t *ret_len);

/* Sets a header of the answer to come (copied; at most 8). */
void http_set_header(struct http_request *req, const char *name, const char *value);
/* body is borrowed. */
void http_reply_json(struct http_request *req, unsigned status, const json_t *body);
void http_reply_text(struct http_request *req, unsigned status, const char *text);
void http_reply_bytes(struct http_request *req, unsigned status, const char *content_type,
                      const void *data, size_t len);
/* application/problem+json: type "urn:tangram:problem:REASON", title, status, reason, detail, and
 * the members of `more` (an object, borrowed, or NULL). */
void http_reply_problem(struct http_request *req, unsigned status, const char *reason,
                        const json_t *more, const char *detail_fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Keeps the request to answer it later, from the loop.  The holder must answer it exactly once in
 * any case, that frees it.  If the client goes away first, on_gone (may be NULL) is called, once;
 * answering afterwards (also from inside on_gone) is still due and harmless. A client that closed
 * only its sending half has not gone. */
void http_hold(struct http_request *req, void (*on_gone)(struct http_request *req, void *userdata),
               void *userdata);
bool http_is_gone(const struct http_request *req);

/* Answers with an endless text/event-stream; ends the request.  When the stream ends by itself (the
 * client left, was cut off, or the server is freed) on_gone is called, once, and the stream is dead
 * afterwards; never from inside http_stream_send(). NULL if the client has gone already: then
 * nothing is called. */
struct http_stream *http_stream_open(struct http_request *req,
                                     void (*on_gone)(struct http_stream *stream, void *userdata),
                                     void *userdata);
/* Queues bytes ("id: 7\nevent: x\ndata: {}\n\n"), whole or not at all.  -ENOBUFS: the client lags
 * more than the backlog; it is sent what is queued and a last comment, and cut off (on_gone will
 * come). -EPIPE: it has gone or was cut off (on_gone will come). */
int http_stream_send(struct http_stream *stream, const void *data, size_t len);
/* How much of what was sent has not left yet: send history only while this is small. */
size_t http_stream_backlog_bytes(const struct http_stream *stream);
/* Ends it after what is queued; on_gone is not called. */
void http_stream_close(struct http_stream *stream);
