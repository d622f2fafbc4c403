/* From a route to an answer.
 *
 * dispatch() checks everything that the tables can check: who asks, the role, the query, the body,
 * the Idempotency-Key.  A handler then reads the pool and answers, or steps it with an event and
 * lets the call be held (held.c) until the reply comes back committed. */
#include "api/call.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- answering ------------------------------------------------------------------------------ */

struct json_out api_begin(struct api *api)
{
    if (api->out.size > 256 * 1024) {
        buf_done(&api->out); /* a long list was asked for once; do not keep its memory */
    }
    buf_clear(&api->out);
    return (struct json_out){.b = &api->out};
}

void api_reply(struct api_call *call, unsigned status)
{
    const struct buf *out = &call->api->out;

    if (out->is_full) {
        api_problem(call, 500, "too_large", NULL, "the answer would have more than %u bytes",
                    API_OUT_BYTES);
        return;
    }
    api_idem_end(call, status, out->data, out->len);
    if (call->req) {
        http_reply_bytes(TAKE_PTR(call->req), status, "application/json", out->data, out->len);
    }
}

void api_problem(struct api_call *call, unsigned status, const char *reason, json_t *more,
                 const char *fmt, ...)
{
    char detail[640];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    api_idem_end(call, 0, NULL, 0);
    if (call->req) {
        if (status == 429 || status == 503) {
            http_set_header(call->req, "Retry-After", status == 429 ? "5" : "1");
        }
        http_reply_problem(TAKE_PTR(call->req), status, reason, more, "%s", detail);
    }
    json_decref(more);
}

json_t *api_more_pointer(const char *pointer)
{
    return json_pack("{s:s}", "pointer", pointer);
}

json_t *api_more_blocking(const char *json_array)
{
    json_t *list = json_array ? json_loads(json_array, 0, NULL) : NULL;

    if (!list || json_array_size(list) == 0) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:o}", "blocking", list);
}

static const struct {
    unsigned status;
    const char *reason;
} answers[POOL_ANSWER_COUNT] = {
    [POOL_OK] = {200, "ok"},
    [POOL_NOT_FOUND] = {404, "not_found"},
    [POOL_FORBIDDEN] = {403, "forbidden"},
    [POOL_BAD_REQUEST] = {400, "bad_field"},
    [POOL_DOES_NOT_FIT] = {409, "does_not_fit"},
    [POOL_CAN_NEVER_FIT] = {422, "can_never_fit"},
    [POOL_QUEUE_FULL] = {429, "queue_full"},
    [POOL_KEY_CONFLICT] = {409, "idempotency_conflict"},
    [POOL_ALREADY_ENDED] = {409, "already_ended"},
    [POOL_IN_USE] = {409, "in_use"},
    [POOL_NO_MOVE] = {409, "no_move"},
    [POOL_WRONG_OWNER] = {409, "wrong_owner"},
    [POOL_NOT_ALLOWED] = {403, "not_allowed_by_configuration"},
};

void api_refuse(struct api_call *call, const struct pool_action *reply, json_t *more)
{
    api_problem(call, answers[reply->answer].status, answers[reply->answer].reason, more, "%s",
                reply->text[0] ? reply->text : "refused");
}

void api_set_location(struct api_call *call, const char *kind, const char *prefix, uint64_t id)
{
    char where[80];

    if (call->req) {
        snprintf(where, sizeof(where), "/v1/%s/%s-%" PRIu64, kind, prefix, id);
        http_set_header(call->req, "Location", where);
    }
}

/* --- checking ------------------------------------------------------------------------------- */

/* -EINVAL is a bad field, -ENOENT an unknown one. */
static const char *field_reason(int rc)
{
    return rc == -ENOENT ? "unknown_field" : "bad_field";
}

static void refuse_query(struct api_call *call, const char *stranger, const char *const *known)
{
    CLEANUP(buf_done) struct buf list = BUF_INIT(512);
    char shown[64];

    for (; *known; known++) {
        buf_addf(&list, "%s%s", list.len ? ", " : "; known are: ", *known);
    }
    text_copy(shown, sizeof(shown), stranger);
    text_mend_utf8(shown);
    api_problem(call, 400, "unknown_field", NULL, "there is no query parameter '%s' here%s", shown,
                list.len ? list.data : ", nor any other");
}

