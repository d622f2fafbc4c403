/* Who used how much, and what it costs.  A tenant sees its own usage; viewers and operators, whom
 * the configuration names as such, see all. */
#include "api/call.h"
#include "api/usage.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t milli(double value)
{
    return (int64_t)llround(value * 1000);
}

bool api_usage_tenant(struct api_call *call, const char **ret_tenant)
{
    const char *tenant = api_str(call->query, "tenant");

    if (call->who.role != POOL_ROLE_TENANT) {
        *ret_tenant = tenant;
        return true;
    }
    if (tenant && strcmp(tenant, call->who.tenant) != 0) {
        api_problem(call, 403, "forbidden", NULL,
                    "%s is a tenant here and sees what it used itself, not what %.63s used",
                    call->who.tenant, tenant);
        return false;
    }
    *ret_tenant = call->who.tenant;
    return true;
}

void api_add_percent(struct json_out *w, const char *name, double percent)
{
    if (percent >= 0) {
        json_out_milli(w, name, milli(percent));
    } else {
        json_out_null(w, name);
    }
}

void api_add_cost(struct json_out *w, const char *name, const struct meter *meter, double cost)
{
    if (meter_rates(meter)->currency[0]) {
        json_out_milli(w, name, milli(cost));
    } else {
        json_out_null(w, name);
    }
}

static void add_day(struct json_out *w, int64_t day)
{
    char text[32];

    if (day < 0) {
        json_out_null(w, "day");
    } else {
        json_out_strn(w, "day", text_format_time_ms(day * METER_DAY_MS, text), 10);
    }
}

static void add_measured(struct json_out *w, const struct meter_row *row)
{
    const struct meter_stats *stats = row->stats;
    const struct meter_sums *sums = &row->sums;

    json_out_int(w, "samples", stats ? stats->samples : 0);
    json_out_milli(w, "sampled_hours", milli((double)sums->covered_ms / API_HOUR_MS));
    api_add_percent(w, "idle_percent", meter_sums_idle(sums));
    api_add_percent(w, "sm_mean_percent", meter_sums_sm_mean(sums));
    api_add_percent(w, "sm_p95_percent", stats ? meter_stats_sm_p95(stats) : -1);
    api_add_percent(w, "sm_peak_percent", sums->sm_ms ? sums->sm_peak / 100.0 : -1);
    if (stats && stats->memory_samples) {
        json_out_int(w, "memory_peak_mib", (int64_t)stats->memory_peak_mib);
    } else {
        json_out_null(w, "memory_peak_mib");
    }
    api_add_percent(w, "memory_peak_percent",
                    sums->memory_peak ? sums->memory_peak / 100.0 : -1);
}

void api_add_usage_row(struct json_out *w, const char *name, const struct meter *meter,
                       const struct meter_row *row)
{
    json_out_object(w, name);
    json_out_str(w, "tenant", row->tenant);
    json_out_text(w, "profile", row->profile);
    add_day(w, row->day);
    json_out_id(w, "lease", "l", row->lease);
    json_out_time(w, "granted_at", row->since_ms);
    json_out_time(w, "ended_at", row->until_ms);
    json_out_int(w, "leases", (int64_t)row->sums.leases);
    json_out_int(w, "active_leases", row->active_leases);
    json_out_int(w, "active_compute_slots", row->active.compute_slots);
    json_out_int(w, "active_memory_mib", (int64_t)row->active.memory_mib);
    json_out_milli(w, "compute_slot_hours", milli(row->compute_slot_hours));
    json_out_milli(w, "memory_gib_hours", milli(row->memory_gib_hours));
    api_add_cost(w, "cost", meter, row->cost);
    add_measured(w, row);
    json_out_end_object(w);
}

/* --- /v1/usage ------------------------------------------------------------------------------ */

struct listing {
    struct json_out *w;
    const struct meter *meter;
    unsigned rows;
};

static void add_row(const struct meter_row *row, void *arg)
{
    struct listing *l = arg;

    api_add_usage_row(l->w, NULL, l->meter, row);
    l->rows++;
}

