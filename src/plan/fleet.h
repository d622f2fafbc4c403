#pragma once
#include "plan/index.h"
#include "plan/plan.h"

/* The inside of struct plan, for the files of this room only. */

/* Lists that most GPUs of an idle fleet do not have. */
struct plan_detail {
    uint8_t idle_count, movable_count;
    struct mig_slice idle[MIG_SLOTS_MAX];
    struct plan_movable movable[MIG_SLOTS_MAX];
};

struct plan_info {
    struct plan_detail *detail; /* NULL: neither idle nor movable slices */
    uint32_t state;             /* also while the GPU is not usable */
    uint8_t class_id, instances;
    bool is_there, is_usable;
};

struct plan_class {
    struct plan_index index;
    double seen[MIG_PROFILES_MAX]; /* requests, in units of `unit` */
    double unit;                   /* what one request counts now: grows instead of all decaying */
    uint32_t since_check;
};

struct plan {
    struct plan_settings settings;
    struct plan_class *classes[PLAN_CLASSES_MAX];
    int class_count;
    uint32_t gpu_count; /* length of infos and of seats, a multiple of PLAN_BLOCK */
    struct plan_info *infos;
    uint32_t *seats;
    uint32_t last_gpu; /* for round-robin */
    double mix_growth; /* of plan_class.unit with each request */
};

static inline struct plan_index *plan_gpu_index(const struct plan *p, uint32_t gpu)
{
    return &p->classes[p->infos[gpu].class_id]->index;
}

/* What is busy on a GPU; instances are not counted. */
static inline const struct mig_use *plan_gpu_busy(const struct plan *p, uint32_t gpu)
{
    return &plan_gpu_index(p, gpu)->states[p->infos[gpu].state].busy;
}

/* Is the GPU known? */
static inline bool plan_has_gpu(const struct plan *p, uint32_t gpu)
{
    return gpu < p->gpu_count && p->infos[gpu].is_there;
}

/* May something be placed on the GPU? */
static inline bool plan_is_usable(const struct plan *p, uint32_t gpu)
{
    return p->seats[gpu] != PLAN_NO_STATE;
}

/* Bits of the idle slices that a window touches. */
uint16_t plan_idle_touched(const struct plan *p, uint32_t gpu, uint16_t window);
/* Changes the state of a GPU and keeps the index right. */
void plan_set_state(struct plan *p, uint32_t gpu, uint32_t state);
