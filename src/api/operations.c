/* Operations: an apply that is being carried out. */
#include "api/call.h"

static void reply_operation(struct api_call *call, const struct pool_operation *op)
{
    static const char *const states[] = {
        [POOL_OP_RUNNING] = "running", [POOL_OP_DONE] = "done", [POOL_OP_FAILED] = "failed"};
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_id(&w, "id", "op", op->id);
    json_out_str(&w, "kind", "apply");
    json_out_str(&w, "state", states[op->state]);
    json_out_time(&w, "created_at", op->created_ms);
    json_out_time(&w, "ended_at", op->ended_ms);
    json_out_int(&w, "done", op->done);
    json_out_int(&w, "total", op->total);
    json_out_text(&w, "error", op->error);
    json_out_end_object(&w);
    api_reply(call, 200);
}

static void look_at_operation(struct api_held *held, bool is_late)
{
    const struct pool_operation *op =
        pool_find_operation(held->call.api->host.pool, held->operation);

    if (!op) {
        api_problem(&held->call, 404, "not_found", NULL, "the operation is no longer remembered");
    } else if (is_late || op->state != POOL_OP_RUNNING) {
        reply_operation(&held->call, op);
    }
}

void api_get_operation(struct api_call *call)
{
    const char *id = http_param(call->req, "id");
    uint64_t number = api_parse_id(id, "op");
    const struct pool_operation *op =
        number ? pool_find_operation(call->api->host.pool, number) : NULL;
    int64_t wait_s = api_int(call->query, "wait_s", 0);

    if (!op) {
        api_problem(call, 404, "not_found", NULL,
                    "there is no operation '%.40s'; old ones are forgotten after some time", id);
    } else if (wait_s > 0 && op->state == POOL_OP_RUNNING) {
        int64_t deadline_ms = api_now_ms(call->api) + wait_s * 1000;
        api_wait(api_hold(call), 0, op->id, deadline_ms, look_at_operation);
    } else {
        reply_operation(call, op);
    }
}
