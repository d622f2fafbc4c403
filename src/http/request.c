/* One request from its head to its answer.
 *
 * libmicrohttpd calls request_on_data() first with the head, then for each piece of the body, then
 * once more without data; again after each resume.  Everything that can be refused from the head
 * alone is refused there, but the answer to a request with a body is given after the body was read
 * (up to a limit): closing a socket on unread data would destroy the answer on its way.
 *
 * libmicrohttpd's own state pointer is not used: what a connection is doing hangs on our conn, so
 * that a client's leaving can detach it while libmicrohttpd still has the connection. */
#include "base/log.h"
#include "base/text.h"
#include "http/internal.h"
#include <string.h>

struct conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

const struct http_peer *http_peer(const struct http_request *req)
{
    return &req->peer;
}

const char *http_path(const struct http_request *req)
{
    return req->uri;
}

const char *http_header(const struct http_request *req, const char *name)
{
    return req->conn ? MHD_lookup_connection_value(req->conn->mhd, MHD_HEADER_KIND, name) : NULL;
}

const char *http_body(const struct http_request *req, size_t *ret_len)
{
    if (ret_len) {
        *ret_len = req->body.len;
    }
    return req->body.data ? req->body.data : "";
}

bool http_is_gone(const struct http_request *req)
{
    return !req->conn;
}

void request_free(struct http_request *req)
{
    if (!req) {
        return;
    }
    for (unsigned i = 0; i < req->header_count; i++) {
        free(req->headers[i].name);
        free(req->headers[i].value);
    }
    if (req->response) {
        MHD_destroy_response(req->response);
    }
    buf_done(&req->body);
    free(req->uri);
    free(req->decoded);
    free(req);
}

void request_answer(struct http_request *req, unsigned status, struct MHD_Response *response)
{
    if (!req->conn) {
        if (response) {
            MHD_destroy_response(response);
        }
        /* From inside on_gone() the caller below still looks at it. */
        if (req->phase == PHASE_HELD) {
            req->phase = PHASE_ANSWERED;
            if (!req->on_gone) {
                request_free(req);
            }
        }
        return;
    }
    if (req->phase >= PHASE_ANSWERED) {
        log_error("http: a request for %s was answered twice", req->uri);
        MHD_destroy_response(response);
        return;
    }
    for (unsigned i = 0; i < req->header_count; i++) {
        MHD_add_response_header(response, req->headers[i].name, req->headers[i].value);
    }
    req->status = status;
    req->response = response;
    if (req->phase == PHASE_HELD) {
        if (!req->conn->stream) {
            conn_unwatch(req->conn);
        }
        conn_resume(req->conn);
    }
    req->phase = PHASE_ANSWERED;
}

void http_hold(struct http_request *req, void (*on_gone)(struct http_request *req, void *userdata),
               void *userdata)
{
    req->on_gone = on_gone;
    req->on_gone_data = userdata;
    req->phase = PHASE_HELD;
}

void request_lose(struct conn *conn)
{
    struct http_request *req = TAKE_PTR(conn->req);
    struct http_stream *stream = TAKE_PTR(conn->stream);

    if (stream) {
        stream_lose(stream);
    }
    if (!req) {
        return;
    }
    req->conn = NULL;
    if (req->phase != PHASE_HELD) {
        request_free(req);
    } else if (req->on_gone) {
        req->on_gone(req, req->on_gone_data);
        req->on_gone = NULL;
        if (req->phase == PHASE_ANSWERED) {
            request_free(req);
        }
    }
}

void *request_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *server = cls;
    struct conn *conn = conn_of(mhd);
    struct http_request *req;

    if (!conn) {
        return NULL;
    }
    request_lose(conn);
    req = xcalloc(1, sizeof(*req));
    req->server = server;
    req->conn = conn;
    req->peer = conn->peer;
    req->peer.identity[0] = '\0'; /* that was the request before this one */
    req->uri = xstrdup(uri);
    req->body = BUF_INIT(server->settings.body_max_bytes);
    conn->req = req;
    return req;
}

static bool parse_method(const char *name, enum http_method *ret)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_GET},    {"POST", HTTP_POST},
                   {"PUT", HTTP_PUT}, {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE}};

    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        if (strcmp(name, methods[i].name) == 0) {
            *ret = methods[i].method;
            return true;
        }
    }
    return false;
}

