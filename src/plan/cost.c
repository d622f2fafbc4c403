/* The cost of a placement.
 *
 * The default, "reach", adds up three things, all in memory slots.  The first is how many free
 * slots of the GPU the next request of the mix cannot use, on average, and how much the cut makes
 * that grow (plan_unusable(), which alone is the policy "fgd").  The second is how many slots are
 * free: fuller GPUs come first, empty ones last.  The third is whom the cut shuts out: a profile
 * that could be placed on this GPU, now cannot, and not because the slots are used up.
 *
 * What counts is learned: the mix, and whether a profile is asked for at all (in full from
 * REACH_SHARE of the requests on).  The weights were found by search over 24 random mixes; on 60
 * others half or twice of them makes little difference (docs/planner.md).
 *
 * With known ends, "align" adds how much longer the slice stays than all else on the GPU
 * (plan_stay_cost()): alone, it would keep the GPU from whoever wants much of it.
 *
 * "value" asks nothing but how much the cut takes from what the GPU is worth to those who come;
 * that is learned (value.c), and until enough is known it is "align".
 *
 * The other policies are there to compare with.
 *
 * Costs depend on the occupancy of one GPU only, never on its number, so that a fleet can be
 * indexed by occupancy (index.c).  First-fit and round-robin, which go by the number, are added in
 * place.c. */
#include "plan/cost.h"
#include <math.h>

static int free_slots(const struct mig_geometry *g, const struct mig_use *use)
{
    return g->slots - mig_count_slots(use->mask);
}

#define FREE_WEIGHT 0.2 /* of a free slot */
#define SHUT_WEIGHT 0.3 /* of a profile shut out */
#define REACH_SHARE 0.04
#define STAY_WEIGHT 0.5 /* at most; 1 gains a little more without moves and loses with three */

/* The profiles that can no longer be placed although enough slots are free, by weight. */
static double shut_out(const struct mig_geometry *g, const struct plan_mix *mix,
                       const struct plan_look *before, const struct plan_look *after)
{
    double sum = 0;

    for (int p = 0; p < g->profile_count; p++) {
        /* Profiles with much more memory than compute (the double-memory 1g) do not count: they
         * also find the corner that is of no use to others. */
        bool is_corner =
            4 * g->profiles[p].slices * g->slots < 3 * g->profiles[p].size * g->slices;
        if (!is_corner && g->profiles[p].size <= free_slots(g, &after->use) &&
            (before->fits & ~after->fits) >> p & 1) {
            sum += fmin(mix->share[p] / REACH_SHARE, 1);
        }
    }
    return sum;
}

static bool is_value_known(const struct plan_mix *mix)
{
    return mix->value && plan_value_is_ready(mix->value);
}

void plan_look_at(const struct mig_geometry *g, const struct plan_mix *mix,
                  const struct mig_use *use, struct plan_look *ret)
{
    int free = free_slots(g, use);

    *ret = (struct plan_look){.use = *use};
    for (int p = 0; p < g->profile_count; p++) {
        uint16_t slots = mig_free_slots(g, use, p);
        ret->fits |= (uint32_t)(slots != 0) << p;
        ret->unusable += mix->share[p] * (free - mig_count_slots(slots));
    }
    ret->value = is_value_known(mix) ? plan_value_of(mix->value, use) : 0;
}

double plan_unusable(const struct mig_geometry *g, const struct plan_mix *mix,
                     const struct mig_use *use)
{
    struct plan_look look;

    plan_look_at(g, mix, use, &look);
    return look.unusable;
}

/* Variants (+me, +gfx) stand where the plain profile does: what counts placements counts them
 * once. */
static bool is_variant(const struct mig_geometry *g, int p)
{
    for (int q = 0; q < p; q++) {
        if (g->start_mask[q] == g->start_mask[p] && g->profiles[q].size == g->profiles[p].size &&
            g->profiles[q].slices == g->profiles[p].slices) {
            return true;
        }
    }
    return false;
}

int plan_placements_left(const struct mig_geometry *g, const struct mig_use *use)
{
    int n = 0;

    for (int p = 0; p < g->profile_count; p++) {
        n += is_variant(g, p) ? 0 : mig_count_slots(mig_free_starts(g, use, p));
    }
    return n;
}

/* Fragmentation index of MFI: slots of the placements that are blocked although enough slots are
 * free. */
static double mfi_index(const struct mig_geometry *g, const struct mig_use *use)
{
    int sum = 0;

    for (int p = 0; p < g->profile_count; p++) {
        const struct mig_profile *row = &g->profiles[p];
        bool counts = row->size <= free_slots(g, use) && !is_variant(g, p);
        for (int k = 0; counts && k < row->start_count; k++) {
            sum += use->mask & mig_window(g, p, row->starts[k]) ? row->size : 0;
        }
    }
    return sum;
}

/* The default: what the cut takes away from others, fuller GPUs first, empty ones last. */
static double reach_cost(const struct plan_settings *settings, const struct mig_geometry *g,
                         const struct plan_mix *mix, const struct plan_look *before,
                         const struct plan_look *after)
{
    return after->unusable - before->unusable +
           FREE_WEIGHT * free_slots(g, &before->use) +
           SHUT_WEIGHT * shut_out(g, mix, before, after) +
           (before->use.mask ? 0 : settings->open_cost * g->slots);
}

static double fgd_cost(const struct plan_settings *settings, const struct mig_geometry *g,
                       const struct plan_look *before, const struct plan_look *after)
{
    return after->unusable - before->unusable + (before->use.mask ? 0 : settings->open_cost) +
           1e-3 * free_slots(g, &before->use);
}

double plan_cost(enum plan_policy policy, const struct plan_settings *settings,
                 const struct mig_geometry *g, const struct plan_mix *mix,
                 const struct plan_look *before, struct mig_slice slice)
{
    struct mig_use use = before->use;
    struct plan_look after;

    mig_use_add(g, &use, slice.profile, slice.start);
    switch (policy) {
    case PLAN_VALUE:
        if (is_value_known(mix)) {
            return before->value - plan_value_of(mix->value, &use) +
                   1e-2 * free_slots(g, &before->use);
        }
        __attribute__((fallthrough));
    case PLAN_REACH:
    case PLAN_ALIGN:
        plan_look_at(g, mix, &use, &after);
        return reach_cost(settings, g, mix, before, &after);
    case PLAN_FGD:
        plan_look_at(g, mix, &use, &after);
        return fgd_cost(settings, g, before, &after);
    case PLAN_MFI:
        return mfi_index(g, &use) - mfi_index(g, &before->use);
    case PLAN_BEST_FIT:
        return free_slots(g, &before->use);
    case PLAN_WORST_FIT:
        return -free_slots(g, &before->use);
    case PLAN_MAX_CC:
        return -plan_placements_left(g, &use);
    default: /* first-fit, round-robin, lowest-slot: the slot; the GPU's number comes on top */
        return slice.start;
    }
}

double plan_stay_cost(int64_t late_ms, double mean_ms)
{
    return late_ms > 0 && mean_ms > 0
               ? STAY_WEIGHT * (double)late_ms / ((double)late_ms + mean_ms) : 0;
}

double plan_slot_cost(enum plan_policy policy, const struct mig_geometry *g,
                      const struct mig_use *before, struct mig_slice slice)
{
    struct mig_use after = *before;

    if (policy != PLAN_BEST_FIT && policy != PLAN_WORST_FIT) {
        return 0;
    }
    mig_use_add(g, &after, slice.profile, slice.start);
    return -plan_placements_left(g, &after);
}
