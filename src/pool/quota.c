/* Quotas: how many compute slots a tenant may have, and what a lease takes of them.
 *
 * A request over its tenant's quota keeps nobody else waiting: it is not the head of the queue, and
 * those of its own tenant behind it may take what comes free.  So that they do not do so for ever,
 * it is the elder of its tenant when it has waited for a step of age: from then on as much as it
 * takes is kept for it against those of its tenant behind it.  So it is for the head. */
#include "pool/internal.h"
#include <limits.h>

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

/* Is there a model on which it takes no more than so many compute slots? */
static bool takes_at_most(const struct pool *pool, const struct pool_lease *lease, unsigned slots)
{
    for (int c = 0; c < pool->class_count; c++) {
        if (lease->ask.profile[c] >= 0 && lease_slots_on(pool, lease, c) <= slots) {
            return true;
        }
    }
    return lease->want.kind == MIG_WANT_GPU && lease_slots_on(pool, lease, -1) <= slots;
}

bool lease_is_over_quota(const struct pool *pool, const struct pool_lease *lease)
{
    unsigned left = lease_quota_left(pool, lease);

    return left != UINT_MAX && !takes_at_most(pool, lease, left);
}

void lease_note_elder(struct pool *pool, struct pool_lease *lease, bool is_blocked)
{
    struct pool_tenant *t = lease->tenant;
    int64_t step = pool->settings.age_step_ms;
    bool is_old = is_blocked && t->max_compute && step &&
                  pool->now_ms - lease->created_ms >= step;

    if (t->elder == lease && !is_old) {
        t->elder = NULL;
    }
    if (!is_old || (t->elder && lease_is_before(t->elder, lease)) ||
        !takes_at_most(pool, lease, t->max_compute)) {
        return;
    }
    struct hold where;
    hold_for(pool, lease, &where); /* nothing is kept for what could not come anyway */
    t->elder = where.count ? lease : t->elder == lease ? NULL : t->elder;
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
