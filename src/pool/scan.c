/* What is really there.
 *
 * One function compares what the driver enumerates with the books: at the start, after a crash or a
 * reboot, and now and then, because an administrator may cut by hand.  Results arrive in the order
 * of the GPU's worker, so a scan shows the effect of every job whose result has come and of none
 * that came after; a slice with a job under way is therefore left alone here.
 *
 * Law 5: GPU instances are compared, not MIG devices, so that one without a compute instance is
 * seen.  Law 8: a slice is known by GPU, placement, profile and MIG UUID; ids are only noted. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <string.h>

/* Is this compute instance of ours among the found ones?  UUIDs that are not told do not speak
 * against it. */
static bool shows_ci(const struct mig_instance *found, const struct pool_ci *ci)
{
    for (unsigned i = 0; i < found->ci_count; i++) {
        const char *uuid = found->ci[i].mig_uuid;
        bool is_untold = !uuid[0] || !ci->mig_uuid[0];
        if (is_untold ? found->ci[i].id == ci->id : !strcmp(uuid, ci->mig_uuid)) {
            return true;
        }
    }
    return false;
}

/* Is the found instance this very slice?  One of ours with settled compute instances must show at
 * least one of them, unless all of them are gone. */
static bool is_same(const struct pool_slice *s, const struct mig_instance *found)
{
    bool has_settled = false;

    if (s->start != found->start || s->size != found->size || s->profile_id != found->profile_id) {
        return false;
    }
    for (unsigned c = 0; c < s->ci_count; c++) {
        if (s->ci[c].is_settled) {
            has_settled = true;
            if (shows_ci(found, &s->ci[c])) {
                return true;
            }
        }
    }
    return !has_settled || !found->ci_count || s->state == POOL_SLICE_FOREIGN;
}

static void end_lease_of_missing(struct pool *pool, struct pool_lease *lease,
                                 const struct pool_slice *slice)
{
    if (move_give_up(pool, lease, slice, "the new slice is gone")) {
        return;
    }
    if (lease->state == POOL_LEASE_RELEASING) {
        lease_end(pool, lease, lease->end_state, "its slice is gone");
    } else if (lease->state == POOL_LEASE_ACTIVE) {
        lease_end(pool, lease, POOL_LEASE_LOST,
                  "its slice is no longer on the GPU (a reboot, a reset, or destroyed by hand)");
    } else if (lease->state == POOL_LEASE_CUTTING) {
        lease_requeue(pool, lease, "a slice that was made for it is gone");
    }
}

/* A slice that should be there is not. */
static void on_missing(struct pool *pool, struct pool_slice *s)
{
    struct pool_gpu *gpu = s->gpu;
    uint64_t id = s->id;
    char label[96];

    if (s->state == POOL_SLICE_IDLE || s->state == POOL_SLICE_LEASED) {
        pool_tell(pool, POOL_HIST_SLICE_VANISHED, gpu, NULL, "%s is no longer there",
                  slice_label(s, label));
    }
    for (unsigned c = 0; s && c < s->ci_count; c++) {
        struct pool_lease *lease = s->ci[c].lease ? pool_lease_get(pool, s->ci[c].lease) : NULL;
        if (lease) {
            end_lease_of_missing(pool, lease, s);
            s = slice_by_id(gpu, id);
        }
    }
    if (s) {
        uint64_t operation = s->operation;
        slice_remove(pool, s);
        operation_progress(pool, operation, NULL);
    }
}

/* Compute instances of ours that are gone while their slice is there. */
static void drop_missing_cis(struct pool *pool, struct pool_slice *s,
                             const struct mig_instance *found)
{
    bool has_lost = false; /* those that an apply has still to make are not missing */

    for (unsigned c = s->ci_count; c-- > 0;) {
        struct pool_ci *ci = &s->ci[c];
        if (!ci->is_settled || shows_ci(found, ci)) {
            continue;
        }
        struct pool_lease *lease = ci->lease ? pool_lease_get(pool, ci->lease) : NULL;
        has_lost = true;
        ci->is_settled = false; /* it is not reused, whatever becomes of the lease */
        if (lease) {
            end_lease_of_missing(pool, lease, s);
        }
        s->ci[c].lease = 0;
    }
    if ((has_lost || !s->ci_count) && !slice_is_leased(s) &&
        (s->state == POOL_SLICE_IDLE || s->state == POOL_SLICE_LEASED)) {
        for (unsigned c = s->ci_count; c-- > 0;) {
            if (!s->ci[c].is_settled) {
                slice_drop_ci(pool, s, c); /* by those that are left it is known */
            }
        }
        slice_doom(pool, s, 0, 0);
    }
}

/* The intent to make it was recorded, then we crashed, and here it is. */
static void on_found_unfinished(struct pool *pool, struct pool_slice *s,
                                const struct mig_instance *found)
{
    struct pool_gpu *gpu = s->gpu;
    uint64_t id = s->id;

    s->gi_id = found->gi_id;
    slice_doom(pool, s, 0, 0); /* before its lease goes, which would remove it from the books */
    for (unsigned c = 0; c < s->ci_count; c++) {
        struct pool_lease *lease = s->ci[c].lease ? pool_lease_get(pool, s->ci[c].lease) : NULL;
        if (lease && !move_give_up(pool, lease, s, "tangramd was interrupted while it was cut")) {
            lease_requeue(pool, lease, "tangramd was interrupted while it was cut");
        }
    }
    s = slice_by_id(gpu, id);
    if (s) {
        s->ci_count = 0;
        slice_learn(pool, s, found); /* by what it is to be known when it is destroyed */
    }
}

