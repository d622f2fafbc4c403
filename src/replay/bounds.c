/* Bounds of a trace.
 *
 * Clairvoyant: requests that hold their slots from arrival for their duration.  Who waits for a
 * slice to be cut holds it longer, so the bound holds with driver times too.
 *
 * Makespan: work that arrives from time r on, by kind and in slice milliseconds, is done over a
 * time T at best if work / T lies in the fleet's polytope; and no job ends before its arrival plus
 * its duration.  Faces of the polytope are, among others, memory slots and compute slices. */
#include "replay/bounds.h"
#include "plan/pack.h"
#include "replay/clairvoyant.h"
#include "replay/heap.h"
#include "replay/shuffle.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AUTO_REQUESTS_MAX 5000
#define TOLERANCE 2e-4
#define ROUNDS_MAX 20000
#define ROUNDS_LEAST 300
#define AUTO_WORK 1.5e9 /* multiplications: a second or two; no model alone comes near it */
#define FACES_MAX 256

uint8_t replay_offered_slots(const struct replay_fleet *fleet, const struct plan_ask *ask)
{
    for (int c = 0; c < fleet->count; c++) {
        if (ask->profile[c] >= 0) {
            return fleet->groups[c].geometry.profiles[ask->profile[c]].size;
        }
    }
    return 0;
}

/* --- first come, first served, everything moves --- */

/* One model. */
static void bound_free(const struct replay_setup *setup, const struct plan_ask *asks,
                       const bool *is_possible, uint64_t offered_slots, struct replay_bounds *ret)
{
    const struct mig_geometry *g = &setup->fleet->groups[0].geometry;
    const struct replay_trace *t = setup->trace;
    CLEANUP(replay_heap_done) struct replay_heap ends = {0}; /* profiles by their end */
    uint32_t counts[MIG_PROFILES_MAX] = {0};
    uint64_t accepted = 0, slots = 0;

    if (setup->fleet->count != 1) {
        return;
    }
    for (uint32_t i = 0; i < t->profile_count; i++) {
        if (is_possible[i]) {
            counts[asks[i].profile[0]] = 1;
        }
    }
    if (!plan_pack_is_closed_form(g, counts)) {
        return;
    }
    memset(counts, 0, sizeof(counts));
    for (size_t i = 0; i < t->count; i++) {
        const struct replay_job *j = &t->jobs[i];
        if (!is_possible[j->profile]) {
            continue;
        }
        int p = asks[j->profile].profile[0];
        while (replay_heap_next_ms(&ends) <= j->arrival_ms) {
            counts[replay_heap_pop(&ends).value]--;
        }
        counts[p]++;
        if (plan_pack_fits(g, counts, setup->fleet->gpus)) {
            accepted++;
            slots += g->profiles[p].size;
            replay_heap_push(&ends, j->arrival_ms + j->duration_ms, (uint64_t)p);
        } else {
            counts[p]--;
        }
    }
    ret->free_accepted_ratio = t->count ? (double)accepted / (double)t->count : 1;
    ret->free_slices_ratio = offered_slots ? (double)slots / (double)offered_slots : 1;
}

/* --- with the polytope --- */

/* The kinds of request are the profiles of the trace that some GPU has. */
struct kinds {
    size_t count;
    struct plan_ask asks[REPLAY_KINDS_MAX];
    uint32_t *of; /* by trace profile */
    struct replay_polytope *polytope;
};

static int kinds_init(struct kinds *k, const struct replay_setup *setup,
                      const struct plan_ask *asks, const bool *is_possible)
{
    k->of = xcalloc(setup->trace->profile_count + 1, sizeof(*k->of));
    for (uint32_t i = 0; i < setup->trace->profile_count; i++) {
        if (is_possible[i] && k->count == REPLAY_KINDS_MAX) {
            return -E2BIG;
        }
        if (is_possible[i]) {
            k->of[i] = (uint32_t)k->count;
            k->asks[k->count++] = asks[i];
        }
    }
    return replay_polytope_new(setup->fleet, k->asks, k->count, &k->polytope, NULL);
}

static void kinds_done(struct kinds *k)
{
    replay_polytope_free(k->polytope);
    free(k->of);
}

/* Several models.  Without a bound when it is not found out for each request whether it fits. */
static void bound_free_mixed(const struct replay_setup *setup, const struct kinds *k,
                             const bool *is_possible, uint64_t offered_slots,
                             struct replay_bounds *ret)
{
    const struct replay_trace *t = setup->trace;
    CLEANUP(replay_heap_done) struct replay_heap ends = {0}; /* kinds by their end */
    CLEANUP(replay_shuffle_freep) struct replay_shuffle *s = NULL;
    uint64_t accepted = 0, slots = 0;
    int r = replay_shuffle_new(setup->fleet, k->asks, k->count, k->polytope, &s, NULL);

