/* What has survived: the records that record.c has written, read at a start before anything else
 * happens.  Some may be damaged or lost, or name GPUs that are not here: what can be believed is
 * taken, and slices that only leases' records know of are made from those. */
#include "pool/internal.h"
#include "base/text.h"
#include "base/tree.h"
#include <inttypes.h>
#include <string.h>

static int64_t get_int(const json_t *tree, const char *key)
{
    return json_integer_value(json_object_get(tree, key));
}

static const char *get_text(const json_t *tree, const char *key)
{
    const char *s = json_string_value(json_object_get(tree, key));

    return s ? s : "";
}

static char *get_optional(const json_t *tree, const char *key)
{
    return xstrdup(json_string_value(json_object_get(tree, key)));
}

/* Index of the name, or -1. */
static int find_name(const char *name, const char *(*name_of)(unsigned), unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(name, name_of(i))) {
            return (int)i;
        }
    }
    return -1;
}

static const char *lease_state_at(unsigned i)
{
    return pool_lease_state_name((enum pool_lease_state)i);
}

static const char *move_phase_at(unsigned i)
{
    return pool_move_phase_name((enum pool_move_phase)i);
}

static const char *slice_state_at(unsigned i)
{
    return pool_slice_state_name((enum pool_slice_state)i);
}

/* The GPU with this UUID; one that is not here comes in as lost, so that what is on it is not
 * forgotten. */
static struct pool_gpu *gpu_for_record(struct pool *pool, const char *uuid)
{
    struct mig_gpu_info info = {.index = MIG_NO_ID, .minor = MIG_NO_ID, .is_healthy = true};
    unsigned id = 0;

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (!strcmp(pool->gpus[i]->info.uuid, uuid)) {
            return pool->gpus[i];
        }
    }
    if (!*uuid || strlen(uuid) >= sizeof(info.uuid)) {
        return NULL;
    }
    text_copy(info.uuid, sizeof(info.uuid), uuid);
    text_copy(info.name, sizeof(info.name), "absent GPU");
    if (pool_add_gpu(pool, &info, NULL, false, POOL_MIG_KEEP, &id, NULL) < 0) {
        return NULL;
    }
    pool->gpus[id]->health = POOL_HEALTH_LOST;
    text_copy(pool->gpus[id]->health_reason, sizeof(pool->gpus[id]->health_reason),
              "the driver does not list this GPU any more");
    return pool->gpus[id];
}

static bool is_free_on_record(const struct pool_gpu *gpu, const struct pool_slice *s)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *o = gpu->slices[i];
        bool is_coming = o->state == POOL_SLICE_CREATING || s->state == POOL_SLICE_CREATING;
        if (o->id == s->id || (!is_coming && slice_mask(o) & slice_mask(s))) {
            return false;
        }
    }
    return true;
}

static void load_ci(struct pool_slice *s, const json_t *tree)
{
    struct pool_ci *ci = &s->ci[s->ci_count++];
    const struct mig_profile *p = s->profile >= 0 ? &s->gpu->geometry->profiles[s->profile] : NULL;

    ci->id = (uint32_t)get_int(tree, "id");
    ci->compute_slots = (uint8_t)get_int(tree, "compute_slots");
    ci->lease = (uint64_t)get_int(tree, "lease");
    ci->is_settled = json_is_true(json_object_get(tree, "settled"));
    ci->profile = MIG_PROFILE_NONE;
    text_copy(ci->name, sizeof(ci->name), get_text(tree, "name"));
    text_copy(ci->mig_uuid, sizeof(ci->mig_uuid), get_text(tree, "mig_uuid"));
    for (int i = 0; p && i < p->compute_count; i++) {
        if (!strcmp(p->compute[i].name, ci->name)) {
            ci->profile = i;
        }
    }
}

