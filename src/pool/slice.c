/* Slices, and the GPUs that carry them.
 *
 * Nothing here talks to a driver.  A slice that is to come is put on the GPU's list as CREATING,
 * one that is to go is marked DESTROYING, and gpu_pump() turns what is ready into jobs: a slice is
 * destroyed as soon as it is marked, and made as soon as nothing that still exists stands on its
 * slots or holds its engines.  So the order of a re-cut follows from the state, also
 * after a crash. */
#include "pool/internal.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

#define SPARE_TRIES 3              /* then it is no longer counted as room */
#define COOLDOWN_FIRST_MS 1000
#define COOLDOWN_MOST_MS 60000

struct pool_slice *slice_new(struct pool *pool, struct pool_gpu *gpu, int profile, unsigned start)
{
    if (gpu->slice_count == POOL_GPU_SLICES_MAX) {
        return NULL;
    }
    struct pool_slice *s = xcalloc(1, sizeof(*s));
    s->id = pool->next_slice++;
    s->gpu = gpu;
    s->profile = profile;
    s->start = (uint8_t)start;
    s->gi_id = MIG_NO_ID;
    if (profile >= 0) {
        const struct mig_profile *p = &gpu->geometry->profiles[profile];
        s->profile_id = p->id;
        s->size = p->size;
        s->compute_slots = p->slices;
        text_copy(s->profile_name, sizeof(s->profile_name), p->name);
    }
    unsigned at = gpu->slice_count++;
    while (at && gpu->slices[at - 1]->start > start) {
        gpu->slices[at] = gpu->slices[at - 1];
        at--;
    }
    gpu->slices[at] = s;
    gpu_changed(pool, gpu);
    return s;
}

static void unlist_idle(struct pool *pool, struct pool_slice *s)
{
    if (s->is_listed_idle) {
        TAILQ_REMOVE(&pool->classes[s->gpu->class_id].idle[s->profile], s, idle_link);
        s->is_listed_idle = false;
    }
}

/* Keeps the lists of idle slices by profile, where a request looks for an exact match. */
static void relist_idle(struct pool *pool, struct pool_slice *s)
{
    bool is_offered = s->state == POOL_SLICE_IDLE && s->profile >= 0 && s->gpu->class_id >= 0;

    if (!is_offered) {
        unlist_idle(pool, s);
    } else if (!s->is_listed_idle) {
        TAILQ_INSERT_TAIL(&pool->classes[s->gpu->class_id].idle[s->profile], s, idle_link);
        s->is_listed_idle = true;
    }
}

void slice_learn_profile(struct pool *pool, struct pool_slice *s)
{
    const struct mig_geometry *geometry = s->gpu->geometry;

    s->profile = mig_profile_by_id(geometry, s->profile_id);
    if (s->profile < 0) {
        return;
    }
    const struct mig_profile *p = &geometry->profiles[s->profile];
    text_copy(s->profile_name, sizeof(s->profile_name), p->name);
    s->compute_slots = p->slices;
    for (unsigned c = 0; c < s->ci_count; c++) {
        for (int i = 0; i < p->compute_count; i++) {
            if (!strcmp(p->compute[i].name, s->ci[c].name)) {
                s->ci[c].profile = i;
            }
        }
    }
    relist_idle(pool, s);
}

void slice_remove(struct pool *pool, struct pool_slice *slice)
{
    struct pool_gpu *gpu = slice->gpu;
    unsigned at = 0;

    unlist_idle(pool, slice);
    if (slice->is_dirty) {
        TAILQ_REMOVE(&pool->dirty_slices, slice, dirty_link);
    }
    if (slice->is_recorded) {
        pool_mark_gone(pool, POOL_RECORD_SLICE, slice->id);
    }
    while (gpu->slices[at] != slice) {
        at++;
    }
    gpu->slice_count--;
    memmove(&gpu->slices[at], &gpu->slices[at + 1],
            (gpu->slice_count - at) * sizeof(struct pool_slice *));
    free(slice);
    gpu_changed(pool, gpu);
    pool->wants_queue_pass = true;
}

void slice_set_state(struct pool *pool, struct pool_slice *slice, enum pool_slice_state state)
{
    slice->state = state;
    relist_idle(pool, slice);
    pool_mark_slice(pool, slice);
    gpu_changed(pool, slice->gpu);
}

