#include "base/cleanup.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *or_abort(void *p)
{
    if (!p) {
        fputs("tangram: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    return or_abort(calloc(count ? count : 1, size ? size : 1));
}

void *xreallocarray(void *p, size_t count, size_t size)
{
    return or_abort(reallocarray(p, count ? count : 1, size ? size : 1));
}

char *xstrdup(const char *s)
{
    return s ? or_abort(strdup(s)) : NULL;
}

char *xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    return or_abort(n < 0 ? NULL : text);
}
