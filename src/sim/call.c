/* Sessions and frames.
 *
 * nvmlInit and nvmlShutdown count; the machine is mapped at the first init.  A call in flight
 * counts, too: a shutdown that would unmap the machine under another thread (or under one that
 * hangs in an injected fault) leaves it mapped, and the next init takes it up again. */
#include "sim/call.h"
#include "base/clock.h"
#include "sim/load.h"
#include "sim/root.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static pthread_mutex_t session_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int session_refs;   /* atomic; changed under session_lock */
static unsigned int session_flying; /* atomic */
static struct sim_machine *session;

/* TANGRAM_SIM_TRACE=FILE: one line per call, for whoever wonders what a client asks for. */
static int trace_fd = -1;

static void trace_open(void)
{
    const char *path = getenv("TANGRAM_SIM_TRACE");
    if (path && path[0] && trace_fd < 0) {
        trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
}

/* Writes the trace line and applies the faults of this call. */
static enum nvml_return announce(const struct call *c, const char *name, int gpu)
{
    if (!name[0]) {
        return NVML_SUCCESS; /* a look at another GPU within a call that was announced */
    }
    if (trace_fd >= 0) {
        dprintf(trace_fd, "%d %s %d\n", (int)getpid(), name, gpu);
    }
    return fault_apply(c->file, name, gpu);
}

/* A client with several threads may fork: the child must not inherit a lock that a thread holds
 * which it does not have.  Those in the machine file are robust and not its own. */
static pthread_mutex_t *const fork_locks[] = {&session_lock, &event_sets_lock, &gpm_samples_lock};

static void before_fork(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(fork_locks); i++) {
        pthread_mutex_lock(fork_locks[i]);
    }
}

static void after_fork(void)
{
    for (size_t i = ARRAY_SIZE(fork_locks); i-- > 0;) {
        pthread_mutex_unlock(fork_locks[i]);
    }
}

