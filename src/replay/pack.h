#pragma once
#include "mig/mig.h"
#include <stdbool.h>

/* The least number of GPUs of one model for a set of slices. */

struct replay_pack {
    uint32_t gpus, least; /* found; no fewer can do.  Equal when proven */
    uint32_t area_bound;  /* what counting slots alone would say */
    bool is_closed_form;
    uint32_t nodes; /* linear programs solved, 0 for the closed form */
};

/* counts by profile index.  -EAGAIN when nothing is found within node_limit. */
int replay_pack_solve(const struct mig_geometry *geometry, const uint32_t counts[MIG_PROFILES_MAX],
                      bool use_closed_form, uint32_t node_limit, struct replay_pack *ret,
                      struct error *err);
