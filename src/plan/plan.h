#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include "mig/mig.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where to cut.
 *
 * A plan is a model of the fleet, kept current by its owner (the pool owns the truth and tells the
 * plan about every change).  Questions do not change it: whoever asked decides, and then says so
 * with plan_update_gpu() or plan_take().  The plan does no I/O, reads no clock, draws no random
 * numbers; equal calls give equal answers.  One thread at a time.
 *
 * GPUs fall into classes: GPUs of one model (or of any finer group that the owner wants to be able
 * to ask for).  A request names one profile per class. */

#define PLAN_CLASSES_MAX 64
#define PLAN_GPUS_MAX (1u << 22)

enum plan_policy {
    PLAN_REACH,       /* fgd, but fuller GPUs first, and few profiles shut out */
    PLAN_ALIGN,       /* default: the same, and where ends are known, nobody left behind alone */
    PLAN_VALUE,       /* least taken from what a GPU is worth to who comes, as learned; ends too */
    PLAN_FGD,         /* least growth of unusable space under the learned mix */
    PLAN_FIRST_FIT,   /* lowest GPU, lowest slot */
    PLAN_ROUND_ROBIN, /* the next GPU after the last one used, lowest slot */
    PLAN_BEST_FIT,    /* fullest GPU, best slot */
    PLAN_WORST_FIT,   /* emptiest GPU, best slot */
    PLAN_MFI,         /* least growth of the fragmentation index of MFI (docs/planner.md) */
    PLAN_MAX_CC,      /* most placements left on the GPU */
    PLAN_LOWEST_SLOT, /* lowest slot of any GPU */
    PLAN_POLICY_COUNT,
};

/* "reach", "fgd", "first-fit", ...; NULL-terminated by PLAN_POLICY_COUNT. */
const char *plan_policy_name(enum plan_policy policy);
/* -EINVAL lists the names. */
int plan_policy_parse(const char *name, enum plan_policy *ret, struct error *err);

/* Does the policy look at when leases end? */
bool plan_policy_looks_at_ends(enum plan_policy policy);

/* What moves and batches try to make much of. */
enum plan_objective {
    PLAN_REQUESTS, /* as many requests as possible */
    PLAN_SLICES,   /* as much of the GPUs as possible (default) */
    PLAN_PRIORITY, /* as much of what has priority */
    PLAN_OBJECTIVE_COUNT,
};
const char *plan_objective_name(enum plan_objective objective);
int plan_objective_parse(const char *name, enum plan_objective *ret, struct error *err);

struct plan_settings {
    enum plan_policy policy;
    enum plan_objective objective;
    double open_cost;       /* of using an empty GPU; >= 1 means "used GPUs first" */
    uint32_t mix_half_life; /* requests; 0 keeps the mix as it is */
    bool may_stop; /* when no moves help otherwise: also such that give up a place first */
};
void plan_settings_default(struct plan_settings *settings);

struct plan;
/* NULL settings: the defaults. */
struct plan *plan_new(const struct plan_settings *settings);
void plan_free(struct plan *plan);
DEFINE_FREEP(struct plan, plan_free)

/* A new class; the geometry (already through mig_geometry_init()) is copied.
 * -ENOSPC beyond PLAN_CLASSES_MAX. */
int plan_add_class(struct plan *plan, const struct mig_geometry *geometry, int *ret_class,
                   struct error *err);
const struct mig_geometry *plan_class_geometry(const struct plan *plan, int class_id);
int plan_class_count(const struct plan *plan);

/* gpu_id is the owner's own small number (an array index); -EEXIST, -ERANGE.  The GPU is empty and
 * usable. */
int plan_add_gpu(struct plan *plan, uint32_t gpu_id, int class_id, struct error *err);
void plan_remove_gpu(struct plan *plan, uint32_t gpu_id);

/* A slice with a lease that may be moved. */
struct plan_movable {
    struct mig_slice slice;
    float cost; /* >= 0, of moving it once */
};

/* All that the plan knows about one GPU. */
struct plan_gpu {
    bool is_usable;      /* false: nothing may be placed or moved here */
    struct mig_use busy; /* leased (movable ones too), foreign, being made or destroyed, blocked */
    uint8_t idle_count;  /* ours, without a lease: may be destroyed to make room; not in busy */
    struct mig_slice idle[MIG_SLOTS_MAX];
    uint8_t movable_count; /* those in busy that may be moved */
    struct plan_movable movable[MIG_SLOTS_MAX];
    int64_t end_ms; /* when the last of what is busy ends, as far as is known; 0: nobody knows */
};

/* Replaces what is known about the GPU. */
void plan_update_gpu(struct plan *plan, uint32_t gpu_id, const struct plan_gpu *gpu);
/* What was told last, or the outcome of plan_take() and plan_give_back() since; busy.starts is kept
 * for the policy "value" only. */
void plan_get_gpu(const struct plan *plan, uint32_t gpu_id, struct plan_gpu *ret);

