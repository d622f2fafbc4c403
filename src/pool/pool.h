#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include "mig/gpu.h"
#include "mig/mig.h"
#include "plan/plan.h"
#include "plan/set.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

/* Who holds what: GPUs, slices, leases, the queue, tenants.
 *
 * The pool is one deterministic state machine.  pool_step() takes an event and appends actions;
 * it does no I/O, reads no clock and draws no random number, so the same events give the same
 * actions in the daemon, in the tests and in simulated time.  To be called from one thread.
 *
 * The caller's part of the bargain (src/daemon/):
 *   1. after each step, take what changed with pool_next_dirty() and commit it as one transaction;
 *   2. carry out the step's actions, in order, only after that commit;
 *   3. hand each driver result back as an event, in the order of each GPU's worker.
 *
 * All structures are owned by the pool.  Other rooms read them and change them only by events.
 * Times are milliseconds since 1970, on a clock that never jumps back while the daemon runs. */

enum pool_lease_state {
    POOL_LEASE_QUEUED,
    POOL_LEASE_CUTTING,
    POOL_LEASE_ACTIVE,
    POOL_LEASE_RELEASING, /* given back, but a process still runs on it or it is not yet checked */
    POOL_LEASE_RELEASED,  /* this and the following are ends */
    POOL_LEASE_EXPIRED,
    POOL_LEASE_REJECTED,
    POOL_LEASE_LOST,
    POOL_LEASE_STATE_COUNT
};

enum pool_slice_state {
    POOL_SLICE_CREATING,    /* the intent is recorded; a job may be under way */
    POOL_SLICE_IDLE,        /* ours, nobody's */
    POOL_SLICE_LEASED,      /* at least one compute instance is leased */
    POOL_SLICE_DESTROYING,  /* the intent is recorded; a job may be under way */
    POOL_SLICE_QUARANTINED, /* ours, the driver would not let it go; retried now and then */
    POOL_SLICE_FOREIGN,     /* found, not made by us: shown, never touched */
    POOL_SLICE_STATE_COUNT
};

enum pool_health {
    POOL_HEALTH_OK,
    POOL_HEALTH_UNRESPONSIVE, /* a driver call has not come back */
    POOL_HEALTH_LOST,         /* fell off the bus, or absent since the start */
    POOL_HEALTH_FAILED,       /* discovery failed; the reason says why */
    POOL_HEALTH_COUNT
};

enum pool_role { POOL_ROLE_VIEWER, POOL_ROLE_TENANT, POOL_ROLE_OPERATOR, POOL_ROLE_COUNT };

const char *pool_lease_state_name(enum pool_lease_state state);
const char *pool_slice_state_name(enum pool_slice_state state);
const char *pool_health_name(enum pool_health health);
const char *pool_role_name(enum pool_role role);

static inline bool pool_lease_is_ended(enum pool_lease_state state)
{
    return state >= POOL_LEASE_RELEASED;
}

#define POOL_MAX_COUNT 64   /* slices in one lease */
#define POOL_TENANT_SIZE 64 /* bytes of a tenant's name with the NUL */
#define POOL_WANT_SIZE 64   /* bytes of a profile as written, with the NUL */
/* Slices on one GPU's list: those that go, and those that come in their place. */
#define POOL_GPU_SLICES_MAX (2 * MIG_MAX_INSTANCES)

struct pool_tenant {
    char name[POOL_TENANT_SIZE];
    unsigned queued;        /* requests in the queue */
    unsigned compute_slots; /* in leases that are cutting, active or releasing */
    unsigned max_queued, max_compute; /* as told with its last request; max_compute 0: no limit */
    struct pool_lease *keyed;         /* its leases by idempotency key */
    struct pool_lease *elder; /* QUEUED: those of the tenant behind it leave it the quota that it
                                 takes; NULL none */
    UT_hash_handle hh;
};

/* A compute instance of a slice. */
struct pool_ci {
    uint32_t id; /* the driver's; unique in the slice; valid when settled */
    int profile; /* index in the slice profile's compute[], or MIG_PROFILE_NONE */
    char name[MIG_NAME_BYTES];
    uint8_t compute_slots;
    char mig_uuid[MIG_UUID_SIZE];
    uint64_t lease;  /* 0: idle */
    bool is_settled; /* it exists on the GPU */
};

