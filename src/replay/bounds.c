/* Bounds.
 *
 * Free migration, first come first served: a request is accepted if all slices present could be
 * packed together, however that is reached.  No planner that accepts whatever fits does better on
 * the requests seen so far; one that turns work away to keep room for later could.
 *
 * Makespan: work that arrives from time r on cannot be done before r plus its area (memory slots or
 * compute slices, times duration) over what the fleet has; and no job ends before its arrival plus
 * its duration. */
#include "replay/bounds.h"
#include "plan/pack.h"
#include "replay/heap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void bound_acceptance(const struct replay_setup *setup, const struct plan_ask *asks,
                             const bool *is_possible, struct replay_outcome *o)
{
    const struct mig_geometry *g = &setup->fleet->groups[0].geometry;
    const struct replay_trace *t = setup->trace;
    CLEANUP(replay_heap_done) struct replay_heap ends = {0}; /* profiles by their end */
    uint32_t counts[MIG_PROFILES_MAX] = {0};
    uint64_t accepted = 0, slots = 0, offered = 0;

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
        offered += g->profiles[p].size;
        counts[p]++;
        if (plan_pack_fits(g, counts, setup->fleet->gpus)) {
            accepted++;
            slots += g->profiles[p].size;
            replay_heap_push(&ends, j->arrival_ms + j->duration_ms, (uint64_t)p);
        } else {
            counts[p]--;
        }
    }
    o->bound_accepted_ratio = t->count ? (double)accepted / (double)t->count : 1;
    o->bound_slices_ratio = offered ? (double)slots / (double)offered : 1;
}

static void bound_makespan(const struct replay_setup *setup, const struct plan_ask *asks,
                           const bool *is_possible, struct replay_outcome *o)
{
    const struct mig_geometry *g = &setup->fleet->groups[0].geometry;
    const struct replay_trace *t = setup->trace;
    double slots = 0, slices = 0, best = 0;

    for (size_t i = t->count; i-- > 0;) {
        const struct replay_job *j = &t->jobs[i];
        if (!is_possible[j->profile]) {
            continue;
        }
        const struct mig_profile *p = &g->profiles[asks[j->profile].profile[0]];
        double release = (double)(j->arrival_ms - t->jobs[0].arrival_ms);
        slots += (double)p->size * (double)j->duration_ms;
        slices += (double)p->slices * (double)j->duration_ms;
        best = fmax(best, release + (double)j->duration_ms);
        best = fmax(best, release + slots / ((double)g->slots * setup->fleet->gpus));
        best = fmax(best, release + slices / ((double)g->slices * setup->fleet->gpus));
    }
    o->bound_makespan_ms = (int64_t)ceil(best - 1e-6);
}

void replay_bounds(const struct replay_setup *setup, const struct plan_ask *asks,
                   const bool *is_possible, struct replay_outcome *o)
{
    o->bound_accepted_ratio = o->bound_slices_ratio = NAN;
    o->bound_makespan_ms = -1;
    if (setup->fleet->count != 1) {
        return;
    }
    if (setup->queue == REPLAY_LOSS) {
        bound_acceptance(setup, asks, is_possible, o);
    } else {
        bound_makespan(setup, asks, is_possible, o);
    }
}