static bool check_query(struct api_call *call)
{
    const char *known[16] = {NULL};
    struct error err = {0};
    unsigned n = 0;
    const struct field *fields = call->route->query ? call->route->query->fields : NULL;

    for (const struct field *f = fields; f && f->name && n + 1 < ARRAY_SIZE(known); f++) {
        known[n++] = f->name;
    }
    const char *stranger = http_query_unknown(call->req, known);
    if (stranger) {
        refuse_query(call, stranger, known);
        return false;
    }
    call->query = fields ? json_object() : NULL;
    for (const struct field *f = fields; f && f->name; f++) {
        const char *text = http_query(call->req, f->name);
        json_t *value = NULL;
        if (!text) {
            continue;
        }
        if (f->type == FIELD_BOOL && !*text) {
            text = "true"; /* ?all */
        }
        int rc = field_from_text(f, text, &value, &err);
        if (rc < 0) {
            api_problem(call, 400, field_reason(rc), NULL, "%s", err.msg);
            return false;
        }
        json_object_set_new(call->query, f->name, value);
    }
    return true;
}

static bool check_body(struct api_call *call)
{
    char pointer[FIELD_POINTER_BYTES] = "";
    struct error err = {0};
    size_t len = 0;

    if (!call->route->body) {
        return true;
    }
    const char *text = http_body(call->req, &len);
    int rc = tree_from_json(text, len, &call->body, &err);
    if (rc < 0) {
        bool is_large = rc == -E2BIG;
        api_problem(call, is_large ? 413 : 400, is_large ? "too_large" : "bad_json", NULL, "%s",
                    len ? err.msg : "the request has no body; a JSON object is needed");
        return false;
    }
    rc = fields_check(call->route->body, call->body, pointer, &err);
    if (rc < 0) {
        api_problem(call, 400, field_reason(rc), api_more_pointer(pointer), "%s", err.msg);
        return false;
    }
    return true;
}

