/* Finding places for a lease.
 *
 * Every part is looked for in this order: a whole GPU if that is what is wanted; an idle slice of
 * the very profile that nobody else has used (no driver call at all); room for one more compute
 * instance in a slice of the same tenant; a place to cut, which plan/ chooses (also on a GPU whose
 * MIG mode is then switched on).  All parts are arranged in the pool's own books first, so that the
 * second part sees the first; if one finds no place, all is taken back, and as no job has been
 * issued yet, nothing has happened.
 *
 * A hold keeps the slots that the head of the queue waits for: they are left alone by everybody
 * else, unless it is known that they will be free again in time.
 *
 * While places are looked for, the lease's ask is bound (bind(), unbind()): models on which it would
 * be over its tenant's quota are left out of it, and places that are kept for others excluded. */
#include "pool/internal.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool lease_allows_gpu(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    return !lease->model || strcasestr(gpu->info.name, lease->model);
}

/* The profile that takes all of a GPU; MIG_PROFILE_NONE if the table has none. */
static int full_profile(const struct mig_geometry *g)
{
    for (int p = 0; p < g->profile_count; p++) {
        const struct mig_profile *q = &g->profiles[p];
        if (q->slices == g->slices && q->size == g->slots && !strpbrk(q->name, "+-")) {
            return p;
        }
    }
    return MIG_PROFILE_NONE;
}

int lease_profile_on(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    return gpu->class_id < 0 ? MIG_PROFILE_NONE : lease->ask.profile[gpu->class_id];
}

int lease_resolve(struct pool *pool, struct pool_lease *lease, struct error *err)
{
    int rc = 0, found = 0;

    plan_ask_init(&lease->ask);
    if (lease->want.kind == MIG_WANT_GPU) {
        for (int c = 0; c < pool->class_count; c++) {
            lease->ask.profile[c] = (int8_t)full_profile(pool->classes[c].geometry);
        }
    } else {
        rc = plan_ask_resolve(pool->plan, &lease->want, &lease->ask, err);
    }
    for (int c = 0; rc == 0 && c < pool->class_count; c++) {
        if (lease->model && !strcasestr(pool->classes[c].model, lease->model)) {
            lease->ask.profile[c] = MIG_PROFILE_NONE;
        }
        found += lease->ask.profile[c] >= 0;
    }
    if (rc == 0 && !found && lease->want.kind != MIG_WANT_GPU) {
        return err_set(err, ENOENT, "no GPU here whose name has '%s' offers %s",
                       lease->model ? lease->model : "", lease->profile);
    }
    return rc;
}

int lease_ci_profile_on(const struct pool_lease *lease, const struct pool_gpu *gpu, int profile)
{
    int resolved = MIG_PROFILE_NONE, ci = MIG_PROFILE_NONE;

    /* Without a "1c." in what is asked for it is all of the slice. */
    if (!lease->want.compute_instance_slices ||
        mig_want_resolve(&lease->want, gpu->geometry, &resolved, &ci, NULL) < 0 ||
        resolved != profile) {
        const struct mig_profile *p = &gpu->geometry->profiles[profile];
        return mig_compute_by_slices(p, p->slices);
    }
    return ci;
}

void lease_add_part(struct pool_lease *lease, struct pool_gpu *gpu, struct pool_slice *slice,
                    unsigned ci)
{
    if (!lease->part) {
        lease->part = xcalloc(lease->count, sizeof(*lease->part));
    }
    lease->part[lease->part_count++] = (struct pool_part){.gpu = gpu, .slice = slice, .ci = ci};
}

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

static uint16_t held_mask(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    for (size_t i = 0; i < lease->ask.excluded_count; i++) {
        if (lease->ask.excluded[i].gpu_id == gpu->id) {
            return lease->ask.excluded[i].mask;
        }
    }
    return 0;
}