struct pool_slice *slice_by_id(struct pool_gpu *gpu, uint64_t id)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        if (gpu->slices[i]->id == id) {
            return gpu->slices[i];
        }
    }
    return NULL;
}

bool slice_is_leased(const struct pool_slice *slice)
{
    for (unsigned c = 0; c < slice->ci_count; c++) {
        if (slice->ci[c].lease) {
            return true;
        }
    }
    return false;
}

bool slice_is_spare(const struct pool_slice *slice)
{
    if (slice->profile < 0) {
        return false;
    }
    if (slice->state == POOL_SLICE_IDLE) {
        return !slice->processes && !slice->job && !slice->operation;
    }
    return slice->state == POOL_SLICE_DESTROYING && slice->tries < SPARE_TRIES;
}

void slice_add_to_use(const struct pool_slice *slice, struct mig_use *use)
{
    /* One that comes may stand over one that does not go. */
    if (slice->profile < 0 || use->mask & slice_mask(slice)) {
        mig_use_block(use, slice_mask(slice));
    } else {
        mig_use_add(slice->gpu->geometry, use, slice->profile, slice->start);
    }
}

void slice_add_ci(struct pool_slice *slice, int ci_profile, uint64_t lease)
{
    struct pool_ci *ci = &slice->ci[slice->ci_count++];
    const struct mig_profile *p = &slice->gpu->geometry->profiles[slice->profile];

    memset(ci, 0, sizeof(*ci));
    ci->id = MIG_NO_ID;
    ci->profile = ci_profile;
    ci->lease = lease;
    ci->compute_slots = p->slices;
    text_copy(ci->name, sizeof(ci->name), p->name);
    if (ci_profile >= 0) {
        ci->compute_slots = p->compute[ci_profile].slices;
        text_copy(ci->name, sizeof(ci->name), p->compute[ci_profile].name);
    }
}

/* Leases name compute instances by their index: those behind the dropped one are told. */
static void renumber_ci(struct pool *pool, const struct pool_slice *slice, unsigned index)
{
    struct pool_lease *lease = pool_lease_get(pool, slice->ci[index].lease);

    for (unsigned i = 0; lease && i < lease->part_count; i++) {
        if (lease->part[i].slice == slice && lease->part[i].ci == index + 1) {
            lease->part[i].ci = index;
            pool_mark_lease(pool, lease);
            return;
        }
    }
}

void slice_drop_ci(struct pool *pool, struct pool_slice *slice, unsigned index)
{
    slice->ci_count--;
    memmove(&slice->ci[index], &slice->ci[index + 1],
            (slice->ci_count - index) * sizeof(slice->ci[0]));
    for (unsigned c = index; c < slice->ci_count; c++) {
        renumber_ci(pool, slice, c);
    }
}

/* A compute instance as the driver shows it, for one that we did not ask for. */
static void learn_ci(const struct pool_slice *s, struct pool_ci *ci,
                     const struct mig_compute *found)
{
    const struct mig_profile *p = s->profile >= 0 ? &s->gpu->geometry->profiles[s->profile] : NULL;

    ci->id = found->id;
    ci->is_settled = true;
    text_copy(ci->mig_uuid, sizeof(ci->mig_uuid), found->mig_uuid);
    if (ci->name[0]) {
        return;
    }
    ci->profile = MIG_PROFILE_NONE;
    ci->compute_slots = found->size ? found->size : s->compute_slots;
    text_copy(ci->name, sizeof(ci->name), s->profile_name);
    for (int i = 0; p && i < p->compute_count; i++) {
        if (p->compute[i].id == found->profile_id) {
            ci->profile = i;
            ci->compute_slots = p->compute[i].slices;
            text_copy(ci->name, sizeof(ci->name), p->compute[i].name);
        }
    }
}

/* The one that was asked for and has come: of this profile if there is one. */
static unsigned awaited_ci(const struct pool_slice *s, const struct mig_compute *found)
{
    const struct mig_profile *p = s->profile >= 0 ? &s->gpu->geometry->profiles[s->profile] : NULL;
    unsigned best = s->ci_count;

    for (unsigned c = s->ci_count; c-- > 0;) {
        const struct pool_ci *ci = &s->ci[c];
        bool is_alike = p && ci->profile >= 0 && p->compute[ci->profile].id == found->profile_id;
        if (!ci->is_settled && is_alike) {
            return c;
        }
        best = ci->is_settled ? best : c;
    }
    return best;
}

