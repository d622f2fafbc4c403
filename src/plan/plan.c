/* The fleet model: classes, GPUs and what is told about them.  Where to place is place.c, how the
 * best place is found without looking at every GPU is index.c. */
#include "plan/plan.h"
#include "plan/fleet.h"
#include <assert.h>
#include <math.h>
#include <string.h>

struct plan *plan_new(const struct plan_settings *settings)
{
    struct plan *p = xcalloc(1, sizeof(*p));

    if (settings) {
        p->settings = *settings;
    } else {
        plan_settings_default(&p->settings);
    }
    p->mix_growth = p->settings.mix_half_life ? exp2(1.0 / p->settings.mix_half_life) : 1;
    p->last_gpu = UINT32_MAX; /* so that round-robin begins at 0 */
    return p;
}

void plan_free(struct plan *p)
{
    if (!p) {
        return;
    }
    for (uint32_t i = 0; i < p->gpu_count; i++) {
        free(p->details[i]);
    }
    for (int i = 0; i < p->class_count; i++) {
        plan_index_done(&p->classes[i]->index);
        free(p->classes[i]);
    }
    free(p->marks);
    free(p->details);
    free(p->seats);
    free(p->ends_ms);
    free(p);
}

int plan_add_class(struct plan *p, const struct mig_geometry *geometry, int *ret_class,
                   struct error *err)
{
    struct plan_class *c;

    if (p->class_count == PLAN_CLASSES_MAX) {
        return err_set(err, ENOSPC, "there are more than %d kinds of GPU", PLAN_CLASSES_MAX);
    }
    c = xcalloc(1, sizeof(*c));
    plan_index_init(&c->index, p->class_count, geometry, &p->settings);
    plan_index_need(&c->index, PLAN_RANKING_POLICY);
    c->unit = 1;
    *ret_class = p->class_count;
    p->classes[p->class_count++] = c;
    return 0;
}

const struct mig_geometry *plan_class_geometry(const struct plan *p, int class_id)
{
    return &p->classes[class_id]->index.geometry;
}

int plan_class_count(const struct plan *p)
{
    return p->class_count;
}

double plan_class_share(const struct plan *p, int class_id, int profile)
{
    return p->classes[class_id]->index.mix.share[profile];
}

static void grow(struct plan *p, uint32_t count)
{
    uint32_t more = count - p->gpu_count;

    p->seats = xreallocarray(p->seats, count, sizeof(*p->seats));
    p->marks = xreallocarray(p->marks, count, sizeof(*p->marks));
    p->details = xreallocarray(p->details, count, sizeof(*p->details));
    memset(p->seats + p->gpu_count, 0xff, more * sizeof(*p->seats));
    memset(p->marks + p->gpu_count, 0, more * sizeof(*p->marks));
    memset(p->details + p->gpu_count, 0, more * sizeof(struct plan_detail *));
    if (p->ends_ms) {
        p->ends_ms = xreallocarray(p->ends_ms, count, sizeof(*p->ends_ms));
        memset(p->ends_ms + p->gpu_count, 0, more * sizeof(*p->ends_ms));
    }
    p->gpu_count = count;
}

int plan_add_gpu(struct plan *p, uint32_t gpu, int class_id, struct error *err)
{
    static const struct mig_use empty;

    if (gpu >= PLAN_GPUS_MAX) {
        return err_set(err, ERANGE, "GPU number %u; at most %u GPUs are possible", gpu,
                       PLAN_GPUS_MAX);
    }
    if (gpu >= p->gpu_count) {
        uint32_t count = p->gpu_count + p->gpu_count / 4;
        count = (gpu < count ? count : gpu + 1) + PLAN_BLOCK - 1;
        count -= count % PLAN_BLOCK;
        grow(p, count);
    }
    if (p->marks[gpu] & PLAN_MARK_THERE) {
        return err_set(err, EEXIST, "GPU number %u is there already", gpu);
    }
    struct plan_index *index = &p->classes[class_id]->index;
    p->marks[gpu] = PLAN_MARK_THERE | PLAN_MARK_USABLE;
    plan_index_move(index, p->seats, gpu, PLAN_NO_STATE, plan_index_state(index, &empty, 0));
    return 0;
}

