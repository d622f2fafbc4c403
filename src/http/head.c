/* RFC 9112 read strictly: lines end in CR LF, no line is folded, what is sent twice and could be
 * understood in two ways is refused.  Nobody gains by guessing what a client meant. */
#include "http/head.h"
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX_BYTES 32
#define FIELDS_MAX 100

struct line {
    const char *at;
    size_t len; /* without CR LF */
};

/* What the fields say that must not be said twice or together. */
struct seen {
    unsigned hosts, lengths, encodings, fields;
};

static enum http_head_state fault(struct http_head_fault *ret, unsigned status, const char *reason,
                                  const char *detail)
{
    *ret = (struct http_head_fault){status, reason, detail};
    return HTTP_HEAD_BAD;
}

static enum http_head_state malformed(struct http_head_fault *ret, const char *detail)
{
    return fault(ret, 400, "bad_request", detail);
}

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(const char *s, size_t len)
{
    size_t n = 0;

    while (n < len && is_token_char(s[n])) {
        n++;
    }
    return n;
}

/* Bytes up to the first that may not be in a target; UTF-8 is judged after decoding. */
static size_t target_len(const char *s, size_t len)
{
    size_t n = 0;

    while (n < len && (unsigned char)s[n] > ' ' && s[n] != 0x7f) {
        n++;
    }
    return n;
}

/* The version at the end of the request line. */
static enum http_head_state check_version(const char *s, size_t len, bool is_whole,
                                          struct http_head_fault *ret)
{
    static const char http[] = "HTTP/";

    if (!is_whole && len <= 16) {
        return HTTP_HEAD_MORE;
    }
    if (len == 8 && (!memcmp(s, "HTTP/1.1", 8) || !memcmp(s, "HTTP/1.0", 8))) {
        return HTTP_HEAD_GOOD;
    }
    bool is_short = len == 6, is_long = len == 8 && s[6] == '.' && s[7] >= '0' && s[7] <= '9';
    if ((is_short || is_long) && !memcmp(s, http, 5) && s[5] >= '0' && s[5] <= '9') {
        return fault(ret, 505, "http_version", "HTTP/1.1 is spoken here");
    }
    return malformed(ret, "the request line does not end in HTTP/1.1");
}

/* The request line, or as much of it as there is (is_whole false). */
static enum http_head_state check_request_line(const struct line *line, bool is_whole,
                                               struct http_head_fault *ret)
{
    size_t method = token_len(line->at, line->len);

    if (method == line->len && !is_whole && method <= METHOD_MAX_BYTES) {
        return HTTP_HEAD_MORE;
    }
    if (method == 0 || method > METHOD_MAX_BYTES || method == line->len ||
        line->at[method] != ' ') {
        return malformed(ret, "this is not an HTTP request: it does not begin with a method");
    }
    const char *target = line->at + method + 1;
    size_t rest = line->len - method - 1, n = target_len(target, rest);
    if (n > HTTP_TARGET_MAX_BYTES) {
        return fault(ret, 414, "too_large", "the request's target has more than 8192 bytes");
    }
    if (n == rest && !is_whole) {
        return HTTP_HEAD_MORE;
    }
    if (n == 0 || n == rest || target[n] != ' ') {
        return malformed(ret, "the request line is not: method, space, path, space, HTTP/1.1");
    }
    return check_version(target + n + 1, rest - n - 1, is_whole, ret);
}

static bool is_named(const struct line *field, size_t name, const char *want)
{
    return strlen(want) == name && !strncasecmp(field->at, want, name);
}

static struct line value_of(const struct line *field, size_t name)
{
    struct line value = {field->at + name + 1, field->len - name - 1};

    while (value.len && (value.at[0] == ' ' || value.at[0] == '\t')) {
        value.at++;
        value.len--;
    }
    while (value.len && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t')) {
        value.len--;
    }
    return value;
}

static bool is_number(const struct line *value)
{
    for (size_t i = 0; i < value->len; i++) {
        if (value->at[i] < '0' || value->at[i] > '9') {
            return false;
        }
    }
    return value->len > 0 && value->len <= 18;
}

