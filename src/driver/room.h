#pragma once
#include "driver/gpu.h"
#include <pthread.h>
#include <sys/queue.h>

/* The threads of the room and what they share.
 *
 *   loop    driver_*(), owns the copies of info and geometry that it hands out
 *   keeper  starts the library, watches its events, and ends the library after all workers
 *   worker  one per GPU, owns its struct gpu
 *
 * `lock` guards everything marked (lock) and is never held across a call into the library.
 * struct driver has a reference from the loop and one from the keeper; who comes last frees it. */

/* One job on its way; the result is filled in place and is cut to what its kind needs. */
struct task {
    TAILQ_ENTRY(task) link;
    int64_t submitted_ns;
    struct gpu_discovery *found; /* DISCOVER */
    struct driver_job job;
    struct driver_result result;
};
TAILQ_HEAD(task_list, task);

struct task *task_new(enum driver_kind kind, uint32_t gpu, uint64_t tag);
void task_free(struct task *task);
size_t task_result_size(enum driver_kind kind);

struct worker {
    struct driver *driver;
    struct gpu gpu; /* the worker's own */
    pthread_cond_t wake;
    struct task_list jobs;    /* (lock) */
    uint32_t pending;         /* (lock) waiting and running */
    atomic_uint waiting;      /* changed with the lock */
    int64_t started_ns;       /* (lock) of the running job; 0: idle */
    bool is_stale;            /* (lock) an event said that instances changed */
    bool has_config_event;    /* (lock) one waits to be taken; more would say the same */
    bool is_discovered;       /* (lock) the first discovery has ended */
    bool wants_events;        /* (lock) event_device is new to the keeper */
    nvml_device event_device; /* (lock) */
    struct mig_gpu_info info; /* the loop's */
    const struct mig_geometry *geometry;
};

struct geometry_entry {
    SLIST_ENTRY(geometry_entry) link;
    struct mig_geometry geometry;
};

enum driver_phase { DRIVER_STARTING, DRIVER_STARTED, DRIVER_FAILED };

struct driver {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* phase, is_done, is_discovered, wants_events, is_closing */
    atomic_bool is_closing;
    uint32_t references;      /* (lock) */
    enum driver_phase phase;  /* (lock) */
    struct error failure;     /* of the start; valid when phase is DRIVER_FAILED */
    bool is_done;             /* (lock) the library has been ended */
    bool is_watching;         /* (lock) the keeper waits inside the library for events */
    uint32_t live_workers;    /* (lock) */
    uint32_t event_backlog;   /* (lock) */
    struct task_list results; /* (lock) */
    int fd;
    char *path;
    uint32_t open_timeout_ms, event_wait_ms;
    struct nvml nvml; /* the keeper's until DRIVER_STARTED, then constant */
    struct driver_versions versions;
    uint32_t gpu_count;
    struct worker *workers;                  /* (lock) for the keeper; set once */
    SLIST_HEAD(, geometry_entry) geometries; /* the loop's; kept until the end */
};

void driver_unref(struct driver *driver);
/* Hands a result to the loop; takes the task.  With the lock held. */
void driver_push(struct driver *driver, struct task *task);

void *keeper_run(void *driver);
void *worker_run(void *worker);
