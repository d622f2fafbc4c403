/* The online protocol: arrivals.c draws who comes and goes, a plan (or a bound) says who gets in.
 */
#include "replay/online.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "plan/pack.h"
#include "replay/blocking.h"
#include "replay/clairvoyant.h"
#include "replay/polytope.h"
#include "replay/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const struct replay_online *setup;
    struct replay_arrivals arrivals;
    /* Who leaves when: lists through `next`, by the arrival before which it is. */
    uint32_t *first, *next;
    struct plan_spot *spots;
    struct plan *plan;
    uint32_t present[MIG_PROFILES_MAX]; /* by profile */
    uint32_t *tenant_at; /* [gpu * slots + start]: who holds the slice, to follow moves */
    int64_t *end_ms;     /* of each arrival, as declared; 0: not */
    int64_t *end_at;     /* [gpu * slots + start]: of who is there; 0: nobody, or not known */
    uint64_t moves;
    uint64_t offered[2], accepted[2]; /* requests, slots */
    struct {
        uint64_t bucket[4096]; /* of 10 ns */
        uint64_t count;
    } time;
};

static int prepare(struct run *r, struct error *err)
{
    const struct replay_online *o = r->setup;
    int rc = replay_arrivals_init(&r->arrivals, o->geometry, o->gpus, o->mix, o->load,
                                  o->is_poisson, err);

    if (rc < 0) {
        return rc;
    }
    r->first = xcalloc(r->arrivals.count, sizeof(*r->first));
    r->next = xcalloc(r->arrivals.count, sizeof(*r->next));
    r->spots = xcalloc(r->arrivals.count, sizeof(*r->spots));
    r->tenant_at = xcalloc((size_t)o->gpus * o->geometry->slots, sizeof(*r->tenant_at));
    r->end_ms = xcalloc(r->arrivals.count, sizeof(*r->end_ms));
    r->end_at = xcalloc((size_t)o->gpus * o->geometry->slots, sizeof(*r->end_at));
    for (int i = 0; i < REPLAY_SHAPES; i++) {
        if (r->arrivals.profile[i] >= 0) {
            r->present[r->arrivals.profile[i]] = 1;
        }
    }
    if (o->who == REPLAY_FREE && !plan_pack_is_closed_form(o->geometry, r->present)) {
        return err_set(err, ENOTSUP, "there is no closed form for free migration on this model");
    }
    return 0;
}

static void run_done(struct run *r)
{
    replay_arrivals_done(&r->arrivals);
    free(r->first);
    free(r->next);
    free(r->spots);
    free(r->tenant_at);
    free(r->end_ms);
    free(r->end_at);
    plan_free(r->plan);
}

static void new_fleet(struct run *r)
{
    int class_id = 0;

    plan_free(r->plan);
    r->plan = plan_new(&r->setup->settings);
    plan_add_class(r->plan, r->setup->geometry, &class_id, NULL);
    for (uint32_t i = 0; i < r->setup->gpus; i++) {
        plan_add_gpu(r->plan, i, class_id, NULL);
    }
    memset(r->present, 0, sizeof(r->present));
    memset(r->first, 0xff, r->arrivals.count * sizeof(*r->first));
    memset(r->end_at, 0,
           (size_t)r->setup->gpus * r->setup->geometry->slots * sizeof(*r->end_at));
}

/* One arrival is a second on the clock of the plan.  Drawn apart, so that arrivals are the same
 * with and without limits. */
static void declare_limits(struct run *r, int run)
{
    struct replay_random random;

    replay_random_seed(&random, 1000003ull * (uint64_t)run + 0xe4d5);
    for (uint32_t i = 0; r->setup->overstated > 0 && i < r->arrivals.count; i++) {
        double times = 1 + (r->setup->overstated - 1) * replay_random_real(&random);
        r->end_ms[i] = llround((i + times * r->arrivals.list[i].stay) * 1000);
    }
}

static uint32_t *tenant(struct run *r, uint32_t gpu, struct mig_slice slice)
{
    return &r->tenant_at[(size_t)gpu * r->setup->geometry->slots + slice.start];
}