/* The part of a slice that both its own record and its lease's have. */
static int load_place(struct pool *pool, uint64_t id, enum pool_slice_state state,
                      const json_t *tree, struct pool_slice **ret, struct error *err)
{
    struct pool_slice probe = {.id = id, .state = state};
    struct pool_gpu *gpu = gpu_for_record(pool, get_text(tree, "gpu"));
    int64_t start = get_int(tree, "start"), size = get_int(tree, "size");

    if (!gpu || start < 0 || size < 1 || start + size > MIG_SLOTS_MAX) {
        return err_set(err, EINVAL, "the record of slice %" PRIu64 " names no possible place", id);
    }
    probe.start = (uint8_t)start;
    probe.size = (uint8_t)size;
    if (!is_free_on_record(gpu, &probe)) {
        return err_set(err, EINVAL, "the record of slice %" PRIu64 " overlaps another", id);
    }
    uint32_t profile_id = (uint32_t)get_int(tree, "profile_id");
    int profile = gpu->geometry ? mig_profile_by_id(gpu->geometry, profile_id) : MIG_PROFILE_NONE;
    struct pool_slice *s = slice_new(pool, gpu, profile, (unsigned)start);
    if (!s) {
        return err_set(err, EINVAL, "too many slices on one GPU");
    }
    pool->next_slice--; /* it has its number */
    pool->next_slice = pool->next_slice > id ? pool->next_slice : id + 1;
    s->id = id;
    s->size = probe.size;
    s->profile_id = profile_id;
    s->compute_slots = s->compute_slots ? s->compute_slots
                                        : (uint8_t)get_int(tree, "compute_slots");
    text_copy(s->profile_name, sizeof(s->profile_name), get_text(tree, "profile"));
    s->is_recorded = true;
    *ret = s;
    return 0;
}

/* A lease whose own record is lost: its number is not given away again. */
static void keep_lease_number(struct pool *pool, uint64_t id)
{
    if (id >= pool->next_lease && id < INT64_MAX) {
        pool->next_lease = id + 1;
    }
}

static int load_slice(struct pool *pool, uint64_t id, const json_t *tree, struct error *err)
{
    int state = find_name(get_text(tree, "state"), slice_state_at, POOL_SLICE_STATE_COUNT);
    const json_t *cis = json_object_get(tree, "cis");
    struct pool_slice *s = NULL;
    size_t i = 0;
    const json_t *ci = NULL;

    if (state < 0) {
        return err_set(err, EINVAL, "the record of slice %" PRIu64 " has no known state", id);
    }
    int rc = load_place(pool, id, (enum pool_slice_state)state, tree, &s, err);
    if (rc < 0) {
        return rc;
    }
    s->gi_id = (uint32_t)get_int(tree, "gi_id");
    s->lease = (uint64_t)get_int(tree, "lease");
    s->operation = (uint64_t)get_int(tree, "operation");
    text_copy(s->tenant, sizeof(s->tenant), get_text(tree, "tenant"));
    json_array_foreach(cis, i, ci)
    {
        if (i < MIG_MAX_COMPUTE) {
            load_ci(s, ci);
            keep_lease_number(pool, s->ci[i].lease);
        }
    }
    keep_lease_number(pool, s->lease);
    slice_set_state(pool, s, (enum pool_slice_state)state);
    return 0;
}

/* The slice of a part, made again from the lease's record when its own is lost. */
static struct pool_slice *slice_for_part(struct pool *pool, struct pool_gpu *gpu,
                                         const json_t *tree, const struct pool_lease *lease)
{
    uint64_t id = (uint64_t)get_int(tree, "slice");
    struct pool_slice *s = slice_by_id(gpu, id);

    if (s || load_place(pool, id, POOL_SLICE_LEASED, tree, &s, NULL) < 0) {
        return s;
    }
    struct pool_ci *ci = &s->ci[s->ci_count++];
    ci->lease = lease->id;
    ci->id = MIG_NO_ID;
    ci->profile = MIG_PROFILE_NONE;
    ci->is_settled = true;
    ci->compute_slots = s->compute_slots;
    text_copy(ci->name, sizeof(ci->name), s->profile_name);
    text_copy(ci->mig_uuid, sizeof(ci->mig_uuid), get_text(tree, "mig_uuid"));
    text_copy(s->tenant, sizeof(s->tenant), lease->tenant->name);
    slice_set_state(pool, s, POOL_SLICE_LEASED);
    return s;
}

static int load_part(struct pool *pool, struct pool_lease *lease, const json_t *tree)
{
    struct pool_gpu *gpu = gpu_for_record(pool, get_text(tree, "gpu"));
    unsigned ci = (unsigned)get_int(tree, "ci");

    if (!gpu || lease->part_count == lease->count) {
        return -EINVAL;
    }
    if (!json_object_get(tree, "slice")) {
        gpu->lease = lease->id;
        lease_add_part(lease, gpu, NULL, 0);
        return 0;
    }
    struct pool_slice *s = slice_for_part(pool, gpu, tree, lease);
    if (!s) {
        return -EINVAL;
    }
    ci = ci < s->ci_count ? ci : 0;
    if (ci >= s->ci_count) {
        return -EINVAL;
    }
    s->ci[ci].lease = lease->id;
    lease_add_part(lease, gpu, s, ci);
    return 0;
}

