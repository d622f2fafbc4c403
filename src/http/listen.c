/* Sockets to listen on.  A unix socket left behind by a crash is replaced, but only after nobody
 * answered on it; the state directory's lock keeps two daemons from racing for it. */
#include "base/path.h"
#include "base/text.h"
#include "http/internal.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LISTEN_BACKLOG 1024

/* Removes a socket that nobody answers on.  0 also when there is nothing. */
static int unix_clear_stale(const struct sockaddr_un *addr, struct error *err)
{
    struct stat st;

    if (lstat(addr->sun_path, &st) < 0) {
        return errno == ENOENT
                   ? 0
                   : err_set(err, errno, "cannot look at %s: %s", addr->sun_path, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(err, EEXIST,
                       "%s exists and is not a socket; remove it or choose another "
                       "path with --socket",
                       addr->sun_path);
    }
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    }
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN) {
        return err_set(err, EADDRINUSE,
                       "another process answers on %s; stop it or choose another "
                       "path with --socket",
                       addr->sun_path);
    }
    if (errno != ECONNREFUSED) {
        return err_set(err, errno, "cannot tell whether %s is in use: %s", addr->sun_path,
                       strerror(errno));
    }
    if (unlink(addr->sun_path) < 0 && errno != ENOENT) {
        return err_set(err, errno, "cannot remove the stale socket %s: %s", addr->sun_path,
                       strerror(errno));
    }
    return 0;
}

int http_listen_unix(const char *path, mode_t mode, struct listener *ret, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    int r;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        return err_set(err, ENAMETOOLONG, "the socket path %s has more than %zu bytes", path,
                       sizeof(addr.sun_path) - 1);
    }
    text_copy(addr.sun_path, sizeof(addr.sun_path), path);
    r = path_make_parents(path, err);
    if (r == 0) {
        r = unix_clear_stale(&addr, err);
    }
    if (r < 0) {
        return r;
    }
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    }
    bool may_bring = !http_socket_refuse_descriptors(fd); /* connections inherit it */
    /* Nobody can connect before listen(), so the mode may come after bind(). */
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, mode) < 0 ||
        listen(fd, LISTEN_BACKLOG) < 0 || lstat(path, &st) < 0) {
        return err_set(err, errno, "cannot listen on %s: %s", path, strerror(errno));
    }
    *ret = (struct listener){.fd = TAKE_FD(fd), .path = xstrdup(path), .dev = st.st_dev,
                             .ino = st.st_ino, .may_bring = may_bring};
    return 0;
}

union any_addr {
    struct sockaddr sa;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    struct sockaddr_storage room;
};

static bool addr_is_loopback(const union any_addr *addr)
{
    if (addr->sa.sa_family == AF_INET) {
        return ntohl(addr->in4.sin_addr.s_addr) >> 24 == 127;
    }
    return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
}

static int parse_where(const char *where, union any_addr *ret, struct error *err)
{
    const char *colon = strrchr(where, ':');
    char host[64];
    size_t len = colon ? (size_t)(colon - where) : 0;
    int64_t port;

    if (!colon || len == 0 || len >= sizeof(host)) {
        return err_set(err, EINVAL, "'%s' is not HOST:PORT (such as 127.0.0.1:7070)", where);
    }
    if (text_parse_int(colon + 1, "the port to listen on", 0, 65535, &port, err) < 0) {
        return err_set(err, EINVAL, "'%s' is not HOST:PORT: the port is 0 to 65535", where);
    }
    text_copy(host, sizeof(host), where);
    host[len] = '\0';
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        memmove(host, host + 1, len - 1);
    }
    *ret = (union any_addr){.sa = {.sa_family = AF_INET}};
    ret->in4.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                  &ret->in4.sin_addr) == 1) {
        return 0;
    }
    *ret = (union any_addr){.sa = {.sa_family = AF_INET6}};
    ret->in6.sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET6, host, &ret->in6.sin6_addr) == 1) {
        return 0;
    }
    return err_set(err, EINVAL,
                   "'%s' is not HOST:PORT with a numeric address (such as "
                   "127.0.0.1:7070)",
                   where);
}