/* Law 6: only its last user, or nobody yet. */
static bool may_reuse(const struct pool_lease *lease, const struct pool_slice *s)
{
    return !s->processes && !s->job && (!s->tenant[0] || !strcmp(s->tenant, lease->tenant->name));
}

/* --- the kinds of places, best first ---------------------------------------------------------- */

/* Nothing stands, runs or is planned on it. */
static bool is_free_whole(const struct pool_gpu *gpu)
{
    bool is_known = gpu->is_managed && gpu->health == POOL_HEALTH_OK && gpu->is_scanned &&
                    !gpu->wants_scan;
    bool is_plain = !gpu->info.is_mig_enabled && !gpu->info.is_mig_pending && !gpu->mode_job &&
                    !gpu->has_mode_wish;

    return is_known && is_plain && !gpu->lease && !gpu->processes && !gpu->slice_count;
}

static bool take_whole_gpu(struct pool *pool, struct pool_lease *lease)
{
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        struct pool_gpu *gpu = pool->gpus[i];
        if (is_free_whole(gpu) && lease_allows_gpu(lease, gpu) && !held_mask(lease, gpu) &&
            lease_slots_on(pool, lease, gpu->class_id) <= lease_quota_left(pool, lease)) {
            gpu->lease = lease->id;
            lease_add_part(lease, gpu, NULL, 0);
            gpu_changed(pool, gpu);
            return true;
        }
    }
    return false;
}

static bool has_one_free_ci(const struct pool_slice *s)
{
    return s->ci_count == 1 && s->ci[0].is_settled && !s->ci[0].lease;
}

/* Is the one compute instance in it what makes the slice what the lease wants? */
static bool is_as_wanted(const struct pool_lease *lease, const struct pool_slice *s)
{
    return has_one_free_ci(s) &&
           s->ci[0].profile == lease_ci_profile_on(lease, s->gpu, s->profile);
}

struct idle_choice {
    struct pool_slice *slice;
    double score;
};

/* All of the class that the lease may have as they are.  plan/ knows what most of them cost: that
 * depends on what the GPU looks like only. */
static void look_at_idle(const struct pool *pool, const struct pool_lease *lease, int class_id,
                         struct idle_choice *best)
{
    int profile = lease->ask.profile[class_id];
    const struct pool_slice_list *idle = &pool->classes[class_id].idle[profile];
    struct pool_slice *s = TAILQ_FIRST(idle);
    int ci = s ? lease_ci_profile_on(lease, s->gpu, profile) : MIG_PROFILE_NONE;

    TAILQ_FOREACH(s, idle, idle_link)
    {
        if (!may_reuse(lease, s) || !has_one_free_ci(s) || s->ci[0].profile != ci ||
            !gpu_is_usable(pool, s->gpu, NULL) || held_mask(lease, s->gpu) & slice_mask(s)) {
            continue;
        }
        struct mig_slice m = {(uint8_t)profile, s->start};
        double score = plan_score(pool->plan, &lease->ask, s->gpu->id, m);
        /* The order of the list depends on what was tried and taken back. */
        if (!best->slice || score < best->score ||
            (score == best->score && s->id < best->slice->id)) {
            *best = (struct idle_choice){s, score};
        }
    }
}

static struct pool_slice *best_idle(const struct pool *pool, const struct pool_lease *lease)
{
    struct idle_choice best = {0};

    for (int c = 0; c < pool->class_count; c++) {
        if (lease->ask.profile[c] >= 0) {
            look_at_idle(pool, lease, c, &best);
        }
    }
    return best.slice;
}

static void take_as_it_is(struct pool *pool, struct pool_lease *lease, struct pool_slice *s)
{
    s->ci[0].lease = lease->id;
    lease_add_part(lease, s->gpu, s, 0);
    slice_set_state(pool, s, POOL_SLICE_LEASED);
}

static bool take_idle(struct pool *pool, struct pool_lease *lease)
{
    struct pool_slice *s = best_idle(pool, lease);

    if (s) {
        take_as_it_is(pool, lease, s);
    }
    return s;
}

