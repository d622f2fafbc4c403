#pragma once
#include "replay/polytope.h"

/* What somebody could accept who knew all requests beforehand, could move everything at any time
 * and turn away whom he likes: an upper bound for every planner of a system without a queue. */

struct replay_visit {
    int64_t from, to; /* holds its slots from then until before then; empty holds none */
    uint32_t kind;    /* of the polytope */
    double weight;    /* of being accepted, >= 0 */
};

struct replay_clairvoyant {
    double value;    /* nobody accepts more */
    double attained; /* this much can be had when requests may be accepted in part; the true optimum
                        of that program lies between the two */
    uint32_t rounds; /* of the iteration */
};

/* Visits by `from`, ascending.  Stops when value and attained are within `tolerance` of each other,
 * relative to value, or after so many rounds; value is a bound in any case. */
void replay_clairvoyant_bound(const struct replay_polytope *polytope, size_t kinds,
                              const struct replay_visit *visits, size_t count, double tolerance,
                              uint32_t most_rounds, struct replay_clairvoyant *ret);
