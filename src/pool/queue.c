/* The queue: who is served when something comes free.
 *
 * From the head on, each request is given its places if there are any.  The first that finds none
 * is the head; what it waits for is kept free (hold.c), and those behind it may have what is left,
 * so they never delay it.
 *
 * Places are chosen one request after the other, and what was chosen for one may stand in the way
 * of a later one although both would fit.  So nothing is begun before the pass is over: a request
 * that finds no place is tried once more together with those that have got theirs in this pass, all
 * placed anew at once (plan/set.h).  Only if all of them have places is that taken; so nobody loses
 * his place for somebody behind him. */
#include "pool/internal.h"
#include <math.h>
#include <stdlib.h>

#define LOOK_MS 5000 /* between two looks at a queue that nothing has happened to */
#define WEIGHT_MOST 100 /* priorities beyond that count no more */
#define JOINED_MAX 8 /* requests that are placed together at most */
#define JOINS_MAX 4  /* attempts in one pass */

/* What a pass has arranged and not begun. */
struct pass {
    struct pool_lease *lease[JOINED_MAX];
    bool is_bound[JOINED_MAX]; /* by the hold, when it was placed by itself */
    unsigned count;
    unsigned joined;   /* the first so many were placed together */
    bool join_is_bound;
    unsigned attempts;
    bool is_held;
};

bool lease_is_before(const struct pool_lease *a, const struct pool_lease *b)
{
    return a->queue_key > b->queue_key || (a->queue_key == b->queue_key && a->id < b->id);
}

struct pool_lease *queue_head(const struct pool *pool)
{
    struct pool_lease *l = NULL;

    TAILQ_FOREACH(l, &pool->queue, link)
    {
        if (!lease_is_over_quota(pool, l) && !shift_holds_up(pool, l)) {
            break;
        }
    }
    return l;
}

static bool has_strange_processes(const struct pool_gpu *gpu)
{
    bool has_some = gpu->processes && !gpu->info.is_mig_enabled && !gpu->lease;

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        has_some = has_some || (s->state == POOL_SLICE_IDLE && s->processes);
    }
    return has_some;
}

void queue_on_look(struct pool *pool)
{
    pool->is_look_due = false;
    /* What is kept for the head may have moved. */
    pool->wants_queue_pass = !TAILQ_EMPTY(&pool->queue);
    for (unsigned i = 0; i < pool->gpu_count && !TAILQ_EMPTY(&pool->queue); i++) {
        struct pool_gpu *gpu = pool->gpus[i];
        if (gpu->is_managed && gpu->health == POOL_HEALTH_OK && has_strange_processes(gpu)) {
            gpu_ask_scan(pool, gpu);
        }
    }
    queue_arm_look(pool);
}

/* Somebody waits, perhaps for a process to end that nobody has a lease for, or for a place that the
 * head of the queue no longer needs: no event tells of that. */
void queue_arm_look(struct pool *pool)
{
    if (!pool->is_look_due && !TAILQ_EMPTY(&pool->queue)) {
        pool->is_look_due = true;
        pool_add_timer(pool, pool->now_ms + LOOK_MS, TIMER_LOOK, 0);
    }
}

/* --- a pass ----------------------------------------------------------------------------------- */

static void begin(struct pool *pool, struct pass *pass)
{
    for (unsigned i = 0; i < pass->count; i++) {
        lease_start(pool, pass->lease[i]);
    }
    pass->count = pass->joined = 0;
}

static const struct hold *hold_if(const struct pool *pool, bool is_bound)
{
    return is_bound ? &pool->hold : NULL;
}

static void arrange(struct pool *pool, struct pass *pass, struct pool_lease *lease, bool is_bound);

/* Who has stopped for a request comes right after it: before others take the place that was kept,
 * and not where the head of the queue waits, if there is another place. */