void slice_learn(struct pool *pool, struct pool_slice *slice, const struct mig_instance *found)
{
    slice->gi_id = found->gi_id;
    slice->processes = found->has_processes ? found->process_count : slice->processes;
    /* Settled ones keep their place, because leases name them by it; then come those that were
     * asked for and are new, then the unasked. */
    for (unsigned i = 0; i < found->ci_count; i++) {
        const struct mig_compute *f = &found->ci[i];
        unsigned c = 0;
        while (c < slice->ci_count && !(slice->ci[c].is_settled && slice->ci[c].id == f->id)) {
            c++;
        }
        if (c == slice->ci_count) {
            c = awaited_ci(slice, f);
        }
        if (c < MIG_MAX_COMPUTE) {
            if (c == slice->ci_count) {
                slice->ci_count++;
                memset(&slice->ci[c], 0, sizeof(slice->ci[c]));
            }
            learn_ci(slice, &slice->ci[c], f);
        }
    }
    pool_mark_slice(pool, slice);
    gpu_changed(pool, slice->gpu);
}

void slice_doom(struct pool *pool, struct pool_slice *slice, uint64_t lease, uint64_t operation)
{
    if (slice->operation && slice->operation != operation) {
        operation_progress(pool, slice->operation, "a slice of it had to go before it was done");
    }
    slice->lease = lease;
    slice->operation = operation;
    slice->tries = 0;
    slice->retry_at_ms = 0;
    slice->reason[0] = '\0';
    slice_set_state(pool, slice, POOL_SLICE_DESTROYING);
}

const char *slice_label(const struct pool_slice *slice, char buf[static 96])
{
    /* Start and size, as in every list. */
    snprintf(buf, 96, "%s at %u:%u of GPU %u", slice->profile_name, slice->start, slice->size,
             slice->gpu->info.index);
    return buf;
}

const struct pool_lease *slice_holder(const struct pool *pool, const struct pool_slice *slice)
{
    for (unsigned c = 0; c < slice->ci_count; c++) {
        if (slice->ci[c].lease) {
            return pool_find_lease(pool, slice->ci[c].lease);
        }
    }
    return NULL;
}

int64_t slice_until_ms(const struct pool *pool, const struct pool_slice *slice)
{
    int64_t until = 0;

    if (slice->state == POOL_SLICE_DESTROYING) {
        return pool->now_ms + slice->gpu->destroy_us / 1000 + 1;
    }
    for (unsigned c = 0; c < slice->ci_count; c++) {
        const struct pool_lease *l =
            slice->ci[c].lease ? pool_find_lease(pool, slice->ci[c].lease) : NULL;
        bool is_going = l && l->state == POOL_LEASE_RELEASING && l->retry_at_ms <= pool->now_ms;
        if (is_going && !slice->processes) {
            until = until > pool->now_ms + 1 ? until : pool->now_ms + 1; /* the driver is asked */
            continue;
        }
        if (l && l->ttl_ms == 0) {
            return 0;
        }
        int64_t end = l ? (l->expires_ms ? l->expires_ms : pool->now_ms + l->ttl_ms) : 0;
        until = end > until ? end : until;
    }
    /* Overdue: a process runs on it, and nobody knows how long. */
    return until > pool->now_ms ? until : 0;
}

/* --- GPUs ----------------------------------------------------------------------------------- */

/* In their order, so that what was only tried does not change who is pumped first. */
static void list_to_pump(struct pool *pool, struct pool_gpu *gpu)
{
    struct pool_gpu *after = TAILQ_LAST(&pool->pump, pool_gpu_list);

    while (after && after->id > gpu->id) {
        after = TAILQ_PREV(after, pool_gpu_list, pump_link);
    }
    if (after) {
        TAILQ_INSERT_AFTER(&pool->pump, after, gpu, pump_link);
    } else {
        TAILQ_INSERT_HEAD(&pool->pump, gpu, pump_link);
    }
}

void gpu_changed(struct pool *pool, struct pool_gpu *gpu)
{
    gpu->is_plan_stale = true;
    if (!gpu->wants_pump) {
        gpu->wants_pump = true;
        list_to_pump(pool, gpu);
    }
}

