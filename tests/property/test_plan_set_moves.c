/* Moves for several slices at once: what plan_find_set_moves() says is carried out step by step,
 * and its cost is held against every set of leases that could go.
 *
 * It may say no where there is no order without a stop, and more where a dearer set needs none; how
 * often that is is counted.  On larger fleets, where not all sets can be tried, it is counted how
 * many gangs get room. */
#include "draw.h"
#include "plan/room.h"
#include "plan/set.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GPUS 4
#define ROUNDS 2500
#define MOVES 3
#define MOVABLE_MAX 24

struct fleet {
    struct mig_geometry geometry[2];
    struct plan *plan;
    struct plan_gpu gpu[GPUS];
    int class_of[GPUS];
    struct plan_exclusion out;
    struct plan_ask ask;
    unsigned count;
    bool is_filled;
    struct {
        uint32_t gpu;
        struct plan_movable m;
    } movable[MOVABLE_MAX];
    unsigned movable_count;
};

static void setup(struct fleet *f, bool may_stop)
{
    struct plan_settings settings;

    memset(f, 0, sizeof(*f));
    plan_settings_default(&settings);
    settings.may_stop = may_stop;
    f->plan = plan_new(&settings);
    add_two_classes(f->plan, f->geometry);
}

static void random_gpu(struct fleet *f, uint32_t i)
{
    const struct mig_geometry *g = &f->geometry[f->class_of[i]];
    struct plan_gpu *gpu = &f->gpu[i];
    struct mig_use all = {0};

    *gpu = (struct plan_gpu){.is_usable = draw(12) > 0};
    for (unsigned tries = 2 + draw(8); tries > 0; tries--) {
        int p = (int)draw((uint32_t)g->profile_count);
        int start = g->profiles[p].starts[draw(g->profiles[p].start_count)];
        if (g->profiles[p].size > 4 || !mig_fits(g, &all, p, start)) {
            continue;
        }
        struct mig_slice s = {(uint8_t)p, (uint8_t)start};
        mig_use_add(g, &all, p, start);
        if (draw(6) == 0) {
            gpu->idle[gpu->idle_count++] = s;
            continue;
        }
        mig_use_add(g, &gpu->busy, p, start);
        if (draw(3) && f->movable_count < MOVABLE_MAX) {
            struct plan_movable m = {s, (float)(1 + draw(2) * draw(3))};
            gpu->movable[gpu->movable_count++] = m;
            f->movable[f->movable_count].gpu = i;
            f->movable[f->movable_count++].m = m;
        }
    }
    plan_update_gpu(f->plan, i, gpu);
}

static void random_case(struct fleet *f)
{
    f->movable_count = 0;
    for (uint32_t i = 0; i < GPUS; i++) {
        if (f->is_filled) {
            plan_remove_gpu(f->plan, i);
        }
        f->class_of[i] = (int)(draw(4) == 0);
        assert_int_equal(plan_add_gpu(f->plan, i, f->class_of[i], NULL), 0);
        random_gpu(f, i);
    }
    f->is_filled = true;
    plan_ask_init(&f->ask);
    for (int c = 0; c < 2; c++) {
        f->ask.profile[c] = (int8_t)draw((uint32_t)f->geometry[c].profile_count);
    }
    f->out = (struct plan_exclusion){draw(GPUS), (uint16_t)draw(256)};
    f->ask.excluded = draw(4) ? NULL : &f->out;
    f->ask.excluded_count = f->ask.excluded ? 1 : 0;
    f->count = 1 + draw(4);
}

/* --- what was found is carried out ------------------------------------------------------------ */

static void check_place(const struct fleet *f, uint32_t gpu, struct mig_slice s,
                        const struct mig_use *use)
{
    const struct mig_geometry *g = &f->geometry[f->class_of[gpu]];

    assert_true(f->gpu[gpu].is_usable);
    assert_true(mig_fits(g, use, s.profile, s.start));
    assert_false(f->ask.excluded_count && f->out.gpu_id == gpu &&
                 f->out.mask & mig_window(g, s.profile, s.start));
}

static double cost_of(const struct fleet *f, const struct plan_move *m)
{
    for (unsigned i = 0; i < f->movable_count; i++) {
        if (f->movable[i].gpu == m->from_gpu && f->movable[i].m.slice.start == m->from.start) {
            assert_int_equal(f->movable[i].m.slice.profile, m->from.profile);
            return (double)f->movable[i].m.cost;
        }
    }
    fail_msg("it may not be moved");
    return 0;
}

