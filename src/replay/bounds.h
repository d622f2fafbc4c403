#pragma once
#include "replay/simulate.h"

/* What cannot be beaten on this trace; ret_offered_slots are those that the requests asked for.
 * is_possible and asks by trace profile, asks resolved for the fleet's groups in order.
 *
 * Free migration (without a queue, models with a closed form): first come, first served, with
 * all slices moving at will.  The yardstick for planners that take whatever fits; one that turns
 * work away to keep room for later can do better.
 * Clairvoyant (without a queue, any fleet): nobody does better, whatever he knows, moves and turns
 * away.
 * Makespan (with a queue, any fleet): nobody is done earlier. */
void replay_bounds_find(const struct replay_setup *setup, const struct plan_ask *asks,
                        const bool *is_possible, uint64_t offered_slots, struct replay_bounds *ret);
/* The memory slots that a request asks for: those of its profile on the first model that has it. */
uint8_t replay_offered_slots(const struct replay_fleet *fleet, const struct plan_ask *ask);
