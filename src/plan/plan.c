/* The fleet model: GPUs, their classes, and the search for a place. */
#include "plan/plan.h"
#include "plan/cost.h"
#include <assert.h>
#include <math.h>
#include <string.h>

struct class
{
    struct mig_geometry geometry;
    struct plan_mix mix;
    double seen[MIG_PROFILES_MAX];
};

struct entry {
    bool is_there;
    int class_id;
    struct plan_gpu gpu;
};

struct plan {
    struct plan_settings settings;
    struct class *classes[PLAN_CLASSES_MAX];
    int class_count;
    struct entry *gpus;
    uint32_t gpu_count;
    uint32_t last_gpu; /* for round-robin */
};

struct plan *plan_new(const struct plan_settings *settings)
{
    struct plan *p = xcalloc(1, sizeof(*p));

    if (settings) {
        p->settings = *settings;
    } else {
        plan_settings_default(&p->settings);
    }
    return p;
}

void plan_free(struct plan *p)
{
    if (!p) {
        return;
    }
    for (int i = 0; i < p->class_count; i++) {
        free(p->classes[i]);
    }
    free(p->gpus);
    free(p);
}

static void refresh_mix(struct class *c)
{
    double sum = 0;

    for (int i = 0; i < c->geometry.profile_count; i++) {
        sum += c->seen[i];
    }
    for (int i = 0; i < c->geometry.profile_count; i++) {
        c->mix.share[i] = c->seen[i] / sum;
    }
}

int plan_add_class(struct plan *p, const struct mig_geometry *geometry, int *ret_class,
                   struct error *err)
{
    struct class *c;

    if (p->class_count == PLAN_CLASSES_MAX) {
        return err_set(err, ENOSPC, "more than %d kinds of GPU", PLAN_CLASSES_MAX);
    }
    c = xcalloc(1, sizeof(*c));
    c->geometry = *geometry;
    for (int i = 0; i < geometry->profile_count; i++) {
        c->seen[i] = 1;
    }
    refresh_mix(c);
    *ret_class = p->class_count;
    p->classes[p->class_count++] = c;
    return 0;
}

const struct mig_geometry *plan_class_geometry(const struct plan *p, int class_id)
{
    return &p->classes[class_id]->geometry;
}

int plan_class_count(const struct plan *p)
{
    return p->class_count;
}

int plan_add_gpu(struct plan *p, uint32_t gpu_id, int class_id, struct error *err)
{
    if (gpu_id >= PLAN_GPUS_MAX) {
        return err_set(err, ERANGE, "GPU number %u; at most %u GPUs are possible", gpu_id,
                       PLAN_GPUS_MAX);
    }
    if (gpu_id >= p->gpu_count) {
        uint32_t count = gpu_id + 1 > 2 * p->gpu_count ? gpu_id + 1 : 2 * p->gpu_count;
        p->gpus = xreallocarray(p->gpus, count, sizeof(*p->gpus));
        memset(p->gpus + p->gpu_count, 0, (count - p->gpu_count) * sizeof(*p->gpus));
        p->gpu_count = count;
    }
    if (p->gpus[gpu_id].is_there) {
        return err_set(err, EEXIST, "GPU number %u is there already", gpu_id);
    }
    p->gpus[gpu_id] = (struct entry){true, class_id, {.is_usable = true}};
    return 0;
}

static struct entry *find_gpu(const struct plan *p, uint32_t gpu_id)
{
    assert(gpu_id < p->gpu_count && p->gpus[gpu_id].is_there);
    return &p->gpus[gpu_id];
}

void plan_remove_gpu(struct plan *p, uint32_t gpu_id)
{
    find_gpu(p, gpu_id)->is_there = false;
}

void plan_update_gpu(struct plan *p, uint32_t gpu_id, const struct plan_gpu *gpu)
{
    find_gpu(p, gpu_id)->gpu = *gpu;
}

void plan_get_gpu(const struct plan *p, uint32_t gpu_id, struct plan_gpu *ret)
{
    *ret = find_gpu(p, gpu_id)->gpu;
}

void plan_ask_init(struct plan_ask *ask)
{
    *ask = (struct plan_ask){0};
    memset(ask->profile, -1, sizeof(ask->profile));
}

int plan_ask_resolve(const struct plan *p, const struct mig_want *want, struct plan_ask *ask,
                     struct error *err)
{
    int found = 0;

    plan_ask_init(ask);
    for (int i = 0; i < p->class_count; i++) {
        int profile = -1, compute = -1;
        struct error e = {0};
        int r = mig_want_resolve(want, &p->classes[i]->geometry, &profile, &compute, &e);
        if (r == 0) {
            ask->profile[i] = (int8_t)profile;
            found++;
        } else if (i == 0 && err) {
            *err = e;
        }
    }
    if (p->class_count == 0) {
        return err_set(err, ENOENT, "there is no GPU that can be cut");
    }
    return found ? 0 : -ENOENT;
}

static uint16_t idle_mask(const struct mig_geometry *g, const struct plan_gpu *gpu, uint16_t window,
                          uint16_t *ret_bits)
{
    uint16_t mask = 0, bits = 0;

    for (int i = 0; i < gpu->idle_count; i++) {
        uint16_t w = mig_window(g, gpu->idle[i].profile, gpu->idle[i].start);
        if (w & window) {
            mask |= w;
            bits |= (uint16_t)(1u << i);
        }
    }
    *ret_bits = bits;
    return mask;
}

static uint16_t excluded_mask(const struct plan_ask *ask, uint32_t gpu_id)
{
    for (size_t i = 0; i < ask->excluded_count; i++) {
        if (ask->excluded[i].gpu_id == gpu_id) {
            return ask->excluded[i].mask;
        }
    }
    return 0;
}

