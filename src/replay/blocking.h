#pragma once
#include "mig/mig.h"
#include <stdbool.h>

/* Free migration in the steady state: requests come at random (Poisson), stay for a random time
 * whatever its distribution, and are accepted if all slices present could be packed together. */

/* How much of each profile is accepted.  load[p]: requests of profile p per time, times how long
 * one stays on average.  False when there is no closed form, or too many states to sum. */
bool replay_blocking_accepted(const struct mig_geometry *geometry, uint32_t gpus,
                              const double load[MIG_PROFILES_MAX],
                              double ret_accepted[MIG_PROFILES_MAX]);
