#pragma once
#include "mig/mig.h"
#include "replay/models.h"

/* What people write for a fleet: "H100-SXM5-80GB:100,A30:4". */

#define REPLAY_GROUPS_MAX 16

struct replay_fleet {
    int count;
    uint32_t gpus; /* of all groups */
    struct replay_group {
        char model[48];
        uint32_t gpus;
        struct mig_geometry geometry;
    } groups[REPLAY_GROUPS_MAX];
};

/* -EINVAL for what is not a fleet, -ENOENT for an unknown model. */
int replay_fleet_parse(const char *text, struct replay_fleet *ret, struct error *err);
