#include "fake_nvml.h"
#include "driver/nvml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* See fake_nvml.h.  With FAKE_BARE only what nobody can do without is exported. */

#define EXPORT __attribute__((visibility("default")))
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-declarations"

EXPORT struct fake_control fake_control = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .gpu_count = 2,
    .fail_gpu = UINT32_MAX,
};

#define ctl (&fake_control)
#define NO_GPU UINT32_MAX

/* Every call begins here; takes the lock, which LEAVE gives back. */
static int enter(const char *call, uint32_t gpu)
{
    pthread_mutex_lock(&ctl->lock);
    ctl->calls++;
    while (ctl->hang_call && strcmp(ctl->hang_call, call) == 0 &&
           (ctl->hang_gpu == gpu || gpu == NO_GPU)) {
        ctl->hanging++;
        pthread_cond_broadcast(&ctl->changed);
        pthread_cond_wait(&ctl->changed, &ctl->lock);
        ctl->hanging--;
    }
    if (ctl->fail_call && strcmp(ctl->fail_call, call) == 0 && ctl->fail_times > 0 &&
        (ctl->fail_gpu == NO_GPU || ctl->fail_gpu == gpu)) {
        if (ctl->fail_skip > 0) {
            ctl->fail_skip--;
        } else {
            ctl->fail_times--;
            return ctl->fail_code;
        }
    }
    return 0;
}

#define LEAVE(code)                                                                                \
    do {                                                                                           \
        int leave_code_ = (code);                                                                  \
        pthread_mutex_unlock(&ctl->lock);                                                          \
        return leave_code_;                                                                        \
    } while (0)
#define ENTER(gpu)                                                                                 \
    do {                                                                                           \
        int enter_code_ = enter(__func__, gpu);                                                    \
        if (enter_code_) {                                                                         \
            LEAVE(enter_code_);                                                                    \
        }                                                                                          \
    } while (0)

/* A device handle is a GPU, or a compute instance (its MIG device). */
static bool is_mig(nvml_device d)
{
    struct fake_gpu *g = d;
    return g < ctl->gpus || g >= ctl->gpus + FAKE_GPUS ||
           ((char *)d - (char *)ctl->gpus) % (long)sizeof(*g) != 0;
}

static uint32_t gpu_of(nvml_device d)
{
    return is_mig(d) ? ((struct fake_ci *)d)->gi->gpu->index : ((struct fake_gpu *)d)->index;
}

EXPORT int nvmlInit_v2(void)
{
    ENTER(NO_GPU);
    ctl->sessions++;
    for (uint32_t i = 0; i < FAKE_GPUS; i++) {
        ctl->gpus[i].index = i;
    }
    LEAVE(0);
}

EXPORT int nvmlShutdown(void)
{
    ENTER(NO_GPU);
    ctl->sessions--;
    ctl->shutdowns++;
    pthread_cond_broadcast(&ctl->changed);
    LEAVE(0);
}

