/* What would fit leases better: which lease, in words, from what meter/advice.h works out. */
#include "api/usage.h"
#include "base/text.h"
#include "meter/advice.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t milli(double value)
{
    return (int64_t)llround(value * 1000);
}

/* What each part of the lease is: its GPU and the index of its profile there, MIG_PROFILE_NONE for
 * a whole GPU.  False: nothing that could be smaller, or parts of different kinds. */
static bool find_kind(const struct api *api, const struct meter_row *row,
                      const struct pool_gpu **ret_gpu, int *ret_profile)
{
    const struct pool_gpu *gpu = *row->gpu ? pool_find_gpu(api->host.pool, row->gpu) : NULL;

    if (!gpu || !gpu->geometry || !gpu->is_managed) {
        return false;
    }
    *ret_gpu = gpu;
    if (!strcmp(row->profile, "gpu")) {
        *ret_profile = MIG_PROFILE_NONE;
        return gpu->info.is_mig_enabled || gpu->mig_policy == POOL_MIG_ON_DEMAND;
    }
    /* A compute instance inside a slice is not in the table: what it uses is not told apart. */
    *ret_profile = mig_profile_by_name(gpu->geometry, row->profile);
    return *ret_profile != MIG_PROFILE_NONE;
}

/* "58m", "2h 10m". */
static const char *span(int64_t ms, char buf[static 32])
{
    int64_t m = ms / 60000, s = ms / 1000;

    if (m >= 60) {
        snprintf(buf, 32, "%lldh %lldm", (long long)(m / 60), (long long)(m % 60));
    } else if (m > 0) {
        snprintf(buf, 32, "%lldm", (long long)m);
    } else {
        snprintf(buf, 32, "%llds", (long long)s);
    }
    return buf;
}

static double hours_held(const struct api *api, const struct meter_row *row)
{
    int64_t end = row->until_ms ? row->until_ms : api_now_ms(api);

    return end > row->since_ms ? (double)(end - row->since_ms) / API_HOUR_MS : 0;
}

struct saving {
    double slot_hours, gib_hours;
};

static void add_entry(const struct api *api, const struct meter_row *row, const char *better,
                      const struct saving *s, const char *message, struct json_out *w)
{
    const struct meter *meter = api->host.meter;

    json_out_object(w, NULL);
    json_out_str(w, "kind", better ? "smaller" : "idle");
    json_out_id(w, "lease", "l", row->lease);
    json_out_str(w, "tenant", row->tenant);
    json_out_bool(w, "active", row->until_ms == 0);
    json_out_str(w, "profile", row->profile);
    json_out_text(w, "better_profile", better);
    json_out_str(w, "message", message);
    json_out_int(w, "samples", row->stats->samples);
    json_out_milli(w, "sampled_hours", milli((double)row->stats->covered_ms / API_HOUR_MS));
    json_out_milli(w, "idle_s", meter_stats_idle_for_ms(row->stats));
    json_out_milli(w, "saves_compute_slot_hours", milli(s->slot_hours));
    json_out_milli(w, "saves_memory_gib_hours", milli(s->gib_hours));
    api_add_cost(w, "saves_cost", meter, meter_price(meter, s->slot_hours, s->gib_hours));
    json_out_end_object(w);
}

static void describe_use(const struct meter_row *row, const struct meter_advice *advice,
                         struct buf *text)
{
    const struct meter_stats *stats = row->stats;
    char for_text[32];

    buf_addf(text, "it used at most %.1f of %.1f GiB", (double)stats->memory_peak_mib / 1024,
             (double)stats->memory_total_mib / 1024);
    if (advice->knows_sm) {
        buf_addf(text, " and %.0f %% of its multiprocessors on average",
                 meter_stats_sm_mean(stats));
    } else {
        buf_adds(text, " (this GPU does not tell how busy a slice is)");
    }
    buf_addf(text, ", by %u samples over %s", stats->samples,
             span((int64_t)stats->covered_ms, for_text));
    if (advice->limits_peaks) {
        buf_adds(text, "; its busiest moments would take longer there");
    }
}

static void add_smaller(const struct api *api, const struct meter_row *row, struct json_out *w)
{
    const struct pool_gpu *gpu = NULL;
    struct meter_advice advice = {0};
    int held = MIG_PROFILE_NONE;

    if (!find_kind(api, row, &gpu, &held)) {
        return;
    }
    uint64_t memory_mib = gpu->info.memory_mib;
    if (!meter_advise(gpu->geometry, held, memory_mib, row->stats, meter_rates(api->host.meter),
                      api->host.advice_after_ms, &advice)) {
        return;
    }
    const char *better = gpu->geometry->profiles[advice.profile].name;
    unsigned each = held >= 0 ? gpu->geometry->profiles[held].slices : gpu->geometry->slices;
    unsigned count = each && row->load.compute_slots > each ? row->load.compute_slots / each : 1;
    double hours = hours_held(api, row) * count;
    struct saving s = {.slot_hours = advice.slices_saved * hours,
                       .gib_hours = (double)advice.memory_mib_saved / 1024 * hours};
    CLEANUP(buf_done) struct buf text = BUF_INIT(512);
    buf_addf(&text, "%s %s in place of %s: ", better,
             row->until_ms ? "would have done" : "would do", row->profile);
    describe_use(row, &advice, &text);
    add_entry(api, row, better, &s, text.data, w);
}

static void add_idle(const struct api *api, const struct meter_row *row, struct json_out *w)
{
    int64_t idle_ms = meter_stats_idle_for_ms(row->stats);
    char for_text[32], message[160];
    struct saving s = {.slot_hours = (double)idle_ms / API_HOUR_MS * row->load.compute_slots,
                       .gib_hours = (double)idle_ms / API_HOUR_MS *
                                    (double)row->load.memory_mib / 1024};

    if (row->until_ms || row->stats->samples == 0 || idle_ms < api->host.idle_after_ms) {
        return;
    }
    snprintf(message, sizeof(message), "it has done nothing for %s; 'tangram release l-%llu' gives "
             "it back", span(idle_ms, for_text), (unsigned long long)row->lease);
    add_entry(api, row, NULL, &s, message, w);
}

void api_add_advice(struct api *api, const struct meter_row *row, struct json_out *w)
{
    add_idle(api, row, w);
    add_smaller(api, row, w);
}

struct listing {
    struct api *api;
    struct json_out *w;
    bool is_all;
};

static void add_row(const struct meter_row *row, void *arg)
{
    struct listing *l = arg;

    if (l->is_all || !row->until_ms) {
        api_add_advice(l->api, row, l->w);
    }
}

void api_get_advice(struct api_call *call)
{
    struct api *api = call->api;
    struct meter_query q = {.by = METER_BY_LEASE, .now_ms = api_now_ms(api)};

    if (!api_usage_tenant(call, &q.tenant)) {
        return;
    }
    struct json_out w = api_begin(api);
    struct listing l = {.api = api, .w = &w, .is_all = api_bool(call->query, "all")};
    json_out_object(&w, NULL);
    json_out_text(&w, "currency", meter_rates(api->host.meter)->currency);
    json_out_array(&w, "advice");
    meter_query(api->host.meter, &q, add_row, &l);
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}
