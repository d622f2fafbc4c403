#include "base/log.h"
#include "driver/room.h"
#include <string.h>

/* The keeper starts the library, so that a driver that hangs in its start hangs a thread that
 * nobody needs; then it waits for the driver's events; at the end it waits for the workers, ends
 * the library and lets go.  If a worker never returns, the keeper stays with it.
 *
 * Events are a convenience: where the driver does not offer them nothing is lost but speed. */

#define EVENTS_WANTED (NVML_EVENT_XID | NVML_EVENT_ECC_DOUBLE | NVML_EVENT_MIG_CONFIG)
#define EVENT_BACKLOG_MAX 128
#define GPUS_MAX 1024 /* of one machine; a driver that says more is broken */

#define CALL(nvml, member, ...)                                                                    \
    ((nvml)->member ? (nvml)->member(__VA_ARGS__) : NVML_ERROR_FUNCTION_NOT_FOUND)

static int start_library(struct driver *driver, struct error *err)
{
    struct nvml *nvml = &driver->nvml;
    int r = nvml_load(nvml, driver->path, err);

    if (r < 0) {
        return r;
    }
    nvml_return answer = nvml->init();
    if (answer == NVML_SUCCESS) {
        answer = nvml->count(&driver->gpu_count);
        if (answer == NVML_ERROR_GPU_NOT_FOUND) {
            driver->gpu_count = 0;
            answer = NVML_SUCCESS;
        }
        if (answer == NVML_SUCCESS && driver->gpu_count > GPUS_MAX) {
            answer = NVML_ERROR_UNKNOWN;
        }
        if (answer != NVML_SUCCESS) {
            nvml->shutdown();
        }
    }
    if (answer != NVML_SUCCESS) {
        nvml_unload(nvml);
        return err_set(err, nvml_errno(answer), "The GPU driver cannot be started (%s): %s",
                       driver->path, nvml_text(answer));
    }
    struct driver_versions *versions = &driver->versions;
    if (CALL(nvml, driver_version, versions->driver, sizeof(versions->driver)) != NVML_SUCCESS) {
        versions->driver[0] = '\0';
    }
    if (CALL(nvml, nvml_version, versions->nvml, sizeof(versions->nvml)) != NVML_SUCCESS) {
        versions->nvml[0] = '\0';
    }
    if (CALL(nvml, cuda_version, &versions->cuda) != NVML_SUCCESS) {
        versions->cuda = 0;
    }
    return 0;
}

/* ---- events ---- */

struct watch {
    nvml_event_set set;
    nvml_device *devices; /* per GPU; NULL: not registered */
    uint32_t registered;
};

static void post_event(struct driver *driver, uint32_t gpu, const struct driver_event *event)
{
    pthread_mutex_lock(&driver->lock);
    struct worker *worker = &driver->workers[gpu];
    bool is_config = event->kind == DRIVER_EVENT_MIG_CONFIG;
    bool is_known = is_config && worker->has_config_event;

    worker->is_stale = true;
    if (!is_known && driver->event_backlog < EVENT_BACKLOG_MAX) {
        struct task *task = task_new(DRIVER_EVENT, gpu, 0);
        task->result.event = *event;
        worker->has_config_event |= is_config;
        driver->event_backlog++;
        driver_push(driver, task);
    }
    pthread_mutex_unlock(&driver->lock);
}

static void translate_event(struct driver *driver, const struct watch *watch,
                            const struct nvml_event *in)
{
    struct driver_event event = {.gi_id = in->gi_id, .ci_id = in->ci_id};

    if (in->type & NVML_EVENT_XID) {
        event.kind = DRIVER_EVENT_XID;
        event.xid = in->data;
    } else if (in->type & NVML_EVENT_MIG_CONFIG) {
        event.kind = DRIVER_EVENT_MIG_CONFIG;
    } else if (in->type & NVML_EVENT_ECC_DOUBLE) {
        event.kind = DRIVER_EVENT_ECC;
    } else {
        return;
    }
    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        if (watch->devices[i] == in->device) {
            post_event(driver, i, &event);
            return;
        }
    }
}

/* Registers one GPU; old drivers refuse the MIG event with MIG off and must not lose the others. */
static nvml_return register_gpu(struct driver *driver, struct watch *watch, nvml_device device)
{
    const struct nvml *nvml = &driver->nvml;
    uint64_t supported = 0;
    nvml_return answer = CALL(nvml, events_supported, device, &supported);

    if (answer == NVML_SUCCESS && !watch->set) {
        answer = CALL(nvml, events_create, &watch->set);
    }
    if (answer != NVML_SUCCESS) {
        return answer;
    }
    answer = CALL(nvml, events_register, device, supported & EVENTS_WANTED, watch->set);
    if (answer == NVML_ERROR_NOT_SUPPORTED || answer == NVML_ERROR_INVALID_ARGUMENT) {
        answer = CALL(nvml, events_register, device,
                      supported & EVENTS_WANTED & ~NVML_EVENT_MIG_CONFIG, watch->set);
    }
    return answer;
}

/* What happened before the registration was not reported, so the first event is our own: it makes
 * the daemon look once more. */
