/* The server: listening sockets, connections and their time limits, libmicrohttpd on the loop.
 *
 * libmicrohttpd parses and writes; it has no threads and no listening socket here.  We accept
 * ourselves, because who connects (SO_PEERCRED) and how many connections he has is looked at before
 * a connection costs anything, look at the head of its first request (entry.c), and hand the socket
 * over with MHD_add_connection().  Its epoll descriptor is one source of the loop.
 *
 * Time limits are ours too: libmicrohttpd's are limits of inactivity, which a client that sends one
 * byte now and then never meets.  Each kind of waiting has one fixed length, so a queue per kind is
 * sorted by itself, and one timer, armed only while a connection exists, serves them all.
 *
 * A suspended connection (a held request, a quiet stream) is invisible to libmicrohttpd.  That its
 * client left is seen by a source of our own on the same descriptor: EPOLLHUP means that both
 * halves are closed.  A TCP client that has left looks like one that closed its sending half only
 * (a FIN) until something is written: so an interim "100 Continue", which clients skip, is sent
 * after the FIN of a held request; a reset answers it when nobody is there.
 *
 * A held request must not be suspended from inside libmicrohttpd's callback: on resuming it would
 * first read from the socket, as it had meant to do next, and take a client that has closed its
 * sending half for one that is gone.  Suspended after MHD_run() it goes on where it stood.
 *
 * is_suspended is ours: between MHD_resume_connection() and the next MHD_run() libmicrohttpd still
 * calls it suspended, and no second resume may come. */
#include "base/clock.h"
#include "base/log.h"
#include "http/internal.h"
#include <malloc.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ACCEPTS_AT_ONCE 64
#define RETRY_ACCEPT_US ((uint64_t)1000000)
#define EXTRA_FOR_ROOT 512
#define TRIM_ABOVE 64
#define TRIM_DELAY_MS 1000

int64_t server_now_ms(const struct http_server *server)
{
    uint64_t now_us;

    if (sd_event_now(server->event, CLOCK_MONOTONIC, &now_us) < 0) {
        return clock_mono_ms();
    }
    return (int64_t)(now_us / 1000);
}

void server_arm(struct http_server *server, int64_t when_ms)
{
    if (when_ms >= server->armed_ms) {
        return;
    }
    server->armed_ms = when_ms;
    sd_event_source_set_time(server->timer, (uint64_t)when_ms * 1000);
    sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

void conn_wait_for(struct conn *conn, enum conn_wait wait)
{
    struct http_server *server = conn->server;

    if (conn->wait != WAIT_NOTHING) {
        TAILQ_REMOVE(&server->queues[conn->wait], conn, by_deadline);
    }
    conn->wait = wait;
    if (wait != WAIT_NOTHING) {
        conn->deadline_ms =
            server_now_ms(server) + (wait == WAIT_HEAD ? server->settings.idle_timeout_ms
                                                       : server->settings.request_timeout_ms);
        TAILQ_INSERT_TAIL(&server->queues[wait], conn, by_deadline);
        server_arm(server, conn->deadline_ms);
    }
}

void conn_suspend(struct conn *conn)
{
    MHD_suspend_connection(conn->mhd);
    conn->is_suspended = true;
}

void conn_suspend_later(struct conn *conn)
{
    if (!conn->is_to_suspend) {
        conn->is_to_suspend = true;
        SLIST_INSERT_HEAD(&conn->server->to_suspend, conn, to_suspend);
    }
}

static void suspend_held(struct http_server *server)
{
    struct conn *conn;

    while ((conn = SLIST_FIRST(&server->to_suspend))) {
        SLIST_REMOVE_HEAD(&server->to_suspend, to_suspend);
        conn->is_to_suspend = false;
        /* It may have been answered, or lost, since. */
        if (conn->req && conn->req->phase == PHASE_HELD && !conn->is_dead) {
            conn_suspend(conn);
            conn_watch(conn);
        }
    }
}

void conn_resume(struct conn *conn)
{
    if (conn->is_suspended) {
        conn->is_suspended = false;
        MHD_resume_connection(conn->mhd);
        /* Its descriptor does not show that there is something to do. */
        sd_event_source_set_enabled(conn->server->more_source, SD_EVENT_ONESHOT);
    }
}

/* Lets libmicrohttpd close it: it sees the end of the connection, or is refused by us. */
static void conn_kill(struct conn *conn)
{
    conn_unwatch(conn);
    conn_wait_for(conn, WAIT_NOTHING);
    conn->is_dead = true;
    shutdown(conn->fd, SHUT_RDWR);
    request_lose(conn);
    conn_resume(conn);
}

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct conn *conn = userdata;

    if (events & (EPOLLHUP | EPOLLERR)) {
        conn_kill(conn);
        return 0;
    }
    if (!conn->stream && !conn->is_probed &&
        send(fd, interim, sizeof(interim) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN) {
        conn_kill(conn);
        return 0;
    }
    conn->is_probed = true;
    return sd_event_source_set_io_events(source, 0);
}

void conn_watch(struct conn *conn)
{
    if (conn->watch || conn->is_dead) {
        return;
    }
    /* EPOLLHUP and EPOLLERR are always told. */
    if (sd_event_add_io(conn->server->event, &conn->watch, conn->fd,
                        conn->peer.is_unix ? 0 : EPOLLRDHUP, on_watch, conn) < 0) {
        log_warn("http: cannot watch a connection, its client's leaving will be noticed late");
    }
}

void conn_unwatch(struct conn *conn)
{
    sd_event_source_disable_unref(TAKE_PTR(conn->watch));
    conn->is_probed = false;
}

static struct uid_count *uid_find(struct http_server *server, uid_t uid)
{
    for (unsigned i = 0; i < server->uid_count; i++) {
        if (server->uids[i].uid == uid) {
            return &server->uids[i];
        }
    }
    server->uids = xreallocarray(server->uids, server->uid_count + 1, sizeof(*server->uids));
    server->uids[server->uid_count] = (struct uid_count){.uid = uid};
    return &server->uids[server->uid_count++];
}

static void uid_release(struct http_server *server, uid_t uid)
{
    struct uid_count *count = uid_find(server, uid);

    if (--count->count == 0) {
        *count = server->uids[--server->uid_count];
    }
}

/* NULL: welcome; else why not. */
static const char *admit(struct http_server *server, const struct http_peer *peer)
{
    const struct http_settings *settings = &server->settings;

    if (peer->is_unix && peer->uid == 0) {
        return server->conn_count < settings->connections_max + EXTRA_FOR_ROOT ? NULL : "too many";
    }
    if (server->conn_count >= settings->connections_max) {
        return "the server has as many connections as it may have";
    }
    if (!peer->is_unix) {
        return server->tcp_count < settings->connections_per_uid
                   ? NULL
                   : "there are as many TCP connections as there may be";
    }
    return uid_find(server, peer->uid)->count < settings->connections_per_uid
               ? NULL
               : "this user has as many connections as one user may have";
}

static int peer_of(int fd, struct http_peer *ret)
{
    struct ucred cred;
    socklen_t len = sizeof(cred), len_int = sizeof(int);
    int domain = 0;

    *ret = (struct http_peer){0};
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len_int) < 0) {
        return -errno;
    }
    if (domain != AF_UNIX) {
        return 0;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
        return -errno;
    }
    *ret = (struct http_peer){.is_unix = true, .uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    return 0;
}

