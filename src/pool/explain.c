/* Answers to "why" and "what if".  Nothing here changes the pool for good: a preview arranges the
 * requests in the books exactly as lease_grant() would, looks, and takes everything back. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void explain_block(struct pool_explanation *ret, const struct pool_gpu *gpu,
                   const struct pool_slice *slice, const struct pool_lease *lease, const char *why)
{
    for (unsigned i = 0; i < ret->block_count; i++) {
        if (ret->block[i].gpu == gpu && ret->block[i].slice == slice) {
            return;
        }
    }
    if (ret->block_count < POOL_BLOCKS_MAX) {
        struct pool_block *b = &ret->block[ret->block_count++];
        *b = (struct pool_block){.gpu = gpu, .slice = slice, .lease = lease};
        text_copy(b->why, sizeof(b->why), why);
    }
}

static void describe_slice(const struct pool *pool, const struct pool_slice *s,
                           char buf[static 120])
{
    const struct pool_lease *l = slice_holder(pool, s);
    char when[32];

    switch (s->state) {
    case POOL_SLICE_LEASED:
    case POOL_SLICE_CREATING:
        if (l && l->state == POOL_LEASE_RELEASING) {
            snprintf(buf, 120, "released, but %u process(es) still run on it", s->processes);
        } else if (l && l->expires_ms) {
            snprintf(buf, 120, "leased until %s", text_format_time_ms(l->expires_ms, when));
        } else {
            snprintf(buf, 120, "%s", l ? "leased until released" : "being made");
        }
        break;
    case POOL_SLICE_IDLE:
        snprintf(buf, 120, "free, but %u process(es) run on it", s->processes);
        break;
    case POOL_SLICE_FOREIGN:
        snprintf(buf, 120, "not made by tangram (an operator can adopt it)");
        break;
    case POOL_SLICE_DESTROYING:
    case POOL_SLICE_QUARANTINED:
    case POOL_SLICE_STATE_COUNT:
        snprintf(buf, 120, "to be destroyed; the driver says: %.80s", s->reason);
        break;
    }
}

static void block_until(const struct pool *pool, struct pool_explanation *ret,
                        const struct pool_gpu *gpu, const struct pool_slice *slice, const char *why)
{
    unsigned before = ret->block_count;
    const struct pool_lease *holder =
        slice ? slice_holder(pool, slice) : pool_find_lease(pool, gpu->lease);

    explain_block(ret, gpu, slice, holder, why);
    if (ret->block_count > before) {
        ret->block[before].until_ms = slice ? slice_until_ms(pool, slice)
                                            : (holder ? holder->expires_ms : 0);
    }
}

/* Why nothing of the GPU can be had at all; NULL when something could. */
static const char *whole_gpu_block(const struct pool *pool, const struct pool_lease *lease,
                                   const struct pool_gpu *gpu)
{
    const char *why = NULL;
    bool wants_whole = lease->want.kind == MIG_WANT_GPU && !gpu->info.is_mig_enabled;

    if (!wants_whole || gpu->health != POOL_HEALTH_OK || !gpu->is_managed) {
        gpu_is_usable(pool, gpu, &why);
    } else if (gpu->lease) {
        why = "it is leased whole";
    } else if (gpu->processes) {
        why = "processes run on it";
    }
    return why;
}

/* Does it hold some of the engines that are short for the profile? */
static bool holds_short_engines(const struct pool_gpu *gpu, const struct pool_slice *s, int profile)
{
    const struct mig_geometry *g = gpu->geometry;
    struct mig_use use = gpu_use_of_staying(gpu, NULL);

    for (int e = 0; s->profile >= 0 && e < MIG_ENGINE_COUNT; e++) {
        if (g->profiles[s->profile].engines[e] && g->profiles[profile].engines[e] &&
            use.engines[e] + g->profiles[profile].engines[e] > g->engine_total[e]) {
            return true;
        }
    }
    return false;
}

/* Everything on this GPU that stands in some window of the profile, or has its engines. */
static void explain_gpu(const struct pool *pool, const struct pool_lease *lease,
                        const struct pool_gpu *gpu, struct pool_explanation *ret)
{
    const char *whole = whole_gpu_block(pool, lease, gpu);
    int p = lease_profile_on(lease, gpu);
    uint16_t windows = 0;
    char why[120];

    if (whole) {
        block_until(pool, ret, gpu, NULL, whole);
        return;
    }
    for (unsigned i = 0; p >= 0 && i < gpu->geometry->profiles[p].start_count; i++) {
        windows |= mig_window(gpu->geometry, p, gpu->geometry->profiles[p].starts[i]);
    }
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (!slice_is_spare(s) &&
            (slice_mask(s) & windows || (p >= 0 && holds_short_engines(gpu, s, p)))) {
            describe_slice(pool, s, why);
            block_until(pool, ret, gpu, s, why);
        }
    }
}

