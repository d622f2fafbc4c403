/* REST over libcurl.
 *
 * Every transfer runs on a multi handle, also the plain ones: curl_multi_poll() can watch one more
 * descriptor, and that is how Ctrl-C (a signalfd of the caller) interrupts a request that waits.
 * The connection is kept between requests.  No proxy is ever used: the daemon is
 * on this machine. */
#include "cli/client.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/path.h"
#include "base/text.h"
#include <curl/curl.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SYSTEM_SOCKET "/run/tangram/tangram.sock"
#define MAX_EVENT_BYTES (1024u * 1024)
#define QUIET_MS 60
#define BUSY_MS 500

struct client {
    CURL *easy;
    CURLM *multi;
    char *socket, *base, *token;
    char key[40]; /* of the last POST */
    bool keeps_key;
    int cancel_fd;
};

/* What is being received. */
struct transfer {
    struct client *client;
    struct buf body;
    /* Streams only */
    struct buf line, data;
    client_event_fn on_event;
    void *userdata;
    int result;
    bool is_stream; /* headers seen: it is an event stream */
    int64_t dirty_since_ms; /* when the first event since on_event(NULL) came; 0: none did */
};

void client_reply_done(struct client_reply *r)
{
    json_decref(r->body);
    r->body = NULL;
}

char *client_default_socket(const char *given)
{
    const char *env = getenv("TANGRAM_SOCKET");
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (given) {
        return xstrdup(given);
    }
    if (env && *env) {
        return xstrdup(env);
    }
    if (geteuid() == 0 || access(SYSTEM_SOCKET, F_OK) == 0) {
        return xstrdup(SYSTEM_SOCKET);
    }
    if (runtime && *runtime == '/') {
        return xasprintf("%s/tangram/tangram.sock", runtime);
    }
    /* Where an ordinary user's daemon puts it then. */
    CLEANUP(freep) char *home = path_home();
    return xasprintf("%s/.local/state/tangram/tangram.sock", home);
}

static int check_settings(const struct client_settings *s, struct error *err)
{
    struct sockaddr_un address;

    if (s->socket) {
        if (strlen(s->socket) >= sizeof(address.sun_path)) {
            return err_set(err, EINVAL, "the socket path '%.60s...' is longer than %zu bytes",
                           s->socket, sizeof(address.sun_path) - 1);
        }
        if (!*s->socket) {
            return err_set(err, EINVAL, "the socket path is empty");
        }
        return 0;
    }
    if (strncmp(s->url, "http://", 7) && strncmp(s->url, "https://", 8)) {
        return err_set(err, EINVAL, "TANGRAM_URL must look like http://127.0.0.1:PORT, not '%.80s'",
                       s->url);
    }
    if (s->token && text_has_control(s->token)) {
        return err_set(err, EINVAL, "TANGRAM_TOKEN contains a control character");
    }
    return 0;
}