/* Tells the plan who is there until when; end_ms 0: nobody any more. */
static void note_end(struct run *r, uint32_t gpu, struct mig_slice slice, int64_t end_ms)
{
    int64_t *ends = &r->end_at[(size_t)gpu * r->setup->geometry->slots], last = 0;

    if (r->setup->overstated <= 0) {
        return;
    }
    ends[slice.start] = end_ms;
    for (int s = 0; s < r->setup->geometry->slots; s++) {
        last = ends[s] > last ? ends[s] : last;
    }
    plan_set_end(r->plan, gpu, last);
}

static void depart(struct run *r, uint32_t now)
{
    for (uint32_t i = r->first[now]; i != UINT32_MAX; i = r->next[i]) {
        r->present[r->arrivals.list[i].profile]--;
        if (r->setup->who != REPLAY_FREE) {
            plan_give_back(r->plan, r->spots[i].gpu_id, r->spots[i].slice);
            note_end(r, r->spots[i].gpu_id, r->spots[i].slice, 0);
        }
    }
}

static void carry_out(struct run *r, const struct plan_moves *moves)
{
    for (int i = 0; i < moves->count; i++) {
        const struct plan_move *m = &moves->moves[i];
        uint32_t who = *tenant(r, m->from_gpu, m->from);
        struct plan_spot to = {.gpu_id = m->to_gpu, .slice = m->to, .destroy = m->destroy};
        plan_take(r->plan, &to, true, 1);
        plan_give_back(r->plan, m->from_gpu, m->from);
        note_end(r, m->from_gpu, m->from, 0);
        note_end(r, to.gpu_id, to.slice, r->end_ms[who]);
        r->spots[who] = to;
        *tenant(r, to.gpu_id, to.slice) = who;
    }
}

static bool place(struct run *r, uint32_t i, uint64_t *ret_moves)
{
    const struct plan_ask *ask;
    struct plan_ask a;
    struct plan_moves moves = {0};
    int rc;

    plan_ask_init(&a);
    a.profile[0] = (int8_t)r->arrivals.list[i].profile;
    a.now_ms = i * 1000ll;
    a.end_ms = r->end_ms[i];
    ask = &a;
    plan_learn(r->plan, ask);
    rc = r->setup->max_moves ? plan_find_moves(r->plan, ask, r->setup->max_moves, &moves)
                             : plan_place(r->plan, ask, &moves.spot);
    if (rc < 0) {
        return false;
    }
    carry_out(r, &moves);
    *ret_moves += moves.count;
    plan_take(r->plan, &moves.spot, r->setup->max_moves > 0, 1);
    note_end(r, moves.spot.gpu_id, moves.spot.slice, r->end_ms[i]);
    r->spots[i] = moves.spot;
    *tenant(r, moves.spot.gpu_id, moves.spot.slice) = i;
    return true;
}

static void count_time(struct run *r, int64_t ns)
{
    size_t b = ns < 0 ? 0 : (size_t)ns / 10;

    r->time.bucket[b < 4095 ? b : 4095]++;
    r->time.count++;
}

static double time_quantile(const struct run *r, double q)
{
    uint64_t seen = 0;

    for (size_t b = 0; b < 4096; b++) {
        seen += r->time.bucket[b];
        if ((double)seen >= q * (double)r->time.count) {
            return 10 * (double)b;
        }
    }
    return 0;
}

static void arrive(struct run *r, uint32_t now)
{
    const struct replay_arrival *a = &r->arrivals.list[now];
    const struct mig_geometry *g = r->setup->geometry;
    bool is_counted = now >= r->arrivals.warm, is_accepted;
    uint64_t moves = 0;
    int64_t start_ns = clock_mono_ns();

    if (r->setup->who == REPLAY_FREE) {
        r->present[a->profile]++;
        is_accepted = plan_pack_fits(g, r->present, r->setup->gpus);
        r->present[a->profile]--;
    } else {
        is_accepted = place(r, now, &moves);
    }
    count_time(r, clock_mono_ns() - start_ns);
    if (is_accepted) {
        r->present[a->profile]++;
        if (a->departure < r->arrivals.count) {
            r->next[now] = r->first[a->departure];
            r->first[a->departure] = now;
        }
    }
    if (is_counted) {
        r->offered[0]++;
        r->offered[1] += g->profiles[a->profile].size;
        r->accepted[0] += is_accepted;
        r->accepted[1] += is_accepted ? g->profiles[a->profile].size : 0;
        r->moves += moves;
    }
}

