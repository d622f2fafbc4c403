#pragma once
#include "api/api.h"
#include "base/json.h"
#include "api/route.h"
#include "base/tree.h"
#include <sys/queue.h>
#include <uthash.h>

/* Inside the API room: a request on its way from the route to its answer. */

struct api_idem;
struct api_stream;

/* A request that was checked: who asks, for what.  Lives on the dispatcher's stack, or in a struct
 * api_held when the answer has to wait. */
struct api_call {
    struct api *api;
    struct http_request *req; /* NULL: answered, or the client has gone */
    const struct api_route *route;
    struct api_identity who;
    json_t *body;          /* checked against route->body; NULL when that is NULL */
    json_t *query;         /* the same for route->query */
    struct api_idem *idem; /* where the answer is remembered; NULL nowhere */
};

/* A request that waits: first for the reply to its pool event (cookie), then perhaps for a lease or
 * an operation to come to something. */
struct api_held {
    struct api_call call;
    uint64_t cookie; /* 0: no reply is due */
    void (*on_reply)(struct api_held *held, const struct pool_action *reply);
    /* Asked at each event about what is awaited, and at the deadline (is_late): answers the call
     * when it is time to. */
    void (*look)(struct api_held *held, bool is_late);
    uint64_t subject;          /* the lease that the event is about; 0 none */
    unsigned gpu, start;       /* the slice that the event is about */
    uint64_t lease, operation; /* what is awaited; 0 none */
    int64_t deadline_ms;
    bool wants_capture;
    bool is_asking; /* who the client is */
    char *changes, *blocking; /* JSON arrays: what the pool said right after the step */
    TAILQ_ENTRY(api_held) link;
    UT_hash_handle hh; /* by cookie */
};

TAILQ_HEAD(api_held_list, api_held);
TAILQ_HEAD(api_stream_list, api_stream);
TAILQ_HEAD(api_idem_list, api_idem);

/* A lease whose grant is on disk. */
struct api_granted {
    uint64_t lease;
    UT_hash_handle hh;
};

struct api {
    struct api_host host;
    uint64_t last_cookie;
    struct api_held *by_cookie;
    struct api_held_list held;
    struct api_walk *walks; /* over them, that are under way (held.c) */
    int64_t deadline_ms; /* the earliest of all; INT64_MAX none */
    struct api_granted *granted;
    struct api_stream_list streams;
    int64_t last_event;
    struct api_idem *idem_by_key;
    struct api_idem_list idems; /* oldest first */
    unsigned idem_count;
    struct buf out;     /* where answers are written */
    char *openapi;      /* made when first asked for */
};

#define API_OUT_BYTES (64u * 1024 * 1024)
/* A change that was not committed after this long is answered with 503. */
#define API_COMMIT_MS 30000
/* A client of whom is not known after this long who it is is answered with 503. */
#define API_IDENTITY_MS 5000

/* --- answering (each once per call; harmless when the client has gone) ---------------------- */

