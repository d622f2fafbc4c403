/* The server: listening sockets, connections and their time limits.
 *
 * All of HTTP is ours (conn.c, head.c, body.c): a library would answer what it does not like with
 * pages of its own.  Who connects (SO_PEERCRED) and how many connections he has is looked at before
 * a connection costs anything.  The connections have an epoll descriptor of their own, which is one
 * source of the loop: many requests that come at once cost the loop one turn.
 *
 * Time limits are not limits of inactivity, which a client that sends one byte now and then never
 * meets.  Each kind of waiting has one fixed length, so a queue per kind is sorted by itself, and
 * one timer, armed only while a connection exists, serves them all.
 *
 * A connection ends, and is freed, only in conn.c's turns, by its time limit, by http_server_drop()
 * and with the server; an answer given from elsewhere only puts it on the list of those that are
 * ready, and the loop, or http_server_push(), goes on with them. */
#include "base/clock.h"
#include "base/log.h"
#include "http/internal.h"
#include <malloc.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define ACCEPTS_AT_ONCE 64
#define RETRY_ACCEPT_US ((uint64_t)1000000)
#define EXTRA_FOR_ROOT 512
#define TURNED_AWAY_MOST 16 /* who have time to read that there are too many */
#define RESERVE_MOST 64 /* descriptors that clients leave for the rest: the journal, the driver */
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

void conn_is_ready(struct conn *conn)
{
    struct http_server *server = conn->server;

    if (!conn->is_ready) {
        conn->is_ready = true;
        TAILQ_INSERT_TAIL(&server->ready, conn, ready);
        server->ready_count++;
        sd_event_source_set_enabled(server->ready_source, SD_EVENT_ONESHOT);
    }
}

static void forget_ready(struct conn *conn)
{
    if (conn->is_ready) {
        conn->is_ready = false;
        TAILQ_REMOVE(&conn->server->ready, conn, ready);
        conn->server->ready_count--;
    }
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

/* Anybody on the machine can come over TCP, and stay a while without showing a token: the one who
 * has done so for longest makes room. */
static bool displace_stranger(struct http_server *server)
{
    struct conn *conn;

    for (int wait = 0; wait < WAIT_COUNT; wait++) {
        TAILQ_FOREACH(conn, &server->queues[wait], by_deadline)
        {
            if (!conn->peer.is_unix && !*conn->peer.identity) {
                conn_close(conn);
                return true;
            }
        }
    }
    return false;
}

/* The lowest number that was free tells how many there are. */
static bool is_last_of_descriptors(int fd)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t quarter = limit.rlim_cur / 4;
    return (rlim_t)fd >= limit.rlim_cur - (quarter < RESERVE_MOST ? quarter : RESERVE_MOST);
}

/* NULL: welcome; else why not. */
static const char *admit(struct http_server *server, const struct http_peer *peer,
                         uid_t counted_as, int fd)
{
    const struct http_settings *settings = &server->settings;

    if (peer->is_unix && peer->uid == 0) {
        return server->conn_count < settings->connections_max + EXTRA_FOR_ROOT ? NULL : "too many";
    }
    if (server->conn_count >= settings->connections_max || is_last_of_descriptors(fd)) {
        return "the server has as many connections as it may have";
    }
    if (!peer->is_unix) {
        return server->tcp_count < settings->connections_per_uid || displace_stranger(server)
                   ? NULL
                   : "there are as many TCP connections as there may be";
    }
    return uid_find(server, counted_as)->count < settings->connections_per_uid
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
        uid_find(server, conn->counted_as)->count++;
    } else {
        uid_release(server, conn->counted_as);
    }
}

void server_forget(struct conn *conn)
{
    struct http_server *server = conn->server;

    conn_wait_for(conn, WAIT_NOTHING);
    forget_ready(conn);
    for (int i = 0; i < server->event_count; i++) {
        if (server->events[i].data.ptr == conn) {
            server->events[i].data.ptr = NULL;
        }
    }
    conn_count(conn, false);
    server->turned_away_count -= conn->is_turned_away;
    LIST_REMOVE(conn, all);
    /* After a crowd has left, its memory goes back to the system. */
    if (server->conn_peak > TRIM_ABOVE && server->conn_count < server->conn_peak / 4) {
        server->conn_peak = server->conn_count;
        server->is_to_trim = true;
        server_arm(server, server_now_ms(server) + TRIM_DELAY_MS);
    }
}

/* Whoever was turned away first has had the most time to read why. */
static void forget_turned_away(struct http_server *server)
{
    struct conn *conn;

    TAILQ_FOREACH(conn, &server->queues[WAIT_SENT], by_deadline)
    {
        if (conn->is_turned_away) {
            conn_close(conn);
            return;
        }
    }
}