static void serve_stopped(struct pool *pool, struct pass *pass, uint64_t request)
{
    struct pool_lease *l = NULL, *next = NULL;

    for (l = TAILQ_FIRST(&pool->queue); l; l = next) {
        next = TAILQ_NEXT(l, link);
        bool is_next = l->stopped_for == request;
        bool is_bound = is_next && pass->is_held &&
                        lease_grant(pool, l, &pool->hold) == GRANT_DONE;
        if (is_bound || (is_next && lease_grant(pool, l, NULL) == GRANT_DONE)) {
            arrange(pool, pass, l, is_bound);
        }
    }
}

/* It has its places.  Whoever comes after that sees it gone from the queue. */
static void arrange(struct pool *pool, struct pass *pass, struct pool_lease *lease, bool is_bound)
{
    bool has_shift = lease->shift != NULL;

    shift_end(pool, lease, "the request has its place");
    lease_dequeue(pool, lease);
    lease_count_slots(lease, true);
    if (pass->count == JOINED_MAX) {
        begin(pool, pass);
    }
    plan_note_turn(pool->plan, lease->part[lease->part_count - 1].gpu->id);
    pass->is_bound[pass->count] = is_bound;
    pass->lease[pass->count++] = lease;
    if (has_shift) {
        serve_stopped(pool, pass, lease->id);
    }
}

static void take_back_all(struct pool *pool, struct pass *pass)
{
    for (unsigned i = pass->count; i-- > 0;) {
        lease_count_slots(pass->lease[i], false);
        lease_ungrant(pool, pass->lease[i]);
    }
}

/* The same steps again lead to the same places. */
static void restore(struct pool *pool, struct pass *pass)
{
    struct plan_set ignored;
    unsigned kept = 0;
    bool is_joined = pass->joined &&
                     lease_grant_all(pool, pass->lease, pass->joined,
                                     hold_if(pool, pass->join_is_bound), &ignored);

    for (unsigned i = 0; i < pass->count; i++) {
        struct pool_lease *l = pass->lease[i];
        bool is_placed = is_joined && i < pass->joined;
        struct pool_lease *elder = l->tenant->elder;
        l->tenant->elder = NULL; /* since it was served, perhaps */
        is_placed = is_placed ||
                    lease_grant(pool, l, hold_if(pool, pass->is_bound[i])) == GRANT_DONE;
        l->tenant->elder = elder;
        if (is_placed) {
            lease_count_slots(l, true);
            pass->is_bound[kept] = pass->is_bound[i];
            pass->lease[kept++] = l;
        } else {
            lease_enqueue(pool, l);
        }
    }
    pass->count = kept;
}

/* Would it fit if those who have got their places in this pass had others? */
static bool join(struct pool *pool, struct pass *pass, struct pool_lease *lease)
{
    struct pool_lease *all[JOINED_MAX + 1];
    struct plan_set set;

    if (pool->settings.is_one_by_one || !pass->count || pass->count == JOINED_MAX ||
        pass->attempts == JOINS_MAX || lease->want.kind == MIG_WANT_GPU) {
        return false;
    }
    pass->attempts++;
    take_back_all(pool, pass);
    for (unsigned i = 0; i < pass->count; i++) {
        all[i] = pass->lease[i];
    }
    all[pass->count] = lease;
    if (!lease_grant_all(pool, all, pass->count + 1, hold_if(pool, pass->is_held), &set)) {
        restore(pool, pass);
        return false;
    }
    for (unsigned i = 0; i < pass->count; i++) {
        lease_count_slots(pass->lease[i], true);
    }
    pass->joined = pass->count + 1; /* it is arranged next */
    pass->join_is_bound = pass->is_held;
    return true;
}

static void serve(struct pool *pool, struct pass *pass, struct pool_lease *l)
{
    if (!l->is_queued || shift_holds_up(pool, l)) {
        return; /* its turn is right after that request, or was */
    }
    enum grant_result result = lease_grant(pool, l, hold_if(pool, pass->is_held));

    bool is_head = !pass->is_held && result == GRANT_BLOCKED;
    lease_note_elder(pool, l, is_head || result == GRANT_QUOTA);
    if (result == GRANT_DONE || (result == GRANT_BLOCKED && join(pool, pass, l))) {
        arrange(pool, pass, l, pass->is_held);
    } else if (l->must_not_wait) {
        pool_explain(pool, l, pool->now_ms, pool->explanation);
        lease_end(pool, l, POOL_LEASE_REJECTED, pool->explanation->reason);
    } else if (result == GRANT_QUOTA) {
        shift_end(pool, l, "the tenant of the request has no quota left for it");
    } else {
        shift_check_use(pool, l);
        moves_seek(pool, l, hold_if(pool, pass->is_held));
        if (!pass->is_held) {
            hold_for(pool, l, &pool->hold);
            pass->is_held = true;
        }
    }
}

