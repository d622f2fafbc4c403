/* Between the pool's jobs and the driver's: translates both ways, and watches for a driver that
 * does not come back.  The daemon looks at the clocks of the workers only while they have work. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>

#define WATCH_MS 500 /* how often the workers' clocks are looked at while they work */

static const enum driver_kind kinds[POOL_JOB_COUNT] = {
    [POOL_JOB_CREATE] = DRIVER_CREATE,       [POOL_JOB_DESTROY] = DRIVER_DESTROY,
    [POOL_JOB_CREATE_CI] = DRIVER_CREATE_CI, [POOL_JOB_CHECK] = DRIVER_CHECK,
    [POOL_JOB_MIG_MODE] = DRIVER_SET_MODE,   [POOL_JOB_SCAN] = DRIVER_SCAN,
};

static void step_result(struct daemon *d, const struct pool_job_result *result)
{
    daemon_step(d, &(struct pool_event){.kind = POOL_EV_RESULT, .result = result});
}

static void refuse(struct daemon *d, const struct pool_job *job, int code, const char *why)
{
    struct pool_job_result r = {.job = *job, .code = code, .is_unasked = true};

    text_copy(r.message, sizeof(r.message), why);
    step_result(d, &r);
}

void work_watch(struct daemon *d)
{
    if (!d->is_watching) { /* the timer is set to the next regular scan: sooner */
        d->is_watching = true;
        sd_event_source_set_time_relative(d->scan_timer, WATCH_MS * 1000);
    }
}

void work_submit(struct daemon *d, const struct pool_job *job)
{
    struct error err = {0};
    struct driver_job out = {
        .kind = kinds[job->kind],
        .tag = job->id,
        .start = job->start,
        .size = job->size,
        .profile_id = job->slice ? job->profile_id : MIG_NO_ID,
        .ci_slices = job->ci_slices,
        .is_enable = job->is_mig_enabled,
        .is_bare = job->is_bare,
    };

    text_copy(out.mig_uuid, sizeof(out.mig_uuid), job->mig_uuid);
    if (job->kind == POOL_JOB_CHECK && !job->slice) {
        out.kind = DRIVER_SCAN; /* processes on the GPU itself: a scan counts them */
    }
    int rc = driver_submit(d->driver, job->gpu, &out, &err);
    if (rc < 0) {
        refuse(d, job, rc, err.msg);
        return;
    }
    struct driver_work *w = xcalloc(1, sizeof(*w));
    w->tag = job->id;
    w->job = *job;
    HASH_ADD(hh, d->works, tag, sizeof(w->tag), w);
    work_watch(d);
}

/* --- results ---------------------------------------------------------------------------------- */

static void take_payload(const struct driver_result *in, struct pool_job_result *out)
{
    switch (in->kind) {
    case DRIVER_SCAN:
        out->scan = &in->scan;
        out->processes = in->scan.process_count;
        break;
    case DRIVER_CREATE:
    case DRIVER_CREATE_CI:
    case DRIVER_DESTROY:
    case DRIVER_CHECK:
        out->has_instance = in->slice.is_there;
        out->instance = in->slice.instance;
        out->processes = in->slice.is_there ? in->slice.instance.process_count : 0;
        if (in->kind == DRIVER_CHECK && in->code == 0) {
            driver_name_pids(&in->slice, out->message, sizeof(out->message));
        }
        break;
    case DRIVER_SET_MODE:
        out->is_mig_enabled = in->mode.is_mig_enabled;
        out->is_mig_pending = in->mode.is_mig_pending;
        break;
    case DRIVER_DISCOVER:
    case DRIVER_DESTROY_CI:
    case DRIVER_SAMPLE:
    case DRIVER_EVENT:
    case DRIVER_KIND_COUNT:
        break;
    }
}

