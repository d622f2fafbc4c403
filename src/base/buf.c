#include "base/buf.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_done(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT(b->cap_bytes);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->is_full = false;
    if (b->data) {
        b->data[0] = '\0';
    }
}

/* Makes room for len more bytes and the NUL; false when the cap forbids it. */
static bool buf_reserve(struct buf *b, size_t len)
{
    if (b->is_full || len > b->cap_bytes - b->len) {
        b->is_full = true;
        return false;
    }
    size_t want = b->len + len + 1;
    if (want > b->size) {
        size_t size = b->size ? b->size : 256;
        while (size < want) {
            size *= 2;
        }
        b->data = xreallocarray(b->data, size, 1);
        b->size = size;
    }
    return true;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    if (!buf_reserve(b, len)) {
        return;
    }
    if (len) {
        memcpy(b->data + b->len, data, len);
    }
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

char *buf_take(struct buf *b)
{
    char *data = b->data ? b->data : xstrdup("");
    *b = BUF_INIT(b->cap_bytes);
    return data;
}