    for (size_t i = 0; r >= 0 && i < t->count; i++) {
        const struct replay_job *j = &t->jobs[i];
        if (!is_possible[j->profile]) {
            continue;
        }
        uint32_t kind = k->of[j->profile];
        while (replay_heap_next_ms(&ends) <= j->arrival_ms) {
            replay_shuffle_remove(s, (uint32_t)replay_heap_pop(&ends).value);
        }
        r = replay_shuffle_add(s, kind);
        if (r > 0) {
            accepted++;
            slots += replay_offered_slots(setup->fleet, &k->asks[kind]);
            replay_heap_push(&ends, j->arrival_ms + j->duration_ms, kind);
        }
    }
    if (r >= 0) {
        ret->free_accepted_ratio = t->count ? (double)accepted / (double)t->count : 1;
        ret->free_slices_ratio = offered_slots ? (double)slots / (double)offered_slots : 1;
    }
}

/* Each round goes through all times, faces and kinds.  The bound holds after any number of them. */
static uint32_t most_rounds(const struct replay_setup *setup, const struct kinds *k)
{
    CLEANUP(freep) struct replay_face *faces = xcalloc(FACES_MAX, sizeof(*faces));
    double work = (double)replay_polytope_faces(k->polytope, faces, FACES_MAX) * (double)k->count *
                  (double)(setup->trace->count + 1);

    if (setup->bound_effort != REPLAY_BOUND_AUTO) {
        return ROUNDS_MAX;
    }
    return (uint32_t)fmin(ROUNDS_MAX, fmax(ROUNDS_LEAST, AUTO_WORK / fmax(work, 1)));
}

static double clairvoyant(const struct replay_setup *setup, const struct kinds *k,
                          const bool *is_possible, bool by_slots)
{
    const struct replay_trace *t = setup->trace;
    CLEANUP(freep) struct replay_visit *visits = xcalloc(t->count + 1, sizeof(*visits));
    struct replay_clairvoyant bound;
    size_t n = 0;

    for (size_t i = 0; i < t->count; i++) {
        const struct replay_job *j = &t->jobs[i];
        if (is_possible[j->profile]) {
            uint32_t kind = k->of[j->profile];
            int slots = replay_offered_slots(setup->fleet, &k->asks[kind]);
            visits[n++] = (struct replay_visit){j->arrival_ms, j->arrival_ms + j->duration_ms, kind,
                                                by_slots ? slots : 1};
        }
    }
    replay_clairvoyant_bound(k->polytope, k->count, visits, n, TOLERANCE, most_rounds(setup, k),
                             &bound);
    return floor(bound.value + 1e-6); /* only whole ones count */
}

static void bound_makespan(const struct replay_setup *setup, const struct kinds *k,
                           const bool *is_possible, struct replay_bounds *ret)
{
    const struct replay_trace *t = setup->trace;
    CLEANUP(freep) struct replay_face *faces = xcalloc(FACES_MAX, sizeof(*faces));
    CLEANUP(freep) double *filled = xcalloc(FACES_MAX, sizeof(*filled)); /* ms, by face */
    size_t face_count = replay_polytope_faces(k->polytope, faces, FACES_MAX);
    double best = 0;

    for (size_t i = t->count; i-- > 0;) {
        const struct replay_job *j = &t->jobs[i];
        double release = (double)(j->arrival_ms - t->jobs[0].arrival_ms);
        if (!is_possible[j->profile]) {
            best = fmax(best, release); /* the run lasts until the last arrival */
            continue;
        }
        best = fmax(best, release + (double)j->duration_ms);
        for (size_t f = 0; f < face_count; f++) {
            filled[f] += faces[f].price[k->of[j->profile]] * (double)j->duration_ms;
            best = fmax(best, release + filled[f]);
        }
    }
    ret->makespan_ms = (int64_t)ceil(best * (1 - 1e-12) - 1e-6);
}

void replay_bounds_find(const struct replay_setup *setup, const struct plan_ask *asks,
                        const bool *is_possible, uint64_t offered_slots, struct replay_bounds *ret)
{
    bool is_loss = setup->queue == REPLAY_LOSS;
    bool has_lp =
        setup->bound_effort == REPLAY_BOUND_LP ||
        (setup->bound_effort == REPLAY_BOUND_AUTO && setup->trace->count <= AUTO_REQUESTS_MAX);
    CLEANUP(freep) struct kinds *k = xcalloc(1, sizeof(*k));

    *ret = (struct replay_bounds){NAN, NAN, NAN, NAN, -1};
    if (setup->bound_effort == REPLAY_BOUND_NONE) {
        return;
    }
    if (is_loss) {
        bound_free(setup, asks, is_possible, offered_slots, ret);
    }
    if ((!is_loss || has_lp) && kinds_init(k, setup, asks, is_possible) == 0) {
        if (is_loss && setup->fleet->count > 1) {
            bound_free_mixed(setup, k, is_possible, offered_slots, ret);
        }
        if (is_loss) {
            double requests = clairvoyant(setup, k, is_possible, false);
            double slots = clairvoyant(setup, k, is_possible, true);
            size_t count = setup->trace->count;
            ret->clairvoyant_accepted_ratio = count ? requests / (double)count : 1;
            ret->clairvoyant_slices_ratio = offered_slots ? slots / (double)offered_slots : 1;
        } else {
            bound_makespan(setup, k, is_possible, ret);
        }
    }
    kinds_done(k);
}