struct pool_slice {
    uint64_t id; /* ours, stable, key of its record */
    struct pool_gpu *gpu;
    enum pool_slice_state state;
    int profile; /* index in the GPU's geometry, MIG_PROFILE_NONE when it is not in there */
    uint32_t profile_id; /* the driver's runtime id */
    char profile_name[MIG_NAME_BYTES];
    uint8_t start, size, compute_slots;
    uint32_t gi_id; /* the driver's; valid while the instance exists, reused by it later */
    struct pool_ci ci[MIG_MAX_COMPUTE];
    unsigned ci_count;
    char tenant[POOL_TENANT_SIZE]; /* who used it since it was made; "" nobody */
    uint64_t lease;     /* CREATING, DESTROYING: for which lease; 0 none */
    uint64_t operation; /* CREATING, DESTROYING: for which apply; 0 none */
    uint32_t processes; /* at the last look */
    uint64_t job;       /* the driver makes or destroys it, or a compute instance in it; 0 none */
    unsigned tries;
    int64_t retry_at_ms;
    char reason[160]; /* why it is quarantined or not yet gone */
    bool is_dirty, is_recorded; /* changed since the last commit; has a record */
    bool is_listed_idle;
    TAILQ_ENTRY(pool_slice) dirty_link, idle_link;
};

enum pool_mig_policy { POOL_MIG_KEEP, POOL_MIG_ON_DEMAND };

struct pool_gpu {
    unsigned id; /* its number here, in the driver room and in plan/ */
    struct mig_gpu_info info;
    struct mig_geometry *geometry; /* NULL: the GPU has none, or has not told it */
    int class_id;                  /* in plan/; -1 without geometry */
    bool is_managed;
    enum pool_mig_policy mig_policy;
    enum pool_health health;
    char health_reason[160];
    struct pool_slice *slices[POOL_GPU_SLICES_MAX]; /* ordered by start */
    unsigned slice_count;
    uint64_t lease;     /* the whole GPU, 0 none */
    uint32_t processes; /* on the GPU itself, at the last look */
    bool is_scanned;    /* enumerated since the start: nothing is cut on it before */
    char read_problem[160]; /* why the enumeration that is needed has failed; "" it has not */
    bool wants_scan;    /* what is known may be wrong: nothing is cut before the next scan */
    bool scans_again;   /* something has changed since the scan under way was asked for */
    uint64_t scan_job;  /* an enumeration is under way, 0 none */
    uint64_t stale_scan_job; /* one of before the GPU was lost: it says nothing, 0 none */
    uint64_t mode_job;  /* a MIG mode change is, 0 none */
    bool has_mode_wish; /* it is to change, as soon as no slice stands against it */
    bool wants_mig;     /* to what */
    uint64_t mode_operation;
    int64_t cooldown_until_ms; /* after a failure nothing is cut here until then */
    unsigned failures;         /* in a row */
    int64_t create_us, destroy_us; /* measured by the driver, moving averages; 0 unknown */
    bool is_plan_stale;            /* plan/ has to hear of a change */
    bool has_resting;              /* plan/ was told that a lease is left alone for a while */
    bool wants_pump;               /* has work to hand to its worker; on the pool's list then */
    TAILQ_ENTRY(pool_gpu) pump_link;
};

/* One slice, or one whole GPU, of a lease. */
struct pool_part {
    struct pool_gpu *gpu;
    struct pool_slice *slice; /* NULL: the whole GPU */
    unsigned ci;              /* index in slice->ci */
    uint64_t check_job;       /* RELEASING: looks for processes on it, 0 none */
    bool is_checked;          /* RELEASING: none was found */
    bool is_missing;          /* RELEASING: not even the slice was found */
};

