#include "base/json.h"
#include "base/text.h"
#include <string.h>

/* Appends the inside of a JSON string. */
static void add_escaped(struct buf *b, const char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            continue;
        }
        buf_add(b, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\') {
            buf_add(b, (char[]){'\\', (char)c}, 2);
        } else {
            buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        }
    }
    buf_add(b, s + from, len - from);
}

/* Malformed UTF-8 (a driver's text, a host name): what is not ASCII becomes U+FFFD. */
static void add_repaired(struct buf *b, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)s[i] < 0x80) {
            add_escaped(b, s + i, 1);
        } else {
            buf_adds(b, "\xef\xbf\xbd");
        }
    }
}

static void add_quoted(struct buf *b, const char *s, size_t len)
{
    buf_add(b, "\"", 1);
    if (text_is_utf8(s, len)) {
        add_escaped(b, s, len);
    } else {
        add_repaired(b, s, len);
    }
    buf_add(b, "\"", 1);
}

/* What stands before a value. */
static void begin(struct json_out *w, const char *name)
{
    if (w->has_item) {
        buf_add(w->b, ",", 1);
    }
    w->has_item = true;
    if (name) {
        add_quoted(w->b, name, strlen(name));
        buf_add(w->b, ":", 1);
    }
}

void json_out_object(struct json_out *w, const char *name)
{
    begin(w, name);
    buf_add(w->b, "{", 1);
    w->has_item = false;
}

void json_out_end_object(struct json_out *w)
{
    buf_add(w->b, "}", 1);
    w->has_item = true;
}

void json_out_array(struct json_out *w, const char *name)
{
    begin(w, name);
    buf_add(w->b, "[", 1);
    w->has_item = false;
}

void json_out_end_array(struct json_out *w)
{
    buf_add(w->b, "]", 1);
    w->has_item = true;
}

void json_out_strn(struct json_out *w, const char *name, const char *s, size_t len)
{
    begin(w, name);
    add_quoted(w->b, s, len);
}

void json_out_str(struct json_out *w, const char *name, const char *s)
{
    if (s) {
        json_out_strn(w, name, s, strlen(s));
    } else {
        json_out_null(w, name);
    }
}

void json_out_text(struct json_out *w, const char *name, const char *s)
{
    json_out_str(w, name, s && *s ? s : NULL);
}

/* Decimal digits of n at the end of `digits`; returns where they start. */
static char *format_int(int64_t n, char digits[static 24])
{
    uint64_t rest = n < 0 ? -(uint64_t)n : (uint64_t)n;
    char *at = digits + 23;

    *at = '\0';
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (n < 0) {
        *--at = '-';
    }
    return at;
}

void json_out_int(struct json_out *w, const char *name, int64_t n)
{
    char digits[24];

    begin(w, name);
    buf_adds(w->b, format_int(n, digits));
}

void json_out_milli(struct json_out *w, const char *name, int64_t thousandths)
{
    int64_t whole = thousandths / 1000, rest = thousandths % 1000;

    begin(w, name);
    buf_addf(w->b, "%lld.%03lld", (long long)whole, (long long)(rest < 0 ? -rest : rest));
}

void json_out_bool(struct json_out *w, const char *name, bool is_true)
{
    begin(w, name);
    buf_adds(w->b, is_true ? "true" : "false");
}

void json_out_null(struct json_out *w, const char *name)
{
    begin(w, name);
    buf_add(w->b, "null", 4);
}

void json_out_time(struct json_out *w, const char *name, int64_t ms)
{
    char text[32];

    if (ms <= 0) {
        json_out_null(w, name);
        return;
    }
    json_out_str(w, name, text_format_time_ms(ms, text));
}

void json_out_raw(struct json_out *w, const char *name, const char *json)
{
    begin(w, name);
    buf_adds(w->b, json);
}

void json_out_id(struct json_out *w, const char *name, const char *prefix, uint64_t number)
{
    char digits[24];

    if (!number) {
        json_out_null(w, name);
        return;
    }
    begin(w, name);
    buf_add(w->b, "\"", 1);
    buf_adds(w->b, prefix);
    buf_add(w->b, "-", 1);
    buf_adds(w->b, format_int((int64_t)number, digits));
    buf_add(w->b, "\"", 1);
}
