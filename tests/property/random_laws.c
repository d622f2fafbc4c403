/* The laws of the house, held against the hardware and the books of the random pool test. */
#include "random_world.h"

struct pool_actor actor_of(unsigned tenant, enum pool_role role)
{
    return (struct pool_actor){.tenant = tenants[tenant], .role = role, .uid = 1000 + tenant,
                               .limits = &tenant_limits[tenant]};
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
            is_named = is_named || (l && l->move.phase != POOL_MOVE_NONE && l->move.slice == s);
            CHECK(!l || is_named);
            CHECK(!l || s->state == POOL_SLICE_LEASED || s->state == POOL_SLICE_CREATING);
            CHECK(!l || !s->tenant[0] || !strcmp(s->tenant, l->tenant->name)); /* law 6 */
        }
    }
    CHECK(!(to_come & staying) || m->gpu[gpu->id].is_disturbed);
}

/* Where the holder has confirmed to be, also when that is not on disk yet. */
static const struct book *told_last(const struct machine *m, const struct book *book)
{
    for (unsigned i = m->batch_count; i-- > 0;) {
        for (unsigned k = 0; k < m->batch[i].grant_count; k++) {
            if (m->batch[i].grant[k].id == book->id) {
                return &m->batch[i].grant[k];
            }
        }
    }
    return book;
}

static void check_move(const struct pool_lease *l)
{
    bool has_one = l->move.phase != POOL_MOVE_NONE;

    CHECK(!has_one || l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASING);
    CHECK(!has_one || (l->is_movable && l->move.part < l->part_count &&
                       l->part[l->move.part].slice &&
                       (l->part[l->move.part].slice == l->move.slice) == l->move.is_stop));
    CHECK(!l->move.is_stop || l->part_count == 1);
    CHECK(l->move.phase != POOL_MOVE_ASKED || (l->state == POOL_LEASE_ACTIVE && l->move.due_ms));
    CHECK(!l->shift || l->state == POOL_LEASE_QUEUED);
    CHECK(!l->shift || l->shift->window_count == l->count);
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
    check_move(l);
    for (unsigned i = 0; i < l->part_count; i++) {
        const struct pool_part *p = &l->part[i];
        if (p->slice) {
            CHECK(p->ci < p->slice->ci_count && p->slice->ci[p->ci].lease == l->id);
            CHECK(l->state == POOL_LEASE_CUTTING || p->slice->ci[p->ci].is_settled);
        } else {
            CHECK(p->gpu->lease == l->id);
        }
        if (b && b->is_granted && l->state != POOL_LEASE_CUTTING) {
            b = told_last(m, b); /* law 2 */
            CHECK(b->part[i].gpu == p->gpu->id);
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
        unsigned queued = 0, slots = 0, extra = 0; /* of holders who do not leave */
        const struct pool_tenant *tenant = NULL;
        for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
             l = pool_next_lease(m->pool, l)) {
            if (strcmp(l->tenant->name, tenants[t]) != 0) {
                continue;
            }
            tenant = l->tenant;
            queued += l->is_queued;
            extra += l->move.extra_slots;
            for (unsigned i = 0; i < l->part_count; i++) {
                const struct pool_part *p = &l->part[i];
                slots += p->slice ? p->slice->ci[p->ci].compute_slots
                                  : (p->gpu->geometry ? p->gpu->geometry->slices : 1);
            }
        }
        if (tenant) {
            CHECK(tenant->queued == queued && tenant->compute_slots == slots + extra);
            CHECK(!tenant->max_compute || slots <= tenant->max_compute);
        }
    }
}

void check_now(struct machine *m)
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

/* --- calm: what must be true when everything has been done -------------------------------------*/

void work_off(struct machine *m)
{
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (unsigned i = 0; i < m->gpu_count; i++) {
            is_busy = execute(m, &m->gpu[i]) || is_busy;
            is_busy = deliver(m, &m->gpu[i]) || is_busy;
        }
    }
}

void check_same_as_hardware(struct machine *m)
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
                fail_msg("seed %" PRIu64 " step %u: GPU %u slot %u is %s, and is_ours is %d",
                         m->seed, m->step, i, s->start, pool_slice_state_name(s->state),
                         u->is_ours);
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

/* --- nobody waits who could be served: by our own view of the hardware ------------------------ */

static bool is_leased_whole(const struct machine *m, unsigned gpu)
{
    bool is_leased = false;

    for (unsigned b = 0; b < m->book_count; b++) {
        for (unsigned i = 0; i < m->book[b].part_count && !m->book[b].is_ended; i++) {
            const struct book *k = &m->book[b];
            is_leased = is_leased || (k->part[i].gpu == gpu && !k->part[i].serial);
        }
    }
    return is_leased;
}