/* A lease on its way to another slice (src/pool/move.c). */
enum pool_move_phase {
    POOL_MOVE_NONE,
    POOL_MOVE_MAKING,  /* the new slice is being made */
    POOL_MOVE_ASKED,   /* it is there; the holder was told, and may answer until due_ms */
    POOL_MOVE_LEAVING, /* answered, or called off: no process may run on what is let go */
    POOL_MOVE_PHASE_COUNT
};
const char *pool_move_phase_name(enum pool_move_phase phase);
struct pool_lease;
#define POOL_MOVE_NAME_SIZE 40
/* "l-7.2": the second move of l-7, the one under way or the last; "" it never had one. */
const char *pool_move_name(const struct pool_lease *lease, char buf[static POOL_MOVE_NAME_SIZE]);

struct pool_move {
    enum pool_move_phase phase;
    unsigned part;            /* which of the lease's parts goes elsewhere: one at a time */
    struct pool_slice *slice; /* the second one, beside the lease's part: its compute instance names
                                 the lease, too */
    bool is_stop;             /* the holder is to stop and let its only slice, this one, go: the
                                 lease then waits first in the queue for another */
    uint64_t request;         /* for whom room is made; 0: to keep the fleet together */
    bool is_confirmed;        /* LEAVING: the holder has agreed: the lease has its new slice, and
                                 the old one is let go; or it has none any more, with is_stop */
    int64_t due_ms;           /* ASKED: to be answered by then; LEAVING: to be gone by then */
    unsigned extra_slots;     /* LEAVING, and not gone by then: counted on the tenant, too */
    uint64_t check_job;       /* LEAVING: looks for processes, 0 none */
    int64_t retry_at_ms;      /* LEAVING: next look */
    unsigned unseen;          /* LEAVING: the last so many looks have failed */
};

/* The moves that make room for one request: which lease goes where.  They begin in this order, each
 * when its place is free.  A request of several slices gets all of its windows or none: they are
 * kept until the last is there, or the whole is called off. */
struct pool_shift_move {
    uint64_t lease;
    unsigned part;
    struct pool_gpu *gpu;
    uint8_t profile, start;
    bool is_stop; /* it lets its slice go first */
    bool is_begun, is_done;
};
struct pool_shift_window {
    struct pool_gpu *gpu;
    uint8_t profile, start;
};
struct pool_shift {
    struct pool_shift_window window[POOL_MAX_COUNT]; /* what is kept for the request */
    unsigned window_count;
    unsigned count;
    struct pool_shift_move move[PLAN_MOVES_MAX];
    int64_t blind_until_ms; /* a GPU of it cannot be read: waited for until then; 0 all can */
};

/* What is asked for.  Strings are borrowed for the call. */
struct pool_request {
    const char *profile; /* as written, what `want` was parsed from */
    struct mig_want want;
    unsigned count;      /* 1..POOL_MAX_COUNT */
    const char *model;   /* part of the GPU's name, any case; NULL any */
    const char *name;    /* NULL none */
    const char *labels;  /* a JSON object as text; NULL none */
    int64_t ttl_ms;      /* from the grant; 0 no limit */
    int priority;
    bool is_movable;
    bool must_not_wait;         /* reject instead of queueing */
    int holder_pid;             /* the lease ends with this process; 0 none */
    uint64_t holder_start;      /* its start time, to tell it from a later namesake */
    bool holder_waits;          /* only until the grant; then the lease stands on its own */
    const char *idempotency_key; /* NULL none */
    uint64_t request_hash;      /* of the whole body, to tell a repeat from another request */
};

