#include "driver/gpu.h"
#include "driver/holders.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Changes on a GPU.
 *
 * - Instances are made with an explicit placement, and what the driver made is compared with what
 *   was asked for before anything is built on it.
 * - What fails half-way is undone here, at once; if even that fails the result says what is left.
 * - Before anything is taken down, the instance is looked up afresh by its placement (ids are
 *   reused), compared with what the job expects to stand there, and looked over for processes:
 *   only then is the first call made that changes something.
 * - The driver answers IN_USE for some tenths of a second after a process has ended or a compute
 *   instance was taken down, so IN_USE is retried for RETRY_MS in all. */

#define RETRY_MS 500
#define RETRY_FIRST_MS 10
#define RETRY_LONGEST_MS 120

struct retry {
    int64_t until_ms;
    int64_t wait_ms;
};

static struct retry retry_begin(void)
{
    return (struct retry){.until_ms = clock_mono_ms() + RETRY_MS, .wait_ms = RETRY_FIRST_MS};
}

/* Waits before the next try; false when there is none. */
static bool retry_wait(const struct gpu *gpu, struct retry *retry)
{
    int64_t left_ms = retry->until_ms - clock_mono_ms();
    int64_t wait_ms = retry->wait_ms < left_ms ? retry->wait_ms : left_ms;

    if (left_ms <= 0 || atomic_load(gpu->is_closing)) {
        return false;
    }
    struct timespec pause = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
    retry->wait_ms = retry->wait_ms * 2 < RETRY_LONGEST_MS ? retry->wait_ms * 2 : RETRY_LONGEST_MS;
    return true;
}

static nvml_return destroy_ci(struct gpu *gpu, nvml_ci ci, struct retry *retry)
{
    nvml_return answer;

    do {
        answer = GPU_CALL(gpu, ci_destroy, ci);
    } while (answer == NVML_ERROR_IN_USE && retry_wait(gpu, retry));
    gpu_forget_mig_devices(gpu);
    return answer;
}

static nvml_return destroy_gi(struct gpu *gpu, nvml_gi gi, struct retry *retry)
{
    nvml_return answer;

    do {
        answer = GPU_CALL(gpu, gi_destroy, gi);
    } while (answer == NVML_ERROR_IN_USE && retry_wait(gpu, retry));
    gpu_forget_mig_devices(gpu);
    return answer;
}

/* ---- making ---- */

/* Puts " Nothing was left behind." or what is left after a failure's message. */
static void append_message(struct driver_result *result, const char *text)
{
    size_t at = strlen(result->message);

    snprintf(result->message + at, sizeof(result->message) - at, "%s", text);
}

/* Takes a just-made instance down again; the failure that led here stays the result. */
static void undo(struct gpu *gpu, nvml_gi gi, nvml_ci ci, struct driver_result *result)
{
    struct retry retry = retry_begin();

    if (ci && destroy_ci(gpu, ci, &retry) == NVML_SUCCESS) {
        result->slice.instance.ci_count = 0;
        ci = NULL;
    }
    if (!ci && destroy_gi(gpu, gi, &retry) == NVML_SUCCESS) {
        memset(&result->slice, 0, sizeof(result->slice));
        append_message(result, " It was undone.");
        return;
    }
    result->slice.is_there = true;
    append_message(result, " Undoing it failed too: a half-made instance is left.");
}

/* The compute profile with that many slices; 0: the largest, of equal ones that with the most
 * multiprocessors. */
static int choose_ci(struct gpu *gpu, const struct gpu_gi *gi, uint8_t slices, uint32_t *ret_id,
                     struct driver_result *result)
{
    const struct gpu_ci_table *table = &gi->profile->cis;
    int best = -1;
    int r = gpu_need_ci_table(gpu, gi, result);

    if (r < 0) {
        return r;
    }
    for (int i = 0; i < table->count; i++) {
        bool is_wanted = slices == 0 || table->rows[i].slices == slices;
        bool is_larger = best < 0 || table->rows[i].slices > table->rows[best].slices ||
                         (slices == 0 && table->rows[i].slices == table->rows[best].slices &&
                          table->rows[i].sm_count > table->rows[best].sm_count);
        if (is_wanted && is_larger) {
            best = i;
        }
    }
    if (best < 0) {
        return gpu_refuse(result, EINVAL,
                          "GPU %u offers no compute instance of %u slices inside the GPU instance "
                          "at slot %u (profile %u).",
                          gpu->index, slices, gi->start, gi->profile->id);
    }
    *ret_id = table->rows[best].id;
    return 0;
}

/* Makes a compute instance and reads it back into `compute`, with its UUID.  *ret_ci is set as soon
 * as there is something to take down again. */