static struct conn *conn_new(struct http_server *server, int fd, const struct http_peer *peer,
                             uid_t counted_as, bool may_bring)
{
    struct conn *conn = xcalloc(1, sizeof(*conn));

    conn->server = server;
    conn->fd = fd;
    conn->peer = *peer;
    conn->counted_as = counted_as;
    conn->may_bring = may_bring;
    conn->wait = WAIT_NOTHING;
    LIST_INSERT_HEAD(&server->conns, conn, all);
    conn_count(conn, true);
    conn_wait_for(conn, WAIT_HEAD);
    if (may_bring) {
        http_socket_begin(fd);
    }
    return conn;
}

static void serve(struct http_server *server, int fd, bool may_bring)
{
    const struct http_settings *settings = &server->settings;
    struct http_peer peer;
    uid_t counted_as;
    const char *why;
    struct conn *conn;

    if (peer_of(fd, &peer) < 0) {
        http_socket_close(fd, may_bring);
        return;
    }
    counted_as = settings->counted_as && peer.is_unix && peer.uid
                     ? settings->counted_as(peer.uid, settings->counted_as_data) : peer.uid;
    why = admit(server, &peer, counted_as, fd);
    if (why) {
        http_send_problem(fd, &(struct http_head_fault){503, "too_many_connections", why},
                          "Retry-After: 1\r\n");
    }
    if (why && server->turned_away_count >= TURNED_AWAY_MOST) {
        forget_turned_away(server);
    }
    conn = conn_new(server, fd, &peer, counted_as, may_bring);
    if (conn_begin(conn) < 0) {
        log_warn("http: a connection cannot be watched and is closed");
        conn_close(conn);
    } else if (why) {
        server->turned_away_count++;
        conn_turn_away(conn);
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
    bool may_bring = false;

    (void)events;
    for (unsigned i = 0; i < server->listener_count; i++) {
        may_bring = may_bring || (server->listeners[i].fd == fd && server->listeners[i].may_bring);
    }
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            serve(server, client, may_bring);
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

/* Those that are ready now; who becomes it meanwhile comes in the next round. */
static void go_on_with_ready(struct http_server *server)
{
    struct conn *conn;

    for (unsigned left = server->ready_count; left && (conn = TAILQ_FIRST(&server->ready));
         left--) {
        forget_ready(conn);
        conn_go(conn);
    }
    if (server->ready_count) {
        sd_event_source_set_enabled(server->ready_source, SD_EVENT_ONESHOT);
    }
}

static void look_at_sockets(struct http_server *server)
{
    int count = epoll_wait(server->epoll_fd, server->events, HTTP_EVENTS_AT_ONCE, 0);

    server->event_count = count > 0 ? count : 0;
    for (int i = 0; i < server->event_count; i++) {
        struct conn *conn = server->events[i].data.ptr;
        if (conn) { /* else it has ended since */
            conn_on_events(conn, server->events[i].events);
        }
    }
    server->event_count = 0;
}

void http_server_push(struct http_server *server)
{
    go_on_with_ready(server);
    look_at_sockets(server);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    (void)source;
    (void)fd;
    (void)events;
    look_at_sockets(userdata);
    return 0;
}

static int on_ready(sd_event_source *source, void *userdata)
{
    (void)source;
    go_on_with_ready(userdata);
    return 0;
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
            conn_expire(conn);
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
    int r = sd_event_add_io(server->event, &server->io_source, server->epoll_fd, EPOLLIN, on_io,
                            server);

    if (r >= 0) {
        r = sd_event_add_defer(server->event, &server->ready_source, on_ready, server);
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
        sd_event_source_set_enabled(server->ready_source, SD_EVENT_OFF);
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
    server->epoll_fd = -1;
    TAILQ_INIT(&server->ready);
    settings_default(&server->settings);
    for (int i = 0; i < WAIT_COUNT; i++) {
        TAILQ_INIT(&server->queues[i]);
    }
    r = server_listen(server, settings, err);
    if (r < 0) {
        return r;
    }
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0) {
        return err_set(err, errno, "cannot watch connections: %s", strerror(errno));
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
        if (!conn->peer.is_unix && !conn->is_handling && !strcmp(conn->peer.identity, identity)) {
            conn_close(conn);
        }
    }
}

void http_server_free(struct http_server *server)
{
    struct conn *conn;

    if (!server) {
        return;
    }
    http_server_stop_listening(server);
    while ((conn = LIST_FIRST(&server->conns))) {
        conn_end(conn);
    }
    sd_event_source_disable_unref(server->io_source);
    sd_event_source_disable_unref(server->ready_source);
    sd_event_source_disable_unref(server->timer);
    sd_event_source_disable_unref(server->retry_source);
    sd_event_unref(server->event);
    closep(&server->epoll_fd);
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
