/* The policy "value": where a slice takes least from what its GPU is worth.
 *
 * Taken by itself, a GPU is a shop in a town of many.  Requests come by; each goes where it takes
 * least, so what it would take elsewhere is the price that this GPU gets for its place, and a
 * request that has no place elsewhere is worth its own slots.  With V(s) what a GPU is worth that
 * looks like s (the windows that are busy), s + a the look after a request of shape a is placed and
 * s - i the look after slice i has left:
 *
 *     (d + n m) V(s) = sum over shapes a: share(a) E max(price(a) - (V(s) - V(s + a)), 0)
 *                    + sum over slices i: m V(s - i)
 *
 * Time is counted in requests.  m is how likely a slice leaves between two of them, n how many
 * there are, and d = DISCOUNT * m: prices are of now, what comes much later counts less.  So one of
 * many slices in a half counts for little (the half will not be free soon anyway) and the last one
 * for much, and the last free window of a kind is dear only if those who want it are turned away.
 *
 * Nothing is assumed about who asks: prices (a histogram for each shape), shares and m are learned,
 * with the half-life of the mix, from what requests have paid under the values so far; when prices
 * and values agree the fleet is in balance.  m follows from how many were placed and how many are
 * there (Little's law); where many wait for their place it comes out too small, which matters
 * little.  Profiles with the same size and starts are one shape; engines are left out.
 *
 * Looks are all sets of windows that can stand side by side, in the order of their masks, so that a
 * pass down and up sees what can follow before and after.  Each value is found by Newton's method
 * (the right side falls as V(s) rises), from the values of its neighbours; one pass down and up for
 * each stock taking comes near enough, as prices do not change faster.  Slots that are busy without
 * a slice that is known (a foreign one) make looks that are not in the list: the nearest one stands
 * in. */
#include "plan/value.h"
#include "base/cleanup.h"
#include <assert.h>
#include <math.h>
#include <string.h>

#define LOOKS_MAX 4096
#define NO_LOOK UINT16_MAX
#define DISCOUNT 2.0 /* 1 to 3 make no difference of note */
#define READY 128    /* requests that are enough to begin with, if ... */
#define TURNOVERS 2  /* ... so many for each slice: a fleet that fills up pays other prices */
#define CHANGE 0.1   /* slots; values that have moved less are not worth sorting anew */
#define BIN_LEAST (-1.0)
#define BINS_PER_SLOT 16
#define BINS ((MIG_SLOTS_MAX + 2) * BINS_PER_SLOT) /* a price of all slots has one, too */

struct look {
    uint16_t mask, starts;
    double value, published;
};

struct shape {
    uint8_t size;
    uint16_t starts;
    double seen[BINS];     /* requests by the price that they have paid, decayed */
    double gain[BINS + 1]; /* E max(price - x, 0), x being the lower end of the bin */
    double share;
};

struct plan_value {
    unsigned look_count, link_count, shape_count, slots;
    uint8_t shape_of[MIG_PROFILES_MAX];
    bool is_ready;
    double requests, placed, present; /* decayed sums, the last over requests */
    double since;                     /* requests since the last refresh */
    double leave;                     /* m */
    struct look *looks;
    uint16_t *followers; /* [look * links + link]: link by shape, then start; NO_LOOK: no room */
    uint16_t *leavers;   /* [look * slots + start]: when the slice there has left */
    struct shape shapes[MIG_PROFILES_MAX];
};

/* --- looks --- */

static int compare_looks(const void *a, const void *b)
{
    const struct look *x = a, *y = b;

    if (x->mask != y->mask) {
        return x->mask < y->mask ? -1 : 1;
    }
    return x->starts < y->starts ? -1 : x->starts > y->starts;
}

/* Index of a look, or NO_LOOK. */
static uint16_t find_look(const struct plan_value *v, uint16_t mask, uint16_t starts)
{
    struct look key = {.mask = mask, .starts = starts};
    const struct look *l =
        bsearch(&key, v->looks, v->look_count, sizeof(*v->looks), compare_looks);

    return l ? (uint16_t)(l - v->looks) : NO_LOOK;
}

/* The same mask cut differently, or the first with no more than those slots free. */
static uint16_t stand_in(const struct plan_value *v, uint16_t mask)
{
    for (unsigned i = 0; i < v->look_count; i++) {
        if ((v->looks[i].mask & mask) == mask) {
            return (uint16_t)i;
        }
    }
    return (uint16_t)(v->look_count - 1);
}

static uint16_t look_of(const struct plan_value *v, const struct mig_use *use)
{
    uint16_t look = find_look(v, use->mask, use->starts);

    return look != NO_LOOK ? look : stand_in(v, use->mask);
}