/* "l-3 (vision), l-4 (speech)": who holds what stands in the way. */
static void list_holders(const struct pool *pool, const struct pool_explanation *e, char *buf,
                         size_t size)
{
    size_t at = 0;
    unsigned left_out = 0;

    buf[0] = '\0';
    for (unsigned i = 0; i < e->block_count; i++) {
        const struct pool_block *b = &e->block[i];
        char item[96];
        if (b->lease && pool->is_trial && b->lease->id >= pool->trial_lease) {
            snprintf(item, sizeof(item), "the rest of this plan");
        } else if (b->lease) {
            snprintf(item, sizeof(item), "l-%" PRIu64 " (%.30s)", b->lease->id,
                     b->lease->tenant->name);
        } else if (b->slice) {
            snprintf(item, sizeof(item), "a %s %s slice", pool_slice_state_name(b->slice->state),
                     b->slice->profile_name);
        } else {
            snprintf(item, sizeof(item), "GPU %u: %.60s", b->gpu->info.index, b->why);
        }
        if (strstr(buf, item)) {
            continue;
        }
        if (at + strlen(item) + 16 > size) {
            left_out++;
            continue;
        }
        at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "", item);
    }
    if (left_out) {
        snprintf(buf + at, size - at, ", %u more", left_out);
    }
}

/* Would it have its place if nobody else were waiting? */
static bool is_only_held(const struct pool *pool, const struct pool_lease *lease)
{
    const struct pool_lease *head = queue_head(pool);
    struct plan_spot spot;
    struct plan_ask ask = lease->ask;

    ask.excluded = NULL;
    ask.excluded_count = 0;
    return head && head != lease && lease->count == 1 &&
           plan_place(pool->plan, &ask, &spot) == 0;
}

static void say_why_queued(const struct pool *pool, const struct pool_lease *lease,
                           struct pool_explanation *ret)
{
    const struct pool_lease *head = queue_head(pool);
    unsigned most = lease->tenant->max_compute;
    char holders[180], what[LEASE_WORDS_SIZE];

    if (lease_is_over_quota(pool, lease) && lease_elder(lease)) {
        const struct pool_lease *elder = lease_elder(lease);
        snprintf(ret->reason, sizeof(ret->reason),
                 "of the %u compute slots that %s may have %u are kept for l-%" PRIu64 " (%s), "
                 "which has waited for longer", most, lease->tenant->name, elder->compute_slots,
                 elder->id, elder->profile);
        snprintf(ret->help, sizeof(ret->help), "the start, or the cancellation, of l-%" PRIu64
                 " (%s)", elder->id, elder->profile);
        return;
    }
    if (lease_is_over_quota(pool, lease)) {
        snprintf(ret->reason, sizeof(ret->reason),
                 "%s has %u of the %u compute slots that it may have, and this takes %u",
                 lease->tenant->name, lease->tenant->compute_slots, most, lease->compute_slots);
        snprintf(ret->help, sizeof(ret->help), "release of leases of %s with %u compute slots",
                 lease->tenant->name,
                 lease->tenant->compute_slots + lease->compute_slots - most);
        return;
    }
    if (shift_holds_up(pool, lease)) {
        text_copy(ret->reason, sizeof(ret->reason), lease->reason);
        return;
    }
    if (lease->shift) {
        shift_explain(pool, lease, ret);
        return;
    }
    if (is_only_held(pool, lease)) {
        snprintf(ret->reason, sizeof(ret->reason),
                 "there is room, but it is kept for l-%" PRIu64 " (%s), the head of the queue",
                 head->id, head->profile);
        snprintf(ret->help, sizeof(ret->help),
                 "the start, or the cancellation, of l-%" PRIu64 " (%s)%s", head->id,
                 head->tenant->name,
                 lease->ttl_ms ? "" : "; or a time limit (ttl) that ends before it can start");
        return;
    }
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        const char *why = NULL;
        if (lease_is_possible_on(lease, pool->gpus[i], &why)) {
            explain_gpu(pool, lease, pool->gpus[i], ret);
        }
    }
    list_holders(pool, ret, holders, sizeof(holders));
    snprintf(ret->reason, sizeof(ret->reason), "%.70s %s fit now%s%.130s",
             lease_words(lease, what), lease->count > 1 ? "do not" : "does not",
             *holders ? "; in the way: " : (*lease->reason ? "; " : ""),
             *holders ? holders : lease->reason);
}