struct pool_lease {
    uint64_t id;
    enum pool_lease_state state;
    enum pool_lease_state end_state; /* what RELEASING leads to */
    struct pool_tenant *tenant;
    unsigned uid;
    char profile[POOL_WANT_SIZE];
    struct mig_want want;
    unsigned count;
    unsigned compute_slots; /* counted on the tenant while it has parts */
    char *model, *name, *labels, *idempotency_key;
    uint64_t request_hash;
    int64_t ttl_ms;
    int priority;
    bool is_movable, must_not_wait;
    bool is_queued; /* is in the queue's list */
    int holder_pid;
    uint64_t holder_start;
    bool holder_waits;
    int64_t created_ms, granted_ms, expires_ms, ended_ms; /* 0: not yet, or never */
    int64_t started_ms; /* when it last left the queue, or needed none */
    int64_t driver_us; /* what the driver itself took for this lease */
    struct pool_part *part; /* while CUTTING, ACTIVE or RELEASING; after the end for the record */
    unsigned part_count;
    unsigned attempts;
    int64_t retry_at_ms; /* RELEASING: next look for processes */
    uint64_t ahead_of; /* it has what is kept for this request, since it ends in time; 0 none */
    int64_t ahead_until_ms; /* and that is: by then */
    int64_t timer_ms;    /* the earliest timer that is set for it; 0 none */
    int64_t queue_key;   /* higher goes first */
    struct pool_move move;     /* of a movable lease */
    unsigned move_count;       /* moves begun so far: the last one's number */
    unsigned vain_asks;        /* its holder was asked in vain so often, without a long rest */
    int64_t move_rest_ms;      /* it is not asked to move again before that */
    struct pool_shift *shift;  /* QUEUED: room is being made for it; NULL none */
    uint64_t stopped_for; /* QUEUED, CUTTING: it had a slice and made way for this request; 0 not */
    int64_t shift_rest_ms;     /* QUEUED: that is not tried again before */
    char reason[240];
    char end_reason[120]; /* RELEASING: what its reason will be */
    bool is_dirty, is_recorded;
    struct plan_ask ask; /* the profile by class; bound while places are looked for (grant.c) */
    int8_t resolved[PLAN_CLASSES_MAX]; /* ask.profile as it was before that */
    TAILQ_ENTRY(pool_lease) dirty_link;
    TAILQ_ENTRY(pool_lease) link; /* in the queue, or among the ended */
    bool is_keyed;                /* is among the tenant's keyed ones */
    UT_hash_handle hh, hh_key;
};

enum pool_operation_state { POOL_OP_RUNNING, POOL_OP_DONE, POOL_OP_FAILED };

/* An apply that is being carried out. */
struct pool_operation {
    uint64_t id;
    enum pool_operation_state state;
    int64_t created_ms, ended_ms;
    unsigned done, total;
    char error[200];
    bool is_dirty, is_recorded;
    TAILQ_ENTRY(pool_operation) dirty_link;
    TAILQ_ENTRY(pool_operation) link;
};

TAILQ_HEAD(pool_gpu_list, pool_gpu);
TAILQ_HEAD(pool_lease_list, pool_lease);
TAILQ_HEAD(pool_slice_list, pool_slice);
TAILQ_HEAD(pool_operation_list, pool_operation);

struct pool_settings {
    struct plan_settings plan;
    unsigned max_queued_per_tenant;  /* 0: no request may wait */
    unsigned max_compute_per_tenant; /* compute slots in leases; 0 no limit */
    int64_t age_step_ms;             /* waiting this long is worth one priority; 0 never */
    unsigned backfill_depth;         /* requests looked at behind a blocked head; 0 none */
    bool is_one_by_one;              /* who has got a place keeps it, whatever the next wants */
    unsigned keep_ended;             /* ended leases that are remembered */
    bool drops_idle;                 /* slices go as soon as nobody holds them */
    int64_t default_ttl_ms, max_ttl_ms; /* 0: none */
    unsigned max_moves;      /* leases moved for one request, at most PLAN_MOVES_MAX; 0 none */
    int64_t move_answer_ms;  /* how long a holder may take to answer */
    unsigned consolidate_per_hour; /* leases asked to move while nobody waits; 0 none */
    int64_t move_pause_ms;   /* a lease whose holder refused is left alone so long; one that was
                                asked in vain for a fraction of it, twice as long each time */
};
void pool_settings_default(struct pool_settings *settings);

struct pool;

struct pool *pool_new(const struct pool_settings *settings);
void pool_free(struct pool *pool);
DEFINE_FREEP(struct pool, pool_free)

/* At start, in this order: every GPU, every record, then pool_start(), which asks for a scan of
 * each GPU.  geometry (through mig_geometry_init()) is copied, NULL if there is none.
 * *ret_gpu is its number, counted from 0.  -ENOSPC when plan/ has too many classes. */
int pool_add_gpu(struct pool *pool, const struct mig_gpu_info *info,
                 const struct mig_geometry *geometry, bool is_managed, enum pool_mig_policy policy,
                 unsigned *ret_gpu, struct error *err);

