/* The trace against plan/ alone, for moves: the pool does not carry out moves, so what they would
 * give is tried here, with a simpler queue.
 *
 * Events are arrivals and ends; at equal times ends come first, then arrivals in the order of the
 * trace.  A slice is ready create_ms after its grant, later by delete_ms for each idle slice that
 * has to go and by create_ms for each move; its job runs from then.  When it ends the slice stays
 * idle, and the next job of the same tenant and profile gets it without any delay (slices pass
 * between tenants only after they were destroyed).  With both times 0 nothing stays idle.
 *
 * fifo starts jobs strictly in the order of the queue (priority, then arrival).  backfill lets
 * later ones pass if they leave alone the window that will be free first for the head, or end
 * before it is. */
#include "replay/engine.h"
#include "base/clock.h"
#include "replay/heap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct running {
    uint32_t gpu;
    struct mig_slice slice;
    int64_t end_ms;
};

struct sim {
    struct replay_run *run;
    const struct replay_setup *setup;
    const struct replay_trace *trace;
    struct plan *plan;
    uint32_t gpu_count;
    int *class_of;
    struct plan_gpu *gpus; /* our books, told to the plan after each change */
    bool keeps_idle;
    struct running *running; /* by job */
    uint32_t *holder;        /* [gpu * MIG_SLOTS_MAX + start]: job */
    uint32_t *idle_tenant;   /* [gpu * MIG_SLOTS_MAX + start] */
    int64_t *slot_end;       /* [gpu * MIG_SLOTS_MAX + slot]: when its job ends; 0 free */
    uint32_t idle_count;
    size_t queue_count;
    struct replay_heap ends; /* jobs by end */
    uint32_t *queue;         /* jobs, first the head */
    int64_t now_ms;
};

static const struct mig_geometry *geometry(const struct sim *s, uint32_t gpu)
{
    return plan_class_geometry(s->plan, s->class_of[gpu]);
}

/* --- books --- */

static size_t at(uint32_t gpu, int slot)
{
    return (size_t)gpu * MIG_SLOTS_MAX + (size_t)slot;
}

static void tell(struct sim *s, uint32_t gpu)
{
    plan_update_gpu(s->plan, gpu, &s->gpus[gpu]);
}

static void mark_slots(struct sim *s, uint32_t gpu, struct mig_slice slice, int64_t end_ms)
{
    for (int k = 0; k < geometry(s, gpu)->profiles[slice.profile].size; k++) {
        s->slot_end[at(gpu, slice.start + k)] = end_ms;
    }
}

static void drop_idle(struct sim *s, uint32_t gpu, uint16_t bits)
{
    struct plan_gpu *g = &s->gpus[gpu];
    int n = 0;

    for (int i = 0; i < g->idle_count; i++) {
        if (bits >> i & 1) {
            s->idle_count--;
        } else {
            g->idle[n++] = g->idle[i];
        }
    }
    g->idle_count = (uint8_t)n;
}

static uint16_t idle_touched(const struct sim *s, uint32_t gpu, uint16_t window)
{
    uint16_t bits = 0;

    for (int i = 0; i < s->gpus[gpu].idle_count; i++) {
        struct mig_slice m = s->gpus[gpu].idle[i];
        bits |= mig_window(geometry(s, gpu), m.profile, m.start) & window ? (uint16_t)(1u << i) : 0;
    }
    return bits;
}

static bool may_move(const struct sim *s, uint32_t job)
{
    return s->setup->max_moves > 0 && (!s->trace->has_movable || s->trace->jobs[job].is_movable);
}

static void take(struct sim *s, uint32_t job, uint32_t gpu, struct mig_slice slice)
{
    struct plan_gpu *g = &s->gpus[gpu];

    mig_use_add(geometry(s, gpu), &g->busy, slice.profile, slice.start);
    if (may_move(s, job)) {
        g->movable[g->movable_count++] = (struct plan_movable){slice, 1};
    }
    s->holder[at(gpu, slice.start)] = job;
    s->running[job].gpu = gpu;
    s->running[job].slice = slice;
    tell(s, gpu);
}

