/* What comes back from the driver.
 *
 * A result names its job and the slice it was for.  The slice may have lost its lease meanwhile, or
 * be gone altogether (a scan found it missing): then the result is only bookkeeping.  A failure
 * never leaves a slice half-known: either nothing is there and the slice goes from the books, or
 * something is and it is to be destroyed. */
#include "pool/internal.h"
#include "base/text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DESTROY_TRIES 6 /* then the slice is quarantined and what was planned on it is let go */
#define DESTROY_RETRY_FIRST_MS 100
#define QUARANTINE_RETRY_MS 10000
#define READ_TRIES 3 /* enumerations that fail, and who waits for the GPU looks elsewhere */

static void average(int64_t *mean_us, int64_t us)
{
    *mean_us = *mean_us ? (*mean_us * 7 + us) / 8 : us;
}

/* Every lease that has a part in the slice goes back to the queue.  The slice may be gone after. */
static void requeue_leases_of(struct pool *pool, struct pool_gpu *gpu, uint64_t slice_id,
                              const char *why)
{
    for (;;) {
        struct pool_slice *s = slice_by_id(gpu, slice_id);
        struct pool_lease *lease = NULL;
        for (unsigned c = 0; s && c < s->ci_count && !lease; c++) {
            lease = s->ci[c].lease ? pool_lease_get(pool, s->ci[c].lease) : NULL;
        }
        if (!lease) {
            return;
        }
        if (!move_give_up(pool, lease, s, why)) {
            lease_requeue(pool, lease, why);
        }
    }
}

static void add_driver_time(struct pool *pool, const struct pool_slice *s, int64_t us)
{
    for (unsigned c = 0; c < s->ci_count; c++) {
        struct pool_lease *lease = s->ci[c].lease ? pool_lease_get(pool, s->ci[c].lease) : NULL;
        if (lease && lease->state == POOL_LEASE_CUTTING) {
            lease->driver_us += us;
        }
    }
}

void slice_settle(struct pool *pool, struct pool_slice *s)
{
    uint64_t operation = s->operation;
    uint64_t leases[MIG_MAX_COMPUTE];
    unsigned count = 0;
    bool is_whole = true;

    for (unsigned c = 0; c < s->ci_count; c++) {
        is_whole = is_whole && s->ci[c].is_settled;
        if (s->ci[c].lease && s->ci[c].is_settled) {
            leases[count++] = s->ci[c].lease;
        }
    }
    if (s->state == POOL_SLICE_CREATING) {
        if (!count) {
            s->tenant[0] = '\0';
            s->lease = 0;
        }
        slice_set_state(pool, s, slice_is_leased(s) ? POOL_SLICE_LEASED : POOL_SLICE_IDLE);
        pool->wants_queue_pass = pool->wants_queue_pass || !count;
    }
    for (unsigned i = 0; i < count; i++) {
        struct pool_lease *lease = pool_lease_get(pool, leases[i]);
        if (lease && lease->state == POOL_LEASE_CUTTING) {
            lease_activate_if_settled(pool, lease);
        } else if (lease) {
            move_on_made(pool, lease, s);
        }
    }
    if (is_whole) {
        s->operation = 0;
        operation_progress(pool, operation, NULL);
    }
}

static void on_created(struct pool *pool, struct pool_slice *s,
                       const struct pool_job_result *result)
{
    struct pool_gpu *gpu = s->gpu;
    char label[96];

    gpu->failures = 0;
    average(&gpu->create_us, result->driver_us);
    add_driver_time(pool, s, result->driver_us);
    slice_learn(pool, s, &result->instance);
    pool_tell(pool, POOL_HIST_SLICE_CREATED, gpu, NULL, "%s was made", slice_label(s, label));
    slice_settle(pool, s);
}

/* Does the failure say that nothing was made?  After others the driver was asked what is there;
 * when that failed, too, a bare instance may stand there which nobody has told us of. */
