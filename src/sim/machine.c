/* The machine file.
 *
 * Every client maps the same file and works on it in place; there is no server.  Three kinds of
 * locks, all robust and shared between processes:
 *   sim_gpu.op      one change per GPU at a time.  Held while the change takes its simulated time,
 *                   so that changes queue as in the real driver; queries do not need it.
 *   sim_gpu.state   everything in struct sim_gpu; held for microseconds, never while waiting.
 *   sim_file.lock   the table of faults; never together with another lock.
 * Order: op, then state.
 *
 * A client may be killed anywhere.  What must change together lies in struct sim_state, of which
 * each GPU has two: a change is made in the spare copy and counts from the one store that flips
 * `current`.  So whoever takes over a lock from a dead holder finds the old or the new state and
 * has nothing to repair.  What lies outside (loads, meter, events) tolerates being half written:
 * an entry counts only once its last word is stored. */
#include "sim/machine.h"
#include "base/text.h"
#include "sim/load.h"
#include "sim/root.h"
#include "sim/uuid.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAGIC "tangram-sim 1"

uint64_t sim_mix(uint64_t seed, uint64_t salt)
{
    uint64_t z = seed + (salt + 1) * 0x9E3779B97F4A7C15ULL; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

void sim_lock(pthread_mutex_t *mutex)
{
    if (pthread_mutex_lock(mutex) == EOWNERDEAD) {
        pthread_mutex_consistent(mutex);
    }
}

void sim_unlock(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
}

static void mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

const struct sim_state *sim_gpu_state(const struct sim_gpu *gpu)
{
    return &gpu->states[gpu->current & 1];
}

struct sim_state *sim_gpu_edit(struct sim_gpu *gpu)
{
    struct sim_state *spare = &gpu->states[(gpu->current & 1) ^ 1];
    *spare = *sim_gpu_state(gpu);
    return spare;
}

void sim_gpu_commit(struct sim_gpu *gpu)
{
    __atomic_store_n(&gpu->current, (gpu->current & 1) ^ 1, __ATOMIC_RELEASE);
}

uint32_t sim_gpu_chance(const struct sim_file *file, struct sim_gpu *gpu)
{
    return (uint32_t)(sim_mix(sim_mix(file->seed, gpu->pdi), gpu->chance++) >> 32);
}

void sim_event_post(struct sim_file *file, struct sim_gpu *gpu, const struct sim_event *event)
{
    gpu->events[gpu->event_head % SIM_MAX_EVENTS] = *event;
    gpu->event_head++;
    sim_event_wake(file);
}

void sim_event_wake(struct sim_file *file)
{
    __atomic_add_fetch(&file->event_seq, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &file->event_seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void sim_gpu_power_on(const struct sim_model *model, struct sim_gpu *gpu, bool is_reset)
{
    struct sim_state *next = sim_gpu_edit(gpu);
    /* What was pending is now in force.  Ampere keeps the mode in its InfoROM; later architectures
     * keep it as long as the driver stays loaded. */
    int mode = is_reset || model->arch < SIM_ARCH_HOPPER ? next->mig_pending : 0;
    struct sim_state fresh = {.mig_mode = mode,
                              .mig_pending = mode,
                              .next_serial = next->next_serial,
                              .is_ecc_off = next->is_ecc_off_pending,
                              .is_ecc_off_pending = next->is_ecc_off_pending,
                              .persistence = is_reset ? next->persistence : 0};
    *next = fresh;
    gpu->is_lost = false;
    memset(gpu->loads, 0, sizeof(gpu->loads));
    gpu->meter = (struct sim_meter){0};
    gpu->ecc_corrected = gpu->ecc_uncorrected = 0;
    gpu->account_head = 0;
    sim_gpu_commit(gpu);
}

/* MODEL number `index` of the machine: identity from the seed alone. */
static void gpu_init(struct sim_file *file, int index, const struct sim_model *model, bool flipped)
{
    struct sim_gpu *gpu = &file->gpus[index];
    *gpu = (struct sim_gpu){.minor = (uint32_t)index, .is_flipped = flipped};
    text_copy(gpu->model, sizeof(gpu->model), model->key);
    gpu->pdi = sim_mix(file->seed, 0x5000 + (uint64_t)index);
    gpu->bus = 0x07 + 0x08 * (uint32_t)index;
    snprintf(gpu->serial_number, sizeof(gpu->serial_number), "%013llu",
             (unsigned long long)(1320000000000ULL + (gpu->pdi >> 8) % 1000000000ULL));
    sim_uuid_gpu(model, gpu->pdi, gpu->uuid);
    mutex_init(&gpu->op);
    mutex_init(&gpu->state);
}

int sim_plan_check(const struct sim_plan *plan, int *ret_total, struct error *err)
{
    int total = 0;
    for (int i = 0; i < plan->gpu_count; i++) {
        const char *key = plan->gpus[i].model;
        const struct sim_model *model = sim_model_find(key);
        if (!model) {
            return err_set(err, EINVAL, "no GPU model '%s'; `tangram-sim models` lists them", key);
        }
        if (model->lacks[0]) {
            return err_set(err, EINVAL,
                           "%s cannot be simulated: not known in public: %s; `tangram-sim models` "
                           "lists those that can",
                           key, model->lacks);
        }
        if (plan->gpus[i].count < 1 || plan->gpus[i].count > SIM_MAX_GPUS) {
            return err_set(err, E2BIG, "%d x %s: a machine has 1 to %d GPUs", plan->gpus[i].count,
                           key, SIM_MAX_GPUS);
        }
        total += plan->gpus[i].count;
    }
    if (total > SIM_MAX_GPUS) {
        return err_set(err, E2BIG, "%d GPUs: a machine has at most %d", total, SIM_MAX_GPUS);
    }
    *ret_total = total;
    return 0;
}

static int write_boot_id(const char *dir, const struct sim_file *file, struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/boot_id", dir);
    CLEANUP(freep) char *temp = xasprintf("%s/boot_id.new", dir);
    CLEANUP(closep) int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || dprintf(fd, "%s\n", file->boot_id) < 0 || rename(temp, path) != 0) {
        return err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
    }
    return 0;
}

static int file_map(const char *path, int fd, struct sim_file **ret, struct error *err)
{
    void *p = mmap(NULL, sizeof(struct sim_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return err_set(err, errno, "cannot map %s: %s", path, strerror(errno));
    }
    *ret = p;
    return 0;
}

static void read_host_boot_id(char ret[static 40])
{
    memset(ret, 0, 40);
    CLEANUP(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, ret, 36) != 36) {
        memset(ret, 0, 40);
    }
}

static void file_fill(struct sim_file *file, const struct sim_plan *plan)
{
    file->size = sizeof(*file);
    file->seed = plan->seed;
    file->latency = plan->latency;
    text_copy(file->driver_version, sizeof(file->driver_version), plan->driver_version);
    mutex_init(&file->lock);
    for (int i = 0; i < plan->gpu_count; i++) {
        for (int k = 0; k < plan->gpus[i].count; k++) {
            gpu_init(file, (int)file->gpu_count++, sim_model_find(plan->gpus[i].model),
                     plan->gpus[i].is_flipped);
        }
    }
    sim_uuid_random(file->seed, file->boots, file->boot_id);
    read_host_boot_id(file->host_boot_id);
    text_copy(file->magic, sizeof(file->magic), MAGIC);
}

/* An empty file that every client may open; exists already is fine. */
static int touch_shared(const char *path, int extra_flags, struct error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | extra_flags, 0666);
    if (fd < 0) {
        return err_set(err, errno, "cannot make %s: %s", path, strerror(errno));
    }
    /* Unprivileged clients take the locks inside, so umask must not stand in their way. */
    (void)fchmod(fd, 0666);
    return fd;
}

int sim_machine_create(const char *dir, const struct sim_plan *plan, struct error *err)
{
    int total = 0;
    int r = sim_plan_check(plan, &total, err);
    if (r < 0) {
        return r;
    }
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        return err_set(err, errno, "cannot make %s: %s", dir, strerror(errno));
    }
    CLEANUP(freep) char *path = xasprintf("%s/machine", dir);
    CLEANUP(freep) char *temp = xasprintf("%s/machine.%d", dir, (int)getpid());
    CLEANUP(freep) char *loads = xasprintf("%s/loads", dir);
    if (access(path, F_OK) == 0) {
        return err_set(err, EEXIST, "%s is a simulated machine already", dir);
    }
    CLEANUP(closep) int loads_fd = touch_shared(loads, 0, err);
    CLEANUP(closep) int fd = loads_fd < 0 ? -1 : touch_shared(temp, O_TRUNC, err);
    if (fd < 0) {
        return loads_fd < 0 ? loads_fd : fd;
    }
    struct sim_file *file = MAP_FAILED;
    /* All of it on disk from the start: a client that writes into a hole of a mapped file while the
     * disk is full is killed. */
    r = -posix_fallocate(fd, 0, sizeof(*file));
    if (r < 0) {
        unlink(temp);
        return err_set(err, -r, "cannot make %s: %s", path, strerror(-r));
    }
    r = file_map(path, fd, &file, err);
    if (r < 0) {
        return r;
    }
    file_fill(file, plan);
    r = write_boot_id(dir, file, err);
    munmap(file, sizeof(*file));
    if (r == 0 && link(temp, path) != 0) {
        r = err_set(err, errno, "cannot make %s: %s", path, strerror(errno));
    }
    unlink(temp);
    return r;
}