static void give_back(struct sim *s, uint32_t job)
{
    struct running *r = &s->running[job];
    struct plan_gpu *g = &s->gpus[r->gpu];

    mig_use_remove(geometry(s, r->gpu), &g->busy, r->slice.profile, r->slice.start);
    for (int i = 0; i < g->movable_count; i++) {
        if (g->movable[i].slice.start == r->slice.start) {
            g->movable[i] = g->movable[--g->movable_count];
            break;
        }
    }
    mark_slots(s, r->gpu, r->slice, 0);
}

/* --- starting a job --- */

static bool is_excluded(const struct sim *s, const struct plan_ask *ask, uint32_t gpu,
                        struct mig_slice slice)
{
    return ask->excluded_count && ask->excluded[0].gpu_id == gpu &&
           (ask->excluded[0].mask & mig_window(geometry(s, gpu), slice.profile, slice.start));
}

/* An idle slice of the same profile and tenant, the one that is cheapest to have busy. */
static bool find_idle(const struct sim *s, uint32_t job, const struct plan_ask *ask,
                      uint32_t *ret_gpu, int *ret_idle)
{
    double best = INFINITY;

    for (uint32_t gpu = 0; s->idle_count && gpu < s->gpu_count; gpu++) {
        for (int i = 0; i < s->gpus[gpu].idle_count; i++) {
            struct mig_slice m = s->gpus[gpu].idle[i];
            if (m.profile != ask->profile[s->class_of[gpu]] ||
                s->idle_tenant[at(gpu, m.start)] != s->trace->jobs[job].tenant ||
                is_excluded(s, ask, gpu, m)) {
                continue;
            }
            double cost = plan_score(s->plan, ask, gpu, m);
            if (cost < best) {
                best = cost;
                *ret_gpu = gpu;
                *ret_idle = i;
            }
        }
    }
    return isfinite(best);
}

static void carry_out(struct sim *s, const struct plan_moves *m, int64_t *delay_ms)
{
    for (int i = 0; i < m->count; i++) {
        const struct plan_move *v = &m->moves[i];
        uint32_t who = s->holder[at(v->from_gpu, v->from.start)];
        uint16_t window = mig_window(geometry(s, v->to_gpu), v->to.profile, v->to.start);
        uint16_t gone = idle_touched(s, v->to_gpu, window);
        *delay_ms += s->setup->create_ms + s->setup->delete_ms * __builtin_popcount(gone);
        s->run->recuts++;
        drop_idle(s, v->to_gpu, gone);
        give_back(s, who);
        tell(s, v->from_gpu);
        take(s, who, v->to_gpu, v->to);
        mark_slots(s, v->to_gpu, v->to, s->running[who].end_ms);
    }
    s->run->moves += m->count;
}

static int decide(struct sim *s, const struct plan_ask *ask, int max_moves, struct plan_moves *ret)
{
    int64_t from_ns = clock_mono_ns();
    int r = max_moves ? plan_find_moves(s->plan, ask, max_moves, ret)
                      : plan_place(s->plan, ask, &ret->spot);

    replay_note_decision(s->run, clock_mono_ns() - from_ns);
    return r;
}

static void start(struct sim *s, uint32_t job, uint32_t gpu, struct mig_slice slice,
                  int64_t delay_ms)
{
    const struct mig_profile *p = &geometry(s, gpu)->profiles[slice.profile];
    int64_t ready_ms = s->now_ms + delay_ms;
    int64_t end_ms = ready_ms + s->trace->jobs[job].duration_ms;

    s->running[job].end_ms = end_ms;
    take(s, job, gpu, slice);
    mark_slots(s, gpu, slice, end_ms);
    replay_heap_push(&s->ends, end_ms, job);
    s->run->spans[job] = (struct replay_span){true, ready_ms, end_ms, p->size, p->slices};
}

