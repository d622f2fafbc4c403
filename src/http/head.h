#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The head of a request as it lies on the socket: pure, any thread. */

#define HTTP_HEADERS_MAX_BYTES ((size_t)16 * 1024)
#define HTTP_TARGET_MAX_BYTES ((size_t)8 * 1024)

struct http_head_fault {
    unsigned status; /* 400, 414, 431, 501, 505 */
    const char *reason, *detail;
};

enum http_head_state {
    HTTP_HEAD_MORE, /* the end has not come yet; nothing wrong so far */
    HTTP_HEAD_GOOD, /* whole; what follows it is not looked at */
    HTTP_HEAD_BAD,  /* *ret_fault says why; more bytes do not make it better */
};

enum http_head_state http_head_check(const char *data, size_t len,
                                     struct http_head_fault *ret_fault);

/* A piece of somebody else's text; not terminated. */
struct http_text {
    const char *at;
    size_t len;
};

#define HTTP_BODY_CHUNKED (-1)

/* What a good head says; the texts point into it. */
struct http_head {
    size_t bytes; /* up to where the body begins */
    struct http_text method, target, fields;
    int64_t length;       /* of the body, or HTTP_BODY_CHUNKED */
    bool is_old;          /* HTTP/1.0 */
    bool keeps;           /* the client wants to go on using the connection */
    bool expects_to_hear; /* before it sends the body (Expect: 100-continue) */
};

/* Only of a head that was found good. */
void http_head_read(const char *data, size_t len, struct http_head *ret);

/* Header by header: *at begins as all `fields` and is what is left; false: no more. */
bool http_head_next_field(struct http_text *at, struct http_text *ret_name,
                          struct http_text *ret_value);
bool http_text_is(const struct http_text *text, const char *what); /* whatever its case */
