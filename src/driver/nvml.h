#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/* Our own declarations of the part of NVIDIA's management library that we use; checked against the
 * real nvml.h in tests/unit/test_driver_abi.c where that is installed.  Names follow NVML's without
 * its prefix.  Every symbol is looked up with dlsym(); what is missing is NULL in struct nvml. */

typedef int nvml_return; /* an enum in C, so an int in the ABI */
typedef void *nvml_device;
typedef void *nvml_gi;
typedef void *nvml_ci;
typedef void *nvml_event_set;
typedef void *nvml_gpm_sample;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_LIBRARY_NOT_FOUND = 12,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_IN_USE = 19,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_NO_DATA = 21,
    NVML_ERROR_INSUFFICIENT_RESOURCES = 23,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_NOT_READY = 27,
    NVML_ERROR_GPU_NOT_FOUND = 28,
    NVML_ERROR_INVALID_STATE = 29,
    NVML_ERROR_UNKNOWN = 999,
};

#define NVML_NO_ID 0xFFFFFFFFu
#define NVML_ENGINE_SHARED 0u
#define NVML_TEMPERATURE_GPU 0u
#define NVML_FI_RESETLESS_MIG 184u
#define NVML_ARCH_UNKNOWN 0xFFFFFFFFu
#define NVML_VALUE_NOT_AVAILABLE UINT64_MAX /* usedGpuMemory */

#define NVML_EVENT_ECC_DOUBLE 0x2ull
#define NVML_EVENT_XID 0x8ull
#define NVML_EVENT_MIG_CONFIG 0x100ull

/* The newest header known has 18 GPU-instance and 9 compute-instance profiles; later ones only
 * grow, so we ask further. */
#define NVML_GI_PROFILES 32u
#define NVML_CI_PROFILES 16u

#define NVML_VERSION(type, number) ((uint32_t)sizeof(type) | (uint32_t)(number) << 24)

struct nvml_gi_profile_v1 {
    uint32_t id, is_p2p, slices, instances, sms, copy, decoder, encoder, jpeg, ofa;
    uint64_t memory_mib;
};

struct nvml_gi_profile_v2 {
    uint32_t version, id, is_p2p, slices, instances, sms, copy, decoder, encoder, jpeg, ofa;
    uint64_t memory_mib;
    char name[96];
};

struct nvml_gi_profile_v3 {
    uint32_t version, id, slices, instances, sms, copy, decoder, encoder, jpeg, ofa;
    uint64_t memory_mib;
    char name[96];
    uint32_t capabilities;
};

struct nvml_ci_profile {
    uint32_t id, slices, instances, sms, copy, decoder, encoder, jpeg, ofa;
};

struct nvml_placement {
    uint32_t start, size;
};

struct nvml_gi_info {
    nvml_device device;
    uint32_t id, profile_id;
    struct nvml_placement placement;
};

struct nvml_ci_info {
    nvml_device device;
    nvml_gi gi;
    uint32_t id, profile_id;
    struct nvml_placement placement;
};

struct nvml_process {
    uint32_t pid;
    uint64_t memory_bytes;
    uint32_t gi_id, ci_id;
};

struct nvml_memory {
    uint64_t total, free, used;
};

struct nvml_memory_v2 {
    uint32_t version;
    uint64_t total, reserved, free, used;
};