int client_new(const struct client_settings *s, struct client **ret, struct error *err)
{
    int rc = check_settings(s, err);

    if (rc < 0) {
        return rc;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CLEANUP(client_freep) struct client *c = xcalloc(1, sizeof(*c));
    c->cancel_fd = -1;
    c->socket = xstrdup(s->socket);
    c->base = xstrdup(s->socket ? "http://localhost" : s->url);
    for (size_t n = strlen(c->base); n && c->base[n - 1] == '/'; n--) {
        c->base[n - 1] = '\0';
    }
    c->token = s->socket ? NULL : xstrdup(s->token);
    c->easy = curl_easy_init();
    c->multi = curl_multi_init();
    if (!c->easy || !c->multi) {
        return err_set(err, EIO, "libcurl cannot be used here");
    }
    *ret = TAKE_PTR(c);
    return 0;
}

void client_free(struct client *c)
{
    if (!c) {
        return;
    }
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    curl_global_cleanup();
    free(c->socket);
    free(c->base);
    free(c->token);
    free(c);
}

bool client_is_local(const struct client *c)
{
    return c->socket != NULL;
}

const char *client_where(const struct client *c)
{
    return c->socket ? c->socket : c->base;
}

void client_set_cancel_fd(struct client *c, int fd)
{
    c->cancel_fd = fd;
}

void client_repeat_key(struct client *c)
{
    c->keeps_key = true;
}

/* Why can the socket not be reached, and what to do? */
static int fail_unreachable(const struct client *c, const char *what, struct error *err)
{
    struct stat st;

    if (!c->socket) {
        return err_set(err, ECONNREFUSED, "no daemon answers at %.100s: %s", c->base, what);
    }
    if (stat(c->socket, &st) < 0 && errno != EACCES) {
        return err_set(err, ECONNREFUSED,
                       "no daemon: there is no socket %.110s; start it with 'systemctl start "
                       "tangramd', or on a machine without a GPU 'tangramd --simulate "
                       "H100-SXM5-80GB:2'",
                       c->socket);
    }
    if (access(c->socket, W_OK) < 0 && errno == EACCES) {
        return err_set(err, ECONNREFUSED,
                       "permission denied on the daemon's socket %.110s: ask the administrator to "
                       "let your user or group use it",
                       c->socket);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(err, ECONNREFUSED, "%.110s is not a socket; name the daemon's with --socket",
                       c->socket);
    }
    return err_set(err, ECONNREFUSED,
                   "no daemon answers at the socket %.110s (%s); start it with 'systemctl start "
                   "tangramd', or see 'systemctl status tangramd'",
                   c->socket, what);
}

static int open_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)userdata;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t receive(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;

    buf_add(&t->body, data, size * count);
    return t->body.is_full ? 0 : size * count;
}

/* What every request has in common. */
static void set_up(struct client *c, const char *url, struct curl_slist *headers)
{
    curl_easy_reset(c->easy);
    if (c->socket) {
        curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    }
    curl_easy_setopt(c->easy, CURLOPT_URL, url);
    curl_easy_setopt(c->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(c->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c->easy, CURLOPT_USERAGENT, "tangram/" TANGRAM_VERSION);
    curl_easy_setopt(c->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, headers);
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    CLEANUP(freep) char *line = xasprintf("%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(list, line);

    if (!longer) {
        abort(); /* out of memory */
    }
    return longer;
}

static struct curl_slist *make_headers(struct client *c, const char *method, bool has_body,
                                       const char *accept)
{
    struct curl_slist *h = add_header(NULL, "Accept", accept);

    h = add_header(h, "Expect", ""); /* no round trip before a large body */
    if (has_body) {
        h = add_header(h, "Content-Type", "application/json");
    }
    if (c->token) {
        CLEANUP(freep) char *value = xasprintf("Bearer %s", c->token);
        h = add_header(h, "Authorization", value);
    }
    if (!strcmp(method, "POST")) {
        uint64_t key[2] = {0};
        if (!c->keeps_key && getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key)) {
            snprintf(c->key, sizeof(c->key), "%016llx%016llx", (unsigned long long)key[0],
                     (unsigned long long)key[1]);
        }
        c->keeps_key = false;
        h = *c->key ? add_header(h, "Idempotency-Key", c->key) : h;
    }
    return h;
}

/* What a finished transfer's code means. */
static int judge(const struct client *c, const struct transfer *t, CURLcode code,
                 struct error *err)
{
    if (code == CURLE_OK) {
        return 0;
    }
    if (t->body.is_full) {
        return err_set(err, EPROTO, "the answer of %.100s is larger than %u MiB", client_where(c),
                       CLIENT_MAX_REPLY_BYTES >> 20);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return err_set(err, ETIMEDOUT,
                       "the daemon at %.100s took the request but does not answer; see "
                       "'systemctl status tangramd'",
                       client_where(c));
    }
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
        code == CURLE_COULDNT_RESOLVE_PROXY) {
        return fail_unreachable(c, curl_easy_strerror(code), err);
    }
    if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR) {
        return err_set(err, ECONNREFUSED, "the daemon at %.100s closed the connection without an "
                                          "answer; see 'systemctl status tangramd'",
                       client_where(c));
    }
    return err_set(err, EPROTO, "the answer of %.100s is not HTTP as tangramd speaks it: %s",
                   client_where(c), curl_easy_strerror(code));
}

