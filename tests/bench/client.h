#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/* One connection to a server on a unix socket, one request at a time.  What goes wrong ends the
 * program: a benchmark has nothing to recover. */

struct bench_client {
    int fd;
    unsigned status;
    size_t len; /* of the body */
    char *body; /* in data; terminated */
    char data[65536];
};

__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *fmt, ...);

void bench_dial(struct bench_client *client, const char *path);
/* body may be NULL.  Returns the time in nanoseconds until the answer was whole. */
int64_t bench_ask(struct bench_client *client, const char *method, const char *path,
                  const char *body);
/* The text of the first field of that name in the answer; dies when there is none. */
void bench_field(const struct bench_client *client, const char *name, char *ret, size_t size);

/* Prints one line of JSON: {"name":NAME,"count":N,"p50_us":...,"p90_us":...,"p99_us":...,
 * "max_us":...}; sorts ns. */
void bench_print(const char *name, int64_t *ns, size_t count);
int64_t bench_percentile_ns(const int64_t *sorted_ns, size_t count, double p);
