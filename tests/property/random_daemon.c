/* The daemon as far as the random pool test needs one: a step of the pool, the transaction of what
 * it changed, and then its actions; start and restart from what was committed. */
#include "random_world.h"

struct machine *machine;

const char *const tenants[TENANTS] = {"vision", "speech", "nlp", "late"};
const struct pool_limits tenant_limits[TENANTS] = {{-1, -1}, {6, 9}, {3, -1}, {20, 14}};

uint32_t draw(struct machine *m, uint32_t below)
{
    return (uint32_t)(replay_random_next(&m->random) % below);
}

bool chance(struct machine *m, uint32_t one_in)
{
    return draw(m, one_in) == 0;
}

/* --- one step of the pool --------------------------------------------------------------------- */

struct book *find_book(struct machine *m, uint64_t id)
{
    for (unsigned i = m->book_count; i-- > 0;) {
        if (m->book[i].id == id) {
            return &m->book[i];
        }
    }
    return NULL;
}

/* Our clock: what somebody sets the wall clock by does not count. */
static int64_t own_ms(const struct machine *m)
{
    return m->now_ms - m->set_ms;
}

/* The time limit that was asked for, as the settings have it. */
static int64_t limit_ms(const struct machine *m, int64_t asked_ms)
{
    int64_t most = m->settings.max_ttl_ms;
    int64_t ms = asked_ms ? asked_ms : m->settings.default_ttl_ms;

    return most && (!ms || ms > most) ? most : ms;
}

