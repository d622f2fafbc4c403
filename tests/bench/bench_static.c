/* The measure for the API: the least that a server can do.
 *
 *     bench_static SOCKET BYTES
 *
 * Answers whatever comes with the same ready answer, of BYTES of body and the headers that tangramd
 * sends, without understanding any of it: one read, one write.  On one thread, until
 * its input ends. */
#include "base/buf.h"
#include "client.h"
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define EVENTS 64

static int listen_on(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0) {
        bench_die("%s: %m", path);
    }
    return fd;
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        bench_die("epoll: %m");
    }
}

static void serve(int fd, const struct buf *answer)
{
    char request[16384];

    if (recv(fd, request, sizeof(request), 0) <= 0 ||
        send(fd, answer->data, answer->len, MSG_NOSIGNAL) < 0) {
        close(fd);
    }
}

static void run(int listener, const struct buf *answer)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS];

    watch(epoll_fd, listener);
    watch(epoll_fd, STDIN_FILENO);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                close(epoll_fd);
                return;
            }
            if (fd != listener) {
                serve(fd, answer);
                continue;
            }
            fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                watch(epoll_fd, fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    CLEANUP(buf_done) struct buf answer = BUF_INIT(64 << 20);

    if (argc != 3) {
        bench_die("usage: bench_static SOCKET BYTES");
    }
    size_t len = strtoul(argv[2], NULL, 10);
    CLEANUP(freep) char *body = xcalloc(1, len + 1);
    memset(body, 'x', len);
    buf_addf(&answer,
             "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 06:00:00 GMT\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             len);
    buf_add(&answer, body, len);
    int listener = listen_on(argv[1]);
    puts("ready");
    fflush(stdout);
    run(listener, &answer);
    close(listener);
    unlink(argv[1]);
    return 0;
}
