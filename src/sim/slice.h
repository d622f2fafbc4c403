#pragma once
#include "sim/machine.h"
#include "sim/nvml_types.h"

/* Cutting a GPU: which placements are free, which ids result, what an instance is.  Pure
 * functions on a state; the caller holds the locks. */

#define SLICE_ANYWHERE (-1)

/* The GPU instance id that hardware gives to this window. */
unsigned int slice_gi_id(const struct sim_model *model, bool is_flipped, int start, int size);
/* The first graphics engine behind a compute instance; part of its UUID. */
unsigned int slice_engine(const struct sim_model *model, bool is_flipped, const struct sim_gi *gi,
                          const struct sim_ci *ci);

/* How many more instances of that profile would fit now. */
unsigned int slice_gi_room(const struct sim_model *model, const struct sim_state *state,
                           int profile);
unsigned int slice_ci_room(const struct sim_gi_profile *profile, const struct sim_gi *gi, int ci);

/* start may be SLICE_ANYWHERE.  NVML_ERROR_INVALID_ARGUMENT for an illegal placement,
 * NVML_ERROR_INSUFFICIENT_RESOURCES when it is taken.  *ret_id is the new instance's id. */
enum nvml_return slice_gi_create(const struct sim_model *model, bool is_flipped,
                                 struct sim_state *state, int profile, int start,
                                 unsigned int *ret_id);
enum nvml_return slice_ci_create(const struct sim_gi_profile *profile, struct sim_state *state,
                                 unsigned int gi, int ci, int start, unsigned int *ret_id);

unsigned int slice_gi_count(const struct sim_state *state);
unsigned int slice_ci_count(const struct sim_gi *gi);
/* MIG devices are the compute instances in order of (GI id, CI id), counted without gaps.
 * False when there is no such index. */
bool slice_by_index(const struct sim_state *state, unsigned int index, unsigned int *ret_gi,
                    unsigned int *ret_ci);
unsigned int slice_index(const struct sim_state *state, unsigned int gi, unsigned int ci);
/* ret holds at least 48 bytes. */
void slice_uuid(const struct sim_model *model, const struct sim_gpu *gpu,
                const struct sim_state *state, unsigned int gi, unsigned int ci, char *ret);