EXPORT int nvmlDeviceGetCount_v2(uint32_t *count)
{
    ENTER(NO_GPU);
    *count = ctl->gpu_count;
    LEAVE(0);
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(uint32_t i, nvml_device *d)
{
    ENTER(i);
    *d = &ctl->gpus[i];
    LEAVE(0);
}

EXPORT int nvmlDeviceGetUUID(nvml_device d, char *uuid, uint32_t len)
{
    ENTER(gpu_of(d));
    if (is_mig(d)) {
        struct fake_ci *ci = d;
        snprintf(uuid, len, "MIG-%u-%u-%u-%u-%u", ci->gi->gpu->index, ci->gi->start,
                 ci->gi->profile, ci->id, ctl->uuid_round);
    } else {
        snprintf(uuid, len, "GPU-%u", gpu_of(d));
    }
    LEAVE(0);
}

#ifndef FAKE_BARE

static const struct {
    uint32_t number, id, slices, size, starts[8], count;
} profiles[] = {
    {0, 19, 1, 1, {0, 1, 2, 3, 4, 5, 6}, 7},
    {1, 14, 2, 2, {0, 2, 4}, 3},
    {2, 9, 3, 4, {0, 4}, 2},
    {4, 0, 7, 8, {0}, 1},
};
#define PROFILES (sizeof(profiles) / sizeof(profiles[0]))

EXPORT int nvmlSystemGetDriverVersion(char *text, uint32_t len)
{
    ENTER(NO_GPU);
    snprintf(text, len, "1.2.3");
    LEAVE(0);
}

EXPORT int nvmlDeviceGetName(nvml_device d, char *text, uint32_t len)
{
    ENTER(gpu_of(d));
    snprintf(text, len, "NVIDIA FAKE");
    LEAVE(0);
}

EXPORT int nvmlDeviceGetPciInfo_v3(nvml_device d, struct nvml_pci *pci)
{
    ENTER(gpu_of(d));
    memset(pci, 0, sizeof(*pci));
    snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:%02X:00.0", gpu_of(d) + 1);
    LEAVE(0);
}

EXPORT int nvmlDeviceGetMemoryInfo(nvml_device d, struct nvml_memory *memory)
{
    ENTER(gpu_of(d));
    *memory = (struct nvml_memory){.total = 81559ull << 20, .used = 10ull << 20};
    LEAVE(0);
}

EXPORT int nvmlDeviceGetMigMode(nvml_device d, uint32_t *current, uint32_t *pending)
{
    struct fake_gpu *g = d;
    ENTER(gpu_of(d));
    *current = g->mode;
    *pending = g->pending;
    LEAVE(g->is_incapable ? NVML_ERROR_NOT_SUPPORTED : 0);
}

EXPORT int nvmlDeviceSetMigMode(nvml_device d, uint32_t mode, int *activation)
{
    struct fake_gpu *g = d;
    ENTER(gpu_of(d));
    *activation = g->is_ampere ? NVML_ERROR_IN_USE : NVML_SUCCESS;
    g->pending = mode;
    g->mode = g->is_ampere ? g->mode : mode;
    LEAVE(0);
}

/* Only the oldest form, so names are made by the caller. */
EXPORT int nvmlDeviceGetGpuInstanceProfileInfo(nvml_device d, uint32_t number,
                                               struct nvml_gi_profile_v1 *info)
{
    struct fake_gpu *g = d;
    ENTER(gpu_of(d));
    if (g->is_ampere && !g->mode) {
        LEAVE(NVML_ERROR_NOT_SUPPORTED);
    }
    for (uint32_t i = 0; i < PROFILES; i++) {
        if (profiles[i].number == number) {
            *info = (struct nvml_gi_profile_v1){.id = profiles[i].id,
                                                .slices = profiles[i].slices,
                                                .instances = profiles[i].count,
                                                .sms = profiles[i].slices * 16,
                                                .memory_mib = profiles[i].size * 10112};
            LEAVE(0);
        }
    }
    LEAVE(number < 10 ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT);
}

EXPORT int nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvml_device d, uint32_t id,
                                                         struct nvml_placement *places,
                                                         uint32_t *count)
{
    ENTER(gpu_of(d));
    for (uint32_t i = 0; i < PROFILES; i++) {
        for (uint32_t k = 0; profiles[i].id == id && places && k < profiles[i].count; k++) {
            places[k] = (struct nvml_placement){profiles[i].starts[k], profiles[i].size};
        }
        *count = profiles[i].id == id ? profiles[i].count : *count;
    }
    LEAVE(0);
}

EXPORT int nvmlDeviceCreateGpuInstanceWithPlacement(nvml_device d, uint32_t id,
                                                    const struct nvml_placement *place,
                                                    nvml_gi *ret)
{
    struct fake_gpu *g = d;
    int code = enter(__func__, g->index);
    uint32_t mask = 0, end = place->start + place->size;
    if (code && !ctl->is_half_making) {
        LEAVE(code);
    }
    for (uint32_t i = 0; i < FAKE_GIS; i++) {
        if (g->gis[i].is_used) {
            mask |= ((1u << g->gis[i].size) - 1) << g->gis[i].start;
        }
    }
    if (!g->mode) {
        LEAVE(NVML_ERROR_NOT_SUPPORTED);
    }
    if (end > 8 || mask & ((1u << place->size) - 1) << place->start) {
        LEAVE(NVML_ERROR_INSUFFICIENT_RESOURCES);
    }
    for (uint32_t i = 0; i < FAKE_GIS; i++) {
        struct fake_gi *gi = &g->gis[i];
        if (!gi->is_used) {
            memset(gi, 0, sizeof(*gi));
            *gi = (struct fake_gi){true, i + 1, id, place->start, place->size, g, {{0}}};
            gi->start += ctl->is_misplacing ? 1 : 0;
            *ret = gi;
            LEAVE(code);
        }
    }
    LEAVE(NVML_ERROR_INSUFFICIENT_RESOURCES);
}

static uint32_t pids_on(const struct fake_gi *gi)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < gi->gpu->pid_count; i++) {
        n += gi->gpu->pid_gi[i] == gi->id;
    }
    return n;
}

