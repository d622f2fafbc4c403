#pragma once
#include "replay/simulate.h"

/* What carries a trace out.  simulate.c prepares a run and sums it up; in between one engine fills
 * the spans and counts. */

struct replay_run {
    const struct replay_setup *setup;
    struct plan *plan; /* one class for each group of the fleet, in its order; no GPUs */
    struct plan_ask *asks; /* by trace profile */
    bool *is_possible;     /* by trace profile */
    struct replay_span *spans; /* by job */
    uint64_t moves, recuts, decisions;
    size_t timed_count;
    int64_t *timed_ns; /* of the first decisions */
};

/* A decision was made, and took so long. */
void replay_note_decision(struct replay_run *run, int64_t ns);

/* The pool of the daemon: pool_step() in simulated time.  -EIO when it asks for what cannot be. */
int replay_run_pool(struct replay_run *run, struct error *err);