static struct plan_detail *need_detail(struct plan *p, uint32_t gpu)
{
    if (!p->details[gpu]) {
        p->details[gpu] = xcalloc(1, sizeof(*p->details[gpu]));
        p->marks[gpu] |= PLAN_MARK_DETAIL;
    }
    return p->details[gpu];
}

static void drop_detail(struct plan *p, uint32_t gpu)
{
    free(p->details[gpu]);
    p->details[gpu] = NULL;
    p->marks[gpu] &= (uint8_t)~PLAN_MARK_DETAIL;
}

static void set_instances(struct plan *p, uint32_t gpu, int count)
{
    p->marks[gpu] = (uint8_t)((p->marks[gpu] & ~PLAN_MARK_INSTANCES) | count);
}

static int instances(const struct plan *p, uint32_t gpu)
{
    return p->marks[gpu] & PLAN_MARK_INSTANCES;
}

void plan_remove_gpu(struct plan *p, uint32_t gpu)
{
    assert(plan_has_gpu(p, gpu));
    if (plan_is_usable(p, gpu)) {
        plan_index_move(plan_gpu_index(p, gpu), p->seats, gpu, plan_gpu_state(p, gpu),
                        PLAN_NO_STATE);
    }
    drop_detail(p, gpu);
    plan_set_end(p, gpu, 0);
    p->marks[gpu] = 0;
}

void plan_set_end(struct plan *p, uint32_t gpu, int64_t end_ms)
{
    if (!p->ends_ms && end_ms) {
        p->ends_ms = xcalloc(p->gpu_count, sizeof(*p->ends_ms));
    }
    if (p->ends_ms) {
        p->ends_ms[gpu] = end_ms;
    }
}

void plan_set_state(struct plan *p, uint32_t gpu, uint32_t state)
{
    struct plan_index *index = plan_gpu_index(p, gpu);
    uint32_t from = plan_is_usable(p, gpu) ? plan_gpu_state(p, gpu) : PLAN_NO_STATE;

    if (p->marks[gpu] & PLAN_MARK_USABLE) {
        plan_index_move(index, p->seats, gpu, from, state);
    } else {
        need_detail(p, gpu)->seat = index->class_id << PLAN_SEAT_CLASS_SHIFT | state;
        plan_index_move(index, p->seats, gpu, from, PLAN_NO_STATE);
    }
}

static uint16_t idle_mask(const struct mig_geometry *g, const struct mig_slice *idle, int count)
{
    uint16_t mask = 0;

    for (int i = 0; i < count; i++) {
        mask |= mig_window(g, idle[i].profile, idle[i].start);
    }
    return mask;
}

uint16_t plan_idle_touched(const struct plan *p, uint32_t gpu, uint16_t window)
{
    const struct plan_detail *d = plan_gpu_detail(p, gpu);
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
    uint16_t bits = 0;

    for (int i = 0; d && i < d->idle_count; i++) {
        if (mig_window(g, d->idle[i].profile, d->idle[i].start) & window) {
            bits |= (uint16_t)(1u << i);
        }
    }
    return bits;
}

/* The slots of the idle slices that are left when these are busy. */
static uint16_t idle_left(const struct plan *p, uint32_t gpu, uint16_t busy)
{
    const struct plan_detail *d = plan_gpu_detail(p, gpu);
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
    uint16_t idle = 0;

    for (int i = 0; d && i < d->idle_count; i++) {
        uint16_t w = mig_window(g, d->idle[i].profile, d->idle[i].start);
        idle |= w & busy ? 0 : w;
    }
    return idle;
}

void plan_set_busy(struct plan *p, uint32_t gpu, const struct mig_use *busy)
{
    uint16_t idle = idle_left(p, gpu, busy->mask);

    plan_set_state(p, gpu, plan_index_state(plan_gpu_index(p, gpu), busy, idle));
}