/* What a GPU can be cut into, when it has told that only later (Ampere with its MIG mode off at the
 * start).  Nothing happens to a GPU that has a geometry already.  -ENOSPC as above. */
int pool_learn_geometry(struct pool *pool, unsigned gpu, const struct mig_geometry *geometry,
                        struct error *err);

/* Who a GPU is that did not answer before the start, or could not be read then; tell its geometry
 * and its health after it.  What records have of that UUID, on a GPU that was taken for absent, is
 * tied to it: the absent one is gone, and those behind it have new numbers.  -EEXIST: another has
 * the UUID. */
int pool_learn_identity(struct pool *pool, unsigned gpu, const struct mig_gpu_info *info,
                        bool is_managed, enum pool_mig_policy policy, struct error *err);

/* --- reading -------------------------------------------------------------------------------- */

const struct pool_settings *pool_settings(const struct pool *pool);
unsigned pool_gpu_count(const struct pool *pool);
const struct pool_gpu *pool_gpu(const struct pool *pool, unsigned gpu);
/* By "GPU-..." or PCI address or the driver's index in decimal; NULL if there is none. */
const struct pool_gpu *pool_find_gpu(const struct pool *pool, const char *name);
/* By the UUID of one of its compute instances. */
const struct pool_slice *pool_find_slice(const struct pool *pool, const char *mig_uuid);
const struct pool_slice *pool_slice_at(const struct pool_gpu *gpu, unsigned start);
const struct pool_lease *pool_find_lease(const struct pool *pool, uint64_t id);
const struct pool_operation *pool_find_operation(const struct pool *pool, uint64_t id);
/* Leases in order of their making, ended ones too: start with NULL. */
const struct pool_lease *pool_next_lease(const struct pool *pool, const struct pool_lease *after);
/* The queue from its head: start with NULL. */
const struct pool_lease *pool_next_queued(const struct pool *pool, const struct pool_lease *after);
/* 1 is the head; 0 when it does not wait. */
unsigned pool_queue_position(const struct pool *pool, const struct pool_lease *lease);

/* --- events --------------------------------------------------------------------------------- */

enum pool_job_kind {
    POOL_JOB_CREATE,    /* slice; profile_id, start, size, ci_slices */
    POOL_JOB_DESTROY,   /* slice; profile_id, start, size, mig_uuid: what must be there */
    POOL_JOB_CREATE_CI, /* slice; profile_id, start, size, ci_slices */
    POOL_JOB_CHECK,     /* slice: are there processes?  slice 0: on the GPU itself */
    POOL_JOB_MIG_MODE,  /* is_mig_enabled */
    POOL_JOB_SCAN,      /* enumerate */
    POOL_JOB_COUNT
};
const char *pool_job_name(enum pool_job_kind kind);

/* What a driver worker is to do; it comes back with the result. */
struct pool_job {
    uint64_t id; /* unique in the life of the pool */
    enum pool_job_kind kind;
    unsigned gpu;
    uint64_t slice;         /* its number here, 0 none */
    uint64_t lease;         /* CHECK: whose release waits for it */
    uint32_t profile_id;    /* the driver's runtime id */
    uint8_t start, size;
    uint8_t ci_slices;      /* compute slices of the compute instance; 0: all of the slice's */
    char mig_uuid[MIG_UUID_SIZE]; /* "" unknown */
    bool is_bare; /* DESTROY: only if there is no compute instance in it; ESTALE else */
    bool is_mig_enabled;
};

struct pool_job_result {
    struct pool_job job;
    int code; /* 0 or -errno: EBUSY in use, ENOSPC no room, ENODEV lost, ENOENT not there, ... */
    bool is_unasked;   /* the driver was not asked at all: says nothing about the GPU */
    int64_t driver_us; /* spent inside the driver */
    char message[200]; /* CHECK with code 0: who runs there, "pid 1234 (python3)" */
    bool has_instance; /* CREATE: made, or what a failed attempt has left; CREATE_CI, CHECK */
    struct mig_instance instance;
    uint32_t processes;                  /* CHECK */
    bool is_mig_enabled, is_mig_pending; /* MIG_MODE */
    const struct mig_scan *scan;         /* SCAN, borrowed */
};

