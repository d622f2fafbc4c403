#include "driver/room.h"
#include <string.h>
#include <sys/eventfd.h>

/* A worker takes its GPU's jobs one after the other.  It allocates nothing itself: job and result
 * share one task, made by the loop, so that the threads need no heaps of their own. */

size_t task_result_size(enum driver_kind kind)
{
    static const size_t sizes[DRIVER_KIND_COUNT] = {
        [DRIVER_SCAN] = sizeof(struct mig_scan),
        [DRIVER_CREATE] = sizeof(struct driver_slice),
        [DRIVER_CREATE_CI] = sizeof(struct driver_slice),
        [DRIVER_DESTROY_CI] = sizeof(struct driver_slice),
        [DRIVER_DESTROY] = sizeof(struct driver_slice),
        [DRIVER_CHECK] = sizeof(struct driver_slice),
        [DRIVER_SET_MODE] = sizeof(struct driver_mode),
        [DRIVER_SAMPLE] = sizeof(struct driver_sample),
        [DRIVER_EVENT] = sizeof(struct driver_event),
    };

    return offsetof(struct driver_result, scan) + sizes[kind];
}

struct task *task_new(enum driver_kind kind, uint32_t gpu, uint64_t tag)
{
    struct task *task = xcalloc(1, offsetof(struct task, result) + task_result_size(kind));

    task->result.kind = kind;
    task->result.gpu = gpu;
    task->result.tag = tag;
    if (kind == DRIVER_DISCOVER) {
        task->found = xcalloc(1, sizeof(*task->found));
    }
    return task;
}

void task_free(struct task *task)
{
    free(task->found);
    free(task);
}

void driver_push(struct driver *driver, struct task *task)
{
    bool was_empty = TAILQ_EMPTY(&driver->results);

    TAILQ_INSERT_TAIL(&driver->results, task, link);
    if (was_empty) {
        eventfd_write(driver->fd, 1);
    }
}

static void run_job(struct gpu *gpu, struct task *task)
{
    struct driver_result *result = &task->result;
    const struct driver_job *job = &task->job;

    if (!gpu->device && result->kind != DRIVER_DISCOVER) {
        gpu_refuse(result, ENODEV, "GPU %u could not be discovered; look at `tangram doctor`.",
                   gpu->index);
        return;
    }
    switch (result->kind) {
    case DRIVER_DISCOVER:
        gpu_discover(gpu, task->found, result);
        break;
    case DRIVER_SCAN:
        gpu_scan(gpu, result);
        break;
    case DRIVER_CREATE:
        gpu_create(gpu, job, result);
        break;
    case DRIVER_CREATE_CI:
        gpu_create_ci(gpu, job, result);
        break;
    case DRIVER_DESTROY_CI:
        gpu_destroy_ci(gpu, job, result);
        break;
    case DRIVER_DESTROY:
        gpu_destroy(gpu, job, result);
        break;
    case DRIVER_CHECK:
        gpu_check(gpu, job, result);
        break;
    case DRIVER_SET_MODE:
        gpu_set_mode(gpu, job, result);
        break;
    case DRIVER_SAMPLE:
        gpu_sample(gpu, job, result);
        break;
    case DRIVER_EVENT:
    case DRIVER_KIND_COUNT:
        break; /* driver_submit() refuses them */
    }
}

/* The next job, or NULL when it is time to go. */
static struct task *take_job(struct worker *worker, bool *ret_is_stale)
{
    struct driver *driver = worker->driver;
    struct task *task = NULL;

    pthread_mutex_lock(&driver->lock);
    while (!atomic_load(&driver->is_closing) && TAILQ_EMPTY(&worker->jobs)) {
        pthread_cond_wait(&worker->wake, &driver->lock);
    }
    if (!atomic_load(&driver->is_closing)) {
        task = TAILQ_FIRST(&worker->jobs);
        TAILQ_REMOVE(&worker->jobs, task, link);
        atomic_fetch_sub(&worker->waiting, 1);
        worker->started_ns = clock_mono_ns();
        task->result.queued_ns = worker->started_ns - task->submitted_ns;
        *ret_is_stale = worker->is_stale;
        worker->is_stale = false;
    }
    pthread_mutex_unlock(&driver->lock);
    return task;
}

static void give_result(struct worker *worker, struct task *task)
{
    struct driver *driver = worker->driver;
    enum driver_kind kind = task->result.kind;

    pthread_mutex_lock(&driver->lock);
    task->result.driver_ns = worker->gpu.driver_ns;
    task->result.worker_ns = clock_mono_ns() - worker->started_ns;
    worker->started_ns = 0;
    worker->pending--;
    if (worker->gpu.device && worker->gpu.device != worker->event_device) {
        worker->event_device = worker->gpu.device;
        worker->wants_events = true;
    } else if (kind == DRIVER_SET_MODE && worker->gpu.device) {
        worker->wants_events = true; /* a reset drops the registration */
    }
    worker->is_discovered |= kind == DRIVER_DISCOVER;
    driver_push(driver, task);
    if (kind == DRIVER_DISCOVER || worker->wants_events) {
        pthread_cond_broadcast(&driver->changed);
    }
    pthread_mutex_unlock(&driver->lock);
}

void *worker_run(void *arg)
{
    struct worker *worker = arg;
    struct driver *driver = worker->driver;
    struct task *task;
    bool is_stale = false;

    while ((task = take_job(worker, &is_stale))) {
        worker->gpu.driver_ns = 0;
        worker->gpu.is_walked = false;
        if (is_stale) {
            gpu_forget_mig_devices(&worker->gpu);
        }
        run_job(&worker->gpu, task);
        give_result(worker, task);
    }
    gpu_forget_samples(&worker->gpu);
    pthread_mutex_lock(&driver->lock);
    driver->live_workers--;
    pthread_cond_broadcast(&driver->changed);
    pthread_mutex_unlock(&driver->lock);
    return NULL;
}
