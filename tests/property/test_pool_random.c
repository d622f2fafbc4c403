/* Random machines, tenants, failures and crashes: the laws of the house are held against books of
 * our own, kept from what the simulated hardware did and what was answered.
 *
 *     TANGRAM_SEED=...   reproduces a run (the seed is printed)
 *     TANGRAM_STEPS=...  makes it longer or shorter
 *     TANGRAM_TRACE=1    prints every event and action
 *
 * The daemon's contract is played with: what a step changed is one transaction; its actions are
 * carried out after that transaction only; a crash loses a suffix of the transactions, the actions
 * not yet carried out, the jobs not yet begun, and results of jobs that have had their effect.
 * A second pool gets the same events, but no previews: it must act the same, byte for byte. */
#include "../pool_world.h"
#include "replay/random.h"
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define STEPS 120000
#define EPISODE 1500
#define GPUS_MAX 4
#define JOBS_MAX 256
#define BATCHES_MAX 8
#define TENANTS 4
#define UNITS_MAX 24

/* An instance on the hardware. */
struct unit {
    struct mig_instance gi;
    uint64_t serial;
    bool is_ours;
    char user[POOL_TENANT_SIZE]; /* who was granted it, ever */
    uint32_t told;               /* processes at the last look that the pool was told of */
};

struct machine_gpu {
    struct mig_gpu_info info;
    struct mig_geometry geometry;
    bool has_geometry, is_managed;
    enum pool_mig_policy policy;
    bool is_mig_enabled, is_hung, is_lost, is_disturbed;
    uint32_t processes;
    struct unit unit[UNITS_MAX];
    unsigned unit_count;
    struct pool_job job[JOBS_MAX];
    unsigned job_count;
    struct pool_job_result result[JOBS_MAX];
    struct mig_scan scan[JOBS_MAX];
    unsigned result_count;
};

/* What we know of a lease from committed answers. */
struct book {
    uint64_t id;
    bool is_granted, is_ended;
    bool is_broken; /* the hardware went away under it */
    unsigned tenant, part_count;
    struct {
        unsigned gpu;
        uint64_t serial; /* 0: whole GPU */
        char mig_uuid[MIG_UUID_SIZE];
    } part[POOL_MAX_COUNT];
};

struct batch {
    struct pool_record *record;
    unsigned record_count;
    struct pool_action *action;
    unsigned action_count;
    struct book *grant;
    unsigned grant_count;
    bool is_adoption, is_adopted;
    uint64_t adopted_serial;
};

struct stored {
    enum pool_record_kind kind;
    uint64_t id;
    char *body;
};

struct machine {
    struct replay_random random;
    uint64_t seed;
    unsigned step;
    struct pool *pool, *twin;
    struct pool_settings settings;
    struct pool_actions actions, twin_actions;
    struct machine_gpu gpu[GPUS_MAX];
    unsigned gpu_count;
    int64_t now_ms;
    struct batch batch[BATCHES_MAX];
    unsigned batch_count;
    struct stored *db;
    unsigned db_count, db_size;
    struct book *book;
    unsigned book_count, book_size;
    uint64_t *doomed; /* slices that a DESTROY was seen for */
    unsigned doomed_count, doomed_size;
    uint64_t next_serial, next_cookie;
    bool is_calm; /* no failures are injected */
    bool is_traced;
    struct pool_action reply;
    bool has_reply;
    uint64_t adopting_serial; /* of the event under way, 0 none */
    bool is_adopting;
    struct pool_explanation *why;
    struct pool_preview *preview;
    unsigned seen_granted, seen_lost, seen_rejected, seen_expired, crashes, reboots, foreign_seen,
        quarantined, ops_done, ops_failed, modes;
};

static struct machine *machine; /* for the message when something fails */

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fail_msg("seed %" PRIu64 " step %u: %s (line %d)", machine->seed, machine->step,       \
                     #cond, __LINE__);                                                             \
        }                                                                                          \
    } while (0)

static const char *const tenants[TENANTS] = {"vision", "speech", "nlp", "late"};
static const struct pool_limits tenant_limits[TENANTS] = {{-1, -1}, {6, 9}, {3, -1}, {20, 14}};

static uint32_t draw(struct machine *m, uint32_t below)
{
    return (uint32_t)(replay_random_next(&m->random) % below);
}

static bool chance(struct machine *m, uint32_t one_in)
{
    return draw(m, one_in) == 0;
}

/* --- the hardware ----------------------------------------------------------------------------- */

static struct unit *unit_at(struct machine_gpu *g, unsigned start)
{
    for (unsigned i = 0; i < g->unit_count; i++) {
        if (g->unit[i].gi.start == start) {
            return &g->unit[i];
        }
    }
    return NULL;
}

static struct unit *unit_by_serial(struct machine *m, uint64_t serial)
{
    for (unsigned i = 0; i < m->gpu_count; i++) {
        for (unsigned k = 0; k < m->gpu[i].unit_count; k++) {
            if (m->gpu[i].unit[k].serial == serial) {
                return &m->gpu[i].unit[k];
            }
        }
    }
    return NULL;
}

static struct unit *unit_by_uuid(struct machine_gpu *g, const char *uuid)
{
    for (unsigned k = 0; *uuid && k < g->unit_count; k++) {
        for (unsigned c = 0; c < g->unit[k].gi.ci_count; c++) {
            if (!strcmp(g->unit[k].gi.ci[c].mig_uuid, uuid)) {
                return &g->unit[k];
            }
        }
    }
    return NULL;
}

static struct mig_use hardware_use(const struct machine_gpu *g)
{
    struct mig_use use = {0};

    for (unsigned i = 0; i < g->unit_count; i++) {
        mig_use_add(&g->geometry, &use, mig_profile_by_id(&g->geometry, g->unit[i].gi.profile_id),
                    g->unit[i].gi.start);
    }
    return use;
}

static void count_processes(struct mig_instance *gi)
{
    gi->process_count = 0;
    for (unsigned c = 0; c < gi->ci_count; c++) {
        gi->process_count += gi->ci[c].process_count;
    }
}

static void add_ci(struct machine *m, struct machine_gpu *g, struct unit *u, unsigned slices)
{
    int p = mig_profile_by_id(&g->geometry, u->gi.profile_id);
    const struct mig_profile *q = &g->geometry.profiles[p];
    struct mig_compute *ci = &u->gi.ci[u->gi.ci_count++];
    unsigned id = 0;

    for (unsigned i = 0; i + 1 < u->gi.ci_count; i++) {
        id = u->gi.ci[i].id == id ? id + 1 : id;
    }
    *ci = (struct mig_compute){.id = id, .size = (uint8_t)(slices ? slices : q->slices)};
    for (int i = 0; i < q->compute_count; i++) {
        ci->profile_id = q->compute[i].slices == ci->size ? q->compute[i].id : ci->profile_id;
    }
    snprintf(ci->mig_uuid, sizeof(ci->mig_uuid), "MIG-%" PRIu64, m->next_serial++);
}

static struct unit *add_unit(struct machine *m, struct machine_gpu *g, uint32_t profile_id,
                             unsigned start, unsigned size, bool is_ours)
{
    struct unit *u = &g->unit[g->unit_count++];
    uint32_t id = 0;

    CHECK(g->unit_count <= UNITS_MAX);
    for (unsigned i = 0; i + 1 < g->unit_count; i++) {
        for (unsigned k = 0; k + 1 < g->unit_count; k++) {
            id = g->unit[k].gi.gi_id == id ? id + 1 : id;
        }
    }
    *u = (struct unit){.serial = m->next_serial++, .is_ours = is_ours,
                       .gi = {.gi_id = id, .profile_id = profile_id, .start = (uint8_t)start,
                              .size = (uint8_t)size, .has_processes = true}};
    return u;
}

static void drop_unit(struct machine *m, struct machine_gpu *g, struct unit *u, bool is_by_us)
{
    for (unsigned b = 0; b < m->book_count; b++) {
        struct book *k = &m->book[b];
        for (unsigned i = 0; i < k->part_count; i++) {
            if (k->part[i].serial == u->serial) {
                CHECK(!is_by_us || k->is_ended || k->is_broken); /* law 1 */
                k->is_broken = true;
            }
        }
    }
    *u = g->unit[--g->unit_count];
}

