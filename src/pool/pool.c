/* The pool's frame: its memory, its clockwork, and the step that hands each event to the file
 * that knows what to do.  The rules that hold between events stand in pool/internal.h. */
#include "pool/internal.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const lease_states[POOL_LEASE_STATE_COUNT] = {
    "queued", "cutting", "active", "releasing", "released", "expired", "rejected", "lost"};
static const char *const slice_states[POOL_SLICE_STATE_COUNT] = {
    "creating", "idle", "leased", "destroying", "quarantined", "foreign"};
static const char *const healths[POOL_HEALTH_COUNT] = {"ok", "unresponsive", "lost", "failed"};
static const char *const roles[POOL_ROLE_COUNT] = {"viewer", "tenant", "operator"};
static const char *const jobs[POOL_JOB_COUNT] = {"create",   "destroy", "create-compute-instance",
                                                 "check",    "mig-mode", "scan"};
static const char *const histories[POOL_HIST_COUNT] = {
    "lease.queued",     "lease.cutting",    "lease.granted",   "lease.released",
    "lease.expired",    "lease.rejected",   "lease.lost",      "lease.renewed",
    "lease.move_asked", "lease.moved",      "lease.move_cancelled", "lease.stopped",
    "slice.created",    "slice.destroyed",  "slice.adopted",   "slice.disowned",
    "slice.foreign",    "slice.quarantined", "slice.vanished", "gpu.unresponsive",
    "gpu.recovered",    "gpu.lost",         "gpu.mode",        "gpu.xid",
    "operation.done",   "operation.failed"};

const char *pool_lease_state_name(enum pool_lease_state state)
{
    return lease_states[state];
}

const char *pool_slice_state_name(enum pool_slice_state state)
{
    return slice_states[state];
}

const char *pool_health_name(enum pool_health health)
{
    return healths[health];
}

const char *pool_role_name(enum pool_role role)
{
    return roles[role];
}

const char *pool_job_name(enum pool_job_kind kind)
{
    return jobs[kind];
}

const char *pool_history_name(enum pool_history what)
{
    return histories[what];
}

void pool_settings_default(struct pool_settings *settings)
{
    *settings = (struct pool_settings){
        .max_queued_per_tenant = 100,
        .backfill_depth = 64,
        .keep_ended = 1000,
        .age_step_ms = 600000,
        .max_moves = 1,
        .move_answer_ms = 60000,
        .move_pause_ms = 600000,
    };
    plan_settings_default(&settings->plan);
    settings->plan.may_stop = true;
}

struct pool *pool_new(const struct pool_settings *settings)
{
    struct pool *pool = xcalloc(1, sizeof(*pool));

    pool->settings = *settings;
    pool->explanation = xcalloc(1, sizeof(*pool->explanation));
    pool->plan = plan_new(&settings->plan);
    pool->classes = xcalloc(PLAN_CLASSES_MAX, sizeof(*pool->classes));
    pool->next_lease = pool->next_slice = pool->next_job = pool->next_operation = 1;
    TAILQ_INIT(&pool->queue);
    TAILQ_INIT(&pool->ended);
    TAILQ_INIT(&pool->operations);
    TAILQ_INIT(&pool->dirty_leases);
    TAILQ_INIT(&pool->dirty_slices);
    TAILQ_INIT(&pool->dirty_operations);
    TAILQ_INIT(&pool->pump);
    return pool;
}

static void free_gpu(struct pool_gpu *gpu)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        free(gpu->slices[i]);
    }
    free(gpu->geometry);
    free(gpu);
}

