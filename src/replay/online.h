#pragma once
#include "plan/plan.h"
#include "replay/models.h"

/* The online protocol of docs/performance.md: one arrival per time slot on a fleet of one model,
 * exponential lifetimes, nobody waits.  The same arrivals for every policy. */

#define REPLAY_MIXES 4

struct replay_online {
    const struct mig_geometry *geometry;
    uint32_t gpus;
    int mix;     /* see replay_mix_parse() */
    double load; /* offered memory slots over those there are */
    int runs;
    struct plan_settings settings;
    int max_moves;
    bool is_free_migration; /* not the policy but the bound: everything moves at will */
};

struct replay_ratio {
    double mean, half_width; /* 95 % confidence */
};

struct replay_online_result {
    struct replay_ratio requests, slices; /* accepted / offered */
    double moves_per_100;
    uint64_t decisions;
    double decision_ns[2]; /* p50, p99 */
};

int replay_mix_parse(const char *name, int *ret, struct error *err);
const char *replay_mix_name(int mix);
/* -ENOTSUP for the bound when no closed form holds on this model; -ENOENT when the model lacks a
 * profile of the mix. */
int replay_online_run(const struct replay_online *setup, struct replay_online_result *ret,
                      struct error *err);