bool gpu_can_switch_on(const struct pool *pool, const struct pool_gpu *gpu)
{
    if (gpu->has_mode_wish) {
        return gpu->wants_mig; /* it is being done */
    }
    return !gpu->info.is_mig_enabled && !gpu->info.is_mig_pending && gpu->geometry &&
           gpu->info.is_resetless && gpu->mig_policy == POOL_MIG_ON_DEMAND && !gpu->processes &&
           gpu->cooldown_until_ms <= pool->now_ms;
}

/* Why it has no slices to offer, whatever happens on it; NULL if it has. */
static const char *mode_reason(const struct pool *pool, const struct pool_gpu *gpu)
{
    if (!gpu->info.is_mig_capable) {
        return "it cannot do MIG";
    }
    if (gpu->has_mode_wish && !gpu->wants_mig) {
        return "its MIG mode is being switched off";
    }
    if (gpu_can_switch_on(pool, gpu)) {
        return NULL;
    }
    if (!gpu->info.is_mig_enabled && gpu->info.is_mig_pending) {
        return "its MIG mode comes on with its next reset (nvidia-smi --gpu-reset, or a reboot)";
    }
    if (!gpu->geometry || !gpu->info.is_mig_enabled) {
        return gpu->processes ? "its MIG mode is off, and processes run on it"
                              : "its MIG mode is off";
    }
    return gpu->info.is_mig_pending ? NULL : "its MIG mode ends with the next reset";
}

bool gpu_is_usable(const struct pool *pool, const struct pool_gpu *gpu, const char **why)
{
    const char *reason = NULL;

    if (!gpu->is_managed) {
        reason = "it is not managed by tangram (see gpus: in the configuration)";
    } else if (gpu->health != POOL_HEALTH_OK) {
        reason = gpu->health_reason[0] ? gpu->health_reason : "the GPU does not answer";
    } else if (!gpu_is_read(gpu)) {
        reason = gpu->read_problem[0] ? gpu->read_problem : "it is still being read";
    } else if (gpu->lease) {
        reason = "it is leased whole";
    } else if (mode_reason(pool, gpu)) {
        reason = mode_reason(pool, gpu);
    } else if (gpu->cooldown_until_ms > pool->now_ms) {
        reason = "it rests after a failed driver call";
    }
    if (why) {
        *why = reason;
    }
    return !reason;
}

/* Has something that stays, or comes, a slot in common with this one that goes?  A foreign slice
 * may, when somebody has cut behind our back. */
static bool is_claimed(const struct pool_gpu *gpu, uint16_t mask)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        if (!slice_is_spare(gpu->slices[i]) && slice_mask(gpu->slices[i]) & mask) {
            return true;
        }
    }
    return false;
}

static bool is_movable(const struct pool *pool, const struct pool_slice *s)
{
    const struct pool_lease *lease = NULL;

    if (s->state != POOL_SLICE_LEASED || s->ci_count != 1 || s->job || s->profile < 0) {
        return false;
    }
    lease = pool_find_lease(pool, s->ci[0].lease);
    s->gpu->has_resting = s->gpu->has_resting || (lease && lease->move_rest_ms > pool->now_ms);
    return lease && move_is_possible(pool, lease);
}

/* Every move is one trouble; with objective priority it counts as what is moved. */
static float move_cost(const struct pool *pool, const struct pool_slice *s)
{
    const struct pool_lease *lease = pool_find_lease(pool, s->ci[0].lease);

    return lease && pool->settings.plan.objective == PLAN_PRIORITY
               ? (float)(s->size * lease_weight(lease)) : 1.0F;
}

/* When nobody is to have it any more; 0: nobody has said.  Unlike slice_until_ms() the same at
 * whatever time it is asked for, as long as nothing changes: plan/ keeps it. */
static int64_t slice_end_ms(const struct pool *pool, const struct pool_slice *slice)
{
    int64_t last = 0;

    for (unsigned c = 0; c < slice->ci_count; c++) {
        const struct pool_lease *l =
            slice->ci[c].lease ? pool_find_lease(pool, slice->ci[c].lease) : NULL;
        if (l && !l->ttl_ms) {
            return 0;
        }
        int64_t from = l && l->state == POOL_LEASE_CUTTING ? l->started_ms : pool->now_ms;
        int64_t end = l ? (l->expires_ms ? l->expires_ms : from + l->ttl_ms) : 0;
        last = end > last ? end : last;
    }
    return last;
}

