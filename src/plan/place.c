/* Where one request goes, and several together. */
#include "base/cleanup.h"
#include "plan/batch.h"
#include "plan/fleet.h"
#include "plan/plan.h"
#include "plan/set.h"
#include <assert.h>
#include <math.h>
#include <string.h>

#define ALIGN_LOOKS 16 /* GPUs that look alike, of which the ends are looked at */
#define SET_NODES 50  /* linear programs spent on a set that does not fit one by one */

/* The best so far.  Of equal keys the lower GPU wins, so that classes and reservations do not
 * change which one it is; on one GPU, what the policy says of slots. */
struct best {
    int64_t key;
    double among; /* slots of one GPU */
    uint32_t gpu;
    uint8_t profile, start;
};

static void offer_slot(struct best *b, int64_t key, double among, uint32_t gpu,
                       struct mig_slice slice)
{
    if (key < b->key || (key == b->key &&
                         (gpu < b->gpu || (gpu == b->gpu && among < b->among)))) {
        *b = (struct best){key, among, gpu, slice.profile, slice.start};
    }
}

static void offer(struct best *b, int64_t key, uint32_t gpu, int profile, int start)
{
    offer_slot(b, key, 0, gpu, (struct mig_slice){(uint8_t)profile, (uint8_t)start});
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
    if (p->class_count == 0) {
        return err_set(err, ENOENT, "there is no GPU that can be cut");
    }
    for (int i = 0; i < p->class_count; i++) {
        int profile = -1, compute = -1;
        struct error e = {0};
        if (mig_want_resolve(want, plan_class_geometry(p, i), &profile, &compute, &e) == 0) {
            ask->profile[i] = (int8_t)profile;
            found++;
        } else if (i == 0 && err) {
            *err = e;
        }
    }
    return found ? 0 : -ENOENT;
}

static uint32_t next_gpu(const struct plan *p, const struct plan_index *x, uint32_t state,
                         const struct plan_ask *ask, uint32_t gpu)
{
    do {
        gpu = plan_index_lowest(x, p->seats, state, gpu + 1);
    } while (gpu != UINT32_MAX && plan_exclusion_of(ask, gpu));
    return gpu;
}

/* The lowest GPU of a state without a reservation; UINT32_MAX if all have one. */
static uint32_t lowest_gpu(const struct plan *p, const struct plan_index *x, uint32_t state,
                           const struct plan_ask *ask)
{
    uint32_t gpu = x->states[state].lowest;

    return gpu != UINT32_MAX && plan_exclusion_of(ask, gpu) ? next_gpu(p, x, state, ask, gpu) : gpu;
}

double plan_late_cost(const struct plan *p, const struct plan_ask *ask, uint32_t gpu)
{
    if (!ask->end_ms || !p->ends_ms || !p->ends_ms[gpu] ||
        !plan_policy_looks_at_ends(p->settings.policy)) {
        return 0;
    }
    int64_t last = p->ends_ms[gpu] > ask->now_ms ? p->ends_ms[gpu] : ask->now_ms;
    return plan_stay_cost(ask->end_ms - last, p->mean_stay_ms);
}

/* What the end of the request adds to its key on this GPU.  Less than PLAN_KEY_DESTROYED. */
static int64_t stay_key(const struct plan *p, enum plan_ranking_kind kind,
                        const struct plan_ask *ask, uint32_t gpu)
{
    return kind == PLAN_RANKING_POLICY ? llround(plan_late_cost(p, ask, gpu) * PLAN_KEY_SLOT) : 0;
}

/* The best of the GPUs that look alike: the first that the request does not outlast, if there is
 * one among the first few. */
static void search_state(const struct plan *p, enum plan_ranking_kind kind,
                         const struct plan_ask *ask, const struct plan_index *x, uint32_t state,
                         struct best *b)
{
    int profile = ask->profile[x->class_id];
    const struct plan_choice *c = plan_index_choice(x, kind, state, profile);
    uint32_t gpu = lowest_gpu(p, x, state, ask);

    for (int looks = 0; gpu != UINT32_MAX && looks < ALIGN_LOOKS; looks++) {
        int64_t late = stay_key(p, kind, ask, gpu);
        offer(b, c->key + late, gpu, profile, c->start);
        if (!late) {
            return;
        }
        gpu = next_gpu(p, x, state, ask, gpu);
    }
}

/* The states in their order, as long as one may be as good as the best so far: more than what a
 * state costs is only added. */
static void search_index(const struct plan *p, int class_id, enum plan_ranking_kind kind,
                         const struct plan_ask *ask, struct best *b)
{
    const struct plan_index *x = &p->classes[class_id]->index;
    int profile = ask->profile[class_id];
    const struct plan_order *o = &x->rankings[kind].orders[profile];

    for (uint32_t r = plan_order_next(o, 0); r != UINT32_MAX; r = plan_order_next(o, r + 1)) {
        uint32_t state = o->states[r];
        if (plan_index_choice(x, kind, state, profile)->key > b->key) {
            return;
        }
        search_state(p, kind, ask, x, state, b);
    }
}