/* Port of a bound TCP socket, in *ret. */
static int tcp_port(int fd, unsigned *ret)
{
    union any_addr addr = {.room = {0}};
    socklen_t len = sizeof(addr);

    if (getsockname(fd, &addr.sa, &len) < 0) {
        return -errno;
    }
    *ret = ntohs(addr.sa.sa_family == AF_INET ? addr.in4.sin_port : addr.in6.sin6_port);
    return 0;
}

static int parse_loopback(const char *where, union any_addr *ret, struct error *err)
{
    union any_addr addr;
    int r = parse_where(where, &addr, err);

    if (r < 0) {
        return r;
    }
    if (!addr_is_loopback(&addr)) {
        return err_set(err, EINVAL,
                       "refusing to listen on %s: only loopback addresses "
                       "(127.0.0.1, [::1]) are served, put a TLS proxy before it",
                       where);
    }
    *ret = addr;
    return 0;
}

int http_check_listen(const char *where, struct error *err)
{
    union any_addr addr;

    return parse_loopback(where, &addr, err);
}

/* Connections inherit it: an event, or the second of two answers, does not wait until the client
 * has acknowledged the one before (40 ms). */
static int send_at_once(int fd)
{
    int one = 1;

    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int http_listen_tcp(const char *where, struct listener *ret, struct error *err)
{
    union any_addr addr;
    unsigned port = 0;
    int one = 1, r = parse_loopback(where, &addr, err);

    if (r < 0) {
        return r;
    }
    CLEANUP(closep)
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        send_at_once(fd) < 0 ||
        bind(fd, &addr.sa, addr.sa.sa_family == AF_INET ? sizeof(addr.in4) : sizeof(addr.in6)) <
            0 ||
        listen(fd, LISTEN_BACKLOG) < 0) {
        return err_set(err, errno, "cannot listen on %s: %s", where, strerror(errno));
    }
    r = tcp_port(fd, &port);
    if (r < 0) {
        return err_set(err, -r, "cannot listen on %s: %s", where, strerror(-r));
    }
    *ret = (struct listener){.fd = TAKE_FD(fd), .port = port};
    return 0;
}

int http_listen_inherited(int fd, struct listener *ret, struct error *err)
{
    union any_addr addr = {.room = {0}};
    socklen_t len = sizeof(addr), len_int = sizeof(int);
    int listening = 0;
    unsigned port = 0;
    bool may_bring = false;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len_int) < 0 || !listening ||
        getsockname(fd, &addr.sa, &len) < 0) {
        return err_set(err, EINVAL, "the inherited descriptor %d is not a listening socket", fd);
    }
    if (addr.sa.sa_family != AF_UNIX) {
        if (!addr_is_loopback(&addr)) {
            return err_set(err, EINVAL,
                           "the inherited socket is neither a unix socket nor on a "
                           "loopback address; change ListenStream= of the socket unit");
        }
        tcp_port(fd, &port);
    } else {
        may_bring = !http_socket_refuse_descriptors(fd);
    }
    if ((port && send_at_once(fd) < 0) || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        return err_set(err, errno, "cannot prepare the inherited socket: %s", strerror(errno));
    }
    *ret = (struct listener){.fd = fd, .port = port, .may_bring = may_bring};
    return 0;
}

void http_listener_done(struct listener *listener)
{
    struct stat st;

    sd_event_source_disable_unref(listener->source);
    listener->source = NULL;
    /* Only the socket that we made: another daemon may have replaced it meanwhile. */
    if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino) {
        unlink(listener->path);
    }
    free(TAKE_PTR(listener->path));
    http_socket_stop_listening(listener->fd, listener->may_bring);
    listener->fd = -1;
}
