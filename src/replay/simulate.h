#pragma once
#include "base/buf.h"
#include "plan/plan.h"
#include "replay/fleet.h"
#include "replay/trace.h"

/* A trace in simulated time against the daemon's own pool. */

enum replay_queue { REPLAY_LOSS, REPLAY_FIFO, REPLAY_BACKFILL };

/* The clairvoyant bound takes a second for each ten thousand requests. */
enum replay_bound_effort {
    REPLAY_BOUND_AUTO,
    REPLAY_BOUND_NONE,
    REPLAY_BOUND_FAST,
    REPLAY_BOUND_LP
};

struct replay_setup {
    const struct replay_fleet *fleet;
    const struct replay_trace *trace;
    struct plan_settings settings;
    enum replay_queue queue;
    int max_moves;
    enum replay_bound_effort bound_effort;
    int64_t create_ms, delete_ms; /* both 0: idle slices are of no use and not kept */
    int64_t max_compute;          /* compute slots that one tenant may have; 0 no limit */
    int64_t age_step_ms;          /* waiting so long is worth one priority; 0 never */
};

struct replay_profile_wait {
    uint64_t count; /* accepted requests */
    double p99_wait_ms; /* NaN when none was accepted */
};

/* Utilisation over time, for plots: equal steps over the makespan. */
#define REPLAY_SAMPLES 400

/* What nobody beats (bounds.h says for whom each holds); NaN or -1 where there is none. */
struct replay_bounds {
    double free_accepted_ratio, free_slices_ratio;
    double clairvoyant_accepted_ratio, clairvoyant_slices_ratio;
    int64_t makespan_ms;
};

/* What became of one job of the trace. */
struct replay_span {
    bool is_started;
    int64_t ready_ms, end_ms; /* in the trace's time: its slice was ready; it ended */
    uint8_t slots, slices;    /* memory slots and compute slices of its slice */
    uint32_t gpu;             /* where it began: the GPU's number in the fleet, */
    uint8_t start;            /* and the first slot */
};

struct replay_outcome {
    uint64_t requests, accepted, moves, recuts, decisions;
    double accepted_ratio, accepted_slices_ratio; /* slices: in memory slots asked for */
    double compute_util, memory_util;             /* of the fleet, over the makespan */
    double mean_wait_ms, p95_wait_ms;             /* from arrival until the slice is ready */
    int64_t makespan_ms;                          /* from the first arrival to the last end */
    double decision_ns[2];                        /* p50, p99: a request through pool_step() */
    struct replay_profile_wait *waits;            /* by trace profile; owned */
    struct replay_span *spans;                    /* by job of the trace; owned */
    double samples[REPLAY_SAMPLES];               /* memory slots in use, as a share */
    struct replay_bounds bounds;
};
void replay_outcome_done(struct replay_outcome *outcome);

int replay_simulate(const struct replay_setup *setup, struct replay_outcome *ret,
                    struct error *err);