/* Nor is any call of the other threads under way in the child. */
static void after_fork_in_child(void)
{
    __atomic_store_n(&session_flying, 0, __ATOMIC_SEQ_CST);
    after_fork();
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static bool is_same_machine(const char *dir)
{
    return session && strcmp(session->dir, dir) == 0 &&
           access(dir, F_OK) == 0; /* a machine that was deleted is opened anew */
}

enum nvml_return session_open(void)
{
    const char *dir = getenv("TANGRAM_SIM");
    enum nvml_return rc = NVML_SUCCESS;
    pthread_mutex_lock(&session_lock);
    if (session_refs == 0) {
        if (!dir || !dir[0]) {
            rc = NVML_ERROR_DRIVER_NOT_LOADED;
        } else if (!is_same_machine(dir)) {
            struct sim_machine *m = NULL;
            int r = sim_machine_open(dir, &m, NULL);
            if (r < 0) {
                rc = r == -EPROTO ? NVML_ERROR_LIB_RM_VERSION_MISMATCH
                                  : NVML_ERROR_DRIVER_NOT_LOADED;
            } else if (__atomic_load_n(&session_flying, __ATOMIC_SEQ_CST) == 0) {
                sim_machine_free(session);
                session = m;
            } else {
                session = m; /* somebody still hangs in the old one */
            }
        }
    }
    if (rc == NVML_SUCCESS) {
        trace_open();
        __atomic_add_fetch(&session_refs, 1, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&session_lock);
    return rc;
}

enum nvml_return session_close(void)
{
    enum nvml_return rc = NVML_SUCCESS;
    pthread_mutex_lock(&session_lock);
    if (session_refs == 0) {
        rc = NVML_ERROR_UNINITIALIZED;
    } else if (__atomic_sub_fetch(&session_refs, 1, __ATOMIC_SEQ_CST) == 0) {
        if (__atomic_load_n(&session_flying, __ATOMIC_SEQ_CST) == 0) {
            sim_machine_free(session);
            session = NULL;
        } else {
            sim_event_wake(session->file); /* a thread may be waiting for events */
        }
    }
    pthread_mutex_unlock(&session_lock);
    return rc;
}

bool session_is_open(void)
{
    return __atomic_load_n(&session_refs, __ATOMIC_SEQ_CST) > 0;
}

/* Counts the call as flying before it looks whether there is a session, so that session_close()
 * either sees the call or the call sees the end of the session. */
static enum nvml_return enter(struct call *c)
{
    __atomic_add_fetch(&session_flying, 1, __ATOMIC_SEQ_CST);
    c->is_entered = true;
    if (__atomic_load_n(&session_refs, __ATOMIC_SEQ_CST) == 0) {
        return NVML_ERROR_UNINITIALIZED;
    }
    c->m = session;
    c->file = session->file;
    return NVML_SUCCESS;
}

enum nvml_return call_system(struct call *c, const char *name)
{
    enum nvml_return rc = enter(c);
    return rc != NVML_SUCCESS ? rc : announce(c, name, -1);
}

/* The machine's own "root": the real one, or whoever made the machine. */
static bool is_root(const struct sim_machine *m)
{
    struct stat st;
    CLEANUP(freep) char *path = xasprintf("%s/machine", m->dir);
    return geteuid() == 0 || (stat(path, &st) == 0 && st.st_uid == geteuid());
}

/* Can this user open the capability file (which exists once the surroundings are built)? */
static bool has_capability(const struct sim_machine *m, const char *name, bool by_default)
{
    if (is_root(m)) {
        return true;
    }
    CLEANUP(freep)
    char *path = xasprintf("%s/root/proc/driver/nvidia/capabilities/mig/%s", m->dir, name);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 || (errno == ENOENT && by_default);
}

/* config is root's alone, monitor everybody's, unless the files below root/ say otherwise. */
static enum nvml_return check_rights(const struct call *c, unsigned int want)
{
    bool is_ok = !(want & CALL_ROOT) || is_root(c->m);
    is_ok = is_ok && (!(want & CALL_CONFIG) || has_capability(c->m, "config", false));
    is_ok = is_ok && (!(want & CALL_MONITOR) || has_capability(c->m, "monitor", true));
    return is_ok ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}

enum nvml_return call_needs_root(const struct call *c)
{
    return check_rights(c, CALL_ROOT);
}

enum nvml_return call_aggregate(const struct call *c)
{
    return c->is_mig || !c->state->mig_mode ? NVML_SUCCESS : check_rights(c, CALL_MONITOR);
}

static enum nvml_return lock_gpu(struct call *c)
{
    sim_lock(&c->gpu->state);
    c->is_locked = true;
    load_reap(c->m, c->index);
    c->state = sim_gpu_state(c->gpu);
    return c->gpu->is_lost ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

enum nvml_return call_gpu(struct call *c, const char *name, uint32_t index, unsigned int want)
{
    enum nvml_return rc = c->is_entered ? NVML_SUCCESS : enter(c);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (index >= c->file->gpu_count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = announce(c, name, (int)index);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    rc = check_rights(c, want);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    c->index = index;
    c->gpu = &c->file->gpus[index];
    c->model = c->m->models[index];
    rc = lock_gpu(c);
    if (rc == NVML_SUCCESS && (((want & CALL_MIG_ON) && !c->state->mig_mode) ||
                               ((want & CALL_HAS_MIG) && !sim_model_has_mig(c->model)))) {
        rc = NVML_ERROR_NOT_SUPPORTED;
    }
    return rc;
}

enum handle_kind { HANDLE_GPU = 0xD1, HANDLE_MIG, HANDLE_GI, HANDLE_CI };

static uint64_t pack(enum handle_kind kind, uint32_t gpu, unsigned int gi, unsigned int ci,
                     uint32_t serial)
{
    return (uint64_t)kind << 56 | (uint64_t)gpu << 48 | (uint64_t)gi << 40 | (uint64_t)ci << 32 |
           serial;
}

struct nvml_device *handle_gpu(uint32_t gpu)
{
    return (struct nvml_device *)(uintptr_t)pack(HANDLE_GPU, gpu, 0, 0, 0);
}

struct nvml_device *handle_mig(const struct call *c, unsigned int gi, unsigned int ci)
{
    uint32_t serial = c->state->gis[gi].cis[ci].serial;
    return (struct nvml_device *)(uintptr_t)pack(HANDLE_MIG, c->index, gi, ci, serial);
}

struct nvml_gpu_instance *handle_gi(const struct call *c, unsigned int gi)
{
    uint32_t serial = c->state->gis[gi].serial;
    return (struct nvml_gpu_instance *)(uintptr_t)pack(HANDLE_GI, c->index, gi, 0, serial);
}

struct nvml_compute_instance *handle_ci(const struct call *c, unsigned int gi, unsigned int ci)
{
    uint32_t serial = c->state->gis[gi].cis[ci].serial;
    return (struct nvml_compute_instance *)(uintptr_t)pack(HANDLE_CI, c->index, gi, ci, serial);
}

/* Locks the GPU of an instance handle and checks that the instance is still that one. */
static enum nvml_return call_instance(struct call *c, const char *name, uint64_t handle,
                                      enum handle_kind kind, unsigned int want)
{
    enum nvml_return rc = enter(c);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    c->gi = handle >> 40 & 0xFF;
    c->ci = handle >> 32 & 0xFF;
    c->serial = (uint32_t)handle;
    if (handle >> 56 != kind || c->gi >= SIM_MAX_GI || c->ci >= SIM_MAX_CI) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = call_gpu(c, name, handle >> 48 & 0xFF, want);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    const struct sim_gi *gi = &c->state->gis[c->gi];
    const struct sim_ci *ci = &gi->cis[c->ci];
    bool is_there =
        gi->is_used && (kind == HANDLE_GI ? gi->serial == (uint32_t)handle
                                          : ci->is_used && ci->serial == (uint32_t)handle);
    return is_there ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return call_device(struct call *c, const char *name, struct nvml_device *device,
                             unsigned int want)
{
    uint64_t handle = (uint64_t)(uintptr_t)device;
    if (handle >> 56 == HANDLE_MIG) {
        enum nvml_return rc = call_instance(c, name, handle, HANDLE_MIG, want);
        c->is_mig = true;
        return rc != NVML_SUCCESS || (want & CALL_MIG) ? rc : NVML_ERROR_NOT_SUPPORTED;
    }
    enum nvml_return rc = enter(c);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (handle >> 56 != HANDLE_GPU || (handle & 0xFFFFFFFFFFFFULL) != 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = call_gpu(c, name, handle >> 48 & 0xFF, want);
    return rc != NVML_SUCCESS || (want & CALL_GPU) ? rc : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return call_gi(struct call *c, const char *name, struct nvml_gpu_instance *gi,
                         unsigned int want)
{
    return call_instance(c, name, (uint64_t)(uintptr_t)gi, HANDLE_GI, want);
}

enum nvml_return call_ci(struct call *c, const char *name, struct nvml_compute_instance *ci,
                         unsigned int want)
{
    return call_instance(c, name, (uint64_t)(uintptr_t)ci, HANDLE_CI, want);
}

static void unlock(struct call *c)
{
    if (c->is_locked) {
        sim_unlock(&c->gpu->state);
        c->is_locked = false;
    }
}

void call_end(struct call *c)
{
    unlock(c);
    if (c->has_op) {
        sim_unlock(&c->gpu->op);
    }
    if (c->is_entered) {
        __atomic_sub_fetch(&session_flying, 1, __ATOMIC_SEQ_CST);
    }
}

enum nvml_return call_stub(const char *name, struct nvml_device *device)
{
    CLEANUP(call_end) struct call c = {0};
    uint64_t handle = (uint64_t)(uintptr_t)device;
    enum nvml_return rc = NVML_SUCCESS;
    if (handle >> 56 == HANDLE_GPU && (handle & 0xFFFFFFFFFFFFULL) == 0) {
        rc = call_gpu(&c, name, handle >> 48 & 0xFF, CALL_GPU);
    } else {
        rc = call_system(&c, name);
    }
    return rc != NVML_SUCCESS ? rc : NVML_ERROR_NOT_SUPPORTED;
}

enum nvml_return call_mutate(struct call *c, int64_t mean_us, call_change *change, void *arg)
{
    unlock(c);
    sim_lock(&c->gpu->op);
    c->has_op = true;
    enum nvml_return rc = lock_gpu(c);
    if (rc == NVML_SUCCESS) {
        rc = change(c, sim_gpu_edit(c->gpu), arg);
    }
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int64_t us = latency_draw_us(c->file, c->gpu, mean_us);
    if (us > 0) {
        unlock(c);
        latency_sleep_us(us / 2);
        rc = lock_gpu(c);
        if (rc == NVML_SUCCESS) {
            rc = change(c, sim_gpu_edit(c->gpu), arg);
        }
    }
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    sim_gpu_commit(c->gpu);
    c->state = sim_gpu_state(c->gpu);
    if (us > 0) {
        unlock(c);
        latency_sleep_us(us - us / 2);
        rc = lock_gpu(c);
    }
    return rc;
}

bool call_knows_profiles(const struct call *c, bool is_mig_on)
{
    return is_mig_on ||
           (c->model->arch >= SIM_ARCH_HOPPER && strtol(c->file->driver_version, NULL, 10) > 535);
}

void call_config_changed(struct call *c)
{
    struct sim_event event = {
        .type = NVML_EVENT_MIG_CONFIG, .gi = NVML_NO_INSTANCE, .ci = NVML_NO_INSTANCE};
    sim_event_post(c->file, c->gpu, &event);
    root_sync(c->m, c->index, c->state);
}

bool call_is_busy(struct call *c, const struct sim_gi *gi, int ci)
{
    if (load_is_on(c->gpu, (int)c->gi, ci)) {
        return true;
    }
    int64_t left_ms = gi->busy_until_ms - clock_mono_ms();
    return left_ms > 0 && left_ms <= c->file->latency.in_use_us / 1000;
}

enum nvml_return put_text(char *dst, unsigned int size, const char *text)
{
    if (!dst) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    size_t len = strlen(text);
    if (len >= size) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    memcpy(dst, text, len + 1);
    return NVML_SUCCESS;
}
