/* The trace against the pool: the very pool_step() of the daemon, in simulated time.
 *
 * We are what the daemon is around the pool, with a driver made of arithmetic.  Each GPU has one
 * worker that takes its jobs in turn: making a slice takes create_ms, destroying one delete_ms, all
 * else no time.  A request's time limit is its duration, so that the pool knows when it ends; no
 * process runs on a slice when it does.  At equal times driver results come first, then what is due
 * in the pool; when no more of that is to come those who wait are served, and then come arrivals,
 * one by one in the order of the trace.  Records are not taken: nothing here has to survive.
 *
 * The hardware's books are kept apart from the pool's, and a slice that would not fit there, or is
 * destroyed without being there, ends the run with an error. */
#include "base/clock.h"
#include "base/text.h"
#include "pool/pool.h"
#include "replay/engine.h"
#include "replay/heap.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define START_MS 1000 /* on the pool's clock, where 0 means never */

struct waiting_job {
    struct pool_job job;
    STAILQ_ENTRY(waiting_job) link;
};

struct board {
    int group;
    struct mig_use use;
    int64_t busy_until_ms;
    uint32_t made;                     /* ever */
    STAILQ_HEAD(, waiting_job) waiting; /* for its worker, in order */
};

struct world {
    struct replay_run *run;
    const struct replay_setup *setup;
    const struct replay_trace *trace;
    struct pool *pool;
    struct pool_actions actions;
    struct board *boards;
    struct replay_heap results;  /* GPUs, by when their next job is done */
    struct replay_heap releases; /* leases to be given back: jobs that take no time */
    uint32_t *job_of_lease;      /* leases are numbered from 1, one for each request */
    uint64_t live;               /* leases granted and not ended */
    uint64_t *asked;             /* leases whose holders are to answer */
    size_t asked_count, asked_size;
    int64_t first_ms, now_ms;    /* in the trace's time */
    bool is_unserved;            /* something ended, and who waits has not been looked at */
    int failure;
    struct error *err;
};

static const struct mig_geometry *geometry(const struct world *w, uint32_t gpu)
{
    return &w->setup->fleet->groups[w->boards[gpu].group].geometry;
}

/* --- the driver --- */

static int64_t job_ms(const struct world *w, enum pool_job_kind kind)
{
    return kind == POOL_JOB_CREATE    ? w->setup->create_ms
           : kind == POOL_JOB_DESTROY ? w->setup->delete_ms
                                      : 0;
}

static void take_job(struct world *w, const struct pool_job *job)
{
    struct board *b = &w->boards[job->gpu];
    struct waiting_job *waiting = xcalloc(1, sizeof(*waiting));

    waiting->job = *job;
    STAILQ_INSERT_TAIL(&b->waiting, waiting, link);
    b->busy_until_ms = b->busy_until_ms > w->now_ms ? b->busy_until_ms : w->now_ms;
    b->busy_until_ms += job_ms(w, job->kind);
    replay_heap_push(&w->results, b->busy_until_ms, job->gpu);
}

static void fail(struct world *w, const struct pool_job *job)
{
    if (!w->failure) {
        w->failure = err_set(w->err, EIO, "the pool wants to %s what cannot be on GPU %u, slot %u",
                             pool_job_name(job->kind), job->gpu, job->start);
    }
}

static void create(struct world *w, struct pool_job_result *r)
{
    struct board *b = &w->boards[r->job.gpu];
    const struct mig_geometry *g = geometry(w, r->job.gpu);
    int p = mig_profile_by_id(g, r->job.profile_id);

    if (p < 0 || !mig_fits(g, &b->use, p, r->job.start)) {
        fail(w, &r->job);
        return;
    }
    mig_use_add(g, &b->use, p, r->job.start);
    w->run->recuts++;
    r->has_instance = true;
    r->instance = (struct mig_instance){.gi_id = b->made++,
                                        .profile_id = r->job.profile_id,
                                        .start = r->job.start,
                                        .size = r->job.size,
                                        .has_processes = true,
                                        .ci_count = 1};
    r->instance.ci[0].size = g->profiles[p].slices;
    snprintf(r->instance.ci[0].mig_uuid, sizeof(r->instance.ci[0].mig_uuid), "MIG-%u-%u",
             r->job.gpu, b->made);
}

