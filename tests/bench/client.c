#include "client.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

void bench_die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void bench_dial(struct bench_client *client, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (connect(client->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        bench_die("%s: %m", path);
    }
}

/* Reads until the answer is whole: its head with Content-Length, and so many bytes. */
static void hear(struct bench_client *client)
{
    size_t got = 0, want = 0;

    while (!want || got < want) {
        ssize_t n = recv(client->fd, client->data + got, sizeof(client->data) - 1 - got, 0);
        if (n <= 0) {
            bench_die("the server hung up, or its answer is too long");
        }
        got += (size_t)n;
        client->data[got] = '\0';
        char *end = want ? NULL : strstr(client->data, "\r\n\r\n");
        if (end) {
            const char *len = strcasestr(client->data, "Content-Length: ");
            client->len = len && len < end ? strtoul(len + 16, NULL, 10) : 0;
            client->body = end + 4;
            want = (size_t)(end + 4 - client->data) + client->len;
        }
    }
    client->status = (unsigned)strtoul(client->data + sizeof("HTTP/1.1 ") - 1, NULL, 10);
}

int64_t bench_ask(struct bench_client *client, const char *method, const char *path,
                  const char *body)
{
    char request[2048];
    int len = snprintf(request, sizeof(request),
                       "%s %s HTTP/1.1\r\nHost: tangram\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       method, path, body ? strlen(body) : 0, body ? body : "");
    int64_t start_ns = clock_mono_ns();

    if (len >= (int)sizeof(request) ||
        send(client->fd, request, (size_t)len, MSG_NOSIGNAL) != len) {
        bench_die("cannot send a request: %m");
    }
    hear(client);
    return clock_mono_ns() - start_ns;
}

void bench_field(const struct bench_client *client, const char *name, char *ret, size_t size)
{
    char mark[64];

    snprintf(mark, sizeof(mark), "\"%s\":\"", name);
    const char *at = strstr(client->body, mark);
    if (!at) {
        bench_die("status %u, no %s in: %.500s", client->status, name, client->body);
    }
    at += strlen(mark);
    snprintf(ret, size, "%.*s", (int)strcspn(at, "\""), at);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int64_t bench_percentile_ns(const int64_t *sorted_ns, size_t count, double p)
{
    return sorted_ns[(size_t)((double)(count - 1) * p)];
}

void bench_print(const char *name, int64_t *ns, size_t count)
{
    qsort(ns, count, sizeof(*ns), by_size);
    printf("{\"name\":\"%s\",\"count\":%zu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
           "\"max_us\":%.1f}\n",
           name, count, (double)bench_percentile_ns(ns, count, 0.5) / 1e3,
           (double)bench_percentile_ns(ns, count, 0.9) / 1e3,
           (double)bench_percentile_ns(ns, count, 0.99) / 1e3,
           (double)bench_percentile_ns(ns, count, 1) / 1e3);
    fflush(stdout);
}
