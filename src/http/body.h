#pragma once
#include "http/head.h"
#include <stdbool.h>
#include <stdint.h>

/* The body of a request as it lies on the socket: where it ends, and what of it is content.  Pure,
 * any thread. */
struct http_body {
    unsigned step;
    uint64_t left; /* of the body, or of the chunk */
    size_t digits; /* of the chunk's size */
    size_t extra;  /* bytes of extensions and trailers, which nobody reads */
};

/* As http_head has it: HTTP_BODY_CHUNKED, or so many bytes. */
void http_body_begin(struct http_body *body, int64_t length);
/* Understands some of `data`: *ret_used bytes of it, of which *ret_piece is content.  MORE: call
 * again with what follows, as long as there is something; GOOD: whole, what follows is not its. */
enum http_head_state http_body_next(struct http_body *body, const char *data, size_t len,
                                    size_t *ret_used, struct http_text *ret_piece,
                                    struct http_head_fault *ret_fault);
