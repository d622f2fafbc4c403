/* Leases: the resource that all others are about. */
#include "api/call.h"
#include <stdio.h>
#include <string.h>

/* --- rendering ------------------------------------------------------------------------------ */

void api_add_placement(struct json_out *w, const char *name, unsigned start, unsigned size)
{
    json_out_object(w, name);
    json_out_int(w, "start", start);
    json_out_int(w, "size", size);
    json_out_end_object(w);
}

/* Where one part of a lease is.  What the driver gives is null until it is there; after the end the
 * slice belongs to others, or is no more. */
struct place {
    const struct pool_gpu *gpu;
    const struct pool_slice *slice;
    const struct pool_ci *ci; /* settled */
};

static struct place place_of(const struct pool_lease *l, unsigned part)
{
    struct place at = {0};

    if (part >= l->part_count) {
        return at;
    }
    at.gpu = l->part[part].gpu;
    at.slice = pool_lease_is_ended(l->state) ? NULL : l->part[part].slice;
    if (at.slice && l->part[part].ci < at.slice->ci_count) {
        const struct pool_ci *ci = &at.slice->ci[l->part[part].ci];
        at.ci = ci->is_settled ? ci : NULL;
    }
    return at;
}

static void add_id(struct json_out *w, const char *name, bool is_there, uint32_t id)
{
    if (is_there && id != MIG_NO_ID) {
        json_out_int(w, name, id);
    } else {
        json_out_null(w, name);
    }
}

static void add_place(struct json_out *w, const struct place *at)
{
    json_out_text(w, "gpu_uuid", at->gpu ? at->gpu->info.uuid : NULL);
    add_id(w, "gpu_index", at->gpu, at->gpu ? at->gpu->info.index : 0);
    if (at->slice) {
        api_add_placement(w, "placement", at->slice->start, at->slice->size);
    } else {
        json_out_null(w, "placement");
    }
    add_id(w, "gpu_instance_id", at->ci, at->ci ? at->slice->gi_id : 0);
    add_id(w, "compute_instance_id", at->ci, at->ci ? at->ci->id : 0);
    json_out_text(w, "mig_uuid", at->ci ? at->ci->mig_uuid : NULL);
}

static void add_parts(struct json_out *w, const struct pool_lease *l)
{
    json_out_array(w, "slices");
    for (unsigned i = 0; i < l->part_count && !pool_lease_is_ended(l->state); i++) {
        struct place at = place_of(l, i);
        json_out_object(w, NULL);
        json_out_str(w, "profile", at.ci ? at.ci->name : at.slice ? at.slice->profile_name : "gpu");
        add_place(w, &at);
        json_out_end_object(w);
    }
    json_out_end_array(w);
}

/* The devices as a program's variable names them: "MIG-...,MIG-...". */
static void add_env(struct json_out *w, const struct pool_lease *l, bool is_whole)
{
    char list[POOL_MAX_COUNT * (MIG_UUID_SIZE + 1)];
    size_t len = 0;

    json_out_object(w, "env");
    if (is_whole && (l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASING)) {
        for (unsigned i = 0; i < l->part_count && i < POOL_MAX_COUNT; i++) {
            struct place at = place_of(l, i);
            const char *uuid = at.ci ? at.ci->mig_uuid : at.slice ? "" : at.gpu->info.uuid;
            size_t n = strnlen(uuid, MIG_UUID_SIZE);
            if (i) {
                list[len++] = ',';
            }
            memcpy(list + len, uuid, n);
            len += n;
        }
        json_out_strn(w, "CUDA_VISIBLE_DEVICES", list, len);
        json_out_strn(w, "NVIDIA_VISIBLE_DEVICES", list, len);
    }
    json_out_end_object(w);
}

static void add_timing(struct json_out *w, const struct pool_lease *l)
{
    int64_t total_us = l->granted_ms ? (l->granted_ms - l->created_ms) * 1000 : 0;
    int64_t wait_us = l->started_ms ? (l->started_ms - l->created_ms) * 1000 : 0;
    int64_t rest_us = total_us - wait_us - l->driver_us;

    json_out_object(w, "timing");
    json_out_milli(w, "wait_ms", wait_us);
    json_out_milli(w, "driver_ms", l->driver_us);
    json_out_milli(w, "overhead_ms", rest_us > 0 ? rest_us : 0);
    json_out_end_object(w);
}

