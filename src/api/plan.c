/* What if: what requests would get now, and what would be cut for it. */
#include "api/call.h"
#include <stdio.h>
#include <string.h>

/* The idle slices of the GPU that would be destroyed. */
static void add_destroys(struct json_out *w, const struct pool_gpu *gpu, uint16_t destroys)
{
    json_out_array(w, "destroys");
    for (unsigned i = 0; i < gpu->slice_count && destroys; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (!(destroys & (((1u << s->size) - 1) << s->start))) {
            continue;
        }
        json_out_object(w, NULL);
        api_add_placement(w, "placement", s->start, s->size);
        json_out_str(w, "profile", s->profile_name);
        json_out_end_object(w);
    }
    json_out_end_array(w);
}

/* What the driver takes for it, as measured; before the first cut nobody knows. */
static void add_driver_ms(struct json_out *w, const struct pool_gpu *gpu, bool makes, bool destroys)
{
    int64_t us = (makes ? gpu->create_us : 0) + (destroys ? gpu->destroy_us : 0);

    if (us || (!makes && !destroys)) {
        json_out_milli(w, "driver_ms", us);
    } else {
        json_out_null(w, "driver_ms");
    }
}

/* How long that takes nobody has measured.  For a whole GPU it is off already. */
static bool switches_mig(const struct pool_preview_step *step)
{
    return step->size && !step->gpu->info.is_mig_enabled;
}

static void add_step(struct json_out *w, const char *name, const struct pool_preview_step *step)
{
    json_out_object(w, name);
    json_out_str(w, "profile", step->profile_name);
    json_out_int(w, "gpu_index", step->gpu->info.index);
    json_out_str(w, "gpu_uuid", step->gpu->info.uuid);
    if (step->size) {
        api_add_placement(w, "placement", step->start, step->size);
    } else {
        json_out_null(w, "placement");
    }
    json_out_bool(w, "reuses", step->is_reused);
    json_out_bool(w, "switches_mig", switches_mig(step));
    add_destroys(w, step->gpu, step->destroys);
    if (switches_mig(step)) {
        json_out_null(w, "driver_ms");
    } else {
        add_driver_ms(w, step->gpu, !step->is_reused, step->destroys != 0);
    }
    json_out_end_object(w);
}

static void add_place_on(struct json_out *w, const char *name, const struct pool_gpu *gpu,
                         unsigned start, unsigned size)
{
    json_out_object(w, name);
    json_out_int(w, "gpu_index", gpu->info.index);
    json_out_str(w, "gpu_uuid", gpu->info.uuid);
    api_add_placement(w, "placement", start, size);
    json_out_end_object(w);
}

static void add_moves(struct json_out *w, const struct pool_preview *found)
{
    json_out_array(w, "moves");
    for (unsigned i = 0; i < found->move_count; i++) {
        const struct pool_preview_move *m = &found->move[i];
        const struct pool_slice *from = m->from;
        json_out_object(w, NULL);
        json_out_id(w, "lease", "l", m->lease->id);
        json_out_str(w, "tenant", m->lease->tenant->name);
        json_out_str(w, "profile", m->profile_name);
        add_place_on(w, "from", from->gpu, from->start, from->size);
        add_place_on(w, "to", m->gpu, m->start, m->size);
        add_destroys(w, m->gpu, m->destroys);
        json_out_bool(w, "stops", m->is_stop);
        add_driver_ms(w, m->gpu, true, m->destroys != 0);
        json_out_end_object(w);
    }
    json_out_end_array(w);
    json_out_array(w, "room");
    for (unsigned i = 0; i < found->room_count; i++) {
        add_step(w, NULL, &found->room[i]);
    }
    json_out_end_array(w);
    if (found->moves_us) {
        json_out_milli(w, "moves_ms", found->moves_us);
    } else {
        json_out_null(w, "moves_ms");
    }
}

/* The driver is measured when it cuts; before the first cut nobody knows how long it takes. */
static bool is_time_known(const struct pool_preview *found)
{
    bool is_cutting = false;

    for (unsigned i = 0; i < found->step_count; i++) {
        if (switches_mig(&found->step[i])) {
            return false;
        }
        is_cutting = is_cutting || !found->step[i].is_reused;
    }
    return found->is_fitting && (found->estimate_us || !is_cutting);
}

static void reply_plan(struct api_call *call, const struct pool_preview *found)
{
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_bool(&w, "fits", found->is_fitting);
    json_out_bool(&w, "possible", found->is_possible);
    json_out_text(&w, "reason", found->is_fitting ? NULL : found->blocked.reason);
    if (is_time_known(found)) {
        json_out_milli(&w, "estimate_ms", found->estimate_us);
    } else {
        json_out_null(&w, "estimate_ms");
    }
    if (found->has_set) {
        json_out_bool(&w, "proven", found->set.is_proven);
        json_out_int(&w, "gpus_opened", found->set.opened);
        json_out_int(&w, "gpus_opened_least", found->set.opened_least);
    } else {
        json_out_null(&w, "proven");
        json_out_null(&w, "gpus_opened");
        json_out_null(&w, "gpus_opened_least");
    }
    json_out_array(&w, "steps");
    for (unsigned i = 0; i < found->step_count; i++) {
        add_step(&w, NULL, &found->step[i]);
    }
    json_out_end_array(&w);
    add_moves(&w, found);
    api_add_blocking(&w, "blocking", &found->blocked);
    json_out_end_object(&w);
    api_reply(call, 200);
}

/* Fills requests from the body; 0 with an answer given, else their number. */
static unsigned read_requests(struct api_call *call, struct pool_request *requests)
{
    const json_t *list = json_object_get(call->body, "requests");
    unsigned total = 0, n = 0;

    for (; n < json_array_size(list); n++) {
        const json_t *item = json_array_get(list, n);
        struct error err = {0};
        requests[n] = (struct pool_request){
            .profile = api_str(item, "profile"),
            .count = (unsigned)api_int(item, "count", 1),
            .model = api_str(call->body, "model"),
        };
        total += requests[n].count;
        if (mig_want_parse(requests[n].profile, &requests[n].want, &err) < 0) {
            char pointer[48];
            snprintf(pointer, sizeof(pointer), "/requests/%u/profile", n);
            api_problem(call, 400, "unknown_profile", api_more_pointer(pointer),
                        "requests[%u].profile: %s", n, err.msg);
            return 0;
        }
    }
    if (!n || total > POOL_MAX_COUNT) {
        api_problem(call, 400, "bad_field", api_more_pointer("/requests"),
                    "requests: must be 1 to %d slices in all, not %u", POOL_MAX_COUNT, total);
        return 0;
    }
    return n;
}

void api_post_plan(struct api_call *call)
{
    CLEANUP(freep) struct pool_request *requests = xcalloc(POOL_MAX_COUNT, sizeof(*requests));
    CLEANUP(freep) struct pool_preview *found = xcalloc(1, sizeof(*found));
    struct pool_actor actor = api_actor(call);
    unsigned n = read_requests(call, requests);

    if (n) {
        pool_preview(call->api->host.pool, &actor, requests, n, api_now_ms(call->api), found);
        reply_plan(call, found);
    }
}
