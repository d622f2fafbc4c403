#pragma once
#include "replay/simulate.h"

/* What no planner can beat on this trace; fills the bounds of the outcome.  is_possible and asks by
 * trace profile.  Only for fleets of one model. */
void replay_bounds(const struct replay_setup *setup, const struct plan_ask *asks,
                   const bool *is_possible, struct replay_outcome *outcome);