static void conn_count(struct conn *conn, bool is_new)
{
    struct http_server *server = conn->server;

    server->conn_count += is_new ? 1 : -1U;
    if (server->conn_count > server->conn_peak) {
        server->conn_peak = server->conn_count;
    }
    if (!conn->peer.is_unix) {
        server->tcp_count += is_new ? 1 : -1U;
    } else if (is_new) {
        uid_find(server, conn->peer.uid)->count++;
    } else {
        uid_release(server, conn->peer.uid);
    }
}

void conn_free(struct conn *conn)
{
    struct http_server *server = conn->server;

    request_lose(conn);
    conn_unwatch(conn);
    conn_wait_for(conn, WAIT_NOTHING);
    if (conn->is_to_suspend) {
        SLIST_REMOVE(&conn->server->to_suspend, conn, conn, to_suspend);
    }
    conn_count(conn, false);
    LIST_REMOVE(conn, all);
    /* After a crowd has left, its memory goes back to the system. */
    if (server->conn_peak > TRIM_ABOVE && server->conn_count < server->conn_peak / 4) {
        server->conn_peak = server->conn_count;
        server->is_to_trim = true;
        server_arm(server, server_now_ms(server) + TRIM_DELAY_MS);
    }
    free(conn);
}

static void serve(struct http_server *server, int fd)
{
    struct http_peer peer;
    const char *why;
    struct conn *conn;

    if (peer_of(fd, &peer) < 0) {
        close(fd);
        return;
    }
    why = admit(server, &peer);
    if (why) {
        http_send_problem(fd, MHD_HTTP_SERVICE_UNAVAILABLE, "too_many_connections", why,
                          "Retry-After: 1\r\n");
        shutdown(fd, SHUT_WR);
        close(fd);
        return;
    }
    conn = xcalloc(1, sizeof(*conn));
    conn->server = server;
    conn->fd = fd;
    conn->peer = peer;
    conn->wait = WAIT_NOTHING;
    LIST_INSERT_HEAD(&server->conns, conn, all);
    conn_count(conn, true);
    conn_wait_for(conn, WAIT_HEAD);
    entry_begin(conn);
}

