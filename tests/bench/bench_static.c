/* The measure for the API: libmicrohttpd itself, with an answer that is ready.
 *
 *     bench_static SOCKET BYTES
 *
 * Answers every GET with the same BYTES of body and the headers that tangramd sends, on one thread
 * of its own, until its input ends. */
#include "base/cleanup.h"
#include "client.h"
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static enum MHD_Result answer(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_size, void **state)
{
    static int seen;

    (void)url;
    (void)method;
    (void)version;
    (void)data;
    if (!*state) {
        *state = &seen;
        return MHD_YES;
    }
    *data_size = 0;
    return MHD_queue_response(connection, 200, cls);
}

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

int main(int argc, char **argv)
{
    if (argc != 3) {
        bench_die("usage: bench_static SOCKET BYTES");
    }
    size_t len = strtoul(argv[2], NULL, 10);
    CLEANUP(freep) char *body = xcalloc(1, len + 1);
    memset(body, 'x', len);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, body, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, response,
                         MHD_OPTION_LISTEN_SOCKET, listen_on(argv[1]), MHD_OPTION_END);
    if (!daemon) {
        bench_die("libmicrohttpd does not start");
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    MHD_stop_daemon(daemon);
    MHD_destroy_response(response);
    unlink(argv[1]);
    return 0;
}