static bool is_refusal(const struct pool_job_result *result)
{
    return result->is_unasked || result->code == -ENOSPC || result->code == -EINVAL ||
           result->code == -EOPNOTSUPP || result->code == -EACCES || result->code == -EBUSY ||
           result->code == -ENOSYS;
}

/* What a failed attempt has left is to go; what it may have left, too.  False: there is nothing. */
static bool doom_remains(struct pool *pool, struct pool_slice *s,
                         const struct pool_job_result *result)
{
    char label[96];

    s->operation = 0;
    if (!result->has_instance) {
        if (!is_refusal(result)) {
            slice_doom(pool, s, 0, 0);
            text_copy(s->reason, sizeof(s->reason), "perhaps left by an attempt that failed");
        }
        return !is_refusal(result);
    }
    s->gi_id = result->instance.gi_id;
    text_copy(s->reason, sizeof(s->reason), "left over from an attempt that failed");
    slice_set_state(pool, s, POOL_SLICE_QUARANTINED);
    s->retry_at_ms = pool->now_ms + DESTROY_RETRY_FIRST_MS;
    pool_add_timer(pool, s->retry_at_ms, TIMER_GPU, s->gpu->id);
    pool_tell(pool, POOL_HIST_SLICE_QUARANTINED, s->gpu, NULL, "%s could not be made whole: %s",
              slice_label(s, label), result->message);
    return true;
}

static void on_create_failed(struct pool *pool, struct pool_slice *s,
                             const struct pool_job_result *result)
{
    struct pool_gpu *gpu = s->gpu;
    uint64_t id = s->id, operation = s->operation;

    gpu_cool_down(pool, gpu);
    bool has_remains = doom_remains(pool, s, result);
    operation_progress(pool, operation, result->message);
    requeue_leases_of(pool, gpu, id, result->message);
    s = slice_by_id(gpu, id);
    if (s && !has_remains) {
        slice_remove(pool, s);
    } else if (s) {
        s->ci_count = 0; /* by what was found it is to be known when it is destroyed */
        if (result->has_instance) {
            slice_learn(pool, s, &result->instance);
        }
        pool_mark_slice(pool, s);
    }
    if (result->has_instance) {
        gpu_give_up_hopeless(pool, gpu, result->message);
    }
    gpu_ask_scan(pool, gpu);
}

static void on_create(struct pool *pool, struct pool_slice *s, const struct pool_job_result *result)
{
    s->job = 0;
    if (result->code == 0) {
        on_created(pool, s, result);
    } else {
        on_create_failed(pool, s, result);
    }
}

static void on_create_ci(struct pool *pool, struct pool_slice *s,
                         const struct pool_job_result *result)
{
    struct pool_gpu *gpu = s->gpu;

    s->job = 0;
    add_driver_time(pool, s, result->driver_us);
    if (result->code == 0) {
        slice_learn(pool, s, &result->instance);
        slice_settle(pool, s);
        return;
    }
    gpu_cool_down(pool, gpu);
    for (unsigned c = s->ci_count; c-- > 0;) {
        if (s->ci[c].is_settled) {
            continue;
        }
        struct pool_lease *lease = pool_lease_get(pool, s->ci[c].lease);
        if (lease) {
            lease_requeue(pool, lease, result->message);
        }
        slice_drop_ci(pool, s, c);
    }
    operation_progress(pool, s->operation, result->message);
    s->operation = 0;
    pool_mark_slice(pool, s);
    gpu_changed(pool, gpu);
    gpu_ask_scan(pool, gpu);
}

/* Can this slice to come still come?  DESTROYING ones are on their way out, however long it takes;
 * whatever else is there stays. */
static bool is_hopeless(const struct pool *pool, const struct pool_slice *s)
{
    const struct pool_gpu *gpu = s->gpu;
    bool has_mode = gpu->info.is_mig_enabled || gpu_can_switch_on(pool, gpu);
    struct mig_use use = {0};

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *o = gpu->slices[i];
        bool is_to_come = o->state == POOL_SLICE_CREATING && !o->job;
        if (o == s || is_to_come || o->state == POOL_SLICE_DESTROYING) {
            continue;
        }
        slice_add_to_use(o, &use);
    }
    return !has_mode || s->profile < 0 || !mig_fits(gpu->geometry, &use, s->profile, s->start);
}

