/* Bringing the fleet together while nobody waits: now and then the holder of one movable lease is
 * asked to go where it is less in the way of what may come (docs/planner.md).  Off unless the
 * configuration gives it a budget.
 *
 * One move at a time, at most so many an hour; the refusals count.  A request that has to wait
 * comes first: what was begun is called off, so that its new slice is in nobody's way. */
#include "pool/internal.h"

#define HOUR_MS 3600000
#define LEAST_GAIN 1.0 /* slots that become of use, for each move; a GPU less in use counts two */

static struct pool_lease *under_way(struct pool *pool)
{
    struct pool_lease *l = pool->consolidating ? pool_lease_get(pool, pool->consolidating) : NULL;

    return l && l->move.phase != POOL_MOVE_NONE && !l->move.request ? l : NULL;
}

void consolidation_arm(struct pool *pool)
{
    if (pool->settings.consolidate_per_hour) {
        pool_add_timer(pool, pool->now_ms + HOUR_MS / pool->settings.consolidate_per_hour,
                       TIMER_CONSOLIDATE, 0);
    }
}

void consolidation_yield(struct pool *pool)
{
    struct pool_lease *l = under_way(pool);

    if (l && (l->move.phase == POOL_MOVE_MAKING || l->move.phase == POOL_MOVE_ASKED)) {
        move_call_off(pool, l, "somebody waits for room");
    }
}

/* Its new slice waits for a GPU that cannot be read. */
static void give_up_blind(struct pool *pool)
{
    struct pool_lease *l = under_way(pool);

    if (l && l->move.phase == POOL_MOVE_MAKING && !l->move.slice->job &&
        !gpu_is_read(l->move.slice->gpu)) {
        move_call_off(pool, l, "the GPU that it was to go to cannot be read");
    }
}

void consolidation_on_timer(struct pool *pool)
{
    struct plan_move found;
    unsigned part = 0;

    consolidation_arm(pool);
    give_up_blind(pool);
    moves_refresh_plan(pool);
    if (!TAILQ_EMPTY(&pool->queue) || under_way(pool) ||
        plan_find_consolidation(pool->plan, LEAST_GAIN, &found) < 0) {
        return;
    }
    struct pool_lease *mover = move_lease_at(pool, pool->gpus[found.from_gpu], found.from,
                                             &part);
    if (mover && move_begin(pool, NULL, mover, part, pool->gpus[found.to_gpu], found.to)) {
        pool->consolidating = mover->id;
    }
}
