/* A lease that is asked to go to another slice: what its holder sees, and answers. */
#include "api/call.h"
#include <string.h>

void api_add_device_env(struct json_out *w, const char *mig_uuid)
{
    json_out_object(w, "env");
    if (mig_uuid && *mig_uuid) {
        json_out_str(w, "CUDA_VISIBLE_DEVICES", mig_uuid);
        json_out_str(w, "NVIDIA_VISIBLE_DEVICES", mig_uuid);
    }
    json_out_end_object(w);
}

void api_add_move(struct json_out *w, const char *name, const struct pool_lease *l, bool is_whole)
{
    const struct pool_move *m = &l->move;
    const struct pool_slice *s = m->slice;
    char id[POOL_MOVE_NAME_SIZE];

    if (m->phase == POOL_MOVE_NONE) {
        json_out_null(w, name);
        return;
    }
    const struct pool_part *part = &l->part[m->part];
    const char *from = m->is_confirmed ? NULL : part->slice->ci[part->ci].mig_uuid;
    const char *uuid = !m->is_stop && s->ci_count && s->ci[0].is_settled ? s->ci[0].mig_uuid : NULL;
    json_out_object(w, name);
    json_out_str(w, "id", pool_move_name(l, id));
    json_out_str(w, "state", pool_move_phase_name(m->phase));
    json_out_bool(w, "stop", m->is_stop);
    json_out_bool(w, "confirmed", m->is_confirmed);
    json_out_id(w, "request", "l", m->request);
    json_out_time(w, "until", m->due_ms);
    json_out_str(w, "gpu_uuid", s->gpu->info.uuid);
    json_out_int(w, "gpu_index", s->gpu->info.index);
    api_add_placement(w, "placement", s->start, s->size);
    json_out_text(w, "from_mig_uuid", from);
    json_out_text(w, "mig_uuid", uuid);
    api_add_device_env(w, is_whole && m->phase == POOL_MOVE_ASKED ? uuid : NULL);
    json_out_end_object(w);
}

void api_post_move(struct api_call *call)
{
    CLEANUP(json_decrefp) json_t *body = json_incref(call->body); /* outlives the call */
    const char *answer = api_str(call->body, "answer");
    struct pool_event event = {.kind = POOL_EV_MOVE, .text = api_str(call->body, "mig_uuid"),
                               .move = api_str(call->body, "move"),
                               .is_confirmed = answer && !strcmp(answer, "confirm")};

    api_change_lease(call, &event);
}
