/* The body of an HTTP request in chunks: never a read beyond its end, and what it says does not
 * depend on the pieces in which it comes. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/body.h"
#include <stdlib.h>
#include <string.h>

struct result {
    enum http_head_state state;
    size_t used;
    struct buf content;
};

static void read_in_pieces(const uint8_t *data, size_t size, size_t step, struct result *ret)
{
    struct http_head_fault fault = {0};
    struct http_body body;

    *ret = (struct result){.state = HTTP_HEAD_MORE, .content = BUF_INIT(1 << 20)};
    http_body_begin(&body, HTTP_BODY_CHUNKED);
    while (ret->used < size && ret->state == HTTP_HEAD_MORE) {
        size_t n = size - ret->used < step ? size - ret->used : step, used = 0;
        char *copy = malloc(n);
        struct http_text piece;
        if (!copy) {
            abort();
        }
        memcpy(copy, data + ret->used, n);
        ret->state = http_body_next(&body, copy, n, &used, &piece, &fault);
        if (used == 0 || used > n || piece.len > n) {
            abort();
        }
        buf_add(&ret->content, piece.at, piece.len);
        free(copy);
        ret->used += used;
    }
    if ((ret->state == HTTP_HEAD_BAD) != (fault.status == 400 && fault.reason && fault.detail)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 2, 7};
    struct result whole;

    read_in_pieces(data, size, size ? size : 1, &whole);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct result again;
        read_in_pieces(data, size, steps[i], &again);
        if (again.state != whole.state || again.used != whole.used ||
            again.content.len != whole.content.len ||
            (whole.content.len &&
             memcmp(again.content.data, whole.content.data, whole.content.len) != 0)) {
            abort();
        }
        buf_done(&again.content);
    }
    buf_done(&whole.content);
    return 0;
}
