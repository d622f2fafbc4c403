#include "base/text.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_DURATION_MS (INT64_C(10) * 365 * 24 * 3600 * 1000)

/* Length of the UTF-8 sequence at s (1..4), or 0 when it is malformed. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } form[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

    for (size_t n = 0; n < ARRAY_SIZE(form); n++) {
        if ((s[0] & form[n].mask) != form[n].lead) {
            continue;
        }
        uint32_t c = n ? s[0] & (unsigned char)~form[n].mask : s[0];
        if (n >= left) {
            return 0;
        }
        for (size_t i = 1; i <= n; i++) {
            if ((s[i] & 0xc0) != 0x80) {
                return 0;
            }
            c = c << 6 | (s[i] & 0x3f);
        }
        bool is_good = c >= form[n].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        return is_good ? n + 1 : 0;
    }
    return 0;
}

bool text_is_utf8(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        /* Nearly all text is ASCII. */
        size_t n = (unsigned char)s[i] < 0x80 ? 1 : utf8_len((const unsigned char *)s + i, len - i);
        if (!n) {
            return false;
        }
        i += n;
    }
    return true;
}

/* Is the character of n bytes at s a control character (C0, DEL, C1)? */
static bool is_control(const unsigned char *s, size_t n)
{
    return (n == 1 && (s[0] < 0x20 || s[0] == 0x7f)) || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

void text_mend_utf8(char *s)
{
    size_t left = strlen(s);

    while (left) {
        size_t n = 1;
        while (n < 4 && n < left && ((unsigned char)s[n] & 0xc0) == 0x80) {
            n++;
        }
        if ((unsigned char)*s < 0x80) {
            n = 1;
        } else if (!text_is_utf8(s, n)) {
            *s = '?';
            n = 1;
        }
        s += n;
        left -= n;
    }
}

bool text_has_control(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t left = strlen(s);

    while (left) {
        size_t n = utf8_len(p, left);
        if (!n || is_control(p, n)) {
            return true;
        }
        p += n;
        left -= n;
    }
    return false;
}

/* Characters that turn the direction of what follows them, or end the line: text with them can make
 * a screen say something else than it shows (U+061C, U+200E,
 * U+200F, U+2028..202E, U+2066..2069). */
static bool is_turning(const unsigned char *s, size_t n)
{
    if (n == 2) {
        return s[0] == 0xd8 && s[1] == 0x9c;
    }
    return n == 3 && s[0] == 0xe2 &&
           ((s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae))) ||
            (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));
}

void text_add_escaped(struct buf *b, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t left = strlen(s);

    while (left) {
        size_t n = utf8_len(p, left);
        if (n && !is_control(p, n) && !is_turning(p, n)) {
            buf_add(b, p, n);
        } else {
            n = n ? n : 1;
            for (size_t i = 0; i < n; i++) {
                buf_addf(b, "\\x%02x", p[i]);
            }
        }
        p += n;
        left -= n;
    }
}

/* Reads decimal digits at *s; false when there are none or the value passes `most`. */
static bool read_number(const char **s, uint64_t most, uint64_t *ret)
{
    uint64_t v = 0;
    const char *p = *s;

    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (v > (most - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    if (p == *s) {
        return false;
    }
    *s = p;
    *ret = v;
    return true;
}

static const struct unit {
    const char *name;
    uint64_t factor;
} duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"ms", 1}, {"m", 60000}, {"s", 1000}},
  size_units[] = {{"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30},
                  {"TiB", 1ULL << 40}, {"kB", 1000},        {"MB", 1000000},
                  {"GB", 1000000000},  {"TB", 1000000000000}};

static const struct unit *find_unit(const struct unit *units, size_t count, const char **s)
{
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(units[i].name);
        if (!strncmp(*s, units[i].name, n)) {
            *s += n;
            return &units[i];
        }
    }
    return NULL;
}

int text_parse_duration_ms(const char *s, int64_t *ret_ms, struct error *err)
{
    const char *p = s;
    uint64_t total = 0, n = 0;

    if (!strcmp(s, "0")) {
        *ret_ms = 0;
        return 0;
    }
    do {
        if (!read_number(&p, MAX_DURATION_MS, &n)) {
            goto bad;
        }
        const struct unit *u = find_unit(duration_units, ARRAY_SIZE(duration_units), &p);
        if (!u || n > (MAX_DURATION_MS - total) / u->factor) {
            goto bad;
        }
        total += n * u->factor;
    } while (*p);
    *ret_ms = (int64_t)total;
    return 0;
bad:
    return err_set(err, EINVAL,
                   "'%.40s' is not a duration: write a number with ms, s, m, h or d, as in 30s or "
                   "1h30m, at most ten years",
                   s);
}

