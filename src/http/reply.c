/* Answers, and their heads. */
#include "base/clock.h"
#include "base/log.h"
#include "http/internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void http_set_header(struct http_request *req, const char *name, const char *value)
{
    if (req->header_count == HTTP_REPLY_HEADERS_MAX) {
        log_error("http: more than %d headers in an answer, %s is left out", HTTP_REPLY_HEADERS_MAX,
                  name);
        return;
    }
    req->headers[req->header_count++] = (struct http_pair){xstrdup(name), xstrdup(value)};
}

const char *http_status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } rows[] = {{200, "OK"},
                {201, "Created"},
                {202, "Accepted"},
                {204, "No Content"},
                {400, "Bad Request"},
                {401, "Unauthorized"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {408, "Request Timeout"},
                {409, "Conflict"},
                {413, "Content Too Large"},
                {414, "URI Too Long"},
                {415, "Unsupported Media Type"},
                {422, "Unprocessable Content"},
                {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"},
                {500, "Internal Server Error"},
                {501, "Not Implemented"},
                {503, "Service Unavailable"},
                {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (rows[i].status == status) {
            return rows[i].text;
        }
    }
    return "Unknown";
}

/* The time as HTTP writes it, made once a second. */
static const char *date_of(struct http_server *server)
{
    time_t now_s = (time_t)(clock_real_ms() / 1000);
    struct tm tm;

    if (now_s != server->date_s) {
        server->date_s = now_s;
        strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT",
                 gmtime_r(&now_s, &tm));
    }
    return server->date;
}

void reply_add_head(struct http_request *req)
{
    struct conn *conn = req->conn;
    struct buf *out = &conn->out;
    bool is_last = !conn->keeps || conn->leaves_rest || conn->stream;

    buf_addf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", req->status, http_status_text(req->status),
             date_of(req->server));
    if (req->content_type) {
        buf_addf(out, "Content-Type: %s\r\n", req->content_type);
    }
    for (unsigned i = 0; i < req->header_count; i++) {
        buf_addf(out, "%s: %s\r\n", req->headers[i].name, req->headers[i].value);
    }
    if (conn->stream && !conn->is_old) {
        buf_adds(out, "Transfer-Encoding: chunked\r\n");
    } else if (!conn->stream && req->status != 204) {
        buf_addf(out, "Content-Length: %zu\r\n", req->answer_len);
    }
    if (is_last || conn->is_old) {
        buf_addf(out, "Connection: %s\r\n", is_last ? "close" : "keep-alive");
    }
    buf_adds(out, "\r\n");
}

void http_reply_bytes(struct http_request *req, unsigned status, const char *content_type,
                      const void *data, size_t len)
{
    char *copy = xcalloc(1, len + 1);

    if (len) {
        memcpy(copy, data, len);
    }
    request_answer(req, status, content_type, copy, len);
}

void http_reply_text(struct http_request *req, unsigned status, const char *text)
{
    http_reply_bytes(req, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void reply_json(struct http_request *req, unsigned status, const char *content_type,
                       const json_t *body)
{
    char *text;

    if (!req->conn) {
        request_answer(req, status, NULL, NULL, 0);
        return;
    }
    text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        /* Jansson refuses only what it could not have been given (a cycle), or has no memory. */
        abort();
    }
    request_answer(req, status, content_type, text, strlen(text));
}

void http_reply_json(struct http_request *req, unsigned status, const json_t *body)
{
    reply_json(req, status, "application/json", body);
}

void http_reply_problem(struct http_request *req, unsigned status, const char *reason,
                        const json_t *more, const char *detail_fmt, ...)
{
    char type[128], detail[1024];
    CLEANUP(json_decrefp) json_t *body = json_object();
    va_list ap;

    va_start(ap, detail_fmt);
    vsnprintf(detail, sizeof(detail), detail_fmt, ap);
    va_end(ap);
    snprintf(type, sizeof(type), "urn:tangram:problem:%s", reason);
    json_object_set_new(body, "type", json_string(type));
    json_object_set_new(body, "title", json_string(http_status_text(status)));
    json_object_set_new(body, "status", json_integer(status));
    json_object_set_new(body, "reason", json_string(reason));
    /* A detail cut in the midst of a character is not UTF-8; give what is left of it. */
    while (*detail && json_object_set_new(body, "detail", json_string(detail)) < 0) {
        detail[strlen(detail) - 1] = '\0';
    }
    if (more) {
        json_object_update(body, (json_t *)(uintptr_t)more);
    }
    reply_json(req, status, "application/problem+json", body);
}
