#pragma once
#include "sim/model.h"
#include <stdint.h>

/* Identities as the driver makes them: UUIDv5 over the chip and the die's own number (PDI), and
 * for a MIG device also over its GPU instance id and first graphics engine.  So the same slice
 * made again has the same UUID.  ret holds at least 48 bytes. */
void sim_uuid_gpu(const struct sim_model *model, uint64_t pdi, char *ret);
void sim_uuid_mig(const struct sim_model *model, uint64_t pdi, uint32_t gi, uint32_t engine,
                  char *ret);
/* An unprefixed UUID (36 characters) from seed and salt; ret holds at least 40 bytes. */
void sim_uuid_random(uint64_t seed, uint64_t salt, char *ret);