/* A tenant's own limits, over those of the settings; -1: as there. */
struct pool_limits {
    int64_t max_queued, max_compute;
};

struct pool_actor {
    const char *tenant;
    enum pool_role role;
    unsigned uid;
    const struct pool_limits *limits; /* NULL: those of the settings */
};

/* One GPU's part of an apply: what shall be there at the end. */
struct pool_target {
    unsigned gpu;
    bool is_mig_enabled;
    struct {
        int profile;    /* index in the GPU's geometry */
        int ci_profile; /* index in the profile's compute[]; MIG_PROFILE_NONE the full one */
        unsigned count;
    } want[MIG_PROFILES_MAX];
    unsigned want_count;
};

enum pool_event_kind {
    POOL_EV_TICK,        /* time has passed */
    POOL_EV_RESULT,      /* result */
    POOL_EV_HEALTH,      /* gpu, health, text */
    POOL_EV_XID,         /* gpu, number, text */
    POOL_EV_SCAN,        /* gpu: enumerate it soon (the driver says that something changed) */
    POOL_EV_REQUEST,     /* actor, request, reply_to */
    POOL_EV_RELEASE,     /* actor, lease, reply_to */
    POOL_EV_RENEW,       /* actor, lease, ttl_ms, reply_to */
    POOL_EV_HOLDER_GONE, /* lease */
    POOL_EV_MOVE,        /* actor, lease, is_confirmed, text (MIG UUID, or NULL), move, reply_to */
    POOL_EV_APPLY,       /* actor, targets, target_count, is_dry_run, reply_to */
    POOL_EV_ADOPT,       /* actor, gpu, start, reply_to */
    POOL_EV_DISOWN,      /* actor, gpu, start, reply_to */
    POOL_EV_COUNT
};

/* Everything behind a pointer is borrowed for the call. */
struct pool_event {
    enum pool_event_kind kind;
    int64_t now_ms;
    uint64_t reply_to; /* the caller's cookie, comes back in the REPLY action; 0 no reply */
    struct pool_actor actor;
    const struct pool_request *request;
    const struct pool_job_result *result;
    uint64_t lease;
    int64_t ttl_ms; /* RENEW: from now; 0 no limit */
    unsigned gpu, start;
    enum pool_health health;
    unsigned number;
    const char *text;
    const struct pool_target *targets;
    unsigned target_count;
    bool is_dry_run;
    bool is_confirmed; /* MOVE: the holder has moved its work; false: it will not */
    const char *move;  /* MOVE: the name of what is answered; NULL: whatever is asked now */
    bool has_more; /* more has come at this very time: who waits is served after it */
};

/* --- actions -------------------------------------------------------------------------------- */

enum pool_answer {
    POOL_OK,
    POOL_NOT_FOUND,
    POOL_FORBIDDEN,
    POOL_BAD_REQUEST,
    POOL_DOES_NOT_FIT, /* now, and it must not wait */
    POOL_CAN_NEVER_FIT,
    POOL_QUEUE_FULL,
    POOL_KEY_CONFLICT, /* idempotency key with another body */
    POOL_ALREADY_ENDED,
    POOL_IN_USE,
    POOL_NOT_ALLOWED,  /* by the configuration */
    POOL_NO_MOVE,      /* nothing was asked that could be answered so */
    POOL_WRONG_OWNER,  /* adopted, or let go, it is already */
    POOL_ANSWER_COUNT
};

