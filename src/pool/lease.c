/* The life of a lease, and its place in the queue (how it is asked for: request.c; who is served
 * from there: queue.c; how it is given back: release.c).
 *
 *   request ─▶ QUEUED ─▶ CUTTING ─▶ ACTIVE ─▶ RELEASING ─▶ RELEASED | EXPIRED
 *                 ▲          │                     (looks for processes: law 1)
 *                 └──────────┘ a part could not be made
 *
 * REJECTED is the end of what must not wait, or was tried too often; LOST of what the driver no
 * longer has.  The queue is ordered by priority and age in one fixed key, so that waiting long
 * enough outweighs any priority, and a request keeps its place when it has to come back. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ATTEMPTS_MAX 8
/* More counts no more, so that the product of the two, and a time beside it, is a key
 * in 63 bits. */
#define PRIORITY_MOST (1 << 18)
#define NO_AGEING_STEP_MS (INT64_C(1) << 43) /* 278 years: nobody waits that long */

void lease_set_reason(struct pool_lease *lease, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(lease->reason, sizeof(lease->reason), fmt, ap);
    va_end(ap);
    text_mend_utf8(lease->reason);
}

/* By priority, then age.  So that waiting long enough outweighs any priority, one priority is worth
 * so many milliseconds. */
static int64_t queue_key(const struct pool *pool, const struct pool_lease *l)
{
    int64_t step = pool->settings.age_step_ms ? pool->settings.age_step_ms : NO_AGEING_STEP_MS;
    int64_t priority = l->priority;

    priority = priority > PRIORITY_MOST ? PRIORITY_MOST : priority;
    priority = priority < -PRIORITY_MOST ? -PRIORITY_MOST : priority;
    step = step > NO_AGEING_STEP_MS ? NO_AGEING_STEP_MS : step;
    return priority * step - l->created_ms;
}

/* The first lease with a key keeps it. */
static void add_key(struct pool_lease *l)
{
    struct pool_lease *other = NULL;

    if (!l->idempotency_key) {
        return;
    }
    HASH_FIND(hh_key, l->tenant->keyed, l->idempotency_key, strlen(l->idempotency_key), other);
    if (!other) {
        HASH_ADD_KEYPTR(hh_key, l->tenant->keyed, l->idempotency_key, strlen(l->idempotency_key),
                        l);
        l->is_keyed = true;
    }
}

void lease_arm_timer(struct pool *pool, struct pool_lease *lease, int64_t when_ms)
{
    if (!lease->timer_ms || when_ms < lease->timer_ms) {
        lease->timer_ms = when_ms;
        pool_add_timer(pool, when_ms, TIMER_LEASE, lease->id);
    }
}

struct pool_lease *lease_new(struct pool *pool, const struct pool_actor *actor,
                             const struct pool_request *request)
{
    struct pool_lease *l = xcalloc(1, sizeof(*l));
    int64_t ttl = request->ttl_ms ? request->ttl_ms : pool->settings.default_ttl_ms;

    if (pool->settings.max_ttl_ms && (!ttl || ttl > pool->settings.max_ttl_ms)) {
        ttl = pool->settings.max_ttl_ms;
    }
    l->id = pool->next_lease++;
    l->tenant = pool_tenant_get(pool, actor->tenant);
    if (actor->limits) {
        const struct pool_limits *own = actor->limits;
        l->tenant->max_queued = own->max_queued < 0 ? pool->settings.max_queued_per_tenant
                                                    : (unsigned)own->max_queued;
        l->tenant->max_compute = own->max_compute < 0 ? pool->settings.max_compute_per_tenant
                                                      : (unsigned)own->max_compute;
    }
    l->uid = actor->uid;
    text_copy(l->profile, sizeof(l->profile), request->profile);
    l->want = request->want;
    l->count = request->count;
    l->model = xstrdup(request->model);
    l->name = xstrdup(request->name);
    l->labels = xstrdup(request->labels);
    l->idempotency_key = xstrdup(request->idempotency_key);
    l->request_hash = request->request_hash;
    l->ttl_ms = ttl;
    l->priority = request->priority;
    l->is_movable = request->is_movable;
    l->must_not_wait = request->must_not_wait;
    l->holder_pid = request->holder_pid;
    l->holder_start = request->holder_start;
    l->holder_waits = request->holder_waits;
    l->created_ms = pool->now_ms;
    l->queue_key = queue_key(pool, l);
    add_key(l);
    pool_lease_add(pool, l);
    return l;
}

void lease_free(struct pool *pool, struct pool_lease *lease)
{
    if (lease->is_dirty) {
        TAILQ_REMOVE(&pool->dirty_leases, lease, dirty_link);
    }
    if (lease->is_keyed) {
        HASH_DELETE(hh_key, lease->tenant->keyed, lease);
    }
    HASH_DEL(pool->leases, lease); /* NOLINT(clang-analyzer-core.NullDereference): it is in there */
    free(lease->model);
    free(lease->name);
    free(lease->labels);
    free(lease->idempotency_key);
    free(lease->part);
    free(lease->shift);
    free(lease);
}

