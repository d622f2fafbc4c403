/* The cost of a placement.
 *
 * The default asks what a cut takes away from those who come later: the expected number of free
 * slots that the next request, drawn from the mix of requests seen so far, cannot use
 * (plan_unusable()).  A cut costs by how much it makes that grow; using an empty GPU costs
 * open_cost more, which with 1 or above means that used GPUs come first; among equals the fuller
 * GPU wins.  The other policies are there to compare with.
 *
 * Costs depend on the occupancy of one GPU only, never on its number, so that a fleet can be
 * indexed by occupancy (index.c). First-fit and round-robin, which go by the number, are added in
 * plan.c. */
#include "plan/cost.h"
#include <math.h>

static int free_slots(const struct mig_geometry *g, const struct mig_use *use)
{
    return g->slots - __builtin_popcount(use->mask);
}

double plan_unusable(const struct mig_geometry *g, const struct plan_mix *mix,
                     const struct mig_use *use)
{
    double sum = 0;

    for (int p = 0; p < g->profile_count; p++) {
        uint16_t usable = 0;
        for (int k = 0; k < g->profiles[p].start_count; k++) {
            if (mig_fits(g, use, p, g->profiles[p].starts[k])) {
                usable |= mig_window(g, p, g->profiles[p].starts[k]);
            }
        }
        sum += mix->share[p] * (free_slots(g, use) - __builtin_popcount(usable));
    }
    return sum;
}

int plan_placements_left(const struct mig_geometry *g, const struct mig_use *use)
{
    int n = 0;

    for (int p = 0; p < g->profile_count; p++) {
        for (int k = 0; k < g->profiles[p].start_count; k++) {
            n += mig_fits(g, use, p, g->profiles[p].starts[k]);
        }
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
        for (int k = 0; row->size <= free_slots(g, use) && k < row->start_count; k++) {
            sum += use->mask & mig_window(g, p, row->starts[k]) ? row->size : 0;
        }
    }
    return sum;
}

double plan_cost(enum plan_policy policy, const struct plan_settings *settings,
                 const struct mig_geometry *g, const struct plan_mix *mix,
                 const struct mig_use *before, struct mig_slice slice)
{
    struct mig_use after = *before;
    double fullness = free_slots(g, before);

    mig_use_add(g, &after, slice.profile, slice.start);
    switch (policy) {
    case PLAN_FGD:
        return plan_unusable(g, mix, &after) - plan_unusable(g, mix, before) +
               (before->mask ? 0 : settings->open_cost) + 1e-3 * fullness;
    case PLAN_MFI:
        return mfi_index(g, &after) - mfi_index(g, before);
    case PLAN_BEST_FIT:
        return fullness - 1e-3 * plan_placements_left(g, &after);
    case PLAN_WORST_FIT:
        return -fullness - 1e-3 * plan_placements_left(g, &after);
    case PLAN_MAX_CC:
        return -plan_placements_left(g, &after);
    default: /* first-fit, round-robin, lowest-slot: the slot; the GPU's number comes on top */
        return slice.start;
    }
}
