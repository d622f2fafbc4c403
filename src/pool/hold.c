/* The hold: which slots are kept for the head of the queue, and when they come free.
 *
 * Every window on every GPU is looked at: who stands in it, and until when.  The window that is
 * known to open first wins; if none is known, the one with the least in it (a cordon: nothing new
 * goes there, so it drains). */
#include "pool/internal.h"
#include <limits.h>
#include <string.h>

#define UNREAD_BUSY 64 /* of a GPU that has not been scanned: looked at last */

/* When the slots of a window come free: ret_at_ms 0 is unknown.  False: never, as far as we can
 * say (foreign, quarantined). */
static bool window_opens(const struct pool *pool, const struct pool_gpu *gpu, uint16_t window,
                         int64_t *ret_at_ms, unsigned *ret_busy)
{
    int64_t at = pool->now_ms;
    bool is_known = gpu->is_scanned && !gpu->wants_scan;

    *ret_busy = is_known ? 0 : UNREAD_BUSY;
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (!(slice_mask(s) & window) || slice_is_spare(s)) {
            continue;
        }
        if (s->state == POOL_SLICE_FOREIGN || s->state == POOL_SLICE_QUARANTINED) {
            return false;
        }
        int64_t until = slice_until_ms(pool, s);
        is_known = is_known && until;
        at = until > at ? until : at;
        *ret_busy += (unsigned)__builtin_popcount(slice_mask(s) & window);
    }
    *ret_at_ms = is_known ? at : 0;
    return true;
}

struct window {
    const struct pool_gpu *gpu;
    uint16_t mask;
    int64_t at_ms;
    unsigned busy;
};

/* Known before unknown, then sooner, then less busy, then as found. */
static bool is_better(const struct window *a, const struct window *b)
{
    if (!b->gpu || !a->at_ms != !b->at_ms) {
        return !b->gpu || a->at_ms;
    }
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->busy < b->busy;
}

/* A GPU without MIG is one window. */
static void look_at_whole(const struct pool *pool, const struct pool_lease *lease,
                          const struct pool_gpu *gpu, uint16_t taken, struct window *best)
{
    const struct pool_lease *holder = pool_find_lease(pool, gpu->lease);
    struct window w = {.gpu = gpu, .mask = UINT16_MAX, .at_ms = pool->now_ms};

    if (lease->want.kind != MIG_WANT_GPU || gpu->info.is_mig_enabled || gpu->has_mode_wish || taken || !lease_allows_gpu(lease, gpu)) {
        return;
    }
    if (holder) {
        int64_t until = holder->state == POOL_LEASE_ACTIVE ? holder->expires_ms : 0;
        w.at_ms = until > pool->now_ms ? until : 0;
        w.busy = 1;
    } else if (gpu->processes || gpu->slice_count) {
        w.at_ms = 0;
        w.busy = 1;
    }
    if (!gpu->is_scanned || gpu->wants_scan) {
        w.at_ms = 0;
        w.busy = UNREAD_BUSY;
    }
    if (is_better(&w, best)) {
        *best = w;
    }
}

static void look_at_gpu(const struct pool *pool, const struct pool_lease *lease,
                        const struct pool_gpu *gpu, uint16_t taken, struct window *best)
{
    int p = lease_profile_on(lease, gpu);
    bool is_ours = gpu->health == POOL_HEALTH_OK && gpu->is_managed;
    bool is_out = !is_ours || gpu->lease ||
                  (!gpu->info.is_mig_enabled && !gpu_can_switch_on(pool, gpu)) || p < 0;

    if (is_ours) {
        look_at_whole(pool, lease, gpu, taken, best);
    }
    for (unsigned i = 0; !is_out && i < gpu->geometry->profiles[p].start_count; i++) {
        struct window w = {.gpu = gpu};
        w.mask = mig_window(gpu->geometry, p, gpu->geometry->profiles[p].starts[i]);
        if (!(w.mask & taken) && window_opens(pool, gpu, w.mask, &w.at_ms, &w.busy) &&
            is_better(&w, best)) {
            *best = w;
        }
    }
}

static struct plan_exclusion *hold_entry(struct hold *hold, unsigned gpu_id)
{
    for (unsigned i = 0; i < hold->count; i++) {
        if (hold->window[i].gpu_id == gpu_id) {
            return &hold->window[i];
        }
    }
    return NULL;
}

unsigned lease_parts_in_window(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    int p = lease_profile_on(lease, gpu);
    unsigned each = lease->want.compute_instance_slices;

    if (p < 0 || !each || each >= gpu->geometry->profiles[p].slices) {
        return 1;
    }
    return gpu->geometry->profiles[p].slices / each;
}

void hold_for(const struct pool *pool, const struct pool_lease *lease, struct hold *ret)
{
    bool is_known = true;

    if (moves_hold(lease, ret)) {
        return;
    }
    ret->count = 0;
    ret->free_at_ms = 0;
    ret->lease = lease->id;
    for (unsigned n = 0; n < lease->count;) {
        struct window best = {0};
        for (unsigned i = 0; i < pool->gpu_count; i++) {
            const struct pool_gpu *gpu = pool->gpus[i];
            const struct plan_exclusion *e = hold_entry(ret, gpu->id);
            look_at_gpu(pool, lease, gpu, e ? e->mask : 0, &best);
        }
        if (!best.gpu) {
            ret->count = 0; /* it cannot be served soon: nobody is held up for it */
            return;
        }
        struct plan_exclusion *e = hold_entry(ret, best.gpu->id);
        if (!e) {
            e = &ret->window[ret->count++];
            *e = (struct plan_exclusion){.gpu_id = best.gpu->id};
        }
        e->mask |= best.mask;
        n += lease_parts_in_window(lease, best.gpu);
        is_known = is_known && best.at_ms;
        ret->free_at_ms = best.at_ms > ret->free_at_ms ? best.at_ms : ret->free_at_ms;
    }
    ret->free_at_ms = is_known ? ret->free_at_ms : 0;
}