void pool_free(struct pool *pool)
{
    struct pool_lease *l = NULL, *next_lease = NULL;
    struct pool_tenant *t = NULL, *next_tenant = NULL;
    struct pool_operation *op = NULL;

    if (!pool) {
        return;
    }
    HASH_ITER(hh, pool->leases, l, next_lease)
    {
        lease_free(pool, l);
    }
    HASH_ITER(hh, pool->tenants, t, next_tenant)
    {
        HASH_DEL(pool->tenants, t);
        free(t);
    }
    while ((op = TAILQ_FIRST(&pool->operations))) {
        TAILQ_REMOVE(&pool->operations, op, link);
        free(op);
    }
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        free_gpu(pool->gpus[i]);
    }
    free(pool->gpus);
    plan_free(pool->plan);
    free(pool->classes);
    free(pool->gone);
    free(pool->timers);
    free(pool->changes);
    free(pool->explanation);
    free(pool);
}

/* The class of GPUs with this model name and geometry; made when it is new. */
static int find_class(struct pool *pool, const struct mig_gpu_info *info,
                      const struct mig_geometry *geometry, int *ret, struct error *err)
{
    for (int c = 0; c < pool->class_count; c++) {
        if (!strcmp(pool->classes[c].model, info->name) &&
            /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): zeroed before it was filled */
            !memcmp(pool->classes[c].geometry, geometry, sizeof(*geometry))) {
            *ret = c;
            return 0;
        }
    }
    int id = -1;
    int rc = plan_add_class(pool->plan, geometry, &id, err);
    if (rc < 0) {
        return rc;
    }
    struct pool_class *c = &pool->classes[id];
    text_copy(c->model, sizeof(c->model), info->name);
    c->geometry = plan_class_geometry(pool->plan, id);
    for (int p = 0; p < MIG_PROFILES_MAX; p++) {
        TAILQ_INIT(&c->idle[p]);
    }
    pool->class_count = id + 1;
    *ret = id;
    return 0;
}

int pool_add_gpu(struct pool *pool, const struct mig_gpu_info *info,
                 const struct mig_geometry *geometry, bool is_managed, enum pool_mig_policy policy,
                 unsigned *ret_gpu, struct error *err)
{
    int class_id = -1, rc = 0;
    unsigned id = pool->gpu_count;

    if (geometry) {
        rc = find_class(pool, info, geometry, &class_id, err);
        rc = rc < 0 ? rc : plan_add_gpu(pool->plan, id, class_id, err);
        if (rc < 0) {
            return rc;
        }
    }
    struct pool_gpu *gpu = xcalloc(1, sizeof(*gpu));
    gpu->id = id;
    gpu->info = *info;
    gpu->class_id = class_id;
    gpu->is_managed = is_managed;
    gpu->mig_policy = policy;
    gpu->is_plan_stale = true;
    if (geometry) {
        gpu->geometry = xcalloc(1, sizeof(*geometry));
        *gpu->geometry = *geometry;
    }
    if (!info->is_healthy) {
        gpu->health = POOL_HEALTH_FAILED;
        text_copy(gpu->health_reason, sizeof(gpu->health_reason), info->reason);
    }
    pool->gpus = xreallocarray(pool->gpus, id + 1, sizeof(struct pool_gpu *));
    pool->gpus[pool->gpu_count++] = gpu;
    gpu_refresh_plan(pool, gpu);
    *ret_gpu = id;
    return 0;
}

int pool_learn_geometry(struct pool *pool, unsigned gpu, const struct mig_geometry *geometry,
                        struct error *err)
{
    struct pool_gpu *g = pool->gpus[gpu];
    struct pool_lease *l = NULL;
    int class_id = -1;

    if (g->geometry) {
        return 0;
    }
    int rc = find_class(pool, &g->info, geometry, &class_id, err);
    rc = rc < 0 ? rc : plan_add_gpu(pool->plan, gpu, class_id, err);
    if (rc < 0) {
        return rc;
    }
    g->class_id = class_id;
    g->geometry = xcalloc(1, sizeof(*geometry));
    *g->geometry = *geometry;
    for (unsigned i = 0; i < g->slice_count; i++) {
        slice_learn_profile(pool, g->slices[i]);
    }
    TAILQ_FOREACH(l, &pool->queue, link)
    {
        lease_resolve(pool, l, NULL); /* there is a new class */
    }
    pool->wants_queue_pass = true;
    gpu_changed(pool, g);
    return 0;
}

