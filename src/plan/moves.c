/* Room for a request by moving leases elsewhere.
 *
 * For every GPU and start where the request could go if only movable leases were out of the way,
 * these leases are taken out on trial, the window is reserved, and each finds a new place with
 * plan_place(), the largest first.  Candidates are tried by what their moves cost, and of equally
 * dear ones that work, the one wins after which the fleet is least fragmented.  GPUs in the same
 * state with the same leases in the way are tried once.
 *
 * When nothing works so, a second pass lets a lease that finds no place make room for itself, by
 * moving smaller ones that do (one level deep, the whole within the limit of moves).
 *
 * The moves are then ordered so that every target is free before its source is given up.  A
 * candidate without such an order (two leases that would have to swap, or one that would need its
 * own engines twice) is taken only when there is no other, and where that is allowed: one of them
 * then gives up its place first. */
#include "plan/moves.h"
#include "base/cleanup.h"
#include "plan/fleet.h"
#include <assert.h>
#include <math.h>
#include <string.h>

/* How much the second pass looks at. */
#define DEEP_CANDIDATES 256
#define DEEP_OPTIONS 16
/* One GPU is opened and at most PLAN_MOVES_MAX are touched: there is always one left. */
#define ALIKE_MAX (PLAN_MOVES_MAX + 2)

struct search {
    struct plan *plan;
    const struct plan_ask *ask;
    int max_moves;
    bool may_stop;
    struct plan_candidates found;
    /* Second pass: where a lease could go that has to make room for itself, by class and profile;
     * NULL in the first. */
    struct plan_candidates *deep;
    /* One trial. */
    float trial_cost;
    int trial_count;
    struct plan_move trial[PLAN_MOVES_MAX];
    uint32_t before[2 * PLAN_MOVES_MAX + 2][2]; /* GPU and the state it had, to undo */
    int before_count;
};

/* --- candidates --- */

static uint64_t mix_in(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 31);
}

/* Is it of any use to move this out of the way of the request?  What is larger, or the same, could
 * take the place that it would find only for itself. */
static bool is_worth_moving(const struct plan_ask *ask, const struct mig_geometry *g, int moved,
                            int wanted)
{
    return g->profiles[moved].size <= g->profiles[wanted].size &&
           (moved != wanted || ask->excluded_count);
}

/* By what is on the GPU, not by the number of its state, which depends on what was asked before. */
static uint64_t look_of(const struct plan *p, uint32_t gpu)
{
    return mix_in(plan_gpu_index(p, gpu)->states[plan_gpu_state(p, gpu)].look,
                  (uint64_t)plan_gpu_class(p, gpu));
}

/* How many there are so far of those that look alike and cost the same. */
struct plan_alike {
    uint64_t look;
    uint32_t count; /* 0: the cell is empty */
    float cost;
};

static struct plan_alike *find_alike(const struct plan_candidates *list, uint64_t look, float cost)
{
    uint64_t at = look ^ look >> 32;

    for (;; at++) {
        struct plan_alike *a = &list->alike[at & (list->alike_size - 1)];
        if (!a->count || (a->look == look && !(a->cost < cost) && !(a->cost > cost))) {
            return a;
        }
    }
}

static void grow_alike(struct plan_candidates *list)
{
    struct plan_candidates old = *list;

    list->alike_size = list->alike_size ? 2 * list->alike_size : 512;
    list->alike = xcalloc(list->alike_size, sizeof(*list->alike));
    for (size_t i = 0; i < old.alike_size; i++) {
        if (old.alike[i].count) {
            *find_alike(list, old.alike[i].look, old.alike[i].cost) = old.alike[i];
        }
    }
    free(old.alike);
}

/* Of those that look alike only the first ones are of use. */
static void add_candidate(struct plan_candidates *list, const struct plan_candidate *c)
{
    if (2 * list->alike_count >= list->alike_size) {
        grow_alike(list);
    }
    struct plan_alike *alike = find_alike(list, c->look, c->cost);
    if (alike->count == ALIKE_MAX) {
        return;
    }
    list->alike_count += !alike->count;
    *alike = (struct plan_alike){c->look, alike->count + 1, c->cost};
    if (list->count == list->size) {
        list->size = list->size ? 2 * list->size : 256;
        list->list = xreallocarray(list->list, list->size, sizeof(*list->list));
    }
    list->list[list->count++] = *c;
}

