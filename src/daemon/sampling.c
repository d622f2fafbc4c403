/* What leased slices do: every so often each GPU's worker is asked, and the answer goes to the
 * leases that held the slices all the time that it speaks of.
 *
 * Looking must cost those who do not compute next to nothing, and those who wait for a slice as
 * little as can be:
 *
 *   * without a lease there is no timer;
 *   * a GPU whose worker has anything to do is left out this time, so that no look stands before a
 *     cut, and none is queued behind a driver that hangs; a look that has begun ends early when
 *     somebody comes (src/driver/sample.c);
 *   * only leased slices are looked at: an idle one may be about to go, and a MIG device that a
 *     program has looked at may count as in use;
 *   * a GPU without any process is looked at in full every QUIET_ROUNDS rounds only, and between
 *     them asked whether anybody runs there.  Activity is measured between two full looks, so that
 *     what ran unseen between two brief ones still counts.
 *
 * What the meter has learnt is written every CHECKPOINT_ROUNDS rounds, and every CHECKPOINT_MS if
 * that is more often: a crash loses no more than that. */
#include "base/clock.h"
#include "daemon/daemon.h"
#include <string.h>

#define QUIET_ROUNDS 6 /* every which round of a quiet GPU is a full look */
#define CHECKPOINT_ROUNDS 60
#define CHECKPOINT_MS 600000
#define ACCURACY_US 50000

/* One GPU, as it was looked at last. */
struct look {
    bool is_asked, is_brief; /* an answer is due; to what */
    int64_t asked_ms;        /* when that was */
    int64_t seen_ms;         /* the last answer; 0: begin anew */
    bool is_lively;          /* the last one found a process, or was not told of any */
    unsigned rounds;         /* since the last full one */
};

struct sampler {
    sd_event_source *timer;
    int64_t settled_ms;
    unsigned count;
    struct look look[];
};

static bool is_held(const struct daemon *d, uint64_t lease)
{
    const struct pool_lease *l = lease ? pool_find_lease(d->pool, lease) : NULL;

    return l && (l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASING);
}

/* First slots of the slices that are leased. */
static uint16_t leased_starts(const struct daemon *d, const struct pool_gpu *gpu)
{
    uint16_t starts = 0;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        for (unsigned c = 0; s->state == POOL_SLICE_LEASED && c < s->ci_count; c++) {
            starts |= is_held(d, s->ci[c].lease) ? (uint16_t)(1u << s->start) : 0;
        }
    }
    return starts;
}

static void ask(struct daemon *d, unsigned id, bool is_brief, uint16_t starts)
{
    struct look *look = &d->sampler->look[id];
    struct driver_job job = {.kind = DRIVER_SAMPLE, .has_instances = starts != 0,
                             .starts = starts, .is_brief = is_brief};

    if (driver_submit(d->driver, id, &job, NULL) == 0) {
        look->is_asked = true;
        look->is_brief = is_brief;
        look->asked_ms = daemon_now_ms(d);
    }
}

/* Quiet until somebody is seen, which is then looked at in full at once; and not all GPUs have
 * their turn in the same round. */
static struct look new_look(unsigned id)
{
    return (struct look){.rounds = id % QUIET_ROUNDS};
}

static void look_at(struct daemon *d, unsigned id)
{
    const struct pool_gpu *gpu = pool_gpu(d->pool, id);
    struct look *look = &d->sampler->look[id];
    uint16_t starts = leased_starts(d, gpu);

    if (look->is_asked) {
        work_watch(d); /* it takes long: perhaps it never comes back */
        return;
    }
    if (!starts && !is_held(d, gpu->lease)) {
        *look = new_look(id);
        return;
    }
    if (gpu->health != POOL_HEALTH_OK || driver_pending(d->driver, id)) {
        return;
    }
    look->rounds++;
    ask(d, id, !look->is_lively && look->rounds < QUIET_ROUNDS, starts);
}

