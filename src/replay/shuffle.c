/* Everything moves at will, on a fleet of several models.
 *
 * What is there is split among the models; whether a model's share fits is told by its closed form.
 * One more is put where it fits; else one other goes to another model for it; else the search
 * decides for the whole fleet (plan/batch.h), and what it finds is the new split.  Before that most
 * of what cannot fit is told by a face of the polytope: what is outside cannot be held
 * in any way. */
#include "replay/shuffle.h"
#include "plan/batch.h"
#include "plan/pack.h"
#include <string.h>

#define FACES_MAX 256
#define NODES_MAX 300 /* linear programs for one question */

struct replay_shuffle {
    const struct replay_fleet *fleet;
    const struct plan_ask *asks;
    size_t kinds, face_count;
    struct replay_face *faces;
    struct plan *empty; /* the fleet without anything on it */
    uint32_t count[REPLAY_KINDS_MAX];
    uint32_t split[REPLAY_KINDS_MAX][REPLAY_GROUPS_MAX]; /* of each kind, by model */
    uint32_t profiles[REPLAY_GROUPS_MAX][MIG_PROFILES_MAX];
};

/* Puts one of the kind on the model, or takes it away; as if there were room. */
static void put(struct replay_shuffle *s, uint32_t kind, int model)
{
    s->split[kind][model]++;
    s->profiles[model][s->asks[kind].profile[model]]++;
}

static void take(struct replay_shuffle *s, uint32_t kind, int model)
{
    s->split[kind][model]--;
    s->profiles[model][s->asks[kind].profile[model]]--;
}

static bool fits(const struct replay_shuffle *s, int model)
{
    const struct replay_group *g = &s->fleet->groups[model];

    return plan_pack_fits(&g->geometry, s->profiles[model], g->gpus);
}

static bool try_put(struct replay_shuffle *s, uint32_t kind, int model)
{
    if (s->asks[kind].profile[model] < 0) {
        return false;
    }
    put(s, kind, model);
    if (fits(s, model)) {
        return true;
    }
    take(s, kind, model);
    return false;
}

static bool try_anywhere(struct replay_shuffle *s, uint32_t kind, int but)
{
    for (int c = 0; c < s->fleet->count; c++) {
        if (c != but && try_put(s, kind, c)) {
            return true;
        }
    }
    return false;
}

/* One of another kind makes way. */
static bool try_instead(struct replay_shuffle *s, uint32_t kind, int model)
{
    for (uint32_t q = 0; s->asks[kind].profile[model] >= 0 && q < s->kinds; q++) {
        if (q == kind || !s->split[q][model]) {
            continue;
        }
        take(s, q, model);
        if (try_put(s, kind, model)) {
            if (try_anywhere(s, q, model)) {
                return true;
            }
            take(s, kind, model);
        }
        put(s, q, model);
    }
    return false;
}

static bool is_outside(const struct replay_shuffle *s)
{
    for (size_t f = 0; f < s->face_count; f++) {
        double filled = 0;
        for (size_t q = 0; q < s->kinds; q++) {
            filled += s->faces[f].price[q] * s->count[q];
        }
        if (filled > 1 + 1e-7) {
            return true;
        }
    }
    return false;
}

/* The whole of it anew; s->count has what is to be there. */
static int search(struct replay_shuffle *s)
{
    struct plan_batch_want wants[PLAN_BATCH_WANTS_MAX];
    uint32_t kind_of[PLAN_BATCH_WANTS_MAX];
    struct plan_batch batch = {0};
    size_t n = 0;

    for (uint32_t q = 0; q < s->kinds; q++) {
        if (s->count[q] && n == PLAN_BATCH_WANTS_MAX) {
            return -EAGAIN;
        }
        if (s->count[q]) {
            kind_of[n] = q;
            wants[n++] = (struct plan_batch_want){s->asks[q], s->count[q]};
        }
    }
    int r = plan_batch_fit(s->empty, wants, n, NODES_MAX, &batch, NULL);
    if (r < 0) {
        return r == -ENOSPC ? 0 : -EAGAIN;
    }
    memset(s->split, 0, sizeof(s->split));
    memset(s->profiles, 0, sizeof(s->profiles));
    for (size_t i = 0; i < batch.count; i++) {
        uint32_t gpu = batch.spots[i].spot.gpu_id;
        int model = 0;
        while (gpu >= s->fleet->groups[model].gpus) {
            gpu -= s->fleet->groups[model++].gpus;
        }
        put(s, kind_of[batch.spots[i].want], model);
    }
    plan_batch_done(&batch);
    return 1;
}

int replay_shuffle_add(struct replay_shuffle *s, uint32_t kind)
{
    bool is_there = try_anywhere(s, kind, -1);

    for (int c = 0; !is_there && c < s->fleet->count; c++) {
        is_there = try_instead(s, kind, c);
    }
    s->count[kind]++;
    int r = is_there ? 1 : is_outside(s) ? 0 : search(s);
    if (r != 1) {
        s->count[kind]--;
    }
    return r;
}

void replay_shuffle_remove(struct replay_shuffle *s, uint32_t kind)
{
    int model = 0;

    while (!s->split[kind][model]) {
        model++;
    }
    take(s, kind, model);
    s->count[kind]--;
}

static int add_models(struct replay_shuffle *s, struct error *err)
{
    uint32_t gpu = 0;
    int r = 0;

    for (int c = 0; r == 0 && c < s->fleet->count; c++) {
        const struct replay_group *g = &s->fleet->groups[c];
        uint32_t asked[MIG_PROFILES_MAX] = {0};
        int id = 0;
        for (size_t q = 0; q < s->kinds; q++) {
            if (s->asks[q].profile[c] >= 0) {
                asked[s->asks[q].profile[c]] = 1;
            }
        }
        if (!plan_pack_is_closed_form(&g->geometry, asked)) {
            return err_set(err, ENOTSUP, "no closed form holds on %s", g->model);
        }
        r = plan_add_class(s->empty, &g->geometry, &id, err);
        for (uint32_t i = 0; r == 0 && i < g->gpus; i++) {
            r = plan_add_gpu(s->empty, gpu++, id, err);
        }
    }
    return r;
}

int replay_shuffle_new(const struct replay_fleet *fleet, const struct plan_ask *asks, size_t kinds,
                       const struct replay_polytope *polytope, struct replay_shuffle **ret,
                       struct error *err)
{
    CLEANUP(replay_shuffle_freep) struct replay_shuffle *s = xcalloc(1, sizeof(*s));

    s->fleet = fleet;
    s->asks = asks;
    s->kinds = kinds;
    s->empty = plan_new(NULL);
    int r = add_models(s, err);
    if (r < 0) {
        return r;
    }
    s->faces = xcalloc(FACES_MAX, sizeof(*s->faces));
    s->face_count = replay_polytope_faces(polytope, s->faces, FACES_MAX);
    *ret = TAKE_PTR(s);
    return 0;
}

void replay_shuffle_free(struct replay_shuffle *s)
{
    if (s) {
        plan_free(s->empty);
        free(s->faces);
        free(s);
    }
}
