#pragma once
#include "base/text.h"
#include "pool/pool.h"
#include "replay/models.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A machine for tests of the pool: GPUs as plain tables, a job queue per GPU that the test empties
 * when it likes, and the laws of the house checked against the tables at every job. */

#ifndef WORLD_GPUS
#define WORLD_GPUS 4
#endif
#define WORLD_JOBS 512

struct world_gpu {
    struct mig_geometry geometry;
    struct mig_instance gi[MIG_MAX_INSTANCES];
    unsigned gi_count;
    bool is_mig_enabled;
    uint32_t whole_processes;
    struct pool_job job[WORLD_JOBS];
    unsigned job_count;
    unsigned made; /* ever */
};

struct world {
    struct pool *pool;
    struct pool_actions actions;
    struct world_gpu gpu[WORLD_GPUS];
    unsigned gpu_count;
    int64_t now_ms;
    uint64_t next_cookie;
    struct pool_action reply; /* the last one */
    unsigned history[POOL_HIST_COUNT];
    /* Injected: 0 or -errno; may be NULL. */
    int (*fail)(struct world *w, const struct pool_job *job);
    void *arg;
    /* Sees every action before it is carried out; may be NULL. */
    void (*on_action)(struct world *w, const struct pool_action *action);
};

static inline struct mig_instance *world_find(struct world_gpu *g, unsigned start)
{
    for (unsigned i = 0; i < g->gi_count; i++) {
        if (g->gi[i].start == start) {
            return &g->gi[i];
        }
    }
    return NULL;
}

static inline struct mig_use world_use(const struct world_gpu *g)
{
    struct mig_use use = {0};
    for (unsigned i = 0; i < g->gi_count; i++) {
        mig_use_add(&g->geometry, &use, mig_profile_by_id(&g->geometry, g->gi[i].profile_id),
                    g->gi[i].start);
    }
    return use;
}

static inline void world_add_ci(struct world *w, struct world_gpu *g, struct mig_instance *gi,
                                unsigned slices)
{
    struct mig_compute *ci = &gi->ci[gi->ci_count];
    int p = mig_profile_by_id(&g->geometry, gi->profile_id);
    const struct mig_profile *q = &g->geometry.profiles[p];
    unsigned id = 0;

    for (unsigned i = 0; i < gi->ci_count; i++) {
        id = gi->ci[i].id >= id ? gi->ci[i].id + 1 : id;
    }
    *ci = (struct mig_compute){.id = id, .size = (uint8_t)(slices ? slices : q->slices)};
    for (int i = 0; i < q->compute_count; i++) {
        if (q->compute[i].slices == ci->size) {
            ci->profile_id = q->compute[i].id;
        }
    }
    snprintf(ci->mig_uuid, sizeof(ci->mig_uuid), "MIG-%ld-%u-%u-%u", (long)(g - w->gpu),
             gi->start, gi->size, id);
    gi->ci_count++;
}

/* Is somebody's lease on this instance?  Law 1 is checked against this, not against the pool's own
 * idea of what is idle. */
static inline bool world_is_leased(const struct world *w, unsigned gpu, unsigned start)
{
    for (const struct pool_lease *l = pool_next_lease(w->pool, NULL); l;
         l = pool_next_lease(w->pool, l)) {
        for (unsigned i = 0; i < l->part_count; i++) {
            const struct pool_part *p = &l->part[i];
            if ((l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASING) &&
                p->gpu->id == gpu && p->slice && p->slice->start == start) {
                return true;
            }
        }
    }
    return false;
}

static inline int world_create(struct world *w, struct world_gpu *g, const struct pool_job *job,
                               struct pool_job_result *r)
{
    int p = mig_profile_by_id(&g->geometry, job->profile_id);
    struct mig_use use = world_use(g);

    assert(g->is_mig_enabled && p >= 0);
    if (!mig_fits(&g->geometry, &use, p, job->start)) {
        return -ENOSPC; /* the pool and the hardware disagree: tests count these */
    }
    struct mig_instance *gi = &g->gi[g->gi_count++];
    *gi = (struct mig_instance){.gi_id = g->made++ % 7, .profile_id = job->profile_id,
                                .start = job->start, .size = job->size, .has_processes = true};
    world_add_ci(w, g, gi, job->ci_slices);
    r->has_instance = true;
    r->instance = *gi;
    return 0;
}