static void on_driver_event(struct daemon *d, const struct driver_result *r)
{
    struct pool_event e = {.gpu = r->gpu, .text = r->message, .kind = POOL_EV_SCAN};

    if (r->event.kind == DRIVER_EVENT_XID) {
        e.kind = POOL_EV_XID;
        e.number = (unsigned)r->event.xid;
    } else if (r->event.kind == DRIVER_EVENT_LOST) {
        e.kind = POOL_EV_HEALTH;
        e.health = POOL_HEALTH_LOST;
    } else if (r->event.kind == DRIVER_EVENT_ECC ||
               (r->event.kind == DRIVER_EVENT_MIG_CONFIG && driver_pending(d->driver, r->gpu))) {
        return; /* our own change, most likely; the regular scan sees what else there is */
    }
    daemon_step(d, &e);
}

/* A GPU that did not answer at the start, or could not be read, has answered now. */
static void take_up(struct daemon *d, uint32_t id, const struct mig_gpu_info *info)
{
    struct config_gpu rule = config_gpu_rule_for(&d->config, info);
    const struct mig_geometry *geometry = driver_gpu_geometry(d->driver, id);
    struct error err = {0};

    if (d->config.simulate && !d->config.gpu_count) {
        rule.mig_policy = POOL_MIG_ON_DEMAND; /* as at the start */
    }
    if (pool_learn_identity(d->pool, id, info, rule.is_managed, rule.mig_policy, &err) < 0 ||
        (geometry && pool_learn_geometry(d->pool, id, geometry, &err) < 0)) {
        log_error("GPU %u: %s", id, err.msg);
        return;
    }
    daemon_step(d, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = id, .text = "",
                                        .health = POOL_HEALTH_OK});
}

/* The GPU told now what it can be cut into (its MIG mode was off at the start), or who it is. */
static void on_discovered(struct daemon *d, const struct driver_result *r)
{
    const struct mig_geometry *geometry = driver_gpu_geometry(d->driver, r->gpu);
    const struct mig_gpu_info *info = driver_gpu_info(d->driver, r->gpu);
    const struct pool_gpu *gpu = pool_gpu(d->pool, r->gpu);
    struct error err = {0};

    if (r->code != 0 || !info->is_healthy) {
        return;
    }
    if (gpu->health == POOL_HEALTH_FAILED) {
        take_up(d, r->gpu, info);
    } else if (geometry && !gpu->geometry &&
               pool_learn_geometry(d->pool, r->gpu, geometry, &err) < 0) {
        log_error("GPU %u: %s", r->gpu, err.msg);
    }
}

static void on_scanned(struct daemon *d, const struct driver_result *r)
{
    const struct pool_gpu *gpu = pool_gpu(d->pool, r->gpu);
    struct driver_job job = {.kind = DRIVER_DISCOVER};

    if (r->code == 0 && r->scan.is_mig_enabled && !gpu->geometry && gpu->info.is_mig_capable) {
        driver_submit(d->driver, r->gpu, &job, NULL);
    }
}

void work_tell_ready(struct daemon *d)
{
    if (!d->is_ready && d->committed < d->submitted) {
        return; /* what was found at the start is on disk before clients rely on it */
    }
    d->not_ready[0] = '\0';
    for (unsigned i = 0; i < pool_gpu_count(d->pool); i++) {
        const struct pool_gpu *gpu = pool_gpu(d->pool, i);
        /* One that cannot be read is tried again, and holds nobody up who wants another. */
        if (gpu->health == POOL_HEALTH_OK && !gpu->is_scanned && !gpu->read_problem[0]) {
            snprintf(d->not_ready, sizeof(d->not_ready), "GPU %u is still being read",
                     gpu->info.index);
            return;
        }
    }
    if (!d->is_ready) {
        d->is_ready = true;
        sd_notify(0, "READY=1");
        log_info("ready");
    }
}

