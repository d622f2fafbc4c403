/* Random fleets: what plan/ answers is held against a look at every GPU and every start. */
#include "base/cleanup.h"
#include "plan/plan.h"
#include "plan/set.h"
#include "replay/models.h"
#include "replay/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GPUS 12
#define ROUNDS 6000
#define NOW_MS 100000
#define LONG_MS 200000

struct fleet {
    struct plan *plan;
    enum plan_policy policy;
    struct replay_random random;
    const struct mig_geometry *geometry[GPUS];
    int class_of[GPUS];
    struct plan_gpu gpu[GPUS]; /* our own books */
};

static const char *const model_names[] = {"H100-SXM5-80GB", "A30", "RTX-PRO-6000-BSE",
                                          "A100-SXM4-40GB"};

static uint32_t draw(struct fleet *f, uint32_t below)
{
    return (uint32_t)(replay_random_next(&f->random) % below);
}

static void fleet_init(struct fleet *f, enum plan_policy policy, uint64_t seed)
{
    struct plan_settings settings;
    int classes[4];

    memset(f, 0, sizeof(*f));
    replay_random_seed(&f->random, seed);
    plan_settings_default(&settings);
    settings.policy = policy;
    settings.mix_half_life = policy == PLAN_VALUE ? 500 : 50; /* worth takes more to be learned */
    f->policy = policy;
    f->plan = plan_new(&settings);
    for (int i = 0; i < 4; i++) {
        struct mig_geometry g;
        assert_int_equal(replay_model_geometry(model_names[i], &g, NULL), 0);
        assert_int_equal(plan_add_class(f->plan, &g, &classes[i], NULL), 0);
    }
    for (uint32_t i = 0; i < GPUS; i++) {
        f->class_of[i] = classes[draw(f, 4)];
        f->geometry[i] = plan_class_geometry(f->plan, f->class_of[i]);
        f->gpu[i].is_usable = true;
        assert_int_equal(plan_add_gpu(f->plan, i, f->class_of[i], NULL), 0);
    }
    assert_int_equal(plan_add_gpu(f->plan, 0, classes[0], NULL), -EEXIST);
}

static void random_ask(struct fleet *f, struct plan_ask *ask, struct plan_exclusion *out)
{
    plan_ask_init(ask);
    for (int c = 0; c < plan_class_count(f->plan); c++) {
        if (draw(f, 3)) {
            ask->profile[c] = (int8_t)draw(f, plan_class_geometry(f->plan, c)->profile_count);
        }
    }
    ask->is_spread = draw(f, 8) == 0;
    ask->now_ms = NOW_MS;
    ask->end_ms = draw(f, 2) ? NOW_MS + draw(f, LONG_MS) : 0;
    ask->excluded = out;
    for (uint32_t i = 0; draw(f, 4) == 0 && i < GPUS; i += 1 + draw(f, 4)) {
        out[ask->excluded_count++] = (struct plan_exclusion){i, (uint16_t)draw(f, 1 << 16)};
    }
}

/* The best cost by trying everything; counts the spots. */
static int brute_place(struct fleet *f, const struct plan_ask *ask, int *ret_destroyed,
                       double *ret_cost)
{
    int n = 0;

    for (uint32_t i = 0; i < GPUS; i++) {
        int p = ask->profile[f->class_of[i]];
        uint16_t out = 0, idle = 0;
        for (size_t k = 0; k < ask->excluded_count; k++) {
            out |= ask->excluded[k].gpu_id == i ? ask->excluded[k].mask : 0;
        }
        for (int k = 0; k < f->gpu[i].idle_count; k++) {
            idle |= mig_window(f->geometry[i], f->gpu[i].idle[k].profile, f->gpu[i].idle[k].start);
        }
        for (int s = 0; p >= 0 && s < MIG_SLOTS_MAX; s++) {
            if (!f->gpu[i].is_usable || !mig_fits(f->geometry[i], &f->gpu[i].busy, p, s) ||
                (mig_window(f->geometry[i], p, s) & out)) {
                continue;
            }
            double cost = plan_score(f->plan, ask, i, (struct mig_slice){(uint8_t)p, (uint8_t)s});
            int destroyed = __builtin_popcount(idle & mig_window(f->geometry[i], p, s));
            if (n++ == 0 || destroyed < *ret_destroyed ||
                (destroyed == *ret_destroyed && cost < *ret_cost)) {
                *ret_destroyed = destroyed;
                *ret_cost = cost;
            }
        }
    }
    return n;
}

