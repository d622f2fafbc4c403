/* How many requests per second does a running tangramd answer, per core of its own?
 *
 *     bench_api SOCKET PATH [CONNECTIONS [REQUESTS]]
 *
 * Keeps CONNECTIONS connections busy with `GET PATH` and prints the rate of the wall clock (both
 * sides share the machine), that per second of the daemon's CPU time (what one core could do), and
 * the time of an answer. */
#include "base/buf.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

struct client {
    int fd;
    size_t got, want; /* bytes of the answer; want 0: its head is not whole yet */
    int64_t sent_ns;
    char data[16384]; /* the head has to be in the first of it */
};

static char request[512];

static int dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

/* CPU time of a process so far, in seconds. */
static double cpu_s(pid_t pid)
{
    clockid_t clock;
    struct timespec ts = {0};

    if (clock_getcpuclockid(pid, &clock) == 0) {
        clock_gettime(clock, &ts);
    }
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void say(struct client *c)
{
    c->got = c->want = 0;
    c->sent_ns = clock_mono_ns();
    if (send(c->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) {
        perror("send");
        exit(1);
    }
}

/* True when the answer is whole. */
static bool hear(struct client *c)
{
    size_t room = c->got < sizeof(c->data) - 1 ? sizeof(c->data) - 1 - c->got : 0;
    char rest[65536];
    ssize_t n = room ? recv(c->fd, c->data + c->got, room, 0) : recv(c->fd, rest, sizeof(rest), 0);

    if (n <= 0) {
        fprintf(stderr, "the daemon hung up\n");
        exit(1);
    }
    c->got += (size_t)n;
    if (!c->want) {
        c->data[c->got] = '\0';
        const char *end = strstr(c->data, "\r\n\r\n"), *len = strstr(c->data, "Content-Length: ");
        if (!end || !len || strncmp(c->data, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "unexpected answer: %.300s\n", c->data);
            exit(1);
        }
        c->want = (size_t)(end + 4 - c->data) + strtoul(len + 16, NULL, 10);
    }
    return c->got >= c->want;
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void load(struct client *clients, int connections, int requests, int64_t *took_ns)
{
    struct epoll_event events[64];
    int poll_fd = epoll_create1(EPOLL_CLOEXEC), sent = 0, answered = 0;

    for (int i = 0; i < connections; i++, sent++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, clients[i].fd, &e);
        say(&clients[i]);
    }
    while (answered < sent) {
        int n = epoll_wait(poll_fd, events, 64, 10000);
        if (n <= 0) {
            fprintf(stderr, "no answer\n");
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (!hear(c)) {
                continue;
            }
            took_ns[answered++] = clock_mono_ns() - c->sent_ns;
            if (sent < requests) {
                say(c);
                sent++;
            }
        }
    }
    close(poll_fd);
}

int main(int argc, char **argv)
{
    int connections = argc > 3 ? atoi(argv[3]) : 16, requests = argc > 4 ? atoi(argv[4]) : 100000;
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);

    if (argc < 3 || connections < 1 || requests < connections) {
        fprintf(stderr, "usage: bench_api SOCKET PATH [CONNECTIONS [REQUESTS]]\n");
        return 2;
    }
    snprintf(request, sizeof(request), "GET %.300s HTTP/1.1\r\nHost: tangram\r\n\r\n", argv[2]);
    struct client *clients = xcalloc((size_t)connections, sizeof(*clients));
    int64_t *took_ns = xcalloc((size_t)requests, sizeof(*took_ns));
    for (int i = 0; i < connections; i++) {
        clients[i].fd = dial(argv[1]);
    }
    getsockopt(clients[0].fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    double cpu = cpu_s(peer.pid);
    int64_t start_ns = clock_mono_ns();
    load(clients, connections, requests, took_ns);
    double wall = (double)(clock_mono_ns() - start_ns) / 1e9;
    cpu = cpu_s(peer.pid) - cpu;
    qsort(took_ns, (size_t)requests, sizeof(*took_ns), by_size);
    printf("%4d connections: %8.0f/s (wall), %8.0f/s per core of the daemon; an answer took "
           "%.0f us at the median, %.0f us at p99\n",
           connections, requests / wall, requests / cpu, (double)took_ns[requests / 2] / 1e3,
           (double)took_ns[(size_t)requests * 99 / 100] / 1e3);
    for (int i = 0; i < connections; i++) {
        close(clients[i].fd);
    }
    free(clients);
    free(took_ns);
    return 0;
}