/* The one that was handed over with this descriptor: libmicrohttpd 0.9 takes it at once, 1.0 only
 * in its next run. */
static struct conn *find_accepted(struct http_server *server, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *conn = NULL;

    LIST_FOREACH(conn, &server->conns, all)
    {
        if (info && !conn->mhd && !conn->is_entering && conn->fd == info->connect_fd) {
            break;
        }
    }
    return conn;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct conn *conn = find_accepted(server, mhd);
        if (!conn) {
            return; /* cannot be: each was listed before it was handed over */
        }
        server->accepting = NULL;
        conn->mhd = mhd;
        *context = conn;
    } else if (*context) {
        conn_free(*context);
        *context = NULL;
    }
}

static int on_retry_accept(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct http_server *server = userdata;

    (void)source;
    (void)usec;
    for (unsigned i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].source) {
            sd_event_source_set_enabled(server->listeners[i].source, SD_EVENT_ON);
        }
    }
    return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct http_server *server = userdata;

    (void)events;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            serve(server, client);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The client stays in the backlog; look again when something may have been closed. */
            log_warn("http: cannot accept a connection: %s", strerror(errno));
            sd_event_source_set_enabled(source, SD_EVENT_OFF);
            sd_event_source_set_time_relative(server->retry_source, RETRY_ACCEPT_US);
            sd_event_source_set_enabled(server->retry_source, SD_EVENT_ONESHOT);
        }
        break;
    }
    return 0;
}

/* libmicrohttpd may have work left that its descriptor does not show. */
static void server_run(struct http_server *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(server->mhd);
    suspend_held(server);
    if (MHD_get_timeout(server->mhd, &wait_ms) == MHD_YES && wait_ms == 0) {
        sd_event_source_set_enabled(server->more_source, SD_EVENT_ONESHOT);
    }
}

void http_server_push(struct http_server *server)
{
    server_run(server);
}

static int on_mhd(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source;
    (void)fd;
    (void)events;
    server_run(userdata);
    return 0;
}

static int on_more(sd_event_source *source, void *userdata)
{
    (void)source;
    server_run(userdata);
    return 0;
}

static void expire(struct conn *conn)
{
    if (conn->is_entering) {
        entry_expire(conn);
        return;
    }
    /* Nothing of an answer has been written yet, so this is well-formed. */
    if (conn->req && conn->req->phase < PHASE_SENDING && conn->wait != WAIT_SENT) {
        http_send_problem(conn->fd, MHD_HTTP_REQUEST_TIMEOUT, "timeout",
                          "the request did not arrive whole in the time it has", "");
    }
    conn_kill(conn);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct http_server *server = userdata;
    int64_t now_ms = server_now_ms(server);

    (void)source;
    (void)usec;
    server->armed_ms = INT64_MAX;
    for (int wait = 0; wait < WAIT_COUNT; wait++) {
        struct conn *conn;
        while ((conn = TAILQ_FIRST(&server->queues[wait])) && conn->deadline_ms <= now_ms) {
            expire(conn);
        }
        if (conn) {
            server_arm(server, conn->deadline_ms);
        }
    }
    streams_keep_alive(server);
    if (server->is_to_trim) {
        server->is_to_trim = false;
        malloc_trim(0);
    }
    return 0;
}

/* Paths are decoded by ourselves (route.c); libmicrohttpd leaves them as they are. */
static size_t keep_escaped(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls;
    (void)mhd;
    return strlen(s);
}

static struct MHD_Daemon *start_mhd(struct http_server *server)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
        request_on_data, server, MHD_OPTION_CONNECTION_LIMIT,
        server->settings.connections_max + EXTRA_FOR_ROOT + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_CONNECTION_BYTES, MHD_OPTION_URI_LOG_CALLBACK, request_on_uri, server,
        MHD_OPTION_NOTIFY_COMPLETED, request_on_done, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL, MHD_OPTION_END);
}

static void settings_default(struct http_settings *s)
{
    s->socket_mode = s->socket_mode ? s->socket_mode : 0666;
    s->connections_max = s->connections_max ? s->connections_max : 2048;
    s->connections_per_uid = s->connections_per_uid ? s->connections_per_uid : 256;
    s->body_max_bytes = s->body_max_bytes ? s->body_max_bytes : (size_t)1024 * 1024;
    s->idle_timeout_ms = s->idle_timeout_ms ? s->idle_timeout_ms : 60000;
    s->request_timeout_ms = s->request_timeout_ms ? s->request_timeout_ms : 15000;
    s->keepalive_ms = s->keepalive_ms ? s->keepalive_ms : 15000;
    s->stream_backlog_bytes =
        s->stream_backlog_bytes ? s->stream_backlog_bytes : (size_t)256 * 1024;
}

static int server_listen(struct http_server *server, const struct http_settings *settings,
                         struct error *err)
{
    int r;

