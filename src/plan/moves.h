#pragma once
#include "plan/plan.h"

/* What the search for moves for one slice (moves.c) and that for several (set_moves.c) share.
 * Internal to the room. */

/* A place for one slice, if only the movable leases in it were out of the way. */
struct plan_candidate {
    float cost;
    uint32_t gpu;
    uint64_t look; /* equal for candidates that differ in the GPU's number only */
    uint32_t kind; /* equal for those that hardly differ: the same goes, as much room is there */
    struct mig_slice slice;
    uint16_t evicted; /* bits of the GPU's movable list; never 0 */
    bool is_odd;      /* found with any_size only, see below */
    bool is_stuck;    /* a lease in it has no place elsewhere as it is */
};

/* By what they cost, those with a lease that is stuck last.  Of those that look alike, with the
 * same cost, only the first few GPUs' are listed: as many as moves can touch. */
struct plan_candidates {
    bool is_found; /* the list was made */
    size_t count, size;
    struct plan_candidate *list;
    struct plan_alike *alike; /* a hash table */
    size_t alike_count, alike_size;
};
void plan_candidates_done(struct plan_candidates *list);

/* All those with at most so many leases in the way.  Without any_size, none in which one stands
 * that is larger than what is asked for, or the same: where it could go, the other could, too, but
 * for places that are of use for one of them only. */
void plan_find_candidates(const struct plan *plan, const struct plan_ask *ask, int max_moves,
                          bool any_size, struct plan_candidates *ret);

/* Every lease that may be moved, by itself: slice is its own, evicted its bit. */
void plan_find_movers(const struct plan *plan, struct plan_candidates *ret);

/* An order in which every target is free before its source is given up; with may_stop, if there is
 * none, one in which as few as can be found give up theirs first (`stops` is set in both lists).
 * False: none. */
bool plan_order_moves(const struct plan *plan, struct plan_move *moves, int count, bool may_stop,
                      struct plan_move *ret);

/* Fills in which idle slices go, each at the first step that needs its room: the moves in order,
 * then the places. */
void plan_mark_destroyed(const struct plan *plan, struct plan_move *moves, int count,
                         struct plan_spot *spots, unsigned spot_count);

/* Does the objective want that room is made for so many of them? */
bool plan_is_worth_room(const struct plan *plan, const struct plan_ask *ask, unsigned count);
