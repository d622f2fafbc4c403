#pragma once
#include "base/cleanup.h"
#include "mig/mig.h"
#include <stdbool.h>
#include <stddef.h>

/* What the free slots of a GPU are worth to those who will ask, learned from those who have asked:
 * the policy "value"; see the top of value.c.  One for each class of GPUs.  Internal
 * to the room. */

struct plan_value;

/* NULL: the model can be cut in so many ways that it would take too long. */
struct plan_value *plan_value_new(const struct mig_geometry *geometry);
void plan_value_free(struct plan_value *value);
DEFINE_FREEP(struct plan_value, plan_value_free)
size_t plan_value_bytes(const struct plan_value *value);

/* Somebody has asked for the profile.  price: what his place took from its GPU's worth
 * (plan_value_price()); INFINITY: there was none.  is_here: it is on a GPU of this class. */
void plan_value_learn(struct plan_value *value, int profile, double price, bool is_here);
/* Takes stock of what was learned since the last call; `present`: slices on all GPUs of the class.
 * keep: how much of what is known counts on, 1 for all.  True: costs have to be computed anew. */
bool plan_value_refresh(struct plan_value *value, double present, double keep);

/* Is enough known for plan_value_of()? */
bool plan_value_is_ready(const struct plan_value *value);
/* In memory slots, as of the last time that plan_value_refresh() said true. */
double plan_value_of(const struct plan_value *value, const struct mig_use *use);
/* What a slice takes from it, by all that is known. */
double plan_value_price(const struct plan_value *value, const struct mig_use *before,
                        const struct mig_slice *slice);