static void carry_out(const struct fleet *f, const struct plan_set_moves *found)
{
    struct mig_use use[GPUS];
    double cost = 0;

    for (unsigned i = 0; i < GPUS; i++) {
        use[i] = f->gpu[i].busy;
        use[i].instances = 16; /* not counted */
    }
    assert_int_equal(found->spot_count, f->count);
    for (unsigned i = 0; i < found->moves.count; i++) { /* who stops goes before all others */
        const struct plan_move *m = &found->moves.moves[i];
        if (m->stops) {
            mig_use_remove(&f->geometry[f->class_of[m->from_gpu]], &use[m->from_gpu],
                           m->from.profile, m->from.start);
        }
    }
    for (unsigned i = 0; i < found->moves.count; i++) {
        const struct plan_move *m = &found->moves.moves[i];
        const struct mig_geometry *g = &f->geometry[f->class_of[m->from_gpu]];
        assert_int_equal(f->class_of[m->from_gpu], f->class_of[m->to_gpu]);
        assert_int_equal(m->from.profile, m->to.profile);
        cost += cost_of(f, m);
        check_place(f, m->to_gpu, m->to, &use[m->to_gpu]);
        mig_use_add(g, &use[m->to_gpu], m->to.profile, m->to.start);
        if (!m->stops) {
            mig_use_remove(g, &use[m->from_gpu], m->from.profile, m->from.start);
        }
    }
    assert_true(fabs(cost - found->moves.cost) < 1e-6);
    for (unsigned i = 0; i < found->spot_count; i++) {
        const struct plan_spot *s = &found->spots[i];
        assert_int_equal(s->slice.profile, f->ask.profile[f->class_of[s->gpu_id]]);
        check_place(f, s->gpu_id, s->slice, &use[s->gpu_id]);
        mig_use_add(&f->geometry[f->class_of[s->gpu_id]], &use[s->gpu_id], s->slice.profile,
                    s->slice.start);
    }
}

/* --- every set of leases ---------------------------------------------------------------------- */

/* Do the request and these leases have places together once they are out of theirs? */
static bool fits_without(struct fleet *f, uint32_t gone)
{
    struct plan_set_ask asks[PLAN_SET_MAX];
    struct plan_set_spot spots[PLAN_SET_MAX];
    struct plan_ask own[MOVABLE_MAX];
    struct plan_set ignored;
    unsigned n = 0;

    for (; n < f->count; n++) {
        asks[n] = (struct plan_set_ask){&f->ask, f};
    }
    for (uint32_t i = 0; i < GPUS; i++) {
        struct plan_gpu without = f->gpu[i];
        for (unsigned k = 0; k < f->movable_count; k++) {
            if ((gone >> k & 1) && f->movable[k].gpu == i) {
                struct mig_slice s = f->movable[k].m.slice;
                mig_use_remove(&f->geometry[f->class_of[i]], &without.busy, s.profile, s.start);
            }
        }
        plan_update_gpu(f->plan, i, &without);
    }
    for (unsigned k = 0; k < f->movable_count; k++) {
        if (gone >> k & 1) {
            plan_ask_init(&own[k]);
            own[k].profile[f->class_of[f->movable[k].gpu]] = (int8_t)f->movable[k].m.slice.profile;
            own[k].excluded = f->ask.excluded;
            own[k].excluded_count = f->ask.excluded_count;
            asks[n++] = (struct plan_set_ask){&own[k], NULL};
        }
    }
    bool fits = plan_place_set(f->plan, asks, n, NULL, &ignored, spots) == 0;
    for (uint32_t i = 0; i < GPUS; i++) {
        plan_update_gpu(f->plan, i, &f->gpu[i]);
    }
    return fits;
}

/* INFINITY: none. */
static double least_cost(struct fleet *f)
{
    double best = (double)INFINITY;

    for (uint32_t gone = 0; gone < 1u << f->movable_count; gone++) {
        double cost = 0;
        if (__builtin_popcount(gone) > MOVES || !f->movable_count) {
            continue;
        }
        for (unsigned k = 0; k < f->movable_count; k++) {
            cost += gone >> k & 1 ? (double)f->movable[k].m.cost : 0;
        }
        if (cost < best && fits_without(f, gone)) {
            best = cost;
        }
    }
    return best;
}

/* What is counted never says no to what fits. */
static void check_room(const struct fleet *f, bool fits)
{
    struct plan_room *room = calloc(1, sizeof(*room));

    plan_room_count(f->plan, &f->ask, room);
    assert_true(fits == (room->now >= f->count));
    assert_true(plan_room_most(room) >= room->now);
    free(room);
}

