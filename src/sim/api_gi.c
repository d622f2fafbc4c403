#include "base/clock.h"
#include "sim/call.h"
#include "sim/load.h"
#include "sim/nvml.h"
#include <stdio.h>

/* The index of a profile in the model's table by its enumeration value. */
static enum nvml_return profile_by_enum(const struct call *c, unsigned int profile, int *ret)
{
    if (profile >= NVML_GI_PROFILE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = sim_model_gi_by_enum(c->model, profile);
    return *ret < 0 || !call_knows_profiles(c, c->state->mig_mode) ? NVML_ERROR_NOT_SUPPORTED
                                                                   : NVML_SUCCESS;
}

static void fill_v1(const struct sim_gi_profile *p, struct nvml_gi_profile *info)
{
    *info = (struct nvml_gi_profile){
        .id = (unsigned int)p->id,
        .is_p2p_supported = (unsigned int)p->is_p2p,
        .slice_count = (unsigned int)p->slices,
        .instance_count = (unsigned int)p->count,
        .multiprocessor_count = (unsigned int)p->sms,
        .copy_engine_count = (unsigned int)p->copy_engines,
        .decoder_count = (unsigned int)p->decoders,
        .encoder_count = (unsigned int)p->encoders,
        .jpeg_count = (unsigned int)p->jpegs,
        .ofa_count = (unsigned int)p->ofas,
        .memory_size_mb = (unsigned int)p->memory_mib,
    };
}

static enum nvml_return fill_versioned(const struct sim_gi_profile *p, void *info)
{
    struct nvml_gi_profile v1;
    fill_v1(p, &v1);
    unsigned int version = *(unsigned int *)info;
    if (version == NVML_STRUCT_VERSION(struct nvml_gi_profile_v2, 2)) {
        struct nvml_gi_profile_v2 *v2 = info;
        *v2 = (struct nvml_gi_profile_v2){version,
                                          v1.id,
                                          v1.is_p2p_supported,
                                          v1.slice_count,
                                          v1.instance_count,
                                          v1.multiprocessor_count,
                                          v1.copy_engine_count,
                                          v1.decoder_count,
                                          v1.encoder_count,
                                          v1.jpeg_count,
                                          v1.ofa_count,
                                          v1.memory_size_mb,
                                          ""};
        snprintf(v2->name, sizeof(v2->name), "MIG %s", p->name);
        return NVML_SUCCESS;
    }
    if (version == NVML_STRUCT_VERSION(struct nvml_gi_profile_v3, 3)) {
        struct nvml_gi_profile_v3 *v3 = info;
        *v3 = (struct nvml_gi_profile_v3){version,
                                          v1.id,
                                          v1.slice_count,
                                          v1.instance_count,
                                          v1.multiprocessor_count,
                                          v1.copy_engine_count,
                                          v1.decoder_count,
                                          v1.encoder_count,
                                          v1.jpeg_count,
                                          v1.ofa_count,
                                          v1.memory_size_mb,
                                          "",
                                          (unsigned int)p->capabilities};
        snprintf(v3->name, sizeof(v3->name), "MIG %s", p->name);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_INVALID_ARGUMENT; /* nvml.h; newer calls have a code of their own */
}

enum nvml_return nvmlDeviceGetGpuInstanceProfileInfo(struct nvml_device *device,
                                                     unsigned int profile,
                                                     struct nvml_gi_profile *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = 0;
    rc = info ? profile_by_enum(&c, profile, &at) : NVML_ERROR_INVALID_ARGUMENT;
    if (rc == NVML_SUCCESS) {
        fill_v1(&c.model->gis[at], info);
    }
    return rc;
}

enum nvml_return nvmlDeviceGetGpuInstanceProfileInfoV(struct nvml_device *device,
                                                      unsigned int profile, void *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = 0;
    rc = info ? profile_by_enum(&c, profile, &at) : NVML_ERROR_INVALID_ARGUMENT;
    return rc == NVML_SUCCESS ? fill_versioned(&c.model->gis[at], info) : rc;
}

enum nvml_return nvmlDeviceGetGpuInstanceProfileInfoByIdV(struct nvml_device *device,
                                                          unsigned int id, void *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_HAS_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = sim_model_gi_by_id(c.model, id);
    if (!info || at < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return call_knows_profiles(&c, c.state->mig_mode) ? fill_versioned(&c.model->gis[at], info)
                                                      : NVML_ERROR_NOT_SUPPORTED;
}

static enum nvml_return get_placements(const char *name, struct nvml_device *device,
                                       unsigned int id, struct nvml_placement *placements,
                                       unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU | CALL_MONITOR | CALL_HAS_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = sim_model_gi_by_id(c.model, id);
    if (!count || at < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct sim_gi_profile *p = &c.model->gis[at];
    for (int i = 0; placements && i < p->start_count; i++) {
        placements[i].start = (unsigned int)p->starts[i];
        placements[i].size = (unsigned int)p->size;
    }
    *count = (unsigned int)p->start_count;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetGpuInstancePossiblePlacements_v2(struct nvml_device *device,
                                                               unsigned int id,
                                                               struct nvml_placement *placements,
                                                               unsigned int *count)
{
    return get_placements(__func__, device, id, placements, count);
}

/* The first version was withdrawn because it took *count for the capacity of the array. */
enum nvml_return nvmlDeviceGetGpuInstancePossiblePlacements(struct nvml_device *device,
                                                            unsigned int id,
                                                            struct nvml_placement *placements,
                                                            unsigned int *count)
{
    unsigned int room = count ? *count : 0, needed = 0;
    enum nvml_return rc = get_placements("", device, id, NULL, count ? &needed : NULL);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (placements && room < needed) {
        *count = needed;
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    return get_placements(__func__, device, id, placements, count);
}

enum nvml_return nvmlDeviceGetGpuInstanceRemainingCapacity(struct nvml_device *device,
                                                           unsigned int id, unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MONITOR | CALL_HAS_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = sim_model_gi_by_id(c.model, id);
    if (!count || at < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!c.state->mig_mode) {
        /* Where profiles are known with MIG off, nothing is free ("0/7" in captures). */
        *count = 0;
        return call_knows_profiles(&c, c.state->mig_mode) ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    }
    *count = slice_gi_room(c.model, c.state, at);
    return NVML_SUCCESS;
}

struct gi_create {
    int profile, start;
    unsigned int id;
};

static enum nvml_return gi_create(struct call *c, struct sim_state *next, void *arg)
{
    struct gi_create *create = arg;
    if (!next->mig_mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (slice_gi_count(next) == 0 && load_is_on(c->gpu, SIM_WHOLE, SIM_WHOLE)) {
        return NVML_ERROR_IN_USE;
    }
    return slice_gi_create(c->model, c->gpu->is_flipped, next, create->profile, create->start,
                           &create->id);
}

static enum nvml_return create(const char *name, struct nvml_device *device, unsigned int id,
                               const struct nvml_placement *placement,
                               struct nvml_gpu_instance **gi)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU | CALL_CONFIG | CALL_MIG_ON);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct gi_create change = {.profile = sim_model_gi_by_id(c.model, id), .start = SLICE_ANYWHERE};
    if (!gi || change.profile < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (placement) {
        if (placement->size != (unsigned int)c.model->gis[change.profile].size ||
            placement->start > 31) {
            return NVML_ERROR_INVALID_ARGUMENT;
        }
        change.start = (int)placement->start;
    }
    rc = call_mutate(&c, c.file->latency.create_gi_us, gi_create, &change);
    if (rc == NVML_SUCCESS) {
        *gi = handle_gi(&c, change.id);
        call_config_changed(&c);
    }
    return rc;
}

enum nvml_return nvmlDeviceCreateGpuInstance(struct nvml_device *device, unsigned int id,
                                             struct nvml_gpu_instance **gi)
{
    return create(__func__, device, id, NULL, gi);
}

enum nvml_return nvmlDeviceCreateGpuInstanceWithPlacement(struct nvml_device *device,
                                                          unsigned int id,
                                                          const struct nvml_placement *placement,
                                                          struct nvml_gpu_instance **gi)
{
    if (!placement) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_system(&c, __func__);
        return rc != NVML_SUCCESS ? rc : NVML_ERROR_INVALID_ARGUMENT;
    }
    return create(__func__, device, id, placement, gi);
}

static enum nvml_return gi_destroy(struct call *c, struct sim_state *next, void *arg)
{
    (void)arg;
    struct sim_gi *gi = &next->gis[c->gi];
    if (!gi->is_used || gi->serial != c->serial) {
        return NVML_ERROR_INVALID_ARGUMENT; /* somebody else was faster */
    }
    if (slice_ci_count(gi) > 0 || call_is_busy(c, gi, SIM_WHOLE)) {
        return NVML_ERROR_IN_USE;
    }
    *gi = (struct sim_gi){0};
    return NVML_SUCCESS;
}

enum nvml_return nvmlGpuInstanceDestroy(struct nvml_gpu_instance *gi)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, CALL_CONFIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    const struct sim_latency *l = &c.file->latency;
    int64_t others = (int64_t)slice_gi_count(c.state) - 1;
    rc = call_mutate(&c, l->destroy_gi_us + others * l->each_us, gi_destroy, NULL);
    if (rc == NVML_SUCCESS) {
        call_config_changed(&c);
    }
    return rc;
}

enum nvml_return nvmlDeviceGetGpuInstances(struct nvml_device *device, unsigned int id,
                                           struct nvml_gpu_instance **gis, unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MONITOR | CALL_MIG_ON);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int profile = sim_model_gi_by_id(c.model, id);
    if (!gis || !count || profile < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int n = 0; /* *count holds garbage with nvidia-smi; never more than instanceCount */
    for (unsigned int i = 0; i < SIM_MAX_GI; i++) {
        if (c.state->gis[i].is_used && c.state->gis[i].profile == profile) {
            gis[n++] = handle_gi(&c, i);
        }
    }
    *count = n;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetGpuInstanceById(struct nvml_device *device, unsigned int id,
                                              struct nvml_gpu_instance **gi)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MONITOR | CALL_MIG_ON);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!gi) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (id >= SIM_MAX_GI || !c.state->gis[id].is_used) {
        return NVML_ERROR_NOT_FOUND;
    }
    *gi = handle_gi(&c, id);
    return NVML_SUCCESS;
}

enum nvml_return nvmlGpuInstanceGetInfo(struct nvml_gpu_instance *gi, struct nvml_gi_info *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, 0);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct sim_gi *g = &c.state->gis[c.gi];
    *info = (struct nvml_gi_info){.device = handle_gpu(c.index),
                                  .id = c.gi,
                                  .profile_id = (unsigned int)c.model->gis[g->profile].id,
                                  .placement = {g->start, g->size}};
    return NVML_SUCCESS;
}
