#pragma once
#include "meter/stats.h"

/* What the daemon counts since its start, for GET /metrics: plain numbers that the loop adds to and
 * the API reads, of fixed size.  One thread. */

#define METER_BUCKETS 14
#define METER_EVENT_KINDS 64
#define METER_JOB_KINDS 16
#define METER_SLICES 16

/* Upper ends of the buckets, in seconds; what is longer is in none. */
extern const double meter_bucket_ends_s[METER_BUCKETS];

struct meter_histogram {
    uint64_t buckets[METER_BUCKETS]; /* each counts only its own */
    uint64_t count;
    double sum_s;
};

void meter_histogram_add(struct meter_histogram *h, double seconds);

struct meter_counters {
    uint64_t events[METER_EVENT_KINDS]; /* by the pool's kind of history */
    struct meter_histogram wait, grant; /* of leases: in the queue; from request to grant */
    struct meter_histogram decision;    /* one step of the pool */
    struct meter_histogram commit;      /* from handing a batch over to its being on disk */
    uint64_t commits;
    const char *job_names[METER_JOB_KINDS]; /* NULL: there is no such kind */
    struct meter_histogram jobs[METER_JOB_KINDS], job_waits; /* inside the driver; before it */
    uint64_t job_failures[METER_JOB_KINDS];
};

/* What was seen last of one GPU. */
struct meter_board {
    int64_t at_ms; /* 0: nothing yet */
    bool has_memory, has_power, has_energy, has_temperature, has_sm;
    uint64_t memory_used_mib, memory_total_mib, energy_mj;
    uint32_t power_mw, temperature_c;
    float sm_percent;
    unsigned slice_count; /* those that were looked at: leased ones */
    struct {
        uint8_t start, size;
        struct meter_sample sample;
    } slices[METER_SLICES];
};