static int make_ci(struct gpu *gpu, const struct gpu_gi *gi, uint8_t slices,
                   struct mig_compute *compute, nvml_ci *ret_ci, struct driver_result *result)
{
    struct nvml_ci_info info = {0};
    uint32_t profile_id = 0;
    int r = choose_ci(gpu, gi, slices, &profile_id, result);

    if (r < 0) {
        return r;
    }
    nvml_return answer = GPU_CALL(gpu, ci_create, gi->gi, profile_id, ret_ci);
    gpu_forget_mig_devices(gpu);
    if (answer != NVML_SUCCESS) {
        *ret_ci = NULL;
        return gpu_fail(result, answer, "The compute instance at slot %u of GPU %u cannot be made",
                        gi->start, gpu->index);
    }
    answer = GPU_CALL(gpu, ci_info, *ret_ci, &info);
    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer,
                        "The new compute instance at slot %u of GPU %u cannot be read", gi->start,
                        gpu->index);
    }
    *compute = (struct mig_compute){.id = info.id,
                                    .profile_id = info.profile_id,
                                    .start = (uint8_t)info.placement.start,
                                    .size = (uint8_t)info.placement.size};
    struct mig_instance only = {.gi_id = gi->id, .ci_count = 1, .ci = {*compute}};
    r = gpu_find_uuids(gpu, &only, result);
    if (r == 0 && !only.ci[0].mig_uuid[0]) {
        r = gpu_refuse(result, EIO,
                       "The driver shows no MIG device for the new compute instance at slot %u of "
                       "GPU %u.",
                       gi->start, gpu->index);
    }
    *compute = only.ci[0];
    return r;
}

/* After an answer that does not rule out that something was made: is there something now? */
static void look_for_remains(struct gpu *gpu, const struct driver_job *job,
                             struct driver_result *result)
{
    struct driver_result aside = {0};
    struct gpu_gi_list list = {0};

    if (gpu_list_gis(gpu, &list, &aside) < 0) {
        return;
    }
    for (uint32_t i = 0; i < list.count; i++) {
        const struct gpu_gi *gi = &list.rows[i];
        struct mig_instance instance = {0};
        if (gi->start == job->start && gi->size == job->size &&
            gi->profile->id == job->profile_id &&
            gpu_list_cis(gpu, gi, &instance, NULL, &aside) == 0 && instance.ci_count == 0) {
            result->slice.is_there = true;
            result->slice.instance = instance;
            append_message(result, " A GPU instance stands there nevertheless.");
        }
    }
}

static bool is_clean_refusal(nvml_return answer)
{
    return answer == NVML_ERROR_INSUFFICIENT_RESOURCES || answer == NVML_ERROR_INVALID_ARGUMENT ||
           answer == NVML_ERROR_NOT_SUPPORTED || answer == NVML_ERROR_NO_PERMISSION ||
           answer == NVML_ERROR_IN_USE || answer == NVML_ERROR_FUNCTION_NOT_FOUND ||
           answer == NVML_ERROR_GPU_IS_LOST;
}

static int make_gi(struct gpu *gpu, const struct driver_job *job, nvml_gi *ret_gi,
                   struct driver_result *result)
{
    struct nvml_placement place = {.start = job->start, .size = job->size};
    struct retry retry = retry_begin();
    nvml_return answer;

    do { /* IN_USE: the first instance on a GPU that somebody still uses as a whole */
        answer = GPU_CALL(gpu, gi_create, gpu->device, job->profile_id, &place, ret_gi);
    } while (answer == NVML_ERROR_IN_USE && retry_wait(gpu, &retry));
    if (answer == NVML_SUCCESS) {
        return 0;
    }
    gpu_fail(result, answer, "Profile %u at slot %u (%u slots) of GPU %u cannot be made",
             job->profile_id, job->start, job->size, gpu->index);
    if (!is_clean_refusal(answer)) {
        look_for_remains(gpu, job, result);
    }
    return result->code;
}

static struct gpu_profile *find_profile(struct gpu *gpu, uint32_t id)
{
    for (uint32_t i = 0; i < gpu->profile_count; i++) {
        if (gpu->profiles[i].id == id) {
            return &gpu->profiles[i];
        }
    }
    return NULL;
}

/* Reads the new instance back and compares it with what was asked for. */
static int verify_gi(struct gpu *gpu, const struct driver_job *job, struct gpu_gi *gi,
                     struct driver_result *result)
{
    struct nvml_gi_info info = {0};
    nvml_return answer = GPU_CALL(gpu, gi_info, gi->gi, &info);

    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "The new GPU instance at slot %u of GPU %u cannot be read",
                        job->start, gpu->index);
    }
    gi->id = info.id;
    gi->start = (uint8_t)info.placement.start;
    gi->size = (uint8_t)info.placement.size;
    result->slice.instance = (struct mig_instance){
        .gi_id = gi->id, .profile_id = info.profile_id, .start = gi->start, .size = gi->size};
    if (info.placement.start != job->start || info.placement.size != job->size ||
        info.profile_id != job->profile_id) {
        return gpu_refuse(result, EXDEV,
                          "The driver made profile %u at slot %u (%u slots) of GPU %u, but profile "
                          "%u at slot %u (%u slots) was asked for.",
                          info.profile_id, gi->start, gi->size, gpu->index, job->profile_id,
                          job->start, job->size);
    }
    return 0;
}

