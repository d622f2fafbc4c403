#pragma once
#include "plan/plan.h"
#include "replay/fleet.h"

/* What a fleet can hold at once, fractions allowed: all mixtures of layouts, counted by kind of
 * request.  Holds for any models, mixed too: a kind is a profile on each model that has it, or
 * none.  Since every real filling of the fleet is such a mixture, whatever does not lie in here
 * cannot be held by anybody, moves or not. */

#define REPLAY_KINDS_MAX 64

struct replay_polytope;

/* asks by kind, resolved for classes in the fleet's order; they and the fleet are borrowed.
 * -E2BIG with more kinds than REPLAY_KINDS_MAX; -ENOTSUP when a model has too many layouts. */
int replay_polytope_new(const struct replay_fleet *fleet, const struct plan_ask *asks, size_t kinds,
                        struct replay_polytope **ret, struct error *err);
void replay_polytope_free(struct replay_polytope *polytope);
DEFINE_FREEP(struct replay_polytope, replay_polytope_free)

/* A face: price * counts <= 1 for all counts that the fleet holds. */
struct replay_face {
    double price[REPLAY_KINDS_MAX];
};

/* The largest number by which the counts may be multiplied and still be held, and the face that
 * says so; INFINITY and no face when there is nothing to hold.  Kinds that no model has do not
 * count. */
double replay_polytope_stretch(const struct replay_polytope *polytope, const double *counts,
                               struct replay_face *ret);
/* The most of weight * served with served <= counts that is held. */
double replay_polytope_serve(const struct replay_polytope *polytope, const double *counts,
                             const double *weights);

/* Multiplications that questions about stretching have taken so far.  Each is dear with several
 * models and many kinds; so who looks for faces stops after this much, about a second. */
double replay_polytope_work(const struct replay_polytope *polytope);
#define REPLAY_FACES_WORK 1e9
/* The faces that matter, found by asking in many directions: none is implied by another one.  There
 * may be more; those returned hold in any case.  Returns how many. */
size_t replay_polytope_faces(const struct replay_polytope *polytope, struct replay_face *faces,
                             size_t most);
/* Puts a face among others unless they imply it, and drops those that it implies.  False: nothing
 * was added. */
bool replay_face_add(struct replay_face *faces, size_t *count, size_t most, size_t kinds,
                     const struct replay_face *face);
