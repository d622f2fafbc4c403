#pragma once
#include "pool/pool.h"

/* What the files of this room share.  The rules that hold between any two events:
 *
 *   - gpu->slices are disjoint except that a CREATING slice without a job may overlap DESTROYING
 *     ones: they go first, then its job is issued (gpu_pump());
 *   - a slice with a job has exactly one job, and only its result changes the slice's state;
 *   - a lease that is CUTTING, ACTIVE or RELEASING has `count` parts, and each part's compute
 *     instance (or whole GPU) names the lease; no other lease has parts;
 *   - an ACTIVE or RELEASING lease that is moved, or one part of it, has one slice more, whose one
 *     compute instance names the lease, too (move.c); nothing else is named by who does
 *     not name it;
 *   - a QUEUED lease is in the queue's list, an ended one in the list of the ended. */

enum timer_kind { TIMER_LEASE, TIMER_GPU, TIMER_LOOK, TIMER_CONSOLIDATE };

struct timer {
    int64_t when_ms;
    enum timer_kind kind;
    uint64_t id;
};

/* GPUs of one model with one geometry: a class of plan/. */
struct pool_class {
    char model[96];
    const struct mig_geometry *geometry; /* owned by plan/ */
    struct pool_slice_list idle[MIG_PROFILES_MAX]; /* ours, free, by profile; oldest first */
};

/* A reservation for the blocked head of the queue. */
struct hold {
    struct plan_exclusion window[POOL_MAX_COUNT];
    struct mig_use own[POOL_MAX_COUNT];  /* by window: the slices that it is kept for */
    struct mig_use then[POOL_MAX_COUNT]; /* and with them what stays on the GPU, engines and all */
    unsigned count;
    int64_t free_at_ms; /* when the last of it is known to come free; 0 unknown */
    uint64_t lease;
};

#define SHIFTS_MAX 16 /* requests for which room is made at a time */

struct gone_record {
    enum pool_record_kind kind;
    uint64_t id;
};

struct pool {
    struct pool_settings settings;
    struct plan *plan;
    struct pool_class *classes;
    int class_count;
    struct pool_gpu **gpus;
    unsigned gpu_count;
    struct pool_lease *leases;   /* hash by id */
    struct pool_tenant *tenants; /* hash by name */
    struct pool_lease_list queue, ended;
    unsigned ended_count;
    struct pool_operation_list operations; /* newest last */
    unsigned operation_count;
    uint64_t next_lease, next_slice, next_job, next_operation;
    bool is_meta_dirty;
    uint64_t top_record[POOL_RECORD_OPERATION + 1]; /* highest number that had a record, by kind */
    struct pool_lease_list dirty_leases;
    struct pool_slice_list dirty_slices;
    struct pool_operation_list dirty_operations;
    struct gone_record *gone;
    unsigned gone_count, gone_size;
    struct pool_gpu_list pump;
    struct timer *timers; /* binary heap by when_ms */
    unsigned timer_count, timer_size;
    bool wants_queue_pass; /* something came free: look at the whole queue */
    bool wants_next_pass;  /* and that while the queue was looked at: look once more */
    bool is_trial;         /* a preview: nothing is to be recorded, all is taken back */
    uint64_t trial_lease;  /* its leases have numbers from this on */
    bool is_look_due;      /* a TIMER_LOOK is set: who waits for processes to end is looked after */
    struct hold hold;      /* of the last pass */
    struct plan_exclusion held[POOL_MAX_COUNT]; /* of it, what binds the lease that is looked at */
    struct pool_lease *shifts[SHIFTS_MAX]; /* the requests that have one */
    unsigned shift_count;
    uint64_t consolidating; /* the lease that was asked last to bring the fleet together; 0 none */
    unsigned seekers; /* requests that have looked for moves in this pass */
    /* `held`, and with it what is kept where room is being made for others (moves_bind()) */
    struct plan_exclusion bound[POOL_MAX_COUNT + SHIFTS_MAX * (PLAN_MOVES_MAX + POOL_MAX_COUNT)];
    struct plan_set last_set; /* how good the places of the last gang are */
    int64_t now_ms, started_ms;
    struct pool_actions *out; /* of the current step */
    struct pool_change *changes;
    unsigned change_count;
    struct pool_explanation *explanation;
};

