/* Counting for GET /metrics: what passes through the loop, and what samples show of the boards. */
#include "base/clock.h"
#include "daemon/daemon.h"
#include <string.h>

_Static_assert(POOL_HIST_COUNT <= METER_EVENT_KINDS, "kinds of events");
_Static_assert(DRIVER_KIND_COUNT <= METER_JOB_KINDS, "kinds of jobs");
_Static_assert(MIG_MAX_INSTANCES <= METER_SLICES, "slices");

#define NS 1e9

void count_init(struct daemon *d)
{
    for (int kind = 0; kind < DRIVER_EVENT; kind++) {
        d->counters.job_names[kind] = driver_kind_name((enum driver_kind)kind);
    }
    d->boards = xcalloc(driver_gpu_count(d->driver), sizeof(d->boards[0]));
}

void count_done(struct daemon *d)
{
    free(TAKE_PTR(d->boards));
}

void count_history(struct daemon *d, const struct pool_action *a)
{
    const struct pool_lease *l = pool_find_lease(d->pool, a->lease);

    d->counters.events[a->history]++;
    if (a->history == POOL_HIST_LEASE_GRANTED && l) {
        int64_t started_ms = l->started_ms ? l->started_ms : l->created_ms;
        meter_histogram_add(&d->counters.wait, (double)(started_ms - l->created_ms) / 1000);
        meter_histogram_add(&d->counters.grant, (double)(l->granted_ms - l->created_ms) / 1000);
    }
}

void count_decision(struct daemon *d, int64_t since_ns)
{
    meter_histogram_add(&d->counters.decision, (double)(clock_mono_ns() - since_ns) / NS);
}

/* One batch at a time is timed: many may share a commit, and each would say the same. */
void count_submit(struct daemon *d)
{
    if (!d->timed_batch) {
        d->timed_batch = d->submitted;
        d->timed_ns = clock_mono_ns();
    }
}

void count_commits(struct daemon *d, uint64_t before)
{
    d->counters.commits += d->committed - before;
    if (d->timed_batch && d->committed >= d->timed_batch) {
        meter_histogram_add(&d->counters.commit, (double)(clock_mono_ns() - d->timed_ns) / NS);
        d->timed_batch = 0;
    }
}

static void read_board(struct meter_board *b, const struct driver_sample *in, int64_t now_ms)
{
    *b = (struct meter_board){
        .at_ms = now_ms,
        .has_memory = in->read.valid & DRIVER_HAS_MEMORY,
        .memory_used_mib = in->read.memory_used_mib,
        .memory_total_mib = in->read.memory_total_mib,
        .has_power = in->read.valid & DRIVER_HAS_POWER,
        .power_mw = in->power_mw,
        .has_energy = in->read.valid & DRIVER_HAS_ENERGY,
        .energy_mj = in->energy_mj,
        .has_temperature = in->read.valid & DRIVER_HAS_TEMPERATURE,
        .temperature_c = in->temperature_c,
        .has_sm = in->read.valid & DRIVER_HAS_SM_UTIL,
        .sm_percent = in->read.sm_percent,
    };
    for (uint32_t i = 0; i < in->instance_count && i < METER_SLICES; i++) {
        b->slices[i].start = in->instances[i].start;
        b->slices[i].size = in->instances[i].size;
        b->slices[i].sample = sampling_read(&in->instances[i].read, (struct meter_sample){0});
        b->slice_count = i + 1;
    }
}

void count_result(struct daemon *d, const struct driver_result *r)
{
    if (r->kind >= DRIVER_EVENT) {
        return;
    }
    meter_histogram_add(&d->counters.jobs[r->kind], (double)r->driver_ns / NS);
    meter_histogram_add(&d->counters.job_waits, (double)r->queued_ns / NS);
    d->counters.job_failures[r->kind] += r->code != 0;
    if (r->kind == DRIVER_SAMPLE && r->code == 0 && r->sample.read.valid & ~DRIVER_HAS_PROCESSES) {
        read_board(&d->boards[r->gpu], &r->sample, daemon_now_ms(d));
    }
}