/* A GPU that records have brought in as absent turns out to be here: what is on record moves to it.
 * Nothing is cut there before a scan has shown what really stands. */
static void take_over(struct pool *pool, struct pool_gpu *gpu, struct pool_gpu *absent)
{
    struct pool_lease *l = NULL, *next = NULL;

    memcpy(gpu->slices, absent->slices, sizeof(gpu->slices));
    gpu->slice_count = absent->slice_count;
    gpu->lease = absent->lease;
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        gpu->slices[i]->gpu = gpu;
    }
    HASH_ITER(hh, pool->leases, l, next)
    {
        for (unsigned i = 0; i < l->part_count; i++) {
            l->part[i].gpu = l->part[i].gpu == absent ? gpu : l->part[i].gpu;
        }
    }
    if (absent->wants_pump) {
        TAILQ_REMOVE(&pool->pump, absent, pump_link);
    }
    for (unsigned i = 0; i < pool->timer_count; i++) {
        struct timer *t = &pool->timers[i];
        if (t->kind == TIMER_GPU && t->id >= absent->id) {
            t->id = t->id == absent->id ? gpu->id : t->id - 1;
        }
    }
    pool->gpu_count--;
    for (unsigned i = absent->id; i < pool->gpu_count; i++) {
        /* Absent ones, too: neither driver nor plan/ have them. */
        pool->gpus[i] = pool->gpus[i + 1];
        pool->gpus[i]->id = i;
    }
    free(absent);
}

int pool_learn_identity(struct pool *pool, unsigned gpu, const struct mig_gpu_info *info,
                        bool is_managed, enum pool_mig_policy policy, struct error *err)
{
    struct pool_gpu *g = pool->gpus[gpu], *other = NULL;

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (i != gpu && !strcmp(pool->gpus[i]->info.uuid, info->uuid)) {
            other = pool->gpus[i];
        }
    }
    if (other && (other->info.index != MIG_NO_ID || other->geometry || g->slice_count)) {
        return err_set(err, EEXIST, "%s is there already, as GPU %u", info->uuid,
                       other->info.index);
    }
    if (other) {
        take_over(pool, g, other);
    }
    g->info = *info;
    g->is_managed = is_managed;
    g->mig_policy = policy;
    gpu_changed(pool, g);
    return 0;
}

const struct pool_settings *pool_settings(const struct pool *pool)
{
    return &pool->settings;
}

unsigned pool_gpu_count(const struct pool *pool)
{
    return pool->gpu_count;
}

const struct pool_gpu *pool_gpu(const struct pool *pool, unsigned gpu)
{
    return gpu < pool->gpu_count ? pool->gpus[gpu] : NULL;
}

const struct pool_gpu *pool_find_gpu(const struct pool *pool, const char *name)
{
    int64_t index = -1;

    if (text_parse_int(name, "index", 0, 1 << 20, &index, NULL) < 0) {
        index = -1;
    }
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        const struct mig_gpu_info *info = &pool->gpus[i]->info;
        if (!strcasecmp(info->uuid, name) || !strcasecmp(info->pci, name) ||
            (index >= 0 && info->index == (uint32_t)index)) {
            return pool->gpus[i];
        }
    }
    return NULL;
}

const struct pool_slice *pool_find_slice(const struct pool *pool, const char *mig_uuid)
{
    for (unsigned i = 0; i < pool->gpu_count && *mig_uuid; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        for (unsigned k = 0; k < gpu->slice_count; k++) {
            for (unsigned c = 0; c < gpu->slices[k]->ci_count; c++) {
                if (!strcmp(gpu->slices[k]->ci[c].mig_uuid, mig_uuid)) {
                    return gpu->slices[k];
                }
            }
        }
    }
    return NULL;
}

