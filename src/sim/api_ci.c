#include "sim/call.h"
#include "sim/load.h"
#include "sim/nvml.h"
#include <stdio.h>

/* The index of a profile in the GPU instance's table by its enumeration value.  Profiles larger
 * than the instance, and those whose numbers are not known, are not supported. */
static enum nvml_return profile_by_enum(const struct call *c, unsigned int profile,
                                        unsigned int engine, int *ret)
{
    if (profile >= NVML_CI_PROFILE_COUNT || engine >= NVML_CI_ENGINE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = sim_gi_ci_by_enum(call_gi_profile(c), profile);
    return *ret < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

static void fill_v1(const struct sim_gi_profile *gi, const struct sim_ci_profile *p,
                    struct nvml_ci_profile *info)
{
    *info = (struct nvml_ci_profile){
        .id = (unsigned int)p->id,
        .slice_count = (unsigned int)p->slices,
        .instance_count = (unsigned int)p->count,
        .multiprocessor_count = (unsigned int)p->sms,
        .shared_copy_engine_count = (unsigned int)gi->copy_engines,
        .shared_decoder_count = (unsigned int)gi->decoders,
        .shared_encoder_count = (unsigned int)gi->encoders,
        .shared_jpeg_count = (unsigned int)gi->jpegs,
        .shared_ofa_count = (unsigned int)gi->ofas,
    };
}

enum nvml_return nvmlGpuInstanceGetComputeInstanceProfileInfo(struct nvml_gpu_instance *gi,
                                                              unsigned int profile,
                                                              unsigned int engine,
                                                              struct nvml_ci_profile *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, 0);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = 0;
    rc = info ? profile_by_enum(&c, profile, engine, &at) : NVML_ERROR_INVALID_ARGUMENT;
    if (rc == NVML_SUCCESS) {
        fill_v1(call_gi_profile(&c), &call_gi_profile(&c)->cis[at], info);
    }
    return rc;
}

/* Versions 2 and 3 differ by one word at the end. */
static enum nvml_return fill_versioned(const struct sim_gi_profile *gi,
                                       const struct sim_ci_profile *p, void *info)
{
    struct nvml_ci_profile v1;
    fill_v1(gi, p, &v1);
    unsigned int version = *(unsigned int *)info;
    bool is_v3 = version == NVML_STRUCT_VERSION(struct nvml_ci_profile_v3, 3);
    if (!is_v3 && version != NVML_STRUCT_VERSION(struct nvml_ci_profile_v2, 2)) {
        return NVML_ERROR_INVALID_ARGUMENT; /* nvml.h; newer calls have a code of their own */
    }
    struct nvml_ci_profile_v2 *v2 = info;
    v2->id = v1.id;
    v2->slice_count = v1.slice_count;
    v2->instance_count = v1.instance_count;
    v2->multiprocessor_count = v1.multiprocessor_count;
    v2->shared_copy_engine_count = v1.shared_copy_engine_count;
    v2->shared_decoder_count = v1.shared_decoder_count;
    v2->shared_encoder_count = v1.shared_encoder_count;
    v2->shared_jpeg_count = v1.shared_jpeg_count;
    v2->shared_ofa_count = v1.shared_ofa_count;
    snprintf(v2->name, sizeof(v2->name), "MIG %s", p->name);
    if (is_v3) {
        struct nvml_ci_profile_v3 *v3 = info;
        v3->capabilities =
            (unsigned int)gi->capabilities & 2 ? 1 : 0; /* GFX: 2 of a GI, 1 of a CI */
    }
    return NVML_SUCCESS;
}

enum nvml_return nvmlGpuInstanceGetComputeInstanceProfileInfoV(struct nvml_gpu_instance *gi,
                                                               unsigned int profile,
                                                               unsigned int engine, void *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, 0);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = 0;
    rc = info ? profile_by_enum(&c, profile, engine, &at) : NVML_ERROR_INVALID_ARGUMENT;
    return rc == NVML_SUCCESS
               ? fill_versioned(call_gi_profile(&c), &call_gi_profile(&c)->cis[at], info)
               : rc;
}

enum nvml_return
nvmlGpuInstanceGetComputeInstancePossiblePlacements(struct nvml_gpu_instance *gi, unsigned int id,
                                                    struct nvml_placement *placements,
                                                    unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, CALL_MONITOR);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = sim_gi_ci_by_id(call_gi_profile(&c), id);
    if (!count || at < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct sim_ci_profile *p = &call_gi_profile(&c)->cis[at];
    for (int i = 0; placements && i < p->start_count; i++) {
        placements[i].start = (unsigned int)p->starts[i];
        placements[i].size = (unsigned int)p->size;
    }
    *count = (unsigned int)p->start_count;
    return NVML_SUCCESS;
}

enum nvml_return nvmlGpuInstanceGetComputeInstanceRemainingCapacity(struct nvml_gpu_instance *gi,
                                                                    unsigned int id,
                                                                    unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, CALL_MONITOR);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int at = sim_gi_ci_by_id(call_gi_profile(&c), id);
    if (!count || at < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = slice_ci_room(call_gi_profile(&c), &c.state->gis[c.gi], at);
    return NVML_SUCCESS;
}

struct ci_create {
    int profile, start;
    unsigned int id;
};

