/* Room for several slices of one kind by moving leases elsewhere.
 *
 * Each slice that the fleet has no room for needs a place to be opened: one in which only movable
 * leases stand (a candidate of moves.h).  Choosing which places are opened says which leases have
 * to go, and whether that is enough is an exact question: with these leases out of their places, do
 * the slices and the leases have places together (plan_place_set_exactly())?  So sets of candidates
 * are gone through, as many as must be opened at least and then more, the cheap ones first, until
 * none can be cheaper than the best that was good.  Then the same with further leases that go,
 * because they stand where those in the way could: smaller ones.
 *
 * A question takes some microseconds, and hardly a set in fifty is good.  So
 *   - most are refused before by what there is in slots and engines (room.h), of which each
 *     candidate's part is known: a few additions for each set;
 *   - of candidates on GPUs that look alike one is tried, and in a first round one of each kind:
 *     what goes, and how much of the place is free already, mostly decides;
 *   - leases that have a place as it is come before those that have none.
 * The work is counted, and what is left of one way to go through the sets is the next one's. */
#include "base/cleanup.h"
#include "plan/fleet.h"
#include "plan/moves.h"
#include "plan/room.h"
#include "plan/set.h"
#include <errno.h>
#include <string.h>

/* What things cost, in some nanoseconds, and how much may be spent in each of the eight ways to go
 * through the sets. */
#define WORK_MAX 75000
#define WORK_NOW 10000000 /* for those who have room as it is */
#define WORK_LOOK 15    /* of passing a candidate by */
#define WORK_ADD 50     /* of adding one to a set and taking it out again */
#define WORK_SET 60     /* of looking whether there could be room for it */
#define WORK_COUNT 150  /* of counting what one leaves room for */
#define WORK_EACH 500   /* of placing one slice after the others, twice */
#define WORK_EXACT 1000 /* of an exact answer: always, */
#define WORK_GPU 5      /* for each GPU, */
#define WORK_FILL 230   /* and for each layout and sum that it looks at */
#define WORK_SUM 5
#define STATES_MOST 4096 /* that plan_place_set_exactly() answers for */
#define GPUS_MOST 64     /* of which each state is looked at */
#define OPENED_MAX PLAN_MOVES_MAX
#define ALL_MAX (PLAN_SET_MAX + PLAN_MOVES_MAX)

/* GPUs in other states than they are told to be in, to undo. */
struct trial {
    unsigned count;
    uint32_t before[ALL_MAX][2];
};

struct search {
    struct plan *plan;
    const struct plan_ask *ask;
    unsigned count;
    int max_moves;
    struct plan_candidates found, movers; /* places to open; leases that make way for others */
    struct plan_room room; /* when what goes is gone, and the leases among it have other places */
    struct gain *gains[2]; /* of those found, and of the movers */
    uint64_t work_left;
    /* What goes in the set that is looked at: places that are opened, and then leases. */
    const struct plan_candidate *gone[OPENED_MAX];
    unsigned gone_count;
    unsigned largest; /* of the leases in the opened places, in slots */
    unsigned more;    /* leases that make way, beside those in the places */
    unsigned odd;     /* places among them that are looked at with any_size only */
    bool any_size, is_fine; /* how they are gone through: not the usual ones only; not by kinds */
    float cost;
    int move_count;
    struct trial trial;
    struct plan_set_moves best, best_stop; /* .spot_count 0: none; the cheapest with a stop */
};

/* What a candidate adds to the room, alone on its GPU. */
struct gain {
    bool is_known;
    int8_t by_row[PLAN_ROOM_ROWS];
};

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

static void set_busy(struct search *s, uint32_t gpu, const struct mig_use *busy)
{
    s->trial.before[s->trial.count][0] = gpu;
    s->trial.before[s->trial.count++][1] = plan_gpu_state(s->plan, gpu);
    plan_set_busy(s->plan, gpu, busy);
}

static void undo(struct search *s)
{
    while (s->trial.count) {
        s->trial.count--;
        plan_set_state(s->plan, s->trial.before[s->trial.count][0],
                       s->trial.before[s->trial.count][1]);
    }
}