static bool try_start(struct sim *s, uint32_t job, const struct plan_exclusion *out, int max_moves)
{
    struct plan_ask ask = s->run->asks[s->trace->jobs[job].profile];
    struct plan_moves moves = {0};
    int64_t delay_ms = 0;
    uint32_t gpu = 0;
    int idle = 0;

    ask.excluded = out;
    ask.excluded_count = out != NULL;
    if (find_idle(s, job, &ask, &gpu, &idle)) {
        struct mig_slice slice = s->gpus[gpu].idle[idle];
        drop_idle(s, gpu, (uint16_t)(1u << idle));
        start(s, job, gpu, slice, 0);
        return true;
    }
    if (decide(s, &ask, max_moves, &moves) < 0) {
        return false;
    }
    carry_out(s, &moves, &delay_ms);
    gpu = moves.spot.gpu_id;
    uint16_t window =
        mig_window(geometry(s, gpu), moves.spot.slice.profile, moves.spot.slice.start);
    uint16_t gone = idle_touched(s, gpu, window);
    drop_idle(s, gpu, gone);
    delay_ms += s->setup->create_ms + s->setup->delete_ms * __builtin_popcount(gone);
    s->run->recuts++;
    start(s, job, gpu, moves.spot.slice, delay_ms);
    return true;
}

static void end_job(struct sim *s, uint32_t job)
{
    struct running *r = &s->running[job];
    struct plan_gpu *g = &s->gpus[r->gpu];

    give_back(s, job);
    if (s->keeps_idle) {
        g->idle[g->idle_count++] = r->slice;
        s->idle_tenant[at(r->gpu, r->slice.start)] = s->trace->jobs[job].tenant;
        s->idle_count++;
    }
    tell(s, r->gpu);
}

/* --- the queue --- */

static void enqueue(struct sim *s, uint32_t job)
{
    size_t i = s->queue_count++;
    int32_t priority = s->trace->jobs[job].priority;

    while (i > 0 && s->trace->jobs[s->queue[i - 1]].priority < priority) {
        s->queue[i] = s->queue[i - 1];
        i--;
    }
    s->queue[i] = job;
}

static void dequeue(struct sim *s, size_t i)
{
    s->queue_count--;
    memmove(&s->queue[i], &s->queue[i + 1], (s->queue_count - i) * sizeof(*s->queue));
}

/* The window that will be free first for a job that fits nowhere now, and when. */
static int64_t reserve(const struct sim *s, uint32_t job, struct plan_exclusion *ret)
{
    const struct plan_ask *ask = &s->run->asks[s->trace->jobs[job].profile];
    int64_t best = INT64_MAX;

    for (uint32_t gpu = 0; gpu < s->gpu_count; gpu++) {
        const struct mig_geometry *g = geometry(s, gpu);
        int p = ask->profile[s->class_of[gpu]];
        for (int k = 0; p >= 0 && k < g->profiles[p].start_count; k++) {
            int64_t free_at = s->now_ms;
            for (int i = 0; i < g->profiles[p].size; i++) {
                int64_t e = s->slot_end[at(gpu, g->profiles[p].starts[k] + i)];
                free_at = e > free_at ? e : free_at;
            }
            if (free_at < best) {
                best = free_at;
                *ret = (struct plan_exclusion){gpu, mig_window(g, p, g->profiles[p].starts[k])};
            }
        }
    }
    return best;
}

/* The longest that a job could take from its grant to its end. */
static int64_t worst_end(const struct sim *s, uint32_t job)
{
    return s->now_ms + s->trace->jobs[job].duration_ms + s->setup->create_ms +
           MIG_SLOTS_MAX * s->setup->delete_ms;
}

static void backfill(struct sim *s)
{
    struct plan_exclusion out;
    int64_t free_at_ms = reserve(s, s->queue[0], &out);
    /* By trace profile: 1 does not fit beside the window, 2 does not fit at all. */
    CLEANUP(freep) uint8_t *hopeless = xcalloc(s->trace->profile_count + 1, 1);

    for (size_t i = 1; i < s->queue_count;) {
        uint32_t job = s->queue[i];
        uint8_t *h = &hopeless[s->trace->jobs[job].profile];
        bool is_started = *h < 1 && try_start(s, job, &out, 0);
        if (!is_started && *h < 1) {
            *h = 1;
        }
        if (!is_started && *h < 2 && worst_end(s, job) <= free_at_ms) {
            is_started = try_start(s, job, NULL, 0);
            *h = is_started ? 1 : 2;
        }
        if (is_started) {
            dequeue(s, i);
        } else {
            i++;
        }
    }
}

