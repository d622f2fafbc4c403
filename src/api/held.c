/* Requests that wait.
 *
 * A held call is in api->held as long as an answer or a reply is due.  The client may leave before:
 * the call then has no request any more, and ends when the reply comes (the change has happened all
 * the same), or at once when it only waited for something. */
#include "api/call.h"
#include <string.h>

/* A walk over all that are held.  What a call does when it is looked at may end others: whoever's
 * token is revoked is cut off, with all that he waits for. */
struct api_walk {
    struct api_held *next;
    struct api_walk *outer;
};

void api_held_drop(struct api_held *held)
{
    struct api *api = held->call.api;

    for (struct api_walk *walk = api->walks; walk; walk = walk->outer) {
        walk->next = walk->next == held ? TAILQ_NEXT(held, link) : walk->next;
    }
    TAILQ_REMOVE(&api->held, held, link);
    if (held->cookie) {
        HASH_DEL(api->by_cookie, held);
    }
    api_call_done(&held->call);
    free(held->changes);
    free(held->blocking);
    free(held);
}

static void on_gone(struct http_request *req, void *userdata)
{
    struct api_held *held = userdata;

    held->call.req = NULL;
    http_reply_text(req, 503, ""); /* nobody reads it; it frees the request */
    if (!held->cookie) {
        api_held_drop(held);
    }
}

struct api_held *api_hold(struct api_call *call)
{
    struct api *api = call->api;
    struct api_held *held = xcalloc(1, sizeof(*held));

    held->call = *call;
    held->deadline_ms = INT64_MAX;
    call->req = NULL;
    call->body = call->query = NULL;
    call->idem = NULL;
    TAILQ_INSERT_TAIL(&api->held, held, link);
    if (held->call.req) {
        http_hold(held->call.req, on_gone, held);
    }
    return held;
}

static void set_deadline(struct api_held *held, int64_t deadline_ms)
{
    struct api *api = held->call.api;

    held->deadline_ms = deadline_ms;
    if (deadline_ms < api->deadline_ms) {
        api->deadline_ms = deadline_ms;
    }
}

void api_wait(struct api_held *held, uint64_t lease, uint64_t operation, int64_t deadline_ms,
              void (*look)(struct api_held *held, bool is_late))
{
    held->lease = lease;
    held->operation = operation;
    held->look = look;
    set_deadline(held, deadline_ms);
}

/* The reply to a change is late: the disk does not take it.  The change may still come true. */
static void commit_is_late(struct api_held *held, bool is_late)
{
    if (is_late && held->call.req) {
        struct api_idem *idem = TAKE_PTR(held->call.idem); /* the key stays taken */
        api_problem(&held->call, 503, "store_failed", NULL,
                    "the journal has not taken this change within %d s; it may still be carried "
                    "out, ask again with the same Idempotency-Key", API_COMMIT_MS / 1000);
        held->call.idem = idem;
    }
}

static bool is_explained(const struct pool_event *event)
{
    return event->kind == POOL_EV_APPLY || event->kind == POOL_EV_ADOPT ||
           event->kind == POOL_EV_DISOWN ||
           (event->kind == POOL_EV_REQUEST && event->request->must_not_wait);
}

/* What the pool says of the last event that it refused holds until the next one. */
static void capture(struct api_held *held)
{
    const struct pool *pool = held->call.api->host.pool;

    if (held->wants_capture) {
        held->wants_capture = false;
        held->changes = api_changes_text(pool);
        held->blocking = api_blocking_text(pool_last_explanation(pool));
    }
}

static struct api_held *find_cookie(struct api *api, uint64_t cookie)
{
    struct api_held *held = NULL;

    HASH_FIND(hh, api->by_cookie, &cookie, sizeof(cookie), held);
    return held;
}

/* Holds the call for a reply that the host will give; it may be late. */
static struct api_held *hold_for_reply(struct api_call *call)
{
    struct api *api = call->api;
    struct api_held *held = api_hold(call);