static void find_shapes(struct plan_value *v, const struct mig_geometry *g)
{
    for (int p = 0; p < g->profile_count; p++) {
        unsigned k = 0;
        while (k < v->shape_count && (v->shapes[k].size != g->profiles[p].size ||
                                      v->shapes[k].starts != g->start_mask[p])) {
            k++;
        }
        if (k == v->shape_count) {
            v->shapes[v->shape_count++] =
                (struct shape){.size = g->profiles[p].size, .starts = g->start_mask[p]};
            v->link_count += (unsigned)mig_count_slots(g->start_mask[p]);
        }
        v->shape_of[p] = (uint8_t)k;
    }
}

static uint16_t window_of(const struct shape *shape, unsigned start)
{
    return (uint16_t)(((1u << shape->size) - 1) << start);
}

/* Each look once more with a slice that begins at the slot; looks so far begin before it. */
static bool add_looks_at(struct plan_value *v, unsigned slot)
{
    unsigned count = v->look_count, sizes = 0;

    for (unsigned k = 0; k < v->shape_count; k++) {
        if (!(v->shapes[k].starts >> slot & 1) || sizes >> v->shapes[k].size & 1) {
            continue;
        }
        sizes |= 1u << v->shapes[k].size;
        uint16_t window = window_of(&v->shapes[k], slot);
        for (unsigned i = 0; i < count; i++) {
            const struct look *l = &v->looks[i];
            if (l->mask & window) {
                continue;
            }
            if (v->look_count == LOOKS_MAX) {
                return false;
            }
            v->looks[v->look_count++] = (struct look){.mask = l->mask | window,
                                                      .starts = l->starts | (uint16_t)(1u << slot)};
        }
    }
    return true;
}

static bool find_looks(struct plan_value *v)
{
    v->looks = xcalloc(LOOKS_MAX, sizeof(*v->looks));
    v->look_count = 1;
    for (unsigned slot = 0; slot < v->slots; slot++) {
        if (!add_looks_at(v, slot)) {
            return false;
        }
    }
    qsort(v->looks, v->look_count, sizeof(*v->looks), compare_looks);
    v->looks = xreallocarray(v->looks, v->look_count, sizeof(*v->looks));
    return true;
}

/* Which look a slice of each shape at each start leads to, and from there back. */
static void link_look(struct plan_value *v, unsigned look)
{
    const struct look *l = &v->looks[look];
    uint16_t *to = &v->followers[(size_t)look * v->link_count];

    for (unsigned k = 0; k < v->shape_count; k++) {
        for (unsigned starts = v->shapes[k].starts; starts; starts &= starts - 1) {
            unsigned start = (unsigned)__builtin_ctz(starts);
            uint16_t window = window_of(&v->shapes[k], start);
            *to = l->mask & window ? NO_LOOK
                                   : find_look(v, l->mask | window,
                                               l->starts | (uint16_t)(1u << start));
            if (*to != NO_LOOK) {
                v->leavers[*to * v->slots + start] = (uint16_t)look;
            }
            to++;
        }
    }
}

struct plan_value *plan_value_new(const struct mig_geometry *g)
{
    CLEANUP(plan_value_freep) struct plan_value *v = xcalloc(1, sizeof(*v));

    v->slots = g->slots;
    find_shapes(v, g);
    if (!find_looks(v)) {
        return NULL;
    }
    v->followers = xcalloc((size_t)v->look_count * v->link_count + 1, sizeof(*v->followers));
    v->leavers = xcalloc((size_t)v->look_count * v->slots + 1, sizeof(*v->leavers));
    for (unsigned i = 0; i < v->look_count; i++) {
        link_look(v, i);
    }
    return TAKE_PTR(v);
}

void plan_value_free(struct plan_value *v)
{
    if (v) {
        free(v->looks);
        free(v->followers);
        free(v->leavers);
        free(v);
    }
}

size_t plan_value_bytes(const struct plan_value *v)
{
    return sizeof(*v) + v->look_count * (sizeof(*v->looks) + v->link_count * sizeof(*v->followers) +
                                         v->slots * sizeof(*v->leavers));
}

/* --- prices --- */

void plan_value_learn(struct plan_value *v, int profile, double price, bool is_here)
{
    struct shape *s = &v->shapes[v->shape_of[profile]];
    double at = (fmin(price, s->size) - BIN_LEAST) * BINS_PER_SLOT;

    s->seen[at > 0 ? (unsigned)at : 0]++;
    v->requests++;
    v->since++;
    v->placed += is_here;
}

static void sum_prices(struct plan_value *v, struct shape *s)
{
    double count = 0, sum = 0; /* of prices from the bin on */

    s->gain[BINS] = 0;
    for (int b = BINS - 1; b >= 0; b--) {
        double low = BIN_LEAST + (double)b / BINS_PER_SLOT;
        count += s->seen[b];
        sum += s->seen[b] * (low + .5 / BINS_PER_SLOT);
        s->gain[b] = sum - count * low;
    }
    for (int b = 0; b < BINS && count > 0; b++) {
        s->gain[b] /= count;
    }
    s->share = (count + 1) / (v->requests + v->shape_count);
}

