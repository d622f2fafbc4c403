/* Which profile is the smallest is a matter of price where there are prices, else of compute slots,
 * then memory. */
#include "meter/advice.h"
#include <string.h>

#define MEMORY_SAMPLES_LEAST 3

/* What a slice, or the whole GPU, has. */
struct size {
    unsigned slices, sm_count;
    uint64_t memory_mib;
    const char *suffix; /* "+me", "-me", "+gfx" ...; "" none */
};

static struct size size_of(const struct mig_geometry *g, int profile, uint64_t memory_mib)
{
    struct size s = {.slices = g->slices, .memory_mib = memory_mib, .suffix = ""};

    if (profile >= 0) {
        const struct mig_profile *p = &g->profiles[profile];
        return (struct size){p->slices, p->sm_count, p->memory_mib,
                             p->name + strcspn(p->name, "+-")};
    }
    for (int i = 0; i < g->profile_count; i++) {
        s.sm_count = g->profiles[i].sm_count > s.sm_count ? g->profiles[i].sm_count : s.sm_count;
    }
    return s;
}

static bool is_smaller(const struct size *a, const struct size *than)
{
    return a->slices <= than->slices && a->memory_mib <= than->memory_mib &&
           (a->slices < than->slices || a->memory_mib < than->memory_mib) &&
           !strcmp(a->suffix, than->suffix);
}

static bool would_hold(const struct size *a, const struct size *now,
                       const struct meter_stats *stats)
{
    double busy_sms = meter_stats_sm_mean(stats) / 100 * now->sm_count;

    if (a->memory_mib * 100 < stats->memory_peak_mib * (100 + METER_MEMORY_MARGIN_PERCENT)) {
        return false;
    }
    if (stats->sm_ms == 0) {
        return a->slices == now->slices && a->sm_count >= now->sm_count;
    }
    return busy_sms * 100 <= (double)a->sm_count * (100 - METER_SM_HEADROOM_PERCENT);
}

static bool is_cheaper(const struct size *a, const struct size *b, const struct meter_rates *rates)
{
    double price_a = a->slices * rates->compute_slot_hour +
                     (double)a->memory_mib / 1024 * rates->memory_gib_hour;
    double price_b = b->slices * rates->compute_slot_hour +
                     (double)b->memory_mib / 1024 * rates->memory_gib_hour;

    if (price_a < price_b || price_a > price_b) {
        return price_a < price_b;
    }
    return a->slices != b->slices ? a->slices < b->slices : a->memory_mib < b->memory_mib;
}

static bool is_known_enough(const struct meter_stats *stats, int64_t after_ms)
{
    uint64_t least = after_ms > 0 ? (uint64_t)after_ms : 0;

    return stats->covered_ms >= least && stats->memory_samples >= MEMORY_SAMPLES_LEAST &&
           stats->idle_ms * 100 <= stats->covered_ms * METER_MOSTLY_IDLE_PERCENT &&
           (!stats->can_sm || (stats->sm_ms && stats->sm_ms >= least));
}

bool meter_advise(const struct mig_geometry *geometry, int held, uint64_t memory_mib,
                  const struct meter_stats *stats, const struct meter_rates *rates,
                  int64_t after_ms, struct meter_advice *ret)
{
    struct size now = size_of(geometry, held, memory_mib), best = now;
    int found = MIG_PROFILE_NONE;

    if (!is_known_enough(stats, after_ms)) {
        return false;
    }
    for (int i = 0; i < geometry->profile_count; i++) {
        struct size s = size_of(geometry, i, 0);
        if (geometry->profiles[i].start_count > 0 && is_smaller(&s, &now) &&
            would_hold(&s, &now, stats) &&
            (found == MIG_PROFILE_NONE || is_cheaper(&s, &best, rates))) {
            found = i;
            best = s;
        }
    }
    if (found == MIG_PROFILE_NONE) {
        return false;
    }
    double busiest = meter_stats_sm_p95(stats) / 100 * now.sm_count;
    *ret = (struct meter_advice){.profile = found, .knows_sm = stats->sm_ms,
                                 .limits_peaks = stats->sm_ms && busiest > best.sm_count,
                                 .slices_saved = now.slices - best.slices,
                                 .memory_mib_saved = now.memory_mib - best.memory_mib};
    return true;
}