static int hw_create(struct machine *m, struct machine_gpu *g, const struct pool_job *job,
                     struct pool_job_result *r, int failure)
{
    struct mig_use use = hardware_use(g);
    int p = mig_profile_by_id(&g->geometry, job->profile_id);

    CHECK(p >= 0);
    if (!g->is_mig_enabled || !mig_fits(&g->geometry, &use, p, job->start)) {
        CHECK(g->is_disturbed); /* law 3 */
        return g->is_mig_enabled ? -ENOSPC : -EOPNOTSUPP;
    }
    if (failure && !chance(m, 3)) {
        return failure;
    }
    struct unit *u = add_unit(m, g, job->profile_id, job->start, job->size, true);
    if (!failure) {
        add_ci(m, g, u, job->ci_slices);
    }
    r->has_instance = true;
    r->instance = u->gi;
    return failure;
}

static int hw_destroy(struct machine *m, struct machine_gpu *g, const struct pool_job *job,
                      int failure)
{
    struct unit *u = unit_at(g, job->start);

    if (!u) {
        return -ENOENT;
    }
    if (u->gi.profile_id != job->profile_id || u->gi.size != job->size ||
        (*job->mig_uuid && u->gi.ci_count && unit_by_uuid(g, job->mig_uuid) != u)) {
        return -ESTALE;
    }
    CHECK(u->is_ours); /* law 1 */
    if (u->gi.process_count) {
        return -EBUSY;
    }
    if (failure) {
        if (chance(m, 3)) {
            for (unsigned b = 0; b < m->book_count; b++) {
                for (unsigned i = 0; i < m->book[b].part_count; i++) {
                    CHECK(m->book[b].part[i].serial != u->serial || m->book[b].is_ended ||
                          m->book[b].is_broken); /* law 1 */
                }
            }
            u->gi.ci_count = 0; /* half-way */
        }
        return failure;
    }
    drop_unit(m, g, u, true);
    return 0;
}

static int hw_create_ci(struct machine *m, struct machine_gpu *g, const struct pool_job *job,
                        struct pool_job_result *r, int failure)
{
    struct unit *u = unit_at(g, job->start);
    unsigned used = 0;

    if (!u || u->gi.profile_id != job->profile_id) {
        CHECK(g->is_disturbed);
        return u ? -ESTALE : -ENOENT;
    }
    int p = mig_profile_by_id(&g->geometry, u->gi.profile_id);
    unsigned all = g->geometry.profiles[p].slices, wants = job->ci_slices ? job->ci_slices : all;
    for (unsigned c = 0; c < u->gi.ci_count; c++) {
        used += u->gi.ci[c].size;
    }
    if (failure || used + wants > all || u->gi.ci_count == MIG_MAX_COMPUTE) {
        CHECK(failure || g->is_disturbed);
        return failure ? failure : -ENOSPC;
    }
    add_ci(m, g, u, job->ci_slices);
    r->has_instance = true;
    r->instance = u->gi;
    return 0;
}

static int hw_check(struct machine_gpu *g, const struct pool_job *job, struct pool_job_result *r)
{
    struct unit *u = unit_at(g, job->start);

    if (!job->slice) {
        r->processes = g->processes;
        return 0;
    }
    if (!u) {
        return -ENOENT;
    }
    if (u->gi.profile_id != job->profile_id || unit_by_uuid(g, job->mig_uuid) != u) {
        return -ESTALE;
    }
    r->has_instance = true;
    r->instance = u->gi;
    r->processes = u->gi.process_count;
    return 0;
}

static int hw_mode(struct machine_gpu *g, const struct pool_job *job, struct pool_job_result *r)
{
    r->is_mig_enabled = r->is_mig_pending = g->is_mig_enabled;
    if (g->is_mig_enabled == job->is_mig_enabled) {
        return 0;
    }
    if (g->processes || (!job->is_mig_enabled && g->unit_count)) {
        return -EBUSY;
    }
    g->is_mig_enabled = r->is_mig_enabled = r->is_mig_pending = job->is_mig_enabled;
    return 0;
}

static void hw_scan(const struct machine_gpu *g, struct mig_scan *scan)
{
    *scan = (struct mig_scan){.is_mig_enabled = g->is_mig_enabled,
                              .is_mig_pending = g->is_mig_enabled, .has_processes = true,
                              .process_count = g->processes};
    for (unsigned start = 0; start < MIG_SLOTS_MAX; start++) {
        for (unsigned i = 0; i < g->unit_count; i++) {
            if (g->unit[i].gi.start == start) {
                scan->instances[scan->instance_count++] = g->unit[i].gi;
            }
        }
    }
}

/* The worker takes its oldest job; the result waits to be fetched. */
static bool execute(struct machine *m, struct machine_gpu *g)
{
    static const int codes[] = {-EBUSY, -ENOSPC, -EIO, -ETIMEDOUT, -EACCES};

    if (!g->job_count || g->is_hung || g->result_count == JOBS_MAX) {
        return false;
    }
    struct pool_job job = g->job[0];
    memmove(&g->job[0], &g->job[1], --g->job_count * sizeof(job));
    unsigned at = g->result_count++;
    struct pool_job_result *r = &g->result[at];
    int failure = !m->is_calm && chance(m, 10) ? codes[draw(m, 5)] : 0;
    *r = (struct pool_job_result){.job = job, .driver_us = 1000 + draw(m, 100000)};
    if (g->is_lost) {
        r->code = -ENODEV;
    } else if (job.kind == POOL_JOB_CREATE) {
        r->code = hw_create(m, g, &job, r, failure);
    } else if (job.kind == POOL_JOB_DESTROY) {
        r->code = hw_destroy(m, g, &job, failure);
    } else if (job.kind == POOL_JOB_CREATE_CI) {
        r->code = hw_create_ci(m, g, &job, r, failure);
    } else if (failure) {
        r->code = failure;
    } else if (job.kind == POOL_JOB_CHECK) {
        r->code = hw_check(g, &job, r);
    } else if (job.kind == POOL_JOB_MIG_MODE) {
        r->code = hw_mode(g, &job, r);
    } else {
        hw_scan(g, &g->scan[at]);
    }
    if (r->code) {
        snprintf(r->message, sizeof(r->message), "the driver says %d \xc3\xa9", -r->code);
    }
    return true;
}

/* --- one step of the pool --------------------------------------------------------------------- */

static struct book *find_book(struct machine *m, uint64_t id)
{
    for (unsigned i = m->book_count; i-- > 0;) {
        if (m->book[i].id == id) {
            return &m->book[i];
        }
    }
    return NULL;
}

static struct book *book_for(struct machine *m, uint64_t id)
{
    struct book *b = find_book(m, id);

    if (!b) {
        if (m->book_count == m->book_size) {
            m->book_size = m->book_size ? 2 * m->book_size : 64;
            m->book = xreallocarray(m->book, m->book_size, sizeof(*m->book));
        }
        b = &m->book[m->book_count++];
        *b = (struct book){.id = id};
    }
    return b;
}

static void snapshot_grant(struct machine *m, uint64_t id, struct book *ret)
{
    const struct pool_lease *l = pool_find_lease(m->pool, id);

    *ret = (struct book){.id = id, .is_granted = true};
    if (!l || l->state != POOL_LEASE_ACTIVE) {
        ret->is_ended = true; /* granted and ended in one step: nobody was told */
        return;
    }
    CHECK(l->part_count == l->count);
    for (unsigned i = 0; i < TENANTS; i++) {
        ret->tenant = !strcmp(tenants[i], l->tenant->name) ? i : ret->tenant;
    }
    for (unsigned i = 0; i < l->part_count; i++) {
        const struct pool_part *p = &l->part[i];
        ret->part[i].gpu = p->gpu->id;
        if (p->slice) {
            struct unit *u = unit_by_uuid(&m->gpu[p->gpu->id], p->slice->ci[p->ci].mig_uuid);
            text_copy(ret->part[i].mig_uuid, MIG_UUID_SIZE, p->slice->ci[p->ci].mig_uuid);
            CHECK(p->slice->ci[p->ci].mig_uuid[0]);
            CHECK(u || m->gpu[p->gpu->id].is_disturbed);
            ret->part[i].serial = u ? u->serial : UINT64_MAX;
            ret->is_broken = ret->is_broken || !u;
        }
        ret->part_count++;
    }
}