static bool is_leased_unit(const struct machine *m, const struct unit *u)
{
    for (unsigned b = 0; b < m->book_count; b++) {
        for (unsigned i = 0; i < m->book[b].part_count && !m->book[b].is_ended; i++) {
            if (m->book[b].part[i].serial == u->serial) {
                return true;
            }
        }
    }
    for (const struct pool_lease *l = pool_next_lease(m->pool, NULL); l;
         l = pool_next_lease(m->pool, l)) { /* the second slice of who is asked to move */
        bool is_moving = l->move.phase != POOL_MOVE_NONE && u->gi.ci_count;
        if (is_moving && !strcmp(l->move.slice->ci[0].mig_uuid, u->gi.ci[0].mig_uuid)) {
            return true;
        }
    }
    return false;
}

/* What one request could have on the machine as it is. */
struct room {
    struct mig_use use[GPUS_MAX];
    int profile[GPUS_MAX]; /* that answers it there; MIG_PROFILE_NONE none */
    unsigned tries;
};

static bool is_for(const struct machine_gpu *g, const struct pool_lease *l)
{
    return g->is_managed && (!l->model || strcasestr(g->info.name, l->model));
}

static void look_at_room(struct machine *m, const struct pool_lease *l, struct room *r)
{
    *r = (struct room){0};
    for (unsigned i = 0; i < m->gpu_count; i++) {
        const struct machine_gpu *g = &m->gpu[i];
        bool is_on = g->is_mig_enabled && g->is_mig_pending;
        bool can_come_on = g->policy == POOL_MIG_ON_DEMAND && !g->is_mig_enabled &&
                           !g->is_mig_pending && !g->processes && !is_leased_whole(m, i);
        int ci = 0;
        r->profile[i] = MIG_PROFILE_NONE;
        if (!g->has_geometry || !is_for(g, l) || !(is_on || can_come_on) ||
            mig_want_resolve(&l->want, &g->geometry, &r->profile[i], &ci, NULL) < 0) {
            continue;
        }
        for (unsigned k = 0; k < g->unit_count; k++) {
            const struct unit *u = &g->unit[k];
            if (!u->is_ours || u->gi.process_count || is_leased_unit(m, u)) {
                mig_use_add(&g->geometry, &r->use[i],
                            mig_profile_by_id(&g->geometry, u->gi.profile_id), u->gi.start);
            }
        }
    }
}

/* All of them are alike, so each goes behind the one before. */
static bool has_room(struct machine *m, struct room *r, unsigned left, unsigned from)
{
    if (!left) {
        return true;
    }
    for (unsigned at = from; at < m->gpu_count * MIG_SLOTS_MAX && r->tries < 100000; at++) {
        unsigned i = at / MIG_SLOTS_MAX;
        int start = (int)(at % MIG_SLOTS_MAX), p = r->profile[i];
        r->tries++;
        if (p < 0 || !mig_fits(&m->gpu[i].geometry, &r->use[i], p, start)) {
            continue;
        }
        mig_use_add(&m->gpu[i].geometry, &r->use[i], p, start);
        bool fits = has_room(m, r, left - 1, at + 1);
        mig_use_remove(&m->gpu[i].geometry, &r->use[i], p, start);
        if (fits) {
            return true;
        }
    }
    return false;
}

static bool could_be_served(struct machine *m, const struct pool_lease *l)
{
    struct room room;

    if (l->want.kind != MIG_WANT_GPU) {
        look_at_room(m, l, &room);
        return has_room(m, &room, l->count, 0);
    }
    for (unsigned i = 0; i < m->gpu_count && l->count == 1; i++) {
        const struct machine_gpu *g = &m->gpu[i];
        if (is_for(g, l) && !g->is_mig_enabled && !g->is_mig_pending && !g->processes &&
            !is_leased_whole(m, i)) {
            return true;
        }
    }
    return false;
}

/* When everything has come to rest, the first in the queue is there because it must. */
void check_head_must_wait(struct machine *m)
{
    const struct pool_lease *l = pool_next_queued(m->pool, NULL);

    CHECK(!l || pool_next_deadline_ms(m->pool) <= m->now_ms + 5000); /* it is looked at again */
    if (!l || l->tenant->max_compute || l->stopped_for || l->want.compute_instance_slices) {
        return;
    }
    if (could_be_served(m, l)) {
        pool_explain(m->pool, l, m->now_ms, m->why);
        fail_msg("seed %" PRIu64 " step %u: l-%" PRIu64 " (%u x %s) waits, and there is room: %s",
                 m->seed, m->step, l->id, l->count, l->profile, m->why->reason);
    }
    m->heads_waiting++;
}

