/* One move that brings the fleet together while nobody waits.
 *
 * The potential of the fleet is the expected number of free slots that the next request cannot use,
 * over all GPUs, and open_cost for each GPU that is used (docs/planner.md).  Two kinds of trials
 * are made: each movable lease alone goes to the best other place there is, and each GPU that holds
 * nothing but movable leases is emptied, the largest first.  What lowers the potential most for
 * each of its moves wins, if that is enough: so a lease does not wander to and fro for a trifle.
 * Of a GPU that is to be emptied the first move is given; the next question goes on with it, for
 * the nearer it is to empty the more each of the remaining moves is worth. */
#include "plan/fleet.h"
#include <errno.h>

struct trial {
    struct plan *plan;
    int count; /* states to restore */
    uint32_t before[2 * PLAN_MOVES_MAX][2];
    double gain;
    struct plan_move first;
    int moves;
};

static void set_busy(struct trial *t, uint32_t gpu, const struct mig_use *busy)
{
    uint32_t was = plan_gpu_state(t->plan, gpu);

    t->before[t->count][0] = gpu;
    t->before[t->count++][1] = was;
    plan_set_busy(t->plan, gpu, busy);
    t->gain += plan_potential(t->plan, gpu, was) -
               plan_potential(t->plan, gpu, plan_gpu_state(t->plan, gpu));
}

static void undo(struct trial *t)
{
    while (t->count) {
        t->count--;
        plan_set_state(t->plan, t->before[t->count][0], t->before[t->count][1]);
    }
}

/* Moves one lease to the best place there is now; not to this GPU when that is to be emptied. */
static bool move_one(struct trial *t, uint32_t gpu, struct mig_slice slice, bool is_emptied)
{
    const struct mig_geometry *g = &plan_gpu_index(t->plan, gpu)->geometry;
    /* Make before break: its own slots are not free for the new slice. */
    struct plan_exclusion own = {
        .gpu_id = gpu, .mask = is_emptied ? UINT16_MAX : mig_window(g, slice.profile, slice.start)};
    struct plan_ask ask;
    struct plan_spot spot;
    struct mig_use busy = *plan_gpu_busy(t->plan, gpu);

    plan_ask_init(&ask);
    ask.profile[plan_gpu_class(t->plan, gpu)] = (int8_t)slice.profile;
    ask.excluded = &own;
    ask.excluded_count = 1;
    /* Looked for while it is still there: so it fits beside it, its engines counted twice. */
    if (plan_place(t->plan, &ask, &spot) < 0) {
        return false;
    }
    if (!t->moves++) {
        t->first = (struct plan_move){gpu, spot.gpu_id, slice, spot.slice, spot.destroy,
                                      false};
    }
    struct mig_use to = *plan_gpu_busy(t->plan, spot.gpu_id);
    mig_use_add(g, &to, spot.slice.profile, spot.slice.start);
    set_busy(t, spot.gpu_id, &to);
    busy = *plan_gpu_busy(t->plan, gpu);
    busy.instances = 1; /* not counted here */
    mig_use_remove(g, &busy, slice.profile, slice.start);
    set_busy(t, gpu, &busy);
    return true;
}

static bool empty_gpu(struct trial *t, uint32_t gpu, const struct plan_detail *d)
{
    const struct mig_geometry *g = &plan_gpu_index(t->plan, gpu)->geometry;

    for (int size = MIG_SLOTS_MAX; size > 0; size--) {
        for (int i = 0; i < d->movable_count; i++) {
            if (g->profiles[d->movable[i].slice.profile].size == size &&
                !move_one(t, gpu, d->movable[i].slice, true)) {
                return false;
            }
        }
    }
    return true;
}

static bool is_all_movable(const struct plan *p, uint32_t gpu, const struct plan_detail *d)
{
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
    uint16_t mask = 0;

    for (int i = 0; i < d->movable_count; i++) {
        mask |= mig_window(g, d->movable[i].slice.profile, d->movable[i].slice.start);
    }
    return mask == plan_gpu_busy(p, gpu)->mask && d->movable_count <= PLAN_MOVES_MAX;
}

/* Ends a trial; keeps it when it is the best so far. */
static void judge(struct trial *t, bool is_whole, double least_gain, struct trial *best)
{
    struct trial found = *t;

    undo(t);
    if (is_whole && found.moves && found.gain / found.moves >= least_gain &&
        (!best->moves || found.gain * best->moves > best->gain * found.moves)) {
        *best = found;
    }
}

int plan_find_consolidation(struct plan *p, double least_gain, struct plan_move *ret)
{
    struct trial best = {0};

    for (uint32_t gpu = 0; gpu < p->gpu_count; gpu++) {
        const struct plan_detail *d = plan_has_gpu(p, gpu) && plan_is_usable(p, gpu)
                                          ? plan_gpu_detail(p, gpu) : NULL;
        if (!d || !d->movable_count) {
            continue;
        }
        if (is_all_movable(p, gpu, d)) {
            struct trial t = {.plan = p};
            judge(&t, empty_gpu(&t, gpu, d), least_gain, &best);
        }
        for (int i = 0; i < d->movable_count; i++) {
            struct trial t = {.plan = p};
            judge(&t, move_one(&t, gpu, d->movable[i].slice, false), least_gain, &best);
        }
    }
    if (!best.moves) {
        return -ENOENT;
    }
    *ret = best.first;
    return 0;
}
