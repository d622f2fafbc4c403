/* Quotas: how many compute slots a tenant may have, and what a lease takes of them.
 *
 * A request over its tenant's quota keeps nobody else waiting: it is not the head of the queue, and
 * those of its own tenant behind it may take what comes free.  So that they do not do so for ever,
 * it is the elder of its tenant when it has waited for a step of age: from then on as much as it
 * takes is kept for it against those of its tenant behind it.  So it is for the head.
 *
 * Who is the elder is recorded.  A request that no GPU could hold is none, and what could hold it
 * is not known after a restart before the GPUs have been read: foreign slices are in no record.
 * Until then, or for so long as a GPU is waited for, it stays as it was. */
#include "pool/internal.h"
#include <limits.h>

#define READING_MS 60000

/* Of the tenant's leases that have stopped for somebody: they come back before anything new.  They
 * stand first in the queue. */
static unsigned slots_of_stopped(const struct pool *pool, const struct pool_tenant *tenant,
                                 const struct pool_lease *except)
{
    const struct pool_lease *l = NULL;
    unsigned slots = 0;

    TAILQ_FOREACH(l, &pool->queue, link)
    {
        if (l->queue_key != INT64_MAX) {
            break;
        }
        slots += l->stopped_for && l->tenant == tenant && l != except ? l->compute_slots : 0;
    }
    return slots;
}

const struct pool_lease *lease_elder(const struct pool_lease *lease)
{
    const struct pool_lease *elder = lease->tenant->elder;

    return elder && elder != lease && lease_is_before(elder, lease) ? elder : NULL;
}

unsigned lease_quota_left(const struct pool *pool, const struct pool_lease *lease)
{
    const struct pool_tenant *t = lease->tenant;

    if (!t->max_compute) {
        return UINT_MAX;
    }
    const struct pool_lease *elder = lease_elder(lease);
    unsigned taken = t->compute_slots + slots_of_stopped(pool, t, lease);
    taken += elder && !elder->stopped_for ? elder->compute_slots : 0; /* those count already */
    return taken < t->max_compute ? t->max_compute - taken : 0;
}

unsigned lease_slots_on(const struct pool *pool, const struct pool_lease *lease, int class_id)
{
    int profile = class_id < 0 ? MIG_PROFILE_NONE : lease->ask.profile[class_id];
    unsigned each = 1; /* a GPU that does not tell what it can be cut into */

    if (lease->want.compute_instance_slices) {
        each = lease->want.compute_instance_slices;
    } else if (lease->want.kind == MIG_WANT_GPU && class_id >= 0) {
        each = pool->classes[class_id].geometry->slices;
    } else if (profile >= 0) {
        each = pool->classes[class_id].geometry->profiles[profile].slices;
    }
    return each * lease->count;
}

/* Is there a GPU for it that does not tell what it can be cut into? */
static bool has_uncuttable(const struct pool *pool, const struct pool_lease *lease)
{
    bool has = false;

    for (unsigned i = 0; i < pool->gpu_count && !has; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        has = gpu->class_id < 0 && gpu->is_managed && lease_allows_gpu(lease, gpu);
    }
    return has;
}

/* Is there a model on which it takes no more than so many compute slots? */
static bool takes_at_most(const struct pool *pool, const struct pool_lease *lease, unsigned slots)
{
    for (int c = 0; c < pool->class_count; c++) {
        if (lease->ask.profile[c] >= 0 && lease_slots_on(pool, lease, c) <= slots) {
            return true;
        }
    }
    return lease->want.kind == MIG_WANT_GPU && lease_slots_on(pool, lease, -1) <= slots &&
           has_uncuttable(pool, lease);
}

bool lease_is_over_quota(const struct pool *pool, const struct pool_lease *lease)
{
    unsigned left = lease_quota_left(pool, lease);

    return left != UINT_MAX && !takes_at_most(pool, lease, left);
}

static bool is_being_read(const struct pool *pool)
{
    bool is_early = pool->now_ms - pool->started_ms < READING_MS;

    for (unsigned i = 0; is_early && i < pool->gpu_count; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        if (gpu->is_managed && gpu->health == POOL_HEALTH_OK && !gpu->is_scanned) {
            return true;
        }
    }
    return false;
}

static void set_elder(struct pool *pool, struct pool_tenant *t, struct pool_lease *lease)
{
    if (t->elder == lease) {
        return;
    }
    if (t->elder) {
        pool_mark_lease(pool, t->elder);
    }
    t->elder = lease;
    if (lease) {
        pool_mark_lease(pool, lease);
    }
}

void lease_note_elder(struct pool *pool, struct pool_lease *lease, bool is_blocked)
{
    struct pool_tenant *t = lease->tenant;
    int64_t step = pool->settings.age_step_ms;
    bool is_old = is_blocked && t->max_compute && step &&
                  pool->now_ms - lease->created_ms >= step;

    if (is_being_read(pool)) {
        return;
    }
    if (t->elder == lease && !is_old) {
        set_elder(pool, t, NULL);
    }
    if (!is_old || (t->elder && lease_is_before(t->elder, lease)) ||
        !takes_at_most(pool, lease, t->max_compute)) {
        return;
    }
    struct hold where;
    hold_for(pool, lease, &where); /* nothing is kept for what could not come anyway */
    set_elder(pool, t, where.count ? lease : t->elder == lease ? NULL : t->elder);
}

void lease_bind_quota(const struct pool *pool, struct pool_lease *lease)
{
    unsigned left = lease_quota_left(pool, lease);

    for (int c = 0; left != UINT_MAX && c < pool->class_count; c++) {
        if (lease_slots_on(pool, lease, c) > left) {
            lease->ask.profile[c] = MIG_PROFILE_NONE;
        }
    }
}

bool leases_are_over_quota(const struct pool *pool, struct pool_lease *const *leases,
                           unsigned count)
{
    bool is_over = false;

    for (unsigned i = 0; i < count; i++) {
        lease_count_slots(leases[i], true);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct pool_tenant *t = leases[i]->tenant;
        unsigned taken = t->compute_slots;
        taken += t->max_compute ? slots_of_stopped(pool, t, leases[i]) : 0;
        is_over = is_over || (t->max_compute && taken > t->max_compute);
        lease_count_slots(leases[i], false);
    }
    return is_over;
}
