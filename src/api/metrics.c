/* GET /metrics: the text format of Prometheus (0.0.4).
 *
 * One table, one row per metric: how it is named (unit and `_total` in the name, as Prometheus
 * wants it), what it is, what it means, and a function that writes its samples.
 * docs/howto-metric.md says how to add one.  How many samples there can be is bounded by the
 * hardware and by our own lists: no label holds a tenant's name, a lease's number or any other text
 * of a client. */
#include "api/call.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIB 1048576.0
#define STALE_ROUNDS 9 /* a quiet GPU is looked at in full every sixth round */

struct metric;

struct writer {
    const struct api *api;
    const struct metric *metric;
    struct buf *b;
    int64_t now_ms;
    struct api_facts facts;
    char name[24];
};

struct metric {
    const char *name, *type, *help;
    void (*write)(struct writer *w);
};

/* --- writing -------------------------------------------------------------------------------- */

static void add_label_value(struct buf *b, const char *value)
{
    for (const char *p = value; *p; p++) {
        if (*p == '\n') {
            buf_adds(b, "\\n");
        } else {
            buf_adds(b, *p == '\\' || *p == '"' ? "\\" : "");
            buf_add(b, p, 1);
        }
    }
}

/* name suffix{label="value",...} number; `labels` are pairs, ended by NULL, or NULL. */
static void put_part(struct writer *w, const char *suffix, const char *const *labels, double value)
{
    buf_adds(w->b, w->metric->name);
    buf_adds(w->b, suffix);
    for (size_t i = 0; labels && labels[i]; i += 2) {
        buf_addf(w->b, "%s%s=\"", i ? "," : "{", labels[i]);
        add_label_value(w->b, labels[i + 1]);
        buf_adds(w->b, labels[i + 2] ? "\"" : "\"}");
    }
    buf_addf(w->b, " %.15g\n", value);
}

#define PUT(w, value, ...)                                                                         \
    put_part(w, "", (const char *const[]){__VA_ARGS__ __VA_OPT__(,) NULL}, value)

static void put_histogram(struct writer *w, const struct meter_histogram *h, const char *label,
                          const char *label_value)
{
    const char *plain[] = {label, label_value, NULL};
    uint64_t below = 0;

    for (unsigned i = 0; i <= METER_BUCKETS; i++) {
        char end[32] = "+Inf";
        if (i < METER_BUCKETS) {
            below += h->buckets[i];
            snprintf(end, sizeof(end), "%g", meter_bucket_ends_s[i]);
        }
        const char *with_label[] = {label, label_value, "le", end, NULL};
        put_part(w, "_bucket", label ? with_label : with_label + 2,
                 (double)(i < METER_BUCKETS ? below : h->count));
    }
    put_part(w, "_sum", label ? plain : NULL, h->sum_s);
    put_part(w, "_count", label ? plain : NULL, (double)h->count);
}

/* --- GPUs ----------------------------------------------------------------------------------- */

static void each_gpu(struct writer *w, void (*put)(struct writer *w, const struct pool_gpu *gpu))
{
    for (unsigned i = 0; i < pool_gpu_count(w->api->host.pool); i++) {
        put(w, pool_gpu(w->api->host.pool, i));
    }
}

/* Every GPU has one of its own, also one that has not told its UUID. */
static const char *name_of(struct writer *w, const struct pool_gpu *gpu)
{
    if (gpu->info.uuid[0]) {
        return gpu->info.uuid;
    }
    snprintf(w->name, sizeof(w->name), "unknown-%u", gpu->id);
    return w->name;
}

static void put_info(struct writer *w, const struct pool_gpu *gpu)
{
    char index[16];

    snprintf(index, sizeof(index), "%u", gpu->info.index);
    PUT(w, 1, "gpu", name_of(w, gpu), "index", index, "model", gpu->info.name);
}

static void write_info(struct writer *w)
{
    each_gpu(w, put_info);
}

static void put_up(struct writer *w, const struct pool_gpu *gpu)
{
    PUT(w, gpu->health == POOL_HEALTH_OK, "gpu", name_of(w, gpu));
}

static void write_up(struct writer *w)
{
    each_gpu(w, put_up);
}

static void put_slots(struct writer *w, const struct pool_gpu *gpu)
{
    PUT(w, gpu->geometry ? gpu->geometry->slices : 1, "gpu", name_of(w, gpu));
}

