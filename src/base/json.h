#pragma once
#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* JSON written straight into a buffer: no tree, commas by itself.  `name` is NULL inside an array
 * and for the outermost value.  Text that is not UTF-8 is shown with replacement characters, so
 * that what comes out is always JSON. */

struct json_out {
    struct buf *b;
    bool has_item; /* the innermost container has one already */
};

void json_out_object(struct json_out *w, const char *name);
void json_out_end_object(struct json_out *w);
void json_out_array(struct json_out *w, const char *name);
void json_out_end_array(struct json_out *w);
/* NULL becomes null. */
void json_out_str(struct json_out *w, const char *name, const char *s);
/* NULL and "" become null. */
void json_out_text(struct json_out *w, const char *name, const char *s);
void json_out_strn(struct json_out *w, const char *name, const char *s, size_t len);
void json_out_int(struct json_out *w, const char *name, int64_t n);
/* A count of thousandths as a number: 131200 becomes 131.2. */
void json_out_milli(struct json_out *w, const char *name, int64_t thousandths);
void json_out_bool(struct json_out *w, const char *name, bool is_true);
void json_out_null(struct json_out *w, const char *name);
/* Milliseconds since 1970 as RFC 3339; 0 becomes null. */
void json_out_time(struct json_out *w, const char *name, int64_t ms);
/* JSON text as it is. */
void json_out_raw(struct json_out *w, const char *name, const char *json);
/* "l-7"; number 0 becomes null. */
void json_out_id(struct json_out *w, const char *name, const char *prefix, uint64_t number);