/* Law 1, when the pool says it: not what a lease has, not what is not ours, not what it was told is
 * in use. */
static void check_job(struct machine *m, const struct pool_job *job)
{
    struct machine_gpu *g = &m->gpu[job->gpu];
    const struct pool_gpu *pg = pool_gpu(m->pool, job->gpu);

    CHECK(pg->health == POOL_HEALTH_OK || job->kind == POOL_JOB_CHECK || job->kind == POOL_JOB_SCAN);
    if (job->kind == POOL_JOB_MIG_MODE) {
        CHECK(g->policy == POOL_MIG_ON_DEMAND && g->is_managed && !pg->lease);
    }
    if (job->kind == POOL_JOB_CREATE || job->kind == POOL_JOB_DESTROY) {
        CHECK(g->is_managed && pg->is_scanned);
    }
    if (job->kind != POOL_JOB_DESTROY) {
        return;
    }
    for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
         l = pool_next_lease(m->pool, l)) {
        for (unsigned i = 0; i < l->part_count; i++) {
            CHECK(!l->part[i].slice || l->part[i].slice->id != job->slice);
        }
    }
    for (unsigned i = 0; i < m->doomed_count; i++) {
        if (m->doomed[i] == job->slice) {
            return;
        }
    }
    if (m->doomed_count == m->doomed_size) {
        m->doomed_size = m->doomed_size ? 2 * m->doomed_size : 64;
        m->doomed = xreallocarray(m->doomed, m->doomed_size, sizeof(*m->doomed));
    }
    m->doomed[m->doomed_count++] = job->slice;
    struct unit *u = unit_at(g, job->start);
    if (u && u->is_ours && unit_by_uuid(g, job->mig_uuid) == u) {
        CHECK(!u->told);
    }
}

static void take_batch(struct machine *m)
{
    struct batch *b = &m->batch[m->batch_count++];
    struct pool_record rec, other;

    *b = (struct batch){0};
    while (pool_next_dirty(m->pool, &rec)) {
        CHECK(pool_next_dirty(m->twin, &other));
        CHECK(rec.kind == other.kind && rec.id == other.id && !rec.body == !other.body &&
              (!rec.body || !strcmp(rec.body, other.body)));
        free(other.body);
        CHECK(!rec.body || strlen(rec.body) > 2);
        b->record = xreallocarray(b->record, b->record_count + 1, sizeof(*b->record));
        b->record[b->record_count++] = rec;
    }
    CHECK(!pool_is_dirty(m->twin) && !pool_is_dirty(m->pool));
    CHECK(m->actions.count == m->twin_actions.count);
    CHECK(!m->actions.count || !memcmp(m->actions.action, m->twin_actions.action,
                                       m->actions.count * sizeof(*m->actions.action)));
    b->action_count = m->actions.count;
    b->action = xcalloc(m->actions.count + 1, sizeof(*b->action));
    if (m->actions.count) {
        memcpy(b->action, m->actions.action, m->actions.count * sizeof(*b->action));
    }
    m->has_reply = false;
    for (unsigned i = 0; i < b->action_count; i++) {
        const struct pool_action *a = &b->action[i];
        if (a->kind == POOL_DO_HISTORY && a->history == POOL_HIST_LEASE_GRANTED) {
            b->grant = xreallocarray(b->grant, b->grant_count + 1, sizeof(*b->grant));
            snapshot_grant(m, a->lease, &b->grant[b->grant_count++]);
        } else if (a->kind == POOL_DO_JOB) {
            check_job(m, &a->job);
        } else if (a->kind == POOL_DO_REPLY) {
            CHECK(!m->has_reply && a->reply_to == m->next_cookie);
            CHECK(a->answer == POOL_OK || a->text[0]);
            m->reply = *a;
            m->has_reply = true;
            b->is_adoption = m->adopting_serial && a->answer == POOL_OK;
            b->is_adopted = m->is_adopting;
            b->adopted_serial = m->adopting_serial;
        }
    }
    m->actions.count = m->twin_actions.count = 0;
}

static void store(struct machine *m, struct pool_record *rec)
{
    unsigned i = 0;

    while (i < m->db_count && !(m->db[i].kind == rec->kind && m->db[i].id == rec->id)) {
        i++;
    }
    if (!rec->body) {
        if (i < m->db_count) {
            free(m->db[i].body);
            m->db[i] = m->db[--m->db_count];
        }
        return;
    }
    if (i == m->db_count) {
        if (m->db_count == m->db_size) {
            m->db_size = m->db_size ? 2 * m->db_size : 64;
            m->db = xreallocarray(m->db, m->db_size, sizeof(*m->db));
        }
        m->db[m->db_count++] = (struct stored){rec->kind, rec->id, NULL};
    }
    free(m->db[i].body);
    m->db[i].body = TAKE_PTR(rec->body);
}

static void history_seen(struct machine *m, const struct pool_action *a)
{
    bool is_end = a->history >= POOL_HIST_LEASE_RELEASED && a->history <= POOL_HIST_LEASE_LOST;

    CHECK(a->text[0]);
    if (is_end) {
        struct book *b = book_for(m, a->lease);
        CHECK(!b->is_ended || !b->is_granted);
        CHECK(a->history != POOL_HIST_LEASE_LOST || b->is_broken);
        b->is_ended = true;
    }
    m->seen_lost += a->history == POOL_HIST_LEASE_LOST;
    m->seen_granted += a->history == POOL_HIST_LEASE_GRANTED;
    m->seen_rejected += a->history == POOL_HIST_LEASE_REJECTED;
    m->seen_expired += a->history == POOL_HIST_LEASE_EXPIRED;
    m->foreign_seen += a->history == POOL_HIST_SLICE_FOREIGN;
    m->quarantined += a->history == POOL_HIST_SLICE_QUARANTINED;
    m->ops_done += a->history == POOL_HIST_OPERATION_DONE;
    m->ops_failed += a->history == POOL_HIST_OPERATION_FAILED;
    m->modes += a->history == POOL_HIST_GPU_MODE;
}

static void note_grant(struct machine *m, const struct book *grant)
{
    struct book *b = book_for(m, grant->id);

    if (grant->is_ended) {
        return;
    }
    CHECK(!b->is_ended);
    *b = *grant;
    for (unsigned i = 0; i < b->part_count; i++) {
        struct unit *u = b->part[i].serial ? unit_by_serial(m, b->part[i].serial) : NULL;
        if (!b->part[i].serial) {
            continue;
        }
        if (!u) {
            b->is_broken = true;
            continue;
        }
        CHECK(!u->user[0] || !strcmp(u->user, tenants[b->tenant])); /* law 6 */
        text_copy(u->user, sizeof(u->user), tenants[b->tenant]);
    }
}

static void free_batch(struct batch *b)
{
    for (unsigned i = 0; i < b->record_count; i++) {
        free(b->record[i].body);
    }
    free(b->record);
    free(b->action);
    free(b->grant);
}

/* The transaction of the oldest step, and then its actions, of which a crash leaves the first few. */
static void commit_one(struct machine *m, unsigned action_limit)
{
    struct batch b = m->batch[0];

    memmove(&m->batch[0], &m->batch[1], --m->batch_count * sizeof(b));
    for (unsigned i = 0; i < b.record_count; i++) {
        store(m, &b.record[i]);
    }
    for (unsigned i = 0; i < b.grant_count; i++) {
        note_grant(m, &b.grant[i]);
    }
    struct unit *u = b.is_adoption ? unit_by_serial(m, b.adopted_serial) : NULL;
    if (u) {
        u->is_ours = b.is_adopted;
        u->user[0] = '\0';
        if (b.is_adopted) {
            text_copy(u->user, sizeof(u->user), "(nobody may have it as it is)");
        }
    }
    for (unsigned i = 0; i < b.action_count; i++) {
        const struct pool_action *a = &b.action[i];
        if (a->kind == POOL_DO_HISTORY) {
            history_seen(m, a); /* recorded with the transaction */
        } else if (a->kind == POOL_DO_JOB && i < action_limit) {
            struct machine_gpu *g = &m->gpu[a->job.gpu];
            CHECK(g->job_count < JOBS_MAX);
            g->job[g->job_count++] = a->job;
        }
    }
    free_batch(&b);
}

