#include "driver/gpu.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What stands on a GPU.
 *
 * GPU instances are listed by profile, never by walking the MIG devices: an instance without a
 * compute instance has no MIG device and would be missed (and with it the remains of a crash).
 * Processes come from the GPU's own aggregate lists, which carry the instance ids, so that no MIG
 * device has to be touched for them.
 *
 * A walk over the MIG devices can be slow on a loaded machine, so their handles are kept.  Handles
 * and ids are reused by the driver: a kept handle is asked for its ids again each time, and
 * everything kept is dropped with each change that we make or are told of.
 *
 * What is not listed is taken for gone, and its lease for lost, so "cannot read" must never look
 * like "nothing there".  An answer that denies what the driver has offered or listed a moment ago
 * is a doubt: the whole is read again, and if the doubt stays it is a failure, never with a code
 * that means absence.  MIG devices are the witnesses: one whose instances are in no list shows
 * that a list was not whole. */

#define LIST_TRIES 3
#define LIST_AGAIN 1 /* in doubt: result tells why */

static void fill(struct driver_result *result, int code, const char *fmt, va_list ap,
                 const char *why)
{
    result->code = -code;
    int n = vsnprintf(result->message, sizeof(result->message), fmt, ap);
    if (why && n >= 0 && (size_t)n < sizeof(result->message)) {
        snprintf(result->message + n, sizeof(result->message) - (size_t)n, ": %s.", why);
    }
}

int gpu_fail(struct driver_result *result, nvml_return answer, const char *fmt, ...)
{
    va_list ap;

    int code = nvml_errno(answer);

    result->nvml = (uint32_t)answer;
    va_start(ap, fmt);
    /* -ENOENT is for what was looked for in whole lists and is in none. */
    fill(result, code == ENOENT ? EIO : code, fmt, ap, nvml_text(answer));
    va_end(ap);
    return result->code;
}

int gpu_refuse(struct driver_result *result, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fill(result, code, fmt, ap, NULL);
    va_end(ap);
    return result->code;
}

bool gpu_is_silent(nvml_return answer)
{
    return answer == NVML_ERROR_NOT_SUPPORTED || answer == NVML_ERROR_FUNCTION_NOT_FOUND ||
           answer == NVML_ERROR_NO_PERMISSION || answer == NVML_ERROR_NO_DATA;
}

static int doubt(struct driver_result *result, nvml_return answer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int doubt(struct driver_result *result, nvml_return answer, const char *fmt, ...)
{
    va_list ap;

    result->nvml = (uint32_t)answer;
    va_start(ap, fmt);
    fill(result, EIO, fmt, ap, answer != NVML_SUCCESS ? nvml_text(answer) : NULL);
    va_end(ap);
    return LIST_AGAIN;
}

/* Before another try. */
static void forgive(struct driver_result *result)
{
    result->code = 0;
    result->nvml = NVML_SUCCESS;
    result->message[0] = '\0';
}

/* Is there a sign that a GPU can do MIG which denies to have a MIG mode? */
static bool is_known_capable(struct gpu *gpu)
{
    uint32_t max = 0;

    return gpu->is_mig_capable ||
           (GPU_CALL(gpu, mig_max, gpu->device, &max) == NVML_SUCCESS && max > 0);
}

int gpu_get_mode(struct gpu *gpu, bool *ret_enabled, bool *ret_pending,
                 struct driver_result *result)
{
    uint32_t current = 0, pending = 0;
    nvml_return answer = GPU_CALL(gpu, get_mig, gpu->device, &current, &pending);
    bool is_denied = answer == NVML_ERROR_NOT_SUPPORTED || answer == NVML_ERROR_FUNCTION_NOT_FOUND;

    if (is_denied && !is_known_capable(gpu)) {
        current = pending = 0;
    } else if (is_denied) {
        doubt(result, answer, "The MIG mode of GPU %u cannot be read", gpu->index);
        return result->code;
    } else if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "The MIG mode of GPU %u cannot be read", gpu->index);
    } else {
        gpu->is_mig_capable = true;
    }
    *ret_enabled = current == 1;
    *ret_pending = pending == 1;
    return 0;
}