/* Compute slices of the slice that no compute instance has. */
static unsigned free_compute(const struct pool_slice *s)
{
    unsigned used = 0;

    for (unsigned c = 0; c < s->ci_count; c++) {
        used += s->ci[c].compute_slots;
    }
    return used < s->compute_slots ? s->compute_slots - used : 0;
}

/* A free compute instance of the wanted profile in the slice, made if there is room; -1 none. */
static int ci_in_slice(const struct pool_lease *lease, struct pool_slice *s)
{
    int profile = lease_ci_profile_on(lease, s->gpu, s->profile);

    for (unsigned c = 0; c < s->ci_count; c++) {
        if (!s->ci[c].lease && s->ci[c].is_settled && s->ci[c].profile == profile) {
            return (int)c;
        }
    }
    if (profile < 0 || s->ci_count == MIG_MAX_COMPUTE ||
        s->gpu->geometry->profiles[s->profile].compute[profile].slices > free_compute(s)) {
        return -1;
    }
    slice_add_ci(s, profile, 0);
    return (int)s->ci_count - 1;
}

/* May the lease have a compute instance in this slice?  Slices are shared within one tenant, never
 * between two. */
static bool may_share(const struct pool *pool, const struct pool_lease *lease,
                      const struct pool_slice *s)
{
    bool is_in_use = s->state == POOL_SLICE_LEASED || s->state == POOL_SLICE_CREATING;
    const struct pool_lease *holder = slice_holder(pool, s);
    /* A slice has its tenant's name only when the first lease of it is complete. */
    const char *user = s->tenant[0] || !holder ? s->tenant : holder->tenant->name;
    bool is_own = is_in_use ? !strcmp(user, lease->tenant->name)
                            : s->state == POOL_SLICE_IDLE && may_reuse(lease, s);

    return is_own && s->profile == lease_profile_on(lease, s->gpu) && s->profile >= 0 &&
           gpu_is_usable(pool, s->gpu, NULL) && !(held_mask(lease, s->gpu) & slice_mask(s));
}

static bool take_ci_in(struct pool *pool, struct pool_lease *lease, struct pool_slice *s)
{
    int ci = may_share(pool, lease, s) ? ci_in_slice(lease, s) : -1;

    if (ci < 0) {
        return false;
    }
    s->ci[ci].lease = lease->id;
    lease_add_part(lease, s->gpu, s, (unsigned)ci);
    if (s->state == POOL_SLICE_IDLE) {
        slice_set_state(pool, s, POOL_SLICE_LEASED);
    }
    pool_mark_slice(pool, s);
    gpu_changed(pool, s->gpu);
    return true;
}

/* Only for "1c." requests. */
static bool take_compute_instance(struct pool *pool, struct pool_lease *lease)
{
    for (unsigned i = 0; lease->want.compute_instance_slices && i < pool->gpu_count; i++) {
        struct pool_gpu *gpu = pool->gpus[i];
        for (unsigned k = 0; k < gpu->slice_count; k++) {
            if (take_ci_in(pool, lease, gpu->slices[k])) {
                return true;
            }
        }
    }
    return false;
}

/* Idle slices that the new one cannot stand beside must go: those on its slots, and those that hold
 * engines which it needs (the plan counts only slots). */
static void doom_for(struct pool *pool, const struct pool_lease *lease,
                     const struct pool_slice *s)
{
    struct pool_gpu *gpu = s->gpu;
    struct mig_use use = gpu_use_of_staying(gpu, s);

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        struct pool_slice *old = gpu->slices[i];
        struct mig_use with = use;
        if (old->state != POOL_SLICE_IDLE || !slice_is_spare(old)) {
            continue;
        }
        slice_add_to_use(old, &with);
        if (mig_fits(gpu->geometry, &with, s->profile, s->start)) {
            use = with;
        } else {
            slice_doom(pool, old, lease->id, 0);
        }
    }
}

