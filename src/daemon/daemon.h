#pragma once
#include "api/api.h"
#include "base/clock.h"
#include "daemon/config.h"
#include "daemon/subuid.h"
#include "driver/driver.h"
#include "http/http.h"
#include "pool/pool.h"
#include "store/store.h"
#include <sys/queue.h>
#include <systemd/sd-event.h>
#include <uthash.h>

/* What the files of the daemon share.  Everything here belongs to the loop's thread. */

/* A kind of the store's records besides those of enum pool_record_kind. */
#define DAEMON_RECORD_TOKEN 16
#define DAEMON_RECORD_ACCOUNT 17 /* of struct meter, by tenant */
#define DAEMON_RECORD_META 18    /* "tokens": the number of the next one; "clock": a clock_mark */
#define DAEMON_RECORD_USAGE 19   /* of struct meter, by lease */
#define DAEMON_RECORD_DAY 20     /* the same, by day, profile and tenant */

/* What is to happen once its batch is on disk. */
struct pending {
    uint64_t batch;
    enum { PENDING_ACTION, PENDING_EVENT, PENDING_TOKEN } kind;
    struct pool_action action; /* ACTION: carried out; EVENT: shown, with its JSON */
    int64_t seq, time_ms;      /* EVENT */
    const char *event_kind;    /* EVENT of the daemon's own, NULL: the action's */
    char *body;                /* EVENT: JSON.  TOKEN: the secret, NULL when one was revoked */
    size_t body_len;
    struct api_token token;
    uint64_t reply_to;
    TAILQ_ENTRY(pending) link;
};
TAILQ_HEAD(pending_list, pending);

/* A job that the driver room has. */
struct driver_work {
    uint64_t tag; /* the pool's job id */
    struct pool_job job;
    UT_hash_handle hh;
};

/* A process whose end ends a lease. */
struct watch {
    struct daemon *daemon;
    uint64_t lease;
    int pid;
    uint64_t start;
    int pidfd; /* -1: there was no descriptor to be had; tried again by watch_retry() */
    sd_event_source *source;
    LIST_ENTRY(watch) link;
};

struct known_user;  /* identity.c */
struct known_token; /* tokens.c */
struct sampler;     /* sampling.c */

struct daemon {
    struct daemon_config config;
    sd_event *event;
    struct driver *driver;
    struct store *store;
    struct pool *pool;
    struct meter *meter;
    struct api *api;
    struct http_server *http;

    struct clock_mark last_mark; /* of the start before this one; boot_id "" and 0: none */
    int64_t clock_offset_ms; /* wall clock minus boot clock, at start: never jumps after that */
    int64_t started_ms;
    struct pool_actions actions; /* of the current step */
    struct pending_list pending;
    uint64_t submitted, committed; /* batches */
    int64_t event_seq;
    struct driver_work *works; /* what the driver room has and has not answered; hash by tag */
    struct sampler *sampler;
    struct meter_counters counters;
    struct meter_board *boards; /* by GPU */
    uint64_t timed_batch; /* whose commit is timed, since timed_ns; 0 none */
    int64_t timed_ns;
    LIST_HEAD(, watch) watches;
    sd_event_source *timer, *flush, *scan_timer, *driver_source;
    int64_t timer_ms; /* what it is set to, 0: off */

    char machine[256];
    char not_ready[160], store_problem[512];
    struct store_report store_report;
    bool is_simulated, is_stopping, is_ready;
    bool is_watching; /* scan_timer looks after busy workers */
    int64_t next_scan_ms; /* monotonic: when the next regular scan is due */
    char sim_library[4096];
    struct known_user *users;
    struct userdb *userdb;
    sd_event_source *userdb_source;
    struct subuid subuids; /* of the loop */
    struct known_token *tokens;
    uint64_t next_token;
};

/* loop.c: the one place where events become steps, steps become commits, and commits deeds. */
int64_t daemon_now_ms(const struct daemon *d);
void daemon_step(struct daemon *d, struct pool_event *event);
/* After something else has filled d->actions (pool_start()). */
void daemon_finish_step(struct daemon *d);
/* Records an event of the daemon's own ("daemon.started"). */
void daemon_tell(struct daemon *d, const char *kind, const char *message);
int loop_init(struct daemon *d, struct error *err);
void loop_done(struct daemon *d);
struct pending *pending_add(struct daemon *d, uint64_t batch);
/* What changed in the pool goes into the batch. */
void daemon_collect(struct daemon *d, struct store_batch *batch);
/* Takes the batch over; an empty one is dropped. */
void daemon_submit(struct daemon *d, struct store_batch *batch);

