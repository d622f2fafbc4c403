#pragma once

/* The NVML ABI as far as the simulator implements it: return codes, handles, struct layouts.
 *
 * Our own names, so that a test can include the real nvml.h beside this file and compare every
 * size and offset (tests/unit/test_sim_abi.c).  The order and the type of fields are NVIDIA's. */

enum nvml_return {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_ALREADY_INITIALIZED = 5,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_INSUFFICIENT_POWER = 8,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_IRQ_ISSUE = 11,
    NVML_ERROR_LIBRARY_NOT_FOUND = 12,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_CORRUPTED_INFOROM = 14,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16,
    NVML_ERROR_OPERATING_SYSTEM = 17,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_IN_USE = 19,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_NO_DATA = 21,
    NVML_ERROR_VGPU_ECC_NOT_SUPPORTED = 22,
    NVML_ERROR_INSUFFICIENT_RESOURCES = 23,
    NVML_ERROR_FREQ_NOT_SUPPORTED = 24,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_DEPRECATED = 26,
    NVML_ERROR_NOT_READY = 27,
    NVML_ERROR_GPU_NOT_FOUND = 28,
    NVML_ERROR_INVALID_STATE = 29,
    NVML_ERROR_UNKNOWN = 999,
};

#define NVML_STRUCT_VERSION(type, ver) ((unsigned int)(sizeof(type) | ((ver) << 24U)))
#define NVML_NAME_SIZE 96
#define NVML_NO_INSTANCE 0xFFFFFFFFU
#define NVML_MIG_OFF 0
#define NVML_MIG_ON 1
#define NVML_GI_PROFILE_COUNT 18
#define NVML_CI_PROFILE_COUNT 9
#define NVML_CI_ENGINE_COUNT 1
#define NVML_EVENT_XID 0x8ULL
#define NVML_EVENT_MIG_CONFIG 0x100ULL

/* Handles: cookies, never pointers to memory (call.h says what is in them). */
struct nvml_device;
struct nvml_gpu_instance;
struct nvml_compute_instance;
struct nvml_event_set;
struct nvml_gpm_sample;

