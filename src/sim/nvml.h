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
enum nvml_return nvmlDeviceGetSerial(struct nvml_device *device, char *serial,
                                     unsigned int length);
enum nvml_return nvmlDeviceGetPdi(struct nvml_device *device, struct nvml_pdi *pdi);
enum nvml_return nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci_info_v2 *pci);
enum nvml_return nvmlDeviceGetPciInfo_v2(struct nvml_device *device,
                                         struct nvml_pci_info_v2 *pci);
enum nvml_return nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci_info *pci);
enum nvml_return nvmlDeviceGetPciInfoExt(struct nvml_device *device,
                                         struct nvml_pci_info_ext *pci);
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
enum nvml_return nvmlDeviceGetMigDeviceHandleByIndex(struct nvml_device *device,
                                                     unsigned int index,
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
enum nvml_return
nvmlDeviceCreateGpuInstanceWithPlacement(struct nvml_device *device, unsigned int id,
                                         const struct nvml_placement *placement,
                                         struct nvml_gpu_instance **gi);
enum nvml_return nvmlGpuInstanceDestroy(struct nvml_gpu_instance *gi);
enum nvml_return nvmlDeviceGetGpuInstances(struct nvml_device *device, unsigned int id,
                                           struct nvml_gpu_instance **gis, unsigned int *count);
enum nvml_return nvmlDeviceGetGpuInstanceById(struct nvml_device *device, unsigned int id,
                                              struct nvml_gpu_instance **gi);
enum nvml_return nvmlGpuInstanceGetInfo(struct nvml_gpu_instance *gi, struct nvml_gi_info *info);

/* api_ci.c */
enum nvml_return
nvmlGpuInstanceGetComputeInstanceProfileInfo(struct nvml_gpu_instance *gi, unsigned int profile,
                                             unsigned int engine, struct nvml_ci_profile *info);
enum nvml_return nvmlGpuInstanceGetComputeInstanceProfileInfoV(struct nvml_gpu_instance *gi,
                                                               unsigned int profile,
                                                               unsigned int engine, void *info);
enum nvml_return
nvmlGpuInstanceGetComputeInstancePossiblePlacements(struct nvml_gpu_instance *gi, unsigned int id,
                                                    struct nvml_placement *placements,
                                                    unsigned int *count);
enum nvml_return
nvmlGpuInstanceGetComputeInstanceRemainingCapacity(struct nvml_gpu_instance *gi, unsigned int id,
                                                   unsigned int *count);
enum nvml_return
nvmlGpuInstanceCreateComputeInstance(struct nvml_gpu_instance *gi, unsigned int id,
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

#pragma GCC visibility pop