static uint16_t idle_bits(const struct fleet *f, uint32_t i, struct mig_slice s)
{
    uint16_t bits = 0;

    for (int k = 0; k < f->gpu[i].idle_count; k++) {
        if (mig_window(f->geometry[i], f->gpu[i].idle[k].profile, f->gpu[i].idle[k].start) &
            mig_window(f->geometry[i], s.profile, s.start)) {
            bits |= (uint16_t)(1u << k);
        }
    }
    return bits;
}

/* Keeps our books as plan_take() does. */
static void book(struct fleet *f, const struct plan_spot *spot, bool is_movable)
{
    struct plan_gpu *g = &f->gpu[spot->gpu_id];
    int n = 0;

    for (int k = 0; k < g->idle_count; k++) {
        if (!(spot->destroy >> k & 1)) {
            g->idle[n++] = g->idle[k];
        }
    }
    g->idle_count = (uint8_t)n;
    mig_use_add(f->geometry[spot->gpu_id], &g->busy, spot->slice.profile, spot->slice.start);
    if (is_movable) {
        g->movable[g->movable_count++] = (struct plan_movable){spot->slice, 1};
    }
}

static void check_same(const struct fleet *f)
{
    for (uint32_t i = 0; i < GPUS; i++) {
        struct plan_gpu now;
        plan_get_gpu(f->plan, i, &now);
        struct mig_use busy = f->gpu[i].busy;
        busy.starts = f->policy == PLAN_VALUE ? busy.starts : 0;
        assert_memory_equal(&now.busy, &busy, sizeof(now.busy));
        assert_int_equal(now.idle_count, f->gpu[i].idle_count);
        assert_memory_equal(now.idle, f->gpu[i].idle, now.idle_count * sizeof(now.idle[0]));
        assert_int_equal(now.movable_count, f->gpu[i].movable_count);
        assert_int_equal(now.end_ms, f->gpu[i].end_ms);
    }
}

static void give_back(struct fleet *f, uint32_t i, bool to_idle)
{
    struct plan_gpu *g = &f->gpu[i];

    if (!g->movable_count) {
        return;
    }
    int k = (int)draw(f, g->movable_count);
    struct mig_slice s = g->movable[k].slice;
    mig_use_remove(f->geometry[i], &g->busy, s.profile, s.start);
    g->movable[k] = g->movable[--g->movable_count];
    plan_give_back(f->plan, i, s);
    if (to_idle && g->idle_count < 4) {
        g->idle[g->idle_count++] = s;
        plan_update_gpu(f->plan, i, g);
    }
}

static void place_and_compare(struct fleet *f)
{
    struct plan_exclusion out[GPUS];
    struct plan_ask ask;
    struct plan_spot spot = {.gpu_id = 77};
    int destroyed = 0;
    double cost = 0;

    random_ask(f, &ask, out);
    plan_learn(f->plan, &ask);
    int n = brute_place(f, &ask, &destroyed, &cost);
    if (n == 0) {
        assert_int_equal(plan_place(f->plan, &ask, &spot), -ENOSPC);
        assert_int_equal(spot.gpu_id, 77);
        return;
    }
    assert_int_equal(plan_place(f->plan, &ask, &spot), 0);
    assert_true(fabs(spot.cost - cost) < 1e-9);
    assert_true(fabs(plan_score(f->plan, &ask, spot.gpu_id, spot.slice) - cost) < 1e-9);
    assert_true(mig_fits(f->geometry[spot.gpu_id], &f->gpu[spot.gpu_id].busy, spot.slice.profile,
                         spot.slice.start));
    assert_int_equal(spot.destroy, idle_bits(f, spot.gpu_id, spot.slice));
    plan_take(f->plan, &spot, true, 1);
    book(f, &spot, true);
    f->gpu[spot.gpu_id].end_ms = draw(f, 3) ? draw(f, NOW_MS + LONG_MS) : 0;
    plan_set_end(f->plan, spot.gpu_id, f->gpu[spot.gpu_id].end_ms);
}

