#include "driver/driver.h"
#include "base/text.h"
#include "base/thread.h"
#include "driver/room.h"
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

/* The loop's side of the room (see room.h for the threads).
 *
 * Nothing here calls the library.  What the loop hands out (info, geometry) are its own copies,
 * taken over from discovery results when the loop takes those, so readers need no lock. */

#define JOBS_MAX 256
#define OPEN_TIMEOUT_MS 30000
#define CLOSE_TIMEOUT_MS 500
#define WATCH_SOON_MS 100
/* Virtual; what is not touched costs nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)1024 * 1024)
#else
#define STACK_BYTES ((size_t)256 * 1024)
#endif

/* ---- life ---- */

static void free_tasks(struct task_list *list)
{
    struct task *task;

    while ((task = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, task, link);
        task_free(task);
    }
}

static void driver_free(struct driver *driver)
{
    struct geometry_entry *entry;

    for (uint32_t i = 0; driver->workers && i < driver->gpu_count; i++) {
        free_tasks(&driver->workers[i].jobs);
        pthread_cond_destroy(&driver->workers[i].wake);
    }
    free_tasks(&driver->results);
    while ((entry = SLIST_FIRST(&driver->geometries))) {
        SLIST_REMOVE_HEAD(&driver->geometries, link);
        free(entry);
    }
    closep(&driver->fd);
    free(driver->workers);
    free(driver->path);
    pthread_cond_destroy(&driver->changed);
    pthread_mutex_destroy(&driver->lock);
    free(driver);
}

void driver_unref(struct driver *driver)
{
    pthread_mutex_lock(&driver->lock);
    bool is_last = --driver->references == 0;
    pthread_mutex_unlock(&driver->lock);
    if (is_last) {
        driver_free(driver);
    }
}

/* Waits for the other threads; false when `timeout_ms` has passed.  With the lock held. */
static bool wait_until(struct driver *driver, bool (*is_reached)(const struct driver *),
                       uint32_t timeout_ms)
{
    int64_t until_ns = clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    while (!is_reached(driver)) {
        if (pthread_cond_clockwait(&driver->changed, &driver->lock, CLOCK_MONOTONIC, &until) != 0) {
            return is_reached(driver);
        }
    }
    return true;
}

static bool is_started(const struct driver *driver)
{
    return driver->phase != DRIVER_STARTING;
}

/* A keeper that waits for events cannot be woken.  If that may take long it is left alone: it ends
 * by itself, and nobody needs it. */
static bool is_done(const struct driver *driver)
{
    return driver->is_done || (driver->is_watching && driver->live_workers == 0 &&
                               driver->event_wait_ms > WATCH_SOON_MS);
}

static bool is_discovered(const struct driver *driver)
{
    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        if (!driver->workers[i].is_discovered) {
            return false;
        }
    }
    return true;
}

void driver_close(struct driver *driver)
{
    if (!driver) {
        return;
    }
    pthread_mutex_lock(&driver->lock);
    atomic_store(&driver->is_closing, true);
    pthread_cond_broadcast(&driver->changed);
    for (uint32_t i = 0; driver->workers && i < driver->gpu_count; i++) {
        pthread_cond_signal(&driver->workers[i].wake);
    }
    wait_until(driver, is_done, CLOSE_TIMEOUT_MS);
    pthread_mutex_unlock(&driver->lock);
    driver_unref(driver);
}

static struct driver *driver_new(const struct driver_settings *settings)
{
    struct driver *driver = xcalloc(1, sizeof(*driver));

    pthread_mutex_init(&driver->lock, NULL);
    pthread_cond_init(&driver->changed, NULL);
    TAILQ_INIT(&driver->results);
    SLIST_INIT(&driver->geometries);
    driver->references = 1;
    driver->fd = -1;
    driver->path = xstrdup(settings->path ? settings->path : "libnvidia-ml.so.1");
    driver->open_timeout_ms =
        settings->open_timeout_ms ? settings->open_timeout_ms : OPEN_TIMEOUT_MS;
    driver->event_wait_ms = settings->event_wait_ms;
    return driver;
}

static int start_keeper(struct driver *driver, struct error *err)
{
    driver->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (driver->fd < 0) {
        return err_set(err, errno, "No eventfd for the GPU driver: %s", strerror(errno));
    }
    driver->references = 2;
    int r = thread_start(keeper_run, driver, "nvml", STACK_BYTES, NULL);
    if (r < 0) {
        driver->references = 1;
        driver->is_done = true;
        return err_set(err, -r, "No thread for the GPU driver: %s", strerror(-r));
    }
    pthread_mutex_lock(&driver->lock);
    bool is_answered = wait_until(driver, is_started, driver->open_timeout_ms);
    pthread_mutex_unlock(&driver->lock);
    if (!is_answered) {
        return err_set(err, ETIMEDOUT,
                       "The GPU driver (%s) did not answer within %u ms while it was started; "
                       "look at dmesg",
                       driver->path, driver->open_timeout_ms);
    }
    if (driver->phase == DRIVER_FAILED) {
        *err = driver->failure;
        return -driver->failure.code;
    }
    return 0;
}

