/* Blocking of free migration.
 *
 * The counts of slices present are a reversible Markov process cut off at what can be packed, so
 * they have a product form (Kelly 1991), which depends on the mean of the stays only:
 *
 *   P(n) = 1/G * product over profiles of load[p]^n[p] / n[p]!    for all n that can be packed
 *
 * and a profile is accepted as often as n plus one of it can be packed, since Poisson arrivals see
 * what is there on average.  The sum is over all packable counts; the last profile is summed at
 * once, since packability only ends with more of it.  Where only the sum of slots counts, states
 * are told apart by it alone, and the recursion of Kaufman and Roberts does for any size. */
#include "replay/blocking.h"
#include "base/cleanup.h"
#include "plan/pack.h"
#include <math.h>
#include <string.h>

#define STATES_MAX 200000 /* lines of states: less than a second */

struct sum {
    const struct mig_geometry *g;
    uint32_t gpus;
    int kinds;
    int profile[MIG_PROFILES_MAX];
    double load[MIG_PROFILES_MAX];
    uint32_t counts[MIG_PROFILES_MAX]; /* by profile of the geometry */
    double *last;                      /* sums of load^n / n! of the last kind, up to n */
    uint32_t last_most;
    double all, accepted[MIG_PROFILES_MAX]; /* by kind */
    uint64_t states;
};

/* The most of the last kind that can be packed beside the others; -1 when not even these can. */
static int64_t most_of_last(struct sum *s)
{
    uint32_t *n = &s->counts[s->profile[s->kinds - 1]];
    int64_t lo = -1, hi = s->last_most;

    while (lo < hi) {
        int64_t mid = lo + (hi - lo + 1) / 2;
        *n = (uint32_t)mid;
        if (plan_pack_fits(s->g, s->counts, s->gpus)) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    *n = 0;
    return lo;
}

static double up_to(const struct sum *s, int64_t n)
{
    return n < 0 ? 0 : s->last[n];
}

static void add_line(struct sum *s, double factor)
{
    int64_t most = most_of_last(s);

    s->all += factor * up_to(s, most);
    s->accepted[s->kinds - 1] += factor * up_to(s, most - 1);
    for (int k = 0; k < s->kinds - 1; k++) {
        s->counts[s->profile[k]]++;
        s->accepted[k] += factor * up_to(s, most_of_last(s));
        s->counts[s->profile[k]]--;
    }
}

static void add_states(struct sum *s, int kind, double factor)
{
    uint32_t *n = &s->counts[s->profile[kind]];

    if (kind == s->kinds - 1) {
        add_line(s, factor);
        s->states++;
        return;
    }
    for (; s->states <= STATES_MAX && plan_pack_fits(s->g, s->counts, s->gpus); (*n)++) {
        add_states(s, kind + 1, factor);
        factor *= s->load[kind] / (*n + 1);
    }
    *n = 0;
}

static bool sum_states(struct sum *s)
{
    double term = 1, load = s->load[s->kinds - 1];
    CLEANUP(freep) double *last = NULL;

    s->last_most = s->gpus * (uint32_t)s->g->slots;
    last = xcalloc(s->last_most + 1, sizeof(*last));
    for (uint32_t n = 0; n <= s->last_most; n++) {
        last[n] = n ? last[n - 1] + term : term;
        term *= load / (n + 1);
    }
    s->last = last;
    add_states(s, 0, 1);
    s->last = NULL;
    return s->states <= STATES_MAX && isfinite(s->all);
}

/* Kaufman and Roberts: used * Q(used) = sum over kinds of load * size * Q(used - size). */
static void sum_slots(struct sum *s)
{
    uint32_t total = s->gpus * s->g->slots;
    CLEANUP(freep) double *q = xcalloc(total + 1, sizeof(*q));

    q[0] = 1;
    for (uint32_t used = 0; used <= total; used++) {
        for (int k = 0; k < s->kinds; k++) {
            uint32_t size = s->g->profiles[s->profile[k]].size;
            q[used] += used >= size ? s->load[k] * size * q[used - size] / used : 0;
        }
        s->all += q[used];
        if (q[used] > 1e200) {
            for (uint32_t i = 0; i <= used; i++) {
                q[i] *= 1e-200;
            }
            s->all *= 1e-200;
        }
    }
    for (int k = 0; k < s->kinds; k++) {
        uint32_t size = s->g->profiles[s->profile[k]].size;
        for (uint32_t used = 0; used + size <= total; used++) {
            s->accepted[k] += q[used];
        }
    }
}

bool replay_blocking_accepted(const struct mig_geometry *g, uint32_t gpus,
                              const double load[MIG_PROFILES_MAX],
                              double ret_accepted[MIG_PROFILES_MAX])
{
    CLEANUP(freep) struct sum *s = xcalloc(1, sizeof(*s));
    uint32_t counts[MIG_PROFILES_MAX] = {0};
    bool is_done = true;

    s->g = g;
    s->gpus = gpus;
    /* The largest first: the smallest has the longest lines. */
    for (int size = MIG_SLOTS_MAX; size > 0; size--) {
        for (int p = 0; p < g->profile_count; p++) {
            if (load[p] > 0 && g->profiles[p].size == size) {
                counts[p] = 1;
                s->load[s->kinds] = load[p];
                s->profile[s->kinds++] = p;
            }
        }
    }
    if (!s->kinds || !plan_pack_is_closed_form(g, counts)) {
        return false;
    }
    if (plan_pack_is_by_slots(g, counts)) {
        sum_slots(s);
    } else {
        is_done = sum_states(s);
    }
    for (int k = 0; is_done && k < s->kinds; k++) {
        ret_accepted[s->profile[k]] = s->accepted[k] / s->all;
    }
    return is_done;
}
