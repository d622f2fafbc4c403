/* A place for one part of a lease, and taking it back.
 *
 * It is looked for in this order: a whole GPU if that is what is wanted; an idle slice of the very
 * profile that nobody else has used (no driver call at all); room for one more compute instance in
 * a slice of the same tenant; a place to cut, which plan/ chooses (also on a GPU whose MIG mode is
 * then switched on).  All of it happens in the pool's own books: as long as no job has been issued,
 * what is taken back has not happened, and leaves no trace. */
#include "pool/internal.h"
#include <stdio.h>
#include <string.h>

void lease_add_part(struct pool_lease *lease, struct pool_gpu *gpu, struct pool_slice *slice,
                    unsigned ci)
{
    if (!lease->part) {
        lease->part = xcalloc(lease->count, sizeof(*lease->part));
    }
    lease->part[lease->part_count++] = (struct pool_part){.gpu = gpu, .slice = slice, .ci = ci};
}

/* What of the GPU it has to leave alone. */
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

/* --- whole GPUs ------------------------------------------------------------------------------- */

/* Nothing stands, runs or is planned on it. */
static bool is_free_whole(const struct pool_gpu *gpu)
{
    bool is_known = gpu->is_managed && gpu->health == POOL_HEALTH_OK && gpu_is_read(gpu);
    bool is_plain = !gpu->info.is_mig_enabled && !gpu->info.is_mig_pending && !gpu->mode_job &&
                    !gpu->has_mode_wish;

    return is_known && is_plain && !gpu->lease && !gpu->processes && !gpu->slice_count;
}

/* One that cannot be cut comes first: it is of no use for anything else. */
static struct pool_gpu *find_whole(const struct pool *pool, const struct pool_lease *lease)
{
    struct pool_gpu *found = NULL;

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        struct pool_gpu *gpu = pool->gpus[i];
        if (is_free_whole(gpu) && lease_allows_gpu(lease, gpu) && !held_mask(lease, gpu) &&
            lease_slots_on(pool, lease, gpu->class_id) <= lease_quota_left(pool, lease) &&
            (!found || (found->info.is_mig_capable && !gpu->info.is_mig_capable))) {
            found = gpu;
        }
    }
    return found;
}

static bool take_whole_gpu(struct pool *pool, struct pool_lease *lease)
{
    struct pool_gpu *gpu = find_whole(pool, lease);

    if (gpu) {
        gpu->lease = lease->id;
        lease_add_part(lease, gpu, NULL, 0);
        gpu_changed(pool, gpu);
    }
    return gpu != NULL;
}

/* --- idle slices ------------------------------------------------------------------------------ */

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

struct pool_slice *lease_idle_at(const struct pool *pool, const struct pool_lease *lease,
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

void lease_take_idle(struct pool *pool, struct pool_lease *lease, struct pool_slice *s)
{
    s->ci[0].lease = lease->id;
    lease_add_part(lease, s->gpu, s, 0);
    slice_set_state(pool, s, POOL_SLICE_LEASED);
}

static bool take_best_idle(struct pool *pool, struct pool_lease *lease)
{
    struct pool_slice *s = best_idle(pool, lease);

    if (s) {
        lease_take_idle(pool, lease, s);
    }
    return s;
}

/* --- compute instances in a shared slice ------------------------------------------------------ */

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

bool lease_take_share(struct pool *pool, struct pool_lease *lease)
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

void lease_take_shares(struct pool *pool, struct pool_lease *lease)
{
    while (lease_is_shared(lease) && lease->part_count < lease->count &&
           (take_best_idle(pool, lease) || lease_take_share(pool, lease))) {
    }
}

/* --- slices to come --------------------------------------------------------------------------- */

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

void pool_refresh_plan(struct pool *pool)
{
    struct pool_gpu *gpu = NULL;

    TAILQ_FOREACH(gpu, &pool->pump, pump_link)
    {
        if (gpu->is_plan_stale) {
            gpu_refresh_plan(pool, gpu);
        }
    }
}

bool lease_take_cut_at(struct pool *pool, struct pool_lease *lease, struct pool_gpu *gpu,
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

static bool take_best_cut(struct pool *pool, struct pool_lease *lease)
{
    struct plan_spot spot;

    return plan_place(pool->plan, &lease->ask, &spot) == 0 &&
           lease_take_cut_at(pool, lease, pool->gpus[spot.gpu_id], spot.slice);
}

bool lease_take_part(struct pool *pool, struct pool_lease *lease)
{
    pool_refresh_plan(pool);
    if (lease->want.kind == MIG_WANT_GPU && take_whole_gpu(pool, lease)) {
        return true;
    }
    if (take_best_idle(pool, lease) || lease_take_share(pool, lease)) {
        return true;
    }
    return take_best_cut(pool, lease);
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

unsigned lease_slots_of_parts(const struct pool_lease *lease)
{
    unsigned slots = 0;

    for (unsigned i = 0; i < lease->part_count; i++) {
        const struct pool_part *p = &lease->part[i];
        slots += p->slice ? p->slice->ci[p->ci].compute_slots
                          : (p->gpu->geometry ? p->gpu->geometry->slices : 1);
    }
    return slots;
}

/* --- back again ------------------------------------------------------------------------------- */

/* One part of what was arranged, back to what it was. */
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

/* Has nothing else come to be planned in its place, or with its engines, while it was to go?  A
 * move may have been begun meanwhile. */
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
