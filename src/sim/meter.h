#pragma once
#include "sim/machine.h"
#include "sim/nvml_types.h"

/* What a GPU does: activity from its loads, and from that power, temperature, clocks and the
 * integrals that counters are made of.  A model, not a measurement (docs/simulator.md).
 * All with gpu->state held and the loads reaped. */

/* Brings gpu->meter up to now. */
void meter_update(const struct sim_model *model, struct sim_gpu *gpu);
/* How busy 0..1: gi SIM_WHOLE is the GPU, weighted by the SMs of its instances. */
double meter_activity(const struct sim_model *model, const struct sim_gpu *gpu, int gi);
/* The limit in force; not above 0 when the board's power is not known. */
double meter_limit_w(const struct sim_model *model, const struct sim_gpu *gpu);
/* Does the limit hold it back? */
bool meter_is_capped(const struct sim_model *model, const struct sim_gpu *gpu);
/* -1 when the board's power is not known. */
double meter_power_w(const struct sim_model *model, const struct sim_gpu *gpu);