const struct pool_slice *pool_slice_at(const struct pool_gpu *gpu, unsigned start)
{
    const struct pool_slice *found = NULL;

    /* A slice that goes and the one that comes may share a start: the one that is there wins. */
    for (unsigned k = 0; k < gpu->slice_count; k++) {
        const struct pool_slice *s = gpu->slices[k];
        if (s->start == start && (!found || s->state != POOL_SLICE_CREATING)) {
            found = s;
        }
    }
    return found;
}

/* They are numbered in turn: their numbers by themselves are spread as well as can be. */
static unsigned hash_of(uint64_t lease_id)
{
    return (unsigned)lease_id;
}

void pool_lease_add(struct pool *pool, struct pool_lease *lease)
{
    HASH_ADD_BYHASHVALUE(hh, pool->leases, id, sizeof(lease->id), hash_of(lease->id), lease);
}

struct pool_lease *pool_lease_get(struct pool *pool, uint64_t id)
{
    struct pool_lease *lease = NULL;

    HASH_FIND_BYHASHVALUE(hh, pool->leases, &id, sizeof(id), hash_of(id), lease);
    return lease;
}

const struct pool_lease *pool_find_lease(const struct pool *pool, uint64_t id)
{
    struct pool_lease *lease = NULL;

    HASH_FIND_BYHASHVALUE(hh, pool->leases, &id, sizeof(id), hash_of(id), lease);
    return lease;
}

const struct pool_operation *pool_find_operation(const struct pool *pool, uint64_t id)
{
    const struct pool_operation *op = NULL;

    TAILQ_FOREACH(op, &pool->operations, link)
    {
        if (op->id == id) {
            break;
        }
    }
    return op;
}

const struct pool_lease *pool_next_lease(const struct pool *pool, const struct pool_lease *after)
{
    /* uthash keeps the order of insertion, which is that of the numbers. */
    return after ? after->hh.next : pool->leases;
}

const struct pool_lease *pool_next_queued(const struct pool *pool, const struct pool_lease *after)
{
    return after ? TAILQ_NEXT(after, link) : TAILQ_FIRST(&pool->queue);
}

unsigned pool_queue_position(const struct pool *pool, const struct pool_lease *lease)
{
    unsigned position = 1;
    const struct pool_lease *l = NULL;

    if (!lease->is_queued) {
        return 0;
    }
    TAILQ_FOREACH(l, &pool->queue, link)
    {
        if (l == lease) {
            break;
        }
        position++;
    }
    return position;
}

struct pool_tenant *pool_tenant_get(struct pool *pool, const char *name)
{
    struct pool_tenant *t = NULL;
    char fitting[POOL_TENANT_SIZE];

    text_copy(fitting, sizeof(fitting), name);
    HASH_FIND_STR(pool->tenants, fitting, t);
    if (!t) {
        t = xcalloc(1, sizeof(*t));
        text_copy(t->name, sizeof(t->name), fitting);
        t->max_queued = pool->settings.max_queued_per_tenant;
        t->max_compute = pool->settings.max_compute_per_tenant;
        HASH_ADD_STR(pool->tenants, name, t);
    }
    return t;
}

/* --- actions -------------------------------------------------------------------------------- */

void pool_actions_done(struct pool_actions *actions)
{
    free(actions->action);
    *actions = (struct pool_actions){0};
}

struct pool_action *pool_act(struct pool *pool, enum pool_action_kind kind)
{
    struct pool_actions *out = pool->out;

    if (out->count == out->size) {
        out->size = out->size ? 2 * out->size : 16;
        out->action = xreallocarray(out->action, out->size, sizeof(*out->action));
    }
    struct pool_action *a = &out->action[out->count++];
    memset(a, 0, sizeof(*a));
    a->kind = kind;
    a->gpu = -1;
    return a;
}

