/* How much slower is a durable lease of an idle slice than the disk itself?
 *
 *     bench_lease SOCKET FILE BYTES LEASES PROFILE
 *
 * In turns, so that both meet the same disk and the same neighbours: (a) one pwrite and fdatasync
 * of BYTES over a file, which already has its size, asked of a bare server: one thread reads the
 * request and sends the answer, another writes, as tangramd's loop and its journal's worker do, and
 * nothing else is done; (b) the same write without a server, over a file of its own: of two writes
 * within one tick of the clock only the first changes a file's time, which some file systems write
 * with an I/O of its own, and the journal's file has not been written for as long either; (c) POST
 * /v1/leases for an idle slice until the 201 is there; (d) DELETE of it until the answer.  Between
 * (d) and the next (a) it waits until the slice is free again; the last commit of that may still be
 * under way in (a), not in (b).  Prints a JSON line for each.  WARM_UP rounds before that are not
 * counted: what the system has dropped from memory while nobody asked, code and files, is read
 * again in them. */
#include "base/clock.h"
#include "base/cleanup.h"
#include "client.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define RAW_FILE_BYTES (4 * 1024 * 1024)

#define WARM_UP 200
#define MESSAGE_BYTES 128
#define STOP 1000 /* no eventfd here counts so far */

struct raw {
    int fd;
    size_t bytes;
    off_t at;
    char data[256 * 1024];
};

struct server {
    struct raw raw;
    int ask_fd, done_fd;
    int client_fd, server_fd; /* the two ends of one connection */
};

static void write_raw(struct raw *raw)
{
    if (raw->at + (off_t)raw->bytes > RAW_FILE_BYTES) {
        raw->at = 0;
    }
    raw->data[raw->at % 1000]++;
    if (pwrite(raw->fd, raw->data, raw->bytes, raw->at) < 0 || fdatasync(raw->fd) < 0) {
        bench_die("raw file: %m");
    }
    raw->at += (off_t)raw->bytes;
}

static void raw_init(struct raw *raw, const char *path, size_t bytes)
{
    CLEANUP(freep) char *zero = xcalloc(1, RAW_FILE_BYTES);

    raw->bytes = bytes;
    raw->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (bytes > sizeof(raw->data) || raw->fd < 0 || unlink(path) < 0 ||
        pwrite(raw->fd, zero, RAW_FILE_BYTES, 0) != RAW_FILE_BYTES || fsync(raw->fd) < 0) {
        bench_die("%s: %m", path);
    }
}

static void *server_write(void *arg)
{
    struct server *server = arg;
    eventfd_t n;

    while (eventfd_read(server->ask_fd, &n) == 0 && n < STOP) {
        write_raw(&server->raw);
        eventfd_write(server->done_fd, 1);
    }
    return NULL;
}

static void *server_serve(void *arg)
{
    struct server *server = arg;
    char message[MESSAGE_BYTES];
    eventfd_t n;

    while (recv(server->server_fd, message, sizeof(message), 0) > 0) {
        eventfd_write(server->ask_fd, 1);
        eventfd_read(server->done_fd, &n);
        if (send(server->server_fd, message, sizeof(message), 0) < 0) {
            bench_die("bare server: %m");
        }
    }
    eventfd_write(server->ask_fd, STOP);
    return NULL;
}

static void server_init(struct server *server, const char *path, size_t bytes)
{
    int pair[2];

    raw_init(&server->raw, path, bytes);
    server->ask_fd = eventfd(0, EFD_CLOEXEC);
    server->done_fd = eventfd(0, EFD_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        bench_die("bare server: %m");
    }
    server->client_fd = pair[0];
    server->server_fd = pair[1];
}

static int64_t time_raw(struct raw *raw)
{
    int64_t start_ns = clock_mono_ns();

    write_raw(raw);
    return clock_mono_ns() - start_ns;
}

static int64_t time_served(struct server *server)
{
    char message[MESSAGE_BYTES] = "";
    int64_t start_ns = clock_mono_ns();

    if (send(server->client_fd, message, sizeof(message), 0) < 0 ||
        recv(server->client_fd, message, sizeof(message), 0) <= 0) {
        bench_die("bare server: %m");
    }
    return clock_mono_ns() - start_ns;
}

static int64_t time_lease(struct bench_client *client, const char *profile, char path[64])
{
    char body[128], id[32];

    snprintf(body, sizeof(body), "{\"profile\":\"%s\",\"wait_s\":10}", profile);
    int64_t ns = bench_ask(client, "POST", "/v1/leases", body);
    if (client->status != 201) {
        bench_die("no lease: %u %.500s", client->status, client->body);
    }
    bench_field(client, "id", id, sizeof(id));
    snprintf(path, 64, "/v1/leases/%s", id);
    return ns;
}

static int64_t time_release(struct bench_client *client, const char *path)
{
    int64_t ns = bench_ask(client, "DELETE", path, NULL);

    if (client->status >= 300) {
        bench_die("not released: %u %.500s", client->status, client->body);
    }
    while (!strstr(client->body, "\"state\":\"released\"")) {
        bench_ask(client, "GET", path, NULL);
    }
    return ns;
}

int main(int argc, char **argv)
{
    static struct bench_client client;
    static struct server server;
    static struct raw raw;
    pthread_t writes, serves;
    char path[64];

    if (argc != 6) {
        bench_die("usage: bench_lease SOCKET FILE BYTES LEASES PROFILE");
    }
    size_t count = strtoul(argv[4], NULL, 10);
    CLEANUP(freep) int64_t *plain = xcalloc(count, sizeof(*plain));
    CLEANUP(freep) int64_t *served = xcalloc(count, sizeof(*served));
    CLEANUP(freep) int64_t *lease = xcalloc(count, sizeof(*lease));
    CLEANUP(freep) int64_t *release = xcalloc(count, sizeof(*release));
    raw_init(&raw, argv[2], strtoul(argv[3], NULL, 10));
    server_init(&server, argv[2], raw.bytes);
    bench_dial(&client, argv[1]);
    pthread_create(&writes, NULL, server_write, &server);
    pthread_create(&serves, NULL, server_serve, &server);
    for (size_t round = 0; round < WARM_UP + count; round++) {
        size_t i = round < WARM_UP ? 0 : round - WARM_UP;
        served[i] = time_served(&server);
        plain[i] = time_raw(&raw);
        lease[i] = time_lease(&client, argv[5], path);
        release[i] = time_release(&client, path);
    }
    close(server.client_fd);
    pthread_join(serves, NULL);
    pthread_join(writes, NULL);
    bench_print("fdatasync", plain, count);
    bench_print("fdatasync_served", served, count);
    bench_print("lease", lease, count);
    bench_print("release", release, count);
    return 0;
}