void plan_update_gpu(struct plan *p, uint32_t gpu, const struct plan_gpu *now)
{
    assert(plan_has_gpu(p, gpu));
    struct plan_index *index = plan_gpu_index(p, gpu);
    uint16_t idle = idle_mask(&index->geometry, now->idle, now->idle_count);
    uint32_t state = plan_index_state(index, &now->busy, idle);

    assert(!(idle & now->busy.mask) && now->busy.instances <= MIG_SLOTS_MAX);
    set_instances(p, gpu, now->busy.instances);
    plan_set_end(p, gpu, now->end_ms);
    if (!now->is_usable || now->idle_count || now->movable_count) {
        struct plan_detail *d = need_detail(p, gpu);
        d->idle_count = now->idle_count;
        d->movable_count = now->movable_count;
        memcpy(d->idle, now->idle, sizeof(now->idle));
        memcpy(d->movable, now->movable, sizeof(now->movable));
    }
    p->marks[gpu] &= (uint8_t)~PLAN_MARK_USABLE;
    p->marks[gpu] |= now->is_usable ? PLAN_MARK_USABLE : 0;
    plan_set_state(p, gpu, state);
    if (now->is_usable && !now->idle_count && !now->movable_count) {
        drop_detail(p, gpu);
    }
}

void plan_get_gpu(const struct plan *p, uint32_t gpu, struct plan_gpu *ret)
{
    assert(plan_has_gpu(p, gpu));
    const struct plan_detail *d = plan_gpu_detail(p, gpu);

    *ret = (struct plan_gpu){.is_usable = plan_is_usable(p, gpu), .busy = *plan_gpu_busy(p, gpu)};
    ret->busy.instances = (uint8_t)instances(p, gpu);
    ret->end_ms = p->ends_ms ? p->ends_ms[gpu] : 0;
    if (d) {
        ret->idle_count = d->idle_count;
        ret->movable_count = d->movable_count;
        memcpy(ret->idle, d->idle, sizeof(ret->idle));
        memcpy(ret->movable, d->movable, sizeof(ret->movable));
    }
}

/* Forgets the idle slices in `bits`; the mask of the rest. */
static uint16_t drop_idle(struct plan *p, uint32_t gpu, uint16_t bits)
{
    struct plan_detail *d = p->details[gpu]; /* there, as it has idle slices */
    int n = 0;

    for (int i = 0; i < d->idle_count; i++) {
        if (!(bits >> i & 1)) {
            d->idle[n++] = d->idle[i];
        }
    }
    d->idle_count = (uint8_t)n;
    return idle_mask(&plan_gpu_index(p, gpu)->geometry, d->idle, n);
}

void plan_take(struct plan *p, const struct plan_spot *spot, bool is_movable, float move_cost)
{
    uint32_t gpu = spot->gpu_id;
    struct plan_index *index = plan_gpu_index(p, gpu);
    uint16_t window = mig_window(&index->geometry, spot->slice.profile, spot->slice.start);
    uint32_t to, state = plan_gpu_state(p, gpu);

    if (index->states[state].idle & window) {
        struct mig_use busy = index->states[state].busy;
        uint16_t idle = drop_idle(p, gpu, plan_idle_touched(p, gpu, window));
        mig_use_add(&index->geometry, &busy, spot->slice.profile, spot->slice.start);
        to = plan_index_state(index, &busy, idle);
    } else {
        to = plan_index_taken(index, state, spot->slice);
    }
    if (is_movable) {
        struct plan_detail *d = need_detail(p, gpu);
        assert(d->movable_count < MIG_SLOTS_MAX);
        d->movable[d->movable_count++] = (struct plan_movable){spot->slice, move_cost};
    }
    set_instances(p, gpu, instances(p, gpu) + 1);
    plan_note_turn(p, gpu);
    plan_set_state(p, gpu, to);
}

void plan_note_turn(struct plan *p, uint32_t gpu)
{
    p->last_gpu = gpu;
}

void plan_give_back(struct plan *p, uint32_t gpu, struct mig_slice slice)
{
    struct plan_detail *d = plan_gpu_detail(p, gpu);

    for (int i = 0; d && i < d->movable_count; i++) {
        if (d->movable[i].slice.start == slice.start) {
            d->movable[i] = d->movable[--d->movable_count];
            break;
        }
    }
    set_instances(p, gpu, instances(p, gpu) - 1);
    plan_set_state(p, gpu, plan_index_given(plan_gpu_index(p, gpu), plan_gpu_state(p, gpu), slice));
}