/* When the last of what is in use ends; 0: of one of them nobody knows. */
static int64_t gpu_end_ms(const struct pool *pool, const struct pool_gpu *gpu)
{
    int64_t last = 0;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        if (!slice_is_spare(gpu->slices[i])) {
            int64_t end = slice_end_ms(pool, gpu->slices[i]);
            if (!end) {
                return 0;
            }
            last = end > last ? end : last;
        }
    }
    return last;
}

void gpu_refresh_plan(struct pool *pool, struct pool_gpu *gpu)
{
    struct plan_gpu view = {.is_usable = gpu_is_usable(pool, gpu, NULL)};

    gpu->is_plan_stale = false;
    gpu->has_resting = false;
    if (gpu->class_id < 0) {
        return;
    }
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        struct mig_slice m = {.profile = (uint8_t)s->profile, .start = s->start};
        if (slice_is_spare(s)) {
            /* Where another is to come already, the coming one counts. */
            if (!is_claimed(gpu, slice_mask(s))) {
                view.idle[view.idle_count++] = m;
            }
        } else {
            slice_add_to_use(s, &view.busy);
            if (is_movable(pool, s)) {
                view.movable[view.movable_count++] = (struct plan_movable){m, move_cost(pool, s)};
            }
        }
    }
    view.end_ms = plan_policy_looks_at_ends(pool->settings.plan.policy) ? gpu_end_ms(pool, gpu) : 0;
    plan_update_gpu(pool->plan, gpu->id, &view);
}

void gpu_cool_down(struct pool *pool, struct pool_gpu *gpu)
{
    unsigned shift = gpu->failures < 6 ? gpu->failures : 6;
    int64_t ms = COOLDOWN_FIRST_MS << shift;

    gpu->failures++;
    gpu->cooldown_until_ms = pool->now_ms + (ms < COOLDOWN_MOST_MS ? ms : COOLDOWN_MOST_MS);
    pool_add_timer(pool, gpu->cooldown_until_ms, TIMER_GPU, gpu->id);
    gpu_changed(pool, gpu);
}

void gpu_ask_mode(struct pool *pool, struct pool_gpu *gpu, bool is_enabled, uint64_t operation)
{
    gpu->has_mode_wish = true;
    gpu->wants_mig = is_enabled;
    gpu->mode_operation = operation;
    gpu_changed(pool, gpu);
}

void gpu_ask_scan(struct pool *pool, struct pool_gpu *gpu)
{
    if (!gpu->scan_job) {
        gpu->scan_job = pool_emit_job(pool, POOL_JOB_SCAN, gpu)->id;
        gpu->scans_again = false;
    }
}

/* --- the pump --------------------------------------------------------------------------------- */

static struct pool_job *emit_slice_job(struct pool *pool, enum pool_job_kind kind,
                                       struct pool_slice *s)
{
    struct pool_job *job = pool_emit_job(pool, kind, s->gpu);

    job->slice = s->id;
    job->profile_id = s->profile_id;
    job->start = s->start;
    job->size = s->size;
    s->job = job->id;
    return job;
}

/* How the driver room wants it: 0 is all of the slice. */
static uint8_t ci_slices(const struct pool_slice *s, const struct pool_ci *ci)
{
    return ci->compute_slots == s->compute_slots ? 0 : ci->compute_slots;
}

/* What exists on the GPU, as far as it stands in the way of something to come. */
static struct mig_use use_of_existing(const struct pool_gpu *gpu)
{
    struct mig_use use = {0};

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (s->state == POOL_SLICE_CREATING && !s->job) {
            continue;
        }
        slice_add_to_use(s, &use);
    }
    return use;
}

struct mig_use gpu_use_of_staying(const struct pool_gpu *gpu, const struct pool_slice *except)
{
    struct mig_use use = {0};

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (s == except || slice_is_spare(s)) {
            continue;
        }
        slice_add_to_use(s, &use);
    }
    return use;
}

static void pump_destroy(struct pool *pool, struct pool_slice *s)
{
    bool is_due = s->state == POOL_SLICE_DESTROYING || s->state == POOL_SLICE_QUARANTINED;

    if (!is_due || s->job || s->retry_at_ms > pool->now_ms || slice_is_leased(s)) {
        return;
    }
    struct pool_job *job = emit_slice_job(pool, POOL_JOB_DESTROY, s);
    job->is_bare = !s->ci_count; /* nothing else would tell it from somebody else's */
    for (unsigned c = 0; c < s->ci_count; c++) {
        if (s->ci[c].is_settled && s->ci[c].mig_uuid[0]) {
            text_copy(job->mig_uuid, sizeof(job->mig_uuid), s->ci[c].mig_uuid);
            break;
        }
    }
}

