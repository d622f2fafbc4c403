/* Several slices at once: dynamic programming over the GPUs.
 *
 * Asks that are the same form a kind; a way to fill one GPU serves so many of each kind, and of the
 * ways that serve the same the cheapest is kept (a column).  What is served so far is one number in
 * mixed radix (a state: digit k counts kind k).  best[state] is the least cost at which the GPUs
 * looked at so far serve just that:
 *
 *     best'[s] = min(best[s], min over the GPU's columns c of best[s - c] + cost(c))
 *
 * and the state in which everybody is served is the answer.  Costs add up over GPUs, so this is
 * exact.  GPUs that look alike share their columns, and no more of them are looked at than there
 * are slices to place. */
#include "plan/set.h"
#include "plan/cost.h"
#include "plan/fleet.h"
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#define KINDS_MAX 16
#define STATES_MAX 4096
#define GPUS_MAX 256
#define FILLS_MAX 50000  /* layouts looked at, all GPUs together */
#define WORK_MAX 2000000 /* sums compared: some milliseconds */
#define NEVER INT64_MAX

/* One number for the costs in their order: each field has room for PLAN_SET_MAX slices. */
#define COST_CUT (INT64_C(1) << 32)
#define COST_DESTROY (COST_CUT << 8)
#define COST_OPEN (COST_DESTROY << 11)
#define FINENESS 1024.0  /* of the cost function, in the lowest field */
#define COST_MOST 10000.0 /* of one slice, so that the field holds them all */

struct kind {
    const struct plan_ask *ask;
    const void *owner;
    unsigned count, step; /* step: what one more is worth in a state's number */
};

struct column {
    int64_t cost;
    uint16_t state; /* what it serves */
    uint16_t kept;  /* bit i: slices[i] stands there already */
    uint8_t count, destroyed;
    struct mig_slice slices[MIG_SLOTS_MAX];
    uint8_t kinds[MIG_SLOTS_MAX];
};

/* GPUs that look alike. */
struct look {
    uint32_t gpu, seen; /* the first, and how many of them are candidates */
    unsigned first, count;
    unsigned next; /* + 1: another in the same state, with other idle slices */
};

/* The cost function is asked the same again and again: its last answers. */
struct known_cost {
    struct mig_use before;
    int16_t class_id; /* + 1; 0 empty */
    struct mig_slice slice;
    double cost;
};
#define KNOWN_MAX 512

struct set {
    const struct plan *plan;
    const struct plan_keep *keep;
    struct kind kinds[KINDS_MAX];
    unsigned kind_count, state_count, total;
    struct plan_ask last; /* when the last of all asks ends; .end_ms 0: nobody knows */
    uint64_t *served; /* by state: its digits in bits, with a guard above each */
    uint64_t guards;
    struct known_cost *known;
    struct look *looks;
    unsigned look_count;
    unsigned *look_of_state[PLAN_CLASSES_MAX]; /* + 1: the last one in that state, 0 none */
    struct column *columns;
    unsigned column_count, column_size, fills, fills_most, sums;
    struct {
        uint32_t gpu;
        unsigned look;
        int64_t late; /* what the ends add to its columns */
    } candidates[GPUS_MAX];
    unsigned candidate_count;
    int64_t *best;
    uint16_t *choice; /* by candidate and state: column of its look + 1, 0 none */
};

/* --- kinds and states --- */

static bool is_same_ask(const struct plan_ask *a, const struct plan_ask *b)
{
    bool is_same = memcmp(a->profile, b->profile, sizeof(a->profile)) == 0 &&
                   a->excluded_count == b->excluded_count;

    for (size_t i = 0; is_same && i < a->excluded_count; i++) {
        is_same = a->excluded[i].gpu_id == b->excluded[i].gpu_id &&
                  a->excluded[i].mask == b->excluded[i].mask;
    }
    return is_same;
}