static void on_result(struct daemon *d, const struct driver_result *in)
{
    struct driver_work *w = NULL;
    struct pool_job_result out = {.code = in->code, .driver_us = in->driver_ns / 1000};

    if (in->kind == DRIVER_EVENT) {
        on_driver_event(d, in);
        return;
    }
    if (in->kind == DRIVER_DISCOVER) {
        on_discovered(d, in);
        return;
    }
    if (in->kind == DRIVER_SAMPLE) {
        sampling_take(d, in);
        return;
    }
    HASH_FIND(hh, d->works, &in->tag, sizeof(in->tag), w);
    if (!w) {
        return;
    }
    HASH_DEL(d->works, w);
    out.job = w->job;
    free(w);
    text_copy(out.message, sizeof(out.message), in->message);
    take_payload(in, &out);
    if (in->kind == DRIVER_SCAN) {
        on_scanned(d, in);
    }
    step_result(d, &out);
    work_tell_ready(d);
}

static int on_driver(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct daemon *d = userdata;
    struct driver_result r;

    (void)source;
    (void)fd;
    (void)revents;
    while (driver_next_result(d->driver, &r)) {
        count_result(d, &r);
        on_result(d, &r);
    }
    return 0;
}

/* --- what does not come back ------------------------------------------------------------------ */

/* Is there work at all? */
static bool check_workers(struct daemon *d)
{
    bool has_work = false;

    for (uint32_t i = 0; i < driver_gpu_count(d->driver); i++) {
        int64_t busy = driver_busy_ms(d->driver, i);
        has_work = has_work || driver_pending(d->driver, i);
        if (busy > d->config.call_timeout_ms && pool_gpu(d->pool, i)->health == POOL_HEALTH_OK) {
            char text[160];
            snprintf(text, sizeof(text), "a driver call has not come back for %lld s; nothing is "
                     "cut on it until it does", (long long)(busy / 1000));
            daemon_step(d, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = i, .text = text,
                                                .health = POOL_HEALTH_UNRESPONSIVE});
            work_tell_ready(d);
        }
    }
    return has_work;
}

static void scan_all(struct daemon *d)
{
    const struct driver_job discover = {.kind = DRIVER_DISCOVER};

    for (uint32_t i = 0; i < driver_gpu_count(d->driver); i++) {
        enum pool_health health = pool_gpu(d->pool, i)->health;
        if (health == POOL_HEALTH_OK) {
            daemon_step(d, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = i});
        } else if (health == POOL_HEALTH_FAILED && !driver_pending(d->driver, i)) {
            driver_submit(d->driver, i, &discover, NULL);
        }
    }
}

/* Often while workers have work, and in any case for the regular scan: a worker that never comes
 * back must not keep the others from theirs. */
static int on_scan_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct daemon *d = userdata;
    int64_t now = clock_mono_ms();

    (void)usec;
    d->is_watching = check_workers(d);
    if (now >= d->next_scan_ms) {
        d->next_scan_ms = now + d->config.scan_interval_ms;
        scan_all(d);
        watch_retry(d);
    }
    int64_t wait_ms = d->next_scan_ms - now;
    wait_ms = d->is_watching && WATCH_MS < wait_ms ? WATCH_MS : wait_ms;
    sd_event_source_set_time_relative(source, (uint64_t)wait_ms * 1000);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

int work_init(struct daemon *d, struct error *err)
{
    int rc = sd_event_add_io(d->event, &d->driver_source, driver_fd(d->driver), EPOLLIN, on_driver,
                             d);

    d->next_scan_ms = clock_mono_ms() + d->config.scan_interval_ms;
    rc = rc < 0 ? rc
                : sd_event_add_time_relative(d->event, &d->scan_timer, CLOCK_MONOTONIC, 1000000,
                                             100000, on_scan_timer, d);
    return rc < 0 ? err_set(err, -rc, "cannot watch the driver: %s", strerror(-rc)) : 0;
}

void work_done(struct daemon *d)
{
    struct driver_work *w = NULL, *next = NULL;

    HASH_ITER(hh, d->works, w, next)
    {
        HASH_DEL(d->works, w);
        free(w);
    }
    d->scan_timer = sd_event_source_disable_unref(d->scan_timer);
}
