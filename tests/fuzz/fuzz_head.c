/* The head of an HTTP request: never a read beyond its end; good only when whole, whatever follows;
 * what is bad stays bad with more bytes. */
#include "fuzz.h"
#include "http/head.h"
#include <stdlib.h>
#include <string.h>

/* What a good head says lies within it, field by field. */
static void read_good(const char *data, size_t len)
{
    struct http_text rest, name, value;
    struct http_head head;

    http_head_read(data, len, &head);
    if (head.bytes < 4 || head.bytes > len || memcmp(data + head.bytes - 4, "\r\n\r\n", 4) != 0 ||
        !head.method.len || !head.target.len || head.length < HTTP_BODY_CHUNKED ||
        head.fields.at + head.fields.len + 2 != data + head.bytes) {
        abort();
    }
    for (rest = head.fields; http_head_next_field(&rest, &name, &value);) {
        if (!name.len || name.at < data || value.at + value.len > data + head.bytes) {
            abort();
        }
    }
    if (rest.len) {
        abort();
    }
}

/* In memory of exactly that size. */
static enum http_head_state check(const uint8_t *data, size_t len)
{
    struct http_head_fault fault = {0};
    char *copy = malloc(len ? len : 1);

    if (!copy) {
        abort();
    }
    memcpy(copy, data, len);
    enum http_head_state state = http_head_check(copy, len, &fault);
    if (state == HTTP_HEAD_GOOD) {
        read_good(copy, len);
    }
    free(copy);
    if ((state == HTTP_HEAD_BAD) != (fault.status >= 400 && fault.reason && fault.detail)) {
        abort();
    }
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum http_head_state whole = check(data, size);
    size_t step = size / 64 + 1;

    for (size_t len = 0; len < size; len += step) {
        enum http_head_state state = check(data, len);
        if (state != HTTP_HEAD_MORE && state != whole) {
            abort();
        }
        if (state == HTTP_HEAD_GOOD && !memmem(data, len, "\r\n\r\n", 4)) {
            abort();
        }
    }
    return 0;
}