static unsigned find_kind(const struct set *s, const struct plan_set_ask *ask)
{
    unsigned k = 0;

    while (k < s->kind_count &&
           !(s->kinds[k].owner == ask->owner && is_same_ask(s->kinds[k].ask, ask->ask))) {
        k++;
    }
    return k;
}

static void find_end(struct set *s, const struct plan_set_ask *asks, size_t count)
{
    s->last = (struct plan_ask){0};
    for (size_t i = 0; i < count; i++) {
        const struct plan_ask *ask = asks[i].ask;
        if (!ask->end_ms) {
            s->last.end_ms = 0;
            return;
        }
        s->last.now_ms = ask->now_ms;
        s->last.end_ms = ask->end_ms > s->last.end_ms ? ask->end_ms : s->last.end_ms;
    }
}

static int find_kinds(struct set *s, const struct plan_set_ask *asks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned k = find_kind(s, &asks[i]);
        if (k == KINDS_MAX) {
            return -E2BIG;
        }
        if (k == s->kind_count) {
            s->kinds[s->kind_count++] = (struct kind){.ask = asks[i].ask, .owner = asks[i].owner};
        }
        s->kinds[k].count++;
    }
    s->state_count = 1;
    s->total = (unsigned)count;
    for (unsigned k = 0; k < s->kind_count; k++) {
        s->kinds[k].step = s->state_count;
        s->state_count *= s->kinds[k].count + 1;
        if (s->state_count > STATES_MAX) {
            return -E2BIG;
        }
    }
    return 0;
}

/* No kind has more than PLAN_SET_MAX, and all states are STATES_MAX at most: the digits with their
 * guards need less than 64 bits. */
static void write_digits(struct set *s)
{
    unsigned shift = 0;

    s->served = xcalloc(s->state_count, sizeof(*s->served));
    for (unsigned k = 0; k < s->kind_count; k++) {
        unsigned radix = s->kinds[k].count + 1, bits = 1;
        while (radix > 1u << bits) {
            bits++;
        }
        for (unsigned state = 0; state < s->state_count; state++) {
            s->served[state] |= (uint64_t)(state / s->kinds[k].step % radix) << shift;
        }
        shift += bits + 1;
        s->guards |= UINT64_C(1) << (shift - 1);
    }
    assert(shift <= 64);
}

/* Does the state serve at least as many of each kind as the other?  Then no digit borrows from its
 * guard. */
static bool contains(const struct set *s, unsigned state, unsigned other)
{
    return (((s->served[state] | s->guards) - s->served[other]) & s->guards) == s->guards;
}

/* --- columns: the ways to fill one GPU --- */

struct fill {
    struct set *set;
    uint32_t gpu;
    unsigned first; /* of its columns */
    bool is_open;       /* something is busy on it already */
    struct mig_use use; /* what is busy, and what has been placed */
    double cost;        /* of the cost function */
    unsigned takes[KINDS_MAX];
    struct column now;
    uint32_t *column_of; /* by state: index + 1 of the GPU's column that serves it */
    int r;
};

static bool is_excluded(const struct plan_ask *ask, uint32_t gpu, uint16_t window)
{
    const struct plan_exclusion *out = plan_exclusion_of(ask, gpu);

    return out && out->mask & window;
}

/* Which idle slice is it?  -1 none. */
static int idle_at(const struct plan_detail *d, struct mig_slice slice)
{
    for (int i = 0; d && i < d->idle_count; i++) {
        if (d->idle[i].profile == slice.profile && d->idle[i].start == slice.start) {
            return i;
        }
    }
    return -1;
}

static bool is_kept(const struct set *s, unsigned kind, uint32_t gpu, struct mig_slice slice)
{
    return s->keep && idle_at(plan_gpu_detail(s->plan, gpu), slice) >= 0 &&
           s->keep->may_keep(s->keep->arg, s->kinds[kind].owner, gpu, slice);
}

