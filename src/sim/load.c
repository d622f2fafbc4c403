/* Liveness: a load holds a POSIX lock on its byte of the file `loads`.  The kernel drops it the
 * moment the process is gone; unlike a pid it is never reused and means the same in every PID
 * namespace (clients may run in containers). */
#include "sim/load.h"
#include "base/clock.h"
#include "sim/meter.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct flock byte_lock(uint32_t gpu, int index, short type)
{
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)gpu * SIM_MAX_LOADS + index,
                          .l_len = 1};
}

static bool is_alive(const struct sim_machine *m, uint32_t gpu, int index)
{
    if (m->own_load == (int)gpu * SIM_MAX_LOADS + index) {
        return true; /* one's own lock does not show */
    }
    struct flock lock = byte_lock(gpu, index, F_WRLCK);
    return fcntl(m->loads_fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void account(struct sim_gpu *gpu, const struct sim_load *load)
{
    if (!sim_gpu_state(gpu)->settings.has_accounting) {
        return;
    }
    gpu->accounts[gpu->account_head % SIM_MAX_ACCOUNTS] =
        (struct sim_account){.pid = load->pid,
                             .sm_pct = load->sm_pct,
                             .memory_bytes = load->memory_bytes,
                             .start_real_ms = load->start_real_ms,
                             .end_real_ms = clock_real_ms()};
    gpu->account_head++;
}

/* The process is gone: the driver cleans up behind it for a while. */
static void entry_drop(struct sim_machine *m, uint32_t index, struct sim_load *load)
{
    struct sim_file *file = m->file;
    struct sim_gpu *gpu = &file->gpus[index];
    meter_update(m->models[index], gpu); /* up to here it was busy */
    account(gpu, load);
    if (load->gi != SIM_WHOLE && file->latency.in_use_us > 0) {
        struct sim_state *next = sim_gpu_edit(gpu);
        next->gis[(int)load->gi].busy_until_ms = clock_mono_ms() + file->latency.in_use_us / 1000;
        sim_gpu_commit(gpu);
    }
    load->is_used = false;
}

void load_reap(struct sim_machine *m, uint32_t gpu)
{
    struct sim_gpu *g = &m->file->gpus[gpu];
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        if (g->loads[i].is_used && !is_alive(m, gpu, i)) {
            entry_drop(m, gpu, &g->loads[i]);
        }
    }
}

bool load_is_on(const struct sim_gpu *gpu, int gi, int ci)
{
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        const struct sim_load *l = &gpu->loads[i];
        if (l->is_used && l->gi == gi && (ci == SIM_WHOLE || l->ci == ci)) {
            return true;
        }
    }
    return false;
}

uint64_t load_memory_bytes(const struct sim_gpu *gpu, int gi)
{
    uint64_t sum = 0;
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        if (gpu->loads[i].is_used && gpu->loads[i].gi == gi) {
            sum += gpu->loads[i].memory_bytes;
        }
    }
    return sum;
}

int load_add(struct sim_machine *m, uint32_t gpu, const struct sim_load *load, int *ret_index,
             struct error *err)
{
    struct sim_gpu *g = &m->file->gpus[gpu];
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        if (g->loads[i].is_used) {
            continue;
        }
        struct flock lock = byte_lock(gpu, i, F_WRLCK);
        if (fcntl(m->loads_fd, F_SETLK, &lock) != 0) {
            continue;
        }
        meter_update(m->models[gpu], g); /* up to here it was not */
        g->loads[i] = *load;
        g->loads[i].pid = getpid();
        g->loads[i].start_real_ms = clock_real_ms();
        g->loads[i].is_used = true;
        m->own_load = (int)gpu * SIM_MAX_LOADS + i;
        *ret_index = i;
        return 0;
    }
    return err_set(err, ENOSPC, "this GPU has %d loads already", SIM_MAX_LOADS);
}

void load_remove(struct sim_machine *m, uint32_t gpu, int index)
{
    struct sim_gpu *g = &m->file->gpus[gpu];
    entry_drop(m, gpu, &g->loads[index]);
    m->own_load = -1;
    struct flock lock = byte_lock(gpu, index, F_UNLCK);
    fcntl(m->loads_fd, F_SETLK, &lock);
}