/* A move of which something is damaged is none: pool_start() sees to its slice. */
static void load_move(struct pool *pool, struct pool_lease *l, const json_t *tree)
{
    int phase = find_name(get_text(tree, "phase"), move_phase_at, POOL_MOVE_PHASE_COUNT);
    struct pool_gpu *gpu = phase > POOL_MOVE_NONE ? gpu_for_record(pool, get_text(tree, "gpu"))
                                                  : NULL;
    struct pool_slice *s = gpu ? slice_by_id(gpu, (uint64_t)get_int(tree, "slice")) : NULL;
    bool is_stop = json_is_true(json_object_get(tree, "stop"));
    int64_t part = get_int(tree, "part");
    bool has_part = part >= 0 && part < l->part_count && l->part_count == l->count &&
                    l->part[part].slice && (!is_stop || l->count == 1);
    bool is_possible = s && s->ci_count && s->ci[0].lease == l->id && has_part &&
                       (l->part[part].slice == s) == is_stop;

    if (!is_possible) {
        return;
    }
    l->move = (struct pool_move){.phase = (enum pool_move_phase)phase, .slice = s,
                                 .part = (unsigned)part,
                                 .request = (uint64_t)get_int(tree, "request"),
                                 .is_stop = is_stop,
                                 .is_confirmed = json_is_true(json_object_get(tree, "confirmed")),
                                 .due_ms = get_int(tree, "due_ms")};
    l->move_count += !l->move_count; /* moves had no names once */
    if (json_is_true(json_object_get(tree, "overdue"))) {
        l->move.extra_slots = s->ci[0].compute_slots;
        l->tenant->compute_slots += l->move.extra_slots;
    }
}

/* False: nothing there, or not possible there. */
static bool load_window(struct pool *pool, const json_t *tree, struct pool_gpu **ret_gpu,
                        uint8_t *ret_profile, uint8_t *ret_start)
{
    struct pool_gpu *gpu = gpu_for_record(pool, get_text(tree, "gpu"));
    int64_t start = get_int(tree, "start");
    int profile = gpu && gpu->geometry
                      ? mig_profile_by_id(gpu->geometry, (uint32_t)get_int(tree, "profile_id"))
                      : MIG_PROFILE_NONE;

    if (profile < 0 || start < 0 || start >= MIG_SLOTS_MAX ||
        !(gpu->geometry->start_mask[profile] >> start & 1)) {
        return false;
    }
    *ret_gpu = gpu;
    *ret_profile = (uint8_t)profile;
    *ret_start = (uint8_t)start;
    return true;
}

/* One that is damaged is none: the request looks for moves again, and those under way are called
 * off by pool_start(). */
static void load_shift(struct pool *pool, struct pool_lease *l, const json_t *tree)
{
    const json_t *moves = json_object_get(tree, "moves"), *move = NULL;
    const json_t *windows = json_object_get(tree, "windows"); /* NULL: there was only one once */
    struct pool_shift s = {.count = (unsigned)json_array_size(moves),
                           .window_count = windows ? (unsigned)json_array_size(windows) : 1};
    bool is_whole = s.count && s.count <= PLAN_MOVES_MAX && s.window_count == l->count &&
                    pool->shift_count < SHIFTS_MAX;
    size_t i = 0;

    if (!is_whole) {
        return;
    }
    for (i = 0; i < s.window_count; i++) {
        struct pool_shift_window *w = &s.window[i];
        const json_t *window = windows ? json_array_get(windows, i) : tree;
        is_whole = is_whole && load_window(pool, window, &w->gpu, &w->profile, &w->start);
    }
    json_array_foreach(moves, i, move)
    {
        struct pool_shift_move *m = &s.move[i];
        m->lease = (uint64_t)get_int(move, "lease");
        m->part = (unsigned)get_int(move, "part");
        m->is_stop = json_is_true(json_object_get(move, "stop"));
        m->is_begun = json_is_true(json_object_get(move, "begun"));
        m->is_done = json_is_true(json_object_get(move, "done"));
        is_whole = is_whole && m->lease != l->id &&
                   load_window(pool, move, &m->gpu, &m->profile, &m->start);
    }
    if (is_whole) {
        l->shift = xcalloc(1, sizeof(*l->shift));
        *l->shift = s;
        pool->shifts[pool->shift_count++] = l;
    }
}