/* Idle slices that cannot stay beside what is placed: its slots, or its engines. */
static unsigned destroyed_by(const struct fill *f)
{
    const struct plan_detail *d = plan_gpu_detail(f->set->plan, f->gpu);
    const struct mig_geometry *g = &plan_gpu_index(f->set->plan, f->gpu)->geometry;
    struct mig_use use = f->use;
    unsigned n = 0;

    for (int i = 0; d && i < d->idle_count; i++) {
        bool is_used = false;
        for (unsigned k = 0; k < f->now.count; k++) {
            is_used = is_used || (f->now.kept >> k & 1 && idle_at(d, f->now.slices[k]) == i);
        }
        if (is_used) {
            continue;
        }
        if (mig_fits(g, &use, d->idle[i].profile, d->idle[i].start)) {
            mig_use_add(g, &use, d->idle[i].profile, d->idle[i].start);
        } else {
            n++;
        }
    }
    return n;
}

static void keep_column(struct fill *f)
{
    struct set *s = f->set;
    struct column c = f->now;

    c.state = 0;
    for (unsigned k = 0; k < s->kind_count; k++) {
        c.state = (uint16_t)(c.state + f->takes[k] * s->kinds[k].step);
    }
    c.destroyed = (uint8_t)destroyed_by(f);
    c.cost = (int64_t)llround(f->cost * FINENESS) +
             COST_CUT * (c.count - __builtin_popcount(c.kept)) + COST_DESTROY * c.destroyed +
             (f->is_open ? 0 : COST_OPEN);
    uint32_t known = f->column_of[c.state];
    if (known) {
        if (c.cost < s->columns[known - 1].cost) {
            s->columns[known - 1] = c;
        }
        return;
    }
    if (s->column_count == s->column_size) {
        s->column_size = s->column_size ? 2 * s->column_size : 64;
        s->columns = xreallocarray(s->columns, s->column_size, sizeof(*s->columns));
    }
    s->columns[s->column_count++] = c;
    f->column_of[c.state] = s->column_count;
}

static double cost_of(struct set *s, int class_id, const struct mig_use *before,
                      struct mig_slice slice)
{
    const struct plan_index *x = &s->plan->classes[class_id]->index;
    unsigned hash = before->mask * 37u + before->starts * 71u + slice.profile * 1031u +
                    slice.start * 257u;

    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        hash = hash * 31u + before->engines[e];
    }
    struct known_cost *k = &s->known[(hash ^ hash >> 12) % KNOWN_MAX];
    if (k->class_id != class_id + 1 || k->before.mask != before->mask ||
        k->before.starts != before->starts ||
        k->slice.profile != slice.profile || k->slice.start != slice.start ||
        memcmp(k->before.engines, before->engines, sizeof(before->engines)) != 0) {
        struct plan_look look;
        plan_look_at(&x->geometry, &x->mix, before, &look);
        double cost = plan_cost(s->plan->settings.policy, &s->plan->settings, &x->geometry, &x->mix,
                                &look, slice);
        *k = (struct known_cost){*before, (int16_t)(class_id + 1), slice, fmin(cost, COST_MOST)};
    }
    return k->cost;
}

static void fill_from(struct fill *f, int slot);