/* Slots that a request must leave alone on one GPU (a reservation); at most one entry per GPU. */
struct plan_exclusion {
    uint32_t gpu_id;
    uint16_t mask;
};

struct plan_ask {
    int8_t profile[PLAN_CLASSES_MAX]; /* index in the class's geometry; < 0: not this class */
    bool is_spread;                   /* prefer the emptiest GPU (policy worst-fit for this one) */
    const struct plan_exclusion *excluded;
    size_t excluded_count;
    int64_t now_ms, end_ms; /* the owner's time, and when the slice ends; 0: nobody knows */
};

/* An ask that no class answers, to fill in. */
void plan_ask_init(struct plan_ask *ask);
/* Resolves what people write for every class. -ENOENT when no class has it (the message is that of
 * the first class). */
int plan_ask_resolve(const struct plan *plan, const struct mig_want *want, struct plan_ask *ask,
                     struct error *err);

struct plan_spot {
    uint32_t gpu_id;
    struct mig_slice slice;
    uint16_t destroy; /* bit i: idle[i], as last told, must be destroyed first */
    double cost;      /* comparable among spots of one ask */
};

/* The best place now: one that destroys nothing if there is one, else the one that destroys the
 * fewest slots.  Idle slices of the very profile count as destroyed and made anew: look for them
 * with plan_score() first.  -ENOSPC: nothing fits now; *ret untouched. */
int plan_place(const struct plan *plan, const struct plan_ask *ask, struct plan_spot *ret);
/* The cost of having this slice busy on that GPU, as plan_place() compares it; INFINITY when its
 * slots or engines are busy. */
double plan_score(const struct plan *plan, const struct plan_ask *ask, uint32_t gpu_id,
                  struct mig_slice slice);

/* For simulation in bulk: marks the spot busy (forgetting idle slices that it destroys), and free
 * again.  is_movable makes it known to plan_moves(). */
void plan_take(struct plan *plan, const struct plan_spot *spot, bool is_movable, float move_cost);
void plan_give_back(struct plan *plan, uint32_t gpu_id, struct mig_slice slice);
/* For who tells by plan_update_gpu(): a request has got its place there; round-robin goes on
 * from it. */
void plan_note_turn(struct plan *plan, uint32_t gpu_id);
/* plan_gpu.end_ms, which the two above leave as it is. */
void plan_set_end(struct plan *plan, uint32_t gpu_id, int64_t end_ms);

/* Learning: tell every request once, when it arrives, whatever becomes of it. */
void plan_learn(struct plan *plan, const struct plan_ask *ask);
/* What has been learned: the share of a profile among the requests that its class could answer. */
double plan_class_share(const struct plan *plan, int class_id, int profile);

/* Memory held for GPUs and index together. */
size_t plan_memory_bytes(const struct plan *plan);

/* Room for `ask` by moving leases.  Steps are executed in order; each target is free when its turn
 * comes, so at every step all work has its place (make before break). */
#define PLAN_MOVES_MAX 8
struct plan_move {
    uint32_t from_gpu, to_gpu;
    struct mig_slice from, to;
    uint16_t destroy; /* idle slices on to_gpu to destroy first */
    bool stops; /* break before make: its own place has to be given up first */
};
struct plan_moves {
    uint8_t count;
    struct plan_move moves[PLAN_MOVES_MAX];
    struct plan_spot spot; /* for the request, after the moves */
    double cost;           /* of the moves */
};
/* At most max_moves moves, least cost; 0 moves when plan_place() succeeds.  -ENOSPC. */
int plan_find_moves(struct plan *plan, const struct plan_ask *ask, int max_moves,
                    struct plan_moves *ret);

/* One move of a movable slice that brings the fleet together, so that at least so many slots become
 * of use for it; the first one when several belong together (see consolidate.c).  Looks at every
 * GPU.  -ENOENT: none is worth it. */
int plan_find_consolidation(struct plan *plan, double least_gain, struct plan_move *ret);

/* From what is on one GPU to the counts that are wanted (`apply`). */
struct plan_diff_slice {
    struct mig_slice slice;
    bool is_pinned; /* in use or not ours: must stay */
};
struct plan_diff {
    uint16_t keep;    /* bit i: current[i] stays and counts for the target */
    uint16_t destroy; /* bit i: current[i] goes */
    uint16_t blocker; /* bit i: current[i] is pinned and stands in the way (only with -EBUSY) */
    uint8_t create_count;
    struct mig_slice create[MIG_SLOTS_MAX]; /* in an order that the driver accepts */
};
/* Exact: among all layouts with these counts the one that keeps the most.  count <= 16.
 * -ENOSPC: the counts do not fit an empty GPU; -EBUSY: they do, but pinned slices stand in the way:
 * ret->blocker is then the smallest set of them that must go. */
int plan_layout_diff(const struct mig_geometry *geometry, const struct plan_diff_slice *current,
                     size_t count, const uint8_t wanted[MIG_PROFILES_MAX], struct plan_diff *ret,
                     struct error *err);