/* plan/ hears of what has changed since the last look. */
static void refresh_stale(struct pool *pool)
{
    struct pool_gpu *gpu = NULL;

    TAILQ_FOREACH(gpu, &pool->pump, pump_link)
    {
        if (gpu->is_plan_stale) {
            gpu_refresh_plan(pool, gpu);
        }
    }
}

/* One more part, cut there. */
static bool cut_at(struct pool *pool, struct pool_lease *lease, struct pool_gpu *gpu,
                   struct mig_slice where)
{
    struct pool_slice *s = slice_new(pool, gpu, where.profile, where.start);

    if (!s) {
        return false;
    }
    s->lease = lease->id;
    if (lease->want.compute_instance_slices) {
        /* So that the next part of the same tenant finds it. */
        snprintf(s->tenant, sizeof(s->tenant), "%s", lease->tenant->name);
    }
    slice_set_state(pool, s, POOL_SLICE_CREATING);
    slice_add_ci(s, lease_ci_profile_on(lease, gpu, s->profile), lease->id);
    lease_add_part(lease, gpu, s, 0);
    doom_for(pool, lease, s);
    return true;
}

static bool take_cut(struct pool *pool, struct pool_lease *lease)
{
    struct plan_spot spot;

    return plan_place(pool->plan, &lease->ask, &spot) == 0 &&
           cut_at(pool, lease, pool->gpus[spot.gpu_id], spot.slice);
}

static bool take_part(struct pool *pool, struct pool_lease *lease)
{
    refresh_stale(pool);
    if (lease->want.kind == MIG_WANT_GPU && take_whole_gpu(pool, lease)) {
        return true;
    }
    if (take_idle(pool, lease) || take_compute_instance(pool, lease)) {
        return true;
    }
    return take_cut(pool, lease);
}

/* What the lease takes of its tenant's quota, now that its parts are known. */
static unsigned slots_of_parts(const struct pool_lease *lease)
{
    unsigned slots = 0;

    for (unsigned i = 0; i < lease->part_count; i++) {
        const struct pool_part *p = &lease->part[i];
        slots += p->slice ? p->slice->ci[p->ci].compute_slots
                          : (p->gpu->geometry ? p->gpu->geometry->slices : 1);
    }
    return slots;
}

/* --- several parts at once -------------------------------------------------------------------- */

static bool is_shared(const struct pool_lease *lease)
{
    return lease->want.compute_instance_slices;
}

/* Are its parts slices that are to be placed together? */
static bool is_gang(const struct pool_lease *lease)
{
    return lease->want.kind != MIG_WANT_GPU && lease->count > 1;
}

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

/* The slice that stands there, when the lease may have it as it is. */
static struct pool_slice *reusable_at(const struct pool *pool, const struct pool_lease *lease,
                                      unsigned gpu_id, struct mig_slice where)
{
    const struct pool_gpu *gpu = pool->gpus[gpu_id];

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        struct pool_slice *s = gpu->slices[i];
        if (s->start == where.start && s->profile == where.profile &&
            s->state == POOL_SLICE_IDLE && may_reuse(lease, s) && is_as_wanted(lease, s)) {
            return s;
        }
    }
    return NULL;
}

static bool may_keep(const void *pool, const void *lease, uint32_t gpu, struct mig_slice where)
{
    return reusable_at(pool, lease, gpu, where);
}

