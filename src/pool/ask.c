/* What a lease asks for, on GPUs of one model and another: which of its profiles, and which compute
 * instance in it. */
#include "pool/internal.h"
#include <string.h>
#include <strings.h>

bool lease_is_shared(const struct pool_lease *lease)
{
    return lease->want.compute_instance_slices;
}

bool lease_is_gang(const struct pool_lease *lease)
{
    return lease->want.kind != MIG_WANT_GPU && lease->count > 1;
}

bool lease_allows_gpu(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    return !lease->model || strcasestr(gpu->info.name, lease->model);
}

/* The profile that takes all of a GPU; MIG_PROFILE_NONE if the table has none. */
static int full_profile(const struct mig_geometry *g)
{
    for (int p = 0; p < g->profile_count; p++) {
        const struct mig_profile *q = &g->profiles[p];
        if (q->slices == g->slices && q->size == g->slots && !strpbrk(q->name, "+-")) {
            return p;
        }
    }
    return MIG_PROFILE_NONE;
}

int lease_profile_on(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    return gpu->class_id < 0 ? MIG_PROFILE_NONE : lease->ask.profile[gpu->class_id];
}

int lease_resolve(struct pool *pool, struct pool_lease *lease, struct error *err)
{
    int rc = 0, found = 0;

    plan_ask_init(&lease->ask);
    if (lease->want.kind == MIG_WANT_GPU) {
        for (int c = 0; c < pool->class_count; c++) {
            lease->ask.profile[c] = (int8_t)full_profile(pool->classes[c].geometry);
        }
    } else {
        rc = plan_ask_resolve(pool->plan, &lease->want, &lease->ask, err);
    }
    for (int c = 0; rc == 0 && c < pool->class_count; c++) {
        if (lease->model && !strcasestr(pool->classes[c].model, lease->model)) {
            lease->ask.profile[c] = MIG_PROFILE_NONE;
        }
        found += lease->ask.profile[c] >= 0;
    }
    if (rc == 0 && !found && lease->want.kind != MIG_WANT_GPU) {
        return err_set(err, ENOENT, "no GPU here whose name has '%s' offers %s",
                       lease->model ? lease->model : "", lease->profile);
    }
    return rc;
}

int lease_ci_profile_on(const struct pool_lease *lease, const struct pool_gpu *gpu, int profile)
{
    int resolved = MIG_PROFILE_NONE, ci = MIG_PROFILE_NONE;

    /* Without a "1c." in what is asked for it is all of the slice. */
    if (!lease->want.compute_instance_slices ||
        mig_want_resolve(&lease->want, gpu->geometry, &resolved, &ci, NULL) < 0 ||
        resolved != profile) {
        const struct mig_profile *p = &gpu->geometry->profiles[profile];
        return mig_compute_by_slices(p, p->slices);
    }
    return ci;
}

unsigned lease_parts_in_window(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    int p = lease_profile_on(lease, gpu);
    unsigned each = lease->want.compute_instance_slices;

    if (p < 0 || !each || each >= gpu->geometry->profiles[p].slices) {
        return 1;
    }
    return gpu->geometry->profiles[p].slices / each;
}
