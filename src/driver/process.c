#include "driver/gpu.h"
#include <string.h>

/* Who runs on a GPU: the compute, graphics and MPS lists of the whole GPU in one.  A process that
 * is in several lists, or in one list twice, counts once per instance. */

#define PROCESSES_FIRST 64
#define PROCESSES_MAX 65536

void gpu_processes_done(struct gpu_processes *processes)
{
    free(processes->rows);
    *processes = (struct gpu_processes){0};
}

static nvml_return call_list(struct gpu *gpu, int list, uint32_t *count, struct nvml_process *rows)
{
    switch (list) {
    case 0:
        return GPU_CALL(gpu, compute_processes, gpu->device, count, rows);
    case 1:
        return GPU_CALL(gpu, graphics_processes, gpu->device, count, rows);
    default:
        return GPU_CALL(gpu, mps_processes, gpu->device, count, rows);
    }
}

/* Appends one list; grows the array while the driver says that it is too small. */
static nvml_return append_list(struct gpu *gpu, int list, struct gpu_processes *all, uint32_t *room)
{
    uint32_t count = 0;
    nvml_return answer = NVML_ERROR_INSUFFICIENT_SIZE;

    for (int tries = 0; answer == NVML_ERROR_INSUFFICIENT_SIZE && tries < 8; tries++) {
        uint32_t need = count > PROCESSES_FIRST ? count + PROCESSES_FIRST : PROCESSES_FIRST;
        if (all->count + need > PROCESSES_MAX) {
            return NVML_ERROR_INSUFFICIENT_SIZE;
        }
        if (all->count + need > *room) {
            *room = all->count + need;
            all->rows = xreallocarray(all->rows, *room, sizeof(*all->rows));
        }
        count = *room - all->count;
        memset(&all->rows[all->count], 0, count * sizeof(*all->rows));
        answer = call_list(gpu, list, &count, &all->rows[all->count]);
    }
    if (answer == NVML_SUCCESS) {
        all->count += count <= *room - all->count ? count : *room - all->count;
    }
    return answer;
}

static int compare(const void *a, const void *b)
{
    const struct nvml_process *x = a, *y = b;

    if (x->gi_id != y->gi_id) {
        return x->gi_id < y->gi_id ? -1 : 1;
    }
    if (x->ci_id != y->ci_id) {
        return x->ci_id < y->ci_id ? -1 : 1;
    }
    return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static void drop_duplicates(struct gpu_processes *all)
{
    uint32_t kept = 0;

    if (all->count == 0) {
        return;
    }
    qsort(all->rows, all->count, sizeof(*all->rows), compare);
    for (uint32_t i = 1; i < all->count; i++) {
        if (compare(&all->rows[kept], &all->rows[i]) != 0) {
            all->rows[++kept] = all->rows[i];
        }
    }
    all->count = kept + 1;
}

int gpu_list_processes(struct gpu *gpu, struct gpu_processes *ret, struct driver_result *result)
{
    struct gpu_processes all CLEANUP(gpu_processes_done) = {0};
    uint32_t room = 0;

    for (int list = 0; list < 3; list++) {
        nvml_return answer = append_list(gpu, list, &all, &room);
        if (answer == NVML_SUCCESS) {
            all.is_known |= list == 0;
        } else if (!gpu_is_silent(answer)) {
            return gpu_fail(result, answer, "The processes of GPU %u cannot be listed", gpu->index);
        }
    }
    drop_duplicates(&all);
    *ret = all;
    all = (struct gpu_processes){0};
    return 0;
}

void gpu_count_processes(const struct gpu_processes *processes, struct mig_instance *instance)
{
    instance->has_processes = processes->is_known;
    instance->process_count = 0;
    for (uint32_t i = 0; i < processes->count; i++) {
        const struct nvml_process *row = &processes->rows[i];
        if (row->gi_id != instance->gi_id) {
            continue;
        }
        /* CUDA gives a process one compute instance, so rows of an instance are processes. */
        instance->process_count++;
        for (uint32_t k = 0; k < instance->ci_count; k++) {
            instance->ci[k].process_count += instance->ci[k].id == row->ci_id;
        }
    }
}