/* The emptied output buffer as a writer. */
struct json_out api_begin(struct api *api);
/* Answers with what was written to api->out. */
void api_reply(struct api_call *call, unsigned status);
/* A problem; `more` (NULL: none) is an object whose members are added, and is consumed. */
void api_problem(struct api_call *call, unsigned status, const char *reason, json_t *more,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* {"pointer": ...}, {"blocking": [...]} for it. */
json_t *api_more_pointer(const char *pointer);
json_t *api_more_blocking(const char *json_array);
/* What a pool's answer other than POOL_OK means over HTTP. */
void api_refuse(struct api_call *call, const struct pool_action *reply, json_t *more);
/* Sets the Location header to /v1/KIND/PREFIX-ID. */
void api_set_location(struct api_call *call, const char *kind, const char *prefix, uint64_t id);

/* Frees what the call owns. */
void api_call_done(struct api_call *call);

/* --- waiting -------------------------------------------------------------------------------- */

/* Moves the call (which is empty afterwards) into a held one. */
struct api_held *api_hold(struct api_call *call);
/* Steps the pool with the event; its reply goes to on_reply, which answers, or calls api_wait(). */
void api_step(struct api_call *call, struct pool_event *event,
              void (*on_reply)(struct api_held *held, const struct pool_action *reply));
/* The same for what is not an event: the cookie to give away, and its return. */
uint64_t api_hold_for_reply(struct api_call *call);
struct api_held *api_take_reply(struct api *api, uint64_t cookie); /* NULL: nobody waits for it */
void api_held_drop(struct api_held *held);
/* Waits until `look` answers, asked at events about the lease or operation and at the deadline. */
void api_wait(struct api_held *held, uint64_t lease, uint64_t operation, int64_t deadline_ms,
              void (*look)(struct api_held *held, bool is_late));
/* For the file that feeds events in: who waits for this lease, or for any operation, looks. */
void api_wake(struct api *api, uint64_t lease, bool is_operation);

/* A grant may be promised when it is on disk: it was in the records at the start, or its event has
 * come back from the journal. */
bool api_is_grant_durable(const struct api *api, uint64_t lease);
void api_learn_grants(struct api *api); /* at the start, from the records */

/* --- what resources share ------------------------------------------------------------------- */

/* Values of checked members; absent and null give the default. */
int64_t api_int(const json_t *object, const char *name, int64_t otherwise);
const char *api_str(const json_t *object, const char *name);
bool api_bool(const json_t *object, const char *name);
/* "l-7" with prefix "l" is 7; 0 when it is no such id. */
uint64_t api_parse_id(const char *text, const char *prefix);
int64_t api_now_ms(const struct api *api);
bool api_is_operator(const struct api_call *call);
struct pool_actor api_actor(const struct api_call *call);

void api_add_placement(struct json_out *w, const char *name, unsigned start, unsigned size);
void api_add_slice(struct json_out *w, const char *name, const struct pool_slice *slice);
/* The lease; name, labels and env only when is_whole. */
void api_add_lease(struct json_out *w, const char *name, const struct pool_lease *lease,
                   bool is_whole);
/* Where the lease is asked to go, or null. */
void api_add_move(struct json_out *w, const char *name, const struct pool_lease *lease,
                  bool is_whole);
/* "env" for a program that uses this device; empty when it is NULL or "". */
void api_add_device_env(struct json_out *w, const char *mig_uuid);
/* Steps the pool with an event about the lease of {id}; the answer is the lease. */
void api_change_lease(struct api_call *call, struct pool_event *event);
/* What the administrator should know or do about the GPU; false: nothing. */
bool api_gpu_note(const struct pool_gpu *gpu, char *buf, size_t size);
bool api_sees_whole(const struct api_call *call, const struct pool_lease *lease);
/* The array of what stands in the way. */
void api_add_blocking(struct json_out *w, const char *name, const struct pool_explanation *why);
/* The same, and "keep", "create" ... of the last apply, as text of its own (caller frees). */
char *api_blocking_text(const struct pool_explanation *why);
char *api_changes_text(const struct pool *pool);

/* The lease of {id}; NULL: it was answered. */
const struct pool_lease *api_find_lease(struct api_call *call);

/* Of tenant, route and body, to tell a repeat from another request. */
uint64_t api_request_hash(const struct api_call *call);

/* The OpenAPI document (caller frees). */
char *api_openapi_text(void);

/* --- remembered answers (Idempotency-Key) --------------------------------------------------- */

/* True: go on (call->idem is set when there is a key).  False: it was answered. */
bool api_idem_begin(struct api_call *call, const char *key, uint64_t hash);
/* The answer to remember; status 0: forget the key, so that it can be tried again. */
void api_idem_end(struct api_call *call, unsigned status, const char *body, size_t len);
void api_idem_done(struct api *api);

/* --- streams -------------------------------------------------------------------------------- */

void api_streams_send(struct api *api, const struct api_event *event, const char *body, size_t len);
/* History for those that are behind; returns when to come again. */
int64_t api_streams_tick(struct api *api, int64_t now_ms);
void api_streams_close(struct api *api);