/* Lists who goes as moves that do not know yet where to. */
static int list_moves(const struct search *s, struct plan_move *moves)
{
    int n = 0;

    for (unsigned i = 0; i < s->gone_count; i++) {
        uint32_t gpu = s->gone[i]->gpu;
        uint16_t evicted = is_first_of_gpu(s, i) ? evicted_on(s, gpu) : 0;
        for (unsigned k = 0; evicted >> k; k++) {
            if (evicted >> k & 1) {
                moves[n++] = (struct plan_move){
                    .from_gpu = gpu, .from = s->plan->details[gpu]->movable[k].slice};
            }
        }
    }
    return n;
}

/* Takes them out of their places. */
static void take_out(struct search *s, const struct plan_move *moves, int count)
{
    for (int i = 0; i < count;) {
        uint32_t gpu = moves[i].from_gpu;
        const struct mig_geometry *g = &plan_gpu_index(s->plan, gpu)->geometry;
        struct mig_use busy = *plan_gpu_busy(s->plan, gpu);
        for (; i < count && moves[i].from_gpu == gpu; i++) {
            busy.instances = 1;
            mig_use_remove(g, &busy, moves[i].from.profile, moves[i].from.start);
        }
        set_busy(s, gpu, &busy);
    }
}

/* What is to be placed: first the request's slices, then what was taken out. */
struct wanted {
    unsigned count;
    int moves;
    struct plan_ask any, own[PLAN_MOVES_MAX];
    const struct plan_ask *ask[ALL_MAX];
};

static void list_wanted(const struct search *s, const struct plan_move *moves, int count,
                        struct wanted *ret)
{
    ret->any = *s->ask;
    ret->any.is_spread = false;
    ret->count = 0;
    ret->moves = count;
    while (ret->count < s->count) {
        ret->ask[ret->count++] = &ret->any;
    }
    for (int i = 0; i < count; i++) {
        plan_ask_init(&ret->own[i]);
        ret->own[i].profile[plan_gpu_class(s->plan, moves[i].from_gpu)] =
            (int8_t)moves[i].from.profile;
        ret->own[i].excluded = s->ask->excluded;
        ret->own[i].excluded_count = s->ask->excluded_count;
        ret->ask[ret->count++] = &ret->own[i];
    }
}

static int size_of(const struct plan *p, const struct plan_ask *ask)
{
    int most = 0;

    for (int c = 0; c < p->class_count; c++) {
        const struct mig_geometry *g = &p->classes[c]->index.geometry;
        int size = ask->profile[c] < 0 ? 0 : g->profiles[ask->profile[c]].size;
        most = size > most ? size : most;
    }
    return most;
}

static bool place_one(struct search *s, const struct plan_ask *ask, struct plan_set_spot *ret)
{
    struct plan_spot spot;

    if (plan_place(s->plan, ask, &spot) < 0) {
        return false;
    }
    struct mig_use busy = *plan_gpu_busy(s->plan, spot.gpu_id);
    mig_use_add(&plan_gpu_index(s->plan, spot.gpu_id)->geometry, &busy, spot.slice.profile,
                spot.slice.start);
    set_busy(s, spot.gpu_id, &busy);
    *ret = (struct plan_set_spot){.gpu_id = spot.gpu_id, .slice = spot.slice};
    return true;
}

/* One after the other, the largest first, and of the same size those that come last. */
static bool place_some(struct search *s, const struct wanted *w, unsigned first, unsigned end,
                       struct plan_set_spot *spots)
{
    bool is_placed = true;

    for (int size = MIG_SLOTS_MAX; is_placed && size > 0; size--) {
        for (unsigned i = end; is_placed && i-- > first;) {
            is_placed = size_of(s->plan, w->ask[i]) != size || place_one(s, w->ask[i], &spots[i]);
        }
    }
    return is_placed;
}

/* The leases where there is room now, so that there is an order, and then the slices; if that does
 * not do, all of them once the leases are out.  Quick; a no means little. */
static bool place_each(struct search *s, const struct wanted *w, const struct plan_move *moves,
                       struct plan_set_spot *spots)
{
    bool is_placed = place_some(s, w, s->count, w->count, spots);