static void schedule(struct sim *s)
{
    while (s->queue_count && try_start(s, s->queue[0], NULL, s->setup->max_moves)) {
        dequeue(s, 0);
    }
    if (s->queue_count > 1 && s->setup->queue == REPLAY_BACKFILL) {
        backfill(s);
    }
}

static void arrive(struct sim *s, uint32_t job)
{
    uint32_t profile = s->trace->jobs[job].profile;

    if (!s->run->is_possible[profile]) {
        return;
    }
    if (s->setup->queue == REPLAY_LOSS) {
        try_start(s, job, NULL, s->setup->max_moves);
    } else {
        enqueue(s, job);
    }
}

static void run(struct sim *s)
{
    size_t next = 0;

    while (next < s->trace->count || s->ends.count) {
        int64_t end_ms = replay_heap_next_ms(&s->ends);
        if (next == s->trace->count || end_ms <= s->trace->jobs[next].arrival_ms) {
            s->now_ms = end_ms;
            end_job(s, (uint32_t)replay_heap_pop(&s->ends).value);
        } else {
            s->now_ms = s->trace->jobs[next].arrival_ms;
            arrive(s, (uint32_t)next++);
        }
        /* All that happens at one time is seen before the queue moves. */
        int64_t arrival_ms = next < s->trace->count ? s->trace->jobs[next].arrival_ms : INT64_MAX;
        if (s->queue_count && replay_heap_next_ms(&s->ends) > s->now_ms &&
            arrival_ms > s->now_ms) {
            schedule(s);
        }
    }
}

/* --- setting up --- */

static int add_fleet(struct sim *s, struct error *err)
{
    const struct replay_fleet *f = s->setup->fleet;
    uint32_t gpu = 0;
    int r = 0;

    for (int i = 0; r == 0 && i < f->count; i++) {
        for (uint32_t k = 0; r == 0 && k < f->groups[i].gpus; k++, gpu++) {
            r = plan_add_gpu(s->plan, gpu, i, err);
            s->class_of[gpu] = i;
            s->gpus[gpu].is_usable = true;
        }
    }
    return r;
}

static void allocate(struct sim *s)
{
    size_t jobs = s->trace->count + 1, cells = (size_t)s->gpu_count * MIG_SLOTS_MAX;

    s->class_of = xcalloc(s->gpu_count, sizeof(*s->class_of));
    s->gpus = xcalloc(s->gpu_count, sizeof(*s->gpus));
    s->running = xcalloc(jobs, sizeof(*s->running));
    s->holder = xcalloc(cells, sizeof(*s->holder));
    s->idle_tenant = xcalloc(cells, sizeof(*s->idle_tenant));
    s->slot_end = xcalloc(cells, sizeof(*s->slot_end));
    s->queue = xcalloc(jobs, sizeof(*s->queue));
}

static void sim_done(struct sim *s)
{
    free(s->class_of);
    free(s->gpus);
    free(s->running);
    free(s->holder);
    free(s->idle_tenant);
    free(s->slot_end);
    replay_heap_done(&s->ends);
    free(s->queue);
}

int replay_run_plan(struct replay_run *r, struct error *err)
{
    struct sim s = {.run = r,
                    .setup = r->setup,
                    .trace = r->setup->trace,
                    .plan = r->plan,
                    .gpu_count = r->setup->fleet->gpus,
                    .keeps_idle = r->setup->create_ms || r->setup->delete_ms};
    int rc;

    allocate(&s);
    rc = add_fleet(&s, err);
    if (rc == 0) {
        run(&s);
    }
    sim_done(&s);
    return rc;
}
