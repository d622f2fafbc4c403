#pragma once
#include "api/api.h"
#include "base/buf.h"
#include "base/clock.h"
#include "pool_world.h"
#include <inttypes.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The API over a real pool and a real socket, without a daemon: tables for GPUs (pool_world.h), a
 * journal in memory that commits when the test says so, and people by name in a header. */

#define AW_PENDING 4096
#define AW_EVENTS 4096
#define AW_PATIENCE_MS 10000

struct aw_event {
    int64_t seq;
    char *body;
};

struct api_world {
    struct world w; /* first: a struct world * of it is the whole */
    sd_event *event;
    struct http_server *server;
    struct api *api;
    char dir[64], path[96];
    struct {
        struct pool_action action;
        int64_t seq;
    } pending[AW_PENDING];
    unsigned pending_count;
    bool commits_at_once;
    struct aw_event history[AW_EVENTS]; /* what is on disk */
    unsigned history_count;
    int64_t last_seq;
    struct api_identity who; /* of whoever asks next */
    bool is_stranger;
    bool is_unheard_of; /* until somebody has said who is on the unix socket */
    const char *store_problem;
    uint64_t token_cookie; /* of the last wish */
    struct api_token wish;
};

static inline struct api_world *aw_of(void *userdata)
{
    return userdata;
}

static inline int64_t aw_now(void *userdata)
{
    return aw_of(userdata)->w.now_ms;
}

static inline void aw_note(struct world *w, const struct pool_action *action)
{
    struct api_world *aw = (struct api_world *)w;

    if (action->kind == POOL_DO_REPLY || action->kind == POOL_DO_HISTORY) {
        assert(aw->pending_count < AW_PENDING);
        aw->pending[aw->pending_count].action = *action;
        aw->pending[aw->pending_count].seq =
            action->kind == POOL_DO_HISTORY ? ++aw->last_seq : 0;
        aw->pending_count++;
    }
}

/* Everything so far reaches the disk. */
static inline void aw_commit(struct api_world *aw)
{
    for (unsigned i = 0; i < aw->pending_count; i++) {
        const struct pool_action *action = &aw->pending[i].action;
        struct buf body = BUF_INIT(4096);
        struct api_event event;
        if (action->kind == POOL_DO_REPLY) {
            api_on_reply(aw->api, action);
            continue;
        }
        api_event_from_action(action, aw->pending[i].seq, aw->w.now_ms, &event);
        api_event_render(aw->w.pool, &event, &body);
        assert(aw->history_count < AW_EVENTS);
        size_t len = body.len;
        char *text = buf_take(&body);
        aw->history[aw->history_count++] = (struct aw_event){event.seq, text};
        api_on_event(aw->api, &event, text, len);
    }
    aw->pending_count = 0;
}

static inline void aw_step(void *userdata, struct pool_event *event)
{
    struct api_world *aw = userdata;

    world_step(&aw->w, event);
    if (aw->commits_at_once) {
        world_settle(&aw->w);
        aw_commit(aw);
    }
}

static inline int aw_identify(void *userdata, const struct http_peer *peer,
                              struct api_identity *ret)
{
    *ret = aw_of(userdata)->who;
    if (peer->is_unix && aw_of(userdata)->is_unheard_of) {
        return -EAGAIN;
    }
    return aw_of(userdata)->is_stranger ? -ENOENT : 0;
}

static inline void aw_facts(void *userdata, struct api_facts *ret)
{
    *ret = (struct api_facts){.machine = "box", .library = "lib.so", .started_ms = 1000000,
                              .is_simulated = true,
                              .store_problem = aw_of(userdata)->store_problem};
}

static inline uint64_t aw_process_start(void *userdata, int pid)
{
    (void)userdata;
    return (uint64_t)pid + 1;
}

static inline void aw_doctor(void *userdata,
                             void (*each)(const struct api_check *check, void *arg), void *arg)
{
    (void)userdata;
    each(&(struct api_check){"driver", API_CHECK_OK, "it answers", NULL}, arg);
}