static void load_lease_fields(struct pool_lease *l, const json_t *tree)
{
    l->uid = (unsigned)get_int(tree, "uid");
    l->driver_us = get_int(tree, "driver_us");
    l->created_ms = get_int(tree, "created_ms");
    l->started_ms = get_int(tree, "started_ms");
    l->granted_ms = get_int(tree, "granted_ms");
    l->expires_ms = get_int(tree, "expires_ms");
    l->ended_ms = get_int(tree, "ended_ms");
    l->queue_key = get_int(tree, "queue_key");
    l->ttl_ms = get_int(tree, "ttl_ms");
    l->attempts = (unsigned)get_int(tree, "attempts");
    l->move_rest_ms = get_int(tree, "move_rest_ms");
    l->move_count = (unsigned)get_int(tree, "move_count");
    l->vain_asks = (unsigned)get_int(tree, "vain_asks");
    l->shift_rest_ms = get_int(tree, "shift_rest_ms");
    l->stopped_for = (uint64_t)get_int(tree, "stopped_for");
    l->ahead_of = (uint64_t)get_int(tree, "ahead_of");
    l->ahead_until_ms = get_int(tree, "ahead_until_ms");
    l->compute_slots = (unsigned)get_int(tree, "compute_slots");
    text_copy(l->reason, sizeof(l->reason), get_text(tree, "reason"));
    text_copy(l->end_reason, sizeof(l->end_reason), get_text(tree, "end_reason"));
}

static void load_elder(struct pool_lease *l, const json_t *tree)
{
    const struct pool_lease *other = l->tenant->elder;

    if (json_is_true(json_object_get(tree, "elder")) && (!other || lease_is_before(l, other))) {
        l->tenant->elder = l;
    }
}

/* Puts a lease that was read where its state says. */
static void place_lease(struct pool *pool, struct pool_lease *l, enum pool_lease_state state,
                        const json_t *tree)
{
    const json_t *parts = json_object_get(tree, "parts");
    bool is_whole = true;
    size_t i = 0;
    const json_t *part = NULL;

    l->state = state;
    if (pool_lease_is_ended(state)) {
        TAILQ_INSERT_TAIL(&pool->ended, l, link);
        pool->ended_count++;
        return;
    }
    if (state == POOL_LEASE_QUEUED) {
        lease_enqueue(pool, l);
        load_elder(l, tree);
        load_shift(pool, l, json_object_get(tree, "shift"));
        return;
    }
    json_array_foreach(parts, i, part)
    {
        is_whole = load_part(pool, l, part) == 0 && is_whole;
    }
    l->tenant->compute_slots += l->part_count ? l->compute_slots : 0;
    if (state == POOL_LEASE_ACTIVE || state == POOL_LEASE_RELEASING) {
        load_move(pool, l, json_object_get(tree, "move"));
    }
    if (!is_whole || l->part_count != l->count) {
        lease_set_reason(l, "its record is damaged: not all of its slices are known");
    }
}