void pool_reply(struct pool *pool, uint64_t cookie, enum pool_answer answer, uint64_t lease,
                const char *fmt, ...)
{
    va_list ap;

    if (!cookie) {
        return;
    }
    struct pool_action *a = pool_act(pool, POOL_DO_REPLY);
    a->reply_to = cookie;
    a->answer = answer;
    a->lease = lease;
    va_start(ap, fmt);
    vsnprintf(a->text, sizeof(a->text), fmt, ap);
    va_end(ap);
    text_mend_utf8(a->text);
}

void pool_tell(struct pool *pool, enum pool_history what, const struct pool_gpu *gpu,
               const struct pool_lease *lease, const char *fmt, ...)
{
    struct pool_action *a = pool_act(pool, POOL_DO_HISTORY);
    va_list ap;

    a->history = what;
    a->gpu = gpu ? (int)gpu->id : -1;
    if (lease) {
        a->lease = lease->id;
        text_copy(a->tenant, sizeof(a->tenant), lease->tenant->name);
    }
    va_start(ap, fmt);
    vsnprintf(a->text, sizeof(a->text), fmt, ap);
    va_end(ap);
    text_mend_utf8(a->text);
}

struct pool_job *pool_emit_job(struct pool *pool, enum pool_job_kind kind, struct pool_gpu *gpu)
{
    struct pool_job *job = &pool_act(pool, POOL_DO_JOB)->job;

    job->id = pool->next_job++;
    job->kind = kind;
    job->gpu = gpu->id;
    return job;
}

/* --- timers: a binary heap; a timer that has become pointless does no harm ------------------- */

void pool_add_timer(struct pool *pool, int64_t when_ms, enum timer_kind kind, uint64_t id)
{
    if (pool->timer_count == pool->timer_size) {
        pool->timer_size = pool->timer_size ? 2 * pool->timer_size : 16;
        pool->timers = xreallocarray(pool->timers, pool->timer_size, sizeof(*pool->timers));
    }
    unsigned at = pool->timer_count++;
    while (at && pool->timers[(at - 1) / 2].when_ms > when_ms) {
        pool->timers[at] = pool->timers[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    pool->timers[at] = (struct timer){when_ms, kind, id};
}

bool pool_pop_timer(struct pool *pool, int64_t now_ms, struct timer *ret)
{
    if (!pool->timer_count || pool->timers[0].when_ms > now_ms) {
        return false;
    }
    *ret = pool->timers[0];
    struct timer last = pool->timers[--pool->timer_count];
    unsigned at = 0;
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= pool->timer_count) {
            break;
        }
        if (child + 1 < pool->timer_count &&
            pool->timers[child + 1].when_ms < pool->timers[child].when_ms) {
            child++;
        }
        if (pool->timers[child].when_ms >= last.when_ms) {
            break;
        }
        pool->timers[at] = pool->timers[child];
        at = child;
    }
    pool->timers[at] = last;
    return true;
}

int64_t pool_next_deadline_ms(const struct pool *pool)
{
    return pool->timer_count ? pool->timers[0].when_ms : INT64_MAX;
}

/* --- what changed ---------------------------------------------------------------------------- */

void pool_mark_lease(struct pool *pool, struct pool_lease *lease)
{
    if (!lease->is_dirty) {
        lease->is_dirty = true;
        TAILQ_INSERT_TAIL(&pool->dirty_leases, lease, dirty_link);
    }
}

void pool_mark_slice(struct pool *pool, struct pool_slice *slice)
{
    if (!slice->is_dirty && slice->state != POOL_SLICE_FOREIGN && !pool->is_trial) {
        slice->is_dirty = true;
        TAILQ_INSERT_TAIL(&pool->dirty_slices, slice, dirty_link);
    }
}

void pool_mark_operation(struct pool *pool, struct pool_operation *op)
{
    if (!op->is_dirty) {
        op->is_dirty = true;
        TAILQ_INSERT_TAIL(&pool->dirty_operations, op, dirty_link);
    }
}

void pool_note_number(struct pool *pool, enum pool_record_kind kind, uint64_t id)
{
    if (id > pool->top_record[kind]) {
        pool->top_record[kind] = id;
    }
}