static void add_times(struct json_out *w, const struct pool_lease *l)
{
    json_out_time(w, "created_at", l->created_ms);
    json_out_time(w, "granted_at", l->granted_ms);
    json_out_time(w, "expires_at", l->expires_ms);
    json_out_time(w, "ended_at", l->ended_ms);
    if (l->ttl_ms > 0) {
        json_out_int(w, "ttl_s", l->ttl_ms < 1000 ? 1 : l->ttl_ms / 1000);
    } else {
        json_out_null(w, "ttl_s");
    }
}

void api_add_lease(struct json_out *w, const char *name, const struct pool_lease *l, bool is_whole)
{
    struct place at = l->count == 1 ? place_of(l, 0) : (struct place){0};

    json_out_object(w, name);
    json_out_id(w, "id", "l", l->id);
    json_out_str(w, "state", pool_lease_state_name(l->state));
    json_out_str(w, "profile", l->profile);
    json_out_int(w, "count", l->count);
    json_out_str(w, "tenant", l->tenant->name);
    json_out_text(w, "name", is_whole ? l->name : NULL);
    json_out_text(w, "model", l->model);
    add_place(w, &at);
    add_parts(w, l);
    add_times(w, l);
    json_out_int(w, "priority", l->priority);
    json_out_bool(w, "movable", l->is_movable);
    json_out_str(w, "lifetime", l->holder_waits ? "wait" : l->holder_pid ? "client" : "lease");
    json_out_raw(w, "labels", is_whole && l->labels && *l->labels ? l->labels : "{}");
    add_env(w, l, is_whole);
    add_timing(w, l);
    api_add_move(w, "move", l, is_whole);
    json_out_text(w, "reason", l->reason);
    json_out_end_object(w);
}

bool api_sees_whole(const struct api_call *call, const struct pool_lease *l)
{
    return api_is_operator(call) || !strcmp(call->who.tenant, l->tenant->name);
}

static void reply_lease(struct api_call *call, unsigned status, const struct pool_lease *l)
{
    struct json_out w = api_begin(call->api);

    api_add_lease(&w, NULL, l, api_sees_whole(call, l));
    api_reply(call, status);
}

const struct pool_lease *api_find_lease(struct api_call *call)
{
    const char *id = http_param(call->req, "id");
    uint64_t number = api_parse_id(id, "l");
    const struct pool_lease *l = number ? pool_find_lease(call->api->host.pool, number) : NULL;

    if (!number) {
        api_problem(call, 404, "not_found", NULL,
                    "'%s' is no lease's id; they look like l-7", id);
    } else if (!l) {
        api_problem(call, 404, "not_found", NULL,
                    "there is no lease '%s'; ended ones are forgotten after some time", id);
    }
    return l;
}

static bool is_settled(const struct pool_lease *l)
{
    return l->state != POOL_LEASE_QUEUED && l->state != POOL_LEASE_CUTTING;
}

/* --- GET ------------------------------------------------------------------------------------ */

void api_list_leases(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    const char *tenant = api_str(call->query, "tenant"), *state = api_str(call->query, "state");
    bool is_all = api_bool(call->query, "all") || state;
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_array(&w, "leases");
    for (const struct pool_lease *l = pool_next_lease(pool, NULL); l;
         l = pool_next_lease(pool, l)) {
        if ((is_all || !pool_lease_is_ended(l->state)) &&
            (!tenant || !strcmp(tenant, l->tenant->name)) &&
            (!state || !strcmp(state, pool_lease_state_name(l->state)))) {
            api_add_lease(&w, NULL, l, api_sees_whole(call, l));
        }
    }
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}

static void look_at_lease(struct api_held *held, bool is_late)
{
    const struct pool_lease *l = pool_find_lease(held->call.api->host.pool, held->lease);

    if (!l) {
        api_problem(&held->call, 404, "not_found", NULL, "the lease is no longer remembered");
    } else if (is_late || is_settled(l)) {
        reply_lease(&held->call, 200, l);
    }
}