static inline int aw_events_after(void *userdata, int64_t after, unsigned limit,
                                  void (*each)(int64_t seq, int64_t time_ms, const char *body,
                                               size_t len, void *arg),
                                  void *arg)
{
    struct api_world *aw = userdata;
    unsigned n = 0;

    for (unsigned i = 0; i < aw->history_count && n < limit; i++) {
        const struct aw_event *e = &aw->history[i];
        if (e->seq > after) {
            each(e->seq, 0, e->body, strlen(e->body), arg);
            n++;
        }
    }
    return (int)n;
}

static inline void aw_token_create(void *userdata, const struct api_token *wish, uint64_t reply_to)
{
    aw_of(userdata)->token_cookie = reply_to;
    aw_of(userdata)->wish = *wish;
}

static inline void aw_token_revoke(void *userdata, const char *id, uint64_t reply_to)
{
    struct api_token token = {.id = "t-1", .name = "n", .tenant = "vision", .created_ms = 1};
    bool is_there = !strcmp(id, "t-1");

    http_server_drop(aw_of(userdata)->server, id);
    api_on_token(aw_of(userdata)->api, reply_to, is_there ? 0 : -ENOENT,
                 is_there ? &token : NULL, NULL, "there is no such token");
}

static inline void aw_tokens(void *userdata, void (*each)(const struct api_token *token, void *arg),
                             void *arg)
{
    (void)userdata;
    each(&(struct api_token){.id = "t-1", .name = "n", .tenant = "vision",
                             .role = POOL_ROLE_TENANT, .created_ms = 1}, arg);
}

static inline bool aw_authenticate(const char *token, char ret[static HTTP_IDENTITY_SIZE],
                                   void *userdata)
{
    (void)userdata;
    text_copy(ret, HTTP_IDENTITY_SIZE, "t-1");
    return !strcmp(token, "good");
}

static inline void aw_be(struct api_world *aw, const char *tenant, enum pool_role role)
{
    aw->who = (struct api_identity){.role = role, .uid = 1000, .limits = {-1, -1}};
    text_copy(aw->who.tenant, sizeof(aw->who.tenant), tenant);
}

static inline void aw_start(struct api_world *aw, unsigned gpus, const char *model,
                            const char *path)
{
    struct pool_settings settings;
    struct error err = {0};

    pool_settings_default(&settings);
    *aw = (struct api_world){.w = {.now_ms = 1764000000000, .on_action = aw_note},
                             .commits_at_once = true, .dir = "/tmp/tangram-api-XXXXXX"};
    for (unsigned i = 0; i < gpus; i++) {
        world_add_gpu(&aw->w, model, true);
    }
    world_boot(&aw->w, &settings);
    struct api_host host = {
        .userdata = aw, .pool = aw->w.pool, .now_ms = aw_now, .step = aw_step,
        .identify = aw_identify, .facts = aw_facts, .process_start = aw_process_start,
        .doctor = aw_doctor, .events_after = aw_events_after, .token_create = aw_token_create,
        .token_revoke = aw_token_revoke, .tokens = aw_tokens};
    int rc = api_new(&host, &aw->api, &err);
    assert(rc == 0);
    world_start(&aw->w);
    world_settle(&aw->w);
    aw_commit(aw);
    char *made = mkdtemp(aw->dir);
    assert(made);
    snprintf(aw->path, sizeof(aw->path), "%s/sock", path ? path : made);
    rc = sd_event_new(&aw->event);
    assert(rc >= 0);
    rc = http_server_new(aw->event, &(struct http_settings){.socket_path = aw->path,
                                                     .listen = "127.0.0.1:0",
                                                     .authenticate = aw_authenticate},
                         api_routes(), aw->api, &aw->server, &err);
    if (rc < 0) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    aw_be(aw, "vision", POOL_ROLE_TENANT);
}

static inline void aw_stop(struct api_world *aw)
{
    http_server_free(aw->server);
    api_free(aw->api);
    sd_event_unref(aw->event);
    for (unsigned i = 0; i < aw->history_count; i++) {
        free(aw->history[i].body);
    }
    world_done(&aw->w);
    rmdir(aw->dir);
}

