/* Confidential computing, which is off: nothing is protected, and the host cannot do it.  Captures
 * of every generation say so of the memory; which GPUs could do it (Hopper and later) and what else
 * is said of a system without it follows nvml.h. */
#include "sim/answer.h"
#include "sim/nvml.h"

/* Memory in use that is protected. */
enum nvml_return nvmlDeviceGetConfComputeProtectedMemoryUsage(struct nvml_device *device,
                                                              struct nvml_memory *memory)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && !memory) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *memory = (struct nvml_memory){0};
    }
    return rc;
}

enum nvml_return nvmlDeviceGetConfComputeMemSizeInfo(struct nvml_device *device,
                                                     struct nvml_protected_size *size)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && c.model->arch < SIM_ARCH_AMPERE) {
        rc = NVML_ERROR_NOT_SUPPORTED;
    }
    if (rc == NVML_SUCCESS && !size) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *size = (struct nvml_protected_size){
            .unprotected_kib = (unsigned long long)c.model->memory_mib * 1024};
    }
    return rc;
}

/* Is there a GPU of this architecture or a later one? */
static bool has_arch(const struct call *c, enum sim_arch arch)
{
    for (uint32_t i = 0; i < c->file->gpu_count; i++) {
        if (c->m->models[i]->arch >= arch) {
            return true;
        }
    }
    return false;
}

static enum nvml_return begin(struct call *c, const char *name, const void *ret, enum sim_arch arch)
{
    enum nvml_return rc = call_system(c, name);
    if (rc == NVML_SUCCESS && !has_arch(c, arch)) {
        rc = NVML_ERROR_NOT_SUPPORTED;
    }
    return rc == NVML_SUCCESS && !ret ? NVML_ERROR_INVALID_ARGUMENT : rc;
}

enum nvml_return nvmlSystemGetConfComputeCapabilities(struct nvml_secure_caps *caps)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, caps, SIM_ARCH_AMPERE);
    if (rc == NVML_SUCCESS) {
        *caps = (struct nvml_secure_caps){.gpus = has_arch(&c, SIM_ARCH_HOPPER)};
    }
    return rc;
}

enum nvml_return nvmlSystemGetConfComputeState(struct nvml_secure_state *state)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, state, SIM_ARCH_AMPERE);
    if (rc == NVML_SUCCESS) {
        *state = (struct nvml_secure_state){0};
    }
    return rc;
}

enum nvml_return nvmlSystemGetConfComputeSettings(struct nvml_secure_settings *settings)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, settings, SIM_ARCH_HOPPER);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned int version = settings->version;
    if (version != NVML_STRUCT_VERSION(struct nvml_secure_settings, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    *settings = (struct nvml_secure_settings){.version = version};
    return NVML_SUCCESS;
}
