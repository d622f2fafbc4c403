#pragma once
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "http/http.h"
#include "meter/counters.h"
#include "meter/meter.h"
#include "pool/pool.h"
#include <stdbool.h>
#include <stdint.h>

/* The REST resources: requests become pool events, pool state becomes JSON.
 *
 * One table of routes (routes.h) and one of fields (fields.h) check every request and generate
 * /v1/openapi.json; each resource is a file of its own.  The API reaches neither the driver nor the
 * store: whatever is not in the pool comes from the daemon through struct api_host.
 *
 * Threads: everything is on the loop's thread, callbacks included.
 *
 * Durability: a request that changes something is answered by api_on_reply() and the like, which
 * the daemon calls when what the answer promises is on disk.  Reads show the pool as it is now, a
 * commit (a few ms) ahead of the disk; an answer to a change never is.
 *
 * What the daemon does with it:
 *
 *     api_new(&host, &api)
 *     http_server_new(event, &settings, api_routes(), api, ...)
 *     for each pool event of its own or host.step():
 *         pool_step(); for each POOL_DO_HISTORY give it a seq and render it with
 *         api_event_render() into the batch; submit the batch
 *     when the batch is on disk, for each action in order:
 *         POOL_DO_HISTORY -> api_on_event(); POOL_DO_REPLY -> api_on_reply()
 *     a timer at api_next_deadline_ms() -> api_on_tick() */

struct api;

/* Who asks: what the daemon makes of a peer (uid and groups, or a token's identity). */
struct api_identity {
    char tenant[POOL_TENANT_SIZE];
    enum pool_role role;
    unsigned uid; /* of the peer; (unsigned)-1 over TCP */
    struct pool_limits limits; /* the tenant's own from the configuration; -1: the general ones */
};

/* Texts are borrowed until the loop is entered again. */
struct api_facts {
    const char *machine;        /* host name */
    const char *driver_version; /* NULL unknown */
    const char *nvml_version;   /* NULL unknown */
    const char *library;        /* path of the NVML library */
    int64_t started_ms;
    bool is_simulated;
    const char *not_ready;     /* why /readyz says 503; NULL: ready */
    const char *store_problem; /* the disk refuses: changes are refused too (503); NULL fine */
    bool is_shutting_down;     /* changes are refused (503) */
};

enum api_check_state { API_CHECK_OK, API_CHECK_WARNING, API_CHECK_ERROR };

/* One line of `tangram doctor`. */
struct api_check {
    const char *name; /* "driver", "store", "permissions" ... one word */
    enum api_check_state state;
    const char *what; /* one sentence: how it is */
    const char *todo; /* what to do about it; NULL nothing */
};

struct api_token {
    char id[24]; /* "t-1" */
    char name[129];
    char tenant[POOL_TENANT_SIZE];
    enum pool_role role;
    int64_t created_ms;
};

/* What the daemon gives.  Copied by api_new(). */
struct api_host {
    void *userdata; /* first argument of all of them */
    struct pool *pool; /* to read, and for pool_preview() */
    struct meter *meter; /* to read */
    const struct meter_counters *counters; /* and these, by GPU: for /metrics */
    const struct meter_board *boards;
    unsigned board_count;
    int64_t sample_interval_ms;
    int64_t advice_after_ms, idle_after_ms; /* of the configuration's sampling */

    /* The clock of the pool's events. */
    int64_t (*now_ms)(void *userdata);

    /* Fills event->now_ms and runs pool_step() before it returns, so that pool_last_changes() and
     * pool_last_explanation() are about this event; then commits, and calls api_on_reply() with the
     * POOL_DO_REPLY action (best not from inside, but that is allowed). */
    void (*step)(void *userdata, struct pool_event *event);

    /* 0 with *ret; -ENOENT: nobody that this machine knows (403); -EAGAIN: it is being asked for,
     * and api_on_identified() will be called.  For every request: to be quick. */
    int (*identify)(void *userdata, const struct http_peer *peer, struct api_identity *ret);