static bool gpu_has_profile(const struct mig_geometry *g, const char *name)
{
    for (int p = 0; g && p < g->profile_count; p++) {
        for (int c = 0; c < g->profiles[p].compute_count; c++) {
            if (!strcmp(g->profiles[p].compute[c].name, name)) {
                return true;
            }
        }
        if (!strcmp(g->profiles[p].name, name)) {
            return true;
        }
    }
    return false;
}

/* Could a lease here have had it?  What is not cut into slices is "gpu", slices of several kinds
 * are "mixed". */
static bool is_profile_here(const struct pool *pool, const char *name)
{
    bool is_here = !strcmp(name, "gpu") || !strcmp(name, "mixed");

    for (unsigned i = 0; !is_here && i < pool_gpu_count(pool); i++) {
        is_here = gpu_has_profile(pool_gpu(pool, i)->geometry, name);
    }
    return is_here;
}

static void refuse_profile(struct api_call *call, const char *asked)
{
    const struct pool *pool = call->api->host.pool;
    CLEANUP(buf_done) struct buf known = BUF_INIT(400);
    const struct mig_geometry *last = NULL;

    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        const struct mig_geometry *g = pool_gpu(pool, i)->geometry;
        for (int p = 0; g && g != last && p < g->profile_count; p++) {
            char name[MIG_NAME_BYTES + 2];
            snprintf(name, sizeof(name), "%s, ", g->profiles[p].name);
            if (!known.data || !strstr(known.data, name)) {
                buf_adds(&known, name);
            }
        }
        last = g;
    }
    api_problem(call, 400, "unknown_profile", NULL,
                "profile: there is no usage of a '%s', and no GPU here has it; known are: %sgpu, "
                "mixed", asked, known.data ? known.data : "");
}

/* A time of the query; 0 without.  False: it was answered. */
static bool read_time(struct api_call *call, const char *name, int64_t now_ms, int64_t *ret_ms)
{
    const char *text = api_str(call->query, name);
    struct error err = {0};

    if (text && text_parse_time_ms(text, now_ms, ret_ms, &err) < 0) {
        api_problem(call, 400, "bad_field", NULL, "%s: %s", name, err.msg);
        return false;
    }
    return true;
}

static enum meter_by by_of(const struct api_call *call)
{
    static const char *const names[] = {
        [METER_BY_TENANT] = "tenant",
        [METER_BY_PROFILE] = "profile",
        [METER_BY_DAY] = "day",
        [METER_BY_LEASE] = "lease",
    };
    const char *by = api_str(call->query, "by");

    for (size_t i = 0; by && i < ARRAY_SIZE(names); i++) {
        if (!strcmp(names[i], by)) {
            return (enum meter_by)i;
        }
    }
    return METER_BY_TENANT;
}

/* Sums are kept by day: what was asked for grows to whole ones, and the answer says so. */
static void widen(struct meter_query *q)
{
    if (q->by != METER_BY_LEASE && q->since_ms) {
        q->since_ms -= q->since_ms % METER_DAY_MS;
    }
    if (q->by != METER_BY_LEASE && q->until_ms) {
        q->until_ms += METER_DAY_MS - 1;
        q->until_ms -= q->until_ms % METER_DAY_MS;
    }
}

void api_get_usage(struct api_call *call)
{
    struct meter *meter = call->api->host.meter;
    const char *by = api_str(call->query, "by");
    struct meter_query q = {.by = by_of(call), .now_ms = api_now_ms(call->api),
                            .profile = api_str(call->query, "profile")};

    if (!api_usage_tenant(call, &q.tenant) || !read_time(call, "since", q.now_ms, &q.since_ms) ||
        !read_time(call, "until", q.now_ms, &q.until_ms)) {
        return;
    }
    if (q.since_ms && q.until_ms && q.until_ms <= q.since_ms) {
        api_problem(call, 400, "bad_field", NULL, "until: must be after since");
        return;
    }
    widen(&q);
    struct json_out w = api_begin(call->api);
    struct listing l = {.w = &w, .meter = meter};
    json_out_object(&w, NULL);
    json_out_text(&w, "currency", meter_rates(meter)->currency);
    json_out_str(&w, "by", by ? by : "tenant");
    json_out_time(&w, "since", q.since_ms);
    json_out_time(&w, "until", q.until_ms);
    json_out_array(&w, "usage");
    meter_query(meter, &q, add_row, &l);
    json_out_end_array(&w);
    json_out_end_object(&w);
    if (!l.rows && q.profile && !is_profile_here(call->api->host.pool, q.profile)) {
        refuse_profile(call, q.profile);
        return;
    }
    api_reply(call, 200);
}