void plan_candidates_done(struct plan_candidates *list)
{
    free(list->list);
    free(list->alike);
    *list = (struct plan_candidates){0};
}

/* What may be moved from one GPU. */
struct leavers {
    const struct plan_detail *detail;
    const struct mig_use *busy;
    uint64_t look; /* of the GPU */
    uint32_t fits; /* profiles that have a place on some GPU of the class */
    uint16_t movable, window[MIG_SLOTS_MAX];
};

static void find_leavers(const struct plan *p, uint32_t gpu, struct leavers *ret)
{
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;

    ret->detail = plan_gpu_detail(p, gpu);
    ret->busy = plan_gpu_busy(p, gpu);
    ret->look = look_of(p, gpu);
    ret->movable = 0;
    for (int i = 0; i < ret->detail->movable_count; i++) {
        struct mig_slice m = ret->detail->movable[i].slice;
        ret->window[i] = mig_window(g, m.profile, m.start);
        ret->movable |= isfinite(ret->detail->movable[i].cost) ? ret->window[i] : 0;
    }
}

/* One place for the ask. */
static void consider(const struct plan *p, const struct plan_ask *ask, int max_moves, bool any_size,
                     uint32_t gpu, const struct leavers *l, struct mig_slice slice,
                     struct plan_candidates *ret)
{
    const struct plan_detail *d = l->detail;
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
    uint16_t window = mig_window(g, slice.profile, slice.start);
    struct mig_use left = *l->busy;
    struct plan_candidate c = {.gpu = gpu, .look = mix_in(l->look, slice.start), .slice = slice};
    uint64_t kind_of_gpu = (uint64_t)plan_gpu_class(p, gpu) << 8 |
                           (uint64_t)mig_count_slots(window & (uint16_t)~l->busy->mask);
    uint64_t kind = 0;
    int moves = 0;

    if (!(window & l->movable) || window & l->busy->mask & ~l->movable) {
        return;
    }
    for (int i = 0; i < d->movable_count; i++) {
        struct mig_slice m = d->movable[i].slice;
        if (!(l->window[i] & window)) {
            continue;
        }
        c.is_odd = c.is_odd || !is_worth_moving(ask, g, m.profile, slice.profile);
        if (++moves > max_moves || (c.is_odd && !any_size)) {
            return;
        }
        left.instances = 1;
        mig_use_remove(g, &left, m.profile, m.start);
        c.evicted |= (uint16_t)(1u << i);
        c.cost += d->movable[i].cost;
        c.is_stuck = c.is_stuck || !(l->fits >> m.profile & 1);
        c.look += mix_in(m.profile, m.start);
        kind += mix_in(m.profile, kind_of_gpu);
    }
    c.kind = (uint32_t)(kind >> 32);
    if (mig_fits(g, &left, slice.profile, slice.start)) {
        add_candidate(ret, &c);
    }
}

/* By cost, then those whose leases have places as it is; then what looks alike stands together. */
static uint64_t sort_key(const struct plan_candidate *c)
{
    uint32_t cost = 0; /* not negative: the bits are in the order of the numbers */

    memcpy(&cost, &c->cost, sizeof(cost));
    return (uint64_t)cost << 32 | (uint64_t)c->is_stuck << 31 | c->kind >> 1;
}

static int compare_candidates(const void *va, const void *vb)
{
    const struct plan_candidate *a = va, *b = vb;
    uint64_t ka = sort_key(a), kb = sort_key(b);

    if (ka != kb) {
        return ka < kb ? -1 : 1;
    }
    if (a->look != b->look) {
        return a->look < b->look ? -1 : 1;
    }
    if (a->gpu != b->gpu) {
        return a->gpu < b->gpu ? -1 : 1;
    }
    return a->slice.start - b->slice.start;
}

static uint32_t fits_somewhere(const struct plan_index *x)
{
    uint32_t fits = 0;

    for (uint32_t s = 0; s < x->state_count; s++) {
        fits |= x->states[s].count ? x->states[s].fits : 0;
    }
    return fits;
}

