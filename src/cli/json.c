/* Reading JSON that may not be what was promised. */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *js_str(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

const char *js_text(const json_t *object, const char *key, const char *otherwise)
{
    const char *s = js_str(object, key);

    return s ? s : otherwise;
}

int64_t js_int(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(object, key);

    if (json_is_real(v)) {
        double d = json_real_value(v);
        return d > -9e15 && d < 9e15 ? (int64_t)d : otherwise;
    }
    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool js_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

json_t *js_array(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);

    return json_is_array(v) ? v : NULL;
}

int64_t js_time_ms(const json_t *object, const char *key)
{
    const char *s = js_str(object, key);
    struct tm tm = {0};
    int ms = 0;

    if (!s) {
        return -1;
    }
    const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest) {
        return -1;
    }
    if (*rest == '.') {
        sscanf(rest + 1, "%3d", &ms);
    }
    time_t t = timegm(&tm);
    return t < 0 ? -1 : (int64_t)t * 1000 + ms;
}
