/* What people ask of leases: for one, to release it, to renew it.
 *
 * A new request is served at once if nobody who waits comes before it, or if it leaves alone what
 * the first of those waits for.  Else it waits in the queue, or is refused if it must not wait. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct pool_lease *find_by_key(const struct pool *pool, const char *tenant,
                                            const char *key)
{
    struct pool_lease *l = NULL;
    struct pool_tenant *t = NULL;

    HASH_FIND_STR(pool->tenants, tenant, t);
    if (t) {
        HASH_FIND(hh_key, t->keyed, key, strlen(key), l);
    }
    return l;
}

/* Answers a repeated request; false when it is none. */
static bool answer_repeat(struct pool *pool, const struct pool_event *event)
{
    const char *key = event->request->idempotency_key;
    const struct pool_lease *l = key ? find_by_key(pool, event->actor.tenant, key) : NULL;

    if (!l) {
        return false;
    }
    if (l->request_hash != event->request->request_hash) {
        pool_reply(pool, event->reply_to, POOL_KEY_CONFLICT, 0,
                   "this idempotency key was used for another request (l-%" PRIu64 ")", l->id);
    } else {
        pool_reply(pool, event->reply_to, POOL_OK, l->id, "%s", "");
    }
    return true;
}

/* A lease that is refused before it has begun leaves nothing behind. */
static void refuse(struct pool *pool, const struct pool_event *event, struct pool_lease *lease,
                   enum pool_answer answer, const char *why)
{
    pool_reply(pool, event->reply_to, answer, 0, "%s", why);
    lease_free(pool, lease);
}

static void watch_holder(struct pool *pool, const struct pool_lease *lease)
{
    if (lease->holder_pid) {
        struct pool_action *a = pool_act(pool, POOL_DO_WATCH);
        a->lease = lease->id;
        a->pid = lease->holder_pid;
        a->pid_start = lease->holder_start;
    }
}

/* Behind the head only where backfilling is allowed: the hold is then the one that
 * lease_try_new() has just made. */
static void seek_at_once(struct pool *pool, struct pool_lease *lease)
{
    bool is_head = queue_head(pool) == lease;

    pool->seekers = 0;
    if (is_head || pool->settings.backfill_depth) {
        moves_seek(pool, lease, is_head ? NULL : &pool->hold);
    }
}

/* Nobody is asked to move for a request that does not wait for the answer: it is refused, and says
 * so when asking would help. */
static void refuse_to_wait(struct pool *pool, const struct pool_event *event,
                           struct pool_lease *lease)
{
    struct pool_explanation *why = pool->explanation;
    char text[sizeof(why->reason)], hint[100] = "";

    pool_explain(pool, lease, pool->now_ms, why);
    unsigned asked = shift_would_ask(pool, lease);
    if (asked) {
        snprintf(hint, sizeof(hint),
                 "; if it may wait, %u holder%s asked to move, for up to %" PRId64 " s", asked,
                 asked > 1 ? "s are" : " is", pool->settings.move_answer_ms / 1000);
    }
    snprintf(text, sizeof(text), "%.*s%s", (int)(sizeof(text) - 1 - strlen(hint)), why->reason,
             hint);
    text_mend_utf8(text);
    refuse(pool, event, lease, POOL_DOES_NOT_FIT, text);
}

static void wait_in_queue(struct pool *pool, const struct pool_event *event,
                          struct pool_lease *lease)
{
    if (lease->must_not_wait) {
        refuse_to_wait(pool, event, lease);
        return;
    }
    if (lease->tenant->queued >= lease->tenant->max_queued) {
        char text[160];
        snprintf(text, sizeof(text), "%s has %u requests waiting already, %u are allowed; cancel "
                 "one or wait", lease->tenant->name, lease->tenant->queued,
                 lease->tenant->max_queued);
        refuse(pool, event, lease, POOL_QUEUE_FULL, text);
        return;
    }
    lease_enqueue(pool, lease);
    seek_at_once(pool, lease);
    queue_arm_look(pool);
    char words[LEASE_WORDS_SIZE];
    pool_tell(pool, POOL_HIST_LEASE_QUEUED, NULL, lease, "l-%" PRIu64 " waits for %s", lease->id,
              lease_words(lease, words));
    watch_holder(pool, lease);
    pool_reply(pool, event->reply_to, POOL_OK, lease->id, "%s", "");
}

/* A new request may pass those who wait only by leaving alone what the head waits for.  False: it
 * may not pass at all. */
static bool hold_for_new(struct pool *pool, const struct pool_lease *lease,
                         const struct hold **ret_hold)
{
    const struct pool_lease *head = queue_head(pool);

    *ret_hold = NULL;
    if (!head || head->queue_key < lease->queue_key) {
        return true;
    }
    if (!pool->settings.backfill_depth) {
        return false;
    }
    hold_for(pool, head, &pool->hold);
    *ret_hold = &pool->hold;
    return true;
}

enum grant_result lease_try_new(struct pool *pool, struct pool_lease *lease)
{
    const struct hold *hold = NULL;

    return hold_for_new(pool, lease, &hold) ? lease_grant(pool, lease, hold) : GRANT_BLOCKED;
}

bool lease_try_new_set(struct pool *pool, struct pool_lease *const *leases, unsigned count)
{
    const struct hold *hold = NULL;

    return hold_for_new(pool, leases[0], &hold) &&
           lease_grant_all(pool, leases, count, hold, &pool->last_set);
}