/* Inserts by start; a GPU instance that two profiles list counts once. */
static int add_gi(struct gpu *gpu, struct gpu_gi_list *list, const struct gpu_gi *gi,
                  struct driver_result *result)
{
    uint32_t at = list->count;

    for (uint32_t i = 0; i < list->count; i++) {
        if (list->rows[i].id == gi->id) {
            return 0;
        }
    }
    if (list->count == MIG_MAX_INSTANCES) {
        return gpu_refuse(result, EOVERFLOW, "GPU %u lists more than %u GPU instances.", gpu->index,
                          MIG_MAX_INSTANCES);
    }
    while (at > 0 && list->rows[at - 1].start > gi->start) {
        list->rows[at] = list->rows[at - 1];
        at--;
    }
    list->rows[at] = *gi;
    list->count++;
    return 0;
}

/* The driver offers profiles that can stand nowhere; only of those there can be nothing to list. */
static bool can_stand(struct gpu *gpu, const struct gpu_profile *profile)
{
    uint32_t count = 0;
    nvml_return answer = GPU_CALL(gpu, gi_placements, gpu->device, profile->id, NULL, &count);

    return profile->has_listed || answer != NVML_SUCCESS || count > 0;
}

static int add_gi_of(struct gpu *gpu, struct gpu_profile *profile, nvml_gi handle,
                     struct gpu_gi_list *list, struct driver_result *result)
{
    struct nvml_gi_info info = {0};
    nvml_return answer = GPU_CALL(gpu, gi_info, handle, &info);

    if (answer == NVML_ERROR_NOT_FOUND || answer == NVML_ERROR_INVALID_ARGUMENT) {
        return doubt(result, answer, "A GPU instance of GPU %u is listed but cannot be read",
                     gpu->index);
    }
    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "A GPU instance of GPU %u cannot be read", gpu->index);
    }
    struct gpu_gi gi = {.gi = handle,
                        .profile = profile,
                        .id = info.id,
                        .start = (uint8_t)info.placement.start,
                        .size = (uint8_t)info.placement.size};
    return add_gi(gpu, list, &gi, result);
}

static int list_gis_of(struct gpu *gpu, struct gpu_profile *profile, struct gpu_gi_list *list,
                       struct driver_result *result)
{
    nvml_gi gis[GPU_MAX_LIST];
    uint32_t count = GPU_MAX_LIST;
    nvml_return answer = GPU_CALL(gpu, gi_list, gpu->device, profile->id, gis, &count);

