/* Slices: GPU instances with their compute instances. */
#include "api/call.h"
#include <inttypes.h>
#include <string.h>

static void add_compute_instances(struct json_out *w, const struct pool_slice *s)
{
    json_out_array(w, "compute_instances");
    for (unsigned i = 0; i < s->ci_count; i++) {
        const struct pool_ci *ci = &s->ci[i];
        json_out_object(w, NULL);
        if (ci->is_settled && ci->id != MIG_NO_ID) {
            json_out_int(w, "id", ci->id);
        } else {
            json_out_null(w, "id");
        }
        json_out_str(w, "profile", ci->name);
        json_out_text(w, "mig_uuid", ci->is_settled ? ci->mig_uuid : NULL);
        json_out_id(w, "lease", "l", ci->lease);
        json_out_end_object(w);
    }
    json_out_end_array(w);
}

/* Whose it is: of the first compute instance that is leased, or for whom it is being made. */
static uint64_t lease_of(const struct pool_slice *s)
{
    for (unsigned i = 0; i < s->ci_count; i++) {
        if (s->ci[i].lease) {
            return s->ci[i].lease;
        }
    }
    return s->state == POOL_SLICE_CREATING ? s->lease : 0;
}

void api_add_slice(struct json_out *w, const char *name, const struct pool_slice *s)
{
    bool is_foreign = s->state == POOL_SLICE_FOREIGN, has_gi = s->state != POOL_SLICE_CREATING;

    json_out_object(w, name);
    json_out_str(w, "gpu_uuid", s->gpu->info.uuid);
    json_out_int(w, "gpu_index", s->gpu->info.index);
    json_out_str(w, "profile", s->profile_name);
    api_add_placement(w, "placement", s->start, s->size);
    json_out_int(w, "compute_slots", s->compute_slots);
    if (has_gi && s->gi_id != MIG_NO_ID) {
        json_out_int(w, "gpu_instance_id", s->gi_id);
    } else {
        json_out_null(w, "gpu_instance_id");
    }
    json_out_str(w, "state", pool_slice_state_name(s->state));
    json_out_str(w, "owner", is_foreign ? "foreign" : "tangram");
    json_out_text(w, "tenant", s->tenant);
    json_out_id(w, "lease", "l", lease_of(s));
    json_out_int(w, "processes", s->processes);
    json_out_text(w, "reason", s->reason);
    add_compute_instances(w, s);
    json_out_end_object(w);
}

void api_list_slices(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_array(&w, "slices");
    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        const struct pool_gpu *gpu = pool_gpu(pool, i);
        for (unsigned k = 0; k < gpu->slice_count; k++) {
            api_add_slice(&w, NULL, gpu->slices[k]);
        }
    }
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}

/* --- adopt, disown -------------------------------------------------------------------------- */

/* The slice that the body names; NULL: it was answered. */
static const struct pool_slice *named_slice(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    const char *uuid = api_str(call->body, "slice"), *gpu_name = api_str(call->body, "gpu");
    int64_t start = api_int(call->body, "start", -1);
    const struct pool_slice *s = NULL;
    const struct pool_gpu *gpu = NULL;

    if (uuid ? gpu_name || start >= 0 : !gpu_name || start < 0) {
        api_problem(call, 400, "bad_field", NULL,
                    "say the slice's MIG UUID as 'slice', or its GPU as 'gpu' and its first memory "
                    "slot as 'start'");
        return NULL;
    }
    if (uuid) {
        s = pool_find_slice(pool, uuid);
    } else {
        gpu = pool_find_gpu(pool, gpu_name);
        s = gpu ? pool_slice_at(gpu, (unsigned)start) : NULL;
    }
    if (!s && uuid) {
        api_problem(call, 404, "not_found", NULL, "there is no slice %s here", uuid);
    } else if (!s && !gpu) {
        api_problem(call, 404, "not_found", NULL, "there is no GPU '%s' here", gpu_name);
    } else if (!s) {
        api_problem(call, 404, "not_found", NULL, "no slice of GPU %s starts at slot %" PRId64,
                    gpu_name, start);
    }
    return s;
}

static void on_owner_reply(struct api_held *held, const struct pool_action *reply)
{
    struct api_call *call = &held->call;
    const struct pool_slice *s = NULL;

    if (reply->answer != POOL_OK) {
        api_refuse(call, reply, NULL);
        return;
    }
    s = pool_slice_at(pool_gpu(call->api->host.pool, held->gpu), held->start);
    if (!s) {
        api_problem(call, 404, "not_found", NULL, "the slice has gone meanwhile");
        return;
    }
    struct json_out w = api_begin(call->api);
    api_add_slice(&w, NULL, s);
    api_reply(call, 200);
}

static void change_owner(struct api_call *call, enum pool_event_kind kind)
{
    const struct pool_slice *s = named_slice(call);

    if (s) {
        api_step(call,
                 &(struct pool_event){.kind = kind, .gpu = s->gpu->id, .start = s->start},
                 on_owner_reply);
    }
}

void api_adopt_slice(struct api_call *call)
{
    change_owner(call, POOL_EV_ADOPT);
}

void api_disown_slice(struct api_call *call)
{
    change_owner(call, POOL_EV_DISOWN);
}