void lease_enqueue(struct pool *pool, struct pool_lease *lease)
{
    struct pool_lease *after = TAILQ_LAST(&pool->queue, pool_lease_list);

    while (after && lease_is_before(lease, after)) {
        after = TAILQ_PREV(after, pool_lease_list, link);
    }
    if (after) {
        TAILQ_INSERT_AFTER(&pool->queue, after, lease, link);
    } else {
        TAILQ_INSERT_HEAD(&pool->queue, lease, link);
    }
    lease->is_queued = true;
    lease->tenant->queued++;
    lease->state = POOL_LEASE_QUEUED;
    pool_mark_lease(pool, lease);
}

void lease_dequeue(struct pool *pool, struct pool_lease *lease)
{
    if (lease->is_queued) {
        TAILQ_REMOVE(&pool->queue, lease, link);
        lease->is_queued = false;
        lease->tenant->queued--;
        lease->tenant->elder = lease->tenant->elder == lease ? NULL : lease->tenant->elder;
    }
}

void lease_count_slots(struct pool_lease *lease, bool is_taken)
{
    unsigned slots = lease->compute_slots;

    lease->tenant->compute_slots += is_taken ? slots : -slots;
}

static void log_cut(struct pool *pool, const struct pool_lease *lease)
{
    char label[96], more[24] = "";
    const struct pool_slice *s = lease->part[0].slice;

    if (lease->count > 1) {
        snprintf(more, sizeof(more), ", and %u more", lease->count - 1);
    }
    pool_tell(pool, POOL_HIST_LEASE_CUTTING, lease->part[0].gpu, lease, "%s is cut for l-%" PRIu64
              "%s", s ? slice_label(s, label) : lease->profile, lease->id, more);
}

const char *lease_words(const struct pool_lease *lease, char buf[static LEASE_WORDS_SIZE])
{
    if (lease->count > 1) {
        snprintf(buf, LEASE_WORDS_SIZE, "%u x %s", lease->count, lease->profile);
        return buf;
    }
    return lease->profile;
}

/* It had stopped and has a slice again: its time has gone on. */
static void come_back(struct pool *pool, struct pool_lease *lease)
{
    lease->stopped_for = 0;
    if (lease->ttl_ms && !lease->expires_ms) {
        lease->expires_ms = pool->now_ms + lease->ttl_ms; /* renewed meanwhile */
    }
    if (lease->expires_ms) {
        lease_arm_timer(pool, lease, lease->expires_ms);
    }
    pool_mark_lease(pool, lease);
    pool_tell(pool, POOL_HIST_LEASE_MOVED, lease->part[0].gpu, lease,
              "l-%" PRIu64 " (%.40s) has %s again", lease->id, lease->tenant->name, lease->profile);
    struct pool_action *a = &pool->out->action[pool->out->count - 1];
    const struct pool_part *p = &lease->part[0];
    text_copy(a->new_uuid, sizeof(a->new_uuid), p->slice ? p->slice->ci[p->ci].mig_uuid : "");
    pool_move_name(lease, a->move);
}

void lease_activate_if_settled(struct pool *pool, struct pool_lease *lease)
{
    char words[LEASE_WORDS_SIZE];

    for (unsigned i = 0; i < lease->part_count; i++) {
        const struct pool_part *p = &lease->part[i];
        if (p->slice && !p->slice->ci[p->ci].is_settled) {
            return;
        }
    }
    for (unsigned i = 0; i < lease->part_count; i++) {
        struct pool_slice *s = lease->part[i].slice;
        if (s) {
            text_copy(s->tenant, sizeof(s->tenant), lease->tenant->name);
            s->lease = 0;
            slice_set_state(pool, s, POOL_SLICE_LEASED);
        }
    }
    lease->state = POOL_LEASE_ACTIVE;
    lease->reason[0] = '\0';
    if (lease->granted_ms) {
        come_back(pool, lease);
        return;
    }
    lease->granted_ms = pool->now_ms;
    if (lease->holder_waits) {
        lease->holder_waits = false;
        lease->holder_pid = 0;
        lease->holder_start = 0;
    }
    if (lease->ttl_ms) {
        lease->expires_ms = pool->now_ms + lease->ttl_ms;
        lease_arm_timer(pool, lease, lease->expires_ms);
    }
    pool_mark_lease(pool, lease);
    pool_tell(pool, POOL_HIST_LEASE_GRANTED, lease->part[0].gpu, lease,
              "l-%" PRIu64 " has %s", lease->id, lease_words(lease, words));
}

void lease_start(struct pool *pool, struct pool_lease *lease)
{
    lease->state = POOL_LEASE_CUTTING;
    lease->started_ms = pool->now_ms;
    plan_note_turn(pool->plan, lease->part[lease->part_count - 1].gpu->id);
    pool->wants_queue_pass |= pool->shift_count > 0; /* moves may have become vain */
    pool_mark_lease(pool, lease);
    lease_activate_if_settled(pool, lease);
    if (lease->state == POOL_LEASE_CUTTING) {
        lease_set_reason(lease, "the slice is being cut");
        log_cut(pool, lease);
    }
}