enum pool_history {
    POOL_HIST_LEASE_QUEUED,
    POOL_HIST_LEASE_CUTTING,
    POOL_HIST_LEASE_GRANTED,
    POOL_HIST_LEASE_RELEASED,
    POOL_HIST_LEASE_EXPIRED,
    POOL_HIST_LEASE_REJECTED,
    POOL_HIST_LEASE_LOST,
    POOL_HIST_LEASE_RENEWED,
    POOL_HIST_LEASE_MOVE_ASKED,     /* old_uuid, new_uuid */
    POOL_HIST_LEASE_MOVED,          /* the same */
    POOL_HIST_LEASE_MOVE_CANCELLED, /* the same */
    POOL_HIST_LEASE_STOPPED,        /* old_uuid */
    POOL_HIST_SLICE_CREATED,
    POOL_HIST_SLICE_DESTROYED,
    POOL_HIST_SLICE_ADOPTED,
    POOL_HIST_SLICE_DISOWNED,
    POOL_HIST_SLICE_FOREIGN,
    POOL_HIST_SLICE_QUARANTINED,
    POOL_HIST_SLICE_VANISHED,
    POOL_HIST_GPU_UNRESPONSIVE,
    POOL_HIST_GPU_RECOVERED,
    POOL_HIST_GPU_LOST,
    POOL_HIST_GPU_MODE,
    POOL_HIST_GPU_XID,
    POOL_HIST_OPERATION_DONE,
    POOL_HIST_OPERATION_FAILED,
    POOL_HIST_COUNT
};
/* "lease.granted", ... */
const char *pool_history_name(enum pool_history what);

enum pool_action_kind {
    POOL_DO_JOB,     /* job: give it to the GPU's worker */
    POOL_DO_REPLY,   /* reply_to, answer, lease or operation, text (one sentence, if not OK) */
    POOL_DO_HISTORY, /* history, gpu, lease, tenant, text: record it and tell who listens */
    POOL_DO_WATCH    /* lease, pid, pid_start: an event HOLDER_GONE when that process ends */
};

struct pool_action {
    enum pool_action_kind kind;
    struct pool_job job;
    uint64_t reply_to;
    enum pool_answer answer;
    enum pool_history history;
    int gpu; /* -1 none */
    uint64_t lease, operation;
    int pid;
    uint64_t pid_start;
    char tenant[POOL_TENANT_SIZE];
    char text[240];
    char old_uuid[MIG_UUID_SIZE], new_uuid[MIG_UUID_SIZE]; /* of a move; "" none */
    char move[POOL_MOVE_NAME_SIZE]; /* its name */
};

/* Grows as needed and is reused: set count to 0 between steps. */
struct pool_actions {
    struct pool_action *action;
    unsigned count, size;
};
void pool_actions_done(struct pool_actions *actions);

/* The heart.  Never fails: what is wrong with an event is said in its reply. */
void pool_step(struct pool *pool, const struct pool_event *event, struct pool_actions *actions);

/* When the pool wants a TICK at the latest; INT64_MAX never. */
int64_t pool_next_deadline_ms(const struct pool *pool);

/* --- what must survive ---------------------------------------------------------------------- */

enum pool_record_kind {
    POOL_RECORD_META = 1, /* id 0: counters */
    POOL_RECORD_LEASE,
    POOL_RECORD_SLICE,
    POOL_RECORD_OPERATION
};

struct pool_record {
    enum pool_record_kind kind;
    uint64_t id;
    char *body; /* JSON, owned by the taker; NULL: the record goes */
};

bool pool_is_dirty(const struct pool *pool);
/* Takes one changed record; false when there is none left. */
bool pool_next_dirty(struct pool *pool, struct pool_record *ret);
/* Reads one back at start: all META first, then all SLICE, then the rest.  A slice or lease on a
 * GPU that was not added brings that GPU in as lost.  -EINVAL with a message; nothing has changed
 * then. */
int pool_load_record(struct pool *pool, enum pool_record_kind kind, uint64_t id, const char *body,
                     struct error *err);
/* The latest moment that a lease's record names as past; 0 none. */
int64_t pool_latest_ms(const struct pool *pool);
/* The clock of the records was set by so much since they were written: what lives keeps its age and
 * the time that it has left.  After the last record, before pool_start(). */
void pool_shift_times(struct pool *pool, int64_t by_ms);
/* After the last record: ties leases to slices, asks for scans and watches. */
void pool_start(struct pool *pool, int64_t now_ms, struct pool_actions *actions);

/* --- questions ------------------------------------------------------------------------------ */

/* Somebody, or something, that stands in the way. */
struct pool_block {
    const struct pool_gpu *gpu;
    const struct pool_slice *slice; /* NULL: the GPU itself, see why */
    const struct pool_lease *lease; /* NULL none */
    int64_t until_ms;               /* 0 unknown */
    char why[120];
};