static void power_cycle(struct sim_machine *m)
{
    struct sim_file *file = m->file;
    for (uint32_t i = 0; i < file->gpu_count; i++) {
        struct sim_gpu *gpu = &file->gpus[i];
        sim_lock(&gpu->op);
        sim_lock(&gpu->state);
        sim_gpu_power_on(m->models[i], gpu, false);
        root_sync(m, i, sim_gpu_state(gpu));
        sim_unlock(&gpu->state);
        sim_unlock(&gpu->op);
    }
    file->boots++;
    sim_uuid_random(file->seed, file->boots, file->boot_id);
}

/* Locks that were held when the computer went down have nobody left to release them. */
static int follow_host(struct sim_machine *m, int fd, struct error *err)
{
    char host[40];
    read_host_boot_id(host);
    /* Not readable (in some containers): no reason to think that it changed. */
    if (!host[0] || strcmp(host, m->file->host_boot_id) == 0) {
        return 0;
    }
    int r = 0;
    flock(fd, LOCK_EX);
    if (strcmp(host, m->file->host_boot_id) != 0) {
        mutex_init(&m->file->lock);
        for (uint32_t i = 0; i < m->file->gpu_count; i++) {
            mutex_init(&m->file->gpus[i].op);
            mutex_init(&m->file->gpus[i].state);
        }
        power_cycle(m);
        r = write_boot_id(m->dir, m->file, err);
        text_copy(m->file->host_boot_id, sizeof(m->file->host_boot_id), host);
    }
    flock(fd, LOCK_UN);
    return r;
}