    if (is_placed) {
        take_out(s, moves, w->moves);
        is_placed = place_some(s, w, 0, s->count, spots);
    }
    undo(s);
    if (!is_placed) {
        take_out(s, moves, w->moves);
        is_placed = place_some(s, w, 0, w->count, spots);
        undo(s);
    }
    return is_placed;
}

static void spend(struct search *s, uint64_t work)
{
    s->work_left -= work < s->work_left ? work : s->work_left;
}

/* States to be told apart in an exact answer. */
static uint64_t count_states(const struct search *s, const struct plan_move *moves, int count)
{
    uint64_t states = s->count + 1;

    for (int i = 0; i < count; i++) {
        unsigned alike = 1; /* so far */
        for (int k = 0; k < i; k++) {
            alike += moves[k].from.profile == moves[i].from.profile;
        }
        states = states * (alike + 1) / alike;
    }
    return states;
}

/* All of them once the leases are out: 0, -ENOSPC, or -E2BIG when that is too much to ask. */
static int place_exactly(struct search *s, const struct wanted *w, const struct plan_move *moves,
                         struct plan_set_spot *spots)
{
    uint64_t states = count_states(s, moves, w->moves);
    unsigned gpus = s->room.gpus < GPUS_MOST ? s->room.gpus : GPUS_MOST;
    struct plan_set_ask asks[ALL_MAX];
    struct plan_set set = {0};

    if (states > STATES_MOST || states * gpus * WORK_SUM > s->work_left) {
        return -E2BIG;
    }
    for (unsigned i = 0; i < w->count; i++) {
        asks[i] = (struct plan_set_ask){w->ask[i], i < s->count ? s : NULL};
    }
    take_out(s, moves, w->moves);
    int r = plan_place_set_exactly(s->plan, asks, w->count, (unsigned)(s->work_left / WORK_FILL),
                                   &set, spots);
    undo(s);
    spend(s, WORK_EXACT + WORK_GPU * s->room.gpus + WORK_FILL * set.fills + WORK_SUM * set.sums);
    return r;
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
                 const struct plan_set_spot *spots, struct plan_set_moves *best)
{
    double cost = 0;

    for (int i = 0; i < count; i++) {
        cost += cost_of(s, &ordered[i]);
    }
    if (best->spot_count && cost >= best->moves.cost) {
        return;
    }
    *best = (struct plan_set_moves){.moves = {.count = (uint8_t)count, .cost = cost},
                                    .spot_count = s->count};
    memcpy(best->moves.moves, ordered, (size_t)count * sizeof(ordered[0]));
    for (unsigned i = 0; i < s->count; i++) {
        best->spots[i] = (struct plan_spot){.gpu_id = spots[i].gpu_id, .slice = spots[i].slice};
    }
}

/* Places for all of them.  Who gets his own place again need not move.  False: there is no order
 * without a stop. */
static bool keep_places(struct search *s, const struct plan_move *taken, int count,
                        const struct plan_set_spot *spots)
{
    struct plan_move moves[PLAN_MOVES_MAX] = {0}, ordered[PLAN_MOVES_MAX];
    int left = 0;

    for (int i = 0; i < count; i++) {
        const struct plan_set_spot *to = &spots[s->count + (unsigned)i];
        if (to->gpu_id != taken[i].from_gpu || to->slice.start != taken[i].from.start) {
            moves[left] = taken[i];
            moves[left].to_gpu = to->gpu_id;
            moves[left++].to = to->slice;
        }
    }
    if (plan_order_moves(s->plan, moves, left, false, ordered)) {
        keep(s, ordered, left, spots, &s->best);
        return true;
    }
    if (s->plan->settings.may_stop && plan_order_moves(s->plan, moves, left, true, ordered)) {
        keep(s, ordered, left, spots, &s->best_stop);
    }
    return false;
}

static void try_set(struct search *s)
{
    struct plan_move moves[PLAN_MOVES_MAX] = {0};
    struct plan_set_spot spots[ALL_MAX];
    struct wanted w;

    spend(s, WORK_SET);
    if (plan_room_most(&s->room) < s->count) {
        return;
    }
    list_wanted(s, moves, list_moves(s, moves), &w);
    int r = place_exactly(s, &w, moves, spots);
    if (r == -ENOSPC || (r == 0 && keep_places(s, moves, w.moves, spots))) {
        return;
    }
    spend(s, (uint64_t)WORK_EACH * w.count);
    if (place_each(s, &w, moves, spots)) {
        keep_places(s, moves, w.moves, spots);
    }
}

