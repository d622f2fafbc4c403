#pragma once
#include "sim/machine.h"

/* Processes that use a GPU.  All with gpu->state held. */

/* Drops the entries of processes that died; their slices stay busy for latency.in_use_us more.
 * Call before looking at gpu->loads. */
void load_reap(struct sim_machine *m, uint32_t gpu);
/* Does a live load run on this instance (ci SIM_WHOLE: on any part of the gi; gi SIM_WHOLE: on
 * the GPU as a whole)? */
bool load_is_on(const struct sim_gpu *gpu, int gi, int ci);
uint64_t load_memory_bytes(const struct sim_gpu *gpu, int gi);
/* Enters a load for the calling process, which keeps the lock until it ends or takes it out.
 * One at a time per process.  -ENOSPC when the table is full. */
int load_add(struct sim_machine *m, uint32_t gpu, const struct sim_load *load, int *ret_index,
             struct error *err);
void load_remove(struct sim_machine *m, uint32_t gpu, int index);