static enum nvml_return ci_create(struct call *c, struct sim_state *next, void *arg)
{
    struct ci_create *create = arg;
    const struct sim_gi *gi = &next->gis[c->gi];
    if (!gi->is_used || gi->serial != c->serial) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return slice_ci_create(&c->model->gis[gi->profile], next, c->gi, create->profile, create->start,
                           &create->id);
}

static enum nvml_return create(const char *name, struct nvml_gpu_instance *gi, unsigned int id,
                               const struct nvml_placement *placement,
                               struct nvml_compute_instance **ci)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, name, gi, CALL_CONFIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct ci_create change = {.profile = sim_gi_ci_by_id(call_gi_profile(&c), id),
                               .start = SLICE_ANYWHERE};
    if (!ci || change.profile < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (placement) {
        const struct sim_ci_profile *p = &call_gi_profile(&c)->cis[change.profile];
        if (placement->size != (unsigned int)p->size || placement->start > 31) {
            return NVML_ERROR_INVALID_ARGUMENT;
        }
        change.start = (int)placement->start;
    }
    rc = call_mutate(&c, c.file->latency.create_ci_us, ci_create, &change);
    if (rc == NVML_SUCCESS) {
        *ci = handle_ci(&c, c.gi, change.id);
        call_config_changed(&c);
    }
    return rc;
}

enum nvml_return nvmlGpuInstanceCreateComputeInstance(struct nvml_gpu_instance *gi, unsigned int id,
                                                      struct nvml_compute_instance **ci)
{
    return create(__func__, gi, id, NULL, ci);
}

enum nvml_return
nvmlGpuInstanceCreateComputeInstanceWithPlacement(struct nvml_gpu_instance *gi, unsigned int id,
                                                  const struct nvml_placement *placement,
                                                  struct nvml_compute_instance **ci)
{
    if (!placement) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_system(&c, __func__);
        return rc != NVML_SUCCESS ? rc : NVML_ERROR_INVALID_ARGUMENT;
    }
    return create(__func__, gi, id, placement, ci);
}

static enum nvml_return ci_destroy(struct call *c, struct sim_state *next, void *arg)
{
    (void)arg;
    struct sim_gi *gi = &next->gis[c->gi];
    struct sim_ci *ci = &gi->cis[c->ci];
    if (!gi->is_used || !ci->is_used || ci->serial != c->serial) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (call_is_busy(c, gi, (int)c->ci)) {
        return NVML_ERROR_IN_USE;
    }
    *ci = (struct sim_ci){0};
    return NVML_SUCCESS;
}

enum nvml_return nvmlComputeInstanceDestroy(struct nvml_compute_instance *ci)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_ci(&c, __func__, ci, CALL_CONFIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    rc = call_mutate(&c, c.file->latency.destroy_ci_us, ci_destroy, NULL);
    if (rc == NVML_SUCCESS) {
        call_config_changed(&c);
    }
    return rc;
}

enum nvml_return nvmlGpuInstanceGetComputeInstances(struct nvml_gpu_instance *gi, unsigned int id,
                                                    struct nvml_compute_instance **cis,
                                                    unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, CALL_MONITOR);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int profile = sim_gi_ci_by_id(call_gi_profile(&c), id);
    if (!cis || !count || profile < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int n = 0;
    const struct sim_gi *g = &c.state->gis[c.gi];
    for (unsigned int i = 0; i < SIM_MAX_CI; i++) {
        if (g->cis[i].is_used && g->cis[i].profile == profile) {
            cis[n++] = handle_ci(&c, c.gi, i);
        }
    }
    *count = n;
    return NVML_SUCCESS;
}

enum nvml_return nvmlGpuInstanceGetComputeInstanceById(struct nvml_gpu_instance *gi,
                                                       unsigned int id,
                                                       struct nvml_compute_instance **ci)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_gi(&c, __func__, gi, CALL_MONITOR);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (id >= SIM_MAX_CI || !c.state->gis[c.gi].cis[id].is_used) {
        return NVML_ERROR_NOT_FOUND;
    }
    *ci = handle_ci(&c, c.gi, id);
    return NVML_SUCCESS;
}

static enum nvml_return get_info(const char *name, struct nvml_compute_instance *ci,
                                 struct nvml_ci_info *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_ci(&c, name, ci, 0);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct sim_ci *i = &c.state->gis[c.gi].cis[c.ci];
    /* The parent, as nvml.h says: nvidia-smi prints its index, and a client that took a MIG UUID
     * from here got the GPU's and had to be corrected (DRA driver, v0.5.0). */
    *info =
        (struct nvml_ci_info){.device = handle_gpu(c.index),
                              .gpu_instance = handle_gi(&c, c.gi),
                              .id = c.ci,
                              .profile_id = (unsigned int)call_gi_profile(&c)->cis[i->profile].id,
                              .placement = {i->start, i->size}};
    return NVML_SUCCESS;
}

enum nvml_return nvmlComputeInstanceGetInfo_v2(struct nvml_compute_instance *ci,
                                               struct nvml_ci_info *info)
{
    return get_info(__func__, ci, info);
}

enum nvml_return nvmlComputeInstanceGetInfo(struct nvml_compute_instance *ci,
                                            struct nvml_ci_info_v1 *info)
{
    struct nvml_ci_info full;
    enum nvml_return rc = get_info(__func__, ci, &full);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *info = (struct nvml_ci_info_v1){.device = full.device,
                                     .gpu_instance = full.gpu_instance,
                                     .id = full.id,
                                     .profile_id = full.profile_id};
    return NVML_SUCCESS;
}