    if (answer == NVML_ERROR_NOT_SUPPORTED || answer == NVML_ERROR_NOT_FOUND) {
        return can_stand(gpu, profile)
                   ? doubt(result, answer, "The GPU instances of GPU %u cannot be listed",
                           gpu->index)
                   : 0;
    }
    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "The GPU instances of GPU %u cannot be listed", gpu->index);
    }
    profile->has_listed = true;
    for (uint32_t i = 0; i < count && i < GPU_MAX_LIST; i++) {
        int r = add_gi_of(gpu, profile, gis[i], list, result);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static int list_gis_once(struct gpu *gpu, struct gpu_gi_list *ret, struct driver_result *result)
{
    bool is_enabled = false, is_pending = false;
    struct gpu_gi_list list = {0};
    int r = gpu_get_mode(gpu, &is_enabled, &is_pending, result);

    if (r == 0 && is_enabled) {
        r = gpu_need_profiles(gpu, result);
        if (r == 0 && gpu->profile_count == 0) {
            r = doubt(result, NVML_SUCCESS,
                      "GPU %u tells no MIG profiles though its MIG mode is on.", gpu->index);
        }
        for (uint32_t i = 0; r == 0 && i < gpu->profile_count; i++) {
            r = list_gis_of(gpu, &gpu->profiles[i], &list, result);
        }
    }
    if (r == 0) {
        *ret = list;
    }
    return r;
}

int gpu_list_gis(struct gpu *gpu, struct gpu_gi_list *ret, struct driver_result *result)
{
    int r = LIST_AGAIN;

    for (int tries = 0; r == LIST_AGAIN && tries < LIST_TRIES; tries++) {
        forgive(result);
        r = list_gis_once(gpu, ret, result);
    }
    return r == LIST_AGAIN ? result->code : r;
}

static int learn_ci_table(struct gpu *gpu, const struct gpu_gi *gi, struct driver_result *result)
{
    struct gpu_ci_table *table = &gi->profile->cis;
    struct gpu_ci_table fresh = {.is_known = true};

    for (uint32_t i = 0; i < NVML_CI_PROFILES; i++) {
        struct nvml_ci_profile info = {0};
        nvml_return answer = GPU_CALL(gpu, ci_profile, gi->gi, i, NVML_ENGINE_SHARED, &info);
        if (answer == NVML_ERROR_INVALID_ARGUMENT) {
            break; /* the end of the driver's table */
        }
        if (answer == NVML_ERROR_NOT_SUPPORTED) {
            continue; /* a hole, or hidden in so small an instance */
        }
        if (answer != NVML_SUCCESS) {
            return gpu_fail(result, answer,
                            "The compute-instance profiles of GPU %u cannot be read", gpu->index);
        }
        fresh.rows[fresh.count].id = info.id;
        fresh.rows[fresh.count].slices = (uint8_t)info.slices;
        fresh.rows[fresh.count].sm_count = info.sms;
        fresh.count++;
    }
    if (fresh.count == 0) {
        return doubt(result, NVML_SUCCESS,
                     "GPU %u tells no compute-instance profiles inside a GPU instance.",
                     gpu->index);
    }
    *table = fresh;
    return 0;
}

int gpu_need_ci_table(struct gpu *gpu, const struct gpu_gi *gi, struct driver_result *result)
{
    int r = gi->profile->cis.is_known ? 0 : learn_ci_table(gpu, gi, result);

    return r == LIST_AGAIN ? result->code : r;
}

static int add_ci(struct gpu *gpu, nvml_ci ci, struct mig_instance *instance,
                  nvml_ci handles[MIG_MAX_COMPUTE], struct driver_result *result)
{
    struct nvml_ci_info info = {0};
    nvml_return answer = GPU_CALL(gpu, ci_info, ci, &info);

    if (answer == NVML_ERROR_NOT_FOUND || answer == NVML_ERROR_INVALID_ARGUMENT) {
        return doubt(result, answer, "A compute instance of GPU %u is listed but cannot be read",
                     gpu->index);
    }
    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "A compute instance of GPU %u cannot be read", gpu->index);
    }
    for (uint32_t i = 0; i < instance->ci_count; i++) {
        if (instance->ci[i].id == info.id) {
            return 0;
        }
    }
    if (instance->ci_count == MIG_MAX_COMPUTE) {
        return gpu_refuse(result, EOVERFLOW,
                          "A GPU instance of GPU %u lists more than %u compute instances.",
                          gpu->index, MIG_MAX_COMPUTE);
    }
    if (handles) {
        handles[instance->ci_count] = ci;
    }
    instance->ci[instance->ci_count++] =
        (struct mig_compute){.id = info.id,
                             .profile_id = info.profile_id,
                             .start = (uint8_t)info.placement.start,
                             .size = (uint8_t)info.placement.size};
    return 0;
}

static int list_cis_once(struct gpu *gpu, const struct gpu_gi *gi, struct mig_instance *ret,
                         nvml_ci ret_handles[MIG_MAX_COMPUTE], struct driver_result *result)
{
    struct mig_instance instance = {
        .gi_id = gi->id, .profile_id = gi->profile->id, .start = gi->start, .size = gi->size};
    int r = gpu_need_ci_table(gpu, gi, result);

    for (uint32_t i = 0; r == 0 && i < gi->profile->cis.count; i++) {
        nvml_ci cis[GPU_MAX_LIST];
        uint32_t count = GPU_MAX_LIST;
        nvml_return answer =
            GPU_CALL(gpu, ci_list, gi->gi, gi->profile->cis.rows[i].id, cis, &count);
        if (answer == NVML_ERROR_NOT_SUPPORTED || answer == NVML_ERROR_NOT_FOUND) {
            return doubt(result, answer, "The compute instances of GPU %u cannot be listed",
                         gpu->index);
        }
        if (answer != NVML_SUCCESS) {
            return gpu_fail(result, answer, "The compute instances of GPU %u cannot be listed",
                            gpu->index);
        }
        for (uint32_t k = 0; r == 0 && k < count && k < GPU_MAX_LIST; k++) {
            r = add_ci(gpu, cis[k], &instance, ret_handles, result);
        }
    }
    if (r == 0) {
        *ret = instance;
    }
    return r;
}

