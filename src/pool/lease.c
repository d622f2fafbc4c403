/* The life of a lease, and its place in the queue (who is served from there: queue.c).
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
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ATTEMPTS_MAX 8
#define RECHECK_MS 1000
/* More counts no more, so that the product of the two, and a time beside it, is a key in 63 bits. */
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

/* --- its end ---------------------------------------------------------------------------------- */

void lease_check_parts(struct pool *pool, struct pool_lease *lease)
{
    for (unsigned i = 0; i < lease->part_count; i++) {
        struct pool_part *p = &lease->part[i];
        if (p->is_checked || p->check_job) {
            continue;
        }
        struct pool_job *job = pool_emit_job(pool, POOL_JOB_CHECK, p->gpu);
        p->check_job = job->id;
        job->lease = lease->id;
        if (p->slice) {
            const struct pool_slice *s = p->slice;
            job->slice = s->id;
            job->profile_id = s->profile_id;
            job->start = s->start;
            job->size = s->size;
            text_copy(job->mig_uuid, sizeof(job->mig_uuid), s->ci[p->ci].mig_uuid);
        }
    }
}

void lease_release(struct pool *pool, struct pool_lease *lease, enum pool_lease_state end_state,
                   const char *why)
{
    if (lease->state == POOL_LEASE_QUEUED || lease->state == POOL_LEASE_CUTTING) {
        lease_end(pool, lease, end_state, why);
        return;
    }
    if (lease->state != POOL_LEASE_ACTIVE) {
        return;
    }
    lease->state = POOL_LEASE_RELEASING;
    lease->end_state = end_state;
    text_copy(lease->end_reason, sizeof(lease->end_reason), why);
    lease_set_reason(lease, "%s", why);
    pool_mark_lease(pool, lease);
    move_on_release(pool, lease);
    for (unsigned i = 0; lease->is_movable && i < lease->part_count; i++) {
        gpu_changed(pool, lease->part[i].gpu); /* plan/ must not move it any more */
    }
    if (lease->part_count) {
        lease_check_parts(pool, lease);
    } else {
        lease_end(pool, lease, end_state, why); /* its record was damaged */
    }
}

/* Processes that the check has found on this very part: a compute instance of a shared slice does
 * not wait for its neighbours. */
static uint32_t processes_of(const struct pool_part *part, const struct pool_job_result *result)
{
    const struct pool_slice *s = part->slice;

    if (!s || s->ci_count < 2 || !result->has_instance || !result->instance.has_processes) {
        return result->processes;
    }
    for (unsigned i = 0; i < result->instance.ci_count; i++) {
        const struct mig_compute *found = &result->instance.ci[i];
        if (found->mig_uuid[0] && !strcmp(found->mig_uuid, s->ci[part->ci].mig_uuid)) {
            return found->process_count;
        }
    }
    return result->processes;
}

/* Slices that were not found must not go to the next one who asks: they are destroyed, which does
 * nothing if they are gone indeed, and a scan shows what is there. */
static void end_checked(struct pool *pool, struct pool_lease *lease)
{
    struct pool_slice *missing[POOL_MAX_COUNT];
    unsigned count = 0;

    for (unsigned i = 0; i < lease->part_count; i++) {
        if (lease->part[i].is_missing) {
            missing[count++] = lease->part[i].slice;
        }
    }
    lease_end(pool, lease, lease->end_state, lease->end_reason);
    for (unsigned i = 0; i < count; i++) {
        if (missing[i]->state == POOL_SLICE_IDLE) {
            slice_doom(pool, missing[i], 0, 0);
        }
        gpu_ask_scan(pool, missing[i]->gpu);
    }
}

void lease_end_if_checked(struct pool *pool, struct pool_lease *lease)
{
    bool is_checked = lease->state == POOL_LEASE_RELEASING && lease->move.phase == POOL_MOVE_NONE;

    for (unsigned i = 0; i < lease->part_count; i++) {
        is_checked = is_checked && lease->part[i].is_checked;
    }
    if (is_checked) {
        end_checked(pool, lease);
    }
}

void lease_on_check(struct pool *pool, struct pool_lease *lease, struct pool_part *part,
                    const struct pool_job_result *result)
{
    /* Nothing runs on what is not there, nor on a GPU that fell off the bus. */
    bool is_missing = result->code == -ENOENT || result->code == -ESTALE;
    bool is_gone = is_missing || result->code == -ENODEV;

    part->check_job = 0;
    if (lease->state != POOL_LEASE_RELEASING) {
        return;
    }
    if (result->code == 0) {
        *(part->slice ? &part->slice->processes : &part->gpu->processes) = result->processes;
    }
    if (is_gone || (result->code == 0 && !processes_of(part, result))) {
        part->is_checked = true;
        part->is_missing = is_missing && part->slice;
    } else {
        lease_set_reason(lease, "%s%s",
                         result->message[0] ? result->message : "a process",
                         result->code ? "" : " still runs on the slice");
        lease->retry_at_ms = pool->now_ms + RECHECK_MS;
        lease_arm_timer(pool, lease, lease->retry_at_ms);
        pool_mark_lease(pool, lease);
    }
    lease_end_if_checked(pool, lease);
}

void lease_on_timer(struct pool *pool, struct pool_lease *lease)
{
    if (lease->timer_ms <= pool->now_ms) {
        lease->timer_ms = 0;
    }
    move_on_timer(pool, lease);
    if (lease->state == POOL_LEASE_QUEUED && lease->expires_ms) { /* one that has stopped */
        if (lease->expires_ms <= pool->now_ms) {
            lease_end(pool, lease, POOL_LEASE_EXPIRED, "its time was up");
        } else {
            lease_arm_timer(pool, lease, lease->expires_ms);
        }
    }
    if (lease->state == POOL_LEASE_ACTIVE && lease->expires_ms > pool->now_ms) {
        lease_arm_timer(pool, lease, lease->expires_ms);
    } else if (lease->state == POOL_LEASE_RELEASING && lease->retry_at_ms > pool->now_ms) {
        lease_arm_timer(pool, lease, lease->retry_at_ms);
    }
    if (lease->state == POOL_LEASE_ACTIVE && lease->expires_ms &&
        lease->expires_ms <= pool->now_ms) {
        lease_release(pool, lease, POOL_LEASE_EXPIRED, "its time was up");
    } else if (lease->state == POOL_LEASE_RELEASING && lease->retry_at_ms <= pool->now_ms) {
        lease_check_parts(pool, lease);
    }
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

/* --- requests --------------------------------------------------------------------------------- */

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
        snprintf(hint, sizeof(hint), "; if it may wait, %u holder%s asked to move, for up to %" PRId64
                 " s", asked, asked > 1 ? "s are" : " is", pool->settings.move_answer_ms / 1000);
    }
    snprintf(text, sizeof(text), "%.*s%s", (int)(sizeof(text) - 1 - strlen(hint)), why->reason, hint);
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