/* Nothing fails any more; GPUs answer; the administrator's cuts are seen. */
void calm(struct machine *m)
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
        tick(m, chance(m, 2) ? 30000 : 1000);
        work_off(m);
        if (chance(m, 2)) {
            answer_move(m);
            work_off(m);
        }
    }
    tick(m, 300000);
    work_off(m);
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

    for (const struct pool_lease *l = pool_next_lease(pool, NULL); l;
         l = pool_next_lease(pool, l)) {
        buf_addf(&b, "l%" PRIu64 " %d %s %s %" PRId64 " %" PRId64 " %u %u %" PRId64 ":", l->id,
                 (int)l->state, l->tenant->name, l->profile, l->expires_ms, l->ttl_ms,
                 l->compute_slots, l->count, l->queue_key);
        for (unsigned i = 0; i < l->part_count; i++) {
            buf_addf(&b, " %u/%s", l->part[i].gpu->id,
                     l->part[i].slice ? l->part[i].slice->ci[l->part[i].ci].mig_uuid : "gpu");
        }
        buf_addf(&b, " m%d,%u,%u r%" PRIu64, (int)l->move.phase, l->move.is_confirmed,
                 l->shift ? l->shift->count : 0, l->move.request);
        buf_addf(&b, " t%u,%u,%u,%u\n", l->tenant->queued, l->tenant->compute_slots,
                 pool_lease_is_ended(l->state) ? 0 : l->tenant->max_queued,
                 pool_lease_is_ended(l->state) ? 0 : l->tenant->max_compute);
    }
    for (const struct pool_lease *l = pool_next_queued(pool, NULL); l;
         l = pool_next_queued(pool, l)) {
        buf_addf(&b, "q%" PRIu64 "\n", l->id);
    }
    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        const struct pool_gpu *g = pool_gpu(pool, i);
        buf_addf(
            &b,
            "g%u %s lease %" PRIu64 " mig %d managed %d policy %d processes %u wish %d rests %d\n",
            i, g->info.name, g->lease, g->info.is_mig_enabled, g->is_managed, (int)g->mig_policy,
            g->processes, g->has_mode_wish, g->cooldown_until_ms > machine->now_ms);
        for (unsigned k = 0; k < g->slice_count; k++) {
            const struct pool_slice *s = g->slices[k];
            buf_addf(&b, "s%" PRIu64 " %d %s %u %s %s p%u",
                     s->state == POOL_SLICE_FOREIGN ? 0 : s->id, (int)s->state, s->profile_name,
                     s->start, s->tenant, s->ci_count ? s->ci[0].mig_uuid : "", s->processes);
            for (unsigned c = 0; c < s->ci_count; c++) {
                buf_addf(&b, " %s=%" PRIu64, s->ci[c].name, s->ci[c].lease);
            }
            buf_addf(&b, "\n");
        }
    }
    return b.data ? b.data : xstrdup("");
}

/* For people, when something fails. */
static char *reasons(struct machine *m)
{
    struct buf b = BUF_INIT(1 << 20);

    for (const struct pool_lease *l = pool_next_queued(m->pool, NULL); l;
         l = pool_next_queued(m->pool, l)) {
        pool_explain(m->pool, l, m->now_ms, m->why);
        buf_addf(&b, "l-%" PRIu64 " %u x %s: %s\n", l->id, l->count, l->profile, m->why->reason);
    }
    return b.data ? b.data : xstrdup("");
}

/* Law 5: what the journal gives is the state. */
void check_restart(struct machine *m)
{
    /* What a cut takes is measured anew after a restart: nobody may end just as a window opens.
     * And the queue has been looked at just now, as it is after a restart. */
    for (unsigned granted = UINT_MAX; granted != m->seen_granted;) {
        granted = m->seen_granted;
        tick(m, 5000);
        work_off(m);
    }
    char *before = summary(m->pool), *why = reasons(m);

    /* What was asked for before is forgotten, and with it where moves are looked for first. */
    unsigned moves = m->settings.max_moves;
    m->settings.max_moves = 0;
    CHECK(!m->batch_count);
    pool_free(m->pool);
    pool_free(m->twin);
    start(m);
    work_off(m);
    m->settings.max_moves = moves;
    char *after = summary(m->pool);
    if (strcmp(before, after) != 0) {
        fprintf(stderr, "before\n%sinto\n%sbecause\n%s", before, after, why);
        fail_msg("seed %" PRIu64 " step %u: a restart changes the pool", m->seed, m->step);
    }
    free(before);
    free(after);
    free(why);
    pool_free(m->pool);
    pool_free(m->twin);
    start(m);
    work_off(m);
}

void check_queue_empties(struct machine *m)
{
    for (unsigned i = 0; i < m->gpu_count; i++) {
        struct machine_gpu *g = &m->gpu[i];
        if (g->is_mig_pending != g->is_mig_enabled) {
            reset_gpu(m, g);
        }
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
        fail_msg("seed %" PRIu64 " step %u: l-%" PRIu64 " %u x %s of %s waits for ever: %s",
                 m->seed, m->step, head->id, head->count, head->profile, head->tenant->name,
                 m->why->reason);
    }
    for (unsigned id = 1; id < 10000; id++) {
        const struct pool_operation *op = pool_find_operation(m->pool, id);
        CHECK(!op || op->state != POOL_OP_RUNNING);
    }
}