    void (*facts)(void *userdata, struct api_facts *ret);

    /* Start time of a process (field 22 of /proc/PID/stat) for `lifetime: client`; 0: gone. */
    uint64_t (*process_start)(void *userdata, int pid);

    /* The daemon's own checks (driver, store, permissions, ...).  The API adds what the pool knows:
     * health of GPUs, pending MIG modes, quarantined slices. */
    void (*doctor)(void *userdata, void (*each)(const struct api_check *check, void *arg),
                   void *arg);

    /* As store_events(): committed events after `after_seq`, oldest first; `body` is what
     * api_event_render() made.  Returns how many, or -errno. */
    int (*events_after)(void *userdata, int64_t after_seq, unsigned limit,
                        void (*each)(int64_t seq, int64_t time_ms, const char *body, size_t len,
                                     void *arg),
                        void *arg);

    /* Access tokens for TCP.  Making and revoking is answered later, when it is on disk, with
     * api_on_token(). wish: name, tenant and role. */
    void (*token_create)(void *userdata, const struct api_token *wish, uint64_t reply_to);
    void (*token_revoke)(void *userdata, const char *id, uint64_t reply_to);
    void (*tokens)(void *userdata, void (*each)(const struct api_token *token, void *arg),
                   void *arg);
};

/* When the pool has its records: what they say is taken to be on disk. */
int api_new(const struct api_host *host, struct api **ret, struct error *err);
/* After http_server_free(): then no request is held any more. */
void api_free(struct api *api);
DEFINE_FREEP(struct api, api_free)
/* Answers everything that is held with 503 shutting_down and ends the streams. */
void api_shut_down(struct api *api);

/* For http_server_new(); its userdata is the struct api. */
const struct http_route *api_routes(void);

/* The answer to an event that came through host.step(), after its commit. */
void api_on_reply(struct api *api, const struct pool_action *reply);

/* Somebody who was being asked for may be known now. */
void api_on_identified(struct api *api);

/* code: 0 with the token that was made or revoked (the secret only after making one), or -errno
 * (-ENOENT: no such token) with a message. */
void api_on_token(struct api *api, uint64_t reply_to, int code, const struct api_token *token,
                  const char *secret, const char *message);

/* --- events --------------------------------------------------------------------------------- */

/* Something that happened, for the journal and for who listens. */
struct api_event {
    int64_t seq, time_ms;
    const char *kind; /* "lease.granted", "daemon.started", "store.failed" ... */
    int gpu;          /* -1 none */
    uint64_t lease;   /* 0 none */
    uint64_t operation;
    const char *tenant;  /* NULL or "" none */
    const char *old_uuid, *new_uuid; /* of a move; NULL or "" none */
    const char *move;    /* its name; NULL or "" none */
    const char *message; /* one sentence without the lease's name or labels: everybody sees it */
};

/* From a POOL_DO_HISTORY action, which must outlive *ret. */
void api_event_from_action(const struct pool_action *action, int64_t seq, int64_t time_ms,
                           struct api_event *ret);
/* Appends its JSON: the body for the journal and for api_on_event(). */
void api_event_render(const struct pool *pool, const struct api_event *event, struct buf *ret);

/* After its commit, in order of seq: feeds the event streams and wakes requests that wait. `body`
 * is what api_event_render() made, borrowed. */
void api_on_event(struct api *api, const struct api_event *event, const char *body, size_t len);
/* At start: the greatest seq that is in the history already. */
void api_set_last_event(struct api *api, int64_t seq);

/* --- time ----------------------------------------------------------------------------------- */

/* When api_on_tick() is due, on the clock of host.now_ms(); INT64_MAX never. */
int64_t api_next_deadline_ms(const struct api *api);
void api_on_tick(struct api *api, int64_t now_ms);