size_t plan_memory_bytes(const struct plan *p)
{
    size_t n =
        sizeof(*p) + p->gpu_count * (sizeof(*p->seats) + sizeof(*p->marks) + sizeof(*p->details));

    n += p->ends_ms ? p->gpu_count * sizeof(*p->ends_ms) : 0;
    for (uint32_t i = 0; i < p->gpu_count; i++) {
        n += p->details[i] ? sizeof(*p->details[i]) : 0;
    }
    for (int i = 0; i < p->class_count; i++) {
        n += sizeof(*p->classes[i]) + plan_index_bytes(&p->classes[i]->index);
    }
    return n;
}

/* --- the mix of requests --- */

#define MIX_CHECK_EVERY 64 /* requests between two looks at whether the mix has changed */
#define MIX_CHANGE 0.02    /* of any share: then costs are computed anew */

/* Shares with one request of each profile added, so that none is ever thought impossible. */
static void take_shares(const struct plan_class *c, struct plan_mix *ret)
{
    int n = c->index.geometry.profile_count;
    double sum = n;

    for (int i = 0; i < n; i++) {
        sum += c->seen[i] / c->unit;
    }
    for (int i = 0; i < n; i++) {
        ret->share[i] = (c->seen[i] / c->unit + 1) / sum;
    }
}

static double slices_there(const struct plan_index *x)
{
    double sum = 0;

    for (uint32_t s = 0; s < x->state_count; s++) {
        sum += x->states[s].count * (double)mig_count_slots(x->states[s].busy.starts);
    }
    return sum;
}

static void refresh_mix(struct plan_class *c, double keep)
{
    struct plan_mix mix = {.value = c->index.mix.value};
    bool is_changed = mix.value && plan_value_refresh(mix.value, slices_there(&c->index), keep);

    take_shares(c, &mix);
    for (int i = 0; i < c->index.geometry.profile_count; i++) {
        is_changed = is_changed || fabs(mix.share[i] - c->index.mix.share[i]) > MIX_CHANGE;
    }
    if (is_changed) {
        c->index.mix = mix;
        plan_index_rebuild(&c->index);
    }
    if (c->unit > 1e100) {
        for (int i = 0; i < c->index.geometry.profile_count; i++) {
            c->seen[i] /= c->unit;
        }
        c->unit = 1;
    }
}

/* The mean of about as many as the mix is learned from. */
static void learn_stay(struct plan *p, const struct plan_ask *ask)
{
    double most = p->settings.mix_half_life / M_LN2;

    if (ask->end_ms > ask->now_ms) {
        p->stays += most < 1 || p->stays < most;
        p->mean_stay_ms += ((double)(ask->end_ms - ask->now_ms) - p->mean_stay_ms) / p->stays;
    }
}

/* What the request takes where it would go now. */
static void learn_price(struct plan *p, const struct plan_ask *ask)
{
    struct plan_spot spot = {.cost = (double)INFINITY};
    int class_id = -1;

    if (plan_place(p, ask, &spot) == 0) {
        class_id = plan_gpu_class(p, spot.gpu_id);
        const struct plan_value *value = p->classes[class_id]->index.mix.value;
        spot.cost = value ? plan_value_price(value, plan_gpu_busy(p, spot.gpu_id), &spot.slice)
                          : spot.cost;
    }
    for (int i = 0; i < p->class_count; i++) {
        struct plan_value *value = p->classes[i]->index.mix.value;
        if (value && ask->profile[i] >= 0) {
            plan_value_learn(value, ask->profile[i], spot.cost, i == class_id);
        }
    }
}

void plan_learn(struct plan *p, const struct plan_ask *ask)
{
    learn_stay(p, ask);
    if (!p->settings.mix_half_life) {
        return;
    }
    if (p->settings.policy == PLAN_VALUE) {
        learn_price(p, ask);
    }
    for (int i = 0; i < p->class_count; i++) {
        struct plan_class *c = p->classes[i];
        if (ask->profile[i] < 0) {
            continue;
        }
        c->unit *= p->mix_growth;
        c->seen[ask->profile[i]] += c->unit;
        if (++c->since_check >= MIX_CHECK_EVERY) {
            c->since_check = 0;
            refresh_mix(c, exp2(-(double)MIX_CHECK_EVERY / p->settings.mix_half_life));
        }
    }
}
