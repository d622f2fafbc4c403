/* The hold: what is kept for the head of the queue, and when it comes free.
 *
 * Every window on every GPU is looked at: who stands in it, or has engines that would be short, and
 * until when.  The window that is known to open first wins; if none is known, the one with the
 * least in it (a cordon: nothing new goes there, so it drains).  On a GPU that is kept, others
 * leave alone the slots, and the whole GPU if they needed engines that the head is
 * going to need. */
#include "pool/internal.h"

#define UNREAD_BUSY 64 /* of a GPU that has not been scanned: looked at last */

struct window {
    const struct pool_gpu *gpu;
    uint16_t mask;
    int64_t at_ms; /* 0 unknown */
    unsigned busy;
    int64_t newest_ms;   /* when the last of those in it came in */
    struct mig_use then; /* what stays on the GPU, and the slices that it is kept for */
};

/* When the last of its holders got it; what is still being made comes last. */
static int64_t slice_since_ms(const struct pool *pool, const struct pool_slice *s)
{
    int64_t since = 0;

    for (unsigned c = 0; c < s->ci_count; c++) {
        const struct pool_lease *l = s->ci[c].lease ? pool_find_lease(pool, s->ci[c].lease) : NULL;
        int64_t got = l ? (l->granted_ms ? l->granted_ms : pool->now_ms) : 0;
        since = got > since ? got : since;
    }
    return since;
}

/* Is the window not better than the best, whatever else there is to wait for?  More of that makes
 * it later, or its time unknown, and busier.  See is_better(). */
static bool is_behind(const struct window *w, const struct window *best)
{
    if (!best->gpu || (w->at_ms && !best->at_ms)) {
        return false;
    }
    if (w->at_ms != best->at_ms) {
        return !w->at_ms || w->at_ms > best->at_ms;
    }
    return w->busy > best->busy;
}

/* The slice has to go for the window to open.  False: it will not, as far as we can say, or not
 * before the best. */
static bool wait_for(const struct pool *pool, const struct pool_slice *s, unsigned slots,
                     const struct window *best, struct window *w)
{
    if (s->state == POOL_SLICE_FOREIGN || s->state == POOL_SLICE_QUARANTINED) {
        return false;
    }
    int64_t until = slice_until_ms(pool, s);
    if (!until) {
        w->at_ms = 0;
    } else if (w->at_ms) {
        w->at_ms = until > w->at_ms ? until : w->at_ms;
    }
    w->busy += slots;
    if (is_behind(w, best)) {
        return false;
    }
    int64_t since = slice_since_ms(pool, s);
    w->newest_ms = since > w->newest_ms ? since : w->newest_ms;
    return true;
}

static bool has_short_engine(const struct pool_slice *s, const struct mig_use *use, int profile)
{
    const struct mig_geometry *g = s->gpu->geometry;

    for (int e = 0; s->profile >= 0 && e < MIG_ENGINE_COUNT; e++) {
        if (g->profiles[s->profile].engines[e] &&
            use->engines[e] + g->profiles[profile].engines[e] > g->engine_total[e]) {
            return true;
        }
    }
    return false;
}

/* Of those that stay, the one whose end would give an engine that is short, and ends first; known
 * ends before unknown ones.  Its index, -1 none. */
static int next_with_engines(const struct pool *pool, const struct pool_gpu *gpu, uint32_t staying,
                             const struct mig_use *use, int profile)
{
    int64_t best_until = 0;
    int best = -1;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        bool is_lasting = s->state == POOL_SLICE_FOREIGN || s->state == POOL_SLICE_QUARANTINED;
        if (!(staying >> i & 1) || is_lasting || !has_short_engine(s, use, profile)) {
            continue;
        }
        int64_t until = slice_until_ms(pool, s);
        if (best < 0 || (until && (!best_until || until < best_until))) {
            best = (int)i;
            best_until = until;
        }
    }
    return best;
}

/* Waits for who stands in the window; the bits of *ret_staying are those who may stay.  False: as
 * wait_for(). */
static bool slots_open(const struct pool *pool, const struct window *kept,
                       const struct window *best, struct window *w, uint32_t *ret_staying)
{
    uint32_t staying = 0;

    for (unsigned i = 0; i < w->gpu->slice_count; i++) {
        const struct pool_slice *s = w->gpu->slices[i];
        unsigned slots = (unsigned)__builtin_popcount(slice_mask(s) & w->mask);
        if (slice_is_spare(s)) {
            continue;
        }
        if (slots && !wait_for(pool, s, slots, best, w)) {
            return false;
        }
        staying |= slots || slice_mask(s) & kept->mask ? 0 : 1u << i;
    }
    *ret_staying = staying;
    return true;
}

/* When a slice of the profile can stand there beside what is kept already: w->at_ms, 0 unknown, and
 * w->then.  False: never, as far as we can say, or not before the best. */
static bool window_opens(const struct pool *pool, int profile, const struct window *kept,
                         const struct window *best, struct window *w)
{
    const struct pool_gpu *gpu = w->gpu;
    bool is_known = gpu_is_read(gpu);
    int start = __builtin_ctz(w->mask);
    uint32_t staying = 0;

    w->at_ms = is_known ? pool->now_ms : 0;
    w->busy = is_known ? 0 : UNREAD_BUSY;
    if (!slots_open(pool, kept, best, w, &staying)) {
        return false;
    }
    for (;;) {
        w->then = kept->then;
        for (unsigned i = 0; i < gpu->slice_count; i++) {
            if (staying >> i & 1) {
                slice_add_to_use(gpu->slices[i], &w->then);
            }
        }
        if (mig_fits(gpu->geometry, &w->then, profile, start)) {
            mig_use_add(gpu->geometry, &w->then, profile, start);
            return true;
        }
        int next = next_with_engines(pool, gpu, staying, &w->then, profile);
        if (next < 0 || !wait_for(pool, gpu->slices[next], 1, best, w)) {
            return false;
        }
        staying &= ~(1u << next);
    }
}