static void write_slots(struct writer *w)
{
    each_gpu(w, put_slots);
}

static void put_leased(struct writer *w, const struct pool_gpu *gpu)
{
    unsigned leased = gpu->lease ? (gpu->geometry ? gpu->geometry->slices : 1) : 0;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        for (unsigned c = 0; c < s->ci_count && s->state == POOL_SLICE_LEASED; c++) {
            leased += s->ci[c].lease ? s->ci[c].compute_slots : 0;
        }
    }
    PUT(w, leased, "gpu", name_of(w, gpu));
}

static void write_leased(struct writer *w)
{
    each_gpu(w, put_leased);
}

static void put_slices(struct writer *w, const struct pool_gpu *gpu)
{
    unsigned counts[POOL_SLICE_STATE_COUNT] = {0};

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        counts[gpu->slices[i]->state]++;
    }
    for (int s = 0; s < POOL_SLICE_STATE_COUNT; s++) {
        PUT(w, counts[s], "gpu", name_of(w, gpu), "state",
            pool_slice_state_name((enum pool_slice_state)s));
    }
}

static void write_slices(struct writer *w)
{
    each_gpu(w, put_slices);
}

/* What samples have shown of it; NULL when that is not known, or too long ago. */
static const struct meter_board *board_of(const struct writer *w, const struct pool_gpu *gpu)
{
    const struct api_host *host = &w->api->host;
    const struct meter_board *b = host->boards && gpu->id < host->board_count
                                      ? &host->boards[gpu->id] : NULL;

    return b && b->at_ms && w->now_ms - b->at_ms <= STALE_ROUNDS * host->sample_interval_ms ? b
                                                                                            : NULL;
}