static void commit_some(struct machine *m)
{
    while (m->batch_count && (m->is_calm || m->batch_count == BATCHES_MAX || !chance(m, 4))) {
        commit_one(m, UINT_MAX);
    }
}

static void check_now(struct machine *m);

static void trace(const struct machine *m, const struct pool_event *e)
{
    static const char *const events[POOL_EV_COUNT] = {
        "tick", "result", "health", "xid", "scan", "request", "release", "renew", "holder gone",
        "apply", "adopt", "disown"};

    printf("%u %s", m->step, events[e->kind]);
    if (e->result) {
        printf(" %s job %" PRIu64 " gpu %u slice %" PRIu64 " code %d%s",
               pool_job_name(e->result->job.kind), e->result->job.id, e->result->job.gpu,
               e->result->job.slice, e->result->code, e->result->has_instance ? " there" : "");
    }
    if (e->request) {
        printf(" %u x %s by %s", e->request->count, e->request->profile, e->actor.tenant);
    }
    printf("  gpu %u start %u lease %" PRIu64 " health %d\n", e->gpu, e->start, e->lease,
           (int)e->health);
    for (unsigned i = 0; i < m->actions.count; i++) {
        const struct pool_action *a = &m->actions.action[i];
        if (a->kind == POOL_DO_JOB) {
            printf("    job %" PRIu64 " %s gpu %u slice %" PRIu64 " at %u+%u %s\n", a->job.id,
                   pool_job_name(a->job.kind), a->job.gpu, a->job.slice, a->job.start, a->job.size,
                   a->job.mig_uuid);
        } else if (a->kind == POOL_DO_REPLY) {
            printf("    reply %d l-%" PRIu64 " %s\n", (int)a->answer, a->lease, a->text);
        } else if (a->kind == POOL_DO_HISTORY) {
            printf("    %s gpu %d l-%" PRIu64 " %s\n", pool_history_name(a->history), a->gpu,
                   a->lease, a->text);
        }
    }
}

static void step(struct machine *m, struct pool_event *e)
{
    e->now_ms = m->now_ms;
    pool_step(m->pool, e, &m->actions);
    pool_step(m->twin, e, &m->twin_actions);
    if (m->is_traced) {
        trace(m, e);
    }
    take_batch(m);
    m->adopting_serial = 0;
    commit_some(m);
    check_now(m);
}

static bool deliver(struct machine *m, struct machine_gpu *g)
{
    if (!g->result_count) {
        return false;
    }
    struct pool_job_result r = g->result[0];
    struct mig_scan scan = g->scan[0];
    g->result_count--;
    memmove(&g->result[0], &g->result[1], g->result_count * sizeof(r));
    memmove(&g->scan[0], &g->scan[1], g->result_count * sizeof(scan));
    r.scan = r.job.kind == POOL_JOB_SCAN && !r.code ? &scan : NULL;
    for (unsigned i = 0; r.scan && i < scan.instance_count; i++) {
        struct unit *u = unit_at(g, scan.instances[i].start);
        if (u && scan.instances[i].ci_count && unit_by_uuid(g, scan.instances[i].ci[0].mig_uuid) == u) {
            u->told = scan.instances[i].process_count;
        }
    }
    if (r.job.kind == POOL_JOB_CHECK && !r.code && r.has_instance) {
        struct unit *u = unit_by_uuid(g, r.job.mig_uuid);
        if (u) {
            u->told = r.processes;
        }
    }
    step(m, &(struct pool_event){.kind = POOL_EV_RESULT, .result = &r});
    return true;
}

/* --- the laws ----------------------------------------------------------------------------------*/

static void check_slices(struct machine *m, const struct pool_gpu *gpu)
{
    uint16_t staying = 0, to_come = 0;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        uint16_t mask = (uint16_t)(((1u << s->size) - 1) << s->start);
        bool is_going = s->state == POOL_SLICE_DESTROYING || s->state == POOL_SLICE_QUARANTINED;
        CHECK(s->gpu == gpu && (!i || gpu->slices[i - 1]->start <= s->start));
        if (s->profile >= 0) {
            CHECK(gpu->geometry->start_mask[s->profile] >> s->start & 1);
        }
        if (s->state == POOL_SLICE_CREATING && !s->job) {
            CHECK(!(to_come & mask));
            to_come |= mask;
        } else if (!is_going) {
            CHECK(!(staying & mask) || m->gpu[gpu->id].is_disturbed);
            staying |= mask;
        }
        for (unsigned c = 0; c < s->ci_count; c++) {
            const struct pool_lease *l = s->ci[c].lease ? pool_find_lease(m->pool, s->ci[c].lease)
                                                        : NULL;
            bool is_named = false;
            CHECK(!s->ci[c].lease || l);
            for (unsigned k = 0; l && k < l->part_count; k++) {
                is_named = is_named || (l->part[k].slice == s && l->part[k].ci == c);
            }
            CHECK(!l || is_named);
            CHECK(!l || s->state == POOL_SLICE_LEASED || s->state == POOL_SLICE_CREATING);
            CHECK(!l || !s->tenant[0] || !strcmp(s->tenant, l->tenant->name)); /* law 6 */
        }
    }
    CHECK(!(to_come & staying) || m->gpu[gpu->id].is_disturbed);
}

static void check_lease(struct machine *m, const struct pool_lease *l)
{
    bool has_parts = l->state == POOL_LEASE_CUTTING || l->state == POOL_LEASE_ACTIVE ||
                     l->state == POOL_LEASE_RELEASING;
    const struct book *b = find_book(m, l->id);

    CHECK(l->is_queued == (l->state == POOL_LEASE_QUEUED));
    CHECK(l->part_count == (has_parts ? l->count : 0));
    CHECK(!pool_lease_is_ended(l->state) || l->ended_ms);
    CHECK(!b || !b->is_ended || pool_lease_is_ended(l->state));
    for (unsigned i = 0; i < l->part_count; i++) {
        const struct pool_part *p = &l->part[i];
        if (p->slice) {
            CHECK(p->ci < p->slice->ci_count && p->slice->ci[p->ci].lease == l->id);
            CHECK(l->state == POOL_LEASE_CUTTING || p->slice->ci[p->ci].is_settled);
        } else {
            CHECK(p->gpu->lease == l->id);
        }
        if (b && b->is_granted && l->state != POOL_LEASE_CUTTING) {
            CHECK(b->part[i].gpu == p->gpu->id); /* law 2 */
            CHECK(!p->slice || !strcmp(b->part[i].mig_uuid, p->slice->ci[p->ci].mig_uuid));
        }
    }
    if (l->state == POOL_LEASE_QUEUED && m->step % 16 == 0) {
        pool_explain(m->pool, l, m->now_ms, m->why);
        CHECK(m->why->reason[0]); /* law 4 */
    }
}

static void check_tenants(struct machine *m)
{
    for (unsigned t = 0; t < TENANTS; t++) {
        unsigned queued = 0, slots = 0;
        const struct pool_tenant *tenant = NULL;
        for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
             l = pool_next_lease(m->pool, l)) {
            if (strcmp(l->tenant->name, tenants[t]) != 0) {
                continue;
            }
            tenant = l->tenant;
            queued += l->is_queued;
            for (unsigned i = 0; i < l->part_count; i++) {
                const struct pool_part *p = &l->part[i];
                slots += p->slice ? p->slice->ci[p->ci].compute_slots
                                  : (p->gpu->geometry ? p->gpu->geometry->slices : 1);
            }
        }
        if (tenant) {
            CHECK(tenant->queued == queued && tenant->compute_slots == slots);
            CHECK(!tenant->max_compute || slots <= tenant->max_compute);
        }
    }
}