/* ---- discovery ---- */

/* Keeps one copy of each different geometry until the end, so that pointers handed out stay.
 * Unequal padding would cost a second copy, nothing more. */
static const struct mig_geometry *keep_geometry(struct driver *driver,
                                                const struct mig_geometry *geometry)
{
    struct geometry_entry *entry;

    SLIST_FOREACH(entry, &driver->geometries, link)
    {
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): zeroed before it was filled */
        if (memcmp(&entry->geometry, geometry, sizeof(*geometry)) == 0) {
            return &entry->geometry;
        }
    }
    entry = xcalloc(1, sizeof(*entry));
    memcpy(&entry->geometry, geometry, sizeof(*geometry));
    SLIST_INSERT_HEAD(&driver->geometries, entry, link);
    return &entry->geometry;
}

static void adopt_discovery(struct driver *driver, const struct task *task)
{
    struct worker *worker = &driver->workers[task->result.gpu];
    const struct mig_gpu_info *info = &task->found->info;

    if (info->uuid[0] || !worker->info.uuid[0]) {
        worker->info = *info;
    } else { /* it cannot be asked any more, yet what we knew of it stays true */
        worker->info.is_healthy = false;
        text_copy(worker->info.reason, sizeof(worker->info.reason), info->reason);
    }
    if (info->has_geometry) {
        worker->geometry = keep_geometry(driver, &task->found->geometry);
    } else if (worker->info.is_healthy) {
        worker->geometry = NULL;
    }
}

/* Takes the results of the first discovery out of the queue; events stay in it. */
static void adopt_first(struct driver *driver)
{
    struct task *task, *next;

    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        struct mig_gpu_info *info = &driver->workers[i].info;
        *info = (struct mig_gpu_info){.index = i, .minor = MIG_NO_ID};
        snprintf(info->reason, sizeof(info->reason),
                 "GPU %u did not answer within %u ms when it was discovered; look at dmesg.", i,
                 driver->open_timeout_ms);
    }
    for (task = TAILQ_FIRST(&driver->results); task; task = next) {
        next = TAILQ_NEXT(task, link);
        if (task->result.kind == DRIVER_DISCOVER) {
            TAILQ_REMOVE(&driver->results, task, link);
            adopt_discovery(driver, task);
            task_free(task);
        }
    }
    if (TAILQ_EMPTY(&driver->results)) {
        eventfd_t unused;
        eventfd_read(driver->fd, &unused);
    }
}

static int start_workers(struct driver *driver, struct error *err)
{
    const struct driver_job discover = {.kind = DRIVER_DISCOVER};
    struct worker *workers = xcalloc(driver->gpu_count, sizeof(*workers));

    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        struct worker *worker = &workers[i];
        worker->driver = driver;
        worker->gpu = (struct gpu){.nvml = &driver->nvml,
                                   .is_closing = &driver->is_closing,
                                   .waiting = &worker->waiting,
                                   .index = i,
                                   .gpm_support = -1};
        pthread_cond_init(&worker->wake, NULL);
        TAILQ_INIT(&worker->jobs);
    }
    pthread_mutex_lock(&driver->lock);
    driver->workers = workers;
    pthread_mutex_unlock(&driver->lock);
    for (uint32_t i = 0; i < driver->gpu_count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "gpu%u", i % 100000);
        pthread_mutex_lock(&driver->lock);
        driver->live_workers++;
        pthread_mutex_unlock(&driver->lock);
        int r = thread_start(worker_run, &workers[i], name, STACK_BYTES, NULL);
        if (r < 0) {
            pthread_mutex_lock(&driver->lock);
            driver->live_workers--;
            pthread_mutex_unlock(&driver->lock);
            return err_set(err, -r, "No thread for GPU %u: %s", i, strerror(-r));
        }
        driver_submit(driver, i, &discover, NULL);
    }
    pthread_mutex_lock(&driver->lock);
    wait_until(driver, is_discovered, driver->open_timeout_ms);
    adopt_first(driver);
    pthread_mutex_unlock(&driver->lock);
    return 0;
}

