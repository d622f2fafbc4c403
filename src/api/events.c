/* What happened: the list, the streams, and who is woken by it.
 *
 * An event is rendered once, when the daemon writes it into the journal; the same bytes go to every
 * stream.  A stream that resumes is first fed from the journal, some at a time while its reader
 * keeps up, and goes live when it has seen everything; `sent` makes gaps and repeats impossible. */
#include "api/call.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REPLAY_EVENTS 200             /* read from the journal at once */
#define REPLAY_BACKLOG (64 * 1024)    /* and only while the reader lags less than this */
#define REPLAY_AGAIN_MS 50
#define LIST_DEFAULT 100

struct api_stream {
    struct api *api;
    struct http_stream *http;
    int64_t sent;  /* the last event that it was given */
    bool is_live;  /* it has everything up to api->last_event */
    bool is_dead;  /* cut off: on_gone will come */
    TAILQ_ENTRY(api_stream) link;
};

/* --- making events -------------------------------------------------------------------------- */

void api_event_from_action(const struct pool_action *action, int64_t seq, int64_t time_ms,
                           struct api_event *ret)
{
    *ret = (struct api_event){
        .seq = seq,
        .time_ms = time_ms,
        .kind = pool_history_name(action->history),
        .gpu = action->gpu,
        .lease = action->lease,
        .operation = action->operation,
        .tenant = action->tenant,
        .old_uuid = action->old_uuid,
        .new_uuid = action->new_uuid,
        .move = action->move,
        .message = action->text,
    };
}

void api_event_render(const struct pool *pool, const struct api_event *event, struct buf *ret)
{
    struct json_out w = {.b = ret};
    const struct pool_gpu *gpu = event->gpu >= 0 ? pool_gpu(pool, (unsigned)event->gpu) : NULL;

    json_out_object(&w, NULL);
    json_out_int(&w, "id", event->seq);
    json_out_time(&w, "time", event->time_ms);
    json_out_str(&w, "kind", event->kind);
    json_out_text(&w, "gpu_uuid", gpu ? gpu->info.uuid : NULL);
    json_out_id(&w, "lease", "l", event->lease);
    json_out_id(&w, "operation", "op", event->operation);
    json_out_text(&w, "tenant", event->tenant);
    bool has_old = event->old_uuid && *event->old_uuid;
    bool has_new = event->new_uuid && *event->new_uuid;
    if (has_old || has_new) {
        json_out_object(&w, "move");
        json_out_text(&w, "id", event->move && *event->move ? event->move : NULL);
        json_out_text(&w, "from_mig_uuid", has_old ? event->old_uuid : NULL);
        json_out_text(&w, "mig_uuid", has_new ? event->new_uuid : NULL);
        api_add_device_env(&w, event->new_uuid);
        json_out_end_object(&w);
    } else {
        json_out_null(&w, "move");
    }
    json_out_str(&w, "message", event->message ? event->message : "");
    json_out_end_object(&w);
}

/* The kind out of a rendered event (it stands before any text that somebody chose). */
static size_t find_kind(const char *body, size_t len, const char **ret)
{
    static const char mark[] = "\"kind\":\"";
    const char *at = memmem(body, len, mark, sizeof(mark) - 1);

    if (!at) {
        return 0;
    }
    *ret = at + sizeof(mark) - 1;
    const char *end = memchr(*ret, '"', len - (size_t)(*ret - body));
    return end ? (size_t)(end - *ret) : 0;
}

static void add_frame(struct buf *b, int64_t seq, const char *body, size_t len)
{
    const char *kind = NULL;
    size_t kind_len = find_kind(body, len, &kind);

    buf_addf(b, "id: %lld\nevent: ", (long long)seq);
    buf_add(b, kind_len ? kind : "event", kind_len ? kind_len : 5);
    buf_adds(b, "\ndata: ");
    buf_add(b, body, len); /* compact JSON: no line breaks */
    buf_adds(b, "\n\n");
}

/* --- streams -------------------------------------------------------------------------------- */

static void on_stream_gone(struct http_stream *http, void *userdata)
{
    struct api_stream *s = userdata;

    (void)http;
    TAILQ_REMOVE(&s->api->streams, s, link);
    free(s);
}

static void stream_send(struct api_stream *s, int64_t seq, const void *data, size_t len)
{
    if (s->is_dead || seq <= s->sent) {
        return;
    }
    if (http_stream_send(s->http, data, len) < 0) {
        s->is_dead = true; /* it lags too far, or has gone */
        return;
    }
    s->sent = seq;
}

static void replay_one(int64_t seq, int64_t time_ms, const char *body, size_t len, void *arg)
{
    CLEANUP(buf_done) struct buf frame = BUF_INIT(len + 256);

    (void)time_ms;
    add_frame(&frame, seq, body, len);
    stream_send(arg, seq, frame.data, frame.len);
}

/* Gives it more of the past; true when it is live, or done for. */
static bool catch_up(struct api_stream *s)
{
    struct api *api = s->api;

    while (!s->is_dead && s->sent < api->last_event) {
        if (http_stream_backlog_bytes(s->http) > REPLAY_BACKLOG) {
            return false;
        }
        int n = api->host.events_after(api->host.userdata, s->sent, REPLAY_EVENTS, replay_one, s);
        if (n < 0) {
            static const char sorry[] = ": the history cannot be read now\n\n";
            http_stream_send(s->http, sorry, sizeof(sorry) - 1);
        }
        if (n <= 0) {
            break; /* what is missing is no longer kept */
        }
    }
    s->is_live = true;
    return true;
}

