#include "api/api.h"
#include "api/route.h"
#include "api/schemas.h"
#include "base/cleanup.h"

#define VIEW POOL_ROLE_VIEWER
#define USE POOL_ROLE_TENANT
#define RULE POOL_ROLE_OPERATOR
#define CHANGE API_ROUTE_CHANGES
#define KEYED (API_ROUTE_CHANGES | API_ROUTE_KEY)

/* method, pattern, handler, role, flags, query, body, answer, statuses, summary; more specific
 * patterns come first.  One row each, so that rows can be compared. */
#define ROUTES(R)                                                                                  \
    R(GET, "/v1", api_get_index, VIEW, 0, NULL, NULL, &schema_index, "200",                        \
      "What this is, and who you are here")                                                        \
    R(GET, "/v1/openapi.json", api_get_openapi, VIEW, 0, NULL, NULL, NULL, "200", "This document") \
    R(GET, "/v1/gpus", api_list_gpus, VIEW, 0, NULL, NULL, &schema_gpu_list, "200",                \
      "Every GPU and what is on it")                                                               \
    R(GET, "/v1/gpus/{gpu}", api_get_gpu, VIEW, 0, NULL, NULL, &schema_gpu, "200 404",             \
      "One GPU, by UUID, PCI address or index")                                                    \
    R(GET, "/v1/slices", api_list_slices, VIEW, 0, NULL, NULL, &schema_slice_list, "200",          \
      "Every slice")                                                                               \
    R(POST, "/v1/slices/adopt", api_adopt_slice, RULE, KEYED, NULL, &schema_slice_name,            \
      &schema_slice, "200 404 409", "Take over a foreign slice")                                   \
    R(POST, "/v1/slices/disown", api_disown_slice, RULE, KEYED, NULL, &schema_slice_name,          \
      &schema_slice, "200 404 409", "Let an idle slice of ours go: it is foreign afterwards")      \
    R(GET, "/v1/leases", api_list_leases, VIEW, 0, &query_leases, NULL, &schema_lease_list, "200", \
      "Leases that have not ended, or all that are remembered")                                    \
    R(POST, "/v1/leases", api_post_lease, USE, API_ROUTE_CHANGES | API_ROUTE_POOL_KEY, NULL,       \
      &schema_lease_request, &schema_lease, "201 202 409 422 429", "Ask for slices")               \
    R(GET, "/v1/leases/{id}/why", api_get_why, VIEW, 0, NULL, NULL, &schema_why, "200 404",        \
      "Why a request waits, for whom, and what would help")                                        \
    R(POST, "/v1/leases/{id}/move", api_post_move, USE, KEYED, NULL, &schema_move_answer,          \
      &schema_lease, "200 403 404 409", "Answer a lease's being asked to move to another slice")   \
    R(GET, "/v1/leases/{id}/usage", api_get_lease_usage, VIEW, 0, NULL, NULL,                      \
      &schema_lease_usage, "200 403 404", "What a lease uses, its last samples, and advice")      \
    R(GET, "/v1/leases/{id}", api_get_lease, VIEW, 0, &query_wait, NULL, &schema_lease, "200 404", \
      "One lease")                                                                                 \
    R(PATCH, "/v1/leases/{id}", api_patch_lease, USE, CHANGE, NULL, &schema_lease_patch,           \
      &schema_lease, "200 404 409", "Change the time limit")                                       \
    R(DELETE, "/v1/leases/{id}", api_delete_lease, USE, CHANGE, NULL, NULL, &schema_lease,         \
      "200 404 409", "Give it back, or cancel the request")                                        \
    R(GET, "/v1/queue", api_get_queue, VIEW, 0, NULL, NULL, &schema_queue, "200",                  \
      "The requests that wait")                                                                    \
    R(GET, "/v1/usage", api_get_usage, VIEW, 0, &query_usage, NULL, &schema_usage, "200 403",      \
      "Who used how much, and what it costs")                                                      \
    R(GET, "/v1/advice", api_get_advice, VIEW, 0, &query_advice, NULL, &schema_advice, "200 403",  \
      "Leases that a smaller profile would have held, or that do nothing")                         \
    R(POST, "/v1/plan", api_post_plan, VIEW, API_ROUTE_KEY, NULL, &schema_plan_request,            \
      &schema_plan, "200", "Would it fit, where, and what would be cut; nothing is changed")       \
    R(GET, "/v1/layout", api_get_layout, VIEW, 0, NULL, NULL, &schema_layout, "200",               \
      "Today's layout as a mig-parted file")                                                       \
    R(PUT, "/v1/layout", api_put_layout, RULE, CHANGE, &query_dry_run, &schema_layout_request,     \
      &schema_layout_result, "200 202 409 422", "Apply a mig-parted file as a difference")         \
    R(GET, "/v1/operations/{id}", api_get_operation, VIEW, 0, &query_wait, NULL,                   \
      &schema_operation, "200 404", "How far an apply is")                                         \
    R(GET, "/v1/events", api_list_events, VIEW, API_ROUTE_STREAM, &query_events, NULL,             \
      &schema_event_list, "200",                                                                   \
      "What happened; as a stream with Accept: text/event-stream and Last-Event-ID")               \
    R(GET, "/v1/doctor", api_get_doctor, VIEW, 0, NULL, NULL, &schema_doctor, "200",               \
      "What is wrong with this machine, and what to do")                                           \
    R(GET, "/v1/tokens", api_list_tokens, RULE, 0, NULL, NULL, &schema_token_list, "200",          \
      "Tokens for TCP")                                                                            \
    R(POST, "/v1/tokens", api_post_token, RULE, KEYED, NULL, &schema_token_request,                \
      &schema_token_made, "201", "Make a token; it is shown once")                                 \
    R(DELETE, "/v1/tokens/{id}", api_delete_token, RULE, CHANGE, NULL, NULL, &schema_token,        \
      "200 404", "Revoke a token")                                                                 \
    R(GET, "/metrics", api_get_metrics, VIEW, API_ROUTE_TEXT, NULL, NULL, NULL, "200",             \
      "Counters and gauges in the text format of Prometheus")                                      \
    R(GET, "/healthz", api_get_health, VIEW, API_ROUTE_PUBLIC, NULL, NULL, &schema_health, "200",  \
      "The daemon answers")                                                                        \
    R(GET, "/readyz", api_get_ready, VIEW, API_ROUTE_PUBLIC, NULL, NULL, &schema_health,           \
      "200 503", "The daemon can serve leases")

#define ROW(m, p, h, r, f, q, b, a, s, t)                                                          \
    {HTTP_##m, p, h, r, f, q, b, a, s, t},
const struct api_route api_route_table[] = {ROUTES(ROW)};
const unsigned api_route_count = ARRAY_SIZE(api_route_table);

/* The HTTP room calls one function per route; each knows its row by its number. */
enum {
#define NUMBER(m, p, h, ...) ROUTE_##h,
    ROUTES(NUMBER)
};
#define TRAMPOLINE(m, p, h, ...)                                                                   \
    static void on_##h(struct http_request *req, void *userdata)                                   \
    {                                                                                              \
        api_dispatch(req, userdata, &api_route_table[ROUTE_##h]);                                  \
    }
ROUTES(TRAMPOLINE)

#define HTTP_ROW(m, p, h, r, f, ...)                                                               \
    {HTTP_##m, p, on_##h, (f)&API_ROUTE_PUBLIC ? HTTP_ROUTE_PUBLIC : 0},
static const struct http_route http_routes[] = {ROUTES(HTTP_ROW){0}};


const struct http_route *api_routes(void)
{
    return http_routes;
}