/* Waits for traffic or the cancel fd; -ECANCELED when the latter. */
static int wait_for_traffic(struct client *c, int timeout_ms, struct error *err)
{
    struct curl_waitfd extra = {.fd = c->cancel_fd, .events = CURL_WAIT_POLLIN};
    bool has_cancel = c->cancel_fd >= 0;

    curl_multi_poll(c->multi, has_cancel ? &extra : NULL, has_cancel, timeout_ms, NULL);
    if (has_cancel && extra.revents) {
        return err_set(err, ECANCELED, "interrupted");
    }
    return 0;
}

/* Lets the owner of a stream act on what has come: once it is quiet, or after a while anyway. */
static void tell_quiet(struct transfer *t, int64_t before_ms)
{
    int64_t now_ms = clock_mono_ms();

    if (t->result || !t->dirty_since_ms) {
        return;
    }
    if (now_ms - before_ms >= QUIET_MS || now_ms - t->dirty_since_ms >= BUSY_MS) {
        t->dirty_since_ms = 0;
        t->result = t->on_event(NULL, t->userdata);
    }
}

/* Runs the easy handle as it has been set up.  For streams on_event(NULL) is called in between. */
static int perform(struct client *c, struct transfer *t, struct error *err)
{
    int running = 1, rc = 0;
    CURLcode code = CURLE_OK;

    curl_multi_add_handle(c->multi, c->easy);
    for (;;) {
        CURLMcode mc = curl_multi_perform(c->multi, &running);
        if (mc != CURLM_OK) {
            rc = err_set(err, EIO, "libcurl: %s", curl_multi_strerror(mc));
            break;
        }
        if (!running) {
            int left = 0;
            CURLMsg *msg = curl_multi_info_read(c->multi, &left);
            code = msg ? msg->data.result : CURLE_OK;
            break;
        }
        int64_t before_ms = clock_mono_ms();
        rc = wait_for_traffic(c, t->dirty_since_ms ? QUIET_MS : 60000, err);
        if (rc < 0 && t->on_event) {
            rc = 0;
            t->result = t->on_event(NULL, t->userdata);
        } else if (rc < 0) {
            break;
        }
        tell_quiet(t, before_ms);
        if (t->result) {
            break;
        }
    }
    curl_multi_remove_handle(c->multi, c->easy);
    return rc < 0 || t->result ? rc : judge(c, t, code, err);
}

static int parse_body(const struct client *c, const struct buf *body, json_t **ret,
                      struct error *err)
{
    json_error_t why;

    if (!body->len) {
        *ret = NULL;
        return 0;
    }
    *ret = json_loadb(body->data, body->len, JSON_REJECT_DUPLICATES, &why);
    if (!*ret) {
        return err_set(err, EPROTO,
                       "the answer of %.100s is not JSON (%.80s): is this a tangram daemon?",
                       client_where(c), why.text);
    }
    if (!json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        return err_set(err, EPROTO,
                       "the answer of %.100s is not a JSON object: is this a tangram daemon?",
                       client_where(c));
    }
    return 0;
}

static void transfer_done(struct transfer *t)
{
    buf_done(&t->body);
    buf_done(&t->line);
    buf_done(&t->data);
}

static void slist_freep(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

static int try_request(struct client *c, const char *method, const char *url, const char *body,
                       struct curl_slist *headers, int64_t timeout_ms, struct client_reply *ret,
                       struct error *err)
{
    CLEANUP(transfer_done)
    struct transfer t = {.client = c, .body = BUF_INIT(CLIENT_MAX_REPLY_BYTES)};
    long status = 0;

    set_up(c, url, headers);
    curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, &t);
    if (body || !strcmp(method, "POST")) {
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, body ? body : "");
    }
    int rc = perform(c, &t, err);
    if (rc < 0) {
        return rc;
    }
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    json_t *parsed = NULL;
    rc = parse_body(c, &t.body, &parsed, err);
    if (rc < 0) {
        return rc;
    }
    ret->status = (int)status;
    ret->body = parsed;
    return 0;
}