static void destroy(struct world *w, const struct pool_job *job)
{
    struct board *b = &w->boards[job->gpu];
    int p = mig_profile_by_id(geometry(w, job->gpu), job->profile_id);

    if (p < 0 || !(b->use.mask >> job->start & 1)) {
        fail(w, job);
        return;
    }
    mig_use_remove(geometry(w, job->gpu), &b->use, p, job->start);
}

static void step(struct world *w, struct pool_event *event);

/* The oldest job of a GPU is done. */
static void finish_job(struct world *w, uint32_t gpu)
{
    /* The pool looks at the GPUs once, before it cuts anything. */
    static const struct mig_scan empty = {
        .is_mig_enabled = true, .is_mig_pending = true, .has_processes = true};
    struct waiting_job *done = STAILQ_FIRST(&w->boards[gpu].waiting);
    struct pool_job_result r = {.job = done->job,
                                .driver_us = job_ms(w, done->job.kind) * 1000};

    STAILQ_REMOVE_HEAD(&w->boards[gpu].waiting, link);
    free(done);
    if (r.job.kind == POOL_JOB_CREATE) {
        create(w, &r);
    } else if (r.job.kind == POOL_JOB_DESTROY) {
        destroy(w, &r.job);
    } else if (r.job.kind == POOL_JOB_SCAN) {
        r.scan = &empty;
    } else if (r.job.kind != POOL_JOB_CHECK) {
        fail(w, &r.job);
    }
    step(w, &(struct pool_event){.kind = POOL_EV_RESULT, .result = &r});
}

/* --- the pool's actions --- */

static void note_grant(struct world *w, uint64_t id)
{
    const struct pool_lease *lease = pool_find_lease(w->pool, id);
    uint32_t job = w->job_of_lease[id];
    int64_t duration_ms = w->trace->jobs[job].duration_ms;
    const struct pool_slice *slice = lease->part[0].slice;

    w->live++;
    w->run->spans[job] = (struct replay_span){.is_started = true,
                                              .ready_ms = w->now_ms,
                                              .end_ms = w->now_ms + duration_ms,
                                              .slots = slice->size,
                                              .slices = slice->compute_slots,
                                              .gpu = slice->gpu->id,
                                              .start = slice->start};
    if (!duration_ms) {
        replay_heap_push(&w->releases, w->now_ms, id);
    }
}

static void note_asked(struct world *w, uint64_t lease)
{
    if (w->asked_count == w->asked_size) {
        w->asked_size = w->asked_size ? 2 * w->asked_size : 16;
        w->asked = xreallocarray(w->asked, w->asked_size, sizeof(*w->asked));
    }
    w->asked[w->asked_count++] = lease;
}

static void take_actions(struct world *w)
{
    for (unsigned i = 0; i < w->actions.count; i++) {
        const struct pool_action *a = &w->actions.action[i];
        if (a->kind == POOL_DO_JOB) {
            take_job(w, &a->job);
        } else if (a->kind == POOL_DO_HISTORY && a->history == POOL_HIST_LEASE_GRANTED) {
            note_grant(w, a->lease);
        } else if (a->kind == POOL_DO_HISTORY && (a->history == POOL_HIST_LEASE_EXPIRED ||
                                                  a->history == POOL_HIST_LEASE_RELEASED)) {
            w->live -= pool_find_lease(w->pool, a->lease)->granted_ms != 0;
        } else if (a->kind == POOL_DO_HISTORY && a->history == POOL_HIST_LEASE_MOVE_ASKED) {
            note_asked(w, a->lease);
        } else if (a->kind == POOL_DO_HISTORY && a->history == POOL_HIST_LEASE_MOVED) {
            w->run->moves++;
        }
    }
    w->actions.count = 0;
    while (w->asked_count) {
        step(w, &(struct pool_event){.kind = POOL_EV_MOVE,
                                     .lease = w->asked[--w->asked_count],
                                     .is_confirmed = true,
                                     .actor = {.tenant = "replay", .role = POOL_ROLE_OPERATOR}});
    }
}

