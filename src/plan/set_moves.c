/* Room for several slices of one kind by moving leases elsewhere.
 *
 * Each slice that the fleet has no room for needs a place to be opened: one in which only movable
 * leases stand (a candidate of moves.h).  Choosing which places are opened says which leases have to
 * go, and whether that is enough is an exact question: with these leases out of their places, do the
 * slices and the leases have places together (plan_place_set())?  So sets of candidates are gone
 * through, as many as must be opened at least and then more, the cheap ones first, until none can be
 * cheaper than the best that was good.  Then the same with further leases that go, because they stand
 * where those in the way could: smaller ones.  Of candidates on GPUs that look alike one is tried.
 *
 * Each question costs as much as placing a gang, so only so many are asked. */
#include "base/cleanup.h"
#include "plan/fleet.h"
#include "plan/moves.h"
#include "plan/set.h"
#include <string.h>

#define WORK_MAX 60000   /* for each way to go through them: a millisecond or two */
#define WORK_LOOK 4      /* of passing a candidate by */
#define WORK_LEAST 1000  /* of one question, however small */
#define STATES_MOST 4096 /* that plan_place_set() answers exactly; what it would not is not asked */
#define OPENED_MAX PLAN_MOVES_MAX

struct search {
    struct plan *plan;
    const struct plan_ask *ask;
    unsigned count;
    int max_moves;
    bool may_stop;
    struct plan_candidates found, movers; /* places to open; leases that make way for others */
    unsigned gpus; /* that may be cut */
    uint64_t work_left;
    /* What goes in the set that is looked at: places that are opened, and then leases. */
    const struct plan_candidate *gone[OPENED_MAX];
    unsigned gone_count, opened_count;
    unsigned more; /* leases that make way, beside those in the places */
    float cost;
    int move_count;
    bool has_best, has_unordered; /* places were found, for one at least without an order */
    struct plan_set_moves best;
};

/* What the fleet has room for as it is, and could have at most, however leases are moved. */
struct room {
    unsigned now, most;
};

static struct room room_of(struct search *s)
{
    const struct plan *p = s->plan;
    unsigned free_slots[PLAN_CLASSES_MAX] = {0};
    struct room room = {0};

    for (uint32_t gpu = 0; gpu < p->gpu_count; gpu++) {
        bool is_usable = plan_has_gpu(p, gpu) && plan_is_usable(p, gpu);
        int profile = is_usable ? s->ask->profile[plan_gpu_class(p, gpu)] : -1;
        s->gpus += is_usable;
        if (profile >= 0) {
            const struct mig_geometry *g = &plan_gpu_index(p, gpu)->geometry;
            const struct plan_exclusion *out = plan_exclusion_of(s->ask, gpu);
            struct mig_use use = *plan_gpu_busy(p, gpu);
            mig_use_block(&use, out ? out->mask : 0);
            room.now += (unsigned)mig_remaining(g, &use, profile);
            uint32_t all = (1u << g->slots) - 1;
            free_slots[plan_gpu_class(p, gpu)] += (unsigned)__builtin_popcount(all & ~use.mask);
        }
    }
    for (int c = 0; c < p->class_count; c++) {
        int profile = s->ask->profile[c];
        room.most += profile < 0 ? 0 : free_slots[c] /
                                           p->classes[c]->index.geometry.profiles[profile].size;
    }
    return room;
}

/* --- one set ---------------------------------------------------------------------------------- */

/* Leases that have to go from this GPU. */
static uint16_t evicted_on(const struct search *s, uint32_t gpu)
{
    uint16_t evicted = 0;

    for (unsigned i = 0; i < s->gone_count; i++) {
        evicted |= s->gone[i]->gpu == gpu ? s->gone[i]->evicted : 0;
    }
    return evicted;
}