static int not_ours(const char *dir, struct error *err)
{
    return err_set(err, EPROTO,
                   "%s was made by another version of tangram-sim, or is damaged; remove it and "
                   "create it anew",
                   dir);
}

int sim_machine_open(const char *dir, struct sim_machine **ret, struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/machine", dir);
    CLEANUP(freep) char *loads = xasprintf("%s/loads", dir);
    CLEANUP(closep) int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        return err_set(err, errno, "no simulated machine at %s: %s", dir, strerror(errno));
    }
    if (st.st_size != (off_t)sizeof(struct sim_file)) {
        return not_ours(dir, err);
    }
    CLEANUP(sim_machine_freep) struct sim_machine *m = xcalloc(1, sizeof(*m));
    m->own_load = -1;
    m->loads_fd = open(loads, O_RDWR | O_CLOEXEC);
    m->dir = xstrdup(dir);
    if (m->loads_fd < 0) {
        return err_set(err, errno, "no simulated machine at %s: %s", dir, strerror(errno));
    }
    int r = file_map(path, fd, &m->file, err);
    if (r < 0) {
        return r;
    }
    if (strncmp(m->file->magic, MAGIC, sizeof(m->file->magic)) != 0 ||
        m->file->size != sizeof(struct sim_file) || m->file->gpu_count > SIM_MAX_GPUS) {
        return not_ours(dir, err);
    }
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        m->models[i] = sim_model_find(m->file->gpus[i].model);
        if (!m->models[i] || m->models[i]->lacks[0]) {
            return not_ours(dir, err);
        }
    }
    r = follow_host(m, fd, err);
    if (r < 0) {
        return r;
    }
    *ret = TAKE_PTR(m);
    return 0;
}

void sim_machine_free(struct sim_machine *m)
{
    if (!m) {
        return;
    }
    if (m->file) {
        munmap(m->file, sizeof(*m->file));
    }
    closep(&m->loads_fd);
    free(m->dir);
    free(m);
}

int sim_machine_reboot(struct sim_machine *m, struct error *err)
{
    power_cycle(m);
    sim_event_wake(m->file);
    return write_boot_id(m->dir, m->file, err);
}

int sim_machine_reset(struct sim_machine *m, uint32_t index, struct error *err)
{
    struct sim_gpu *gpu = &m->file->gpus[index];
    int r = 0;
    sim_lock(&gpu->op);
    sim_lock(&gpu->state);
    load_reap(m, index);
    for (int i = 0; i < SIM_MAX_LOADS && r == 0; i++) {
        if (gpu->loads[i].is_used) {
            r = err_set(err, EBUSY, "process %d uses GPU %u; end it first", gpu->loads[i].pid,
                        index);
        }
    }
    if (r == 0) {
        sim_gpu_power_on(m->models[index], gpu, true);
        root_sync(m, index, sim_gpu_state(gpu));
    }
    sim_unlock(&gpu->state);
    sim_unlock(&gpu->op);
    return r;
}
