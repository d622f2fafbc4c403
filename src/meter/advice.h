#pragma once
#include "meter/meter.h"
#include "mig/mig.h"

/* What would fit a lease better, from what samples have shown of it.  Pure.
 *
 * A smaller profile is named when it is of the same GPU's table and of the same kind (`+me` and the
 * like stay), takes no more of anything, would have held the highest memory use with a margin of
 * METER_MEMORY_MARGIN_PERCENT, and the mean activity would have left METER_SM_HEADROOM_PERCENT of
 * its multiprocessors free.  Where the GPU does not measure activity (before Hopper) only memory is
 * made smaller, never compute. */

#define METER_MEMORY_MARGIN_PERCENT 10
#define METER_SM_HEADROOM_PERCENT 20
/* A lease that was idle for more than this of the time is not measured for a smaller profile. */
#define METER_MOSTLY_IDLE_PERCENT 95

struct meter_advice {
    int profile;       /* index in the geometry */
    bool limits_peaks; /* the busiest 5 % of the time would have wanted more */
    bool knows_sm;
    unsigned slices_saved; /* compute slots, of each slice */
    uint64_t memory_mib_saved;
};

/* `held`: what each slice of the lease is, index in the geometry; MIG_PROFILE_NONE: the whole GPU
 * of memory_mib.  False: nothing to say, or not yet: less than after_ms was looked at. */
bool meter_advise(const struct mig_geometry *geometry, int held, uint64_t memory_mib,
                  const struct meter_stats *stats, const struct meter_rates *rates,
                  int64_t after_ms, struct meter_advice *ret);
