/* The online protocol.
 *
 * Load is in memory slots: with E the mean size of a request, lifetimes have the mean
 * load * slots * gpus / E, so that the slots asked for by those present would on average be load
 * times the slots there are.  20 * slots * gpus / E requests arrive; the first fifth warms up and
 * is not counted. */
#include "replay/online.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "plan/pack.h"
#include "replay/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIX_SHAPES 6

/* The shapes of a mix by compute slices and size in eighths of the memory. */
static const struct {
    uint8_t slices, eighths;
} shapes[MIX_SHAPES] = {{1, 1}, {1, 2}, {2, 2}, {3, 4}, {4, 4}, {7, 8}};

static const struct {
    const char *name;
    double share[MIX_SHAPES];
} mixes[REPLAY_MIXES] = {
    {"uniform", {1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0}},
    {"skew-small", {.30, .25, .20, .10, .10, .05}},
    {"skew-big", {.05, .10, .10, .20, .25, .30}},
    {"bimodal", {.30, .15, .05, .05, .15, .30}},
};

int replay_mix_parse(const char *name, int *ret, struct error *err)
{
    for (int i = 0; i < REPLAY_MIXES; i++) {
        if (strcmp(name, mixes[i].name) == 0) {
            *ret = i;
            return 0;
        }
    }
    return err_set(err, EINVAL,
                   "no mix \"%.40s\"; there are uniform, skew-small, skew-big and bimodal", name);
}

const char *replay_mix_name(int mix)
{
    return mixes[mix].name;
}

struct arrival {
    uint8_t profile;
    uint32_t departure; /* time slot */
};

struct run {
    const struct replay_online *setup;
    int profile[MIX_SHAPES]; /* of the geometry; -1: the model has none, its share goes to others */
    double share[MIX_SHAPES];
    double mean_size, mean_life;
    uint32_t count, warm;
    struct arrival *arrivals;
    /* Who leaves when: lists through `next`, by time slot. */
    uint32_t *first, *next;
    struct plan_spot *spots;
    struct plan *plan;
    uint32_t present[MIG_PROFILES_MAX]; /* by profile */
    uint32_t *tenant_at; /* [gpu * slots + start]: who holds the slice, to follow moves */
    uint64_t moves;
    uint64_t offered[2], accepted[2]; /* requests, slots */
    struct {
        uint64_t bucket[4096]; /* of 10 ns */
        uint64_t count;
    } time;
};

/* The plain profile of a shape: no suffix, fewest engines come first in every table. */
static int find_profile(const struct mig_geometry *g, int shape)
{
    for (int p = 0; p < g->profile_count; p++) {
        if (g->profiles[p].slices == shapes[shape].slices &&
            g->profiles[p].size * 8 == shapes[shape].eighths * g->slots &&
            !strpbrk(g->profiles[p].name, "+-")) {
            return p;
        }
    }
    return -1;
}

static int prepare(struct run *r, struct error *err)
{
    const struct mig_geometry *g = r->setup->geometry;
    double sum = 0;

    for (int i = 0; i < MIX_SHAPES; i++) {
        r->profile[i] = find_profile(g, i);
        r->share[i] = r->profile[i] < 0 ? 0 : mixes[r->setup->mix].share[i];
        sum += r->share[i];
    }
    if (sum <= 0) {
        return err_set(err, ENOENT, "this model has none of the profiles of the mixes");
    }
    for (int i = 0; i < MIX_SHAPES; i++) {
        r->share[i] /= sum;
        r->mean_size += r->profile[i] < 0 ? 0 : r->share[i] * g->profiles[r->profile[i]].size;
    }
    double capacity = floor((double)g->slots * r->setup->gpus / r->mean_size);
    r->mean_life = r->setup->load * g->slots * r->setup->gpus / r->mean_size;
    r->count = 20 * (uint32_t)capacity;
    r->warm = r->count / 5;
    r->arrivals = xcalloc(r->count, sizeof(*r->arrivals));
    r->first = xcalloc(r->count, sizeof(*r->first));
    r->next = xcalloc(r->count, sizeof(*r->next));
    r->spots = xcalloc(r->count, sizeof(*r->spots));
    r->tenant_at = xcalloc((size_t)r->setup->gpus * g->slots, sizeof(*r->tenant_at));
    return 0;
}