#define BOARD(what, has, value)                                                                    \
    static void put_board_##what(struct writer *w, const struct pool_gpu *gpu)                     \
    {                                                                                              \
        const struct meter_board *b = board_of(w, gpu);                                            \
        if (b && b->has) {                                                                         \
            PUT(w, value, "gpu", name_of(w, gpu));                                                 \
        }                                                                                          \
    }                                                                                              \
    static void write_board_##what(struct writer *w)                                               \
    {                                                                                              \
        each_gpu(w, put_board_##what);                                                             \
    }

BOARD(memory, has_memory, (double)b->memory_total_mib *MIB)
BOARD(used, has_memory, (double)b->memory_used_mib *MIB)
BOARD(power, has_power, b->power_mw / 1e3)
BOARD(energy, has_energy, (double)b->energy_mj / 1e3)
BOARD(temperature, has_temperature, b->temperature_c)
BOARD(sm, has_sm, (double)b->sm_percent / 100)

/* --- leased slices -------------------------------------------------------------------------- */

/* A slice that was cut anew since the sample is another one. */
static void put_slice(struct writer *w, const struct pool_gpu *gpu, unsigned start, unsigned size,
                      double value)
{
    const struct pool_slice *s = pool_slice_at(gpu, start);
    char where[16];

    if (s && s->size == size && s->state == POOL_SLICE_LEASED) {
        snprintf(where, sizeof(where), "%u:%u", s->start, s->size);
        PUT(w, value, "gpu", name_of(w, gpu), "slice", where, "profile", s->profile_name);
    }
}

#define SLICE(what, has, value)                                                                    \
    static void put_slice_##what(struct writer *w, const struct pool_gpu *gpu)                     \
    {                                                                                              \
        const struct meter_board *b = board_of(w, gpu);                                            \
        for (unsigned i = 0; b && i < b->slice_count; i++) {                                       \
            const struct meter_sample *s = &b->slices[i].sample;                                   \
            if (s->has) {                                                                          \
                put_slice(w, gpu, b->slices[i].start, b->slices[i].size, value);                   \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void write_slice_##what(struct writer *w)                                               \
    {                                                                                              \
        each_gpu(w, put_slice_##what);                                                             \
    }

SLICE(memory, has_memory, (double)s->memory_total_mib *MIB)
SLICE(used, has_memory, (double)s->memory_used_mib *MIB)
SLICE(processes, has_processes, s->processes)
SLICE(sm, has_sm, (double)s->sm_percent / 100)

/* --- the daemon ----------------------------------------------------------------------------- */

static void write_build(struct writer *w)
{
    PUT(w, 1, "version", TANGRAM_VERSION, "driver_version",
        w->facts.driver_version ? w->facts.driver_version : "");
}

static void write_start(struct writer *w)
{
    PUT(w, (double)w->facts.started_ms / 1000);
}

static void write_ready(struct writer *w)
{
    PUT(w, !w->facts.not_ready && !w->facts.store_problem && !w->facts.is_shutting_down);
}

static void write_store(struct writer *w)
{
    PUT(w, w->facts.store_problem != NULL);
}

static void write_events(struct writer *w)
{
    for (int kind = 0; kind < POOL_HIST_COUNT; kind++) {
        PUT(w, (double)w->api->host.counters->events[kind], "kind",
            pool_history_name((enum pool_history)kind));
    }
}

static void write_decision(struct writer *w)
{
    put_histogram(w, &w->api->host.counters->decision, NULL, NULL);
}

static void write_commits(struct writer *w)
{
    PUT(w, (double)w->api->host.counters->commits);
}

static void write_commit(struct writer *w)
{
    put_histogram(w, &w->api->host.counters->commit, NULL, NULL);
}

/* --- leases --------------------------------------------------------------------------------- */

static void write_leases(struct writer *w)
{
    uint64_t counts[POOL_LEASE_STATE_COUNT] = {0};
    const struct pool *pool = w->api->host.pool;

    for (const struct pool_lease *l = pool_next_lease(pool, NULL); l;
         l = pool_next_lease(pool, l)) {
        counts[l->state]++;
    }
    for (int s = POOL_LEASE_QUEUED; s < POOL_LEASE_RELEASED; s++) {
        PUT(w, (double)counts[s], "state", pool_lease_state_name((enum pool_lease_state)s));
    }
}

static void write_oldest(struct writer *w)
{
    const struct pool *pool = w->api->host.pool;
    int64_t oldest_ms = w->now_ms;

    for (const struct pool_lease *l = pool_next_queued(pool, NULL); l;
         l = pool_next_queued(pool, l)) {
        oldest_ms = l->created_ms < oldest_ms ? l->created_ms : oldest_ms;
    }
    PUT(w, (double)(w->now_ms - oldest_ms) / 1000);
}

static void write_wait(struct writer *w)
{
    put_histogram(w, &w->api->host.counters->wait, NULL, NULL);
}

static void write_grant(struct writer *w)
{
    put_histogram(w, &w->api->host.counters->grant, NULL, NULL);
}

struct held {
    double slot_ms, mib_ms;
};

static void add_held(const struct meter_row *row, void *arg)
{
    struct held *h = arg;

    h->slot_ms += (double)row->sums.compute_slot_ms;
    h->mib_ms += (double)row->sums.memory_mib_ms;
}

static struct held held_of(const struct writer *w)
{
    struct meter_query q = {.by = METER_BY_TENANT, .now_ms = w->now_ms};
    struct held h = {0};

    meter_query(w->api->host.meter, &q, add_held, &h);
    return h;
}

static void write_slot_seconds(struct writer *w)
{
    PUT(w, held_of(w).slot_ms / 1000);
}

static void write_byte_seconds(struct writer *w)
{
    PUT(w, held_of(w).mib_ms / 1000 * MIB);
}

/* --- the driver ----------------------------------------------------------------------------- */

static void write_jobs(struct writer *w)
{
    const struct meter_counters *c = w->api->host.counters;

    for (unsigned i = 0; i < METER_JOB_KINDS; i++) {
        if (c->job_names[i]) {
            put_histogram(w, &c->jobs[i], "job", c->job_names[i]);
        }
    }
}

static void write_job_failures(struct writer *w)
{
    const struct meter_counters *c = w->api->host.counters;

    for (unsigned i = 0; i < METER_JOB_KINDS; i++) {
        if (c->job_names[i]) {
            PUT(w, (double)c->job_failures[i], "job", c->job_names[i]);
        }
    }
}

static void write_job_waits(struct writer *w)
{
    put_histogram(w, &w->api->host.counters->job_waits, NULL, NULL);
}

/* --- the table ------------------------------------------------------------------------------ */

#define GAUGE "gauge"
#define COUNTER "counter"
#define HISTOGRAM "histogram"

static const struct metric metrics[] = {
    {"tangram_build_info", GAUGE, "Versions of tangramd and of the driver; always 1.", write_build},
    {"tangram_start_time_seconds", GAUGE, "When tangramd started, in seconds since 1970.",
     write_start},
    {"tangram_ready", GAUGE, "1 when leases can be served (as /readyz).", write_ready},
    {"tangram_journal_failed", GAUGE, "1 while the journal cannot be written.", write_store},
    {"tangram_events_total", COUNTER, "What happened since the start, by kind.", write_events},
    {"tangram_decision_seconds", HISTOGRAM, "Time that one event took to be decided about.",
     write_decision},
    {"tangram_commits_total", COUNTER, "Batches that have reached the disk.", write_commits},
    {"tangram_commit_seconds", HISTOGRAM,
     "From handing a batch to the journal to its being on disk; one batch at a time is timed.",
     write_commit},
    {"tangram_leases", GAUGE, "Leases that have not ended, by state.", write_leases},
    {"tangram_queue_oldest_seconds", GAUGE, "How long the oldest request in the queue has waited.",
     write_oldest},
    {"tangram_lease_wait_seconds", HISTOGRAM, "Time that granted leases had spent in the queue.",
     write_wait},
    {"tangram_lease_grant_seconds", HISTOGRAM, "From the request to the grant.", write_grant},
    {"tangram_leased_compute_slot_seconds_total", COUNTER,
     "Compute slots times seconds held by leases, ever.", write_slot_seconds},
    {"tangram_leased_memory_byte_seconds_total", COUNTER,
     "Bytes of GPU memory times seconds held by leases, ever.", write_byte_seconds},
    {"tangram_driver_job_seconds", HISTOGRAM, "Time inside the driver, by job.", write_jobs},
    {"tangram_driver_job_failures_total", COUNTER, "Jobs that the driver did not do, by job.",
     write_job_failures},
    {"tangram_driver_job_wait_seconds", HISTOGRAM,
     "Time that jobs waited for the worker of their GPU.", write_job_waits},
    {"tangram_gpu_info", GAUGE, "A GPU with its index and model; always 1.", write_info},
    {"tangram_gpu_up", GAUGE, "1 when the GPU answers.", write_up},
    {"tangram_gpu_compute_slots", GAUGE, "Compute slots that the GPU has.", write_slots},
    {"tangram_gpu_leased_compute_slots", GAUGE, "Compute slots of it that leases hold.",
     write_leased},
    {"tangram_gpu_slices", GAUGE, "Slices on the GPU, by state.", write_slices},
    {"tangram_gpu_memory_bytes", GAUGE,
     "Memory of the GPU. This and what follows is of GPUs with leases, from the last sample.",
     write_board_memory},
    {"tangram_gpu_memory_used_bytes", GAUGE, "Memory of the GPU in use.", write_board_used},
    {"tangram_gpu_power_watts", GAUGE, "Power that the GPU draws.", write_board_power},
    {"tangram_gpu_energy_joules_total", COUNTER, "Energy used since the driver was loaded.",
     write_board_energy},
    {"tangram_gpu_temperature_celsius", GAUGE, "Temperature of the GPU.",
     write_board_temperature},
    {"tangram_gpu_sm_active_ratio", GAUGE, "Share of the GPU's multiprocessors at work.",
     write_board_sm},
    {"tangram_slice_memory_bytes", GAUGE, "Memory of a leased slice.", write_slice_memory},
    {"tangram_slice_memory_used_bytes", GAUGE, "Memory of a leased slice in use.",
     write_slice_used},
    {"tangram_slice_processes", GAUGE, "Processes on a leased slice.", write_slice_processes},
    {"tangram_slice_sm_active_ratio", GAUGE, "Share of a leased slice's multiprocessors at work.",
     write_slice_sm},
};

void api_get_metrics(struct api_call *call)
{
    struct api *api = call->api;
    struct writer w = {.api = api, .b = &api->out, .now_ms = api_now_ms(api)};

    (void)api_begin(api);
    api->host.facts(api->host.userdata, &w.facts);
    for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
        w.metric = &metrics[i];
        buf_addf(w.b, "# HELP %s %s\n# TYPE %s %s\n", w.metric->name, w.metric->help,
                 w.metric->name, w.metric->type);
        w.metric->write(&w);
    }
    if (api->out.is_full) {
        api_problem(call, 500, "too_large", NULL, "the answer would be too large");
    } else if (call->req) {
        http_reply_bytes(TAKE_PTR(call->req), 200, "text/plain; version=0.0.4; charset=utf-8",
                         api->out.data, api->out.len);
    }
}