bool pool_waits_alike(const struct pool *pool, const struct pool_lease *a,
                      const struct pool_lease *b)
{
    const struct pool_lease *head = queue_head(pool);
    const char *model = a->model ? a->model : "", *other = b->model ? b->model : "";

    return a->tenant == b->tenant && a->count == b->count && a != head && b != head &&
           !a->shift && !b->shift &&
           !strcmp(a->profile, b->profile) && !strcmp(model, other) &&
           !strcmp(a->reason, b->reason);
}

/* 0: not known, or not the head. */
static int64_t head_start_ms(const struct pool *pool, const struct pool_lease *lease)
{
    struct hold hold = {.count = 0};

    if (lease == queue_head(pool)) {
        hold_for(pool, lease, &hold);
    }
    return hold.count ? hold.free_at_ms : 0;
}

void pool_explain_briefly(const struct pool *pool, const struct pool_lease *lease, int64_t now_ms,
                          struct pool_explanation *ret)
{
    (void)now_ms;
    ret->reason[0] = '\0';
    ret->expected_start_ms = 0;
    ret->block_count = 0;
    ret->help[0] = '\0';
    if (lease->state == POOL_LEASE_QUEUED) {
        say_why_queued(pool, lease, ret);
        ret->expected_start_ms = head_start_ms(pool, lease);
        text_mend_utf8(ret->reason); /* names in it may be cut off */
        return;
    }
    text_copy(ret->reason, sizeof(ret->reason), lease->reason);
    if (!ret->reason[0]) {
        move_explain(pool, lease, ret->reason, sizeof(ret->reason));
        text_mend_utf8(ret->reason);
    }
    if (!ret->reason[0]) {
        text_copy(ret->reason, sizeof(ret->reason), "it does not wait");
    }
}

void pool_explain(const struct pool *pool, const struct pool_lease *lease, int64_t now_ms,
                  struct pool_explanation *ret)
{
    pool_explain_briefly(pool, lease, now_ms, ret);
    if (lease->state == POOL_LEASE_QUEUED) {
        struct pool_forecast forecast;
        pool_forecast(pool, &forecast);
        ret->expected_start_ms = pool_forecast_of(&forecast, lease);
    }
    if (lease->state == POOL_LEASE_QUEUED && !ret->help[0]) {
        explain_help(pool, lease, ret->help, sizeof(ret->help));
    }
    text_mend_utf8(ret->help);
}

/* --- previews --------------------------------------------------------------------------------- */

static void note_step(const struct pool_lease *lease, const struct pool_part *p,
                      struct pool_preview *ret)
{
    struct pool_preview_step *step = &ret->step[ret->step_count++];
    const struct pool_slice *s = p->slice;

    *step = (struct pool_preview_step){.gpu = p->gpu, .is_reused = true};
    if (!s) {
        text_copy(step->profile_name, sizeof(step->profile_name), "gpu");
        return;
    }
    text_copy(step->profile_name, sizeof(step->profile_name), s->ci[p->ci].name);
    step->start = s->start;
    step->size = s->size;
    step->is_reused = s->ci[p->ci].is_settled;
    for (unsigned i = 0; i < p->gpu->slice_count && s->state == POOL_SLICE_CREATING; i++) {
        const struct pool_slice *o = p->gpu->slices[i];
        if (o->state == POOL_SLICE_DESTROYING && o->lease == lease->id) {
            step->destroys |= slice_mask(o);
        }
    }
    int64_t us = step->is_reused ? 0 : p->gpu->create_us;
    us += step->destroys ? p->gpu->destroy_us : 0;
    ret->estimate_us = us > ret->estimate_us ? us : ret->estimate_us;
}

/* What the requests of one preview do to each other is gone when it ends: say so without pointers
 * to it.  Leases and slices of the preview have numbers from these on. */
static void forget_previewed(struct pool_explanation *why, uint64_t first_lease,
                             uint64_t first_slice)
{
    static const char words[] = "some of it would be taken by the rest of this plan";
    unsigned kept = 0;

    for (unsigned i = 0; i < why->block_count; i++) {
        struct pool_block b = why->block[i];
        bool is_previewed = (b.slice && b.slice->id >= first_slice) ||
                            (b.lease && b.lease->id >= first_lease);
        bool is_said = false;
        if (is_previewed) {
            b = (struct pool_block){.gpu = b.gpu};
            text_copy(b.why, sizeof(b.why), words);
        }
        for (unsigned k = 0; is_previewed && k < kept; k++) {
            is_said = is_said || (why->block[k].gpu == b.gpu && !strcmp(why->block[k].why, words));
        }
        if (!is_said) {
            why->block[kept++] = b;
        }
    }
    why->block_count = kept;
}