/* --- all sets --------------------------------------------------------------------------------- */

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

/* The one before it in the list, which does not go here, would lead to the same; or, at first, most
 * likely. */
static bool is_repeat(const struct search *s, const struct plan_candidate *c,
                      const struct plan_candidate *first)
{
    bool is_alike = c > first && (s->is_fine ? c->look == c[-1].look : c->kind == c[-1].kind);

    return is_alike && !evicted_on(s, c->gpu) && !evicted_on(s, c[-1].gpu);
}

/* Can `left` more, none cheaper than this one, lead to something better than the best? */
static bool is_too_dear(const struct search *s, const struct plan_candidate *c, unsigned left)
{
    return s->best.spot_count &&
           (double)(s->cost + c->cost * (float)left) >= s->best.moves.cost;
}

/* What is busy on the candidate's GPU when these leases are gone, with what is to be left alone. */
static void use_without(const struct search *s, const struct plan_candidate *c, uint16_t gone,
                        struct mig_use *ret)
{
    const struct plan_detail *d = s->plan->details[c->gpu];
    const struct plan_exclusion *out = plan_exclusion_of(s->ask, c->gpu);
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;

    *ret = *plan_gpu_busy(s->plan, c->gpu);
    for (unsigned k = 0; gone >> k; k++) {
        if (gone >> k & 1) {
            ret->instances = 1;
            mig_use_remove(g, ret, d->movable[k].slice.profile, d->movable[k].slice.start);
        }
    }
    mig_use_block(ret, out ? out->mask : 0);
}

/* What it adds to the room when the others are gone, less what those who go take elsewhere. */
static void find_gain(const struct search *s, const struct plan_candidate *c, int8_t *ret)
{
    const struct plan_detail *d = s->plan->details[c->gpu];
    int class_id = plan_gpu_class(s->plan, c->gpu);
    const struct plan_room_class *room = &s->room.classes[class_id];
    uint16_t before = evicted_on(s, c->gpu), after = before | c->evicted;
    int8_t places[2][PLAN_ROOM_ROWS] = {{0}};
    struct mig_use use;

    use_without(s, c, before, &use);
    plan_room_places(&s->room, class_id, &use, places[0]);
    use_without(s, c, after, &use);
    plan_room_places(&s->room, class_id, &use, places[1]);
    for (unsigned i = 0; i < room->rows; i++) {
        ret[i] = (int8_t)(places[1][i] - places[0][i]);
        for (unsigned k = 0; after >> k; k++) {
            bool goes = (after & ~before) >> k & 1;
            ret[i] = (int8_t)(ret[i] - (goes ? room->takes[d->movable[k].slice.profile][i] : 0));
        }
    }
}

static const int8_t *gain_of(struct search *s, const struct plan_candidate *c, int8_t *buf)
{
    bool is_mover = s->movers.count && c >= s->movers.list && c < s->movers.list + s->movers.count;
    struct gain *known = is_mover ? &s->gains[1][c - s->movers.list]
                                  : &s->gains[0][c - s->found.list];

    if (evicted_on(s, c->gpu)) {
        spend(s, WORK_COUNT);
        find_gain(s, c, buf);
        return buf;
    }
    if (!known->is_known) {
        spend(s, WORK_COUNT);
        find_gain(s, c, known->by_row);
        known->is_known = true;
    }
    return known->by_row;
}

static void add_gain(struct search *s, const struct plan_candidate *c, int sign)
{
    struct plan_room_class *room = &s->room.classes[plan_gpu_class(s->plan, c->gpu)];
    int8_t buf[PLAN_ROOM_ROWS];
    const int8_t *gain = gain_of(s, c, buf);

    for (unsigned i = 0; i < room->rows; i++) {
        room->left[i] += sign * gain[i];
    }
}