/* It was to go, and the driver has not been asked yet; but somebody runs on it (law 1).  It is free
 * with a process on it then, and nobody gets it as it is. */
static void spare_busy(struct pool *pool, struct pool_slice *s, const struct mig_instance *found)
{
    uint64_t operation = s->operation;
    bool is_whole = s->ci_count && s->profile >= 0;

    for (unsigned c = 0; c < s->ci_count; c++) {
        is_whole = is_whole && s->ci[c].is_settled;
    }
    if (s->state != POOL_SLICE_DESTROYING || s->tries || !is_whole || !found->has_processes ||
        !found->process_count) {
        return;
    }
    s->lease = s->operation = 0;
    s->processes = found->process_count;
    if (!s->tenant[0]) {
        text_copy(s->tenant, sizeof(s->tenant), "(unknown)");
    }
    slice_set_state(pool, s, POOL_SLICE_IDLE);
    operation_progress(pool, operation, "processes run on a slice that was to go");
}

static void on_found(struct pool *pool, struct pool_slice *s, const struct mig_instance *found)
{
    if (s->job) {
        return;
    }
    if (s->state == POOL_SLICE_CREATING) {
        on_found_unfinished(pool, s, found);
        return;
    }
    spare_busy(pool, s, found);
    uint32_t processes = s->processes;
    drop_missing_cis(pool, s, found);
    if (s->state == POOL_SLICE_FOREIGN) {
        s->ci_count = 0; /* whatever is there now */
    }
    if (s->state != POOL_SLICE_DESTROYING && s->state != POOL_SLICE_QUARANTINED) {
        slice_learn(pool, s, found);
        slice_settle(pool, s); /* a compute instance may have been made just before a crash */
    }
    if (processes && !s->processes) {
        pool->wants_queue_pass = true;
        if (pool->settings.drops_idle && s->state == POOL_SLICE_IDLE && s->tenant[0]) {
            slice_doom(pool, s, 0, 0); /* it was not when its lease ended */
        }
    }
}

static void add_foreign(struct pool *pool, struct pool_gpu *gpu, const struct mig_instance *found)
{
    int profile = gpu->geometry ? mig_profile_by_id(gpu->geometry, found->profile_id)
                                : MIG_PROFILE_NONE;
    struct pool_slice *s = slice_new(pool, gpu, profile, found->start);
    char label[96];

    if (!s) {
        return;
    }
    s->state = POOL_SLICE_FOREIGN;
    s->size = found->size;
    s->profile_id = found->profile_id;
    if (profile < 0) {
        text_copy(s->profile_name, sizeof(s->profile_name), "unknown");
    }
    slice_learn(pool, s, found);
    pool_tell(pool, POOL_HIST_SLICE_FOREIGN, gpu, NULL,
              "%s was found; it was not made by tangram and is left alone", slice_label(s, label));
}

/* The slice that this instance is; after a crash one that was being made counts, too, unless
 * somebody works on it already. */
static struct pool_slice *match(struct pool_gpu *gpu, const struct mig_instance *found)
{
    for (unsigned k = 0; k < gpu->slice_count; k++) {
        struct pool_slice *s = gpu->slices[k];
        bool is_expected = s->state != POOL_SLICE_CREATING || s->job ||
                           (!gpu->is_scanned && !found->process_count);
        if (is_expected && is_same(s, found)) {
            return s;
        }
    }
    return NULL;
}

static bool is_listed(const struct pool_slice *s, const struct mig_scan *scan)
{
    for (unsigned i = 0; i < scan->instance_count; i++) {
        if (is_same(s, &scan->instances[i])) {
            return true;
        }
    }
    return false;
}

/* Those that were begun before a crash, perhaps, were not found, and nobody wants any more. */
static void drop_unwanted(struct pool *pool, struct pool_gpu *gpu)
{
    for (unsigned i = 0; i < gpu->slice_count;) {
        struct pool_slice *s = gpu->slices[i];
        if (s->state == POOL_SLICE_CREATING && !s->job && !s->operation && !slice_is_leased(s)) {
            slice_remove(pool, s);
        } else {
            i++;
        }
    }
}

void pool_on_scan(struct pool *pool, struct pool_gpu *gpu, const struct mig_scan *scan)
{
    if (!gpu->mode_job) {
        gpu->info.is_mig_enabled = scan->is_mig_enabled;
        gpu->info.is_mig_pending = scan->is_mig_pending;
    }
    if (gpu->processes && !scan->process_count) {
        pool->wants_queue_pass = true;
    }
    gpu->processes = scan->has_processes ? scan->process_count : gpu->processes;
    for (unsigned i = 0; i < gpu->slice_count;) {
        struct pool_slice *s = gpu->slices[i];
        if (s->job || s->state == POOL_SLICE_CREATING || is_listed(s, scan)) {
            i++;
            continue;
        }
        on_missing(pool, s);
        i = 0; /* the list has changed */
    }
    for (unsigned i = 0; i < scan->instance_count; i++) {
        const struct mig_instance *found = &scan->instances[i];
        struct pool_slice *s = match(gpu, found);
        if (s) {
            on_found(pool, s, found);
        } else {
            add_foreign(pool, gpu, found);
        }
    }
    drop_unwanted(pool, gpu);
    gpu_give_up_hopeless(pool, gpu, scan->is_mig_enabled ? "somebody else has cut the GPU there"
                                                         : "its MIG mode is off");
    if (!gpu_is_read(gpu)) {
        gpu->is_scanned = true;
        gpu->wants_scan = false;
        pool->wants_queue_pass = true;
    }
    gpu_changed(pool, gpu);
}