/* Costs of policies that go by number come in steps larger than any start. */
static double numbered_cost(const struct plan *p, enum plan_policy policy, uint32_t gpu_id)
{
    if (policy == PLAN_FIRST_FIT) {
        return 32.0 * gpu_id;
    }
    if (policy == PLAN_ROUND_ROBIN) {
        return 32.0 * ((gpu_id + p->gpu_count - p->last_gpu - 1) % p->gpu_count);
    }
    return 0;
}

double plan_score(const struct plan *p, const struct plan_ask *ask, uint32_t gpu_id,
                  struct mig_slice slice)
{
    const struct entry *e = find_gpu(p, gpu_id);
    const struct class *c = p->classes[e->class_id];
    enum plan_policy policy = ask->is_spread ? PLAN_WORST_FIT : p->settings.policy;

    if (!mig_fits(&c->geometry, &e->gpu.busy, slice.profile, slice.start)) {
        return INFINITY;
    }
    return plan_cost(policy, &p->settings, &c->geometry, &c->mix, &e->gpu.busy, slice) +
           numbered_cost(p, policy, gpu_id);
}

static void consider(const struct plan *p, const struct plan_ask *ask, uint32_t gpu_id,
                     struct plan_spot *best, int *best_destroyed)
{
    const struct entry *e = &p->gpus[gpu_id];
    const struct mig_geometry *g = &p->classes[e->class_id]->geometry;
    int profile = ask->profile[e->class_id];
    uint16_t forbidden = excluded_mask(ask, gpu_id);

    for (int k = 0; profile >= 0 && k < g->profiles[profile].start_count; k++) {
        struct mig_slice s = {(uint8_t)profile, g->profiles[profile].starts[k]};
        uint16_t window = mig_window(g, s.profile, s.start), bits = 0;
        double cost = window & forbidden ? (double)INFINITY : plan_score(p, ask, gpu_id, s);
        int destroyed = __builtin_popcount(idle_mask(g, &e->gpu, window, &bits));
        if (isfinite(cost) &&
            (destroyed < *best_destroyed || (destroyed == *best_destroyed && cost < best->cost))) {
            *best = (struct plan_spot){gpu_id, s, bits, cost};
            *best_destroyed = destroyed;
        }
    }
}

int plan_place(const struct plan *p, const struct plan_ask *ask, struct plan_spot *ret)
{
    struct plan_spot best = {.cost = INFINITY};
    int destroyed = MIG_SLOTS_MAX + 1;

    for (uint32_t i = 0; i < p->gpu_count; i++) {
        if (p->gpus[i].is_there && p->gpus[i].gpu.is_usable) {
            consider(p, ask, i, &best, &destroyed);
        }
    }
    if (destroyed > MIG_SLOTS_MAX) {
        return -ENOSPC;
    }
    *ret = best;
    return 0;
}

void plan_take(struct plan *p, const struct plan_spot *spot, bool is_movable, float move_cost)
{
    struct entry *e = find_gpu(p, spot->gpu_id);
    struct plan_gpu *gpu = &e->gpu;
    int n = 0;

    for (int i = 0; i < gpu->idle_count; i++) {
        if (!(spot->destroy >> i & 1)) {
            gpu->idle[n++] = gpu->idle[i];
        }
    }
    gpu->idle_count = (uint8_t)n;
    mig_use_add(&p->classes[e->class_id]->geometry, &gpu->busy, spot->slice.profile,
                spot->slice.start);
    if (is_movable) {
        gpu->movable[gpu->movable_count++] = (struct plan_movable){spot->slice, move_cost};
    }
    p->last_gpu = spot->gpu_id;
}

void plan_give_back(struct plan *p, uint32_t gpu_id, struct mig_slice slice)
{
    struct entry *e = find_gpu(p, gpu_id);
    struct plan_gpu *gpu = &e->gpu;

    mig_use_remove(&p->classes[e->class_id]->geometry, &gpu->busy, slice.profile, slice.start);
    for (int i = 0; i < gpu->movable_count; i++) {
        if (gpu->movable[i].slice.start == slice.start) {
            gpu->movable[i] = gpu->movable[--gpu->movable_count];
            break;
        }
    }
}

void plan_learn(struct plan *p, const struct plan_ask *ask)
{
    if (!p->settings.mix_half_life) {
        return;
    }
    double keep = exp2(-1.0 / p->settings.mix_half_life);
    for (int i = 0; i < p->class_count; i++) {
        struct class *c = p->classes[i];
        if (ask->profile[i] < 0) {
            continue;
        }
        for (int k = 0; k < c->geometry.profile_count; k++) {
            c->seen[k] = 1 + (c->seen[k] - 1) * keep;
        }
        c->seen[ask->profile[i]] += 1;
        refresh_mix(c);
    }
}

int plan_place_set(struct plan *p, const struct plan_ask *const *asks, size_t count,
                   struct plan_spot *ret)
{
    struct plan_gpu *before = xcalloc(count, sizeof(*before));
    uint32_t last = p->last_gpu;
    size_t n = 0;
    int r = 0;

    for (; n < count; n++) {
        r = plan_place(p, asks[n], &ret[n]);
        if (r < 0) {
            break;
        }
        before[n] = find_gpu(p, ret[n].gpu_id)->gpu;
        plan_take(p, &ret[n], false, 0);
    }
    while (n-- > 0) {
        find_gpu(p, ret[n].gpu_id)->gpu = before[n];
    }
    p->last_gpu = last;
    free(before);
    return r;
}