static void check_now(struct machine *m)
{
    for (unsigned i = 0; i < pool_gpu_count(m->pool); i++) {
        const struct pool_gpu *gpu = pool_gpu(m->pool, i);
        check_slices(m, gpu);
        CHECK(!gpu->lease || pool_find_lease(m->pool, gpu->lease));
    }
    for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
         l = pool_next_lease(m->pool, l)) {
        check_lease(m, l);
    }
    check_tenants(m);
    for (unsigned i = 0; i < m->book_count; i++) {
        CHECK(m->book[i].is_ended || pool_find_lease(m->pool, m->book[i].id));
    }
}

/* --- events ----------------------------------------------------------------------------------- */

static struct pool_actor actor_of(unsigned tenant, enum pool_role role)
{
    return (struct pool_actor){.tenant = tenants[tenant], .role = role, .uid = 1000 + tenant,
                               .limits = &tenant_limits[tenant]};
}

static const char *random_profile(struct machine *m)
{
    static const char *const names[] = {
        "1g", "1g", "2g", "3g", "4g", "7g", "gpu", "memory=9GiB", "memory=20GiB,compute=2", "1g+me",
        "1c.3g.40gb", "1c.2g.20gb", "2c.4g.40gb", "1c.7g.80gb", "1g.24gb+me.all", "1g.24gb-me",
        "2g.48gb+gfx", "1c.3g.20gb"};
    static char text[64];

    if (chance(m, 2)) {
        return names[draw(m, sizeof(names) / sizeof(*names))];
    }
    struct machine_gpu *g = &m->gpu[draw(m, m->gpu_count)];
    if (!g->has_geometry) {
        return "gpu";
    }
    text_copy(text, sizeof(text),
              g->geometry.profiles[draw(m, g->geometry.profile_count)].name);
    return text;
}

static void request(struct machine *m)
{
    struct pool_request r = {.profile = random_profile(m), .count = 1};
    unsigned tenant = draw(m, TENANTS);
    char key[16];

    if (mig_want_parse(r.profile, &r.want, NULL) < 0) {
        return;
    }
    r.count = chance(m, 4) ? 1 + draw(m, 5) : 1;
    r.ttl_ms = chance(m, 3) ? 0 : 1000 + draw(m, 60000);
    r.priority = (int)draw(m, 5) - 2;
    r.must_not_wait = chance(m, 6);
    r.is_movable = chance(m, 5);
    r.name = chance(m, 5) ? "n\xc3\xa4me" : NULL;
    r.model = chance(m, 10) ? "A100" : NULL;
    r.holder_pid = chance(m, 8) ? 4711 : 0;
    if (chance(m, 8)) {
        snprintf(key, sizeof(key), "k%u", draw(m, 6));
        r.idempotency_key = key;
        r.request_hash = draw(m, 2);
    }
    struct pool_actor actor = actor_of(tenant, POOL_ROLE_TENANT);
    bool has_preview = !r.idempotency_key && chance(m, 3), is_fitting = false;
    if (has_preview) {
        pool_preview(m->pool, &actor, &r, 1, m->now_ms, m->preview);
        is_fitting = m->preview->is_fitting;
        struct pool_preview *other = xcalloc(1, sizeof(*other)); /* the same again */
        pool_preview(m->pool, &actor, &r, 1, m->now_ms, other);
        CHECK(other->is_fitting == is_fitting && other->step_count == m->preview->step_count &&
              !memcmp(other->step, m->preview->step, sizeof(other->step)));
        free(other);
    }
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &r, .actor = actor,
                           .reply_to = ++m->next_cookie};
    uint64_t before = 0;
    for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
         l = pool_next_lease(m->pool, l)) {
        before = l->id;
    }
    step(m, &e);
    CHECK(m->has_reply);
    const struct pool_lease *l = m->reply.lease ? pool_find_lease(m->pool, m->reply.lease) : NULL;
    if (m->reply.answer != POOL_OK || !l || l->id <= before) {
        CHECK(!has_preview || !is_fitting);
        return;
    }
    CHECK(l->state != POOL_LEASE_QUEUED || l->tenant->queued <= l->tenant->max_queued);
    CHECK(l->state != POOL_LEASE_QUEUED || !r.must_not_wait);
    if (has_preview) {
        CHECK(is_fitting == (l->state != POOL_LEASE_QUEUED));
        for (unsigned i = 0; is_fitting && i < l->part_count; i++) {
            CHECK(m->preview->step[i].gpu == l->part[i].gpu);
            CHECK(!l->part[i].slice || m->preview->step[i].start == l->part[i].slice->start);
        }
    }
}

static const struct pool_lease *random_lease(struct machine *m)
{
    unsigned n = 0, pick = 0;
    const struct pool_lease *l = NULL;

    for (l = pool_next_lease(m->pool, NULL); l; l = pool_next_lease(m->pool, l)) {
        n++;
    }
    pick = n ? draw(m, n) : 0;
    for (l = pool_next_lease(m->pool, NULL); l && pick; l = pool_next_lease(m->pool, l)) {
        pick--;
    }
    return l;
}

static void release_or_renew(struct machine *m, enum pool_event_kind kind)
{
    const struct pool_lease *l = random_lease(m);
    unsigned tenant = draw(m, TENANTS);
    enum pool_role role = (enum pool_role)draw(m, POOL_ROLE_COUNT);

    if (!l) {
        return;
    }
    bool is_own = !strcmp(l->tenant->name, tenants[tenant]) && role >= POOL_ROLE_TENANT;
    bool may = is_own || role == POOL_ROLE_OPERATOR, was_ended = pool_lease_is_ended(l->state);
    struct pool_event e = {.kind = kind, .lease = l->id, .actor = actor_of(tenant, role),
                           .reply_to = ++m->next_cookie, .ttl_ms = chance(m, 4) ? 0 : draw(m, 90000)};
    step(m, &e);
    CHECK(m->has_reply);
    CHECK(may || m->reply.answer == POOL_FORBIDDEN);
    CHECK(!may || !was_ended || m->reply.answer == POOL_ALREADY_ENDED);
    CHECK(!may || was_ended || m->reply.answer == POOL_OK || kind == POOL_EV_RENEW);
}

static void want(struct pool_target *t, int profile, int ci_profile, unsigned count)
{
    for (unsigned i = 0; i < t->want_count; i++) {
        if (t->want[i].profile == profile && t->want[i].ci_profile == ci_profile) {
            t->want[i].count += count;
            return;
        }
    }
    t->want[t->want_count].profile = profile;
    t->want[t->want_count].ci_profile = ci_profile;
    t->want[t->want_count++].count = count;
}

/* What is in use stays, so that not every apply is refused. */
static void want_used(const struct pool_gpu *gpu, struct pool_target *t)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (s->state != POOL_SLICE_IDLE && s->state != POOL_SLICE_DESTROYING && s->profile >= 0) {
            want(t, s->profile, s->ci_count > 1 ? s->ci[0].profile : MIG_PROFILE_NONE,
                 s->ci_count > 1 ? s->ci_count : 1);
        }
    }
}

static void apply(struct machine *m)
{
    struct pool_target target[GPUS_MAX] = {0};
    unsigned count = 0, total = 0;

    for (unsigned i = 0; i < m->gpu_count; i++) {
        struct machine_gpu *g = &m->gpu[i];
        if (!g->has_geometry || chance(m, 2)) {
            continue;
        }
        struct pool_target *t = &target[count++];
        t->gpu = i;
        t->is_mig_enabled = g->is_mig_enabled ? !chance(m, 6) : chance(m, 2);
        if (t->is_mig_enabled && g->is_mig_enabled && !chance(m, 4)) {
            want_used(pool_gpu(m->pool, i), t);
        }
        for (unsigned k = draw(m, 3); t->is_mig_enabled && k > 0; k--) {
            int p = (int)draw(m, g->geometry.profile_count);
            want(t, p, chance(m, 4) ? (int)draw(m, g->geometry.profiles[p].compute_count)
                                    : MIG_PROFILE_NONE, 1 + (chance(m, 3) ? draw(m, 3) : 0));
        }
    }
    struct pool_event e = {.kind = POOL_EV_APPLY, .targets = target, .target_count = count,
                           .is_dry_run = chance(m, 4), .reply_to = ++m->next_cookie,
                           .actor = actor_of(0, chance(m, 6) ? POOL_ROLE_TENANT
                                                             : POOL_ROLE_OPERATOR)};
    step(m, &e);
    CHECK(m->has_reply);
    if (m->reply.answer == POOL_IN_USE) {
        CHECK(pool_last_explanation(m->pool)->reason[0]);
    }
    pool_last_changes(m->pool, &total);
}

