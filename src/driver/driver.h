#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include "mig/gpu.h"
#include <stdbool.h>
#include <stdint.h>

/* The only room that talks to the GPU driver (libnvidia-ml.so.1, by dlopen).  It finds out and
 * carries out; it decides nothing.
 *
 * Every GPU has a worker thread that takes jobs first come first served, so that a slow or hung
 * GPU delays nobody else.  Jobs and results are plain values.  All functions here are for one
 * thread (the loop); none of them calls the library except driver_open().
 *
 *     driver_open() ─▶ driver_gpu_info() ...
 *     driver_submit(job) ──▶ worker ──▶ driver_fd() readable ─▶ driver_next_result()
 *
 * Results of one GPU come in the order of their jobs. */

struct driver;
struct mig_geometry;

struct driver_settings {
    const char *path;         /* the library; NULL: "libnvidia-ml.so.1" */
    uint32_t open_timeout_ms; /* for the library's start and for each GPU's discovery; 0: 30 s */
    uint32_t event_wait_ms;   /* how often the event watcher wakes up; 0: no events are watched */
};

struct driver_versions {
    char driver[80]; /* "590.48.01"; "" if not told */
    char nvml[80];
    int cuda; /* 13010 is 13.1; 0 if not told */
};

enum driver_kind {
    DRIVER_DISCOVER,   /* asks again what the GPU is; replaces info and geometry */
    DRIVER_SCAN,       /* everything that is on the GPU now */
    DRIVER_CREATE,     /* GPU instance with a compute instance in it */
    DRIVER_CREATE_CI,  /* one more compute instance in an existing GPU instance */
    DRIVER_DESTROY_CI, /* one compute instance, the GPU instance stays */
    DRIVER_DESTROY,    /* GPU instance with everything in it */
    DRIVER_CHECK,      /* who runs on one instance */
    DRIVER_SET_MODE,   /* MIG on or off */
    DRIVER_SAMPLE,     /* telemetry; ends early, with fewer instances, when another job waits */
    DRIVER_EVENT,      /* results only: the driver reported something by itself */
    DRIVER_KIND_COUNT,
};

/* What is to be done.  Fields that a kind does not name are ignored. */
struct driver_job {
    enum driver_kind kind;
    uint64_t tag; /* comes back in the result */
    /* CREATE, CREATE_CI, DESTROY_CI, DESTROY, CHECK: the GPU instance, by its placement. */
    uint8_t start, size;
    /* CREATE: what to make.  The others: what must stand there, or -ESTALE; MIG_NO_ID: whatever. */
    uint32_t profile_id;
    /* DESTROY, DESTROY_CI, CHECK: the MIG UUID of a compute instance in it, or -ESTALE;
     * "": whatever.  An instance that has none left passes. */
    char mig_uuid[MIG_UUID_SIZE];
    bool is_bare; /* DESTROY: only if it has no compute instance at all, or -ESTALE */
    /* CREATE, CREATE_CI: compute slices of the compute instance, 0: all of the GPU instance. */
    uint8_t ci_slices;
    uint32_t ci_id; /* DESTROY_CI */
    bool is_enable; /* SET_MODE */
    /* SAMPLE: ask the MIG devices too, of the instances that start at these memory slots (0: all).
     * Leave it out while a slice is about to go: a MIG device that a program has looked at may
     * count as in use. */
    bool has_instances;
    uint16_t starts;
    /* SAMPLE: how many processes run there, nothing else.  What is measured between two samples
     * goes on being measured. */
    bool is_brief;
};

#define DRIVER_MAX_PIDS 16

/* Of CREATE, CREATE_CI, DESTROY_CI, DESTROY and CHECK. */
struct driver_slice {
    /* There is something on the GPU: what was made, what is left of a failed CREATE or DESTROY,
     * or what was checked.  When false, `instance` says nothing and nothing is there. */
    bool is_there;
    struct mig_instance instance;
    uint32_t pid_count; /* processes on it; pids[] has the first DRIVER_MAX_PIDS of them */
    uint32_t pids[DRIVER_MAX_PIDS];
};

struct driver_mode {
    bool is_mig_enabled, is_mig_pending; /* after the call */
    uint32_t activation;                 /* nvmlReturn_t: why it did not take effect at once */
};

/* Valid bits: what is not set was not told, which is no error. */
enum {
    DRIVER_HAS_MEMORY = 1 << 0,
    DRIVER_HAS_GPU_UTIL = 1 << 1,    /* busy_percent: some kernel was running */
    DRIVER_HAS_MEMORY_UTIL = 1 << 2, /* dram_percent */
    DRIVER_HAS_POWER = 1 << 3,
    DRIVER_HAS_TEMPERATURE = 1 << 4,
    DRIVER_HAS_ENERGY = 1 << 5,
    DRIVER_HAS_SM_UTIL = 1 << 6, /* sm_percent: share of multiprocessors at work (GPM) */
    DRIVER_HAS_PROCESSES = 1 << 7,
    DRIVER_CAN_SM_UTIL = 1 << 8, /* of the GPU: it has GPM, so there will be a sm_percent */
};