void sampling_settle(struct daemon *d)
{
    struct store_batch *batch = store_batch_new();

    d->sampler->settled_ms = daemon_now_ms(d);
    meter_settle(d->meter, d->sampler->settled_ms);
    account_collect(d, batch);
    daemon_submit(d, batch);
}

static bool is_settling_due(const struct daemon *d)
{
    int64_t wait_ms = d->config.sample_interval_ms * CHECKPOINT_ROUNDS;

    wait_ms = wait_ms < CHECKPOINT_MS ? wait_ms : CHECKPOINT_MS;
    return daemon_now_ms(d) - d->sampler->settled_ms >= wait_ms;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct daemon *d = userdata;

    (void)usec;
    for (unsigned i = 0; i < d->sampler->count; i++) {
        look_at(d, i);
    }
    if (is_settling_due(d)) {
        sampling_settle(d);
    }
    if (meter_is_running(d->meter)) {
        sd_event_source_set_time_relative(source, (uint64_t)d->config.sample_interval_ms * 1000);
        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    return 0;
}

/* --- answers -------------------------------------------------------------------------------- */

static void give(struct daemon *d, uint64_t lease, const struct look *look,
                 struct meter_sample sample)
{
    const struct pool_lease *l = is_held(d, lease) ? pool_find_lease(d->pool, lease) : NULL;

    if (!l || l->granted_ms > look->asked_ms) {
        return; /* it came while the answer was on its way: the slice was another's */
    }
    if (sample.at_ms - sample.span_ms < l->granted_ms) {
        sample.span_ms = sample.at_ms - l->granted_ms;
    }
    if (sample.at_ms - sample.sm_span_ms < l->granted_ms) {
        sample.has_sm = false; /* measured since before the grant */
    }
    meter_add_sample(d->meter, lease, &sample);
}

static void give_slice(struct daemon *d, const struct pool_slice *s, const struct look *look,
                       const struct meter_sample *sample)
{
    bool is_whole = s->ci_count == 1 && s->ci[0].compute_slots == s->compute_slots;

    if (s->state != POOL_SLICE_LEASED) {
        return;
    }
    for (unsigned c = 0; c < s->ci_count; c++) {
        /* What compute instances that share a slice do is not told apart, unless it is nothing. */
        if (is_whole || (sample->has_processes && sample->processes == 0)) {
            give(d, s->ci[c].lease, look, *sample);
        }
    }
}

/* Nobody runs on the GPU: that is all that a brief look tells. */
static void take_brief(struct daemon *d, const struct pool_gpu *gpu, const struct look *look,
                       struct meter_sample sample)
{
    sample.has_processes = true;
    sample.processes = 0;
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        give_slice(d, gpu->slices[i], look, &sample);
    }
    give(d, gpu->lease, look, sample);
}

struct meter_sample sampling_read(const struct driver_reading *read, struct meter_sample base)
{
    base.has_memory = read->valid & DRIVER_HAS_MEMORY;
    base.memory_used_mib = read->memory_used_mib;
    base.memory_total_mib = read->memory_total_mib;
    base.has_sm = read->valid & DRIVER_HAS_SM_UTIL;
    base.sm_percent = read->sm_percent;
    base.sm_span_ms = read->span_ms;
    base.has_processes = read->valid & DRIVER_HAS_PROCESSES;
    base.processes = read->process_count;
    return base;
}

static void take_full(struct daemon *d, const struct pool_gpu *gpu, const struct look *look,
                      const struct driver_sample *in, const struct meter_sample *base)
{
    for (uint32_t i = 0; i < in->instance_count; i++) {
        const struct driver_sample_instance *one = &in->instances[i];
        const struct pool_slice *s = pool_slice_at(gpu, one->start);
        struct meter_sample sample = sampling_read(&one->read, *base);
        if (!s || s->size != one->size || s->profile_id != one->profile_id) {
            continue;
        }
        give_slice(d, s, look, &sample);
    }
    give(d, gpu->lease, look, sampling_read(&in->read, *base));
}