static void adopt(struct machine *m)
{
    unsigned i = draw(m, m->gpu_count);
    struct machine_gpu *g = &m->gpu[i];
    struct unit *u = g->unit_count ? &g->unit[draw(m, g->unit_count)] : NULL;
    bool is_adopt = chance(m, 2);

    if (!u) {
        return;
    }
    const struct pool_slice *s = pool_slice_at(pool_gpu(m->pool, i), u->gi.start);
    if (!s || !u->gi.ci_count || !s->ci_count || strcmp(s->ci[0].mig_uuid, u->gi.ci[0].mig_uuid)) {
        return; /* what the operator sees is not what is there */
    }
    m->adopting_serial = u->serial;
    m->is_adopting = is_adopt;
    struct pool_event e = {.kind = is_adopt ? POOL_EV_ADOPT : POOL_EV_DISOWN, .gpu = i,
                           .start = u->gi.start, .reply_to = ++m->next_cookie,
                           .actor = actor_of(0, chance(m, 4) ? POOL_ROLE_TENANT
                                                             : POOL_ROLE_OPERATOR)};
    step(m, &e);
    CHECK(m->has_reply);
}

/* Somebody with root and nvidia-smi. */
static void cut_by_hand(struct machine *m)
{
    unsigned i = draw(m, m->gpu_count);
    struct machine_gpu *g = &m->gpu[i];
    const struct pool_gpu *pg = pool_gpu(m->pool, i);
    struct mig_use use;

    if (!g->has_geometry || !g->is_mig_enabled || !pg->is_scanned || g->is_lost || g->is_hung ||
        m->batch_count) {
        return;
    }
    use = hardware_use(g);
    int p = (int)draw(m, g->geometry.profile_count);
    const struct mig_profile *q = &g->geometry.profiles[p];
    unsigned start = q->start_count ? q->starts[draw(m, q->start_count)] : 0;
    for (unsigned k = 0; k < pg->slice_count; k++) {
        const struct pool_slice *s = pg->slices[k];
        bool has_uuid = s->ci_count && s->ci[0].is_settled && s->ci[0].mig_uuid[0];
        if (s->start == start && (!has_uuid || s->job)) {
            return; /* nothing tells the two apart: nobody could get that right */
        }
    }
    if (mig_fits(&g->geometry, &use, p, (int)start)) {
        struct unit *u = add_unit(m, g, q->id, start, q->size, false);
        add_ci(m, g, u, 0);
        if (m->is_traced) {
            printf("%u by hand: %s at GPU %u:%u %s\n", m->step, q->name, i, start,
                   u->gi.ci[0].mig_uuid);
        }
        g->is_disturbed = true;
        if (chance(m, 2)) {
            step(m, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = i});
        }
    }
}

static void destroy_by_hand(struct machine *m)
{
    unsigned i = draw(m, m->gpu_count);
    struct machine_gpu *g = &m->gpu[i];

    if (!g->unit_count || g->is_lost) {
        return;
    }
    struct unit *u = &g->unit[draw(m, g->unit_count)];
    if (u->gi.process_count || !u->gi.ci_count) {
        return;
    }
    if (m->is_traced) {
        printf("%u by hand: destroyed GPU %u:%u\n", m->step, i, u->gi.start);
    }
    drop_unit(m, g, u, false);
    g->is_disturbed = true;
    if (chance(m, 2)) {
        step(m, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = i});
    }
}

static void processes(struct machine *m)
{
    struct machine_gpu *g = &m->gpu[draw(m, m->gpu_count)];

    if (!g->is_mig_enabled) {
        g->processes = chance(m, 2) ? 0 : draw(m, 2);
        return;
    }
    if (!g->unit_count) {
        return;
    }
    struct unit *u = &g->unit[draw(m, g->unit_count)];
    if (!u->gi.ci_count) {
        return;
    }
    struct mig_compute *ci = &u->gi.ci[draw(m, u->gi.ci_count)];
    bool is_leased = false;
    for (unsigned b = 0; b < m->book_count; b++) {
        for (unsigned k = 0; k < m->book[b].part_count && !m->book[b].is_ended; k++) {
            is_leased = is_leased || !strcmp(m->book[b].part[k].mig_uuid, ci->mig_uuid);
        }
    }
    if (ci->process_count || is_leased || !u->is_ours) {
        ci->process_count = chance(m, 2) ? 0 : draw(m, 3);
        count_processes(&u->gi);
    }
}

static void trouble(struct machine *m)
{
    unsigned i = draw(m, m->gpu_count);
    struct machine_gpu *g = &m->gpu[i];

    if (g->is_hung || g->is_lost) {
        bool was_lost = g->is_lost;
        g->is_hung = g->is_lost = false;
        if (was_lost) {
            step(m, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = i, .health = POOL_HEALTH_OK});
        }
    } else if (chance(m, 2)) {
        g->is_hung = true;
        step(m, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = i, .text = "no answer for 10 s",
                                     .health = POOL_HEALTH_UNRESPONSIVE});
    } else {
        g->is_lost = true;
        if (chance(m, 2)) {
            step(m, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = i, .text = "off the bus",
                                         .health = POOL_HEALTH_LOST});
        }
        if (chance(m, 2)) { /* it comes back empty */
            while (g->unit_count) {
                drop_unit(m, g, &g->unit[0], false);
            }
            g->is_disturbed = true;
        }
    }
}

static void tick(struct machine *m, int64_t ms)
{
    m->now_ms += ms;
    step(m, &(struct pool_event){.kind = POOL_EV_TICK});
    for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
         l = pool_next_lease(m->pool, l)) {
        CHECK(l->state != POOL_LEASE_ACTIVE || !l->expires_ms || l->expires_ms > m->now_ms);
    }
    CHECK(pool_next_deadline_ms(m->pool) > m->now_ms);
}

/* --- start, crash, restart ---------------------------------------------------------------------*/

static struct pool *new_pool(struct machine *m)
{
    struct pool *pool = pool_new(&m->settings);

    for (unsigned i = 0; i < m->gpu_count; i++) {
        struct machine_gpu *g = &m->gpu[i];
        unsigned id = 0;
        g->info.is_mig_enabled = g->info.is_mig_pending = g->is_mig_enabled;
        CHECK(pool_add_gpu(pool, &g->info, g->has_geometry ? &g->geometry : NULL, g->is_managed,
                           g->policy, &id, NULL) == 0);
        CHECK(id == i);
    }
    for (int kind = POOL_RECORD_META; kind <= POOL_RECORD_OPERATION; kind++) {
        static const enum pool_record_kind order[] = {0, POOL_RECORD_META, POOL_RECORD_SLICE,
                                                      POOL_RECORD_LEASE, POOL_RECORD_OPERATION};
        for (uint64_t id = 0, next = 0; id != UINT64_MAX; id = next) {
            next = UINT64_MAX; /* in the order of their numbers, as from a table with a key */
            for (unsigned i = 0; i < m->db_count; i++) {
                struct error err = {0};
                if (m->db[i].kind != order[kind] || m->db[i].id < id) {
                    continue;
                }
                if (m->db[i].id > id) {
                    next = m->db[i].id < next ? m->db[i].id : next;
                } else if (pool_load_record(pool, m->db[i].kind, id, m->db[i].body, &err) < 0) {
                    fail_msg("seed %" PRIu64 " step %u: %s", m->seed, m->step, err.msg);
                }
            }
        }
    }
    return pool;
}

static void start(struct machine *m)
{
    m->pool = new_pool(m);
    m->twin = new_pool(m);
    pool_start(m->pool, m->now_ms, &m->actions);
    pool_start(m->twin, m->now_ms, &m->twin_actions);
    take_batch(m);
    commit_some(m);
    check_now(m);
}

/* Somebody has cut, unseen, the very slice that we were about to make, and then we crashed: nobody
 * can tell that it is not ours. */
