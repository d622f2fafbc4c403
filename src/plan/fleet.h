#pragma once
#include "plan/index.h"
#include "plan/plan.h"

/* The inside of struct plan, for the files of this room only. */

/* What most GPUs of an idle fleet do not have: lists, and a state while not usable. */
struct plan_detail {
    uint8_t idle_count, movable_count;
    uint32_t seat; /* of a GPU that is not usable, in place of the one in seats[] */
    struct mig_slice idle[MIG_SLOTS_MAX];
    struct plan_movable movable[MIG_SLOTS_MAX];
};

/* One byte per GPU, so that placing and giving back touch five bytes of it and no more. */
#define PLAN_MARK_INSTANCES 0x1f
#define PLAN_MARK_THERE 0x20
#define PLAN_MARK_USABLE 0x40
#define PLAN_MARK_DETAIL 0x80 /* details[gpu] is not NULL */

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
    uint32_t gpu_count; /* length of the three arrays, a multiple of PLAN_BLOCK */
    uint32_t *seats;    /* see index.h */
    uint8_t *marks;     /* PLAN_MARK_* */
    struct plan_detail **details;
    uint32_t last_gpu; /* for round-robin */
    double mix_growth; /* of plan_class.unit with each request */
    int64_t *ends_ms;  /* plan_gpu.end_ms; NULL as long as nobody has told one */
    double mean_stay_ms, stays; /* of requests that say when they end; how many count in it */
};

/* Is the GPU known? */
static inline bool plan_has_gpu(const struct plan *p, uint32_t gpu)
{
    return gpu < p->gpu_count && (p->marks[gpu] & PLAN_MARK_THERE);
}

/* May something be placed on the GPU? */
static inline bool plan_is_usable(const struct plan *p, uint32_t gpu)
{
    return p->seats[gpu] != PLAN_NO_STATE;
}

/* NULL: neither idle nor movable slices. */
static inline struct plan_detail *plan_gpu_detail(const struct plan *p, uint32_t gpu)
{
    return p->marks[gpu] & PLAN_MARK_DETAIL ? p->details[gpu] : NULL;
}

static inline uint32_t plan_gpu_seat(const struct plan *p, uint32_t gpu)
{
    return plan_is_usable(p, gpu) ? p->seats[gpu] : p->details[gpu]->seat;
}

static inline int plan_gpu_class(const struct plan *p, uint32_t gpu)
{
    return (int)(plan_gpu_seat(p, gpu) >> PLAN_SEAT_CLASS_SHIFT);
}

static inline uint32_t plan_gpu_state(const struct plan *p, uint32_t gpu)
{
    return plan_gpu_seat(p, gpu) & ((1u << PLAN_SEAT_CLASS_SHIFT) - 1);
}

static inline struct plan_index *plan_gpu_index(const struct plan *p, uint32_t gpu)
{
    return &p->classes[plan_gpu_class(p, gpu)]->index;
}

/* What of this GPU the ask has to leave alone; NULL nothing. */
static inline const struct plan_exclusion *plan_exclusion_of(const struct plan_ask *ask,
                                                             uint32_t gpu)
{
    for (size_t i = 0; i < ask->excluded_count; i++) {
        if (ask->excluded[i].gpu_id == gpu) {
            return &ask->excluded[i];
        }
    }
    return NULL;
}

/* What is busy on a GPU; instances are not counted. */
static inline const struct mig_use *plan_gpu_busy(const struct plan *p, uint32_t gpu)
{
    return &plan_gpu_index(p, gpu)->states[plan_gpu_state(p, gpu)].busy;
}

/* Bits of the idle slices that a window touches. */
uint16_t plan_idle_touched(const struct plan *p, uint32_t gpu, uint16_t window);
/* Expected free slots of no use, and open_cost when it is used, of a GPU in this state. */
double plan_potential(const struct plan *p, uint32_t gpu, uint32_t state);
/* What the policy adds for this GPU since the request ends then; 0 where an end is not known. */
double plan_late_cost(const struct plan *p, const struct plan_ask *ask, uint32_t gpu);
/* Changes the state of a GPU and keeps the index right. */
void plan_set_state(struct plan *p, uint32_t gpu, uint32_t state);
/* On trial: the GPU as if so much were busy, and the idle slices that it covers gone.  To be undone
 * with plan_set_state(). */
void plan_set_busy(struct plan *p, uint32_t gpu, const struct mig_use *busy);
