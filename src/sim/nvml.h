#pragma once
#include "sim/nvml_types.h"

/* The functions that are implemented, one header section per file.  Every other exported name is
 * a weak stub (gen-stubs.py).  What they promise is written in NVIDIA's nvml.h; where that is
 * silent, docs/simulator.md says what was chosen and why. */

#pragma GCC visibility push(default)

/* api_system.c */
enum nvml_return nvmlInit(void);
enum nvml_return nvmlInit_v2(void);
enum nvml_return nvmlInitWithFlags(unsigned int flags);
enum nvml_return nvmlShutdown(void);
const char *nvmlErrorString(enum nvml_return result);
enum nvml_return nvmlSystemGetDriverVersion(char *version, unsigned int length);
enum nvml_return nvmlSystemGetNVMLVersion(char *version, unsigned int length);
enum nvml_return nvmlSystemGetCudaDriverVersion(int *version);
enum nvml_return nvmlSystemGetCudaDriverVersion_v2(int *version);
enum nvml_return nvmlSystemGetDriverBranch(struct nvml_driver_branch *branch, unsigned int length);
enum nvml_return nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length);
enum nvml_return nvmlGetExcludedDeviceCount(unsigned int *count);
enum nvml_return nvmlGetBlacklistDeviceCount(unsigned int *count);
enum nvml_return nvmlUnitGetCount(unsigned int *count);
enum nvml_return nvmlGetExcludedDeviceInfoByIndex(unsigned int index, void *info);
enum nvml_return nvmlGetBlacklistDeviceInfoByIndex(unsigned int index, void *info);
enum nvml_return nvmlUnitGetHandleByIndex(unsigned int index, void **unit);
enum nvml_return nvmlSystemGetHicVersion(unsigned int *count, void *entries);

/* api_device.c */
enum nvml_return nvmlDeviceGetCount(unsigned int *count);
enum nvml_return nvmlDeviceGetCount_v2(unsigned int *count);
enum nvml_return nvmlDeviceGetHandleByIndex(unsigned int index, struct nvml_device **device);
enum nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct nvml_device **device);
enum nvml_return nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device);
enum nvml_return nvmlDeviceGetHandleByUUIDV(const struct nvml_uuid *uuid,
                                            struct nvml_device **device);
enum nvml_return nvmlDeviceGetHandleBySerial(const char *serial, struct nvml_device **device);
enum nvml_return nvmlDeviceGetHandleByPciBusId(const char *bus_id, struct nvml_device **device);
enum nvml_return nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, struct nvml_device **device);
enum nvml_return nvmlDeviceGetName(struct nvml_device *device, char *name, unsigned int length);
enum nvml_return nvmlDeviceGetUUID(struct nvml_device *device, char *uuid, unsigned int length);
enum nvml_return nvmlDeviceGetIndex(struct nvml_device *device, unsigned int *index);
enum nvml_return nvmlDeviceGetMinorNumber(struct nvml_device *device, unsigned int *minor);
enum nvml_return nvmlDeviceGetSerial(struct nvml_device *device, char *serial, unsigned int length);
enum nvml_return nvmlDeviceGetPdi(struct nvml_device *device, struct nvml_pdi *pdi);
enum nvml_return nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci_info_v2 *pci);
enum nvml_return nvmlDeviceGetPciInfo_v2(struct nvml_device *device, struct nvml_pci_info_v2 *pci);
enum nvml_return nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci_info *pci);
enum nvml_return nvmlDeviceGetPciInfoExt(struct nvml_device *device, struct nvml_pci_info_ext *pci);
enum nvml_return nvmlDeviceGetBrand(struct nvml_device *device, unsigned int *brand);
enum nvml_return nvmlDeviceGetArchitecture(struct nvml_device *device, unsigned int *arch);
enum nvml_return nvmlDeviceGetCudaComputeCapability(struct nvml_device *device, int *major,
                                                    int *minor);
enum nvml_return nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory);
enum nvml_return nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device,
                                            struct nvml_memory_v2 *memory);
enum nvml_return nvmlDeviceGetBAR1MemoryInfo(struct nvml_device *device,
                                             struct nvml_bar1_memory *memory);

