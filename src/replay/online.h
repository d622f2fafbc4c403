#pragma once
#include "plan/plan.h"
#include "replay/arrivals.h"

/* The online protocol of docs/performance.md: one arrival per time slot on a fleet of one model,
 * exponential lifetimes, nobody waits.  The same arrivals for every policy. */

enum replay_online_who {
    REPLAY_POLICY,      /* that of the settings */
    REPLAY_FREE,        /* free migration, first come first served: everything moves at will */
    REPLAY_CLAIRVOYANT, /* knows all that comes, moves and turns away at will (clairvoyant.h) */
};

struct replay_online {
    const struct mig_geometry *geometry;
    uint32_t gpus;
    const struct replay_mix *mix;
    double load; /* offered memory slots over those there are */
    bool is_poisson;
    double overstated; /* time limits are 1 to so many times the stay; 0: there are none */
    int runs;
    enum replay_online_who who;
    struct plan_settings settings;
    int max_moves;
};

struct replay_ratio {
    double mean, half_width; /* 95 % confidence */
};

struct replay_online_result {
    struct replay_ratio requests, slices; /* accepted / offered */
    double *slices_by_run;                /* owned */
    double moves_per_100;
    uint64_t decisions;
    double decision_ns[2]; /* p50, p99 */
};
void replay_online_result_done(struct replay_online_result *result);

/* -ENOTSUP for free migration when no closed form holds on this model, or its layouts are too many;
 * -ENOENT when the model lacks the profiles of the mix. */
int replay_online_run(const struct replay_online *setup, struct replay_online_result *ret,
                      struct error *err);
/* How much more `a` accepts than `b`, run by run, in slots. */
struct replay_ratio replay_online_lead(const struct replay_online_result *a,
                                       const struct replay_online_result *b, int runs);

/* What holds in the long run; ratios as above, NaN where there is none. */
struct replay_steady {
    double fluid_requests,
        fluid_slices;                  /* no planner that cannot tell who stays long accepts more */
    double free_requests, free_slices; /* free migration, if arrivals were Poisson: exact */
};
int replay_online_steady(const struct replay_online *setup, struct replay_steady *ret,
                         struct error *err);
