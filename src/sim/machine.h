#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include "sim/model.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A simulated machine: a directory with the file `machine`, mapped by every client at once, and
 * beside it `boot_id`, `loads` and `root/`.  machine.c explains locking and crash safety. */

#define SIM_MAX_GPUS 32
#define SIM_MAX_GI 15
#define SIM_MAX_CI 8
#define SIM_MAX_LOADS 64
#define SIM_MAX_FAULTS 32
#define SIM_MAX_EVENTS 64
#define SIM_MAX_ACCOUNTS 256 /* processes that ended, of which a GPU keeps accounts */
#define SIM_WHOLE (-1) /* gi or ci of a load that uses the GPU as a whole */

struct sim_ci {
    bool is_used;
    uint8_t profile, start, size; /* profile: index into the gi's table */
    uint8_t compute_mode;
    uint32_t serial; /* never used twice on a GPU: stale handles are recognised */
};

struct sim_gi {
    bool is_used;
    uint8_t profile, start, size; /* profile: index into the model's table */
    uint32_t serial;
    int64_t busy_until_ms; /* the driver still cleans up after a process: destroy is IN_USE */
    struct sim_ci cis[SIM_MAX_CI];
};

/* What an administrator has set; 0: nothing.  Gone with the next reset or reboot. */
struct sim_settings {
    int32_t power_limit_mw;
    int32_t least_sm_mhz, most_sm_mhz, least_memory_mhz, most_memory_mhz; /* locked clocks */
    int32_t app_sm_mhz, app_memory_mhz;
    int32_t has_accounting;
    int32_t are_app_clocks_free; /* for everybody to set */
    int32_t gpm_streaming;
};

/* The part of a GPU that changes as a whole or not at all. */
struct sim_state {
    struct sim_settings settings;
    int32_t mig_mode, mig_pending, persistence, compute_mode;
    int32_t is_ecc_off, is_ecc_off_pending; /* kept in the InfoROM, in force after a reset */
    uint32_t next_serial;
    struct sim_gi gis[SIM_MAX_GI]; /* by GPU instance id */
};

/* A process that uses a GPU.  It holds a lock on byte (gpu * SIM_MAX_LOADS + index) of the file
 * `loads`, which the kernel drops when it dies, however it dies. */
struct sim_load {
    bool is_used, is_graphics;
    int8_t gi, ci;
    int32_t pid;
    uint32_t sm_pct;
    uint64_t memory_bytes;
    int64_t start_real_ms;
    char name[96];
};

/* A process that ended, while accounting was on. */
struct sim_account {
    int32_t pid;
    uint32_t sm_pct;
    uint64_t memory_bytes;
    int64_t start_real_ms, end_real_ms;
};

struct sim_event {
    uint64_t type, data;
    uint32_t gi, ci;
};

/* What is integrated over time, brought up to date whenever somebody looks. */
struct sim_meter {
    int64_t at_ns;
    double celsius, energy_mj;
    double busy[SIM_MAX_GI + 1]; /* SM-active seconds per gi; the last one: the whole GPU */
    double memory_busy[SIM_MAX_GI + 1];
};

struct sim_gpu {
    char model[32], uuid[48], serial_number[16];
    uint64_t pdi;
    uint32_t bus, minor;
    bool is_flipped, is_lost;
    pthread_mutex_t op;    /* one change at a time; held while it takes its time */
    pthread_mutex_t state; /* held for moments only */
    uint32_t current;      /* which of states[] counts */
    struct sim_state states[2];
    struct sim_load loads[SIM_MAX_LOADS];
    struct sim_meter meter;
    uint64_t chance; /* draws so far */
    uint64_t event_head;
    struct sim_event events[SIM_MAX_EVENTS];
    uint64_t ecc_corrected, ecc_uncorrected;
    uint64_t account_head; /* how many ended; the last ones are in accounts[] */
    struct sim_account accounts[SIM_MAX_ACCOUNTS];
};