static void adopt_ambiguous(struct machine *m, unsigned gpu)
{
    const struct pool_gpu *pg = pool_gpu(m->pool, gpu);

    for (unsigned k = 0; k < pg->slice_count; k++) {
        const struct pool_slice *s = pg->slices[k];
        struct unit *u = unit_at(&m->gpu[gpu], s->start);
        bool has_uuid = s->ci_count && s->ci[0].is_settled && s->ci[0].mig_uuid[0];
        if (u && !u->is_ours && s->state != POOL_SLICE_FOREIGN && !has_uuid &&
            u->gi.profile_id == s->profile_id) {
            u->is_ours = true;
        }
    }
}

static void crash(struct machine *m, bool is_reboot)
{
    unsigned keep = m->batch_count ? draw(m, m->batch_count + 1) : 0;

    m->crashes++;
    for (unsigned i = 0; i < keep; i++) {
        commit_one(m, i + 1 < keep ? UINT_MAX : draw(m, 4));
    }
    for (unsigned i = 0; i < m->batch_count; i++) {
        free_batch(&m->batch[i]);
    }
    m->batch_count = 0;
    for (unsigned i = 0; i < m->gpu_count; i++) {
        struct machine_gpu *g = &m->gpu[i];
        while (chance(m, 2) && execute(m, g)) {
            g->result_count = 0; /* it had its effect, and nobody heard of it */
        }
        g->job_count = g->result_count = 0;
        g->is_hung = g->is_lost = false; /* the new process finds a driver that answers */
        if (is_reboot) {
            m->reboots += !i;
            while (g->unit_count) {
                drop_unit(m, g, &g->unit[0], false);
            }
            g->processes = 0;
            g->is_mig_enabled = g->is_mig_enabled &&
                                !(g->policy == POOL_MIG_ON_DEMAND && chance(m, 3));
        }
        g->is_disturbed = true;
        adopt_ambiguous(m, i);
    }
    m->now_ms += draw(m, 20000);
    if (m->is_traced) {
        printf("%u crash%s\n", m->step, is_reboot ? " and reboot" : "");
    }
    pool_free(m->pool);
    pool_free(m->twin);
    start(m);
}

/* --- calm: what must be true when everything has been done --------------------------------------*/

static void work_off(struct machine *m)
{
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (unsigned i = 0; i < m->gpu_count; i++) {
            is_busy = execute(m, &m->gpu[i]) || is_busy;
            is_busy = deliver(m, &m->gpu[i]) || is_busy;
        }
    }
}

static void check_same_as_hardware(struct machine *m)
{
    for (unsigned i = 0; i < m->gpu_count; i++) {
        struct machine_gpu *g = &m->gpu[i];
        const struct pool_gpu *pg = pool_gpu(m->pool, i);
        CHECK(pg->health == POOL_HEALTH_OK && pg->is_scanned && !pg->wants_scan);
        CHECK(pg->info.is_mig_enabled == g->is_mig_enabled);
        for (unsigned k = 0; k < pg->slice_count; k++) {
            const struct pool_slice *s = pg->slices[k];
            struct unit *u = unit_at(g, s->start);
            CHECK(!s->job && s->state != POOL_SLICE_CREATING);
            CHECK(u && u->gi.profile_id == s->profile_id && u->gi.size == s->size);
            if ((s->state == POOL_SLICE_FOREIGN) != !u->is_ours) { /* law 5 */
                fail_msg("seed %" PRIu64 " step %u: GPU %u slot %u is %s, and is_ours is %d", m->seed,
                         m->step, i, s->start, pool_slice_state_name(s->state), u->is_ours);
            }
            if (s->state == POOL_SLICE_IDLE || s->state == POOL_SLICE_LEASED) {
                CHECK(s->ci_count == u->gi.ci_count && s->gi_id == u->gi.gi_id);
                for (unsigned c = 0; c < s->ci_count; c++) {
                    CHECK(s->ci[c].is_settled && unit_by_uuid(g, s->ci[c].mig_uuid) == u);
                }
            }
        }
        CHECK(pg->slice_count == g->unit_count);
        g->is_disturbed = false;
    }
}

/* Nothing fails any more; GPUs answer; the administrator's cuts are seen. */
static void calm(struct machine *m)
{
    m->is_calm = true;
    for (unsigned i = 0; i < m->gpu_count; i++) {
        m->gpu[i].is_hung = m->gpu[i].is_lost = false;
    }
    work_off(m);
    for (unsigned i = 0; i < m->gpu_count; i++) {
        step(m, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = i, .health = POOL_HEALTH_OK});
    }
    work_off(m);
    for (unsigned i = 0; i < 30; i++) { /* back-offs end */
        tick(m, 30000);
        work_off(m);
    }
    for (unsigned i = 0; i < m->gpu_count; i++) {
        step(m, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = i});
    }
    work_off(m);
    for (unsigned i = 0; i < 5; i++) {
        tick(m, 30000);
        work_off(m);
    }
}

/* Everything that a restart must not change, as text. */
static char *summary(const struct pool *pool)
{
    struct buf b = BUF_INIT(1 << 20);
    buf_addf(&b, "depth %u\n", pool_settings(pool)->backfill_depth);

    for (const struct pool_lease *l = pool_next_lease(pool, NULL); l; l = pool_next_lease(pool, l)) {
        buf_addf(&b, "l%" PRIu64 " %d %s %s %" PRId64 " %" PRId64 " %u %u %" PRId64 ":", l->id,
                 (int)l->state, l->tenant->name, l->profile, l->expires_ms, l->ttl_ms, l->compute_slots,
                 l->count, l->queue_key);
        for (unsigned i = 0; i < l->part_count; i++) {
            buf_addf(&b, " %u/%s", l->part[i].gpu->id,
                     l->part[i].slice ? l->part[i].slice->ci[l->part[i].ci].mig_uuid : "gpu");
        }
        buf_addf(&b, " t%u,%u,%u,%u\n", l->tenant->queued, l->tenant->compute_slots,
                 pool_lease_is_ended(l->state) ? 0 : l->tenant->max_queued,
                 pool_lease_is_ended(l->state) ? 0 : l->tenant->max_compute);
    }
    for (const struct pool_lease *l = pool_next_queued(pool, NULL); l; l = pool_next_queued(pool, l)) {
        buf_addf(&b, "q%" PRIu64 "\n", l->id);
    }
    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        const struct pool_gpu *g = pool_gpu(pool, i);
        buf_addf(&b, "g%u %s lease %" PRIu64 " mig %d managed %d policy %d processes %u wish %d rests %d\n",
                 i, g->info.name, g->lease, g->info.is_mig_enabled, g->is_managed,
                 (int)g->mig_policy, g->processes, g->has_mode_wish,
                 g->cooldown_until_ms > machine->now_ms);
        for (unsigned k = 0; k < g->slice_count; k++) {
            const struct pool_slice *s = g->slices[k];
            buf_addf(&b, "s%" PRIu64 " %d %s %u %s %s p%u", s->state == POOL_SLICE_FOREIGN ? 0 : s->id,
                     (int)s->state, s->profile_name, s->start, s->tenant,
                     s->ci_count ? s->ci[0].mig_uuid : "", s->processes);
            for (unsigned c = 0; c < s->ci_count; c++) {
                buf_addf(&b, " %s=%" PRIu64, s->ci[c].name, s->ci[c].lease);
            }
            buf_addf(&b, "\n");
        }
    }
    return b.data ? b.data : xstrdup("");
}

/* Law 5: what the journal gives is the state. */
static void check_restart(struct machine *m)
{
    char *before = summary(m->pool);

    CHECK(!m->batch_count);
    pool_free(m->pool);
    pool_free(m->twin);
    start(m);
    work_off(m);
    char *after = summary(m->pool);
    if (strcmp(before, after) != 0) {
        fprintf(stderr, "before\n%sinto\n%s", before, after);
        fail_msg("seed %" PRIu64 " step %u: a restart changes the pool", m->seed, m->step);
    }
    free(before);
    free(after);
}

