/* Event sets.  Events lie in a ring per GPU in the machine file; a set is a list of (GPU, mask,
 * how far it has read) in this process.  Who waits sleeps on a futex in the file. */
#include "base/clock.h"
#include "sim/call.h"
#include "sim/nvml.h"
#include <linux/futex.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

/* ECC errors, P-state and clock changes can be registered; they do not happen. */
static uint64_t supported(const struct call *c)
{
    return 0x1FULL | (sim_model_has_mig(c->model) ? NVML_EVENT_MIG_CONFIG : 0);
}

#define MAX_SETS 64

struct event_set {
    bool is_used;
    uint32_t serial;
    uint64_t mask[SIM_MAX_GPUS], next[SIM_MAX_GPUS];
};

pthread_mutex_t event_sets_lock = PTHREAD_MUTEX_INITIALIZER;
static struct event_set sets[MAX_SETS];
static uint32_t last_serial;

/* A set's handle: tag, serial, index; so that freed and invented ones are recognised. */
static struct event_set *find_set(const struct nvml_event_set *handle)
{
    uint64_t h = (uint64_t)(uintptr_t)handle;
    struct event_set *set = &sets[h % MAX_SETS];
    bool is_ok = h >> 56 == 0xD5 && set->is_used && set->serial == (h >> 8 & 0xFFFFFFFF);
    return is_ok ? set : NULL;
}

enum nvml_return nvmlEventSetCreate(struct nvml_event_set **ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = NVML_ERROR_MEMORY;
    pthread_mutex_lock(&event_sets_lock);
    for (uint64_t i = 0; i < MAX_SETS && rc != NVML_SUCCESS; i++) {
        if (!sets[i].is_used) {
            sets[i] = (struct event_set){.is_used = true, .serial = ++last_serial};
            *ret = (struct nvml_event_set *)(uintptr_t)(0xD5ULL << 56 | (uint64_t)last_serial << 8 |
                                                        i);
            rc = NVML_SUCCESS;
        }
    }
    pthread_mutex_unlock(&event_sets_lock);
    return rc;
}

enum nvml_return nvmlEventSetFree(struct nvml_event_set *handle)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    pthread_mutex_lock(&event_sets_lock);
    struct event_set *set = find_set(handle);
    if (set) {
        set->is_used = false;
        sim_event_wake(c.file); /* who waits for it waits for nothing */
    }
    pthread_mutex_unlock(&event_sets_lock);
    return set ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return nvmlDeviceGetSupportedEventTypes(struct nvml_device *device,
                                                  unsigned long long *types)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!types) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *types = supported(&c);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceRegisterEvents(struct nvml_device *device, unsigned long long types,
                                          struct nvml_event_set *handle)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    pthread_mutex_lock(&event_sets_lock);
    struct event_set *set = find_set(handle);
    rc = !set                     ? NVML_ERROR_INVALID_ARGUMENT
         : types & ~supported(&c) ? NVML_ERROR_NOT_SUPPORTED
                                  : NVML_SUCCESS;
    if (rc == NVML_SUCCESS) {
        if (set->mask[c.index] == 0) {
            set->next[c.index] = c.gpu->event_head; /* what happened before is not reported */
        }
        set->mask[c.index] |= types;
    }
    pthread_mutex_unlock(&event_sets_lock);
    return rc;
}

/* The next event of this GPU that the set wants; both locks held. */
static bool next_event(const struct sim_gpu *gpu, struct event_set *set, uint32_t index,
                       struct sim_event *ret)
{
    uint64_t *next = &set->next[index];
    if (gpu->event_head > *next + SIM_MAX_EVENTS) {
        *next = gpu->event_head - SIM_MAX_EVENTS; /* it slept too long: the oldest are lost */
    }
    if (*next > gpu->event_head) {
        *next = gpu->event_head; /* another machine than the one it was registered with */
    }
    while (*next < gpu->event_head) {
        const struct sim_event *e = &gpu->events[(*next)++ % SIM_MAX_EVENTS];
        if (e->type & set->mask[index]) {
            *ret = *e;
            return true;
        }
    }
    return false;
}

/* SUCCESS with an event, TIMEOUT without, INVALID_ARGUMENT if the set is gone. */
static enum nvml_return poll_set(const struct call *c, const struct nvml_event_set *handle,
                                 struct nvml_event_data *data)
{
    enum nvml_return rc = NVML_ERROR_TIMEOUT;
    for (uint32_t i = 0; i < c->file->gpu_count && rc == NVML_ERROR_TIMEOUT; i++) {
        struct sim_gpu *gpu = &c->file->gpus[i];
        struct sim_event e;
        sim_lock(&gpu->state);
        pthread_mutex_lock(&event_sets_lock);
        struct event_set *set = find_set(handle);
        if (!set) {
            rc = NVML_ERROR_INVALID_ARGUMENT;
        } else if (set->mask[i] && next_event(gpu, set, i, &e)) {
            *data = (struct nvml_event_data){.device = handle_gpu(i),
                                             .type = e.type,
                                             .data = e.data,
                                             .gpu_instance_id = e.gi,
                                             .compute_instance_id = e.ci};
            rc = NVML_SUCCESS;
        } else if (set->mask[i] && gpu->is_lost) {
            rc = NVML_ERROR_GPU_IS_LOST;
        }
        pthread_mutex_unlock(&event_sets_lock);
        sim_unlock(&gpu->state);
    }
    return rc;
}

static enum nvml_return wait_set(const char *name, const struct nvml_event_set *handle,
                                 struct nvml_event_data *data, unsigned int timeout_ms)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, name);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!data) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t end = clock_mono_ms() + timeout_ms;
    for (;;) {
        uint32_t seq = __atomic_load_n(&c.file->event_seq, __ATOMIC_ACQUIRE);
        rc = poll_set(&c, handle, data);
        int64_t left = end - clock_mono_ms();
        if (rc != NVML_ERROR_TIMEOUT || left <= 0) {
            return rc;
        }
        if (!session_is_open()) {
            return NVML_ERROR_UNINITIALIZED; /* shut down under the waiter */
        }
        struct timespec ts = {left / 1000, left % 1000 * 1000000};
        syscall(SYS_futex, &c.file->event_seq, FUTEX_WAIT, seq, &ts, NULL, 0);
    }
}

enum nvml_return nvmlEventSetWait_v2(struct nvml_event_set *set, struct nvml_event_data *data,
                                     unsigned int timeout_ms)
{
    return wait_set(__func__, set, data, timeout_ms);
}

enum nvml_return nvmlEventSetWait(struct nvml_event_set *set, struct nvml_event_data_v1 *data,
                                  unsigned int timeout_ms)
{
    struct nvml_event_data full;
    enum nvml_return rc = wait_set(__func__, set, data ? &full : NULL, timeout_ms);
    if (rc == NVML_SUCCESS) {
        *data = (struct nvml_event_data_v1){full.device, full.type, full.data};
    }
    return rc;
}
