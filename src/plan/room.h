#pragma once
#include "plan/plan.h"

/* How much a fleet could hold if slots and engines could be combined at will: a quick no to what
 * cannot fit.  Internal to the room.
 *
 * For each kind of window (a row) the places are counted that the free slots have for it, side by
 * side.  A slice takes away at least as many as its own window has, wherever it stands: so what
 * takes more of any row than there is does not fit, however it is placed.  Free slots are another
 * row, and the engines that the ask needs and that are scarce, counted in what it needs of them. */

#define PLAN_ROOM_ROWS 16

struct plan_room_class {
    unsigned rows, windows;   /* windows come first, then the slots, then engines */
    int left[PLAN_ROOM_ROWS]; /* places, less what was taken */
    uint8_t takes[MIG_PROFILES_MAX][PLAN_ROOM_ROWS]; /* of a profile, at least */
    uint8_t of[PLAN_ROOM_ROWS];    /* the profile whose window it is, or the engine */
    uint16_t unit[PLAN_ROOM_ROWS]; /* of an engine: what one of the ask needs */
};

struct plan_room {
    const struct plan *plan;
    const struct plan_ask *ask;
    struct plan_room_class classes[PLAN_CLASSES_MAX];
    unsigned now;  /* of the ask fit as it is, engines and all */
    unsigned gpus; /* that may be used */
};

/* Counts the fleet as it is, but for what the ask is to leave alone. */
void plan_room_count(const struct plan *plan, const struct plan_ask *ask, struct plan_room *ret);

/* What a GPU has when so much is busy: places by row. */
void plan_room_places(const struct plan_room *room, int class_id, const struct mig_use *use,
                      int8_t ret[PLAN_ROOM_ROWS]);

/* The most of the ask that there could be room for; 0, too, when what was taken does not fit. */
unsigned plan_room_most(const struct plan_room *room);