static void check_queue_empties(struct machine *m)
{
    for (unsigned i = 0; i < m->gpu_count; i++) {
        struct machine_gpu *g = &m->gpu[i];
        g->processes = 0;
        for (unsigned k = 0; k < g->unit_count;) {
            struct unit *u = &g->unit[k];
            for (unsigned c = 0; c < u->gi.ci_count; c++) {
                u->gi.ci[c].process_count = 0;
            }
            u->gi.process_count = 0;
            if (u->is_ours) {
                k++;
            } else {
                drop_unit(m, g, u, false);
            }
        }
        g->is_disturbed = true;
        step(m, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = i});
    }
    work_off(m);
    for (unsigned round = 0; round < 400 && pool_next_queued(m->pool, NULL); round++) {
        uint64_t ids[512];
        unsigned n = 0;
        for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l && n < 512;
             l = pool_next_lease(m->pool, l)) {
            if (l->state == POOL_LEASE_ACTIVE) {
                ids[n++] = l->id;
            }
        }
        for (unsigned i = 0; i < n; i++) {
            struct pool_event e = {.kind = POOL_EV_RELEASE, .lease = ids[i],
                                   .actor = actor_of(0, POOL_ROLE_OPERATOR),
                                   .reply_to = ++m->next_cookie};
            step(m, &e);
        }
        work_off(m);
        tick(m, 5000);
        work_off(m);
    }
    const struct pool_lease *head = pool_next_queued(m->pool, NULL);
    if (head) {
        char *all = summary(m->pool);
        pool_explain(m->pool, head, m->now_ms, m->why);
        fputs(all, stderr);
        free(all);
        fail_msg("seed %" PRIu64 " step %u: l-%" PRIu64 " %u x %s of %s waits for ever: %s", m->seed,
                 m->step, head->id, head->count, head->profile, head->tenant->name, m->why->reason);
    }
    for (unsigned id = 1; id < 10000; id++) {
        const struct pool_operation *op = pool_find_operation(m->pool, id);
        CHECK(!op || op->state != POOL_OP_RUNNING);
    }
}

/* --- the run -----------------------------------------------------------------------------------*/

static void add_gpu(struct machine *m)
{
    static const char *const models[] = {"H100-SXM5-80GB", "H100-SXM5-80GB", "A100-SXM4-40GB",
                                         "A30", "RTX-PRO-6000-BSE", "H100-SXM5-80GB", "none"};
    unsigned i = m->gpu_count++;
    struct machine_gpu *g = &m->gpu[i];
    const char *model = models[draw(m, 7)];

    *g = (struct machine_gpu){.is_managed = !chance(m, 10), .is_mig_enabled = !chance(m, 4)};
    g->has_geometry = strcmp(model, "none") != 0;
    g->is_mig_enabled = g->is_mig_enabled && g->has_geometry;
    g->policy = g->has_geometry && strncmp(model, "A", 1) != 0 && chance(m, 2) ? POOL_MIG_ON_DEMAND
                                                                              : POOL_MIG_KEEP;
    g->info = (struct mig_gpu_info){.index = i, .is_healthy = true,
                                    .is_mig_capable = g->has_geometry,
                                    .is_resetless = g->policy == POOL_MIG_ON_DEMAND,
                                    .has_geometry = g->has_geometry};
    snprintf(g->info.uuid, sizeof(g->info.uuid), "GPU-%u", i);
    snprintf(g->info.name, sizeof(g->info.name), "NVIDIA %s", model);
    if (g->has_geometry) {
        CHECK(replay_model_geometry(model, &g->geometry, NULL) == 0);
        for (int p = 0; p < g->geometry.profile_count; p++) {
            world_add_compute(&g->geometry.profiles[p]);
        }
        CHECK(mig_geometry_init(&g->geometry, NULL) == 0);
    }
}

static void episode_begin(struct machine *m)
{
    pool_settings_default(&m->settings);
    m->settings.keep_ended = 10 + draw(m, 40);
    m->settings.max_queued_per_tenant = 8;
    m->settings.max_compute_per_tenant = chance(m, 3) ? 12 : 0;
    m->settings.backfill_depth = chance(m, 4) ? 0 : draw(m, 20);
    m->settings.age_step_ms = chance(m, 3) ? 0 : 60000;
    m->settings.default_ttl_ms = chance(m, 4) ? 30000 : 0;
    m->gpu_count = 0;
    for (unsigned n = 1 + draw(m, GPUS_MAX); n > 0; n--) {
        add_gpu(m);
    }
    m->db_count = m->book_count = m->doomed_count = m->batch_count = 0;
    m->is_calm = false;
    start(m);
}

static void episode_end(struct machine *m)
{
    pool_free(m->pool);
    pool_free(m->twin);
    m->pool = m->twin = NULL;
    for (unsigned i = 0; i < m->db_count; i++) {
        free(m->db[i].body);
    }
    m->db_count = 0;
}

static void random_step(struct machine *m)
{
    struct machine_gpu *g = &m->gpu[draw(m, m->gpu_count)];
    uint32_t what = draw(m, 1000);

    if (what < 330) {
        execute(m, g);
    } else if (what < 600) {
        deliver(m, g);
    } else if (what < 750) {
        request(m);
    } else if (what < 830) {
        release_or_renew(m, chance(m, 4) ? POOL_EV_RENEW : POOL_EV_RELEASE);
    } else if (what < 890) {
        tick(m, chance(m, 10) ? 60000 : draw(m, 2000));
    } else if (what < 920) {
        processes(m);
    } else if (what < 935) {
        apply(m);
    } else if (what < 942) {
        adopt(m);
    } else if (what < 950) {
        cut_by_hand(m);
    } else if (what < 955) {
        destroy_by_hand(m);
    } else if (what < 970) {
        trouble(m);
    } else if (what < 975) {
        crash(m, chance(m, 6));
    } else if (what < 980) {
        const struct pool_lease *l = random_lease(m);
        if (l && l->holder_pid) {
            step(m, &(struct pool_event){.kind = POOL_EV_HOLDER_GONE, .lease = l->id});
        }
    } else {
        step(m, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = draw(m, m->gpu_count)});
    }
}

static void the_laws_hold(void **state)
{
    struct machine *m = machine = xcalloc(1, sizeof(*m));
    const char *seed = getenv("TANGRAM_SEED"), *steps = getenv("TANGRAM_STEPS");
    unsigned count = steps ? (unsigned)strtoul(steps, NULL, 10) : STEPS;

    (void)state;
    m->seed = seed ? strtoull(seed, NULL, 10) : 20261122;
    m->now_ms = 1700000000000;
    m->next_serial = 1;
    m->is_traced = getenv("TANGRAM_TRACE") != NULL;
    m->why = xcalloc(1, sizeof(*m->why));
    m->preview = xcalloc(1, sizeof(*m->preview));
    print_message("TANGRAM_SEED=%" PRIu64 " TANGRAM_STEPS=%u\n", m->seed, count);
    for (unsigned e = 0; m->step < count; e++) {
        replay_random_seed(&m->random, m->seed * 1000003 + e); /* so that a late episode is found again fast */
        episode_begin(m);
        for (unsigned i = 0; i < EPISODE; i++, m->step++) {
            random_step(m);
            if (chance(m, 500)) {
                calm(m);
                check_same_as_hardware(m);
                check_restart(m);
                m->is_calm = false;
            }
        }
        calm(m);
        check_same_as_hardware(m);
        check_queue_empties(m);
        episode_end(m);
    }
    print_message("granted %u, lost %u, rejected %u, expired %u; %u crashes, %u reboots; foreign %u, "
                  "quarantined %u; applies done %u, failed %u; modes %u\n", m->seen_granted,
                  m->seen_lost, m->seen_rejected, m->seen_expired, m->crashes, m->reboots,
                  m->foreign_seen, m->quarantined, m->ops_done, m->ops_failed, m->modes);
    if (count >= STEPS) {
        CHECK(m->seen_granted > 1000 && m->seen_lost > 50 && m->crashes > 100 && m->reboots > 20);
        CHECK(m->ops_done > 10 && m->ops_failed > 2 && m->modes > 20 && m->quarantined > 20);
    }
    free(m->why);
    free(m->preview);
    free(m->db);
    free(m->book);
    free(m->doomed);
    pool_actions_done(&m->actions);
    pool_actions_done(&m->twin_actions);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_laws_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
