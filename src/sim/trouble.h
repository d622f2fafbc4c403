#pragma once
#include "sim/machine.h"
#include "sim/nvml_types.h"

/* Time and faults. */

/* "none", "typical", or either followed by ",key=duration..." (keys: create-gi, create-ci,
 * destroy-gi, destroy-ci, each, mode, init, query, in-use; and spread, tail, tail-factor as
 * numbers).  *ret is untouched on failure; -EINVAL with a message. */
int latency_parse(const char *text, struct sim_latency *ret, struct error *err);
/* Writes the same form; size at least 256. */
void latency_format(const struct sim_latency *latency, char *ret, size_t size);
/* With gpu->state held: this time it takes so long (the mean, spread, now and then a tail). */
int64_t latency_draw_us(const struct sim_file *file, struct sim_gpu *gpu, int64_t mean_us);
void latency_sleep_us(int64_t us);

/* Does a fault apply to this call?  Counts it, hangs if it says so (holding no lock), and returns
 * its code; NVML_SUCCESS when the call goes on.  gpu is -1 for calls without a GPU. */
enum nvml_return fault_apply(struct sim_file *file, const char *call, int gpu);
/* -ENOSPC when the table is full. */
int fault_add(struct sim_file *file, const struct sim_fault *fault, struct error *err);
void fault_clear(struct sim_file *file);
