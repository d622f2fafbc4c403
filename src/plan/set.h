#pragma once
#include "plan/plan.h"

/* Several slices at once, exactly: gang leases, plans of several requests, the front of the queue.
 *
 * Of all ways to place them, the best opens the fewest empty GPUs, then destroys the fewest idle
 * slices, then cuts the fewest new ones, then has the least cost as plan_place() counts it. */

#define PLAN_SET_MAX 64

struct plan_set_ask {
    const struct plan_ask *ask; /* is_spread is not looked at; exclusions are kept to */
    const void *owner;          /* equal asks of one owner may change places */
};

/* May the idle slice that stands there serve as it is?  The slice is of the profile wanted. */
struct plan_keep {
    bool (*may_keep)(const void *arg, const void *owner, uint32_t gpu_id, struct mig_slice slice);
    const void *arg;
};

struct plan_set {
    unsigned opened, destroyed, created; /* empty GPUs taken, idle slices that go, new ones */
    unsigned opened_least;               /* no way to place them opens fewer */
    bool is_proven;                      /* is this the best there is? */
    unsigned fills, sums;                /* layouts looked at, and sums compared */
};

struct plan_set_spot {
    uint32_t gpu_id;
    struct mig_slice slice;
    bool is_kept; /* the idle slice that stands there serves */
};

/* Places for all or for none; spots[i] answers asks[i].  Nothing is changed.
 *
 * Exact as long as the sets to be told apart (product of count + 1 over the kinds of asks) and the
 * GPUs are not too many: every gang of one kind on 256 GPUs, ten different slices on a few.  Beyond
 * that one after the other, then branch and bound (batch.h), with is_proven false and opened_least
 * saying how far off it is at most.
 * -ENOSPC: they do not fit together (nothing found, when !is_proven); -E2BIG above PLAN_SET_MAX. */
int plan_place_set(struct plan *plan, const struct plan_set_ask *asks, size_t count,
                   const struct plan_keep *keep, struct plan_set *ret,
                   struct plan_set_spot *ret_spots);

/* The same without the second best, and without keeping anything: -E2BIG where it would not be
 * proven, or when more than so many layouts are to be looked at. */
int plan_place_set_exactly(struct plan *plan, const struct plan_set_ask *asks, size_t count,
                           unsigned fills_most, struct plan_set *ret,
                           struct plan_set_spot *ret_spots);

/* The same one after the other, the larger ones first, each where plan_place() would put it after
 * the others; when that fails, branch and bound over all of them together (not with exclusions).
 * Quick, and not the best.  -ENOSPC.  Each idle slice is named once. */
int plan_place_each(struct plan *plan, const struct plan_ask *const *asks, size_t count,
                    struct plan_spot *ret);

/* Room for several of one kind by moving leases elsewhere, as plan_find_moves() for one. */
struct plan_set_moves {
    struct plan_moves moves; /* .spot is not used */
    unsigned spot_count;
    struct plan_spot spots[PLAN_SET_MAX]; /* for the request, after the moves; .cost is not used */
};
/* At most max_moves moves in all, and of the sets of leases that were looked at the cheapest with
 * which all have their places; 0 moves when they have them now.  -ENOSPC: none was found. */
int plan_find_set_moves(struct plan *plan, const struct plan_ask *ask, unsigned count,
                        int max_moves, struct plan_set_moves *ret);
