#pragma once
#include "base/cleanup.h"
#include <stdbool.h>
#include <stddef.h>

/* A growing byte buffer with a cap.  Once an append would pass the cap the buffer keeps what it
 * had, `is_full` is set and stays set, and further appends do nothing: check once, at the end.
 * `data` is always NUL-terminated after the first append; owned by the buffer. */
struct buf {
    char *data;
    size_t len, size, cap_bytes;
    bool is_full;
};

#define BUF_INIT(cap) ((struct buf){.cap_bytes = (cap)})

void buf_done(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *text);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Forgets the content (and is_full), keeps the memory. */
void buf_clear(struct buf *b);
/* Gives the text away ("" if nothing was added); the buffer is empty afterwards. */
char *buf_take(struct buf *b);
