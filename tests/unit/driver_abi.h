#pragma once
#include <stddef.h>

/* What src/driver/nvml.h says, row by row, beside NVIDIA's own nvml.h.  The two cannot be included
 * together (they share names), so each is expanded in a file of its own and the test compares. */

#define ABI_ROWS(SIZE, MEMBER, VALUE)                                                              \
    SIZE(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t)                                         \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, id, id)                               \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, is_p2p, isP2pSupported)               \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, slices, sliceCount)                   \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, instances, instanceCount)             \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, sms, multiprocessorCount)             \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, copy, copyEngineCount)                \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, decoder, decoderCount)                \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, encoder, encoderCount)                \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, jpeg, jpegCount)                      \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, ofa, ofaCount)                        \
    MEMBER(nvml_gi_profile_v1, nvmlGpuInstanceProfileInfo_t, memory_mib, memorySizeMB)             \
    SIZE(nvml_gi_profile_v2, nvmlGpuInstanceProfileInfo_v2_t)                                      \
    MEMBER(nvml_gi_profile_v2, nvmlGpuInstanceProfileInfo_v2_t, id, id)                            \
    MEMBER(nvml_gi_profile_v2, nvmlGpuInstanceProfileInfo_v2_t, ofa, ofaCount)                     \
    MEMBER(nvml_gi_profile_v2, nvmlGpuInstanceProfileInfo_v2_t, memory_mib, memorySizeMB)          \
    MEMBER(nvml_gi_profile_v2, nvmlGpuInstanceProfileInfo_v2_t, name, name)                        \
    SIZE(nvml_ci_profile, nvmlComputeInstanceProfileInfo_t)                                        \
    MEMBER(nvml_ci_profile, nvmlComputeInstanceProfileInfo_t, slices, sliceCount)                  \
    MEMBER(nvml_ci_profile, nvmlComputeInstanceProfileInfo_t, sms, multiprocessorCount)            \
    SIZE(nvml_placement, nvmlGpuInstancePlacement_t)                                               \
    MEMBER(nvml_placement, nvmlGpuInstancePlacement_t, start, start)                               \
    MEMBER(nvml_placement, nvmlGpuInstancePlacement_t, size, size)                                 \
    SIZE(nvml_gi_info, nvmlGpuInstanceInfo_t)                                                      \
    MEMBER(nvml_gi_info, nvmlGpuInstanceInfo_t, id, id)                                            \
    MEMBER(nvml_gi_info, nvmlGpuInstanceInfo_t, profile_id, profileId)                             \
    MEMBER(nvml_gi_info, nvmlGpuInstanceInfo_t, placement, placement)                              \
    SIZE(nvml_ci_info, nvmlComputeInstanceInfo_t)                                                  \
    MEMBER(nvml_ci_info, nvmlComputeInstanceInfo_t, gi, gpuInstance)                               \
    MEMBER(nvml_ci_info, nvmlComputeInstanceInfo_t, id, id)                                        \
    MEMBER(nvml_ci_info, nvmlComputeInstanceInfo_t, profile_id, profileId)                         \
    MEMBER(nvml_ci_info, nvmlComputeInstanceInfo_t, placement, placement)                          \
    SIZE(nvml_process, nvmlProcessInfo_t)                                                          \
    MEMBER(nvml_process, nvmlProcessInfo_t, pid, pid)                                              \
    MEMBER(nvml_process, nvmlProcessInfo_t, memory_bytes, usedGpuMemory)                           \
    MEMBER(nvml_process, nvmlProcessInfo_t, gi_id, gpuInstanceId)                                  \
    MEMBER(nvml_process, nvmlProcessInfo_t, ci_id, computeInstanceId)                              \
    SIZE(nvml_memory, nvmlMemory_t)                                                                \
    MEMBER(nvml_memory, nvmlMemory_t, total, total)                                                \
    MEMBER(nvml_memory, nvmlMemory_t, used, used)                                                  \
    SIZE(nvml_memory_v2, nvmlMemory_v2_t)                                                          \
    MEMBER(nvml_memory_v2, nvmlMemory_v2_t, total, total)                                          \
    MEMBER(nvml_memory_v2, nvmlMemory_v2_t, used, used)                                            \
    SIZE(nvml_pci, nvmlPciInfo_t)                                                                  \
    MEMBER(nvml_pci, nvmlPciInfo_t, device_id, pciDeviceId)                                        \
    MEMBER(nvml_pci, nvmlPciInfo_t, bus_id, busId)                                                 \
    SIZE(nvml_utilization, nvmlUtilization_t)                                                      \
    SIZE(nvml_field, nvmlFieldValue_t)                                                             \
    MEMBER(nvml_field, nvmlFieldValue_t, field, fieldId)                                           \
    MEMBER(nvml_field, nvmlFieldValue_t, code, nvmlReturn)                                         \
    MEMBER(nvml_field, nvmlFieldValue_t, value, value)                                             \
    SIZE(nvml_event, nvmlEventData_t)                                                              \
    MEMBER(nvml_event, nvmlEventData_t, type, eventType)                                           \
    MEMBER(nvml_event, nvmlEventData_t, data, eventData)                                           \
    MEMBER(nvml_event, nvmlEventData_t, gi_id, gpuInstanceId)                                      \
    MEMBER(nvml_event, nvmlEventData_t, ci_id, computeInstanceId)                                  \
    SIZE(nvml_gpm_metric, nvmlGpmMetric_t)                                                         \
    MEMBER(nvml_gpm_metric, nvmlGpmMetric_t, code, nvmlReturn)                                     \
    MEMBER(nvml_gpm_metric, nvmlGpmMetric_t, value, value)                                         \
    MEMBER(nvml_gpm_get, nvmlGpmMetricsGet_t, count, numMetrics)                                   \
    MEMBER(nvml_gpm_get, nvmlGpmMetricsGet_t, first, sample1)                                      \
    MEMBER(nvml_gpm_get, nvmlGpmMetricsGet_t, metrics, metrics)                                    \
    SIZE(nvml_gpm_support, nvmlGpmSupport_t)                                                       \
    VALUE(NVML_SUCCESS, NVML_SUCCESS)                                                              \
    VALUE(NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_INVALID_ARGUMENT)                                \
    VALUE(NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_SUPPORTED)                                      \
    VALUE(NVML_ERROR_NO_PERMISSION, NVML_ERROR_NO_PERMISSION)                                      \
    VALUE(NVML_ERROR_NOT_FOUND, NVML_ERROR_NOT_FOUND)                                              \
    VALUE(NVML_ERROR_INSUFFICIENT_SIZE, NVML_ERROR_INSUFFICIENT_SIZE)                              \
    VALUE(NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_DRIVER_NOT_LOADED)                              \
    VALUE(NVML_ERROR_TIMEOUT, NVML_ERROR_TIMEOUT)                                                  \
    VALUE(NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_FUNCTION_NOT_FOUND)                            \
    VALUE(NVML_ERROR_GPU_IS_LOST, NVML_ERROR_GPU_IS_LOST)                                          \
    VALUE(NVML_ERROR_RESET_REQUIRED, NVML_ERROR_RESET_REQUIRED)                                    \
    VALUE(NVML_ERROR_LIB_RM_VERSION_MISMATCH, NVML_ERROR_LIB_RM_VERSION_MISMATCH)                  \
    VALUE(NVML_ERROR_IN_USE, NVML_ERROR_IN_USE)                                                    \
    VALUE(NVML_ERROR_NO_DATA, NVML_ERROR_NO_DATA)                                                  \
    VALUE(NVML_ERROR_INSUFFICIENT_RESOURCES, NVML_ERROR_INSUFFICIENT_RESOURCES)                    \
    VALUE(NVML_ERROR_ARGUMENT_VERSION_MISMATCH, NVML_ERROR_ARGUMENT_VERSION_MISMATCH)              \
    VALUE(NVML_ERROR_UNKNOWN, NVML_ERROR_UNKNOWN)                                                  \
    VALUE(NVML_EVENT_XID, nvmlEventTypeXidCriticalError)                                           \
    VALUE(NVML_EVENT_ECC_DOUBLE, nvmlEventTypeDoubleBitEccError)                                   \
    VALUE(NVML_EVENT_MIG_CONFIG, nvmlEventMigConfigChange)                                         \
    VALUE(NVML_GPM_GRAPHICS_UTIL, NVML_GPM_METRIC_GRAPHICS_UTIL)                                   \
    VALUE(NVML_GPM_SM_UTIL, NVML_GPM_METRIC_SM_UTIL)                                               \
    VALUE(NVML_GPM_DRAM_UTIL, NVML_GPM_METRIC_DRAM_BW_UTIL)                                        \
    VALUE(NVML_ENGINE_SHARED, NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)                         \
    VALUE(NVML_TEMPERATURE_GPU, NVML_TEMPERATURE_GPU)

struct abi_row {
    const char *name;
    unsigned long long value;
};

/* NVIDIA's side; ends with a NULL name. */
extern const struct abi_row abi_theirs[];