void api_get_lease(struct api_call *call)
{
    const struct pool_lease *l = api_find_lease(call);
    int64_t wait_s = api_int(call->query, "wait_s", 0);

    if (!l) {
        return;
    }
    if (wait_s > 0 && !is_settled(l)) {
        int64_t deadline_ms = api_now_ms(call->api) + wait_s * 1000;
        api_wait(api_hold(call), l->id, 0, deadline_ms, look_at_lease);
        return;
    }
    reply_lease(call, 200, l);
}

static void add_help(struct json_out *w, const struct pool_explanation *why)
{
    json_out_array(w, "would_help");
    if (why->help[0]) {
        json_out_str(w, NULL, why->help);
    }
    json_out_end_array(w);
}

void api_get_why(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    const struct pool_lease *l = api_find_lease(call);
    struct pool_explanation why = {0};

    if (!l) {
        return;
    }
    pool_explain(pool, l, api_now_ms(call->api), &why);
    unsigned position = pool_queue_position(pool, l);
    struct json_out w = api_begin(call->api);
    json_out_object(&w, NULL);
    json_out_id(&w, "id", "l", l->id);
    json_out_str(&w, "state", pool_lease_state_name(l->state));
    add_id(&w, "position", position != 0, position);
    json_out_str(&w, "reason", why.reason);
    json_out_time(&w, "expected_start", why.expected_start_ms);
    api_add_blocking(&w, "blocking", &why);
    add_help(&w, &why);
    json_out_end_object(&w);
    api_reply(call, 200);
}

/* --- POST ----------------------------------------------------------------------------------- */

/* What stands in the way of a request that had to end. */
static json_t *blocking_of(struct api_call *call, uint64_t lease)
{
    const struct pool *pool = call->api->host.pool;
    const struct pool_lease *l = lease ? pool_find_lease(pool, lease) : NULL;
    struct pool_explanation why = {0};

    if (!l) {
        return NULL;
    }
    pool_explain(pool, l, api_now_ms(call->api), &why);
    char *text = api_blocking_text(&why);
    json_t *more = api_more_blocking(text);
    free(text);
    return more;
}

static void answer_ended(struct api_call *call, const struct pool_lease *l)
{
    bool is_rejected = l->state == POOL_LEASE_REJECTED;
    json_t *more = is_rejected ? blocking_of(call, l->id) : NULL;

    api_set_location(call, "leases", "l", l->id);
    api_problem(call, 409, is_rejected ? "does_not_fit" : "already_ended", more,
                "l-%llu is %s: %s", (unsigned long long)l->id, pool_lease_state_name(l->state),
                l->reason[0] ? l->reason : "no reason was recorded");
}

/* Answers a POST as soon as there is something to promise. */
static void look_at_request(struct api_held *held, bool is_late)
{
    struct api_call *call = &held->call;
    const struct pool_lease *l = pool_find_lease(call->api->host.pool, held->lease);

    if (!l) {
        api_problem(call, 404, "not_found", NULL, "the lease has ended and is forgotten");
    } else if (pool_lease_is_ended(l->state)) {
        answer_ended(call, l);
    } else if (!is_settled(l)) {
        if (is_late) {
            api_set_location(call, "leases", "l", l->id);
            reply_lease(call, 202, l);
        }
    } else if (api_is_grant_durable(call->api, l->id)) {
        api_set_location(call, "leases", "l", l->id);
        reply_lease(call, 201, l);
    } /* else its event is on the way */
}

static void on_request_reply(struct api_held *held, const struct pool_action *reply)
{
    struct api_call *call = &held->call;
    int64_t wait_s = api_int(call->body, "wait_s", 0);

    if (reply->answer != POOL_OK) {
        bool is_blocked = reply->answer == POOL_DOES_NOT_FIT;
        api_refuse(call, reply, is_blocked ? api_more_blocking(held->blocking) : NULL);
        return;
    }
    int64_t deadline_ms = wait_s > 0 ? api_now_ms(call->api) + wait_s * 1000 : INT64_MAX;
    api_wait(held, reply->lease, 0, deadline_ms, look_at_request);
    look_at_request(held, wait_s <= 0);
}