const char *text_format_duration_ms(int64_t ms, char buf[static 32])
{
    int at = 0;
    static const struct unit order[] = {
        {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

    if (ms <= 0) {
        return "0s";
    }
    for (size_t i = 0; i < ARRAY_SIZE(order) && at < 24; i++) {
        int64_t n = ms / (int64_t)order[i].factor;
        if (n) {
            at += snprintf(buf + at, 32 - (size_t)at, "%lld%s", (long long)n, order[i].name);
            ms -= n * (int64_t)order[i].factor;
        }
    }
    return buf;
}

int text_parse_size(const char *s, uint64_t *ret_bytes, struct error *err)
{
    const char *p = s;
    uint64_t n = 0, factor = 1;

    if (!read_number(&p, 1ULL << 60, &n)) {
        goto bad;
    }
    if (*p) {
        const struct unit *u = find_unit(size_units, ARRAY_SIZE(size_units), &p);
        if (!u || *p) {
            goto bad;
        }
        factor = u->factor;
    }
    if (n > (1ULL << 60) / factor) {
        goto bad;
    }
    *ret_bytes = n * factor;
    return 0;
bad:
    return err_set(err, EINVAL, "'%.40s' is not a size: write a number with MiB, GiB, MB or GB, as "
                                "in 12GiB", s);
}

int text_parse_int(const char *s, const char *what, int64_t lo, int64_t hi, int64_t *ret,
                   struct error *err)
{
    const char *p = s;
    uint64_t n = 0;
    bool is_negative = *p == '-';

    p += is_negative;
    if (!read_number(&p, INT64_MAX, &n) || *p) {
        return err_set(err, EINVAL, "%s: '%.40s' is not a whole number", what, s);
    }
    int64_t v = is_negative ? -(int64_t)n : (int64_t)n;
    if (v < lo || v > hi) {
        return err_set(err, ERANGE, "%s: %lld is not in %lld..%lld", what, (long long)v,
                       (long long)lo, (long long)hi);
    }
    *ret = v;
    return 0;
}

const char *text_format_time_ms(int64_t ms, char buf[static 32])
{
    time_t s = ms / 1000;
    struct tm tm = {0};

    gmtime_r(&s, &tm);
    size_t at = strftime(buf, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + at, 32 - at, ".%03dZ", (int)(ms % 1000));
    return buf;
}

/* Exactly n digits. */
static bool take_digits(const char **at, int n, int *ret)
{
    int value = 0;

    for (int i = 0; i < n; i++) {
        char c = (*at)[i];
        if (c < '0' || c > '9') {
            return false;
        }
        value = value * 10 + (c - '0');
    }
    *at += n;
    *ret = value;
    return true;
}

static bool take_char(const char **at, char c)
{
    bool is_there = **at == c;

    *at += is_there;
    return is_there;
}

/* ":40", ":40.1", ":40.123"; nothing is good too. */
static bool take_seconds(const char **at, int *ret_s, int *ret_ms)
{
    int scale = 100;

    if (!take_char(at, ':')) {
        return true;
    }
    if (!take_digits(at, 2, ret_s)) {
        return false;
    }
    if (take_char(at, '.')) {
        for (int digit = 0; take_digits(at, 1, &digit); scale /= 10) {
            *ret_ms += digit * scale;
        }
        return scale < 100;
    }
    return true;
}

/* "T23:59" and seconds; nothing is good too. */
static bool take_time(const char **at, struct tm *tm, int *ret_ms)
{
    if (!**at) {
        return true;
    }
    bool is_good = (take_char(at, 'T') || take_char(at, ' ')) && take_digits(at, 2, &tm->tm_hour) &&
                   take_char(at, ':') && take_digits(at, 2, &tm->tm_min) &&
                   take_seconds(at, &tm->tm_sec, ret_ms);
    take_char(at, 'Z');
    return is_good && !**at;
}

/* No 31st of April, no 25 o'clock: what timegm() would change is not in the calendar. */
static bool is_in_calendar(const struct tm *tm, int64_t *ret_s)
{
    struct tm same = *tm;

    *ret_s = timegm(&same);
    return same.tm_mday == tm->tm_mday && same.tm_mon == tm->tm_mon &&
           same.tm_hour == tm->tm_hour && same.tm_min == tm->tm_min && same.tm_sec == tm->tm_sec;
}

static bool parse_date(const char *s, int64_t *ret_ms)
{
    struct tm tm = {0};
    int64_t seconds = 0;
    int ms = 0;

    if (!take_digits(&s, 4, &tm.tm_year) || !take_char(&s, '-') ||
        !take_digits(&s, 2, &tm.tm_mon) || !take_char(&s, '-') ||
        !take_digits(&s, 2, &tm.tm_mday) || !take_time(&s, &tm, &ms)) {
        return false;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (!is_in_calendar(&tm, &seconds) || seconds < 0) {
        return false;
    }
    *ret_ms = seconds * 1000 + ms;
    return true;
}

int text_parse_time_ms(const char *s, int64_t now_ms, int64_t *ret_ms, struct error *err)
{
    int64_t ms = 0, ago = 0;

    if (!parse_date(s, &ms)) {
        if (text_parse_duration_ms(s, &ago, NULL) < 0) {
            return err_set(err, EINVAL, "'%.40s' is not a time: write 2026-11-21, "
                           "2026-11-21T23:59 or 2026-11-21T23:59:40Z (UTC), or 2h for two hours "
                           "ago", s);
        }
        ms = now_ms - ago;
    }
    *ret_ms = ms > 0 ? ms : 1;
    return 0;
}

void text_copy(char *dst, size_t size, const char *src)
{
    size_t n = src ? strnlen(src, size - 1) : 0;

    if (n) {
        memcpy(dst, src, n);
    }
    dst[n] = '\0';
}