static void simulate(struct run *r)
{
    new_fleet(r);
    for (uint32_t t = 0; t < r->arrivals.count; t++) {
        depart(r, t);
        arrive(r, t);
    }
}

/* --- somebody who knows what comes --- */

/* The polytope of this fleet; kinds are the shapes of the mix. */
struct shape_polytope {
    struct replay_fleet fleet;
    struct plan_ask asks[REPLAY_SHAPES];
    struct replay_polytope *polytope;
};

static int shape_polytope_init(struct shape_polytope *s, const struct replay_online *setup,
                               const struct replay_arrivals *a, struct error *err)
{
    *s = (struct shape_polytope){.fleet = {.count = 1, .gpus = setup->gpus}};
    s->fleet.groups[0].gpus = setup->gpus;
    s->fleet.groups[0].geometry = *setup->geometry;
    for (int i = 0; i < REPLAY_SHAPES; i++) {
        plan_ask_init(&s->asks[i]);
        s->asks[i].profile[0] = (int8_t)a->profile[i];
    }
    return replay_polytope_new(&s->fleet, s->asks, REPLAY_SHAPES, &s->polytope, err);
}

#define TOLERANCE 2e-4
#define ROUNDS_MAX 20000

static void foresee(struct run *r, const struct shape_polytope *s)
{
    const struct replay_arrivals *a = &r->arrivals;
    CLEANUP(freep) struct replay_visit *visits = xcalloc(a->count, sizeof(*visits));

    for (uint32_t i = 0; i < a->count; i++) {
        int shape = 0;
        while (a->profile[shape] != a->list[i].profile) {
            shape++;
        }
        visits[i].from = i;
        visits[i].to = a->list[i].departure < a->count ? a->list[i].departure : a->count;
        visits[i].kind = (uint32_t)shape;
    }
    for (int by_slots = 0; by_slots < 2; by_slots++) {
        struct replay_clairvoyant bound;
        for (uint32_t i = a->warm; i < a->count; i++) {
            int size = r->setup->geometry->profiles[a->list[i].profile].size;
            visits[i].weight = by_slots ? size : 1;
            r->offered[by_slots] += by_slots ? (uint64_t)size : 1;
        }
        replay_clairvoyant_bound(s->polytope, REPLAY_SHAPES, visits, a->count, TOLERANCE,
                                 ROUNDS_MAX, &bound);
        r->accepted[by_slots] = (uint64_t)floor(bound.value + 1e-6); /* only whole ones count */
    }
}

/* --- in the long run --- */

static void sum_free(const struct replay_online *setup, const struct replay_arrivals *a,
                     struct replay_steady *ret)
{
    double load[MIG_PROFILES_MAX] = {0}, accepted[MIG_PROFILES_MAX] = {0};

    for (int i = 0; i < REPLAY_SHAPES; i++) {
        if (a->profile[i] >= 0) {
            load[a->profile[i]] = a->share[i] * a->mean_life;
        }
    }
    if (!replay_blocking_accepted(setup->geometry, setup->gpus, load, accepted)) {
        return;
    }
    ret->free_requests = ret->free_slices = 0;
    for (int i = 0; i < REPLAY_SHAPES; i++) {
        if (a->profile[i] >= 0) {
            double part = a->share[i] * accepted[a->profile[i]];
            ret->free_requests += part;
            ret->free_slices += part * setup->geometry->profiles[a->profile[i]].size / a->mean_size;
        }
    }
}