void gpu_give_up_hopeless(struct pool *pool, struct pool_gpu *gpu, const char *why)
{
    for (unsigned i = 0; i < gpu->slice_count;) {
        struct pool_slice *s = gpu->slices[i];
        uint64_t id = s->id;
        if (s->state != POOL_SLICE_CREATING || s->job || !is_hopeless(pool, s)) {
            i++;
            continue;
        }
        operation_progress(pool, s->operation, why);
        requeue_leases_of(pool, gpu, id, why);
        s = slice_by_id(gpu, id);
        if (s) {
            slice_remove(pool, s);
        }
        i = 0;
    }
}

static void on_destroy_failed(struct pool *pool, struct pool_slice *s,
                              const struct pool_job_result *result)
{
    unsigned shift = s->tries < 6 ? s->tries : 6;
    char label[96];

    s->tries++;
    text_copy(s->reason, sizeof(s->reason), result->message);
    s->retry_at_ms = pool->now_ms + (DESTROY_RETRY_FIRST_MS << shift);
    if (s->state == POOL_SLICE_DESTROYING && s->tries >= DESTROY_TRIES) {
        slice_set_state(pool, s, POOL_SLICE_QUARANTINED);
        pool_tell(pool, POOL_HIST_SLICE_QUARANTINED, s->gpu, NULL,
                  "%s does not go away: %s", slice_label(s, label), result->message);
        operation_progress(pool, s->operation, result->message);
        s->operation = 0;
        gpu_give_up_hopeless(pool, s->gpu, result->message);
    }
    if (s->state == POOL_SLICE_QUARANTINED && s->tries >= DESTROY_TRIES) {
        s->retry_at_ms = pool->now_ms + QUARANTINE_RETRY_MS;
    }
    pool_add_timer(pool, s->retry_at_ms, TIMER_GPU, s->gpu->id);
    pool_mark_slice(pool, s);
    gpu_changed(pool, s->gpu);
}

static void on_destroy(struct pool *pool, struct pool_slice *s,
                       const struct pool_job_result *result)
{
    struct pool_gpu *gpu = s->gpu;
    struct pool_lease *lease = s->lease ? pool_lease_get(pool, s->lease) : NULL;
    char label[96];

    s->job = 0;
    if (lease && lease->state == POOL_LEASE_CUTTING) {
        lease->driver_us += result->driver_us;
    }
    if (result->code == -ESTALE) {
        gpu_ask_scan(pool, gpu); /* something else stands there: ours is gone */
    } else if (result->code != 0 && result->code != -ENOENT) {
        on_destroy_failed(pool, s, result);
        return;
    }
    if (result->code == 0) {
        average(&gpu->destroy_us, result->driver_us);
        pool_tell(pool, POOL_HIST_SLICE_DESTROYED, gpu, NULL, "%s was destroyed",
                  slice_label(s, label));
    }
    uint64_t operation = s->operation;
    slice_remove(pool, s);
    operation_progress(pool, operation, NULL);
}

static void on_check(struct pool *pool, const struct pool_job_result *result)
{
    struct pool_lease *lease = pool_lease_get(pool, result->job.lease);

    if (lease && lease->move.check_job == result->job.id) {
        move_on_check(pool, lease, result);
        return;
    }
    for (unsigned i = 0; lease && i < lease->part_count; i++) {
        if (lease->part[i].check_job == result->job.id) {
            lease_on_check(pool, lease, &lease->part[i], result);
            return;
        }
    }
    /* Nobody waits for it any more; whoever it has seen on a slice that is idle now counts. */
    struct pool_gpu *gpu = pool->gpus[result->job.gpu];
    struct pool_slice *s = slice_by_id(gpu, result->job.slice);
    if (s && s->state == POOL_SLICE_IDLE && result->code == 0 && result->processes) {
        s->processes = result->processes;
        gpu_changed(pool, gpu);
    }
}