struct nvml_pci {
    char bus_id_legacy[16];
    uint32_t domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml_utilization {
    uint32_t gpu, memory;
};

union nvml_value {
    double d;
    uint32_t u;
    uint64_t ull;
};

struct nvml_field {
    uint32_t field, scope;
    int64_t timestamp, latency_us;
    uint32_t value_type;
    nvml_return code;
    union nvml_value value;
};

struct nvml_event {
    nvml_device device;
    uint64_t type, data;
    uint32_t gi_id, ci_id;
};

enum {
    NVML_GPM_GRAPHICS_UTIL = 1,
    NVML_GPM_SM_UTIL = 2,
    NVML_GPM_DRAM_UTIL = 10,
};

struct nvml_gpm_metric {
    uint32_t id;
    nvml_return code;
    double value;
    char *short_name, *long_name, *unit;
};

/* The real array grows with each header; the library touches the first `count`. */
#define NVML_GPM_METRICS 8
struct nvml_gpm_get {
    uint32_t version, count;
    nvml_gpm_sample first, second;
    struct nvml_gpm_metric metrics[NVML_GPM_METRICS];
};

struct nvml_gpm_support {
    uint32_t version, is_supported;
};

/* X(member, "symbol", (arguments)): every function that we call.  All return nvml_return. */
#define NVML_FUNCTIONS(X)                                                                          \
    X(init, "nvmlInit_v2", (void))                                                                 \
    X(shutdown, "nvmlShutdown", (void))                                                            \
    X(driver_version, "nvmlSystemGetDriverVersion", (char *, uint32_t))                            \
    X(nvml_version, "nvmlSystemGetNVMLVersion", (char *, uint32_t))                                \
    X(cuda_version, "nvmlSystemGetCudaDriverVersion_v2", (int *))                                  \
    X(count, "nvmlDeviceGetCount_v2", (uint32_t *))                                                \
    X(by_index, "nvmlDeviceGetHandleByIndex_v2", (uint32_t, nvml_device *))                        \
    X(by_pci, "nvmlDeviceGetHandleByPciBusId_v2", (const char *, nvml_device *))                   \
    X(uuid, "nvmlDeviceGetUUID", (nvml_device, char *, uint32_t))                                  \
    X(name, "nvmlDeviceGetName", (nvml_device, char *, uint32_t))                                  \
    X(pci_info, "nvmlDeviceGetPciInfo_v3", (nvml_device, struct nvml_pci *))                       \
    X(minor, "nvmlDeviceGetMinorNumber", (nvml_device, uint32_t *))                                \
    X(architecture, "nvmlDeviceGetArchitecture", (nvml_device, uint32_t *))                        \
    X(memory, "nvmlDeviceGetMemoryInfo", (nvml_device, struct nvml_memory *))                      \
    X(memory_v2, "nvmlDeviceGetMemoryInfo_v2", (nvml_device, struct nvml_memory_v2 *))             \
    X(power, "nvmlDeviceGetPowerUsage", (nvml_device, uint32_t *))                                 \
    X(energy, "nvmlDeviceGetTotalEnergyConsumption", (nvml_device, uint64_t *))                    \
    X(temperature, "nvmlDeviceGetTemperature", (nvml_device, uint32_t, uint32_t *))                \
    X(utilization, "nvmlDeviceGetUtilizationRates", (nvml_device, struct nvml_utilization *))      \
    X(fields, "nvmlDeviceGetFieldValues", (nvml_device, int, struct nvml_field *))                 \
    X(compute_processes, "nvmlDeviceGetComputeRunningProcesses_v3",                                \
      (nvml_device, uint32_t *, struct nvml_process *))                                            \
    X(graphics_processes, "nvmlDeviceGetGraphicsRunningProcesses_v3",                              \
      (nvml_device, uint32_t *, struct nvml_process *))                                            \
    X(mps_processes, "nvmlDeviceGetMPSComputeRunningProcesses_v3",                                 \
      (nvml_device, uint32_t *, struct nvml_process *))                                            \
    X(get_mig, "nvmlDeviceGetMigMode", (nvml_device, uint32_t *, uint32_t *))                      \
    X(set_mig, "nvmlDeviceSetMigMode", (nvml_device, uint32_t, nvml_return *))                     \
    X(gi_profile, "nvmlDeviceGetGpuInstanceProfileInfo",                                           \
      (nvml_device, uint32_t, struct nvml_gi_profile_v1 *))                                        \
    X(gi_profile_v, "nvmlDeviceGetGpuInstanceProfileInfoV", (nvml_device, uint32_t, void *))       \
    X(gi_placements, "nvmlDeviceGetGpuInstancePossiblePlacements_v2",                              \
      (nvml_device, uint32_t, struct nvml_placement *, uint32_t *))                                \
    X(gi_create, "nvmlDeviceCreateGpuInstanceWithPlacement",                                       \
      (nvml_device, uint32_t, const struct nvml_placement *, nvml_gi *))                           \
    X(gi_destroy, "nvmlGpuInstanceDestroy", (nvml_gi))                                             \
    X(gi_list, "nvmlDeviceGetGpuInstances", (nvml_device, uint32_t, nvml_gi *, uint32_t *))        \
    X(gi_info, "nvmlGpuInstanceGetInfo", (nvml_gi, struct nvml_gi_info *))                         \
    X(ci_profile, "nvmlGpuInstanceGetComputeInstanceProfileInfo",                                  \
      (nvml_gi, uint32_t, uint32_t, struct nvml_ci_profile *))                                     \
    X(ci_create, "nvmlGpuInstanceCreateComputeInstance", (nvml_gi, uint32_t, nvml_ci *))           \
    X(ci_destroy, "nvmlComputeInstanceDestroy", (nvml_ci))                                         \
    X(ci_list, "nvmlGpuInstanceGetComputeInstances", (nvml_gi, uint32_t, nvml_ci *, uint32_t *))   \
    X(ci_info, "nvmlComputeInstanceGetInfo_v2", (nvml_ci, struct nvml_ci_info *))                  \
    X(mig_max, "nvmlDeviceGetMaxMigDeviceCount", (nvml_device, uint32_t *))                        \
    X(mig_by_index, "nvmlDeviceGetMigDeviceHandleByIndex", (nvml_device, uint32_t, nvml_device *)) \
    X(mig_gi_id, "nvmlDeviceGetGpuInstanceId", (nvml_device, uint32_t *))                          \
    X(mig_ci_id, "nvmlDeviceGetComputeInstanceId", (nvml_device, uint32_t *))                      \
    X(events_create, "nvmlEventSetCreate", (nvml_event_set *))                                     \
    X(events_free, "nvmlEventSetFree", (nvml_event_set))                                           \
    X(events_supported, "nvmlDeviceGetSupportedEventTypes", (nvml_device, uint64_t *))             \
    X(events_register, "nvmlDeviceRegisterEvents", (nvml_device, uint64_t, nvml_event_set))        \
    X(events_wait, "nvmlEventSetWait_v2", (nvml_event_set, struct nvml_event *, uint32_t))         \
    X(gpm_support, "nvmlGpmQueryDeviceSupport", (nvml_device, struct nvml_gpm_support *))          \
    X(gpm_alloc, "nvmlGpmSampleAlloc", (nvml_gpm_sample *))                                        \
    X(gpm_free, "nvmlGpmSampleFree", (nvml_gpm_sample))                                            \
    X(gpm_sample, "nvmlGpmSampleGet", (nvml_device, nvml_gpm_sample))                              \
    X(gpm_mig_sample, "nvmlGpmMigSampleGet", (nvml_device, uint32_t, nvml_gpm_sample))             \
    X(gpm_metrics, "nvmlGpmMetricsGet", (struct nvml_gpm_get *))

struct nvml {
    void *library;
#define NVML_MEMBER(member, symbol, arguments) nvml_return(*member) arguments;
    NVML_FUNCTIONS(NVML_MEMBER)
#undef NVML_MEMBER
};

/* -ENOENT: it cannot be loaded; -ELIBBAD: it is something else. */
int nvml_load(struct nvml *nvml, const char *path, struct error *err);
void nvml_unload(struct nvml *nvml);

/* The errno (positive) that a return value means here, and what to tell a person. */
int nvml_errno(nvml_return answer);
const char *nvml_text(nvml_return answer);
