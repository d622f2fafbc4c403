/* RFC 9112 read strictly: lines end in CR LF, no line is folded, what is sent twice and could be
 * understood in two ways is refused.  Nobody gains by guessing what a client meant. */
#include "http/head.h"
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX_BYTES 32
#define FIELDS_MAX 100

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
static enum http_head_state check_request_line(const struct http_text *line, bool is_whole,
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

static bool is_named(const struct http_text *field, size_t name, const char *want)
{
    return strlen(want) == name && !strncasecmp(field->at, want, name);
}

static struct http_text value_of(const struct http_text *field, size_t name)
{
    struct http_text value = {field->at + name + 1, field->len - name - 1};

    while (value.len && (value.at[0] == ' ' || value.at[0] == '\t')) {
        value.at++;
        value.len--;
    }
    while (value.len && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t')) {
        value.len--;
    }
    return value;
}

static bool is_number(const struct http_text *value)
{
    for (size_t i = 0; i < value->len; i++) {
        if (value->at[i] < '0' || value->at[i] > '9') {
            return false;
        }
    }
    return value->len > 0 && value->len <= 18;
}

/* The fields that say where the request ends, and whose it is. */
static enum http_head_state note_field(const struct http_text *field, size_t name,
                                       struct seen *seen, struct http_head_fault *ret)
{
    struct http_text value = value_of(field, name);

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

static enum http_head_state check_field(const struct http_text *field, struct seen *seen,
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
static bool next_line(const char *data, size_t len, size_t at, struct http_text *ret)
{
    const char *end = memchr(data + at, '\n', len - at);

    *ret = (struct http_text){data + at, end ? (size_t)(end - data) - at : len - at};
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
    struct http_text line = {0};
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

bool http_text_is(const struct http_text *text, const char *what)
{
    return strlen(what) == text->len && !strncasecmp(text->at, what, text->len);
}

bool http_head_next_field(struct http_text *at, struct http_text *ret_name,
                          struct http_text *ret_value)
{
    struct http_text field;

    if (!at->len || !next_line(at->at, at->len, 0, &field)) {
        return false;
    }
    at->at += field.len + 1;
    at->len -= field.len + 1;
    field.len--; /* the CR */
    *ret_name = (struct http_text){field.at, token_len(field.at, field.len)};
    *ret_value = value_of(&field, ret_name->len);
    return true;
}

/* Is `want` in a list of words? */
static bool has_word(const struct http_text *list, const char *want)
{
    const char *at = list->at, *end = list->at + list->len;

    while (at < end) {
        struct http_text word = {at, token_len(at, (size_t)(end - at))};
        if (http_text_is(&word, want)) {
            return true;
        }
        at += word.len ? word.len : 1;
    }
    return false;
}

static void read_field(const struct http_text *name, const struct http_text *value,
                       struct http_head *head)
{
    if (http_text_is(name, "Content-Length")) {
        for (size_t i = 0; i < value->len; i++) {
            head->length = head->length * 10 + (value->at[i] - '0');
        }
    } else if (http_text_is(name, "Transfer-Encoding")) {
        head->length = HTTP_BODY_CHUNKED;
    } else if (http_text_is(name, "Connection")) {
        head->keeps = (head->keeps || (head->is_old && has_word(value, "keep-alive"))) &&
                      !has_word(value, "close");
    } else if (http_text_is(name, "Expect")) {
        head->expects_to_hear = !head->is_old && http_text_is(value, "100-continue");
    }
}

void http_head_read(const char *data, size_t len, struct http_head *ret)
{
    struct http_text line, rest, name, value;
    size_t at = empty_line(data, len);

    *ret = (struct http_head){0};
    next_line(data, len, at, &line);
    ret->method = (struct http_text){line.at, token_len(line.at, line.len)};
    ret->target.at = line.at + ret->method.len + 1;
    ret->target.len = target_len(ret->target.at, line.len - ret->method.len - 1);
    ret->is_old = line.at[line.len - 2] == '0';
    ret->keeps = !ret->is_old;
    at += line.len + 1;
    ret->fields = (struct http_text){data + at, len - at};
    while (next_line(data, len, at, &line) && line.len > 1) { /* a CR alone is the end */
        at += line.len + 1;
    }
    ret->fields.len = (size_t)(data + at - ret->fields.at);
    ret->bytes = at + 2;
    for (rest = ret->fields; http_head_next_field(&rest, &name, &value);) {
        read_field(&name, &value, ret);
    }
}