/* One of the things that happen at this time; who waits is looked at after the last, by serve(). */
static void step(struct world *w, struct pool_event *event)
{
    event->has_more = w->is_unserved = true;
    event->now_ms = w->now_ms - w->first_ms + START_MS;
    pool_step(w->pool, event, &w->actions);
    take_actions(w);
}

static void release(struct world *w, uint64_t lease)
{
    struct pool_event event = {.kind = POOL_EV_RELEASE,
                               .lease = lease,
                               .actor = {.tenant = "replay", .role = POOL_ROLE_OPERATOR}};

    step(w, &event);
}

/* Nothing waits where no room is made for it. */
static void drop_losses(struct world *w)
{
    const struct pool_lease *lease = NULL, *next = NULL;

    if (w->setup->queue != REPLAY_LOSS || !w->setup->max_moves) {
        return;
    }
    for (lease = pool_next_queued(w->pool, NULL); lease; lease = next) {
        next = pool_next_queued(w->pool, lease);
        if (!lease->shift) {
            release(w, lease->id);
            next = pool_next_queued(w->pool, NULL);
        }
    }
}

/* --- the trace --- */

/* The lease's number comes with the reply, behind what may already have happened to it. */
static uint64_t replied_lease(const struct world *w)
{
    for (unsigned i = w->actions.count; i-- > 0;) {
        if (w->actions.action[i].kind == POOL_DO_REPLY) {
            return w->actions.action[i].lease;
        }
    }
    return 0;
}

static void arrive(struct world *w, uint32_t index)
{
    const struct replay_job *job = &w->trace->jobs[index];
    struct pool_request request = {.profile = w->trace->profiles[job->profile],
                                   .count = 1,
                                   .ttl_ms = job->duration_ms,
                                   .priority = job->priority,
                                   .is_movable = w->setup->max_moves > 0 &&
                                                 (!w->trace->has_movable || job->is_movable),
                                   .must_not_wait = w->setup->queue == REPLAY_LOSS &&
                                                    !w->setup->max_moves};
    char tenant[POOL_TENANT_SIZE];
    struct pool_event event = {.kind = POOL_EV_REQUEST,
                               .now_ms = w->now_ms - w->first_ms + START_MS,
                               .reply_to = 1,
                               .request = &request,
                               .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}};

    snprintf(tenant, sizeof(tenant), "t%u", job->tenant);
    mig_want_parse(request.profile, &request.want, NULL); /* was parsed before */
    int64_t from_ns = clock_mono_ns();
    pool_step(w->pool, &event, &w->actions);
    replay_note_decision(w->run, clock_mono_ns() - from_ns);
    uint64_t lease = replied_lease(w);
    if (lease > w->trace->count) {
        w->failure = err_set(w->err, EIO, "the pool has more leases than there were requests");
        return;
    }
    w->job_of_lease[lease] = index;
    take_actions(w);
}

