/* When those who wait are going to have their places, as far as it is known.
 *
 * The queue is gone through on paper: each request takes the first time and place that is free of
 * who is there now and of who stands before it, and has it for as long as it says.  The head takes
 * what is kept for it (hold.c).  So what is said to the head holds, unless leases are renewed or
 * processes outlast them; the others are told what comes out if nobody new passes them, ends early
 * or goes where the paper has somebody else.  Before, everybody was told when the first window
 * opens, as if nobody else waited for it. */
#include "pool/internal.h"

#define FOREVER INT64_MAX
#define TRIES 8 /* times at which all parts of a gang are tried together */

/* Somebody has this of a GPU, from a time until before another. */
struct span {
    struct mig_use use;
    int64_t from_ms, until_ms;
};

struct board {
    const struct pool_gpu *gpu;
    struct span *spans;
    unsigned count, size;
};

struct paper {
    const struct pool *pool;
    struct board *boards; /* by number of the GPU */
};

/* Where one part goes, and when. */
struct spot {
    struct board *board;
    int profile, start;
    int64_t at_ms;
};

static void add_span(struct board *b, const struct mig_use *use, int64_t from_ms, int64_t until_ms)
{
    if (b->count == b->size) {
        b->size = b->size ? 2 * b->size : 16;
        b->spans = xreallocarray(b->spans, b->size, sizeof(*b->spans));
    }
    b->spans[b->count++] = (struct span){*use, from_ms, until_ms};
}

static int64_t end_of(const struct pool_lease *lease, int64_t start_ms)
{
    return lease->ttl_ms ? start_ms + lease->ttl_ms : FOREVER;
}

static void add_present(const struct pool *pool, struct board *b)
{
    for (unsigned i = 0; i < b->gpu->slice_count; i++) {
        const struct pool_slice *s = b->gpu->slices[i];
        struct mig_use use = {0};
        if (slice_is_spare(s)) {
            continue;
        }
        int64_t until = slice_until_ms(pool, s);
        slice_add_to_use(s, &use);
        add_span(b, &use, INT64_MIN, until ? until : FOREVER);
    }
}

static bool can_be_cut(const struct pool *pool, const struct pool_gpu *gpu)
{
    bool is_on = gpu->info.is_mig_enabled || gpu_can_switch_on(pool, gpu);

    return gpu->geometry && gpu->is_managed && gpu->health == POOL_HEALTH_OK && gpu_is_read(gpu) &&
           !gpu->lease && is_on;
}

static void paper_init(struct paper *p, const struct pool *pool)
{
    p->pool = pool;
    p->boards = xcalloc(pool->gpu_count + 1, sizeof(*p->boards));
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        p->boards[i].gpu = pool->gpus[i];
        if (can_be_cut(pool, pool->gpus[i])) {
            add_present(pool, &p->boards[i]);
        }
    }
}

static void paper_done(struct paper *p)
{
    for (unsigned i = 0; i < p->pool->gpu_count; i++) {
        free(p->boards[i].spans);
    }
    free(p->boards);
}

/* Whatever is there at some time of the span: engines of those who follow each other count twice,
 * which makes it later rather than too early. */
static struct mig_use use_during(const struct board *b, int64_t from_ms, int64_t until_ms)
{
    struct mig_use all = {0};

    for (unsigned i = 0; i < b->count; i++) {
        const struct span *s = &b->spans[i];
        if (s->from_ms >= until_ms || s->until_ms <= from_ms) {
            continue;
        }
        all.mask |= s->use.mask;
        for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
            all.engines[e] = (uint16_t)(all.engines[e] + s->use.engines[e]);
        }
    }
    return all;
}

/* Is it free on this board from then on, for as long as the lease runs? */
static void try_at(const struct pool_lease *lease, struct board *b, int profile, int64_t at_ms,
                   struct spot *best)
{
    struct mig_use use = use_during(b, at_ms, end_of(lease, at_ms));
    uint16_t starts = mig_free_starts(b->gpu->geometry, &use, profile);

    if (starts) {
        *best = (struct spot){b, profile, __builtin_ctz(starts), at_ms};
    }
}

/* The first place for one part, not before `from_ms`; no board: not known. */
static struct spot first_spot(struct paper *p, const struct pool_lease *lease, int64_t from_ms)
{
    struct spot best = {.at_ms = FOREVER};

