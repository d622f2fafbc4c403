/* What must survive, as JSON (read again in load.c).  A lease's record repeats where its slices
 * are, so that either record alone is enough to know that the slice is in use. */
#include "pool/internal.h"
#include "base/json.h"

/* Far above what a lease with all its slices and labels needs. */
#define RECORD_MAX_BYTES ((size_t)4 * 1024 * 1024)

/* Written as text at once: this is the longest part of what a request costs the loop. */
struct record_out {
    struct buf text;
    struct json_out w;
};

static struct json_out *record_begin(struct record_out *out)
{
    out->text = BUF_INIT(RECORD_MAX_BYTES);
    out->w = (struct json_out){.b = &out->text};
    json_out_object(&out->w, NULL);
    return &out->w;
}

static char *record_end(struct record_out *out)
{
    json_out_end_object(&out->w);
    return buf_take(&out->text);
}

static void add_part(struct json_out *w, const struct pool_part *p)
{
    const struct pool_slice *s = p->slice;

    json_out_object(w, NULL);
    json_out_str(w, "gpu", p->gpu->info.uuid);
    if (s) {
        json_out_int(w, "slice", (int64_t)s->id);
        json_out_int(w, "ci", p->ci);
        json_out_str(w, "profile", s->profile_name);
        json_out_int(w, "profile_id", s->profile_id);
        json_out_int(w, "start", s->start);
        json_out_int(w, "size", s->size);
        json_out_str(w, "mig_uuid", s->ci[p->ci].mig_uuid);
    }
    json_out_end_object(w);
}

static void add_wish(struct json_out *w, const struct pool_lease *l)
{
    json_out_str(w, "tenant", l->tenant->name);
    json_out_int(w, "uid", (int)l->uid);
    json_out_str(w, "profile", l->profile);
    json_out_int(w, "count", l->count);
    json_out_str(w, "model", l->model);
    json_out_str(w, "name", l->name);
    json_out_str(w, "labels", l->labels);
    json_out_str(w, "key", l->idempotency_key);
    json_out_int(w, "hash", (int64_t)l->request_hash);
    json_out_int(w, "ttl_ms", l->ttl_ms);
    json_out_int(w, "priority", l->priority);
    json_out_bool(w, "movable", l->is_movable);
    json_out_bool(w, "must_not_wait", l->must_not_wait);
    json_out_int(w, "pid", l->holder_pid);
    json_out_int(w, "pid_start", (int64_t)l->holder_start);
    json_out_bool(w, "pid_waits", l->holder_waits);
}

static void add_times(struct json_out *w, const struct pool_lease *l)
{
    json_out_int(w, "created_ms", l->created_ms);
    json_out_int(w, "started_ms", l->started_ms);
    json_out_int(w, "granted_ms", l->granted_ms);
    json_out_int(w, "expires_ms", l->expires_ms);
    json_out_int(w, "ended_ms", l->ended_ms);
    json_out_int(w, "driver_us", l->driver_us);
    json_out_int(w, "queue_key", l->queue_key);
}

static void add_move(struct json_out *w, const struct pool_lease *l)
{
    const struct pool_move *m = &l->move;

    json_out_int(w, "move_rest_ms", l->move_rest_ms);
    json_out_int(w, "move_count", l->move_count);
    json_out_int(w, "vain_asks", l->vain_asks);
    if (m->phase == POOL_MOVE_NONE) {
        return;
    }
    json_out_object(w, "move");
    json_out_str(w, "phase", pool_move_phase_name(m->phase));
    json_out_int(w, "part", m->part);
    json_out_str(w, "gpu", m->slice->gpu->info.uuid);
    json_out_int(w, "slice", (int64_t)m->slice->id);
    json_out_int(w, "request", (int64_t)m->request);
    json_out_bool(w, "confirmed", m->is_confirmed);
    json_out_bool(w, "stop", m->is_stop);
    json_out_int(w, "due_ms", m->due_ms);
    json_out_bool(w, "overdue", m->extra_slots);
    json_out_end_object(w);
}

static void add_place(struct json_out *w, const struct pool_gpu *gpu, int profile, unsigned start)
{
    json_out_str(w, "gpu", gpu->info.uuid);
    json_out_int(w, "profile_id", gpu->geometry->profiles[profile].id);
    json_out_int(w, "start", start);
}

static void add_shift(struct json_out *w, const struct pool_shift *s)
{
    json_out_object(w, "shift");
    json_out_array(w, "windows");
    for (unsigned i = 0; i < s->window_count; i++) {
        json_out_object(w, NULL);
        add_place(w, s->window[i].gpu, s->window[i].profile, s->window[i].start);
        json_out_end_object(w);
    }
    json_out_end_array(w);
    json_out_array(w, "moves");
    for (unsigned i = 0; i < s->count; i++) {
        const struct pool_shift_move *m = &s->move[i];
        json_out_object(w, NULL);
        json_out_int(w, "lease", (int64_t)m->lease);
        json_out_int(w, "part", m->part);
        add_place(w, m->gpu, m->profile, m->start);
        json_out_bool(w, "stop", m->is_stop);
        json_out_bool(w, "begun", m->is_begun);
        json_out_bool(w, "done", m->is_done);
        json_out_end_object(w);
    }
    json_out_end_array(w);
    json_out_end_object(w);
}

