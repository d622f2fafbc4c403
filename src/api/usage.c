/* Who used how much, and what it costs. */
#include "api/call.h"
#include <math.h>

struct listing {
    struct json_out *w;
    bool has_rates;
};

static int64_t milli(double value)
{
    return (int64_t)llround(value * 1000);
}

static void add_usage(const struct meter_usage *u, void *arg)
{
    const struct listing *l = arg;

    json_out_object(l->w, NULL);
    json_out_str(l->w, "tenant", u->tenant);
    json_out_int(l->w, "leases", (int64_t)u->leases);
    json_out_int(l->w, "active_leases", u->active_leases);
    json_out_int(l->w, "active_compute_slots", u->active.compute_slots);
    json_out_int(l->w, "active_memory_mib", (int64_t)u->active.memory_mib);
    json_out_milli(l->w, "compute_slot_hours", milli(u->compute_slot_hours));
    json_out_milli(l->w, "memory_gib_hours", milli(u->memory_gib_hours));
    if (l->has_rates) {
        json_out_milli(l->w, "cost", milli(u->cost));
    } else {
        json_out_null(l->w, "cost");
    }
    json_out_end_object(l->w);
}

void api_get_usage(struct api_call *call)
{
    struct meter *meter = call->api->host.meter;
    const struct meter_rates *rates = meter_rates(meter);
    struct json_out w = api_begin(call->api);
    struct listing l = {.w = &w, .has_rates = rates->currency[0]};

    json_out_object(&w, NULL);
    json_out_text(&w, "currency", l.has_rates ? rates->currency : NULL);
    json_out_array(&w, "usage");
    meter_each(meter, api_now_ms(call->api), add_usage, &l);
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}
