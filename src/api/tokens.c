/* Tokens: who may come in over TCP.  The daemon makes, hashes and keeps them. */
#include "api/call.h"
#include "base/text.h"
#include <errno.h>
#include <string.h>

static void add_token(const struct api_token *token, void *arg)
{
    struct json_out *w = arg;

    json_out_object(w, NULL);
    json_out_str(w, "id", token->id);
    json_out_str(w, "name", token->name);
    json_out_str(w, "tenant", token->tenant);
    json_out_str(w, "role", pool_role_name(token->role));
    json_out_time(w, "created_at", token->created_ms);
    json_out_end_object(w);
}

void api_list_tokens(struct api_call *call)
{
    const struct api_host *host = &call->api->host;
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_array(&w, "tokens");
    host->tokens(host->userdata, add_token, &w);
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}

void api_post_token(struct api_call *call)
{
    const struct api_host *host = &call->api->host;
    const char *role = api_str(call->body, "role");
    struct api_token wish = {.role = POOL_ROLE_TENANT};

    text_copy(wish.name, sizeof(wish.name), api_str(call->body, "name"));
    text_copy(wish.tenant, sizeof(wish.tenant), api_str(call->body, "tenant"));
    for (enum pool_role r = 0; role && r < POOL_ROLE_COUNT; r++) {
        wish.role = !strcmp(role, pool_role_name(r)) ? r : wish.role;
    }
    uint64_t cookie = api_hold_for_reply(call);
    host->token_create(host->userdata, &wish, cookie);
}

void api_delete_token(struct api_call *call)
{
    const struct api_host *host = &call->api->host;
    CLEANUP(freep) char *id = xstrdup(http_param(call->req, "id"));
    uint64_t cookie = api_hold_for_reply(call);

    host->token_revoke(host->userdata, id, cookie);
}

static void reply_token(struct api_call *call, const struct api_token *token, const char *secret)
{
    struct json_out w = api_begin(call->api);

    if (!secret) {
        add_token(token, &w);
        api_reply(call, 200);
        return;
    }
    json_out_object(&w, NULL);
    json_out_str(&w, "id", token->id);
    json_out_str(&w, "token", secret);
    json_out_end_object(&w);
    api_reply(call, 201);
    explicit_bzero(call->api->out.data, call->api->out.len);
}

void api_on_token(struct api *api, uint64_t reply_to, int code, const struct api_token *token,
                  const char *secret, const char *message)
{
    struct api_held *held = api_take_reply(api, reply_to);

    if (!held) {
        return;
    }
    if (code < 0 || !token) {
        const char *id =
            code == -ENOENT && held->call.req ? http_param(held->call.req, "id") : NULL;
        if (id) {
            api_problem(&held->call, 404, "not_found", NULL, "there is no token '%s'", id);
        } else {
            api_problem(&held->call, 500, "store_failed", NULL, "%s",
                        message ? message : "it could not be done");
        }
    } else {
        reply_token(&held->call, token, secret);
    }
    api_held_drop(held);
}
