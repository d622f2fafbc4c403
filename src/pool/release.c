/* How a lease is given back.  It is RELEASING until every part of it has been looked at and nobody
 * runs there any more (law 1); then its slices are idle, and keep the name of their last user.  A
 * look that finds somebody, or that fails, is repeated. */
#include "pool/internal.h"
#include "base/text.h"
#include <errno.h>
#include <string.h>

#define RECHECK_MS 1000

void lease_check_parts(struct pool *pool, struct pool_lease *lease)
{
    for (unsigned i = 0; i < lease->part_count; i++) {
        struct pool_part *p = &lease->part[i];
        if (p->is_checked || p->check_job) {
            continue;
        }
        struct pool_job *job = pool_emit_job(pool, POOL_JOB_CHECK, p->gpu);
        p->check_job = job->id;
        job->lease = lease->id;
        if (p->slice) {
            const struct pool_slice *s = p->slice;
            job->slice = s->id;
            job->profile_id = s->profile_id;
            job->start = s->start;
            job->size = s->size;
            text_copy(job->mig_uuid, sizeof(job->mig_uuid), s->ci[p->ci].mig_uuid);
        }
    }
}

void lease_release(struct pool *pool, struct pool_lease *lease, enum pool_lease_state end_state,
                   const char *why)
{
    if (lease->state == POOL_LEASE_QUEUED || lease->state == POOL_LEASE_CUTTING) {
        lease_end(pool, lease, end_state, why);
        return;
    }
    if (lease->state != POOL_LEASE_ACTIVE) {
        return;
    }
    lease->state = POOL_LEASE_RELEASING;
    lease->end_state = end_state;
    text_copy(lease->end_reason, sizeof(lease->end_reason), why);
    lease_set_reason(lease, "%s", why);
    pool_mark_lease(pool, lease);
    move_on_release(pool, lease);
    for (unsigned i = 0; lease->is_movable && i < lease->part_count; i++) {
        gpu_changed(pool, lease->part[i].gpu); /* plan/ must not move it any more */
    }
    if (lease->part_count) {
        lease_check_parts(pool, lease);
    } else {
        lease_end(pool, lease, end_state, why); /* its record was damaged */
    }
}

/* Processes that the check has found on this very part: a compute instance of a shared slice does
 * not wait for its neighbours. */
static uint32_t processes_of(const struct pool_part *part, const struct pool_job_result *result)
{
    const struct pool_slice *s = part->slice;

    if (!s || s->ci_count < 2 || !result->has_instance || !result->instance.has_processes) {
        return result->processes;
    }
    for (unsigned i = 0; i < result->instance.ci_count; i++) {
        const struct mig_compute *found = &result->instance.ci[i];
        if (found->mig_uuid[0] && !strcmp(found->mig_uuid, s->ci[part->ci].mig_uuid)) {
            return found->process_count;
        }
    }
    return result->processes;
}

/* Slices that were not found must not go to the next one who asks: they are destroyed, which does
 * nothing if they are gone indeed, and a scan shows what is there. */
static void end_checked(struct pool *pool, struct pool_lease *lease)
{
    struct pool_slice *missing[POOL_MAX_COUNT];
    unsigned count = 0;

    for (unsigned i = 0; i < lease->part_count; i++) {
        if (lease->part[i].is_missing) {
            missing[count++] = lease->part[i].slice;
        }
    }
    lease_end(pool, lease, lease->end_state, lease->end_reason);
    for (unsigned i = 0; i < count; i++) {
        if (missing[i]->state == POOL_SLICE_IDLE) {
            slice_doom(pool, missing[i], 0, 0);
        }
        gpu_ask_scan(pool, missing[i]->gpu);
    }
}

void lease_end_if_checked(struct pool *pool, struct pool_lease *lease)
{
    bool is_checked = lease->state == POOL_LEASE_RELEASING && lease->move.phase == POOL_MOVE_NONE;

    for (unsigned i = 0; i < lease->part_count; i++) {
        is_checked = is_checked && lease->part[i].is_checked;
    }
    if (is_checked) {
        end_checked(pool, lease);
    }
}

void lease_on_check(struct pool *pool, struct pool_lease *lease, struct pool_part *part,
                    const struct pool_job_result *result)
{
    /* Nothing runs on what is not there, nor on a GPU that fell off the bus. */
    bool is_missing = result->code == -ENOENT || result->code == -ESTALE;
    bool is_gone = is_missing || result->code == -ENODEV;

    part->check_job = 0;
    if (lease->state != POOL_LEASE_RELEASING) {
        return;
    }
    if (result->code == 0) {
        *(part->slice ? &part->slice->processes : &part->gpu->processes) = result->processes;
    }
    if (is_gone || (result->code == 0 && !processes_of(part, result))) {
        part->is_checked = true;
        part->is_missing = is_missing && part->slice;
    } else {
        lease_set_reason(lease, "%s%s",
                         result->message[0] ? result->message : "a process",
                         result->code ? "" : " still runs on the slice");
        lease->retry_at_ms = pool->now_ms + RECHECK_MS;
        lease_arm_timer(pool, lease, lease->retry_at_ms);
        pool_mark_lease(pool, lease);
    }
    lease_end_if_checked(pool, lease);
}

void lease_on_timer(struct pool *pool, struct pool_lease *lease)
{
    if (lease->timer_ms <= pool->now_ms) {
        lease->timer_ms = 0;
    }
    move_on_timer(pool, lease);
    if (lease->state == POOL_LEASE_QUEUED && lease->expires_ms) { /* one that has stopped */
        if (lease->expires_ms <= pool->now_ms) {
            lease_end(pool, lease, POOL_LEASE_EXPIRED, "its time was up");
        } else {
            lease_arm_timer(pool, lease, lease->expires_ms);
        }
    }
    if (lease->state == POOL_LEASE_ACTIVE && lease->expires_ms > pool->now_ms) {
        lease_arm_timer(pool, lease, lease->expires_ms);
    } else if (lease->state == POOL_LEASE_RELEASING && lease->retry_at_ms > pool->now_ms) {
        lease_arm_timer(pool, lease, lease->retry_at_ms);
    }
    if (lease->state == POOL_LEASE_ACTIVE && lease->expires_ms &&
        lease->expires_ms <= pool->now_ms) {
        lease_release(pool, lease, POOL_LEASE_EXPIRED, "its time was up");
    } else if (lease->state == POOL_LEASE_RELEASING && lease->retry_at_ms <= pool->now_ms) {
        lease_check_parts(pool, lease);
    }
}