EXPORT int nvmlGpuInstanceDestroy(nvml_gi handle)
{
    struct fake_gi *gi = handle;
    int code = enter(__func__, gi->gpu->index);
    ctl->destroys++;
    if (code) {
        LEAVE(code);
    }
    for (uint32_t i = 0; i < FAKE_CIS; i++) {
        if (gi->cis[i].is_used) {
            LEAVE(NVML_ERROR_IN_USE);
        }
    }
    gi->is_used = false;
    LEAVE(0);
}

EXPORT int nvmlDeviceGetGpuInstances(nvml_device d, uint32_t id, nvml_gi *gis, uint32_t *count)
{
    struct fake_gpu *g = d;
    ENTER(g->index);
    *count = 0;
    for (uint32_t i = 0; i < FAKE_GIS; i++) {
        if (g->gis[i].is_used && g->gis[i].profile == id) {
            gis[(*count)++] = &g->gis[i];
        }
    }
    LEAVE(0);
}

EXPORT int nvmlGpuInstanceGetInfo(nvml_gi handle, struct nvml_gi_info *info)
{
    struct fake_gi *gi = handle;
    ENTER(gi->gpu->index);
    *info = (struct nvml_gi_info){gi->gpu, gi->id, gi->profile, {gi->start, gi->size}};
    LEAVE(0);
}

EXPORT int nvmlGpuInstanceGetComputeInstanceProfileInfo(nvml_gi handle, uint32_t number,
                                                        uint32_t engine,
                                                        struct nvml_ci_profile *info)
{
    struct fake_gi *gi = handle;
    uint32_t slices = number == 4 ? 7 : number + 1;
    ENTER(gi->gpu->index);
    if (number > 8 || engine != 0) {
        LEAVE(NVML_ERROR_INVALID_ARGUMENT);
    }
    if (number > 4 || slices > gi->size) {
        LEAVE(NVML_ERROR_NOT_SUPPORTED);
    }
    *info = (struct nvml_ci_profile){.id = number, .slices = slices, .instances = 1};
    LEAVE(0);
}

EXPORT int nvmlGpuInstanceCreateComputeInstance(nvml_gi handle, uint32_t id, nvml_ci *ret)
{
    struct fake_gi *gi = handle;
    ENTER(gi->gpu->index);
    for (uint32_t i = 0; i < FAKE_CIS; i++) {
        if (!gi->cis[i].is_used) {
            gi->cis[i] = (struct fake_ci){true, i, id, gi};
            *ret = &gi->cis[i];
            LEAVE(0);
        }
    }
    LEAVE(NVML_ERROR_INSUFFICIENT_RESOURCES);
}

EXPORT int nvmlComputeInstanceDestroy(nvml_ci handle)
{
    struct fake_ci *ci = handle;
    int code = enter(__func__, ci->gi->gpu->index);
    ctl->destroys++;
    if (code) {
        LEAVE(code);
    }
    if (pids_on(ci->gi)) {
        LEAVE(NVML_ERROR_IN_USE);
    }
    ci->is_used = false;
    LEAVE(0);
}

EXPORT int nvmlGpuInstanceGetComputeInstances(nvml_gi handle, uint32_t id, nvml_ci *cis,
                                              uint32_t *count)
{
    struct fake_gi *gi = handle;
    ENTER(gi->gpu->index);
    *count = 0;
    for (uint32_t i = 0; i < FAKE_CIS; i++) {
        if (gi->cis[i].is_used && gi->cis[i].profile == id) {
            cis[(*count)++] = &gi->cis[i];
        }
    }
    LEAVE(0);
}

