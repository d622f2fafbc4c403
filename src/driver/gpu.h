#pragma once
#include "base/clock.h"
#include "driver/driver.h"
#include "driver/nvml.h"
#include "mig/mig.h"
#include <stdatomic.h>

/* One GPU as its worker sees it, and the jobs done on it.  Only the worker's thread touches it;
 * every call here may block for as long as the driver does.
 *
 * A job fills a struct driver_result.  Helpers that fail have filled code, nvml and message by
 * gpu_fail() or gpu_refuse() and return the (negative) code. */

#define GPU_MAX_LIST 128 /* handles that one listing can return */
#define GPU_GPM_SLOTS (MIG_MAX_INSTANCES + 1)

/* The compute-instance profiles inside one GPU-instance profile, learnt when one stands. */
struct gpu_ci_table {
    bool is_known;
    uint8_t count;
    struct {
        uint32_t id, sm_count;
        uint8_t slices;
    } rows[NVML_CI_PROFILES];
};

struct gpu_profile {
    uint32_t id;
    uint8_t slices, instances;
    bool has_listed; /* its instances could be listed before */
    struct gpu_ci_table cis;
};

/* The handle of a MIG device, so that it need not be searched for again. */
struct gpu_mig_handle {
    nvml_device device;
    uint32_t gi_id, ci_id;
};

/* The GPM sample before the next one.  It is a buffer and holds nothing on the GPU. */
struct gpu_gpm {
    nvml_gpm_sample sample; /* NULL: the slot is free */
    uint32_t gi_id, profile_id;
    uint8_t start;
    bool is_seen; /* in the present round */
    int64_t mono_ms;
};

struct gpu {
    const struct nvml *nvml;
    const atomic_bool *is_closing; /* ends waits between retries */
    const atomic_uint *waiting;    /* jobs behind the present one; what is not urgent makes way */
    uint32_t index, minor;
    nvml_device device; /* NULL until discovered */
    char pci[32], uuid[MIG_UUID_SIZE];
    int64_t driver_ns; /* inside the library, during the present job */
    uint32_t architecture;
    bool is_mig_capable; /* has told its MIG mode before */
    uint8_t profile_count;
    struct gpu_profile profiles[MIG_PROFILES_MAX];
    bool is_walked; /* the MIG devices were walked since the last change */
    uint8_t mig_count;
    struct gpu_mig_handle mig[MIG_MAX_INSTANCES * 2];
    int8_t gpm_support; /* -1 not asked yet */
    struct gpu_gpm gpm[GPU_GPM_SLOTS];
};

/* Calls the library if it has the function, and counts the time. */
#define GPU_CALL(gpu, member, ...)                                                                 \
    ({                                                                                             \
        int64_t gpu_call_ns_ = clock_mono_ns();                                                    \
        nvml_return gpu_call_ = (gpu)->nvml->member ? (gpu)->nvml->member(__VA_ARGS__)             \
                                                    : NVML_ERROR_FUNCTION_NOT_FOUND;               \
        (gpu)->driver_ns += clock_mono_ns() - gpu_call_ns_;                                        \
        gpu_call_;                                                                                 \
    })

/* "what: why", with the meaning of the library's answer.  Returns the code (negative), never
 * -ENOENT: that is said by gpu_refuse() alone. */
int gpu_fail(struct driver_result *result, nvml_return answer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for what the library has no part in. */
int gpu_refuse(struct driver_result *result, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Is the answer "I do not tell" rather than a failure? */
bool gpu_is_silent(nvml_return answer);

/* discover.c: what discovery finds; owned by the job. */
struct gpu_discovery {
    struct mig_gpu_info info;
    struct mig_geometry geometry; /* if info.has_geometry */
};
void gpu_discover(struct gpu *gpu, struct gpu_discovery *found, struct driver_result *result);
/* Learns the profiles that are needed to list instances, if that has not been possible before. */
int gpu_need_profiles(struct gpu *gpu, struct driver_result *result);
/* Finds the GPU's handle again, after a change of mode made the old one stale. */
int gpu_reopen(struct gpu *gpu, struct driver_result *result);

/* list.c: what stands on the GPU. */
struct gpu_gi {
    nvml_gi gi;
    struct gpu_profile *profile;
    uint32_t id;
    uint8_t start, size;
};
struct gpu_gi_list {
    uint32_t count;
    struct gpu_gi rows[MIG_MAX_INSTANCES]; /* by start */
};
struct gpu_processes {
    bool is_known;
    uint32_t count;
    struct nvml_process *rows; /* each process and instance once */
};

/* Off for a GPU without MIG; one that is known to have it and denies it is a failure. */
int gpu_get_mode(struct gpu *gpu, bool *ret_enabled, bool *ret_pending,
                 struct driver_result *result);
/* This and gpu_list_cis(): whole, or a failure (never -ENOENT). */
int gpu_list_gis(struct gpu *gpu, struct gpu_gi_list *ret, struct driver_result *result);
/* The instance without its UUIDs and processes; ret_handles (if not NULL) in the order of ci[]. */
int gpu_list_cis(struct gpu *gpu, const struct gpu_gi *gi, struct mig_instance *ret,
                 nvml_ci ret_handles[MIG_MAX_COMPUTE], struct driver_result *result);
/* Learns the profile's compute-instance profiles from an instance of it. */
int gpu_need_ci_table(struct gpu *gpu, const struct gpu_gi *gi, struct driver_result *result);
/* The MIG devices of the instance: its UUIDs.  What is not found stays "". */
int gpu_find_uuids(struct gpu *gpu, struct mig_instance *instance, struct driver_result *result);
/* The handle of one MIG device, NULL if there is none. */
nvml_device gpu_mig_device(struct gpu *gpu, uint32_t gi_id, uint32_t ci_id);
void gpu_forget_mig_devices(struct gpu *gpu);
/* Not being told is no failure: is_known says so. */
int gpu_list_processes(struct gpu *gpu, struct gpu_processes *ret, struct driver_result *result);
void gpu_processes_done(struct gpu_processes *processes);
void gpu_count_processes(const struct gpu_processes *processes, struct mig_instance *instance);

void gpu_scan(struct gpu *gpu, struct driver_result *result);
void gpu_check(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);

/* cut.c: changes. */
void gpu_create(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);
void gpu_create_ci(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);
void gpu_destroy(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);
void gpu_destroy_ci(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);
void gpu_set_mode(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);
/* Finds the job's instance by placement and verifies what the job says about it; fills
 * result->slice with it, its UUIDs and processes. */
int gpu_find(struct gpu *gpu, const struct driver_job *job, struct gpu_gi *ret,
             nvml_ci ret_handles[MIG_MAX_COMPUTE], struct driver_result *result);

/* sample.c */
void gpu_sample(struct gpu *gpu, const struct driver_job *job, struct driver_result *result);
void gpu_forget_samples(struct gpu *gpu);
