/* The first step: ties what was read from the journal together, and asks what is really there. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>

/* A slice whose lease has no record is in use, for all we know: it is nobody's to touch until an
 * operator has looked at it. */
static void orphan_slice(struct pool *pool, struct pool_slice *s, uint64_t lease)
{
    char label[96];

    for (unsigned c = 0; c < s->ci_count; c++) {
        s->ci[c].lease = 0;
    }
    text_copy(s->reason, sizeof(s->reason), "the record of its lease is lost; adopt it when it is "
                                            "free");
    pool_mark_slice(pool, s);
    pool_mark_gone(pool, POOL_RECORD_SLICE, s->id);
    if (s->is_dirty) {
        TAILQ_REMOVE(&pool->dirty_slices, s, dirty_link);
        s->is_dirty = false;
    }
    s->is_recorded = false;
    slice_set_state(pool, s, POOL_SLICE_FOREIGN);
    pool_tell(pool, POOL_HIST_SLICE_FOREIGN, s->gpu, NULL,
              "%s belonged to l-%" PRIu64 ", of which there is no record: it is left alone",
              slice_label(s, label), lease);
}

/* A lease whose record is whole, and knows nothing of this slice. */
static bool is_unnamed(const struct pool_lease *lease, const struct pool_slice *s)
{
    bool is_whole = lease->part_count == lease->count &&
                    (lease->state == POOL_LEASE_ACTIVE || lease->state == POOL_LEASE_RELEASING);

    for (unsigned i = 0; i < lease->part_count; i++) {
        is_whole = is_whole && lease->part[i].slice != s;
    }
    return is_whole && lease->move.slice != s;
}

static void tie_slice(struct pool *pool, struct pool_slice *s)
{
    for (unsigned c = 0; c < s->ci_count; c++) {
        uint64_t id = s->ci[c].lease;
        const struct pool_lease *lease = id ? pool_lease_get(pool, id) : NULL;
        bool is_known = lease && !pool_lease_is_ended(lease->state) &&
                        lease->state != POOL_LEASE_QUEUED && !is_unnamed(lease, s);
        if (!id || is_known) {
            continue;
        }
        if (s->state == POOL_SLICE_LEASED) {
            orphan_slice(pool, s, id);
            return;
        }
        s->ci[c].lease = 0;
    }
    if (s->state == POOL_SLICE_CREATING && !s->ci_count) {
        slice_doom(pool, s, 0, 0);
    }
}

/* Nothing would ever end what is being given back when its places are not known; what stands there
 * is an orphan then. */
static void end_lost_releases(struct pool *pool)
{
    struct pool_lease *l = NULL, *next = NULL;

    for (l = pool->leases; l; l = next) {
        next = l->hh.next;
        if (l->state == POOL_LEASE_RELEASING && !l->part_count) {
            lease_end(pool, l, POOL_LEASE_RELEASED, "its record was damaged");
        }
    }
}

static void resume_lease(struct pool *pool, struct pool_lease *lease)
{
    if (pool_lease_is_ended(lease->state)) {
        return;
    }
    if (lease->holder_pid) {
        struct pool_action *a = pool_act(pool, POOL_DO_WATCH);
        a->lease = lease->id;
        a->pid = lease->holder_pid;
        a->pid_start = lease->holder_start;
    }
    if (lease->expires_ms) {
        lease_arm_timer(pool, lease, lease->expires_ms);
    }
    move_resume(pool, lease);
    if (lease->state == POOL_LEASE_CUTTING && lease->part_count != lease->count) {
        lease_requeue(pool, lease, "its record was damaged");
    } else if (lease->state == POOL_LEASE_RELEASING) {
        lease_check_parts(pool, lease);
    }
}

/* What of an apply is still to be done: its slices know; a switch of the MIG mode is not begun
 * again without being asked. */
static void resume_operation(struct pool *pool, struct pool_operation *op)
{
    unsigned left = 0;

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        for (unsigned k = 0; k < pool->gpus[i]->slice_count; k++) {
            left += pool->gpus[i]->slices[k]->operation == op->id;
        }
    }
    while (op->state == POOL_OP_RUNNING && op->done + left < op->total) {
        operation_progress(pool, op->id, "interrupted by a restart of tangramd");
    }
}

int64_t pool_latest_ms(const struct pool *pool)
{
    int64_t latest = 0;

    for (const struct pool_lease *l = pool->leases; l; l = l->hh.next) {
        latest = l->created_ms > latest ? l->created_ms : latest;
        latest = l->granted_ms > latest ? l->granted_ms : latest;
        latest = l->ended_ms > latest ? l->ended_ms : latest;
    }
    return latest;
}

void pool_shift_times(struct pool *pool, int64_t by_ms)
{
    for (struct pool_lease *l = pool->leases; l; l = l->hh.next) {
        if (!pool_lease_is_ended(l->state)) {
            lease_shift_times(pool, l, by_ms);
        }
    }
}

void pool_start(struct pool *pool, int64_t now_ms, struct pool_actions *actions)
{
    struct pool_lease *l = NULL, *next = NULL;
    struct pool_operation *op = NULL;

    pool->now_ms = pool->started_ms = now_ms;
    pool->out = actions;
    end_lost_releases(pool);
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        struct pool_gpu *gpu = pool->gpus[i];
        for (unsigned k = 0; k < gpu->slice_count; k++) {
            tie_slice(pool, gpu->slices[k]);
        }
        if (gpu->health == POOL_HEALTH_OK) {
            gpu_ask_scan(pool, gpu);
        }
    }
    for (l = pool->leases; l; l = next) {
        next = l->hh.next;
        resume_lease(pool, l);
    }
    moves_tie(pool);
    consolidation_arm(pool);
    TAILQ_FOREACH(op, &pool->operations, link)
    {
        resume_operation(pool, op);
    }
    gpu_pump_all(pool);
    pool->out = NULL;
}