static int load_lease(struct pool *pool, uint64_t id, const json_t *tree, struct error *err)
{
    int state = find_name(get_text(tree, "state"), lease_state_at, POOL_LEASE_STATE_COUNT);
    int end_state = find_name(get_text(tree, "end_state"), lease_state_at, POOL_LEASE_STATE_COUNT);
    int64_t count = get_int(tree, "count");
    CLEANUP(freep) char *model = get_optional(tree, "model");
    CLEANUP(freep) char *name = get_optional(tree, "name");
    CLEANUP(freep) char *labels = get_optional(tree, "labels");
    CLEANUP(freep) char *key = get_optional(tree, "key");
    struct pool_request request = {
        .profile = get_text(tree, "profile"), .count = (unsigned)count, .model = model,
        .name = name, .labels = labels, .ttl_ms = get_int(tree, "ttl_ms"),
        .priority = (int)get_int(tree, "priority"),
        .is_movable = json_is_true(json_object_get(tree, "movable")),
        .must_not_wait = json_is_true(json_object_get(tree, "must_not_wait")),
        .holder_pid = (int)get_int(tree, "pid"),
        .holder_start = (uint64_t)get_int(tree, "pid_start"),
        .holder_waits = json_is_true(json_object_get(tree, "pid_waits")), .idempotency_key = key,
        .request_hash = (uint64_t)get_int(tree, "hash")};
    struct pool_actor actor = {.tenant = get_text(tree, "tenant")};

    if (state < 0 || end_state < 0 || count < 1 || count > POOL_MAX_COUNT || !*actor.tenant ||
        pool_find_lease(pool, id)) {
        return err_set(err, EINVAL, "the record of lease l-%" PRIu64 " is damaged", id);
    }
    int rc = mig_want_parse(request.profile, &request.want, err);
    if (rc < 0) {
        return err_wrap(err, "the record of lease l-%" PRIu64, id);
    }
    uint64_t next = pool->next_lease;
    pool->next_lease = id;
    struct pool_lease *l = lease_new(pool, &actor, &request);
    pool->next_lease = next > id ? next : id + 1;
    l->is_recorded = true;
    l->end_state = (enum pool_lease_state)end_state;
    load_lease_fields(l, tree);
    lease_resolve(pool, l, NULL); /* what no GPU here offers any more waits for one that does */
    place_lease(pool, l, (enum pool_lease_state)state, tree);
    if (!pool_lease_is_ended(l->state) && json_object_get(tree, "max_queued")) {
        l->tenant->max_queued = (unsigned)get_int(tree, "max_queued");
        l->tenant->max_compute = (unsigned)get_int(tree, "max_compute");
    }
    return 0;
}

static void load_operation(struct pool *pool, uint64_t id, const json_t *tree)
{
    struct pool_operation *op = xcalloc(1, sizeof(*op));
    int64_t state = get_int(tree, "state");

    op->id = id;
    op->state = state >= POOL_OP_RUNNING && state <= POOL_OP_FAILED
                    ? (enum pool_operation_state)state : POOL_OP_FAILED;
    pool->next_operation = pool->next_operation > id ? pool->next_operation : id + 1;
    op->created_ms = get_int(tree, "created_ms");
    op->ended_ms = get_int(tree, "ended_ms");
    op->done = (unsigned)get_int(tree, "done");
    op->total = (unsigned)get_int(tree, "total");
    text_copy(op->error, sizeof(op->error), get_text(tree, "error"));
    op->is_recorded = true;
    TAILQ_INSERT_TAIL(&pool->operations, op, link);
    pool->operation_count++;
}

/* The record of the counters is written when the highest of a kind goes.  What is missing in it, or
 * lower than what the records themselves need, is not taken. */
static void load_meta(struct pool *pool, const json_t *tree)
{
    uint64_t lease = (uint64_t)get_int(tree, "next_lease");
    uint64_t slice = (uint64_t)get_int(tree, "next_slice");
    uint64_t operation = (uint64_t)get_int(tree, "next_operation");

    pool->next_lease = lease > pool->next_lease ? lease : pool->next_lease;
    pool->next_slice = slice > pool->next_slice ? slice : pool->next_slice;
    pool->next_operation = operation > pool->next_operation ? operation : pool->next_operation;
}

int pool_load_record(struct pool *pool, enum pool_record_kind kind, uint64_t id, const char *body,
                     struct error *err)
{
    CLEANUP(json_decrefp) json_t *tree = NULL;
    int rc = tree_from_json(body, strlen(body), &tree, err);

    if (rc == 0 && !json_is_object(tree)) {
        rc = err_set(err, EINVAL, "record %d/%" PRIu64 " is not an object", (int)kind, id);
    }
    if (rc < 0) {
        return rc;
    }
    if (kind <= POOL_RECORD_OPERATION) {
        pool_note_number(pool, kind, id);
    }
    switch (kind) {
    case POOL_RECORD_META:
        load_meta(pool, tree);
        return 0;
    case POOL_RECORD_SLICE:
        return load_slice(pool, id, tree, err);
    case POOL_RECORD_LEASE:
        return load_lease(pool, id, tree, err);
    case POOL_RECORD_OPERATION:
        load_operation(pool, id, tree);
        return 0;
    }
    return err_set(err, EINVAL, "unknown kind of record %d", (int)kind);
}