/* With one more of the kind at the slot. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static void fill_with(struct fill *f, unsigned kind, int profile, int slot)
{
    struct set *s = f->set;
    int class_id = plan_gpu_class(s->plan, f->gpu);
    const struct mig_geometry *g = &s->plan->classes[class_id]->index.geometry;
    struct mig_slice slice = {(uint8_t)profile, (uint8_t)slot};
    double cost = f->cost;
    unsigned at = f->now.count++;

    f->cost += cost_of(s, class_id, &f->use, slice);
    mig_use_add(g, &f->use, profile, slot);
    f->now.slices[at] = slice;
    f->now.kinds[at] = (uint8_t)kind;
    f->now.kept |= (uint16_t)(is_kept(s, kind, f->gpu, slice) << at);
    f->takes[kind]++;
    fill_from(f, slot + g->profiles[profile].size);
    f->takes[kind]--;
    f->now.kept &= (uint16_t)~(1u << at);
    f->now.count--;
    mig_use_remove(g, &f->use, profile, slot);
    f->cost = cost;
}

static void fill_from(struct fill *f, int slot) /* NOLINT(misc-no-recursion) */
{
    struct set *s = f->set;
    int class_id = plan_gpu_class(s->plan, f->gpu);
    const struct mig_geometry *g = &plan_gpu_index(s->plan, f->gpu)->geometry;

    if (++s->fills > s->fills_most) {
        f->r = -E2BIG;
        return;
    }
    if (f->now.count) {
        keep_column(f);
    }
    for (int at = slot; f->r == 0 && at < g->slots; at++) {
        for (unsigned k = 0; f->r == 0 && k < s->kind_count; k++) {
            int p = s->kinds[k].ask->profile[class_id];
            if (p >= 0 && f->takes[k] < s->kinds[k].count && mig_fits(g, &f->use, p, at) &&
                !is_excluded(s->kinds[k].ask, f->gpu, mig_window(g, p, at))) {
                fill_with(f, k, p, at);
            }
        }
    }
}

/* --- GPUs --- */

/* Does its number not matter: no reservation, and no idle slice that one of the asks may keep? */
static bool is_plain(const struct set *s, uint32_t gpu)
{
    const struct plan_detail *d = plan_gpu_detail(s->plan, gpu);

    for (unsigned k = 0; k < s->kind_count; k++) {
        if (is_excluded(s->kinds[k].ask, gpu, UINT16_MAX)) {
            return false;
        }
    }
    return !d || !d->idle_count || !s->keep;
}

/* In the same state. */
static bool has_same_idle(const struct plan *p, uint32_t a, uint32_t b)
{
    const struct plan_detail *x = plan_gpu_detail(p, a), *y = plan_gpu_detail(p, b);
    int count = x ? x->idle_count : 0;

    if (count != (y ? y->idle_count : 0)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (idle_at(y, x->idle[i]) < 0) {
            return false;
        }
    }
    return true;
}

/* Where to look for GPUs in the same state; the state's number is + 1 that of a look. */
static unsigned *looks_like(struct set *s, uint32_t gpu)
{
    int class_id = plan_gpu_class(s->plan, gpu);
    unsigned **table = &s->look_of_state[class_id];

    if (!*table) {
        *table = xcalloc(s->plan->classes[class_id]->index.state_count, sizeof(**table));
    }
    return &(*table)[plan_gpu_state(s->plan, gpu)];
}

/* -1: none looks like it so far. */
static int find_look(struct set *s, uint32_t gpu)
{
    for (unsigned at = *looks_like(s, gpu); at; at = s->looks[at - 1].next) {
        if (has_same_idle(s->plan, gpu, s->looks[at - 1].gpu)) {
            return (int)at - 1;
        }
    }
    return -1;
}

static bool is_of_use(const struct set *s, uint32_t gpu)
{
    bool is_wanted = false;

    if (!plan_has_gpu(s->plan, gpu) || !plan_is_usable(s->plan, gpu)) {
        return false;
    }
    int class_id = plan_gpu_class(s->plan, gpu);
    const struct plan_state *state =
        &s->plan->classes[class_id]->index.states[plan_gpu_state(s->plan, gpu)];
    for (unsigned k = 0; k < s->kind_count; k++) {
        int profile = s->kinds[k].ask->profile[class_id];
        is_wanted = is_wanted || (profile >= 0 && state->fits >> profile & 1);
    }
    return is_wanted;
}