int gpu_list_cis(struct gpu *gpu, const struct gpu_gi *gi, struct mig_instance *ret,
                 nvml_ci ret_handles[MIG_MAX_COMPUTE], struct driver_result *result)
{
    int r = LIST_AGAIN;

    for (int tries = 0; r == LIST_AGAIN && tries < LIST_TRIES; tries++) {
        forgive(result);
        r = list_cis_once(gpu, gi, ret, ret_handles, result);
    }
    return r == LIST_AGAIN ? result->code : r;
}

/* ---- MIG devices ---- */

void gpu_forget_mig_devices(struct gpu *gpu)
{
    gpu->mig_count = 0;
    gpu->is_walked = false;
}

static void walk_mig_devices(struct gpu *gpu)
{
    uint32_t max = 0;

    gpu->mig_count = 0;
    gpu->is_walked = true;
    if (GPU_CALL(gpu, mig_max, gpu->device, &max) != NVML_SUCCESS || max > ARRAY_SIZE(gpu->mig)) {
        max = ARRAY_SIZE(gpu->mig);
    }
    for (uint32_t i = 0; i < max; i++) {
        struct gpu_mig_handle mig = {0};
        nvml_return answer = GPU_CALL(gpu, mig_by_index, gpu->device, i, &mig.device);
        if (answer == NVML_ERROR_GPU_IS_LOST || answer == NVML_ERROR_FUNCTION_NOT_FOUND) {
            return;
        }
        /* Indices may have holes (NOT_FOUND, INVALID_ARGUMENT); what does not tell its ids while
         * somebody else takes it down is as good as gone. */
        if (answer == NVML_SUCCESS &&
            GPU_CALL(gpu, mig_gi_id, mig.device, &mig.gi_id) == NVML_SUCCESS &&
            GPU_CALL(gpu, mig_ci_id, mig.device, &mig.ci_id) == NVML_SUCCESS) {
            gpu->mig[gpu->mig_count++] = mig;
        }
    }
}

static nvml_device kept_device(struct gpu *gpu, uint32_t gi_id, uint32_t ci_id)
{
    for (uint32_t i = 0; i < gpu->mig_count; i++) {
        struct gpu_mig_handle *mig = &gpu->mig[i];
        uint32_t gi_now = NVML_NO_ID, ci_now = NVML_NO_ID;
        if (mig->gi_id != gi_id || mig->ci_id != ci_id) {
            continue;
        }
        if (GPU_CALL(gpu, mig_gi_id, mig->device, &gi_now) == NVML_SUCCESS &&
            GPU_CALL(gpu, mig_ci_id, mig->device, &ci_now) == NVML_SUCCESS && gi_now == gi_id &&
            ci_now == ci_id) {
            return mig->device;
        }
        return NULL;
    }
    return NULL;
}

nvml_device gpu_mig_device(struct gpu *gpu, uint32_t gi_id, uint32_t ci_id)
{
    nvml_device device = kept_device(gpu, gi_id, ci_id);

    if (!device && !gpu->is_walked) {
        walk_mig_devices(gpu);
        device = kept_device(gpu, gi_id, ci_id);
    }
    return device;
}