/* api_mig.c */
enum nvml_return nvmlDeviceGetMigMode(struct nvml_device *device, unsigned int *current,
                                      unsigned int *pending);
enum nvml_return nvmlDeviceSetMigMode(struct nvml_device *device, unsigned int mode,
                                      enum nvml_return *activation);
enum nvml_return nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned int *count);
enum nvml_return nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device, unsigned int index,
                                                     struct nvml_device **mig);
enum nvml_return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct nvml_device *mig,
                                                              struct nvml_device **device);
enum nvml_return nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, unsigned int *is_mig);
enum nvml_return nvmlDeviceGetGpuInstanceId(struct nvml_device *device, unsigned int *id);
enum nvml_return nvmlDeviceGetComputeInstanceId(struct nvml_device *device, unsigned int *id);
enum nvml_return nvmlDeviceGetAttributes(struct nvml_device *device,
                                         struct nvml_attributes_v1 *attributes);
enum nvml_return nvmlDeviceGetAttributes_v2(struct nvml_device *device,
                                            struct nvml_attributes *attributes);

/* api_gi.c */
enum nvml_return nvmlDeviceGetGpuInstanceProfileInfo(struct nvml_device *device,
                                                     unsigned int profile,
                                                     struct nvml_gi_profile *info);
enum nvml_return nvmlDeviceGetGpuInstanceProfileInfoV(struct nvml_device *device,
                                                      unsigned int profile, void *info);
enum nvml_return nvmlDeviceGetGpuInstanceProfileInfoByIdV(struct nvml_device *device,
                                                          unsigned int id, void *info);
enum nvml_return nvmlDeviceGetGpuInstancePossiblePlacements(struct nvml_device *device,
                                                            unsigned int id,
                                                            struct nvml_placement *placements,
                                                            unsigned int *count);
enum nvml_return nvmlDeviceGetGpuInstancePossiblePlacements_v2(struct nvml_device *device,
                                                               unsigned int id,
                                                               struct nvml_placement *placements,
                                                               unsigned int *count);
enum nvml_return nvmlDeviceGetGpuInstanceRemainingCapacity(struct nvml_device *device,
                                                           unsigned int id, unsigned int *count);
enum nvml_return nvmlDeviceCreateGpuInstance(struct nvml_device *device, unsigned int id,
                                             struct nvml_gpu_instance **gi);
enum nvml_return nvmlDeviceCreateGpuInstanceWithPlacement(struct nvml_device *device,
                                                          unsigned int id,
                                                          const struct nvml_placement *placement,
                                                          struct nvml_gpu_instance **gi);
enum nvml_return nvmlGpuInstanceDestroy(struct nvml_gpu_instance *gi);
enum nvml_return nvmlDeviceGetGpuInstances(struct nvml_device *device, unsigned int id,
                                           struct nvml_gpu_instance **gis, unsigned int *count);
enum nvml_return nvmlDeviceGetGpuInstanceById(struct nvml_device *device, unsigned int id,
                                              struct nvml_gpu_instance **gi);
enum nvml_return nvmlGpuInstanceGetInfo(struct nvml_gpu_instance *gi, struct nvml_gi_info *info);

/* api_ci.c */
enum nvml_return nvmlGpuInstanceGetComputeInstanceProfileInfo(struct nvml_gpu_instance *gi,
                                                              unsigned int profile,
                                                              unsigned int engine,
                                                              struct nvml_ci_profile *info);
enum nvml_return nvmlGpuInstanceGetComputeInstanceProfileInfoV(struct nvml_gpu_instance *gi,
                                                               unsigned int profile,
                                                               unsigned int engine, void *info);
enum nvml_return
nvmlGpuInstanceGetComputeInstancePossiblePlacements(struct nvml_gpu_instance *gi, unsigned int id,
                                                    struct nvml_placement *placements,
                                                    unsigned int *count);
enum nvml_return nvmlGpuInstanceGetComputeInstanceRemainingCapacity(struct nvml_gpu_instance *gi,
                                                                    unsigned int id,
                                                                    unsigned int *count);
