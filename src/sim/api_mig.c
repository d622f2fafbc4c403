#include "sim/call.h"
#include "sim/load.h"
#include "sim/nvml.h"

enum nvml_return nvmlDeviceGetMigMode(struct nvml_device *device, unsigned int *current,
                                      unsigned int *pending)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_HAS_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!current || !pending) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *current = (unsigned int)c.state->mig_mode;
    *pending = (unsigned int)c.state->mig_pending;
    return NVML_SUCCESS;
}

struct mode_change {
    int mode;
    enum nvml_return activation;
};

/* Instances or processes stand in the way.  Ampere then remembers the wish until the next reset;
 * later GPUs, which need no reset, leave everything as it was. */
static enum nvml_return mode_change(struct call *c, struct sim_state *next, void *arg)
{
    struct mode_change *change = arg;
    bool is_busy = load_is_on(c->gpu, SIM_WHOLE, SIM_WHOLE) || slice_gi_count(next) > 0;
    if (next->mig_mode == change->mode) {
        next->mig_pending = change->mode;
        change->activation = NVML_SUCCESS;
    } else if (!is_busy) {
        next->mig_mode = next->mig_pending = change->mode;
        next->settings.has_accounting = 0;
        change->activation = NVML_SUCCESS;
    } else {
        change->activation = NVML_ERROR_IN_USE;
        if (c->model->arch < SIM_ARCH_HOPPER) {
            next->mig_pending = change->mode;
        }
    }
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceSetMigMode(struct nvml_device *device, unsigned int mode,
                                      enum nvml_return *activation)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_ROOT | CALL_HAS_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (mode > 1 || !activation) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    struct mode_change change = {.mode = (int)mode};
    bool is_noop = c.state->mig_mode == (int)mode;
    rc = call_mutate(&c, is_noop ? 0 : c.file->latency.mode_us, mode_change, &change);
    if (rc == NVML_SUCCESS) {
        *activation = change.activation;
    }
    return rc;
}

enum nvml_return nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = c.state->mig_mode ? (unsigned int)c.model->max_devices : 0;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device, unsigned int index,
                                                     struct nvml_device **mig)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG_ON);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!mig) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int gi = 0, ci = 0;
    if (!slice_by_index(c.state, index, &gi, &ci)) {
        return index < (unsigned int)c.model->max_devices ? NVML_ERROR_NOT_FOUND
                                                          : NVML_ERROR_INVALID_ARGUMENT;
    }
    *mig = handle_mig(&c, gi, ci);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct nvml_device *mig,
                                                              struct nvml_device **device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, mig, CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *device = handle_gpu(c.index);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, unsigned int *is_mig)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!is_mig) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *is_mig = c.is_mig;
    return NVML_SUCCESS;
}

static enum nvml_return get_instance_id(const char *name, struct nvml_device *device,
                                        bool is_compute, unsigned int *id)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!id) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *id = is_compute ? c.ci : c.gi;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetGpuInstanceId(struct nvml_device *device, unsigned int *id)
{
    return get_instance_id(__func__, device, false, id);
}

enum nvml_return nvmlDeviceGetComputeInstanceId(struct nvml_device *device, unsigned int *id)
{
    return get_instance_id(__func__, device, true, id);
}

static enum nvml_return get_attributes(const char *name, struct nvml_device *device,
                                       struct nvml_attributes *attributes)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!attributes) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct sim_gi_profile *gi = call_gi_profile(&c);
    const struct sim_ci_profile *ci = &gi->cis[c.state->gis[c.gi].cis[c.ci].profile];
    *attributes = (struct nvml_attributes){
        .multiprocessor_count = (unsigned int)ci->sms,
        .shared_copy_engine_count = (unsigned int)gi->copy_engines,
        .shared_decoder_count = (unsigned int)gi->decoders,
        .shared_encoder_count = (unsigned int)gi->encoders,
        .shared_jpeg_count = (unsigned int)gi->jpegs,
        .shared_ofa_count = (unsigned int)gi->ofas,
        .gpu_instance_slice_count = (unsigned int)gi->slices,
        .compute_instance_slice_count = (unsigned int)ci->slices,
        .memory_size_mb = (unsigned int)gi->memory_mib,
    };
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetAttributes_v2(struct nvml_device *device,
                                            struct nvml_attributes *attributes)
{
    return get_attributes(__func__, device, attributes);
}

enum nvml_return nvmlDeviceGetAttributes(struct nvml_device *device,
                                         struct nvml_attributes_v1 *attributes)
{
    struct nvml_attributes full;
    enum nvml_return rc = get_attributes(__func__, device, &full);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!attributes) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *attributes = (struct nvml_attributes_v1){
        .multiprocessor_count = full.multiprocessor_count,
        .shared_copy_engine_count = full.shared_copy_engine_count,
        .shared_decoder_count = full.shared_decoder_count,
        .shared_encoder_count = full.shared_encoder_count,
        .shared_jpeg_count = full.shared_jpeg_count,
        .shared_ofa_count = full.shared_ofa_count,
    };
    return NVML_SUCCESS;
}