static void pump_create(struct pool *pool, struct pool_slice *s)
{
    bool is_due = s->state == POOL_SLICE_CREATING && !s->job && s->profile >= 0 &&
                  s->gpu->info.is_mig_enabled;

    if (!is_due) {
        return;
    }
    struct mig_use use = use_of_existing(s->gpu);
    if (mig_fits(s->gpu->geometry, &use, s->profile, s->start)) {
        struct pool_job *job = emit_slice_job(pool, POOL_JOB_CREATE, s);
        job->ci_slices = ci_slices(s, &s->ci[0]);
    }
}

static void pump_ci(struct pool *pool, struct pool_slice *s)
{
    if (s->job || (s->state != POOL_SLICE_IDLE && s->state != POOL_SLICE_LEASED)) {
        return;
    }
    for (unsigned c = 0; c < s->ci_count;) {
        if (s->ci[c].is_settled) {
            c++;
        } else if (!s->ci[c].lease && !s->operation) {
            slice_drop_ci(pool, s, c); /* who asked for it has gone */
            pool_mark_slice(pool, s);
        } else {
            struct pool_job *job = emit_slice_job(pool, POOL_JOB_CREATE_CI, s);
            job->ci_slices = ci_slices(s, &s->ci[c]);
            return;
        }
    }
}

/* Will the slices that stand against switching MIG off go by themselves? */
static bool is_emptying(const struct pool_gpu *gpu)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        if (gpu->slices[i]->state != POOL_SLICE_DESTROYING) {
            return false;
        }
    }
    return true;
}

static bool has_slice_to_come(const struct pool_gpu *gpu)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        if (gpu->slices[i]->state == POOL_SLICE_CREATING) {
            return true;
        }
    }
    return false;
}

/* The mode is switched on at once, and off when the last slice has gone. */
static void pump_mode(struct pool *pool, struct pool_gpu *gpu)
{
    if (!gpu->info.is_mig_enabled && !gpu->has_mode_wish && gpu_can_switch_on(pool, gpu) &&
        has_slice_to_come(gpu)) {
        gpu_ask_mode(pool, gpu, true, 0);
    }
    if (gpu->has_mode_wish && !gpu->mode_job && !gpu->wants_mig && !is_emptying(gpu)) {
        gpu->has_mode_wish = false;
        operation_progress(pool, gpu->mode_operation, "a slice that does not go keeps MIG on");
        pool->wants_queue_pass = true;
        gpu->is_plan_stale = true;
    }
    if (gpu->has_mode_wish && !gpu->mode_job && !gpu->lease &&
        (gpu->wants_mig || !gpu->slice_count)) {
        struct pool_job *job = pool_emit_job(pool, POOL_JOB_MIG_MODE, gpu);
        job->is_mig_enabled = gpu->wants_mig;
        gpu->mode_job = job->id;
    }
}

static void gpu_pump(struct pool *pool, struct pool_gpu *gpu)
{
    bool is_known = gpu_is_read(gpu);

    if (gpu->health == POOL_HEALTH_OK && !is_known && gpu->cooldown_until_ms <= pool->now_ms) {
        gpu_ask_scan(pool, gpu);
    }
    if (gpu->health == POOL_HEALTH_OK && is_known && !gpu->mode_job) {
        pump_mode(pool, gpu);
        for (unsigned i = 0; i < gpu->slice_count; i++) {
            pump_destroy(pool, gpu->slices[i]);
        }
        for (unsigned i = 0; i < gpu->slice_count; i++) {
            pump_create(pool, gpu->slices[i]);
            pump_ci(pool, gpu->slices[i]);
        }
    }
    if (gpu->is_plan_stale) {
        gpu_refresh_plan(pool, gpu);
    }
}

void gpu_pump_all(struct pool *pool)
{
    struct pool_gpu *gpu = NULL;

    while ((gpu = TAILQ_FIRST(&pool->pump))) {
        TAILQ_REMOVE(&pool->pump, gpu, pump_link);
        gpu->wants_pump = false;
        gpu_pump(pool, gpu);
    }
}
