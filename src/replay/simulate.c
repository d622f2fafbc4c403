/* Around the engines: what the profiles of the trace are on this fleet before, and the sums after.
 *
 * Use is counted from when a slice is ready until its job ends: slots that are being cut serve
 * nobody. */
#include "replay/simulate.h"
#include "replay/bounds.h"
#include "replay/engine.h"
#include "replay/heap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIMED_MAX 1000000 /* decisions whose time is kept */

void replay_note_decision(struct replay_run *run, int64_t ns)
{
    run->decisions++;
    if (run->timed_count < TIMED_MAX) {
        run->timed_ns[run->timed_count++] = ns;
    }
}

/* --- setting up --- */

/* A whole GPU that can be cut is the profile that takes all of it; so the pool sees it too. */
static bool resolve_gpu(struct replay_run *run, struct plan_ask *ret)
{
    bool is_found = false;

    plan_ask_init(ret);
    for (int c = 0; c < plan_class_count(run->plan); c++) {
        const struct mig_geometry *g = plan_class_geometry(run->plan, c);
        for (int p = g->profile_count - 1; p >= 0; p--) {
            const struct mig_profile *row = &g->profiles[p];
            if (row->slices == g->slices && row->size == g->slots && !strpbrk(row->name, "+-")) {
                ret->profile[c] = (int8_t)p;
                is_found = true;
            }
        }
    }
    return is_found;
}

static bool resolve(struct replay_run *run, const struct mig_want *want, struct plan_ask *ret)
{
    return want->kind == MIG_WANT_GPU ? resolve_gpu(run, ret)
                                      : plan_ask_resolve(run->plan, want, ret, NULL) == 0;
}

static int resolve_profiles(struct replay_run *run, struct error *err)
{
    const struct replay_fleet *f = run->setup->fleet;
    const struct replay_trace *t = run->setup->trace;
    int r = 0, class_id = 0;

    for (int i = 0; r == 0 && i < f->count; i++) {
        r = plan_add_class(run->plan, &f->groups[i].geometry, &class_id, err);
    }
    for (uint32_t i = 0; r == 0 && i < t->profile_count; i++) {
        struct mig_want want;
        r = mig_want_parse(t->profiles[i], &want, err);
        run->is_possible[i] = r == 0 && resolve(run, &want, &run->asks[i]);
    }
    return r;
}

static void allocate(struct replay_run *run)
{
    size_t profiles = run->setup->trace->profile_count + 1;

    run->plan = plan_new(&run->setup->settings);
    run->asks = xcalloc(profiles, sizeof(*run->asks));
    run->is_possible = xcalloc(profiles, sizeof(*run->is_possible));
    run->spans = xcalloc(run->setup->trace->count + 1, sizeof(*run->spans));
    run->timed_ns = xcalloc(TIMED_MAX, sizeof(*run->timed_ns));
}

static void run_done(struct replay_run *run)
{
    plan_free(run->plan);
    free(run->asks);
    free(run->is_possible);
    free(run->spans);
    free(run->timed_ns);
}

/* --- results --- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* The smallest value that at least the share q of the sorted values does not exceed. */
static size_t quantile(size_t n, double q)
{
    size_t i = (size_t)ceil(q * (double)n);

    return i > 0 ? i - 1 : 0;
}

static void sum_waits(const struct replay_run *run, struct replay_outcome *o)
{
    const struct replay_trace *t = run->setup->trace;
    CLEANUP(freep) double *w = xcalloc(t->count + 1, sizeof(*w));
    size_t n = 0;

    o->waits = xcalloc(t->profile_count + 1, sizeof(*o->waits));
    for (uint32_t p = 0; p <= t->profile_count; p++) {
        n = 0; /* the last round is over all profiles */
        for (size_t i = 0; i < t->count; i++) {
            const struct replay_job *j = &t->jobs[i];
            if (run->spans[i].is_started && (p == t->profile_count || j->profile == p)) {
                w[n++] = (double)(run->spans[i].ready_ms - j->arrival_ms);
            }
        }
        qsort(w, n, sizeof(*w), compare_doubles);
        if (p < t->profile_count) {
            o->waits[p].count = n;
            o->waits[p].p99_wait_ms = n ? w[quantile(n, .99)] : (double)NAN;
        }
    }
    o->p95_wait_ms = n ? w[quantile(n, .95)] : 0;
    for (size_t i = 0; i < n; i++) {
        o->mean_wait_ms += w[i] / (double)n;
    }
}

