#pragma once
#include "sim/machine.h"

/* The machine's surroundings: what a driver leaves in /proc, /sys and /dev, as files below
 * DIR/root.  `tangram-sim shell` shows them to a program in their places. */

/* Writes all of it and from now on keeps it up to date.  Idempotent. */
int root_build(struct sim_machine *m, struct error *err);
/* The capability files of one GPU's instances follow `state`; does nothing unless root_build()
 * was called for this machine.  With gpu->state held. */
void root_sync(const struct sim_machine *m, uint32_t gpu, const struct sim_state *state);

/* Minor numbers of the capability devices. */
unsigned int root_gi_minor(uint32_t gpu, unsigned int gi);
unsigned int root_ci_minor(uint32_t gpu, unsigned int gi, unsigned int ci);
