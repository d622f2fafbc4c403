/* Answers.  A body made here belongs to libmicrohttpd afterwards. */
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

/* Takes over `data`. */
static void reply_owned(struct http_request *req, unsigned status, const char *content_type,
                        char *data, size_t len)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);

    if (!response) {
        abort();
    }
    if (content_type) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    }
    request_answer(req, status, response);
}

void http_reply_bytes(struct http_request *req, unsigned status, const char *content_type,
                      const void *data, size_t len)
{
    char *copy = xcalloc(1, len + 1);

    if (len) {
        memcpy(copy, data, len);
    }
    reply_owned(req, status, content_type, copy, len);
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
        request_answer(req, status, NULL);
        return;
    }
    text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        /* Jansson refuses only what it could not have been given (a cycle), or has no memory. */
        abort();
    }
    reply_owned(req, status, content_type, text, strlen(text));
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
    json_object_set_new(body, "title", json_string(MHD_get_reason_phrase_for(status)));
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
