#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What people write and what we print for them. */

/* Is it well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF)? */
bool text_is_utf8(const char *s, size_t len);
/* Puts '?' for every byte that belongs to no well-formed character: for text that was cut off by
 * bytes. */
void text_mend_utf8(char *s);
/* Has it a C0/C1 control character or DEL?  s must be UTF-8. */
bool text_has_control(const char *s);

/* "250ms", "30s", "5m", "2h", "7d", "1h30m", "0"; no sign, no fraction.
 * *ret_ms in 0 .. 10 years.  -EINVAL with a message that shows the accepted form. */
int text_parse_duration_ms(const char *s, int64_t *ret_ms, struct error *err);
/* "1h30m", "250ms": the shortest exact form; buf gets at most 32 bytes. */
const char *text_format_duration_ms(int64_t ms, char buf[static 32]);

/* "4GiB", "512MiB", "10GB" (decimal), "1024" (bytes).  *ret_bytes <= 2^60. */
int text_parse_size(const char *s, uint64_t *ret_bytes, struct error *err);

/* Whole decimal number in lo..hi, nothing else.  `what` names it in the message. */
int text_parse_int(const char *s, const char *what, int64_t lo, int64_t hi, int64_t *ret,
                   struct error *err);

/* Appends s with control characters, those that change the direction of writing, and invalid UTF-8
 * shown as \xNN, so that text from a tenant cannot move a cursor or fake a line. */
void text_add_escaped(struct buf *b, const char *s);

/* "2026-11-21T23:59:40.123Z" from milliseconds since 1970. */
const char *text_format_time_ms(int64_t ms, char buf[static 32]);

/* "2026-11-21" (its midnight), "2026-11-21T23:59", "2026-11-21T23:59:40.123Z", all in UTC, or a
 * duration before now_ms ("2h").  *ret_ms > 0.  -EINVAL with a message that shows the forms. */
int text_parse_time_ms(const char *s, int64_t now_ms, int64_t *ret_ms, struct error *err);

/* Formats into dst (always terminated), truncating; for fixed arrays in plain structs. */
void text_copy(char *dst, size_t size, const char *src);
