#pragma once
#include "plan/plan.h"

/* Many slices at once, exactly: on fleets of any models, beside what is busy.
 *
 * The best batch uses the fewest GPUs that were empty before, and of those the one that destroys
 * the fewest idle slices (an idle slice of the wanted profile is taken as it is). */

#define PLAN_BATCH_WANTS_MAX 16

struct plan_batch_want {
    struct plan_ask ask; /* its exclusions and is_spread are not looked at */
    uint32_t count;
};

struct plan_batch_spot {
    struct plan_spot spot; /* destroy: idle slices, as last told, each named once */
    uint8_t want;          /* which of the wants */
    bool is_kept;          /* the idle slice that stands there serves */
};

struct plan_batch {
    uint32_t opened, destroyed; /* empty GPUs taken, idle slices destroyed */
    uint32_t opened_least;      /* no solution opens fewer */
    bool is_proven;             /* is this the best there is? */
    uint32_t nodes;             /* linear programs solved */
    size_t count;
    struct plan_batch_spot *spots; /* owned; by GPU, then start */
};
void plan_batch_done(struct plan_batch *batch);

/* At most node_limit linear programs are solved; then the best found so far is returned with
 * is_proven = false.  -ENOSPC: proven not to fit; -EAGAIN: nothing found within the limit;
 * -E2BIG: more different layouts than can be looked at. */
int plan_batch_place(const struct plan *plan, const struct plan_batch_want *wants, size_t count,
                     uint32_t node_limit, struct plan_batch *ret, struct error *err);
/* The same, but the first that is found will do: is_proven says little then. */
int plan_batch_fit(const struct plan *plan, const struct plan_batch_want *wants, size_t count,
                   uint32_t node_limit, struct plan_batch *ret, struct error *err);