/* First-fit and round-robin go by the GPU's number, so they look at one GPU after the other. */
static uint32_t turn_of(const struct plan *p, uint32_t gpu)
{
    if (p->settings.policy == PLAN_FIRST_FIT) {
        return gpu;
    }
    return (gpu + p->gpu_count - p->last_gpu - 1) % p->gpu_count;
}

static int64_t numbered_key(const struct plan *p, int destroyed, uint32_t gpu, int start)
{
    return plan_key(destroyed, (double)turn_of(p, gpu) * MIG_SLOTS_MAX + start);
}

static bool goes_by_number(const struct plan *p, enum plan_ranking_kind kind)
{
    return kind == PLAN_RANKING_POLICY &&
           (p->settings.policy == PLAN_FIRST_FIT || p->settings.policy == PLAN_ROUND_ROBIN);
}

static void search_numbers(const struct plan *p, const struct plan_ask *ask, struct best *b)
{
    uint32_t first = p->settings.policy == PLAN_FIRST_FIT ? 0 : p->last_gpu + 1;

    for (uint32_t i = 0; i < p->gpu_count; i++) {
        uint32_t gpu = (first + i) % p->gpu_count;
        if (!plan_is_usable(p, gpu) || plan_exclusion_of(ask, gpu)) {
            continue;
        }
        int profile = ask->profile[plan_gpu_class(p, gpu)];
        if (profile < 0) {
            continue;
        }
        const struct plan_choice *c = plan_index_choice(plan_gpu_index(p, gpu), PLAN_RANKING_POLICY,
                                                        plan_gpu_state(p, gpu), profile);
        if (c->key == INT64_MAX) {
            continue;
        }
        int destroyed = (int)(c->key / PLAN_KEY_DESTROYED);
        offer(b, numbered_key(p, destroyed, gpu, c->start), gpu, profile, c->start);
        if (!destroyed) {
            return; /* nothing destroyed, and no later GPU has its turn before this one */
        }
    }
}

static int64_t spot_key(const struct plan *p, enum plan_ranking_kind kind,
                        const struct plan_ask *ask, uint32_t gpu, struct mig_slice slice)
{
    struct plan_index *x = plan_gpu_index(p, gpu);
    uint32_t state = plan_gpu_state(p, gpu);
    const struct plan_state *s = &x->states[state];

    if (!mig_fits(&x->geometry, &s->busy, slice.profile, slice.start)) {
        return INT64_MAX;
    }
    if (goes_by_number(p, kind)) {
        uint16_t window = mig_window(&x->geometry, slice.profile, slice.start);
        return numbered_key(p, __builtin_popcount(window & s->idle), gpu, slice.start);
    }
    return plan_index_score(x, kind, state, slice) + stay_key(p, kind, ask, gpu);
}

static void search_excluded(const struct plan *p, enum plan_ranking_kind kind,
                            const struct plan_ask *ask, struct best *b)
{
    for (size_t i = 0; i < ask->excluded_count; i++) {
        uint32_t gpu = ask->excluded[i].gpu_id;
        if (!plan_has_gpu(p, gpu) || !plan_is_usable(p, gpu)) {
            continue;
        }
        int profile = ask->profile[plan_gpu_class(p, gpu)];
        const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
        for (int k = 0; profile >= 0 && k < g->profiles[profile].start_count; k++) {
            struct mig_slice s = {(uint8_t)profile, g->profiles[profile].starts[k]};
            if (!(mig_window(g, s.profile, s.start) & ask->excluded[i].mask)) {
                const struct plan_index *x = plan_gpu_index(p, gpu);
                int64_t key = spot_key(p, kind, ask, gpu, s);
                if (key != INT64_MAX) {
                    const struct mig_use *busy = plan_gpu_busy(p, gpu);
                    offer_slot(b, key, plan_slot_cost(x->rankings[kind].policy, g, busy, s), gpu,
                               s);
                }
            }
        }
    }
}

static enum plan_ranking_kind kind_of(const struct plan *p, const struct plan_ask *ask)
{
    enum plan_ranking_kind kind = ask->is_spread ? PLAN_RANKING_SPREAD : PLAN_RANKING_POLICY;

    for (int i = 0; ask->is_spread && i < p->class_count; i++) {
        plan_index_need(&p->classes[i]->index, kind);
    }
    return kind;
}

int plan_place(const struct plan *p, const struct plan_ask *ask, struct plan_spot *ret)
{
    enum plan_ranking_kind kind = kind_of(p, ask);
    struct best b = {.key = INT64_MAX, .gpu = UINT32_MAX};

    if (goes_by_number(p, kind)) {
        search_numbers(p, ask, &b);
    } else {
        for (int i = 0; i < p->class_count; i++) {
            if (ask->profile[i] >= 0) {
                search_index(p, i, kind, ask, &b);
            }
        }
    }
    if (ask->excluded_count) {
        search_excluded(p, kind, ask, &b);
    }
    if (b.key == INT64_MAX) {
        return -ENOSPC;
    }
    const struct plan_index *x = plan_gpu_index(p, b.gpu);
    uint16_t window = mig_window(&x->geometry, b.profile, b.start);
    *ret = (struct plan_spot){
        .gpu_id = b.gpu,
        .slice = {b.profile, b.start},
        .destroy = plan_gpu_detail(p, b.gpu) ? plan_idle_touched(p, b.gpu, window) : 0,
        .cost = plan_key_cost(b.key),
    };
    return 0;
}