    for (unsigned i = 0; i < p->pool->gpu_count; i++) {
        struct board *b = &p->boards[i];
        int profile = lease_profile_on(lease, b->gpu);
        if (!can_be_cut(p->pool, b->gpu) || !lease_allows_gpu(lease, b->gpu) || profile < 0) {
            continue;
        }
        if (from_ms < best.at_ms) {
            try_at(lease, b, profile, from_ms, &best);
        }
        for (unsigned k = 0; k < b->count; k++) {
            int64_t at_ms = b->spans[k].until_ms;
            if (at_ms > from_ms && at_ms < best.at_ms) {
                try_at(lease, b, profile, at_ms, &best);
            }
        }
    }
    return best;
}

/* All parts, none before from_ms; they stay on the paper.  The time of the last; FOREVER when it is
 * not known. */
static int64_t place_parts(struct paper *p, const struct pool_lease *lease, int64_t from_ms)
{
    int64_t last_ms = from_ms;

    for (unsigned i = 0; i < lease->count; i++) {
        struct spot s = first_spot(p, lease, from_ms);
        if (!s.board) {
            return FOREVER;
        }
        struct mig_use use = {0};
        mig_use_add(s.board->gpu->geometry, &use, s.profile, s.start);
        add_span(s.board, &use, s.at_ms, end_of(lease, s.at_ms));
        last_ms = s.at_ms > last_ms ? s.at_ms : last_ms;
    }
    return last_ms;
}

static int64_t place(struct paper *p, const struct pool_lease *lease)
{
    CLEANUP(freep) unsigned *before = xcalloc(p->pool->gpu_count + 1, sizeof(*before));
    int64_t from_ms = p->pool->now_ms;

    for (unsigned i = 0; i < p->pool->gpu_count; i++) {
        before[i] = p->boards[i].count;
    }
    for (int tries = 0; tries < TRIES; tries++) {
        int64_t last_ms = place_parts(p, lease, from_ms);
        if (last_ms == from_ms || (lease->count == 1 && last_ms != FOREVER)) {
            return last_ms;
        }
        for (unsigned i = 0; i < p->pool->gpu_count; i++) {
            p->boards[i].count = before[i];
        }
        if (last_ms == FOREVER) {
            break;
        }
        from_ms = last_ms; /* all of them then? */
    }
    return FOREVER;
}

/* What is kept for the head goes to it; until nobody knows when, where that is not known. */
static int64_t place_head(struct paper *p, const struct pool_lease *lease)
{
    struct hold hold;

    hold_for(p->pool, lease, &hold);
    for (unsigned i = 0; i < hold.count; i++) {
        /* Engines are with those who are there as long as nobody knows their end. */
        struct mig_use use = hold.free_at_ms ? hold.own[i] : (struct mig_use){0};
        use.mask |= hold.window[i].mask;
        add_span(&p->boards[hold.window[i].gpu_id], &use,
                 hold.free_at_ms ? hold.free_at_ms : p->pool->now_ms,
                 hold.free_at_ms ? end_of(lease, hold.free_at_ms) : FOREVER);
    }
    return hold.count && hold.free_at_ms ? hold.free_at_ms : FOREVER;
}

void pool_forecast(const struct pool *pool, struct pool_forecast *ret)
{
    const struct pool_lease *head = queue_head(pool);
    struct paper p;

    ret->count = 0;
    paper_init(&p, pool);
    for (const struct pool_lease *l = pool_next_queued(pool, NULL);
         l && ret->count < POOL_FORECAST_MAX; l = pool_next_queued(pool, l)) {
        /* Whole GPUs and shares of a slice are not on the paper, nor who waits for something else
         * than a place. */
        bool is_known = l->want.kind != MIG_WANT_GPU && !l->want.compute_instance_slices &&
                        !lease_is_over_quota(pool, l) && !shift_holds_up(pool, l);
        int64_t at_ms = l == head ? place_head(&p, l) : is_known ? place(&p, l) : FOREVER;
        bool is_due = at_ms <= pool->now_ms; /* and still waits: not for this */
        ret->entry[ret->count].lease = l->id;
        ret->entry[ret->count++].start_ms = at_ms == FOREVER || is_due ? 0 : at_ms;
    }
    paper_done(&p);
}

int64_t pool_forecast_of(const struct pool_forecast *forecast, const struct pool_lease *lease)
{
    for (unsigned i = 0; i < forecast->count; i++) {
        if (forecast->entry[i].lease == lease->id) {
            return forecast->entry[i].start_ms;
        }
    }
    return 0;
}