/* Memory slots in use over time, from the starts and ends. */
static void sample(const struct replay_run *run, uint32_t total_slots, int64_t first_ms,
                   struct replay_outcome *o)
{
    CLEANUP(replay_heap_done) struct replay_heap starts = {0}, ends = {0};
    uint32_t slots = 0;

    for (size_t i = 0; i < run->setup->trace->count; i++) {
        if (run->spans[i].is_started) {
            replay_heap_push(&starts, run->spans[i].ready_ms, i);
            replay_heap_push(&ends, run->spans[i].end_ms, i);
        }
    }
    for (int i = 0; i < REPLAY_SAMPLES; i++) {
        int64_t at_ms = first_ms + (int64_t)((double)o->makespan_ms * i / REPLAY_SAMPLES);
        while (replay_heap_next_ms(&starts) <= at_ms) {
            slots += run->spans[replay_heap_pop(&starts).value].slots;
        }
        while (replay_heap_next_ms(&ends) <= at_ms) {
            slots -= run->spans[replay_heap_pop(&ends).value].slots;
        }
        o->samples[i] = (double)slots / total_slots;
    }
}

/* Slots that a job asked for; none if no GPU could ever give them. */
static uint64_t offered_slots(const struct replay_run *run, size_t job)
{
    uint32_t profile = run->setup->trace->jobs[job].profile;

    return run->is_possible[profile] ? replay_offered_slots(run->setup->fleet, &run->asks[profile])
                                     : 0;
}

static void sum_use(const struct replay_run *run, int64_t first_ms, struct replay_outcome *o)
{
    const struct replay_fleet *f = run->setup->fleet;
    const struct replay_trace *t = run->setup->trace;
    double slot_area = 0, slice_area = 0, all_slices = 0;
    uint64_t slots = 0, offered = 0;
    int64_t last_ms = t->count ? t->jobs[t->count - 1].arrival_ms : 0;
    uint32_t all_slots = 0;

    for (size_t i = 0; i < t->count; i++) {
        const struct replay_span *s = &run->spans[i];
        double ms = (double)(s->end_ms - s->ready_ms);
        o->accepted += s->is_started;
        offered += offered_slots(run, i);
        slots += s->is_started ? offered_slots(run, i) : 0;
        slot_area += s->slots * ms;
        slice_area += s->slices * ms;
        last_ms = s->end_ms > last_ms ? s->end_ms : last_ms;
    }
    for (int i = 0; i < f->count; i++) {
        all_slots += f->groups[i].geometry.slots * f->groups[i].gpus;
        all_slices += (double)f->groups[i].geometry.slices * f->groups[i].gpus;
    }
    o->makespan_ms = last_ms - first_ms;
    o->accepted_ratio = o->requests ? (double)o->accepted / (double)o->requests : 1;
    o->accepted_slices_ratio = offered ? (double)slots / (double)offered : 1;
    if (o->makespan_ms) {
        o->compute_util = slice_area / (all_slices * (double)o->makespan_ms);
        o->memory_util = slot_area / ((double)all_slots * (double)o->makespan_ms);
    }
    sample(run, all_slots, first_ms, o);
    replay_bounds_find(run->setup, run->asks, run->is_possible, offered, &o->bounds);
}

static void summarise(struct replay_run *run, struct replay_outcome *o)
{
    const struct replay_trace *t = run->setup->trace;

    *o = (struct replay_outcome){.requests = t->count,
                                 .moves = run->moves,
                                 .recuts = run->recuts,
                                 .decisions = run->decisions};
    sum_use(run, t->count ? t->jobs[0].arrival_ms : 0, o);
    sum_waits(run, o);
    qsort(run->timed_ns, run->timed_count, sizeof(*run->timed_ns), compare_ns);
    if (run->timed_count) {
        o->decision_ns[0] = (double)run->timed_ns[quantile(run->timed_count, .5)];
        o->decision_ns[1] = (double)run->timed_ns[quantile(run->timed_count, .99)];
    }
}

void replay_outcome_done(struct replay_outcome *o)
{
    free(TAKE_PTR(o->waits));
    free(TAKE_PTR(o->spans));
}

int replay_simulate(const struct replay_setup *setup, struct replay_outcome *ret, struct error *err)
{
    struct replay_run run = {.setup = setup};
    int r;

    allocate(&run);
    r = resolve_profiles(&run, err);
    if (r == 0) {
        r = replay_run_pool(&run, err);
    }
    if (r == 0) {
        summarise(&run, ret);
        ret->spans = TAKE_PTR(run.spans);
    }
    run_done(&run);
    return r;
}