/* All that the GPUs that look like this one can hold. */
static int add_look(struct set *s, uint32_t gpu, bool is_plain)
{
    struct fill f = {.set = s, .gpu = gpu, .first = s->column_count,
                     .use = *plan_gpu_busy(s->plan, gpu)};
    struct look look = {.gpu = gpu, .first = s->column_count};

    f.is_open = f.use.mask != 0;
    f.column_of = xcalloc(s->state_count, sizeof(*f.column_of));
    fill_from(&f, 0);
    free(f.column_of);
    look.count = s->column_count - f.first;
    s->looks = xreallocarray(s->looks, s->look_count + 1, sizeof(*s->looks));
    s->looks[s->look_count++] = look;
    if (is_plain) {
        unsigned *last = looks_like(s, gpu);
        s->looks[s->look_count - 1].next = *last;
        *last = s->look_count;
    }
    return f.r;
}

static int add_candidate(struct set *s, uint32_t gpu, int64_t late)
{
    bool plain = is_plain(s, gpu);
    int at = plain ? find_look(s, gpu) : -1;

    if (at < 0) {
        int r = add_look(s, gpu, plain);
        at = (int)s->look_count - 1;
        if (r < 0) {
            return r;
        }
    }
    if (!s->looks[at].count || s->looks[at].seen == s->total) {
        return 0; /* nothing fits, or there are enough that look like it */
    }
    if (s->candidate_count == GPUS_MAX) {
        return -E2BIG;
    }
    s->looks[at].seen++;
    s->candidates[s->candidate_count].gpu = gpu;
    s->candidates[s->candidate_count].late = late;
    s->candidates[s->candidate_count++].look = (unsigned)at;
    return 0;
}

struct late_gpu {
    int64_t late;
    uint32_t gpu;
};

static int compare_late(const void *va, const void *vb)
{
    const struct late_gpu *a = va, *b = vb;

    if (a->late != b->late) {
        return a->late < b->late ? -1 : 1;
    }
    return a->gpu < b->gpu ? -1 : a->gpu > b->gpu;
}

/* Those that are least outlasted first: of GPUs that look alike the others could only cost more. */
static int add_by_end(struct set *s)
{
    CLEANUP(freep) struct late_gpu *gpus = xcalloc(s->plan->gpu_count, sizeof(*gpus));
    size_t count = 0;
    int r = 0;

    for (uint32_t gpu = 0; gpu < s->plan->gpu_count; gpu++) {
        if (is_of_use(s, gpu)) {
            double late = plan_late_cost(s->plan, &s->last, gpu);
            gpus[count++] = (struct late_gpu){llround(late * FINENESS), gpu};
        }
    }
    if (count) {
        qsort(gpus, count, sizeof(*gpus), compare_late);
    }
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = add_candidate(s, gpus[i].gpu, gpus[i].late);
    }
    return r;
}

static int add_by_number(struct set *s)
{
    int r = 0;

    for (uint32_t gpu = 0; r == 0 && gpu < s->plan->gpu_count; gpu++) {
        r = is_of_use(s, gpu) ? add_candidate(s, gpu, 0) : 0;
    }
    return r;
}

static int find_candidates(struct set *s)
{
    bool ends_matter = s->last.end_ms && s->plan->ends_ms;
    int r = ends_matter ? add_by_end(s) : add_by_number(s);
    uint64_t work = 0;

    for (unsigned i = 0; i < s->candidate_count; i++) {
        work += (uint64_t)s->looks[s->candidates[i].look].count * s->state_count;
    }
    s->sums = work < WORK_MAX ? (unsigned)work : WORK_MAX;
    return r == 0 && work > WORK_MAX ? -E2BIG : r;
}

/* --- the program --- */

static void add_gpu(struct set *s, unsigned candidate)
{
    const struct look *look = &s->looks[s->candidates[candidate].look];
    int64_t late = s->candidates[candidate].late;
    uint16_t *choice = &s->choice[(size_t)candidate * s->state_count];

    /* From above, so that a GPU is used once: what is below is still without it. */
    for (unsigned state = s->state_count; state-- > 1;) {
        for (unsigned i = 0; i < look->count; i++) {
            const struct column *c = &s->columns[look->first + i];
            if (c->state > state || s->best[state - c->state] == NEVER ||
                !contains(s, state, c->state)) {
                continue;
            }
            int64_t cost = s->best[state - c->state] + c->cost + late;
            if (cost < s->best[state]) {
                s->best[state] = cost;
                choice[state] = (uint16_t)(i + 1);
            }
        }
    }
}

