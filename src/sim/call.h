#pragma once
#include "base/cleanup.h"
#include "sim/machine.h"
#include "sim/nvml_types.h"
#include "sim/slice.h"
#include "sim/trouble.h"

/* The frame around every exported function: initialised?  fault?  which GPU?  lost?  allowed?
 *
 *     CLEANUP(call_end) struct call c = {0};
 *     enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
 *     if (rc != NVML_SUCCESS) {
 *         return rc;
 *     }
 *
 * From then on c.state is locked and c describes the target; call_end() lets go. */

enum call_want {
    CALL_GPU = 1,      /* a GPU's own handle will do */
    CALL_MIG = 2,      /* so will a MIG device's */
    CALL_ROOT = 4,     /* NO_PERMISSION unless root (or the owner of the machine) */
    CALL_CONFIG = 8,   /* NO_PERMISSION unless the mig/config capability can be opened */
    CALL_MIG_ON = 16,  /* NOT_SUPPORTED while MIG is off */
    CALL_MONITOR = 32, /* NO_PERMISSION unless mig/monitor can be opened: lists of instances; on a
                          GPU with MIG on also what sums up over all of them */
    /* 64 is CALL_MIG_OFF of answer.h */
    CALL_HAS_MIG = 128 /* NOT_SUPPORTED on a GPU that cannot be cut at all */
};

struct call {
    struct sim_machine *m;
    struct sim_file *file;
    struct sim_gpu *gpu;
    const struct sim_model *model;
    const struct sim_state *state; /* valid while locked */
    uint32_t index;
    bool is_mig, is_entered, is_locked, has_op;
    unsigned int gi, ci; /* of a MIG, GPU instance or compute instance handle */
    uint32_t serial;     /* of that instance, for a change that waited */
};

/* Without a GPU: initialised, and no fault. */
enum nvml_return call_system(struct call *c, const char *name);
enum nvml_return call_device(struct call *c, const char *name, struct nvml_device *device,
                             unsigned int want);
/* By index; for nvmlDeviceGetHandleByIndex() and its like. */
enum nvml_return call_gpu(struct call *c, const char *name, uint32_t index, unsigned int want);
enum nvml_return call_gi(struct call *c, const char *name, struct nvml_gpu_instance *gi,
                         unsigned int want);
enum nvml_return call_ci(struct call *c, const char *name, struct nvml_compute_instance *ci,
                         unsigned int want);
void call_end(struct call *c);
/* Every name that is not implemented. */
enum nvml_return call_stub(const char *name, struct nvml_device *device);

/* NO_PERMISSION unless root (or the owner of the machine): CALL_ROOT for what turns out later. */
enum nvml_return call_needs_root(const struct call *c);

/* NO_PERMISSION if this sums up over all instances and the caller may not monitor them. */
enum nvml_return call_aggregate(const struct call *c);

/* A change that takes time.  `change` edits the spare state; it is tried at once, and if it can be
 * done then once more, for good, half-way through the time it takes.  Meanwhile other changes on
 * this GPU wait, queries do not. */
typedef enum nvml_return call_change(struct call *c, struct sim_state *next, void *arg);
enum nvml_return call_mutate(struct call *c, int64_t mean_us, call_change *change, void *arg);

/* For a change that was made: events, and the files below root/. */
void call_config_changed(struct call *c);
/* Is a process on this instance (ci SIM_WHOLE: any of it), or was there one a moment ago?  To be
 * called from a change, with the state that it edits. */
bool call_is_busy(struct call *c, const struct sim_gi *gi, int ci);

/* Handles.  Cookies of (kind, GPU, instance ids, serial): stale and invented ones are recognised
 * without touching memory. */
struct nvml_device *handle_gpu(uint32_t gpu);
struct nvml_device *handle_mig(const struct call *c, unsigned int gi, unsigned int ci);
struct nvml_gpu_instance *handle_gi(const struct call *c, unsigned int gi);
struct nvml_compute_instance *handle_ci(const struct call *c, unsigned int gi, unsigned int ci);

static inline const struct sim_gi_profile *call_gi_profile(const struct call *c)
{
    return &c->model->gis[c->state->gis[c->gi].profile];
}

/* Drivers up to 535 know profiles only while MIG is on; so do Ampere's (docs/simulator.md). */
bool call_knows_profiles(const struct call *c, bool is_mig_on);

/* Process-wide; for nvmlInit and nvmlShutdown. */
enum nvml_return session_open(void);
enum nvml_return session_close(void);
/* False once the last nvmlShutdown came, also for a call that is still under way. */
bool session_is_open(void);
/* The locks of event sets and samples, which a fork must not find held by another thread; in the
 * order in which they are taken. */
extern pthread_mutex_t event_sets_lock, gpm_samples_lock;

/* Copies with its NUL: INSUFFICIENT_SIZE when it does not fit, INVALID_ARGUMENT for NULL. */
enum nvml_return put_text(char *dst, unsigned int size, const char *text);