void lease_on_request(struct pool *pool, const struct pool_event *event)
{
    char why[240];

    if (answer_repeat(pool, event)) {
        return;
    }
    if (pool->settings.max_ttl_ms && event->request->ttl_ms > pool->settings.max_ttl_ms) {
        pool_reply(pool, event->reply_to, POOL_NOT_ALLOWED, 0,
                   "the longest time limit here is %" PRId64 " s (limits: max_ttl)",
                   pool->settings.max_ttl_ms / 1000);
        return;
    }
    struct pool_lease *lease = lease_new(pool, &event->actor, event->request);
    lease_impossible_reason(pool, lease, why, sizeof(why));
    if (*why) {
        refuse(pool, event, lease, POOL_CAN_NEVER_FIT, why);
        return;
    }
    enum grant_result result = lease_try_new(pool, lease);
    plan_learn(pool->plan, &lease->ask); /* after: a preview, which does not learn, has said so */
    if (result != GRANT_DONE) {
        wait_in_queue(pool, event, lease);
        return;
    }
    shift_end(pool, lease, "the request has its place");
    lease_count_slots(lease, true);
    lease_start(pool, lease);
    watch_holder(pool, lease);
    pool_reply(pool, event->reply_to, POOL_OK, lease->id, "%s", "");
}

struct pool_lease *lease_of_event(struct pool *pool, const struct pool_event *event)
{
    struct pool_lease *lease = pool_lease_get(pool, event->lease);
    bool is_own = lease && !strcmp(lease->tenant->name, event->actor.tenant) &&
                  event->actor.role >= POOL_ROLE_TENANT;

    if (!lease) {
        pool_reply(pool, event->reply_to, POOL_NOT_FOUND, 0, "there is no lease l-%" PRIu64,
                   event->lease);
        return NULL;
    }
    if (!is_own && event->actor.role < POOL_ROLE_OPERATOR) {
        pool_reply(pool, event->reply_to, POOL_FORBIDDEN, lease->id,
                   "l-%" PRIu64 " belongs to %s", lease->id, lease->tenant->name);
        return NULL;
    }
    if (pool_lease_is_ended(lease->state)) {
        pool_reply(pool, event->reply_to, POOL_ALREADY_ENDED, lease->id,
                   "l-%" PRIu64 " has ended already (%s)", lease->id,
                   pool_lease_state_name(lease->state));
        return NULL;
    }
    return lease;
}

void lease_on_release(struct pool *pool, const struct pool_event *event)
{
    struct pool_lease *lease = lease_of_event(pool, event);
    char why[120];

    if (!lease) {
        return;
    }
    bool has_begun = lease->state == POOL_LEASE_ACTIVE || lease->state == POOL_LEASE_RELEASING;
    snprintf(why, sizeof(why), "%s by %s", has_begun ? "released" : "cancelled",
             event->actor.tenant);
    lease_release(pool, lease, POOL_LEASE_RELEASED, why);
    pool_reply(pool, event->reply_to, POOL_OK, event->lease, "%s", "");
}

void lease_on_renew(struct pool *pool, const struct pool_event *event)
{
    struct pool_lease *lease = lease_of_event(pool, event);
    int64_t ttl = event->ttl_ms, most = pool->settings.max_ttl_ms;

    if (!lease) {
        return;
    }
    if (lease->state == POOL_LEASE_RELEASING) {
        pool_reply(pool, event->reply_to, POOL_ALREADY_ENDED, lease->id,
                   "l-%" PRIu64 " is being released", lease->id);
        return;
    }
    if (most && (!ttl || ttl > most)) {
        pool_reply(pool, event->reply_to, POOL_NOT_ALLOWED, lease->id,
                   "the longest time limit here is %" PRId64 " s (limits: max_ttl)", most / 1000);
        return;
    }
    const struct pool_lease *head = lease_breaks_promise(pool, lease, ttl);
    if (head) {
        char when[32];
        pool_reply(pool, event->reply_to, POOL_NOT_ALLOWED, lease->id,
                   "l-%" PRIu64 " was let in ahead of l-%" PRIu64 " because it ends by %s; it can "
                   "be renewed beyond that when l-%" PRIu64 " has started", lease->id, head->id,
                   text_format_time_ms(lease->ahead_until_ms, when), head->id);
        return;
    }
    lease->ttl_ms = ttl;
    lease->expires_ms = 0;
    if (lease->state == POOL_LEASE_ACTIVE && ttl) {
        lease->expires_ms = pool->now_ms + ttl;
        lease_arm_timer(pool, lease, lease->expires_ms);
    }
    for (unsigned i = 0; i < lease->part_count; i++) {
        gpu_changed(pool, lease->part[i].gpu); /* plan/ knows until when it is in use */
    }
    pool_mark_lease(pool, lease);
    pool_tell(pool, POOL_HIST_LEASE_RENEWED, NULL, lease, "l-%" PRIu64 " has a new time limit",
              lease->id);
    pool_reply(pool, event->reply_to, POOL_OK, lease->id, "%s", "");
}

void lease_on_holder_gone(struct pool *pool, const struct pool_event *event)
{
    struct pool_lease *lease = pool_lease_get(pool, event->lease);

    /* Without a holder: it only waited for the grant, and has got it. */
    if (lease && lease->holder_pid && !pool_lease_is_ended(lease->state)) {
        lease_release(pool, lease, POOL_LEASE_RELEASED, "the process that asked for it has ended");
    }
}