/* --- a client on the same loop -------------------------------------------------------------- */

static inline int aw_dial(struct api_world *aw)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", aw->path);
    int rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    assert(rc == 0);
    (void)rc;
    return fd;
}

static inline int aw_dial_tcp(struct api_world *aw)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)http_server_port(aw->server)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));

    assert(rc == 0);
    (void)rc;
    return fd;
}

static inline int aw_send_on(int fd, const char *method, const char *path, const char *headers,
                             const char *body)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 << 20);

    buf_addf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, path,
             headers ? headers : "");
    if (body) {
        buf_addf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
    } else {
        buf_adds(&b, "\r\n");
    }
    ssize_t n = send(fd, b.data, b.len, MSG_NOSIGNAL);
    assert(n == (ssize_t)b.len);
    (void)n;
    return fd;
}

/* Sends a request (small: it fits the socket's buffer) without waiting; `headers` end in \r\n. */
static inline int aw_send(struct api_world *aw, const char *method, const char *path,
                          const char *headers, const char *body)
{
    return aw_send_on(aw_dial(aw), method, path, headers, body);
}

static inline int aw_awake(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    (void)s;
    (void)fd;
    (void)events;
    (void)userdata;
    return 0;
}

/* Runs the loop until nothing is left to do. */
static inline void aw_turn(struct api_world *aw)
{
    while (sd_event_run(aw->event, 0) > 0) {
    }
}

/* Reads until `until` is there, or the server closes (NULL). */
static inline void aw_hear(struct api_world *aw, int fd, const char *until, struct buf *got)
{
    int64_t end_ms = clock_mono_ms() + AW_PATIENCE_MS;
    sd_event_source *wake = NULL;
    char data[16384];

    sd_event_add_io(aw->event, &wake, fd, EPOLLIN, aw_awake, NULL);
    while (!until || !got->data || !strstr(got->data, until)) {
        ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
        if (n > 0) {
            buf_add(got, data, (size_t)n);
        } else if (n == 0 || errno != EAGAIN) {
            break;
        } else if (clock_mono_ms() > end_ms) {
            fprintf(stderr, "nothing came; so far: %s\n", got->data ? got->data : "");
            abort();
        } else {
            sd_event_run(aw->event, 1000000);
        }
    }
    sd_event_source_disable_unref(wake);
}

struct aw_answer {
    int status;
    char *head;
    json_t *body; /* NULL when it is not JSON */
};

static inline void aw_answer_done(struct aw_answer *a)
{
    free(a->head);
    json_decref(a->body);
}

static inline struct aw_answer aw_receive(struct api_world *aw, int fd)
{
    CLEANUP(buf_done) struct buf got = BUF_INIT(64 << 20);
    struct aw_answer a = {0};

    aw_hear(aw, fd, NULL, &got);
    close(fd);
    char *body = got.data ? strstr(got.data, "\r\n\r\n") : NULL;
    if (!body) {
        fprintf(stderr, "no answer: %s\n", got.data ? got.data : "");
        abort();
    }
    *body = '\0';
    a.head = xstrdup(got.data);
    a.status = atoi(got.data + 9);
    a.body = json_loads(body + 4, JSON_DECODE_ANY, NULL);
    return a;
}

static inline struct aw_answer aw_ask(struct api_world *aw, const char *method, const char *path,
                                      const char *headers, const char *body)
{
    return aw_receive(aw, aw_send(aw, method, path, headers, body));
}

/* Members by path, "slices.0.profile"; NULL when there is none. */
static inline json_t *aw_at(const json_t *v, const char *path)
{
    char name[64];

    while (v && *path) {
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(name)) : json_object_get(v, name);
        path += n + (path[n] == '.');
    }
    return (json_t *)v;
}

static inline const char *aw_text(const struct aw_answer *a, const char *path)
{
    const char *s = json_string_value(aw_at(a->body, path));

    return s ? s : "(none)";
}