/* Carries the moves out in our books, step by step, and checks the laws on the way. */
static void check_moves(struct fleet *f, const struct plan_ask *ask, const struct plan_moves *m)
{
    for (int i = 0; i <= m->count; i++) {
        struct plan_spot to = m->spot;
        if (i < m->count) {
            to = (struct plan_spot){.gpu_id = m->moves[i].to_gpu, .slice = m->moves[i].to};
            assert_int_equal(m->moves[i].from.profile, m->moves[i].to.profile);
            assert_int_equal(f->class_of[m->moves[i].from_gpu], f->class_of[to.gpu_id]);
        }
        struct plan_gpu *g = &f->gpu[to.gpu_id];
        assert_true(g->is_usable);
        for (size_t k = 0; k < ask->excluded_count; k++) {
            assert_true(ask->excluded[k].gpu_id != to.gpu_id ||
                        !(ask->excluded[k].mask &
                          mig_window(f->geometry[to.gpu_id], to.slice.profile, to.slice.start)));
        }
        assert_true(mig_fits(f->geometry[to.gpu_id], &g->busy, to.slice.profile, to.slice.start));
        to.destroy = idle_bits(f, to.gpu_id, to.slice);
        book(f, &to, true);
        if (i < m->count) {
            struct plan_gpu *from = &f->gpu[m->moves[i].from_gpu];
            int k = 0;
            while (k < from->movable_count &&
                   from->movable[k].slice.start != m->moves[i].from.start) {
                k++;
            }
            assert_true(k < from->movable_count);
            assert_int_equal(from->movable[k].slice.profile, m->moves[i].from.profile);
            mig_use_remove(f->geometry[m->moves[i].from_gpu], &from->busy, m->moves[i].from.profile,
                           m->moves[i].from.start);
            from->movable[k] = from->movable[--from->movable_count];
        }
    }
    for (uint32_t i = 0; i < GPUS; i++) {
        plan_update_gpu(f->plan, i, &f->gpu[i]);
    }
}

static int moves_found;

static void move_and_check(struct fleet *f)
{
    struct plan_exclusion out[GPUS];
    struct plan_ask ask;
    struct plan_moves moves = {0};

    random_ask(f, &ask, out);
    if (plan_find_moves(f->plan, &ask, 3, &moves) == 0) {
        assert_true(moves.count <= 3);
        moves_found += moves.count > 0;
        check_moves(f, &ask, &moves);
    }
    check_same(f);
}

static void place_a_set(struct fleet *f)
{
    struct plan_exclusion out[3][GPUS];
    struct plan_ask asks[3];
    const struct plan_ask *list[3];
    struct plan_spot spots[3];

    for (int i = 0; i < 3; i++) {
        random_ask(f, &asks[i], out[i]);
        list[i] = &asks[i];
    }
    int r = plan_place_each(f->plan, list, 3, spots);
    check_same(f);
    for (int i = 0; r == 0 && i < 3; i++) {
        const struct plan_gpu *g = &f->gpu[spots[i].gpu_id];
        assert_true(mig_fits(f->geometry[spots[i].gpu_id], &g->busy, spots[i].slice.profile,
                             spots[i].slice.start));
        for (int k = 0; k < i; k++) { /* together they fit as well */
            assert_true(spots[k].gpu_id != spots[i].gpu_id ||
                        !(mig_window(f->geometry[spots[i].gpu_id], spots[i].slice.profile,
                                     spots[i].slice.start) &
                          mig_window(f->geometry[spots[k].gpu_id], spots[k].slice.profile,
                                     spots[k].slice.start)));
        }
    }
}

static void run_policy(enum plan_policy policy)
{
    struct fleet f;

    fleet_init(&f, policy, 4711 + (uint64_t)policy);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t what = draw(&f, 16), gpu = draw(&f, GPUS);
        if (what < 7) {
            place_and_compare(&f);
        } else if (what < 13) {
            give_back(&f, gpu, what < 9);
        } else if (what == 13) {
            f.gpu[gpu].is_usable = !f.gpu[gpu].is_usable || draw(&f, 3) > 0;
            plan_update_gpu(f.plan, gpu, &f.gpu[gpu]);
        } else if (what == 14) {
            move_and_check(&f);
        } else {
            place_a_set(&f);
        }
    }
    check_same(&f);
    plan_free(f.plan);
}