/* What is known of a lease is kept by its number; a crash may give a number again. */
static int64_t *ttl_of(struct machine *m, uint64_t id)
{
    if (id >= m->ttl_size) {
        uint64_t size = 2 * id + 64;
        m->ttl_ms = xreallocarray(m->ttl_ms, size, sizeof(*m->ttl_ms));
        memset(m->ttl_ms + m->ttl_size, 0, (size - m->ttl_size) * sizeof(*m->ttl_ms));
        m->ttl_size = size;
    }
    return &m->ttl_ms[id];
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

/* The lease has a place from now on. */
static bool is_grant(const struct pool_action *a)
{
    return a->history == POOL_HIST_LEASE_GRANTED || a->history == POOL_HIST_LEASE_MOVED;
}

static void snapshot_grant(struct machine *m, uint64_t id, struct book *ret)
{
    const struct pool_lease *l = pool_find_lease(m->pool, id);

    *ret = (struct book){.id = id, .is_granted = true, .due_ms = DUE_NEVER};
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

    CHECK(pg->health == POOL_HEALTH_OK || job->kind == POOL_JOB_CHECK ||
          job->kind == POOL_JOB_SCAN);
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
        CHECK(l->move.phase == POOL_MOVE_NONE || l->move.slice->id != job->slice);
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

/* The time limits that this step's answer has promised. */
static void note_limits(struct machine *m, struct batch *b)
{
    for (unsigned i = 0; i < b->action_count; i++) {
        const struct pool_action *a = &b->action[i];
        const struct pool_lease *l = a->kind == POOL_DO_REPLY && a->answer == POOL_OK
                                         ? pool_find_lease(m->pool, a->lease) : NULL;
        if (l && m->is_asking && l->id > m->asked_before) {
            *ttl_of(m, l->id) = limit_ms(m, m->asking_ms);
        } else if (l && m->is_renewing) {
            b->renewed = l->id;
            b->old_ttl_ms = *ttl_of(m, l->id);
            *ttl_of(m, l->id) = m->asking_ms;
            b->due_ms = l->state != POOL_LEASE_ACTIVE ? DUE_UNKNOWN /* from when it has a slice */
                        : m->asking_ms ? own_ms(m) + m->asking_ms : DUE_NEVER;
        }
    }
    m->is_asking = m->is_renewing = false;
}

void take_batch(struct machine *m)
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
    note_limits(m, b);
    for (unsigned i = 0; i < b->action_count; i++) {
        const struct pool_action *a = &b->action[i];
        if (a->kind == POOL_DO_HISTORY && is_grant(a)) {
            b->grant = xreallocarray(b->grant, b->grant_count + 1, sizeof(*b->grant));
            struct book *grant = &b->grant[b->grant_count++];
            snapshot_grant(m, a->lease, grant);
            int64_t ttl = *ttl_of(m, a->lease);
            grant->is_moved = a->history == POOL_HIST_LEASE_MOVED;
            grant->due_ms = ttl ? own_ms(m) + ttl : DUE_NEVER;
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

/* The holder may use the new slice from now on: nobody else may, before it was made anew. */
static void ask_seen(struct machine *m, const struct pool_action *a)
{
    const struct book *b = find_book(m, a->lease);
    struct unit *u = NULL;

    CHECK(b && b->is_granted && (a->new_uuid[0] || a->old_uuid[0]));
    for (unsigned i = 0; i < m->gpu_count && !u; i++) {
        u = unit_by_uuid(&m->gpu[i], a->new_uuid);
    }
    if (u) {
        CHECK(!u->user[0] || !strcmp(u->user, tenants[b->tenant])); /* law 6 */
        text_copy(u->user, sizeof(u->user), tenants[b->tenant]);
    }
}

/* One slice of several, or for several. */
static void count_asked(struct machine *m, const struct pool_action *a)
{
    const struct pool_lease *l = pool_find_lease(m->pool, a->lease);
    const struct pool_lease *request = l ? pool_find_lease(m->pool, l->move.request) : NULL;

    m->asked++;
    m->asked_part += l && l->count > 1;
    m->asked_for_gang += request && request->count > 1;
}

static void history_seen(struct machine *m, const struct pool_action *a)
{
    bool is_end = a->history >= POOL_HIST_LEASE_RELEASED && a->history <= POOL_HIST_LEASE_LOST;

    CHECK(a->text[0]);
    if (is_end) {
        struct book *b = book_for(m, a->lease);
        CHECK(!b->is_ended || !b->is_granted);
        if (a->history == POOL_HIST_LEASE_LOST && !b->is_broken) {
            fail_msg("seed %" PRIu64 " step %u: l-%" PRIu64 " is said to be lost: granted %d, %u "
                     "parts, the first with serial %" PRIu64, m->seed, m->step, b->id,
                     b->is_granted, b->part_count, b->part[0].serial);
        }
        CHECK(a->history != POOL_HIST_LEASE_EXPIRED || !b->is_granted || b->due_ms <= own_ms(m));
        b->is_ended = true;
    }
    if (a->history == POOL_HIST_LEASE_MOVE_ASKED) {
        ask_seen(m, a);
        count_asked(m, a);
    }
    if (a->history == POOL_HIST_LEASE_STOPPED) { /* it has nothing until it has moved */
        struct book *b = book_for(m, a->lease);
        CHECK(b->is_granted && !b->is_ended);
        b->part_count = 0; /* nobody is where it was: the next law 2 is for where it comes to */
        m->stopped++;
    }
    m->moved += a->history == POOL_HIST_LEASE_MOVED;
    m->not_moved += a->history == POOL_HIST_LEASE_MOVE_CANCELLED;
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
    int64_t due_ms = b->due_ms;
    CHECK(!b->is_ended);
    *b = *grant;
    b->due_ms = grant->is_moved ? due_ms : grant->due_ms;
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

/* It is lost in a crash; the newest first. */
void lose_batch(struct machine *m, struct batch *b)
{
    if (b->renewed) {
        *ttl_of(m, b->renewed) = b->old_ttl_ms;
    }
    m->jump_ms += b->jump_ms; /* it will be found again */
    free_batch(b);
}

/* The transaction of the oldest step, and then its actions, of which a crash leaves
 * the first few. */
void commit_one(struct machine *m, unsigned action_limit)
{
    struct batch b = m->batch[0];

    memmove(&m->batch[0], &m->batch[1], --m->batch_count * sizeof(b));
    for (unsigned i = 0; i < b.record_count; i++) {
        store(m, &b.record[i]);
    }
    struct book *renewed = b.renewed ? find_book(m, b.renewed) : NULL;
    if (renewed && renewed->is_granted) {
        renewed->due_ms = b.due_ms;
    }
    struct unit *u = b.is_adoption ? unit_by_serial(m, b.adopted_serial) : NULL;
    if (u) {
        u->is_ours = b.is_adopted;
        u->user[0] = '\0';
        if (b.is_adopted) {
            text_copy(u->user, sizeof(u->user), "(nobody may have it as it is)");
        }
    }
    for (unsigned i = 0, grants = 0; i < b.action_count; i++) {
        const struct pool_action *a = &b.action[i];
        if (a->kind == POOL_DO_HISTORY) { /* in their order: one may stop and have a place again */
            if (is_grant(a)) {
                note_grant(m, &b.grant[grants++]);
            }
            history_seen(m, a); /* recorded with the transaction */
        } else if (a->kind == POOL_DO_JOB && i < action_limit) {
            struct machine_gpu *g = &m->gpu[a->job.gpu];
            CHECK(g->job_count < JOBS_MAX && g->result_count < JOBS_MAX);
            if (g->is_hung && chance(m, 4)) { /* its worker takes no more */
                struct pool_job_result *r = &g->result[g->result_count++];
                *r = (struct pool_job_result){.job = a->job, .code = -EAGAIN, .is_unasked = true};
                snprintf(r->message, sizeof(r->message), "the worker has too much to do");
            } else {
                g->job[g->job_count++] = a->job;
            }
        }
    }
    free_batch(&b);
}

void commit_some(struct machine *m)
{
    while (m->batch_count && (m->is_calm || m->batch_count == BATCHES_MAX || !chance(m, 4))) {
        commit_one(m, UINT_MAX);
    }
}

static void trace_scan(const struct mig_scan *scan)
{
    for (unsigned i = 0; i < scan->instance_count; i++) {
        const struct mig_instance *gi = &scan->instances[i];
        printf("    %u+%u %s, %u processes\n", gi->start, gi->size,
               gi->ci_count ? gi->ci[0].mig_uuid : "bare", gi->process_count);
    }
}

static void trace(const struct machine *m, const struct pool_event *e)
{
    static const char *const events[POOL_EV_COUNT] = {
        "tick", "result", "health", "xid", "scan", "request", "release", "renew", "holder gone",
        "move", "apply", "adopt", "disown"};

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
    if (e->result && e->result->scan) {
        trace_scan(e->result->scan);
    }
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

void step(struct machine *m, struct pool_event *e)
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

bool deliver(struct machine *m, struct machine_gpu *g)
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
        if (u && scan.instances[i].ci_count &&
            unit_by_uuid(g, scan.instances[i].ci[0].mig_uuid) == u) {
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

void tick(struct machine *m, int64_t ms)
{
    m->now_ms += ms;
    step(m, &(struct pool_event){.kind = POOL_EV_TICK});
    for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
         l = pool_next_lease(m->pool, l)) {
        CHECK(l->state != POOL_LEASE_ACTIVE || !l->expires_ms || l->expires_ms > m->now_ms);
        const struct book *b = m->batch_count ? NULL : find_book(m, l->id);
        if (l->state == POOL_LEASE_ACTIVE && b && b->due_ms <= own_ms(m) &&
            b->due_ms != DUE_UNKNOWN) {
            fail_msg("seed %" PRIu64 " step %u: the time of l-%" PRIu64 " was up %" PRId64
                     " ms ago", m->seed, m->step, l->id, own_ms(m) - b->due_ms);
        }
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
        g->info.is_mig_enabled = g->is_mig_enabled;
        g->info.is_mig_pending = g->is_mig_pending;
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

void start(struct machine *m)
{
    m->pool = new_pool(m);
    m->twin = new_pool(m);
    if (m->jump_ms) { /* noted in one transaction with what is shifted by it */
        pool_shift_times(m->pool, m->jump_ms);
        pool_shift_times(m->twin, m->jump_ms);
        take_batch(m);
        m->batch[0].jump_ms = m->jump_ms;
        m->jump_ms = 0;
    }
    pool_start(m->pool, m->now_ms, &m->actions);
    pool_start(m->twin, m->now_ms, &m->twin_actions);
    take_batch(m);
    commit_some(m);
    check_now(m);
}