static int64_t earliest(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* All that has ended by now has been told. */
static void serve(struct world *w)
{
    struct pool_event event = {.kind = POOL_EV_TICK, .now_ms = w->now_ms - w->first_ms + START_MS};

    w->is_unserved = false;
    pool_step(w->pool, &event, &w->actions);
    take_actions(w);
}

static int64_t deadline_ms(const struct world *w)
{
    int64_t ms = pool_next_deadline_ms(w->pool);

    return ms == INT64_MAX ? ms : ms + w->first_ms - START_MS;
}

static int replay(struct world *w)
{
    size_t next = 0;

    pool_start(w->pool, START_MS, &w->actions);
    take_actions(w);
    /* With nothing to come, leased or under way, whoever still waits waits for ever. */
    while (!w->failure &&
           (next < w->trace->count || w->results.count || w->live || w->is_unserved)) {
        int64_t result_ms = replay_heap_next_ms(&w->results);
        int64_t release_ms = replay_heap_next_ms(&w->releases);
        int64_t due_ms = deadline_ms(w);
        int64_t arrival_ms = next < w->trace->count ? w->trace->jobs[next].arrival_ms : INT64_MAX;
        int64_t end_ms = earliest(earliest(result_ms, release_ms), due_ms);
        if (w->is_unserved && end_ms > w->now_ms) {
            serve(w);
            continue;
        }
        int64_t at_ms = earliest(end_ms, arrival_ms);
        w->now_ms = at_ms > w->now_ms ? at_ms : w->now_ms;
        if (result_ms == at_ms) {
            finish_job(w, (uint32_t)replay_heap_pop(&w->results).value);
        } else if (release_ms == at_ms) {
            release(w, replay_heap_pop(&w->releases).value);
        } else if (due_ms == at_ms) {
            step(w, &(struct pool_event){.kind = POOL_EV_TICK});
        } else {
            arrive(w, (uint32_t)next++);
        }
        drop_losses(w);
    }
    return w->failure;
}

/* --- setting up --- */

static int add_fleet(struct world *w, struct error *err)
{
    const struct replay_fleet *f = w->setup->fleet;
    uint32_t gpu = 0;
    int r = 0;

    for (int i = 0; i < f->count; i++) {
        for (uint32_t k = 0; r == 0 && k < f->groups[i].gpus; k++, gpu++) {
            struct mig_gpu_info info = {.index = gpu,
                                        .is_healthy = true,
                                        .is_mig_capable = true,
                                        .is_mig_enabled = true,
                                        .is_mig_pending = true,
                                        .has_geometry = true};
            snprintf(info.uuid, sizeof(info.uuid), "GPU-%u", gpu);
            text_copy(info.name, sizeof(info.name), f->groups[i].model);
            w->boards[gpu].group = i;
            STAILQ_INIT(&w->boards[gpu].waiting);
            unsigned id = 0;
            r = pool_add_gpu(w->pool, &info, &f->groups[i].geometry, true, POOL_MIG_KEEP, &id, err);
        }
    }
    return r;
}

/* The daemon's defaults, but for what the options say.  Policies to compare with place one request
 * after the other, as they are written down. */
static struct pool_settings settings_of(const struct replay_setup *setup)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.plan = setup->settings;
    settings.max_queued_per_tenant = UINT_MAX;
    settings.drops_idle = !setup->create_ms && !setup->delete_ms;
    settings.max_compute_per_tenant = (unsigned)setup->max_compute;
    settings.age_step_ms = setup->age_step_ms;
    settings.max_moves = (unsigned)setup->max_moves;
    settings.move_pause_ms = 0;
    settings.is_one_by_one = setup->settings.policy != PLAN_REACH &&
                             !plan_policy_looks_at_ends(setup->settings.policy);
    if (setup->queue != REPLAY_BACKFILL) {
        settings.backfill_depth = 0;
    }
    return settings;
}

static void world_done(struct world *w)
{
    for (uint32_t i = 0; i < w->setup->fleet->gpus; i++) {
        struct waiting_job *job = NULL;
        while ((job = STAILQ_FIRST(&w->boards[i].waiting))) {
            STAILQ_REMOVE_HEAD(&w->boards[i].waiting, link);
            free(job);
        }
    }
    pool_free(w->pool);
    pool_actions_done(&w->actions);
    replay_heap_done(&w->results);
    replay_heap_done(&w->releases);
    free(w->boards);
    free(w->job_of_lease);
    free(w->asked);
}

int replay_run_pool(struct replay_run *run, struct error *err)
{
    const struct replay_trace *trace = run->setup->trace;
    struct pool_settings settings = settings_of(run->setup);
    struct world w = {.run = run, .setup = run->setup, .trace = trace, .err = err};
    int r;

    w.pool = pool_new(&settings);
    w.boards = xcalloc(run->setup->fleet->gpus, sizeof(*w.boards));
    w.job_of_lease = xcalloc(trace->count + 1, sizeof(*w.job_of_lease));
    w.first_ms = w.now_ms = trace->count ? trace->jobs[0].arrival_ms : 0;
    r = add_fleet(&w, err);
    if (r == 0) {
        r = replay(&w);
    }
    world_done(&w);
    return r;
}