void plan_find_candidates(const struct plan *p, const struct plan_ask *ask, int max_moves,
                          bool any_size, struct plan_candidates *ret)
{
    uint32_t fits[PLAN_CLASSES_MAX];

    for (int c = 0; c < p->class_count; c++) {
        fits[c] = fits_somewhere(&p->classes[c]->index);
    }
    for (uint32_t gpu = 0; gpu < p->gpu_count; gpu++) {
        const struct plan_detail *d = plan_is_usable(p, gpu) ? plan_gpu_detail(p, gpu) : NULL;
        int profile = d ? ask->profile[plan_gpu_class(p, gpu)] : -1;
        if (profile < 0 || !d->movable_count) {
            continue;
        }
        const struct plan_exclusion *out = plan_exclusion_of(ask, gpu);
        const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
        struct leavers l;
        find_leavers(p, gpu, &l);
        l.fits = fits[plan_gpu_class(p, gpu)];
        l.look = out ? mix_in(l.look, gpu) : l.look; /* its reservation: unlike others */
        for (int k = 0; k < g->profiles[profile].start_count; k++) {
            struct mig_slice slice = {(uint8_t)profile, g->profiles[profile].starts[k]};
            if (!out || !(out->mask & mig_window(g, slice.profile, slice.start))) {
                consider(p, ask, max_moves, any_size, gpu, &l, slice, ret);
            }
        }
    }
    if (ret->count) {
        qsort(ret->list, ret->count, sizeof(*ret->list), compare_candidates);
    }
}

void plan_find_movers(const struct plan *p, struct plan_candidates *ret)
{
    for (uint32_t gpu = 0; gpu < p->gpu_count; gpu++) {
        const struct plan_detail *d = plan_is_usable(p, gpu) ? plan_gpu_detail(p, gpu) : NULL;
        uint64_t look = d && d->movable_count ? look_of(p, gpu) : 0;
        for (int i = 0; d && i < d->movable_count; i++) {
            struct mig_slice m = d->movable[i].slice;
            struct plan_candidate c = {.cost = d->movable[i].cost, .gpu = gpu, .slice = m,
                                       .look = mix_in(look, mix_in(m.profile, m.start)),
                                       .kind = (uint32_t)(plan_gpu_class(p, gpu) << 8 | m.profile),
                                       .evicted = (uint16_t)(1u << i)};
            if (isfinite(c.cost)) {
                add_candidate(ret, &c);
            }
        }
    }
    if (ret->count) {
        qsort(ret->list, ret->count, sizeof(*ret->list), compare_candidates);
    }
}

/* --- one trial --- */

static void set_busy(struct search *s, uint32_t gpu, const struct mig_use *busy)
{
    s->before[s->before_count][0] = gpu;
    s->before[s->before_count++][1] = plan_gpu_state(s->plan, gpu);
    plan_set_busy(s->plan, gpu, busy);
}

/* Back to where a trial had this many changes and moves. */
static void undo_to(struct search *s, int before_count, int trial_count, float cost)
{
    while (s->before_count > before_count) {
        s->before_count--;
        plan_set_state(s->plan, s->before[s->before_count][0], s->before[s->before_count][1]);
    }
    s->trial_count = trial_count;
    s->trial_cost = cost;
}

static void undo(struct search *s)
{
    undo_to(s, 0, 0, 0);
}

double plan_potential(const struct plan *p, uint32_t gpu, uint32_t state)
{
    const struct plan_index *x = plan_gpu_index(p, gpu);
    const struct mig_use *busy = &x->states[state].busy;

    return plan_unusable(&x->geometry, &x->mix, busy) + (busy->mask ? p->settings.open_cost : 0);
}

/* How much worse the fleet looks after the trial than before. */
static double potential_change(const struct search *s)
{
    double sum = 0;

    for (int i = 0; i < s->before_count; i++) {
        uint32_t gpu = s->before[i][0];
        bool is_first = true;
        for (int k = 0; k < i; k++) {
            is_first = is_first && s->before[k][0] != gpu;
        }
        if (is_first) {
            sum += plan_potential(s->plan, gpu, plan_gpu_state(s->plan, gpu)) -
                   plan_potential(s->plan, gpu, s->before[i][1]);
        }
    }
    return sum;
}

static void ask_for(const struct search *s, uint32_t gpu, int profile, struct plan_ask *ret)
{
    plan_ask_init(ret);
    ret->profile[plan_gpu_class(s->plan, gpu)] = (int8_t)profile;
    ret->excluded = s->ask->excluded;
    ret->excluded_count = s->ask->excluded_count;
}