int client_request(struct client *c, const char *method, const char *path, const json_t *body,
                   int64_t timeout_ms, struct client_reply *ret, struct error *err)
{
    CLEANUP(freep) char *url = xasprintf("%s%s", c->base, path);
    CLEANUP(freep) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    CLEANUP(slist_freep)
    struct curl_slist *headers = make_headers(c, method, body != NULL, "application/json");
    struct error unheard = {0};

    err = err ? err : &unheard;
    if (body && !text) {
        return err_set(err, EINVAL, "the request is not valid UTF-8");
    }
    int rc = try_request(c, method, url, text, headers, timeout_ms, ret, err);
    if (rc == -ECONNREFUSED && strstr(err->msg, "closed the connection")) {
        rc = try_request(c, method, url, text, headers, timeout_ms, ret, err);
    }
    return rc;
}

static void mark_dirty(struct transfer *t)
{
    t->dirty_since_ms = t->dirty_since_ms ? t->dirty_since_ms : clock_mono_ms();
}

/* One line of an event stream, without its end. */
static int take_line(struct transfer *t)
{
    if (t->line.len == 0) {
        json_error_t why;
        if (!t->data.len) {
            return 0;
        }
        json_t *event = json_loadb(t->data.data, t->data.len, JSON_REJECT_DUPLICATES, &why);
        int rc = json_is_object(event) ? t->on_event(event, t->userdata) : 0;
        json_decref(event);
        buf_clear(&t->data);
        mark_dirty(t);
        return rc;
    }
    if (!strncmp(t->line.data, "data:", 5)) {
        const char *value = t->line.data + 5;
        if (t->data.len) {
            buf_adds(&t->data, "\n");
        }
        buf_adds(&t->data, value + (*value == ' '));
    }
    return 0;
}

static size_t receive_stream(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t len = size * count;

    if (!t->is_stream) {
        return receive(data, size, count, userdata);
    }
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\r') {
            continue;
        }
        if (data[i] != '\n') {
            buf_add(&t->line, &data[i], 1);
            continue;
        }
        t->result = take_line(t);
        buf_clear(&t->line);
        if (t->result) {
            return 0;
        }
    }
    return t->line.is_full || t->data.is_full ? 0 : len;
}

/* Notices the end of the headers: is it the stream that was asked for? */
static size_t receive_header(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t len = size * count;
    const char *type = NULL;
    long status = 0;

    if (len == 2 && data[0] == '\r') {
        curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(t->client->easy, CURLINFO_CONTENT_TYPE, &type);
        if (status == 200 && type && !strncmp(type, "text/event-stream", 17)) {
            t->is_stream = true;
            mark_dirty(t);
        }
    }
    return len;
}

int client_stream(struct client *c, int64_t last_id, client_event_fn on_event, void *userdata,
                  struct client_reply *ret, struct error *err)
{
    CLEANUP(freep) char *url = xasprintf("%s/v1/events", c->base);
    CLEANUP(slist_freep)
    struct curl_slist *headers = make_headers(c, "GET", false, "text/event-stream");
    CLEANUP(transfer_done)
    struct transfer t = {.client = c,
                         .body = BUF_INIT(CLIENT_MAX_REPLY_BYTES),
                         .line = BUF_INIT(MAX_EVENT_BYTES),
                         .data = BUF_INIT(MAX_EVENT_BYTES),
                         .on_event = on_event,
                         .userdata = userdata};
    long status = 0;

    if (last_id >= 0) {
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)last_id);
        headers = add_header(headers, "Last-Event-ID", text);
    }
    set_up(c, url, headers);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, receive_stream);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, receive_header);
    curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, &t);
    int rc = perform(c, &t, err);
    if (t.result || rc == -ECANCELED) {
        return t.result ? t.result : rc;
    }
    if (t.is_stream || rc < 0) {
        return t.is_stream ? 0 : rc;
    }
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    rc = parse_body(c, &t.body, &ret->body, err);
    ret->status = (int)status;
    return rc < 0 ? rc : err_set(err, EREMOTE, "the daemon has no event stream here");
}