/* Leases that may have each other's slices have one owner: the first of them. */
static const void *owner_of(struct pool_lease *const *leases, unsigned index)
{
    for (unsigned i = 0; i < index && !is_shared(leases[index]); i++) {
        if (leases[i]->tenant == leases[index]->tenant && !is_shared(leases[i])) {
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
        bool is_cut = cut_at(pool, lease, pool->gpus[spot->gpu_id], spot->slice);
        while (is_cut && is_shared(lease) && lease->part_count < lease->count &&
               take_compute_instance(pool, lease)) {
        }
        return is_cut;
    }
    s = reusable_at(pool, lease, spot->gpu_id, spot->slice);
    if (s) {
        take_as_it_is(pool, lease, s);
        while (is_shared(lease) && lease->part_count < lease->count &&
               take_compute_instance(pool, lease)) {
        }
    }
    return s;
}

/* Places for all parts that the leases still lack, together; plan/ chooses them. */
static bool take_together(struct pool *pool, struct pool_lease *const *leases, unsigned count,
                          struct plan_set *ret)
{
    struct plan_set_ask asks[PLAN_SET_MAX];
    struct plan_set_spot spots[PLAN_SET_MAX];
    unsigned lease_of[PLAN_SET_MAX], n = 0;
    struct plan_keep keep = {may_keep, pool};

    refresh_stale(pool);
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

/* What slices of its tenant have room for without a driver call, or with one for the compute
 * instance alone. */
static void take_shares(struct pool *pool, struct pool_lease *lease)
{
    while (is_shared(lease) && lease->part_count < lease->count &&
           (take_idle(pool, lease) || take_compute_instance(pool, lease))) {
    }
}

/* --- grants ----------------------------------------------------------------------------------- */

/* What the lease may not have now is left out while a place for it is looked for. */
static void bind(struct pool *pool, struct pool_lease *lease, const struct hold *hold)
{
    memcpy(lease->resolved, lease->ask.profile, sizeof(lease->resolved));
    lease->ask.now_ms = pool->now_ms;
    lease->ask.end_ms = lease->ttl_ms ? pool->now_ms + lease->ttl_ms : 0;
    lease_bind_quota(pool, lease);
    bind_hold(pool, lease, hold);
}

static void unbind(struct pool_lease *lease)
{
    lease->ask.excluded = NULL;
    lease->ask.excluded_count = 0;
    memcpy(lease->ask.profile, lease->resolved, sizeof(lease->resolved));
}

/* Whoever stands in what is kept for the head was let in because it ends in time. */
static void note_promise(struct pool_lease *lease, const struct hold *hold)
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
    bind(pool, lease, hold);
    if (is_gang(lease)) {
        take_shares(pool, lease);
        (void)take_together(pool, &lease, 1, &pool->last_set);
    }
    while (!is_gang(lease) && lease->part_count < lease->count && take_part(pool, lease)) {
    }
    bool is_complete = lease->part_count == lease->count;
    if (is_complete) {
        lease->compute_slots = slots_of_parts(lease);
        note_promise(lease, hold);
    } else {
        lease_ungrant(pool, lease);
    }
    unbind(lease);
    return is_complete ? GRANT_DONE : GRANT_BLOCKED;
}

/* Bound by what is of this lease only: the pool has one list for what is kept for others. */
static struct plan_exclusion *bind_alone(struct pool *pool, struct pool_lease *lease,
                                         const struct hold *hold)
{
    struct plan_exclusion *own = NULL;

    bind(pool, lease, hold);
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
           take_part(pool, lease)) {
    }
    take_shares(pool, lease);
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
    fits = fits && take_together(pool, leases, count, ret);
    for (unsigned i = 0; i < begun; i++) {
        lease_count_slots(leases[i], false);
        unbind(leases[i]);
        free(own[i]);
        fits = fits && leases[i]->part_count == leases[i]->count;
    }
    for (unsigned i = 0; fits && i < count; i++) {
        leases[i]->compute_slots = slots_of_parts(leases[i]);
        note_promise(leases[i], hold);
    }
    fits = fits && !leases_are_over_quota(pool, leases, count);
    for (unsigned i = count; !fits && i-- > 0;) {
        lease_ungrant(pool, leases[i]);
    }
    return fits;
}

void moves_refresh_plan(struct pool *pool)
{
    refresh_stale(pool);
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
           (lease->count == 1 || (is_gang(lease) && !is_shared(lease)));
}