static void every_policy_finds_the_cheapest_spot(void **state)
{
    (void)state;
    for (int i = 0; i < PLAN_POLICY_COUNT; i++) {
        run_policy((enum plan_policy)i);
    }
    assert_true(moves_found > 20);
}

/* What happens is the same to both plans as long as they answer the same. */
struct pair {
    struct plan *plan[2];
    struct replay_random random;
    struct plan_spot live[GPUS * MIG_SLOTS_MAX];
    uint32_t live_count, placed;
};

static void pair_init(struct pair *q, const enum plan_policy *policies)
{
    struct mig_geometry g;
    int class_id = 0;

    *q = (struct pair){0};
    replay_random_seed(&q->random, 99);
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &g, NULL), 0);
    for (int i = 0; i < 2; i++) {
        struct plan_settings settings;
        plan_settings_default(&settings);
        settings.policy = policies[i];
        q->plan[i] = plan_new(&settings);
        assert_int_equal(plan_add_class(q->plan[i], &g, &class_id, NULL), 0);
        for (uint32_t k = 0; k < GPUS; k++) {
            assert_int_equal(plan_add_gpu(q->plan[i], k, class_id, NULL), 0);
        }
    }
}

static uint32_t pair_draw(struct pair *q, uint32_t below)
{
    return (uint32_t)(replay_random_next(&q->random) % below);
}

/* One step; false when the two plans differ.  Only the second is told ends, as the bits say: 1 of
 * GPUs, 2 of requests. */
static bool pair_step(struct pair *q, int ends)
{
    struct plan_spot spot[2] = {{0}, {0}};
    struct plan_ask ask[2];
    int r[2], profile = (int)pair_draw(q, plan_class_geometry(q->plan[0], 0)->profile_count);
    int64_t end_ms = NOW_MS + 1 + pair_draw(q, LONG_MS);

    if (q->live_count && pair_draw(q, 5) < 2) {
        uint32_t k = pair_draw(q, q->live_count);
        plan_give_back(q->plan[0], q->live[k].gpu_id, q->live[k].slice);
        plan_give_back(q->plan[1], q->live[k].gpu_id, q->live[k].slice);
        q->live[k] = q->live[--q->live_count];
        return true;
    }
    for (int i = 0; i < 2; i++) {
        plan_ask_init(&ask[i]);
        ask[i].profile[0] = (int8_t)profile;
        ask[i].now_ms = NOW_MS;
        ask[i].end_ms = i == 1 && ends & 2 ? end_ms : 0;
        plan_learn(q->plan[i], &ask[i]);
        r[i] = plan_place(q->plan[i], &ask[i], &spot[i]);
    }
    if (r[0] != r[1] || spot[0].gpu_id != spot[1].gpu_id ||
        spot[0].slice.start != spot[1].slice.start) {
        return false;
    }
    for (int i = 0; r[0] == 0 && i < 2; i++) {
        plan_take(q->plan[i], &spot[i], false, 0);
    }
    if (r[0] == 0) {
        plan_set_end(q->plan[1], spot[1].gpu_id, ends & 1 ? end_ms : 0);
        q->live[q->live_count++] = spot[0];
        q->placed++;
    }
    return true;
}

/* Steps before they differ. */
static int pair_run(enum plan_policy a, enum plan_policy b, int ends)
{
    struct pair q;
    int n = 0;

    pair_init(&q, (enum plan_policy[]){a, b});
    while (n < 4000 && pair_step(&q, ends)) {
        n++;
    }
    plan_free(q.plan[0]);
    plan_free(q.plan[1]);
    return n;
}

static void ends_matter_only_where_they_are_known(void **state)
{
    (void)state;
    for (int ends = 0; ends < 3; ends++) { /* of nobody, of GPUs, of requests; not of both */
        assert_int_equal(pair_run(PLAN_REACH, PLAN_ALIGN, ends), 4000);
    }
    assert_true(pair_run(PLAN_REACH, PLAN_ALIGN, 3) < 1000);
    for (int i = 0; i < PLAN_POLICY_COUNT; i++) { /* and only to two policies */
        if (!plan_policy_looks_at_ends((enum plan_policy)i)) {
            assert_int_equal(pair_run((enum plan_policy)i, (enum plan_policy)i, 3), 4000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_matter_only_where_they_are_known),
        cmocka_unit_test(every_policy_finds_the_cheapest_spot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