/* Leases that wait for the GPU's MIG mode have waited for the driver. */
static void add_mode_time(struct pool *pool, const struct pool_gpu *gpu, int64_t us)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        uint64_t id = s->ci_count ? s->ci[0].lease : 0;
        struct pool_lease *lease = id && id != last ? pool_lease_get(pool, id) : NULL;
        if (lease && lease->state == POOL_LEASE_CUTTING) {
            lease->driver_us += us;
            last = id; /* several parts of one lease wait together */
        }
    }
}

static void tell_mode(struct pool *pool, const struct pool_gpu *gpu,
                      const struct pool_job_result *result)
{
    const char *word = gpu->wants_mig ? "on" : "off";

    if (result->code == 0 && result->is_mig_enabled == gpu->wants_mig) {
        pool_tell(pool, POOL_HIST_GPU_MODE, gpu, NULL, "MIG mode of GPU %u is %s now",
                  gpu->info.index, word);
    } else {
        bool is_pending = result->code == -EINPROGRESS;
        pool_tell(pool, POOL_HIST_GPU_MODE, gpu, NULL, "MIG mode of GPU %u %s %s: %s",
                  gpu->info.index,
                  is_pending ? "waits for a reset to be" : "could not be switched", word,
                  result->message);
    }
}

static void on_mode(struct pool *pool, struct pool_gpu *gpu, const struct pool_job_result *result)
{
    uint64_t operation = gpu->mode_operation;
    const bool is_there = result->code == 0 && result->is_mig_enabled == gpu->wants_mig;

    if (gpu->mode_job != result->job.id) {
        return;
    }
    gpu->mode_job = 0;
    gpu->mode_operation = 0;
    gpu->has_mode_wish = false;
    add_mode_time(pool, gpu, result->driver_us);
    if (result->code == 0 || result->code == -EINPROGRESS) {
        gpu->info.is_mig_enabled = result->is_mig_enabled;
        gpu->info.is_mig_pending = result->is_mig_pending;
    }
    tell_mode(pool, gpu, result);
    if (is_there) {
        gpu->failures = 0;
    } else if (result->code != -EINPROGRESS) { /* which is accepted, and does no harm */
        gpu_cool_down(pool, gpu);
    }
    operation_progress(pool, operation, is_there ? NULL : result->message);
    gpu_give_up_hopeless(pool, gpu, result->code == -EINPROGRESS
                                        ? "its MIG mode comes on with the next reset of the GPU"
                                        : "its MIG mode could not be switched on");
    pool->wants_queue_pass = true;
    gpu_changed(pool, gpu);
    gpu_ask_scan(pool, gpu);
}

static void on_slice_result(struct pool *pool, struct pool_gpu *gpu,
                            const struct pool_job_result *result)
{
    struct pool_slice *s = slice_by_id(gpu, result->job.slice);

    if (!s || s->job != result->job.id) {
        if (result->code == 0 || result->has_instance) {
            gpu_ask_scan(pool, gpu); /* nobody here knows the slice: see what is there */
        }
        return;
    }
    if (result->job.kind == POOL_JOB_CREATE) {
        on_create(pool, s, result);
    } else if (result->job.kind == POOL_JOB_DESTROY) {
        on_destroy(pool, s, result);
    } else {
        on_create_ci(pool, s, result);
    }
}

/* A lease with a part here that is not complete yet. */
static struct pool_lease *find_cutting(struct pool *pool, const struct pool_gpu *gpu)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        for (unsigned c = 0; c < s->ci_count; c++) {
            struct pool_lease *l = s->ci[c].lease ? pool_lease_get(pool, s->ci[c].lease) : NULL;
            if (l && l->state == POOL_LEASE_CUTTING) {
                return l;
            }
        }
    }
    return gpu->lease ? pool_lease_get(pool, gpu->lease) : NULL;
}

/* Requests that were being cut on a GPU that has stopped answering look elsewhere; what the driver
 * may still make for them becomes idle. */