/* E max(price - x, 0), and how likely a price is above x. */
static double gain_at(const struct shape *s, double x, double *ret_above)
{
    double at = (x - BIN_LEAST) * BINS_PER_SLOT;

    if (at < 0) {
        *ret_above = s->gain[0] > 0;
        return *ret_above * (s->gain[0] + BIN_LEAST - x);
    }
    if (at >= BINS) {
        *ret_above = 0;
        return 0;
    }
    unsigned b = (unsigned)at;
    *ret_above = (s->gain[b] - s->gain[b + 1]) * BINS_PER_SLOT;
    return s->gain[b] - (at - b) * (s->gain[b] - s->gain[b + 1]);
}

/* --- values --- */

/* The value after a request of each shape at its best start; -INFINITY: no room. */
static void best_followers(const struct plan_value *v, unsigned look, double *ret)
{
    const uint16_t *to = &v->followers[(size_t)look * v->link_count];

    for (unsigned k = 0; k < v->shape_count; k++) {
        ret[k] = -(double)INFINITY;
        for (unsigned starts = v->shapes[k].starts; starts; starts &= starts - 1, to++) {
            ret[k] = *to == NO_LOOK ? ret[k] : fmax(ret[k], v->looks[*to].value);
        }
    }
}

static double worth(const struct plan_value *v, unsigned look)
{
    double after[MIG_PROFILES_MAX], from_leaving = 0, value = v->looks[look].value;
    double rate = v->leave * (DISCOUNT + mig_count_slots(v->looks[look].starts));

    for (unsigned starts = v->looks[look].starts; starts; starts &= starts - 1) {
        unsigned start = (unsigned)__builtin_ctz(starts);
        from_leaving += v->leave * v->looks[v->leavers[look * v->slots + start]].value;
    }
    best_followers(v, look, after);
    for (int round = 0; round < 2; round++) {
        double excess = rate * value - from_leaving, slope = rate;
        for (unsigned k = 0; k < v->shape_count; k++) {
            double above = 0;
            if (after[k] > -(double)INFINITY) {
                excess -= v->shapes[k].share * gain_at(&v->shapes[k], value - after[k], &above);
                slope += v->shapes[k].share * above;
            }
        }
        value -= excess / slope;
    }
    return value;
}

/* Only what looks differ by matters: more for all alike is no change. */
static bool is_changed(const struct plan_value *v)
{
    const struct look *empty = &v->looks[0];
    double most = 0;

    for (unsigned i = 0; i < v->look_count; i++) {
        const struct look *l = &v->looks[i];
        most = fmax(most, fabs(l->value - empty->value - (l->published - empty->published)));
    }
    return most > CHANGE;
}

static void publish(struct plan_value *v)
{
    for (unsigned i = 0; i < v->look_count; i++) {
        v->looks[i].published = v->looks[i].value;
    }
    v->is_ready = true;
}

bool plan_value_refresh(struct plan_value *v, double present, double keep)
{
    v->present += present * v->since;
    v->since = 0;
    if (v->placed <= 0 || v->present <= 0) {
        return false;
    }
    v->leave = v->placed / v->present;
    for (unsigned k = 0; k < v->shape_count; k++) {
        sum_prices(v, &v->shapes[k]);
        for (int b = 0; b < BINS; b++) {
            v->shapes[k].seen[b] *= keep;
        }
    }
    for (unsigned i = v->look_count; i-- > 0;) {
        v->looks[i].value = worth(v, i);
    }
    for (unsigned i = 0; i < v->look_count; i++) {
        v->looks[i].value = worth(v, i);
    }
    bool is_enough = v->is_ready || v->requests >= fmax(READY, TURNOVERS * present);
    v->requests *= keep;
    v->placed *= keep;
    v->present *= keep;
    if (!is_enough || (v->is_ready && !is_changed(v))) {
        return false;
    }
    publish(v);
    return true;
}

bool plan_value_is_ready(const struct plan_value *v)
{
    return v->is_ready;
}

double plan_value_of(const struct plan_value *v, const struct mig_use *use)
{
    return v->looks[look_of(v, use)].published;
}

double plan_value_price(const struct plan_value *v, const struct mig_use *before,
                        const struct mig_slice *slice)
{
    const struct shape *s = &v->shapes[v->shape_of[slice->profile]];
    struct mig_use after = *before;

    after.mask |= window_of(s, slice->start);
    after.starts |= (uint16_t)(1u << slice->start);
    return v->looks[look_of(v, before)].value - v->looks[look_of(v, &after)].value;
}
