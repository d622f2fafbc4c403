#pragma once
#include "mig/mig.h"

/* The MIG tables of the GPU models known from public material, for replaying traces without a
 * driver (the daemon asks its driver and never looks here).  Compute instances are left out: they
 * do not matter for where slices go. */

int replay_model_count(void);
const char *replay_model_name(int index);
/* What is not known is 0, and a profile without a known placement has none; so -ENOENT for an
 * unknown model names the known ones, and -EINVAL comes for one whose placements are unknown. */
int replay_model_geometry(const char *name, struct mig_geometry *ret, struct error *err);
/* The table as it was written down, unchecked. */
const struct mig_geometry *replay_model_raw(int index);