void api_streams_send(struct api *api, const struct api_event *event, const char *body, size_t len)
{
    struct api_stream *s = NULL;

    if (!TAILQ_EMPTY(&api->streams)) {
        CLEANUP(buf_done) struct buf frame = BUF_INIT(len + 256);
        add_frame(&frame, event->seq, body, len);
        TAILQ_FOREACH(s, &api->streams, link) {
            if (s->is_live) {
                stream_send(s, event->seq, frame.data, frame.len);
            }
        }
    }
}

int64_t api_streams_tick(struct api *api, int64_t now_ms)
{
    struct api_stream *s = NULL;
    bool is_behind = false;

    TAILQ_FOREACH(s, &api->streams, link) {
        if (!s->is_live && !catch_up(s)) {
            is_behind = true;
        }
    }
    return is_behind ? now_ms + REPLAY_AGAIN_MS : INT64_MAX;
}

void api_streams_close(struct api *api)
{
    struct api_stream *s = NULL;

    while ((s = TAILQ_FIRST(&api->streams))) {
        TAILQ_REMOVE(&api->streams, s, link);
        http_stream_close(s->http);
        free(s);
    }
}

static void open_stream(struct api_call *call, int64_t after)
{
    struct api *api = call->api;
    struct api_stream *s = xcalloc(1, sizeof(*s));

    s->api = api;
    s->sent = after;
    s->http = http_stream_open(TAKE_PTR(call->req), on_stream_gone, s);
    if (!s->http) {
        free(s);
        return;
    }
    TAILQ_INSERT_TAIL(&api->streams, s, link);
    http_stream_send(s->http, ": tangram\n\n", 11); /* the client sees that it is connected */
    if (!catch_up(s)) {
        int64_t again = api_now_ms(api) + REPLAY_AGAIN_MS;
        api->deadline_ms = again < api->deadline_ms ? again : api->deadline_ms;
    }
}

/* --- what the daemon calls ------------------------------------------------------------------ */

void api_set_last_event(struct api *api, int64_t seq)
{
    api->last_event = seq;
}

static struct api_granted *find_granted(const struct api *api, uint64_t lease)
{
    struct api_granted *g = NULL;

    HASH_FIND(hh, api->granted, &lease, sizeof(lease), g);
    return g;
}

static void add_granted(struct api *api, uint64_t lease)
{
    struct api_granted *g = xcalloc(1, sizeof(*g));

    g->lease = lease;
    HASH_ADD(hh, api->granted, lease, sizeof(g->lease), g);
}

bool api_is_grant_durable(const struct api *api, uint64_t lease)
{
    return find_granted(api, lease) != NULL;
}

void api_learn_grants(struct api *api)
{
    const struct pool *pool = api->host.pool;

    for (const struct pool_lease *l = pool_next_lease(pool, NULL); l;
         l = pool_next_lease(pool, l)) {
        if (l->granted_ms && !pool_lease_is_ended(l->state)) {
            add_granted(api, l->id);
        }
    }
}

/* Remembers whose grant is on disk, for answers that promise it. */
static void note_grant(struct api *api, const struct api_event *event)
{
    const struct pool_lease *lease = pool_find_lease(api->host.pool, event->lease);
    struct api_granted *g = find_granted(api, event->lease);

    if (!lease || pool_lease_is_ended(lease->state)) {
        if (g) {
            HASH_DEL(api->granted, g);
            free(g);
        }
    } else if (!g && !strcmp(event->kind, pool_history_name(POOL_HIST_LEASE_GRANTED))) {
        add_granted(api, event->lease);
    }
}

void api_on_event(struct api *api, const struct api_event *event, const char *body, size_t len)
{
    api_streams_send(api, event, body, len);
    if (event->seq > api->last_event) {
        api->last_event = event->seq;
    }
    if (event->lease) {
        note_grant(api, event);
    }
    bool is_operation = !strncmp(event->kind, "operation.", 10);
    if (event->lease || is_operation) {
        api_wake(api, event->lease, is_operation);
    }
}

/* --- GET /v1/events ------------------------------------------------------------------------- */

static void list_one(int64_t seq, int64_t time_ms, const char *body, size_t len, void *arg)
{
    (void)seq;
    (void)time_ms;
    (void)len;
    json_out_raw(arg, NULL, body);
}

void api_list_events(struct api_call *call)
{
    struct api *api = call->api;
    const char *accept = http_header(call->req, "Accept");
    const char *last = http_header(call->req, "Last-Event-ID");
    int64_t limit = api_int(call->query, "limit", LIST_DEFAULT);
    int64_t after = api_int(call->query, "after", -1);

    if (accept && strstr(accept, "text/event-stream")) {
        int64_t seen = 0;
        if (last && text_parse_int(last, "", 0, INT64_MAX, &seen, NULL) < 0) {
            api_problem(call, 400, "bad_field", NULL, "Last-Event-ID: must be a whole number");
            return;
        }
        open_stream(call, last ? seen : after >= 0 ? after : api->last_event);
        return;
    }
    if (after < 0) {
        after = api->last_event > limit ? api->last_event - limit : 0; /* the newest ones */
    }
    struct json_out w = api_begin(api);
    json_out_object(&w, NULL);
    json_out_array(&w, "events");
    int n = api->host.events_after(api->host.userdata, after, (unsigned)limit, list_one, &w);
    json_out_end_array(&w);
    json_out_end_object(&w);
    if (n < 0) {
        api_problem(call, 500, "store_failed", NULL, "the history cannot be read: %s",
                    strerror(-n));
        return;
    }
    api_reply(call, 200);
}
