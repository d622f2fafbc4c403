/* What is wrong with this machine: the daemon's own checks, and what the pool knows. */
#include "api/call.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STUCK_MS (15 * 60 * 1000)

struct report {
    struct json_out w;
    bool has_error;
};

static void add_check(const struct api_check *check, void *arg)
{
    static const char *const states[] = {
        [API_CHECK_OK] = "ok", [API_CHECK_WARNING] = "warning", [API_CHECK_ERROR] = "error"};
    struct report *r = arg;

    json_out_object(&r->w, NULL);
    json_out_str(&r->w, "name", check->name);
    json_out_str(&r->w, "state", states[check->state]);
    json_out_str(&r->w, "what", check->what);
    json_out_text(&r->w, "do", check->todo);
    json_out_end_object(&r->w);
    r->has_error = r->has_error || check->state == API_CHECK_ERROR;
}

static void check_health(struct report *r, const struct pool_gpu *gpu, const char *name)
{
    static const char *const todo[POOL_HEALTH_COUNT] = {
        [POOL_HEALTH_UNRESPONSIVE] = "look at the kernel log (dmesg) for Xid messages; if the "
                                     "driver does not come back, reset the GPU or reboot",
        [POOL_HEALTH_LOST] = "look at the kernel log (dmesg); the GPU needs a reboot, or it is "
                             "broken or not plugged in",
        [POOL_HEALTH_FAILED] = "see the reason; 'nvidia-smi -q' may say more",
    };
    char what[640], note[320];
    enum api_check_state state = API_CHECK_OK;
    const char *advice = NULL;

    if (gpu->health != POOL_HEALTH_OK) {
        snprintf(what, sizeof(what), "%s is %s: %s", gpu->info.name,
                 pool_health_name(gpu->health),
                 gpu->health_reason[0] ? gpu->health_reason : "no reason was told");
        state = gpu->is_managed ? API_CHECK_ERROR : API_CHECK_WARNING;
        advice = todo[gpu->health];
    } else if (api_gpu_note(gpu, note, sizeof(note))) {
        snprintf(what, sizeof(what), "%s: %s", gpu->info.name, note);
        state = API_CHECK_WARNING;
    } else {
        snprintf(what, sizeof(what), "%s is %s", gpu->info.name,
                 !gpu->is_managed             ? "only shown (managed: false)"
                 : gpu->info.is_mig_enabled   ? "well, MIG is on"
                 : gpu->info.is_mig_capable   ? "well, MIG is off"
                                              : "well; it cannot do MIG and is leased whole");
    }
    add_check(&(struct api_check){name, state, what, advice}, r);
}

static void check_slices(struct report *r, const struct pool_gpu *gpu, const char *name)
{
    char what[480];

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (s->state == POOL_SLICE_QUARANTINED) {
            snprintf(what, sizeof(what), "slice %s at slot %u cannot be destroyed: %s",
                     s->profile_name, s->start, s->reason);
            add_check(&(struct api_check){name, API_CHECK_WARNING, what,
                                          "it is tried again now and then; look for a program that "
                                          "still has it open (nvidia-smi, fuser /dev/nvidia*)"},
                      r);
        } else if (s->state == POOL_SLICE_FOREIGN && gpu->is_managed) {
            snprintf(what, sizeof(what), "slice %s at slot %u was not made by tangram",
                     s->profile_name, s->start);
            add_check(&(struct api_check){name, API_CHECK_WARNING, what,
                                          "'tangram adopt' takes it over; or leave it alone"},
                      r);
        }
    }
}

/* Nobody waits silently: the first of the queue speaks for it. */
static void check_queue(struct report *r, const struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    const struct pool_lease *head = pool_next_queued(pool, NULL), *l = head;
    struct pool_explanation why = {0};
    unsigned count = 0;
    int64_t now_ms = api_now_ms(call->api);
    char what[480], span[32];

    if (!head) {
        return;
    }
    for (; l; l = pool_next_queued(pool, l)) {
        count++;
    }
    pool_explain_briefly(pool, head, now_ms, &why);
    int64_t waits_ms = now_ms - head->created_ms;
    snprintf(what, sizeof(what), "%u wait%s; the first, l-%" PRIu64 " of %s, for %s: %s", count,
             count == 1 ? "s" : "", head->id, head->tenant->name,
             text_format_duration_ms(waits_ms > 0 ? waits_ms / 1000 * 1000 : 0, span),
             why.reason[0] ? why.reason : head->reason);
    bool is_stuck = waits_ms > STUCK_MS && !why.expected_start_ms;
    add_check(&(struct api_check){"queue", is_stuck ? API_CHECK_WARNING : API_CHECK_OK, what,
                                  is_stuck ? "'tangram why' says who is in the way; nobody knows "
                                             "when they end, as leases without a time limit "
                                             "(--ttl) do not"
                                           : NULL},
              r);
}

void api_get_doctor(struct api_call *call)
{
    const struct api_host *host = &call->api->host;
    struct report r = {.w = api_begin(call->api)};

    json_out_object(&r.w, NULL);
    json_out_array(&r.w, "checks");
    host->doctor(host->userdata, add_check, &r);
    for (unsigned i = 0; i < pool_gpu_count(host->pool); i++) {
        const struct pool_gpu *gpu = pool_gpu(host->pool, i);
        char name[32];
        snprintf(name, sizeof(name), "gpu %u", gpu->info.index);
        check_health(&r, gpu, name);
        check_slices(&r, gpu, name);
    }
    check_queue(&r, call);
    json_out_end_array(&r.w);
    json_out_bool(&r.w, "ok", !r.has_error);
    json_out_end_object(&r.w);
    api_reply(call, 200);
}