/* pool.c */
struct pool_action *pool_act(struct pool *pool, enum pool_action_kind kind);
void pool_reply(struct pool *pool, uint64_t cookie, enum pool_answer answer, uint64_t lease,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void pool_tell(struct pool *pool, enum pool_history what, const struct pool_gpu *gpu,
               const struct pool_lease *lease, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
struct pool_job *pool_emit_job(struct pool *pool, enum pool_job_kind kind, struct pool_gpu *gpu);
void pool_add_timer(struct pool *pool, int64_t when_ms, enum timer_kind kind, uint64_t id);
bool pool_pop_timer(struct pool *pool, int64_t now_ms, struct timer *ret);
struct pool_tenant *pool_tenant_get(struct pool *pool, const char *name);
void pool_lease_add(struct pool *pool, struct pool_lease *lease);
struct pool_lease *pool_lease_get(struct pool *pool, uint64_t id);
void pool_mark_lease(struct pool *pool, struct pool_lease *lease);
void pool_mark_slice(struct pool *pool, struct pool_slice *slice);
void pool_mark_operation(struct pool *pool, struct pool_operation *op);
/* There is, or was, a record of this number. */
void pool_note_number(struct pool *pool, enum pool_record_kind kind, uint64_t id);
void pool_mark_gone(struct pool *pool, enum pool_record_kind kind, uint64_t id);

/* slice.c: slices, the GPUs that carry them, and the pump that turns what is due into jobs. */
static inline uint16_t slice_mask(const struct pool_slice *s)
{
    return (uint16_t)(((1u << s->size) - 1) << s->start);
}
/* The part of the lease that is moved. */
static inline const struct pool_part *move_part(const struct pool_lease *lease)
{
    return &lease->part[lease->move.part];
}
/* A new slice at its place in gpu->slices; NULL when the GPU's list is full. */
struct pool_slice *slice_new(struct pool *pool, struct pool_gpu *gpu, int profile, unsigned start);
/* Its GPU's geometry is known now. */
void slice_learn_profile(struct pool *pool, struct pool_slice *slice);
void slice_remove(struct pool *pool, struct pool_slice *slice);
void slice_set_state(struct pool *pool, struct pool_slice *slice, enum pool_slice_state state);
struct pool_slice *slice_by_id(struct pool_gpu *gpu, uint64_t id);
/* Has the slice a lease now (law 1)? */
bool slice_is_leased(const struct pool_slice *slice);
/* May it be destroyed to make room? */
bool slice_is_spare(const struct pool_slice *slice);
/* Adds its slots, and its engines unless it overlaps what is there.  Two may overlap for a while:
 * one that goes and the one to come in its place, or one of ours that is gone already and a foreign
 * one. */
void slice_add_to_use(const struct pool_slice *slice, struct mig_use *use);
void slice_add_ci(struct pool_slice *slice, int ci_profile, uint64_t lease);
void slice_drop_ci(struct pool *pool, struct pool_slice *slice, unsigned index);
/* Copies what the driver found into the slice. */
void slice_learn(struct pool *pool, struct pool_slice *slice, const struct mig_instance *found);
/* Marks it to be destroyed; the pump issues the job.  An apply that still had plans with it hears
 * that they failed. */
void slice_doom(struct pool *pool, struct pool_slice *slice, uint64_t lease, uint64_t operation);
const char *slice_label(const struct pool_slice *slice, char buf[static 96]);
/* The first of the leases in it; NULL none. */
const struct pool_lease *slice_holder(const struct pool *pool, const struct pool_slice *slice);
/* When nobody has it any more, as far as that is known; 0: nobody can tell. */
int64_t slice_until_ms(const struct pool *pool, const struct pool_slice *slice);

void gpu_changed(struct pool *pool, struct pool_gpu *gpu);
/* Is it known what stands on it?  Until then nothing is cut there. */
static inline bool gpu_is_read(const struct pool_gpu *gpu)
{
    return gpu->is_scanned && !gpu->wants_scan;
}
/* Can something be placed on it at all now?  With why (may be NULL) when not. */
bool gpu_is_usable(const struct pool *pool, const struct pool_gpu *gpu, const char **why);
/* Is its MIG mode off, but switched on (now, or already asked for) when a slice is to come? */
bool gpu_can_switch_on(const struct pool *pool, const struct pool_gpu *gpu);
void gpu_refresh_plan(struct pool *pool, struct pool_gpu *gpu);
void gpu_cool_down(struct pool *pool, struct pool_gpu *gpu);
void gpu_pump_all(struct pool *pool);
/* Slices to come without a job that cannot come any more: they are given up. */
void gpu_give_up_hopeless(struct pool *pool, struct pool_gpu *gpu, const char *why);
/* What stands on the GPU, or will, and is not to go; without `except`. */
struct mig_use gpu_use_of_staying(const struct pool_gpu *gpu, const struct pool_slice *except);
/* Asks for an enumeration, unless one is on its way. */
void gpu_ask_scan(struct pool *pool, struct pool_gpu *gpu);
void gpu_ask_mode(struct pool *pool, struct pool_gpu *gpu, bool is_enabled, uint64_t operation);

/* result.c: what comes back from the driver. */
/* The slice, or a compute instance in it, exists: whoever waited for it has it now. */
void slice_settle(struct pool *pool, struct pool_slice *slice);
void pool_on_result(struct pool *pool, const struct pool_job_result *result);
void pool_on_health(struct pool *pool, struct pool_gpu *gpu, enum pool_health health,
                    const char *why);

/* scan.c: what is really there. */
void pool_on_scan(struct pool *pool, struct pool_gpu *gpu, const struct mig_scan *scan);

/* ask.c: what a lease asks for. */
/* Are its parts compute instances in slices that it shares within its tenant? */
bool lease_is_shared(const struct pool_lease *lease);
/* Are its parts slices that are to be placed together? */
bool lease_is_gang(const struct pool_lease *lease);
/* Is its name one that the lease asks for? */
bool lease_allows_gpu(const struct pool_lease *lease, const struct pool_gpu *gpu);
/* Profile index on this GPU that answers the lease; MIG_PROFILE_NONE if none does. */
int lease_profile_on(const struct pool_lease *lease, const struct pool_gpu *gpu);
/* Fills lease->ask: what it asks for, by class of GPUs.  -ENOENT: no GPU here offers it. */
int lease_resolve(struct pool *pool, struct pool_lease *lease, struct error *err);
/* The compute-instance profile of the lease within a slice profile. */
int lease_ci_profile_on(const struct pool_lease *lease, const struct pool_gpu *gpu, int profile);
/* Parts of the lease that one slice has room for: compute instances share one. */
unsigned lease_parts_in_window(const struct pool_lease *lease, const struct pool_gpu *gpu);

/* grant.c: all parts of a lease or none. */
enum grant_result { GRANT_DONE, GRANT_BLOCKED, GRANT_QUOTA };
/* All parts or none.  DONE: the lease is ACTIVE or CUTTING. */
enum grant_result lease_grant(struct pool *pool, struct pool_lease *lease, const struct hold *hold);
/* What the lease may not have now is left out while a place for it is looked for. */
void lease_bind(struct pool *pool, struct pool_lease *lease, const struct hold *hold);
void lease_unbind(struct pool_lease *lease);
/* Whoever stands in what is kept for the head was let in because it ends in time. */
void lease_note_promise(struct pool_lease *lease, const struct hold *hold);
/* The request that the lease would keep waiting if it ran so much longer, although it was let in
 * ahead of it because it ends in time; NULL none. */
const struct pool_lease *lease_breaks_promise(const struct pool *pool,
                                              const struct pool_lease *lease, int64_t ttl_ms);
/* plan/ hears who may be asked to move now: that changes with time alone, too. */
void moves_refresh_plan(struct pool *pool);
/* May others be asked to move for its sake?  Not for several that are no slices of their own. */
bool lease_may_seek(const struct pool *pool, const struct pool_lease *lease);
/* Moves that would let all of it in; false: none, or none is needed. */
bool lease_find_moves(struct pool *pool, struct pool_lease *lease, const struct hold *hold,
                      struct plan_set_moves *ret);

/* gang.c: several parts at once. */
/* Places for all parts that the leases still lack, together; plan/ chooses them.  False: some are
 * missing; what has been taken is to be taken back (lease_ungrant()). */
bool leases_take_together(struct pool *pool, struct pool_lease *const *leases, unsigned count,
                          struct plan_set *ret);
/* The parts of all of them, placed together; all or none.  As lease_grant(), and none of them is
 * counted on its tenant.  *ret says how good the places are that plan/ had to find. */
bool lease_grant_all(struct pool *pool, struct pool_lease *const *leases, unsigned count,
                     const struct hold *hold, struct plan_set *ret);

/* take.c: a place for one part of a lease.  Nothing of it has happened before a job is issued. */
/* The best kind of place there is, and there the best place. */
bool lease_take_part(struct pool *pool, struct pool_lease *lease);
/* One more part, cut there. */
bool lease_take_cut_at(struct pool *pool, struct pool_lease *lease, struct pool_gpu *gpu,
                       struct mig_slice where);
/* The idle slice that stands there, when the lease may have it as it is; and taking it. */
struct pool_slice *lease_idle_at(const struct pool *pool, const struct pool_lease *lease,
                                 unsigned gpu_id, struct mig_slice where);
void lease_take_idle(struct pool *pool, struct pool_lease *lease, struct pool_slice *slice);
/* One more compute instance in a slice of its tenant. */
bool lease_take_share(struct pool *pool, struct pool_lease *lease);
/* What slices of its tenant have room for without a driver call, or with one for the compute
 * instance alone. */
void lease_take_shares(struct pool *pool, struct pool_lease *lease);
/* What the lease takes of its tenant's quota, now that its parts are known. */
unsigned lease_slots_of_parts(const struct pool_lease *lease);
/* Takes back what has been arranged and the driver has not begun. */
void lease_ungrant(struct pool *pool, struct pool_lease *lease);
void lease_add_part(struct pool_lease *lease, struct pool_gpu *gpu, struct pool_slice *slice,
                    unsigned ci);
/* A slice for the lease at this very place: an idle one of the kind, or one to come, for which idle
 * ones go; NULL when there is no room on the GPU's list. */
struct pool_slice *lease_put(struct pool *pool, struct pool_lease *lease, struct pool_gpu *gpu,
                             int profile, unsigned start);
/* plan/ hears of what has changed since the last look. */
void pool_refresh_plan(struct pool *pool);

/* quota.c: how many compute slots a tenant may have. */
/* Compute slots that the whole lease takes on GPUs of this class; -1: GPUs without one. */
unsigned lease_slots_on(const struct pool *pool, const struct pool_lease *lease, int class_id);
/* What its tenant may have beside what it has; UINT_MAX: no limit. */
unsigned lease_quota_left(const struct pool *pool, const struct pool_lease *lease);
/* Is there no GPU on which its tenant's quota leaves enough, beside what is kept for the elder? */
bool lease_is_over_quota(const struct pool *pool, const struct pool_lease *lease);
/* Leaves out the models on which the lease would be more than its tenant may have. */
void lease_bind_quota(const struct pool *pool, struct pool_lease *lease);
/* Would these, together, be more than one of their tenants may have? */
bool leases_are_over_quota(const struct pool *pool, struct pool_lease *const *leases,
                           unsigned count);
/* The request of the same tenant, before it in the queue, that has waited so long that quota is
 * kept for it; NULL none. */
const struct pool_lease *lease_elder(const struct pool_lease *lease);
/* QUEUED: it is blocked by its quota alone, or first of all; or not (any more). */
void lease_note_elder(struct pool *pool, struct pool_lease *lease, bool is_blocked);

/* hold.c: what is kept for the head of the queue. */
void hold_for(const struct pool *pool, const struct pool_lease *lease, struct hold *ret);
/* Does a slice of the profile on the hold's GPU leave the engines that are kept? */
bool hold_leaves_engines(const struct hold *hold, unsigned index, const struct pool_gpu *gpu,
                         int profile);

/* possible.c: what could ever be. */
/* Could this GPU ever hold one part of it?  With why not. */
bool lease_is_possible_on(const struct pool_lease *lease, const struct pool_gpu *gpu,
                          const char **why);
/* Parts that all GPUs here, empty, could hold of it; not counted beyond what it asks for. */
unsigned lease_possible_count(const struct pool *pool, const struct pool_lease *lease);
/* Why no GPU here could ever hold it; "" when one could.  Resolves its profile. */
void lease_impossible_reason(struct pool *pool, struct pool_lease *lease, char *buf, size_t size);

/* lease.c: the life of a lease, and its place in the queue. */
/* The queue_key of who comes before everybody who has asked at some time. */
#define LEASE_KEY_FIRST INT64_MAX
struct pool_lease *lease_new(struct pool *pool, const struct pool_actor *actor,
                             const struct pool_request *request);
void lease_free(struct pool *pool, struct pool_lease *lease);
#define LEASE_WORDS_SIZE (POOL_WANT_SIZE + 16)
/* "2g.20gb", or "3 x 2g.20gb"; buf may not be needed. */
const char *lease_words(const struct pool_lease *lease, char buf[static LEASE_WORDS_SIZE]);
void lease_set_reason(struct pool_lease *lease, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* In and out of the queue's list, and counted on the tenant. */
void lease_enqueue(struct pool *pool, struct pool_lease *lease);
void lease_dequeue(struct pool *pool, struct pool_lease *lease);
/* Its places are arranged, and counted: it has them, or waits for the driver only. */
void lease_start(struct pool *pool, struct pool_lease *lease);
/* All parts exist: it is the tenant's now. */
void lease_activate_if_settled(struct pool *pool, struct pool_lease *lease);
/* A part could not be made: back to the queue, with its place in it. */
void lease_requeue(struct pool *pool, struct pool_lease *lease, const char *why);
/* It has let its only slice go so that this request fits: first in the queue. */
void lease_stop(struct pool *pool, struct pool_lease *lease, uint64_t request);
/* Counts the lease's parts on its tenant, or no longer. */
void lease_count_slots(struct pool_lease *lease, bool is_taken);
/* Its end at once, in whatever state it is. */
void lease_end(struct pool *pool, struct pool_lease *lease, enum pool_lease_state state,
               const char *why);
/* Lets go of one compute instance of the lease's; its slice is idle when it was the last. */
void lease_drop_slice(struct pool *pool, struct pool_lease *lease, struct pool_slice *slice,
                      unsigned ci);
/* Drops the oldest ended ones beyond the settings' keep_ended. */
void lease_forget_ended(struct pool *pool);
/* Sees to a TIMER_LEASE at that time, unless an earlier one is on its way: that one sets the next,
 * so that renewals do not pile up timers. */
void lease_arm_timer(struct pool *pool, struct pool_lease *lease, int64_t when_ms);
/* The clock was set by so much (pool_shift_times()). */
void lease_shift_times(struct pool *pool, struct pool_lease *lease, int64_t by_ms);

/* request.c: what people ask of leases. */
/* Tries a new request: those who wait come first. */
enum grant_result lease_try_new(struct pool *pool, struct pool_lease *lease);
/* The same for several new ones, all or none (lease_grant_all()). */
bool lease_try_new_set(struct pool *pool, struct pool_lease *const *leases, unsigned count);
/* The lease of an event, if the actor may change it; answers otherwise. */
struct pool_lease *lease_of_event(struct pool *pool, const struct pool_event *event);
void lease_on_request(struct pool *pool, const struct pool_event *event);
void lease_on_release(struct pool *pool, const struct pool_event *event);
void lease_on_renew(struct pool *pool, const struct pool_event *event);
void lease_on_holder_gone(struct pool *pool, const struct pool_event *event);

/* release.c: how a lease is given back. */
/* Begins its end: checks for processes first. */
void lease_release(struct pool *pool, struct pool_lease *lease, enum pool_lease_state end_state,
                   const char *why);
/* RELEASING: asks about all parts of which it is not known yet that nobody runs there. */
void lease_check_parts(struct pool *pool, struct pool_lease *lease);
void lease_on_check(struct pool *pool, struct pool_lease *lease, struct pool_part *part,
                    const struct pool_job_result *result);
/* RELEASING: its end, when no process runs on anything of it any more. */
void lease_end_if_checked(struct pool *pool, struct pool_lease *lease);
void lease_on_timer(struct pool *pool, struct pool_lease *lease);

/* queue.c: who is served when something comes free. */
/* Does the first come before the second in the queue? */
bool lease_is_before(const struct pool_lease *a, const struct pool_lease *b);
/* What one slot of it counts with objective priority: twice as much with each priority. */
double lease_weight(const struct pool_lease *lease);
void queue_pass(struct pool *pool);
/* The first in the queue that others have to leave room for; NULL none.  Who waits because of a
 * quota waits for itself alone. */
struct pool_lease *queue_head(const struct pool *pool);
void queue_on_look(struct pool *pool);
/* Somebody waits: sees to it that the queue is looked at now and then. */
void queue_arm_look(struct pool *pool);

/* move.c: one lease that goes elsewhere. */
/* May it be asked to move now? */
bool move_is_possible(const struct pool *pool, const struct pool_lease *lease);
/* The second slice is there. */
void move_on_made(struct pool *pool, struct pool_lease *lease, struct pool_slice *slice);
/* Asks the holder to stop: the slice goes before there is another. */
void move_begin_stop(struct pool *pool, const struct pool_lease *request,
                     struct pool_lease *mover);
void move_on_answer(struct pool *pool, const struct pool_event *event);
void move_on_check(struct pool *pool, struct pool_lease *lease,
                   const struct pool_job_result *result);
void move_on_timer(struct pool *pool, struct pool_lease *lease);
/* MAKING, ASKED: the holder keeps what it has. */
void move_call_off(struct pool *pool, struct pool_lease *lease, const char *why);
/* The same for all moves to a GPU. */
void moves_leave_gpu(struct pool *pool, struct pool_gpu *gpu, const char *why);
/* The slice cannot come, or is gone, or is on a GPU that does not answer.  False: it is not the
 * second slice of the lease's move. */
bool move_give_up(struct pool *pool, struct pool_lease *lease, const struct pool_slice *slice,
                  const char *why);
/* The lease is given back: nothing is asked of its holder any more. */
void move_on_release(struct pool *pool, struct pool_lease *lease);
/* The lease has no parts any more. */
void move_drop(struct pool *pool, struct pool_lease *lease);
/* At the start, from its record. */
void move_resume(struct pool *pool, struct pool_lease *lease);
void move_explain(const struct pool *pool, const struct pool_lease *lease, char *buf, size_t size);

/* shift.c: the moves that make room for one request. */
/* Looks for moves that make room for a request that is blocked, and begins them. */
void moves_seek(struct pool *pool, struct pool_lease *lease, const struct hold *hold);
/* What moves_seek() would do for it. */
void shift_preview(struct pool *pool, struct pool_lease *lease, struct pool_preview *ret);
/* How many holders would be asked if it might wait; 0: that would not help. */
unsigned shift_would_ask(struct pool *pool, struct pool_lease *lease);
/* What plan/ found, by lease; false: somebody in it may not be asked. */
bool shift_from_plan(struct pool *pool, const struct plan_set_moves *found,
                     struct pool_shift *ret);
/* The lease that may be asked to move and has this slice, as that part; NULL: nobody. */
struct pool_lease *move_lease_at(struct pool *pool, const struct pool_gpu *gpu,
                                 struct mig_slice at, unsigned *ret_part);
/* Begins the move of a part; request NULL: to keep the fleet together.  False: there is no room on
 * the list. */
bool move_begin(struct pool *pool, const struct pool_lease *request, struct pool_lease *mover,
                unsigned part, struct pool_gpu *gpu, struct mig_slice to);
/* Adds what is kept for other requests to what the lease's ask leaves alone. */
void moves_bind(struct pool *pool, struct pool_lease *lease);
/* Has it stopped for a request that has not got its place yet? */
bool shift_holds_up(const struct pool *pool, const struct pool_lease *lease);
/* Goes on with what has begun, and gives up what cannot come any more. */
void moves_pass(struct pool *pool);
/* A request for which all moves are done is still blocked. */
void shift_check_use(struct pool *pool, struct pool_lease *lease);
/* The request needs no room any more, or cannot have it so. */
void shift_end(struct pool *pool, struct pool_lease *lease, const char *why);
/* At the start, when every lease has been read: moves of which nobody knows any more for whom. */
void moves_tie(struct pool *pool);
void shift_explain(const struct pool *pool, const struct pool_lease *lease,
                   struct pool_explanation *ret);

/* consolidate.c */
void consolidation_arm(struct pool *pool);
void consolidation_on_timer(struct pool *pool);
/* Somebody has to wait. */
void consolidation_yield(struct pool *pool);

/* apply.c */
void pool_on_apply(struct pool *pool, const struct pool_event *event);
void pool_on_adopt(struct pool *pool, const struct pool_event *event);
void operation_progress(struct pool *pool, uint64_t id, const char *failure);

/* explain.c */
void explain_block(struct pool_explanation *ret, const struct pool_gpu *gpu,
                   const struct pool_slice *slice, const struct pool_lease *lease,
                   const char *why);

/* help.c: "release of l-3 (vision) and l-6 (speech)"; "" when nobody here can help. */
void explain_help(const struct pool *pool, const struct pool_lease *lease, char *buf, size_t size);
