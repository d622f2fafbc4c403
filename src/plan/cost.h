#pragma once
#include "mig/mig.h"
#include "plan/plan.h"
#include "plan/value.h"

/* What a placement costs, for every policy; see the top of cost.c.  Internal to the room. */

struct plan_mix {
    double share[MIG_PROFILES_MAX]; /* sums to 1 over the profiles of the class */
    struct plan_value *value;       /* for the policy "value"; NULL: none */
};

/* What a GPU has for others: all that costs are made of. */
struct plan_look {
    struct mig_use use;
    uint32_t fits;   /* bit p: profile p has a place */
    double unusable; /* plan_unusable() */
    double value;    /* plan_value_of(), when that is ready */
};
void plan_look_at(const struct mig_geometry *geometry, const struct plan_mix *mix,
                  const struct mig_use *use, struct plan_look *ret);

double plan_cost(enum plan_policy policy, const struct plan_settings *settings,
                 const struct mig_geometry *geometry, const struct plan_mix *mix,
                 const struct plan_look *before, struct mig_slice slice);

/* What "align" adds when the slice ends so long after all else on the GPU.  mean_ms: how long
 * slices are wanted for. */
double plan_stay_cost(int64_t late_ms, double mean_ms);

/* Between slots of one GPU that cost the same: less is better, then the lower slot. */
double plan_slot_cost(enum plan_policy policy, const struct mig_geometry *geometry,
                      const struct mig_use *before, struct mig_slice slice);

/* Free slots that a request drawn from the mix could not use, on average. */
double plan_unusable(const struct mig_geometry *geometry, const struct plan_mix *mix,
                     const struct mig_use *use);
/* Placements still possible. */
int plan_placements_left(const struct mig_geometry *geometry, const struct mig_use *use);