static inline int world_destroy(struct world *w, struct world_gpu *g, const struct pool_job *job)
{
    struct mig_instance *gi = world_find(g, job->start);

    if (!gi) {
        return -ENOENT;
    }
    assert(!world_is_leased(w, job->gpu, job->start)); /* law 1 */
    if (gi->profile_id != job->profile_id || (job->is_bare && gi->ci_count)) {
        return -ESTALE;
    }
    if (gi->process_count) {
        return -EBUSY;
    }
    *gi = g->gi[--g->gi_count];
    return 0;
}

static inline int world_check(struct world_gpu *g, const struct pool_job *job,
                              struct pool_job_result *r)
{
    struct mig_instance *gi = world_find(g, job->start);

    if (!job->slice) {
        r->processes = g->whole_processes;
        return 0;
    }
    if (!gi) {
        return -ENOENT;
    }
    r->processes = gi->process_count;
    r->has_instance = true;
    r->instance = *gi;
    return 0;
}

static inline void world_scan(struct world_gpu *g, struct mig_scan *scan)
{
    *scan = (struct mig_scan){.is_mig_enabled = g->is_mig_enabled,
                              .is_mig_pending = g->is_mig_enabled, .has_processes = true,
                              .process_count = g->whole_processes, .instance_count = g->gi_count};
    memcpy(scan->instances, g->gi, g->gi_count * sizeof(g->gi[0]));
}

static inline void world_step(struct world *w, struct pool_event *e);

/* Carries out the oldest job of a GPU and hands the result in; false when there is none. */
static inline bool world_work(struct world *w, unsigned gpu)
{
    struct world_gpu *g = &w->gpu[gpu];
    struct mig_scan scan;

    if (!g->job_count) {
        return false;
    }
    struct pool_job job = g->job[0];
    memmove(&g->job[0], &g->job[1], --g->job_count * sizeof(job));
    struct pool_job_result r = {.job = job, .driver_us = 1000};
    r.code = w->fail ? w->fail(w, &job) : 0;
    if (r.code) {
        snprintf(r.message, sizeof(r.message), "injected failure %d", r.code);
    } else if (job.kind == POOL_JOB_CREATE) {
        r.code = world_create(w, g, &job, &r);
    } else if (job.kind == POOL_JOB_DESTROY) {
        r.code = world_destroy(w, g, &job);
    } else if (job.kind == POOL_JOB_CREATE_CI) {
        struct mig_instance *gi = world_find(g, job.start);
        r.code = gi ? 0 : -ENOENT;
        if (gi) {
            world_add_ci(w, g, gi, job.ci_slices);
            r.instance = *gi;
            r.has_instance = true;
        }
    } else if (job.kind == POOL_JOB_CHECK) {
        r.code = world_check(g, &job, &r);
    } else if (job.kind == POOL_JOB_MIG_MODE) {
        g->is_mig_enabled = job.is_mig_enabled;
        r.is_mig_enabled = r.is_mig_pending = job.is_mig_enabled;
    } else {
        world_scan(g, &scan);
        r.scan = &scan;
    }
    struct pool_event e = {.kind = POOL_EV_RESULT, .result = &r};
    world_step(w, &e);
    return true;
}

/* Until no GPU has work. */
static inline void world_settle(struct world *w)
{
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (unsigned i = 0; i < w->gpu_count; i++) {
            is_busy = world_work(w, i) || is_busy;
        }
    }
}

static inline void world_take_actions(struct world *w)
{
    for (unsigned i = 0; i < w->actions.count; i++) {
        const struct pool_action *a = &w->actions.action[i];
        if (w->on_action) {
            w->on_action(w, a);
        }
        if (a->kind == POOL_DO_JOB) {
            struct world_gpu *g = &w->gpu[a->job.gpu];
            assert(a->job.gpu < w->gpu_count && g->job_count < WORLD_JOBS);
            g->job[g->job_count++] = a->job;
        } else if (a->kind == POOL_DO_REPLY) {
            w->reply = *a;
        } else if (a->kind == POOL_DO_HISTORY) {
            w->history[a->history]++;
        }
    }
    w->actions.count = 0;
}

