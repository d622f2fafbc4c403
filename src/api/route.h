#pragma once
#include "api/fields.h"
#include "http/http.h"
#include "pool/pool.h"

/* The one table of routes: what is served, who may ask, what goes in and out.  It feeds the HTTP
 * room and the OpenAPI document. */

struct api_call;

enum api_route_flags {
    API_ROUTE_PUBLIC = 1,  /* no identity is needed */
    API_ROUTE_CHANGES = 2, /* refused while the disk refuses, or at the end */
    API_ROUTE_KEY = 4,     /* Idempotency-Key: remembered in memory */
    API_ROUTE_POOL_KEY = 8, /* the same, by the pool, and across restarts */
    API_ROUTE_STREAM = 16, /* may answer with text/event-stream */
    API_ROUTE_TEXT = 32,   /* answers with text/plain */
};

struct api_route {
    enum http_method method;
    const char *pattern;
    void (*handle)(struct api_call *call);
    enum pool_role role; /* at least */
    unsigned flags;
    const struct field_set *query, *body, *answer; /* NULL: none; answer NULL: of its own kind */
    const char *statuses; /* "201 202" of good answers, then those of problems */
    const char *summary;
};

extern const struct api_route api_route_table[];
extern const unsigned api_route_count;

/* Checks the request against the route and calls its handler. */
void api_dispatch(struct http_request *req, void *userdata, const struct api_route *route);

/* The handlers, one file per resource. */
void api_get_index(struct api_call *call);
void api_get_openapi(struct api_call *call);
void api_get_health(struct api_call *call);
void api_get_ready(struct api_call *call);
void api_list_gpus(struct api_call *call);
void api_get_gpu(struct api_call *call);
void api_list_slices(struct api_call *call);
void api_adopt_slice(struct api_call *call);
void api_disown_slice(struct api_call *call);
void api_list_leases(struct api_call *call);
void api_post_lease(struct api_call *call);
void api_get_lease(struct api_call *call);
void api_patch_lease(struct api_call *call);
void api_delete_lease(struct api_call *call);
void api_post_move(struct api_call *call);
void api_get_why(struct api_call *call);
void api_get_queue(struct api_call *call);
void api_get_metrics(struct api_call *call);
void api_get_usage(struct api_call *call);
void api_get_lease_usage(struct api_call *call);
void api_get_advice(struct api_call *call);
void api_post_plan(struct api_call *call);
void api_get_layout(struct api_call *call);
void api_put_layout(struct api_call *call);
void api_get_operation(struct api_call *call);
void api_list_events(struct api_call *call);
void api_get_doctor(struct api_call *call);
void api_list_tokens(struct api_call *call);
void api_post_token(struct api_call *call);
void api_delete_token(struct api_call *call);