enum nvml_return nvmlGpuInstanceCreateComputeInstance(struct nvml_gpu_instance *gi, unsigned int id,
                                                      struct nvml_compute_instance **ci);
enum nvml_return
nvmlGpuInstanceCreateComputeInstanceWithPlacement(struct nvml_gpu_instance *gi, unsigned int id,
                                                  const struct nvml_placement *placement,
                                                  struct nvml_compute_instance **ci);
enum nvml_return nvmlComputeInstanceDestroy(struct nvml_compute_instance *ci);
enum nvml_return nvmlGpuInstanceGetComputeInstances(struct nvml_gpu_instance *gi, unsigned int id,
                                                    struct nvml_compute_instance **cis,
                                                    unsigned int *count);
enum nvml_return nvmlGpuInstanceGetComputeInstanceById(struct nvml_gpu_instance *gi,
                                                       unsigned int id,
                                                       struct nvml_compute_instance **ci);
enum nvml_return nvmlComputeInstanceGetInfo(struct nvml_compute_instance *ci,
                                            struct nvml_ci_info_v1 *info);
enum nvml_return nvmlComputeInstanceGetInfo_v2(struct nvml_compute_instance *ci,
                                               struct nvml_ci_info *info);

/* api_process.c */
enum nvml_return nvmlDeviceGetComputeRunningProcesses(struct nvml_device *device,
                                                      unsigned int *count,
                                                      struct nvml_process_v1 *list);
enum nvml_return nvmlDeviceGetComputeRunningProcesses_v2(struct nvml_device *device,
                                                         unsigned int *count,
                                                         struct nvml_process *list);
enum nvml_return nvmlDeviceGetComputeRunningProcesses_v3(struct nvml_device *device,
                                                         unsigned int *count,
                                                         struct nvml_process *list);
enum nvml_return nvmlDeviceGetGraphicsRunningProcesses(struct nvml_device *device,
                                                       unsigned int *count,
                                                       struct nvml_process_v1 *list);
enum nvml_return nvmlDeviceGetGraphicsRunningProcesses_v2(struct nvml_device *device,
                                                          unsigned int *count,
                                                          struct nvml_process *list);
enum nvml_return nvmlDeviceGetGraphicsRunningProcesses_v3(struct nvml_device *device,
                                                          unsigned int *count,
                                                          struct nvml_process *list);
enum nvml_return nvmlDeviceGetMPSComputeRunningProcesses(struct nvml_device *device,
                                                         unsigned int *count,
                                                         struct nvml_process_v1 *list);
enum nvml_return nvmlDeviceGetMPSComputeRunningProcesses_v2(struct nvml_device *device,
                                                            unsigned int *count,
                                                            struct nvml_process *list);
enum nvml_return nvmlDeviceGetMPSComputeRunningProcesses_v3(struct nvml_device *device,
                                                            unsigned int *count,
                                                            struct nvml_process *list);
enum nvml_return nvmlDeviceGetRunningProcessDetailList(struct nvml_device *device,
                                                       struct nvml_process_detail_list *list);
enum nvml_return nvmlDeviceGetProcessUtilization(struct nvml_device *device,
                                                 struct nvml_process_utilization *list,
                                                 unsigned int *count, unsigned long long last_seen);
enum nvml_return nvmlDeviceGetProcessesUtilizationInfo(struct nvml_device *device,
                                                       struct nvml_process_usage_list *list);

/* api_board.c */
enum nvml_return nvmlDeviceValidateInforom(struct nvml_device *device);
enum nvml_return nvmlDeviceGetVbiosVersion(struct nvml_device *device, char *version,
                                           unsigned int length);
enum nvml_return nvmlDeviceGetGspFirmwareVersion(struct nvml_device *device, char *version);
enum nvml_return nvmlDeviceGetGspFirmwareMode(struct nvml_device *device, unsigned int *enabled,
                                              unsigned int *by_default);
enum nvml_return nvmlDeviceGetRepairStatus(struct nvml_device *device,
                                           struct nvml_repair_status *status);
enum nvml_return nvmlDeviceGetAddressingMode(struct nvml_device *device,
                                             struct nvml_addressing_mode *mode);