static void note_move(struct search *s, uint32_t from, struct mig_slice slice, uint32_t to,
                      struct mig_slice target)
{
    s->trial[s->trial_count++] = (struct plan_move){from, to, slice, target, 0, false};
}

/* Finds a new place for what was evicted. */
static bool place_evicted(struct search *s, uint32_t from, struct mig_slice slice)
{
    struct plan_ask ask;
    struct plan_spot spot;
    struct mig_use busy;

    ask_for(s, from, slice.profile, &ask);
    if (s->trial_count >= s->max_moves || plan_place(s->plan, &ask, &spot) < 0) {
        return false;
    }
    busy = *plan_gpu_busy(s->plan, spot.gpu_id);
    mig_use_add(&plan_gpu_index(s->plan, spot.gpu_id)->geometry, &busy, spot.slice.profile,
                spot.slice.start);
    set_busy(s, spot.gpu_id, &busy);
    note_move(s, from, slice, spot.gpu_id, spot.slice);
    return true;
}

/* Takes out what is evicted and puts the candidate's slice in its place. */
static void put_in(struct search *s, const struct plan_candidate *c)
{
    const struct plan_detail *d = s->plan->details[c->gpu];
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;
    struct mig_use busy = *plan_gpu_busy(s->plan, c->gpu);

    for (int i = 0; i < d->movable_count; i++) {
        if (c->evicted >> i & 1) {
            busy.instances = 1;
            mig_use_remove(g, &busy, d->movable[i].slice.profile, d->movable[i].slice.start);
        }
    }
    mig_use_add(g, &busy, c->slice.profile, c->slice.start);
    set_busy(s, c->gpu, &busy);
    s->trial_cost += c->cost;
}

static bool is_touched(const struct search *s, uint32_t gpu)
{
    for (int i = 0; i < s->before_count; i++) {
        if (s->before[i][0] == gpu) {
            return true;
        }
    }
    return false;
}

static struct plan_candidates *deep_list(const struct search *s, uint32_t gpu, int profile)
{
    return &s->deep[plan_gpu_class(s->plan, gpu) * MIG_PROFILES_MAX + profile];
}

/* Lists are made before the first trial, for all that would be evicted. */
static void find_deep(struct search *s)
{
    s->deep = xcalloc((size_t)s->plan->class_count * MIG_PROFILES_MAX, sizeof(*s->deep));
    for (size_t i = 0; i < s->found.count; i++) {
        const struct plan_candidate *c = &s->found.list[i];
        const struct plan_detail *d = s->plan->details[c->gpu];
        for (int k = 0; k < d->movable_count; k++) {
            int profile = d->movable[k].slice.profile;
            struct plan_candidates *list = deep_list(s, c->gpu, profile);
            if ((c->evicted >> k & 1) && !list->is_found) {
                struct plan_ask ask;
                ask_for(s, c->gpu, profile, &ask);
                plan_find_candidates(s->plan, &ask, s->max_moves, false, list);
                list->is_found = true;
            }
        }
    }
}

/* The second pass: what found no place takes that of smaller ones, on a GPU that the trial has not
 * touched yet. */
static bool place_deeper(struct search *s, uint32_t from, struct mig_slice slice)
{
    const struct plan_candidates *all = deep_list(s, from, slice.profile);
    int tried = 0;

    for (size_t k = 0; k < all->count && tried < DEEP_OPTIONS; k++) {
        const struct plan_candidate *c = &all->list[k];
        const struct plan_detail *d = s->plan->details[c->gpu];
        int before = s->before_count, moves = s->trial_count;
        float cost = s->trial_cost;
        bool is_placed = true;
        if (is_touched(s, c->gpu) || moves + 1 + __builtin_popcount(c->evicted) > s->max_moves) {
            continue;
        }
        tried++;
        put_in(s, c);
        note_move(s, from, slice, c->gpu, c->slice);
        for (int i = 0; is_placed && i < d->movable_count; i++) {
            is_placed = !(c->evicted >> i & 1) || place_evicted(s, c->gpu, d->movable[i].slice);
        }
        if (is_placed) {
            return true;
        }
        undo_to(s, before, moves, cost);
    }
    return false;
}