double plan_score(const struct plan *p, const struct plan_ask *ask, uint32_t gpu,
                  struct mig_slice slice)
{
    assert(plan_has_gpu(p, gpu));
    int64_t key = spot_key(p, kind_of(p, ask), ask, gpu, slice);

    return key == INT64_MAX ? (double)INFINITY : plan_key_cost(key);
}

/* Larger requests first: they have fewer places to choose from. */
static int size_of(const struct plan *p, const struct plan_ask *ask)
{
    int size = 0;

    for (int i = 0; i < p->class_count; i++) {
        if (ask->profile[i] >= 0) {
            int s = plan_class_geometry(p, i)->profiles[ask->profile[i]].size;
            size = s > size ? s : size;
        }
    }
    return size;
}

/* Each want once, with how often; false when there are too many different ones or reservations,
 * which batches do not know. */
static bool group_asks(const struct plan_ask *const *asks, size_t count,
                       struct plan_batch_want *wants, size_t *ret_count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        while (k < n &&
               memcmp(wants[k].ask.profile, asks[i]->profile, sizeof(asks[i]->profile)) != 0) {
            k++;
        }
        if (asks[i]->excluded_count || k == PLAN_BATCH_WANTS_MAX) {
            return false;
        }
        if (k == n) {
            wants[n++] = (struct plan_batch_want){.ask = *asks[i]};
        }
        wants[k].count++;
    }
    *ret_count = n;
    return true;
}

/* Placing one after the other may fail where all together would fit. */
static int place_exactly(const struct plan *p, const struct plan_ask *const *asks, size_t count,
                         struct plan_spot *ret)
{
    CLEANUP(freep) struct plan_batch_want *wants = xcalloc(PLAN_BATCH_WANTS_MAX, sizeof(*wants));
    CLEANUP(freep) bool *is_used = xcalloc(count + 1, sizeof(*is_used));
    struct plan_batch batch = {0};
    size_t n = 0;

    if (!group_asks(asks, count, wants, &n) ||
        plan_batch_place(p, wants, n, SET_NODES, &batch, NULL) < 0) {
        return -ENOSPC;
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < batch.count; k++) {
            const struct plan_batch_spot *b = &batch.spots[k];
            if (is_used[k] || memcmp(wants[b->want].ask.profile, asks[i]->profile,
                                     sizeof(asks[i]->profile)) != 0) {
                continue;
            }
            const struct mig_geometry *g = &plan_gpu_index(p, b->spot.gpu_id)->geometry;
            is_used[k] = true;
            ret[i] = b->spot;
            if (b->is_kept) { /* here every spot is made anew */
                ret[i].destroy |= plan_idle_touched(
                    p, b->spot.gpu_id, mig_window(g, b->spot.slice.profile, b->spot.slice.start));
            }
            break;
        }
    }
    plan_batch_done(&batch);
    return 0;
}

int plan_place_each(struct plan *p, const struct plan_ask *const *asks, size_t count,
                    struct plan_spot *ret)
{
    CLEANUP(freep) struct plan_gpu *before = xcalloc(count, sizeof(*before));
    CLEANUP(freep) struct plan_spot *spots = xcalloc(count, sizeof(*spots));
    CLEANUP(freep) size_t *done = xcalloc(count, sizeof(*done));
    uint32_t last = p->last_gpu;
    size_t n = 0;
    int r = 0;

    for (int size = MIG_SLOTS_MAX; r == 0 && size >= 0; size--) {
        for (size_t i = 0; r == 0 && i < count; i++) {
            if (size_of(p, asks[i]) != size) {
                continue;
            }
            r = plan_place(p, asks[i], &spots[i]);
            if (r == 0) {
                plan_get_gpu(p, spots[i].gpu_id, &before[n]);
                plan_take(p, &spots[i], false, 0);
                done[n++] = i;
            }
        }
    }
    while (n-- > 0) {
        plan_update_gpu(p, spots[done[n]].gpu_id, &before[n]);
    }
    p->last_gpu = last;
    if (r < 0) {
        return place_exactly(p, asks, count, ret);
    }
    for (size_t i = 0; i < count; i++) {
        const struct mig_geometry *g = &plan_gpu_index(p, spots[i].gpu_id)->geometry;
        uint16_t window = mig_window(g, spots[i].slice.profile, spots[i].slice.start);
        spots[i].destroy = plan_idle_touched(p, spots[i].gpu_id, window);
        for (size_t k = 0; k < i; k++) { /* each idle slice is destroyed once */
            if (spots[k].gpu_id == spots[i].gpu_id) {
                spots[i].destroy &= (uint16_t)~spots[k].destroy;
            }
        }
        ret[i] = spots[i];
    }
    return 0;
}
