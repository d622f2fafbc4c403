/* What this is: the index, health, and who is asking. */
#include "api/call.h"

void api_get_index(struct api_call *call)
{
    static const char *const resources[] = {"gpus",       "slices", "leases", "queue",
                                            "plan",       "layout", "operations", "events",
                                            "doctor",     "tokens", "usage",      "advice",
                                            "openapi.json"};
    struct api_facts facts = {0};

    call->api->host.facts(call->api->host.userdata, &facts);
    struct json_out w = api_begin(call->api);
    json_out_object(&w, NULL);
    json_out_str(&w, "name", "tangram");
    json_out_str(&w, "version", TANGRAM_VERSION);
    json_out_text(&w, "machine", facts.machine);
    json_out_bool(&w, "simulated", facts.is_simulated);
    json_out_text(&w, "driver_version", facts.driver_version);
    json_out_text(&w, "nvml_version", facts.nvml_version);
    json_out_text(&w, "library", facts.library);
    json_out_time(&w, "started_at", facts.started_ms);
    json_out_object(&w, "you");
    json_out_str(&w, "tenant", call->who.tenant);
    json_out_str(&w, "role", pool_role_name(call->who.role));
    if (call->who.uid != (unsigned)-1) {
        json_out_int(&w, "uid", call->who.uid);
    } else {
        json_out_null(&w, "uid");
    }
    json_out_end_object(&w);
    json_out_array(&w, "resources");
    for (unsigned i = 0; i < ARRAY_SIZE(resources); i++) {
        json_out_str(&w, NULL, resources[i]);
    }
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}

static void reply_ok(struct api_call *call)
{
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_bool(&w, "ok", true);
    json_out_end_object(&w);
    api_reply(call, 200);
}

void api_get_health(struct api_call *call)
{
    reply_ok(call);
}

void api_get_ready(struct api_call *call)
{
    struct api_facts facts = {0};

    call->api->host.facts(call->api->host.userdata, &facts);
    if (facts.is_shutting_down) {
        api_problem(call, 503, "shutting_down", NULL, "the daemon is shutting down");
    } else if (facts.not_ready) {
        api_problem(call, 503, "not_ready", NULL, "%s", facts.not_ready);
    } else if (facts.store_problem) {
        api_problem(call, 503, "store_failed", NULL, "%s", facts.store_problem);
    } else {
        reply_ok(call);
    }
}
