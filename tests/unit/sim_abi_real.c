/* Our structs against the real nvml.h, at compile time; compiled where libnvidia-ml-dev is
 * installed.  The enumerators have the same names in both, so the real ones step aside. */
#include "sim_abi_rename.h"

#include <nvml.h>
#include <stddef.h>

#include "sim_abi_restore.h"

#include "sim/nvml_types.h"

#define SAME_SIZE(ours, real) _Static_assert(sizeof(ours) == sizeof(real), #real)
#define SAME_FIELD(ours, field, real, real_field)                                                  \
    _Static_assert(offsetof(ours, field) == offsetof(real, real_field), #real "." #real_field)

SAME_SIZE(struct nvml_pci_info, nvmlPciInfo_t);
SAME_FIELD(struct nvml_pci_info, bus_id, nvmlPciInfo_t, busId);
SAME_FIELD(struct nvml_pci_info, pci_device_id, nvmlPciInfo_t, pciDeviceId);
SAME_SIZE(struct nvml_memory, nvmlMemory_t);
SAME_FIELD(struct nvml_memory, used, nvmlMemory_t, used);
SAME_SIZE(struct nvml_memory_v2, nvmlMemory_v2_t);
SAME_FIELD(struct nvml_memory_v2, reserved, nvmlMemory_v2_t, reserved);
SAME_FIELD(struct nvml_memory_v2, free, nvmlMemory_v2_t, free);
SAME_SIZE(struct nvml_bar1_memory, nvmlBAR1Memory_t);
SAME_FIELD(struct nvml_bar1_memory, free, nvmlBAR1Memory_t, bar1Free);
SAME_SIZE(struct nvml_utilization, nvmlUtilization_t);
SAME_SIZE(struct nvml_placement, nvmlGpuInstancePlacement_t);
SAME_SIZE(struct nvml_placement, nvmlComputeInstancePlacement_t);
SAME_SIZE(struct nvml_gi_profile, nvmlGpuInstanceProfileInfo_t);
SAME_FIELD(struct nvml_gi_profile, memory_size_mb, nvmlGpuInstanceProfileInfo_t, memorySizeMB);
SAME_SIZE(struct nvml_gi_profile_v2, nvmlGpuInstanceProfileInfo_v2_t);
SAME_FIELD(struct nvml_gi_profile_v2, name, nvmlGpuInstanceProfileInfo_v2_t, name);
SAME_FIELD(struct nvml_gi_profile_v2, is_p2p_supported, nvmlGpuInstanceProfileInfo_v2_t,
           isP2pSupported);
SAME_SIZE(struct nvml_gi_profile_v3, nvmlGpuInstanceProfileInfo_v3_t);
SAME_FIELD(struct nvml_gi_profile_v3, slice_count, nvmlGpuInstanceProfileInfo_v3_t, sliceCount);
SAME_FIELD(struct nvml_gi_profile_v3, capabilities, nvmlGpuInstanceProfileInfo_v3_t, capabilities);
SAME_SIZE(struct nvml_gi_info, nvmlGpuInstanceInfo_t);
SAME_FIELD(struct nvml_gi_info, placement, nvmlGpuInstanceInfo_t, placement);
SAME_SIZE(struct nvml_ci_profile, nvmlComputeInstanceProfileInfo_t);
SAME_SIZE(struct nvml_ci_profile_v2, nvmlComputeInstanceProfileInfo_v2_t);
SAME_FIELD(struct nvml_ci_profile_v2, name, nvmlComputeInstanceProfileInfo_v2_t, name);
SAME_SIZE(struct nvml_ci_profile_v3, nvmlComputeInstanceProfileInfo_v3_t);
SAME_FIELD(struct nvml_ci_profile_v3, capabilities, nvmlComputeInstanceProfileInfo_v3_t,
           capabilities);
SAME_SIZE(struct nvml_ci_info, nvmlComputeInstanceInfo_t);
SAME_FIELD(struct nvml_ci_info, placement, nvmlComputeInstanceInfo_t, placement);
SAME_SIZE(struct nvml_attributes, nvmlDeviceAttributes_t);
SAME_FIELD(struct nvml_attributes, memory_size_mb, nvmlDeviceAttributes_t, memorySizeMB);
SAME_SIZE(struct nvml_process_v1, nvmlProcessInfo_v1_t);
SAME_SIZE(struct nvml_process, nvmlProcessInfo_t);
SAME_FIELD(struct nvml_process, compute_instance_id, nvmlProcessInfo_t, computeInstanceId);
SAME_SIZE(struct nvml_field_value, nvmlFieldValue_t);
SAME_FIELD(struct nvml_field_value, nvml_return, nvmlFieldValue_t, nvmlReturn);
SAME_FIELD(struct nvml_field_value, value, nvmlFieldValue_t, value);
SAME_SIZE(struct nvml_sample, nvmlSample_t);
SAME_SIZE(struct nvml_ecc_counts, nvmlEccErrorCounts_t);
SAME_SIZE(struct nvml_row_remapper_histogram, nvmlRowRemapperHistogramValues_t);
SAME_SIZE(struct nvml_fbc_stats, nvmlFBCStats_t);
SAME_SIZE(struct nvml_violation_time, nvmlViolationTime_t);
SAME_SIZE(struct nvml_process_utilization, nvmlProcessUtilizationSample_t);
SAME_FIELD(struct nvml_process_utilization, sm, nvmlProcessUtilizationSample_t, smUtil);
SAME_SIZE(struct nvml_event_data, nvmlEventData_t);
SAME_FIELD(struct nvml_event_data, gpu_instance_id, nvmlEventData_t, gpuInstanceId);
SAME_SIZE(struct nvml_gpm_metric, nvmlGpmMetric_t);
SAME_FIELD(struct nvml_gpm_metric, value, nvmlGpmMetric_t, value);
SAME_FIELD(struct nvml_gpm_metrics, metrics, nvmlGpmMetricsGet_t, metrics);
SAME_SIZE(struct nvml_gpm_support, nvmlGpmSupport_t);
SAME_SIZE(struct nvml_fabric_info, nvmlGpuFabricInfo_t);
SAME_SIZE(struct nvml_accounting_stats, nvmlAccountingStats_t);
SAME_FIELD(struct nvml_accounting_stats, is_running, nvmlAccountingStats_t, isRunning);
SAME_SIZE(struct nvml_protected_size, nvmlConfComputeMemSizeInfo_t);
SAME_SIZE(struct nvml_secure_caps, nvmlConfComputeSystemCaps_t);
SAME_SIZE(struct nvml_secure_state, nvmlConfComputeSystemState_t);
SAME_SIZE(struct nvml_pci_info_ext, nvmlPciInfoExt_v1_t);
SAME_SIZE(struct nvml_process_detail, nvmlProcessDetail_v1_t);
SAME_SIZE(struct nvml_process_detail_list, nvmlProcessDetailList_v1_t);
SAME_FIELD(struct nvml_process_detail_list, processes, nvmlProcessDetailList_v1_t, procArray);
SAME_SIZE(struct nvml_sram_ecc_status, nvmlEccSramErrorStatus_v1_t);
SAME_SIZE(struct nvml_fabric_info_v2, nvmlGpuFabricInfo_v2_t);
/* Newer than the oldest header we know. */
#ifdef nvmlGpuFabricInfo_v3
SAME_SIZE(struct nvml_fabric_info_v3, nvmlGpuFabricInfo_v3_t);
#endif
#ifdef nvmlUUID_v1
SAME_SIZE(struct nvml_uuid, nvmlUUID_v1_t);
SAME_FIELD(struct nvml_uuid, value, nvmlUUID_v1_t, value);
#endif
#ifdef nvmlPdi_v1
SAME_SIZE(struct nvml_pdi, nvmlPdi_v1_t);
#endif
#ifdef nvmlTemperature_v1
SAME_SIZE(struct nvml_temperature, nvmlTemperature_v1_t);
#endif
#ifdef nvmlSystemDriverBranchInfo_v1
SAME_SIZE(struct nvml_driver_branch, nvmlSystemDriverBranchInfo_v1_t);
#endif
#ifdef nvmlDeviceAddressingMode_v1
SAME_SIZE(struct nvml_addressing_mode, nvmlDeviceAddressingMode_v1_t);
#endif
#ifdef nvmlRepairStatus_v1
SAME_SIZE(struct nvml_repair_status, nvmlRepairStatus_v1_t);
#endif
#ifdef nvmlProcessesUtilizationInfo_v1
SAME_SIZE(struct nvml_process_usage, nvmlProcessUtilizationInfo_v1_t);
SAME_FIELD(struct nvml_process_usage, ofa, nvmlProcessUtilizationInfo_v1_t, ofaUtil);
SAME_SIZE(struct nvml_process_usage_list, nvmlProcessesUtilizationInfo_v1_t);
SAME_FIELD(struct nvml_process_usage_list, list, nvmlProcessesUtilizationInfo_v1_t, procUtilArray);
#endif
#ifdef nvmlSystemConfComputeSettings_v1
SAME_SIZE(struct nvml_secure_settings, nvmlSystemConfComputeSettings_v1_t);
#endif
#ifdef nvmlMarginTemperature_v1
SAME_SIZE(struct nvml_margin_temperature, nvmlMarginTemperature_v1_t);
#endif
#ifdef nvmlPowerValue_v2
SAME_SIZE(struct nvml_power_value, nvmlPowerValue_v2_t);
SAME_FIELD(struct nvml_power_value, mw, nvmlPowerValue_v2_t, powerValueMw);
#endif