/* work.c: between the pool's jobs and the driver's. */
void work_submit(struct daemon *d, const struct pool_job *job);
/* Looks after the workers' clocks from now on: one may hang. */
void work_watch(struct daemon *d);
/* Announces readiness once every GPU was read and the journal has what was found. */
void work_tell_ready(struct daemon *d);
int work_init(struct daemon *d, struct error *err);
void work_done(struct daemon *d);

/* account.c: what leases hold, told to the meter. */
void account_resume(struct daemon *d);
/* A lease has begun or ended. */
void account_note(struct daemon *d, const struct pool_action *a);
/* What changed in the meter goes into the batch. */
void account_collect(struct daemon *d, struct store_batch *batch);

/* count.c: for GET /metrics. */
void count_init(struct daemon *d);
void count_done(struct daemon *d);
void count_history(struct daemon *d, const struct pool_action *a);
void count_decision(struct daemon *d, int64_t since_ns);
void count_submit(struct daemon *d);
void count_commits(struct daemon *d, uint64_t before);
void count_result(struct daemon *d, const struct driver_result *r);

/* sampling.c: what leased slices do. */
int sampling_init(struct daemon *d, struct error *err);
void sampling_done(struct daemon *d);
/* A lease has begun. */
void sampling_wake(struct daemon *d);
void sampling_take(struct daemon *d, const struct driver_result *result);
/* `base` with what the driver told. */
struct meter_sample sampling_read(const struct driver_reading *read, struct meter_sample base);
/* Has what was learnt since the last time written. */
void sampling_settle(struct daemon *d);

/* start.c: from a configuration to a running daemon, and back. */
int daemon_open(struct daemon *d, struct error *err);
void daemon_close(struct daemon *d);

/* setclock.c: the wall clock may be set while nobody looks. */
int setclock_load(struct daemon *d, const char *body, size_t len);
/* Moves what is on record by what the clock was moved since, and notes the clock of this start.
 * With all records, before pool_start(). */
void setclock_mend(struct daemon *d);

/* identity.c */
int identity_init(struct daemon *d, struct error *err);
/* As identify() of struct api_host. */
int identity_find(struct daemon *d, const struct http_peer *peer, struct api_identity *ret);
/* For http/: whose connections count together. */
uid_t identity_counted_as(uid_t uid, void *userdata);
void identity_done(struct daemon *d);

/* tokens.c */
int tokens_load(struct daemon *d, const char *id, const char *body, size_t len);
/* The counter, so that the number of a revoked token is never given again. */
int tokens_load_meta(struct daemon *d, const char *body, size_t len);
bool tokens_check(const char *token, char ret_identity[static HTTP_IDENTITY_SIZE], void *userdata);
const struct api_token *tokens_find(const struct daemon *d, const char *id);
void tokens_create(void *userdata, const struct api_token *wish, uint64_t reply_to);
void tokens_revoke(void *userdata, const char *id, uint64_t reply_to);
void tokens_each(void *userdata, void (*each)(const struct api_token *token, void *arg),
                 void *arg);
void tokens_done(struct daemon *d);

/* watch.c */
void watch_add(struct daemon *d, uint64_t lease, int pid, uint64_t start);
/* For those that could not be watched yet. */
void watch_retry(struct daemon *d);
uint64_t watch_process_start(int pid);
void watch_done(struct daemon *d);

/* simulate.c: the embedded machine of --simulate. */
int simulate_prepare(struct daemon *d, struct error *err);
/* Could it be made?  -EINVAL says where the wish stands and why not. */
int simulate_check(const struct daemon_config *config, struct error *err);

/* facts.c */
/* Who else may write into the state directory; NULL: nobody. */
const char *facts_state_problem(const struct daemon *d);
void facts_fill(void *userdata, struct api_facts *ret);
void facts_doctor(void *userdata, void (*each)(const struct api_check *check, void *arg),
                  void *arg);