EXPORT int nvmlComputeInstanceGetInfo_v2(nvml_ci handle, struct nvml_ci_info *info)
{
    struct fake_ci *ci = handle;
    ENTER(ci->gi->gpu->index);
    *info = (struct nvml_ci_info){ci, ci->gi, ci->id, ci->profile, {ci->id, 1}};
    LEAVE(0);
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(nvml_device d, uint32_t *count)
{
    ENTER(gpu_of(d));
    *count = ((struct fake_gpu *)d)->is_incapable ? 0 : 7;
    LEAVE(0);
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(nvml_device d, uint32_t index, nvml_device *ret)
{
    struct fake_gpu *g = d;
    ENTER(g->index);
    ctl->mig_walks++;
    for (uint32_t i = 0; !ctl->has_no_mig_device && i < FAKE_GIS; i++) {
        for (uint32_t k = 0; g->gis[i].is_used && k < FAKE_CIS; k++) {
            if (g->gis[i].cis[k].is_used && index-- == 0) {
                *ret = &g->gis[i].cis[k];
                LEAVE(0);
            }
        }
    }
    LEAVE(NVML_ERROR_NOT_FOUND);
}

EXPORT int nvmlDeviceGetGpuInstanceId(nvml_device d, uint32_t *id)
{
    struct fake_ci *ci = d;
    ENTER(ci->gi->gpu->index);
    *id = ci->gi->id;
    LEAVE(ci->is_used ? 0 : NVML_ERROR_NOT_FOUND);
}

EXPORT int nvmlDeviceGetComputeInstanceId(nvml_device d, uint32_t *id)
{
    struct fake_ci *ci = d;
    ENTER(ci->gi->gpu->index);
    *id = ci->id;
    LEAVE(ci->is_used ? 0 : NVML_ERROR_NOT_FOUND);
}

/* Lists every process twice, as one that computes and draws is listed twice. */
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device d, uint32_t *count,
                                                   struct nvml_process *rows)
{
    struct fake_gpu *g = d;
    uint32_t room = *count;
    ENTER(g->index);
    *count = g->pid_count * 2;
    if (room < *count) {
        LEAVE(NVML_ERROR_INSUFFICIENT_SIZE);
    }
    for (uint32_t i = 0; i < *count; i++) {
        uint32_t k = i % g->pid_count;
        rows[i] = (struct nvml_process){g->pids[k], 1 << 20, g->pid_gi[k], 0};
    }
    LEAVE(0);
}

EXPORT int nvmlEventSetCreate(nvml_event_set *set)
{
    ENTER(NO_GPU);
    *set = ctl;
    LEAVE(0);
}

EXPORT int nvmlEventSetFree(nvml_event_set set)
{
    (void)set;
    ENTER(NO_GPU);
    for (uint32_t i = 0; i < FAKE_GPUS; i++) {
        ctl->gpus[i].is_registered = false;
    }
    LEAVE(0);
}

EXPORT int nvmlDeviceGetSupportedEventTypes(nvml_device d, uint64_t *types)
{
    ENTER(gpu_of(d));
    *types = NVML_EVENT_XID | NVML_EVENT_MIG_CONFIG;
    LEAVE(0);
}

EXPORT int nvmlDeviceRegisterEvents(nvml_device d, uint64_t types, nvml_event_set set)
{
    struct fake_gpu *g = d;
    (void)types;
    (void)set;
    ENTER(g->index);
    g->is_registered = true;
    LEAVE(0);
}

EXPORT int nvmlEventSetWait_v2(nvml_event_set set, struct nvml_event *event, uint32_t timeout_ms)
{
    struct timespec until;
    (void)set;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)timeout_ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    ENTER(NO_GPU);
    while (ctl->event_type == 0 || !ctl->gpus[ctl->event_gpu].is_registered) {
        if (pthread_cond_timedwait(&ctl->changed, &ctl->lock, &until) != 0) {
            LEAVE(NVML_ERROR_TIMEOUT);
        }
    }
    *event = (struct nvml_event){&ctl->gpus[ctl->event_gpu], ctl->event_type, ctl->event_data,
                                 NVML_NO_ID, NVML_NO_ID};
    ctl->event_type = 0;
    LEAVE(0);
}

EXPORT int nvmlGpmQueryDeviceSupport(nvml_device d, struct nvml_gpm_support *support)
{
    ENTER(gpu_of(d));
    support->is_supported = 1;
    LEAVE(0);
}

EXPORT int nvmlGpmSampleAlloc(nvml_gpm_sample *sample)
{
    ENTER(NO_GPU);
    *sample = malloc(16);
    ctl->gpm_samples++;
    LEAVE(0);
}

EXPORT int nvmlGpmSampleFree(nvml_gpm_sample sample)
{
    ENTER(NO_GPU);
    free(sample);
    ctl->gpm_samples--;
    LEAVE(0);
}

EXPORT int nvmlGpmMigSampleGet(nvml_device d, uint32_t gi, nvml_gpm_sample sample)
{
    (void)gi;
    (void)sample;
    ENTER(gpu_of(d));
    LEAVE(0);
}

EXPORT int nvmlGpmMetricsGet(struct nvml_gpm_get *get)
{
    ENTER(NO_GPU);
    for (uint32_t i = 0; i < get->count; i++) {
        get->metrics[i].code = get->metrics[i].id == NVML_GPM_SM_UTIL ? 0 : NVML_ERROR_NO_DATA;
        get->metrics[i].value = 42;
    }
    LEAVE(0);
}

#endif