struct nvml_pci_info {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

/* What nvmlDeviceGetPciInfo and _v2 fill: no long bus id, four words that are not used. */
struct nvml_pci_info_v2 {
    char bus_id[16];
    unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
    unsigned int reserved[4];
};

struct nvml_pci_info_ext {
    unsigned int version, domain, bus, device, pci_device_id, pci_subsystem_id;
    unsigned int base_class, sub_class;
    char bus_id[32];
};

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_memory_v2 {
    unsigned int version;
    unsigned long long total, reserved, free, used;
};

struct nvml_bar1_memory {
    unsigned long long total, free, used;
};

struct nvml_utilization {
    unsigned int gpu, memory;
};

struct nvml_placement {
    unsigned int start, size;
};

struct nvml_gi_profile {
    unsigned int id, is_p2p_supported, slice_count, instance_count, multiprocessor_count;
    unsigned int copy_engine_count, decoder_count, encoder_count, jpeg_count, ofa_count;
    unsigned long long memory_size_mb;
};

struct nvml_gi_profile_v2 {
    unsigned int version;
    unsigned int id, is_p2p_supported, slice_count, instance_count, multiprocessor_count;
    unsigned int copy_engine_count, decoder_count, encoder_count, jpeg_count, ofa_count;
    unsigned long long memory_size_mb;
    char name[NVML_NAME_SIZE];
};

struct nvml_gi_profile_v3 {
    unsigned int version;
    unsigned int id, slice_count, instance_count, multiprocessor_count;
    unsigned int copy_engine_count, decoder_count, encoder_count, jpeg_count, ofa_count;
    unsigned long long memory_size_mb;
    char name[NVML_NAME_SIZE];
    unsigned int capabilities;
};

struct nvml_gi_info {
    struct nvml_device *device;
    unsigned int id, profile_id;
    struct nvml_placement placement;
};

struct nvml_ci_profile {
    unsigned int id, slice_count, instance_count, multiprocessor_count;
    unsigned int shared_copy_engine_count, shared_decoder_count, shared_encoder_count;
    unsigned int shared_jpeg_count, shared_ofa_count;
};

struct nvml_ci_profile_v2 {
    unsigned int version;
    unsigned int id, slice_count, instance_count, multiprocessor_count;
    unsigned int shared_copy_engine_count, shared_decoder_count, shared_encoder_count;
    unsigned int shared_jpeg_count, shared_ofa_count;
    char name[NVML_NAME_SIZE];
};

struct nvml_ci_profile_v3 {
    unsigned int version;
    unsigned int id, slice_count, instance_count, multiprocessor_count;
    unsigned int shared_copy_engine_count, shared_decoder_count, shared_encoder_count;
    unsigned int shared_jpeg_count, shared_ofa_count;
    char name[NVML_NAME_SIZE];
    unsigned int capabilities;
};

struct nvml_ci_info_v1 {
    struct nvml_device *device;
    struct nvml_gpu_instance *gpu_instance;
    unsigned int id, profile_id;
};

struct nvml_ci_info {
    struct nvml_device *device;
    struct nvml_gpu_instance *gpu_instance;
    unsigned int id, profile_id;
    struct nvml_placement placement;
};

struct nvml_attributes_v1 {
    unsigned int multiprocessor_count, shared_copy_engine_count, shared_decoder_count;
    unsigned int shared_encoder_count, shared_jpeg_count, shared_ofa_count;
};

struct nvml_attributes {
    unsigned int multiprocessor_count, shared_copy_engine_count, shared_decoder_count;
    unsigned int shared_encoder_count, shared_jpeg_count, shared_ofa_count;
    unsigned int gpu_instance_slice_count, compute_instance_slice_count;
    unsigned long long memory_size_mb;
};

struct nvml_process_v1 {
    unsigned int pid;
    unsigned long long used_gpu_memory;
};

struct nvml_process {
    unsigned int pid;
    unsigned long long used_gpu_memory;
    unsigned int gpu_instance_id, compute_instance_id;
};

struct nvml_process_detail {
    unsigned int pid;
    unsigned long long used_gpu_memory;
    unsigned int gpu_instance_id, compute_instance_id;
    unsigned long long used_gpu_cc_protected_memory;
};

struct nvml_process_detail_list {
    unsigned int version, mode, count;
    struct nvml_process_detail *processes;
};

union nvml_value {
    double d;
    int si;
    unsigned int ui;
    unsigned long ul;
    unsigned long long ull;
    signed long long sll;
    unsigned short us;
};

enum nvml_value_type {
    NVML_VALUE_DOUBLE,
    NVML_VALUE_UINT,
    NVML_VALUE_ULONG,
    NVML_VALUE_ULONGLONG,
    NVML_VALUE_SLONGLONG,
    NVML_VALUE_SINT,
    NVML_VALUE_USHORT,
};

struct nvml_field_value {
    unsigned int field_id, scope_id;
    long long timestamp_us, latency_us;
    unsigned int value_type, nvml_return;
    union nvml_value value;
};

struct nvml_sample {
    unsigned long long timestamp_us;
    union nvml_value value;
};

struct nvml_ecc_counts {
    unsigned long long l1_cache, l2_cache, device_memory, register_file;
};

struct nvml_sram_ecc_status {
    unsigned int version;
    unsigned long long aggregate_unc_parity, aggregate_unc_sec_ded, aggregate_cor;
    unsigned long long volatile_unc_parity, volatile_unc_sec_ded, volatile_cor;
    unsigned long long bucket_l2, bucket_sm, bucket_pcie, bucket_mcu, bucket_other;
    unsigned int is_threshold_exceeded;
};

struct nvml_fbc_stats {
    unsigned int sessions, average_fps, average_latency_us;
};

struct nvml_row_remapper_histogram {
    unsigned int max, high, partial, low, none;
};

struct nvml_violation_time {
    unsigned long long reference_time, violation_time;
};

struct nvml_process_utilization {
    unsigned int pid;
    unsigned long long timestamp_us;
    unsigned int sm, memory, encoder, decoder;
};

struct nvml_process_usage {
    unsigned long long timestamp_us;
    unsigned int pid, sm, memory, encoder, decoder, jpeg, ofa;
};

struct nvml_process_usage_list {
    unsigned int version, count;
    unsigned long long last_seen_us;
    struct nvml_process_usage *list;
};

struct nvml_event_data_v1 {
    struct nvml_device *device;
    unsigned long long type, data;
};

struct nvml_event_data {
    struct nvml_device *device;
    unsigned long long type, data;
    unsigned int gpu_instance_id, compute_instance_id;
};

struct nvml_gpm_metric {
    unsigned int metric_id, nvml_return;
    double value;
    const char *short_name, *long_name, *unit;
};

/* The real struct ends in an array whose length differs from header to header: only the first
 * count entries may be touched. */
struct nvml_gpm_metrics {
    unsigned int version, count;
    struct nvml_gpm_sample *sample1, *sample2;
    struct nvml_gpm_metric metrics[];
};

struct nvml_gpm_support {
    unsigned int version, is_supported;
};

struct nvml_uuid {
    unsigned int version, type;
    union {
        char text[41];
        unsigned char bytes[16];
    } value;
};

struct nvml_pdi {
    unsigned int version;
    unsigned long long value;
};

struct nvml_temperature {
    unsigned int version, sensor;
    int celsius;
};

struct nvml_power_value {
    unsigned int version;
    unsigned char scope;
    unsigned int mw;
};

struct nvml_margin_temperature {
    unsigned int version;
    int celsius;
};

struct nvml_driver_branch {
    unsigned int version;
    char branch[80];
};

struct nvml_addressing_mode {
    unsigned int version, value;
};

struct nvml_repair_status {
    unsigned int version, is_channel_repair_pending, is_tpc_repair_pending;
};

struct nvml_capabilities {
    unsigned int version, mask;
};

struct nvml_accounting_stats {
    unsigned int gpu_utilization, memory_utilization;
    unsigned long long max_memory_usage, time_ms, start_time_us;
    unsigned int is_running;
    unsigned int reserved[5];
};

struct nvml_protected_size {
    unsigned long long protected_kib, unprotected_kib;
};

struct nvml_secure_caps {
    unsigned int cpu, gpus;
};

struct nvml_secure_state {
    unsigned int environment, feature, dev_tools;
};

struct nvml_secure_settings {
    unsigned int version, environment, feature, dev_tools, multi_gpu;
};

struct nvml_fabric_info {
    unsigned char cluster_uuid[16];
    unsigned int status, clique_id;
    unsigned char state;
};

struct nvml_fabric_info_v2 {
    unsigned int version;
    unsigned char cluster_uuid[16];
    unsigned int status, clique_id;
    unsigned char state;
    unsigned int health_mask;
};

struct nvml_fabric_info_v3 {
    unsigned int version;
    unsigned char cluster_uuid[16];
    unsigned int status, clique_id;
    unsigned char state;
    unsigned int health_mask;
    unsigned char health_summary;
};