int gpu_find_uuids(struct gpu *gpu, struct mig_instance *instance, struct driver_result *result)
{
    for (uint32_t i = 0; i < instance->ci_count; i++) {
        struct mig_compute *ci = &instance->ci[i];
        nvml_device device = gpu_mig_device(gpu, instance->gi_id, ci->id);
        if (!device) {
            continue;
        }
        nvml_return answer = GPU_CALL(gpu, uuid, device, ci->mig_uuid, sizeof(ci->mig_uuid));
        ci->mig_uuid[sizeof(ci->mig_uuid) - 1] = '\0';
        if (answer == NVML_SUCCESS) {
            continue;
        }
        ci->mig_uuid[0] = '\0';
        if (answer != NVML_ERROR_NOT_FOUND && answer != NVML_ERROR_INVALID_ARGUMENT) {
            return gpu_fail(result, answer, "The UUID of a MIG device of GPU %u cannot be read",
                            gpu->index);
        }
    }
    return 0;
}

/* ---- whole scans ---- */

static const struct mig_instance *find_instance(const struct mig_scan *scan, uint32_t gi_id)
{
    for (uint32_t i = 0; i < scan->instance_count; i++) {
        if (scan->instances[i].gi_id == gi_id) {
            return &scan->instances[i];
        }
    }
    return NULL;
}

static bool has_ci(const struct mig_instance *instance, uint32_t ci_id)
{
    for (uint32_t i = 0; instance && i < instance->ci_count; i++) {
        if (instance->ci[i].id == ci_id) {
            return true;
        }
    }
    return false;
}

/* A MIG device whose instances are in no list: what the lists rest on is learnt anew. */
static int doubt_lists(struct gpu *gpu, struct driver_result *result)
{
    gpu->profile_count = 0;
    return doubt(result, NVML_SUCCESS,
                 "The lists of GPU %u are not whole: one of its MIG devices is in none of them.",
                 gpu->index);
}

static int hear_witnesses(struct gpu *gpu, const struct mig_scan *scan,
                          struct driver_result *result)
{
    if (!gpu->is_walked) {
        walk_mig_devices(gpu);
    }
    for (uint32_t i = 0; i < gpu->mig_count; i++) {
        const struct gpu_mig_handle *mig = &gpu->mig[i];
        if (!has_ci(find_instance(scan, mig->gi_id), mig->ci_id)) {
            return doubt_lists(gpu, result);
        }
    }
    return 0;
}

static int scan_once(struct gpu *gpu, const struct gpu_processes *processes,
                     struct mig_scan *scan, struct driver_result *result)
{
    struct gpu_gi_list list = {0};
    int r = gpu_get_mode(gpu, &scan->is_mig_enabled, &scan->is_mig_pending, result);

    r = r < 0 ? r : gpu_list_gis(gpu, &list, result);
    gpu_forget_mig_devices(gpu); /* a scan is also the cure for whatever was kept in error */
    scan->instance_count = 0;
    for (uint32_t i = 0; r == 0 && i < list.count; i++) {
        struct mig_instance *instance = &scan->instances[i];
        r = gpu_list_cis(gpu, &list.rows[i], instance, NULL, result);
        r = r < 0 ? r : gpu_find_uuids(gpu, instance, result);
        gpu_count_processes(processes, instance);
        scan->instance_count = i + 1;
    }
    return r == 0 && scan->is_mig_enabled ? hear_witnesses(gpu, scan, result) : r;
}

void gpu_scan(struct gpu *gpu, struct driver_result *result)
{
    struct mig_scan *scan = &result->scan;
    struct gpu_processes processes CLEANUP(gpu_processes_done) = {0};
    int r = gpu_list_processes(gpu, &processes, result);

    for (int tries = 0; tries < LIST_TRIES && (r == 0 || r == LIST_AGAIN); tries++) {
        forgive(result);
        r = scan_once(gpu, &processes, scan, result);
        if (r == 0) {
            break;
        }
    }
    scan->has_processes = processes.is_known;
    for (uint32_t i = 0; i < processes.count; i++) {
        scan->process_count += processes.rows[i].gi_id == NVML_NO_ID;
    }
}

static bool has_uuid(const struct mig_instance *instance, const char *uuid)
{
    for (uint32_t i = 0; i < instance->ci_count; i++) {
        if (strcmp(instance->ci[i].mig_uuid, uuid) == 0) {
            return true;
        }
    }
    return false;
}