static void let_go_of(struct pool *pool, struct pool_gpu *gpu, const char *why)
{
    struct pool_lease *lease = find_cutting(pool, gpu);

    while (lease && lease->state == POOL_LEASE_CUTTING) {
        lease_requeue(pool, lease, why);
        lease = find_cutting(pool, gpu);
    }
}

static void on_scan(struct pool *pool, struct pool_gpu *gpu, const struct pool_job_result *result)
{
    bool is_stale = gpu->stale_scan_job == result->job.id;

    gpu->scan_job = 0;
    if (is_stale) {
        gpu_ask_scan(pool, gpu);
    } else if (result->code == 0 && result->scan) {
        gpu->read_problem[0] = '\0';
        pool_on_scan(pool, gpu, result->scan);
    } else if (!gpu_is_read(gpu)) {
        snprintf(gpu->read_problem, sizeof(gpu->read_problem), "it cannot be read: %.130s",
                 result->message);
        text_mend_utf8(gpu->read_problem);
        gpu_cool_down(pool, gpu); /* the pump asks again after it */
        if (gpu->failures >= READ_TRIES) {
            let_go_of(pool, gpu, gpu->read_problem); /* from before a restart */
        }
    }
    if (gpu->scans_again) {
        gpu_ask_scan(pool, gpu);
    }
}

void pool_on_result(struct pool *pool, const struct pool_job_result *result)
{
    struct pool_gpu *gpu = result->job.gpu < pool->gpu_count ? pool->gpus[result->job.gpu] : NULL;

    if (!gpu) {
        return;
    }
    if (gpu->health == POOL_HEALTH_UNRESPONSIVE && result->code != -ENODEV && !result->is_unasked) {
        pool_on_health(pool, gpu, POOL_HEALTH_OK, "");
    }
    switch (result->job.kind) {
    case POOL_JOB_CREATE:
    case POOL_JOB_DESTROY:
    case POOL_JOB_CREATE_CI:
        on_slice_result(pool, gpu, result);
        break;
    case POOL_JOB_CHECK:
        on_check(pool, result);
        break;
    case POOL_JOB_MIG_MODE:
        on_mode(pool, gpu, result);
        break;
    case POOL_JOB_SCAN:
        on_scan(pool, gpu, result);
        break;
    case POOL_JOB_COUNT:
        break;
    }
    if (result->code == -ENODEV) {
        pool_on_health(pool, gpu, POOL_HEALTH_LOST, result->message);
    }
}

void pool_on_health(struct pool *pool, struct pool_gpu *gpu, enum pool_health health,
                    const char *why)
{
    static const enum pool_history histories[POOL_HEALTH_COUNT] = {
        [POOL_HEALTH_OK] = POOL_HIST_GPU_RECOVERED,
        [POOL_HEALTH_UNRESPONSIVE] = POOL_HIST_GPU_UNRESPONSIVE,
        [POOL_HEALTH_LOST] = POOL_HIST_GPU_LOST,
        [POOL_HEALTH_FAILED] = POOL_HIST_GPU_UNRESPONSIVE,
    };

    const enum pool_health was = gpu->health;

    if (was == health) {
        return;
    }
    gpu->health = health;
    text_copy(gpu->health_reason, sizeof(gpu->health_reason), why);
    pool_tell(pool, histories[health], gpu, NULL, "GPU %u is %s%s%s", gpu->info.index,
              health == POOL_HEALTH_OK ? "answering again" : pool_health_name(health),
              *why ? ": " : "", why);
    if (health == POOL_HEALTH_OK) {
        gpu->failures = 0;
        gpu->wants_scan = true;
        gpu->stale_scan_job = was == POOL_HEALTH_LOST ? gpu->scan_job : 0;
        gpu_ask_scan(pool, gpu);
    } else {
        let_go_of(pool, gpu, gpu->health_reason);
        moves_leave_gpu(pool, gpu, gpu->health_reason);
    }
    gpu_changed(pool, gpu);
    pool->wants_queue_pass = true;
}
