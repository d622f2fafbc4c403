#include "replay/pack.h"
#include "base/cleanup.h"
#include "plan/batch.h"
#include "plan/pack.h"
#include <string.h>

/* As many empty GPUs as slices always do. */
static int solve_by_search(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX],
                           uint32_t node_limit, struct replay_pack *ret, struct error *err)
{
    CLEANUP(plan_freep) struct plan *plan = plan_new(NULL);
    struct plan_batch_want wants[PLAN_BATCH_WANTS_MAX];
    struct plan_batch batch = {0};
    size_t n = 0;
    uint32_t total = 0;
    int class_id = 0, r;

    r = plan_add_class(plan, g, &class_id, err);
    for (int p = 0; r == 0 && p < g->profile_count; p++) {
        if (!counts[p]) {
            continue;
        }
        if (n == PLAN_BATCH_WANTS_MAX) {
            return err_set(err, E2BIG, "more than %d different profiles", PLAN_BATCH_WANTS_MAX);
        }
        plan_ask_init(&wants[n].ask);
        wants[n].ask.profile[class_id] = (int8_t)p;
        wants[n++].count = counts[p];
        total += counts[p];
    }
    for (uint32_t i = 0; r == 0 && i < total; i++) {
        r = plan_add_gpu(plan, i, class_id, err);
    }
    if (r == 0) {
        r = plan_batch_place(plan, wants, n, node_limit, &batch, err);
    }
    if (r < 0) {
        return r;
    }
    ret->gpus = batch.opened;
    ret->least = batch.opened_least;
    ret->nodes = batch.nodes;
    plan_batch_done(&batch);
    return 0;
}

int replay_pack_solve(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX],
                      bool use_closed_form, uint32_t node_limit, struct replay_pack *ret,
                      struct error *err)
{
    struct replay_pack p = {.area_bound = plan_pack_area_bound(g, counts)};
    int r = 0;

    for (int i = 0; i < g->profile_count; i++) {
        if (counts[i] && g->profiles[i].start_count == 0) {
            return err_set(err, ENOENT, "no placement of %s is known", g->profiles[i].name);
        }
    }
    if (use_closed_form && plan_pack_is_closed_form(g, counts)) {
        p.is_closed_form = true;
        p.gpus = p.least = plan_pack_min_gpus(g, counts);
    } else {
        r = solve_by_search(g, counts, node_limit, &p, err);
    }
    if (r == 0) {
        *ret = p;
    }
    return r;
}
