#pragma once
#include "mig/mig.h"
#include <stdbool.h>
#include <stdint.h>

/* How many GPUs a set of slices needs when everything may still be moved. See pack.c. */

/* Does a closed form answer for this geometry and these counts?  It does for the eight-slot models
 * and for those whose slices halve evenly (A30, RTX PRO), as long as no two variants compete for
 * an engine. */
bool plan_pack_is_closed_form(const struct mig_geometry *geometry,
                              const uint32_t counts[MIG_PROFILES_MAX]);
/* Does only the sum of slots count, as where slices halve evenly? */
bool plan_pack_is_by_slots(const struct mig_geometry *geometry,
                           const uint32_t counts[MIG_PROFILES_MAX]);
/* Do the counts fit `gpus` empty GPUs?  Only where plan_pack_is_closed_form(). */
bool plan_pack_fits(const struct mig_geometry *geometry, const uint32_t counts[MIG_PROFILES_MAX],
                    uint32_t gpus);
/* The least number of GPUs, from the closed form. */
uint32_t plan_pack_min_gpus(const struct mig_geometry *geometry,
                            const uint32_t counts[MIG_PROFILES_MAX]);
/* No fewer GPUs can do: by slots, by each profile alone, and by each engine. */
uint32_t plan_pack_area_bound(const struct mig_geometry *geometry,
                              const uint32_t counts[MIG_PROFILES_MAX]);