static bool try_candidate(struct search *s, const struct plan_candidate *c)
{
    const struct plan_detail *d = s->plan->details[c->gpu];
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;

    put_in(s, c);
    for (int size = MIG_SLOTS_MAX; size > 0; size--) {
        for (int i = 0; i < d->movable_count; i++) {
            struct mig_slice m = d->movable[i].slice;
            if ((c->evicted >> i & 1) && g->profiles[m.profile].size == size &&
                !place_evicted(s, c->gpu, m) && !(s->deep && place_deeper(s, c->gpu, m))) {
                return false;
            }
        }
    }
    return true;
}

/* --- the order of the moves --- */

/* What is busy on a GPU while moves are carried out. */
struct scene {
    int count;
    uint32_t gpu[2 * PLAN_MOVES_MAX];
    struct mig_use use[2 * PLAN_MOVES_MAX];
};

static struct mig_use *scene_use(struct scene *scene, const struct plan *p, uint32_t gpu)
{
    for (int i = 0; i < scene->count; i++) {
        if (scene->gpu[i] == gpu) {
            return &scene->use[i];
        }
    }
    scene->gpu[scene->count] = gpu;
    scene->use[scene->count] = *plan_gpu_busy(p, gpu);
    scene->use[scene->count].instances = MIG_SLOTS_MAX; /* not counted here */
    return &scene->use[scene->count++];
}

static void give_up(struct scene *scene, const struct plan *p, const struct plan_move *m)
{
    const struct mig_geometry *g = &plan_gpu_index(p, m->from_gpu)->geometry;

    mig_use_remove(g, scene_use(scene, p, m->from_gpu), m->from.profile, m->from.start);
}

/* Carries out a move whose target is free. */
static bool step(struct scene *scene, const struct plan *p, const struct plan_move *m)
{
    struct mig_use *to = scene_use(scene, p, m->to_gpu);
    const struct mig_geometry *g = &plan_gpu_index(p, m->to_gpu)->geometry;

    if (!mig_fits(g, to, m->to.profile, m->to.start)) {
        return false;
    }
    mig_use_add(g, to, m->to.profile, m->to.start);
    if (!m->stops) {
        give_up(scene, p, m);
    }
    return true;
}

/* A move only frees its source, and all targets are disjoint, so carrying out any move that can be
 * carried out never spoils the order of the rest. */
bool plan_order_moves(const struct plan *p, struct plan_move *moves, int count, bool may_stop,
                      struct plan_move *ret)
{
    struct scene scene = {0};
    bool is_done[PLAN_MOVES_MAX] = {false};

    for (int n = 0; n < count;) {
        int before = n, first = -1;
        for (int i = 0; i < count; i++) {
            if (!is_done[i] && step(&scene, p, &moves[i])) {
                is_done[i] = true;
                ret[n++] = moves[i];
            } else if (!is_done[i] && !moves[i].stops && first < 0) {
                first = i;
            }
        }
        if (n == before && (!may_stop || first < 0)) {
            return false;
        }
        if (n == before) { /* a ring: one of them gives up its place before it has another */
            moves[first].stops = true;
            give_up(&scene, p, &moves[first]);
        }
    }
    return true;
}

/* Idle slices that a step needs the room of and none before it has destroyed. */
static uint16_t newly_destroyed(const struct plan *p, uint32_t gpu, struct mig_slice slice,
                                const struct plan_move *before, int before_count)
{
    const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
    uint16_t bits = plan_idle_touched(p, gpu, mig_window(g, slice.profile, slice.start));

    for (int k = 0; k < before_count; k++) {
        bits &= before[k].to_gpu == gpu ? (uint16_t)~before[k].destroy : 0xffff;
    }
    return bits;
}

void plan_mark_destroyed(const struct plan *p, struct plan_move *moves, int count,
                         struct plan_spot *spots, unsigned spot_count)
{
    for (int i = 0; i < count; i++) {
        moves[i].destroy = newly_destroyed(p, moves[i].to_gpu, moves[i].to, moves, i);
    }
    for (unsigned i = 0; i < spot_count; i++) {
        spots[i].destroy = newly_destroyed(p, spots[i].gpu_id, spots[i].slice, moves, count);
        for (unsigned k = 0; k < i; k++) {
            spots[i].destroy &= spots[k].gpu_id == spots[i].gpu_id ? (uint16_t)~spots[k].destroy
                                                                   : 0xffff;
        }
    }
}

/* --- the search --- */