int replay_online_steady(const struct replay_online *setup, struct replay_steady *ret,
                         struct error *err)
{
    struct replay_arrivals a;
    struct shape_polytope s = {0};
    double present[REPLAY_SHAPES], one[REPLAY_SHAPES], size[REPLAY_SHAPES];
    int rc = replay_arrivals_init(&a, setup->geometry, setup->gpus, setup->mix, setup->load,
                                  setup->is_poisson, err);

    if (rc == 0) {
        rc = shape_polytope_init(&s, setup, &a, err);
    }
    if (rc == 0) {
        *ret = (struct replay_steady){NAN, NAN, NAN, NAN};
        for (int i = 0; i < REPLAY_SHAPES; i++) {
            present[i] = a.share[i] * a.mean_stay;
            one[i] = 1 / a.mean_stay;
            size[i] = a.profile[i] < 0 ? 0 : setup->geometry->profiles[a.profile[i]].size;
            size[i] /= a.mean_stay * a.mean_size;
        }
        ret->fluid_requests = replay_polytope_serve(s.polytope, present, one);
        ret->fluid_slices = replay_polytope_serve(s.polytope, present, size);
        sum_free(setup, &a, ret);
    }
    replay_polytope_free(s.polytope);
    replay_arrivals_done(&a);
    return rc;
}

/* --- results --- */

static struct replay_ratio summarise(const double *x, int n)
{
    double mean = 0, var = 0;

    for (int i = 0; i < n; i++) {
        mean += x[i] / n;
    }
    for (int i = 0; i < n; i++) {
        var += (x[i] - mean) * (x[i] - mean) / (n > 1 ? n - 1 : 1);
    }
    return (struct replay_ratio){mean, 1.96 * sqrt(var / n)};
}

struct replay_ratio replay_online_lead(const struct replay_online_result *a,
                                       const struct replay_online_result *b, int runs)
{
    CLEANUP(freep) double *lead = xcalloc((size_t)runs, sizeof(*lead));

    for (int i = 0; i < runs; i++) {
        lead[i] = a->slices_by_run[i] - b->slices_by_run[i];
    }
    return summarise(lead, runs);
}

void replay_online_result_done(struct replay_online_result *result)
{
    free(result->slices_by_run);
    result->slices_by_run = NULL;
}

int replay_online_run(const struct replay_online *setup, struct replay_online_result *ret,
                      struct error *err)
{
    CLEANUP(freep) struct run *r = xcalloc(1, sizeof(*r));
    CLEANUP(freep) double *requests = xcalloc((size_t)setup->runs, sizeof(*requests));
    CLEANUP(freep) double *slices = xcalloc((size_t)setup->runs, sizeof(*slices));
    struct shape_polytope shapes = {0};
    uint64_t offered = 0;
    int rc;

    r->setup = setup;
    rc = prepare(r, err);
    if (rc == 0 && setup->who == REPLAY_CLAIRVOYANT) {
        rc = shape_polytope_init(&shapes, setup, &r->arrivals, err);
    }
    for (int run = 0; rc == 0 && run < setup->runs; run++) {
        replay_arrivals_draw(&r->arrivals, run);
        declare_limits(r, run);
        memset(r->offered, 0, sizeof(r->offered));
        memset(r->accepted, 0, sizeof(r->accepted));
        if (setup->who == REPLAY_CLAIRVOYANT) {
            foresee(r, &shapes);
        } else {
            simulate(r);
        }
        requests[run] = (double)r->accepted[0] / (double)r->offered[0];
        slices[run] = (double)r->accepted[1] / (double)r->offered[1];
        offered += r->offered[0];
    }
    if (rc == 0) {
        *ret = (struct replay_online_result){
            .requests = summarise(requests, setup->runs),
            .slices = summarise(slices, setup->runs),
            .moves_per_100 = 100 * (double)r->moves / (double)offered,
            .decisions = r->time.count,
            .decision_ns = {time_quantile(r, .5), time_quantile(r, .99)},
        };
        ret->slices_by_run = TAKE_PTR(slices);
    }
    replay_polytope_free(shapes.polytope);
    run_done(r);
    return rc;
}