/* How long things take (0: no time at all). */
struct sim_latency {
    int64_t create_gi_us, create_ci_us, destroy_gi_us, destroy_ci_us;
    int64_t each_us; /* added to destroy_gi for every further instance on the GPU */
    int64_t mode_us, init_us;
    int64_t spare_us; /* nothing reads it; machines on disk have its place */
    int64_t in_use_us; /* destroying is refused for so long after a process ended */
    int64_t spread_pct, tail_pct, tail_factor;
};

struct sim_fault {
    bool is_used, has_return;
    int32_t gpu; /* -1: any */
    int32_t code;
    uint32_t after, times; /* times 0: for ever */
    int64_t hang_ms;       /* -1: for ever */
    char call[72];         /* fnmatch pattern */
};

struct sim_file {
    char magic[16];
    uint64_t size;
    char driver_version[80];
    char boot_id[40], host_boot_id[40];
    uint64_t seed;
    uint32_t boots, gpu_count;
    uint32_t has_root; /* the surroundings below root/ are kept up to date */
    struct sim_latency latency;
    pthread_mutex_t lock; /* faults */
    uint32_t fault_count;
    uint32_t fault_clears; /* how often they were cleared: who hangs goes on then */
    struct sim_fault faults[SIM_MAX_FAULTS];
    uint32_t event_seq; /* futex: changes with every event on any GPU */
    struct sim_gpu gpus[SIM_MAX_GPUS];
};

struct sim_machine {
    char *dir;
    struct sim_file *file;
    int loads_fd;
    int own_load; /* gpu * SIM_MAX_LOADS + index that this process holds, or -1 */
    const struct sim_model *models[SIM_MAX_GPUS];
};

struct sim_plan_gpu {
    const char *model;
    int count;
    bool is_flipped;
};

struct sim_plan {
    struct sim_plan_gpu gpus[SIM_MAX_GPUS];
    int gpu_count;
    const char *driver_version;
    uint64_t seed;
    struct sim_latency latency;
};

/* Could it be made?  Errors as below; *ret_total is the number of GPUs. */
int sim_plan_check(const struct sim_plan *plan, int *ret_total, struct error *err);
/* Makes DIR and the machine in it.  -EEXIST when there is one, -EINVAL for an unknown model or one
 * of which too little is known, -E2BIG for too many GPUs. */
int sim_machine_create(const char *dir, const struct sim_plan *plan, struct error *err);
/* -ENOENT, -EACCES, or -EPROTO when another version of the simulator made it.  If the computer
 * itself was restarted since the last open, the simulated machine has been, too. */
int sim_machine_open(const char *dir, struct sim_machine **ret, struct error *err);
void sim_machine_free(struct sim_machine *m);
DEFINE_FREEP(struct sim_machine, sim_machine_free)
/* Power cycle: slices, loads, pending modes, lost GPUs and events are gone. */
int sim_machine_reboot(struct sim_machine *m, struct error *err);
/* What `nvidia-smi --gpu-reset` does: instances go, a pending mode comes.  -EBUSY with a load. */
int sim_machine_reset(struct sim_machine *m, uint32_t gpu, struct error *err);

/* Locks that survive the death of their holder. */
void sim_lock(pthread_mutex_t *mutex);
void sim_unlock(pthread_mutex_t *mutex);

/* With gpu->state held.  sim_gpu_edit() gives a copy to change, sim_gpu_commit() makes it count. */
const struct sim_state *sim_gpu_state(const struct sim_gpu *gpu);
struct sim_state *sim_gpu_edit(struct sim_gpu *gpu);
void sim_gpu_commit(struct sim_gpu *gpu);
/* As after power on, or after a reset with the driver loaded: clears what does not survive. */
void sim_gpu_power_on(const struct sim_model *model, struct sim_gpu *gpu, bool is_reset);

/* The next number in 0 .. 2^32-1 of this GPU's own sequence; with gpu->state held. */
uint32_t sim_gpu_chance(const struct sim_file *file, struct sim_gpu *gpu);
/* A well-mixed number from seed and a salt. */
uint64_t sim_mix(uint64_t seed, uint64_t salt);

/* Whoever waits for events on this machine looks again. */
void sim_event_wake(struct sim_file *file);
/* Appends an event and wakes who waits; with gpu->state held. */
void sim_event_post(struct sim_file *file, struct sim_gpu *gpu, const struct sim_event *event);
