#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What samples of one lease come to: a few sums, the highest values, a histogram of the activity
 * and the last hour by minutes.  The size is fixed however long a lease lives.  Pure. */

/* One look at one slice (or whole GPU) of a lease.  What was not told is not there. */
struct meter_sample {
    int64_t at_ms;   /* when it was taken */
    int64_t span_ms; /* it stands for that long before at_ms */
    bool has_memory, has_sm, has_processes;
    bool can_sm; /* the GPU measures activity, even if there is no value this time */
    uint32_t processes;
    uint64_t memory_used_mib, memory_total_mib;
    float sm_percent; /* share of the multiprocessors at work, mean over sm_span_ms */
    int64_t sm_span_ms;
};

/* Below this activity a slice counts as idle; one without a process does in any case. */
#define METER_IDLE_SM_PERCENT 1.0f

#define METER_SM_BUCKETS 20
#define METER_MINUTES 60
#define METER_UNKNOWN 255

struct meter_stats {
    uint32_t samples, memory_samples;
    int64_t last_ms; /* of the last sample; at first since when it is watched */
    int64_t busy_ms; /* it was at work, or nobody looked, until then */
    uint64_t covered_ms, idle_ms; /* stood for by samples; of that, idle */
    uint64_t sm_ms, sm_sum; /* measured; hundredths of a percent times ms */
    float sm_peak;
    uint32_t sm_tenths[METER_SM_BUCKETS]; /* tenths of seconds at 0..5, 5..10, ... percent */
    uint64_t memory_sum_mib, memory_peak_mib, memory_total_mib;
    bool can_sm;
    struct meter_sample last;
};

void meter_stats_init(struct meter_stats *stats, int64_t since_ms);
void meter_stats_add(struct meter_stats *stats, const struct meter_sample *sample);
/* -1: not known. */
double meter_stats_sm_mean(const struct meter_stats *stats);
/* The activity that is not passed during 95 % of the time, to 5 percent; -1: not known. */
double meter_stats_sm_p95(const struct meter_stats *stats);
double meter_stats_memory_peak_percent(const struct meter_stats *stats);
/* How long it has been idle without a break, as of the last sample. */
int64_t meter_stats_idle_for_ms(const struct meter_stats *stats);

/* The last hour by minutes: mean activity and highest memory in percent, or METER_UNKNOWN. */
struct meter_minute {
    uint8_t sm_percent, memory_percent;
};

struct meter_hour {
    int64_t newest; /* number of the newest minute since 1970; 0 none yet */
    uint64_t sm_ms, sm_sum; /* of the newest */
    struct meter_minute minute[METER_MINUTES]; /* by number modulo METER_MINUTES */
};

void meter_hour_add(struct meter_hour *hour, const struct meter_sample *sample);
/* The minute that many before the newest. */
struct meter_minute meter_hour_get(const struct meter_hour *hour, unsigned ago);