static bool is_first_of_gpu(const struct search *s, unsigned at)
{
    for (unsigned i = 0; i < at; i++) {
        if (s->gone[i]->gpu == s->gone[at]->gpu) {
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

    for (unsigned i = 0; i < s->gone_count; i++) {
        uint32_t gpu = s->gone[i]->gpu;
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

/* What a question costs, more or less: the sums that plan_place_set() compares.  0: too much. */
static uint64_t work_of(const struct search *s, const struct plan_move *moves, int count)
{
    uint64_t states = s->count + 1;

    for (int i = 0; i < count; i++) {
        unsigned alike = 1; /* so far */
        for (int k = 0; k < i; k++) {
            alike += moves[k].from.profile == moves[i].from.profile;
        }
        states = states * (alike + 1) / alike;
    }
    return states > STATES_MOST ? 0 : WORK_LEAST + states * s->gpus;
}

static void spend(struct search *s, uint64_t work)
{
    s->work_left -= work < s->work_left ? work : s->work_left;
}

static void try_set(struct search *s)
{
    struct plan_move moves[PLAN_MOVES_MAX] = {0}, ordered[PLAN_MOVES_MAX];
    struct plan_set_spot spots[PLAN_SET_MAX];
    uint32_t before[OPENED_MAX][2];
    unsigned changed = 0;

    int taken = take_out(s, moves, before, &changed);
    uint64_t work = work_of(s, moves, taken);
    spend(s, work ? work : WORK_LEAST);
    int count = work ? place_all(s, moves, taken, spots) : -ENOSPC;
    while (changed > 0) {
        changed--;
        plan_set_state(s->plan, before[changed][0], before[changed][1]);
    }
    if (count < 0) {
        return;
    }
    if (plan_order_moves(s->plan, moves, count, s->may_stop, ordered)) {
        keep(s, ordered, count, spots);
    } else {
        s->has_unordered = true;
    }
}

/* --- all sets ---------------------------------------------------------------------------------- */

/* Can this place be opened beside those that are?  With the moves that it adds. */
static bool can_open(const struct search *s, const struct plan_candidate *c, int *ret_moves)
{
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;
    uint16_t window = mig_window(g, c->slice.profile, c->slice.start);

    for (unsigned i = 0; i < s->gone_count; i++) {
        const struct plan_candidate *o = s->gone[i];
        if (o->gpu == c->gpu && mig_window(g, o->slice.profile, o->slice.start) & window) {
            return false;
        }
    }
    *ret_moves = __builtin_popcount(c->evicted & ~evicted_on(s, c->gpu));
    return s->move_count + *ret_moves <= s->max_moves;
}

/* The one before it in the list, which does not go here, would lead to the same. */
static bool is_repeat(const struct search *s, const struct plan_candidate *c,
                      const struct plan_candidate *first)
{
    return c > first && c->look == c[-1].look && !evicted_on(s, c->gpu) &&
           !evicted_on(s, c[-1].gpu);
}

/* Can `left` more, none cheaper than this one, lead to something better than the best? */
static bool is_too_dear(const struct search *s, const struct plan_candidate *c, unsigned left)
{
    return s->has_best && (double)(s->cost + c->cost * (float)left) >= s->best.moves.cost;
}

static void push(struct search *s, const struct plan_candidate *c, int moves)
{
    s->gone[s->gone_count++] = c;
    s->cost += c->cost;
    s->move_count += moves;
}

static void pop(struct search *s, const struct plan_candidate *c, int moves)
{
    s->gone_count--;
    s->cost -= c->cost;
    s->move_count -= moves;
}

/* Could it stand where one of those in the opened places has to go? */
static bool is_in_their_way(const struct search *s, const struct plan_candidate *c)
{
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;
    unsigned largest = 0;

    for (unsigned i = 0; i < s->opened_count; i++) {
        const struct plan_candidate *o = s->gone[i];
        for (unsigned k = 0; o->evicted >> k; k++) {
            struct mig_slice m = s->plan->details[o->gpu]->movable[k].slice;
            unsigned size = plan_gpu_index(s->plan, o->gpu)->geometry.profiles[m.profile].size;
            largest = (o->evicted >> k & 1) && size > largest ? size : largest;
        }
    }
    return g->profiles[c->slice.profile].size < largest &&
           !(evicted_on(s, c->gpu) & c->evicted);
}

/* Lets `left` more leases make way, from this one on. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as there are moves */
static void add_movers(struct search *s, size_t first, unsigned left)
{
    if (!left) {
        try_set(s);
        return;
    }
    for (size_t i = first; i < s->movers.count && s->work_left; i++) {
        const struct plan_candidate *c = &s->movers.list[i];
        spend(s, WORK_LOOK);
        if (is_too_dear(s, c, left)) {
            return;
        }
        if (s->move_count < s->max_moves && is_in_their_way(s, c) &&
            !is_repeat(s, c, &s->movers.list[first])) {
            push(s, c, 1);
            add_movers(s, i + 1, left - 1);
            pop(s, c, 1);
        }
    }
}

/* Opens `left` more places, from the candidate `first` on. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as there are moves */
static void open_more(struct search *s, size_t first, unsigned left)
{
    if (!left) {
        s->opened_count = s->gone_count;
        add_movers(s, 0, s->more);
        return;
    }
    for (size_t i = first; i < s->found.count && s->work_left; i++) {
        const struct plan_candidate *c = &s->found.list[i];
        int moves = 0;
        spend(s, WORK_LOOK);
        if (is_too_dear(s, c, left)) {
            return; /* nor can those behind it be cheaper */
        }
        if (!is_repeat(s, c, &s->found.list[first]) && can_open(s, c, &moves)) {
            push(s, c, moves);
            open_more(s, i + 1, left - 1);
            pop(s, c, moves);
        }
    }
}

/* By the places alone, the fewest first. */
static void search_places(struct search *s, unsigned least)
{
    s->work_left = WORK_MAX;
    s->more = 0;
    for (unsigned n = least; n <= (unsigned)s->max_moves; n++) {
        open_more(s, 0, n);
    }
}

/* With leases that make way for others, the fewest moves first. */
static void search_deep(struct search *s, unsigned least)
{
    s->work_left = WORK_MAX;
    for (unsigned all = least + 1; all <= (unsigned)s->max_moves; all++) {
        for (s->more = 1; s->more < all && all - s->more >= least; s->more++) {
            open_more(s, 0, all - s->more);
        }
    }
}

/* In the way it is usual first: what is larger than a place could hardly be of use elsewhere. */
static void search_all(struct search *s, unsigned least)
{
    for (int any_size = 0; any_size < 2; any_size++) {
        s->found.count = 0;
        plan_find_candidates(s->plan, s->ask, s->max_moves, any_size, &s->found);
        search_places(s, least);
        search_deep(s, least);
    }
}

int plan_find_set_moves(struct plan *p, const struct plan_ask *ask, unsigned count, int max_moves,
                        struct plan_set_moves *ret)
{
    CLEANUP(freep) struct search *s = xcalloc(1, sizeof(*s));

    s->plan = p;
    s->ask = ask;
    s->count = count;
    s->max_moves = max_moves < PLAN_MOVES_MAX ? max_moves : PLAN_MOVES_MAX;
    if (count + (unsigned)s->max_moves > PLAN_SET_MAX) {
        return -ENOSPC;
    }
    try_set(s); /* nobody moves */
    struct room room = s->has_best ? (struct room){0} : room_of(s);
    if (room.most >= count && s->max_moves > 0 && plan_is_worth_room(p, ask, count)) {
        unsigned least = room.now < count ? count - room.now : 1;
        plan_find_movers(p, &s->movers);
        search_all(s, least);
        if (!s->has_best && s->has_unordered && p->settings.may_stop) {
            s->may_stop = true;
            search_all(s, least);
        }
        free(s->found.list);
        free(s->movers.list);
    }
    if (!s->has_best) {
        return -ENOSPC;
    }
    *ret = s->best;
    plan_mark_destroyed(p, ret->moves.moves, ret->moves.count, ret->spots, ret->spot_count);
    return 0;
}
