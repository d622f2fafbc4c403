/* Granting a lease: all its parts or none (one part: take.c; several together: gang.c).
 *
 * All parts are arranged in the pool's own books first, so that the second part sees the first; if
 * one finds no place, all is taken back, and as no job has been issued yet, nothing has happened.
 *
 * A hold keeps the slots that the head of the queue waits for: they are left alone by everybody
 * else, unless it is known that they will be free again in time.
 *
 * While places are looked for, the lease's ask is bound (lease_bind(), lease_unbind()): models on
 * which it would be over its tenant's quota are left out of it, and places that are kept for others
 * excluded. */
#include "pool/internal.h"
#include <string.h>

/* Its time begins when it has been cut; the longest that this takes here, as measured. */
static int64_t cut_ms(const struct pool *pool)
{
    int64_t us = 0;

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        int64_t one = pool->gpus[i]->create_us + pool->gpus[i]->destroy_us;
        us = one > us ? one : us;
    }
    return (us + 999) / 1000;
}

/* Does the lease end before the held slots are wanted? */
static bool ends_in_time(const struct pool *pool, const struct pool_lease *lease,
                         const struct hold *hold)
{
    return hold->free_at_ms && lease->ttl_ms && hold->free_at_ms > pool->now_ms &&
           lease->ttl_ms + cut_ms(pool) <= hold->free_at_ms - pool->now_ms;
}

/* The hold as far as it binds this lease. */
static void bind_hold(struct pool *pool, struct pool_lease *lease, const struct hold *hold)
{
    bool is_bound = hold && hold->count && hold->lease != lease->id &&
                    !ends_in_time(pool, lease, hold);

    for (unsigned i = 0; is_bound && i < hold->count; i++) {
        const struct pool_gpu *gpu = pool->gpus[hold->window[i].gpu_id];
        pool->held[i] = hold->window[i];
        if (!hold_leaves_engines(hold, i, gpu, lease_profile_on(lease, gpu))) {
            pool->held[i].mask = UINT16_MAX;
        }
    }
    lease->ask.excluded = is_bound ? pool->held : NULL;
    lease->ask.excluded_count = is_bound ? hold->count : 0;
    moves_bind(pool, lease);
}

void lease_bind(struct pool *pool, struct pool_lease *lease, const struct hold *hold)
{
    memcpy(lease->resolved, lease->ask.profile, sizeof(lease->resolved));
    lease->ask.now_ms = pool->now_ms;
    lease->ask.end_ms = lease->ttl_ms ? pool->now_ms + lease->ttl_ms : 0;
    lease_bind_quota(pool, lease);
    bind_hold(pool, lease, hold);
}

void lease_unbind(struct pool_lease *lease)
{
    lease->ask.excluded = NULL;
    lease->ask.excluded_count = 0;
    memcpy(lease->ask.profile, lease->resolved, sizeof(lease->resolved));
}

void lease_note_promise(struct pool_lease *lease, const struct hold *hold)
{
    lease->ahead_of = 0;
    for (unsigned i = 0; hold && hold->lease != lease->id && i < lease->part_count; i++) {
        const struct pool_part *p = &lease->part[i];
        for (unsigned k = 0; k < hold->count; k++) {
            if (hold->window[k].gpu_id == p->gpu->id &&
                (!p->slice || hold->window[k].mask & slice_mask(p->slice))) {
                lease->ahead_of = hold->lease;
                lease->ahead_until_ms = hold->free_at_ms;
            }
        }
    }
}

const struct pool_lease *lease_breaks_promise(const struct pool *pool,
                                              const struct pool_lease *lease, int64_t ttl_ms)
{
    const struct pool_lease *head = lease->ahead_of ? pool_find_lease(pool, lease->ahead_of) : NULL;
    bool is_late = !ttl_ms || pool->now_ms + ttl_ms > lease->ahead_until_ms;

    return head && head->is_queued && is_late ? head : NULL;
}

enum grant_result lease_grant(struct pool *pool, struct pool_lease *lease, const struct hold *hold)
{
    if (lease_is_over_quota(pool, lease)) {
        return GRANT_QUOTA;
    }
    lease_bind(pool, lease, hold);
    if (lease_is_gang(lease)) {
        lease_take_shares(pool, lease);
        (void)leases_take_together(pool, &lease, 1, &pool->last_set);
    }
    while (!lease_is_gang(lease) && lease->part_count < lease->count &&
           lease_take_part(pool, lease)) {
    }
    bool is_complete = lease->part_count == lease->count;
    if (is_complete) {
        lease->compute_slots = lease_slots_of_parts(lease);
        lease_note_promise(lease, hold);
    } else {
        lease_ungrant(pool, lease);
    }
    lease_unbind(lease);
    return is_complete ? GRANT_DONE : GRANT_BLOCKED;
}

void moves_refresh_plan(struct pool *pool)
{
    pool_refresh_plan(pool);
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (pool->gpus[i]->has_resting) {
            gpu_refresh_plan(pool, pool->gpus[i]);
        }
    }
}

/* With objective priority nobody is asked to move for something that counts less. */
static bool is_worth(const struct pool *pool, const struct pool_lease *lease,
                     const struct plan_set_moves *found)
{
    double value = 0;

    for (unsigned i = 0; i < found->spot_count; i++) {
        const struct pool_gpu *gpu = pool->gpus[found->spots[i].gpu_id];
        value += gpu->geometry->profiles[found->spots[i].slice.profile].size * lease_weight(lease);
    }
    return pool->settings.plan.objective != PLAN_PRIORITY ||
           found->moves.cost <= value * (1 + 1e-6);
}

bool lease_may_seek(const struct pool *pool, const struct pool_lease *lease)
{
    return pool->settings.max_moves &&
           (lease->count == 1 || (lease_is_gang(lease) && !lease_is_shared(lease)));
}

bool lease_find_moves(struct pool *pool, struct pool_lease *lease, const struct hold *hold,
                      struct plan_set_moves *ret)
{
    CLEANUP(freep) struct plan_set_moves *found = xcalloc(1, sizeof(*found));
    int most = (int)pool->settings.max_moves;

    lease_bind(pool, lease, hold);
    moves_refresh_plan(pool);
    if (lease->count > 1) {
        (void)plan_find_set_moves(pool->plan, &lease->ask, lease->count, most, found);
    } else if (plan_find_moves(pool->plan, &lease->ask, most, &found->moves) == 0) {
        found->spots[found->spot_count++] = found->moves.spot;
    }
    lease_unbind(lease);
    bool is_found = found->spot_count && found->moves.count && is_worth(pool, lease, found);
    if (is_found) {
        *ret = *found;
    }
    return is_found;
}