/* What is told of a GPU and of an instance alike. */
struct driver_reading {
    uint32_t valid, process_count;
    uint64_t memory_used_mib, memory_total_mib;
    float busy_percent, sm_percent, dram_percent;
    uint32_t span_ms; /* of sm_percent, and of the others where they are GPM's */
};

struct driver_sample_instance {
    uint32_t gi_id, profile_id;
    uint8_t start, size;
    struct driver_reading read;
};

struct driver_sample {
    int64_t mono_ms; /* when it was taken */
    struct driver_reading read; /* its `valid` is also for what follows */
    uint32_t power_mw, temperature_c;
    uint64_t energy_mj;
    uint32_t instance_count;
    struct driver_sample_instance instances[MIG_MAX_INSTANCES];
};

enum driver_event_kind {
    /* Instances changed, by us or by somebody else; comes once too when the watch of a GPU begins,
     * because what happened before it was not seen. */
    DRIVER_EVENT_MIG_CONFIG,
    DRIVER_EVENT_XID,
    DRIVER_EVENT_ECC,  /* uncorrectable memory error */
    DRIVER_EVENT_LOST, /* the GPU fell off the bus; the watcher looks away from it */
};

struct driver_event {
    enum driver_event_kind kind;
    uint64_t xid;          /* XID */
    uint32_t gi_id, ci_id; /* MIG_NO_ID if not attributed */
};

/* What came of a job.
 *
 * Codes that a caller must handle:
 *   -EBUSY     a process runs on it, or the driver says IN_USE for longer than the retries
 *   -ENOSPC    the driver has no room for it
 *   -ENOENT    nothing stands at the placement
 *   -ESTALE    something else stands there than the job says; it was not touched
 *   -EXDEV     the driver made it elsewhere than asked; it was undone (unless is_there)
 *   -EACCES    no permission (the daemon is not root?)
 *   -EINPROGRESS  SET_MODE: accepted, but pending until the GPU is reset
 *   -EOPNOTSUPP  this GPU or its mode cannot do it
 *   -ENODEV    the GPU is gone
 * A failed CREATE leaves nothing behind unless slice.is_there; then slice.instance is what is left
 * and has to be destroyed by another job. */
struct driver_result {
    enum driver_kind kind;
    uint32_t gpu; /* as in driver_gpu_info() */
    uint64_t tag;
    int code;          /* 0 or -errno */
    uint32_t nvml;     /* the library's own return value that decided, 0 if none did */
    int64_t driver_ns; /* spent inside the library */
    int64_t worker_ns; /* from the start of the job to its result, waits between retries included */
    int64_t queued_ns; /* before the worker took it */
    char message[320]; /* "" on success; for people */
    union {
        struct mig_scan scan;
        struct driver_slice slice;
        struct driver_mode mode;
        struct driver_sample sample;
        struct driver_event event;
    };
};

/* Loads the library, starts it, counts the GPUs and discovers them in parallel.  A GPU that fails
 * or does not answer in time is listed as unhealthy with the reason; the others work.
 * -ENOENT: no such library; -ELIBBAD: it is not NVML, or driver and library differ in version;
 * -ENODEV: the kernel driver is not loaded; -ETIMEDOUT: it hangs. */
int driver_open(const struct driver_settings *settings, struct driver **ret, struct error *err);

/* Ends the workers; jobs that wait are dropped.  Takes half a second at most: a worker that hangs
 * in the library is left alone with what it needs, and cleans up should it ever come back.  So is
 * the event watcher if event_wait_ms is over 100; it ends within that time. */
void driver_close(struct driver *driver);
DEFINE_FREEP(struct driver, driver_close)

const struct driver_versions *driver_versions(const struct driver *driver);
uint32_t driver_gpu_count(const struct driver *driver);
/* Borrowed until driver_close(); changes only in driver_next_result() when a DISCOVER result is
 * taken (also one that came after driver_open() had given up waiting). */
const struct mig_gpu_info *driver_gpu_info(const struct driver *driver, uint32_t gpu);
/* What the GPU can be cut into; NULL when it did not tell.  Equal GPUs share one. */
const struct mig_geometry *driver_gpu_geometry(const struct driver *driver, uint32_t gpu);

/* Queues a job; never blocks.  -ENODEV: no such GPU; -ENOBUFS: 256 jobs wait there already. */
int driver_submit(struct driver *driver, uint32_t gpu, const struct driver_job *job,
                  struct error *err);
/* How long the GPU's current job has run; 0 when the worker is idle. */
int64_t driver_busy_ms(const struct driver *driver, uint32_t gpu);
/* Jobs that wait or run. */
uint32_t driver_pending(const struct driver *driver, uint32_t gpu);

/* Readable while a result waits. */
int driver_fd(const struct driver *driver);
/* Takes the next result; false when there is none. */
bool driver_next_result(struct driver *driver, struct driver_result *ret);

/* "pid 1234 (python3), pid 77 (dcgm)" of the slice's processes; "" when it has none. */
void driver_name_pids(const struct driver_slice *slice, char *buf, size_t size);
/* "create", "destroy" ...; for logs and metrics. */
const char *driver_kind_name(enum driver_kind kind);
