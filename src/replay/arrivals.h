#pragma once
#include "base/error.h"
#include "mig/mig.h"
#include <stdbool.h>
#include <stdint.h>

/* The random requests of the online protocol: who asks for what, and when he leaves. */

/* Kinds of request: the plain profiles of an eight-slot model, or what is like them. */
#define REPLAY_SHAPES 6
#define REPLAY_MIXES 4

struct replay_mix {
    char name[80];
    uint32_t number;             /* part of the seed */
    double share[REPLAY_SHAPES]; /* 1g, double-memory 1g, 2g, 3g, 4g, 7g; they add up to 1 */
};

extern const struct replay_mix replay_mixes[REPLAY_MIXES];

/* A name, six shares "3,2.5,2,1,1,.5" (of whatever sum), or "random:N": the N-th mix of which every
 * set of shares is equally likely. */
int replay_mix_parse(const char *text, struct replay_mix *ret, struct error *err);

struct replay_arrival {
    uint8_t profile;
    uint32_t departure; /* leaves before this arrival; UINT32_MAX: not before the end */
    double stay;        /* in steps of one arrival, whatever the end */
};

struct replay_arrivals {
    const struct mig_geometry *geometry;
    const struct replay_mix *mix;
    bool is_poisson;            /* arrivals at random times, else one per time slot */
    int profile[REPLAY_SHAPES]; /* of the geometry; -1: it has none, its share goes to the others */
    double share[REPLAY_SHAPES];
    double mean_size, mean_life, mean_stay; /* slots; as drawn; in steps of one arrival */
    uint32_t count, warm;                   /* the first `warm` are not counted */
    struct replay_arrival *list;
};

/* -ENOENT when the model has none of the profiles. */
int replay_arrivals_init(struct replay_arrivals *arrivals, const struct mig_geometry *geometry,
                         uint32_t gpus, const struct replay_mix *mix, double load, bool is_poisson,
                         struct error *err);
void replay_arrivals_done(struct replay_arrivals *arrivals);
/* The arrivals of one run. */
void replay_arrivals_draw(struct replay_arrivals *arrivals, int run);