/* Known before unknown, then sooner; of unknown ones the less busy, then the one where nobody has
 * come in for longer, then as found. */
static bool is_better(const struct window *a, const struct window *b)
{
    if (!b->gpu || !a->at_ms != !b->at_ms) {
        return !b->gpu || a->at_ms;
    }
    if (a->at_ms != b->at_ms || a->busy != b->busy) {
        return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->busy < b->busy;
    }
    return a->newest_ms < b->newest_ms;
}

/* A GPU without MIG is one window. */
static void look_at_whole(const struct pool *pool, const struct pool_lease *lease,
                          const struct pool_gpu *gpu, uint16_t taken, struct window *best)
{
    struct window w = {.gpu = gpu, .mask = UINT16_MAX, .at_ms = pool->now_ms};

    if (lease->want.kind != MIG_WANT_GPU || gpu->info.is_mig_enabled || gpu->has_mode_wish ||
        taken || !lease_allows_gpu(lease, gpu)) {
        return;
    }
    const struct pool_lease *holder = pool_find_lease(pool, gpu->lease);
    if (holder) {
        int64_t until = holder->state == POOL_LEASE_ACTIVE ? holder->expires_ms : 0;
        w.at_ms = until > pool->now_ms ? until : 0;
        w.busy = 1;
        w.newest_ms = holder->granted_ms;
    } else if (gpu->processes || gpu->slice_count) {
        w.at_ms = 0;
        w.busy = 1;
    }
    if (!gpu_is_read(gpu)) {
        w.at_ms = 0;
        w.busy = UNREAD_BUSY;
    }
    if (is_better(&w, best)) {
        *best = w;
    }
}

static void look_at_gpu(const struct pool *pool, const struct pool_lease *lease,
                        const struct pool_gpu *gpu, const struct window *kept, struct window *best)
{
    int p = lease_profile_on(lease, gpu);
    bool is_ours = gpu->health == POOL_HEALTH_OK && gpu->is_managed;
    bool is_out = !is_ours || gpu->lease ||
                  (!gpu->info.is_mig_enabled && !gpu_can_switch_on(pool, gpu)) || p < 0;

    if (is_ours) {
        look_at_whole(pool, lease, gpu, kept->mask, best);
    }
    for (unsigned i = 0; !is_out && i < gpu->geometry->profiles[p].start_count; i++) {
        struct window w = {.gpu = gpu};
        w.mask = mig_window(gpu->geometry, p, gpu->geometry->profiles[p].starts[i]);
        if (!(w.mask & kept->mask) && window_opens(pool, p, kept, best, &w) &&
            is_better(&w, best)) {
            *best = w;
        }
    }
}

/* -1: nothing of the GPU is kept. */
static int hold_entry(const struct hold *hold, unsigned gpu_id)
{
    for (unsigned i = 0; i < hold->count; i++) {
        if (hold->window[i].gpu_id == gpu_id) {
            return (int)i;
        }
    }
    return -1;
}

/* The best window for one more part, on any GPU. */
static struct window best_window(const struct pool *pool, const struct pool_lease *lease,
                                 const struct hold *hold)
{
    struct window best = {0};

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        struct window kept = {.gpu = gpu};
        int at = hold_entry(hold, gpu->id);
        if (at >= 0) {
            kept.mask = hold->window[at].mask;
            kept.then = hold->own[at];
        }
        look_at_gpu(pool, lease, gpu, &kept, &best);
    }
    return best;
}

static void keep_window(const struct pool_lease *lease, const struct window *w, struct hold *hold)
{
    int at = hold_entry(hold, w->gpu->id), p = lease_profile_on(lease, w->gpu);

    if (at < 0) {
        at = (int)hold->count++;
        hold->window[at] = (struct plan_exclusion){.gpu_id = w->gpu->id};
        hold->own[at] = (struct mig_use){0};
    }
    hold->window[at].mask |= w->mask;
    hold->then[at] = w->then;
    if (p >= 0 && w->then.mask) {
        mig_use_add(w->gpu->geometry, &hold->own[at], p, __builtin_ctz(w->mask));
    }
}

bool hold_leaves_engines(const struct hold *hold, unsigned index, const struct pool_gpu *gpu,
                         int profile)
{
    for (int e = 0; gpu->geometry && profile >= 0 && e < MIG_ENGINE_COUNT; e++) {
        const struct mig_profile *p = &gpu->geometry->profiles[profile];
        if (p->engines[e] &&
            hold->then[index].engines[e] + p->engines[e] > gpu->geometry->engine_total[e]) {
            return false;
        }
    }
    return true;
}

void hold_for(const struct pool *pool, const struct pool_lease *lease, struct hold *ret)
{
    bool is_known = true;

    ret->count = 0;
    ret->free_at_ms = 0;
    ret->lease = lease->id;
    for (unsigned n = 0; n < lease->count;) {
        struct window best = best_window(pool, lease, ret);
        if (!best.gpu) {
            ret->count = 0; /* it cannot be served soon: nobody is held up for it */
            return;
        }
        keep_window(lease, &best, ret);
        n += lease_parts_in_window(lease, best.gpu);
        is_known = is_known && best.at_ms;
        ret->free_at_ms = best.at_ms > ret->free_at_ms ? best.at_ms : ret->free_at_ms;
    }
    ret->free_at_ms = is_known ? ret->free_at_ms : 0;
}
