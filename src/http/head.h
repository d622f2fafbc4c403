#pragma once
#include <stddef.h>

/* The head of a request as it lies on the socket: pure, any thread.
 *
 * libmicrohttpd answers a head that it does not like with a page of HTML, so the first head of each
 * connection is looked at before libmicrohttpd sees it.  What passes here is accepted there. */

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