/* Is it what the job says?  Ids are reused, so the placement alone is not enough. */
static int verify(struct gpu *gpu, const struct driver_job *job,
                  const struct mig_instance *instance, struct driver_result *result)
{
    if (instance->size != job->size ||
        (job->profile_id != MIG_NO_ID && job->profile_id != instance->profile_id)) {
        return gpu_refuse(result, ESTALE,
                          "At slot %u of GPU %u stands another instance than asked for: profile %u "
                          "with %u slots. Somebody changed it; nothing was touched.",
                          job->start, gpu->index, instance->profile_id, instance->size);
    }
    if (job->is_bare && instance->ci_count) {
        return gpu_refuse(result, ESTALE,
                          "The instance at slot %u of GPU %u was to have no compute instance, and "
                          "has %s. Somebody changed it; nothing was touched.",
                          job->start, gpu->index, instance->ci[0].mig_uuid);
    }
    /* Without compute instances it is what an earlier destroy, or a crash in one, has left. */
    if (job->mig_uuid[0] && instance->ci_count && !has_uuid(instance, job->mig_uuid)) {
        return gpu_refuse(result, ESTALE,
                          "The instance at slot %u of GPU %u is no longer %s but %s. Somebody "
                          "changed it; nothing was touched.",
                          job->start, gpu->index, job->mig_uuid, instance->ci[0].mig_uuid);
    }
    return 0;
}

/* Nothing is listed at the slot: do the MIG devices know better? */
static int doubt_absence(struct gpu *gpu, const struct gpu_gi_list *list,
                         struct driver_result *result)
{
    gpu_forget_mig_devices(gpu);
    walk_mig_devices(gpu);
    for (uint32_t i = 0; i < gpu->mig_count; i++) {
        uint32_t at = 0;
        while (at < list->count && list->rows[at].id != gpu->mig[i].gi_id) {
            at++;
        }
        if (at == list->count) {
            doubt_lists(gpu, result);
            return result->code;
        }
    }
    return 0;
}

static void list_pids(const struct gpu_processes *processes, struct driver_slice *slice)
{
    slice->pid_count = 0;
    for (uint32_t i = 0; i < processes->count; i++) {
        bool is_new = processes->rows[i].gi_id == slice->instance.gi_id;
        for (uint32_t k = 0; is_new && k < slice->pid_count && k < DRIVER_MAX_PIDS; k++) {
            is_new = slice->pids[k] != processes->rows[i].pid;
        }
        if (is_new) {
            if (slice->pid_count < DRIVER_MAX_PIDS) {
                slice->pids[slice->pid_count] = processes->rows[i].pid;
            }
            slice->pid_count++;
        }
    }
}

int gpu_find(struct gpu *gpu, const struct driver_job *job, struct gpu_gi *ret,
             nvml_ci ret_handles[MIG_MAX_COMPUTE], struct driver_result *result)
{
    struct driver_slice *slice = &result->slice;
    struct gpu_gi_list list = {0};
    struct gpu_processes processes CLEANUP(gpu_processes_done) = {0};
    uint32_t at = 0;
    int r = gpu_list_gis(gpu, &list, result);

    if (r < 0) {
        return r;
    }
    while (at < list.count && list.rows[at].start != job->start) {
        at++;
    }
    if (at == list.count) {
        r = doubt_absence(gpu, &list, result);
        return r < 0 ? r : gpu_refuse(result, ENOENT,
                                      "No GPU instance stands at slot %u of GPU %u.", job->start,
                                      gpu->index);
    }
    r = gpu_list_cis(gpu, &list.rows[at], &slice->instance, ret_handles, result);
    if (r == 0) {
        slice->is_there = true;
        r = gpu_find_uuids(gpu, &slice->instance, result);
    }
    if (r == 0) {
        r = verify(gpu, job, &slice->instance, result);
    }
    if (r == 0) {
        r = gpu_list_processes(gpu, &processes, result);
    }
    if (r < 0) {
        return r;
    }
    gpu_count_processes(&processes, &slice->instance);
    list_pids(&processes, slice);
    *ret = list.rows[at];
    return 0;
}

void gpu_check(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct gpu_gi gi = {0};

    gpu_find(gpu, job, &gi, NULL, result);
}