/* Hands the column's slices to asks that are not served yet. */
static void write_column(const struct set *s, const struct column *c, uint32_t gpu,
                         const struct plan_set_ask *asks, bool *is_served,
                         struct plan_set_spot *spots)
{
    for (unsigned i = 0; i < c->count; i++) {
        size_t at = 0;
        while (is_served[at] || find_kind(s, &asks[at]) != c->kinds[i]) {
            at++;
        }
        is_served[at] = true;
        spots[at] = (struct plan_set_spot){gpu, c->slices[i], c->kept >> i & 1};
    }
}

static void write_answer(const struct set *s, const struct plan_set_ask *asks,
                         struct plan_set *ret, struct plan_set_spot *spots)
{
    bool is_served[PLAN_SET_MAX] = {false};
    unsigned state = s->state_count - 1;

    *ret = (struct plan_set){.is_proven = true};
    for (unsigned i = s->candidate_count; i-- > 0;) {
        uint16_t pick = s->choice[(size_t)i * s->state_count + state];
        if (!pick) {
            continue;
        }
        const struct look *look = &s->looks[s->candidates[i].look];
        const struct column *c = &s->columns[look->first + pick - 1];
        write_column(s, c, s->candidates[i].gpu, asks, is_served, spots);
        ret->opened += !plan_gpu_busy(s->plan, s->candidates[i].gpu)->mask;
        ret->destroyed += c->destroyed;
        ret->created += c->count - (unsigned)__builtin_popcount(c->kept);
        state -= c->state;
    }
    assert(state == 0);
    ret->opened_least = ret->opened;
}

static int solve(struct set *s, const struct plan_set_ask *asks, struct plan_set *ret,
                 struct plan_set_spot *spots)
{
    s->best = xcalloc(s->state_count, sizeof(*s->best));
    s->choice = xcalloc((size_t)s->candidate_count * s->state_count + 1, sizeof(*s->choice));
    for (unsigned i = 1; i < s->state_count; i++) {
        s->best[i] = NEVER;
    }
    for (unsigned i = 0; i < s->candidate_count; i++) {
        add_gpu(s, i);
    }
    if (s->best[s->state_count - 1] == NEVER) {
        return -ENOSPC;
    }
    write_answer(s, asks, ret, spots);
    return 0;
}

/* --- when there is too much to look at --- */

/* GPUs that one kind needs beyond those in use, whatever becomes of the others. */
static unsigned opened_least(const struct set *s)
{
    unsigned most = 0;

    for (unsigned k = 0; k < s->kind_count; k++) {
        unsigned used = 0, each = 1;
        for (uint32_t gpu = 0; gpu < s->plan->gpu_count; gpu++) {
            if (!plan_has_gpu(s->plan, gpu) || !plan_is_usable(s->plan, gpu)) {
                continue;
            }
            int p = s->kinds[k].ask->profile[plan_gpu_class(s->plan, gpu)];
            const struct mig_use *busy = plan_gpu_busy(s->plan, gpu);
            const struct mig_geometry *g = &plan_gpu_index(s->plan, gpu)->geometry;
            unsigned n = p < 0 ? 0 : (unsigned)mig_remaining(g, busy, p);
            used += busy->mask ? n : 0;
            each = !busy->mask && n > each ? n : each;
        }
        unsigned left = s->kinds[k].count > used ? s->kinds[k].count - used : 0;
        most = (left + each - 1) / each > most ? (left + each - 1) / each : most;
    }
    return most;
}

/* What the spots of plan_place_each() come to; idle slices of the very profile serve
 * if they may. */