/* Over TCP somebody must say who he is. */
static bool check_identity(struct http_request *req)
{
    const struct http_settings *settings = &req->server->settings;
    const char *header = http_header(req, MHD_HTTP_HEADER_AUTHORIZATION);

    if (req->peer.is_unix) {
        return true;
    }
    if (header && strncasecmp(header, "Bearer ", 7) == 0 && settings->authenticate) {
        header += 7 + strspn(header + 7, " ");
        if (settings->authenticate(header, req->peer.identity, settings->authenticate_data)) {
            req->conn->peer = req->peer; /* so that it can be found when the token is revoked */
            return true;
        }
        req->peer.identity[0] = '\0';
    }
    if (req->route && (req->route->flags & HTTP_ROUTE_PUBLIC)) {
        return true;
    }
    http_set_header(req, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"tangram\"");
    http_reply_problem(req, MHD_HTTP_UNAUTHORIZED, "unauthorized", NULL, "%s",
                       header ? "the token is not known here; make one with: tangram token create"
                              : "a bearer token is needed over TCP (Authorization: Bearer ...); "
                                "make one with: tangram token create");
    return false;
}

/* Length of the body as announced: 0 none, -1 unknown (chunked). */
static int64_t body_length(const struct http_request *req)
{
    const char *length = http_header(req, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t bytes;

    if (http_header(req, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        return -1;
    }
    if (!length) {
        return 0;
    }
    /* libmicrohttpd has checked that it is a number; one beyond our range is huge. */
    return text_parse_int(length, "Content-Length", 0, INT64_MAX, &bytes, NULL) < 0 ? INT64_MAX
                                                                                    : bytes;
}

static bool is_json_type(const char *type)
{
    static const char json[] = "application/json";

    if (!type || strncasecmp(type, json, sizeof(json) - 1) != 0) {
        return false;
    }
    type += sizeof(json) - 1;
    type += strspn(type, " \t");
    return *type == '\0' || *type == ';';
}

static void refuse_too_large(struct http_request *req)
{
    http_reply_problem(req, MHD_HTTP_CONTENT_TOO_LARGE, "too_large", NULL,
                       "the body has more than %zu bytes", req->server->settings.body_max_bytes);
}

static bool check_body(struct http_request *req, int64_t length)
{
    if (length == 0) {
        return true;
    }
    if (length > 0 && (uint64_t)length > req->server->settings.body_max_bytes) {
        refuse_too_large(req);
        return false;
    }
    if (!(req->route->flags & HTTP_ROUTE_ANY_TYPE) &&
        !is_json_type(http_header(req, MHD_HTTP_HEADER_CONTENT_TYPE))) {
        http_reply_problem(req, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", NULL,
                           "the body must be application/json (Content-Type)");
        return false;
    }
    return true;
}

/* Finds the route; false when the request was answered instead. */
static bool check_route(struct http_request *req, const char *method)
{
    CLEANUP(buf_done) struct buf allow = BUF_INIT(256);
    bool has_method = parse_method(method, &req->method);

    req->route = request_find_route(req, has_method, &allow);
    if (!check_identity(req)) {
        return false;
    }
    if (req->route) {
        return true;
    }
    if (!allow.len) {
        http_reply_problem(req, MHD_HTTP_NOT_FOUND, "not_found", NULL, "there is nothing at %s",
                           req->uri);
        return false;
    }
    http_set_header(req, MHD_HTTP_HEADER_ALLOW, allow.data);
    if (strcmp(method, "OPTIONS") == 0) {
        http_reply_bytes(req, MHD_HTTP_NO_CONTENT, NULL, NULL, 0);
    } else {
        http_reply_problem(req, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed", NULL,
                           "%.16s is not possible on %s, only %s", method, req->uri, allow.data);
    }
    return false;
}

struct twice {
    const char *name; /* NULL: none so far */
    unsigned seen;    /* bits of once[] */
};

/* A header that has one meaning must not come with two. */
static enum MHD_Result find_twice(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    static const char *const once[] = {MHD_HTTP_HEADER_AUTHORIZATION, MHD_HTTP_HEADER_CONTENT_TYPE,
                                       "Idempotency-Key", "Last-Event-ID"};
    struct twice *twice = cls;

    (void)kind;
    (void)value;
    for (size_t i = 0; i < ARRAY_SIZE(once); i++) {
        if (!strcasecmp(name, once[i])) {
            twice->name = twice->seen & 1u << i ? once[i] : twice->name;
            twice->seen |= 1u << i;
        }
    }
    return MHD_YES;
}

static bool check_headers(struct http_request *req)
{
    struct twice twice = {0};

    MHD_get_connection_values(req->conn->mhd, MHD_HEADER_KIND, find_twice, &twice);
    if (twice.name) {
        http_reply_problem(req, MHD_HTTP_BAD_REQUEST, "bad_request", NULL, "%s is given twice",
                           twice.name);
    }
    return !twice.name;
}

/* Looks at everything that the head tells; afterwards the request is answered or wants its body. */
static void check_head(struct http_request *req, const char *method, int64_t length)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const char *why = NULL;

    if (info && info->header_size > HTTP_HEADERS_MAX_BYTES) {
        http_reply_problem(req, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", NULL,
                           "the request's head has more than %zu bytes", HTTP_HEADERS_MAX_BYTES);
    } else if (!request_parse_uri(req, &why)) {
        http_reply_problem(req, MHD_HTTP_BAD_REQUEST, "bad_uri", NULL, "%s", why);
    } else if (check_headers(req) && check_route(req, method)) {
        check_body(req, length);
    }
}

/* Hands the answer to libmicrohttpd. */
static enum MHD_Result send_answer(struct http_request *req, struct MHD_Connection *mhd)
{
    enum MHD_Result result;

    req->phase = PHASE_SENDING;
    conn_wait_for(req->conn, req->conn->stream ? WAIT_NOTHING : WAIT_SENT);
    result = MHD_queue_response(mhd, req->status, req->response);
    MHD_destroy_response(req->response);
    req->response = NULL;
    return result;
}

static enum MHD_Result on_head(struct http_request *req, struct MHD_Connection *mhd,
                               const char *method)
{
    int64_t length = body_length(req);

    req->phase = PHASE_BODY;
    check_head(req, method, length);
    if (req->phase == PHASE_ANSWERED &&
        (length > (int64_t)HTTP_DRAIN_MAX_BYTES || http_header(req, MHD_HTTP_HEADER_EXPECT))) {
        return send_answer(req, mhd);
    }
    if (length != 0) {
        conn_wait_for(req->conn, WAIT_BODY);
    }
    return MHD_YES;
}

static enum MHD_Result on_body(struct http_request *req, const char *data, size_t *size)
{
    req->body_seen += *size;
    if (req->body_seen > HTTP_DRAIN_MAX_BYTES) {
        return MHD_NO;
    }
    if (req->phase == PHASE_BODY) {
        buf_add(&req->body, data, *size);
        if (req->body.is_full) {
            buf_done(&req->body);
            req->body = BUF_INIT(0);
            refuse_too_large(req);
        }
    }
    *size = 0;
    return MHD_YES;
}

/* All of the request is there. */
static enum MHD_Result on_whole(struct http_request *req, struct MHD_Connection *mhd)
{
    if (req->phase == PHASE_BODY) {
        struct conn *conn = req->conn;
        req->phase = PHASE_HANDLING;
        conn->is_handling = true;
        req->route->handle(req, req->server->userdata);
        conn->is_handling = false;
        if (req->phase == PHASE_HANDLING) {
            log_error("http: the handler of %s did not answer", req->route->pattern);
            http_reply_problem(req, MHD_HTTP_INTERNAL_SERVER_ERROR, "internal", NULL,
                               "this request was forgotten; please report it");
        }
    }
    if (req->phase == PHASE_ANSWERED) {
        return send_answer(req, mhd);
    }
    if (req->phase == PHASE_HELD && !req->conn->is_suspended) {
        conn_wait_for(req->conn, WAIT_NOTHING);
        conn_suspend_later(req->conn);
    }
    return MHD_YES;
}

enum MHD_Result request_on_data(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *data_size, void **state)
{
    struct conn *conn = conn_of(mhd);

    (void)cls;
    (void)url;
    (void)version;
    (void)state;
    if (!conn || conn->is_dead || !conn->req) {
        return MHD_NO;
    }
    if (conn->req->phase == PHASE_HEAD) {
        return on_head(conn->req, mhd, method);
    }
    if (*data_size) {
        return on_body(conn->req, data, data_size);
    }
    return on_whole(conn->req, mhd);
}

void request_on_done(void *cls, struct MHD_Connection *mhd, void **state,
                     enum MHD_RequestTerminationCode code)
{
    struct conn *conn = conn_of(mhd);

    (void)cls;
    (void)state;
    (void)code;
    if (conn) {
        request_lose(conn);
        conn_unwatch(conn);
        conn_wait_for(conn, WAIT_HEAD);
    }
}