double lease_weight(const struct pool_lease *lease)
{
    int priority = lease->priority < -WEIGHT_MOST ? -WEIGHT_MOST : lease->priority;

    return ldexp(1, priority > WEIGHT_MOST ? WEIGHT_MOST : priority);
}

/* Memory slots of all its parts, on the model where they take most. */
static double size_of(const struct pool *pool, const struct pool_lease *lease)
{
    unsigned size = 0;

    for (int c = 0; c < pool->class_count; c++) {
        int p = lease->ask.profile[c];
        unsigned one = p < 0 ? 0 : pool->classes[c].geometry->profiles[p].size;
        size = one > size ? one : size;
    }
    return (double)(size ? size : MIG_SLOTS_MAX) * lease->count;
}

/* Who goes first behind the head: what is made much of (plan.objective); equal ones
 * as they stand. */
struct candidate {
    struct pool_lease *lease;
    double value;
    unsigned place;
};

static int by_value(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->value != y->value) { /* NOLINT(clang-diagnostic-float-equal): of the same computation */
        return x->value > y->value ? -1 : 1;
    }
    return x->place < y->place ? -1 : 1;
}

static double value_of(const struct pool *pool, const struct pool_lease *l)
{
    if (l->stopped_for) {
        return INFINITY; /* it had a slice, and was promised another before everybody else */
    }
    switch (pool->settings.plan.objective) {
    case PLAN_REQUESTS:
        return -size_of(pool, l);
    case PLAN_PRIORITY:
        return size_of(pool, l) * lease_weight(l);
    default:
        return 0; /* taking the largest first fills the GPUs no better (docs/planner.md) */
    }
}

static void backfill(struct pool *pool, struct pass *pass, struct pool_lease *first)
{
    CLEANUP(freep) struct candidate *list = NULL;
    unsigned count = 0, n = 0;

    for (const struct pool_lease *l = first; l && count < pool->settings.backfill_depth;
         l = TAILQ_NEXT(l, link)) {
        count++;
    }
    list = xcalloc(count + 1, sizeof(*list));
    for (struct pool_lease *l = first; n < count; l = TAILQ_NEXT(l, link), n++) {
        bool was_kept = l->tenant->elder == l; /* quota: not for those who would go before it */
        lease_note_elder(pool, l, lease_is_over_quota(pool, l));
        list[n] = (struct candidate){l, was_kept ? (double)INFINITY : value_of(pool, l), n};
    }
    qsort(list, count, sizeof(*list), by_value);
    for (unsigned i = 0; i < count; i++) {
        serve(pool, pass, list[i].lease);
    }
}

void queue_pass(struct pool *pool)
{
    struct pool_lease *l = NULL, *next = NULL;
    struct pass pass = {0};

    pool->wants_queue_pass = false;
    moves_pass(pool);
    pool->wants_next_pass = false;
    for (l = TAILQ_FIRST(&pool->queue); l && !pass.is_held; l = next) {
        next = TAILQ_NEXT(l, link);
        serve(pool, &pass, l);
    }
    backfill(pool, &pass, l);
    begin(pool, &pass);
    moves_pass(pool); /* what was given and begun may stand where others' moves were to make room */
    lease_forget_ended(pool);
    queue_arm_look(pool);
    /* What was tried and taken back says that something came free, too; it did not.  But moves that
     * were called off leave room, perhaps for those who had been looked at by then.  That ends: a
     * request whose moves came to nothing rests. */
    pool->wants_queue_pass = pool->wants_next_pass;
}
