#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int(err_set)(struct error *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err) {
        return -code;
    }
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return -code;
}

int err_wrap(struct error *err, const char *fmt, ...)
{
    char text[2 * sizeof(err->msg)];
    va_list ap;

    if (!err) {
        return -EIO;
    }
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(err->msg), fmt, ap);
    va_end(ap);
    size_t at = n < 0 ? 0 : strlen(text);
    snprintf(text + at, sizeof(text) - at, ": %s", err->msg);
    text[sizeof(err->msg) - 1] = '\0';
    memcpy(err->msg, text, sizeof(err->msg));
    return err->code ? -err->code : -EIO;
}
