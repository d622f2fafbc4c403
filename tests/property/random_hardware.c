/* What the GPUs of the random pool test do with a job, and with an administrator. */
#include "random_world.h"

struct unit *unit_at(struct machine_gpu *g, unsigned start)
{
    for (unsigned i = 0; i < g->unit_count; i++) {
        if (g->unit[i].gi.start == start) {
            return &g->unit[i];
        }
    }
    return NULL;
}

struct unit *unit_by_serial(struct machine *m, uint64_t serial)
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

struct unit *unit_by_uuid(struct machine_gpu *g, const char *uuid)
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

struct mig_use hardware_use(const struct machine_gpu *g)
{
    struct mig_use use = {0};

    for (unsigned i = 0; i < g->unit_count; i++) {
        mig_use_add(&g->geometry, &use, mig_profile_by_id(&g->geometry, g->unit[i].gi.profile_id),
                    g->unit[i].gi.start);
    }
    return use;
}

void count_processes(struct mig_instance *gi)
{
    gi->process_count = 0;
    for (unsigned c = 0; c < gi->ci_count; c++) {
        gi->process_count += gi->ci[c].process_count;
    }
}

void add_ci(struct machine *m, struct machine_gpu *g, struct unit *u, unsigned slices)
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

struct unit *add_unit(struct machine *m, struct machine_gpu *g, uint32_t profile_id,
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

void drop_unit(struct machine *m, struct machine_gpu *g, struct unit *u, bool is_by_us)
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
    bool is_refusal = failure == -EBUSY || failure == -ENOSPC || failure == -EACCES;
    bool is_told = !failure || is_refusal || (failure != -ENODEV && !chance(m, 4));
    if (!failure || (is_told && chance(m, 3))) { /* what could not be undone may be whole */
        add_ci(m, g, u, job->ci_slices);
    }
    /* A driver that fails may be one that cannot be asked what is left. */
    r->has_instance = is_told;
    r->instance = is_told ? u->gi : (struct mig_instance){0};
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
        (job->is_bare && u->gi.ci_count) ||
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
        } else if (chance(m, 3)) {
            drop_unit(m, g, u, true); /* it was done, and the answer says that it was not */
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
        if (failure && used + wants <= all && u->gi.ci_count < MIG_MAX_COMPUTE && chance(m, 4)) {
            add_ci(m, g, u, job->ci_slices); /* it could not be undone */
        }
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

static int hw_mode(struct machine *m, struct machine_gpu *g, const struct pool_job *job,
                   struct pool_job_result *r)
{
    r->is_mig_enabled = g->is_mig_enabled;
    r->is_mig_pending = g->is_mig_pending;
    if (g->is_mig_enabled != job->is_mig_enabled &&
        (g->processes || (!job->is_mig_enabled && g->unit_count))) {
        return -EBUSY;
    }
    g->is_mig_pending = r->is_mig_pending = job->is_mig_enabled;
    if (g->is_mig_enabled != job->is_mig_enabled && !m->is_calm && chance(m, 6)) {
        return -EINPROGRESS; /* with the next reset */
    }
    g->is_mig_enabled = r->is_mig_enabled = job->is_mig_enabled;
    return 0;
}

/* The administrator resets the GPU. */
void reset_gpu(struct machine *m, struct machine_gpu *g)
{
    while (g->unit_count) {
        drop_unit(m, g, &g->unit[0], false);
    }
    g->processes = 0;
    g->is_mig_enabled = g->is_mig_pending;
    g->is_disturbed = true;
}

static void hw_scan(const struct machine_gpu *g, struct mig_scan *scan)
{
    *scan = (struct mig_scan){.is_mig_enabled = g->is_mig_enabled,
                              .is_mig_pending = g->is_mig_pending, .has_processes = true,
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
bool execute(struct machine *m, struct machine_gpu *g)
{
    static const int codes[] = {-EBUSY, -ENOSPC, -EIO, -ETIMEDOUT, -EACCES, -ENOTRECOVERABLE,
                                -ENOMEM, -EAGAIN};

    if (!g->job_count || g->is_hung || g->result_count == JOBS_MAX) {
        return false;
    }
    struct pool_job job = g->job[0];
    memmove(&g->job[0], &g->job[1], --g->job_count * sizeof(job));
    unsigned at = g->result_count++;
    struct pool_job_result *r = &g->result[at];
    int failure = !m->is_calm && chance(m, 10) ? codes[draw(m, ARRAY_SIZE(codes))] : 0;
    *r = (struct pool_job_result){.job = job, .driver_us = 1000 + draw(m, 100000)};
    r->code = g->is_lost ? -ENODEV : 0;
    if (g->is_lost) {
        struct pool_job_result unheard = {0};
        if (job.kind == POOL_JOB_CREATE) {
            hw_create(m, g, &job, &unheard, r->code); /* begun, and it may come back with it */
        }
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
        r->code = hw_mode(m, g, &job, r);
    } else {
        hw_scan(g, &g->scan[at]);
    }
    if (r->code) {
        snprintf(r->message, sizeof(r->message), "the driver says %d \xc3\xa9", -r->code);
    }
    return true;
}