enum nvml_return nvmlDeviceGetGpuFabricInfo(struct nvml_device *device,
                                            struct nvml_fabric_info *info);
enum nvml_return nvmlDeviceGetGpuFabricInfoV(struct nvml_device *device, void *info);
enum nvml_return nvmlDeviceGetDisplayActive(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetDisplayMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetDefaultEccMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetVirtualizationMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetMultiGpuBoard(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetBoardId(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPcieLinkMaxSpeed(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPcieSpeed(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetMaxPcieLinkGeneration(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetGpuMaxPcieLinkGeneration(struct nvml_device *device,
                                                       unsigned int *ret);
enum nvml_return nvmlDeviceGetCurrPcieLinkGeneration(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetMaxPcieLinkWidth(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetCurrPcieLinkWidth(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPcieReplayCounter(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetBusType(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPowerManagementMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPowerManagementLimit(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPowerManagementLimitConstraints(struct nvml_device *device,
                                                              unsigned int *least_mw,
                                                              unsigned int *most_mw);
enum nvml_return nvmlDeviceGetPowerManagementDefaultLimit(struct nvml_device *device,
                                                          unsigned int *ret);
enum nvml_return nvmlDeviceGetEnforcedPowerLimit(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetNumGpuCores(struct nvml_device *device, unsigned int *ret);

enum nvml_return nvmlDeviceGetEncoderStats(struct nvml_device *device, unsigned int *sessions,
                                           unsigned int *fps, unsigned int *latency_us);
enum nvml_return nvmlDeviceGetFBCStats(struct nvml_device *device, struct nvml_fbc_stats *stats);
enum nvml_return nvmlDeviceGetEncoderSessions(struct nvml_device *device, unsigned int *count,
                                              void *list);
enum nvml_return nvmlDeviceGetFBCSessions(struct nvml_device *device, unsigned int *count,
                                          void *list);
/* api_secure.c */
enum nvml_return nvmlDeviceGetConfComputeMemSizeInfo(struct nvml_device *device,
                                                     struct nvml_protected_size *size);
enum nvml_return nvmlSystemGetConfComputeCapabilities(struct nvml_secure_caps *caps);
enum nvml_return nvmlSystemGetConfComputeState(struct nvml_secure_state *state);
enum nvml_return nvmlSystemGetConfComputeSettings(struct nvml_secure_settings *settings);
enum nvml_return nvmlDeviceGetConfComputeProtectedMemoryUsage(struct nvml_device *device,
                                                              struct nvml_memory *memory);

/* api_telemetry.c */
enum nvml_return nvmlDeviceGetSupportedPerformanceStates(struct nvml_device *device,
                                                         unsigned int *states, unsigned int size);
enum nvml_return nvmlDeviceGetTemperature(struct nvml_device *device, unsigned int sensor,
                                          unsigned int *ret);
enum nvml_return nvmlDeviceGetTemperatureV(struct nvml_device *device,
                                           struct nvml_temperature *temperature);
enum nvml_return nvmlDeviceGetTotalEnergyConsumption(struct nvml_device *device,
                                                     unsigned long long *energy);
enum nvml_return nvmlDeviceGetUtilizationRates(struct nvml_device *device,
                                               struct nvml_utilization *utilization);
enum nvml_return nvmlDeviceGetCurrentClocksEventReasons(struct nvml_device *device,
                                                        unsigned long long *ret);
enum nvml_return nvmlDeviceGetCurrentClocksThrottleReasons(struct nvml_device *device,
                                                           unsigned long long *ret);
enum nvml_return nvmlDeviceGetSupportedClocksEventReasons(struct nvml_device *device,
                                                          unsigned long long *ret);
enum nvml_return nvmlDeviceGetSupportedClocksThrottleReasons(struct nvml_device *device,
                                                             unsigned long long *ret);
enum nvml_return nvmlDeviceGetPcieThroughput(struct nvml_device *device, unsigned int counter,
                                             unsigned int *ret);
enum nvml_return nvmlDeviceGetViolationStatus(struct nvml_device *device, unsigned int policy,
                                              struct nvml_violation_time *time);
enum nvml_return nvmlDeviceGetPowerUsage(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPerformanceState(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPowerState(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPersistenceMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetComputeMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetEncoderUtilization(struct nvml_device *device, unsigned int *ret,
                                                 unsigned int *period_us);
enum nvml_return nvmlDeviceGetDecoderUtilization(struct nvml_device *device, unsigned int *ret,
                                                 unsigned int *period_us);
enum nvml_return nvmlDeviceGetJpgUtilization(struct nvml_device *device, unsigned int *ret,
                                             unsigned int *period_us);
enum nvml_return nvmlDeviceGetOfaUtilization(struct nvml_device *device, unsigned int *ret,
                                             unsigned int *period_us);

enum nvml_return nvmlDeviceGetSamples(struct nvml_device *device, unsigned int type,
                                      unsigned long long last_seen, unsigned int *value_type,
                                      unsigned int *count, struct nvml_sample *samples);

/* api_clock.c */
enum nvml_return nvmlDeviceGetClockInfo(struct nvml_device *device, unsigned int type,
                                        unsigned int *ret);
enum nvml_return nvmlDeviceGetMaxClockInfo(struct nvml_device *device, unsigned int type,
                                           unsigned int *ret);
enum nvml_return nvmlDeviceGetApplicationsClock(struct nvml_device *device, unsigned int type,
                                                unsigned int *ret);
enum nvml_return nvmlDeviceGetDefaultApplicationsClock(struct nvml_device *device,
                                                       unsigned int type, unsigned int *ret);
enum nvml_return nvmlDeviceGetMaxCustomerBoostClock(struct nvml_device *device, unsigned int type,
                                                    unsigned int *ret);
enum nvml_return nvmlDeviceGetClock(struct nvml_device *device, unsigned int type, unsigned int id,
                                    unsigned int *ret);
enum nvml_return nvmlDeviceGetMinMaxClockOfPState(struct nvml_device *device, unsigned int type,
                                                  unsigned int pstate, unsigned int *min,
                                                  unsigned int *max);
enum nvml_return nvmlDeviceGetSupportedMemoryClocks(struct nvml_device *device, unsigned int *count,
                                                    unsigned int *clocks);
enum nvml_return nvmlDeviceGetSupportedGraphicsClocks(struct nvml_device *device,
                                                      unsigned int memory_mhz, unsigned int *count,
                                                      unsigned int *clocks);

/* api_rom.c */
enum nvml_return nvmlDeviceGetBoardPartNumber(struct nvml_device *device, char *part,
                                              unsigned int length);
enum nvml_return nvmlDeviceGetInforomImageVersion(struct nvml_device *device, char *version,
                                                  unsigned int length);
enum nvml_return nvmlDeviceGetInforomVersion(struct nvml_device *device, unsigned int object,
                                             char *version, unsigned int length);
enum nvml_return nvmlDeviceGetTemperatureThreshold(struct nvml_device *device, unsigned int type,
                                                   unsigned int *ret);
enum nvml_return nvmlDeviceGetMarginTemperature(struct nvml_device *device,
                                                struct nvml_margin_temperature *margin);
enum nvml_return nvmlDeviceGetModuleId(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetMemoryBusWidth(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetPowerSource(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetC2cModeInfoV(struct nvml_device *device, unsigned int *ret);

/* api_accounting.c */
enum nvml_return nvmlDeviceGetAccountingMode(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceGetAccountingBufferSize(struct nvml_device *device, unsigned int *ret);
enum nvml_return nvmlDeviceSetAccountingMode(struct nvml_device *device, unsigned int mode);
enum nvml_return nvmlDeviceGetAccountingPids(struct nvml_device *device, unsigned int *count,
                                             unsigned int *pids);
enum nvml_return nvmlDeviceGetAccountingStats(struct nvml_device *device, unsigned int pid,
                                              struct nvml_accounting_stats *stats);
enum nvml_return nvmlDeviceClearAccountingPids(struct nvml_device *device);

/* api_nvlink.c */
enum nvml_return nvmlDeviceGetNvLinkState(struct nvml_device *device, unsigned int link,
                                          unsigned int *ret);
enum nvml_return nvmlDeviceGetNvLinkVersion(struct nvml_device *device, unsigned int link,
                                            unsigned int *ret);
enum nvml_return nvmlDeviceGetNvLinkRemoteDeviceType(struct nvml_device *device, unsigned int link,
                                                     unsigned int *ret);
enum nvml_return nvmlDeviceGetNvLinkCapability(struct nvml_device *device, unsigned int link,
                                               unsigned int capability, unsigned int *ret);
enum nvml_return nvmlDeviceGetNvLinkRemotePciInfo_v2(struct nvml_device *device, unsigned int link,
                                                     struct nvml_pci_info *pci);
enum nvml_return nvmlDeviceGetNvLinkRemotePciInfo(struct nvml_device *device, unsigned int link,
                                                  struct nvml_pci_info_v2 *pci);
enum nvml_return nvmlDeviceGetNvLinkErrorCounter(struct nvml_device *device, unsigned int link,
                                                 unsigned int counter, unsigned long long *ret);
enum nvml_return nvmlDeviceResetNvLinkErrorCounters(struct nvml_device *device, unsigned int link);

/* api_setting.c */
enum nvml_return nvmlDeviceSetPersistenceMode(struct nvml_device *device, unsigned int mode);
enum nvml_return nvmlDeviceSetComputeMode(struct nvml_device *device, unsigned int mode);
enum nvml_return nvmlDeviceSetEccMode(struct nvml_device *device, unsigned int mode);
enum nvml_return nvmlDeviceSetAPIRestriction(struct nvml_device *device, unsigned int api,
                                             unsigned int is_restricted);
enum nvml_return nvmlDeviceGetAPIRestriction(struct nvml_device *device, unsigned int api,
                                             unsigned int *is_restricted);
enum nvml_return nvmlDeviceSetPowerManagementLimit(struct nvml_device *device, unsigned int mw);
enum nvml_return nvmlDeviceSetPowerManagementLimit_v2(struct nvml_device *device,
                                                      const struct nvml_power_value *value);
enum nvml_return nvmlDeviceSetGpuLockedClocks(struct nvml_device *device, unsigned int least,
                                              unsigned int most);
enum nvml_return nvmlDeviceSetMemoryLockedClocks(struct nvml_device *device, unsigned int least,
                                                 unsigned int most);
enum nvml_return nvmlDeviceResetGpuLockedClocks(struct nvml_device *device);
enum nvml_return nvmlDeviceResetMemoryLockedClocks(struct nvml_device *device);
enum nvml_return nvmlDeviceSetApplicationsClocks(struct nvml_device *device,
                                                 unsigned int memory_mhz, unsigned int sm_mhz);
enum nvml_return nvmlDeviceResetApplicationsClocks(struct nvml_device *device);
enum nvml_return nvmlDeviceClearEccErrorCounts(struct nvml_device *device, unsigned int counters);

/* api_topology.c */
enum nvml_return nvmlDeviceGetCpuAffinity(struct nvml_device *device, unsigned int size,
                                          unsigned long *set);
enum nvml_return nvmlDeviceGetCpuAffinityWithinScope(struct nvml_device *device, unsigned int size,
                                                     unsigned long *set, unsigned int scope);
enum nvml_return nvmlDeviceSetCpuAffinity(struct nvml_device *device);
enum nvml_return nvmlDeviceClearCpuAffinity(struct nvml_device *device);
enum nvml_return nvmlDeviceGetMemoryAffinity(struct nvml_device *device, unsigned int size,
                                             unsigned long *set, unsigned int scope);
enum nvml_return nvmlDeviceGetTopologyCommonAncestor(struct nvml_device *a, struct nvml_device *b,
                                                     unsigned int *level);
enum nvml_return nvmlDeviceOnSameBoard(struct nvml_device *a, struct nvml_device *b, int *same);
enum nvml_return nvmlDeviceGetTopologyNearestGpus(struct nvml_device *device, unsigned int level,
                                                  unsigned int *count, struct nvml_device **list);
enum nvml_return nvmlSystemGetTopologyGpuSet(unsigned int cpu, unsigned int *count,
                                             struct nvml_device **list);
enum nvml_return nvmlDeviceGetP2PStatus(struct nvml_device *a, struct nvml_device *b,
                                        unsigned int index, unsigned int *status);

/* api_errors.c */
enum nvml_return nvmlDeviceGetEccMode(struct nvml_device *device, unsigned int *current,
                                      unsigned int *pending);
enum nvml_return nvmlDeviceGetDetailedEccErrors(struct nvml_device *device, unsigned int error_type,
                                                unsigned int counter_type,
                                                struct nvml_ecc_counts *counts);
enum nvml_return nvmlDeviceGetTotalEccErrors(struct nvml_device *device, unsigned int error_type,
                                             unsigned int counter_type, unsigned long long *ret);
enum nvml_return nvmlDeviceGetMemoryErrorCounter(struct nvml_device *device,
                                                 unsigned int error_type, unsigned int counter_type,
                                                 unsigned int location, unsigned long long *ret);
enum nvml_return nvmlDeviceGetSramEccErrorStatus(struct nvml_device *device,
                                                 struct nvml_sram_ecc_status *status);
enum nvml_return nvmlDeviceGetRemappedRows(struct nvml_device *device, unsigned int *corrected,
                                           unsigned int *uncorrected, unsigned int *is_pending,
                                           unsigned int *has_failed);
enum nvml_return nvmlDeviceGetRowRemapperHistogram(struct nvml_device *device,
                                                   struct nvml_row_remapper_histogram *histogram);
enum nvml_return nvmlDeviceGetRetiredPages(struct nvml_device *device, unsigned int cause,
                                           unsigned int *count, unsigned long long *addresses);
enum nvml_return nvmlDeviceGetRetiredPages_v2(struct nvml_device *device, unsigned int cause,
                                              unsigned int *count, unsigned long long *addresses,
                                              unsigned long long *timestamps);
enum nvml_return nvmlDeviceGetRetiredPagesPendingStatus(struct nvml_device *device,
                                                        unsigned int *is_pending);

/* api_field.c */
enum nvml_return nvmlDeviceGetFieldValues(struct nvml_device *device, int count,
                                          struct nvml_field_value *values);

/* api_event.c */
enum nvml_return nvmlEventSetCreate(struct nvml_event_set **ret);
enum nvml_return nvmlEventSetFree(struct nvml_event_set *handle);
enum nvml_return nvmlDeviceGetSupportedEventTypes(struct nvml_device *device,
                                                  unsigned long long *types);
enum nvml_return nvmlDeviceRegisterEvents(struct nvml_device *device, unsigned long long types,
                                          struct nvml_event_set *handle);
enum nvml_return nvmlEventSetWait_v2(struct nvml_event_set *set, struct nvml_event_data *data,
                                     unsigned int timeout_ms);
enum nvml_return nvmlEventSetWait(struct nvml_event_set *set, struct nvml_event_data_v1 *data,
                                  unsigned int timeout_ms);

/* api_gpm.c */
enum nvml_return nvmlGpmSampleAlloc(struct nvml_gpm_sample **ret);
enum nvml_return nvmlGpmSampleFree(struct nvml_gpm_sample *sample);
enum nvml_return nvmlGpmSampleGet(struct nvml_device *device, struct nvml_gpm_sample *sample);
enum nvml_return nvmlGpmMigSampleGet(struct nvml_device *device, unsigned int gi,
                                     struct nvml_gpm_sample *sample);
enum nvml_return nvmlGpmQueryDeviceSupport(struct nvml_device *device,
                                           struct nvml_gpm_support *support);
enum nvml_return nvmlGpmMetricsGet(struct nvml_gpm_metrics *metrics);
enum nvml_return nvmlGpmSetStreamingEnabled(struct nvml_device *device, unsigned int state);
enum nvml_return nvmlGpmQueryIfStreamingEnabled(struct nvml_device *device, unsigned int *state);

/* export_table.c */
enum nvml_return nvmlInternalGetExportTable(const void **ret, const void *id);

#pragma GCC visibility pop
