#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What a GPU is and what was found on it: plain values without pointers, the vocabulary that the
 * driver room (which finds out) and the pool (which decides) share.  No model is hard-wired. */

#define MIG_UUID_SIZE 96      /* NVML_DEVICE_UUID_V2_BUFFER_SIZE */
#define MIG_MAX_INSTANCES 16  /* GPU instances on one GPU; the largest known has 12 slots */
#define MIG_MAX_COMPUTE 8     /* compute instances in one GPU instance */
#define MIG_NO_ID UINT32_MAX  /* an id, index or minor that the driver did not tell */

/* NVML's numbers for the architecture (nvmlDeviceArchitecture_t); newer ones are larger. */
enum {
    MIG_ARCH_UNKNOWN = 0,
    MIG_ARCH_AMPERE = 7,
    MIG_ARCH_ADA = 8,
    MIG_ARCH_HOPPER = 9,
    MIG_ARCH_BLACKWELL = 10,
};

/* One GPU, as found at discovery.  A GPU that could not be asked is listed too: is_healthy is
 * false, and whatever was not learnt is empty, 0 or MIG_NO_ID. */
struct mig_gpu_info {
    char uuid[MIG_UUID_SIZE]; /* "GPU-..."; the identity */
    char name[96];            /* "NVIDIA H100 80GB HBM3" */
    char pci[32];             /* "00000000:3B:00.0" */
    uint32_t pci_device_id;   /* 0x233010DE: device, then vendor; 0 if the driver did not tell */
    uint32_t index;           /* the driver's enumeration order; identifies nothing over time */
    uint32_t minor;           /* of /dev/nvidiaN, or MIG_NO_ID */
    uint32_t architecture;
    uint64_t memory_mib;
    bool is_healthy;
    bool is_mig_capable;
    bool is_mig_enabled;  /* current mode */
    bool is_mig_pending;  /* mode after the next reset; differs from the current one only there */
    bool is_resetless;    /* mode switches without a GPU reset (Hopper and later) */
    bool has_geometry;    /* the profiles are known (Ampere with MIG off does not tell) */
    char reason[200];     /* why it is not healthy, for people; else "" */
};

/* One compute instance. */
struct mig_compute {
    uint32_t id;
    uint32_t profile_id;          /* the driver's runtime id */
    uint8_t start, size;          /* compute slices inside the GPU instance; size 0: not told */
    uint32_t process_count;       /* valid if the instance's has_processes */
    char mig_uuid[MIG_UUID_SIZE]; /* "MIG-..."; "" if the driver showed no MIG device for it */
};

/* One GPU instance found on a GPU.  Its identity is GPU UUID + placement + profile_id (+ the UUIDs
 * inside); gi_id is reused by the driver. */
struct mig_instance {
    uint32_t gi_id;
    uint32_t profile_id; /* the driver's runtime id */
    uint8_t start, size; /* memory slots */
    uint8_t ci_count;    /* 0: half-made; it has no MIG device */
    bool has_processes;  /* process counts are known (needs privilege) */
    uint32_t process_count;
    struct mig_compute ci[MIG_MAX_COMPUTE];
};

/* Everything about one GPU that can change. */
struct mig_scan {
    bool is_mig_enabled, is_mig_pending;
    bool has_processes;     /* processes of the GPU itself could be counted */
    uint32_t process_count; /* on the GPU itself, outside any instance */
    uint32_t instance_count;
    struct mig_instance instances[MIG_MAX_INSTANCES]; /* by start */
};
