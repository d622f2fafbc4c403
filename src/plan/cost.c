/* The cost of a placement.
 *
 * The default, "reach", asks who can no longer be served on this GPU once the cut is made.  A
 * profile reaches a GPU when it could be placed there; the cost of a cut is how many profiles lose
 * this GPU (each counts REACH_SLOTS slots, if it is asked for at all), plus the slots that are free
 * on it, so that fuller GPUs are preferred; empty GPUs come last.  A cut that takes nothing from
 * anybody may so go to a GPU with one free slot more, but not with two.  REACH_SLOTS was found by
 * search over eight mixes of requests; anything from 1.5 to 1.75 does (docs/planner.md).
 *
 * Which profiles count is learned: one with a share of REACH_SHARE of the requests or more counts
 * in full.  Profiles with much more memory than compute (the double-memory 1g) do not count: they
 * also find the corner that is of no use to others.
 *
 * The other policies are there to compare with; "fgd" is the expected number of free slots that
 * the next request of the mix cannot use (plan_unusable()), and how much that grows.
 *
 * Costs depend on the occupancy of one GPU only, never on its number, so that a fleet can be
 * indexed by occupancy (index.c).  First-fit and round-robin, which go by the number, are added in
 * place.c. */
#include "plan/cost.h"
#include <math.h>

static int free_slots(const struct mig_geometry *g, const struct mig_use *use)
{
    return g->slots - __builtin_popcount(use->mask);
}

#define REACH_SLOTS 1.6
#define REACH_SHARE 0.04

/* How much it matters that the profile can be placed, 0 to 1. */
static double weight(const struct mig_geometry *g, const struct plan_mix *mix, int p)
{
    const struct mig_profile *row = &g->profiles[p];
    bool is_corner = 4 * row->slices * g->slots < 3 * row->size * g->slices;

    return is_corner ? 0 : fmin(mix->share[p] / REACH_SHARE, 1);
}

/* The profiles that can be placed somewhere, by weight. */
static double reach(const struct mig_geometry *g, const struct plan_mix *mix,
                    const struct mig_use *use)
{
    double sum = 0;

    for (int p = 0; p < g->profile_count; p++) {
        bool fits = false;
        for (int k = 0; !fits && k < g->profiles[p].start_count; k++) {
            fits = mig_fits(g, use, p, g->profiles[p].starts[k]);
        }
        sum += fits ? weight(g, mix, p) : 0;
    }
    return sum;
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
        for (int k = 0; !is_variant(g, p) && k < g->profiles[p].start_count; k++) {
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
        bool counts = row->size <= free_slots(g, use) && !is_variant(g, p);
        for (int k = 0; counts && k < row->start_count; k++) {
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
    case PLAN_REACH:
        return REACH_SLOTS * (reach(g, mix, before) - reach(g, mix, &after)) + fullness +
               (before->mask ? 0 : settings->open_cost * g->slots);
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
