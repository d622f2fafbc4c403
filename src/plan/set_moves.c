/* Room for several slices of one kind by moving leases elsewhere.
 *
 * Each slice that the fleet has no room for needs a place to be opened: one in which only movable
 * leases stand (a candidate of moves.h).  Choosing which places are opened says which leases have to
 * go, and whether that is enough is an exact question: with these leases out of their places, do the
 * slices and the leases have places together (plan_place_set())?  So sets of candidates are gone
 * through, as many as must be opened at least and then more, the cheap ones first, until none can be
 * cheaper than the best that was good.  Of candidates on GPUs that look alike one is tried.
 *
 * Each question costs as much as placing a gang, so only TRIALS_MAX are asked.  Leases do not push
 * others away to make room for themselves, as they may in moves.c for a single slice. */
#include "base/cleanup.h"
#include "plan/fleet.h"
#include "plan/moves.h"
#include "plan/set.h"
#include <string.h>

#define TRIALS_MAX 48
#define OPENED_MAX PLAN_MOVES_MAX

struct search {
    struct plan *plan;
    const struct plan_ask *ask;
    unsigned count;
    int max_moves;
    bool may_stop;
    struct plan_candidates found;
    unsigned trials;
    /* What is opened in the set that is looked at. */
    size_t opened[OPENED_MAX];
    unsigned opened_count;
    float cost;
    int move_count;
    bool has_best;
    struct plan_set_moves best;
};

/* How many of them the fleet has room for as it is. */
static unsigned room_of(const struct search *s)
{
    const struct plan *p = s->plan;
    unsigned room = 0;

    for (uint32_t gpu = 0; gpu < p->gpu_count && room < s->count; gpu++) {
        int profile = plan_has_gpu(p, gpu) && plan_is_usable(p, gpu)
                          ? s->ask->profile[plan_gpu_class(p, gpu)] : -1;
        if (profile >= 0) {
            const struct plan_exclusion *out = plan_exclusion_of(s->ask, gpu);
            struct mig_use use = *plan_gpu_busy(p, gpu);
            mig_use_block(&use, out ? out->mask : 0);
            room += (unsigned)mig_remaining(&plan_gpu_index(p, gpu)->geometry, &use, profile);
        }
    }
    return room;
}

/* --- one set ---------------------------------------------------------------------------------- */

/* Leases that have to go from this GPU. */
static uint16_t evicted_on(const struct search *s, uint32_t gpu)
{
    uint16_t evicted = 0;

    for (unsigned i = 0; i < s->opened_count; i++) {
        const struct plan_candidate *c = &s->found.list[s->opened[i]];
        evicted |= c->gpu == gpu ? c->evicted : 0;
    }
    return evicted;
}

static bool is_first_of_gpu(const struct search *s, unsigned at)
{
    for (unsigned i = 0; i < at; i++) {
        if (s->found.list[s->opened[i]].gpu == s->found.list[s->opened[at]].gpu) {
            return false;
        }
    }
    return true;
}

/* Takes them out of their places, and lists them as moves that do not know yet where to. */
static int take_out(struct search *s, struct plan_move *moves,
                    uint32_t before[OPENED_MAX][2], unsigned *ret_changed)
{
    struct plan *p = s->plan;
    unsigned changed = 0;
    int n = 0;

    for (unsigned i = 0; i < s->opened_count; i++) {
        uint32_t gpu = s->found.list[s->opened[i]].gpu;
        uint16_t evicted = is_first_of_gpu(s, i) ? evicted_on(s, gpu) : 0;
        struct plan_index *x = plan_gpu_index(p, gpu);
        struct mig_use busy = *plan_gpu_busy(p, gpu);
        for (unsigned k = 0; evicted >> k; k++) {
            if (evicted >> k & 1) {
                struct mig_slice m = p->details[gpu]->movable[k].slice;
                busy.instances = 1;
                mig_use_remove(&x->geometry, &busy, m.profile, m.start);
                moves[n++] = (struct plan_move){.from_gpu = gpu, .from = m};
            }
        }
        if (evicted) {
            before[changed][0] = gpu;
            before[changed++][1] = plan_gpu_state(p, gpu);
            plan_set_state(p, gpu, plan_index_state(x, &busy, plan_idle_left(p, gpu, busy.mask)));
        }
    }
    *ret_changed = changed;
    return n;
}

/* Places for the slices, and for those that were taken out.  Who gets his own place again need not
 * move.  The number of moves, or -ENOSPC. */
static int place_all(struct search *s, struct plan_move *moves, int count,
                     struct plan_set_spot *spots)
{
    struct plan_ask own[PLAN_MOVES_MAX];
    struct plan_set_ask asks[PLAN_SET_MAX] = {0};
    struct plan_set ignored;
    unsigned n = 0;
    int left = 0;

    for (; n < s->count; n++) {
        asks[n] = (struct plan_set_ask){s->ask, s};
    }
    for (int i = 0; i < count; i++, n++) {
        plan_ask_init(&own[i]);
        own[i].profile[plan_gpu_class(s->plan, moves[i].from_gpu)] = (int8_t)moves[i].from.profile;
        own[i].excluded = s->ask->excluded;
        own[i].excluded_count = s->ask->excluded_count;
        asks[n] = (struct plan_set_ask){&own[i], NULL};
    }
    if (plan_place_set(s->plan, asks, n, NULL, &ignored, spots) < 0) {
        return -ENOSPC;
    }
    for (int i = 0; i < count; i++) {
        const struct plan_set_spot *to = &spots[s->count + (unsigned)i];
        if (to->gpu_id != moves[i].from_gpu || to->slice.start != moves[i].from.start) {
            moves[left] = moves[i];
            moves[left].to_gpu = to->gpu_id;
            moves[left++].to = to->slice;
        }
    }
    return left;
}