static void run_done(struct run *r)
{
    free(r->arrivals);
    free(r->first);
    free(r->next);
    free(r->spots);
    free(r->tenant_at);
    plan_free(r->plan);
}

static void draw_arrivals(struct run *r, int run)
{
    struct replay_random random;

    replay_random_seed(&random, 1000003ull * (uint64_t)run + (uint64_t)r->setup->mix + 7);
    for (uint32_t t = 0; t < r->count; t++) {
        double x = replay_random_real(&random), life;
        int shape = 0;
        while (shape < MIX_SHAPES - 1 && (x >= r->share[shape] || r->share[shape] <= 0)) {
            x -= r->share[shape++];
        }
        while (r->profile[shape] < 0) {
            shape--;
        }
        life = 1 + floor(replay_random_exp(&random, r->mean_life));
        r->arrivals[t].profile = (uint8_t)r->profile[shape];
        r->arrivals[t].departure = life < r->count ? t + (uint32_t)life : UINT32_MAX;
    }
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
    memset(r->first, 0xff, r->count * sizeof(*r->first));
}

static uint32_t *tenant(struct run *r, uint32_t gpu, struct mig_slice slice)
{
    return &r->tenant_at[(size_t)gpu * r->setup->geometry->slots + slice.start];
}

static void depart(struct run *r, uint32_t now)
{
    for (uint32_t i = r->first[now]; i != UINT32_MAX; i = r->next[i]) {
        r->present[r->arrivals[i].profile]--;
        if (!r->setup->is_free_migration) {
            plan_give_back(r->plan, r->spots[i].gpu_id, r->spots[i].slice);
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
    a.profile[0] = (int8_t)r->arrivals[i].profile;
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
    const struct arrival *a = &r->arrivals[now];
    const struct mig_geometry *g = r->setup->geometry;
    bool is_counted = now >= r->warm, is_accepted;
    uint64_t moves = 0;
    int64_t start_ns = clock_mono_ns();

    if (r->setup->is_free_migration) {
        r->present[a->profile]++;
        is_accepted = plan_pack_fits(g, r->present, r->setup->gpus);
        r->present[a->profile]--;
    } else {
        is_accepted = place(r, now, &moves);
    }
    count_time(r, clock_mono_ns() - start_ns);
    if (is_accepted) {
        r->present[a->profile]++;
        if (a->departure < r->count) {
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

int replay_online_run(const struct replay_online *setup, struct replay_online_result *ret,
                      struct error *err)
{
    CLEANUP(freep) struct run *r = xcalloc(1, sizeof(*r));
    CLEANUP(freep) double *requests = xcalloc((size_t)setup->runs, sizeof(*requests));
    CLEANUP(freep) double *slices = xcalloc((size_t)setup->runs, sizeof(*slices));
    uint64_t offered = 0;
    int rc;

    r->setup = setup;
    rc = prepare(r, err);
    for (int i = 0; rc == 0 && setup->is_free_migration && i < MIX_SHAPES; i++) {
        r->present[r->profile[i] < 0 ? 0 : r->profile[i]] = r->profile[i] >= 0;
    }
    if (rc == 0 && setup->is_free_migration &&
        !plan_pack_is_closed_form(setup->geometry, r->present)) {
        rc = err_set(err, ENOTSUP, "there is no closed form for free migration on this model");
    }
    for (int run = 0; rc == 0 && run < setup->runs; run++) {
        draw_arrivals(r, run);
        new_fleet(r);
        memset(r->offered, 0, sizeof(r->offered));
        memset(r->accepted, 0, sizeof(r->accepted));
        for (uint32_t t = 0; t < r->count; t++) {
            depart(r, t);
            arrive(r, t);
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
    }
    run_done(r);
    return rc;
}