static char *lease_body(const struct pool_lease *l)
{
    struct record_out out;
    struct json_out *w = record_begin(&out);

    json_out_str(w, "state", pool_lease_state_name(l->state));
    json_out_str(w, "end_state", pool_lease_state_name(l->end_state));
    add_wish(w, l);
    add_times(w, l);
    json_out_int(w, "attempts", l->attempts);
    json_out_int(w, "compute_slots", l->compute_slots);
    json_out_int(w, "max_queued", l->tenant->max_queued);
    json_out_int(w, "max_compute", l->tenant->max_compute);
    json_out_str(w, "reason", l->reason);
    json_out_str(w, "end_reason", l->end_reason);
    if (l->is_movable) {
        add_move(w, l);
    }
    json_out_int(w, "shift_rest_ms", l->shift_rest_ms);
    json_out_int(w, "stopped_for", (int64_t)l->stopped_for);
    if (l->ahead_of) {
        json_out_int(w, "ahead_of", (int64_t)l->ahead_of);
        json_out_int(w, "ahead_until_ms", l->ahead_until_ms);
    }
    if (l->tenant->elder == l) {
        json_out_bool(w, "elder", true);
    }
    if (l->shift) {
        add_shift(w, l->shift);
    }
    json_out_array(w, "parts");
    for (unsigned i = 0; i < l->part_count; i++) {
        add_part(w, &l->part[i]);
    }
    json_out_end_array(w);
    return record_end(&out);
}

static void add_ci(struct json_out *w, const struct pool_ci *ci)
{
    json_out_object(w, NULL);
    json_out_int(w, "id", ci->id);
    json_out_str(w, "name", ci->name);
    json_out_int(w, "compute_slots", ci->compute_slots);
    json_out_str(w, "mig_uuid", ci->mig_uuid);
    json_out_int(w, "lease", (int64_t)ci->lease);
    json_out_bool(w, "settled", ci->is_settled);
    json_out_end_object(w);
}

static char *slice_body(const struct pool_slice *s)
{
    struct record_out out;
    struct json_out *w = record_begin(&out);

    json_out_str(w, "gpu", s->gpu->info.uuid);
    json_out_str(w, "state", pool_slice_state_name(s->state));
    json_out_str(w, "profile", s->profile_name);
    json_out_int(w, "profile_id", s->profile_id);
    json_out_int(w, "start", s->start);
    json_out_int(w, "size", s->size);
    json_out_int(w, "compute_slots", s->compute_slots);
    json_out_int(w, "gi_id", s->gi_id);
    json_out_str(w, "tenant", s->tenant);
    json_out_int(w, "lease", (int64_t)s->lease);
    json_out_int(w, "operation", (int64_t)s->operation);
    json_out_array(w, "cis");
    for (unsigned c = 0; c < s->ci_count; c++) {
        add_ci(w, &s->ci[c]);
    }
    json_out_end_array(w);
    return record_end(&out);
}

static char *operation_body(const struct pool_operation *op)
{
    struct record_out out;
    struct json_out *w = record_begin(&out);

    json_out_int(w, "state", op->state);
    json_out_int(w, "created_ms", op->created_ms);
    json_out_int(w, "ended_ms", op->ended_ms);
    json_out_int(w, "done", op->done);
    json_out_int(w, "total", op->total);
    json_out_str(w, "error", op->error);
    return record_end(&out);
}

static char *meta_body(const struct pool *pool)
{
    struct record_out out;
    struct json_out *w = record_begin(&out);

    json_out_int(w, "next_lease", (int64_t)pool->next_lease);
    json_out_int(w, "next_slice", (int64_t)pool->next_slice);
    json_out_int(w, "next_operation", (int64_t)pool->next_operation);
    return record_end(&out);
}

bool pool_is_dirty(const struct pool *pool)
{
    return pool->is_meta_dirty || pool->gone_count || !TAILQ_EMPTY(&pool->dirty_leases) ||
           !TAILQ_EMPTY(&pool->dirty_slices) || !TAILQ_EMPTY(&pool->dirty_operations);
}

static bool next_object(struct pool *pool, struct pool_record *ret)
{
    struct pool_slice *s = TAILQ_FIRST(&pool->dirty_slices);
    struct pool_lease *l = TAILQ_FIRST(&pool->dirty_leases);
    struct pool_operation *op = TAILQ_FIRST(&pool->dirty_operations);

    if (s) {
        TAILQ_REMOVE(&pool->dirty_slices, s, dirty_link);
        s->is_dirty = false;
        s->is_recorded = true;
        *ret = (struct pool_record){POOL_RECORD_SLICE, s->id, slice_body(s)};
    } else if (l) {
        TAILQ_REMOVE(&pool->dirty_leases, l, dirty_link);
        l->is_dirty = false;
        l->is_recorded = true;
        *ret = (struct pool_record){POOL_RECORD_LEASE, l->id, lease_body(l)};
    } else if (op) {
        TAILQ_REMOVE(&pool->dirty_operations, op, dirty_link);
        op->is_dirty = false;
        op->is_recorded = true;
        *ret = (struct pool_record){POOL_RECORD_OPERATION, op->id, operation_body(op)};
    }
    if (s || l || op) {
        pool_note_number(pool, ret->kind, ret->id);
    }
    return s || l || op;
}

bool pool_next_dirty(struct pool *pool, struct pool_record *ret)
{
    if (pool->is_meta_dirty) {
        pool->is_meta_dirty = false;
        *ret = (struct pool_record){POOL_RECORD_META, 0, meta_body(pool)};
        return true;
    }
    if (pool->gone_count) {
        struct gone_record g = pool->gone[--pool->gone_count];
        *ret = (struct pool_record){g.kind, g.id, NULL};
        return true;
    }
    return next_object(pool, ret);
}