    held->cookie = ++api->last_cookie;
    held->look = commit_is_late;
    HASH_ADD(hh, api->by_cookie, cookie, sizeof(held->cookie), held);
    set_deadline(held, api_now_ms(api) + API_COMMIT_MS);
    return held;
}

uint64_t api_hold_for_reply(struct api_call *call)
{
    return hold_for_reply(call)->cookie;
}

struct api_held *api_take_reply(struct api *api, uint64_t cookie)
{
    struct api_held *held = find_cookie(api, cookie);

    if (held) {
        HASH_DEL(api->by_cookie, held);
        held->cookie = 0;
        held->look = NULL;
        held->deadline_ms = INT64_MAX;
    }
    return held;
}

void api_step(struct api_call *call, struct pool_event *event,
              void (*on_reply)(struct api_held *held, const struct pool_action *reply))
{
    struct api *api = call->api;
    struct pool_event sent = *event;
    struct api_held *held = hold_for_reply(call);
    uint64_t cookie = held->cookie;

    held->on_reply = on_reply;
    held->wants_capture = is_explained(event);
    held->subject = event->lease;
    held->gpu = event->gpu;
    held->start = event->start;
    sent.reply_to = cookie;
    sent.actor = api_actor(&held->call);
    api->host.step(api->host.userdata, &sent);
    held = find_cookie(api, cookie); /* NULL: answered already */
    if (held) {
        capture(held);
    }
}

void api_on_reply(struct api *api, const struct pool_action *reply)
{
    struct api_held *held = api_take_reply(api, reply->reply_to);

    if (!held) {
        return;
    }
    capture(held); /* has been done, unless this is inside the step */
    held->on_reply(held, reply);
    if (!held->call.req) {
        api_held_drop(held); /* answered, or nobody is there any more; else it waits for more */
    }
}

/* Lets `look` decide; a held call that was answered goes, unless its reply is still due. */
static void look_at(struct api_held *held, bool is_late)
{
    if (held->look) {
        held->look(held, is_late);
    }
    if (!held->call.req && !held->cookie) {
        api_held_drop(held);
    } else if (is_late) {
        held->deadline_ms = INT64_MAX;
    }
}

/* Whom something that has happened concerns. */
struct concern {
    uint64_t lease;
    bool is_operation, is_identity;
    int64_t late_ms; /* who should have been answered by then */
};

static bool concerns(const struct concern *what, const struct api_held *held)
{
    return (what->lease && held->lease == what->lease) ||
           (what->is_operation && held->operation) || (what->is_identity && held->is_asking) ||
           held->deadline_ms <= what->late_ms;
}

static void look_at_all(struct api *api, const struct concern *what)
{
    struct api_walk walk = {TAILQ_FIRST(&api->held), api->walks};
    struct api_held *held = NULL;

    api->walks = &walk;
    while ((held = walk.next)) {
        walk.next = TAILQ_NEXT(held, link);
        if (concerns(what, held)) {
            look_at(held, what->late_ms > 0);
        }
    }
    api->walks = walk.outer;
}

void api_wake(struct api *api, uint64_t lease, bool is_operation)
{
    look_at_all(api, &(struct concern){.lease = lease, .is_operation = is_operation});
}

void api_on_identified(struct api *api)
{
    look_at_all(api, &(struct concern){.is_identity = true});
}

int64_t api_next_deadline_ms(const struct api *api)
{
    return api->deadline_ms;
}

void api_on_tick(struct api *api, int64_t now_ms)
{
    struct api_held *held = NULL;

    api->deadline_ms = INT64_MAX;
    look_at_all(api, &(struct concern){.late_ms = now_ms});
    TAILQ_FOREACH(held, &api->held, link) {
        if (held->deadline_ms < api->deadline_ms) {
            api->deadline_ms = held->deadline_ms;
        }
    }
    int64_t streams_ms = api_streams_tick(api, now_ms);
    if (streams_ms < api->deadline_ms) {
        api->deadline_ms = streams_ms;
    }
}

