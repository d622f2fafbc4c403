/* Several parts at once: the slices of a gang, and requests that are placed together, all or none
 * of them.  plan/ chooses the places (plan/set.h); what stands already is taken before anything is
 * cut. */
#include "pool/internal.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Slices that the parts which are missing need; compute instances share them. */
static unsigned slices_missing(const struct pool *pool, const struct pool_lease *lease)
{
    unsigned left = lease->count - lease->part_count, each = UINT_MAX;

    if (lease->want.kind == MIG_WANT_GPU) {
        return 0; /* it has them already, or there are none */
    }
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (lease_profile_on(lease, pool->gpus[i]) >= 0) {
            unsigned n = lease_parts_in_window(lease, pool->gpus[i]);
            each = n < each ? n : each;
        }
    }
    return each == UINT_MAX ? left : (left + each - 1) / each;
}

static bool may_keep(const void *pool, const void *lease, uint32_t gpu, struct mig_slice where)
{
    return lease_idle_at(pool, lease, gpu, where);
}

/* Leases that may have each other's slices have one owner: the first of them. */
static const void *owner_of(struct pool_lease *const *leases, unsigned index)
{
    for (unsigned i = 0; i < index && !lease_is_shared(leases[index]); i++) {
        if (leases[i]->tenant == leases[index]->tenant && !lease_is_shared(leases[i])) {
            return leases[i];
        }
    }
    return leases[index];
}

/* What stands already is taken before anything is cut: a cut would clear it away. */
static bool take_spot(struct pool *pool, struct pool_lease *lease,
                      const struct plan_set_spot *spot, bool takes_kept)
{
    struct pool_slice *s = NULL;

    if (lease->part_count == lease->count || spot->is_kept != takes_kept) {
        return true;
    }
    if (!takes_kept) {
        bool is_cut = lease_take_cut_at(pool, lease, pool->gpus[spot->gpu_id], spot->slice);
        while (is_cut && lease_is_shared(lease) && lease->part_count < lease->count &&
               lease_take_share(pool, lease)) {
        }
        return is_cut;
    }
    s = lease_idle_at(pool, lease, spot->gpu_id, spot->slice);
    if (s) {
        lease_take_idle(pool, lease, s);
        while (lease_is_shared(lease) && lease->part_count < lease->count &&
               lease_take_share(pool, lease)) {
        }
    }
    return s;
}

bool leases_take_together(struct pool *pool, struct pool_lease *const *leases, unsigned count,
                          struct plan_set *ret)
{
    struct plan_set_ask asks[PLAN_SET_MAX];
    struct plan_set_spot spots[PLAN_SET_MAX];
    unsigned lease_of[PLAN_SET_MAX], n = 0;
    struct plan_keep keep = {may_keep, pool};

    pool_refresh_plan(pool);
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = slices_missing(pool, leases[i]); k > 0; k--) {
            if (n == PLAN_SET_MAX) {
                return false;
            }
            asks[n] = (struct plan_set_ask){&leases[i]->ask, owner_of(leases, i)};
            lease_of[n++] = i;
        }
    }
    bool is_placed = plan_place_set(pool->plan, asks, n, &keep, ret, spots) == 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; is_placed && i < n; i++) {
            is_placed = take_spot(pool, leases[lease_of[i]], &spots[i], pass == 0);
        }
    }
    return is_placed;
}

/* Bound by what is of this lease only: the pool has one list for what is kept for others. */
static struct plan_exclusion *bind_alone(struct pool *pool, struct pool_lease *lease,
                                         const struct hold *hold)
{
    struct plan_exclusion *own = NULL;

    lease_bind(pool, lease, hold);
    if (lease->ask.excluded_count) {
        own = xcalloc(lease->ask.excluded_count, sizeof(*own));
        memcpy(own, lease->ask.excluded, lease->ask.excluded_count * sizeof(*own));
        lease->ask.excluded = own;
    }
    return own;
}

/* What needs no plan: whole GPUs, and shares of slices.  False: it is hopeless. */
static bool begin_grant(struct pool *pool, struct pool_lease *lease, const struct hold *hold,
                        struct plan_exclusion **ret_own)
{
    bool is_over = lease_is_over_quota(pool, lease);

    *ret_own = bind_alone(pool, lease, hold);
    lease_count_slots(lease, true); /* the next one of its tenant has to see it */
    if (is_over) {
        return false;
    }
    while (lease->want.kind == MIG_WANT_GPU && lease->part_count < lease->count &&
           lease_take_part(pool, lease)) {
    }
    lease_take_shares(pool, lease);
    return true;
}

bool lease_grant_all(struct pool *pool, struct pool_lease *const *leases, unsigned count,
                     const struct hold *hold, struct plan_set *ret)
{
    CLEANUP(freep) struct plan_exclusion **own =
        xcalloc(count + 1, sizeof(struct plan_exclusion *));
    bool fits = true;
    unsigned begun = 0;

    while (fits && begun < count) {
        fits = begin_grant(pool, leases[begun], hold, &own[begun]);
        begun++;
    }
    fits = fits && leases_take_together(pool, leases, count, ret);
    for (unsigned i = 0; i < begun; i++) {
        lease_count_slots(leases[i], false);
        lease_unbind(leases[i]);
        free(own[i]);
        fits = fits && leases[i]->part_count == leases[i]->count;
    }
    for (unsigned i = 0; fits && i < count; i++) {
        leases[i]->compute_slots = lease_slots_of_parts(leases[i]);
        lease_note_promise(leases[i], hold);
    }
    fits = fits && !leases_are_over_quota(pool, leases, count);
    for (unsigned i = count; !fits && i-- > 0;) {
        lease_ungrant(pool, leases[i]);
    }
    return fits;
}