void pool_mark_gone(struct pool *pool, enum pool_record_kind kind, uint64_t id)
{
    if (pool->gone_count == pool->gone_size) {
        pool->gone_size = pool->gone_size ? 2 * pool->gone_size : 16;
        pool->gone = xreallocarray(pool->gone, pool->gone_size, sizeof(*pool->gone));
    }
    pool->gone[pool->gone_count++] = (struct gone_record){kind, id};
    /* Records tell by themselves which numbers are taken, as long as the highest one is there.  It
     * may be lower than the last number given: not everything that had one came to be recorded. */
    pool->is_meta_dirty = pool->is_meta_dirty || id >= pool->top_record[kind];
}

/* --- the step --------------------------------------------------------------------------------- */

static void on_tick(struct pool *pool)
{
    struct timer t;

    while (pool_pop_timer(pool, pool->now_ms, &t)) {
        if (t.kind == TIMER_LEASE) {
            struct pool_lease *lease = pool_lease_get(pool, t.id);
            if (lease) {
                lease_on_timer(pool, lease);
            }
        } else if (t.kind == TIMER_CONSOLIDATE) {
            consolidation_on_timer(pool);
        } else if (t.kind == TIMER_LOOK) {
            queue_on_look(pool);
        } else {
            gpu_changed(pool, pool->gpus[t.id]);
            pool->wants_queue_pass = true;
        }
    }
}

static void on_gpu_event(struct pool *pool, const struct pool_event *event)
{
    struct pool_gpu *gpu = event->gpu < pool->gpu_count ? pool->gpus[event->gpu] : NULL;

    if (!gpu) {
        return;
    }
    if (event->kind == POOL_EV_HEALTH) {
        pool_on_health(pool, gpu, event->health, event->text ? event->text : "");
    } else if (event->kind == POOL_EV_XID) {
        pool_tell(pool, POOL_HIST_GPU_XID, gpu, NULL, "GPU %u reports Xid %u%s%s", gpu->info.index,
                  event->number, event->text ? ": " : "", event->text ? event->text : "");
    } else {
        gpu->scans_again = gpu->scan_job != 0; /* that one may have looked already */
        gpu_ask_scan(pool, gpu);
    }
}

static void dispatch(struct pool *pool, const struct pool_event *event)
{
    switch (event->kind) {
    case POOL_EV_TICK:
        on_tick(pool);
        break;
    case POOL_EV_RESULT:
        pool_on_result(pool, event->result);
        break;
    case POOL_EV_REQUEST:
        lease_on_request(pool, event);
        break;
    case POOL_EV_RELEASE:
        lease_on_release(pool, event);
        break;
    case POOL_EV_RENEW:
        lease_on_renew(pool, event);
        break;
    case POOL_EV_HOLDER_GONE:
        lease_on_holder_gone(pool, event);
        break;
    case POOL_EV_MOVE:
        move_on_answer(pool, event);
        break;
    case POOL_EV_APPLY:
        pool_on_apply(pool, event);
        break;
    case POOL_EV_ADOPT:
    case POOL_EV_DISOWN:
        pool_on_adopt(pool, event);
        break;
    case POOL_EV_HEALTH:
    case POOL_EV_XID:
    case POOL_EV_SCAN:
        on_gpu_event(pool, event);
        break;
    case POOL_EV_COUNT:
        break;
    }
}

void pool_step(struct pool *pool, const struct pool_event *event, struct pool_actions *actions)
{
    pool->now_ms = event->now_ms;
    pool->out = actions;
    /* What an earlier event was told names slices and leases that may be gone. */
    pool->explanation->reason[0] = '\0';
    pool->explanation->block_count = 0;
    dispatch(pool, event);
    do {
        if (pool->wants_queue_pass && !event->has_more) {
            queue_pass(pool);
        }
        gpu_pump_all(pool);
    } while (pool->wants_queue_pass && !event->has_more); /* the pump gave something up */
    pool->out = NULL;
}
