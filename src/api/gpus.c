/* GPUs and what is on them. */
#include "api/call.h"
#include <stdio.h>
#include <string.h>

static const char *mode_name(bool is_enabled)
{
    return is_enabled ? "enabled" : "disabled";
}

static void add_mig(struct json_out *w, const struct pool_gpu *gpu)
{
    const struct mig_gpu_info *info = &gpu->info;

    json_out_object(w, "mig");
    json_out_bool(w, "capable", info->is_mig_capable);
    json_out_str(w, "mode", mode_name(info->is_mig_enabled));
    json_out_str(w, "pending", mode_name(info->is_mig_pending));
    json_out_bool(w, "resetless", info->is_resetless);
    json_out_str(w, "policy", gpu->mig_policy == POOL_MIG_KEEP ? "keep" : "on-demand");
    json_out_end_object(w);
}

static void add_to_use(const struct pool_slice *s, struct mig_use *use)
{
    uint16_t mask = (uint16_t)(((1u << s->size) - 1) << s->start);

    if (s->profile < 0 || use->mask & mask) {
        mig_use_block(use, mask);
    } else {
        mig_use_add(s->gpu->geometry, use, s->profile, s->start);
    }
}

/* All that stands on the GPU, as the driver counts it.  While it is re-cut, what goes and what
 * comes in its place are both there: then what comes counts, and of what goes the rest
 * of its slots. */
static struct mig_use use_of(const struct pool_gpu *gpu)
{
    struct mig_use use = {0};

    for (int is_going = 0; is_going < 2; is_going++) {
        for (unsigned i = 0; i < gpu->slice_count; i++) {
            if ((gpu->slices[i]->state == POOL_SLICE_DESTROYING) == is_going) {
                add_to_use(gpu->slices[i], &use);
            }
        }
    }
    return use;
}

static void add_profiles(struct json_out *w, const struct pool_gpu *gpu)
{
    const struct mig_geometry *g = gpu->geometry;
    struct mig_use use = g ? use_of(gpu) : (struct mig_use){0};
    bool is_usable = !gpu->lease && gpu->health == POOL_HEALTH_OK;

    json_out_array(w, "profiles");
    for (int p = 0; g && p < g->profile_count; p++) {
        const struct mig_profile *it = &g->profiles[p];
        json_out_object(w, NULL);
        json_out_str(w, "name", it->name);
        json_out_int(w, "id", it->id);
        json_out_int(w, "compute", it->slices);
        json_out_int(w, "slots", it->size);
        json_out_int(w, "memory_mib", it->memory_mib);
        json_out_int(w, "multiprocessors", it->sm_count);
        json_out_array(w, "starts");
        for (unsigned i = 0; i < it->start_count; i++) {
            json_out_int(w, NULL, it->starts[i]);
        }
        json_out_end_array(w);
        json_out_int(w, "max", it->max_count);
        json_out_int(w, "free", is_usable ? mig_remaining(g, &use, p) : 0);
        json_out_end_object(w);
    }
    json_out_end_array(w);
}

/* What the administrator should know or do; false: nothing. */
bool api_gpu_note(const struct pool_gpu *gpu, char *buf, size_t size)
{
    const struct mig_gpu_info *info = &gpu->info;

    if (!gpu->is_managed) {
        return false;
    }
    if (gpu->read_problem[0]) {
        snprintf(buf, size, "%s; it is tried again now and then, and not used before",
                 gpu->read_problem);
        return true;
    }
    if (info->is_mig_enabled != info->is_mig_pending) {
        snprintf(buf, size,
                 "MIG becomes %s at the next reset of the GPU: stop what uses it and run "
                 "'nvidia-smi --gpu-reset -i %u', or reboot",
                 mode_name(info->is_mig_pending), info->index);
        return true;
    }
    if (info->is_mig_capable && !info->is_mig_enabled && gpu->mig_policy == POOL_MIG_KEEP) {
        snprintf(buf, size,
                 "MIG is off and the configuration says mig_mode: keep, so it can only be leased "
                 "whole; run 'nvidia-smi -i %u -mig 1', or set mig_mode: on-demand for it",
                 info->index);
        return true;
    }
    if (info->is_mig_capable && !info->is_mig_enabled && !info->is_resetless) {
        snprintf(buf, size,
                 "MIG is off, and this model switches it only with a reset: stop what uses the GPU "
                 "and run 'nvidia-smi -i %u -mig 1' (if it stays pending, 'nvidia-smi --gpu-reset "
                 "-i %u', or reboot)",
                 info->index, info->index);
        return true;
    }
    if (info->is_mig_capable && !gpu->geometry) {
        snprintf(buf, size, "the driver does not tell what it can be cut into%s",
                 info->is_mig_enabled ? "" : " while MIG is off");
        return true;
    }
    return false;
}

static void add_gpu(struct json_out *w, const char *name, const struct pool_gpu *gpu)
{
    char note[320];

    json_out_object(w, name);
    json_out_int(w, "index", gpu->info.index);
    json_out_str(w, "uuid", gpu->info.uuid);
    json_out_str(w, "name", gpu->info.name);
    json_out_str(w, "pci", gpu->info.pci);
    json_out_int(w, "memory_mib", (int64_t)gpu->info.memory_mib);
    add_mig(w, gpu);
    json_out_bool(w, "managed", gpu->is_managed);
    json_out_str(w, "health", pool_health_name(gpu->health));
    json_out_text(w, "health_reason", gpu->health == POOL_HEALTH_OK ? NULL : gpu->health_reason);
    json_out_id(w, "lease", "l", gpu->lease);
    json_out_int(w, "memory_slots", gpu->geometry ? gpu->geometry->slots : 0);
    json_out_int(w, "compute_slots", gpu->geometry ? gpu->geometry->slices : 0);
    json_out_int(w, "processes", gpu->processes);
    add_profiles(w, gpu);
    json_out_array(w, "slices");
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        api_add_slice(w, NULL, gpu->slices[i]);
    }
    json_out_end_array(w);
    json_out_text(w, "note", api_gpu_note(gpu, note, sizeof(note)) ? note : NULL);
    json_out_end_object(w);
}

void api_list_gpus(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_array(&w, "gpus");
    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        add_gpu(&w, NULL, pool_gpu(pool, i));
    }
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}

void api_get_gpu(struct api_call *call)
{
    const char *name = http_param(call->req, "gpu");
    const struct pool_gpu *gpu = pool_find_gpu(call->api->host.pool, name);

    if (!gpu) {
        api_problem(call, 404, "not_found", NULL,
                    "there is no GPU '%.95s'; say a UUID, PCI address or index of /v1/gpus", name);
        return;
    }
    struct json_out w = api_begin(call->api);
    add_gpu(&w, NULL, gpu);
    api_reply(call, 200);
}
