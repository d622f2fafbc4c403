/* Everything is kept weighted by time, because samples come more rarely while nothing runs. */
#include "meter/stats.h"
#include <string.h>

#define MINUTE_MS 60000
#define BUCKET_PERCENT (100 / METER_SM_BUCKETS)

void meter_stats_init(struct meter_stats *stats, int64_t since_ms)
{
    *stats = (struct meter_stats){.last_ms = since_ms, .busy_ms = since_ms};
}

static bool is_idle(const struct meter_sample *s)
{
    if (s->has_sm) {
        return s->sm_percent < METER_IDLE_SM_PERCENT;
    }
    return s->has_processes && s->processes == 0;
}

static uint64_t positive(int64_t ms)
{
    return ms > 0 ? (uint64_t)ms : 0;
}

static void add_sm(struct meter_stats *stats, const struct meter_sample *s)
{
    unsigned bucket = (unsigned)s->sm_percent / BUCKET_PERCENT;
    uint64_t span = positive(s->sm_span_ms);

    stats->sm_ms += span;
    stats->sm_sum += (uint64_t)(s->sm_percent * 100.0f + 0.5f) * span;
    stats->sm_tenths[bucket < METER_SM_BUCKETS ? bucket : METER_SM_BUCKETS - 1] +=
        (uint32_t)((span + 50) / 100);
    if (s->sm_percent > stats->sm_peak) {
        stats->sm_peak = s->sm_percent;
    }
}

void meter_stats_add(struct meter_stats *stats, const struct meter_sample *s)
{
    uint64_t span = positive(s->span_ms);

    stats->samples++;
    stats->can_sm |= s->can_sm;
    stats->covered_ms += span;
    if (s->at_ms - s->span_ms > stats->last_ms + s->span_ms) {
        stats->busy_ms = s->at_ms - s->span_ms; /* nobody has looked: it may have worked */
    }
    if (is_idle(s)) {
        stats->idle_ms += span;
    } else {
        stats->busy_ms = s->at_ms;
    }
    if (s->has_sm) {
        add_sm(stats, s);
    }
    if (s->has_memory) {
        stats->memory_samples++;
        stats->memory_sum_mib += s->memory_used_mib;
        stats->memory_total_mib = s->memory_total_mib;
        if (s->memory_used_mib > stats->memory_peak_mib) {
            stats->memory_peak_mib = s->memory_used_mib;
        }
    }
    if (s->at_ms > stats->last_ms) {
        stats->last_ms = s->at_ms;
    }
    stats->last = *s;
}

double meter_stats_sm_mean(const struct meter_stats *stats)
{
    return stats->sm_ms ? (double)stats->sm_sum / (double)stats->sm_ms / 100 : -1;
}

double meter_stats_sm_p95(const struct meter_stats *stats)
{
    uint64_t all = 0, sum = 0;

    for (unsigned i = 0; i < METER_SM_BUCKETS; i++) {
        all += stats->sm_tenths[i];
    }
    for (unsigned i = 0; i < METER_SM_BUCKETS && all; i++) {
        sum += stats->sm_tenths[i];
        if (sum * 100 >= all * 95) {
            double upper = (i + 1) * BUCKET_PERCENT;
            return upper < (double)stats->sm_peak ? upper : (double)stats->sm_peak;
        }
    }
    return -1;
}

double meter_stats_memory_peak_percent(const struct meter_stats *stats)
{
    return stats->memory_total_mib
               ? 100.0 * (double)stats->memory_peak_mib / (double)stats->memory_total_mib
               : -1;
}

int64_t meter_stats_idle_for_ms(const struct meter_stats *stats)
{
    return stats->last_ms > stats->busy_ms ? stats->last_ms - stats->busy_ms : 0;
}

/* --- the last hour -------------------------------------------------------------------------- */

static void advance(struct meter_hour *hour, int64_t minute)
{
    if (hour->newest == 0 || minute - hour->newest >= METER_MINUTES) {
        memset(hour->minute, METER_UNKNOWN, sizeof(hour->minute));
    } else {
        for (int64_t m = hour->newest + 1; m <= minute; m++) {
            hour->minute[m % METER_MINUTES] = (struct meter_minute){METER_UNKNOWN, METER_UNKNOWN};
        }
    }
    hour->newest = minute;
    hour->sm_ms = hour->sm_sum = 0;
}

void meter_hour_add(struct meter_hour *hour, const struct meter_sample *s)
{
    int64_t minute = s->at_ms / MINUTE_MS;

    if (s->at_ms <= 0 || (hour->newest && minute < hour->newest)) {
        return; /* a clock that went back: the past is not written anew */
    }
    if (minute != hour->newest) {
        advance(hour, minute);
    }
    struct meter_minute *to = &hour->minute[minute % METER_MINUTES];
    if (s->has_sm && s->sm_span_ms > 0) {
        hour->sm_ms += (uint64_t)s->sm_span_ms;
        hour->sm_sum += (uint64_t)(s->sm_percent * 100.0f + 0.5f) * (uint64_t)s->sm_span_ms;
        to->sm_percent = (uint8_t)((hour->sm_sum / hour->sm_ms + 50) / 100);
    }
    if (s->has_memory && s->memory_total_mib) {
        uint64_t percent = (s->memory_used_mib * 100 + s->memory_total_mib / 2) /
                           s->memory_total_mib;
        percent = percent > 100 ? 100 : percent;
        if (to->memory_percent == METER_UNKNOWN || percent > to->memory_percent) {
            to->memory_percent = (uint8_t)percent;
        }
    }
}

struct meter_minute meter_hour_get(const struct meter_hour *hour, unsigned ago)
{
    if (ago >= METER_MINUTES || (int64_t)ago >= hour->newest) {
        return (struct meter_minute){METER_UNKNOWN, METER_UNKNOWN};
    }
    return hour->minute[(hour->newest - ago) % METER_MINUTES];
}