int driver_open(const struct driver_settings *settings, struct driver **ret, struct error *err)
{
    struct driver *driver CLEANUP(driver_closep) = driver_new(settings);
    struct error mine = {0};
    int r = start_keeper(driver, &mine);

    if (r == 0) {
        r = start_workers(driver, &mine);
    }
    if (r < 0) {
        return err_set(err, -r, "%s", mine.msg);
    }
    *ret = TAKE_PTR(driver);
    return 0;
}

/* ---- use ---- */

const struct driver_versions *driver_versions(const struct driver *driver)
{
    return &driver->versions;
}

uint32_t driver_gpu_count(const struct driver *driver)
{
    return driver->gpu_count;
}

const struct mig_gpu_info *driver_gpu_info(const struct driver *driver, uint32_t gpu)
{
    return &driver->workers[gpu].info;
}

const struct mig_geometry *driver_gpu_geometry(const struct driver *driver, uint32_t gpu)
{
    return driver->workers[gpu].geometry;
}

int driver_submit(struct driver *driver, uint32_t gpu, const struct driver_job *job,
                  struct error *err)
{
    if (gpu >= driver->gpu_count) {
        return err_set(err, ENODEV, "There is no GPU %u.", gpu);
    }
    if (job->kind >= DRIVER_EVENT) {
        return err_set(err, EINVAL, "There is no driver job of kind %d.", (int)job->kind);
    }
    struct worker *worker = &driver->workers[gpu];
    struct task *task = task_new(job->kind, gpu, job->tag);
    task->job = *job;
    task->job.mig_uuid[sizeof(task->job.mig_uuid) - 1] = '\0';
    task->submitted_ns = clock_mono_ns();

    pthread_mutex_lock(&driver->lock);
    bool is_full = worker->pending >= JOBS_MAX;
    if (!is_full) {
        worker->pending++;
        atomic_fetch_add(&worker->waiting, 1);
        TAILQ_INSERT_TAIL(&worker->jobs, task, link);
    }
    pthread_mutex_unlock(&driver->lock);
    pthread_cond_signal(&worker->wake); /* unlocked: what it wakes needs the lock */
    if (is_full) {
        task_free(task);
        return err_set(err, ENOBUFS, "%d jobs wait for GPU %u already.", JOBS_MAX, gpu);
    }
    return 0;
}

int64_t driver_busy_ms(const struct driver *driver, uint32_t gpu)
{
    struct driver *own = (struct driver *)driver; /* only the lock changes */

    pthread_mutex_lock(&own->lock);
    int64_t started_ns = own->workers[gpu].started_ns;
    pthread_mutex_unlock(&own->lock);
    return started_ns ? (clock_mono_ns() - started_ns) / 1000000 : 0;
}

uint32_t driver_pending(const struct driver *driver, uint32_t gpu)
{
    struct driver *own = (struct driver *)driver;

    pthread_mutex_lock(&own->lock);
    uint32_t pending = own->workers[gpu].pending;
    pthread_mutex_unlock(&own->lock);
    return pending;
}

int driver_fd(const struct driver *driver)
{
    return driver->fd;
}

bool driver_next_result(struct driver *driver, struct driver_result *ret)
{
    pthread_mutex_lock(&driver->lock);
    struct task *task = TAILQ_FIRST(&driver->results);
    if (task) {
        TAILQ_REMOVE(&driver->results, task, link);
        if (task->result.kind == DRIVER_EVENT) {
            driver->event_backlog--;
            if (task->result.event.kind == DRIVER_EVENT_MIG_CONFIG) {
                driver->workers[task->result.gpu].has_config_event = false;
            }
        }
    }
    if (TAILQ_EMPTY(&driver->results)) {
        eventfd_t unused;
        eventfd_read(driver->fd, &unused);
    }
    pthread_mutex_unlock(&driver->lock);
    if (!task) {
        return false;
    }
    if (task->result.kind == DRIVER_DISCOVER) {
        adopt_discovery(driver, task);
    }
    memcpy(ret, &task->result, task_result_size(task->result.kind));
    task_free(task);
    return true;
}

const char *driver_kind_name(enum driver_kind kind)
{
    static const char *const names[DRIVER_KIND_COUNT] = {
        [DRIVER_DISCOVER] = "discover",     [DRIVER_SCAN] = "scan",
        [DRIVER_CREATE] = "create",         [DRIVER_CREATE_CI] = "create_ci",
        [DRIVER_DESTROY_CI] = "destroy_ci", [DRIVER_DESTROY] = "destroy",
        [DRIVER_CHECK] = "check",           [DRIVER_SET_MODE] = "set_mode",
        [DRIVER_SAMPLE] = "sample",         [DRIVER_EVENT] = "event",
    };

    return (unsigned)kind < DRIVER_KIND_COUNT ? names[kind] : "?";
}
