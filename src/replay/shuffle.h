#pragma once
#include "replay/polytope.h"

/* Would what is on the fleet, and one more, fit if everything were placed anew?  For fleets of any
 * models that have a closed form (plan/pack.h) for what is asked of them. */

struct replay_shuffle;

/* asks by kind, resolved for classes in the fleet's order; all is borrowed.  -ENOTSUP: a model has
 * no closed form. */
int replay_shuffle_new(const struct replay_fleet *fleet, const struct plan_ask *asks, size_t kinds,
                       const struct replay_polytope *polytope, struct replay_shuffle **ret,
                       struct error *err);
void replay_shuffle_free(struct replay_shuffle *shuffle);
DEFINE_FREEP(struct replay_shuffle, replay_shuffle_free)

/* 1: it is there now; 0: it fits in no way; -EAGAIN: not found out within the limit of the search,
 * and it is not there. */
int replay_shuffle_add(struct replay_shuffle *shuffle, uint32_t kind);
/* One of those that are there goes. */
void replay_shuffle_remove(struct replay_shuffle *shuffle, uint32_t kind);