static inline void world_step(struct world *w, struct pool_event *e)
{
    e->now_ms = w->now_ms;
    pool_step(w->pool, e, &w->actions);
    world_take_actions(w);
}

/* Moves the clock, ticking at each deadline on the way. */
static inline void world_wait(struct world *w, int64_t ms)
{
    int64_t end = w->now_ms + ms;
    while (pool_next_deadline_ms(w->pool) <= end) {
        int64_t due = pool_next_deadline_ms(w->pool);
        w->now_ms = due > w->now_ms ? due : w->now_ms;
        world_step(w, &(struct pool_event){.kind = POOL_EV_TICK});
    }
    w->now_ms = end;
    world_step(w, &(struct pool_event){.kind = POOL_EV_TICK});
}

/* The replay's tables leave compute instances out: every smaller slice count, and the full one. */
static inline void world_add_compute(struct mig_profile *p)
{
    for (unsigned n = 1; n <= p->slices && n <= 4; n++) {
        struct mig_compute_profile *c = &p->compute[p->compute_count++];
        *c = (struct mig_compute_profile){.id = n - 1, .slices = (uint8_t)n,
                                          .max_count = (uint8_t)(p->slices / n)};
        if (n < p->slices) {
            char name[sizeof(p->name)];
            text_copy(name, sizeof(name), p->name);
            snprintf(c->name, sizeof(c->name), "%uc.%.20s", n, name);
        } else {
            text_copy(c->name, sizeof(c->name), p->name);
        }
    }
}

static inline void world_add_gpu(struct world *w, const char *model, bool is_mig_enabled)
{
    struct world_gpu *g = &w->gpu[w->gpu_count++];
    *g = (struct world_gpu){.is_mig_enabled = is_mig_enabled};
    int rc = replay_model_geometry(model, &g->geometry, NULL);
    for (int p = 0; p < g->geometry.profile_count; p++) {
        world_add_compute(&g->geometry.profiles[p]);
    }
    rc = rc < 0 ? rc : mig_geometry_init(&g->geometry, NULL);
    assert(rc == 0);
    (void)rc;
}

static inline struct mig_gpu_info world_info(const struct world *w, unsigned gpu)
{
    struct mig_gpu_info info = {.index = gpu, .is_healthy = true, .is_mig_capable = true,
                                .is_resetless = true, .has_geometry = true,
                                .is_mig_enabled = w->gpu[gpu].is_mig_enabled,
                                .is_mig_pending = w->gpu[gpu].is_mig_enabled};

    snprintf(info.uuid, sizeof(info.uuid), "GPU-%u", gpu);
    snprintf(info.name, sizeof(info.name), "NVIDIA H100 80GB HBM3");
    return info;
}

/* A pool over the GPUs as they are, without records. */
static inline void world_boot(struct world *w, const struct pool_settings *settings)
{
    w->pool = pool_new(settings);
    for (unsigned i = 0; i < w->gpu_count; i++) {
        struct mig_gpu_info info = world_info(w, i);
        unsigned id = 0;
        int rc = pool_add_gpu(w->pool, &info, &w->gpu[i].geometry, true, POOL_MIG_ON_DEMAND, &id,
                              NULL);
        assert(rc == 0 && id == i);
        (void)rc;
        w->gpu[i].job_count = 0;
    }
}

static inline void world_start(struct world *w)
{
    pool_start(w->pool, w->now_ms, &w->actions);
    world_take_actions(w);
}

static inline void world_done(struct world *w)
{
    pool_free(w->pool);
    pool_actions_done(&w->actions);
}

