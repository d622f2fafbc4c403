/* Paths and queries: split first, then percent-decode, so that %2F in a segment is a character of
 * its value and not a separator.  What cannot be shown to a person (control characters, invalid
 * UTF-8) is refused here, once, for all handlers. */
#include "base/text.h"
#include "http/internal.h"
#include <string.h>
#include <strings.h>

static const char *const method_names[HTTP_METHOD_COUNT] = {"GET", "POST", "PUT", "PATCH",
                                                            "DELETE"};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes s in place; false if malformed or not presentable. */
static bool percent_decode(char *s, bool plus_is_space)
{
    char *out = s;

    for (; *s; s++) {
        if (*s == '%') {
            int high = hex_value(s[1]), low = high < 0 ? -1 : hex_value(s[2]);
            if (low < 0 || (high == 0 && low == 0)) {
                return false;
            }
            *out++ = (char)(high * 16 + low);
            s += 2;
        } else {
            *out++ = plus_is_space && *s == '+' ? ' ' : *s;
        }
    }
    *out = '\0';
    return true;
}

static bool is_presentable(const char *s)
{
    return text_is_utf8(s, strlen(s)) && !text_has_control(s);
}

static bool parse_path(struct http_request *req)
{
    char *rest, *segment;

    if (req->uri[0] != '/') {
        return false;
    }
    req->decoded = xstrdup(req->uri + 1);
    rest = req->decoded;
    while ((segment = strsep(&rest, "/"))) {
        if (req->segment_count == HTTP_SEGMENTS_MAX || !percent_decode(segment, false) ||
            !is_presentable(segment)) {
            return false;
        }
        req->segments[req->segment_count++] = segment;
    }
    return true;
}

static bool parse_query(struct http_request *req, struct error *ret_why)
{
    char *rest = req->query, *pair;

    while (rest && (pair = strsep(&rest, "&"))) {
        char *equals = strchr(pair, '=');
        if (!*pair) {
            continue;
        }
        if (equals) {
            *equals++ = '\0';
        } else {
            equals = pair + strlen(pair);
        }
        if (req->query_count == HTTP_QUERIES_MAX) {
            err_set(ret_why, EINVAL, "the query has more than %d parameters", HTTP_QUERIES_MAX);
            return false;
        }
        if (!percent_decode(pair, true) || !percent_decode(equals, true) || !is_presentable(pair) ||
            !is_presentable(equals)) {
            err_set(ret_why, EINVAL,
                    "the query is not percent-encoded UTF-8 without control characters");
            return false;
        }
        if (http_query(req, pair)) {
            char name[64];
            text_copy(name, sizeof(name), pair);
            text_mend_utf8(name);
            err_set(ret_why, EINVAL, "the query parameter '%s' is given twice", name);
            return false;
        }
        req->queries[req->query_count++] = (struct http_pair){pair, equals};
    }
    return true;
}

/* "http://host/path", as a proxy writes it, is "/path". */
static void drop_authority(char *uri)
{
    if (!strncasecmp(uri, "http://", 7)) {
        const char *path = strchr(uri + 7, '/');
        path = path ? path : "/";
        memmove(uri, path, strlen(path) + 1);
    }
}

bool request_parse_uri(struct http_request *req, struct error *ret_why)
{
    req->query = strchr(req->uri, '?');
    if (req->query) {
        *req->query++ = '\0';
    }
    drop_authority(req->uri);
    if (!parse_path(req)) {
        err_set(ret_why, EINVAL,
                "the path is not percent-encoded UTF-8 without control characters, or has more "
                "than %d segments",
                HTTP_SEGMENTS_MAX);
        return false;
    }
    return parse_query(req, ret_why);
}

static bool segment_is_param(const char *pattern, size_t len)
{
    return len > 2 && pattern[0] == '{' && pattern[len - 1] == '}';
}

static bool path_matches(const struct http_request *req, const char *pattern)
{
    unsigned i = 0;

    for (; *pattern == '/'; i++) {
        const char *start = pattern + 1;
        size_t len = strcspn(start, "/");
        if (i == req->segment_count) {
            return false;
        }
        const char *segment = req->segments[i];
        if (segment_is_param(start, len) ? !*segment
                                         : strncmp(segment, start, len) || segment[len]) {
            return false;
        }
        pattern = start + len;
    }
    return i == req->segment_count;
}

const struct http_route *request_find_route(const struct http_request *req, bool has_method,
                                            struct buf *allow)
{
    for (const struct http_route *route = req->server->routes; route->pattern; route++) {
        if (!path_matches(req, route->pattern)) {
            continue;
        }
        if (has_method && req->method == route->method) {
            return route;
        }
        buf_addf(allow, "%s%s%s", allow->len ? ", " : "", method_names[route->method],
                 route->method == HTTP_GET ? ", HEAD" : "");
    }
    return NULL;
}

const char *http_param(const struct http_request *req, const char *name)
{
    const char *pattern = req->route ? req->route->pattern : "";

    for (unsigned i = 0; *pattern == '/' && i < req->segment_count; i++) {
        const char *start = pattern + 1;
        size_t len = strcspn(start, "/");
        if (segment_is_param(start, len) && strlen(name) == len - 2 &&
            strncmp(start + 1, name, len - 2) == 0) {
            return req->segments[i];
        }
        pattern = start + len;
    }
    return NULL;
}

const char *http_query(const struct http_request *req, const char *name)
{
    for (unsigned i = 0; i < req->query_count; i++) {
        if (strcmp(req->queries[i].name, name) == 0) {
            return req->queries[i].value;
        }
    }
    return NULL;
}

const char *http_query_unknown(const struct http_request *req, const char *const *known)
{
    for (unsigned i = 0; i < req->query_count; i++) {
        const char *const *name = known;
        while (*name && strcmp(*name, req->queries[i].name) != 0) {
            name++;
        }
        if (!*name) {
            return req->queries[i].name;
        }
    }
    return NULL;
}