static void preview_one(struct pool *pool, struct pool_lease *l, struct pool_preview *ret)
{
    lease_impossible_reason(pool, l, ret->blocked.reason, sizeof(ret->blocked.reason));
    ret->is_possible = !ret->blocked.reason[0];
    ret->is_fitting = ret->is_possible && ret->step_count + l->count <= POOL_MAX_COUNT &&
                      lease_try_new(pool, l) == GRANT_DONE;
    if (ret->is_fitting) {
        lease_count_slots(l, true);
        for (unsigned k = 0; k < l->part_count; k++) {
            note_step(l, &l->part[k], ret);
        }
    } else if (ret->is_possible) {
        say_why_queued(pool, l, &ret->blocked);
        shift_preview(pool, l, ret);
    }
}

/* Requests side by side in this order: one lease each, taken back in the end. */
static void preview_in_order(struct pool *pool, const struct pool_actor *actor,
                             const struct pool_request *requests, unsigned count,
                             struct pool_preview *ret)
{
    CLEANUP(freep) struct pool_lease **leases = xcalloc(count, sizeof(struct pool_lease *));
    uint64_t next_lease = pool->next_lease, next_slice = pool->next_slice;

    memset(ret, 0, sizeof(*ret));
    ret->is_fitting = ret->is_possible = true;
    for (unsigned i = 0; i < count && ret->is_fitting; i++) {
        leases[i] = lease_new(pool, actor, &requests[i]);
        preview_one(pool, leases[i], ret);
    }
    forget_previewed(&ret->blocked, next_lease, next_slice);
    for (unsigned i = count; i-- > 0;) {
        if (leases[i]) {
            if (leases[i]->part_count) {
                lease_count_slots(leases[i], false);
            }
            lease_ungrant(pool, leases[i]);
            lease_free(pool, leases[i]);
        }
    }
    pool->next_lease = next_lease;
    pool->next_slice = next_slice;
}

/* Requests that are placed together; false when they do not fit that way. */
static bool preview_together(struct pool *pool, const struct pool_actor *actor,
                             const struct pool_request *requests, unsigned count,
                             struct pool_preview *ret)
{
    CLEANUP(freep) struct pool_lease **leases = xcalloc(count, sizeof(struct pool_lease *));
    uint64_t next_lease = pool->next_lease, next_slice = pool->next_slice;
    unsigned parts = 0;
    bool fits = true;
    char why[240];

    memset(ret, 0, sizeof(*ret));
    for (unsigned i = 0; i < count; i++) {
        leases[i] = lease_new(pool, actor, &requests[i]);
        lease_impossible_reason(pool, leases[i], why, sizeof(why));
        parts += leases[i]->count;
        fits = fits && !*why;
    }
    fits = fits && parts <= POOL_MAX_COUNT && lease_try_new_set(pool, leases, count);
    ret->is_fitting = ret->is_possible = fits;
    for (unsigned i = 0; i < count && fits; i++) {
        for (unsigned k = 0; k < leases[i]->part_count; k++) {
            note_step(leases[i], &leases[i]->part[k], ret);
        }
    }
    for (unsigned i = count; i-- > 0;) {
        lease_ungrant(pool, leases[i]);
        lease_free(pool, leases[i]);
    }
    pool->next_lease = next_lease;
    pool->next_slice = next_slice;
    return fits;
}

/* Several: the best places for all of them together.  Should that be too much to look at, or one
 * alone: as they would be granted one after the other. */
void pool_preview(struct pool *pool, const struct pool_actor *actor,
                  const struct pool_request *requests, unsigned request_count, int64_t now_ms,
                  struct pool_preview *ret)
{
    bool was_meta_dirty = pool->is_meta_dirty, wanted_pass = pool->wants_queue_pass;
    bool is_together = false;

    pool->now_ms = now_ms;
    pool->is_trial = true;
    pool->trial_lease = pool->next_lease;
    pool->last_set = (struct plan_set){0};
    is_together = request_count > 1 &&
                  preview_together(pool, actor, requests, request_count, ret);
    if (!is_together) {
        preview_in_order(pool, actor, requests, request_count, ret);
    }
    ret->set = pool->last_set;
    ret->has_set = ret->is_fitting && (is_together || request_count == 1) &&
                   (ret->set.is_proven || ret->set.opened_least || ret->set.created);
    pool->is_trial = false;
    pool->is_meta_dirty = was_meta_dirty;
    pool->wants_queue_pass = wanted_pass;
}