/* The process at the other end, whose end shall end the lease; false: it was answered. */
static bool find_holder(struct api_call *call, struct pool_request *request)
{
    const struct api_host *host = &call->api->host;
    const struct http_peer *peer = http_peer(call->req);
    const char *lifetime = api_str(call->body, "lifetime");

    if (!lifetime || !strcmp(lifetime, "lease")) {
        return true;
    }
    if (peer->is_unix && peer->pid <= 0 && !strcmp(lifetime, "wait")) {
        return true; /* in a container that the daemon does not see into: it waits on its own */
    }
    if (!peer->is_unix || peer->pid <= 0) {
        api_problem(call, 400, "bad_field", api_more_pointer("/lifetime"),
                    "lifetime: \"%s\" needs the unix socket, where the daemon can see the process "
                    "at the other end", lifetime);
        return false;
    }
    request->holder_pid = peer->pid;
    request->holder_waits = !strcmp(lifetime, "wait");
    request->holder_start = host->process_start(host->userdata, peer->pid);
    if (!request->holder_start) {
        api_problem(call, 400, "bad_field", api_more_pointer("/lifetime"),
                    "lifetime: the process %d that connected has ended", (int)peer->pid);
        return false;
    }
    return true;
}

void api_post_lease(struct api_call *call)
{
    const json_t *labels = json_object_get(call->body, "labels");
    struct error err = {0};
    struct pool_request request = {
        .profile = api_str(call->body, "profile"),
        .count = (unsigned)api_int(call->body, "count", 1),
        .model = api_str(call->body, "model"),
        .name = api_str(call->body, "name"),
        .ttl_ms = api_int(call->body, "ttl_s", 0) * 1000,
        .priority = (int)api_int(call->body, "priority", 0),
        .is_movable = api_bool(call->body, "movable"),
        .must_not_wait = api_int(call->body, "wait_s", 0) < 0,
        .idempotency_key = http_header(call->req, "Idempotency-Key"),
        .request_hash = api_request_hash(call),
    };

    if (mig_want_parse(request.profile, &request.want, &err) < 0) {
        api_problem(call, 400, "unknown_profile", api_more_pointer("/profile"), "profile: %s",
                    err.msg);
        return;
    }
    if (!find_holder(call, &request)) {
        return;
    }
    CLEANUP(freep) char *text = json_object_size(labels) ? json_dumps(labels, JSON_COMPACT) : NULL;
    CLEANUP(freep) char *key = xstrdup(request.idempotency_key);
    CLEANUP(json_decrefp) json_t *body = json_incref(call->body); /* outlives the call */
    request.labels = text;
    request.idempotency_key = key;
    api_step(call, &(struct pool_event){.kind = POOL_EV_REQUEST, .request = &request},
             on_request_reply);
}

/* --- PATCH, DELETE -------------------------------------------------------------------------- */

static void on_change_reply(struct api_held *held, const struct pool_action *reply)
{
    const struct pool_lease *l = pool_find_lease(held->call.api->host.pool, held->subject);

    if (reply->answer != POOL_OK) {
        api_refuse(&held->call, reply, NULL);
    } else if (!l) {
        api_problem(&held->call, 404, "not_found", NULL, "the lease has ended and is forgotten");
    } else {
        reply_lease(&held->call, 200, l);
    }
}

void api_change_lease(struct api_call *call, struct pool_event *event)
{
    const struct pool_lease *l = api_find_lease(call);

    if (l) {
        event->lease = l->id;
        api_step(call, event, on_change_reply);
    }
}

void api_patch_lease(struct api_call *call)
{
    struct pool_event event = {.kind = POOL_EV_RENEW,
                               .ttl_ms = api_int(call->body, "ttl_s", 0) * 1000};

    api_change_lease(call, &event);
}

void api_delete_lease(struct api_call *call)
{
    api_change_lease(call, &(struct pool_event){.kind = POOL_EV_RELEASE});
}