/* 64-bit FNV-1a: tells a repeat from another request, nothing more. */
static uint64_t hash_bytes(uint64_t hash, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t api_request_hash(const struct api_call *call)
{
    char *body = call->body ? json_dumps(call->body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    const char *id = http_param(call->req, "id");
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    hash = hash_bytes(hash, call->who.tenant, strlen(call->who.tenant) + 1);
    hash = hash_bytes(hash, call->route->pattern, strlen(call->route->pattern) + 1);
    hash = id ? hash_bytes(hash, id, strlen(id) + 1) : hash; /* the same body for another lease */
    hash = body ? hash_bytes(hash, body, strlen(body)) : hash;
    free(body);
    return hash;
}

/* The key is good or absent; false: answered. */
static bool check_key(struct api_call *call)
{
    const char *key = http_header(call->req, "Idempotency-Key");
    size_t len = key ? strlen(key) : 0;

    if (!key || !(call->route->flags & (API_ROUTE_KEY | API_ROUTE_POOL_KEY))) {
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        if (key[i] <= ' ' || key[i] > '~') {
            len = 0;
        }
    }
    if (len == 0 || len > 128) {
        api_problem(call, 400, "bad_field", NULL,
                    "Idempotency-Key: must be 1 to 128 printable ASCII characters without spaces");
        return false;
    }
    return (call->route->flags & API_ROUTE_POOL_KEY) ||
           api_idem_begin(call, key, api_request_hash(call));
}

static bool check_state(struct api_call *call)
{
    struct api_facts facts = {0};

    if (!(call->route->flags & API_ROUTE_CHANGES)) {
        return true;
    }
    call->api->host.facts(call->api->host.userdata, &facts);
    if (facts.is_shutting_down) {
        api_problem(call, 503, "shutting_down", NULL, "the daemon is shutting down");
        return false;
    }
    if (facts.store_problem) {
        api_problem(call, 503, "store_failed", NULL,
                    "nothing can be changed while the journal cannot be written: %s",
                    facts.store_problem);
        return false;
    }
    return true;
}

/* The call begins anew when it is known who the client is. */
static void look_at_client(struct api_held *held, bool is_late)
{
    const struct api_host *host = &held->call.api->host;
    struct api_identity who;

    if (host->identify(host->userdata, http_peer(held->call.req), &who) != -EAGAIN) {
        api_dispatch(TAKE_PTR(held->call.req), held->call.api, held->call.route);
    } else if (is_late) {
        http_set_header(held->call.req, "Retry-After", "5");
        api_problem(&held->call, 503, "identity_unknown", NULL,
                    "this machine's user database does not say who you are; it is asked further, "
                    "try again");
    }
}

static void wait_for_identity(struct api_call *call)
{
    struct api *api = call->api;
    struct api_held *held = api_hold(call);

    held->is_asking = true;
    api_wait(held, 0, 0, api_now_ms(api) + API_IDENTITY_MS, look_at_client);
}

static bool check_who(struct api_call *call)
{
    const struct api_host *host = &call->api->host;

    if (call->route->flags & API_ROUTE_PUBLIC) {
        return true;
    }
    call->who.limits = (struct pool_limits){-1, -1};
    int rc = host->identify(host->userdata, http_peer(call->req), &call->who);
    if (rc == -EAGAIN) {
        wait_for_identity(call);
        return false;
    }
    if (rc < 0) {
        api_problem(call, 403, "forbidden", NULL,
                    "this machine does not know who you are; ask its administrator for an entry "
                    "under 'tenants' in the configuration");
        return false;
    }
    if (call->who.role < call->route->role) {
        api_problem(call, 403, "forbidden", NULL, "this needs the role %s; %s is a %s here",
                    pool_role_name(call->route->role), call->who.tenant,
                    pool_role_name(call->who.role));
        return false;
    }
    return true;
}

void api_call_done(struct api_call *call)
{
    json_decref(call->body);
    json_decref(call->query);
    call->body = call->query = NULL;
}

void api_dispatch(struct http_request *req, void *userdata, const struct api_route *route)
{
    struct api_call call = {.api = userdata, .req = req, .route = route};

    if (check_who(&call) && check_query(&call) && check_state(&call) && check_body(&call) &&
        check_key(&call)) {
        route->handle(&call);
    }
    api_call_done(&call);
}

/* --- beginning and end ---------------------------------------------------------------------- */

int api_new(const struct api_host *host, struct api **ret, struct error *err)
{
    struct api *api = xcalloc(1, sizeof(*api));

    (void)err;
    api->host = *host;
    api->deadline_ms = INT64_MAX;
    api->out = BUF_INIT(API_OUT_BYTES);
    TAILQ_INIT(&api->held);
    TAILQ_INIT(&api->streams);
    TAILQ_INIT(&api->idems);
    api_learn_grants(api);
    *ret = api;
    return 0;
}

void api_shut_down(struct api *api)
{
    struct api_held *held = NULL, *next = NULL;

    for (held = TAILQ_FIRST(&api->held); held; held = next) {
        next = TAILQ_NEXT(held, link);
        api_problem(&held->call, 503, "shutting_down", NULL, "the daemon is shutting down");
        api_held_drop(held);
    }
    api_streams_close(api);
}

void api_free(struct api *api)
{
    struct api_granted *g = NULL, *next = NULL;

    if (!api) {
        return;
    }
    api_shut_down(api);
    HASH_ITER(hh, api->granted, g, next) {
        HASH_DEL(api->granted, g);
        free(g);
    }
    api_idem_done(api);
    buf_done(&api->out);
    free(api->openapi);
    free(api);
}

/* --- small things --------------------------------------------------------------------------- */

int64_t api_int(const json_t *object, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(object, name);

    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

const char *api_str(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

bool api_bool(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

uint64_t api_parse_id(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    int64_t id = 0;

    if (!text || strncmp(text, prefix, n) != 0 || text[n] != '-' ||
        text_parse_int(text + n + 1, "", 1, INT64_MAX, &id, NULL) < 0) {
        return 0;
    }
    return (uint64_t)id;
}

int64_t api_now_ms(const struct api *api)
{
    return api->host.now_ms(api->host.userdata);
}

bool api_is_operator(const struct api_call *call)
{
    return call->who.role >= POOL_ROLE_OPERATOR;
}

struct pool_actor api_actor(const struct api_call *call)
{
    return (struct pool_actor){.tenant = call->who.tenant,
                               .role = call->who.role,
                               .uid = call->who.uid,
                               .limits = &call->who.limits};
}