/* --- /v1/leases/{id}/usage ------------------------------------------------------------------ */

static void add_last(struct json_out *w, const struct meter_stats *stats)
{
    const struct meter_sample *s = &stats->last;

    if (s->at_ms <= 0) { /* none, or only from before a restart */
        json_out_null(w, "last_sample");
        return;
    }
    json_out_object(w, "last_sample");
    json_out_time(w, "time", s->at_ms);
    if (s->has_processes) {
        json_out_int(w, "processes", s->processes);
    } else {
        json_out_null(w, "processes");
    }
    if (s->has_memory) {
        json_out_int(w, "memory_used_mib", (int64_t)s->memory_used_mib);
        json_out_int(w, "memory_total_mib", (int64_t)s->memory_total_mib);
    } else {
        json_out_null(w, "memory_used_mib");
        json_out_null(w, "memory_total_mib");
    }
    api_add_percent(w, "sm_percent", s->has_sm ? (double)s->sm_percent : -1);
    json_out_end_object(w);
}

static void add_minutes(struct json_out *w, const struct meter_hour *hour)
{
    for (unsigned ago = METER_MINUTES; hour && ago-- > 0;) {
        struct meter_minute m = meter_hour_get(hour, ago);
        if (m.sm_percent == METER_UNKNOWN && m.memory_percent == METER_UNKNOWN) {
            continue;
        }
        json_out_object(w, NULL);
        json_out_time(w, "time", (hour->newest - ago) * 60000);
        api_add_percent(w, "sm_percent", m.sm_percent == METER_UNKNOWN ? -1 : m.sm_percent);
        api_add_percent(w, "memory_percent",
                        m.memory_percent == METER_UNKNOWN ? -1 : m.memory_percent);
        json_out_end_object(w);
    }
}

struct one_lease {
    struct api_call *call;
    struct json_out *w;
    bool is_found;
};

static void add_lease(const struct meter_row *row, void *arg)
{
    struct one_lease *one = arg;
    struct api *api = one->call->api;

    one->is_found = true;
    api_add_usage_row(one->w, "usage", api->host.meter, row);
    add_last(one->w, row->stats);
    json_out_array(one->w, "minutes");
    add_minutes(one->w, row->hour);
    json_out_end_array(one->w);
    json_out_array(one->w, "advice");
    api_add_advice(api, row, one->w);
    json_out_end_array(one->w);
}

void api_get_lease_usage(struct api_call *call)
{
    const struct pool_lease *lease = api_find_lease(call);

    if (!lease) {
        return;
    }
    if (call->who.role == POOL_ROLE_TENANT && !api_sees_whole(call, lease)) {
        api_problem(call, 403, "forbidden", NULL, "l-%llu is %s's; a tenant sees what it used "
                    "itself", (unsigned long long)lease->id, lease->tenant->name);
        return;
    }
    struct meter_query q = {.by = METER_BY_LEASE, .lease = lease->id,
                            .now_ms = api_now_ms(call->api)};
    struct json_out w = api_begin(call->api);
    struct one_lease one = {.call = call, .w = &w};
    json_out_object(&w, NULL);
    meter_query(call->api->host.meter, &q, add_lease, &one);
    if (!one.is_found) {
        json_out_null(&w, "usage");
        json_out_null(&w, "last_sample");
        json_out_array(&w, "minutes");
        json_out_end_array(&w);
        json_out_array(&w, "advice");
        json_out_end_array(&w);
    }
    json_out_end_object(&w);
    api_reply(call, 200);
}