static bool accept(struct search *s, const struct plan_candidate *c, double change,
                   struct plan_moves *ret)
{
    struct plan_move trial[PLAN_MOVES_MAX], ordered[PLAN_MOVES_MAX];
    int count = s->trial_count;
    float cost = s->trial_cost;

    memcpy(trial, s->trial, sizeof(trial));
    undo(s);
    if (!plan_order_moves(s->plan, trial, count, s->may_stop, ordered)) {
        return false;
    }
    *ret = (struct plan_moves){.count = (uint8_t)count, .cost = (double)cost};
    memcpy(ret->moves, ordered, (size_t)count * sizeof(ordered[0]));
    ret->spot = (struct plan_spot){.gpu_id = c->gpu, .slice = c->slice, .cost = change};
    return true;
}

static bool is_better(const struct plan_moves *best, bool has_best, double cost, double change)
{
    return !has_best || cost < best->cost || (cost <= best->cost && change < best->spot.cost);
}

/* All candidates in the order of their cost; 0 when one was good. */
static int try_all(struct search *s, struct plan_moves *ret)
{
    struct plan_moves best = {0}, found;
    bool has_best = false;
    size_t tried = 0;

    for (size_t i = 0; i < s->found.count; i++) {
        const struct plan_candidate *c = &s->found.list[i];
        if ((has_best && (double)c->cost > best.cost) || (s->deep && tried == DEEP_CANDIDATES)) {
            break;
        }
        if (i > 0 && c->look == s->found.list[i - 1].look) {
            continue;
        }
        tried++;
        if (try_candidate(s, c)) {
            double change = potential_change(s);
            if (is_better(&best, has_best, (double)s->trial_cost, change) &&
                accept(s, c, change, &found)) {
                best = found;
                has_best = true;
            }
        }
        undo(s);
    }
    if (!has_best) {
        return -ENOSPC;
    }
    plan_mark_destroyed(s->plan, best.moves, best.count, &best.spot, 1);
    *ret = best;
    return 0;
}

static int search_moves(struct search *s, struct plan_moves *ret)
{
    int r;

    plan_find_candidates(s->plan, s->ask, s->max_moves, false, &s->found);
    r = try_all(s, ret);
    if (r < 0 && s->plan->settings.may_stop) {
        s->may_stop = true;
        r = try_all(s, ret);
        s->may_stop = false;
    }
    if (r < 0 && s->max_moves > 1) {
        find_deep(s);
        r = try_all(s, ret);
        s->may_stop = s->plan->settings.may_stop;
        r = r < 0 && s->may_stop ? try_all(s, ret) : r;
        for (int i = 0; i < s->plan->class_count * MIG_PROFILES_MAX; i++) {
            plan_candidates_done(&s->deep[i]);
        }
        free(s->deep);
    }
    plan_candidates_done(&s->found);
    return r;
}

#define FAR_LARGER 2.2 /* best of 1, 1.4, 2.2 and 2.3 on the mixes of the protocol */

/* Where requests count, not slices, room is not made for those far larger than the mean: on a full
 * fleet it would be taken from several smaller ones that come later. */
bool plan_is_worth_room(const struct plan *p, const struct plan_ask *ask, unsigned count)
{
    for (int c = 0; c < p->class_count; c++) {
        const struct plan_index *x = &p->classes[c]->index;
        double mean = 0;
        for (int i = 0; i < x->geometry.profile_count; i++) {
            mean += x->mix.share[i] * x->geometry.profiles[i].size;
        }
        if (ask->profile[c] >= 0 &&
            x->geometry.profiles[ask->profile[c]].size * count <= FAR_LARGER * mean) {
            return true;
        }
    }
    return p->settings.objective != PLAN_REQUESTS;
}

int plan_find_moves(struct plan *p, const struct plan_ask *ask, int max_moves,
                    struct plan_moves *ret)
{
    struct plan_moves direct = {0};
    struct search s = {.plan = p,
                       .ask = ask,
                       .max_moves = max_moves < PLAN_MOVES_MAX ? max_moves : PLAN_MOVES_MAX};

    if (plan_place(p, ask, &direct.spot) == 0) {
        *ret = direct;
        return 0;
    }
    return s.max_moves > 0 && plan_is_worth_room(p, ask, 1) ? search_moves(&s, ret) : -ENOSPC;
}