bool lease_find_moves(struct pool *pool, struct pool_lease *lease, const struct hold *hold,
                      struct plan_set_moves *ret)
{
    CLEANUP(freep) struct plan_set_moves *found = xcalloc(1, sizeof(*found));
    int most = (int)pool->settings.max_moves;

    bind(pool, lease, hold);
    moves_refresh_plan(pool);
    if (lease->count > 1) {
        (void)plan_find_set_moves(pool->plan, &lease->ask, lease->count, most, found);
    } else if (plan_find_moves(pool->plan, &lease->ask, most, &found->moves) == 0) {
        found->spots[found->spot_count++] = found->moves.spot;
    }
    unbind(lease);
    bool is_found = found->spot_count && found->moves.count && is_worth(pool, lease, found);
    if (is_found) {
        *ret = *found;
    }
    return is_found;
}

struct pool_slice *lease_put(struct pool *pool, struct pool_lease *lease, struct pool_gpu *gpu,
                             int profile, unsigned start)
{
    struct pool_slice *s = NULL;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        s = gpu->slices[i];
        if (s->state == POOL_SLICE_IDLE && s->profile == profile && s->start == start &&
            slice_is_spare(s) && may_reuse(lease, s) && is_as_wanted(lease, s)) {
            s->ci[0].lease = lease->id;
            slice_set_state(pool, s, POOL_SLICE_LEASED);
            return s;
        }
    }
    s = slice_new(pool, gpu, profile, start);
    if (s) {
        s->lease = lease->id;
        slice_set_state(pool, s, POOL_SLICE_CREATING);
        slice_add_ci(s, lease_ci_profile_on(lease, gpu, profile), lease->id);
        doom_for(pool, lease, s);
    }
    return s;
}

/* One part of what lease_grant() arranged, back to what it was. */
static void undo_part(struct pool *pool, struct pool_lease *lease, struct pool_part *part)
{
    struct pool_slice *s = part->slice;

    if (!s) {
        part->gpu->lease = 0;
        gpu_changed(pool, part->gpu);
        return;
    }
    s->ci[part->ci].lease = 0;
    if (s->state == POOL_SLICE_CREATING && s->lease == lease->id && !s->job &&
        !slice_is_leased(s)) {
        slice_remove(pool, s); /* the last of its parts in there */
        return;
    }
    if (!s->ci[part->ci].is_settled) {
        slice_drop_ci(pool, s, part->ci);
    }
    if (s->state == POOL_SLICE_LEASED && !slice_is_leased(s)) {
        slice_set_state(pool, s, POOL_SLICE_IDLE);
    }
    gpu_changed(pool, s->gpu);
}

/* Has nothing else come to be planned in its place, or with its engines, while it was to go?  A move
 * may have been begun meanwhile. */
static bool may_stay(const struct pool_gpu *gpu, const struct pool_slice *s)
{
    struct mig_use use = gpu_use_of_staying(gpu, NULL);

    return mig_fits(gpu->geometry, &use, s->profile, s->start);
}

void lease_ungrant(struct pool *pool, struct pool_lease *lease)
{
    bool wanted_pass = pool->wants_queue_pass; /* nothing comes free by what has not happened */

    while (lease->part_count) {
        struct pool_part *part = &lease->part[--lease->part_count];
        struct pool_gpu *gpu = part->gpu;
        undo_part(pool, lease, part);
        for (unsigned i = 0; i < gpu->slice_count; i++) {
            struct pool_slice *s = gpu->slices[i];
            if (s->state == POOL_SLICE_DESTROYING && s->lease == lease->id && !s->job &&
                !s->tries && may_stay(gpu, s)) {
                s->lease = 0;
                slice_set_state(pool, s, POOL_SLICE_IDLE);
            }
        }
        gpu_refresh_plan(pool, gpu);
    }
    free(TAKE_PTR(lease->part));
    lease->ahead_of = 0;
    pool->wants_queue_pass = wanted_pass;
}