static void push(struct search *s, const struct plan_candidate *c, int moves)
{
    spend(s, WORK_ADD);
    add_gain(s, c, 1);
    s->gone[s->gone_count++] = c;
    s->odd += c->is_odd;
    s->cost += c->cost;
    s->move_count += moves;
}

static void pop(struct search *s, const struct plan_candidate *c, int moves)
{
    s->gone_count--;
    s->odd -= c->is_odd;
    s->cost -= c->cost;
    s->move_count -= moves;
    add_gain(s, c, -1);
}

/* The size of the largest lease in the opened places. */
static unsigned largest_evicted(const struct search *s)
{
    unsigned largest = 0;

    for (unsigned i = 0; i < s->gone_count; i++) {
        const struct plan_candidate *o = s->gone[i];
        for (unsigned k = 0; o->evicted >> k; k++) {
            struct mig_slice m = s->plan->details[o->gpu]->movable[k].slice;
            unsigned size = plan_gpu_index(s->plan, o->gpu)->geometry.profiles[m.profile].size;
            largest = (o->evicted >> k & 1) && size > largest ? size : largest;
        }
    }
    return largest;
}

/* Could it stand where one of those in the opened places has to go? */
static bool is_in_their_way(const struct search *s, const struct plan_candidate *c)
{
    const struct mig_geometry *g = &plan_gpu_index(s->plan, c->gpu)->geometry;

    return g->profiles[c->slice.profile].size < s->largest &&
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
    if (!left && s->any_size && !s->odd) {
        return; /* it has been looked at */
    }
    if (!left) {
        s->largest = s->more ? largest_evicted(s) : 0;
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
        if ((s->any_size || !c->is_odd) && !is_repeat(s, c, &s->found.list[first]) &&
            can_open(s, c, &moves)) {
            push(s, c, moves);
            open_more(s, i + 1, left - 1);
            pop(s, c, moves);
        }
    }
}

/* With so many places opened, and so many more leases that make way.  Half of the work that is
 * left, so that others have their turn, too. */
static void search_number(struct search *s, unsigned places, unsigned more)
{
    uint64_t half = s->work_left / 2;

    s->work_left -= half;
    s->more = more;
    open_more(s, 0, places);
    s->work_left += half;
}

/* By the places alone, then with leases that make way for others; the fewest moves first. */
static void search_numbers(struct search *s, unsigned least)
{
    unsigned most = (unsigned)s->max_moves;

    s->work_left += WORK_MAX;
    for (unsigned n = least; n <= most; n++) {
        search_number(s, n, 0);
    }
    s->work_left += WORK_MAX;
    for (unsigned all = least + 1; all <= most; all++) {
        for (unsigned more = 1; all - more >= least && more < all; more++) {
            search_number(s, all - more, more);
        }
    }
}

/* In the way it is usual first: what is larger than a place could hardly be of use elsewhere.  And
 * one place of each kind first. */
static void search_all(struct search *s, unsigned least)
{
    plan_find_candidates(s->plan, s->ask, s->max_moves, true, &s->found);
    s->gains[0] = xcalloc(s->found.count, sizeof(*s->gains[0]));
    if (least < (unsigned)s->max_moves) {
        plan_find_movers(s->plan, &s->movers);
        s->gains[1] = xcalloc(s->movers.count, sizeof(*s->gains[1]));
    }
    for (int pass = 0; pass < 4; pass++) {
        s->any_size = pass >> 1;
        s->is_fine = pass & 1;
        search_numbers(s, least);
    }
    free(s->gains[0]);
    free(s->gains[1]);
    plan_candidates_done(&s->found);
    plan_candidates_done(&s->movers);
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
    plan_room_count(p, ask, &s->room);
    if (s->room.now >= count) {
        s->work_left = WORK_NOW;
        try_set(s); /* nobody moves */
    } else if (count - s->room.now <= (unsigned)s->max_moves && plan_is_worth_room(p, ask, count)) {
        search_all(s, count - s->room.now);
    }
    const struct plan_set_moves *best = s->best.spot_count ? &s->best : &s->best_stop;
    if (!best->spot_count) {
        return -ENOSPC;
    }
    *ret = *best;
    plan_mark_destroyed(p, ret->moves.moves, ret->moves.count, ret->spots, ret->spot_count);
    return 0;
}