/* The fields that say where the request ends, and whose it is. */
static enum http_head_state note_field(const struct line *field, size_t name, struct seen *seen,
                                       struct http_head_fault *ret)
{
    struct line value = value_of(field, name);

    if (is_named(field, name, "Host")) {
        seen->hosts++;
    } else if (is_named(field, name, "Content-Length")) {
        seen->lengths++;
        if (!is_number(&value)) {
            return malformed(ret, "Content-Length is not a number");
        }
    } else if (is_named(field, name, "Transfer-Encoding")) {
        seen->encodings++;
        if (value.len != 7 || strncasecmp(value.at, "chunked", 7) != 0) {
            return fault(ret, 501, "not_implemented", "the only Transfer-Encoding here is chunked");
        }
    }
    return HTTP_HEAD_GOOD;
}

static enum http_head_state check_field(const struct line *field, struct seen *seen,
                                        struct http_head_fault *ret)
{
    size_t name = token_len(field->at, field->len);

    if (name == 0 || name == field->len || field->at[name] != ':') {
        return malformed(ret, "a header line is not: name, colon, value");
    }
    for (size_t i = name + 1; i < field->len; i++) {
        unsigned char c = (unsigned char)field->at[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return malformed(ret, "a header's value has a control character");
        }
    }
    if (++seen->fields > FIELDS_MAX) {
        return fault(ret, 431, "too_large", "the request has more than 100 headers");
    }
    return note_field(field, name, seen, ret);
}

static enum http_head_state check_whole(const struct seen *seen, bool needs_host,
                                        struct http_head_fault *ret)
{
    if (seen->hosts > 1 || (needs_host && !seen->hosts)) {
        return malformed(ret, "an HTTP/1.1 request has one Host header");
    }
    if (seen->lengths + seen->encodings > 1) {
        return malformed(ret, "Content-Length or Transfer-Encoding: one of them, once");
    }
    if (seen->encodings && !needs_host) {
        return malformed(ret, "HTTP/1.0 has no Transfer-Encoding");
    }
    return HTTP_HEAD_GOOD;
}

/* The next line; false when its end has not come. */
static bool next_line(const char *data, size_t len, size_t at, struct line *ret)
{
    const char *end = memchr(data + at, '\n', len - at);

    *ret = (struct line){data + at, end ? (size_t)(end - data) - at : len - at};
    return end;
}

/* One before the request is forgiven (RFC 9112, 2.2), also the first half of one. */
static size_t empty_line(const char *data, size_t len)
{
    if (len == 1) {
        return data[0] == '\r' ? 1 : 0;
    }
    return len && !memcmp(data, "\r\n", 2) ? 2 : 0;
}

static enum http_head_state check_lines(const char *data, size_t len,
                                        struct http_head_fault *ret)
{
    struct seen seen = {0};
    struct line line = {0};
    bool is_first = true, needs_host = false;
    size_t at = empty_line(data, len);

    for (; at < len && next_line(data, len, at, &line); is_first = false) {
        at += line.len + 1;
        if (!line.len || line.at[line.len - 1] != '\r') {
            return malformed(ret, "a line does not end in CR LF");
        }
        line.len--;
        if (!line.len && !is_first) {
            return check_whole(&seen, needs_host, ret);
        }
        enum http_head_state state = is_first ? check_request_line(&line, true, ret)
                                              : check_field(&line, &seen, ret);
        if (state == HTTP_HEAD_BAD) {
            return state;
        }
        needs_host = is_first ? line.at[line.len - 1] == '1' : needs_host;
    }
    return is_first && at < len ? check_request_line(&line, false, ret) : HTTP_HEAD_MORE;
}

enum http_head_state http_head_check(const char *data, size_t len,
                                     struct http_head_fault *ret_fault)
{
    bool is_over = len > HTTP_HEADERS_MAX_BYTES;
    enum http_head_state state =
        check_lines(data, is_over ? HTTP_HEADERS_MAX_BYTES : len, ret_fault);

    if (state == HTTP_HEAD_MORE && is_over) {
        return fault(ret_fault, 431, "too_large", "the request's head has more than 16384 bytes");
    }
    return state;
}