void gpu_create(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct driver_slice *slice = &result->slice;
    struct gpu_gi gi = {0};
    nvml_ci ci = NULL;

    if (gpu_need_profiles(gpu, result) < 0) {
        return;
    }
    gi.profile = find_profile(gpu, job->profile_id);
    if (!gi.profile) {
        gpu_refuse(result, EINVAL, "GPU %u has no profile with id %u.", gpu->index,
                   job->profile_id);
        return;
    }
    if (make_gi(gpu, job, &gi.gi, result) < 0) {
        return;
    }
    /* What is left if nothing more can be learnt about it. */
    slice->instance = (struct mig_instance){
        .gi_id = MIG_NO_ID, .profile_id = job->profile_id, .start = job->start, .size = job->size};
    if (verify_gi(gpu, job, &gi, result) < 0) {
        undo(gpu, gi.gi, NULL, result);
        return;
    }
    int r = make_ci(gpu, &gi, job->ci_slices, &slice->instance.ci[0], &ci, result);
    slice->instance.ci_count = ci != NULL;
    if (r < 0) {
        undo(gpu, gi.gi, ci, result);
        return;
    }
    slice->instance.has_processes = true; /* new: nobody can run on it yet */
    slice->is_there = true;
}

void gpu_create_ci(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct mig_instance *instance = &result->slice.instance;
    struct mig_compute compute = {0};
    struct gpu_gi gi = {0};
    struct retry retry = retry_begin();
    nvml_ci ci = NULL;

    if (gpu_find(gpu, job, &gi, NULL, result) < 0) {
        return;
    }
    if (instance->ci_count == MIG_MAX_COMPUTE) {
        gpu_refuse(result, ENOSPC, "The instance at slot %u of GPU %u has %u compute instances.",
                   job->start, gpu->index, MIG_MAX_COMPUTE);
        return;
    }
    int r = make_ci(gpu, &gi, job->ci_slices, &compute, &ci, result);
    if (r < 0 && ci && destroy_ci(gpu, ci, &retry) == NVML_SUCCESS) {
        append_message(result, " It was undone.");
        ci = NULL;
    }
    if (ci) {
        instance->ci[instance->ci_count++] = compute;
    }
    if (r < 0 && ci) {
        append_message(result, " Undoing it failed too: the compute instance is left.");
    }
}

/* ---- taking down ---- */

/* Law: nothing is taken down under a running process. */
static int refuse_busy(struct gpu *gpu, const struct driver_job *job, uint32_t process_count,
                       struct driver_result *result)
{
    char names[160];

    if (process_count == 0) {
        return 0;
    }
    driver_name_pids(&result->slice, names, sizeof(names));
    return gpu_refuse(result, EBUSY, "%s run%s on the instance at slot %u of GPU %u; it was not "
                      "touched.", names, process_count == 1 ? "s" : "", job->start, gpu->index);
}

/* The driver says IN_USE and shows no process: who has its device nodes open? */
static int refuse_held(struct gpu *gpu, const struct driver_job *job, const char *what,
                       struct driver_result *result)
{
    struct driver_slice *slice = &result->slice;
    char names[160];

    result->nvml = NVML_ERROR_IN_USE;
    slice->pid_count = holders_find("/proc", gpu->minor, slice->instance.gi_id, slice->pids,
                                    DRIVER_MAX_PIDS);
    if (slice->pid_count) {
        driver_name_pids(slice, names, sizeof(names));
        return gpu_refuse(result, EBUSY, "%s holds the %s at slot %u of GPU %u open.", names, what,
                          job->start, gpu->index);
    }
    return gpu_refuse(result, EBUSY,
                      "The driver says that the %s at slot %u of GPU %u is in use, though no "
                      "process shows on it or has it open; a monitor in a container, perhaps.",
                      what, job->start, gpu->index);
}

static int fail_destroy(struct gpu *gpu, const struct driver_job *job, nvml_return answer,
                        const char *what, struct driver_result *result)
{
    if (answer == NVML_ERROR_IN_USE) {
        return refuse_held(gpu, job, what, result);
    }
    return gpu_fail(result, answer, "The %s at slot %u of GPU %u cannot be taken down", what,
                    job->start, gpu->index);
}