static void take_over(struct set *s, const struct plan_set_ask *asks,
                      const struct plan_spot *found, size_t count, struct plan_set *ret,
                      struct plan_set_spot *spots)
{
    *ret = (struct plan_set){.opened_least = s->kind_count < KINDS_MAX ? opened_least(s) : 0};
    for (size_t i = 0; i < count; i++) {
        uint32_t gpu = found[i].gpu_id;
        int idle = idle_at(plan_gpu_detail(s->plan, gpu), found[i].slice);
        bool is_new_gpu = !plan_gpu_busy(s->plan, gpu)->mask;
        for (size_t k = 0; k < i; k++) {
            is_new_gpu = is_new_gpu && found[k].gpu_id != gpu;
        }
        bool may = idle >= 0 && s->keep &&
                   s->keep->may_keep(s->keep->arg, asks[i].owner, gpu, found[i].slice);
        spots[i] = (struct plan_set_spot){gpu, found[i].slice, may};
        ret->opened += is_new_gpu;
        ret->created += !may;
        ret->destroyed += (unsigned)__builtin_popcount(found[i].destroy) - may;
    }
}

static int place_roughly(struct plan *p, struct set *s, const struct plan_set_ask *asks,
                         size_t count, struct plan_set *ret, struct plan_set_spot *spots)
{
    const struct plan_ask *each[PLAN_SET_MAX];
    struct plan_spot found[PLAN_SET_MAX];

    for (size_t i = 0; i < count; i++) {
        each[i] = asks[i].ask;
    }
    int r = plan_place_each(p, each, count, found);
    if (r < 0) {
        *ret = (struct plan_set){0};
        return r;
    }
    take_over(s, asks, found, count, ret, spots);
    return 0;
}

static void set_done(struct set *s)
{
    free(s->served);
    free(s->known);
    free(s->looks);
    for (int c = 0; c < s->plan->class_count; c++) {
        free(s->look_of_state[c]);
    }
    free(s->columns);
    free(s->best);
    free(s->choice);
}

static int place_exactly(struct set *s, const struct plan_set_ask *asks, size_t count,
                         struct plan_set *ret, struct plan_set_spot *spots)
{
    int r = find_kinds(s, asks, count);

    find_end(s, asks, count);
    *ret = (struct plan_set){.is_proven = true};
    if (r == 0) {
        write_digits(s);
        s->known = xcalloc(KNOWN_MAX, sizeof(*s->known));
        r = find_candidates(s);
    }
    r = r == 0 && count ? solve(s, asks, ret, spots) : r;
    ret->fills = s->fills;
    ret->sums = s->sums;
    return r;
}

int plan_place_set_exactly(struct plan *p, const struct plan_set_ask *asks, size_t count,
                           unsigned fills_most, struct plan_set *ret,
                           struct plan_set_spot *ret_spots)
{
    CLEANUP(freep) struct set *s = xcalloc(1, sizeof(*s));
    int r = -E2BIG;

    s->plan = p;
    s->fills_most = fills_most < FILLS_MAX ? fills_most : FILLS_MAX;
    r = count > PLAN_SET_MAX ? r : place_exactly(s, asks, count, ret, ret_spots);
    set_done(s);
    return r;
}

int plan_place_set(struct plan *p, const struct plan_set_ask *asks, size_t count,
                   const struct plan_keep *keep, struct plan_set *ret,
                   struct plan_set_spot *ret_spots)
{
    CLEANUP(freep) struct set *s = xcalloc(1, sizeof(*s));
    int r = -E2BIG;

    if (count > PLAN_SET_MAX) {
        return r;
    }
    s->plan = p;
    s->keep = keep;
    s->fills_most = FILLS_MAX;
    r = place_exactly(s, asks, count, ret, ret_spots);
    if (r == -E2BIG) {
        r = place_roughly(p, s, asks, count, ret, ret_spots);
    }
    set_done(s);
    return r;
}