static void post_begin(struct driver *driver, uint32_t gpu)
{
    struct driver_event begin = {
        .kind = DRIVER_EVENT_MIG_CONFIG, .gi_id = MIG_NO_ID, .ci_id = MIG_NO_ID};

    post_event(driver, gpu, &begin);
}

/* Takes up the GPUs that have a new handle. */
static void register_new(struct driver *driver, struct watch *watch)
{
    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        nvml_device device = NULL;
        pthread_mutex_lock(&driver->lock);
        if (driver->workers && driver->workers[i].wants_events) {
            driver->workers[i].wants_events = false;
            device = driver->workers[i].event_device;
        }
        pthread_mutex_unlock(&driver->lock);
        if (!device) {
            continue;
        }
        nvml_return answer = register_gpu(driver, watch, device);
        if (answer == NVML_SUCCESS) {
            watch->registered += watch->devices[i] == NULL;
            watch->devices[i] = device;
            post_begin(driver, i);
        } else {
            log_debug("GPU %u reports no events: %s", i, nvml_text(answer));
            watch->registered -= watch->devices[i] != NULL;
            watch->devices[i] = NULL;
        }
    }
}

static bool is_work_left(struct driver *driver)
{
    for (uint32_t i = 0; driver->workers && i < driver->gpu_count; i++) {
        if (driver->workers[i].wants_events) {
            return true;
        }
    }
    return false;
}

/* Sleeps until there is something to register or the end; at most limit_ms if that is not 0. */
static void rest(struct driver *driver, uint32_t limit_ms)
{
    int64_t until_ns = clock_mono_ns() + (int64_t)limit_ms * 1000000;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    int r = 0;

    pthread_mutex_lock(&driver->lock);
    while (r == 0 && !atomic_load(&driver->is_closing) &&
           (limit_ms || !driver->event_wait_ms || !is_work_left(driver))) {
        r = limit_ms
                ? pthread_cond_clockwait(&driver->changed, &driver->lock, CLOCK_MONOTONIC, &until)
                : pthread_cond_wait(&driver->changed, &driver->lock);
    }
    pthread_mutex_unlock(&driver->lock);
}

/* The set is of no use any more (a GPU in it is lost, or the driver has a trouble of its own):
 * begins anew with the GPUs that still answer. */
static void rebuild(struct driver *driver, struct watch *watch)
{
    CALL(&driver->nvml, events_free, watch->set);
    watch->set = NULL;
    watch->registered = 0;
    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        nvml_device device = watch->devices[i];
        watch->devices[i] = NULL;
        nvml_return answer = device ? register_gpu(driver, watch, device) : NVML_SUCCESS;
        if (device && answer == NVML_SUCCESS) {
            watch->devices[i] = device;
            watch->registered++;
            post_begin(driver, i);
        } else if (answer == NVML_ERROR_GPU_IS_LOST) {
            struct driver_event lost = {
                .kind = DRIVER_EVENT_LOST, .gi_id = MIG_NO_ID, .ci_id = MIG_NO_ID};
            post_event(driver, i, &lost);
        }
    }
}

static void set_watching(struct driver *driver, bool is_watching)
{
    pthread_mutex_lock(&driver->lock);
    driver->is_watching = is_watching;
    pthread_cond_broadcast(&driver->changed);
    pthread_mutex_unlock(&driver->lock);
}

static void watch_events(struct driver *driver)
{
    struct watch watch = {.devices = xcalloc(driver->gpu_count, sizeof(*watch.devices))};

    while (!atomic_load(&driver->is_closing)) {
        struct nvml_event event = {.gi_id = NVML_NO_ID, .ci_id = NVML_NO_ID};
        if (driver->event_wait_ms) {
            register_new(driver, &watch);
        }
        if (watch.registered == 0) {
            rest(driver, 0);
            continue;
        }
        set_watching(driver, true);
        nvml_return answer =
            CALL(&driver->nvml, events_wait, watch.set, &event, driver->event_wait_ms);
        set_watching(driver, false);
        if (answer == NVML_SUCCESS) {
            translate_event(driver, &watch, &event);
        } else if (answer != NVML_ERROR_TIMEOUT) {
            rest(driver, driver->event_wait_ms);
            rebuild(driver, &watch);
        }
    }
    if (watch.set) {
        CALL(&driver->nvml, events_free, watch.set);
    }
    free(watch.devices);
}

/* ---- life ---- */

static void end_library(struct driver *driver)
{
    pthread_mutex_lock(&driver->lock);
    while (driver->live_workers > 0) {
        pthread_cond_wait(&driver->changed, &driver->lock);
    }
    pthread_mutex_unlock(&driver->lock);
    driver->nvml.shutdown();
    nvml_unload(&driver->nvml);
}

void *keeper_run(void *arg)
{
    struct driver *driver = arg;
    int r = start_library(driver, &driver->failure);

    pthread_mutex_lock(&driver->lock);
    driver->phase = r == 0 ? DRIVER_STARTED : DRIVER_FAILED;
    pthread_cond_broadcast(&driver->changed);
    pthread_mutex_unlock(&driver->lock);
    if (r == 0) {
        watch_events(driver);
        end_library(driver);
    }
    pthread_mutex_lock(&driver->lock);
    driver->is_done = true;
    pthread_cond_broadcast(&driver->changed);
    pthread_mutex_unlock(&driver->lock);
    driver_unref(driver);
    return NULL;
}