static double cost_of(const struct search *s, const struct plan_move *m)
{
    const struct plan_detail *d = s->plan->details[m->from_gpu];
    int i = 0;

    while (d->movable[i].slice.start != m->from.start) {
        i++;
    }
    return (double)d->movable[i].cost;
}

/* If it is the best so far. */
static void keep(struct search *s, const struct plan_move *ordered, int count,
                 const struct plan_set_spot *spots)
{
    double cost = 0;

    for (int i = 0; i < count; i++) {
        cost += cost_of(s, &ordered[i]);
    }
    if (s->has_best && cost >= s->best.moves.cost) {
        return;
    }
    s->best = (struct plan_set_moves){.moves = {.count = (uint8_t)count, .cost = cost},
                                      .spot_count = s->count};
    memcpy(s->best.moves.moves, ordered, (size_t)count * sizeof(ordered[0]));
    for (unsigned i = 0; i < s->count; i++) {
        s->best.spots[i] = (struct plan_spot){.gpu_id = spots[i].gpu_id, .slice = spots[i].slice};
    }
    s->has_best = true;
}

static void try_set(struct search *s)
{
    struct plan_move moves[PLAN_MOVES_MAX] = {0}, ordered[PLAN_MOVES_MAX];
    struct plan_set_spot spots[PLAN_SET_MAX];
    uint32_t before[OPENED_MAX][2];
    unsigned changed = 0;

    s->trials++;
    int taken = take_out(s, moves, before, &changed);
    int count = place_all(s, moves, taken, spots);
    while (changed > 0) {
        changed--;
        plan_set_state(s->plan, before[changed][0], before[changed][1]);
    }
    if (count >= 0 && plan_order_moves(s->plan, moves, count, s->may_stop, ordered)) {
        keep(s, ordered, count, spots);
    }
}

/* --- all sets ---------------------------------------------------------------------------------- */

/* Can this place be opened beside those that are?  With the moves that it adds. */
static bool can_open(const struct search *s, const struct plan_candidate *c, int *ret_moves)
{
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;
    uint16_t window = mig_window(g, c->slice.profile, c->slice.start);

    for (unsigned i = 0; i < s->opened_count; i++) {
        const struct plan_candidate *o = &s->found.list[s->opened[i]];
        if (o->gpu == c->gpu && mig_window(g, o->slice.profile, o->slice.start) & window) {
            return false;
        }
    }
    *ret_moves = __builtin_popcount(c->evicted & ~evicted_on(s, c->gpu));
    return s->move_count + *ret_moves <= s->max_moves;
}

/* The one before it in the list, which was not opened here, would lead to the same. */
static bool is_repeat(const struct search *s, size_t at, size_t first)
{
    const struct plan_candidate *c = &s->found.list[at];

    return at > first && c->look == c[-1].look && !evicted_on(s, c->gpu) &&
           !evicted_on(s, c[-1].gpu);
}

/* Opens `left` more, from the candidate `first` on. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as there are moves */
static void open_more(struct search *s, size_t first, unsigned left)
{
    if (!left) {
        try_set(s);
        return;
    }
    for (size_t i = first; i < s->found.count && s->trials < TRIALS_MAX; i++) {
        const struct plan_candidate *c = &s->found.list[i];
        int moves = 0;
        if (s->has_best && (double)(s->cost + c->cost * (float)left) >= s->best.moves.cost) {
            return; /* nor can those behind it be cheaper */
        }
        if (is_repeat(s, i, first) || !can_open(s, c, &moves)) {
            continue;
        }
        float cost = s->cost;
        s->opened[s->opened_count++] = i;
        s->cost += c->cost;
        s->move_count += moves;
        open_more(s, i + 1, left - 1);
        s->move_count -= moves;
        s->cost = cost;
        s->opened_count--;
    }
}

static void search_sets(struct search *s, unsigned least)
{
    for (unsigned n = least; n <= (unsigned)s->max_moves && s->trials < TRIALS_MAX; n++) {
        open_more(s, 0, n);
    }
}

int plan_find_set_moves(struct plan *p, const struct plan_ask *ask, unsigned count, int max_moves,
                        struct plan_set_moves *ret)
{
    CLEANUP(freep) struct search *s = xcalloc(1, sizeof(*s));
    unsigned room = 0;

    s->plan = p;
    s->ask = ask;
    s->count = count;
    s->max_moves = max_moves < PLAN_MOVES_MAX ? max_moves : PLAN_MOVES_MAX;
    if (count + (unsigned)s->max_moves > PLAN_SET_MAX) {
        return -ENOSPC;
    }
    try_set(s); /* nobody moves */
    room = room_of(s);
    if (!s->has_best && s->max_moves > 0 && plan_is_worth_room(p, ask, count)) {
        plan_find_candidates(p, ask, s->max_moves, &s->found);
        search_sets(s, room < count ? count - room : 1);
        if (!s->has_best && p->settings.may_stop) {
            s->may_stop = true;
            s->trials = 0;
            search_sets(s, room < count ? count - room : 1);
        }
        free(s->found.list);
    }
    if (!s->has_best) {
        return -ENOSPC;
    }
    *ret = s->best;
    plan_mark_destroyed(p, ret->moves.moves, ret->moves.count, ret->spots, ret->spot_count);
    return 0;
}