/* What a result says of the GPU itself. */
static bool is_usable(struct daemon *d, const struct driver_result *r)
{
    const struct pool_gpu *gpu = pool_gpu(d->pool, r->gpu);

    if (r->code == -ENODEV) {
        daemon_step(d, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = r->gpu});
        return false;
    }
    if (gpu->health == POOL_HEALTH_UNRESPONSIVE) { /* it has come back */
        daemon_step(d, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = r->gpu, .text = "",
                                            .health = POOL_HEALTH_OK});
    }
    return r->code == 0;
}

void sampling_take(struct daemon *d, const struct driver_result *r)
{
    const struct driver_sample *in = &r->sample;
    struct look *look = &d->sampler->look[r->gpu], was = *look;
    int64_t at_ms = daemon_now_ms(d) - (clock_mono_ms() - in->mono_ms);
    int64_t most_ms = 3 * d->config.sample_interval_ms;
    struct meter_sample base = {.at_ms = at_ms, .span_ms = d->config.sample_interval_ms};

    look->is_asked = false;
    if (!is_usable(d, r)) {
        return;
    }
    bool is_quiet = (in->read.valid & DRIVER_HAS_PROCESSES) && in->read.process_count == 0;
    look->is_lively = !is_quiet;
    if (was.is_brief && !is_quiet) {
        if (!driver_pending(d->driver, r->gpu)) { /* somebody is there: who? */
            ask(d, r->gpu, false, leased_starts(d, pool_gpu(d->pool, r->gpu)));
        }
        return;
    }
    look->seen_ms = at_ms;
    if (was.seen_ms && at_ms > was.seen_ms) {
        base.span_ms = at_ms - was.seen_ms < most_ms ? at_ms - was.seen_ms : most_ms;
    }
    base.can_sm = in->read.valid & DRIVER_CAN_SM_UTIL;
    if (was.is_brief) {
        take_brief(d, pool_gpu(d->pool, r->gpu), &was, base);
    } else {
        look->rounds = 0;
        take_full(d, pool_gpu(d->pool, r->gpu), &was, in, &base);
    }
}

/* --- beginning and end ---------------------------------------------------------------------- */

void sampling_wake(struct daemon *d)
{
    int enabled = SD_EVENT_ON;

    if (!d->sampler || !d->sampler->timer) {
        return;
    }
    sd_event_source_get_enabled(d->sampler->timer, &enabled);
    if (enabled == SD_EVENT_OFF) {
        sd_event_source_set_time_relative(d->sampler->timer,
                                          (uint64_t)d->config.sample_interval_ms * 1000);
        sd_event_source_set_enabled(d->sampler->timer, SD_EVENT_ONESHOT);
    }
}

int sampling_init(struct daemon *d, struct error *err)
{
    unsigned count = driver_gpu_count(d->driver);

    count_init(d);
    d->sampler = xcalloc(1, sizeof(*d->sampler) + count * sizeof(d->sampler->look[0]));
    d->sampler->count = count;
    for (unsigned i = 0; i < count; i++) {
        d->sampler->look[i] = new_look(i);
    }
    d->sampler->settled_ms = daemon_now_ms(d);
    if (d->config.sample_interval_ms == 0) {
        return 0;
    }
    int rc = sd_event_add_time_relative(d->event, &d->sampler->timer, CLOCK_MONOTONIC, 0,
                                        ACCURACY_US, on_timer, d);
    rc = rc < 0 ? rc : sd_event_source_set_enabled(d->sampler->timer, SD_EVENT_OFF);
    return rc < 0 ? err_set(err, -rc, "cannot set up sampling: %s", strerror(-rc)) : 0;
}

void sampling_done(struct daemon *d)
{
    if (d->sampler) {
        d->sampler->timer = sd_event_source_disable_unref(d->sampler->timer);
        free(TAKE_PTR(d->sampler));
    }
}