    if (settings->socket_path) {
        r = http_listen_unix(settings->socket_path, server->settings.socket_mode,
                             &server->listeners[server->listener_count], err);
        if (r < 0) {
            return r;
        }
        server->listener_count++;
    }
    if (settings->listen) {
        r = http_listen_tcp(settings->listen, &server->listeners[server->listener_count], err);
        if (r < 0) {
            return r;
        }
        server->listener_count++;
    }
    if (settings->inherited_fd > 0) {
        r = http_listen_inherited(settings->inherited_fd,
                                  &server->listeners[server->listener_count], err);
        if (r < 0) {
            return r;
        }
        server->listener_count++;
    }
    return 0;
}

static int server_add_sources(struct http_server *server, struct error *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    int r = sd_event_add_io(server->event, &server->mhd_source, info->epoll_fd, EPOLLIN, on_mhd,
                            server);

    if (r >= 0) {
        r = sd_event_add_defer(server->event, &server->more_source, on_more, server);
    }
    if (r >= 0) {
        r = sd_event_add_time(server->event, &server->timer, CLOCK_MONOTONIC, 0, 0, on_timer,
                              server);
    }
    if (r >= 0) {
        r = sd_event_add_time(server->event, &server->retry_source, CLOCK_MONOTONIC, 0, 0,
                              on_retry_accept, server);
    }
    if (r >= 0) {
        sd_event_source_set_enabled(server->more_source, SD_EVENT_OFF);
        sd_event_source_set_enabled(server->timer, SD_EVENT_OFF);
        sd_event_source_set_enabled(server->retry_source, SD_EVENT_OFF);
    }
    for (unsigned i = 0; r >= 0 && i < server->listener_count; i++) {
        r = sd_event_add_io(server->event, &server->listeners[i].source, server->listeners[i].fd,
                            EPOLLIN, on_accept, server);
    }
    return r < 0 ? err_set(err, -r, "cannot watch the sockets: %s", strerror(-r)) : 0;
}

int http_server_new(sd_event *event, const struct http_settings *settings,
                    const struct http_route *routes, void *userdata, struct http_server **ret,
                    struct error *err)
{
    CLEANUP(http_server_freep) struct http_server *server = xcalloc(1, sizeof(*server));
    int r;

    server->event = sd_event_ref(event);
    server->settings = *settings;
    server->settings.socket_path = server->settings.listen = NULL;
    server->routes = routes;
    server->userdata = userdata;
    server->armed_ms = INT64_MAX;
    settings_default(&server->settings);
    for (int i = 0; i < WAIT_COUNT; i++) {
        TAILQ_INIT(&server->queues[i]);
    }
    r = server_listen(server, settings, err);
    if (r < 0) {
        return r;
    }
    server->mhd = start_mhd(server);
    if (!server->mhd) {
        return err_set(err, EIO, "cannot start libmicrohttpd");
    }
    r = server_add_sources(server, err);
    if (r < 0) {
        return r;
    }
    *ret = TAKE_PTR(server);
    return 0;
}

void http_server_stop_listening(struct http_server *server)
{
    while (server->listener_count) {
        http_listener_done(&server->listeners[--server->listener_count]);
    }
}

void http_server_drop(struct http_server *server, const char *identity)
{
    struct conn *conn, *next;

    for (conn = LIST_FIRST(&server->conns); conn; conn = next) {
        next = LIST_NEXT(conn, all);
        if (!conn->peer.is_unix && !conn->is_handling && !conn->is_dead && !conn->is_entering &&
            !strcmp(conn->peer.identity, identity)) {
            conn_kill(conn);
        }
    }
}

void http_server_free(struct http_server *server)
{
    struct conn *conn, *next;

    if (!server) {
        return;
    }
    http_server_stop_listening(server);
    for (conn = LIST_FIRST(&server->conns); conn; conn = next) {
        next = LIST_NEXT(conn, all);
        if (conn->is_entering) {
            entry_drop(conn);
        }
    }
    if (server->mhd) {
        MHD_run(server->mhd); /* starts what it was given and has not looked at */
        /* libmicrohttpd wants no connection suspended when it stops. */
        LIST_FOREACH(conn, &server->conns, all)
        {
            conn_kill(conn);
        }
        MHD_run(server->mhd);
        MHD_stop_daemon(server->mhd);
    }
    sd_event_source_disable_unref(server->mhd_source);
    sd_event_source_disable_unref(server->more_source);
    sd_event_source_disable_unref(server->timer);
    sd_event_source_disable_unref(server->retry_source);
    sd_event_unref(server->event);
    free(server->uids);
    free(server);
}

unsigned http_server_port(const struct http_server *server)
{
    for (unsigned i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].port) {
            return server->listeners[i].port;
        }
    }
    return 0;
}

unsigned http_server_connections(const struct http_server *server)
{
    return server->conn_count;
}