void gpu_destroy(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct mig_instance *instance = &result->slice.instance;
    nvml_ci handles[MIG_MAX_COMPUTE] = {0};
    struct gpu_gi gi = {0};

    if (gpu_find(gpu, job, &gi, handles, result) < 0 ||
        refuse_busy(gpu, job, result->slice.pid_count, result) < 0) {
        return;
    }
    struct retry retry = retry_begin();
    while (instance->ci_count > 0) {
        uint32_t last = instance->ci_count - 1u;
        nvml_return answer = destroy_ci(gpu, handles[last], &retry);
        if (answer != NVML_SUCCESS) {
            fail_destroy(gpu, job, answer, "compute instance", result);
            return;
        }
        memset(&instance->ci[last], 0, sizeof(instance->ci[last]));
        instance->ci_count--;
    }
    nvml_return answer = destroy_gi(gpu, gi.gi, &retry);
    if (answer != NVML_SUCCESS) {
        fail_destroy(gpu, job, answer, "GPU instance", result);
        return;
    }
    memset(&result->slice, 0, sizeof(result->slice));
}

void gpu_destroy_ci(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct mig_instance *instance = &result->slice.instance;
    nvml_ci handles[MIG_MAX_COMPUTE] = {0};
    struct gpu_gi gi = {0};
    uint32_t at = 0;

    if (gpu_find(gpu, job, &gi, handles, result) < 0) {
        return;
    }
    while (at < instance->ci_count && instance->ci[at].id != job->ci_id) {
        at++;
    }
    if (at == instance->ci_count) {
        gpu_refuse(result, ENOENT, "No compute instance %u stands at slot %u of GPU %u.",
                   job->ci_id, job->start, gpu->index);
        return;
    }
    if (job->mig_uuid[0] && strcmp(instance->ci[at].mig_uuid, job->mig_uuid) != 0) {
        gpu_refuse(result, ESTALE,
                   "Compute instance %u at slot %u of GPU %u is %s, not %s; it was not touched.",
                   job->ci_id, job->start, gpu->index, instance->ci[at].mig_uuid, job->mig_uuid);
        return;
    }
    if (refuse_busy(gpu, job, instance->ci[at].process_count, result) < 0) {
        return;
    }
    struct retry retry = retry_begin();
    nvml_return answer = destroy_ci(gpu, handles[at], &retry);
    if (answer != NVML_SUCCESS) {
        fail_destroy(gpu, job, answer, "compute instance", result);
        return;
    }
    memmove(&instance->ci[at], &instance->ci[at + 1],
            (size_t)(instance->ci_count - at - 1u) * sizeof(instance->ci[0]));
    instance->ci_count--;
    memset(&instance->ci[instance->ci_count], 0, sizeof(instance->ci[0]));
}

/* ---- mode ---- */

static void explain_mode(struct gpu *gpu, bool is_enable, struct driver_result *result)
{
    struct driver_mode *mode = &result->mode;
    const char *word = is_enable ? "on" : "off";

    result->nvml = mode->activation;
    if (mode->is_mig_pending == is_enable) {
        gpu_refuse(result, EINPROGRESS,
                   "MIG mode %s of GPU %u is pending: it takes effect when nothing uses the GPU "
                   "and it is reset (nvidia-smi --gpu-reset, or a reboot); the driver says: %s.",
                   word, gpu->index, nvml_text((nvml_return)mode->activation));
    } else {
        gpu_refuse(result, EBUSY,
                   "MIG mode of GPU %u was not switched %s: %s. End what uses the GPU, monitors "
                   "included, and take down its instances.",
                   gpu->index, word, nvml_text((nvml_return)mode->activation));
    }
}

void gpu_set_mode(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct driver_mode *mode = &result->mode;
    nvml_return activation = NVML_SUCCESS;
    nvml_return answer = GPU_CALL(gpu, set_mig, gpu->device, job->is_enable ? 1u : 0u, &activation);

    if (answer != NVML_SUCCESS) {
        gpu_fail(result, answer, "MIG mode of GPU %u cannot be switched %s", gpu->index,
                 job->is_enable ? "on" : "off");
    }
    /* Even a refused switch may have reset the GPU and made the handle stale. */
    struct driver_result aside = {0};
    gpu_forget_mig_devices(gpu);
    gpu_forget_samples(gpu);
    gpu->profile_count = 0;
    if (gpu_reopen(gpu, &aside) < 0 ||
        gpu_get_mode(gpu, &mode->is_mig_enabled, &mode->is_mig_pending, &aside) < 0) {
        if (result->code == 0) {
            gpu_refuse(result, -aside.code, "%.300s", aside.message);
            result->nvml = aside.nvml;
        }
        return;
    }
    mode->activation = (uint32_t)activation;
    if (result->code == 0 && mode->is_mig_enabled != job->is_enable) {
        explain_mode(gpu, job->is_enable, result);
    }
}
