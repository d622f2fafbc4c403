/* RFC 9112, 7.1, read strictly like the head: a size is hexadecimal digits and nothing else, lines
 * end in CR LF.  Extensions of chunks and trailers are passed over. */
#include "http/body.h"

#define SIZE_DIGITS_MAX 15
#define EXTRA_MAX_BYTES HTTP_HEADERS_MAX_BYTES

enum step {
    PLAIN, /* not chunked */
    SIZE_DIGITS,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_BEGIN,
    TRAILER,
    TRAILER_LF,
    END_LF,
    WHOLE,
    BAD,
};

void http_body_begin(struct http_body *body, int64_t length)
{
    *body = (struct http_body){.step = length == HTTP_BODY_CHUNKED ? SIZE_DIGITS : PLAIN,
                               .left = length > 0 ? (uint64_t)length : 0};
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum step after_size_digit(struct http_body *body, char c)
{
    int digit = hex_value(c);

    if (digit >= 0 && body->digits < SIZE_DIGITS_MAX) {
        body->digits++;
        body->left = body->left << 4 | (unsigned)digit;
        return SIZE_DIGITS;
    }
    if (!body->digits || (c != '\r' && c != ';')) {
        return BAD;
    }
    return c == '\r' ? SIZE_LF : EXTENSION;
}

/* A byte of a text that is passed over, up to its CR. */
static enum step after_extra(struct http_body *body, char c, enum step now, enum step at_cr)
{
    unsigned char byte = (unsigned char)c;

    if (c == '\r') {
        return at_cr;
    }
    return ++body->extra > EXTRA_MAX_BYTES || (byte < ' ' && c != '\t') || byte == 0x7f ? BAD : now;
}

static enum step after_size_lf(struct http_body *body)
{
    body->digits = 0;
    return body->left ? DATA : TRAILER_BEGIN;
}

/* The step after a byte that is not content. */
static enum step after(struct http_body *body, char c)
{
    switch ((enum step)body->step) {
    case SIZE_DIGITS:
        return after_size_digit(body, c);
    case EXTENSION:
        return after_extra(body, c, EXTENSION, SIZE_LF);
    case SIZE_LF:
        return c == '\n' ? after_size_lf(body) : BAD;
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return c == '\n' ? SIZE_DIGITS : BAD;
    case TRAILER_BEGIN:
        return c == '\r' ? END_LF : after_extra(body, c, TRAILER, TRAILER_LF);
    case TRAILER:
        return after_extra(body, c, TRAILER, TRAILER_LF);
    case TRAILER_LF:
        return c == '\n' ? TRAILER_BEGIN : BAD;
    case END_LF:
        return c == '\n' ? WHOLE : BAD;
    default:
        return BAD;
    }
}

static const char *why_bad(enum step step)
{
    switch (step) {
    case DATA_CR:
    case DATA_LF:
        return "a chunk of the body is not as long as it says";
    case TRAILER_BEGIN:
    case TRAILER:
    case TRAILER_LF:
    case END_LF:
        return "what follows the last chunk of the body is not an empty line";
    default:
        return "a chunk of the body does not begin with its size: hexadecimal digits and CR LF";
    }
}

/* Content, as much of it as there is. */
static void take_piece(struct http_body *body, const char *data, size_t len,
                       struct http_text *ret_piece)
{
    *ret_piece = (struct http_text){data, len < body->left ? len : (size_t)body->left};
    body->left -= ret_piece->len;
    if (!body->left) {
        body->step = body->step == DATA ? DATA_CR : WHOLE;
    }
}

enum http_head_state http_body_next(struct http_body *body, const char *data, size_t len,
                                    size_t *ret_used, struct http_text *ret_piece,
                                    struct http_head_fault *ret_fault)
{
    size_t used = 0;

    *ret_piece = (struct http_text){data, 0};
    while (used < len && body->step != WHOLE && body->step != BAD) {
        if (body->step == PLAIN || body->step == DATA) {
            take_piece(body, data + used, len - used, ret_piece);
            used += ret_piece->len;
            break;
        }
        enum step now = body->step;
        body->step = after(body, data[used++]);
        if (body->step == BAD) {
            *ret_fault = (struct http_head_fault){400, "bad_request", why_bad(now)};
        }
    }
    *ret_used = used;
    if (body->step == BAD) {
        return HTTP_HEAD_BAD;
    }
    return body->step == WHOLE || (body->step == PLAIN && !body->left) ? HTTP_HEAD_GOOD
                                                                       : HTTP_HEAD_MORE;
}
