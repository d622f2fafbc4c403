/* One request from its head to its answer.
 *
 * Everything that can be refused from the head alone is refused there, but the answer to a request
 * with a body is given after the body was read (up to a limit), so that the connection
 * can go on. */
#include "base/log.h"
#include "base/text.h"
#include "http/internal.h"
#include <string.h>
#include <strings.h>

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
    struct http_text rest = req->fields, field, value;

    while (req->conn && http_head_next_field(&rest, &field, &value)) {
        if (http_text_is(&field, name)) {
            /* In our copy, over what ends its line. */
            req->head[value.at + value.len - req->head] = '\0';
            return value.at;
        }
    }
    return NULL;
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
    buf_done(&req->body);
    free(req->head);
    free(req->answer);
    free(req->uri);
    free(req->decoded);
    free(req);
}

void request_answer(struct http_request *req, unsigned status, const char *content_type, char *body,
                    size_t len)
{
    if (!req->conn) {
        free(body);
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
        free(body);
        return;
    }
    req->status = status;
    req->content_type = content_type;
    req->answer = body;
    req->answer_len = len;
    if (req->phase == PHASE_HELD) {
        conn_is_ready(req->conn);
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

struct http_request *request_new(struct conn *conn, const char *data, const struct http_head *head)
{
    struct http_request *req = xcalloc(1, sizeof(*req));

    req->server = conn->server;
    req->conn = conn;
    req->peer = conn->peer;
    req->peer.identity[0] = '\0'; /* that was the request before this one */
    req->phase = PHASE_BODY;
    req->head = xcalloc(1, head->bytes + 1);
    memcpy(req->head, data, head->bytes);
    req->fields = (struct http_text){req->head + (head->fields.at - data), head->fields.len};
    req->uri = xcalloc(1, head->target.len + 1);
    memcpy(req->uri, head->target.at, head->target.len);
    req->wants_no_body = http_text_is(&head->method, "HEAD");
    req->body = BUF_INIT(conn->server->settings.body_max_bytes);
    return req;
}

static bool parse_method(const struct http_text *name, enum http_method *ret)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_GET},    {"POST", HTTP_POST},
                   {"PUT", HTTP_PUT}, {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE}};

    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        if (strlen(methods[i].name) == name->len && !memcmp(name->at, methods[i].name, name->len)) {
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
    const char *header = http_header(req, "Authorization");

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
    http_set_header(req, "WWW-Authenticate", "Bearer realm=\"tangram\"");
    http_reply_problem(req, 401, "unauthorized", NULL, "%s",
                       header ? "the token is not known here; make one with: tangram token create"
                              : "a bearer token is needed over TCP (Authorization: Bearer ...); "
                                "make one with: tangram token create");
    return false;
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
    http_reply_problem(req, 413, "too_large", NULL,
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
        !is_json_type(http_header(req, "Content-Type"))) {
        http_reply_problem(req, 415, "unsupported_media_type", NULL,
                           "the body must be application/json (Content-Type)");
        return false;
    }
    return true;
}

/* Finds the route; false when the request was answered instead. */
static bool check_route(struct http_request *req, const struct http_text *method)
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
        http_reply_problem(req, 404, "not_found", NULL, "there is nothing at %s",
                           req->uri);
        return false;
    }
    http_set_header(req, "Allow", allow.data);
    if (method->len == 7 && !memcmp(method->at, "OPTIONS", 7)) {
        http_reply_bytes(req, 204, NULL, NULL, 0);
    } else {
        http_reply_problem(req, 405, "method_not_allowed", NULL,
                           "%.*s is not possible on %s, only %s", (int)method->len, method->at,
                           req->uri, allow.data);
    }
    return false;
}

/* A header that has one meaning must not come with two. */
static bool check_headers(struct http_request *req)
{
    static const char *const once[] = {"Authorization", "Content-Type", "Idempotency-Key",
                                       "Last-Event-ID"};
    struct http_text rest = req->fields, name, value;
    unsigned seen = 0;

    while (http_head_next_field(&rest, &name, &value)) {
        for (size_t i = 0; i < ARRAY_SIZE(once); i++) {
            if (!http_text_is(&name, once[i])) {
                continue;
            }
            if (seen & 1u << i) {
                http_reply_problem(req, 400, "bad_request", NULL, "%s is given twice", once[i]);
                return false;
            }
            seen |= 1u << i;
        }
    }
    return true;
}

bool request_on_head(struct http_request *req, const struct http_head *head)
{
    struct error why = {0};

    if (!request_parse_uri(req, &why)) {
        http_reply_problem(req, 400, "bad_uri", NULL, "%s", why.msg);
    } else if (check_headers(req) && check_route(req, &head->method)) {
        check_body(req, head->length);
    }
    return req->phase != PHASE_ANSWERED || head->length == 0 ||
           (head->length <= (int64_t)HTTP_DRAIN_MAX_BYTES && !head->expects_to_hear);
}

bool request_on_body(struct http_request *req, const struct http_text *piece)
{
    req->body_seen += piece->len;
    if (req->phase == PHASE_BODY) {
        buf_add(&req->body, piece->at, piece->len);
        if (req->body.is_full) {
            buf_done(&req->body);
            refuse_too_large(req);
        }
    }
    return req->body_seen <= HTTP_DRAIN_MAX_BYTES;
}

void request_on_whole(struct http_request *req)
{
    struct conn *conn = req->conn;

    if (req->phase != PHASE_BODY) {
        return; /* refused already */
    }
    req->phase = PHASE_HANDLING;
    conn->is_handling = true;
    req->route->handle(req, req->server->userdata);
    conn->is_handling = false;
    if (req->phase == PHASE_HANDLING) {
        log_error("http: the handler of %s did not answer", req->route->pattern);
        http_reply_problem(req, 500, "internal", NULL,
                           "this request was forgotten; please report it");
    }
}