static void run(bool may_stop, uint64_t seed)
{
    struct fleet *f = calloc(1, sizeof(*f));
    unsigned solvable = 0, found_some = 0, same = 0, stops = 0;

    setup(f, may_stop);
    replay_random_seed(&rnd, seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct plan_set_moves found = {0};
        random_case(f);
        int r = plan_find_set_moves(f->plan, &f->ask, f->count, MOVES, &found);
        for (uint32_t i = 0; i < GPUS; i++) { /* nothing has changed */
            struct plan_gpu now;
            plan_get_gpu(f->plan, i, &now);
            assert_int_equal(now.busy.mask, f->gpu[i].busy.mask);
        }
        if (r == 0) {
            carry_out(f, &found);
        }
        check_room(f, r == 0 && !found.moves.count);
        if (r == 0 && !found.moves.count) {
            continue;
        }
        if (f->movable_count > 12) {
            continue; /* too many to try all */
        }
        double least = least_cost(f);
        assert_true(r == 0 || !f->movable_count || least > 0);
        assert_true(r < 0 || found.moves.cost > least - 1e-6);
        solvable += isfinite(least);
        found_some += r == 0;
        same += r == 0 && found.moves.cost < least + 1e-6;
        for (unsigned i = 0; i < found.moves.count; i++) {
            stops += found.moves.moves[i].stops;
        }
    }
    print_message("solvable %u, found %u, of them at least cost %u; %u have to stop\n", solvable,
                  found_some, same, stops);
    assert_true(solvable > 100);
    assert_true(found_some * 100 > solvable * (may_stop ? 98 : 94));
    assert_true(same * 100 > found_some * 95);
    assert_true(may_stop == (stops > 0));
    plan_free(f->plan);
    free(f);
}

static void moves_for_a_set_are_the_cheapest(void **state)
{
    (void)state;
    run(false, 1);
    run(true, 2);
}

/* --- larger fleets --------------------------------------------------------------------------- */

#define LARGE 100
#define LARGE_ASKED 300

/* A fleet as it becomes when requests come and go: full, and every lease may be moved. */
struct large {
    struct mig_geometry geometry;
    struct plan *plan;
    unsigned count;
    struct plan_spot live[LARGE * MIG_SLOTS_MAX];
};

static void large_ask(const struct large *l, struct plan_ask *ret)
{
    plan_ask_init(ret);
    ret->profile[0] = (int8_t)draw(l->geometry.profile_count);
}

static void large_release(struct large *l)
{
    unsigned i = draw(l->count);

    plan_give_back(l->plan, l->live[i].gpu_id, l->live[i].slice);
    l->live[i] = l->live[--l->count];
}

static void large_place(struct large *l)
{
    struct plan_ask ask;
    struct plan_spot spot;

    large_ask(l, &ask);
    if (plan_place(l->plan, &ask, &spot) == 0) {
        plan_take(l->plan, &spot, true, (float)l->geometry.profiles[spot.slice.profile].size);
        l->live[l->count++] = spot;
    } else {
        large_release(l);
    }
}

static void large_setup(struct large *l)
{
    int class_id = -1;

    l->plan = plan_new(NULL);
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &l->geometry, NULL), 0);
    assert_int_equal(mig_geometry_init(&l->geometry, NULL), 0);
    assert_int_equal(plan_add_class(l->plan, &l->geometry, &class_id, NULL), 0);
    for (uint32_t i = 0; i < LARGE; i++) {
        assert_int_equal(plan_add_gpu(l->plan, i, class_id, NULL), 0);
    }
    for (int i = 0; i < 20 * LARGE; i++) {
        large_place(l);
    }
}

static unsigned gangs_with_room(int max_moves)
{
    struct large *l = calloc(1, sizeof(*l));
    unsigned asked = 0, found = 0;

    replay_random_seed(&rnd, 3);
    large_setup(l);
    while (asked < LARGE_ASKED) {
        struct plan_set_moves moves = {0};
        struct plan_ask ask;
        large_release(l);
        for (int i = 0; i < 5; i++) {
            large_place(l);
        }
        large_ask(l, &ask);
        int r = plan_find_set_moves(l->plan, &ask, 2 + draw(7), max_moves, &moves);
        asked += r < 0 || moves.moves.count;
        found += r == 0 && moves.moves.count;
    }
    plan_free(l->plan);
    free(l);
    return found;
}

/* 23, 65 and 99 of them were found when this was written; with an exact question for each set, in
 * as much time or more, 23, 52 and 81. */
static void gangs_find_room_on_a_large_fleet(void **state)
{
    (void)state;
    unsigned one = gangs_with_room(1), three = gangs_with_room(3), eight = gangs_with_room(8);

    print_message("of %d gangs with 1, 3, 8 moves: %u, %u, %u\n", LARGE_ASKED, one, three, eight);
    assert_true(one >= 22 && three >= 62 && eight >= 94);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_for_a_set_are_the_cheapest),
        cmocka_unit_test(gangs_find_room_on_a_large_fleet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
