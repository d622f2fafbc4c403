#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A driver library that does what a test says: fails, hangs, lies or forgets.  It is far from a
 * real one (that is the simulated driver's business); it exists to reach every error path of
 * src/driver/ at will.  Tests find the control block by dlsym("fake_control"). */

#define FAKE_GPUS 4
#define FAKE_GIS 8
#define FAKE_CIS 4
#define FAKE_PIDS 200

struct fake_ci {
    bool is_used;
    uint32_t id, profile;
    struct fake_gi *gi;
};

struct fake_gi {
    bool is_used;
    uint32_t id, profile, start, size;
    struct fake_gpu *gpu;
    struct fake_ci cis[FAKE_CIS];
};

struct fake_gpu {
    uint32_t index;
    bool is_incapable; /* of MIG */
    bool is_ampere;    /* tells no profiles with MIG off, and a change of mode stays pending */
    uint32_t mode, pending;
    bool is_registered; /* for events */
    struct fake_gi gis[FAKE_GIS];
    uint32_t pid_count;
    uint32_t pids[FAKE_PIDS], pid_gi[FAKE_PIDS];
};

struct fake_control {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t gpu_count;
    /* The named call (NVML's name) answers fail_code, after fail_skip calls, fail_times times, on
     * one GPU only if fail_gpu is not UINT32_MAX. */
    const char *fail_call;
    int fail_code;
    uint32_t fail_gpu, fail_skip, fail_times;
    /* The named call waits until hang_call is NULL. */
    const char *hang_call;
    uint32_t hang_gpu, hanging;
    bool is_misplacing;  /* makes instances elsewhere than asked */
    bool is_half_making; /* a create that is told to fail makes it nevertheless */
    bool has_no_mig_device;
    uint32_t uuid_round; /* part of each MIG UUID */
    uint32_t calls;      /* of everything */
    uint32_t destroys;   /* calls that would take something down */
    uint32_t mig_walks;  /* nvmlDeviceGetMigDeviceHandleByIndex */
    uint32_t sessions, shutdowns, gpm_samples;
    /* The next event that nvmlEventSetWait gives; type 0: none. */
    uint64_t event_type, event_data;
    uint32_t event_gpu;
    struct fake_gpu gpus[FAKE_GPUS];
};