/* Asks as `tenant`; the number of the lease, 0 when refused (see w->reply). */
static inline uint64_t world_ask(struct world *w, const char *tenant, const char *profile,
                                 struct pool_request r)
{
    r.profile = profile;
    r.count = r.count ? r.count : 1;
    int rc = mig_want_parse(profile, &r.want, NULL);
    assert(rc == 0);
    (void)rc;
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &r, .reply_to = ++w->next_cookie,
                           .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}};
    world_step(w, &e);
    return w->reply.answer == POOL_OK ? w->reply.lease : 0;
}

static inline enum pool_answer world_release(struct world *w, const char *tenant, uint64_t lease)
{
    struct pool_event e = {.kind = POOL_EV_RELEASE, .lease = lease, .reply_to = ++w->next_cookie,
                           .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}};
    world_step(w, &e);
    return w->reply.answer;
}

static inline enum pool_lease_state world_state(const struct world *w, uint64_t lease)
{
    return pool_find_lease(w->pool, lease)->state;
}

/* --- what most stories need ------------------------------------------------------------------- */

/* A pool over the GPUs that have been added, which has looked at them all.  NULL: the settings that
 * nobody has changed. */
static inline void world_run(struct world *w, const struct pool_settings *settings)
{
    struct pool_settings unchanged;

    pool_settings_default(&unchanged);
    world_boot(w, settings ? settings : &unchanged);
    world_start(w);
    world_settle(w);
}

/* The same from nothing, over that many GPUs of one model, with MIG on. */
static inline void world_make(struct world *w, const struct pool_settings *settings,
                              const char *model, unsigned gpus)
{
    *w = (struct world){.now_ms = 1000000};
    for (unsigned i = 0; i < gpus; i++) {
        world_add_gpu(w, model, true);
    }
    world_run(w, settings);
}

/* Asks, and the driver does what follows. */
static inline uint64_t world_ask_settled(struct world *w, const char *tenant, const char *profile,
                                         struct pool_request r)
{
    uint64_t id = world_ask(w, tenant, profile, r);

    world_settle(w);
    return id;
}

/* Gives back, and the driver does what follows. */
static inline void world_give_back(struct world *w, const char *tenant, uint64_t lease)
{
    enum pool_answer answer = world_release(w, tenant, lease);

    assert(answer == POOL_OK);
    (void)answer;
    world_settle(w);
}

/* Time passes, and the driver does what follows. */
static inline void world_pass(struct world *w, int64_t ms)
{
    world_wait(w, ms);
    world_settle(w);
}

/* What the pool wants to survive. */
#define WORLD_RECORDS 256
struct world_records {
    struct pool_record record[WORLD_RECORDS];
    unsigned count;
};

static inline void world_take_records(struct world *w, struct world_records *r)
{
    for (r->count = 0; pool_next_dirty(w->pool, &r->record[r->count]); r->count++) {
        assert(r->count + 1 < WORLD_RECORDS);
    }
}

/* Reads them into a pool that has not started, all but those of one kind (0: all),
 * and frees them. */
static inline void world_load_records(struct world *w, struct world_records *r,
                                      enum pool_record_kind lost)
{
    static const enum pool_record_kind order[] = {POOL_RECORD_META, POOL_RECORD_SLICE,
                                                  POOL_RECORD_LEASE, POOL_RECORD_OPERATION};

    for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
        for (unsigned i = 0; i < r->count; i++) {
            const struct pool_record *rec = &r->record[i];
            struct error err = {0};
            if (rec->kind == order[k] && rec->kind != lost && rec->body &&
                pool_load_record(w->pool, rec->kind, rec->id, rec->body, &err) < 0) {
                fprintf(stderr, "%s\n", err.msg);
                abort();
            }
        }
    }
    for (unsigned i = 0; i < r->count; i++) {
        free(r->record[i].body);
    }
    r->count = 0;
}

/* A crash, and the start after it; nothing has been done yet in the driver. */
static inline void world_restart(struct world *w, enum pool_record_kind lost)
{
    struct world_records *r = xcalloc(1, sizeof(*r));
    struct pool_settings settings = *pool_settings(w->pool);

    world_take_records(w, r);
    pool_free(w->pool);
    world_boot(w, &settings);
    world_load_records(w, r, lost);
    free(r);
    world_start(w);
}