#define POOL_BLOCKS_MAX 64
struct pool_explanation {
    char reason[240];          /* one sentence */
    int64_t expected_start_ms; /* 0 unknown */
    struct pool_block block[POOL_BLOCKS_MAX];
    unsigned block_count;
    char help[240]; /* of pool_explain(): what would let it through, all together; "" unknown */
};
/* Why a request waits, and for whom.  `lease` is in any state. */
void pool_explain(const struct pool *pool, const struct pool_lease *lease, int64_t now_ms,
                  struct pool_explanation *ret);
/* When those who wait will have their places, as far as it is known: of the first in the queue.
 * Once for a list; pool_explain() looks it up itself. */
#define POOL_FORECAST_MAX 64
struct pool_forecast {
    unsigned count;
    struct {
        uint64_t lease;
        int64_t start_ms; /* 0 unknown */
    } entry[POOL_FORECAST_MAX];
};
void pool_forecast(const struct pool *pool, struct pool_forecast *ret);
/* 0 unknown, or too far behind. */
int64_t pool_forecast_of(const struct pool_forecast *forecast, const struct pool_lease *lease);
/* The same without `help`, which costs most, and without the expected start of others than the
 * head: for lists. */
void pool_explain_briefly(const struct pool *pool, const struct pool_lease *lease, int64_t now_ms,
                          struct pool_explanation *ret);
/* Is what pool_explain_briefly() says of two requests in the queue the same? */
bool pool_waits_alike(const struct pool *pool, const struct pool_lease *a,
                      const struct pool_lease *b);

/* What requests would get now.  Nothing is changed in the end, and no action results. */
struct pool_preview_step {
    const struct pool_gpu *gpu;
    char profile_name[MIG_NAME_BYTES]; /* "gpu" for a whole one */
    uint8_t start, size;               /* size 0: the whole GPU */
    bool is_reused;
    uint16_t destroys; /* slots of idle slices that would go */
};
/* Who would be asked to move so that the first request that does not fit now fits. */
struct pool_preview_move {
    const struct pool_lease *lease;
    const struct pool_slice *from;
    const struct pool_gpu *gpu; /* where to */
    char profile_name[MIG_NAME_BYTES];
    uint8_t start, size;
    uint16_t destroys; /* slots of idle slices there that would go */
    bool is_stop;      /* it has to let its slice go first */
};
struct pool_preview {
    bool is_fitting;
    bool is_possible; /* some GPU here could ever hold each of them */
    int64_t estimate_us;
    struct pool_preview_step step[POOL_MAX_COUNT];
    unsigned step_count;
    struct pool_explanation blocked; /* when it does not fit */
    struct pool_preview_move move[PLAN_MOVES_MAX]; /* in this order, and then the room is cut: */
    unsigned move_count;                           /* 0: no moves would help, or none are allowed */
    struct pool_preview_step room[POOL_MAX_COUNT];
    unsigned room_count;
    int64_t moves_us; /* the driver's part of it, one step after the other; 0 unknown */
    bool has_set;        /* several slices that were placed together: how well */
    struct plan_set set; /* valid with has_set */
};
void pool_preview(struct pool *pool, const struct pool_actor *actor,
                  const struct pool_request *requests, unsigned request_count, int64_t now_ms,
                  struct pool_preview *ret);

/* What the last APPLY event does, or would do, for its reply. */
struct pool_change {
    unsigned gpu;
    enum { POOL_CHANGE_KEEP, POOL_CHANGE_CREATE, POOL_CHANGE_DESTROY, POOL_CHANGE_MODE } kind;
    char profile_name[MIG_NAME_BYTES];
    uint8_t start, size;
    bool is_mig_enabled; /* MODE */
};
const struct pool_change *pool_last_changes(const struct pool *pool, unsigned *ret_count);
/* What stood in the way of the event of the last step, an APPLY or a REQUEST that must not wait;
 * else empty.  Holds until the next step. */
const struct pool_explanation *pool_last_explanation(const struct pool *pool);