void lease_forget_ended(struct pool *pool)
{
    while (pool->ended_count > pool->settings.keep_ended) {
        struct pool_lease *oldest = TAILQ_FIRST(&pool->ended);
        TAILQ_REMOVE(&pool->ended, oldest, link);
        pool->ended_count--;
        pool_mark_gone(pool, POOL_RECORD_LEASE, oldest->id);
        lease_free(pool, oldest);
    }
}

void lease_drop_slice(struct pool *pool, struct pool_lease *lease, struct pool_slice *s,
                      unsigned ci)
{
    s->ci[ci].lease = 0;
    if (s->lease == lease->id) {
        s->lease = 0;
    }
    if (s->state == POOL_SLICE_LEASED && !slice_is_leased(s)) {
        slice_set_state(pool, s, POOL_SLICE_IDLE);
        if (pool->settings.drops_idle && !s->processes) {
            slice_doom(pool, s, 0, 0);
        }
    } else if (s->state == POOL_SLICE_CREATING && !s->job && !slice_is_leased(s) &&
               s->gpu->is_scanned) {
        slice_remove(pool, s); /* before the first scan it may be there, from before a crash */
    } else {
        pool_mark_slice(pool, s);
        gpu_changed(pool, s->gpu);
    }
}

/* Lets go of the parts: slices become idle and keep their last user's name. */
static void drop_parts(struct pool *pool, struct pool_lease *lease)
{
    move_drop(pool, lease);
    for (unsigned i = 0; i < lease->part_count; i++) {
        struct pool_part *p = &lease->part[i];
        if (p->slice) {
            lease_drop_slice(pool, lease, p->slice, p->ci);
        } else {
            p->gpu->lease = 0;
            gpu_changed(pool, p->gpu);
        }
    }
    if (lease->part_count) {
        lease_count_slots(lease, false);
    }
    lease->part_count = 0;
    lease->ahead_of = 0;
    free(TAKE_PTR(lease->part));
    pool->wants_queue_pass = true;
}

void lease_end(struct pool *pool, struct pool_lease *lease, enum pool_lease_state state,
               const char *why)
{
    static const enum pool_history histories[POOL_LEASE_STATE_COUNT] = {
        [POOL_LEASE_RELEASED] = POOL_HIST_LEASE_RELEASED,
        [POOL_LEASE_EXPIRED] = POOL_HIST_LEASE_EXPIRED,
        [POOL_LEASE_REJECTED] = POOL_HIST_LEASE_REJECTED,
        [POOL_LEASE_LOST] = POOL_HIST_LEASE_LOST,
    };
    const struct pool_gpu *gpu = lease->part_count ? lease->part[0].gpu : NULL;

    shift_end(pool, lease, "the request has ended");
    if (lease->is_queued) {
        lease_dequeue(pool, lease);
        pool->wants_queue_pass = true;
    }
    drop_parts(pool, lease);
    lease->state = state;
    lease->ended_ms = pool->now_ms;
    lease_set_reason(lease, "%s", why);
    TAILQ_INSERT_TAIL(&pool->ended, lease, link);
    pool->ended_count++;
    pool_mark_lease(pool, lease);
    pool_tell(pool, histories[state], gpu, lease, "l-%" PRIu64 " (%s) %s%s%s", lease->id,
              lease->profile, pool_lease_state_name(state), *why ? ": " : "", why);
}

void lease_requeue(struct pool *pool, struct pool_lease *lease, const char *why)
{
    char text[200];

    text_copy(text, sizeof(text), why); /* it may stand in what goes with the parts */
    drop_parts(pool, lease);
    if (++lease->attempts >= ATTEMPTS_MAX && !lease->stopped_for) {
        lease_end(pool, lease, POOL_LEASE_REJECTED, text);
        return;
    }
    if (lease->must_not_wait) {
        lease->queue_key = LEASE_KEY_FIRST; /* looked at next; refused if it does not fit then */
    }
    lease_enqueue(pool, lease);
    lease_set_reason(lease, "tried again after: %s", text);
}

void lease_stop(struct pool *pool, struct pool_lease *lease, uint64_t request)
{
    drop_parts(pool, lease);
    lease->stopped_for = request;
    lease->must_not_wait = false;
    lease->queue_key = LEASE_KEY_FIRST;
    lease_enqueue(pool, lease);
    lease_set_reason(lease, "it has stopped so that l-%" PRIu64 " fits, and gets a slice anew",
                     request);
}

void lease_shift_times(struct pool *pool, struct pool_lease *lease, int64_t by_ms)
{
    int64_t *const times[] = {&lease->created_ms, &lease->started_ms, &lease->granted_ms,
                              &lease->expires_ms, &lease->move.due_ms, &lease->move_rest_ms,
                              &lease->shift_rest_ms, &lease->ahead_until_ms};

    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        *times[i] += *times[i] ? by_ms : 0;
    }
    if (lease->queue_key != LEASE_KEY_FIRST) {
        lease->queue_key -= by_ms; /* it falls with the time of the request */
    }
    pool_mark_lease(pool, lease);
}
